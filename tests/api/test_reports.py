"""Reports and the handing over to the police at the API: filed once, seen by whom they concern, printed by name."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.conftest import World
from tests.api.test_tasks import DESK as TASKS
from tests.api.test_tasks import Duty

OFFICER, DESK = "/api/v1/officer/reports", "/api/v1/desk/reports"


@pytest.fixture
def duty(world: World, signed_in: Any) -> Duty:
    return Duty(world, signed_in)


@pytest.fixture
def all_sampled(world: World) -> Any:
    """The desk looks at everything."""
    before = world.app.extensions["xungeng.config"]
    world.app.extensions["xungeng.config"] = replace(before, report_sample_percent=100)
    yield
    world.app.extensions["xungeng.config"] = before


def file(duty: Duty, how: str = "handled", *, key: uuid.UUID | None = None, **more: Any) -> Any:
    lon, lat = duty.place
    body = {"kind_id": duty.kinds["facility"], "how": how, "place": {"lon": lon, "lat": lat, "accuracy_m": 9}}
    return duty.phone.post(OFFICER, body | more, key=key)


def test_a_report_pressed_offline_is_filed_once_with_the_phones_clock(duty: Duty) -> None:
    key, pressed = uuid.uuid4(), (datetime.now(UTC) - timedelta(hours=5)).isoformat()
    photo = str(uuid.uuid4())
    first = file(duty, key=key, device_at=pressed, evidence_after=[photo], note="井盖翘起，已复位\n已拍照")
    again = file(duty, key=key, device_at=pressed, evidence_after=[photo], note="井盖翘起，已复位\n已拍照")
    assert (first.status_code, again.status_code, again.json["id"]) == (201, 201, first.json["id"])
    [mine] = duty.phone.get(OFFICER).json["items"]
    assert mine == first.json
    assert mine["state"] in ("closed", "sampled")
    assert datetime.fromisoformat(mine["device_at"]) == datetime.fromisoformat(pressed).replace(
        microsecond=datetime.fromisoformat(pressed).microsecond // 1000 * 1000
    )
    assert (mine["evidence_after"], mine["evidence_before"], mine["task"]) == ([photo], [], None)


def test_what_does_not_say_what_it_is_or_of_no_such_kind_is_refused(duty: Duty) -> None:
    lon, lat = duty.place
    here, photo = {"lon": lon, "lat": lat}, str(uuid.uuid4())
    many = [str(uuid.uuid4()) for _ in range(21)]
    bad = [
        {"how": "handled", "place": here},
        {"kind_id": duty.kinds["facility"], "place": here},
        {"kind_id": duty.kinds["facility"], "how": "closed", "place": here},
        {"kind_id": duty.kinds["sos"], "how": "passed_on", "place": here},
        {"kind_id": str(uuid.uuid4()), "how": "handled", "place": here},
        {"kind_id": duty.kinds["facility"], "how": "handled", "place": {"lon": 181, "lat": 0}},
        {"kind_id": duty.kinds["facility"], "how": "handled", "place": here, "evidence_after": many},
        {"kind_id": duty.kinds["facility"], "how": "handled", "place": here, "evidence_after": [photo] * 2},
        {"kind_id": duty.kinds["facility"], "how": "handled", "place": here, "evidence_before": ["photo.jpg"]},
        {"kind_id": duty.kinds["facility"], "how": "handled"},  # His phone was never heard of.
    ]  # fmt: skip
    for body in bad:
        answer = duty.phone.post(OFFICER, body)
        assert (answer.status_code, answer.json["code"]) == (422, "invalid"), (body, answer.text)
    assert duty.phone.get(OFFICER).json["items"] == []
    shown = {
        kind["code"]: kind["reportable"]
        for kind in duty.phone.get("/api/v1/officer/task-kinds").json["items"]
    }
    assert (shown["facility"], shown["sos"], shown["check"]) == (True, False, False)


def test_the_place_is_stored_in_wgs84_whatever_the_phone_declares(duty: Duty) -> None:
    lon, lat = duty.place
    plain = file(duty).json["place"]
    shifted = file(duty, place={"lon": lon, "lat": lat, "datum": "gcj02"}).json["place"]
    assert plain == pytest.approx([lon, lat])
    assert 0.001 < abs(shifted[0] - lon) < 0.01


def test_the_desk_sees_it_looks_it_over_or_makes_it_a_task_and_the_officer_hears(
    duty: Duty, all_sampled: None
) -> None:
    first, second = file(duty).json, file(duty, note="灯杆倾斜").json
    listed = duty.desk.get(DESK, state="sampled", officer_id=str(duty.person.id)).json["items"]
    assert [one["id"] for one in listed] == [second["id"], first["id"]]
    assert listed[0]["actions"] == ["look_over", "pass_on"]
    seen = duty.desk.post(f"{DESK}/{first['id']}/look-over")
    assert (seen.json["state"], seen.json["actions"]) == ("closed", ["pass_on"])
    assert seen.json["seen_by"]["id"] == str(duty_desk(duty))
    again = duty.desk.post(f"{DESK}/{first['id']}/look-over")
    assert (again.status_code, again.json["code"], again.json["actions"]) == (409, "wrong_state", ["pass_on"])
    without = duty.desk.post(f"{DESK}/{second['id']}/pass-on", {})
    assert without.status_code == 422
    made = duty.desk.post(f"{DESK}/{second['id']}/pass-on", {"reason": "需要扶正"}).json
    assert (made["state"], made["task"]["state"]) == ("passed_on", "open")
    task = duty.desk.get(f"{TASKS}/{made['task']['id']}").json
    assert (task["source"], task["source_id"], task["description"]) == ("report", second["id"], "灯杆倾斜")
    [newest, _] = duty.phone.get(OFFICER).json["items"]
    assert (newest["state"], newest["task"]["number"]) == ("passed_on", task["number"])
    timeline = duty.desk.get(f"{DESK}/{second['id']}/timeline").json["items"]
    assert [entry["action"] for entry in timeline] == ["file", "settle", "sample", "pass_on"]
    assert timeline[-1]["reason"] == "需要扶正"
    told = duty.phone.get("/api/v1/officer/notices").json["items"]
    assert [n["kind"] for n in told if n["subject_id"] == second["id"]] == ["report.answered"]


def duty_desk(duty: Duty) -> Any:
    return duty.desk.get("/api/v1/auth/me").json["id"]


def test_another_desk_and_another_officer_see_nothing_of_it(duty: Duty, world: World, signed_in: Any) -> None:
    report = file(duty).json
    far, other = signed_in("desk_b"), signed_in(world.officer())
    assert report["id"] not in far.get(DESK).text
    assert far.get(f"{DESK}/{report['id']}").status_code == 404
    assert far.get(f"{DESK}/{report['id']}/timeline").status_code == 404
    assert far.post(f"{DESK}/{report['id']}/look-over").status_code == 404
    assert other.get(OFFICER).json["items"] == []


# --- 移交公安

REFERRAL = {
    "case_number": "A3101070 2026 0042",
    "taken_by": "张警官",
    "badge": "031042",
    "reason": "涉嫌盗窃",
}


def referral(**more: Any) -> dict[str, Any]:
    return {**REFERRAL, "handed_at": datetime.now(UTC).isoformat(), **more}


def test_a_task_is_handed_over_and_its_page_printed_by_name(duty: Duty, signed_in: Any) -> None:
    made = duty.task()
    assert "refer" in made["actions"]
    early = duty.desk.post(f"{TASKS}/{made['id']}/brief", {"reason": "handing over"})
    assert (early.status_code, early.json["code"]) == (409, "not_referred")
    for missing in ("case_number", "taken_by", "reason", "handed_at"):
        body = referral()
        del body[missing]
        assert duty.desk.post(f"{TASKS}/{made['id']}/refer", body).status_code == 422, missing
    done = duty.desk.post(f"{TASKS}/{made['id']}/refer", referral()).json
    assert (done["state"], done["actions"], done["referral"]["case_number"]) == (
        "closed",
        [],
        REFERRAL["case_number"],
    )
    page = duty.desk.post(f"{TASKS}/{made['id']}/brief", {"reason": "handing over"})
    assert page.status_code == 200, page.text
    brief = page.json
    assert brief["task"]["referral"]["taken_by"] == "张警官"
    assert brief["wgs84"] == pytest.approx(duty.place)
    assert brief["gcj02"] != brief["wgs84"]
    assert [entry["action"] for entry in brief["timeline"]] == ["create", "refer"]
    assert brief["printed_by"]["id"] == str(duty_desk(duty))
    assert duty.desk.post(f"{TASKS}/{made['id']}/print-brief").status_code == 200
    auditor = signed_in("auditor")
    looks = auditor.get("/api/v1/desk/disclosures", subject_id=made["id"]).json["items"]
    assert [(look["kind"], look["reason"]) for look in looks] == [("export", "handing over")]
    acts = auditor.get("/api/v1/desk/journal", subject_id=made["id"]).json["items"]
    assert [act["action"] for act in acts] == ["print_brief", "refer", "create"]
    assert "张警官" not in str(acts)


def test_only_the_desk_of_the_place_hands_over(duty: Duty, signed_in: Any) -> None:
    made = duty.task()
    assert signed_in("desk_b").post(f"{TASKS}/{made['id']}/refer", referral()).status_code == 404
    assert duty.phone.post(f"{TASKS}/{made['id']}/refer", referral()).status_code == 403
    ahead = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    assert duty.desk.post(f"{TASKS}/{made['id']}/refer", referral(handed_at=ahead)).status_code == 422
    key = uuid.uuid4()
    body = referral()
    first = duty.desk.post(f"{TASKS}/{made['id']}/refer", body, key=key)
    again = duty.desk.post(f"{TASKS}/{made['id']}/refer", body, key=key)
    assert (first.status_code, again.json["version"]) == (200, first.json["version"])
    late = duty.desk.post(f"{TASKS}/{made['id']}/cancel", {"reason": "x?"})
    assert (late.status_code, late.json["code"]) == (409, "wrong_state")
