"""What a clock sees to: offers lapse, missed times are told up the ladder; once, whoever ticks, and across restarts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.pool import NullPool

from backend import worker
from backend.core import clock, db
from backend.core.config import Config
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.models import Deadline, Journal
from tests import factories
from tests.dispatching import make_task, now, on_shift, press, see, share, states
from tests.factories import Town
from workflows import deadlines, shifts, tasks
from workflows.offering import Whom


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    made = factories.make_town(owner_engine, f"due-{new_id().hex[-12:]}")
    for number in range(3):
        factories.add_officer(owner_engine, made, f"o{number}")
    return made


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


def tick(uow: UnitOfWork, **later: float) -> int:
    """Let the clock tick so much later."""
    uow.now += timedelta(**later)
    uow.session.flush()
    return deadlines.see_to(uow, worker.DEADLINES)


def told(uow: UnitOfWork, task_id: UUID, action: str = "overdue") -> list[Any]:
    uow.session.flush()
    rows = select(Journal.data).where(Journal.subject_id == task_id, Journal.action == action)
    return list(uow.session.scalars(rows.order_by(Journal.at, Journal.id)))


def waiting(uow: UnitOfWork, subject_id: UUID) -> set[tuple[str, int]]:
    uow.session.flush()
    rows = select(Deadline.about, Deadline.level)
    found = uow.session.execute(rows.where(Deadline.subject_id == subject_id, Deadline.done_at.is_(None)))
    return {(row.about, row.level) for row in found}


def test_an_offer_that_lapses_goes_to_the_next_nearest_until_nobody_is_left(
    here: UnitOfWork, town: Town
) -> None:
    people = [town[f"o{number}"] for number in range(2)]
    shift_of = {person.id: on_shift(here, town, person, east_m=10 * n) for n, person in enumerate(people)}
    task = make_task(here, town, offers_itself=True)
    assert states(here, task.id, people[0]) == ("offered", "offered")
    assert tick(here, seconds=task.kind.offer_s - 1) == 0
    for n, person in enumerate(people):  # They are on the way, and are seen.
        see(here, shift_of[person.id], town, east_m=10 * n)
    assert tick(here, seconds=1) == 1
    assert states(here, task.id, *people) == ("offered", "lapsed", "offered")
    assert tick(here, seconds=task.kind.offer_s) == 2, "the offer, and by now the time to accept is over too"
    assert states(here, task.id, *people) == ("open", "lapsed", "lapsed")
    assert len(told(here, task.id, "nobody_left")) == 1


def test_an_offer_that_was_answered_does_not_lapse(here: UnitOfWork, town: Town) -> None:
    officer = town["o0"]
    on_shift(here, town, officer)
    task = make_task(here, town, officer)
    press(here, officer, task.id, "accept")
    assert waiting(here, share(here, task.id, officer).id) == set()
    tick(here, seconds=task.kind.offer_s + 1)
    assert states(here, task.id, officer) == ("accepted", "accepted")


def test_a_lapsed_offer_is_not_asked_of_others_unless_the_task_offers_itself(
    here: UnitOfWork, town: Town
) -> None:
    for number in range(2):
        on_shift(here, town, town[f"o{number}"], east_m=1)
    task = make_task(here, town, town["o0"])
    tick(here, seconds=task.kind.offer_s)
    assert states(here, task.id, town["o0"]) == ("open", "lapsed")
    assert len(now(here, task.id).assignments) == 1


def test_a_missed_time_marks_the_task_and_climbs_the_ladder(here: UnitOfWork, town: Town) -> None:
    officer = town["o0"]
    on_shift(here, town, officer)
    task = make_task(here, town)  # check: 3, 20 and 60 minutes
    assert waiting(here, task.id) == {("accept", 0), ("arrive", 0), ("complete", 0)}
    assert tick(here, minutes=2, seconds=59) == 0
    assert now(here, task.id).overdue is None
    version = now(here, task.id).version
    assert tick(here, seconds=1) == 1
    assert (now(here, task.id).overdue, now(here, task.id).version) == ("accept", version + 1)
    assert told(here, task.id) == [{"about": "accept", "level": 0, "tells": "dispatcher"}]
    assert tick(here, seconds=299) == 0
    assert tick(here, seconds=1) == 1
    assert told(here, task.id)[1:] == [{"about": "accept", "level": 1, "tells": "supervisor"}]
    assert tick(here, minutes=10) == 0, "the ladder has an end"
    tasks.offer(here, town["desk_a"].actor(), task.id, Whom(officer_ids=[officer.id]), command_id=new_id())
    press(here, officer, task.id, "accept")
    assert now(here, task.id).overdue is None
    assert waiting(here, task.id) == {("arrive", 0), ("complete", 0)}
    tick(here, minutes=2)
    assert now(here, task.id).overdue == "arrive"
    press(here, officer, task.id, "arrive")
    assert (now(here, task.id).overdue, waiting(here, task.id)) == (None, {("complete", 0)})
    tick(here, hours=1)
    assert now(here, task.id).overdue == "complete"
    press(here, officer, task.id, "resolve")
    assert (now(here, task.id).overdue, waiting(here, task.id)) == (None, set())


def test_a_town_has_a_ladder_of_its_own(here: UnitOfWork, town: Town) -> None:
    for level, (after_s, tells) in enumerate(((0, "officer"), (30, "supervisor"))):
        here.session.execute(
            text("insert into ladder_rungs values (:town, 'task.accept', :level, :after, :tells)"),
            {"town": town.id, "level": level, "after": after_s, "tells": tells},
        )
    task = make_task(here, town)
    tick(here, minutes=3)
    tick(here, seconds=30)
    assert [entry["tells"] for entry in told(here, task.id)] == ["officer", "supervisor"]


def test_a_task_that_is_handed_back_is_to_be_accepted_anew(here: UnitOfWork, town: Town) -> None:
    officer = town["o0"]
    on_shift(here, town, officer)
    task = make_task(here, town, officer)
    press(here, officer, task.id, "accept")
    here.now += timedelta(minutes=10)
    press(here, officer, task.id, "hand_back")
    again = now(here, task.id)
    assert again.accept_due_at == here.now + timedelta(seconds=again.kind.accept_within_s or 0)
    assert ("accept", 0) in waiting(here, task.id)


def test_one_failing_deadline_stops_no_other(here: UnitOfWork, town: Town) -> None:
    task = make_task(here, town)
    deadlines.put(here, "task", new_id(), deadlines.Due.ACCEPT, here.now)
    here.session.execute(
        text(
            "insert into deadlines (id, town_id, subject_kind, subject_id, about, due_at) values"
            " (gen_random_uuid(), :town, 'unheard_of', gen_random_uuid(), 'accept', :now)"
        ),
        {"town": town.id, "now": here.now},
    )
    assert tick(here, minutes=3) == 1
    assert now(here, task.id).overdue == "accept"


# --- Many workers, and restarts


@pytest.fixture
def live_town(live_engine: Engine, live_config: Config) -> Iterator[Town]:
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    made = factories.make_town(owner, "live")
    for number in range(3):
        factories.add_officer(owner, made, f"o{number}")
    worker.use(live_config)
    yield made
    owner.dispose()


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """``moved(90)``: from now on it is 90 seconds later, for every process part that asks the clock."""
    really, ahead = clock.now, timedelta()

    def move(seconds: float) -> None:
        nonlocal ahead
        ahead += timedelta(seconds=seconds)

    def later() -> datetime:
        return really() + ahead

    monkeypatch.setattr(clock, "now", later)
    return move


def test_offers_lapse_after_a_restart_as_if_there_had_been_none(
    live_town: Town, live_config: Config, moved: Callable[[float], None]
) -> None:
    """The worker dies with an offer running; another process, with another engine, sees to it."""
    officer = live_town["o0"]
    with unit_of_work(live_town.id) as uow:
        on_shift(uow, live_town, officer)
    with unit_of_work(live_town.id) as uow:
        task = make_task(uow, live_town, officer)
    worker.see_to_deadlines(0)
    with unit_of_work(live_town.id) as uow:
        assert states(uow, task.id, officer) == ("offered", "offered")
    restarted = db.engine_for(live_config)
    before = db._engine
    db.set_engine(restarted)
    try:
        moved(task.kind.offer_s + 1)
        worker.see_to_deadlines(1)
        with unit_of_work(live_town.id) as uow:
            assert states(uow, task.id, officer) == ("open", "lapsed")
            assert told(uow, task.id, "lapse") == [None]
    finally:
        db.set_engine(before)
        restarted.dispose()


def test_of_many_workers_each_deadline_is_seen_to_once(
    live_town: Town, moved: Callable[[float], None], thin: Callable[[int, int], int]
) -> None:
    """Four tick at once, while the officer presses accept: nothing is done twice and nobody waits for the other."""
    officer = live_town["o0"]
    with unit_of_work(live_town.id) as uow:
        on_shift(uow, live_town, officer)
    for _ in range(thin(20, 2)):
        made = []
        for _ in range(6):
            with unit_of_work(live_town.id) as uow:
                made.append(make_task(uow, live_town, officer))
        moved(
            made[0].kind.offer_s + 121
        )  # Also the time to accept is over, and the next rung is not reached.
        with unit_of_work(live_town.id) as uow:
            shift = shifts.current(uow, officer.actor())
            assert shift is not None
            shift.closes_at = uow.now + timedelta(hours=8)
        barrier = threading.Barrier(5)

        def ticking(_: int, barrier: threading.Barrier = barrier) -> str:
            barrier.wait()
            worker.see_to_deadlines(0)
            return "ticked"

        def accepting(task_id: UUID = made[0].id, barrier: threading.Barrier = barrier) -> str:
            barrier.wait()
            try:
                with unit_of_work(live_town.id) as uow:
                    tasks.accept(uow, officer.actor(), task_id, command_id=new_id())
            except tasks.WrongState:
                return "lapsed"
            return "accepted"

        with ThreadPoolExecutor(5) as pool:
            answer = pool.submit(accepting)
            assert list(pool.map(ticking, range(4))) == ["ticked"] * 4
            outcome = answer.result()
        worker.see_to_deadlines(1)  # What was being changed at that moment was left for this tick.
        with unit_of_work(live_town.id) as uow:
            for task in made:
                taken = task is made[0] and outcome == "accepted"
                assert states(uow, task.id, officer) == (("accepted",) * 2 if taken else ("open", "lapsed"))
                if not taken:
                    assert len(told(uow, task.id, "lapse")) == 1
                    assert len([t for t in told(uow, task.id) if t["about"] == "accept"]) == 1
            if outcome == "accepted":
                press(uow, officer, made[0].id, "hand_back")
            for task in made:
                tasks.cancel(uow, live_town["desk_a"].actor(), task.id, reason="over", command_id=new_id())
