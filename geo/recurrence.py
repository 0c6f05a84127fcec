"""When something comes round again: a small part of RFC 5545's rules, in the wall time of a zone.

dateutil expands the rules. What is accepted is what people plan rounds by, and no rule of it can keep the machine
busy: the parts that leave days out stand where they cannot leave out all of them, a day has a bounded number of times,
and whoever asks for the moments after some day does not pay for the years before it.

A wall time that a zone leaves out in spring is the same while after the change, as RFC 5545 has it; one that comes
twice in autumn counts the first time. Two wall times that are one moment are one occurrence.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from dateutil import rrule

LONGEST = 200
MOST_A_DAY = 48
MOST_COUNT = 1000
LATEST: Final = date(2100, 1, 1)
_FREQUENCIES: Final = {"DAILY": rrule.DAILY, "WEEKLY": rrule.WEEKLY, "MONTHLY": rrule.MONTHLY}
_MOST_INTERVAL: Final = {"DAILY": 99, "WEEKLY": 52, "MONTHLY": 12}
_DAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_MONTH_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PARTS: Final = frozenset(
    {"FREQ", "INTERVAL", "BYDAY", "BYMONTHDAY", "BYMONTH", "BYHOUR", "BYMINUTE", "COUNT", "UNTIL", "WKST"}
)
_LARGEST_GAP_DAYS: Final = 2
"""A change of the clocks moves no moment by more than this."""


class RuleError(ValueError):
    """A rule that is not taken, and why, in one sentence."""


@dataclass(frozen=True)
class Rule:
    """A rule that was looked at. Weekdays are (0 for Monday … 6, ordinal or None); ``until`` is the last day."""

    frequency: str
    interval: int
    weekdays: tuple[tuple[int, int | None], ...]
    month_days: tuple[int, ...]
    months: tuple[int, ...]
    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    count: int | None
    until: date | None
    week_starts: int


@dataclass(frozen=True)
class Series:
    """A rule with its beginning: what comes, and when. Days and times are those of the wall in ``zone``."""

    rule: Rule
    starts_on: date
    starts_at: time
    ends_on: date | None
    zone: ZoneInfo

    def __post_init__(self) -> None:
        """Refuse what never comes.

        Raises:
            RuleError: it is so.
        """
        if not self._can_come():
            raise RuleError("No day fits this rule.")

    def between(self, after: datetime, until: datetime) -> list[datetime]:
        """Return the moments after ``after``, and not after ``until``, in their order, each once."""
        margin = timedelta(days=_LARGEST_GAP_DAYS)
        last = until.astimezone(self.zone).replace(tzinfo=None) + margin
        walls = itertools.takewhile(lambda wall: wall <= last, self._walls(self._wall(after) - margin))
        return sorted({at for at in map(self._moment, walls) if after < at <= until})

    def next(self, after: datetime, most: int) -> list[datetime]:
        """Return the first ``most`` moments after ``after``, in their order, each once."""
        margin = timedelta(days=_LARGEST_GAP_DAYS)
        # As many more as the days around a change of the clocks can hold: there the order of the wall is another one.
        walls = itertools.islice(
            self._walls(self._wall(after) - margin), most + MOST_A_DAY * 2 * (_LARGEST_GAP_DAYS + 1)
        )
        return sorted({at for at in map(self._moment, walls) if at > after})[:most]

    def _wall(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone).replace(tzinfo=None)

    def _moment(self, wall: datetime) -> datetime:
        return wall.replace(tzinfo=self.zone, fold=0).astimezone(UTC)

    def _walls(self, near: datetime) -> Iterator[datetime]:
        """Return the wall times from about ``near`` on; all of them where the rule counts."""
        rule = self.rule
        last_day = min(one for one in (rule.until, self.ends_on, LATEST) if one is not None)
        last = datetime.combine(last_day, time(23, 59))
        begin = datetime.combine(self.starts_on, self.starts_at)
        from_day = self.starts_on if rule.count is not None else self._nearer(near.date())
        days: dict[str, Any] = {}
        if rule.frequency == "MONTHLY" and not rule.month_days and not rule.weekdays:
            days["bymonthday"] = self.starts_on.day
        elif rule.frequency == "WEEKLY" and not rule.weekdays:
            days["byweekday"] = self.starts_on.weekday()
        found = rrule.rrule(
            _FREQUENCIES[rule.frequency],
            dtstart=begin if from_day == self.starts_on else datetime.combine(from_day, time()),
            interval=rule.interval,
            wkst=rule.week_starts,
            count=rule.count,
            # What counts is bounded by its count, and its end is looked for below; dateutil takes one of the two.
            until=last if rule.count is None else None,
            bymonth=rule.months or None,
            bymonthday=days.get("bymonthday", rule.month_days or None),
            byweekday=days.get("byweekday", [rrule.weekday(day, n) for day, n in rule.weekdays] or None),
            byhour=rule.hours or self.starts_at.hour,
            byminute=rule.minutes or self.starts_at.minute,
            bysecond=0,
        )
        return itertools.takewhile(lambda wall: wall <= last, found)

    def _nearer(self, near: date) -> date:
        """Return a day not after ``near`` from where the rule goes on as from its beginning."""
        rule, begin = self.rule, self.starts_on
        if near <= begin:
            return begin
        if rule.frequency == "DAILY":
            return begin + timedelta(days=(near - begin).days // rule.interval * rule.interval)
        if rule.frequency == "WEEKLY":
            first = begin - timedelta(days=(begin.weekday() - rule.week_starts) % 7)
            weeks = (near - first).days // 7 // rule.interval * rule.interval
            return begin if weeks == 0 else first + timedelta(weeks=weeks)
        months = (near.year - begin.year) * 12 + near.month - begin.month
        months = months // rule.interval * rule.interval
        if months == 0:
            return begin
        index = begin.year * 12 + begin.month - 1 + months
        return date(index // 12, index % 12 + 1, 1)

    def _can_come(self) -> bool:
        """Say whether some day fits; what is left then comes within a lifetime, and mostly within a month."""
        rule = self.rule
        if any(last is not None and last < self.starts_on for last in (self.ends_on, rule.until)):
            return False
        step = math.gcd(rule.interval, 12) if rule.frequency == "MONTHLY" else 1
        reached = {(self.starts_on.month - 1 + k * step) % 12 + 1 for k in range(12)}
        months = reached & set(rule.months) if rule.months else reached
        days = rule.month_days
        if rule.frequency == "MONTHLY" and not days:
            # Every month has four of each weekday, and a fifth where it has a 29th day.
            days = tuple(29 if abs(n or 1) == 5 else 1 for _, n in rule.weekdays) or (self.starts_on.day,)
        if not days:
            return bool(months)
        yearly = rule.frequency != "MONTHLY" or 12 % rule.interval == 0
        longest = {m: 28 if m == 2 and not yearly else _MONTH_DAYS[m - 1] for m in months}
        return any(abs(day) <= longest[m] for m in months for day in days)


def parse(text: str) -> Rule:
    """Read a rule such as ``FREQ=WEEKLY;BYDAY=MO,TH;BYHOUR=8,20``.

    Raises:
        RuleError: it is no such rule, or says more than is taken here.
    """
    parts = _parts(text)
    frequency = parts.get("FREQ", "")
    if frequency not in _FREQUENCIES:
        raise RuleError("FREQ has to be DAILY, WEEKLY or MONTHLY.")
    if "COUNT" in parts and "UNTIL" in parts:
        raise RuleError("COUNT and UNTIL do not go together.")
    rule = Rule(
        frequency=frequency,
        interval=_number("INTERVAL", parts.get("INTERVAL", "1"), 1, _MOST_INTERVAL[frequency]),
        weekdays=tuple(_weekday(one, frequency) for one in _list(parts, "BYDAY")),
        month_days=_numbers(parts, "BYMONTHDAY", -31, 31),
        months=_numbers(parts, "BYMONTH", 1, 12),
        hours=_numbers(parts, "BYHOUR", 0, 23),
        minutes=_numbers(parts, "BYMINUTE", 0, 59),
        count=_number("COUNT", parts["COUNT"], 1, MOST_COUNT) if "COUNT" in parts else None,
        until=_day(parts["UNTIL"]) if "UNTIL" in parts else None,
        week_starts=_week_start(parts.get("WKST", "MO")),
    )
    if 0 in rule.month_days:
        raise RuleError("BYMONTHDAY counts from 1, or backwards from -1.")
    if rule.month_days and frequency != "MONTHLY":
        raise RuleError("BYMONTHDAY goes with FREQ=MONTHLY.")
    if rule.month_days and any(number for _, number in rule.weekdays):
        raise RuleError("BYMONTHDAY goes with weekdays that have no number.")
    if rule.weekdays and frequency == "DAILY" and rule.interval > 1:
        raise RuleError("BYDAY with FREQ=DAILY goes with INTERVAL=1; FREQ=WEEKLY has weekdays.")
    if rule.months and frequency != "MONTHLY" and rule.interval > 1:
        raise RuleError(f"BYMONTH with FREQ={frequency} goes with INTERVAL=1.")
    if max(len(rule.hours), 1) * max(len(rule.minutes), 1) > MOST_A_DAY:
        raise RuleError(f"At most {MOST_A_DAY} times a day.")
    return rule


def _parts(text: str) -> dict[str, str]:
    if len(text) > LONGEST:
        raise RuleError(f"A rule has at most {LONGEST} characters.")
    parts: dict[str, str] = {}
    for part in text.split(";"):
        found = re.fullmatch(r"([A-Z]+)=([A-Z0-9,+-]+)", part, re.ASCII)
        if found is None:
            raise RuleError("A rule is made of parts like FREQ=DAILY, with semicolons between them.")
        if found[1] not in _PARTS:
            raise RuleError(f"{found[1][:20]} is not taken here.")
        if found[1] in parts:
            raise RuleError(f"{found[1]} stands there twice.")
        parts[found[1]] = found[2]
    return parts


def _list(parts: dict[str, str], name: str) -> list[str]:
    found = parts[name].split(",") if name in parts else []
    if len(set(found)) < len(found):
        raise RuleError(f"{name} names something twice.")
    return found


def _numbers(parts: dict[str, str], name: str, least: int, most: int) -> tuple[int, ...]:
    return tuple(sorted({_number(name, one, least, most) for one in _list(parts, name)}))


def _number(name: str, text: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[+-]?\d{1,4}", text, re.ASCII) or not least <= int(text) <= most:
        raise RuleError(f"{name} has to be between {least} and {most}.")
    return int(text)


def _weekday(text: str, frequency: str) -> tuple[int, int | None]:
    found = re.fullmatch(r"([+-]?[1-5])?(MO|TU|WE|TH|FR|SA|SU)", text, re.ASCII)
    if found is None:
        raise RuleError("BYDAY names weekdays such as MO, or with FREQ=MONTHLY 1MO or -1FR.")
    if found[1] and frequency != "MONTHLY":
        raise RuleError("Only with FREQ=MONTHLY has a weekday a number.")
    return _DAYS.index(found[2]), int(found[1]) if found[1] else None


def _week_start(text: str) -> int:
    if text not in _DAYS:
        raise RuleError("WKST names a weekday such as MO.")
    return _DAYS.index(text)


def _day(text: str) -> date:
    try:
        if not re.fullmatch(r"\d{8}", text, re.ASCII):
            raise ValueError
        return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 (a day of the town's wall)
    except ValueError:
        raise RuleError("UNTIL is a day such as 20261231, and belongs to the span.") from None
