"""移交公安: a task is handed over to the police by the desk, never by itself, and with that it is over for the town."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select

from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, WrongState
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AlarmKind, AlarmSource, NoticeKind, Role
from backend.models import Alarm, Deadline, Disclosure, Journal, Notice, Task
from geo import datum
from tests import dispatching, factories
from tests.factories import Town
from workflows import alarms, briefs, task_looks, tasks
from workflows import dispatching as alarm_dispatching
from workflows.alarms import Place
from workflows.results import Referral
from workflows.tasks import TASK


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"refer-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


def refer(uow: UnitOfWork, town: Town, task: Task, by: str = "desk_a", **more: Any) -> Task:
    given = {
        "case_number": "A3101070 2026 110 0042",
        "taken_by": "张警官",
        "handed_at": uow.now,
        "badge": "031042",
    }
    return tasks.refer(
        uow,
        town[by].actor(),
        task.id,
        Referral(**(given | more)),
        reason="涉嫌盗窃",
        command_id=new_id(),
    )


def test_an_open_task_is_closed_with_the_polices_number(here: UnitOfWork, town: Town) -> None:
    task = refer(here, town, dispatching.make_task(here, town))
    assert (task.state, task.closed_at, task.referred_at, task.result) == ("closed", here.now, here.now, None)
    assert task.referral == {
        "case_number": "A3101070 2026 110 0042", "taken_by": "张警官", "badge": "031042",
        "handed_at": here.now.isoformat(), "reason": "涉嫌盗窃", "by_id": str(town["desk_a"].id),
    }  # fmt: skip
    here.session.flush()
    waiting = select(Deadline).where(Deadline.subject_id == task.id, Deadline.done_at.is_(None))
    assert here.session.scalars(waiting).all() == []


def test_what_the_police_are_called_stays_out_of_the_journal(here: UnitOfWork, town: Town) -> None:
    task = refer(here, town, dispatching.make_task(here, town))
    here.session.flush()
    act = here.session.scalars(
        select(Journal).where(Journal.subject_id == task.id, Journal.action == "refer")
    ).one()
    assert (act.from_state, act.to_state, act.reason, act.data) == ("open", "closed", "涉嫌盗窃", None)
    assert act.actor_id == town["desk_a"].id


def test_whoever_is_on_it_is_told_and_free_again(here: UnitOfWork, town: Town) -> None:
    officer = town["officer_a"]
    dispatching.on_shift(here, town, officer, east_m=0)
    task = dispatching.make_task(here, town, officer)
    dispatching.press(here, officer, task.id, "accept", "arrive")
    refer(here, town, task)
    assert dispatching.states(here, task.id, officer) == ("closed", "released")
    told = here.session.scalars(
        select(Notice.kind).where(Notice.subject_id == task.id, Notice.recipient_id == officer.id)
    )
    assert NoticeKind.TASK_REFERRED in told.all()
    assert task_looks.open_ones(here, [officer.id]) == []


def test_an_alarm_whose_task_is_handed_over_is_over(here: UnitOfWork, town: Town) -> None:
    lon, lat = town.place()
    alarm, _ = alarms.raise_alarm(
        here, town["desk_a"].actor(), AlarmKind.SENSOR, AlarmSource.DEVICE, new_id(), area_id=town.areas["a"],
        place=Place(lon, lat),
    )  # fmt: skip
    task = alarm_dispatching.dispatch(here, town["desk_a"].actor(), alarm.id, command_id=new_id(), whom=None)
    refer(here, town, task)
    here.session.expire_all()
    assert here.session.get_one(Alarm, alarm.id).state == "cleared"


def test_what_is_resolved_may_be_handed_over_and_what_is_over_may_not(here: UnitOfWork, town: Town) -> None:
    officer = town["officer_a"]
    dispatching.on_shift(here, town, officer, east_m=0)
    task = dispatching.make_task(here, town, officer)
    dispatching.press(here, officer, task.id, "accept", "arrive", "resolve")
    assert refer(here, town, task).result is not None
    with pytest.raises(WrongState):
        refer(here, town, task)
    with pytest.raises(WrongState):
        tasks.rework(here, town["desk_a"].actor(), task.id, reason="x", command_id=new_id())
    called_off = dispatching.make_task(here, town)
    tasks.cancel(here, town["desk_a"].actor(), called_off.id, reason="x", command_id=new_id())
    with pytest.raises(WrongState):
        refer(here, town, called_off)


def test_no_clock_no_rule_no_officer_and_no_other_desk_hands_anything_over(
    here: UnitOfWork, town: Town
) -> None:
    [step] = [one for one in TASK.steps if one.action == "refer"]
    assert step.by == {Role.DISPATCHER, Role.SUPERVISOR}
    officer = town["officer_a"]
    dispatching.on_shift(here, town, officer, east_m=0)
    task = dispatching.make_task(here, town, officer)
    for by in ("desk_b", "officer_a", "officer_b"):
        with pytest.raises((NotVisible, Forbidden)):
            refer(here, town, task, by)


def test_nothing_is_handed_over_in_the_future(here: UnitOfWork, town: Town) -> None:
    task = dispatching.make_task(here, town)
    with pytest.raises(Invalid, match="future"):
        refer(here, town, task, handed_at=here.now + timedelta(hours=1))
    assert refer(here, town, task, handed_at=here.now - timedelta(hours=2)).state == "closed"


# --- The page


def test_the_page_says_what_it_was_and_who_took_it_and_that_one_looked(here: UnitOfWork, town: Town) -> None:
    officer, desk = town["officer_a"], town["desk_a"].actor()
    dispatching.on_shift(here, town, officer, east_m=0)
    task = dispatching.make_task(here, town, officer)
    dispatching.press(here, officer, task.id, "accept", "arrive", "resolve")
    refer(here, town, task)
    page = briefs.brief(here, desk, task.id, reason="handing over")
    lon, lat = town.place()
    assert page.wgs84 == pytest.approx((lon, lat))
    assert page.gcj02 == datum.convert(*page.wgs84, "wgs84", "gcj02")
    assert len(page.areas) == len(task.area.ancestors)  # From the town down.
    [hand] = page.people
    assert (hand.state, hand.accepted_at) == ("done", here.now)
    assert [entry.action for entry in page.timeline][-1] == "refer"
    assert (page.timeline_cut, page.printed_at, page.printed_by.id) == (False, here.now, desk.user_id)
    assert page.referred_by is not None
    here.session.flush()
    [look] = here.session.scalars(select(Disclosure).where(Disclosure.subject_id == task.id))
    assert (look.kind, look.reason, look.actor_id) == ("export", "handing over", desk.user_id)
    briefs.print_brief(here, desk, task.id, command_id=new_id())
    here.session.flush()
    acts = select(Journal.action).where(Journal.subject_id == task.id).order_by(Journal.id.desc()).limit(1)
    assert here.session.scalar(acts) == "print_brief"


def test_there_is_no_page_of_what_was_not_handed_over_and_none_for_others(
    here: UnitOfWork, town: Town
) -> None:
    task, desk = dispatching.make_task(here, town), town["desk_a"].actor()
    for act in (
        lambda: briefs.brief(here, desk, task.id, reason="x"),
        lambda: briefs.print_brief(here, desk, task.id, command_id=new_id()),
    ):
        with pytest.raises(Conflict):
            act()
    refer(here, town, task)
    with pytest.raises(NotVisible):
        briefs.brief(here, town["desk_b"].actor(), task.id, reason="x")
    here.session.flush()
    assert here.session.scalars(select(Disclosure).where(Disclosure.subject_id == task.id)).all() == []
