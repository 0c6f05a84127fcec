"""The watch over posts: what a device brought, whenever it comes, changes how the duties of its time were stood."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import or_, select

from backend.core.identity import system_actor
from backend.core.uow import UnitOfWork
from backend.models import PostDuty
from geo.incoming import Received
from geo.presence import BRIDGE
from workflows import access, post_duties, post_presence
from workflows.post_presence import RELIEF_WAIT

LONGEST = post_duties.LONGEST + RELIEF_WAIT + BRIDGE
"""No duty is longer, the wait for the next one included."""


def watch(uow: UnitOfWork, officer_id: UUID, device_id: UUID, new: Sequence[Received]) -> None:
    """Hold what a device brought against the posts at which its officer stood then."""
    first, last = min(one.fix.fixed_at for one in new), max(one.fix.fixed_at for one in new)
    begun = select(PostDuty.id).where(
        PostDuty.officer_id == officer_id,
        PostDuty.starts_at > first - LONGEST,
        PostDuty.starts_at <= last + timedelta(minutes=30),
        or_(PostDuty.ends_at >= first - RELIEF_WAIT - BRIDGE, PostDuty.ended_at >= first - BRIDGE),
    )
    for duty_id in uow.session.scalars(begun.order_by(PostDuty.id)).all():
        duty = access.post_duty(uow, system_actor(uow.town), duty_id, lock=True)
        fixes = [one.fix for one in new]
        if post_presence.follow(uow, duty, device_id, fixes) and post_presence.keep_absences(uow, duty):
            post_duties.announce(uow, duty, "settle")
