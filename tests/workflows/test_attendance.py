"""Actual against planned: every shift belongs somewhere, and minutes are what they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Attendance
from tests import factories
from tests.factories import Person, Town
from tests.rosters import make_planned
from workflows import attendance
from workflows.attendance import Bounds, Done, Kept, Planned, judge, overlap

BOUNDS = Bounds(timedelta(minutes=5), timedelta(minutes=5))
BASE = datetime(2026, 12, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTES = st.integers(0, 3 * 24 * 60).map(lambda minutes: BASE + timedelta(minutes=minutes))


def spans(longest_h: int) -> st.SearchStrategy[list[tuple[datetime, datetime]]]:
    """Times of one officer, in their order, none of which overlap."""
    edges = st.lists(MINUTES, max_size=12, unique=True).map(sorted)
    return edges.map(
        lambda at: [(a, min(b, a + longest_h * HOUR)) for a, b in zip(at[::2], at[1::2], strict=False)]
    )


@given(plans=spans(24), shifts=spans(48), now=MINUTES, data=st.data())
def test_every_shift_belongs_to_a_plan_or_is_unplanned_and_nothing_depends_on_their_order(
    plans: Any, shifts: Any, now: datetime, data: st.DataObject
) -> None:
    planned = [Planned(new_id(), *span) for span in plans]
    done = [Done(new_id(), a, b if b <= now else None) for a, b in shifts if a <= now]
    kept, unplanned = judge(planned, done, now, BOUNDS)
    assert kept.keys() == {plan.id for plan in planned}
    matched = {shift_id for one in kept.values() for shift_id in one.shift_ids}
    assert matched.isdisjoint(unplanned)
    assert matched | set(unplanned) == {shift.id for shift in done}
    for plan in planned:
        one = kept[plan.id]
        his = [shift for shift in done if shift.id in one.shift_ids]
        assert all(overlap(plan, shift, now) for shift in his)
        assert bool(his) is (one.state is Attendance.PRESENT)
        assert one.state is not Attendance.ABSENT or now >= plan.ends_at
        assert one.state is not Attendance.MISSING or plan.begins_at < now < plan.ends_at
        assert min(one.late_s, one.left_early_s, one.away_s) >= 0
        if his:
            # What he was there, and what he was not, is the planned time.
            there = sum((overlap(plan, shift, now) for shift in his), timedelta(0))
            late = max(his[0].started_at - plan.begins_at, timedelta(0))
            early = max(plan.ends_at - (one.left_at or now), timedelta(0))
            assert there + late + early + timedelta(seconds=one.away_s) == plan.ends_at - plan.begins_at
            assert one.late_s in (0, int(late.total_seconds()))
    again = data.draw(st.permutations(planned)), data.draw(st.permutations(done))
    assert judge(*again, now, BOUNDS) == (kept, unplanned)


@pytest.mark.parametrize(
    ("shifts", "expected"),
    [
        ([(0, 480)], Kept(Attendance.PRESENT)),
        ([(5, 475)], Kept(Attendance.PRESENT)),
        ([(6, 480)], Kept(Attendance.PRESENT, late_s=360)),
        ([(-30, 474)], Kept(Attendance.PRESENT, left_early_s=360)),
        ([(0, 100), (130, 480)], Kept(Attendance.PRESENT, away_s=1800)),
        # Half an hour too early for the next shift is not eight hours too late for this one.
        ([(455, 960)], Kept(Attendance.ABSENT)),
        # Who does two in one go has done both.
        ([(0, 960)], Kept(Attendance.PRESENT)),
        ([], Kept(Attendance.ABSENT)),
    ],
)
def test_what_becomes_of_eight_hours_with_eight_more_after_them(
    shifts: list[tuple[int, int]], expected: Kept
) -> None:
    first, second = (
        Planned(new_id(), BASE, BASE + 8 * HOUR),
        Planned(new_id(), BASE + 8 * HOUR, BASE + 16 * HOUR),
    )
    done = [Done(new_id(), BASE + timedelta(minutes=a), BASE + timedelta(minutes=b)) for a, b in shifts]
    one = judge([first, second], done, BASE + 24 * HOUR, BOUNDS)[0][first.id]
    said = (one.state, one.late_s, one.left_early_s, one.away_s)
    assert said == (expected.state, expected.late_s, expected.left_early_s, expected.away_s)


# --- The desk's list


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"attend-{new_id().hex[-12:]}")


def did(uow: UnitOfWork, person: Person, at: datetime, until: datetime | None, area_id: Any) -> None:
    uow.session.execute(
        text(
            "insert into shifts (id, town_id, officer_id, area_id, state, started_at, closes_at, ended_at, ended_by)"
            " values (:id, :town, :officer, :area, :state, :at, :closes, :until, :by)"
        ),
        {
            "id": new_id(), "town": person.town_id, "officer": person.id, "area": area_id, "at": at, "until": until,
            "closes": at + 14 * HOUR, "state": "ended" if until else "on_duty", "by": "self" if until else None,
        },
    )  # fmt: skip


def test_the_desk_sees_what_was_kept_in_its_areas_and_what_nobody_had_planned(
    uow: UnitOfWork, town: Town
) -> None:
    """F41: each row once over the pages, planned and unplanned in one order; another desk's rows on none."""
    uow.enter_town(town.id)
    first, second, far = town["officer_a"], town["officer_a2"], town["officer_b"]
    day = uow.now - 10 * HOUR
    plan = make_planned(uow, town, first, day)
    did(uow, first, day + timedelta(minutes=20), day + 8 * HOUR, town.areas["a"])
    absent = make_planned(uow, town, second, day + HOUR)
    excused = make_planned(uow, town, first, day - 20 * HOUR, state="excused", excused_at=uow.now)
    did(uow, first, day - 20 * HOUR, day - 13 * HOUR, town.areas["a"])  # He came all the same.
    make_planned(uow, town, second, day - 20 * HOUR, state="cancelled", cancelled_at=uow.now, reason="x")
    make_planned(uow, town, far, day, area="b")
    did(uow, far, day, None, town.areas["b"])

    def look(who: str) -> list[tuple[str, Any, int]]:
        rows, after = [], None
        while True:
            found = attendance.listed(
                uow, town[who].actor(), BOUNDS, since=day - 30 * HOUR, until=uow.now, after=after, limit=2
            )
            rows += found.items
            if found.after is None:
                break
            after = [str(one) for one in found.after]
        return [(str(one.kept.state), one.planned and one.planned.id, one.kept.late_s) for one in rows]

    seen = look("desk_a")
    assert sorted(seen[:2], key=str) == sorted([("excused", excused.id, 0), ("unplanned", None, 0)], key=str)
    assert seen[2:] == [("present", plan.id, 1200), ("absent", absent.id, 0)]
    assert [state for state, *_ in look("desk_b")] == ["present"]
