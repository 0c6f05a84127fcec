"""Alarms: what must be looked at, raised once per source and kind, acknowledged by name, escalated by the clock.

An alarm that is open already is not raised again: the newer place and figures are noted on it. What stands behind it
(an SOS, a silent phone, a fallen network) ends it: the desk clears it, the clock clears what has righted itself, and
closing the task that it led to clears it too (``workflows.dispatching``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from geoalchemy2 import Geometry
from geoalchemy2.elements import WKTElement
from geoalchemy2.shape import to_shape
from sqlalchemy import ColumnElement, cast, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import Select

from backend.core import jobs
from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import (
    AlarmKind,
    AlarmSource,
    AlarmState,
    Due,
    Priority,
    Role,
    TaskSource,
    TaskState,
)
from backend.models import Alarm, Assignment, Deadline, LatestPosition, Membership, Shift, Task, User
from geo import datum
from notifications import changes, recipients
from workflows import access, deadlines, journal, telling
from workflows.machine import Machine, step
from workflows.numbers import next_number

DESK = (Role.DISPATCHER, Role.SUPERVISOR)
A = AlarmState
ALARM = Machine(
    "alarm", A.RAISED,
    #    action         from                          to              by                    stamps
    step("acknowledge", {A.RAISED},                   A.ACKNOWLEDGED, DESK,                 "acknowledged_at"),
    step("dispatch",    {A.RAISED, A.ACKNOWLEDGED},   A.DISPATCHED,   (*DESK, Role.SYSTEM), "dispatched_at"),
    step("dismiss",     {A.RAISED, A.ACKNOWLEDGED},   A.FALSE,        DESK,                 "dismissed_at"),
    step("escalate",    {A.RAISED},                   A.RAISED,       (Role.SYSTEM,),       None),
    step("right_itself", {A.RAISED, A.ACKNOWLEDGED},  A.CLEARED,      (Role.SYSTEM,),       "cleared_at"),
    step("clear",       {A.DISPATCHED},               A.CLEARED,      (*DESK, Role.SYSTEM), "cleared_at"),
)  # fmt: skip

PRIORITIES: Mapping[AlarmKind, Priority] = {
    AlarmKind.SOS: Priority.CRITICAL,
    AlarmKind.SENSOR: Priority.HIGH,
    AlarmKind.OUTAGE: Priority.HIGH,
    AlarmKind.SILENT: Priority.HIGH,
    AlarmKind.DEVIATION: Priority.NORMAL,
    AlarmKind.LEFT_AREA: Priority.NORMAL,
    AlarmKind.BATTERY_LOW: Priority.LOW,
}
CALLERS = frozenset({Role.OFFICER, Role.RESIDENT, Role.BUILDING_HEAD})
AHEAD = timedelta(minutes=2)
"""So much a phone's clock may be ahead of the server's; what claims to be later is of an unknown time."""
WAITS = timedelta(hours=72)
"""So long a press may wait on a phone; the clock of one that claims to be older is wrong."""
TURN_AFTER = timedelta(seconds=2)
"""Of the places and notes of many presses, those who are concerned hear one in so long: the last."""
NOT_ANNOUNCED = "note_not_announced"
"""Stands in the detail while a note was told that nobody has heard of yet; the job announces it."""
IN_DISTRESS = "alarms.dispatch_sos"
"""The job that sends people to an SOS; it runs after the SOS is stored, whatever becomes of it."""


@dataclass(frozen=True)
class Place:
    """Where something is, WGS-84 degrees, and when and how well it was measured."""

    lon: float
    lat: float
    accuracy_m: float | None = None
    fixed_at: datetime | None = None


def call_for_help(
    uow: UnitOfWork,
    actor: Actor,
    *,
    command_id: UUID,
    alarm_id: UUID | None = None,
    place: Place | None = None,
    note: str | None = None,
    device_at: datetime | None = None,
) -> Alarm:
    """Raise an SOS for oneself. It is stored first; people are sent by a job of its own once it is committed.

    Off shift too: whoever calls for help says where he is by his own act (P21). Without a place the officer's last one
    stands in, if he is on shift.

    Raises:
        Forbidden: neither an officer nor a resident. NotVisible: of no area that a desk looks after.
    """
    if actor.user_id is None or not actor.roles & CALLERS:
        raise Forbidden()
    if Role.OFFICER in actor.roles:
        return _officers_call(
            uow, actor, actor.user_id, command_id=command_id, alarm_id=alarm_id, place=place, device_at=device_at,
            detail={"note": note} if note else {},
        )  # fmt: skip
    area_id = next(iter(actor.areas(Role.RESIDENT, Role.BUILDING_HEAD)), None)
    if area_id is None:
        raise NotVisible()
    return _called(
        uow,
        actor,
        raise_alarm(
            uow, actor, AlarmKind.SOS, AlarmSource.RESIDENT, actor.user_id, area_id=area_id, alarm_id=alarm_id,
            resident_id=actor.user_id, place=place, detail={"note": note} if note else {}, command_id=command_id,
            device_at=device_at,
        ),
    )  # fmt: skip


def press_again(
    uow: UnitOfWork,
    actor: Actor,
    *,
    place: Place | None,
    note: str | None = None,
    device_at: datetime | None = None,
) -> Alarm | None:
    """Take the newer place and a new note for the actor's own SOS that stands; None when none does.

    For presses that come faster than anybody has to be told of each: no entry in the journal, and nothing announced at
    once. Who is on the way hears of the place by the job, as after any press, and the desk of the note.
    """
    if actor.user_id is None:
        return None
    source = AlarmSource.OFFICER if Role.OFFICER in actor.roles else AlarmSource.RESIDENT
    alarm = _standing_call(uow, source, actor.user_id)
    if alarm is None:
        return None
    if place is None and alarm.shift_id is not None:
        place = _last_place(uow, actor.user_id)
    moved = _take_place(uow, alarm, _believed(uow, place), device_at, turn_at=uow.now + TURN_AFTER)
    told = note is not None and alarm.detail.get("note") != note
    if told:
        alarm.detail = {**alarm.detail, "note": note, NOT_ANNOUNCED: True}
        _send_people(uow, alarm, at=uow.now + TURN_AFTER)
    if moved or told:
        alarm.version += 1
        uow.session.flush()
    return read(uow, alarm.id)


def tracker_pressed_again(
    uow: UnitOfWork, officer_id: UUID, *, place: Place | None, device_at: datetime | None = None
) -> bool:
    """Take the newer place for an officer's SOS that stands; say whether one does."""
    alarm = _standing_call(uow, AlarmSource.OFFICER, officer_id)
    if alarm is None:
        return False
    if _take_place(uow, alarm, _believed(uow, place), device_at, turn_at=uow.now + TURN_AFTER):
        alarm.version += 1
        uow.session.flush()
    return True


