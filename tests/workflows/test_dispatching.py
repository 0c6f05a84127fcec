"""From an alarm to people on their way, and back: alarm and task are twins."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine, func, select, text
from sqlalchemy.pool import NullPool

from backend.core.config import Config
from backend.core.errors import Forbidden, Invalid, NotVisible, Refusal, WrongState
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import AlarmKind, AlarmSource, AlarmState, AssignmentState, TaskState, Travel
from backend.models import Alarm, Assignment, Invitation, Task
from tests import factories
from tests.factories import Person, Town
from tests.workflows.test_alarms import help_of, on_shift, seen_at
from workflows import access, alarms, dispatching, invitations, nearest, shifts, tasks
from workflows.alarms import Place
from workflows.crews import WantedCrew
from workflows.offering import Whom
from workflows.results import Result

LIMITS = shifts.Limits(longest=timedelta(hours=14), grace=timedelta(minutes=30))


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    town = factories.make_town(owner_engine, f"dispatch-{new_id().hex[-12:]}")
    for number in range(3, 7):
        town.people[f"officer_a{number}"] = factories.add_officer(owner_engine, town, f"officer_a{number}")
    return town


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


def ready(uow: UnitOfWork, town: Town, *names: str) -> None:
    """Bring officers on shift, each with a fix."""
    for name in names:
        seen_at(uow, on_shift(uow, town[name]), town)


def asked(uow: UnitOfWork, task_id: UUID) -> set[UUID]:
    return set(uow.session.scalars(select(Assignment.officer_id).where(Assignment.task_id == task_id)))


def a_place(town: Town, uow: UnitOfWork) -> Place:
    lon, lat = town.place()
    return Place(lon, lat, 12.0, uow.now)


def dispatched(uow: UnitOfWork, town: Town, officer: str = "officer_a2") -> tuple[Alarm, Task]:
    ready(uow, town, officer)
    raised = help_of(uow, town["resident"], place=a_place(town, uow))
    task = dispatching.dispatch(
        uow, town["desk_a"].actor(), raised.id, command_id=new_id(), whom=Whom(officer_ids=[town[officer].id])
    )
    return access.alarm(uow, town["desk_a"].actor(), raised.id), task


def done_by(uow: UnitOfWork, person: Person, task: Task) -> None:
    actor = person.actor()
    for act in (tasks.accept, tasks.depart, tasks.arrive):
        act(uow, actor, task.id, command_id=new_id())
    right = {"yes_no": lambda _: True, "choice": lambda q: q["choices"][0]["id"], "number": lambda _: 1}
    answers: dict[str, Any] = {
        q["id"]: right.get(q["answer"], lambda _: "x")(q) for q in task.kind.questions if q.get("required")
    }
    checked = {item["id"]: True for item in task.kind.checklist}
    result = Result(text="已到场处置", checklist=checked, answers=answers)
    tasks.resolve(uow, actor, task.id, result, command_id=new_id())


# --- SOS


def test_an_sos_asks_the_nearest_busy_or_not_and_never_who_called(here: UnitOfWork, town: Town) -> None:
    ready(here, town, "officer_a", "officer_a2", "officer_a3")
    desk = town["desk_a"].actor()
    lon, lat = town.place()
    busy = tasks.create(
        here, desk, command_id=new_id(), description="x", place=(lon, lat), kind_code="noise",
        whom=Whom(officer_ids=[town["officer_a2"].id]),
    )  # fmt: skip
    tasks.accept(here, town["officer_a2"].actor(), busy.id, command_id=new_id())
    raised = help_of(here, town["officer_a"], place=a_place(town, here))
    task_id = dispatching.send_to_sos(here, raised.id)
    assert task_id is not None
    assert asked(here, task_id) == {town["officer_a2"].id, town["officer_a3"].id}
    task = access.task(here, desk, task_id)
    assert (task.state, task.kind.code, task.source_id) == (TaskState.OFFERED, "sos", raised.id)
    tasks.accept(here, town["officer_a2"].actor(), task_id, command_id=new_id())
    assert access.task(here, desk, busy.id).state == TaskState.SUSPENDED
    assert dispatching.send_to_sos(here, raised.id) == task_id, "the job may run twice"
    assert here.session.scalar(select(func.count()).where(Task.source_id == raised.id)) == 1


def test_the_partners_of_an_officer_who_calls_are_asked_first(here: UnitOfWork, town: Town) -> None:
    leader, mate = town["officer_a"], town["officer_a3"]
    crew = WantedCrew("青禾-01", Travel.FOOT, [mate.id])
    led = shifts.start(here, leader.actor(), command_id=new_id(), limits=LIMITS, crew=crew)
    asked_id = here.session.scalars(select(Invitation.id).where(Invitation.crew_id == led.crew_id)).one()
    invitations.accept(here, mate.actor(), asked_id, command_id=new_id(), limits=LIMITS)
    ready(here, town, "officer_a2")
    raised = help_of(here, leader, place=a_place(town, here))
    task_id = dispatching.send_to_sos(here, raised.id)
    assert task_id is not None
    assert asked(here, task_id) == {mate.id, town["officer_a2"].id}, "the partner has no fix and is asked"


def test_an_sos_goes_to_the_nearest_across_communities_and_an_ordinary_task_does_not(
    here: UnitOfWork, town: Town
) -> None:
    over_there = on_shift(here, town["officer_b"])
    seen_at(here, over_there, town, area="a")
    raised = help_of(here, town["resident"], place=a_place(town, here))
    task_id = dispatching.send_to_sos(here, raised.id)
    assert task_id is not None
    assert asked(here, task_id) == {town["officer_b"].id}
    desk, place = town["desk_a"].actor(), town.place()
    ordinary = tasks.create(
        here, desk, command_id=new_id(), description="x", place=place, kind_code="noise", offers_itself=True
    )
    assert asked(here, ordinary.id) == set()


def test_who_has_an_alarm_has_its_task_too_wherever_the_place_lies(here: UnitOfWork, town: Town) -> None:
    lon, lat = town.place("b")
    raised = help_of(here, town["resident"], place=Place(lon, lat, 12.0, here.now))
    task_id = dispatching.send_to_sos(here, raised.id)
    assert task_id is not None
    desk = town["desk_a"].actor()
    assert access.alarm(here, desk, raised.id).task_id == task_id
    assert access.task(here, desk, task_id).area_id == raised.area_id


def test_a_task_follows_who_called_for_help_and_who_is_on_the_way_hears_it(
    here: UnitOfWork, town: Town
) -> None:
    ready(here, town, "officer_a2")
    raised = help_of(here, town["resident"], place=a_place(town, here))
    task_id = dispatching.send_to_sos(here, raised.id)
    assert task_id is not None
    desk = town["desk_a"].actor()
    before = access.task(here, desk, task_id).version
    assert dispatching.send_to_sos(here, raised.id) == task_id
    assert access.task(here, desk, task_id).version == before, "nothing has moved"
    here.now += timedelta(seconds=40)
    lon, lat = town.place()
    help_of(here, town["resident"], place=Place(lon + 0.001, lat, 5.0, here.now))
    assert dispatching.send_to_sos(here, raised.id) == task_id
    moved = access.task(here, desk, task_id)
    assert nearest.place_of(moved)[0] == pytest.approx(lon + 0.001)
    assert moved.version > before
    assert access.alarm(here, desk, raised.id).state == AlarmState.RAISED
    tasks.cancel(here, desk, task_id, reason="x", command_id=new_id())
    over = access.task(here, desk, task_id).version
    help_of(here, town["resident"], place=Place(lon + 0.002, lat, 5.0, here.now + timedelta(seconds=1)))
    dispatching.send_to_sos(here, raised.id)
    assert access.task(here, desk, task_id).version == over


def test_who_calls_again_when_his_helpers_are_done_is_in_need_again(here: UnitOfWork, town: Town) -> None:
    """Nobody who was helped once is held to be so for good: not even by the one officer who said so."""
    ready(here, town, "officer_a2")
    raised = help_of(here, town["resident"], place=a_place(town, here))
    task_id = dispatching.send_to_sos(here, raised.id)
    desk = town["desk_a"].actor()
    dispatching.acknowledge(here, desk, raised.id, command_id=new_id())
    assert task_id is not None
    done_by(here, town["officer_a2"], access.task(here, desk, task_id))
    here.now += timedelta(minutes=2)
    again = help_of(here, town["resident"], place=a_place(town, here))
    assert again.id != raised.id
    assert (again.state, access.alarm(here, desk, raised.id).state) == (AlarmState.RAISED, AlarmState.CLEARED)
    anew = dispatching.send_to_sos(here, again.id)
    assert anew is not None
    assert anew != task_id
    assert asked(here, anew) == {town["officer_a2"].id}
    assert access.task(here, desk, task_id).state == TaskState.RESOLVED, "what was done is still looked at"


def test_who_calls_again_while_nobody_comes_is_sent_who_is_there_by_now(here: UnitOfWork, town: Town) -> None:
    raised = help_of(here, town["resident"], place=a_place(town, here))
    task_id = dispatching.send_to_sos(here, raised.id)
    assert task_id is not None
    assert asked(here, task_id) == set()
    here.now += timedelta(minutes=5)
    ready(here, town, "officer_a2")
    assert help_of(here, town["resident"], place=a_place(town, here)).id == raised.id
    assert dispatching.send_to_sos(here, raised.id) == task_id
    assert asked(here, task_id) == {town["officer_a2"].id}
    assert dispatching.send_to_sos(here, raised.id) == task_id
    assert asked(here, task_id) == {town["officer_a2"].id}


def test_an_sos_that_nobody_can_answer_stands_open_and_goes_on_climbing(here: UnitOfWork, town: Town) -> None:
    raised = help_of(here, town["resident"], place=a_place(town, here))
    task_id = dispatching.send_to_sos(here, raised.id)
    assert task_id is not None
    assert access.task(here, town["desk_a"].actor(), task_id).state == TaskState.OPEN
    alarm = access.alarm(here, town["desk_a"].actor(), raised.id)
    assert alarm.state == AlarmState.RAISED, "that people were asked is no answer by the desk"


def test_a_town_older_than_its_kinds_of_task_sends_people_to_an_sos_too(here: UnitOfWork, town: Town) -> None:
    here.session.execute(text("update task_kinds set code = 'before-' || code where code = 'sos'"))
    ready(here, town, "officer_a2")
    raised = help_of(here, town["resident"], place=a_place(town, here))
    task_id = dispatching.send_to_sos(here, raised.id)
    assert task_id is not None
    assert town["officer_a2"].id in asked(here, task_id)
    desk = town["desk_a"].actor()
    with pytest.raises(Invalid):
        tasks.create(
            here, desk, command_id=new_id(), description="x", place=town.place(), kind_code="unheard-of"
        )


def test_an_sos_without_a_place_is_left_to_the_desk(here: UnitOfWork, town: Town) -> None:
    raised = help_of(here, town["resident"])
    assert dispatching.send_to_sos(here, raised.id) is None
    desk = town["desk_a"].actor()
    with pytest.raises(Invalid):
        dispatching.dispatch(here, desk, raised.id, command_id=new_id(), whom=None)
    task = dispatching.dispatch(here, desk, raised.id, command_id=new_id(), whom=None, place=town.place())
    assert task.source_id == raised.id


def test_acknowledging_an_sos_that_people_were_sent_to_takes_it_over_with_its_task(
    here: UnitOfWork, town: Town
) -> None:
    ready(here, town, "officer_a2")
    raised = help_of(here, town["resident"], place=a_place(town, here))
    task_id = dispatching.send_to_sos(here, raised.id)
    taken = dispatching.acknowledge(here, town["desk_a"].actor(), raised.id, command_id=new_id())
    assert (taken.state, taken.task_id, taken.acknowledged_by) == (
        AlarmState.DISPATCHED, task_id, town["desk_a"].id,
    )  # fmt: skip


def test_people_are_sent_to_an_sos_once_however_it_is_pressed(here: UnitOfWork, town: Town) -> None:
    """A second task would leave the first to nobody: its officers would stay suspended when the call is over."""
    ready(here, town, "officer_a2", "officer_a3")
    raised = help_of(here, town["resident"], place=a_place(town, here))
    desk = town["desk_a"].actor()
    assert "dispatch" in alarms.actions(desk, raised)
    task_id = dispatching.send_to_sos(here, raised.id)
    assert task_id is not None
    sent = alarms.read(here, raised.id)
    assert alarms.actions(desk, sent) == ["acknowledge", "dismiss"]
    with pytest.raises(WrongState) as refused:
        dispatching.dispatch(here, desk, raised.id, command_id=new_id(), whom=Whom(nearest=1))
    assert refused.value.extra["actions"] == ["acknowledge", "dismiss"]
    tasks.cancel(here, desk, task_id, reason="误派", command_id=new_id())
    again = dispatching.dispatch(here, desk, raised.id, command_id=new_id(), whom=Whom(nearest=1))
    assert alarms.read(here, raised.id).task_id == again.id != task_id


def test_an_sos_that_the_desk_had_taken_on_is_dispatched_when_people_are_sent(
    here: UnitOfWork, town: Town
) -> None:
    ready(here, town, "officer_a2")
    raised = help_of(here, town["resident"], place=a_place(town, here))
    dispatching.acknowledge(here, town["desk_a"].actor(), raised.id, command_id=new_id())
    task_id = dispatching.send_to_sos(here, raised.id)
    sent = alarms.read(here, raised.id)
    assert (sent.state, sent.task_id) == (AlarmState.DISPATCHED, task_id)
    assert "clear" in alarms.actions(town["desk_a"].actor(), sent)


# --- Twins


def test_closing_the_task_clears_the_alarm(here: UnitOfWork, town: Town) -> None:
    alarm, task = dispatched(here, town)
    assert alarm.state == AlarmState.DISPATCHED
    done_by(here, town["officer_a2"], task)
    assert access.alarm(here, town["desk_a"].actor(), alarm.id).state == AlarmState.DISPATCHED
    tasks.verify(here, town["desk_a"].actor(), task.id, command_id=new_id())
    cleared = access.alarm(here, town["desk_a"].actor(), alarm.id)
    assert (cleared.state, cleared.cleared_at) == (AlarmState.CLEARED, here.now)


def test_clearing_the_alarm_calls_the_task_off(here: UnitOfWork, town: Town) -> None:
    alarm, task = dispatched(here, town)
    desk = town["desk_a"].actor()
    tasks.accept(here, town["officer_a2"].actor(), task.id, command_id=new_id())
    dispatching.clear(here, desk, alarm.id, command_id=new_id(), reason="居民来电称已安全")
    after = access.task(here, desk, task.id)
    assert after.state == TaskState.CANCELLED
    assert {a.state for a in after.assignments} <= {AssignmentState.RELEASED, AssignmentState.WITHDRAWN}


def test_a_task_that_is_called_off_ends_a_dispatched_alarm(here: UnitOfWork, town: Town) -> None:
    alarm, task = dispatched(here, town)
    tasks.cancel(here, town["desk_a"].actor(), task.id, reason="重复", command_id=new_id())
    assert access.alarm(here, town["desk_a"].actor(), alarm.id).state == AlarmState.CLEARED


def test_calling_off_the_task_of_an_sos_that_nobody_took_on_leaves_the_sos_standing(
    here: UnitOfWork, town: Town
) -> None:
    raised = help_of(here, town["resident"], place=a_place(town, here))
    task_id = dispatching.send_to_sos(here, raised.id)
    assert task_id is not None
    tasks.cancel(here, town["desk_a"].actor(), task_id, reason="误派", command_id=new_id())
    standing = access.alarm(here, town["desk_a"].actor(), raised.id)
    assert (standing.state, standing.task_id) == (AlarmState.RAISED, None)


def test_a_false_alarm_calls_off_whoever_was_asked(here: UnitOfWork, town: Town) -> None:
    ready(here, town, "officer_a2")
    raised = help_of(here, town["resident"], place=a_place(town, here))
    task_id = dispatching.send_to_sos(here, raised.id)
    assert task_id is not None
    desk = town["desk_a"].actor()
    false = dispatching.dismiss(here, desk, raised.id, command_id=new_id(), reason="儿童误触")
    assert false.state == AlarmState.FALSE
    assert access.task(here, desk, task_id).state == TaskState.CANCELLED


# --- Who, and how often


def test_an_alarm_is_dispatched_once_and_a_repeated_command_answers_with_the_same_task(
    here: UnitOfWork, town: Town
) -> None:
    ready(here, town, "officer_a2")
    raised = help_of(here, town["resident"], place=a_place(town, here))
    desk, command = town["desk_a"].actor(), new_id()
    first = dispatching.dispatch(here, desk, raised.id, command_id=command, whom=Whom(nearest=1))
    again = dispatching.dispatch(here, desk, raised.id, command_id=command, whom=Whom(nearest=1))
    assert again.id == first.id
    with pytest.raises(WrongState) as refused:
        dispatching.dispatch(here, desk, raised.id, command_id=new_id(), whom=Whom(nearest=1))
    assert refused.value.extra["current"] == AlarmState.DISPATCHED


def test_neither_another_desk_nor_who_called_may_dispatch(here: UnitOfWork, town: Town) -> None:
    """F41."""
    raised = help_of(here, town["resident"], place=a_place(town, here))
    with pytest.raises(NotVisible):
        dispatching.dispatch(here, town["desk_b"].actor(), raised.id, command_id=new_id(), whom=None)
    with pytest.raises((Forbidden, NotVisible)):
        dispatching.dispatch(here, town["resident"].actor(), raised.id, command_id=new_id(), whom=None)
    assert here.session.scalar(select(func.count()).where(Task.source_id == raised.id)) == 0


def test_two_desks_at_once_make_one_task_and_ending_both_ends_never_hangs(
    live_config: Config, live_engine: Engine, thin: Any
) -> None:
    """F16: the alarm's row decides; clearing the alarm and ending its task meet from both sides without a deadlock."""
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    town = factories.make_town(owner, "twins")
    owner.dispose()
    desks = (town["desk_a"].actor(), town["supervisor_a"].actor())
    for _ in range(thin(50, 6)):
        with unit_of_work(town.id) as uow:
            alarm, made = alarms.raise_alarm(
                uow, desks[0], AlarmKind.SENSOR, AlarmSource.DEVICE, new_id(), area_id=town.areas["a"],
                place=a_place(town, uow),
            )  # fmt: skip
            assert made
        gate = Barrier(2)

        def send(actor: Any, alarm_id: UUID = alarm.id, gate: Barrier = gate) -> UUID | None:
            gate.wait()
            try:
                with unit_of_work(town.id) as uow:
                    return dispatching.dispatch(uow, actor, alarm_id, command_id=new_id(), whom=None).id
            except WrongState:
                return None

        with ThreadPoolExecutor(2) as pool:
            sent = [one for one in pool.map(send, desks) if one is not None]
        assert len(sent) == 1
        gate = Barrier(2)

        def end(how: str, alarm_id: UUID = alarm.id, task_id: UUID = sent[0], gate: Barrier = gate) -> str:
            gate.wait()
            try:
                with unit_of_work(town.id) as uow:
                    if how == "alarm":
                        dispatching.clear(uow, desks[0], alarm_id, command_id=new_id(), reason="x")
                    else:
                        tasks.cancel(uow, desks[1], task_id, reason="x", command_id=new_id())
                return "done"
            except Refusal as refusal:
                return refusal.code

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(end, ("alarm", "task"))) == ["done", "wrong_state"]
        with unit_of_work(town.id) as uow:
            states = uow.session.execute(
                text(
                    "select a.state, t.state from alarms a join tasks t on t.id = a.task_id where a.id = :id"
                ),
                {"id": alarm.id},
            ).one()
        assert tuple(states) == (AlarmState.CLEARED, TaskState.CANCELLED)
