"""A durable PostgreSQL of the test's own with a town of officers on shift, and our servers as real processes."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from backend.core.config import APP_ROLE, OWNER_ROLE, libpq_url
from backend.core.ids import new_id
from backend.core.migrating import migrate
from backend.core.tokens import AccessTokens
from backend.embedded.cluster import Cluster
from bench.servers import Server, answers, folder, free_port, server

NAME = '{"zh-CN": "青禾镇", "en": "Qinghe"}'


@dataclass(frozen=True)
class Officer:
    """An officer on shift, his phone and his token."""

    officer_id: UUID
    device_id: UUID
    token: str


@dataclass
class DurableTown:
    """The town and its cluster."""

    cluster: Cluster
    secret: str
    town_id: UUID
    area_id: UUID
    data: Path

    @property
    def owner(self) -> str:
        return libpq_url(self.cluster.url(OWNER_ROLE))

    def officers(
        self, count: int, shifts: Sequence[tuple[float, float | None]] = ((2.0, None),)
    ) -> list[Officer]:
        """More officers. Each of ``shifts`` began so many hours ago and ended so many hours ago, or is open."""
        now, tokens, made = datetime.now(UTC), AccessTokens(self.secret.encode(), 86_400), []
        with psycopg.connect(self.owner) as connection:
            for _ in range(count):
                officer_id, device_id, session_id = new_id(), new_id(), new_id()
                connection.execute(
                    "insert into users (id, town_id, login, display_name, state, locale, created_at)"
                    " values (%s, %s, %s, '甲', 'active', 'zh-CN', %s)",
                    (officer_id, self.town_id, officer_id.hex, now),
                )
                connection.execute(
                    "insert into memberships (id, town_id, user_id, role, area_id, officer_kind, granted_at)"
                    " values (%s, %s, %s, 'officer', %s, 'patrol', %s)",
                    (new_id(), self.town_id, officer_id, self.area_id, now),
                )
                connection.execute(
                    "insert into sessions (id, town_id, user_id, client, created_at, last_used_at, expires_at)"
                    " values (%s, %s, %s, 'officer', %s, %s, %s)",
                    (session_id, self.town_id, officer_id, now, now, now + timedelta(days=1)),
                )
                connection.execute(
                    "insert into devices (id, town_id, officer_id, kind, protocol, name, state, created_at)"
                    " values (%s, %s, %s, 'phone', 'officer', '', 'active', %s)",
                    (device_id, self.town_id, officer_id, now),
                )
                for began_h, ended_h in shifts:
                    connection.execute(
                        "insert into shifts (id, town_id, officer_id, area_id, state, started_at, closes_at, ended_at,"
                        " ended_by) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                        (
                            new_id(), self.town_id, officer_id, self.area_id,
                            "on_duty" if ended_h is None else "ended", now - timedelta(hours=began_h),
                            now + timedelta(hours=10), None if ended_h is None else now - timedelta(hours=ended_h),
                            None if ended_h is None else "self",
                        ),
                    )  # fmt: skip
                token = tokens.make(officer_id, self.town_id, session_id, now)
                made.append(Officer(officer_id, device_id, token))
        return made

    def stored(self, officer: Officer) -> dict[str, int]:
        """How often each moment of the officer's phone is stored, by its RFC 3339 text in UTC."""
        with psycopg.connect(self.owner) as connection:
            rows = connection.execute(
                "select fixed_at, count(*) from fixes where device_id = %s group by 1", (officer.device_id,)
            ).fetchall()
        return {at.astimezone(UTC).isoformat().replace("+00:00", "Z"): int(count) for at, count in rows}

    def scalar(self, statement: str) -> Any:
        with psycopg.connect(self.owner) as connection:
            row = connection.execute(statement).fetchone()
        return None if row is None else row[0]

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "XUNGENG_DATA": str(self.data), "XUNGENG_DEMO": "0", "XUNGENG_SECRET_KEY": self.secret,
            "XUNGENG_ACCESS_TTL_S": "86400", "XUNGENG_LOG_LEVEL": "warning", "XUNGENG_REDIS_URL": "",
            "DATABASE_URL": self.cluster.url(OWNER_ROLE), "DATABASE_APP_URL": self.cluster.url(APP_ROLE), **more,
        }  # fmt: skip

    @contextmanager
    def web(self, target: str = "backend.wsgi:app", **settings: str) -> Iterator[Server]:
        """The one web process of the default profile, which gunicorn starts again when it dies."""
        port = free_port()
        arguments = [
            sys.executable,
            "-m",
            "gunicorn",
            "-c",
            "python:backend.serve_gunicorn",
            target,
        ]
        environment = self.environment(PORT=str(port), XUNGENG_HOST="127.0.0.1", **settings)
        with server(arguments, port, environment, ready=lambda: answers(port)) as running:
            yield running

    @contextmanager
    def ingest(
        self, processes: int = 2, target: str = "backend.wsgi:ingest", **settings: str
    ) -> Iterator[Server]:
        """The ingest processes of the production profile, which granian starts again when they die."""
        port = free_port()
        arguments = [
            sys.executable, "-m", "granian", "--interface", "rsgi", "--host", "127.0.0.1", "--port", str(port),
            "--workers", str(processes), "--log-level", "warning", "--no-ws",
            "--respawn-failed-workers", "--respawn-interval", "0.1", target,
        ]  # fmt: skip
        with server(arguments, port, self.environment(**settings), ready=lambda: answers(port)) as running:
            yield running


@contextmanager
def durable_town(settings: Mapping[str, str] | None = None) -> Iterator[DurableTown]:
    """A town in a PostgreSQL that keeps what it has promised (fsync and synchronous_commit on)."""
    with folder("xg-durable-") as place:
        cluster = Cluster(place, {"max_connections": "100", **(settings or {})})
        cluster.initialise()
        cluster.start()
        try:
            cluster.make_database()
            migrate(cluster.url(OWNER_ROLE))
            town = DurableTown(cluster, secrets.token_urlsafe(32), new_id(), new_id(), place)
            with psycopg.connect(town.owner) as connection:
                connection.execute(
                    "insert into towns (id, code, name, time_zone, locale, created_at)"
                    " values (%s, 'durable', %s, 'Asia/Shanghai', 'zh-CN', now())",
                    (town.town_id, NAME),
                )
                connection.execute(
                    "insert into areas (id, town_id, ancestors, kind, code, name, geom) values (%s, %s,"
                    " array[%s]::uuid[], 'town', '0', %s, ST_Multi(ST_MakeEnvelope(121.2, 31.0, 121.4, 31.2, 4326)))",
                    (town.area_id, town.town_id, town.area_id, NAME),
                )
            yield town
        finally:
            cluster.stop()


def children_of(pid: int) -> list[int]:
    """The processes that ``pid`` started and that still live."""
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def kill_postgres(cluster: Cluster) -> None:
    """SIGKILL the postmaster and every backend at one stroke, and reap them."""
    assert cluster.process is not None
    postmaster = cluster.process.pid
    victims = [postmaster, *children_of(postmaster)]
    for victim in victims:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    cluster.process.wait(30)
