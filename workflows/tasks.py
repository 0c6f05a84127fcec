"""Tasks: something officers are told to do at a place.

Every act locks the task's row first, through its door, and then moves one officer's share (``workflows.assignments``);
the task follows its people. So of fifty who accept at once, as many win as are needed, and the others are told why not.

Rows are locked in one order, so that nobody waits in a circle: the town's gate, shifts, the right to move several tasks
at once (``_alone``), tasks, then what a task came from, an alarm or a report. Whoever moves one task waits for no other
one; of those who move several, because an SOS suspends them or a shift ends, one in the town is at work.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from geoalchemy2.shape import from_shape
from shapely import Point
from sqlalchemy import exists, or_, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased, joinedload

from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, WrongState
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AssignmentState, Due, Priority, Role, TaskSource
from backend.core.vocabulary import TaskState as T
from backend.models import Area, Assignment, Deadline, Shift, Task, TaskKind, User
from geo import queries
from notifications import changes, recipients
from workflows import (
    access,
    alarms,
    assignments,
    deadlines,
    journal,
    nearest,
    numbers,
    reports,
    responders,
    task_kinds,
    telling,
)
from workflows.assignments import ASSIGNMENT, active, offers, share_of
from workflows.machine import AS_BEFORE, Machine, step
from workflows.nearest import Place, place_of

DESK = (Role.DISPATCHER, Role.SUPERVISOR)
OFFICER, SYSTEM = (Role.OFFICER,), (Role.SYSTEM,)
GOING = {T.ACCEPTED, T.EN_ROUTE, T.ON_SITE}
TAKEN = GOING | {T.SUSPENDED}
UNFINISHED = TAKEN | {T.OPEN, T.OFFERED}

TASK = Machine(
    "task", T.OPEN,
    #    action       from                      to           by                   stamps
    step("offer",     {T.OPEN},                 T.OFFERED,   (*DESK, *SYSTEM),    "offered_at"),
    step("accept",    {T.OFFERED},              T.ACCEPTED,  OFFICER,             "accepted_at"),
    step("decline",   {T.OFFERED},              T.OPEN,      OFFICER,             None),
    step("lapse",     {T.OFFERED},              T.OPEN,      SYSTEM,              None),
    step("withdraw",  {T.OFFERED},              T.OPEN,      (*DESK, *SYSTEM),    None),
    step("depart",    {T.ACCEPTED},             T.EN_ROUTE,  OFFICER,             "departed_at"),
    step("arrive",    {T.ACCEPTED, T.EN_ROUTE}, T.ON_SITE,   OFFICER,             "arrived_at"),
    step("resolve",   {T.ON_SITE},              T.RESOLVED,  OFFICER,             "resolved_at"),
    step("hand_back", TAKEN,                    T.OPEN,      (*OFFICER, *SYSTEM), None),
    step("release",   TAKEN,                    T.OPEN,      (*DESK, *SYSTEM),    None),
    step("reassign",  TAKEN | {T.OFFERED},      T.OFFERED,   DESK,                "offered_at"),
    step("suspend",   GOING,                    T.SUSPENDED, SYSTEM,              "suspended_at"),
    step("resume",    {T.SUSPENDED},            AS_BEFORE,   SYSTEM,              None),
    step("cancel",    UNFINISHED,               T.CANCELLED, (*DESK, *SYSTEM),    "cancelled_at"),
    step("verify",    {T.RESOLVED},             T.CLOSED,    (*DESK, *SYSTEM),    "closed_at"),
    step("rework",    {T.RESOLVED},             T.ACCEPTED,  DESK,                "accepted_at"),
    step("refer",     UNFINISHED | {T.RESOLVED}, T.CLOSED,   DESK,                "closed_at"),
)  # fmt: skip

OF_THE_DESK = ("offer", "reassign", "cancel", "verify", "rework", "refer")
"""What the desk does to a task; to release somebody is an act on his share."""
SEEN_PAST = (AssignmentState.DONE, AssignmentState.HANDED_BACK, AssignmentState.RELEASED)
SUGGEST_WITHIN = timedelta(minutes=2)


@dataclass(frozen=True)
class Whom:
    """To whom a task is offered: to officers by name, to so many of the nearest that are suitable, or to both."""

    officer_ids: Sequence[UUID] | None = None
    nearest: int | None = None
    busy_too: bool = False


@dataclass(frozen=True)
class Result:
    """What came of a task. ``evidence_ids`` are references; they stand for photos that may still be on the phone."""

    text: str
    checklist: Mapping[str, bool] = field(default_factory=dict)
    answers: Mapping[str, Any] = field(default_factory=dict)
    evidence_ids: Sequence[UUID] = ()


@dataclass(frozen=True)
class Referral:
    """Who took a task over at 110 (移交公安): the number of the police's case, the officer, and when it was."""

    case_number: str
    taken_by: str
    handed_at: datetime
    badge: str | None = None


@dataclass(frozen=True)
class _Chosen:
    officer: User
    distance_m: float | None
    eta_s: int | None


# --- Looks


def officer_actions(actor: Actor, task: Task) -> list[str]:
    """Return what an officer may do with his share now."""
    share = share_of(task, actor.user_id)
    return [] if share is None else _own_actions(actor, share)


def _own_actions(actor: Actor, share: Assignment) -> list[str]:
    mine = {s.action for s in ASSIGNMENT.steps if Role.OFFICER in s.by}
    return [action for action in ASSIGNMENT.actions(actor, share) if action in mine]


