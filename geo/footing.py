"""Where a device is believed to be, so that a jump nobody can make is told from ordinary movement.

A pure fold over fixes in time order: `footing, doubtful = footing.judge(fix, max_speed_mps)`. Believing
only the previous fix fails twice. One outlier would make the next good fix look like a jump, so a doubtful
fix never becomes the reference. And at one fix a second the noise of two fixes hides 300 km/h, so each fix
must also fit an older reference, where distance has had time to outgrow noise.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from geo.fixes import Fix
from geo.motion import distance_m

MAX_SPEED_MPS: dict[str | None, float] = {"foot": 25.0, "e_bike": 30.0, "car": 60.0, None: 60.0}
"""How fast an officer can be taken to move, by declared travel (None: not declared), in metres per second.

Wide on purpose: an officer on foot who is given a lift in an emergency must stay on the map.
"""

UNKNOWN_ACCURACY_M = 30.0
LEAST_ACCURACY_M = 10.0
SLACK = 2.0
"""Reported accuracy is the radius that holds 68 % of errors (Android Location.getAccuracy); with two
independent Rayleigh errors the distance between two fixes of a standing phone exceeds SLACK times the sum
of both radii about once in 10,000 times."""

BASE_AGE_S = 20.0
"""When the older reference is replaced: by then 300 km/h stands out from the worst noise that is still shown
(100 m each), and the sooner it is replaced, the sooner a change of speed shows."""

REESTABLISH_FIXES = 3
REESTABLISH_S = 10.0


def within_reach(a: Fix, b: Fix, max_speed_mps: float) -> bool:
    """Whether one can get from one fix to the other in the time between them, their noise considered.

    The order of the two does not matter, so a fix that arrives late is judged against a newer one as well.
    """
    # Along a meridian and then a parallel is farther than straight, and nearly always near enough: most often within
    # the noise that any two fixes have.
    farther_m = (abs(b.lon - a.lon) + abs(b.lat - a.lat)) * _M_PER_DEG
    if farther_m <= _LEAST_REACH_M:
        return True
    seconds = abs((b.fixed_at - a.fixed_at).total_seconds())
    reach_m = max_speed_mps * seconds + SLACK * (_noise_m(a) + _noise_m(b))
    if farther_m <= reach_m:
        return True
    return distance_m(a.lon, a.lat, b.lon, b.lat) <= reach_m


def _noise_m(fix: Fix) -> float:
    accuracy_m = fix.accuracy_m
    if accuracy_m is None:
        return UNKNOWN_ACCURACY_M
    return accuracy_m if accuracy_m > LEAST_ACCURACY_M else LEAST_ACCURACY_M


class Footing(msgspec.Struct, frozen=True, gc=False):
    """What is believed after the fixes seen so far.

    `trusted` is the last believable fix and `base` an older one. While fixes contradict them, `doubt_from`
    and `doubt` are the first and last of `doubts` consecutive fixes that agree with each other: the place
    that may turn out to be the true one.
    """

    trusted: Fix | None = None
    base: Fix | None = None
    doubt_from: Fix | None = None
    doubt: Fix | None = None
    doubts: int = 0

    @classmethod
    def on(cls, fix: Fix | None, *, believed: bool = True) -> Footing:
        """The footing of somebody of whom one fix is known, or none."""
        if fix is None:
            return NO_FOOTING
        return cls(fix, fix) if believed else cls(None, None, fix, fix, 1)

    def judge(self, fix: Fix, max_speed_mps: float) -> tuple[Footing, bool]:
        """Take in the next fix; answer the new footing and whether the fix is doubtful.

        After a jump the new place must be re-established: REESTABLISH_FIXES consecutive fixes over at least
        REESTABLISH_S that agree with each other, of which the last is believed again. The span matters: at
        one fix a second three fixes of a 300 km/h runner still lie within their noise.
        """
        trusted, base = self.trusted, self.base
        if trusted is None:
            if not self.doubts:
                return Footing(fix, fix), False
        elif within_reach(trusted, fix, max_speed_mps) and (
            base is None or base is trusted or within_reach(base, fix, max_speed_mps)
        ):
            if base is None or abs(fix.fixed_at - base.fixed_at) >= _BASE_AGE:
                base = trusted
            return Footing(fix, base), False
        first, last, doubts = self.doubt_from, self.doubt, self.doubts
        if last is not None and fix.fixed_at <= last.fixed_at:
            return self, True  # A fix sent again, or one from before the jump, is no further evidence.
        if (
            first is not None
            and last is not None
            and within_reach(last, fix, max_speed_mps)
            and within_reach(first, fix, max_speed_mps)
        ):
            doubts += 1
            if doubts >= REESTABLISH_FIXES and abs(fix.fixed_at - first.fixed_at) >= _REESTABLISH:
                return Footing(fix, first), False
            return Footing(trusted, base, first, fix, doubts), True
        return Footing(trusted, base, fix, fix, 1), True


_M_PER_DEG = 111_195.08
_LEAST_REACH_M = SLACK * 2 * LEAST_ACCURACY_M
_BASE_AGE = timedelta(seconds=BASE_AGE_S)
_REESTABLISH = timedelta(seconds=REESTABLISH_S)
NO_FOOTING = Footing()
