"""Vector tiles of the town's own areas and roads (``ST_AsMVT``), for a map that needs no supplier."""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

Layer = Literal["areas", "roads"]
MAXIMUM_ZOOM = 22

# What is too small to be seen at a zoom stays out of its tiles.
_LEAST_ZOOM_OF_AREA = {"town": 0, "community": 0, "compound": 12, "grid": 14, "building": 16}
_LEAST_ZOOM_OF_ROAD = {"arterial": 0, "water": 0, "street": 11, "lane": 13, "path": 14}

_AREAS = """
with bounds as (select ST_TileEnvelope(:z, :x, :y) as box)
select coalesce(ST_AsMVT(tile, 'areas', 4096, 'geom'), ''::bytea) from (
  select a.id::text as id, a.kind, a.name ->> 'zh-CN' as name_zh, a.name ->> 'en' as name_en,
         ST_AsMVTGeom(ST_Transform(a.geom, 3857), b.box, 4096, 64, true) as geom
  from areas a, bounds b
  where a.geom && ST_Transform(ST_Expand(b.box, (ST_XMax(b.box) - ST_XMin(b.box)) / 64), 4326)
    and a.kind = any(:kinds)
    and (a.ancestors && :scope or exists (select from areas c where c.id = any(:scope) and a.id = any(c.ancestors)))
  order by a.kind, a.id
) tile where geom is not null
"""

_ROADS = """
with bounds as (select ST_TileEnvelope(:z, :x, :y) as box)
select coalesce(ST_AsMVT(tile, 'roads', 4096, 'geom'), ''::bytea) from (
  select r.id::text as id, r.kind, r.name ->> 'zh-CN' as name_zh, r.name ->> 'en' as name_en,
         ST_AsMVTGeom(ST_Transform(r.geom, 3857), b.box, 4096, 64, true) as geom
  from roads r, bounds b
  where r.geom && ST_Transform(ST_Expand(b.box, (ST_XMax(b.box) - ST_XMin(b.box)) / 64), 4326) and r.kind = any(:kinds)
) tile where geom is not null
"""


def exists(z: int, x: int, y: int) -> bool:
    """Say whether the tile is one of the pyramid."""
    return 0 <= z <= MAXIMUM_ZOOM and 0 <= x < 2**z and 0 <= y < 2**z


def tile(session: Session, layer: Layer, z: int, x: int, y: int, scope: Sequence[UUID]) -> bytes:
    """Return a Mapbox vector tile (Web Mercator, extent 4096); of areas those in scope and the ones above them."""
    least = _LEAST_ZOOM_OF_AREA if layer == "areas" else _LEAST_ZOOM_OF_ROAD
    values = {"z": z, "x": x, "y": y, "kinds": [kind for kind, zoom in least.items() if z >= zoom]}
    if layer == "roads":
        return bytes(session.execute(text(_ROADS), values).scalar_one())
    uuids = postgresql.ARRAY(postgresql.UUID(as_uuid=True))
    return bytes(
        session.execute(text(_AREAS).bindparams(bindparam("scope", list(scope), uuids)), values).scalar_one()
    )
