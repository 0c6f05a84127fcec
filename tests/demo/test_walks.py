"""Walks stay on the ways and at human speeds; receivers err as receivers do; both by the seed alone."""

from __future__ import annotations

import math
import statistics
import time
from itertools import pairwise
from random import Random

import pytest
import shapely
from shapely import LineString, Point
from shapely.strtree import STRtree

from backend.demo.receiver import Measurement, Mishaps, Receiver
from backend.demo.town import Town, distance_m, generate, metres
from backend.demo.walks import SPEED_MPS, Streets, Walk, streets_of

CALM = Mishaps().scaled(0)


@pytest.fixture(scope="module")
def town() -> Town:
    return generate()


@pytest.fixture(scope="module")
def streets(town: Town) -> Streets:
    return streets_of(town)


def walk_of(streets: Streets, number: int, travel: str | None = None, seed: int = 1) -> Walk:
    officer = [person for person in streets.town.people if person.role == "officer"][number]
    goes = travel or officer.travel
    return Walk(streets, streets.beat(officer.posts[0].area_id, goes), goes, Random(f"{seed} {number}"))


@pytest.mark.parametrize("travel", sorted(SPEED_MPS))
def test_walks_stay_on_the_ways(town: Town, streets: Streets, travel: str) -> None:
    lines = [
        LineString([metres(*point) for point in way.points])
        for way in town.ways
        if way.kind in SPEED_MPS[travel]
    ]
    tree = STRtree(lines)
    walk = walk_of(streets, 3, travel)
    for _ in range(400):
        walk.step(7)
        here = Point(metres(*walk.place))
        assert shapely.distance(here, lines[int(tree.nearest(here))]) < 0.05


@pytest.mark.parametrize(("travel", "fastest"), [("foot", 2.2), ("e_bike", 7.0), ("car", 14.0)])
def test_nobody_is_faster_than_people_are(streets: Streets, travel: str, fastest: float) -> None:
    for number in range(12):
        walk = walk_of(streets, number, travel)
        before = walk.place
        for _ in range(300):
            walk.step(5)
            assert distance_m(before, walk.place) <= fastest * 5
            assert walk.speed_mps <= fastest
            before = walk.place


def test_officers_move_and_stand(streets: Streets) -> None:
    walk = walk_of(streets, 0, "foot")
    speeds = []
    for _ in range(2000):
        walk.step(5)
        speeds.append(walk.speed_mps)
    standing = sum(speed == 0 for speed in speeds) / len(speeds)
    assert 0.08 < standing < 0.6
    assert statistics.mean(speed for speed in speeds if speed) == pytest.approx(1.2, rel=0.25)


def test_an_officer_stays_in_his_area(town: Town, streets: Streets) -> None:
    for number in range(20):
        officer = [person for person in town.people if person.role == "officer"][number]
        area = town.area(officer.posts[0].area_id)  # type: ignore[arg-type]
        walk = walk_of(streets, number, "foot")
        inside = 0
        for _ in range(300):
            walk.step(20)
            inside += area.polygon.buffer(0.0015).contains(Point(walk.place))
        assert inside > 240, officer.login


def test_a_walk_goes_on_from_where_it_was_left(streets: Streets) -> None:
    walk = walk_of(streets, 5)
    for _ in range(100):
        walk.step(5)
    again = Walk(streets, streets.beat(None, "foot"), "foot", Random(9), start=walk.place)
    assert distance_m(walk.place, again.place) < 120


def test_an_area_the_town_does_not_have_means_the_whole_town(streets: Streets) -> None:
    from uuid import uuid4

    assert streets.beat(uuid4(), "foot") == streets.beat(None, "foot")
    assert len(streets.beat(None, "foot")) > 900


def test_routes_are_connected_and_no_detour(streets: Streets) -> None:
    random = Random(4)
    for _ in range(40):
        a, b = (random.randrange(len(streets.places)) for _ in range(2))
        route = streets.route(a, b, "foot")
        assert route is not None
        here = a
        length = 0.0
        for way, forward in route:
            start, end = streets.ways[way].start, streets.ways[way].end
            assert here == (start if forward else end)
            here = end if forward else start
            length += streets.ways[way].length_m
        assert here == b
        straight = math.dist(streets.places[a], streets.places[b])
        assert straight * 0.999 <= length <= 3 * straight + 900


