"""Coverage of streets at the desk: which parts of the town's roads somebody passed, and where nobody has been."""

from typing import Any

from flask import Response
from marshmallow import Schema, fields, validate

from backend.core.errors import NotVisible
from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, RoadKind
from geo import tiles
from mobile_api import limits
from mobile_api.desk.map import MVT
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, bounds, names
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import streets

blp = Door(
    "streets",
    Audience.DESK,
    "/streets",
    "How much of the streets in your areas was walked; no officer is named.",
)
SEE = ("see", "visit")
MOST_DAYS = 366


class DeskStreetsTileQuerySchema(Schema):
    """In how many days of the town, today among them."""

    days = fields.Integer(load_default=7, validate=validate.Range(1, MOST_DAYS))


class DeskStreetsQuerySchema(PageQuerySchema):
    """In how many days of the town, today among them."""

    days = fields.Integer(load_default=7, validate=validate.Range(1, MOST_DAYS))


class DeskStreetSchema(Schema):
    """A street, how much of it somebody passed, and when last."""

    kind = Word(RoadKind, required=True)
    name = names(required=True)
    length_m = fields.Float(required=True)
    passed_m = fields.Float(required=True)
    last_passed_at = Moment(
        allow_none=True, required=True, metadata={"description": "In these days; null: nobody passed."}
    )
    bounds = bounds(required=True)


@blp.query("", may=SEE, answers=page_of(DeskStreetSchema), arguments=DeskStreetsQuerySchema, refuses=(422,))
def list_streets(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[Any]:
    """List the streets in your areas, those first that nobody passed for longest."""
    cursor = decode_cursor(query.pop("cursor", None))
    return streets.at_desk(uow, actor, after=cursor, **query)


@blp.query(
    "/tiles/<int:z>/<int:x>/<int:y>.mvt",
    may=SEE,
    arguments=DeskStreetsTileQuerySchema,
    limit=limits.Limit("6000/minute"),
    media=MVT,
    refuses=(422,),
)
def get_streets_tile(
    uow: UnitOfWork, actor: Actor, z: int, x: int, y: int, query: dict[str, Any]
) -> Response:
    """Return a vector tile of the streets in your areas: `days_ago` of each part (-1: nobody), and `days` of passes."""
    if not tiles.exists(z, x, y):
        raise NotVisible()
    response = Response(streets.tile(uow, actor, z, x, y, **query), mimetype=MVT)
    response.headers["Cache-Control"] = "private, max-age=60"
    return response