def desk_actions(actor: Actor, task: Task) -> list[str]:
    """Return what the desk may do with a task now."""
    able = [action for action in TASK.actions(actor, task) if action in OF_THE_DESK]
    if access.may(actor, "dispatch", "task") and task.state in TAKEN | {T.OFFERED}:
        able.append("reinforce")
    return able


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
    if key := moment_and_id(after):
        query = query.where(or_(Task.created_at < key[0], (Task.created_at == key[0]) & (Task.id < key[1])))
    query = query.options(*access.task_parts()).order_by(Task.created_at.desc(), Task.id.desc())
    found = list(uow.session.scalars(query.limit(limit + 1)))
    return page(found, limit, lambda task: (task.created_at.isoformat(), task.id))


# --- The desk's acts, and the system's


def create(
    uow: UnitOfWork,
    actor: Actor,
    *,
    command_id: UUID | None,
    description: str,
    place: Place,
    kind_id: UUID | None = None,
    kind_code: str | None = None,
    task_id: UUID | None = None,
    area_id: UUID | None = None,
    place_name: str | None = None,
    priority: Priority | None = None,
    needed: int | None = None,
    by_crew: bool = False,
    offers_itself: bool = False,
    whom: Whom | None = None,
    source: TaskSource = TaskSource.DESK,
    source_id: UUID | None = None,
) -> Task:
    """Make a task, and offer it to ``whom``; with ``offers_itself`` and nobody named, to the nearest.

    What the system makes exists also when nobody can be asked, and whoever of those it names is off shift is passed
    over. What is left out is as the kind says. The area is the deepest one that holds the place; with ``area_id``
    it is that one or within it, so that who has the alarm or the report has its task too, wherever the place lies.

    Raises:
        Invalid: an unknown kind, or a place outside the town. Forbidden: ``area_not_yours``.
        Conflict: ``id_taken``, or what ``offer`` raises.
    """
    kind = task_kinds.usable(uow, kind_id=kind_id, code=kind_code)
    area = nearest.area_at(uow, place)
    whose = uow.session.get(Area, area_id) if area_id else None
    if whose is not None and (area is None or whose.id not in area.ancestors):
        area = whose
    if area is None:
        raise Invalid("This place lies outside the town.", place=["outside the town"])
    if Role.SYSTEM not in actor.roles and not access.covers(uow, actor, "dispatch", "task", area.id):
        raise Forbidden("area_not_yours", "This place is not in your areas.")
    task = Task(
        id=task_id or new_id(),
        town_id=uow.town,
        number=numbers.next_number(uow, "task"),
        kind=kind,
        state=TASK.initial,
        version=1,
        priority=priority or kind.priority,
        description=description,
        area=area,
        geom=from_shape(Point(*place), srid=4326),
        place_name=place_name,
        source=source,
        source_id=source_id,
        needed=needed or kind.needed,
        by_crew=by_crew,
        offers_itself=offers_itself,
        created_by=actor.user_id,
        created_at=uow.now,
        assignments=[],
    )
    uow.session.add(task)
    try:
        uow.session.flush()
    except IntegrityError as error:
        raise Conflict("id_taken", "This id is in use.") from error
    journal.write(uow, actor, "task", task.id, "create", after=TASK.initial, command_id=command_id)
    _start_clocks(uow, task, uow.now, *_CLOCKS)
    if whom is not None:
        if chosen := _chosen(uow, actor, task, whom):
            TASK.fire(uow, actor, task, "offer", command_id=None)
            _make_offers(uow, actor, task, chosen, command_id=command_id)
        else:
            _nobody_left(uow, task)
    elif offers_itself:
        _go_on(uow, task)
    return _done(uow, task, "create", by=actor.user_id)


def offer(uow: UnitOfWork, actor: Actor, task_id: UUID, whom: Whom, *, command_id: UUID | None) -> Task:
    """Offer an open task. Whoever accepts first has it, until as many have as are needed.

    Raises:
        Conflict: ``not_on_shift``, somebody named is not on shift in the actor's areas; ``nobody_to_ask``.
        WrongState: it is not open.
    """
    task = access.task(uow, actor, task_id, verb="dispatch", lock=True)
    if _was_done(uow, actor, task, "offer", command_id):
        return task
    chosen = _chosen(uow, actor, task, whom) if task.state == T.OPEN else []
    TASK.fire(uow, actor, task, "offer", command_id=command_id)
    _make_offers(uow, actor, task, chosen, command_id=command_id)
    return _done(uow, task, "offer", by=actor.user_id)


def reinforce(
    uow: UnitOfWork,
    actor: Actor,
    task_id: UUID,
    whom: Whom,
    *,
    needed: int | None = None,
    command_id: UUID | None,
) -> Task:
    """Offer a task that is offered or under way to more officers. Where all have accepted, one more is needed.

    Raises:
        Conflict: as ``offer``. WrongState: it is open, or finished.
    """
    task = access.task(uow, actor, task_id, verb="dispatch", lock=True)
    if _was_done(uow, actor, task, "reinforce", command_id):
        return task
    if task.state not in TAKEN | {T.OFFERED}:
        raise WrongState(str(task.state), desk_actions(actor, task))
    chosen = _chosen(uow, actor, task, whom)
    task.needed = max(task.needed, needed or 0, len(active(task)) + 1)
    task.filled_at, task.version = None, task.version + 1
    _make_offers(uow, actor, task, chosen, command_id=command_id)
    journal.write(
        uow, actor, "task", task.id, "reinforce", before=task.state, after=task.state, command_id=command_id,
        data={"needed": task.needed},
    )  # fmt: skip
    return _done(uow, task, "reinforce", by=actor.user_id)


