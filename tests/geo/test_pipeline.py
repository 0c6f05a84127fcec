"""What becomes of fixes between the gateway and the database: nothing is lost, nothing is misfiled."""

from __future__ import annotations

import copy
import math
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo import datum
from geo.fixes import (
    GIVEN_SEQS,
    HIDDEN,
    MOST_SEQ,
    Fix,
    Flag,
    Reason,
    ShiftWindow,
    is_showable,
    payload,
    window_at,
)
from geo.footing import NO_FOOTING
from geo.motion import Track, length_m
from geo.pipeline import STEPS, Batch, Context, run

NOW = datetime(2026, 5, 1, 4, 0, tzinfo=UTC)
CHINA_TIME = timezone(timedelta(hours=8))
HERE = (121.47, 31.23)
AREA = UUID(int=7)


def shift(start: datetime, end: datetime, ended_at: datetime | None = None) -> ShiftWindow:
    return ShiftWindow(UUID(int=1), UUID(int=2), AREA, start, end, ended_at)


def context(**given: object) -> Context:
    around_now = shift(NOW - timedelta(hours=4), NOW + timedelta(hours=4))
    return Context(**{"received_at": NOW, "windows": [around_now], **given})  # type: ignore[arg-type]


def fix(seconds: float = 0.0, lon: float = HERE[0], lat: float = HERE[1], **more: object) -> Fix:
    return Fix(NOW + timedelta(seconds=seconds), lon, lat, **more)  # type: ignore[arg-type]


def walk(count: int, *, every_s: float = 10.0, until_s: float = 0.0) -> list[Fix]:
    """An eastward walk at 1.2 m/s that ends at `until_s` from now."""
    return [
        fix(until_s - (count - 1 - i) * every_s, HERE[0] + i * every_s * 1.2 / 95_200, accuracy_m=8.0)
        for i in range(count)
    ]


def outcome(batch: Batch) -> tuple[object, ...]:
    """All that a batch came to, whatever the order of what was set aside."""
    kept = [(f.fixed_at, f.seq, f.flags, payload(f)) for f in batch.fixes]
    set_aside = Counter((str(reason), repr(entry)) for entry, reason in batch.quarantined)
    last = None if batch.latest is None else (batch.latest.fixed_at, payload(batch.latest))
    return kept, set_aside, batch.off_shift, batch.duplicates, last


odd = st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 0.0, 1e9, 360.0, 100.0])
measure = st.one_of(st.none(), odd, st.floats(0, 150))
some_fixes = st.lists(
    st.builds(
        Fix,
        fixed_at=st.one_of(
            st.integers(-20_000, 300).map(lambda s: NOW + timedelta(seconds=s)),
            st.sampled_from([NOW, NOW - timedelta(seconds=30)]),
            st.datetimes(datetime(1971, 1, 1), datetime(2050, 1, 1), timezones=st.just(UTC)),
        ),
        lon=st.one_of(st.floats(121.4, 121.5), st.sampled_from([HERE[0], 0.0, 181.0, math.nan, math.inf])),
        lat=st.one_of(st.floats(31.2, 31.3), st.sampled_from([HERE[1], 0.0, -91.0, math.nan])),
        accuracy_m=measure,
        altitude_m=measure,
        speed_mps=measure,
        heading_deg=measure,
        battery_pct=measure,
        mock=st.booleans(),
        datum=st.sampled_from(["wgs84", "wgs84", "gcj02", "bd09", "cgcs2000"]),
        attributes=st.sampled_from([None, {"steps": 3}, {"a": {"b": [1, None]}}]),
        seq=st.integers(0, 2),
    ),
    max_size=25,
)
some_windows = st.lists(
    st.tuples(
        st.integers(-20_000, 1_000), st.integers(1, 20_000), st.one_of(st.none(), st.integers(1, 20_000))
    ).map(
        lambda t: shift(
            NOW + timedelta(seconds=t[0]),
            NOW + timedelta(seconds=t[0] + t[1]),
            None if t[2] is None else NOW + timedelta(seconds=t[0] + t[2]),
        )
    ),
    max_size=3,
)
some_contexts = st.builds(
    context,
    windows=some_windows,
    latest_at=st.one_of(st.none(), st.integers(-20_000, 0).map(lambda s: NOW + timedelta(seconds=s))),
    previous=st.one_of(st.none(), st.just(fix(-100, accuracy_m=5.0)), st.just(fix(-9, 100.0, flags=2))),
    travel=st.sampled_from([None, "foot", "e_bike", "car"]),
)


