"""Tasks at the API: what the desk and the officer are told, and what each may press."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.core.uow import unit_of_work
from tests.api.conftest import Caller, World
from tests.api.test_isolation import _caller as by_code
from tests.api.test_shifts import start
from tests.factories import Person
from workflows import dispatching

DESK, OFFICER = "/api/v1/desk/tasks", "/api/v1/officer/tasks"
KINDS = "/api/v1/desk/task-kinds"


class Duty:
    """An officer on shift, his phone, and the desk of his community."""

    def __init__(self, world: World, signed_in: Any) -> None:
        self.person: Person = world.officer()
        self.phone: Caller = signed_in(self.person)
        self.shift = start(self.phone)
        self.desk: Caller = signed_in("desk_a")
        kinds = self.desk.get(KINDS).json["items"]
        self.kinds = {kind["code"]: kind["id"] for kind in kinds}
        self.place = list(world.here.place())

    def be_at(self, lon: float, lat: float) -> None:
        # Of the next second: the shift may have begun within this one.
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
        fix = {"fixed_at": moment, "lon": lon, "lat": lat, "accuracy_m": 5}
        body = {"device_id": self.shift["device_id"], "sent_at": moment, "fixes": [fix]}
        answer = self.phone.send("POST", "/api/v1/officer/fixes", body)
        assert answer.json["stored"] == 1, answer.text

    def task(self, kind: str = "check", **more: Any) -> Any:
        body = {"kind_id": self.kinds[kind], "description": "门口有人吵架\n二楼", "place": self.place, **more}
        answer = self.desk.post(DESK, body)
        assert answer.status_code == 201, answer.text
        return answer.json

    def offered(self, **more: Any) -> Any:
        return self.task(offer={"officer_ids": [str(self.person.id)]}, **more)

    def press(self, task: Any, action: str, **body: Any) -> Any:
        return self.phone.post(f"{OFFICER}/{task['id']}/{action}", body)


@pytest.fixture
def duty(world: World, signed_in: Any) -> Duty:
    return Duty(world, signed_in)


def test_a_task_from_the_desk_to_the_officer_and_back(duty: Duty) -> None:
    duty.be_at(duty.place[0], duty.place[1])
    made = duty.offered()
    assert (made["state"], made["actions"]) == ("offered", ["reassign", "cancel", "refer", "reinforce"])
    [mine] = duty.phone.get(OFFICER).json["items"]
    assert (mine["id"], mine["my_state"], mine["actions"]) == (made["id"], "offered", ["accept", "decline"])
    assert mine["place"] == duty.place
    assert mine["kind"]["questions"][0]["id"] == "found"
    pressed_at = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    accepted = duty.press(made, "accept", device_at=pressed_at).json
    assert (accepted["my_state"], accepted["actions"]) == ("accepted", ["depart", "arrive", "hand_back"])
    assert accepted["suggests"] == "arrive", "his phone is there"
    assert duty.press(made, "arrive").json["suggests"] is None
    bad = duty.press(made, "resolve", text="x", answers={"found": "yes"})
    assert (bad.status_code, bad.json["errors"]) == (422, {"answers": ["found"]})
    photos = [str(uuid.uuid4()) for _ in range(51)]
    for wrong in (photos, photos[:1] * 2, ["photo.jpg"]):
        bad = duty.press(made, "resolve", text="x", answers={"found": True}, evidence_ids=wrong)
        assert (bad.status_code, list(bad.json["errors"])) == (422, ["evidence_ids"])
    done = duty.press(made, "resolve", text="已劝离", answers={"found": True}, evidence_ids=photos[:50])
    assert (done.json["state"], done.json["my_state"], done.json["actions"]) == ("resolved", "done", [])
    assert duty.phone.get(OFFICER).json["items"] == []
    assert [t["id"] for t in duty.phone.get(OFFICER, past="true").json["items"]] == [made["id"]]
    shown = duty.desk.get(f"{DESK}/{made['id']}").json
    assert (shown["actions"], shown["result"]["text"]) == (["verify", "rework", "refer"], "已劝离")
    assert duty.desk.post(f"{DESK}/{made['id']}/verify").json["state"] == "closed"
    again = duty.desk.post(f"{DESK}/{made['id']}/verify")
    assert (again.status_code, again.json["code"], again.json["current"]) == (409, "wrong_state", "closed")


def test_the_timeline_tells_each_act_once_with_clock_and_place(duty: Duty) -> None:
    duty.be_at(duty.place[0], duty.place[1])
    made = duty.offered()
    pressed_at = datetime.now(UTC).replace(microsecond=0)
    duty.press(made, "accept", device_at=pressed_at.isoformat())
    duty.press(made, "hand-back", reason="called away")
    told: list[Any] = []
    cursor = None
    while True:
        page = duty.desk.get(
            f"{DESK}/{made['id']}/timeline", limit=2, **({"cursor": cursor} if cursor else {})
        ).json
        told += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert [entry["action"] for entry in told] == ["create", "offer", "accept", "hand_back"]
    accept = told[2]
    assert (accept["from"], accept["to"], accept["about"]) == ("offered", "accepted", "task")
    assert accept["actor"]["id"] == accept["officer"]["id"] == str(duty.person.id)
    assert accept["device_at"] == pressed_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert accept["place"] == pytest.approx(duty.place)
    assert told[1]["place"] is None, "where the desk sits is nobody's business"
    assert told[3]["reason"] == "called away"


def test_a_lost_answer_is_given_again_and_a_late_press_is_told_why(duty: Duty) -> None:
    made, key = duty.offered(), uuid.uuid4()
    path = f"{OFFICER}/{made['id']}/accept"
    first, second = (duty.phone.post(path, {}, key=key) for _ in range(2))
    assert (first.status_code, first.json) == (200, second.json)
    assert second.headers["Idempotent-Replay"] == "true"
    other = duty.offered()
    duty.desk.post(f"{DESK}/{other['id']}/cancel", {"reason": "a mistake"})
    late = duty.press(other, "accept")
    assert (late.status_code, late.json["code"], late.json["current"]) == (409, "wrong_state", "withdrawn")
    assert duty.phone.get(f"{OFFICER}/{other['id']}").status_code == 404


def test_a_client_brings_its_own_id_once(duty: Duty) -> None:
    wanted = str(uuid.uuid4())
    assert duty.task(id=wanted)["id"] == wanted
    taken = duty.desk.post(
        DESK, {"id": wanted, "kind_id": duty.kinds["noise"], "description": "x", "place": duty.place}
    )
    assert (taken.status_code, taken.json["code"]) == (409, "id_taken")


def test_lists_are_filtered_and_page(world: World, duty: Duty, signed_in: Any) -> None:
    made = [duty.task() for _ in range(3)]
    duty.desk.post(f"{DESK}/{made[0]['id']}/cancel", {"reason": "a mistake"})
    offered = duty.offered()

    def listed(caller: Caller = duty.desk, **query: Any) -> list[str]:
        ids: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = caller.get(DESK, limit=2, **query, **cursor).json
            ids += [one["id"] for one in page["items"]]
            if page["next"] is None:
                return ids
            cursor = {"cursor": page["next"]}

    everything = listed()
    assert len(everything) == len(set(everything))
    assert everything[:4] == [offered["id"], made[2]["id"], made[1]["id"], made[0]["id"]]
    assert made[0]["id"] in listed(state="cancelled")
    assert made[0]["id"] not in listed(unfinished="true")
    assert listed(officer_id=str(duty.person.id)) == [offered["id"]]
    assert set(listed(area_id=str(world.here.areas["a1"]))) >= {one["id"] for one in made}
    assert listed(area_id=str(world.here.areas["b"])) == []
    assert set(listed(signed_in("desk_b"))).isdisjoint(everything)
    assert set(listed(signed_in("supervisor"))) >= set(everything)


def test_what_another_desk_and_another_town_ask_for_is_not_there(
    world: World, duty: Duty, signed_in: Any
) -> None:
    """F41: neither a task nor its timeline, nor who is near it; and nothing can be pressed."""
    made = duty.offered()
    for stranger in (
        signed_in("desk_b"),
        signed_in("desk_a", world.there),
        signed_in("supervisor", world.there),
    ):
        for look in ("", "/timeline", "/nearest"):
            assert stranger.get(f"{DESK}/{made['id']}{look}").status_code == 404
        for act, body in (("cancel", {"reason": "not mine"}), ("offer", {"nearest": 1})):
            assert stranger.post(f"{DESK}/{made['id']}/{act}", body).status_code == 404
    for colleague in (
        signed_in(world.officer()),
        signed_in("officer_b"),
        signed_in("officer_a", world.there),
    ):
        assert colleague.get(f"{OFFICER}/{made['id']}").status_code == 404
        assert colleague.post(f"{OFFICER}/{made['id']}/accept", {}).status_code == 404
    abroad = duty.desk.post(
        DESK, {"kind_id": duty.kinds["check"], "description": "x", "place": list(world.here.place("b"))}
    )
    assert (abroad.status_code, abroad.json["code"]) == (403, "area_not_yours")


def test_the_nearest_are_shown_before_and_after_there_is_a_task(duty: Duty) -> None:
    # Apart from where the officers of all other tests stand: no more than 50 are shown.
    lon, lat = duty.place[0] + 0.003, duty.place[1] + 0.003
    duty.be_at(lon + 0.001, lat)
    found = duty.desk.get(f"{DESK}/nearest", lon=lon, lat=lat, limit=50).json["items"]
    [mine] = [one for one in found if one["id"] == str(duty.person.id)]
    assert 90 < mine["distance_m"] < 100
    assert (mine["busy"], mine["travel"]) == (False, "foot")
    assert mine["eta_s"] == pytest.approx(mine["distance_m"] * 1.3 / 1.4, abs=1)
    made = duty.task(place=[lon, lat])
    near = duty.desk.get(f"{DESK}/{made['id']}/nearest", limit=50).json["items"]
    assert str(duty.person.id) in {one["id"] for one in near}
    assert duty.desk.get(f"{DESK}/nearest", lon=lon).status_code == 422


def test_whom_an_alarm_is_about_is_not_offered_to_go_there_also_before_there_is_a_task(
    duty: Duty, signed_in: Any
) -> None:
    """F40: the alarm of another desk's area says nothing of itself."""
    # Apart from where the officers of all other tests stand: no more than 50 are shown.
    lon, lat = duty.place[0] - 0.003, duty.place[1] + 0.003
    duty.be_at(lon + 0.001, lat)
    called = duty.phone.post("/api/v1/officer/sos", {})
    assert called.status_code == 201, called.text
    assert called.json["responders"] == []
    query = {"lon": lon, "lat": lat, "limit": 50, "busy_too": "true"}
    mine = str(duty.person.id)
    assert mine in {one["id"] for one in duty.desk.get(f"{DESK}/nearest", **query).json["items"]}
    offered = duty.desk.get(f"{DESK}/nearest", **query, alarm_id=called.json["id"])
    assert offered.status_code == 200, offered.text
    assert mine not in {one["id"] for one in offered.json["items"]}
    for desk, alarm_id in ((signed_in("desk_b"), called.json["id"]), (duty.desk, str(uuid.uuid4()))):
        assert desk.get(f"{DESK}/nearest", **query, alarm_id=alarm_id).status_code == 404
    gone = duty.desk.post(f"/api/v1/desk/alarms/{called.json['id']}/dismiss", {"reason": "演练"})
    assert gone.status_code == 200, gone.text


