"""Plans, the patrols that are made of them, and what becomes of a patrol's points."""

from datetime import date, datetime, time
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, PrimaryKeyConstraint, UniqueConstraint, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, Small, TownId
from backend.models.route import Route
from backend.models.town import Area, Checkpoint
from backend.models.user import User

UUIDS = ARRAY(postgresql.UUID(as_uuid=True))


class Plan(Base):
    """When a route is to be gone, and by whom: a recurrence rule (RFC 5545) in the town's time zone.

    A patrol may start from its moment for ``window_s``; after ``late_after_s`` it is late, after the window missed.
    Empty ``officer_ids`` lets every officer of the route's area start it. ``made_until`` is how far patrols are made.
    """

    __tablename__ = "plans"
    __table_args__ = (
        Index("ix_plans_route_id", "route_id"),
        Index("ix_plans_town", "town_id", postgresql_where=text("retired_at is null")),
        CheckConstraint("name ? 'zh-CN' and name ? 'en'", name="ck_plans_name"),
        CheckConstraint("ends_on >= starts_on", name="ck_plans_span"),
        CheckConstraint(
            "late_after_s between 0 and window_s and window_s between 60 and 86400", name="ck_plans_times"
        ),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    route_id: Mapped[UUID] = mapped_column(ForeignKey("routes.id"))
    name: Mapped[dict[str, str]]
    rule: Mapped[str]
    starts_on: Mapped[date]
    starts_at: Mapped[time]
    ends_on: Mapped[date | None]
    late_after_s: Mapped[int]
    window_s: Mapped[int]
    officer_ids: Mapped[list[UUID]] = mapped_column(UUIDS, server_default=text("'{}'"))
    made_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))

    route: Mapped[Route] = relationship(lazy="raise")


class Patrol(Base):
    """One run of a route. ``began_at`` and ``ended_at`` are judged by the officer's clock, the stamps by the server's.

    ``scheduled_at`` and ``start_by`` are the window of a planned one, ``officer_ids`` who may start it; if empty, every
    officer of the area. ``reason`` is why it ended early or was cancelled, ``explanation`` what the officer says of one
    that was late, missed or not whole. ``adherence`` is where the watch over its corridor stands.
    """

    __tablename__ = "patrols"
    __table_args__ = (
        UniqueConstraint("town_id", "number", name="uq_patrols_town_number"),
        Index(
            "uq_patrols_plan", "plan_id", "scheduled_at", unique=True, postgresql_where=text("state <> 'cancelled'")
        ),
        Index("ix_patrols_scheduled", "town_id", text("scheduled_at desc"), text("id desc")),
        Index(
            "ix_patrols_officer", "officer_id", text("began_at desc"), postgresql_where=text("officer_id is not null")
        ),
        Index("ix_patrols_area_id", "area_id"),
        Index(
            "ix_patrols_open", "town_id", "scheduled_at",
            postgresql_where=text("state in ('planned', 'active', 'paused')"),
        ),
        Index("ix_patrols_route_id", "route_id"),
        CheckConstraint(
            "state in ('planned', 'active', 'paused', 'completed', 'ended_early', 'missed', 'cancelled')",
            name="ck_patrols_state",
        ),
        CheckConstraint(
            "start_by >= scheduled_at and (plan_id is null or start_by is not null)",
            name="ck_patrols_planned",
        ),
        CheckConstraint(
            "(state in ('active', 'paused', 'completed', 'ended_early')) = (officer_id is not null"
            " and shift_id is not null and began_at is not null and started_at is not null)",
            name="ck_patrols_begun",
        ),
        CheckConstraint(
            "state <> 'planned' or num_nonnulls(officer_id, began_at, started_at, paused_at, finished_at, missed_at,"
            " cancelled_at) = 0",
            name="ck_patrols_planned_only",
        ),
        CheckConstraint("state <> 'paused' or paused_at is not null", name="ck_patrols_paused"),
        CheckConstraint(
            "(state in ('completed', 'ended_early')) = (finished_at is not null)"
            " and (finished_at is null) = (ended_at is null) and ended_at >= began_at",
            name="ck_patrols_over",
        ),
        CheckConstraint("state not in ('ended_early', 'cancelled') or reason is not null", name="ck_patrols_reason"),
        CheckConstraint(
            "state <> 'missed' or (missed_at is not null and start_by is not null)", name="ck_patrols_missed"
        ),
        CheckConstraint("(state = 'cancelled') = (cancelled_at is not null)", name="ck_patrols_cancelled"),
        CheckConstraint("(explanation is null) = (explained_at is null)", name="ck_patrols_explained"),
    )  # fmt: skip

    id: Mapped[Id]
    town_id: Mapped[TownId]
    number: Mapped[int]
    plan_id: Mapped[UUID | None] = mapped_column(ForeignKey("plans.id"))
    route_id: Mapped[UUID] = mapped_column(ForeignKey("routes.id"))
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    sequence: Mapped[str]
    allowed_s: Mapped[int]
    corridor_m: Mapped[float | None]
    adherence: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    state: Mapped[str]
    officer_ids: Mapped[list[UUID]] = mapped_column(UUIDS, server_default=text("'{}'"))
    scheduled_at: Mapped[datetime]
    start_by: Mapped[datetime | None]
    officer_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    shift_id: Mapped[UUID | None] = mapped_column(ForeignKey("shifts.id"))
    began_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    paused_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    late_at: Mapped[datetime | None]
    overdue_at: Mapped[datetime | None]
    missed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    explanation: Mapped[str | None]
    explained_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))

    plan: Mapped[Plan | None] = relationship(lazy="raise")
    route: Mapped[Route] = relationship(lazy="raise")
    area: Mapped[Area] = relationship(lazy="raise")
    officer: Mapped[User | None] = relationship(lazy="raise")
    points: Mapped[list["PatrolPoint"]] = relationship(lazy="raise", order_by="PatrolPoint.position")
    deviations: Mapped[list["PatrolDeviation"]] = relationship(
        lazy="raise", order_by="PatrolDeviation.began_at"
    )
    photos: Mapped[list["PatrolPhoto"]] = relationship(
        lazy="raise", viewonly=True, order_by="PatrolPhoto.named_at, PatrolPhoto.evidence_id"
    )