# --- What holds for every batch ---


@given(fixes=some_fixes, raw=st.integers(0, 2), given_context=some_contexts)
def test_kept_duplicate_off_shift_and_quarantined_add_up_after_every_step(fixes, raw, given_context):
    batch = Batch(fixes, [({"lat": "x"}, Reason.UNREADABLE)] * raw)
    for step in STEPS:
        batch = step(batch, given_context)
        assert batch.received == len(fixes) + raw


@given(fixes=some_fixes, given_context=some_contexts)
def test_no_step_changes_what_it_was_given(fixes, given_context):
    before = copy.deepcopy(fixes)
    batch = Batch(fixes)
    for step in STEPS:
        held = copy.deepcopy(batch)
        after = step(batch, given_context)
        assert repr(batch) == repr(held)
        batch = after
    assert repr(fixes) == repr(before)


@given(fixes=some_fixes, given_context=some_contexts, seed=st.integers(0, 1_000))
def test_the_order_of_arrival_does_not_matter(fixes, given_context, seed):
    shuffled = random.Random(seed).sample(fixes, len(fixes))
    assert outcome(run(Batch(fixes), given_context)) == outcome(run(Batch(shuffled), given_context))


@given(fixes=some_fixes, given_context=some_contexts)
def test_what_is_kept_can_be_stored(fixes, given_context):
    batch = run(Batch(fixes), given_context)
    keys = [(kept.fixed_at, kept.seq) for kept in batch.fixes]
    assert keys == sorted(set(keys))
    for kept in batch.fixes:
        assert kept.datum == "wgs84"
        assert -180 <= kept.lon <= 180
        assert -90 <= kept.lat <= 90
        assert window_at(given_context.windows, kept.fixed_at) is not None
        assert NOW - given_context.backlog_limit <= kept.fixed_at <= NOW + timedelta(seconds=120)
        for value in (kept.accuracy_m, kept.altitude_m, kept.speed_mps, kept.heading_deg, kept.battery_pct):
            assert value is None or math.isfinite(value)
        assert kept.accuracy_m is None or kept.accuracy_m > 0
        assert kept.heading_deg is None or 0 <= kept.heading_deg < 360


@given(fixes=some_fixes, given_context=some_contexts)
def test_latest_is_showable_and_newer_than_what_is_shown(fixes, given_context):
    batch = run(Batch(fixes), given_context)
    newer = [
        kept
        for kept in batch.fixes
        if is_showable(kept) and (given_context.latest_at is None or kept.fixed_at > given_context.latest_at)
    ]
    assert batch.latest is (newer[-1] if newer else None)


@given(fixes=some_fixes, given_context=some_contexts)
def test_off_duty_no_place_is_left_anywhere(fixes, given_context):
    batch = run(Batch(fixes), given_context)
    on_duty_now = window_at(given_context.windows, NOW) is not None
    for entry, reason in batch.quarantined:
        assert on_duty_now or window_at(given_context.windows, entry.fixed_at) is not None
        assert reason in (Reason.ABSURD_PLACE, Reason.UNKNOWN_DATUM) or on_duty_now
    footing = batch.footing
    for believed in (footing.trusted, footing.base, footing.doubt_from, footing.doubt):
        known = believed is None or believed is given_context.previous
        assert known or window_at(given_context.windows, believed.fixed_at) is not None


# --- F18: duplicates ---


