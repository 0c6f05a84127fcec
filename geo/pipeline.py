"""What a fix goes through between a gateway and the database, on one screen: see STEPS at the end.

Each step is a pure function of a batch and its context; none changes a fix it was given, none waits for
anything. Nothing is dropped in silence: kept, duplicates, off shift and quarantined add up to what came in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import msgspec

from geo import datum as datums
from geo.fixes import GIVEN_SEQS, HIDDEN, MOST_SEQ, Fix, Flag, Reason, ShiftWindow, payload, window_at
from geo.footing import MAX_SPEED_MPS, Footing

FUTURE_AFTER = timedelta(seconds=120)
LATE_AFTER = timedelta(seconds=300)
INACCURATE_OVER_M = 100.0
MEANINGLESS_ACCURACY_M = 1_000_000.0
NULL_ISLAND_DEG = 1e-5
YEAR_2000 = datetime(2000, 1, 1, tzinfo=UTC)


class Batch(msgspec.Struct, frozen=True):
    """The fixes of one request on their way through the steps.

    `fixes` are those still kept, `quarantined` those set aside with the reason (a fix, or the raw object
    that could not be read as one), `off_shift` and `duplicates` count what is not stored. At the end
    `latest` is the newest fix that may be shown and is newer than what is shown now, and `footing` is what
    the next batch of this device wants as `Context.footing`; it holds no fix that was not kept.
    """

    fixes: list[Fix]
    quarantined: list[tuple[Fix | dict[str, Any], Reason]] = []
    off_shift: int = 0
    duplicates: int = 0
    latest: Fix | None = None
    footing: Footing | None = None

    @property
    def received(self) -> int:
        """How many fixes came in: the sum of all outcomes, equal before and after every step."""
        return len(self.fixes) + len(self.quarantined) + self.off_shift + self.duplicates


def nowhere(lon: float, lat: float) -> UUID | None:
    """The area of any place in a town without areas."""
    return None


class Context(msgspec.Struct, frozen=True):
    """What is known about the device and its officer when a batch arrives.

    `windows` are the shifts the fixes may belong to, `latest_at` the time of the fix that is shown now.
    `footing` is the one that the device's last batch ended with; without it `previous`, the last kept fix,
    stands in, which flags one fix more after an outlier. `travel` is a key of `MAX_SPEED_MPS`. What is older
    than `backlog_limit` cannot be stored any more.
    """

    received_at: datetime
    windows: Sequence[ShiftWindow]
    latest_at: datetime | None = None
    previous: Fix | None = None
    area_of: Callable[[float, float], UUID | None] = nowhere
    travel: str | None = None
    footing: Footing | None = None
    backlog_limit: timedelta = timedelta(days=30)


Step = Callable[[Batch, Context], Batch]


def datum(batch: Batch, context: Context) -> Batch:
    """Turn every place into WGS-84; set aside what is no place on earth and what declares an unknown datum.

    (0, 0) is what a receiver without a position reports, so it is no place.
    """
    fixes: list[Fix] = []
    quarantined: list[tuple[Fix | dict[str, Any], Reason]] = []
    shifted: dict[str, list[int]] = {}
    for fix in batch.fixes:
        lon, lat = fix.lon, fix.lat
        if not (-180.0 <= lon <= 180.0 and -90.0 <= lat <= 90.0 and lon * lon + lat * lat > _NULL_ISLAND):
            quarantined.append((fix, Reason.ABSURD_PLACE))
            continue
        if fix.datum != "wgs84":
            if fix.datum not in datums.DATUMS:
                quarantined.append((fix, Reason.UNKNOWN_DATUM))
                continue
            shifted.setdefault(fix.datum, []).append(len(fixes))
        fixes.append(fix)
    if not quarantined and not shifted:
        return batch
    for source, indices in shifted.items():
        places = [(fixes[i].lon, fixes[i].lat) for i in indices]
        for i, (lon, lat) in zip(indices, _in_wgs84(places, source), strict=True):
            fixes[i] = _with(fixes[i], lon=lon, lat=lat, datum="wgs84")
    return _with(batch, fixes=fixes, quarantined=batch.quarantined + quarantined)


def _in_wgs84(places: list[tuple[float, float]], source: str) -> list[tuple[float, float]]:
    if len(places) < _MANY:
        return [datums.convert(lon, lat, source, "wgs84") for lon, lat in places]
    lons, lats = datums.convert_many([lon for lon, _ in places], [lat for _, lat in places], source, "wgs84")
    return list(zip(lons.tolist(), lats.tolist(), strict=True))


def duplicates(batch: Batch, context: Context) -> Batch:
    """Keep each measurement once; number different ones of the same instant.

    The numbers do not depend on the order of arrival, so a shuffled replay gives every fix the `seq` it had. More of
    one instant than there are numbers no receiver measures: they are set aside.
    """
    fixes = batch.fixes
    if any(fix.seq >= GIVEN_SEQS for fix in fixes):
        fixes = [fix if fix.seq < GIVEN_SEQS else _with(fix, seq=fix.seq % GIVEN_SEQS) for fix in fixes]
    if _is_in_order(fixes):
        return batch if fixes is batch.fixes else _with(batch, fixes=fixes)
    by_instant: dict[datetime, list[Fix]] = {}
    for fix in fixes:
        by_instant.setdefault(fix.fixed_at, []).append(fix)
    kept: list[Fix] = []
    too_many: list[tuple[Fix | dict[str, Any], Reason]] = []
    for same_instant in by_instant.values():
        if len(same_instant) == 1:
            kept.append(same_instant[0])
        else:
            different = _numbered(same_instant)
            kept.extend(different[: MOST_SEQ + 1])
            too_many += [(fix, Reason.ABSURD_TIME) for fix in different[MOST_SEQ + 1 :]]
    return _with(
        batch,
        fixes=kept,
        quarantined=batch.quarantined + too_many,
        duplicates=batch.duplicates + len(fixes) - len(kept) - len(too_many),
    )


def _numbered(same_instant: list[Fix]) -> list[Fix]:
    """The different ones of some fixes of one instant, in an order of their own, each with its number.

    A number that the client gave is kept if it is free; if numbers run out, all are numbered anew, and those beyond
    the greatest number are one too many.
    """
    keyed = [(fix.seq, msgspec.json.encode(payload(fix), order="sorted"), fix) for fix in same_instant]
    keyed.sort(key=lambda entry: entry[:2])
    first: dict[bytes, Fix] = {}
    for _, key, fix in keyed:
        first.setdefault(key, fix)
    different = list(first.values())
    numbers: list[int] = []
    for fix in different:
        numbers.append(max(fix.seq, numbers[-1] + 1 if numbers else 0))
    if numbers[-1] > MOST_SEQ:
        numbers = list(range(len(different)))
    return [
        fix if fix.seq == seq else _with(fix, seq=seq) for fix, seq in zip(different, numbers, strict=True)
    ]


def order(batch: Batch, context: Context) -> Batch:
    """Sort by the device's time; every later step relies on it."""
    fixes = batch.fixes
    if _is_in_order(fixes):
        return batch
    return _with(batch, fixes=sorted(fixes, key=lambda fix: (fix.fixed_at, fix.seq)))


