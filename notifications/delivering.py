"""From the outbox to the channels: deliveries are claimed with a lease, sent while no transaction is open, and marked.

A worker that dies in between leaves a lease that runs out, and the message goes again: at least once. Its id travels
with every message (``Message.event_id``), so a receiver drops what he has. Claiming and preparing wait for nobody;
whoever moves a delivery afterwards holds its notice's row first.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.engine import Row

from backend.core.uow import UnitOfWork
from backend.core.vocabulary import DeliveryState, NoticeChannel, NoticeKind
from notifications import kinds, outbox, reach, templates
from notifications.channels.channel import Message, Target
from notifications.kinds import RULES

D = DeliveryState
LEASE = timedelta(seconds=120)
"""Longer than a batch of slow sends takes: ``BATCH`` messages, each at most ``sending.SLOWEST_S``. Where somebody has
many slow addresses, the sender gives back what it does not come to (``sending.in_time``)."""
BATCH = 5
HELD_PAUSE = timedelta(seconds=1)
"""After so long what somebody was just changing is looked at again."""
MOST_ATTEMPTS = 8
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 300.0
SECOND_CREDIT = 1
"""WeChat's credits that are kept for what is urgent or high."""


# --- Sending


@dataclass(frozen=True)
class Claimed:
    """A delivery that this worker has until the lease runs out; the lease's end is what proves it."""

    id: UUID
    notice_id: UUID
    channel: NoticeChannel
    attempts: int
    lease_ends_at: datetime


@dataclass(frozen=True)
class Sendable:
    """Everything that sending needs, so that no transaction has to be open meanwhile."""

    claimed: Claimed
    message: Message
    targets: tuple[Target, ...]


# One for each recipient and priority at a time, the earliest first: a later one waits while an earlier one is due,
# under way or in its pause. What is more urgent passes by.
_CLAIM = text("""
    with due as (
      select d.id from deliveries d
      where d.town_id = :town and d.channel = :channel and d.priority between :from_priority and :to_priority
        and d.state in ('waiting', 'leased') and d.not_before_at <= :now
        and not exists (
          select 1 from deliveries e
          where e.recipient_id = d.recipient_id and e.channel = d.channel and e.id < d.id
            and e.state in ('waiting', 'leased') and e.priority = d.priority
            and (e.not_before_at <= :now or e.attempts > 0))
      order by d.priority, d.not_before_at
      limit :most
      for update of d skip locked
    )
    update deliveries d
    set state = 'leased', lease_ends_at = :until, not_before_at = :until, attempts = d.attempts + 1
    from due where d.id = due.id
    returning d.id, d.notice_id, d.channel, d.attempts, d.lease_ends_at
""")


def due(uow: UnitOfWork) -> list[tuple[UUID, NoticeChannel, bool]]:
    """Return where something is due now: town, channel, and whether it is urgent. The unit of work needs no town."""
    rows = uow.session.execute(text("select * from deliveries_due(:now)"), {"now": uow.now})
    return [(row.town_id, NoticeChannel(row.channel), row.urgent) for row in rows]


def claim(
    uow: UnitOfWork, channel: NoticeChannel, *, urgent: bool | None = None, most: int = BATCH
) -> list[Claimed]:
    """Take up to ``most`` deliveries of a channel that are due. Of several workers at once each row is had by one.

    ``urgent``: those in danger alone, or all others; None: whatever is due.
    """
    rows = uow.session.execute(
        _CLAIM,
        {
            "town": uow.town, "channel": str(channel), "most": most, "now": uow.now, "until": uow.now + LEASE,
            "from_priority": kinds.HIGH if urgent is False else kinds.URGENT,
            "to_priority": kinds.URGENT if urgent else kinds.LOW,
        },
    ).all()  # fmt: skip
    return [
        Claimed(row.id, row.notice_id, NoticeChannel(row.channel), row.attempts, row.lease_ends_at)
        for row in rows
    ]


