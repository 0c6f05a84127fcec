"""A call for help at the API: pressed again it is one alarm, and nothing that somebody else used up refuses it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from sqlalchemy import text

from mobile_api import endpoint
from mobile_api.limits import Limit
from tests.api.conftest import Caller, World
from tests.api.test_isolation import _caller as by_code

ROUTES = {"officer": "officer-sos.sos_call_for_help", "resident": "resident-sos.sos_call_for_help"}
ALARMS = "/api/v1/desk/alarms"


class Phone:
    """Somebody who calls for help, and the desk that sees it."""

    def __init__(self, world: World, signed_in: Any, audience: str) -> None:
        self.path = f"/api/v1/{audience}/sos"
        self.caller: Caller = (
            signed_in(world.officer()) if audience == "officer" else by_code(world, world.here["resident"])
        )
        self.desk: Caller = signed_in("desk_a")
        self.lon, self.lat = world.here.place()

    def press(self, east: float | None = None, **more: Any) -> Any:
        """Press, so many degrees east of the community's place; without it, not knowing where."""
        return self.caller.post(self.path, self.body(east, **more))

    def body(self, east: float | None = None, **more: Any) -> dict[str, Any]:
        """What a press says."""
        if east is not None:
            more["place"] = {
                "lon": self.lon + east, "lat": self.lat, "accuracy_m": 5,
                "fixed_at": datetime.now(UTC).isoformat(),
            }  # fmt: skip
        return more

    def end(self) -> None:
        """Let the desk say that there is nothing to it."""
        for alarm in self.desk.get(ALARMS, open="true", kind="sos").json["items"]:
            self.desk.post(f"{ALARMS}/{alarm['id']}/dismiss", {"reason": "误触"})


@pytest.fixture(params=ROUTES)
def phone(request: pytest.FixtureRequest, world: World, signed_in: Any) -> Iterator[Phone]:
    made = Phone(world, signed_in, request.param)
    made.end()
    yield made
    made.end()


def limited(monkeypatch: pytest.MonkeyPatch, limit: str, spare: str) -> None:
    for name in ROUTES.values():
        policy = replace(endpoint.POLICIES[name], limit=Limit(limit), spare=Limit(spare))
        monkeypatch.setitem(endpoint.POLICIES, name, policy)


def test_however_fast_it_is_pressed_it_is_one_alarm_at_the_newest_place_and_costs_little(
    world: World, phone: Phone
) -> None:
    """Ten presses in ten seconds are acts; the others take the newer place and are told to nobody."""
    with time_machine.travel(datetime.now(UTC), tick=False) as clock:
        told = []
        for n in range(40):
            clock.shift(0.1)
            told.append(phone.press(n * 1e-5))
    assert {one.status_code for one in told} == {201}
    [alarm_id] = {one.json["id"] for one in told}
    versions = [one.json["version"] for one in told]
    assert versions == sorted(set(versions)), "each took the place"
    shown = phone.desk.get(f"{ALARMS}/{alarm_id}").json
    assert shown["place"]["lon"] == pytest.approx(phone.lon + 39e-5)
    with world.owner.begin() as connection:
        acts = connection.execute(
            text("select action from journal where subject_id = :id order by at, id"), {"id": alarm_id}
        ).scalars()
        assert list(acts) == ["raise"] + ["call_again"] * 9
        jobs = (
            "select count(*) from jobs.procrastinate_jobs where args ->> 'alarm_id' = :id and status = 'todo'"
        )
        assert connection.execute(text(jobs), {"id": alarm_id}).scalar_one() == 1


def test_a_press_beyond_the_limit_that_is_sent_again_calls_nobody_anew_and_moves_nothing_back(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F02: its answer was lost; meanwhile the call went on to another place, and was ended."""
    limited(monkeypatch, "1/minute", "100/minute")
    first, key, said = phone.press(0), uuid.uuid4(), phone.body(1e-5, note="三楼")
    lost = phone.caller.post(phone.path, said, key=key)
    assert (lost.status_code, lost.json["id"]) == (201, first.json["id"])
    assert phone.press(2e-5).status_code == 201
    assert phone.caller.post(phone.path, said, key=key).json == lost.json
    shown = phone.desk.get(f"{ALARMS}/{first.json['id']}").json
    assert shown["place"]["lon"] == pytest.approx(phone.lon + 2e-5)
    assert shown["note"] == "三楼", "what was said with it is not lost"
    other = phone.caller.post(phone.path, phone.body(3e-5), key=key)
    assert (other.status_code, other.json["code"]) == (422, "key_reused")
    phone.end()
    assert phone.caller.post(phone.path, said, key=key).json == lost.json
    assert phone.caller.get(phone.path).json["items"][0]["state"] == "false"


def test_a_press_beyond_the_limit_is_an_act_when_no_call_stands(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, "1/minute", "100/minute")
    first = phone.press(0)
    assert phone.press(0).json["id"] == first.json["id"]
    phone.end()
    anew = phone.press(0)
    assert (anew.status_code, anew.json["state"]) == (201, "raised")
    assert anew.json["id"] != first.json["id"]


def test_who_floods_is_refused_in_the_end_and_nobody_else_with_him(
    world: World, signed_in: Any, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, "2/minute", "3/minute")
    told = [phone.press() for _ in range(7)]
    assert [one.status_code for one in told] == [201] * 5 + [429] * 2
    assert int(told[-1].headers["Retry-After"]) > 0
    other = Phone(world, signed_in, "officer")
    assert other.press().status_code == 201


def test_what_others_of_an_address_or_other_acts_used_up_refuses_no_call(
    world: World, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F52: a token that ran out is told so, and is renewed at once; it is not told to wait for its neighbours."""
    limited(monkeypatch, "3/minute", "3/minute")
    stranger = Caller(world.app, phone.caller.address)
    stranger.headers["Authorization"] = "Bearer of.another.place"
    other_act = phone.path.replace("sos", "notices/read")
    with time_machine.travel(datetime.now(UTC), tick=False):
        told = [stranger.post(phone.path, {}).status_code for _ in range(20)]
        assert told == [401] * 20
        busy = [phone.caller.post(other_act, {}).status_code for _ in range(121)]
        assert busy == [422] * 120 + [429]
        assert phone.press().status_code == 201


def test_a_resident_reads_that_the_desk_has_seen_his_call_and_an_officer_who_there(
    world: World, phone: Phone
) -> None:
    """P22, F45: whoever sits at the desk is a colleague to officers; to everybody else the desk answers."""
    called = phone.press(0).json
    assert called["acknowledged_by"] is None
    taken = phone.desk.post(f"{ALARMS}/{called['id']}/acknowledge").json
    who = world.here["desk_a"]
    [mine, *_] = phone.caller.get(phone.path).json["items"]
    assert mine["acknowledged_at"] == taken["acknowledged_at"]
    name = taken["acknowledged_by"]["display_name"]
    if "officer" in phone.path:
        assert mine["acknowledged_by"] == {"id": str(who.id), "display_name": name}
    else:
        assert mine["acknowledged_by"] == "desk"
        assert not {str(who.id), name} & set(str(mine).split("'"))
