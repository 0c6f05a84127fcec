"""Roll calls, spot checks and broadcasts: who is asked, what counts as in time, who is excused, who is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.pool import NullPool

from backend import worker
from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, Refusal
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import CallKind
from backend.models import Call, CallAnswer, Journal, Notice
from tests import factories
from tests.dispatching import DEGREE_M, crew_on_shift, on_shift
from tests.factories import Person, Town
from workflows import access, calls, deadlines, shifts, upkeep
from workflows.alarms import Place
from workflows.calls import Whom

LASTS = timedelta(minutes=5)


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    made = factories.make_town(owner_engine, f"call-{new_id().hex[-12:]}")
    for number in range(6):
        factories.add_officer(owner_engine, made, f"o{number}")
    return made


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


def make(uow: UnitOfWork, town: Town, area: str = "a", *, by: str = "desk_a", **more: Any) -> Call:
    """Call the roll in an area of the town."""
    given: dict[str, Any] = {
        "kind": CallKind.ROLL_CALL, "whom": Whom(area_id=town.areas[area]), "lasts": LASTS, **more,
    }  # fmt: skip
    return calls.create(uow, town[by].actor(), command_id=new_id(), **given)


def spot(uow: UnitOfWork, town: Town, count: int) -> set[UUID]:
    """Check so many officers drawn by lot; return who they are."""
    call = make(uow, town, kind=CallKind.SPOT_CHECK, whom=Whom(area_id=town.areas["a"], count=count))
    return set(uow.session.scalars(select(CallAnswer.officer_id).where(CallAnswer.call_id == call.id)))


def answer(uow: UnitOfWork, person: Person, call: Call, **more: Any) -> CallAnswer:
    return calls.answer(uow, person.actor(), call.id, command_id=more.pop("key", None) or new_id(), **more)


def states(uow: UnitOfWork, town: Town, call: Call) -> dict[str, str]:
    """Return by name what became of everybody who was asked."""
    uow.session.flush()
    by_id = {person.id: name for name, person in town.people.items()}
    rows = uow.session.execute(
        select(CallAnswer.officer_id, CallAnswer.state).where(CallAnswer.call_id == call.id)
    )
    return {by_id[row.officer_id]: row.state for row in rows}


def tick(uow: UnitOfWork, **later: float) -> int:
    """Let the clock tick so much later."""
    uow.now += timedelta(**later)
    uow.session.flush()
    return deadlines.see_to(uow, worker.DEADLINES)


def told(uow: UnitOfWork, call: Call, kind: str) -> dict[UUID, dict[str, Any]]:
    """Return who has a notice of this kind about a call, with its figures."""
    uow.session.flush()
    rows = select(Notice.recipient_id, Notice.params).where(Notice.subject_id == call.id, Notice.kind == kind)
    return {row.recipient_id: row.params for row in uow.session.execute(rows)}


def acts(uow: UnitOfWork, *subjects: UUID) -> list[str]:
    uow.session.flush()
    rows = select(Journal.action).where(Journal.subject_id.in_(subjects)).order_by(Journal.at, Journal.id)
    return list(uow.session.scalars(rows))


def test_everybody_on_shift_in_the_area_and_below_is_asked_and_nobody_else(
    here: UnitOfWork, town: Town
) -> None:
    """F41: not the neighbour, not who is off shift, not who comes later."""
    on_shift(here, town, town["o0"])
    shifts.start(
        here, town["o1"].actor(), command_id=new_id(),
        limits=shifts.Limits(timedelta(hours=14), timedelta(minutes=30)), area_id=town.areas["a1"],
    )  # fmt: skip
    on_shift(here, town, town["officer_b"])
    call = make(here, town)
    assert states(here, town, call) == {"o0": "asked", "o1": "asked"}
    on_shift(here, town, town["o2"])
    assert states(here, town, call) == {"o0": "asked", "o1": "asked"}
    assert told(here, call, "roll_call.called").keys() == {town["o0"].id, town["o1"].id}
    with pytest.raises(NotVisible):
        answer(here, town["o2"], call)
    whole = make(here, town, "town", by="supervisor")
    assert states(here, town, whole).keys() == {"o0", "o1", "o2", "officer_b"}
    below = make(here, town, "a1")
    assert states(here, town, below).keys() == {"o1"}


def test_the_desk_calls_in_its_own_areas_alone(here: UnitOfWork, town: Town) -> None:
    """F41, F46."""
    on_shift(here, town, town["o0"])
    for by, area in (("desk_b", "a"), ("desk_a", "town"), ("supervisor_a", "b")):
        with pytest.raises(Forbidden) as refused:
            make(here, town, area, by=by)
        assert refused.value.code == "area_not_yours"
    with pytest.raises(Conflict) as nobody:
        make(here, town, "b", by="desk_b")
    assert nobody.value.code == "nobody_to_ask"
    call = make(here, town)
    with pytest.raises(NotVisible):
        calls.at_desk_one(here, town["desk_b"].actor(), call.id)
    with pytest.raises(NotVisible):
        calls.cancel(here, town["desk_b"].actor(), call.id, command_id=new_id())
    with pytest.raises(Forbidden):
        calls.answer(here, town["desk_a"].actor(), call.id, command_id=new_id())


def test_one_person_has_so_many_calls_open_and_no_more(here: UnitOfWork, town: Town) -> None:
    """Whoever has somebody's desk cannot let every phone of an area ring all day."""
    on_shift(here, town, town["o1"])
    made = [make(here, town) for _ in range(calls.MOST_OPEN)]
    with pytest.raises(Conflict) as refused:
        make(here, town)
    assert refused.value.code == "too_many_calls"
    make(here, town, by="supervisor_a")
    calls.cancel(here, town["desk_a"].actor(), made[0].id, command_id=new_id())
    make(here, town)


