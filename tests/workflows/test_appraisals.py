"""Appraisals: what figures are made of, that they stay, who may change what in them, and when they are locked."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import DBAPIError

from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, WrongState
from backend.core.identity import system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AppraisalFigure as F
from backend.core.vocabulary import ContestRemedy, FigureUnit, SilenceCause
from backend.models import (
    Appraisal,
    AppraisalContest,
    AppraisalGroup,
    AppraisalMonth,
    Disclosure,
    Journal,
    Notice,
    Silence,
)
from geo.fixes import Fix
from tests import factories
from tests.appraising import (
    DAY,
    HOUR,
    MINUTE,
    begun_month,
    contested_month,
    drafted,
    figures,
    fresh,
    inputs_of,
    make_alarm,
    make_missed,
    make_round,
    make_share,
    make_shift,
    make_silence,
    month_over,
    ordinary_month,
)
from tests.dispatching import make_task, on_shift, press
from tests.factories import Town
from tests.rounds import bring, make_patrol, make_phone
from workflows import (
    appraisal_clocks,
    appraisal_contests,
    appraisal_formulas,
    appraisal_inputs,
    appraisal_looks,
    appraisals,
    hand_overs,
    monthly_reports,
    patrols,
    silences,
    tasks,
)
from workflows.appraisal_formulas import FORMULAS, V2026_1, Formula, Input
from workflows.working_days import Calendar

FORMULA = FORMULAS["2026-1"]


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"appraisal-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


def told(uow: UnitOfWork, kind: str) -> list[Any]:
    return list(uow.session.scalars(select(Notice.recipient_id).where(Notice.kind == kind)))


# --- Formulas, pure


AT = datetime(2026, 11, 3, 9, tzinfo=ZoneInfo("UTC"))


def facts_of(figure: F, number: int, silent_s: float) -> dict[str, Any]:
    """Facts of some input; ``number`` chooses how it went."""
    ends = (AT + timedelta(seconds=60 * number)).isoformat()
    return {
        F.ROUNDS_ON_TIME: {
            "state": ["completed", "ended_early", "missed"][number % 3], "began_at": AT.isoformat(), "late_at": None,
            "ended_at": ends, "allowed_s": 600, "paused_s": 0.0, "silent_s": silent_s,
        },
        F.COVERAGE: {"due": 5, "visited": number % 6, "skipped": 0, "silent_s": silent_s},
        F.ACCEPTANCE: {
            "offered_at": AT.isoformat(), "accepted_at": ends if number % 3 else None, "bound": False,
            "state": "done" if number % 3 else "lapsed", "silent_s": silent_s,
        },
        F.ARRIVAL: {
            "accepted_at": AT.isoformat(), "arrived_at": ends if number % 3 else None, "suspended": False,
            "state": "done", "silent_s": silent_s,
        },
        F.SILENT: {"heard_at": AT.isoformat(), "until_at": ends, "cause": "battery"},
        F.DUTY: {"started_at": AT.isoformat(), "ended_at": ends},
    }[figure]  # fmt: skip


some_inputs = st.lists(st.tuples(st.sampled_from(list(F)), st.integers(0, 20)), max_size=30)


@given(chosen=some_inputs, silent_s=st.floats(1, 10_000), seed=st.randoms(use_true_random=False))
def test_figures_are_shares_whatever_the_order_and_silence_lowers_none(
    chosen: list[tuple[F, int]], silent_s: float, seed: Any
) -> None:
    """The same work beside a silent phone has figures at least as good, and what it hid is shown as unproven."""
    plain = [Input(new_id(), figure, facts_of(figure, number, 0.0)) for figure, number in chosen]
    hushed = [Input(new_id(), figure, facts_of(figure, number, silent_s)) for figure, number in chosen] + [
        Input(new_id(), F.SILENT, facts_of(F.SILENT, 20, 0))
    ]
    before = FORMULA.figures(plain)
    shuffled = list(plain)
    seed.shuffle(shuffled)
    assert FORMULA.figures(shuffled) == before
    for one, other in zip(before, FORMULA.figures(hushed), strict=True):
        assert (
            one.unit is not FigureUnit.SHARE
            or one.value is None
            or one.code is F.SILENT
            or 0 <= one.value <= 1
        )
        if one.code is F.SILENT:
            assert other.numerator == one.numerator + 1200
            assert sum(other.by_cause.values()) == pytest.approx(other.numerator)
        elif one.unit is FigureUnit.SHARE:
            assert other.numerator == one.numerator
            assert other.value is None or one.value is None or other.value >= one.value
            assert other.denominator + other.unproven == one.denominator + one.unproven
        else:
            assert (other.value, other.p90_s) == (one.value, one.p90_s)
    nothing = FORMULA.figures([Input(one.id, one.figure, one.facts, excluded=True) for one in plain])
    assert all(not one.numerator and not one.denominator for one in nothing)
    assert sum(one.excluded for one in nothing) == len(plain)


def test_a_figure_says_median_and_the_time_that_nine_of_ten_do_not_exceed() -> None:
    found = [
        Input(new_id(), F.ARRIVAL, facts_of(F.ARRIVAL, 1, 0), {"seconds": n})
        for n in (600, 60, 120, 300, 240)
    ]
    [figure] = [one for one in FORMULA.figures(found) if one.code is F.ARRIVAL]
    assert (figure.value, figure.p90_s, figure.numerator, figure.denominator) == (240, 600, 5, 5)
    words = [text for rule in FORMULA.rules.values() for text in (rule.name, rule.words)]
    assert len(words) == 2 * len(F)
    assert all(set(one) == {"zh-CN", "en"} and all(one.values()) for one in words)


def test_working_days_know_holidays_days_worked_in_exchange_and_the_towns_own() -> None:
    """国务院办公厅关于2026年部分节假日安排的通知: 14 and 28 February 2026 are worked, 15 to 23 are not."""
    zone = ZoneInfo("Asia/Shanghai")
    given = {
        "working_days": [1, 2, 3, 4, 5],
        "holidays": ["2026-02-25"],
        "extra_working_days": ["2026-03-01"],
    }
    plain, own = Calendar({}, zone), Calendar(given, zone)
    assert [day for day in range(10, 29) if plain.is_worked(date(2026, 2, day))] == [
        10,
        11,
        12,
        13,
        14,
        24,
        25,
        26,
        27,
        28,
    ]
    late = datetime(2026, 2, 12, 23, 59, tzinfo=zone)
    assert plain.end_after(late, 5) == datetime(2026, 2, 27, tzinfo=zone)
    assert own.end_after(late, 5) == datetime(2026, 2, 28, tzinfo=zone)
    assert own.is_worked(date(2026, 3, 1))
    assert not plain.is_worked(date(2026, 3, 1))
    assert not Calendar({}, ZoneInfo("Europe/Berlin")).is_worked(date(2026, 2, 14))


# --- From what is stored


def test_a_month_is_made_of_what_happened_in_it(here: UnitOfWork, town: Town) -> None:
    """Each figure with its numerator, denominator and inputs by id; of other months and people nothing."""
    officer, mate = town["officer_a"], town["officer_a2"]
    _, at = month_over(here)
    shift = make_shift(here, town, officer, at)
    good = make_round(here, town, officer, shift, at + HOUR, points=4, visited=3)
    make_round(here, town, officer, shift, at + 2 * HOUR, late_at=at + 2 * HOUR - MINUTE)
    make_round(here, town, officer, shift, at + 3 * HOUR, minutes=61)
    make_round(here, town, officer, shift, at + 4 * HOUR, state="ended_early", reason="rain", visited=0)
    missed = make_missed(here, town, at + 5 * HOUR, officer)
    make_missed(here, town, at + 5 * HOUR, officer, mate)
    make_round(here, town, officer, shift, at - 40 * DAY)
    make_round(here, town, mate, make_shift(here, town, mate, at), at + HOUR)
    for accept_s, arrive_s in ((10, 200), (30, 100), (None, None)):
        make_share(here, town, officer, at + HOUR, accept_s=accept_s, arrive_s=arrive_s)
    made = drafted(here, officer)
    found = figures(made)
    assert (found["rounds_on_time"]["numerator"], found["rounds_on_time"]["denominator"]) == (1, 5)
    assert (found["coverage"]["numerator"], found["coverage"]["denominator"]) == (7, 10)
    assert (found["acceptance"]["value"], found["acceptance"]["p90_s"]) == (20, 30)
    assert (found["acceptance"]["numerator"], found["acceptance"]["denominator"]) == (2, 3)
    assert (found["arrival"]["value"], found["duty"]["value"], found["silent"]["value"]) == (150, 8 * 3600, 0)
    told_of = inputs_of(here, made)
    assert {one.source_id for one in told_of["rounds_on_time"]} >= {good.id, missed.id}
    assert [
        one.facts["not_visited"][0]["reason"] for one in told_of["coverage"] if one.source_id == good.id
    ] == [None]
    assert told(here, "appraisal.opened") == [officer.id]
    assert appraisals.draft(here, begun_month(here), officer.id) is None  # Twice makes nothing twice.


def test_what_was_handed_over_or_sent_back_says_nothing_about_who_accepted_and_came_in_time(
    here: UnitOfWork, town: Town
) -> None:
    """A rework stamps a share anew and a hand-over asks nobody: what each of them pressed at first counts."""
    giver, taker = town["officer_a"], town["officer_a2"]
    now, (_, at) = here.now, month_over(here)
    here.now = at
    for person in (giver, taker):
        on_shift(here, town, person)
    passed, again = (make_task(here, town, giver).id for _ in range(2))
    for after_s, act in ((20, "accept"), (80, "arrive"), (90, "resolve")):
        here.now = at + timedelta(seconds=after_s)
        press(here, giver, again, act)
    press(here, giver, passed, "accept")
    here.now = at + HOUR
    tasks.rework(here, town["desk_a"].actor(), again, reason="once more", command_id=new_id())
    given = hand_overs.give(here, giver.actor(), command_id=new_id(), taker_id=taker.id)
    hand_overs.take(here, taker.actor(), given.id, command_id=new_id())
    here.now = at + 2 * HOUR
    press(here, taker, passed, "arrive")
    here.now = now
    his, hers = (figures(drafted(here, person)) for person in (giver, taker))
    assert (his["acceptance"]["value"], his["acceptance"]["denominator"]) == (55, 2)
    assert (his["arrival"]["value"], his["arrival"]["denominator"]) == (60, 1)
    assert hers["acceptance"]["denominator"] == 0
    assert (hers["arrival"]["value"], hers["arrival"]["denominator"]) == (3600, 2)


def test_officers_who_differ_in_silence_alone_have_equal_figures_and_its_cause_is_shown(
    here: UnitOfWork, town: Town
) -> None:
    _, at = month_over(here)
    people = town["officer_a"], town["officer_a2"]
    for person in people:
        shift = make_shift(here, town, person, at)
        make_round(here, town, person, shift, at + HOUR)
        make_share(here, town, person, at + HOUR, accept_s=20, arrive_s=100)
    make_silence(here, town, shift, at + HOUR + MINUTE, minutes=45, cause=SilenceCause.DROPOUT_PLACE)
    quiet, silent = (figures(drafted(here, person)) for person in people)
    assert {code: one for code, one in quiet.items() if code != "silent"} == {
        code: one for code, one in silent.items() if code != "silent"
    }
    assert silent["silent"]["by_cause"] == {"dropout_place": 2700}
    assert silent["silent"]["value"] == pytest.approx(2700 / (8 * 3600), abs=1e-4)


def test_recomputing_an_old_month_gives_the_same_whatever_became_of_its_rows(
    here: UnitOfWork, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows change, retention removes visits, and a new formula comes: the figures are those of then."""
    _, at = month_over(here)
    officer = town["officer_a"]
    shift = make_shift(here, town, officer, at)
    patrol = make_round(here, town, officer, shift, at + HOUR)
    made = drafted(here, officer)
    before = made.figures
    patrol.ended_at = at + 9 * HOUR
    here.session.execute(text("delete from visits where officer_id = :id"), {"id": officer.id})
    here.session.execute(text("update patrol_points set visit_id = null, visited_at = null"))
    shift.ended_at = at + MINUTE
    rules = {F.DUTY: V2026_1.rules[F.DUTY]}
    monkeypatch.setitem(appraisal_formulas.FORMULAS, "test-2", Formula("test-2", rules))
    monkeypatch.setattr(appraisals, "CURRENT", "test-2")
    assert appraisals.figures_of(here, fresh(here, made.id)) == before
    month = begun_month(here)
    month.formula = "test-2"
    assert [one["code"] for one in appraisals.figures_of(here, made)] == ["duty"]


