"""Leaving a route is told with when and how far, noise is not, and the order of arrival changes nothing."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.adherence import BACK_S, NOTHING_SEEN, OFF_S, Corridor, Course, Deviation, fold, follow
from geo.fixes import Fix, Flag
from geo.motion import GAP_S

START = datetime(2026, 5, 1, tzinfo=UTC)
LON, LAT = 121.47, 31.23
M_PER_LAT = 111_195.08
M_PER_LON = M_PER_LAT * math.cos(math.radians(LAT))


def place(east_m: float, north_m: float) -> tuple[float, float]:
    return LON + east_m / M_PER_LON, LAT + north_m / M_PER_LAT


def fix(seconds: float, east_m: float, north_m: float = 0.0, **more: object) -> Fix:
    return Fix(START + timedelta(seconds=seconds), *place(east_m, north_m), **{"accuracy_m": 5.0, **more})  # type: ignore[arg-type]


STREET = Corridor([place(0, 0), place(1_000, 0), place(1_000, 500)], 30.0)


def deviations(fixes: list[Fix], corridor: Corridor = STREET) -> list[Deviation]:
    course, ended = fold(NOTHING_SEEN, fixes, corridor)
    return ended + course.close()


def astray(north_m: float, since_s: float, until_s: float, every_s: float = 5.0, **more: object) -> list[Fix]:
    """A walk along the street that is `north_m` beside it for a while."""
    return [
        fix(t, 1.2 * t, north_m if since_s <= t < until_s else 0.0, **more)
        for t in (every_s * i for i in range(int(600 / every_s)))
    ]


@pytest.mark.parametrize("every_s", [2.0, 5.0, 15.0, 60.0])
def test_a_deviation_is_told_with_when_it_began_and_ended_and_how_far_it_went(every_s):
    (there,) = deviations(astray(120, 120, 300, every_s))
    assert there.began_at == START + timedelta(seconds=120)
    assert there.ended_at == pytest.approx(START + timedelta(seconds=300), abs=timedelta(seconds=every_s))
    assert there.furthest_m == pytest.approx(120, rel=0.01)


def test_what_is_in_the_corridor_or_within_the_accuracy_or_short_is_no_deviation():
    assert deviations(astray(29, 60, 500)) == []
    assert deviations(astray(69, 60, 500, accuracy_m=20.0)) == []
    assert deviations(astray(120, 120, 120 + OFF_S - 5)) == []
    assert len(deviations(astray(120, 120, 120 + OFF_S + 10))) == 1


def test_one_fix_back_inside_does_not_end_it_and_one_outside_begins_nothing():
    track = astray(120, 120, 400)
    track[50].lat = LAT
    (there,) = deviations(track)
    assert there.ended_at == START + timedelta(seconds=400)
    alone = astray(0, 0, 0)
    alone[50].lat = LAT + 0.01
    assert deviations(alone) == []


def test_hidden_fixes_say_nothing():
    for flag in (Flag.MOCK, Flag.IMPOSSIBLE_SPEED, Flag.INACCURATE):
        assert deviations(astray(120, 120, 400, flags=int(flag))) == []


def test_it_goes_on_until_he_is_back_and_ends_where_a_gap_or_the_patrol_ends():
    track = [f for f in astray(120, 120, 600) if (f.fixed_at - START).total_seconds() < 300]
    course, ended = fold(NOTHING_SEEN, track, STREET)
    assert ended == []
    (there,) = course.deviations()
    assert there.ended_at is None
    last = START + timedelta(seconds=295)
    assert course.close() == [msgspec.structs.replace(there, ended_at=last)]
    _, (over,) = course.take(fix(300 + GAP_S, 0), STREET)
    assert over.ended_at == last


def test_bad_reception_between_houses_is_hardly_ever_a_deviation(thin):
    """Errors of 8 m on each axis that last a minute, and of which the receiver is wrong by up to a factor of two."""
    random_ = random.Random(1)
    told = walks = 0
    for _ in range(thin(400, 40)):
        walks += 1
        error, lie, track = [random_.gauss(0, 8), random_.gauss(0, 8)], random_.gauss(0, 0.35), []
        keep = math.exp(-5 / 60)
        for i in range(240):
            error = [keep * e + random_.gauss(0, 8 * math.sqrt(1 - keep * keep)) for e in error]
            track.append(fix(5 * i, 4 * i + error[0], error[1], accuracy_m=12 * math.exp(lie)))
        told += len(deviations(track))
    print(f"\nadherence: {told} false deviations on {walks} walks of twenty minutes")
    assert told <= walks * 0.01


@given(
    seconds=st.lists(st.sampled_from([0, 5, 5, 20, 70, 100, 300]), max_size=40),
    data=st.data(),
)
def test_the_order_of_arrival_and_the_batches_change_nothing_and_neither_do_duplicates(seconds, data):
    """F18, F19."""
    track, at, seq = [], 0, 0
    for wait_s in seconds:
        at, seq = at + wait_s, seq + 1 if wait_s == 0 else 0
        north_m = data.draw(st.sampled_from([0.0, 0.0, 80.0, 200.0, 200.0]))
        flags = data.draw(st.sampled_from([0, 0, 0, int(Flag.MOCK)]))
        track.append(fix(at, 100.0, north_m, flags=flags, seq=seq))
    arriving = list(data.draw(st.permutations(track)))
    arriving += data.draw(st.lists(st.sampled_from(track), max_size=4)) if track else []
    kept: dict[tuple[datetime, int], Fix] = {}
    course, told = NOTHING_SEEN, []

    def read(since: datetime | None) -> list[Fix]:
        return [f for f in kept.values() if since is None or f.fixed_at >= since]

    while arriving:
        size = data.draw(st.integers(1, len(arriving)))
        batch, arriving = arriving[:size], arriving[size:]
        new = [f for f in batch if (f.fixed_at, f.seq) not in kept]
        kept |= {(f.fixed_at, f.seq): f for f in batch}
        stored = msgspec.json.decode(msgspec.json.encode(course), type=Course)
        assert stored == course
        after = follow(stored, new, STREET, read)
        if after.is_again:
            told = [d for d in told if after.again_from is not None and d.began_at <= after.again_from]
        told += after.ended
        course = after.course
    whole, ended = fold(NOTHING_SEEN, track, STREET)
    assert sorted(told, key=lambda d: d.began_at) == ended
    assert (course.deviations(), course.close()) == (whole.deviations(), whole.close())


def test_the_distance_from_a_line_is_the_one_to_its_nearest_piece_on_either_side_of_longitude_180():
    assert STREET.distance_m(*place(500, 40)) == pytest.approx(40, rel=0.001)
    assert STREET.distance_m(*place(1_030, 540)) == pytest.approx(50, rel=0.001)
    assert Corridor([place(0, 0)], 10).distance_m(*place(30, 40)) == pytest.approx(50, rel=0.001)
    dateline = Corridor([(179.999, 0.0), (-179.999, 0.0)], 10)
    assert dateline.distance_m(180.0, 0.001) == pytest.approx(111.2, rel=0.001)
    assert dateline.distance_m(-180.0, 0.001) == pytest.approx(111.2, rel=0.001)
    with pytest.raises(ValueError, match="line"):
        Corridor([], 10)


def test_it_ends_only_after_he_was_back_for_a_while():
    track = astray(120, 120, 400)
    inside = [f for f in track if 400 <= (f.fixed_at - START).total_seconds() < 400 + BACK_S]
    course, ended = fold(NOTHING_SEEN, [f for f in track if f.fixed_at <= inside[-1].fixed_at], STREET)
    assert ended == []
    assert course.close()[0].ended_at == inside[0].fixed_at
