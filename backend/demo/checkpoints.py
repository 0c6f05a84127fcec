"""The checkpoints of the demo town: gates and courts of compounds, places of the villages, bridges and junctions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from random import Random
from uuid import UUID

from shapely import Point
from shapely.strtree import STRtree

from backend.demo.areas import Areas
from backend.demo.ground import Ground
from backend.demo.labels import Labels
from backend.demo.names import Name
from backend.demo.net import Net
from backend.demo.plan import CompoundPlan
from backend.demo.town import CHECKPOINTS, Area, Checkpoint, Way, distance_m, metres


class Checkpoints:
    """Places checkpoints at junctions, apart from one another, until there are as many as the reference town has."""

    def __init__(
        self, ground: Ground, labels: Labels, ids: Callable[[], UUID], areas: Areas, net: Net
    ) -> None:
        self._ground, self._labels, self._ids, self._areas, self._net = ground, labels, ids, areas, net
        random = Random(f"checkpoints {ground.seed}")
        self.checkpoints: list[Checkpoint] = []
        self._used_names: set[str] = set()
        self._near: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
        leaves = [area for area in areas.areas if area.kind in ("grid", "compound")]
        self._leaves = leaves
        self._junction_tree = STRtree([Point(place) for place in self._net.junctions])
        self._leaf_tree = STRtree([area.polygon for area in leaves])
        for compound in self._ground.plan.compounds:
            self._compound_checkpoints(compound, random)
        self._village_checkpoints(random)
        self._street_checkpoints(random)
        assert len(self.checkpoints) == CHECKPOINTS, len(self.checkpoints)

    def _checkpoint(self, junction: int, name: Name, area: Area | None = None) -> bool:
        lon, lat = self._net.junctions[junction]
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
        self.checkpoints.append(Checkpoint(self._ids(), area.id, f"D{number:03}", name, lon, lat, junction))
        return True

    def _compound_checkpoints(self, compound: CompoundPlan, random: Random) -> None:
        area = self._areas.of_compound[compound.index]
        directions = {"n": ("北", "North"), "s": ("南", "South"), "e": ("东", "East"), "w": ("西", "West")}
        for gate in compound.gates:
            zh, en = directions[gate.side]
            junction = self._net.junction_at[self._ground.lonlat(gate.wall)]
            self._checkpoint(junction, Name(f"{area.name.zh}{zh}门", f"{area.name.en}, {en} Gate"), area)
        inside = self._junctions_inside(area)
        wanted = 1 + (compound.outer.area > 45_000)
        of_area = [b for b in self._areas.buildings if b.area_id == area.id]
        placed = 0
        for junction in random.sample(inside, len(inside)):
            if placed == wanted:
                break
            place = Point(self._net.junctions[junction])
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
        for hamlet in self._net.hamlets:
            name, centre = hamlet.name, hamlet.centre
            letter = self._ground.plan.cells[hamlet.block.cell]
            village, _ = self._labels.villages[letter]
            ranked = sorted(hamlet.junctions, key=lambda j: distance_m(self._net.junctions[j], centre))
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
        for way in self._net.ways:
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
        for block in self._ground.plan.blocks:
            for door in block.doors[:1]:
                name = self._labels.places[block.index]
                self._checkpoint(
                    self._net.junction_at[self._ground.lonlat(door)],
                    Name(f"{name.zh}门口", f"{name.en}, Entrance"),
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
