"""The outbox: notices and their deliveries, written with the act that they tell of and sent after its commit.

How they are sent is in ``notifications.delivering``. Whoever moves several deliveries of one notice holds the notice's
row first, so that nobody waits in a circle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import insert, text

from backend.core import listen
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import DeliveryState, NoticeChannel, NoticeKind
from backend.models import Delivery, Notice
from notifications import kinds, reach
from notifications.kinds import RULES

D = DeliveryState
MOVES: tuple[tuple[str, frozenset[DeliveryState], DeliveryState], ...] = (
    ("lease", frozenset({D.WAITING, D.LEASED}), D.LEASED),
    ("postpone", frozenset({D.LEASED}), D.WAITING),
    ("send", frozenset({D.LEASED}), D.SENT),
    ("fail", frozenset({D.LEASED}), D.FAILED),
    ("bury", frozenset({D.LEASED}), D.DEAD),
    ("skip", frozenset({D.WAITING, D.LEASED}), D.SKIPPED),
    ("confirm", frozenset({D.SENT}), D.CONFIRMED),
    ("retry", frozenset({D.DEAD}), D.WAITING),
)
"""How a delivery moves. The sender moves them in sets, so this is a table for tests and docs; the desk presses
``retry``. A lease that ran out is leased again."""


# --- Telling

_RECIPIENTS = text("""
    select u.id, t.locale as town_locale, t.code as town_code, s.channels as wanted,
      array(select distinct a.channel from addresses a left join sessions se on se.id = a.session_id
            where a.user_id = u.id and a.dead_at is null
              and (a.session_id is null or (se.revoked_at is null and se.expires_at > :now)))
      || case when u.phone is null then array[]::text[] else array['sms', 'voice'] end as reached
    from users u
    join towns t on t.id = u.town_id
    left join notice_settings s on s.user_id = u.id
    where u.id = any (:ids) and u.state = 'active'
      and exists (select 1 from memberships m
                  where m.user_id = u.id and m.ended_at is null and m.role = any (:roles))
    order by u.id
""")


def enqueue(
    uow: UnitOfWork,
    kind: NoticeKind,
    *,
    to: Iterable[UUID],
    subject: tuple[str, UUID],
    params: Mapping[str, Any],
    coalesce: str | None = None,
    expires_at: datetime | None = None,
    to_group: bool = True,
) -> list[UUID]:
    """Tell people something, when the unit of work commits and not if it does not.

    Args:
        to: whom ``recipients`` named, each once. Those who are disabled, of another town, or hold none of the kind's
            roles are left out.
        subject: kind and id of what the notice is about, for the client to open.
        params: by the names of ``kinds.RULES``.
        coalesce: of notices with one key the newest replaces what was not sent to the same person yet.
        expires_at: from then on nothing is pushed any more; the notice stays in the app.
        to_group: False where the desk's group has been told the same already.

    Returns:
        The ids of the notices, one for each who is told. At the commit ``xungeng_notices`` carries for each
        ``{town_id, user_id, notice_id, kind, subject_kind, subject_id}``.

    Raises:
        BadParamsError: the parameters are not those of the kind.
    """
    stored = kinds.checked(kind, params)
    rule = RULES[kind]
    found = uow.session.execute(
        _RECIPIENTS, {"ids": list(dict.fromkeys(to)), "roles": list(rule.roles), "now": uow.now}
    ).all()
    if not found or (expires_at is not None and expires_at <= uow.now):
        return []
    if coalesce is not None:
        _replace(uow, [row.id for row in found], coalesce)
    notices, deliveries = [], []
    for row in found:
        notice_id = new_id()
        notices.append(
            {
                "id": notice_id, "town_id": uow.town, "recipient_id": row.id, "kind": str(kind),
                "subject_kind": subject[0], "subject_id": subject[1], "params": stored,
                "priority": rule.priority, "coalesce_key": coalesce, "created_at": uow.now,
                "expires_at": expires_at,
            }
        )  # fmt: skip
        channels = reach.chain(kind, row.town_locale, row.reached, row.wanted)
        turns: list[tuple[NoticeChannel, datetime | None]] = [
            (channel, _turn(uow.now, position, rule.next_after_s))
            for position, channel in enumerate(channels)
        ]
        if (
            to_group
            and rule.to_group
            and len(notices) == 1
            and row.town_code in reach.settings().wecom_robots
        ):
            turns.append((NoticeChannel.WECOM_ROBOT, uow.now))
        deliveries += [
            {
                "id": new_id(), "town_id": uow.town, "notice_id": notice_id, "recipient_id": row.id,
                "channel": str(channel), "position": position, "priority": rule.priority,
                "state": str(D.WAITING), "not_before_at": due_at, "created_at": uow.now,
            }
            for position, (channel, due_at) in enumerate(turns)
        ]  # fmt: skip
    uow.session.execute(insert(Notice), notices)
    if deliveries:
        uow.session.execute(insert(Delivery), deliveries)
    uow.notify_each(
        listen.NOTICES,
        [
            {
                "town_id": notice["town_id"], "user_id": notice["recipient_id"], "notice_id": notice["id"],
                "kind": kind, "subject_kind": subject[0], "subject_id": subject[1],
            }
            for notice in notices
        ],
    )  # fmt: skip
    return [notice["id"] for notice in notices]


def _turn(now: datetime, position: int, next_after_s: int | None) -> datetime | None:
    """Return when a channel's turn comes; None: when the one before it could not."""
    if position == 0:
        return now
    return None if next_after_s is None else now + timedelta(seconds=position * next_after_s)


