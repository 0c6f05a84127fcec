"""What is enqueued, in which order it goes, when the next channel is tried, and what becomes of what is not taken."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from backend.core.ids import new_id
from backend.core.notice_settings import NoticeSettings
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import DeliveryState, NoticeChannel, NoticeKind, NoticeProfile, Role
from notifications import delivering, outbox, reach
from notifications.kinds import RULES, URGENT, BadParamsError
from notifications.outbox import MOVES
from tests.factories import Person, Town
from tests.notifications.conftest import address, deliveries, everything, notice, session
from tests.notifications.test_recipients import on_shift

K, C = NoticeKind, NoticeChannel
WHAT = {"number": 7, "place": "东门"}


def offer(uow: UnitOfWork, to: Person, subject: UUID | None = None, **more: Any) -> UUID:
    [made] = outbox.enqueue(
        uow, K.TASK_OFFERED, to=[to.id], subject=("task", subject or new_id()), params=WHAT, **more
    )
    return made


def resolved(uow: UnitOfWork, to: Person, **more: Any) -> UUID:
    """A notice that needs no confirmation, to the desk."""
    [made] = outbox.enqueue(uow, K.TASK_RESOLVED, to=[to.id], subject=("task", new_id()), params=WHAT, **more)
    return made


def states(uow: UnitOfWork, notice_id: UUID) -> list[tuple[str, str, str | None]]:
    return [(d.channel, d.state, d.error) for d in deliveries(uow, notice_id)]


def take(uow: UnitOfWork, channel: NoticeChannel, **more: Any) -> Any:
    """Claim one delivery of a channel and prepare it."""
    claimed = delivering.claim(uow, channel, most=1, **more)
    ready = delivering.prepare(uow, claimed)
    return ready[0] if ready else None


# --- Enqueueing


def test_a_notice_stands_in_the_app_even_where_no_channel_is_set_up(here: UnitOfWork, town: Town) -> None:
    reach.use(NoticeSettings())
    address(here, town["officer_a"], "wecom")
    made = offer(here, town["officer_a"])
    assert notice(here, made).recipient_id == town["officer_a"].id
    assert deliveries(here, made) == []


def test_the_chain_is_what_is_set_up_and_where_he_is_reached_in_the_profiles_order(
    here: UnitOfWork, town: Town
) -> None:
    officer = town["officer_a"]
    for channel in ("email", "sms", "fcm", "wecom", "webpush"):
        address(here, officer, channel)
    assert [d[0] for d in states(here, offer(here, officer))] == ["wecom", "webpush", "fcm", "sms", "email"]
    reach.use(everything(profile=NoticeProfile.INTL))
    assert [d[0] for d in states(here, offer(here, officer))] == ["fcm", "webpush", "wecom", "sms", "email"]
    reach.use(everything(wecom=None, templates={}))
    assert [d[0] for d in states(here, offer(here, officer))] == ["webpush", "fcm", "email"]


def test_an_address_counts_for_as_long_as_its_session(here: UnitOfWork, town: Town) -> None:
    officer = town["officer_a"]
    signed_in = session(here, officer)
    address(here, officer, "fcm", session=signed_in)
    assert [d[0] for d in states(here, offer(here, officer))] == ["fcm"]
    here.session.execute(
        text("update sessions set revoked_at = :now, revoke_reason = 'signed_out' where id = :id"),
        {"now": here.now, "id": signed_in},
    )
    assert states(here, offer(here, officer)) == []


def test_a_residents_own_phone_is_an_address(here: UnitOfWork, town: Town) -> None:
    [made] = outbox.enqueue(
        here, K.SOS_ACKNOWLEDGED, to=[town["resident"].id], subject=("alarm", new_id()), params={}
    )
    assert [d[0] for d in states(here, made)] == ["sms", "voice"]
    assert take(here, C.SMS).targets[0].token == town["resident"].phone


def test_whoever_may_not_be_told_is_not(here: UnitOfWork, town: Town, elsewhere: Town) -> None:
    """F41: of another town, of a role that the kind is not for, disabled: whatever the caller named."""
    disabled = town["officer_a2"]
    here.session.execute(
        text("update users set state = 'disabled', disabled_at = :now where id = :id"),
        {"now": here.now, "id": disabled.id},
    )
    told = outbox.enqueue(
        here,
        K.SOS_RAISED,
        to=[
            town["desk_a"].id, town["desk_a"].id, town["resident"].id, town["handler"].id, disabled.id,
            elsewhere["desk_a"].id, new_id(),
        ],
        subject=("alarm", new_id()),
        params={},
    )  # fmt: skip
    assert [notice(here, one).recipient_id for one in told] == [town["desk_a"].id]


def test_a_role_that_ended_after_the_notice_was_made_is_not_pushed_to(here: UnitOfWork, town: Town) -> None:
    """F41."""
    officer = town["officer_b"]
    address(here, officer, "wecom")
    made = offer(here, officer)
    here.session.execute(
        text("update memberships set ended_at = :now where user_id = :id"),
        {"now": here.now, "id": officer.id},
    )
    assert take(here, C.WECOM) is None
    assert states(here, made) == [("wecom", "skipped", "not_allowed")]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "needs number"),
        ({"number": 1, "phone": "13800000000"}, "takes .* and not phone"),
        ({"number": 1, "place": "打 13800000000"}, "place has to be words"),
        ({"number": 1, "place": "138 0000 0000"}, "place has to be words"),
        ({"number": "1"}, "number has to be a number"),
        ({"number": 1, "due_at": datetime(2026, 1, 1)}, "due_at has to be a moment"),
        ({"number": 1, "place": {"zh-CN": "东门"}}, "place has to be both languages"),
        ({"number": 1, "place": "a\nb"}, "place has to be a line"),
        ({"number": 1, "area_id": "x"}, "area_id has to be"),
    ],
)
def test_parameters_are_those_of_the_kind(
    here: UnitOfWork, town: Town, params: dict[str, Any], said: str
) -> None:
    """F93: what could be a phone does not get into a notice, which travels through others' servers."""
    with pytest.raises(BadParamsError, match=said):
        outbox.enqueue(
            here, K.TASK_OFFERED, to=[town["officer_a"].id], subject=("task", new_id()), params=params
        )


