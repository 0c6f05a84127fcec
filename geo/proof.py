"""What speaks for a visit and what against it: 0 to 100 points, each part of them shown, and flags for a person's eyes.

``judge(facts)`` is pure; the other functions make facts of fixes. What counts: how the visit was noticed, where the
officer was against what his receiver could know, whether his track is whole, whether his clock is right. Then what does
not fit is taken off again, and flagged. A flag takes no visit away: somebody looks at it. What honest receivers do in
bad places (gaps, lying accuracy, single outliers) costs points and raises no flag.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

import msgspec

from geo.fixes import HIDDEN, Fix, Flag
from geo.footing import MAX_SPEED_MPS, UNKNOWN_ACCURACY_M, within_reach
from geo.motion import GAP_S, distance_m
from geo.visits import Fence, Presence, in_order


class Method(StrEnum):
    """How a visit was noticed."""

    DWELL = "dwell"
    NFC = "nfc"
    NFC_SIGNED = "nfc_signed"
    QR = "qr"


METHOD_POINTS: dict[Method, int] = {
    Method.NFC_SIGNED: 45,
    Method.DWELL: 40,
    Method.NFC: 35,
    Method.QR: 10,
}
"""A signed tag answers anew each time and cannot be copied; a stay is measured over a time; a plain tag has to be
touched, but can be copied with some effort; a code is copied by a photograph."""


class Part(StrEnum):
    """What gives points."""

    METHOD = "method"
    PLACE = "place"
    TRACK = "track"
    CLOCK = "clock"


PLACE_POINTS = 30
TRACK_POINTS = 15
CLOCK_POINTS = 10


class Doubt(StrEnum):
    """What takes points off and is flagged.

    ELSEWHERE: he was farther from the checkpoint than his accuracy can explain. UNSEEN: a code, or a tag that can
    be copied, was read while no track says where he was. MOCK: places came from an app and not from a receiver.
    IMPOSSIBLE_SPEED: nobody gets here from where he was. REPLAYED: the track is that of an earlier day. TWO_PLACES:
    another device of his was somewhere else. CLOCK: his clock is wrong by minutes. TAG_ELSEWHERE: the same tag was
    read at another place. TAG_REPEATED: the counter of a signed tag has not grown, so an old answer was sent again.
    TAG_UNSIGNED: a tag that signs was read, and what it said is not signed by it.
    """

    ELSEWHERE = "elsewhere"
    UNSEEN = "unseen"
    MOCK = "mock"
    IMPOSSIBLE_SPEED = "impossible_speed"
    REPLAYED = "replayed"
    TWO_PLACES = "two_places"
    CLOCK = "clock"
    TAG_ELSEWHERE = "tag_elsewhere"
    TAG_REPEATED = "tag_repeated"
    TAG_UNSIGNED = "tag_unsigned"


TAKEN_OFF: dict[Doubt, int] = {
    Doubt.ELSEWHERE: 40,
    Doubt.UNSEEN: 10,
    Doubt.MOCK: 50,
    Doubt.IMPOSSIBLE_SPEED: 30,
    Doubt.REPLAYED: 70,
    Doubt.TWO_PLACES: 50,
    Doubt.CLOCK: 30,
    Doubt.TAG_ELSEWHERE: 50,
    Doubt.TAG_REPEATED: 70,
    Doubt.TAG_UNSIGNED: 50,
}
"""The surer the sign of a forgery, the more; a wrong clock and a jump have innocent causes as well."""

FAR = 3.0
"""So many times his accuracy beyond the fence is too far. The accuracy holds 68 % of errors and is wrong by a factor of
two, which makes it one and a half times the true one: beyond that lies an error in a hundred."""
LEAST_ACCURACY_M = 10.0
WHOLE_S = 30.0
"""A track with fixes at least this often is whole: what phones send that save their battery is little less."""
RIGHT_S = 30.0
SHIFTED_S = 120.0
"""Clocks that the network sets are right to a second; what is wrong by more than two minutes was set by hand (and fixes
from that far ahead are quarantined)."""
MOCK_SHARE = 0.1
"""Single fixes marked as mock come from navigation apps; a tenth of a stay is no accident."""
REPLAYED_SHARE = 0.5
REPLAYED_FROM = 8
"""Half of at least so many crossings alike is a replay: see `fingerprint`."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one visit. None is what nobody knows; it gives no points and raises no flag.

    `distance_m` and `accuracy_m`: where he was by his fixes (`Presence` or `Sight`). `scan_distance_m` and
    `scan_accuracy_m`: where the phone said it was when it read a tag or code. `silent_s`: the longest time without a
    believable fix around it. `mocks` of `fixes` there were marked as mock, `is_scan_mock` the scan's own place.
    `skew_s`: how far his clock is ahead of ours. `is_reachable`: whether one can get here from his fixes before and go
    to those after. `likeness`: the share of the way to here that is exactly that of an earlier day, of `crossings`.
    `is_in_two_places`, `is_tag_elsewhere`, `has_counter_grown`, `is_tag_unsigned`: as their doubts say.
    """

    method: Method
    radius_m: float
    distance_m: float | None = None
    accuracy_m: float | None = None
    scan_distance_m: float | None = None
    scan_accuracy_m: float | None = None
    silent_s: float | None = None
    fixes: int = 0
    mocks: int = 0
    is_scan_mock: bool = False
    skew_s: float | None = None
    is_reachable: bool | None = None
    likeness: float | None = None
    crossings: int = 0
    is_in_two_places: bool | None = None
    is_tag_elsewhere: bool | None = None
    has_counter_grown: bool | None = None
    is_tag_unsigned: bool | None = None


class Points(msgspec.Struct, frozen=True):
    """One part of a proof: how many points for what (`Part` or `Doubt`), of how many, and what they follow from."""

    code: str
    points: int
    of: int
    value: float | str | None


class Proof(msgspec.Struct, frozen=True):
    """How well a visit is proven: the sum of its parts, and what a person should look at."""

    score: int
    parts: list[Points]
    flags: list[Doubt]


def judge(facts: Facts) -> Proof:
    """How well a visit is proven. The score is the sum of all parts; what is taken off never goes below nothing."""
    beyond = _beyond(facts)
    parts = [
        Points(Part.METHOD, METHOD_POINTS[facts.method], max(METHOD_POINTS.values()), facts.method.value),
        Points(Part.PLACE, _place_points(facts, beyond), PLACE_POINTS, beyond),
        Points(
            Part.TRACK, _falling(facts.silent_s, WHOLE_S, GAP_S, TRACK_POINTS), TRACK_POINTS, facts.silent_s
        ),
        Points(Part.CLOCK, _clock_points(facts.skew_s), CLOCK_POINTS, facts.skew_s),
    ]
    score = sum(part.points for part in parts)
    flags = [doubt for doubt, holds in _doubts(facts, beyond) if holds]
    for doubt in flags:
        taken = min(TAKEN_OFF[doubt], score)
        parts.append(Points(doubt, -taken, 0, None))
        score -= taken
    return Proof(score, parts, flags)


def _doubts(facts: Facts, beyond: float | None) -> list[tuple[Doubt, bool]]:
    seen = facts.fixes + facts.mocks
    return [
        (Doubt.REPLAYED, facts.crossings >= REPLAYED_FROM and (facts.likeness or 0.0) >= REPLAYED_SHARE),
        (Doubt.TAG_REPEATED, facts.has_counter_grown is False),
        (Doubt.TAG_UNSIGNED, facts.is_tag_unsigned is True),
        (Doubt.TAG_ELSEWHERE, facts.is_tag_elsewhere is True),
        (Doubt.TWO_PLACES, facts.is_in_two_places is True),
        (Doubt.MOCK, facts.is_scan_mock or (facts.mocks > 0 and facts.mocks >= MOCK_SHARE * seen)),
        (Doubt.ELSEWHERE, beyond is not None and beyond > FAR),
        (Doubt.IMPOSSIBLE_SPEED, facts.is_reachable is False),
        (Doubt.CLOCK, facts.skew_s is not None and abs(facts.skew_s) > SHIFTED_S),
        (Doubt.UNSEEN, facts.method in (Method.QR, Method.NFC) and facts.distance_m is None),
    ]


def _beyond(facts: Facts) -> float | None:
    """How far beyond the fence he was, in accuracies: the worse of his fixes and the scan's own place."""
    told = [
        max(0.0, far_m - facts.radius_m) / max(LEAST_ACCURACY_M, accuracy_m or UNKNOWN_ACCURACY_M)
        for far_m, accuracy_m in (
            (facts.distance_m, facts.accuracy_m),
            (facts.scan_distance_m, facts.scan_accuracy_m),
        )
        if far_m is not None
    ]
    return max(told) if told else None