def test_a_resident_is_told_the_minute_and_never_how_far_away_an_officer_was(
    duty: Duty, world: World
) -> None:
    """P22: with places of one's own invention the seconds of several calls would tell where he is."""
    lon, lat = duty.place
    duty.be_at(lon + 0.004, lat)
    resident = by_code(world, world.here["resident"])
    called = resident.post("/api/v1/resident/sos", {"place": {"lon": lon, "lat": lat}})
    assert called.status_code == 201, called.text
    alarm = f"/api/v1/desk/alarms/{called.json['id']}"
    assert called.json["acknowledged_by"] is None
    sent = duty.desk.post(f"{alarm}/dispatch", {"offer": {"officer_ids": [str(duty.person.id)]}})
    assert sent.status_code == 201, sent.text
    accepted = duty.press(sent.json, "accept")
    assert accepted.json["eta_s"] > 60
    [coming] = resident.get("/api/v1/resident/sos").json["items"][0]["responders"]
    assert set(coming) == {"name", "state", "since", "expected_at"}
    since, expected = (datetime.fromisoformat(coming[name]) for name in ("since", "expected_at"))
    assert (expected.second, expected.microsecond) == (0, 0)
    assert 0 <= (expected - since).total_seconds() - accepted.json["eta_s"] < 60
    gone = duty.desk.post(f"{alarm}/clear", {"reason": "演练"})
    assert gone.status_code == 200, gone.text