def test_an_offer_that_lapsed_is_not_even_made(here: UnitOfWork, town: Town) -> None:
    told = outbox.enqueue(
        here, K.TASK_OFFERED, to=[town["officer_a"].id], subject=("task", new_id()), params=WHAT,
        expires_at=here.now,
    )  # fmt: skip
    assert told == []


# --- The newest of its sort


def test_the_newer_replaces_what_was_not_sent_yet(here: UnitOfWork, town: Town) -> None:
    desk, other = town["desk_a"], town["desk_b"]
    for person in (desk, other):
        address(here, person, "wecom")
    first, others = resolved(here, desk, coalesce="task:1"), resolved(here, other, coalesce="task:1")
    second = resolved(here, desk, coalesce="task:1")
    assert states(here, first) == [("wecom", "skipped", "replaced")]
    assert notice(here, first).replaced_at is not None
    assert states(here, second) == [("wecom", "waiting", None)]
    assert states(here, others) == [("wecom", "waiting", None)], "another's is another's"


def test_what_was_sent_or_read_is_not_replaced(here: UnitOfWork, town: Town) -> None:
    officer = town["officer_a"]
    address(here, officer, "wecom")
    address(here, officer, "sms")
    first = offer(here, officer, coalesce="offer")
    assert delivering.sent(here, take(here, C.WECOM).claimed, "1")
    second = offer(here, officer, coalesce="offer")
    assert states(here, first) == [("wecom", "sent", None), ("sms", "skipped", "replaced")]
    assert notice(here, first).replaced_at is None, "he has seen it on his phone"
    outbox.read(here, officer.id, [second])
    offer(here, officer, coalesce="offer")
    assert notice(here, second).replaced_at is None


# --- Claiming


def test_what_is_not_due_is_not_claimed(here: UnitOfWork, town: Town) -> None:
    officer = town["officer_a"]
    address(here, officer, "wecom")
    address(here, officer, "sms")
    made = offer(here, officer)
    assert delivering.claim(here, C.SMS) == []
    here.now += timedelta(seconds=RULES[K.TASK_OFFERED].next_after_s or 0)
    [claimed] = delivering.claim(here, C.SMS)
    assert claimed.notice_id == made
    assert delivering.claim(here, C.SMS) == [], "it has a lease"