def _standing_call(uow: UnitOfWork, source: AlarmSource, person_id: UUID) -> Alarm | None:
    """Return somebody's SOS that is open, locked.

    One whose task its people have done is over: who presses again is in need again, and is not held to be the one who
    was helped.
    """
    alarm = _open_one(uow, AlarmKind.SOS, source, person_id)
    if alarm is not None and alarm.task_id is not None and alarm.state == A.DISPATCHED:
        state = uow.session.scalar(select(Task.state).where(Task.id == alarm.task_id))
        if state == TaskState.RESOLVED:
            clear(uow, system_actor(uow.town), alarm, command_id=None)
            uow.session.flush()
            return None
    return alarm


def tracker_call(
    uow: UnitOfWork,
    officer_id: UUID,
    *,
    command_id: UUID,
    place: Place | None,
    device_at: datetime | None,
    word: str,
) -> Alarm | None:
    """Raise an SOS that an officer's tracker sent; None where he belongs to no area any more."""
    actor = Actor(user_id=officer_id, town_id=uow.town)
    try:
        return _officers_call(
            uow, actor, officer_id, command_id=command_id, alarm_id=None, place=place, device_at=device_at,
            detail={"tracker": word},
        )  # fmt: skip
    except NotVisible:
        return None


def _officers_call(
    uow: UnitOfWork,
    actor: Actor,
    officer_id: UUID,
    *,
    command_id: UUID,
    alarm_id: UUID | None,
    place: Place | None,
    device_at: datetime | None,
    detail: dict[str, Any],
) -> Alarm:
    shift = uow.session.scalar(select(Shift).where(Shift.officer_id == officer_id, Shift.ended_at.is_(None)))
    if place is None and shift is not None:
        place = _last_place(uow, officer_id)
        detail = {**detail, "place_from": "last_fix"}
    area_id = shift.area_id if shift else _own_area(uow, officer_id)
    raised = raise_alarm(
        uow, actor, AlarmKind.SOS, AlarmSource.OFFICER, officer_id, area_id=area_id, alarm_id=alarm_id,
        officer_id=officer_id, shift_id=shift.id if shift else None, place=place, detail=detail,
        command_id=command_id, device_at=device_at,
    )  # fmt: skip
    return _called(uow, actor, raised)


