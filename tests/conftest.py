"""What every test stands on: a real private PostGIS with the schema of the real migrations."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from argon2 import PasswordHasher
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from xdist.scheduler import LoadScopeScheduling

from backend.adapters import passwords
from backend.core.config import OWNER_ROLE, Config
from backend.embedded.cluster import Cluster
from clusters import Database, running_cluster, temporary_folder
from workflows import custody

TEMPLATE = "xungeng_template"

hypothesis.settings.register_profile("thin", max_examples=20, deadline=None, print_blob=True)
hypothesis.settings.register_profile("full", max_examples=500, deadline=None, print_blob=True)


TOGETHER = {
    "tests/web": "web",
    "tests/running/test_serve.py": "serve",
    "tests/running/test_safety.py": "serve",
    "tests/demo/test_fill.py": "town",
    "tests/demo/test_walks.py": "town",
    "tests/demo/test_phones.py": "town",
}
"""Files, or folders of them, whose tests share what is expensive to start (an installation, a browser, the demo town)
or would disturb each other: one process runs them one after another. Every other file is a group by itself, because
its tests share what its fixtures make."""

FIRST = (
    "tests/web", "tests/running/test_serve.py", "tests/running/test_safety.py", "tests/durability", "tests/running",
    "tests/demo/test_fill.py", "tests/demo/test_walks.py", "tests/demo/test_phones.py",
    "tests/workflows/test_machine.py", "tests/api", "tests/contract",
    "tests/demo", "tests/gateway", "tests/workflows",
)  # fmt: skip
"""What is begun first, so that at the end nobody waits for one long file: the longest, and those that wait for
processes; what computes alone fills up the rest."""


def _is_in(nodeid: str, place: str) -> bool:
    return nodeid.startswith((place + "/", place + "::"))


def _turn(item: pytest.Item) -> int:
    return next((n for n, place in enumerate(FIRST) if _is_in(item.nodeid, place)), len(FIRST))


class Scheduling(LoadScopeScheduling):
    """By files, and by groups of them; in the order in which :func:`pytest_collection_modifyitems` puts them."""

    def _split_scope(self, nodeid: str) -> str:
        groups = (group for place, group in TOGETHER.items() if _is_in(nodeid, place))
        return next(groups, nodeid.partition("::")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full",
        action="store_true",
        default=False,
        help="run every count that docs and claims quote, not the thinned ones",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full: runs under --full alone")
    hypothesis.settings.load_profile("full" if config.getoption("--full") else "thin")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=_turn)
    if config.getoption("--full"):
        return
    skip = pytest.mark.skip(reason="counts in full are run by script/test --full")
    for item in items:
        if "full" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def thin(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """``thin(full_count, thin_count)``: how often to repeat, in full under ``--full``, thinned otherwise."""
    full = bool(request.config.getoption("--full"))

    def count(full_count: int, thin_count: int) -> int:
        return full_count if full else thin_count

    return count


@pytest.fixture(autouse=True)
def _custody_key() -> None:
    """One key for the MACs of the custody log in all of a process's tests, whichever installations they made."""
    custody.use([b"the key of the custody log of tests"])


@pytest.fixture(scope="session", autouse=True)
def cheap_hashing() -> None:
    """Hash at a cost that a test run can bear; which cost is served with, ``tests/workflows/test_passwords.py`` checks.

    In every test's process from its start: a hash that some test keeps for all is never of another cost than the rest.
    """
    passwords._hasher = PasswordHasher(time_cost=1, memory_cost=256, parallelism=1)
    passwords.decoy.cache_clear()
    passwords.decoy()  # Made before a test puts something else in the hasher's place.


