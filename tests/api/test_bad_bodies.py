"""Bodies that no client of ours sends: refused with a clear problem, never a crash, and nothing of them is stored."""

from __future__ import annotations

import base64
import json
import re
import time
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.wrappers import Request

from backend.core.vocabulary import Audience, Role
from mobile_api import limits, strict_json
from mobile_api.endpoint import POLICIES
from tests.api.conftest import Caller, World
from tests.api.test_isolation import _caller, routes
from workflows import access

ROUTES = [
    ("POST", "/api/v1/auth/login", None),
    ("POST", "/api/v1/auth/refresh", None),
    ("POST", "/api/v1/officer/shifts", "officer_a"),
    ("POST", "/api/v1/desk/replays", "desk_a"),
    ("POST", "/api/v1/desk/users", "admin"),
    ("PUT", "/api/v1/desk/basemaps", "admin"),
]

HOSTILE = {
    "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "deep and closed": b"[" * 50_000 + b"]" * 50_000,
    "nan": b'{"login": NaN}',
    "infinity": b'{"login": -Infinity}',
    "huge float": b'{"login": 1e999}',
    "duplicate": b'{"login": "a", "login": "b"}',
    "digits": b'{"login": ' + b"9" * 5000 + b"}",
    "lone surrogate": b'{"login": "\\ud800"}',
    "nul": b'{"login": "a\\u0000b"}',
    "raw nul": b'{"login": "a\x00b"}',
    "not utf-8": b'{"login": "\xff\xfe"}',
    "cut": b'{"login": "a',
    "empty": b"",
    "text": b"hello",
    "bom": b"\xef\xbb\xbf{}",
    "number": b"1",
    "list": b"[]",
    "null": b"null",
}


QUOTES = {
    "an escaped quotation mark outside a string": b'\\"',
    "and a lone backslash at the end": b'\\"',
    "strings that nothing closes": b'"a\\',
    "escaped backslashes": b'"\\\\\\',
    "a backslash before a new line": b'"\\\n',
    "empty strings": b'""',
    "brackets": b"[]",
}


@pytest.mark.parametrize("name", QUOTES)
def test_text_that_is_no_json_costs_no_more_for_each_byte_when_it_is_longer(name: str) -> None:
    """F74: four times the text takes four times as long, not sixteen times; a million quotation marks take seconds.

    By this thread's processor time: others that use the machine meanwhile shall not count.
    """

    def seconds(count: int) -> float:
        text = b"[]" * 33 + QUOTES[name] * count + (b"\\" if "lone" in name else b"")
        best = 9e9
        for _ in range(3):
            begun = time.thread_time()
            with pytest.raises(strict_json.NotStrictError):
                strict_json.loads(text)
            best = min(best, time.thread_time() - begun)
        return best

    assert seconds(200_000) < 9 * seconds(50_000) + 0.02
    assert seconds(1_000_000) < 5


def test_marks_and_brackets_within_strings_count_for_nothing() -> None:
    """F74: the refusals above refuse nothing that is JSON."""
    value = ["[" * 99, "{" * 99, '\\"' * 99, "9" * 99, "\\", "\n"] + [[]] * 99
    assert strict_json.loads(json.dumps(value)) == value
    deepest = b"[" * strict_json.MAXIMUM_DEPTH + b"]" * strict_json.MAXIMUM_DEPTH
    assert strict_json.loads(deepest) is not None
    with pytest.raises(strict_json.NotStrictError, match="deep"):
        strict_json.loads(b"[" + deepest + b"]")