def _called(uow: UnitOfWork, actor: Actor, raised: tuple[Alarm, bool]) -> Alarm:
    alarm, is_new = raised
    if is_new:
        _send_people(uow, alarm)
    return alarm


def _send_people(uow: UnitOfWork, alarm: Alarm, *, at: datetime | None = None) -> None:
    jobs.enqueue(
        uow, IN_DISTRESS, once=f"{IN_DISTRESS} {alarm.id}", at=at, priority=100, town_id=str(uow.town),
        alarm_id=str(alarm.id),
    )  # fmt: skip


def _own_area(uow: UnitOfWork, officer_id: UUID) -> UUID:
    found = uow.session.scalar(
        select(Membership.area_id)
        .where(
            Membership.user_id == officer_id, Membership.role == Role.OFFICER, Membership.ended_at.is_(None)
        )
        .order_by(Membership.granted_at)
        .limit(1)
    )
    if found is None:
        raise NotVisible()
    return found


def _last_place(uow: UnitOfWork, officer_id: UUID) -> Place | None:
    found = uow.session.execute(
        select(
            func.ST_X(cast(LatestPosition.geom, Geometry)).label("lon"),
            func.ST_Y(cast(LatestPosition.geom, Geometry)).label("lat"),
            LatestPosition.accuracy_m,
            LatestPosition.fixed_at,
        ).where(LatestPosition.officer_id == officer_id)
    ).first()
    return Place(found.lon, found.lat, found.accuracy_m, found.fixed_at) if found else None


def raise_alarm(
    uow: UnitOfWork,
    actor: Actor,
    kind: AlarmKind,
    source: AlarmSource,
    source_id: UUID,
    *,
    area_id: UUID,
    alarm_id: UUID | None = None,
    officer_id: UUID | None = None,
    resident_id: UUID | None = None,
    shift_id: UUID | None = None,
    place: Place | None = None,
    detail: Mapping[str, Any] | None = None,
    command_id: UUID | None = None,
    device_at: datetime | None = None,
) -> tuple[Alarm, bool]:
    """Raise an alarm, or find the one that is open for this source and kind; say whether it is a new one.

    An open one keeps its state and takes the newer place. Of two that raise at once one makes the alarm and the other
    finds it.
    """
    place = _believed(uow, place)
    values = {
        "id": alarm_id or new_id(), "town_id": uow.town, "kind": kind, "source": source, "source_id": source_id,
        "state": A.RAISED, "priority": PRIORITIES[kind], "area_id": area_id, "officer_id": officer_id,
        "resident_id": resident_id, "shift_id": shift_id, "raised_at": uow.now, "raised_device_at": device_at,
        "detail": dict(detail or {}), "version": 1, **_located(place),
    }  # fmt: skip
    found = (
        _standing_call(uow, source, source_id)
        if kind == AlarmKind.SOS
        else _open_one(uow, kind, source, source_id)
    )
    if found is None:
        if (new := _made(uow, values)) is not None:
            journal.write(
                uow, actor, "alarm", new, "raise", after=A.RAISED, command_id=command_id, device_at=device_at,
                data={"kind": str(kind)},
            )  # fmt: skip
            _next_rung(uow, new, kind, 1)
            alarm = read(uow, new)
            _announce(uow, alarm, "raise", by=actor.user_id)
            return alarm, True
        found = _open_one(uow, kind, source, source_id)
        assert found is not None
    _note_again(uow, actor, found, place, detail, command_id, device_at)
    return read(uow, found.id), False


class _RaisedMeanwhile(Exception):
    """Undoes the taking of a number for an alarm that somebody else raised at this moment."""


