"""The draft of the IETF for resumable uploads (draft-ietf-httpbis-resumable-upload), as far as clients speak it today.

Two of its interop versions are heard: 5 (draft 03) and 6 (draft 05), in the words that tus-js-client has for them. A
request says its version in ``Upload-Draft-Interop-Version`` and whether it brings the last bytes in
``Upload-Complete``; an answer says how much is here and whether that is all. No 104 is sent: nothing between here and
the phone is sure to pass it on, and ``HEAD`` answers the same question.

The draft has no place for what evidence has to declare: that stands in ``Upload-Metadata``, as in tus.
"""

from __future__ import annotations

from flask import request

from backend.core.errors import Unreadable

INTEROP = {"5": 5, "6": 6}
PART_TYPE = "application/partial-upload"
"""What version 6 calls a part; version 5 has no name for it."""


def interop() -> int | None:
    """Return the version of the draft that the request speaks, or None where it speaks none of ours."""
    return INTEROP.get(request.headers.get("Upload-Draft-Interop-Version", ""))


def completes() -> bool | None:
    """Return whether the request brings the last bytes; None where it does not speak the draft.

    Raises:
        Unreadable: it speaks the draft and does not say it.
    """
    if interop() is None:
        return None
    said = request.headers.get("Upload-Complete", "").strip()
    if said not in ("?0", "?1"):
        raise Unreadable("unreadable", "Upload-Complete is needed: ?1 with the last bytes, or ?0.")
    return said == "?1"


def whole_length(at: int, last: bool | None) -> int | None:
    """Return how long the upload is by a request whose body begins ``at`` and is the last; None where it tells not."""
    if not last or request.content_length is None or "HTTP_TRANSFER_ENCODING" in request.environ:
        return None
    return at + request.content_length


def word(complete: bool) -> str:
    """Return a truth as a structured header has it (RFC 8941)."""
    return "?1" if complete else "?0"
