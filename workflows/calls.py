"""Calls: roll calls, spot checks and broadcasts, asked of officers on shift and answered by one tap each.

The desk makes a call; whoever was on shift then is asked, and nobody who comes later. Who goes off shift is excused,
and the clock notes at the end who has not answered. An answer that comes after the end is stored as late, with the time
that the phone says it was pressed at.

Answers hold the call's row together and their own row alone, so that hundreds at once do not wait for each other; who
ends a call waits for them. Whoever ends a shift holds the shift before the call, and so does who makes one.
"""

import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from geoalchemy2 import Geography
from geoalchemy2.elements import WKTElement
from geoalchemy2.shape import to_shape
from sqlalchemy import cast, func, insert, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from backend.core.errors import Conflict, Forbidden, Invalid
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import CallAnswerState as A
from backend.core.vocabulary import CallKind, Due, Role
from backend.core.vocabulary import CallState as C
from backend.models import Area, Call, CallAnswer, Crew, Deadline, Shift
from notifications import changes, recipients
from workflows import access, deadlines, journal, telling
from workflows.alarms import AHEAD, Place
from workflows.machine import Machine, step

DESK = (Role.DISPATCHER, Role.SUPERVISOR)
OFFICER, SYSTEM = (Role.OFFICER,), (Role.SYSTEM,)

CALL = Machine(
    "call", C.OPEN,
    #    action    from       to            by      stamps
    step("end",    {C.OPEN},  C.ENDED,      SYSTEM, "ended_at"),
    step("cancel", {C.OPEN},  C.CANCELLED,  DESK,   "cancelled_at"),
)  # fmt: skip
ANSWER = Machine(
    "call_answer", A.ASKED,
    #    action    from        to           by       stamps
    step("answer", {A.ASKED},  A.ANSWERED,  OFFICER, "answered_at"),
    step("answer", {A.MISSED}, A.LATE,      OFFICER, "answered_at"),
    step("miss",   {A.ASKED},  A.MISSED,    SYSTEM,  "missed_at"),
    step("excuse", {A.ASKED},  A.EXCUSED,   SYSTEM,  "excused_at"),
)  # fmt: skip

STILL_ASKED = timedelta(hours=2)
"""So long after the end an officer who is on shift is still shown what he has not answered; later it is history."""
MOST_OPEN = 20
"""So many open calls one person may have made: each rings on every phone of an area, by every channel."""


@dataclass(frozen=True)
class Counts:
    """How many of those asked have done what."""

    asked: int = 0
    received: int = 0
    answered: int = 0
    late: int = 0
    missed: int = 0
    excused: int = 0
    waiting: int = 0


@dataclass(frozen=True)
class Whom:
    """Whom a call is for: those on shift in an area and below it, or in a crew; ``count``: so many, drawn by lot."""

    area_id: UUID | None = None
    crew_id: UUID | None = None
    count: int | None = None


# --- What the desk does


