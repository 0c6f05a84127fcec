"""``script/bench dispatch``: the nearest officers (d), and a call for help from the press to the phone of who comes.

d: of 10,000 officers on shift the ten nearest who are free, recent, of the right area and kind. Bare: the statement
against Redis GEOSEARCH, which knows places alone, through Python clients of one connection each. Over HTTP: the desk's
own route against the same process without its database. And the statement again while two thousand phones send a
fix each second through the ingest processes.

SOS: one officer presses, another stands beside him. The moments are taken at the wire: the answer to the press, the
desk's socket, the other's socket, and the request that the worker makes to the push service. They count from the
press and stand beside its answer, which comes once the call is stored.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import random
import select
import shutil
import statistics
import subprocess
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import redis
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from backend.core.config import APP_ROLE
from backend.core.ids import new_id
from backend.core.tokens import AccessTokens
from bench.crowd import SOCKET_IO_PATH, Crowd, Door, frames
from bench.delays import Phones, Side, derive_key_of, our_environment, our_ingest, our_web, watched_town
from bench.ingest import Town
from bench.report import Report, at_least, at_most, in_pairs, percentile, progress
from bench.servers import CannotMeasureError, folder, free_port, python_program, redis_server, server
from geo import queries

OFFICERS = 10_000
MOST = 10
MOVING, MEETINGS, WARM_S = 2000, 6, 20.0
"""Phones that send a fix each second, and how often each has sent before the measuring begins."""
BOX = (121.4, 31.1, 121.6, 31.4)
"""Where the officers are: the town of ``bench.ingest``, which is 19 by 33 km."""
NEAREST_PATH = "/api/v1/desk/tasks/nearest"
SCRIPT = Path(__file__).with_suffix(".lua")
FLOOR = "bench.peers.dispatch.floor:app"
PAIR_M = 0.00005
"""Degrees between who calls and who is nearest: some five metres."""


def run(quick: bool) -> Report:
    """Measure."""
    report = Report("dispatch")
    places = random.Random(11)
    with watched_town(OFFICERS) as (town, phones, supervisors), redis_server() as redis_url:
        where = [_somewhere(places) for _ in range(OFFICERS)]
        _take_up(town, where)
        with _asking(town) as ask:
            _bare(report, ask, where, redis_url, quick)
            with folder() as data:
                env = our_environment(town, str(data), XUNGENG_REDIS_URL=redis_url)
                _over_http(report, env, supervisors, quick)
                with our_ingest(env) as port:
                    _under_updates(report, ask, port, phones, where, quick)
        _calls_for_help(report, town, phones, supervisors, where, redis_url, 10 if quick else 40)
    return report


def _somewhere(places: random.Random) -> tuple[float, float]:
    west, south, east, north = BOX
    return places.uniform(west, east), places.uniform(south, north)


def _take_up(town: Town, where: list[tuple[float, float]]) -> None:
    """Let every officer have been seen just now, at his place."""
    rows = [
        (shift, officer, device, lon, lat)
        for (officer, device, shift, _), (lon, lat) in zip(town.officers, where, strict=True)
    ]
    with psycopg.connect(town.owner, autocommit=True) as connection:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(
                "insert into latest_positions (officer_id, town_id, shift_id, room_id, area_id, device_id, geom,"
                " fixed_at, received_at) values (%(o)s, %(town)s, %(s)s, %(area)s, %(area)s, %(d)s,"
                " ST_SetSRID(ST_MakePoint(%(lon)s, %(lat)s), 4326), now(), now())",
                [
                    {
                        "o": o,
                        "town": town.town_id,
                        "s": s,
                        "area": town.area_id,
                        "d": d,
                        "lon": lon,
                        "lat": lat,
                    }
                    for s, o, d, lon, lat in rows
                ],
            )
        connection.execute("vacuum analyze")


# --- d: bare


Ask = Callable[[tuple[float, float]], int]


@contextmanager
def _asking(town: Town) -> Iterator[Ask]:
    """The statement as workflows ask it, with the application's role, through one connection."""
    engine = create_engine(town.cluster.url(APP_ROLE), poolclass=StaticPool)
    with Session(engine) as session:

        def ask(place: tuple[float, float]) -> int:
            # A transaction for each, with the town entered, as every request has it.
            with session.begin():
                session.connection().exec_driver_sql(
                    "select set_config('xungeng.town', %s, true)", (str(town.town_id),)
                )
                found = queries.nearest(
                    session, place, now=datetime.now(UTC), recent_s=3600.0, scope=[town.area_id], limit=MOST
                )
            return len(found)

        yield ask
    engine.dispose()


