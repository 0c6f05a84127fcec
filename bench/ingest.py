"""``script/bench ingest``: from a phone's request to the committed row, one fix at a time and a hundred.

a1: one fix in each request, 64 connections. a2: a backlog of a hundred in each request, 16 connections, and the same
batches once more, which must add no row. Every request carries a token of its own officer and a new (device, time);
after each run the rows in the table are counted against what was acknowledged.

The sides write into the same tables with the same durability, check the same tokens and the same shift gate and
validate the same fields. The production profile is two ingest processes (granian) with Redis, and peers get two
processes as well; the targets are its own. The default profile is the one web process (gunicorn, gevent) against peers
of one process, printed beside with half of each target.
"""

from __future__ import annotations

import json
import secrets
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from backend.core.config import APP_ROLE, OWNER_ROLE, libpq_url
from backend.core.ids import new_id
from backend.core.migrating import migrate
from backend.core.tokens import AccessTokens, derive_key
from backend.embedded.cluster import Cluster
from bench.report import Pairs, Report, at_least, in_pairs, progress
from bench.servers import (
    CannotMeasureError,
    Server,
    answers,
    folder,
    free_port,
    node_program,
    peer_packages,
    postgis,
    python_program,
    redis_server,
    server,
)

OFFICERS, QUICK_OFFICERS = 1000, 300
PROCESSES = 2
ROUTE = "/api/v1/officer/fixes"
BACKLOG = 100
SINGLE_CONNECTIONS, BATCH_CONNECTIONS = 64, 16
SCRIPT = Path(__file__).with_suffix(".lua")
LIVE_STEP_MS = 10
VISITS = {1: 2, 2: 8}
"""How often a side of so many processes has met each officer before it counts as warm: processes share the visits, and
of two one has not met an officer after eight with a chance of 1 in 256."""
WARM_S = 45.0
"""How long a side may take for that; one that takes longer is named in the report."""
BACKLOG_BEGAN = timedelta(hours=76)
BACKLOG_RUN_MS = 2_400_000
"""How much track one run may send for each officer."""


@dataclass
class Town:
    """The officers on duty whose phones send, and the clock of what they send."""

    cluster: Cluster
    secret: str
    officers: list[tuple[UUID, UUID, UUID, UUID]]
    """(officer, device, shift, session)"""
    town_id: UUID
    area_id: UUID
    tokens: Path
    backlog_ms: int
    disagreements: list[str] = field(default_factory=list)
    clock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def owner(self) -> str:
        """The owner's connection string."""
        return libpq_url(self.cluster.url(OWNER_ROLE))


@dataclass(frozen=True)
class Run:
    """What one run of the load generator came to."""

    requests_per_s: float
    fixes_per_s: float
    p50_ms: float
    p99_ms: float


@contextmanager
def town_on_duty(count: int = OFFICERS) -> Iterator[Town]:
    """A migrated database with a town of officers who are all on duty, each with a phone and a token."""
    # All sides are up at once, each with connections of its own.
    with postgis({"max_connections": "400"}) as cluster, folder() as place:
        cluster.make_database()
        migrate(cluster.url(OWNER_ROLE))
        secret = secrets.token_urlsafe(32)
        officers = [(new_id(), new_id(), new_id(), new_id()) for _ in range(count)]
        now = datetime.now(UTC)
        town = Town(
            cluster=cluster, secret=secret, officers=officers, town_id=new_id(), area_id=new_id(),
            tokens=place / "tokens", backlog_ms=_ms(now - BACKLOG_BEGAN),
        )  # fmt: skip
        with psycopg.connect(town.owner) as connection:
            _fill(connection, town, now)
        tokens = AccessTokens(secret.encode(), 86_400)
        lines = [
            f"{tokens.make(officer, town.town_id, session, now)} {device}"
            for officer, device, _, session in officers
        ]
        town.tokens.write_text("\n".join(lines) + "\n")
        yield town