class PatrolPoint(Base):
    """A checkpoint of a patrol: visited, skipped with a reason, or neither yet. ``visit_id`` is its best visit."""

    __tablename__ = "patrol_points"
    __table_args__ = (
        PrimaryKeyConstraint("patrol_id", "position", name="pk_patrol_points"),
        UniqueConstraint("patrol_id", "checkpoint_id", name="uq_patrol_points_checkpoint"),
        Index("ix_patrol_points_checkpoint_id", "checkpoint_id"),
        CheckConstraint("(visit_id is null) = (visited_at is null)", name="ck_patrol_points_visited"),
        CheckConstraint("(reason is null) = (skipped_at is null)", name="ck_patrol_points_skipped"),
        CheckConstraint("(answers is null) = (answered_at is null)", name="ck_patrol_points_answers"),
    )

    patrol_id: Mapped[UUID] = mapped_column(ForeignKey("patrols.id"))
    position: Mapped[Small]
    town_id: Mapped[TownId]
    checkpoint_id: Mapped[UUID] = mapped_column(ForeignKey("checkpoints.id"))
    visit_id: Mapped[UUID | None]
    visited_at: Mapped[datetime | None]
    answers: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    answered_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    skipped_at: Mapped[datetime | None]

    checkpoint: Mapped[Checkpoint] = relationship(lazy="raise")


class PatrolPhoto(Base):
    """That somebody has named a photo of his for a point of a patrol, perhaps as what a question asked for.

    It stays when he answers once more.
    """

    __tablename__ = "patrol_photos"
    __table_args__ = (
        PrimaryKeyConstraint("patrol_id", "evidence_id", name="pk_patrol_photos"),
        Index("ix_patrol_photos_evidence", "evidence_id"),
    )

    patrol_id: Mapped[UUID] = mapped_column(ForeignKey("patrols.id"))
    evidence_id: Mapped[UUID]
    checkpoint_id: Mapped[UUID] = mapped_column(ForeignKey("checkpoints.id"))
    question_id: Mapped[str | None]
    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    town_id: Mapped[TownId]
    named_at: Mapped[datetime]


class PatrolDeviation(Base):
    """A time in which a patrol was farther from its route's line than the corridor, and what the officer says of it."""

    __tablename__ = "patrol_deviations"
    __table_args__ = (
        UniqueConstraint("patrol_id", "began_at", name="uq_patrol_deviations_began"),
        CheckConstraint("ended_at >= began_at", name="ck_patrol_deviations_span"),
        CheckConstraint(
            "(explanation is null) = (explained_at is null)", name="ck_patrol_deviations_explained"
        ),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    patrol_id: Mapped[UUID] = mapped_column(ForeignKey("patrols.id"))
    began_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    furthest_m: Mapped[float]
    explanation: Mapped[str | None]
    explained_at: Mapped[datetime | None]
