"""Alarms: what must be looked at, raised once per source and kind."""

from datetime import datetime
from typing import Any
from uuid import UUID

from geoalchemy2 import Geography
from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, Small, TownId
from backend.models.task import PRIORITIES
from backend.models.town import Area
from backend.models.user import User

IS_OPEN = "state in ('raised', 'acknowledged', 'dispatched')"


class Alarm(Base):
    """Something that must be looked at. ``area_id`` says whose desk sees it, ``level`` how far it was escalated."""

    __tablename__ = "alarms"
    __table_args__ = (
        UniqueConstraint("town_id", "number", name="uq_alarms_town_number"),
        Index(
            "uq_alarms_one_open",
            "town_id",
            "kind",
            "source",
            "source_id",
            unique=True,
            postgresql_where=text(IS_OPEN),
        ),
        Index("ix_alarms_town", "town_id", text("raised_at desc"), text("id desc")),
        Index("ix_alarms_source", "source_id", text("raised_at desc"), text("id desc")),
        Index("ix_alarms_placed", "raised_at", postgresql_where=text("geom is not null")),
        Index("ix_alarms_open_area", "area_id", postgresql_where=text(IS_OPEN)),
        Index("ix_alarms_task_id", "task_id", postgresql_where=text("task_id is not null")),
        CheckConstraint(
            "kind in ('sos', 'silent', 'left_area', 'battery_low', 'deviation', 'sensor', 'outage')",
            name="ck_alarms_kind",
        ),
        CheckConstraint("source in ('officer', 'resident', 'device', 'area')", name="ck_alarms_source"),
        CheckConstraint(
            "(kind = 'outage') = (source = 'area') and (source <> 'area' or source_id = area_id)",
            name="ck_alarms_outage",
        ),
        CheckConstraint(
            "state in ('raised', 'acknowledged', 'dispatched', 'cleared', 'false')", name="ck_alarms_state"
        ),
        CheckConstraint(f"priority in {PRIORITIES}", name="ck_alarms_priority"),
        CheckConstraint(
            "(acknowledged_at is null) = (acknowledged_by is null)", name="ck_alarms_acknowledged"
        ),
        CheckConstraint(
            "state <> 'raised' or (acknowledged_at is null and dispatched_at is null)",
            name="ck_alarms_raised",
        ),
        CheckConstraint("state <> 'acknowledged' or acknowledged_at is not null", name="ck_alarms_taken_on"),
        CheckConstraint(
            "state <> 'dispatched' or (dispatched_at is not null and task_id is not null)",
            name="ck_alarms_dispatched",
        ),
        CheckConstraint("(state = 'cleared') = (cleared_at is not null)", name="ck_alarms_cleared"),
        CheckConstraint("(state = 'false') = (dismissed_at is not null)", name="ck_alarms_dismissed"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    number: Mapped[int]
    kind: Mapped[str]
    source: Mapped[str]
    source_id: Mapped[UUID]
    state: Mapped[str]
    priority: Mapped[str]
    level: Mapped[Small] = mapped_column(server_default=text("0"))
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    officer_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    resident_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    shift_id: Mapped[UUID | None] = mapped_column(ForeignKey("shifts.id"))
    geom: Mapped[Any | None] = mapped_column(Geography("POINT", srid=4326, spatial_index=False))
    accuracy_m: Mapped[float | None]
    fixed_at: Mapped[datetime | None]
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    raised_at: Mapped[datetime]
    raised_device_at: Mapped[datetime | None]
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    dispatched_at: Mapped[datetime | None]
    task_id: Mapped[UUID | None] = mapped_column(ForeignKey("tasks.id"))
    cleared_at: Mapped[datetime | None]
    dismissed_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1)

    area: Mapped[Area] = relationship(lazy="raise")
    officer: Mapped[User | None] = relationship(lazy="raise", foreign_keys=[officer_id])
    resident: Mapped[User | None] = relationship(lazy="raise", foreign_keys=[resident_id])
    acknowledger: Mapped[User | None] = relationship(lazy="raise", foreign_keys=[acknowledged_by])
