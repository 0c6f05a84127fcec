"""What everything on the plan of the demo town is called."""

from __future__ import annotations

from random import Random

from backend.demo import names
from backend.demo.names import Name
from backend.demo.plan import Plan


class Labels:
    """Names by what they name: roads by the key of their lines, the others by index or letter."""

    def __init__(self, plan: Plan, seed: int) -> None:
        random = Random(f"names {seed}")
        bases = names.roads(random)
        best: dict[str, str] = {}
        rank = {"arterial": 0, "street": 1, "lane": 2, "path": 3}
        for line in plan.lines:
            if line.key not in best or rank[line.kind] < rank[best[line.key]]:
                best[line.key] = line.kind
        homes = names.homes(random)
        self.compounds = [next(homes) for _ in plan.compounds]
        self.roads: dict[str, Name] = {
            "bank west": Name("云泾西岸路", "Yunjing West Bank Road"),
            "bank east": Name("云泾东岸路", "Yunjing East Bank Road"),
        }
        self.places = {
            block.index: names.place(next(bases), block.use) for block in plan.blocks if block.doors
        }
        for key, kind in best.items():
            if key.startswith("c "):
                name = self.compounds[int(key[2:])]
                self.roads[key] = Name(f"{name.zh}内部道路", f"Paths in {name.en}")
            elif key.startswith("u "):
                self.roads[key] = self.places[int(key[2:])]
            elif key not in self.roads:
                self.roads[key] = names.road(next(bases), kind)
        villages = names.villages(random)
        self.villages = {letter: next(villages) for letter in plan.villages}
