"""Officers on shift: the live list, one officer, his trail."""

from typing import Any
from uuid import UUID

from flask import current_app
from marshmallow import Schema, fields, validate

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, OfficerKind
from geo.motion import Status
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, line, names, segments
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import officers

blp = Door("officers", Audience.DESK, "/officers", "Officers on shift, live.")
SEE = ("see", "officer")


class DeskAreaNameSchema(Schema):
    """An area, by name."""

    id = fields.UUID(required=True)
    name = names(required=True)


class DeskPositionSchema(Schema):
    """Where an officer was last seen, WGS-84."""

    lon = fields.Float(required=True)
    lat = fields.Float(required=True)
    fixed_at = Moment(required=True)
    received_at = Moment(required=True)
    accuracy_m = fields.Float(allow_none=True, required=True)
    speed_mps = fields.Float(allow_none=True, required=True)
    heading_deg = fields.Float(allow_none=True, required=True)
    battery_pct = fields.Float(allow_none=True, required=True)
    charging = fields.Boolean(allow_none=True, required=True)
    area_id = fields.UUID(allow_none=True, required=True, metadata={"description": "The area he is in."})


class DeskLiveOfficerSchema(Schema):
    """One officer on shift."""

    id = fields.UUID(required=True)
    display_name = fields.String(required=True)
    kind = Word(OfficerKind, allow_none=True, required=True)
    call_sign = fields.String(allow_none=True, required=True)
    area = fields.Nested(
        DeskAreaNameSchema, required=True, metadata={"description": "The area of his shift."}
    )
    shift_id = fields.UUID(required=True)
    shift_started_at = Moment(required=True)
    shift_version = fields.Integer(required=True)
    status = fields.String(required=True, validate=validate.OneOf([s.value for s in Status]))
    position = fields.Nested(DeskPositionSchema, allow_none=True, required=True)
    silent_after_s = fields.Integer(required=True)


class DeskOfficersQuerySchema(PageQuerySchema):
    """Which officers."""

    area_id = fields.UUID(load_default=None)
    status = Word(Status, load_default=None)
    q = line(60, load_default=None, metadata={"description": "Words of the name or the call sign."})


class DeskKnownOfficerSchema(Schema):
    """An officer, on shift or not."""

    id = fields.UUID(required=True)
    display_name = fields.String(required=True)
    kind = Word(OfficerKind, allow_none=True, required=True)


class DeskDirectoryQuerySchema(PageQuerySchema):
    """Which officers."""

    q = line(60, load_default=None, metadata={"description": "A part of the name."})


class DeskTrailQuerySchema(Schema):
    """How far back."""

    minutes = fields.Integer(load_default=60, validate=validate.Range(1, 240))


class DeskTrailSchema(Schema):
    """Where he went; each segment is whole, between two of them is a gap."""

    officer_id = fields.UUID(required=True)
    segments = segments("Points [lon, lat, epoch_s, accuracy_m].")


def silent_after_s() -> int:
    """Return after how many seconds without a fix an officer counts as silent."""
    return int(current_app.extensions["xungeng.config"].silent_after_s)


def _document(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "display_name": row.display_name,
        "kind": row.kind,
        "call_sign": row.call_sign,
        "area": {"id": row.area_id, "name": row.area_name},
        "shift_id": row.shift_id,
        "shift_started_at": row.shift_started_at,
        "shift_version": row.shift_version,
        "status": row.status.value,
        "position": row.position,
        "silent_after_s": silent_after_s(),
    }


@blp.query(
    "", may=SEE, answers=page_of(DeskLiveOfficerSchema), arguments=DeskOfficersQuerySchema, refuses=(422,)
)
def list_officers(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the officers on shift in your areas: the live map's snapshot, and its catch-up after a lost connection."""
    found = officers.live(
        uow,
        actor,
        silent_after_s=silent_after_s(),
        area_id=query["area_id"],
        status=query["status"],
        words=query["q"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    return Page([_document(row) for row in found.items], found.after)


@blp.query(
    "/directory",
    may=SEE,
    answers=page_of(DeskKnownOfficerSchema),
    arguments=DeskDirectoryQuerySchema,
    refuses=(422,),
)
def list_known_officers(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the officers of your areas by name, on shift or not: whom a replay or a device can be about."""
    found = officers.directory(
        uow, actor, words=query["q"], after=decode_cursor(query.get("cursor")), limit=query["limit"]
    )
    kinds = officers.kinds(uow, [user.id for user in found.items])
    items = [
        {"id": user.id, "display_name": user.display_name, "kind": kinds.get(user.id)} for user in found.items
    ]
    return Page(items, found.after)


@blp.query("/<uuid:officer_id>", may=SEE, answers=DeskLiveOfficerSchema)
def get_officer(uow: UnitOfWork, actor: Actor, officer_id: UUID) -> dict[str, Any]:
    """Return one officer who is on shift now; 404 once he is off duty."""
    return _document(officers.one(uow, actor, officer_id, silent_after_s=silent_after_s()))


@blp.query(
    "/<uuid:officer_id>/trail", may=("see", "track"), answers=DeskTrailSchema, arguments=DeskTrailQuerySchema
)
def get_trail(uow: UnitOfWork, actor: Actor, officer_id: UUID, query: dict[str, Any]) -> Any:
    """Return where an officer on shift went in the last minutes. The look is written down, and he can see it."""
    return officers.trail(uow, actor, officer_id, minutes=query["minutes"])