@pytest.mark.parametrize("leaves", ["released", "handed_back"])
def test_who_has_left_a_call_for_help_sees_no_more_of_it_than_there_was_then(
    duty: Duty, world: World, signed_in: Any, leaves: str
) -> None:
    """P22: where somebody in danger goes on to is for those who go there."""
    lon, lat = duty.place
    duty.be_at(lon + 0.004, lat)
    mate = world.officer()
    his_phone = signed_in(mate)
    start(his_phone)
    resident = by_code(world, world.here["resident"])
    called = resident.post("/api/v1/resident/sos", {"place": {"lon": lon, "lat": lat}})
    alarm = f"/api/v1/desk/alarms/{called.json['id']}"
    both = [str(duty.person.id), str(mate.id)]
    task = duty.desk.post(f"{alarm}/dispatch", {"offer": {"officer_ids": both}}).json
    of_his = f"{OFFICER}/{task['id']}"
    assert his_phone.post(f"{of_his}/accept", {}).status_code == 200
    assert duty.press(task, "accept").json["mates"] != []
    if leaves == "released":
        body = {"officer_id": str(duty.person.id), "reason": "够了"}
        assert duty.desk.post(f"{DESK}/{task['id']}/release", body).status_code == 200
    else:
        assert duty.press(task, "hand-back", reason="车坏了").status_code == 200
    left = duty.phone.get(of_his).json
    assert (left["my_state"], left["place"], left["mates"]) == (leaves, duty.place, [])
    moved = {"place": {"lon": lon + 0.002, "lat": lat, "fixed_at": datetime.now(UTC).isoformat()}}
    assert resident.post("/api/v1/resident/sos", moved).status_code == 201
    with unit_of_work(world.here.id) as uow:
        dispatching.send_to_sos(uow, uuid.UUID(called.json["id"]))
    assert his_phone.get(of_his).json["place"] == pytest.approx([lon + 0.002, lat])
    assert his_phone.post(f"{of_his}/arrive", {}).json["place"] == pytest.approx([lon + 0.002, lat])
    solved = his_phone.post(f"{of_his}/resolve", {"text": "已送医", "answers": {"injured": True}})
    assert solved.json["result"]["text"] == "已送医"
    [listed] = [one for one in duty.phone.get(OFFICER, past="true").json["items"] if one["id"] == task["id"]]
    assert listed == duty.phone.get(of_his).json
    assert (listed["place"], listed["mates"], listed["result"]) == (None, [], None)
    assert duty.desk.post(f"{DESK}/{task['id']}/verify").status_code == 200