def test_a_lease_that_ran_out_is_had_by_another_and_the_first_marks_nothing(
    here: UnitOfWork, town: Town
) -> None:
    """F11: who was thought dead and comes back late does not undo what the other did."""
    address(here, town["officer_a"], "wecom")
    made = offer(here, town["officer_a"])
    slow = take(here, C.WECOM).claimed
    here.now += delivering.LEASE
    again = take(here, C.WECOM)
    assert again.claimed.id == slow.id
    assert again.message.event_id == made
    assert not delivering.later(here, slow, "x")
    assert not delivering.refused(here, slow, "x")
    assert delivering.sent(here, again.claimed, "2")
    assert not delivering.sent(here, slow, "1")
    [row] = deliveries(here, made)
    assert (row.state, row.provider_ref, row.attempts) == ("sent", "2", 2)


def test_somebodys_notices_go_in_their_order_one_at_a_time(here: UnitOfWork, town: Town) -> None:
    desk = town["desk_a"]
    address(here, desk, "wecom")
    first, second, third = (resolved(here, desk) for _ in range(3))
    claimed = delivering.claim(here, C.WECOM, most=10)
    assert [one.notice_id for one in claimed] == [first]
    [one] = delivering.prepare(here, claimed)
    assert delivering.claim(here, C.WECOM, most=10) == [], "the first one is under way"
    assert delivering.later(here, one.claimed, "wecom_busy")
    assert delivering.claim(here, C.WECOM, most=10) == [], "the first one makes a pause"
    here.now += timedelta(seconds=delivering.LONGEST_PAUSE_S)
    for expected in (first, second, third):
        ready = take(here, C.WECOM)
        assert ready.message.event_id == expected
        assert delivering.sent(here, ready.claimed, None)


def test_what_is_urgent_passes_by_what_makes_a_pause(here: UnitOfWork, town: Town) -> None:
    desk = town["desk_a"]
    address(here, desk, "wecom")
    resolved(here, desk)
    assert delivering.later(here, take(here, C.WECOM).claimed, "wecom_busy")
    resolved(here, desk)
    [sos] = outbox.enqueue(here, K.SOS_RAISED, to=[desk.id], subject=("alarm", new_id()), params={})
    assert delivering.claim(here, C.WECOM, urgent=False) == []
    [claimed] = delivering.claim(here, C.WECOM, urgent=True)
    assert claimed.notice_id == sos


def test_another_recipient_does_not_wait(here: UnitOfWork, town: Town) -> None:
    for name in ("desk_a", "desk_b"):
        address(here, town[name], "wecom")
    resolved(here, town["desk_a"])
    resolved(here, town["desk_a"])
    theirs = resolved(here, town["desk_b"])
    assert delivering.later(here, take(here, C.WECOM).claimed, "wecom_busy")
    assert take(here, C.WECOM).message.event_id == theirs


def test_a_town_claims_its_own_rows(here: UnitOfWork, town: Town, elsewhere: Town) -> None:
    """F41: and whoever looks where something is due learns of no more than town and channel."""
    address(here, town["officer_a"], "wecom")
    offer(here, town["officer_a"])
    assert (town.id, C.WECOM, False) in delivering.due(here)
    here.enter_town(elsewhere.id)
    assert delivering.claim(here, C.WECOM) == []


# --- Who confirms, and the next channel


def test_the_next_channel_is_tried_when_one_is_not_confirmed_in_time(here: UnitOfWork, town: Town) -> None:
    officer = town["officer_a"]
    for channel in ("wecom", "sms", "voice"):
        address(here, officer, channel)
    made = offer(here, officer)
    due = [d.not_before_at - here.now for d in deliveries(here, made)]
    assert due == [timedelta(seconds=s) for s in (0, 30, 60)]
    assert delivering.sent(here, take(here, C.WECOM).claimed, None)
    here.now += timedelta(seconds=30)
    assert delivering.sent(here, take(here, C.SMS).claimed, None)
    assert outbox.confirm(here, officer.id, [made]) == [made]
    assert states(here, made) == [
        ("wecom", "confirmed", None), ("sms", "confirmed", None), ("voice", "skipped", "confirmed"),
    ]  # fmt: skip


def test_reading_ends_what_needs_no_confirmation_and_nothing_else(here: UnitOfWork, town: Town) -> None:
    officer, desk = town["officer_a"], town["desk_a"]
    address(here, officer, "wecom")
    address(here, desk, "wecom")
    offered, told = offer(here, officer), resolved(here, desk)
    assert outbox.read(here, officer.id, [offered, told]) == [offered], "another's is not his to read"
    assert outbox.read(here, desk.id, [told]) == [told]
    assert states(here, offered) == [("wecom", "waiting", None)]
    assert states(here, told) == [("wecom", "skipped", "read")]
    assert notice(here, offered).read_at == here.now


