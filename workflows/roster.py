"""The roster: who is planned to be on duty when. The desk plans, changes and cancels.

Beside it: ``planned_shifts`` (what they are and how they are written), ``roster_requests`` (what officers ask),
``roster_import`` (files), ``attendance`` (what became of it).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select

from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, Stale, WrongState
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import PlannedShiftState as S
from backend.models import PlannedShift
from notifications import changes, recipients
from workflows import access, journal, planned_shifts, roster_requests, telling
from workflows.planned_shifts import (
    FIELDS,
    LONGEST,
    PLANNED_SHIFT,
    Places,
    alone,
    flush,
    is_colleague,
    later,
    read,
)
from workflows.plans import zone_of

LONGEST_SPAN = timedelta(days=62)


# --- Looks


def listed(
    uow: UnitOfWork,
    actor: Actor,
    *,
    since: date,
    until: date,
    area_id: UUID | None = None,
    officer_id: UUID | None = None,
    cancelled: bool = False,
    after: Sequence[str] | None,
    limit: int,
) -> Page[PlannedShift]:
    """Return what is planned in the actor's areas on the days from ``since`` to ``until``, as it begins.

    Raises:
        Invalid: more than ``LONGEST_SPAN``.
    """
    first, last = span(uow, since, until)
    query = select(PlannedShift).where(
        PlannedShift.town_id == uow.town,
        PlannedShift.begins_at < last,
        PlannedShift.begins_at > first - LONGEST,
        PlannedShift.ends_at > first,
        access.within(PlannedShift.area_id, access.roots(actor, "see", "roster")),
    )
    if area_id is not None:
        query = query.where(access.within(PlannedShift.area_id, [area_id]))
    if officer_id is not None:
        query = query.where(PlannedShift.officer_id == officer_id)
    if not cancelled:
        query = query.where(PlannedShift.state != S.CANCELLED)
    return _page(uow, query, after, limit)


def span(uow: UnitOfWork, since: date, until: date) -> tuple[datetime, datetime]:
    """Return the moments between which days of the town lie, both included.

    Raises:
        Invalid: they are in the wrong order, or more than ``LONGEST_SPAN``.
    """
    if not timedelta(0) <= until - since < LONGEST_SPAN:
        raise Invalid(f"From one day to a later one, at most {LONGEST_SPAN.days}.", until=["out of range"])
    zone = zone_of(uow)
    return datetime.combine(since, time(), zone), datetime.combine(until + timedelta(days=1), time(), zone)


def own(
    uow: UnitOfWork, actor: Actor, *, past: bool = False, after: Sequence[str] | None, limit: int
) -> Page[PlannedShift]:
    """Return the actor's own planned shifts that are not over, the next first; with ``past`` those that are, the last
    first."""
    query = select(PlannedShift).where(PlannedShift.officer_id == actor.user_id)
    query = query.where(PlannedShift.ends_at <= uow.now if past else PlannedShift.ends_at > uow.now)
    return _page(uow, query, after, limit, newest_first=past)


def of_colleague(
    uow: UnitOfWork, actor: Actor, officer_id: UUID, *, after: Sequence[str] | None, limit: int
) -> Page[PlannedShift]:
    """Return what is planned of a colleague in the areas where the actor is an officer, to swap with.

    Raises:
        NotVisible: he is no colleague.
    """
    if officer_id == actor.user_id or not is_colleague(uow, actor, officer_id):
        raise NotVisible()
    query = select(PlannedShift).where(
        PlannedShift.officer_id == officer_id,
        PlannedShift.state == S.PLANNED,
        PlannedShift.begins_at > uow.now,
        access.within(PlannedShift.area_id, access.roots(actor, "do", "hand_over")),
    )
    return _page(uow, query, after, limit)


def actions(actor: Actor, planned: PlannedShift, now: datetime) -> list[str]:
    """Return what the desk may do with a planned shift now, of those in the actor's areas."""
    if not access.may(actor, "manage", "roster") or planned.state != S.PLANNED:
        return []
    excusing = [] if planned.officer_id == actor.user_id else ["excuse"]
    return excusing if planned.ends_at <= now else ["change", "cancel", *excusing]


