"""Shifts at the API: started and ended by who may, once, and nothing is kept outside them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from backend.core.uow import unit_of_work
from mobile_api import fields
from tests.api.conftest import Caller, World
from tests.factories import Person
from workflows import invitations, shifts

START = "/api/v1/officer/shifts"


def start(caller: Caller, **body: Any) -> Any:
    device = {"id": str(uuid.uuid4()), "name": "Phone"}
    answer = caller.post(START, {"device": device, **body})
    assert answer.status_code == 201, answer.text
    return answer.json | {"device_id": device["id"]}


def in_hours(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


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


ASKED = "/api/v1/officer/invitations"


def crew_with(*mates: Person) -> dict[str, Any]:
    return {"call_sign": "青禾-01", "travel": "e_bike", "member_ids": [str(mate.id) for mate in mates]}


def accept(caller: Caller, invitation: dict[str, Any], **more: Any) -> Any:
    return caller.post(f"{ASKED}/{invitation['id']}/accept", more)


def test_a_leader_asks_his_crew_each_comes_by_himself_and_he_ends_it(world: World, signed_in: Any) -> None:
    leader, mate = world.officer(), world.officer()
    caller, mates = signed_in(leader), signed_in(mate)
    shift = start(caller, crew=crew_with(mate), planned_end_at=in_hours(3))
    assert shift["crew"]["call_sign"] == "青禾-01"
    assert [m["id"] for m in shift["crew"]["members"]] == [str(leader.id)]
    assert [(m["id"], m["state"]) for m in shift["crew"]["invited"]] == [(str(mate.id), "pending")]
    (asked,) = mates.get(ASKED).json["items"]
    assert (asked["leader"]["id"], asked["call_sign"]) == (str(leader.id), "青禾-01")
    assert asked["actions"] == ["accept", "decline"]
    key, phone = uuid.uuid4(), {"id": str(uuid.uuid4()), "name": "Phone"}
    path = f"{ASKED}/{asked['id']}/accept"
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: mates.post(path, {"device": phone}, key=key), range(4)))
    assert {(a.status_code, a.json["id"]) for a in answers} == {(201, answers[0].json["id"])}
    theirs = mates.get("/api/v1/officer/shift").json
    assert (theirs["crew"]["id"], theirs["area"]) == (shift["crew"]["id"], shift["area"])
    assert (theirs["planned_end_at"], theirs["closes_at"]) == (shift["planned_end_at"], shift["closes_at"])
    crew = caller.get("/api/v1/officer/shift").json["crew"]
    assert ({m["id"] for m in crew["members"]}, crew["invited"]) == ({str(leader.id), str(mate.id)}, [])
    assert caller.post(f"{START}/{shift['id']}/end", {"whole_crew": True}).status_code == 200
    assert mates.get("/api/v1/officer/shift").status_code == 204
    assert mates.get(START).json["items"][0]["ended_by"] == "crew"


def test_nobody_is_brought_on_duty_by_another(world: World, signed_in: Any) -> None:
    """P21, F24: named by a leader, declined, or put out of mind, an officer stays off duty, and nothing is stored."""
    leader, mate = world.officer(), world.officer()
    caller, mates, supervisor = signed_in(leader), signed_in(mate), signed_in("supervisor")
    made = supervisor.post(
        "/api/v1/desk/devices", {"officer_id": str(mate.id), "name": "Tracker", "protocol": "osmand"}
    )
    tracker = made.json["provisioning"]["id"]

    def stored() -> int:
        now = int(datetime.now(UTC).timestamp()) + 1
        sent = Caller(world.app).get(
            "/gateway/osmand", id=tracker, timestamp=now, lat=31.105, lon=121.305, accuracy=5
        )
        assert sent.status_code == 200
        with world.owner.connect() as connection:
            return connection.execute(
                text("select count(*) from fixes where device_id = :id"), {"id": made.json["id"]}
            ).scalar_one()

    shift = start(caller, crew=crew_with(mate))
    assert mates.get("/api/v1/officer/shift").status_code == 204
    assert supervisor.get(f"/api/v1/desk/officers/{mate.id}").status_code == 404
    assert stored() == 0
    (asked,) = mates.get(ASKED).json["items"]
    for other in (caller, signed_in(world.officer()), signed_in(world.officer("b"))):
        assert accept(other, asked).status_code == 404
    assert accept(supervisor, asked).status_code == 403
    declined = mates.post(f"{ASKED}/{asked['id']}/decline")
    assert (declined.status_code, declined.json["state"], declined.json["actions"]) == (200, "declined", [])
    again = accept(mates, asked)
    assert (again.status_code, again.json["current"]) == (409, "declined")
    assert stored() == 0
    assert mates.get(ASKED).json["items"] == []
    crew = caller.get("/api/v1/officer/shift").json["crew"]
    assert [(m["id"], m["state"]) for m in crew["invited"]] == [(str(mate.id), "declined")]

    caller.post(f"{START}/{shift['id']}/end", {})
    start(caller, crew=crew_with(mate))
    (asked,) = mates.get(ASKED).json["items"]
    joined = accept(mates, asked)
    assert joined.status_code == 201
    assert stored() == 1
    mates.post(f"{START}/{joined.json['id']}/end", {})
    assert accept(mates, asked).json["current"] == "accepted", (
        "who has left comes again only when asked again"
    )
    entries = signed_in("auditor").get("/api/v1/desk/journal", subject_id=asked["id"]).json["items"]
    assert [(e["action"], e["from"], e["to"], e["actor_id"]) for e in entries] == [
        ("accept", "pending", "accepted", str(mate.id)),
        ("invite", None, "pending", str(leader.id)),
    ]


def test_an_invitation_lapses_with_its_time_and_with_its_leaders_shift(world: World, signed_in: Any) -> None:
    """P21: an old question brings nobody on duty."""
    leader, late, left = world.officer(), world.officer(), world.officer()
    caller = signed_in(leader)
    shift = start(caller, crew=crew_with(late, left))
    mates = {mate.id: signed_in(mate) for mate in (late, left)}
    asked = {mate.id: mates[mate.id].get(ASKED).json["items"][0] for mate in (late, left)}
    with world.owner.begin() as connection:
        connection.execute(
            text("update invitations set expires_at = now() where id = :id"), {"id": asked[late.id]["id"]}
        )
    assert mates[late.id].get(ASKED).json["items"] == []
    assert accept(mates[late.id], asked[late.id]).json["current"] == "lapsed"
    caller.post(f"{START}/{shift['id']}/end", {})
    assert mates[left.id].get(ASKED).json["items"] == []
    assert accept(mates[left.id], asked[left.id]).json["current"] == "lapsed"
    with unit_of_work(world.here.id) as uow:
        assert invitations.lapse_forgotten(uow) >= 2
    with unit_of_work(world.here.id) as uow:
        assert invitations.lapse_forgotten(uow) == 0
    for mate in (late, left):
        answer = mates[mate.id].post(f"{ASKED}/{asked[mate.id]['id']}/decline")
        assert (answer.status_code, answer.json["current"]) == (409, "lapsed")


def test_who_is_on_duty_already_comes_once_he_has_ended_that(world: World, signed_in: Any) -> None:
    leader, mate = world.officer(), world.officer()
    mates = signed_in(mate)
    own = start(mates)
    start(signed_in(leader), crew=crew_with(mate))
    (asked,) = mates.get(ASKED).json["items"]
    busy = accept(mates, asked)
    assert (busy.status_code, busy.json["code"]) == (409, "already_on_shift")
    mates.post(f"{START}/{own['id']}/end", {})
    assert accept(mates, asked).status_code == 201


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


def test_a_phone_with_an_impossible_date_is_told_so_by_name(world: World, signed_in: Any) -> None:
    """Its owner can mend that; any other field that is not acceptable is not called a wrong clock."""
    caller = signed_in(world.officer())
    for year in ("1970", "1999", "2100", "2106"):
        refused = caller.post(START, {"device_at": f"{year}-06-01T00:00:00Z"})
        assert (refused.status_code, refused.json["code"]) == (422, "clock_wrong"), year
        assert list(refused.json["errors"]) == ["device_at"]
    for body in ({"planned_end_at": "1970-01-01T00:00:00Z"}, {"device_at": "now"}, {fields.WRONG_CLOCK: 1}):
        refused = caller.post(START, body)
        assert (refused.status_code, refused.json["code"]) == (422, "invalid"), body
    shift = start(caller, device_at="2000-01-01T00:00:00Z")
    end, key = f"{START}/{shift['id']}/end", uuid.uuid4()
    assert caller.post(end, {"device_at": "1999-06-01T00:00:00Z"}, key=key).json["code"] == "clock_wrong"
    # It was not looked at, so the same key may come again without the clock.
    assert caller.post(end, {}, key=key).json["state"] == "ended"


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
