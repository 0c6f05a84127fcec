"""Deadlines: moments that the clock sees to once, among any number of workers and across restarts.

A deadline is a row. The clock locks those that are due, skipping what another worker holds, lets whoever the subject
belongs to act, and stamps the row in the same transaction: what is interrupted is due again, what is done is done once.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Due
from backend.models import Deadline, LadderRung

AT_ONCE = 20
"""So many in one transaction: whoever accepts a task that the clock holds waits for all of them."""
AGAIN_AFTER = timedelta(seconds=15)
"""What failed is due again then, and not before all others."""
KEPT = timedelta(days=7)

Act = Callable[[UnitOfWork, Deadline], None]
log = logging.getLogger(__name__)

LADDER: Mapping[str, tuple[tuple[int, str], ...]] = {
    # about              (seconds after, who is told) by level, where the town has no rungs of its own
    "task.accept": ((0, "dispatcher"), (300, "supervisor")),
    "task.arrive": ((0, "officer"), (120, "dispatcher"), (600, "supervisor")),
    "task.complete": ((0, "officer"), (600, "dispatcher"), (3600, "supervisor")),
    "alarm.sos": ((0, "dispatcher"), (30, "supervisor"), (90, "supervisor")),
    "alarm": ((0, "dispatcher"), (300, "supervisor")),
}


class Later(Exception):
    """What a deadline is about is being changed at this moment; it stays due for the next tick."""


def put(
    uow: UnitOfWork, subject_kind: str, subject_id: UUID, about: Due, due_at: datetime, *, level: int = 0
) -> None:
    """Set a deadline, or move the one that waits already."""
    wanted = insert(Deadline).values(
        id=new_id(), town_id=uow.town, subject_kind=subject_kind, subject_id=subject_id, about=about, level=level,
        due_at=due_at,
    )  # fmt: skip
    uow.session.execute(
        wanted.on_conflict_do_update(
            index_elements=[Deadline.subject_id, Deadline.about, Deadline.level],
            index_where=Deadline.done_at.is_(None),
            set_={"due_at": due_at},
        )
    )


def drop(uow: UnitOfWork, subject_id: UUID, *abouts: Due) -> None:
    """Forget the deadlines of a subject that still wait: all, or those about something."""
    gone = delete(Deadline).where(Deadline.subject_id == subject_id, Deadline.done_at.is_(None))
    if abouts:
        gone = gone.where(Deadline.about.in_(abouts))
    uow.session.execute(gone)


def rungs(uow: UnitOfWork, about: str) -> list[tuple[int, str]]:
    """Return the ladder for ``about`` by level: how many seconds after the deadline, and which role is told."""
    own = uow.session.execute(
        select(LadderRung.after_s, LadderRung.tells)
        .where(LadderRung.about == about)
        .order_by(LadderRung.level)
    )
    return [(row.after_s, row.tells) for row in own] or list(LADDER[about])


def see_to(uow: UnitOfWork, acts: Mapping[str, Act]) -> int:
    """Do what is due in the town, at most ``AT_ONCE``; ``acts`` is by subject kind. Return how many were done.

    What one act raises is logged and undoes that act alone; its deadline is due again after ``AGAIN_AFTER``. An act
    must not wait for the row that it is about (``Later``): whoever holds that row may wait for the deadline.
    """
    due = list(
        uow.session.scalars(
            select(Deadline)
            .where(Deadline.done_at.is_(None), Deadline.due_at <= uow.now)
            .order_by(Deadline.due_at, Deadline.id)
            .limit(AT_ONCE)
            .with_for_update(skip_locked=True)
        )
    )
    done = 0
    for deadline in due:
        try:
            with uow.attempt():
                uow.session.execute(
                    update(Deadline).where(Deadline.id == deadline.id).values(done_at=uow.now)
                )
                acts[deadline.subject_kind](uow, deadline)
            done += 1
        except Later:
            continue
        except Exception:
            log.exception(
                "deadline_failed: %s of %s %s", deadline.about, deadline.subject_kind, deadline.subject_id
            )
            uow.session.execute(
                update(Deadline).where(Deadline.id == deadline.id).values(due_at=uow.now + AGAIN_AFTER)
            )
    return done


def forget_done(uow: UnitOfWork) -> int:
    """Delete what was seen to long ago; the journal keeps what was done. Return how many."""
    old = delete(Deadline).where(Deadline.done_at < uow.now - KEPT)
    return len(uow.session.scalars(old.returning(Deadline.id)).all())
