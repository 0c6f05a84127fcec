"""The areas of the demo town: communities of blocks, compounds in them, and grids of what lies between."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from uuid import UUID

from backend.demo import names
from backend.demo.ground import Ground
from backend.demo.labels import Labels
from backend.demo.names import Name
from backend.demo.paper import Block
from backend.demo.plan import CompoundPlan
from backend.demo.town import Area, Building


class Areas:
    """The tree of areas, parents before children; ``areas[0]`` is the town."""

    def __init__(self, ground: Ground, labels: Labels, ids: Callable[[], UUID]) -> None:
        self._ground, self._labels, self._ids = ground, labels, ids
        self._neighbours = ground.faces.neighbours()
        self.town_id = ids()
        self.areas: list[Area] = []
        self.buildings: list[Building] = []
        self.of_compound: dict[int, Area] = {}
        town = Area(
            self._ids(), None, "town", "town", "YJ", names.TOWN, self._ground.polygon(self._ground.outline)
        )
        self.areas.append(town)
        members: dict[int, list[Block]] = defaultdict(list)
        for block in self._ground.plan.blocks:
            members[block.community].append(block)
        compounds_in: dict[int, list[CompoundPlan]] = defaultdict(list)
        for compound in self._ground.plan.compounds:
            compounds_in[self._ground.plan.blocks[compound.block].community].append(compound)
        order = sorted(members, key=lambda c: (members[c][0].village, c))
        number = {False: 0, True: 0}
        for community in order:
            blocks = members[community]
            village = blocks[0].village
            number[village] += 1
            if village:
                code = f"YJ-C{number[village]:02}"
                name = self._labels.villages[self._ground.plan.cells[blocks[0].cell]][0]
            else:
                code = f"YJ-J{number[village]:02}"
                biggest = max(compounds_in[community], key=lambda c: (c.outer.area, -c.index))
                home = self._labels.compounds[biggest.index]
                name = Name(f"{home.zh}居委会", f"{home.en} Residents' Committee")
            rings = self._ground.faces.outline(block.index for block in blocks)
            assert len(rings) == 1
            area = Area(
                self._ids(),
                town.id,
                "community",
                "village" if village else "committee",
                code,
                name,
                self._ground.polygon(rings[0]),
            )
            self.areas.append(area)
            self._make_grids(area, blocks)
            self._make_compounds(area, compounds_in[community])

    def _make_grids(self, community: Area, blocks: list[Block]) -> None:
        """Grids tile a community together with its compounds: the streets and fields around the walls."""
        village = blocks[0].village
        stem = community.name
        short_zh = stem.zh.removesuffix("居委会")
        short_en = stem.en.removesuffix(" Residents' Committee")
        for n, part in enumerate(self._grid_parts(blocks), start=1):
            rings = self._ground.faces.outline(part)
            holes = [
                list(reversed(self._ground.wall(compound)))
                for compound in self._ground.plan.compounds
                if compound.block in part
            ]
            grid = Area(
                self._ids(),
                community.id,
                "grid",
                "fields" if village else "streets",
                f"{community.code}-W{n}",
                Name(f"{short_zh}第{n}网格", f"{short_en} Grid {n}"),
                self._ground.polygon(rings[0], holes),
            )
            self.areas.append(grid)

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
                    if self._ground.faces.is_one_ring([*part, index])
                )
                if not border:
                    break
                part.append(border[0])
            left -= set(part)
            parts.append(part)
        return parts

    def _make_compounds(self, community: Area, compounds: list[CompoundPlan]) -> None:
        for n, compound in enumerate(compounds, start=1):
            area = Area(
                self._ids(),
                community.id,
                "compound",
                "homes",
                f"{community.code}-X{n}",
                self._labels.compounds[compound.index],
                self._ground.polygon(self._ground.wall(compound)),
            )
            self.areas.append(area)
            self.of_compound[compound.index] = area
            for number, rect in enumerate(compound.buildings, start=1):
                self.buildings.append(Building(area.id, number, self._ground.polygon(rect.corners())))
