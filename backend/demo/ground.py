"""From the squared paper to the ground: where each vertex of the plan lies, in metres and in degrees."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from random import Random

from shapely import Polygon

from backend.demo.faces import Faces
from backend.demo.paper import STEP, Vertex
from backend.demo.plan import CompoundPlan, Plan
from backend.demo.town import lonlat


class Ground:
    """A plan with its blocks as a tiling, and the image of every vertex of it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.plan = Plan(seed)
        self.faces = Faces(self.plan.blocks)
        outline = self.faces.outline(block.index for block in self.plan.blocks)
        assert len(outline) == 1, "The town is one piece."
        self.outline = outline[0]
        self._moved = self._soft_outline()
        self._cache: dict[Vertex, tuple[float, float]] = {}

    def metres(self, vertex: Vertex) -> tuple[float, float]:
        """Metres east and north of the old bridge of a vertex of the paper."""
        found = self._cache.get(vertex)
        if found is None:
            found = self._cache[vertex] = self._moved.get(vertex) or self.plan.paper.ground(*vertex)
        return found

    def lonlat(self, vertex: Vertex) -> tuple[float, float]:
        """Longitude and latitude of a vertex of the paper."""
        return lonlat(*self.metres(vertex))

    def polygon(self, ring: Iterable[Vertex], holes: Iterable[Iterable[Vertex]] = ()) -> Polygon:
        """A polygon of the paper as it lies on the ground, in degrees."""
        return Polygon([self.lonlat(v) for v in ring], [[self.lonlat(v) for v in hole] for hole in holes])

    def wall(self, compound: CompoundPlan) -> list[Vertex]:
        """The wall of a compound with points in between, so that it bends with the streets around it."""
        corners = compound.wall()
        gates = [gate.wall for gate in compound.gates]
        ring: list[Vertex] = []
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
            (xa, ya), (xb, yb) = a, b
            if xa == xb:
                marks = set(range(min(ya, yb) // STEP * STEP + STEP, max(ya, yb), STEP))
                marks |= {y for x, y in gates if x == xa and min(ya, yb) < y < max(ya, yb)}
                between = [(xa, y) for y in sorted(marks, reverse=ya > yb)]
            else:
                marks = set(range(min(xa, xb) // STEP * STEP + STEP, max(xa, xb), STEP))
                marks |= {x for x, y in gates if y == ya and min(xa, xb) < x < max(xa, xb)}
                between = [(x, ya) for x in sorted(marks, reverse=xa > xb)]
            ring += [a, *between]
        return ring

    def _soft_outline(self) -> dict[Vertex, tuple[float, float]]:
        """The town's outer bound, which follows creeks and not the grid: corners rounded, straights made to wander.

        Points at which a bound or a way inside the town ends stay in place, and beside town blocks little moves, so
        that nothing inside comes to lie outside.
        """
        random = Random(f"outline {self.seed}")
        ring = self.outline
        degree: dict[Vertex, set[Vertex]] = defaultdict(set)
        urban: set[Vertex] = set()
        for block in self.plan.blocks:
            face = self.faces.rings[block.index]
            for a, b in zip(face, face[1:] + face[:1], strict=True):
                degree[a].add(b)
                degree[b].add(a)
            if not block.village:
                urban.update(face)
        fixed = [len(degree[vertex]) > 2 for vertex in ring]
        points = [self.plan.paper.ground(*vertex) for vertex in ring]
        count = len(ring)
        for turn in range(36):
            points = [
                point
                if fixed[i] or (turn > 1 and ring[i] in urban)
                else (
                    (points[i - 1][0] + 2 * point[0] + points[(i + 1) % count][0]) / 4,
                    (points[i - 1][1] + 2 * point[1] + points[(i + 1) % count][1]) / 4,
                )
                for i, point in enumerate(points)
            ]
        waves = [
            (random.uniform(7, 13), random.uniform(0.25, 0.75), random.uniform(0, 6.283)) for _ in range(3)
        ]
        start = fixed.index(True)
        order = [*range(start, count), *range(start)]
        moved: dict[Vertex, tuple[float, float]] = {}
        for run in _runs(order, fixed):
            for k, i in enumerate(run):
                before, after = points[i - 1], points[(i + 1) % count]
                length = math.dist(before, after) or 1.0
                calm = min(1.0, min(k + 1, len(run) - k) / 4) * (0.25 if ring[i] in urban else 1.0)
                aside = calm * sum(a * math.sin(f * i + p) for a, f, p in waves)
                moved[ring[i]] = (
                    points[i][0] - (after[1] - before[1]) / length * aside,
                    points[i][1] + (after[0] - before[0]) / length * aside,
                )
        return moved


def _runs(order: list[int], fixed: list[bool]) -> Iterator[list[int]]:
    """Consecutive indices that are not fixed."""
    run: list[int] = []
    for index in order:
        if fixed[index]:
            if run:
                yield run
            run = []
        else:
            run.append(index)
    if run:
        yield run
