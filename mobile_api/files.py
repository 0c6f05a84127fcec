"""Files given out: always as a download with a name of ours, never to be shown in place."""

from pathlib import Path
from uuid import UUID

from flask import Response, current_app

from backend.adapters import pictures, recordings, storage
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
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return response
