"""Duties at posts: who stands where from when to when, his breaks, and how the next one takes over.

As with patrols, what an officer presses counts by his phone's clock, because a phone may be offline for a whole duty.
How much of his time he was there follows from his fixes (``post_presence``), not from what he presses; the presses say
who is responsible for the post at each moment, so that one of them can be asked about every gap.

A duty may begin until its end, and is missed when nobody has begun it by then. Who stands stays responsible until he is
relieved, or, where nobody is to come, until the end. A relief is confirmed by both officers, or by the label of the
post that the next one has just read; one ends and the other begins at the same moment.

Rows are locked in one order: the shift, then the duty, then the duty that takes over. Beside it: ``posts`` (where),
``post_looks`` (lists), ``post_reliefs`` (how the next one takes over), ``post_clocks`` (late, missed, over).
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import joinedload

from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, WrongState
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Due, Relief, Role
from backend.core.vocabulary import PostDutyState as D
from backend.models import Area, Plan, Post, PostAbsence, PostBreak, PostDuty, Shift
from notifications import changes, recipients
from workflows import access, deadlines, journal, numbers, officers, patrols, post_presence, telling
from workflows.machine import Machine, step
from workflows.post_presence import RELIEF_WAIT
from workflows.posts import TERMS

DESK = (Role.DISPATCHER, Role.SUPERVISOR)
OFFICER, SYSTEM = (Role.OFFICER,), (Role.SYSTEM,)
OVER = {D.RELIEVED, D.ENDED, D.ENDED_EARLY}

POST_DUTY = Machine(
    "post_duty", D.PLANNED,
    #    action       from                   to             by                   stamps
    step("start",     {D.PLANNED, D.MISSED}, D.STANDING,    OFFICER,             "started_at"),
    step("relieve",   {D.STANDING},          D.RELIEVED,    OFFICER,             "finished_at"),
    step("end",       {D.STANDING, D.ENDED}, D.ENDED,       (*OFFICER, *SYSTEM), "finished_at"),
    step("end_early", {D.STANDING, D.ENDED}, D.ENDED_EARLY, (*OFFICER, *SYSTEM), "finished_at"),
    step("miss",      {D.PLANNED},           D.MISSED,      SYSTEM,              "missed_at"),
    step("cancel",    {D.PLANNED},           D.CANCELLED,   (*DESK, *SYSTEM),    "cancelled_at"),
)  # fmt: skip

EARLY = timedelta(minutes=15)
"""So long before its time a duty may be begun."""
SLACK = timedelta(minutes=5)
"""Who ends so shortly before the end has stood to the end."""
LATE_AFTER_S = 300
"""By hand: after so long without anybody the desk is told."""
LONGEST, FARTHEST = timedelta(hours=24), timedelta(days=92)


# --- Made by plans, and by hand


def schedule(uow: UnitOfWork, plan: Plan, at: datetime) -> PostDuty | None:
    """Make the duty of a plan for one moment; None when it exists, however often and by however many it is made."""
    assert plan.post is not None
    assert plan.lasts_s is not None
    # What the desk has called off stays so; what a rule has cancelled may be made anew.
    known = select(PostDuty.id).where(
        PostDuty.plan_id == plan.id,
        PostDuty.starts_at == at,
        or_(PostDuty.state != D.CANCELLED, PostDuty.reason.not_in(patrols.MADE_ANEW)),
    )
    if uow.session.scalar(known) is not None:
        return None
    return make(
        uow, plan.post, at, at + timedelta(seconds=plan.lasts_s), plan_id=plan.id, officer_ids=list(plan.officer_ids),
        late_after_s=plan.late_after_s,
    )  # fmt: skip


def make(
    uow: UnitOfWork, post: Post, starts_at: datetime, ends_at: datetime, *, late_after_s: int, **more: Any
) -> PostDuty | None:
    """Make a duty at a post; None where its plan has made it before."""
    made = insert(PostDuty).values(
        id=new_id(), town_id=uow.town, number=numbers.next_number(uow, POST_DUTY.kind), post_id=post.id,
        area_id=post.area_id, geom=post.geom, state=POST_DUTY.initial, starts_at=starts_at, ends_at=ends_at,
        created_at=uow.now, version=1, **{name: getattr(post, name) for name in TERMS}, **more,
    )  # fmt: skip
    made = made.on_conflict_do_nothing(
        index_elements=[PostDuty.plan_id, PostDuty.starts_at], index_where=text("state <> 'cancelled'")
    )
    duty_id = uow.session.scalar(made.returning(PostDuty.id))
    if duty_id is None:
        return None
    late_at = starts_at + timedelta(seconds=late_after_s)
    deadlines.put(uow, POST_DUTY.kind, duty_id, Due.LATE, min(late_at, ends_at))
    deadlines.put(uow, POST_DUTY.kind, duty_id, Due.MISS, ends_at)
    journal.write(uow, system_actor(uow.town), "post_duty", duty_id, "schedule", after=POST_DUTY.initial)
    duty = access.post_duty(uow, system_actor(uow.town), duty_id)
    _announce(uow, duty, "schedule")
    return duty


def create(
    uow: UnitOfWork,
    actor: Actor,
    *,
    post_id: UUID,
    starts_at: datetime,
    ends_at: datetime,
    officer_ids: list[UUID],
    command_id: UUID,
) -> PostDuty:
    """Plan a duty by hand, beside those that plans make.

    Raises:
        Invalid: the post is none in use in the actor's areas; the span is none to come; somebody is no officer there.
    """
    access.require(actor, "assign", "post")
    post = post_in_use(uow, actor, post_id, "post", verb="assign")
    if not starts_at < ends_at <= starts_at + LONGEST or not uow.now < ends_at <= uow.now + FARTHEST:
        raise Invalid("A duty lasts a day at most, and is still to come.", ends_at=["no such span"])
    officers.check_of_area(uow, post.area, officer_ids)
    duty = make(uow, post, starts_at, ends_at, late_after_s=LATE_AFTER_S, officer_ids=officer_ids)
    assert duty is not None
    journal.write(uow, actor, "post_duty", duty.id, "create", command_id=command_id)
    return read(uow, duty.id)


def post_in_use(uow: UnitOfWork, actor: Actor, post_id: UUID, kind: str, *, verb: str = "manage") -> Post:
    """Return a post in use where the actor may plan, held so that it is not retired meanwhile."""
    query = select(Post).where(
        Post.id == post_id,
        Post.retired_at.is_(None),
        access.within(Post.area_id, access.roots(actor, verb, kind)),
    )
    query = query.options(joinedload(Post.area).defer(Area.geom)).with_for_update(read=True, of=Post)
    post = uow.session.scalar(query)
    if post is None:
        raise Invalid("This is no post in use in your areas.", post_id=["unknown"])
    return post


def cancel_planned(
    uow: UnitOfWork,
    actor: Actor,
    plan_id: UUID,
    reason: str,
    *,
    unless: Callable[[datetime], bool] | None = None,
) -> None:
    """Cancel what a plan has made and nobody has begun, but for moments of which ``unless`` says that they stay."""
    waiting = select(PostDuty).where(
        PostDuty.plan_id == plan_id, PostDuty.state == D.PLANNED, PostDuty.starts_at > uow.now
    )
    held = waiting.order_by(PostDuty.id).with_for_update().execution_options(populate_existing=True)
    for duty in uow.session.scalars(held).all():
        if unless is None or not unless(duty.starts_at):
            _cancel(uow, actor, duty, reason, command_id=None)


def cancel(uow: UnitOfWork, actor: Actor, duty_id: UUID, *, reason: str, command_id: UUID | None) -> PostDuty:
    """Call a duty off that nobody has begun.

    Raises:
        WrongState: it has begun, or is over.
    """
    duty = access.post_duty(uow, actor, duty_id, verb="assign", lock=True)
    _cancel(uow, actor, duty, reason, command_id=command_id)
    return read(uow, duty.id)


def _cancel(uow: UnitOfWork, actor: Actor, duty: PostDuty, reason: str, *, command_id: UUID | None) -> None:
    if POST_DUTY.fire(uow, actor, duty, "cancel", command_id=command_id, reason=reason):
        duty.reason = reason
        deadlines.drop(uow, duty.id)
        _announce(uow, duty, "cancel")


# --- The officer's acts


def start(
    uow: UnitOfWork,
    actor: Actor,
    duty_id: UUID,
    *,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> PostDuty:
    """Begin a duty, as the officer whose shift covers the moment of the press.

    Raises:
        Conflict: ``not_on_shift``; ``standing_elsewhere``; ``too_early`` or ``too_late`` for its time.
        WrongState: somebody has begun it, or it is over.
    """
    access.post_duty(uow, actor, duty_id, verb="do")
    shift = patrols.shift_at(uow, actor, device_at)
    duty = access.post_duty(uow, actor, duty_id, verb="do", lock=True)
    if POST_DUTY.replayed(uow, actor, duty, "start", command_id):
        return read(uow, duty.id)
    at = patrols.moment_of(uow, device_at, shift)
    if duty.state in (D.PLANNED, D.MISSED):
        # Pressed in its time it counts, whatever the clock has said until the press came.
        if at < duty.starts_at - EARLY:
            from_at = patrols.on_wire(duty.starts_at - EARLY)
            raise Conflict("too_early", "The time of this duty has not come.", from_at=from_at)
        if at >= duty.ends_at:
            raise Conflict(
                "too_late", "The time of this duty is over.", until_at=patrols.on_wire(duty.ends_at)
            )
    begin(uow, actor, duty, shift, at, command_id=command_id, device_at=device_at)
    return read(uow, duty.id)


def begin(
    uow: UnitOfWork, actor: Actor, duty: PostDuty, shift: Shift, at: datetime, *,
    command_id: UUID | None, device_at: datetime | None, data: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Let a locked duty begin at a moment, of the officer of a shift that is held.

    Raises:
        Conflict: ``standing_elsewhere``. WrongState: somebody has begun it, or it is over.
    """
    if (other := standing(uow, shift.officer_id)) is not None and other.id != duty.id:
        raise Conflict("standing_elsewhere", "You stand at another post.", duty_id=str(other.id))
    on_behalf_of = shift.officer_id if shift.officer_id != actor.user_id else None
    POST_DUTY.fire(
        uow,
        actor,
        duty,
        "start",
        command_id=command_id,
        device_at=device_at,
        on_behalf_of=on_behalf_of,
        data=data,
    )
    duty.officer_id, duty.shift_id, duty.began_at = shift.officer_id, shift.id, at
    deadlines.drop(uow, duty.id)
    uow.session.flush()
    # What came before the press counts as well; a press that comes after the end has nothing more to wait for.
    post_presence.fold_anew(uow, duty)
    if duty.ends_at <= uow.now and not next_one(uow, duty):
        finish(uow, system_actor(uow.town), duty, "end", duty.ends_at, None)
        return
    deadlines.put(uow, POST_DUTY.kind, duty.id, Due.END, max(duty.ends_at, uow.now))
    _announce(uow, duty, "start")


