"""b of ``script/bench live``: from the moment a phone's fix is due to the moment each supervisor's screen has it.

Open loop: the phones of N officers send one fix every five seconds each, at moments fixed beforehand, whether or not
the server keeps up; a delay counts from the due moment. It includes the queue before the connection, the request, the
commit, the way between processes and the write to every supervisor's socket. A fix that does not reach every
supervisor is not a fast one: it fails the run.
"""

from __future__ import annotations

import json
import os
import random
import select
import socket
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from backend.core.config import APP_ROLE, OWNER_ROLE
from backend.core.ids import new_id
from backend.core.tokens import AccessTokens, derive_key
from bench.crowd import SOCKET_IO_PATH, Crowd, Door, frames
from bench.ingest import ROUTE, Town, fastify, town_on_duty
from bench.report import FOREIGN_CPU_LIMIT, Report, at_most, foreign_cpu, percentile, progress
from bench.servers import (
    CannotMeasureError,
    Server,
    answers,
    folder,
    free_port,
    node_program,
    peer_packages,
    python_program,
    redis_server,
    server,
)

EVERY_S = 5.0
SUPERVISORS = 200
CONNECTIONS = 64
PROCESSES = 2


@dataclass(frozen=True)
class Side:
    """Where phones post, where supervisors connect, and with which token each of them does."""

    post: int
    live: int
    phone: Callable[[int], str]
    supervisor: Callable[[int], str]


# --- The town and its supervisors


@contextmanager
def watched_town(officers: int) -> Iterator[tuple[Town, list[str], list[str]]]:
    """A town on duty with supervisors; yields it with the phones' ``token device`` lines and supervisors' tokens."""
    with town_on_duty(officers) as town:
        now = datetime.now(UTC)
        tokens = AccessTokens(derive_key_of(town), 86_400)
        people = [(new_id(), new_id()) for _ in range(SUPERVISORS)]
        with psycopg.connect(town.owner) as connection, connection.cursor() as cursor:
            for statement in (
                "insert into users (id, town_id, login, display_name, state, locale, created_at)"
                " values (%(u)s, %(town)s, %(u)s::text, '乙', 'active', 'zh-CN', now())",
                "insert into memberships (id, town_id, user_id, role, area_id, granted_at)"
                " values (gen_random_uuid(), %(town)s, %(u)s, 'supervisor', %(area)s, now())",
                "insert into sessions (id, town_id, user_id, client, created_at, last_used_at, expires_at)"
                " values (%(s)s, %(town)s, %(u)s, 'desk', now(), now(), now() + interval '1 day')",
            ):
                rows = [{"u": u, "s": s, "town": town.town_id, "area": town.area_id} for u, s in people]
                cursor.executemany(statement, rows)
        phones = town.tokens.read_text().split("\n")[:officers]
        yield town, phones, [tokens.make(user, town.town_id, session, now) for user, session in people]


def derive_key_of(town: Town) -> bytes:
    """What the service makes its token key of."""
    return town.secret.encode()


# --- The sides


@contextmanager
def our_production(town: Town, phones: list[str], supervisors: list[str], redis_url: str) -> Iterator[Side]:
    """Two ingest processes (granian), one web process with the sockets (gunicorn, gevent), Redis between them."""
    web_port = free_port()
    with folder() as data:
        env = our_environment(town, str(data), XUNGENG_REDIS_URL=redis_url)
        # The two start beside each other, on a core each.
        with our_web(web_port, env) as web, our_ingest(env) as ingest_port:
            web.wait()
            yield _side(ingest_port, web_port, phones, supervisors)


@contextmanager
def our_default(town: Town, phones: list[str], supervisors: list[str], redis_url: str) -> Iterator[Side]:
    """The one web process of the default profile, which does everything."""
    port = free_port()
    with folder() as data, our_web(port, our_environment(town, str(data))) as web:
        web.wait()
        yield _side(port, port, phones, supervisors)


@contextmanager
def our_ingest(env: dict[str, str]) -> Iterator[int]:
    """The ingest processes of the production profile; where they listen."""
    port = free_port()
    arguments = [
        python_program(), "-m", "granian", "--interface", "rsgi", "--host", "127.0.0.1", "--port", str(port),
        "--workers", str(PROCESSES), "--log-level", "warning", "--no-ws", "backend.wsgi:ingest",
    ]  # fmt: skip
    with server(arguments, port, env=env):
        yield port