def test_who_acted_has_confirmed(here: UnitOfWork, town: Town) -> None:
    task = new_id()
    officers = [town["officer_a"], town["officer_a2"]]
    for officer in officers:
        address(here, officer, "wecom")
    mine, theirs = (offer(here, officer, task) for officer in officers)
    assert outbox.acted(here, ("task", task), [K.TASK_OFFERED], by=officers[0].id) == [mine]
    assert states(here, mine) == [("wecom", "skipped", "confirmed")]
    assert states(here, theirs) == [("wecom", "waiting", None)]
    outbox.withdraw(here, ("task", task), [K.TASK_OFFERED])
    assert states(here, theirs) == [("wecom", "skipped", "withdrawn")]
    assert notice(here, theirs).confirmed_at is None


def test_where_one_channel_is_enough_the_others_are_not_tried(here: UnitOfWork, town: Town) -> None:
    desk = town["desk_a"]
    address(here, desk, "wecom")
    address(here, desk, "sms")
    made = resolved(here, desk)
    assert [d.not_before_at for d in deliveries(here, made)] == [here.now, None]
    assert delivering.sent(here, take(here, C.WECOM).claimed, None)
    assert states(here, made) == [("wecom", "sent", None), ("sms", "skipped", "reached")]


def test_the_next_channel_has_its_turn_at_once_when_one_cannot(here: UnitOfWork, town: Town) -> None:
    """F12: a row that is never taken goes to the dead letters when no channel is left, and not before."""
    desk = town["desk_a"]
    address(here, desk, "wecom")
    address(here, desk, "sms")
    made = resolved(here, desk)
    assert delivering.refused(here, take(here, C.WECOM).claimed, "wecom_40058")
    assert states(here, made) == [("wecom", "failed", "wecom_40058"), ("sms", "waiting", None)]
    assert delivering.refused(here, take(here, C.SMS).claimed, "sms_refused")
    assert states(here, made) == [("wecom", "failed", "wecom_40058"), ("sms", "dead", "sms_refused")]


def test_a_delivery_is_tried_so_often_with_growing_pauses(here: UnitOfWork, town: Town) -> None:
    desk = town["desk_a"]
    address(here, desk, "wecom")
    made = resolved(here, desk)
    pauses = []
    for _ in range(delivering.MOST_ATTEMPTS):
        assert delivering.later(here, take(here, C.WECOM).claimed, "wecom_failed")
        [row] = deliveries(here, made)
        if row.state == "waiting":
            pauses.append((row.not_before_at - here.now).total_seconds())
            here.now = row.not_before_at
    assert states(here, made) == [("wecom", "dead", "wecom_failed")]
    bounds = [min(delivering.LONGEST_PAUSE_S, delivering.FIRST_PAUSE_S * 2**n) for n in range(len(pauses))]
    assert len(pauses) == delivering.MOST_ATTEMPTS - 1
    for pause, bound in zip(pauses, bounds, strict=True):
        assert bound / 2 <= pause <= bound
    assert len({delivering.pause_s(5) for _ in range(10)}) > 1, "never the same for all"


def test_a_provider_that_says_when_is_asked_no_sooner(here: UnitOfWork, town: Town) -> None:
    address(here, town["desk_a"], "wecom")
    made = resolved(here, town["desk_a"])
    assert delivering.later(here, take(here, C.WECOM).claimed, "wecom_busy", 90.0)
    [row] = deliveries(here, made)
    assert row.not_before_at == here.now + timedelta(seconds=90)


def test_what_expires_is_not_pushed_any_more(here: UnitOfWork, town: Town) -> None:
    officer = town["officer_a"]
    address(here, officer, "wecom")
    address(here, officer, "sms")
    made = offer(here, officer, expires_at=here.now + timedelta(seconds=40))
    assert delivering.later(here, take(here, C.WECOM).claimed, "wecom_busy", 60.0)
    assert states(here, made)[0] == ("wecom", "failed", "wecom_busy"), "it would come too late"
    here.now += timedelta(seconds=40)
    assert take(here, C.SMS) is None
    assert states(here, made)[1] == ("sms", "skipped", "expired")


def test_nobody_at_any_address(here: UnitOfWork, town: Town) -> None:
    officer = town["officer_a"]
    gone = address(here, officer, "fcm")
    made = offer(here, officer)
    delivering.prune(here, [gone], "fcm_unregistered")
    assert take(here, C.FCM) is None
    assert states(here, made) == [("fcm", "dead", "no_address")]
    row = here.session.execute(text("select * from addresses where id = :id"), {"id": gone}).one()
    assert (row.dead_at, row.dead_reason) == (here.now, "fcm_unregistered")


