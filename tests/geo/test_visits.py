"""Who stayed at a checkpoint is found in the fixes, whatever order they come in, and passing by is no visit."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.fixes import Fix, Flag
from geo.motion import GAP_S
from geo.visits import (
    LOOKBACK_S,
    MOST_DOUBT_M,
    NOTHING_SEEN,
    Fence,
    Fences,
    Presence,
    Watch,
    fold,
    follow,
    in_order,
    resumed,
)

START = datetime(2026, 5, 1, tzinfo=UTC)
LON, LAT = 121.47, 31.23
M_PER_LAT = 111_195.08
M_PER_LON = M_PER_LAT * math.cos(math.radians(LAT))


def fix(seconds: float, east_m: float = 0.0, north_m: float = 0.0, **more: object) -> Fix:
    place = LON + east_m / M_PER_LON, LAT + north_m / M_PER_LAT
    return Fix(START + timedelta(seconds=seconds), *place, **more)  # type: ignore[arg-type]


def fence(
    number: int, east_m: float = 0.0, north_m: float = 0.0, radius_m: float = 20.0, min_dwell_s: float = 45.0
) -> Fence:
    return Fence(UUID(int=number), LON + east_m / M_PER_LON, LAT + north_m / M_PER_LAT, radius_m, min_dwell_s)


def street(count: int = 3, apart_m: float = 40.0) -> Fences:
    """Checkpoints along a street, whose fences touch."""
    return Fences(fence(i, i * apart_m) for i in range(count))


def walk(
    *legs: tuple[float, float, float], every_s: float = 5.0, accuracy_m: float = 6.0, speeds: bool = True
) -> list[Fix]:
    """The fixes of somebody who goes to places (east_m, north_m) at 1.2 m/s and stays so many seconds at each.

    He begins 60 m to the west of the first place.
    """
    path = [(0.0, legs[0][0] - 60.0, legs[0][1], 1.2)]
    for east_m, north_m, stay_s in legs:
        at, x, y, _ = path[-1]
        there = at + math.hypot(east_m - x, north_m - y) / 1.2
        path += [(there, east_m, north_m, 0.0), (there + stay_s, east_m, north_m, 1.2)]
    fixes, i = [], 0
    for n in range(int(path[-1][0] / every_s) + 1):
        at = n * every_s
        while i + 2 < len(path) and path[i + 1][0] <= at:
            i += 1
        (a, xa, ya, speed), (b, xb, yb, _) = path[i], path[i + 1]
        share = (at - a) / (b - a) if b > a else 0.0
        fixes.append(
            fix(at, xa + share * (xb - xa), ya + share * (yb - ya), accuracy_m=accuracy_m,
                speed_mps=speed if speeds else None)
        )  # fmt: skip
    return fixes


def presences(fixes: Iterable[Fix], fences: Fences) -> list[Presence]:
    """All presences of a track that is over, in the order of their arrival."""
    watch, ended = fold(NOTHING_SEEN, fixes, fences)
    return sorted([*ended, *watch.close(fences)], key=lambda p: (p.arrived_at, p.checkpoint_id))


def visited(fixes: Iterable[Fix], fences: Fences) -> list[int]:
    return [p.checkpoint_id.int for p in presences(fixes, fences) if p.is_visit]


# --- What is a visit ---


@pytest.mark.parametrize("every_s", [1.0, 2.0, 5.0, 15.0, 30.0, 60.0])
def test_staying_at_a_checkpoint_is_a_visit_to_it_and_to_no_neighbour(every_s):
    track = walk((40, 0, 60), (300, 0, 0), every_s=every_s)
    assert visited(track, street()) == [1]
    if every_s < 30:
        (there,) = [p for p in presences(track, street()) if p.is_visit]
        assert there.arrived_at == pytest.approx(
            START + timedelta(seconds=40 / 1.2), abs=timedelta(seconds=every_s)
        )
        assert there.dwell_s == pytest.approx(60 + 40 / 1.2, abs=2 * every_s)
        assert there.nearest_m < 1.0
        assert there.silent_s == every_s


@pytest.mark.parametrize("every_s", [2.0, 5.0, 15.0, 30.0])
@pytest.mark.parametrize("speeds", [True, False])
def test_passing_by_on_the_next_lane_is_no_visit(every_s, speeds):
    by = walk((0, 25, 0), (200, 25, 0), every_s=every_s, accuracy_m=25.0, speeds=speeds)
    assert visited(by, street()) == []
    through = walk((0, 0, 0), (20, 0, 0), (200, 0, 0), every_s=every_s, speeds=speeds)
    assert visited(through, Fences([fence(1, min_dwell_s=60.0)])) == []


def test_standing_where_the_fence_is_out_of_reach_is_no_visit():
    away = walk((0, 45, 300), (200, 45, 0), accuracy_m=10.0)
    assert visited(away, street()) == []


@pytest.mark.parametrize("error_m", [0, 15, 30])
def test_who_stands_is_granted_the_doubt_that_his_accuracy_admits(error_m):
    fences = Fences([fence(1)])
    track = [fix(5 * i, 0, 19 + error_m, accuracy_m=max(5, error_m), speed_mps=0.1) for i in range(20)]
    assert visited(track, fences) == [1]
    moving = [msgspec.structs.replace(f, speed_mps=1.3) for f in track]
    assert visited(moving, fences) == ([1] if error_m == 0 else [])


def test_doubt_has_an_end():
    far = [fix(5 * i, 0, 21 + MOST_DOUBT_M, accuracy_m=500.0, speed_mps=0.0) for i in range(50)]
    assert visited(far, Fences([fence(1)])) == []


def test_an_outlier_and_a_silence_of_two_minutes_do_not_end_a_stay():
    track = [
        f for f in walk((0, 0, 600), (300, 0, 0)) if not 200 <= (f.fixed_at - START).total_seconds() < 310
    ]
    track[30] = msgspec.structs.replace(track[30], lon=LON + 90 / M_PER_LON)
    (there,) = [p for p in presences(track, street(1)) if p.is_visit]
    assert there.dwell_s > 600
    assert there.silent_s == 115


def test_a_gap_ends_a_stay_where_it_was_last_seen():
    track = walk((0, 0, 900), (300, 0, 0))
    kept = [f for f in track if not 300 <= (f.fixed_at - START).total_seconds() < 300 + GAP_S + 10]
    before, after = presences(kept, street(1))
    assert before.left_at == START + timedelta(seconds=295)
    assert before.is_visit
    assert after.is_visit
    assert before.silent_s == after.silent_s == GAP_S


def test_of_two_checkpoints_at_one_place_both_are_visited():
    fences = Fences([fence(1), fence(2, 6.0), fence(3, 45.0)])
    assert sorted(visited(walk((3, 0, 60), (300, 0, 0)), fences)) == [1, 2]


def test_a_mocked_place_proves_nothing_and_is_counted():
    track = walk((0, 0, 300), (300, 0, 0))
    for f in track:
        f.flags = int(Flag.MOCK)
    assert presences(track, street(1)) == []
    for f in track[::2]:
        f.flags = 0
    (there,) = presences(track, street(1))
    assert there.is_visit
    assert there.mocks == there.doubtful == pytest.approx(there.fixes, abs=4)
    assert there.accuracy_m == pytest.approx(6.0)


def test_a_stay_goes_on_until_he_left_and_is_a_visit_while_it_does():
    track = walk((0, 0, 300))
    watch, ended = fold(NOTHING_SEEN, track, street(1))
    assert ended == []
    (there,) = watch.presences(street(1))
    assert there.left_at is None
    assert there.is_visit
    assert watch.close(street(1)) == [msgspec.structs.replace(there, left_at=track[-1].fixed_at)]


def test_a_checkpoint_that_is_gone_ends_the_stay_at_it():
    track = walk((0, 0, 300))
    watch, _ = fold(NOTHING_SEEN, track[:40], street(1))
    watch, ended = fold(watch, track[40:], Fences([]))
    assert watch.is_quiet
    assert [p.checkpoint_id.int for p in ended] == [0]


# --- Any order, any batches ---


@st.composite
def tracks(draw: st.DrawFn) -> list[Fix]:
    """A walk among checkpoints with gaps, flags, missing words, and several fixes at one instant."""
    fixes, seconds, seq = [], 0.0, 0
    east_m = draw(st.floats(-100, 100))
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from([0.0, 1.0, 5.0, 5.0, 30.0, 100.0, 250.0, 500.0]),
                st.floats(-30, 30),
                st.sampled_from([0.0, 0.0, 10.0, 25.0]),
                st.sampled_from([None, 4.0, 20.0, 60.0]),
                st.sampled_from([None, 0.0, 0.6, 1.3]),
                st.sampled_from([0, 0, 0, 0, int(Flag.MOCK), int(Flag.INACCURATE), int(Flag.LATE)]),
                st.booleans(),
            ),
            max_size=40,
        )
    )  # fmt: skip
    for wait_s, step_m, north_m, accuracy_m, speed_mps, flags, stays in steps:
        seconds, seq = seconds + wait_s, seq + 1 if wait_s == 0.0 else 0
        east_m += 0.0 if stays else step_m
        fixes.append(
            fix(seconds, east_m, north_m, accuracy_m=accuracy_m, speed_mps=speed_mps, flags=flags, seq=seq)
        )
    return fixes


TOWN = Fences(
    [fence(1), fence(2, 40.0), fence(3, 46.0, 5.0), fence(4, 100.0, 0.0, 40.0, 20.0), fence(5, -70.0)]
)


class Caller:
    """Keeps fixes and presences as a database does, and lets what is late replace what was told."""

    def __init__(self) -> None:
        self.kept: dict[tuple[datetime, int], Fix] = {}
        self.watch = NOTHING_SEEN
        self.told: list[Presence] = []

    def receive(self, batch: list[Fix]) -> None:
        new = [f for f in batch if (f.fixed_at, f.seq) not in self.kept]
        self.kept |= {(f.fixed_at, f.seq): f for f in batch}
        stored = msgspec.json.decode(msgspec.json.encode(self.watch), type=Watch)
        assert stored == self.watch
        followed = follow(stored, new, TOWN, self.read)
        if followed.is_again:
            since = followed.again_from
            self.told = [p for p in self.told if since is not None and p.arrived_at <= since]
        self.told += followed.ended
        self.watch = followed.watch

    def read(self, since: datetime | None) -> list[Fix]:
        return [f for f in self.kept.values() if since is None or f.fixed_at >= since]


@given(track=tracks(), data=st.data())
def test_the_order_of_arrival_and_the_batches_change_nothing_and_neither_do_duplicates(track, data):
    """F18, F19."""
    order = data.draw(st.permutations(track)) if data.draw(st.booleans()) else track
    again = data.draw(st.lists(st.sampled_from(track), max_size=5)) if track else []
    arriving = [*order, *again]
    caller = Caller()
    while arriving:
        size = data.draw(st.integers(1, len(arriving)))
        caller.receive(arriving[:size])
        arriving = arriving[size:]
    watch, ended = fold(NOTHING_SEEN, track, TOWN)
    assert sorted(caller.told, key=lambda p: (p.arrived_at, p.checkpoint_id)) == sorted(
        ended, key=lambda p: (p.arrived_at, p.checkpoint_id)
    )
    assert caller.watch.presences(TOWN) == watch.presences(TOWN)
    assert caller.watch.close(TOWN) == watch.close(TOWN)


@given(track=tracks(), cut=st.integers(0, 40))
def test_at_a_quiet_moment_the_last_minutes_say_all(track, cut):
    """F19: what is folded again from there is what a fold from the beginning finds."""
    before, after = track[:cut], track[cut:]
    watch, _ = fold(NOTHING_SEEN, before, TOWN)
    if watch.is_quiet and watch.at is not None:
        since = watch.at - timedelta(seconds=LOOKBACK_S)
        again = resumed(f for f in before if f.fixed_at >= since)
        (whole, ended), (part, ended_again) = fold(watch, after, TOWN), fold(again, after, TOWN)
        assert ended_again == ended
        assert (part.open, part.stand) == (whole.open, whole.stand)


@given(track=tracks())
def test_a_presence_lies_within_its_track_and_has_a_fix_inside(track):
    for there in presences(track, TOWN):
        assert there.left_at is not None
        assert track[0].fixed_at <= there.arrived_at <= there.seen_at <= there.left_at <= track[-1].fixed_at
        assert there.fixes >= 1
        assert there.dwell_s == (there.left_at - there.arrived_at).total_seconds()
        assert 0 <= there.mocks <= there.doubtful
        assert there.nearest_m <= 40.0 + MOST_DOUBT_M
        assert there.silent_s <= GAP_S


def test_a_backlog_of_hours_is_folded_again_from_shortly_before_it(thin):
    """F19: what is late by a while costs about as much again, not the whole shift."""
    random_ = random.Random(1)
    track = []
    for lap in range(thin(40, 12)):
        legs = walk((0, 0, random_.choice([0, 60])), (200, 0, 0))
        track += [
            msgspec.structs.replace(f, fixed_at=f.fixed_at + timedelta(seconds=600 * lap)) for f in legs
        ]
    watch, _ = fold(NOTHING_SEEN, track, TOWN)
    assert len(watch.rungs) < 40
    end = track[-1].fixed_at
    for late_s in (60, 600, 3_000, 6_000):
        at = end - timedelta(seconds=late_s)
        since = watch.quiet_before(at)
        assert since is not None
        assert at - since <= timedelta(seconds=late_s + 600)


# --- What it costs ---


@pytest.mark.parametrize("latitude", [0.0, 31.0, 60.0, -45.0])
def test_a_look_up_measures_as_few_distances_in_a_town_of_100_000_checkpoints_as_in_one_of_100(
    thin, latitude
):
    """At the same density; counted in distances, which a machine does not change."""
    counts = []
    for checkpoints in (100, 10_000, thin(100_000, 30_000)):
        side = round(math.sqrt(checkpoints))
        scale = math.cos(math.radians(latitude))
        fences = Fences(
            Fence(UUID(int=i), LON + i % side * 0.0005 / scale, latitude + i // side * 0.0005, 25.0, 30.0)
            for i in range(side * side)
        )
        random_ = random.Random(latitude)
        span = min(side, 10) * 0.0005
        places = [
            (LON + random_.uniform(0, span) / scale, latitude + random_.uniform(0, span)) for _ in range(500)
        ]
        for lon, lat in places:
            fences.near(lon, lat, MOST_DOUBT_M)
        counts.append(fences.measured / len(places))
    assert max(counts) <= 12
    assert counts[2] <= counts[1] * 1.3 <= counts[0] * 2.0


@given(
    lon=st.one_of(st.floats(-180, 180), st.sampled_from([-180.0, 179.99999, 180.0])),
    lat=st.floats(-80, 80),
    east_m=st.floats(-200, 200),
    north_m=st.floats(-200, 200),
    radius_m=st.floats(5, 150),
    doubt_m=st.floats(0, 60),
)
def test_no_fence_that_is_near_is_overlooked_on_either_side_of_longitude_180(
    lon, lat, east_m, north_m, radius_m, doubt_m
):
    fences = Fences([Fence(UUID(int=1), lon, lat, radius_m, 30.0)])
    place = lon + east_m / (M_PER_LAT * math.cos(math.radians(lat))), lat + north_m / M_PER_LAT
    wrapped = (place[0] + 180.0) % 360.0 - 180.0, place[1]
    distance_m = math.hypot(east_m, north_m)
    bound_m = radius_m + min(doubt_m, MOST_DOUBT_M)
    found = fences.near(*wrapped, doubt_m)
    if abs(distance_m - bound_m) > 0.01:
        assert bool(found) == (distance_m < bound_m)
    for near in found:
        assert near.distance_m == pytest.approx(distance_m, abs=0.01)


def test_fixes_at_one_instant_are_in_order_by_seq_and_a_repeated_one_counts_once():
    """F18."""
    one, two = fix(0, seq=0), fix(0, 5, seq=1)
    assert in_order([two, one, two]) == [one, two]
