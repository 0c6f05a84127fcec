"""Lists of patrols: the day's at the desk, and those of an officer."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.sql import Select

from backend.core.identity import Actor
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import PatrolState as P
from backend.models import Patrol
from workflows import access
from workflows.patrols import GOING

TO_BEGIN = timedelta(hours=18)
"""So far ahead an officer sees what is planned for him: his next shift and its rounds."""
JUST_OVER = timedelta(hours=24)
"""So long he sees what is over, and what of it is to be explained."""


def one(uow: UnitOfWork, actor: Actor, patrol_id: UUID) -> Patrol:
    """Return a patrol of the actor's areas, or, for an officer, one of his."""
    return access.patrol(uow, actor, patrol_id)


def at_desk(
    uow: UnitOfWork,
    actor: Actor,
    *,
    since: datetime,
    until: datetime,
    state: P | None = None,
    area_id: UUID | None = None,
    officer_id: UUID | None = None,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Patrol]:
    """Return the patrols in the actor's areas that are scheduled in a span, the latest first."""
    query = select(Patrol).where(
        Patrol.scheduled_at >= since,
        Patrol.scheduled_at < until,
        access.within(Patrol.area_id, access.roots(actor, "see", "patrol")),
    )
    if state is not None:
        query = query.where(Patrol.state == state)
    if area_id is not None:
        query = query.where(access.within(Patrol.area_id, [area_id]))
    if officer_id is not None:
        query = query.where(Patrol.officer_id == officer_id)
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


def _page(uow: UnitOfWork, query: Select[Patrol], after: Sequence[str] | None, limit: int) -> Page[Patrol]:
    if key := moment_and_id(after):
        query = query.where(
            or_(Patrol.scheduled_at < key[0], (Patrol.scheduled_at == key[0]) & (Patrol.id < key[1]))
        )
    query = query.where(Patrol.town_id == uow.town).options(*access.patrol_parts())
    query = query.order_by(Patrol.scheduled_at.desc(), Patrol.id.desc()).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda row: (row.scheduled_at.isoformat(), row.id))
