"""Working days of a town: weekends, public holidays, and the days that are worked in exchange (调休).

Pure. What the State Council announces for each year comes from the ``holidays`` package; what the town's own calendar
says (``towns.calendar``: ``working_days`` 1 to 7, ``holidays``, ``extra_working_days``) comes before it, so that a year
which the package does not know yet is written down by the operator.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import holidays

COUNTRIES = {"Asia/Shanghai": "CN", "Asia/Urumqi": "CN", "Asia/Hong_Kong": "HK", "Asia/Macau": "MO"}
"""Whose holidays a town keeps, by its time zone; a town elsewhere keeps those that its calendar names."""
MONDAY_TO_FRIDAY = (1, 2, 3, 4, 5)


@cache
def _public(country: str) -> holidays.HolidayBase:
    return holidays.country_holidays(country)


class Calendar:
    """Which days are worked in a town, by its calendar and time zone."""

    def __init__(self, calendar: Mapping[str, Any], zone: ZoneInfo) -> None:
        self.zone = zone
        self._weekdays = frozenset(calendar.get("working_days") or MONDAY_TO_FRIDAY)
        self._free = {date.fromisoformat(day) for day in calendar.get("holidays") or ()}
        self._worked = {date.fromisoformat(day) for day in calendar.get("extra_working_days") or ()}
        country = COUNTRIES.get(zone.key)
        self._public = _public(country) if country is not None else None

    def is_worked(self, day: date) -> bool:
        """Say whether a day is a working day."""
        if day in self._worked:
            return True
        if day in self._free:
            return False
        if self._public is not None:
            if day in self._public:
                return False
            if day in self._public.weekend_workdays:
                return True
        return day.isoweekday() in self._weekdays

    def end_after(self, moment: datetime, days: int) -> datetime:
        """Return the end of the n-th working day after the day of a moment: midnight in the town, in UTC.

        The day of the moment itself does not count, however early it is.
        """
        day = moment.astimezone(self.zone).date()
        left = days
        while left:
            day += timedelta(days=1)
            left -= self.is_worked(day)
        return datetime.combine(day + timedelta(days=1), time(), self.zone).astimezone(UTC)
