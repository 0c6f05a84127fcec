"""What the interfaces of WeCom and WeChat have in common: an access token to fetch and keep, errors as ``errcode``.

No library is used: the ones there are have had no release for years and cannot be pointed at another server.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from notifications.channels.channel import TIMEOUT_S, TryLater

STALE_TOKEN = frozenset({40001, 40014, 42001})
TOO_OFTEN = frozenset({45009, 45033, 45047})
BUSY = -1
RENEW_EARLY_S = 300.0


def call(method: str, url: str, *, name: str, **more: Any) -> dict[str, Any]:
    """Ask and return the answer's object, whose ``errcode`` is 0 when it is missing.

    Raises:
        TryLater: no answer, 429, 5xx, or something that is none of theirs.
    """
    try:
        response = httpx.request(method, url, timeout=TIMEOUT_S, **more)
    except httpx.HTTPError:
        raise TryLater(f"{name}_unanswered") from None
    if response.status_code == 429:
        raise TryLater(f"{name}_busy", 60.0, all_wait=True)
    if response.status_code >= 400:
        raise TryLater(f"{name}_failed")
    try:
        answer = response.json()
        return {**answer, "errcode": int(answer.get("errcode", 0))}
    except (ValueError, AttributeError, TypeError):
        raise TryLater(f"{name}_unreadable") from None


class AccessToken:
    """The token of one application, fetched when it is needed and kept until shortly before its end."""

    def __init__(self, name: str, fetch: Callable[[], Mapping[str, Any]]) -> None:
        self._name, self._fetch = name, fetch
        self._lock = threading.Lock()
        self._token, self._until = "", 0.0

    def value(self) -> str:
        """Return the token.

        Raises:
            TryLater: it is not given out; nothing of this application can be sent until it is.
        """
        with self._lock:
            if time.monotonic() >= self._until:
                answer = self._fetch()
                if answer["errcode"] or not answer.get("access_token"):
                    raise TryLater(f"{self._name}_no_token", 60.0, all_wait=True)
                lasts_s = float(answer.get("expires_in", 7200))
                self._token = str(answer["access_token"])
                self._until = time.monotonic() + max(10.0, lasts_s - RENEW_EARLY_S)
            return self._token

    def forget(self, token: str) -> None:
        """Forget a token that is refused, unless another one has been fetched meanwhile."""
        with self._lock:
            if token == self._token:
                self._until = 0.0


def with_token(token: AccessToken, name: str, ask: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Ask with the kept token, and once more with a new one when it was taken back before its time.

    Raises:
        TryLater: too often, busy, or no token.
    """
    for _ in range(2):
        value = token.value()
        answer = ask(value)
        if answer["errcode"] not in STALE_TOKEN:
            break
        token.forget(value)
    else:
        raise TryLater(f"{name}_no_token", 60.0, all_wait=True)
    if answer["errcode"] in TOO_OFTEN:
        raise TryLater(f"{name}_busy", 60.0, all_wait=True)
    if answer["errcode"] == BUSY:
        raise TryLater(f"{name}_busy")
    return answer
