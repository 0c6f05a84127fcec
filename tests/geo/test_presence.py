"""Presence at a post: shares of a span that follow from fixes, whenever and in whichever order they come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from random import Random
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from geo.fixes import Fix, Flag
from geo.presence import (
    BRIDGE_S,
    NOTHING_SEEN,
    Piece,
    Stand,
    Where,
    excusable,
    figures,
    fold,
    follow,
    joined,
    parts,
)
from geo.visits import Fence

BEGAN = datetime(2026, 12, 1, 8, tzinfo=UTC)
POST = Fence(UUID(int=1), 119.5, 32.0, 30.0, 0.0)
DEGREE_M = 111_195.0


def fix(second: float, north_m: float, *, flags: int = 0, seq: int = 0, accuracy_m: float = 5.0) -> Fix:
    lat = POST.lat + north_m / DEGREE_M
    return Fix(BEGAN + timedelta(seconds=second), POST.lon, lat, accuracy_m, flags=flags, seq=seq)


@st.composite
def tracks(draw: st.DrawFn) -> list[Fix]:
    """Fixes at whole seconds, inside, outside and at the border, with gaps to both sides of the bound, some flagged."""
    at, found = 0, []
    for _ in range(draw(st.integers(0, 25))):
        at += draw(st.sampled_from([0, 1, 7, 60, 299, 300, 301, 900]))
        north_m = draw(st.sampled_from([0.0, 20.0, 34.9, 35.1, 60.0, 200.0]))
        flags = draw(st.sampled_from([0, 0, 0, 0, int(Flag.MOCK), int(Flag.LATE)]))
        found.append(fix(at, north_m, flags=flags, seq=len(found) % 64))
    return found


def naive(track: Sequence[Fix], second: float) -> Where:
    """What the rule says of one moment, from the whole track and with nothing remembered."""
    moment = BEGAN + timedelta(seconds=second)
    said = sorted((one for one in track if not one.flags & Flag.MOCK), key=lambda f: (f.fixed_at, f.seq))
    before = [one for one in said if one.fixed_at <= moment]
    after = [one for one in said if one.fixed_at > moment]
    if not before or not after or (after[0].fixed_at - before[-1].fixed_at).total_seconds() > BRIDGE_S:
        return Where.UNKNOWN
    outside_m = [(one.lat - POST.lat) * DEGREE_M - 35.0 for one in (before[-1], after[0])]
    if (outside_m[0] <= 0) == (outside_m[1] <= 0):
        return Where.INSIDE if outside_m[0] <= 0 else Where.OUTSIDE
    share = (moment - before[-1].fixed_at) / (after[0].fixed_at - before[-1].fixed_at)
    return Where.INSIDE if outside_m[0] + share * (outside_m[1] - outside_m[0]) <= 0 else Where.OUTSIDE


@given(tracks())
def test_each_moment_is_what_the_whole_track_says_of_it(track: list[Fix]) -> None:
    _, pieces = fold(NOTHING_SEEN, track, POST)
    until = BEGAN + timedelta(seconds=6000)
    divided = parts({"phone": joined(pieces)}, BEGAN, until)
    assert divided[0].since == BEGAN
    assert divided[-1].until == until
    assert all(a.until == b.since and a.where != b.where for a, b in pairwise(divided))
    for second in range(0, 6000, 13):
        moment = BEGAN + timedelta(seconds=second + 0.5)
        part = next(one for one in divided if one.since <= moment < one.until)
        # Within half a second of a crossing the two ways of reckoning may differ by their rounding.
        near = any(abs((edge - moment).total_seconds()) < 0.5 for edge in (part.since, part.until))
        assert near or part.where == naive(track, second + 0.5), second


def _since(kept: dict[tuple[datetime, int], Fix], since: datetime) -> list[Fix]:
    return [one for one in kept.values() if one.fixed_at >= since]


@given(tracks(), st.randoms(use_true_random=False))
def test_late_shuffled_and_repeated_fixes_give_the_same(track: list[Fix], random: Random) -> None:
    """F19."""
    whole = fold(NOTHING_SEEN, track, POST)
    arriving = [*track, *random.sample(track, len(track) // 3)]
    random.shuffle(arriving)
    stand, pieces, kept = NOTHING_SEEN, list[Piece](), dict[tuple[datetime, int], Fix]()
    while arriving:
        count = random.randint(1, 6)
        batch, arriving = arriving[:count], arriving[count:]
        kept |= {(one.fixed_at, one.seq): one for one in batch}
        # What is kept between two batches is JSON in a row.
        stand = msgspec.convert(json.loads(msgspec.json.encode(stand)), Stand)
        stand, pieces = follow(stand, pieces, batch, POST, partial(_since, kept))
    assert (stand, pieces) == (whole[0], joined(whole[1]))


def test_silence_within_the_bound_is_bridged_and_beyond_it_is_not_known() -> None:
    def shares(*track: Fix) -> tuple[float, float, float]:
        _, pieces = fold(NOTHING_SEEN, track, POST)
        found = figures(parts({"phone": pieces}, BEGAN, BEGAN + timedelta(seconds=1000)))
        return found.inside_s, found.outside_s, found.unknown_s

    assert shares() == (0, 0, 1000), "nothing was heard: he is not said to be absent"
    assert shares(fix(0, 0), fix(300, 0)) == (300, 0, 700)
    assert shares(fix(0, 0), fix(301, 0)) == (0, 0, 1000)
    assert shares(fix(0, 0), fix(100, 0), fix(200, 900), fix(300, 900))[1] > 190
    assert shares(fix(0, 0), fix(100, 900, flags=int(Flag.MOCK)), fix(200, 0)) == (200, 0, 800)
    assert shares(fix(0, 55, accuracy_m=30), fix(100, 55, accuracy_m=30)) == (100, 0, 900), "he may be inside"
    assert shares(fix(0, 90, accuracy_m=500), fix(100, 90, accuracy_m=500)) == (0, 100, 900)


def test_breaks_are_taken_out_up_to_what_is_allowed_and_two_devices_that_differ_leave_it_unknown() -> None:
    def at(second: float) -> datetime:
        return BEGAN + timedelta(seconds=second)

    breaks = excusable([(at(100), at(200)), (at(300), at(600))], 150)
    assert breaks == [(at(100), at(200)), (at(300), at(350))]
    phone, tracker = (
        [Piece(at(0), at(900), True)],
        [Piece(at(600), at(700), False), Piece(at(700), at(800), True)],
    )
    found = figures(parts({"phone": phone, "tracker": tracker}, at(0), at(1000), breaks))
    assert found == (900 - 150 - 100, 0, 200, 150)
    assert found.counted_s == 850
    assert found.percent(found.inside_s) == 100 * 650 / 850
    assert figures(parts({}, at(0), at(50), [(at(0), at(50))])).percent(0) is None
