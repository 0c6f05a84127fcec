"""Visits, and where their detection stands."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, PrimaryKeyConstraint, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Small, TownId


class Visit(Base):
    """A presence at a checkpoint, computed from fixes or scanned, with its proof. Partitioned by month.

    ``facts`` is what the proof was judged by, ``parts`` the points it got for what, ``proof`` their sum (0 to 100),
    ``flags`` what a person should look at. A flag takes no visit away; ``verdict`` is what that person found.
    """

    __tablename__ = "visits"
    __table_args__ = (
        PrimaryKeyConstraint("arrived_at", "id", name="pk_visits"),
        Index("ix_visits_id", "id"),
        Index("ix_visits_officer", "officer_id", text("arrived_at desc")),
        Index("ix_visits_device", "device_id", text("arrived_at desc")),
        Index("ix_visits_checkpoint", "checkpoint_id", text("arrived_at desc")),
        Index(
            "ix_visits_to_look_at", "town_id", text("arrived_at desc"), text("id desc"),
            postgresql_where=text("flags <> '{}' and reviewed_at is null"),
        ),
        CheckConstraint("left_at >= arrived_at and dwell_s >= 0", name="ck_visits_span"),
        CheckConstraint("method in ('dwell', 'nfc', 'nfc_signed', 'qr')", name="ck_visits_method"),
        CheckConstraint("proof between 0 and 100", name="ck_visits_proof"),
        CheckConstraint("verdict in ('genuine', 'doubtful')", name="ck_visits_verdict"),
        CheckConstraint(
            "(verdict is null) = (reviewed_at is null) and (reviewed_at is null) = (reviewed_by is null)",
            name="ck_visits_reviewed",
        ),
        {"postgresql_partition_by": "RANGE (arrived_at)"},
    )  # fmt: skip

    id: Mapped[UUID]
    town_id: Mapped[UUID]
    arrived_at: Mapped[datetime]
    left_at: Mapped[datetime | None]
    checkpoint_id: Mapped[UUID]
    officer_id: Mapped[UUID]
    device_id: Mapped[UUID | None]
    shift_id: Mapped[UUID]
    area_id: Mapped[UUID]
    method: Mapped[str]
    dwell_s: Mapped[int]
    facts: Mapped[dict[str, Any]]
    parts: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    proof: Mapped[Small]
    flags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    command_id: Mapped[UUID | None]
    created_at: Mapped[datetime]
    reviewed_at: Mapped[datetime | None]
    reviewed_by: Mapped[UUID | None]
    verdict: Mapped[str | None]
    review_note: Mapped[str | None]
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))


class VisitWatch(Base):
    """Up to which moment of receipt the fixes of a town have been looked at."""

    __tablename__ = "visit_watches"

    town_id: Mapped[UUID] = mapped_column(ForeignKey("towns.id"), primary_key=True)
    looked_until: Mapped[datetime]


class VisitState(Base):
    """Where the detection of visits stands with one device: ``geo.visits.Watch``, a fold that goes on from here.

    ``fresh`` names the fixes that are in it and were received so lately that they will be read once more.
    """

    __tablename__ = "visit_states"

    device_id: Mapped[UUID] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    town_id: Mapped[TownId]
    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    fold: Mapped[dict[str, Any]]
    fresh: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'"))
    updated_at: Mapped[datetime]