def create(
    uow: UnitOfWork,
    actor: Actor,
    *,
    command_id: UUID,
    kind: CallKind,
    whom: Whom,
    lasts: timedelta,
    text: str | None = None,
    call_id: UUID | None = None,
) -> Call:
    """Make a call, and ask whoever is on shift now.

    Raises:
        Forbidden: ``area_not_yours``, for an area and for a crew.
        Conflict: ``nobody_to_ask``, ``too_many_calls`` or ``id_taken``.
        Invalid: a broadcast without a text, a spot check without a number, or the other way round.
    """
    access.require(actor, "make", "call")
    _refuse_nonsense(kind, whom, text)
    area_id = _area_of(uow, actor, whom)
    _refuse_flood(uow, actor)
    asked = _to_be_asked(uow, whom, area_id)
    if not asked:
        raise Conflict("nobody_to_ask", "Nobody there is on shift.")
    call = Call(
        id=call_id or new_id(), town_id=uow.town, kind=kind, state=CALL.initial, area_id=area_id,
        crew_id=whom.crew_id, text=text, created_by=actor.user_id, created_at=uow.now, ends_at=uow.now + lasts,
        version=1,
    )  # fmt: skip
    uow.session.add(call)
    try:
        uow.session.flush()
    except IntegrityError as error:
        raise Conflict("id_taken", "This id is in use.") from error
    uow.session.execute(
        insert(CallAnswer),
        [
            {
                "id": new_id(), "town_id": uow.town, "call_id": call.id, "officer_id": shift.officer_id,
                "shift_id": shift.id, "state": ANSWER.initial, "asked_at": uow.now, "version": 1,
            }
            for shift in asked
        ],
    )  # fmt: skip
    journal.write(
        uow, actor, "call", call.id, "create", after=CALL.initial, command_id=command_id,
        data={"kind": str(kind), "asked": len(asked), "crew_id": str(whom.crew_id) if whom.crew_id else None},
    )  # fmt: skip
    deadlines.put(uow, CALL.kind, call.id, Due.ROLL_CALL, call.ends_at)
    uow.session.flush()
    call = access.call(uow, system_actor(uow.town), call.id)
    telling.call_made(uow, call)
    changes.tell(uow, CALL.kind, call, "create", to=recipients.hear_of_new_call(uow, call))
    return call


def cancel(uow: UnitOfWork, actor: Actor, call_id: UUID, *, command_id: UUID | None) -> Call:
    """Call it off: whoever has not answered is excused.

    Raises:
        WrongState: it is over.
    """
    access.require(actor, "make", "call")
    call = access.call(uow, actor, call_id, verb="make", lock=True)
    if CALL.fire(uow, actor, call, "cancel", command_id=command_id):
        waiting = _waiting(uow, call)
        for share in waiting:
            excuse(uow, system_actor(uow.town), share)
        deadlines.drop(uow, call.id)
        uow.session.flush()
        telling.call_over(uow, call)
        _announce(uow, call, "cancel", waiting)
    return call


def _refuse_nonsense(kind: CallKind, whom: Whom, text: str | None) -> None:
    if (kind is CallKind.BROADCAST) != (text is not None):
        raise Invalid("A broadcast has a text, and nothing else has.", text=["only of a broadcast"])
    if (kind is CallKind.SPOT_CHECK) != (whom.count is not None):
        raise Invalid("A spot check says how many.", count=["only of a spot check"])
    if (whom.area_id is None) == (whom.crew_id is None):
        raise Invalid("Either an area or a crew.", area_id=["or a crew"])
    if whom.crew_id is not None and kind is not CallKind.ROLL_CALL:
        raise Invalid("Crews are called by roll calls.", crew_id=["only of a roll call"])


def _refuse_flood(uow: UnitOfWork, actor: Actor) -> None:
    own = select(Call.id).where(
        Call.town_id == uow.town, Call.state == C.OPEN, Call.created_by == actor.user_id
    )
    if len(uow.session.scalars(own.limit(MOST_OPEN)).all()) == MOST_OPEN:
        raise Conflict("too_many_calls", "Too many of your calls are open; call some off, or wait.")


def _area_of(uow: UnitOfWork, actor: Actor, whom: Whom) -> UUID:
    area_id = whom.area_id
    if whom.crew_id is not None:
        area_id = uow.session.scalar(select(Crew.area_id).where(Crew.id == whom.crew_id))
    if area_id is None or not access.covers(uow, actor, "make", "call", area_id):
        raise Forbidden("area_not_yours", "This is not in your areas.")
    return area_id


