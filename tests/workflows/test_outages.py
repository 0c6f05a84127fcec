"""Outages: when a network falls the desk gets one alarm, and who does not come back gets his own: nobody is lost."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.pool import NullPool

from backend import worker
from backend.core.config import Config
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import AlarmKind, AlarmSource, AlarmState
from backend.models import Alarm, Journal, Notice, Task
from tests import factories
from tests.dispatching import now, see
from tests.factories import Person, Town
from workflows import alarms, dispatching, outages, shifts, watchdog
from workflows.alarms import Place
from workflows.outages import Outage
from workflows.watchdog import Covers, End, Fall, OnShift, Open, Over, Raise

LIMITS = shifts.Limits(longest=timedelta(hours=14), grace=timedelta(minutes=30))
BOUNDS = watchdog.Bounds(silent_after=timedelta(minutes=10))
COUNT = 14
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return filled(owner_engine, f"outage-{new_id().hex[-12:]}")


def filled(engine: Engine, code: str) -> Town:
    """A town with so many officers in community a, and twelve in b."""
    town = factories.make_town(engine, code)
    for number in range(COUNT):
        factories.add_officer(engine, town, f"a{number}", "a")
    for number in range(12):
        factories.add_officer(engine, town, f"b{number}", "b")
    return town


def of(town: Town, area: str, count: int) -> list[Person]:
    return [town[f"{area}{number}"] for number in range(count)]


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


@dataclass
class Network:
    """Officers on shift whose phones are heard of, or not."""

    uow: UnitOfWork
    town: Town
    shifts: dict[str, Any] = field(default_factory=dict)
    online: set[str] = field(default_factory=set)

    def begin(self, *people: Person) -> None:
        for person in people:
            name = person.login.partition(".")[2]
            self.shifts[name] = shifts.start(self.uow, person.actor(), command_id=new_id(), limits=LIMITS)
            self.online.add(name)
        self.heard()

    def falls(self, names: Iterable[str]) -> None:
        self.online -= set(names)

    def comes_back(self, names: Iterable[str]) -> None:
        self.online |= set(names)

    def heard(self) -> None:
        for name in sorted(self.online):
            see(self.uow, self.shifts[name], self.town, east_m=0, area=name[0])
        heard = [self.shifts[name].officer_id for name in self.online]
        self.uow.session.execute(
            text("update latest_positions set area_id = room_id where officer_id = any(:heard)"),
            {"heard": heard},
        )

    def later(self, minutes: float, *, every: float = 1.0) -> None:
        """Let time pass; the watchdog looks all the while."""
        passed = 0.0
        while passed < minutes:
            step = min(every, minutes - passed)
            passed += step
            self.uow.now += timedelta(minutes=step)
            self.heard()
            watch(self.uow)


def watch(uow: UnitOfWork) -> list[Any]:
    uow.session.flush()
    changes = watchdog.look(uow, BOUNDS)
    for change in changes:
        watchdog.act(uow, change)
    return changes


def silent(uow: UnitOfWork, town: Town, *states: str) -> set[str]:
    """Whose own silence stands."""
    names = {person.id: name for name, person in town.people.items()}
    states = states or ("raised", "acknowledged", "dispatched")
    found = uow.session.scalars(
        select(Alarm.source_id).where(Alarm.kind == AlarmKind.SILENT, Alarm.state.in_(states))
    )
    return {names[one] for one in found}


def covered(uow: UnitOfWork, town: Town) -> set[str]:
    """Whom the desk reads on the outages."""
    known = {person.id: name for name, person in town.people.items()}
    found = alarms.covered_by(uow, fallen(uow))
    return {known[one.id] for officers in found.values() for one in officers}


def fallen(uow: UnitOfWork, *, area_id: UUID | None = None) -> list[Alarm]:
    uow.session.flush()
    query = select(Alarm).where(Alarm.kind == AlarmKind.OUTAGE).order_by(Alarm.number)
    if area_id is not None:
        query = query.where(Alarm.area_id == area_id)
    return list(uow.session.scalars(query.execution_options(populate_existing=True)))


def names(count: int, begin: int = 0, area: str = "a") -> list[str]:
    return [f"{area}{number}" for number in range(begin, begin + count)]


# --- What the desk gets


def test_a_fallen_network_is_one_alarm_about_the_area_of_the_desk(here: UnitOfWork, town: Town) -> None:
    """F41: whoever would have seen the officers' own alarms sees it, and nobody else."""
    network = Network(here, town)
    network.begin(*of(town, "a", COUNT), *of(town, "b", 12))
    network.later(2)
    network.falls(names(12))
    network.later(9)
    assert fallen(here) == []
    network.later(3)
    [alarm] = fallen(here)
    assert (alarm.source, alarm.source_id, alarm.area_id) == (
        AlarmSource.AREA, town.areas["a"], town.areas["a"],
    )  # fmt: skip
    assert (alarm.officer_id, alarm.geom, alarm.priority) == (None, None, "high")
    figures = alarms.outage(alarm)
    assert figures is not None
    assert (figures["silent"], figures["on_shift"]) == (12, COUNT)
    assert silent(here, town) == set()
    seen = [
        name
        for name in ("desk_a", "supervisor_a", "supervisor", "desk_b")
        if alarms.at_desk(here, town[name].actor(), kind=AlarmKind.OUTAGE, after=None, limit=5).items
    ]
    assert seen == ["desk_a", "supervisor_a", "supervisor"]
    told = here.session.scalars(select(Notice).where(Notice.subject_id == alarm.id)).all()
    assert {notice.recipient_id for notice in told} == {town["desk_a"].id}
    assert told[0].params["what"] == {
        "zh-CN": "大面积失联（12/14 人）",
        "en": "many officers silent (12 of 14)",
    }
    assert here.session.scalar(select(Notice.id).where(Notice.kind == "officer.silent")) is None, (
        "no text message for each of them either"
    )
    network.later(60)
    assert len(fallen(here)) == 1


