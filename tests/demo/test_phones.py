"""Phones against a small recording server: what they do when all is well, and when it is not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from backend.core.ids import new_id
from backend.demo.phones import Fleet, Phone, Pocket, able, fleet
from backend.demo.receiver import Mishaps
from backend.demo.town import distance_m, generate
from backend.demo.trackers import MIXED, Tracker
from tests.demo.recorder import Recorder, Seen, answer
from workflows.provisioning import GPSLOGGER_TEMPLATE

CHECKOUT = Path(__file__).resolve().parents[2]
CALM = Mishaps().scaled(0)
GATEWAYS = ("/gateway/", "/officer/fixes")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Phones that try again soon: the order of things is tested here, not the patience."""
    monkeypatch.setattr(Tracker, "retry_after_s", lambda self, failures: 0.05)
    monkeypatch.setattr("backend.demo.phones.STARTS_PER_S", 100.0)


def accounts(count: int = 1, **more: Any) -> dict[str, Any]:
    officers = [person for person in generate().people if person.role == "officer"]
    return {
        "town": {"seed": 1},
        "officers": [
            {
                "login": officer.login,
                "password": f"password-{n}",
                "id": str(officer.id),
                "trackers": {
                    "osmand": {"url": "http://x/gateway/osmand", "id": f"key-{n}"},
                    "owntracks": {"url": "http://x/gateway/owntracks", "user": f"u{n}", "password": "p"},
                    "overland": {"url": "http://x/gateway/overland", "token": f"token-{n}"},
                    "gpslogger": {"url": f"http://x/gateway/gpslogger/key-{n}?{GPSLOGGER_TEMPLATE}"},
                },
                **more,
            }
            for n, officer in enumerate(officers[:count])
        ],
    }


Scene = Callable[[Recorder, str], Coroutine[Any, Any, Any]]


def played(scene: Scene, recorder: Recorder | None = None) -> Recorder:
    """Run a scene against a server that is up."""
    server = recorder or Recorder()

    async def run() -> None:
        base_url = await server.start()
        try:
            await asyncio.wait_for(scene(server, base_url), 40)
        finally:
            await server.stop()

    asyncio.run(run())
    return server


def made(base_url: str, count: int = 1, protocol: str = "officer", **more: Any) -> Fleet:
    options: dict[str, Any] = {"interval_s": 0.05, "mishaps": CALM, **more}
    return fleet(
        base_url, options.pop("accounts", accounts(count)), officers=count, protocol=protocol, **options
    )


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something has become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "It did not happen in time."
        await asyncio.sleep(0.02)


async def during(phones: Fleet, condition: Callable[[], object]) -> None:
    """Let phones live until something has become true."""
    running = asyncio.create_task(phones.run(quiet=True))
    try:
        await until(lambda: running.done() or condition())
        if running.done():
            running.result()
        assert condition()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def times_of(requests: list[Seen]) -> list[str]:
    return [fix["fixed_at"] for request in requests for fix in request.json()["fixes"]]


# --- When all is well


def test_a_phone_signs_in_starts_a_shift_and_reports() -> None:
    async def scene(server: Recorder, base_url: str) -> None:
        await during(made(base_url), lambda: len(server.of("/officer/fixes")) > 3)

    seen = played(scene).seen
    paths = [request.path for request in seen]
    assert paths[:3] == ["/api/v1/auth/login", "/api/v1/officer/shift", "/api/v1/officer/shifts"]
    login, start = seen[0].json(), seen[2].json()
    assert login["password"] == "password-0"
    assert len(login["device_key"]) >= 16
    assert login["client"] == "officer"
    assert seen[2].headers["authorization"] == "Bearer access-1"
    assert len(seen[2].headers["idempotency-key"]) == 36
    assert {"id", "area_id", "planned_end_at", "device", "device_at"} <= set(start)
    fixes = next(request for request in seen if request.path == "/api/v1/officer/fixes")
    assert fixes.json()["device_id"] == start["device"]["id"]
    assert fixes.headers["authorization"] == "Bearer access-1"