@contextmanager
def our_web(port: int, env: dict[str, str], target: str = "backend.wsgi:app") -> Iterator[Server]:
    """One web process, which may not be ready yet: whoever wants it waits."""
    arguments = [
        python_program(),
        "-m",
        "gunicorn",
        "-c",
        "python:backend.serve_gunicorn",
        target,
    ]
    more = {"PORT": str(port), "XUNGENG_HOST": "127.0.0.1"}
    with server(arguments, port, env={**env, **more}, ready=lambda: answers(port), starting=[]) as web:
        yield web


def our_environment(town: Town, data: str, **more: str) -> dict[str, str]:
    """What our processes are told of a benchmark's town."""
    return {
        "XUNGENG_DATA": data, "XUNGENG_DEMO": "0", "XUNGENG_SECRET_KEY": town.secret, "XUNGENG_ACCESS_TTL_S": "86400",
        "XUNGENG_LOG_LEVEL": "warning", "DATABASE_URL": town.cluster.url(OWNER_ROLE),
        "DATABASE_APP_URL": town.cluster.url(APP_ROLE), **more,
    }  # fmt: skip


@contextmanager
def peer_production(town: Town, phones: list[str], supervisors: list[str], redis_url: str) -> Iterator[Side]:
    """Two Fastify processes, one socket.io process, Redis between them."""
    live_port, live = free_port(), peer_packages() / "live"
    env = {"LIVE_PORT": str(live_port), "TOKEN_KEY": _token_key(town), "REDIS_URL": redis_url}
    publisher = {"PUBLISHER": str(live / "over_redis.mjs"), "REDIS_URL": redis_url}
    with (
        server([node_program(), live / "from_redis.mjs"], live_port, env=env),
        _environment(publisher),
        fastify(town, PROCESSES) as port,
    ):
        yield _side(port, live_port, phones, supervisors)


@contextmanager
def peer_default(town: Town, phones: list[str], supervisors: list[str], redis_url: str) -> Iterator[Side]:
    """Fastify and socket.io in one process."""
    live_port, live = free_port(), peer_packages() / "live"
    publisher = {
        "PUBLISHER": str(live / "beside.mjs"),
        "LIVE_PORT": str(live_port),
        "TOKEN_KEY": _token_key(town),
    }
    with _environment(publisher), fastify(town, 1) as port:
        yield _side(port, live_port, phones, supervisors)


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def _token_key(town: Town) -> str:
    return derive_key(town.secret.encode(), "access-token").hex()


def _side(post: int, live: int, phones: list[str], supervisors: list[str]) -> Side:
    return Side(
        post, live, lambda number: phones[number], lambda number: supervisors[number % len(supervisors)]
    )


# --- The phones and the screens


