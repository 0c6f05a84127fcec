"""Actual against planned: what became of each planned shift, by the shifts that its officer really did.

``judge`` is pure: one officer's plans and shifts in, and of each plan what became of it; every shift belongs to a plan
or is told as unplanned. It lowers nothing and blames nobody: it says minutes, and people read them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, exists, func, literal, or_, select, union_all
from sqlalchemy.orm import aliased, joinedload

from backend.core.errors import Invalid
from backend.core.identity import Actor
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Attendance, PlannedShiftState
from backend.models import Area, PlannedShift, Shift
from workflows import access

SLIGHT = timedelta(minutes=30)
"""A shift that reaches so far into a plan belongs to it, also where another plan has more of it: he did both. With less
he came early for the next, or stayed on after the last."""
LONGEST_SPAN = timedelta(days=62)
AROUND = timedelta(hours=49)
"""So far around a page plans and shifts are looked at: no shift is longer than 48 hours, no plan than 25."""


@dataclass(frozen=True)
class Bounds:
    """From how much on somebody is late, or has left early."""

    late_after: timedelta
    early_after: timedelta


@dataclass(frozen=True)
class Planned:
    """When an officer is to be on duty."""

    id: UUID
    begins_at: datetime
    ends_at: datetime


@dataclass(frozen=True)
class Done:
    """When he was; without an end he still is."""

    id: UUID
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class Kept:
    """What became of a plan: whole seconds late and left early, 0 within the bounds, and away between two shifts."""

    state: Attendance
    shift_ids: tuple[UUID, ...] = ()
    came_at: datetime | None = None
    left_at: datetime | None = None
    late_s: int = 0
    left_early_s: int = 0
    away_s: int = 0


def overlap(plan: Planned, shift: Done, now: datetime) -> timedelta:
    """Return how long a shift and a plan are at the same time."""
    both = min(plan.ends_at, shift.ended_at or now) - max(plan.begins_at, shift.started_at)
    return max(both, timedelta(0))


def judge(
    planned: Iterable[Planned], done: Iterable[Done], now: datetime, bounds: Bounds
) -> tuple[dict[UUID, Kept], list[UUID]]:
    """Return what became of each of one officer's plans, and which of his shifts nobody had planned.

    A shift belongs to the plan that has most of it, and to each that has ``SLIGHT`` of it or more.
    """
    plans = sorted(planned, key=lambda one: (one.begins_at, one.id))
    of_plan: dict[UUID, list[Done]] = defaultdict(list)
    unplanned: list[UUID] = []
    for shift in sorted(done, key=lambda one: (one.started_at, one.id)):
        shared = {plan.id: overlap(plan, shift, now) for plan in plans}
        most = max(shared.values(), default=timedelta(0))
        if not most:
            unplanned.append(shift.id)
            continue
        first = next(plan.id for plan in plans if shared[plan.id] == most)
        for plan in plans:
            if plan.id == first or shared[plan.id] >= SLIGHT:
                of_plan[plan.id].append(shift)
    return {plan.id: _kept(plan, of_plan[plan.id], now, bounds) for plan in plans}, unplanned


def _kept(plan: Planned, shifts: Sequence[Done], now: datetime, bounds: Bounds) -> Kept:
    if not shifts:
        if now >= plan.ends_at:
            return Kept(Attendance.ABSENT)
        waited = now > plan.begins_at + bounds.late_after
        return Kept(Attendance.MISSING if waited else Attendance.AWAITED)
    came_at = shifts[0].started_at
    ends = [shift.ended_at for shift in shifts]
    left_at = None if None in ends else max(end for end in ends if end is not None)
    late, early = came_at - plan.begins_at, timedelta(0) if left_at is None else plan.ends_at - left_at
    return Kept(
        Attendance.PRESENT,
        tuple(shift.id for shift in shifts),
        came_at,
        left_at,
        _seconds(late) if late > bounds.late_after else 0,
        _seconds(early) if early > bounds.early_after else 0,
        _seconds(_away(plan, shifts, now)),
    )


def _away(plan: Planned, shifts: Sequence[Done], now: datetime) -> timedelta:
    """Return how long he was off duty between his shifts, as far as that was in the planned time."""
    away, until = timedelta(0), shifts[0].ended_at or now
    for shift in shifts[1:]:
        gap = min(shift.started_at, plan.ends_at) - max(until, plan.begins_at)
        away += max(gap, timedelta(0))
        until = max(until, shift.ended_at or now)
    return away


def _seconds(time: timedelta) -> int:
    return int(time.total_seconds())


# --- The desk's look


@dataclass(frozen=True)
class Row:
    """A planned shift and what became of it, or a shift that nobody had planned."""

    id: UUID
    at: datetime
    kept: Kept
    planned: PlannedShift | None
    shift: Shift | None


def listed(
    uow: UnitOfWork,
    actor: Actor,
    bounds: Bounds,
    *,
    since: datetime,
    until: datetime,
    area_id: UUID | None = None,
    officer_id: UUID | None = None,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Row]:
    """Return what was planned in the actor's areas to begin in ``[since, until)``, and what was done there unplanned.

    In the order in which they begin. What was cancelled is left out; who came although he was excused came unplanned.

    Raises:
        Invalid: the span is longer than ``LONGEST_SPAN``.
    """
    if until - since > LONGEST_SPAN:
        raise Invalid(f"At most {LONGEST_SPAN.days} days.", until=["too far"])
    scope = access.roots(actor, "see", "roster")
    plan = aliased(PlannedShift)
    planned_then = exists().where(
        plan.officer_id == Shift.officer_id,
        plan.state == PlannedShiftState.PLANNED,
        plan.begins_at < func.coalesce(Shift.ended_at, uow.now),
        plan.ends_at > Shift.started_at,
        plan.begins_at > Shift.started_at - AROUND,
    )
    in_plan = [
        PlannedShift.begins_at >= since,
        PlannedShift.begins_at < until,
        PlannedShift.state != PlannedShiftState.CANCELLED,
        access.within(PlannedShift.area_id, scope),
    ]
    in_fact = [
        Shift.started_at >= since,
        Shift.started_at < until,
        ~planned_then,
        access.within(Shift.area_id, scope),
    ]
    if area_id is not None:
        in_plan.append(access.within(PlannedShift.area_id, [area_id]))
        in_fact.append(access.within(Shift.area_id, [area_id]))
    if officer_id is not None:
        in_plan.append(PlannedShift.officer_id == officer_id)
        in_fact.append(Shift.officer_id == officer_id)
    both = union_all(
        select(PlannedShift.id, PlannedShift.begins_at.label("at"), literal(True).label("is_planned")).where(
            PlannedShift.town_id == uow.town, and_(*in_plan)
        ),
        select(Shift.id, Shift.started_at, literal(False)).where(Shift.town_id == uow.town, and_(*in_fact)),
    ).subquery()
    query = select(both.c.id, both.c.at, both.c.is_planned)
    if key := moment_and_id(after):
        query = query.where(or_(both.c.at > key[0], (both.c.at == key[0]) & (both.c.id > key[1])))
    found = uow.session.execute(query.order_by(both.c.at, both.c.id).limit(limit + 1)).all()
    rows = page(found, limit, lambda row: (row.at.isoformat(), row.id))
    plans = _plans(uow, [row.id for row in rows.items if row.is_planned])
    shifts = _shifts(uow, [row.id for row in rows.items if not row.is_planned])
    kept = _judged(uow, list(plans.values()), bounds)
    shown = []
    for row in rows.items:
        if row.is_planned:
            shown.append(Row(row.id, row.at, kept[row.id], plans[row.id], None))
        else:
            shift = shifts[row.id]
            alone = Kept(Attendance.UNPLANNED, (shift.id,), shift.started_at, shift.ended_at)
            shown.append(Row(row.id, row.at, alone, None, shift))
    return Page(shown, rows.after)


def _plans(uow: UnitOfWork, ids: Sequence[UUID]) -> dict[UUID, PlannedShift]:
    query = select(PlannedShift).where(PlannedShift.id.in_(ids)).options(*access.planned_shift_parts())
    return {one.id: one for one in uow.session.scalars(query)}


def _shifts(uow: UnitOfWork, ids: Sequence[UUID]) -> dict[UUID, Shift]:
    query = select(Shift).where(Shift.id.in_(ids))
    query = query.options(joinedload(Shift.officer), joinedload(Shift.area).defer(Area.geom))
    return {one.id: one for one in uow.session.scalars(query)}


def _judged(uow: UnitOfWork, shown: Sequence[PlannedShift], bounds: Bounds) -> dict[UUID, Kept]:
    """Judge the plans of a page by all that their officers had planned and did around it."""
    if not shown:
        return {}
    officer_ids = {one.officer_id for one in shown}
    first, last = min(one.begins_at for one in shown), max(one.ends_at for one in shown)
    planned: dict[UUID, list[Planned]] = defaultdict(list)
    done: dict[UUID, list[Done]] = defaultdict(list)
    for row in uow.session.execute(
        select(PlannedShift.officer_id, PlannedShift.id, PlannedShift.begins_at, PlannedShift.ends_at).where(
            PlannedShift.officer_id.in_(officer_ids),
            PlannedShift.state == PlannedShiftState.PLANNED,
            PlannedShift.begins_at.between(first - AROUND, last + AROUND),
        )
    ):
        planned[row.officer_id].append(Planned(row.id, row.begins_at, row.ends_at))
    for fact in uow.session.execute(
        select(Shift.officer_id, Shift.id, Shift.started_at, Shift.ended_at).where(
            Shift.officer_id.in_(officer_ids), Shift.started_at.between(first - AROUND, last + AROUND)
        )
    ):
        done[fact.officer_id].append(Done(fact.id, fact.started_at, fact.ended_at))
    kept = {one.id: Kept(Attendance.EXCUSED) for one in shown if one.state == PlannedShiftState.EXCUSED}
    for officer_id in officer_ids:
        kept |= judge(planned[officer_id], done[officer_id], uow.now, bounds)[0]
    return kept
