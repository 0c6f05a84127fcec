"""How far, how fast, since when standing, where the gaps are, and which points matter."""

from __future__ import annotations

import json
import math
import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.fixes import Fix, Flag
from geo.motion import (
    GAP_S,
    NO_MOVEMENT,
    Movement,
    Status,
    Track,
    distance_m,
    distances_m,
    length_m,
    segments,
    thin,
)

VECTORS = json.loads(
    (Path(__file__).parents[2] / "web/tests/motion-vectors.json").read_text(encoding="utf-8")
)
START = datetime(2026, 5, 1, tzinfo=UTC)
LON, LAT = 121.47, 31.23
M_PER_LAT = 111_195.08
M_PER_LON = M_PER_LAT * math.cos(math.radians(LAT))


def fix(seconds: float, east_m: float = 0.0, north_m: float = 0.0, **more: object) -> Fix:
    place = LON + east_m / M_PER_LON, LAT + north_m / M_PER_LAT
    return Fix(START + timedelta(seconds=seconds), *place, **more)  # type: ignore[arg-type]


def track(epoch_s: object, lon: object, lat: object, accuracy_m: float = math.nan) -> Track:
    columns = [np.asarray(column, dtype=np.float64) for column in (epoch_s, lon, lat)]
    full = np.full(len(columns[0]), accuracy_m)
    return Track(*columns, full, np.full(len(full), math.nan), np.zeros(len(full), dtype=np.int64))


# --- Distance ---


@pytest.mark.parametrize(
    ("a", "b", "expected_m"),
    [
        ((0.0, 0.0), (0.0, 0.0), 0.0),
        ((0.0, 0.0), (1.0, 0.0), 111_319.49),
        ((0.0, 0.0), (0.0, 1.0), 110_574.39),
        ((121.47, 31.23), (116.40, 39.90), 1_067_311.0),
        ((0.0, 0.0), (180.0, 0.0), 20_003_931.0),
        ((179.9, 10.0), (-179.9, 10.0), 21_927.0),
    ],
)
def test_distance_is_within_its_stated_error_of_the_ellipsoid(a, b, expected_m):
    assert distance_m(*a, *b) == pytest.approx(expected_m, rel=0.0057, abs=1e-9)


place = st.tuples(st.floats(-180, 180), st.floats(-90, 90))


@given(a=place, b=place, c=place)
def test_distance_is_a_metric(a, b, c):
    assert distance_m(*a, *b) == pytest.approx(distance_m(*b, *a), abs=1e-6)
    assert distance_m(*a, *c) <= distance_m(*a, *b) + distance_m(*b, *c) + 1e-3
    assert distance_m(*a, *a) == 0.0


@given(places=st.lists(place, max_size=20))
def test_distances_of_columns_are_those_of_pairs(places):
    lon, lat = np.array([p[0] for p in places]), np.array([p[1] for p in places])
    pairs = [distance_m(*a, *b) for a, b in pairwise(places)]
    assert distances_m(lon, lat) == pytest.approx(pairs, abs=1e-3)


# --- Status ---


def status_after(fixes: list[Fix], later_s: float = 1.0) -> Status:
    movement = NO_MOVEMENT
    for one in fixes:
        movement = movement.take(one)
    return movement.status((fixes[-1].fixed_at if fixes else START) + timedelta(seconds=later_s))


def test_without_a_showable_fix_nobody_is_located():
    hidden = [fix(0, flags=int(Flag.MOCK)), fix(5, flags=int(Flag.INACCURATE))]
    assert status_after([]) is Status.UNLOCATED
    assert status_after(hidden) is Status.UNLOCATED