def test_a_template_that_was_taken_away_lets_the_next_channel_have_its_turn(
    here: UnitOfWork, town: Town
) -> None:
    desk = town["desk_a"]
    address(here, desk, "sms")
    address(here, desk, "email")
    made = resolved(here, desk)
    reach.use(everything(templates={C.SMS: {K.SOS_RAISED: everything().template(C.SMS, K.SOS_RAISED)}}))
    assert take(here, C.SMS) is None
    assert states(here, made) == [("sms", "failed", "not_set_up"), ("email", "waiting", None)]
    reach.use(everything(mail=None))
    claimed = delivering.claim(here, C.EMAIL)
    delivering.abandon(here, claimed)
    assert states(here, made)[1] == ("email", "dead", "not_set_up")


def test_a_row_that_cannot_be_read_holds_up_no_other(here: UnitOfWork, town: Town) -> None:
    """F12: written by a later version, or by a mistake."""
    poisoned, good = town["desk_a"], town["desk_b"]
    address(here, poisoned, "wecom")
    address(here, good, "wecom")
    first, second = resolved(here, poisoned), resolved(here, good)
    here.session.execute(text("update notices set params = '{}' where id = :id"), {"id": first})
    ready = delivering.prepare(here, delivering.claim(here, C.WECOM))
    assert [one.message.event_id for one in ready] == [second]
    assert states(here, first) == [("wecom", "dead", "unreadable")]
    here.session.execute(text("update notices set kind = 'task.invented' where id = :id"), {"id": second})
    assert delivering.refused(here, ready[0].claimed, "wecom_40058") is True


def test_a_notice_that_is_forgotten_after_it_was_claimed_holds_up_no_other(
    here: UnitOfWork, town: Town
) -> None:
    gone, good = town["desk_a"], town["desk_b"]
    address(here, gone, "wecom")
    address(here, good, "wecom")
    first, second = resolved(here, gone), resolved(here, good)
    claimed = delivering.claim(here, C.WECOM)
    here.session.execute(text("delete from notices where id = :id"), {"id": first})
    assert [one.message.event_id for one in delivering.prepare(here, claimed)] == [second]


# --- What people want


def want(uow: UnitOfWork, person: Person, channels: str = "{}", **quiet: time) -> None:
    uow.session.execute(
        text(
            "insert into notice_settings (user_id, town_id, channels, quiet_from, quiet_until, updated_at)"
            " values (:user, :town, cast(:channels as jsonb), :begins, :ends, :now)"
        ),
        {
            "user": person.id, "town": person.town_id, "channels": channels, "now": uow.now,
            "begins": quiet.get("begins"), "ends": quiet.get("ends"),
        },
    )  # fmt: skip


def test_people_choose_channels_by_kind_but_not_for_an_sos(here: UnitOfWork, town: Town) -> None:
    desk = town["desk_a"]
    address(here, desk, "wecom")
    address(here, desk, "email")
    want(here, desk, '{"task.resolved": ["email"], "sos.raised": [], "task.accepted": []}')
    assert [d[0] for d in states(here, resolved(here, desk))] == ["email"]
    [quiet] = outbox.enqueue(here, K.TASK_ACCEPTED, to=[desk.id], subject=("task", new_id()), params=WHAT)
    assert states(here, quiet) == []
    [sos] = outbox.enqueue(here, K.SOS_RAISED, to=[desk.id], subject=("alarm", new_id()), params={})
    assert [d[0] for d in states(here, sos)] == ["wecom", "email"]


def test_quiet_hours_hold_everything_but_an_sos(here: UnitOfWork, town: Town) -> None:
    desk = town["desk_a"]
    address(here, desk, "wecom")
    want(here, desk, begins=time(22), ends=time(6, 30))
    here.now = datetime(2026, 5, 1, 15, 0, tzinfo=UTC)  # 23:00 in Shanghai.
    made = resolved(here, desk)
    [sos] = outbox.enqueue(here, K.SOS_RAISED, to=[desk.id], subject=("alarm", new_id()), params={})
    ready = take(here, C.WECOM)
    assert ready.message.event_id == sos
    assert delivering.sent(here, ready.claimed, None)
    assert take(here, C.WECOM) is None
    [row] = deliveries(here, made)
    assert (row.state, row.error, row.attempts) == ("waiting", "quiet_hours", 0)
    assert row.not_before_at == datetime(2026, 5, 1, 22, 30, tzinfo=UTC)
    here.now = row.not_before_at
    assert take(here, C.WECOM).message.event_id == made