@pytest.mark.parametrize(
    ("on_shift", "fall", "is_one"), [(14, 9, False), (14, 10, True), (9, 9, False), (10, 10, True)]
)
def test_few_are_alarmed_about_one_by_one(
    here: UnitOfWork, town: Town, on_shift: int, fall: int, is_one: bool
) -> None:
    network = Network(here, town)
    network.begin(*of(town, "a", on_shift))
    network.falls(names(fall))
    network.later(12)
    assert len(fallen(here)) == int(is_one)
    assert silent(here, town) == (set() if is_one else set(names(fall)))


def test_less_than_half_are_alarmed_about_one_by_one_and_half_are_not(here: UnitOfWork, town: Town) -> None:
    """Where no desk is left their officers are of the desk above, those of both communities together."""
    here.session.execute(
        text("update memberships set ended_at = now() where area_id = any(:areas) and role <> 'officer'"),
        {"areas": [town.areas["a"], town.areas["b"]]},
    )
    network = Network(here, town)
    network.begin(*of(town, "a", COUNT), *of(town, "b", 8))
    network.falls(names(10))
    network.later(12)
    assert fallen(here) == []
    assert silent(here, town) == set(names(10)), "10 of 22"
    network.comes_back(names(10))
    network.later(2)
    network.falls(names(11))
    network.later(12)
    assert [alarm.area_id for alarm in fallen(here)] == [town.areas["town"]], "11 of 22"
    assert silent(here, town) == set()


def test_each_desk_has_its_own(here: UnitOfWork, town: Town) -> None:
    network = Network(here, town)
    network.begin(*of(town, "a", COUNT), *of(town, "b", 12))
    network.falls(names(11))
    network.falls(names(2, area="b"))
    network.later(12)
    assert [alarm.area_id for alarm in fallen(here)] == [town.areas["a"]]
    assert silent(here, town) == {"b0", "b1"}
    network.falls(names(12, area="b"))
    network.later(12)
    assert {alarm.area_id for alarm in fallen(here)} == {town.areas["a"], town.areas["b"]}
    assert silent(here, town) == {"b0", "b1"}, "what stands is not taken away"


def test_phones_that_send_in_turns_fall_at_the_same_time_and_those_of_an_hour_do_not(
    here: UnitOfWork, town: Town
) -> None:
    network = Network(here, town)
    network.begin(*of(town, "a", COUNT))
    for name in names(12):
        network.falls([name])
        network.later(0.4)
    network.later(12)
    assert (len(fallen(here)), silent(here, town)) == (1, set())
    network.comes_back(names(12))
    network.later(20)
    for name in names(12):
        network.falls([name])
        network.later(5)
    network.later(12)
    assert len(fallen(here)) == 1, "one after the other is no outage"
    assert silent(here, town) == set(names(12))


