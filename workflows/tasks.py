"""Tasks: something officers are told to do at a place.

Every act locks the task's row first, through its door, and then moves one officer's share (``workflows.assignments``);
the task follows its people. So of fifty who accept at once, as many win as are needed, and the others are told why not.

Rows are locked in one order, so that nobody waits in a circle: the town's gate, shifts, the right to move several tasks
at once (``suspensions.alone``), tasks, then what a task came from, an alarm or a report. Whoever moves one task waits
for no other one; of those who move several, because an SOS suspends them or a shift ends, one in the town is at work.

Beside it: ``task_looks`` (lists), ``offering`` (whom it is offered to), ``results``, ``suspensions`` (by an SOS),
``task_clocks`` (when what is due) and ``task_deadlines`` (what the clock does then).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from geoalchemy2.shape import from_shape
from shapely import Point
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, WrongState
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AssignmentState, Due, Priority, Role, TaskSource
from backend.core.vocabulary import TaskState as T
from backend.models import Area, Assignment, Shift, Task, User
from notifications import changes, recipients
from workflows import (
    access,
    alarms,
    assignments,
    deadlines,
    evidence,
    journal,
    nearest,
    numbers,
    offering,
    officers,
    reports,
    responders,
    suspensions,
    task_clocks,
    task_kinds,
    telling,
)
from workflows.assignments import ASSIGNMENT, active, offers, share_of
from workflows.machine import AS_BEFORE, Machine, step
from workflows.nearest import Place, place_of
from workflows.offering import Whom
from workflows.results import Referral, Result
from workflows.task_clocks import UNFINISHED

DESK = (Role.DISPATCHER, Role.SUPERVISOR)
OFFICER, SYSTEM = (Role.OFFICER,), (Role.SYSTEM,)
GOING = {T.ACCEPTED, T.EN_ROUTE, T.ON_SITE}
TAKEN = GOING | {T.SUSPENDED}

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
    step("hand_over", TAKEN,                    T.ACCEPTED,  SYSTEM,              "accepted_at"),
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
OFF_SHIFT = "off shift"
CLOCKS_DIFFER = timedelta(minutes=10)
"""So far ahead of the server may the clock be by which somebody writes down when it was."""


# --- What may be pressed


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
    task_clocks.start(uow, task, uow.now, *task_clocks.CLOCKS)
    if whom is not None:
        if chosen := offering.choose(uow, actor, task, whom):
            TASK.fire(uow, actor, task, "offer", command_id=None)
            offering.make(uow, actor, task, chosen, command_id=command_id)
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
    chosen = offering.choose(uow, actor, task, whom) if task.state == T.OPEN else []
    TASK.fire(uow, actor, task, "offer", command_id=command_id)
    offering.make(uow, actor, task, chosen, command_id=command_id)
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
    chosen = offering.choose(uow, actor, task, whom)
    task.needed = max(task.needed, needed or 0, len(active(task)) + 1)
    task.filled_at, task.version = None, task.version + 1
    offering.make(uow, actor, task, chosen, command_id=command_id)
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
    suspensions.alone(uow, task_id)
    task = access.task(uow, actor, task_id, verb="dispatch", lock=True)
    if _was_done(uow, actor, task, "reassign", command_id):
        return task
    # By name the desk may ask the same people again; who is nearest is looked for among the others.
    able = task.state in TAKEN | {T.OFFERED}
    chosen = offering.choose(uow, actor, task, whom, again=whom.nearest is None) if able else []
    TASK.fire(uow, actor, task, "reassign", command_id=command_id, reason=reason)
    _end_all(uow, task, reason=reason)
    _begin_again(uow, task)
    offering.make(uow, actor, task, chosen, command_id=command_id)
    return _done(uow, task, "reassign", by=actor.user_id)


def take_off(
    uow: UnitOfWork, actor: Actor, task_id: UUID, *, officer_id: UUID, reason: str, command_id: UUID | None
) -> Task:
    """Release an officer who has accepted, or withdraw his offer, whichever it is."""
    suspensions.alone(uow, task_id)
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
    suspensions.alone(uow, task_id)
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
    suspensions.alone(uow, task_id)
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
    suspensions.alone(uow, task_id)
    task = access.task(uow, actor, task_id, verb="verify", lock=True)
    resolved_at = task.resolved_at
    if not TASK.fire(uow, actor, task, "rework", command_id=command_id, reason=reason):
        return task
    task.resolved_at = task.resolved_by = task.departed_at = task.arrived_at = None
    again = [s for s in task.assignments if s.state == AssignmentState.DONE and s.ended_at == resolved_at]
    for share in again:
        assignments.fire(uow, actor, share, "rework", command_id=command_id, reason=reason)
    uow.session.flush()
    task_clocks.start(uow, task, uow.now, Due.ARRIVE, Due.COMPLETE)
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
    announce(uow, task, "move", by=actor.user_id)
    return True


def refer(
    uow: UnitOfWork, actor: Actor, task_id: UUID, referral: Referral, *, reason: str, command_id: UUID | None
) -> Task:
    """Hand a task over to the police; with that it is closed for the town, and whoever is on it is told.

    Never automatic. The names stand in the task alone; the journal has who did it, when and why.

    Raises:
        WrongState: it is finished. Invalid: it was handed over in the future.
    """
    suspensions.alone(uow, task_id)
    task = access.task(uow, actor, task_id, verb="refer", lock=True)
    if referral.handed_at > uow.now + CLOCKS_DIFFER:
        raise Invalid("Nothing is handed over in the future.", handed_at=["in the future"])
    if TASK.fire(uow, actor, task, "refer", command_id=command_id, reason=reason):
        task.referred_at = uow.now
        task.referral = referral.document(by=actor.user_id, reason=reason)
        _end_all(uow, task, reason=reason)
        deadlines.drop(uow, task.id)
        return _done(uow, task, "refer", by=actor.user_id)
    return task


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
    suspensions.alone(uow, task_id)
    task, share = _pressed(uow, actor, task_id, command_id)
    if share.state == AssignmentState.OFFERED and share.officer_id not in duty:
        raise Conflict("not_on_shift", "You are not on shift.")
    if not assignments.fire(uow, actor, share, "accept", command_id=command_id, device_at=device_at):
        return task
    bound = [share.officer_id]
    if task.by_crew and (crew_id := duty[share.officer_id].crew_id) is not None:
        bound += offering.bind_crew(uow, actor, task, crew_id, command_id=command_id, device_at=device_at)
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
        WrongState: he is not at the place. Invalid: the result is not what the kind asks for, or a photo is another
            officer's (``not_your_evidence``).
    """
    suspensions.alone(uow, task_id)
    task, share = _pressed(uow, actor, task_id, command_id)
    if share.state == AssignmentState.ON_SITE:
        task_kinds.check_result(task.kind, result.checklist, result.answers)
        evidence.check_own(uow, actor.user_id, evidence_ids=result.evidence_ids)
    if not assignments.fire(uow, actor, share, "resolve", command_id=command_id, device_at=device_at):
        return task
    task.result = result.document()
    task.resolved_by = actor.user_id
    evidence.name_in_result(uow, task, share.officer_id, result.evidence_ids)
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
    suspensions.alone(uow, task_id)
    if Role.SYSTEM in actor.roles:
        task = access.task(uow, actor, task_id, lock=True)
        share = _share(task, officer_id)
    else:
        task, share = _pressed(uow, actor, task_id, command_id)
    if _hand_back(uow, actor, task, share, reason=reason, command_id=command_id, device_at=device_at):
        _go_on(uow, task)
        return _done(uow, task, "hand_back", by=actor.user_id)
    return task


