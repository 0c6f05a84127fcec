"""Alarms: raised once, acknowledged by name, escalated by the clock, ended with their cause."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine, func, select, text
from sqlalchemy.pool import NullPool

from backend.core.config import Config
from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, WrongState
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import AlarmKind, AlarmSource, AlarmState, Due
from backend.models import Alarm, Deadline, Journal, LatestPosition, Notice, Shift
from geo.fixes import Flag
from tests import factories
from tests.factories import Person, Town
from workflows import access, alarms, deadlines, dispatching, shifts, watchdog
from workflows.alarms import ALARM, Place

LIMITS = shifts.Limits(longest=timedelta(hours=14), grace=timedelta(minutes=30))
BOUNDS = watchdog.Bounds(silent_after=timedelta(minutes=10))
ACTS = {"alarm": alarms.see_to}


def watch(uow: UnitOfWork) -> int:
    """One round of the watchdog; how many alarms it raised or ended."""
    return sum(watchdog.act(uow, change) for change in watchdog.look(uow, BOUNDS))


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"alarms-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


def on_shift(uow: UnitOfWork, person: Person) -> Shift:
    return shifts.start(uow, person.actor(), command_id=new_id(), limits=LIMITS)


def seen_at(
    uow: UnitOfWork,
    shift: Shift,
    town: Town,
    *,
    ago: timedelta = timedelta(0),
    area: str = "a",
    battery_pct: float | None = 80.0,
    charging: bool | None = False,
) -> None:
    """Put the officer's newest position there, and a fix of that time and place behind it."""
    lon, lat = town.place(area)
    device_id = new_id()
    at = uow.now - ago
    uow.session.execute(
        text("delete from latest_positions where officer_id = :officer"), {"officer": shift.officer_id}
    )
    row = {
        "officer": shift.officer_id, "town": town.id, "shift": shift.id, "room": shift.area_id, "device": device_id,
        "area": town.areas[area], "lon": lon, "lat": lat, "at": at, "battery": battery_pct, "charging": charging,
    }  # fmt: skip
    uow.session.execute(
        text(
            "insert into latest_positions (officer_id, town_id, shift_id, room_id, device_id, area_id, geom, fixed_at,"
            " received_at, battery_pct, charging) values (:officer, :town, :shift, :room, :device, :area,"
            " ST_SetSRID(ST_MakePoint(:lon, :lat), 4326)::geography, :at, :at, :battery, :charging)"
        ),
        row,
    )
    uow.session.execute(
        text(
            "insert into fixes (town_id, device_id, fixed_at, seq, shift_id, area_id, geom, received_at)"
            " values (:town, :device, :at, 0, :shift, :area, ST_SetSRID(ST_MakePoint(:lon, :lat), 4326), :at)"
        ),
        row,
    )


def help_of(uow: UnitOfWork, person: Person, **more: Any) -> Alarm:
    return alarms.call_for_help(uow, person.actor(), command_id=new_id(), **more)


def journalled(uow: UnitOfWork, alarm_id: UUID) -> list[str]:
    return list(
        uow.session.scalars(
            select(Journal.action).where(Journal.subject_id == alarm_id).order_by(Journal.at, Journal.id)
        )
    )


# --- Raising


def test_a_call_for_help_is_one_alarm_however_often_the_button_is_pressed(
    here: UnitOfWork, town: Town
) -> None:
    officer = town["officer_a"]
    on_shift(here, officer)
    lon, lat = town.place()
    first = help_of(here, officer, place=Place(lon, lat, 20.0, here.now))
    again = help_of(here, officer, place=Place(lon + 0.001, lat, 5.0, here.now + timedelta(seconds=5)))
    assert again.id == first.id
    assert again.state == AlarmState.RAISED
    place = alarms.place_of(again)
    assert place is not None
    assert (round(place.lon, 6), place.accuracy_m) == (round(lon + 0.001, 6), 5.0)
    assert journalled(here, first.id) == ["raise", "call_again"]
    jobs = here.session.execute(
        text("select args from jobs.procrastinate_jobs where task_name = :name"), {"name": alarms.IN_DISTRESS}
    ).scalars()
    assert [job["alarm_id"] for job in jobs if job["alarm_id"] == str(first.id)] == [str(first.id)]


