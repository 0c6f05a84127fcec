"""Imported tracks: GPX in, replay, GPX out."""

from typing import Any
from uuid import UUID

from flask import Response
from marshmallow import Schema, fields

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience
from mobile_api import limits
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, line, segments
from mobile_api.files import download
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import imported_tracks

blp = Door("imported_tracks", Audience.DESK, "/imported-tracks", "Tracks that came as files.")
GPX = "application/gpx+xml"


class DeskImportedTrackSchema(Schema):
    """An imported track."""

    id = fields.UUID(required=True)
    name = fields.String(required=True)
    officer_id = fields.UUID(allow_none=True, required=True)
    officer = fields.String(allow_none=True, required=True)
    point_count = fields.Integer(required=True)
    started_at = Moment(required=True)
    ended_at = Moment(required=True)
    length_m = fields.Float(required=True)
    created_at = Moment(required=True)
    actions = fields.List(fields.String(), required=True)


class DeskImportedTrackPointsSchema(DeskImportedTrackSchema):
    """An imported track with its points."""

    segments = segments("Points [lon, lat, epoch_s, speed_mps], a list for each segment of the file.")


class DeskImportedTracksSchema(Schema):
    """What one file brought."""

    items = fields.List(fields.Nested(DeskImportedTrackSchema), required=True)


class DeskImportQuerySchema(Schema):
    """Whose track it is, and what to call it."""

    officer_id = fields.UUID(load_default=None)
    name = line(200, load_default=None)


class DeskImportedTrackLookSchema(Schema):
    """Why."""

    reason = line(
        200, least=2, load_default=None,
        metadata={"description": "Needed where the track is an officer's: it is written down, and he can read it."},
    )  # fmt: skip


def _document(shown: imported_tracks.Shown) -> dict[str, Any]:
    track = shown.track
    return {
        "id": track.id,
        "name": track.name,
        "officer_id": track.officer_id,
        "officer": shown.officer,
        "point_count": track.point_count,
        "started_at": track.started_at,
        "ended_at": track.ended_at,
        "length_m": track.length_m,
        "created_at": track.created_at,
        "actions": shown.actions,
    }


@blp.command(
    "",
    may=("import", "track"),
    raw=GPX,
    prepares=lambda _claims, body: imported_tracks.read(body),
    arguments=DeskImportQuerySchema,
    answers=DeskImportedTracksSchema,
    status=201,
    limit=limits.HEAVY,
    body_limit=32 * 1024 * 1024,
)
def import_tracks(
    uow: UnitOfWork, actor: Actor, command_id: UUID, query: dict[str, Any], body: imported_tracks.Reading
) -> Any:
    """Import a GPX 1.1 document; each of its timed tracks becomes one of these.

    One that is said to be an officer's has to lie within his shifts; otherwise it is refused with `off_shift`.
    """
    made = imported_tracks.import_gpx(uow, actor, body, command_id=command_id, **query)
    return {"items": [_document(one) for one in imported_tracks.shown(uow, actor, made)]}


@blp.query(
    "",
    may=("see", "track"),
    answers=page_of(DeskImportedTrackSchema),
    arguments=PageQuerySchema,
    refuses=(422,),
)
def list_imported_tracks(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List imported tracks, newest first."""
    found = imported_tracks.page_of(
        uow, actor, after=decode_cursor(query.get("cursor")), limit=query["limit"]
    )
    return Page([_document(one) for one in imported_tracks.shown(uow, actor, found.items)], found.after)


@blp.query(
    "/<uuid:track_id>",
    may=("see", "track"),
    arguments=DeskImportedTrackLookSchema,
    answers=DeskImportedTrackPointsSchema,
    refuses=(422,),
)
def get_imported_track(
    uow: UnitOfWork, actor: Actor, track_id: UUID, query: dict[str, Any]
) -> dict[str, Any]:
    """Return an imported track with its points, thinned to what a screen shows.

    A look at an officer's states its reason and is written down.
    """
    track = imported_tracks.one(uow, actor, track_id, reason=query["reason"])
    return _document(imported_tracks.shown(uow, actor, [track])[0]) | {"segments": track.segments}


@blp.query(
    "/<uuid:track_id>.gpx",
    may=("export", "track"),
    arguments=DeskImportedTrackLookSchema,
    media=GPX,
    limit=limits.HEAVY,
    refuses=(422,),
)
def export_imported_track(uow: UnitOfWork, actor: Actor, track_id: UUID, query: dict[str, Any]) -> Response:
    """Give the track back: coordinates, elevations, times, segments, names and extensions as they came.

    With the first track of a file comes what belongs to none of its tracks. The export of an officer's states its
    reason and is written down.
    """
    _, document = imported_tracks.export(uow, actor, track_id, reason=query["reason"])
    return download(document, GPX, f"imported-{track_id}.gpx")


@blp.command("/<uuid:track_id>", may=("import", "track"), method="DELETE", refuses=())
def delete_imported_track(uow: UnitOfWork, actor: Actor, track_id: UUID, command_id: UUID) -> None:
    """Delete an imported track for good, points and file. Tracks of shifts are not deleted by hand."""
    imported_tracks.discard(uow, actor, track_id, command_id=command_id)