def test_a_crew_is_called_by_itself(here: UnitOfWork, town: Town) -> None:
    shift = crew_on_shift(here, town["o0"], town["o1"])
    on_shift(here, town, town["o2"])
    call = make(here, town, whom=Whom(crew_id=shift.crew_id))
    assert states(here, town, call).keys() == {"o0", "o1"}
    assert call.area_id == town.areas["a"]
    assert call.crew is not None
    with pytest.raises(Forbidden):
        make(here, town, by="desk_b", whom=Whom(crew_id=shift.crew_id))
    with pytest.raises(Forbidden):
        make(here, town, whom=Whom(crew_id=new_id()))


@pytest.mark.parametrize(
    ("kind", "more", "field"),
    [
        (CallKind.BROADCAST, {}, "text"),
        (CallKind.ROLL_CALL, {"text": "x"}, "text"),
        (CallKind.SPOT_CHECK, {}, "count"),
        (CallKind.ROLL_CALL, {"count": 2}, "count"),
        (CallKind.ROLL_CALL, {"crew": True}, "area_id"),
        (CallKind.BROADCAST, {"text": "x", "crew": True, "area": False}, "crew_id"),
    ],
)
def test_what_makes_no_sense_is_refused(
    here: UnitOfWork, town: Town, kind: CallKind, more: dict[str, Any], field: str
) -> None:
    whom = Whom(
        area_id=town.areas["a"] if more.get("area", True) else None,
        crew_id=new_id() if more.get("crew") else None,
        count=more.get("count"),
    )
    with pytest.raises(Invalid) as refused:
        make(here, town, kind=kind, whom=whom, text=more.get("text"))
    assert field in refused.value.extra["errors"]


def test_an_answer_says_where_and_whether_that_is_inside(here: UnitOfWork, town: Town) -> None:
    for name in ("o0", "o1", "o2"):
        on_shift(here, town, town[name])
    call = make(here, town)
    lon, lat = town.place()
    pressed_at = here.now
    here.now += timedelta(seconds=20)
    inside = answer(here, town["o0"], call, device_at=pressed_at, place=Place(lon, lat, 8.0, pressed_at))
    assert (inside.state, inside.is_inside, inside.outside_m, inside.accuracy_m) == (
        "answered",
        True,
        0.0,
        8.0,
    )
    assert (inside.answered_at, inside.answered_device_at) == (here.now, pressed_at)
    assert calls.place_of(inside) == pytest.approx((lon, lat))
    outside = answer(here, town["o1"], call, place=Place(lon, lat + 0.01, None, pressed_at))
    assert outside.is_inside is False
    assert outside.outside_m == pytest.approx(0.005 * DEGREE_M, rel=0.01)
    without = answer(here, town["o2"], call)
    assert (without.state, without.geom, without.is_inside) == ("answered", None, None)
    counted = calls.counts(here, [call.id])[call.id]
    assert (counted.asked, counted.received, counted.answered, counted.waiting) == (3, 3, 3, 0)


def test_the_same_press_twice_is_one_answer(here: UnitOfWork, town: Town) -> None:
    """F02; another press after it is told that it was answered."""
    on_shift(here, town, town["o0"])
    call, key = make(here, town), new_id()
    share = answer(here, town["o0"], call, key=key)
    assert answer(here, town["o0"], call, key=key).version == share.version
    with pytest.raises(Conflict) as refused:
        answer(here, town["o0"], call)
    assert refused.value.extra["current"] == "answered"
    assert acts(here, share.id) == ["answer"]


