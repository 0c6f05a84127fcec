"""What it refuses to start with: settings under which data is lost, and roles that see everything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from backend.core import preflight
from backend.core.config import APP_ROLE, OWNER_ROLE, Config, ConfigError, libpq_url
from backend.embedded.cluster import Cluster
from clusters import Database, running_cluster
from running.installation import Installation


@pytest.fixture(scope="module")
def durable() -> Iterator[Cluster]:
    """A cluster with PostgreSQL's own, safe settings."""
    with running_cluster() as cluster:
        cluster.make_database("town")
        yield cluster


def refusal_of(config: Config) -> str | None:
    engine = create_engine(config.database_url, poolclass=NullPool)
    try:
        preflight.check_app(engine, config)
    except ConfigError as refusal:
        return str(refusal)
    return None


def in_production(config: Config, cluster: Cluster, role: str = APP_ROLE) -> Config:
    return replace(
        config,
        production=True,
        database_url=cluster.url(role, "town"),
        owner_url=cluster.url(OWNER_ROLE, "town"),
    )


def test_safe_settings_and_a_plain_role_are_accepted(config: Config, durable: Cluster) -> None:
    """F05, the other side."""
    assert refusal_of(in_production(config, durable)) is None


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
def test_production_refuses_a_server_that_can_lose_commits(config: Config, setting: str) -> None:
    """F05: started with each setting off, it is not served from."""
    with running_cluster({setting: "off"}) as cluster:
        cluster.make_database("town")
        refusal = refusal_of(in_production(config, cluster))
        assert refusal is not None
        assert f"{setting} = off" in refusal
        assert refusal_of(replace(in_production(config, cluster), production=False)) is None


@pytest.mark.parametrize("scope", ["ROLE xungeng_app", "DATABASE town"])
def test_production_refuses_sessions_that_answer_before_the_commit_is_on_disk(
    config: Config, durable: Cluster, scope: str
) -> None:
    """F05: synchronous_commit is asked of the application's own session, wherever it was switched off."""
    with psycopg.connect(libpq_url(durable.url(OWNER_ROLE, "town")), autocommit=True) as owner:
        owner.execute(f"ALTER {scope} SET synchronous_commit = off")
        try:
            refusal = refusal_of(in_production(config, durable))
        finally:
            owner.execute(f"ALTER {scope} RESET synchronous_commit")
    assert refusal is not None
    assert "synchronous_commit = off" in refusal


def test_a_whole_server_refuses_as_well_in_one_sentence(database: Database) -> None:
    """F05 from outside: the tests' own cluster runs without fsync."""
    installation = Installation(
        XUNGENG_MODE="production",
        DATABASE_URL=libpq_url(database.owner_url),
        DATABASE_APP_URL=libpq_url(database.app_url),
    )
    try:
        for command in (("serve",), ("check",), ("web",), ("worker",)):
            refused = installation.command(*command)
            assert refused.returncode == 1, refused.stdout
            assert "fsync = off" in refused.stderr
            assert "Traceback" not in refused.stderr
    finally:
        installation.remove()


def test_the_owner_of_the_tables_is_refused_in_every_mode(config: Config, database: Database) -> None:
    """F05/F45: row-level security does not hold an owner or a superuser."""
    for production in (False, True):
        refusal = refusal_of(replace(config, production=production, database_url=database.owner_url))
        assert refusal is not None
        assert OWNER_ROLE in refusal


def test_a_role_that_bypasses_row_level_security_is_refused(config: Config, database: Database) -> None:
    with psycopg.connect(libpq_url(database.owner_url), autocommit=True) as owner:
        owner.execute("CREATE ROLE sees_all LOGIN BYPASSRLS IN ROLE xungeng_app")
        try:
            refusal = refusal_of(
                replace(config, database_url=database.cluster.url("sees_all", database.name))
            )
        finally:
            owner.execute("DROP ROLE sees_all")
    assert refusal is not None
    assert "bypasses row-level security" in refusal


def test_a_superuser_in_the_apps_clothes_will_do_for_development_alone(
    config: Config, durable: Cluster
) -> None:
    """SET ROLE is undone by RESET ROLE, so production wants a sign-in of its own."""
    given = Config.from_env(
        {
            "XUNGENG_DATA": str(config.data_dir),
            "DATABASE_URL": libpq_url(durable.url(OWNER_ROLE, "town")),
        }
    )
    assert refusal_of(given) is None
    refusal = refusal_of(replace(given, production=True))
    assert refusal is not None
    assert "superuser" in refusal


def test_a_database_without_postgis_is_refused(durable: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """No such server can be had here, so its answer is stood in for."""
    real = psycopg.Connection.execute

    def execute(self: psycopg.Connection, query: str, *rest: object, **more: object) -> object:
        return real(self, query.replace("'postgis'", "'not there'"), *rest, **more)

    monkeypatch.setattr(psycopg.Connection, "execute", execute)
    with pytest.raises(ConfigError, match="no PostGIS"):
        preflight.check_server(durable.url(OWNER_ROLE, "town"))


def test_a_missing_database_and_a_wrong_password_are_told_without_credentials(durable: Cluster) -> None:
    with pytest.raises(preflight.Unreachable, match="does not exist"):
        preflight.check_server(durable.url(OWNER_ROLE, "nowhere"))