def test_every_protocol_arrives_in_a_mixed_fleet() -> None:
    count = 2 * len(MIXED)

    async def scene(server: Recorder, base_url: str) -> None:
        phones = made(base_url, count, "mixed")
        for phone in phones.phones:
            if phone.tracker.protocol == "overland":
                phone.tracker._send_every_s = 0.1  # type: ignore[attr-defined]
        places = (
            "/officer/fixes",
            "/gateway/osmand",
            "/gateway/owntracks",
            "/gateway/overland",
            "/gateway/gpslogger",
        )
        await during(
            phones, lambda: all(server.of(place) for place in places) and server.sign_ins["login"] == count
        )

    server = played(scene)
    assert server.sign_ins["login"] == count


def test_connections_are_kept() -> None:
    async def scene(server: Recorder, base_url: str) -> None:
        await during(made(base_url, 3), lambda: len(server.of("/officer/fixes")) > 40)

    assert played(scene).connections <= 6  # One for the fixes and one for the rest, of each phone.


def test_an_officer_who_is_on_shift_goes_on_with_it_from_where_he_was() -> None:
    place = (121.3056, 31.1018)
    server = Recorder(
        shift={"id": str(new_id()), "planned_end_at": "2099-01-01T00:00:00Z"},
        track=[{"lon": 121.28, "lat": 31.09}, {"lon": place[0], "lat": place[1]}],
    )

    async def scene(server: Recorder, base_url: str) -> None:
        await during(made(base_url), lambda: server.of("/officer/fixes"))

    played(scene, server)
    assert not [request for request in server.seen if request.path.endswith("/officer/shifts")]
    fix = server.of("/officer/fixes")[0].json()["fixes"][0]
    assert distance_m((fix["lon"], fix["lat"]), place) < 150


def test_the_same_seed_walks_the_same_way() -> None:
    def places(seed: int) -> list[tuple[float, float]]:
        async def scene(server: Recorder, base_url: str) -> None:
            await during(
                made(base_url, protocol="osmand-form", seed=seed), lambda: len(server.of("/gateway/")) > 10
            )

        bodies = [request.body.decode() for request in played(scene).of("/gateway/")][:10]
        return [
            (body.split("&lat=")[1].split("&")[0], body.split("&lon=")[1].split("&")[0]) for body in bodies
        ]  # type: ignore[misc]

    assert places(5) == places(5)
    assert places(5) != places(6)


# --- When it is not


@pytest.mark.parametrize("refusal", [(500, b""), (503, b""), (0, b""), (404, b"")])
def test_traccar_sends_the_same_head_again_until_it_is_taken(refusal: tuple[int, bytes]) -> None:
    refused = 4

    def special(request: Seen) -> Any:
        if "/gateway/" in request.path and len(server.of("/gateway/")) <= refused:
            return refusal[0], {"Retry-After": "0.5"} if refusal[0] == 503 else {}, refusal[1]
        return None

    server = Recorder(special)

    async def scene(server: Recorder, base_url: str) -> None:
        await during(
            made(base_url, protocol="osmand-form"), lambda: len(server.of("/gateway/")) > refused + 4
        )

    played(scene, server)
    bodies = [request.body for request in server.of("/gateway/")]
    assert len(set(bodies[: refused + 1])) == 1
    assert len(set(bodies[refused + 1 :])) == len(bodies[refused + 1 :])
    stamps = [int(body.decode().split("timestamp=")[1].split("&")[0]) for body in bodies]
    assert stamps == sorted(stamps)


def test_overland_keeps_a_batch_that_was_not_answered_with_ok() -> None:
    def special(request: Seen) -> Any:
        if "/gateway/" in request.path and len(server.of("/gateway/")) <= 3:
            return answer(200, {"result": "no"})
        return None

    server = Recorder(special)

    async def scene(server: Recorder, base_url: str) -> None:
        phones = made(base_url, protocol="overland")
        phones.phones[0].tracker._send_every_s = 0.1  # type: ignore[attr-defined]
        await during(phones, lambda: len(server.of("/gateway/")) > 5)

    played(scene, server)
    batches = [[f["properties"]["timestamp"] for f in r.json()["locations"]] for r in server.of("/gateway/")]
    heads = [batch[0] for batch in batches[:4]]
    assert len(set(heads)) == 1
    assert [len(batch) for batch in batches[:4]] == sorted(len(batch) for batch in batches[:4])


