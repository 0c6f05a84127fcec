"""The desk gives out trackers: their set-up is shown once, and to nobody who may not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from backend.core.vocabulary import Protocol
from tests.api.conftest import World

TRACKERS = [p.value for p in Protocol if p is not Protocol.OFFICER]


def wish(world: World, protocol: str = "osmand", officer: str = "officer_a", **more: Any) -> dict[str, Any]:
    return {"officer_id": str(world.here[officer].id), "name": "备用手机", "protocol": protocol, **more}


@pytest.mark.parametrize("protocol", TRACKERS)
def test_a_tracker_is_given_out_with_everything_its_app_needs(
    world: World, signed_in: Any, protocol: str
) -> None:
    desk = signed_in("supervisor_a")
    answer = desk.post(
        "/api/v1/desk/devices", {**wish(world, protocol), "officer_id": str(world.officer().id)}
    )
    assert answer.status_code == 201, answer.text
    device = answer.json
    assert (device["protocol"], device["state"], device["datum"]) == (protocol, "active", "wgs84")
    assert device["actions"] == ["renew", "revoke"]
    shown = device["provisioning"]
    assert shown["url"].startswith(f"http://localhost/gateway/{protocol}")
    assert shown["qr_svg"].startswith("<svg")
    assert set(shown["note"]) == {"zh-CN", "en"}
    secrets = {
        "osmand": [shown["id"]],
        "owntracks": [shown["user"], shown["password"]],
        "overland": [shown["token"]],
        "gpslogger": [shown["url"].split("?")[0].rpartition("/")[2]],
    }[protocol]
    assert all(secrets)
    seen = desk.get(f"/api/v1/desk/devices/{device['id']}")
    assert "provisioning" not in seen.json
    assert secrets[-1] not in seen.text
    assert secrets[-1] not in desk.get("/api/v1/desk/devices").text


def test_a_replay_makes_no_second_device_and_tells_no_secret(world: World, signed_in: Any) -> None:
    desk = signed_in("supervisor")
    officer = world.officer()
    key = uuid4()
    body = {**wish(world), "officer_id": str(officer.id)}
    first = desk.post("/api/v1/desk/devices", body, key=key)
    again = desk.post("/api/v1/desk/devices", body, key=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["Idempotent-Replay"] == "true"
    assert again.json == {**first.json, "provisioning": None}
    listed = desk.get("/api/v1/desk/devices", officer_id=str(officer.id))
    assert [item["id"] for item in listed.json["items"]] == [first.json["id"]]
    with world.owner.connect() as connection:
        kept = connection.execute(
            text("select answer::text from commands where key = :k"), {"k": key}
        ).scalar()
    assert first.json["provisioning"]["id"] not in str(kept)


def test_a_credential_is_renewed_and_a_device_shut_out(world: World, signed_in: Any) -> None:
    desk = signed_in("admin")
    made = desk.post("/api/v1/desk/devices", {**wish(world), "officer_id": str(world.officer().id)}).json
    path = f"/api/v1/desk/devices/{made['id']}"
    renewed = desk.post(f"{path}/renew").json
    assert renewed["provisioning"]["id"] != made["provisioning"]["id"]
    revoked = desk.post(f"{path}/revoke", {"reason": "丢失"})
    assert revoked.status_code == 200, revoked.text
    assert (revoked.json["state"], revoked.json["actions"]) == ("revoked", [])
    refused = desk.post(f"{path}/renew")
    assert (refused.status_code, refused.json["code"]) == (409, "wrong_state")
    assert (refused.json["current"], refused.json["actions"]) == ("revoked", [])


@pytest.mark.parametrize("who", ["desk_a", "officer_a", "auditor", "handler"])
def test_others_give_out_no_trackers(world: World, signed_in: Any, who: str) -> None:
    caller = signed_in(who)
    assert caller.post("/api/v1/desk/devices", wish(world)).status_code == 403
    assert caller.get("/api/v1/desk/devices").status_code == 403
    assert caller.get(f"/api/v1/desk/devices/{uuid4()}").status_code == 403
    assert caller.post(f"/api/v1/desk/devices/{uuid4()}/renew").status_code == 403
    assert caller.post(f"/api/v1/desk/devices/{uuid4()}/revoke", {}).status_code == 403


def test_another_communitys_and_another_towns_officers_are_not_there(world: World, signed_in: Any) -> None:
    """F40: the same answer for what is absent and what is not yours."""
    desk = signed_in("supervisor_a")
    assert desk.post("/api/v1/desk/devices", wish(world, officer="officer_b")).status_code == 404
    foreign = {**wish(world), "officer_id": str(world.there["officer_a"].id)}
    assert desk.post("/api/v1/desk/devices", foreign).status_code == 404
    theirs = signed_in("supervisor").post("/api/v1/desk/devices", wish(world, officer="officer_b")).json
    for path in (f"/api/v1/desk/devices/{theirs['id']}", f"/api/v1/desk/devices/{uuid4()}"):
        assert desk.get(path).status_code == 404
        assert desk.post(f"{path}/renew").status_code == 404
        assert desk.post(f"{path}/revoke", {}).status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"protocol": "officer"},
        {"protocol": "mqtt"},
        {"datum": "mars"},
        {"name": ""},
        {"name": "a\nb"},
        {"officer_id": "x"},
        {"state": "active"},
    ],
)
def test_what_is_no_tracker_is_refused(world: World, signed_in: Any, wrong: dict[str, Any]) -> None:
    answer = signed_in("supervisor").post("/api/v1/desk/devices", {**wish(world), **wrong})
    assert (answer.status_code, answer.json["code"]) == (422, "invalid")


def test_the_set_up_names_the_address_that_phones_can_reach(world: World, signed_in: Any) -> None:
    """The configured public address wins; without one it is the one that the desk itself was reached by."""
    desk = signed_in("supervisor")
    by_host = desk.post(
        "/api/v1/desk/devices",
        {**wish(world), "officer_id": str(world.officer().id)},
        base_url="https://town.example.cn:8443",
    )
    assert by_host.json["provisioning"]["url"] == "https://town.example.cn:8443/gateway/osmand"
    before = world.app.extensions["xungeng.config"]
    world.app.extensions["xungeng.config"] = replace(before, public_url="https://xungeng.example.cn")
    try:
        configured = desk.post("/api/v1/desk/devices", {**wish(world), "officer_id": str(world.officer().id)})
    finally:
        world.app.extensions["xungeng.config"] = before
    assert configured.json["provisioning"]["url"] == "https://xungeng.example.cn/gateway/osmand"