def test_who_was_silent_before_keeps_his_alarm_and_does_not_count(here: UnitOfWork, town: Town) -> None:
    network = Network(here, town)
    network.begin(*of(town, "a", COUNT))
    network.falls(names(3))
    network.later(30)
    assert silent(here, town) == set(names(3))
    network.falls(names(11, begin=3))
    network.later(12)
    [alarm] = fallen(here)
    assert (alarm.detail["silent"], alarm.detail["on_shift"]) == (11, 11)
    assert silent(here, town) == set(names(3))


# --- When it is over


def test_when_the_network_is_back_it_ends_and_who_stays_silent_gets_his_own_alarm(
    here: UnitOfWork, town: Town
) -> None:
    network = Network(here, town)
    network.begin(*of(town, "a", COUNT))
    network.falls(names(COUNT))
    network.later(60)
    network.comes_back(names(4))
    network.later(5)
    [alarm] = fallen(here)
    assert alarm.state == AlarmState.RAISED, "ten are still silent"
    network.comes_back(names(5))
    network.later(1)
    assert fallen(here)[0].state == AlarmState.CLEARED, "nine would not be one alarm"
    assert silent(here, town) == set(), "they are given time to come back"
    network.comes_back(names(12))
    network.later(3)
    assert silent(here, town) == set()
    network.later(3)
    assert silent(here, town) == {"a12", "a13"}
    assert len(fallen(here)) == 1


def test_who_falls_silent_later_is_covered_while_it_stands_and_not_afterwards(
    here: UnitOfWork, town: Town
) -> None:
    network = Network(here, town)
    network.begin(*of(town, "a", COUNT))
    network.falls(names(12))
    network.later(20)
    assert covered(here, town) == set(names(12))
    network.falls(["a12"])
    network.later(9)
    assert covered(here, town) == set(names(12)), "he would have no alarm of his own either by now"
    network.later(11)
    assert silent(here, town) == set()
    assert covered(here, town) == set(names(13)), "the desk reads who is silent and has no alarm"
    [alarm] = fallen(here)
    told = here.session.scalars(
        select(Journal).where(Journal.subject_id == alarm.id).order_by(Journal.at, Journal.id)
    ).all()
    assert [act.action for act in told] == ["raise", "cover", "cover"]
    assert told[-1].data == {"officer_ids": [str(town["a12"].id)]}
    network.comes_back(names(12))
    network.falls(["a13"])
    network.later(9)
    assert silent(here, town) == {"a12"}, "the network is back"
    assert covered(here, town) == set(names(13)), "what was stays to be read"
    network.later(3)
    assert silent(here, town) == {"a12", "a13"}


def test_a_network_that_falls_again_is_another_alarm(here: UnitOfWork, town: Town) -> None:
    network = Network(here, town)
    network.begin(*of(town, "a", COUNT))
    for _ in range(2):
        network.falls(names(12))
        network.later(15)
        network.comes_back(names(12))
        network.later(3)
    assert [alarm.state for alarm in fallen(here)] == [AlarmState.CLEARED] * 2
    assert silent(here, town, "raised", "cleared") == set()


def test_it_ends_when_their_shifts_do(here: UnitOfWork, town: Town) -> None:
    """P21: who is off shift is not looked at."""
    network = Network(here, town)
    network.begin(*of(town, "a", COUNT))
    network.falls(names(12))
    network.later(12)
    for name in names(12):
        shifts.end(here, town["desk_a"].actor(), network.shifts[name].id, command_id=new_id(), reason="换班")
    network.later(1)
    assert [alarm.state for alarm in fallen(here)] == [AlarmState.CLEARED]
    assert silent(here, town) == set()


def test_what_the_desk_dismisses_rests_for_half_an_hour_and_is_not_forgotten(
    here: UnitOfWork, town: Town
) -> None:
    network = Network(here, town)
    network.begin(*of(town, "a", COUNT))
    network.falls(names(12))
    network.later(12)
    [alarm] = fallen(here)
    dispatching.dismiss(here, town["desk_a"].actor(), alarm.id, command_id=new_id(), reason="运营商检修")
    network.falls(["a12"])
    network.later(29)
    assert len(fallen(here)) == 1
    assert silent(here, town) == {"a12"}, "he was heard of when it was dismissed"
    network.later(2)
    assert [one.state for one in fallen(here)] == [AlarmState.FALSE, AlarmState.RAISED]
    assert silent(here, town) == {"a12"}
    dispatching.dismiss(
        here, town["desk_a"].actor(), fallen(here)[1].id, command_id=new_id(), reason="运营商检修"
    )
    network.comes_back(names(8))
    network.later(32)
    assert silent(here, town) == {"a8", "a9", "a10", "a11", "a12"}
    assert len(fallen(here)) == 2