def _fill(connection: psycopg.Connection, town: Town, now: datetime) -> None:
    name = '{"zh-CN": "青禾镇", "en": "Qinghe"}'
    connection.execute(
        "insert into towns (id, code, name, time_zone, locale, created_at)"
        " values (%s, 'bench', %s, 'Asia/Shanghai', 'zh-CN', %s)",
        (town.town_id, name, now),
    )
    connection.execute(
        "insert into areas (id, town_id, ancestors, kind, code, name, geom) values"
        " (%s, %s, array[%s]::uuid[], 'town', '0', %s, ST_Multi(ST_MakeEnvelope(121.4, 31.1, 121.6, 31.4, 4326)))",
        (town.area_id, town.town_id, town.area_id, name),
    )
    ids = [list(column) for column in zip(*town.officers, strict=True)]
    began, ends = now - BACKLOG_BEGAN - timedelta(hours=1), now + timedelta(hours=12)
    for statement in (
        "insert into users (id, town_id, login, display_name, state, locale, created_at)"
        " select o, %(town)s, o::text, '甲', 'active', 'zh-CN', %(now)s from unnest(%(o)s::uuid[]) o",
        "insert into memberships (id, town_id, user_id, role, area_id, officer_kind, granted_at)"
        " select gen_random_uuid(), %(town)s, o, 'officer', %(area)s, 'patrol', %(now)s from unnest(%(o)s::uuid[]) o",
        "insert into sessions (id, town_id, user_id, client, created_at, last_used_at, expires_at)"
        " select i, %(town)s, o, 'officer', %(now)s, %(now)s, %(ends)s"
        " from unnest(%(i)s::uuid[], %(o)s::uuid[]) u (i, o)",
        "insert into devices (id, town_id, officer_id, kind, protocol, name, state, created_at)"
        " select d, %(town)s, o, 'phone', 'officer', '', 'active', %(now)s"
        " from unnest(%(d)s::uuid[], %(o)s::uuid[]) u (d, o)",
        "insert into shifts (id, town_id, officer_id, area_id, state, started_at, closes_at)"
        " select s, %(town)s, o, %(area)s, 'on_duty', %(began)s, %(ends)s"
        " from unnest(%(s)s::uuid[], %(o)s::uuid[]) u (s, o)",
        "analyze",
    ):
        values = {"town": town.town_id, "area": town.area_id, "now": now, "began": began, "ends": ends}
        values |= dict(zip("odsi", ids, strict=True))
        connection.execute(statement, values if "%" in statement else None)


# --- The sides


@contextmanager
def ours(town: Town, target: str, redis_url: str, starting: list[Server] | None = None) -> Iterator[int]:
    """Our ingest processes as ``xungeng serve`` starts them in the production profile."""
    port = free_port()
    arguments = [
        python_program(), "-m", "granian", "--interface", "rsgi", "--host", "127.0.0.1", "--port", str(port),
        "--workers", str(PROCESSES), "--log-level", "warning", "--no-ws", target,
    ]  # fmt: skip
    with (
        folder() as data,
        server(
            arguments, port, env=_our_environment(town, data, XUNGENG_REDIS_URL=redis_url), starting=starting
        ),
    ):
        yield port


@contextmanager
def our_default(
    town: Town, target: str = "backend.wsgi:app", starting: list[Server] | None = None
) -> Iterator[int]:
    """The one web process of the default profile."""
    port = free_port()
    arguments = [
        python_program(),
        "-m",
        "gunicorn",
        "-c",
        "python:backend.serve_gunicorn",
        target,
    ]
    with folder() as data:
        env = _our_environment(town, data, PORT=str(port), XUNGENG_HOST="127.0.0.1")
        with server(arguments, port, env=env, ready=lambda: answers(port), starting=starting):
            yield port


def _our_environment(town: Town, data: Path, **more: str) -> dict[str, str]:
    return {
        "XUNGENG_DATA": str(data), "XUNGENG_DEMO": "0", "XUNGENG_SECRET_KEY": town.secret,
        "XUNGENG_ACCESS_TTL_S": "86400", "XUNGENG_LOG_LEVEL": "warning",
        "DATABASE_URL": town.cluster.url(OWNER_ROLE), "DATABASE_APP_URL": town.cluster.url(APP_ROLE), **more,
    }  # fmt: skip


def _token_key(town: Town) -> str:
    return derive_key(town.secret.encode(), "access-token").hex()