def reassign(
    uow: UnitOfWork, actor: Actor, task_id: UUID, whom: Whom, *, reason: str, command_id: UUID | None
) -> Task:
    """Take a task from those who have it or were asked, and offer it to others.

    Raises:
        Conflict: as ``offer``. WrongState: nobody has it, or it is finished.
    """
    _alone(uow, task_id)
    task = access.task(uow, actor, task_id, verb="dispatch", lock=True)
    if _was_done(uow, actor, task, "reassign", command_id):
        return task
    # By name the desk may ask the same people again; who is nearest is looked for among the others.
    able = task.state in TAKEN | {T.OFFERED}
    chosen = _chosen(uow, actor, task, whom, again=whom.nearest is None) if able else []
    TASK.fire(uow, actor, task, "reassign", command_id=command_id, reason=reason)
    _end_all(uow, task, reason=reason)
    _begin_again(uow, task)
    _make_offers(uow, actor, task, chosen, command_id=command_id)
    return _done(uow, task, "reassign", by=actor.user_id)


def take_off(
    uow: UnitOfWork, actor: Actor, task_id: UUID, *, officer_id: UUID, reason: str, command_id: UUID | None
) -> Task:
    """Release an officer who has accepted, or withdraw his offer, whichever it is."""
    _alone(uow, task_id)
    task = access.task(uow, actor, task_id, verb="dispatch", lock=True)
    share = _share(task, officer_id)
    offered = share.state in (AssignmentState.OFFERED, AssignmentState.WITHDRAWN)
    act = withdraw if offered else release
    return act(uow, actor, task_id, officer_id=officer_id, reason=reason, command_id=command_id)


def release(
    uow: UnitOfWork, actor: Actor, task_id: UUID, *, officer_id: UUID, reason: str, command_id: UUID | None
) -> Task:
    """Take an officer off a task; nobody is asked in his place, and what it had suspended goes on.

    Raises:
        NotVisible: he was never asked. WrongState: his share is over, or he has not accepted.
    """
    _alone(uow, task_id)
    task = access.task(uow, actor, task_id, verb="dispatch", lock=True)
    share = _share(task, officer_id)
    if assignments.fire(uow, actor, share, "release", command_id=command_id, reason=reason):
        if active(task):
            task.needed = min(task.needed, len(active(task)) + len(offers(task)))
        _left(uow, actor, task, "release", command_id=command_id, reason=reason)
        _free(uow, task, [officer_id])
        return _done(uow, task, "release", by=actor.user_id)
    return task


def withdraw(
    uow: UnitOfWork, actor: Actor, task_id: UUID, *, officer_id: UUID, reason: str, command_id: UUID | None
) -> Task:
    """Take an officer's offer back; nobody is asked in his place.

    Raises:
        NotVisible: he was never asked. WrongState: he has answered, or the offer has lapsed.
    """
    task = access.task(uow, actor, task_id, verb="dispatch", lock=True)
    share = _share(task, officer_id)
    if assignments.fire(uow, actor, share, "withdraw", command_id=command_id, reason=reason):
        task.needed = max(1, min(task.needed, len(active(task)) + len(offers(task))))
        _unanswered(uow, actor, task, "withdraw", command_id=command_id, reason=reason)
        _fill(uow, task)
        return _done(uow, task, "withdraw", by=actor.user_id)
    return task


def cancel(uow: UnitOfWork, actor: Actor, task_id: UUID, *, reason: str, command_id: UUID | None) -> Task:
    """Call off a task that is not finished.

    Raises:
        WrongState: it is finished.
    """
    _alone(uow, task_id)
    task = access.task(uow, actor, task_id, verb="dispatch", lock=True)
    if TASK.fire(uow, actor, task, "cancel", command_id=command_id, reason=reason):
        _end_all(uow, task, reason=reason)
        deadlines.drop(uow, task.id)
        return _done(uow, task, "cancel", by=actor.user_id)
    return task


def verify(uow: UnitOfWork, actor: Actor, task_id: UUID, *, command_id: UUID | None) -> Task:
    """Close a resolved task: somebody has looked at what came of it.

    Raises:
        WrongState: it is not resolved.
    """
    task = access.task(uow, actor, task_id, verb="verify", lock=True)
    if TASK.fire(uow, actor, task, "verify", command_id=command_id):
        return _done(uow, task, "verify", by=actor.user_id)
    return task


def rework(uow: UnitOfWork, actor: Actor, task_id: UUID, *, reason: str, command_id: UUID | None) -> Task:
    """Give a resolved task back to those who resolved it; whoever is off shift by now hands it back at once.

    Raises:
        WrongState: it is not resolved.
    """
    _alone(uow, task_id)
    task = access.task(uow, actor, task_id, verb="verify", lock=True)
    resolved_at = task.resolved_at
    if not TASK.fire(uow, actor, task, "rework", command_id=command_id, reason=reason):
        return task
    task.resolved_at = task.resolved_by = task.departed_at = task.arrived_at = None
    again = [s for s in task.assignments if s.state == AssignmentState.DONE and s.ended_at == resolved_at]
    for share in again:
        assignments.fire(uow, actor, share, "rework", command_id=command_id, reason=reason)
    uow.session.flush()
    _start_clocks(uow, task, uow.now, Due.ARRIVE, Due.COMPLETE)
    on_duty = _on_duty(uow, [share.officer_id for share in again])
    for share in again:
        if share.officer_id not in on_duty:
            _hand_back(uow, system_actor(uow.town), task, share, reason=OFF_SHIFT)
        elif task.kind.code == task_kinds.SOS:
            _suspend_others(uow, task, share.officer_id)
    return _done(uow, task, "rework", by=actor.user_id)


