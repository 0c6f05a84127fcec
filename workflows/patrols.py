"""Patrols: runs of a route, planned or spontaneous, and what becomes of each of their points.

An officer may be offline for a whole round, so what he presses is judged by the time that his phone gives: a patrol
that the clock has called missed is started all the same when he pressed in its window, and one that ended with his
shift is finished when he pressed before that. A point is visited when a visit in the time of the patrol says so
(``workflows.visits``), and skipped with a reason; what is neither stays open, also after the end, for people to see.

Rows are locked in one order: the shift, then the patrol. Beside it: ``patrol_looks`` (lists), ``patrol_clocks`` (late,
missed, overdue), ``visits`` (what makes a point visited).
"""

import random
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, WrongState
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Due, Role
from backend.core.vocabulary import PatrolState as P
from backend.core.vocabulary import Sequence as Order
from backend.models import Journal, Patrol, PatrolDeviation, PatrolPoint, Plan, Route, Shift
from notifications import changes, recipients
from workflows import access, deadlines, evidence, journal, numbers, questions, telling, visits
from workflows.machine import Machine, step

DESK = (Role.DISPATCHER, Role.SUPERVISOR)
OFFICER, SYSTEM = (Role.OFFICER,), (Role.SYSTEM,)
GOING = {P.ACTIVE, P.PAUSED}
OVER = {P.COMPLETED, P.ENDED_EARLY}

PATROL = Machine(
    "patrol", P.PLANNED,
    #    action       from                    to             by                   stamps
    step("start",     {P.PLANNED, P.MISSED},  P.ACTIVE,      OFFICER,             "started_at"),
    step("pause",     {P.ACTIVE},             P.PAUSED,      OFFICER,             "paused_at"),
    step("resume",    {P.PAUSED},             P.ACTIVE,      OFFICER,             None),
    step("finish",    GOING | {P.ENDED_EARLY}, P.COMPLETED,  OFFICER,             "finished_at"),
    step("end_early", GOING,                  P.ENDED_EARLY, (*OFFICER, *SYSTEM), "finished_at"),
    step("miss",      {P.PLANNED},            P.MISSED,      SYSTEM,              "missed_at"),
    step("cancel",    {P.PLANNED},            P.CANCELLED,   (*DESK, *SYSTEM),    "cancelled_at"),
)  # fmt: skip

OFFLINE = timedelta(hours=72)
"""So long phones are offline; a press that is older, and a word on what was over before, changes nothing any more."""
SHIFT_OVER = "shift over"
PLAN_CHANGED = "plan changed"
EARLY = timedelta(minutes=15)
"""So long before its time a planned patrol may be started: the shift has begun, and the round begins with it."""
MOST_PHOTOS = 40
"""So many photos a point of a patrol may have, of all its answers."""
AHEAD = timedelta(minutes=2)
"""So far ahead of the server a phone's clock may be; what is farther counts as now."""


# --- Made by plans


def schedule(uow: UnitOfWork, plan: Plan, at: datetime) -> Patrol | None:
    """Make the patrol of a plan for one moment; None when it exists, however often and by however many it is made.

    The route, its points and checkpoints as they are now are what this patrol goes by; a route that is changed later
    changes those that are made later. ``plan.route.points`` has to be loaded; whoever holds the plan's row leaves no
    number out.
    """
    # What the desk has called off stays so; what a change of the plan has cancelled may be made anew.
    known = select(Patrol.id).where(
        Patrol.plan_id == plan.id,
        Patrol.scheduled_at == at,
        or_(Patrol.state != P.CANCELLED, Patrol.reason != PLAN_CHANGED),
    )
    if uow.session.scalar(known) is not None:
        return None
    made = insert(Patrol).values(
        id=new_id(), town_id=uow.town, number=numbers.next_number(uow, PATROL.kind), plan_id=plan.id,
        state=PATROL.initial, officer_ids=list(plan.officer_ids), scheduled_at=at,
        start_by=at + timedelta(seconds=plan.window_s), created_at=uow.now, version=1, **_as_planned(plan.route),
    )  # fmt: skip
    made = made.on_conflict_do_nothing(
        index_elements=[Patrol.plan_id, Patrol.scheduled_at], index_where=text("state <> 'cancelled'")
    )
    patrol_id = uow.session.scalar(made.returning(Patrol.id))
    if patrol_id is None:
        return None
    _add_points(uow, patrol_id, plan.route)
    deadlines.put(uow, PATROL.kind, patrol_id, Due.LATE, at + timedelta(seconds=plan.late_after_s))
    deadlines.put(uow, PATROL.kind, patrol_id, Due.MISS, at + timedelta(seconds=plan.window_s))
    journal.write(uow, system_actor(uow.town), "patrol", patrol_id, "schedule", after=PATROL.initial)
    patrol = access.patrol(uow, system_actor(uow.town), patrol_id)
    _announce(uow, patrol, "schedule")
    return patrol


