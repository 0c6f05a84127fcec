"""Checkpoints, routes, plans and patrols: what tests of rounds begin with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from geoalchemy2.shape import from_shape
from shapely import LineString, Point
from sqlalchemy import select

from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Sequence as Order
from backend.models import Checkpoint, Patrol, Plan, Route, RoutePoint, Visit
from tests.factories import Person, Town
from workflows import access, patrols

DEGREE_M = 111_195.0


def north_of(town: Town, metres: float, area: str = "a") -> tuple[float, float]:
    """A place so many metres north of the place of a community."""
    lon, lat = town.place(area)
    return lon, lat + metres / DEGREE_M


def make_checkpoint(
    uow: UnitOfWork, town: Town, *, north_m: float = 0.0, area: str = "a", **more: Any
) -> Checkpoint:
    """Write a checkpoint so many metres north of the place of a community."""
    made = Checkpoint(
        id=new_id(), town_id=town.id, area_id=town.areas[area], name={"zh-CN": "东门", "en": "East gate"},
        geom=from_shape(Point(*north_of(town, north_m, area)), srid=4326), created_at=uow.now,
        **{"code": f"c-{new_id().hex[-12:]}", "radius_m": 20.0, "min_dwell_s": 30, **more},
    )  # fmt: skip
    uow.session.add(made)
    uow.session.flush()
    return made


def make_route(
    uow: UnitOfWork,
    town: Town,
    checkpoints: Sequence[Checkpoint],
    *,
    area: str = "a",
    sequence: Order = Order.FIXED,
    allowed_s: int = 3600,
    corridor_m: float | None = None,
    number: int | None = None,
) -> Route:
    """Write a route along checkpoints, with the line between them where it has a corridor."""
    made = Route(
        id=new_id(), town_id=town.id, number=number or new_id().int % 1_000_000 + 1_000,
        name={"zh-CN": "夜巡", "en": "Night round"}, area_id=town.areas[area], sequence=sequence, allowed_s=allowed_s,
        corridor_m=corridor_m, created_at=uow.now,
        line=from_shape(LineString([north_of(town, m, area) for m in (0, 1000)]), srid=4326) if corridor_m else None,
    )  # fmt: skip
    uow.session.add(made)
    uow.session.flush()
    uow.session.add_all(
        RoutePoint(route_id=made.id, position=n, town_id=town.id, checkpoint_id=one.id)
        for n, one in enumerate(checkpoints)
    )
    uow.session.flush()
    return made


def make_plan(
    uow: UnitOfWork, town: Town, route: Route, *, people: Sequence[Person] = (), window_s: int = 3600,
    late_after_s: int = 600, rule: str = "FREQ=DAILY", starts_on: date | None = None, starts_at: time = time(22),
) -> Plan:  # fmt: skip
    """Write a plan for a route."""
    made = Plan(
        id=new_id(), town_id=town.id, route_id=route.id, name={"zh-CN": "每晚", "en": "Every night"}, rule=rule,
        starts_on=starts_on or uow.now.date(), starts_at=starts_at, late_after_s=late_after_s, window_s=window_s,
        officer_ids=[person.id for person in people], created_at=uow.now,
    )  # fmt: skip
    uow.session.add(made)
    uow.session.flush()
    return made


def make_patrol(
    uow: UnitOfWork, town: Town, *, points: int = 2, at: datetime | None = None, **more: Any
) -> Patrol:
    """Schedule a patrol of a new route with so many points, for now unless said otherwise."""
    area, order = more.pop("area", "a"), more.pop("sequence", Order.FIXED)
    corridor_m, allowed_s = more.pop("corridor_m", None), more.pop("allowed_s", 3600)
    checkpoints = [make_checkpoint(uow, town, north_m=100.0 * n, area=area) for n in range(points)]
    route = make_route(
        uow, town, checkpoints, area=area, sequence=order, corridor_m=corridor_m, allowed_s=allowed_s
    )
    plan = make_plan(uow, town, route, **more)
    whole = select(Plan).where(Plan.id == plan.id).options(*access.plan_parts())
    planned = uow.session.scalars(whole.execution_options(populate_existing=True)).one()
    made = patrols.schedule(uow, planned, at or uow.now)
    assert made is not None
    return made


def make_visit(
    uow: UnitOfWork,
    town: Town,
    person: Person,
    checkpoint_id: UUID,
    *,
    at: datetime,
    dwell_s: int = 40,
    proof: int = 80,
    flags: Sequence[str] = (),
    area: str = "a",
    shift_id: UUID | None = None,
) -> Visit:
    """Write a visit found by dwell."""
    made = Visit(
        id=new_id(), town_id=town.id, arrived_at=at, left_at=at + timedelta(seconds=dwell_s),
        checkpoint_id=checkpoint_id, officer_id=person.id, shift_id=shift_id or new_id(), area_id=town.areas[area],
        method="dwell", dwell_s=dwell_s, facts={}, parts=[], proof=proof, flags=list(flags), created_at=uow.now,
    )  # fmt: skip
    uow.session.add(made)
    uow.session.flush()
    return made