def test_an_older_place_does_not_replace_a_newer_one(here: UnitOfWork, town: Town) -> None:
    lon, lat = town.place()
    first = help_of(here, town["officer_a"], place=Place(lon, lat, 20.0, here.now))
    again = help_of(here, town["officer_a"], place=Place(0.5, 0.5, 5.0, here.now - timedelta(minutes=5)))
    place = alarms.place_of(again)
    assert again.id == first.id
    assert place is not None
    assert round(place.lon, 6) == round(lon, 6)


def test_of_places_of_an_unknown_time_the_one_that_was_told_later_is_newer(
    here: UnitOfWork, town: Town
) -> None:
    """A press may have waited on the phone while later ones came through."""
    who, (lon, lat), began = town["resident"], town.place(), here.now

    def east_of(alarm: Alarm | None) -> int:
        place = alarms.place_of(alarm) if alarm is not None else None
        assert place is not None
        return round((place.lon - lon) * 1000)

    def at(seconds: int) -> datetime:
        return began + timedelta(seconds=seconds)

    def place(east: int, fixed_at: datetime | None = None) -> Place:
        return Place(lon + east / 1000, lat, 20.0, fixed_at)

    help_of(here, who, place=place(1), device_at=began)
    here.now = at(60)
    assert east_of(help_of(here, who, place=place(2), device_at=at(50))) == 2
    assert east_of(help_of(here, who, place=place(3, at(40)))) == 2, "measured before the last was told"
    assert east_of(alarms.press_again(here, who.actor(), place=place(3, at(40)))) == 2
    assert east_of(help_of(here, who, place=place(4), device_at=at(45))) == 2, "told before it"
    assert east_of(help_of(here, who, place=place(5, at(55)))) == 5
    assert east_of(alarms.press_again(here, who.actor(), place=place(6), device_at=at(52))) == 5
    assert east_of(alarms.press_again(here, who.actor(), place=place(6))) == 6, "told at this moment"
    here.now = at(70)
    wrong = began - timedelta(days=4000)
    assert east_of(help_of(here, who, place=place(7), device_at=wrong)) == 7, "F20: no phone waits for years"


@pytest.mark.parametrize("person", ["officer_a", "resident"])
def test_presses_too_fast_to_be_told_of_take_the_newer_place_and_leave_nothing_else(
    here: UnitOfWork, town: Town, person: str
) -> None:
    who = town[person]
    lon, lat = town.place()
    assert alarms.press_again(here, who.actor(), place=Place(lon, lat)) is None, "nothing stands"
    raised = help_of(here, who, place=Place(lon, lat, 20.0, here.now))
    version = raised.version
    here.now += timedelta(seconds=1)
    older = Place(lon + 0.1, lat, 5.0, here.now - timedelta(minutes=5))
    for place in (None, older):
        same = alarms.press_again(here, who.actor(), place=place)
        assert same is not None
        assert (same.id, same.version) == (raised.id, version)
    moved = alarms.press_again(here, who.actor(), place=Place(lon + 0.001, lat, 5.0, here.now))
    assert moved is not None
    place = alarms.place_of(moved)
    assert place is not None
    assert (round(place.lon, 6), moved.version) == (round(lon + 0.001, 6), version + 1)
    assert journalled(here, raised.id) == ["raise"]
    assert alarms.press_again(here, town["resident2"].actor(), place=None) is None, "his own alone"


