"""How long somebody was at a post: a fold over the fixes of one device against one fence.

``stand, pieces = stand.take(fix, fence)``. A fix is inside when its place is, or may be by its accuracy (at most
MOST_DOUBT_M, as with visits). Between two fixes no farther apart than BRIDGE_S he was where both say; where they
differ, the fence was crossed on the straight way between them. Everything else is not known: it is told apart, and
never taken for absence. What a flagged fix says counts for nothing.

A piece follows from the two fixes at its ends and from nothing else, so what comes late changes only what lies within
BRIDGE_S of it, and the result is that of a fold over the whole track in order (``follow``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

import msgspec

from geo.fixes import HIDDEN, Fix
from geo.visits import DOUBT, MOST_DOUBT_M, UNKNOWN_ACCURACY_M, Fence, distance_from_m, in_order

BRIDGE_S = 300.0
"""A phone that lies still is put to sleep and measures every few minutes; beyond this nothing is taken for granted."""
BRIDGE = timedelta(seconds=BRIDGE_S)


class Where(StrEnum):
    """Where somebody was for a while; ``EXCUSED``: on a break, and it does not matter."""

    INSIDE = "inside"
    OUTSIDE = "outside"
    UNKNOWN = "unknown"
    EXCUSED = "excused"


class Piece(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A time in which one device was inside the fence or outside of it."""

    since: datetime
    until: datetime
    is_inside: bool


