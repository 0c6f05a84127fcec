"""Visits found in fixes: who stayed in the fence of a checkpoint for long enough.

A fold over the fixes of one device in time order: ``watch, ended = watch.take(fix, fences)``. Noise decides the shape
of it. The error of a receiver between houses is 10 to 40 m and stays the same for a minute or more, so averaging over a
visit does not remove it; the reported accuracy is wrong by a factor of two either way. What is hardly touched is the
speed, which is measured by Doppler. So somebody who moves has to be inside the fence by his place alone, and to
somebody who stands the doubt is granted: his place may be off by what his accuracy admits. A place belongs to the
nearest checkpoint, so standing at one is no visit to its neighbour.

What was seen late is folded again from a moment at which nothing was open; see ``follow``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
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
"""So much nearer than the checkpoint of an open stay another one has to be to end it: two fences that meet would pass
somebody who stands between them to and fro with the noise."""
OUT_S = 15.0
"""A stay ends when fixes over so many seconds are outside; a single outlier does not end it."""
STROLL_MPS = 1.2
"""How fast one goes to a place and leaves it, where the fix on the way does not tell."""
STILL_OVER_S = 20.0
STILL_MPS = 0.5
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
            distance_m = _distance_m(fence, lon, lat)
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


class Stay(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An open presence: what has been added up so far, and where it was last seen inside and first outside again."""

    checkpoint_id: UUID
    min_dwell_s: float
    arrived_at: datetime
    last: Seen
    last_still: bool
    last_inner_m: float
    """How far inside of the bound that held for it the last fix inside was."""
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
    them, `open` the stays that go on. `rungs` are moments at which nothing was open, close together near the end and
    farther apart before it, so that what comes late is folded again from not much earlier than it belongs.
    """

    at: datetime | None = None
    seq: int = 0
    recent: tuple[Seen, ...] = ()
    open: tuple[Stay, ...] = ()
    rungs: tuple[datetime, ...] = ()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is open. All that is known then follows from the fixes of the last LOOKBACK_S (`resumed`)."""
        return not self.open

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

    def presences(self) -> list[Presence]:
        """The stays that go on."""
        return [stay.presence(None) for stay in self.open]

    def close(self) -> list[Presence]:
        """The stays that go on, ended where they were last seen: nothing more is to come of this track."""
        return [stay.presence(stay.last.at) for stay in self.open]

    def take(self, fix: Fix, fences: Fences) -> tuple[Watch, list[Presence]]:
        """The state after one more fix, and the presences that it ended. What is not new changes nothing."""
        if not self.is_new(fix):
            return self, []
        rungs = self.rungs
        if not self.open and self.at is not None and fix.fixed_at > self.at:
            rungs = _with_rung(rungs, self.at)
        if fix.flags & HIDDEN:
            mock = bool(fix.flags & Flag.MOCK)
            counted = tuple(
                msgspec.structs.replace(stay, mocks=stay.mocks + mock, doubtful=stay.doubtful + 1)
                for stay in self.open
            )
            return Watch(fix.fixed_at, fix.seq, self.recent, counted, rungs), []
        seen = Seen(fix.fixed_at, fix.lon, fix.lat, fix.accuracy_m, fix.speed_mps)
        recent = self.recent
        ended: list[Presence] = []
        going: list[Stay] = list(self.open)
        silent_s = _seconds(recent[-1], seen) if recent else 0.0
        if silent_s > GAP_S:
            ended = [stay.presence(stay.last.at, GAP_S) for stay in going]
            going, recent = [], ()
        still = _is_still(recent, seen)
        near = fences.near(seen.lon, seen.lat, _doubt_m(seen) if still else 0.0)
        open_, over = _go_on(going, seen, still, silent_s, near, fences)
        open_ += _begin(open_, recent[-1] if recent else None, seen, still, near)
        return Watch(fix.fixed_at, fix.seq, _with_seen(recent, seen), tuple(open_), rungs), ended + over


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