def times(batch: Batch, context: Context) -> Batch:
    """Set aside fixes from the future and from times no phone could mean; mark what comes late.

    Epoch 0, GPS week rollover (1,024 weeks too early), clocks before 2000 and backlogs beyond the limit are
    all too old to be stored. Clocks are never corrected in silence.
    """
    fixes = batch.fixes
    received_at = context.received_at
    future = received_at + FUTURE_AFTER
    late = received_at - LATE_AFTER
    if not fixes or (fixes[0].fixed_at >= late and fixes[-1].fixed_at <= future):
        return batch
    oldest = max(received_at - context.backlog_limit, YEAR_2000)
    kept: list[Fix] = []
    quarantined = list(batch.quarantined)
    for fix in fixes:
        fixed_at = fix.fixed_at
        if fixed_at > future:
            quarantined.append((fix, Reason.FUTURE))
        elif fixed_at < oldest:
            quarantined.append((fix, Reason.ABSURD_TIME))
        else:
            kept.append(_flagged(fix, _LATE) if fixed_at < late else fix)
    return _with(batch, fixes=kept, quarantined=quarantined)


def accuracy(batch: Batch, context: Context) -> Batch:
    """Flag fixes that are too inaccurate to show; forget figures that no sensor can mean.

    Accuracy that is negative, zero (Android's "not known") or not a number is unknown. A radius over 1,000 km
    is as good as none, but the device said that it does not know where it is, so the flag stays.
    """
    fixes = batch.fixes
    changed: list[Fix] | None = None
    for i, fix in enumerate(fixes):
        if _is_sane(fix):
            continue
        if changed is None:
            changed = fixes.copy()
        changed[i] = _made_sane(fix)
    return batch if changed is None else _with(batch, fixes=changed)