def test_an_offer_says_to_whom_in_one_way(duty: Duty) -> None:
    made = duty.task()
    for body in (
        {},
        {"officer_ids": [str(duty.person.id)], "nearest": 1},
        {"officer_ids": []},
        {"nearest": 0},
    ):
        assert duty.desk.post(f"{DESK}/{made['id']}/offer", body).status_code == 422
    off_shift = duty.desk.post(f"{DESK}/{made['id']}/offer", {"officer_ids": [str(uuid.uuid4())]})
    assert (off_shift.status_code, off_shift.json["code"]) == (409, "not_on_shift")


def test_a_shift_does_not_end_over_a_task(duty: Duty) -> None:
    made = duty.offered()
    duty.press(made, "accept")
    end = f"/api/v1/officer/shifts/{duty.shift['id']}/end"
    refused = duty.phone.post(end, {})
    assert (refused.status_code, refused.json["code"]) == (409, "open_tasks")
    assert [one["number"] for one in refused.json["tasks"]] == [made["number"]]
    assert duty.press(made, "hand-back", reason="going home").json["my_state"] == "handed_back"
    assert duty.phone.post(end, {}).status_code == 200


def test_kinds_are_changed_by_who_read_them_last(world: World, signed_in: Any) -> None:
    boss, desk = signed_in("supervisor"), signed_in("desk_a")
    code = f"k{uuid.uuid4().hex[:10]}"
    body = {
        "name": {"zh-CN": "走访", "en": "Visit"},
        "questions": [
            {
                "id": "mood", "text": {"zh-CN": "情绪", "en": "Mood"}, "answer": "choice", "required": True,
                "choices": [
                    {"id": "calm", "text": {"zh-CN": "平稳", "en": "calm"}},
                    {"id": "upset", "text": {"zh-CN": "激动", "en": "upset"}},
                ],
            }
        ],
    }  # fmt: skip
    made = boss.post(KINDS, {"code": code, **body}).json
    assert (made["version"], made["actions"]) == (1, ["change", "retire"])
    assert boss.post(KINDS, {"code": code, **body}).json["code"] == "code_taken"
    path = f"{KINDS}/{made['id']}"
    changed = boss.send("PUT", path, {**body, "needed": 2}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.json["needed"], changed.json["version"]) == (200, 2, 2)
    stale = boss.send("PUT", path, body, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json["code"]) == (412, "stale")
    assert boss.send("PUT", path, body).status_code == 422, "without If-Match nobody knows what was read"
    twice = {**body, "questions": body["questions"] * 2}
    assert boss.send("PUT", path, twice, headers={"If-Match": "2"}).status_code == 422
    assert desk.post(KINDS, {"code": f"{code}2", **body}).status_code == 403
    assert signed_in("supervisor_a").post(f"{path}/retire").status_code == 403, "kinds are the whole town's"
    retired = boss.post(f"{path}/retire")
    assert (retired.json["actions"], retired.json["retired_at"] is not None) == ([], True)
    assert boss.post(f"{path}/retire").json["code"] == "wrong_state"
    assert code not in {kind["code"] for kind in desk.get(KINDS).json["items"]}
    assert code in {kind["code"] for kind in desk.get(KINDS, retired="true").json["items"]}
    unused = desk.post(DESK, {"kind_id": made["id"], "description": "x", "place": list(world.here.place())})
    assert (unused.status_code, unused.json["errors"]) == (422, {"kind_id": ["unknown"]})
    sos = next(kind for kind in desk.get(KINDS).json["items"] if kind["code"] == "sos")
    assert boss.post(f"{KINDS}/{sos['id']}/retire").json["code"] == "kind_needed"


def test_an_admin_says_what_an_officer_can(world: World, signed_in: Any) -> None:
    admin, officer = signed_in("admin"), world.officer()
    path = f"/api/v1/desk/users/{officer.id}"
    given = admin.send("PATCH", path, {"skills": ["first_aid", "first_aid", "sign_language"]})
    assert given.json["skills"] == ["first_aid", "sign_language"]
    assert admin.send("PATCH", path, {"display_name": "又一个"}).json["skills"] == given.json["skills"]
    assert admin.send("PATCH", path, {"skills": []}).json["skills"] == []
    assert admin.send("PATCH", path, {"skills": ["No Code"]}).status_code == 422