def _to_be_asked(uow: UnitOfWork, whom: Whom, area_id: UUID) -> list[Shift]:
    """Return the shifts of those who are asked, held so that none ends before it is known that he was asked."""
    named = (
        recipients.crew_on_shift(uow, whom.crew_id)
        if whom.crew_id is not None
        else recipients.officers_on_shift(uow, area_id)
    )
    held = list(
        uow.session.scalars(
            select(Shift)
            .where(Shift.officer_id.in_(named), Shift.ended_at.is_(None), Shift.closes_at > uow.now)
            .order_by(Shift.id)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    )
    return held if whom.count is None else _drawn(uow, held, whom.count)


def _drawn(uow: UnitOfWork, shifts: Sequence[Shift], count: int) -> list[Shift]:
    """Draw so many by lot, first among those who were spot-checked least in their present shift.

    The shifts are held, so two who draw at once do not draw the same people before all had their turn.
    """
    checked = uow.session.execute(
        select(CallAnswer.shift_id, func.count().label("times"))
        .join(Call, Call.id == CallAnswer.call_id)
        .where(CallAnswer.shift_id.in_([one.id for one in shifts]), Call.kind == CallKind.SPOT_CHECK)
        .group_by(CallAnswer.shift_id)
    )
    times = {row.shift_id: row.times for row in checked}
    lot = list(shifts)
    secrets.SystemRandom().shuffle(lot)
    return sorted(lot, key=lambda one: times.get(one.id, 0))[:count]


# --- What the officer does


def answer(
    uow: UnitOfWork,
    actor: Actor,
    call_id: UUID,
    *,
    command_id: UUID | None,
    place: Place | None = None,
    device_at: datetime | None = None,
) -> CallAnswer:
    """Answer, or acknowledge a broadcast; after the end it counts as late, whatever the phone's clock says.

    The place is stored as far as it was measured in the shift in which he was asked; without one the answer stands.

    Raises:
        NotVisible: he was not asked. WrongState: he has answered, or is excused.
    """
    access.require(actor, "answer", "call")
    share = access.call_answer(uow, actor, call_id, lock=True)
    if share.state == A.ASKED and uow.now >= share.call.ends_at and not _did(uow, actor, share, command_id):
        # The clock has not come by yet.
        miss(uow, system_actor(uow.town), share)
    if ANSWER.fire(uow, actor, share, "answer", command_id=command_id, device_at=device_at):
        share.answered_device_at = device_at
        share.received_at = share.received_at or uow.now
        _note_place(uow, share, place)
        uow.session.flush()
        telling.call_answered(uow, share)
        _announce(uow, share.call, "answer", [share])
    return share


def receive(uow: UnitOfWork, actor: Actor, call_ids: Collection[UUID]) -> int:
    """Note that the actor's phone has these calls, whatever else is named; return of how many that is news."""
    access.require(actor, "answer", "call")
    news = list(
        uow.session.scalars(
            select(CallAnswer)
            .where(
                CallAnswer.call_id.in_(list(call_ids)),
                CallAnswer.officer_id == actor.user_id,
                CallAnswer.received_at.is_(None),
            )
            .options(*access.call_answer_parts())
            .order_by(CallAnswer.id)
            .with_for_update(of=CallAnswer)
        )
    )
    for share in news:
        share.received_at = uow.now
        _announce(uow, share.call, "receive")
    uow.session.flush()
    return len(news)


def _did(uow: UnitOfWork, actor: Actor, share: CallAnswer, command_id: UUID | None) -> bool:
    return command_id is not None and ANSWER.did(uow, actor, share, command_id) is not None


def _note_place(uow: UnitOfWork, share: CallAnswer, place: Place | None) -> None:
    """Store where an officer answered, and whether that is in the area of his shift; nothing of his time off duty."""
    shift = uow.session.get_one(Shift, share.shift_id)
    if place is None:
        return
    measured_at = place.fixed_at or uow.now
    if not shift.started_at <= measured_at <= min(shift.ended_at or shift.closes_at, uow.now + AHEAD):
        return
    point = WKTElement(f"POINT({place.lon!r} {place.lat!r})", srid=4326)
    here = func.ST_SetSRID(func.ST_MakePoint(place.lon, place.lat), 4326)
    away = func.ST_Distance(cast(Area.geom, Geography), cast(here, Geography))
    inside, outside_m = uow.session.execute(
        select(func.ST_Covers(Area.geom, here), away).where(Area.id == shift.area_id)
    ).one()
    share.geom, share.accuracy_m, share.fixed_at = point, place.accuracy_m, place.fixed_at
    share.is_inside, share.outside_m = inside, 0.0 if inside else outside_m


# --- What the clock does, and what follows from going off shift


def time_due(uow: UnitOfWork, deadline: Deadline) -> None:
    """End a call whose time is over; who holds it just now is waited for until the next tick."""
    free = select(Call.id).where(Call.id == deadline.subject_id).with_for_update(skip_locked=True)
    if uow.session.scalar(free) is None:
        raise deadlines.Later
    call = access.call(uow, system_actor(uow.town), deadline.subject_id, lock=True)
    if call.state == C.OPEN:
        end(uow, system_actor(uow.town), call)


def end(uow: UnitOfWork, actor: Actor, call: Call) -> None:
    """End a locked call: whoever has not answered has missed it, and the one who called is told how many.

    A shift whose own time was over is as good as ended, though the clock has not closed it yet.
    """
    CALL.fire(uow, actor, call, "end", command_id=None)
    waiting = _waiting(uow, call)
    over = set(
        uow.session.scalars(
            select(Shift.id).where(
                Shift.id.in_([share.shift_id for share in waiting]),
                or_(Shift.ended_at.is_not(None), Shift.closes_at <= uow.now),
            )
        )
    )
    for share in waiting:
        (excuse if share.shift_id in over else miss)(uow, actor, share)
    uow.session.flush()
    told = counts(uow, [call.id])[call.id]
    telling.call_over(uow, call)
    telling.call_ended(uow, call, answered=told.answered + told.late, missing=told.missed)
    _announce(uow, call, "end", waiting)


def miss(uow: UnitOfWork, actor: Actor, share: CallAnswer) -> None:
    """Note that a locked share was not answered by the end."""
    ANSWER.fire(uow, actor, share, "miss", command_id=None)


def excuse(uow: UnitOfWork, actor: Actor, share: CallAnswer) -> None:
    """Ask somebody no more whose locked share is open."""
    ANSWER.fire(uow, actor, share, "excuse", command_id=None)


def leave(uow: UnitOfWork, officer_id: UUID) -> None:
    """Excuse an officer who goes off shift from what he has not answered; his shift is held."""
    open_ones = select(CallAnswer.call_id).where(
        CallAnswer.officer_id == officer_id, CallAnswer.state == A.ASKED
    )
    ids = list(uow.session.scalars(open_ones))
    if not ids:
        return
    uow.session.execute(
        select(Call.id).where(Call.id.in_(ids)).order_by(Call.id).with_for_update(read=True)
    ).all()
    shares = uow.session.scalars(
        select(CallAnswer)
        .where(CallAnswer.call_id.in_(ids), CallAnswer.officer_id == officer_id, CallAnswer.state == A.ASKED)
        .options(*access.call_answer_parts())
        .order_by(CallAnswer.id)
        .with_for_update(of=CallAnswer)
        .execution_options(populate_existing=True)
    ).all()
    for share in shares:
        excuse(uow, system_actor(uow.town), share)
        telling.call_over(uow, share.call, of=[officer_id])
        _announce(uow, share.call, "excuse", [share])


def _waiting(uow: UnitOfWork, call: Call) -> Sequence[CallAnswer]:
    return uow.session.scalars(
        select(CallAnswer)
        .where(CallAnswer.call_id == call.id, CallAnswer.state == A.ASKED)
        .order_by(CallAnswer.id)
        .with_for_update(of=CallAnswer)
        .execution_options(populate_existing=True)
    ).all()


def _announce(uow: UnitOfWork, call: Call, action: str, changed: Iterable[CallAnswer] = ()) -> None:
    """Tell at the commit that a call has changed, and for whom of those asked."""
    changes.tell(uow, CALL.kind, call, action, to=recipients.hear_of_call(call, changed))


# --- Looks


def actions(actor: Actor, call: Call) -> list[str]:
    """Return what the desk may do with a call now."""
    return CALL.actions(actor, call)


def answer_actions(actor: Actor, share: CallAnswer) -> list[str]:
    """Return what an officer may do with what he was asked."""
    return ANSWER.actions(actor, share)


def counts(uow: UnitOfWork, call_ids: Collection[UUID]) -> dict[UUID, Counts]:
    """Return for each call how many have answered, and how many have not."""
    query = select(CallAnswer.call_id, CallAnswer.state, func.count(), func.count(CallAnswer.received_at))
    query = query.where(CallAnswer.call_id.in_(list(call_ids)))
    found: dict[UUID, dict[str, int]] = {}
    for call_id, state, count, received in uow.session.execute(
        query.group_by(CallAnswer.call_id, CallAnswer.state)
    ):
        of_call = found.setdefault(call_id, {"asked": 0, "received": 0})
        of_call["asked"] += count
        of_call["received"] += received
        of_call["waiting" if state == A.ASKED else state] = count
    return {call_id: Counts(**found.get(call_id, {})) for call_id in call_ids}


def at_desk_one(uow: UnitOfWork, actor: Actor, call_id: UUID) -> Call:
    """Return a call of the actor's areas."""
    return access.call(uow, actor, call_id)


def at_desk(
    uow: UnitOfWork,
    actor: Actor,
    *,
    kind: CallKind | None = None,
    state: C | None = None,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Call]:
    """Return the calls in the actor's areas, newest first."""
    query = select(Call).where(access.within(Call.area_id, access.roots(actor, "see", "call")))
    if kind is not None:
        query = query.where(Call.kind == kind)
    if state is not None:
        query = query.where(Call.state == state)
    if key := moment_and_id(after):
        query = query.where(or_(Call.created_at < key[0], (Call.created_at == key[0]) & (Call.id < key[1])))
    query = query.options(*access.call_parts()).order_by(Call.created_at.desc(), Call.id.desc())
    return page(
        list(uow.session.scalars(query.limit(limit + 1))), limit, lambda c: (c.created_at.isoformat(), c.id)
    )


def answers(
    uow: UnitOfWork, actor: Actor, call_id: UUID, *, after: Sequence[str] | None, limit: int
) -> Page[CallAnswer]:
    """Return what each of those asked has answered, in an order that stays."""
    call = access.call(uow, actor, call_id)
    query = select(CallAnswer).where(CallAnswer.call_id == call.id)
    if key := moment_and_id(after):
        query = query.where(CallAnswer.id > key[1])
    query = query.options(joinedload(CallAnswer.officer)).order_by(CallAnswer.id).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda a: (a.asked_at.isoformat(), a.id))


