"""Whom a task is offered to: officers by name, the nearest who are suitable, and with one of a crew all of it.

The task is locked, by ``workflows.tasks``, whose acts these are parts of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from backend.core.errors import Conflict
from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AssignmentState, Due, Role
from backend.models import Shift, Task, User
from geo import queries
from workflows import access, assignments, deadlines, nearest
from workflows.assignments import ASSIGNMENT, share_of
from workflows.nearest import place_of


@dataclass(frozen=True)
class Whom:
    """To whom a task is offered: to officers by name, to so many of the nearest that are suitable, or to both."""

    officer_ids: Sequence[UUID] | None = None
    nearest: int | None = None
    busy_too: bool = False


@dataclass(frozen=True)
class Chosen:
    """One who is asked, how far away he is, and how long he takes; where nothing is known of him, None."""

    officer: User
    distance_m: float | None
    eta_s: int | None


def choose(uow: UnitOfWork, actor: Actor, task: Task, whom: Whom, *, again: bool = False) -> list[Chosen]:
    """Return whom to ask: none of those who have an open share, but for those named ``again``.

    Raises:
        Conflict: ``not_on_shift`` or ``nobody_to_ask``; not to the system, which asks whom it can.
    """
    chosen: list[Chosen] = []
    having = [share.officer_id for share in task.assignments if share.ended_at is None]
    if whom.officer_ids is not None:
        chosen = _named(uow, actor, task, [one for one in whom.officer_ids if again or one not in having])
    if whom.nearest is not None:
        without = [*having, *(one.officer.id for one in chosen)]
        chosen += the_nearest(uow, actor, task, whom.nearest, busy_too=whom.busy_too, without=without)
    if not chosen and Role.SYSTEM not in actor.roles:
        raise Conflict("nobody_to_ask", "Nobody suitable is on shift and free.")
    return chosen


def _named(uow: UnitOfWork, actor: Actor, task: Task, officer_ids: Sequence[UUID]) -> list[Chosen]:
    wanted = list(dict.fromkeys(officer_ids))
    query = (
        select(Shift)
        .where(Shift.officer_id.in_(wanted), Shift.ended_at.is_(None), Shift.closes_at > uow.now)
        .options(joinedload(Shift.officer))
    )
    if Role.SYSTEM not in actor.roles:
        query = query.where(access.within(Shift.area_id, access.roots(actor, "dispatch", "task")))
    found = {shift.officer_id: shift.officer for shift in uow.session.scalars(query)}
    missing = [one for one in wanted if one not in found]
    if missing and Role.SYSTEM not in actor.roles:
        raise Conflict(
            "not_on_shift",
            "Somebody of them is not on shift in your areas.",
            officer_ids=list(map(str, missing)),
        )
    since = uow.now - timedelta(seconds=nearest.RECENT_S)
    away = queries.how_far(uow.session, place_of(task), wanted, since=since)
    return [Chosen(found[one], *away.get(one, (None, None))) for one in wanted if one in found]


def the_nearest(
    uow: UnitOfWork, actor: Actor, task: Task, count: int, *, busy_too: bool, without: Sequence[UUID]
) -> list[Chosen]:
    """Return so many of the nearest who are suitable, but none of ``without``."""
    near = nearest.candidates(uow, actor, task, busy_too=busy_too, without=without, limit=count)
    people = uow.session.scalars(select(User).where(User.id.in_([one.id for one in near])))
    by_id = {person.id: person for person in people}
    return [Chosen(by_id[one.id], one.distance_m, one.eta_s) for one in near]


def make(
    uow: UnitOfWork, actor: Actor, task: Task, chosen: Sequence[Chosen], *, command_id: UUID | None
) -> None:
    """Offer a task to each who was chosen, until the kind's time to answer is over."""
    lapses_at = uow.now + timedelta(seconds=task.kind.offer_s)
    for one in chosen:
        share = assignments.make(
            uow, actor, task, one.officer, lapses_at=lapses_at, command_id=command_id,
            distance_m=one.distance_m, eta_s=one.eta_s,
        )  # fmt: skip
        deadlines.put(uow, ASSIGNMENT.kind, share.id, Due.LAPSE, lapses_at)


def bind_crew(
    uow: UnitOfWork,
    actor: Actor,
    task: Task,
    crew_id: UUID,
    *,
    command_id: UUID | None,
    device_at: datetime | None,
) -> list[UUID]:
    """Accept for those of the crew who are on shift; whose shift is being ended at this moment stays out."""
    mates = uow.session.scalars(
        select(Shift)
        .where(Shift.crew_id == crew_id, Shift.officer_id != actor.user_id)
        .where(Shift.ended_at.is_(None), Shift.closes_at > uow.now)
        .options(joinedload(Shift.officer))
        .order_by(Shift.officer_id)
        .with_for_update(of=Shift, read=True, skip_locked=True)
    ).all()
    bound = []
    for mate in mates:
        share = share_of(task, mate.officer_id)
        if share is None or share.ended_at is not None:
            share = assignments.make(uow, actor, task, mate.officer, lapses_at=None, command_id=None)
        if share.state == AssignmentState.OFFERED:
            assignments.fire(
                uow, actor, share, "accept", command_id=command_id, device_at=device_at,
                on_behalf_of=mate.officer_id,
            )  # fmt: skip
            bound.append(mate.officer_id)
    return bound
