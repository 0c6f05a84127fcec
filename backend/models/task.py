"""Kinds of task, tasks, and who is assigned to them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from geoalchemy2 import Geography
from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, Small, TownId
from backend.models.town import Area
from backend.models.user import User

PRIORITIES = "('low', 'normal', 'high', 'critical')"


class TaskKind(Base):
    """What officers may be told to do: who may do it, what is asked of them, and how soon. Data of the town.

    ``checklist`` is a list of ``{"id", "text": {"zh-CN", "en"}, "required"}``, ``questions`` one of ``{"id", "text",
    "answer": "text" | "number" | "yes_no" | "choice", "choices": [{"id", "text"}], "required"}``. Empty
    ``officer_kinds`` admits everybody. Of a ``reportable`` kind is also what officers find themselves and report.
    """

    __tablename__ = "task_kinds"
    __table_args__ = (
        UniqueConstraint("town_id", "code", name="uq_task_kinds_town_code"),
        CheckConstraint("name ? 'zh-CN' and name ? 'en'", name="ck_task_kinds_name"),
        CheckConstraint(f"priority in {PRIORITIES}", name="ck_task_kinds_priority"),
        CheckConstraint("needed between 1 and 50", name="ck_task_kinds_needed"),
        CheckConstraint(
            "offer_s between 10 and 86400 and accept_within_s > 0 and arrive_within_s > 0 and complete_within_s > 0",
            name="ck_task_kinds_times",
        ),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    code: Mapped[str]
    name: Mapped[dict[str, str]]
    priority: Mapped[str]
    officer_kinds: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    skill: Mapped[str | None]
    needed: Mapped[Small] = mapped_column(server_default=text("1"))
    checklist: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    questions: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    wants_evidence: Mapped[bool] = mapped_column(server_default=text("false"))
    reportable: Mapped[bool] = mapped_column(server_default=text("true"))
    offer_s: Mapped[int] = mapped_column(server_default=text("90"))
    accept_within_s: Mapped[int | None]
    arrive_within_s: Mapped[int | None]
    complete_within_s: Mapped[int | None]
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1)


class Task(Base):
    """Something officers are told to do at a place. ``overdue`` names the first deadline that was missed and still is.

    ``needed`` people have to accept; ``filled_at`` is when the last of them did. With ``offers_itself`` an offer that
    lapses goes to the next nearest without the desk; with ``by_crew`` one accept binds the officer's whole crew.
    ``referral`` says who at 110 took it over, under which number, and why.
    """

    __tablename__ = "tasks"
    __table_args__ = (
        UniqueConstraint("town_id", "number", name="uq_tasks_town_number"),
        Index("ix_tasks_town", "town_id", text("created_at desc"), text("id desc")),
        Index(
            "ix_tasks_overdue",
            "town_id",
            text("created_at desc"),
            text("id desc"),
            postgresql_where=text("overdue is not null"),
        ),
        Index("ix_tasks_open_area", "area_id", postgresql_where=text("state not in ('closed', 'cancelled')")),
        Index("ix_tasks_source", "source_id", postgresql_where=text("source_id is not null")),
        Index("ix_tasks_kind_id", "kind_id"),
        CheckConstraint(
            "state in ('open', 'offered', 'accepted', 'en_route', 'on_site', 'suspended', 'resolved', 'closed',"
            " 'cancelled')",
            name="ck_tasks_state",
        ),
        CheckConstraint(f"priority in {PRIORITIES}", name="ck_tasks_priority"),
        CheckConstraint(
            "source in ('desk', 'alarm', 'report', 'complaint', 'patrol')", name="ck_tasks_source"
        ),
        CheckConstraint("needed between 1 and 50", name="ck_tasks_needed"),
        CheckConstraint("(state = 'suspended') = (suspended_from is not null)", name="ck_tasks_suspended"),
        CheckConstraint(
            "suspended_from in ('accepted', 'en_route', 'on_site')", name="ck_tasks_suspended_from"
        ),
        CheckConstraint(
            "(state <> 'resolved' and (state <> 'closed' or referral is not null))"
            " or (resolved_at is not null and resolved_by is not null and result is not null)",
            name="ck_tasks_resolved",
        ),
        CheckConstraint(
            "(referral is null) = (referred_at is null) and (referral is null or state = 'closed')",
            name="ck_tasks_referred",
        ),
        CheckConstraint("(state = 'closed') = (closed_at is not null)", name="ck_tasks_closed"),
        CheckConstraint("(state = 'cancelled') = (cancelled_at is not null)", name="ck_tasks_cancelled"),
        CheckConstraint("state <> 'offered' or offered_at is not null", name="ck_tasks_offered"),
        CheckConstraint(
            "state not in ('accepted', 'en_route', 'on_site', 'suspended') or accepted_at is not null",
            name="ck_tasks_accepted",
        ),
        CheckConstraint("overdue in ('accept', 'arrive', 'complete')", name="ck_tasks_overdue"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    number: Mapped[int]
    kind_id: Mapped[UUID] = mapped_column(ForeignKey("task_kinds.id"))
    state: Mapped[str]
    suspended_from: Mapped[str | None]
    priority: Mapped[str]
    description: Mapped[str]
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    geom: Mapped[Any] = mapped_column(Geography("POINT", srid=4326, spatial_index=False))
    place_name: Mapped[str | None]
    source: Mapped[str]
    source_id: Mapped[UUID | None]
    needed: Mapped[Small]
    by_crew: Mapped[bool] = mapped_column(server_default=text("false"))
    offers_itself: Mapped[bool] = mapped_column(server_default=text("false"))
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime]
    accept_due_at: Mapped[datetime | None]
    arrive_due_at: Mapped[datetime | None]
    complete_due_at: Mapped[datetime | None]
    overdue: Mapped[str | None]
    offered_at: Mapped[datetime | None]
    accepted_at: Mapped[datetime | None]
    filled_at: Mapped[datetime | None]
    departed_at: Mapped[datetime | None]
    arrived_at: Mapped[datetime | None]
    suspended_at: Mapped[datetime | None]
    resolved_at: Mapped[datetime | None]
    resolved_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    closed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    referred_at: Mapped[datetime | None]
    referral: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    version: Mapped[int] = mapped_column(default=1)

    kind: Mapped[TaskKind] = relationship(lazy="raise")
    area: Mapped[Area] = relationship(lazy="raise")
    assignments: Mapped[list["Assignment"]] = relationship(
        lazy="raise",
        order_by="(Assignment.offered_at, Assignment.id)",
        foreign_keys="Assignment.task_id",
        back_populates="task",
    )


class Assignment(Base):
    """One officer's share in a task: the offer he got and what became of it.

    ``way_began_at`` is since when he is on his present way to it: he set out, goes on after an SOS, or it has moved.
    """

    __tablename__ = "assignments"
    __table_args__ = (
        Index(
            "uq_assignments_one_of_officer",
            "task_id",
            "officer_id",
            unique=True,
            postgresql_where=text("ended_at is null"),
        ),
        Index("ix_assignments_task_id", "task_id", "offered_at"),
        Index("ix_assignments_officer", "officer_id", postgresql_where=text("ended_at is null")),
        Index("ix_assignments_officer_past", "officer_id", text("offered_at desc")),
        Index("ix_assignments_under_way", "town_id", postgresql_where=text("state = 'en_route'")),
        CheckConstraint(
            "state in ('offered', 'accepted', 'en_route', 'on_site', 'suspended', 'declined', 'lapsed', 'withdrawn',"
            " 'handed_back', 'handed_over', 'released', 'done')",
            name="ck_assignments_state",
        ),
        CheckConstraint(
            "(state in ('offered', 'accepted', 'en_route', 'on_site', 'suspended')) = (ended_at is null)",
            name="ck_assignments_ended",
        ),
        CheckConstraint(
            "(state = 'suspended') = (suspended_from is not null)", name="ck_assignments_suspended"
        ),
        CheckConstraint(
            "suspended_from in ('accepted', 'en_route', 'on_site')", name="ck_assignments_suspended_from"
        ),
        CheckConstraint(
            "(state in ('accepted', 'en_route', 'on_site', 'suspended', 'handed_back', 'handed_over', 'released',"
            " 'done')) = (accepted_at is not null)",
            name="ck_assignments_accepted",
        ),
        CheckConstraint(
            "accepted_at is not null or (departed_at is null and arrived_at is null)",
            name="ck_assignments_going",
        ),
        CheckConstraint("suspended_by is null or state = 'suspended'", name="ck_assignments_suspended_by"),
        CheckConstraint("state <> 'on_site' or arrived_at is not null", name="ck_assignments_on_site"),
        CheckConstraint("(state = 'en_route') = (way_began_at is not null)", name="ck_assignments_way"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id"))
    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    state: Mapped[str]
    suspended_from: Mapped[str | None]
    suspended_by: Mapped[UUID | None] = mapped_column(ForeignKey("tasks.id"))
    distance_m: Mapped[float | None]
    eta_s: Mapped[int | None]
    offered_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    offered_at: Mapped[datetime]
    lapses_at: Mapped[datetime | None]
    accepted_at: Mapped[datetime | None]
    departed_at: Mapped[datetime | None]
    way_began_at: Mapped[datetime | None]
    arrived_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    version: Mapped[int] = mapped_column(default=1)

    task: Mapped[Task] = relationship(lazy="raise", foreign_keys=[task_id], back_populates="assignments")
    officer: Mapped[User] = relationship(lazy="raise", foreign_keys=[officer_id])
