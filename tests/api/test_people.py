"""Accounts at the desk: who may administer them, and what of it is possible now."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from sqlalchemy import text

from tests.api.conftest import Caller, World
from tests.factories import PASSWORD

USERS = "/api/v1/desk/users"


def _person(admin: Caller, **more: Any) -> dict[str, Any]:
    login = f"q{uuid.uuid4().hex[:10]}"
    made = admin.post(USERS, {"display_name": "Somebody", "login": login, "password": PASSWORD, **more})
    assert made.status_code == 201, made.text
    return made.json


@pytest.mark.parametrize("role", ["admin", "auditor"])
def test_admins_and_auditors_are_so_in_the_whole_town_alone(world: World, signed_in: Any, role: str) -> None:
    """F42: their acts and looks have no area, so a narrower membership would be a wider one than it says."""
    admin = signed_in("admin")
    grants = f"{USERS}/{_person(admin)['id']}/memberships"
    for area in ("a", "a1", "b"):
        refused = admin.post(grants, {"role": role, "area_id": str(world.here.areas[area])})
        assert (refused.status_code, refused.json["errors"]) == (422, {"area_id": ["not the whole town"]})
    granted = admin.post(grants, {"role": role})
    assert granted.status_code == 201
    (held,) = granted.json["memberships"]
    assert (held["role"], held["area"]["id"]) == (role, str(world.here.areas["town"]))
    again = admin.post(grants, {"role": role, "area_id": str(world.here.areas["town"])})
    assert (again.status_code, again.json["code"]) == (409, "already_member")


def test_an_auditor_holds_no_other_office(world: World, signed_in: Any) -> None:
    """F42: who looks at the others' acts has none of his own to be looked at; in whichever order it is asked for."""
    admin = signed_in("admin")
    area = str(world.here.areas["a"])
    for first, second in (("auditor", "supervisor"), ("admin", "auditor")):
        grants = f"{USERS}/{_person(admin)['id']}/memberships"
        bodies = [
            {"role": role, **({} if role != "supervisor" else {"area_id": area})} for role in (first, second)
        ]
        assert admin.post(grants, bodies[0]).status_code == 201
        refused = admin.post(grants, bodies[1])
        assert (refused.status_code, refused.json["code"]) == (409, "roles_exclude")
    both = f"{USERS}/{_person(admin)['id']}/memberships"
    assert [
        admin.post(both, {"role": r, "area_id": area}).status_code for r in ("supervisor", "dispatcher")
    ] == [201, 201]


def test_an_admin_of_a_part_administers_nobody(world: World, signed_in: Any) -> None:
    """F42: also where a row of that kind was written past the workflow."""
    admin = signed_in("admin")
    person = _person(admin)
    with world.owner.begin() as connection:
        connection.execute(
            text(
                "insert into memberships (id, town_id, user_id, role, area_id, granted_at)"
                " values (gen_random_uuid(), :town, :user, 'admin', :area, now())"
            ),
            {"town": world.here.id, "user": person["id"], "area": world.here.areas["a"]},
        )
    partial = Caller(world.app)
    tokens = partial.post("/api/v1/auth/login", {"login": person["login"], "password": PASSWORD}).json
    partial.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    officer, session = world.officer(), signed_in("officer_a").tokens["session_id"]
    for answer in (
        partial.get(USERS),
        partial.post(USERS, {"display_name": "x"}),
        partial.send("PATCH", f"{USERS}/{officer.id}", {"display_name": "x"}),
        partial.post(f"{USERS}/{officer.id}/disable", {"reason": "why not"}),
        partial.post(f"{USERS}/{officer.id}/memberships", {"role": "admin"}),
        partial.get(f"{USERS}/{officer.id}/sessions"),
        partial.post(f"/api/v1/desk/sessions/{session}/revoke"),
    ):
        assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
    assert admin.post(f"{USERS}/{officer.id}/disable", {"reason": "as asked"}).status_code == 200


def test_a_role_of_staff_needs_an_account_with_a_password(world: World, signed_in: Any) -> None:
    """F52: what a code by SMS opens is a resident's."""
    admin = signed_in("admin")
    phone = f"+8613916{uuid.uuid4().int % 10**6:06d}"
    made = admin.post(USERS, {"display_name": "Resident", "phone": phone}).json
    grants, area = f"{USERS}/{made['id']}/memberships", str(world.here.areas["a"])
    for role in ("dispatcher", "supervisor", "admin", "auditor"):
        scope = {} if role in ("admin", "auditor") else {"area_id": area}
        refused = admin.post(grants, {"role": role, **scope})
        assert (refused.status_code, refused.json["errors"]) == (422, {"role": ["needs a login"]})
    assert admin.post(grants, {"role": "resident", "area_id": area}).status_code == 201