def _bare(report: Report, ask: Ask, where: list[tuple[float, float]], redis_url: str, quick: bool) -> None:
    client: Any = redis.Redis.from_url(redis_url)
    for first in range(0, len(where), 1000):
        values = [
            part
            for number, place in enumerate(where[first : first + 1000], first)
            for part in (*place, str(number))
        ]
        client.geoadd("officers", values)

    def from_redis(place: tuple[float, float]) -> int:
        return len(
            client.geosearch(
                "officers",
                longitude=place[0],
                latitude=place[1],
                radius=50,
                unit="km",
                sort="ASC",
                count=MOST,
                withdist=True,
            )
        )

    seconds, count = (1.0, 1) if quick else (3.0, 5)
    progress("d bare: the statement and Redis GEOSEARCH")
    _rate(ask, 0.5)
    pairs = in_pairs(partial(_rate, ask, seconds), partial(_rate, from_redis, seconds), count)
    report.add(
        "d ten nearest of 10,000, bare", pairs.value, "queries/s", against="Redis GEOSEARCH, ten nearest in 50 km",
        against_value=pairs.against_value, ratio=pairs.ratio, target=at_least(1),
    )  # fmt: skip
    client.close()


def _rate(ask: Ask, seconds: float) -> float:
    places = random.Random(5)
    done, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        if ask(_somewhere(places)) != MOST:
            raise CannotMeasureError("Fewer officers were found than there are.")
        done += 1
    return done / elapsed


# --- d: over HTTP


def _over_http(report: Report, env: dict[str, str], supervisors: list[str], quick: bool) -> None:
    seconds, count = (2.0, 1) if quick else (5.0, 3)
    ports = free_port(), free_port()
    with (
        our_web(ports[0], env) as ours,
        our_web(ports[1], env, FLOOR) as floor,
        folder() as place,
    ):
        ours.wait()
        floor.wait()
        tokens = place / "tokens"
        tokens.write_text("\n".join(supervisors) + "\n")
        progress("d over HTTP: the desk's route, and the same without the database")
        for port in ports:
            _wrk(port, tokens, 1.0)
        pairs = in_pairs(
            partial(_wrk, ports[0], tokens, seconds), partial(_wrk, ports[1], tokens, seconds), count
        )
    report.add(
        "d ten nearest of 10,000, over HTTP", pairs.value, "requests/s", against="the same without the database",
        against_value=pairs.against_value, ratio=pairs.ratio, target=at_least(0.6),
    )  # fmt: skip


def _wrk(port: int, tokens: Path, seconds: float) -> float:
    wrk = shutil.which("wrk")
    if wrk is None:
        raise CannotMeasureError("wrk is not installed (Debian package wrk).")
    arguments = [
        wrk, "-t", "1", "-c", "8", "-d", f"{max(1, round(seconds))}s", "--timeout", "20s", "-s", str(SCRIPT),
        f"http://127.0.0.1:{port}", "--", str(tokens), NEAREST_PATH, *map(str, BOX),
    ]  # fmt: skip
    said = subprocess.run(arguments, capture_output=True, text=True, check=False)
    line = next((line for line in said.stdout.splitlines() if line.startswith("FOUND ")), None)
    if line is None:
        raise CannotMeasureError(f"wrk said nothing: {said.stdout[-500:]}{said.stderr[-500:]}")
    found = json.loads(line.removeprefix("FOUND "))
    if found["refused"]:
        raise CannotMeasureError(f"{found['refused']} requests were refused: {found['refusal']}")
    return float(found["requests"] / found["seconds"])


# --- d: while everybody moves


