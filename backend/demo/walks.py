"""How officers move through the demo town: along its ways, at the speed of how they go, from checkpoint to checkpoint.

A walk is a fold over time: ``walk.step(seconds)`` moves its officer on and leaves place, speed and heading behind. It
knows no clock, so three hours of a patrol are made as fast as they can be computed, and the same seed walks the same
way.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from random import Random
from uuid import UUID

from shapely import Point

from backend.demo.town import Town, lonlat, metres

FOOT, E_BIKE, CAR = "foot", "e_bike", "car"

SPEED_MPS: dict[str, dict[str, float]] = {
    FOOT: {"arterial": 1.25, "street": 1.2, "lane": 1.2, "path": 1.1},
    E_BIKE: {"arterial": 4.6, "street": 4.2, "lane": 3.6, "path": 2.4},
    CAR: {"arterial": 9.0, "street": 7.5, "lane": 4.5},
}
"""How fast one goes on which kind of way; a kind that is not listed is not gone on. Cars keep out of paths."""

_VISITED = 12
_FAR_M = {FOOT: 700.0, E_BIKE: 1500.0, CAR: 2600.0}


class Streets:
    """The net of ways of a town, made ready for finding routes."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.places = [metres(*place) for place in town.junctions]
        self.ways = town.ways
        self._lines = [[metres(*point) for point in way.points] for way in town.ways]
        self._near: dict[str, list[list[tuple[int, int, float]]]] = {}
        self._reach: dict[str, list[int]] = {}
        for travel, speeds in SPEED_MPS.items():
            near: list[list[tuple[int, int, float]]] = [[] for _ in town.junctions]
            for index, way in enumerate(town.ways):
                if way.kind in speeds:
                    seconds = way.length_m / speeds[way.kind]
                    near[way.start].append((way.end, index, seconds))
                    near[way.end].append((way.start, index, seconds))
            self._near[travel] = near
            self._reach[travel] = _largest_part(near)
        self._beats: dict[tuple[UUID | None, str], tuple[int, ...]] = {}

    def nearest(self, lon: float, lat: float, travel: str = FOOT) -> int:
        """The junction nearest to a place, of those that can be reached by ``travel``."""
        return self._nearest(metres(lon, lat), travel)

    def _nearest(self, place: tuple[float, float], travel: str) -> int:
        x, y = place
        places = self.places
        return min(self._reach[travel], key=lambda j: (places[j][0] - x) ** 2 + (places[j][1] - y) ** 2)

    def beat(self, area_id: UUID | None, travel: str) -> tuple[int, ...]:
        """The junctions that an officer of an area goes round: its checkpoints, and more where there are few.

        An area that the town does not have (or None) is the whole town.
        """
        key = (area_id, travel)
        if key not in self._beats:
            self._beats[key] = self._find_beat(area_id, travel)
        return self._beats[key]

    def _find_beat(self, area_id: UUID | None, travel: str) -> tuple[int, ...]:
        below: set[UUID] = set()
        for area in self.town.areas:  # Parents come before children.
            if area.id == area_id or area.parent_id in below:
                below.add(area.id)
        reach = set(self._reach[travel])
        own = [c for c in self.town.checkpoints if not below or c.area_id in below]
        found = {c.junction if c.junction in reach else self.nearest(c.lon, c.lat, travel) for c in own}
        if len(found) < 6 and area_id is not None and area_id in below:
            polygon = self.town.area(area_id).polygon
            west, south, east, north = polygon.bounds
            for junction in self._reach[travel]:
                lon, lat = self.town.junctions[junction]
                if west <= lon <= east and south <= lat <= north and polygon.intersects(Point(lon, lat)):
                    found.add(junction)
        if len(found) < 2:
            x, y = 0.0, 0.0
            if area_id is not None and area_id in below:
                middle = self.town.area(area_id).polygon.representative_point()
                x, y = metres(middle.x, middle.y)
            ranked = sorted(
                self._reach[travel], key=lambda j: (self.places[j][0] - x) ** 2 + (self.places[j][1] - y) ** 2
            )
            found.update(ranked[:8])
        return tuple(sorted(found))

    def route(self, start: int, goal: int, travel: str) -> list[tuple[int, bool]] | None:
        """The quickest way from junction to junction (A*): ways with their direction, or None if there is none."""
        if start == goal:
            return []
        near, places = self._near[travel], self.places
        gx, gy = places[goal]
        fastest = max(SPEED_MPS[travel].values())
        best = {start: 0.0}
        came: dict[int, tuple[int, int]] = {}
        todo = [(0.0, start)]
        done: set[int] = set()
        while todo:
            _, here = heapq.heappop(todo)
            if here == goal:
                break
            if here in done:
                continue
            done.add(here)
            cost = best[here]
            for other, way, seconds in near[here]:
                reached = cost + seconds
                if reached < best.get(other, math.inf):
                    best[other] = reached
                    came[other] = (here, way)
                    x, y = places[other]
                    heapq.heappush(todo, (reached + math.hypot(gx - x, gy - y) / fastest, other))
        if goal not in came:
            return None
        steps: list[tuple[int, bool]] = []
        here = goal
        while here != start:
            before, way = came[here]
            steps.append((way, self.ways[way].start == before))
            here = before
        return steps[::-1]

    def line(self, way: int, forward: bool) -> list[tuple[float, float]]:
        """The points of a way in metres, in the direction in which it is gone."""
        points = self._lines[way]
        return points if forward else points[::-1]


