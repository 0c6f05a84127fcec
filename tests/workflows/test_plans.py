"""Plans: rules in the town's time that become patrols, each once, and anew when the plan is another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, create_engine, func, select, text
from sqlalchemy.pool import NullPool

from backend.core.errors import Forbidden, Invalid, NotVisible, Stale, WrongState
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import DutyLevel
from backend.models import Patrol, Plan
from tests import factories
from tests.factories import Town
from tests.rounds import make_checkpoint, make_plan, make_route
from workflows import access, patrols, plans

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"plans-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    # Ten in the morning of the town: what comes at nine is of tomorrow, and the day after is beyond what is made.
    uow.now = datetime.combine(uow.now.date(), time(10), SHANGHAI)
    return uow


def wanted(uow: UnitOfWork, town: Town, **more: Any) -> dict[str, Any]:
    if "post_id" not in more:
        more["route_id"] = more.get("route_id") or make_route(uow, town, [make_checkpoint(uow, town)]).id
    return {
        "route_id": None, "name": {"zh-CN": "早巡", "en": "Morning round"}, "rule": "FREQ=DAILY;BYHOUR=9,21",
        "starts_on": uow.now.date() - DAY, "starts_at": time(0), "ends_on": None, "late_after_s": 600,
        "window_s": 3600, "officer_ids": [], "post_id": None, "lasts_s": None, "levels": list(DutyLevel), **more,
    }  # fmt: skip


def make(uow: UnitOfWork, town: Town, who: str = "supervisor", **more: Any) -> Plan:
    return plans.create(uow, town[who].actor(), wanted(uow, town, **more), command_id=new_id())


def alter(uow: UnitOfWork, town: Town, plan: Plan, **more: Any) -> Plan:
    said = {name: getattr(plan, name) for name in (*plans.FIELDS, *plans.OF)} | more
    return plans.change(
        uow, town["supervisor"].actor(), plan.id, said, version=plan.version, command_id=new_id()
    )


def scheduled(uow: UnitOfWork, plan: Plan, state: str = "planned") -> list[str]:
    """When the patrols of a plan in a state are, in days from today and hours of the town."""
    uow.session.flush()
    rows = select(Patrol.scheduled_at).where(Patrol.plan_id == plan.id, Patrol.state == state)
    moments = [at.astimezone(SHANGHAI) for at in uow.session.scalars(rows.order_by(Patrol.scheduled_at))]
    today = plan.created_at.astimezone(SHANGHAI).date()
    return [f"{(at.date() - today).days} {at:%H:%M}" for at in moments]


def test_a_plan_makes_the_patrols_of_a_day_and_a_half_at_once_and_the_clock_the_next(
    here: UnitOfWork, town: Town
) -> None:
    plan = make(here, town)
    assert scheduled(here, plan) == ["0 21:00", "1 09:00", "1 21:00"]
    patrol = here.session.scalars(select(Patrol).where(Patrol.plan_id == plan.id).limit(1)).one()
    assert (patrol.route_id, patrol.area_id) == (plan.route_id, town.areas["a"])
    here.now += 12 * HOUR
    assert plans.make_ahead(here) is False
    assert scheduled(here, plan) == ["0 21:00", "1 09:00", "1 21:00", "2 09:00"]


def test_the_clock_twice_makes_nothing_twice(here: UnitOfWork, town: Town) -> None:
    plan = make(here, town, starts_on=here.now.date() - 3 * DAY)
    before = scheduled(here, plan)
    for ahead in (plans.AHEAD, plans.AHEAD, plans.AHEAD + plans.SLACK * 2):
        plans.make_ahead(here, ahead=ahead)
    plan.made_until = None
    here.session.flush()
    plans.make_ahead(here)
    assert scheduled(here, plan) == before, "even one that has forgotten how far it is"


def test_after_a_stop_of_two_days_nothing_is_made_of_the_past(here: UnitOfWork, town: Town) -> None:
    plan = make(here, town)
    here.now += 5 * DAY
    plans.make_ahead(here)
    assert scheduled(here, plan)[3:] == ["5 21:00", "6 09:00", "6 21:00"]


def test_a_change_makes_what_is_to_come_anew_also_at_the_same_moments(here: UnitOfWork, town: Town) -> None:
    plan = make(here, town)
    began, called_off = here.session.scalars(
        select(Patrol).where(Patrol.plan_id == plan.id).order_by(Patrol.scheduled_at).limit(2)
    )
    patrols.cancel(here, town["desk_a"].actor(), called_off.id, reason="rain", command_id=new_id())
    renamed = alter(here, town, plan, name={"zh-CN": "巡", "en": "Round"})
    assert scheduled(here, renamed) == ["0 21:00", "1 21:00"], "a name is on no patrol"
    changed = alter(here, town, renamed, window_s=7200)
    assert scheduled(here, changed) == ["0 21:00", "1 21:00"], "what the desk has called off stays so"
    assert scheduled(here, changed, "cancelled") == ["0 21:00", "1 09:00", "1 21:00"]
    here.session.refresh(began)
    assert (began.state, began.reason) == ("cancelled", patrols.PLAN_CHANGED)
    again = alter(here, town, changed, rule="FREQ=DAILY;BYHOUR=22")
    assert scheduled(here, again) == ["0 22:00", "1 22:00"]


def test_what_is_under_way_when_a_plan_is_changed_goes_on(here: UnitOfWork, town: Town) -> None:
    plan = make(here, town)
    here.now += 11 * HOUR + timedelta(minutes=10)
    alter(here, town, plan, rule="FREQ=DAILY;BYHOUR=22")
    assert scheduled(here, plan) == ["0 21:00", "0 22:00", "1 22:00"], (
        "its time has come; it is begun or missed"
    )


def test_a_retired_plan_makes_nothing_more_and_what_it_made_is_cancelled(
    here: UnitOfWork, town: Town
) -> None:
    plan = make(here, town)
    actor = town["supervisor"].actor()
    retired = plans.retire(here, actor, plan.id, command_id=new_id())
    assert scheduled(here, plan) == []
    here.now += DAY
    plans.make_ahead(here)
    assert scheduled(here, plan) == []
    assert plans.actions(actor, retired) == []
    assert plans.next_at(retired, SHANGHAI, here.now) is None
    with pytest.raises(WrongState):
        plans.retire(here, actor, plan.id, command_id=new_id())
    with pytest.raises(WrongState):
        alter(here, town, retired)


def test_what_was_changed_meanwhile_is_not_changed_on_what_was_read_before(
    here: UnitOfWork, town: Town
) -> None:
    plan = make(here, town)
    alter(here, town, plan, window_s=1800)
    with pytest.raises(Stale):
        plans.change(
            here, town["supervisor"].actor(), plan.id, wanted(here, town), version=1, command_id=new_id()
        )


def test_a_plan_names_a_route_in_use_and_officers_of_its_area(here: UnitOfWork, town: Town) -> None:
    named = make(here, town, officer_ids=[town["officer_a"].id, town["officer_a2"].id])
    assert set(plans.officers_of(here, [named])) == {town["officer_a"].id, town["officer_a2"].id}
    for officer_ids in ([town["officer_b"].id], [town["desk_a"].id], [new_id()], [town["officer_a"].id] * 2):
        with pytest.raises(Invalid):
            make(here, town, officer_ids=officer_ids)
    whole = make_route(here, town, [make_checkpoint(here, town)], area="town")
    assert make(here, town, route_id=whole.id, officer_ids=[town["officer_b"].id]), "of an area within"
    retired = make_route(here, town, [make_checkpoint(here, town)])
    retired.retired_at = here.now
    foreign = make_route(here, town, [make_checkpoint(here, town, area="b")], area="b")
    for route_id, who in ((retired.id, "supervisor"), (foreign.id, "supervisor_a"), (new_id(), "supervisor")):
        with pytest.raises(Invalid, match="no route in use"):
            make(here, town, who, route_id=route_id)
    with pytest.raises(Forbidden):
        make(here, town, "desk_a")


@pytest.mark.parametrize(
    "more",
    [
        {"rule": "FREQ=MINUTELY"},
        {"rule": "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30"},
        {"late_after_s": 3601},
        {"ends_on": date(2020, 1, 1)},
    ],
)
def test_what_cannot_come_is_refused_and_not_stored(
    here: UnitOfWork, town: Town, more: dict[str, Any]
) -> None:
    """F70."""
    with pytest.raises(Invalid) as refused:
        make(here, town, **more)
    assert (refused.value.code == "bad_rule") == ("rule" in more)
    assert here.session.scalar(select(func.count()).select_from(Plan)) == 0


def test_a_preview_shows_the_next_ten_moments_and_stores_nothing(here: UnitOfWork, town: Town) -> None:
    said = wanted(here, town, rule="FREQ=MONTHLY;BYMONTHDAY=-1")
    moments = plans.preview(here, said)
    assert len(moments) == 10
    assert all(at > here.now and (at.astimezone(SHANGHAI) + DAY).day == 1 for at in moments)
    with pytest.raises(Invalid, match="FREQ has to be"):
        plans.preview(here, said | {"rule": "FREQ=SECONDLY"})
    assert here.session.scalar(select(func.count()).select_from(Plan)) == 0


def test_a_desk_sees_the_plans_of_its_areas(here: UnitOfWork, town: Town) -> None:
    mine, other = make(here, town), make(here, town)
    actor = town["desk_a"].actor()

    def listed(**more: Any) -> set[Any]:
        return {plan.id for plan in plans.listed(here, actor, after=None, limit=9, **more).items}

    assert listed() == {mine.id, other.id}
    assert listed(route_id=mine.route_id) == {mine.id}
    assert listed(area_id=town.areas["b"]) == set()
    first = plans.listed(here, actor, after=None, limit=1)
    assert first.after is not None
    rest = plans.listed(here, actor, after=[str(part) for part in first.after], limit=1)
    assert {first.items[0].id, rest.items[0].id} == {mine.id, other.id}
    plans.retire(here, town["supervisor"].actor(), other.id, command_id=new_id())
    assert listed() == {mine.id}
    assert listed(retired=True) == {mine.id, other.id}
    with pytest.raises(NotVisible):
        access.plan(here, town["desk_b"].actor(), mine.id)


# --- At once


@pytest.fixture
def owner(live_config: Any) -> Iterator[Engine]:
    engine = create_engine(live_config.owner_url, poolclass=NullPool)
    yield engine
    engine.dispose()


def test_two_clocks_at_once_make_each_patrol_once_and_leave_no_number_out(
    live_engine: Engine, owner: Engine
) -> None:
    town = factories.make_town(owner, "atonce")
    with unit_of_work(town.id, engine=live_engine) as uow:
        route = make_route(uow, town, [make_checkpoint(uow, town)])
        for _ in range(5):
            make_plan(
                uow,
                town,
                route,
                rule="FREQ=DAILY;BYHOUR=0,3,6,9,12,15,18,21",
                starts_on=uow.now.date() - 3 * DAY,
            )
    start, failures = threading.Barrier(4), []

    def clock() -> None:
        try:
            start.wait(10)
            with unit_of_work(town.id, engine=live_engine) as uow:
                plans.make_ahead(uow)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=clock) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    with owner.connect() as connection:
        made, moments, numbers, last = connection.execute(
            text(
                "select count(*), count(distinct (plan_id, scheduled_at)), count(distinct number), max(number)"
                " from patrols"
            )
        ).one()
    assert 5 * 11 <= made <= 5 * 13
    assert made == moments == numbers == last