@contextmanager
def fastify(town: Town, processes: int = PROCESSES, starting: list[Server] | None = None) -> Iterator[int]:
    """Fastify with node-postgres."""
    port = free_port()
    dsn = psycopg.conninfo.conninfo_to_dict(town.owner)
    env = {
        "PORT": str(port), "PROCESSES": str(processes), "TOKEN_KEY": _token_key(town), "SOCKET_DIR": str(dsn["host"]),
        "PG_PORT": str(dsn["port"]), "DATABASE": str(dsn["dbname"]), "PG_USER": str(dsn["user"]),
    }  # fmt: skip
    with server(
        [node_program(), peer_packages() / "ingest" / "fastify.mjs"], port, env=env, starting=starting
    ):
        yield port


@contextmanager
def naive_flask(
    town: Town, processes: int = PROCESSES, starting: list[Server] | None = None
) -> Iterator[int]:
    """Flask as one writes it first, in gunicorn's threads."""
    port = free_port()
    arguments = [
        python_program(), "-m", "gunicorn", "-k", "gthread", "-w", str(processes), "--threads", "32",
        "--no-control-socket", "-b", f"127.0.0.1:{port}", "bench.peers.ingest.naive_flask:app",
    ]  # fmt: skip
    with server(
        arguments, port, env={"TOKEN_KEY": _token_key(town), "CONNINFO": town.owner}, starting=starting
    ):
        yield port


# --- The load


def load(
    town: Town, port: int, *, fixes: int, seconds: float, repeat: bool = False, writes: bool = True
) -> Run:
    """Send fixes for some seconds into emptied tables, and check that what was acknowledged is what is there.

    ``repeat`` sends the batches of the run before again.
    """
    batch = fixes > 1
    connections = BATCH_CONNECTIONS if batch else SINGLE_CONNECTIONS
    with psycopg.connect(town.owner, autocommit=True) as connection:
        if not repeat:
            connection.execute("truncate fixes")
        connection.execute("checkpoint")
        before = _rows(connection)
        found = _sent(town, port, fixes, seconds, repeat=repeat)
        acknowledged = found["stored"]
        if writes:
            rows = _settled(connection) - before
            if not acknowledged <= rows <= acknowledged + connections * fixes:
                raise CannotMeasureError(f"{acknowledged} fixes were acknowledged, but {rows} are there.")
    return Run(
        found["requests"] / found["seconds"],
        acknowledged / found["seconds"],
        found["p50_ms"],
        found["p99_ms"],
    )


def warm(town: Town, sides: Mapping[str, int], visits: int, batches: Collection[str]) -> None:
    """Send to all sides at once until every process of each has met every officer, and has compiled what it compiles.

    All of it is work that the processors have to do, so side by side it takes no longer, and no side is warmer than
    another when the measuring begins. ``batches`` are the sides that are to meet backlogs too.
    """

    def meet(number: int, side: str, port: int) -> None:
        met, until = 0.0, time.monotonic() + WARM_S
        if side in batches:
            _sent(town, port, BACKLOG, 1)
        while met < visits * len(town.officers):
            if time.monotonic() > until:
                town.disagreements.append(
                    f"{side} was not warm after {WARM_S:.0f} s; its figures are too low."
                )
                return
            met += _sent(town, port, 1, 1, lane=number)["requests"]

    with ThreadPoolExecutor(len(sides)) as threads:
        for done in [threads.submit(meet, number, *side) for number, side in enumerate(sides.items())]:
            done.result()


def _sent(
    town: Town, port: int, fixes: int, seconds: float, *, repeat: bool = False, lane: int = 0
) -> dict[str, Any]:
    """Send fixes that nobody sent before, or the batches of the run before; what is refused is kept for the report.

    Runs of different lanes at the same time share no moment, so that none sends what is there already.
    """
    if fixes > 1:
        with town.clock:
            town.backlog_ms += 0 if repeat else BACKLOG_RUN_MS
            times = town.backlog_ms, 1000
    else:
        now_ms = _ms(datetime.now(UTC)) - 2000
        times = now_ms - now_ms % LIVE_STEP_MS + lane, LIVE_STEP_MS
    found = _wrk(town, port, BATCH_CONNECTIONS if fixes > 1 else SINGLE_CONNECTIONS, fixes, *times, seconds)
    if found["refused"] or found["errors"]:
        town.disagreements.append(
            f"{found['refused']} requests refused, {found['errors']} failed: {found['refusal']}"
        )
    return found


