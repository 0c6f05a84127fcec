"""The journal and the disclosures: whole, of one moment, gone with a rollback, and never changed afterwards."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.pool import NullPool

from backend.core.config import Config
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import Disclosure as Kind
from backend.models import Disclosure, Journal
from tests import factories
from tests.factories import Town
from workflows import journal


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"journal-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


def test_an_act_is_written_down_with_all_that_is_known_of_it(here: UnitOfWork, town: Town) -> None:
    here.request_id = "0123456789abcdef"
    subject, command, member = new_id(), new_id(), town["officer_a2"].id
    device_at = here.now - timedelta(seconds=90)
    journal.write(
        here, town["officer_a"].actor(), "shift", subject, "end", before="on_duty", after="ended",
        command_id=command, reason="tired", device_at=device_at, on_behalf_of=member, data={"n": 1},
    )  # fmt: skip
    here.session.flush()
    [row] = here.session.execute(
        text("select * from journal where subject_id = :id"), {"id": subject}
    ).mappings()
    assert row["id"].version == 7
    assert {**row, "id": None} == {
        "id": None, "town_id": town.id, "at": here.now, "device_at": device_at, "actor_id": town["officer_a"].id,
        "on_behalf_of": member, "command_id": command, "subject_kind": "shift", "subject_id": subject,
        "action": "end", "from": "on_duty", "to": "ended", "reason": "tired", "data": {"n": 1},
        "request_id": "0123456789abcdef",
    }  # fmt: skip


def test_a_look_is_written_down_with_its_reason(here: UnitOfWork, town: Town) -> None:
    journal.disclose(
        here, town["desk_a"].actor(), "user", town["officer_a"].id, Kind.REPLAY, reason="a complaint",
        data={"from": "2026-01-01T00:00:00Z"},
    )  # fmt: skip
    here.session.flush()
    [row] = here.session.scalars(select(Disclosure).where(Disclosure.town_id == town.id))
    assert (row.at, row.actor_id, row.subject_id) == (here.now, town["desk_a"].id, town["officer_a"].id)
    assert (row.kind, row.reason, row.data) == ("replay", "a complaint", {"from": "2026-01-01T00:00:00Z"})


def test_a_look_without_a_reason_is_none(here: UnitOfWork, town: Town) -> None:
    with pytest.raises(TypeError):
        journal.disclose(here, town["desk_a"].actor(), "user", new_id(), Kind.TRAIL)  # type: ignore[call-arg]
    journal.disclose(
        here, town["desk_a"].actor(), "user", new_id(), Kind.TRAIL, reason=None  # type: ignore[arg-type]
    )  # fmt: skip
    with pytest.raises(DBAPIError, match="null value in column"):
        here.session.flush()


def test_what_an_act_says_is_copied_and_not_shared(here: UnitOfWork, town: Town) -> None:
    """A caller who goes on using his mapping does not change what was written down."""
    data, subject = {"n": 1}, new_id()
    journal.write(here, town["admin"].actor(), "user", subject, "change", data=data)
    data["n"] = 2
    here.session.flush()
    assert here.session.scalar(select(Journal.data).where(Journal.subject_id == subject)) == {"n": 1}


def test_nothing_to_say_is_null_and_not_an_empty_object(here: UnitOfWork, town: Town) -> None:
    subject = new_id()
    journal.write(here, town["admin"].actor(), "user", subject, "enable")
    here.session.flush()
    found = here.session.execute(
        text("select data is null as nothing from journal where subject_id = :id"), {"id": subject}
    ).scalar_one()
    assert found is True


def test_an_act_belongs_to_a_town(uow: UnitOfWork, town: Town) -> None:
    with pytest.raises(RuntimeError, match="entered no town"):
        journal.write(uow, town["admin"].actor(), "user", new_id(), "enable")


def test_what_is_rolled_back_was_never_written_down(live_config: Config, live_engine: Engine) -> None:
    """The entry stands or falls with its act."""
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    live, subject = factories.make_town(owner, "live"), new_id()
    with pytest.raises(ZeroDivisionError), unit_of_work(live.id) as uow:
        journal.write(uow, live["admin"].actor(), "user", subject, "enable")
        uow.session.flush()
        _ = 1 / 0
    with unit_of_work(live.id) as uow:
        journal.write(uow, live["admin"].actor(), "user", subject, "disable")
    with owner.connect() as connection:
        kept = connection.execute(
            text("select action from journal where subject_id = :id"), {"id": subject}
        ).scalars()
        assert list(kept) == ["disable"]
    owner.dispose()


@pytest.mark.parametrize("table", ["journal", "disclosures"])
def test_nobody_below_the_owner_changes_what_was_written_down(
    live_config: Config, live_engine: Engine, table: str
) -> None:
    """P15: neither a row nor its partition, whoever writes the statement; the auditor reads and nothing else."""
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    live = factories.make_town(owner, "live")
    with unit_of_work(live.id) as uow:
        journal.write(uow, live["admin"].actor(), "user", live["admin"].id, "enable")
        journal.disclose(uow, live["desk_a"].actor(), "user", live["admin"].id, Kind.TRAIL, reason="a look")
    with owner.connect() as connection:
        before = connection.execute(text(f"select to_jsonb(t) from {table} t")).scalars().all()
        partition = connection.execute(
            text(f"select tableoid::regclass::text from {table} limit 1")
        ).scalar_one()
    statements = [
        statement
        for name in (table, partition)
        for statement in (
            f"update {name} set reason = 'nothing'",
            f"update {name} set at = at - interval '1 year'",
            f"delete from {name}",
            f"truncate {name}",
            f"drop table {name}",
            f"alter table {name} disable row level security",
        )
    ]
    auditor = create_engine(_as_auditor(live_config), poolclass=NullPool)
    for engine in (live_engine, auditor):
        for statement in statements:
            with engine.connect() as connection, pytest.raises(ProgrammingError):
                connection.execute(
                    text("select set_config('xungeng.town', :town, true)"), {"town": str(live.id)}
                )
                connection.execute(text(statement))
    with auditor.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
        connection.execute(text(f"insert into {table} select * from {table}"))
    with owner.connect() as connection:
        assert connection.execute(text(f"select to_jsonb(t) from {table} t")).scalars().all() == before
    assert before
    auditor.dispose()
    owner.dispose()


def _as_auditor(config: Config) -> Any:
    return config.database_url.replace("xungeng_app", "xungeng_auditor")
