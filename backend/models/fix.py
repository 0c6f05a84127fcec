"""Fixes and what is made of them: partitioned by time, written in groups by ``workflows.tracks``."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from geoalchemy2 import Geography, Geometry
from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, PrimaryKeyConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Small, TownId


class Fix(Base):
    """One position as measured; identified by device, time and sequence."""

    __tablename__ = "fixes"
    __table_args__ = (
        PrimaryKeyConstraint("device_id", "fixed_at", "seq", name="pk_fixes"),
        Index("ix_fixes_fixed_at", "fixed_at", postgresql_using="brin"),
        Index(
            "ix_fixes_received_at",
            "received_at",
            postgresql_using="brin",
            postgresql_with={"autosummarize": True},
        ),
        {"postgresql_partition_by": "RANGE (fixed_at)"},
    )

    town_id: Mapped[UUID]
    device_id: Mapped[UUID]
    fixed_at: Mapped[datetime]
    seq: Mapped[Small]
    shift_id: Mapped[UUID]
    area_id: Mapped[UUID | None]
    geom: Mapped[Any] = mapped_column(Geometry("POINT", srid=4326, spatial_index=False))
    accuracy_m: Mapped[float | None]
    altitude_m: Mapped[float | None]
    speed_mps: Mapped[float | None]
    heading_deg: Mapped[float | None]
    battery_pct: Mapped[float | None]
    charging: Mapped[bool | None]
    flags: Mapped[Small]
    sent_at: Mapped[datetime | None]
    received_at: Mapped[datetime]
    attributes: Mapped[dict[str, Any] | None]


class LatestPosition(Base):
    """Where an officer on shift was last seen. ``room_id`` is the area of the shift, which scopes who may see it."""

    __tablename__ = "latest_positions"
    __table_args__ = (
        Index("ix_latest_positions_geom", "geom", postgresql_using="gist"),
        Index("ix_latest_positions_room_id", "room_id"),
    )

    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    town_id: Mapped[TownId]
    shift_id: Mapped[UUID] = mapped_column(ForeignKey("shifts.id"))
    room_id: Mapped[UUID]
    device_id: Mapped[UUID]
    area_id: Mapped[UUID | None]
    geom: Mapped[Any] = mapped_column(Geography("POINT", srid=4326, spatial_index=False))
    fixed_at: Mapped[datetime]
    received_at: Mapped[datetime]
    accuracy_m: Mapped[float | None]
    speed_mps: Mapped[float | None]
    heading_deg: Mapped[float | None]
    battery_pct: Mapped[float | None]
    charging: Mapped[bool | None]


class QuarantinedFix(Base):
    """What could not be filed, as it came, with the reason."""

    __tablename__ = "quarantined_fixes"
    __table_args__ = (
        PrimaryKeyConstraint("received_at", "id", name="pk_quarantined_fixes"),
        Index("ix_quarantined_fixes_town", "town_id", text("received_at desc"), text("id desc")),
        {"postgresql_partition_by": "RANGE (received_at)"},
    )

    id: Mapped[UUID]
    town_id: Mapped[UUID]
    device_id: Mapped[UUID | None]
    received_at: Mapped[datetime]
    protocol: Mapped[str]
    reason: Mapped[str]
    payload: Mapped[dict[str, Any]]


class GateCounter(Base):
    """How many fixes met which outcome on a day; no person is in it.

    Each writing process counts in rows of its own (``writer``), so that none waits for another's commit; what is asked
    for is their sum.
    """

    __tablename__ = "gate_counters"
    __table_args__ = (
        PrimaryKeyConstraint("town_id", "day", "protocol", "outcome", "writer", name="pk_gate_counters"),
    )

    town_id: Mapped[TownId]
    day: Mapped[date]
    protocol: Mapped[str]
    outcome: Mapped[str]
    writer: Mapped[Small] = mapped_column(server_default="0")
    count: Mapped[int] = mapped_column(BigInteger)


class LateDay(Base):
    """A day (the town's) of an officer that got fixes after it was over: its track is to be made again."""

    __tablename__ = "late_days"
    __table_args__ = (PrimaryKeyConstraint("officer_id", "day", name="pk_late_days"),)

    town_id: Mapped[TownId]
    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    day: Mapped[date]


class TrackDay(Base):
    """The track of one officer on one closed day of the town: thinned, and with every fix.

    ``fixes`` (``packing.pack_whole``) is null in rows of before there was such a column.
    """

    __tablename__ = "track_days"
    __table_args__ = (
        PrimaryKeyConstraint("day", "officer_id", name="pk_track_days"),
        Index("ix_track_days_officer", "officer_id", text("day desc")),
    )

    town_id: Mapped[TownId]
    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    day: Mapped[date]
    fix_count: Mapped[int]
    length_m: Mapped[float]
    points: Mapped[bytes] = mapped_column(LargeBinary)
    built_at: Mapped[datetime]
    fixes: Mapped[bytes | None] = mapped_column(LargeBinary)