def _under_updates(
    report: Report, ask: Ask, port: int, phones: list[str], where: list[tuple[float, float]], quick: bool
) -> None:
    seconds = 5.0 if quick else 15.0
    side = Side(port, port, lambda number: phones[number], lambda number: "")
    progress(f"d while {MOVING:,} phones send a fix each second")
    idle = _times_ms(ask, seconds / 2)
    with _moving(side, where) as (stored, behind):
        # Each process has met each phone by then, and what waited meanwhile is sent: this is what goes on all day.
        deadline = time.monotonic() + WARM_S
        while (stored() < MEETINGS * MOVING or behind()) and time.monotonic() < deadline:
            time.sleep(0.1)
        before = stored()
        began = time.monotonic()
        busy = _times_ms(ask, seconds)
        rate = (stored() - before) / (time.monotonic() - began)
    report.add(
        "d p99 while everybody moves", percentile(busy, 0.99), "ms", against="the same while nobody moves",
        against_value=percentile(idle, 0.99), target=at_most(2),
    )  # fmt: skip
    report.note(
        f"d: {rate:,.0f} fixes a second were stored meanwhile; medians {statistics.median(busy):.2f} and"
        f" {statistics.median(idle):.2f} ms."
    )


def _times_ms(ask: Ask, seconds: float) -> list[float]:
    """Ask thirty times a second: as a desk does, and so that the asking itself takes no processor."""
    places, times, until = random.Random(9), [], time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        ask(_somewhere(places))
        times.append((time.perf_counter() - began) * 1000)
        time.sleep(1 / 30)
    return times


class Movers(Phones):
    """Phones that nobody watches: two of them may say the same millisecond."""

    def _instant_of(self, due: float) -> float:
        return round(due, 3)


@contextmanager
def _moving(
    side: Side, where: list[tuple[float, float]]
) -> Iterator[tuple[Callable[[], int], Callable[[], int]]]:
    """All phones send, in a process of their own beside the block; yields how many fixes were stored, and are late."""
    forking = multiprocessing.get_context("fork")
    stored, behind, stop = forking.Value("L", 0), forking.Value("L", 0), forking.Event()

    def send() -> None:
        phones = Movers(side, MOVING, where.__getitem__)
        phones.begin(1.0)
        while not stop.is_set():
            phones.step(time.time(), float("inf"))
            phones.poll.poll(0.005)
            phones.answered()
            stored.value, behind.value = phones.accepted, phones.late
        phones.close()

    process = forking.Process(target=send, daemon=True)
    process.start()
    try:
        yield (lambda: int(stored.value)), (lambda: int(behind.value))
    finally:
        stop.set()
        process.join(10)
    if process.exitcode != 0:
        raise CannotMeasureError("The phones that move gave up; what they said stands above.")


# --- SOS


@dataclass
class Moments:
    """When one call was heard of, in seconds since the press; what did not come stays out."""

    answer: float = 0.0
    desk: float | None = None
    officer: float | None = None
    push: float | None = None


def _calls_for_help(
    report: Report, town: Town, phones: list[str], supervisors: list[str], where: list[tuple[float, float]],
    redis_url: str, calls: int,
) -> None:  # fmt: skip
    progress("SOS: from the press to the desk's socket, the nearest officer's socket and the push service")
    tokens = AccessTokens(derive_key_of(town), 86_400)
    now = datetime.now(UTC)
    callers, helpers = range(calls), range(calls, 2 * calls)
    for caller, helper in zip(callers, helpers, strict=True):
        where[helper] = where[caller][0] + PAIR_M, where[caller][1]
    token_of = [
        tokens.make(officer, town.town_id, session, now)
        for officer, _, _, session in town.officers[: 2 * calls]
    ]
    with folder() as data, _push_service() as (push_url, pushed):
        env = our_environment(
            town, str(data), XUNGENG_REDIS_URL=redis_url, XUNGENG_WEBPUSH_CONTACT="mailto:bench@example.org",
            XUNGENG_WEBPUSH_SERVICES=push_url,
        )  # fmt: skip
        _give_phones(town, push_url, helpers, where)
        port = free_port()
        worker = [python_program(), "-m", "backend.cli", "worker"]
        with our_web(port, env) as web, server(worker, 0, env=env, ready=lambda: True):
            web.wait()
            desk = Crowd(port, Door(SOCKET_IO_PATH, lambda number: supervisors[number]), 1)
            theirs = Crowd(
                port, Door(SOCKET_IO_PATH, lambda number: token_of[helpers[number]], "/officer"), calls
            )
            try:
                time.sleep(2.0)  # The worker's threads listen by now.
                desk.settle()
                theirs.settle()
                found = [
                    _one_call(port, token_of[caller], where[caller], desk, theirs, number, pushed)
                    for number, caller in enumerate(callers)
                ]
            finally:
                desk.close()
                theirs.close()
    _report_calls(report, found[1:])  # The first one compiles what it passes through.