def _wrk(
    town: Town, port: int, connections: int, fixes: int, first_ms: int, step_ms: int, seconds: float
) -> dict[str, Any]:
    wrk = shutil.which("wrk")
    if wrk is None:
        raise CannotMeasureError("wrk is not installed (Debian package wrk).")
    arguments = [
        wrk, "-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s", "--timeout", "20s",
        "-s", str(SCRIPT), f"http://127.0.0.1:{port}", "--", str(town.tokens), str(fixes), str(first_ms), str(step_ms),
        datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    ]  # fmt: skip
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    results = [line.partition(" ")[2] for line in lines if line.startswith("RESULT ")]
    if done.returncode or not results:
        raise CannotMeasureError(f"wrk failed: {done.stderr or done.stdout}")
    refusals = [line.partition(" ")[2] for line in lines if line.startswith("REFUSAL ")]
    return {**json.loads(results[0]), "refusal": refusals[0] if refusals else ""}


def _rows(connection: psycopg.Connection) -> int:
    row = connection.execute("select count(*) from fixes").fetchone()
    return 0 if row is None else int(row[0])


def _settled(connection: psycopg.Connection) -> int:
    """How many rows there are once no more come.

    What was under way when a generator stopped is stored, and nobody was told.
    """
    rows = -1
    while (found := _rows(connection)) != rows:
        rows = found
        time.sleep(0.3)
    return rows


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


# --- The limit: COPY into the same table


def copy_rate(town: Town, seconds: float, connections: int = PROCESSES) -> float:
    """Rows a second that binary COPY brings into the table with its indexes, over as many connections as we use."""
    with psycopg.connect(town.owner, autocommit=True) as connection:
        connection.execute("truncate fixes")
        connection.execute("checkpoint")
    town.backlog_ms += BACKLOG_RUN_MS
    blocks = [_copy_blocks(town, number, connections) for number in range(connections)]
    counts = [0] * connections
    stop_at = time.monotonic() + seconds
    started = time.monotonic()

    def send(number: int) -> None:
        with psycopg.connect(town.owner, autocommit=True) as connection:
            for rows, block in blocks[number]:
                if time.monotonic() > stop_at:
                    return
                with connection.cursor() as cursor, cursor.copy(COPY) as copy:
                    copy.write(block)
                counts[number] += rows

    threads = [threading.Thread(target=send, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - started)


COPY = (
    "copy fixes (town_id, device_id, fixed_at, seq, shift_id, area_id, geom, accuracy_m, altitude_m, speed_mps,"
    " heading_deg, battery_pct, charging, flags, sent_at, received_at) from stdin (format binary)"
)
_ROW = struct.Struct(">h i16s i16s iq ih i16s i16s ibIIdd if if if if if i? ih iq iq")
_BATCHES_IN_A_COPY = 10


def _copy_blocks(town: Town, number: int, connections: int) -> list[tuple[int, bytes]]:
    """COPY's text for a share of the officers: batches of a hundred, ten of them in each COPY."""
    epoch_us = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1_000_000)
    now_us = int(time.time() * 1_000_000) - epoch_us
    share = town.officers[number::connections]
    head, tail = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0), struct.pack(">h", -1)
    blocks = []
    for round_ in range(4):
        for first in range(0, len(share), _BATCHES_IN_A_COPY):
            rows = []
            for _, device, shift, _ in share[first : first + _BATCHES_IN_A_COPY]:
                for i in range(BACKLOG):
                    at_us = (town.backlog_ms + (round_ * BACKLOG + i) * 1000) * 1000 - epoch_us
                    rows.append(
                        _ROW.pack(
                            16, 16, town.town_id.bytes, 16, device.bytes, 8, at_us, 2, 0, 16, shift.bytes,
                            16, town.area_id.bytes, 25, 0, 0x20000001, 4326, 121.47, 31.23,
                            4, 6.5, 4, 4.2, 4, 1.3, 4, 92.5, 4, 81.0, 1, False, 2, 8, 8, now_us, 8, now_us,
                        )
                    )  # fmt: skip
            blocks.append((len(rows), head + b"".join(rows) + tail))
    return blocks


# --- The report


@dataclass(frozen=True)
class Profile:
    """One way to run us, its peers with as many processes, and what the ratios are to be."""

    name: str
    processes: int
    share: float
    """Of each target: the default profile is to reach half of what binds the production profile."""
    ours: Callable[..., AbstractContextManager[int]]
    floor: Callable[..., AbstractContextManager[int]]

    def against(self, peer: str) -> str:
        """What the report calls a peer."""
        many = self.processes > 1
        processes, connections = (
            ("two processes", "two connections") if many else ("one process", "one connection")
        )
        return LABELS[peer].format(processes=processes, connections=connections)


