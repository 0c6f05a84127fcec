"""Text messages and voice calls, through the operator's HTTP gateway, by a provider's template."""

from __future__ import annotations

from backend.adapters import gateway
from backend.core.notice_settings import Gateway
from backend.core.vocabulary import NoticeChannel
from notifications.channels.channel import TIMEOUT_S, AddressDead, Message, Rejected, Target, TryLater


class Phone:
    """One of the two gateways.

    It is sent ``{"phone", "template", "signature", "parameters", "event_id"}``. 2xx: taken; 404 and 410: there is no
    such phone any more; 429 and 5xx: later; anything else: never.
    """

    def __init__(self, name: NoticeChannel, settings: Gateway) -> None:
        self.name = name
        self._settings = settings

    def send(self, message: Message, target: Target) -> str | None:
        body = {
            "phone": target.token,
            "template": message.template_id,
            "signature": message.signature,
            "parameters": dict(message.parameters),
            "event_id": str(message.event_id),
        }
        try:
            answer = gateway.post(
                self._settings.url,
                self._settings.token,
                body,
                timeout_s=TIMEOUT_S,
                key=str(message.delivery_id),
            )
        except gateway.Unanswered:
            raise TryLater(f"{self.name}_unanswered") from None
        if answer.taken:
            return answer.ref
        if answer.status == 429:
            raise TryLater(f"{self.name}_busy", answer.retry_after_s, all_wait=True)
        if answer.status >= 500:
            raise TryLater(f"{self.name}_failed", answer.retry_after_s)
        if answer.status in (404, 410):
            raise AddressDead(f"{self.name}_gone")
        raise Rejected(f"{self.name}_refused")