def test_nothing_is_lost_while_the_server_is_away() -> None:
    """F22: what was measured during an outage drains afterwards, the oldest first."""

    async def scene(server: Recorder, base_url: str) -> None:
        phones = made(base_url)
        running = asyncio.create_task(phones.run(quiet=True))
        await until(lambda: len(server.of("/officer/fixes")) > 3)
        port = server.port
        await server.stop()
        away_from = iso_now()
        await asyncio.sleep(1.0)
        assert phones.tally.unanswered > 0
        assert phones.tally.waiting > 5
        back_at = iso_now()
        await server.start(port)
        await until(lambda: times_of(server.of("/officer/fixes"))[-1] > back_at)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        stamps = times_of(server.of("/officer/fixes"))
        assert sum(away_from < stamp < back_at for stamp in stamps) > 8
        assert list(dict.fromkeys(stamps)) == sorted(set(stamps))

    played(scene)


def iso_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_without_a_network_the_backlog_grows_and_drains_in_one_batch() -> None:
    async def scene(server: Recorder, base_url: str) -> None:
        phones = made(base_url)
        phone = phones.phones[0]
        running = asyncio.create_task(phones.run(quiet=True))
        await until(lambda: len(server.of("/officer/fixes")) > 3)
        phone._outage_until = time.time() + 1.0
        await asyncio.sleep(0.2)
        before = len(server.seen)
        await asyncio.sleep(0.6)
        assert len(server.seen) == before
        assert len(phone.tracker.queue) > 5
        await until(lambda: len(server.seen) > before)
        assert max(len(request.json()["fixes"]) for request in server.of("/officer/fixes")) > 5
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    played(scene)


def test_lost_answers_make_duplicates() -> None:
    """F18: the very same request comes again, as from a phone that did not hear the answer."""

    async def scene(server: Recorder, base_url: str) -> None:
        phones = made(base_url, protocol="osmand-form", mishaps=Mishaps(0, 0, 0, 0, 0.5, 0))
        await during(phones, lambda: phones.tally.resent > 4 and len(server.of("/gateway/")) > 20)

    bodies = [request.body for request in played(scene).of("/gateway/")]
    assert len(set(bodies)) < len(bodies)


def test_disorder_makes_fixes_come_out_of_order() -> None:
    """F19: the times of what arrives go back now and then, and all of it arrives."""

    async def scene(server: Recorder, base_url: str) -> None:
        phones = made(base_url, mishaps=Mishaps(0, 0, 0, 0, 0, 0.5))
        running = asyncio.create_task(phones.run(quiet=True))
        await until(lambda: len(server.of("/officer/fixes")) > 2)
        phones.phones[0]._outage_until = time.time() + 1.0
        await until(lambda: any(len(request.json()["fixes"]) > 10 for request in server.of("/officer/fixes")))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    stamps = times_of(played(scene).of("/officer/fixes"))
    assert stamps != sorted(stamps)
    assert len(set(stamps)) == len(stamps)


def test_an_expired_token_is_refreshed_once_for_all_that_the_phone_does() -> None:
    """F53: two refreshes with one token would look like theft and end the session."""
    server = Recorder(expires_in_s=61)

    async def scene(server: Recorder, base_url: str) -> None:
        await during(made(base_url), lambda: server.sign_ins["refresh"] >= 2)

    played(scene, server)
    used = [request.json()["refresh_token"] for request in server.of("/auth/refresh")]
    assert len(set(used)) == len(used)
    assert server.sign_ins["login"] == 1
    assert all("device_key" in request.json() for request in server.of("/auth/"))


def test_a_refused_token_is_replaced_and_the_batch_sent_again() -> None:
    def special(request: Seen) -> Any:
        if request.path.endswith("/fixes") and request.headers["authorization"] == "Bearer access-1":
            return answer(401, {"code": "session_ended"})
        return None

    server = Recorder(special)

    async def scene(server: Recorder, base_url: str) -> None:
        phones = made(base_url)
        await during(phones, lambda: phones.tally.delivered > 3)

    played(scene, server)
    assert server.sign_ins["refresh"] >= 1
    assert server.sign_ins["login"] == 1


