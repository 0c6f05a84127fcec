"""Dead letters: deliveries that no channel took. The desk sees those to its own people and may have them tried anew."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.orm import joinedload

from backend.core.errors import Conflict, WrongState
from backend.core.identity import Actor
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import DeliveryState
from backend.models import Delivery
from notifications import delivering
from workflows import access, journal


def in_scope(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[Delivery]:
    """Return the dead letters to people of the actor's areas, newest first."""
    access.require(actor, "see", "delivery")
    query = (
        select(Delivery)
        .where(Delivery.state == DeliveryState.DEAD, access.deliveries_in_scope(actor))
        .options(joinedload(Delivery.notice), joinedload(Delivery.recipient))
        .order_by(Delivery.ended_at.desc(), Delivery.id.desc())
        .limit(limit + 1)
    )
    if key := moment_and_id(after):
        query = query.where(tuple_(Delivery.ended_at, Delivery.id) < key)
    return page(list(uow.session.scalars(query)), limit, lambda d: (d.ended_at, d.id))


def actions(actor: Actor, delivery: Delivery) -> list[str]:
    """Return what the actor may do with it now."""
    return (
        ["retry"] if delivery.state == DeliveryState.DEAD and access.may(actor, "retry", "delivery") else []
    )


def retry(uow: UnitOfWork, actor: Actor, delivery_id: UUID, *, command_id: UUID) -> Delivery:
    """Have a dead letter tried anew, from now on and as often as the first time.

    Raises:
        WrongState: it is not dead (any more). Conflict: ``notice_expired``; nobody needs it any more.
    """
    delivery = access.delivery(uow, actor, delivery_id, verb="retry", lock=True)
    if delivery.state != DeliveryState.DEAD:
        raise WrongState(delivery.state, actions(actor, delivery))
    notice = delivery.notice
    if notice.expires_at is not None and notice.expires_at <= uow.now:
        raise Conflict("notice_expired", "What it tells does not hold any more.")
    delivering.retry(uow, delivery.id)
    journal.write(
        uow,
        actor,
        "delivery",
        delivery.id,
        "retry",
        before=DeliveryState.DEAD,
        after=DeliveryState.WAITING,
        command_id=command_id,
        data={"channel": delivery.channel, "notice_id": str(notice.id)},
    )
    uow.session.refresh(delivery)
    return delivery
