"""A small town to test in: two communities with a compound each, somebody of every role, and the usual kinds of task.

Rows are written by the owner, as an import would, because the application's role may not make towns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from backend.adapters import passwords
from backend.core.identity import Actor, Membership, system_actor
from backend.core.ids import new_id
from backend.core.uow import unit_of_work
from backend.core.vocabulary import OfficerKind, Role
from workflows import task_kinds

PASSWORD = "correct horse battery staple"
WEST, SOUTH, STEP = 121.30, 31.10, 0.01


@cache
def password_hash() -> str:
    """Return the hash of ``PASSWORD``; hashing takes long, so all accounts of a run share it."""
    return passwords.hash_password(PASSWORD)


@dataclass(frozen=True)
class Person:
    """A user with one role."""

    id: UUID
    login: str
    role: Role
    town_id: UUID
    area_id: UUID | None
    phone: str | None = None

    def actor(self) -> Actor:
        """The actor that this person is without a session."""
        kind = OfficerKind.PATROL if self.role is Role.OFFICER else None
        return Actor(self.id, self.town_id, None, (Membership(self.role, self.area_id, None, kind),))


@dataclass
class Town:
    """A town with its areas by name: ``town``, ``a``, ``b`` (communities), ``a1``, ``b1`` (compounds)."""

    id: UUID
    code: str
    areas: dict[str, UUID] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    department_id: UUID = field(default_factory=new_id)

    def __getitem__(self, name: str) -> Person:
        return self.people[name]

    def place(self, area: str = "a") -> tuple[float, float]:
        """A place in community ``a`` or ``b`` (lon, lat)."""
        return (WEST + STEP * (0.5 if area.startswith("a") else 1.5), SOUTH + STEP * 0.5)


def make_town(engine: Engine, code: str = "qinghe") -> Town:
    """Write a town with its areas and people, committed."""
    town = Town(new_id(), code)
    now = datetime.now(UTC)
    with engine.begin() as connection:

        def write(table: str, **row: Any) -> None:
            names = ", ".join(row)
            connection.execute(
                text(f"insert into {table} ({names}) values ({', '.join(':' + n for n in row)})"),
                row,
            )

        name = '{"zh-CN": "青禾镇", "en": "Qinghe"}'
        write(
            "towns", id=town.id, code=code, name=name, time_zone="Asia/Shanghai", locale="zh-CN", calendar="{}",
            created_at=now,
        )  # fmt: skip
        write("departments", id=town.department_id, town_id=town.id, kind="police", name=name)
        for key, kind, parent, x0, x1 in (
            ("town", "town", None, 0, 2),
            ("a", "community", "town", 0, 1),
            ("b", "community", "town", 1, 2),
            ("a1", "compound", "a", 0.25, 0.75),
            ("b1", "compound", "b", 1.25, 1.75),
        ):
            area_id = town.areas[key] = new_id()
            above = [] if parent is None else _ancestors(town, parent)
            connection.execute(
                text(
                    "insert into areas values (:id, :town, :parent, :ancestors, :kind, :code, :name,"
                    " ST_Multi(ST_MakeEnvelope(:x0, :y0, :x1, :y1, 4326)))"
                ),
                {
                    "id": area_id, "town": town.id, "parent": town.areas.get(parent or ""),
                    "ancestors": [area_id, *above], "kind": kind, "code": f"{code}-{key}", "name": name,
                    "x0": WEST + STEP * x0, "x1": WEST + STEP * x1, "y0": SOUTH, "y1": SOUTH + STEP,
                },
            )  # fmt: skip
        for login, role, area in (
            ("officer_a", Role.OFFICER, "a"),
            ("officer_a2", Role.OFFICER, "a"),
            ("officer_b", Role.OFFICER, "b"),
            ("desk_a", Role.DISPATCHER, "a"),
            ("desk_b", Role.DISPATCHER, "b"),
            ("supervisor", Role.SUPERVISOR, "town"),
            ("supervisor_a", Role.SUPERVISOR, "a"),
            ("admin", Role.ADMIN, "town"),
            ("admin2", Role.ADMIN, "town"),
            ("auditor", Role.AUDITOR, "town"),
            ("resident", Role.RESIDENT, "a1"),
            ("resident2", Role.RESIDENT, "b1"),
            ("handler", Role.HANDLER, None),
        ):
            town.people[login] = _person(write, town, login, role, area, now)
    with unit_of_work(town.id, engine=engine) as uow:
        task_kinds.add_defaults(uow, system_actor(town.id))
    return town


def _ancestors(town: Town, key: str) -> list[UUID]:
    return [town.areas[key]] if key == "town" else [town.areas[key], town.areas["town"]]


def _person(write: Any, town: Town, name: str, role: Role, area: str | None, now: datetime) -> Person:
    resident = role is Role.RESIDENT
    phone = f"+86139{abs(hash((town.code, name))) % 10**8:08d}" if resident else None
    person = Person(new_id(), f"{town.code}.{name}", role, town.id, town.areas[area] if area else None, phone)
    write(
        "users", id=person.id, town_id=town.id, login=None if resident else person.login, phone=phone,
        display_name=f"{town.code} {name}", password_hash=None if resident else password_hash(), state="active",
        locale="zh-CN", created_at=now,
    )  # fmt: skip
    write(
        "memberships", id=new_id(), town_id=town.id, user_id=person.id, role=role.value, area_id=person.area_id,
        department_id=town.department_id if area is None else None,
        officer_kind="patrol" if role is Role.OFFICER else None, granted_at=now,
    )  # fmt: skip
    return person


def add_officer(engine: Engine, town: Town, name: str, area: str = "a") -> Person:
    """Write one more officer, for a test that needs one whom nobody else uses."""
    with engine.begin() as connection:

        def write(table: str, **row: Any) -> None:
            names = ", ".join(row)
            connection.execute(
                text(f"insert into {table} ({names}) values ({', '.join(':' + n for n in row)})"), row
            )

        person = _person(write, town, name, Role.OFFICER, area, datetime.now(UTC))
    town.people[name] = person
    return person