def test_people_who_were_sent_to_look_go_on_when_the_network_is_back(here: UnitOfWork, town: Town) -> None:
    network = Network(here, town)
    network.begin(*of(town, "a", COUNT))
    network.falls(names(12))
    network.later(12)
    desk, [alarm] = town["desk_a"].actor(), fallen(here)
    dispatching.acknowledge(here, desk, alarm.id, command_id=new_id())
    task = dispatching.dispatch(
        here, desk, alarm.id, command_id=new_id(), whom=None, place=town.place(), description="看基站"
    )
    network.later(30)
    assert (fallen(here)[0].state, silent(here, town)) == (AlarmState.DISPATCHED, set())
    network.comes_back(names(11))
    network.later(1)
    assert fallen(here)[0].state == AlarmState.CLEARED, "it would hide who falls silent from now on"
    assert here.session.get_one(Task, task.id, populate_existing=True).state == "open"
    network.later(6)
    assert silent(here, town) == {"a11"}


def test_an_outage_that_the_desk_clears_while_it_lasts_is_raised_again(here: UnitOfWork, town: Town) -> None:
    network = Network(here, town)
    network.begin(*of(town, "a", COUNT))
    network.falls(names(12))
    network.later(12)
    desk, [alarm] = town["desk_a"].actor(), fallen(here)
    dispatching.dispatch(
        here, desk, alarm.id, command_id=new_id(), whom=None, place=town.place(), description="看基站"
    )
    dispatching.clear(here, desk, alarm.id, command_id=new_id(), reason="已修好")
    network.later(4)
    assert (len(fallen(here)), silent(here, town)) == (1, set())
    network.later(2)
    assert [one.state for one in fallen(here)] == [AlarmState.CLEARED, AlarmState.RAISED]


def test_no_call_for_help_is_swallowed(here: UnitOfWork, town: Town) -> None:
    network = Network(here, town)
    network.begin(*of(town, "a", COUNT))
    network.falls(names(12))
    network.later(12)
    [outage] = fallen(here)
    called = alarms.call_for_help(here, town["a0"].actor(), command_id=new_id())
    assert (called.state, called.officer_id) == (AlarmState.RAISED, town["a0"].id)
    lon, lat = town.place()
    alarms.call_for_help(here, town["a0"].actor(), command_id=new_id(), place=Place(lon, lat, 5.0, here.now))
    task_id = dispatching.send_to_sos(here, called.id)
    assert task_id is not None
    asked = {share.officer_id for share in now(here, task_id).assignments}
    assert asked <= {town["a12"].id, town["a13"].id}, "the nearest of whom somebody has heard"
    assert asked
    network.later(5)
    assert alarms.read(here, called.id).state == AlarmState.RAISED
    assert alarms.read(here, outage.id).state == AlarmState.RAISED


def test_what_else_stood_before_the_network_fell_stands(here: UnitOfWork, town: Town) -> None:
    """Of whom nothing is heard nothing is known: an alarm about him is neither raised nor taken back."""
    network = Network(here, town)
    network.begin(*of(town, "a", COUNT))
    network.later(5)
    here.session.execute(
        text("update latest_positions set battery_pct = 5, charging = false where officer_id = :officer"),
        {"officer": town["a0"].id},
    )
    here.session.execute(
        text("update latest_positions set area_id = :area where officer_id = :officer"),
        {"area": town.areas["b"], "officer": town["a1"].id},
    )
    watch(here)

    def standing() -> set[tuple[str, str]]:
        found = here.session.execute(
            select(Alarm.kind, Alarm.source_id).where(alarms.is_open(), Alarm.kind != AlarmKind.OUTAGE)
        )
        known = {person.id: name for name, person in town.people.items()}
        return {(row.kind, known[row.source_id]) for row in found}

    before = standing()
    assert before == {("battery_low", "a0"), ("left_area", "a1")}
    network.falls(names(COUNT))
    network.later(30)
    assert standing() == before
    assert len(fallen(here)) == 1


