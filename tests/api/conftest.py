"""The API as its clients see it: the whole application over a database in which everything really commits."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool
from werkzeug.test import Client, TestResponse

from backend.core import db
from backend.core.config import Config
from tests import factories
from tests.contract.after_commit import AfterCommit
from tests.factories import PASSWORD, Person, Town

_numbers = count()


@dataclass
class World:
    """Two towns that have nothing to do with each other, and the application that serves both."""

    config: Config
    engine: Engine
    owner: Engine
    app: Flask
    here: Town
    there: Town

    def officer(self, area: str = "a") -> Person:
        """A new officer of ``here``, whom no other test uses: those that go through all its people do not meet him."""
        person = factories.add_officer(self.owner, self.here, f"officer{next(_numbers)}", area)
        del self.here.people[person.login.partition(".")[2]]
        return person


class Caller:
    """Somebody at the API: his token, and keys for his commands."""

    def __init__(self, app: Flask, address: str | None = None) -> None:
        self._client = Client(app.wsgi_app)
        self.headers: dict[str, str] = {}
        self.tokens: dict[str, Any] = {}
        number = next(_numbers)
        self.address = address or f"127.{1 + number // 62_500}.{number // 250 % 250}.{number % 250 + 1}"

    def sign_in(self, person: Person, **more: Any) -> Caller:
        """Sign in as a person with a password."""
        answer = self.post("/api/v1/auth/login", {"login": person.login, "password": PASSWORD, **more})
        assert answer.status_code == 200, answer.text
        self.tokens = answer.json or {}
        self.headers["Authorization"] = f"Bearer {self.tokens['access_token']}"
        return self

    def get(self, path: str, **query: Any) -> TestResponse:
        return self._open("GET", path, query_string=query)

    def post(self, path: str, json: Any = None, *, key: uuid.UUID | None = None, **more: Any) -> TestResponse:
        return self.send("POST", path, json, key=key, **more)

    def send(
        self, method: str, path: str, json: Any = None, *, key: uuid.UUID | None = None, **more: Any
    ) -> TestResponse:
        headers = {"Idempotency-Key": str(key or uuid.uuid4()), **more.pop("headers", {})}
        if json is not None:
            more["json"] = json
        return self._open(method, path, headers=headers, **more)

    def _open(
        self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any
    ) -> TestResponse:
        return self._client.open(
            path,
            method=method,
            headers={**self.headers, **(headers or {})},
            environ_base={"REMOTE_ADDR": self.address},
            **more,
        )


@pytest.fixture(scope="session")
def world(cluster: Any, _template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    from backend.app import create_app
    from tests.conftest import Database

    name = "xungeng_api"
    cluster.make_database(name, template=_template)
    database = Database(cluster, name)
    data_dir: Path = tmp_path_factory.mktemp("api-data")
    config = replace(
        Config.from_env({"XUNGENG_DATA": str(data_dir), "XUNGENG_DEMO": "0"}),
        database_url=database.app_url,
        owner_url=database.owner_url,
        embedded=False,
    )
    engine, owner = db.engine_for(config), create_engine(database.owner_url, poolclass=NullPool)
    app = create_app(config, propagate_failures=True)
    app.wsgi_app = AfterCommit(app, engine)  # type: ignore[method-assign]
    yield World(
        config, engine, owner, app, factories.make_town(owner, "here"), factories.make_town(owner, "there")
    )
    engine.dispose()
    owner.dispose()


@pytest.fixture(autouse=True)
def _serve_the_world(request: pytest.FixtureRequest) -> Iterator[None]:
    """Units of work of a test that asks for the world run on its database."""
    if "world" not in request.fixturenames:
        yield
        return
    world: World = request.getfixturevalue("world")
    before = db._engine
    db.set_engine(world.engine)
    # All tests of a process share the world's people: whoever has used up what a test before allowed begins anew.
    world.app.extensions["xungeng.limits"]._limiter.storage.reset()
    with world.owner.begin() as connection:
        connection.execute(text("delete from throttles"))
    yield
    db.set_engine(before)


@pytest.fixture
def caller(world: World) -> Caller:
    """Somebody who has not signed in, from an address of his own."""
    return Caller(world.app)


@pytest.fixture
def signed_in(world: World) -> Any:
    """``signed_in("desk_a")`` or ``signed_in(person)``: that person at the API."""

    def sign_in(who: str | Person, town: Town | None = None) -> Caller:
        person = (town or world.here)[who] if isinstance(who, str) else who
        return Caller(world.app).sign_in(person)

    return sign_in
