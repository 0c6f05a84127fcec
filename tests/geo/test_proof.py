"""What a visit is proven by is added up openly, forgeries are flagged, and bad reception is not."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.fixes import Fix, Flag
from geo.motion import GAP_S
from geo.proof import (
    METHOD_POINTS,
    REPLAYED_FROM,
    REPLAYED_SHARE,
    SHIFTED_S,
    Doubt,
    Facts,
    Method,
    Part,
    are_two_places,
    fingerprint,
    is_reachable,
    judge,
    likeness,
    of_presence,
    of_sight,
    sighted,
    skew_s,
)
from geo.visits import NOTHING_SEEN, Fence, Fences, fold

START = datetime(2026, 5, 1, tzinfo=UTC)
LON, LAT = 121.47, 31.23
M_PER_LAT = 111_195.08
M_PER_LON = M_PER_LAT * math.cos(math.radians(LAT))
FENCE = Fence(UUID(int=1), LON, LAT, 25.0, 30.0)
GOOD = Facts(
    method=Method.DWELL, radius_m=25.0, distance_m=4.0, accuracy_m=6.0, silent_s=5.0, fixes=20, skew_s=-0.4,
    is_reachable=True, likeness=0.1, crossings=60, is_in_two_places=False,
)  # fmt: skip


def fix(seconds: float, east_m: float = 0.0, north_m: float = 0.0, **more: object) -> Fix:
    place = LON + east_m / M_PER_LON, LAT + north_m / M_PER_LAT
    return Fix(START + timedelta(seconds=seconds), *place, **more)  # type: ignore[arg-type]


def but(**more: object) -> Facts:
    return msgspec.structs.replace(GOOD, **more)


def stroll(seed: int, noise_m: float = 4.0, hours: float = 0.5) -> list[Fix]:
    """A way around the blocks, measured on one day: the way is the same for all, the errors are the day's own."""
    random_ = random.Random(seed)
    error = [random_.gauss(0, noise_m), random_.gauss(0, noise_m)]
    keep = math.exp(-5 / 60)
    fixes = []
    for i in range(int(hours * 720)):
        along = 6.0 * i
        east = along % 400 if along // 400 % 2 == 0 else 400 - along % 400
        error = [keep * e + random_.gauss(0, noise_m * math.sqrt(1 - keep * keep)) for e in error]
        fixes.append(fix(5 * i, east + error[0], along // 400 * 30 + error[1], accuracy_m=6.0))
    return fixes


facts = st.builds(
    Facts,
    method=st.sampled_from(Method),
    radius_m=st.floats(5, 100),
    distance_m=st.none() | st.floats(0, 5_000),
    accuracy_m=st.none() | st.floats(1, 500),
    scan_distance_m=st.none() | st.floats(0, 5_000),
    scan_accuracy_m=st.none() | st.floats(1, 500),
    silent_s=st.none() | st.floats(0, GAP_S),
    fixes=st.integers(0, 100),
    mocks=st.integers(0, 100),
    is_scan_mock=st.booleans(),
    skew_s=st.none() | st.floats(-1e6, 1e6),
    is_reachable=st.none() | st.booleans(),
    likeness=st.none() | st.floats(0, 1),
    crossings=st.integers(0, 100),
    is_in_two_places=st.none() | st.booleans(),
    is_tag_elsewhere=st.none() | st.booleans(),
    has_counter_grown=st.none() | st.booleans(),
)


# --- The sum ---


@given(known=facts)
def test_the_score_is_the_sum_of_its_parts_and_lies_between_0_and_100(known):
    proof = judge(known)
    assert proof.score == sum(part.points for part in proof.parts)
    assert 0 <= proof.score <= 100
    assert [
        part.code for part in proof.parts if part.points < 0 or isinstance(part.code, Doubt)
    ] == proof.flags
    assert all(part.points <= part.of for part in proof.parts)
    assert msgspec.json.decode(msgspec.json.encode(proof), type=type(proof)) == proof


@given(known=facts)
def test_with_all_else_equal_a_code_is_the_weakest_and_a_signed_tag_the_strongest(known):
    scores = [
        judge(msgspec.structs.replace(known, method=method)).score
        for method in (Method.QR, Method.NFC, Method.DWELL, Method.NFC_SIGNED)
    ]
    assert scores == sorted(scores)
    assert METHOD_POINTS[Method.QR] * 3 <= METHOD_POINTS[Method.NFC]


@given(known=facts, doubt=st.sampled_from([
    {"is_scan_mock": True}, {"is_reachable": False}, {"is_in_two_places": True}, {"has_counter_grown": False},
    {"likeness": 1.0, "crossings": 100}, {"skew_s": 3_600.0}, {"is_tag_elsewhere": True},
]))  # fmt: skip
def test_a_doubt_never_raises_a_score_and_leaves_every_other_part_to_be_seen(known, doubt):
    innocent = {
        "is_scan_mock": False, "mocks": 0, "is_reachable": True, "is_in_two_places": False,
        "has_counter_grown": True, "likeness": 0.0, "skew_s": 0.0, "is_tag_elsewhere": False,
    }  # fmt: skip
    clean = msgspec.structs.replace(known, **innocent)
    doubted = msgspec.structs.replace(clean, **doubt)
    assert judge(doubted).score <= judge(clean).score
    assert len(judge(doubted).flags) == len(judge(clean).flags) + 1
    assert {part.code for part in judge(doubted).parts} >= set(Part)


def test_a_good_stay_has_nearly_all_points_and_a_code_read_in_the_same_place_far_fewer():
    stay, code = judge(GOOD), judge(but(method=Method.QR))
    assert (stay.score, stay.flags) == (95, [])
    assert (code.score, code.flags) == (65, [])
    assert judge(but(method=Method.NFC_SIGNED)).score == 100


def test_bad_reception_costs_points_and_raises_no_flag():
    bad = judge(but(distance_m=60.0, accuracy_m=35.0, silent_s=150.0, skew_s=None))
    assert bad.flags == []
    assert bad.score < 70
    nothing = judge(Facts(method=Method.NFC_SIGNED, radius_m=25.0))
    assert (nothing.score, nothing.flags) == (METHOD_POINTS[Method.NFC_SIGNED], [])


def test_a_place_that_the_phone_tells_of_itself_speaks_for_nothing():
    """Copied once and sent from home with the gate's place, the address of a plain tag is worth its method alone."""
    sent = judge(Facts(method=Method.NFC, radius_m=25.0, scan_distance_m=0.0, scan_accuracy_m=5.0))
    assert sent.flags == [Doubt.UNSEEN]
    assert sent.score < METHOD_POINTS[Method.NFC]


@pytest.mark.parametrize(
    ("doubt", "known"),
    [
        (Doubt.ELSEWHERE, {"distance_m": 300.0}),
        (Doubt.ELSEWHERE, {"scan_distance_m": 300.0, "scan_accuracy_m": 8.0}),
        (Doubt.UNSEEN, {"method": Method.QR, "distance_m": None, "scan_distance_m": 3.0}),
        (Doubt.UNSEEN, {"method": Method.NFC, "distance_m": None, "scan_distance_m": 3.0}),
        (Doubt.MOCK, {"mocks": 10}),
        (Doubt.MOCK, {"is_scan_mock": True}),
        (Doubt.IMPOSSIBLE_SPEED, {"is_reachable": False}),
        (Doubt.REPLAYED, {"likeness": REPLAYED_SHARE, "crossings": REPLAYED_FROM}),
        (Doubt.TWO_PLACES, {"is_in_two_places": True}),
        (Doubt.CLOCK, {"skew_s": -SHIFTED_S - 1}),
        (Doubt.TAG_ELSEWHERE, {"is_tag_elsewhere": True}),
        (Doubt.TAG_REPEATED, {"method": Method.NFC_SIGNED, "has_counter_grown": False}),
    ],
)
def test_each_forgery_has_its_flag_and_loses_points(doubt, known):
    assert judge(but(**known)).flags == [doubt]
    assert judge(but(**known)).score < judge(but(method=known.get("method", GOOD.method))).score


@pytest.mark.parametrize(
    "known",
    [
        {"distance_m": 50.0, "accuracy_m": 10.0},
        {"mocks": 1},
        {"likeness": 1.0, "crossings": REPLAYED_FROM - 1},
        {"likeness": REPLAYED_SHARE - 0.01},
        {"skew_s": SHIFTED_S},
        {"method": Method.NFC_SIGNED, "distance_m": None},
    ],
)
def test_what_is_short_of_a_bound_is_not_flagged(known):
    assert judge(but(**known)).flags == []


# --- Facts from fixes ---


def test_a_stay_brings_its_own_facts():
    track = [fix(5 * i, 3.0, accuracy_m=8.0, speed_mps=0.0) for i in range(30)]
    track[10].flags = int(Flag.MOCK)
    watch, _ = fold(NOTHING_SEEN, track, Fences([FENCE]))
    (there,) = watch.close(Fences([FENCE]))
    known = of_presence(there, FENCE, skew_s=-1.0)
    assert (known.method, known.fixes, known.mocks) == (Method.DWELL, 29, 1)
    assert judge(known).flags == []


def test_a_scan_is_seen_at_the_place_or_elsewhere_or_not_at_all():
    at = START + timedelta(seconds=100)
    here = [fix(5 * i, 10.0, accuracy_m=8.0) for i in range(40)]
    away = [fix(5 * i, 700.0, accuracy_m=8.0) for i in range(40)]
    assert judge(of_sight(Method.QR, sighted(here, FENCE, at), FENCE)).flags == []
    assert judge(of_sight(Method.QR, sighted(away, FENCE, at), FENCE)).flags == [Doubt.ELSEWHERE]
    assert judge(of_sight(Method.QR, sighted([], FENCE, at), FENCE)).flags == [Doubt.UNSEEN]
    sparse = [fix(60 * i, 130.0 - 1.4 * abs(100 - 60 * i), accuracy_m=8.0) for i in range(4)]
    assert judge(of_sight(Method.QR, sighted(sparse, FENCE, at), FENCE)).flags == []
    mocked = [msgspec.structs.replace(f, flags=int(Flag.MOCK)) for f in here]
    assert Doubt.MOCK in judge(of_sight(Method.NFC, sighted(mocked, FENCE, at), FENCE)).flags


def test_the_same_track_on_another_day_is_found_whatever_its_times_and_another_walk_the_same_way_is_not(thin):
    first = stroll(0)
    known = fingerprint(first)
    assert len(known) > REPLAYED_FROM
    day = timedelta(days=3, seconds=1.7)
    again = [msgspec.structs.replace(f, fixed_at=f.fixed_at + day) for f in first[50:250]]
    assert likeness(fingerprint(again), known) > 0.95
    resampled = []  # What plays it back answers at its own times, in between.
    for i, (a, b) in enumerate(pairwise(first[50:251])):
        resampled += [fix(10_000 + 5 * i, accuracy_m=5.0), fix(10_002 + 5 * i, accuracy_m=5.0)]
        for f, share in ((resampled[-2], 0.0), (resampled[-1], 0.4)):
            f.lon, f.lat = a.lon + share * (b.lon - a.lon), a.lat + share * (b.lat - a.lat)
    assert likeness(fingerprint(resampled), known) > 0.8
    others = [likeness(fingerprint(stroll(seed)), known) for seed in range(1, thin(200, 20))]
    print(f"\nreplay: alike on other days at most {max(others):.0%}")
    assert max(others) < REPLAYED_SHARE * 0.7


def test_standing_still_crosses_no_line_so_a_phone_that_holds_its_place_is_no_replay():
    held = [fix(5 * i, 3.0, 3.0) for i in range(100)]
    assert fingerprint(held) == []
    assert likeness([], fingerprint(stroll(0))) == 0.0


@given(minutes=st.integers(1, 10_000), seed=st.integers(0, 20))
def test_a_fingerprint_does_not_depend_on_the_time_or_the_order_of_arrival(minutes, seed):
    track = stroll(seed, hours=0.1)
    later = [msgspec.structs.replace(f, fixed_at=f.fixed_at + timedelta(minutes=minutes)) for f in track]
    random.Random(seed).shuffle(later)
    assert fingerprint(later) == fingerprint(track)


def test_two_devices_are_in_two_places_when_nobody_gets_from_one_to_the_other():
    here = [fix(5 * i, accuracy_m=10.0) for i in range(30)]
    beside = [fix(5 * i + 2, 40.0, accuracy_m=30.0) for i in range(30)]
    away = [fix(5 * i + 2, 2_000.0, accuracy_m=30.0) for i in range(30)]
    assert are_two_places(here, away, "foot")
    assert not are_two_places(here, beside, "foot")
    assert not are_two_places(here, [*beside[:15], *away[15:17], *beside[17:]], "foot")
    assert not are_two_places(here, [fix(5_000, 2_000.0)], "foot")
    assert not are_two_places(here, [], "foot")


def test_a_place_out_of_reach_of_the_fixes_around_it_is_not_reachable():
    there = fix(60, 0)
    assert is_reachable(fix(0, 70), fix(120, -70), there, "foot") is True
    assert is_reachable(fix(0, 30_000), fix(120, 0), there, "foot") is False
    assert is_reachable(None, fix(90, 30_000), there, "foot") is False
    assert is_reachable(None, None, there) is None


def test_a_clock_is_judged_by_when_it_says_that_it_sent():
    assert skew_s(START + timedelta(hours=1), START) == 3_600
    assert skew_s(None, START) is None
