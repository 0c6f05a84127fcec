"""What the desk asks of officers on shift, and what each of them answers."""

from datetime import datetime
from typing import Any
from uuid import UUID

from geoalchemy2 import Geography
from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, TownId
from backend.models.shift import Crew
from backend.models.town import Area
from backend.models.user import User


class Call(Base):
    """A roll call, a spot check or a broadcast: asked of those on shift in an area and below it, or in a crew.

    ``version`` counts what happened to the call itself; answers do not move it, and so do not wait for each other.
    """

    __tablename__ = "calls"
    __table_args__ = (
        Index("ix_calls_town", "town_id", sql("created_at desc"), sql("id desc")),
        Index("ix_calls_open_area", "area_id", postgresql_where=sql("state = 'open'")),
        CheckConstraint("kind in ('roll_call', 'spot_check', 'broadcast')", name="ck_calls_kind"),
        CheckConstraint("state in ('open', 'ended', 'cancelled')", name="ck_calls_state"),
        CheckConstraint(
            "(kind = 'broadcast') = (text is not null) and length(text) between 1 and 500",
            name="ck_calls_text",
        ),
        CheckConstraint("crew_id is null or kind = 'roll_call'", name="ck_calls_crew"),
        CheckConstraint("ends_at > created_at", name="ck_calls_ends"),
        CheckConstraint("(state = 'ended') = (ended_at is not null)", name="ck_calls_ended"),
        CheckConstraint("(state = 'cancelled') = (cancelled_at is not null)", name="ck_calls_cancelled"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    kind: Mapped[str]
    state: Mapped[str]
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    crew_id: Mapped[UUID | None] = mapped_column(ForeignKey("crews.id"))
    text: Mapped[str | None]
    created_by: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1)

    area: Mapped[Area] = relationship(lazy="raise")
    crew: Mapped[Crew | None] = relationship(lazy="raise")
    creator: Mapped[User] = relationship(lazy="raise")


class CallAnswer(Base):
    """What one officer was asked and has answered, from where.

    ``received_at`` is when his phone had it. ``outside_m`` is how far outside his shift's area the place lies, 0 inside
    of it.
    The place itself is forgotten as tracks are; whether it was inside stays.
    """

    __tablename__ = "call_answers"
    __table_args__ = (
        UniqueConstraint("call_id", "officer_id", name="uq_call_answers_officer"),
        Index("ix_call_answers_officer", "officer_id", sql("asked_at desc"), sql("id desc")),
        Index("ix_call_answers_asked", "officer_id", postgresql_where=sql("state = 'asked'")),
        Index("ix_call_answers_shift_id", "shift_id"),
        Index("ix_call_answers_placed", "answered_at", postgresql_where=sql("geom is not null")),
        CheckConstraint(
            "state in ('asked', 'answered', 'late', 'missed', 'excused')", name="ck_call_answers_state"
        ),
        CheckConstraint(
            "(state in ('answered', 'late')) = (answered_at is not null)", name="ck_call_answers_answered"
        ),
        CheckConstraint(
            "(state in ('missed', 'late')) = (missed_at is not null)", name="ck_call_answers_missed"
        ),
        CheckConstraint("(state = 'excused') = (excused_at is not null)", name="ck_call_answers_excused"),
        CheckConstraint("answered_at is null or received_at is not null", name="ck_call_answers_received"),
        CheckConstraint("geom is null or answered_at is not null", name="ck_call_answers_place"),
        CheckConstraint(
            "geom is not null or (accuracy_m is null and fixed_at is null)", name="ck_call_answers_fix"
        ),
        CheckConstraint(
            "(is_inside is null) = (outside_m is null) and outside_m >= 0", name="ck_call_answers_inside"
        ),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    call_id: Mapped[UUID] = mapped_column(ForeignKey("calls.id"))
    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    shift_id: Mapped[UUID] = mapped_column(ForeignKey("shifts.id"))
    state: Mapped[str]
    asked_at: Mapped[datetime]
    received_at: Mapped[datetime | None]
    answered_at: Mapped[datetime | None]
    answered_device_at: Mapped[datetime | None]
    missed_at: Mapped[datetime | None]
    excused_at: Mapped[datetime | None]
    geom: Mapped[Any] = mapped_column(Geography("POINT", srid=4326, spatial_index=False), nullable=True)
    accuracy_m: Mapped[float | None]
    fixed_at: Mapped[datetime | None]
    is_inside: Mapped[bool | None]
    outside_m: Mapped[float | None]
    version: Mapped[int] = mapped_column(default=1)

    call: Mapped[Call] = relationship(lazy="raise")
    officer: Mapped[User] = relationship(lazy="raise")