# --- Restarts, and many at once


@pytest.fixture
def live_town(live_config: Config, live_engine: Engine) -> Iterator[Town]:
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    yield filled(owner, "fallen")
    owner.dispose()


def gone(town: Town, count: int, *, ago: timedelta) -> None:
    """So many officers of a are on shift and were last heard of then."""
    with unit_of_work(town.id) as uow:
        uow.now -= ago
        Network(uow, town).begin(*of(town, "a", count))


def test_two_workers_that_look_at_once_raise_one(live_town: Town, live_engine: Engine) -> None:
    gone(live_town, COUNT, ago=timedelta(minutes=11))
    gate = Barrier(4)

    def look(_: int) -> list[bool]:
        with unit_of_work(live_town.id) as uow:
            changes = watchdog.look(uow, BOUNDS)
        gate.wait(20)
        done = []
        for change in changes:
            with unit_of_work(live_town.id) as uow:
                done.append(watchdog.act(uow, change))
        return done

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(look, range(4)))
    assert [sum(one) for one in zip(*done, strict=True)] == [1, 1], "raised once, and once who is silent"
    with unit_of_work(live_town.id) as uow:
        assert len(fallen(uow)) == 1
        assert covered(uow, live_town) == set(names(COUNT))
        assert silent(uow, live_town) == set()