def _made(uow: UnitOfWork, values: Mapping[str, Any]) -> UUID | None:
    """Store a new alarm under the town's next number and return its id; None where one is open by now."""
    try:
        with uow.attempt():
            made = insert(Alarm).values(number=next_number(uow, "alarm"), **values)
            made = made.on_conflict_do_nothing(
                index_elements=[Alarm.town_id, Alarm.kind, Alarm.source, Alarm.source_id],
                index_where=is_open(),
            )
            new = uow.session.execute(made.returning(Alarm.id)).scalar_one_or_none()
            if new is None:
                raise _RaisedMeanwhile
            return new
    except _RaisedMeanwhile:
        return None
    except IntegrityError as error:
        raise Conflict("id_taken", "This id is in use.") from error


def _believed(uow: UnitOfWork, place: Place | None) -> Place | None:
    """Return a place whose time is not in the future; one that claims to be is of an unknown time."""
    if place is not None and place.fixed_at is not None and place.fixed_at > uow.now + AHEAD:
        return replace(place, fixed_at=None)
    return place


def _located(place: Place | None) -> dict[str, Any]:
    if place is None:
        return {}
    point = WKTElement(f"POINT({place.lon!r} {place.lat!r})", srid=4326)
    return {"geom": point, "accuracy_m": place.accuracy_m, "fixed_at": place.fixed_at}


def _note_again(
    uow: UnitOfWork,
    actor: Actor,
    alarm: Alarm,
    place: Place | None,
    detail: Mapping[str, Any] | None,
    command_id: UUID | None,
    device_at: datetime | None,
) -> None:
    newer = _take_place(uow, alarm, place, device_at)
    if detail:
        alarm.detail = {**alarm.detail, **detail}
    if alarm.kind != AlarmKind.SOS and not newer:
        return  # The clock looks every few seconds; only what a person does again is an act.
    alarm.version += 1
    uow.session.flush()
    if alarm.kind == AlarmKind.SOS:
        if not newer and _nobody_comes(uow, alarm):
            _send_people(uow, alarm)  # Those are asked who have come on shift meanwhile.
        journal.write(uow, actor, "alarm", alarm.id, "call_again", command_id=command_id, device_at=device_at)
    _announce(uow, read(uow, alarm.id), "call_again", by=actor.user_id)


def _nobody_comes(uow: UnitOfWork, alarm: Alarm) -> bool:
    """Say whether a task was made for an alarm, and nobody has it or is asked to take it."""
    task = select(Task.state).where(Task.id == alarm.task_id)
    return alarm.task_id is not None and uow.session.scalar(task) == TaskState.OPEN


def _take_place(
    uow: UnitOfWork,
    alarm: Alarm,
    place: Place | None,
    device_at: datetime | None,
    *,
    turn_at: datetime | None = None,
) -> bool:
    """Put a locked alarm where it is by now; say whether that is news.

    A place of an unknown time is as old as the press that told it, by the phone's clock where it is known: what waited
    on the phone meanwhile does not replace what came after it.

    Whoever is on the way to an SOS has to turn there, at ``turn_at`` or at once. Without a place nobody could be sent
    until now.
    """
    if place is None:
        return False
    told_at = uow.now
    if device_at is not None and uow.now - WAITS < device_at < uow.now:
        told_at = device_at
    # What a phone knew a moment before the call is better than no place at all.
    if alarm.geom is not None and (place.fixed_at or told_at) <= _placed_at(alarm):
        return False
    if alarm.kind == AlarmKind.SOS:
        _send_people(uow, alarm, at=None if alarm.geom is None else turn_at)
    for name, value in _located(place).items():
        setattr(alarm, name, value)
    alarm.detail = {**alarm.detail, "place_told_at": told_at.isoformat()}
    return True


def _placed_at(alarm: Alarm) -> datetime:
    """Return of when an alarm's place is: when it was measured, or else told; the first one was told with the call."""
    if alarm.fixed_at is not None:
        return alarm.fixed_at
    if (told_at := alarm.detail.get("place_told_at")) is not None:
        return datetime.fromisoformat(told_at)
    return min(alarm.raised_device_at or alarm.raised_at, alarm.raised_at)


def announce_what_changed(uow: UnitOfWork, alarm: Alarm, *, has_moved: bool) -> None:
    """Let the desk hear what a locked SOS says by now, or that people were told to go elsewhere; else nothing.

    Of one that has ended meanwhile nobody hears that it called again.
    """
    says_more = alarm.detail.get(NOT_ANNOUNCED, False)
    if says_more:
        alarm.detail = {key: value for key, value in alarm.detail.items() if key != NOT_ANNOUNCED}
        uow.session.flush()
    if (has_moved or says_more) and alarm.state in (A.RAISED, A.ACKNOWLEDGED, A.DISPATCHED):
        _announce(uow, alarm, "call_again", by=None)


