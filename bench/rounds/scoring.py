"""One officer's week through the detector and the proof, counted against the truth."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import numpy as np

from backend.demo.town import generate, metres
from backend.demo.walks import streets_of
from bench.rounds import forging
from bench.rounds.receiving import Reading, phone_of, readings
from bench.rounds.walking import NOISE, Course, Floats, Officer, Place, Visit, places_of, visits_of
from geo import proof, visits
from geo.fixes import Fix, ShiftWindow, is_showable
from geo.pipeline import Batch, Context, run
from geo.proof import Facts, Method, judge

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
DAY_S = 86_400.0
RUN_UP_S = 600.0
"""So much of the way to a visit is compared with earlier days."""
AROUND_S = 120.0
HEARD = 0.5
"""A visit of which the phone was silent for more than this cannot be found by anybody: it is counted apart."""


@dataclass(frozen=True, slots=True)
class Found:
    """A visit as somebody told it, in seconds of the week."""

    checkpoint_id: UUID
    since: float
    until: float


class Town:
    """The demo town with its fences, as the simulation and the detector know it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        town = generate()
        self.streets = streets_of(town)
        self.places = places_of(town, seed)
        self.by_id = {place.id: place for place in self.places}
        self.fences = visits.Fences(
            visits.Fence(p.id, p.lon, p.lat, p.radius_m, p.min_dwell_s) for p in self.places
        )

    def officer(self, number: int) -> Officer:
        """An officer by number."""
        return Officer(number, self.streets, self.places, self.seed)

    def week(self, number: int, days: int) -> Counter[str]:
        """What is found of one officer's days, honest and forged. The day before the first is history alone."""
        officer = self.officer(number)
        random = Random(f"week {number} {self.seed}")
        phone = phone_of(random)
        travel = "e_bike" if officer.on_bike else "foot"
        tally: Counter[str] = Counter()
        history: list[list[int]] = []
        before: list[Reading] = []
        skew = _clock(random)
        carries = random.random() < NOISE["second_devices"]["share"]
        for day in range(days + 1):
            path = officer.shift(day)
            told = [_on(r, day) for r in readings(path, phone, f"{self.seed} {number} {day}")]
            fixes = _kept(told, travel)
            if day > 0:
                judging = _Judging(self, fixes, history, travel)
                second = None
                if carries:
                    second = _kept(
                        [_on(r, day) for r in readings(path, phone, f"{self.seed} {number} {day} b")], travel
                    )
                found = self._honest(tally, path, day, judging, random, skew, phone.every_s, second)
                self._forged(tally, officer, path, day, told, before, judging, found, random, travel)
            history.append(proof.fingerprint(fixes))
            before = told
        return tally

    def _honest(
        self, tally: Counter[str], path: Course, day: int, judging: _Judging, random: Random, skew_s: float,
        every_s: float, second: list[Fix] | None,
    ) -> list[visits.Presence]:  # fmt: skip
        fixes = judging.fixes
        true = [_later(visit, day) for visit in visits_of(path, self.places)]
        told_at = np.array([_s(fix.fixed_at) for fix in fixes])
        watch, ended = visits.fold(visits.NOTHING_SEEN, fixes, self.fences)
        found = [there for there in [*ended, *watch.close(self.fences)] if there.is_visit]
        heard = [_is_heard(visit, told_at, every_s) for visit in true]
        tally["fixes"] += len(fixes)
        _match(tally, "", true, heard, [_told(there) for there in found])
        _match(tally, "naive ", true, heard, self._naive(fixes))
        for there in found:
            delay_s = random.lognormvariate(
                math.log(NOISE["clocks"]["delay_s"]), NOISE["clocks"]["delay_sigma"]
            )
            tally["honest"] += 1
            known = judging.stay(there, skew_s - delay_s, second)
            flags = judge(known).flags
            tally["honest flagged"] += bool(flags)
            tally.update(f"honest {flag}" for flag in flags)
        for visit in true:
            if visit.sure and random.random() < NOISE["scans"]["share"]:
                methods = NOISE["scans"]["methods"]
                method = Method(random.choices(list(methods), list(methods.values()))[0])
                flags = judge(judging.scan(method, self.by_id[visit.checkpoint_id], _middle(visit))).flags
                tally["honest"] += 1
                tally["honest flagged"] += bool(flags)
                tally.update(f"honest {flag}" for flag in flags)
        return found

    def _forged(
        self, tally: Counter[str], officer: Officer, path: Course, day: int, told: list[Reading],
        before: list[Reading], judging: _Judging, found: list[visits.Presence], random: Random, travel: str,
    ) -> None:  # fmt: skip
        """Each class of forgery, counted as done and as noticed: flagged, or no visit at all."""

        def count(name: str, is_noticed: bool) -> None:
            tally[f"{name} done"] += 1
            tally[f"{name} noticed"] += is_noticed

        again = _kept(forging.replayed(before, DAY_S, random), travel)
        playing = _Judging(self, again, judging.history, travel)
        watch, ended = visits.fold(visits.NOTHING_SEEN, again, self.fences)
        for there in [*ended, *watch.close(self.fences)]:
            if there.is_visit:
                count("replayed track", bool(judge(playing.stay(there, -1.0, None)).flags))

        phone = phone_of(random)
        for place, at, readings_ in forging.mocked(officer.beat, phone, told[0].at, random):
            mocking = _Judging(self, _kept(readings_, travel), [], travel)
            watch, ended = visits.fold(visits.NOTHING_SEEN, mocking.fixes, self.fences)
            is_found = any(there.is_visit for there in [*ended, *watch.close(self.fences)])
            flags = judge(mocking.scan(Method.QR, place, at)).flags
            count("mock location", not is_found and proof.Doubt.MOCK in flags)

        def where(at: float) -> tuple[float, float]:
            at -= day * DAY_S
            return float(np.interp(at, path.at, path.x)), float(np.interp(at, path.at, path.y))

        for place, at, readings_ in forging.copied_codes(told, self.places, where, random):
            reading = _Judging(self, _kept(readings_, travel), [], travel)
            count("copied QR", bool(judge(reading.scan(Method.QR, place, at)).flags))

        off_s = forging.wrong_clock(random)
        for there in found[:12]:
            delay_s = random.lognormvariate(
                math.log(NOISE["clocks"]["delay_s"]), NOISE["clocks"]["delay_sigma"]
            )
            count("shifted clock", bool(judge(judging.stay(there, off_s - delay_s, None)).flags))

        mate = self._far_from(officer, random)
        lent = mate.shift(day)
        theirs = _kept(
            [_on(r, day) for r in readings(lent, phone, f"{self.seed} {officer.number} {day} lent")], travel
        )
        lending = _Judging(self, theirs, [], travel)
        watch, ended = visits.fold(visits.NOTHING_SEEN, theirs, self.fences)
        for there in [there for there in ended if there.is_visit][:12]:
            count("two places at once", bool(judge(lending.stay(there, -1.0, judging.fixes)).flags))

    def _far_from(self, officer: Officer, random: Random) -> Officer:
        """Somebody else, whose round is far away."""
        here = officer.beat[0]
        while True:
            other = self.officer(10_000 + random.randrange(1_000_000))
            there = other.beat[0]
            if math.dist((here.x, here.y), (there.x, there.y)) > forging.NUMBERS["apart_m"]:
                return other

    def _naive(self, fixes: list[Fix]) -> list[Found]:
        """What the obvious rule finds: consecutive fixes in the circle, from the first to the last long enough."""
        found: list[Found] = []
        open_: dict[UUID, tuple[float, float]] = {}
        for fix in fixes:
            if not is_showable(fix):
                continue
            at = _s(fix.fixed_at)
            x, y = metres(fix.lon, fix.lat)
            here = {
                near.fence.checkpoint_id
                for near in self.fences.near(fix.lon, fix.lat)
                if math.dist(
                    (x, y), (self.by_id[near.fence.checkpoint_id].x, self.by_id[near.fence.checkpoint_id].y)
                )
                <= near.fence.radius_m
            }
            for checkpoint_id in [c for c in open_ if c not in here]:
                since, until = open_.pop(checkpoint_id)
                if until - since >= self.by_id[checkpoint_id].min_dwell_s:
                    found.append(Found(checkpoint_id, since, until))
            for checkpoint_id in here:
                open_[checkpoint_id] = open_.get(checkpoint_id, (at, at))[0], at
        return found