_LOADED = text("""
    select n.id, n.kind, n.subject_kind, n.subject_id, n.params, n.priority, n.created_at, n.expires_at, n.read_at,
      n.confirmed_at, n.recipient_id, u.state as user_state, u.locale, u.phone, t.locale as town_locale,
      t.code as town_code, t.time_zone, s.quiet_from, s.quiet_until,
      exists (select 1 from shifts h
              where h.officer_id = u.id and h.ended_at is null and h.closes_at > :now) as on_duty,
      array(select m.role from memberships m where m.user_id = u.id and m.ended_at is null) as roles
    from notices n
    join users u on u.id = n.recipient_id
    join towns t on t.id = n.town_id
    left join notice_settings s on s.user_id = u.id
    where n.id = any (:ids)
    order by n.id
    for no key update of n skip locked
""")
_ADDRESSES = text("""
    select a.id, a.user_id, a.token, a.keys from addresses a left join sessions se on se.id = a.session_id
    where a.user_id = any (:users) and a.channel = :channel and a.dead_at is null
      and (a.session_id is null or (se.revoked_at is null and se.expires_at > :now))
    order by a.created_at desc, a.id
""")


def prepare(uow: UnitOfWork, claimed: Sequence[Claimed]) -> list[Sendable]:
    """Load what the claimed deliveries say and to where; let go of those that are not to be sent (any more)."""
    if not claimed:
        return []
    ids = [one.notice_id for one in claimed]
    notices = {row.id: row for row in uow.session.execute(_LOADED, {"ids": ids, "now": uow.now})}
    addresses: dict[UUID, list[Target]] = {}
    channel = claimed[0].channel
    users = [row.recipient_id for row in notices.values()]
    for row in uow.session.execute(_ADDRESSES, {"users": users, "channel": str(channel), "now": uow.now}):
        addresses.setdefault(row.user_id, []).append(Target(row.token, row.keys or {}, row.id))
    ready = []
    for one in claimed:
        notice = notices.get(one.notice_id)
        if notice is None:
            # Held by somebody who changes it at this moment and may wait for another one of these; or past its
            # retention, and then its deliveries are gone with it.
            _wait(uow, one, uow.now + HELD_PAUSE, "held", counted=False)
            continue
        try:
            sendable = _prepared(uow, one, notice, addresses.get(notice.recipient_id, []))
        except (KeyError, ValueError):
            # A row that this version cannot read holds up no other one.
            _give_up(uow, one, "unreadable")
        else:
            if sendable is not None:
                ready.append(sendable)
    return ready


def _prepared(uow: UnitOfWork, one: Claimed, notice: Row[Any], addresses: list[Target]) -> Sendable | None:
    kind = NoticeKind(notice.kind)
    if why := _why_not(uow, notice, one.channel):
        _end(uow, one, D.SKIPPED, why)
    elif (until := _quiet_until(uow.now, notice, one.channel)) is not None:
        _wait(uow, one, until, "quiet_hours", counted=False)
    elif not reach.settings().carries(one.channel, kind):
        _give_up(uow, one, "not_set_up")
    elif not (targets := _targets(notice, one.channel, addresses)):
        _give_up(uow, one, "no_address")
    else:
        message = _message(one, notice)
        if _may_spend(uow, one, notice):
            return Sendable(one, message, tuple(targets))
        _give_up(uow, one, "no_credit")
    return None


def abandon(uow: UnitOfWork, claimed: Sequence[Claimed]) -> None:
    """Give up deliveries of a channel that this installation does not have any more."""
    for one in claimed:
        if _hold(uow, one) is not None:
            _give_up(uow, one, "not_set_up")


def _why_not(uow: UnitOfWork, notice: Row[Any], channel: NoticeChannel) -> str | None:
    if notice.expires_at is not None and notice.expires_at <= uow.now:
        return "expired"
    if channel is NoticeChannel.WECOM_ROBOT:
        return None
    rule = RULES[NoticeKind(notice.kind)]
    if notice.confirmed_at is not None:
        return "confirmed"
    if notice.read_at is not None and rule.next_after_s is None:
        return "read"
    if notice.user_state != "active" or not rule.roles & set(notice.roles):
        return "not_allowed"
    return None


