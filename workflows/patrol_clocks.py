"""What the clock does to patrols: late, missed, overdue."""

from sqlalchemy import select

from backend.core.identity import system_actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Due
from backend.models import Deadline, Patrol
from workflows import access, deadlines, patrols


def time_due(uow: UnitOfWork, deadline: Deadline) -> None:
    """See to a time of a patrol, unless somebody is at it just now."""
    free = select(Patrol.id).where(Patrol.id == deadline.subject_id).with_for_update(skip_locked=True)
    if uow.session.scalar(free) is None:
        raise deadlines.Later
    patrol = access.patrol(uow, system_actor(uow.town), deadline.subject_id, lock=True)
    patrols.see_to(uow, patrol, Due(deadline.about))
