"""Rounds at the desk, through the API: a checkpoint, a route over it, a plan, and the patrols that it makes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from backend.core.uow import unit_of_work
from tests.api.conftest import World
from tests.rounds import make_patrol

DESK = "/api/v1/desk"
NAME = {"zh-CN": "东门", "en": "East gate"}
QUESTION = {"id": "door", "text": NAME, "answer": "yes_no", "choices": [], "required": True}


def test_a_round_is_drawn_planned_and_made(world: World, signed_in: Any) -> None:
    supervisor, dispatcher = signed_in("supervisor_a"), signed_in("desk_a")
    lon, lat = world.here.place()
    body = {
        "code": "api-1", "name": NAME, "place": [lon, lat], "radius_m": 40, "min_dwell_s": 60,
        "questions": [QUESTION], "tag_uid": "04:a1:b2:c3:d4:e5:f6", "tag_signs": True,
    }  # fmt: skip
    point = supervisor.post(f"{DESK}/checkpoints", body).json
    assert point["area"]["id"] == str(world.here.areas["a1"])
    assert (point["place"], point["questions"], point["tag_uid"]) == (
        [lon, lat],
        [QUESTION],
        "04A1B2C3D4E5F6",
    )
    assert point["label_url"].startswith("http://localhost/c/")
    assert point["actions"] == ["change", "retire"]
    seen = dispatcher.get(f"{DESK}/checkpoints/{point['id']}").json
    assert (seen["label_url"], seen["actions"], seen["routes"]) == (None, [], [])

    moved = supervisor.send(
        "PUT", f"{DESK}/checkpoints/{point['id']}", body | {"radius_m": 50}, headers={"If-Match": '"1"'}
    )
    assert (moved.json["radius_m"], moved.json["version"]) == (50, 2)
    stale = supervisor.send("PUT", f"{DESK}/checkpoints/{point['id']}", body, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json["code"]) == (412, "stale")
    again = supervisor.post(f"{DESK}/checkpoints", body | {"tag_uid": None, "tag_signs": False})
    assert (again.status_code, again.json["code"]) == (409, "code_taken")

    drawn = {
        "name": NAME, "sequence": "shuffled", "allowed_s": 1800, "corridor_m": 60,
        "line": [[lon, lat], [lon + 0.001, lat]], "checkpoint_ids": [point["id"]],
    }  # fmt: skip
    route = supervisor.post(f"{DESK}/routes", drawn).json
    assert (route["line"], route["sequence"]) == (drawn["line"], "shuffled")
    assert [one["id"] for one in route["checkpoints"]] == [point["id"]]
    for wrong in (
        {"corridor_m": 60, "line": None},
        {"line": [[lon, lat], [lon, 91]]},
        {"line": [[lon, lat], [lon, "NaN"]]},
        {"line": [[lon + n * 1e-7, lat] for n in range(2001)]},
        {"checkpoint_ids": []},
        {"checkpoint_ids": [point["id"]] * 2},
    ):
        assert supervisor.post(f"{DESK}/routes", drawn | wrong).status_code == 422, wrong
    assert supervisor.get(f"{DESK}/checkpoints/{point['id']}").json["routes"][0]["number"] == route["number"]
    needed = supervisor.post(f"{DESK}/checkpoints/{point['id']}/retire")
    assert (needed.json["code"], needed.json["routes"]) == ("checkpoint_needed", [route["number"]])

    when = {"rule": "FREQ=DAILY;BYHOUR=6,18", "starts_on": "2026-01-01", "starts_at": "00:00"}
    preview = supervisor.post(f"{DESK}/plans/preview", when)
    assert preview.status_code == 200
    moments = preview.json["moments"]
    assert len(moments) == 10
    assert preview.json["time_zone"] == "Asia/Shanghai"
    officer = world.here["officer_a"]
    wanted = {"route_id": route["id"], "name": NAME, **when, "officer_ids": [str(officer.id)]}
    plan = supervisor.post(f"{DESK}/plans", wanted).json
    assert (plan["next_at"], plan["starts_at"], plan["ends_on"]) == (moments[0], "00:00", None)
    assert [one["id"] for one in plan["officers"]] == [str(officer.id)]
    bad = supervisor.post(f"{DESK}/plans", wanted | {"rule": "FREQ=SECONDLY"})
    assert (bad.status_code, bad.json["code"]) == (422, "bad_rule")
    day = {"since": moments[0], "until": moments[3]}
    made = dispatcher.get(f"{DESK}/patrols", **day).json["items"]
    ours = [one for one in made if one["plan"] and one["plan"]["id"] == plan["id"]]
    assert [one["scheduled_at"] for one in ours] == moments[2::-1]
    kept = supervisor.post(f"{DESK}/routes/{route['id']}/retire")
    assert (kept.json["code"], kept.json["plan_ids"]) == ("route_needed", [plan["id"]])
    assert supervisor.post(f"{DESK}/plans/{plan['id']}/retire").json["next_at"] is None
    left = dispatcher.get(f"{DESK}/patrols", **day).json["items"]
    assert {one["state"] for one in left if one["plan"] and one["plan"]["id"] == plan["id"]} == {"cancelled"}
    assert supervisor.post(f"{DESK}/routes/{route['id']}/retire").json["retired_at"] is not None
    assert supervisor.post(f"{DESK}/checkpoints/{point['id']}/retire").json["actions"] == []
    assert datetime.fromisoformat(moments[0]) > datetime.now(UTC)


def test_a_file_is_tried_before_it_is_taken(world: World, signed_in: Any) -> None:
    supervisor = signed_in("supervisor_a")
    lon, lat = world.here.place()
    rows = f"code,name_zh,name_en,lon,lat\nf-1,东门,East,{lon},{lat}\nf-2,西门,West,{lon},0.5\n"

    def send(data: str, **query: Any) -> Any:
        return supervisor.send(
            "POST", f"{DESK}/checkpoints/import", query_string=query, data=data.encode("utf-8-sig"),
            content_type="application/octet-stream",
        )  # fmt: skip

    tried = send(rows, format="csv", dry_run="true").json
    assert (tried["made"], tried["changed"], tried["unchanged"], tried["refused"]) == (1, 0, 0, 1)
    assert tried["rows"][1]["reason"] == "Row 2 (code f-2) lies outside the town."
    refused = send(rows, format="csv")
    assert (refused.status_code, refused.json["code"]) == (422, "bad_checkpoints")
    assert supervisor.get(f"{DESK}/checkpoints", q="f-").json["items"] == [], "nothing was kept"
    assert send(rows.rpartition("f-2")[0], format="csv").json["made"] == 1
    [found] = supervisor.get(f"{DESK}/checkpoints", q="f-1").json["items"]
    assert (found["code"], found["radius_m"]) == ("f-1", 25)
    assert send(rows, format="xls").status_code == 422


def test_what_a_patrol_finds_becomes_a_task_that_says_so(world: World, signed_in: Any) -> None:
    with unit_of_work(world.here.id) as uow:
        patrol = str(make_patrol(uow, world.here).id)
    dispatcher, elsewhere = signed_in("desk_a"), signed_in("desk_b")
    kind = next(one for one in dispatcher.get(f"{DESK}/task-kinds").json["items"] if one["code"] == "check")
    body = {
        "kind_id": kind["id"], "description": "门锁坏了", "place": list(world.here.place("a")), "patrol_id": patrol,
    }  # fmt: skip
    made = dispatcher.post(f"{DESK}/tasks", body)
    assert made.status_code == 201, made.text
    assert (made.json["source"], made.json["source_id"]) == ("patrol", patrol)
    plain = dispatcher.post(f"{DESK}/tasks", {**body, "patrol_id": None}).json
    assert (plain["source"], plain["source_id"]) == ("desk", None)
    found = dispatcher.get(f"{DESK}/tasks", source_id=patrol).json["items"]
    assert [task["id"] for task in found] == [made.json["id"]]
    # Neither a patrol that is not there nor one of other areas is a reason for a task.
    for whose, which in ((dispatcher, str(uuid4())), (elsewhere, patrol)):
        refused = whose.post(
            f"{DESK}/tasks", {**body, "place": list(world.here.place("b")), "patrol_id": which}
        )
        assert (refused.status_code, refused.json["code"]) == (404, "not_found")
    assert elsewhere.get(f"{DESK}/tasks", source_id=patrol).json["items"] == []
