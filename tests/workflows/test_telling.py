"""Who is told what of tasks and alarms, in the act's own transaction."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, select, text, update

from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AlarmKind, NoticeKind, Travel
from backend.models import Alarm, Area, Notice, Task, User
from notifications import kinds
from tests import factories
from tests.dispatching import crew_on_shift
from tests.factories import Town
from tests.workflows.test_alarms import ACTS, LIMITS, help_of, on_shift, seen_at, watch
from tests.workflows.test_dispatching import a_place, done_by
from workflows import alarms, deadlines, dispatching, responders, shifts, tasks
from workflows.alarms import Place
from workflows.crews import WantedCrew
from workflows.offering import Whom

K = NoticeKind
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    town = factories.make_town(owner_engine, f"telling-{new_id().hex[-12:]}")
    town.people["officer_a3"] = factories.add_officer(owner_engine, town, "officer_a3")
    return town


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


def told(uow: UnitOfWork, town: Town, subject_id: UUID, since: Any = None) -> set[tuple[str, str]]:
    """(kind, who) of the notices about something."""
    names = {person.id: name for name, person in town.people.items()}
    rows = uow.session.execute(
        select(Notice.kind, Notice.recipient_id).where(Notice.subject_id == subject_id)
    ).all()
    return {(row.kind, names[row.recipient_id]) for row in rows}


def offered(uow: UnitOfWork, town: Town, *names: str, needed: int = 1) -> Task:
    for name in names:
        seen_at(uow, on_shift(uow, town[name]), town)
    return tasks.create(
        uow, town["desk_a"].actor(), command_id=new_id(), description="有人打架，电话 13900001111", place=town.place(),
        kind_code="noise", needed=needed, whom=Whom(officer_ids=[town[name].id for name in names]),
    )  # fmt: skip


def test_whoever_is_offered_a_task_is_told_and_the_others_when_it_is_taken(
    here: UnitOfWork, town: Town
) -> None:
    task = offered(here, town, "officer_a", "officer_a2")
    assert told(here, town, task.id) == {(K.TASK_OFFERED, "officer_a"), (K.TASK_OFFERED, "officer_a2")}
    here.now += timedelta(seconds=5)
    tasks.accept(here, town["officer_a"].actor(), task.id, command_id=new_id())
    after = told(here, town, task.id)
    assert (K.TASK_ACCEPTED, "desk_a") in after
    assert (K.TASK_WITHDRAWN, "officer_a2") in after
    assert (K.TASK_WITHDRAWN, "officer_a") not in after
    assert not any(name in ("desk_b", "officer_b", "resident") for _, name in after), "F41: nobody elsewhere"


def test_a_place_or_crew_whose_name_looks_like_a_phone_keeps_nobody_from_calling_for_help(
    here: UnitOfWork, town: Town
) -> None:
    """F93: the number stays here but for its beginning; the act that the notice tells of goes on."""
    name = {"zh-CN": "幸福路1200-1300弄", "en": "Lane 1200-1300" + " of Happiness Road" * 9}
    here.session.execute(update(Area).where(Area.id == town.areas["a"]).values(name=name))
    crew = WantedCrew("2026001", Travel.FOOT, [])
    shifts.start(here, town["officer_a"].actor(), command_id=new_id(), limits=LIMITS, crew=crew)
    raised = help_of(here, town["officer_a"], place=a_place(town, here))
    params = here.session.scalars(
        select(Notice.params).where(Notice.subject_id == raised.id, Notice.recipient_id == town["desk_a"].id)
    ).one()
    assert params["place"]["zh-CN"] == "幸福路1200…弄"
    assert len(params["place"]["en"]) == kinds.WORD_MOST
    assert params["call_sign"] == "2026…"
    task = offered(here, town, "officer_a2")
    assert (K.TASK_OFFERED, "officer_a2") in told(here, town, task.id)


def test_whose_task_goes_to_another_is_told_so_unless_he_is_asked_again(here: UnitOfWork, town: Town) -> None:
    task = offered(here, town, "officer_a", "officer_a2")
    seen_at(here, on_shift(here, town["officer_a3"]), town)
    here.now += timedelta(seconds=5)
    whom = Whom(officer_ids=[town[name].id for name in ("officer_a2", "officer_a3")])
    tasks.reassign(here, town["desk_a"].actor(), task.id, whom, reason="needs a car", command_id=new_id())
    said = told(here, town, task.id)
    assert {name for kind, name in said if kind == K.TASK_REASSIGNED} == {"officer_a"}
    assert not any(kind == K.TASK_WITHDRAWN for kind, _ in said)
    assert (K.TASK_OFFERED, "officer_a3") in said


def test_every_kind_of_notice_is_sent_by_some_act() -> None:
    """A kind with words and rules that nothing sends is a promise that nobody keeps."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflows").glob("*.py"))
    assert [kind.name for kind in K if not re.search(rf"\b(?:K|NoticeKind)\.{kind.name}\b", source)] == []


