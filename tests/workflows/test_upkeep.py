"""What the clocks delete, and what they leave."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.pool import NullPool

from backend.core.config import Config
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.models import PhoneSetup, PostAbsence, RosterRequest
from tests import factories
from tests.rosters import make_planned
from tests.rounds import make_duty, make_post
from workflows import sessions, upkeep


def test_the_thinned_track_of_a_day_goes_when_its_fixes_go(live_config: Config, live_engine: Engine) -> None:
    """P22: nothing of a track outlives its retention, which a day of China's reaches before midnight (UTC) does."""
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    here, there = factories.make_town(owner, "here"), factories.make_town(owner, "there")
    ages = (28, 29, 30, 400)
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


def test_an_imported_track_goes_as_long_after_its_import_as_a_fix_after_it_was_measured(
    live_config: Config, live_engine: Engine
) -> None:
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    here, there = factories.make_town(owner, "here"), factories.make_town(owner, "there")
    with owner.begin() as connection:
        for town in (here, there):
            for age in (29, 32):
                connection.execute(
                    text(
                        "insert into imported_tracks (id, town_id, name, point_count, started_at, ended_at, length_m,"
                        " segments, document, created_at) values (gen_random_uuid(), :town, 'old', 2, '2020-01-01',"
                        " '2020-01-02', 1, '[]', '', now() - cast(:age as interval))"
                    ),
                    {"town": town.id, "age": timedelta(days=age)},
                )
    with unit_of_work(here.id) as uow:
        assert upkeep.forget_tracks(uow, retention_days=30) == 1
    with owner.connect() as connection:
        left = connection.execute(
            text("select town_id, count(*) from imported_tracks group by town_id")
        ).all()
    owner.dispose()
    assert {row.town_id: row.count for row in left} == {here.id: 1, there.id: 2}


def test_of_a_duty_stays_who_stood_it_and_of_a_request_what_became_of_it(
    uow: UnitOfWork, owner_engine: Engine
) -> None:
    """P22: who was away from his post when, and what he had asked off for, go when visits go."""
    town = factories.make_town(owner_engine, f"old-{new_id().hex[-12:]}")
    uow.enter_town(town.id)
    post, kept = make_post(uow, town), []
    for age in (399, 401):
        at = uow.now - timedelta(days=age)
        duty = make_duty(uow, town, post, starts_at=uow.now)
        duty.starts_at, duty.ends_at, duty.presence = at, at + timedelta(hours=2), {"phone": {}}
        uow.session.add(PostAbsence(id=new_id(), town_id=town.id, duty_id=duty.id, began_at=at, ended_at=at))
        planned = make_planned(uow, town, town["officer_a"], at)
        request = RosterRequest(
            id=new_id(), town_id=town.id, kind="excuse", state="withdrawn", planned_id=planned.id, planned_version=1,
            officer_id=planned.officer_id, reason="医院", asked_at=at, ended_at=at, version=1,
        )  # fmt: skip
        setup = PhoneSetup(
            id=new_id(), town_id=town.id, officer_id=planned.officer_id, protocol="osmand", code_hash=new_id().bytes,
            created_at=at, expires_at=at,
        )  # fmt: skip
        uow.session.add_all([request, setup])
        kept.append((duty, request))
    uow.session.flush()
    upkeep.forget_visits(uow, retention_days=400)
    assert upkeep.forget_setups(uow) == 2
    uow.session.expire_all()
    assert [(duty.presence, request.reason) for duty, request in kept] == [({"phone": {}}, "医院"), ({}, "")]
    assert len(uow.session.scalars(select(PostAbsence)).all()) == 1


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


def test_used_refresh_tokens_go_when_none_of_their_age_could_live(
    live_config: Config, live_engine: Engine
) -> None:
    """A used one is kept for as long as one lives, because its coming back tells of a thief; the session stays."""
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    town = factories.make_town(owner, "here")
    with owner.begin() as connection:
        for name, over in (("open", None), ("over", 91), ("late", 89)):
            connection.execute(
                text(
                    "insert into sessions (id, town_id, user_id, client, device_name, created_at, last_used_at,"
                    " expires_at, revoked_at, revoke_reason) values (gen_random_uuid(), :town, :user, 'desk', :name,"
                    " now(), now(), now() + interval '30 days', now() - cast(:over as interval),"
                    " case when cast(:over as interval) is null then null else 'by_owner' end)"
                ),
                {
                    "town": town.id, "user": town["desk_a"].id, "name": name,
                    "over": None if over is None else timedelta(days=over),
                },
            )  # fmt: skip
        for name, used in (("unused", None), ("fresh", 29), ("stale", 31)):
            connection.execute(
                text(
                    "insert into refresh_tokens select cast(:name as text)::bytea, town_id, id,"
                    " now() - interval '32 days', now() - cast(:used as interval) from sessions"
                    " where device_name = 'open'"
                ),
                {"name": name, "used": None if used is None else timedelta(days=used)},
            )
    with unit_of_work(town.id) as uow:
        gone = sessions.forget_expired(uow, refresh_ttl=timedelta(days=30))
        assert gone == {"codes": 0, "tokens": 1, "sessions": 1}
    with owner.connect() as connection:
        left = connection.execute(text("select token_hash from refresh_tokens")).scalars()
        assert {bytes(one).decode() for one in left} == {"unused", "fresh"}
        names = connection.execute(text("select device_name from sessions")).scalars()
        assert set(names) == {"open", "late"}
    owner.dispose()


def test_what_is_deleted_by_age_and_looked_up_by_subject_is_found_by_an_index(owner_engine: Engine) -> None:
    """Growing tables are never read whole for it."""
    with owner_engine.connect() as connection:
        connection.execute(text("set enable_seqscan = off"))
        for statement, index in (
            ("delete from sessions where coalesce(revoked_at, expires_at) < now()", "ix_sessions_over_at"),
            ("delete from refresh_tokens where used_at < now()", "ix_refresh_tokens_used_at"),
            (
                "select * from journal where at > now() - interval '400 days'"
                " and subject_id = '01a20839-46d0-7244-a992-b05367b27021' order by at desc, id desc limit 51",
                "subject_id_at_id_idx",
            ),
        ):
            plan = "\n".join(connection.execute(text(f"explain {statement}")).scalars())
            assert index in plan, plan