DUTY = [kind for kind, rule in RULES.items() if rule.duty]
WORDS = {"outcome": "taken", "duty_level": "first"}
"""What a notice says by a word of a list; all else may be a number."""
KEEPS_TILL_MORNING = {
    K.REPORT_ANSWERED, K.PATROL_MISSED, K.POST_MISSED, K.ROSTER_CHANGED, K.REQUEST_ASKED, K.REQUEST_DECIDED,
    K.APPRAISAL_OPENED, K.APPRAISAL_CLOSING, K.APPRAISAL_DECIDED,
}  # fmt: skip
"""What became of something, and what is about days to come."""


def at_night(uow: UnitOfWork, officer: Person) -> None:
    """Let it be 23:00 in Shanghai, in the officer's quiet hours; he is reached by WeCom."""
    address(uow, officer, "wecom")
    want(uow, officer, begins=time(22), ends=time(6, 30))
    uow.now = datetime(2026, 5, 1, 15, 0, tzinfo=UTC)


def told(uow: UnitOfWork, officer: Person, kind: NoticeKind) -> UUID:
    params = dict.fromkeys(RULES[kind].needs, 7) | {
        name: WORDS[name] for name in RULES[kind].needs & WORDS.keys()
    }
    [made] = outbox.enqueue(uow, kind, to=[officer.id], subject=("task", new_id()), params=params)
    return made


@pytest.mark.parametrize("kind", DUTY)
def test_on_shift_quiet_hours_hold_nothing_that_duty_needs_and_off_shift_they_do(
    here: UnitOfWork, town: Town, kind: NoticeKind
) -> None:
    """Offers, roll calls, spot checks, changes of tasks and broadcasts ring on the night shift."""
    awake, asleep = town["officer_a"], town["officer_a2"]
    for officer in (awake, asleep):
        at_night(here, officer)
    on_shift(here, awake, town.areas["a"])
    on_shift(here, asleep, town.areas["a"], ended=here.now)
    rings, waits = told(here, awake, kind), told(here, asleep, kind)
    assert [one.message.event_id for one in delivering.prepare(here, delivering.claim(here, C.WECOM))] == [
        rings
    ]
    assert states(here, waits) == [("wecom", "waiting", "quiet_hours")]


def test_what_is_no_duty_waits_for_the_morning_on_shift_too(here: UnitOfWork, town: Town) -> None:
    """What became of a report keeps until then, and so does everything of a shift that was over by itself."""
    officer, forgetful = town["officer_a"], town["officer_a2"]
    for one in (officer, forgetful):
        at_night(here, one)
    on_shift(here, officer, town.areas["a"])
    on_shift(here, forgetful, town.areas["a"], closes=here.now - timedelta(minutes=1))
    made = [told(here, officer, K.REPORT_ANSWERED), told(here, forgetful, K.BROADCAST_SENT)]
    assert delivering.prepare(here, delivering.claim(here, C.WECOM)) == []
    assert [states(here, one) for one in made] == [[("wecom", "waiting", "quiet_hours")]] * 2


def test_the_kinds_that_duty_needs_are_what_an_officer_acts_on() -> None:
    officers = {kind for kind, rule in RULES.items() if Role.OFFICER in rule.roles}
    urgent = {kind for kind, rule in RULES.items() if rule.priority == URGENT}
    assert set(DUTY) == officers - urgent - KEEPS_TILL_MORNING


