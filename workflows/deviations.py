"""Deviations: when an officer on a patrol is farther from its route than the corridor, he is told and can say why.

``geo.adherence`` finds them in the fixes of each of his devices, so that a second one that keeps to the route hides
nothing. What was measured while the patrol was paused is nobody's business: something else came first.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from geoalchemy2.shape import to_shape
from sqlalchemy import func, or_, select

from backend.core.identity import system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.models import Journal, Patrol, PatrolDeviation
from geo import incoming
from geo.adherence import NOTHING_SEEN, Corridor, Course, Followed, follow
from geo.fixes import Fix
from geo.incoming import Received
from workflows import access, journal, patrols, telling
from workflows.visits import LONGEST


def watch(uow: UnitOfWork, officer_id: UUID, device_id: UUID, new: Sequence[Received]) -> None:
    """Hold what a device brought against the corridors of the patrols that its officer was on then."""
    first, last = min(one.fix.fixed_at for one in new), max(one.fix.fixed_at for one in new)
    begun = select(Patrol.id).where(
        Patrol.officer_id == officer_id,
        Patrol.corridor_m.is_not(None),
        Patrol.began_at <= last,
        Patrol.began_at > first - LONGEST,
        or_(Patrol.ended_at.is_(None), Patrol.ended_at >= first),
    )
    for patrol_id in uow.session.scalars(begun.order_by(Patrol.id)).all():
        _watch(uow, access.patrol(uow, system_actor(uow.town), patrol_id, lock=True), device_id, new)


def _watch(uow: UnitOfWork, patrol: Patrol, device_id: UUID, new: Sequence[Received]) -> None:
    began_at, until = patrol.began_at, patrol.ended_at or uow.now + incoming.AHEAD
    assert began_at is not None
    pauses = _pauses(uow, patrol, until)

    def counts(fix: Fix) -> bool:
        return began_at <= fix.fixed_at <= until and not any(a <= fix.fixed_at < b for a, b in pauses)

    fixes = [one.fix for one in new if counts(one.fix)]
    if not fixes or patrol.route.line is None or patrol.corridor_m is None:
        return

    def read(since: datetime | None) -> Iterable[Fix]:
        start = began_at if since is None else max(began_at, since)
        kept = incoming.of_device(uow.session, device_id, start, until)
        return [one.fix for one in kept if counts(one.fix)]

    corridor = Corridor([(x, y) for x, y in to_shape(patrol.route.line).coords], patrol.corridor_m)
    courses = patrol.adherence or {}
    course = msgspec.convert(courses.get(str(device_id), msgspec.to_builtins(NOTHING_SEEN)), Course)
    followed = follow(course, fixes, corridor, read)
    patrol.adherence = {**courses, str(device_id): msgspec.to_builtins(followed.course)}
    _keep(uow, patrol, followed)
    uow.session.flush()


def _pauses(uow: UnitOfWork, patrol: Patrol, until: datetime) -> list[tuple[datetime, datetime]]:
    """Return when a patrol was paused, by the clock of who pressed."""
    pressed = func.coalesce(Journal.device_at, Journal.at).label("pressed_at")
    rows = uow.session.execute(
        select(Journal.action, pressed)
        .where(Journal.subject_kind == "patrol", Journal.subject_id == patrol.id)
        .where(Journal.action.in_(["pause", "resume"]), Journal.at >= patrol.created_at)
        .order_by(Journal.at, Journal.id)
    )
    spans: list[tuple[datetime, datetime]] = []
    since: datetime | None = None
    for action, at in rows:
        if action == "pause":
            since = at
        elif since is not None:
            spans.append((since, at))
            since = None
    return spans if since is None else [*spans, (since, until)]


def _keep(uow: UnitOfWork, patrol: Patrol, followed: Followed) -> None:
    known = {one.began_at: one for one in patrol.deviations}
    for found in [*followed.ended, *followed.course.deviations()]:
        if (row := known.pop(found.began_at, None)) is not None:
            row.ended_at, row.furthest_m = found.ended_at, found.furthest_m
            continue
        uow.session.add(
            PatrolDeviation(
                id=new_id(), town_id=uow.town, patrol_id=patrol.id, began_at=found.began_at,
                ended_at=found.ended_at, furthest_m=found.furthest_m,
            )
        )  # fmt: skip
        journal.write(uow, system_actor(uow.town), "patrol", patrol.id, "deviate")
        telling.of_patrol(uow, patrol, "deviate", away_m=found.furthest_m)
        patrols.announce(uow, patrol, "deviate")
    for began_at, row in known.items():
        is_anew = followed.is_again and (followed.again_from is None or began_at > followed.again_from)
        is_anew &= len(patrol.adherence or {}) == 1  # With several devices nobody knows whose it was.
        if (
            is_anew and row.explanation is None
        ):  # Later fixes tell another story; what he has said of it stays.
            uow.session.delete(row)
