"""Files given out: always as a download with a name of ours, never to be shown in place."""

from flask import Response


def download(body: bytes, media_type: str, name: str) -> Response:
    """Return a file with a plain ASCII name (RFC 6266)."""
    response = Response(body, mimetype=media_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response