@lru_cache(maxsize=2)
def streets_of(town: Town) -> Streets:
    """The streets of a town; made once, because it takes a moment and never changes."""
    return Streets(town)


class Walk:
    """One officer on his way. ``lon``, ``lat``, ``speed_mps``, ``heading_deg`` and ``surroundings`` are the truth that
    a receiver then measures with an error."""

    def __init__(
        self,
        streets: Streets,
        beat: Sequence[int],
        travel: str,
        random: Random,
        start: tuple[float, float] | None = None,
    ) -> None:
        """``start`` is the longitude and latitude from which to go on; otherwise somewhere on the beat."""
        self.streets, self.travel = streets, travel
        self._random = random
        self._beat = beat
        self._own_pace = random.uniform(0.86, 1.14)
        self._pace = 1.0
        self._here = streets.nearest(*start, travel) if start else random.choice(beat)
        self._x, self._y = streets.places[self._here]
        self._visited: deque[int] = deque([self._here], maxlen=_VISITED)
        self._points: list[tuple[float, float]] = []
        self._cumulated: list[float] = []
        self._kinds: list[str] = []
        self._stops: list[tuple[float, float]] = []
        self._along = 0.0
        self._pause_s = random.uniform(0, 60)
        self.speed_mps = 0.0
        self.heading_deg: float | None = None
        self.surroundings = "street"
        self.walked_m = 0.0

    @property
    def lon(self) -> float:
        return lonlat(self._x, self._y)[0]

    @property
    def lat(self) -> float:
        return lonlat(self._x, self._y)[1]

    @property
    def place(self) -> tuple[float, float]:
        """Longitude and latitude."""
        return lonlat(self._x, self._y)

    def step(self, seconds: float) -> None:
        """Move on by ``seconds``: walk, wait at a crossing, look at a checkpoint, choose the next one."""
        random = self._random
        settle = min(1.0, seconds / 40)
        self._pace += (1.0 - self._pace) * settle + random.gauss(0, 0.05 * math.sqrt(min(seconds, 60) / 5))
        self._pace = min(1.3, max(0.65, self._pace))
        moved = 0.0
        left = seconds
        while left > 1e-6:
            if self._pause_s > 0:
                paused = min(self._pause_s, left)
                self._pause_s -= paused
                left -= paused
                continue
            if not self._points or self._along >= self._cumulated[-1]:
                if self._points:
                    self._x, self._y = self._points[-1]
                    self._points = []
                    self._arrive()
                    continue
                self._set_out()
                continue
            speed = self._speed()
            upto = self._stops[0][0] if self._stops else self._cumulated[-1]
            segment_end = self._cumulated[min(self._segment() + 1, len(self._cumulated) - 1)]
            distance = min(upto, segment_end) - self._along
            takes = distance / speed
            if takes > left:
                self._along += speed * left
                moved += speed * left
                left = 0.0
            else:
                self._along = min(upto, segment_end)
                moved += distance
                left -= takes
                if self._stops and self._along >= self._stops[0][0]:
                    self._pause_s = self._stops.pop(0)[1]
        self._settle(moved, seconds)

    def _speed(self) -> float:
        kind = self._kinds[self._segment()]
        return SPEED_MPS[self.travel][kind] * self._own_pace * self._pace

    def _segment(self) -> int:
        return min(bisect_right(self._cumulated, self._along + 1e-9) - 1, len(self._kinds) - 1)

    def _settle(self, moved: float, seconds: float) -> None:
        self.walked_m += moved
        if self._points:
            i = self._segment()
            (xa, ya), (xb, yb) = self._points[i], self._points[i + 1]
            length = self._cumulated[i + 1] - self._cumulated[i]
            t = min(1.0, (self._along - self._cumulated[i]) / length) if length else 1.0
            self._x, self._y = xa + (xb - xa) * t, ya + (yb - ya) * t
            self.heading_deg = math.degrees(math.atan2(xb - xa, yb - ya)) % 360
            if self._pause_s <= 0 or self.surroundings != "indoors":
                self.surroundings = "homes" if self._kinds[i] == "path" else "street"
        standing = self._pause_s > 0 or not self._points
        self.speed_mps = 0.0 if standing else (self._speed() if moved else 0.0)

    def _arrive(self) -> None:
        """Look round at a checkpoint; now and then stay to talk, or go in."""
        random = self._random
        chance = random.random()
        if chance < 0.12:
            self._pause_s = random.uniform(240, 540)
            self.surroundings = "indoors" if random.random() < 0.5 else self.surroundings
        elif chance < 0.75:
            self._pause_s = random.uniform(15, 80)

    def _set_out(self) -> None:
        for _ in range(8):
            goal = self._choose()
            route = self.streets.route(self._here, goal, self.travel)
            if route:
                break
            self._visited.append(goal)
        else:
            # Set down beside the net, or a beat of one place: wait there.
            self._pause_s = 60.0
            return
        self._points, self._cumulated, self._kinds, self._stops = [(self._x, self._y)], [0.0], [], []
        self._along = 0.0
        before = None
        for way, forward in route:
            kind = self.streets.ways[way].kind
            if before is not None and kind == "arterial" != before and self._random.random() < 0.35:
                self._stops.append((self._cumulated[-1], self._random.uniform(6, 38)))
            before = kind
            for (xa, ya), (xb, yb) in pairwise(self.streets.line(way, forward)):
                length = math.hypot(xb - xa, yb - ya)
                if length:
                    self._points.append((xb, yb))
                    self._cumulated.append(self._cumulated[-1] + length)
                    self._kinds.append(kind)
        self._here = goal
        self._visited.append(goal)

    def _choose(self) -> int:
        """The next goal: near by, and not where he has just been."""
        x, y = self._x, self._y
        places = self.streets.places
        fresh = [j for j in self._beat if j not in self._visited] or [
            j for j in self._beat if j != self._here
        ]
        if not fresh:
            return self._here
        ranked = sorted(fresh, key=lambda j: (places[j][0] - x) ** 2 + (places[j][1] - y) ** 2)
        if self.travel == FOOT:
            return self._random.choice(ranked[:5])
        near = [j for j in ranked if math.hypot(places[j][0] - x, places[j][1] - y) < _FAR_M[self.travel]]
        return self._random.choice(near or ranked[:5])


def _largest_part(near: list[list[tuple[int, int, float]]]) -> list[int]:
    """Junctions of the largest connected part of a net."""
    part: dict[int, int] = {}
    sizes: dict[int, int] = defaultdict(int)
    for start in range(len(near)):
        if start in part or not near[start]:
            continue
        part[start] = start
        todo = [start]
        while todo:
            here = todo.pop()
            sizes[start] += 1
            for other, _, _ in near[here]:
                if other not in part:
                    part[other] = start
                    todo.append(other)
    largest = max(sizes, key=lambda s: (sizes[s], -s))
    return sorted(j for j, of in part.items() if of == largest)
