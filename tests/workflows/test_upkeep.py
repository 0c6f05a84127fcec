"""What the clocks delete, and what they leave."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from backend.core.config import Config
from backend.core.uow import unit_of_work
from tests import factories
from workflows import upkeep


def test_the_thinned_track_of_a_day_goes_when_its_fixes_go(live_config: Config, live_engine: Engine) -> None:
    """P22: nothing of a track outlives its retention; the day at the edge is kept, other towns are left alone."""
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    here, there = factories.make_town(owner, "here"), factories.make_town(owner, "there")
    ages = (29, 30, 31, 400)
    with owner.begin() as connection:
        for town in (here, there):
            for age in ages:
                row = {"town": town.id, "officer": town["officer_a"].id, "age": timedelta(days=age)}
                connection.execute(
                    text(
                        "insert into track_days (town_id, officer_id, day, fix_count, length_m, points, built_at)"
                        " values (:town, :officer, (now() at time zone 'UTC')::date - :age, 1, 1, '', now())"
                    ),
                    row,
                )
                connection.execute(
                    text(
                        "insert into late_days values (:town, :officer, (now() at time zone 'UTC')::date - :age)"
                    ),
                    row,
                )
    with unit_of_work(here.id) as uow:
        assert upkeep.forget_tracks(uow, retention_days=30) == 4
        assert upkeep.forget_tracks(uow, retention_days=30) == 0
    with owner.connect() as connection:
        left = connection.execute(
            text("select town_id, count(*) from track_days group by town_id"),
        ).all()
    owner.dispose()
    assert {row.town_id: row.count for row in left} == {here.id: 2, there.id: 4}


def test_a_fix_that_came_after_its_day_was_dropped_goes_with_the_next_round(
    live_config: Config, live_engine: Engine
) -> None:
    """P22: such a fix waits in the default partition, where no day's end would ever reach it."""
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    town = factories.make_town(owner, "here")
    with owner.begin() as connection:
        for age in (60, 50, 3):
            connection.execute(
                text(
                    "insert into fixes (town_id, device_id, fixed_at, seq, shift_id, geom, received_at) values (:town,"
                    " gen_random_uuid(), now() - :age, 0, gen_random_uuid(),"
                    " ST_SetSRID(ST_MakePoint(121.3, 31.1), 4326), now())"
                ),
                {"town": town.id, "age": timedelta(days=age)},
            )
        assert connection.scalar(text("select count(*) from only fixes_default")) == 2
    with unit_of_work() as uow:
        upkeep.keep_partitions(uow, ahead_days=7, fix_retention_days=30)
    with owner.connect() as connection:
        assert connection.scalar(text("select count(*) from fixes")) == 1
    owner.dispose()
