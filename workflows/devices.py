"""Devices: the trackers that the desk gives to officers, each with a credential of its own.

A credential is 256 random bits, shown once and kept as a hash. Renewing it shuts out the old one, revoking the device
shuts out all of them; both are announced on ``xungeng_devices``, so every process forgets the device at the commit. An
officer's own phone (protocol ``officer``) is made with his shift and carries no credential; it can be revoked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import joinedload

from backend.core import listen
from backend.core.errors import Conflict
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.paging import Page, moment_and_id, page
from backend.core.tokens import new_secret, secret_hash
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import DeviceKind, DeviceState, Protocol
from backend.models import Device, DeviceCredential, Fix, Journal, QuarantinedFix, User
from geo.fixes import Reason
from workflows import access, journal
from workflows.machine import REPLAY_WINDOW, Machine, step

MANAGERS = access.GRANTS[("manage", "device")]
DEVICE = Machine(
    "device",
    DeviceState.ACTIVE,
    #    action    from                   to                   by        stamps
    step("renew", {DeviceState.ACTIVE}, DeviceState.ACTIVE, MANAGERS),
    step("revoke", {DeviceState.ACTIVE}, DeviceState.REVOKED, MANAGERS, "revoked_at"),
)

MOST_ACTIVE = 20
"""Active devices of one officer: a phone, a body camera, a tracker for each app, and room for mistakes."""
MOST_ALARMS = ((timedelta(minutes=1), 5), (timedelta(days=1), 100))
"""Calls for help of one device that are written down within these times. Somebody in need presses again and again; the
first one tells all that the fifth would."""
LAST_FIX_WITHIN = timedelta(days=7)
"""How far back a list looks for a device's last fix; every question asked of the history is bounded in time."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What opens the gate for one device. ``username`` is set for protocols with Basic authentication."""

    secret: str
    username: str | None = None

    @property
    def key(self) -> str:
        """What the gate is asked for, and what is kept the hash of: with a username, both belong together."""
        return self.secret if self.username is None else basic_key(self.username, self.secret)


@dataclass(frozen=True, slots=True)
class Shown:
    """A device as the desk sees it: what one may do with it now, and when it was last heard of."""

    device: Device
    actions: list[str]
    last_fix_at: datetime | None = None


def basic_key(username: str, password: str) -> str:
    """Return the key of a Basic credential, which is looked up as one: a right password with a wrong name is wrong."""
    return f"{username}:{password}"


def create(
    uow: UnitOfWork,
    actor: Actor,
    *,
    officer_id: UUID,
    name: str,
    protocol: Protocol,
    command_id: UUID | None,
    datum: str = "wgs84",
    kind: DeviceKind = DeviceKind.TRACKER,
) -> tuple[Shown, Credential]:
    """Give an officer a tracker and return its credential, which nobody can read again afterwards.

    Args:
        datum: of the positions that the device sends. All of these apps send WGS-84 unless the phone's system or a
            modified app converts them; then the desk declares it here, and nothing is ever guessed.

    Raises:
        Conflict: ``protocol_without_credential`` for the officer client, which needs none of this, and
            ``too_many_devices``.
    """
    officer = access.officer(uow, actor, officer_id, verb="manage", kind="device")
    if protocol is Protocol.OFFICER:
        raise Conflict("protocol_without_credential", "The officer's own client is set up by signing in.")
    return make(
        uow, actor, officer, name=name, protocol=protocol, command_id=command_id, datum=datum, kind=kind
    )