# --- Objections, exclusions, locks


def test_what_an_officer_objects_to_is_corrected_or_left_out_by_somebody_else(
    here: UnitOfWork, town: Town
) -> None:
    """The figures follow at once by the same formula, each act is journalled, and he is told what was decided."""
    officer, supervisor, other = (
        town["officer_a"].actor(),
        town["supervisor"].actor(),
        town["supervisor_a"].actor(),
    )
    _, at = month_over(here)
    shift = make_shift(here, town, town["officer_a"], at)
    late, skipped = (
        make_round(here, town, town["officer_a"], shift, at + n * HOUR, minutes=90, visited=n) for n in (1, 2)
    )
    made = drafted(here, town["officer_a"], by=town["supervisor_a"].id)
    by_source = {
        (one.figure, one.source_id): one for found in inputs_of(here, made).values() for one in found
    }
    about = by_source["rounds_on_time", late.id]

    def objects(to: Any, who: Any = officer) -> AppraisalContest:
        return appraisal_contests.contest(
            here, who, made.id, input_id=to.id, reason="the gate was shut", command_id=new_id()
        )

    with pytest.raises(NotVisible):
        objects(about, town["officer_a2"].actor())
    one, two = objects(about), objects(by_source["coverage", late.id])
    with pytest.raises(Conflict, match="objected"):
        objects(about)
    for decide, more in (
        (appraisal_contests.uphold, {"remedy": ContestRemedy.EXCLUDE}),
        (appraisal_contests.refuse, {}),
    ):
        with pytest.raises(Forbidden) as refused:  # Who has begun the month takes nothing out of it.
            decide(here, other, one.id, reason="so", command_id=new_id(), **more)
        assert refused.value.code == "two_persons"
    with pytest.raises(NotVisible):
        appraisal_contests.refuse(here, officer, one.id, reason="so", command_id=new_id())
    for wrong in ({"on_time": "yes"}, {"state": "completed"}, {}):
        with pytest.raises(Invalid) as invalid:
            appraisal_contests.uphold(
                here, supervisor, one.id, remedy=ContestRemedy.CORRECT, correction=wrong, reason="so",
                command_id=new_id(),
            )  # fmt: skip
        assert invalid.value.code == "bad_correction"
    appraisal_contests.uphold(
        here, supervisor, one.id, remedy=ContestRemedy.CORRECT, correction={"on_time": True}, reason="seen",
        command_id=new_id(),
    )  # fmt: skip
    appraisal_contests.uphold(
        here, supervisor, two.id, remedy=ContestRemedy.EXCLUDE, reason="seen", command_id=new_id()
    )
    now = figures(fresh(here, made.id))
    assert (now["rounds_on_time"]["numerator"], now["rounds_on_time"]["denominator"]) == (1, 2)
    assert (now["coverage"]["denominator"], now["coverage"]["excluded"], now["coverage"]["inputs"]) == (
        2,
        1,
        2,
    )
    assert fresh(here, made.id).figures == appraisals.figures_of(here, made)
    with pytest.raises(WrongState):
        appraisal_contests.refuse(here, supervisor, one.id, reason="so", command_id=new_id())
    left = by_source["rounds_on_time", skipped.id]
    with pytest.raises(Forbidden):
        appraisals.exclude(here, other, made.id, input_id=left.id, reason="sick", command_id=new_id())
    appraisals.exclude(here, supervisor, made.id, input_id=left.id, reason="sick", command_id=new_id())
    assert figures(fresh(here, made.id))["rounds_on_time"]["denominator"] == 1
    told_of = (
        select(Journal.action).where(Journal.subject_id.in_([made.id, one.id, two.id])).order_by(Journal.id)
    )
    assert list(here.session.scalars(told_of)) == [
        "create",
        "contest",
        "contest",
        "uphold",
        "uphold",
        "exclude",
    ]
    assert told(here, "appraisal.decided") == [officer.user_id] * 2


