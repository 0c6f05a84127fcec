"""Refusals: what a workflow raises when the answer is no, and what it means on the wire.

A refusal carries a literal, documented ``code`` that clients act on and a sentence that people read. The HTTP layer
turns it into RFC 9457 ``application/problem+json`` (``mobile_api.problems``); nothing here knows about HTTP frameworks.
"""

from collections.abc import Iterable, Mapping
from typing import Any


class Refusal(Exception):
    """A request that is understood and declined. ``extra`` is merged into the problem document."""

    status = 400
    code = "refused"
    title = "The request was refused."

    def __init__(self, code: str | None = None, detail: str | None = None, **extra: Any) -> None:
        super().__init__(detail or code or self.code)
        self.code = code or self.code
        self.detail = detail or self.title
        self.extra = extra

    @property
    def headers(self) -> Mapping[str, str]:
        """HTTP headers that belong to the refusal."""
        after = self.extra.get("retry_after_s")
        return {"Retry-After": str(max(1, int(after)))} if after is not None else {}


class Unreadable(Refusal):
    """400: the request cannot be read at all."""

    status, code, title = 400, "unreadable", "The request could not be read."


class Unauthenticated(Refusal):
    """401: the caller has not shown who he is."""

    status, code, title = 401, "unauthenticated", "Please sign in."

    @property
    def headers(self) -> Mapping[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class Forbidden(Refusal):
    """403: the caller's role does not include this."""

    status, code, title = 403, "forbidden", "Your role does not include this."


class NotVisible(Refusal):
    """404: it does not exist, or it is not yours; the two are told alike."""

    status, code, title = 404, "not_found", "Nothing is here."


class Conflict(Refusal):
    """409: the request contradicts what is stored."""

    status, code, title = 409, "conflict", "This contradicts what is stored."


class WrongState(Conflict):
    """409: the row is in a state that does not allow the action; ``current`` and ``actions`` say what would."""

    code, title = "wrong_state", "This is not possible in the present state."

    def __init__(self, current: str, actions: Iterable[str], detail: str | None = None) -> None:
        super().__init__("wrong_state", detail, current=current, actions=sorted(actions))


class Stale(Refusal):
    """412: what the caller read has been changed since; he reads it anew and decides again."""

    status, code, title = 412, "stale", "Somebody changed this meanwhile."


class TooLarge(Refusal):
    """413: more than the route takes."""

    status, code, title = 413, "too_large", "The request is too large."


class Gone(Refusal):
    """410: it was here, and will not be again."""

    status, code, title = 410, "gone", "This is here no more."


class OutOfRange(Refusal):
    """416: the part that is asked for lies beyond the end."""

    status, code, title = 416, "range_not_satisfiable", "This part does not exist."

    def __init__(self, length: int) -> None:
        """Say how long the whole is, in bytes."""
        super().__init__()
        self.length = length

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Content-Range": f"bytes */{self.length}"}


class Unsupported(Refusal):
    """415: a content type or encoding that the route does not read."""

    status, code, title = 415, "unsupported_media_type", "This content type is not read here."


class Invalid(Refusal):
    """422: readable, and not acceptable; ``errors`` names each field."""

    status, code, title = 422, "invalid", "Some fields are not acceptable."

    def __init__(self, detail: str | None = None, code: str | None = None, /, **errors: Any) -> None:
        super().__init__(code or "invalid", detail, **({"errors": errors} if errors else {}))


class Locked(Refusal):
    """423: somebody else is at it just now."""

    status, code, title = 423, "locked", "Somebody else is at it just now; please try again."


class TooMany(Refusal):
    """429: too often."""

    status, code, title = 429, "too_many_requests", "Too many requests; please wait."

    def __init__(self, retry_after_s: float, detail: str | None = None, code: str | None = None) -> None:
        super().__init__(code or "too_many_requests", detail, retry_after_s=max(1, int(retry_after_s)))


class Unavailable(Refusal):
    """503: not now; the caller keeps what he has and comes again."""

    status, code, title = 503, "unavailable", "The service is busy or a part of it is down; please try again."

    def __init__(self, detail: str | None = None, retry_after_s: float = 2, code: str | None = None) -> None:
        super().__init__(code or "unavailable", detail, retry_after_s=max(1, int(retry_after_s)))


class Full(Refusal):
    """507: there is no room for it; the operator has to make some."""

    status, code, title = 507, "storage_full", "There is no room left for this."
