"""Duty levels: what is in force when and where, and the plans that come and go with it."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError

from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, Stale, WrongState
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import DutyLevel
from backend.models import Area, Journal, LevelSwitch, Notice, Patrol, Plan, PostDuty
from tests import factories
from tests.dispatching import on_shift
from tests.factories import Town
from tests.rounds import make_checkpoint, make_post, make_route
from workflows import access, deadlines, duty_levels, patrols, plans

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SHANGHAI = ZoneInfo("Asia/Shanghai")
L = DutyLevel


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"levels-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    uow.now = datetime.combine(uow.now.date(), time(10), SHANGHAI)
    return uow


def make(uow: UnitOfWork, town: Town, levels: list[DutyLevel], **more: Any) -> Plan:
    wanted = {
        "route_id": None, "post_id": None, "lasts_s": None, "name": {"zh-CN": "巡", "en": "Round"}, "officer_ids": [],
        "rule": "FREQ=DAILY;BYHOUR=9,15,21", "starts_on": uow.now.date() - DAY, "starts_at": time(0), "ends_on": None,
        "late_after_s": 600, "window_s": 3600, "levels": levels, **more,
    }  # fmt: skip
    if wanted["post_id"] is None:
        wanted["route_id"] = make_route(uow, town, [make_checkpoint(uow, town)]).id
    return plans.create(uow, town["supervisor"].actor(), wanted, command_id=new_id())


def switch(
    uow: UnitOfWork, town: Town, level: DutyLevel, hours: tuple[float, float], *, area: str = "town",
    who: str = "supervisor",
) -> LevelSwitch:  # fmt: skip
    since, until = (uow.now + h * HOUR for h in hours)
    return duty_levels.switch(
        uow, town[who].actor(), area_id=town.areas[area], level=level, since_at=since, until_at=until,
        reason="庙会", command_id=new_id(),
    )  # fmt: skip


def there(uow: UnitOfWork, plan: Plan, state: str = "planned") -> list[str]:
    """When the patrols of a plan in a state are, in days from the plan's first and hours of the town."""
    uow.session.flush()
    rows = select(Patrol.scheduled_at).where(Patrol.plan_id == plan.id, Patrol.state == state)
    if plan.post_id is not None:
        rows = select(PostDuty.starts_at).where(PostDuty.plan_id == plan.id, PostDuty.state == state)
    today = plan.created_at.astimezone(SHANGHAI).date()
    moments = sorted(at.astimezone(SHANGHAI) for at in uow.session.scalars(rows))
    return [f"{(at.date() - today).days} {at:%H}" for at in moments]


def clock(uow: UnitOfWork) -> None:
    while plans.make_ahead(uow):
        pass


ORDINARY_DAY = ["0 15", "0 21", "1 09", "1 15", "1 21"]


def test_a_switch_calls_off_what_is_not_in_force_any_more_makes_what_is_and_keeps_what_has_begun(
    here: UnitOfWork, town: Town
) -> None:
    calm, alert, always = (
        make(here, town, [L.ORDINARY]),
        make(here, town, [L.SECOND]),
        make(here, town, list(L)),
    )
    post = make(here, town, [L.SECOND, L.FIRST], post_id=make_post(here, town).id, lasts_s=7200)
    assert (there(here, calm), there(here, alert), there(here, always)) == (ORDINARY_DAY, [], ORDINARY_DAY)
    officer = town["officer_a"]
    here.now += 5 * HOUR
    on_shift(here, town, officer)
    first = here.session.scalars(
        select(Patrol).where(Patrol.plan_id == calm.id).order_by(Patrol.scheduled_at).limit(1)
    ).one()
    patrols.start(here, officer.actor(), first.id, command_id=new_id())
    made = switch(here, town, L.SECOND, (0, 20))
    clock(here)
    for _ in range(2):  # The clock twice makes nothing twice.
        assert (there(here, calm, "active"), there(here, calm)) == (["0 15"], ["1 15", "1 21"])
        assert there(here, calm, "cancelled") == ["0 21", "1 09"]
        assert there(here, alert) == there(here, post) == ["0 21", "1 09"]
        assert there(here, always) == ["0 15", "0 21", "1 09", "1 15", "1 21"]
        here.session.execute(text("update plans set made_until = null"))
        clock(here)
    reasons = set(here.session.scalars(select(Patrol.reason).where(Patrol.state == "cancelled")))
    assert reasons == {patrols.NOT_IN_FORCE}
    # Taken back, and switched on again: each of them once.
    duty_levels.end(
        here, town["supervisor"].actor(), made.id, reason="散场", version=made.version, command_id=new_id()
    )
    clock(here)
    assert (there(here, calm), there(here, alert)) == (["0 21", "1 09", "1 15", "1 21"], [])
    switch(here, town, L.SECOND, (1, 20))
    clock(here)
    assert (there(here, calm), there(here, alert)) == (["1 15", "1 21"], ["0 21", "1 09"])
    here.now += DAY
    clock(here)
    assert there(here, calm)[2:] == ["2 09", "2 15", "2 21"], "it is over by itself"


def test_what_people_called_off_is_not_made_again_by_a_switch(here: UnitOfWork, town: Town) -> None:
    plan = make(here, town, [L.ORDINARY])
    gone = here.session.scalars(
        select(Patrol.id).where(Patrol.plan_id == plan.id).order_by(Patrol.scheduled_at).limit(1)
    ).one()
    patrols.cancel(here, town["desk_a"].actor(), gone, reason="rain", command_id=new_id())
    made = switch(here, town, L.FIRST, (1, 30))
    clock(here)
    duty_levels.end(
        here, town["supervisor"].actor(), made.id, reason="over", version=None, command_id=new_id()
    )
    clock(here)
    assert there(here, plan) == ORDINARY_DAY[1:]


