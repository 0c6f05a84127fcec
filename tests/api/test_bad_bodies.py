"""Bodies that no client of ours sends: refused with a clear problem, never a crash, and nothing of them is stored."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobile_api import strict_json
from tests.api.conftest import Caller, World

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
    """F74: four times the text takes four times as long, not sixteen times; a million quotation marks take seconds."""

    def seconds(count: int) -> float:
        text = b"[]" * 33 + QUOTES[name] * count + (b"\\" if "lone" in name else b"")
        best = 9e9
        for _ in range(3):
            begun = time.perf_counter()
            with pytest.raises(strict_json.NotStrictError):
                strict_json.loads(text)
            best = min(best, time.perf_counter() - begun)
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
    """F72, F73: 400 or 422 in one shape on every route, never a 5xx."""
    for method, path, who in ROUTES:
        begun = time.perf_counter()
        answer = callers[who].send(method, path, data=HOSTILE[name], content_type="application/json")
        assert answer.status_code in (400, 422), (path, answer.status_code)
        assert answer.mimetype == "application/problem+json"
        assert answer.json["code"]
        assert "Traceback" not in answer.text
        assert time.perf_counter() - begun < 5
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
