"""The watch for visits: what phones bring becomes visits, whenever and in whichever order they bring it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, select

from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.models import Journal, Notice, Shift, Visit, VisitWatch
from geo.fixes import Fix, Flag
from tests import factories
from tests.dispatching import on_shift
from tests.factories import Town
from tests.rounds import DEGREE_M, bring, make_checkpoint, make_patrol, make_phone, walked
from workflows import patrols, visit_watch, visits

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


class Undo(Exception):
    """Takes a transaction back."""


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"watch-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


class Round:
    """An officer with a phone on a shift that began two hours ago, and two checkpoints 200 m apart."""

    def __init__(self, uow: UnitOfWork, town: Town, who: str = "officer_a") -> None:
        self.uow, self.town, self.who = uow, town, town[who]
        self.at = uow.now - HOUR
        shift = on_shift(uow, town, self.who)
        shift.started_at = uow.now - 2 * HOUR
        uow.session.flush()
        self.shift: Shift = shift
        self.phone = make_phone(uow, town, self.who)
        self.first, self.second = (
            make_checkpoint(uow, town, north_m=m, min_dwell_s=45) for m in (0.0, 200.0)
        )
        self.walk = walked(town, self.at, (0.0, 60.0), (200.0, 60.0), (260.0, 30.0))

    def bring(self, fixes: Sequence[Fix], received_at: datetime | None = None, skew_s: float = 0.0) -> None:
        bring(
            self.uow, self.town, self.phone, self.shift.id, fixes,
            received_at=received_at or self.uow.now, skew_s=skew_s,
        )  # fmt: skip

    def look(self, now: datetime | None = None) -> None:
        self.uow.now = now or self.uow.now
        while visit_watch.look(self.uow):
            pass

    def begin(self) -> None:
        """Let the town be watched from the beginning of the walk on."""
        self.uow.session.add(VisitWatch(town_id=self.town.id, looked_until=self.at - MINUTE))
        self.uow.session.flush()

    def found(self) -> list[tuple[UUID, datetime, datetime | None, int, int, tuple[str, ...]]]:
        rows = self.uow.session.scalars(
            select(Visit).where(Visit.officer_id == self.who.id).order_by(Visit.arrived_at)
        )
        return [(v.checkpoint_id, v.arrived_at, v.left_at, v.dwell_s, v.proof, tuple(v.flags)) for v in rows]


def test_who_stays_long_enough_at_checkpoints_has_visited_them(here: UnitOfWork, town: Town) -> None:
    his = Round(here, town)
    his.begin()
    his.bring(his.walk)
    his.look()
    found = his.found()
    assert [row[0] for row in found] == [his.first.id, his.second.id]
    assert all(row[2] is not None and 45 <= row[3] <= 110 for row in found)
    assert all(row[4] >= 85 and row[5] == () for row in found), found


def test_who_passes_by_or_does_not_stay_long_enough_has_not(here: UnitOfWork, town: Town) -> None:
    his = Round(here, town)
    his.begin()
    his.bring(walked(town, his.at, (0.0, 0.0), (200.0, 5.0), (400.0, 60.0)))
    his.look()
    assert his.found() == []


def test_a_visit_is_there_while_it_goes_on_and_ends_when_he_leaves(here: UnitOfWork, town: Town) -> None:
    his = Round(here, town)
    his.begin()
    leaves = next(i for i, fix in enumerate(his.walk) if fix.fixed_at > his.at + 105 * SECOND)
    his.bring(his.walk[:leaves], his.walk[leaves].fixed_at)
    his.look(his.walk[leaves].fixed_at)
    [going] = his.found()
    assert going[:3] == (his.first.id, going[1], None)
    his.bring(his.walk[leaves:], his.at + HOUR)
    his.look(his.at + HOUR)
    first, second = his.found()
    assert (first[0], first[1]) == going[:2]
    assert first[2] is not None
    assert second[0] == his.second.id


def test_the_visits_are_the_same_in_whichever_order_and_portions_the_fixes_come(
    connection: Connection, town: Town
) -> None:
    """F18, F19: live, late, shuffled and repeated; different visits: 0."""

    def found(portions: Callable[[list[Fix]], list[list[Fix]]], pause_s: int) -> list[object]:
        told: list[object] = []
        with pytest.raises(Undo), unit_of_work(town.id) as uow:
            his = Round(uow, town)
            his.begin()
            moment = uow.now
            for number, portion in enumerate(portions(list(his.walk))):
                received_at = moment + number * pause_s * SECOND
                his.bring(portion, received_at)
                his.look(received_at + SECOND)
            for row in his.found():
                told.append((row[0] == his.first.id, row[1] - his.at, (row[2] or his.at) - his.at, *row[3:]))
            raise Undo
        return told

    whole = found(lambda fixes: [fixes], 1)
    assert len(whole) == 2

    @given(seed=st.integers(0, 10_000), parts=st.integers(1, 6), pause_s=st.sampled_from([1, 10, 100]))
    def shuffled(seed: int, parts: int, pause_s: int) -> None:
        random = Random(seed)

        def portions(fixes: list[Fix]) -> list[list[Fix]]:
            random.shuffle(fixes)
            cuts = sorted(random.randrange(len(fixes) + 1) for _ in range(parts - 1))
            bounds = zip([0, *cuts], [*cuts, len(fixes)], strict=True)
            return [*(fixes[a:b] for a, b in bounds), random.sample(fixes, 10)]

        assert found(portions, pause_s) == whole

    shuffled()


def test_what_was_found_is_taken_back_when_later_fixes_tell_another_story(
    here: UnitOfWork, town: Town
) -> None:
    """Of a stay at the gate those in the middle come later, and were measured a hundred metres away."""
    his = Round(here, town)
    his.begin()
    walk = walked(town, his.at, (0.0, 90.0), (100.0, 5.0))
    middle = his.at + 95 * SECOND
    between = [fix for fix in walk if abs(fix.fixed_at - middle) <= 25 * SECOND]
    his.bring([fix for fix in walk if fix not in between])
    his.look()
    assert [row[0] for row in his.found()] == [his.first.id]
    away = [msgspec.structs.replace(fix, lat=fix.lat + 140.0 / DEGREE_M) for fix in between]
    his.bring(away, here.now + MINUTE)
    his.look(here.now + 2 * MINUTE)
    assert his.found() == []
    assert (
        "withdraw"
        in here.session.scalars(select(Journal.action).where(Journal.subject_kind == "visit")).all()
    )


def test_a_round_that_comes_in_days_later_fills_its_patrol(here: UnitOfWork, town: Town) -> None:
    now = here.now
    patrol = make_patrol(here, town, at=now - HOUR)
    his = Round(here, town)
    his.begin()
    points = [point.checkpoint for point in patrol.points]
    a = town["officer_a"].actor()
    patrols.start(here, a, patrol.id, command_id=new_id(), device_at=his.at)
    patrol = patrols.finish(here, a, patrol.id, command_id=new_id(), device_at=his.at + 20 * MINUTE)
    assert [visits.state_of(point) for point in patrol.points] == ["pending", "pending"]
    his.bring(walked(town, his.at, (0.0, 60.0), (100.0, 60.0), (200.0, 20.0)), now + 2 * 24 * HOUR)
    his.look(now + 2 * 24 * HOUR)
    patrol = patrols.read(here, patrol.id)
    assert [visits.state_of(point) for point in patrol.points] == ["visited", "visited"]
    assert patrol.points[0].checkpoint_id == points[0].id
    assert patrol.points[0].visited_at is not None
    assert patrol.points[0].visited_at < his.at + 5 * MINUTE


def test_fixes_of_a_mock_provider_prove_nothing_and_are_counted(here: UnitOfWork, town: Town) -> None:
    """F21: a stay of which every third fix was made up counts by the others, and is flagged."""
    his = Round(here, town)
    his.begin()
    for fix in his.walk[::3]:
        fix.flags = int(Flag.MOCK)
    his.bring(his.walk)
    his.look()
    assert [row[5] for row in his.found()] == [("mock",), ("mock",)]
    for fix in his.walk:
        fix.flags = int(Flag.MOCK)
    other = Round(here, town, "officer_a2")
    other.bring(his.walk)
    other.look(here.now + MINUTE)
    assert other.found() == []


def test_a_clock_that_was_set_is_flagged(here: UnitOfWork, town: Town) -> None:
    his = Round(here, town)
    his.begin()
    his.bring(his.walk, skew_s=-1800.0)
    his.look()
    assert [row[5] for row in his.found()] == [("clock",), ("clock",)]


def test_a_second_device_of_his_in_another_place_is_flagged(here: UnitOfWork, town: Town) -> None:
    his = Round(here, town)
    his.begin()
    elsewhere = make_phone(here, town, town["officer_a"])
    far = walked(town, his.at, (3000.0, 600.0))
    bring(here, town, elsewhere, his.shift.id, far, received_at=here.now)
    his.bring(his.walk)
    his.look()
    assert all("two_places" in row[5] for row in his.found())
    assert len(his.found()) == 2


def test_two_workers_find_each_visit_once(here: UnitOfWork, town: Town) -> None:
    his = Round(here, town)
    his.begin()
    his.bring(his.walk)
    his.look()
    before = his.found()
    his.look(here.now + MINUTE)
    assert his.found() == before


def test_a_retired_checkpoint_is_visited_by_nobody(here: UnitOfWork, town: Town) -> None:
    his = Round(here, town)
    his.begin()
    his.second.retired_at, his.second.version = here.now, his.second.version + 1
    his.bring(his.walk)
    his.look()
    assert [row[0] for row in his.found()] == [his.first.id]


# --- Off the route


def test_who_leaves_the_corridor_for_long_is_told_once_and_can_say_why(here: UnitOfWork, town: Town) -> None:
    patrol = make_patrol(here, town, at=here.now - HOUR, corridor_m=30.0)
    his = Round(here, town)
    his.begin()
    a = town["officer_a"].actor()
    patrols.start(here, a, patrol.id, command_id=new_id(), device_at=his.at)
    aside = [
        msgspec.structs.replace(fix, lon=fix.lon + 150.0 / DEGREE_M)
        if 100 * SECOND <= fix.fixed_at - his.at <= 220 * SECOND
        else fix
        for fix in his.walk
    ]
    half = len(aside) // 2
    his.bring(aside[:half], here.now)
    his.look()
    his.bring(aside[half:], here.now + MINUTE)
    his.look(here.now + 2 * MINUTE)
    [deviation] = patrols.read(here, patrol.id).deviations
    assert 90 < deviation.furthest_m < 150
    assert deviation.began_at >= his.at + 100 * SECOND
    assert deviation.ended_at is not None
    told = select(Notice.recipient_id).where(Notice.kind == "patrol.deviated", Notice.subject_id == patrol.id)
    assert here.session.scalars(told).all() == [town["officer_a"].id]
    patrols.explain(here, a, patrol.id, "Road works.", deviation_id=deviation.id, command_id=new_id())
    assert patrols.read(here, patrol.id).deviations[0].explanation == "Road works."


def test_a_detour_of_some_seconds_and_one_while_the_patrol_is_paused_are_nobodys_business(
    here: UnitOfWork, town: Town
) -> None:
    patrol = make_patrol(here, town, at=here.now - HOUR, corridor_m=30.0)
    his = Round(here, town)
    his.begin()
    a = town["officer_a"].actor()
    patrols.start(here, a, patrol.id, command_id=new_id(), device_at=his.at)
    for fix in his.walk:
        if 100 * SECOND <= fix.fixed_at - his.at <= 140 * SECOND:
            fix.lon += 150.0 / DEGREE_M
    his.bring(his.walk)
    his.look()
    assert patrols.read(here, patrol.id).deviations == []
    patrols.pause(here, a, patrol.id, command_id=new_id(), device_at=his.at + 15 * MINUTE)
    far = walked(town, his.at + 20 * MINUTE, (3000.0, 200.0))
    his.bring(far, here.now + MINUTE)
    his.look(here.now + 2 * MINUTE)
    assert patrols.read(here, patrol.id).deviations == []
