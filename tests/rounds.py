"""Checkpoints, routes, plans and patrols: what tests of rounds begin with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from random import Random
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from geoalchemy2.shape import from_shape
from shapely import LineString, Point
from sqlalchemy import select, text

from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Sequence as Order
from backend.models import Checkpoint, Device, Patrol, Plan, Post, PostDuty, Route, RoutePoint, Visit
from geo.fixes import Fix
from tests.factories import Person, Town
from workflows import access, patrols, post_duties, tags

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
        geom=from_shape(Point(*north_of(town, north_m, area)), srid=4326),
        **{"created_at": uow.now, "code": f"c-{new_id().hex[-12:]}", "radius_m": 20.0, "min_dwell_s": 30, **more},
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


def make_post(uow: UnitOfWork, town: Town, *, area: str = "a", **more: Any) -> Post:
    """Write a post at the place of a community."""
    made = Post(
        id=new_id(), town_id=town.id, number=new_id().int % 1_000_000 + 1_000, area_id=town.areas[area],
        name={"zh-CN": "南门岗", "en": "South gate"}, geom=from_shape(Point(*town.place(area)), srid=4326),
        created_at=uow.now, version=1,
        **{"radius_m": 30.0, "needed_percent": 80, "break_s": 1800, "absent_after_s": 300, **more},
    )  # fmt: skip
    uow.session.add(made)
    uow.session.flush()
    return made


def make_duty(
    uow: UnitOfWork,
    town: Town,
    post: Post,
    *,
    starts_at: datetime,
    hours: float = 2,
    people: Sequence[Person] = (),
) -> PostDuty:
    """Plan a duty at a post by hand."""
    return post_duties.create(
        uow, town["supervisor"].actor(), post_id=post.id, starts_at=starts_at,
        ends_at=starts_at + timedelta(hours=hours), officer_ids=[one.id for one in people], command_id=new_id(),
    )  # fmt: skip


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


def make_phone(uow: UnitOfWork, town: Town, person: Person) -> UUID:
    """Write a phone of an officer."""
    made = Device(
        id=new_id(), town_id=town.id, officer_id=person.id, kind="phone", protocol="officer", name="Phone",
        datum="wgs84", state="active", created_at=uow.now, created_by=person.id,
    )  # fmt: skip
    uow.session.add(made)
    uow.session.flush()
    return made.id


def walked(
    town: Town,
    begins_at: datetime,
    *stops: tuple[float, float],
    every_s: float = 5.0,
    area: str = "a",
    seed: int = 1,
) -> list[Fix]:
    """A walk north along stops of so many metres and seconds each, at 1.2 m/s between them, as a good phone sees it.

    The places are wrong by a metre or so, as those of any receiver are; each ``seed`` is another day.
    """
    random = Random(seed)
    fixes: list[Fix] = []
    at, north_m = begins_at, stops[0][0] - 60.0
    for stop_m, stay_s in stops:
        seconds = abs(stop_m - north_m) / 1.2
        legs = [(north_m, stop_m, seconds, 1.2), (stop_m, stop_m, stay_s, 0.0)]
        for from_m, to_m, lasts_s, speed_mps in legs:
            for step in range(int(lasts_s / every_s)):
                share = step * every_s / lasts_s
                lon, lat = north_of(town, from_m + share * (to_m - from_m) + random.gauss(0, 1.0), area)
                fixed_at = at + timedelta(seconds=step * every_s)
                east_deg = random.gauss(0, 1.0) / DEGREE_M
                fixes.append(Fix(fixed_at, lon + east_deg, lat, 5.0, speed_mps=speed_mps))
            at += timedelta(seconds=lasts_s)
        north_m = stop_m
    return fixes


def bring(
    uow: UnitOfWork,
    town: Town,
    device_id: UUID,
    shift_id: UUID,
    fixes: Sequence[Fix],
    *,
    received_at: datetime,
    skew_s: float = 0.0,
) -> None:
    """Write fixes as they are stored when they come at a moment, from a phone whose clock is so much ahead."""
    if not fixes:
        return
    uow.session.execute(
        text(
            "insert into fixes (town_id, device_id, fixed_at, seq, shift_id, geom, accuracy_m, speed_mps,"
            " battery_pct, flags, sent_at, received_at) values (:town, :device, :fixed_at, :seq, :shift,"
            " ST_SetSRID(ST_MakePoint(:lon, :lat), 4326),"
            " :accuracy, :speed, :battery, :flags, :sent, :received) on conflict do nothing"
        ),
        [
            {
                "town": town.id, "device": device_id, "fixed_at": fix.fixed_at, "seq": fix.seq, "shift": shift_id,
                "lon": fix.lon, "lat": fix.lat, "accuracy": fix.accuracy_m, "speed": fix.speed_mps, "flags": fix.flags,
                "battery": fix.battery_pct,
                "sent": received_at + timedelta(seconds=skew_s), "received": received_at,
            }
            for fix in fixes
        ],
    )  # fmt: skip


def tapped(
    secret: bytes, uid: str, counter: int, padding: bytes = b"\x01\x02\x03\x04\x05"
) -> tuple[str, str]:
    """What a tag that signs writes into its address when it is read for the n-th time: ``picc_data`` and ``cmac``."""
    keys, number, times = tags.keys_of(secret, uid), bytes.fromhex(uid), counter.to_bytes(3, "little")
    encryptor = Cipher(algorithms.AES(keys.encrypts), modes.CBC(bytes(16))).encryptor()
    picc_data = encryptor.update(b"\xc7" + number + times + padding) + encryptor.finalize()
    return picc_data.hex().upper(), tags.signature(keys.signs, number, times).hex().upper()