# --- What follows from something else, and the system does


def hold(uow: UnitOfWork, task_id: UUID) -> Task:
    """Lock a task that is going to be ended with its alarm, before the alarm is locked."""
    suspensions.alone(uow, task_id)
    return access.task(uow, system_actor(uow.town), task_id, lock=True)


def leave(uow: UnitOfWork, officer_id: UUID, *, reason: str) -> None:
    """Let an officer whose shift ends leave his tasks: offers lapse, what he does is handed back by the system."""
    system = system_actor(uow.town)
    having = select(Assignment.task_id).where(
        Assignment.officer_id == officer_id, Assignment.ended_at.is_(None)
    )
    if uow.session.scalar(having.limit(1)) is None:
        return
    suspensions.alone(uow)
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


def hand_over(
    uow: UnitOfWork,
    actor: Actor,
    task_id: UUID,
    *,
    giver_id: UUID,
    to: User,
    command_id: UUID | None,
) -> bool:
    """Let ``to`` do a task in an officer's stead: he has accepted it with the whole hand-over, and begins it anew.

    The actor is ``to`` himself, whose shift is held, and ``suspensions.alone`` is the caller's. Say whether it passed:
    it does not where the officer has no share in it any more, or the kind is not for ``to`` to do.
    """
    system = system_actor(uow.town)
    task = access.task(uow, system, task_id, lock=True)
    given = share_of(task, giver_id)
    if given is None or not assignments.is_active(given) or not _suits(uow, task, to):
        return False
    hand_on(uow, system, task, given, to=to, taker=actor, command_id=command_id)
    return True