def _place_points(facts: Facts, beyond: float | None) -> int:
    """All where he was in the fence and his receiver could tell; less with the doubt, half for a blurred place."""
    if beyond is None or facts.distance_m is None:
        # A place that the phone tells of itself, with no fix beside it, speaks against a visit and never for it.
        return 0
    known = [a for a in (facts.accuracy_m, facts.scan_accuracy_m) if a is not None]
    accuracy_m = min(known) if known else UNKNOWN_ACCURACY_M
    sharpness = 1.0 if accuracy_m <= facts.radius_m else max(0.5, facts.radius_m / accuracy_m)
    return round(PLACE_POINTS * max(0.0, 1.0 - beyond / FAR) * sharpness)


def _clock_points(skew_s: float | None) -> int:
    return _falling(None if skew_s is None else abs(skew_s), RIGHT_S, SHIFTED_S, CLOCK_POINTS)


def _falling(value: float | None, full_to: float, none_from: float, points: int) -> int:
    """All points up to one bound, none from the other on, and evenly fewer between; none for what is not known."""
    if value is None:
        return 0
    return round(points * min(1.0, max(0.0, (none_from - value) / (none_from - full_to))))


# --- Facts from fixes


def of_presence(there: Presence, fence: Fence, **more: object) -> Facts:
    """The facts of a visit that was found in fixes."""
    known = Facts(
        method=Method.DWELL,
        radius_m=fence.radius_m,
        distance_m=there.distance_m,
        accuracy_m=there.accuracy_m,
        silent_s=there.silent_s,
        fixes=there.fixes,
        mocks=there.mocks,
    )
    return msgspec.structs.replace(known, **more)