def test_at_the_end_who_has_not_answered_is_noted_and_who_called_is_told(
    here: UnitOfWork, town: Town
) -> None:
    for name in ("o0", "o1", "o2"):
        on_shift(here, town, town[name])
    call = make(here, town)
    answer(here, town["o0"], call)
    assert tick(here, minutes=4, seconds=59) == 0
    assert tick(here, seconds=1) == 1
    assert states(here, town, call) == {"o0": "answered", "o1": "missed", "o2": "missed"}
    assert (call.state, call.ended_at) == ("ended", here.now)
    figures = told(here, call, "roll_call.ended")
    assert figures.keys() == {town["desk_a"].id}
    assert (figures[town["desk_a"].id]["answered"], figures[town["desk_a"].id]["missing"]) == (1, 2)
    assert acts(here, call.id) == ["create", "end"]
    missed = select(CallAnswer.id).where(CallAnswer.call_id == call.id, CallAnswer.state == "missed")
    assert acts(here, *here.session.scalars(missed)) == ["miss", "miss"]
    assert tick(here, minutes=10) == 0, "once"


def test_an_answer_after_the_end_is_late_whatever_the_phone_says(here: UnitOfWork, town: Town) -> None:
    """What was pressed offline comes with the phone's time, which the desk is shown; the server's decides."""
    for name in ("o0", "o1"):
        on_shift(here, town, town[name])
    call = make(here, town)
    pressed_at = here.now + timedelta(minutes=1)
    here.now += timedelta(minutes=5, seconds=1)
    key = new_id()
    before_the_clock = answer(here, town["o0"], call, device_at=pressed_at, key=key)
    assert (before_the_clock.state, before_the_clock.answered_device_at) == ("late", pressed_at)
    assert acts(here, before_the_clock.id) == ["miss", "answer"]
    assert answer(here, town["o0"], call, key=key).state == "late"
    assert tick(here) == 1
    assert states(here, town, call) == {"o0": "late", "o1": "missed"}
    assert told(here, call, "roll_call.ended")[town["desk_a"].id]["missing"] == 1
    here.now += timedelta(hours=1)
    assert answer(here, town["o1"], call, device_at=pressed_at).state == "late"
    counted = calls.counts(here, [call.id])[call.id]
    assert (counted.answered, counted.late, counted.missed) == (0, 2, 0)


def test_who_goes_off_shift_is_excused(here: UnitOfWork, town: Town) -> None:
    first, second = on_shift(here, town, town["o0"]), on_shift(here, town, town["o1"])
    on_shift(here, town, town["o2"])
    call = make(here, town)
    answer(here, town["o1"], call)
    shifts.end(here, town["o0"].actor(), first.id, command_id=new_id())
    shifts.end(here, town["o1"].actor(), second.id, command_id=new_id())
    assert states(here, town, call) == {"o0": "excused", "o1": "answered", "o2": "asked"}
    with pytest.raises(Conflict) as refused:
        answer(here, town["o0"], call)
    assert refused.value.extra["current"] == "excused"
    assert calls.own(here, town["o0"].actor(), after=None, limit=10).items == []
    tick(here, minutes=5)
    assert states(here, town, call) == {"o0": "excused", "o1": "answered", "o2": "missed"}


def test_whose_shift_was_over_before_the_clock_closed_it_has_missed_nothing(
    here: UnitOfWork, town: Town
) -> None:
    on_shift(here, town, town["o0"])
    call = make(here, town, lasts=timedelta(hours=24))
    tick(here, hours=24)
    assert states(here, town, call) == {"o0": "excused"}


def test_nothing_is_stored_of_where_somebody_is_off_duty(here: UnitOfWork, town: Town) -> None:
    """P21: a late answer from home is an answer without a place; one that was measured on shift has it."""
    lon, lat = town.place()
    ended: dict[str, Any] = {}
    for name in ("o0", "o1"):
        ended[name] = on_shift(here, town, town[name])
    call = make(here, town)
    on_duty_at = here.now + timedelta(minutes=1)
    tick(here, minutes=6)
    for name in ("o0", "o1"):
        shifts.end(here, town[name].actor(), ended[name].id, command_id=new_id())
    here.now += timedelta(hours=1)
    at_home = answer(here, town["o0"], call, place=Place(lon, lat, 5.0, here.now))
    assert (at_home.state, at_home.geom, at_home.is_inside, at_home.accuracy_m) == ("late", None, None, None)
    on_duty = answer(here, town["o1"], call, place=Place(lon, lat, 5.0, on_duty_at))
    assert on_duty.is_inside is True


