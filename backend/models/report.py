"""Reports: what officers find themselves."""

from datetime import datetime
from typing import Any
from uuid import UUID

from geoalchemy2 import Geography
from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, TownId
from backend.models.task import Task, TaskKind
from backend.models.town import Area
from backend.models.user import User

UUIDS = ARRAY(postgresql.UUID(as_uuid=True))


class Report(Base):
    """What an officer found: handled on the spot, or passed on to become the task ``task_id``.

    The evidence is references: photos (``Evidence``) may still be on the phone. ``place_from`` says whether the phone
    told the place with the report or the officer's track did. ``device_at`` is when he pressed, by the phone's clock.
    """

    __tablename__ = "reports"
    __table_args__ = (
        UniqueConstraint("town_id", "number", name="uq_reports_town_number"),
        Index("ix_reports_town", "town_id", text("filed_at desc"), text("id desc")),
        Index("ix_reports_officer", "officer_id", text("filed_at desc"), text("id desc")),
        Index(
            "ix_reports_to_look_at", "town_id", text("filed_at desc"), text("id desc"),
            postgresql_where=text("state = 'sampled'"),
        ),
        Index("uq_reports_task_id", "task_id", unique=True, postgresql_where=text("task_id is not null")),
        Index("ix_reports_kind_id", "kind_id"),
        Index("ix_reports_evidence_before", "evidence_before", postgresql_using="gin"),
        Index("ix_reports_evidence_after", "evidence_after", postgresql_using="gin"),
        CheckConstraint(
            "state in ('filed', 'closed', 'sampled', 'passed_on', 'answered')", name="ck_reports_state"
        ),
        CheckConstraint("place_from in ('told', 'last_fix')", name="ck_reports_place_from"),
        CheckConstraint(
            "state <> 'filed' or (closed_at is null and sampled_at is null)", name="ck_reports_filed"
        ),
        CheckConstraint(
            "state not in ('closed', 'sampled') or closed_at is not null", name="ck_reports_closed"
        ),
        CheckConstraint(
            "state <> 'sampled' or (sampled_at is not null and seen_at is null)", name="ck_reports_sampled"
        ),
        CheckConstraint(
            "seen_at is null or (sampled_at is not null and seen_by is not null)", name="ck_reports_seen"
        ),
        CheckConstraint(
            "(state in ('passed_on', 'answered')) = (task_id is not null)"
            " and (task_id is null) = (passed_on_at is null)",
            name="ck_reports_passed_on",
        ),
        CheckConstraint(
            "(state = 'answered') = (answered_at is not null) and (answered_at is null) = (outcome is null)",
            name="ck_reports_answered",
        ),
        CheckConstraint("outcome in ('handled', 'referred', 'refused')", name="ck_reports_outcome"),
    )  # fmt: skip

    id: Mapped[Id]
    town_id: Mapped[TownId]
    number: Mapped[int]
    kind_id: Mapped[UUID] = mapped_column(ForeignKey("task_kinds.id"))
    state: Mapped[str]
    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    shift_id: Mapped[UUID | None] = mapped_column(ForeignKey("shifts.id"))
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    geom: Mapped[Any] = mapped_column(Geography("POINT", srid=4326, spatial_index=False))
    accuracy_m: Mapped[float | None]
    fixed_at: Mapped[datetime | None]
    place_from: Mapped[str]
    note: Mapped[str | None]
    evidence_before: Mapped[list[UUID]] = mapped_column(UUIDS, server_default=text("'{}'"))
    evidence_after: Mapped[list[UUID]] = mapped_column(UUIDS, server_default=text("'{}'"))
    filed_at: Mapped[datetime]
    device_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    sampled_at: Mapped[datetime | None]
    seen_at: Mapped[datetime | None]
    seen_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    passed_on_at: Mapped[datetime | None]
    task_id: Mapped[UUID | None] = mapped_column(ForeignKey("tasks.id"))
    answered_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    version: Mapped[int] = mapped_column(default=1)

    kind: Mapped[TaskKind] = relationship(lazy="raise")
    area: Mapped[Area] = relationship(lazy="raise")
    officer: Mapped[User] = relationship(lazy="raise", foreign_keys=[officer_id])
    looker: Mapped[User | None] = relationship(lazy="raise", foreign_keys=[seen_by])
    task: Mapped[Task | None] = relationship(lazy="raise", foreign_keys=[task_id])