def _quiet_until(now: datetime, notice: Row[Any], channel: NoticeChannel) -> datetime | None:
    """Return when the recipient's quiet hours end, or None where none hold it.

    Nothing is quiet about what is urgent, nor for an officer on shift about what belongs to his duty.
    """
    if notice.quiet_from is None or notice.priority == kinds.URGENT or channel is NoticeChannel.WECOM_ROBOT:
        return None
    if notice.on_duty and RULES[NoticeKind(notice.kind)].duty:
        return None
    return quiet_end(now, notice.quiet_from, notice.quiet_until, ZoneInfo(notice.time_zone))


def quiet_end(now: datetime, begins: time, ends: time, zone: ZoneInfo) -> datetime | None:
    """Return the end of the quiet hours that ``now`` lies in, on the town's clock; they may go past midnight."""
    local = now.astimezone(zone)
    clock = local.time()
    if begins < ends:
        within = begins <= clock < ends
    else:
        within = clock >= begins or clock < ends
    if not within:
        return None
    day = local.date() if clock < ends else local.date() + timedelta(days=1)
    return datetime.combine(day, ends, zone)


def _targets(notice: Row[Any], channel: NoticeChannel, addresses: list[Target]) -> list[Target]:
    if channel is NoticeChannel.WECOM_ROBOT:
        robot = reach.settings().wecom_robots.get(notice.town_code)
        return [Target(robot)] if robot else []
    if channel in (NoticeChannel.SMS, NoticeChannel.VOICE):
        # One phone is enough, and each message costs money.
        return addresses[:1] or ([Target(notice.phone)] if notice.phone else [])
    return addresses


def _may_spend(uow: UnitOfWork, one: Claimed, notice: Row[Any]) -> bool:
    """Spend one of the recipient's credits where the channel needs one; keep the last for what matters."""
    kind = NoticeKind(notice.kind)
    if one.channel is not NoticeChannel.WECHAT_MINI:
        return True
    kept = 0 if notice.priority <= kinds.HIGH else SECOND_CREDIT
    spent = uow.session.execute(
        text(
            "update wechat_credits set remaining = remaining - 1, updated_at = :now"
            " where user_id = :user and template_id = :template and remaining > :kept returning remaining"
        ),
        {
            "now": uow.now,
            "user": notice.recipient_id,
            "template": reach.settings().template(one.channel, kind).id,
            "kept": kept,
        },
    )
    return spent.first() is not None


def _message(one: Claimed, notice: Row[Any]) -> Message:
    kind = NoticeKind(notice.kind)
    to_group = one.channel is NoticeChannel.WECOM_ROBOT
    language = templates.language_of(notice.town_locale if to_group else notice.locale)
    zone = ZoneInfo(notice.time_zone)
    words = templates.render(kind, notice.params, language, zone)
    settings = reach.settings()
    template = None
    parameters: dict[str, str] = {}
    if settings.templates.get(one.channel, {}).get(kind):
        template = settings.template(one.channel, kind)
        shown = {
            name: templates.value_of(name, value, language, zone) for name, value in notice.params.items()
        }
        parameters = reach.filled(template, shown | {"title": words.title, "body": words.body})
    return Message(
        event_id=notice.id,
        delivery_id=one.id,
        kind=kind,
        subject_kind=notice.subject_kind,
        subject_id=notice.subject_id,
        urgent=notice.priority <= kinds.HIGH,
        title=words.title,
        body=words.body,
        language=language,
        expires_at=notice.expires_at,
        template_id=template.id if template else None,
        signature=template.signature if template else None,
        parameters=parameters,
        link=_link(notice),
    )