def test_the_place_of_an_answer_is_forgotten_as_tracks_are(here: UnitOfWork, town: Town) -> None:
    """P22: that he was inside stays, where exactly does not."""
    on_shift(here, town, town["o0"])
    call = make(here, town)
    lon, lat = town.place()
    share = answer(here, town["o0"], call, place=Place(lon, lat, 5.0, here.now))
    here.session.flush()
    here.now += timedelta(days=89)
    upkeep.forget_tracks(here, retention_days=90)
    here.session.expire_all()
    assert share.geom is not None
    here.now += timedelta(days=3)
    upkeep.forget_tracks(here, retention_days=90)
    here.session.expire_all()
    assert (share.geom, share.accuracy_m, share.fixed_at, share.is_inside) == (None, None, None, True)


def test_a_call_that_is_called_off_asks_nobody_any_more(here: UnitOfWork, town: Town) -> None:
    for name in ("o0", "o1"):
        on_shift(here, town, town[name])
    call = make(here, town)
    answer(here, town["o0"], call)
    cancelled = calls.cancel(here, town["desk_a"].actor(), call.id, command_id=new_id())
    assert (cancelled.state, calls.actions(town["desk_a"].actor(), cancelled)) == ("cancelled", [])
    assert states(here, town, call) == {"o0": "answered", "o1": "excused"}
    assert tick(here, minutes=6) == 0
    assert told(here, call, "roll_call.ended") == {}


def test_a_spot_check_draws_everybody_once_before_anybody_twice(here: UnitOfWork, town: Town) -> None:
    people = {f"o{number}" for number in range(5)}
    for name in sorted(people):
        on_shift(here, town, town[name])
    ids = {town[name].id for name in people}
    first = spot(here, town, 2)
    second = spot(here, town, 2)
    assert len(first) == len(second) == 2
    assert not first & second
    third = spot(here, town, 2)
    assert (ids - first - second) < third, "who was left comes first, then anybody"
    assert spot(here, town, 50) == ids


def test_the_lot_is_not_always_the_same(here: UnitOfWork, town: Town) -> None:
    """Of six the same one comes up twenty times in a row once in 10^15 tries."""
    for number in range(6):
        on_shift(here, town, town[f"o{number}"])
    drawn = set()
    for _ in range(20):
        with here.session.begin_nested() as attempt:
            here.enter_town(town.id)
            drawn |= spot(here, town, 1)
            attempt.rollback()
    assert len(drawn) > 1


def test_a_broadcast_is_acknowledged_and_its_sender_is_told_who_has_not(here: UnitOfWork, town: Town) -> None:
    """What it says is in the app alone, and neither in the notice nor in the journal."""
    for name in ("o0", "o1"):
        on_shift(here, town, town[name])
    said = "今晚庙会，注意防火"
    call = make(here, town, kind=CallKind.BROADCAST, text=said, lasts=timedelta(hours=1))
    assert told(here, call, "broadcast.sent").keys() == {town["o0"].id, town["o1"].id}
    assert calls.receive(here, town["o0"].actor(), [call.id, new_id()]) == 1
    assert calls.receive(here, town["o0"].actor(), [call.id]) == 0
    counted = calls.counts(here, [call.id])[call.id]
    assert (counted.received, counted.answered) == (1, 0)
    share = answer(here, town["o0"], call)
    assert (share.state, share.call.text) == ("answered", said)
    tick(here, hours=1)
    assert told(here, call, "broadcast.ended")[town["desk_a"].id]["missing"] == 1
    assert told(here, call, "roll_call.ended") == {}
    stored = here.session.scalars(
        text(
            "select j::text from journal j union all select n::text from notices n where n.params is not null"
        )
    )
    assert not any(said in row for row in stored)


def test_what_an_officer_is_asked_is_his_to_see_until_it_is_history(here: UnitOfWork, town: Town) -> None:
    on_shift(here, town, town["o0"])
    on_shift(here, town, town["o1"])
    call = make(here, town)

    def listed(name: str) -> list[str]:
        here.session.flush()
        return [one.state for one in calls.own(here, town[name].actor(), after=None, limit=10).items]

    assert listed("o0") == listed("o1") == ["asked"]
    answer(here, town["o0"], call)
    assert (listed("o0"), listed("o1")) == ([], ["asked"])
    tick(here, minutes=5)
    assert listed("o1") == ["missed"]
    here.now += timedelta(hours=3)
    assert listed("o1") == []
    assert calls.of_own(here, town["o1"].actor(), call.id).state == "missed"
    with pytest.raises(NotVisible):
        calls.of_own(here, town["o2"].actor(), call.id)