def make(
    uow: UnitOfWork,
    actor: Actor,
    officer: User,
    *,
    name: str,
    protocol: Protocol,
    command_id: UUID | None,
    datum: str = "wgs84",
    kind: DeviceKind = DeviceKind.TRACKER,
) -> tuple[Shown, Credential]:
    """Make a tracker of an officer whom the caller may give one, and its credential.

    Raises:
        Conflict: ``too_many_devices``.
    """
    officer_id = officer.id
    active = uow.session.scalar(
        select(func.count()).where(Device.officer_id == officer_id, Device.state == DeviceState.ACTIVE)
    )
    if (active or 0) >= MOST_ACTIVE:
        raise Conflict("too_many_devices", "This officer has too many active devices; revoke one first.")
    device = Device(
        id=new_id(),
        town_id=uow.town,
        officer_id=officer_id,
        officer=officer,
        kind=kind,
        protocol=protocol,
        name=name,
        datum=datum,
        state=DEVICE.initial,
        created_at=uow.now,
        created_by=actor.user_id,
        version=1,
    )
    uow.session.add(device)
    uow.session.flush()  # The credential's foreign key needs the row.
    credential = _issue(uow, device)
    journal.write(
        uow,
        actor,
        "device",
        device.id,
        "create",
        after=DEVICE.initial,
        command_id=command_id,
        data={"officer_id": str(officer_id), "protocol": str(protocol), "datum": datum},
    )
    return _shown(actor, device), credential


def renew(
    uow: UnitOfWork, actor: Actor, device_id: UUID, *, command_id: UUID | None
) -> tuple[Shown, Credential | None]:
    """Replace a device's credential: the old one stops opening the gate with this commit.

    Returns no credential when ``command_id`` was done before; the first answer was the only one that held it.

    Raises:
        WrongState: the device is revoked. Conflict: it is an officer's own phone and has no credential.
    """
    device = access.device(uow, actor, device_id, verb="manage", lock=True)
    if device.protocol == Protocol.OFFICER:
        raise Conflict("protocol_without_credential", "The officer's own client is set up by signing in.")
    if not DEVICE.fire(uow, actor, device, "renew", command_id=command_id):
        return _shown(actor, device), None
    _shut_out(uow, device)
    return _shown(actor, device), _issue(uow, device)


def revoke(
    uow: UnitOfWork, actor: Actor, device_id: UUID, *, command_id: UUID | None, reason: str | None = None
) -> Shown:
    """Shut a device out for good: nothing that it sends from this commit on is taken.

    Raises:
        WrongState: it is revoked already.
    """
    device = access.device(uow, actor, device_id, verb="manage", lock=True)
    if DEVICE.fire(uow, actor, device, "revoke", command_id=command_id, reason=reason):
        _shut_out(uow, device)
    return _shown(actor, device)


def see(uow: UnitOfWork, actor: Actor, device_id: UUID) -> Shown:
    """Return one device of the actor's areas."""
    device = access.device(uow, actor, device_id)
    return _shown(actor, device, _last_fixes(uow, [device.id]).get(device.id))


def name_of(uow: UnitOfWork, device_id: UUID) -> str:
    """Return what the desk called a device, for the device itself, which has shown its credential."""
    return uow.session.scalar(select(Device.name).where(Device.id == device_id)) or ""


def in_scope(
    uow: UnitOfWork,
    actor: Actor,
    *,
    officer_id: UUID | None = None,
    state: DeviceState | None = None,
    after: Sequence[str] | None = None,
    limit: int = 100,
) -> Page[Shown]:
    """Return the devices of officers of the actor's areas, the newest first."""
    access.require(actor, "see", "device")
    scope = access.roots(actor, "see", "device")
    conditions: list[ColumnElement[bool]] = [Device.officer_id.in_(access.officers_within(scope))]
    if officer_id is not None:
        conditions.append(Device.officer_id == officer_id)
    if state is not None:
        conditions.append(Device.state == state)
    if (last := moment_and_id(after)) is not None:
        created_at, last_id = last
        conditions.append(
            or_(Device.created_at < created_at, and_(Device.created_at == created_at, Device.id < last_id))
        )
    found = uow.session.scalars(
        select(Device)
        .where(*conditions)
        .options(joinedload(Device.officer))
        .order_by(Device.created_at.desc(), Device.id.desc())
        .limit(limit + 1)
    ).all()
    cut = page(found, limit, lambda device: (device.created_at, device.id))
    last_fixes = _last_fixes(uow, [device.id for device in cut.items])
    return Page([_shown(actor, device, last_fixes.get(device.id)) for device in cut.items], cut.after)


