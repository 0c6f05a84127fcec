"""The ingest process of the production profile: granian's event loop says what the web process says.

One corpus of refusals goes over a real connection; the rest is what only a real server shows: bodies that break off,
callers who hang up, a proxy in front, threads that run out, and the end of the process.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from backend.core.tokens import new_secret, secret_hash
from bench.servers import Server
from tests.api.test_fixes import BAD, REFUSALS
from tests.durability.phones import ROUTE
from tests.durability.town import DurableTown, Officer, durable_town
from tests.running.installation import wait_until
from workflows import gate

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def town() -> Iterator[DurableTown]:
    with durable_town() as found:
        yield found


@pytest.fixture(scope="module")
def running(town: DurableTown) -> Iterator[Server]:
    with town.ingest(1) as found:
        yield found


@pytest.fixture
def officer(town: DurableTown) -> Officer:
    return town.officers(1)[0]


def batch(officer: Officer, count: int = 1, *, ago_s: float = 5.0) -> bytes:
    now = datetime.now(UTC) - timedelta(seconds=ago_s)
    fixes = [
        {"fixed_at": (now + timedelta(milliseconds=i)).isoformat(), "lon": 121.305, "lat": 31.105}
        for i in range(count)
    ]
    return json.dumps(
        {"device_id": str(officer.device_id), "sent_at": now.isoformat(), "fixes": fixes}
    ).encode()


def ask(
    port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **more: Any
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        # What is refused for its length is refused before all of it was sent; the answer is there to be read.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body, headers or {}, **more)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def post(
    port: int, officer: Officer, body: Any, headers: dict[str, str] | None = None, **more: Any
) -> Answer:
    own = {"Content-Type": "application/json", "Authorization": f"Bearer {officer.token}"}
    return ask(port, "POST", ROUTE, body, {**own, **(headers or {})}, **more)


def raw(port: int, data: bytes, *, more: bool = False, hang_up: bool = False) -> bytes:
    """Send bytes, say that there are no more of them (or nothing), and read to the end of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        if hang_up:
            return b""
        if not more:
            connection.shutdown(socket.SHUT_WR)
        parts = []
        with suppress(OSError):
            while part := connection.recv(65_536):
                parts.append(part)
        return b"".join(parts)


def problem(answer: Answer) -> tuple[int, str]:
    status, headers, body = answer
    assert headers["content-type"] == "application/problem+json"
    assert headers["cache-control"] == "no-store"
    document = json.loads(body)
    assert document["status"] == status
    assert document["request_id"] == headers["x-request-id"]
    return status, document["code"]


def stored(town: DurableTown, officer: Officer) -> int:
    return sum(town.stored(officer).values())


def tracker(town: DurableTown, officer: Officer, protocol: str = "osmand") -> str:
    """A tracker of an officer; returns its key. The tracker is the officer's ``device_id`` from then on."""
    key = new_secret()
    with psycopg.connect(town.owner) as connection:
        connection.execute("update devices set protocol = %s where id = %s", (protocol, officer.device_id))
        connection.execute(
            "insert into device_credentials (key_hash, town_id, device_id, created_at) values (%s, %s, %s, now())",
            (secret_hash(key), town.town_id, officer.device_id),
        )
    return key


# --- Success beside refusal


def test_fixes_are_stored_whichever_way_the_body_travels(
    town: DurableTown, running: Server, officer: Officer
) -> None:
    status, headers, body = post(running.port, officer, batch(officer, 2), {"X-Request-ID": "abc123"})
    assert (status, json.loads(body)["stored"]) == (200, 2)
    assert (headers["content-type"], headers["x-request-id"]) == ("application/json", "abc123")
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    packed = gzip.compress(batch(officer, 1000, ago_s=20))
    assert json.loads(post(running.port, officer, packed, {"Content-Encoding": "gzip"})[2])["stored"] == 1000
    chunks = [part.encode() for part in re.findall("(?s).{1,50}", batch(officer, 3, ago_s=30).decode())]
    status, _, body = post(running.port, officer, iter(chunks), encode_chunked=True)
    assert (status, json.loads(body)["stored"]) == (200, 3)
    spaced = json.dumps(json.loads(batch(officer, 2, ago_s=40)), separators=(" , ", " : ")).encode()
    assert json.loads(post(running.port, officer, spaced)[2])["stored"] == 2
    assert stored(town, officer) == 1007


