"""The hand-over of phones: one code that sets up an officer's phone, whichever client it runs.

The code is an address with a secret behind its ``#``, so that no server and no log between sees it. It is good for half
an hour and for one phone: whoever opens it second is told so, and the desk sees that it was used. What a tracker app
needs is made only then, so no credential lies about on paper. For our own client it holds nothing but the officer's
login: nobody signs in for another, and what a phone may do it may do with his password.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.dialects.postgresql import distinct_on

from backend.core.errors import Gone, Invalid
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.paging import Page, page
from backend.core.tokens import new_secret, secret_hash
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import PhoneStanding, Protocol, UserState
from backend.models import PhoneSetup, User
from workflows import access, devices, journal
from workflows.devices import Credential, Shown

GOOD_FOR = timedelta(minutes=30)
TOWN_LENGTH = 32
"""A code begins with the town's id in hexadecimal: whoever opens it is not known yet, and his town has to be."""


@dataclass(frozen=True)
class Handed:
    """An officer with the last code that was made for him and his active devices, and how far his phone is."""

    officer: User
    setup: PhoneSetup | None
    devices: list[Shown]
    standing: PhoneStanding


@dataclass(frozen=True)
class Opened:
    """What a phone gets for a code: whose it is now, and of a tracker app the credential, once."""

    officer: User
    protocol: Protocol
    device_name: str | None = None
    credential: Credential | None = None


def hand_over(
    uow: UnitOfWork, actor: Actor, officer_id: UUID, protocol: Protocol, *, command_id: UUID | None
) -> tuple[Handed, str]:
    """Make the code for an officer's phone; one that was made for him before and is not used is over.

    Raises:
        NotVisible: he is not an officer of the actor's areas.
    """
    officer = access.officer(uow, actor, officer_id, verb="manage", kind="device")
    # Of two who make one at once the second waits, and sees the first one's.
    uow.session.execute(select(User.id).where(User.id == officer.id).with_for_update(key_share=True))
    earlier = update(PhoneSetup).where(
        PhoneSetup.officer_id == officer.id, PhoneSetup.used_at.is_(None), PhoneSetup.expires_at > uow.now
    )
    uow.session.execute(earlier.values(expires_at=uow.now))
    code = f"{uow.town.hex}{new_secret()}"
    setup = PhoneSetup(
        id=new_id(), town_id=uow.town, officer_id=officer.id, protocol=protocol, code_hash=secret_hash(code),
        created_at=uow.now, created_by=actor.user_id, expires_at=uow.now + GOOD_FOR,
    )  # fmt: skip
    uow.session.add(setup)
    uow.session.flush()
    journal.write(
        uow, actor, "device", setup.id, "hand_over", command_id=command_id,
        data={"officer_id": str(officer.id), "protocol": str(protocol)},
    )  # fmt: skip
    return _handed(uow, officer, setup, devices.active_of(uow, actor, [officer.id]).get(officer.id, [])), code


def open_code(uow: UnitOfWork, code: str) -> Opened:
    """Take a code that a phone has opened; it is used from now on.

    Raises:
        Gone: ``setup_over``; it was used, its time is over, or there is none. Which of them is not told.
    """
    try:
        uow.enter_town(UUID(hex=code[:TOWN_LENGTH]))
    except ValueError as error:
        raise _over() from error
    found = uow.session.scalar(
        select(PhoneSetup)
        .where(PhoneSetup.code_hash == secret_hash(code), PhoneSetup.town_id == uow.town)
        .with_for_update()
    )
    if found is None or found.used_at is not None or found.expires_at <= uow.now:
        raise _over()
    officer = uow.session.get_one(User, found.officer_id)
    if officer.state != UserState.ACTIVE:
        raise _over()
    protocol, system = Protocol(found.protocol), system_actor(uow.town)
    found.used_at = uow.now
    journal.write(uow, system, "device", found.id, "open_code")
    if protocol is Protocol.OFFICER:
        return Opened(officer, protocol)
    name = f"{officer.display_name} {protocol}"[:80]
    shown, credential = devices.make(uow, system, officer, name=name, protocol=protocol, command_id=None)
    found.device_id = shown.device.id
    return Opened(officer, protocol, name, credential)


def _over() -> Gone:
    return Gone("setup_over", "This code was used, or its time is over; ask the desk for another.")


def roster(
    uow: UnitOfWork,
    actor: Actor,
    *,
    officer_id: UUID | None = None,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Handed]:
    """Return the officers of the actor's areas by name, or one of them, each with his phone and how far it is."""
    access.require(actor, "see", "device")
    within = access.officers_within(access.roots(actor, "see", "device"))
    query = select(User).where(User.id.in_(within), User.state == UserState.ACTIVE)
    if officer_id is not None:
        query = query.where(User.id == officer_id)
    if after is not None:
        name, user_id = _key(after)
        query = query.where(or_(User.display_name > name, (User.display_name == name) & (User.id > user_id)))
    found = uow.session.scalars(query.order_by(User.display_name, User.id).limit(limit + 1)).all()
    cut = page(found, limit, lambda user: (user.display_name, user.id))
    ids = [user.id for user in cut.items]
    last = (
        select(PhoneSetup)
        .where(PhoneSetup.officer_id.in_(ids))
        .ext(distinct_on(PhoneSetup.officer_id))
        .order_by(PhoneSetup.officer_id, PhoneSetup.created_at.desc(), PhoneSetup.id.desc())
    )
    setups = {row.officer_id: row for row in uow.session.scalars(last)}
    known = devices.active_of(uow, actor, ids)
    return Page(
        [_handed(uow, user, setups.get(user.id), known.get(user.id, [])) for user in cut.items], cut.after
    )


def _key(after: Sequence[str]) -> tuple[str, UUID]:
    try:
        name, user_id = after
        return name, UUID(user_id)
    except ValueError as error:
        raise Invalid("This cursor is not one of ours.", "bad_cursor", cursor=["unreadable"]) from error


def _handed(uow: UnitOfWork, officer: User, setup: PhoneSetup | None, known: list[Shown]) -> Handed:
    return Handed(officer, setup, known, _standing(setup, [one.last_fix_at for one in known], uow.now))


def _standing(setup: PhoneSetup | None, heard: Sequence[datetime | None], now: datetime) -> PhoneStanding:
    """Say how far a phone is: what was reported before the last code was made was another phone."""
    last = max((at for at in heard if at is not None), default=None)
    if setup is None:
        return PhoneStanding.NONE if last is None else PhoneStanding.REPORTED
    if last is not None and last >= setup.created_at:
        return PhoneStanding.REPORTED
    if setup.used_at is not None:
        return PhoneStanding.SET_UP
    return PhoneStanding.WAITING if setup.expires_at > now else PhoneStanding.EXPIRED
