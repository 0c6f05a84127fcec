"""Visits found in fixes: who stayed in the fence of a checkpoint for long enough.

A fold over the fixes of one device in time order: ``watch, ended = watch.take(fix, fences)``. Noise decides the shape
of it. The error of a receiver between houses is 10 to 40 m and stays the same for a minute or more, so averaging over a
visit does not remove it; the reported accuracy is wrong by a factor of two either way. What is hardly touched is the
speed, which is measured by Doppler. So whoever moves has to be inside the fence by his place alone. Whoever stands is
at one place, the mean of all fixes since he came, and to him the doubt is granted: that place may be off by what his
accuracy admits. A place belongs to the nearest checkpoint, so standing at one is no visit to its neighbour.

What was seen late is folded again from a moment at which nothing was open; see ``follow``. What was tried and measured
stands in docs/decisions/0024-visits.md.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from geo.fixes import HIDDEN, Fix, Flag
from geo.motion import GAP_S, said_by

LOOKBACK_S = 2 * GAP_S
"""How much of the track before a moment says all that matters of it while nothing is open: the last believable fix, if
it is no longer ago than GAP_S, and those before it that are no older than that again."""

DOUBT = 1.0
MOST_DOUBT_M = 40.0
"""How far beyond the fence somebody who stands may be measured: so many times the reported accuracy, at most this."""
UNKNOWN_ACCURACY_M = 20.0
LEAST_ACCURACY_M = 3.0
MOST_RADIUS_M = 1_000.0
BESIDE_M = 10.0
"""Checkpoints no farther apart than this cannot be told apart by a receiver: who is at one is at both."""
OUT_S = 15.0
"""A stay ends when fixes over so many seconds are outside; a single outlier does not end it."""
SAME_PLACE = 1.5
"""Fixes farther apart than so many times their accuracies were measured at two places: they may be a minute apart."""
STROLL_MPS = 1.2
"""How fast one goes to a place and leaves it, where the fix on the way does not tell."""
STILL_OVER_S = 30.0
STILL_MPS = 0.6
RECENT = 6
"""So many fixes say whether somebody stands where the receiver does not tell its speed."""
RUNG_S = 60.0
"""Quiet moments closer together than this are not told apart."""

_CELL_M = 50.0
_EARTH_M = 6_371_008.8
_M_PER_DEG = math.radians(1.0) * _EARTH_M


class Fence(msgspec.Struct, frozen=True, gc=False):
    """The circle around a checkpoint, and how long one has to be in it."""

    checkpoint_id: UUID
    lon: float
    lat: float
    radius_m: float
    min_dwell_s: float


class Near(NamedTuple):
    """A fence and how far its checkpoint is."""

    fence: Fence
    distance_m: float


class Fences:
    """The fences of a town. Finding those near a place costs the same however many there are elsewhere."""

    def __init__(self, fences: Iterable[Fence]) -> None:
        self._by_id = {fence.checkpoint_id: fence for fence in fences}
        self._cells: dict[tuple[int, int], list[Fence]] = defaultdict(list)
        for fence in self._by_id.values():
            for cell in _cells_within(fence.lon, fence.lat, fence.radius_m + MOST_DOUBT_M):
                self._cells[cell].append(fence)
        self.measured = 0
        """How many distances were measured: what a look-up costs."""

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, checkpoint_id: UUID) -> Fence | None:
        """The fence of a checkpoint, or None where it has none (any more)."""
        return self._by_id.get(checkpoint_id)

    def near(self, lon: float, lat: float, doubt_m: float = 0.0) -> list[Near]:
        """The fences in which somebody measured here may be, the nearest checkpoint first.

        The place may be off by `doubt_m`, of which MOST_DOUBT_M count.
        """
        doubt_m = min(doubt_m, MOST_DOUBT_M)
        found = []
        for fence in self._cells.get(_cell(lon, lat), ()):
            self.measured += 1
            distance_m = distance_from_m(fence, lon, lat)
            if distance_m <= fence.radius_m + doubt_m:
                found.append(Near(fence, distance_m))
        if len(found) > 1:
            found.sort(key=lambda near: (near.distance_m, near.fence.checkpoint_id))
        return found


class Presence(msgspec.Struct, frozen=True, gc=False):
    """One stay in a fence, with what its proof needs. It is a visit if it lasted (`is_visit`).

    `left_at` is None while it goes on. So many `fixes` were inside, the nearest `nearest_m` from the checkpoint;
    `distance_m` is how far their mean place is, weighted by accuracy, and `accuracy_m` the mean of what they reported,
    weighted the same way. `doubtful` fixes (see `geo.fixes.HIDDEN`), of them `mocks`, came in that time and counted for
    nothing. `silent_s` is the longest time without a believable fix, from the last one before to the first one after;
    GAP_S stands for all that is longer.
    """

    checkpoint_id: UUID
    arrived_at: datetime
    left_at: datetime | None
    seen_at: datetime
    dwell_s: float
    min_dwell_s: float
    fixes: int
    nearest_m: float
    distance_m: float
    accuracy_m: float
    mocks: int
    doubtful: int
    silent_s: float

    @property
    def is_visit(self) -> bool:
        """Whether it lasted as long as the checkpoint asks."""
        return self.dwell_s >= self.min_dwell_s


class Seen(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is remembered of a fix."""

    at: datetime
    lon: float
    lat: float
    accuracy_m: float | None
    speed_mps: float | None


