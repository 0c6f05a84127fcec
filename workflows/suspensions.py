"""What an SOS interrupts: which tasks of its officers wait for it, and who may move several tasks at once."""

from collections.abc import Iterator, Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, select, text

from backend.core.identity import system_actor
from backend.core.uow import UnitOfWork
from backend.models import Assignment, Task, TaskKind
from workflows import access, assignments, task_kinds
from workflows.assignments import share_of

_WAIT_FOR_OTHERS = text("""
    select pg_advisory_xact_lock(hashtextextended('tasks of ' || cast(:town as text), 0))
    where cast(:task as uuid) is null
       or exists (select 1 from tasks t join task_kinds k on k.id = t.kind_id where t.id = :task and k.code = :sos)
""")


def alone(uow: UnitOfWork, task_id: UUID | None = None) -> None:
    """Be the only one of the town who moves several tasks at once, until the transaction ends.

    With a task, if it is an SOS: what its officers do besides is suspended by it, and goes on after it. Asked for
    before the first task is locked; two who held a task each and wanted the other's would wait for ever.
    """
    given = {"town": uow.town, "task": task_id, "sos": task_kinds.SOS}
    uow.session.execute(_WAIT_FOR_OTHERS, given)


def tasks_of(
    uow: UnitOfWork, officer_id: UUID, condition: ColumnElement[bool]
) -> Iterator[tuple[Task, Assignment]]:
    """Lock the tasks in which an officer has an open share, one after another; the caller is ``alone``."""
    query = select(Assignment.task_id).where(
        Assignment.officer_id == officer_id, Assignment.ended_at.is_(None), condition
    )
    for task_id in uow.session.scalars(query.order_by(Assignment.task_id)).all():
        task = access.task(uow, system_actor(uow.town), task_id, lock=True)
        share = share_of(task, officer_id)
        if share is not None and share.ended_at is None:
            yield task, share


def other_sos(uow: UnitOfWork, officer_id: UUID, without: Sequence[UUID]) -> UUID | None:
    """Return an SOS that an officer is at, besides those of ``without``."""
    return uow.session.scalar(
        select(Task.id)
        .join(Assignment, Assignment.task_id == Task.id)
        .join(TaskKind, TaskKind.id == Task.kind_id)
        .where(TaskKind.code == task_kinds.SOS, Task.id.not_in(without))
        .where(Assignment.officer_id == officer_id, Assignment.state.in_(assignments.GOING))
        .limit(1)
    )