class Seen(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A fix, as far as it matters: how far beyond the fence it is at least; not above zero: inside."""

    at: datetime
    beyond_m: float


class Stand(msgspec.Struct, frozen=True, gc=False):
    """What is known of one device's track so far; JSON and back changes nothing.

    ``at`` and ``seq`` are the key of the newest fix folded, ``last`` is the last one that says something.
    """

    at: datetime | None = None
    seq: int = 0
    last: Seen | None = None

    def is_new(self, fix: Fix) -> bool:
        """Whether a fix belongs behind all that were folded; if not, it is one of them, or it came late."""
        return self.at is None or (fix.fixed_at, fix.seq) > (self.at, self.seq)

    def take(self, fix: Fix, fence: Fence) -> tuple[Stand, list[Piece]]:
        """The state after one more fix, and what is known since the one before. What is not new changes nothing."""
        if not self.is_new(fix):
            return self, []
        if fix.flags & HIDDEN:
            return Stand(fix.fixed_at, fix.seq, self.last), []
        seen = Seen(fix.fixed_at, beyond_m(fix, fence))
        known = [] if self.last is None else _between(self.last, seen)
        return Stand(fix.fixed_at, fix.seq, seen), known


NOTHING_SEEN = Stand()


def beyond_m(fix: Fix, fence: Fence) -> float:
    """How far outside of the fence a fix is, its doubt taken off; not above zero where it is or may be inside."""
    accuracy_m = UNKNOWN_ACCURACY_M if fix.accuracy_m is None else fix.accuracy_m
    doubt_m = min(DOUBT * accuracy_m, MOST_DOUBT_M)
    return distance_from_m(fence, fix.lon, fix.lat) - fence.radius_m - doubt_m


def _between(first: Seen, second: Seen) -> list[Piece]:
    lasts = second.at - first.at
    if not timedelta(0) < lasts <= BRIDGE:
        return []
    was, is_ = first.beyond_m <= 0, second.beyond_m <= 0
    if was == is_:
        return [Piece(first.at, second.at, was)]
    crossed_at = first.at + lasts * (first.beyond_m / (first.beyond_m - second.beyond_m))
    found = [Piece(first.at, crossed_at, was), Piece(crossed_at, second.at, is_)]
    return [piece for piece in found if piece.since < piece.until]


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Pieces in order, with those made one that touch and say the same."""
    found: list[Piece] = []
    for piece in pieces:
        if found and found[-1].until == piece.since and found[-1].is_inside == piece.is_inside:
            found[-1] = Piece(found[-1].since, piece.until, piece.is_inside)
        else:
            found.append(piece)
    return found


def fold(stand: Stand, fixes: Iterable[Fix], fence: Fence) -> tuple[Stand, list[Piece]]:
    """Take fixes in the order of time."""
    pieces: list[Piece] = []
    for fix in in_order(fixes):
        stand, known = stand.take(fix, fence)
        pieces += known
    return stand, pieces


def follow(
    stand: Stand,
    pieces: Sequence[Piece],
    fixes: Sequence[Fix],
    fence: Fence,
    read: Callable[[datetime], Iterable[Fix]],
) -> tuple[Stand, list[Piece]]:
    """Take fixes that came in, in any order; return the state, and all pieces of the track as they are known now.

    ``read(since)`` answers all fixes kept of the track from a moment on, these among them. The answer is that of a fold
    over the whole track in order.
    """
    late = [fix.fixed_at for fix in fixes if not stand.is_new(fix)]
    if not late:
        stand, known = fold(stand, fixes, fence)
        return stand, joined([*pieces, *known])
    # What is farther from the first late one than the bridge is bridged with none of them, before or after.
    kept = in_order(read(min(late) - BRIDGE))
    begins_at = next((fix.fixed_at for fix in kept if not fix.flags & HIDDEN), min(late))
    after, known = fold(NOTHING_SEEN, kept, fence)
    if after.last is None and stand.last is not None and stand.last.at < begins_at:
        after = msgspec.structs.replace(after, last=stand.last)
    before = [
        Piece(piece.since, min(piece.until, begins_at), piece.is_inside)
        for piece in pieces
        if piece.since < begins_at
    ]
    return after, joined([*before, *known])


# --- Said of a span


class Part(NamedTuple):
    """A part of a span, and where he was."""

    since: datetime
    until: datetime
    where: Where

    @property
    def lasts_s(self) -> float:
        """How long it is."""
        return (self.until - self.since).total_seconds()


class Figures(NamedTuple):
    """How long he was where, in seconds; the four add up to the span."""

    inside_s: float
    outside_s: float
    unknown_s: float
    excused_s: float

    @property
    def counted_s(self) -> float:
        """What the per cent are of: the span without the breaks."""
        return self.inside_s + self.outside_s + self.unknown_s

    def percent(self, seconds: float) -> float | None:
        """So many seconds of what counts, in per cent; None where nothing counts."""
        return 100.0 * seconds / self.counted_s if self.counted_s > 0 else None


def parts(
    by_device: Mapping[str, Sequence[Piece]],
    since: datetime,
    until: datetime,
    excused: Sequence[tuple[datetime, datetime]] = (),
) -> list[Part]:
    """Divide a span by where somebody was, without gaps. Devices that contradict each other leave it unknown."""
    moments = {since, until}
    for spans in (*by_device.values(), [Piece(a, b, True) for a, b in excused]):
        for piece in spans:
            moments |= {at for at in (piece.since, piece.until) if since < at < until}
    found: list[Part] = []
    edges = sorted(moments)
    cursors = dict.fromkeys(by_device, 0)
    for begins_at, ends_at in pairwise(edges):
        said: set[bool] = set()
        for device, pieces in by_device.items():
            while cursors[device] < len(pieces) and pieces[cursors[device]].until <= begins_at:
                cursors[device] += 1
            if cursors[device] < len(pieces) and pieces[cursors[device]].since <= begins_at:
                said.add(pieces[cursors[device]].is_inside)
        where = Where.UNKNOWN if len(said) != 1 else Where.INSIDE if said.pop() else Where.OUTSIDE
        if any(a <= begins_at < b for a, b in excused):
            where = Where.EXCUSED
        if found and found[-1].where == where:
            found[-1] = Part(found[-1].since, ends_at, where)
        else:
            found.append(Part(begins_at, ends_at, where))
    return found


def figures(divided: Iterable[Part]) -> Figures:
    """Add up the parts of a span."""
    sums = dict.fromkeys(Where, 0.0)
    for part in divided:
        sums[part.where] += part.lasts_s
    return Figures(sums[Where.INSIDE], sums[Where.OUTSIDE], sums[Where.UNKNOWN], sums[Where.EXCUSED])


def excusable(
    breaks: Sequence[tuple[datetime, datetime]], allowed_s: float
) -> list[tuple[datetime, datetime]]:
    """Cut breaks, in order, to what is allowed of them in all; what is longer counts like any other time."""
    found = []
    left = timedelta(seconds=allowed_s)
    for since, until in breaks:
        lasts = min(until - since, left)
        if lasts > timedelta(0):
            found.append((since, since + lasts))
            left -= lasts
    return found