@pytest.fixture(scope="module")
def callers(world: World) -> dict[str | None, Caller]:
    from backend.core import db

    before = db._engine
    db.set_engine(world.engine)
    found: dict[str | None, Caller] = {None: Caller(world.app)}
    for name in ("officer_a", "desk_a", "admin"):
        found[name] = Caller(world.app).sign_in(world.here[name])
    db.set_engine(before)
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_is_refused_with_a_problem(world: World, callers: Any, name: str) -> None:
    """F72, F73: 400 or 422 (too long: 413) in one shape on every route, never a 5xx."""
    for method, path, who in ROUTES:
        begun = time.thread_time()
        answer = callers[who].send(method, path, data=HOSTILE[name], content_type="application/json")
        bounded = path.startswith("/api/v1/auth/") and len(HOSTILE[name]) > limits.SHORT_BODY_BYTES
        assert answer.status_code in ((413,) if bounded else (400, 422)), (path, answer.status_code)
        assert answer.mimetype == "application/problem+json"
        assert answer.json["code"]
        assert "Traceback" not in answer.text
        assert time.thread_time() - begun < 5
    world.app.extensions["xungeng.limits"]._limiter.storage.reset()


json_texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(value=json_texts)
def test_what_is_read_strictly_can_be_stored_and_said_again(value: Any) -> None:
    """F73: no NaN, no lone surrogate, no NUL gets through; everything else comes back the same."""
    raw = json.dumps(value).encode()
    try:
        read = strict_json.loads(raw)
    except strict_json.NotStrictError:
        return
    assert json.loads(json.dumps(read, allow_nan=False)) == value
    assert "\x00" not in json.dumps(read, ensure_ascii=False)
    json.dumps(read, ensure_ascii=False).encode("utf-8")


@given(value=json_texts, who=st.sampled_from(["login", "shift", "replay"]))
def test_no_json_at_all_makes_an_endpoint_fail(world: World, callers: Any, value: Any, who: str) -> None:
    """F73: Hypothesis JSON on real routes: no 5xx."""
    method, path, name = {"login": ROUTES[0], "shift": ROUTES[2], "replay": ROUTES[3]}[who]
    world.app.extensions["xungeng.limits"]._limiter.storage.reset()
    answer = callers[name].send(
        method, path, data=json.dumps(value).encode(), content_type="application/json"
    )
    assert answer.status_code < 500
    assert answer.status_code in (400, 401, 422, 429) or name == "officer_a"


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "multipart/form-data", ""])
def test_another_content_type_is_refused(callers: Any, content_type: str) -> None:
    answer = callers["officer_a"].send(
        "POST", "/api/v1/officer/shifts", data=b'{"id": null}', content_type=content_type
    )
    assert answer.status_code == 415, answer.text
    assert answer.mimetype == "application/problem+json"


def test_a_body_over_the_routes_limit_is_refused_before_it_is_read(callers: Any) -> None:
    """F71: by its declared length; the streamed case runs against a real server (tests/durability)."""
    body = b'{"login": "' + b"a" * (3 * 1024 * 1024) + b'"}'
    answer = callers[None].send("POST", "/api/v1/auth/login", data=body, content_type="application/json")
    assert answer.status_code == 413
    assert answer.json["code"] == "too_large"


@pytest.mark.parametrize(
    "path", ["login", "otp", "otp/verify", "refresh", "password", "totp", "totp/disable"]
)
def test_signing_in_reads_no_more_than_it_needs(callers: Any, path: str) -> None:
    """F71: what anybody may send is 16 kB at most; up to there the body is judged by what it says."""
    for length, refused in ((limits.SHORT_BODY_BYTES, False), (limits.SHORT_BODY_BYTES + 1, True)):
        body = b'{"x": "' + b"a" * (length - 9) + b'"}'
        answer = callers["officer_a" if path in ("password", "totp", "totp/disable") else None].send(
            "POST", f"/api/v1/auth/{path}", data=body, content_type="application/json"
        )
        assert (answer.status_code == 413) is refused, answer.text
        assert (answer.json and answer.json["code"] == "too_large") is refused


def test_every_route_of_signing_in_has_the_bound() -> None:
    bounds = {
        name: policy.body_limit
        for name, policy in POLICIES.items()
        if policy.audience == Audience.AUTH and (policy.command or policy.reads)
    }
    assert len(bounds) > 8
    assert set(bounds.values()) == {limits.SHORT_BODY_BYTES}


