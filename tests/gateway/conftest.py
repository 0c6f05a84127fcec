"""A small town with two officers and a desk, and the app that serves it, with everything really committed."""

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

from backend.adapters import passwords
from backend.core import db, identity
from backend.core.config import Config
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.uow import unit_of_work
from backend.core.vocabulary import DeviceState, OfficerKind, Protocol, Role, ShiftState
from backend.embedded.cluster import Cluster
from backend.models import Area, Device, Membership, Shift, Town, User
from tests.conftest import Database
from workflows import devices
from workflows.devices import Credential

PASSWORD = "correct horse battery staple 7"
SQUARE = "MULTIPOLYGON(((121.4 31.1, 121.6 31.1, 121.6 31.3, 121.4 31.3, 121.4 31.1)))"


@dataclass
class Setting:
    """What a test knows of its town. The officer is on shift, the other one is not."""

    config: Config
    owner: Engine
    town_id: UUID
    area_id: UUID
    officer_id: UUID
    idle_officer_id: UUID
    supervisor_id: UUID
    admin_id: UUID
    dispatcher_id: UUID

    def actor(self, user_id: UUID, role: Role) -> Actor:
        """Return an actor with a role in the whole town."""
        return Actor(user_id, self.town_id, None, (identity.Membership(role, self.area_id),))

    @property
    def supervisor(self) -> Actor:
        """Who gives out devices."""
        return self.actor(self.supervisor_id, Role.SUPERVISOR)

    def new_officer(self, *, on_shift: bool = True) -> UUID:
        """Add an officer to the town, on shift since two hours ago or off shift."""
        now = datetime.now(UTC)
        with Session(self.owner) as session, session.begin():
            user = _user(self.town_id, f"officer-{new_id().hex[-8:]}", now, None)
            session.add(user)
            session.flush()
            session.add(_membership(self.town_id, self.area_id, user.id, Role.OFFICER, now))
            if on_shift:
                session.add(_shift(self.town_id, self.area_id, user.id, now))
            return user.id

    def device(
        self, protocol: Protocol, *, officer_id: UUID | None = None, datum: str = "wgs84"
    ) -> tuple[UUID, Credential]:
        """Give an officer on shift (a new one, or the one named) a device and return its id and credential."""
        officer_id = officer_id or self.new_officer()
        with unit_of_work(self.town_id) as uow:
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
            "select *, ST_X(geom) as lon, ST_Y(geom) as lat from fixes where device_id = :id order by fixed_at, seq",
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


def _membership(town_id: UUID, area_id: UUID, user_id: UUID, role: Role, now: datetime) -> Membership:
    return Membership(
        id=new_id(),
        town_id=town_id,
        user_id=user_id,
        role=role,
        area_id=area_id,
        officer_kind=OfficerKind.PATROL if role is Role.OFFICER else None,
        granted_at=now,
    )


def _shift(town_id: UUID, area_id: UUID, officer_id: UUID, now: datetime) -> Shift:
    return Shift(
        id=new_id(),
        town_id=town_id,
        officer_id=officer_id,
        area_id=area_id,
        state=ShiftState.ON_DUTY,
        started_at=now - timedelta(hours=2),
        closes_at=now + timedelta(hours=8),
        version=1,
    )


def _user(town_id: UUID, login: str, now: datetime, hashed: str | None) -> User:
    return User(
        id=new_id(),
        town_id=town_id,
        login=login,
        display_name=login,
        state="active",
        locale="zh-CN",
        created_at=now,
        password_hash=hashed,
    )


@pytest.fixture(scope="module")
def setting(cluster: Cluster, _template: str, config: Config) -> Iterator[Setting]:
    """A town of one area, in a database that the tests of a module share; each makes devices of its own."""
    name = "xungeng_" + os.urandom(6).hex()
    cluster.make_database(name, template=_template)
    database = Database(cluster, name)
    live_config = replace(config, database_url=database.app_url, owner_url=database.owner_url)
    engine = db.engine_for(live_config)
    before = db._engine
    db.set_engine(engine)
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    try:
        yield _made(live_config, owner)
    finally:
        db.set_engine(before)
        engine.dispose()
        owner.dispose()
        cluster.drop_database(name)


def _made(live_config: Config, owner: Engine) -> Setting:
    now = datetime.now(UTC)
    town_id, area_id = new_id(), new_id()
    hashed = passwords.hash_password(PASSWORD)
    with Session(owner) as session, session.begin():
        session.add(
            Town(
                id=town_id,
                code=f"t{town_id.hex[-6:]}",
                name={"zh-CN": "青禾镇", "en": "Qinghe"},
                time_zone="Asia/Shanghai",
                locale="zh-CN",
                calendar={},
                created_at=now,
            )
        )
        session.flush()
        session.add(
            Area(
                id=area_id,
                town_id=town_id,
                parent_id=None,
                ancestors=[area_id],
                kind="town",
                code="town",
                name={"zh-CN": "青禾镇", "en": "Qinghe"},
                geom=f"SRID=4326;{SQUARE}",
            )
        )
        users = {
            role: _user(town_id, f"{role}-{town_id.hex[-6:]}", now, hashed)
            for role in ("officer", "idle", "supervisor", "admin", "dispatcher")
        }
        session.add_all(users.values())
        session.flush()
        for name, user in users.items():
            role = Role.OFFICER if name == "idle" else Role(name)
            session.add(_membership(town_id, area_id, user.id, role, now))
        session.add(_shift(town_id, area_id, users["officer"].id, now))
        session.add(
            Device(
                id=new_id(),
                town_id=town_id,
                officer_id=users["officer"].id,
                kind="phone",
                protocol=Protocol.OFFICER,
                name="phone",
                datum="wgs84",
                state=DeviceState.ACTIVE,
                created_at=now,
                version=1,
            )
        )
        return Setting(
            live_config,
            owner,
            town_id,
            area_id,
            users["officer"].id,
            users["idle"].id,
            users["supervisor"].id,
            users["admin"].id,
            users["dispatcher"].id,
        )


@pytest.fixture(scope="module")
def ordinary_app(setting: Setting) -> Flask:
    """The app without its hot routes: Flask serves the gateways."""
    from backend.app import create_app

    return create_app(setting.config, propagate_failures=True)


@pytest.fixture(scope="module")
def hot_app(setting: Setting) -> Flask:
    """The app as it is served: hot routes in front."""
    from backend.app import create_app
    from mobile_api import hot

    app = create_app(setting.config, propagate_failures=True)
    hot.install(app)
    return app


@pytest.fixture(params=["ordinary", "hot"])
def client(request: pytest.FixtureRequest) -> FlaskClient:
    """A client of the app, once by the ordinary and once by the hot path."""
    app: Flask = request.getfixturevalue(f"{request.param}_app")
    return app.test_client()
