"""The officer's fixes over HTTP: two validators with one verdict, refusals before the body, and one answer each."""

from __future__ import annotations

import gzip
import io
import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from werkzeug.test import Client, TestResponse

from backend.app import create_app
from backend.core import listen, memory
from backend.core.config import libpq_url
from backend.core.errors import Refusal, Unauthenticated, Unavailable
from backend.core.uow import unit_of_work
from mobile_api import hot
from mobile_api.gateway.delivery import MISSES
from mobile_api.identity import Identity
from mobile_api.officer import fixes
from tests.api.conftest import Caller, World
from tests.factories import SOUTH, WEST, Person
from workflows import sessions, tracks

ROUTE = "/api/v1/officer/fixes"
DEVICE = "01a207a9-d028-7474-bb2d-cd8d75ba3b62"
PLAIN = {"device_id": DEVICE, "sent_at": "2026-11-23T08:00:00Z"}
FIX = {"fixed_at": "2026-11-23T08:00:00Z", "lon": 121.3, "lat": 31.1}


# --- One verdict


def verdict(read: Callable[[bytes], Any], raw: bytes) -> Any:
    """What a validator says: the batch it read, or the refusal."""
    try:
        return read(raw)
    except Refusal as refusal:
        return refusal.status, refusal.code, refusal.extra


def body(*found: Any, **more: Any) -> bytes:
    return json.dumps({**PLAIN, **more, "fixes": [{**FIX, **fix} for fix in found]}).encode()


def with_fix(text_: str) -> bytes:
    """A body whose one fix is written just so."""
    return f'{{"device_id":"{DEVICE}","sent_at":"2026-11-23T08:00:00Z","fixes":[{{{text_}}}]}}'.encode()


AT = '"fixed_at":"2026-11-23T08:00:00Z"'
PLACE = f'{AT},"lon":121.3,"lat":31.1'
FULL = {
    "accuracy_m": 6.5, "altitude_m": -4, "speed_mps": 1.25, "heading_deg": 359.9, "battery_pct": 81, "charging": True,
    "mock": False, "seq": 3,
}  # fmt: skip

GOOD = {
    "least": body({}),
    "every member": body(FULL, datum="gcj02"),
    "nulls": body(dict.fromkeys(FULL), datum=None),
    "thousand": body(*[{"seq": i % 7} for i in range(1000)]),
    "compact": json.dumps({**PLAIN, "fixes": [FIX]}, separators=(",", ":")).encode(),
    "indented": json.dumps({**PLAIN, "fixes": [FIX]}, indent=3).encode(),
    "spaces before colons": b'{"device_id" : "%s", "sent_at"\t:\n"2026-11-23T08:00:00Z", "fixes" :[{%s}]}'
    % (DEVICE.encode(), PLACE.encode()),
    "offset": body({"fixed_at": "2026-11-23T16:00:00+08:00"}),
    "micros": body({"fixed_at": "2026-11-23T08:00:00.123456Z"}),
    "nanos": body({"fixed_at": "2026-11-23T08:00:00.123456789Z"}),
    "absurd place": body({"lon": 999, "lat": -1e300}),
    "integers": body({"lon": 121, "lat": 31, "accuracy_m": 10**30}),
    "minus nought": body({"lon": -0.0, "speed_mps": -0.0}),
    "tiny": with_fix(f'{PLACE},"speed_mps":1e-400'),
    "exponents": with_fix(f'{AT},"lon":1.213E2,"lat":311e-1'),
    "escaped name": with_fix(f'{AT},"\\u006con":121.3,"lat":31.1'),
    "bare uuid": body({}, device_id=UUID(DEVICE).hex),
    "upper uuid": body({}, device_id=DEVICE.upper()),
    "long fraction": with_fix(f'{AT},"lon":121.{"3" * 39},"lat":31.1'),
    "year 2": body({"fixed_at": "0002-01-01T00:00:00+08:00"}),
}

