"""Timelines: what happened to a thing, as people tell it; read from the journal."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select

from backend.core.identity import Actor
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Role
from backend.models import Journal, Membership, User
from geo import queries
from geo.queries import Moment
from workflows import reports, task_looks
from workflows.assignments import ASSIGNMENT
from workflows.reports import REPORT
from workflows.tasks import TASK

MOST_ENTRIES = 2000
"""So many acts are read for a page: more than a page shows, and more than one moment holds."""


@dataclass(frozen=True)
class Person:
    """Somebody, by name."""

    id: UUID
    display_name: str


@dataclass(frozen=True)
class Entry:
    """One act. ``about`` is the assignment where one officer's share alone has changed."""

    id: UUID
    at: datetime
    device_at: datetime | None
    action: str
    about: str
    from_state: str | None
    to_state: str | None
    actor: Person | None
    officer: Person | None
    reason: str | None
    data: dict[str, Any] | None
    place: tuple[float, float] | None = None
    accuracy_m: float | None = None


def of_task(
    uow: UnitOfWork, actor: Actor, task_id: UUID, *, after: Sequence[str] | None, limit: int
) -> Page[Entry]:
    """Return a task's acts and those of its people, from the beginning; what is one act to people is one entry.

    Where an officer was when he acted is looked up among his fixes, by his phone's clock where it is known; it is told
    as long as the fixes are kept.
    """
    task = task_looks.at_desk_one(uow, actor, task_id)
    shares = {share.id: share.officer_id for share in task.assignments}
    key = moment_and_id(after)
    # A share's act and the task's that came with it have one moment: read from there, neither is without the other.
    since = key[0] if key else task.created_at
    acts = list(
        uow.session.scalars(
            select(Journal)
            .where(Journal.subject_id.in_([task.id, *shares]), Journal.at >= since)
            .order_by(Journal.at, Journal.id)
            .limit(MOST_ENTRIES)
        )
    )
    told = _told_once(acts)
    if key:
        told = [act for act in told if (act[0].at, act[0].id) > key]
    found = page(told[: limit + 1], limit, lambda act: (act[0].at.isoformat(), act[0].id))
    ids = {act.actor_id for act, _ in found.items if act.actor_id} | set(shares.values())
    names = _names(uow, ids)
    entries = [_entry(act, about, shares, names) for act, about in found.items]
    return Page(_placed(uow, entries), found.after)


def of_report(
    uow: UnitOfWork, actor: Actor, report_id: UUID, *, after: Sequence[str] | None, limit: int
) -> Page[Entry]:
    """Return what happened to a report, from the beginning; what its task went through stands with the task."""
    report = reports.at_desk_one(uow, actor, report_id)
    query = (
        select(Journal)
        .where(Journal.subject_id == report.id, Journal.subject_kind == REPORT.kind)
        .where(Journal.at >= report.filed_at)
        .order_by(Journal.at, Journal.id)
        .limit(limit + 1)
    )
    if key := moment_and_id(after):
        query = query.where(or_(Journal.at > key[0], (Journal.at == key[0]) & (Journal.id > key[1])))
    found = page(list(uow.session.scalars(query)), limit, lambda act: (act.at.isoformat(), act.id))
    names = _names(uow, {act.actor_id for act in found.items if act.actor_id})
    entries = [_entry(act, act, {}, names) for act in found.items]
    # Where it was found was said with it: nobody is looked up for that.
    return Page(
        [replace(e, place=reports.place_of(report), accuracy_m=report.accuracy_m) if e.action == "file" else e
         for e in entries], found.after,
    )  # fmt: skip


def _told_once(acts: Sequence[Journal]) -> list[tuple[Journal, Journal]]:
    """Return the acts with those that they moved the task by: an officer's accept, and the task's that came with it."""
    of_task = {(act.at, act.actor_id, act.action): act for act in acts if act.subject_kind == TASK.kind}
    told: list[tuple[Journal, Journal]] = []
    for act in acts:
        key = (act.at, act.actor_id, act.action)
        if act.subject_kind == ASSIGNMENT.kind:
            told.append((act, of_task.pop(key, act)))
    with_share = {id(moved) for _, moved in told}
    told += [(act, act) for act in acts if act.subject_kind == TASK.kind and id(act) not in with_share]
    return sorted(told, key=lambda pair: (pair[0].at, pair[0].id))


def _entry(act: Journal, moved: Journal, shares: dict[UUID, UUID], names: dict[UUID, Person]) -> Entry:
    officer_id = shares.get(act.subject_id)
    return Entry(
        id=act.id,
        at=act.at,
        device_at=act.device_at,
        action=act.action,
        about=moved.subject_kind,
        from_state=moved.from_state,
        to_state=moved.to_state,
        actor=names.get(act.actor_id) if act.actor_id else None,
        officer=names.get(officer_id) if officer_id else None,
        reason=act.reason,
        data=act.data,
    )


def _names(uow: UnitOfWork, ids: set[UUID]) -> dict[UUID, Person]:
    rows = uow.session.execute(select(User.id, User.display_name).where(User.id.in_(ids)))
    return {row.id: Person(row.id, row.display_name) for row in rows}


def _placed(uow: UnitOfWork, entries: Sequence[Entry]) -> list[Entry]:
    """Add where officers were when they acted; of the desk nothing is known and nothing is asked."""
    actors = {entry.actor.id for entry in entries if entry.actor}
    officers = set(
        uow.session.scalars(
            select(Membership.user_id).where(Membership.user_id.in_(actors), Membership.role == Role.OFFICER)
        )
    )
    by_officer = [n for n, entry in enumerate(entries) if entry.actor and entry.actor.id in officers]
    moments = []
    for n in by_officer:
        entry = entries[n]
        assert entry.actor is not None
        moments.append(Moment(entry.actor.id, entry.device_at or entry.at))
    placed = list(entries)
    for n, found in zip(by_officer, queries.places_at(uow.session, moments), strict=True):
        if found is not None:
            placed[n] = replace(entries[n], place=found[:2], accuracy_m=found[2])
    return placed
