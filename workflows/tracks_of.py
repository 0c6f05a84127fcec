"""Reading tracks: which shifts and devices an officer's movements are in, and the fixes themselves."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from backend.core.uow import UnitOfWork
from backend.models import Device, Shift
from geo import queries
from geo.motion import Track
from geo.queries import Leg
from workflows import access


def shifts_between(
    uow: UnitOfWork,
    officer_ids: Sequence[UUID],
    *,
    since: datetime,
    until: datetime,
    scope: Sequence[UUID] | None,
) -> dict[UUID, list[UUID]]:
    """Return the shifts of officers that overlap ``[since, until)``, by officer.

    ``scope`` are the areas in or below which a shift has to be; None means all of them, for the officer himself and
    for what is made of everything.
    """
    query = select(Shift.officer_id, Shift.id).where(
        Shift.officer_id.in_(officer_ids), access.during(since, until)
    )
    if scope is not None:
        query = query.where(access.within(Shift.area_id, scope))
    rows = uow.session.execute(query.order_by(Shift.started_at))
    found: dict[UUID, list[UUID]] = {}
    for officer_id, shift_id in rows:
        found.setdefault(officer_id, []).append(shift_id)
    return found


def devices_of(uow: UnitOfWork, officer_ids: Sequence[UUID]) -> dict[UUID, list[UUID]]:
    """Return the devices that measure for officers, revoked ones included: their fixes stay theirs."""
    found: dict[UUID, list[UUID]] = {}
    for officer_id, device_id in uow.session.execute(
        select(Device.officer_id, Device.id)
        .where(Device.officer_id.in_(officer_ids))
        .order_by(Device.created_at)
    ):
        found.setdefault(officer_id, []).append(device_id)
    return found


def read(
    uow: UnitOfWork, shifts: Mapping[UUID, Sequence[UUID]], *, since: datetime, until: datetime
) -> dict[UUID, Track]:
    """Return the tracks of officers in the given shifts, as columns in time order; who has none is left out."""
    if not shifts:
        return {}
    officers = list(shifts)
    devices = devices_of(uow, officers)
    legs = [
        Leg(number, device_id, shift_id)
        for number, officer_id in enumerate(officers)
        for device_id in devices.get(officer_id, ())
        for shift_id in shifts[officer_id]
    ]
    found = queries.tracks(uow.session, legs, since=since, until=until)
    return {officers[number]: track for number, track in found.items()}
