"""Duty levels: when and where something other than the ordinary was in force."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, column, func, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, TownId
from backend.models.town import Area
from backend.models.user import User


class LevelSwitch(Base):
    """A level that a supervisor has put in force in an area and below it, from ``since_at`` until ``until_at``.

    Of one area only one is in force at a time; of an area and those above it the gravest counts. ``ended_at`` is when
    it was taken back before its time: from then on it does not count, and what had not begun by then never did.
    """

    __tablename__ = "level_switches"
    __table_args__ = (
        Index("ix_level_switches_area_id", "area_id"),
        Index("ix_level_switches_since", "town_id", text("since_at desc"), text("id desc")),
        CheckConstraint("level in ('third', 'second', 'first')", name="ck_level_switches_level"),
        CheckConstraint("until_at > since_at", name="ck_level_switches_span"),
        CheckConstraint(
            "(ended_at is null) = (ended_by is null) and (ended_at is null) = (end_reason is null)"
            " and ended_at between since_at and until_at",
            name="ck_level_switches_ended",
        ),
        ExcludeConstraint(
            (column("area_id"), "="),
            (func.tstzrange(column("since_at"), func.coalesce(column("ended_at"), column("until_at"))), "&&"),
            name="ex_level_switches_area",
        ),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    level: Mapped[str]
    since_at: Mapped[datetime]
    until_at: Mapped[datetime]
    reason: Mapped[str]
    switched_by: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    end_reason: Mapped[str | None]
    created_at: Mapped[datetime]
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))

    area: Mapped[Area] = relationship(lazy="raise")
    by: Mapped[User] = relationship(lazy="raise", foreign_keys=[switched_by])
