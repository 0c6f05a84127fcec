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
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from uuid import UUID

import shapely
from shapely import LineString, Polygon

from backend.demo.names import TOWN, Name
from backend.demo.people import Department, Person, populate

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
    # These build what is declared here.
    from backend.demo.areas import Areas
    from backend.demo.checkpoints import Checkpoints
    from backend.demo.ground import Ground
    from backend.demo.labels import Labels
    from backend.demo.net import Net

    ids = Ids(seed)
    ground = Ground(seed)
    labels = Labels(ground.plan, seed)
    areas = Areas(ground, labels, ids)
    net = Net(ground, labels, ids, areas.areas[0].polygon)
    checkpoints = Checkpoints(ground, labels, ids, areas, net)
    return Town(
        seed=seed,
        id=areas.town_id,
        code="YJ",
        name=TOWN,
        centre=CENTRE,
        bounds=areas.areas[0].polygon.bounds,
        areas=tuple(areas.areas),
        roads=tuple(net.roads),
        junctions=tuple(net.junctions),
        ways=tuple(net.ways),
        checkpoints=tuple(checkpoints.checkpoints),
        buildings=tuple(areas.buildings),
        **populate(seed, ids, areas.areas, areas.buildings),
    )


class Ids:
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