def test_a_desk_sees_the_appraisals_of_its_areas_alone(here: UnitOfWork, town: Town) -> None:
    """F41: of another community none, and nobody of a desk without the permission."""
    mine = ordinary_month(here, town, town["officer_a"])
    theirs = ordinary_month(here, town, town["officer_b"], area="b")
    input_id = inputs_of(here, theirs)["duty"][0].id
    for who in ("supervisor_a", "desk_b", "officer_a"):
        with pytest.raises(NotVisible):
            appraisals.exclude(
                here, town[who].actor(), theirs.id, input_id=input_id, reason="no", command_id=new_id()
            )
    with pytest.raises(NotVisible):  # An input of one appraisal is none of another.
        appraisals.exclude(
            here, town["supervisor_a"].actor(), mine.id, input_id=input_id, reason="no", command_id=new_id()
        )


def test_the_clock_begins_reminds_and_locks_and_what_is_locked_stays(here: UnitOfWork, town: Town) -> None:
    """A draft is open for five working days; one with an objection that waits is not locked; then nobody changes it."""
    officer = town["officer_a"].actor()
    month, at = month_over(here)
    for person in ("officer_a", "officer_a2"):
        make_round(here, town, town[person], make_shift(here, town, town[person], at), at + HOUR)
    make_missed(here, town, at, town["officer_a"], town["officer_a2"])
    while appraisal_clocks.work(here):
        pass
    assert appraisal_clocks.work(here) == 0
    begun = here.session.scalars(select(AppraisalMonth)).one()
    assert (begun.month, begun.made_by, begun.completed_at) == (month, None, here.now)
    with pytest.raises(Conflict) as refused:
        appraisals.begin(here, town["supervisor"].actor(), month, command_id=new_id())
    assert refused.value.code == "month_begun"
    rows = {one.officer_id: one for one in here.session.scalars(select(Appraisal))}
    mine, theirs = rows[town["officer_a"].id], rows[town["officer_a2"].id]
    area = here.session.scalars(
        select(AppraisalGroup).where(
            AppraisalGroup.area_id == town.areas["town"], AppraisalGroup.call_sign.is_(None)
        )
    ).one()
    [rounds] = [one for one in area.figures if one["code"] == "rounds_on_time"]
    # What several might have begun is the area's.
    assert (rounds["numerator"], rounds["denominator"]) == (2, 3)
    waits = appraisal_contests.contest(
        here, officer, mine.id, input_id=inputs_of(here, mine)["duty"][0].id, reason="no", command_id=new_id()
    )
    until = mine.contest_until
    here.now = until - 1 * HOUR
    assert appraisal_clocks.remind_due(here) == 2
    assert appraisal_clocks.remind_due(here) == 0
    assert (
        len(told(here, "appraisal.closing")) == 4
    )  # Both, and the two supervisors by whom an objection waits.
    here.now = until
    with pytest.raises(Conflict) as over:
        appraisal_contests.contest(
            here,
            officer,
            mine.id,
            input_id=inputs_of(here, mine)["coverage"][0].id,
            reason="no",
            command_id=new_id(),
        )
    assert over.value.code == "appeal_over"
    assert appraisal_clocks.lock_due(here) == 1
    assert [fresh(here, one.id).state for one in (mine, theirs)] == ["draft", "locked"]
    appraisal_contests.refuse(here, town["supervisor"].actor(), waits.id, reason="no", command_id=new_id())
    assert appraisal_clocks.lock_due(here) == 1
    with pytest.raises(WrongState):
        appraisals.exclude(
            here, town["supervisor"].actor(), mine.id, input_id=inputs_of(here, mine)["duty"][0].id, reason="no",
            command_id=new_id(),
        )  # fmt: skip
    for forged in (
        "update appraisals set figures = '[]'", "update appraisals set state = 'draft', locked_at = null",
        "update appraisal_inputs set correction = '{}', corrected_at = now(), corrected_by = excluded_by",
        "update appraisal_contests set reason = 'x'", "delete from appraisal_inputs",
    ):  # fmt: skip
        with pytest.raises(DBAPIError, match=r"locked|permission denied"), here.session.begin_nested():
            here.session.execute(text(forged))


