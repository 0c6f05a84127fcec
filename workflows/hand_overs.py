"""Hand-overs: what an officer hands to the next when he goes home, confirmed by both.

Who gives confirms by giving: what to watch, the equipment, and his open tasks, which are taken from what he has at that
moment. Who takes confirms by taking, on duty; then those of the tasks that the giver still has pass to him, and a shift
that was kept open by them may end. What both have confirmed is not changed by anybody.

Rows are locked in one order: the taker's shift, the hand-over, the right to move several tasks, the tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError

from backend.core.errors import Conflict, Invalid, NotVisible, WrongState
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AssignmentState, Due, Role
from backend.core.vocabulary import HandOverState as H
from backend.models import Assignment, Deadline, HandOver, HandOverTask, Shift, User
from notifications import changes, recipients
from workflows import access, deadlines, journal, planned_shifts, suspensions, tasks, telling
from workflows.machine import Machine, step

OFFICER, SYSTEM = (Role.OFFICER,), (Role.SYSTEM,)
HAND_OVER = Machine(
    "hand_over", H.GIVEN,
    #    action      from       to           by       stamps
    step("take",     {H.GIVEN}, H.TAKEN,     OFFICER, "taken_at"),
    step("decline",  {H.GIVEN}, H.DECLINED,  OFFICER, None),
    step("withdraw", {H.GIVEN}, H.WITHDRAWN, OFFICER, None),
    step("lapse",    {H.GIVEN}, H.WITHDRAWN, SYSTEM,  None),
)  # fmt: skip
MOST_ITEMS = 50
LAPSES_AFTER = timedelta(hours=24)
"""Nobody takes over what was left a day ago: it would hold up the next hand-over, and offer old tasks."""


# --- Looks


def own(
    uow: UnitOfWork, actor: Actor, *, waiting: bool = False, after: Sequence[str] | None, limit: int
) -> Page[HandOver]:
    """Return what the actor has given or taken and what waits for him, the newest first; ``waiting`` that alone."""
    for_him = (HandOver.state == H.GIVEN) & (
        (HandOver.taker_id == actor.user_id)
        | (
            HandOver.taker_id.is_(None)
            & (HandOver.giver_id != actor.user_id)
            & access.within(HandOver.area_id, access.roots(actor, "do", "hand_over"))
        )
    )
    his = or_(HandOver.giver_id == actor.user_id, HandOver.taker_id == actor.user_id, for_him)
    return _page(uow, select(HandOver).where(for_him if waiting else his), after, limit)


def at_desk(
    uow: UnitOfWork,
    actor: Actor,
    *,
    waiting: bool = False,
    area_id: UUID | None = None,
    officer_id: UUID | None = None,
    after: Sequence[str] | None,
    limit: int,
) -> Page[HandOver]:
    """Return the hand-overs in the actor's areas, the newest first; ``waiting``: those not confirmed yet."""
    query = select(HandOver).where(
        HandOver.town_id == uow.town, access.within(HandOver.area_id, access.roots(actor, "see", "hand_over"))
    )
    if waiting:
        query = query.where(HandOver.state == H.GIVEN)
    if area_id is not None:
        query = query.where(access.within(HandOver.area_id, [area_id]))
    if officer_id is not None:
        query = query.where(or_(HandOver.giver_id == officer_id, HandOver.taker_id == officer_id))
    return _page(uow, query, after, limit)


def _page(uow: UnitOfWork, query: Any, after: Sequence[str] | None, limit: int) -> Page[HandOver]:
    at, one_id = HandOver.given_at, HandOver.id
    if key := moment_and_id(after):
        query = query.where(or_(at < key[0], (at == key[0]) & (one_id < key[1])))
    query = query.options(*access.hand_over_parts()).order_by(at.desc(), one_id.desc()).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda row: (row.given_at.isoformat(), row.id))


def actions(actor: Actor, hand_over: HandOver) -> list[str]:
    """Return what an officer who sees a hand-over may do with it now."""
    if hand_over.giver_id == actor.user_id:
        able: tuple[str, ...] = ("withdraw",)
    else:
        able = ("take", "decline") if hand_over.taker_id == actor.user_id else ("take",)
    return [action for action in HAND_OVER.actions(actor, hand_over) if action in able]


# --- Acts


def give(
    uow: UnitOfWork,
    actor: Actor,
    *,
    command_id: UUID,
    watch: str | None = None,
    equipment: Sequence[Mapping[str, Any]] = (),
    taker_id: UUID | None = None,
    hand_over_id: UUID | None = None,
) -> HandOver:
    """Hand over what one's shift leaves to the next: to a colleague by name, or to whoever of the area comes first.

    Raises:
        Conflict: ``not_on_shift``; ``hand_over_waiting``, one of this shift was given and not answered; ``id_taken``.
        Invalid: the taker is no colleague.
    """
    access.require(actor, "do", "hand_over")
    shift = _shift(uow, actor)
    if taker_id is not None and (
        taker_id == actor.user_id or not planned_shifts.is_colleague(uow, actor, taker_id)
    ):
        raise Invalid("This is no colleague.", taker_id=["unknown"])
    made = HandOver(
        id=hand_over_id or new_id(), town_id=uow.town, area_id=shift.area_id, shift_id=shift.id,
        giver_id=shift.officer_id, taker_id=taker_id, state=HAND_OVER.initial, watch=watch,
        equipment=[dict(item) for item in equipment], given_at=uow.now, version=1,
    )  # fmt: skip
    uow.session.add(made)
    try:
        uow.session.flush()
    except IntegrityError as error:
        if "uq_hand_overs_shift" in str(error.orig):
            raise Conflict("hand_over_waiting", "What you have handed over is not confirmed yet.") from error
        raise Conflict("id_taken", "This id is in use.") from error
    having = select(Assignment.task_id).where(
        Assignment.officer_id == shift.officer_id, Assignment.ended_at.is_(None),
        Assignment.state != AssignmentState.OFFERED,
    )  # fmt: skip
    for task_id in uow.session.scalars(having.order_by(Assignment.task_id)).all():
        uow.session.add(HandOverTask(hand_over_id=made.id, task_id=task_id, town_id=uow.town))
    uow.session.flush()
    journal.write(
        uow, actor, "hand_over", made.id, "give", after=HAND_OVER.initial, command_id=command_id,
        data={"shift_id": str(shift.id)},
    )  # fmt: skip
    deadlines.put(uow, HAND_OVER.kind, made.id, Due.LAPSE, uow.now + LAPSES_AFTER)
    return _done(uow, made, "give")


