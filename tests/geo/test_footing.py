"""Teleports, 300 km/h foot patrols and mock places are told from walks, lifts, tunnels and noise."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.fixes import HIDDEN, Fix, Flag, ShiftWindow
from geo.footing import MAX_SPEED_MPS, SLACK, Footing, within_reach
from geo.pipeline import Batch, Context, run

START = datetime(2026, 5, 1, 0, 0, tzinfo=UTC)
SHIFT = ShiftWindow(UUID(int=1), UUID(int=2), None, START - timedelta(days=1), START + timedelta(days=2))
LON, LAT = 121.47, 31.23
M_PER_LON = 111_195 * math.cos(math.radians(LAT))

SPEEDS_MPS = {
    "foot": (0.0, 1.3, 1.3, 3.0, 20.0),
    "e_bike": (0.0, 4.0, 7.0, 18.0),
    "car": (0.0, 8.0, 15.0, 33.0),
}
"""What each travel does in turn; 20 m/s on foot is a lift in a patrol car, 33 m/s a motorway."""


def at(seconds: float, east_m: float, north_m: float = 0.0, **more: object) -> Fix:
    place = LON + east_m / M_PER_LON, LAT + north_m / 111_195
    return Fix(START + timedelta(seconds=seconds), *place, **more)  # type: ignore[arg-type]


def judged(fixes: list[Fix], travel: str | None = "foot") -> list[Fix]:
    received_at = fixes[-1].fixed_at
    return run(Batch(fixes), Context(received_at, [SHIFT], travel=travel)).fixes


def outing(random_: random.Random, travel: str, every_s: float, hours: float) -> list[Fix]:
    """A way with stops, turns and tunnels, measured by a receiver whose error drifts over a minute."""
    fixes: list[Fix] = []
    east = north = seconds = heading = 0.0
    error = [0.0, 0.0]
    speed, change_at = 0.0, 0.0
    sigma_m, blind_until, poor_until = 4.0, 0.0, 0.0
    while seconds < hours * 3_600:
        if seconds >= change_at:
            speed = random_.choice(SPEEDS_MPS[travel]) * random_.uniform(0.8, 1.1)
            heading += random_.choice([-1, 0, 1]) * math.pi / 2
            change_at = seconds + random_.uniform(30, 600)
            sigma_m = random_.choice([3.0, 3.0, 6.0, 12.0, 25.0])
            if random_.random() < 0.15:
                blind_until = seconds + random_.uniform(20, 300)
                poor_until = blind_until + random_.uniform(5, 60)
        sigma = random_.uniform(40, 120) if seconds < poor_until else sigma_m
        keep = math.exp(-every_s / 60.0)
        error = [keep * e + random_.gauss(0, sigma * math.sqrt(1 - keep * keep)) for e in error]
        if seconds >= blind_until:
            accuracy_m = 1.51 * sigma * random_.lognormvariate(0, 0.25)
            fixes.append(at(seconds, east + error[0], north + error[1], accuracy_m=accuracy_m))
        east += speed * every_s * math.cos(heading)
        north += speed * every_s * math.sin(heading)
        seconds += every_s
    return fixes


def flags_of(fixes: list[Fix], travel: str | None = "foot") -> list[bool]:
    return [bool(kept.flags & Flag.IMPOSSIBLE_SPEED) for kept in judged(fixes, travel)]


# --- F21: rates ---


@pytest.mark.parametrize("travel", ["foot", "e_bike", "car"])
def test_ordinary_movement_is_hardly_ever_flagged(thin, travel):
    """F21: the false alarm rate, over walks, lifts, motorways, stops, tunnels and poor reception."""
    random_ = random.Random(travel)
    for every_s in (1.0, 5.0, 10.0, 30.0, 60.0):
        fixes = flagged = 0
        for _ in range(thin(20, 3)):
            kept = flags_of(outing(random_, travel, every_s, hours=max(0.5, every_s / 20)), travel)
            fixes += len(kept)
            flagged += sum(kept)
        rate = flagged / fixes
        print(
            f"\nF21 {travel:6} every {every_s:2.0f} s: {flagged} false alarms in {fixes} ({rate:.4%})", end=""
        )
        assert flagged <= 0.001 * fixes


JUMPS_M = (200, 500, 1_000, 3_000, 10_000, 50_000)


@pytest.mark.parametrize("travel", ["foot", "e_bike", "car"])
def test_single_jumps_out_of_reach_are_all_found_and_drag_nothing_along(thin, travel):
    """F21: detection by size of the jump (small ones are within reach of a car), and what it does to others."""
    random_ = random.Random(travel)
    for every_s in (1.0, 5.0, 10.0, 30.0, 60.0):
        count, found = dict.fromkeys(JUMPS_M, 0), dict.fromkeys(JUMPS_M, 0)
        missed = others = dragged = 0
        for _ in range(thin(20, 3)):
            fixes = outing(random_, travel, every_s, hours=max(0.5, every_s / 20))
            out = {}
            for i in range(random_.randint(5, 40), len(fixes) - 1, 40):
                before = judged([fixes[i - 1]], travel)[0]
                seconds = (fixes[i].fixed_at - before.fixed_at).total_seconds()
                out[i] = jump_m = random_.choice(JUMPS_M)
                turn = random_.uniform(0, 2 * math.pi)
                fixes[i].lon = before.lon + jump_m * math.cos(turn) / M_PER_LON
                fixes[i].lat = before.lat + jump_m * math.sin(turn) / 111_195
                fixes[i].accuracy_m = accuracy_m = random_.choice([4.0, 10.0, 30.0])
                is_found = flags_of([before, fixes[i]], travel)[1]
                noise_m = SLACK * (max(before.accuracy_m or 0.0, 10.0) + max(accuracy_m, 10.0))
                out_of_reach = jump_m > 1.01 * (MAX_SPEED_MPS[travel] * seconds + noise_m)
                missed += out_of_reach and not before.flags and not is_found
            for i, is_flagged in enumerate(flags_of(fixes, travel)):
                if i in out:
                    count[out[i]] += 1
                    found[out[i]] += is_flagged
                else:
                    others += 1
                    dragged += is_flagged
        table = ", ".join(f"{size} m {found[size] / count[size]:.0%}" for size in JUMPS_M if count[size])
        print(
            f"\nF21 {travel:6} every {every_s:2.0f} s: {table}; {dragged} of {others} others flagged", end=""
        )
        assert missed == 0
        assert found[50_000] == count[50_000]
        assert dragged <= 0.01 * others + 1  # Next to a jump within reach, which was believed.


@pytest.mark.parametrize("accuracy_m", [None, 5.0, 20.0, 50.0])
def test_a_foot_patrol_at_300_km_h_is_found_at_every_interval(accuracy_m):
    """F21: within 15 s, which is at once if fixes are farther apart."""
    speed = 300 / 3.6
    for every_s in (1, 2, 5, 10, 30, 60):
        walk = [at(i * every_s, 1.3 * i * every_s, accuracy_m=accuracy_m) for i in range(30)]
        t0, x0 = 30 * every_s, 1.3 * 30 * every_s
        race = [
            at(t0 + i * every_s, x0 + speed * (i + 1) * every_s, accuracy_m=accuracy_m)
            for i in range(600 // every_s + 1)
        ]
        flags = flags_of(walk + race)
        assert not any(flags[: len(walk)])
        after_15_s = [
            flag
            for flag, fix in zip(flags[len(walk) :], race, strict=True)
            if (fix.fixed_at - START).total_seconds() >= t0 + 15
        ]
        found = sum(after_15_s)
        print(
            f"\nF21 300 km/h every {every_s:2} s, accuracy {accuracy_m}: {found} of {len(after_15_s)}", end=""
        )
        assert found == len(after_15_s)


def test_mock_is_flagged_kept_and_believed_by_nobody():
    """F21."""
    fixes = [at(0, 0), at(10, 90_000, mock=True), at(20, 90_010, mock=True), at(30, 30)]
    kept = judged(fixes)
    assert [f.flags for f in kept] == [0, Flag.MOCK, Flag.MOCK, 0]
    only_mock = run(Batch(fixes[1:3]), Context(START + timedelta(seconds=60), [SHIFT]))
    assert len(only_mock.fixes) == 2
    assert only_mock.latest is None


# --- What happens after a jump ---


def test_a_new_place_is_believed_after_three_fixes_over_ten_seconds():
    there = [at(10 + 5 * i, 50_000) for i in range(5)]
    assert flags_of([at(0, 0), at(5, 0), *there]) == [False] * 2 + [True] * 2 + [False] * 3


def test_at_one_fix_a_second_three_fixes_are_not_enough():
    there = [at(10 + i, 50_000) for i in range(15)]
    assert flags_of([at(0, 0), *there]) == [False] + [True] * 10 + [False] * 5


def test_a_phone_that_leaps_to_and_fro_is_believed_at_the_first_place_only():
    fixes = [at(10 * i, 0 if i % 2 == 0 else 30_000) for i in range(20)]
    assert flags_of(fixes) == [i % 2 == 1 for i in range(20)]


def test_a_journey_without_reception_is_a_journey():
    assert not any(flags_of([at(0, 0), at(3_600, 60_000), at(3_610, 60_010)]))


def test_a_fix_sent_again_is_no_evidence_for_a_jump():
    jump = [at(10, 50_000), at(25, 50_000)]
    footing = run(Batch([at(0, 0), *jump]), Context(START, [SHIFT], travel="foot")).footing
    for _ in range(3):
        batch = run(
            Batch(jump[1:]), Context(START + timedelta(seconds=60), [SHIFT], travel="foot", footing=footing)
        )
        footing = batch.footing
        assert batch.fixes[0].flags == Flag.IMPOSSIBLE_SPEED
        assert batch.latest is None


def test_a_late_backlog_is_judged_by_itself_and_leaves_the_live_track_alone():
    live = run(Batch([at(7_200, 0)]), Context(START + timedelta(seconds=7_200), [SHIFT], travel="foot"))
    backlog = [at(10 * i, 40_000 + 12 * i) for i in range(50)]
    backlog[20] = at(200, 90_000)
    late = run(
        Batch(backlog),
        Context(START + timedelta(seconds=7_300), [SHIFT], travel="foot", footing=live.footing),
    )
    assert [i for i, f in enumerate(late.fixes) if f.flags & HIDDEN] == [20]
    assert late.footing == live.footing


def test_with_only_the_previous_fix_known_a_jump_is_found_and_forgiven():
    previous = at(0, 0)
    context = Context(START, [SHIFT], travel="foot", previous=previous)
    jump = run(Batch([at(10, 50_000)]), context)
    assert jump.fixes[0].flags == Flag.IMPOSSIBLE_SPEED
    doubted = Context(START, [SHIFT], travel="foot", previous=jump.fixes[0])
    back = run(Batch([at(20, 10), at(25, 10), at(40, 10)]), doubted).fixes
    assert [bool(f.flags) for f in back] == [
        True,
        True,
        False,
    ]


def test_somebody_whose_travel_is_not_declared_may_drive_but_not_fly():
    drive, fly = [at(0, 0), at(10, 400)], [at(0, 0), at(10, 3_000)]
    assert flags_of(drive, None) == [False, False]
    assert flags_of(fly, None) == [False, True]


# --- Properties ---

jittered = st.lists(
    st.tuples(
        st.floats(0.5, 400), st.floats(-2_000, 2_000), st.one_of(st.none(), st.floats(1, 90)), st.booleans()
    ),
    min_size=1,
    max_size=30,
)


def as_fixes(steps: list[tuple[float, float, float | None, bool]]) -> list[Fix]:
    seconds, fixes = 0.0, []
    for wait_s, east_m, accuracy_m, mock in steps:
        seconds += wait_s
        fixes.append(at(seconds, east_m, accuracy_m=accuracy_m, mock=mock and east_m > 1_000))
    return fixes


@given(steps=jittered, cuts=st.lists(st.integers(1, 5), max_size=30))
def test_it_does_not_matter_how_a_track_is_cut_into_batches(steps, cuts):
    fixes = as_fixes(steps)
    whole = judged(fixes)
    parts: list[Fix] = []
    footing: Footing | None = None
    received_at = fixes[-1].fixed_at
    while fixes:
        size = cuts.pop() if cuts else len(fixes)
        batch = run(Batch(fixes[:size]), Context(received_at, [SHIFT], travel="foot", footing=footing))
        footing, fixes = batch.footing, fixes[size:]
        parts += batch.fixes
    assert [f.flags for f in parts] == [f.flags for f in whole]


@given(steps=jittered)
def test_a_flag_says_that_the_last_trusted_fix_or_an_older_one_was_out_of_reach(steps):
    trusted: list[Fix] = []
    for kept in judged(as_fixes(steps)):
        if kept.flags & Flag.IMPOSSIBLE_SPEED:
            assert not all(within_reach(f, kept, MAX_SPEED_MPS["foot"]) for f in trusted)
        elif not kept.flags & HIDDEN:
            trusted.append(kept)


@given(steps=jittered, speed=st.floats(0, 15))
def test_steady_movement_below_the_bound_is_never_flagged(steps, speed):
    seconds, fixes = 0.0, []
    for wait_s, _, accuracy_m, _ in steps:
        seconds += wait_s
        fixes.append(at(seconds, speed * seconds, accuracy_m=accuracy_m))
    assert not any(flags_of(fixes))
