"""The map's own ground: areas as a tree, areas and roads as vector tiles, base maps."""

from typing import Any
from uuid import UUID

from flask import Response
from marshmallow import Schema, fields, validate

from backend.core.errors import NotVisible
from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AreaKind, Audience, BasemapKind, DepartmentKind
from geo import tiles
from geo.datum import DATUMS
from mobile_api import limits
from mobile_api.endpoint import Door
from mobile_api.fields import Word, bounds, line, names, place
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import access, towns

blp = Door("map", Audience.DESK, "", "Areas, tiles and base maps.")
MVT = "application/vnd.mapbox-vector-tile"


class DeskAreaSchema(Schema):
    """One area of the tree."""

    id = fields.UUID(required=True)
    parent_id = fields.UUID(allow_none=True, required=True)
    kind = Word(AreaKind, required=True)
    code = fields.String(required=True)
    name = names(required=True)
    center = place(required=True)
    bounds = bounds(required=True)


class DeskBasemapSchema(Schema):
    """A base map; one in a Chinese datum shows its approval number (审图号)."""

    id = fields.UUID(dump_only=True)
    kind = Word(BasemapKind, required=True)
    name = names(required=True)
    url = fields.String(
        allow_none=True,
        required=True,
        validate=[validate.Length(1, 500), validate.Regexp(r"^(https?://|/|pmtiles://)[^\s<>\"]+\Z")],
    )
    datum = fields.String(required=True, validate=validate.OneOf(DATUMS))
    approval_number = line(60, allow_none=True, load_default=None)
    attribution = line(200, allow_none=True, load_default=None)


class DeskBasemapsSchema(Schema):
    """All base maps, in the order in which they are offered; the first is the default."""

    basemaps = fields.List(fields.Nested(DeskBasemapSchema), required=True, validate=validate.Length(max=20))


class DeskDepartmentSchema(Schema):
    """A department."""

    id = fields.UUID(required=True)
    kind = Word(DepartmentKind, required=True)
    name = names(required=True)


class DeskDepartmentsSchema(Schema):
    """The town's departments; there are few."""

    items = fields.List(fields.Nested(DeskDepartmentSchema), required=True)
    next = fields.String(allow_none=True, required=True)


@blp.query(
    "/areas", may=("see", "area"), answers=page_of(DeskAreaSchema), arguments=PageQuerySchema, refuses=(422,)
)
def list_areas(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[Any]:
    """List your areas and those above them, by code; their shapes come as tiles."""
    return towns.areas(uow, actor, after=decode_cursor(query.get("cursor")), limit=query["limit"])


@blp.query(
    "/tiles/<any(areas, roads):layer>/<int:z>/<int:x>/<int:y>.mvt",
    may=("see", "area"),
    limit=limits.Limit("6000/minute"),
    media=MVT,
)
def get_tile(uow: UnitOfWork, actor: Actor, layer: Any, z: int, x: int, y: int) -> Response:
    """Return a vector tile; of areas, yours and those above them."""
    if not tiles.exists(z, x, y):
        raise NotVisible()
    body = tiles.tile(uow.session, layer, z, x, y, access.roots(actor, "see", "area"))
    response = Response(body, mimetype=MVT)
    response.headers["Cache-Control"] = "private, max-age=300"
    return response


@blp.query("/departments", may=("use", "desk"), answers=DeskDepartmentsSchema)
def list_departments(uow: UnitOfWork, actor: Actor) -> dict[str, Any]:
    """List the town's departments."""
    return {"items": towns.departments(uow, actor), "next": None}


@blp.query("/basemaps", may=("use", "desk"), answers=DeskBasemapsSchema)
def list_basemaps(uow: UnitOfWork, actor: Actor) -> dict[str, Any]:
    """List the base maps that are offered."""
    return {"basemaps": towns.basemaps(uow)}


@blp.command(
    "/basemaps", may=("manage", "basemap"), method="PUT", body=DeskBasemapsSchema, answers=DeskBasemapsSchema
)
def set_basemaps(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Replace the base maps."""
    return {"basemaps": towns.set_basemaps(uow, actor, body["basemaps"], command_id=command_id)}