class Store:
    """What the grouped write does: what is there stays, another measurement of its instant is the next one."""

    def __init__(self) -> None:
        self.rows: dict[tuple[datetime, int], Fix] = {}
        self.latest: Fix | None = None
        self.footing = None
        self.regressions = 0

    def take(self, fixes: list[Fix], received_at: datetime = NOW) -> Batch:
        batch = run(
            Batch(fixes),
            context(
                received_at=received_at,
                latest_at=self.latest and self.latest.fixed_at,
                footing=self.footing,
                travel="foot",
            ),
        )
        for kept in batch.fixes:
            seq = kept.seq
            while (there := self.rows.get((kept.fixed_at, seq))) and payload(there) != payload(kept):
                seq += 1
            self.rows.setdefault((kept.fixed_at, seq), kept)
        self.footing = batch.footing
        if batch.latest is not None:
            if self.latest is not None and batch.latest.fixed_at < self.latest.fixed_at:
                self.regressions += 1
            self.latest = batch.latest
        return batch

    def track(self) -> Track:
        return Track.of(self.rows.values())


def test_every_batch_five_times_shuffled_stores_each_fix_once_and_not_a_metre_more(thin):
    """F18."""
    fixes = walk(thin(1_000, 400))
    once = Store()
    once.take(fixes)
    random_ = random.Random(18)
    batches = [fixes[i : i + 50] for i in range(0, len(fixes), 50)] * 5
    random_.shuffle(batches)
    replayed = Store()
    sent = duplicates = 0
    for batch in batches:
        # Phones also repeat fixes inside a batch.
        doubled = batch + random_.sample(batch, 5)
        random_.shuffle(doubled)
        sent += len(doubled)
        duplicates += replayed.take(doubled).duplicates
    km_error = (length_m(replayed.track()) - length_m(once.track())) / 1_000
    print(f"\nF18: {sent} sent, {len(replayed.rows)} stored of {len(fixes)} unique, {km_error} km error")
    assert len(replayed.rows) == len(fixes) == len(once.rows)
    assert duplicates == len(batches) * 5
    assert km_error == 0
    assert not any(row.flags & HIDDEN for row in replayed.rows.values())


@given(fixes=some_fixes, times=st.integers(2, 5), seed=st.integers(0, 99))
def test_a_batch_repeated_inside_itself_is_the_batch(fixes, times, seed):
    """F18."""
    once = run(Batch(fixes), context())
    repeated = random.Random(seed).sample(fixes * times, len(fixes) * times)
    again = run(Batch(repeated), context())
    assert [(f.fixed_at, f.seq, payload(f)) for f in again.fixes] == [
        (f.fixed_at, f.seq, payload(f)) for f in once.fixes
    ]


def test_different_measurements_of_one_instant_are_numbered_whatever_their_order():
    two = [fix(0, accuracy_m=5.0), fix(0, accuracy_m=6.0)]
    for order in (two, two[::-1]):
        kept = run(Batch(order), context()).fixes
        assert [(f.seq, f.accuracy_m) for f in kept] == [(0, 5.0), (1, 6.0)]


def test_the_same_measurement_sent_again_later_is_a_duplicate():
    sent_again = [fix(0, sent_at=NOW), fix(0, sent_at=NOW + timedelta(seconds=60)), fix(0, seq=4)]
    batch = run(Batch(sent_again), context())
    assert (len(batch.fixes), batch.duplicates) == (1, 2)
    assert batch.fixes[0].seq == 0


def test_a_number_given_by_the_client_is_kept():
    kept = run(Batch([fix(0, seq=3), fix(0, seq=1, accuracy_m=5.0)]), context()).fixes
    assert [f.seq for f in kept] == [1, 3]
    again = run(Batch([fix(0, seq=2), fix(0, seq=1, accuracy_m=5.0), fix(0, seq=0)]), context()).fixes
    assert [(f.seq, f.accuracy_m) for f in again] == [(0, None), (1, 5.0)]


def test_numbers_of_one_instant_stay_within_what_is_stored():
    clashing = [fix(0, seq=GIVEN_SEQS - 1, accuracy_m=float(i)) for i in range(1, MOST_SEQ + 2)]
    assert [f.seq for f in run(Batch(clashing), context()).fixes] == list(range(MOST_SEQ + 1))


