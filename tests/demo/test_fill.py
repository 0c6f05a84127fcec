"""Filling an empty installation: all there in one go, once, and consistent with what the workflows promise."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from argon2 import extract_parameters
from sqlalchemy import Engine, create_engine, text

from backend.adapters import passwords
from backend.core.config import Config
from backend.core.tokens import secret_hash
from backend.core.vocabulary import Protocol
from backend.demo import accounts, fill
from backend.demo.phones import able
from backend.demo.town import generate
from tests.conftest import Database
from workflows.devices import Credential
from workflows.provisioning import provision


@pytest.fixture(scope="module")
def installation(
    cluster: Any, _template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Config, Engine]]:
    """An installation that was filled once, for tests that only look at it."""
    database = Database(cluster, "xungeng_demo_town")
    cluster.make_database(database.name, template=_template)
    config = replace(
        Config.from_env({"XUNGENG_DATA": str(tmp_path_factory.mktemp("data")), "PORT": "8123"}),
        database_url=database.app_url,
        owner_url=database.owner_url,
        embedded=False,
    )
    told: list[tuple[str, int, int]] = []
    fill.fill(config, lambda *step: told.append(step))
    assert [step for _, step, _ in told] == list(range(1, told[-1][2] + 1))
    owner = create_engine(config.owner_url)
    yield config, owner
    owner.dispose()
    cluster.drop_database(database.name)


def scalar(engine: Engine, query: str, **values: Any) -> Any:
    with engine.connect() as connection:
        return connection.execute(text(query), values).scalar_one()


def test_the_database_holds_the_town_that_was_generated(installation: tuple[Config, Engine]) -> None:
    _, owner = installation
    town = generate()
    assert scalar(owner, "select count(*) from areas where kind = 'community'") == 95
    assert scalar(owner, "select count(*) from areas where kind = 'compound'") == 112
    assert scalar(owner, "select count(*) from checkpoints") == 920
    assert scalar(owner, "select count(*) from roads") == len(town.roads)
    assert scalar(owner, "select count(*) from users") == len(town.people)
    assert scalar(owner, "select count(*) from areas where not ST_IsValid(geom)") == 0


def test_there_is_a_round_for_nearly_every_compound_and_community_and_one_to_begin_now(
    installation: tuple[Config, Engine],
) -> None:
    """Each goes along the ways past its own checkpoints, which all lie in its area; none is longer than is drawn."""
    config, owner = installation
    assert scalar(owner, "select count(*) from routes") > 180
    bad = (
        "select count(*) from routes r join areas a on a.id = r.area_id where (select count(*) from route_points p"
        " join checkpoints c on c.id = p.checkpoint_id join areas of_c on of_c.id = c.area_id"
        " where p.route_id = r.id and a.id = any (of_c.ancestors) and ST_DWithin(c.geom::geography,"
        " r.line::geography, 1)) < 3 or ST_NPoints(r.line) > 2000"
    )
    assert scalar(owner, bad) == 0
    assert scalar(owner, "select max(number) from routes") == scalar(owner, "select count(*) from routes")
    assert scalar(owner, "select count(*) from checkpoints where questions <> '[]'") > 100
    reserved = accounts.accounts(config)["officers"][0]
    assert reserved["reserved"]
    begins_now = (
        "select count(*) from patrols where state = 'planned' and area_id = :area and start_by > now()"
        " and scheduled_at between now() - interval '10 minutes' and now()"
    )
    assert scalar(owner, begins_now, area=reserved["area_id"]) == 1
    assert scalar(owner, "select count(*) from patrols where scheduled_at > now()") >= 8


def test_every_officer_who_can_sign_in_is_planned_for_a_week_and_who_is_left_to_people_is_planned_now(
    installation: tuple[Config, Engine],
) -> None:
    config, owner = installation
    officers = [one["id"] for one in accounts.accounts(config)["officers"]]
    ahead = "select count(*) from planned_shifts where officer_id = :officer and begins_at > now()"
    assert min(scalar(owner, ahead, officer=officer) for officer in officers) >= 4
    now = "select count(*) from planned_shifts where officer_id = :officer and now() between begins_at and ends_at"
    assert scalar(owner, now, officer=officers[0]) == 1


def test_areas_tile_in_the_database_too(installation: tuple[Config, Engine]) -> None:
    _, owner = installation
    overlap = scalar(
        owner,
        "select coalesce(sum(ST_Area(ST_Intersection(a.geom, b.geom))), 0) from areas a join areas b"
        " on a.id < b.id and a.kind = 'community' and b.kind = 'community' and a.geom && b.geom",
    )
    gap = scalar(
        owner,
        "select ST_Area(ST_Difference((select geom from areas where kind = 'town'),"
        " (select ST_Union(geom) from areas where kind in ('grid', 'compound'))))",
    )
    assert overlap == pytest.approx(0, abs=1e-15)
    assert gap == pytest.approx(0, abs=1e-15)


def test_ancestors_lead_from_the_town_to_the_area_itself(installation: tuple[Config, Engine]) -> None:
    _, owner = installation
    wrong = scalar(
        owner,
        "select count(*) from areas a where a.ancestors[array_upper(a.ancestors, 1)] <> a.id"
        " or (a.parent_id is not null and a.ancestors[array_upper(a.ancestors, 1) - 1] <> a.parent_id)"
        " or (select kind from areas t where t.id = a.ancestors[1]) <> 'town'",
    )
    assert wrong == 0


def test_filling_again_changes_nothing(
    installation: tuple[Config, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, owner = installation
    before = accounts.path(config).read_bytes()
    fixes = scalar(owner, "select count(*) from fixes")
    monkeypatch.setattr(fill, "generate", lambda seed: pytest.fail("It began to make a second town."))
    fill.fill(config)
    assert scalar(owner, "select count(*) from towns") == 1
    assert scalar(owner, "select count(*) from fixes") == fixes
    assert accounts.path(config).read_bytes() == before


def test_a_fill_that_fails_leaves_nothing_and_can_be_done_again(
    fresh_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(
        Config.from_env({"XUNGENG_DATA": str(tmp_path)}),
        database_url=fresh_database.app_url,
        owner_url=fresh_database.owner_url,
        embedded=False,
    )
    # What is stored of passwords is no matter here, and hashing is what takes long.
    monkeypatch.setattr(passwords, "hash_password", lambda _: "hash")
    # A few officers' past is as much there or not there as everybody's.
    monkeypatch.setattr(fill, "WITH_A_PAST", fill.RESERVED + 2)
    with monkeypatch.context() as patch:

        def no_room(*_: object) -> None:
            raise OSError("No space left on device")

        patch.setattr(accounts, "write", no_room)
        with pytest.raises(OSError, match="No space"):
            fill.fill(config)
    owner = create_engine(config.owner_url)
    assert scalar(owner, "select count(*) from towns") == 0
    assert scalar(owner, "select count(*) from fixes") == 0
    fill.fill(config)
    assert scalar(owner, "select count(*) from towns") == 1
    assert scalar(owner, "select count(*) from fixes") > 0
    owner.dispose()


def test_every_account_costs_the_same_to_try(installation: tuple[Config, Engine]) -> None:
    """F52: by the time of a refused sign-in no account of the demo town is told from one that does not exist."""
    with installation[1].connect() as connection:
        stored = connection.execute(text("select password_hash from users where password_hash is not null"))
        costs = [extract_parameters(one) for one in stored.scalars()]
    assert len(costs) > fill.OFFICERS_WITH_SIGN_IN
    assert all(cost == extract_parameters(passwords.decoy()) for cost in costs)


def test_accounts_are_secret_random_and_match_the_hashes(installation: tuple[Config, Engine]) -> None:
    config, owner = installation
    path = accounts.path(config)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    document = json.loads(path.read_text())
    everybody = [document[role] for role in ("admin", "supervisor", "desk", "auditor")]
    everybody += document["desks"] + document["handlers"] + document["officers"]
    words = [account["password"] for account in everybody]
    assert len(set(words)) == len(words)
    for account in everybody[:3] + document["officers"][-2:]:
        stored = scalar(owner, "select password_hash from users where login = :login", login=account["login"])
        assert passwords.matches(stored, account["password"])
    for account in everybody:
        passwords.check_strength(account["password"], account["login"])
    dump = scalar(owner, "select string_agg(u::text, '') from users u") + scalar(
        owner, "select string_agg(c::text, '') from device_credentials c"
    )
    assert not any(word in dump for word in words)


def test_accounts_have_the_form_that_is_promised(installation: tuple[Config, Engine]) -> None:
    config, owner = installation
    document = accounts.accounts(config)
    for role in ("admin", "supervisor", "desk", "auditor"):
        assert {"login", "password"} <= set(document[role])
    assert len(document["handlers"]) == scalar(owner, "select count(*) from departments")
    assert len(document["officers"]) == fill.OFFICERS_WITH_SIGN_IN
    assert len(document["residents"]) >= 60
    for officer in document["officers"]:
        trackers = officer["trackers"]
        assert set(trackers["osmand"]) == {"url", "id"}
        assert set(trackers["owntracks"]) == {"url", "user", "password"}
        assert set(trackers["overland"]) == {"url", "token"}
        assert set(trackers["gpslogger"]) == {"url"}
        assert (
            scalar(owner, "select display_name from users where id = :id", id=officer["id"])
            == officer["display_name"]
        )
    for resident in document["residents"]:
        assert scalar(owner, "select count(*) from users where phone = :phone", phone=resident["phone"]) == 1


def test_the_addresses_of_trackers_follow_the_installation(installation: tuple[Config, Engine]) -> None:
    config, _ = installation
    elsewhere = accounts.accounts(replace(config, public_url="https://patrol.example.cn", port=9))
    for officer in elsewhere["officers"]:
        assert all(
            t["url"].startswith("https://patrol.example.cn/gateway/") for t in officer["trackers"].values()
        )
    assert (
        accounts.accounts(config)["officers"][0]["trackers"]["osmand"]["url"]
        == "http://localhost:8123/gateway/osmand"
    )


def test_trackers_are_set_up_as_the_desk_would_set_them_up(installation: tuple[Config, Engine]) -> None:
    config, owner = installation
    officer = accounts.accounts(config)["officers"][0]
    trackers = officer["trackers"]
    base = accounts.base_url(config)
    with owner.connect() as connection:
        devices = {
            row.protocol: row
            for row in connection.execute(
                text(
                    "select d.protocol, d.id, c.key_hash, c.username from devices d"
                    " join device_credentials c on c.device_id = d.id where officer_id = :id"
                ),
                {"id": officer["id"]},
            )
        }
    keys = {
        "osmand": Credential(trackers["osmand"]["id"]),
        "owntracks": Credential(trackers["owntracks"]["password"], trackers["owntracks"]["user"]),
        "overland": Credential(trackers["overland"]["token"]),
        "gpslogger": Credential(trackers["gpslogger"]["url"].split("?")[0].rpartition("/")[2]),
    }
    for protocol, credential in keys.items():
        row = devices[protocol]
        assert bytes(row.key_hash) == secret_hash(credential.key), protocol
        assert row.username == credential.username
        made = provision(Protocol(protocol), base, credential, "device")
        assert made.url == trackers[protocol]["url"]


def test_the_past_obeys_the_shift_rules(installation: tuple[Config, Engine]) -> None:
    """F24: what the filler writes passes the same gate as what phones send."""
    _, owner = installation
    outside = scalar(
        owner,
        "select count(*) from fixes f join shifts s on s.id = f.shift_id"
        " join devices d on d.id = f.device_id"
        " where f.fixed_at < s.started_at or f.fixed_at >= coalesce(s.ended_at, s.closes_at)"
        " or d.officer_id <> s.officer_id or f.received_at < f.fixed_at",
    )
    assert outside == 0
    assert scalar(owner, "select count(*) from fixes") > 20_000
    assert scalar(owner, "select count(*) from fixes where area_id is null") < 500
    assert scalar(owner, "select sum(count) from gate_counters where outcome = 'stored'") == scalar(
        owner, "select count(*) from fixes"
    )
    assert scalar(owner, "select count(*) from fixes where fixed_at > now()") == 0


def test_every_shift_of_the_past_is_in_the_journal(installation: tuple[Config, Engine]) -> None:
    _, owner = installation
    missing = scalar(
        owner,
        "select count(*) from shifts s where not exists (select from journal j where j.subject_id = s.id"
        " and j.subject_kind = 'shift' and j.action = 'start' and j.at = s.started_at and j.actor_id = s.officer_id"
        " and j.\"to\" = 'on_duty') or (s.ended_at is not null) <> exists (select from journal j"
        " where j.subject_id = s.id and j.action = 'end' and j.at = s.ended_at and j.\"from\" = 'on_duty'"
        " and j.\"to\" = 'ended')",
    )
    assert missing == 0
    overlapping = scalar(
        owner,
        "select count(*) from shifts a join shifts b on a.officer_id = b.officer_id and a.id < b.id"
        " and a.started_at < coalesce(b.ended_at, 'infinity') and b.started_at < coalesce(a.ended_at, 'infinity')",
    )
    assert overlapping == 0


def test_officers_are_on_the_map_when_it_opens(installation: tuple[Config, Engine]) -> None:
    config, owner = installation
    assert scalar(owner, "select count(*) from latest_positions") == fill.ON_DUTY
    assert config.simulate_officers == fill.ON_DUTY, (
        "for each of them somebody walks: nobody falls silent unexplained"
    )
    walked_for = able(accounts.accounts(config)["officers"], config.simulate_officers)
    assert (
        scalar(
            owner,
            "select count(*) from shifts where ended_at is null and officer_id = any(cast(:ids as uuid[]))",
            ids=[officer["id"] for officer in walked_for],
        )
        == fill.ON_DUTY
    )
    stale = scalar(
        owner,
        "select count(*) from latest_positions p where p.fixed_at <> (select max(f.fixed_at) from fixes f"
        " where f.shift_id = p.shift_id)",
    )
    assert stale == 0
    reserved = [officer["id"] for officer in accounts.accounts(config)["officers"] if officer["reserved"]]
    assert len(reserved) == fill.RESERVED
    assert (
        scalar(
            owner,
            "select count(*) from shifts where ended_at is null and officer_id = any(cast(:ids as uuid[]))",
            ids=reserved,
        )
        == 0
    )


def test_the_past_reaches_from_yesterday_to_a_moment_ago(installation: tuple[Config, Engine]) -> None:
    _, owner = installation
    with owner.connect() as connection:
        first, last = connection.execute(text("select min(fixed_at), max(fixed_at) from fixes")).one()
    now = datetime.now(UTC)
    assert timedelta(hours=24) < now - first < timedelta(hours=28)
    assert now - last < timedelta(minutes=10)


def test_the_application_sees_the_town_only_from_inside(installation: tuple[Config, Engine]) -> None:
    """F47: what the owner wrote is as hidden from the application as everything else."""
    config, _ = installation
    app = create_engine(config.database_url)
    with app.connect() as connection:
        assert connection.execute(text("select count(*) from users")).scalar_one() == 0
        town_id: UUID = connection.execute(text("select id from towns")).scalar_one()
        connection.execute(text("select set_config('xungeng.town', :town, true)"), {"town": str(town_id)})
        assert connection.execute(text("select count(*) from users")).scalar_one() == len(generate().people)
    app.dispose()