def is_open() -> ColumnElement[bool]:
    """Return the condition that an alarm is not over, in the literal words of the partial indexes."""
    return Alarm.state.in_(
        [literal_column(f"'{state}'") for state in (A.RAISED, A.ACKNOWLEDGED, A.DISPATCHED)]
    )


def _open_one(uow: UnitOfWork, kind: AlarmKind, source: AlarmSource, source_id: UUID) -> Alarm | None:
    return uow.session.scalar(
        select(Alarm)
        .where(
            Alarm.town_id == uow.town,
            Alarm.kind == kind,
            Alarm.source == source,
            Alarm.source_id == source_id,
        )
        .where(is_open())
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def read(uow: UnitOfWork, alarm_id: UUID) -> Alarm:
    """Return an alarm as it is now, with all that an answer shows."""
    return uow.session.scalars(
        select(Alarm)
        .where(Alarm.id == alarm_id)
        .options(*access.alarm_parts())
        .execution_options(populate_existing=True)
    ).one()


# --- What the desk does


def acknowledge(uow: UnitOfWork, actor: Actor, alarm_id: UUID, *, command_id: UUID) -> Alarm:
    """Take an alarm on oneself, by name; from then on it climbs no further. Of several at once one is the name.

    Raises:
        WrongState: somebody did it before.
    """
    alarm = access.alarm(uow, actor, alarm_id, verb="handle", lock=True)
    if ALARM.fire(uow, actor, alarm, "acknowledge", command_id=command_id):
        alarm.acknowledged_by = actor.user_id
        deadlines.drop(uow, alarm.id, Due.ESCALATE)
        uow.session.flush()
        _announce(uow, read(uow, alarm.id), "acknowledge", by=actor.user_id)
    return read(uow, alarm.id)


def dismiss(uow: UnitOfWork, actor: Actor, alarm_id: UUID, *, command_id: UUID, reason: str) -> Alarm:
    """Say that there is nothing to it, and why.

    Raises:
        WrongState: people are on their way already, or it is over.
    """
    alarm = access.alarm(uow, actor, alarm_id, verb="handle", lock=True)
    if not reason:
        raise Invalid("The desk says why it dismisses an alarm.", reason=["needed"])
    if ALARM.fire(uow, actor, alarm, "dismiss", command_id=command_id, reason=reason):
        _over(uow, actor, alarm, "dismiss")
    return read(uow, alarm.id)


def right_itself(uow: UnitOfWork, actor: Actor, alarm: Alarm) -> None:
    """Clear a locked alarm whose cause is gone.

    Raises:
        WrongState: people were sent to it, so it is left to them; or it is over.
    """
    if ALARM.fire(uow, actor, alarm, "right_itself", command_id=None):
        _over(uow, actor, alarm, "right_itself")


def dispatch(uow: UnitOfWork, actor: Actor, alarm: Alarm, task_id: UUID, *, command_id: UUID | None) -> bool:
    """Bind a locked alarm to the task that it led to."""
    if not ALARM.fire(uow, actor, alarm, "dispatch", command_id=command_id, data={"task_id": str(task_id)}):
        return False
    alarm.task_id = task_id
    uow.session.flush()
    _announce(uow, alarm, "dispatch", by=actor.user_id)
    return True


def clear(
    uow: UnitOfWork, actor: Actor, alarm: Alarm, *, command_id: UUID | None, reason: str | None = None
) -> bool:
    """End a locked alarm that people were sent to.

    Its task is ended with it by ``workflows.dispatching``; where the clock ends an outage, the task stays.
    """
    if not ALARM.fire(uow, actor, alarm, "clear", command_id=command_id, reason=reason):
        return False
    _over(uow, actor, alarm, "clear")
    return True


def ended_with(uow: UnitOfWork, task: Task) -> None:
    """End the alarm of a task that has just ended: what people were sent to is over when they are done."""
    if task.source != TaskSource.ALARM:
        return
    alarm = uow.session.scalar(
        select(Alarm)
        .where(Alarm.id == task.source_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if alarm is None or alarm.task_id != task.id:
        return
    system = system_actor(uow.town)
    if alarm.state in (A.RAISED, A.ACKNOWLEDGED):
        if task.state != TaskState.CLOSED:
            alarm.task_id = None  # Called off, and still nobody has said that there is nothing to it.
            uow.session.flush()
            return
        dispatch(uow, system, alarm, task.id, command_id=None)
    if alarm.state == A.DISPATCHED:
        clear(uow, system, alarm, command_id=None, reason=f"task {task.state}")


def answered(uow: UnitOfWork, task: Task, share: Assignment) -> None:
    """Tell who called for help that somebody is on his way; of other tasks nobody waits for this."""
    if task.source != TaskSource.ALARM:
        return
    alarm = uow.session.scalar(select(Alarm).where(Alarm.id == task.source_id).options(*access.alarm_parts()))
    if alarm is not None and alarm.kind == AlarmKind.SOS:
        telling.sos_answered(uow, alarm, share)


def _over(uow: UnitOfWork, actor: Actor, alarm: Alarm, action: str) -> None:
    deadlines.drop(uow, alarm.id, Due.ESCALATE)
    uow.session.flush()
    _announce(uow, read(uow, alarm.id), action, by=actor.user_id)


def _announce(
    uow: UnitOfWork, alarm: Alarm, action: str, *, by: UUID | None, tells: str = "dispatcher"
) -> None:
    """Tell who is concerned, by notices and by the live channel."""
    telling.of_alarm(uow, alarm, action, by=by, tells=tells)
    changes.tell(uow, ALARM.kind, alarm, action, to=recipients.hear_of_alarm(alarm))


# --- The clock


def ladder_of(kind: AlarmKind | str) -> str:
    """Return the name of the ladder that an alarm of this kind climbs."""
    return "alarm.sos" if kind == AlarmKind.SOS else "alarm"


def _next_rung(uow: UnitOfWork, alarm_id: UUID, kind: AlarmKind | str, level: int) -> None:
    rungs = deadlines.rungs(uow, ladder_of(kind))
    if level < len(rungs):
        deadlines.put(
            uow, "alarm", alarm_id, Due.ESCALATE, uow.now + timedelta(seconds=rungs[level][0]), level=level
        )


def see_to(uow: UnitOfWork, deadline: Deadline) -> None:
    """Escalate an alarm that nobody has acknowledged in time: the next level of its ladder is told.

    Whoever has it in hand at this moment may wait for the deadline, so he is not waited for.
    """
    alarm = uow.session.scalar(
        select(Alarm)
        .where(Alarm.id == deadline.subject_id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if alarm is None:
        raise deadlines.Later
    if alarm.state != A.RAISED or alarm.level >= deadline.level:
        return
    escalate(uow, system_actor(uow.town), alarm, deadline.level)


def escalate(uow: UnitOfWork, actor: Actor, alarm: Alarm, level: int) -> None:
    """Tell the next level of a locked alarm's ladder; the clock's own act.

    Raises:
        WrongState: somebody has taken it on, or it is over.
    """
    rungs = deadlines.rungs(uow, ladder_of(alarm.kind))
    tells = rungs[min(level, len(rungs) - 1)][1]
    ALARM.fire(uow, actor, alarm, "escalate", command_id=None, data={"level": level, "tells": tells})
    alarm.level = level
    # From the raising on, not from this tick: a clock that stood still does not stretch the ladder.
    if level + 1 < len(rungs):
        due_at = alarm.raised_at + timedelta(seconds=rungs[level + 1][0])
        deadlines.put(uow, "alarm", alarm.id, Due.ESCALATE, max(due_at, uow.now), level=level + 1)
    uow.session.flush()
    _announce(uow, read(uow, alarm.id), "escalate", by=None, tells=tells)


# --- Looks


def seen(uow: UnitOfWork, actor: Actor, alarm_id: UUID) -> Alarm:
    """Return one alarm that the actor may see."""
    return access.alarm(uow, actor, alarm_id)


def actions(actor: Actor, alarm: Alarm) -> list[str]:
    """Return what the desk may do with an alarm now; people are sent to it once."""
    able = ALARM.actions(actor, alarm)
    return [action for action in able if action != "dispatch" or alarm.task_id is None]


def place_of(alarm: Alarm) -> Place | None:
    """Return where an alarm is, as it was last told."""
    if alarm.geom is None:
        return None
    point = to_shape(alarm.geom)
    return Place(point.x, point.y, alarm.accuracy_m, alarm.fixed_at)


def told_place(told: Mapping[str, Any] | None) -> Place | None:
    """Return a place that somebody told, in WGS-84 whatever datum he declared."""
    if told is None:
        return None
    lon, lat = datum.convert(told["lon"], told["lat"], told["datum"], "wgs84")
    return Place(lon, lat, told["accuracy_m"], told["fixed_at"])


def heard_at(alarm: Alarm) -> datetime | None:
    """Return when a silent officer was last heard of."""
    at = alarm.detail.get("heard_at")
    return datetime.fromisoformat(at) if at else None


def way(alarm: Alarm) -> Mapping[str, Any] | None:
    """Return from which task an officer went away (``task_id``, ``task_number``), and ``began_m`` and ``now_m``.

    None also where the task is another desk's: who looks after the officer is told that he goes away, and not from
    whom.
    """
    is_told = alarm.kind == AlarmKind.DEVIATION and not alarm.detail.get("elsewhere")
    return alarm.detail if is_told else None


def outage(alarm: Alarm) -> Mapping[str, Any] | None:
    """Return ``silent`` of how many ``on_shift`` fell silent together, and the moment ``since`` when the first did."""
    if alarm.kind != AlarmKind.OUTAGE:
        return None
    return {**alarm.detail, "since": datetime.fromisoformat(alarm.detail["since"])}


def covered(detail: Mapping[str, Any]) -> dict[UUID, datetime]:
    """Return who had no alarm of his own because this outage stood, and when he was last heard of."""
    told = detail.get("covered", {})
    return {UUID(officer_id): datetime.fromisoformat(at) for officer_id, at in told.items()}


@dataclass(frozen=True)
class Covered:
    """An officer whose silence an outage stands for, or stood."""

    id: UUID
    display_name: str
    heard_at: datetime


def covered_by(uow: UnitOfWork, found: Sequence[Alarm]) -> Mapping[UUID, list[Covered]]:
    """Return by outage's id whose silence each stands for, by when they were last heard of."""
    by_alarm = {alarm.id: covered(alarm.detail) for alarm in found if alarm.kind == AlarmKind.OUTAGE}
    ids = {officer_id for officers in by_alarm.values() for officer_id in officers}
    if not ids:
        return {}
    rows = uow.session.execute(select(User.id, User.display_name).where(User.id.in_(ids)))
    names = {row.id: row.display_name for row in rows}
    return {
        alarm_id: sorted(
            (Covered(one, names[one], at) for one, at in officers.items() if one in names),
            key=lambda one: (one.heard_at, one.display_name),
        )
        for alarm_id, officers in by_alarm.items()
    }


# --- Lists


def at_desk(
    uow: UnitOfWork,
    actor: Actor,
    *,
    still_open: bool | None = None,
    kind: AlarmKind | None = None,
    area_id: UUID | None = None,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Alarm]:
    """Return the alarms in the actor's areas, newest first."""
    query = select(Alarm).where(access.within(Alarm.area_id, access.roots(actor, "see", "alarm")))
    if still_open is not None:
        query = query.where(is_open() if still_open else Alarm.state.in_([A.CLEARED, A.FALSE]))
    if kind is not None:
        query = query.where(Alarm.kind == kind)
    if area_id is not None:
        query = query.where(access.within(Alarm.area_id, [area_id]))
    return _page(uow, query, after, limit)


def own(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[Alarm]:
    """Return the actor's own calls for help, newest first."""
    query = select(Alarm).where(Alarm.kind == AlarmKind.SOS, Alarm.source_id == actor.user_id)
    return _page(uow, query, after, limit)


def _page(uow: UnitOfWork, query: Select[Alarm], after: Sequence[str] | None, limit: int) -> Page[Alarm]:
    if key := moment_and_id(after):
        query = query.where(or_(Alarm.raised_at < key[0], (Alarm.raised_at == key[0]) & (Alarm.id < key[1])))
    query = query.where(Alarm.town_id == uow.town).options(*access.alarm_parts())
    query = query.order_by(Alarm.raised_at.desc(), Alarm.id.desc()).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda row: (row.raised_at.isoformat(), row.id))