def active_of(uow: UnitOfWork, actor: Actor, officer_ids: Sequence[UUID]) -> dict[UUID, list[Shown]]:
    """Return the active devices of officers whom the caller may see, by officer, the newest first."""
    query = select(Device).where(Device.officer_id.in_(officer_ids), Device.state == DeviceState.ACTIVE)
    found = uow.session.scalars(query.order_by(Device.created_at.desc(), Device.id.desc())).all()
    last_fixes = _last_fixes(uow, [device.id for device in found])
    known: dict[UUID, list[Shown]] = {}
    for device in found:
        known.setdefault(device.officer_id, []).append(_shown(actor, device, last_fixes.get(device.id)))
    return known


def record_alarm(
    uow: UnitOfWork,
    *,
    device_id: UUID,
    officer_id: UUID,
    protocol: str,
    word: str,
    device_at: datetime | None,
    raw: dict[str, Any],
    fix_stored: bool,
    bounded: bool,
) -> UUID | None:
    """Write down that an officer pressed a button on his tracker.

    Returns the act's id in the journal; None if it was written down before, or (``bounded``) the device has said so too
    often just now.

    The phone sends it once, so it is kept whatever became of its fix: where that could not be filed (off shift, without
    a place), the message is kept as it came, because whoever calls for help says where he is by his own act.
    """
    at = device_at or uow.now
    command_id = uuid5(device_id, f"alarm {word} {at.isoformat()}")
    known = select(Journal.id).where(
        Journal.command_id == command_id,
        Journal.subject_id == device_id,
        Journal.at > uow.now - REPLAY_WINDOW,
    )
    if uow.session.scalar(known.limit(1)) is not None:
        return None
    for span, most in MOST_ALARMS if bounded else ():
        said = select(func.count()).where(
            Journal.subject_id == device_id, Journal.action == "alarm", Journal.at > uow.now - span
        )
        if (uow.session.scalar(said) or 0) >= most:
            return None
    data: dict[str, Any] = {"alarm": word, "fix_stored": fix_stored}
    if not fix_stored:
        kept = QuarantinedFix(
            id=new_id(),
            town_id=uow.town,
            device_id=device_id,
            received_at=uow.now,
            protocol=protocol,
            reason=Reason.ALARM,
            payload=raw,
        )
        uow.session.add(kept)
        data["quarantined_fix_id"] = str(kept.id)
    journal.write(
        uow,
        Actor(user_id=officer_id, town_id=uow.town),
        "device",
        device_id,
        "alarm",
        command_id=command_id,
        device_at=device_at,
        data=data,
    )
    return command_id


def _issue(uow: UnitOfWork, device: Device) -> Credential:
    username = f"xg-{device.id.hex[-12:]}" if device.protocol == Protocol.OWNTRACKS else None
    credential = Credential(new_secret(), username)
    uow.session.add(
        DeviceCredential(
            key_hash=secret_hash(credential.key),
            town_id=uow.town,
            device_id=device.id,
            username=username,
            created_at=uow.now,
        )
    )
    return credential


def _shut_out(uow: UnitOfWork, device: Device) -> None:
    uow.session.execute(
        update(DeviceCredential)
        .where(DeviceCredential.device_id == device.id, DeviceCredential.revoked_at.is_(None))
        .values(revoked_at=uow.now)
    )
    uow.notify(listen.DEVICES, {"device_id": str(device.id)})


def _shown(actor: Actor, device: Device, last_fix_at: datetime | None = None) -> Shown:
    actions = DEVICE.actions(actor, device)
    if device.protocol == Protocol.OFFICER:
        actions = [action for action in actions if action != "renew"]
    return Shown(device, actions, last_fix_at)


def _last_fixes(uow: UnitOfWork, device_ids: Sequence[UUID]) -> dict[UUID, datetime]:
    if not device_ids:
        return {}
    # One backward step in the primary key per device and day; a grouped query would read the whole week.
    newest = (
        select(func.max(Fix.fixed_at))
        .where(
            Fix.device_id == Device.id,
            Fix.fixed_at > uow.now - LAST_FIX_WITHIN,
            Fix.fixed_at <= uow.now + timedelta(hours=1),
        )
        .correlate(Device)
        .scalar_subquery()
    )
    rows = uow.session.execute(select(Device.id, newest).where(Device.id.in_(device_ids)))
    return {device_id: at for device_id, at in rows if at is not None}
