"""What the live channel asks: the answer for one sign-in and the answer for all of them have to be the same text."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from backend.core.ids import new_id
from backend.core.uow import unit_of_work
from tests.factories import Town, make_town
from workflows import live, sessions


@pytest.fixture
def town(fresh_database: Any) -> Any:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    owner = create_engine(fresh_database.owner_url, poolclass=NullPool)
    app = create_engine(fresh_database.app_url, poolclass=NullPool)
    yield make_town(owner), owner, app
    owner.dispose()
    app.dispose()


def open_session(owner: Engine, town: Town, user_id: UUID) -> UUID:
    session_id = new_id()
    with owner.begin() as connection:
        connection.execute(
            text(
                "insert into sessions (id, town_id, user_id, client, created_at, last_used_at, expires_at)"
                " values (:id, :town, :user, 'desk', now(), now(), now() + interval '1 day')"
            ),
            {"id": session_id, "town": town.id, "user": user_id},
        )
    return session_id


def test_one_look_and_the_look_at_all_agree_for_every_role(town: tuple[Town, Engine, Engine]) -> None:
    """F49: if they differed in a letter, every socket would be looked at again every three seconds for ever."""
    here, owner, app = town
    people = list(here.people.values())
    ids = {open_session(owner, here, person.id): person for person in people}
    with owner.begin() as connection:  # A second membership, so that order matters.
        connection.execute(
            text(
                "insert into memberships (id, town_id, user_id, role, area_id, granted_at)"
                " values (:id, :town, :user, 'dispatcher', :area, now())"
            ),
            {"id": new_id(), "town": here.id, "user": here["supervisor"].id, "area": here.areas["b"]},
        )
    with unit_of_work(here.id, engine=app) as uow:
        found = live.holdings(uow, list(ids))
        assert set(found) == set(ids)
        for session_id, person in ids.items():
            actor = sessions.actor_of(uow, person.id, session_id)
            assert live.holding(actor) == found[session_id]


@pytest.mark.parametrize(
    "statement",
    [
        "update sessions set revoked_at = now(), revoke_reason = 'by_admin' where id = :session",
        "update sessions set expires_at = now() - interval '1 second' where id = :session",
        "update users set state = 'disabled', disabled_at = now() where id = :user",
    ],
)
def test_a_session_that_has_ended_is_not_among_the_open_ones(
    town: tuple[Town, Engine, Engine], statement: str
) -> None:
    """F49."""
    here, owner, app = town
    desk = here["desk_a"]
    session_id, other = open_session(owner, here, desk.id), open_session(owner, here, here["desk_b"].id)
    with owner.begin() as connection:
        values = {"session": session_id, "user": desk.id}
        connection.execute(text(statement), {key: values[key] for key in values if f":{key}" in statement})
    with unit_of_work(here.id, engine=app) as uow:
        assert set(live.holdings(uow, [session_id, other])) == {other}


def test_another_towns_sessions_and_shifts_are_not_seen(town: tuple[Town, Engine, Engine]) -> None:
    """F41."""
    here, owner, app = town
    there = make_town(owner, "elsewhere")
    session_id = open_session(owner, there, there["desk_a"].id)
    start_shift(owner, there, there["officer_a"].id)
    with unit_of_work(here.id, engine=app) as uow:
        assert live.holdings(uow, [session_id]) == {}
        assert live.shift_events_since(uow, uow.now - timedelta(hours=1)) == []


def start_shift(owner: Engine, town: Town, officer_id: UUID, started: str = "now()") -> UUID:
    shift_id = new_id()
    with owner.begin() as connection:
        connection.execute(
            text(
                "insert into shifts (id, town_id, officer_id, area_id, state, started_at, closes_at)"
                f" values (:id, :town, :officer, :area, 'on_duty', {started}, now() + interval '8 hours')"
            ),
            {"id": shift_id, "town": town.id, "officer": officer_id, "area": town.areas["a"]},
        )
    return shift_id


def test_what_happened_to_shifts_since_a_moment_is_told_once_each(town: tuple[Town, Engine, Engine]) -> None:
    here, owner, app = town
    started = start_shift(owner, here, here["officer_a"].id)
    start_shift(owner, here, here["officer_a2"].id, "now() - interval '5 hours'")
    closed = start_shift(owner, here, here["officer_b"].id, "now() - interval '9 hours'")
    with owner.begin() as connection:
        connection.execute(
            text(
                "update shifts set state = 'ended', ended_at = now(), ended_by = 'system', version = 2"
                " where id = :id"
            ),
            {"id": closed},
        )
    with unit_of_work(here.id, engine=app) as uow:
        events = {
            event.shift_id: event for event in live.shift_events_since(uow, uow.now - timedelta(hours=1))
        }
        assert {shift_id: event.action for shift_id, event in events.items()} == {
            started: "start",
            closed: "close",
        }
        assert (events[closed].version, events[closed].area_id) == (2, here.areas["a"])
