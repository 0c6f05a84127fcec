"""Posts: who stands where, how much of the time he is there, his breaks, and how the next one takes over."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, select

from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, Stale, WrongState
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.models import Journal, Notice, Post, PostDuty, Shift, VisitWatch
from geo.fixes import Fix
from tests import factories
from tests.dispatching import on_shift
from tests.factories import Person, Town
from tests.rounds import bring, make_checkpoint, make_duty, make_phone, make_post, make_visit, north_of
from workflows import (
    deadlines,
    post_clocks,
    post_duties,
    post_looks,
    post_presence,
    post_reliefs,
    posts,
    shifts,
    visit_watch,
)

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"posts-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


class Standing:
    """An officer with a phone on a shift since four hours ago, and a duty of two hours that began two hours ago."""

    def __init__(self, uow: UnitOfWork, town: Town, who: str = "officer_a", post: Post | None = None) -> None:
        self.uow, self.town, self.who = uow, town, town[who]
        self.at = uow.now - 2 * HOUR
        self.shift = began(uow, town, self.who)
        self.phone = make_phone(uow, town, self.who)
        self.post = post or make_post(uow, town)
        uow.now -= 3 * HOUR
        self.duty_id = make_duty(uow, town, self.post, starts_at=self.at, people=[self.who]).id
        uow.now += 3 * HOUR
        if uow.session.get(VisitWatch, town.id) is None:
            uow.session.add(VisitWatch(town_id=town.id, looked_until=self.at - MINUTE))
        uow.session.flush()

    def press(self, act: Any, minute: float, *more: Any, **named: Any) -> PostDuty:
        """Press something of the duty, so many minutes after its start by the phone's clock."""
        device_at = self.at + minute * MINUTE
        found: PostDuty = act(
            self.uow, self.who.actor(), self.duty_id, *more, command_id=new_id(), device_at=device_at, **named
        )
        return found

    def stays(self, from_min: float, to_min: float, north_m: float = 0.0, every_s: int = 60) -> list[Fix]:
        """Fixes of a time at a place so far north of the post, good ones."""
        return [
            Fix(self.at + timedelta(seconds=s), *north_of(self.town, north_m), 5.0, speed_mps=0.0)
            for s in range(int(from_min * 60), int(to_min * 60), every_s)
        ]

    def bring(self, fixes: list[Fix]) -> None:
        bring(self.uow, self.town, self.phone, self.shift.id, fixes, received_at=self.uow.now)

    def look(self) -> None:
        while visit_watch.look(self.uow):
            pass

    def minutes(self) -> tuple[float, float, float, float]:
        """How long he was inside, outside, unknown, excused, in minutes."""
        found = post_presence.of(self.read(), self.uow.now)
        inside, outside, unknown, excused = (round(one / 60, 1) for one in found.figures)
        return inside, outside, unknown, excused

    def read(self) -> PostDuty:
        self.uow.session.flush()
        return post_duties.read(self.uow, self.duty_id)

    def absences(self) -> list[tuple[float, float | None]]:
        """From which minute of the duty to which he was away."""
        return [
            (
                round((one.began_at - self.at) / MINUTE, 1),
                None if one.ended_at is None else round((one.ended_at - self.at) / MINUTE, 1),
            )
            for one in self.read().absences
        ]


def began(uow: UnitOfWork, town: Town, person: Person) -> Shift:
    shift = on_shift(uow, town, person)
    shift.started_at = uow.now - 4 * HOUR
    uow.session.flush()
    return shift


def clock(uow: UnitOfWork, at: datetime) -> None:
    uow.now = at
    deadlines.see_to(uow, {"post_duty": post_clocks.time_due})


def told(uow: UnitOfWork, kind: str) -> set[UUID]:
    return set(uow.session.scalars(select(Notice.recipient_id).where(Notice.kind == kind)))


def acts(uow: UnitOfWork, subject_id: UUID) -> list[str]:
    uow.session.flush()
    rows = select(Journal.action).where(Journal.subject_id == subject_id).order_by(Journal.id)
    return list(uow.session.scalars(rows))


