"""Where people are reached: what their phones and browsers bring, and what an admin writes down for staff.

What a client brings belongs to its session and ends with it. Nobody names himself to WeChat or WeCom: a client brings
WeChat's one-time code, and WeCom's ids, office phones and mailboxes are an admin's to write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from backend.core.errors import Conflict, Invalid
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.phones import e164
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import NoticeChannel
from backend.models import Address
from notifications import reach
from notifications.channels import wechat
from notifications.channels.subscriptions import are_keys, is_service, public_key
from workflows import access, journal

C = NoticeChannel
BY_CLIENT = (C.FCM, C.WEBPUSH, C.WECHAT_MINI, C.WECHAT_SERVICE)
BY_ADMIN = (C.WECOM, C.SMS, C.VOICE, C.EMAIL)
MOST_OF_A_CHANNEL = 10
"""Addresses of one person on one channel; a new one takes the place of the oldest."""

_FCM = re.compile(r"[\w:.-]{10,512}")
_WECOM = re.compile(r"(?!@all\Z)[\w.@-]{1,64}", re.ASCII | re.IGNORECASE)
"""A WeCom user id. ``@all`` is none: it is everybody of the corporation."""
_MAIL = re.compile(r"[^@\s<>,;:\"]{1,64}@[A-Za-z0-9.-]{3,190}")


def webpush_key() -> str | None:
    """Return the key that browsers subscribe with, or None where Web Push is not set up."""
    settings = reach.settings()
    if C.WEBPUSH not in settings.configured or settings.vapid_key is None:
        return None
    return public_key(settings.vapid_key)


def available() -> list[str]:
    """Return the channels of this installation for which a client may bring an address."""
    return [str(channel) for channel in BY_CLIENT if channel in reach.settings().configured]


def own(uow: UnitOfWork, actor: Actor) -> list[Address]:
    """Return one's own living addresses, the newest first; there are few."""
    return _living(uow, actor.user_id)


def _living(uow: UnitOfWork, user_id: UUID | None) -> list[Address]:
    return list(
        uow.session.scalars(
            select(Address)
            .where(Address.user_id == user_id, Address.dead_at.is_(None))
            .order_by(Address.created_at.desc(), Address.id.desc())
            .limit(MOST_OF_A_CHANNEL * len(NoticeChannel))
        )
    )


def resolve(channel: NoticeChannel, token: str) -> str:
    """Return the address that a client's word stands for: of WeChat's codes, whom WeChat names. Asks WeChat.

    Raises:
        Conflict: ``channel_not_set_up``. Invalid: WeChat does not know the code. Unavailable: it does not answer.
    """
    settings = reach.settings()
    apps = {C.WECHAT_MINI: settings.wechat_mini, C.WECHAT_SERVICE: settings.wechat_service}
    _require_set_up(channel)
    if channel not in apps:
        return token
    app = apps[channel]
    assert app is not None
    return wechat.openid_of(channel, app, token)


def register(
    uow: UnitOfWork,
    actor: Actor,
    *,
    channel: NoticeChannel,
    token: str,
    keys: Mapping[str, str] | None,
    command_id: UUID,
) -> Address:
    """Let this session's phone or browser be reached. Whose it was before is not reached there any more.

    Raises:
        Invalid: it is no address of the channel. Conflict: ``channel_not_set_up``.
    """
    _require_set_up(channel)
    if channel not in BY_CLIENT:
        raise Invalid("An admin writes this address down.", channel=["not a client's to bring"])
    if channel is C.FCM and not _FCM.fullmatch(token):
        raise Invalid(token=["not a Firebase installation id"])
    if channel is C.WEBPUSH:
        if not is_service(token, reach.settings().webpush_services):
            raise Invalid("This push service is not called from here.", token=["not a known push service"])
        if keys is None or not are_keys(keys):
            raise Invalid(keys=["not the keys of a subscription"])
    else:
        keys = None
    address = _write(uow, actor.user_id, channel, token, keys, session_id=actor.session_id)
    row = address
    journal.write(
        uow,
        actor,
        "address",
        row.id,
        "register",
        command_id=command_id,
        data=channel_and_owner(row),
    )
    return address


