"""Routes at the desk: rounds drawn over checkpoints, and lines from files to draw them by."""

from typing import Any
from uuid import UUID

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, Sequence
from geo.checkpoint_files import MOST_VERTICES, Format
from mobile_api import limits
from mobile_api.desk.checkpoints import FILE
from mobile_api.desk.officers import DeskAreaNameSchema
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, line, names, place, way
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import access, patrol_looks, routes

blp = Door("routes", Audience.DESK, "/routes", "Routes in your areas.")
SEE, MANAGE = ("see", "route"), ("manage", "route")


class DeskRouteCheckpointSchema(Schema):
    """A checkpoint on a route."""

    id = fields.UUID(required=True)
    code = fields.String(required=True)
    name = names(required=True)
    place = place(required=True)
    radius_m = fields.Float(required=True)


class DeskRouteBodySchema(Schema):
    """What there is to say about a route."""

    name = names(required=True, validate=validate.Length(equal=2))
    sequence = Word(Sequence, load_default=Sequence.FIXED)
    allowed_s = fields.Integer(required=True, validate=validate.Range(60, 86_400))
    line = way(MOST_VERTICES, load_default=None, allow_none=True)
    corridor_m = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(10, 1000),
        metadata={"description": "How far to either side of the line one may go; null: anywhere."},
    )
    checkpoint_ids = fields.List(
        fields.UUID(), required=True, validate=validate.Length(1, routes.MOST_POINTS),
        metadata={"description": "In their order, each once.", "uniqueItems": True},
    )  # fmt: skip

    @validates_schema
    def _has_a_line(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("corridor_m") is not None and data.get("line") is None:
            raise ValidationError("A corridor goes along a line.", "corridor_m")


class DeskRouteSchema(Schema):
    """A route, and what may be done with it."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    name = names(required=True)
    area = fields.Nested(DeskAreaNameSchema, required=True)
    sequence = Word(Sequence, required=True)
    allowed_s = fields.Integer(required=True)
    corridor_m = fields.Float(allow_none=True, required=True)
    checkpoint_count = fields.Integer(required=True)
    created_at = Moment(required=True)
    retired_at = Moment(allow_none=True, required=True)
    version = fields.Integer(required=True, metadata={"description": "What a change sends as `If-Match`."})
    actions = fields.List(fields.String(), required=True)


class DeskRouteDrawnSchema(DeskRouteSchema):
    """A route with its line and its checkpoints in their order."""

    line = way(MOST_VERTICES, allow_none=True, required=True)
    checkpoints = fields.List(fields.Nested(DeskRouteCheckpointSchema), required=True)


class DeskRoutesQuerySchema(PageQuerySchema):
    """Which routes."""

    area_id = fields.UUID(load_default=None, metadata={"description": "In this area and those below it."})
    checkpoint_id = fields.UUID(load_default=None, metadata={"description": "That pass this checkpoint."})
    q = line(80, load_default=None, metadata={"description": "A part of a name."})
    retired = fields.Boolean(load_default=False, metadata={"description": "Also those no longer in use."})


class DeskRouteImportQuerySchema(Schema):
    """What the file is."""

    format = Word(Format, required=True, metadata={"description": "`geojson` or `gpx`."})


class DeskRouteProposalSchema(Schema):
    """A line of a file, and the checkpoints along it in their order."""

    title = fields.String(allow_none=True, required=True, metadata={"description": "What the file calls it."})
    line = way(MOST_VERTICES, required=True)
    checkpoints = fields.List(fields.Nested(DeskRouteCheckpointSchema), required=True)


class DeskRouteProposalsSchema(Schema):
    """What the lines of a file propose."""

    items = fields.List(fields.Nested(DeskRouteProposalSchema), required=True)


def _checkpoint(found: Any) -> dict[str, Any]:
    return {
        "id": found.id,
        "code": found.code,
        "name": found.name,
        "place": patrol_looks.place_of(found),
        "radius_m": found.radius_m,
    }


def _document(actor: Actor, route: Any) -> dict[str, Any]:
    return {
        "id": route.id,
        "number": route.number,
        "name": route.name,
        "area": route.area,
        "sequence": route.sequence,
        "allowed_s": route.allowed_s,
        "corridor_m": route.corridor_m,
        "checkpoint_count": len(route.points),
        "created_at": route.created_at,
        "retired_at": route.retired_at,
        "version": route.version,
        "actions": routes.actions(actor, route),
    }


def _drawn(actor: Actor, route: Any) -> dict[str, Any]:
    return {
        **_document(actor, route),
        "line": patrol_looks.line_of(route),
        "checkpoints": [_checkpoint(point.checkpoint) for point in route.points],
    }


@blp.query("", may=SEE, answers=page_of(DeskRouteSchema), arguments=DeskRoutesQuerySchema, refuses=(422,))
def list_routes(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the routes of your areas by number."""
    found = routes.listed(
        uow,
        actor,
        area_id=query["area_id"],
        checkpoint_id=query["checkpoint_id"],
        words=query["q"],
        retired=query["retired"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    return Page([_document(actor, one) for one in found.items], found.after)


@blp.query("/<uuid:route_id>", may=SEE, answers=DeskRouteDrawnSchema)
def get_route(uow: UnitOfWork, actor: Actor, route_id: UUID) -> dict[str, Any]:
    """Return a route of your areas with its line and its checkpoints."""
    return _drawn(actor, access.route(uow, actor, route_id))


@blp.command(
    "", may=MANAGE, body=DeskRouteBodySchema, answers=DeskRouteDrawnSchema, status=201, refuses=(409, 422)
)
def create_route(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Make a route in the deepest area that holds all its checkpoints."""
    return _drawn(actor, routes.create(uow, actor, body, command_id=command_id))


@blp.command(
    "/<uuid:route_id>",
    may=MANAGE,
    method="PUT",
    body=DeskRouteBodySchema,
    answers=DeskRouteDrawnSchema,
    refuses=(409, 422),
    if_match=True,
)
def change_route(
    uow: UnitOfWork, actor: Actor, route_id: UUID, command_id: UUID, body: dict[str, Any], version: int
) -> dict[str, Any]:
    """Say anew all there is to say about a route; patrols that exist go by what it was."""
    return _drawn(actor, routes.change(uow, actor, route_id, body, version=version, command_id=command_id))


@blp.command("/<uuid:route_id>/retire", may=MANAGE, answers=DeskRouteDrawnSchema)
def retire_route(uow: UnitOfWork, actor: Actor, route_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Take a route out of use; its patrols stay. One that a plan in force goes by is refused."""
    return _drawn(actor, routes.retire(uow, actor, route_id, command_id=command_id))


@blp.command(
    "/import",
    may=MANAGE,
    raw=FILE,
    arguments=DeskRouteImportQuerySchema,
    answers=DeskRouteProposalsSchema,
    limit=limits.HEAVY,
    refuses=(422,),
    body_limit=2 * 1024 * 1024,
)
def import_routes(
    uow: UnitOfWork, actor: Actor, command_id: UUID, query: dict[str, Any], body: bytes
) -> dict[str, Any]:
    """Read lines from a file (WGS-84; GeoJSON LineStrings, routes of GPX) and propose the checkpoints along them.

    Nothing is stored: a route is made of what people choose of it. Lines with too many corners are thinned.
    """
    found = routes.proposals(uow, actor, body, query["format"])
    return {
        "items": [
            {
                "title": one.line.title,
                "line": one.line.places,
                "checkpoints": [_checkpoint(point) for point in one.checkpoints],
            }
            for one in found
        ]
    }
