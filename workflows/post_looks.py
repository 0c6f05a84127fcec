"""Lists of duties at posts: the day's at the desk, an officer's own, and those of colleagues whom he may relieve."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.sql import Select

from backend.core.identity import Actor
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import PostDutyState as D
from backend.core.vocabulary import PostSituation
from backend.models import PostDuty
from geo.presence import BRIDGE
from workflows import access, post_presence

TO_BEGIN = timedelta(hours=18)
"""So far ahead an officer sees what is planned for him: his next shift and its duties."""
JUST_OVER = timedelta(hours=24)
"""So long he sees what is over, and what of it is to be explained."""


def situation(duty: PostDuty, now: datetime) -> PostSituation | None:
    """Return how a post is held just now by a duty; None where its time has not come, or is over."""
    if duty.state == D.PLANNED:
        return PostSituation.EMPTY if duty.starts_at <= now < duty.ends_at else None
    if duty.state != D.STANDING:
        return None
    if any(one.ended_at is None for one in duty.breaks):
        left_s = post_presence.break_left_s(duty, now)
        return PostSituation.BREAK if left_s > 0 else PostSituation.BREAK_OVER
    if any(one.ended_at is None for one in duty.absences):
        return PostSituation.AWAY
    if now >= duty.ends_at:
        return PostSituation.RELIEF_DUE
    seen_at = post_presence.of(duty, now).seen_at
    heard_at = max(one for one in (seen_at, duty.began_at, duty.starts_at) if one is not None)
    return PostSituation.SILENT if now - heard_at > BRIDGE else PostSituation.PRESENT


def at_desk(
    uow: UnitOfWork,
    actor: Actor,
    *,
    since: datetime,
    until: datetime,
    state: D | None = None,
    area_id: UUID | None = None,
    post_id: UUID | None = None,
    after: Sequence[str] | None,
    limit: int,
) -> Page[PostDuty]:
    """Return the duties in the actor's areas that begin in a span, the latest first; as patrols, not by officer."""
    query = select(PostDuty).where(
        PostDuty.starts_at >= since,
        PostDuty.starts_at < until,
        access.within(PostDuty.area_id, access.roots(actor, "see", "post")),
    )
    if state is not None:
        query = query.where(PostDuty.state == state)
    if area_id is not None:
        query = query.where(access.within(PostDuty.area_id, [area_id]))
    if post_id is not None:
        query = query.where(PostDuty.post_id == post_id)
    return _page(uow, query, after, limit)


def own(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[PostDuty]:
    """Return what an officer stands at, may begin soon, and has just ended, and the colleagues whom he may relieve."""
    recent = PostDuty.starts_at > uow.now - JUST_OVER
    waiting = (PostDuty.state == D.PLANNED) & (PostDuty.starts_at < uow.now + TO_BEGIN) & recent
    over = recent & PostDuty.state.not_in([D.PLANNED, D.CANCELLED])
    theirs = (PostDuty.state == D.STANDING) & access.within(
        PostDuty.area_id, access.roots(actor, "do", "post")
    )
    his = access.post_duty_for_officer(actor) & or_(waiting, over, PostDuty.state == D.STANDING)
    return _page(uow, select(PostDuty).where(or_(his, theirs)), after, limit)


def _page(
    uow: UnitOfWork, query: Select[PostDuty], after: Sequence[str] | None, limit: int
) -> Page[PostDuty]:
    if key := moment_and_id(after):
        query = query.where(
            or_(PostDuty.starts_at < key[0], (PostDuty.starts_at == key[0]) & (PostDuty.id < key[1]))
        )
    query = query.where(PostDuty.town_id == uow.town).options(*access.post_duty_parts())
    query = query.order_by(PostDuty.starts_at.desc(), PostDuty.id.desc()).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda row: (row.starts_at.isoformat(), row.id))
