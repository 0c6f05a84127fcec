"""The clocks of a task: accepting, arriving and completing are due so long after it was made, as its kind says.

What a missed time leads to is in ``workflows.task_deadlines``.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Due
from backend.core.vocabulary import TaskState as T
from backend.models import Task
from workflows import deadlines

UNFINISHED = frozenset({T.OPEN, T.OFFERED, T.ACCEPTED, T.EN_ROUTE, T.ON_SITE, T.SUSPENDED})


@dataclass(frozen=True)
class Clock:
    """In which column a task has the moment, in which its kind has the seconds, and in which states it runs."""

    due: str
    within: str
    runs_in: frozenset[T]


CLOCKS = {
    # Accepting is due until enough have; arriving until the first is there; completing until it is resolved.
    Due.ACCEPT: Clock("accept_due_at", "accept_within_s", frozenset({T.OPEN, T.OFFERED})),
    Due.ARRIVE: Clock("arrive_due_at", "arrive_within_s", UNFINISHED),
    Due.COMPLETE: Clock("complete_due_at", "complete_within_s", UNFINISHED),
}


def start(uow: UnitOfWork, task: Task, from_at: datetime, *abouts: Due) -> None:
    """Let clocks of a task run anew, from a moment on."""
    for about in abouts:
        clock = CLOCKS[about]
        within_s = getattr(task.kind, clock.within)
        if within_s is None:
            continue
        due_at = from_at + timedelta(seconds=within_s)
        setattr(task, clock.due, due_at)
        deadlines.drop(uow, task.id, about)
        first = deadlines.rungs(uow, f"task.{about}")[0][0]
        deadlines.put(uow, "task", task.id, about, due_at + timedelta(seconds=first))


def waits(task: Task, about: Due) -> bool:
    """Say whether the step that a clock is about is still to come."""
    if about is Due.ARRIVE and task.arrived_at is not None:
        return False
    return task.state in CLOCKS[about].runs_in


def note_missed(uow: UnitOfWork, task: Task) -> None:
    """Name the first time that was missed and still is."""
    missed = (
        about
        for about, clock in CLOCKS.items()
        if _is_past(uow, getattr(task, clock.due)) and waits(task, about)
    )
    task.overdue = next(missed, None)


def stop(uow: UnitOfWork, task: Task) -> None:
    """Stop the clocks that have nothing to wait for."""
    if over := [about for about in CLOCKS if not waits(task, about)]:
        deadlines.drop(uow, task.id, *over)


def _is_past(uow: UnitOfWork, due_at: datetime | None) -> bool:
    return due_at is not None and due_at <= uow.now
