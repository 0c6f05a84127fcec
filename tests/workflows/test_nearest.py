"""The nearest officers who are suitable, found by the index and not by sorting the town."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from backend.core.identity import system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from geo import queries
from tests import factories
from tests.dispatching import crew_on_shift, make_task, on_shift, press, see, share
from tests.factories import Town
from workflows import nearest, task_looks, tasks
from workflows.offering import Whom

MANY = 10_000


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    made = factories.make_town(owner_engine, f"near-{new_id().hex[-12:]}")
    for number in range(5):
        factories.add_officer(owner_engine, made, f"o{number}")
    return made


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


def found(uow: UnitOfWork, town: Town, **more: Any) -> list[str]:
    """The names of those whom the desk of community a is shown, nearest first."""
    given = {"kind_id": None, "busy_too": False, "limit": 10, **more}
    rows = nearest.to_place(uow, town["desk_a"].actor(), town.place(), **given)
    return [row.display_name.rpartition(" ")[2] for row in rows]


def test_the_nearest_come_first_with_their_distance_and_the_time_at_their_crews_pace(
    here: UnitOfWork, town: Town
) -> None:
    on_shift(here, town, town["o0"], east_m=280)
    riding = crew_on_shift(here, town["o1"], town["o2"])
    see(here, riding, town, east_m=500)
    rows = nearest.to_place(
        here, town["desk_a"].actor(), town.place(), kind_id=None, busy_too=False, limit=10
    )
    assert [(row.id, round(row.distance_m), row.eta_s, row.travel) for row in rows] == [
        (town["o0"].id, 280, 260, "foot"), (town["o1"].id, 500, 130, "e_bike"),
    ]  # fmt: skip
    assert found(here, town, limit=1) == ["o0"]


def test_only_who_is_on_shift_seen_lately_free_and_of_the_desks_areas_is_found(
    here: UnitOfWork, town: Town
) -> None:
    shift = on_shift(here, town, town["o0"], east_m=10)
    on_shift(here, town, town["o1"])
    abroad = on_shift(here, town, town["officer_b"])
    see(here, abroad, town, east_m=1)
    assert found(here, town) == ["o0"], "not who was not seen, nor who is of another community"
    see(here, shift, town, east_m=10, fixed_at=here.now - timedelta(seconds=nearest.RECENT_S + 1))
    assert found(here, town) == []
    see(here, shift, town, east_m=10)
    task = make_task(here, town, town["o0"])
    assert found(here, town) == ["o0"], "an offer keeps nobody busy"
    press(here, town["o0"], task.id, "accept")
    assert found(here, town) == []
    [row] = nearest.to_place(
        here, town["desk_a"].actor(), town.place(), kind_id=None, busy_too=True, limit=10
    )
    assert (row.id, row.busy) == (town["o0"].id, True)
    here.session.execute(
        text("update shifts set closes_at = :now where id = :id"),
        {"now": here.now + timedelta(seconds=1), "id": shift.id},
    )
    here.now += timedelta(seconds=1)
    assert found(here, town, busy_too=True) == []


def test_a_kind_of_task_says_what_kind_of_officer_and_which_skill(here: UnitOfWork, town: Town) -> None:
    for number in (0, 1):
        on_shift(here, town, town[f"o{number}"], east_m=10 + number)
    kind_id = make_task(here, town, kind="escort").kind_id

    def asks(**what: Any) -> list[str]:
        for name, value in what.items():
            here.session.execute(
                text(f"update task_kinds set {name} = :value where id = :id"), {"value": value, "id": kind_id}
            )
        here.session.expire_all()
        return found(here, town, kind_id=kind_id)

    assert asks() == ["o0", "o1"]
    assert asks(officer_kinds=["police"]) == []
    assert asks(officer_kinds=["police", "patrol"]) == ["o0", "o1"]
    assert asks(skill="first_aid") == []
    here.session.execute(
        text("update users set skills = '{first_aid,welding}' where id = :id"), {"id": town["o1"].id}
    )
    assert asks(skill="first_aid") == ["o1"]


def test_who_has_the_task_is_not_shown_for_it_again(here: UnitOfWork, town: Town) -> None:
    for number in (0, 1):
        on_shift(here, town, town[f"o{number}"], east_m=10 + number)
    task = make_task(here, town, town["o0"])
    rows = nearest.to_task(here, town["desk_a"].actor(), task.id, busy_too=True, limit=5)
    assert [row.id for row in rows] == [town["o1"].id]


def test_the_system_asks_in_the_tasks_community_and_whoever_patrols_above_it(
    here: UnitOfWork, town: Town
) -> None:
    abroad = on_shift(here, town, town["officer_b"])
    see(here, abroad, town, east_m=1)
    everywhere = on_shift(here, town, town["o0"], east_m=50)
    here.session.execute(
        text("update shifts set area_id = :area where id = :id"),
        {"area": town.areas["town"], "id": everywhere.id},
    )
    task = make_task(here, town, offers_itself=True)
    assert [one.officer_id for one in task.assignments] == [town["o0"].id]
    assert share(here, task.id, town["o0"]).offered_by is None


def plan(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(inner for below in node.get("Plans", ()) for inner in plan(below))]


def test_at_ten_thousand_officers_the_index_finds_them_and_nothing_is_sorted_whole(
    live_engine: Engine, live_config: Any
) -> None:
    """The plan, by EXPLAIN ANALYZE: a walk along the index in the order of distance that stops when it has enough."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    town = factories.make_town(owner, "many")
    lon, lat = town.place()
    with owner.begin() as connection:
        connection.execute(
            text(
                "create temporary table o on commit drop as select n, gen_random_uuid() as officer,"
                " gen_random_uuid() as shift from generate_series(1, :many) n"
            ),
            {"many": MANY},
        )
        for statement in (
            "insert into users (id, town_id, display_name, state, locale, created_at) select officer, :town, n::text,"
            " 'active', 'en', now() from o",
            "insert into memberships (id, town_id, user_id, role, area_id, officer_kind, granted_at) select"
            " gen_random_uuid(), :town, officer, 'officer', :area, 'patrol', now() from o",
            "insert into shifts (id, town_id, officer_id, area_id, state, started_at, closes_at) select shift, :town,"
            " officer, :area, 'on_duty', now(), now() + interval '8 hours' from o",
            # A third was not seen lately.
            "insert into latest_positions (officer_id, town_id, shift_id, room_id, device_id, geom, fixed_at,"
            " received_at)"
            " select officer, :town, shift, :area, gen_random_uuid(), ST_SetSRID(ST_MakePoint(:lon +"
            " (random() - 0.5) * 0.2, :lat + (random() - 0.5) * 0.2), 4326)::geography, now() - case when n % 3 = 0"
            " then interval '1 hour' else interval '5 seconds' end, now() from o",
        ):
            connection.execute(
                text(statement),
                {"town": town.id, "area": town.areas["a"], "lon": lon, "lat": lat, "many": MANY},
            )
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze"))
    owner.dispose()
    with unit_of_work(town.id) as uow:
        given = {
            "place": f"SRID=4326;POINT({lon} {lat})", "now": uow.now, "since": uow.now - timedelta(minutes=5),
            "scope": [town.areas["a"]], "above": [], "kinds": ["patrol"], "skill": None, "busy_too": False,
            "except": [], "most": 5,
        }  # fmt: skip
        raw = uow.session.connection().connection.driver_connection
        assert raw is not None
        [[[whole]]] = raw.execute(f"explain (analyze, format json) {queries.NEAREST}", given)
        rows = nearest.to_place(
            uow, town["desk_a"].actor(), (lon, lat), kind_id=None, busy_too=False, limit=5
        )
        by_sorting = uow.session.execute(
            text(
                "select officer_id from latest_positions where fixed_at >= :since"
                " order by ST_Distance(geom, cast(:place as geography)) limit 5"
            ),
            given,
        ).scalars()
        assert [row.id for row in rows] == list(by_sorting)
    nodes = plan(whole["Plan"])
    [walk] = [node for node in nodes if node.get("Index Name") == "ix_latest_positions_geom"]
    assert walk["Node Type"] == "Index Scan"
    assert "<->" in walk["Order By"]
    assert walk["Actual Rows"] * walk["Actual Loops"] < 50, "it stops when it has enough"
    for node in nodes:
        assert node["Node Type"] != "Seq Scan" or node["Relation Name"] in SMALL, node
        if node["Node Type"] in ("Sort", "Incremental Sort"):
            assert node["Actual Rows"] <= 10, "the memberships of one officer, and nothing else"


SMALL = {"areas", "crews", "assignments"}
"""Tables of a few rows in this town, which are read faster than their indexes."""


def test_offering_to_the_nearest_asks_exactly_so_many(here: UnitOfWork, town: Town) -> None:
    for number in range(4):
        on_shift(here, town, town[f"o{number}"], east_m=10 * (4 - number))
    task = make_task(here, town)
    tasks.offer(here, town["desk_a"].actor(), task.id, Whom(nearest=2), command_id=new_id())
    asked = [
        one.officer_id for one in task_looks.at_desk_one(here, town["desk_a"].actor(), task.id).assignments
    ]
    assert asked == [town["o3"].id, town["o2"].id]
    assert system_actor(town.id).user_id is None
