"""Deadlines, the ladder of who is told when one passes, and the short numbers of things."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, PrimaryKeyConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Id, Small, TownId


class Deadline(Base):
    """A moment that a clock sees to, once: who does it locks the row and stamps it in the same transaction."""

    __tablename__ = "deadlines"
    __table_args__ = (
        Index(
            "uq_deadlines_waiting",
            "subject_id",
            "about",
            "level",
            unique=True,
            postgresql_where=text("done_at is null"),
        ),
        Index("ix_deadlines_due", "due_at", postgresql_where=text("done_at is null")),
        Index("ix_deadlines_done", "done_at", postgresql_where=text("done_at is not null")),
        CheckConstraint(
            "about in ('lapse', 'accept', 'arrive', 'complete', 'escalate', 'roll_call', 'late', 'miss', 'overdue',"
            " 'begin', 'end')",
            name="ck_deadlines_about",
        ),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    about: Mapped[str]
    level: Mapped[Small] = mapped_column(server_default=text("0"))
    due_at: Mapped[datetime]
    done_at: Mapped[datetime | None]


class LadderRung(Base):
    """Who is told, so many seconds after a deadline passed and nobody acted; the town's own data."""

    __tablename__ = "ladder_rungs"
    __table_args__ = (
        PrimaryKeyConstraint("town_id", "about", "level", name="pk_ladder_rungs"),
        CheckConstraint("tells in ('officer', 'dispatcher', 'supervisor')", name="ck_ladder_rungs_tells"),
        CheckConstraint("after_s between 0 and 604800", name="ck_ladder_rungs_after"),
    )

    town_id: Mapped[UUID] = mapped_column(ForeignKey("towns.id"))
    about: Mapped[str]
    level: Mapped[Small]
    after_s: Mapped[int]
    tells: Mapped[str]


class Number(Base):
    """The last short number that a kind of thing was given in a town."""

    __tablename__ = "numbers"
    __table_args__ = (PrimaryKeyConstraint("town_id", "kind", name="pk_numbers"),)

    town_id: Mapped[UUID] = mapped_column(ForeignKey("towns.id"))
    kind: Mapped[str]
    last: Mapped[int]
