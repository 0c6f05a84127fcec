"""A town with a history of tracks, made by the hundred thousand inside the database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from backend.core import db
from backend.core.config import APP_ROLE, OWNER_ROLE, Config
from backend.core.ids import new_id
from backend.core.migrating import migrate
from backend.core.uow import unit_of_work
from backend.embedded.cluster import Cluster
from bench import servers
from workflows import closed_days

ZONE = ZoneInfo("Asia/Shanghai")
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "256MB",
}
"""What an operator of such a machine sets; both sides of every comparison have it."""

PEOPLE = """
insert into users (id, town_id, login, display_name, state, locale, created_at)
  select md5('officer' || n)::uuid, :town, 'officer' || n, 'Officer ' || n, 'active', 'en', now()
  from generate_series(cast(:first as int), cast(:last as int)) n;
insert into memberships (id, town_id, user_id, role, area_id, officer_kind, granted_at)
  select md5('membership' || n)::uuid, :town, md5('officer' || n)::uuid, 'officer', :area, 'patrol', now()
  from generate_series(cast(:first as int), cast(:last as int)) n;
insert into devices (id, town_id, officer_id, kind, protocol, name, state, created_at)
  select md5('device' || n)::uuid, :town, md5('officer' || n)::uuid, 'phone', 'officer', 'Phone', 'active', now()
  from generate_series(cast(:first as int), cast(:last as int)) n;
"""

SHIFTS = """
insert into shifts (id, town_id, officer_id, area_id, state, started_at, closes_at, ended_at, ended_by)
  select md5('shift' || n || :day)::uuid, :town, md5('officer' || n)::uuid, :area, 'ended', cast(:since as timestamptz),
         cast(:until as timestamptz), cast(:until as timestamptz), 'self'
  from generate_series(cast(:first as int), cast(:last as int)) n on conflict do nothing;
"""

# In the order in which a day comes in: everybody's first fix, everybody's second fix, …
FIXES = """
insert into fixes (town_id, device_id, fixed_at, seq, shift_id, geom, accuracy_m, speed_mps, heading_deg, battery_pct,
                   flags, received_at)
  select :town, o.device, cast(:since as timestamptz) + t * make_interval(secs => cast(:step as float8)) , 0, o.shift,
         ST_SetSRID(ST_MakePoint(121.3 + o.n * 1e-5 + sin(t / 40.0) * 0.004 + t * 1e-6,
                                 31.1 + cos(t / 55.0) * 0.004), 4326),
         5 + (t % 7), 1.2, t % 360, 80, 0,
         cast(:since as timestamptz) + t * make_interval(secs => cast(:step as float8))
  from generate_series(0, cast(:points as int) - 1) t
  cross join (select n, md5('device' || n)::uuid as device, md5('shift' || n || :day)::uuid as shift
              from generate_series(cast(:first as int), cast(:last as int)) n) o
"""


@dataclass
class History:
    """The database of a benchmark, and what has been put into it."""

    cluster: Cluster
    engine: Engine
    owner: Engine
    town_id: UUID
    area_id: UUID
    today: date
    """By UTC: the town's day before it is over in both, and its partitions may be laid out."""
    points: int = 0

    def add_people(self, first: int, last: int) -> None:
        """Make officers ``first`` to ``last`` with a phone each."""
        with self.owner.begin() as connection:
            for statement in PEOPLE.strip().split(";\n"):
                if statement.strip():
                    connection.execute(
                        text(statement),
                        {"town": self.town_id, "area": self.area_id, "first": first, "last": last},
                    )

    @staticmethod
    def bounds(day: date) -> tuple[datetime, datetime]:
        """The first moment of a day of the town and of the next one, as the desk asks for it."""
        return closed_days.bounds(day, ZONE)

    def add_day(self, day: date, first: int, last: int, points: int) -> None:
        """Give officers a shift of sixteen hours on a day, with so many fixes each, in the order of time."""
        since = self.bounds(day)[0] + timedelta(hours=1)
        until = since + timedelta(hours=16)
        values = {
            "town": self.town_id, "area": self.area_id, "first": first, "last": last, "day": day.isoformat(),
            "since": since, "until": until, "points": points, "step": 16 * 3600 / max(points, 1),
        }  # fmt: skip
        with self.owner.begin() as connection:
            connection.execute(
                text("select make_partitions('fixes', cast(:day as date) - 1, :day, interval '1 day')"),
                {"day": day},
            )
            connection.execute(text(SHIFTS), values)
            connection.execute(text(FIXES), values)
        self.points += (last - first + 1) * points

    def order(self, day: date) -> None:
        """Lay the day out for reading; the town's lies in two partitions."""
        with self.owner.begin() as connection:
            for partition in (day - timedelta(days=1), day):
                connection.execute(text("select order_partition(:day)"), {"day": partition})

    def close(self, day: date) -> None:
        """Lay the day out and make its thinned tracks, as the nightly clock does."""
        self.order(day)
        with unit_of_work(self.town_id) as uow:
            while closed_days.close(uow, day):
                pass

    def settle(self) -> None:
        """Let statistics be right and the log be written, so that neither falls into a measurement."""
        with self.owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("vacuum analyze"))
            connection.execute(text("checkpoint"))

    def evict(self) -> None:
        """Restart the database and ask the system to drop what it holds of its files: the next read is from disk."""
        self.engine.dispose()
        self.owner.dispose()
        self.cluster.stop()
        for path in self.cluster.cluster_dir.rglob("*"):
            if path.is_file() and path.parent.name.isdigit():
                _drop_cached(path)
        self.cluster.start()


def _drop_cached(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


@contextmanager
def town_with_history() -> Iterator[History]:
    """A private PostGIS with our schema, a town of one area, and nobody in it yet."""
    with servers.postgis(SETTINGS) as cluster, servers.folder() as place:
        cluster.make_database("bench")
        owner_url, app_url = cluster.url(OWNER_ROLE, "bench"), cluster.url(APP_ROLE, "bench")
        migrate(owner_url, "up")
        config = replace(
            Config.from_env({"XUNGENG_DATA": str(place), "XUNGENG_DEMO": "0"}),
            database_url=app_url, owner_url=owner_url, embedded=False,
        )  # fmt: skip
        engine, owner = db.engine_for(config, bounds=db.JOBS), create_engine(owner_url, poolclass=NullPool)
        history = History(cluster, engine, owner, new_id(), new_id(), datetime.now(UTC).date())
        with owner.begin() as connection:
            name = '{"zh-CN": "青禾镇", "en": "Qinghe"}'
            connection.execute(
                text("insert into towns values (:id, 'bench', :name, 'Asia/Shanghai', 'zh-CN', '{}', now())"),
                {"id": history.town_id, "name": name},
            )
            connection.execute(
                text(
                    "insert into areas values (:area, :town, null, array[cast(:area as uuid)], 'town', 'bench', :name,"
                    " ST_Multi(ST_MakeEnvelope(121.2, 31.0, 121.5, 31.2, 4326)))"
                ),
                {"area": history.area_id, "town": history.town_id, "name": name},
            )
        before = db._engine
        db.set_engine(engine)
        try:
            yield history
        finally:
            db.set_engine(before)
            engine.dispose()
            owner.dispose()
