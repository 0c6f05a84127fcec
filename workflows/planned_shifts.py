"""Planned shifts: what they are in the wall time of a town, who may be planned where, and how they are written.

Nights cross midnight: a shift that ends at or before the hour at which it begins ends the next day. Who writes the
roster does it alone in the town (``alone``), so that what overlaps is known before it is written; the schema's
exclusion holds it all the same. Planned shifts are locked before the requests that are about them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from backend.core.errors import Conflict
from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import PlannedShiftState as S
from backend.core.vocabulary import Role, UserState
from backend.models import Area, Membership, PlannedShift, User
from workflows import access
from workflows.machine import Machine, step

SUPERVISOR = (Role.SUPERVISOR,)
PLANNED_SHIFT = Machine(
    "planned_shift", S.PLANNED,
    #    action    from         to           by          stamps
    step("cancel", {S.PLANNED}, S.CANCELLED, SUPERVISOR, "cancelled_at"),
    step("excuse", {S.PLANNED}, S.EXCUSED,   SUPERVISOR, "excused_at"),
)  # fmt: skip

FIELDS: Final = ("officer_id", "area_id", "kind", "remark", "begins_at", "ends_at")
LONGEST = timedelta(hours=25)
"""No planned shift is longer; a day is where clocks are put back."""


@dataclass(frozen=True)
class Wall:
    """A planned shift as the town's clocks show it."""

    day: date
    from_time: time
    until_time: time


def moments(wall: Wall, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return when a shift begins and ends. An hour that a clock change leaves out is taken as the one after it."""
    last = wall.day if wall.until_time > wall.from_time else wall.day + timedelta(days=1)
    begins, ends = (
        datetime.combine(wall.day, wall.from_time, zone),
        datetime.combine(last, wall.until_time, zone),
    )
    return begins.astimezone(UTC), ends.astimezone(UTC)


def wall_of(begins_at: datetime, ends_at: datetime, zone: ZoneInfo) -> Wall:
    """Return a planned shift as the town's clocks show it."""
    begins, ends = begins_at.astimezone(zone), ends_at.astimezone(zone)
    return Wall(begins.date(), begins.time(), ends.time())


def alone(uow: UnitOfWork) -> None:
    """Be the only one in the town who writes its roster until the transaction ends."""
    uow.session.execute(
        text("select pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"roster:{uow.town}"}
    )


class Places:
    """Who is an officer where, as far as the actor plans: officers by id, and the areas in his scope."""

    def __init__(self, uow: UnitOfWork, actor: Actor) -> None:
        rows = uow.session.execute(select(Area.id, Area.ancestors).where(Area.town_id == uow.town))
        self.ancestors = {row.id: row.ancestors for row in rows}
        self.scope = set(access.areas_in_scope(uow, actor, "manage", "roster"))
        held: dict[UUID, set[UUID]] = {}
        query = (
            select(Membership.user_id, Membership.area_id)
            .join(User, User.id == Membership.user_id)
            .where(
                Membership.role == Role.OFFICER, Membership.ended_at.is_(None), User.state == UserState.ACTIVE
            )
        )
        for row in uow.session.execute(query):
            held.setdefault(row.user_id, set()).add(row.area_id)
        self.held = held

    def is_officer_of(self, officer_id: UUID, area_id: UUID) -> bool:
        """Say whether somebody is an officer of an area, of one above it, or of one within it."""
        above = self.ancestors[area_id]
        return any(one in above or area_id in self.ancestors[one] for one in self.held.get(officer_id, ()))

    def own_area(self, officer_id: UUID) -> UUID | None:
        """Return the one area where he is an officer, if it is one and in scope."""
        mine = self.held.get(officer_id, set())
        return next(iter(mine)) if len(mine) == 1 and mine <= self.scope else None


def is_colleague(uow: UnitOfWork, actor: Actor, officer_id: UUID) -> bool:
    """Say whether somebody is an active officer where the actor is one."""
    scope = access.roots(actor, "do", "hand_over")
    query = select(User.id).where(User.id == officer_id, User.state == UserState.ACTIVE)
    return uow.session.scalar(query.where(User.id.in_(access.officers_within(scope)))) is not None


def flush(uow: UnitOfWork) -> None:
    """Write what is planned; an officer is in one place at a time.

    Raises:
        Conflict: ``shifts_overlap``.
    """
    try:
        uow.session.flush()
        uow.session.execute(text("set constraints ex_planned_shifts_officer immediate"))
    except IntegrityError as error:
        if "ex_planned_shifts_officer" in str(error.orig):
            raise Conflict("shifts_overlap", "The officer has another shift planned at that time.") from error
        raise


def later(uow: UnitOfWork) -> None:
    """Let ``flush`` look whether shifts overlap only when all of them are written: a swap would otherwise trip."""
    uow.session.execute(text("set constraints ex_planned_shifts_officer deferred"))


def read(uow: UnitOfWork, planned_id: UUID) -> PlannedShift:
    """Return a planned shift as it is now, with all that an answer shows."""
    query = select(PlannedShift).where(PlannedShift.id == planned_id).options(*access.planned_shift_parts())
    return uow.session.scalars(query.execution_options(populate_existing=True)).one()