def test_a_session_that_was_revoked_is_signed_in_anew() -> None:
    def special(request: Seen) -> Any:
        if request.path.endswith("/fixes") and request.headers["authorization"] == "Bearer access-1":
            return answer(401, {"code": "session_ended"})
        if request.path.endswith("/auth/refresh"):
            return answer(401, {"code": "session_ended"})
        return None

    server = Recorder(special)

    async def scene(server: Recorder, base_url: str) -> None:
        phones = made(base_url)
        await during(phones, lambda: phones.tally.delivered > 3)

    played(scene, server)
    assert server.sign_ins["login"] == 2


def test_a_shift_that_the_desk_ended_is_followed_by_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Phone, "_wait", lambda self, seconds: asyncio.sleep(min(seconds, 0.1)))

    def special(request: Seen) -> Any:
        if request.path.endswith("/fixes") and not server.shift:
            return answer(
                200, {"stored": 0, "off_shift": 1, "duplicates": 0, "quarantined": 0, "reasons": {}}
            )
        return None

    server = Recorder(special)

    async def scene(server: Recorder, base_url: str) -> None:
        phones = made(base_url)
        running = asyncio.create_task(phones.run(quiet=True))
        await until(lambda: phones.tally.delivered > 3)
        first = server.shift
        server.shift = None
        await until(lambda: server.shift and server.shift != first)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    played(scene, server)


def test_a_shift_ends_when_it_was_planned_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Phone, "_wait", lambda self, seconds: asyncio.sleep(min(seconds, 0.1)))
    monkeypatch.setattr("backend.demo.phones.LOOK_EVERY_S", 0.2)
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat().replace("+00:00", "Z")
    server = Recorder(shift={"id": "11111111-1111-7111-8111-111111111111", "planned_end_at": soon})

    async def scene(server: Recorder, base_url: str) -> None:
        await during(
            made(base_url),
            lambda: server.of("/end") and server.shift is not None and server.shift["planned_end_at"] != soon,
        )

    played(scene, server)
    ended = server.of("/end")
    assert ended[0].path == "/api/v1/officer/shifts/11111111-1111-7111-8111-111111111111/end"
    assert "idempotency-key" in ended[0].headers


def test_a_command_is_repeated_with_the_key_it_had() -> None:
    """F02: the answer to a start of a shift gets lost; the phone sends the same command, not another."""
    lost = []

    def special(request: Seen) -> Any:
        if request.path.endswith("/officer/shifts") and len(lost) < 2:
            lost.append(request)
            return 0, {}, b""
        return None

    async def scene(server: Recorder, base_url: str) -> None:
        await during(made(base_url), lambda: server.shift is not None)

    starts = [r for r in played(scene, Recorder(special)).seen if r.path.endswith("/officer/shifts")]
    assert len(starts) == 3
    assert len({request.headers["idempotency-key"] for request in starts}) == 1
    assert len({request.body for request in starts}) == 1


def test_who_may_not_sign_in_stops_and_the_others_go_on() -> None:
    def special(request: Seen) -> Any:
        if request.path.endswith("/auth/login") and request.json()["password"] == "password-1":
            return answer(401, {"code": "invalid_credentials"})
        return None

    async def scene(server: Recorder, base_url: str) -> None:
        phones = made(base_url, 3)
        await during(phones, lambda: phones.tally.problems and phones.tally.delivered > 10)
        assert phones.tally.on_shift == 0  # Everybody is off when the phones are.
        assert len(phones.tally.problems) == 1

    played(scene, Recorder(special))


