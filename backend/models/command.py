"""Commands that were answered, by their idempotency key."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, LargeBinary, PrimaryKeyConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Small, TownId


class Command(Base):
    """What a command was and how it was answered; the same key again is answered the same."""

    __tablename__ = "commands"
    __table_args__ = (
        PrimaryKeyConstraint("actor_id", "key", name="pk_commands"),
        Index("ix_commands_created_at", "created_at"),
    )

    town_id: Mapped[TownId]
    actor_id: Mapped[UUID]
    route: Mapped[str]
    key: Mapped[UUID]
    body_hash: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[Small | None]
    answer: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    created_at: Mapped[datetime]
