"""Web Push (RFC 8030, 8291, 8292): encrypted messages to browsers, through the push services of their makers.

An address is an endpoint that a browser brings, so it is somebody else's word where we send to: only services of the
known makers are called, and those that the operator names.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Collection
from pathlib import Path

import requests
from pywebpush import WebPushException, webpush

from backend.adapters.gateway import retry_after_s
from backend.core import clock
from backend.core.vocabulary import NoticeChannel
from notifications.channels.channel import TIMEOUT_S, AddressDead, Message, Rejected, Target, TryLater
from notifications.channels.subscriptions import is_service, vapid
from notifications.kinds import RULES, URGENT

MOST_KEPT_S = 3600


class Webpush:
    """Messages signed with the installation's own key."""

    name = NoticeChannel.WEBPUSH

    def __init__(self, contact: str, key_file: Path, services: Collection[str]) -> None:
        self._contact = contact
        self._key = vapid(key_file)
        self._services = services

    def send(self, message: Message, target: Target) -> str | None:
        if not is_service(target.token, self._services):
            raise AddressDead("webpush_unknown_service")
        session = requests.Session()
        session.max_redirects = 0  # A service that sends us elsewhere sends us where nobody has looked.
        try:
            answer = webpush(
                {"endpoint": target.token, "keys": dict(target.keys)},
                data=json.dumps(payload(message), ensure_ascii=False, separators=(",", ":")),
                vapid_private_key=self._key,
                vapid_claims={"sub": self._contact},
                ttl=message.seconds_left(clock.now(), MOST_KEPT_S),
                headers={
                    "Urgency": "high" if message.urgent else "normal",
                    # Of messages with one topic the service keeps the newest for a browser that is off.
                    "Topic": urlsafe_b64encode(message.event_id.bytes).decode().rstrip("="),
                },
                timeout=TIMEOUT_S,
                requests_session=session,
            )
        except WebPushException as error:
            raise _meaning(error.response) from error
        except requests.RequestException as error:
            raise TryLater("webpush_unanswered") from error
        except (ValueError, TypeError) as error:  # Keys that are none.
            raise AddressDead("webpush_bad_keys") from error
        finally:
            session.close()
        return str(getattr(answer, "headers", {}).get("Location") or "") or None


def _meaning(response: requests.Response | None) -> Exception:
    if response is None:
        return AddressDead("webpush_bad_keys")
    if response.status_code in (404, 410):
        return AddressDead("webpush_gone")
    after_s = retry_after_s(response.headers.get("Retry-After"))
    if response.status_code == 429:
        return TryLater("webpush_busy", after_s)
    if response.status_code >= 500:
        return TryLater("webpush_failed", after_s)
    return Rejected("webpush_refused")


def payload(message: Message) -> dict[str, str | bool | None]:
    """Return what the service worker gets; it shows ``title`` and ``body`` once for each ``event_id``.

    ``urgent`` is somebody in danger: such a notification stands until it is touched.
    """
    return {
        "event_id": str(message.event_id),
        "kind": str(message.kind),
        "subject_kind": message.subject_kind,
        "subject_id": str(message.subject_id),
        "title": message.title,
        "body": message.body,
        "link": message.link,
        "language": message.language,
        "urgent": RULES[message.kind].priority == URGENT,
    }
