"""The fixtures keep their own promises: one test's rows never meet another's, and the app's role is the app's."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, Engine, text

from backend.core.ids import new_id
from backend.core.uow import unit_of_work


@pytest.mark.parametrize("turn", [1, 2])
def test_what_a_test_writes_is_gone_in_the_next(connection: Connection, turn: int) -> None:
    town_id = new_id()
    with unit_of_work(town_id) as uow:
        assert uow.session.execute(text("select current_user")).scalar_one() == "xungeng_app"
        uow.session.execute(text("select pg_advisory_xact_lock(1)"))
        uow.session.execute(
            text("insert into throttles (key, window_started_at, count) values (:key, :at, 1)"),
            {"key": b"turn", "at": datetime(2026, 11, 23, tzinfo=UTC)},
        )
    with unit_of_work() as uow:
        assert uow.session.execute(text("select count(*) from throttles")).scalar_one() == 1
        assert uow.session.execute(text("select xungeng_town()")).scalar_one() is None


def test_a_failed_unit_of_work_takes_only_its_own_rows_along(connection: Connection) -> None:
    insert = text("insert into throttles (key, window_started_at, count) values (:key, now(), 1)")
    with unit_of_work() as uow:
        uow.session.execute(insert, {"key": b"kept"})
    with pytest.raises(LookupError), unit_of_work() as uow:
        uow.session.execute(insert, {"key": b"lost"})
        raise LookupError
    with unit_of_work() as uow:
        assert uow.session.execute(text("select key from throttles")).scalars().all() == [b"kept"]


def test_a_live_engine_really_commits(live_engine: Engine) -> None:
    with unit_of_work() as uow:
        uow.session.execute(
            text("insert into throttles (key, window_started_at, count) values ('x', now(), 1)")
        )
    with live_engine.connect() as other:
        assert other.execute(text("select count(*) from throttles")).scalar_one() == 1
