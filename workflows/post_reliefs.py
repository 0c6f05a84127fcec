"""Relief 换岗: the next officer takes over a post from who stands there, and no gap is between them."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import or_, select

from backend.core.errors import Conflict, WrongState
from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import PostDutyState as D
from backend.core.vocabulary import Relief, Verdict
from backend.models import PostDuty, Shift, Visit
from workflows import access, journal, patrols, post_duties, posts, telling, visits

SCANNED_WITHIN = timedelta(minutes=10)
"""So shortly before he takes over the next one has read the label of the post."""


def take_over(
    uow: UnitOfWork,
    actor: Actor,
    duty_id: UUID,
    *,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> PostDuty:
    """Ask to relieve who stands at a post; who has just read its label relieves him at once, the other way both say so.

    Return the duty that is the actor's from now on, or the one that he has asked for.

    Raises:
        Conflict: ``not_on_shift``; ``standing_elsewhere``; ``own_duty``; ``nothing_left``.
        WrongState: nobody stands.
    """
    access.post_duty(uow, actor, duty_id, verb="relieve")
    shift = patrols.shift_at(uow, actor, device_at)
    duty = access.post_duty(uow, actor, duty_id, verb="relieve", lock=True)
    if post_duties.POST_DUTY.replayed(uow, actor, duty, "ask", command_id):
        mine = select(PostDuty.id).where(
            PostDuty.relieves_id == duty.id, PostDuty.officer_id == actor.user_id
        )
        return post_duties.read(uow, uow.session.scalar(mine) or duty.id)
    if duty.state != D.STANDING:
        raise WrongState(str(duty.state), post_duties.officer_actions(actor, duty, uow.now))
    if duty.officer_id == actor.user_id:
        raise Conflict("own_duty", "You stand there yourself.")
    if (other := post_duties.standing(uow, shift.officer_id)) is not None:
        raise Conflict("standing_elsewhere", "You stand at another post.", duty_id=str(other.id))
    at = patrols.moment_of(uow, device_at, shift)
    duty.relief_officer_id, duty.relief_asked_at = shift.officer_id, at
    journal.write(uow, actor, "post_duty", duty.id, "ask", command_id=command_id, device_at=device_at)
    if _has_scanned(uow, duty, shift.officer_id, at):
        taken = _relieve(uow, actor, duty, shift, at, Relief.SCAN, command_id=None, device_at=device_at)
        return post_duties.read(uow, taken.id)
    telling.of_post_duty(uow, duty, "ask")
    return post_duties.told(uow, duty, "ask")


def hand_over(
    uow: UnitOfWork,
    actor: Actor,
    duty_id: UUID,
    *,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> PostDuty:
    """Let him take over who has asked to: from this moment the post is his.

    Raises:
        WrongState: he does not stand. Conflict: ``no_relief``; nobody has asked, or is not on shift any more;
        ``nothing_left``; ``standing_elsewhere``.
    """
    duty = access.post_duty(uow, actor, duty_id, verb="do")
    asked = duty.relief_officer_id
    next_shift = select(Shift).where(Shift.officer_id == asked, Shift.ended_at.is_(None))
    shift = uow.session.scalar(next_shift.where(Shift.closes_at > uow.now).with_for_update(read=True))
    duty = post_duties.own(uow, actor, duty_id)
    if post_duties.POST_DUTY.replayed(uow, actor, duty, "relieve", command_id):
        return post_duties.read(uow, duty.id)
    if duty.state != D.STANDING:
        raise WrongState(str(duty.state), post_duties.officer_actions(actor, duty, uow.now))
    if shift is None or duty.relief_officer_id != asked or duty.relief_asked_at is None:
        raise Conflict("no_relief", "Nobody on shift has asked to relieve you.")
    at = max(patrols.pressed_at(uow, device_at), duty.relief_asked_at)
    _relieve(uow, actor, duty, shift, at, Relief.BOTH, command_id=command_id, device_at=device_at)
    return post_duties.read(uow, duty.id)


def _relieve(
    uow: UnitOfWork, actor: Actor, duty: PostDuty, shift: Shift, at: datetime, how: Relief, *,
    command_id: UUID | None, device_at: datetime | None,
) -> PostDuty:  # fmt: skip
    """Let the post pass from one to the other at a moment: into the duty that is planned for him, or the rest of it."""
    taken = _planned_for(uow, duty, shift.officer_id, at)
    if taken is None and at >= duty.ends_at:
        raise Conflict("nothing_left", "Nothing is left of this duty.")
    post_duties.relieve(uow, actor, duty, at, how, command_id=command_id, device_at=device_at)
    if taken is None:
        taken = post_duties.make(
            uow, posts.read(uow, duty.post_id), at, duty.ends_at, late_after_s=post_duties.LATE_AFTER_S,
            officer_ids=[shift.officer_id],
        )  # fmt: skip
        assert taken is not None
    taken.relieves_id, taken.relief = duty.id, how
    post_duties.begin(
        uow, actor, taken, shift, at, command_id=None, device_at=device_at, data={"relief": how}
    )
    return taken


def _planned_for(uow: UnitOfWork, duty: PostDuty, officer_id: UUID, at: datetime) -> PostDuty | None:
    """Return the locked duty at the same post that an officer may begin at a moment."""
    waiting = select(PostDuty).where(
        PostDuty.post_id == duty.post_id,
        PostDuty.id != duty.id,
        PostDuty.state == D.PLANNED,
        PostDuty.starts_at <= at + post_duties.EARLY,
        PostDuty.ends_at > at,
        or_(PostDuty.officer_ids.contains([officer_id]), PostDuty.officer_ids == []),
    )
    first = waiting.order_by(PostDuty.starts_at, PostDuty.id).limit(1).with_for_update()
    return uow.session.scalar(first.execution_options(populate_existing=True))


def _has_scanned(uow: UnitOfWork, duty: PostDuty, officer_id: UUID, at: datetime) -> bool:
    if duty.post.checkpoint_id is None:
        return False
    read_it = select(Visit.id).where(
        Visit.officer_id == officer_id,
        Visit.checkpoint_id == duty.post.checkpoint_id,
        Visit.arrived_at > at - SCANNED_WITHIN,
        Visit.arrived_at <= at,
        Visit.method != "dwell",
        # A forged scan sends nobody home: one that somebody should look at is no proof until he has.
        or_(Visit.flags == [], Visit.verdict == Verdict.GENUINE),
        visits.counts(),
    )
    return uow.session.scalar(read_it.limit(1)) is not None