FLOOR = "bench.peers.ingest.floor"
TARGETS = {"a1": {"fastify": 1.7, "naive": 5.0, "floor": 0.5}, "a2": {"fastify": 1.3, "copy": 0.3}}
LABELS = {
    "fastify": "Fastify + pg, {processes}",
    "naive": "Flask, gthread, {processes}",
    "floor": "the same without the database",
    "copy": "COPY, same indexes, {connections}",
}


def run(quick: bool = False) -> Report:
    """Measure a1 and a2 in both profiles."""
    report = Report("ingest")
    with town_on_duty(QUICK_OFFICERS if quick else OFFICERS) as town, redis_server() as redis_url:
        profiles = (
            Profile(
                "production", PROCESSES, 1.0, partial(ours, town, "backend.wsgi:ingest", redis_url),
                partial(ours, town, FLOOR + ":ingest", redis_url),
            ),
            Profile("default", 1, 0.5, partial(our_default, town), partial(our_default, town, FLOOR + ":app")),
        )  # fmt: skip
        with ExitStack() as stack:
            progress("starting the servers of both profiles")
            starting: list[Server] = []
            sides = [_sides(stack, town, profile, starting) for profile in profiles]
            for one in starting:
                one.wait()
            for profile, of_profile in zip(profiles, sides, strict=True):
                _measure(report, town, profile, of_profile, quick)
        for sentence in dict.fromkeys(town.disagreements):
            report.note(sentence)
    return report


def _sides(stack: ExitStack, town: Town, profile: Profile, starting: list[Server]) -> dict[str, int]:
    """Start the servers of a profile; where each listens."""
    return {
        "ours": stack.enter_context(profile.ours(starting=starting)),
        "floor": stack.enter_context(profile.floor(starting=starting)),
        "fastify": stack.enter_context(fastify(town, profile.processes, starting)),
        "naive": stack.enter_context(naive_flask(town, profile.processes, starting)),
    }


def _measure(report: Report, town: Town, profile: Profile, sides: dict[str, int], quick: bool) -> None:
    seconds, count = (1.0, 1) if quick else (5.0, 5)
    progress(f"{profile.name} profile, warming up: every process meets every officer")
    warm(town, sides, VISITS[profile.processes], batches=("ours", "fastify"))
    with psycopg.connect(town.owner, autocommit=True) as connection:
        _settled(connection)  # The first run begins with an empty table.
    added: list[int] = []

    def a1(side: str) -> float:
        return load(town, sides[side], fixes=1, seconds=seconds, writes=side != "floor").requests_per_s

    def a2(side: str) -> float:
        if side == "copy":
            return copy_rate(town, seconds, profile.processes)
        return load(town, sides[side], fixes=BACKLOG, seconds=seconds).fixes_per_s

    for name, unit, rate in (
        ("a1 one fix per request", "requests/s", a1),
        ("a2 backlog of 100", "fixes/s", a2),
    ):
        own = (rate("ours"),) if quick else ()
        if quick and rate is a2:
            added.append(_added_by_repeat(town, sides["ours"]))
        for peer, target in TARGETS[name[:2]].items():
            progress(f"{name}: ours and {peer}")
            pairs = (
                Pairs(own, (rate(peer),))
                if quick  # One run of ours stands beside all others.
                else in_pairs(partial(rate, "ours"), partial(rate, peer), count)
            )
            report.add(
                f"{name}, {profile.name}", pairs.value, unit, against=profile.against(peer),
                against_value=pairs.against_value, ratio=pairs.ratio, target=at_least(target * profile.share),
            )  # fmt: skip
    if not quick:
        load(town, sides["ours"], fixes=BACKLOG, seconds=1)
        added.append(_added_by_repeat(town, sides["ours"]))
    report.note(f"{profile.name}: batches that were sent again added {added[0]} rows.")


def _added_by_repeat(town: Town, port: int) -> int:
    """Send the batches of the run before once more; how many rows that added to the table."""
    progress("a2: the same batches once more")
    with psycopg.connect(town.owner) as connection:
        before = _rows(connection)
        load(town, port, fixes=BACKLOG, seconds=1, repeat=True)
        return _rows(connection) - before
