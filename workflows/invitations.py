"""Invitations: a crew's leader asks an officer to come on duty with it. Only the officer's own yes brings him there."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, exists, or_, select

from backend.core.errors import WrongState
from backend.core.identity import Actor, system_actor
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import InvitationState, Role
from backend.models import Crew, Invitation, Shift
from workflows import access, crews, shifts
from workflows.machine import Machine, step

INVITATION = Machine(
    "invitation", InvitationState.PENDING,
    #    action    from                        to                        by               stamps
    step("accept",  {InvitationState.PENDING}, InvitationState.ACCEPTED, (Role.OFFICER,), "answered_at"),
    step("decline", {InvitationState.PENDING}, InvitationState.DECLINED, (Role.OFFICER,), "answered_at"),
    step("lapse",   {InvitationState.PENDING}, InvitationState.LAPSED,   (Role.SYSTEM,),  "answered_at"),
)  # fmt: skip


def _is_led() -> ColumnElement[bool]:
    return exists().where(
        Shift.crew_id == Crew.id, Shift.officer_id == Crew.leader_id, Shift.ended_at.is_(None)
    )


def answerable(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[Invitation]:
    """Return the invitations that the actor can answer now, newest first."""
    query = (
        select(Invitation)
        .join(Crew, Crew.id == Invitation.crew_id)
        .where(
            Invitation.officer_id == actor.user_id,
            Invitation.state == InvitationState.PENDING,
            Invitation.expires_at > uow.now,
            _is_led(),
        )
        .options(*access.invitation_parts())
        .order_by(Invitation.invited_at.desc(), Invitation.id.desc())
        .limit(limit + 1)
    )
    if key := moment_and_id(after):
        query = query.where(
            or_(Invitation.invited_at < key[0], (Invitation.invited_at == key[0]) & (Invitation.id < key[1]))
        )
    return page(list(uow.session.scalars(query)), limit, lambda row: (row.invited_at.isoformat(), row.id))


def accept(
    uow: UnitOfWork,
    actor: Actor,
    invitation_id: UUID,
    *,
    command_id: UUID,
    limits: shifts.Limits,
    device: shifts.WantedDevice | None = None,
    device_at: datetime | None = None,
) -> Shift:
    """Come on duty with a crew by whose leader the actor was asked; from here on, and not before, he is tracked (P21).

    Area, planned end and closing are those of the leader's shift.

    Raises:
        WrongState: it was answered already, or has lapsed: its time is over, or the leader is off duty.
        Conflict: ``already_on_shift``, ``id_taken`` or ``device_revoked``.
    """
    invitation = access.invitation(uow, actor, invitation_id, lock=True)
    crew = invitation.crew
    leading = crews.leaders_shift(uow, crew)
    over = leading is None or invitation.expires_at <= uow.now
    if over and invitation.state == InvitationState.PENDING:
        raise WrongState(InvitationState.LAPSED, [])
    fired = INVITATION.fire(uow, actor, invitation, "accept", command_id=command_id, device_at=device_at)
    if not fired:
        mine = select(Shift.id).where(Shift.crew_id == crew.id, Shift.officer_id == actor.user_id)
        return access.shift(uow, actor, uow.session.scalars(mine).one())
    assert leading is not None
    if device is not None:
        shifts.claim_device(uow, actor, device)
    assert actor.user_id is not None
    crews.add_member(uow, crew.id, actor.user_id)
    return shifts.begin(
        uow,
        actor,
        command_id=command_id,
        shift_id=None,
        area_id=leading.area_id,
        crew_id=crew.id,
        planned_end_at=leading.planned_end_at,
        closes_at=min(leading.closes_at, uow.now + limits.longest),
        device_at=device_at,
    )


def decline(uow: UnitOfWork, actor: Actor, invitation_id: UUID, *, command_id: UUID) -> Invitation:
    """Stay off duty; nothing of the actor is stored, and his leader sees that he does not come.

    Raises:
        WrongState: it was answered already, or has lapsed.
    """
    invitation = access.invitation(uow, actor, invitation_id, lock=True)
    INVITATION.fire(uow, actor, invitation, "decline", command_id=command_id)
    uow.session.flush()
    return invitation


def lapse_forgotten(uow: UnitOfWork) -> int:
    """Lapse the town's invitations that nobody answered in time, or whose leader is off duty; a clock calls this."""
    actor = system_actor(uow.town)
    due = list(
        uow.session.scalars(
            select(Invitation)
            .join(Crew, Crew.id == Invitation.crew_id)
            .where(
                Invitation.state == InvitationState.PENDING, or_(Invitation.expires_at <= uow.now, ~_is_led())
            )
            .order_by(Invitation.invited_at)
            .limit(500)
            .with_for_update(of=Invitation, skip_locked=True)
        )
    )
    for invitation in due:
        lapse(uow, actor, invitation)
    return len(due)


def lapse(uow: UnitOfWork, actor: Actor, invitation: Invitation) -> None:
    """Lapse a locked invitation; the clock's own act."""
    INVITATION.fire(uow, actor, invitation, "lapse", command_id=None)
    uow.session.flush()
