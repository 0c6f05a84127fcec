"""How the squared paper on which the demo town is planned is bent into the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random

Vertex = tuple[int, int]
"""A point on the paper, in whole metres east and north of the town bridge."""

STEP = 50
"""Long edges get a point at every multiple of this, so that they can bend."""


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle on the paper."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def area(self) -> int:
        return self.width * self.height

    @property
    def centre(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def corners(self) -> tuple[Vertex, Vertex, Vertex, Vertex]:
        """The corners, counter-clockwise from the south-west."""
        return (self.x0, self.y0), (self.x1, self.y0), (self.x1, self.y1), (self.x0, self.y1)


@dataclass(slots=True)
class Block:
    """A rectangle that no public way crosses: a block of the town, or a square of a village's land.

    ``ground`` is what it covers of the town (a riverside block reaches to the middle of the river), ``inner`` what
    lies between the ways around it.
    """

    index: int
    cell: tuple[int, int]
    ground: Rect
    inner: Rect
    community: int
    village: bool
    use: str = "mixed"
    doors: list[Vertex] = field(default_factory=list)
    """Where one enters it from the ways around it, for a block that is a park, a school, a market and the like."""


class Paper:
    """How the squared paper is bent into the ground."""

    def __init__(self, random: Random, urban_centres: list[tuple[float, float]]) -> None:
        self._turn = math.radians(random.uniform(-9, -5))
        self._waves = [
            (
                random.uniform(55, 85),
                2 * math.pi / random.uniform(3800, 6500),
                random.uniform(-0.7, 0.7),
                random.uniform(0, 6.283),
            )
            for _ in range(4)
        ]
        self._meander = [
            (random.uniform(140, 175), 2 * math.pi / random.uniform(3000, 3500), random.uniform(0, 6.283)),
            (random.uniform(45, 60), 2 * math.pi / random.uniform(1350, 1650), random.uniform(0, 6.283)),
        ]
        self._swirls = [
            (1850.0, 1250.0, 1300.0, math.radians(random.uniform(11, 16))),
            (-2350.0, 350.0, 1100.0, math.radians(random.uniform(-13, -8))),
        ]
        self._wander = [
            (
                random.uniform(13, 19),
                2 * math.pi / random.uniform(430, 760),
                random.uniform(0, 6.283),
                random.uniform(0, 6.283),
            )
            for _ in range(4)
        ]
        self._urban = urban_centres

    def _rural(self, x: float, y: float) -> float:
        """0 in the town, 1 in the country, smooth in between."""
        nearest = min((x - cx) ** 2 + (y - cy) ** 2 for cx, cy in self._urban)
        t = min(1.0, max(0.0, (math.sqrt(nearest) - 330) / 420))
        return t * t * (3 - 2 * t)

    def ground(self, x: float, y: float) -> tuple[float, float]:
        """Metres east and north of the town bridge, on the ground, of a point of the paper."""
        dx = dy = 0.0
        for i, (amplitude, k, slant, phase) in enumerate(self._waves):
            if i % 2:
                dx += amplitude * math.sin(k * (y + slant * x) + phase)
            else:
                dy += amplitude * math.sin(k * (x + slant * y) + phase)
        near_river = math.exp(-((x / 950) ** 2))
        for amplitude, k, phase in self._meander:
            dx += near_river * amplitude * math.sin(k * y + phase)
        for cx, cy, radius, angle in self._swirls:
            rx, ry = x - cx, y - cy
            a = angle * math.exp(-((rx * rx + ry * ry) / (radius * radius)))
            cos, sin = math.cos(a), math.sin(a)
            dx += rx * cos - ry * sin - rx
            dy += rx * sin + ry * cos - ry
        rural = self._rural(x, y)
        if rural:
            for i, (amplitude, k, direction, phase) in enumerate(self._wander):
                wave = (
                    rural
                    * amplitude
                    * math.sin(k * (x * math.cos(direction) + y * math.sin(direction)) + phase)
                )
                if i % 2:
                    dx += wave
                else:
                    dy += wave
        x, y = x + dx, y + dy
        cos, sin = math.cos(self._turn), math.sin(self._turn)
        return x * cos - y * sin, x * sin + y * cos
