"""A town whose officers get trackers, and the app that serves it, with everything really committed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from backend.core import db
from backend.core.config import Config
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.uow import unit_of_work
from backend.core.vocabulary import Protocol, ShiftState
from backend.embedded.cluster import Cluster
from backend.models import Shift
from tests import factories
from tests.conftest import Database
from tests.factories import Town
from workflows import devices
from workflows.devices import Credential


@dataclass
class Setting:
    """The town of a module's tests; each test makes officers and devices of its own."""

    config: Config
    owner: Engine
    town: Town

    @property
    def supervisor(self) -> Actor:
        """Who gives out devices."""
        return self.town["supervisor"].actor()

    def new_officer(self, *, on_shift: bool = True) -> UUID:
        """Add an officer to the town, on shift since two hours ago or off shift."""
        officer = factories.add_officer(self.owner, self.town, f"officer-{new_id().hex[-8:]}")
        now = datetime.now(UTC)
        if on_shift:
            with Session(self.owner) as session, session.begin():
                session.add(
                    Shift(
                        id=new_id(),
                        town_id=self.town.id,
                        officer_id=officer.id,
                        area_id=officer.area_id,
                        state=ShiftState.ON_DUTY,
                        started_at=now - timedelta(hours=2),
                        closes_at=now + timedelta(hours=8),
                        version=1,
                    )
                )
        return officer.id

    def device(
        self, protocol: Protocol, *, officer_id: UUID | None = None, datum: str = "wgs84"
    ) -> tuple[UUID, Credential]:
        """Give an officer on shift (a new one, or the one named) a device and return its id and credential."""
        officer_id = officer_id or self.new_officer()
        with unit_of_work(self.town.id) as uow:
            shown, credential = devices.create(
                uow,
                self.supervisor,
                officer_id=officer_id,
                name=f"tracker {protocol}",
                protocol=protocol,
                datum=datum,
                command_id=new_id(),
            )
            return shown.device.id, credential

    def rows(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        """Return rows as the owner of the database sees them, whatever the town."""
        with self.owner.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(text(statement), values)]

    def fixes(self, device_id: UUID) -> list[dict[str, Any]]:
        """Return what is stored of a device, in order of time."""
        return self.rows(
            "select *, ST_X(geom) as lon, ST_Y(geom) as lat from fixes where device_id = :id"
            " order by fixed_at, seq",
            id=device_id,
        )

    def quarantined(self, device_id: UUID) -> list[str]:
        """Return the reasons of what was set aside, in order of arrival."""
        found = self.rows(
            "select reason from quarantined_fixes where device_id = :id order by received_at, id",
            id=device_id,
        )
        return [row["reason"] for row in found]

    def counted(self, protocol: str, outcome: str) -> int:
        """Return the gate's counter of today."""
        found = self.rows(
            "select coalesce(sum(count), 0)::int as n from gate_counters where protocol = :p and outcome = :o",
            p=protocol,
            o=outcome,
        )
        return int(found[0]["n"])


@pytest.fixture(scope="module")
def setting(cluster: Cluster, _template: str, config: Config) -> Iterator[Setting]:
    """A town in a database that the tests of a module share."""
    name = "xungeng_" + os.urandom(6).hex()
    cluster.make_database(name, template=_template)
    database = Database(cluster, name)
    live_config = replace(config, database_url=database.app_url, owner_url=database.owner_url)
    engine = db.engine_for(live_config)
    before = db._engine
    db.set_engine(engine)
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    try:
        yield Setting(live_config, owner, factories.make_town(owner, f"t{name[-6:]}"))
    finally:
        db.set_engine(before)
        engine.dispose()
        owner.dispose()
        cluster.drop_database(name)


@pytest.fixture(scope="module")
def ordinary_app(setting: Setting) -> Flask:
    """The app without its hot routes: Flask serves the gateways."""
    from backend.app import create_app

    return create_app(setting.config, propagate_failures=True, hot_routes=False)


@pytest.fixture(scope="module")
def hot_app(setting: Setting) -> Flask:
    """The app as it is served: hot routes in front."""
    from backend.app import create_app

    return create_app(setting.config, propagate_failures=True)


@pytest.fixture(params=["ordinary", "hot"])
def client(request: pytest.FixtureRequest) -> FlaskClient:
    """A client of the app, once by the ordinary and once by the hot path."""
    app: Flask = request.getfixturevalue(f"{request.param}_app")
    return app.test_client()
