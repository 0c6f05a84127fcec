"""Checkpoints: drawn in their area, changed by whoever manages it, and brought in from files, all of it or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, select

from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, Stale, WrongState
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.models import Checkpoint, Journal, Route
from geo.checkpoint_files import Format
from tests import factories
from tests.factories import Town
from tests.rounds import make_checkpoint, make_route, north_of
from workflows import access, checkpoints
from workflows.checkpoints import Outcome

QUESTION = {
    "id": "door",
    "text": {"zh-CN": "门？", "en": "Door?"},
    "answer": "yes_no",
    "choices": [],
    "required": True,
}


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"points-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


def wanted(town: Town, area: str = "a", **more: Any) -> dict[str, Any]:
    return {
        "code": f"w-{new_id().hex[-12:]}", "name": {"zh-CN": "北门", "en": "North gate"}, "place": town.place(area),
        "radius_m": 25.0, "min_dwell_s": 30, "questions": [], "tag_uid": None, "tag_signs": False, **more,
    }  # fmt: skip


def make(uow: UnitOfWork, town: Town, who: str = "supervisor", **more: Any) -> Checkpoint:
    return checkpoints.create(uow, town[who].actor(), wanted(town, **more), command_id=new_id())


def alter(uow: UnitOfWork, town: Town, point: Checkpoint, who: str = "supervisor", **more: Any) -> Checkpoint:
    said = {name: getattr(point, name) for name in checkpoints.FIELDS} | {
        "place": checkpoints.place_of(point)
    }
    return checkpoints.change(
        uow, town[who].actor(), point.id, said | more, version=point.version, command_id=new_id()
    )


def acts(uow: UnitOfWork, subject_id: UUID) -> list[str]:
    uow.session.flush()
    rows = select(Journal.action).where(Journal.subject_id == subject_id).order_by(Journal.id)
    return list(uow.session.scalars(rows))


def test_a_checkpoint_belongs_to_the_deepest_area_that_holds_it(here: UnitOfWork, town: Town) -> None:
    point = make(here, town, questions=[QUESTION], tag_uid="04:a1:b2:c3:d4:e5:f6", tag_signs=True)
    assert point.area_id == town.areas["a1"]
    assert point.tag_uid == "04A1B2C3D4E5F6", "however it was written"
    assert len(point.label_token) >= 32
    assert point.label_token != point.tag_token
    assert acts(here, point.id) == ["create"]


def test_whoever_manages_a_part_of_the_town_makes_and_moves_checkpoints_there_alone(
    here: UnitOfWork, town: Town
) -> None:
    own = make(here, town, "supervisor_a")
    with pytest.raises(Forbidden, match="not in your areas"):
        make(here, town, "supervisor_a", area="b")
    with pytest.raises(Forbidden, match="not in your areas"):
        alter(here, town, own, "supervisor_a", place=town.place("b"))
    assert alter(here, town, own, place=town.place("b")).area_id == town.areas["b1"]
    with pytest.raises(NotVisible):
        alter(here, town, own, "supervisor_a")
    with pytest.raises(Forbidden):
        make(here, town, "desk_a")
    with pytest.raises(Invalid, match="outside of the town"):
        make(here, town, place=(0.0, 0.0))


def test_a_code_and_a_tag_are_at_one_checkpoint(here: UnitOfWork, town: Town) -> None:
    point = make(here, town, tag_uid="04A1B2C3D4E5F6")
    with pytest.raises(Conflict) as taken:
        make(here, town, code=point.code)
    assert taken.value.code == "code_taken"
    with pytest.raises(Conflict) as tagged:
        make(here, town, tag_uid="04a1b2c3d4e5f6")
    assert tagged.value.code == "tag_taken"
    assert alter(here, town, point, code=point.code, radius_m=40.0).radius_m == 40.0, "its own is no other's"
    with pytest.raises(Invalid):
        make(here, town, tag_signs=True)
    with pytest.raises(Invalid):
        make(here, town, questions=[QUESTION, QUESTION])


def test_another_tag_counts_from_its_own_beginning(here: UnitOfWork, town: Town) -> None:
    point = make(here, town, tag_uid="04A1B2C3D4E5F6", tag_signs=True)
    point.tag_counter = 7
    assert alter(here, town, point, min_dwell_s=60).tag_counter == 7
    assert alter(here, town, point, tag_uid="04A1B2C3D4E5F7").tag_counter is None


def test_what_was_changed_meanwhile_is_not_changed_on_what_was_read_before(
    here: UnitOfWork, town: Town
) -> None:
    point = make(here, town)
    alter(here, town, point, radius_m=50.0)
    with pytest.raises(Stale):
        checkpoints.change(
            here, town["supervisor"].actor(), point.id, wanted(town), version=1, command_id=new_id()
        )


def test_one_that_a_route_in_use_passes_stays_in_use(here: UnitOfWork, town: Town) -> None:
    point = make(here, town)
    route = make_route(here, town, [point])
    actor = town["supervisor"].actor()
    with pytest.raises(Conflict) as needed:
        checkpoints.retire(here, actor, point.id, command_id=new_id())
    assert (needed.value.code, needed.value.extra["routes"]) == ("checkpoint_needed", [route.number])
    route.retired_at = here.now
    here.session.flush()
    retired = checkpoints.retire(here, actor, point.id, command_id=new_id())
    assert retired.retired_at == here.now
    assert checkpoints.actions(actor, retired) == []
    with pytest.raises(WrongState):
        checkpoints.retire(here, actor, point.id, command_id=new_id())
    with pytest.raises(WrongState):
        alter(here, town, retired)


def test_a_route_follows_its_checkpoints_into_the_area_that_holds_them_all(
    here: UnitOfWork, town: Town
) -> None:
    one, two = make(here, town), make(here, town)
    route = make_route(here, town, [one, two])
    route_id, number = route.id, route.number
    alter(here, town, one, place=(town.place("b")))
    assert here.session.get_one(Route, route_id).area_id == town.areas["town"]
    alter(here, town, checkpoints.read(here, one.id), place=town.place("a"))
    assert here.session.get_one(Route, route_id).area_id == town.areas["a1"]
    assert acts(here, route_id) == ["change", "change"]
    # One whose areas are both, but not the town's: the round would be gone from him.
    both = Actor(
        town["supervisor_a"].id, town.id, None,
        tuple(town["supervisor_a"].actor().memberships) + tuple(
            type(m)(m.role, town.areas["b"], None, None) for m in town["supervisor_a"].actor().memberships
        ),
    )  # fmt: skip
    point = checkpoints.read(here, one.id)
    said = {name: getattr(point, name) for name in checkpoints.FIELDS} | {"place": town.place("b")}
    with pytest.raises(Conflict) as leaving:
        checkpoints.change(here, both, point.id, said, version=point.version, command_id=new_id())
    assert leaving.value.extra["routes"] == [number]


def test_a_desk_sees_the_checkpoints_of_its_areas_page_by_page(here: UnitOfWork, town: Town) -> None:
    made = [make(here, town, code=f"p{n}", name={"zh-CN": f"水塔{n}", "en": f"Tower {n}"}) for n in range(3)]
    make(here, town, area="b", code="p9")
    actor = town["desk_a"].actor()

    def codes(**more: Any) -> list[str]:
        return [row.code for row in checkpoints.listed(here, actor, after=None, limit=100, **more).items]

    assert codes() == ["p0", "p1", "p2"]
    assert codes(words="塔1") == codes(words="TOWER 1") == ["p1"]
    assert codes(words="%") == [], "what is looked for is no pattern"
    assert codes(area_id=town.areas["b"]) == []
    first = checkpoints.listed(here, actor, after=None, limit=2)
    assert first.after is not None
    rest = checkpoints.listed(here, actor, after=[str(part) for part in first.after], limit=2)
    assert [row.code for row in rest.items] == ["p2"]
    checkpoints.retire(here, town["supervisor"].actor(), made[1].id, command_id=new_id())
    assert codes() == ["p0", "p2"]
    assert codes(retired=True) == ["p0", "p1", "p2"]
    assert access.checkpoint(here, actor, made[0].id).id == made[0].id
    with pytest.raises(NotVisible):
        access.checkpoint(here, town["desk_b"].actor(), made[0].id)


# --- Files

Row = tuple[str, float, float]


def as_geojson(rows: list[Row], **more: Any) -> bytes:
    features = [
        {
            "type": "Feature", "geometry": {"type": "Point", "coordinates": [lon, lat]},
            "properties": {"code": code, "name_zh": f"点{code}", "name_en": f"Point {code}", **more},
        }
        for code, lon, lat in rows
    ]  # fmt: skip
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def as_csv(rows: list[Row], **more: Any) -> bytes:
    head = ",".join(["code", "name_zh", "name_en", "lon", "lat", *more])
    lines = [
        ",".join([code, f"点{code}", f'"Point {code}"', f"{lon!r}", f"{lat!r}", *map(str, more.values())])
        for code, lon, lat in rows
    ]
    return "\r\n".join([head, *lines, ""]).encode("utf-8-sig")


def as_gpx(rows: list[Row], **more: Any) -> bytes:
    points = "".join(
        f'<wpt lat="{lat!r}" lon="{lon!r}"><name>{code}</name><desc>Point {code}</desc></wpt>'
        for code, lon, lat in rows
    )
    head = '<gpx version="1.1" creator="x" xmlns="http://www.topografix.com/GPX/1/1">'
    return f"{head}{points}</gpx>".encode()


FORMS: dict[Format, Callable[..., bytes]] = {
    Format.GEOJSON: as_geojson,
    Format.CSV: as_csv,
    Format.GPX: as_gpx,
}


def bring(
    uow: UnitOfWork,
    town: Town,
    data: bytes,
    form: Format,
    *,
    who: str = "supervisor",
    dry_run: bool = False,
) -> checkpoints.Imported:
    return checkpoints.import_file(uow, town[who].actor(), data, form, dry_run=dry_run, command_id=new_id())


def outcomes(done: checkpoints.Imported) -> list[str]:
    return [row.outcome for row in done.rows]


def stored(uow: UnitOfWork) -> int:
    uow.session.flush()
    return uow.session.scalar(select(func.count()).select_from(Checkpoint)) or 0


@pytest.mark.parametrize("form", list(Format))
def test_a_file_says_what_it_would_do_does_it_once_and_changes_nothing_the_second_time(
    here: UnitOfWork, town: Town, form: Format
) -> None:
    lon, lat = town.place()
    rows = [("f1", lon, lat), ("f2", lon + 0.0001, lat)]
    tried = bring(here, town, FORMS[form](rows), form, dry_run=True)
    assert outcomes(tried) == [Outcome.MADE, Outcome.MADE]
    assert stored(here) == 0
    assert outcomes(bring(here, town, FORMS[form](rows), form)) == [Outcome.MADE, Outcome.MADE]
    points = list(here.session.scalars(select(Checkpoint).order_by(Checkpoint.code)))
    assert [(p.code, p.name["en"], checkpoints.place_of(p), p.area_id) for p in points] == [
        (code, f"Point {code}", (x, y), town.areas["a1"]) for code, x, y in rows
    ]
    assert acts(here, points[0].id) == ["import"]
    assert outcomes(bring(here, town, FORMS[form](rows), form)) == [Outcome.UNCHANGED] * 2
    assert points[0].version == 1
    moved = [("f1", lon, lat + 0.0001), rows[1]]
    assert outcomes(bring(here, town, FORMS[form](moved), form, dry_run=True)) == ["changed", "unchanged"]
    assert checkpoints.place_of(points[0]) == (lon, lat), "only tried"
    assert outcomes(bring(here, town, FORMS[form](moved), form)) == ["changed", "unchanged"]
    assert (checkpoints.place_of(points[0]), points[0].version) == ((lon, lat + 0.0001), 2)


@pytest.mark.parametrize("form", [Format.GEOJSON, Format.CSV])
def test_a_file_that_says_nothing_of_the_fence_leaves_it(here: UnitOfWork, town: Town, form: Format) -> None:
    rows = [("f1", *town.place())]
    bring(here, town, FORMS[form](rows, radius_m=40.1, min_dwell_s=90), form)
    [point] = here.session.scalars(select(Checkpoint))
    assert (round(point.radius_m, 3), point.min_dwell_s) == (40.1, 90)
    here.session.expire_all()
    assert outcomes(bring(here, town, FORMS[form](rows, radius_m=40.1, min_dwell_s=90), form)) == [
        "unchanged"
    ]
    assert outcomes(bring(here, town, FORMS[form](rows), form)) == ["unchanged"]
    assert point.min_dwell_s == 90


def test_one_row_that_is_refused_keeps_the_whole_file_out_and_each_says_why(
    here: UnitOfWork, town: Town
) -> None:
    lon, lat = town.place()
    elsewhere = make_checkpoint(here, town, area="b", code="theirs")
    gone = make_checkpoint(here, town, code="gone", retired_at=here.now)
    before = stored(here)
    rows = [
        ("fine", lon, lat), ("far", 0.5, 0.5), ("swapped", lat, lon), (elsewhere.code, lon, lat), (gone.code, lon, lat),
        ("fine", lon, lat), ("over-there", *town.place("b")),
    ]  # fmt: skip
    tried = bring(here, town, as_csv(rows), Format.CSV, who="supervisor_a", dry_run=True)
    assert outcomes(tried) == ["made", *["refused"] * 6]
    said = [row.reason or "" for row in tried.rows]
    for found, part in zip(
        said[1:],
        [
            "outside the town",
            "longitude comes first",
            "outside your areas",
            "out of use",
            "same code as row 1",
            "your areas",
        ],
        strict=True,
    ):
        assert part in found
    with pytest.raises(Invalid) as refused, here.attempt():
        bring(here, town, as_csv(rows), Format.CSV, who="supervisor_a")
    assert refused.value.code == "bad_checkpoints"
    assert len(refused.value.extra["errors"]["document"]) == 6
    with pytest.raises(Forbidden):
        bring(here, town, as_csv(rows[:1]), Format.CSV, who="desk_a", dry_run=True)
    assert stored(here) == before


def test_the_operator_brings_a_file_for_the_whole_town(here: UnitOfWork, town: Town) -> None:
    rows = [("o1", *town.place("a")), ("o2", *town.place("b"))]
    done = checkpoints.import_file(
        here, system_actor(town.id), as_geojson(rows), Format.GEOJSON, command_id=new_id()
    )
    assert (done.made, done.changed) == (2, 0)
    assert acts(here, town.id)[-1] == "import_checkpoints"


def test_a_moved_checkpoint_of_a_file_takes_its_routes_with_it(here: UnitOfWork, town: Town) -> None:
    point = make(here, town, code="m1")
    route_id = make_route(here, town, [point]).id
    lon, lat = north_of(town, 5, "b")
    bring(here, town, as_csv([("m1", lon, lat)]), Format.CSV)
    assert here.session.get_one(Route, route_id).area_id == town.areas["b1"]
