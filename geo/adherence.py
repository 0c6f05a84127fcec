"""Whether somebody keeps to a route: a fold over fixes against a line with a corridor on both sides.

``course, ended = course.take(fix, corridor)``. A deviation is told when he was outside for longer than a detour around
a parked lorry takes, and by more than his accuracy can explain; it ends when he has been back for a while. What was
seen late is folded again from a moment at which nothing was open, as in ``geo.visits``; of what was before, nothing is
needed then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

import msgspec

from geo.fixes import HIDDEN, MOST_SEQ, Fix
from geo.footing import SLACK, UNKNOWN_ACCURACY_M
from geo.motion import GAP_S
from geo.visits import in_order, with_rung

OFF_S = 60.0
"""So long he has to be outside: shorter is a detour or a receiver that came to itself."""
BACK_S = 15.0
"""So long he has to be back inside: one fix there can be an outlier."""

_M_PER_DEG = 111_195.08


class Corridor:
    """A route's line in WGS-84 degrees and how far from it, to each side, one may be."""

    def __init__(self, line: Sequence[tuple[float, float]], corridor_m: float) -> None:
        """A line of one place is that place; raises ValueError for none."""
        if not line:
            raise ValueError("A corridor needs a line.")
        self.corridor_m = corridor_m
        self._lon, lats = line[0][0], [lat for _, lat in line]
        self._lat = (min(lats) + max(lats)) / 2
        self._scale = math.cos(math.radians(self._lat)) * _M_PER_DEG
        places = [self._metres(lon, lat) for lon, lat in line]
        self._pieces = list(pairwise(places)) or [(places[0], places[0])]

    def distance_m(self, lon: float, lat: float) -> float:
        """How far a place is from the line."""
        x, y = self._metres(lon, lat)
        return math.sqrt(min(_square(x, y, *a, *b) for a, b in self._pieces))

    def _metres(self, lon: float, lat: float) -> tuple[float, float]:
        return ((lon - self._lon + 180.0) % 360.0 - 180.0) * self._scale, (lat - self._lat) * _M_PER_DEG


def _square(x: float, y: float, ax: float, ay: float, bx: float, by: float) -> float:
    """The square of the distance of a place from a piece of line."""
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    share = min(1.0, max(0.0, ((x - ax) * dx + (y - ay) * dy) / length)) if length else 0.0
    return (x - ax - share * dx) ** 2 + (y - ay - share * dy) ** 2


class Deviation(msgspec.Struct, frozen=True, gc=False):
    """A time outside the corridor: from the first fix outside to the first one back (None: it goes on).

    `furthest_m` is the farthest that he was from the line. After a gap in the track it ends where he was last seen.
    """

    began_at: datetime
    ended_at: datetime | None
    furthest_m: float


