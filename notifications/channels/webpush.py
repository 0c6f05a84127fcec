"""Web Push (RFC 8030, 8291, 8292): encrypted messages to browsers, through the push services of their makers.

An address is an endpoint that a browser brings, so it is somebody else's word where we send to: only services of the
known makers are called, and those that the operator names.
"""

from __future__ import annotations

import json
import os
import tempfile
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import requests
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02
from pywebpush import WebPushException, webpush

from backend.adapters.gateway import retry_after_s
from backend.core import clock
from backend.core.vocabulary import NoticeChannel
from notifications.channels.channel import TIMEOUT_S, AddressDead, Message, Rejected, Target, TryLater

SERVICES = (
    "fcm.googleapis.com",
    "updates.push.services.mozilla.com",
    "web.push.apple.com",
    ".push.apple.com",
    ".notify.windows.com",
)
"""Hosts of push services; one that begins with a dot stands for all below it."""
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


def payload(message: Message) -> dict[str, str | None]:
    """Return what the service worker gets; it shows ``title`` and ``body`` once for each ``event_id``."""
    return {
        "event_id": str(message.event_id),
        "kind": str(message.kind),
        "subject_kind": message.subject_kind,
        "subject_id": str(message.subject_id),
        "title": message.title,
        "body": message.body,
        "link": message.link,
    }


def is_service(endpoint: str, more: Collection[str] = ()) -> bool:
    """Say whether an endpoint is a push service's. ``more`` are further hosts, or whole origins such as
    ``http://127.0.0.1:9000`` for a service of one's own."""
    try:
        parts = urlsplit(endpoint)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return False
    if parts.username or parts.password:
        return False
    if f"{parts.scheme}://{parts.netloc}" in more:
        return True
    if parts.scheme != "https" or port not in (None, 443):
        return False
    known = [one for one in (*SERVICES, *more) if "://" not in one]
    return any(host == one or (one.startswith(".") and host.endswith(one)) for one in known)


def are_keys(keys: Mapping[str, str]) -> bool:
    """Say whether a subscription's keys have the form of keys: a point of the curve, and sixteen bytes."""
    try:
        sizes = {
            name: len(urlsafe_b64decode(value + "=" * (-len(value) % 4))) for name, value in keys.items()
        }
    except (ValueError, TypeError):
        return False
    return sizes == {"p256dh": 65, "auth": 16}


def vapid(path: Path) -> Vapid02:
    """Return the installation's key, made at the first use and readable by nobody else (0600)."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = Vapid02()
        made.generate_keys()
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(made.private_pem())
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)  # Of several processes at once, the first one's key stays.
            except FileExistsError:
                pass
        finally:
            Path(temporary).unlink()
    return Vapid02.from_file(str(path))


def public_key(path: Path) -> str:
    """Return the key that browsers subscribe with (``applicationServerKey``), base64url."""
    point = vapid(path).public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return urlsafe_b64encode(point).decode().rstrip("=")
