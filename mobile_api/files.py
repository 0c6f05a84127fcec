"""Files given out: always as a download with a name of ours, never to be shown in place."""

from collections.abc import Iterable

from flask import Response


def download(body: bytes, media_type: str, name: str) -> Response:
    """Return a file with a plain ASCII name (RFC 6266)."""
    response = Response(body, mimetype=media_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


def evidence(parts: Iterable[bytes], media_type: str, name: str, length: int | None = None) -> Response:
    """Return what somebody has sent: for this caller alone, kept nowhere, and nothing in it runs or is guessed at.

    Whoever opens it by its address gets a file; our own clients read it with their token and show the pixels.
    """
    response = Response(parts, mimetype=media_type)
    if length is not None:
        response.content_length = length
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return response