@pytest.fixture(scope="session", autouse=True)
def nobody_leaves_the_machine() -> Iterator[None]:
    """A connection to anywhere but this machine is a failure: no test pushes, texts or downloads."""
    real_connect = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(address[0]):
            raise AssertionError(f"A test tried to reach {address[0]}, which is not this machine.")
        real_connect(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", connect)
    yield
    patch.undo()


def _is_here(host: str) -> bool:
    if host in ("localhost", ""):
        return True
    try:
        address = ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The PostgreSQL of this test process (each xdist worker has one), durability off for speed."""
    settings = {
        "fsync": "off",
        "full_page_writes": "off",
        "synchronous_commit": "off",
        "shared_buffers": "64MB",
        "max_connections": "100",
        "autovacuum": "off",
    }
    with running_cluster(settings) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def _template(cluster: Cluster) -> str:
    """The schema as the migrations make it, once per process; databases are copies of it."""
    from backend.core.migrating import migrate

    cluster.make_database(TEMPLATE)
    migrate(cluster.url(OWNER_ROLE, TEMPLATE))
    return TEMPLATE


@pytest.fixture(scope="session")
def database(cluster: Cluster, _template: str) -> Database:
    """The database that tests share; what they write in it is rolled back."""
    cluster.make_database("xungeng_shared", template=_template)
    return Database(cluster, "xungeng_shared")


@pytest.fixture
def fresh_database(cluster: Cluster, _template: str) -> Iterator[Database]:
    """A migrated database of this test's own, for what has to commit: threads, locks, processes."""
    name = "xungeng_" + os.urandom(6).hex()
    cluster.make_database(name, template=_template)
    try:
        yield Database(cluster, name)
    finally:
        cluster.drop_database(name)


@pytest.fixture
def empty_database(cluster: Cluster) -> Iterator[Database]:
    """A database of this test's own in which no migration has run."""
    name = "xungeng_" + os.urandom(6).hex()
    cluster.make_database(name)
    try:
        yield Database(cluster, name)
    finally:
        cluster.drop_database(name)


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """A data folder for this test process."""
    folder = temporary_folder("xg-data-")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def config(database: Database, data_dir: Path) -> Config:
    """The settings that the shared database is used with."""
    return replace(
        Config.from_env({"XUNGENG_DATA": str(data_dir), "XUNGENG_DEMO": "0"}),
        database_url=database.app_url,
        owner_url=database.owner_url,
        embedded=False,
    )


@pytest.fixture(scope="session")
def engine(config: Config) -> Iterator[Engine]:
    """The application's engine on the shared database."""
    from backend.core.db import engine_for

    engine = engine_for(config)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def owner_engine(database: Database) -> Iterator[Engine]:
    """The owner's engine on the shared database: sees every town, for setting things up and looking after."""
    engine = create_engine(database.owner_url, poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """One connection of the application whose transaction ends in a rollback; units of work run on it.

    Every unit of work is a savepoint of it, and enters without a town like a transaction of its own would. What
    has to really commit (threads, other processes, NOTIFY) takes ``live_engine`` instead.
    """
    from backend.core import db

    with engine.connect() as connection, connection.begin() as outer:
        connection.begin_nested()

        def leave_town(session: Session, transaction: Any, begun: Connection) -> None:
            # A savepoint within a unit of work leaves it where it is, as it does in a transaction of its own.
            if begun is connection and not transaction.nested:
                begun.execute(text("select set_config('xungeng.town', '', true)"))

        event.listen(Session, "after_begin", leave_town)
        before = db._engine
        db.set_engine(connection)  # type: ignore[arg-type]
        try:
            yield connection
        finally:
            db.set_engine(before)
            event.remove(Session, "after_begin", leave_town)
            outer.rollback()


@pytest.fixture
def uow(connection: Connection) -> Iterator[Any]:
    """A unit of work that never commits."""
    from backend.core.uow import unit_of_work

    with unit_of_work() as uow:
        yield uow


@pytest.fixture
def live_config(fresh_database: Database, config: Config) -> Config:
    """The settings of a database of this test's own."""
    return replace(config, database_url=fresh_database.app_url, owner_url=fresh_database.owner_url)


@pytest.fixture
def live_engine(live_config: Config) -> Iterator[Engine]:
    """The application's engine on a database of this test's own, in which everything really commits."""
    from backend.core import db

    engine = db.engine_for(live_config)
    before = db._engine
    db.set_engine(engine)
    try:
        yield engine
    finally:
        db.set_engine(before)
        engine.dispose()