def test_an_account_says_what_may_be_done_with_it_now(world: World, signed_in: Any) -> None:
    admin = signed_in("admin")
    person = _person(admin)
    active = ["change", "set_password", "grant", "end_membership", "end_session", "disable"]
    assert person["actions"] == active
    disabled = admin.post(f"{USERS}/{person['id']}/disable", {"reason": "left"}).json
    assert (disabled["state"], disabled["actions"]) == ("disabled", [*active[:-1], "enable"])
    refused = admin.post(f"{USERS}/{person['id']}/disable", {"reason": "left"})
    assert (refused.status_code, refused.json["code"]) == (409, "wrong_state")
    assert (refused.json["current"], refused.json["actions"]) == ("disabled", ["enable"])
    enabled = admin.post(f"{USERS}/{person['id']}/enable").json
    assert (enabled["state"], enabled["actions"]) == ("active", active)
    assert admin.post(f"{USERS}/{person['id']}/enable").status_code == 409
    without_login = admin.post(USERS, {"display_name": "No login"}).json
    assert "set_password" not in without_login["actions"]
    me = next(one for one in admin.get(USERS, q="here.admin").json["items"] if one["login"] == "here.admin")
    assert me["actions"] == ["change", "end_session"]


def test_an_ended_membership_and_a_revoked_session_end_once(world: World, signed_in: Any) -> None:
    """The same act again is answered the same; what is absent is a 404."""
    admin = signed_in("admin")
    person = _person(admin)
    granted = admin.post(
        f"{USERS}/{person['id']}/memberships",
        {"role": "dispatcher", "area_id": str(world.here.areas["a"])},
    ).json
    (held,) = granted["memberships"]
    for _ in range(2):
        assert admin.post(f"/api/v1/desk/memberships/{held['id']}/end").status_code == 204
    assert admin.post(f"/api/v1/desk/memberships/{uuid.uuid4()}/end").status_code == 404
    assert admin.post(f"/api/v1/desk/sessions/{uuid.uuid4()}/revoke").status_code == 404
    with world.owner.connect() as connection:
        ends = connection.execute(
            text("select count(*) from journal where subject_id = :id and action = 'end'"), {"id": held["id"]}
        ).scalar_one()
    assert ends == 1


@pytest.mark.parametrize("how", ["account", "membership", "other membership"])
def test_who_is_no_officer_any_more_is_tracked_no_more(world: World, signed_in: Any, how: str) -> None:
    """P21, F24: he can end his shift himself no longer, and his tracker would go on until it closes."""
    admin, officer = signed_in("admin"), world.officer("a")
    shift = signed_in(officer).post("/api/v1/officer/shifts", {}).json
    tracker = signed_in("supervisor_a").post(
        "/api/v1/desk/devices", {"officer_id": str(officer.id), "name": "tracker", "protocol": "osmand"}
    )
    key = tracker.json["provisioning"]["id"]

    def stored() -> int:
        sent = Caller(world.app).get(
            "/gateway/osmand", id=key, lat=31.1, lon=121.3, timestamp=int(time.time() * 1000)
        )
        assert sent.status_code == 200
        with world.owner.connect() as connection:
            return connection.scalar(
                text("select count(*) from fixes where device_id = :id"), {"id": tracker.json["id"]}
            )

    assert stored() == 1
    (held,) = admin.get(USERS, q=officer.login).json["items"][0]["memberships"]
    if how == "account":
        assert admin.post(f"{USERS}/{officer.id}/disable", {"reason": "has left"}).status_code == 200
    else:
        if how == "other membership":
            elsewhere = {"role": "officer", "area_id": str(world.here.areas["b"]), "officer_kind": "patrol"}
            assert admin.post(f"{USERS}/{officer.id}/memberships", elsewhere).status_code == 201
        assert admin.post(f"/api/v1/desk/memberships/{held['id']}/end").status_code == 204
    seen = signed_in("desk_a").get(f"/api/v1/desk/shifts/{shift['id']}").json
    assert (seen["state"], seen["ended_by"]) == ("ended", "system")
    assert stored() == 1
    assert signed_in("desk_a").get(f"/api/v1/desk/officers/{officer.id}").status_code == 404


def test_a_shift_goes_on_while_its_officer_is_one_there(world: World, signed_in: Any) -> None:
    admin, officer = signed_in("admin"), world.officer("a")
    wider = {"role": "officer", "area_id": str(world.here.areas["town"]), "officer_kind": "patrol"}
    admin.post(f"{USERS}/{officer.id}/memberships", wider)
    shift = signed_in(officer).post("/api/v1/officer/shifts", {}).json
    for held in admin.get(USERS, q=officer.login).json["items"][0]["memberships"]:
        if held["area"]["id"] != wider["area_id"]:
            assert admin.post(f"/api/v1/desk/memberships/{held['id']}/end").status_code == 204
    assert signed_in(officer).get("/api/v1/officer/shift").json["id"] == shift["id"]
