"""Who is told: by membership and area, and nobody of another area or town."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AlarmKind, CallKind
from backend.models import Alarm, Assignment, Call, Task
from notifications import changes, recipients
from tests.factories import Person, Town
from workflows import calls


def names(town: Town, found: list[UUID]) -> set[str]:
    by_id = {person.id: name for name, person in town.people.items()}
    return {by_id[one] for one in found}


def on_shift(uow: UnitOfWork, person: Person, area_id: UUID, **more: Any) -> None:
    uow.session.execute(
        text(
            "insert into shifts (id, town_id, officer_id, area_id, crew_id, state, started_at, closes_at, ended_at,"
            " ended_by) values (:id, :town, :officer, :area, :crew, :state, :begun, :closes, :ended, :by)"
        ),
        {
            "id": new_id(), "town": person.town_id, "officer": person.id, "area": area_id,
            "crew": more.get("crew"), "begun": uow.now - timedelta(hours=1),
            "closes": more.get("closes") or uow.now + timedelta(hours=7),
            "state": "ended" if more.get("ended") else "on_duty", "ended": more.get("ended"),
            "by": "self" if more.get("ended") else None,
        },
    )  # fmt: skip


def disable(uow: UnitOfWork, person: Person) -> None:
    uow.session.execute(
        text("update users set state = 'disabled', disabled_at = :now where id = :id"),
        {"now": uow.now, "id": person.id},
    )


def leave(uow: UnitOfWork, person: Person) -> None:
    uow.session.execute(
        text("update memberships set ended_at = :now where user_id = :id"), {"now": uow.now, "id": person.id}
    )


@pytest.mark.parametrize(
    ("area", "level", "told"),
    [
        ("a", "dispatcher", {"desk_a"}),
        ("a1", "dispatcher", {"desk_a"}),
        ("b1", "dispatcher", {"desk_b"}),
        ("a1", "supervisor", {"supervisor_a", "supervisor"}),
        ("b1", "supervisor", {"supervisor"}),
        ("town", "dispatcher", {"supervisor"}),
        ("town", "supervisor", {"supervisor"}),
    ],
)
def test_the_desk_of_an_area_is_who_holds_it_or_what_is_above_it(
    here: UnitOfWork, town: Town, area: str, level: Any, told: set[str]
) -> None:
    """F41: nobody of a neighbouring community; where there is no dispatcher, the supervisors."""
    assert names(town, recipients.desk_for(here, town.areas[area], level)) == told


def test_who_has_left_or_is_disabled_is_no_desk(here: UnitOfWork, town: Town) -> None:
    leave(here, town["desk_a"])
    assert names(town, recipients.desk_for(here, town.areas["a"])) == {"supervisor", "supervisor_a"}
    disable(here, town["supervisor_a"])
    assert names(town, recipients.desk_for(here, town.areas["a"])) == {"supervisor"}


def test_officers_on_shift_are_those_on_duty_there_now(here: UnitOfWork, town: Town) -> None:
    """F41: not the neighbour's, not whose shift is over or past its bound, not the one who asks."""
    a, a1, b, root = (town.areas[name] for name in ("a", "a1", "b", "town"))
    assert recipients.officers_on_shift(here, root) == []
    on_shift(here, town["officer_a"], a1)
    on_shift(here, town["officer_a2"], a)
    on_shift(here, town["officer_b"], b)
    assert names(town, recipients.officers_on_shift(here, a)) == {"officer_a", "officer_a2"}
    assert names(town, recipients.officers_on_shift(here, a1)) == {"officer_a"}
    assert names(town, recipients.officers_on_shift(here, root)) == {"officer_a", "officer_a2", "officer_b"}
    others = recipients.officers_on_shift(here, a, without=[town["officer_a"].id])
    assert names(town, others) == {"officer_a2"}
    disable(here, town["officer_a2"])
    assert names(town, recipients.officers_on_shift(here, a)) == {"officer_a"}
    here.now += timedelta(hours=8)
    assert recipients.officers_on_shift(here, root) == []


def test_a_crew_is_who_is_on_duty_in_it(here: UnitOfWork, town: Town) -> None:
    crew = new_id()
    here.session.execute(
        text(
            "insert into crews (id, town_id, area_id, call_sign, travel, leader_id, created_at)"
            " values (:id, :town, :area, 'A1', 'foot', :leader, :now)"
        ),
        {
            "id": crew, "town": town.id, "area": town.areas["a"], "leader": town["officer_a"].id,
            "now": here.now,
        },
    )  # fmt: skip
    on_shift(here, town["officer_a"], town.areas["a"], crew=crew)
    on_shift(here, town["officer_a2"], town.areas["a"], crew=crew)
    on_shift(here, town["officer_b"], town.areas["b"])
    assert names(town, recipients.crew_of(here, town["officer_a2"].id)) == {"officer_a", "officer_a2"}
    assert names(town, recipients.crew_of(here, town["officer_b"].id)) == {"officer_b"}
    assert names(town, recipients.crew_on_shift(here, crew)) == {"officer_a", "officer_a2"}
    here.session.execute(
        text("update shifts set state = 'ended', ended_at = :now, ended_by = 'self' where officer_id = :id"),
        {"now": here.now, "id": town["officer_a"].id},
    )
    assert names(town, recipients.crew_of(here, town["officer_a2"].id)) == {"officer_a2"}
    assert names(town, recipients.crew_on_shift(here, crew)) == {"officer_a2"}
    disable(here, town["officer_a2"])
    assert recipients.crew_on_shift(here, crew) == []


