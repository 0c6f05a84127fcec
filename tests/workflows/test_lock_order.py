"""Acts that move more than one row wait for each other and never in a circle: each pair here once did."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine, event, select
from sqlalchemy.pool import NullPool

from backend.core.errors import Refusal
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import CallKind, Travel
from backend.models import Alarm, Route, Task
from geo.checkpoint_files import Format
from tests import factories
from tests.dispatching import LIMITS, make_task, on_shift, press, see, states
from tests.factories import Person, Town
from tests.rounds import make_checkpoint, make_route
from workflows import alarms, calls, checkpoints, dispatching, invitations, routes, shifts, tasks
from workflows.alarms import Place
from workflows.crews import WantedCrew
from workflows.results import Result

MEET_S = 1.0
"""So long whoever has locked his first row waits for the other one to have his."""


@pytest.fixture
def town(live_engine: Engine, live_config: Any) -> Iterator[Town]:
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    yield factories.make_town(owner, f"order-{new_id().hex[-12:]}")
    owner.dispose()


@contextmanager
def meeting(engine: Engine, *tables: str) -> Iterator[None]:
    """Let two threads each lock a first row of ``tables`` before either goes on, as far as the locks let them."""
    locks = re.compile(rf"FOR (NO KEY )?UPDATE( OF ({'|'.join(tables)}))?\s*$")
    barrier, met, seen = threading.Barrier(2), threading.local(), set[int]()

    def wait(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not locks.search(statement) or not any(f" {table}" in statement for table in tables):
            return
        if not getattr(met, "already", False):
            met.already = True
            seen.add(threading.get_ident())
            try:
                barrier.wait(MEET_S)
            except threading.BrokenBarrierError:
                return  # The other one waits for the row that is held here, and that is how it should be.

    event.listen(engine, "after_cursor_execute", wait)
    try:
        yield
    finally:
        event.remove(engine, "after_cursor_execute", wait)
    assert len(seen) == 2, "Both have locked a row: else nothing was tried."


def both(town: Town, *acts: Callable[[UnitOfWork], Any]) -> list[str]:
    """Do two acts at once, each in a transaction of its own; return what each was told. A deadlock is raised."""

    def one(act: Callable[[UnitOfWork], Any]) -> str:
        try:
            with unit_of_work(town.id) as uow:
                act(uow)
            return "done"
        except Refusal as refusal:
            return refusal.code

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(one, acts))


def pressing(person: Person, task_id: UUID, action: str) -> Callable[[UnitOfWork], Any]:
    if action == "resolve":
        safe = Result("safe", answers={"injured": False})
        return lambda uow: tasks.resolve(uow, person.actor(), task_id, safe, command_id=new_id())
    return lambda uow: press(uow, person, task_id, action)


def sos(uow: UnitOfWork, town: Town, *people: Person) -> UUID:
    return make_task(uow, town, *people, kind="sos", needed=2).id


def test_two_officers_who_leave_one_sos_for_another_in_opposite_directions(
    town: Town, live_engine: Engine
) -> None:
    """F16: each accept suspends the other task; both are done, and nobody is told to come again."""
    a, b = town["officer_a"], town["officer_a2"]
    with unit_of_work(town.id) as uow:
        for person in (a, b):
            on_shift(uow, town, person)
        first, second = sos(uow, town, a, b), sos(uow, town, a, b)
        press(uow, a, second, "accept")
        press(uow, b, first, "accept")
    with meeting(live_engine, "tasks"):
        assert both(town, pressing(a, first, "accept"), pressing(b, second, "accept")) == ["done", "done"]
    with unit_of_work(town.id) as uow:
        assert states(uow, first, a, b)[1:] == ("accepted", "suspended")
        assert states(uow, second, a, b)[1:] == ("suspended", "accepted")


def test_one_officer_who_accepts_two_sos_at_once_does_one_of_them(town: Town, live_engine: Engine) -> None:
    """From two phones: whichever comes second suspends the first."""
    a = town["officer_a"]
    with unit_of_work(town.id) as uow:
        on_shift(uow, town, a)
        first, second = sos(uow, town, a), sos(uow, town, a)
    with meeting(live_engine, "tasks"):
        assert both(town, pressing(a, first, "accept"), pressing(a, second, "accept")) == ["done", "done"]
    with unit_of_work(town.id) as uow:
        found = {states(uow, task_id, a)[1] for task_id in (first, second)}
    assert found == {"accepted", "suspended"}


@pytest.mark.parametrize("action", ["accept", "resolve"])
def test_a_shift_that_ends_and_a_mate_at_the_sos_of_both(
    town: Town, live_engine: Engine, action: str
) -> None:
    """Going home hands back the task and then the SOS; the mate's press moves the SOS and then the task."""
    a, b, desk = town["officer_a"], town["officer_a2"], town["desk_a"].actor()
    with unit_of_work(town.id) as uow:
        shift_id = on_shift(uow, town, a).id
        on_shift(uow, town, b)
        task_id = make_task(uow, town, a, b, needed=2).id
        for person in (a, b):
            press(uow, person, task_id, "accept")
        sos_id = sos(uow, town, a, b)
        if action == "resolve":
            press(uow, b, sos_id, "accept", "arrive")
    with meeting(live_engine, "tasks"):
        told = both(
            town,
            lambda uow: shifts.end(uow, desk, shift_id, command_id=new_id(), reason="离队"),
            pressing(b, sos_id, action),
        )
    assert told == ["done", "done"]
    with unit_of_work(town.id) as uow:
        assert states(uow, task_id, a, b)[1:] == (
            "handed_back", "suspended" if action == "accept" else "accepted"
        )  # fmt: skip
        assert states(uow, sos_id, b)[1] == ("accepted" if action == "accept" else "done")


