"""Who is on the way to a call for help, as far as whoever called may know.

A name, how far he is with it, and when he is expected: the figure of the offer, never where he is now. An officer's
position is for his own desk alone (P21, P22), also towards somebody who waits for him.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AlarmKind, AssignmentState, TaskSource
from backend.models import Alarm, Assignment, Crew, Shift, Task, User
from notifications import changes, recipients
from workflows.assignments import GOING


@dataclass(frozen=True)
class Responder:
    """One who has accepted.

    Attributes:
        name: the display name.
        call_sign: that of the crew he goes with now.
        since: when he came to be in ``state``.
        expected_at: by the distance when he was asked and how his crew travels; None when he is there.
        distance_m: in a straight line, when he was asked; to ten metres.
    """

    name: str
    call_sign: str | None
    state: AssignmentState
    since: datetime
    expected_at: datetime | None
    distance_m: int | None


def of(uow: UnitOfWork, alarms: Sequence[Alarm]) -> Mapping[UUID, list[Responder]]:
    """Return by alarm's id who goes there now, in the order in which they accepted."""
    tasks = {alarm.task_id: alarm.id for alarm in alarms if alarm.task_id is not None}
    found: dict[UUID, list[Responder]] = defaultdict(list)
    if not tasks:
        return found
    rows = uow.session.execute(
        select(Assignment, User.display_name, Crew.call_sign)
        .join(User, User.id == Assignment.officer_id)
        .outerjoin(Shift, (Shift.officer_id == Assignment.officer_id) & Shift.ended_at.is_(None))
        .outerjoin(Crew, Crew.id == Shift.crew_id)
        .where(Assignment.task_id.in_(tasks), Assignment.state.in_(GOING))
        .order_by(Assignment.accepted_at, Assignment.id)
    )
    for share, name, call_sign in rows:
        found[tasks[share.task_id]].append(_responder(share, name, call_sign))
    return found


def _responder(share: Assignment, name: str, call_sign: str | None) -> Responder:
    since = {
        AssignmentState.ACCEPTED: share.accepted_at,
        AssignmentState.EN_ROUTE: share.departed_at,
        AssignmentState.ON_SITE: share.arrived_at,
    }[AssignmentState(share.state)]
    set_out = share.departed_at or share.accepted_at
    expects = share.state != AssignmentState.ON_SITE and share.eta_s is not None and set_out is not None
    return Responder(
        name,
        call_sign,
        AssignmentState(share.state),
        since or share.offered_at,
        set_out + timedelta(seconds=share.eta_s or 0) if expects and set_out else None,
        None if share.distance_m is None else 10 * round(share.distance_m / 10),
    )


def tell_who_called(uow: UnitOfWork, task: Task, action: str) -> None:
    """Let who called for help hear at the commit that something about those on their way has changed."""
    if task.source != TaskSource.ALARM:
        return
    alarm = uow.session.scalar(select(Alarm).where(Alarm.id == task.source_id, Alarm.kind == AlarmKind.SOS))
    if alarm is not None:
        changes.tell(uow, "alarm", alarm, action, to=recipients.hear_of_alarm(alarm))