def hand_on(
    uow: UnitOfWork,
    actor: Actor,
    task: Task,
    share: Assignment,
    *,
    to: User,
    taker: Actor,
    command_id: UUID | None,
) -> None:
    """Let ``to`` have an officer's share in a locked task, as one who has accepted it; the ``taker`` is he himself."""
    assignments.fire(uow, actor, share, "hand_over")
    uow.session.flush()
    his = share_of(task, to.id)
    if his is None or his.ended_at is not None:
        his = assignments.make(uow, actor, task, to, lapses_at=None, command_id=None)
    fresh = his.state == AssignmentState.OFFERED
    if fresh:
        assignments.fire(uow, taker, his, "accept", command_id=command_id)
    if fresh and active(task) == [his]:
        TASK.fire(uow, actor, task, "hand_over", command_id=None)
        task.departed_at = task.arrived_at = task.suspended_at = None
    else:
        # He does it already, or others do: there is one fewer where he was one of them.
        task.needed = max(1, min(task.needed, len(active(task)) + len(offers(task))))
        task.version += 1
    _fill(uow, task)
    if task.kind.code == task_kinds.SOS:
        _suspend_others(uow, task, to.id)
    _free(uow, task, [share.officer_id])
    alarms.answered(uow, task, his)
    _done(uow, task, "hand_over", by=taker.user_id)


def _suits(uow: UnitOfWork, task: Task, officer: User) -> bool:
    """Say whether a task is for an officer to do: of a kind that he does, where he serves."""
    if not access.serves(uow, officer.id, task.area_id):
        return False
    kinds, skill = task.kind.officer_kinds, task.kind.skill
    if skill is not None and skill not in officer.skills:
        return False
    return not kinds or officers.kinds(uow, [officer.id]).get(officer.id) in kinds


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


def _nobody_left(uow: UnitOfWork, task: Task) -> None:
    """Write down, and tell the desk, that nobody suitable is on shift who was not asked yet."""
    system = system_actor(uow.town)
    journal.write(uow, system, "task", task.id, "nobody_left", before=task.state, after=task.state)
    announce(uow, task, "nobody_left")


def _go_on(uow: UnitOfWork, task: Task) -> None:
    """Ask the next nearest of those not asked yet for each who is lacking, if the task offers itself.

    Offers that still stand when a task was handed back keep it offered in any case.
    """
    system = system_actor(uow.town)
    lacking = task.needed - len(active(task)) - len(offers(task))
    if task.offers_itself and lacking > 0 and task.state in UNFINISHED:
        asked = [share.officer_id for share in task.assignments]
        busy_too = task.kind.code == task_kinds.SOS
        chosen = offering.the_nearest(uow, system, task, lacking, busy_too=busy_too, without=asked)
        offering.make(uow, system, task, chosen, command_id=None)
        if not chosen:
            _nobody_left(uow, task)
    _go_on_with_offers(uow, task)


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
    task_clocks.start(uow, task, uow.now, Due.ACCEPT)


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


def _suspend_others(uow: UnitOfWork, sos: Task, officer_id: UUID) -> None:
    """Suspend whatever else an officer does who has accepted an SOS."""
    system = system_actor(uow.town)
    uow.session.flush()
    for task, share in suspensions.tasks_of(uow, officer_id, Assignment.task_id != sos.id):
        if share.state in assignments.GOING:
            suspend(uow, system, task, share, by=sos.id)


def _free(uow: UnitOfWork, sos: Task, officer_ids: Iterable[UUID]) -> None:
    """Let those for whom an SOS is over go on with what it had suspended, unless another one keeps them."""
    if sos.kind.code != task_kinds.SOS:
        return
    system = system_actor(uow.town)
    uow.session.flush()
    for officer_id in officer_ids:
        for task, share in suspensions.tasks_of(uow, officer_id, Assignment.suspended_by == sos.id):
            if share.state != AssignmentState.SUSPENDED or share.suspended_by != sos.id:
                continue
            other = suspensions.other_sos(uow, officer_id, (sos.id, task.id))
            if other is not None:
                share.suspended_by = other
            else:
                resume(uow, system, task, share)


def _on_duty(uow: UnitOfWork, officer_ids: Sequence[UUID], *, hold: bool = False) -> dict[UUID, Shift]:
    """Return who of them is on shift; held, the shifts do not end before the transaction does."""
    query = select(Shift).where(
        Shift.officer_id.in_(officer_ids), Shift.ended_at.is_(None), Shift.closes_at > uow.now
    )
    if hold:
        query = query.with_for_update(read=True)
    return {shift.officer_id: shift for shift in uow.session.scalars(query)}


def _done(uow: UnitOfWork, task: Task, action: str, *, by: UUID | None) -> Task:
    """End an act on a task: clocks that have nothing to wait for stop, and everybody concerned is told."""
    task_clocks.note_missed(uow, task)
    task_clocks.stop(uow, task)
    uow.session.flush()
    if task.state in (T.CLOSED, T.CANCELLED):
        alarms.ended_with(uow, task)
        reports.ended_with(uow, task)
    announce(uow, task, action, by=by)
    return task


def announce(
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
