"""The rounds of the demo town: a route for each compound and each community that has checkpoints enough, and when some
of them are gone.

Routes go along the ways from checkpoint to checkpoint, each time to the nearest that is left.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from backend.demo.names import Name
from backend.demo.town import Area, Checkpoint, Town, lonlat
from backend.demo.walks import FOOT, Streets

FEWEST = 3
MOST = 10
PACE_MPS = 0.8
"""A round is walked more slowly than a way: one looks around."""
CORRIDOR_M = 60.0
GATE_QUESTIONS: list[dict[str, Any]] = [
    {
        "id": "lock", "text": {"zh-CN": "门禁是否完好？", "en": "Is the gate's lock in order?"}, "answer": "yes_no",
        "choices": [], "required": True,
    },
    {
        "id": "seen", "text": {"zh-CN": "有何异常？", "en": "Anything unusual?"}, "answer": "text", "choices": [],
        "required": False,
    },
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Round:
    """A route: its checkpoints in their order, and the way along them in WGS-84 degrees."""

    name: Name
    area_id: UUID
    sequence: str
    checkpoints: tuple[Checkpoint, ...]
    line: tuple[tuple[float, float], ...]
    allowed_s: int
    corridor_m: float | None


@dataclass(frozen=True, slots=True)
class Times:
    """When a round is planned: a rule in the town's wall time, from ``hour`` of its first day on."""

    name: Name
    rule: str
    hour: int
    late_after_s: int
    window_s: int


ROUND_THE_CLOCK = Times(
    Name("每四小时", "Every four hours"), "FREQ=DAILY;BYHOUR=0,4,8,12,16,20", 0, 5_400, 14_400
)
"""Its windows follow one another, so that whoever tries the demo can always begin one."""
SELDOM = (
    Times(Name("周一周四夜巡", "Monday and Thursday nights"), "FREQ=WEEKLY;BYDAY=MO,TH", 22, 1_800, 7_200),
    Times(Name("周末巡查", "Weekends"), "FREQ=WEEKLY;BYDAY=SA,SU", 10, 1_800, 7_200),
    Times(Name("月末检查", "Last day of the month"), "FREQ=MONTHLY;BYMONTHDAY=-1", 14, 3_600, 14_400),
)


def fence(checkpoint: Checkpoint, area: Area) -> dict[str, Any]:
    """How wide the fence of a checkpoint is, how long one stays, and what is asked there."""
    if area.kind != "compound":
        return {"radius_m": 30.0, "min_dwell_s": 30, "questions": []}
    asked = GATE_QUESTIONS if checkpoint.name.zh.endswith("门") else []
    return {"radius_m": 20.0, "min_dwell_s": 20, "questions": asked}


def rounds_of(town: Town, streets: Streets) -> list[Round]:
    """Return the routes of the town, by area."""
    above: dict[UUID, list[UUID]] = {}
    held: dict[UUID, list[Checkpoint]] = defaultdict(list)
    for area in town.areas:
        above[area.id] = [area.id, *(above[area.parent_id] if area.parent_id else [])]
    for checkpoint in town.checkpoints:
        for area_id in above[checkpoint.area_id]:
            held[area_id].append(checkpoint)
    found: list[Round] = []
    for area in town.areas:
        if area.kind in ("compound", "community") and len(held[area.id]) >= FEWEST:
            made = _round(area, held[area.id], above, streets, number=len(found))
            if made is not None:
                found.append(made)
    return found


def _round(
    area: Area, held: Sequence[Checkpoint], above: dict[UUID, list[UUID]], streets: Streets, *, number: int
) -> Round | None:
    left = sorted(held, key=lambda one: (one.lat, one.lon))
    order, length_m = [left.pop(0)], 0.0
    line = [streets.places[order[0].junction]]
    while left and len(order) < MOST:
        here = streets.places[order[-1].junction]
        nearest = min(left, key=lambda one: math.dist(streets.places[one.junction], here))
        left.remove(nearest)
        way = streets.route(order[-1].junction, nearest.junction, FOOT)
        if way is None:
            continue
        for index, forward in way:
            line += streets.line(index, forward)[1:]
            length_m += streets.ways[index].length_m
        order.append(nearest)
    if len(order) < FEWEST:
        return None
    shared = [one for one in above[order[0].area_id] if all(one in above[point.area_id] for point in order)]
    in_compound = area.kind == "compound"
    seconds = length_m / PACE_MPS + 60 * len(order)
    return Round(
        Name(f"{area.name.zh}巡逻线", f"{area.name.en} Round"),
        shared[0],
        ("any" if in_compound else "fixed") if number % 5 else "shuffled",
        tuple(order),
        tuple(lonlat(*place) for place in line),
        max(900, math.ceil(seconds / 300) * 300),
        None if in_compound else CORRIDOR_M,
    )