@pytest.mark.parametrize(
    ("speed_mps", "status"),
    [(None, Status.STILL), (0.0, Status.STILL), (0.79, Status.STILL), (0.8, Status.MOVING)],
)
def test_the_first_fix_moves_if_it_says_so(speed_mps, status):
    assert status_after([fix(0, speed_mps=speed_mps)]) is status


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_somebody_moves_or_stands_as_the_desk_client_tells_it(vector: dict[str, Any]) -> None:
    """The client folds what it hears over the socket by the same rule (`web/tests/desk/roster.test.ts`)."""
    state = NO_MOVEMENT
    for at, north_m, speed_mps, accuracy_m in vector["fixes"]:
        state = state.take(fix(at, north_m=north_m, speed_mps=speed_mps, accuracy_m=accuracy_m))
    assert state.moving is vector["moving"]


def test_silence_beats_movement():
    fixes = [fix(0, speed_mps=5.0)]
    assert status_after(fixes, 180.0) is Status.MOVING
    assert status_after(fixes, 180.1) is Status.SILENT
    assert (
        NO_MOVEMENT.take(fixes[0]).status(START + timedelta(seconds=61), silent_after_s=60) is Status.SILENT
    )


def test_between_the_thresholds_nothing_flickers():
    speeds = [1.2, 0.6, 0.5, 0.7, 0.45]
    fixes = [fix(5 * i, 4.0 * i, speed_mps=v) for i, v in enumerate(speeds)]
    assert status_after(fixes) is Status.MOVING
    assert status_after([*fixes, fix(30, 17, speed_mps=0.1)]) is Status.STILL
    assert status_after([*fixes, fix(30, 17, speed_mps=0.1), fix(35, 17, speed_mps=0.6)]) is Status.STILL


def test_without_speeds_leaving_the_spot_is_moving_and_staying_is_not():
    walking = [fix(10 * i, 13.0 * i) for i in range(6)]
    assert status_after(walking) is Status.MOVING
    standing = walking + [fix(60 + 10 * i, 65.0 + (i % 3)) for i in range(9)]
    assert status_after(standing) is Status.STILL


def test_the_noise_of_a_poor_receiver_is_no_movement():
    random_ = random.Random(1)
    standing = [fix(10 * i, random_.gauss(0, 12), random_.gauss(0, 12), accuracy_m=60.0) for i in range(50)]
    movement = NO_MOVEMENT
    for one in standing:
        movement = movement.take(one)
        assert not movement.moving


def test_since_says_when_the_state_began():
    movement = NO_MOVEMENT
    for one in [fix(0, speed_mps=0.0), fix(10, speed_mps=2.0), fix(20, 20, speed_mps=2.0)]:
        movement = movement.take(one)
    assert movement.since == START + timedelta(seconds=10)


@given(
    steps=st.lists(
        st.tuples(
            st.integers(-100, 300),
            st.floats(-200, 200),
            st.one_of(st.none(), st.floats(0, 5)),
            st.integers(0, 15),
        ),
        max_size=20,
    )
)
def test_late_and_hidden_fixes_change_nothing(steps):
    movement: Movement = NO_MOVEMENT
    newest: datetime | None = None
    for seconds, east_m, speed_mps, flags in steps:
        one = fix(seconds, east_m, speed_mps=speed_mps, flags=flags)
        after = movement.take(one)
        if flags & 7 or (newest is not None and one.fixed_at <= newest):
            assert after is movement
        else:
            newest = one.fixed_at
            assert after.last is one
        movement = after


# --- Segments ---


@given(waits=st.lists(st.floats(0, 1_000), max_size=50))
def test_segments_cover_the_track_and_break_at_gaps_alone(waits):
    epoch_s = np.cumsum(np.array(waits, dtype=np.float64))
    parts = segments(epoch_s)
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(len(waits)))
    for part in parts:
        assert (np.diff(epoch_s[part]) <= GAP_S).all()
    for before, after in pairwise(parts):
        assert epoch_s[after.start] - epoch_s[before.stop - 1] > GAP_S


# --- Length ---