def test_who_has_answered_an_offer_is_called_by_no_further_channel(here: UnitOfWork, town: Town) -> None:
    task = offered(here, town, "officer_a", "officer_a2")
    here.now += timedelta(seconds=5)
    tasks.accept(here, town["officer_a"].actor(), task.id, command_id=new_id())
    rows = here.session.execute(
        select(Notice.recipient_id, Notice.confirmed_at).where(
            Notice.subject_id == task.id, Notice.kind == K.TASK_OFFERED
        )
    ).all()
    assert {row.recipient_id: row.confirmed_at is not None for row in rows} == {
        town["officer_a"].id: True,
        town["officer_a2"].id: False,
    }


def test_a_notice_holds_figures_and_words_of_places_and_nothing_that_somebody_typed(
    here: UnitOfWork, town: Town
) -> None:
    """F93: what was typed may name a person, and notices travel through other people's servers."""
    task = offered(here, town, "officer_a")
    params = here.session.scalars(select(Notice.params).where(Notice.subject_id == task.id)).all()
    assert params
    assert "139" not in str(params)
    assert all(one["number"] == task.number for one in params)


def test_a_task_that_is_called_off_is_told_to_those_who_had_it(here: UnitOfWork, town: Town) -> None:
    task = offered(here, town, "officer_a")
    here.now += timedelta(seconds=5)
    tasks.accept(here, town["officer_a"].actor(), task.id, command_id=new_id())
    here.now += timedelta(seconds=5)
    tasks.cancel(here, town["desk_a"].actor(), task.id, reason="重复", command_id=new_id())
    assert (K.TASK_CANCELLED, "officer_a") in told(here, town, task.id)


def test_the_desk_hears_of_results_and_of_what_is_handed_back_and_not_of_its_own_acts(
    here: UnitOfWork, town: Town
) -> None:
    task = offered(here, town, "officer_a")
    here.now += timedelta(seconds=5)
    done_by(here, town["officer_a"], task)
    after = told(here, town, task.id)
    assert (K.TASK_RESOLVED, "desk_a") in after
    here.now += timedelta(seconds=5)
    tasks.verify(here, town["desk_a"].actor(), task.id, command_id=new_id())
    assert told(here, town, task.id) == after


def test_an_sos_is_told_to_the_desk_and_its_answers_to_who_called(here: UnitOfWork, town: Town) -> None:
    seen_at(here, on_shift(here, town["officer_a2"]), town)
    raised = help_of(here, town["resident"], place=a_place(town, here))
    assert told(here, town, raised.id) == {(K.SOS_RAISED, "desk_a")}
    task_id = dispatching.send_to_sos(here, raised.id)
    assert task_id is not None
    assert told(here, town, task_id) == {(K.SOS_RAISED, "officer_a2")}
    asked = here.session.scalars(select(Notice).where(Notice.subject_id == task_id)).one()
    assert (asked.priority, asked.subject_kind) == (kinds.URGENT, "task")
    assert asked.params["distance_m"] >= 0
    here.now += timedelta(seconds=5)
    tasks.accept(here, town["officer_a2"].actor(), task_id, command_id=new_id())
    dispatching.acknowledge(here, town["desk_a"].actor(), raised.id, command_id=new_id())
    after = told(here, town, raised.id)
    assert (K.SOS_ANSWERED, "resident") in after
    assert (K.SOS_ACKNOWLEDGED, "resident") in after
    assert not any(name == "resident2" for _, name in after)


