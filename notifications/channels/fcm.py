"""Firebase Cloud Messaging. The one module that imports firebase_admin, and imported by whoever sends alone.

An address is a Firebase installation id (FID).
"""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from pathlib import Path

import firebase_admin
from firebase_admin import credentials, exceptions, messaging
from google.auth.exceptions import GoogleAuthError

from backend.adapters.gateway import retry_after_s
from backend.core import clock
from backend.core.vocabulary import NoticeChannel
from notifications.channels.channel import AddressDead, Message, Rejected, Target, TryLater

TIMEOUT_S = 5
MOST_KEPT_S = 3600
GONE = (messaging.UnregisteredError, messaging.SenderIdMismatchError)
NEVER = (exceptions.InvalidArgumentError, exceptions.PermissionDeniedError, messaging.ThirdPartyAuthError)


class Fcm:
    """Messages of one Firebase project."""

    name = NoticeChannel.FCM

    def __init__(self, service_account: Path) -> None:
        project = json.loads(service_account.read_text(encoding="utf-8"))["project_id"]
        with contextlib.suppress(ValueError):
            firebase_admin.delete_app(firebase_admin.get_app("xungeng"))
        self._app = firebase_admin.initialize_app(
            credentials.Certificate(str(service_account)),
            {"projectId": project, "httpTimeout": TIMEOUT_S},
            name="xungeng",
        )
        # The SDK would sleep through a Retry-After, four times, with the notice on lease; the outbox tries again.
        for adapter in messaging._get_messaging_service(self._app)._client.session.adapters.values():
            adapter.max_retries = adapter.max_retries.new(total=0)

    def send(self, message: Message, target: Target) -> str | None:
        kept_s = message.seconds_left(clock.now(), MOST_KEPT_S)
        mark = str(message.event_id)
        wanted = messaging.Message(
            fid=target.token,
            data={
                "event_id": mark,
                "kind": str(message.kind),
                "subject_kind": message.subject_kind,
                "subject_id": str(message.subject_id),
                **({"link": message.link} if message.link else {}),
            },
            notification=messaging.Notification(title=message.title, body=message.body),
            # A repeat with the same tag takes the place of the first one on the screen.
            android=messaging.AndroidConfig(
                priority="high" if message.urgent else "normal",
                ttl=timedelta(seconds=kept_s),
                notification=messaging.AndroidNotification(tag=mark),
            ),
            apns=messaging.APNSConfig(
                headers={
                    "apns-collapse-id": mark,
                    "apns-priority": "10" if message.urgent else "5",
                    "apns-expiration": str(int(clock.now().timestamp()) + kept_s),
                },
                payload=messaging.APNSPayload(aps=messaging.Aps(sound="default" if message.urgent else None)),
            ),
        )
        try:
            return str(messaging.send(wanted, app=self._app))
        except GONE as error:
            raise AddressDead("fcm_unregistered") from error
        except messaging.QuotaExceededError as error:
            raise TryLater("fcm_busy", _after_s(error), all_wait=True) from error
        except NEVER as error:
            raise Rejected("fcm_refused") from error
        except exceptions.ResourceExhaustedError as error:
            raise TryLater("fcm_busy", _after_s(error), all_wait=True) from error
        except exceptions.FirebaseError as error:
            raise TryLater("fcm_failed", _after_s(error)) from error
        except GoogleAuthError as error:
            raise TryLater("fcm_no_token", 60.0, all_wait=True) from error


def _after_s(error: exceptions.FirebaseError) -> float | None:
    response = error.http_response
    return retry_after_s(response.headers.get("Retry-After")) if response is not None else None
