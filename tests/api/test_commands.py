"""Commands and their keys: the same key answers the same again, whatever the answer was."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

import pytest
from sqlalchemy import text

from backend.core.errors import Conflict, TooMany, Unavailable
from tests.api.conftest import Caller, World
from tests.factories import PASSWORD
from workflows import users


def _new_person(**more: Any) -> dict[str, Any]:
    login = f"p{uuid.uuid4().hex[:10]}"
    return {"display_name": "Somebody", "login": login, "password": PASSWORD, **more}


def _command(world: World, key: uuid.UUID) -> Any:
    with world.owner.connect() as connection:
        return connection.execute(text("select * from commands where key = :key"), {"key": key}).one_or_none()


def test_a_refused_command_is_refused_again_when_it_would_be_possible(world: World, signed_in: Any) -> None:
    """F02: after a 409 the key does not act later, when the state allows it; a new key does."""
    admin, key = signed_in("admin"), uuid.uuid4()
    login = _new_person()
    assert admin.post("/api/v1/desk/users", login).status_code == 201
    first = admin.post("/api/v1/desk/users", login, key=key)
    assert (first.status_code, first.json["code"]) == (409, "login_taken")
    with world.owner.begin() as connection:
        connection.execute(
            text("update users set login = login || '.old' where login = :login"), {"login": login["login"]}
        )
    again = admin.post("/api/v1/desk/users", login, key=key)
    assert (again.status_code, again.json) == (409, first.json)
    assert again.headers["Idempotent-Replay"] == "true"
    assert again.mimetype == "application/problem+json"
    assert admin.post("/api/v1/desk/users", login).status_code == 201


def test_a_refusal_leaves_nothing_of_the_act(
    world: World, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the act did before it was refused is undone; the key and the refusal stay."""
    real = users.journal.write

    def refuse(*arguments: Any, **more: Any) -> None:
        real(*arguments, **more)
        raise Conflict("login_taken", "Somebody else has this already.")

    admin, key, person = signed_in("admin"), uuid.uuid4(), _new_person()
    monkeypatch.setattr(users.journal, "write", refuse)
    assert admin.post("/api/v1/desk/users", person, key=key).status_code == 409
    assert _command(world, key).status == 409
    with world.owner.connect() as connection:
        assert not connection.execute(
            text("select 1 from users where login = :login"), {"login": person["login"]}
        ).all()
        assert not connection.execute(
            text("select 1 from journal where command_id = :key"), {"key": key}
        ).all()


def test_what_lacks_a_role_is_kept_and_lost_roles_get_no_old_answer(world: World, signed_in: Any) -> None:
    key, officer, person = uuid.uuid4(), signed_in("officer_a"), _new_person()
    disable = f"/api/v1/desk/users/{world.here['resident'].id}/disable"
    for _ in range(2):
        answer = officer.post(disable, {"reason": "not his to do"}, key=key)
        assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
    assert _command(world, key).status == 403
    made = signed_in("admin").post("/api/v1/desk/users", person).json
    with world.owner.begin() as connection:
        connection.execute(
            text(
                "insert into memberships (id, town_id, user_id, role, area_id, granted_at)"
                " values (:id, :town, :user, 'admin', :area, now())"
            ),
            {"id": uuid.uuid4(), "town": world.here.id, "user": made["id"], "area": world.here.areas["town"]},
        )
    passing = Caller(world.app)
    tokens = passing.post("/api/v1/auth/login", {"login": person["login"], "password": PASSWORD}).json
    passing.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    key, other = uuid.uuid4(), _new_person()
    assert passing.post("/api/v1/desk/users", other, key=key).status_code == 201
    assert passing.post("/api/v1/desk/users", other, key=key).status_code == 201
    with world.owner.begin() as connection:
        connection.execute(
            text("update memberships set ended_at = now() where user_id = :id"), {"id": made["id"]}
        )
    assert passing.post("/api/v1/desk/users", other, key=key).status_code == 403


@pytest.mark.parametrize("failure", ["too often", "away", "defect"])
def test_what_is_told_to_come_again_is_not_kept(
    world: World, signed_in: Any, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    """Rule: 5xx, 401 and 429 answer nothing for good; the same key acts afterwards."""
    raised = {"too often": TooMany(3), "away": Unavailable(), "defect": RuntimeError("x")}[failure]

    def fail(*_: Any, **__: Any) -> None:
        raise raised

    admin, key, person = signed_in("admin"), uuid.uuid4(), _new_person()
    with monkeypatch.context() as patch:
        patch.setattr(users, "create", fail)
        patch.setitem(world.app.config, "PROPAGATE_FAILURES", False)
        assert admin.post("/api/v1/desk/users", person, key=key).status_code in (429, 500, 503)
    assert _command(world, key) is None
    assert admin.post("/api/v1/desk/users", person, key=key).status_code == 201


def test_a_body_with_a_password_is_kept_under_the_installations_key_alone(
    world: World, signed_in: Any
) -> None:
    """What lies in the table does not tell a guessed password by its hash."""
    key, person = uuid.uuid4(), _new_person()
    assert signed_in("admin").post("/api/v1/desk/users", person, key=key).status_code == 201
    kept = bytes(_command(world, key).body_hash)
    for body in (json.dumps(person), json.dumps(person, separators=(",", ":"))):
        for prefix in (b"", b"\n"):
            assert kept != hashlib.sha256(prefix + body.encode()).digest()
    again = signed_in("admin").post("/api/v1/desk/users", person, key=key)
    assert (again.status_code, again.headers["Idempotent-Replay"]) == (201, "true")
    other = signed_in("admin").post("/api/v1/desk/users", {**person, "password": "x" * 30}, key=key)
    assert (other.status_code, other.json["code"]) == (422, "key_reused")


@pytest.mark.parametrize(
    ("method", "path", "body", "action"),
    [
        ("PUT", "/api/v1/desk/basemaps", {"basemaps": []}, "set_basemaps"),
        ("POST", "/api/v1/auth/totp", {"password": PASSWORD}, "begin_totp"),
        ("POST", "/api/v1/auth/password", {"old": PASSWORD, "new": "a-long-new-lantern"}, "change_password"),
        ("POST", "/api/v1/auth/logout", None, "revoke"),
    ],
)
def test_the_key_of_a_command_is_its_id_in_the_journal(
    world: World, signed_in: Any, method: str, path: str, body: Any, action: str
) -> None:
    """Whoever asks what a press of a button did finds all of it under its key."""
    caller, key = signed_in("admin" if "/desk/" in path else world.officer()), uuid.uuid4()
    answer = caller.send(method, path, body, key=key)
    assert answer.status_code in (200, 204), answer.text
    with world.owner.connect() as connection:
        done = connection.scalars(
            text("select action from journal where command_id = :key and at > now() - interval '1 hour'"),
            {"key": key},
        ).all()
    assert action in done
