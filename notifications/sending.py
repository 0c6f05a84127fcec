"""Handing a prepared delivery to its channel, while no transaction is open."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from backend.core import clock
from backend.core.notice_settings import NoticeSettings
from backend.core.vocabulary import NoticeChannel
from notifications.channels.channel import AddressDead, Channel, NotTakenError, TryLater
from notifications.delivering import Sendable

SLOWEST_S = 20.0
"""What the slowest channel takes for one address, its provider's whole time-out included."""


@dataclass(frozen=True)
class Outcome:
    """What became of a delivery: taken, or the code of why not.

    Attributes:
        final: it will never be taken.
        after_s: not again before.
        all_wait: nothing of the channel is taken before then.
        dead: addresses at which nobody is reached any more, each with the reason.
    """

    taken: bool
    ref: str | None = None
    code: str | None = None
    final: bool = False
    after_s: float | None = None
    all_wait: bool = False
    dead: tuple[tuple[UUID, str], ...] = ()


def deliver(channel: Channel, sendable: Sendable) -> Outcome:
    """Send one message to every address of its recipient on the channel.

    It is taken when one address took it: whoever has two phones is reached, and the other phone's copy is not worth
    sending the first one's again. For the same reason no further address is tried once the lease may end meanwhile:
    another worker would begin anew.
    """
    ref: str | None = None
    taken = False
    later: TryLater | None = None
    refusal: NotTakenError | None = None
    dead: list[tuple[UUID, str]] = []
    for target in sendable.targets:
        if (refusal or later or taken) and not in_time(sendable):
            later = later or (TryLater(refusal.code) if refusal else None)
            break
        try:
            got = channel.send(sendable.message, target)
            ref, taken = ref or got, True
        except AddressDead as error:
            refusal = refusal or error
            if target.address_id is not None:
                dead.append((target.address_id, error.code))
        except TryLater as error:
            later = later or error
            if error.all_wait:
                break
        except NotTakenError as error:
            refusal = error
    if taken:
        return Outcome(True, ref=ref, dead=tuple(dead))
    if later is not None:
        return Outcome(
            False, code=later.code, after_s=later.after_s, all_wait=later.all_wait, dead=tuple(dead)
        )
    assert refusal is not None
    return Outcome(False, code=refusal.code, final=True, dead=tuple(dead))


def in_time(sendable: Sendable) -> bool:
    """Say whether one more message will have been sent before the lease ends."""
    return clock.now() + timedelta(seconds=SLOWEST_S) <= sendable.claimed.lease_ends_at


class Channels:
    """The channels of this process, each made when it is first needed: some import much."""

    def __init__(self, settings: NoticeSettings) -> None:
        self._settings = settings
        self._made: dict[NoticeChannel, Channel] = {}
        self._lock = threading.Lock()

    def get(self, name: NoticeChannel) -> Channel:
        """Return a channel that is set up."""
        with self._lock:
            if name not in self._made:
                self._made[name] = MAKERS[name](self._settings)
            return self._made[name]


def _fcm(settings: NoticeSettings) -> Channel:
    from notifications.channels.fcm import Fcm

    assert settings.fcm_credentials is not None
    return Fcm(settings.fcm_credentials)


def _webpush(settings: NoticeSettings) -> Channel:
    from notifications.channels.webpush import Webpush

    assert settings.webpush_contact is not None
    assert settings.vapid_key is not None
    return Webpush(settings.webpush_contact, settings.vapid_key, settings.webpush_services)


def _wecom(settings: NoticeSettings) -> Channel:
    from notifications.channels.wecom import Wecom

    assert settings.wecom is not None
    return Wecom(settings.wecom)


def _robot(settings: NoticeSettings) -> Channel:
    from notifications.channels.wecom import WecomRobot

    return WecomRobot()


def _mini(settings: NoticeSettings) -> Channel:
    from notifications.channels.wechat import Wechat

    assert settings.wechat_mini is not None
    return Wechat(NoticeChannel.WECHAT_MINI, settings.wechat_mini)


def _service(settings: NoticeSettings) -> Channel:
    from notifications.channels.wechat import Wechat

    assert settings.wechat_service is not None
    return Wechat(NoticeChannel.WECHAT_SERVICE, settings.wechat_service)


def _sms(settings: NoticeSettings) -> Channel:
    from notifications.channels.phone import Phone

    assert settings.sms is not None
    return Phone(NoticeChannel.SMS, settings.sms)


def _voice(settings: NoticeSettings) -> Channel:
    from notifications.channels.phone import Phone

    assert settings.voice is not None
    return Phone(NoticeChannel.VOICE, settings.voice)


def _email(settings: NoticeSettings) -> Channel:
    from notifications.channels.mail import Mail

    assert settings.mail is not None
    return Mail(settings.mail)


MAKERS: dict[NoticeChannel, Callable[[NoticeSettings], Channel]] = {
    NoticeChannel.FCM: _fcm,
    NoticeChannel.WEBPUSH: _webpush,
    NoticeChannel.WECOM: _wecom,
    NoticeChannel.WECOM_ROBOT: _robot,
    NoticeChannel.WECHAT_MINI: _mini,
    NoticeChannel.WECHAT_SERVICE: _service,
    NoticeChannel.SMS: _sms,
    NoticeChannel.VOICE: _voice,
    NoticeChannel.EMAIL: _email,
}