def test_spans_of_one_area_that_overlap_are_refused_and_the_gravest_of_areas_counts(
    here: UnitOfWork, town: Town
) -> None:
    switch(here, town, L.THIRD, (0, 10))
    for hours in ((0, 1), (9, 11), (-3, 30)):
        with pytest.raises(Conflict, match="already") as refused:
            switch(here, town, L.SECOND, hours)
        assert refused.value.code == "duty_level_overlaps"
    switch(here, town, L.SECOND, (10, 12)), "one after the other"
    switch(here, town, L.FIRST, (2, 4), area="a", who="supervisor_a")
    later = switch(here, town, L.FIRST, (20, 30))
    duty_levels.end(
        here, town["supervisor"].actor(), later.id, reason="no", version=None, command_id=new_id()
    )
    switch(here, town, L.SECOND, (19, 40)), "what never began is in nobody's way"
    a, b = (here.session.get_one(Area, town.areas[name]) for name in ("a", "b"))
    switches = duty_levels.within_reach(here, here.now, here.now + DAY)

    def level(area: Area, hour: float) -> DutyLevel:
        return duty_levels.level_at(switches, area, here.now + hour * HOUR)

    assert [level(a, hour) for hour in (1, 3, 5, 11, 15)] == [L.THIRD, L.FIRST, L.THIRD, L.SECOND, L.ORDINARY]
    assert [level(b, hour) for hour in (1, 3)] == [L.THIRD, L.THIRD]
    with pytest.raises(IntegrityError, match="ex_level_switches_area"), here.attempt():
        here.session.execute(text("update level_switches set since_at = since_at - interval '1 hour'"))


spans = st.tuples(st.integers(0, 40), st.integers(1, 20), st.sampled_from([L.THIRD, L.SECOND, L.FIRST]))


@given(st.lists(spans, max_size=6), st.integers(0, 60))
def test_a_level_is_in_force_from_its_start_to_before_its_end(
    wanted: list[tuple[int, int, DutyLevel]], hour: int
) -> None:
    area_id, begin = new_id(), datetime(2026, 12, 1, tzinfo=SHANGHAI)
    area = Area(id=area_id, ancestors=[area_id])
    found = [
        LevelSwitch(area_id=area_id, level=level, since_at=begin + a * HOUR, until_at=begin + (a + n) * HOUR)
        for a, n, level in wanted
    ]
    here = [level for a, n, level in wanted if hour in range(a, a + n)]
    expected = next((level for level in (L.FIRST, L.SECOND, L.THIRD) if level in here), L.ORDINARY)
    assert duty_levels.level_at(found, area, begin + hour * HOUR) == expected
    assert duty_levels.level_at(found, Area(id=new_id(), ancestors=[]), begin) == L.ORDINARY


def test_who_may_switch_and_who_is_told(here: UnitOfWork, town: Town) -> None:
    for name in ("officer_a", "officer_b"):
        on_shift(here, town, town[name])
    for who, area, error in (
        ("desk_a", "a", Forbidden),
        ("supervisor_a", "b", Invalid),
        ("supervisor_a", "town", Invalid),
    ):
        with pytest.raises(error):
            switch(here, town, L.SECOND, (0, 5), area=area, who=who)
    for level, hours in ((L.ORDINARY, (0, 5)), (L.SECOND, (5, 5)), (L.SECOND, (0, 24 * 93))):
        with pytest.raises(Invalid):
            switch(here, town, level, hours)
    made = switch(here, town, L.SECOND, (0, 5), area="a", who="supervisor_a")

    def told(kind: str) -> set[UUID]:
        return set(here.session.scalars(select(Notice.recipient_id).where(Notice.kind == kind)))

    heard = told("duty_level.switched")
    assert {town["officer_a"].id, town["desk_a"].id, town["supervisor"].id} <= heard
    assert not heard & {town["officer_b"].id, town["desk_b"].id, town["supervisor_a"].id}
    b, whole = town["desk_b"].actor(), switch(here, town, L.THIRD, (2, 4))
    assert {one.id for one in duty_levels.listed(here, b, after=None, limit=9).items} == {whole.id}
    assert access.level_switch(here, b, whole.id).id == whole.id
    with pytest.raises(NotVisible):
        access.level_switch(here, b, made.id)
    with pytest.raises(NotVisible):
        duty_levels.end(
            here, town["supervisor_a"].actor(), whole.id, reason="mine", version=None, command_id=new_id()
        )
    with pytest.raises(Stale):
        duty_levels.end(
            here, town["supervisor"].actor(), whole.id, reason="x", version=9, command_id=new_id()
        )
    assert (town["officer_b"].id in told("duty_level.switched")) is False, "it has not come into force"
    here.now += 2 * HOUR
    deadlines.see_to(here, {"duty_level": duty_levels.time_due})
    assert town["officer_b"].id in told("duty_level.switched")
    here.now += 4 * HOUR
    deadlines.see_to(here, {"duty_level": duty_levels.time_due})
    assert {town["officer_a"].id, town["officer_b"].id} <= told("duty_level.ended")
    with pytest.raises(WrongState):
        duty_levels.end(
            here, town["supervisor"].actor(), whole.id, reason="x", version=None, command_id=new_id()
        )
    here.session.flush()
    acts = select(Journal.action).where(Journal.subject_id == whole.id).order_by(Journal.id)
    assert list(here.session.scalars(acts)) == ["switch", "begin", "lapse"]
    assert duty_levels.listed(here, b, after=None, limit=9).items == []
    assert [one.id for one in duty_levels.listed(here, b, over=True, after=None, limit=9).items] == [whole.id]