def test_the_same_seed_walks_the_same_way(streets: Streets) -> None:
    def track(seed: int) -> list[Measurement | None]:
        walk, receiver = walk_of(streets, 2, seed=seed), Receiver(Random(seed), Mishaps())
        found = []
        for k in range(500):
            walk.step(5)
            found.append(receiver.measure(walk, 1_700_000_000 + 5 * k, 5))
        return found

    assert track(1) == track(1)
    assert track(1) != track(2)


def test_errors_wander_instead_of_jumping(streets: Streets) -> None:
    """Neighbouring errors are alike, distant ones are not, and the radius that is reported holds about 68 %."""
    walk, receiver = walk_of(streets, 1, "foot"), Receiver(Random(3), CALM)
    errors: list[tuple[float, float]] = []
    within = 0
    for k in range(6000):
        walk.step(2)
        measured = receiver.measure(walk, float(k), 2)
        assert measured is not None
        x, y = metres(measured.lon, measured.lat)
        tx, ty = metres(*walk.place)
        errors.append((x - tx, y - ty))
        within += math.hypot(x - tx, y - ty) <= measured.accuracy_m
    east = [error[0] for error in errors]
    spread = statistics.pvariance(east)

    def alike(lag: int) -> float:
        return statistics.mean(a * b for a, b in zip(east, east[lag:], strict=False)) / spread

    assert alike(1) > 0.85
    assert abs(alike(150)) < 0.35
    assert 0.5 < within / len(errors) < 0.85


def test_batteries_drain_and_are_charged_before_they_are_empty(streets: Streets) -> None:
    walk, receiver = walk_of(streets, 1, "foot"), Receiver(Random(5), CALM)
    levels = []
    for k in range(12 * 120):
        walk.step(30)
        measured = receiver.measure(walk, float(k), 30)
        assert measured is not None
        levels.append((measured.battery_pct, measured.charging))
    assert min(level for level, _ in levels) > 5
    assert any(charging for _, charging in levels)
    for (before, charging), (after, still) in pairwise(levels):
        if charging == still:
            assert (after >= before) if charging else (after <= before)


def test_mishaps_happen_about_as_often_as_they_are_set(streets: Streets) -> None:
    mishaps = Mishaps(tunnels_per_h=6, mocks_per_fix=0.01, jumps_per_fix=0.01)
    walk, receiver = walk_of(streets, 1, "foot"), Receiver(Random(6), mishaps)
    gaps = mocks = jumps = fixes = 0
    blind = False
    for k in range(8000):
        walk.step(5)
        measured = receiver.measure(walk, 5.0 * k, 5)
        if measured is None:
            gaps += not blind
            blind = True
            continue
        blind = False
        fixes += 1
        mocks += measured.mock
        jumps += not measured.mock and distance_m((measured.lon, measured.lat), walk.place) > 1000
    hours = 8000 * 5 / 3600
    assert 3 * hours < gaps < 7 * hours
    assert 0.005 * fixes < mocks < 0.02 * fixes
    assert 0.005 * fixes < jumps < 0.02 * fixes


def test_a_calm_phone_has_no_mishaps(streets: Streets) -> None:
    walk, receiver = walk_of(streets, 7), Receiver(Random(8), CALM)
    for k in range(1500):
        walk.step(5)
        measured = receiver.measure(walk, float(k), 5)
        assert measured is not None
        assert not measured.mock
        assert distance_m((measured.lon, measured.lat), walk.place) < 120


def test_a_thousand_officers_cost_little(streets: Streets) -> None:
    walks = [walk_of(streets, number % 320, seed=number) for number in range(1000)]
    receivers = [Receiver(Random(number), Mishaps()) for number in range(1000)]
    started = time.process_time()
    for walk, receiver in zip(walks, receivers, strict=True):
        walk.step(5)
        receiver.measure(walk, 0.0, 5)
    # One round is due every five seconds; the first one, in which everybody finds a route, costs most.
    assert time.process_time() - started < 2.5