def move(uow: UnitOfWork, actor: Actor, task_id: UUID, place: Place) -> bool:
    """Let a task follow what it is about, if it is not over and lies elsewhere; whoever is on the way is told.

    Return whether it has moved.
    """
    task = access.task(uow, actor, task_id, verb="dispatch", lock=True)
    if task.state in (T.CLOSED, T.CANCELLED) or place_of(task) == place:
        return False
    task.geom = from_shape(Point(*place), srid=4326)
    task.version += 1
    assignments.turn(uow, task)
    uow.session.flush()
    journal.write(uow, actor, "task", task.id, "move")
    _announce(uow, task, "move", by=actor.user_id)
    return True


def refer(
    uow: UnitOfWork, actor: Actor, task_id: UUID, referral: Referral, *, reason: str, command_id: UUID | None
) -> Task:
    """Hand a task over to the police; with that it is closed for the town, and whoever is on it is told.

    Never automatic. The names stand in the task alone; the journal has who did it, when and why.

    Raises:
        WrongState: it is finished. Invalid: it was handed over in the future.
    """
    _alone(uow, task_id)
    task = access.task(uow, actor, task_id, verb="refer", lock=True)
    if referral.handed_at > uow.now + CLOCKS_DIFFER:
        raise Invalid("Nothing is handed over in the future.", handed_at=["in the future"])
    if TASK.fire(uow, actor, task, "refer", command_id=command_id, reason=reason):
        task.referred_at = uow.now
        task.referral = {
            "case_number": referral.case_number,
            "taken_by": referral.taken_by,
            "badge": referral.badge,
            "handed_at": referral.handed_at.isoformat(),
            "reason": reason,
            "by_id": str(actor.user_id),
        }
        _end_all(uow, task, reason=reason)
        deadlines.drop(uow, task.id)
        return _done(uow, task, "refer", by=actor.user_id)
    return task


CLOCKS_DIFFER = timedelta(minutes=10)
"""So far ahead of the server may the clock be by which somebody writes down when it was."""
OFF_SHIFT = "off shift"

# --- The officer's acts


