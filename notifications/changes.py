"""What people see has changed: told at the commit to the live channel of every process, as a hint and never the thing.

Whoever hears it fetches what he may see. Who hears it, ``recipients`` says.
"""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from backend.core import listen
from backend.core.uow import UnitOfWork
from backend.models import Shift
from notifications import recipients
from notifications.recipients import Hearers

TOLD_AT_ONCE = 100
"""So many people one notification names: PostgreSQL carries 8,000 bytes at most."""


class Row(Protocol):
    """What has changed."""

    id: UUID
    version: int


def tell(uow: UnitOfWork, kind: str, row: Row, action: str, *, to: Hearers) -> None:
    """Say that a row of the town has changed, by ``action``, to the desks of an area and to people by name."""
    people = [str(one) for one in to.user_ids]
    parts = [people[start : start + TOLD_AT_ONCE] for start in range(0, len(people), TOLD_AT_ONCE)] or [[]]
    uow.notify_each(
        listen.CHANGES,
        [
            {
                "town_id": uow.town, "kind": kind, "id": row.id, "version": row.version,
                "area_id": to.area_id if n == 0 else None, "user_ids": part, "action": action,
            }
            for n, part in enumerate(parts)
        ],
    )  # fmt: skip


def tell_of_shift(uow: UnitOfWork, shift: Shift, action: str) -> None:
    """Say what happened to a shift: to the desks that watch it, and to every process that remembers who is on duty."""
    uow.notify(
        listen.SHIFTS,
        {
            "town_id": shift.town_id,
            "officer_id": shift.officer_id,
            "shift_id": shift.id,
            "area_id": recipients.room_of_shift(shift.area_id),
            "action": action,
            "version": shift.version,
        },
    )