@pytest.mark.parametrize("given", [GIVEN_SEQS, GIVEN_SEQS + 7, 999])
def test_a_great_number_is_folded_alike_each_time(given):
    alone = run(Batch([fix(0, seq=given)]), context()).fixes
    among_others = run(Batch([fix(9), fix(0, seq=given), fix(4)]), context()).fixes
    assert alone[0].seq == given % GIVEN_SEQS
    assert alone[0] in among_others


def test_of_a_thousand_measurements_of_one_instant_those_are_kept_that_a_receiver_could_make():
    """F18, F22: each is compared with all others of its instant, by whoever clashes with them later."""
    batch = run(Batch([fix(0, altitude_m=float(i)) for i in range(1_000)]), context())
    assert [f.seq for f in batch.fixes] == list(range(MOST_SEQ + 1))
    assert len(batch.quarantined) == 1_000 - (MOST_SEQ + 1)
    assert {reason for _, reason in batch.quarantined} == {Reason.ABSURD_TIME}
    assert batch.received == 1_000


# --- F19: disorder ---


@pytest.mark.parametrize("most_at_once", [1, 50])
def test_latest_never_goes_back_over_a_random_permutation(thin, most_at_once):
    """F19."""
    count = thin(10_000, 2_000)
    fixes = walk(count, every_s=1.0)
    random_ = random.Random(19)
    random_.shuffle(fixes)
    store = Store()
    at = 0
    while at < count:
        size = random_.randint(1, most_at_once)
        store.take(fixes[at : at + size])
        at += size
    print(f"\nF19: {count} fixes, {store.regressions} regressions of latest")
    assert store.regressions == 0
    assert store.latest is not None
    assert store.latest.fixed_at == NOW
    assert len(store.rows) == count
    assert (Track.of(fixes).epoch_s[:-1] < Track.of(fixes).epoch_s[1:]).all()
    assert not any(row.flags & HIDDEN for row in store.rows.values())


@given(batches=st.lists(some_fixes, max_size=6))
def test_latest_never_goes_back_whatever_comes(batches):
    """F19."""
    store = Store()
    for batch in batches:
        store.take(batch)
    assert store.regressions == 0
    showable = [row for row in store.rows.values() if is_showable(row)]
    assert (store.latest is None) == (not showable)
    if store.latest is not None:
        assert store.latest.fixed_at == max(row.fixed_at for row in showable)


def test_a_late_fix_is_kept_and_says_that_it_is_late():
    batch = run(Batch([fix(-301), fix(-299)]), context(latest_at=NOW))
    assert [f.flags for f in batch.fixes] == [Flag.LATE, 0]
    assert batch.latest is None


def test_a_late_fix_that_is_news_is_shown():
    batch = run(Batch([fix(-900)]), context(latest_at=NOW - timedelta(seconds=1_000)))
    assert batch.latest is batch.fixes[0]


# --- F20: times ---


def expected(offset_s: float) -> Reason | None:
    if offset_s > 120:
        return Reason.FUTURE
    at = NOW + timedelta(seconds=offset_s)
    return (
        Reason.ABSURD_TIME if at < max(NOW - timedelta(days=30), datetime(2000, 1, 1, tzinfo=UTC)) else None
    )