_COALESCED = text("""
    select id from notices
    where recipient_id = any (:ids) and coalesce_key = :key and replaced_at is null and read_at is null
    order by id for update
""")
_SKIP = text("""
    update deliveries set state = 'skipped', error = :why, ended_at = :now, lease_ends_at = null
    where notice_id = any (:notices) and state = 'waiting' and (:all or channel <> 'wecom_robot')
""")
_REPLACED = text("""
    update notices n set replaced_at = :now
    where n.id = any (:notices)
      and not exists (select 1 from deliveries d
                      where d.notice_id = n.id and d.state in ('leased', 'sent', 'confirmed'))
""")


def _replace(uow: UnitOfWork, recipient_ids: Sequence[UUID], key: str) -> None:
    """Let go of what was not sent yet; what nothing of was sent disappears from the app as well."""
    older = list(uow.session.execute(_COALESCED, {"ids": list(recipient_ids), "key": key}).scalars())
    if older:
        skip(uow, older, "replaced", also_group=True)
        uow.session.execute(_REPLACED, {"notices": older, "now": uow.now})


def skip(uow: UnitOfWork, notice_ids: Sequence[UUID], why: str, *, also_group: bool = False) -> None:
    """Send nothing of held notices that does not go already; to the desk's group neither with ``also_group``."""
    uow.session.execute(_SKIP, {"notices": list(notice_ids), "why": why, "now": uow.now, "all": also_group})


_ABOUT = text("""
    select id from notices
    where subject_id = :subject_id and subject_kind = :subject_kind and kind = any (:kinds)
      and (cast(:recipients as uuid[]) is null or recipient_id = any (:recipients))
      and confirmed_at is null
    order by id for update
""")


def withdraw(
    uow: UnitOfWork,
    subject: tuple[str, UUID],
    about: Collection[NoticeKind],
    *,
    of: Collection[UUID] | None = None,
) -> None:
    """Send nothing more of these kinds about a subject, because it does not hold any more (an offer that lapsed).

    Args:
        of: of these recipients alone.
    """
    if found := _about(uow, subject, about, of):
        skip(uow, found, "withdrawn", also_group=True)


def acted(
    uow: UnitOfWork, subject: tuple[str, UUID], about: Collection[NoticeKind], *, by: UUID
) -> list[UUID]:
    """Confirm a person's notices about a subject, because he acted on it: nobody acts on what he has not seen."""
    found = _about(uow, subject, about, [by])
    _confirm(uow, found)
    return found


def _about(
    uow: UnitOfWork,
    subject: tuple[str, UUID],
    about: Collection[NoticeKind],
    of: Collection[UUID] | None,
) -> list[UUID]:
    given = {
        "subject_kind": subject[0],
        "subject_id": subject[1],
        "kinds": [str(kind) for kind in about],
        "recipients": None if of is None else list(of),
    }
    return list(uow.session.execute(_ABOUT, given).scalars())


# --- What the recipient does

_OWN = text("""
    select id, kind, read_at, confirmed_at from notices
    where recipient_id = :recipient and id = any (:ids) order by id for update
""")


def read(uow: UnitOfWork, recipient_id: UUID, notice_ids: Collection[UUID]) -> list[UUID]:
    """Mark one's own notices as read; return those that are one's own. A notice that has to be confirmed goes on."""
    found = uow.session.execute(_OWN, {"recipient": recipient_id, "ids": list(notice_ids)}).all()
    ids = [row.id for row in found]
    _mark_read(uow, ids)
    skip(uow, [row.id for row in found if RULES[NoticeKind(row.kind)].next_after_s is None], "read")
    return ids


def confirm(uow: UnitOfWork, recipient_id: UUID, notice_ids: Collection[UUID]) -> list[UUID]:
    """Mark one's own notices as confirmed, so that no further channel is tried; return those that are one's own."""
    found = uow.session.execute(_OWN, {"recipient": recipient_id, "ids": list(notice_ids)}).scalars().all()
    _confirm(uow, list(found))
    return list(found)


def _mark_read(uow: UnitOfWork, notice_ids: Sequence[UUID]) -> None:
    uow.session.execute(
        text(
            "update notices set read_at = :now where id = any (:ids) and read_at is null and replaced_at is null"
        ),
        {"now": uow.now, "ids": list(notice_ids)},
    )


def _confirm(uow: UnitOfWork, notice_ids: Sequence[UUID]) -> None:
    if not notice_ids:
        return
    given = {"now": uow.now, "ids": list(notice_ids)}
    uow.session.execute(
        text(
            "update notices set confirmed_at = :now, read_at = coalesce(read_at, :now), replaced_at = null"
            " where id = any (:ids) and confirmed_at is null"
        ),
        given,
    )
    uow.session.execute(
        text(
            "update deliveries set state = 'confirmed', confirmed_at = :now"
            " where notice_id = any (:ids) and state = 'sent' and channel <> 'wecom_robot'"
        ),
        given,
    )
    skip(uow, notice_ids, "confirmed")