BAD = {
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "number": b"5",
    "text": b'"hello"',
    "cut": body({})[:-1],
    "tail": body({}) + b"x",
    "two": body({}) * 2,
    "bom": b"\xef\xbb\xbf" + body({}),
    "utf-16": body({}).decode().encode("utf-16"),
    "not utf-8": with_fix(f'{PLACE},"datum":"').replace(b'"datum":"', b'"datum":"\xff"'),
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep inside": with_fix(f'{PLACE},"seq":{"[" * 50_000}{"]" * 50_000}'),
    "deep unknown": with_fix(f'{PLACE},"x":{"[" * 50_000}{"]" * 50_000}'),
    "nan": with_fix(f'{AT},"lon":NaN,"lat":31.1'),
    "nan in an unknown name": with_fix(f'{PLACE},"x":NaN'),
    "infinity": with_fix(f'{PLACE},"speed_mps":-Infinity'),
    "huge float": with_fix(f'{PLACE},"speed_mps":1e999'),
    "digits": with_fix(f'{PLACE},"speed_mps":{"9" * 5000}'),
    "digits of seq": with_fix(f'{PLACE},"seq":{"9" * 5000}'),
    "forty digits": with_fix(f'{PLACE},"accuracy_m":{"1" * 40}'),
    "forty digits of a fraction": with_fix(f'{PLACE},"accuracy_m":0.{"1" * 40}'),
    "duplicate in a fix": with_fix(f'{PLACE},"lon":1.0'),
    "duplicate with a space": with_fix(f'{AT},"lon" :121.3,"lon":121.3,"lat":31.1'),
    "duplicate by escape": with_fix(f'{PLACE},"\\u006con":1.0'),
    "duplicate null": with_fix(f'{PLACE},"seq":null,"seq":null'),
    "duplicate balanced by absence": with_fix(f'{PLACE},"seq":1,"seq":1}},{{{PLACE}'),
    "duplicate on top": body({}).replace(b'"sent_at"', b'"sent_at":"2026-11-23T08:00:00Z","sent_at"', 1),
    "duplicate fixes": body({})[:-1] + b',"fixes":[]}',
    "lone surrogate": body({}, device_id="\ud800"),
    "lone surrogate name": with_fix(f'{PLACE},"\\ud800":1'),
    "nul": body({}, datum="\x00"),
    "raw nul": body({}).replace(b"wgs", b"w\x00s") + b"\x00",
    "unknown name": body({"speed": 3}),
    "unknown on top": body({}, detail="x", code="y"),
    "no device": json.dumps({"sent_at": PLAIN["sent_at"], "fixes": [FIX]}).encode(),
    "no fixes": json.dumps(PLAIN).encode(),
    "nothing in fixes": body(),
    "too many": body(*[{}] * 1001),
    "fixes is an object": json.dumps({**PLAIN, "fixes": FIX}).encode(),
    "fix is a list": json.dumps({**PLAIN, "fixes": [[1]]}).encode(),
    "fix is null": json.dumps({**PLAIN, "fixes": [None]}).encode(),
    "lon as text": body({"lon": "121.3"}),
    "lon as truth": body({"lon": True}),
    "lon as null": body({"lon": None}),
    "accuracy as text": body({"accuracy_m": "5"}),
    "truth as number": body({"charging": 1}),
    "truth as text": body({"mock": "true"}),
    "seq with a fraction": body({"seq": 1.0}),
    "seq negative": body({"seq": -1}),
    "seq too large": body({"seq": 1000}),
    "seq as truth": body({"seq": True}),
    "moment without zone": body({"fixed_at": "2026-11-23T08:00:00"}),
    "moment as number": body({"fixed_at": 1795420800}),
    "moment of February 30": body({"fixed_at": "2026-02-30T08:00:00Z"}),
    "moment as a week": body({"fixed_at": "2026-W48-1T08:00:00Z"}),
    "moment of the year 1": body({"fixed_at": "0001-01-01T00:00:00+08:00"}),
    "moment of the year 9999": body({"fixed_at": "9999-12-31T23:59:59-08:00"}),
    "sent without zone": body({}, sent_at="2026-11-23T08:00:00"),
    "device as number": body({}, device_id=7),
    "device in braces": body({}, device_id="{" + DEVICE + "}"),
    "datum unknown": body({}, datum="nad27"),
    "datum as number": body({}, datum=84),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_phones_send_is_read_by_both_validators_alike(name: str) -> None:
    ordinary = verdict(fixes.read_ordinary, GOOD[name])
    assert isinstance(ordinary, fixes.FixBatch), ordinary
    assert fixes.read_fast(GOOD[name]) == ordinary
    assert verdict(fixes.read, GOOD[name]) == ordinary


@pytest.mark.parametrize("name", BAD)
def test_what_the_ordinary_validator_refuses_the_fast_one_does_not_take(name: str) -> None:
    """F72, F73: 400 for what is not strict JSON, 422 for what is no batch; one verdict on both ways."""
    ordinary = verdict(fixes.read_ordinary, BAD[name])
    assert ordinary[0] in (400, 422), ordinary
    assert fixes.read_fast(BAD[name]) is None
    assert verdict(fixes.read, BAD[name]) == ordinary


NAMES = ["fixed_at", "lon", "lat", *FULL, "fixes", "device_id", "sent_at", "datum", "x"]
NUMBERS = st.one_of(
    st.floats().map(repr),
    st.integers(-(10**45), 10**45).map(str),
    st.sampled_from(["1e400", "-0", "0.1e1", "01", "1.", ".5", "+1", "1E5", "NaN", "0" * 41, "0." + "7" * 41]),
)  # fmt: skip
ZONES = st.sampled_from(["Z", "Z", "Z", "+08:00", "-11:30", "+00:00"])
SOUND_MOMENTS = st.builds(lambda at, zone: json.dumps(at.isoformat() + zone), st.datetimes(), ZONES)
MOMENTS = st.one_of(
    st.datetimes(timezones=st.timezones()).map(lambda at: json.dumps(at.isoformat())),
    SOUND_MOMENTS,
    st.sampled_from(
        ['"2026-11-23t08:00:00z"', '"2026-11-23 08:00:00+0800"', '"20261123T080000Z"', '"2026-11-23"']
    ),
    st.text("0123456789-+:.TZtz ", max_size=30).map(json.dumps),
)
VALUES = st.one_of(
    NUMBERS,
    MOMENTS,
    st.sampled_from(["true", "false", "null", "[]", "{}", '"wgs84"', f'"{DEVICE}"', '"\\ud800"', '"a\\":1"']),
)
GAPS = st.sampled_from(["", "", "", " ", "\n", "\t"])


@st.composite
def written_objects(draw: st.DrawFn, sound: dict[str, st.SearchStrategy[str]]) -> str:
    """An object with mostly sound members, some missing, some repeated, some of the wrong kind, oddly spaced."""
    members = []
    for name, values in sound.items():
        if draw(st.integers(0, 39)):
            members.append((name, draw(values if draw(st.integers(0, 39)) else VALUES)))
    if not draw(st.integers(0, 19)):
        members.append((draw(st.sampled_from(NAMES)), draw(VALUES)))
    if members and not draw(st.integers(0, 14)):
        members.append(draw(st.sampled_from(members)))
    written = []
    for name, value in draw(st.permutations(members)):
        if not draw(st.integers(0, 19)):
            name = f"\\u{ord(name[0]):04x}{name[1:]}"
        written.append(f'{draw(GAPS)}"{name}"{draw(GAPS)}:{draw(GAPS)}{value}')
    return "{" + ",".join(written) + draw(GAPS) + "}"


FIXES = written_objects(
    {
        "fixed_at": SOUND_MOMENTS, "lon": st.floats(-180, 180).map(repr), "lat": st.floats(-90, 90).map(repr),
        "accuracy_m": st.floats(0, 1e6).map(repr), "seq": st.integers(0, 999).map(str),
        "charging": st.sampled_from(["true", "false", "null"]),
    }
)  # fmt: skip
BODIES = written_objects(
    {
        "device_id": st.uuids().map(lambda found: f'"{found}"'), "sent_at": SOUND_MOMENTS,
        "datum": st.sampled_from(['"wgs84"', '"gcj02"', '"bd09"', "null"]),
        "fixes": st.lists(FIXES, min_size=1, max_size=3).map(lambda found: "[" + ",".join(found) + "]"),
    }
)  # fmt: skip


@given(raw=BODIES)
def test_whatever_is_sent_both_validators_say_the_same(raw: str) -> None:
    """F73: texts near what phones send, with members missing, repeated, misspelled and oddly written."""
    data = raw.encode("utf-8", "surrogatepass")
    ordinary, fast = verdict(fixes.read_ordinary, data), fixes.read_fast(data)
    assert fast is None or fast == ordinary
    assert verdict(fixes.read, data) == ordinary


@given(raw=st.binary(max_size=200))
def test_bytes_that_are_no_batch_are_refused_by_both(raw: bytes) -> None:
    assert fixes.read_fast(raw) is None
    assert verdict(fixes.read, raw)[0] in (400, 422)


# --- Over HTTP


class Phone:
    """An officer on shift at the API, with his phone."""

    def __init__(self, world: World, person: Person) -> None:
        self.person = person
        self.caller = Caller(world.app).sign_in(person)
        self.device_id = str(uuid4())
        self._client = Client(world.app.wsgi_app)
        answer = self.caller.post(
            "/api/v1/officer/shifts",
            {"device": {"id": self.device_id, "name": "phone"}, "device_at": datetime.now(UTC).isoformat()},
        )
        assert answer.status_code == 201, answer.text
        self.shift_id = answer.json["id"]  # type: ignore[index]

    def batch(self, count: int = 1, *, step_ms: int = 10, **more: Any) -> dict[str, Any]:
        """``count`` fixes from now on, a few milliseconds apart so that they all lie within the shift."""
        now = datetime.now(UTC)
        found = [
            {
                "fixed_at": (now + timedelta(milliseconds=step_ms * i)).isoformat(),
                "lon": WEST + 0.005, "lat": SOUTH + 0.005, "accuracy_m": 5,
            }
            for i in range(count)
        ]  # fmt: skip
        return {"device_id": self.device_id, "sent_at": now.isoformat(), "fixes": found, **more}

    def send(self, data: Any, headers: dict[str, str] | None = None, **more: Any) -> TestResponse:
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        return self._client.open(
            ROUTE,
            method="POST",
            data=raw,
            headers={"Content-Type": "application/json", **self.caller.headers, **(headers or {})},
            **more,
        )


@pytest.fixture
def phone(world: World) -> Iterator[Phone]:
    yield Phone(world, world.officer())
    tracks.close()


def problem(answer: TestResponse) -> tuple[int, str]:
    """Status and code of a refusal, whose shape is checked."""
    assert answer.mimetype == "application/problem+json"
    document = answer.json
    assert document is not None
    assert document["status"] == answer.status_code
    assert document["type"] == f"urn:xungeng:problem:{document['code']}"
    assert {"title", "detail", "request_id"} <= document.keys()
    assert "Traceback" not in answer.text
    return answer.status_code, document["code"]


def test_a_batch_is_stored_and_the_receipt_adds_up(phone: Phone, world: World) -> None:
    batch = phone.batch(40)
    batch["fixes"] += [dict(batch["fixes"][0]), {**batch["fixes"][0], "lat": 95}]
    batch["fixes"].append({**batch["fixes"][0], "fixed_at": "2026-01-01T00:00:00Z"})
    answer = phone.send(batch)
    assert answer.status_code == 200, answer.text
    assert answer.json == {
        "stored": 40, "duplicates": 1, "off_shift": 0, "quarantined": 2,
        "reasons": {"absurd_place": 1, "absurd_time": 1},
    }  # fmt: skip
    with world.owner.connect() as connection:
        count = connection.execute(
            text("select count(*) from fixes where device_id = :id"), {"id": phone.device_id}
        ).scalar_one()
    assert count == 40
    assert answer.headers["Cache-Control"] == "no-store"
    again = phone.send(batch).json
    assert again is not None
    assert (again["stored"], again["duplicates"]) == (0, 41)


def test_a_thousand_fixes_are_taken_compressed(phone: Phone) -> None:
    raw = json.dumps(phone.batch(1000, step_ms=1)).encode()
    answer = phone.send(gzip.compress(raw), {"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json["stored"]) == (200, 1000), answer.text  # type: ignore[index]


def test_a_declared_datum_is_converted(phone: Phone, world: World) -> None:
    assert phone.send(phone.batch(1, datum="gcj02")).status_code == 200
    with world.owner.connect() as connection:
        row = connection.execute(
            text("select ST_X(geom) as lon, ST_Y(geom) as lat from fixes where device_id = :id"),
            {"id": phone.device_id},
        ).one()
    assert 0.001 < abs(row.lon - (WEST + 0.005)) < 0.01
    assert abs(row.lat - (SOUTH + 0.005)) < 0.01


BOMB = zlib.compressobj(9, wbits=31)
BOMB_BYTES = BOMB.compress(b" " * 200_000_000) + BOMB.flush()

REFUSALS = {
    "no token": ({"Authorization": ""}, b"{}", 401, "unauthenticated"),
    "basic": ({"Authorization": "Basic eDp5"}, b"{}", 401, "unauthenticated"),
    "garbage token": ({"Authorization": "Bearer abc"}, b"{}", 401, "invalid_token"),
    "forged token": (
        {"Authorization": "Bearer eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.eyJzdWIiOiJ4In0."},
        b"{}", 401, "invalid_token",
    ),
    "form": ({"Content-Type": "application/x-www-form-urlencoded"}, b"a=b", 415, "unsupported_media_type"),
    "no type": ({"Content-Type": ""}, b"{}", 415, "unsupported_media_type"),
    "brotli": ({"Content-Encoding": "br"}, b"{}", 415, "unsupported_media_type"),
    "too large": ({}, b" " * (fixes.MOST_BYTES + 1), 413, "too_large"),
    "bomb": ({"Content-Encoding": "gzip"}, BOMB_BYTES, 413, "too_large"),
    "not gzip": ({"Content-Encoding": "gzip"}, b"{}", 400, "unreadable"),
    "cut gzip": ({"Content-Encoding": "gzip"}, gzip.compress(b"{}" * 999)[:-9], 400, "unreadable"),
    "more after gzip": ({"Content-Encoding": "gzip"}, gzip.compress(b"{}") + b"tail", 400, "unreadable"),
    "nothing": ({}, b"", 400, "unreadable"),
    "not json": ({}, b"hello", 400, "unreadable"),
    "no batch": ({}, b"{}", 422, "invalid"),
    "unknown device": ({}, body({}), 404, "unknown_device"),
}  # fmt: skip


@pytest.fixture(scope="module")
def phone_of_module(world: World) -> Phone:
    from backend.core import db

    before = db._engine
    db.set_engine(world.engine)
    found = Phone(world, world.officer())
    db.set_engine(before)
    return found


@pytest.mark.parametrize("name", REFUSALS)
def test_each_refusal_has_its_status_and_code(phone_of_module: Phone, world: World, name: str) -> None:
    headers, raw, status, code = REFUSALS[name]
    assert problem(phone_of_module.send(raw, headers)) == (status, code)


@pytest.mark.parametrize("name", BAD)
def test_hostile_bodies_get_a_problem_and_never_a_crash(
    phone_of_module: Phone, world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F72, F73: 5xx 0, and nothing of them is stored."""
    monkeypatch.setattr(hot, "JUDGED_BYTES", 10**9)  # So many bad bodies of one phone would be told to wait.
    status, code = problem(phone_of_module.send(BAD[name]))
    assert (status, code) in ((400, "unreadable"), (422, "invalid"), (413, "too_large"))


def test_field_errors_are_named_as_the_client_wrote_them(phone: Phone) -> None:
    answer = phone.send({**PLAIN, "fixes": [FIX, {**FIX, "lon": "x"}], "detail": 1, "status": 2})
    assert problem(answer) == (422, "invalid")
    errors = answer.json["errors"]  # type: ignore[index]
    assert errors["fixes"]["1"]["lon"] == ["Not a number."]
    assert errors["detail"] == errors["status"] == ["Unknown field."]


def test_a_body_that_ends_early_is_unreadable(phone: Phone, world: World) -> None:
    raw = json.dumps(phone.batch()).encode()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST", "PATH_INFO": ROUTE, "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(raw)), "wsgi.input": io.BytesIO(raw[:-20]),
        "HTTP_AUTHORIZATION": phone.caller.headers["Authorization"],
    }  # fmt: skip
    answers: list[Any] = []
    world.app.wsgi_app(environ, lambda status, headers: answers.append(status))
    assert answers == ["400 Bad Request"]
    for length in ("x", "-5", "٣"):
        answers.clear()
        world.app.wsgi_app(
            {**environ, "CONTENT_LENGTH": length}, lambda status, headers: answers.append(status)
        )
        assert answers == ["400 Bad Request"]


def test_a_chunked_body_is_read_to_its_end_and_no_further_than_its_bound(phone: Phone, world: World) -> None:
    """F71: of an endless body no more than the bound is read."""

    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            assert size > 0
            part = b" " * min(size, 65_536)
            self.given += len(part)
            return part

    raw, endless = json.dumps(phone.batch()).encode(), Endless()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST", "PATH_INFO": ROUTE, "CONTENT_TYPE": "application/json; charset=utf-8",
        "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True,
        "HTTP_AUTHORIZATION": phone.caller.headers["Authorization"],
    }  # fmt: skip
    answers: list[Any] = []
    world.app.wsgi_app(
        {**environ, "wsgi.input": io.BytesIO(raw)}, lambda status, headers: answers.append(status)
    )
    world.app.wsgi_app({**environ, "wsgi.input": endless}, lambda status, headers: answers.append(status))
    assert answers == ["200 OK", "413 Request Entity Too Large"]
    assert endless.given <= fixes.MOST_BYTES + 1


def test_only_officers_send_fixes_and_only_from_their_own_phone(
    phone: Phone, world: World, signed_in: Any
) -> None:
    desk = signed_in("desk_a")
    assert problem(phone.send(phone.batch(), desk.headers)) == (403, "forbidden")
    other = Phone(world, world.officer())
    assert problem(other.send(phone.batch())) == (404, "unknown_device")
    elsewhere = signed_in(world.there["officer_a"])
    assert problem(phone.send(phone.batch(), elsewhere.headers)) == (404, "unknown_device")


def test_other_methods_are_told_which_one_is_taken(phone: Phone, world: World) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD"):
        answer = phone._client.open(ROUTE, method=method, headers=phone.caller.headers)
        assert answer.status_code == 405
        assert answer.headers["Allow"] == "OPTIONS, POST"
        assert method == "HEAD" or problem(answer) == (405, "method_not_allowed")
    assert phone._client.open(ROUTE, method="OPTIONS").status_code == 200


def test_who_comes_too_often_is_told_when_to_come_again(phone: Phone, world: World) -> None:
    answers = [phone.send(b"{}") for _ in range(int(hot.HOT[0].burst) + 30)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[0] == 422
    assert problem(answers[-1]) == (429, "too_many_requests")
    assert int(answers[-1].headers["Retry-After"]) >= 1
    other = Phone(world, world.officer())
    assert other.send(other.batch()).status_code == 200  # It is his bucket alone.


def test_a_session_that_was_revoked_or_ran_out_keeps_its_fixes_on_the_phone(
    phone: Phone, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F23: 401, so the client signs in and sends the same queue again; nothing is lost and nothing taken."""
    batch, identity = phone.batch(3), world.app.extensions["xungeng.identity"]
    old = dict(phone.caller.headers)
    assert phone.caller.post("/api/v1/auth/logout").status_code == 204
    identity.forget()
    assert problem(phone.send(batch)) == (401, "session_ended")
    phone.caller.headers.clear()
    phone.caller.sign_in(phone.person)
    assert phone.send(batch).json["stored"] == 3  # type: ignore[index]
    assert problem(phone.send(batch, old))[0] == 401
    later = datetime.now(UTC) + timedelta(seconds=world.config.access_ttl_s + 1)
    monkeypatch.setattr("backend.core.clock.now", lambda: later)
    assert problem(phone.send(batch)) == (401, "invalid_token")


def test_a_revoked_session_is_forgotten_at_the_announcement(world: World) -> None:
    """F23: the memory of tokens ends with the commit that revokes."""
    person = world.officer()
    listener = listen.Listener(libpq_url(world.engine.url.render_as_string(hide_password=False)))
    listen.set_listener(listener)
    try:
        listener.start(timeout_s=5)
        identity = Identity(world.app.extensions["xungeng.sessions"].tokens)
        caller = Caller(world.app).sign_in(person)
        token = caller.tokens["access_token"]
        actor = identity.authenticate(token)
        with unit_of_work(person.town_id) as uow:
            sessions.revoke_own(uow, actor, actor.session_id, command_id=uuid4())  # type: ignore[arg-type]
        deadline = time.monotonic() + 5
        while True:
            try:
                identity.authenticate(token)
            except Unauthenticated:
                break
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        listener.stop()
        listen.set_listener(None)


def test_busy_and_broken_are_told_apart_and_neither_shows_its_inside(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any) -> Any:
        raise Unavailable(code="busy", retry_after_s=3)

    def broken(*_: Any) -> Any:
        raise RuntimeError("select secret from table")

    monkeypatch.setattr(tracks, "commit", busy)
    answer = phone.send(phone.batch())
    assert problem(answer) == (503, "busy")
    assert answer.headers["Retry-After"] == "3"
    monkeypatch.setattr(tracks, "commit", broken)
    answer = phone.send(phone.batch())
    assert problem(answer) == (500, "internal")
    assert "secret" not in answer.text
    assert "RuntimeError" not in answer.text


@pytest.mark.parametrize("hot_routes", [True, False])
def test_behind_a_declared_proxy_a_gateway_counts_the_callers_address(world: World, hot_routes: bool) -> None:
    """F43: whoever guesses credentials is told from the proxy that all come through, and cannot claim an address."""
    client = Client(create_app(replace(world.config, trusted_hops=1), hot_routes=hot_routes).wsgi_app)
    caller = f"198.51.100.{int(hot_routes)}"
    for i in range(3):
        answer = client.get(
            f"/gateway/osmand/guess{i}?lat=31&lon=121",
            headers={"X-Forwarded-For": f"203.0.113.{i}, {caller}"},
            environ_base={"REMOTE_ADDR": "10.255.0.1"},
        )
        assert answer.status_code == 400
    assert MISSES._counts[caller] >= 3
    assert not {"10.255.0.1", *(f"203.0.113.{i}" for i in range(3))} & MISSES._counts.keys()
    undeclared = Client(create_app(world.config, hot_routes=hot_routes).wsgi_app)
    undeclared.get(
        "/gateway/osmand/guess?lat=31&lon=121",
        headers={"X-Forwarded-For": "203.0.113.77"},
        environ_base={"REMOTE_ADDR": "10.255.0.2"},
    )
    assert "10.255.0.2" in MISSES._counts
    assert "203.0.113.77" not in MISSES._counts


def test_an_event_loops_thread_leaves_to_others_what_the_ordinary_validator_has_to_judge() -> None:
    """A thousand odd fixes take it a tenth of a second, in which the loop would serve nobody."""
    said: list[Any] = []

    def in_a_loop() -> None:
        memory.forbid_waiting()
        said.append(fixes.read(GOOD["thousand"]))
        for name in ("duplicate null", "digits of seq", "unknown name", "not utf-8", "too many"):
            with pytest.raises(memory.MustWait):
                fixes.read(BAD[name])
            said.append(name)

    thread = threading.Thread(target=in_a_loop)
    thread.start()
    thread.join(30)
    assert len(said) == 6
    assert isinstance(said[0], fixes.FixBatch)


def test_large_bodies_that_are_refused_count_as_the_calls_that_they_are_worth(phone: Phone) -> None:
    """F71, F75: each is judged field by field, in which time nobody else is served; the answer stays short."""
    batch = phone.batch(1000)
    for one in batch["fixes"]:
        one["unknown"] = 1
    answers = [phone.send(batch) for _ in range(8)]
    assert [answer.status_code for answer in answers[:2]] == [422, 422]
    assert answers[-1].status_code == 429
    assert len(answers[0].data) < 10_000
    assert phone.send(phone.batch()).status_code == 429
    assert phone.send(b"{}").status_code == 429


def test_a_request_id_is_taken_over_if_it_is_a_plain_word(phone: Phone) -> None:
    assert phone.send(b"{}", {"X-Request-ID": "abc123"}).headers["X-Request-ID"] == "abc123"
    for odd in ("a b", "a\u00fcb", "x" * 65, "<script>"):
        assert phone.send(b"{}", {"X-Request-ID": odd}).headers["X-Request-ID"] != odd
