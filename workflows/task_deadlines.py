"""What the clock does to tasks: offers lapse, and missed times are marked and told up the ladder."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import select

from backend.core.identity import system_actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AssignmentState, Due
from backend.models import Assignment, Deadline, Task
from workflows import access, deadlines, journal, task_clocks, tasks
from workflows.tasks import TASK


def offer_due(uow: UnitOfWork, deadline: Deadline) -> None:
    """Let an offer lapse whose time is over."""
    task_id = uow.session.scalar(select(Assignment.task_id).where(Assignment.id == deadline.subject_id))
    task = _without_waiting(uow, task_id)
    share = next((one for one in task.assignments if one.id == deadline.subject_id), None)
    if share is not None and share.state == AssignmentState.OFFERED:
        tasks.lapse(uow, system_actor(uow.town), task, share)


def time_due(uow: UnitOfWork, deadline: Deadline) -> None:
    """Mark a task that has missed a time, and climb the ladder: journalled is who is told at which level."""
    task = _without_waiting(uow, deadline.subject_id)
    about = Due(deadline.about)
    due_at = getattr(task, task_clocks.CLOCKS[about].due)
    if due_at is None or not task_clocks.waits(task, about):
        return
    ladder = deadlines.rungs(uow, f"task.{about}")
    if deadline.level >= len(ladder):
        return
    task.version += 1
    task_clocks.note_missed(uow, task)
    journal.write(
        uow, system_actor(uow.town), "task", task.id, "overdue", before=task.state, after=task.state,
        data={"about": about, "level": deadline.level, "tells": ladder[deadline.level][1]},
    )  # fmt: skip
    if deadline.level + 1 < len(ladder):
        next_at = due_at + timedelta(seconds=ladder[deadline.level + 1][0])
        deadlines.put(uow, TASK.kind, task.id, about, next_at, level=deadline.level + 1)
    uow.session.flush()
    tasks.announce(uow, task, "overdue", data={"about": about, "tells": ladder[deadline.level][1]})


def _without_waiting(uow: UnitOfWork, task_id: UUID | None) -> Task:
    free = select(Task.id).where(Task.id == task_id).with_for_update(skip_locked=True)
    if task_id is None or uow.session.scalar(free) is None:
        raise deadlines.Later
    return access.task(uow, system_actor(uow.town), task_id, lock=True)
