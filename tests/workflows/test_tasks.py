"""Tasks: offered, taken by as many as are needed, done, given back, and never forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine, select
from sqlalchemy.pool import NullPool

from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, WrongState
from backend.core.identity import system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.models import Alarm, Journal, Shift, TaskKind
from tests import factories
from tests.dispatching import crew_on_shift, make_task, now, on_shift, press, see, share, states
from tests.factories import Person, Town
from workflows import shifts, task_looks, tasks, timelines
from workflows.offering import Whom
from workflows.results import Result


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    made = factories.make_town(owner_engine, f"tasks-{new_id().hex[-12:]}")
    for number in range(4):
        factories.add_officer(owner_engine, made, f"o{number}")
    return made


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


@pytest.fixture
def desk(town: Town) -> Any:
    return town["desk_a"].actor()


def acts(uow: UnitOfWork, subject_id: UUID) -> list[str]:
    uow.session.flush()
    rows = select(Journal.action).where(Journal.subject_id == subject_id).order_by(Journal.id)
    return list(uow.session.scalars(rows))


# --- One by one


def test_a_task_goes_from_the_desk_through_an_officer_back_to_the_desk(
    here: UnitOfWork, town: Town, desk: Any
) -> None:
    officer = town["o0"]
    on_shift(here, town, officer, east_m=140)
    task = make_task(here, town)
    assert (task.state, task.number > 0, tasks.desk_actions(desk, task)) == (
        "open",
        True,
        ["offer", "cancel", "refer"],
    )
    tasks.offer(here, desk, task.id, Whom(officer_ids=[officer.id]), command_id=new_id())
    mine = share(here, task.id, officer)
    assert (round(mine.distance_m or 0), mine.eta_s) == (140, 130)
    assert tasks.officer_actions(officer.actor(), now(here, task.id)) == ["accept", "decline"]
    press(here, officer, task.id, "accept", "depart", "arrive", "resolve")
    done = now(here, task.id)
    assert (done.state, done.resolved_by, done.result["text"]) == ("resolved", officer.id, "done")  # type: ignore[index]
    assert tasks.desk_actions(desk, done) == ["verify", "rework", "refer"]
    tasks.verify(here, desk, task.id, command_id=new_id())
    assert states(here, task.id, officer) == ("closed", "done")
    assert acts(here, task.id) == ["create", "offer", "accept", "depart", "arrive", "resolve", "verify"]


def test_what_a_kind_asks_for_has_to_be_answered(here: UnitOfWork, town: Town) -> None:
    officer = town["o0"]
    on_shift(here, town, officer)
    task = make_task(here, town, officer, kind="fire_hazard")
    press(here, officer, task.id, "accept", "arrive")
    good: dict[str, Any] = {"checklist": {"passage": True}, "answers": {"hazard": "wiring"}}
    bad: list[tuple[dict[str, Any], str]] = [
        ({"checklist": {}}, "checklist"),
        ({"checklist": {"passage": False}}, "checklist"),
        ({"checklist": {"passage": True, "nothing": True}}, "checklist"),
        ({"answers": {}}, "answers"),
        ({"answers": {"hazard": "rain"}}, "answers"),
        ({"answers": {"hazard": 1}}, "answers"),
    ]
    for wrong, name in bad:
        with pytest.raises(Invalid) as refused:
            tasks.resolve(
                here, officer.actor(), task.id, Result("x", **{**good, **wrong}), command_id=new_id()
            )
        assert set(refused.value.extra["errors"]) == {name}
    assert states(here, task.id, officer) == ("on_site", "on_site")
    tasks.resolve(here, officer.actor(), task.id, Result("x", **good), command_id=new_id())
    assert now(here, task.id).result == {"text": "x", "evidence_ids": [], **good}


def test_who_declines_is_asked_no_more_and_the_task_waits_for_the_last_answer(
    here: UnitOfWork, town: Town
) -> None:
    first, second = town["o0"], town["o1"]
    for person in (first, second):
        on_shift(here, town, person)
    task = make_task(here, town, first, second)
    press(here, first, task.id, "decline")
    assert states(here, task.id, first, second) == ("offered", "declined", "offered")
    with pytest.raises(NotVisible):
        task_looks.of_own(here, first.actor(), task.id)
    with pytest.raises(WrongState) as late:
        press(here, first, task.id, "accept")
    assert late.value.extra == {"current": "declined", "actions": []}
    press(here, second, task.id, "decline")
    assert states(here, task.id, first, second) == ("open", "declined", "declined")


def test_only_those_on_shift_in_the_desks_areas_are_asked(here: UnitOfWork, town: Town, desk: Any) -> None:
    on_shift(here, town, town["officer_b"])
    task = make_task(here, town)
    for stranger in (town["o0"].id, town["officer_b"].id, new_id()):
        with pytest.raises(Conflict) as refused:
            tasks.offer(here, desk, task.id, Whom(officer_ids=[stranger]), command_id=new_id())
        assert (refused.value.code, refused.value.extra["officer_ids"]) == ("not_on_shift", [str(stranger)])


def test_a_place_decides_whose_task_it_is(here: UnitOfWork, town: Town) -> None:
    made = make_task(here, town)
    assert made.area_id == town.areas["a1"], "the deepest area that holds the place"
    with pytest.raises(Forbidden) as foreign:
        make_task(here, town, place=town.place("b"))
    assert foreign.value.code == "area_not_yours"
    with pytest.raises(Invalid, match="outside the town"):
        make_task(here, town, place=(0.0, 0.0))
    with pytest.raises(NotVisible):
        tasks.cancel(here, town["desk_b"].actor(), made.id, reason="not ours", command_id=new_id())


def test_the_last_to_hand_back_opens_the_task_and_one_of_two_does_not(here: UnitOfWork, town: Town) -> None:
    first, second = town["o0"], town["o1"]
    for person in (first, second):
        on_shift(here, town, person)
    task = make_task(here, town, first, second, needed=2)
    press(here, first, task.id, "accept", "arrive")
    assert now(here, task.id).filled_at is None
    press(here, second, task.id, "accept")
    assert now(here, task.id).filled_at is not None
    press(here, first, task.id, "hand_back")
    assert states(here, task.id, first, second) == ("on_site", "handed_back", "accepted")
    assert now(here, task.id).filled_at is None
    press(here, second, task.id, "hand_back")
    opened = now(here, task.id)
    assert (opened.state, opened.accepted_at, opened.arrived_at) == ("open", None, None)


def test_who_resolves_does_it_for_all_and_the_other_offers_are_gone(here: UnitOfWork, town: Town) -> None:
    first, second, third = town["o0"], town["o1"], town["o2"]
    for person in (first, second, third):
        on_shift(here, town, person)
    task = make_task(here, town, first, second, third, needed=3)
    press(here, first, task.id, "accept", "depart", "arrive")
    press(here, second, task.id, "accept")
    press(here, first, task.id, "resolve")
    assert states(here, task.id, first, second, third) == ("resolved", "done", "done", "withdrawn")
    versions = now(here, task.id).version
    with pytest.raises(WrongState):
        press(here, second, task.id, "arrive")
    assert now(here, task.id).version == versions


def test_a_reassigned_task_leaves_those_who_had_it_and_is_offered_to_others(
    here: UnitOfWork, town: Town, desk: Any
) -> None:
    first, second = town["o0"], town["o1"]
    for distance_m, person in enumerate((first, second)):
        on_shift(here, town, person, east_m=10 + distance_m)
    task = make_task(here, town, first)
    press(here, first, task.id, "accept", "arrive")
    tasks.reassign(here, desk, task.id, Whom(nearest=1), reason="needs a car", command_id=new_id())
    assert states(here, task.id, first, second) == ("offered", "released", "offered")
    assert share(here, task.id, first).reason == "needs a car"
    with pytest.raises(WrongState) as over:
        press(here, first, task.id, "resolve")
    assert over.value.extra["current"] == "released"


def test_the_desk_calls_for_more_and_releases_the_surplus(here: UnitOfWork, town: Town, desk: Any) -> None:
    first, second, third = town["o0"], town["o1"], town["o2"]
    for person in (first, second, third):
        on_shift(here, town, person)
    task = make_task(here, town, first)
    press(here, first, task.id, "accept")
    with pytest.raises(WrongState):
        tasks.offer(here, desk, task.id, Whom(officer_ids=[second.id]), command_id=new_id())
    key = new_id()
    for _ in range(2):  # The second time is a replay.
        tasks.reinforce(here, desk, task.id, Whom(officer_ids=[second.id, third.id]), command_id=key)
    assert (now(here, task.id).needed, acts(here, task.id).count("reinforce")) == (2, 1)
    press(here, second, task.id, "accept")
    assert states(here, task.id, first, second, third) == ("accepted", "accepted", "accepted", "withdrawn")
    released = tasks.take_off(
        here, desk, task.id, officer_id=second.id, reason="enough are there", command_id=new_id()
    )
    assert (released.needed, released.filled_at is not None) == (1, True)
    assert states(here, task.id, first, second) == ("accepted", "accepted", "released")
    tasks.take_off(here, desk, task.id, officer_id=first.id, reason="a mistake", command_id=new_id())
    assert states(here, task.id, first) == ("open", "released")


def test_a_resolved_task_goes_back_to_its_people_or_to_the_desk_when_they_have_gone_home(
    here: UnitOfWork, town: Town, desk: Any
) -> None:
    first, second = town["o0"], town["o1"]
    on_shift(here, town, first)
    shift = on_shift(here, town, second)
    task = make_task(here, town, first, second, needed=2)
    press(here, first, task.id, "accept", "arrive")
    press(here, second, task.id, "accept")
    press(here, first, task.id, "resolve")
    shifts.end(here, second.actor(), shift.id, command_id=new_id())
    tasks.rework(here, desk, task.id, reason="no photo", command_id=new_id())
    assert states(here, task.id, first, second) == ("accepted", "accepted", "handed_back")
    press(here, first, task.id, "arrive", "resolve")
    mine = shifts.current(here, first.actor())
    assert mine is not None
    shifts.end(here, first.actor(), mine.id, command_id=new_id())
    tasks.rework(here, desk, task.id, reason="still no photo", command_id=new_id())
    assert states(here, task.id, first, second) == ("open", "handed_back", "handed_back")
    assert acts(here, task.id)[-2:] == ["rework", "hand_back"]


def test_one_accept_binds_the_crew_that_is_on_shift(here: UnitOfWork, town: Town) -> None:
    leader, mate, other = town["o0"], town["o1"], town["o2"]
    crew_on_shift(here, leader, mate)
    on_shift(here, town, other)
    task = make_task(here, town, leader, other, by_crew=True, needed=2)
    press(here, leader, task.id, "accept")
    assert states(here, task.id, leader, mate, other) == ("accepted", "accepted", "accepted", "withdrawn")
    behalf = select(Journal.on_behalf_of, Journal.actor_id).where(
        Journal.subject_id == share(here, task.id, mate).id, Journal.action == "accept"
    )
    assert here.session.execute(behalf).one() == (mate.id, leader.id)


def test_a_repeated_act_is_done_to_what_it_was_done_to(here: UnitOfWork, town: Town, desk: Any) -> None:
    """A phone that was offline sends its decline again; meanwhile the desk has asked him anew."""
    officer, key = town["o0"], new_id()
    on_shift(here, town, officer)
    task = make_task(here, town, officer)
    tasks.decline(here, officer.actor(), task.id, reason="lunch", command_id=key)
    tasks.offer(here, desk, task.id, Whom(officer_ids=[officer.id]), command_id=new_id())
    tasks.decline(here, officer.actor(), task.id, reason="lunch", command_id=key)
    assert states(here, task.id, officer) == ("offered", "offered")
    with pytest.raises(Invalid) as refused:
        tasks.accept(here, officer.actor(), task.id, command_id=key)
    assert refused.value.code == "key_reused"


# --- SOS


def test_an_sos_suspends_what_its_people_do_until_it_is_over_for_them(
    here: UnitOfWork, town: Town, desk: Any
) -> None:
    first, second = town["o0"], town["o1"]
    for person in (first, second):
        on_shift(here, town, person, east_m=5)
    alone = make_task(here, town, first)
    both = make_task(here, town, first, second, needed=2)
    press(here, first, alone.id, "accept", "depart")
    press(here, first, both.id, "accept")
    press(here, second, both.id, "accept")
    sos = make_task(here, town, kind="sos", whom=Whom(nearest=5, busy_too=True))
    assert sos.priority == "critical"
    assert {s.officer_id for s in sos.assignments} == {first.id, second.id}
    press(here, first, sos.id, "accept")
    assert states(here, alone.id, first) == ("suspended", "suspended")
    assert states(here, both.id, first, second) == ("accepted", "suspended", "accepted")
    assert share(here, alone.id, first).suspended_by == sos.id
    assert tasks.officer_actions(first.actor(), now(here, alone.id)) == ["hand_back"]
    press(here, second, sos.id, "accept")
    assert states(here, both.id, first, second) == ("suspended", "suspended", "suspended")
    # The desk releases the surplus: he goes on where he was.
    tasks.take_off(here, desk, sos.id, officer_id=second.id, reason="enough", command_id=new_id())
    assert states(here, both.id, first, second) == ("accepted", "suspended", "accepted")
    press(here, first, sos.id, "arrive")
    tasks.resolve(
        here, first.actor(), sos.id, Result("safe", answers={"injured": False}), command_id=new_id()
    )
    assert states(here, alone.id, first) == ("en_route", "en_route")
    assert states(here, both.id, first, second) == ("accepted", "accepted", "accepted")
    assert share(here, alone.id, first).suspended_by is None


def test_an_sos_exists_also_when_nobody_is_there_to_come(here: UnitOfWork, town: Town) -> None:
    """The partner who is off shift is passed over; the desk is told that nobody is left, and asks by name later."""
    whom = Whom(officer_ids=[town["o1"].id], nearest=3, busy_too=True)
    sos = make_task(here, town, kind="sos", whom=whom)
    assert (sos.state, sos.assignments) == ("open", [])
    assert acts(here, sos.id) == ["create", "nobody_left"]
    on_shift(here, town, town["o1"])
    on_shift(here, town, town["o0"], east_m=5)
    asked = make_task(here, town, kind="sos", whom=whom)
    assert [one.officer_id for one in asked.assignments] == [town["o1"].id, town["o0"].id]


def test_nobody_is_sent_to_his_own_sos(here: UnitOfWork, town: Town) -> None:
    for number in (0, 1):
        on_shift(here, town, town[f"o{number}"], east_m=number)
    alarm = Alarm(
        id=new_id(), town_id=town.id, number=1, kind="sos", source="officer", source_id=town["o0"].id,
        state="raised", priority="critical", area_id=town.areas["a"], officer_id=town["o0"].id, raised_at=here.now,
        detail={}, version=1,
    )  # fmt: skip
    here.session.add(alarm)
    here.session.flush()
    given: dict[str, Any] = {"source": "alarm", "source_id": alarm.id, "kind": "sos"}
    sos = make_task(here, town, whom=Whom(nearest=5, busy_too=True), **given)
    assert [one.officer_id for one in sos.assignments] == [town["o1"].id]


def test_of_two_sos_the_first_waits_and_nothing_else_goes_on_meanwhile(here: UnitOfWork, town: Town) -> None:
    officer = town["o0"]
    on_shift(here, town, officer, east_m=5)
    errand = make_task(here, town, officer)
    press(here, officer, errand.id, "accept")
    whom = Whom(officer_ids=[officer.id])
    earlier = make_task(here, town, kind="sos", whom=whom)
    press(here, officer, earlier.id, "accept")
    later = make_task(here, town, kind="sos", whom=whom)
    press(here, officer, later.id, "accept")
    assert states(here, earlier.id, officer) == ("suspended", "suspended")
    tasks.cancel(here, system_actor(town.id), earlier.id, reason="false alarm", command_id=new_id())
    assert states(here, errand.id, officer) == ("suspended", "suspended")
    assert share(here, errand.id, officer).suspended_by == later.id
    tasks.cancel(here, system_actor(town.id), later.id, reason="false alarm", command_id=new_id())
    assert states(here, errand.id, officer) == ("accepted", "accepted")


def test_a_cancelled_task_leaves_nobody_behind(here: UnitOfWork, town: Town, desk: Any) -> None:
    first, second = town["o0"], town["o1"]
    for person in (first, second):
        on_shift(here, town, person)
    task = make_task(here, town, first, second, needed=2)
    press(here, first, task.id, "accept")
    tasks.cancel(here, desk, task.id, reason="mistake", command_id=new_id())
    assert states(here, task.id, first, second) == ("cancelled", "released", "withdrawn")
    assert task_looks.open_ones(here, [first.id]) == []


# --- The end of a shift


def test_nobody_goes_home_with_a_task_on_his_hands(here: UnitOfWork, town: Town, desk: Any) -> None:
    officer = town["o0"]
    shift = on_shift(here, town, officer)
    offered, taken = make_task(here, town, officer), make_task(here, town, officer)
    press(here, officer, taken.id, "accept")
    with pytest.raises(Conflict) as refused:
        shifts.end(here, officer.actor(), shift.id, command_id=new_id())
    assert refused.value.code == "open_tasks"
    assert [one["id"] for one in refused.value.extra["tasks"]] == [str(taken.id)]
    press(here, officer, taken.id, "hand_back")
    shifts.end(here, officer.actor(), shift.id, command_id=new_id())
    assert states(here, offered.id, officer) == ("open", "lapsed")


@pytest.mark.parametrize("by", ["desk", "clock"])
def test_a_shift_that_others_end_hands_its_tasks_back(here: UnitOfWork, town: Town, by: str) -> None:
    officer = town["o0"]
    shift = on_shift(here, town, officer)
    task = make_task(here, town, officer)
    press(here, officer, task.id, "accept", "arrive")
    if by == "desk":
        shifts.end(here, town["desk_a"].actor(), shift.id, command_id=new_id(), reason="ill")
    else:
        here.now = shift.closes_at + timedelta(seconds=1)
        assert shifts.close_forgotten(here) == 1
    assert here.session.get_one(Shift, shift.id).state == "ended"
    assert states(here, task.id, officer) == ("open", "handed_back")
    assert share(here, task.id, officer).reason == tasks.OFF_SHIFT


def test_a_leader_does_not_end_the_crews_shift_over_a_mates_task(here: UnitOfWork, town: Town) -> None:
    leader, mate = town["o0"], town["o1"]
    shift = crew_on_shift(here, leader, mate)
    task = make_task(here, town, mate)
    press(here, mate, task.id, "accept")
    with pytest.raises(Conflict) as refused:
        shifts.end(here, leader.actor(), shift.id, command_id=new_id(), whole_crew=True)
    assert [one["officer_id"] for one in refused.value.extra["tasks"]] == [str(mate.id)]
    press(here, mate, task.id, "hand_back")
    shifts.end(here, leader.actor(), shift.id, command_id=new_id(), whole_crew=True)
    assert shifts.current(here, mate.actor()) is None


def test_who_is_off_shift_cannot_accept(here: UnitOfWork, town: Town) -> None:
    officer = town["o0"]
    shift = on_shift(here, town, officer)
    task = make_task(here, town, officer)
    here.now = here.session.get_one(Shift, shift.id).closes_at
    with pytest.raises(Conflict) as refused:
        press(here, officer, task.id, "accept")
    assert refused.value.code == "not_on_shift"


# --- Arrival


def test_arrival_is_suggested_by_the_fence_and_confirmed_by_the_officer(here: UnitOfWork, town: Town) -> None:
    officer = town["o0"]
    shift = on_shift(here, town, officer, east_m=300)
    task = make_task(here, town, officer)

    def suggested() -> list[str]:
        found = task_looks.own(here, officer.actor(), past=False, after=None, limit=10).items
        return list(task_looks.suggested(here, officer.actor(), found).values())

    see(here, shift, town, east_m=20)
    assert suggested() == [], "not before he has accepted"
    press(here, officer, task.id, "accept")
    assert suggested() == ["arrive"]
    for east_m, accuracy_m, near in ((54, 5, True), (56, 5, False), (100, 60, True), (160, 5000, False)):
        see(here, shift, town, east_m=east_m, accuracy_m=accuracy_m)
        assert bool(suggested()) is near, (east_m, accuracy_m)
    see(here, shift, town, east_m=0, fixed_at=here.now - timedelta(minutes=3))
    assert suggested() == [], "where he was is not where he is"
    see(here, shift, town, east_m=0)
    press(here, officer, task.id, "arrive")
    assert suggested() == []


# --- At once, with real threads


@pytest.fixture
def live_town(live_engine: Engine, live_config: Any) -> Iterator[Town]:
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    made = factories.make_town(owner, "live")
    for number in range(50):
        factories.add_officer(owner, made, f"o{number}")
    yield made
    owner.dispose()


def offered_to_all(town: Town, needed: int) -> tuple[UUID, list[Person]]:
    people = [person for name, person in town.people.items() if name[0] == "o" and name[1:].isdigit()]
    with unit_of_work(town.id) as uow:
        for person in people:
            if shifts.current(uow, person.actor()) is None:
                on_shift(uow, town, person)
    with unit_of_work(town.id) as uow:
        return make_task(uow, town, *people, needed=needed).id, people


def at_once(town: Town, *acts_at_once: Callable[[UnitOfWork], Any]) -> list[dict[str, Any]]:
    """Let each act in a transaction and a thread of its own, after one barrier; return what each was refused with."""
    barrier = threading.Barrier(len(acts_at_once))

    def one(act: Callable[[UnitOfWork], Any]) -> dict[str, Any]:
        barrier.wait()
        try:
            with unit_of_work(town.id) as uow:
                act(uow)
        except Conflict as refused:
            return {"status": refused.status, "code": refused.code, **refused.extra}
        return {}

    with ThreadPoolExecutor(len(acts_at_once)) as pool:
        return list(pool.map(one, acts_at_once))


def accepting(person: Person, task_id: UUID, key: UUID) -> Callable[[UnitOfWork], Any]:
    return lambda uow: tasks.accept(uow, person.actor(), task_id, command_id=key)


def going_home(person: Person, shift_id: UUID) -> Callable[[UnitOfWork], Any]:
    return lambda uow: shifts.end(uow, person.actor(), shift_id, command_id=new_id())


def test_of_fifty_who_accept_at_once_as_many_win_as_are_needed(
    live_town: Town, thin: Callable[[int, int], int]
) -> None:
    """F16: one winner where one is needed, k where k are; the others get a clear 409, and each win is journalled once.

    Who accepts twice with one id, as a phone does that lost the answer, is told the same twice.
    """
    for number in range(thin(1_000, 2)):
        needed = (1, 3)[number % 2]
        task_id, people = offered_to_all(live_town, needed)
        assert len(people) == 50
        keys = {person.id: new_id() for person in people}
        told = at_once(live_town, *(accepting(person, task_id, keys[person.id]) for person in people))
        winners = [person for person, refused in zip(people, told, strict=True) if not refused]
        assert len(winners) == needed
        lost = {"status": 409, "code": "wrong_state", "current": "withdrawn", "actions": []}
        assert [refused for refused in told if refused] == [lost] * (50 - needed)
        with unit_of_work(live_town.id) as uow:
            task = now(uow, task_id)
            assert (task.state, task.filled_at is not None) == ("accepted", True)
            assert {s.officer_id for s in task.assignments if s.state == "accepted"} == {
                p.id for p in winners
            }
            assert acts(uow, task_id).count("accept") == 1
            accepted = select(Journal.actor_id).where(
                Journal.action == "accept", Journal.subject_id.in_([s.id for s in task.assignments])
            )
            assert sorted(uow.session.scalars(accepted)) == sorted(person.id for person in winners)
        again = at_once(live_town, *(accepting(winner, task_id, keys[winner.id]) for winner in winners * 2))
        assert again == [{}] * needed * 2
        with unit_of_work(live_town.id) as uow:
            assert acts(uow, task_id).count("accept") == 1
            tasks.cancel(uow, live_town["desk_a"].actor(), task_id, reason="over", command_id=new_id())


def test_accepting_and_going_home_at_once_leaves_no_task_with_somebody_off_shift(
    live_town: Town, thin: Callable[[int, int], int]
) -> None:
    """Whichever comes first: the shift goes on with the task, or the offer has lapsed."""
    officer = live_town["o0"]
    for _ in range(thin(50, 5)):
        with unit_of_work(live_town.id) as uow:
            shift = shifts.current(uow, officer.actor()) or on_shift(uow, live_town, officer)
        with unit_of_work(live_town.id) as uow:
            task_id = make_task(uow, live_town, officer).id
        refused = at_once(live_town, accepting(officer, task_id, new_id()), going_home(officer, shift.id))
        told = tuple(one.get("code", "done") for one in refused)
        assert told in {("done", "open_tasks"), ("wrong_state", "done"), ("not_on_shift", "done")}
        with unit_of_work(live_town.id) as uow:
            assert bool(task_looks.open_ones(uow, [officer.id])) is (told[0] == "done")
            tasks.cancel(uow, live_town["desk_a"].actor(), task_id, reason="over", command_id=new_id())


def test_a_town_begins_with_kinds_of_task_that_can_be_used(here: UnitOfWork, town: Town) -> None:
    kinds = {kind.code: kind for kind in here.session.scalars(select(TaskKind))}
    assert {
        "sos",
        "dispute",
        "noise",
        "lost_person",
        "fire_hazard",
        "illegal_parking",
        "escort",
        "other",
    } <= set(kinds)
    for code in kinds:
        make_task(here, town, kind=code)


# --- What happened to it


def test_a_long_timeline_is_told_to_its_end(
    here: UnitOfWork, town: Town, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page by page as at once, also where there is more than is read for one page."""
    officer = town["o0"]
    on_shift(here, town, officer, east_m=140)
    task = make_task(here, town)
    for _ in range(6):
        for act in ("offer", "accept", "hand_back"):
            here.now += timedelta(seconds=1)
            if act == "offer":
                tasks.offer(here, desk, task.id, Whom(officer_ids=[officer.id]), command_id=new_id())
            else:
                press(here, officer, task.id, act)
    whole = timelines.of_task(here, desk, task.id, after=None, limit=200)
    assert whole.after is None
    assert [entry.action for entry in whole.items].count("hand_back") == 6
    monkeypatch.setattr(timelines, "MOST_ENTRIES", 12)
    told: list[timelines.Entry] = []
    after: Any = None
    while True:
        page = timelines.of_task(here, desk, task.id, after=after, limit=2)
        told += page.items
        if page.after is None:
            break
        after = [str(part) for part in page.after]
    assert told == list(whole.items)