def test_what_an_input_was_made_of_is_never_changed(here: UnitOfWork, town: Town) -> None:
    made = ordinary_month(here, town, town["officer_a"])
    with pytest.raises(DBAPIError, match="not changed"), here.session.begin_nested():
        here.session.execute(text("update appraisal_inputs set facts = '{}'"))
    assert appraisals.figures_of(here, made) == made.figures


# --- Silences


@pytest.mark.parametrize(
    ("cause", "before_pct", "came_later", "others", "came_back"),
    [
        ("no_network", 60, True, 0, True),
        ("battery", 8, False, 0, True),
        ("dropout_place", 60, False, 2, True),
        ("phone_settings", 60, False, 0, True),
        ("unknown", 60, False, 0, False),
    ],
)
def test_a_silence_is_written_down_with_its_likely_cause_while_it_can_be_told(
    here: UnitOfWork,
    town: Town,
    cause: str,
    before_pct: float,
    came_later: bool,
    others: int,
    came_back: bool,
) -> None:
    """P22: and says no place."""
    at, officer = here.now - 4 * DAY, town["officer_a"]
    shift, phone = make_shift(here, town, officer, at - HOUR), make_phone(here, town, officer)
    lon, lat = town.place()
    here_it_was = {"geom": f"SRID=4326;POINT({lon} {lat})"}
    alarm = make_alarm(here, town, shift, at, minutes=30, **here_it_was)
    for name in ("officer_a2", "officer_b")[:others]:
        make_alarm(
            here, town, make_shift(here, town, town[name], at - 2 * HOUR), at, minutes=9, **here_it_was
        )

    def came(received_at: datetime, *minutes: float) -> None:
        bring(
            here, town, phone, shift.id, [Fix(at + n * MINUTE, lon, lat, 5.0, battery_pct=before_pct) for n in minutes],
            received_at=received_at,
        )  # fmt: skip

    came(at, -5, 0)
    if came_later:
        came(at + 2 * HOUR, 5, 10, 15)
    if came_back:
        came(at + 30 * MINUTE, 30)
    silences.note(here)
    assert silences.note(here) == 0
    found = here.session.scalars(select(Silence).where(Silence.alarm_id == alarm.id)).one()
    assert (found.cause, found.heard_at, found.until_at) == (cause, at, at + 30 * MINUTE)
    assert found.clues["brought_later"] == (3 if came_later else 0)