@given(minute=st.integers(0, 1439), begins=st.integers(0, 1439), ends=st.integers(0, 1439))
def test_quiet_hours_end_when_they_should(minute: int, begins: int, ends: int) -> None:
    """On the town's clock, past midnight too; the end is after now, within a day, and at the hour that was said."""
    if begins == ends:
        return
    zone = ZoneInfo("Asia/Shanghai")
    now = datetime(2026, 5, 1, minute // 60, minute % 60, tzinfo=zone)
    found = delivering.quiet_end(now, time(begins // 60, begins % 60), time(ends // 60, ends % 60), zone)
    minutes = {(begins + n) % 1440 for n in range((ends - begins) % 1440)}
    assert (found is not None) == (minute in minutes)
    if found is not None:
        assert timedelta(0) < found - now <= timedelta(days=1)
        assert (found.hour, found.minute) == (ends // 60, ends % 60)


def credits(uow: UnitOfWork, person: Person, count: int) -> None:
    uow.session.execute(
        text(
            "insert into wechat_credits (user_id, template_id, town_id, remaining, updated_at)"
            " values (:user, 'MINI_1', :town, :count, :now)"
            " on conflict (user_id, template_id) do update set remaining = :count"
        ),
        {"user": person.id, "town": person.town_id, "count": count, "now": uow.now},
    )


def left(uow: UnitOfWork, person: Person) -> int:
    found = text("select remaining from wechat_credits where user_id = :id")
    return int(uow.session.execute(found, {"id": person.id}).scalar_one())


def test_a_credit_is_spent_by_one_message_and_the_last_one_kept_for_what_matters(
    here: UnitOfWork, town: Town
) -> None:
    officer = town["officer_a"]
    address(here, officer, "wechat_mini")

    def answered() -> UUID:
        [made] = outbox.enqueue(
            here, K.REPORT_ANSWERED, to=[officer.id], subject=("report", new_id()), params=WHAT
        )
        return made

    credits(here, officer, 2)
    first, second = answered(), answered()
    ready = take(here, C.WECHAT_MINI)
    assert ready.message.event_id == first
    assert ready.message.template_id == "MINI_1"
    assert delivering.sent(here, ready.claimed, None)
    assert left(here, officer) == 1
    assert take(here, C.WECHAT_MINI) is None
    assert states(here, second) == [("wechat_mini", "dead", "no_credit")]
    made = offer(here, officer)
    ready = take(here, C.WECHAT_MINI)
    assert (ready.message.event_id, left(here, officer)) == (made, 0)
    assert delivering.later(here, ready.claimed, "wechat_mini_busy")
    assert left(here, officer) == 1, "what was not sent was not spent"
    here.now += timedelta(seconds=delivering.LONGEST_PAUSE_S)
    assert delivering.refused(here, take(here, C.WECHAT_MINI).claimed, "wechat_not_subscribed")
    assert left(here, officer) == 0, "WeChat knows better"


# --- The desk's group


def test_the_group_robot_says_it_once_for_all(here: UnitOfWork, town: Town, elsewhere: Town) -> None:
    reach.use(everything(wecom_robots={town.code: "http://127.0.0.1:9/robot"}))
    address(here, town["desk_a"], "wecom")
    told = outbox.enqueue(
        here, K.ALARM_RAISED, to=[town["desk_a"].id, town["supervisor"].id], subject=("alarm", new_id()),
        params={"what": {"zh-CN": "越界", "en": "Left area"}},
    )  # fmt: skip
    assert sum(d.channel == "wecom_robot" for one in told for d in deliveries(here, one)) == 1
    ready = take(here, C.WECOM_ROBOT)
    assert ready.targets[0].token == "http://127.0.0.1:9/robot"
    assert ready.message.title == "告警：越界"
    assert delivering.refused(here, ready.claimed, "wecom_robot_93000")
    rows = [d for one in told for d in deliveries(here, one)]
    assert {(d.channel, d.state) for d in rows} == {("wecom_robot", "dead"), ("wecom", "waiting")}
    here.enter_town(elsewhere.id)
    told = outbox.enqueue(
        here, K.ALARM_RAISED, to=[elsewhere["desk_a"].id], subject=("alarm", new_id()), params={}
    )
    assert deliveries(here, told[0]) == [], "F41: another town's group hears nothing"


# --- The table of moves


def write(uow: UnitOfWork, town: Town, **row: Any) -> None:
    made = offer(uow, town["officer_a"])
    given = {
        "id": new_id(), "town": town.id, "notice": made, "user": town["officer_a"].id, "state": "waiting",
        "not_before_at": None, "lease_ends_at": None, "error": None, "sent_at": None, "confirmed_at": None,
        "ended_at": None,
    } | row  # fmt: skip
    with uow.attempt():
        uow.enter_town(town.id)  # A savepoint begins without one here, as a transaction would.
        uow.session.execute(
            text(
                "insert into deliveries (id, town_id, notice_id, recipient_id, channel, position, priority, state,"
                " not_before_at, lease_ends_at, error, created_at, sent_at, confirmed_at, ended_at) values (:id, :town,"
                " :notice, :user, 'sms', 0, 1, :state, :not_before_at, :lease_ends_at, :error, now(), :sent_at,"
                " :confirmed_at, :ended_at)"
            ),
            given,
        )


GOOD: dict[DeliveryState, set[str]] = {
    DeliveryState.WAITING: set(),
    DeliveryState.LEASED: {"lease_ends_at", "not_before_at"},
    DeliveryState.SENT: {"sent_at"},
    DeliveryState.CONFIRMED: {"sent_at", "confirmed_at"},
    DeliveryState.FAILED: {"ended_at", "error"},
    DeliveryState.DEAD: {"ended_at", "error"},
    DeliveryState.SKIPPED: {"ended_at", "error"},
}


@pytest.mark.parametrize("state", DeliveryState)
def test_the_schema_takes_each_state_with_its_stamps_and_without_none_of_them(
    here: UnitOfWork, town: Town, state: DeliveryState
) -> None:
    stamps: dict[str, Any] = dict.fromkeys(("lease_ends_at", "sent_at", "confirmed_at", "ended_at"), here.now)
    stamps |= {"not_before_at": here.now, "error": "x"}
    write(here, town, state=str(state), **{name: stamps[name] for name in GOOD[state]})
    for name in GOOD[state]:
        with pytest.raises(IntegrityError):
            write(here, town, state=str(state), **{n: stamps[n] for n in GOOD[state] - {name}})
    for name in {"lease_ends_at", "sent_at", "confirmed_at", "ended_at"} - GOOD[state]:
        with pytest.raises(IntegrityError):
            write(here, town, state=str(state), **{n: stamps[n] for n in GOOD[state] | {name}})


def test_every_state_is_reached_and_every_verb_has_a_function() -> None:
    reached = {DeliveryState.WAITING}
    for _ in DeliveryState:
        reached |= {target for _, sources, target in MOVES if sources & reached}
    assert reached == set(DeliveryState)
    functions = {
        "lease": delivering.claim, "postpone": delivering.later, "send": delivering.sent, "fail": delivering.refused,
        "bury": delivering.refused, "skip": outbox.withdraw, "confirm": outbox.confirm, "retry": delivering.retry,
    }  # fmt: skip
    assert {verb for verb, *_ in MOVES} == functions.keys()


PRESSES = ("claim", "sent", "later", "refused", "confirm", "read", "withdraw", "retry", "wait", "expire")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(presses=st.lists(st.sampled_from(PRESSES), max_size=12))
def test_no_sequence_of_presses_reaches_a_row_that_the_schema_forbids(
    presses: list[str], request: pytest.FixtureRequest
) -> None:
    """Whatever happens to a notice in whatever order, each step is one of the table or changes nothing."""
    town: Town = request.getfixturevalue("town")
    uow: UnitOfWork = request.getfixturevalue("here")
    officer = town["officer_a"]
    savepoint = uow.session.begin_nested()
    uow.enter_town(town.id)
    try:
        _play(uow, officer, presses)
    finally:
        savepoint.rollback()


def _play(uow: UnitOfWork, officer: Person, presses: list[str]) -> None:
    address(uow, officer, "wecom")
    address(uow, officer, "sms")
    task = new_id()
    made = offer(uow, officer, task, expires_at=uow.now + timedelta(hours=1))
    moves = {(str(a), str(b)) for _, sources, b in MOVES for a in sources}
    held: list[Any] = []
    before = {d.id: d.state for d in deliveries(uow, made)}
    for press in presses:
        if press == "claim":
            for channel in (C.WECOM, C.SMS):
                held += delivering.prepare(uow, delivering.claim(uow, channel))
        elif press in ("sent", "later", "refused") and held:
            getattr(delivering, press)(uow, held.pop(0).claimed, "code")
        elif press == "confirm":
            outbox.confirm(uow, officer.id, [made])
        elif press == "read":
            outbox.read(uow, officer.id, [made])
        elif press == "withdraw":
            outbox.withdraw(uow, ("task", task), [K.TASK_OFFERED])
        elif press == "retry":
            for row in deliveries(uow, made):
                delivering.retry(uow, row.id)
        elif press == "wait":
            uow.now += timedelta(seconds=150)
        elif press == "expire":
            uow.now += timedelta(hours=1)
        after = {d.id: d.state for d in deliveries(uow, made)}
        for delivery_id, state in after.items():
            was = before[delivery_id]
            # A press may take a row through two moves, such as leased and skipped at once.
            twice = {(a, d) for a, b in moves for c, d in moves if b == c}
            assert was == state or (was, state) in moves | twice, (press, was, state)
        before = after
