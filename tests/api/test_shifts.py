"""Shifts at the API: started and ended by who may, once, and nothing is kept outside them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from backend.core.uow import unit_of_work
from tests.api.conftest import Caller, World
from workflows import shifts

START = "/api/v1/officer/shifts"


def start(caller: Caller, **body: Any) -> Any:
    device = {"id": str(uuid.uuid4()), "name": "Phone"}
    answer = caller.post(START, {"device": device, **body})
    assert answer.status_code == 201, answer.text
    return answer.json | {"device_id": device["id"]}


def test_an_officer_starts_and_ends_his_shift(world: World, signed_in: Any) -> None:
    caller = signed_in(world.officer())
    assert caller.get("/api/v1/officer/shift").status_code == 204
    shift = start(caller)
    assert shift["state"] == "on_duty"
    assert shift["actions"] == ["end"]
    assert caller.get("/api/v1/officer/shift").json["id"] == shift["id"]
    ended = caller.post(f"{START}/{shift['id']}/end", {})
    assert (ended.json["state"], ended.json["ended_by"], ended.json["actions"]) == ("ended", "self", [])
    again = caller.post(f"{START}/{shift['id']}/end", {})
    assert (again.status_code, again.json["code"], again.json["current"]) == (409, "wrong_state", "ended")
    assert caller.get("/api/v1/officer/shift").status_code == 204
    assert [s["id"] for s in caller.get(START).json["items"]] == [shift["id"]]


def test_a_retried_start_makes_one_shift_and_is_answered_the_same(world: World, signed_in: Any) -> None:
    """F02: the same key again, also from several threads at once, is the same act."""
    caller = signed_in(world.officer())
    key, body = uuid.uuid4(), {"device": {"id": str(uuid.uuid4()), "name": "Phone"}}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: caller.post(START, body, key=key), range(16)))
    assert {a.status_code for a in answers} == {201}
    assert len({a.json["id"] for a in answers}) == 1
    assert sum("Idempotent-Replay" not in a.headers for a in answers) == 1
    other = caller.post(START, {}, key=key)
    assert (other.status_code, other.json["code"]) == (422, "key_reused")


def test_a_command_without_a_key_is_refused(world: World, signed_in: Any) -> None:
    caller = signed_in(world.officer())
    answer = caller.send("POST", START, {}, headers={"Idempotency-Key": ""})
    assert answer.status_code == 422


def test_two_starts_at_once_make_one_shift(
    world: World, signed_in: Any, thin: Callable[[int, int], int]
) -> None:
    for _ in range(thin(50, 5)):
        caller = signed_in(world.officer())
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _, c=caller: c.post(START, {}).status_code, range(8)))
        assert sorted(answers) == [201] + [409] * 7


def test_a_client_may_bring_the_id_but_not_somebody_elses(world: World, signed_in: Any) -> None:
    first, second = signed_in(world.officer()), signed_in(world.officer())
    wanted = str(uuid.uuid4())
    assert first.post(START, {"id": wanted}).json["id"] == wanted
    taken = second.post(START, {"id": wanted})
    assert (taken.status_code, taken.json["code"]) == (409, "id_taken")
    assert second.get("/api/v1/officer/shift").status_code == 204


def test_a_leader_starts_a_crew_and_ends_it(world: World, signed_in: Any) -> None:
    leader, mate = world.officer(), world.officer()
    caller, mates = signed_in(leader), signed_in(mate)
    crew = {"call_sign": "青禾-01", "travel": "e_bike", "member_ids": [str(mate.id)]}
    shift = start(caller, crew=crew)
    assert shift["crew"]["call_sign"] == "青禾-01"
    assert {m["id"] for m in shift["crew"]["members"]} == {str(leader.id), str(mate.id)}
    theirs = mates.get("/api/v1/officer/shift").json
    assert theirs["crew"]["id"] == shift["crew"]["id"]
    assert caller.post(f"{START}/{shift['id']}/end", {"whole_crew": True}).status_code == 200
    assert mates.get("/api/v1/officer/shift").status_code == 204
    assert mates.get(START).json["items"][0]["ended_by"] == "crew"


def test_an_officer_of_another_area_is_no_crew_mate(world: World, signed_in: Any) -> None:
    stranger = world.officer("b")
    crew = {"call_sign": "x", "travel": "foot", "member_ids": [str(stranger.id)]}
    answer = signed_in(world.officer("a")).post(START, {"crew": crew})
    assert answer.status_code == 422


def test_nobody_patrols_an_area_that_is_not_his(world: World, signed_in: Any) -> None:
    answer = signed_in(world.officer("a")).post(START, {"area_id": str(world.here.areas["b"])})
    assert (answer.status_code, answer.json["code"]) == (403, "area_not_yours")
    below = signed_in(world.officer("a")).post(START, {"area_id": str(world.here.areas["a1"])})
    assert below.status_code == 201


def test_the_desk_ends_a_shift_of_its_areas_with_a_reason(world: World, signed_in: Any) -> None:
    officer = world.officer("a")
    caller = signed_in(officer)
    shift = start(caller)
    path = f"/api/v1/desk/shifts/{shift['id']}/end"
    assert signed_in("desk_b").post(path, {"reason": "not mine"}).status_code == 404
    assert signed_in("desk_a").post(path, {}).status_code == 422
    assert signed_in("handler").post(path, {"reason": "no role"}).status_code == 403
    done = signed_in("desk_a").post(path, {"reason": "phone was handed in"})
    assert (done.status_code, done.json["ended_by"]) == (200, "desk")
    assert caller.get(START).json["items"][0]["ended_by"] == "desk"


def test_a_forgotten_shift_closes_itself_half_an_hour_after_its_planned_end(
    world: World, signed_in: Any
) -> None:
    caller = signed_in(world.officer())
    planned = datetime.now(UTC) + timedelta(hours=2)
    shift = start(caller, planned_end_at=planned.isoformat())
    assert datetime.fromisoformat(shift["closes_at"]) - planned < timedelta(minutes=30, seconds=1)
    with world.owner.begin() as connection:
        connection.execute(
            text(
                "update shifts set started_at = started_at - interval '3 hours',"
                " closes_at = now() - interval '1 minute' where id = :id"
            ),
            {"id": shift["id"]},
        )
    with unit_of_work(world.here.id) as uow:
        assert shifts.close_forgotten(uow) == 1
    with unit_of_work(world.here.id) as uow:
        assert shifts.close_forgotten(uow) == 0
    ended = caller.get(START).json["items"][0]
    assert (ended["state"], ended["ended_by"]) == ("ended", "system")
    assert ended["ended_at"] == ended["closes_at"]


def test_a_shift_is_not_planned_for_longer_than_allowed(world: World, signed_in: Any) -> None:
    caller = signed_in(world.officer())
    for planned in (datetime.now(UTC) + timedelta(hours=15), datetime.now(UTC) - timedelta(hours=1)):
        answer = caller.post(START, {"planned_end_at": planned.isoformat()})
        assert answer.status_code == 422, planned


def test_the_end_and_the_start_are_journalled_once(world: World, signed_in: Any) -> None:
    caller = signed_in(world.officer())
    shift = start(caller)
    key = uuid.uuid4()
    for _ in range(3):
        assert caller.post(f"{START}/{shift['id']}/end", {}, key=key).status_code == 200
    entries = signed_in("auditor").get("/api/v1/desk/journal", subject_id=shift["id"]).json["items"]
    assert [(e["action"], e["from"], e["to"]) for e in entries] == [
        ("end", "on_duty", "ended"),
        ("start", None, "on_duty"),
    ]
    assert entries[0]["actor_id"] == entries[1]["actor_id"]