@pytest.mark.parametrize("name", REFUSALS)
def test_each_refusal_is_the_one_of_the_web_process(running: Server, officer: Officer, name: str) -> None:
    headers, body, status, code = REFUSALS[name]
    assert problem(post(running.port, officer, body, headers)) == (status, code)


def test_hostile_bodies_get_a_problem_and_stop_nobody(
    town: DurableTown, running: Server, officer: Officer
) -> None:
    """F72, F73: one connection, refusal after refusal, and a batch that is stored after them."""
    with closing(http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)) as connection:

        def send(phone: Officer, body: bytes) -> tuple[int, Any]:
            own = {"Content-Type": "application/json", "Authorization": f"Bearer {phone.token}"}
            connection.request("POST", ROUTE, body, own)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

        # Each from a phone of its own: what is refused slowly counts as many calls of whoever sends it.
        for phone, (name, body) in zip(town.officers(len(BAD)), BAD.items(), strict=True):
            status, told = send(phone, body)
            assert status in (400, 413, 422), name
            assert told["code"] in ("unreadable", "invalid", "too_large"), name
        status, told = send(officer, batch(officer))
        assert (status, told["stored"]) == (200, 1)
    assert stored(town, officer) == 1


def test_other_methods_and_addresses(running: Server, officer: Officer) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = ask(running.port, method, ROUTE)
        assert problem(answer) == (405, "method_not_allowed")
        assert answer[1]["allow"] == "OPTIONS, POST"
    status, headers, body = ask(running.port, "HEAD", ROUTE)
    assert (status, headers["allow"], body) == (405, "OPTIONS, POST", b"")
    assert ask(running.port, "OPTIONS", ROUTE)[0] == 200
    assert ask(running.port, "GET", "/healthz")[0] == 200
    assert ask(running.port, "HEAD", "/healthz")[2] == b""
    for path in ("/", "/api/v1/auth/me", "/gateway", "/gateway/nobody/x", "/api/v1/officer/fixes/"):
        assert problem(ask(running.port, "GET", path)) == (404, "not_found"), path


def test_who_comes_too_often_waits_and_nobody_else_does(
    town: DurableTown, running: Server, officer: Officer
) -> None:
    assert problem(post(running.port, officer, b"{}")) == (422, "invalid")
    # At once: one after another they might take longer than the minute that they are counted in.
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(running.port, officer, b"{}"), range(130)))
    refused = [answer for answer in answers if answer[0] == 429]
    assert refused
    assert problem(refused[-1]) == (429, "too_many_requests")
    assert int(refused[-1][1]["retry-after"]) >= 1
    [other] = town.officers(1)
    assert post(running.port, other, batch(other))[0] == 200


# --- Bodies that break off, callers who hang up


HEADS = {
    "declared": b"Content-Length: %d\r\n",
    "chunked": b"Transfer-Encoding: chunked\r\n",
    "both": b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n",
}


@pytest.mark.parametrize("kind", HEADS)
def test_a_body_that_breaks_off_is_unreadable_and_the_whole_one_is_stored(
    town: DurableTown, running: Server, officer: Officer, kind: str
) -> None:
    body = batch(officer)
    length = HEADS[kind] % len(body) if b"%d" in HEADS[kind] else HEADS[kind]
    head = (
        (
            f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {officer.token}\r\n"
        ).encode()
        + length
        + b"\r\n"
    )
    cut, whole = body[:-20], body
    if kind != "declared":
        cut, whole = b"%x\r\n%s\r\n" % (len(cut), cut), b"%x\r\n%s\r\n0\r\n\r\n" % (len(whole), whole)
    answer = raw(running.port, head + cut)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b'"code": "unreadable"' in answer
    assert stored(town, officer) == 0
    assert raw(running.port, head + whole, more=True).startswith(b"HTTP/1.1 200 ")
    assert stored(town, officer) == 1