class Sight(msgspec.Struct, frozen=True):
    """Where a track shows somebody at a moment: how far from a checkpoint, at what accuracy, with what silence."""

    distance_m: float | None
    accuracy_m: float | None
    silent_s: float
    fixes: int
    mocks: int


SIGHT_S = 60.0
STROLL_MPS = 1.5


def sighted(fixes: Iterable[Fix], fence: Fence, at: datetime) -> Sight:
    """Where the fixes of the minutes around a scan show the officer: by the one that brings him nearest.

    A fix that is seconds away in time grants the way that can be walked meanwhile. Those within SIGHT_S count, or else
    the last before and the first after, no more than GAP_S away.
    """
    near = [fix for fix in in_order(fixes) if abs((fix.fixed_at - at).total_seconds()) <= GAP_S]
    believed = [fix for fix in near if not fix.flags & HIDDEN]
    mocks = sum(bool(fix.flags & Flag.MOCK) for fix in near)
    before = max((fix.fixed_at for fix in believed if fix.fixed_at <= at), default=None)
    after = min((fix.fixed_at for fix in believed if fix.fixed_at > at), default=None)
    silent_s = GAP_S if before is None or after is None else min(GAP_S, (after - before).total_seconds())
    close = [fix for fix in believed if abs((fix.fixed_at - at).total_seconds()) <= SIGHT_S]
    if not close:
        close = [fix for fix in believed if fix.fixed_at in (before, after)]
    best: tuple[float, Fix] | None = None
    for fix in close:
        walked_m = STROLL_MPS * abs((fix.fixed_at - at).total_seconds())
        far_m = max(0.0, distance_m(fix.lon, fix.lat, fence.lon, fence.lat) - walked_m)
        if best is None or far_m < best[0]:
            best = far_m, fix
    if best is None:
        return Sight(None, None, silent_s, 0, mocks)
    return Sight(best[0], best[1].accuracy_m, silent_s, len(close), mocks)


def of_sight(method: Method, seen: Sight, fence: Fence, **more: object) -> Facts:
    """The facts of a scan beside the track of its officer."""
    known = Facts(
        method=method,
        radius_m=fence.radius_m,
        distance_m=seen.distance_m,
        accuracy_m=seen.accuracy_m,
        silent_s=seen.silent_s,
        fixes=seen.fixes,
        mocks=seen.mocks,
    )
    return msgspec.structs.replace(known, **more)


