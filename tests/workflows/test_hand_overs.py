"""Hand-overs: confirmed by both, with the tasks that pass, and never changed after that."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError

from backend.core.errors import Conflict, Invalid, NotVisible, Refusal
from backend.core.identity import Actor, Membership
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Role
from backend.models import Deadline, HandOver, Journal, Notice
from tests import factories
from tests.dispatching import LIMITS, make_task, on_shift, press, states
from tests.factories import Town
from workflows import access, hand_overs, shifts, task_looks, tasks
from workflows.offering import Whom


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"over-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


TORCH = {"name": "手电", "count": 2, "ok": False, "note": "一支不亮"}


def give(uow: UnitOfWork, town: Town, who: str = "officer_a", to: str | None = "officer_a2") -> HandOver:
    return hand_overs.give(
        uow, town[who].actor(), command_id=new_id(), watch="三号楼电梯", equipment=[TORCH],
        taker_id=town[to].id if to else None,
    )  # fmt: skip


def test_a_shift_ends_once_its_tasks_have_passed_to_who_confirms_the_hand_over(
    here: UnitOfWork, town: Town
) -> None:
    """Those that were only offered stay offers; what he has done meanwhile, or another does too, passes as it is."""
    giver, taker = town["officer_a"], town["officer_a2"]
    shift = on_shift(here, town, giver)
    here.session.flush()
    going, done, shared = (make_task(here, town, giver).id for _ in range(3))
    offered = make_task(here, town, giver).id
    press(here, giver, going, "accept", "depart")
    press(here, giver, done, "accept", "arrive")
    press(here, giver, shared, "accept")
    made = give(here, town)
    assert {one.task_id for one in made.tasks} == {going, done, shared}
    assert code_of(hand_overs.take, here, taker.actor(), made.id, command_id=new_id()) == "not_on_shift"
    on_shift(here, town, taker)
    press(here, giver, done, "resolve")
    assert code_of(shifts.end, here, giver.actor(), shift.id, command_id=new_id()) == "open_tasks"
    with pytest.raises(NotVisible):
        hand_overs.take(here, giver.actor(), made.id, command_id=new_id())
    with pytest.raises(NotVisible):
        hand_overs.take(here, town["officer_b"].actor(), made.id, command_id=new_id())
    taken = hand_overs.take(here, taker.actor(), made.id, remark="收到", command_id=new_id())
    assert (taken.state, taken.answer, taken.taken_at) == ("taken", "收到", here.now)
    assert {one.task_id: one.passed_at is not None for one in taken.tasks} == {
        going: True,
        shared: True,
        done: False,
    }
    assert states(here, going, giver, taker) == ("accepted", "handed_over", "accepted")
    assert states(here, offered, giver) == ("offered", "offered")
    said = select(Journal.action).where(Journal.subject_id == going).order_by(Journal.id.desc()).limit(1)
    assert here.session.scalar(said) == "hand_over"
    assert [task.id for task in task_looks.own(here, giver.actor(), past=True, after=None, limit=9).items]
    press(here, taker, going, "depart", "arrive", "resolve")
    ended = shifts.end(here, giver.actor(), shift.id, command_id=new_id())
    assert ended.state == "ended"
    kinds = select(Notice.kind).where(
        Notice.recipient_id.in_([giver.id, taker.id]), Notice.subject_id == made.id
    )
    assert sorted(here.session.scalars(kinds)) == ["hand_over.answered", "hand_over.given"]


def test_what_is_for_anybody_is_taken_by_the_first_of_the_area_and_a_missing_confirmation_stands_at_the_desk(
    here: UnitOfWork, town: Town
) -> None:
    """One waits for each shift; declined by name with a reason, withdrawn by its giver, and seen by its desk alone."""
    giver, taker = town["officer_a"], town["officer_a2"]
    with pytest.raises(Conflict):
        give(here, town)  # He is not on shift.
    for person in (giver, taker):
        on_shift(here, town, person)
    with pytest.raises(Invalid):
        give(here, town, to="officer_b")
    made = give(here, town, to=None)
    assert [
        one.id for one in hand_overs.own(here, taker.actor(), waiting=True, after=None, limit=9).items
    ] == [made.id]
    assert hand_overs.own(here, town["officer_b"].actor(), waiting=True, after=None, limit=9).items == []
    assert hand_overs.actions(giver.actor(), made) == ["withdraw"]
    assert hand_overs.actions(taker.actor(), made) == ["take"]
    with pytest.raises(NotVisible):
        hand_overs.decline(here, taker.actor(), made.id, reason="no", command_id=new_id())
    for desk, seen in (("desk_a", [made.id]), ("desk_b", [])):
        waiting = hand_overs.at_desk(here, town[desk].actor(), waiting=True, after=None, limit=9)
        assert [one.id for one in waiting.items] == seen
    with here.session.begin_nested() as attempt:
        here.enter_town(town.id)
        assert code_of(give, here, town) == "hand_over_waiting"
        attempt.rollback()
    here.enter_town(town.id)
    # Nobody came for it within a day.
    deadline = here.session.scalars(select(Deadline).where(Deadline.subject_id == made.id)).one()
    assert deadline.due_at == made.given_at + hand_overs.LAPSES_AFTER
    hand_overs.time_due(here, deadline)
    assert code_of(hand_overs.take, here, taker.actor(), made.id, command_id=new_id()) == "wrong_state"
    answered = select(Notice.params).where(Notice.subject_id == made.id, Notice.recipient_id == giver.id)
    assert [one["outcome"] for one in here.session.scalars(answered)] == ["lapsed"]
    hand_overs.withdraw(here, giver.actor(), give(here, town, to=None).id, command_id=new_id())
    named = give(here, town)
    refused = hand_overs.decline(here, taker.actor(), named.id, reason="手电只有一支", command_id=new_id())
    assert (refused.state, refused.answer) == ("declined", "手电只有一支")
    assert hand_overs.at_desk(here, town["desk_a"].actor(), waiting=True, after=None, limit=9).items == []


@pytest.mark.parametrize(
    "act",
    [
        "update hand_overs set watch = 'x' where id = :id",
        "update hand_over_tasks set passed_at = null where hand_over_id = :id",
        "insert into hand_over_tasks (hand_over_id, task_id, town_id) select id, gen_random_uuid(), town_id"
        " from hand_overs where id = :id",
    ],
)
def test_what_both_have_confirmed_is_not_changed_whoever_writes_it(
    here: UnitOfWork, town: Town, act: str
) -> None:
    for name in ("officer_a", "officer_a2"):
        on_shift(here, town, town[name])
    task = make_task(here, town, town["officer_a"])
    press(here, town["officer_a"], task.id, "accept")
    made = give(here, town)
    hand_overs.take(here, town["officer_a2"].actor(), made.id, command_id=new_id())
    here.session.flush()
    with pytest.raises(DBAPIError, match="is not changed"), here.session.begin_nested():
        here.enter_town(town.id)
        here.session.execute(text(act), {"id": made.id})


def code_of(act: object, *args: object, **more: object) -> str:
    """Say with which code an act is refused."""
    with pytest.raises(Refusal) as refused:
        act(*args, **more)  # type: ignore[operator]
    return refused.value.code


def test_a_task_of_an_area_where_the_other_does_not_serve_stays_with_who_has_it(
    here: UnitOfWork, town: Town, owner_engine: Engine
) -> None:
    """F41: who serves in two areas hands nothing of one to an officer of the other."""
    giver, taker = (
        factories.add_officer(owner_engine, town, f"two{new_id().hex[-8:]}", "b"),
        town["officer_a2"],
    )
    with owner_engine.begin() as connection:
        connection.execute(
            text(
                "insert into memberships (id, town_id, user_id, role, area_id, officer_kind, granted_at)"
                " values (:id, :town, :user, 'officer', :area, 'patrol', now())"
            ),
            {"id": new_id(), "town": town.id, "user": giver.id, "area": town.areas["a"]},
        )
    areas = (town.areas["b"], town.areas["a"])
    actor = Actor(giver.id, town.id, None, tuple(Membership(Role.OFFICER, one, None, None) for one in areas))
    shifts.start(here, actor, command_id=new_id(), limits=LIMITS, area_id=town.areas["b"])
    task = tasks.create(
        here, town["desk_b"].actor(), command_id=new_id(), description="x", place=town.place("b"), kind_code="check",
        whom=Whom(officer_ids=[giver.id]),
    )  # fmt: skip
    tasks.accept(here, actor, task.id, command_id=new_id())
    on_shift(here, town, taker)
    made = hand_overs.give(here, actor, command_id=new_id(), taker_id=taker.id)
    taken = hand_overs.take(here, taker.actor(), made.id, command_id=new_id())
    assert [one.passed_at for one in taken.tasks] == [None]
    with pytest.raises(NotVisible):
        access.task(here, taker.actor(), task.id)
