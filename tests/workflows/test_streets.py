"""Coverage of streets: what officers on shift passed, by the days of the town, and where nobody has been."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from random import Random

import pytest
from geoalchemy2.shape import from_shape
from hypothesis import given
from hypothesis import strategies as st
from shapely import LineString
from sqlalchemy import Engine, select

from backend.core.ids import new_id
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.models import Road, RoadPart, RoadWalk, VisitWatch
from geo import streets as ground
from geo.fixes import Fix, Flag
from geo.streets import Street
from tests import factories
from tests.dispatching import on_shift
from tests.factories import Town
from tests.rounds import bring, make_phone, north_of, walked
from workflows import streets, upkeep, visit_watch

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
AT = datetime.fromisoformat("2026-03-02T10:00:00+00:00")


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"streets-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


def make_road(
    uow: UnitOfWork, town: Town, name: str, *metres: float, area: str = "a", kind: str = "lane"
) -> Road:
    """A road north through these places of a community."""
    road = Road(
        id=new_id(), town_id=town.id, kind=kind, name={"zh-CN": name, "en": name},
        geom=from_shape(LineString([north_of(town, m, area) for m in metres]), srid=4326),
    )  # fmt: skip
    uow.session.add(road)
    uow.session.flush()
    return road


def walk(uow: UnitOfWork, town: Town, begun_at: datetime, *, flags: int = 0, who: str = "officer_a") -> None:
    """An officer walks 300 m north, and what his phone brings is looked at."""
    shift = on_shift(uow, town, town[who])
    shift.started_at = begun_at - MINUTE
    if uow.session.get(VisitWatch, town.id) is None:
        uow.session.add(VisitWatch(town_id=town.id, looked_until=uow.now - MINUTE))
    uow.session.flush()
    way = [
        Fix(fixed_at=f.fixed_at, lon=f.lon, lat=f.lat, accuracy_m=6.0, flags=f.flags | flags)
        for f in walked(town, begun_at, (0.0, 0.0), (300.0, 0.0))
    ]
    phone = make_phone(uow, town, town[who])
    bring(uow, town, phone, shift.id, way, received_at=uow.now)
    while visit_watch.look(uow):
        pass


def listed(uow: UnitOfWork, town: Town, who: str = "desk_a", days: int = 7, limit: int = 10,
           after: Sequence[str] | None = None) -> Page[Street]:  # fmt: skip
    return streets.at_desk(uow, town[who].actor(), days=days, after=after, limit=limit)


def test_a_street_is_walked_as_far_as_somebody_went_along_it(here: UnitOfWork, town: Town) -> None:
    # Two hours before and after are of one day of the town.
    here.now = datetime.combine(here.now.date(), time(7), streets.zone_of(here)).astimezone(UTC)
    make_road(here, town, "长街", -100, 500)
    make_road(here, town, "后巷", -500, -200)
    make_road(here, town, "河", 0, 300, kind="water")
    walk(here, town, here.now - timedelta(hours=1))
    unwalked, walked_ = listed(here, town).items
    assert (unwalked.name["zh-CN"], unwalked.passed_m, unwalked.last_passed_at) == ("后巷", 0.0, None)
    assert walked_.name["zh-CN"] == "长街"
    assert walked_.length_m == pytest.approx(600, rel=0.01)
    assert walked_.passed_m == pytest.approx(400, abs=26)
    assert walked_.last_passed_at is not None
    assert walked_.last_passed_at <= here.now

    first = listed(here, town, limit=1)
    rest = listed(here, town, limit=1, after=first.after)
    assert [one.name["zh-CN"] for one in (*first.items, *rest.items)] == ["后巷", "长街"]
    assert rest.after is None
    assert listed(here, town, "desk_b").items == [], "F41: streets of another community"

    parts = here.session.scalars(select(RoadPart)).all()
    assert len(parts) == 12 + 6
    assert ground.cut(here.session, town.id) == 0, "cut once"
    # Whoever comes along it earlier on that day, and is heard of later, changes nothing.
    passes = len(here.session.scalars(select(RoadWalk)).all())
    walk(here, town, here.now - timedelta(hours=2), who="officer_a2")
    assert listed(here, town).items[1] == walked_
    assert len(here.session.scalars(select(RoadWalk)).all()) == passes


def test_what_proves_nothing_covers_nothing(here: UnitOfWork, town: Town) -> None:
    """A mock place walks no street; nor is a way known between fixes that are minutes apart."""
    make_road(here, town, "长街", -100, 500)
    walk(here, town, here.now - timedelta(hours=1), flags=int(Flag.MOCK))
    assert [one.passed_m for one in listed(here, town).items] == [0.0]


def test_days_end_at_midnight_of_the_town_and_are_forgotten_in_time(here: UnitOfWork, town: Town) -> None:
    """P22."""
    make_road(here, town, "长街", -100, 500)
    today = here.now.astimezone(streets.zone_of(here)).replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = today - timedelta(minutes=10)
    walk(here, town, yesterday)
    assert {row.day for row in here.session.scalars(select(RoadWalk))} == {yesterday.date()}
    assert listed(here, town, days=1).items[0].last_passed_at is None
    assert listed(here, town, days=2).items[0].passed_m > 250
    upkeep.forget_visits(here, retention_days=400)
    assert listed(here, town, days=2).items[0].passed_m > 250
    here.now += timedelta(days=402)
    upkeep.forget_visits(here, retention_days=400)
    assert here.session.scalars(select(RoadWalk)).all() == []


def test_a_tile_shows_the_parts_of_ones_own_areas_alone(here: UnitOfWork, town: Town) -> None:
    make_road(here, town, "长街", -100, 500)
    walk(here, town, here.now - timedelta(hours=1))
    x, y = _tile_of(*north_of(town, 100), 15)
    mine = streets.tile(here, town["desk_a"].actor(), 15, x, y, days=7)
    assert b"days_ago" in mine
    assert streets.tile(here, town["desk_b"].actor(), 15, x, y, days=7) == b""


@given(st.integers(0, 2**32), st.integers(1, 120))
def test_a_way_is_told_by_places_on_it_whatever_the_order_of_standing_and_walking(
    seed: int, steps: int
) -> None:
    random = Random(seed)
    lon, lat, at = 121.3, 31.1, AT
    track: list[Fix] = []
    for _ in range(steps):
        at += timedelta(seconds=random.choice((1, 5, 30, 59, 61, 400)))
        lat += random.choice((0.0, 0.00005, 0.0005, 0.01))
        track.append(
            Fix(fixed_at=at, lon=lon, lat=lat, accuracy_m=8.0, flags=random.choice((0, 0, int(Flag.MOCK))))
        )
    good = [fix for fix in track if not fix.flags]
    found = ground.passings(track)
    assert found == ground.passings(good), "what is flagged changes nothing"
    assert len({(round(p.lat, 9), p.at) for p in found}) == len(found)
    told = {(fix.fixed_at, fix.lat) for fix in good}
    for place in found:
        if (place.at, place.lat) in told:
            continue
        before = max(fix.fixed_at for fix in good if fix.fixed_at <= place.at)
        after = min(fix.fixed_at for fix in good if fix.fixed_at >= place.at)
        assert (after - before).total_seconds() <= ground.MOST_PAUSE_S
    # Whoever stands is told once, with the last moment at which he was there.
    still = [Fix(fixed_at=AT + n * MINUTE, lon=lon, lat=lat) for n in range(steps)]
    assert [p.at for p in ground.passings(still)] == [still[-1].fixed_at]


def _tile_of(lon: float, lat: float, z: int) -> tuple[int, int]:
    n = 2**z
    y = (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2
    return int((lon + 180) / 360 * n), int(y * n)
