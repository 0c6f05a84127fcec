"""What the live channel asks of the database: who still holds a session, what he may watch, what became of a shift.

It only looks. Sockets live for hours, so each right that a socket was opened with is looked at again: when somebody
announces a change, every few seconds for all of them at once, and at each renewal of the token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Row, or_, select, text

from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import EndedBy, UserState
from backend.models import Shift
from notifications import recipients
from workflows import access

MAXIMUM_EVENTS = 5000

HOLDINGS = text("""
select s.id, coalesce(string_agg(h.held, ',' order by h.held collate "C"), '') as held
from sessions s
join users u on u.id = s.user_id
left join lateral (
  select concat_ws(':', m.role, coalesce(m.area_id::text, ''), coalesce(m.department_id::text, ''),
                   coalesce(m.officer_kind, '')) as held
  from memberships m where m.user_id = s.user_id and m.ended_at is null
) h on true
where s.id = any(:ids) and s.revoked_at is null and s.expires_at > :now and u.state = :active
group by s.id
""")


@dataclass(frozen=True, slots=True)
class ShiftEvent:
    """What watchers of ``area_id`` are told: something happened to this officer's shift. They fetch the rest."""

    area_id: UUID
    officer_id: UUID
    shift_id: UUID
    action: str
    """``start``, ``end`` (by himself, his crew or the desk) or ``close`` (by the clock)."""
    version: int


def holdings(uow: UnitOfWork, session_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Return, for each of the sessions that is still open, what its user holds, as one comparable text.

    A session that is missing in the answer was revoked, has run out or belongs to a disabled account. A text that
    differs from the last one means that roles or areas have changed.
    """
    found = uow.session.execute(
        HOLDINGS, {"ids": list(session_ids), "now": uow.now, "active": UserState.ACTIVE.value}
    )
    return {row.id: row.held for row in found}


def holding(actor: Actor) -> str:
    """Return what an actor holds, as the text that ``holdings`` returns for each of his sessions."""
    return ",".join(
        sorted(
            f"{m.role}:{m.area_id or ''}:{m.department_id or ''}:{m.officer_kind or ''}"
            for m in actor.memberships
        )
    )


def shift_events_since(uow: UnitOfWork, moment: datetime) -> list[ShiftEvent]:
    """Return what happened to the town's shifts after ``moment``: the catch-up for announcements that were missed."""
    rows = uow.session.execute(
        _EVENTS.where(
            Shift.town_id == uow.town,
            Shift.started_at > moment - access.LONGEST_SHIFT,
            or_(Shift.started_at > moment, Shift.ended_at > moment),
        ).limit(MAXIMUM_EVENTS)
    )
    return [_event(row) for row in rows]


_EVENTS = select(Shift.id, Shift.area_id, Shift.officer_id, Shift.ended_at, Shift.ended_by, Shift.version)


def _event(row: Row[UUID, UUID, UUID, datetime | None, str | None, int]) -> ShiftEvent:
    action = "start" if row.ended_at is None else "close" if row.ended_by == EndedBy.SYSTEM else "end"
    return ShiftEvent(recipients.room_of_shift(row.area_id), row.officer_id, row.id, action, row.version)
