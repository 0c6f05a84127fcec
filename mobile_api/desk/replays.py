"""Replays of officers' tracks, and their export. Each states a reason, which the officer can read."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from flask import Response
from marshmallow import Schema, fields, validate

from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience
from mobile_api import limits
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, line, segments
from mobile_api.files import download
from workflows import replays

blp = Door("replays", Audience.DESK, "", "Where officers were over a chosen time.")
REASON = {"description": "Why you look. It is written down, and the officer can read it."}


class DeskReplayRequestSchema(Schema):
    """Whom, when and why: officers by id, or an area."""

    officer_ids = fields.List(
        fields.UUID(), load_default=None, allow_none=True, validate=validate.Length(1, 200)
    )
    area_id = fields.UUID(load_default=None, allow_none=True)
    since = Moment(required=True, data_key="from")
    until = Moment(required=True, data_key="to")
    reason = line(200, least=2, required=True, metadata=REASON)


class DeskReplayTrackSchema(Schema):
    """One officer's part of a replay."""

    officer_id = fields.UUID(required=True)
    display_name = fields.String(required=True)
    call_sign = fields.String(allow_none=True, required=True)
    segments = segments("Points [lon, lat, epoch_s, speed_mps]; between two segments is a gap.")
    fix_count = fields.Integer(required=True, metadata={"description": "How many fixes there are."})
    length_m = fields.Float(required=True)
    thinned = fields.Boolean(
        required=True, metadata={"description": "Whether fewer points are given than there are."}
    )


class DeskReplaySchema(Schema):
    """A replay; its id stands in the disclosures that it wrote."""

    id = fields.UUID(required=True)
    since = Moment(required=True, data_key="from")
    until = Moment(required=True, data_key="to")
    tracks = fields.List(fields.Nested(DeskReplayTrackSchema), required=True)
    simplified = fields.Boolean(
        required=True,
        metadata={"description": "Whether tracks of closed days are among them, without speeds."},
    )


class DeskExportQuerySchema(Schema):
    """When and why."""

    since = Moment(required=True, data_key="from")
    until = Moment(required=True, data_key="to")
    reason = line(200, least=2, required=True, metadata=REASON)


@blp.look(
    "/replays",
    may=("see", "track"),
    body=DeskReplayRequestSchema,
    answers=DeskReplaySchema,
    refuses=(404, 422),
)
def create_replay(uow: UnitOfWork, actor: Actor, body: dict[str, Any]) -> Any:
    """Look at where officers were. Flagged fixes (mock, impossible speed, inaccurate) are not drawn."""
    return encoded(replays.look(uow, actor, **body))


def encoded(replay: replays.Replay) -> Response:
    """Return the answer as ``DeskReplaySchema`` tells it, its points encoded beside the sockets."""
    document = DeskReplaySchema(exclude=("tracks.segments",)).dump(replay)
    body = replays.drawing.run(_with_segments, document, replay.tracks)
    return Response(body, 201, mimetype="application/json")


def _with_segments(document: dict[str, Any], tracks: Sequence[replays.OfficerTrack]) -> bytes:
    for told, track in zip(document["tracks"], tracks, strict=True):
        told["segments"] = msgspec.Raw(msgspec.json.encode(track.segments))
    return msgspec.json.encode(document)


@blp.query(
    "/officers/<uuid:officer_id>/track.gpx",
    may=("export", "track"),
    arguments=DeskExportQuerySchema,
    limit=limits.HEAVY,
    media="application/gpx+xml",
    refuses=(422,),
)
def export_track(uow: UnitOfWork, actor: Actor, officer_id: UUID, query: dict[str, Any]) -> Response:
    """Export an officer's fixes as GPX 1.1, flagged ones included and marked. The export is written down."""
    body = replays.export(uow, actor, officer_id, **query)
    return download(body, "application/gpx+xml", f"track-{officer_id}.gpx")