def _is_sane(fix: Fix) -> bool:
    value = fix.accuracy_m
    if value is not None and not 0.0 < value <= INACCURATE_OVER_M:
        return False
    value = fix.speed_mps
    if value is not None and not 0.0 <= value <= _MAX_SPEED_READING_MPS:
        return False
    value = fix.heading_deg
    if value is not None and not 0.0 <= value < 360.0:
        return False
    value = fix.battery_pct
    if value is not None and not 0.0 <= value <= 100.0:
        return False
    value = fix.altitude_m
    return value is None or -_MAX_ALTITUDE_M <= value <= _MAX_ALTITUDE_M


def _made_sane(fix: Fix) -> Fix:
    fix = _with(fix)
    radius_m = fix.accuracy_m
    if radius_m is not None:
        if radius_m > INACCURATE_OVER_M:
            fix.flags |= _INACCURATE
        if not 0.0 < radius_m <= MEANINGLESS_ACCURACY_M:
            fix.accuracy_m = None
    if fix.speed_mps is not None and not 0.0 <= fix.speed_mps <= _MAX_SPEED_READING_MPS:
        fix.speed_mps = None
    if fix.heading_deg is not None:
        fix.heading_deg = fix.heading_deg % 360.0 if 0.0 <= fix.heading_deg <= 360.0 else None
    if fix.battery_pct is not None and not 0.0 <= fix.battery_pct <= 100.0:
        fix.battery_pct = None
    if fix.altitude_m is not None and not -_MAX_ALTITUDE_M <= fix.altitude_m <= _MAX_ALTITUDE_M:
        fix.altitude_m = None
    return fix


def speed_and_mock(batch: Batch, context: Context) -> Batch:
    """Flag mock fixes and those that only an impossible speed could have reached.

    The speed is the one implied by places and times: the speed a phone reports is in a doubtful unit too
    often. What is older than the last trusted fix is judged by itself, so a late backlog does not disturb the
    live track. Fixes that are hidden anyway, or off shift, prove nothing about the others and are not
    looked at.
    """
    fixes = batch.fixes
    live = context.footing or _footing_from(context.previous)
    trusted_at = None if live.trusted is None else live.trusted.fixed_at
    late: Footing | None = None
    bound = MAX_SPEED_MPS.get(context.travel, MAX_SPEED_MPS[None])
    all_on_shift = _all_on_shift(fixes, context.windows)
    changed: list[Fix] | None = None
    for i, fix in enumerate(fixes):
        if fix.mock:
            flag = _MOCK
        elif fix.flags & HIDDEN or not (all_on_shift or window_at(context.windows, fix.fixed_at)):
            continue
        else:
            if trusted_at is not None and fix.fixed_at < trusted_at:
                late, doubtful = (late or Footing.on(live.trusted)).judge(fix, bound)
            else:
                live, doubtful = live.judge(fix, bound)
            if not doubtful:
                continue
            flag = _IMPOSSIBLE_SPEED
        if changed is None:
            changed = fixes.copy()
        changed[i] = _flagged(fix, flag)
    return _with(batch, fixes=fixes if changed is None else changed, footing=live)


def _footing_from(previous: Fix | None) -> Footing:
    if previous is None or previous.flags & (_MOCK | _INACCURATE):
        return Footing.on(None)
    return Footing.on(previous, believed=not previous.flags & _IMPOSSIBLE_SPEED)


