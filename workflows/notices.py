"""One's own notices: what one was told, what one has read and confirmed, and what one wants to be told by."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import time
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from backend.core.errors import Invalid
from backend.core.identity import Actor
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import NoticeChannel, NoticeKind
from backend.models import Notice, NoticeSetting, Town, User, WechatCredit
from notifications import kinds, outbox, reach, templates
from notifications.kinds import RULES
from notifications.templates import Text
from workflows import access, journal

PRIORITIES = ("urgent", "high", "normal", "low")
MOST_COUNTED = 1000
"""Unread notices are counted up to here: who has more has stopped to look."""
MOST_READ = 5000
"""So many are marked as read by one press."""
MOST_CREDITS = 100


@dataclass(frozen=True)
class Told:
    """A notice as its recipient reads it."""

    notice: Notice
    text: Text
    actions: list[str]

    @property
    def priority(self) -> str:
        """Return its urgency in a word."""
        return PRIORITIES[self.notice.priority]

    @property
    def needs_confirmation(self) -> bool:
        """Say whether further channels are tried until it is confirmed."""
        return _needs_confirmation(self.notice)


def own(
    uow: UnitOfWork, actor: Actor, *, unread: bool, after: Sequence[str] | None, limit: int
) -> Page[Told]:
    """Return one's own notices, newest first, without those that a newer one replaced."""
    query = (
        select(Notice)
        .where(Notice.recipient_id == actor.user_id, Notice.replaced_at.is_(None))
        .order_by(Notice.created_at.desc(), Notice.id.desc())
        .limit(limit + 1)
    )
    if unread:
        query = query.where(Notice.read_at.is_(None))
    if key := moment_and_id(after):
        query = query.where(tuple_(Notice.created_at, Notice.id) < key)
    found = page(list(uow.session.scalars(query)), limit, lambda n: (n.created_at, n.id))
    return Page(_told(uow, actor, found.items), found.after)


def unread_count(uow: UnitOfWork, actor: Actor) -> int:
    """Return how many of one's notices are not read, up to ``MOST_COUNTED``."""
    some = (
        select(Notice.id)
        .where(Notice.recipient_id == actor.user_id, Notice.read_at.is_(None), Notice.replaced_at.is_(None))
        .limit(MOST_COUNTED)
        .subquery()
    )
    return uow.session.scalar(select(func.count()).select_from(some)) or 0


def read(
    uow: UnitOfWork, actor: Actor, notice_ids: Collection[UUID] | None, *, until: UUID | None = None
) -> int:
    """Mark one's own notices as read: those named, whatever else is named, or all ``until`` one of them.

    Return how many are left unread. What came while somebody looked at the list is not read with it.
    """
    assert actor.user_id is not None
    if until is not None:
        seen = select(Notice.created_at).where(Notice.recipient_id == actor.user_id, Notice.id == until)
        some = select(Notice.id).where(
            Notice.recipient_id == actor.user_id,
            Notice.read_at.is_(None),
            Notice.replaced_at.is_(None),
            Notice.created_at <= seen.scalar_subquery(),
        )
        notice_ids = uow.session.scalars(some.order_by(Notice.created_at).limit(MOST_READ)).all()
    outbox.read(uow, actor.user_id, notice_ids or ())
    return unread_count(uow, actor)


def confirm(uow: UnitOfWork, actor: Actor, notice_id: UUID) -> Told:
    """Say that one knows; no further channel is tried."""
    notice = access.notice(uow, actor, notice_id)
    assert actor.user_id is not None
    outbox.confirm(uow, actor.user_id, [notice_id])
    uow.session.refresh(notice)
    return _told(uow, actor, [notice])[0]


def _told(uow: UnitOfWork, actor: Actor, notices: Sequence[Notice]) -> list[Told]:
    if not notices:
        return []
    language = templates.language_of(
        uow.session.scalars(select(User.locale).where(User.id == actor.user_id)).one()
    )
    zone = ZoneInfo(uow.session.scalars(select(Town.time_zone).where(Town.id == uow.town)).one())
    return [
        Told(n, templates.render(NoticeKind(n.kind), n.params, language, zone), _actions(n)) for n in notices
    ]


def _needs_confirmation(notice: Notice) -> bool:
    return RULES[NoticeKind(notice.kind)].next_after_s is not None


def _actions(notice: Notice) -> list[str]:
    read = [] if notice.read_at is not None else ["read"]
    return read + ([] if notice.confirmed_at is not None else ["confirm"])


# --- What one wants