def test_what_climbs_the_ladder_is_told_to_the_next_level(here: UnitOfWork, town: Town) -> None:
    raised = help_of(here, town["resident"], place=a_place(town, here))
    here.now += timedelta(seconds=31)
    deadlines.see_to(here, ACTS)
    supervisors = {name for kind, name in told(here, town, raised.id) if kind == K.SOS_RAISED} - {"desk_a"}
    assert supervisors == {"supervisor", "supervisor_a"}


def test_a_silent_officer_is_asked_to_look_at_his_phone(here: UnitOfWork, town: Town) -> None:
    on_shift(here, town["officer_a3"])
    here.now += timedelta(minutes=11)
    watch(here)
    alarm = here.session.scalars(
        select(Alarm).where(Alarm.source_id == town["officer_a3"].id, Alarm.kind == AlarmKind.SILENT)
    ).one()
    assert {(K.OFFICER_SILENT, "officer_a3"), (K.ALARM_RAISED, "desk_a")} <= told(here, town, alarm.id)
    assert alarms.heard_at(alarm) is not None


def test_who_called_hears_who_is_coming_and_not_where_he_is(
    here: UnitOfWork, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P21, P22: name, how far he is with it and when he is expected, by the figure of the offer."""
    seen_at(here, on_shift(here, town["officer_a2"]), town)
    raised = help_of(here, town["resident"], place=a_place(town, here))
    task_id = dispatching.send_to_sos(here, raised.id)
    assert task_id is not None
    alarm = alarms.read(here, raised.id)
    assert responders.of(here, [alarm]) == {}, "who was asked has not answered"
    heard: list[Any] = []
    monkeypatch.setattr(here, "notify_each", lambda channel, messages: heard.extend(messages))
    here.now += timedelta(seconds=5)
    tasks.accept(here, town["officer_a2"].actor(), task_id, command_id=new_id())
    to_caller = [one for one in heard if one.get("user_ids") == [str(town["resident"].id)]]
    assert {(one["kind"], one["id"], one["action"]) for one in to_caller} == {("alarm", raised.id, "accept")}

    [coming] = responders.of(here, [alarm])[raised.id]
    name = here.session.scalars(select(User.display_name).where(User.id == town["officer_a2"].id)).one()
    assert (coming.name, coming.state) == (name, "accepted")
    assert coming.since == here.now
    assert coming.expected_at is not None
    assert coming.expected_at >= here.now
    assert coming.distance_m is not None
    assert coming.distance_m % 10 == 0
    assert not {"place", "geom", "lon", "lat"} & set(vars(coming))

    here.now += timedelta(seconds=60)
    tasks.arrive(here, town["officer_a2"].actor(), task_id, command_id=new_id())
    [there] = responders.of(here, [alarm])[raised.id]
    assert (there.state, there.since, there.expected_at) == ("on_site", here.now, None)

    dispatching.acknowledge(here, town["desk_a"].actor(), raised.id, command_id=new_id())
    dispatching.clear(here, town["desk_a"].actor(), raised.id, reason="演练", command_id=new_id())
    assert responders.of(here, [alarms.read(here, raised.id)]) == {}, "it is over"


def test_an_officers_offer_to_an_sos_is_confirmed_by_his_answer(here: UnitOfWork, town: Town) -> None:
    """He is called at every hour, and no further channel rings once he has answered."""
    seen_at(here, on_shift(here, town["officer_a2"]), town)
    raised = help_of(here, town["resident"], place=a_place(town, here))
    task_id = dispatching.send_to_sos(here, raised.id)
    assert task_id is not None
    offer = select(Notice).where(Notice.subject_id == task_id, Notice.kind == K.SOS_RAISED)
    assert here.session.scalars(offer).one().confirmed_at is None
    here.now += timedelta(seconds=5)
    tasks.accept(here, town["officer_a2"].actor(), task_id, command_id=new_id())
    here.session.expire_all()
    assert here.session.scalars(offer).one().confirmed_at == here.now


LONG_NUMBER = "巡 1001-1003"


@pytest.mark.parametrize("sign", [LONG_NUMBER, "10000000", "１３８００００１１１１", "甲" * 40])
def test_no_call_for_help_fails_by_a_name(here: UnitOfWork, town: Town, sign: str) -> None:
    """F93: crews and areas are called as people like; a notice carries the beginning of a long number."""
    crew_on_shift(here, town["officer_a"], town["officer_a2"], sign=sign)
    here.session.execute(
        text("update areas set name = cast(:name as jsonb) where id = any (:ids)"),
        {
            "name": '{"zh-CN": "幸福路1001-1003弄", "en": "No. 138 0000 1111"}',
            "ids": list(town.areas.values()),
        },
    )
    here.session.expire_all()
    raised = help_of(here, town["officer_a2"], place=a_place(town, here))
    task_id = dispatching.send_to_sos(here, raised.id)
    assert task_id is not None
    here.now += timedelta(seconds=5)
    tasks.accept(here, town["officer_a"].actor(), task_id, command_id=new_id())
    params = here.session.scalars(
        select(Notice.params).where(Notice.subject_id.in_([raised.id, task_id]))
    ).all()
    assert {one["place"]["zh-CN"] for one in params if "place" in one} == {"幸福路1001…弄"}
    assert not any(sign[-4:] in str(one) for one in params if sign[0] != "甲")


def test_a_kind_of_task_may_have_any_name(here: UnitOfWork, town: Town) -> None:
    here.session.execute(
        text("update task_kinds set name = cast(:name as jsonb) where code = 'noise' and town_id = :town"),
        {"name": json.dumps({"zh-CN": "噪" * 200, "en": "Noise, call 12345678"}), "town": town.id},
    )
    here.session.expire_all()
    task = offered(here, town, "officer_a")
    [params] = here.session.scalars(select(Notice.params).where(Notice.subject_id == task.id)).all()
    assert (len(params["what"]["zh-CN"]), params["what"]["en"]) == (kinds.WORD_MOST, "Noise, call 1234…")


def test_people_are_sent_also_when_the_phone_names_a_place_on_the_other_side_of_the_earth(
    here: UnitOfWork, town: Town
) -> None:
    seen_at(here, on_shift(here, town["officer_a2"]), town)
    raised = help_of(here, town["resident"], place=Place(0.0, 0.0, 5.0, here.now))
    task_id = dispatching.send_to_sos(here, raised.id)
    assert task_id is not None
    assert told(here, town, task_id) == {(K.SOS_RAISED, "officer_a2")}
    asked = here.session.scalars(select(Notice).where(Notice.subject_id == task_id)).one()
    assert "distance_m" not in asked.params


def test_a_resident_is_told_no_id_by_which_he_knew_an_officer_again(here: UnitOfWork, town: Town) -> None:
    """F45, P22: an officer who calls is told who comes; a resident by what the crew is called."""
    for caller, is_told in ((town["resident"], False), (town["officer_a"], True)):
        seen_at(here, on_shift(here, town["officer_a2"]), town) if caller is town["resident"] else None
        raised = help_of(here, caller, place=a_place(town, here))
        task_id = dispatching.send_to_sos(here, raised.id)
        assert task_id is not None
        here.now += timedelta(seconds=5)
        tasks.accept(here, town["officer_a2"].actor(), task_id, command_id=new_id())
        dispatching.acknowledge(here, town["desk_a"].actor(), raised.id, command_id=new_id())
        params = here.session.scalars(
            select(Notice.params).where(Notice.subject_id == raised.id, Notice.recipient_id == caller.id)
        ).all()
        assert len(params) == 2
        assert any("officer_id" in one or "by_id" in one for one in params) is is_told