def test_too_many_sign_ins_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """F52: a limit on sign-ins is respected as it asks, and then all phones are on."""
    refused: list[float] = []

    def special(request: Seen) -> Any:
        if request.path.endswith("/auth/login") and len(refused) < 2:
            refused.append(request.at)
            return answer(429, {"code": "too_many_requests"}, Retry_After="1")
        return None

    server = Recorder(special)

    async def scene(server: Recorder, base_url: str) -> None:
        await during(made(base_url), lambda: server.of("/officer/fixes"))

    played(scene, server)
    tries = [request.at for request in server.of("/auth/login")]
    assert all(later - earlier >= 0.75 for earlier, later in pairwise(tries))


# --- What a phone remembers


def test_phones_stay_signed_in_from_one_run_to_the_next(tmp_path: Path) -> None:
    keep = tmp_path / "phones.json"

    async def scene(server: Recorder, base_url: str) -> None:
        for _ in range(3):
            before = len(server.of("/officer/fixes"))
            await during(made(base_url, 2, keep=keep), lambda: len(server.of("/officer/fixes")) > before + 5)  # noqa: B023

    server = played(scene)
    assert server.sign_ins["login"] == 2
    assert len({request.json()["device_id"] for request in server.of("/officer/fixes")}) == 2
    assert stat.S_IMODE(keep.stat().st_mode) == 0o600


def test_a_new_phone_has_the_device_id_of_the_account() -> None:
    device_id = str(new_id())

    async def scene(server: Recorder, base_url: str) -> None:
        phones = made(base_url, accounts=accounts(1, device_id=device_id))
        await during(phones, lambda: server.of("/officer/fixes"))

    assert played(scene).of("/officer/fixes")[0].json()["device_id"] == device_id


def test_a_broken_memory_is_a_fresh_start(tmp_path: Path) -> None:
    keep = tmp_path / "phones.json"
    keep.write_text("{broken")
    assert set(Pocket(keep).of("wang.wei")) == {"device_id", "device_key"}
    pocket = Pocket(tmp_path / "away" / "phones.json")
    pocket.put("wang.wei", refresh_token="token")
    pocket.save()  # The folder is not there; that costs a sign-in and nothing else.


def test_a_phone_that_the_desk_shut_out_is_replaced() -> None:
    def special(request: Seen) -> Any:
        if request.path.endswith("/officer/shifts"):
            wanted.append(request.json()["device"]["id"])
            if len(wanted) == 1:
                return answer(409, {"code": "device_revoked"})
        return None

    wanted: list[str] = []
    server = Recorder(special)

    async def scene(server: Recorder, base_url: str) -> None:
        await during(made(base_url), lambda: server.of("/officer/fixes"))

    played(scene, server)
    assert len(set(wanted)) == 2
    assert server.of("/officer/fixes")[0].json()["device_id"] == wanted[1]


def test_officers_that_are_left_to_people_come_last() -> None:
    everyone = accounts(4)["officers"]
    everyone[0]["reserved"] = True
    everyone[2]["password"] = None
    assert [account["login"] for account in able(everyone, 2)] == [everyone[1]["login"], everyone[3]["login"]]
    assert len(able(everyone, 10)) == 3


# --- The command


def test_the_command_stops_at_once_and_cleanly_when_asked(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets" / "demo-accounts.json").write_text(json.dumps(accounts(6)))

    async def scene(server: Recorder, base_url: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "backend.cli", "simulate", "--officers", "6", "--interval", "0.2"),
            *("--url", base_url, "--mishaps", "0"),
            env={**os.environ, "XUNGENG_DATA": str(tmp_path), "PYTHONPATH": str(CHECKOUT)},
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        await until(lambda: len(server.of(*GATEWAYS)) > 20, 30)
        process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        out, err = await process.communicate()
        assert time.monotonic() - asked < 5
        assert process.returncode == 0, err
        assert err == b""
        assert b"fixes delivered" in out.splitlines()[-1]
        assert server.sign_ins["login"] == 6

    played(scene)
    assert (tmp_path / "secrets" / "simulated-phones.json").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "There is no demo town"),
        (["--protocol", "smoke"], "Invalid value for '--protocol'"),
        (["--officers", "0"], "Invalid value for '--officers'"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "backend.cli", "simulate", *arguments],
        env={**os.environ, "XUNGENG_DATA": str(tmp_path), "PYTHONPATH": str(CHECKOUT)},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
