"""Planned shifts: what tests of the roster begin with."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count
from typing import Any

from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.models import PlannedShift
from tests.factories import Person, Town

_later = count(1)
HOURS = timedelta(hours=8)


def make_planned(
    uow: UnitOfWork,
    town: Town,
    person: Person,
    at: datetime | None = None,
    lasts: timedelta = HOURS,
    **more: Any,
) -> PlannedShift:
    """Write a planned shift of eight hours; without ``at`` on a day of its own to come."""
    begins_at = at or uow.now + timedelta(days=next(_later))
    area = more.pop("area", "a")
    made = PlannedShift(
        id=new_id(), town_id=town.id, officer_id=person.id, area_id=town.areas[area], begins_at=begins_at,
        ends_at=begins_at + lasts, created_at=uow.now, version=1, **{"kind": "day", "state": "planned", **more},
    )  # fmt: skip
    uow.session.add(made)
    uow.session.flush()
    return made