def test_the_desk_and_who_is_on_the_way_hear_of_a_place_that_was_pressed_too_fast(
    here: UnitOfWork, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen_at(here, on_shift(here, town["officer_a2"]), town)
    lon, lat = town.place()
    raised = help_of(here, town["resident"], place=Place(lon, lat, 20.0, here.now))
    dispatching.send_to_sos(here, raised.id)
    here.now += timedelta(seconds=1)
    alarms.press_again(here, town["resident"].actor(), place=Place(lon + 0.001, lat, 5.0, here.now))
    heard: list[Any] = []
    monkeypatch.setattr(here, "notify_each", lambda channel, messages: heard.extend(messages))
    task_id = dispatching.send_to_sos(here, raised.id)
    assert {(one["kind"], one["action"], one["id"]) for one in heard} >= {
        ("task", "move", task_id), ("alarm", "call_again", raised.id),
    }  # fmt: skip
    heard.clear()
    dispatching.send_to_sos(here, raised.id)
    assert heard == [], "nothing has moved since"


@pytest.mark.parametrize("knows_where", [True, False])
def test_the_last_of_many_notes_is_announced_once_and_none_of_the_others(
    here: UnitOfWork, town: Town, monkeypatch: pytest.MonkeyPatch, knows_where: bool
) -> None:
    """Two notes in turns would else be told to everybody concerned as often as somebody can press."""
    who = town["resident"]
    lon, lat = town.place()
    raised = help_of(here, who, place=Place(lon, lat, 20.0, here.now) if knows_where else None)
    dispatching.send_to_sos(here, raised.id)
    jobs: list[tuple[str, datetime]] = []
    monkeypatch.setattr(
        alarms.jobs, "enqueue", lambda uow, name, **given: jobs.append((given["once"], given["at"]))
    )
    heard: list[Any] = []
    monkeypatch.setattr(here, "notify_each", lambda channel, messages: heard.extend(messages))
    told_before = here.session.scalar(select(func.count()).select_from(Notice))
    for note in ["三楼", "四楼"] * 20:
        alarm = alarms.press_again(here, who.actor(), place=None, note=note)
        assert alarm is not None
        assert alarm.detail["note"] == note, "whoever looks reads it at once"
    assert heard == []
    [(_, at)] = set(jobs)
    assert at == here.now + alarms.TURN_AFTER, "one job for all of them"
    for _ in range(2):
        dispatching.send_to_sos(here, raised.id)
    assert [(one["kind"], one["action"], one["id"]) for one in heard] == [("alarm", "call_again", raised.id)]
    assert here.session.scalar(select(func.count()).select_from(Notice)) == told_before
    assert alarms.read(here, raised.id).detail["note"] == "四楼"


def test_a_call_that_has_ended_before_its_last_note_was_told_is_not_heard_anew(
    here: UnitOfWork, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = town["resident"]
    raised = help_of(here, who, place=None)
    for note in ["三楼", "四楼"] * 10:
        alarms.press_again(here, who.actor(), place=None, note=note)
    alarms.dismiss(here, town["desk_a"].actor(), raised.id, command_id=new_id(), reason="误触")
    heard: list[Any] = []
    monkeypatch.setattr(here, "notify_each", lambda channel, messages: heard.extend(messages))
    dispatching.send_to_sos(here, raised.id)
    assert heard == []
    assert alarms.read(here, raised.id).detail["note"] == "四楼"


@pytest.mark.parametrize("person", ["officer_a", "resident"])
def test_a_phone_whose_clock_is_years_ahead_shuts_out_no_later_place(
    here: UnitOfWork, town: Town, person: str
) -> None:
    """F20: what was measured in the future was measured at an unknown time."""
    lon, lat = town.place()
    later = here.now + timedelta(days=2000)
    first = help_of(here, town[person], place=Place(lon, lat, 20.0, later), device_at=later)
    known = alarms.place_of(first)
    assert known is not None
    assert known.fixed_at is None
    assert first.raised_device_at == later, "what the phone's clock said is kept"
    here.now += timedelta(seconds=20)
    true = Place(lon + 0.001, lat, 5.0, here.now - timedelta(seconds=1))
    place = alarms.place_of(help_of(here, town[person], place=true))
    assert place is not None
    assert (round(place.lon, 6), place.fixed_at) == (round(lon + 0.001, 6), true.fixed_at)


def test_a_place_that_follows_the_call_is_taken_and_people_are_sent_to_it(
    here: UnitOfWork, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A phone calls first and locates itself then; it may know a place from just before the call."""
    sent: list[str] = []
    monkeypatch.setattr(alarms.jobs, "enqueue", lambda uow, name, **given: sent.append(given["alarm_id"]))
    lon, lat = town.place()
    call = help_of(here, town["resident"])
    assert (alarms.place_of(call), sent) == (None, [str(call.id)])
    help_of(here, town["resident"])
    assert sent == [str(call.id)], "calling again without a place changes nothing"
    known = Place(lon, lat, 20.0, here.now - timedelta(seconds=10))
    place = alarms.place_of(help_of(here, town["resident"], place=known))
    assert place is not None
    assert (round(place.lon, 6), place.fixed_at) == (round(lon, 6), known.fixed_at)
    assert sent == [str(call.id)] * 2
    dispatching.send_to_sos(here, call.id)
    help_of(here, town["resident"], place=Place(lon, lat, 5.0, here.now))
    assert sent == [str(call.id)] * 3, "who was sent is to turn there"
    older = Place(lon + 0.01, lat, 5.0, here.now - timedelta(seconds=60))
    place = alarms.place_of(help_of(here, town["resident"], place=older))
    assert place is not None
    assert round(place.lon, 6) == round(lon, 6), "an older place turns nobody"
    assert sent == [str(call.id)] * 4, "nobody comes, so somebody is looked for again"


def test_a_call_without_a_place_is_where_he_was_last(here: UnitOfWork, town: Town) -> None:
    officer = town["officer_a"]
    seen_at(here, on_shift(here, officer), town, ago=timedelta(seconds=30))
    place = alarms.place_of(help_of(here, officer))
    assert place is not None
    assert place.fixed_at == here.now - timedelta(seconds=30)
    assert alarms.place_of(help_of(here, town["officer_b"])) is None, "off shift there is no last place"


def test_an_officer_off_shift_and_a_resident_may_call_and_their_own_desk_sees_it(
    here: UnitOfWork, town: Town
) -> None:
    """P21, F41: off shift by his own act alone; the desk of another area sees neither."""
    for person in (town["officer_a"], town["resident"]):
        called = help_of(here, person, note="门口有人持刀")
        assert access.alarm(here, town["desk_a"].actor(), called.id).id == called.id
        assert access.alarm(here, person.actor(), called.id).id == called.id
        for stranger in ("desk_b", "officer_b", "resident2", "auditor"):
            with pytest.raises(NotVisible):
                access.alarm(here, town[stranger].actor(), called.id)


def test_who_has_neither_part_may_not_call(here: UnitOfWork, town: Town) -> None:
    with pytest.raises(Forbidden):
        help_of(here, town["handler"])


def test_somebody_elses_id_is_taken(here: UnitOfWork, town: Town) -> None:
    first = help_of(here, town["officer_a"])
    with pytest.raises(Conflict) as refused:
        help_of(here, town["officer_b"], alarm_id=first.id)
    assert refused.value.code == "id_taken"


def test_many_who_raise_at_once_raise_one(live_config: Config, live_engine: Engine, thin: Any) -> None:
    """A storm about one source collapses into one alarm, and nobody waits for ever."""
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    town = factories.make_town(owner, "storm")
    owner.dispose()
    count = thin(32, 8)
    gate = Barrier(count)

    def call(_: int) -> UUID:
        gate.wait()
        with unit_of_work(town.id) as uow:
            return help_of(uow, town["officer_a"]).id

    with ThreadPoolExecutor(count) as pool:
        found = set(pool.map(call, range(count)))
    assert len(found) == 1
    with unit_of_work(town.id) as uow:
        assert uow.session.scalar(select(func.count()).select_from(Alarm)) == 1
        numbers = [uow.session.get_one(Alarm, found.pop()).number, help_of(uow, town["officer_b"]).number]
        assert numbers == [1, 2], "the numbers that people say have no gaps"


def test_a_cleared_alarm_makes_room_for_the_next(here: UnitOfWork, town: Town) -> None:
    first = help_of(here, town["officer_a"])
    alarms.dismiss(here, town["desk_a"].actor(), first.id, command_id=new_id(), reason="误触")
    second = help_of(here, town["officer_a"])
    assert second.id != first.id
    assert second.number > first.number


# --- The desk


def test_an_alarm_is_acknowledged_once_and_by_name(here: UnitOfWork, town: Town) -> None:
    raised = help_of(here, town["officer_a"])
    desk, supervisor = town["desk_a"].actor(), town["supervisor"].actor()
    done = alarms.acknowledge(here, desk, raised.id, command_id=new_id())
    assert done.acknowledger is not None
    assert (done.state, done.acknowledger.id) == (AlarmState.ACKNOWLEDGED, town["desk_a"].id)
    with pytest.raises(WrongState) as late:
        alarms.acknowledge(here, supervisor, raised.id, command_id=new_id())
    assert late.value.extra["current"] == AlarmState.ACKNOWLEDGED
    assert "dispatch" in late.value.extra["actions"]


def test_a_command_that_is_sent_again_acknowledges_once(here: UnitOfWork, town: Town) -> None:
    raised, command = help_of(here, town["officer_a"]), new_id()
    for _ in range(2):
        alarms.acknowledge(here, town["desk_a"].actor(), raised.id, command_id=command)
    assert journalled(here, raised.id).count("acknowledge") == 1


def test_who_called_cannot_handle_his_own_call_nor_can_a_desk_elsewhere(here: UnitOfWork, town: Town) -> None:
    """F42: nor who is both, an officer here and a dispatcher there."""
    raised = help_of(here, town["officer_a"])
    caller, other_desk = town["officer_a"].actor(), town["desk_b"].actor()
    also_at_a_desk = Actor(
        caller.user_id, town.id, memberships=(*caller.memberships, *other_desk.memberships)
    )
    for actor in (caller, other_desk, also_at_a_desk):
        with pytest.raises(NotVisible):
            alarms.acknowledge(here, actor, raised.id, command_id=new_id())
    assert alarms.seen(here, also_at_a_desk, raised.id).id == raised.id


def test_dismissing_takes_a_reason(here: UnitOfWork, town: Town) -> None:
    raised = help_of(here, town["officer_a"])
    with pytest.raises(Invalid):
        alarms.dismiss(here, town["desk_a"].actor(), raised.id, command_id=new_id(), reason="")
    done = alarms.dismiss(here, town["desk_a"].actor(), raised.id, command_id=new_id(), reason="误触")
    assert done.state == AlarmState.FALSE
    assert ALARM.actions(town["desk_a"].actor(), done) == []


# --- The ladder


def test_what_nobody_acknowledges_climbs_and_what_somebody_does_stays(
    here: UnitOfWork, town: Town, time_machine: Any
) -> None:
    climbing, taken = help_of(here, town["officer_a"]), help_of(here, town["officer_b"])
    alarms.acknowledge(here, town["desk_b"].actor(), taken.id, command_id=new_id())
    rungs = deadlines.rungs(here, "alarm.sos")
    start = here.now
    for level, (after_s, _) in enumerate(rungs[1:], 1):
        here.now = start + timedelta(seconds=after_s - 1)
        deadlines.see_to(here, ACTS)
        assert here.session.get_one(Alarm, climbing.id).level == level - 1
        here.now = start + timedelta(seconds=after_s + 1)
        assert deadlines.see_to(here, ACTS) == 1
        assert here.session.get_one(Alarm, climbing.id).level == level
    assert here.session.get_one(Alarm, taken.id).level == 0
    here.now = start + timedelta(days=1)
    assert deadlines.see_to(here, ACTS) == 0
    assert journalled(here, climbing.id) == ["raise", *["escalate"] * (len(rungs) - 1)]


def test_the_ladder_is_the_towns_own_data(here: UnitOfWork, town: Town) -> None:
    here.session.execute(
        text(
            "insert into ladder_rungs values (:town, 'alarm.sos', 0, 0, 'dispatcher'),"
            " (:town, 'alarm.sos', 1, 5, 'supervisor')"
        ),
        {"town": town.id},
    )
    raised = help_of(here, town["officer_a"])
    waiting = here.session.scalars(select(Deadline).where(Deadline.subject_id == raised.id)).one()
    assert (waiting.about, waiting.due_at) == (Due.ESCALATE, here.now + timedelta(seconds=5))


@pytest.fixture
def quiet_town(live_config: Config, live_engine: Engine) -> Iterator[Town]:
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    yield factories.make_town(owner, "clock")
    owner.dispose()


def test_two_workers_and_a_restart_escalate_once(quiet_town: Town, live_engine: Engine) -> None:
    """The clock's work is a row: what a killed worker had begun is due again, what is done is done once."""
    with unit_of_work(quiet_town.id) as uow:
        raised = help_of(uow, quiet_town["officer_a"])
        uow.session.execute(text("update deadlines set due_at = now() - interval '1 second'"))
    with pytest.raises(RuntimeError, match="killed"), unit_of_work(quiet_town.id) as uow:
        assert deadlines.see_to(uow, ACTS) == 1
        raise RuntimeError("killed")
    gate = Barrier(4)

    def tick(_: int) -> int:
        gate.wait()
        with unit_of_work(quiet_town.id) as uow:
            return deadlines.see_to(uow, ACTS)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(tick, range(4))) == 1
    with unit_of_work(quiet_town.id) as uow:
        assert uow.session.get_one(Alarm, raised.id).level == 1
        assert journalled(uow, raised.id) == ["raise", "escalate"]


def test_the_clock_does_not_wait_for_whoever_has_an_alarm_in_hand(
    quiet_town: Town, live_engine: Engine
) -> None:
    """He ends the deadline that the clock holds: if the clock waited for him as well, neither would come to an end."""
    with unit_of_work(quiet_town.id) as uow:
        raised = help_of(uow, quiet_town["officer_a"])
        uow.session.execute(text("update deadlines set due_at = now() - interval '1 second'"))
    in_hand, looked = Barrier(2), Barrier(2)

    def take_on() -> None:
        with unit_of_work(quiet_town.id) as uow:
            access.alarm(uow, quiet_town["desk_a"].actor(), raised.id, verb="handle", lock=True)
            in_hand.wait(20)
            looked.wait(20)
            alarms.acknowledge(uow, quiet_town["desk_a"].actor(), raised.id, command_id=new_id())

    with ThreadPoolExecutor(1) as pool:
        acknowledged = pool.submit(take_on)
        in_hand.wait(20)
        with unit_of_work(quiet_town.id) as uow:
            uow.session.execute(text("set local lock_timeout = '5s'"))
            assert deadlines.see_to(uow, ACTS) == 0
            looked.wait(20)
        acknowledged.result(20)
    with unit_of_work(quiet_town.id) as uow:
        assert journalled(uow, raised.id) == ["raise", "acknowledge"]
        assert deadlines.see_to(uow, ACTS) == 0


def test_an_act_that_fails_stays_due_and_stops_no_other(
    here: UnitOfWork, town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    failing, fine = help_of(here, town["officer_a"]), help_of(here, town["officer_b"])
    here.now += timedelta(hours=1)

    def act(uow: UnitOfWork, deadline: Deadline) -> None:
        alarms.see_to(uow, deadline)
        if deadline.subject_id == failing.id:
            raise RuntimeError("broken")

    assert deadlines.see_to(here, {"alarm": act}) == 1
    assert [str(failing.id) in told.getMessage() for told in caplog.records] == [True], (
        "somebody has to mend it"
    )
    levels = {
        a.id: a.level for a in here.session.scalars(select(Alarm).execution_options(populate_existing=True))
    }
    assert (levels[failing.id], levels[fine.id]) == (0, 1)
    waiting = select(Deadline).where(Deadline.subject_id == failing.id, Deadline.done_at.is_(None))
    again = here.session.scalars(waiting.execution_options(populate_existing=True)).one()
    assert (again.level, again.due_at) == (1, here.now + deadlines.AGAIN_AFTER)
    here.now += deadlines.AGAIN_AFTER
    assert deadlines.see_to(here, ACTS) == 2, "it is tried again, beside the next rung of the other"


def test_what_always_fails_keeps_nothing_else_from_its_turn(here: UnitOfWork, town: Town) -> None:
    for _ in range(deadlines.AT_ONCE):
        deadlines.put(here, "broken", new_id(), Due.ACCEPT, here.now - timedelta(hours=1))
    raised = help_of(here, town["officer_a"])
    here.now += timedelta(seconds=30)
    rounds = [deadlines.see_to(here, ACTS) for _ in range(2)]
    assert rounds == [0, 1]
    assert alarms.read(here, raised.id).level == 1


# --- The watchdog


def kinds_open(uow: UnitOfWork, person: Person) -> set[str]:
    rows = uow.session.scalars(
        select(Alarm.kind).where(
            Alarm.source_id == person.id,
            Alarm.source == AlarmSource.OFFICER,
            Alarm.state.in_(["raised", "acknowledged"]),
        )
    )
    return set(rows)


def test_silence_on_shift_is_noticed_and_takes_itself_back(here: UnitOfWork, town: Town) -> None:
    officer = town["officer_a"]
    shift = on_shift(here, officer)
    seen_at(here, shift, town)
    start = here.now
    here.now = start + timedelta(minutes=9, seconds=59)
    assert watch(here) == 0
    here.now = start + timedelta(minutes=10, seconds=1)
    assert watch(here) == 1
    assert kinds_open(here, officer) == {AlarmKind.SILENT}
    assert watch(here) == 0, "the clock looks again and raises nothing twice"
    seen_at(here, shift, town)
    assert watch(here) == 1
    assert kinds_open(here, officer) == set()


def test_who_never_sent_anything_is_silent_too_and_who_is_off_shift_is_not_looked_at(
    here: UnitOfWork, town: Town
) -> None:
    """P21."""
    shift = on_shift(here, town["officer_a"])
    here.now += timedelta(minutes=11)
    assert watch(here) == 1
    shifts.end(here, town["officer_a"].actor(), shift.id, command_id=new_id())
    assert watch(here) == 1
    assert kinds_open(here, town["officer_a"]) == set()
    assert kinds_open(here, town["officer_b"]) == set()


def test_what_the_desk_has_dismissed_is_not_raised_again_while_the_silence_lasts(
    here: UnitOfWork, town: Town
) -> None:
    officer = town["officer_a"]
    shift = on_shift(here, officer)
    seen_at(here, shift, town)
    here.now += timedelta(minutes=11)
    watch(here)
    raised = here.session.scalars(select(Alarm).where(Alarm.source_id == officer.id)).one()
    alarms.dismiss(
        here, town["desk_a"].actor(), raised.id, command_id=new_id(), reason="手机没电，已电话联系"
    )
    here.now += timedelta(hours=1)
    assert watch(here) == 0
    seen_at(here, shift, town)
    here.now += timedelta(minutes=31)
    assert watch(here) == 1, "he was heard of, and is silent again"


def test_leaving_the_area_is_noticed_after_minutes_and_coming_back_ends_it(
    here: UnitOfWork, town: Town
) -> None:
    officer = town["officer_a"]
    shift = on_shift(here, officer)
    here.now += timedelta(minutes=10)
    seen_at(here, shift, town, area="a1")
    assert watch(here) == 0, "a compound of the area is in the area"
    seen_at(here, shift, town, area="b")
    assert watch(here) == 1
    assert kinds_open(here, officer) == {AlarmKind.LEFT_AREA}
    seen_at(here, shift, town, area="a")
    assert watch(here) == 1
    assert kinds_open(here, officer) == set()


def test_who_was_outside_and_sends_nothing_for_minutes_is_not_back(here: UnitOfWork, town: Town) -> None:
    officer = town["officer_a"]
    shift = on_shift(here, officer)
    here.now += timedelta(minutes=10)
    seen_at(here, shift, town, area="b")
    assert watch(here) == 1
    here.now += timedelta(minutes=5)
    assert watch(here) == 0
    assert kinds_open(here, officer) == {AlarmKind.LEFT_AREA}
    seen_at(here, shift, town, area="b")
    assert watch(here) == 0
    seen_at(here, shift, town, area="a")
    assert watch(here) == 1


@pytest.mark.parametrize(
    ("flags", "leaves"),
    [(0, False), (Flag.MOCK, True), (Flag.IMPOSSIBLE_SPEED, True), (Flag.INACCURATE, True)],
)
def test_one_fix_inside_among_those_outside_is_not_leaving_if_it_can_be_believed(
    here: UnitOfWork, town: Town, flags: int, leaves: bool
) -> None:
    officer = town["officer_a"]
    shift = on_shift(here, officer)
    here.now += timedelta(minutes=10)
    seen_at(here, shift, town, area="b")
    latest = here.session.scalars(
        select(LatestPosition.device_id).where(LatestPosition.officer_id == officer.id)
    ).one()
    lon, lat = town.place("a")
    here.session.execute(
        text(
            "insert into fixes (town_id, device_id, fixed_at, seq, shift_id, area_id, geom, received_at, flags) values"
            " (:town, :device, :at, 0, :shift, :area, ST_SetSRID(ST_MakePoint(:lon, :lat), 4326), :at, :flags)"
        ),
        {
            "town": town.id, "device": latest, "at": here.now - timedelta(minutes=2), "shift": shift.id,
            "area": town.areas["a"], "lon": lon, "lat": lat, "flags": int(flags),
        },
    )  # fmt: skip
    assert watch(here) == int(leaves)


@pytest.mark.parametrize(
    ("battery_pct", "charging", "expected"),
    [(14.9, False, True), (14.9, None, True), (15.0, False, False), (5.0, True, False), (None, None, False)],
)
def test_a_battery_that_runs_out_is_noticed_unless_it_charges(
    here: UnitOfWork, town: Town, battery_pct: float | None, charging: bool | None, expected: bool
) -> None:
    officer = town["officer_a"]
    shift = on_shift(here, officer)
    seen_at(here, shift, town, battery_pct=battery_pct, charging=charging)
    watch(here)
    assert (AlarmKind.BATTERY_LOW in kinds_open(here, officer)) is expected
    seen_at(here, shift, town, battery_pct=17.0)
    watch(here)
    assert (AlarmKind.BATTERY_LOW in kinds_open(here, officer)) is expected, (
        "between the bounds nothing changes"
    )
    seen_at(here, shift, town, battery_pct=20.0)
    watch(here)
    assert kinds_open(here, officer) == set()


def test_a_desk_sees_the_alarms_of_its_areas_newest_first(here: UnitOfWork, town: Town) -> None:
    """F41."""
    first: datetime = here.now
    raised = []
    for n, name in enumerate(("officer_a", "resident", "officer_b")):
        here.now = first + timedelta(seconds=n)
        raised.append(help_of(here, town[name]).id)
    a, b = town["desk_a"].actor(), town["desk_b"].actor()
    page = alarms.at_desk(here, a, still_open=True, after=None, limit=1)
    assert [alarm.id for alarm in page.items] == [raised[1]]
    assert page.after is not None
    rest = alarms.at_desk(here, a, still_open=True, after=[str(part) for part in page.after], limit=5)
    assert [alarm.id for alarm in rest.items] == [raised[0]]
    assert [alarm.id for alarm in alarms.at_desk(here, b, after=None, limit=5).items] == [raised[2]]
