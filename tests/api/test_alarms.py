"""Alarms at the API: what the desk is told of those that the watchdog raises."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from backend.core.ids import new_id
from backend.core.uow import unit_of_work
from backend.core.vocabulary import AlarmKind
from backend.models import Shift
from tests.api.conftest import World
from tests.api.test_tasks import Duty
from tests.workflows.test_deviations import Phone
from workflows import watchdog
from workflows.outages import Fall
from workflows.watchdog import Raise

ALARMS = "/api/v1/desk/alarms"


@pytest.fixture
def duty(world: World, signed_in: Any) -> Duty:
    return Duty(world, signed_in)


def test_the_desk_reads_who_goes_away_from_which_task(duty: Duty, world: World, signed_in: Any) -> None:
    task = duty.offered()
    with unit_of_work(world.here.id) as uow:
        phone = Phone(uow, world.here, uow.session.get_one(Shift, UUID(duty.shift["id"])), new_id())
        phone.measure(190)
    for action in ("accept", "depart"):
        assert duty.press(task, action).status_code == 200
    bounds = watchdog.Bounds(silent_after=timedelta(hours=1))
    with unit_of_work(world.here.id) as uow:
        for seconds in (10, 70, 130):
            replace(phone, uow=uow).measure(760, at=uow.now + timedelta(seconds=seconds))
        uow.now += timedelta(seconds=140)
        [change] = [
            one
            for one in watchdog.look(uow, bounds)
            if isinstance(one, Raise)
            and one.kind is AlarmKind.DEVIATION
            and one.officer.officer_id == duty.person.id
        ]
        assert watchdog.act(uow, change)
    [alarm] = [
        one
        for one in duty.desk.get(ALARMS, kind="deviation").json["items"]
        if one["source_id"] == str(duty.person.id)
    ]
    assert alarm["officer"]["id"] == str(duty.person.id)
    assert (alarm["way"]["task_id"], alarm["way"]["task_number"]) == (task["id"], task["number"])
    assert (round(alarm["way"]["began_m"], -1), round(alarm["way"]["now_m"], -1)) == (190, 760)
    assert (alarm["outage"], alarm["task_id"]) == (None, None)
    assert alarm["actions"] == ["acknowledge", "dispatch", "dismiss"]
    assert signed_in("desk_b").get(f"{ALARMS}/{alarm['id']}").status_code == 404


def test_the_desk_reads_how_many_fell_silent_and_no_other_desk_does(world: World, signed_in: Any) -> None:
    area_id = world.here.areas["a"]
    with unit_of_work(world.here.id) as uow:
        since = uow.now - timedelta(minutes=11)
        assert watchdog.act(uow, Fall(area_id, since, 12, 14))
    desk = signed_in("desk_a")
    [alarm] = desk.get(ALARMS, kind="outage", open="true").json["items"]
    assert (alarm["source"], alarm["source_id"], alarm["area"]["id"]) == ("area", str(area_id), str(area_id))
    assert (alarm["officer"], alarm["place"], alarm["way"]) == (None, None, None)
    assert (alarm["outage"]["silent"], alarm["outage"]["on_shift"]) == (12, 14)
    assert alarm["outage"]["since"].startswith(since.strftime("%Y-%m-%dT%H:%M:%S"))
    assert signed_in("desk_b").get(f"{ALARMS}/{alarm['id']}").status_code == 404
    assert signed_in("desk_b").post(f"{ALARMS}/{alarm['id']}/dismiss", {"reason": "演练"}).status_code == 404
    sent = desk.post(f"{ALARMS}/{alarm['id']}/dispatch", {})
    assert sent.status_code == 422, "nobody knows where it is: the desk says where people are to go"
    gone = desk.post(f"{ALARMS}/{alarm['id']}/dismiss", {"reason": "演练"})
    assert (gone.status_code, gone.json["state"]) == (200, "false")