def _as_planned(route: Route) -> dict[str, Any]:
    return {
        "route_id": route.id, "area_id": route.area_id, "sequence": route.sequence, "allowed_s": route.allowed_s,
        "corridor_m": route.corridor_m,
    }  # fmt: skip


def _add_points(uow: UnitOfWork, patrol_id: UUID, route: Route) -> None:
    checkpoint_ids = [point.checkpoint_id for point in sorted(route.points, key=lambda one: one.position)]
    if route.sequence == Order.SHUFFLED:
        # Nobody who knows yesterday's round knows today's.
        random.SystemRandom().shuffle(checkpoint_ids)
    uow.session.execute(
        insert(PatrolPoint),
        [
            {
                "patrol_id": patrol_id,
                "position": n,
                "town_id": uow.town,
                "checkpoint_id": one,
            }
            for n, one in enumerate(checkpoint_ids)
        ],
    )


def cancel_planned(uow: UnitOfWork, actor: Actor, plan_id: UUID, *, command_id: UUID | None) -> int:
    """Cancel what a plan has made and nobody has begun: the plan was changed or retired. Return how many."""
    # A patrol of the past that nobody has begun yet is still to be missed, or begun by a press that comes late.
    waiting = select(Patrol).where(
        Patrol.plan_id == plan_id, Patrol.state == P.PLANNED, Patrol.scheduled_at > uow.now
    )
    held = waiting.order_by(Patrol.id).with_for_update().execution_options(populate_existing=True)
    found = uow.session.scalars(held).all()
    for patrol in found:
        _cancel(uow, actor, patrol, PLAN_CHANGED, command_id=None)
    return len(found)


# --- The desk's acts


def cancel(uow: UnitOfWork, actor: Actor, patrol_id: UUID, *, reason: str, command_id: UUID | None) -> Patrol:
    """Call a patrol off that nobody has begun.

    Raises:
        WrongState: it has begun, or is over.
    """
    patrol = access.patrol(uow, actor, patrol_id, verb="manage", lock=True)
    _cancel(uow, actor, patrol, reason, command_id=command_id)
    return read(uow, patrol.id)


def _cancel(uow: UnitOfWork, actor: Actor, patrol: Patrol, reason: str, *, command_id: UUID | None) -> None:
    if PATROL.fire(uow, actor, patrol, "cancel", command_id=command_id, reason=reason):
        patrol.reason = reason
        deadlines.drop(uow, patrol.id)
        _announce(uow, patrol, "cancel")


# --- The officer's acts


