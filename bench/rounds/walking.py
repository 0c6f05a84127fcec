"""The truth of the simulated rounds: where each officer is at every moment of his shifts, and what he visits.

Made from the demo town's geometry alone. Nothing here knows how visits are found.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from backend.demo.town import Town, metres
from backend.demo.walks import Streets

Floats = npt.NDArray[np.float64]

NOISE: dict[str, Any] = tomllib.loads((Path(__file__).parent / "noise.toml").read_text(encoding="utf-8"))
OPEN, STREET, HOUSES, INDOORS = range(4)
SURROUNDINGS = ("open", "street", "houses", "indoors")
_OF_WAY = {"arterial": OPEN, "street": STREET, "lane": HOUSES, "path": HOUSES}


@dataclass(frozen=True, slots=True)
class Place:
    """A checkpoint on the plane, with the fence that the desk drew around it."""

    id: UUID
    x: float
    y: float
    lon: float
    lat: float
    junction: int
    radius_m: float
    min_dwell_s: float


@dataclass(frozen=True, slots=True)
class Course:
    """A way through time: at ``at[i]`` seconds he is at (``x[i]``, ``y[i]``), and goes straight on to the next.
    ``surroundings[i]`` hold until there."""

    at: Floats
    x: Floats
    y: Floats
    surroundings: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Visit:
    """A stay in a fence that really happened. Not ``sure``: so close to the bounds that nobody could tell."""

    checkpoint_id: UUID
    since: float
    until: float
    sure: bool
    strict: bool


def places_of(town: Town, seed: int) -> list[Place]:
    """All checkpoints of the town with their fences."""
    random = Random(f"fences {seed}")
    fences = NOISE["fences"]
    return [
        Place(c.id, *metres(c.lon, c.lat), c.lon, c.lat, c.junction, random.choice(fences["radius_m"]),
              random.choice(fences["min_dwell_s"]))
        for c in town.checkpoints
    ]  # fmt: skip


class Officer:
    """Somebody who goes rounds: always about the same checkpoints, each shift in another order."""

    def __init__(self, number: int, streets: Streets, places: list[Place], seed: int) -> None:
        self.number = number
        self._streets, self._places = streets, places
        self._seed = seed
        random = Random(f"officer {number} {seed}")
        numbers = NOISE["officers"]
        self.on_bike = random.random() < numbers["on_e_bike"]
        self.pace_mps = random.uniform(*numbers["e_bike_mps" if self.on_bike else "foot_mps"])
        home = random.choice(places)
        near = sorted(places, key=lambda p: math.dist((p.x, p.y), (home.x, home.y)))
        self.beat = near[: random.randint(*numbers["round_checkpoints"])]

    def shift(self, day: int) -> Course:
        """The way of one shift."""
        return self.go(Random(f"shift {self.number} {day} {self._seed}"), NOISE["officers"]["shift_h"] * 3600)

    def go(self, random: Random, seconds: float, start_s: float = 0.0) -> Course:
        """Round after round until the time is over."""
        numbers = NOISE["officers"]
        here = random.choice(self.beat)
        way = _Way(here.x, here.y, start_s)
        while way.t < start_s + seconds:
            todo = [place for place in self.beat if place is not here and random.random() < 0.9]
            while todo and way.t < start_s + seconds:
                todo.sort(key=lambda p: math.dist((p.x, p.y), (way.x, way.y)))
                there = todo.pop(random.randrange(min(2, len(todo))))
                self._walk(way, random, here, there)
                self._look(way, random, there)
                here = there
            way.stay(random.uniform(*numbers["rest_s"]), HOUSES)
        return way.path()

    def _walk(self, way: _Way, random: Random, here: Place, there: Place) -> None:
        numbers = NOISE["officers"]
        pace = self.pace_mps * random.uniform(0.9, 1.1)
        travel = "e_bike" if self.on_bike else "foot"
        before = None
        for index, forward in self._streets.route(here.junction, there.junction, travel) or []:
            kind = self._streets.ways[index].kind
            if (
                before not in (None, kind)
                and "arterial" in (before, kind)
                and random.random() < numbers["crossing_chance"]
            ):
                way.stay(random.uniform(*numbers["crossing_s"]), STREET)
            before = kind
            for (xa, ya), (xb, yb) in pairwise(self._streets.line(index, forward)):
                length_m = math.dist((xa, ya), (xb, yb))
                share = numbers["talks_per_hour"] / 3600 * length_m / pace
                if random.random() < share:
                    at = random.random()
                    way.go(xa + at * (xb - xa), ya + at * (yb - ya), pace, _OF_WAY[kind])
                    way.stay(random.uniform(*numbers["talk_s"]), _OF_WAY[kind])
                way.go(xb, yb, pace, _OF_WAY[kind])

    def _look(self, way: _Way, random: Random, there: Place) -> None:
        """Stay at a checkpoint, somewhere beside the point."""
        numbers = NOISE["officers"]
        here = way.surroundings[-1] if way.surroundings else STREET
        turn, far = (
            random.uniform(0, 2 * math.pi),
            there.radius_m * numbers["beside"] * math.sqrt(random.random()),
        )
        way.go(there.x + far * math.cos(turn), there.y + far * math.sin(turn), self.pace_mps, here)
        share = random.uniform(*numbers["hurried" if random.random() < numbers["hurries"] else "stays"])
        way.stay(there.min_dwell_s * share, INDOORS if random.random() < numbers["indoors"] else here)
        way.go(there.x, there.y, self.pace_mps, here)


class _Way:
    """A path in the making."""

    def __init__(self, x: float, y: float, t: float) -> None:
        self.x, self.y, self.t = x, y, t
        self.knots = [(t, x, y)]
        self.surroundings: list[int] = []

    def go(self, x: float, y: float, pace_mps: float, surroundings: int) -> None:
        length_m = math.dist((x, y), (self.x, self.y))
        if length_m > 0.0:
            self._until(length_m / pace_mps, x, y, surroundings)

    def stay(self, seconds: float, surroundings: int) -> None:
        if seconds > 0.0:
            self._until(seconds, self.x, self.y, surroundings)

    def _until(self, seconds: float, x: float, y: float, surroundings: int) -> None:
        self.t += seconds
        self.x, self.y = x, y
        self.knots.append((self.t, x, y))
        self.surroundings.append(surroundings)

    def path(self) -> Course:
        at, x, y = (np.array(column) for column in zip(*self.knots, strict=True))
        return Course(at, x, y, np.array([*self.surroundings, self.surroundings[-1]]))


LEEWAY = 0.2
"""What nobody could tell: whether a stay at the rim, or one of about the time asked, was a visit. A visit is sure if it
is one in a fence smaller by this and for a time longer by this; there is surely none where there is none in a larger
fence for a shorter time."""
BETWEEN_M = 5.0
"""The same between two checkpoints: of somebody in the middle nobody could tell at which he is."""
_PAUSE_S = 10.0


def visits_of(path: Course, places: list[Place]) -> list[Visit]:
    """What was truly visited on a way, by the second: in the fence, and at no checkpoint nearer than this one."""
    at = np.arange(path.at[0], path.at[-1], 1.0)
    x, y = np.interp(at, path.at, path.x), np.interp(at, path.at, path.y)
    margin_m = max(p.radius_m for p in places) * (1 + LEEWAY) + BETWEEN_M
    near = [
        p for p in places
        if x.min() - margin_m < p.x < x.max() + margin_m and y.min() - margin_m < p.y < y.max() + margin_m
    ]  # fmt: skip
    far = {p.id: np.hypot(x - p.x, y - p.y) for p in near}
    near = [p for p in near if far[p.id].min() < margin_m]
    found: list[Visit] = []
    for p in near:
        d = far[p.id]
        rival = np.full(len(at), np.inf)
        for q in near:
            if q is not p and math.dist((p.x, p.y), (q.x, q.y)) < 2 * margin_m:
                rival = np.minimum(rival, np.where(far[q.id] <= q.radius_m, far[q.id], np.inf))
        wide = (d <= p.radius_m * (1 + LEEWAY)) & (d <= rival + BETWEEN_M)
        exact = (d <= p.radius_m) & (d <= rival)
        sure = (d <= p.radius_m * (1 - LEEWAY)) & (d <= rival - BETWEEN_M)
        for first, last in _runs(wide):
            seconds = float(last - first)
            if seconds < p.min_dwell_s * (1 - LEEWAY):
                continue
            within = slice(first, last)
            found.append(
                Visit(
                    p.id, float(at[first]), float(at[last - 1]) + 1.0,
                    _longest(sure[within]) >= p.min_dwell_s * (1 + LEEWAY),
                    _longest(exact[within]) >= p.min_dwell_s,
                )
            )  # fmt: skip
    return found


def _runs(inside: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where it is true without a pause that matters: half-open intervals of indices."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], inside, [False])).astype(np.int8)))
    runs: list[tuple[int, int]] = []
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if runs and first - runs[-1][1] < _PAUSE_S:
            runs[-1] = runs[-1][0], last
        else:
            runs.append((first, last))
    return runs


def _longest(inside: npt.NDArray[np.bool_]) -> int:
    return max((last - first for first, last in _runs(inside)), default=0)