class Away(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Fixes outside in a row: the first, the last, the first one back since then, and the farthest."""

    began_at: datetime
    seen_at: datetime
    back_at: datetime | None
    furthest_m: float

    @property
    def is_deviation(self) -> bool:
        """Whether it is long enough to be told."""
        return (self.seen_at - self.began_at).total_seconds() >= OFF_S

    def deviation(self, ended_at: datetime | None) -> Deviation:
        """What is told of it."""
        return Deviation(self.began_at, ended_at, self.furthest_m)


class Course(msgspec.Struct, frozen=True, gc=False):
    """What is known of how one device keeps to a route; JSON and back changes nothing.

    `at` and `seq` are the key of the newest fix folded, `away` what may be or is a deviation, `rungs` moments at which
    nothing was open.
    """

    at: datetime | None = None
    seq: int = 0
    away: Away | None = None
    rungs: tuple[datetime, ...] = ()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is open: a fold that begins here finds what one from the beginning finds."""
        return self.away is None

    def is_new(self, fix: Fix) -> bool:
        """Whether a fix belongs behind all that were folded; if not, it is one of them, or it came late."""
        return self.at is None or (fix.fixed_at, fix.seq) > (self.at, self.seq)

    def quiet_before(self, at: datetime) -> datetime | None:
        """The last known moment before `at` at which nothing was open; None where only the beginning is."""
        return max((rung for rung in self.rungs if rung < at), default=None)

    def deviations(self) -> list[Deviation]:
        """The deviation that goes on, if one does."""
        return [self.away.deviation(None)] if self.away is not None and self.away.is_deviation else []

    def close(self) -> list[Deviation]:
        """The same, ended where he was last seen outside: the patrol is over."""
        return (
            [self.away.deviation(self.away.back_at or self.away.seen_at)]
            if self.deviations() and self.away
            else []
        )

    def take(self, fix: Fix, corridor: Corridor) -> tuple[Course, list[Deviation]]:
        """The state after one more fix, and the deviation that it ended. What is not new or is hidden says nothing."""
        if not self.is_new(fix):
            return self, []
        rungs = self.rungs
        if self.away is None and self.at is not None and fix.fixed_at > self.at:
            rungs = with_rung(rungs, self.at)
        if fix.flags & HIDDEN:
            return Course(fix.fixed_at, fix.seq, self.away, rungs), []
        away, ended = self.away, []
        if away is not None:
            seen_at = away.back_at or away.seen_at
            if (fix.fixed_at - seen_at).total_seconds() > GAP_S:
                ended = [away.deviation(seen_at)] if away.is_deviation else []
                away = None
        far_m = corridor.distance_m(fix.lon, fix.lat)
        accuracy_m = UNKNOWN_ACCURACY_M if fix.accuracy_m is None else fix.accuracy_m
        if far_m > corridor.corridor_m + SLACK * accuracy_m:
            if away is None:
                away = Away(fix.fixed_at, fix.fixed_at, None, far_m)
            else:
                away = Away(away.began_at, fix.fixed_at, None, max(away.furthest_m, far_m))
        elif away is not None:
            back_at = away.back_at or fix.fixed_at
            if (fix.fixed_at - back_at).total_seconds() >= BACK_S or not away.is_deviation:
                ended += [away.deviation(back_at)] if away.is_deviation else []
                away = None
            else:
                away = Away(away.began_at, away.seen_at, back_at, away.furthest_m)
        return Course(fix.fixed_at, fix.seq, away, rungs), ended


NOTHING_SEEN = Course()


class Followed(NamedTuple):
    """What new fixes changed. With `is_again`, all deviations that began after `again_from` (None: all of the track)
    were computed anew and replace what was told of them; otherwise they come on top."""

    course: Course
    ended: list[Deviation]
    is_again: bool = False
    again_from: datetime | None = None


def fold(course: Course, fixes: Iterable[Fix], corridor: Corridor) -> tuple[Course, list[Deviation]]:
    """Take fixes in the order of time."""
    ended: list[Deviation] = []
    for fix in in_order(fixes):
        course, over = course.take(fix, corridor)
        ended += over
    return course, ended


def follow(
    course: Course, fixes: Sequence[Fix], corridor: Corridor, read: Callable[[datetime | None], Iterable[Fix]]
) -> Followed:
    """Take fixes that came in, in any order; fold again from a quiet moment where some of them came late.

    `read(since)` answers all fixes kept of the track from a moment on (None: from its beginning), these among them.
    """
    late = [fix for fix in fixes if not course.is_new(fix)]
    if not late:
        return Followed(*fold(course, fixes, corridor))
    since = course.quiet_before(min(fix.fixed_at for fix in late))
    kept = read(since)
    if since is None:
        return Followed(*fold(NOTHING_SEEN, kept, corridor), is_again=True)
    begin = Course(since, MOST_SEQ, None, tuple(rung for rung in course.rungs if rung <= since))
    return Followed(*fold(begin, kept, corridor), is_again=True, again_from=since)
