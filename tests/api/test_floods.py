"""Floods of sign-ins, refreshes and callers: what they cost the others."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pyotp
import pytest
import time_machine
from sqlalchemy import text

from backend.adapters import passwords
from backend.core import metrics
from backend.core.addresses import network_of
from backend.core.errors import TooMany
from backend.core.tokens import RefreshTokens
from mobile_api import limits
from mobile_api.gateway import delivery
from mobile_api.gateway.call import Call
from tests.api.conftest import Caller, World
from tests.factories import PASSWORD

LOGIN, REFRESH, ME = "/api/v1/auth/login", "/api/v1/auth/refresh", "/api/v1/auth/me"
PLACES = passwords.MAXIMUM_WAITING
USERS = "/api/v1/desk/users"
NEW = "violet harbour kettle 9"


class Hashing:
    """Stands where passwords are hashed, and lets nobody's hash be done until it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._go = threading.Event()
        self._begun = threading.Semaphore(0)
        monkeypatch.setattr(passwords._threads, "run", self._run)

    def _run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        self._begun.release()
        assert self._go.wait(30)
        return work(*arguments)

    @contextmanager
    def during(self, acts: list[Callable[[], int]]) -> Iterator[list[int]]:
        """Do the acts at once; in the block all of them hash, and after it the list has their answers."""
        answers: list[int] = []
        with ThreadPoolExecutor(len(acts)) as pool:
            asked = [pool.submit(act) for act in acts]
            try:
                for _ in acts:
                    assert self._begun.acquire(timeout=30)
                yield answers
            finally:
                self._go.set()
            answers += [one.result() for one in asked]


def _sign_in(world: World, login: str, password: str = PASSWORD) -> Callable[[], int]:
    return lambda: Caller(world.app).post(LOGIN, {"login": login, "password": password}).status_code


