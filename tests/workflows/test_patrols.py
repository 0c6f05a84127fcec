"""Patrols: who may begin which, what the clock says of them, and what the time of a late press is worth."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, select

from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, WrongState
from backend.core.identity import system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Due, Sequence, Verdict
from backend.models import Deadline, Journal, Notice, Patrol, Plan, Visit
from tests import factories
from tests.dispatching import on_shift
from tests.factories import Town
from tests.rounds import make_checkpoint, make_patrol, make_route, make_visit
from workflows import access, deadlines, patrol_clocks, patrol_looks, patrols, reviews, shifts, visits

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"patrols-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


def states(patrol: Patrol) -> list[str]:
    return [visits.state_of(point) for point in patrol.points]


def acts(uow: UnitOfWork, subject_id: UUID) -> list[str]:
    uow.session.flush()
    rows = select(Journal.action).where(Journal.subject_id == subject_id).order_by(Journal.id)
    return list(uow.session.scalars(rows))


def began(uow: UnitOfWork, town: Town, who: str = "officer_a", *, hours_ago: float = 3) -> None:
    """Bring an officer on shift who has been on it for a while, as somebody has whose round comes in late."""
    shift = on_shift(uow, town, town[who])
    shift.started_at = uow.now - timedelta(hours=hours_ago)
    uow.session.flush()


def clock(uow: UnitOfWork, at: datetime) -> int:
    uow.now = at
    return deadlines.see_to(uow, {"patrol": patrol_clocks.time_due})


def told(uow: UnitOfWork, kind: str) -> set[UUID]:
    return set(uow.session.scalars(select(Notice.recipient_id).where(Notice.kind == kind)))


# --- Made by plans


def test_a_moment_of_a_plan_becomes_one_patrol_however_often_it_is_made(here: UnitOfWork, town: Town) -> None:
    made = make_patrol(here, town, points=3)
    plan = here.session.scalars(
        select(Plan)
        .where(Plan.id == made.plan_id)
        .options(*access.plan_parts())
        .execution_options(populate_existing=True)
    ).one()
    assert patrols.schedule(here, plan, made.scheduled_at) is None
    later = patrols.schedule(here, plan, made.scheduled_at + HOUR)
    assert later is not None
    assert later.number == made.number + 1
    assert states(made) == ["pending"] * 3
    due = here.session.scalars(select(Deadline.about).where(Deadline.subject_id == made.id)).all()
    assert set(due) == {Due.LATE, Due.MISS}


def test_a_shuffled_route_has_the_same_points_in_an_order_that_is_drawn_each_time(
    here: UnitOfWork, town: Town
) -> None:
    made = make_patrol(here, town, points=12, sequence=Sequence.SHUFFLED)
    plan = here.session.scalars(
        select(Plan)
        .where(Plan.id == made.plan_id)
        .options(*access.plan_parts())
        .execution_options(populate_existing=True)
    ).one()
    orders = set()
    for hour in range(1, 5):
        again = patrols.schedule(here, plan, made.scheduled_at + hour * HOUR)
        assert again is not None
        orders.add(tuple(point.checkpoint_id for point in again.points))
        assert {point.checkpoint_id for point in again.points} == {p.checkpoint_id for p in made.points}
    assert len(orders) > 1  # Four draws of 479,001,600 orders.


# --- Begun, interrupted, ended


def test_an_officer_begins_a_patrol_of_his_area_in_its_window_and_nobody_else_then(
    here: UnitOfWork, town: Town
) -> None:
    patrol = make_patrol(here, town)
    a, a2, b = (town[name].actor() for name in ("officer_a", "officer_a2", "officer_b"))
    with pytest.raises(Conflict, match="Start a shift"):
        patrols.start(here, a, patrol.id, command_id=new_id())
    for name in ("officer_a", "officer_a2", "officer_b"):
        on_shift(here, town, town[name])
    with pytest.raises(NotVisible):
        patrols.start(here, b, patrol.id, command_id=new_id())
    key = new_id()
    patrol = patrols.start(here, a, patrol.id, command_id=key)
    assert (patrol.state, patrol.officer_id) == ("active", a.user_id)
    assert patrols.start(here, a, patrol.id, command_id=key).version == patrol.version
    assert acts(here, patrol.id).count("start") == 1
    with pytest.raises(NotVisible):
        patrols.start(here, a2, patrol.id, command_id=new_id())
    assert [one.id for one in patrol_looks.own(here, a, after=None, limit=10).items] == [patrol.id]
    assert patrol_looks.own(here, a2, after=None, limit=10).items == []


def test_a_patrol_that_names_its_officers_is_for_them_alone(here: UnitOfWork, town: Town) -> None:
    patrol = make_patrol(here, town, people=[town["officer_a"]])
    on_shift(here, town, town["officer_a"])
    on_shift(here, town, town["officer_a2"])
    with pytest.raises(NotVisible):
        patrols.start(here, town["officer_a2"].actor(), patrol.id, command_id=new_id())
    assert patrols.start(here, town["officer_a"].actor(), patrol.id, command_id=new_id()).state == "active"


def test_an_officer_is_on_one_patrol_at_a_time(here: UnitOfWork, town: Town) -> None:
    first, second = make_patrol(here, town), make_patrol(here, town)
    a = town["officer_a"].actor()
    on_shift(here, town, town["officer_a"])
    patrols.start(here, a, first.id, command_id=new_id())
    with pytest.raises(Conflict) as refused:
        patrols.start(here, a, second.id, command_id=new_id())
    assert (refused.value.code, refused.value.extra["patrol_id"]) == ("patrol_running", str(first.id))
    patrols.finish(here, a, first.id, command_id=new_id())
    assert patrols.start(here, a, second.id, command_id=new_id()).state == "active"


@pytest.mark.parametrize(("minutes", "code"), [(-16, "too_early"), (-14, None), (59, None), (61, "too_late")])
def test_the_window_is_judged_by_when_it_was_pressed(
    here: UnitOfWork, town: Town, minutes: int, code: str | None
) -> None:
    patrol = make_patrol(here, town, at=here.now - 2 * HOUR)
    began(here, town)
    pressed_at = patrol.scheduled_at + minutes * MINUTE
    if code is None:
        a = town["officer_a"].actor()
        assert (
            patrols.start(here, a, patrol.id, command_id=new_id(), device_at=pressed_at).began_at
            == pressed_at
        )
        return
    with pytest.raises(Conflict) as refused:
        patrols.start(here, town["officer_a"].actor(), patrol.id, command_id=new_id(), device_at=pressed_at)
    assert refused.value.code == code


def test_a_press_made_in_the_window_revives_a_patrol_that_was_called_missed_meanwhile(
    here: UnitOfWork, town: Town
) -> None:
    at = here.now
    patrol = make_patrol(here, town, at=at - 2 * HOUR)
    assert clock(here, at) == 2
    assert patrol_looks.one(here, system_actor(town.id), patrol.id).state == "missed"
    began(here, town)
    a = town["officer_a"].actor()
    patrol = patrols.start(here, a, patrol.id, command_id=new_id(), device_at=at - 90 * MINUTE)
    assert (patrol.state, patrol.began_at) == ("active", at - 90 * MINUTE)
    assert acts(here, patrol.id) == ["schedule", "late", "miss", "start"]


def test_a_phone_whose_clock_is_ahead_begins_now_and_not_in_the_future(here: UnitOfWork, town: Town) -> None:
    patrol = make_patrol(here, town)
    on_shift(here, town, town["officer_a"])
    a = town["officer_a"].actor()
    patrol = patrols.start(here, a, patrol.id, command_id=new_id(), device_at=here.now + 30 * MINUTE)
    assert patrol.began_at == here.now


def test_a_patrol_is_interrupted_and_goes_on_and_an_early_end_has_a_reason(
    here: UnitOfWork, town: Town
) -> None:
    patrol = make_patrol(here, town)
    on_shift(here, town, town["officer_a"])
    a = town["officer_a"].actor()
    with pytest.raises(WrongState):
        patrols.pause(here, a, patrol.id, command_id=new_id())
    patrols.start(here, a, patrol.id, command_id=new_id())
    assert patrols.pause(here, a, patrol.id, command_id=new_id()).state == "paused"
    assert patrols.resume(here, a, patrol.id, command_id=new_id()).state == "active"
    patrol = patrols.end_early(here, a, patrol.id, reason="called away", command_id=new_id())
    assert (patrol.state, patrol.reason) == ("ended_early", "called away")
    with pytest.raises(WrongState):
        patrols.finish(here, a, patrol.id, command_id=new_id())


def test_a_round_without_a_plan_begins_with_the_id_that_the_phone_made(here: UnitOfWork, town: Town) -> None:
    route = make_route(here, town, [make_checkpoint(here, town)])
    patrol_id = new_id()
    a = town["officer_a"].actor()
    on_shift(here, town, town["officer_a"])
    on_shift(here, town, town["officer_b"])
    with pytest.raises(NotVisible):
        patrols.set_out(here, town["officer_b"].actor(), route.id, patrol_id=new_id(), command_id=new_id())
    made = patrols.set_out(here, a, route.id, patrol_id=patrol_id, command_id=new_id())
    assert (made.id, made.state, made.plan_id, len(made.points)) == (patrol_id, "active", None, 1)


def test_the_end_of_a_shift_ends_its_patrol_and_a_finish_pressed_before_counts_all_the_same(
    here: UnitOfWork, town: Town
) -> None:
    patrol = make_patrol(here, town, at=here.now - HOUR)
    began(here, town)
    a = town["officer_a"].actor()
    shift = shifts.current(here, a)
    assert shift is not None
    patrols.start(here, a, patrol.id, command_id=new_id(), device_at=here.now - 50 * MINUTE)
    pressed_at = here.now - 10 * MINUTE
    shifts.end(here, a, shift.id, command_id=new_id())
    patrol = patrols.read(here, patrol.id)
    assert (patrol.state, patrol.reason, patrol.ended_at) == ("ended_early", patrols.SHIFT_OVER, here.now)
    patrol = patrols.finish(here, a, patrol.id, command_id=new_id(), device_at=pressed_at)
    assert (patrol.state, patrol.reason, patrol.ended_at) == ("completed", None, pressed_at)


def test_the_desk_cancels_what_nobody_has_begun_and_nothing_else(here: UnitOfWork, town: Town) -> None:
    patrol, under_way = make_patrol(here, town), make_patrol(here, town)
    on_shift(here, town, town["officer_a"])
    patrols.start(here, town["officer_a"].actor(), under_way.id, command_id=new_id())
    desk = town["desk_a"].actor()
    with pytest.raises(NotVisible):
        patrols.cancel(here, town["desk_b"].actor(), patrol.id, reason="rain", command_id=new_id())
    assert patrols.cancel(here, desk, patrol.id, reason="rain", command_id=new_id()).state == "cancelled"
    with pytest.raises(WrongState):
        patrols.cancel(here, desk, under_way.id, reason="rain", command_id=new_id())


# --- Points


def test_a_visit_in_the_time_of_a_patrol_makes_its_point_visited_whenever_it_is_found(
    here: UnitOfWork, town: Town
) -> None:
    patrol = make_patrol(here, town, points=3, at=here.now - HOUR)
    began(here, town)
    a = town["officer_a"].actor()
    first, second, third = (point.checkpoint_id for point in patrol.points)
    start_at, end_at = here.now - 50 * MINUTE, here.now - 20 * MINUTE
    make_visit(
        here, town, town["officer_a"], first, at=start_at - MINUTE, dwell_s=90
    )  # He stood there already.
    make_visit(here, town, town["officer_a2"], second, at=start_at + MINUTE)  # Another officer's.
    make_visit(here, town, town["officer_a"], third, at=end_at + MINUTE)  # After the end.
    patrols.start(here, a, patrol.id, command_id=new_id(), device_at=start_at)
    patrol = patrols.finish(here, a, patrol.id, command_id=new_id(), device_at=end_at)
    assert states(patrol) == ["visited", "pending", "pending"]
    assert patrol.points[0].visited_at == start_at
    late = make_visit(here, town, town["officer_a"], second, at=start_at + 2 * MINUTE)
    assert visits.concerned(here, town["officer_a"].id, late.arrived_at, late.arrived_at) == [patrol.id]
    assert visits.attach(here, patrol) == [second]
    assert states(patrols.read(here, patrol.id)) == ["visited", "visited", "pending"]


def test_of_several_visits_the_best_proven_one_counts(here: UnitOfWork, town: Town) -> None:
    patrol = make_patrol(here, town, points=1)
    on_shift(here, town, town["officer_a"])
    patrols.start(here, town["officer_a"].actor(), patrol.id, command_id=new_id())
    weak, strong = (
        make_visit(here, town, town["officer_a"], patrol.points[0].checkpoint_id, at=here.now, proof=proof)
        for proof in (30, 90)
    )
    visits.attach(here, patrol)
    assert patrols.read(here, patrol.id).points[0].visit_id == strong.id != weak.id


def test_a_point_is_skipped_with_a_reason_that_stays_when_a_visit_is_found_after_all(
    here: UnitOfWork, town: Town
) -> None:
    patrol = make_patrol(here, town)
    on_shift(here, town, town["officer_a"])
    a = town["officer_a"].actor()
    checkpoint_id = patrol.points[0].checkpoint_id
    with pytest.raises(WrongState):
        patrols.skip(here, a, patrol.id, checkpoint_id, reason="gate locked", command_id=new_id())
    patrols.start(here, a, patrol.id, command_id=new_id())
    with pytest.raises(NotVisible):
        patrols.skip(here, a, patrol.id, new_id(), reason="gate locked", command_id=new_id())
    patrol = patrols.skip(here, a, patrol.id, checkpoint_id, reason="gate locked", command_id=new_id())
    assert states(patrol) == ["skipped", "pending"]
    make_visit(here, town, town["officer_a"], checkpoint_id, at=here.now)
    visits.attach(here, patrol)
    point = patrols.read(here, patrol.id).points[0]
    assert (visits.state_of(point), point.reason) == ("visited", "gate locked")


def test_answers_fit_what_the_checkpoint_asks_or_are_refused(here: UnitOfWork, town: Town) -> None:
    patrol = make_patrol(here, town)
    on_shift(here, town, town["officer_a"])
    a = town["officer_a"].actor()
    patrols.start(here, a, patrol.id, command_id=new_id())
    point = patrol.points[0]
    point.checkpoint.questions = [
        {
            "id": "lit",
            "text": {"zh-CN": "灯亮", "en": "Lit"},
            "answer": "yes_no",
            "choices": [],
            "required": True,
        }
    ]
    here.session.flush()
    with pytest.raises(Invalid):
        patrols.answer(here, a, patrol.id, point.checkpoint_id, {"lit": "yes"}, command_id=new_id())
    done = patrols.answer(here, a, patrol.id, point.checkpoint_id, {"lit": True}, command_id=new_id())
    assert done.points[0].answers == {"lit": True}


def test_a_visit_that_a_supervisor_finds_doubtful_stays_and_does_not_count(
    here: UnitOfWork, town: Town
) -> None:
    patrol = make_patrol(here, town, points=1)
    on_shift(here, town, town["officer_a"])
    patrols.start(here, town["officer_a"].actor(), patrol.id, command_id=new_id())
    at = patrol.points[0].checkpoint_id
    plain = make_visit(here, town, town["officer_a2"], at, at=here.now)
    flagged = make_visit(here, town, town["officer_a"], at, at=here.now, flags=["mock"])
    visits.attach(here, patrol)

    def review(name: str, visit: Visit, verdict: Verdict = Verdict.DOUBTFUL) -> Visit:
        actor = town[name].actor()
        return reviews.review(
            here, actor, visit.id, verdict=verdict, note="he was elsewhere", command_id=new_id()
        )

    with pytest.raises(NotVisible):
        review("desk_a", flagged)
    assert review("supervisor_a", plain).verdict == "doubtful"  # Also what nothing is flagged of.
    review("supervisor_a", flagged)
    assert states(patrols.read(here, patrol.id)) == ["pending"]
    assert here.session.scalars(select(Visit.verdict).where(Visit.id == flagged.id)).one() == "doubtful"
    # Told anew, by late fixes that cut it in two or by a scan of that time, it counts no more than before.
    make_visit(here, town, town["officer_a"], at, at=flagged.arrived_at + timedelta(seconds=20), dwell_s=10)
    patrols.settle(here, town["officer_a"].id, flagged.arrived_at, here.now)
    assert states(patrols.read(here, patrol.id)) == ["pending"]
    with pytest.raises(WrongState):
        review("supervisor_a", flagged, Verdict.GENUINE)


# --- The clock


def test_a_patrol_is_late_then_missed_once_each_and_those_are_told_whose_it_is(
    here: UnitOfWork, town: Town
) -> None:
    at = here.now
    patrol = make_patrol(here, town, people=[town["officer_a"]])
    assert clock(here, at + 9 * MINUTE) == 0
    assert clock(here, at + 11 * MINUTE) == 1
    assert clock(here, at + 12 * MINUTE) == 0
    his_and_desk = {town["officer_a"].id, town["desk_a"].id}
    assert told(here, "patrol.late") == his_and_desk
    assert clock(here, at + 61 * MINUTE) == 1
    assert clock(here, at + 62 * MINUTE) == 0
    assert told(here, "patrol.missed") == his_and_desk
    assert acts(here, patrol.id) == ["schedule", "late", "miss"]
    said = patrols.explain(
        here, town["officer_a"].actor(), patrol.id, "I was at an SOS.", command_id=new_id()
    )
    assert said.explanation == "I was at an SOS."
    with pytest.raises(NotVisible):
        patrols.explain(here, town["officer_a2"].actor(), patrol.id, "x", command_id=new_id())


def test_a_patrol_that_has_begun_is_neither_late_nor_missed_and_overdue_after_its_time(
    here: UnitOfWork, town: Town
) -> None:
    at = here.now
    patrol = make_patrol(here, town, allowed_s=600)
    on_shift(here, town, town["officer_a"])
    patrols.start(here, town["officer_a"].actor(), patrol.id, command_id=new_id())
    assert clock(here, at + 11 * MINUTE) == 1
    patrol = patrols.read(here, patrol.id)
    assert (patrol.state, patrol.late_at, patrol.overdue_at) == ("active", None, at + 11 * MINUTE)


def test_only_who_has_begun_a_patrol_presses_on_it(here: UnitOfWork, town: Town) -> None:
    patrol = make_patrol(here, town)
    on_shift(here, town, town["officer_a"])
    patrols.start(here, town["officer_a"].actor(), patrol.id, command_id=new_id())
    for act in (patrols.pause, patrols.finish):
        with pytest.raises((NotVisible, Forbidden)):
            act(here, town["officer_a2"].actor(), patrol.id, command_id=new_id())


def test_what_was_over_for_three_days_is_answered_and_explained_no_more(here: UnitOfWork, town: Town) -> None:
    patrol = make_patrol(here, town)
    on_shift(here, town, town["officer_a"])
    a = town["officer_a"].actor()
    patrols.start(here, a, patrol.id, command_id=new_id())
    patrols.end_early(here, a, patrol.id, reason="called away", command_id=new_id())
    first = patrol.points[0].checkpoint_id
    here.now += timedelta(hours=71)
    assert patrols.skip(here, a, patrol.id, first, reason="gate locked", command_id=new_id()).points[0].reason
    here.now += timedelta(hours=2)
    for late in (
        lambda: patrols.skip(here, a, patrol.id, first, reason="another", command_id=new_id()),
        lambda: patrols.answer(here, a, patrol.id, first, {}, command_id=new_id()),
        lambda: patrols.explain(here, a, patrol.id, "another", command_id=new_id()),
    ):
        with pytest.raises(Conflict) as refused:
            late()
        assert refused.value.code == "too_late"


def test_a_round_that_nobody_went_cannot_be_made_up_for_after_days(here: UnitOfWork, town: Town) -> None:
    patrol = make_patrol(here, town, at=here.now - timedelta(hours=80))
    shift = on_shift(here, town, town["officer_a"])
    shift.started_at, shift.closes_at = here.now - timedelta(hours=90), here.now + HOUR
    here.session.flush()
    pressed_at = patrol.scheduled_at + MINUTE
    with pytest.raises(Conflict) as refused:
        patrols.start(here, town["officer_a"].actor(), patrol.id, command_id=new_id(), device_at=pressed_at)
    assert refused.value.code == "too_late"


def test_of_a_patrol_that_was_nobodys_the_first_who_explains_it_is_not_overwritten(
    here: UnitOfWork, town: Town
) -> None:
    at = here.now
    patrol = make_patrol(here, town)
    clock(here, at + 61 * MINUTE)
    a, a2 = town["officer_a"].actor(), town["officer_a2"].actor()
    patrols.explain(here, a, patrol.id, "Nobody was free.", command_id=new_id())
    with pytest.raises(Forbidden):
        patrols.explain(here, a2, patrol.id, "He slept.", command_id=new_id())
    assert (
        patrols.explain(here, a, patrol.id, "All at an SOS.", command_id=new_id()).explanation
        == "All at an SOS."
    )
