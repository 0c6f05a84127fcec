"""From an alarm to people on their way, and back: alarm and task are twins, and ending one ends the other.

An SOS is stored first, by whoever hears of it; here the system sends people to it, in a transaction of its own: the
nearest who are on shift, busy or not, and his partners. Whatever goes wrong here, the SOS stands and the desk sees it.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select

from backend.core.errors import Invalid, Unavailable, WrongState
from backend.core.identity import Actor, system_actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AlarmKind, AlarmState, TaskSource, TaskState
from backend.models import Alarm, Shift, Task
from workflows import access, alarms, nearest, task_kinds, tasks
from workflows.alarms import ALARM
from workflows.nearest import Place
from workflows.offering import Whom
from workflows.task_clocks import UNFINISHED

CHECK = "check"
"""The kind of task that an alarm other than an SOS becomes, unless the desk says which."""
SOS_PEOPLE = 3
"""So many of the nearest are sent to an SOS, besides the partners of an officer who called."""


def dispatch(
    uow: UnitOfWork,
    actor: Actor,
    alarm_id: UUID,
    *,
    command_id: UUID | None,
    whom: Whom | None,
    kind_id: UUID | None = None,
    place: Place | None = None,
    description: str | None = None,
    offers_itself: bool = False,
) -> Task:
    """Make a task of an alarm and offer it; the alarm is dispatched and ends with the task.

    Raises:
        WrongState: somebody did it before, people were sent to an SOS already, or it is over.
        Invalid: the alarm has no place, and none was given. Conflict: as ``tasks.create``.
    """
    alarm = access.alarm(uow, actor, alarm_id, verb="handle", lock=True)
    if command_id is not None and (done := ALARM.did(uow, actor, alarm, command_id)) is not None:
        if done != "dispatch" or alarm.task_id is None:
            raise Invalid("This command's id was used for another act.", "key_reused")
        return access.task(uow, actor, alarm.task_id)
    if alarm.state not in (AlarmState.RAISED, AlarmState.ACKNOWLEDGED) or alarm.task_id is not None:
        raise WrongState(str(alarm.state), alarms.actions(actor, alarm))
    task = _task_of(
        uow, actor, alarm, whom, kind_id=kind_id, place=place, description=description,
        offers_itself=offers_itself,
    )  # fmt: skip
    alarms.dispatch(uow, actor, alarm, task.id, command_id=command_id)
    return task


def _task_of(
    uow: UnitOfWork,
    actor: Actor,
    alarm: Alarm,
    whom: Whom | None,
    *,
    kind_id: UUID | None,
    place: Place | None,
    description: str | None,
    offers_itself: bool,
) -> Task:
    known = alarms.place_of(alarm)
    where = place or ((known.lon, known.lat) if known else None)
    if where is None:
        raise Invalid("Nobody knows where this is; say where people are to go.", place=["needed"])
    is_sos = alarm.kind == AlarmKind.SOS
    return tasks.create(
        uow,
        actor,
        command_id=None,
        description=description or alarm.detail.get("note") or "",
        place=where,
        kind_id=kind_id,
        kind_code=None if kind_id else (task_kinds.SOS if is_sos else CHECK),
        area_id=alarm.area_id,
        priority=None,
        whom=whom,
        source=TaskSource.ALARM,
        source_id=alarm.id,
        offers_itself=offers_itself,
    )


def send_to_sos(uow: UnitOfWork, alarm_id: UUID) -> UUID | None:
    """Send people to an SOS that was just stored, or that has moved since; a job calls this, and may call it twice.

    Return the task's id. The task is locked before the alarm, as by whoever ends it.

    With nobody on shift near, the task stands open for the desk, and the alarm goes on climbing. Where the place is not
    known nothing can be offered: the desk has to ask.
    """
    system = system_actor(uow.town)
    known = uow.session.scalar(select(Alarm.task_id).where(Alarm.id == alarm_id))
    if known is not None:
        access.task(uow, system, known, lock=True)
    alarm = uow.session.scalar(
        select(Alarm)
        .where(Alarm.id == alarm_id)
        .options(*access.alarm_parts())
        .with_for_update(of=Alarm)
        .execution_options(populate_existing=True)
    )
    if alarm is None:
        return None
    if alarm.task_id not in (None, known):
        raise Unavailable("People were sent at this very moment; please look again.", retry_after_s=1)
    place = alarms.place_of(alarm)
    has_moved = (
        place is not None
        and alarm.task_id is not None
        and tasks.move(uow, system, alarm.task_id, (place.lon, place.lat))
    )
    alarms.announce_what_changed(uow, alarm, has_moved=has_moved)
    if place is None:
        return None
    if alarm.task_id is not None:
        task = access.task(uow, system, alarm.task_id, lock=True)
        if task.state == TaskState.OPEN and (asked := _whom_to_send(uow, system, alarm, task)):
            tasks.offer(uow, system, task.id, Whom(officer_ids=asked, busy_too=True), command_id=None)
        return alarm.task_id
    if alarm.state not in (AlarmState.RAISED, AlarmState.ACKNOWLEDGED):
        return None
    task = _task_of(uow, system, alarm, None, kind_id=None, place=None, description=None, offers_itself=False)
    # The alarm stays unacknowledged until a person at the desk takes it on: that people were asked is no answer yet.
    alarm.task_id = task.id
    uow.session.flush()
    if alarm.state == AlarmState.ACKNOWLEDGED:
        alarms.dispatch(uow, system, alarm, task.id, command_id=None)
    asked = _whom_to_send(uow, system, alarm, task)
    if asked:
        tasks.offer(uow, system, task.id, Whom(officer_ids=asked, busy_too=True), command_id=None)
    # Who does not answer in time is followed by the next nearest, for as long as somebody is lacking.
    task.offers_itself = True
    uow.session.flush()
    return task.id


def _whom_to_send(uow: UnitOfWork, system: Actor, alarm: Alarm, task: Task) -> list[UUID]:
    """Return the partners of an officer who called, and the nearest; never himself."""
    partners: Sequence[UUID] = ()
    if alarm.shift_id is not None:
        crew = select(Shift.crew_id).where(Shift.id == alarm.shift_id).scalar_subquery()
        partners = uow.session.scalars(
            select(Shift.officer_id).where(
                Shift.crew_id == crew, Shift.ended_at.is_(None), Shift.officer_id != alarm.officer_id
            )
        ).all()
    near = nearest.candidates(
        uow, system, task, busy_too=True, without=partners, limit=max(SOS_PEOPLE, task.needed)
    )
    return [*partners, *(one.id for one in near)]


def clear(uow: UnitOfWork, actor: Actor, alarm_id: UUID, *, command_id: UUID, reason: str) -> Alarm:
    """End an alarm that people were sent to; a task of it that is not finished is called off.

    Raises:
        WrongState: nobody was sent, or it is over.
    """
    alarm = _both(uow, actor, alarm_id)
    if alarms.clear(uow, actor, alarm, command_id=command_id, reason=reason):
        _end_task(uow, alarm, reason)
    return alarms.read(uow, alarm.id)


def dismiss(uow: UnitOfWork, actor: Actor, alarm_id: UUID, *, command_id: UUID, reason: str) -> Alarm:
    """Say that there is nothing to an alarm; whoever was asked to go is told that it is called off.

    Raises:
        WrongState: it is over, or people were sent by the desk.
    """
    _both(uow, actor, alarm_id)
    alarm = alarms.dismiss(uow, actor, alarm_id, command_id=command_id, reason=reason)
    _end_task(uow, alarm, reason)
    return alarms.read(uow, alarm.id)


def _both(uow: UnitOfWork, actor: Actor, alarm_id: UUID) -> Alarm:
    """Lock an alarm and its task, the task first: whoever ends a task comes to the alarm from there."""
    alarm = access.alarm(uow, actor, alarm_id, verb="handle")
    if alarm.task_id is not None:
        tasks.hold(uow, alarm.task_id)
    known = alarm.task_id
    alarm = access.alarm(uow, actor, alarm_id, verb="handle", lock=True)
    if alarm.task_id != known:
        raise Unavailable("People were sent at this very moment; please look again.", retry_after_s=1)
    return alarm


def _end_task(uow: UnitOfWork, alarm: Alarm, reason: str) -> None:
    if alarm.task_id is None:
        return
    system = system_actor(uow.town)
    task = access.task(uow, system, alarm.task_id, lock=True)
    if task.state in UNFINISHED:
        tasks.cancel(uow, system, task.id, reason=reason, command_id=None)


def acknowledge(uow: UnitOfWork, actor: Actor, alarm_id: UUID, *, command_id: UUID) -> Alarm:
    """Take an alarm on oneself by name; one to which people were sent already is dispatched from then on."""
    alarm = alarms.acknowledge(uow, actor, alarm_id, command_id=command_id)
    if alarm.state == AlarmState.ACKNOWLEDGED and alarm.task_id is not None:
        alarms.dispatch(uow, actor, alarm, alarm.task_id, command_id=None)
    return alarms.read(uow, alarm.id)
