"""In which area a place lies: the deepest of a tree of polygons, answered in about a microsecond.

A grid is laid over the town. No boundary crosses most of its cells, so all their places have one answer, which
is looked up. Only in the others polygons are tested, and only those that meet the cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final, NamedTuple
from uuid import UUID

import numpy as np
import shapely

AreaRow = tuple[UUID, UUID | None, str, "shapely.Geometry | bytes"]
"""(id, parent_id, kind, polygon): the polygon is a Polygon or MultiPolygon in WGS-84 degrees, or its WKB."""

_CELLS_PER_AREA = 256
_MOST_CELLS_PER_SIDE = 256
_LEAST_CELLS_PER_SIDE = 16
_ROUNDING_DEG = 1e-9


class _Area(NamedTuple):
    """An area in the order in which areas are asked: deepest first, then smallest, then by id."""

    shallowness: int
    square_deg: float
    area_id: UUID
    polygon: shapely.Geometry


class AreaIndex:
    """Finds the deepest area that contains a place; built once, never changed, safe to share.

    An area that is not in the tree of another counts as a root. A place on a border belongs to both sides; of
    several areas of one depth the smallest answers, then the one with the lowest id, so that the answer never
    depends on the order of the rows. A broken polygon (crossing itself) is repaired.

    Raises ValueError, naming the area, for what is no polygon on earth and for parents that form a circle.
    """

    __slots__ = ("_cells", "_columns", "_east", "_north", "_per_lat", "_per_lon", "_rows", "_south", "_west")

    def __init__(self, rows: Iterable[AreaRow]) -> None:
        areas = _in_order(list(rows))
        polygons = np.array([area.polygon for area in areas], dtype=object)
        per_side = math.isqrt(_CELLS_PER_AREA * max(len(areas), 1))
        per_side = min(max(per_side, _LEAST_CELLS_PER_SIDE), _MOST_CELLS_PER_SIDE)
        self._columns: Final = per_side
        self._rows: Final = per_side
        bounds = shapely.total_bounds(polygons) if areas else np.zeros(4)
        self._west, self._south, self._east, self._north = (float(bound) for bound in bounds)
        width, height = self._east - self._west, self._north - self._south
        self._per_lon = per_side / width if width > 0.0 else 0.0
        self._per_lat = per_side / height if height > 0.0 else 0.0
        self._cells: list[Any] = self._filled(areas, polygons) if areas else [None] * per_side**2

    def __call__(self, lon: float, lat: float) -> UUID | None:
        """The id of the deepest area that contains a WGS-84 place in degrees, or None."""
        if not (self._west <= lon <= self._east and self._south <= lat <= self._north):
            return None
        columns, rows = self._columns, self._rows
        column, row = int((lon - self._west) * self._per_lon), int((lat - self._south) * self._per_lat)
        if column >= columns:  # On the border; comparing takes a third of what ``min`` does.
            column = columns - 1
        if row >= rows:
            row = rows - 1
        found = self._cells[row * columns + column]
        if type(found) is not tuple:
            return found
        for area_id, polygon in found:
            if polygon is None or shapely.intersects_xy(polygon, lon, lat):
                return area_id
        return None

    def _filled(self, areas: list[_Area], polygons: Any) -> list[Any]:
        """The answer of each cell: an id, None, or (id, polygon to test or None) in the order to ask."""
        lon = np.linspace(self._west, self._east, self._columns + 1)
        lat = np.linspace(self._south, self._north, self._rows + 1)
        west, south = np.meshgrid(lon[:-1] - _ROUNDING_DEG, lat[:-1] - _ROUNDING_DEG)
        east, north = np.meshgrid(lon[1:] + _ROUNDING_DEG, lat[1:] + _ROUNDING_DEG)
        boxes = shapely.box(west.ravel(), south.ravel(), east.ravel(), north.ravel())
        tree = shapely.STRtree(boxes)
        _made_ready(polygons)
        crossed = _pairs(tree, shapely.boundary(polygons), "intersects")
        covered = _pairs(tree, polygons, "covers")
        cells: list[Any] = [[] for _ in boxes]
        for number, area in enumerate(areas):
            edge = crossed.get(number, set())
            for cell in edge:
                cells[cell].append((area.area_id, area.polygon))
            for cell in covered.get(number, set()) - edge:
                cells[cell].append((area.area_id, None))
        return [_answer(cell) for cell in cells]


def _made_ready(polygons: Any) -> None:
    """Prepare polygons and ask each once: GEOS builds its index at the first question, and later the index is
    shared by threads."""
    shapely.prepare(polygons)
    inside = shapely.point_on_surface(polygons)
    shapely.intersects_xy(polygons, shapely.get_x(inside), shapely.get_y(inside))


def _answer(asked: list[tuple[UUID, shapely.Geometry | None]]) -> Any:
    """A cell's list of areas in order, cut after the first that covers it; an id or None if nothing is left
    to test."""
    kept: list[tuple[UUID, shapely.Geometry | None]] = []
    for area_id, polygon in asked:
        kept.append((area_id, polygon))
        if polygon is None:
            break
    if not kept:
        return None
    return kept[0][0] if kept[0][1] is None else tuple(kept)


def _pairs(tree: shapely.STRtree, geometries: Any, predicate: str) -> dict[int, set[int]]:
    numbers, cells = tree.query(geometries, predicate=predicate)
    pairs: dict[int, set[int]] = {}
    for number, cell in zip(numbers.tolist(), cells.tolist(), strict=True):
        pairs.setdefault(number, set()).add(cell)
    return pairs


def _in_order(rows: list[AreaRow]) -> list[_Area]:
    parents = {area_id: parent_id for area_id, parent_id, _, _ in rows}
    areas = []
    for area_id, _, kind, given in rows:
        polygon = _polygon(area_id, kind, given)
        areas.append(_Area(-_depth(area_id, parents), shapely.area(polygon), area_id, polygon))
    return sorted(areas, key=lambda area: area[:3])


def _depth(area_id: UUID, parents: dict[UUID, UUID | None]) -> int:
    depth, seen = 0, {area_id}
    parent = parents[area_id]
    while parent is not None and parent in parents:
        if parent in seen:
            raise ValueError(f"Area {area_id} is its own ancestor.")
        seen.add(parent)
        depth += 1
        parent = parents[parent]
    return depth


def _polygon(area_id: UUID, kind: str, given: shapely.Geometry | bytes) -> shapely.Geometry:
    try:
        with np.errstate(invalid="ignore"):  # NaN is found below.
            polygon = shapely.from_wkb(given) if isinstance(given, bytes | bytearray | memoryview) else given
    except shapely.errors.GEOSException as error:
        raise ValueError(f"Area {area_id} ({kind}) is not readable WKB: {error}.") from error
    places = shapely.get_coordinates(polygon)
    on_earth = bool((np.abs(places) <= (180.0, 90.0)).all())  # False for NaN
    if polygon.geom_type not in ("Polygon", "MultiPolygon") or not on_earth:
        raise ValueError(f"Area {area_id} ({kind}) is not a polygon on earth.")
    if not shapely.is_valid(polygon):
        polygon = shapely.make_valid(polygon, method="structure", keep_collapsed=False)
    if not shapely.area(polygon) > 0.0:
        raise ValueError(f"Area {area_id} ({kind}) encloses nothing.")
    return polygon