def test_the_frameworks_own_refusals_have_the_same_shape(callers: Any) -> None:
    for answer, status in (
        (callers[None].get("/api/v1/nothing"), 404),
        (callers[None].send("DELETE", "/api/v1/auth/login"), 405),
        (callers[None].get("/api/v1/desk/officers/not-a-uuid"), 404),
        (callers["desk_a"].get("/api/v1/desk/officers", cursor="%%%"), 422),
        (callers["desk_a"].get("/api/v1/desk/officers", limit="501"), 422),
        (callers["desk_a"].get("/api/v1/desk/officers", area_id="x"), 422),
    ):
        assert answer.status_code == status
        assert answer.mimetype == "application/problem+json"
        assert answer.json["status"] == status
        assert answer.json["code"]
        assert answer.json["request_id"]


def test_an_unexpected_failure_tells_nothing(world: World, callers: Any, monkeypatch: Any) -> None:
    from workflows import officers

    def explode(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(officers, "live", explode)
    world.app.config["PROPAGATE_FAILURES"] = False
    try:
        answer = callers["desk_a"].get("/api/v1/desk/officers")
    finally:
        world.app.config["PROPAGATE_FAILURES"] = True
    assert (answer.status_code, answer.json["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert "Runtime" not in answer.text


def test_unknown_fields_are_named(callers: Any) -> None:
    answer = callers["officer_a"].post(
        "/api/v1/officer/shifts", {"state": "ended", "officer_id": str(uuid.uuid4())}
    )
    assert answer.status_code == 422
    assert set(answer.json["errors"]) == {"state", "officer_id"}


@pytest.mark.parametrize("extra", ["flat", "nested", "long"])
def test_what_is_wrong_is_told_up_to_a_bound(callers: Any, extra: str) -> None:
    """F71: the answer to 150,000 unknown fields is not the list of them."""
    many = {f"unknown{n}": 1 for n in range(50_000 if extra != "long" else 1)}
    body: dict[str, Any] = {
        "flat": many,
        "nested": {"device": many, "crew": many},
        "long": {"x" * 100_000: 1},
    }[extra]
    answer = callers["officer_a"].post("/api/v1/officer/shifts", body)
    assert answer.status_code == 422
    assert answer.json["errors"]
    assert len(answer.data) < 10_000


CURSORS = {
    "lone surrogate": ["\ud800", "x"],
    "nul": ["\0", "x"],
    "long ago": ["0001-01-01T00:00:00+23:59", str(uuid.UUID(int=0))],
    "far ahead": ["9999-12-31T23:59:59-23:59", str(uuid.UUID(int=0))],
    "naive": ["2026-01-01T00:00:00", str(uuid.UUID(int=0))],
    "numbers": [1, 2],
    "deep": [[[[]]]],
}
AFTER_A_NAME = ("long ago", "far ahead", "naive")


@pytest.mark.parametrize("name", CURSORS)
def test_a_cursor_that_is_not_ours_is_refused_wherever_lists_are(
    world: World, callers: Any, name: str
) -> None:
    """F73: server errors over every list: 0."""
    cursor = base64.urlsafe_b64encode(json.dumps(CURSORS[name]).encode()).decode().rstrip("=")
    asked = 0
    document = Caller(world.app).get("/api/v1/openapi.json").json
    for path, methods in document["paths"].items():
        parameters = methods.get("get", {}).get("parameters", [])
        if "{" in path or not any(p["name"] == "cursor" for p in parameters):
            continue
        verb, kind = methods["get"]["x-permission"].split(":")
        who = next(
            name for name, person in world.here.people.items() if person.role in access.GRANTS[verb, kind]
        )
        needed = {
            p["name"]: p["schema"].get("format")
            for p in parameters
            if p["in"] == "query" and p.get("required")
        }
        span = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z", "month": "2026-01"}
        assert needed.keys() <= span.keys(), path
        # A day is the beginning of a moment.
        given = {name: span[name][:10] if form == "date" else span[name] for name, form in needed.items()}
        answer = _caller(world, world.here[who]).get(path, cursor=cursor, **given)
        asked += 1
        if answer.status_code == 200:  # A list by name goes on after any text.
            assert name in AFTER_A_NAME, path
        else:
            assert (answer.status_code, answer.json["code"]) == (422, "bad_cursor"), (path, answer.text[:200])
    assert asked >= 8


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "1999-12-31T23:59:59Z", "2100-01-01T00:00:00Z"])
def test_a_moment_that_no_calendar_of_ours_holds_is_refused(world: World, callers: Any, at: str) -> None:
    """F73: moments and days lie between 2000 and 2100; server errors: 0."""
    supervisor = _caller(world, world.here["supervisor"])
    officer = world.here["officer_a"].id
    later = at.replace("00:00:00", "01:00:00")
    span = {"from": at, "to": later, "reason": "a look"}
    for answer in (
        supervisor.post("/api/v1/desk/replays", {"officer_ids": [str(officer)], **span}),
        supervisor.get(f"/api/v1/desk/officers/{officer}/track.gpx", **span),
        supervisor.get("/api/v1/desk/counters", day=at[:10]),
        supervisor.get("/api/v1/desk/counters", day="9999-12-31"),
    ):
        assert (answer.status_code, answer.json["code"]) == (422, "invalid"), answer.text
        assert "2000" in answer.text
    for day in ("2000-01-01", "2099-12-31"):
        assert supervisor.get("/api/v1/desk/counters", day=day).status_code == 200


@pytest.mark.parametrize("client", ["desk", "officer", "resident"])
def test_a_path_that_no_file_can_have_is_the_clients_page(world: World, client: str) -> None:
    """F63: a name too long for the file system, or one with a NUL, is no server error."""
    for path in ("a" * 300, "a/" * 3000, "%00", "..%2f" * 20):
        answer = Caller(world.app).get(f"/{client}/{path}")
        assert answer.status_code in (200, 404), (path[:20], answer.status_code)


FAULTS: dict[str, dict[str, Any]] = {
    "fields": {"json": {"unknown": 1}},
    "no json": {"data": b"{", "content_type": "application/json"},
    "media": {"data": b"x", "content_type": "text/plain"},
    "too large": {"data": b" " * (33 * 1024 * 1024), "content_type": "application/json"},
    "no key": {"json": {}, "headers": {"Idempotency-Key": ""}},
    "query": {"query_string": {"limit": "x", "from": "x"}},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whom_a_route_is_not_for_learns_that_before_any_fault_of_his_request(
    world: World, callers: Any, fault: str
) -> None:
    """F46: who has another role gets 403 on every route, however wrong his request is."""
    stranger, wrong, asked = _caller(world, world.here["handler"]), [], 0
    for method, path, policy in routes(world):
        if policy.may is None or Role.HANDLER in access.GRANTS[policy.may]:
            continue
        target = re.sub(r"<int:\w+>", "1", re.sub(r"<uuid:\w+>", str(uuid.UUID(int=1)), path))
        target = re.sub(r"<[^>]+>", "areas", target)
        asked += 1
        world.app.extensions["xungeng.limits"]._limiter.storage.reset()
        answer = stranger.send(method, target, **FAULTS[fault])
        if answer.status_code != 403:
            wrong.append((method, path, answer.status_code, answer.text[:150]))
    assert wrong == []
    assert asked > 30


def test_a_strangers_file_is_not_read(world: World, callers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """F46, F71: 32 MiB of somebody without the right are refused unread; the right person's are read."""
    read: list[int] = []
    get_data = Request.get_data
    monkeypatch.setattr(Request, "get_data", lambda self, **how: read.append(1) or get_data(self, **how))
    for who, status in (("handler", 403), ("officer_a", 403), ("desk_a", 403), ("supervisor", 422)):
        world.app.extensions["xungeng.limits"]._limiter.storage.reset()
        read.clear()
        answer = _caller(world, world.here[who]).send(
            "POST", "/api/v1/desk/imported-tracks", data=b"<gpx>", content_type="application/gpx+xml"
        )
        assert answer.status_code == status, who
        assert bool(read) == (status == 422), who
