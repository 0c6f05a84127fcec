"""Lists of patrols: the day's at the desk, and those of an officer."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from geoalchemy2.shape import to_shape
from sqlalchemy import or_, select
from sqlalchemy.sql import Select

from backend.core.errors import Invalid
from backend.core.identity import Actor
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import PatrolState as P
from backend.core.vocabulary import Sequence as Order
from backend.models import Checkpoint, Patrol, PatrolPoint, Route, Visit
from workflows import access, visits
from workflows.patrols import GOING

TO_BEGIN = timedelta(hours=18)
"""So far ahead an officer sees what is planned for him: his next shift and its rounds."""
JUST_OVER = timedelta(hours=24)
"""So long he sees what is over, and what of it is to be explained."""


def one(uow: UnitOfWork, actor: Actor, patrol_id: UUID) -> Patrol:
    """Return a patrol of the actor's areas, or, for an officer, one of his."""
    return access.patrol(uow, actor, patrol_id)


def one_of_own(uow: UnitOfWork, actor: Actor, patrol_id: UUID) -> Patrol:
    """Return a patrol that an officer has begun or may begin."""
    return access.patrol(uow, actor, patrol_id, verb="do")


def in_order(patrol: Patrol) -> bool | None:
    """Say whether the points that were visited were so in their order; None where any order is as good."""
    if patrol.sequence == Order.ANY:
        return None
    visited = [point.visited_at for point in patrol.points if point.visited_at is not None]
    return visited == sorted(visited)


def visits_of(uow: UnitOfWork, found: Sequence[Patrol]) -> dict[UUID, Visit]:
    """Return the visits that count for the points of patrols, by id."""
    ids = {point.visit_id for patrol in found for point in patrol.points if point.visit_id is not None}
    if not ids:
        return {}
    begun = [patrol.began_at for patrol in found if patrol.began_at is not None]
    over = [patrol.ended_at or uow.now for patrol in found if patrol.began_at is not None]
    query = select(Visit).where(
        Visit.id.in_(ids), Visit.arrived_at > min(begun) - visits.LONGEST, Visit.arrived_at <= max(over)
    )
    return {row.id: row for row in uow.session.scalars(query)}


def photos_at(patrol: Patrol, point: PatrolPoint) -> list[UUID]:
    """Return the ids of the photos that were named for a point, the first ones first."""
    return [photo.evidence_id for photo in patrol.photos if photo.checkpoint_id == point.checkpoint_id]


def place_of(checkpoint: Checkpoint) -> tuple[float, float]:
    """Return where a checkpoint is, longitude and latitude in degrees, WGS-84."""
    point = to_shape(checkpoint.geom)
    return (point.x, point.y)


def line_of(route: Route) -> list[list[float]] | None:
    """Return the way of a route as it is drawn: pairs of longitude and latitude in degrees, WGS-84."""
    return None if route.line is None else [[x, y] for x, y in to_shape(route.line).coords]


def at_desk(
    uow: UnitOfWork,
    actor: Actor,
    *,
    since: datetime,
    until: datetime,
    state: P | None = None,
    area_id: UUID | None = None,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Patrol]:
    """Return the patrols in the actor's areas that are scheduled in a span, the latest first.

    Not by officer, as with visits: what one person did over weeks is asked of his track, with a reason.
    """
    query = select(Patrol).where(
        Patrol.scheduled_at >= since,
        Patrol.scheduled_at < until,
        access.within(Patrol.area_id, access.roots(actor, "see", "patrol")),
    )
    if state is not None:
        query = query.where(Patrol.state == state)
    if area_id is not None:
        query = query.where(access.within(Patrol.area_id, [area_id]))
    return _page(uow, query, after, limit)


def own(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[Patrol]:
    """Return what an officer is on, what he may begin soon, and what is just over, the latest first."""
    waiting = (
        (Patrol.state == P.PLANNED)
        & (Patrol.scheduled_at < uow.now + TO_BEGIN)
        & (Patrol.scheduled_at > uow.now - JUST_OVER)
    )
    over = (Patrol.scheduled_at > uow.now - JUST_OVER) & Patrol.state.not_in([P.PLANNED, P.CANCELLED])
    query = select(Patrol).where(access.for_officer(actor), or_(waiting, over, Patrol.state.in_(GOING)))
    return _page(uow, query, after, limit)


def open_routes(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[Route]:
    """Return the routes in use where the actor is an officer, by number: what he may go without a plan."""
    query = select(Route).where(
        Route.town_id == uow.town,
        Route.retired_at.is_(None),
        access.within(Route.area_id, access.roots(actor, "do", "patrol")),
    )
    if after is not None:
        if len(after) != 1 or not after[0].isdecimal() or len(after[0]) > 9:
            raise Invalid("This cursor is not one of ours.", "bad_cursor", cursor=["unreadable"])
        query = query.where(Route.number > int(after[0]))
    query = query.options(*access.route_parts()).order_by(Route.number).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda row: (str(row.number),))


def _page(uow: UnitOfWork, query: Select[Patrol], after: Sequence[str] | None, limit: int) -> Page[Patrol]:
    if key := moment_and_id(after):
        query = query.where(
            or_(Patrol.scheduled_at < key[0], (Patrol.scheduled_at == key[0]) & (Patrol.id < key[1]))
        )
    query = query.where(Patrol.town_id == uow.town).options(*access.patrol_parts())
    query = query.order_by(Patrol.scheduled_at.desc(), Patrol.id.desc()).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda row: (row.scheduled_at.isoformat(), row.id))
