"""The deepest area that contains a place, by the grid as by asking every polygon."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable
from uuid import UUID

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.areas import AreaIndex, AreaRow

TOWN, EAST, WEST, COMPOUND = (UUID(int=i) for i in range(1, 5))
SQUARE = shapely.box(121.0, 31.0, 121.2, 31.2)


def rows() -> list[AreaRow]:
    return [
        (TOWN, None, "town", SQUARE),
        (WEST, TOWN, "community", shapely.box(121.0, 31.0, 121.1, 31.2)),
        (EAST, TOWN, "community", shapely.box(121.1, 31.0, 121.2, 31.2)),
        (COMPOUND, EAST, "compound", shapely.box(121.15, 31.1, 121.16, 31.11)),
    ]


def by_asking_all(given_rows: list[AreaRow]) -> Callable[[float, float], UUID | None]:
    """What answers for a place by asking every polygon whether it holds it."""
    parents = {row[0]: row[1] for row in given_rows}
    polygons = np.array([polygon for _, _, _, polygon in given_rows])

    def depth(area_id: UUID | None) -> int:
        return 0 if area_id not in parents else 1 + depth(parents[area_id])

    ranks = [(-depth(area_id), shapely.area(polygon), area_id) for area_id, _, _, polygon in given_rows]

    def ask(lon: float, lat: float) -> UUID | None:
        found = [ranks[n] for n in np.flatnonzero(shapely.intersects_xy(polygons, lon, lat))]
        return min(found)[2] if found else None

    return ask


def patchwork(random_: random.Random, count: int) -> list[AreaRow]:
    """A town that is tiled by communities (Voronoi cells), with overlapping round compounds in them."""
    seeds = shapely.multipoints(
        [(random_.uniform(121, 121.2), random_.uniform(31, 31.2)) for _ in range(count)]
    )
    made: list[AreaRow] = [(TOWN, None, "town", SQUARE)]
    for number, cell in enumerate(shapely.voronoi_polygons(seeds, extend_to=SQUARE).geoms):
        community = UUID(int=100 + number)
        made.append((community, TOWN, "community", shapely.intersection(cell, SQUARE)))
        for k in range(random_.randint(0, 2)):
            around = cell.centroid.buffer(random_.uniform(0.001, 0.02))
            made.append((UUID(int=1_000 + 10 * number + k), community, "compound", around))
    return made


@settings(max_examples=min(100, settings.default.max_examples))
@given(seed=st.integers(0, 10_000), count=st.integers(2, 40))
def test_the_grid_answers_as_asking_every_polygon_does(seed, count):
    random_ = random.Random(seed)
    made = patchwork(random_, count)
    index = AreaIndex(random_.sample(made, len(made)))
    places = [(random_.uniform(120.97, 121.23), random_.uniform(30.97, 31.23)) for _ in range(200)]
    corners = [tuple(xy) for _, _, _, polygon in made for xy in shapely.get_coordinates(polygon)[:5].tolist()]
    edges = [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in itertools.pairwise(corners)]
    asked = by_asking_all(made)
    for lon, lat in [*places, *corners, *edges]:
        assert index(lon, lat) == asked(lon, lat)


tiled = AreaIndex(rows())


@given(lon=st.floats(121.0, 121.2), lat=st.floats(31.0, 31.2))
def test_no_place_in_a_tiled_town_is_without_an_area(lon, lat):
    assert tiled(lon, lat) in {EAST, WEST, COMPOUND}


def test_the_deepest_area_answers():
    index = AreaIndex(rows())
    assert index(121.155, 31.105) == COMPOUND
    assert index(121.17, 31.105) == EAST
    assert index(121.05, 31.1) == WEST
    assert index(121.25, 31.1) is None


def test_a_border_belongs_to_one_side_whatever_the_order_of_the_rows():
    answers = {AreaIndex(order)(121.1, 31.05) for order in itertools.permutations(rows())}
    assert answers == {by_asking_all(rows())(121.1, 31.05)}


def test_the_edge_of_the_town_belongs_to_it():
    index = AreaIndex(rows())
    assert index(121.0, 31.0) == WEST
    assert index(121.2, 31.2) == EAST


@pytest.mark.parametrize("place", [(float("nan"), 31.1), (121.1, float("inf")), (-181.0, 31.1)])
def test_what_is_no_place_lies_nowhere(place):
    assert AreaIndex(rows())(*place) is None


def test_a_town_without_areas_answers_nothing():
    assert AreaIndex([])(121.1, 31.1) is None


def test_polygons_may_come_as_wkb():
    index = AreaIndex([(a, p, k, shapely.to_wkb(polygon)) for a, p, k, polygon in rows()])
    assert index(121.155, 31.105) == COMPOUND


def test_holes_and_several_parts_are_respected():
    ring = shapely.difference(SQUARE, shapely.box(121.05, 31.05, 121.15, 31.15))
    parts = shapely.union(ring, shapely.box(121.09, 31.09, 121.11, 31.11))
    index = AreaIndex([(TOWN, None, "town", parts)])
    assert index(121.01, 31.01) == TOWN
    assert index(121.06, 31.06) is None
    assert index(121.10, 31.10) == TOWN


def test_a_polygon_that_crosses_itself_is_repaired():
    """F70."""
    bow = shapely.Polygon([(121.0, 31.0), (121.2, 31.2), (121.2, 31.0), (121.0, 31.2)])
    index = AreaIndex([(TOWN, None, "town", bow)])
    assert index(121.01, 31.1) == TOWN
    assert index(121.1, 31.01) is None


def test_an_area_whose_parent_is_elsewhere_is_a_root():
    index = AreaIndex([(EAST, UUID(int=99), "community", SQUARE)])
    assert index(121.1, 31.1) == EAST


NO_AREAS = {
    "a point": shapely.Point(121.1, 31.1),
    "a line": shapely.LineString([(121, 31), (122, 32)]),
    "nothing": shapely.Polygon(),
    "beyond the pole": shapely.box(121.0, 31.0, 121.2, 91.0),
    "not a number": shapely.to_wkb(SQUARE).replace(struct.pack("<d", 31.2), struct.pack("<d", float("nan"))),
    "collapsed": shapely.Polygon([(121.0, 31.0), (121.5, 31.5), (122.0, 32.0), (121.0, 31.0)]),
    "not WKB": b"not WKB",
}


@pytest.mark.parametrize("name", NO_AREAS)
def test_what_is_no_polygon_on_earth_is_refused_by_name(name):
    """F70."""
    with pytest.raises(ValueError, match=str(TOWN)):
        AreaIndex([(TOWN, None, "town", NO_AREAS[name])])


def test_parents_in_a_circle_are_refused():
    with pytest.raises(ValueError, match="its own ancestor"):
        AreaIndex([(EAST, WEST, "community", SQUARE), (WEST, EAST, "community", SQUARE)])


def test_a_polygon_of_a_hundred_thousand_corners_is_indexed():
    """F70."""
    turn = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    radius = 0.1 + 0.001 * np.sin(turn * 400)
    star = shapely.Polygon(np.column_stack([121.1 + radius * np.cos(turn), 31.1 + radius * np.sin(turn)]))
    index = AreaIndex([(TOWN, None, "town", star)])
    assert index(121.1, 31.1) == TOWN
    assert index(121.1 + 0.1025, 31.1) is None
