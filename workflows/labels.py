"""What is printed and put up at checkpoints: labels whose code leads to the visit."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select

from backend.adapters.labels import Label
from backend.core.errors import Invalid, NotVisible
from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.models import Checkpoint
from workflows import access, journal

MOST = 200
"""So many labels are on one sheet: 25 pages."""


def to_print(
    uow: UnitOfWork,
    actor: Actor,
    *,
    checkpoint_ids: Sequence[UUID] | None = None,
    area_id: UUID | None = None,
    address: str,
) -> list[Label]:
    """Return the labels of checkpoints in use by code, and write down that they are printed.

    They are those named, or all of an area and below it; ``address`` is where phones reach the installation. Whoever
    holds a label can say that he was there, so it is for whoever manages the checkpoint.

    Raises:
        NotVisible: one of those named is not the actor's to manage. Invalid: one is out of use, there is none, or
            ``too_many_labels``.
    """
    access.require(actor, "manage", "checkpoint")
    query = select(Checkpoint).where(
        Checkpoint.town_id == uow.town,
        access.within(Checkpoint.area_id, access.roots(actor, "manage", "checkpoint")),
    )
    if checkpoint_ids is not None:
        query = query.where(Checkpoint.id.in_(checkpoint_ids))
    else:
        query = query.where(Checkpoint.retired_at.is_(None))
        if area_id is not None:
            query = query.where(access.within(Checkpoint.area_id, [area_id]))
    found = list(uow.session.scalars(query.order_by(Checkpoint.code).limit(MOST + 1)))
    if checkpoint_ids is not None and len(found) < len(set(checkpoint_ids)):
        raise NotVisible()
    if not found:
        raise Invalid("There is no checkpoint in use here.", area_id=["no checkpoints"])
    if len(found) > MOST:
        raise Invalid(f"A sheet has at most {MOST} labels; choose a smaller area.", "too_many_labels")
    if retired := [one.code for one in found if one.retired_at is not None]:
        raise Invalid("A checkpoint that is out of use gets no label.", checkpoint_ids=retired)
    journal.write(uow, actor, "town", uow.town, "print_labels", data={"count": len(found)})
    return [
        Label(one.code, one.name["zh-CN"], one.name["en"], f"{address}/c/{one.label_token}") for one in found
    ]