def test_times_from_a_second_to_twenty_years_off_are_all_filed_right(thin):
    """F20."""
    random_ = random.Random(20)
    most_s = 20 * 365.25 * 86_400
    offsets = [
        random_.choice([-1, 1]) * round(math.exp(random_.uniform(0, math.log(most_s))), 3)
        for _ in range(thin(20_000, 4_000))
    ]
    offsets += [-1, 1, 119.999, 120, 120.001, 121, -30 * 86_400, -30 * 86_400 - 0.001]
    offsets += [weeks * 1_024 * 7 * 86_400 for weeks in (-2, -1, 1)]
    offsets += [-NOW.timestamp(), (datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC) - NOW).total_seconds()]
    always = shift(datetime(1960, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC))
    misfiled = true_positive = quarantined = 0
    for start in range(0, len(offsets), 1_000):
        part = offsets[start : start + 1_000]
        batch = run(
            Batch([fix(offset, altitude_m=float(i)) for i, offset in enumerate(part)]),
            context(windows=[always]),
        )
        verdict = {entry.altitude_m: reason for entry, reason in batch.quarantined}
        assert len(verdict) + len(batch.fixes) == len(part)
        quarantined += len(verdict)
        for i, offset in enumerate(part):
            right = verdict.get(float(i)) == expected(offset)
            misfiled += not right
            true_positive += right and float(i) in verdict
    print(f"\nF20: {len(offsets)} times, {misfiled} misfiled, precision {true_positive / quarantined:.3f}")
    assert misfiled == 0
    assert true_positive == quarantined


def test_the_epoch_and_a_gps_week_rollover_are_absurd_even_for_an_endless_backlog():
    """F20."""
    old = [datetime(1970, 1, 1, tzinfo=UTC), NOW - timedelta(weeks=1_024), datetime(1999, 8, 21, tzinfo=UTC)]
    batch = run(
        Batch([Fix(at, *HERE) for at in old]),
        context(backlog_limit=timedelta(days=365 * 19)),
    )
    assert [reason for _, reason in batch.quarantined] == [Reason.ABSURD_TIME] * 3


# --- Places, datums, figures ---


@pytest.mark.parametrize(
    "place",
    [
        (0.0, 0.0),
        (1e-7, -1e-7),
        (math.nan, 31.0),
        (121.0, math.nan),
        (math.inf, 31.0),
        (181.0, 31.0),
        (121.0, -90.5),
    ],
)
def test_what_is_no_place_on_earth_is_set_aside(place):
    """F70."""
    batch = run(Batch([fix(0, *place), fix(1)]), context())
    assert [reason for _, reason in batch.quarantined] == [Reason.ABSURD_PLACE]
    assert len(batch.fixes) == 1


@pytest.mark.parametrize("place", [(0.0, 51.48), (121.0, 0.0), (180.0, 90.0), (-180.0, -90.0), (0.001, 0.0)])
def test_borderline_places_are_places(place):
    assert len(run(Batch([fix(0, *place)]), context()).fixes) == 1


