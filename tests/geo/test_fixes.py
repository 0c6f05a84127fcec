"""The words of a fix: flags, windows, what counts as one measurement."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.fixes import HIDDEN, Fix, Flag, ShiftWindow, flag_names, is_showable, payload, window_at

NOON = datetime(2026, 5, 1, 4, 0, tzinfo=UTC)

offsets = st.integers(-10_000, 10_000).map(lambda s: timedelta(seconds=s))
windows = st.lists(
    st.builds(
        lambda number, start, planned, ended: ShiftWindow(
            UUID(int=number),
            UUID(int=2),
            None,
            NOON + start,
            NOON + start + abs(planned),
            None if ended is None else NOON + ended,
        ),
        st.integers(0, 9),
        offsets,
        offsets,
        st.none() | offsets,
    ),
    max_size=4,
)


def fix(seconds: int = 0, flags: int = 0, seq: int = 0) -> Fix:
    return Fix(NOON + timedelta(seconds=seconds), 121.0, 31.0, flags=flags, seq=seq)


@pytest.mark.parametrize(
    ("flags", "names", "showable"),
    [
        (0, [], True),
        (Flag.LATE, ["late"], True),
        (Flag.MOCK, ["mock"], False),
        (Flag.IMPOSSIBLE_SPEED, ["impossible_speed"], False),
        (Flag.INACCURATE | Flag.LATE, ["inaccurate", "late"], False),
        (15, ["mock", "impossible_speed", "inaccurate", "late"], False),
    ],
)
def test_flags_have_names_and_hide(flags, names, showable):
    assert flag_names(flags) == names
    assert is_showable(fix(flags=int(flags))) is showable
    assert int(HIDDEN) == 7


@given(given_windows=windows, offset=offsets)
def test_an_instant_belongs_to_the_last_shift_that_has_begun_and_not_ended(given_windows, offset):
    at = NOON + offset
    running = [w for w in given_windows if w.started_at <= at < min(w.closes_at, w.ended_at or w.closes_at)]
    found = window_at(given_windows, at)
    assert (found is None) == (not running)
    if found is not None:
        assert found in running
        assert found.started_at == max(w.started_at for w in running)


def test_an_end_after_the_closing_time_moves_nothing():
    late_end = ShiftWindow(
        UUID(int=1), UUID(int=2), None, NOON, NOON + timedelta(hours=8), NOON + timedelta(hours=9)
    )
    assert late_end.until == NOON + timedelta(hours=8)
    assert not late_end.covers(late_end.until)
    assert late_end.covers(NOON)


def test_what_delivery_adds_is_not_part_of_a_measurement():
    sent = Fix(NOON, 121.0, 31.0, sent_at=NOON, flags=8, area_id=UUID(int=1), seq=3)
    assert payload(sent) == payload(Fix(NOON, 121.0, 31.0))
    assert payload(sent) != payload(Fix(NOON, 121.0, 31.0, battery_pct=50.0))
