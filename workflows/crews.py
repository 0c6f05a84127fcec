"""Crews: officers who go together. Their leader names them; each of them comes by his own act, or does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select

from backend.core.errors import Invalid
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import InvitationState, Travel, UserState
from backend.models import Area, Crew, CrewMember, Invitation, Shift, User
from workflows import access, journal

MOST_IN_CREW = 12
INVITATION_LASTS = timedelta(hours=1)


@dataclass(frozen=True)
class WantedCrew:
    """Who goes together, as the leader names them."""

    call_sign: str
    travel: Travel
    member_ids: Sequence[UUID]


def make(uow: UnitOfWork, actor: Actor, wanted: WantedCrew, area: Area, *, command_id: UUID) -> Crew:
    """Make a crew of its leader alone, and ask the others whether they come.

    Raises:
        Invalid: somebody named is not an active officer of the leader's areas, or they are too many.
    """
    assert actor.user_id is not None
    named = _named(uow, actor, wanted)
    crew = Crew(
        id=new_id(),
        town_id=uow.town,
        area_id=area.id,
        call_sign=wanted.call_sign,
        travel=wanted.travel,
        leader_id=actor.user_id,
        created_at=uow.now,
    )
    uow.session.add(crew)
    uow.session.flush()
    add_member(uow, crew.id, actor.user_id)
    for officer in named:
        invitation = Invitation(
            id=new_id(),
            town_id=uow.town,
            crew_id=crew.id,
            officer_id=officer.id,
            state=InvitationState.PENDING,
            invited_at=uow.now,
            expires_at=uow.now + INVITATION_LASTS,
            version=1,
        )
        uow.session.add(invitation)
        journal.write(
            uow, actor, "invitation", invitation.id, "invite", after=InvitationState.PENDING,
            command_id=command_id, data={"crew_id": str(crew.id), "officer_id": str(officer.id)},
        )  # fmt: skip
    return crew


def _named(uow: UnitOfWork, actor: Actor, wanted: WantedCrew) -> list[User]:
    """Return the crew's other members: active officers of the leader's areas."""
    ids = {member for member in wanted.member_ids if member != actor.user_id}
    if len(ids) + 1 > MOST_IN_CREW:
        raise Invalid(f"A crew has at most {MOST_IN_CREW} members.", crew={"member_ids": ["too many"]})
    found = list(
        uow.session.scalars(
            select(User)
            .where(User.id.in_(ids), User.state == UserState.ACTIVE)
            .where(User.id.in_(access.officers_within(access.roots(actor, "start", "shift"))))
            .order_by(User.id)
        )
    )
    if len(found) != len(ids):
        raise Invalid(
            "Somebody of the crew is not an officer of your areas.", crew={"member_ids": ["unknown"]}
        )
    return found


def add_member(uow: UnitOfWork, crew_id: UUID, officer_id: UUID) -> None:
    """Put an officer into a crew."""
    uow.session.add(CrewMember(crew_id=crew_id, user_id=officer_id, town_id=uow.town))


def leaders_shift(uow: UnitOfWork, crew: Crew) -> Shift | None:
    """Return the shift in which the crew's leader is on duty; without it there is nothing to join.

    Its row is held shared, so that it does not end while somebody joins: who ends the whole crew ends him as well.
    """
    return uow.session.scalar(
        select(Shift)
        .where(
            Shift.crew_id == crew.id,
            Shift.officer_id == crew.leader_id,
            Shift.ended_at.is_(None),
            Shift.closes_at > uow.now,
        )
        .with_for_update(read=True)
    )
