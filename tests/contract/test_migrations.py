"""Migrations go up and down, and build what the models say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from geoalchemy2 import alembic_helpers
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import InternalError, ProgrammingError
from sqlalchemy.pool import NullPool

from backend.core import migrating
from backend.core.ids import new_id
from backend.core.uow import unit_of_work
from backend.models import Base
from tests import factories
from tests.dispatching import make_task, on_shift, press
from workflows import alarms, watchdog
from workflows.outages import Fall

PARTITION = re.compile(r"_(default|\d{6}|\d{8})$")


def test_the_models_equal_what_the_migrations_build(owner_engine: Engine) -> None:
    def ours(obj: Any, name: str, type_: str, reflected: bool, compare_to: Any) -> bool:
        table = getattr(obj, "table", obj)
        if reflected and PARTITION.search(str(getattr(table, "name", name))):
            return False
        return bool(alembic_helpers.include_object(obj, name, type_, reflected, compare_to))

    with owner_engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": ours, "compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


CATALOGUE = """
  select c.relname as table, 'column' as what, a.attname as name,
    format_type(a.atttypid, a.atttypmod) || case when a.attnotnull then ' not null' else '' end as means
  from pg_attribute a join pg_class c on c.oid = a.attrelid
  where c.relnamespace = 'public'::regnamespace and c.relname = any (:tables) and a.attnum > 0 and not a.attisdropped
  union all
  select c.relname, 'constraint', k.conname, pg_get_constraintdef(k.oid)
  from pg_constraint k join pg_class c on c.oid = k.conrelid
  where c.relnamespace = 'public'::regnamespace and c.relname = any (:tables)
  union all
  select c.relname, 'index', i.relname, pg_get_indexdef(i.oid)
  from pg_index x join pg_class c on c.oid = x.indrelid join pg_class i on i.oid = x.indexrelid
  where c.relnamespace = 'public'::regnamespace and c.relname = any (:tables)
  union all
  select c.relname, 'partitions', '', pg_get_partkeydef(c.oid)
  from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind = 'p' and c.relname = any (:tables)