def _go_on(
    stays: Iterable[Stay], seen: Seen, still: bool, silent_s: float, near: list[Near], fences: Fences
) -> tuple[list[Stay], list[Presence]]:
    """What a fix makes of the open stays: those that go on, and those that it ends."""
    going: list[Stay] = []
    ended: list[Presence] = []
    for stay in stays:
        silence_s = max(stay.silent_s, silent_s)
        fence = fences.get(stay.checkpoint_id)
        if fence is None:
            ended.append(stay.presence(stay.last.at, silence_s))
            continue
        fences.measured += 1
        distance_m = _distance_m(fence, seen.lon, seen.lat)
        inner_m = fence.radius_m + (_doubt_m(seen) if still else 0.0) - distance_m
        if inner_m >= 0.0 and near[0].distance_m >= distance_m - BESIDE_M:
            going.append(_seen_inside(stay, fence, seen, still, distance_m, inner_m, silence_s))
            continue
        out = stay.out or seen
        out_m = stay.out_m if stay.out else max(0.0, distance_m - fence.radius_m)
        stay = msgspec.structs.replace(stay, out=out, out_m=out_m, silent_s=silence_s)
        if _seconds(out, seen) >= OUT_S:
            ended.append(stay.presence(_left_at(stay)))
        else:
            going.append(stay)
    return going, ended


def _begin(going: list[Stay], before: Seen | None, seen: Seen, still: bool, near: list[Near]) -> list[Stay]:
    """The stays that a fix begins: at the nearest checkpoint, and at another that is all but the same place."""
    begun: list[Stay] = []
    for fence, distance_m in near:
        nearest = near[0].fence
        if fence is not nearest and _distance_m(fence, nearest.lon, nearest.lat) > BESIDE_M:
            continue
        if any(stay.checkpoint_id == fence.checkpoint_id for stay in going):
            continue
        inner_m = fence.radius_m + (_doubt_m(seen) if still else 0.0) - distance_m
        arrived_at = seen.at
        if before is not None:
            outside_m = _distance_m(fence, before.lon, before.lat) - fence.radius_m
            arrived_at = _crossed_at(before, seen, outside_m, inner_m, still)
        nothing = Stay(fence.checkpoint_id, fence.min_dwell_s, arrived_at, seen, still, inner_m)
        silent_s = GAP_S if before is None else _seconds(before, seen)
        begun.append(_seen_inside(nothing, fence, seen, still, distance_m, inner_m, silent_s))
    return begun


def _seen_inside(
    stay: Stay, fence: Fence, seen: Seen, still: bool, distance_m: float, inner_m: float, silent_s: float
) -> Stay:
    weight = 1.0 / _accuracy_m(seen) ** 2
    return Stay(
        stay.checkpoint_id,
        stay.min_dwell_s,
        stay.arrived_at,
        seen,
        still,
        inner_m,
        stay.fixes + 1,
        min(stay.nearest_m, distance_m),
        stay.weight + weight,
        stay.east_m
        + weight * _wrapped_deg(seen.lon - fence.lon) * _M_PER_DEG * math.cos(math.radians(fence.lat)),
        stay.north_m + weight * (seen.lat - fence.lat) * _M_PER_DEG,
        stay.mocks,
        stay.doubtful,
        silent_s,
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


def _is_still(recent: tuple[Seen, ...], seen: Seen) -> bool:
    """Whether somebody stands, by the speed that his receiver reports, or by how far he came lately."""
    moving = said_by(seen.speed_mps)
    if moving is not None:
        return not moving
    past = None
    for past in reversed(recent):
        if _seconds(past, seen) >= STILL_OVER_S:
            break
    if past is None:
        return False
    return _between_m(past, seen) <= STILL_MPS * _seconds(past, seen)


def _with_seen(recent: tuple[Seen, ...], seen: Seen) -> tuple[Seen, ...]:
    return (*(past for past in recent[1 - RECENT :] if _seconds(past, seen) <= GAP_S), seen)


def _with_rung(rungs: tuple[datetime, ...], at: datetime) -> tuple[datetime, ...]:
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


def _doubt_m(seen: Seen) -> float:
    return min(DOUBT * _accuracy_m(seen), MOST_DOUBT_M)


def _wrapped_deg(lon: float) -> float:
    return (lon + 180.0) % 360.0 - 180.0 if not -180.0 <= lon <= 180.0 else lon


def _distance_m(fence: Fence, lon: float, lat: float) -> float:
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
