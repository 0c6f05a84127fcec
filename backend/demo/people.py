"""The people of the demo town: officers, desks, handlers and residents, with departments for the handlers.

Phone numbers stand in a range that cannot be anybody's: ``+86 100 ...``. Mainland mobile numbers begin with 13 to 19;
100xx are short service codes of the carriers, so an eleven-digit number that begins with 100 is never assigned and a
message sent to one by mistake reaches nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, TypedDict
from uuid import UUID

from backend.demo import names
from backend.demo.names import Name, PersonName

if TYPE_CHECKING:
    from backend.demo.town import Area, Building

OFFICERS = {"police": 30, "auxiliary": 76, "patrol": 92, "guard": 82, "volunteer": 40}
RESIDENTS = 72
BUILDING_HEADS = 12
_RESIDENT_PHONE = "+861000000"
_STAFF_PHONE = "+861000001"
_COMMUNITIES_PER_DESK = 8


@dataclass(frozen=True, slots=True)
class Department:
    """Who handles things."""

    id: UUID
    kind: str
    name: Name


@dataclass(frozen=True, slots=True)
class Post:
    """A membership: a role within an area or a department."""

    role: str
    area_id: UUID | None = None
    department_id: UUID | None = None
    officer_kind: str | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account. Staff have a login, residents only a phone."""

    id: UUID
    name: PersonName
    login: str | None
    phone: str
    posts: tuple[Post, ...]
    travel: str = "foot"
    """How an officer goes on patrol: foot, e_bike or car."""
    address: str | None = None
    """Where a resident lives, as written on an envelope."""

    @property
    def role(self) -> str:
        return self.posts[0].role


class Population(TypedDict):
    """What :func:`populate` adds to a town."""

    departments: tuple[Department, ...]
    people: tuple[Person, ...]


_DEPARTMENTS = (
    ("police", "派出所", "Police Station", 3),
    ("urban_management", "城管中队", "Urban Management Squad", 3),
    ("grid_centre", "城运中心", "Grid Centre", 4),
    ("property", "物业联合办", "Property Management Office", 3),
    ("fire", "消防救援站", "Fire Station", 2),
    ("water", "水务站", "Water Works Office", 2),
    ("sanitation", "绿化市容所", "Sanitation and Greenery Office", 2),
    ("housing", "房管所", "Housing Office", 2),
)


def populate(
    seed: int, ids: Callable[[], UUID], areas: Sequence[Area], buildings: Sequence[Building]
) -> Population:
    """Departments and people for the areas of a town; the same for the same seed."""
    random = Random(f"people {seed}")
    known = names.people(random)
    town = areas[0]
    communities = [area for area in areas if area.kind == "community"]
    compounds = [area for area in areas if area.kind == "compound"]
    stem_zh, stem_en = town.name.zh.removesuffix("镇"), town.name.en.removesuffix(" Town")
    departments = tuple(
        Department(ids(), kind, Name(stem_zh + zh, f"{stem_en} {en}")) for kind, zh, en, _ in _DEPARTMENTS
    )
    phones = iter(range(1, 10_000))
    people: list[Person] = []

    def staff(login: str | None, posts: tuple[Post, ...], travel: str = "foot") -> None:
        name = next(known)
        people.append(
            Person(ids(), name, login or name.login, f"{_STAFF_PHONE}{next(phones):04}", posts, travel)
        )

    staff("admin", (Post("admin", town.id),))
    staff("supervisor", (Post("supervisor", town.id),))
    staff("desk", (Post("dispatcher", town.id),))
    staff("auditor", (Post("auditor", town.id),))
    for n in range(0, len(communities), _COMMUNITIES_PER_DESK):
        own = communities[n : n + _COMMUNITIES_PER_DESK]
        staff(f"desk{n // _COMMUNITIES_PER_DESK + 1}", tuple(Post("dispatcher", area.id) for area in own))
    for department, (_, _, _, count) in zip(departments, _DEPARTMENTS, strict=True):
        for _ in range(count):
            staff(None, (Post("handler", department_id=department.id),))
    for kind, area, travel in _officer_posts(town, communities, compounds, random):
        staff(None, (Post("officer", area.id, officer_kind=kind),), travel)
    people += _residents(ids, known, compounds, buildings, random)
    return {"departments": departments, "people": tuple(people)}


def _officer_posts(
    town: Area, communities: list[Area], compounds: list[Area], random: Random
) -> list[tuple[str, Area, str]]:
    """Kind, home area and way of going of each officer, mixed so that any first few are all over the town."""
    posts: list[tuple[str, Area, str]] = []
    for kind, count in OFFICERS.items():
        if kind == "guard":
            homes = random.sample(compounds, count)
        else:
            rounds = [
                random.sample(communities, len(communities)) for _ in range(count // len(communities) + 1)
            ]
            homes = [area for one in rounds for area in one][:count]
        for n, home in enumerate(homes):
            if kind == "police":
                # A few patrol cars belong to the whole town; the others are beat officers.
                area, travel = (
                    (town, "car") if n % 5 == 0 else (home, random.choice(("car", "e_bike", "foot")))
                )
            elif kind == "auxiliary":
                area, travel = home, random.choice(("e_bike", "e_bike", "car", "foot"))
            elif kind == "patrol":
                area, travel = home, random.choice(("e_bike", "foot", "foot"))
            else:
                area, travel = home, "foot"
            posts.append((kind, area, travel))
    random.shuffle(posts)
    return posts


def _residents(
    ids: Callable[[], UUID],
    known: object,
    compounds: list[Area],
    buildings: Sequence[Building],
    random: Random,
) -> list[Person]:
    found: list[Person] = []
    for n in range(RESIDENTS):
        area = compounds[n % len(compounds)] if n >= 8 else compounds[0]
        number = random.choice([b.number for b in buildings if b.area_id == area.id] or [1])
        address = f"{area.name.zh}{number}号楼{random.randint(1, 6)}0{random.randint(1, 4)}室"
        posts: tuple[Post, ...] = (Post("resident", area.id),)
        if n % (RESIDENTS // BUILDING_HEADS) == 0:
            posts += (Post("building_head", area.id),)
        name: PersonName = next(known)  # type: ignore[call-overload]
        found.append(Person(ids(), name, None, f"{_RESIDENT_PHONE}{n + 1:04}", posts, address=address))
    return found
