"""No statement of a request works or waits without end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from backend.core import db, failures
from backend.core.config import Config
from backend.core.db import JOBS, REQUESTS, Bounds


@contextmanager
def connected(config: Config, bounds: Bounds) -> Iterator[Connection]:
    engine = db.engine_for(config, pool_size=2, bounds=bounds)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize("bounds", [REQUESTS, JOBS])
def test_each_connection_is_bounded_from_its_first_statement_on(config: Config, bounds: Bounds) -> None:
    """F70: and after a rollback as well, which undoes what was set within a transaction."""
    with connected(config, bounds) as connection:
        for _ in range(2):
            shown = {
                name: connection.scalar(
                    text("select setting::int from pg_settings where name = :name"), {"name": name}
                )
                for name in ("statement_timeout", "lock_timeout")
            }
            assert shown == {"statement_timeout": bounds.statement_ms, "lock_timeout": bounds.lock_ms}
            connection.rollback()


def test_the_role_and_what_the_operator_sets_stay(config: Config) -> None:
    url = config.database_url + ("&" if "?" in config.database_url else "?")
    given = replace(config, database_url=url + "options=-c%20role%3Dxungeng_app%20-c%20lock_timeout%3D7000")
    with connected(given, REQUESTS) as connection:
        assert connection.scalar(text("select current_user")) == "xungeng_app"
        assert connection.scalar(text("show lock_timeout")) == "7s"
        assert connection.scalar(text("show statement_timeout")) == "30s"


def test_a_statement_past_its_bound_and_a_lock_that_is_not_had_are_told_to_come_again(config: Config) -> None:
    """F70: 503 with a time, and the connection is whole afterwards."""
    bounds = Bounds(statement_ms=300, lock_ms=100)
    with connected(config, bounds) as holder, connected(config, bounds) as other:
        for statement in ("select pg_sleep(5)", "select pg_advisory_xact_lock(4711)"):
            if "lock" in statement:
                holder.execute(text("select pg_advisory_xact_lock(4711)"))
            with pytest.raises(OperationalError) as caught:
                other.execute(text(statement))
            refusal = failures.refusal_for(caught.value)
            assert refusal is not None
            assert (refusal.status, refusal.code) == (503, "database_unavailable")
            other.rollback()
            assert other.scalar(text("select 1")) == 1
