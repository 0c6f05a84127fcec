"""The operator's HTTP gateways for text messages and calls: signed JSON out, 2xx back when it was taken.

``X-Xungeng-Signature: t=<seconds>,v1=<hex>`` is the HMAC-SHA256 of ``<seconds>.<body>`` with the gateway's token, and
``Idempotency-Key`` the message's own, so that a gateway can tell ours from others' and a repeat from a new one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from backend.core import clock


class Unanswered(Exception):
    """The gateway was not reached, or did not answer in time."""


@dataclass(frozen=True)
class Answer:
    """What the gateway said."""

    status: int
    ref: str | None
    retry_after_s: float | None

    @property
    def taken(self) -> bool:
        return 200 <= self.status < 300


def post(
    url: str, token: str | None, body: Mapping[str, Any], *, timeout_s: float, key: str | None = None
) -> Answer:
    """Hand one message over.

    Raises:
        Unanswered: nobody knows whether it was taken.
    """
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Idempotency-Key"] = key
    if token:
        headers["Authorization"] = f"Bearer {token}"
        headers["X-Xungeng-Signature"] = signature(token, content, int(clock.now().timestamp()))
    try:
        response = httpx.post(url, content=content, headers=headers, timeout=timeout_s)
    except httpx.HTTPError as error:
        raise Unanswered(type(error).__name__) from error
    return Answer(response.status_code, _ref(response), retry_after_s(response.headers.get("Retry-After")))


def signature(token: str, content: bytes, at_s: int) -> str:
    """Return the signature of a body sent at ``at_s`` (seconds since 1970)."""
    code = hmac.new(token.encode(), f"{at_s}.".encode() + content, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={code}"


def retry_after_s(header: str | None) -> float | None:
    """Return the seconds of a ``Retry-After``; the form with a date is not used by those who are asked here."""
    try:
        return min(3600.0, max(0.0, float(header))) if header else None
    except ValueError:
        return None


def _ref(response: httpx.Response) -> str | None:
    try:
        found = response.json()
    except ValueError:
        return None
    return str(found["id"])[:200] if isinstance(found, dict) and "id" in found else None