# --- Presence


def test_presence_is_the_same_in_whichever_order_fixes_and_the_press_come(
    here: UnitOfWork, town: Town
) -> None:
    """F19."""
    outcomes = []
    for seed in range(3):
        with here.session.begin_nested() as undone:
            his = Standing(here, town)
            # Ten minutes late, away for 20, silent for 30; a break of 15 in which he goes away.
            track = [
                *his.stays(10, 40), *his.stays(40, 60, 300), *his.stays(60, 70), *his.stays(100, 105),
                *his.stays(105, 118, 300), *his.stays(118, 120.1),
            ]  # fmt: skip
            portions = [track]
            if seed:
                Random(seed).shuffle(track)
                portions = [track[n::7] for n in range(7)]
            for n, portion in enumerate(portions):
                if n == min(3, len(portions) - 1):
                    his.press(post_duties.start, 12)
                    his.press(post_duties.take_break, 104)
                    his.press(post_duties.come_back, 119)
                his.bring(portion)
                his.look()
                here.now += timedelta(seconds=40)
            outcomes.append((his.minutes(), his.absences()))
            undone.rollback()
            visit_watch._known.clear()
    (inside, outside, unknown, excused), absences = outcomes[0]
    assert outcomes.count(outcomes[0]) == len(outcomes), outcomes
    assert excused == 15
    assert inside + outside + unknown + excused == pytest.approx(120, abs=0.3)
    assert unknown == pytest.approx(31, abs=0.2)
    assert outside == pytest.approx(10 + 20, abs=1.1)
    assert len(absences) == 1
    assert absences[0] == pytest.approx((39.5, 59.5), abs=1)


def test_what_is_not_known_is_told_apart_and_decides_nothing(here: UnitOfWork, town: Town) -> None:
    his = Standing(here, town)
    his.bring(his.stays(0, 80))
    his.press(post_duties.start, 0)
    his.look()
    found = post_presence.of(his.read(), here.now)
    assert (found.percent, found.unknown_percent) == pytest.approx((66, 34), abs=1)
    assert [found.is_enough(needed) for needed in (60, 80)] == [True, None], (
        "he may have been there for all of it"
    )
    assert his.absences() == []
    assert told(here, "post.left") == set()


def test_what_is_still_to_come_decides_until_it_no_longer_can(here: UnitOfWork, town: Town) -> None:
    """Who has stood for two hours when four in five of them are needed may come back for up to 24 minutes."""
    his = Standing(here, town)
    here.now = his.at
    his.press(post_duties.start, 0)
    here.now = his.at + 30 * MINUTE
    his.bring(his.stays(0, 29, north_m=300))
    his.look()
    judged = {}
    for minute in (5, 20, 28):
        judged[minute] = post_presence.of(his.read(), his.at + minute * MINUTE).is_enough(80)
    assert judged == {5: None, 20: None, 28: False}


def test_who_leaves_his_post_is_asked_why_and_the_desk_is_told_while_it_goes_on(
    here: UnitOfWork, town: Town
) -> None:
    his = Standing(here, town)
    here.now = his.at + 22 * MINUTE
    his.press(post_duties.start, 0)
    his.bring([*his.stays(0, 10), *his.stays(10, 21, 300)])
    his.look()
    [(since, until)] = his.absences()
    assert (since, until) == (pytest.approx(9.2, abs=0.3), None)
    assert told(here, "post.left") == {his.who.id, town["desk_a"].id}
    assert post_looks.situation(his.read(), here.now) == "away"
    here.now = his.at + 40 * MINUTE
    his.bring(his.stays(21, 39))
    his.look()
    [(_, until)] = his.absences()
    assert until == pytest.approx(20.9, abs=0.3)
    absence = his.read().absences[0]
    his.press(post_duties.explain, 39, "抓贼", absence_id=absence.id)
    his.bring([Fix(his.at + 15 * MINUTE + timedelta(seconds=s), *north_of(town, 0), 5.0) for s in (1, 2)])
    his.look()
    assert his.read().absences[0].explanation == "抓贼", "what he has said stays"
    with pytest.raises(NotVisible):
        his.press(post_duties.explain, 39, "what", absence_id=new_id())


