"""What was done and what was looked at. Append-only; personal data stands in it by reference only."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, PrimaryKeyConstraint, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base


class Journal(Base):
    """One act on one subject."""

    __tablename__ = "journal"
    __table_args__ = (
        PrimaryKeyConstraint("at", "id", name="pk_journal"),
        Index("ix_journal_subject", "subject_id", text("at desc"), text("id desc")),
        Index("ix_journal_command", "command_id", postgresql_where=text("command_id is not null")),
        Index("ix_journal_town", "town_id", text("at desc"), text("id desc")),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    id: Mapped[UUID]
    town_id: Mapped[UUID]
    at: Mapped[datetime]
    device_at: Mapped[datetime | None]
    actor_id: Mapped[UUID | None]
    on_behalf_of: Mapped[UUID | None]
    command_id: Mapped[UUID | None]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    action: Mapped[str]
    from_state: Mapped[str | None] = mapped_column("from", Text)
    to_state: Mapped[str | None] = mapped_column("to", Text)
    reason: Mapped[str | None]
    data: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    request_id: Mapped[str | None]


class Disclosure(Base):
    """One look at one person's data: who, at whom, of what kind, and why."""

    __tablename__ = "disclosures"
    __table_args__ = (
        PrimaryKeyConstraint("at", "id", name="pk_disclosures"),
        Index("ix_disclosures_subject", "subject_id", text("at desc"), text("id desc")),
        Index("ix_disclosures_town", "town_id", text("at desc"), text("id desc")),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    id: Mapped[UUID]
    town_id: Mapped[UUID]
    at: Mapped[datetime]
    actor_id: Mapped[UUID | None]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    kind: Mapped[str]
    reason: Mapped[str]
    data: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    request_id: Mapped[str | None]