def test_a_trackers_form_that_breaks_off_is_not_a_place(
    town: DurableTown, running: Server, officer: Officer
) -> None:
    """``lon=121.305`` cut after the 12 is a form all the same, and half a world away."""
    key = tracker(town, officer)
    form = f"timestamp={int(time.time()) - 5}&lat=31.105&lon=121.305".encode()
    start = f"POST /gateway/osmand/{key} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
    start += b"Content-Type: application/x-www-form-urlencoded\r\n"
    declared = start + b"Content-Length: %d\r\n\r\n" % len(form)
    chunked = start + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(form[:-5]), form[:-5])
    for broken in (declared + form[:-5], chunked):
        assert raw(running.port, broken).startswith(b"HTTP/1.1 400 ")
    assert stored(town, officer) == 0
    assert raw(running.port, declared + form, more=True).startswith(b"HTTP/1.1 200 ")
    assert stored(town, officer) == 1


def test_a_trackers_body_beyond_the_bound_is_413(
    town: DurableTown, running: Server, officer: Officer
) -> None:
    path = f"/gateway/osmand/{tracker(town, officer)}"
    large = b" " * (2 * 1024 * 1024 + 1)
    kind = {"Content-Type": "application/json"}
    assert ask(running.port, "POST", path, large, kind)[0] == 413
    parts = (large[i : i + 65_536] for i in range(0, len(large), 65_536))
    assert ask(running.port, "POST", path, parts, kind, encode_chunked=True)[0] == 413


def test_who_hangs_up_before_the_answer_leaves_no_trace_but_his_fix(
    town: DurableTown, running: Server, officer: Officer
) -> None:
    body = batch(officer)
    request = (
        f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Authorization: Bearer {officer.token}\r\n\r\n"
    ).encode()
    before = running.log.read_text()
    # Whoever is gone before the server has begun was never there; here it has, and waits for the table.
    with (
        psycopg.connect(town.owner) as holding,
        socket.create_connection(("127.0.0.1", running.port)) as phone,
    ):
        holding.execute("lock table latest_positions in access exclusive mode")
        phone.sendall(request + body)
        waiting = (
            "select count(*) from pg_locks where relation = 'latest_positions'::regclass and not granted"
        )
        wait_until(lambda: holding.execute(waiting).fetchone() != (0,), 20)
    raw(running.port, request + body[:10], hang_up=True)
    wait_until(lambda: stored(town, officer) == 1, 20)
    assert post(running.port, officer, batch(officer))[0] == 200
    assert "Traceback" not in running.log.read_text()[len(before) :]


# --- Figures, the profile, and a proxy in front


def test_figures_are_for_this_machine_or_for_who_has_the_token(town: DurableTown, running: Server) -> None:
    status, headers, body = ask(running.port, "GET", "/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4")
    assert b"xungeng_ingest_group_requests" in body
    with town.ingest(1, XUNGENG_TRUSTED_HOPS="1", XUNGENG_METRICS_TOKEN="s3cret-of-the-scraper") as behind:
        assert problem(ask(behind.port, "GET", "/metrics")) == (403, "forbidden")
        wrong = {"Authorization": "Bearer wrong"}
        assert problem(ask(behind.port, "GET", "/metrics", headers=wrong)) == (403, "forbidden")
        token = {"Authorization": "Bearer s3cret-of-the-scraper"}
        assert ask(behind.port, "GET", "/metrics", headers=token)[0] == 200

        def alerts() -> float:
            text = ask(behind.port, "GET", "/metrics", headers=token)[2].decode()
            return float(re.search(r"^xungeng_enumeration_alerts_total (\S+)", text, re.M)[1])  # type: ignore[index]

        # F43: the addresses that the proxy tells are counted, and what a client claims before it is not believed.
        for i in range(70):
            forwarded = {"X-Forwarded-For": f"203.0.113.9, 198.51.100.{i}"}
            assert (
                ask(behind.port, "GET", "/gateway/osmand/nobody?lat=31&lon=121", headers=forwarded)[0] == 400
            )
        assert alerts() == 0
        for i in range(70):
            forwarded = {
                "X-Forwarded-For": f"203.0.113.{i}, 198.51.100.200",
                "X_Forwarded_For": f"192.0.2.{i}",
            }
            assert (
                ask(behind.port, "GET", "/gateway/osmand/nobody?lat=31&lon=121", headers=forwarded)[0] == 400
            )
        assert alerts() == 1


