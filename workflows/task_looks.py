"""Looks at tasks: an officer's own, those of a desk, and what keeps somebody from going home."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import aliased

from backend.core.errors import NotVisible
from backend.core.identity import Actor
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AssignmentState
from backend.core.vocabulary import TaskState as T
from backend.models import Assignment, Journal, Task
from geo import queries
from workflows import access
from workflows.assignments import share_of

LEFT = (AssignmentState.HANDED_BACK, AssignmentState.HANDED_OVER, AssignmentState.RELEASED)
"""The task goes on without him: what becomes of it from then on is not his to see."""
SEEN_PAST = (AssignmentState.DONE, *LEFT)
SUGGEST_WITHIN = timedelta(minutes=2)


def own(uow: UnitOfWork, actor: Actor, *, past: bool, after: Sequence[str] | None, limit: int) -> Page[Task]:
    """Return the tasks that the actor was offered or does, the newest offer first; with ``past`` those he had."""
    query = select(Assignment).where(Assignment.officer_id == actor.user_id)
    if past:
        later = aliased(Assignment)
        query = query.where(
            Assignment.state.in_(SEEN_PAST),
            ~exists().where(
                later.task_id == Assignment.task_id,
                later.officer_id == Assignment.officer_id,
                or_(later.ended_at.is_(None), later.id > Assignment.id),
            ),
        )
    else:
        query = query.where(Assignment.ended_at.is_(None))
    if key := moment_and_id(after):
        query = query.where(
            or_(Assignment.offered_at < key[0], (Assignment.offered_at == key[0]) & (Assignment.id < key[1]))
        )
    query = query.order_by(Assignment.offered_at.desc(), Assignment.id.desc()).limit(limit + 1)
    shares = page(
        list(uow.session.scalars(query)), limit, lambda share: (share.offered_at.isoformat(), share.id)
    )
    having = [share.task_id for share in shares.items]
    found = uow.session.scalars(select(Task).where(Task.id.in_(having)).options(*access.task_parts()))
    by_id = {task.id: task for task in found}
    return Page([by_id[task_id] for task_id in having], shares.after)


def of_own(uow: UnitOfWork, actor: Actor, task_id: UUID) -> Task:
    """Return one of the actor's own tasks, as ``own`` lists them."""
    task = access.task(uow, actor, task_id)
    share = share_of(task, actor.user_id)
    if share is None or (share.ended_at is not None and share.state not in SEEN_PAST):
        raise NotVisible()
    return task


def moved_since(uow: UnitOfWork, actor: Actor, found: Iterable[Task]) -> set[UUID]:
    """Return which tasks have gone on to another place after the actor's share in them had ended (P22)."""
    ended = {
        share.task_id: share.ended_at
        for task in found
        if (share := share_of(task, actor.user_id)) is not None and share.ended_at is not None
    }
    if not ended:
        return set()
    moves = uow.session.execute(
        select(Journal.subject_id, func.max(Journal.at).label("at"))
        .where(Journal.subject_id.in_(ended), Journal.subject_kind == "task", Journal.action == "move")
        .where(Journal.at > min(ended.values()))
        .group_by(Journal.subject_id)
    )
    return {row.subject_id for row in moves if row.at > ended[row.subject_id]}


def suggested(uow: UnitOfWork, actor: Actor, found: Iterable[Task]) -> dict[UUID, str]:
    """Return which act seems due at which task: ``arrive``, where his latest fix is at the place. He confirms it."""
    before = (AssignmentState.ACCEPTED, AssignmentState.EN_ROUTE)
    going = [
        task.id for task in found if (s := share_of(task, actor.user_id)) is not None and s.state in before
    ]
    if not going or actor.user_id is None:
        return {}
    there = queries.arrived(uow.session, actor.user_id, going, since=uow.now - SUGGEST_WITHIN)
    return dict.fromkeys(there, "arrive")


def at_desk_one(uow: UnitOfWork, actor: Actor, task_id: UUID) -> Task:
    """Return a task of the actor's areas; one in which he takes part elsewhere is not the desk's."""
    return access.task(uow, actor, task_id, verb="dispatch")


def at_desk(
    uow: UnitOfWork,
    actor: Actor,
    *,
    state: T | None = None,
    unfinished: bool = False,
    area_id: UUID | None = None,
    overdue: bool = False,
    officer_id: UUID | None = None,
    source_id: UUID | None = None,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Task]:
    """Return the tasks in the actor's areas, newest first."""
    query = select(Task).where(access.within(Task.area_id, access.roots(actor, "see", "task")))
    if state is not None:
        query = query.where(Task.state == state)
    if unfinished:
        query = query.where(Task.state.not_in((T.CLOSED, T.CANCELLED)))
    if area_id is not None:
        query = query.where(access.within(Task.area_id, [area_id]))
    if overdue:
        query = query.where(Task.overdue.is_not(None))
    if officer_id is not None:
        query = query.where(
            exists().where(Assignment.task_id == Task.id, Assignment.officer_id == officer_id)
        )
    if source_id is not None:
        query = query.where(Task.source_id == source_id)
    if key := moment_and_id(after):
        query = query.where(or_(Task.created_at < key[0], (Task.created_at == key[0]) & (Task.id < key[1])))
    query = query.options(*access.task_parts()).order_by(Task.created_at.desc(), Task.id.desc())
    found = list(uow.session.scalars(query.limit(limit + 1)))
    return page(found, limit, lambda task: (task.created_at.isoformat(), task.id))


def open_ones(uow: UnitOfWork, officer_ids: Sequence[UUID]) -> list[dict[str, Any]]:
    """Return the tasks that officers have accepted and not brought to an end: what keeps them from going home."""
    rows = uow.session.execute(
        select(Task.id, Task.number, Assignment.state, Assignment.officer_id)
        .join(Task, Task.id == Assignment.task_id)
        .where(Assignment.officer_id.in_(officer_ids), Assignment.ended_at.is_(None))
        .where(Assignment.state != AssignmentState.OFFERED)
        .order_by(Task.number)
    )
    return [
        {"id": str(row.id), "number": row.number, "state": row.state, "officer_id": str(row.officer_id)}
        for row in rows
    ]
