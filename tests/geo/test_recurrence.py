"""When rounds come again: by the wall of the town, when clocks change, at the ends of months, and bounded."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from dateutil import rrule
from hypothesis import given
from hypothesis import strategies as st

from geo import recurrence
from geo.recurrence import RuleError, Series

BERLIN, SHANGHAI = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Shanghai")


def series(
    rule: str,
    starts_on: date = date(2026, 1, 1),
    starts_at: time = time(8),
    ends_on: date | None = None,
    zone: ZoneInfo = BERLIN,
) -> Series:
    return Series(recurrence.parse(rule), starts_on, starts_at, ends_on, zone)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


def walls(found: list[datetime], zone: ZoneInfo = BERLIN) -> list[str]:
    return [f"{at.astimezone(zone):%m-%d %H:%M}" for at in found]


def test_the_time_on_the_wall_stays_when_the_clocks_change() -> None:
    daily = series("FREQ=DAILY")
    spring = daily.between(utc(2026, 3, 28), utc(2026, 3, 31))
    assert walls(spring) == ["03-28 08:00", "03-29 08:00", "03-30 08:00"]
    assert spring[1] - spring[0] == timedelta(hours=23)
    autumn = daily.between(utc(2026, 10, 24), utc(2026, 10, 27))
    assert walls(autumn) == ["10-24 08:00", "10-25 08:00", "10-26 08:00"]
    assert autumn[1] - autumn[0] == timedelta(hours=25)


def test_a_time_that_spring_leaves_out_is_the_same_while_after_and_one_that_comes_twice_counts_once() -> None:
    nightly = series("FREQ=DAILY", starts_at=time(2, 30))
    assert walls(nightly.between(utc(2026, 3, 28), utc(2026, 3, 31))) == [
        "03-28 02:30", "03-29 03:30", "03-30 02:30",
    ]  # fmt: skip
    autumn = nightly.between(utc(2026, 10, 24), utc(2026, 10, 27))
    assert walls(autumn) == ["10-24 02:30", "10-25 02:30", "10-26 02:30"]
    assert autumn[1] == utc(2026, 10, 25, 0, 30), "the first of the two"
    both = series("FREQ=DAILY;BYHOUR=2,3;BYMINUTE=30")
    assert len(both.between(utc(2026, 3, 28, 12), utc(2026, 3, 29, 12))) == 1, "two walls, one moment"
    crossed = series("FREQ=DAILY;BYHOUR=2,3;BYMINUTE=15,45").between(
        utc(2026, 3, 28, 12), utc(2026, 3, 29, 12)
    )
    assert walls(crossed) == ["03-29 03:15", "03-29 03:45"]


def test_months_without_the_day_are_passed_over_and_the_last_day_is_in_each() -> None:
    start = utc(2027, 12, 31, 23)
    assert walls(series("FREQ=MONTHLY;BYMONTHDAY=31").next(start, 4)) == [
        "01-31 08:00", "03-31 08:00", "05-31 08:00", "07-31 08:00",
    ]  # fmt: skip
    assert walls(series("FREQ=MONTHLY;BYMONTHDAY=-1").next(start, 4)) == [
        "01-31 08:00", "02-29 08:00", "03-31 08:00", "04-30 08:00",
    ]  # fmt: skip
    assert walls(series("FREQ=MONTHLY", starts_on=date(2026, 1, 31)).next(start, 2)) == [
        "01-31 08:00", "03-31 08:00",
    ]  # fmt: skip


def test_a_leap_day_comes_in_leap_years() -> None:
    leap = series("FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=29").next(utc(2026, 1, 1), 3)
    assert [at.year for at in leap] == [2028, 2032, 2036]


def test_the_first_and_the_last_day_a_count_and_an_until_bound_what_comes() -> None:
    start, end = utc(2025, 1, 1), utc(2027, 1, 1)
    bounded = series("FREQ=DAILY", ends_on=date(2026, 1, 3))
    assert walls(bounded.between(start, end)) == ["01-01 08:00", "01-02 08:00", "01-03 08:00"]
    assert walls(series("FREQ=DAILY;UNTIL=20260102").between(start, end)) == ["01-01 08:00", "01-02 08:00"]
    assert len(series("FREQ=DAILY;COUNT=7").between(start, end)) == 7
    assert len(series("FREQ=DAILY;COUNT=7").between(utc(2026, 1, 5), end)) == 3, "the past counts"
    assert bounded.next(end, 1) == []


TEXTS = st.builds(
    lambda frequency, interval, more: f"FREQ={frequency};INTERVAL={interval}{more}",
    st.sampled_from(["DAILY", "WEEKLY", "MONTHLY"]),
    st.integers(1, 12),
    st.sampled_from(["", ";BYHOUR=1,2,3,22", ";BYHOUR=0,12;BYMINUTE=0,30", ";WKST=SU", ";COUNT=40"]),
)
WEEKLY = st.builds(
    lambda interval, days, start: (
        f"FREQ=WEEKLY;INTERVAL={interval};BYDAY={','.join(sorted(days))};WKST={start}"
    ),
    st.integers(1, 5),
    st.sets(st.sampled_from(["MO", "WE", "FR", "SU"]), min_size=1),
    st.sampled_from(["MO", "SU"]),
)


@given(st.one_of(TEXTS, WEEKLY), st.dates(date(2015, 1, 1), date(2026, 6, 1)), st.integers(0, 400))
def test_what_comes_after_some_day_is_what_a_count_from_the_beginning_says(
    rule: str, starts_on: date, later: int
) -> None:
    """Beginning near the day that is asked for changes nothing; dateutil from the very beginning is the other way."""
    after = utc(2026, 1, 1) + timedelta(days=later)
    until = after + timedelta(days=70)
    found = series(rule, starts_on, time(8, 10), zone=SHANGHAI).between(after, until)
    begin = datetime.combine(starts_on, time(8, 10))
    whole = rrule.rrulestr(rule, dtstart=begin)
    last = until.astimezone(SHANGHAI).replace(tzinfo=None)
    said = [
        wall.replace(tzinfo=SHANGHAI).astimezone(UTC)
        for wall in whole.between(after.astimezone(SHANGHAI).replace(tzinfo=None), last, inc=True)
    ]
    assert found == [at for at in said if after < at <= until]
    assert series(rule, starts_on, time(8, 10), zone=SHANGHAI).next(after, 3)[: len(found)] == found[:3]


@given(st.one_of(TEXTS, WEEKLY), st.integers(0, 700), st.integers(1, 700))
def test_spans_that_meet_give_each_moment_once(rule: str, first_h: int, second_h: int) -> None:
    """The clock asks from where it left off; nothing falls between, and nothing comes twice."""
    begin = utc(2026, 3, 10)
    middle, end = begin + timedelta(hours=first_h), begin + timedelta(hours=first_h + second_h)
    one = series(rule, date(2026, 1, 31), time(2, 30))
    found = one.between(begin, middle) + one.between(middle, end)
    assert found == one.between(begin, end) == sorted(set(found))


@pytest.mark.parametrize(
    ("rule", "says"),
    {
        "": "parts like",
        "DAILY": "parts like",
        "FREQ=DAILY;": "parts like",
        "FREQ=DAILY\nDTSTART=20260101": "parts like",
        "FREQ=DAILY;DTSTART=20260101": "not taken",
        "FREQ=SECONDLY": "FREQ has to be",
        "FREQ=HOURLY": "FREQ has to be",
        "INTERVAL=2": "FREQ has to be",
        "FREQ=DAILY;FREQ=WEEKLY": "twice",
        "FREQ=DAILY;INTERVAL=0": "between 1 and 99",
        "FREQ=DAILY;INTERVAL=99999999999": "between 1 and 99",
        "FREQ=DAILY;COUNT=100000": "between 1 and 1000",
        "FREQ=DAILY;COUNT=2;UNTIL=20260101": "do not go together",
        "FREQ=DAILY;UNTIL=20261301": "UNTIL is a day",
        "FREQ=DAILY;BYSETPOS=1": "not taken",
        "FREQ=DAILY;BYHOUR=24": "between 0 and 23",
        "FREQ=DAILY;BYHOUR=1,1": "twice",
        "FREQ=DAILY;BYDAY=2MO": "Only with FREQ=MONTHLY",
        "FREQ=DAILY;INTERVAL=7;BYDAY=MO": "INTERVAL=1",
        "FREQ=WEEKLY;INTERVAL=2;BYMONTH=2": "INTERVAL=1",
        "FREQ=WEEKLY;BYMONTHDAY=1": "FREQ=MONTHLY",
        "FREQ=MONTHLY;BYMONTHDAY=0": "counts from 1",
        "FREQ=MONTHLY;BYMONTHDAY=1;BYDAY=5MO": "no number",
        "FREQ=MONTHLY;BYDAY=XX": "names weekdays",
        "FREQ=MONTHLY;BYDAY=9MO": "names weekdays",
        "FREQ=DAILY;WKST=1": "WKST",
        "FREQ=DAILY;BYHOUR=" + ",".join(map(str, range(24))) + ";BYMINUTE=0,1,2": "times a day",
        "FREQ=DAILY;BYMINUTE=" + "1," * 200: "at most 200",
    }.items(),
)  # fmt: skip
def test_a_rule_that_is_not_taken_says_why(rule: str, says: str) -> None:
    with pytest.raises(RuleError, match=says):
        recurrence.parse(rule)


NEVER = [
    ("FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30", date(2026, 1, 1)),
    ("FREQ=MONTHLY;BYMONTH=4,6;BYMONTHDAY=31", date(2026, 1, 1)),
    ("FREQ=MONTHLY;INTERVAL=2;BYMONTH=2", date(2026, 1, 1)),
    ("FREQ=MONTHLY;INTERVAL=12", date(2026, 2, 1).replace(month=4)),
    ("FREQ=MONTHLY;INTERVAL=8;BYMONTHDAY=29;BYMONTH=2", date(2027, 2, 1)),
]


@pytest.mark.parametrize(("rule", "starts_on"), [NEVER[0], NEVER[1], NEVER[2], NEVER[4]])
def test_a_rule_that_never_comes_is_refused_and_not_searched_for(rule: str, starts_on: date) -> None:
    """F70: dateutil would look through eight thousand years for it."""
    with pytest.raises(RuleError, match="No day fits"):
        series(rule, starts_on)
    with pytest.raises(RuleError, match="No day fits"):
        series("FREQ=DAILY;UNTIL=20251231")
    assert series(*NEVER[3]).next(utc(2026, 1, 1), 1), "one that does come is taken"


@given(
    st.sampled_from(["DAILY", "WEEKLY", "MONTHLY"]),
    st.integers(1, 12),
    st.lists(st.sampled_from(["MO", "TU", "5MO", "-5SU"]), unique=True, max_size=2),
    st.lists(st.integers(-31, 31).filter(bool), unique=True, max_size=2),
    st.lists(st.integers(1, 12), unique=True, max_size=2),
    st.dates(date(2000, 1, 1), date(2027, 12, 31)),
)
def test_no_rule_that_is_taken_makes_the_machine_look_for_long(
    frequency: str, interval: int, days: list[str], month_days: list[int], months: list[int], starts_on: date
) -> None:
    """F70: at most so many months are gone through until the next moment, or the end of the century."""
    lists = {"BYDAY": days, "BYMONTHDAY": month_days, "BYMONTH": months}
    parts = [f"{name}={','.join(map(str, values))}" for name, values in lists.items() if values]
    text = ";".join([f"FREQ={frequency}", f"INTERVAL={interval}", *parts])
    turns = 0
    rebuild = rrule._iterinfo.rebuild

    def counted(info: object, year: int, month: int) -> None:
        nonlocal turns
        turns += 1
        rebuild(info, year, month)

    try:
        one = series(text, starts_on)
    except RuleError:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rrule._iterinfo, "rebuild", counted)
        one.next(utc(2026, 6, 1), 1)
    assert turns < 20_000