def test_gpsloggers_profile_is_downloaded_here_as_well(
    town: DurableTown, running: Server, officer: Officer
) -> None:
    key = tracker(town, officer, "gpslogger")
    path = f"/gateway/gpslogger/{key}/xungeng.properties"
    status, _, body = ask(running.port, "GET", path, headers={"Host": "xungeng.example.cn:8443"})
    assert status == 200
    assert f"http://xungeng.example.cn:8443/gateway/gpslogger/{key}" in body.decode()
    assert ask(running.port, "GET", "/gateway/gpslogger/nobody/xungeng.properties")[0] == 404
    assert ask(running.port, "GET", f"/gateway/gpslogger/{key}/other.properties")[0] == 404
    assert ask(running.port, "POST", path)[0] == 405


# --- While the write is held up


@contextmanager
def shut_gate(town: DurableTown) -> Iterator[None]:
    """Nothing of the town can be written meanwhile."""
    with psycopg.connect(town.owner) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", (gate.key(town.town_id),))
        yield


def at_once(jobs: list[Callable[[], Any]]) -> Callable[[], list[Any]]:
    """Start jobs, each in a thread; what is returned waits for their results."""
    results: list[Any] = [None] * len(jobs)

    def work(i: int) -> None:
        try:
            results[i] = jobs[i]()
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()

    def wait() -> list[Any]:
        for thread in threads:
            thread.join(30)
        return results

    return wait


def test_backlogs_of_trackers_leave_threads_for_everybody_else(town: DurableTown, running: Server) -> None:
    """A quarter of the threads may wait for a backlog; who comes beyond them is told to come again, at once."""
    officers = town.officers(40, ((5.0, None),))
    paths = [f"/gateway/osmand/{tracker(town, officer)}" for officer in officers]
    then = int(time.time()) - 7200
    for i, path in enumerate(paths):  # So that nothing has to be read any more.
        assert (
            ask(running.port, "GET", f"{path}?lat=31.105&lon=121.305&timestamp={then - 1000 + i}")[0] == 200
        )
    with shut_gate(town):
        waiting = at_once(
            [
                lambda p=path: ask(running.port, "GET", f"{p}?lat=31.105&lon=121.305&timestamp={then}")
                for path in paths
            ]
        )
        time.sleep(1.0)
        # Answered while the gate is still shut, behind which all the others wait.
        assert ask(running.port, "GET", "/gateway/osmand/nobody?lat=31&lon=121")[0] == 400
    statuses = [answer[0] for answer in waiting()]
    assert set(statuses) == {200, 503}
    assert 8 <= statuses.count(200) <= 16, statuses


def test_what_waits_when_the_process_is_told_to_end_is_written(town: DurableTown) -> None:
    officers = town.officers(6)
    with town.ingest(1) as ending:
        for officer in officers:
            assert post(ending.port, officer, batch(officer, ago_s=30))[0] == 200
        with shut_gate(town):
            waiting = at_once([lambda o=officer: post(ending.port, o, batch(o)) for officer in officers])
            time.sleep(0.5)
            os.kill(ending.pid, signal.SIGTERM)
            time.sleep(0.5)
        answers = waiting()
        ending.process.wait(20)
    assert [stored(town, officer) for officer in officers] == [2] * len(officers)
    print("\nanswers of what waited:", [a[0] if isinstance(a, tuple) else a for a in answers])
    assert "Traceback" not in "".join(str(answer) for answer in answers)