class Stand(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Somebody who stands: from when to when, and where he is by the mean of all fixes of it, weighted by accuracy.

    The sums are in degrees from the first fix. `before` is the fix before it; `out` is the first of the latest fixes
    that are so far off that they are no part of it.
    """

    before: Seen | None
    first: Seen
    last: Seen
    fixes: int = 0
    weight: float = 0.0
    east_deg: float = 0.0
    north_deg: float = 0.0
    mocks: int = 0
    doubtful: int = 0
    silent_s: float = 0.0
    out: Seen | None = None

    def place(self) -> Seen:
        """The place as a fix: the mean of all, of the mean accuracy, because errors that last are not averaged out."""
        first = self.first
        return Seen(
            self.last.at,
            first.lon + self.east_deg / self.weight,
            first.lat + self.north_deg / self.weight,
            math.sqrt(self.fixes / self.weight),
            0.0,
        )

    def may_hold(self, seen: Seen) -> bool:
        """Whether a fix may have been measured at this place: fixes a minute apart can belong to two stands."""
        place = self.place()
        return _between_m(place, seen) <= SAME_PLACE * (_accuracy_m(place) + _accuracy_m(seen))

    def after(self, seen: Seen, silent_s: float) -> Stand:
        """The same with one more fix."""
        weight = _weight(seen)
        return Stand(
            self.before,
            self.first,
            seen,
            self.fixes + 1,
            self.weight + weight,
            self.east_deg + weight * _wrapped_deg(seen.lon - self.first.lon),
            self.north_deg + weight * (seen.lat - self.first.lat),
            self.mocks,
            self.doubtful,
            max(self.silent_s, silent_s),
        )


class Stay(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An open presence: what has been added up so far, and where it was last seen inside and first outside again."""

    checkpoint_id: UUID
    min_dwell_s: float
    arrived_at: datetime
    last: Seen
    last_still: bool
    last_inner_m: float
    """How far inside of the bound that held for it the last place inside was."""
    fixes: int = 0
    nearest_m: float = MOST_RADIUS_M
    weight: float = 0.0
    east_m: float = 0.0
    north_m: float = 0.0
    mocks: int = 0
    doubtful: int = 0
    silent_s: float = 0.0
    out: Seen | None = None
    out_m: float = 0.0

    def presence(self, left_at: datetime | None, silent_s: float = 0.0) -> Presence:
        """The stay as it is told: ended at a moment, or (None) going on."""
        return Presence(
            checkpoint_id=self.checkpoint_id,
            arrived_at=self.arrived_at,
            left_at=left_at,
            seen_at=self.last.at,
            dwell_s=((left_at or self.last.at) - self.arrived_at).total_seconds(),
            min_dwell_s=self.min_dwell_s,
            fixes=self.fixes,
            nearest_m=self.nearest_m,
            distance_m=math.hypot(self.east_m, self.north_m) / self.weight,
            accuracy_m=math.sqrt(self.fixes / self.weight),
            mocks=self.mocks,
            doubtful=self.doubtful,
            silent_s=max(self.silent_s, silent_s),
        )


class Watch(msgspec.Struct, frozen=True, gc=False):
    """What is known of one device's track so far; JSON and back changes nothing.

    `at` and `seq` are the key of the newest fix folded. `recent` are the last believable fixes without a gap between
    them, `open` the stays that go on, `stand` where he stands now, if that may be in a fence. `rungs` are moments at
    which nothing was open, close together near the end and farther apart before it, so that what comes late is folded
    again from not much earlier than it belongs.
    """

    at: datetime | None = None
    seq: int = 0
    recent: tuple[Seen, ...] = ()
    open: tuple[Stay, ...] = ()
    stand: Stand | None = None
    rungs: tuple[datetime, ...] = ()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is open. All that is known then follows from the fixes of the last LOOKBACK_S (`resumed`)."""
        return not self.open and self.stand is None

    def is_new(self, fix: Fix) -> bool:
        """Whether a fix belongs behind all that were folded; if not, it is one of them, or it came late."""
        return self.at is None or (fix.fixed_at, fix.seq) > (self.at, self.seq)

    def quiet_before(self, at: datetime) -> datetime | None:
        """The last known moment before `at` at which nothing was open; None where only the beginning is."""
        found = None
        for rung in self.rungs:
            if rung < at:
                found = rung
        return found

    def presences(self, fences: Fences) -> list[Presence]:
        """What `take` has not told as ended yet: as it is known now, `left_at` is None where it goes on."""
        going, ended = _settled(self.stand, self.open, fences)
        return ended + [stay.presence(None) for stay in going]

    def close(self, fences: Fences) -> list[Presence]:
        """The same, ended where they were last seen: nothing more is to come of this track."""
        going, ended = _settled(self.stand, self.open, fences)
        return ended + [stay.presence(stay.last.at) for stay in going]

    def take(self, fix: Fix, fences: Fences) -> tuple[Watch, list[Presence]]:
        """The state after one more fix, and the presences that it ended. What is not new changes nothing."""
        if not self.is_new(fix):
            return self, []
        rungs = self.rungs
        if self.is_quiet and self.at is not None and fix.fixed_at > self.at:
            rungs = with_rung(rungs, self.at)
        if fix.flags & HIDDEN:
            mocks = int(bool(fix.flags & Flag.MOCK))
            counted = tuple(_doubted(stay, mocks) for stay in self.open)
            stand = self.stand and _doubted(self.stand, mocks)
            return Watch(fix.fixed_at, fix.seq, self.recent, counted, stand, rungs), []
        seen = Seen(fix.fixed_at, fix.lon, fix.lat, fix.accuracy_m, fix.speed_mps)
        recent, stand, going = self.recent, self.stand, self.open
        ended: list[Presence] = []
        silent_s = _seconds(recent[-1], seen) if recent else GAP_S
        if silent_s > GAP_S:
            going, ended = _settled(stand, going, fences)
            ended += [stay.presence(stay.last.at, GAP_S) for stay in going]
            going, recent, stand, silent_s = (), (), None, GAP_S
        before = recent[-1] if recent else None
        still = _is_still(recent, stand, seen)
        may_stay = still and bool(fences.near(seen.lon, seen.lat, MOST_DOUBT_M))
        if may_stay and (stand is None or stand.may_hold(seen)):
            stand = (stand or Stand(before, seen, seen)).after(seen, silent_s)
        elif still and stand is not None and _seconds(stand.out or stand.last, seen) < OUT_S:
            stand = msgspec.structs.replace(stand, out=stand.out or seen)
        else:
            going, over = _settled(stand, going, fences)
            ended += over
            if may_stay:
                stand = Stand(before, seen, seen).after(seen, silent_s)
            else:
                stand = None
                going, over = _passed(going, before, seen, silent_s, fences)
                ended += over
        return Watch(fix.fixed_at, fix.seq, _with_seen(recent, seen), going, stand, rungs), ended


NOTHING_SEEN = Watch()


def resumed(fixes: Iterable[Fix]) -> Watch:
    """The state at a moment at which nothing is open, from the fixes of the last LOOKBACK_S up to it."""
    at: datetime | None = None
    seq = 0
    recent: tuple[Seen, ...] = ()
    for fix in in_order(fixes):
        at, seq = fix.fixed_at, fix.seq
        if not fix.flags & HIDDEN:
            seen = Seen(fix.fixed_at, fix.lon, fix.lat, fix.accuracy_m, fix.speed_mps)
            if recent and _seconds(recent[-1], seen) > GAP_S:
                recent = ()
            recent = _with_seen(recent, seen)
    return Watch(at, seq, recent)


def in_order(fixes: Iterable[Fix]) -> list[Fix]:
    """Fixes of one device by (fixed_at, seq), each once."""
    by_key = {(fix.fixed_at, fix.seq): fix for fix in fixes}
    return [by_key[key] for key in sorted(by_key)]


class Followed(NamedTuple):
    """What new fixes changed: the state after them, and the presences that ended.

    With `is_again`, all that arrived after `again_from` (None: all of the track) was computed anew, and replaces what
    was told of it before; otherwise it comes on top.
    """

    watch: Watch
    ended: list[Presence]
    is_again: bool = False
    again_from: datetime | None = None


def fold(watch: Watch, fixes: Iterable[Fix], fences: Fences) -> tuple[Watch, list[Presence]]:
    """Take fixes in the order of time."""
    ended: list[Presence] = []
    for fix in in_order(fixes):
        watch, over = watch.take(fix, fences)
        ended += over
    return watch, ended


def follow(
    watch: Watch, fixes: Sequence[Fix], fences: Fences, read: Callable[[datetime | None], Iterable[Fix]]
) -> Followed:
    """Take fixes that came in, in any order; fold again from a quiet moment where some of them came late.

    `read(since)` answers all fixes kept of the track from a moment on (None: from its beginning), these among them.
    The state and the presences are then those of a fold over the whole track in order.
    """
    late = [fix for fix in fixes if not watch.is_new(fix)]
    if not late:
        return Followed(*fold(watch, fixes, fences))
    since = watch.quiet_before(min(fix.fixed_at for fix in late))
    if since is None:
        return Followed(*fold(NOTHING_SEEN, read(None), fences), is_again=True)
    kept = in_order(read(since - _LOOKBACK))
    run_in = resumed(fix for fix in kept if fix.fixed_at <= since)
    run_in = msgspec.structs.replace(run_in, rungs=tuple(rung for rung in watch.rungs if rung <= since))
    watch, ended = fold(run_in, (fix for fix in kept if fix.fixed_at > since), fences)
    return Followed(watch, ended, is_again=True, again_from=since)


def _settled(
    stand: Stand | None, stays: tuple[Stay, ...], fences: Fences
) -> tuple[tuple[Stay, ...], list[Presence]]:
    """The stays after a stand that is over: one place for all of it, so that it belongs to one checkpoint."""
    if stand is None:
        return stays, []
    return _placed(stays, stand, stand.place(), fences)


def _passed(
    stays: tuple[Stay, ...], before: Seen | None, seen: Seen, silent_s: float, fences: Fences
) -> tuple[tuple[Stay, ...], list[Presence]]:
    """The stays after the fix of somebody who moves."""
    if not stays and not fences.near(seen.lon, seen.lat):
        return (), []
    passing = Stand(before, seen, seen, 1, _weight(seen), silent_s=silent_s)
    return _placed(stays, passing, seen, fences, still=False)


def _placed(
    stays: tuple[Stay, ...], stand: Stand, place: Seen, fences: Fences, still: bool = True
) -> tuple[tuple[Stay, ...], list[Presence]]:
    """What somebody's place makes of the stays: those that go on or begin, and those that it ends."""
    doubt_m = min(DOUBT * _accuracy_m(place), MOST_DOUBT_M) if still else 0.0
    here = _here(fences.near(place.lon, place.lat, doubt_m), fences)
    going: list[Stay] = []
    ended: list[Presence] = []
    for stay in stays:
        distance_m = here.pop(stay.checkpoint_id, None)
        fence = fences.get(stay.checkpoint_id)
        if fence is None:
            ended.append(stay.presence(stay.last.at, stand.silent_s))
        elif distance_m is not None:
            going.append(_seen_inside(stay, fence, stand, place, still, distance_m, doubt_m))
        else:
            out, out_m = stay.out, stay.out_m
            if out is None:
                fences.measured += 1
                out, out_m = stand.first, distance_from_m(fence, place.lon, place.lat) - fence.radius_m
            silent_s = max(stay.silent_s, stand.silent_s)
            stay = msgspec.structs.replace(stay, out=out, out_m=out_m, silent_s=silent_s)
            if _seconds(out, stand.last) >= OUT_S:
                ended.append(stay.presence(_left_at(stay)))
            else:
                going.append(stay)
    for checkpoint_id, distance_m in here.items():
        fence = fences.get(checkpoint_id)
        assert fence is not None
        inner_m = fence.radius_m + doubt_m - distance_m
        arrived_at = stand.first.at
        if stand.before is not None:
            outside_m = distance_from_m(fence, stand.before.lon, stand.before.lat) - fence.radius_m
            arrived_at = _crossed_at(stand.before, stand.first, outside_m, inner_m, still)
        stay = Stay(checkpoint_id, fence.min_dwell_s, arrived_at, stand.first, still, inner_m)
        going.append(_seen_inside(stay, fence, stand, place, still, distance_m, doubt_m))
    return tuple(going), ended


def _here(near: list[Near], fences: Fences) -> dict[UUID, float]:
    """The checkpoints at which somebody is, and how far they are: the nearest, and others that are all but the same."""
    here: dict[UUID, float] = {}
    for fence, distance_m in near:
        if here:
            fences.measured += 1
            if distance_from_m(fence, near[0].fence.lon, near[0].fence.lat) > BESIDE_M:
                continue
        here[fence.checkpoint_id] = distance_m
    return here


def _seen_inside(
    stay: Stay, fence: Fence, stand: Stand, place: Seen, still: bool, distance_m: float, doubt_m: float
) -> Stay:
    weight = stand.weight
    east_deg = _wrapped_deg(place.lon - fence.lon) * math.cos(math.radians(fence.lat))
    return Stay(
        stay.checkpoint_id,
        stay.min_dwell_s,
        stay.arrived_at,
        stand.last,
        still,
        fence.radius_m + doubt_m - distance_m,
        stay.fixes + stand.fixes,
        min(stay.nearest_m, distance_m),
        stay.weight + weight,
        stay.east_m + weight * east_deg * _M_PER_DEG,
        stay.north_m + weight * (place.lat - fence.lat) * _M_PER_DEG,
        max(stay.mocks, stand.mocks),
        max(stay.doubtful, stand.doubtful),
        max(stay.silent_s, stand.silent_s),
    )


def _left_at(stay: Stay) -> datetime:
    """When the fence was left: between the last fix inside and the first one outside."""
    out = stay.out
    assert out is not None
    return _crossed_at(out, stay.last, stay.out_m, stay.last_inner_m, stay.last_still)


def _crossed_at(out: Seen, inside: Seen, outside_m: float, inner_m: float, still: bool) -> datetime:
    """When a fence was crossed between two fixes, in either direction.

    At an even pace; but whoever stood at the fix inside has gone the way from or to the other one at his usual pace
    and stood for the rest of the time, which matters where fixes are a minute apart.
    """
    takes_s = _seconds(out, inside)
    outside_m = max(0.0, outside_m)
    share = outside_m / (outside_m + inner_m) if outside_m + inner_m > 0.0 else 0.0
    crossed_s = abs(takes_s) * share
    if still:
        pace_mps = out.speed_mps if out.speed_mps is not None and said_by(out.speed_mps) else STROLL_MPS
        crossed_s = min(crossed_s, outside_m / pace_mps)
    return out.at + timedelta(seconds=math.copysign(crossed_s, takes_s))


def _is_still(recent: tuple[Seen, ...], stand: Stand | None, seen: Seen) -> bool:
    """Whether somebody stands, by the speed that his receiver reports, or by how far he came lately.

    Between the two thresholds of a reported speed nothing changes.
    """
    moving = said_by(seen.speed_mps)
    if moving is not None:
        return not moving
    if seen.speed_mps is not None and stand is not None:
        return True
    past = None
    for past in reversed(recent):
        if _seconds(past, seen) >= STILL_OVER_S:
            break
    if past is None:
        return False
    return _between_m(past, seen) <= STILL_MPS * _seconds(past, seen)


def _with_seen(recent: tuple[Seen, ...], seen: Seen) -> tuple[Seen, ...]:
    return (*(past for past in recent[1 - RECENT :] if _seconds(past, seen) <= GAP_S), seen)


def with_rung(rungs: tuple[datetime, ...], at: datetime) -> tuple[datetime, ...]:
    """One more quiet moment, and fewer of the old ones: their distance grows with their age, and their number as its
    logarithm."""
    if rungs and (at - rungs[-1]).total_seconds() < RUNG_S:
        return rungs
    kept = [*rungs, at]
    i = len(kept) - 3
    while i >= 0:
        if (kept[i + 2] - kept[i]) * 2 <= at - kept[i + 2]:
            del kept[i + 1]
        i -= 1
    return tuple(kept)


def _seconds(a: Seen, b: Seen) -> float:
    return (b.at - a.at).total_seconds()


def _accuracy_m(seen: Seen) -> float:
    accuracy_m = seen.accuracy_m
    return UNKNOWN_ACCURACY_M if accuracy_m is None else max(accuracy_m, LEAST_ACCURACY_M)


def _weight(seen: Seen) -> float:
    return 1.0 / _accuracy_m(seen) ** 2


def _doubted(kept: Any, mocks: int) -> Any:
    return msgspec.structs.replace(kept, mocks=kept.mocks + mocks, doubtful=kept.doubtful + 1)


def _wrapped_deg(lon: float) -> float:
    return (lon + 180.0) % 360.0 - 180.0 if not -180.0 <= lon <= 180.0 else lon


def distance_from_m(fence: Fence, lon: float, lat: float) -> float:
    """How far a place near a checkpoint is from it; on a plane, which is exact to a millimetre at such distances."""
    east_deg = _wrapped_deg(lon - fence.lon) * math.cos(math.radians(fence.lat))
    return math.hypot(east_deg, lat - fence.lat) * _M_PER_DEG


def _between_m(a: Seen, b: Seen) -> float:
    east_deg = _wrapped_deg(b.lon - a.lon) * math.cos(math.radians(a.lat))
    return math.hypot(east_deg, b.lat - a.lat) * _M_PER_DEG


def _cell(lon: float, lat: float) -> tuple[int, int]:
    """The square of about _CELL_M that a place lies in: rows by latitude, each divided by its own length."""
    row = math.floor(lat * _M_PER_DEG / _CELL_M)
    return row, _column(lon, row)


def _column(lon: float, row: int) -> int:
    columns = _columns(row)
    return math.floor((lon + 180.0) / 360.0 * columns) % columns


def _columns(row: int) -> int:
    """How many squares there are around the earth at a row."""
    lat = (row + 0.5) * _CELL_M / _M_PER_DEG
    return max(1, math.floor(360.0 * _M_PER_DEG * math.cos(math.radians(lat)) / _CELL_M))


def _cells_within(lon: float, lat: float, radius_m: float) -> set[tuple[int, int]]:
    """The squares that a circle may touch."""
    cells = set()
    first = math.floor((lat * _M_PER_DEG - radius_m) / _CELL_M)
    last = math.floor((lat * _M_PER_DEG + radius_m) / _CELL_M)
    for row in range(first, last + 1):
        columns = _columns(row)
        middle = (lon + 180.0) / 360.0 * columns
        half = radius_m / _CELL_M * 1.01 + 0.01
        for column in range(math.floor(middle - half), math.floor(middle + half) + 1):
            cells.add((row, column % columns))
    return cells


_LOOKBACK = timedelta(seconds=LOOKBACK_S)