def test_whoever_an_outage_stands_for_was_silent_because_of_it(here: UnitOfWork, town: Town) -> None:
    at = here.now - 4 * DAY
    shift = make_shift(here, town, town["officer_a"], at - HOUR)
    alarm = make_alarm(here, town, shift, at, minutes=20)
    alarm.kind, alarm.source, alarm.source_id = "outage", "area", shift.area_id
    alarm.detail = {"since": at.isoformat(), "silent": 10, "covered": {str(shift.officer_id): at.isoformat()}}
    alarm.officer_id = alarm.shift_id = None
    here.session.flush()
    assert silences.note(here) == 1
    assert here.session.scalars(select(Silence.cause)).one() == "outage"
    assert system_actor(town.id).user_id is None


# --- In one's own interest


def test_a_pause_counts_within_its_round_whichever_moment_the_phone_gives(
    here: UnitOfWork, town: Town
) -> None:
    """F47: who says that he paused six years ago has paused since he began, at most."""
    me = town["officer_a"]
    shift = on_shift(here, town, me)
    shift.started_at = here.now - 5 * HOUR
    here.session.flush()
    patrol = make_patrol(here, town, points=2, at=here.now - 3 * HOUR, people=[me])
    begun = patrols.start(here, me.actor(), patrol.id, command_id=new_id(), device_at=here.now - 3 * HOUR)
    patrols.pause(here, me.actor(), begun.id, command_id=new_id(), device_at=datetime(2020, 1, 1, tzinfo=UTC))
    patrols.resume(here, me.actor(), begun.id, command_id=new_id(), device_at=here.now)
    here.session.flush()
    assert appraisal_inputs._paused(here, [begun])[begun.id] == pytest.approx(3 * 3600)


