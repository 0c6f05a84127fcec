"""The ground of the officer's map: areas and roads as vector tiles, kept by the phone for when there is no network."""

from typing import Any

from flask import Response

from backend.core.errors import NotVisible
from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience
from geo import tiles
from mobile_api import limits
from mobile_api.endpoint import Door
from workflows import access

blp = Door("ground", Audience.OFFICER, "", "The ground of the officer's map.")
USE = ("use", "officer_client")
MVT = "application/vnd.mapbox-vector-tile"


@blp.query(
    "/tiles/<any(areas, roads):layer>/<int:z>/<int:x>/<int:y>.mvt",
    may=USE,
    limit=limits.Limit("6000/minute"),
    media=MVT,
)
def get_ground_tile(uow: UnitOfWork, actor: Actor, layer: Any, z: int, x: int, y: int) -> Response:
    """Return a vector tile; of areas, those one patrols and those above them."""
    if not tiles.exists(z, x, y):
        raise NotVisible()
    body = tiles.tile(uow.session, layer, z, x, y, access.roots(actor, *USE))
    response = Response(body, mimetype=MVT)
    response.headers["Cache-Control"] = "private, max-age=300"
    return response
