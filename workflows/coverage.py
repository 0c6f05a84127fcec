"""Coverage: how often somebody was at each checkpoint, and where nobody has been."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, true

from backend.core.errors import Invalid
from backend.core.identity import Actor
from backend.core.paging import Page, page
from backend.core.uow import UnitOfWork
from backend.models import Checkpoint, Visit
from workflows import access
from workflows.visits import counts


@dataclass(frozen=True)
class Covered:
    """A checkpoint, the number of visits that count in a span, and the last of them."""

    checkpoint: Checkpoint
    visits: int
    last_visited_at: datetime | None


def of_checkpoints(
    uow: UnitOfWork,
    actor: Actor,
    *,
    since: datetime,
    until: datetime,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Covered]:
    """Return the checkpoints in use in the actor's areas, by code, with what was seen of them in a span."""
    seen = (
        select(func.count().label("visits"), func.max(Visit.arrived_at).label("last_visited_at"))
        .where(
            Visit.checkpoint_id == Checkpoint.id,
            Visit.arrived_at >= since,
            Visit.arrived_at < until,
            counts(),
        )
        .lateral()
    )
    query = (
        select(Checkpoint, seen.c.visits, seen.c.last_visited_at)
        .join(seen, true())
        .where(
            Checkpoint.town_id == uow.town,
            Checkpoint.retired_at.is_(None),
            access.within(Checkpoint.area_id, access.roots(actor, "see", "visit")),
        )
    )
    if after is not None:
        if len(after) != 1:
            raise Invalid("This cursor is not one of ours.", "bad_cursor", cursor=["unreadable"])
        query = query.where(Checkpoint.code > after[0])
    rows = uow.session.execute(query.order_by(Checkpoint.code).limit(limit + 1)).all()
    found = [Covered(*row) for row in rows]
    return page(found, limit, lambda row: (row.checkpoint.code,))
