"""The demo town as data: areas that tile it, ways to walk, checkpoints, departments and people.

``generate(seed)`` is pure: no clock, no database, no file; the same seed gives the same town to the last byte
(:meth:`Town.canonical`), so that the simulated phones can walk the streets that the filler wrote. The size is that of
the reference town in ``docs/domain.md``. The town does not exist: its names are made up and its streets lie across
ground that in truth belongs to others, at the rim of Shanghai, because a datum and a time zone have to be somewhere.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from random import Random
from uuid import UUID

import shapely
from shapely import LineString, Point, Polygon
from shapely.strtree import STRtree

from backend.demo import lanes, names, people
from backend.demo.faces import Faces
from backend.demo.names import Name
from backend.demo.paper import STEP, Block, Vertex
from backend.demo.people import Department, Person
from backend.demo.plan import RIVER_HALF_WIDTH_M, CompoundPlan, Plan

DEFAULT_SEED = 1
CENTRE = (121.3, 31.1)
"""Longitude and latitude of the old bridge."""
METRES_PER_DEGREE_LAT = 110_870.0
METRES_PER_DEGREE_LON = 111_320.0 * math.cos(math.radians(CENTRE[1])) * 1.0009
CHECKPOINTS = 920

_FIRST_ID_MS = 1_704_067_200_000  # 2024-01-01: ids are UUIDv7, and a made-up town was made some day.


@dataclass(frozen=True, slots=True)
class Area:
    """A polygon of the tree of areas. ``nature`` says what it is like beyond its kind: a ``community`` is a
    ``committee`` or a ``village``, a ``grid`` has ``streets`` or ``fields``."""

    id: UUID
    parent_id: UUID | None
    kind: str
    nature: str
    code: str
    name: Name
    polygon: Polygon


@dataclass(frozen=True, slots=True)
class Road:
    """One line of a way, as it is drawn. Water is drawn as lines, too."""

    id: UUID
    kind: str
    name: Name
    line: LineString


@dataclass(frozen=True, slots=True)
class Way:
    """A piece of road between two junctions: an edge of the net that people walk on."""

    start: int
    end: int
    kind: str
    name: Name
    points: tuple[tuple[float, float], ...]
    """Longitude and latitude, from ``start`` to ``end``."""
    length_m: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A point that a round passes; it stands at a junction of the net."""

    id: UUID
    area_id: UUID
    code: str
    name: Name
    lon: float
    lat: float
    junction: int


@dataclass(frozen=True, slots=True)
class Building:
    """A block of flats in a compound, with its number."""

    area_id: UUID
    number: int
    polygon: Polygon


@dataclass(frozen=True, slots=True)
class Town:
    """The whole demo town. ``junctions`` are longitude and latitude; ``ways`` refer to them by index."""

    seed: int
    id: UUID
    code: str
    name: Name
    centre: tuple[float, float]
    bounds: tuple[float, float, float, float]
    areas: tuple[Area, ...]
    roads: tuple[Road, ...]
    junctions: tuple[tuple[float, float], ...]
    ways: tuple[Way, ...]
    checkpoints: tuple[Checkpoint, ...]
    buildings: tuple[Building, ...]
    departments: tuple[Department, ...]
    people: tuple[Person, ...]

    def of_kind(self, kind: str) -> list[Area]:
        """Areas of one kind, in the order of their codes."""
        return [area for area in self.areas if area.kind == kind]

    def area(self, area_id: UUID) -> Area:
        """The area with this id."""
        return next(area for area in self.areas if area.id == area_id)

    def canonical(self) -> bytes:
        """The town as bytes: two towns are the same exactly when these are."""

        def plain(value: object) -> object:
            if isinstance(value, shapely.Geometry):
                return value.wkb_hex
            if isinstance(value, UUID):
                return str(value)
            if hasattr(value, "__slots__"):
                return {key: getattr(value, key) for key in value.__slots__}
            raise TypeError(type(value))

        return json.dumps(plain(self), default=plain, ensure_ascii=False, sort_keys=True).encode()

    def digest(self) -> str:
        """SHA-256 of :meth:`canonical`, in hexadecimal."""
        return hashlib.sha256(self.canonical()).hexdigest()


def lonlat(x: float, y: float) -> tuple[float, float]:
    """Longitude and latitude (to the centimetre) of a place in metres east and north of the old bridge."""
    return round(CENTRE[0] + x / METRES_PER_DEGREE_LON, 7), round(CENTRE[1] + y / METRES_PER_DEGREE_LAT, 7)