class Phones:
    """Sends what is due over a few kept connections; who finds them all busy waits, and that counts."""

    def __init__(
        self,
        side: Side,
        officers: int,
        place: Callable[[int], tuple[float, float]] = lambda _: (121.47, 31.23),
    ) -> None:
        self._side = side
        self._place = place
        self._officers = officers
        self.poll = select.epoll()
        self._idle: deque[socket.socket] = deque()
        self.busy: dict[int, tuple[socket.socket, bytes]] = {}
        self._waiting: deque[tuple[float, int]] = deque()
        self.accepted = 0
        self.due: dict[float, float] = {}
        """Due moment by the instant of the fix, which no other fix of the run has."""
        self._order = list(range(officers))
        random.Random(7).shuffle(self._order)
        self._next = 0
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", side.post), timeout=10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            self.poll.register(connection.fileno(), select.EPOLLIN)
            self._idle.append(connection)
        self._began = 0.0
        self.every_s = EVERY_S

    def begin(self, every_s: float = EVERY_S) -> None:
        """The first fix is due now; each phone sends every so many seconds."""
        self.every_s = every_s
        self._began = time.time()
        self._next = 0

    def next_due(self) -> float:
        """When the next fix is due."""
        return self._began + self._next * self.every_s / self._officers

    def step(self, now: float, until: float) -> None:
        """Send what is due by ``now``, of what is due before ``until``."""
        while (due := self.next_due()) <= now and due < until:
            self._waiting.append((due, self._order[self._next % self._officers]))
            self._next += 1
        while self._waiting and self._idle:
            due, officer = self._waiting.popleft()
            self._send(self._idle.popleft(), due, officer)

    def _instant_of(self, due: float) -> float:
        """An instant that no other fix of the run has, by which the screens' delays are told apart."""
        at = round(due, 3)
        while at in self.due:
            at = round(at + 0.001, 3)
        self.due[at] = due
        return at

    def _send(self, connection: socket.socket, due: float, officer: int) -> None:
        at = self._instant_of(due)
        token, device = self._side.phone(officer).split(" ")
        lon, lat = self._place(officer)
        fixed = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body = json.dumps(
            {
                "device_id": device,
                "sent_at": fixed,
                "fixes": [
                    {"fixed_at": fixed, "lon": lon, "lat": lat, "accuracy_m": 6.5, "speed_mps": 1.3,
                     "heading_deg": 92.5, "battery_pct": 81, "charging": False}
                ],
            }
        ).encode()  # fmt: skip
        head = (
            f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        self.busy[connection.fileno()] = (connection, b"")

    def answered(self) -> None:
        """Take in answers that have come."""
        for descriptor, _ in self.poll.poll(0):
            entry = self.busy.get(descriptor)
            if entry is None:
                raise CannotMeasureError("A server closed a phone's connection.")
            connection, before = entry
            answer = before + connection.recv(65536)
            head, ended, rest = answer.partition(b"\r\n\r\n")
            length = next(
                (
                    int(line[15:])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ),
                None,
            )
            if not answer or (ended and (not head.startswith(b"HTTP/1.1 200") or b'"stored":1' not in rest)):
                raise CannotMeasureError(f"A fix was not stored: {answer[:400]!r}")
            if not ended or length is None or len(rest) < length:
                self.busy[descriptor] = (connection, answer)
                continue
            del self.busy[descriptor]
            self._idle.append(connection)
            self.accepted += 1

    @property
    def pending(self) -> bool:
        """Whether something is due or under way."""
        return bool(self._waiting or self.busy)

    @property
    def late(self) -> int:
        """How many are due and wait for a connection."""
        return len(self._waiting)

    def close(self) -> None:
        """Hang up."""
        for connection in [*self._idle, *(entry[0] for entry in self.busy.values())]:
            connection.close()
        self.poll.close()


class Screens:
    """The supervisors' sockets; notes when each of them received which fixes."""

    def __init__(self, side: Side, count: int) -> None:
        self.crowd = Crowd(side.live, Door(SOCKET_IO_PATH, side.supervisor), count)
        self.crowd.settle()
        self.poll = self.crowd._poll
        self._by_descriptor = {client.fileno(): client for client in self.crowd.sockets}
        self._rest = dict.fromkeys(self._by_descriptor, b"")
        self._read: dict[bytes, tuple[float, ...]] = {}
        self.heard: list[tuple[float, tuple[float, ...]]] = []

    def look(self) -> None:
        """Take in what has come; the same bytes are read once, however many screens they come to."""
        for descriptor, _ in self.poll.poll(0, len(self._rest)):
            try:
                data = self._by_descriptor[descriptor].recv(1 << 18)
            except BlockingIOError:
                continue
            now = time.time()
            if not data:
                raise CannotMeasureError("The server closed a supervisor's connection.")
            if self._rest[descriptor]:
                data = self._rest[descriptor] + data
            instants = self._read.get(data)
            if instants is None:
                instants, used = _instants(data)
                self._rest[descriptor] = data[used:]
                if used == len(data):
                    if len(self._read) > 20_000:
                        self._read.clear()
                    self._read[data] = instants
            else:
                self._rest[descriptor] = b""
            if instants:
                self.heard.append((now, instants))

    def close(self) -> None:
        """Hang up."""
        self.crowd.close()


def _instants(data: bytes) -> tuple[tuple[float, ...], int]:
    """The instants of all positions in the whole frames of ``data``, and how many bytes those have."""
    found: list[float] = []
    used = 0
    for opcode, payload in frames(data):
        used += len(payload) + (2 if len(payload) < 126 else 4 if len(payload) < 65_536 else 10)
        if opcode == 1 and payload.startswith(b'42/desk,["positions",'):
            found += [row[3] for row in json.loads(payload[len(b"42/desk,") :])[1]]
    return tuple(found), used


@dataclass(frozen=True)
class Delays:
    """What one run came to, in milliseconds."""

    p50: float
    p99: float
    missing: int


def measure(side: Side, officers: int, screens_count: int, seconds: float, warm_s: float) -> Delays:
    """Everybody once within ``warm_s`` to warm up, then ``seconds`` that count."""
    phones = Phones(side, officers)
    screens = Screens(side, screens_count)
    waiting = select.epoll()
    waiting.register(phones.poll.fileno(), select.EPOLLIN)
    waiting.register(screens.poll.fileno(), select.EPOLLIN)
    try:
        for warm in (True, False):
            phones.due.clear()
            screens.heard.clear()
            phones.begin(warm_s if warm else EVERY_S)
            until = time.time() + (warm_s + 0.1 if warm else seconds)
            last = until + 5
            while (now := time.time()) < until or (phones.pending and now < last):
                phones.step(now, until)
                waiting.poll(max(0.0, min(0.01, phones.next_due() - now)))
                phones.answered()
                screens.look()
            quiet = time.time() + 0.7
            while time.time() < quiet:
                waiting.poll(0.05)
                screens.look()
        delays, seen = [], 0
        for heard_at, instants in screens.heard:
            for at in instants:
                due = phones.due.get(at)
                if due is not None:
                    seen += 1
                    delays.append((heard_at - due) * 1000)
        missing = len(phones.due) * screens_count - seen
        if not delays:
            raise CannotMeasureError("No position reached any supervisor.")
        delays.sort()
        return Delays(percentile(delays, 0.5), percentile(delays, 0.99), missing)
    finally:
        waiting.close()
        phones.close()
        screens.close()


def delays(report: Report, quick: bool) -> None:
    """b: both profiles; the production profile's 1,000 officers and 200 supervisors carry the target."""
    target = [at_most(20, "value"), at_most(1)]
    cases: list[tuple[str, int, int, Any, Any, str, list[Any]]] = [
        ("production", 1000, 200, our_production, peer_production, "Fastify ×2 + Redis + socket.io", target),
    ]
    if not quick:
        cases += [
            ("production", 1000, 20, our_production, peer_production, "Fastify ×2 + Redis + socket.io", []),
            ("production", 5000, 20, our_production, peer_production, "Fastify ×2 + Redis + socket.io", []),
            ("production", 5000, 200, our_production, peer_production, "Fastify ×2 + Redis + socket.io", []),
            (
                "default",
                1000,
                200,
                our_default,
                peer_default,
                "Fastify + socket.io, one process",
                [at_most(2)],
            ),
        ]
    seconds, warm_s, pairs = (2.5, 2.5, 1) if quick else (10.0, EVERY_S, 5)
    with watched_town(1000 if quick else 5000) as (town, phones, supervisors), redis_server() as redis_url:
        for profile, officers, screens, us, them, against, targets in cases:
            with ExitStack() as stack:
                progress(f"from POST to {screens} supervisors, {officers} officers, {profile} profile")
                here = stack.enter_context(us(town, phones, supervisors, redis_url))
                there = stack.enter_context(them(town, phones, supervisors, redis_url))
                found: list[tuple[Delays, Delays]] = []
                for _ in range(pairs):
                    for attempt in range(3):
                        with foreign_cpu() as foreign:
                            pair = (
                                measure(here, officers, screens, seconds, warm_s),
                                measure(there, officers, screens, seconds, warm_s),
                            )
                        if quick or foreign.cores <= FOREIGN_CPU_LIMIT or attempt == 2:
                            break
                    found.append(pair)
                for share, bounds in (("p50", []), ("p99", targets)):
                    ours = [getattr(a, share) for a, _ in found]
                    theirs = [getattr(b, share) for _, b in found]
                    report.add(
                        f"b POST → socket {share}, {officers} × {screens}, {profile}",
                        statistics.median(ours), "ms", against=against, against_value=statistics.median(theirs),
                        ratio=statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), target=bounds,
                    )  # fmt: skip
                for name, missing in (
                    ("us", sum(a.missing for a, _ in found)),
                    (against, sum(b.missing for _, b in found)),
                ):
                    if missing > 0:
                        report.note(
                            f"{missing} deliveries of {name} are missing ({officers} × {screens}, {profile})."
                        )