def test_a_worker_that_is_killed_in_the_middle_is_followed_by_one_that_goes_on(
    live_town: Town, live_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is remembered but the alarms: before the first is stored, after it, and while those left are raised."""
    worker.use(live_config)

    def look(*, killed_after: int | None = None) -> None:
        left = [killed_after]
        real = watchdog.act

        def act(uow: UnitOfWork, change: Any) -> bool:
            if left[0] == 0:
                raise KeyboardInterrupt
            if left[0] is not None:
                left[0] -= 1
            return real(uow, change)

        with monkeypatch.context() as patch:
            patch.setattr(worker.watchdog, "act", act)
            if killed_after is None:
                worker.watch_shifts.func(0)
            else:
                with pytest.raises(KeyboardInterrupt):
                    worker.watch_shifts.func(0)

    def state() -> tuple[list[str], set[str]]:
        with unit_of_work(live_town.id) as uow:
            return [alarm.state for alarm in fallen(uow)], silent(uow, live_town)

    gone(live_town, COUNT, ago=timedelta(minutes=11))
    look(killed_after=0)
    assert state() == ([], set())
    look()
    assert state() == (["raised"], set())
    look()
    assert state() == (["raised"], set())
    with unit_of_work(live_town.id) as uow:
        for name in names(9):
            shift = shifts.current(uow, live_town[name].actor())
            assert shift is not None
            see(uow, shift, live_town, east_m=0)
    look(killed_after=0)
    assert state() == (["raised"], set())
    look()
    assert state() == (["cleared"], set()), "five are given time to come back"
    with unit_of_work(live_town.id) as uow:
        uow.session.execute(text("update alarms set cleared_at = cleared_at - interval '6 minutes'"))
    look(killed_after=2)
    assert len(state()[1]) == 2
    look()
    look()
    assert state() == (["cleared"], set(names(5, begin=9)))


def test_the_operator_says_how_many_are_an_outage(live_town: Town, live_config: Config) -> None:
    gone(live_town, 6, ago=timedelta(minutes=11))
    with unit_of_work(live_town.id) as uow:
        Network(uow, live_town).begin(*of(live_town, "b", 2))
    worker.use(replace(live_config, outage_officers=6, outage_percent=100))
    worker.watch_shifts.func(0)
    with unit_of_work(live_town.id) as uow:
        assert len(fallen(uow)) == 1
        assert silent(uow, live_town) == set()


# --- Nobody is forgotten


START = datetime(2026, 11, 2, 8, tzinfo=UTC)
DESKS = (UUID(int=1), UUID(int=2))
OFFICERS = [UUID(int=100 + number) for number in range(20)]
OF_FIRST = 14
"""The others are of the second desk, which is too small for an outage."""


@dataclass
class Memory:
    """What the database holds of alarms, and who is on shift and heard of; a worker has nothing beside it."""

    now: datetime = START
    heard: dict[UUID, datetime] = field(default_factory=lambda: dict.fromkeys(OFFICERS, START))
    online: set[UUID] = field(default_factory=lambda: set(OFFICERS))
    on_shift: set[UUID] = field(default_factory=lambda: set(OFFICERS))
    known: dict[watchdog.Which, Open] = field(default_factory=dict)
    outages: list[Outage] = field(default_factory=list)

    def desk(self, officer: UUID) -> UUID:
        return DESKS[OFFICERS.index(officer) >= OF_FIRST]

    def look(self, most: int | None) -> list[Any]:
        """One look and its acts, of which a worker may do few before it is killed."""
        self.heard.update(dict.fromkeys(self.online, self.now))
        lately = [
            one for one in self.outages if not one.ended_at or one.ended_at > self.now - outages.DISMISSED_FOR
        ]
        found = [
            OnShift(
                officer, officer, self.desk(officer), START,
                Place(0, 0, 5, self.heard[officer]), None, None, False, None, self.desk(officer),
            )
            for officer in OFFICERS
            if officer in self.on_shift
        ]  # fmt: skip
        changes = watchdog.decide(found, self.known, {}, lately, self.now, BOUNDS)
        for change in changes[:most]:
            self.act(change)
        return changes

    def act(self, change: Any) -> None:
        if isinstance(change, Raise):
            self.known[(change.kind, change.officer.officer_id)] = Open(new_id(), AlarmState.RAISED)
        elif isinstance(change, End):
            self.known = {which: one for which, one in self.known.items() if one.id != change.alarm_id}
        elif isinstance(change, Fall):
            assert not [one for one in self.outages if one.area_id == change.area_id and not one.ended_at]
            self.outages.append(Outage(new_id(), change.area_id, change.since, change.silent))
        elif isinstance(change, Covers):
            self.outages = [
                replace(one, named={**one.named, **change.officers})
                if one.area_id == change.area_id and not one.ended_at
                else one
                for one in self.outages
            ]
        elif isinstance(change, Over):
            self.end(change.alarm_id, dismissed=False)

    def end(self, alarm_id: UUID, *, dismissed: bool) -> None:
        self.outages = [
            replace(one, ended_at=self.now, dismissed=dismissed) if one.alarm_id == alarm_id else one
            for one in self.outages
        ]

    def by_desk(self, *, dismissed: bool) -> None:
        """The desk dismisses or clears what stands."""
        for one in self.outages:
            if one.ended_at is None:
                self.end(one.alarm_id, dismissed=dismissed)

    def named(self) -> set[UUID]:
        """Whom the outages that stand name."""
        return {officer for one in self.outages if not one.ended_at for officer in one.named}

    def silent(self) -> set[UUID]:
        return {one for one in self.on_shift if self.now - self.heard[one] > BOUNDS.silent_after}

    def own(self) -> set[UUID]:
        return {officer for _, officer in self.known}

    def covered(self, officer: UUID) -> bool:
        """Whether an outage stands for him, or has ended so lately that he may still come back."""
        for one in self.outages:
            if one.area_id != self.desk(officer) or self.heard[officer] < one.since:
                continue
            wait = outages.DISMISSED_FOR if one.dismissed else outages.TOGETHER
            if one.ended_at is None or self.now < one.ended_at + wait:
                return True
        return False


def on_shift(officer: UUID, heard_at: datetime) -> OnShift:
    place = Place(0, 0, 5, heard_at)
    return OnShift(
        officer, officer, DESKS[0], START - timedelta(hours=9), place, None, None, False, None, DESKS[0]
    )


def test_who_was_silent_before_the_fall_and_has_no_alarm_yet_gets_his_own() -> None:
    """The worker that had raised the outage was killed before it came to him."""
    at = START + timedelta(hours=1)
    found = [on_shift(OFFICERS[0], START), *(on_shift(one, START + 30 * MINUTE) for one in OFFICERS[1:13])]
    both = watchdog.decide(found, {}, {}, [], at, BOUNDS)
    assert [type(change) for change in both] == [Fall, Covers, Raise]
    fall = both[0]
    assert isinstance(fall, Fall)
    stands = Outage(new_id(), DESKS[0], fall.since, fall.silent)
    named, left = watchdog.decide(found, {}, {}, [stands], at, BOUNDS)
    assert named == Covers(DESKS[0], dict.fromkeys(OFFICERS[1:13], START + 30 * MINUTE))
    assert isinstance(left, Raise)
    assert left.officer.officer_id == OFFICERS[0]


def test_of_how_many_is_counted_among_those_who_had_been_heard_of_until_then() -> None:
    """A worker that stood still finds eleven who fell silent one by one, and ten after them at once."""
    found = [on_shift(UUID(int=number), START + number * 7 * MINUTE) for number in range(11)]
    found += [on_shift(UUID(int=100 + number), START + 90 * MINUTE) for number in range(10)]
    changes = watchdog.decide(found, {}, {}, [], START + 120 * MINUTE, BOUNDS)
    assert changes[0] == Fall(DESKS[0], START + 90 * MINUTE, 10, 10)
    assert [change.officer.officer_id for change in changes[1:] if isinstance(change, Raise)] == [
        UUID(int=number) for number in range(11)
    ]


def some(bits: int) -> set[UUID]:
    return {officer for number, officer in enumerate(OFFICERS) if bits >> number & 1}


SOME = st.integers(0, 2 ** len(OFFICERS) - 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("falls"), SOME),
        st.tuples(st.just("falls"), st.just((1 << OF_FIRST) - 1)),
        st.tuples(st.just("back"), SOME),
        st.tuples(st.just("ends"), st.integers(0, len(OFFICERS) - 1)),
        st.tuples(st.just("dismiss"), st.none()),
        st.tuples(st.just("clear"), st.none()),
        st.tuples(st.just("waits"), st.integers(1, 40)),
        st.tuples(st.just("killed after"), st.integers(0, 4)),
    ),
    max_size=25,
)


@given(steps=STEPS)
def test_whatever_happens_every_silent_officer_is_alarmed_about_or_stood_for(
    steps: list[tuple[str, Any]],
) -> None:
    memory = Memory()
    for what, given_ in steps:
        if what == "falls":
            memory.online -= some(given_)
        elif what == "back":
            memory.online |= some(given_) & memory.on_shift
        elif what == "ends":
            memory.on_shift -= {OFFICERS[given_]}
            memory.online &= memory.on_shift
        elif what in ("dismiss", "clear"):
            memory.by_desk(dismissed=what == "dismiss")
        elif what == "killed after":
            memory.now += timedelta(seconds=20)
            memory.look(given_)
        for _ in range(given_ if what == "waits" else 1):
            memory.now += MINUTE
            before = memory.own()
            changes = memory.look(None)
            own = memory.own()
            forgotten = {one for one in memory.silent() - own if not memory.covered(one)}
            assert not forgotten, what
            assert own <= memory.silent(), "nobody who is heard of or off shift has an alarm"
            stood_for = {one.area_id: one.since for one in memory.outages if one.ended_at is None}
            doubled = {
                one
                for one in own - before
                if memory.heard[one] >= stood_for.get(memory.desk(one), memory.now)
            }
            assert not doubled, "while one stands for them nobody gets his own"
            without = memory.silent() - own
            unread = {
                one for one in without if memory.heard[one] >= stood_for.get(memory.desk(one), memory.now)
            }
            assert unread <= memory.named(), "of each of them the desk reads there"
            assert memory.look(None) == [], f"a second look finds nothing more to do than {changes}"
    for _ in range(2 * 60):
        memory.now += MINUTE
        memory.look(None)
    left = memory.silent() - memory.own()
    standing = {one.area_id for one in memory.outages if one.ended_at is None}
    assert {memory.desk(one) for one in left} <= standing, "in the end each has his own or one that stands"


def test_of_hundreds_that_fall_a_look_raises_one(thin: Any) -> None:
    """Whatever turns the phones send in, no one of them is alarmed about before the outage is."""
    rng = random.Random(7)
    for _ in range(thin(500, 50)):
        officers = [UUID(int=number) for number in range(rng.choice([10, 50, 300]))]
        interval = rng.uniform(1, 290)
        heard = {one: START - timedelta(seconds=rng.uniform(0, interval)) for one in officers}
        moment = START
        while True:
            moment += timedelta(seconds=20)
            found = [on_shift(one, at) for one, at in heard.items()]
            if changes := watchdog.decide(found, {}, {}, [], moment, BOUNDS):
                break
        assert [type(change) for change in changes] == [Fall, Covers]
        assert isinstance(changes[0], Fall)
        assert changes[0].silent == len(officers)
