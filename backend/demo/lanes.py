"""The lanes of the villages: hamlets strung along winding lanes, and tracks out into the fields.

Unlike the blocks these are drawn on the ground, as curves. They divide nothing, so they need to be joined to the net of
ways only where they start, at *doors*: places on the ways around a village's land that the plan makes into junctions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import shapely
from shapely import LineString, Polygon

from backend.demo.paper import STEP, Block, Vertex
from backend.demo.plan import BANK, Plan

Ground = tuple[float, float]
"""Metres east and north of the town bridge, on the ground."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A piece of lane between two junctions, on the ground."""

    points: tuple[Ground, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class Hamlet:
    """A cluster of farmhouses."""

    centre: Ground
    lanes: tuple[Lane, ...]


def make_doors(plan: Plan, random: Random) -> dict[int, list[Vertex]]:
    """Choose, per square of village land, where lanes leave the ways around it; makes junctions there."""
    doors: dict[int, list[Vertex]] = {}
    for block in plan.blocks:
        if block.village:
            doors[block.index] = [door for side in "swne" for door in _side_doors(plan, block, side, random)]
    return doors


def _side_doors(plan: Plan, block: Block, side: str, random: Random) -> list[Vertex]:
    r = block.ground
    vertical = side in "we"
    at = {"s": r.y0, "n": r.y1, "w": BANK if r.x0 == 0 else r.x0, "e": -BANK if r.x1 == 0 else r.x1}[side]
    low, high = (r.y0, r.y1) if vertical else (r.x0, r.x1)
    places = list(range((low + 140) // STEP * STEP, high - 120, STEP))
    chosen = random.sample(places, min(len(places), random.choice((1, 2, 2))))
    doors = []
    for along in sorted(chosen):
        way = plan.way_at(vertical=vertical, at=at, along=along)
        if way is not None:
            way.stops.add(along)
            doors.append((at, along) if vertical else (along, at))
    return doors


def hamlets(land: Polygon, doors: list[Ground], keep_out: list[Polygon], random: Random) -> list[Hamlet]:
    """Make the hamlets and lanes of one square of a village's land.

    Args:
        land: the square, on the ground.
        doors: where lanes may leave the ways around it.
        keep_out: compounds that no lane crosses.
    """
    if not doors:
        return []
    inside = land.buffer(-28)
    closed = shapely.union_all([polygon.buffer(14) for polygon in keep_out]) if keep_out else Polygon()
    room = land.buffer(-130).difference(closed.buffer(130))
    if room.is_empty:
        return []
    found: list[tuple[Ground, list[tuple[list[Ground], str]]]] = []
    centres: list[Ground] = []
    wanted = 1 + (land.area > 350_000) + (land.area > 520_000)
    west, south, east, north = room.bounds
    for _ in range(120):
        if len(centres) == wanted:
            break
        point = (random.uniform(west, east), random.uniform(south, north))
        if not room.contains(shapely.Point(point)):
            continue
        if all(math.dist(point, other) > 270 for other in centres):
            centres.append(point)
    free = list(doors)
    for n, centre in enumerate(centres):
        lines, ends = _hamlet(centre, inside, closed, random)
        free.sort(key=lambda door: math.dist(door, centre))
        joined = 0
        for door in list(free):
            if joined == (2 if n == 0 else 1):
                break
            line = _join(door, min(ends, key=lambda end: math.dist(end, door)), land, closed, random)
            if line is not None:
                lines.append((line, "lane"))
                free.remove(door)
                joined += 1
        if n:
            end = min(ends, key=lambda e: math.dist(e, centres[n - 1]))
            target = min(found[n - 1][1][0][0], key=lambda p: math.dist(p, end))
            line = _join(end, target, inside, closed, random)
            if line is not None:
                lines.append((line, "lane"))
        found.append((centre, lines))
    return _noded(found)


def park(land: Polygon, doors: list[Ground], random: Random) -> list[Lane]:
    """A round walk through a park with a path from each entrance to it."""
    centre = land.representative_point()
    edge = land.exterior
    lobes, phase, depth = random.choice((2, 3, 3, 4)), random.uniform(0, 6.283), random.uniform(0.08, 0.16)
    far = max(math.dist(centre.coords[0], corner) for corner in edge.coords)
    walk: list[Ground] = []
    for k in range(28):
        angle = 2 * math.pi * k / 28
        ray = LineString(
            [centre, (centre.x + 2 * far * math.cos(angle), centre.y + 2 * far * math.sin(angle))]
        ).intersection(edge)
        reach = centre.distance(ray) * (0.58 + depth * math.sin(lobes * angle + phase))
        walk.append((centre.x + reach * math.cos(angle), centre.y + reach * math.sin(angle)))
    lines = [([*walk, walk[0]], "path")]
    lines += [([door, min(walk, key=lambda point: math.dist(point, door))], "path") for door in doors]
    return list(_noded([(walk[0], lines)])[0].lanes)


def _hamlet(
    centre: Ground, inside: Polygon, closed: Polygon, random: Random
) -> tuple[list[tuple[list[Ground], str]], list[Ground]]:
    """A main lane with cross lanes, bent together; returns the lines (main lane first) and the main lane's ends."""
    angle = random.uniform(-0.5, 0.5) + (0 if random.random() < 0.75 else math.pi / 2)
    half = random.uniform(110, 190)
    bow, phase, length = random.uniform(10, 26), random.uniform(0, 6.283), random.uniform(150, 260)
    cos, sin = math.cos(angle), math.sin(angle)

    def place(u: float, v: float) -> Ground:
        v += bow * math.sin(2 * math.pi * u / length + phase)
        return centre[0] + u * cos - v * sin, centre[1] + u * sin + v * cos

    lines: list[tuple[list[Ground], str]] = []
    steps = [half * (2 * k / 18 - 1) for k in range(19)]
    main = _kept([place(u, 0) for u in steps], inside, closed, from_middle=True)
    lines.append((main, "lane"))
    tips: dict[int, list[Ground]] = {1: [], -1: []}
    u = -half + random.uniform(10, 40)
    while u < half:
        up, down = random.uniform(35, 125), random.uniform(35, 125)
        sway = random.uniform(-14, 14)
        for reach, sign in ((up, 1), (down, -1)):
            if random.random() < 0.2:
                continue
            count = max(2, int(reach / 16))
            line = _kept(
                [place(u + sway * (k / count) ** 2, sign * reach * k / count) for k in range(count + 1)],
                inside,
                closed,
            )
            if len(line) > 2:
                lines.append((line, "path"))
                tips[sign].append(line[-1])
        u += random.uniform(38, 68)
    for side in tips.values():
        for a, b in pairwise(side):
            if math.dist(a, b) < 100 and random.random() < 0.6:
                lines.append(([a, _between(a, b, random.uniform(-8, 8)), b], "path"))
    if tips[1] and random.random() < 0.7:
        start = random.choice(tips[1])
        heading = angle + math.pi / 2 + random.uniform(-0.6, 0.6)
        reach = random.uniform(140, 320)
        turn = random.uniform(-0.5, 0.5)
        track = [start]
        for _ in range(int(reach / 22)):
            heading += turn / 10
            track.append((track[-1][0] + 22 * math.cos(heading), track[-1][1] + 22 * math.sin(heading)))
        track = _kept(track, inside, closed)
        if len(track) > 3:
            lines.append((track, "path"))
    return lines, [main[0], main[-1]]


def _between(a: Ground, b: Ground, aside: float) -> Ground:
    length = math.dist(a, b) or 1.0
    return (
        (a[0] + b[0]) / 2 - (b[1] - a[1]) / length * aside,
        (a[1] + b[1]) / 2 + (b[0] - a[0]) / length * aside,
    )


def _kept(
    points: list[Ground], inside: Polygon, closed: Polygon, *, from_middle: bool = False
) -> list[Ground]:
    """The run of points up to where the line would leave the land or enter a compound."""

    def run(part: list[Ground]) -> list[Ground]:
        kept = [part[0]]
        for point in part[1:]:
            here = shapely.Point(point)
            if not inside.contains(here) or closed.contains(here):
                break
            kept.append(point)
        return kept

    if not from_middle:
        return run(points)
    middle = len(points) // 2
    return [*reversed(run(points[middle::-1])), *run(points[middle:])[1:]]


def _join(a: Ground, b: Ground, land: Polygon, closed: Polygon, random: Random) -> list[Ground] | None:
    """A winding lane from ``a`` to ``b`` within the land, or None when there is no way past a compound."""
    length = math.dist(a, b)
    if length < 1:
        return None
    for swing in (random.uniform(0.12, 0.24), 0.07, 0.0):
        sides = random.choice(((1, -1), (-1, 1), (1, 1), (-1, -1)))
        normal = (-(b[1] - a[1]) / length, (b[0] - a[0]) / length)
        controls = [
            (
                a[0] + (b[0] - a[0]) * t + normal[0] * swing * length * side,
                a[1] + (b[1] - a[1]) * t + normal[1] * swing * length * side,
            )
            for t, side in zip((0.33, 0.67), sides, strict=True)
        ]
        count = max(3, int(length / 20))
        points = [_bezier(a, controls[0], controls[1], b, k / count) for k in range(count + 1)]
        points[0], points[-1] = a, b
        line = LineString(points)
        if line.length > 45 and not line.interpolate(20).within(land):
            continue
        if not LineString(points[1:]).within(land) or line.intersects(closed):
            continue
        return points
    return None


def _bezier(a: Ground, c: Ground, d: Ground, b: Ground, t: float) -> Ground:
    s = 1 - t
    wa, wc, wd, wb = s * s * s, 3 * s * s * t, 3 * s * t * t, t * t * t
    return (
        wa * a[0] + wc * c[0] + wd * d[0] + wb * b[0],
        wa * a[1] + wc * c[1] + wd * d[1] + wb * b[1],
    )


def _noded(found: list[tuple[Ground, list[tuple[list[Ground], str]]]]) -> list[Hamlet]:
    """Cut all lanes of a square at their crossings, so that one can turn there."""
    sources = [
        (n, kind, LineString(points))
        for n, (_, lines) in enumerate(found)
        for points, kind in lines
        if len(points) > 1
    ]
    if not sources:
        return []
    pieces = shapely.union_all([line for _, _, line in sources])
    lanes: list[list[Lane]] = [[] for _ in found]
    for piece in getattr(pieces, "geoms", [pieces]):
        middle = piece.interpolate(0.5, normalized=True)
        n, kind, _ = min(
            sources, key=lambda source: (round(source[2].distance(middle), 6), source[1] != "lane", source[0])
        )
        lanes[n].append(Lane(tuple(piece.coords), kind))
    return [
        Hamlet(centre, tuple(sorted(of, key=lambda lane: lane.points)))
        for (centre, _), of in zip(found, lanes, strict=True)
    ]