def _page(
    uow: UnitOfWork, query: Any, after: Sequence[str] | None, limit: int, *, newest_first: bool = False
) -> Page[PlannedShift]:
    at, one_id = PlannedShift.begins_at, PlannedShift.id
    if key := moment_and_id(after):
        later = or_(at > key[0], (at == key[0]) & (one_id > key[1]))
        earlier = or_(at < key[0], (at == key[0]) & (one_id < key[1]))
        query = query.where(earlier if newest_first else later)
    order = (at.desc(), one_id.desc()) if newest_first else (at, one_id)
    query = query.options(*access.planned_shift_parts()).order_by(*order).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda row: (row.begins_at.isoformat(), row.id))


# --- Acts


def create(uow: UnitOfWork, actor: Actor, wanted: Mapping[str, Any], *, command_id: UUID) -> PlannedShift:
    """Plan a shift; ``wanted`` has officer_id, area_id, kind, remark and a ``wall``.

    Raises:
        Forbidden: ``area_not_yours``. Invalid: it is over, or he is no officer there. Conflict: ``shifts_overlap``.
    """
    access.require(actor, "manage", "roster")
    alone(uow)
    values = _values(uow, actor, wanted)
    later(uow)
    planned = add(uow, actor, values, command_id=command_id)
    flush(uow)
    return _tell(uow, planned.id, "create", [planned.officer_id], by=actor.user_id)


def refuse_own_begun(uow: UnitOfWork, actor: Actor, planned: PlannedShift) -> None:
    """Refuse to let anybody do away with a shift of his own that has begun: whether he came is for others to say."""
    if planned.officer_id == actor.user_id and planned.begins_at <= uow.now:
        raise Forbidden("own_request", "Your own shift has begun: somebody else changes it.")


def change(
    uow: UnitOfWork,
    actor: Actor,
    planned_id: UUID,
    wanted: Mapping[str, Any],
    *,
    version: int,
    command_id: UUID,
) -> PlannedShift:
    """Say anew what a planned shift is, decided on ``version`` of it; what was asked about it lapses.

    Raises:
        Stale: it has another version by now. WrongState: it is cancelled, or its officer excused.
        Conflict: ``shift_over``, ``shifts_overlap``; otherwise as ``create``.
    """
    alone(uow)
    planned = access.planned_shift(uow, actor, planned_id, verb="manage", lock=True)
    if planned.version != version:
        raise Stale()
    if planned.state != S.PLANNED:
        raise WrongState(str(planned.state), PLANNED_SHIFT.actions(actor, planned))
    refuse_over(uow, planned)
    refuse_own_begun(uow, actor, planned)
    values = _values(uow, actor, wanted)
    before = planned.officer_id
    later(uow)
    if changed := alter(uow, actor, planned, values, command_id=command_id):
        flush(uow)
        told = [before, planned.officer_id] if "officer_id" in changed else [planned.officer_id]
        return _tell(uow, planned.id, "change", told, by=actor.user_id)
    return read(uow, planned.id)


def cancel(uow: UnitOfWork, actor: Actor, planned_id: UUID, *, reason: str, command_id: UUID) -> PlannedShift:
    """Call a planned shift off; what was asked about it lapses.

    Raises:
        WrongState: it is cancelled, or its officer excused. Conflict: ``shift_over``.
    """
    alone(uow)
    planned = access.planned_shift(uow, actor, planned_id, verb="manage", lock=True)
    if planned.state == S.PLANNED:
        refuse_over(uow, planned)
    refuse_own_begun(uow, actor, planned)
    if PLANNED_SHIFT.fire(uow, actor, planned, "cancel", command_id=command_id, reason=reason):
        planned.reason = reason
        uow.session.flush()
        roster_requests.lapse_about(uow, [planned.id])
        return _tell(uow, planned.id, "cancel", [planned.officer_id], by=actor.user_id)
    return read(uow, planned.id)