# --- At once, with real transactions and locks


@pytest.fixture
def live_town(live_engine: Engine, live_config: Any) -> Iterator[Town]:
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    made = factories.make_town(owner, f"live-{new_id().hex[-12:]}")
    for number in range(50):
        factories.add_officer(owner, made, f"p{number}")
    yield made
    owner.dispose()


def at_once(acts: list[Callable[[], str]]) -> list[str]:
    """Let all act after one barrier; return what each was told."""
    barrier = threading.Barrier(len(acts))

    def one(act: Callable[[], str]) -> str:
        barrier.wait()
        try:
            return act()
        except Refusal as refusal:
            return refusal.code

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(one, acts))


def called(town: Town, count: int) -> UUID:
    """Bring so many officers on shift and call the roll, committed."""
    with unit_of_work(town.id) as uow:
        for number in range(count):
            if shifts.current(uow, town[f"p{number}"].actor()) is None:
                on_shift(uow, town, town[f"p{number}"])
        return make(uow, town).id


def test_fifty_answers_at_once_are_each_stored_once(live_town: Town) -> None:
    """F16: each pressed twice under its own key, as phones do whose answer was lost."""
    call_id = called(live_town, 50)

    def press(number: int, key: UUID) -> Callable[[], str]:
        def act() -> str:
            with unit_of_work(live_town.id) as uow:
                person = live_town[f"p{number}"].actor()
                return str(calls.answer(uow, person, call_id, command_id=key).state)

        return act

    keys = [new_id() for _ in range(50)]
    presses = [press(number, keys[number]) for number in range(50) for _ in range(2)]
    assert at_once(presses) == ["answered"] * 100
    with unit_of_work(live_town.id) as uow:
        counted = calls.counts(uow, [call_id])[call_id]
        shares = list(uow.session.scalars(select(CallAnswer).where(CallAnswer.call_id == call_id)))
        assert (counted.asked, counted.answered, counted.waiting) == (50, 50, 0)
        assert {share.version for share in shares} == {2}
        assert acts(uow, *(share.id for share in shares)) == ["answer"] * 50


def test_an_answer_and_the_end_at_once_agree(live_town: Town, thin: Callable[[int, int], int]) -> None:
    """Each is in time or late, none is lost, and several clocks end the call once."""
    for _ in range(thin(20, 3)):
        call_id = called(live_town, 8)

        def press(number: int, call_id: UUID = call_id) -> Callable[[], str]:
            def act() -> str:
                with unit_of_work(live_town.id) as uow:
                    person = live_town[f"p{number}"].actor()
                    return str(calls.answer(uow, person, call_id, command_id=new_id()).state)

            return act

        def clock() -> str:
            with unit_of_work(live_town.id) as uow:
                uow.now += LASTS
                return str(deadlines.see_to(uow, worker.DEADLINES))

        answers = at_once([clock, clock, clock, *(press(number) for number in range(8))])[3:]
        while clock() != "0":
            pass
        with unit_of_work(live_town.id) as uow:
            shares = list(uow.session.scalars(select(CallAnswer).where(CallAnswer.call_id == call_id)))
            assert sorted(share.state for share in shares) == sorted(answers)
            assert set(answers) <= {"answered", "late"}
            assert acts(uow, call_id) == ["create", "end"]
            assert access.call(uow, live_town["desk_a"].actor(), call_id).state == "ended"


def test_going_off_shift_and_a_call_at_once_leave_nobody_asked_who_is_gone(
    live_town: Town, thin: Callable[[int, int], int]
) -> None:
    for _ in range(thin(20, 3)):
        with unit_of_work(live_town.id) as uow:
            shift_ids = {n: on_shift(uow, live_town, live_town[f"p{n}"]).id for n in range(4)}

        def leave(number: int, shift_ids: dict[int, UUID] = shift_ids) -> Callable[[], str]:
            def act() -> str:
                with unit_of_work(live_town.id) as uow:
                    person = live_town[f"p{number}"].actor()
                    return str(shifts.end(uow, person, shift_ids[number], command_id=new_id()).state)

            return act

        def call() -> str:
            with unit_of_work(live_town.id) as uow:
                return str(make(uow, live_town).state)

        found = at_once([call, call, *(leave(number) for number in range(4))])
        assert found[2:] == ["ended"] * 4
        assert set(found[:2]) <= {"open", "nobody_to_ask"}
        with unit_of_work(live_town.id) as uow:
            still = select(CallAnswer.id).where(CallAnswer.state == "asked")
            assert uow.session.scalars(still).all() == []
