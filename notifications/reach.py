"""By what people can be reached on this installation: the channels that are set up, in the order of a profile.

A composition root calls ``use`` with the checked settings. Without it there is no channel, and notices stand in the app
alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from sqlalchemy import text

from backend.core.config import ConfigError
from backend.core.notice_settings import NoticeSettings, Parameter, ProviderTemplate
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import NoticeChannel, NoticeKind, NoticeProfile, Role
from notifications import kinds
from notifications.kinds import RULES

C = NoticeChannel
ORDER: dict[NoticeProfile, tuple[NoticeChannel, ...]] = {
    # The mainland's phones have no Google services: what reaches them comes first, what costs money last.
    NoticeProfile.CN: (C.WECOM, C.WECHAT_MINI, C.WECHAT_SERVICE, C.WEBPUSH, C.FCM, C.SMS, C.VOICE, C.EMAIL),
    NoticeProfile.INTL: (C.FCM, C.WEBPUSH, C.WECOM, C.WECHAT_MINI, C.WECHAT_SERVICE, C.SMS, C.VOICE, C.EMAIL),
}
"""The app itself comes before all of these: a notice stands in it from its commit on."""

_settings = NoticeSettings()


def use(settings: NoticeSettings) -> None:
    """Let this process reach people by ``settings``.

    Raises:
        ConfigError: a provider's template does not fit; the text is one sentence.
    """
    global _settings
    check(settings)
    _settings = settings


def settings() -> NoticeSettings:
    """Return by what this process reaches people."""
    return _settings


def profile_of(locale: str) -> NoticeProfile:
    """Return the installation's profile, or else the one that a town's language suggests."""
    return _settings.profile or (NoticeProfile.CN if locale.lower().startswith("zh") else NoticeProfile.INTL)


def chain(
    kind: NoticeKind,
    locale: str,
    reached: Collection[str],
    wanted: Mapping[str, list[str]] | None,
) -> list[NoticeChannel]:
    """Return the channels that bring a notice to somebody, in their order.

    Args:
        locale: the town's.
        reached: the channels on which he has an address.
        wanted: his own choice by kind; what is urgent is not his to switch off.
    """
    chosen = None
    if RULES[kind].priority != kinds.URGENT and wanted is not None:
        chosen = wanted.get(kind)
    return [
        channel
        for channel in ORDER[profile_of(locale)]
        if channel in reached and _settings.carries(channel, kind) and (chosen is None or channel in chosen)
    ]


# --- Provider templates

WECHAT_MOST = {
    "thing": 20, "number": 32, "letter": 32, "symbol": 5, "character_string": 32, "time": 30, "date": 30,
    "amount": 10, "phone_number": 17, "car_number": 8, "name": 10, "phrase": 5,
}  # fmt: skip
"""Characters that WeChat takes by the kind of parameter, which is the first part of its name (``thing3``). Source: the
limits under 发送订阅消息 of the mini programs' server API."""
RENDERED = frozenset({"title", "body"})


def check(settings: NoticeSettings) -> None:
    """Check that every provider template is filled with parameters that its kind has, no longer than providers take.

    Raises:
        ConfigError: the first thing that is not in order.
    """
    for channel, templates in settings.templates.items():
        for kind, template in templates.items():
            for name, parameter in template.parameters.items():
                if wrong := _wrong(channel, kind, name, parameter):
                    raise ConfigError(
                        f"XUNGENG_NOTICE_TEMPLATES: {channel} {kind}: the parameter {name} {wrong}."
                    )


def _wrong(channel: NoticeChannel, kind: NoticeKind, name: str, parameter: Parameter) -> str | None:
    if parameter.source not in RULES[kind].params | RENDERED:
        return f"is filled with {parameter.source}, but {kind} has {', '.join(sorted(RULES[kind].params | RENDERED))}"
    if channel is C.WECHAT_MINI:
        sort = re.fullmatch(r"([a-z_]+?)\d+", name)
        most = WECHAT_MOST.get(sort[1]) if sort else None
        if most is None:
            return f"has a name that WeChat gives to none; they begin with {', '.join(sorted(WECHAT_MOST))}"
        if parameter.most > most:
            return f"may have {most} characters in WeChat, but the file allows {parameter.most}"
    return None


def filled(template: ProviderTemplate, shown: Mapping[str, str]) -> dict[str, str]:
    """Return a provider's parameters for one notice, cut to their length; what the notice does not have is a dash."""
    return {
        name: _cut(shown.get(parameter.source) or "-", parameter.most)
        for name, parameter in template.parameters.items()
    }


def _cut(words: str, most: int) -> str:
    return words if len(words) <= most else words[: max(1, most - 1)] + ("…" if most > 1 else "")


# --- Who would hear of an SOS

_ALONE = text("""
    select count(distinct u.id) from users u
    join memberships m on m.user_id = u.id and m.ended_at is null and m.role = any (:roles)
    where u.state = 'active'
      and not (u.phone is not null and :by_phone)
      and not exists (select 1 from addresses a left join sessions s on s.id = a.session_id
                      where a.user_id = u.id and a.dead_at is null and a.channel = any (:channels)
                        and (a.session_id is null or (s.revoked_at is null and s.expires_at > :now)))
""")


def warning(uow: UnitOfWork) -> str | None:
    """Say in one sentence whom of the town an SOS would reach by the open app alone; None when there is nobody."""
    able = [c for c in ORDER[NoticeProfile.CN] if _settings.carries(c, NoticeKind.SOS_RAISED)]
    if not able:
        return (
            "An SOS would reach everybody by the open app alone, because no channel beside it can carry one: see"
            " Notices in docs/operator.md."
        )
    count = uow.session.execute(
        _ALONE,
        {
            "roles": [Role.OFFICER, Role.DISPATCHER, Role.SUPERVISOR],
            "by_phone": C.SMS in able or C.VOICE in able,
            "channels": [str(channel) for channel in able],
            "now": uow.now,
        },
    ).scalar_one()
    if not count:
        return None
    return (
        f"An SOS would reach {count} officers and dispatchers by the open app alone, because they have no address on"
        f" {', '.join(able)}."
    )