def excuse(uow: UnitOfWork, actor: Actor, planned_id: UUID, *, command_id: UUID) -> PlannedShift:
    """Let an officer off a planned shift without his asking for it here; what was asked about it lapses.

    Raises:
        WrongState: it is cancelled, or he is excused already. Forbidden: ``own_request``, it is the actor's own.
    """
    alone(uow)
    planned = access.planned_shift(uow, actor, planned_id, verb="manage", lock=True)
    if planned.officer_id == actor.user_id:
        raise Forbidden("own_request", "Somebody else decides on what one asks oneself.")
    if PLANNED_SHIFT.fire(uow, actor, planned, "excuse", command_id=command_id):
        uow.session.flush()
        roster_requests.lapse_about(uow, [planned.id])
        return _tell(uow, planned.id, "excuse", [planned.officer_id], by=actor.user_id)
    return read(uow, planned.id)


def add(
    uow: UnitOfWork, actor: Actor, values: Mapping[str, Any], *, command_id: UUID, by_file: bool = False
) -> PlannedShift:
    """Put a planned shift with all of ``FIELDS`` into the session, and write down that it is there."""
    planned = PlannedShift(
        id=new_id(), town_id=uow.town, state=PLANNED_SHIFT.initial, created_by=actor.user_id, created_at=uow.now,
        version=1, **values,
    )  # fmt: skip
    uow.session.add(planned)
    data = {"officer_id": str(planned.officer_id)}
    if by_file:
        journal.write(
            uow,
            actor,
            "planned_shift",
            planned.id,
            "import",
            after=S.PLANNED,
            command_id=command_id,
            data=data,
        )
    else:
        journal.write(
            uow,
            actor,
            "planned_shift",
            planned.id,
            "create",
            after=S.PLANNED,
            command_id=command_id,
            data=data,
        )
    return planned


def alter(
    uow: UnitOfWork,
    actor: Actor,
    planned: PlannedShift,
    values: Mapping[str, Any],
    *,
    command_id: UUID,
    by_file: bool = False,
) -> list[str]:
    """Give a locked planned shift other ``FIELDS``; return which are others. What was asked about it lapses."""
    changed = [name for name in FIELDS if getattr(planned, name) != values[name]]
    if changed:
        for name in changed:
            setattr(planned, name, values[name])
        planned.version += 1
        data = {"fields": changed}
        if by_file:
            journal.write(uow, actor, "planned_shift", planned.id, "import", command_id=command_id, data=data)
        else:
            journal.write(uow, actor, "planned_shift", planned.id, "change", command_id=command_id, data=data)
        roster_requests.lapse_about(uow, [planned.id])
    return changed


def refuse_over(uow: UnitOfWork, planned: PlannedShift) -> None:
    """Refuse to change what is over: what was planned then is what was kept or not.

    Raises:
        Conflict: ``shift_over``.
    """
    if planned.ends_at <= uow.now:
        raise Conflict("shift_over", "This shift is over.")


def _values(uow: UnitOfWork, actor: Actor, wanted: Mapping[str, Any]) -> dict[str, Any]:
    begins_at, ends_at = planned_shifts.moments(wanted["wall"], zone_of(uow))
    if ends_at <= begins_at:
        raise Invalid("The clocks leave these hours out.", until_time=["before the start"])
    if ends_at <= uow.now:
        raise Invalid("This is over already.", day=["over"])
    places = Places(uow, actor)
    area_id, officer_id = wanted["area_id"], wanted["officer_id"]
    if area_id not in places.ancestors:
        raise Invalid("There is no such area.", area_id=["unknown"])
    if area_id not in places.scope:
        raise Forbidden("area_not_yours", "This area is not yours to plan.")
    if not places.is_officer_of(officer_id, area_id):
        raise Invalid("This is no officer of the area.", officer_id=["unknown"])
    return {
        "officer_id": officer_id, "area_id": area_id, "kind": wanted["kind"], "remark": wanted["remark"],
        "begins_at": begins_at, "ends_at": ends_at,
    }  # fmt: skip


def _tell(
    uow: UnitOfWork, planned_id: UUID, action: str, officer_ids: Iterable[UUID], *, by: UUID | None
) -> PlannedShift:
    """End an act on a planned shift: return it as it is now; those whose it is or was are told."""
    planned = read(uow, planned_id)
    hearers = recipients.hear_of_planned_shift(planned, officer_ids)
    changes.tell(uow, PLANNED_SHIFT.kind, planned, action, to=hearers)
    others = [one for one in officer_ids if one != by]
    telling.roster_changed(uow, others, planned=planned, zone=zone_of(uow))
    return planned