def wandering(
    random_: np.random.Generator, every_s: float, sigma_m: float, hours: float = 4.0
) -> tuple[Track, float]:
    """A quarter of an hour's walk, a quarter's rest, and so on, with an error that drifts over a minute."""
    count = int(hours * 3_600 / every_s)
    turns = random_.random(count) < every_s / 120
    heading = np.cumsum(turns * random_.choice([-1, 1], count) * np.pi / 2)
    speed = np.where((np.arange(count) * every_s // 900) % 2 == 0, 1.3, 0.0)
    keep = math.exp(-every_s / 60)

    def error() -> np.ndarray:
        made = np.empty(count)
        made[0] = random_.normal(0, sigma_m)
        for i in range(1, count):
            made[i] = keep * made[i - 1] + random_.normal(0, sigma_m * math.sqrt(1 - keep * keep))
        return made

    x = np.cumsum(speed * every_s * np.cos(heading)) + error()
    y = np.cumsum(speed * every_s * np.sin(heading)) + error()
    epoch_s = START.timestamp() + np.arange(count) * every_s
    measured = track(epoch_s, LON + x / M_PER_LON, LAT + y / M_PER_LAT, accuracy_m=1.51 * sigma_m)
    return measured, float(speed[1:].sum() * every_s)


@pytest.mark.parametrize("sigma_m", [3.0, 6.0, 10.0])
@pytest.mark.parametrize("every_s", [1.0, 5.0, 10.0])
def test_length_is_that_of_the_way_and_not_of_the_noise(every_s, sigma_m):
    measured, true_m = wandering(np.random.default_rng(5), every_s, sigma_m)
    naive_m = float(distances_m(measured.lon, measured.lat).sum())
    ours, naive = length_m(measured) / true_m, naive_m / true_m
    print(f"\nevery {every_s} s, sigma {sigma_m} m: {ours:.3f} of the way, naively {naive:.2f}")
    assert length_m(measured) == pytest.approx(true_m, rel=0.05)


def test_flagged_fixes_add_nothing_to_the_length():
    fixes = [fix(10 * i, 13.0 * i) for i in range(50)]
    way = length_m(Track.of(fixes))
    assert way == pytest.approx(49 * 13.0, rel=0.01)
    fixes[20] = fix(200, 50_000.0, flags=int(Flag.IMPOSSIBLE_SPEED))
    fixes[30] = fix(300, 20_000.0, flags=int(Flag.MOCK | Flag.LATE))
    assert length_m(Track.of(fixes)) == pytest.approx(way, rel=0.001)


def test_the_way_over_a_gap_is_not_known_and_not_counted():
    there = [fix(10 * i, 13.0 * i) for i in range(20)]
    elsewhere = [fix(10_000 + 10 * i, 5_000 + 13.0 * i) for i in range(20)]
    both = length_m(Track.of(there + elsewhere))
    assert both == pytest.approx(length_m(Track.of(there)) + length_m(Track.of(elsewhere)))
    assert length_m(Track.of(there + elsewhere), gap_s=math.inf) > both + 4_000


@given(
    steps=st.lists(st.tuples(st.integers(0, 300), st.floats(-500, 500)), max_size=20),
    seed=st.integers(0, 100),
)
def test_repeating_and_shuffling_fixes_changes_no_length(steps, seed):
    """F18."""
    fixes, seconds = [], 0
    for wait_s, east_m in steps:
        seconds += wait_s + 1
        fixes.append(fix(seconds, east_m))
    shuffled = random.Random(seed).sample(fixes, len(fixes))
    assert length_m(Track.of(shuffled)) == length_m(Track.of(fixes))
    assert length_m(Track.of(fixes * 3)) == pytest.approx(length_m(Track.of(fixes)), abs=1e-6)


@pytest.mark.parametrize("fixes", [[], [fix(0)], [fix(0, flags=1), fix(5, 100.0, flags=1)]])
def test_next_to_nothing_has_no_length(fixes):
    assert length_m(Track.of(fixes)) == 0.0


# --- Thinning ---

ways = st.lists(
    st.tuples(st.floats(0, 200), st.floats(-300, 300), st.floats(-300, 300)), min_size=1, max_size=60
)


def columns(steps: list[tuple[float, float, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    epoch_s = START.timestamp() + np.cumsum([wait for wait, _, _ in steps])
    lon = LON + np.cumsum([east for _, east, _ in steps]) / M_PER_LON
    lat = LAT + np.cumsum([north for _, _, north in steps]) / M_PER_LAT
    return epoch_s, lon, lat


@given(steps=ways, at_most=st.integers(2, 70), tolerance_m=st.one_of(st.just(0.0), st.floats(0, 500)))
def test_what_is_left_is_few_enough_and_as_true_as_it_says(steps, at_most, tolerance_m):
    epoch_s, lon, lat = columns(steps)
    thinned = thin(epoch_s, lon, lat, at_most, tolerance_m=tolerance_m)
    kept = thinned.kept
    assert len(kept) <= at_most
    assert (np.diff(kept) > 0).all()
    parts = segments(epoch_s)
    ends = {end for part in parts for end in (part.start, part.stop - 1)}
    if math.isinf(thinned.error_m):
        assert len(ends) > at_most
        return
    assert ends <= set(kept.tolist())
    worst = 0.0
    for part in parts:
        inside = kept[(kept >= part.start) & (kept < part.stop)]
        if len(set(epoch_s[part].tolist())) < part.stop - part.start:
            return  # At one instant there is no one place to compare with.
        shown_lon = np.interp(epoch_s[part], epoch_s[inside], lon[inside])
        shown_lat = np.interp(epoch_s[part], epoch_s[inside], lat[inside])
        off = np.hypot((shown_lon - lon[part]) * M_PER_LON, (shown_lat - lat[part]) * M_PER_LAT)
        worst = max(worst, float(off.max()))
    assert worst <= thinned.error_m * 1.02 + 1e-3
    assert len(kept) == at_most or thinned.error_m <= tolerance_m


@given(steps=ways)
def test_with_room_for_all_nothing_that_matters_goes(steps):
    epoch_s, lon, lat = columns(steps)
    assert thin(epoch_s, lon, lat, len(steps) + 1).error_m == 0.0


def test_a_stop_on_a_straight_road_survives():
    seconds = np.array([0.0, 60, 120, 180, 240, 300, 360, 420, 480])
    east = np.array([0.0, 80, 160, 160, 160, 160, 160, 240, 320])
    thinned = thin(seconds, LON + east / M_PER_LON, np.full(9, LAT), 4)
    assert thinned.kept.tolist() == [0, 2, 6, 8]
    assert thinned.error_m == pytest.approx(0.0, abs=1e-3)


def test_a_steady_straight_walk_needs_two_points():
    east = np.arange(1_000) * 1.3
    thinned = thin(np.arange(1_000.0), LON + east / M_PER_LON, np.full(1_000, LAT), 500, tolerance_m=1.0)
    assert thinned.kept.tolist() == [0, 999]


def test_a_track_of_single_fixes_loses_whole_ones_evenly():
    seconds = np.arange(100) * 1_000.0
    thinned = thin(seconds, np.full(100, LON), np.full(100, LAT), 20)
    assert len(thinned.kept) <= 20
    assert {0, 99} <= set(thinned.kept.tolist())
    assert math.isinf(thinned.error_m)


def test_a_track_over_the_date_line_stays_whole():
    seconds = np.arange(5.0)
    lon = np.array([179.98, 179.99, -180.0, -179.99, -179.98])
    assert thin(seconds, lon, np.zeros(5), 2).error_m < 1.0


def test_an_empty_track_stays_empty():
    nothing = np.zeros(0)
    assert thin(nothing, nothing, nothing, 10).kept.tolist() == []
    assert segments(nothing) == []


def test_fewer_than_two_points_cannot_be_asked_for():
    with pytest.raises(ValueError, match="two ends"):
        thin(np.zeros(3), np.zeros(3), np.zeros(3), 1)


def test_the_worst_part_is_kept_first():
    """With fewer points the error never shrinks."""
    measured, _ = wandering(np.random.default_rng(3), 5.0, 3.0, hours=1.0)
    errors = [thin(measured.epoch_s, measured.lon, measured.lat, n).error_m for n in (5, 20, 80, 320)]
    assert errors == sorted(errors, reverse=True)
