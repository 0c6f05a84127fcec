"""The roster: who is planned when, what officers ask about it, and what one hands over to the next."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, PrimaryKeyConstraint, column, func, text
from sqlalchemy.dialects.postgresql import JSONB, ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, TownId
from backend.models.shift import Shift
from backend.models.task import Task
from backend.models.town import Area
from backend.models.user import User


class PlannedShift(Base):
    """When an officer is to be on duty, and where. Of one officer no two that stand overlap, whoever writes them.

    That is checked at the end of each statement, or of the transaction where a swap puts it off. ``reason`` is why it
    was cancelled.
    """

    __tablename__ = "planned_shifts"
    __table_args__ = (
        ExcludeConstraint(
            (column("officer_id"), "="),
            (func.tstzrange(column("begins_at"), column("ends_at")), "&&"),
            name="ex_planned_shifts_officer",
            where=text("state = 'planned'"),
            deferrable=True,
        ),
        Index("ix_planned_shifts_begins", "town_id", "begins_at", "id"),
        Index("ix_planned_shifts_officer", "officer_id", "begins_at"),
        Index("ix_planned_shifts_area_id", "area_id"),
        CheckConstraint(
            "ends_at > begins_at and ends_at <= begins_at + interval '25 hours'", name="ck_planned_shifts_span"
        ),
        CheckConstraint("kind in ('day', 'evening', 'night', 'standby', 'extra')", name="ck_planned_shifts_kind"),
        CheckConstraint("state in ('planned', 'excused', 'cancelled')", name="ck_planned_shifts_state"),
        CheckConstraint("(state = 'cancelled') = (cancelled_at is not null)", name="ck_planned_shifts_cancelled"),
        CheckConstraint("(state = 'excused') = (excused_at is not null)", name="ck_planned_shifts_excused"),
        CheckConstraint("(state = 'cancelled') = (reason is not null)", name="ck_planned_shifts_reason"),
    )  # fmt: skip

    id: Mapped[Id]
    town_id: Mapped[TownId]
    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    kind: Mapped[str]
    remark: Mapped[str | None]
    begins_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    state: Mapped[str]
    reason: Mapped[str | None]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime]
    excused_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))

    officer: Mapped[User] = relationship(lazy="raise", foreign_keys=[officer_id])
    area: Mapped[Area] = relationship(lazy="raise")


class RosterRequest(Base):
    """What an officer asks about a planned shift of his. ``wanted_id`` is the colleague's that he does in return.

    ``planned_version`` and ``wanted_version`` are what he asked about: of a shift that is another by now nothing is
    approved. ``reason`` is the officer's, ``decision`` what the colleague or the supervisor says to it.
    """

    __tablename__ = "roster_requests"
    __table_args__ = (
        Index(
            "uq_roster_requests_open", "planned_id", unique=True,
            postgresql_where=text("state in ('asked', 'submitted')"),
        ),
        Index("ix_roster_requests_asked", "town_id", text("asked_at desc"), text("id desc")),
        Index("ix_roster_requests_officer", "officer_id", text("asked_at desc")),
        Index(
            "ix_roster_requests_colleague", "colleague_id", text("asked_at desc"),
            postgresql_where=text("colleague_id is not null"),
        ),
        Index("ix_roster_requests_wanted", "wanted_id", postgresql_where=text("wanted_id is not null")),
        CheckConstraint("kind in ('swap', 'excuse')", name="ck_roster_requests_kind"),
        CheckConstraint(
            "state in ('asked', 'submitted', 'declined', 'approved', 'refused', 'withdrawn', 'lapsed')",
            name="ck_roster_requests_state",
        ),
        CheckConstraint("(kind = 'swap') = (colleague_id is not null)", name="ck_roster_requests_colleague"),
        CheckConstraint("colleague_id <> officer_id", name="ck_roster_requests_other"),
        CheckConstraint(
            "(wanted_id is null) = (wanted_version is null) and (wanted_id is null or kind = 'swap')",
            name="ck_roster_requests_wanted",
        ),
        CheckConstraint("(state in ('asked', 'submitted')) = (ended_at is null)", name="ck_roster_requests_ended"),
        CheckConstraint(
            "(submitted_at is null) <= (state not in ('submitted', 'approved', 'refused'))"
            " and (state = 'asked') <= (submitted_at is null)",
            name="ck_roster_requests_submitted",
        ),
        CheckConstraint(
            "(state in ('approved', 'refused')) = (decided_by is not null)", name="ck_roster_requests_decided"
        ),
        CheckConstraint(
            "decided_by <> officer_id and (colleague_id is null or decided_by <> colleague_id)",
            name="ck_roster_requests_by_another",
        ),
        CheckConstraint("state <> 'refused' or decision is not null", name="ck_roster_requests_refused"),
    )  # fmt: skip

    id: Mapped[Id]
    town_id: Mapped[TownId]
    kind: Mapped[str]
    state: Mapped[str]
    planned_id: Mapped[UUID] = mapped_column(ForeignKey("planned_shifts.id"))
    planned_version: Mapped[int]
    wanted_id: Mapped[UUID | None] = mapped_column(ForeignKey("planned_shifts.id"))
    wanted_version: Mapped[int | None]
    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    colleague_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    reason: Mapped[str]
    decision: Mapped[str | None]
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    asked_at: Mapped[datetime]
    submitted_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))

    planned: Mapped[PlannedShift] = relationship(lazy="raise", foreign_keys=[planned_id])
    wanted: Mapped[PlannedShift | None] = relationship(lazy="raise", foreign_keys=[wanted_id])
    officer: Mapped[User] = relationship(lazy="raise", foreign_keys=[officer_id])
    colleague: Mapped[User | None] = relationship(lazy="raise", foreign_keys=[colleague_id])
    decider: Mapped[User | None] = relationship(lazy="raise", foreign_keys=[decided_by])


class HandOver(Base):
    """What an officer hands over: things to watch, equipment, and his open tasks.

    He confirms it by giving it, the other by taking it; without a ``taker_id`` whoever of the area comes first. What is
    no longer given is not changed by anybody: a trigger holds that for every role.
    """

    __tablename__ = "hand_overs"
    __table_args__ = (
        Index("ix_hand_overs_given", "town_id", text("given_at desc"), text("id desc")),
        Index("ix_hand_overs_waiting", "area_id", postgresql_where=text("state = 'given'")),
        Index("ix_hand_overs_giver", "giver_id", text("given_at desc")),
        Index("ix_hand_overs_taker", "taker_id", text("given_at desc")),
        Index("uq_hand_overs_shift", "shift_id", unique=True, postgresql_where=text("state = 'given'")),
        CheckConstraint("state in ('given', 'taken', 'declined', 'withdrawn')", name="ck_hand_overs_state"),
        CheckConstraint("taker_id <> giver_id", name="ck_hand_overs_other"),
        CheckConstraint("(state = 'given') = (ended_at is null)", name="ck_hand_overs_ended"),
        CheckConstraint("(state = 'taken') = (taken_at is not null)", name="ck_hand_overs_taken"),
        CheckConstraint(
            "state not in ('taken', 'declined') or taker_id is not null", name="ck_hand_overs_taker"
        ),
        CheckConstraint("state <> 'declined' or answer is not null", name="ck_hand_overs_declined"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    shift_id: Mapped[UUID] = mapped_column(ForeignKey("shifts.id"))
    giver_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    taker_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    state: Mapped[str]
    watch: Mapped[str | None]
    equipment: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    answer: Mapped[str | None]
    given_at: Mapped[datetime]
    taken_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))

    area: Mapped[Area] = relationship(lazy="raise")
    shift: Mapped[Shift] = relationship(lazy="raise")
    giver: Mapped[User] = relationship(lazy="raise", foreign_keys=[giver_id])
    taker: Mapped[User | None] = relationship(lazy="raise", foreign_keys=[taker_id])
    tasks: Mapped[list["HandOverTask"]] = relationship(lazy="raise", order_by="HandOverTask.task_id")


class HandOverTask(Base):
    """A task that was open when it was handed over; without ``passed_at`` it did not pass to the other."""

    __tablename__ = "hand_over_tasks"
    __table_args__ = (
        PrimaryKeyConstraint("hand_over_id", "task_id", name="pk_hand_over_tasks"),
        Index("ix_hand_over_tasks_task_id", "task_id"),
    )

    hand_over_id: Mapped[UUID] = mapped_column(ForeignKey("hand_overs.id"))
    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id"))
    town_id: Mapped[TownId]
    passed_at: Mapped[datetime | None]

    task: Mapped[Task] = relationship(lazy="raise")
