"""Appraisals: a month of an officer's figures, what they were made of, and what he objects to."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, TownId
from backend.models.town import Area
from backend.models.user import User

UUIDS = ARRAY(postgresql.UUID(as_uuid=True))


class Silence(Base):
    """A time on shift in which nothing was heard of an officer's phone, and the likely cause with its ``clues``.

    Written a few days after, while the fixes that tell the cause are still kept; it says no place.
    """

    __tablename__ = "silences"
    __table_args__ = (
        UniqueConstraint("alarm_id", "officer_id", name="uq_silences_alarm_officer"),
        Index("ix_silences_officer", "officer_id", text("heard_at desc")),
        CheckConstraint("until_at >= heard_at", name="ck_silences_span"),
        CheckConstraint(
            "cause in ('outage', 'no_network', 'battery', 'dropout_place', 'phone_settings', 'unknown')",
            name="ck_silences_cause",
        ),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    alarm_id: Mapped[UUID] = mapped_column(ForeignKey("alarms.id"))
    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    shift_id: Mapped[UUID] = mapped_column(ForeignKey("shifts.id"))
    heard_at: Mapped[datetime]
    until_at: Mapped[datetime]
    cause: Mapped[str]
    clues: Mapped[dict[str, Any]]
    noted_at: Mapped[datetime]


class AppraisalMonth(Base):
    """A month of the town that is appraised, by one version of the formulas. ``made_by`` is null for the clock.

    ``begins_at`` and ``ends_at`` are its first moment and that of the next, as the town's clocks showed them;
    ``completed_at`` is when the drafts of all officers were there, ``changed_at`` when an input last counted
    anew that areas and crews do not show yet, ``changes`` how often one did.
    """

    __tablename__ = "appraisal_months"
    __table_args__ = (
        UniqueConstraint("town_id", "month", name="uq_appraisal_months_month"),
        CheckConstraint("extract(day from month) = 1", name="ck_appraisal_months_first"),
        CheckConstraint("ends_at > begins_at", name="ck_appraisal_months_span"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    month: Mapped[date]
    begins_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    formula: Mapped[str]
    made_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    made_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    changed_at: Mapped[datetime | None]
    changes: Mapped[int] = mapped_column(default=0, server_default=text("0"))


class AppraisalGroup(Base):
    """The figures of an area and all below it in a month, or of a crew by its call sign, made of the same inputs.

    ``changes`` says up to which change of the month they are.
    """

    __tablename__ = "appraisal_groups"
    __table_args__ = (
        UniqueConstraint(
            "month_id", "area_id", "call_sign", name="uq_appraisal_groups_group", postgresql_nulls_not_distinct=True
        ),
    )  # fmt: skip

    id: Mapped[Id]
    town_id: Mapped[TownId]
    month_id: Mapped[UUID] = mapped_column(ForeignKey("appraisal_months.id"))
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    call_sign: Mapped[str | None]
    figures: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    changes: Mapped[int]
    made_at: Mapped[datetime]

    area: Mapped[Area] = relationship(lazy="raise")


class Appraisal(Base):
    """An officer's figures of a month. ``area_id`` is where he worked last in it: whose desk sees it.

    ``figures`` follow from the inputs by the month's formula. What is locked, and all that belongs to it, the database
    lets nobody change.
    """

    __tablename__ = "appraisals"
    __table_args__ = (
        UniqueConstraint("month_id", "officer_id", name="uq_appraisals_officer"),
        Index("ix_appraisals_officer", "officer_id", text("opened_at desc")),
        Index("ix_appraisals_area_id", "area_id"),
        Index("ix_appraisals_open", "town_id", "contest_until", postgresql_where=text("state = 'draft'")),
        CheckConstraint("state in ('draft', 'locked')", name="ck_appraisals_state"),
        CheckConstraint("(state = 'locked') = (locked_at is not null)", name="ck_appraisals_locked"),
        CheckConstraint("contest_until > opened_at", name="ck_appraisals_contest"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    month_id: Mapped[UUID] = mapped_column(ForeignKey("appraisal_months.id"))
    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    state: Mapped[str]
    figures: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    opened_at: Mapped[datetime]
    contest_until: Mapped[datetime]
    reminded_at: Mapped[datetime | None]
    locked_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))

    month: Mapped[AppraisalMonth] = relationship(lazy="raise")
    officer: Mapped[User] = relationship(lazy="raise")
    area: Mapped[Area] = relationship(lazy="raise")


class AppraisalInput(Base):
    """One thing that a figure was made of: what it was (``source``), and the facts of it as they were then.

    Without an appraisal it belongs to nobody in particular (a round that several might have begun) and counts for the
    area alone. ``scored_by`` is who had judged it before: he excludes and corrects nothing in it.
    """

    __tablename__ = "appraisal_inputs"
    __table_args__ = (
        UniqueConstraint("month_id", "figure", "source_id", name="uq_appraisal_inputs_source"),
        Index("ix_appraisal_inputs_appraisal", "appraisal_id", "figure", "happened_at", "id"),
        Index("ix_appraisal_inputs_area", "month_id", "area_id"),
        Index("ix_appraisal_inputs_crew", "month_id", "call_sign", postgresql_where=text("call_sign is not null")),
        CheckConstraint(
            "figure in ('rounds_on_time', 'coverage', 'acceptance', 'arrival', 'silent', 'duty')",
            name="ck_appraisal_inputs_figure",
        ),
        CheckConstraint(
            "source in ('patrol', 'assignment', 'silence', 'shift')", name="ck_appraisal_inputs_source"
        ),
        CheckConstraint(
            "(excluded_at is null) = (excluded_by is null) and (excluded_at is null) = (exclusion_reason is null)",
            name="ck_appraisal_inputs_excluded",
        ),
        CheckConstraint(
            "(corrected_at is null) = (corrected_by is null) and (corrected_at is null) = (correction is null)",
            name="ck_appraisal_inputs_corrected",
        ),
        CheckConstraint(
            "appraisal_id is not null or num_nonnulls(excluded_at, corrected_at) = 0",
            name="ck_appraisal_inputs_nobodys",
        ),
    )  # fmt: skip

    id: Mapped[Id]
    town_id: Mapped[TownId]
    month_id: Mapped[UUID] = mapped_column(ForeignKey("appraisal_months.id"))
    appraisal_id: Mapped[UUID | None] = mapped_column(ForeignKey("appraisals.id"))
    figure: Mapped[str]
    source: Mapped[str]
    source_id: Mapped[UUID]
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    call_sign: Mapped[str | None]
    happened_at: Mapped[datetime]
    facts: Mapped[dict[str, Any]]
    scored_by: Mapped[list[UUID]] = mapped_column(UUIDS, server_default=text("'{}'"))
    excluded_at: Mapped[datetime | None]
    excluded_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    exclusion_reason: Mapped[str | None]
    correction: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    corrected_at: Mapped[datetime | None]
    corrected_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))


class AppraisalContest(Base):
    """An officer's objection to an input, in his words, and what a supervisor decided and why."""

    __tablename__ = "appraisal_contests"
    __table_args__ = (
        Index(
            "uq_appraisal_contests_input", "input_id", unique=True, postgresql_where=text("state <> 'withdrawn'")
        ),
        Index("ix_appraisal_contests_appraisal", "appraisal_id", "contested_at"),
        Index(
            "ix_appraisal_contests_open", "town_id", "contested_at", "id", postgresql_where=text("state = 'open'")
        ),
        CheckConstraint(
            "state in ('open', 'upheld', 'refused', 'withdrawn')", name="ck_appraisal_contests_state"
        ),
        CheckConstraint(
            "(state in ('upheld', 'refused')) = (decided_at is not null)"
            " and (decided_at is null) = (decided_by is null) and (decided_at is null) = (decision is null)",
            name="ck_appraisal_contests_decided",
        ),
        CheckConstraint("(state = 'upheld') = (remedy is not null)", name="ck_appraisal_contests_remedy"),
        CheckConstraint("remedy in ('exclude', 'correct')", name="ck_appraisal_contests_remedy_word"),
        CheckConstraint(
            "(state = 'withdrawn') = (withdrawn_at is not null)", name="ck_appraisal_contests_withdrawn"
        ),
    )  # fmt: skip

    id: Mapped[Id]
    town_id: Mapped[TownId]
    appraisal_id: Mapped[UUID] = mapped_column(ForeignKey("appraisals.id"))
    input_id: Mapped[UUID] = mapped_column(ForeignKey("appraisal_inputs.id"))
    state: Mapped[str]
    reason: Mapped[str]
    contested_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    decision: Mapped[str | None]
    remedy: Mapped[str | None]
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))

    appraisal: Mapped[Appraisal] = relationship(lazy="raise")
    input: Mapped[AppraisalInput] = relationship(lazy="raise")
    decider: Mapped[User | None] = relationship(lazy="raise")
