"""Routes: over checkpoints in use, in the area that holds them all, and proposed by lines from files."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine, select

from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, Stale, WrongState
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.models import Checkpoint, Route, RoutePoint
from geo.checkpoint_files import MOST_VERTICES, Format
from tests import factories
from tests.factories import Town
from tests.rounds import make_checkpoint, make_plan, north_of
from workflows import access, patrol_looks, routes


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"routes-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


def wanted(*points: Checkpoint, **more: Any) -> dict[str, Any]:
    return {
        "name": {"zh-CN": "夜巡", "en": "Night round"}, "sequence": "fixed", "allowed_s": 3600, "corridor_m": None,
        "line": None, "checkpoint_ids": [point.id for point in points], **more,
    }  # fmt: skip


def make(uow: UnitOfWork, town: Town, *points: Checkpoint, who: str = "supervisor", **more: Any) -> Route:
    return routes.create(uow, town[who].actor(), wanted(*points, **more), command_id=new_id())


def alter(uow: UnitOfWork, town: Town, route: Route, *points: Checkpoint, **more: Any) -> Route:
    return routes.change(
        uow, town["supervisor"].actor(), route.id, wanted(*points, **more), version=route.version, command_id=new_id()
    )  # fmt: skip


def codes(route: Route) -> list[str]:
    return [point.checkpoint.code for point in route.points]


def test_a_route_has_its_checkpoints_in_order_a_number_and_the_area_that_holds_them(
    here: UnitOfWork, town: Town
) -> None:
    one, two = (make_checkpoint(here, town, north_m=n, area="a1") for n in (0, 50))
    other = make_checkpoint(here, town, area="b1")
    route = make(here, town, two, one)
    assert codes(route) == [two.code, one.code]
    assert (route.area_id, route.number) == (town.areas["a1"], 1)
    wide = make(here, town, one, other, sequence="shuffled")
    assert (wide.area_id, wide.number) == (town.areas["town"], 2)
    line = [list(north_of(town, m)) for m in (0, 50)]
    changed = alter(here, town, route, one, two, other, line=line, corridor_m=40.0)
    assert codes(changed) == [one.code, two.code, other.code]
    assert (changed.area_id, changed.version) == (town.areas["town"], 2)
    assert patrol_looks.line_of(changed) == line
    with pytest.raises(Stale):
        routes.change(here, town["supervisor"].actor(), route.id, wanted(one), version=1, command_id=new_id())


def test_a_route_passes_checkpoints_in_use_of_the_actors_areas_each_once(
    here: UnitOfWork, town: Town
) -> None:
    one, other = make_checkpoint(here, town), make_checkpoint(here, town, area="b")
    gone = make_checkpoint(here, town, retired_at=here.now)
    with pytest.raises(Invalid, match="each checkpoint once"):
        make(here, town, one, one)
    for points in ((one, gone), (one, Checkpoint(id=new_id()))):
        with pytest.raises(Invalid, match="no checkpoints in use"):
            make(here, town, *points)
    with pytest.raises(Invalid, match="no checkpoints in use"):
        make(here, town, one, other, who="supervisor_a")
    assert make(here, town, one, who="supervisor_a").area_id == town.areas["a"]
    with pytest.raises(Forbidden):
        make(here, town, one, who="desk_a")


def test_a_line_leads_somewhere_with_a_bounded_number_of_corners_and_a_corridor_has_one(
    here: UnitOfWork, town: Town
) -> None:
    """F70."""
    one = make_checkpoint(here, town)
    place = list(town.place())
    for line in ([place, place], [[place[0] + n * 1e-7, place[1]] for n in range(MOST_VERTICES + 1)]):
        with pytest.raises(Invalid, match="corners"):
            make(here, town, one, line=line)
    with pytest.raises(Invalid, match="along a line"):
        make(here, town, one, corridor_m=30.0)
    full = [[place[0] + n * 1e-7, place[1]] for n in range(MOST_VERTICES)]
    assert patrol_looks.line_of(make(here, town, one, line=full, corridor_m=30.0)) == full


def test_a_route_that_a_plan_in_force_goes_by_stays_in_use(here: UnitOfWork, town: Town) -> None:
    route = make(here, town, make_checkpoint(here, town))
    plan = make_plan(here, town, route)
    actor = town["supervisor"].actor()
    with pytest.raises(Conflict) as needed:
        routes.retire(here, actor, route.id, command_id=new_id())
    assert (needed.value.code, needed.value.extra["plan_ids"]) == ("route_needed", [str(plan.id)])
    plan.retired_at = here.now
    here.session.flush()
    retired = routes.retire(here, actor, route.id, command_id=new_id())
    assert routes.actions(actor, retired) == []
    with pytest.raises(WrongState):
        routes.retire(here, actor, route.id, command_id=new_id())
    with pytest.raises(WrongState):
        alter(here, town, retired, make_checkpoint(here, town))


def test_a_desk_sees_the_routes_of_its_areas(here: UnitOfWork, town: Town) -> None:
    one, two = make_checkpoint(here, town), make_checkpoint(here, town, area="b")
    made = [make(here, town, one, name={"zh-CN": f"线{n}", "en": f"Round {n}"}) for n in range(3)]
    make(here, town, two)
    actor = town["desk_a"].actor()

    def numbers(**more: Any) -> list[int]:
        return [row.number for row in routes.listed(here, actor, after=None, limit=9, **more).items]

    assert numbers() == [route.number for route in made]
    assert numbers(words="线1") == numbers(words="round 1") == [made[1].number]
    assert numbers(checkpoint_id=two.id) == numbers(area_id=town.areas["b"]) == []
    first = routes.listed(here, actor, after=None, limit=2)
    assert first.after is not None
    rest = routes.listed(here, actor, after=list(first.after), limit=2)
    assert [row.number for row in rest.items] == [made[2].number]
    with pytest.raises(NotVisible):
        access.route(here, town["desk_b"].actor(), made[0].id)


def test_a_line_of_a_file_proposes_the_checkpoints_along_it_and_stores_nothing(
    here: UnitOfWork, town: Town
) -> None:
    for metres in (300, 20, 150):
        make_checkpoint(here, town, north_m=metres, code=f"along-{metres}")
    make_checkpoint(here, town, north_m=-200, code="behind")
    make_checkpoint(here, town, north_m=100, code="retired", retired_at=here.now)
    lon, lat = town.place()
    make_checkpoint(here, town, north_m=300, code="beside")  # On the very spot of another: both are near.
    places = [(lon + 0.0002, lat), (lon + 0.0002, north_of(town, 310)[1])]  # 19 m to the east.
    geojson = json.dumps({"type": "LineString", "coordinates": places}).encode()
    points = "".join(f'<rtept lat="{y!r}" lon="{x!r}"/>' for x, y in places)
    gpx = (
        '<gpx version="1.1" creator="x" xmlns="http://www.topografix.com/GPX/1/1">'
        f"<rte><name>东线</name>{points}</rte></gpx>"
    ).encode()
    for data, form, name in ((geojson, Format.GEOJSON, None), (gpx, Format.GPX, "东线")):
        [found] = routes.proposals(here, town["supervisor_a"].actor(), data, form)
        assert (found.line.title, found.line.places) == (name, places)
        assert [point.code for point in found.checkpoints] == ["along-20", "along-150", "along-300", "beside"]
    assert here.session.scalar(select(RoutePoint)) is None
    far = json.dumps({"type": "LineString", "coordinates": [(x + 0.0005, y) for x, y in places]}).encode()
    [nothing] = routes.proposals(here, town["supervisor"].actor(), far, Format.GEOJSON)
    assert nothing.checkpoints == [], "more than thirty metres away"
    for bad in (b"{}", b"<gpx", geojson.replace(b"LineString", b"Point")):
        with pytest.raises(Invalid) as refused:
            routes.proposals(here, town["supervisor"].actor(), bad, Format.GEOJSON)
        assert refused.value.code == "bad_line"