# --- Begun, interrupted, ended


def test_a_duty_may_begin_until_its_end_and_is_missed_by_the_clock(here: UnitOfWork, town: Town) -> None:
    his = Standing(here, town)
    other = make_duty(here, town, his.post, starts_at=here.now + HOUR, people=[his.who])
    with pytest.raises(Conflict, match="not come"):
        post_duties.start(here, his.who.actor(), other.id, command_id=new_id())
    on_shift(here, town, town["officer_a2"])
    with pytest.raises(NotVisible):
        post_duties.start(here, town["officer_a2"].actor(), his.duty_id, command_id=new_id())
    clock(here, here.now)
    assert acts(here, his.duty_id) == ["schedule", "create", "late", "miss"]
    assert told(here, "post.late") == told(here, "post.missed") == {his.who.id, town["desk_a"].id}
    assert post_duties.officer_actions(his.who.actor(), his.read(), here.now) == ["explain"]
    with pytest.raises(Conflict, match="is over"):
        his.press(post_duties.start, 121)
    # The press was on its way: nobody has to have a network to stand.
    his.bring(his.stays(0, 119))
    duty = his.press(post_duties.start, 2)
    assert (duty.state, duty.began_at, duty.ended_at) == ("ended", his.at + 2 * MINUTE, duty.ends_at)
    assert his.minutes() == (118, 0, 2, 0)
    with pytest.raises(WrongState):
        his.press(post_duties.start, 3)
    assert his.press(post_duties.end, 121).ended_at == duty.ends_at, "the clock has said so already"
    left = his.press(post_duties.end_early, 60, reason="发烧")
    assert (left.state, left.ended_at) == ("ended_early", his.at + HOUR)
    with pytest.raises(WrongState):
        his.press(post_duties.end, 121)


def test_breaks_are_bounded_and_what_was_pressed_offline_counts_when_it_comes(
    here: UnitOfWork, town: Town
) -> None:
    his = Standing(here, town)
    here.now = his.at + 60 * MINUTE
    his.press(post_duties.start, 0)
    his.press(post_duties.take_break, 10)
    with pytest.raises(Conflict, match="on a break"):
        his.press(post_duties.take_break, 11)
    his.press(post_duties.come_back, 30)
    assert post_presence.break_left_s(his.read(), here.now) == 600
    his.press(post_duties.take_break, 40)
    assert post_looks.situation(his.read(), here.now) == "break_over"
    with pytest.raises(Conflict, match="used up") as refused:
        his.press(post_duties.take_break, 5)
    assert refused.value.code == "breaks_used"
    clock(here, his.at + 121 * MINUTE)
    duty = his.read()
    assert (duty.state, duty.ended_at, duty.breaks[-1].ended_at) == ("ended", duty.ends_at, duty.ends_at)
    his.press(post_duties.come_back, 45)
    assert his.minutes()[3] == 25
    with pytest.raises(Conflict, match="no break"):
        his.press(post_duties.come_back, 46)
    late = his.press(post_duties.take_break, 118)
    assert [one.ended_at for one in late.breaks][-1] == late.ended_at
    assert post_looks.situation(his.read(), here.now) != "on_break"
    with pytest.raises(WrongState):
        his.press(post_duties.take_break, 125)
    here.now += timedelta(days=4)
    with pytest.raises(Conflict, match="too late"):
        his.press(post_duties.take_break, 100)