"""


def catalogue(connection: Connection) -> dict[tuple[str, str, str], str]:
    """What PostgreSQL says of the tables of the models: columns, constraints with their text, indexes, partitions."""
    rows = connection.execute(text(CATALOGUE), {"tables": list(Base.metadata.tables)})
    return {(row.table, row.what, row.name): row.means for row in rows}


def test_the_tables_of_the_models_are_the_tables_of_the_migrations(
    owner_engine: Engine, empty_database: Any
) -> None:
    """Also where autogeneration does not look: the text of checks, of partial indexes, of partitions."""
    engine = create_engine(empty_database.owner_url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("create extension postgis"))
        connection.execute(text("create extension btree_gist"))
        Base.metadata.create_all(connection)
    with engine.connect() as connection, owner_engine.connect() as migrated:
        by_models, by_migrations = catalogue(connection), catalogue(migrated)
    engine.dispose()
    assert by_models == by_migrations
    checks = [name for _, what, name in by_migrations if what == "constraint" and name.startswith("ck_")]
    assert len(checks) >= 20


def test_a_check_that_differs_is_found(owner_engine: Engine) -> None:
    """The comparison above can fail: one word of a check, one condition of an index."""
    for changed in (
        "alter table shifts drop constraint ck_shifts_state, add constraint ck_shifts_state"
        " check (state in ('on_duty', 'ended', 'other'))",
        "drop index uq_shifts_one_open; create unique index uq_shifts_one_open on shifts (officer_id)",
        "alter table devices alter column name drop not null",
    ):
        with owner_engine.connect() as connection:
            before = catalogue(connection)
            connection.execute(text(changed))
            after = catalogue(connection)
            connection.rollback()
        assert len(before.items() ^ after.items()) == 2, changed


def test_each_migration_goes_down_and_up_again(empty_database: Any) -> None:
    """Every revision is undone to nothing of ours and done again."""
    url = empty_database.owner_url
    script = ScriptDirectory.from_config(migrating._configuration())
    migrating.migrate(url, "up")
    for revision in script.walk_revisions():
        migrating.migrate(url, "down", str(revision.down_revision or "base"))
        migrating.migrate(url, "up", revision.revision)
        migrating.migrate(url, "down", str(revision.down_revision or "base"))
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        left = connection.execute(
            text(
                "select c.relname from pg_class c where c.relnamespace = 'public'::regnamespace"
                " and c.relkind in ('r', 'p')"
                " and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')"
                " and c.relname <> 'alembic_version'"
            )
        ).scalars()
        assert list(left) == []
        types = connection.execute(
            text(
                "select t.typname from pg_type t where t.typnamespace = 'public'::regnamespace"
                " and t.typtype in ('c', 'd', 'e')"
                " and not exists (select from pg_depend d where d.objid = t.oid and d.deptype = 'e')"
                " and not exists (select from pg_class c where c.reltype = t.oid)"
            )
        ).scalars()
        assert list(types) == []
    engine.dispose()
    migrating.migrate(url, "up")
    assert migrating.current(url) == migrating.head()


def test_who_is_under_way_stays_so_through_0010_and_back_and_alarms_of_other_kinds_too(
    fresh_database: Any,
) -> None:
    """Down goes what the schema of before had no words for; up again a way begins where its officer set out."""
    url = fresh_database.owner_url
    owner = create_engine(url, poolclass=NullPool)
    engine = create_engine(fresh_database.app_url, poolclass=NullPool)
    town = factories.make_town(owner, "moved")
    officer = town["officer_a"]
    with unit_of_work(town.id, engine=engine) as uow:
        on_shift(uow, town, officer)
        task = make_task(uow, town, officer)
        press(uow, officer, task.id, "accept", "depart")
        alarms.call_for_help(uow, officer.actor(), command_id=new_id())
        watchdog.act(uow, Fall(town.areas["a"], uow.now, 12, 14))

    def rows(query: str) -> list[Any]:
        with owner.connect() as connection:
            return list(connection.execute(text(query)).scalars())

    kinds, climbing = "select kind from alarms order by kind", "select count(*) from deadlines"
    assert rows(kinds) == ["outage", "sos"]
    before = rows(climbing)
    migrating.migrate(url, "down", "0009")
    assert rows(kinds) == ["sos"]
    assert rows(climbing) == [before[0] - 1]
    assert rows("select state from assignments") == ["en_route"]
    migrating.migrate(url, "up")
    assert rows("select way_began_at = departed_at from assignments") == [True]
    engine.dispose()
    owner.dispose()


def test_migrations_are_numbered_in_one_line() -> None:
    files = sorted(p.name for p in (migrating.ROOT / "migrations").glob("[0-9]*.py"))
    assert [f[:4] for f in files] == [f"{n + 1:04d}" for n in range(len(files))]
    script = ScriptDirectory.from_config(migrating._configuration())
    assert len(script.get_heads()) == 1
    assert {Path(r.path).name[:4] == r.revision for r in script.walk_revisions()} == {True}


def test_partitions_are_made_ahead_and_dropped_by_age(owner_engine: Engine, engine: Engine) -> None:
    """The app may call the functions, and they refuse what they must not do."""
    with engine.connect() as connection:
        made = connection.execute(
            text("select make_partitions('fixes', current_date + 30, current_date + 32, interval '1 day')")
        ).scalar()
        assert made == 3
        again = connection.execute(
            text("select make_partitions('fixes', current_date + 30, current_date + 32, interval '1 day')")
        ).scalar()
        assert again == 0
        dropped = connection.execute(text("select drop_partitions('fixes', current_date - 30)")).scalar()
        assert dropped == 5
        connection.rollback()
    for statement in (
        "select drop_partitions('journal', current_date - 400)",
        "select drop_partitions('fixes', current_date)",
        "select make_partitions('users', current_date, current_date, interval '1 day')",
        "delete from journal",
        "drop table fixes_default",
    ):
        with engine.connect() as connection, pytest.raises((ProgrammingError, InternalError)):
            connection.execute(text(statement))


def test_the_app_makes_no_temporary_table(empty_database: Any) -> None:
    """F41: and so none that bears the name of a table which a function with the owner's rights reads."""
    migrating.migrate(empty_database.owner_url, "up")
    engine = create_engine(empty_database.app_url, poolclass=NullPool)
    with engine.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
        connection.execute(text("create temporary table users (login text, town_id uuid)"))


def test_a_temporary_table_hides_none_of_an_owners_function(fresh_database: Any) -> None:
    """F41: where the database's owner lets everybody make temporary tables, the functions look in them last."""
    owner = create_engine(fresh_database.owner_url, poolclass=NullPool)
    with owner.begin() as connection:
        name = connection.scalar(text("select current_database()"))
        connection.execute(text(f'grant temporary on database "{name}" to public'))
        paths = connection.execute(
            text(
                "select p.proname, p.proconfig from pg_proc p where p.prosecdef and p.pronamespace in"
                " ('public'::regnamespace, 'jobs'::regnamespace) and not exists (select from pg_depend d"
                " where d.objid = p.oid and d.deptype = 'e')"
            )
        ).all()
    assert len(paths) >= 7
    assert {row.proname: row.proconfig for row in paths} == {
        row.proname: ["search_path=public, pg_temp"] for row in paths
    }
    engine = create_engine(fresh_database.app_url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("create temporary table users (login text, town_id uuid)"))
        connection.execute(text("insert into users values ('mallory', gen_random_uuid())"))
        connection.execute(text("grant all on users to public"))
        assert connection.scalar(text("select town_of_login('mallory')")) is None
        soon = "current_date + 40"
        connection.execute(
            text("do $$ begin execute 'create temporary table fixes_' || to_char(current_date + 40, 'YYYYMMDD')"
                 " || ' (id int)'; end $$")
        )  # fmt: skip
        made = connection.scalar(text(f"select make_partitions('fixes', {soon}, {soon}, interval '1 day')"))
        assert made == 1
    engine.dispose()
    owner.dispose()
