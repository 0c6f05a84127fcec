"""Roll calls, spot checks and broadcasts at the API: what desk and officer are told, and what each may press."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.conftest import Caller, World
from tests.api.test_shifts import start
from tests.factories import Person

DESK, OFFICER = "/api/v1/desk/calls", "/api/v1/officer/calls"


class Duty:
    """Two officers of a community on shift, their phones, and the desk."""

    def __init__(self, world: World, signed_in: Any) -> None:
        self.people: list[Person] = [world.officer(), world.officer()]
        self.phones: list[Caller] = [signed_in(person) for person in self.people]
        crew = {"call_sign": "青禾-09", "travel": "foot", "member_ids": [str(self.people[1].id)]}
        self.crew_id = start(self.phones[0], crew=crew)["crew"]["id"]
        [asked] = self.phones[1].get("/api/v1/officer/invitations").json["items"]
        device = {"id": str(uuid.uuid4()), "name": "Phone"}
        joined = self.phones[1].post(f"/api/v1/officer/invitations/{asked['id']}/accept", {"device": device})
        assert joined.status_code < 300, joined.text
        self.desk: Caller = signed_in("desk_a")
        self.area_id = str(world.here.areas["a"])
        self.lon, self.lat = world.here.place()

    def call(self, **more: Any) -> Any:
        answer = self.desk.post(DESK, {"kind": "roll_call", "crew_id": self.crew_id, **more})
        assert answer.status_code == 201, answer.text
        return answer.json

    def answers(self, call: Any) -> dict[str, Any]:
        """Return by officer what has come of it."""
        items = self.desk.get(f"{DESK}/{call['id']}/answers").json["items"]
        return {item["officer"]["id"]: item for item in items}


@pytest.fixture
def duty(world: World, signed_in: Any) -> Duty:
    return Duty(world, signed_in)


def test_a_roll_call_from_the_desk_to_the_phones_and_back(duty: Duty) -> None:
    made = duty.call(minutes=3)
    assert (made["state"], made["actions"], made["crew"]["call_sign"]) == ("open", ["cancel"], "青禾-09")
    lasts = datetime.fromisoformat(made["ends_at"]) - datetime.fromisoformat(made["created_at"])
    assert lasts == timedelta(minutes=3)
    phone = duty.phones[0]
    [mine] = phone.get(OFFICER).json["items"]
    assert (mine["id"], mine["kind"], mine["my_state"], mine["actions"]) == (
        made["id"], "roll_call", "asked", ["answer"],
    )  # fmt: skip
    assert phone.post(f"{OFFICER}/received", {"ids": [mine["id"]]}).json == {"news": 1}
    assert duty.desk.get(f"{DESK}/{made['id']}").json["counts"]["received"] == 1
    pressed_at = datetime.now(UTC).replace(microsecond=0).isoformat()
    place = {"lon": duty.lon, "lat": duty.lat, "accuracy_m": 6.5}
    done = phone.post(f"{OFFICER}/{made['id']}/answer", {"device_at": pressed_at, "place": place})
    assert (done.status_code, done.json["my_state"], done.json["actions"]) == (200, "answered", [])
    assert phone.get(OFFICER).json["items"] == []
    assert phone.get(f"{OFFICER}/{made['id']}").json["my_state"] == "answered"
    counts = duty.desk.get(f"{DESK}/{made['id']}").json["counts"]
    assert counts == {
        "asked": 2, "received": 1, "answered": 1, "late": 0, "missed": 0, "excused": 0, "waiting": 1,
    }  # fmt: skip
    [first, second] = [duty.answers(made)[str(person.id)] for person in duty.people]
    assert (first["state"], first["is_inside"], first["outside_m"], first["accuracy_m"]) == (
        "answered", True, 0.0, 6.5,
    )  # fmt: skip
    assert first["place"] == pytest.approx([duty.lon, duty.lat])
    assert (second["state"], second["place"], second["received_at"]) == ("asked", None, None)
    again = phone.post(f"{OFFICER}/{made['id']}/answer", {})
    assert (again.status_code, again.json["code"], again.json["current"]) == (409, "wrong_state", "answered")


def test_a_place_in_another_datum_is_converted(duty: Duty) -> None:
    """GCJ-02 is some hundred metres off in China; the numbers alone do not say it."""
    made = duty.call()
    place = {"lon": duty.lon, "lat": duty.lat, "datum": "gcj02"}
    duty.phones[0].post(f"{OFFICER}/{made['id']}/answer", {"place": place})
    lon, lat = duty.answers(made)[str(duty.people[0].id)]["place"]
    assert 0.001 < abs(lon - duty.lon) + abs(lat - duty.lat) < 0.02


def test_a_retry_answers_the_same_and_asks_nobody_twice(duty: Duty) -> None:
    """F02: the desk's press and the officer's."""
    key, body = uuid.uuid4(), {"kind": "roll_call", "crew_id": duty.crew_id}
    made = [duty.desk.post(DESK, body, key=key).json for _ in range(2)]
    assert made[0] == made[1]
    assert len(duty.phones[0].get(OFFICER).json["items"]) == 1
    key = uuid.uuid4()
    told = [duty.phones[0].post(f"{OFFICER}/{made[0]['id']}/answer", {}, key=key).json for _ in range(2)]
    assert told[0] == told[1]


def test_a_broadcast_is_read_by_whom_it_is_for_and_acknowledged(duty: Duty, signed_in: Any) -> None:
    said = "今晚庙会，\n注意防火"
    made = duty.desk.post(DESK, {"kind": "broadcast", "area_id": duty.area_id, "text": said})
    assert made.status_code == 201
    [mine] = duty.phones[1].get(OFFICER).json["items"]
    assert (mine["text"], mine["kind"]) == (said, "broadcast")
    assert duty.phones[1].post(f"{OFFICER}/{mine['id']}/answer", {}).json["my_state"] == "answered"
    assert duty.answers(made.json)[str(duty.people[1].id)]["state"] == "answered"
    for stranger in ("officer_b", "auditor", "handler"):
        assert said[:4] not in signed_in(stranger).get(f"{OFFICER}/{mine['id']}").text
    for text in (None, "", "x" * 501, "a\u202eb"):
        bad = duty.desk.post(DESK, {"kind": "broadcast", "area_id": duty.area_id, "text": text})
        assert (bad.status_code, "text" in bad.json["errors"]) == (422, True), text


def test_a_spot_check_asks_as_many_as_were_wanted(duty: Duty) -> None:
    made = duty.desk.post(DESK, {"kind": "spot_check", "area_id": duty.area_id, "count": 1}).json
    assert made["counts"]["asked"] == 1
    defaults = duty.desk.get(f"{DESK}/defaults").json
    assert defaults == {"roll_call_min": 5, "broadcast_min": 60}
    for count in (0, 51):
        bad = duty.desk.post(DESK, {"kind": "spot_check", "area_id": duty.area_id, "count": count})
        assert (bad.status_code, list(bad.json["errors"])) == (422, ["count"])


def test_past_calls_are_paged_and_a_cancelled_one_is_among_them(duty: Duty) -> None:
    made = [duty.call()["id"] for _ in range(3)]
    cancelled = duty.desk.post(f"{DESK}/{made[0]}/cancel")
    assert (cancelled.json["state"], cancelled.json["actions"]) == ("cancelled", [])
    assert cancelled.json["counts"]["excused"] == 2
    assert duty.desk.post(f"{DESK}/{made[0]}/cancel").json["code"] == "wrong_state"
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while len(seen) < 3:
        page = duty.desk.get(DESK, limit=2, kind="roll_call", **cursor).json
        seen += [call["id"] for call in page["items"]]
        cursor = {"cursor": page["next"]}
    assert seen[:3] == made[::-1]
    assert made[0] not in {c["id"] for c in duty.desk.get(DESK, state="open").json["items"]}


def test_the_answers_are_paged(duty: Duty) -> None:
    made = duty.call()
    first = duty.desk.get(f"{DESK}/{made['id']}/answers", limit=1).json
    rest = duty.desk.get(f"{DESK}/{made['id']}/answers", limit=1, cursor=first["next"]).json
    assert {first["items"][0]["officer"]["id"], rest["items"][0]["officer"]["id"]} == {
        str(person.id) for person in duty.people
    }
    assert rest["next"] is None


def test_a_neighbouring_desk_neither_calls_nor_sees(duty: Duty, signed_in: Any) -> None:
    """F41."""
    made, neighbour = duty.call(), signed_in("desk_b")
    for path in (f"{DESK}/{made['id']}", f"{DESK}/{made['id']}/answers"):
        assert neighbour.get(path).status_code == 404
    assert neighbour.post(f"{DESK}/{made['id']}/cancel").status_code == 404
    assert made["id"] not in neighbour.get(DESK).text
    for whom in ({"area_id": duty.area_id}, {"crew_id": duty.crew_id}):
        refused = neighbour.post(DESK, {"kind": "roll_call", **whom})
        assert (refused.status_code, refused.json["code"]) == (403, "area_not_yours")