def start(
    uow: UnitOfWork,
    actor: Actor,
    patrol_id: UUID,
    *,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> Patrol:
    """Begin a planned patrol, as the officer whose shift covers the moment of the press.

    Raises:
        Conflict: ``not_on_shift``; ``patrol_running``, he is on another; ``too_early`` or ``too_late`` for its window.
        WrongState: somebody has begun it, or it is over.
    """
    access.patrol(uow, actor, patrol_id, verb="do")
    shift = shift_at(uow, actor, device_at)
    patrol = access.patrol(uow, actor, patrol_id, verb="do", lock=True)
    if PATROL.replayed(uow, actor, patrol, "start", command_id):
        return read(uow, patrol.id)
    at = moment_of(uow, device_at, shift)
    if patrol.state in (P.PLANNED, P.MISSED):
        # Pressed in its window it counts, whatever the clock has said until the press came.
        _refuse_outside_window(patrol, at)
    return _begin(uow, actor, patrol, shift, at, command_id=command_id, device_at=device_at)


def set_out(
    uow: UnitOfWork,
    actor: Actor,
    route_id: UUID,
    *,
    patrol_id: UUID | None,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> Patrol:
    """Begin a spontaneous patrol of a route.

    Raises:
        NotVisible: there is no such route in use where he is an officer.
        Conflict: ``not_on_shift``; ``patrol_running``; ``id_taken``, the id that the phone made is another's.
    """
    route = access.route(uow, actor, route_id, verb="go")
    shift = shift_at(uow, actor, device_at)
    if route.retired_at is not None:
        raise WrongState("retired", [])
    at = moment_of(uow, device_at, shift)
    patrol = Patrol(
        id=patrol_id or new_id(), town_id=uow.town, number=numbers.next_number(uow, PATROL.kind),
        state=PATROL.initial, scheduled_at=at, created_at=uow.now, version=1, **_as_planned(route),
    )  # fmt: skip
    uow.session.add(patrol)
    try:
        uow.session.flush()
    except IntegrityError as error:
        raise Conflict("id_taken", "This id is in use.") from error
    _add_points(uow, patrol.id, route)
    return _begin(uow, actor, patrol, shift, at, command_id=command_id, device_at=device_at)


def _begin(
    uow: UnitOfWork,
    actor: Actor,
    patrol: Patrol,
    shift: Shift,
    at: datetime,
    *,
    command_id: UUID | None,
    device_at: datetime | None,
) -> Patrol:
    if (other := running(uow, shift.officer_id)) is not None and other.id != patrol.id:
        raise Conflict("patrol_running", "You are on another patrol.", patrol_id=str(other.id))
    PATROL.fire(uow, actor, patrol, "start", command_id=command_id, device_at=device_at)
    patrol.officer_id, patrol.shift_id, patrol.began_at = shift.officer_id, shift.id, at
    deadlines.drop(uow, patrol.id)
    deadlines.put(uow, PATROL.kind, patrol.id, Due.OVERDUE, at + timedelta(seconds=patrol.allowed_s))
    uow.session.flush()
    visits.attach(uow, patrol)
    _announce(uow, patrol, "start")
    return read(uow, patrol.id)


def pause(
    uow: UnitOfWork,
    actor: Actor,
    patrol_id: UUID,
    *,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> Patrol:
    """Interrupt a patrol: something else comes first.

    Raises:
        WrongState: it is not under way.
    """
    return _press(uow, actor, patrol_id, "pause", command_id=command_id, device_at=device_at)


def resume(
    uow: UnitOfWork,
    actor: Actor,
    patrol_id: UUID,
    *,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> Patrol:
    """Go on with a patrol that was interrupted.

    Raises:
        WrongState: it is not interrupted.
    """
    return _press(uow, actor, patrol_id, "resume", command_id=command_id, device_at=device_at)


def _press(
    uow: UnitOfWork,
    actor: Actor,
    patrol_id: UUID,
    action: str,
    *,
    command_id: UUID | None,
    device_at: datetime | None,
) -> Patrol:
    patrol = _own(uow, actor, patrol_id)
    if PATROL.fire(uow, actor, patrol, action, command_id=command_id, device_at=device_at):
        _announce(uow, patrol, action)
    return read(uow, patrol.id)


def finish(
    uow: UnitOfWork,
    actor: Actor,
    patrol_id: UUID,
    *,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> Patrol:
    """End a patrol whose round is done.

    Points that are neither visited nor skipped stay open, and are visited when the fixes come that say so.

    Raises:
        WrongState: it is not under way.
    """
    return _finish(uow, actor, patrol_id, "finish", None, command_id=command_id, device_at=device_at)


def end_early(
    uow: UnitOfWork,
    actor: Actor,
    patrol_id: UUID,
    *,
    reason: str,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> Patrol:
    """End a patrol whose round is not done, and say why.

    Raises:
        WrongState: it is not under way.
    """
    return _finish(uow, actor, patrol_id, "end_early", reason, command_id=command_id, device_at=device_at)


def _finish(
    uow: UnitOfWork,
    actor: Actor,
    patrol_id: UUID,
    action: str,
    reason: str | None,
    *,
    command_id: UUID | None,
    device_at: datetime | None,
) -> Patrol:
    patrol = _own(uow, actor, patrol_id)
    if PATROL.replayed(uow, actor, patrol, action, command_id):
        return read(uow, patrol.id)
    at = _bounded(uow, device_at)
    if patrol.state == P.ENDED_EARLY and not _closed_after(patrol, at):
        raise WrongState(str(patrol.state), officer_actions(actor, patrol))
    _end(uow, actor, patrol, action, at, reason, command_id=command_id, device_at=device_at)
    return read(uow, patrol.id)


def _closed_after(patrol: Patrol, at: datetime) -> bool:
    """Say whether a patrol ended with its shift after ``at``: a press of that time was on its way meanwhile."""
    return patrol.reason == SHIFT_OVER and patrol.ended_at is not None and at < patrol.ended_at


def _end(
    uow: UnitOfWork,
    actor: Actor,
    patrol: Patrol,
    action: str,
    at: datetime,
    reason: str | None,
    *,
    command_id: UUID | None = None,
    device_at: datetime | None = None,
) -> None:
    PATROL.fire(uow, actor, patrol, action, command_id=command_id, reason=reason, device_at=device_at)
    assert patrol.began_at is not None
    patrol.ended_at, patrol.reason = max(at, patrol.began_at), reason
    deadlines.drop(uow, patrol.id)
    uow.session.flush()
    visits.attach(uow, patrol)
    _announce(uow, patrol, action)


def settle(uow: UnitOfWork, officer_id: UUID, since: datetime, until: datetime) -> None:
    """Let what is known by now of an officer's visits in a span count for his patrols of that time."""
    for patrol_id in visits.concerned(uow, officer_id, since, until):
        patrol = access.patrol(uow, system_actor(uow.town), patrol_id, lock=True)
        if changed := visits.attach(uow, patrol):
            journal.write(
                uow, system_actor(uow.town), "patrol", patrol.id, "settle",
                data={"checkpoint_ids": [str(one) for one in changed]},
            )  # fmt: skip
            announce(uow, patrol, "settle")


def leave(uow: UnitOfWork, shift: Shift, at: datetime) -> None:
    """End what an officer is on when his shift ends at ``at``: nothing of him is known after it."""
    under_way = select(Patrol).where(
        Patrol.officer_id == shift.officer_id, Patrol.shift_id == shift.id, Patrol.state.in_(GOING)
    )
    held = under_way.order_by(Patrol.id).with_for_update().execution_options(populate_existing=True)
    for patrol in uow.session.scalars(held):
        _end(uow, system_actor(uow.town), patrol, "end_early", at, SHIFT_OVER)


def skip(
    uow: UnitOfWork,
    actor: Actor,
    patrol_id: UUID,
    checkpoint_id: UUID,
    *,
    reason: str,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> Patrol:
    """Pass over a point, and say why; a visit that is found later counts all the same, and the reason stays.

    Also after the end, as long as phones are offline.

    Raises:
        WrongState: nobody has begun the patrol. NotVisible: it has no such point. Conflict: ``too_late``.
    """
    patrol, point = _own_point(uow, actor, patrol_id, checkpoint_id)
    if PATROL.replayed(uow, actor, patrol, "skip", command_id):
        return read(uow, patrol.id)
    point.reason, point.skipped_at = reason, _bounded(uow, device_at)
    journal.write(
        uow, actor, "patrol", patrol.id, "skip", command_id=command_id, device_at=device_at, reason=reason,
        data={"checkpoint_id": str(checkpoint_id)},
    )  # fmt: skip
    announce(uow, patrol, "skip")
    return read(uow, patrol.id)


def answer(
    uow: UnitOfWork,
    actor: Actor,
    patrol_id: UUID,
    checkpoint_id: UUID,
    answers: Mapping[str, Any],
    *,
    evidence_ids: Collection[UUID] = (),
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> Patrol:
    """Answer what is asked at a point; the last answer counts, and the journal says how often it was given.

    ``evidence_ids`` are photos of the point beside those that answer a question. They may come later, and all that were
    ever named stay.

    Raises:
        WrongState: nobody has begun the patrol. NotVisible: it has no such point. Conflict: ``too_late``.
        Invalid: an answer does not fit its question, or one that is required is missing; ``not_your_evidence``.
    """
    patrol, point = _own_point(uow, actor, patrol_id, checkpoint_id)
    if PATROL.replayed(uow, actor, patrol, "answer", command_id):
        return read(uow, patrol.id)
    questions.check_answers(point.checkpoint.questions, answers)
    shown = questions.photos_in(point.checkpoint.questions, answers)
    evidence.check_own(
        uow,
        patrol.officer_id,
        evidence_ids=list(evidence_ids),
        answers=[one for ids in shown.values() for one in ids],
    )
    known = {photo.evidence_id for photo in patrol.photos if photo.checkpoint_id == checkpoint_id}
    if len(known.union(evidence_ids, *shown.values())) > MOST_PHOTOS:
        raise Invalid("A point has so many photos and no more.", evidence_ids=["too many"])
    point.answers, point.answered_at = dict(answers), _bounded(uow, device_at)
    assert patrol.officer_id is not None
    for question_id, ids in shown.items():
        evidence.name_at_point(uow, patrol, checkpoint_id, patrol.officer_id, ids, question_id=question_id)
    evidence.name_at_point(uow, patrol, checkpoint_id, patrol.officer_id, list(evidence_ids))
    journal.write(
        uow, actor, "patrol", patrol.id, "answer", command_id=command_id, device_at=device_at,
        data={"checkpoint_id": str(checkpoint_id)},
    )  # fmt: skip
    announce(uow, patrol, "answer")
    return read(uow, patrol.id)


def explain(
    uow: UnitOfWork,
    actor: Actor,
    patrol_id: UUID,
    text: str,
    *,
    command_id: UUID | None,
    device_at: datetime | None = None,
    deviation_id: UUID | None = None,
) -> Patrol:
    """Say why a patrol was late, missed or not whole, or why it left its corridor. One's last word counts.

    Raises:
        NotVisible: the patrol has no such deviation. WrongState: there is nothing to explain.
        Conflict: ``too_late``. Forbidden: ``explained``; another has said it, of a patrol that was nobody's.
    """
    patrol = access.patrol(uow, actor, patrol_id, verb="do", lock=True)
    if PATROL.replayed(uow, actor, patrol, "explain", command_id):
        return read(uow, patrol.id)
    if deviation_id is None and "explain" not in officer_actions(actor, patrol):
        raise WrongState(str(patrol.state), officer_actions(actor, patrol))
    _refuse_too_old(uow, patrol.ended_at or patrol.missed_at)
    if patrol.officer_id is None and patrol.explanation is not None and not _said_it(uow, actor, patrol):
        raise Forbidden("explained", "Another officer has explained it.")
    said: Patrol | PatrolDeviation = patrol
    if deviation_id is not None:
        own = select(PatrolDeviation).where(
            PatrolDeviation.id == deviation_id, PatrolDeviation.patrol_id == patrol.id
        )
        found = uow.session.scalar(own)
        if found is None:
            raise NotVisible()
        said = found
    said.explanation, said.explained_at = text, uow.now
    journal.write(
        uow, actor, "patrol", patrol.id, "explain", command_id=command_id, device_at=device_at,
        data={"deviation_id": str(deviation_id)} if deviation_id else None,
    )  # fmt: skip
    announce(uow, patrol, "explain")
    return read(uow, patrol.id)


def _said_it(uow: UnitOfWork, actor: Actor, patrol: Patrol) -> bool:
    last = select(Journal.actor_id).where(Journal.subject_id == patrol.id, Journal.action == "explain")
    return uow.session.scalar(last.order_by(Journal.at.desc(), Journal.id.desc()).limit(1)) == actor.user_id


def _own(uow: UnitOfWork, actor: Actor, patrol_id: UUID) -> Patrol:
    """Return a locked patrol that the actor himself has begun; of one that another has begun he is told so."""
    patrol = access.patrol(uow, actor, patrol_id, verb="do", lock=True)
    if patrol.officer_id not in (None, actor.user_id) and Role.SYSTEM not in actor.roles:
        raise Forbidden("not_your_patrol", "Another officer has begun this patrol.")
    return patrol


def _own_point(
    uow: UnitOfWork, actor: Actor, patrol_id: UUID, checkpoint_id: UUID
) -> tuple[Patrol, PatrolPoint]:
    patrol = _own(uow, actor, patrol_id)
    if patrol.began_at is None:
        raise WrongState(str(patrol.state), officer_actions(actor, patrol))
    point = next((one for one in patrol.points if one.checkpoint_id == checkpoint_id), None)
    if point is None:
        raise NotVisible()
    _refuse_too_old(uow, patrol.ended_at)
    return patrol, point


# --- When it was


def shift_at(uow: UnitOfWork, actor: Actor, device_at: datetime | None) -> Shift:
    """Return the officer's shift at the moment of a press, held so that it does not end meanwhile.

    Raises:
        Conflict: ``not_on_shift``; he was on none then, and is on none now.
    """
    access.require(actor, "do", "patrol")
    at = _bounded(uow, device_at)
    _refuse_too_old(uow, at)
    during = select(Shift).where(Shift.officer_id == actor.user_id, access.during(at, at))
    shift = uow.session.scalar(during.order_by(Shift.started_at.desc()).limit(1).with_for_update(read=True))
    if shift is None:
        # A phone's clock may be off: who is on shift now has pressed in this shift.
        now = select(Shift).where(Shift.officer_id == actor.user_id, Shift.ended_at.is_(None))
        shift = uow.session.scalar(now.where(Shift.closes_at > uow.now).with_for_update(read=True))
    if shift is None:
        raise Conflict("not_on_shift", "Start a shift first.")
    return shift


def _refuse_too_old(uow: UnitOfWork, at: datetime | None) -> None:
    if at is not None and at < uow.now - OFFLINE:
        raise Conflict("too_late", "This comes too late to count.", until_at=_wire(at + OFFLINE))


def _bounded(uow: UnitOfWork, device_at: datetime | None) -> datetime:
    return uow.now if device_at is None or device_at > uow.now + AHEAD else min(device_at, uow.now)


def moment_of(uow: UnitOfWork, device_at: datetime | None, shift: Shift) -> datetime:
    """Return when something was pressed in a shift: by the phone's clock, within the shift and not in the future."""
    return max(_bounded(uow, device_at), shift.started_at)


def _refuse_outside_window(patrol: Patrol, at: datetime) -> None:
    if at < patrol.scheduled_at - EARLY:
        raise Conflict(
            "too_early", "The time of this patrol has not come.", from_at=_wire(patrol.scheduled_at - EARLY)
        )
    if patrol.start_by is not None and at > patrol.start_by:
        raise Conflict("too_late", "The time of this patrol is over.", until_at=_wire(patrol.start_by))


def _wire(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


# --- The clock's acts


def see_to(uow: UnitOfWork, patrol: Patrol, about: Due) -> None:
    """Do what is due of a locked patrol: it is late, it is missed, or it takes longer than it may."""
    if about is Due.OVERDUE:
        if patrol.state in GOING and patrol.overdue_at is None:
            patrol.overdue_at = uow.now
            journal.write(uow, system_actor(uow.town), "patrol", patrol.id, "overdue")
            announce(uow, patrol, "overdue")
    elif patrol.state != P.PLANNED:
        return
    elif about is Due.LATE:
        patrol.late_at = uow.now
        journal.write(uow, system_actor(uow.town), "patrol", patrol.id, "late")
        announce(uow, patrol, "late")
        telling.of_patrol(uow, patrol, "late")
    elif about is Due.MISS:
        miss(uow, system_actor(uow.town), patrol)


def miss(uow: UnitOfWork, actor: Actor, patrol: Patrol) -> None:
    """Say of a locked patrol that nobody has begun it in its window.

    Raises:
        WrongState: somebody has.
    """
    PATROL.fire(uow, actor, patrol, "miss", command_id=None)
    telling.of_patrol(uow, patrol, "miss")
    _announce(uow, patrol, "miss")


# --- What may be pressed, and what is told


def officer_actions(actor: Actor, patrol: Patrol) -> list[str]:
    """Return what an officer may do with a patrol now, of those that he sees."""
    if patrol.officer_id is not None and patrol.officer_id != actor.user_id:
        return []
    # What is over by its state may be changed by a press that was on its way, and by none from now on.
    able = [] if patrol.state in OVER | {P.MISSED} else PATROL.actions(actor, patrol)
    able = [action for action in able if action != "cancel"]
    if patrol.began_at is not None:
        able += ["skip", "answer"]
    if patrol.state == P.MISSED or patrol.late_at or patrol.state in OVER:
        able.append("explain")
    return able


def desk_actions(actor: Actor, patrol: Patrol) -> list[str]:
    """Return what the desk may do with a patrol now."""
    able = access.may(actor, "manage", "patrol") and patrol.state == P.PLANNED
    return ["cancel"] if able else []


def running(uow: UnitOfWork, officer_id: UUID) -> Patrol | None:
    """Return the patrol that an officer is on, if any."""
    return uow.session.scalar(
        select(Patrol).where(Patrol.officer_id == officer_id, Patrol.state.in_(GOING)).limit(1)
    )


def announce(uow: UnitOfWork, patrol: Patrol, action: str) -> None:
    """Tell of an act that moved nothing."""
    patrol.version += 1
    _announce(uow, patrol, action)


def _announce(uow: UnitOfWork, patrol: Patrol, action: str) -> None:
    uow.session.flush()
    changes.tell(uow, PATROL.kind, patrol, action, to=recipients.hear_of_patrol(patrol))


def read(uow: UnitOfWork, patrol_id: UUID) -> Patrol:
    """Return a patrol as it is now, with all that an answer shows."""
    return uow.session.scalars(
        select(Patrol)
        .where(Patrol.id == patrol_id)
        .options(*access.patrol_parts())
        .execution_options(populate_existing=True)
    ).one()
