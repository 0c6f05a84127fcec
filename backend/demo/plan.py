"""The ground plan of the demo town: which block lies where, which ways run between them, and how it is bent.

The plan is drawn twice. First on squared paper: blocks are rectangles with whole-number corners and ways are straight,
so that "these two share an edge" and "these two ways cross here" are exact and need no tolerance. Then every point of
the paper is moved by one smooth function of its place (:class:`Paper`), which turns the grid, lets the river meander
and makes country lanes wander. A point has one image, so whatever touched on the paper still touches on the ground.

The skeleton (``MAP``) was drawn by hand after towns of the Shanghai suburbs: a dense core on a river, quarters of large
gated compounds around it, villages at the rim. The seed shapes everything below that: widths, streets, blocks, bends.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from backend.demo.faces import Faces
from backend.demo.paper import STEP, Block, Paper, Rect, Vertex

# North is up. U is a square of town, a letter a square of that village, a dot is not ours. The river runs between
# the fifth and the sixth column. Squares of one village must not touch at a corner alone.
MAP = (
    "..aaUUU....",
    ".aaUUUUUbb.",
    "caUUUUUUbb.",
    "ccUUUUUUUbd",
    "cUUUUUUUUdd",
    "eeUUUUUUfdd",
    ".eeUUUfffgg",
    ".hhiijjfgg.",
    "..hiijj....",
)
OLD_TOWN = {(4, 4), (4, 5), (5, 4)}
"""Squares (column, row from the south) of the old market town beside the bridge: small blocks, narrow lanes."""

_COLUMN_WIDTHS = (820, 780, 700, 660, 620, 640, 660, 700, 740, 800, 780)
_ROW_HEIGHTS = (780, 760, 720, 640, 600, 620, 660, 720, 700)
RIVER_COLUMN = 5
_RIVER_ROW = 4
BANK = 45
"""Distance of the roads along the river from its middle."""
RIVER_HALF_WIDTH_M = 26
_ARTERIAL_COLUMNS = {2, 4, 7, 9}
_ARTERIAL_ROWS = {2, 4, 6, 8}
COMMITTEES = 85
COMPOUNDS = 112
_VILLAGE_COMPOUNDS = 5

USES = (
    "park",
    "primary_school",
    "kindergarten",
    "middle_school",
    "market",
    "plaza",
    "offices",
    "works",
    "clinic",
)
_USE_WEIGHTS = (14, 10, 10, 7, 10, 16, 14, 16, 6)
_THROUGH = {"market", "plaza", "offices", "works"}

# How far a compound's wall stands back from the middle of the way beside it.
_SETBACK = {"arterial": 30, "street": 20, "lane": 13, "path": 9, None: 24}


@dataclass(slots=True)
class Line:
    """A straight way on the paper. ``key`` names the road that it is a piece of."""

    vertical: bool
    at: int
    low: int
    high: int
    kind: str
    key: str
    stops: set[int] = field(default_factory=set)
    """Places along the line that must become junctions, besides crossings and ends."""


@dataclass(slots=True)
class Gate:
    """A gate in a compound's wall; ``wall`` lies on it, ``inside`` on the compound's ring path."""

    side: str
    wall: Vertex
    inside: Vertex
    street: Vertex


@dataclass(slots=True)
class CompoundPlan:
    """A gated compound: a rectangle, often with one corner cut out for shops, with paths, gates and buildings."""

    index: int
    block: int
    community: int
    outer: Rect
    notch: tuple[str, int, int] | None
    towers: bool
    gates: list[Gate] = field(default_factory=list)
    buildings: list[Rect] = field(default_factory=list)

    def wall(self, inset: int = 0) -> list[Vertex]:
        """The wall, or the line ``inset`` metres inside it, counter-clockwise."""
        r = Rect(self.outer.x0 + inset, self.outer.y0 + inset, self.outer.x1 - inset, self.outer.y1 - inset)
        if self.notch is None:
            return list(r.corners())
        corner, w, h = self.notch
        sw, se, ne, nw = r.corners()
        if corner == "sw":
            return [(r.x0 + w, r.y0), se, ne, nw, (r.x0, r.y0 + h), (r.x0 + w, r.y0 + h)]
        if corner == "se":
            return [sw, (r.x1 - w, r.y0), (r.x1 - w, r.y0 + h), (r.x1, r.y0 + h), ne, nw]
        if corner == "ne":
            return [sw, se, (r.x1, r.y1 - h), (r.x1 - w, r.y1 - h), (r.x1 - w, r.y1), nw]
        return [sw, se, ne, (r.x0 + w, r.y1), (r.x0 + w, r.y1 - h), (r.x0, r.y1 - h)]

    def span_at_y(self, y: int, inset: int) -> tuple[int, int]:
        """West and east end of the compound at a height ``y``, ``inset`` metres inside the wall."""
        x0, x1 = self.outer.x0 + inset, self.outer.x1 - inset
        if self.notch is not None:
            corner, w, h = self.notch
            if (y < self.outer.y0 + h + inset) if corner[0] == "s" else (y > self.outer.y1 - h - inset):
                if corner[1] == "w":
                    x0 += w
                else:
                    x1 -= w
        return x0, x1

    def span_at_x(self, x: int, inset: int) -> tuple[int, int]:
        """South and north end of the compound at ``x``, ``inset`` metres inside the wall."""
        y0, y1 = self.outer.y0 + inset, self.outer.y1 - inset
        if self.notch is not None:
            corner, w, h = self.notch
            if (x < self.outer.x0 + w + inset) if corner[1] == "w" else (x > self.outer.x1 - w - inset):
                if corner[0] == "s":
                    y0 += h
                else:
                    y1 -= h
        return y0, y1


@dataclass(frozen=True, slots=True)
class Stretch:
    """A way between two junctions, on the paper."""

    start: Vertex
    end: Vertex
    points: tuple[Vertex, ...]
    kind: str
    key: str


class Plan:
    """Blocks, ways and compounds of one town, on the paper."""

    def __init__(self, seed: int) -> None:
        self._random = Random(f"plan {seed}")
        self.columns = _cumulate(_COLUMN_WIDTHS, RIVER_COLUMN, self._random)
        self.rows = _cumulate(_ROW_HEIGHTS, _RIVER_ROW, self._random)
        self.cells: dict[tuple[int, int], str] = {
            (column, len(MAP) - 1 - from_north): letter
            for from_north, line in enumerate(MAP)
            for column, letter in enumerate(line)
            if letter != "."
        }
        self.blocks: list[Block] = []
        self.lines: list[Line] = []
        self.compounds: list[CompoundPlan] = []
        self.villages = sorted({letter for letter in self.cells.values() if letter != "U"})
        self._draw_main_ways()
        self._cut_into_blocks()
        self._vary_communities()
        self._place_compounds()
        self._use_the_rest()
        self.paper = Paper(
            Random(f"paper {seed}"), [self._rect(c).centre for c in self.cells if self.cells[c] == "U"]
        )

    # --- ways that cross the whole town -------------------------------------------------------------------------

    def _rect(self, cell: tuple[int, int]) -> Rect:
        column, row = cell
        return Rect(self.columns[column], self.rows[row], self.columns[column + 1], self.rows[row + 1])

    def _draw_main_ways(self) -> None:
        random = self._random
        for i in range(1, len(self.columns) - 1):
            if i == RIVER_COLUMN:
                continue
            for row in range(len(MAP)):
                kind = self._main_kind((i - 1, row), (i, row), arterial=i in _ARTERIAL_COLUMNS)
                if kind:
                    self._add(True, self.columns[i], self.rows[row], self.rows[row + 1], kind, f"x{i}")
        for j in range(1, len(self.rows) - 1):
            arterial = j in _ARTERIAL_ROWS
            # The market street (row line 5) has the old bridge; of the other streets about half cross the river.
            bridged = arterial or j == 5 or random.random() < 0.4
            for column in range(len(MAP[0])):
                kind = self._main_kind((column, j - 1), (column, j), arterial=arterial)
                if not kind:
                    continue
                low, high = self.columns[column], self.columns[column + 1]
                if not bridged and column == RIVER_COLUMN - 1:
                    high = -BANK
                if not bridged and column == RIVER_COLUMN:
                    low = BANK
                self._add(False, self.rows[j], low, high, kind, f"y{j}")
        for row in range(len(MAP)):
            low, high = self.rows[row], self.rows[row + 1]
            if row == 0:
                low += 60
            if row == len(MAP) - 1:
                high -= 60
            for side in (-1, 1):
                cell = (RIVER_COLUMN if side > 0 else RIVER_COLUMN - 1, row)
                kind = "street" if self.cells.get(cell) == "U" else "lane"
                self._add(True, side * BANK, low, high, kind, "bank east" if side > 0 else "bank west")

    def _main_kind(self, a: tuple[int, int], b: tuple[int, int], *, arterial: bool) -> str | None:
        sides = {self.cells.get(a), self.cells.get(b)}
        if None in sides:
            return None
        if arterial:
            return "arterial"
        if "U" in sides:
            return "street"
        return "lane" if self._random.random() < 0.62 else None

    def _add(self, vertical: bool, at: int, low: int, high: int, kind: str, key: str) -> Line:
        line = Line(vertical, at, low, high, kind, key)
        self.lines.append(line)
        return line

    # --- blocks and communities ----------------------------------------------------------------------------------

    def _cut_into_blocks(self) -> None:
        random = self._random
        urban = sorted(cell for cell, letter in self.cells.items() if letter == "U")
        shares = self._committees_per_cell(urban)
        middle_x = self._continuous_middles(urban, by_column=True)
        middle_y = self._continuous_middles(urban, by_column=False)
        community = 0
        for cell in urban:
            rect = self._rect(cell)
            if cell[0] == RIVER_COLUMN - 1:
                rect = Rect(rect.x0, rect.y0, -BANK, rect.y1)
            if cell[0] == RIVER_COLUMN:
                rect = Rect(BANK, rect.y0, rect.x1, rect.y1)
            target = random.randint(120, 150) if cell in OLD_TOWN else random.randint(270, 420)
            count = shares[cell]
            for rect_of_block, number in self._cut(
                cell, rect, target, count, 0, middle_x.get(cell), middle_y.get(cell)
            ):
                self._block(cell, rect_of_block, community + number, village=False)
            community += count
        for letter in self.villages:
            for cell in sorted(cell for cell, of in self.cells.items() if of == letter):
                self._block(cell, self._rect(cell), community, village=True)
            community += 1

    def _committees_per_cell(self, urban: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
        """How many committees share a square: more near the old town, one or two at the rim; 85 in all."""
        shares = {}
        for column, row in urban:
            distance = math.hypot(column - 4.4, row - 4.5)
            shares[column, row] = (
                4 if (column, row) in OLD_TOWN else 3 if distance < 1.6 else 2 if distance < 3.1 else 1
            )
        order = sorted(urban, key=lambda cell: (math.hypot(cell[0] - 4.4, cell[1] - 4.5), cell))
        while sum(shares.values()) != COMMITTEES:
            if sum(shares.values()) < COMMITTEES:
                cell = self._random.choice([cell for cell in order if shares[cell] <= 2])
                shares[cell] += 1
            else:
                cell = self._random.choice([cell for cell in order if 1 < shares[cell] < 4])
                shares[cell] -= 1
        return shares

    def _continuous_middles(
        self, urban: list[tuple[int, int]], *, by_column: bool
    ) -> dict[tuple[int, int], int]:
        """Streets halfway between the main ways, that run on straight over several squares where they exist."""
        random = self._random
        middles: dict[tuple[int, int], int] = {}
        bounds = self.columns if by_column else self.rows
        lanes: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for cell in urban:
            lanes[cell[0] if by_column else cell[1]].append(cell)
        for index, cells in sorted(lanes.items()):
            low, high = bounds[index], bounds[index + 1]
            for cell in sorted(cells, key=lambda c: c[1] if by_column else c[0]):
                previous = (cell[0], cell[1] - 1) if by_column else (cell[0] - 1, cell[1])
                if previous not in middles or random.random() < 0.18:
                    at = low + int((high - low) * random.uniform(0.4, 0.6))
                else:
                    at = middles[previous]
                if random.random() < 0.86:
                    middles[cell] = at
        return middles

    def _cut(
        self,
        cell: tuple[int, int],
        rect: Rect,
        target: int,
        count: int,
        depth: int,
        middle_x: int | None,
        middle_y: int | None,
    ) -> Iterator[tuple[Rect, int]]:
        """Cut a rectangle into blocks and deal them to ``count`` committees; each gets neighbours of one another."""
        random = self._random
        big = max(rect.width, rect.height) > target * random.uniform(0.92, 1.25)
        if count == 1 and not big:
            yield rect, 0
            return
        inside_x = middle_x is not None and rect.x0 + 80 < middle_x < rect.x1 - 80
        inside_y = middle_y is not None and rect.y0 + 80 < middle_y < rect.y1 - 80
        if inside_x and (not inside_y or rect.width >= rect.height):
            vertical, at, kind = True, middle_x, "street"
        elif inside_y:
            vertical, at, kind = False, middle_y, "street"
        else:
            vertical = rect.width > rect.height
            low, size = (rect.x0, rect.width) if vertical else (rect.y0, rect.height)
            at = low + int(size * random.uniform(0.38, 0.62))
            kind = "street" if depth == 0 else "lane"
        assert at is not None
        low, high = (rect.y0, rect.y1) if vertical else (rect.x0, rect.x1)
        if kind == "street":
            key = f"mx {cell[0]} {at}" if vertical else f"my {cell[1]} {at}"
        else:
            key = f"l {cell[0]} {cell[1]} {'v' if vertical else 'h'} {at} {low}"
        self._add(vertical, at, low, high, kind, key)
        if vertical:
            one, two = Rect(rect.x0, rect.y0, at, rect.y1), Rect(at, rect.y0, rect.x1, rect.y1)
        else:
            one, two = Rect(rect.x0, rect.y0, rect.x1, at), Rect(rect.x0, at, rect.x1, rect.y1)
        if count == 1:
            first = 0
        else:
            first = min(count - 1, max(1, round(count * one.area / rect.area)))
        for part, number, offset in (
            (one, max(first, 1), 0),
            (two, max(count - first, 1) if count > 1 else 1, first),
        ):
            for block, of in self._cut(cell, part, target, number, depth + 1, middle_x, middle_y):
                yield block, of + offset

    def _block(self, cell: tuple[int, int], inner: Rect, community: int, *, village: bool) -> None:
        ground = inner
        if not village and inner.x1 == -BANK:
            ground = Rect(inner.x0, inner.y0, 0, inner.y1)
        if not village and inner.x0 == BANK:
            ground = Rect(0, inner.y0, inner.x1, inner.y1)
        self.blocks.append(Block(len(self.blocks), cell, ground, inner, community, village))

    def _vary_communities(self) -> None:
        """Hand some blocks over an avenue to the neighbouring committee, because real bounds are not squares."""
        random = self._random
        faces = Faces(self.blocks)
        members: dict[int, set[int]] = defaultdict(set)
        for block in self.blocks:
            members[block.community].add(block.index)
        neighbours = faces.neighbours()
        candidates = [block for block in self.blocks if not block.village]
        moved = 0
        for block in random.sample(candidates, len(candidates)):
            if moved == 24:
                break
            own = members[block.community]
            others = sorted(
                {
                    self.blocks[n].community
                    for n in neighbours[block.index]
                    if not self.blocks[n].village and self.blocks[n].cell != block.cell
                }
                - {block.community}
            )
            if len(own) < 3 or not others:
                continue
            other = random.choice(others)
            if len(members[other]) > 6:
                continue
            if faces.is_one_ring(own - {block.index}) and faces.is_one_ring(members[other] | {block.index}):
                own.discard(block.index)
                members[other].add(block.index)
                block.community = other
                moved += 1

    # --- compounds -----------------------------------------------------------------------------------------------

    def way_at(self, *, vertical: bool, at: int, along: int) -> Line | None:
        """The way that runs through a point of the paper in the given direction, if there is one."""
        for line in self.lines:
            if line.vertical == vertical and line.at == at and line.low <= along <= line.high:
                return line
        return None

    def _buildable(self, block: Block) -> tuple[Rect, dict[str, bool]]:
        """What is left of a block behind the setbacks, and on which sides a way passes."""
        r = block.inner
        cx, cy = (r.x0 + r.x1) // 2, (r.y0 + r.y1) // 2
        ways = {
            "w": self.way_at(vertical=True, at=r.x0, along=cy),
            "e": self.way_at(vertical=True, at=r.x1, along=cy),
            "s": self.way_at(vertical=False, at=r.y0, along=cx),
            "n": self.way_at(vertical=False, at=r.y1, along=cx),
        }
        back = {side: _SETBACK[way.kind if way else None] for side, way in ways.items()}
        return (
            Rect(r.x0 + back["w"], r.y0 + back["s"], r.x1 - back["e"], r.y1 - back["n"]),
            {side: way is not None for side, way in ways.items()},
        )

    def _place_compounds(self) -> None:
        random = self._random
        by_community: dict[int, list[Block]] = defaultdict(list)
        for block in self.blocks:
            if not block.village:
                by_community[block.community].append(block)
        first: list[Block] = []
        spare: list[Block] = []
        for _, blocks in sorted(by_community.items()):
            ranked = sorted(blocks, key=lambda b: (-self._roominess(b), b.index))
            first.append(ranked[0])
            spare.extend(block for block in ranked[1:] if self._roominess(block) > 110)
        wanted = COMPOUNDS - _VILLAGE_COMPOUNDS - len(first)
        spare.sort(key=lambda b: (-self._roominess(b) * random.uniform(0.7, 1.3), b.index))
        chosen = sorted(first + spare[:wanted], key=lambda b: b.index)
        for block in chosen:
            block.use = "homes"
            outer, sides = self._buildable(block)
            self._compound(block, outer, sides)
        for letter in random.sample(self.villages, _VILLAGE_COMPOUNDS):
            self._village_compound(letter)
        assert len(self.compounds) == COMPOUNDS, len(self.compounds)

    def _roominess(self, block: Block) -> float:
        rect, _ = self._buildable(block)
        return min(rect.width, rect.height, 0.7 * max(rect.width, rect.height))

    def _compound(self, block: Block, outer: Rect, sides: dict[str, bool]) -> None:
        random = self._random
        notch = None
        if min(outer.width, outer.height) > 170 and random.random() < 0.45:
            notch = (
                random.choice(("sw", "se", "ne", "nw")),
                int(outer.width * random.uniform(0.22, 0.36)),
                int(outer.height * random.uniform(0.2, 0.34)),
            )
        towers = min(outer.width, outer.height) > 150 and random.random() < 0.35
        plan = CompoundPlan(len(self.compounds), block.index, block.community, outer, notch, towers)
        self.compounds.append(plan)
        self._lay_out(plan, block.inner, sides)

    def _village_compound(self, letter: str) -> None:
        """A compound for farmers whose houses made way: at a main way of their village's land."""
        random = self._random
        options = []
        for block in self.blocks:
            if block.village and self.cells[block.cell] == letter:
                r = block.inner
                cx = (r.x0 + r.x1) // 2
                for side, at in (("s", r.y0), ("n", r.y1)):
                    way = self.way_at(vertical=False, at=at, along=cx)
                    if way is not None:
                        options.append((way.kind != "arterial", block.index, side))
        _rank, index, side = min(options)
        block = self.blocks[index]
        r = block.inner
        width, height = random.randint(230, 280), random.randint(200, 240)
        x0 = r.x0 + (r.width - width) // 2 + random.randint(-60, 60)
        way_y = r.y0 if side == "s" else r.y1
        y0 = way_y + 34 if side == "s" else way_y - 34 - height
        outer = Rect(x0, y0, x0 + width, y0 + height)
        plan = CompoundPlan(len(self.compounds), block.index, block.community, outer, None, towers=False)
        self.compounds.append(plan)
        self._lay_out(plan, r, {"n": side == "n", "s": side == "s", "e": False, "w": False})

    def _lay_out(self, plan: CompoundPlan, inner: Rect, sides: dict[str, bool]) -> None:
        """Paths, gates and buildings. Rows of flats face south, as everybody in the region wants them to."""
        random = self._random
        key = f"c {plan.index}"
        ring = plan.wall(10)
        for (xa, ya), (xb, yb) in zip(ring, ring[1:] + ring[:1], strict=True):
            if xa == xb:
                self._add(True, xa, min(ya, yb), max(ya, yb), "path", key)
            else:
                self._add(False, ya, min(xa, xb), max(xa, xb), "path", key)
        r = plan.outer
        small = min(r.width, r.height) < 130
        pitch = random.randint(58, 70) if plan.towers else random.randint(40, 48)
        depth = random.randint(18, 24) if plan.towers else random.randint(12, 14)
        if small:
            pitch, depth = random.randint(28, 32), random.randint(10, 12)
        rows = max(1, round((r.height - 20) / pitch))
        ys = [r.y0 + 10 + round(k * (r.height - 20) / rows) for k in range(rows + 1)]
        spine = r.x0 + int(r.width * random.uniform(0.42, 0.58))
        notch_cuts_spine = plan.span_at_x(spine, 10) != (r.y0 + 10, r.y1 - 10)
        if notch_cuts_spine:
            spine = r.x0 + r.width // 2
        south, north = plan.span_at_x(spine, 10)
        self._add(True, spine, south, north, "path", key)
        for y in ys[1:-1]:
            west, east = plan.span_at_y(y, 10)
            # The notch's own stretch of ring already runs here.
            if not any(line.at == y and not line.vertical and line.key == key for line in self.lines[-40:]):
                self._add(False, y, west, east, "path", key)
        for low, high in itertools.pairwise(ys):
            self._row_of_buildings(plan, low, high, depth, spine)
        self._gates(plan, inner, sides, ys, spine)

    def _row_of_buildings(self, plan: CompoundPlan, low: int, high: int, depth: int, spine: int) -> None:
        random = self._random
        y0 = low + (high - low - depth) // 2 + 2
        y1 = y0 + depth
        small = min(plan.outer.width, plan.outer.height) < 130
        aside = 4 if small else 8
        west = max(plan.span_at_y(low + 1, 10)[0], plan.span_at_y(high - 1, 10)[0]) + aside
        east = min(plan.span_at_y(low + 1, 10)[1], plan.span_at_y(high - 1, 10)[1]) - aside
        for x0, x1 in ((west, spine - aside), (spine + aside, east)):
            room = x1 - x0
            if room < (7 if small else 24):
                continue
            length = random.randint(26, 34) if plan.towers else random.randint(46, 66)
            gap = random.randint(16, 24) if plan.towers else random.randint(9, 14)
            if small:
                length, gap = random.randint(18, 34), random.randint(5, 8)
            count = max(1, round((room + gap) / (length + gap)))
            each = (room + gap) / count
            for k in range(count):
                a, b = round(x0 + k * each), round(x0 + (k + 1) * each - gap)
                if b - a >= (6 if small else 18):
                    plan.buildings.append(Rect(a, y0, b, y1))

    def _gates(
        self, plan: CompoundPlan, inner: Rect, sides: dict[str, bool], ys: list[int], spine: int
    ) -> None:
        random = self._random
        r = plan.outer
        key = f"c {plan.index}"
        ring_y = plan.span_at_x(spine, 10)
        options: list[Gate] = []
        if sides["s"] and ring_y[0] == r.y0 + 10:
            options.append(Gate("s", (spine, r.y0), (spine, r.y0 + 10), (spine, inner.y0)))
        if sides["n"] and ring_y[1] == r.y1 - 10:
            options.append(Gate("n", (spine, r.y1), (spine, r.y1 - 10), (spine, inner.y1)))
        middle = ys[len(ys) // 2] if len(ys) > 2 else (r.y0 + r.y1) // 2
        west, east = plan.span_at_y(middle, 10)
        if sides["w"] and west == r.x0 + 10:
            options.append(Gate("w", (r.x0, middle), (r.x0 + 10, middle), (inner.x0, middle)))
        if sides["e"] and east == r.x1 - 10:
            options.append(Gate("e", (r.x1, middle), (r.x1 - 10, middle), (inner.x1, middle)))
        options = [
            gate
            for gate in options
            if self.way_at(
                vertical=gate.side in "ew",
                at=gate.street[0] if gate.side in "ew" else gate.street[1],
                along=gate.street[1] if gate.side in "ew" else gate.street[0],
            )
        ]
        assert options, f"Compound {plan.index} has no way to a street."
        wanted = 1 if r.area < 20_000 else random.choice((2, 2, 3))
        plan.gates = (
            options if len(options) <= wanted else [options[0], *random.sample(options[1:], wanted - 1)]
        )
        for gate in plan.gates:
            if gate.side in "sn":
                low, high = sorted((gate.inside[1], gate.street[1]))
                self._add(True, spine, low, high, "path", key).stops.add(gate.wall[1])
            else:
                low, high = sorted((gate.inside[0], gate.street[0]))
                self._add(False, gate.wall[1], low, high, "path", key).stops.add(gate.wall[0])

    # --- everything that is not homes ----------------------------------------------------------------------------

    def _use_the_rest(self) -> None:
        """Parks, schools, markets and workshops on the blocks without a compound, each with its entrances."""
        random = self._random
        for block in self.blocks:
            if block.village or block.use == "homes" or self._roominess(block) < 40:
                continue
            block.use = random.choices(USES, _USE_WEIGHTS)[0]
            r = block.inner
            if block.use == "park" and min(r.width, r.height) < 130:
                block.use = "plaza"
            x = r.x0 + int(r.width * random.uniform(0.35, 0.65))
            y = r.y0 + int(r.height * random.uniform(0.35, 0.65))
            sides = [
                (way, vertex)
                for way, vertex in (
                    (self.way_at(vertical=False, at=r.y0, along=x), (x, r.y0)),
                    (self.way_at(vertical=False, at=r.y1, along=x), (x, r.y1)),
                    (self.way_at(vertical=True, at=r.x0, along=y), (r.x0, y)),
                    (self.way_at(vertical=True, at=r.x1, along=y), (r.x1, y)),
                )
                if way is not None
            ]
            if block.use in _THROUGH:
                vertical = r.width >= r.height
                ends = [entry for entry in sides if (entry[1][0] == x) == vertical]
                if len(ends) == 2:
                    sides = ends
                    if vertical:
                        self._add(True, x, r.y0, r.y1, "path", f"u {block.index}")
                    else:
                        self._add(False, y, r.x0, r.x1, "path", f"u {block.index}")
            elif block.use != "park":
                sides = random.sample(sides, 1)
            for way, vertex in sides:
                way.stops.add(vertex[1] if way.vertical else vertex[0])
                block.doors.append(vertex)

    # --- the net of ways -----------------------------------------------------------------------------------------

    def stretches(self) -> list[Stretch]:
        """Every way between two junctions. Crossings are exact, because the paper has whole numbers."""
        verticals = sorted(
            (line for line in self.lines if line.vertical), key=lambda line: (line.at, line.low)
        )
        places = [line.at for line in verticals]
        stops = {id(line): {line.low, line.high} | line.stops for line in self.lines}
        for line in self.lines:
            if line.vertical:
                continue
            for crossing in verticals[bisect_left(places, line.low) : bisect_right(places, line.high)]:
                if crossing.low <= line.at <= crossing.high:
                    stops[id(line)].add(crossing.at)
                    stops[id(crossing)].add(line.at)
        found: dict[tuple[Vertex, Vertex], Stretch] = {}
        for line in self.lines:
            along = sorted(stops[id(line)])
            for low, high in itertools.pairwise(along):
                between = range(low // STEP * STEP + STEP, high, STEP)
                points: tuple[Vertex, ...]
                if line.vertical:
                    points = tuple((line.at, v) for v in (low, *between, high))
                else:
                    points = tuple((v, line.at) for v in (low, *between, high))
                found.setdefault(
                    (points[0], points[-1]), Stretch(points[0], points[-1], points, line.kind, line.key)
                )
        return list(found.values())


def _cumulate(sizes: tuple[int, ...], zero: int, random: Random) -> list[int]:
    places = [0]
    for size in sizes:
        places.append(places[-1] + size + random.randint(-35, 35))
    return [place - places[zero] for place in places]
