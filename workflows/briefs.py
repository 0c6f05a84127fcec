"""The one-page brief of a task that was handed over to the police: what it was, who did what, and who took it over.

Whoever opens it leaves a disclosure, with his reason, before anything is given out; who prints it, an act in the
journal: from then on the town does not know who reads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from backend.core.errors import Conflict
from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Disclosure, Role, TaskSource
from backend.models import Alarm, Area, Assignment, Membership, Report, Task, Town, User
from geo import datum
from workflows import access, journal, timelines
from workflows.nearest import place_of
from workflows.timelines import Entry, Person

MOST_ENTRIES = 200
"""A page holds no more; what happened before is in the system."""


@dataclass(frozen=True)
class Hand:
    """An officer who had the task, and from when to when."""

    display_name: str
    kind: str | None
    state: str
    accepted_at: datetime | None
    arrived_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class Origin:
    """What the task came from: the alarm or report, its number, who raised or filed it, and what he wrote."""

    kind: str
    number: int
    at: datetime
    by: str | None
    note: str | None


@dataclass(frozen=True)
class Brief:
    """What stands on the page. ``wgs84`` and ``gcj02`` are the place, longitude and latitude in degrees."""

    task: Task
    town: dict[str, str]
    time_zone: str
    areas: list[dict[str, str]]
    wgs84: tuple[float, float]
    gcj02: tuple[float, float]
    people: list[Hand]
    resolved_by: Person | None
    referred_by: Person | None
    origin: Origin | None
    timeline: list[Entry]
    timeline_cut: bool
    printed_by: Person
    printed_at: datetime


def brief(uow: UnitOfWork, actor: Actor, task_id: UUID, *, reason: str) -> Brief:
    """Return what goes on the page, and write down who looked and why.

    Raises:
        Conflict: ``not_referred``; it was not handed over to the police.
    """
    task = _referred(uow, actor, task_id)
    journal.disclose(
        uow, actor, "task", task.id, Disclosure.EXPORT, reason=reason, data={"brief": task.number}
    )
    told = timelines.of_task(uow, actor, task.id, after=None, limit=MOST_ENTRIES)
    town = uow.session.get_one(Town, uow.town)
    lon, lat = place_of(task)
    assert task.referral is not None
    assert actor.user_id is not None
    people = _people(uow, [task.resolved_by, UUID(task.referral["by_id"]), actor.user_id])
    return Brief(
        task=task,
        town=town.name,
        time_zone=town.time_zone,
        areas=_areas(uow, task.area),
        wgs84=(lon, lat),
        gcj02=datum.convert(lon, lat, "wgs84", "gcj02"),
        people=_hands(uow, task.assignments),
        resolved_by=people.get(task.resolved_by),
        referred_by=people.get(UUID(task.referral["by_id"])),
        origin=_origin(uow, task),
        timeline=list(told.items),
        timeline_cut=told.after is not None,
        printed_by=people[actor.user_id],
        printed_at=uow.now,
    )


def print_brief(uow: UnitOfWork, actor: Actor, task_id: UUID, *, command_id: UUID) -> Task:
    """Write down that the page was printed.

    Raises:
        Conflict: ``not_referred``.
    """
    task = _referred(uow, actor, task_id)
    journal.write(
        uow, actor, "task", task.id, "print_brief", before=task.state, after=task.state, command_id=command_id
    )
    return task


def _referred(uow: UnitOfWork, actor: Actor, task_id: UUID) -> Task:
    task = access.task(uow, actor, task_id, verb="refer")
    if task.referral is None:
        raise Conflict("not_referred", "This task was not handed over to the police.")
    return task


def _areas(uow: UnitOfWork, area: Area) -> list[dict[str, str]]:
    """Return the names from the town down to the area: how people write an address."""
    query = select(Area.name).where(Area.id.in_(area.ancestors)).order_by(func.cardinality(Area.ancestors))
    return list(uow.session.scalars(query))


def _hands(uow: UnitOfWork, shares: Sequence[Assignment]) -> list[Hand]:
    """Return those who had accepted, in the order of the offers."""
    having = [share for share in shares if share.accepted_at is not None]
    kinds: dict[UUID, str | None] = {
        row.user_id: row.officer_kind
        for row in uow.session.execute(
            select(Membership.user_id, Membership.officer_kind).where(
                Membership.user_id.in_([share.officer_id for share in having]),
                Membership.role == Role.OFFICER,
            )
        )
    }
    return [
        Hand(
            share.officer.display_name, kinds.get(share.officer_id), share.state, share.accepted_at,
            share.arrived_at, share.ended_at,
        )
        for share in having
    ]  # fmt: skip


def _people(uow: UnitOfWork, ids: Sequence[UUID | None]) -> dict[UUID | None, Person]:
    rows = uow.session.execute(select(User.id, User.display_name).where(User.id.in_([i for i in ids if i])))
    return {row.id: Person(row.id, row.display_name) for row in rows}


def _origin(uow: UnitOfWork, task: Task) -> Origin | None:
    found: Any
    if task.source == TaskSource.ALARM:
        found = uow.session.scalar(
            select(Alarm).where(Alarm.id == task.source_id).options(*access.alarm_parts())
        )
        if found is not None:
            by = found.officer or found.resident
            return Origin(
                "alarm", found.number, found.raised_at, by and by.display_name, found.detail.get("note")
            )
    if task.source == TaskSource.REPORT:
        found = uow.session.scalar(
            select(Report).where(Report.id == task.source_id).options(*access.report_parts())
        )
        if found is not None:
            return Origin("report", found.number, found.filed_at, found.officer.display_name, found.note)
    return None