def own(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[CallAnswer]:
    """Return what the actor is asked now, newest first; what he missed in his present shift for two hours more."""
    on_shift = select(Shift.id).where(Shift.officer_id == actor.user_id, Shift.ended_at.is_(None))
    query = select(CallAnswer).where(
        CallAnswer.officer_id == actor.user_id,
        or_(
            CallAnswer.state == A.ASKED,
            (CallAnswer.state == A.MISSED)
            & (CallAnswer.missed_at > uow.now - STILL_ASKED)
            & CallAnswer.shift_id.in_(on_shift),
        ),
    )
    if key := moment_and_id(after):
        query = query.where(
            or_(CallAnswer.asked_at < key[0], (CallAnswer.asked_at == key[0]) & (CallAnswer.id < key[1]))
        )
    query = query.options(*access.call_answer_parts())
    query = query.order_by(CallAnswer.asked_at.desc(), CallAnswer.id.desc()).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda a: (a.asked_at.isoformat(), a.id))


def of_own(uow: UnitOfWork, actor: Actor, call_id: UUID) -> CallAnswer:
    """Return what a call asks of the actor himself, also when it is over."""
    return access.call_answer(uow, actor, call_id)


def place_of(share: CallAnswer) -> tuple[float, float] | None:
    """Return where an answer was given, longitude and latitude; None without a fix."""
    if share.geom is None:
        return None
    point = to_shape(share.geom)
    return (point.x, point.y)