def test_a_call_for_help_that_moves_while_its_task_is_called_off(town: Town, live_engine: Engine) -> None:
    """The job comes from the alarm, the desk from the task; the SOS stands, with people sent to it anew or not yet."""
    desk = town["desk_a"].actor()
    lon, lat = town.place()
    with unit_of_work(town.id) as uow:
        see(uow, on_shift(uow, town, town["officer_a"]), town, east_m=100)
        raised = alarms.call_for_help(
            uow, town["resident"].actor(), command_id=new_id(), place=Place(lon, lat, 12.0, uow.now)
        )
        task_id = dispatching.send_to_sos(uow, raised.id)
    assert task_id is not None
    with unit_of_work(town.id) as uow:
        moved = Place(lon + 0.001, lat, 5.0, uow.now)
        alarms.call_for_help(uow, town["resident"].actor(), command_id=new_id(), place=moved)
    with meeting(live_engine, "tasks", "alarms"):
        told = both(
            town,
            lambda uow: dispatching.send_to_sos(uow, raised.id),
            lambda uow: tasks.cancel(uow, desk, task_id, reason="误派", command_id=new_id()),
        )
    assert told == ["done", "done"]
    with unit_of_work(town.id) as uow:
        assert uow.session.get_one(Task, task_id).state == "cancelled"
        standing = uow.session.scalars(select(Alarm).where(Alarm.id == raised.id)).one()
        assert standing.state == "raised"
        assert standing.task_id != task_id


def test_a_crew_that_goes_home_while_the_roll_is_called(town: Town, live_engine: Engine) -> None:
    """Both hold the shifts of the crew, in the order of their ids, which phones may have made."""
    leader, mate, desk = town["officer_a"], town["officer_a2"], town["desk_a"].actor()
    last = UUID(int=2**128 - 1)
    with unit_of_work(town.id) as uow:
        crew = WantedCrew("青禾-01", Travel.FOOT, [mate.id])
        shifts.start(uow, leader.actor(), command_id=new_id(), limits=LIMITS, crew=crew, shift_id=last)
        [asked] = invitations.answerable(uow, mate.actor(), after=None, limit=10).items
        invitations.accept(uow, mate.actor(), asked.id, command_id=new_id(), limits=LIMITS)
    whom = calls.Whom(area_id=town.areas["a"])
    with meeting(live_engine, "shifts"):
        told = both(
            town,
            lambda uow: shifts.end(uow, leader.actor(), last, command_id=new_id(), whole_crew=True),
            lambda uow: calls.create(
                uow, desk, command_id=new_id(), kind=CallKind.ROLL_CALL, whom=whom, lasts=timedelta(minutes=5)
            ),
        )
    assert told[0] == "done"
    assert told[1] in ("done", "nobody_to_ask")
    with unit_of_work(town.id) as uow:
        assert shifts.current(uow, mate.actor()) is None


@pytest.mark.parametrize("how", ["by hand", "by a file"])
def test_a_checkpoint_that_is_moved_and_a_change_of_the_route_that_passes_it(
    town: Town, live_engine: Engine, how: str
) -> None:
    """The route's area follows the checkpoint's; its change holds the route and waits for what it passes."""
    actor = town["supervisor"].actor()
    with unit_of_work(town.id) as uow:
        point = make_checkpoint(uow, town, code="moved")
        route = make_route(uow, town, [point])
        point_id, route_id = point.id, route.id
        said = {name: getattr(point, name) for name in checkpoints.FIELDS} | {"place": town.place("b")}
        drawn = {name: getattr(route, name) for name in routes.FIELDS}
    drawn |= {"line": None, "checkpoint_ids": [point_id], "allowed_s": 600}
    lon, lat = town.place("b")
    moved = f"code,name_zh,name_en,lon,lat\nmoved,东门,East,{lon},{lat}\n".encode()

    def move(uow: UnitOfWork) -> None:
        if how == "by hand":
            checkpoints.change(uow, actor, point_id, said, version=1, command_id=new_id())
        else:
            checkpoints.import_file(uow, actor, moved, Format.CSV, command_id=new_id())

    def redraw(uow: UnitOfWork) -> None:
        routes.change(uow, actor, route_id, drawn, version=1, command_id=new_id())

    with meeting(live_engine, "routes", "checkpoints"):
        told = both(town, move, redraw)
    assert told in (["done", "done"], ["done", "stale"])
    with unit_of_work(town.id) as uow:
        assert uow.session.get_one(Route, route_id).area_id == town.areas["b1"]
