"""Packed tracks: what is made of them again is what went in."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo import packing
from geo.motion import Track

# From 1970 to 2100, as the database keeps them: whole microseconds.
MOMENTS = st.integers(0, 4_102_444_800_000_000)
SINGLES = st.one_of(st.just(math.nan), st.floats(0, 10_000, width=32))
PHONES = st.tuples(
    st.integers(-1_800_000_000, 1_800_000_000).map(lambda n: n / 1e7),
    st.integers(-900_000_000, 900_000_000).map(lambda n: n / 1e7),
)
ANY = st.tuples(st.floats(-180, 180), st.floats(-90, 90))


def tracks(places: st.SearchStrategy[tuple[float, float]]) -> st.SearchStrategy[Track]:
    """Tracks of up to sixty fixes in time order."""
    row = st.tuples(MOMENTS, places, SINGLES, SINGLES, st.integers(-32_768, 32_767))
    return st.lists(row, max_size=60).map(_track)


def _track(rows: list[tuple[int, tuple[float, float], float, float, int]]) -> Track:
    rows = sorted(rows, key=lambda row: row[0])
    floats = [[row[0] / 1e6, *row[1], row[2], row[3]] for row in rows]
    columns = np.array(floats, dtype=np.float64).reshape(-1, 5).T
    return Track(*columns, np.array([row[4] for row in rows], dtype=np.int64))


@given(st.one_of(tracks(PHONES), tracks(ANY), tracks(st.one_of(PHONES, ANY))))
def test_a_whole_track_comes_back_to_the_last_bit(track: Track) -> None:
    again = packing.unpack_whole(packing.pack_whole(track))
    for name, before, after in zip(Track._fields, track, again, strict=True):
        assert after.dtype == before.dtype, name
        assert np.array_equal(before, after, equal_nan=before.dtype == np.float64), name


def test_bytes_of_another_version_are_not_taken_for_a_track() -> None:
    whole, thinned = (
        packing.pack_whole(Track.of([])),
        packing.pack(*(np.zeros(0),) * 3, np.zeros(0, np.int64)),
    )
    with pytest.raises(ValueError, match="another version"):
        packing.unpack_whole(b"\x63" + whole[1:])
    with pytest.raises(ValueError, match="another version"):
        packing.unpack(b"\x63" + thinned[1:])


def test_a_day_of_a_walk_takes_less_than_sixteen_bytes_a_fix() -> None:
    """Places as phones give them, jittering from fix to fix: the size that the operator's page counts with."""
    chance = np.random.default_rng(5)
    steps = chance.normal(0, 2e-5, (2, 5000)).cumsum(axis=1)
    track = Track(
        1.79e9 + np.arange(5000) * 5.0,
        np.round(121.3 + steps[0], 7),
        np.round(31.1 + steps[1], 7),
        np.round(chance.gamma(3.0, 3.0, 5000), 1).astype(np.float32).astype(np.float64),
        np.round(np.abs(chance.normal(1.2, 0.5, 5000)), 2).astype(np.float32).astype(np.float64),
        np.zeros(5000, dtype=np.int64),
    )
    assert len(packing.pack_whole(track)) < 5000 * 16