def accept(
    uow: UnitOfWork,
    actor: Actor,
    task_id: UUID,
    *,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> Task:
    """Commit the officer to an offered task, and with ``by_crew`` those of his crew who are on shift.

    The row is locked, so of several simultaneous presses as many take effect as people are needed, and the others get
    WrongState. An SOS suspends whatever else he does until it is over for him.

    Raises:
        WrongState: the offer was answered, has lapsed, or was withdrawn because enough others accepted.
        Conflict: ``not_on_shift``.
    """
    duty = _on_duty(uow, [actor.user_id] if actor.user_id else [], hold=True)
    _alone(uow, task_id)
    task, share = _pressed(uow, actor, task_id, command_id)
    if share.state == AssignmentState.OFFERED and share.officer_id not in duty:
        raise Conflict("not_on_shift", "You are not on shift.")
    if not assignments.fire(uow, actor, share, "accept", command_id=command_id, device_at=device_at):
        return task
    bound = [share.officer_id]
    if task.by_crew and (crew_id := duty[share.officer_id].crew_id) is not None:
        bound += _bind_crew(uow, actor, task, crew_id, command_id=command_id, device_at=device_at)
    if task.state == T.OFFERED:
        TASK.fire(uow, actor, task, "accept", command_id=command_id, device_at=device_at)
    else:
        task.version += 1
    _fill(uow, task)
    if task.kind.code == task_kinds.SOS:
        for officer_id in bound:
            _suspend_others(uow, task, officer_id)
    alarms.answered(uow, task, share)
    return _done(uow, task, "accept", by=actor.user_id)


def decline(
    uow: UnitOfWork,
    actor: Actor,
    task_id: UUID,
    *,
    reason: str,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> Task:
    """Decline an offer. When nobody is left who could accept, the task is open again or goes to the next nearest.

    Raises:
        WrongState: the offer was answered, has lapsed, or was withdrawn.
    """
    task, share = _pressed(uow, actor, task_id, command_id)
    if assignments.fire(
        uow, actor, share, "decline", command_id=command_id, reason=reason, device_at=device_at
    ):
        _unanswered(uow, actor, task, "decline", command_id=command_id, reason=reason, device_at=device_at)
        _go_on(uow, task)
        return _done(uow, task, "decline", by=actor.user_id)
    return task


def depart(
    uow: UnitOfWork,
    actor: Actor,
    task_id: UUID,
    *,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> Task:
    """Set out; the first who does takes the task with him.

    Raises:
        WrongState: he has not accepted, or has set out already.
    """
    return _advance(uow, actor, task_id, "depart", command_id=command_id, device_at=device_at)


def arrive(
    uow: UnitOfWork,
    actor: Actor,
    task_id: UUID,
    *,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> Task:
    """Be at the place, also without having said that one set out: phones get forgotten in pockets.

    Raises:
        WrongState: he has not accepted, or is there already.
    """
    return _advance(uow, actor, task_id, "arrive", command_id=command_id, device_at=device_at)


def _advance(
    uow: UnitOfWork,
    actor: Actor,
    task_id: UUID,
    action: str,
    *,
    command_id: UUID | None,
    device_at: datetime | None,
) -> Task:
    task, share = _pressed(uow, actor, task_id, command_id)
    if assignments.fire(uow, actor, share, action, command_id=command_id, device_at=device_at):
        # Those who come later find the task where the first has brought it.
        if any(s.action == action and task.state in s.sources for s in TASK.steps):
            TASK.fire(uow, actor, task, action, command_id=command_id, device_at=device_at)
        else:
            task.version += 1
        return _done(uow, task, action, by=actor.user_id)
    return task


def resolve(
    uow: UnitOfWork,
    actor: Actor,
    task_id: UUID,
    result: Result,
    *,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> Task:
    """Say that it is done and what came of it; it is done for everybody who took part.

    Raises:
        WrongState: he is not at the place. Invalid: the result is not what the kind asks for.
    """
    _alone(uow, task_id)
    task, share = _pressed(uow, actor, task_id, command_id)
    if share.state == AssignmentState.ON_SITE:
        task_kinds.check_result(task.kind, result.checklist, result.answers)
    if not assignments.fire(uow, actor, share, "resolve", command_id=command_id, device_at=device_at):
        return task
    task.result = {
        "text": result.text,
        "checklist": dict(result.checklist),
        "answers": dict(result.answers),
        "evidence_ids": [str(one) for one in result.evidence_ids],
    }
    task.resolved_by = actor.user_id
    TASK.fire(uow, actor, task, "resolve", command_id=command_id, device_at=device_at)
    _free(uow, task, [share.officer_id])
    for other in active(task):
        finish(uow, system_actor(uow.town), task, other)
    _end_all(uow, task)
    deadlines.drop(uow, task.id)
    return _done(uow, task, "resolve", by=actor.user_id)


def hand_back(
    uow: UnitOfWork,
    actor: Actor,
    task_id: UUID,
    *,
    reason: str,
    command_id: UUID | None,
    officer_id: UUID | None = None,
    device_at: datetime | None = None,
) -> Task:
    """Give a task back. When the last of its people does, it is open again; the system does it for ``officer_id``.

    Raises:
        WrongState: he has not accepted, or it is over for him.
    """
    _alone(uow, task_id)
    if Role.SYSTEM in actor.roles:
        task = access.task(uow, actor, task_id, lock=True)
        share = _share(task, officer_id)
    else:
        task, share = _pressed(uow, actor, task_id, command_id)
    if _hand_back(uow, actor, task, share, reason=reason, command_id=command_id, device_at=device_at):
        _go_on(uow, task)
        return _done(uow, task, "hand_back", by=actor.user_id)
    return task


# --- What others ask of tasks


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


def leave(uow: UnitOfWork, officer_id: UUID, *, reason: str) -> None:
    """Let an officer whose shift ends leave his tasks: offers lapse, what he does is handed back by the system."""
    system = system_actor(uow.town)
    having = select(Assignment.task_id).where(
        Assignment.officer_id == officer_id, Assignment.ended_at.is_(None)
    )
    if uow.session.scalar(having.limit(1)) is None:
        return
    _alone(uow)
    for task_id in uow.session.scalars(having.order_by(Assignment.task_id)).all():
        task = access.task(uow, system, task_id, lock=True)
        share = share_of(task, officer_id)
        if share is None or share.ended_at is not None:
            continue
        if share.state == AssignmentState.OFFERED:
            lapse(uow, system, task, share)
        else:
            _hand_back(uow, system, task, share, reason=reason)
            _go_on(uow, task)
            _done(uow, task, "hand_back", by=None)


def lapse(uow: UnitOfWork, actor: Actor, task: Task, share: Assignment) -> None:
    """Let an offer in a locked task lapse, and go on with the next nearest if the task offers itself."""
    if assignments.fire(uow, actor, share, "lapse"):
        _unanswered(uow, actor, task, "lapse")
        _go_on(uow, task)
        _done(uow, task, "lapse", by=actor.user_id)


def suspend(uow: UnitOfWork, actor: Actor, task: Task, share: Assignment, *, by: UUID) -> None:
    """Suspend an officer's share in a locked task while he does the task ``by``; the task rests when all of it does."""
    assignments.fire(uow, actor, share, "suspend", by=by)
    _settle(uow, task)
    _done(uow, task, "suspend", by=actor.user_id)


def resume(uow: UnitOfWork, actor: Actor, task: Task, share: Assignment) -> None:
    """Let an officer go on with a suspended share in a locked task."""
    assignments.fire(uow, actor, share, "resume")
    _settle(uow, task)
    _done(uow, task, "resume", by=actor.user_id)


def finish(uow: UnitOfWork, actor: Actor, task: Task, share: Assignment) -> None:
    """End a share in a locked task that somebody else has resolved: it is done for him as well."""
    assignments.fire(uow, actor, share, "finish")
    _free(uow, task, [share.officer_id])


# --- The clock's acts


def offer_due(uow: UnitOfWork, deadline: Deadline) -> None:
    """Let an offer lapse whose time is over."""
    task_id = uow.session.scalar(select(Assignment.task_id).where(Assignment.id == deadline.subject_id))
    task = _without_waiting(uow, task_id)
    share = next((one for one in task.assignments if one.id == deadline.subject_id), None)
    if share is not None and share.state == AssignmentState.OFFERED:
        lapse(uow, system_actor(uow.town), task, share)


def time_due(uow: UnitOfWork, deadline: Deadline) -> None:
    """Mark a task that has missed a time, and climb the ladder: journalled is who is told at which level."""
    task = _without_waiting(uow, deadline.subject_id)
    about = Due(deadline.about)
    due_at = getattr(task, _CLOCKS[about].due)
    if due_at is None or not _waits(task, about):
        return
    ladder = deadlines.rungs(uow, f"task.{about}")
    if deadline.level >= len(ladder):
        return
    task.version += 1
    _look_at_clock(uow, task)
    journal.write(
        uow, system_actor(uow.town), "task", task.id, "overdue", before=task.state, after=task.state,
        data={"about": about, "level": deadline.level, "tells": ladder[deadline.level][1]},
    )  # fmt: skip
    if deadline.level + 1 < len(ladder):
        next_at = due_at + timedelta(seconds=ladder[deadline.level + 1][0])
        deadlines.put(uow, TASK.kind, task.id, about, next_at, level=deadline.level + 1)
    uow.session.flush()
    _announce(uow, task, "overdue", data={"about": about, "tells": ladder[deadline.level][1]})


def _without_waiting(uow: UnitOfWork, task_id: UUID | None) -> Task:
    free = select(Task.id).where(Task.id == task_id).with_for_update(skip_locked=True)
    if task_id is None or uow.session.scalar(free) is None:
        raise deadlines.Later
    return access.task(uow, system_actor(uow.town), task_id, lock=True)


# --- How a task follows its people


def _pressed(
    uow: UnitOfWork, actor: Actor, task_id: UUID, command_id: UUID | None
) -> tuple[Task, Assignment]:
    """Lock a task and return the actor's own share in it; whoever was never asked finds nothing."""
    task = access.task(uow, actor, task_id, verb="do", lock=True)
    share = assignments.pressed(uow, actor, task, command_id)
    if share is None:
        raise NotVisible()
    return task, share


def _share(task: Task, officer_id: UUID | None) -> Assignment:
    share = share_of(task, officer_id)
    if share is None:
        raise NotVisible()
    return share


def _was_done(uow: UnitOfWork, actor: Actor, task: Task, action: str, command_id: UUID | None) -> bool:
    """Say whether the actor did this to the task under this id before; then nobody is looked for again."""
    done = TASK.did(uow, actor, task, command_id) if command_id is not None else None
    if done not in (None, action):
        raise Invalid("This command's id was used for another act.", "key_reused")
    return done is not None


def _chosen(uow: UnitOfWork, actor: Actor, task: Task, whom: Whom, *, again: bool = False) -> list[_Chosen]:
    """Return whom to ask: none of those who have an open share, but for those named ``again``.

    Raises:
        Conflict: ``not_on_shift`` or ``nobody_to_ask``; not to the system, which asks whom it can.
    """
    chosen: list[_Chosen] = []
    having = [share.officer_id for share in task.assignments if share.ended_at is None]
    if whom.officer_ids is not None:
        chosen = _named(uow, actor, task, [one for one in whom.officer_ids if again or one not in having])
    if whom.nearest is not None:
        without = [*having, *(one.officer.id for one in chosen)]
        chosen += _nearest(uow, actor, task, whom.nearest, busy_too=whom.busy_too, without=without)
    if not chosen and Role.SYSTEM not in actor.roles:
        raise Conflict("nobody_to_ask", "Nobody suitable is on shift and free.")
    return chosen


def _make_offers(
    uow: UnitOfWork, actor: Actor, task: Task, chosen: Sequence[_Chosen], *, command_id: UUID | None
) -> None:
    lapses_at = uow.now + timedelta(seconds=task.kind.offer_s)
    for one in chosen:
        share = assignments.make(
            uow, actor, task, one.officer, lapses_at=lapses_at, command_id=command_id,
            distance_m=one.distance_m, eta_s=one.eta_s,
        )  # fmt: skip
        deadlines.put(uow, ASSIGNMENT.kind, share.id, Due.LAPSE, lapses_at)


def _named(uow: UnitOfWork, actor: Actor, task: Task, officer_ids: Sequence[UUID]) -> list[_Chosen]:
    wanted = list(dict.fromkeys(officer_ids))
    query = (
        select(Shift)
        .where(Shift.officer_id.in_(wanted), Shift.ended_at.is_(None), Shift.closes_at > uow.now)
        .options(joinedload(Shift.officer))
    )
    if Role.SYSTEM not in actor.roles:
        query = query.where(access.within(Shift.area_id, access.roots(actor, "dispatch", "task")))
    found = {shift.officer_id: shift.officer for shift in uow.session.scalars(query)}
    missing = [one for one in wanted if one not in found]
    if missing and Role.SYSTEM not in actor.roles:
        raise Conflict(
            "not_on_shift",
            "Somebody of them is not on shift in your areas.",
            officer_ids=list(map(str, missing)),
        )
    since = uow.now - timedelta(seconds=nearest.RECENT_S)
    away = queries.how_far(uow.session, place_of(task), wanted, since=since)
    return [_Chosen(found[one], *away.get(one, (None, None))) for one in wanted if one in found]


def _nearest(
    uow: UnitOfWork, actor: Actor, task: Task, count: int, *, busy_too: bool, without: Sequence[UUID]
) -> list[_Chosen]:
    near = nearest.candidates(uow, actor, task, busy_too=busy_too, without=without, limit=count)
    people = uow.session.scalars(select(User).where(User.id.in_([one.id for one in near])))
    by_id = {person.id: person for person in people}
    return [_Chosen(by_id[one.id], one.distance_m, one.eta_s) for one in near]


def _nobody_left(uow: UnitOfWork, task: Task) -> None:
    """Write down, and tell the desk, that nobody suitable is on shift who was not asked yet."""
    system = system_actor(uow.town)
    journal.write(uow, system, "task", task.id, "nobody_left", before=task.state, after=task.state)
    _announce(uow, task, "nobody_left")


def _go_on(uow: UnitOfWork, task: Task) -> None:
    """Ask the next nearest of those not asked yet for each who is lacking, if the task offers itself.

    Offers that still stand when a task was handed back keep it offered in any case.
    """
    system = system_actor(uow.town)
    lacking = task.needed - len(active(task)) - len(offers(task))
    if task.offers_itself and lacking > 0 and task.state in UNFINISHED:
        asked = [share.officer_id for share in task.assignments]
        busy_too = task.kind.code == task_kinds.SOS
        chosen = _nearest(uow, system, task, lacking, busy_too=busy_too, without=asked)
        _make_offers(uow, system, task, chosen, command_id=None)
        if not chosen:
            _nobody_left(uow, task)
    _go_on_with_offers(uow, task)


def _bind_crew(
    uow: UnitOfWork,
    actor: Actor,
    task: Task,
    crew_id: UUID,
    *,
    command_id: UUID | None,
    device_at: datetime | None,
) -> list[UUID]:
    """Accept for those of the crew who are on shift; whose shift is being ended at this moment stays out."""
    mates = uow.session.scalars(
        select(Shift)
        .where(Shift.crew_id == crew_id, Shift.officer_id != actor.user_id)
        .where(Shift.ended_at.is_(None), Shift.closes_at > uow.now)
        .options(joinedload(Shift.officer))
        .order_by(Shift.officer_id)
        .with_for_update(of=Shift, read=True, skip_locked=True)
    ).all()
    bound = []
    for mate in mates:
        share = share_of(task, mate.officer_id)
        if share is None or share.ended_at is not None:
            share = assignments.make(uow, actor, task, mate.officer, lapses_at=None, command_id=None)
        if share.state == AssignmentState.OFFERED:
            assignments.fire(
                uow, actor, share, "accept", command_id=command_id, device_at=device_at,
                on_behalf_of=mate.officer_id,
            )  # fmt: skip
            bound.append(mate.officer_id)
    return bound


def _fill(uow: UnitOfWork, task: Task) -> None:
    """Once as many have accepted as are needed, the other offers are withdrawn."""
    if task.filled_at is not None or not active(task) or len(active(task)) < task.needed:
        _settle(uow, task)
        return
    task.filled_at = uow.now
    for share in offers(task):
        assignments.end(uow, share)
    _settle(uow, task)


def _unanswered(
    uow: UnitOfWork,
    actor: Actor,
    task: Task,
    action: str,
    *,
    command_id: UUID | None = None,
    reason: str | None = None,
    device_at: datetime | None = None,
) -> None:
    """A task that was offered is open again when the last offer is gone and nobody has accepted."""
    if task.state == T.OFFERED and not offers(task):
        TASK.fire(uow, actor, task, action, command_id=command_id, reason=reason, device_at=device_at)
    else:
        task.version += 1


def _hand_back(
    uow: UnitOfWork,
    actor: Actor,
    task: Task,
    share: Assignment,
    *,
    reason: str,
    command_id: UUID | None = None,
    device_at: datetime | None = None,
) -> bool:
    if not assignments.fire(
        uow, actor, share, "hand_back", command_id=command_id, reason=reason, device_at=device_at
    ):
        return False
    _left(uow, actor, task, "hand_back", command_id=command_id, reason=reason, device_at=device_at)
    _free(uow, task, [share.officer_id])
    return True


def _left(
    uow: UnitOfWork,
    actor: Actor,
    task: Task,
    action: str,
    *,
    command_id: UUID | None,
    reason: str,
    device_at: datetime | None = None,
) -> None:
    """Somebody who had accepted is gone: the task is open again when he was the last."""
    if not active(task) and task.state in TAKEN:
        TASK.fire(uow, actor, task, action, command_id=command_id, reason=reason, device_at=device_at)
        _begin_again(uow, task)
        _go_on_with_offers(uow, task)
    else:
        if len(active(task)) < task.needed:
            task.filled_at = None
        task.version += 1
        _fill(uow, task)


def _go_on_with_offers(uow: UnitOfWork, task: Task) -> None:
    if task.state == T.OPEN and offers(task):
        TASK.fire(uow, system_actor(uow.town), task, "offer", command_id=None)


def _begin_again(uow: UnitOfWork, task: Task) -> None:
    """Nobody has the task any more: what was reached is in the journal, and accepting is due anew."""
    task.accepted_at = task.filled_at = task.departed_at = task.arrived_at = task.suspended_at = None
    uow.session.flush()
    _start_clocks(uow, task, uow.now, Due.ACCEPT)


def _end_all(uow: UnitOfWork, task: Task, *, reason: str | None = None) -> None:
    """The task goes on without those who have it or were asked."""
    ended = [share for share in task.assignments if share.ended_at is None]
    for share in ended:
        assignments.end(uow, share, reason=reason)
    uow.session.flush()
    _free(uow, task, [share.officer_id for share in ended])


def _settle(uow: UnitOfWork, task: Task) -> None:
    """A task rests while all its people have something more urgent to do."""
    people = active(task)
    rest = bool(people) and all(share.state == AssignmentState.SUSPENDED for share in people)
    if rest and task.state in GOING:
        TASK.fire(uow, system_actor(uow.town), task, "suspend", command_id=None)
    elif people and not rest and task.state == T.SUSPENDED:
        TASK.fire(uow, system_actor(uow.town), task, "resume", command_id=None)


_WAIT_FOR_OTHERS = text("""
    select pg_advisory_xact_lock(hashtextextended('tasks of ' || cast(:town as text), 0))
    where cast(:task as uuid) is null
       or exists (select 1 from tasks t join task_kinds k on k.id = t.kind_id where t.id = :task and k.code = :sos)
""")


def _alone(uow: UnitOfWork, task_id: UUID | None = None) -> None:
    """Be the only one of the town who moves several tasks at once, until the transaction ends.

    With a task, if it is an SOS: what its officers do besides is suspended by it, and goes on after it. Asked for
    before the first task is locked; two who held a task each and wanted the other's would wait for ever.
    """
    given = {"town": uow.town, "task": task_id, "sos": task_kinds.SOS}
    uow.session.execute(_WAIT_FOR_OTHERS, given)


def hold(uow: UnitOfWork, task_id: UUID) -> Task:
    """Lock a task that is going to be ended with its alarm, before the alarm is locked."""
    _alone(uow, task_id)
    return access.task(uow, system_actor(uow.town), task_id, lock=True)


def _suspend_others(uow: UnitOfWork, sos: Task, officer_id: UUID) -> None:
    """Suspend whatever else an officer does who has accepted an SOS."""
    system = system_actor(uow.town)
    uow.session.flush()
    for task, share in _of_officer(uow, officer_id, Assignment.task_id != sos.id):
        if share.state in assignments.GOING:
            suspend(uow, system, task, share, by=sos.id)


def _free(uow: UnitOfWork, sos: Task, officer_ids: Iterable[UUID]) -> None:
    """Let those for whom an SOS is over go on with what it had suspended, unless another one keeps them."""
    if sos.kind.code != task_kinds.SOS:
        return
    system = system_actor(uow.town)
    uow.session.flush()
    for officer_id in officer_ids:
        for task, share in _of_officer(uow, officer_id, Assignment.suspended_by == sos.id):
            if share.state != AssignmentState.SUSPENDED or share.suspended_by != sos.id:
                continue
            other = _other_sos(uow, officer_id, (sos.id, task.id))
            if other is not None:
                share.suspended_by = other
            else:
                resume(uow, system, task, share)


def _of_officer(uow: UnitOfWork, officer_id: UUID, condition: Any) -> Iterable[tuple[Task, Assignment]]:
    """Lock the tasks in which an officer has an open share, one after another; the caller is ``_alone``."""
    query = select(Assignment.task_id).where(
        Assignment.officer_id == officer_id, Assignment.ended_at.is_(None), condition
    )
    for task_id in uow.session.scalars(query.order_by(Assignment.task_id)).all():
        task = access.task(uow, system_actor(uow.town), task_id, lock=True)
        share = share_of(task, officer_id)
        if share is not None and share.ended_at is None:
            yield task, share


def _other_sos(uow: UnitOfWork, officer_id: UUID, without: Sequence[UUID]) -> UUID | None:
    return uow.session.scalar(
        select(Task.id)
        .join(Assignment, Assignment.task_id == Task.id)
        .join(TaskKind, TaskKind.id == Task.kind_id)
        .where(TaskKind.code == task_kinds.SOS, Task.id.not_in(without))
        .where(Assignment.officer_id == officer_id, Assignment.state.in_(assignments.GOING))
        .limit(1)
    )


def _on_duty(uow: UnitOfWork, officer_ids: Sequence[UUID], *, hold: bool = False) -> dict[UUID, Shift]:
    """Return who of them is on shift; held, the shifts do not end before the transaction does."""
    query = select(Shift).where(
        Shift.officer_id.in_(officer_ids), Shift.ended_at.is_(None), Shift.closes_at > uow.now
    )
    if hold:
        query = query.with_for_update(read=True)
    return {shift.officer_id: shift for shift in uow.session.scalars(query)}


# --- Its clocks


@dataclass(frozen=True)
class _Clock:
    due: str
    within: str
    runs_in: frozenset[T]


_CLOCKS = {
    # Accepting is due until enough have; arriving until the first is there; completing until it is resolved.
    Due.ACCEPT: _Clock("accept_due_at", "accept_within_s", frozenset({T.OPEN, T.OFFERED})),
    Due.ARRIVE: _Clock("arrive_due_at", "arrive_within_s", frozenset(UNFINISHED)),
    Due.COMPLETE: _Clock("complete_due_at", "complete_within_s", frozenset(UNFINISHED)),
}


def _start_clocks(uow: UnitOfWork, task: Task, from_at: datetime, *abouts: Due) -> None:
    for about in abouts:
        clock = _CLOCKS[about]
        within_s = getattr(task.kind, clock.within)
        if within_s is None:
            continue
        due_at = from_at + timedelta(seconds=within_s)
        setattr(task, clock.due, due_at)
        deadlines.drop(uow, task.id, about)
        first = deadlines.rungs(uow, f"task.{about}")[0][0]
        deadlines.put(uow, TASK.kind, task.id, about, due_at + timedelta(seconds=first))


def _waits(task: Task, about: Due) -> bool:
    """Say whether the step that a clock is about is still to come."""
    if about is Due.ARRIVE and task.arrived_at is not None:
        return False
    return task.state in _CLOCKS[about].runs_in


def _look_at_clock(uow: UnitOfWork, task: Task) -> None:
    """Name the first time that was missed and still is."""
    missed = (
        about
        for about, clock in _CLOCKS.items()
        if _is_past(uow, getattr(task, clock.due)) and _waits(task, about)
    )
    task.overdue = next(missed, None)


def _is_past(uow: UnitOfWork, due_at: datetime | None) -> bool:
    return due_at is not None and due_at <= uow.now


def _done(uow: UnitOfWork, task: Task, action: str, *, by: UUID | None) -> Task:
    """End an act on a task: clocks that have nothing to wait for stop, and everybody concerned is told."""
    _look_at_clock(uow, task)
    over = [about for about in _CLOCKS if not _waits(task, about)]
    if over:
        deadlines.drop(uow, task.id, *over)
    uow.session.flush()
    if task.state in (T.CLOSED, T.CANCELLED):
        alarms.ended_with(uow, task)
        reports.ended_with(uow, task)
    _announce(uow, task, action, by=by)
    return task


def _announce(
    uow: UnitOfWork,
    task: Task,
    action: str,
    *,
    by: UUID | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Tell who is concerned, by notices and by the live channel.

    ``data`` says more of what happened, for notices.
    """
    telling.of_task(uow, task, action, by=by, data=data)
    changes.tell(uow, TASK.kind, task, action, to=recipients.hear_of_task(task, uow.now))
    responders.tell_who_called(uow, task, action)