def write_down(
    uow: UnitOfWork, actor: Actor, user_id: UUID, *, channel: NoticeChannel, token: str, command_id: UUID
) -> Address:
    """Let a member of staff be reached at an address that an admin knows of.

    Raises:
        Invalid: it is no address of the channel, or the channel is a client's own to bring.
        Conflict: ``address_taken``; somebody else is reached there, who would not be any more and would not know.
    """
    user = access.user(uow, actor, user_id, verb="manage")
    if channel not in BY_ADMIN:
        raise Invalid("The person's own phone or browser brings this address.", channel=["not an admin's"])
    if channel in (C.SMS, C.VOICE):
        phone = e164(token)
        if phone is None:
            raise Invalid(token=["not a phone number"])
        token = phone
    elif not (_WECOM if channel is C.WECOM else _MAIL).fullmatch(token):
        raise Invalid(token=["not an address of this channel"])
    taken = select(Address.id).where(
        Address.channel == channel,
        Address.token == token,
        Address.dead_at.is_(None),
        Address.user_id != user.id,
    )
    if uow.session.scalar(taken) is not None:
        raise Conflict("address_taken", "Somebody else is reached at this address.")
    address = _write(uow, user.id, channel, token, None, session_id=None)
    row = address
    journal.write(
        uow,
        actor,
        "address",
        row.id,
        "register",
        command_id=command_id,
        data=channel_and_owner(row),
    )
    return address


def of_user(uow: UnitOfWork, actor: Actor, user_id: UUID) -> list[Address]:
    """Return somebody's living addresses, for those who administer the town."""
    return _living(uow, access.user(uow, actor, user_id).id)


def end_own(uow: UnitOfWork, actor: Actor, address_id: UUID, *, command_id: UUID) -> None:
    """Be reached at one of one's own addresses no more."""
    _end(uow, actor, access.own_address(uow, actor, address_id, lock=True), command_id)


def end(uow: UnitOfWork, actor: Actor, address_id: UUID, *, command_id: UUID) -> None:
    """Let somebody be reached at an address no more, as an admin."""
    _end(uow, actor, access.address(uow, actor, address_id, verb="manage", lock=True), command_id)


def _end(uow: UnitOfWork, actor: Actor, address: Address, command_id: UUID) -> None:
    if address.dead_at is None:
        address.dead_at, address.dead_reason = uow.now, "ended"
        row = address
        journal.write(
            uow,
            actor,
            "address",
            row.id,
            "end",
            command_id=command_id,
            data=channel_and_owner(row),
        )


def _require_set_up(channel: NoticeChannel) -> None:
    if channel not in reach.settings().configured:
        raise Conflict("channel_not_set_up", "This installation does not reach people this way.")


def _write(
    uow: UnitOfWork,
    user_id: UUID | None,
    channel: NoticeChannel,
    token: str,
    keys: Mapping[str, str] | None,
    *,
    session_id: UUID | None,
) -> Address:
    values = {
        "user_id": user_id,
        "keys": dict(keys) if keys else None,
        "session_id": session_id,
        "created_at": uow.now,
        "dead_at": None,
        "dead_reason": None,
    }
    address = uow.session.scalars(
        insert(Address)
        .values(id=new_id(), town_id=uow.town, channel=str(channel), token=token, **values)
        .on_conflict_do_update(constraint="uq_addresses_token", set_=values)
        .returning(Address),
        execution_options={"populate_existing": True},
    ).one()
    _forget_oldest(uow, [a for a in _living(uow, user_id) if a.channel == channel])
    return address


def _forget_oldest(uow: UnitOfWork, living: Sequence[Address]) -> None:
    for address in living[MOST_OF_A_CHANNEL:]:
        address.dead_at, address.dead_reason = uow.now, "too_many"


def channel_and_owner(row: Address) -> dict[str, str]:
    """Return what the journal holds of an address: by which channel and of whom, never the address itself."""
    return {"channel": row.channel, "user_id": str(row.user_id)}
