"""Visits: what makes a point of a patrol visited.

A visit is found in fixes (``workflows.visit_watch``) or scanned (``workflows.scans``), at any checkpoint of the town
and on a patrol or not. A patrol takes the best visit of its officer at each of its points, also after its end, because
fixes may come days later; a point whose visit turned out to be none is open again. What a person says of a doubtful
visit is in ``reviews``.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.sql import Select

from backend.core.identity import Actor
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import PointState, Verdict
from backend.models import Checkpoint, Patrol, PatrolPoint, User, Visit
from workflows import access

LONGEST = timedelta(days=2)
"""No visit is longer: it lies in a shift."""
OWN_SINCE = timedelta(days=31)


def attach(uow: UnitOfWork, patrol: Patrol) -> list[UUID]:
    """Let the visits in the time of a locked patrol make its points visited; return the checkpoints that changed.

    A visit counts that overlaps the time of the patrol: who stands at the first point when he sets out has visited it.
    """
    if patrol.began_at is None or patrol.officer_id is None:
        return []
    points = {point.checkpoint_id: point for point in uow.session.scalars(_points(patrol.id))}
    best: dict[UUID, Visit] = {}
    found_ones = list(uow.session.scalars(_within(patrol, list(points), uow.now)))
    doubtful = [visit for visit in found_ones if visit.verdict == Verdict.DOUBTFUL]
    for visit in found_ones:
        # What was found doubtful does not count by being told anew: by a scan, or cut in two by late fixes.
        if any(_overlap(visit, one) for one in doubtful):
            continue
        known = best.get(visit.checkpoint_id)
        if known is None or (visit.proof, known.arrived_at) > (known.proof, visit.arrived_at):
            best[visit.checkpoint_id] = visit
    changed = []
    for checkpoint_id, point in points.items():
        visit_id = visited_at = None
        if (found := best.get(checkpoint_id)) is not None:
            visit_id, visited_at = found.id, max(found.arrived_at, patrol.began_at)
        if (point.visit_id, point.visited_at) == (visit_id, visited_at):
            continue
        point.visit_id, point.visited_at = visit_id, visited_at
        changed.append(checkpoint_id)
    uow.session.flush()
    return changed


def _points(patrol_id: UUID) -> Select[PatrolPoint]:
    return select(PatrolPoint).where(PatrolPoint.patrol_id == patrol_id).order_by(PatrolPoint.position)


def _within(patrol: Patrol, checkpoint_ids: Sequence[UUID], now: datetime) -> Select[Visit]:
    assert patrol.began_at is not None
    return select(Visit).where(
        Visit.officer_id == patrol.officer_id,
        Visit.arrived_at > patrol.began_at - LONGEST,
        Visit.arrived_at <= (patrol.ended_at or now),
        or_(Visit.left_at.is_(None), Visit.left_at >= patrol.began_at),
        Visit.checkpoint_id.in_(checkpoint_ids),
    )


def _overlap(visit: Visit, other: Visit) -> bool:
    """Say whether two visits are to one checkpoint at times that overlap; a visit overlaps itself."""
    return (
        visit.checkpoint_id == other.checkpoint_id
        and visit.arrived_at <= (other.left_at or visit.arrived_at)
        and other.arrived_at <= (visit.left_at or other.arrived_at)
    )


def counts() -> ColumnElement[bool]:
    """Return the condition that a visit counts: nobody who looked at it has found it doubtful."""
    return or_(Visit.verdict.is_(None), Visit.verdict != Verdict.DOUBTFUL)


def state_of(point: PatrolPoint) -> PointState:
    """Return what became of a point: visited, skipped with a reason, or neither yet."""
    if point.visit_id is not None:
        return PointState.VISITED
    return PointState.PENDING if point.reason is None else PointState.SKIPPED


def concerned(uow: UnitOfWork, officer_id: UUID, since: datetime, until: datetime) -> list[UUID]:
    """Return the patrols of an officer whose time overlaps a span, for :func:`attach`."""
    begun = select(Patrol.id).where(
        Patrol.officer_id == officer_id,
        Patrol.began_at > since - LONGEST,
        Patrol.began_at <= until,
        or_(Patrol.ended_at.is_(None), Patrol.ended_at >= since),
    )
    return list(uow.session.scalars(begun.order_by(Patrol.id)))


# --- Looks


def actions(actor: Actor, visit: Visit) -> list[str]:
    """Return what the actor may do with a visit now."""
    able = access.may(actor, "review", "visit") and visit.verdict is None
    return ["review"] if able else []


def named(uow: UnitOfWork, found: Sequence[Visit]) -> tuple[dict[UUID, Checkpoint], dict[UUID, User]]:
    """Return the checkpoints and the officers of visits, by id."""
    checkpoints = select(Checkpoint).where(Checkpoint.id.in_({visit.checkpoint_id for visit in found}))
    people = select(User).where(User.id.in_({visit.officer_id for visit in found}))
    return (
        {row.id: row for row in uow.session.scalars(checkpoints)},
        {row.id: row for row in uow.session.scalars(people)},
    )


def at_desk(
    uow: UnitOfWork,
    actor: Actor,
    *,
    since: datetime,
    until: datetime,
    checkpoint_id: UUID | None = None,
    flagged: bool = False,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Visit]:
    """Return the visits in the actor's areas that began in a span, newest first; ``flagged``: what waits for a look.

    Not by officer: what one person did over weeks is asked of his track, with a reason that he can read.
    """
    query = select(Visit).where(
        Visit.town_id == uow.town,
        Visit.arrived_at >= since,
        Visit.arrived_at < until,
        access.within(Visit.area_id, access.roots(actor, "see", "visit")),
    )
    if checkpoint_id is not None:
        query = query.where(Visit.checkpoint_id == checkpoint_id)
    if flagged:
        query = query.where(func.cardinality(Visit.flags) > 0, Visit.reviewed_at.is_(None))
    return _page(uow, query, after, limit)


def own(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[Visit]:
    """Return an officer's own visits of the last month, newest first."""
    query = select(Visit).where(Visit.officer_id == actor.user_id, Visit.arrived_at > uow.now - OWN_SINCE)
    return _page(uow, query, after, limit)


def _page(uow: UnitOfWork, query: Select[Visit], after: Sequence[str] | None, limit: int) -> Page[Visit]:
    if key := moment_and_id(after):
        query = query.where(
            or_(Visit.arrived_at < key[0], (Visit.arrived_at == key[0]) & (Visit.id < key[1]))
        )
    query = query.order_by(Visit.arrived_at.desc(), Visit.id.desc()).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda row: (row.arrived_at.isoformat(), row.id))