class _Judging:
    """Makes the facts of visits on one track."""

    def __init__(self, town: Town, fixes: list[Fix], history: list[list[int]], travel: str) -> None:
        self.town, self.fixes, self.history, self.travel = town, fixes, list(history), travel
        self._at = [fix.fixed_at for fix in fixes]

    def between(self, since: datetime, until: datetime) -> list[Fix]:
        return self.fixes[bisect_left(self._at, since) : bisect_left(self._at, until)]

    def stay(self, there: visits.Presence, skew_s: float, second: list[Fix] | None) -> Facts:
        fence = self.town.fences.get(there.checkpoint_id)
        assert fence is not None
        assert there.left_at is not None
        way = proof.fingerprint(self.between(there.arrived_at - timedelta(seconds=RUN_UP_S), there.left_at))
        inside = [fix for fix in self.between(there.arrived_at, there.left_at) if is_showable(fix)]
        around = timedelta(seconds=AROUND_S)
        before = [
            fix for fix in self.between(there.arrived_at - around, there.arrived_at) if is_showable(fix)
        ]
        after = [fix for fix in self.between(there.left_at, there.left_at + around) if is_showable(fix)]
        places = None
        if second is not None:
            beside = [f for f in second if there.arrived_at - around <= f.fixed_at <= there.left_at + around]
            places = proof.are_two_places(inside, beside, self.travel)
        return proof.of_presence(
            there,
            fence,
            skew_s=skew_s,
            likeness=max((proof.likeness(way, day) for day in self.history), default=0.0),
            crossings=len(way),
            is_reachable=proof.is_reachable(
                before[-1] if before else None, after[0] if after else None, inside[len(inside) // 2], self.travel
            ) if inside else None,
            is_in_two_places=places,
        )  # fmt: skip

    def scan(self, method: Method, place: Place, at: float) -> Facts:
        fence = self.town.fences.get(place.id)
        assert fence is not None
        moment = MONDAY + timedelta(seconds=at)
        around = timedelta(seconds=300)
        seen = proof.sighted(self.between(moment - around, moment + around), fence, moment)
        return proof.of_sight(method, seen, fence, skew_s=-1.0)


def _match(tally: Counter[str], who: str, true: list[Visit], heard: list[bool], found: list[Found]) -> None:
    """Found and true visits are the same if they are of one checkpoint and overlap in time."""
    for visit, is_heard in zip(true, heard, strict=True):
        is_found = any(_overlap(visit, one) for one in found)
        tally[f"{who}strict"] += visit.strict
        tally[f"{who}strict found"] += visit.strict and is_found
        if visit.sure and is_heard:
            tally[f"{who}sure"] += 1
            tally[f"{who}sure found"] += is_found
        elif visit.sure:
            tally[f"{who}unheard"] += 1
        else:
            tally[f"{who}borderline"] += 1
    for one in found:
        same = [visit for visit in true if _overlap(visit, one)]
        tally[f"{who}found"] += 1
        tally[f"{who}found false"] += not same
        tally[f"{who}found sure"] += any(visit.sure for visit in same)
        tally[f"{who}found strict"] += any(visit.strict for visit in same)


def _overlap(visit: Visit, one: Found) -> bool:
    return visit.checkpoint_id == one.checkpoint_id and one.since < visit.until and one.until > visit.since


def _is_heard(visit: Visit, told_at: Floats, every_s: float) -> bool:
    """Whether the phone was heard for most of a visit: what it sends rarely by nature is no silence."""
    inside = told_at[(told_at >= visit.since) & (told_at <= visit.until)]
    gaps = np.diff(np.concatenate(([visit.since], inside, [visit.until])))
    silent_s = float(gaps[gaps > max(15.0, 2.5 * every_s)].sum())
    return silent_s <= (1 - HEARD) * (visit.until - visit.since)


def _kept(told: Iterable[Reading], travel: str) -> list[Fix]:
    """What the ingest pipeline keeps of what a phone tells."""
    fixes = [
        Fix(MONDAY + timedelta(seconds=r.at), r.lon, r.lat, r.accuracy_m, speed_mps=r.speed_mps, mock=r.mock)
        for r in told
    ]
    if not fixes:
        return []
    window = ShiftWindow(
        UUID(int=1), UUID(int=2), None, MONDAY - timedelta(days=1), MONDAY + timedelta(days=99)
    )
    return run(Batch(fixes), Context(fixes[-1].fixed_at, [window], travel=travel)).fixes


def _on(reading: Reading, day: int) -> Reading:
    reading.at = round(reading.at + day * DAY_S, 3)
    return reading


def _later(visit: Visit, day: int) -> Visit:
    by_s = day * DAY_S
    return Visit(visit.checkpoint_id, visit.since + by_s, visit.until + by_s, visit.sure, visit.strict)


def _told(there: visits.Presence) -> Found:
    assert there.left_at is not None
    return Found(there.checkpoint_id, _s(there.arrived_at), _s(there.left_at))


def _s(at: datetime) -> float:
    return (at - MONDAY).total_seconds()


def _middle(visit: Visit) -> float:
    return (visit.since + visit.until) / 2


def _clock(random: Random) -> float:
    """How far the clock of an honest phone is ahead."""
    numbers = NOISE["clocks"]
    if random.random() < numbers["wrong_share"]:
        return random.choice([-1, 1]) * random.uniform(*numbers["wrong_s"])
    return random.gauss(0, numbers["right_s"])