def _link(notice: Row[Any]) -> str | None:
    """Return where the notice opens: the client that its recipient has, and the notice in it."""
    public_url = reach.settings().public_url
    if public_url is None:
        return None
    roles = set(notice.roles)
    client = (
        "officer" if "officer" in roles
        else "desk" if roles & {"dispatcher", "supervisor"}
        else "resident"
    )  # fmt: skip
    return f"{public_url}/{client}/?notice={notice.id}"


# --- What became of it


def _hold(uow: UnitOfWork, one: Claimed) -> Row[Any] | None:
    """Hold the notice's row, under which its deliveries change; None when another worker has the lease."""
    uow.session.execute(text("select 1 from notices where id = :id for update"), {"id": one.notice_id})
    return uow.session.execute(
        text(
            "select d.*, n.kind, n.expires_at, n.confirmed_at as notice_confirmed_at, n.recipient_id as told"
            " from deliveries d join notices n on n.id = d.notice_id"
            " where d.id = :id and d.state = 'leased' and d.lease_ends_at = :until"
        ),
        {"id": one.id, "until": one.lease_ends_at},
    ).first()


def sent(uow: UnitOfWork, one: Claimed, provider_ref: str | None) -> bool:
    """Mark a delivery as taken by its provider; False when the lease was lost meanwhile."""
    held = _hold(uow, one)
    if held is None:
        return False
    confirmed = held.notice_confirmed_at is not None and one.channel is not NoticeChannel.WECOM_ROBOT
    uow.session.execute(
        text(
            "update deliveries set state = :state, sent_at = :now, confirmed_at = :confirmed, lease_ends_at = null,"
            " provider_ref = :ref, error = null where id = :id"
        ),
        {
            "state": str(D.CONFIRMED if confirmed else D.SENT), "now": uow.now, "id": one.id,
            "confirmed": uow.now if confirmed else None, "ref": (provider_ref or "")[:200] or None,
        },
    )  # fmt: skip
    if RULES[NoticeKind(held.kind)].next_after_s is None and one.channel is not NoticeChannel.WECOM_ROBOT:
        outbox.skip(uow, [one.notice_id], "reached")
    return True


def later(uow: UnitOfWork, one: Claimed, code: str, after_s: float | None = None) -> bool:
    """Try again after a pause that grows and is never the same, ``after_s`` at least; give up after enough of it."""
    held = _hold(uow, one)
    if held is None:
        return False
    _refund(uow, one, held)
    pause = max(pause_s(one.attempts), after_s or 0.0)
    again_at = uow.now + timedelta(seconds=pause)
    expires = held.expires_at is not None and again_at >= held.expires_at
    if expires or one.attempts >= MOST_ATTEMPTS:
        _give_up(uow, one, code)
    else:
        _wait(uow, one, again_at, code, counted=True)
    return True


def refused(uow: UnitOfWork, one: Claimed, code: str) -> bool:
    """Give the delivery up: its provider will never take it."""
    held = _hold(uow, one)
    if held is None:
        return False
    if code == "wechat_not_subscribed":
        _forget_credits(uow, one, held)
    else:
        _refund(uow, one, held)
    _give_up(uow, one, code)
    return True


