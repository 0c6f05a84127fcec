"""Files given out: always as a download with a name of ours, never to be shown in place."""

from pathlib import Path
from uuid import UUID

from flask import Response, current_app, request

from backend.adapters import pictures, recordings, storage
from backend.adapters.storage import Store
from backend.core.errors import OutOfRange
from backend.core.vocabulary import EvidenceKind
from workflows.evidence import Content

EXTENSIONS = pictures.EXTENSIONS | recordings.EXTENSIONS


def download(body: bytes, media_type: str, name: str) -> Response:
    """Return a file with a plain ASCII name (RFC 6266)."""
    response = Response(body, mimetype=media_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


def original(found: Content) -> Response:
    """Return evidence as it was taken: a file to keep, in which nothing is shown in place."""
    assert found.evidence.media_type is not None
    kind = "photo" if found.evidence.kind == EvidenceKind.IMAGE else found.evidence.kind
    name = f"{kind}-{found.evidence.id}.{EXTENSIONS[found.evidence.media_type]}"
    return _evidence(found, "application/octet-stream", name, found.evidence.length)


def preview(found: Content) -> Response:
    """Return a photo made smaller."""
    return _evidence(found, found.media_type, f"preview-{found.evidence.id}.jpg")


def played(found: Content) -> Response:
    """Return a recording to be played in place: one range of it where one is asked for, and otherwise all of it.

    Raises:
        OutOfRange: the range lies beyond the end.
    """
    length, etag = found.evidence.length, found.sha256.hex()
    assert length is not None
    start, stop = _range(length, etag)
    store: Store = current_app.extensions["xungeng.store"]
    parts = store.read(found.evidence.town_id, found.sha256, start=start, stop=stop)
    response = Response(parts, mimetype=found.media_type)
    response.content_length = stop - start
    response.set_etag(etag)
    response.headers["Accept-Ranges"] = "bytes"
    if stop - start < length:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{length}"
    return _guarded(response)


def _range(length: int, etag: str) -> tuple[int, int]:
    """Return where what is asked for begins and ends. Several ranges, or none that can be read, ask for all of it."""
    asked, condition = request.range, request.if_range
    fits = condition.date is None and condition.etag in (None, etag)
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1 or not fits:
        return 0, length
    found = asked.range_for_length(length)
    if found is None or found[0] is None or found[1] is None:
        raise OutOfRange(length)
    return found[0], found[1]


def bundle(path: Path, export_id: UUID, length: int) -> Response:
    """Return a bundle of evidence, a part at a time."""
    response = Response(storage.reading(path), mimetype="application/zip")
    response.content_length = length
    response.headers["Content-Disposition"] = f'attachment; filename="evidence-{export_id}.zip"'
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return response


def _evidence(found: Content, media_type: str, name: str, length: int | None = None) -> Response:
    """Return what somebody has sent: for this caller alone, kept nowhere, and nothing in it runs or is guessed at.

    Whoever opens it by its address gets a file; our own clients read it with their token and show the pixels.
    """
    parts = current_app.extensions["xungeng.store"].read(found.evidence.town_id, found.sha256)
    response = Response(parts, mimetype=media_type)
    if length is not None:
        response.content_length = length
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return _guarded(response)


def _guarded(response: Response) -> Response:
    """Let what somebody has sent be kept by nobody, run nothing, and be used by our own pages alone."""
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return response