def _report_calls(report: Report, found: list[Moments]) -> None:
    answers = [one.answer * 1000 for one in found]
    report.add("SOS: answered, median", statistics.median(answers), "ms", against="–")
    for name, of in (
        ("at the desk's socket", lambda one: one.desk),
        ("at the nearest officer's socket", lambda one: one.officer),
        ("at the push service", lambda one: one.push),
    ):
        times = [1000 * at for at in map(of, found) if at is not None]
        if len(times) < len(found):
            report.note(f"SOS {name}: {len(found) - len(times)} of {len(found)} did not come.")
        if times:
            report.add(
                f"SOS: {name}, median", statistics.median(times), "ms", against="its answer",
                against_value=statistics.median(answers),
            )  # fmt: skip
            report.note(f"SOS {name}: slowest of {len(times)}: {max(times):.0f} ms after the press.")


def _one_call(
    port: int, token: str, place: tuple[float, float], desk: Crowd, theirs: Crowd, number: int,
    pushed: dict[str, float],
) -> Moments:  # fmt: skip
    moments = Moments()
    ear = theirs.sockets[number]
    poll = select.epoll()
    poll.register(desk.sockets[0].fileno(), select.EPOLLIN)
    poll.register(ear.fileno(), select.EPOLLIN)
    heard = {desk.sockets[0].fileno(): b"", ear.fileno(): b""}
    sockets = {desk.sockets[0].fileno(): desk.sockets[0], ear.fileno(): ear}
    began = time.time()
    presser = threading.Thread(target=_press, args=(port, token, place, began, moments))
    presser.start()
    until = began + 10
    try:
        while time.time() < until and None in (moments.desk, moments.officer, moments.push):
            for descriptor, _ in poll.poll(0.02):
                heard[descriptor] += sockets[descriptor].recv(1 << 16)
                events = [data for opcode, data in frames(heard[descriptor]) if opcode == 1]
                if sockets[descriptor] is ear:
                    if moments.officer is None and any(b'["notice"' in data for data in events):
                        moments.officer = time.time() - began
                elif moments.desk is None and any(
                    b'["changed"' in data and b'"alarm"' in data for data in events
                ):
                    moments.desk = time.time() - began
            if moments.push is None and f"/{number}" in pushed:
                moments.push = pushed[f"/{number}"] - began
    finally:
        presser.join()
        poll.close()
    return moments


def _press(port: int, token: str, place: tuple[float, float], began: float, moments: Moments) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        body = json.dumps({"place": {"lon": place[0], "lat": place[1], "accuracy_m": 5}})
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Idempotency-Key": str(uuid4()),
        }
        connection.request("POST", "/api/v1/officer/sos", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        moments.answer = time.time() - began
        if answer.status != 201:
            raise CannotMeasureError(f"A call for help was refused: {said[:300]!r}")
    finally:
        connection.close()


def _give_phones(town: Town, push_url: str, helpers: range, where: list[tuple[float, float]]) -> None:
    """Put the helpers beside the callers, each with a browser that is reached by Web Push."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    keys = {"p256dh": _base64(point), "auth": _base64(os.urandom(16))}
    with psycopg.connect(town.owner) as connection:
        connection.execute("update latest_positions set fixed_at = now(), received_at = now()")
        for number, helper in enumerate(helpers):
            officer, _, _, session = town.officers[helper]
            lon, lat = where[helper]
            connection.execute(
                "update latest_positions set geom = ST_SetSRID(ST_MakePoint(%s, %s), 4326) where officer_id = %s",
                (lon, lat, officer),
            )
            connection.execute(
                "insert into addresses (id, town_id, user_id, channel, token, keys, session_id, created_at)"
                " values (%s, %s, %s, 'webpush', %s, %s, %s, now())",
                (new_id(), town.town_id, officer, f"{push_url}/{number}", json.dumps(keys), session),
            )


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


@contextmanager
def _push_service() -> Iterator[tuple[str, dict[str, float]]]:
    """A push service on this machine: its address, and when which path was first called."""
    called: dict[str, float] = {}

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            called.setdefault(self.path, time.time())
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=service.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{service.server_address[1]}", called
    finally:
        service.shutdown()
        service.server_close()