def pause_s(attempts: int) -> float:
    """Return a random pause, between half and all of one that doubles with each attempt."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(attempts - 1, 16))
    return random.uniform(longest / 2, longest)


def release(uow: UnitOfWork, one: Claimed, after_s: float) -> None:
    """Give a delivery back that was not tried, because its channel takes nothing just now."""
    held = _hold(uow, one)
    if held is not None:
        _refund(uow, one, held)
        _wait(uow, one, uow.now + timedelta(seconds=after_s), "channel_paused", counted=False)


def _wait(uow: UnitOfWork, one: Claimed, until: datetime, code: str, *, counted: bool) -> None:
    uow.session.execute(
        text(
            "update deliveries set state = 'waiting', lease_ends_at = null, not_before_at = :until, error = :code,"
            " attempts = attempts - :uncounted where id = :id and state = 'leased' and lease_ends_at = :lease"
        ),
        {
            "until": until, "code": code, "uncounted": 0 if counted else 1, "id": one.id,
            "lease": one.lease_ends_at,
        },
    )  # fmt: skip


def _give_up(uow: UnitOfWork, one: Claimed, code: str) -> None:
    """End the delivery; the next channel of its notice has its turn at once. Where none is left, it is dead."""
    following = None
    if one.channel is not NoticeChannel.WECOM_ROBOT:
        following = uow.session.execute(
            text(
                "select id, not_before_at from deliveries where notice_id = :notice and state = 'waiting'"
                " and channel <> 'wecom_robot' and attempts = 0 order by position limit 1"
            ),
            {"notice": one.notice_id},
        ).first()
    other = following is not None or _is_on_its_way(uow, one)
    _end(uow, one, D.FAILED if other else D.DEAD, code)
    if following is not None and (following.not_before_at is None or following.not_before_at > uow.now):
        uow.session.execute(
            text("update deliveries set not_before_at = :now where id = :id"),
            {"now": uow.now, "id": following.id},
        )


def _is_on_its_way(uow: UnitOfWork, one: Claimed) -> bool:
    if one.channel is NoticeChannel.WECOM_ROBOT:
        return False
    return bool(
        uow.session.execute(
            text(
                "select 1 from deliveries where notice_id = :notice and id <> :id and channel <> 'wecom_robot'"
                " and state in ('waiting', 'leased', 'sent', 'confirmed') limit 1"
            ),
            {"notice": one.notice_id, "id": one.id},
        ).first()
    )


def _end(uow: UnitOfWork, one: Claimed, state: DeliveryState, code: str) -> None:
    uow.session.execute(
        text(
            "update deliveries set state = :state, lease_ends_at = null, error = :code, ended_at = :now"
            " where id = :id and state = 'leased' and lease_ends_at = :lease"
        ),
        {"state": str(state), "code": code, "now": uow.now, "id": one.id, "lease": one.lease_ends_at},
    )


def _template_of(one: Claimed, held: Row[Any]) -> str | None:
    if one.channel is not NoticeChannel.WECHAT_MINI:
        return None
    found = reach.settings().templates.get(one.channel, {}).get(NoticeKind(held.kind))
    return found.id if found else None


def _refund(uow: UnitOfWork, one: Claimed, held: Row[Any]) -> None:
    if (template := _template_of(one, held)) is not None:
        uow.session.execute(
            text(
                "update wechat_credits set remaining = least(remaining + 1, 100), updated_at = :now"
                " where user_id = :user and template_id = :template"
            ),
            {"now": uow.now, "user": held.told, "template": template},
        )


def _forget_credits(uow: UnitOfWork, one: Claimed, held: Row[Any]) -> None:
    if (template := _template_of(one, held)) is not None:
        uow.session.execute(
            text(
                "update wechat_credits set remaining = 0, updated_at = :now"
                " where user_id = :user and template_id = :template"
            ),
            {"now": uow.now, "user": held.told, "template": template},
        )


def prune(uow: UnitOfWork, address_ids: Collection[UUID], reason: str) -> None:
    """Let go of addresses that a provider calls dead."""
    uow.session.execute(
        text(
            "update addresses set dead_at = :now, dead_reason = :reason where id = any (:ids) and dead_at is null"
        ),
        {"now": uow.now, "reason": reason, "ids": list(address_ids)},
    )


def retry(uow: UnitOfWork, delivery_id: UUID) -> None:
    """Let a dead delivery, whose row the caller holds, be tried anew from now on."""
    uow.session.execute(
        text(
            "update deliveries set state = 'waiting', attempts = 0, not_before_at = :now, error = null,"
            " ended_at = null where id = :id and state = 'dead'"
        ),
        {"now": uow.now, "id": delivery_id},
    )