def test_hashing_holds_no_connection_and_a_flood_of_it_is_refused(
    world: World, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F52: while as many sign-ins as there are places hash, the pool is free; one more is told when to come again."""
    somebody, officers = signed_in("officer_a"), [world.officer() for _ in range(PLACES)]
    late = world.officer()
    hashing = Hashing(monkeypatch)
    known = [_sign_in(world, officer.login) for officer in officers[2:]]
    with hashing.during([*known, _sign_in(world, "nobody"), _sign_in(world, officers[0].login, "x")]) as told:
        assert world.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        assert somebody.get(ME).status_code == 200
        refused = [
            Caller(world.app, "127.7.7.7").post(LOGIN, {"login": late.login, "password": "x"})
            for _ in range(9)
        ]
        assert {(one.status_code, one.json["code"]) for one in refused} == {(503, "busy")}
        assert all(int(one.headers["Retry-After"]) > 0 for one in refused)
    assert told == [200] * (PLACES - 2) + [401, 401]
    # Nothing was looked at, so nothing was counted: he would be shut out after eight tries.
    again = Caller(world.app, "127.7.7.7").post(LOGIN, {"login": late.login, "password": PASSWORD})
    assert again.status_code == 200


def test_a_password_said_again_holds_no_connection(
    world: World, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F52: neither for a new password nor to switch the authenticator off; both are done with the right one alone."""
    changing, guessing, switching = (signed_in(world.officer()) for _ in range(3))
    code = pyotp.TOTP(switching.post("/api/v1/auth/totp", {"password": PASSWORD}).json["secret"]).now()
    assert switching.post("/api/v1/auth/totp/confirm", {"code": code}).status_code == 204
    acts = [
        lambda: changing.post("/api/v1/auth/password", {"old": PASSWORD, "new": NEW}).status_code,
        lambda: guessing.post("/api/v1/auth/password", {"old": "guess", "new": NEW}).status_code,
        lambda: guessing.post("/api/v1/auth/totp/disable", {"password": "guess"}).status_code,
        lambda: switching.post("/api/v1/auth/totp/disable", {"password": PASSWORD}).status_code,
    ]
    with Hashing(monkeypatch).during(acts) as told:
        assert world.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert told == [204, 403, 403, 204]
    assert switching.get(ME).json["totp_enabled"] is False


def test_a_password_given_by_an_admin_holds_no_connection(
    world: World, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F52: neither for a new account nor for one that is there, whose row nobody waits for meanwhile."""
    admin, officer = signed_in("admin"), world.officer()
    fresh = {"display_name": "New", "login": f"n{uuid.uuid4().hex[:10]}", "password": NEW}
    acts = [
        lambda: admin.post(USERS, fresh).status_code,
        lambda: admin.send("PATCH", f"{USERS}/{officer.id}", {"password": NEW}).status_code,
    ]
    with Hashing(monkeypatch).during(acts) as told:
        assert world.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        assert admin.send("PATCH", f"{USERS}/{officer.id}", {"locale": "en"}).status_code == 200
    assert told == [201, 200]
    assert {_sign_in(world, login, NEW)() for login in (fresh["login"], officer.login)} == {200}
    assert _sign_in(world, officer.login)() == 401


def test_a_password_given_by_an_admin_is_refused_as_before(world: World, signed_in: Any) -> None:
    """Weak, without a login, of nobody, one's own, without its login: each has the refusal that it had."""
    admin, officer = signed_in("admin"), world.officer()
    without = admin.post(USERS, {"display_name": "No login"}).json["id"]
    me = admin.get(ME).json["id"]

    def change(user_id: Any, password: str) -> tuple[int, str]:
        answer = admin.send("PATCH", f"{USERS}/{user_id}", {"password": password})
        return answer.status_code, answer.json["code"]

    assert change(officer.id, "1234567890") == (422, "weak_password")
    assert change(officer.id, officer.login * 2) == (422, "weak_password")
    assert change(without, NEW) == (422, "invalid")
    assert change(uuid.uuid4(), NEW) == (404, "not_found")
    assert change(me, NEW) == (403, "not_to_oneself")
    for body in ({"login": "somebody"}, {"password": NEW}, {"login": "Not a login", "password": NEW}):
        refused = admin.post(USERS, {"display_name": "x", **body})
        assert (refused.status_code, refused.json["code"]) == (422, "invalid")
    assert _sign_in(world, officer.login)() == 200


@pytest.mark.parametrize(
    "meanwhile", ["password_hash = 'another'", "state = 'disabled', disabled_at = now()"]
)
def test_an_account_that_changes_while_its_password_is_hashed_is_not_opened(
    world: World, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    """F52: what was read before the hash is looked at again after it."""
    officer = world.officer()
    with (
        Hashing(monkeypatch).during([_sign_in(world, officer.login)]) as told,
        world.owner.begin() as connection,
    ):
        connection.execute(text(f"update users set {meanwhile} where id = :id"), {"id": officer.id})
    assert told == [401]


def test_a_password_that_changes_while_it_is_said_again_changes_nothing(
    world: World, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F52"""
    officer = world.officer()
    caller = signed_in(officer)
    act = [lambda: caller.post("/api/v1/auth/password", {"old": PASSWORD, "new": NEW}).status_code]
    with Hashing(monkeypatch).during(act) as told, world.owner.begin() as connection:  # type: ignore[arg-type]
        statement = "update users set password_hash = 'another' where id = :id"
        connection.execute(text(statement), {"id": officer.id})
    assert told == [403]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        (None, "unknown"),
        ("a socket", "unknown"),
    ],
)
def test_a_caller_is_his_network(address: str | None, network: str) -> None:
    """F52, F77: a /64 is one caller, and an IPv4 address is one however it is written."""
    assert network_of(address) == network


def test_another_address_of_the_same_network_is_no_other_caller(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F52, F77: for guesses at an account, for codes, for a route's limit and for the trackers' misses."""
    officer, block = world.officer(), f"2001:db8:{uuid.uuid4().int % 65536:x}"

    def guess(address: str) -> int:
        return Caller(world.app, address).post(LOGIN, {"login": officer.login, "password": "x"}).status_code

    with time_machine.travel(datetime.now(UTC).replace(minute=1), tick=True):
        assert [guess(f"{block}:3::{n:x}") for n in range(1, 11)] == [401] * 8 + [429] * 2
        assert guess(f"{block}:4::1") == 401

        def ask(address: str, n: int) -> int:
            body = {"phone": f"+861390{uuid.uuid4().int % 10**7:07d}", "town": "here"}
            return Caller(world.app, address).post("/api/v1/auth/otp", body).status_code

        assert [ask(f"{block}:5::{n:x}", n) for n in range(1, 33)] == [202] * 30 + [429] * 2
        assert ask(f"{block}:6::1", 0) == 202

    with time_machine.travel(datetime.now(UTC), tick=False):
        answers = [Caller(world.app, f"{block}:7::{n:x}").get(ME).status_code for n in range(1, 602)]
        assert answers == [401] * 600 + [429]
        assert Caller(world.app, f"{block}:8::1").get(ME).status_code == 401

    misses = delivery.Misses()
    alarms: list[str] = []
    monkeypatch.setattr(delivery.log, "warning", lambda event, **_: alarms.append(event))
    for n in range(delivery.UNKNOWN_BOUND - 1):
        misses.count(f"{block}:9::{n:x}")
    assert alarms == []
    misses.count("192.0.2.1")
    assert alarms == []
    misses.count(f"{block}:9::ffff")
    assert alarms == ["enumeration.suspected"]

    monkeypatch.setattr(delivery, "UNKNOWN", limits.Buckets(0.001, 2))
    large = b"x" * (delivery.UNPROVEN_BODY_BYTES + 1)
    calls = [Call("POST", body=large, address=f"{block}:9::{n:x}") for n in range(3)]
    assert [delivery.device_of(call, "overland", None) for call in calls[:2]] == [None, None]
    with pytest.raises(TooMany):
        delivery.device_of(calls[2], "overland", None)
    with pytest.raises(TooMany):
        delivery.bound_unknown(calls[2])
    delivery.bound_unknown(Call("POST", body=large, address=f"{block}:a::1"))


@time_machine.travel(datetime.now(UTC), tick=False)
def test_junk_from_a_shared_address_shuts_out_no_colleague(world: World) -> None:
    """F52: what names no session is counted by address and bounded; who has a token is counted by his session."""
    shared = "127.6.6.6"
    colleague, other = (
        Caller(world.app, shared).sign_in(world.officer(), device_key=f"the-key-of-phone-{n}")
        for n in range(2)
    )

    def refresh(token: str) -> Any:
        return Caller(world.app, shared).post(REFRESH, {"refresh_token": token})

    forged = RefreshTokens(b"of another installation" * 2).first(uuid.UUID(colleague.tokens["session_id"]))
    cut = colleague.tokens["refresh_token"][:-1]
    junk = [refresh(token).status_code for token in ["x" * 40, "汉" * 40, forged, cut] * 15]
    assert junk == [401] * 60
    assert refresh("y" * 40).status_code == 429
    assert Caller(world.app, shared).post(REFRESH, {"refresh_token": 1}).status_code == 429
    refreshed = refresh(colleague.tokens["refresh_token"])
    assert refreshed.status_code == 200
    assert refresh(other.tokens["refresh_token"]).status_code == 200
    # One session's own calls are bounded too, from wherever they come, and what he did counts for nobody else.
    used = colleague.tokens["refresh_token"]
    own = [Caller(world.app).post(REFRESH, {"refresh_token": used}).status_code for _ in range(60)]
    assert own == [401] * 59 + [429]


def test_junk_asks_the_database_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """F52: a refresh token that is none of ours is known by its code."""
    from mobile_api.auth import sign_in

    def fail(**_: Any) -> None:
        raise AssertionError("A transaction was opened.")

    monkeypatch.setattr(sign_in, "unit_of_work", fail)
    assert Caller(world.app).post(REFRESH, {"refresh_token": "x" * 86}).json["code"] == "session_ended"


def test_a_flood_of_callers_fills_no_memory_and_frees_nobody_who_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F52: a process keeps so many windows and no more, also of callers who never come again."""
    counters, limit = limits.Limits(None), limits.Limit("3/minute")
    windows = counters._limiter.storage
    assert isinstance(windows, limits.Windows)
    assert windows.MOST == 50_000
    monkeypatch.setattr(limits.Windows, "MOST", 100)
    for _ in range(3):
        counters.check(limit, "route", "address:flooder")
    for n in range(5000):
        counters.check(limit, "route", f"address:{n}")
        if n % 50 == 0:
            with pytest.raises(TooMany):
                counters.check(limit, "route", "address:flooder")
    assert len(windows) == 100
    assert not windows.events
    assert not windows.locks


def test_a_window_moves_with_the_time() -> None:
    """What was counted a minute ago counts no longer, and one call too many says when to come again."""
    counters, limit = limits.Limits(None), limits.Limit("2/minute")
    with time_machine.travel(datetime(2026, 11, 23, 8, tzinfo=UTC), tick=False) as clock:
        counters.check(limit, "route", "address:one")
        clock.shift(40)
        counters.check(limit, "route", "address:one")
        with pytest.raises(TooMany) as refused:
            counters.check(limit, "route", "address:one")
        assert refused.value.extra["retry_after_s"] == 20
        counters.check(limit, "route", "address:two")
        clock.shift(21)
        counters.check(limit, "route", "address:one")


def test_a_method_that_somebody_made_up_makes_no_figure_of_its_own(world: World) -> None:
    """F52: each series of figures stays in memory for good, so a stranger must not be able to make any."""
    for path in ("/", "/api/v1/auth/me", "/api/v1/officer/fixes", "/gateway/osmand", "/nowhere"):
        for number in range(3):
            assert Caller(world.app).send(f"MADEUP{number}", path).status_code in (404, 405)
    assert b"MADEUP" not in metrics.figures()
    assert b'method="other"' in metrics.figures()