def skew_s(sent_at: datetime | None, received_at: datetime) -> float | None:
    """How far a clock is ahead of ours when it sends, seconds of network included; None where it does not say."""
    return None if sent_at is None else (sent_at - received_at).total_seconds()


def are_two_places(ours: Iterable[Fix], theirs: Iterable[Fix], travel: str | None = None) -> bool:
    """Whether two devices cannot have been with one person: some believable fixes of theirs are out of reach.

    Half of all pairs that are next to each other in time have to be: a single outlier is no second place.
    """
    a = [fix for fix in in_order(ours) if not fix.flags & HIDDEN]
    b = [fix for fix in in_order(theirs) if not fix.flags & HIDDEN]
    if not a or not b:
        return False
    max_speed_mps = MAX_SPEED_MPS.get(travel, MAX_SPEED_MPS[None])
    apart = compared = at = 0
    for fix in a:
        while at + 1 < len(b) and abs(b[at + 1].fixed_at - fix.fixed_at) <= abs(
            b[at].fixed_at - fix.fixed_at
        ):
            at += 1
        if abs((b[at].fixed_at - fix.fixed_at).total_seconds()) <= GAP_S:
            compared += 1
            apart += not within_reach(fix, b[at], max_speed_mps)
    return compared > 0 and apart * 2 > compared


def is_reachable(before: Fix | None, after: Fix | None, there: Fix, travel: str | None = None) -> bool | None:
    """Whether one can come to a place from the believable fix before, and go on to the one after; None without both."""
    around = [fix for fix in (before, after) if fix is not None]
    max_speed_mps = MAX_SPEED_MPS.get(travel, MAX_SPEED_MPS[None])
    return all(within_reach(fix, there, max_speed_mps) for fix in around) if around else None


LINES_M = 20.0
GRAIN_M = 0.3
_M_PER_DEG = 111_195.08
_ROW_DEG = LINES_M / _M_PER_DEG


def fingerprint(fixes: Iterable[Fix]) -> list[int]:
    """Where a track crossed the lines of a grid, to 0.3 m: alike for the same track played back at another time.

    It does not depend on when and how often places were measured, if what plays them back goes straight from one to the
    next. On another day an honest receiver crosses most lines a few metres beside.
    Standing still crosses no line. Whoever adds an error of metres of his own to what he plays back is not found.
    """
    track = [fix for fix in in_order(fixes) if not fix.flags & HIDDEN]
    crossings = set()
    for a, b in pairwise(track):
        if (b.fixed_at - a.fixed_at).total_seconds() > GAP_S:
            continue
        # The columns of a row band keep one width, so that a line is the same line on every day.
        scale = math.cos(math.radians(round((a.lat + b.lat) * 5.0) / 10.0))
        if scale < 0.01:
            continue
        ax, ay, bx, by = (
            a.lon * scale / _ROW_DEG,
            a.lat / _ROW_DEG,
            b.lon * scale / _ROW_DEG,
            b.lat / _ROW_DEG,
        )
        crossings.update(_crossings(0, ax, ay, bx, by))
        crossings.update(_crossings(1, ay, ax, by, bx))
    return sorted(crossings)


def _crossings(axis: int, a: float, a_aside: float, b: float, b_aside: float) -> list[int]:
    first, last = sorted((a, b))
    if last - first > _MOST_LINES:
        return []
    found = []
    for line in range(math.ceil(first), math.floor(last) + 1):
        if a == b:
            break
        aside = a_aside + (line - a) / (b - a) * (b_aside - a_aside)
        grain = math.floor(aside * LINES_M / GRAIN_M)
        way = 1 if b > a else 0
        found.append(((line & 0x3FFFFF) << 28 | (grain & 0x3FFFFFF) << 2) | way << 1 | axis)
    return found


def likeness(of: Collection[int], earlier: Collection[int]) -> float:
    """The share of the crossings of one track that an earlier one has as well, at most a grain beside.

    What plays a track back at longer intervals cuts its corners by that much.
    """
    known = set(earlier)
    alike = sum(c in known or c + _GRAIN in known or c - _GRAIN in known for c in of)
    return alike / len(of) if of else 0.0


_GRAIN = 4
_MOST_LINES = 200