def test_whom_a_call_waits_for_is_who_was_asked_and_has_not_answered(
    here: UnitOfWork, town: Town, elsewhere: Town
) -> None:
    on_shift(here, town["officer_a"], town.areas["a"])
    on_shift(here, town["officer_a2"], town.areas["a"])
    call = calls.create(
        here, town["desk_a"].actor(), command_id=new_id(), kind=CallKind.ROLL_CALL,
        whom=calls.Whom(area_id=town.areas["a"]), lasts=timedelta(minutes=5),
    )  # fmt: skip
    on_shift(here, town["officer_b"], town.areas["a"])
    assert names(town, recipients.asked_by(here, call.id)) == {"officer_a", "officer_a2"}
    calls.answer(here, town["officer_a"].actor(), call.id, command_id=new_id())
    assert names(town, recipients.asked_by(here, call.id)) == {"officer_a2"}
    here.enter_town(elsewhere.id)
    assert recipients.asked_by(here, call.id) == []


def test_one_person_is_told_if_he_is_of_the_town(here: UnitOfWork, town: Town, elsewhere: Town) -> None:
    """F41: of another town there is nobody, by whichever function."""
    officer, resident = town["officer_a"].id, town["resident"].id
    assert recipients.one(here, officer) == [officer]
    assert recipients.one(here, None) == recipients.one(here, new_id()) == []
    assert recipients.resident(here, resident) == [resident]
    assert recipients.resident(here, officer) == [], "an officer is no resident"
    leave(here, town["resident"])
    assert recipients.resident(here, resident) == []
    for found in (
        recipients.one(here, elsewhere["officer_a"].id),
        recipients.resident(here, elsewhere["resident"].id),
        recipients.crew_of(here, elsewhere["officer_a"].id),
        recipients.desk_for(here, elsewhere.areas["a"]),
        recipients.officers_on_shift(here, elsewhere.areas["town"]),
    ):
        assert found == []


# --- Who hears by the live channel


def task_of(town: Town, *shares: tuple[Person, Any]) -> Task:
    return Task(
        area_id=town.areas["a"],
        assignments=[Assignment(officer_id=person.id, ended_at=ended) for person, ended in shares],
    )


def test_of_a_task_its_people_hear_and_whoever_has_just_lost_it(here: UnitOfWork, town: Town) -> None:
    """F41: not who had it before, nor anybody who was never asked."""
    before = here.now - timedelta(minutes=1)
    task = task_of(
        town, (town["officer_a"], None), (town["officer_a2"], here.now), (town["officer_b"], before)
    )
    heard = recipients.hear_of_task(task, here.now)
    assert heard.area_id == town.areas["a"]
    assert names(town, list(heard.user_ids)) == {"officer_a", "officer_a2"}


@pytest.mark.parametrize("kind", AlarmKind)
def test_of_an_alarm_the_desk_hears_and_of_a_call_for_help_who_called(town: Town, kind: AlarmKind) -> None:
    """Whoever has fallen silent or left his area is not told by his own screen; his desk sees it first."""
    alarm = Alarm(area_id=town.areas["a"], kind=kind, source_id=town["officer_a"].id)
    heard = recipients.hear_of_alarm(alarm)
    assert heard.area_id == town.areas["a"]
    assert names(town, list(heard.user_ids)) == ({"officer_a"} if kind is AlarmKind.SOS else set())


def test_of_a_call_those_hear_for_whom_it_changes(here: UnitOfWork, town: Town) -> None:
    for name in ("officer_a", "officer_a2"):
        on_shift(here, town[name], town.areas["a"])
    call = calls.create(
        here, town["desk_a"].actor(), command_id=new_id(), kind=CallKind.ROLL_CALL,
        whom=calls.Whom(area_id=town.areas["a"]), lasts=timedelta(minutes=5),
    )  # fmt: skip
    assert names(town, list(recipients.hear_of_new_call(here, call).user_ids)) == {"officer_a", "officer_a2"}
    share = calls.answer(here, town["officer_a"].actor(), call.id, command_id=new_id())
    assert names(town, list(recipients.hear_of_call(call, [share]).user_ids)) == {"officer_a"}
    assert recipients.hear_of_call(call, ()) == recipients.Hearers(town.areas["a"])


def test_more_people_than_one_notification_carries_are_told_in_parts_and_the_desk_once(
    here: UnitOfWork, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(here, "notify_each", lambda channel, messages: told.extend(messages))
    people = tuple(new_id() for _ in range(250))
    call = Call(id=new_id(), version=1)
    changes.tell(here, "call", call, "create", to=recipients.Hearers(town.areas["a"], people))
    assert [one["area_id"] for one in told] == [town.areas["a"], None, None]
    assert [one for part in told for one in part["user_ids"]] == [str(one) for one in people]
    assert all(len(json.dumps(part, default=str)) < 8000 for part in told)
    changes.tell(here, "call", call, "receive", to=recipients.Hearers(town.areas["a"]))
    assert told[-1]["user_ids"] == []
