"""Handing phones over: one code for one phone, whichever client it runs, and how far each phone is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import text

from backend.core.ids import new_id
from backend.core.uow import unit_of_work
from backend.core.vocabulary import Protocol
from tests.api.conftest import Caller, World
from tests.api.test_shifts import start
from workflows import phones

PHONES, OPEN = "/api/v1/desk/phones", "/api/v1/auth/phones/open"


def code_of(made: Any) -> str:
    assert made.status_code == 201, made.text
    return str(made.json["url"].partition("#")[2])


def row(desk: Caller, officer: Any) -> dict[str, Any]:
    """An officer's line of the roster."""
    [one] = desk.get(PHONES, officer_id=str(officer.id)).json["items"]
    return dict(one)


@pytest.mark.parametrize("protocol", list(Protocol))
def test_one_code_sets_one_phone_up_and_no_second_one(
    world: World, signed_in: Any, caller: Caller, protocol: Protocol
) -> None:
    """A code is no way to sign in; what a tracker needs is made when the code is opened, and shown once."""
    officer, desk = world.officer(), signed_in("supervisor_a")
    assert (row(desk, officer)["standing"], row(desk, officer)["setup"]) == ("none", None)
    made = desk.post(PHONES, {"officer_id": str(officer.id), "protocol": protocol})
    code = code_of(made)
    assert made.json["qr_svg"].startswith("<svg")
    assert row(desk, officer)["standing"] == "waiting"
    assert code not in desk.get(PHONES, limit=200).text
    with world.owner.connect() as connection:
        assert (
            connection.scalar(text("select count(*) from devices where officer_id = :id"), {"id": officer.id})
            == 0
        )

    opened = caller.post(OPEN, {"code": code})
    assert (opened.status_code, opened.json["protocol"]) == (200, protocol)
    assert (opened.json["login"] == officer.login) == (protocol is Protocol.OFFICER)
    assert "access_token" not in opened.json
    again = caller.post(OPEN, {"code": code})
    assert (again.status_code, again.json["code"]) == (410, "setup_over")
    assert row(desk, officer)["standing"] == "set_up"
    known = row(desk, officer)["devices"]
    assert [one["protocol"] for one in known] == ([] if protocol is Protocol.OFFICER else [protocol])
    if protocol is not Protocol.OSMAND:
        return
    # The phone reports: on shift, by what the code gave it.
    start(signed_in(officer))
    lon, lat = world.here.place()
    fix = {
        "id": opened.json["app"]["id"],
        "lat": lat,
        "lon": lon,
        "timestamp": int(datetime.now(UTC).timestamp()) + 1,
    }
    assert caller.send("POST", "/gateway/osmand", query_string=fix).status_code == 200
    assert row(desk, officer)["standing"] == "reported"


def test_a_code_is_over_when_another_is_made_its_time_is_up_or_its_officer_is_gone(
    world: World, signed_in: Any, caller: Caller
) -> None:
    """F41: and only for officers of one's own areas; what is wrong with a code is not told."""
    officer, desk = world.officer(), signed_in("supervisor_a")
    wanted = {"officer_id": str(officer.id), "protocol": "osmand"}
    first = code_of(desk.post(PHONES, wanted))
    second = code_of(desk.post(PHONES, wanted))
    with world.owner.begin() as connection:
        connection.execute(
            text("update phone_setups set expires_at = now() where officer_id = :id and used_at is null"),
            {"id": officer.id},
        )
    assert row(desk, officer)["standing"] == "expired"
    third = code_of(desk.post(PHONES, wanted))
    with world.owner.begin() as connection:
        connection.execute(
            text("update users set state = 'disabled', disabled_at = now() where id = :id"),
            {"id": officer.id},
        )
    other_town = world.there.id.hex + third[32:]
    for over in (first, second, third, other_town, "z" * 75, third[:-1] + "x"):
        refused = caller.post(OPEN, {"code": over})
        assert (refused.status_code, refused.json["code"]) == (410, "setup_over"), over
    elsewhere = world.officer("b")
    assert desk.post(PHONES, wanted | {"officer_id": str(elsewhere.id)}).status_code == 404
    assert desk.get(PHONES, officer_id=str(elsewhere.id)).json["items"] == []
    assert str(elsewhere.id) not in desk.get(PHONES, limit=200).text
    assert signed_in(elsewhere).get(PHONES).status_code == 403


def test_of_codes_that_are_made_at_once_one_is_good(world: World) -> None:
    officer, at_once = world.officer(), Barrier(4)

    def make() -> None:
        with unit_of_work(world.here.id) as uow:
            at_once.wait(20)
            phones.hand_over(
                uow, world.here["supervisor_a"].actor(), officer.id, Protocol.OSMAND, command_id=new_id()
            )

    with ThreadPoolExecutor(4) as pool:
        for made in [pool.submit(make) for _ in range(4)]:
            made.result(30)
    good = (
        "select count(*), count(*) filter (where expires_at > now()) from phone_setups where officer_id = :id"
    )
    with world.owner.connect() as connection:
        assert connection.execute(text(good), {"id": officer.id}).one() == (4, 1)