@pytest.mark.parametrize("source", ["gcj02", "bd09"])
@pytest.mark.parametrize("count", [1, 100])
def test_a_declared_datum_becomes_wgs84(source, count):
    walked = walk(count)
    shifted = [datum.convert(f.lon, f.lat, "wgs84", source) for f in walked]
    sent = [fix(i - count, *place, datum=source) for i, place in enumerate(shifted)]
    sent.insert(count // 2, fix(-count - 1))
    kept = run(Batch(sent), context()).fixes
    assert [f.datum for f in kept] == ["wgs84"] * (count + 1)
    assert (kept[0].lon, kept[0].lat) == HERE
    for there, back in zip(walked, kept[1:], strict=True):
        assert (back.lon, back.lat) == pytest.approx((there.lon, there.lat), abs=1e-10)


def test_an_unknown_datum_is_set_aside_and_never_guessed():
    batch = run(Batch([fix(0, datum="mars")]), context())
    assert [reason for _, reason in batch.quarantined] == [Reason.UNKNOWN_DATUM]


@pytest.mark.parametrize(
    ("reported", "kept_m", "flag"),
    [
        (None, None, 0),
        (100.0, 100.0, 0),
        (100.5, 100.5, Flag.INACCURATE),
        (5_000.0, 5_000.0, Flag.INACCURATE),
        (1e9, None, Flag.INACCURATE),
        (math.inf, None, Flag.INACCURATE),
        (0.0, None, 0),
        (-1.0, None, 0),
        (math.nan, None, 0),
    ],
)
def test_accuracy_is_kept_flagged_or_unknown(reported, kept_m, flag):
    batch = run(Batch([fix(0, accuracy_m=reported)]), context())
    (kept,) = batch.fixes
    assert (kept.accuracy_m, kept.flags) == (kept_m, flag)
    assert (batch.latest is None) == bool(flag)


def test_impossible_figures_become_unknown_and_north_is_zero():
    (kept,) = run(
        Batch([fix(0, speed_mps=-1.0, heading_deg=360.0, battery_pct=120.0, altitude_m=1e6)]), context()
    ).fixes
    assert (kept.speed_mps, kept.heading_deg, kept.battery_pct, kept.altitude_m) == (None, 0.0, None, None)


def test_the_area_is_where_the_fix_lies():
    east, west = UUID(int=10), UUID(int=11)
    batch = run(
        Batch([fix(0), fix(10, HERE[0] - 1e-4)]),
        context(area_of=lambda lon, lat: east if lon >= HERE[0] else west),
    )
    assert [f.area_id for f in batch.fixes] == [east, west]


# --- F24: the edges of a shift ---


def test_around_the_edges_of_a_shift_nothing_off_duty_is_stored(thin):
    """F24: a night shift in UTC+8 over the date line of both calendars, to the millisecond."""
    start = datetime(2026, 4, 30, 22, 0, tzinfo=CHINA_TIME)
    planned = datetime(2026, 5, 1, 6, 30, tzinfo=CHINA_TIME)
    received = planned + timedelta(minutes=5)
    offsets = [timedelta(milliseconds=ms) for ms in (-86_400_000, -5_000, -1, 0, 1, 5_000, 28_800_000)]
    random_ = random.Random(24)
    offsets += [timedelta(milliseconds=random_.randint(-10_000, 10_000)) for _ in range(thin(2_000, 300))]
    stored = off_duty = 0
    for ended_at in (None, planned - timedelta(hours=1), planned + timedelta(hours=1)):
        window = shift(start, planned, ended_at)
        until = min(planned, ended_at or planned)
        for edge in (start, until):
            fixes = [Fix(edge + offset, *HERE, altitude_m=float(i)) for i, offset in enumerate(offsets)]
            batch = run(Batch(fixes), context(received_at=received, windows=[window]))
            stored += len(batch.fixes)
            off_duty += sum(not start <= f.fixed_at < until for f in batch.fixes)
            in_time = {f.fixed_at for f in fixes if start <= f.fixed_at < until}
            assert {f.fixed_at for f in batch.fixes} == in_time
            set_aside = [f for f, _ in batch.quarantined]
            assert not set_aside
            assert batch.off_shift == sum(not start <= f.fixed_at < until for f in fixes)
    print(f"\nF24: {stored} stored, {off_duty} of them off duty")
    assert off_duty == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: fix(3_600),
        lambda: fix(-86_400 * 400),
        lambda: fix(0, 0.0, 0.0),
        lambda: fix(0, datum="mars"),
    ],
)
def test_off_duty_not_even_quarantine_keeps_a_place(make: Callable[[], Fix]):
    """F24, P21."""
    over = shift(NOW - timedelta(hours=9), NOW - timedelta(hours=1))
    batch = run(Batch([make()], [({"lat": 31.2, "lon": "?"}, Reason.UNREADABLE)]), context(windows=[over]))
    assert (batch.fixes, batch.quarantined, batch.off_shift) == ([], [], 2)


def test_two_shifts_one_after_the_other_do_not_share_an_instant():
    noon = NOW
    first, second = shift(noon - timedelta(hours=8), noon), shift(noon, noon + timedelta(hours=8))
    assert window_at([first, second], noon) is second
    assert window_at([second, first], noon - timedelta(microseconds=1)) is first
    batch = run(Batch([fix(-1), fix(0), fix(1)]), context(windows=[first, second]))
    assert len(batch.fixes) == 3


def test_without_a_shift_everything_is_counted_and_nothing_kept():
    """F24."""
    batch = run(Batch(walk(20)), context(windows=[]))
    assert (batch.fixes, batch.off_shift, batch.latest) == ([], 20, None)
    assert batch.footing == NO_FOOTING
