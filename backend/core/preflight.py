"""What is asked of a database before anything is served from it: reachable, PostGIS, safe settings, a plain role.

Every refusal is one sentence for the operator. A database that cannot be reached is told apart from one that must
not be used: the former may come back, and a web process waits for it (unready); the latter ends the start.
"""

from __future__ import annotations

import re
import time
from urllib.parse import urlsplit

import psycopg
import structlog
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from backend.core.config import APP_ROLE, Config, ConfigError, libpq_url

log = structlog.get_logger(__name__)

MINIMUM_POSTGRESQL = 15

DURABLE = {
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "synchronous_commit": ("on", "remote_write", "remote_apply", "local"),
}
"""Settings under which an acknowledged fix or a sealed piece of evidence survives a crash, and their safe values."""


class Unreachable(ConfigError):
    """The database does not answer; the text is one sentence."""


def place_of(url: str) -> str:
    """Host, port and database of an address, without user and password, for messages."""
    parts = urlsplit(libpq_url(url))
    host = f"{parts.hostname or 'the local socket'}{f':{parts.port}' if parts.port else ''}"
    return f"{parts.path.lstrip('/')} at {host}"


def check_server(owner_url: str) -> None:
    """Check, as the owner and before any migration, that the server can carry the schema.

    Raises:
        Unreachable: nothing answers there, or it refuses the sign-in.
        ConfigError: PostgreSQL is too old, or PostGIS is not installed beside it.
    """
    try:
        connection = psycopg.connect(libpq_url(owner_url), connect_timeout=8, autocommit=True)
    except psycopg.OperationalError as error:
        raise Unreachable(f"The database {place_of(owner_url)} cannot be used: {_reason(error)}") from None
    except psycopg.ProgrammingError as error:
        raise ConfigError(f"The address of the database is not readable: {_reason(error)}") from None
    with connection:
        version = connection.info.server_version // 10_000
        if version < MINIMUM_POSTGRESQL:
            raise ConfigError(
                f"The database {place_of(owner_url)} runs PostgreSQL {version}, and Xungeng needs"
                f" {MINIMUM_POSTGRESQL} or newer."
            )
        found = connection.execute("select 1 from pg_available_extensions where name = 'postgis'").fetchone()
        if found is None:
            raise ConfigError(f"The database {place_of(owner_url)} has no PostGIS installed beside it.")


def check_app(engine: Engine, config: Config) -> None:
    """Check, as the application, that its role is held by row-level security and (production) that commits last.

    Raises:
        Unreachable: nothing answers there, or it refuses the sign-in.
        ConfigError: the role may do too much, or an unsafe durability setting in production mode.
    """
    try:
        with engine.connect() as connection:
            _check_role(connection, config)
            if config.production:
                _check_durability(connection)
    except DBAPIError as error:
        reason = _reason(error.orig or error)
        raise Unreachable(f"The database {place_of(config.database_url)} cannot be used: {reason}") from None


def await_app(config: Config, timeout_s: float = 300.0) -> None:
    """Do :func:`check_app`, waiting for a database that is not there yet: it is often started beside us.

    That it is waited for is said once, and again when it is there.

    Raises:
        Unreachable: it is still not there after ``timeout_s``.
        ConfigError: it must not be used; that is told at once.
    """
    engine = create_engine(config.database_url, poolclass=NullPool, connect_args={"connect_timeout": 5})
    deadline, pause_s, told = time.monotonic() + timeout_s, 0.2, False
    while True:
        try:
            check_app(engine, config)
            if told:
                log.warning("the database is there")
            return
        except Unreachable as error:
            if time.monotonic() + pause_s > deadline:
                raise
            if not told:
                log.warning("waiting for the database", reason=str(error))
                told = True
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 10.0)


def is_empty(owner_url: str) -> bool:
    """Whether the installation, whose schema is in place, has no town yet. Asked as the owner."""
    with psycopg.connect(libpq_url(owner_url), connect_timeout=8) as connection:
        return connection.execute("select 1 from towns limit 1").fetchone() is None


def _check_role(connection: Connection, config: Config) -> None:
    # Production looks at who signed in as well: SET ROLE is undone by RESET ROLE.
    rows = connection.execute(
        text(
            "select rolname, rolsuper, rolbypassrls, exists (select from pg_class c where c.relowner = r.oid"
            " and c.relnamespace in ('public'::regnamespace, to_regnamespace('jobs'))"
            " and c.relkind in ('r', 'p', 'v')) as owns"
            " from pg_roles r where rolname = current_user or (:production and rolname = session_user)"
        ),
        {"production": config.production},
    )
    for row in rows:
        fault = (
            "is a superuser" if row.rolsuper
            else "bypasses row-level security" if row.rolbypassrls
            else "owns tables" if row.owns
            else None
        )  # fmt: skip
        if fault:
            raise ConfigError(
                f"The application would connect as {row.rolname}, which {fault}, so row-level security does not hold"
                f" it: give DATABASE_APP_URL a plain role that is a member of {APP_ROLE}."
            )


def _check_durability(connection: Connection) -> None:
    for name, safe in DURABLE.items():
        value = connection.execute(text("select current_setting(:name)"), {"name": name}).scalar_one()
        if value not in safe:
            raise ConfigError(
                f"The database runs with {name} = {value}, under which acknowledged fixes, evidence and the journal"
                " can be lost in a crash; production mode refuses it."
            )


def _reason(error: BaseException) -> str:
    """The first sentence of what the driver says, without addresses of ours repeated or credentials."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = re.sub(r"^connection failed: ", "", lines[0]) if lines else type(error).__name__
    first = re.sub(r"^connection to server .*? failed: ", "", first)
    first = re.sub(r"^(FATAL|ERROR):\s*", "", first)
    return first.rstrip(".") + "."