def take(
    uow: UnitOfWork, actor: Actor, hand_over_id: UUID, *, remark: str | None = None, command_id: UUID
) -> HandOver:
    """Confirm that one has taken over; the giver's tasks that are still his to do pass to oneself.

    Raises:
        Conflict: ``not_on_shift``. WrongState: it was taken, declined or withdrawn.
    """
    access.hand_over(uow, actor, hand_over_id, verb="take")
    shift = _shift(uow, actor)
    hand_over = access.hand_over(uow, actor, hand_over_id, verb="take", lock=True)
    if HAND_OVER.replayed(uow, actor, hand_over, "take", command_id):
        return hand_over
    if hand_over.state != H.GIVEN:
        raise WrongState(str(hand_over.state), actions(actor, hand_over))
    if hand_over.tasks:
        suspensions.alone(uow)
        taker = uow.session.get_one(User, shift.officer_id)
        for one in hand_over.tasks:
            if tasks.hand_over(
                uow, actor, one.task_id, giver_id=hand_over.giver_id, to=taker, command_id=command_id
            ):
                one.passed_at = uow.now
    # Before the hand-over is closed, after which nothing of it may be written.
    uow.session.flush()
    HAND_OVER.fire(uow, actor, hand_over, "take", command_id=command_id)
    hand_over.taker_id, hand_over.answer, hand_over.ended_at = shift.officer_id, remark, uow.now
    return _done(uow, hand_over, "take")


def decline(uow: UnitOfWork, actor: Actor, hand_over_id: UUID, *, reason: str, command_id: UUID) -> HandOver:
    """Refuse to take over what is not as it is said; the tasks stay where they are, and the giver hears why.

    Raises:
        WrongState: as ``take``. NotVisible: it is not to him by name; what is for anybody, nobody refuses for all.
    """
    hand_over = access.hand_over(uow, actor, hand_over_id, verb="take", lock=True)
    if hand_over.taker_id is None:
        raise NotVisible()
    if HAND_OVER.fire(uow, actor, hand_over, "decline", command_id=command_id):
        hand_over.taker_id, hand_over.answer, hand_over.ended_at = actor.user_id, reason, uow.now
        return _done(uow, hand_over, "decline")
    return hand_over


def withdraw(uow: UnitOfWork, actor: Actor, hand_over_id: UUID, *, command_id: UUID) -> HandOver:
    """Take back what nobody has confirmed.

    Raises:
        WrongState: it was taken or declined.
    """
    hand_over = access.hand_over(uow, actor, hand_over_id, verb="give", lock=True)
    if HAND_OVER.fire(uow, actor, hand_over, "withdraw", command_id=command_id):
        hand_over.ended_at = uow.now
        return _done(uow, hand_over, "withdraw")
    return hand_over


def lapse(uow: UnitOfWork, actor: Actor, hand_over: HandOver) -> None:
    """Take back a locked hand-over that nobody has answered within a day; who gave it is told."""
    if HAND_OVER.fire(uow, actor, hand_over, "lapse", command_id=None):
        hand_over.ended_at = uow.now
        _done(uow, hand_over, "lapse")


def time_due(uow: UnitOfWork, deadline: Deadline) -> None:
    """Let a hand-over lapse, unless somebody is at it just now."""
    free = select(HandOver.id).where(HandOver.id == deadline.subject_id)
    if uow.session.scalar(free.with_for_update(skip_locked=True)) is None:
        raise deadlines.Later
    system = system_actor(uow.town)
    hand_over = access.hand_over(uow, system, deadline.subject_id, lock=True)
    if hand_over.state == H.GIVEN:
        lapse(uow, system, hand_over)


def _shift(uow: UnitOfWork, actor: Actor) -> Shift:
    """Return the actor's running shift, held so that it does not end meanwhile."""
    shift = uow.session.scalar(
        select(Shift)
        .where(Shift.officer_id == actor.user_id, Shift.ended_at.is_(None), Shift.closes_at > uow.now)
        .with_for_update(read=True)
    )
    if shift is None:
        raise Conflict("not_on_shift", "You are not on shift.")
    return shift


def _done(uow: UnitOfWork, hand_over: HandOver, action: str) -> HandOver:
    uow.session.flush()
    if action != "give":
        deadlines.drop(uow, hand_over.id)
    found = read(uow, hand_over.id)
    telling.of_hand_over(uow, found, action)
    changes.tell(uow, HAND_OVER.kind, found, action, to=recipients.hear_of_hand_over(uow, found))
    return found


def read(uow: UnitOfWork, hand_over_id: UUID) -> HandOver:
    """Return a hand-over as it is now, with all that an answer shows."""
    query = select(HandOver).where(HandOver.id == hand_over_id).options(*access.hand_over_parts())
    return uow.session.scalars(query.execution_options(populate_existing=True)).one()