def metres(lon: float, lat: float) -> tuple[float, float]:
    """Metres east and north of the old bridge of a longitude and latitude."""
    return (lon - CENTRE[0]) * METRES_PER_DEGREE_LON, (lat - CENTRE[1]) * METRES_PER_DEGREE_LAT


def distance_m(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Distance of two longitude-latitude pairs of the town; exact to a few centimetres per kilometre."""
    return math.hypot((a[0] - b[0]) * METRES_PER_DEGREE_LON, (a[1] - b[1]) * METRES_PER_DEGREE_LAT)


@lru_cache(maxsize=2)
def generate(seed: int = DEFAULT_SEED) -> Town:
    """Make the town of a seed. Takes about a second; the result is cached, being immutable."""
    return _Builder(seed).build()


class _Ids:
    """UUIDv7 in order, from the seed alone."""

    def __init__(self, seed: int) -> None:
        self._random = Random(f"ids {seed}")
        self._count = 0

    def __call__(self) -> UUID:
        self._count += 1
        return UUID(
            int=(_FIRST_ID_MS + self._count) << 80
            | 0x7 << 76
            | self._random.getrandbits(12) << 64
            | 0b10 << 62
            | self._random.getrandbits(62)
        )


class _Builder:
    """Holds what the steps of :func:`generate` hand to one another."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.ids = _Ids(seed)
        self.plan = Plan(seed)
        self.faces = Faces(self.plan.blocks)
        self.doors = lanes.make_doors(self.plan, Random(f"doors {seed}"))
        self.outline = self.faces.outline(block.index for block in self.plan.blocks)
        assert len(self.outline) == 1, "The town is one piece."
        self._neighbours = self.faces.neighbours()
        self._moved = self._soft_outline()
        self._cache: dict[Vertex, tuple[float, float]] = {}

    def build(self) -> Town:
        self._name_everything()
        self._make_areas()
        self._make_net()
        self._make_checkpoints()
        return Town(
            seed=self.seed,
            id=self.town_id,
            code="YJ",
            name=names.TOWN,
            centre=CENTRE,
            bounds=self.areas[0].polygon.bounds,
            areas=tuple(self.areas),
            roads=tuple(self.roads),
            junctions=tuple(self.junctions),
            ways=tuple(self.ways),
            checkpoints=tuple(self.checkpoints),
            buildings=tuple(self.buildings),
            **people.populate(self.seed, self.ids, self.areas, self.buildings),
        )

    # --- from paper to ground ------------------------------------------------------------------------------------

    def ground(self, vertex: Vertex) -> tuple[float, float]:
        """Metres on the ground of a vertex of the paper."""
        found = self._cache.get(vertex)
        if found is None:
            found = self._cache[vertex] = self._moved.get(vertex) or self.plan.paper.ground(*vertex)
        return found

    def lonlat(self, vertex: Vertex) -> tuple[float, float]:
        return lonlat(*self.ground(vertex))

    def _polygon(self, ring: Iterable[Vertex], holes: Iterable[Iterable[Vertex]] = ()) -> Polygon:
        return Polygon([self.lonlat(v) for v in ring], [[self.lonlat(v) for v in hole] for hole in holes])

    def _soft_outline(self) -> dict[Vertex, tuple[float, float]]:
        """The town's outer bound, which follows creeks and not the grid: corners rounded, straights made to wander.

        Points at which a bound or a way inside the town ends stay in place, and beside town blocks little moves, so
        that nothing inside comes to lie outside.
        """
        random = Random(f"outline {self.seed}")
        ring = self.outline[0]
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

    # --- names ---------------------------------------------------------------------------------------------------

    def _name_everything(self) -> None:
        random = Random(f"names {self.seed}")
        bases = names.roads(random)
        best: dict[str, str] = {}
        rank = {"arterial": 0, "street": 1, "lane": 2, "path": 3}
        for line in self.plan.lines:
            if line.key not in best or rank[line.kind] < rank[best[line.key]]:
                best[line.key] = line.kind
        homes = names.homes(random)
        self.compound_names = [next(homes) for _ in self.plan.compounds]
        self.road_names: dict[str, Name] = {
            "bank west": Name("云泾西岸路", "Yunjing West Bank Road"),
            "bank east": Name("云泾东岸路", "Yunjing East Bank Road"),
        }
        self.place_names = {
            block.index: names.place(next(bases), block.use) for block in self.plan.blocks if block.doors
        }
        for key, kind in best.items():
            if key.startswith("c "):
                name = self.compound_names[int(key[2:])]
                self.road_names[key] = Name(f"{name.zh}内部道路", f"Paths in {name.en}")
            elif key.startswith("u "):
                self.road_names[key] = self.place_names[int(key[2:])]
            elif key not in self.road_names:
                self.road_names[key] = names.road(next(bases), kind)
        villages = names.villages(random)
        self.village_names = {letter: next(villages) for letter in self.plan.villages}

    # --- areas ---------------------------------------------------------------------------------------------------

    def _make_areas(self) -> None:
        self.town_id = self.ids()
        self.areas: list[Area] = []
        self.buildings: list[Building] = []
        self.grid_of_block: dict[int, Area] = {}
        self.compound_areas: dict[int, Area] = {}
        town = Area(self.ids(), None, "town", "town", "YJ", names.TOWN, self._polygon(self.outline[0]))
        self.areas.append(town)
        members: dict[int, list[Block]] = defaultdict(list)
        for block in self.plan.blocks:
            members[block.community].append(block)
        self.compounds_in: dict[int, list[CompoundPlan]] = defaultdict(list)
        for compound in self.plan.compounds:
            self.compounds_in[self.plan.blocks[compound.block].community].append(compound)
        order = sorted(members, key=lambda c: (members[c][0].village, c))
        number = {False: 0, True: 0}
        for community in order:
            blocks = members[community]
            village = blocks[0].village
            number[village] += 1
            if village:
                code = f"YJ-C{number[village]:02}"
                name = self.village_names[self.plan.cells[blocks[0].cell]][0]
            else:
                code = f"YJ-J{number[village]:02}"
                biggest = max(self.compounds_in[community], key=lambda c: (c.outer.area, -c.index))
                home = self.compound_names[biggest.index]
                name = Name(f"{home.zh}居委会", f"{home.en} Residents' Committee")
            rings = self.faces.outline(block.index for block in blocks)
            assert len(rings) == 1
            area = Area(
                self.ids(),
                town.id,
                "community",
                "village" if village else "committee",
                code,
                name,
                self._polygon(rings[0]),
            )
            self.areas.append(area)
            self._make_grids(area, blocks)
            self._make_compounds(area, self.compounds_in[community])

    def _make_grids(self, community: Area, blocks: list[Block]) -> None:
        """Grids tile a community together with its compounds: the streets and fields around the walls."""
        village = blocks[0].village
        stem = community.name
        short_zh = stem.zh.removesuffix("居委会")
        short_en = stem.en.removesuffix(" Residents' Committee")
        for n, part in enumerate(self._grid_parts(blocks), start=1):
            rings = self.faces.outline(part)
            holes = [
                list(reversed(self._wall(compound)))
                for compound in self.plan.compounds
                if compound.block in part
            ]
            grid = Area(
                self.ids(),
                community.id,
                "grid",
                "fields" if village else "streets",
                f"{community.code}-W{n}",
                Name(f"{short_zh}第{n}网格", f"{short_en} Grid {n}"),
                self._polygon(rings[0], holes),
            )
            self.areas.append(grid)
            for index in part:
                self.grid_of_block[index] = grid

    def _grid_parts(self, blocks: list[Block]) -> list[list[int]]:
        """Split a community's blocks in up to three connected parts, a village's by its squares."""
        neighbours = self._neighbours
        wanted = max(1, min(3, round(len(blocks) / 2.6)))
        left = {block.index for block in blocks}
        parts: list[list[int]] = []
        while left:
            size = math.ceil(len(left) / max(1, wanted - len(parts)))
            part = [min(left)]
            while len(part) < size:
                border = sorted(
                    index
                    for index in set().union(*(neighbours[i] for i in part)) & (left - set(part))
                    if self.faces.is_one_ring([*part, index])
                )
                if not border:
                    break
                part.append(border[0])
            left -= set(part)
            parts.append(part)
        return parts

    def _wall(self, compound: CompoundPlan) -> list[Vertex]:
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

    def _make_compounds(self, community: Area, compounds: list[CompoundPlan]) -> None:
        for n, compound in enumerate(compounds, start=1):
            area = Area(
                self.ids(),
                community.id,
                "compound",
                "homes",
                f"{community.code}-X{n}",
                self.compound_names[compound.index],
                self._polygon(self._wall(compound)),
            )
            self.areas.append(area)
            self.compound_areas[compound.index] = area
            for number, rect in enumerate(compound.buildings, start=1):
                self.buildings.append(Building(area.id, number, self._polygon(rect.corners())))

    # --- the net of ways -----------------------------------------------------------------------------------------

    def _make_net(self) -> None:
        self.junctions: list[tuple[float, float]] = []
        self._junction_at: dict[tuple[float, float], int] = {}
        self.ways: list[Way] = []
        self.roads: list[Road] = []
        stretches = self.plan.stretches()
        ends = {v for stretch in stretches for v in (stretch.start, stretch.end)}
        for stretch in stretches:
            self._way(stretch.kind, self.road_names[stretch.key], [self.lonlat(v) for v in stretch.points])
        self._draw_roads(ends)
        self._make_lanes()
        self._keep_connected()
        self._draw_water()

    def _junction(self, place: tuple[float, float]) -> int:
        index = self._junction_at.get(place)
        if index is None:
            index = self._junction_at[place] = len(self.junctions)
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
        for line in self.plan.lines:
            runs[line.key, line.kind, line.vertical, line.at].append((line.low, line.high))
        on_line: dict[tuple[bool, int], list[int]] = defaultdict(list)
        for x, y in sorted(ends):
            on_line[True, x].append(y)
            on_line[False, y].append(x)
        for (key, kind, vertical, at), spans in runs.items():
            for low, high in _merged(spans):
                marks = {low, high} | {v for v in on_line[vertical, at] if low < v < high}
                marks |= set(range(low // STEP * STEP + STEP, high, STEP))
                places = [self.lonlat((at, v) if vertical else (v, at)) for v in sorted(marks)]
                self.roads.append(Road(self.ids(), kind, self.road_names[key], LineString(places)))

    def _make_lanes(self) -> None:
        random = Random(f"lanes {self.seed}")
        for block in self.plan.blocks:
            if block.use == "park":
                land = Polygon([self.ground(v) for v in block.inner.corners()])
                paths = lanes.park(land, [self.ground(door) for door in block.doors], random)
                self._draw_lanes(paths, "path", self.place_names[block.index])
        walls = {
            compound.block: Polygon([self.ground(v) for v in self._wall(compound)])
            for compound in self.plan.compounds
        }
        hamlet_names = {
            letter: names.hamlets(stem, random) for letter, (_, stem) in sorted(self.village_names.items())
        }
        self.hamlets: list[tuple[Name, Block, tuple[float, float], list[int]]] = []
        for block in self.plan.blocks:
            if not block.village:
                continue
            land = Polygon([self.ground(v) for v in self.faces.rings[block.index]])
            doors = [self.ground(door) for door in self.doors[block.index]]
            keep_out = [walls[block.index]] if block.index in walls else []
            letter = self.plan.cells[block.cell]
            for hamlet in lanes.hamlets(land, doors, keep_out, random):
                name = next(hamlet_names[letter])
                for kind, suffix in (("lane", Name("路", " Road")), ("path", Name("村道", " Lane"))):
                    of_kind = [lane for lane in hamlet.lanes if lane.kind == kind]
                    self._draw_lanes(of_kind, kind, Name(name.zh + suffix.zh, name.en + suffix.en))
                touched = sorted(
                    {self._junction_at[lonlat(*lane.points[e])] for lane in hamlet.lanes for e in (0, -1)}
                )
                self.hamlets.append((name, block, lonlat(*hamlet.centre), touched))

    def _draw_lanes(self, pieces: list[lanes.Lane], kind: str, name: Name) -> None:
        """Add lanes that were drawn on the ground to the net, and draw them in lines as long as may be."""
        lines = [[lonlat(*point) for point in piece.points] for piece in pieces]
        for line in lines:
            self._way(kind, name, line)
        if lines:
            merged = shapely.line_merge(shapely.multilinestrings([LineString(line) for line in lines]))
            for part in getattr(merged, "geoms", [merged]):
                self.roads.append(Road(self.ids(), kind, name, part))

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
        self.dropped_ways = sum(way.start not in reached for way in self.ways)
        self.ways = [
            Way(renumbered[w.start], renumbered[w.end], w.kind, w.name, w.points, w.length_m)
            for w in self.ways
            if w.start in reached
        ]
        self.junctions = [self.junctions[old] for old in kept]
        self._junction_at = {place: index for index, place in enumerate(self.junctions)}
        reached_places = set(self.junctions)
        self.roads = [
            road for road in self.roads if any(place in reached_places for place in road.line.coords)
        ]
        self.hamlets = [
            (name, block, centre, [renumbered[j] for j in touched if j in renumbered])
            for name, block, centre, touched in self.hamlets
        ]

    def _draw_water(self) -> None:
        """The river, as wide as it is, and creeks along the bounds of the villages' land."""
        rows = self.plan.rows
        for offset in range(-RIVER_HALF_WIDTH_M + 6, RIVER_HALF_WIDTH_M, 10):
            ys = [rows[0], *range(rows[0] // STEP * STEP + STEP, rows[-1], STEP), rows[-1]]
            self._water(names.RIVER, [self.lonlat((offset, y)) for y in ys])
        random = Random(f"water {self.seed}")
        stems = [stem for _, stem in self.village_names.values()]
        walled = [compound.outer for compound in self.plan.compounds]
        for vertical in (True, False):
            bounds = self.plan.columns if vertical else self.plan.rows
            across = self.plan.rows if vertical else self.plan.columns
            for index in range(len(bounds) - 1):
                at = bounds[index] + int(
                    (bounds[index + 1] - bounds[index]) * random.choice((0.22, 0.3, 0.7, 0.78))
                )
                run: list[tuple[int, int]] = []
                for other in range(len(across) - 1):
                    cell = (index, other) if vertical else (other, index)
                    if self.plan.cells.get(cell, "U") != "U" and random.random() < 0.86:
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
                        points.append(lonlat(*self.plan.paper.ground(x, y)))
                    stem = random.choice(stems)
                    self._water(Name(f"{stem.zh}河", f"{stem.en} Creek"), points)

    def _water(self, name: Name, points: list[tuple[float, float]]) -> None:
        inside = shapely.intersection(LineString(points), self.areas[0].polygon, grid_size=1e-7)
        for line in getattr(inside, "geoms", [inside]):
            if line.geom_type == "LineString" and not line.is_empty:
                self.roads.append(Road(self.ids(), "water", name, line))

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def _make_checkpoints(self) -> None:
        """Gates and courts of compounds, places of the villages, the river walk, and junctions of streets."""
        random = Random(f"checkpoints {self.seed}")
        self.checkpoints: list[Checkpoint] = []
        self._used_names: set[str] = set()
        self._near: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
        leaves = [area for area in self.areas if area.kind in ("grid", "compound")]
        self._leaves = leaves
        self._junction_tree = STRtree([Point(place) for place in self.junctions])
        self._leaf_tree = STRtree([area.polygon for area in leaves])
        for compound in self.plan.compounds:
            self._compound_checkpoints(compound, random)
        self._village_checkpoints(random)
        self._street_checkpoints(random)
        assert len(self.checkpoints) == CHECKPOINTS, len(self.checkpoints)

    def _checkpoint(self, junction: int, name: Name, area: Area | None = None) -> bool:
        lon, lat = self.junctions[junction]
        x, y = metres(lon, lat)
        square = (int(x // 32), int(y // 32))
        near = (
            place
            for dx in (-1, 0, 1)
            for dy in (-1, 0, 1)
            for place in self._near[square[0] + dx, square[1] + dy]
        )
        if (
            any(math.dist((x, y), place) < 32 for place in near)
            or name.zh in self._used_names
            or len(self.checkpoints) == CHECKPOINTS
        ):
            return False
        self._used_names.add(name.zh)
        self._near[square].append((x, y))
        if area is None:
            point = Point(lon, lat)
            hits = sorted(int(i) for i in self._leaf_tree.query(point, predicate="intersects"))
            area = self._leaves[hits[0]]
        number = len(self.checkpoints) + 1
        self.checkpoints.append(Checkpoint(self.ids(), area.id, f"D{number:03}", name, lon, lat, junction))
        return True

    def _compound_checkpoints(self, compound: CompoundPlan, random: Random) -> None:
        area = self.compound_areas[compound.index]
        directions = {"n": ("北", "North"), "s": ("南", "South"), "e": ("东", "East"), "w": ("西", "West")}
        for gate in compound.gates:
            zh, en = directions[gate.side]
            junction = self._junction_at[self.lonlat(gate.wall)]
            self._checkpoint(junction, Name(f"{area.name.zh}{zh}门", f"{area.name.en}, {en} Gate"), area)
        inside = self._junctions_inside(area)
        wanted = 1 + (compound.outer.area > 45_000)
        of_area = [b for b in self.buildings if b.area_id == area.id]
        placed = 0
        for junction in random.sample(inside, len(inside)):
            if placed == wanted:
                break
            place = Point(self.junctions[junction])
            nearest = min(of_area, key=lambda b: (b.polygon.distance(place), b.number))
            name = Name(f"{area.name.zh}{nearest.number}号楼", f"{area.name.en}, Building {nearest.number}")
            placed += self._checkpoint(junction, name, area)

    def _junctions_inside(self, area: Area) -> list[int]:
        hits = self._junction_tree.query(area.polygon, predicate="contains_properly")
        return sorted(int(j) for j in hits)

    def _village_checkpoints(self, random: Random) -> None:
        things = (
            Name("村口", "Entrance"), Name("土地庙", "Earth God Temple"), Name("水泵站", "Pumping Station"),
            Name("晒谷场", "Threshing Ground"), Name("健身苑", "Exercise Ground"), Name("仓库", "Warehouse"),
            Name("小桥", "Footbridge"), Name("变压器", "Transformer"), Name("出租房片", "Rented Houses"),
            Name("鱼塘", "Fish Pond"), Name("大棚", "Greenhouses"), Name("公厕", "Public Toilet"),
        )  # fmt: skip
        centres: set[str] = set()
        for name, block, centre, touched in self.hamlets:
            letter = self.plan.cells[block.cell]
            village, _ = self.village_names[letter]
            ranked = sorted(touched, key=lambda j: distance_m(self.junctions[j], centre))
            if letter not in centres and ranked:
                centres.add(letter)
                self._checkpoint(ranked[0], Name(f"{village.zh}村委会", f"{village.en} Committee"))
                ranked = ranked[1:]
            picked = random.sample(ranked, min(len(ranked), 2))
            for junction, thing in zip(picked, random.sample(things, 2), strict=False):
                self._checkpoint(junction, Name(f"{name.zh}{thing.zh}", f"{name.en}, {thing.en}"))

    def _street_checkpoints(self, random: Random) -> None:
        """Bridges first, then junctions of named roads, evenly over the town, until there are 920."""
        roads_at: dict[int, list[Way]] = defaultdict(list)
        for way in self.ways:
            if way.kind in ("arterial", "street", "lane"):
                roads_at[way.start].append(way)
                roads_at[way.end].append(way)
        named: list[tuple[int, Name]] = []
        for junction, ways in sorted(roads_at.items()):
            distinct = sorted({way.name for way in ways}, key=lambda name: name.zh)
            if len(distinct) < 2:
                continue
            a, b = distinct[:2]
            banks = [name for name in distinct if name.zh.startswith("云泾")]
            if banks and len(ways) > 3:
                other = next(name for name in distinct if name not in banks)
                side = Name("西桥头", "West End") if "西" in banks[0].zh else Name("东桥头", "East End")
                named.append((junction, Name(f"{other.zh}桥{side.zh}", f"{other.en} Bridge, {side.en}")))
            else:
                named.append((junction, Name(f"{a.zh}{b.zh}路口", f"{a.en} and {b.en}")))
        for junction, name in named:
            if "桥头" in name.zh:
                self._checkpoint(junction, name)
        for block in self.plan.blocks:
            for door in block.doors[:1]:
                name = self.place_names[block.index]
                self._checkpoint(
                    self._junction_at[self.lonlat(door)], Name(f"{name.zh}门口", f"{name.en}, Entrance")
                )
        random.shuffle(named)
        for junction, name in named:
            if "桥头" not in name.zh:
                self._checkpoint(junction, name)
        # What is still missing stands at other junctions of streets, in seeds whose town is small.
        spots = (
            ("公交站", "Bus Stop"),
            ("停车场", "Car Park"),
            ("便民服务点", "Service Point"),
            ("微型消防站", "Fire Post"),
        )
        spare = sorted(roads_at)
        random.shuffle(spare)
        for junction in spare:
            way = min(roads_at[junction], key=lambda w: w.name.zh)
            zh, en = random.choice(spots)
            self._checkpoint(junction, Name(f"{way.name.zh}{zh}", f"{way.name.en} {en}"))


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that touch, joined."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return joined


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
