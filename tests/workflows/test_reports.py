"""What officers find themselves: handled on the spot, looked at by sample, or passed on and answered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.pool import NullPool

from backend.core.config import Config
from backend.core.errors import Forbidden, Invalid, NotVisible, Refusal, WrongState
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import NoticeKind, ReportState
from backend.models import Journal, Notice, Report, Task, TaskKind
from tests import dispatching, factories
from tests.factories import Town
from tests.workflows.test_alarms import on_shift, seen_at
from workflows import access, reporting, reports, tasks, timelines
from workflows.alarms import Place
from workflows.offering import Whom
from workflows.results import Referral, Result


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"reports-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


def kind(uow: UnitOfWork, code: str = "facility") -> UUID:
    return uow.session.scalars(select(TaskKind.id).where(TaskKind.code == code)).one()


def file(uow: UnitOfWork, town: Town, how: Any = "handled", *, sample: int = 0, **more: Any) -> Report:
    lon, lat = town.place()
    given = {"place": Place(lon, lat, 8.0, uow.now), "kind_id": kind(uow), **more}
    officer = town[given.pop("officer", "officer_a")].actor()
    return reporting.file(uow, officer, command_id=new_id(), how=how, sample_percent=sample, **given)


def acts(uow: UnitOfWork, report: Report) -> list[tuple[str, str | None]]:
    uow.session.flush()
    rows = (
        select(Journal.action, Journal.to_state).where(Journal.subject_id == report.id).order_by(Journal.id)
    )
    return [(row.action, row.to_state) for row in uow.session.execute(rows)]


def told(uow: UnitOfWork, report: Report) -> list[tuple[UUID, str]]:
    """Who was told what of a report, in order; what a newer notice replaced is left out."""
    uow.session.flush()
    rows = (
        select(Notice).where(Notice.subject_id == report.id, Notice.replaced_at.is_(None)).order_by(Notice.id)
    )
    assert all(row.kind == NoticeKind.REPORT_ANSWERED for row in uow.session.scalars(rows))
    return [(row.recipient_id, row.params["outcome"]) for row in uow.session.scalars(rows)]


def test_what_is_handled_on_the_spot_is_closed_at_once(here: UnitOfWork, town: Town) -> None:
    before, after = new_id(), new_id()
    pressed = here.now - timedelta(hours=3)
    report = file(
        here, town, note="井盖已复位", evidence_before=[before], evidence_after=[after], device_at=pressed
    )
    assert (report.state, report.closed_at, report.filed_at) == ("closed", here.now, here.now)
    assert (report.evidence_before, report.evidence_after) == ([before], [after])
    assert (report.device_at, report.task_id, report.place_from) == (pressed, None, "told")
    assert town.areas["a"] in report.area.ancestors
    assert acts(here, report) == [("file", "filed"), ("settle", "closed")]
    assert told(here, report) == []


def test_numbers_of_reports_count_up_by_themselves(here: UnitOfWork, town: Town) -> None:
    first, second = file(here, town), file(here, town)
    assert second.number == first.number + 1


def test_what_is_passed_on_is_a_task_and_its_officer_is_told_the_result(here: UnitOfWork, town: Town) -> None:
    report = file(here, town, "passed_on", note="路灯不亮")
    task = here.session.get_one(Task, report.task_id)
    assert (report.state, task.source, task.source_id) == ("passed_on", "report", report.id)
    assert (task.state, task.description, task.kind_id) == ("open", "路灯不亮", report.kind_id)
    assert told(here, report) == []  # That it is a task he knows: he passed it on.
    dispatching.on_shift(here, town, town["officer_a2"], east_m=0)
    desk = town["desk_a"].actor()
    to = Whom(officer_ids=[town["officer_a2"].id])
    tasks.offer(here, desk, task.id, to, command_id=new_id())
    for action in ("accept", "arrive"):
        dispatching.press(here, town["officer_a2"], task.id, action)
    officer = town["officer_a2"].actor()
    tasks.resolve(here, officer, task.id, Result("换了灯泡"), command_id=new_id())
    assert reports.read(here, report.id).state == "passed_on"  # Resolved is not verified.
    tasks.verify(here, desk, task.id, command_id=new_id())
    answered = reports.read(here, report.id)
    assert (answered.state, answered.outcome, answered.answered_at) == ("answered", "handled", here.now)
    assert told(here, report) == [(town["officer_a"].id, "handled")]


@pytest.mark.parametrize(("end", "outcome"), [("cancel", "refused"), ("refer", "referred")])
def test_a_task_that_ends_otherwise_answers_its_report_too(
    here: UnitOfWork, town: Town, end: str, outcome: str
) -> None:
    report = file(here, town, "passed_on")
    assert report.task_id is not None
    more: dict[str, Any] = {"referral": Referral("A1", "x", here.now)} if end == "refer" else {}
    getattr(tasks, end)(
        here, town["desk_a"].actor(), report.task_id, reason="why", command_id=new_id(), **more
    )
    assert reports.read(here, report.id).outcome == outcome
    assert told(here, report) == [(town["officer_a"].id, outcome)]


def test_only_what_may_be_reported_is(here: UnitOfWork, town: Town) -> None:
    for code in ("sos", "check"):
        with pytest.raises(Invalid, match="Nothing of this kind"):
            file(here, town, kind_id=kind(here, code))
    with pytest.raises(Invalid, match="no such kind"):
        file(here, town, kind_id=new_id())
    assert file(here, town, kind_id=kind(here, "noise")).state == "closed"


def test_without_a_place_it_is_where_the_phone_was_at_the_time(here: UnitOfWork, town: Town) -> None:
    with pytest.raises(Invalid, match="Nobody knows where"):
        file(here, town, place=None)
    shift = on_shift(here, town["officer_a"])
    seen_at(here, shift, town, ago=timedelta(minutes=40))
    here.session.execute(
        text(
            "insert into devices (id, town_id, officer_id, kind, protocol, name, state, created_at)"
            " select f.device_id, f.town_id, :officer, 'phone', 'officer', 'x', 'active', f.received_at"
            " from fixes f where f.shift_id = :shift"
        ),
        {"officer": shift.officer_id, "shift": shift.id},
    )
    with pytest.raises(Invalid, match="Nobody knows where"):
        file(here, town, place=None)  # By now he may be anywhere.
    report = file(here, town, place=None, device_at=here.now - timedelta(minutes=39))
    assert reports.place_of(report) == pytest.approx(town.place())
    assert (report.place_from, report.fixed_at) == ("last_fix", None)


def test_a_place_in_no_area_belongs_to_the_officers_own(here: UnitOfWork, town: Town) -> None:
    report = file(here, town, "passed_on", place=Place(1.0, 1.0))
    assert report.area_id == town["officer_a"].area_id
    assert here.session.get_one(Task, report.task_id).area_id == report.area_id


def test_others_than_officers_file_nothing(here: UnitOfWork, town: Town) -> None:
    for name in ("desk_a", "supervisor", "resident", "admin"):
        with pytest.raises(Forbidden):
            file(here, town, officer=name)


# --- The sample


def test_the_sample_is_drawn_by_the_id_and_is_as_large_as_wished() -> None:
    ids = [new_id() for _ in range(4000)]
    assert not any(reports.drawn(one, 0) for one in ids)
    assert all(reports.drawn(one, 100) for one in ids)
    tenth = [one for one in ids if reports.drawn(one, 10)]
    assert 280 <= len(tenth) <= 520
    assert [one for one in ids if reports.drawn(one, 10)] == tenth
    assert all(reports.drawn(one, 30) for one in tenth)  # A larger share holds the smaller one.


def test_a_sampled_report_waits_for_the_desk_and_is_looked_over_by_name(here: UnitOfWork, town: Town) -> None:
    report, other = file(here, town, sample=100), file(here, town, sample=0)
    desk = town["desk_a"].actor()
    waiting = reports.at_desk(here, desk, state=ReportState.SAMPLED, after=None, limit=50).items
    assert report.id in {one.id for one in waiting}
    assert other.id not in {one.id for one in waiting}
    assert reports.actions(desk, report) == ["look_over", "pass_on"]
    with pytest.raises(WrongState):
        reports.look_over(here, desk, other.id, command_id=new_id())
    seen = reports.look_over(here, desk, report.id, command_id=new_id())
    assert (seen.state, seen.seen_by, seen.seen_at) == ("closed", desk.user_id, here.now)
    with pytest.raises(WrongState):
        reports.look_over(here, town["supervisor"].actor(), report.id, command_id=new_id())
    assert told(here, report) == []


def test_the_desk_makes_a_task_of_it_with_a_reason_and_its_officer_is_told(
    here: UnitOfWork, town: Town
) -> None:
    report = file(here, town, sample=100)
    desk, key = town["desk_a"].actor(), new_id()
    made = reporting.pass_on(here, desk, report.id, reason="灯仍不亮", command_id=key)
    assert (made.state, made.sampled_at, made.seen_at) == ("passed_on", here.now, None)
    assert told(here, report) == [(town["officer_a"].id, "task_made")]
    assert reporting.pass_on(here, desk, report.id, reason="灯仍不亮", command_id=key).task_id == made.task_id
    with pytest.raises(WrongState):
        reporting.pass_on(here, desk, report.id, reason="again", command_id=new_id())
    assert made.task_id is not None
    tasks.cancel(here, desk, made.task_id, reason="already mended", command_id=new_id())
    assert told(here, report) == [(town["officer_a"].id, "refused")]


def test_another_communitys_desk_and_officer_find_nothing(here: UnitOfWork, town: Town) -> None:
    report = file(here, town, sample=100)
    for name in ("desk_b", "officer_b"):
        for act in (reports.look_over, lambda *a, **k: reporting.pass_on(*a, reason="x", **k)):
            with pytest.raises(NotVisible):
                act(here, town[name].actor(), report.id, command_id=new_id())
        with pytest.raises(NotVisible):
            access.report(here, town[name].actor(), report.id)
    assert reports.at_desk(here, town["desk_b"].actor(), after=None, limit=50).items == []
    own = town["officer_a"].actor()
    assert access.report(here, own, report.id).id == report.id
    with pytest.raises(NotVisible):
        reports.look_over(here, own, report.id, command_id=new_id())


def test_the_lists_go_on_where_they_ended(here: UnitOfWork, town: Town) -> None:
    filed = [file(here, town).id for _ in range(5)]
    for look in (
        lambda after: reports.own(here, town["officer_a"].actor(), after=after, limit=2),
        lambda after: reports.at_desk(here, town["desk_a"].actor(), after=after, limit=2),
    ):
        found: list[UUID] = []
        after = None
        while True:
            page = look(after)
            found += [one.id for one in page.items]
            if page.after is None:
                break
            after = [str(part) for part in page.after]
        assert found[:5] == sorted(filed, reverse=True)
    assert reports.own(here, town["officer_a2"].actor(), after=None, limit=50).items == []


def test_a_timeline_tells_what_happened_and_where_it_was_found(here: UnitOfWork, town: Town) -> None:
    pressed = here.now - timedelta(minutes=20)
    report = file(here, town, sample=100, device_at=pressed)
    desk = town["desk_a"].actor()
    reporting.pass_on(here, desk, report.id, reason="灯仍不亮", command_id=new_id())
    told_ = timelines.of_report(here, desk, report.id, after=None, limit=50).items
    assert [entry.action for entry in told_] == ["file", "settle", "sample", "pass_on"]
    first, last = told_[0], told_[-1]
    assert first.actor is not None
    assert (first.actor.id, first.device_at) == (town["officer_a"].id, pressed)
    assert first.place == pytest.approx(town.place())
    assert last.actor is not None
    assert (last.actor.id, last.reason, last.data) == (
        desk.user_id,
        "灯仍不亮",
        {"task_id": str(report.task_id)},
    )


# --- Many at once (F16)


def test_of_presses_that_compete_one_takes_effect_and_nothing_hangs(
    live_config: Config, live_engine: Engine, thin: Any
) -> None:
    """F16: a report is looked over or made a task once, by one of two desks; its answer meets a retry of its filing."""
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    town = factories.make_town(owner, "presses")
    owner.dispose()
    desks = (town["desk_a"].actor(), town["supervisor"].actor())
    for _ in range(thin(50, 6)):
        with unit_of_work(town.id) as uow:
            report_id = file(uow, town, sample=100).id
        gate = Barrier(4)

        def press(number: int, report_id: UUID = report_id, gate: Barrier = gate) -> str:
            gate.wait()
            try:
                with unit_of_work(town.id) as uow:
                    if number < 2:
                        reports.look_over(uow, desks[number], report_id, command_id=new_id())
                    else:
                        reporting.pass_on(uow, desks[number - 2], report_id, reason="x", command_id=new_id())
                return "look_over" if number < 2 else "pass_on"
            except Refusal as refusal:
                return refusal.code

        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(press, range(4)))
        # What was looked over may become a task after all; a task it becomes once, and nobody looks over that.
        assert done.count("pass_on") == 1, done
        assert done.count("look_over") <= 1, done
        assert done.count("wrong_state") == 4 - 1 - done.count("look_over"), done
        with unit_of_work(town.id) as uow:
            report = reports.read(uow, report_id)
            made = uow.session.scalars(select(Task.id).where(Task.source_id == report_id)).all()
            assert (report.state, [report.task_id]) == ("passed_on", made)
        task_id, gate = made[0], Barrier(2)

        def end(how: int, task_id: UUID = task_id, gate: Barrier = gate) -> str:
            gate.wait()
            try:
                with unit_of_work(town.id) as uow:
                    if how == 0:
                        to = Referral("A1", "x", uow.now)
                        tasks.refer(uow, desks[0], task_id, to, reason="x", command_id=new_id())
                    else:
                        tasks.cancel(uow, desks[1], task_id, reason="x", command_id=new_id())
                return ("referred", "refused")[how]
            except Refusal as refusal:
                return refusal.code

        with ThreadPoolExecutor(2) as pool:
            ended = list(pool.map(end, range(2)))
        assert sorted(ended) in (["referred", "wrong_state"], ["refused", "wrong_state"])
        with unit_of_work(town.id) as uow:
            assert reports.read(uow, report_id).outcome in ended
