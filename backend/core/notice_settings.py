"""By what an installation can reach people: the typed part of the settings that notices need.

Read by ``backend.core.config``. Nothing here is set by default, so nothing leaves an installation that was not told
where to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.core.vocabulary import NoticeChannel, NoticeKind, NoticeProfile

BY_TEMPLATE = frozenset(
    {NoticeChannel.SMS, NoticeChannel.VOICE, NoticeChannel.WECHAT_MINI, NoticeChannel.WECHAT_SERVICE}
)
"""Channels whose providers take a template's id and parameters, and no text of ours."""
PARAMETER_MOST = 20
"""Characters of a parameter where the file says nothing: what the strictest providers take."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a provider's template: what of ours it is filled with, and how long it may be."""

    source: str
    most: int = PARAMETER_MOST


@dataclass(frozen=True)
class ProviderTemplate:
    """A template as a provider has approved it."""

    id: str
    parameters: Mapping[str, Parameter]
    signature: str | None = None


@dataclass(frozen=True)
class Gateway:
    """An HTTP gateway of the operator's; ``token`` signs what is sent to it."""

    url: str
    token: str | None


@dataclass(frozen=True)
class WecomApp:
    """An application of a WeCom (企业微信) corporation."""

    corp_id: str
    agent_id: int
    secret: str
    base: str | None = None


@dataclass(frozen=True)
class WechatApp:
    """A mini program or a service account (服务号)."""

    app_id: str
    secret: str
    base: str | None = None


@dataclass(frozen=True)
class Mail:
    """A server that takes mail, and whom it is from."""

    host: str
    port: int
    sender: str
    user: str | None = None
    password: str | None = None
    tls: bool = True


Templates = Mapping[NoticeChannel, Mapping[NoticeKind, ProviderTemplate]]


@dataclass(frozen=True)
class NoticeSettings:
    """Every channel that the operator has set up; None where he has not."""

    profile: NoticeProfile | None = None
    """None: by the town's language, ``cn`` where it is zh-CN."""
    fcm_credentials: Path | None = None
    webpush_contact: str | None = None
    """Whom a push service may write to; setting it switches Web Push on."""
    webpush_services: tuple[str, ...] = ()
    """Hosts of push services beside those of the browsers' makers."""
    vapid_key: Path | None = None
    wecom: WecomApp | None = None
    wecom_robots: Mapping[str, str] = field(default_factory=dict)
    """By the town's code the webhook of its desk's group."""
    wechat_mini: WechatApp | None = None
    wechat_service: WechatApp | None = None
    sms: Gateway | None = None
    voice: Gateway | None = None
    mail: Mail | None = None
    templates: Templates = field(default_factory=dict)
    public_url: str | None = None

    @property
    def configured(self) -> frozenset[NoticeChannel]:
        """The channels that can carry something."""
        there = {
            NoticeChannel.FCM: self.fcm_credentials,
            NoticeChannel.WEBPUSH: self.webpush_contact,
            NoticeChannel.WECOM: self.wecom,
            NoticeChannel.WECOM_ROBOT: self.wecom_robots,
            NoticeChannel.WECHAT_MINI: self.wechat_mini,
            NoticeChannel.WECHAT_SERVICE: self.wechat_service,
            NoticeChannel.SMS: self.sms,
            NoticeChannel.VOICE: self.voice,
            NoticeChannel.EMAIL: self.mail,
        }
        return frozenset(
            channel
            for channel, settings in there.items()
            if settings and (channel not in BY_TEMPLATE or self.templates.get(channel))
        )

    def carries(self, channel: NoticeChannel, kind: NoticeKind) -> bool:
        """Say whether the channel can carry this kind: it is set up, and has a template where it needs one."""
        return channel in self.configured and (
            channel not in BY_TEMPLATE or kind in self.templates.get(channel, {})
        )

    def template(self, channel: NoticeChannel, kind: NoticeKind) -> ProviderTemplate:
        """Return the provider's template for a kind that the channel carries."""
        return self.templates[channel][kind]


def read_templates(text: str) -> Templates:
    """Read the operator's file of provider templates: ``{channel: {kind: {id, signature, parameters}}}``.

    A parameter is the name of one of ours, or ``{"from": name, "most": characters}``.

    Raises:
        ValueError: the text is one sentence about the first thing that is not in order.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from None
    found: dict[NoticeChannel, dict[NoticeKind, ProviderTemplate]] = {}
    for channel, kinds in _mapping(document, "the file").items():
        if channel not in BY_TEMPLATE:
            raise ValueError(
                f"names the channel {channel!r}; templates are for {', '.join(sorted(BY_TEMPLATE))}"
            )
        for kind, template in _mapping(kinds, channel).items():
            where = f"{channel} {kind}"
            if kind not in set(NoticeKind):
                raise ValueError(f"names the kind {kind!r}, which no notice has")
            found.setdefault(NoticeChannel(channel), {})[NoticeKind(kind)] = _template(template, where)
    return found


def _template(document: Any, where: str) -> ProviderTemplate:
    fields = _mapping(document, where)
    if unknown := fields.keys() - {"id", "signature", "parameters"}:
        raise ValueError(f"has {', '.join(sorted(unknown))} under {where}")
    parameters = {
        name: _parameter(value, f"{where} {name}")
        for name, value in _mapping(fields.get("parameters", {}), where).items()
    }
    signature = fields.get("signature")
    return ProviderTemplate(
        _line(fields.get("id"), f"the id of {where}"),
        parameters,
        None if signature is None else _line(signature, f"the signature of {where}"),
    )


def _parameter(value: Any, where: str) -> Parameter:
    if isinstance(value, str):
        return Parameter(_line(value, where))
    fields = _mapping(value, where)
    most = fields.get("most", PARAMETER_MOST)
    if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= 500:
        raise ValueError(f"gives {where} a length that is no number from 1 to 500")
    return Parameter(_line(fields.get("from"), f"the source of {where}"), most)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"has no object for {where}")
    return value


def _line(value: Any, where: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
        raise ValueError(f"has no text for {where}")
    return value
