"""The demo town: its size, that its areas tile it without a gap, that one can walk everywhere in it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import shapely
from shapely import Point, Polygon

from backend.core.phones import DEMO_PHONES, e164, is_served
from backend.core.vocabulary import AreaKind, DepartmentKind, OfficerKind, RoadKind, Role, Travel
from backend.demo.town import Area, Town, distance_m, generate

CHECKOUT = Path(__file__).resolve().parents[2]
SEEDS = (1, 2, 7)

Edge = tuple[tuple[float, float], tuple[float, float]]


@pytest.fixture(scope="module", params=SEEDS)
def town(request: pytest.FixtureRequest) -> Town:
    return generate(request.param)


def edges(polygon: Polygon) -> Iterator[Edge]:
    """Edges with the inside on the left, those of holes as well."""
    outer = shapely.geometry.polygon.orient(polygon)
    for ring in (outer.exterior, *outer.interiors):
        yield from pairwise(ring.coords)


def left_over(polygons: Iterable[Polygon]) -> set[Edge]:
    """Edges that belong to one polygon only: the outline, if the polygons tile what is inside it."""
    seen: set[Edge] = set()
    for polygon in polygons:
        for edge in edges(polygon):
            assert edge not in seen, "Two areas lie on the same side of one edge: they overlap."
            seen.add(edge)
    return {(a, b) for a, b in seen if (b, a) not in seen}


def children(town: Town) -> dict[str, list[Area]]:
    found = defaultdict(list)
    for area in town.areas:
        found[area.parent_id].append(area)
    return found


def test_the_town_has_the_size_of_the_reference_town(town: Town) -> None:
    natures = Counter(area.nature for area in town.areas)
    assert natures["town"] == 1
    assert natures["village"] == 10
    assert natures["committee"] == 85
    assert natures["homes"] == 112
    assert len(town.checkpoints) == 920
    officers = Counter(person.posts[0].officer_kind for person in town.people if person.role == "officer")
    assert set(officers) == {kind.value for kind in OfficerKind}
    assert officers.total() == 320
    assert sum(person.role == "resident" for person in town.people) >= 60
    west, south, east, north = town.bounds
    assert 5_000 < distance_m((west, south), (east, south)) < 10_000
    assert 4_000 < distance_m((west, south), (west, north)) < 8_000


def test_communities_tile_the_town_and_grids_with_compounds_tile_each_community(town: Town) -> None:
    below = children(town)
    for area in town.areas:
        assert area.polygon.is_valid, area.code
        parts = below[area.id]
        if parts:
            # Every inner edge belongs to exactly two parts, in opposite directions; what is left is the outline,
            # vertex for vertex. No tolerance, so there is neither a gap nor an overlap of any size.
            assert left_over(part.polygon for part in parts) == set(edges(area.polygon)), area.code
    leaves = [area.polygon for area in town.areas if not below[area.id]]
    assert shapely.coverage_is_valid(leaves)
    assert sum(leaf.area for leaf in leaves) == pytest.approx(town.areas[0].polygon.area, rel=1e-9)


def test_the_tree_of_areas_has_one_root_and_parents_before_children(town: Town) -> None:
    seen = set()
    allowed = {"town": {None}, "community": {"town"}, "grid": {"community"}, "compound": {"community"}}
    kinds = {area.id: area.kind for area in town.areas}
    for area in town.areas:
        assert area.kind in set(AreaKind)
        assert area.parent_id is None or area.parent_id in seen
        assert kinds.get(area.parent_id) in allowed[area.kind]
        seen.add(area.id)
    assert len({area.code for area in town.areas}) == len(town.areas)
    every = {area.name.zh for area in town.areas}
    assert len(every) == len(town.areas)


def test_every_committee_has_a_compound_and_sizes_differ(town: Town) -> None:
    below = children(town)
    sizes = []
    for area in town.areas:
        if area.nature == "committee":
            assert any(part.kind == "compound" for part in below[area.id]), area.code
            sizes.append(area.polygon.area)
    assert max(sizes) > 3 * min(sizes)


def test_buildings_stand_inside_the_wall_of_their_compound(town: Town) -> None:
    walls = {area.id: area.polygon for area in town.areas if area.kind == "compound"}
    housed = set()
    for building in town.buildings:
        assert walls[building.area_id].contains(building.polygon)
        housed.add(building.area_id)
    assert housed == set(walls)


def test_one_can_walk_from_anywhere_to_anywhere(town: Town) -> None:
    near = defaultdict(set)
    for way in town.ways:
        near[way.start].add(way.end)
        near[way.end].add(way.start)
    reached, todo = {0}, [0]
    while todo:
        fresh = near[todo.pop()] - reached
        reached |= fresh
        todo += fresh
    assert len(reached) == len(town.junctions)


def test_ways_run_between_their_junctions_and_are_as_long_as_they_say(town: Town) -> None:
    for way in town.ways:
        assert way.points[0] == town.junctions[way.start]
        assert way.points[-1] == town.junctions[way.end]
        assert way.length_m == pytest.approx(sum(distance_m(a, b) for a, b in pairwise(way.points)), abs=0.01)
        assert way.length_m > 0


def test_lengths_on_the_flat_ground_agree_with_the_ellipsoid(town: Town) -> None:
    """The metres of the plan are those of WGS-84 to a part in a thousand, so that speeds come out right."""
    a, b = (121.27, 31.09), (121.33, 31.12)
    # Vincenty's inverse solution on WGS-84 for these two points gives 6 620.2 m.
    assert distance_m(a, b) == pytest.approx(6620.2, rel=1e-3)


def test_roads_are_lines_inside_the_town_with_a_name_in_both_languages(town: Town) -> None:
    room = town.areas[0].polygon.buffer(0.0002)
    kinds = Counter(road.kind for road in town.roads)
    assert set(kinds) == {kind.value for kind in RoadKind}
    for road in town.roads:
        assert road.line.is_valid
        assert len(road.line.coords) > 1
        assert room.covers(road.line), road.name
        assert road.name.zh
        assert road.name.en.isprintable()
        assert not any("\u4e00" <= letter <= "\u9fff" for letter in road.name.en)


def test_checkpoints_stand_at_junctions_in_their_area_and_apart(town: Town) -> None:
    leaves = {area.id: area.polygon for area in town.areas if area.kind in ("grid", "compound")}
    assert len({checkpoint.name.zh for checkpoint in town.checkpoints}) == 920
    assert len({checkpoint.code for checkpoint in town.checkpoints}) == 920
    for checkpoint in town.checkpoints:
        assert town.junctions[checkpoint.junction] == (checkpoint.lon, checkpoint.lat)
        assert leaves[checkpoint.area_id].intersects(Point(checkpoint.lon, checkpoint.lat))
    spots = {(c.lon, c.lat) for c in town.checkpoints}
    assert len(spots) == 920
    assert all(any(c.area_id == home for c in town.checkpoints) for home, _ in _compounds(town))


def _compounds(town: Town) -> list[tuple[object, Polygon]]:
    return [(area.id, area.polygon) for area in town.areas if area.kind == "compound"]


def test_everybody_has_a_role_in_a_place_of_the_town(town: Town) -> None:
    areas = {area.id: area.kind for area in town.areas}
    departments = {department.id for department in town.departments}
    assert {department.kind for department in town.departments} == {kind.value for kind in DepartmentKind}
    assert len({person.id for person in town.people}) == len(town.people)
    logins = [person.login for person in town.people if person.login]
    assert len(set(logins)) == len(logins)
    handled = set()
    for person in town.people:
        assert person.travel in set(Travel)
        assert (person.login is None) == (person.role == "resident")
        for post in person.posts:
            assert post.role in set(Role)
            assert post.area_id in areas or post.department_id in departments
            assert (post.officer_kind is not None) == (post.role == "officer")
            handled.add(post.department_id)
    assert departments <= handled


def test_every_community_has_a_desk_and_no_desk_has_them_all(town: Town) -> None:
    communities = {area.id for area in town.areas if area.kind == "community"}
    held: dict[object, list[str]] = defaultdict(list)
    for person in town.people:
        for post in person.posts:
            if post.role == "dispatcher":
                held[post.area_id].append(person.login or "")
    assert communities <= set(held)
    assert max(len(person.posts) for person in town.people if person.role == "dispatcher") < 20


def test_no_phone_number_can_be_a_real_one(town: Town) -> None:
    """Mainland mobile numbers begin with 13 to 19 and fixed lines with an area code; nothing begins with 100 but the
    carriers' short codes, which are five digits long."""
    phones = [person.phone for person in town.people]
    assert len(set(phones)) == len(phones)
    for phone in phones:
        assert phone.startswith("+86100")
        assert len(phone) == len("+86") + 11
        assert is_served(phone, (DEMO_PHONES,))
        assert e164(phone) == phone


def test_the_same_seed_gives_the_same_town_to_the_last_byte() -> None:
    """Also in another process, with another hash seed: sets and dicts must not leak their order."""
    program = "from backend.demo.town import generate; print(generate(3).digest())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": hash_seed, "PATH": "/usr/bin:/bin"},
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("0", "4242")
    }
    assert digests == {generate(3).digest()}
    assert generate(4).digest() not in digests


def test_a_town_is_made_in_a_few_seconds() -> None:
    started = time.process_time()
    generate.__wrapped__(5)
    assert time.process_time() - started < 5


def test_any_seed_gives_a_town_that_tiles(thin: Callable[[int, int], int]) -> None:
    for seed in range(100, 100 + thin(60, 2)):
        town = generate.__wrapped__(seed)
        below = children(town)
        for area in town.areas:
            assert area.polygon.is_valid, (seed, area.code)
            if below[area.id]:
                assert left_over(part.polygon for part in below[area.id]) == set(edges(area.polygon)), seed
        assert len(town.checkpoints) == 920
