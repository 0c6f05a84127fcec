"""Migrations, run by the owner of the schema over a URL that the serving processes never use."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.pool import NullPool

from backend.core.config import ConfigError

ROOT = Path(__file__).resolve().parents[2]
LOCK_KEY = 0x58554E47  # One migration at a time, also among several hosts.


def _configuration(connection: Connection | None = None) -> AlembicConfig:
    configuration = AlembicConfig()
    configuration.set_main_option("script_location", str(ROOT / "migrations" / "alembic"))
    configuration.set_main_option("version_locations", str(ROOT / "migrations"))
    configuration.set_main_option("path_separator", "os")
    if connection is not None:
        configuration.attributes["connection"] = connection
    return configuration


@contextmanager
def _owner(owner_url: str) -> Iterator[Connection]:
    engine = create_engine(owner_url, poolclass=NullPool)
    try:
        with engine.begin() as connection:
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
            yield connection
    finally:
        engine.dispose()


def head() -> str:
    """Return the newest revision in the tree."""
    return str(ScriptDirectory.from_config(_configuration()).get_current_head())


def current(owner_url: str) -> str | None:
    """Return the revision that the database is at, or None for an empty one."""
    engine = create_engine(owner_url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def migrate(owner_url: str, direction: Literal["up", "down"] = "up", target: str | None = None) -> None:
    """Bring the database up to ``target`` (default: the newest) or down to it (default: one step), all or nothing.

    Raises:
        ConfigError: the owner has too few rights, most often because PostGIS is not in the database yet.
    """
    try:
        with _owner(owner_url) as connection:
            if direction == "up":
                command.upgrade(_configuration(connection), target or "head")
            else:
                command.downgrade(_configuration(connection), target or "-1")
    except ProgrammingError as error:
        if isinstance(error.orig, InsufficientPrivilege):
            reason = str(error.orig).partition("\n")[0]
            raise ConfigError(
                f"The owner of the schema may not do what the migration needs: {reason}. Extensions are made once by a"
                " superuser: create extension postgis."
            ) from None
        raise