def test_a_month_is_judged_where_most_of_it_was(here: UnitOfWork, town: Town) -> None:
    """Some minutes of duty elsewhere at its end choose no other judge."""
    _, at = month_over(here)
    me = town["officer_a"]
    for n in range(5):
        make_shift(here, town, me, at + n * DAY)
    make_shift(here, town, me, at + 6 * DAY, hours=0.1, area="b")
    assert drafted(here, me).area_id == town.areas["a"]


def test_whoever_reads_the_report_or_objections_is_seen_by_those_whom_they_name(
    here: UnitOfWork, town: Town
) -> None:
    """F51: officers with a round that was not done too, and with each objection its officer."""
    me, other = town["officer_a"], town["officer_a2"]
    supervisor = town["supervisor_a"].actor()

    def looks(about: UUID) -> int:
        query = select(func.count()).select_from(Disclosure).where(Disclosure.subject_id == about)
        return int(here.session.scalar(query) or 0)

    month = here.now.date().replace(day=1)
    since, _ = appraisals.bounds(here, month)
    shift = make_shift(here, town, me, since)
    make_round(here, town, me, shift, since + MINUTE, state="ended_early", reason="身体不适")
    contested_month(here, town, other)
    before = looks(other.id)
    found = monthly_reports.look(here, supervisor, month=month, area_id=town.areas["a"], reason="抽查")
    here.session.flush()
    assert [row.officer_id for row in found.not_done.rows] == [me.id]
    assert looks(me.id) == 1
    assert appraisal_looks.contests(here, supervisor, after=None, limit=50).items
    here.session.flush()
    assert looks(other.id) > before