def test_ending_before_the_time_needs_a_reason_and_the_rest_is_not_stood(
    here: UnitOfWork, town: Town
) -> None:
    his = Standing(here, town)
    here.now = his.at + 61 * MINUTE
    his.bring(his.stays(0, 60.1))
    his.press(post_duties.start, 0)
    with pytest.raises(Conflict, match="say why"):
        his.press(post_duties.end, 60)
    key = new_id()
    for _ in range(2):
        duty = post_duties.end_early(
            here, his.who.actor(), his.duty_id, reason="发烧", command_id=key, device_at=his.at + HOUR
        )
    assert (duty.state, duty.reason) == ("ended_early", "发烧")
    here.now += 2 * HOUR
    assert his.minutes() == pytest.approx((60, 60, 0, 0), abs=0.1)
    next_one = Standing(here, town, "officer_a2")
    here.now = next_one.at + 117 * MINUTE
    next_one.press(post_duties.start, 100)
    assert next_one.press(post_duties.end, 116).state == "ended"
    third = make_duty(here, town, his.post, starts_at=here.now, people=[his.who])
    post_duties.start(here, his.who.actor(), third.id, command_id=new_id())
    shifts.end(here, his.who.actor(), his.shift.id, command_id=new_id())
    here.session.flush()
    assert (third.state, third.reason) == ("ended_early", "shift over")


# --- Relief


def test_who_is_planned_next_relieves_when_both_say_so_and_no_moment_is_between(
    here: UnitOfWork, town: Town
) -> None:
    his = Standing(here, town)
    second = town["officer_a2"]
    began(here, town, second)
    planned = make_duty(here, town, his.post, starts_at=his.at + 2 * HOUR, people=[second])
    his.press(post_duties.start, 0)
    # His time is over, and he stays: the next one is to come.
    clock(here, his.at + 2 * HOUR + MINUTE)
    assert (his.read().state, post_looks.situation(his.read(), here.now)) == ("standing", "relief_due")
    with pytest.raises(Conflict, match="asked to relieve"):
        his.press(post_reliefs.hand_over, 125)
    here.now += 9 * MINUTE

    def ask(who: Person, key: UUID) -> PostDuty:
        return post_reliefs.take_over(here, who.actor(), his.duty_id, command_id=key)

    began(here, town, town["officer_b"])
    with pytest.raises(NotVisible):
        ask(town["officer_b"], new_id())
    with pytest.raises(Conflict, match="yourself"):
        ask(his.who, new_id())
    key = new_id()
    for _ in range(2):
        asked = ask(second, key)
    assert (asked.id, asked.relief_officer_id, asked.state) == (his.duty_id, second.id, "standing")
    assert acts(here, his.duty_id).count("ask") == 1
    assert told(here, "post.relief_asked") == {his.who.id}
    assert "hand_over" in post_duties.officer_actions(his.who.actor(), asked, here.now)
    his.press(post_reliefs.hand_over, 131)
    taken, given = post_duties.read(here, planned.id), his.read()
    assert (given.state, taken.state, taken.officer_id) == ("relieved", "standing", second.id)
    assert (taken.relieves_id, taken.relief) == (given.id, "both")
    assert given.ended_at == taken.began_at == post_presence.span(taken)[0] == post_presence.span(given)[1]
    with pytest.raises(WrongState):
        ask(second, new_id())


def test_who_has_just_read_the_label_relieves_at_once_and_takes_the_rest(
    here: UnitOfWork, town: Town
) -> None:
    checkpoint = make_checkpoint(here, town)
    his = Standing(here, town, post=make_post(here, town, checkpoint_id=checkpoint.id))
    second = town["officer_a2"]
    here.now = his.at + 60 * MINUTE
    his.press(post_duties.start, 0)
    with pytest.raises(Conflict, match="Start a shift"):
        post_reliefs.take_over(here, second.actor(), his.duty_id, command_id=new_id())
    began(here, town, second)
    scanned = make_visit(here, town, second, checkpoint.id, at=here.now - 20 * MINUTE)
    scanned.method = "qr"
    forged = make_visit(here, town, second, checkpoint.id, at=here.now - 2 * MINUTE, flags=["mock"])
    forged.method = "qr"
    here.session.flush()
    asked = post_reliefs.take_over(here, second.actor(), his.duty_id, command_id=new_id())
    assert (asked.id, asked.state) == (his.duty_id, "standing"), "that was too long ago, or is doubted"
    make_visit(here, town, second, checkpoint.id, at=here.now - MINUTE).method = "nfc"
    here.session.flush()
    taken = post_reliefs.take_over(here, second.actor(), his.duty_id, command_id=new_id())
    assert (taken.officer_id, taken.relief, taken.state) == (second.id, "scan", "standing")
    assert (taken.starts_at, taken.ends_at) == (here.now, his.read().ends_at)
    assert his.read().state == "relieved"
    assert acts(here, taken.id) == ["schedule", "start"]


