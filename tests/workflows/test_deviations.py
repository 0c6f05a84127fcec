"""Deviations: who is under way to a task and goes away from it is alarmed about, once, by name, and until he turns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.pool import NullPool

from backend import worker
from backend.core.config import Config
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import AlarmKind, AlarmSource, AlarmState
from backend.models import Alarm, Assignment, Notice, Shift, Task
from geo import queries
from geo.fixes import Flag
from tests import factories
from tests.dispatching import make_task, on_shift, press, share
from tests.factories import Person, Town
from workflows import alarms, dispatching, offering, shifts, tasks, watchdog

BOUNDS = watchdog.Bounds(silent_after=timedelta(minutes=10))
AWAY = 1_310.0
"""Who set out 1,000 m from his task and measures ±5 m is away from here on; 300 m farther is the margin."""


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"ways-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


@dataclass(frozen=True)
class Phone:
    """The phone of an officer on shift; it measures so many metres east of the place of his community."""

    uow: UnitOfWork
    town: Town
    shift: Shift
    device_id: UUID

    def measure(
        self, east_m: float, *, at: datetime | None = None, accuracy_m: float = 5.0, flags: int = 0
    ) -> None:
        """Store a fix; what is not doubtful is where he is now."""
        lon, lat = self.town.place()
        row = {
            "officer": self.shift.officer_id, "town": self.town.id, "shift": self.shift.id,
            "room": self.shift.area_id, "device": self.device_id, "lon": lon, "lat": lat, "away": east_m,
            "at": at or self.uow.now, "accuracy": accuracy_m, "flags": flags,
        }  # fmt: skip
        place = "ST_Project(ST_SetSRID(ST_MakePoint(:lon, :lat), 4326)::geography, :away, radians(90))"
        self.uow.session.execute(
            text(
                "insert into fixes (town_id, device_id, fixed_at, seq, shift_id, area_id, geom, received_at,"
                f" accuracy_m, flags) values (:town, :device, :at, 0, :shift, :room, {place}::geometry, :at,"
                " :accuracy, :flags)"
            ),
            row,
        )
        if not flags:
            self.uow.session.execute(
                text(
                    "insert into latest_positions (officer_id, town_id, shift_id, room_id, area_id, device_id, geom,"
                    " fixed_at, received_at, accuracy_m) values (:officer, :town, :shift, :room, :room, :device,"
                    f" {place}, :at, :at, :accuracy) on conflict (officer_id) do update set geom = excluded.geom,"
                    " fixed_at = excluded.fixed_at, accuracy_m = excluded.accuracy_m"
                ),
                row,
            )

    def walk(self, *legs: tuple[float, float]) -> list[int]:
        """Be somewhere so many seconds later, again and again; what the watchdog changed after each."""
        changed = []
        for seconds, east_m in legs:
            self.uow.now += timedelta(seconds=seconds)
            self.measure(east_m)
            changed.append(watch(self.uow))
        return changed


def watch(uow: UnitOfWork) -> int:
    """One round of the watchdog; how many alarms it raised or ended."""
    uow.session.flush()
    return sum(watchdog.act(uow, change) for change in watchdog.look(uow, BOUNDS))


def phone_of(uow: UnitOfWork, town: Town, person: Person) -> Phone:
    return Phone(uow, town, on_shift(uow, town, person), new_id())


def under_way(
    uow: UnitOfWork, town: Town, person: Person, *, east_m: float = 1_000.0, **more: Any
) -> tuple[Phone, Task]:
    """An officer who has just set out to a task, so many metres away from it."""
    phone = phone_of(uow, town, person)
    phone.measure(east_m)
    task = make_task(uow, town, person, **more)
    press(uow, person, task.id, "accept", "depart")
    return phone, task


def deviations(uow: UnitOfWork, person: Person) -> list[Alarm]:
    uow.session.flush()
    rows = select(Alarm).where(Alarm.kind == AlarmKind.DEVIATION, Alarm.source_id == person.id)
    return list(uow.session.scalars(rows.order_by(Alarm.number).execution_options(populate_existing=True)))


def states_of(uow: UnitOfWork, person: Person) -> list[str]:
    return [alarm.state for alarm in deviations(uow, person)]


def test_who_goes_away_from_his_task_is_alarmed_about_once_and_coming_nearer_ends_it(
    here: UnitOfWork, town: Town
) -> None:
    officer = town["officer_a"]
    phone, task = under_way(here, town, officer)
    assert phone.walk((10, AWAY), (60, AWAY + 400), (59, AWAY + 800)) == [0, 0, 0], "119 seconds are a detour"
    assert phone.walk((1, AWAY + 800)) == [1]
    [alarm] = deviations(here, officer)
    assert (alarm.source, alarm.officer_id, alarm.area_id) == (
        AlarmSource.OFFICER, officer.id, phone.shift.area_id,
    )  # fmt: skip
    way = alarms.way(alarm)
    assert way is not None
    assert (way["task_id"], way["task_number"]) == (str(task.id), task.number)
    assert (round(way["began_m"], -1), round(way["now_m"], -1)) == (1_000, AWAY + 800)
    assert phone.walk((30, AWAY + 900), (30, 1_200)) == [0, 0], "he turns, and is still farther than he was"
    assert phone.walk((30, 1_140)) == [1]
    assert states_of(here, officer) == [AlarmState.CLEARED]
    assert phone.walk((30, AWAY), (130, AWAY)) == [0, 1], "who goes away again is alarmed about again"


def test_who_goes_away_from_another_desks_task_is_alarmed_about_without_a_word_of_it(
    here: UnitOfWork, town: Town
) -> None:
    """F41: two distances to a place that his own desk may not see would say where it is."""
    officer = town["officer_b"]
    phone, _ = under_way(here, town, officer, kind="sos")
    phone.walk((10, AWAY), (120, AWAY))
    [alarm] = deviations(here, officer)
    assert alarm.area_id == phone.shift.area_id
    assert alarms.way(alarm) is None
    told = here.session.scalars(select(Notice).where(Notice.subject_id == alarm.id)).all()
    assert {notice.recipient_id for notice in told} == {town["desk_b"].id}
    assert told[0].params["what"] == {"zh-CN": "偏离路线", "en": "off the route"}


def test_the_desk_of_his_area_sees_it_and_reads_of_which_task_and_no_other_desk_does(
    here: UnitOfWork, town: Town
) -> None:
    """F41."""
    phone, task = under_way(here, town, town["officer_a"])
    phone.walk((10, AWAY), (120, AWAY))
    [alarm] = deviations(here, town["officer_a"])
    seen = [
        name
        for name in ("desk_a", "supervisor_a", "supervisor", "desk_b")
        if alarms.at_desk(here, town[name].actor(), kind=AlarmKind.DEVIATION, after=None, limit=5).items
    ]
    assert seen == ["desk_a", "supervisor_a", "supervisor"]
    told = here.session.scalars(select(Notice).where(Notice.subject_id == alarm.id)).all()
    assert {notice.recipient_id for notice in told} == {town["desk_a"].id}
    assert {notice.kind for notice in told} == {"alarm.raised"}
    assert told[0].params["what"] == {
        "zh-CN": f"偏离路线（任务 {task.number}）",
        "en": f"off the route (task {task.number})",
    }
    assert told[0].params["officer_id"] == str(town["officer_a"].id)


@pytest.mark.parametrize(
    ("legs", "why"),
    [
        ([(10, 1_290), (120, 1_290), (600, 1_290)], "a detour within the margin"),
        ([(10, AWAY), (60, 1_290), (60, AWAY)], "one fix within the margin breaks it"),
        ([(10, AWAY)], "one fix says nothing of how long"),
        ([(10, 900), (600, AWAY)], "nor does the first after a long silence"),
        ([(60, 800), (60, 500), (120, 40)], "he goes there"),
    ],
)
def test_a_detour_is_no_alarm(
    here: UnitOfWork, town: Town, legs: list[tuple[float, float]], why: str
) -> None:
    phone, _ = under_way(here, town, town["officer_a"])
    phone.walk(*legs)
    assert deviations(here, town["officer_a"]) == [], why


def test_what_a_phone_measures_badly_or_is_made_to_say_is_no_alarm(here: UnitOfWork, town: Town) -> None:
    """F21: doubtful fixes say nothing, and of a poor one its accuracy is taken off."""
    phone, _ = under_way(here, town, town["officer_a"])
    for seconds in (10, 60, 61):
        here.now += timedelta(seconds=seconds)
        phone.measure(AWAY + 60, accuracy_m=90)
        phone.measure(9_000, at=here.now - timedelta(seconds=1), flags=int(Flag.MOCK))
        assert watch(here) == 0
    assert phone.walk((10, AWAY + 60), (121, AWAY + 60)) == [0, 1]


def test_doubtful_fixes_hide_nobody_who_goes_away(here: UnitOfWork, town: Town) -> None:
    phone, _ = under_way(here, town, town["officer_a"])
    phone.walk((10, AWAY))
    here.now += timedelta(seconds=60)
    phone.measure(20, flags=int(Flag.MOCK))
    assert phone.walk((60, AWAY)) == [1]


def test_since_when_somebody_is_away_no_doubtful_fix_says(here: UnitOfWork, town: Town) -> None:
    phone, _ = under_way(here, town, town["officer_a"])
    here.now += timedelta(seconds=10)
    phone.measure(AWAY, flags=int(Flag.IMPOSSIBLE_SPEED))
    assert phone.walk((65, AWAY), (65, AWAY)) == [0, 0]
    assert phone.walk((60, AWAY)) == [1]


def test_of_whom_nothing_new_is_heard_nothing_is_said(here: UnitOfWork, town: Town) -> None:
    officer = town["officer_a"]
    phone, _ = under_way(here, town, officer)
    phone.walk((10, AWAY))
    here.now += timedelta(seconds=130)
    phone.measure(AWAY)
    here.now += timedelta(minutes=4)
    assert watch(here) == 0, "where he was four minutes ago raises nothing"
    phone.walk((1, AWAY))
    assert states_of(here, officer) == [AlarmState.RAISED]
    here.now += timedelta(minutes=9)
    assert watch(here) == 0, "and takes nothing back"
    assert states_of(here, officer) == [AlarmState.RAISED]


def test_who_has_not_set_out_may_go_where_he_likes(here: UnitOfWork, town: Town) -> None:
    officer = town["officer_a"]
    phone = phone_of(here, town, officer)
    phone.measure(1_000)
    task = make_task(here, town, officer)
    phone.walk((10, AWAY), (130, AWAY))
    press(here, officer, task.id, "accept")
    phone.walk((10, AWAY), (130, AWAY))
    assert deviations(here, officer) == []
    press(here, officer, task.id, "depart")
    phone.walk((10, AWAY + 250), (130, AWAY + 250))
    assert deviations(here, officer) == [], "the distance is that of the departure"


ENDS = ("arrive", "hand_back", "cancel", "release", "refer", "off_shift", "reassign")


@pytest.mark.parametrize("end", ENDS)
def test_it_ends_with_the_way(here: UnitOfWork, town: Town, end: str) -> None:
    officer, desk = town["officer_a"], town["desk_a"].actor()
    phone, task = under_way(here, town, officer)
    phone.walk((10, AWAY), (120, AWAY))
    assert states_of(here, officer) == [AlarmState.RAISED]
    given = {"reason": "演练", "command_id": new_id()}
    if end in ("arrive", "hand_back"):
        press(here, officer, task.id, end)
    elif end == "cancel":
        tasks.cancel(here, desk, task.id, **given)
    elif end == "release":
        tasks.release(here, desk, task.id, officer_id=officer.id, **given)
    elif end == "refer":
        referral = tasks.Referral("A1", "x", here.now)
        tasks.refer(here, town["supervisor_a"].actor(), task.id, referral, **given)
    elif end == "reassign":
        other = on_shift(here, town, town["officer_a2"])
        whom = offering.Whom(officer_ids=[other.officer_id])
        tasks.reassign(here, desk, task.id, whom, **given)
    else:
        shifts.end(here, desk, phone.shift.id, **given)
    assert watch(here) == 1
    assert states_of(here, officer) == [AlarmState.CLEARED]
    assert watch(here) == 0


def test_who_has_two_tasks_leaves_one_on_his_way_to_the_other(here: UnitOfWork, town: Town) -> None:
    officer = town["officer_a"]
    phone, near = under_way(here, town, officer, east_m=0)
    lon, lat = town.place()
    east = make_task(here, town, officer, place=(lon + 0.02, lat), area_id=town.areas["a"])
    press(here, officer, east.id, "accept", "depart")
    phone.walk((60, 500), (60, 1_000), (120, 1_500))
    assert deviations(here, officer) == [], "he goes to the one in the east"
    phone.walk((300, -400), (120, -500))
    [alarm] = deviations(here, officer)
    assert alarm.detail["task_id"] in (str(near.id), str(east.id))
    phone.walk((60, 500))
    assert states_of(here, officer) == [AlarmState.CLEARED]


def test_who_is_not_clearly_farther_from_both_is_not_alarmed_about(here: UnitOfWork, town: Town) -> None:
    officer = town["officer_a"]
    phone, _ = under_way(here, town, officer, east_m=0)
    lon, lat = town.place()
    north = make_task(here, town, officer, place=(lon, lat + 0.0045), area_id=town.areas["a"])
    press(here, officer, north.id, "accept", "depart")
    assert phone.walk((60, -450), (121, -450)) == [0, 0], "450 m from one, 170 m farther from the other"
    assert phone.walk((60, -900), (121, -900)) == [0, 1]


def test_the_alarm_names_the_task_that_he_leaves_now(here: UnitOfWork, town: Town) -> None:
    """A second task from which he goes away is another alarm: the first is over with its task."""
    officer = town["officer_a"]
    phone, first = under_way(here, town, officer)
    phone.walk((10, AWAY), (120, AWAY))
    second = make_task(here, town, officer)
    press(here, officer, second.id, "accept", "depart")
    press(here, officer, first.id, "hand_back")
    phone.walk((10, AWAY + 400), (130, AWAY + 400))
    watch(here)
    assert [(a.state, a.detail["task_id"]) for a in deviations(here, officer)] == [
        (AlarmState.CLEARED, str(first.id)),
        (AlarmState.RAISED, str(second.id)),
    ]


def test_where_the_phone_found_no_place_the_way_begins_with_its_first_fix(
    here: UnitOfWork, town: Town
) -> None:
    officer = town["officer_a"]
    phone = phone_of(here, town, officer)
    phone.measure(200, at=here.now - timedelta(minutes=6))
    task = make_task(here, town, officer)
    press(here, officer, task.id, "accept", "depart")
    assert phone.walk((60, 1_000), (120, AWAY - 50)) == [0, 0], "where he was long before does not count"
    assert phone.walk((60, AWAY), (121, AWAY)) == [0, 1]


def test_an_sos_that_moves_begins_the_way_anew_and_going_away_from_one_that_stays_is_told(
    here: UnitOfWork, town: Town
) -> None:
    """Who goes to help is compared with the place where it lies now, and from where he was when it moved there."""
    officer = town["officer_a"]
    phone = phone_of(here, town, officer)
    phone.measure(0)
    lon, lat = town.place()
    call = alarms.call_for_help(
        here, town["resident"].actor(), command_id=new_id(), place=alarms.Place(lon + 0.004, lat)
    )
    task_id = dispatching.send_to_sos(here, call.id)
    assert task_id is not None
    press(here, officer, task_id, "accept", "depart")
    phone.walk((10, 100), (60, 200))
    here.now += timedelta(seconds=1)
    moved = alarms.Place(lon - 0.02, lat, 5.0, here.now)
    alarms.call_for_help(here, town["resident"].actor(), command_id=new_id(), place=moved)
    dispatching.send_to_sos(here, call.id)
    assert share(here, task_id, officer).way_began_at == here.now
    assert phone.walk((20, 280), (100, 400), (60, 250)) == [0, 0, 0], "he is far now, and turns"
    phone.walk((60, 600), (121, 700))
    [alarm] = deviations(here, officer)
    assert alarm.detail["task_id"] == str(task_id)


def test_a_task_that_waited_for_an_sos_begins_its_way_anew(here: UnitOfWork, town: Town) -> None:
    officer = town["officer_a"]
    phone, task = under_way(here, town, officer, east_m=0)
    sos = make_task(here, town, officer, kind="sos")
    press(here, officer, sos.id, "accept")
    assert share(here, task.id, officer).way_began_at is None
    phone.walk((60, 1_000), (130, 1_500))
    tasks.cancel(here, town["desk_a"].actor(), sos.id, reason="误报", command_id=new_id())
    assert share(here, task.id, officer).way_began_at == here.now
    phone.walk((60, 1_500), (130, 1_400), (130, 1_700))
    assert deviations(here, officer) == [], "the SOS took him there"
    phone.walk((60, 2_000), (130, 2_000))
    assert states_of(here, officer) == [AlarmState.RAISED]


def test_what_the_desk_has_dismissed_is_not_raised_again_on_this_way(here: UnitOfWork, town: Town) -> None:
    officer = town["officer_a"]
    phone, task = under_way(here, town, officer)
    phone.walk((10, AWAY), (120, AWAY))
    [alarm] = deviations(here, officer)
    alarms.dismiss(here, town["desk_a"].actor(), alarm.id, command_id=new_id(), reason="桥断了，绕行")
    phone.walk((60, AWAY), (2_400, AWAY), (130, AWAY))
    assert states_of(here, officer) == [AlarmState.FALSE]
    press(here, officer, task.id, "hand_back")
    tasks.offer(
        here, town["desk_a"].actor(), task.id, offering.Whom(officer_ids=[officer.id]), command_id=new_id()
    )
    press(here, officer, task.id, "accept", "depart")
    phone.walk((10, AWAY + 400), (130, AWAY + 400))
    assert states_of(here, officer) == [AlarmState.FALSE, AlarmState.RAISED], "another way"


def test_of_all_who_are_under_way_one_statement_asks_by_an_index(here: UnitOfWork, town: Town) -> None:
    under_way(here, town, town["officer_a"])
    here.session.execute(text("set local enable_seqscan = off"))
    asked: list[str] = []
    given: list[dict[str, Any]] = []

    def execute(statement: Any, parameters: dict[str, Any]) -> Any:
        asked.append(str(statement))
        given.append(parameters)
        return here.session.execute(statement, parameters)

    found = queries.ways(
        # No Session, but all of one that is asked here: what goes through it is explained below.
        type("Seen", (), {"execute": staticmethod(execute)}),  # type: ignore[arg-type]
        town.id, now=here.now, recent=timedelta(minutes=3), margin_m=300, lasting=timedelta(seconds=120),
    )  # fmt: skip
    assert [way.officer_id for way in found] == [town["officer_a"].id]
    assert len(asked) == 1
    plan = "\n".join(here.session.execute(text(f"explain {asked[0]}"), given[0]).scalars())
    assert "ix_assignments_under_way" in plan
    assert "Seq Scan on fixes" not in plan


def test_a_share_is_under_way_exactly_while_it_says_since_when(here: UnitOfWork, town: Town) -> None:
    """Also when a process of the version before has written, which does not know of it."""
    _, task = under_way(here, town, town["officer_a"])
    assert "ck_assignments_way" in {one.name for one in Assignment.__table__.constraints}
    for changed, says in (("way_began_at = null", True), ("state = 'on_site', arrived_at = now()", False)):
        since = here.session.execute(
            text(f"update assignments set {changed} where task_id = :task returning way_began_at"),
            {"task": task.id},
        ).scalar_one()
        assert (since is not None) == says


@pytest.fixture
def live_town(live_config: Config, live_engine: Engine) -> Iterator[Town]:
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    yield factories.make_town(owner, "ways")
    owner.dispose()


def test_a_worker_that_is_started_anew_goes_on_with_the_settings_of_the_operator(
    live_town: Town, live_config: Config
) -> None:
    """Nothing is remembered but what is stored: the fixes, and since when he is under way."""
    officer = live_town["officer_a"]

    def look(**settings: int) -> list[str]:
        worker.use(replace(live_config, **settings))
        worker.watch_shifts.func(0)
        with unit_of_work(live_town.id) as uow:
            return states_of(uow, officer)

    with unit_of_work(live_town.id) as uow:
        uow.now -= timedelta(minutes=10)
        phone, _ = under_way(uow, live_town, officer)
    with unit_of_work(live_town.id) as uow:
        now = uow.now
        phone = replace(phone, uow=uow)
        for seconds in (150, 90, 20):
            phone.measure(AWAY + 300, at=now - timedelta(seconds=seconds))
    assert look(deviation_m=700) == []
    assert look(deviation_s=600) == []
    assert look() == [AlarmState.RAISED]
    assert look() == [AlarmState.RAISED]
    with unit_of_work(live_town.id) as uow:
        replace(phone, uow=uow).measure(400)
    assert look() == [AlarmState.CLEARED]
    with unit_of_work(live_town.id) as uow:
        assert uow.session.scalars(select(Assignment.state)).all() == ["en_route"]
