"""What the clock does to duties at posts: late, missed, over."""

from datetime import timedelta

from sqlalchemy import select

from backend.core.identity import system_actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Due
from backend.core.vocabulary import PostDutyState as D
from backend.models import Deadline, PostDuty
from workflows import access, deadlines, journal, post_duties, telling
from workflows.post_presence import RELIEF_WAIT

RELIEF_LOOK = timedelta(minutes=5)
"""So often the clock looks whether the next one is still to come, for whom somebody waits beyond his time."""


def time_due(uow: UnitOfWork, deadline: Deadline) -> None:
    """See to a time of a duty, unless somebody is at it just now."""
    free = select(PostDuty.id).where(PostDuty.id == deadline.subject_id).with_for_update(skip_locked=True)
    if uow.session.scalar(free) is None:
        raise deadlines.Later
    duty = access.post_duty(uow, system_actor(uow.town), deadline.subject_id, lock=True)
    about = Due(deadline.about)
    if about is Due.END:
        if duty.state == D.STANDING:
            _see_to_end(uow, duty, deadline.level)
    elif duty.state != D.PLANNED:
        return
    elif about is Due.LATE:
        duty.late_at = uow.now
        journal.write(uow, system_actor(uow.town), "post_duty", duty.id, "late")
        telling.of_post_duty(uow, duty, "late")
        post_duties.announce(uow, duty, "late")
    elif about is Due.MISS:
        post_duties.miss(uow, system_actor(uow.town), duty)


def _see_to_end(uow: UnitOfWork, duty: PostDuty, level: int) -> None:
    if post_duties.next_one(uow, duty):
        again_at = min(uow.now + RELIEF_LOOK, duty.ends_at + RELIEF_WAIT)
        deadlines.put(uow, post_duties.POST_DUTY.kind, duty.id, Due.END, again_at, level=level + 1)
        post_duties.announce(uow, duty, "wait")
    else:
        post_duties.finish(uow, system_actor(uow.town), duty, "end", duty.ends_at, None)
