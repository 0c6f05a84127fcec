"""What is stood at posts: who, from when to when, his breaks, and the times in which he was away."""

from datetime import datetime
from typing import Any
from uuid import UUID

from geoalchemy2 import Geometry
from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, Small, TownId
from backend.models.patrol import UUIDS, Plan
from backend.models.post import Post
from backend.models.town import Area
from backend.models.user import User


class PostDuty(Base):
    """A time at a post, planned or taken over from another. ``began_at`` and ``ended_at`` go by the officer's clock.

    The fence and what is needed are the post's when it was planned. ``officer_ids`` is who may begin it, if empty every
    officer of the area. ``relief_officer_id`` has asked to take it over; ``relieves_id`` is the duty that this one has
    taken over. ``presence`` is what the fold knows of each device; figures follow from it and are stored nowhere.
    """

    __tablename__ = "post_duties"
    __table_args__ = (
        UniqueConstraint("town_id", "number", name="uq_post_duties_town_number"),
        Index(
            "uq_post_duties_plan", "plan_id", "starts_at", unique=True, postgresql_where=text("state <> 'cancelled'")
        ),
        Index("uq_post_duties_relieves", "relieves_id", unique=True),
        Index(
            "uq_post_duties_standing", "officer_id", unique=True, postgresql_where=text("state = 'standing'")
        ),
        Index("ix_post_duties_starts", "town_id", text("starts_at desc"), text("id desc")),
        Index(
            "ix_post_duties_officer", "officer_id", text("starts_at desc"),
            postgresql_where=text("officer_id is not null"),
        ),
        Index("ix_post_duties_post", "post_id", text("starts_at desc")),
        Index("ix_post_duties_area_id", "area_id"),
        CheckConstraint(
            "state in ('planned', 'standing', 'relieved', 'ended', 'ended_early', 'missed', 'cancelled')",
            name="ck_post_duties_state",
        ),
        CheckConstraint("ends_at > starts_at", name="ck_post_duties_span"),
        CheckConstraint(
            "(state in ('standing', 'relieved', 'ended', 'ended_early')) = (officer_id is not null"
            " and shift_id is not null and began_at is not null and started_at is not null)",
            name="ck_post_duties_begun",
        ),
        CheckConstraint(
            "state <> 'planned' or num_nonnulls(officer_id, began_at, started_at, finished_at, missed_at, cancelled_at)"
            " = 0",
            name="ck_post_duties_planned_only",
        ),
        CheckConstraint(
            "(state in ('relieved', 'ended', 'ended_early')) = (finished_at is not null)"
            " and (finished_at is null) = (ended_at is null) and ended_at >= began_at",
            name="ck_post_duties_over",
        ),
        CheckConstraint(
            "state not in ('ended_early', 'cancelled') or reason is not null", name="ck_post_duties_reason"
        ),
        CheckConstraint("state <> 'missed' or missed_at is not null", name="ck_post_duties_missed"),
        CheckConstraint("(state = 'cancelled') = (cancelled_at is not null)", name="ck_post_duties_cancelled"),
        CheckConstraint("(explanation is null) = (explained_at is null)", name="ck_post_duties_explained"),
        CheckConstraint(
            "(relief_officer_id is null) = (relief_asked_at is null)"
            " and (relief is null) = (relieves_id is null) and relief in ('both', 'scan')",
            name="ck_post_duties_relief",
        ),
        CheckConstraint(
            "radius_m between 5 and 500 and needed_percent between 1 and 100 and break_s between 0 and 14400"
            " and absent_after_s between 60 and 3600",
            name="ck_post_duties_terms",
        ),
    )  # fmt: skip

    id: Mapped[Id]
    town_id: Mapped[TownId]
    number: Mapped[int]
    post_id: Mapped[UUID] = mapped_column(ForeignKey("posts.id"))
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    plan_id: Mapped[UUID | None] = mapped_column(ForeignKey("plans.id"))
    geom: Mapped[Any] = mapped_column(Geometry("POINT", srid=4326, spatial_index=False))
    radius_m: Mapped[float]
    needed_percent: Mapped[Small]
    break_s: Mapped[int]
    absent_after_s: Mapped[int]
    state: Mapped[str]
    officer_ids: Mapped[list[UUID]] = mapped_column(UUIDS, server_default=text("'{}'"))
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    officer_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    shift_id: Mapped[UUID | None] = mapped_column(ForeignKey("shifts.id"))
    began_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    late_at: Mapped[datetime | None]
    missed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    explanation: Mapped[str | None]
    explained_at: Mapped[datetime | None]
    relief_officer_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    relief_asked_at: Mapped[datetime | None]
    relieves_id: Mapped[UUID | None] = mapped_column(ForeignKey("post_duties.id"))
    relief: Mapped[str | None]
    presence: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    created_at: Mapped[datetime]
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))

    plan: Mapped[Plan | None] = relationship(lazy="raise")
    post: Mapped[Post] = relationship(lazy="raise")
    area: Mapped[Area] = relationship(lazy="raise")
    officer: Mapped[User | None] = relationship(lazy="raise", foreign_keys=[officer_id])
    relief_officer: Mapped[User | None] = relationship(lazy="raise", foreign_keys=[relief_officer_id])
    breaks: Mapped[list["PostBreak"]] = relationship(lazy="raise", order_by="PostBreak.began_at")
    absences: Mapped[list["PostAbsence"]] = relationship(lazy="raise", order_by="PostAbsence.began_at")


class PostBreak(Base):
    """A break of a duty, by the officer's clock; it goes on while ``ended_at`` is null."""

    __tablename__ = "post_breaks"
    __table_args__ = (
        UniqueConstraint("duty_id", "began_at", name="uq_post_breaks_began"),
        CheckConstraint("ended_at >= began_at", name="ck_post_breaks_span"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    duty_id: Mapped[UUID] = mapped_column(ForeignKey("post_duties.id"))
    began_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class PostAbsence(Base):
    """A time in which the officer was outside of the fence for too long, and what he says of it."""

    __tablename__ = "post_absences"
    __table_args__ = (
        UniqueConstraint("duty_id", "began_at", name="uq_post_absences_began"),
        CheckConstraint("ended_at >= began_at", name="ck_post_absences_span"),
        CheckConstraint("(explanation is null) = (explained_at is null)", name="ck_post_absences_explained"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    duty_id: Mapped[UUID] = mapped_column(ForeignKey("post_duties.id"))
    began_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    explanation: Mapped[str | None]
    explained_at: Mapped[datetime | None]