def shift_gate(batch: Batch, context: Context) -> Batch:
    """Let nothing through that was measured outside a shift: it is counted, and nothing else of it is left.

    The gate stands before quarantine too. What is set aside with a believable time needs a shift at that
    time, and what has none needs one at the time of arrival: whoever is off duty leaves no place behind
    anywhere.
    """
    fixes, windows, quarantined = batch.fixes, context.windows, batch.quarantined
    if not quarantined and _all_on_shift(fixes, windows):
        return batch
    kept = [fix for fix in fixes if window_at(windows, fix.fixed_at)]
    set_aside = [entry for entry in quarantined if window_at(windows, _quarantined_at(entry, context))]
    off_shift = len(fixes) - len(kept) + len(quarantined) - len(set_aside)
    return _with(batch, fixes=kept, quarantined=set_aside, off_shift=batch.off_shift + off_shift)


def _quarantined_at(entry: tuple[Fix | dict[str, Any], Reason], context: Context) -> datetime:
    fix, reason = entry
    if isinstance(fix, Fix) and reason not in (Reason.FUTURE, Reason.ABSURD_TIME):
        fixed_at = fix.fixed_at
        if context.received_at - context.backlog_limit <= fixed_at <= context.received_at + FUTURE_AFTER:
            return fixed_at
    return context.received_at


def _all_on_shift(fixes: Sequence[Fix], windows: Sequence[ShiftWindow]) -> bool:
    """Whether one shift covers the first and the last of fixes in time order, and so all of them."""
    if not fixes:
        return True
    first, last = fixes[0].fixed_at, fixes[-1].fixed_at
    for window in windows:  # noqa: SIM110 (a generator would double the cost of a batch of one)
        if window.started_at <= first and last < window.until:
            return True
    return False


def area(batch: Batch, context: Context) -> Batch:
    """Say in which area each fix lies."""
    area_of = context.area_of
    fixes: list[Fix] = []
    for fix in batch.fixes:
        area_id = area_of(fix.lon, fix.lat)
        fixes.append(fix if area_id is fix.area_id else _with(fix, area_id=area_id))
    return _with(batch, fixes=fixes)


def latest(batch: Batch, context: Context) -> Batch:
    """Find what the live map should show now: the newest showable fix, if it is newer than what it shows."""
    latest_at = context.latest_at
    for fix in reversed(batch.fixes):
        if latest_at is not None and fix.fixed_at <= latest_at:
            break
        if not fix.flags & HIDDEN:
            return _with(batch, latest=fix)
    return batch


def _flagged(fix: Fix, flag: int) -> Fix:
    return _with(fix, flags=fix.flags | flag)


def _is_in_order(fixes: Sequence[Fix]) -> bool:
    return len(fixes) < 2 or all(a.fixed_at < b.fixed_at for a, b in pairwise(fixes))


_with = msgspec.structs.replace
_MANY = 20  # From here on numpy is faster than a place at a time.
_NULL_ISLAND = NULL_ISLAND_DEG**2
_MAX_SPEED_READING_MPS = 1_000.0
_MAX_ALTITUDE_M = 20_000.0
_MOCK = int(Flag.MOCK)
_IMPOSSIBLE_SPEED = int(Flag.IMPOSSIBLE_SPEED)
_INACCURATE = int(Flag.INACCURATE)
_LATE = int(Flag.LATE)

STEPS: tuple[Step, ...] = (
    datum,  # every place in WGS-84; what is no place, or of an unknown datum: quarantine
    duplicates,  # each measurement once; different ones of one instant numbered
    order,  # by the device's time
    times,  # the future and the absurd: quarantine; more than five minutes old: flagged late
    accuracy,  # over 100 m: flagged; what no sensor can mean: unknown
    speed_and_mock,  # flagged, kept, not shown
    shift_gate,  # off duty: counted, and nothing else is left, not even in quarantine
    area,  # where it lies
    latest,  # what the live map shows now, if it is news
)


def run(batch: Batch, context: Context) -> Batch:
    """Send a batch through all steps; the fixes that remain are to be stored as they are."""
    for step in STEPS:
        batch = step(batch, context)
    return batch