def test_nobody_waits_forever_for_who_does_not_come(here: UnitOfWork, town: Town) -> None:
    his = Standing(here, town)
    make_duty(here, town, his.post, starts_at=his.at + 2 * HOUR, people=[town["officer_a2"]])
    his.press(post_duties.start, 0)
    for minute in range(120, 156, 5):
        clock(here, his.at + minute * MINUTE)
        expected = "standing" if minute < 150 else "ended"
        assert his.read().state == expected, minute
    assert his.read().ended_at == his.read().ends_at


# --- At the desk


def test_a_supervisor_lays_posts_out_and_a_dispatcher_has_them_stood(here: UnitOfWork, town: Town) -> None:
    boss, desk = town["supervisor_a"].actor(), town["desk_a"].actor()
    wanted = {
        "name": {"zh-CN": "北门岗", "en": "North gate"}, "place": town.place("a"), "radius_m": 25.0,
        "needed_percent": 90, "break_s": 600, "absent_after_s": 120, "checkpoint_id": None, "instructions": "查验证件",
    }  # fmt: skip
    with pytest.raises(Forbidden):
        posts.create(here, desk, wanted, command_id=new_id())
    for more, error in (
        ({"place": town.place("b")}, Forbidden),
        ({"place": (0.0, 0.0)}, Invalid),
        ({"checkpoint_id": make_checkpoint(here, town, area="b").id}, Invalid),
    ):
        with pytest.raises(error):
            posts.create(here, boss, wanted | more, command_id=new_id())
    made = posts.create(here, boss, wanted, command_id=new_id())
    assert (posts.place_of(made), made.needed_percent) == (pytest.approx(town.place("a")), 90)
    for people, starts_at in (([town["officer_b"]], here.now), ([], here.now - 5 * HOUR)):
        with pytest.raises(Invalid):
            make_duty(here, town, made, starts_at=starts_at, people=people)
    duty = make_duty(here, town, made, starts_at=here.now + HOUR)
    with pytest.raises(Conflict, match="to come"):
        posts.retire(here, boss, made.id, command_id=new_id())
    changed = posts.change(
        here, boss, made.id, wanted | {"needed_percent": 50}, version=1, command_id=new_id()
    )
    assert post_duties.read(here, duty.id).needed_percent == 50
    with pytest.raises(Stale):
        posts.change(here, boss, made.id, wanted, version=1, command_id=new_id())
    seen = {
        who: [one.id for one in posts.listed(here, town[who].actor(), after=None, limit=9).items]
        for who in ("desk_a", "desk_b")
    }
    assert (made.id in seen["desk_a"], made.id in seen["desk_b"]) == (True, False)
    span = {"since": here.now, "until": here.now + 3 * HOUR, "after": None, "limit": 9}
    assert [one.id for one in post_looks.at_desk(here, desk, **span).items] == [duty.id]
    assert post_looks.at_desk(here, town["desk_b"].actor(), **span).items == []
    assert [
        one.id for one in post_looks.own(here, town["officer_a2"].actor(), after=None, limit=9).items
    ] == [duty.id]
    with pytest.raises(NotVisible):
        post_duties.cancel(here, town["desk_b"].actor(), duty.id, reason="no", command_id=new_id())
    gone = post_duties.cancel(here, desk, duty.id, reason="雨", command_id=new_id())
    assert (gone.state, gone.reason) == ("cancelled", "雨")
    retired = posts.retire(here, boss, made.id, command_id=new_id())
    assert (posts.actions(boss, retired), posts.actions(boss, changed)) == ([], [])