def take_break(
    uow: UnitOfWork,
    actor: Actor,
    duty_id: UUID,
    *,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> PostDuty:
    """Begin a break. What is allowed of breaks in all does not count; what is longer counts like any other time.

    Raises:
        WrongState: he has not begun it. Conflict: ``on_break``; ``breaks_used``; ``too_late``.
    """
    duty = own(uow, actor, duty_id)
    if POST_DUTY.replayed(uow, actor, duty, "break", command_id):
        return read(uow, duty.id)
    at = _within(uow, actor, duty, device_at)
    if any(one.began_at <= at and (one.ended_at is None or at < one.ended_at) for one in duty.breaks):
        raise Conflict("on_break", "You are on a break.")
    if post_presence.break_left_s(duty, uow.now) <= 0:
        raise Conflict("breaks_used", "Your breaks of this duty are used up.", allowed_s=duty.break_s)
    # Pressed before the end and heard of after it, it ended with the duty.
    uow.session.add(
        PostBreak(id=new_id(), town_id=uow.town, duty_id=duty.id, began_at=at, ended_at=duty.ended_at)
    )
    journal.write(uow, actor, "post_duty", duty.id, "break", command_id=command_id, device_at=device_at)
    return told(uow, duty, "break")


def come_back(
    uow: UnitOfWork,
    actor: Actor,
    duty_id: UUID,
    *,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> PostDuty:
    """End a break.

    Raises:
        Conflict: ``not_on_break``; ``too_late``.
    """
    duty = own(uow, actor, duty_id)
    if POST_DUTY.replayed(uow, actor, duty, "return", command_id):
        return read(uow, duty.id)
    at = _within(uow, actor, duty, device_at)
    # One that the end of the duty has closed before the press came ended when he pressed.
    known = [one for one in duty.breaks if one.ended_at is None or one.ended_at == duty.ended_at]
    if not known:
        raise Conflict("not_on_break", "You are on no break.")
    known[-1].ended_at = max(at, known[-1].began_at)
    journal.write(uow, actor, "post_duty", duty.id, "return", command_id=command_id, device_at=device_at)
    return told(uow, duty, "return")


def end(
    uow: UnitOfWork,
    actor: Actor,
    duty_id: UUID,
    *,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> PostDuty:
    """End a duty at its end, or shortly before; where the clock was first, that stays as it is.

    Raises:
        WrongState: he does not stand. Conflict: ``too_early``; ending before the time needs a reason.
    """
    duty = own(uow, actor, duty_id)
    if POST_DUTY.replayed(uow, actor, duty, "end", command_id):
        return read(uow, duty.id)
    at = patrols.pressed_at(uow, device_at)
    if duty.state == D.STANDING and at < duty.ends_at - SLACK:
        from_at = patrols.on_wire(duty.ends_at - SLACK)
        raise Conflict("too_early", "Your time is not over; say why you go.", from_at=from_at)
    if duty.state == D.ENDED:
        at = duty.ended_at or at
    finish(uow, actor, duty, "end", at, None, command_id=command_id, device_at=device_at)
    return read(uow, duty.id)


def end_early(
    uow: UnitOfWork, actor: Actor, duty_id: UUID, *, reason: str, command_id: UUID | None,
    device_at: datetime | None = None,
) -> PostDuty:  # fmt: skip
    """End a duty before its time, and say why; what is left of it counts as not stood.

    Raises:
        WrongState: he does not stand.
    """
    duty = own(uow, actor, duty_id)
    if POST_DUTY.replayed(uow, actor, duty, "end_early", command_id):
        return read(uow, duty.id)
    at = patrols.pressed_at(uow, device_at)
    if duty.state == D.ENDED:
        # He went before the clock said that he had stood to the end, and the press was on its way.
        patrols.refuse_too_old(uow, duty.ended_at)
        if at >= duty.ends_at - SLACK:
            raise WrongState(str(duty.state), officer_actions(actor, duty, uow.now))
    finish(uow, actor, duty, "end_early", at, reason, command_id=command_id, device_at=device_at)
    return read(uow, duty.id)


def finish(
    uow: UnitOfWork, actor: Actor, duty: PostDuty, action: str, at: datetime, reason: str | None, *,
    command_id: UUID | None = None, device_at: datetime | None = None, data: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Let a locked duty be over at a moment, and the break that goes on as well."""
    POST_DUTY.fire(
        uow, actor, duty, action, command_id=command_id, reason=reason, device_at=device_at, data=data
    )
    assert duty.began_at is not None
    duty.ended_at, duty.reason = max(at, duty.began_at), reason
    deadlines.drop(uow, duty.id)
    open_break = select(PostBreak).where(PostBreak.duty_id == duty.id, PostBreak.ended_at.is_(None))
    for one in uow.session.scalars(open_break):
        one.ended_at = max(duty.ended_at, one.began_at)
    uow.session.flush()
    _announce(uow, duty, action)


def relieve(
    uow: UnitOfWork, actor: Actor, duty: PostDuty, at: datetime, how: Relief, *, command_id: UUID | None,
    device_at: datetime | None,
) -> None:  # fmt: skip
    """Let a locked duty be over because somebody takes it over at this moment (``post_reliefs``).

    Raises:
        WrongState: nobody stands there.
    """
    finish(
        uow,
        actor,
        duty,
        "relieve",
        at,
        None,
        command_id=command_id,
        device_at=device_at,
        data={"relief": how},
    )


def leave(uow: UnitOfWork, shift: Shift, at: datetime) -> None:
    """End what an officer stands at when his shift ends at ``at``: nothing of him is known after it."""
    his = select(PostDuty).where(
        PostDuty.officer_id == shift.officer_id, PostDuty.shift_id == shift.id, PostDuty.state == D.STANDING
    )
    held = his.order_by(PostDuty.id).with_for_update().execution_options(populate_existing=True)
    for duty in uow.session.scalars(held).all():
        is_whole = at >= duty.ends_at - SLACK
        finish(
            uow, system_actor(uow.town), duty, "end" if is_whole else "end_early", at,
            None if is_whole else patrols.SHIFT_OVER,
        )  # fmt: skip


def explain(
    uow: UnitOfWork, actor: Actor, duty_id: UUID, said: str, *, command_id: UUID | None,
    device_at: datetime | None = None, absence_id: UUID | None = None,
) -> PostDuty:  # fmt: skip
    """Say why a duty was begun late, missed or not whole, or why he was away. His last word counts.

    Raises:
        NotVisible: it has no such absence. WrongState: there is nothing to explain. Conflict: ``too_late``.
    """
    duty = access.post_duty(uow, actor, duty_id, verb="do", lock=True)
    if POST_DUTY.replayed(uow, actor, duty, "explain", command_id):
        return read(uow, duty.id)
    if "explain" not in officer_actions(actor, duty, uow.now):
        raise WrongState(str(duty.state), officer_actions(actor, duty, uow.now))
    patrols.refuse_too_old(uow, duty.ended_at or duty.missed_at)
    explained: PostDuty | PostAbsence = duty
    if absence_id is not None:
        found = next((one for one in duty.absences if one.id == absence_id), None)
        if found is None:
            raise NotVisible()
        explained = found
    explained.explanation, explained.explained_at = said, uow.now
    journal.write(
        uow, actor, "post_duty", duty.id, "explain", command_id=command_id, device_at=device_at,
        data={"absence_id": str(absence_id)} if absence_id else None,
    )  # fmt: skip
    return told(uow, duty, "explain")


def next_one(uow: UnitOfWork, duty: PostDuty) -> bool:
    """Say whether somebody is to come when a duty ends, so that its officer waits for him."""
    to_come = select(PostDuty.id).where(
        PostDuty.post_id == duty.post_id,
        PostDuty.id != duty.id,
        PostDuty.state == D.PLANNED,
        PostDuty.starts_at <= duty.ends_at + SLACK,
        PostDuty.ends_at > uow.now,
    )
    return uow.now < duty.ends_at + RELIEF_WAIT and uow.session.scalar(to_come.limit(1)) is not None


def miss(uow: UnitOfWork, actor: Actor, duty: PostDuty) -> None:
    """Say of a locked duty that nobody has stood there.

    Raises:
        WrongState: somebody has.
    """
    POST_DUTY.fire(uow, actor, duty, "miss", command_id=None)
    telling.of_post_duty(uow, duty, "miss")
    _announce(uow, duty, "miss")


# --- What may be pressed, and what is told


def officer_actions(actor: Actor, duty: PostDuty, now: datetime) -> list[str]:
    """Return what an officer may do with a duty now, of those that he sees."""
    if duty.officer_id is not None and duty.officer_id != actor.user_id:
        return ["take_over"] if duty.state == D.STANDING else []
    able: list[str] = []
    if duty.state == D.PLANNED:
        able.append("start")
    elif duty.state == D.STANDING:
        is_away = any(one.ended_at is None for one in duty.breaks)
        if is_away:
            able.append("return")
        elif post_presence.break_left_s(duty, now) > 0:
            able.append("break")
        if duty.relief_officer_id is not None:
            able.append("hand_over")
        able.append("end" if now >= duty.ends_at - SLACK else "end_early")
    if duty.state in (D.MISSED, D.ENDED_EARLY) or duty.late_at or duty.absences:
        able.append("explain")
    return able


def desk_actions(actor: Actor, duty: PostDuty) -> list[str]:
    """Return what the desk may do with a duty now."""
    return ["cancel"] if access.may(actor, "assign", "post") and duty.state == D.PLANNED else []


def standing(uow: UnitOfWork, officer_id: UUID) -> PostDuty | None:
    """Return the duty that an officer stands at, if any."""
    return uow.session.scalar(
        select(PostDuty).where(PostDuty.officer_id == officer_id, PostDuty.state == D.STANDING)
    )


def own(uow: UnitOfWork, actor: Actor, duty_id: UUID) -> PostDuty:
    """Return a locked duty that the actor himself has begun; of one that another has begun he is told so."""
    duty = access.post_duty(uow, actor, duty_id, verb="do", lock=True)
    if duty.officer_id not in (None, actor.user_id) and Role.SYSTEM not in actor.roles:
        raise Forbidden("not_your_duty", "Another officer has begun this duty.")
    return duty


def _within(uow: UnitOfWork, actor: Actor, duty: PostDuty, device_at: datetime | None) -> datetime:
    """Return when something was pressed in a duty that has begun, and that may be over by now."""
    if duty.began_at is None:
        raise WrongState(str(duty.state), officer_actions(actor, duty, uow.now))
    patrols.refuse_too_old(uow, duty.ended_at)
    at = max(patrols.pressed_at(uow, device_at), duty.began_at)
    if duty.ended_at is not None and at >= duty.ended_at:
        raise WrongState(str(duty.state), officer_actions(actor, duty, uow.now))
    return at


def told(uow: UnitOfWork, duty: PostDuty, action: str) -> PostDuty:
    """Return a duty in which something was pressed that moved nothing, after telling of it."""
    uow.session.flush()
    fresh = read(uow, duty.id)
    post_presence.keep_absences(uow, fresh)
    announce(uow, fresh, action)
    return read(uow, duty.id)


def announce(uow: UnitOfWork, duty: PostDuty, action: str) -> None:
    """Tell of an act that moved nothing."""
    duty.version += 1
    _announce(uow, duty, action)


def _announce(uow: UnitOfWork, duty: PostDuty, action: str) -> None:
    uow.session.flush()
    changes.tell(uow, POST_DUTY.kind, duty, action, to=recipients.hear_of_post_duty(duty))


def read(uow: UnitOfWork, duty_id: UUID) -> PostDuty:
    """Return a duty as it is now, with all that an answer shows."""
    return uow.session.scalars(
        select(PostDuty)
        .where(PostDuty.id == duty_id)
        .options(*access.post_duty_parts())
        .execution_options(populate_existing=True)
    ).one()
