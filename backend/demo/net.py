"""The net of ways of the demo town: what people walk on, and what is drawn of it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from uuid import UUID

import shapely
from shapely import LineString, Polygon

from backend.demo import lanes, names
from backend.demo.ground import Ground
from backend.demo.labels import Labels
from backend.demo.names import Name
from backend.demo.paper import STEP, Block, Vertex
from backend.demo.plan import RIVER_HALF_WIDTH_M
from backend.demo.town import CENTRE, Road, Way, distance_m, lonlat


@dataclass(frozen=True, slots=True)
class HamletPlace:
    """A hamlet with the junctions of its lanes."""

    name: Name
    block: Block
    centre: tuple[float, float]
    junctions: list[int]


class Net:
    """Junctions, the ways between them, and the lines that are drawn."""

    def __init__(self, ground: Ground, labels: Labels, ids: Callable[[], UUID], town: Polygon) -> None:
        self._ground, self._labels, self._ids, self._town = ground, labels, ids, town
        self._plan = ground.plan
        # Before the crossings are counted: lanes leave the ways at junctions of their own.
        self._doors = lanes.make_doors(self._plan, Random(f"doors {ground.seed}"))
        self.junctions: list[tuple[float, float]] = []
        self.junction_at: dict[tuple[float, float], int] = {}
        self.ways: list[Way] = []
        self.roads: list[Road] = []
        self.hamlets: list[HamletPlace] = []
        stretches = self._plan.stretches()
        ends = {v for stretch in stretches for v in (stretch.start, stretch.end)}
        for stretch in stretches:
            self._way(
                stretch.kind,
                self._labels.roads[stretch.key],
                [self._ground.lonlat(v) for v in stretch.points],
            )
        self._draw_roads(ends)
        self._make_lanes()
        self._keep_connected()
        self._draw_water()

    def _junction(self, place: tuple[float, float]) -> int:
        index = self.junction_at.get(place)
        if index is None:
            index = self.junction_at[place] = len(self.junctions)
            self.junctions.append(place)
        return index

    def _way(self, kind: str, name: Name, points: list[tuple[float, float]]) -> None:
        if points[0] == points[-1]:
            return
        length = sum(distance_m(a, b) for a, b in pairwise(points))
        self.ways.append(
            Way(
                self._junction(points[0]),
                self._junction(points[-1]),
                kind,
                name,
                tuple(points),
                round(length, 2),
            )
        )

    def _draw_roads(self, ends: set[Vertex]) -> None:
        """One drawn line per straight run of a road on the paper, through all its junctions."""
        runs: dict[tuple[str, str, bool, int], list[tuple[int, int]]] = defaultdict(list)
        for line in self._plan.lines:
            runs[line.key, line.kind, line.vertical, line.at].append((line.low, line.high))
        on_line: dict[tuple[bool, int], list[int]] = defaultdict(list)
        for x, y in sorted(ends):
            on_line[True, x].append(y)
            on_line[False, y].append(x)
        for (key, kind, vertical, at), spans in runs.items():
            for low, high in _merged(spans):
                marks = {low, high} | {v for v in on_line[vertical, at] if low < v < high}
                marks |= set(range(low // STEP * STEP + STEP, high, STEP))
                places = [self._ground.lonlat((at, v) if vertical else (v, at)) for v in sorted(marks)]
                self.roads.append(Road(self._ids(), kind, self._labels.roads[key], LineString(places)))

    def _make_lanes(self) -> None:
        random = Random(f"lanes {self._ground.seed}")
        for block in self._plan.blocks:
            if block.use == "park":
                land = Polygon([self._ground.metres(v) for v in block.inner.corners()])
                paths = lanes.park(land, [self._ground.metres(door) for door in block.doors], random)
                self._draw_lanes(paths, "path", self._labels.places[block.index])
        walls = {
            compound.block: Polygon([self._ground.metres(v) for v in self._ground.wall(compound)])
            for compound in self._plan.compounds
        }
        hamlet_names = {
            letter: names.hamlets(stem, random) for letter, (_, stem) in sorted(self._labels.villages.items())
        }
        for block in self._plan.blocks:
            if not block.village:
                continue
            land = Polygon([self._ground.metres(v) for v in self._ground.faces.rings[block.index]])
            doors = [self._ground.metres(door) for door in self._doors[block.index]]
            keep_out = [walls[block.index]] if block.index in walls else []
            letter = self._plan.cells[block.cell]
            for hamlet in lanes.hamlets(land, doors, keep_out, random):
                name = next(hamlet_names[letter])
                for kind, suffix in (("lane", Name("路", " Road")), ("path", Name("村道", " Lane"))):
                    of_kind = [lane for lane in hamlet.lanes if lane.kind == kind]
                    self._draw_lanes(of_kind, kind, Name(name.zh + suffix.zh, name.en + suffix.en))
                touched = sorted(
                    {self.junction_at[lonlat(*lane.points[e])] for lane in hamlet.lanes for e in (0, -1)}
                )
                self.hamlets.append(HamletPlace(name, block, lonlat(*hamlet.centre), touched))

    def _draw_lanes(self, pieces: list[lanes.Lane], kind: str, name: Name) -> None:
        """Add lanes that were drawn on the ground to the net, and draw them in lines as long as may be."""
        lines = [[lonlat(*point) for point in piece.points] for piece in pieces]
        for line in lines:
            self._way(kind, name, line)
        if lines:
            merged = shapely.line_merge(shapely.multilinestrings([LineString(line) for line in lines]))
            for part in getattr(merged, "geoms", [merged]):
                self.roads.append(Road(self._ids(), kind, name, part))

    def _keep_connected(self) -> None:
        """Drop what cannot be reached from the old bridge, and number the junctions anew."""
        near: dict[int, list[int]] = defaultdict(list)
        for way in self.ways:
            near[way.start].append(way.end)
            near[way.end].append(way.start)
        start = min(near, key=lambda j: distance_m(self.junctions[j], CENTRE))
        reached = {start}
        todo = [start]
        while todo:
            for other in near[todo.pop()]:
                if other not in reached:
                    reached.add(other)
                    todo.append(other)
        kept = sorted(reached)
        renumbered = {old: new for new, old in enumerate(kept)}
        self.ways = [
            Way(renumbered[w.start], renumbered[w.end], w.kind, w.name, w.points, w.length_m)
            for w in self.ways
            if w.start in reached
        ]
        self.junctions = [self.junctions[old] for old in kept]
        self.junction_at = {place: index for index, place in enumerate(self.junctions)}
        reached_places = set(self.junctions)
        self.roads = [
            road for road in self.roads if any(place in reached_places for place in road.line.coords)
        ]
        self.hamlets = [
            replace(hamlet, junctions=[renumbered[j] for j in hamlet.junctions if j in renumbered])
            for hamlet in self.hamlets
        ]

    def _draw_water(self) -> None:
        """The river, as wide as it is, and creeks along the bounds of the villages' land."""
        rows = self._plan.rows
        for offset in (0, -RIVER_HALF_WIDTH_M // 2, RIVER_HALF_WIDTH_M // 2):
            ys = [rows[0], *range(rows[0] // STEP * STEP + STEP, rows[-1], STEP), rows[-1]]
            self._water(names.RIVER, [self._ground.lonlat((offset, y)) for y in ys])
        random = Random(f"water {self._ground.seed}")
        stems = [stem for _, stem in self._labels.villages.values()]
        walled = [compound.outer for compound in self._plan.compounds]
        for vertical in (True, False):
            bounds = self._plan.columns if vertical else self._plan.rows
            across = self._plan.rows if vertical else self._plan.columns
            for index in range(len(bounds) - 1):
                at = bounds[index] + int(
                    (bounds[index + 1] - bounds[index]) * random.choice((0.22, 0.3, 0.7, 0.78))
                )
                if random.random() < 0.35:
                    continue
                run: list[tuple[int, int]] = []
                for other in range(len(across) - 1):
                    cell = (index, other) if vertical else (other, index)
                    if self._plan.cells.get(cell, "U") != "U" and random.random() < 0.86:
                        run.append((across[other], across[other + 1]))
                for low, high in _merged(run):
                    if any(
                        (r.x0 - 12 < at < r.x1 + 12 and low < r.y1 and r.y0 < high)
                        if vertical
                        else (r.y0 - 12 < at < r.y1 + 12 and low < r.x1 and r.x0 < high)
                        for r in walled
                    ):
                        continue
                    if not vertical and low < 0 < high:
                        continue
                    phase = random.uniform(0, 6.283)
                    points = []
                    for v in [low, *range(low // STEP * STEP + STEP, high, STEP), high]:
                        sway = 26 * math.sin(v / random.uniform(118, 122) + phase)
                        x, y = (at + sway, v) if vertical else (v, at + sway)
                        points.append(lonlat(*self._plan.paper.ground(x, y)))
                    stem = random.choice(stems)
                    self._water(Name(f"{stem.zh}河", f"{stem.en} Creek"), points)

    def _water(self, name: Name, points: list[tuple[float, float]]) -> None:
        inside = shapely.intersection(LineString(points), self._town, grid_size=1e-7)
        for line in getattr(inside, "geoms", [inside]):
            if line.geom_type == "LineString" and not line.is_empty:
                self.roads.append(Road(self._ids(), "water", name, line))


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that touch, joined."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return joined