@dataclass(frozen=True)
class Wanted:
    """One's own choice, and what there is to choose from.

    Attributes:
        channels: by kind those that may carry it; of a kind that is not named, all.
        available: the channels of the installation that reach a person.
        fixed: kinds about which there is no choice.
        kinds: those that one may be told at all, by one's roles.
    """

    channels: Mapping[str, list[str]]
    quiet_from: time | None
    quiet_until: time | None
    available: list[str]
    fixed: list[str]
    kinds: list[str]


def wanted(uow: UnitOfWork, actor: Actor) -> Wanted:
    """Return one's own settings."""
    found = uow.session.get(NoticeSetting, actor.user_id)
    channels = found.channels if found else {}
    return Wanted(
        channels,
        found.quiet_from if found else None,
        found.quiet_until if found else None,
        sorted(reach.settings().configured - {NoticeChannel.WECOM_ROBOT}),
        [str(kind) for kind, rule in RULES.items() if rule.priority == kinds.URGENT],
        [str(kind) for kind, rule in RULES.items() if rule.roles & actor.roles],
    )


def want(
    uow: UnitOfWork,
    actor: Actor,
    *,
    command_id: UUID,
    channels: Mapping[str, Sequence[str]],
    quiet_from: time | None,
    quiet_until: time | None,
) -> Wanted:
    """Replace one's own settings; that he did stays, for whoever asks why an offer did not reach him.

    Raises:
        Invalid: half of the quiet hours, or hours that are the same.
    """
    if (quiet_from is None) != (quiet_until is None) or (
        quiet_from is not None and quiet_from == quiet_until
    ):
        raise Invalid("Quiet hours begin and end, and not at once.", quiet_until=["differs from the begin"])
    values = {
        "channels": {str(kind): sorted(set(names)) for kind, names in channels.items()},
        "quiet_from": quiet_from,
        "quiet_until": quiet_until,
        "updated_at": uow.now,
    }
    uow.session.execute(
        insert(NoticeSetting)
        .values(user_id=actor.user_id, town_id=uow.town, **values)
        .on_conflict_do_update(index_elements=["user_id"], set_=values)
    )
    assert actor.user_id is not None
    journal.write(
        uow, actor, "user", actor.user_id, "choose_notices", command_id=command_id,
        data={"channels": values["channels"], "quiet": quiet_from is not None},
    )  # fmt: skip
    uow.session.flush()
    uow.session.expire_all()
    return wanted(uow, actor)


# --- WeChat's credits


@dataclass(frozen=True)
class Credit:
    """A template of the mini program, and how often one still lets it bring something."""

    kind: str
    template_id: str
    remaining: int


def credits(uow: UnitOfWork, actor: Actor) -> list[Credit]:
    """Return the templates that make sense to ask the actor for: those of kinds that WeChat may bring him.

    That is neither what is not for him, nor what he has told WeChat not to bring. The client asks in the moment in
    which it is clear what for (a report was filed, a call for help was made).
    """
    held = {
        row.template_id: row.remaining
        for row in uow.session.scalars(select(WechatCredit).where(WechatCredit.user_id == actor.user_id))
    }
    carried = reach.settings().templates.get(NoticeChannel.WECHAT_MINI, {})
    if NoticeChannel.WECHAT_MINI not in reach.settings().configured:
        return []
    settings = uow.session.get(NoticeSetting, actor.user_id)
    chosen = settings.channels if settings else {}
    return [
        Credit(str(kind), template.id, held.get(template.id, 0))
        for kind, template in carried.items()
        if RULES[kind].roles & actor.roles
        and (
            RULES[kind].priority == kinds.URGENT
            or kind not in chosen
            or NoticeChannel.WECHAT_MINI in chosen[kind]
        )
    ]


def add_credits(uow: UnitOfWork, actor: Actor, template_ids: Collection[str]) -> list[Credit]:
    """Count one more message of each template that the actor has just allowed in WeChat; others are left out."""
    known = {credit.template_id for credit in credits(uow, actor)}
    for template_id in sorted(known & set(template_ids)):
        uow.session.execute(
            insert(WechatCredit)
            .values(
                user_id=actor.user_id,
                template_id=template_id,
                town_id=uow.town,
                remaining=1,
                updated_at=uow.now,
            )
            .on_conflict_do_update(
                index_elements=["user_id", "template_id"],
                set_={
                    "remaining": func.least(WechatCredit.remaining + 1, MOST_CREDITS),
                    "updated_at": uow.now,
                },
            )
        )
    uow.session.expire_all()
    return credits(uow, actor)
