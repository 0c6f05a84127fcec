"""Shifts: the time in which an officer is on duty, and the only time in which he is tracked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, or_, select, text
from sqlalchemy.exc import IntegrityError

from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, WrongState
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import (
    DeviceKind,
    DeviceState,
    EndedBy,
    Protocol,
    Role,
    ShiftState,
    UserState,
)
from backend.models import Area, Crew, Device, LatestPosition, Membership, Shift, User
from notifications import changes
from workflows import access, calls, crews, gate, journal, patrols, post_duties, task_looks, tasks
from workflows.crews import WantedCrew
from workflows.machine import Machine, step

DESK = (Role.DISPATCHER, Role.SUPERVISOR)
SHIFT = Machine(
    "shift", ShiftState.ON_DUTY,
    #    action   from                    to                by                        stamps
    step("end",   {ShiftState.ON_DUTY},   ShiftState.ENDED, (Role.OFFICER, *DESK),    "ended_at"),
    step("close", {ShiftState.ON_DUTY},   ShiftState.ENDED, (Role.SYSTEM,),           None),
)  # fmt: skip

SHORTEST = timedelta(minutes=1)


@dataclass(frozen=True)
class Limits:
    """How long a shift may last, from the configuration."""

    longest: timedelta
    grace: timedelta


@dataclass(frozen=True)
class WantedDevice:
    """The phone that the shift is started on; it measures for the officer from now on."""

    id: UUID
    name: str


def current(uow: UnitOfWork, actor: Actor) -> Shift | None:
    """Return the actor's shift that is open now."""
    return uow.session.scalar(
        select(Shift)
        .where(Shift.officer_id == actor.user_id, Shift.ended_at.is_(None))
        .options(*access.shift_parts())
    )


def start(
    uow: UnitOfWork,
    actor: Actor,
    *,
    command_id: UUID,
    limits: Limits,
    shift_id: UUID | None = None,
    area_id: UUID | None = None,
    planned_end_at: datetime | None = None,
    device: WantedDevice | None = None,
    crew: WantedCrew | None = None,
    device_at: datetime | None = None,
) -> Shift:
    """Start the actor's shift, and with a crew ask its other members whether they come.

    The shift begins now, by the server's clock. It closes itself half an hour after the planned end, or after the
    longest time that the installation allows. Nobody is brought on duty by another: whom the leader names is asked,
    and ``invitations.accept`` is his own act.

    Raises:
        Conflict: ``already_on_shift`` or ``id_taken``.
        Invalid: the planned end or a member is not acceptable.
        Forbidden: the area is not one in which the actor is an officer.
    """
    access.require(actor, "start", "shift")
    if planned_end_at is not None and not SHORTEST <= planned_end_at - uow.now <= limits.longest:
        raise Invalid(
            "A shift ends after its start and within the longest time allowed.",
            planned_end_at=["out of range"],
        )
    area = _area_of(uow, actor, area_id)
    if device is not None:
        claim_device(uow, actor, device)
    made = crews.make(uow, actor, crew, area, command_id=command_id) if crew else None
    closes_at = (
        min(planned_end_at + limits.grace, uow.now + limits.longest)
        if planned_end_at
        else uow.now + limits.longest
    )
    return begin(
        uow,
        actor,
        command_id=command_id,
        shift_id=shift_id,
        area_id=area.id,
        crew_id=made.id if made else None,
        planned_end_at=planned_end_at,
        closes_at=closes_at,
        device_at=device_at,
    )


def begin(
    uow: UnitOfWork,
    actor: Actor,
    *,
    command_id: UUID,
    shift_id: UUID | None,
    area_id: UUID,
    crew_id: UUID | None,
    planned_end_at: datetime | None,
    closes_at: datetime,
    device_at: datetime | None,
) -> Shift:
    """Bring the actor himself on duty; there is no other way to a shift."""
    assert actor.user_id is not None
    shift = Shift(
        id=shift_id or new_id(),
        town_id=uow.town,
        officer_id=actor.user_id,
        area_id=area_id,
        crew_id=crew_id,
        state=ShiftState.ON_DUTY,
        started_at=uow.now,
        started_device_at=device_at,
        planned_end_at=planned_end_at,
        closes_at=closes_at,
        version=1,
    )
    uow.session.add(shift)
    _flush_or_conflict(uow)
    journal.write(
        uow, actor, "shift", shift.id, "start", after=ShiftState.ON_DUTY, command_id=command_id, device_at=device_at
    )  # fmt: skip
    changes.tell_of_shift(uow, shift, "start")
    return access.shift(uow, actor, shift.id)


def _area_of(uow: UnitOfWork, actor: Actor, area_id: UUID | None) -> Area:
    """Return the area to patrol: the named one, in or below an area of the actor, or the actor's own."""
    held = access.roots(actor, "start", "shift")
    if not held:
        raise Forbidden()
    wanted = area_id or held[0]
    if not access.covers(uow, actor, "start", "shift", wanted):
        raise Forbidden("area_not_yours", "You are not an officer in this area.")
    return uow.session.get_one(Area, wanted)


def claim_device(uow: UnitOfWork, actor: Actor, wanted: WantedDevice) -> None:
    """Register the phone of a shift; a phone that another officer used before is a device of its own."""
    assert actor.user_id is not None
    found = uow.session.get(Device, wanted.id)
    if found is None:
        uow.session.add(
            Device(
                id=wanted.id,
                town_id=uow.town,
                officer_id=actor.user_id,
                kind=DeviceKind.PHONE,
                protocol=Protocol.OFFICER,
                name=wanted.name,
                datum="wgs84",
                state=DeviceState.ACTIVE,
                created_at=uow.now,
                created_by=actor.user_id,
            )
        )
        _flush_or_conflict(uow)
    elif found.officer_id != actor.user_id or found.protocol != Protocol.OFFICER:
        raise Conflict("id_taken", "This id is in use.")
    elif found.state != DeviceState.ACTIVE:
        raise Conflict("device_revoked", "The desk has revoked this device.")


def _flush_or_conflict(uow: UnitOfWork) -> None:
    try:
        uow.session.flush()
    except IntegrityError as error:
        if "uq_shifts_one_open" in str(error.orig):
            raise Conflict("already_on_shift", "You are on shift already.") from error
        raise Conflict("id_taken", "This id is in use.") from error


def end(
    uow: UnitOfWork,
    actor: Actor,
    shift_id: UUID,
    *,
    command_id: UUID,
    whole_crew: bool = False,
    reason: str | None = None,
    device_at: datetime | None = None,
) -> Shift:
    """End a shift: the officer his own, a leader those of the crew, the desk one in its areas.

    From the commit on nothing of the officer is stored. Fixes measured before the end still count when they come late.

    Nobody goes home with a task on his hands: he finishes it, hands it back, or is released. Where the desk ends the
    shift, what he has is handed back by the system.

    Raises:
        WrongState: the shift has ended already.
        Invalid: the desk gives no reason.
        Conflict: ``open_tasks``; the refusal lists the ``tasks``.
    """
    gate.close(uow.session, uow.town)
    if whole_crew:
        _hold_crew(uow, actor, shift_id)
    shift = access.shift(uow, actor, shift_id, verb="end", lock=True)
    ended_by = _ended_by(actor, shift)
    if ended_by is EndedBy.DESK and not reason:
        raise Invalid("The desk says why it ends a shift.", reason=["needed"])
    others: Sequence[Shift] = ()
    if whole_crew and shift.crew is not None and shift.crew.leader_id == actor.user_id:
        others = uow.session.scalars(
            select(Shift)
            .where(Shift.crew_id == shift.crew_id, Shift.ended_at.is_(None), Shift.id != shift.id)
            .order_by(Shift.id)
            .with_for_update()
        ).all()
    if ended_by is not EndedBy.DESK:
        _refuse_with_open_tasks(uow, [one for one in (shift, *others) if one.state == ShiftState.ON_DUTY])
    _end(uow, actor, shift, "end", ended_by, command_id=command_id, reason=reason, device_at=device_at)
    for other in others:
        _end(
            uow, actor, other, "end", EndedBy.CREW, command_id=command_id, reason=reason, device_at=device_at
        )
    uow.session.flush()
    return shift


def _hold_crew(uow: UnitOfWork, actor: Actor, shift_id: UUID) -> None:
    """Lock the shifts of a crew that the actor leads in the order of their ids, as whoever calls the roll does."""
    crew = (
        select(Shift.crew_id)
        .join(Crew, Crew.id == Shift.crew_id)
        .where(Shift.id == shift_id, Crew.leader_id == actor.user_id)
    )
    held = select(Shift.id).where(Shift.crew_id == crew.scalar_subquery(), Shift.ended_at.is_(None))
    uow.session.execute(held.order_by(Shift.id).with_for_update()).all()


def end_without_right(uow: UnitOfWork, user_id: UUID, *, command_id: UUID | None, reason: str) -> None:
    """End the shift of somebody who is no longer an officer where it is, or whose account is shut.

    He could not end it himself any more, and his trackers would go on. The clock's own act, by the rights of nobody.
    """
    gate.close(uow.session, uow.town)
    shift = uow.session.scalar(
        select(Shift).where(Shift.officer_id == user_id, Shift.ended_at.is_(None)).with_for_update()
    )
    if shift is None:
        return
    active = uow.session.scalar(select(User.state).where(User.id == user_id)) == UserState.ACTIVE
    held = select(Membership.area_id).where(
        Membership.user_id == user_id, Membership.role == Role.OFFICER, Membership.ended_at.is_(None)
    )
    areas = [area_id for area_id in uow.session.scalars(held) if area_id is not None]
    here = select(Shift.id).where(Shift.id == shift.id, access.within(Shift.area_id, areas))
    if active and areas and uow.session.scalar(here) is not None:
        return
    _end(
        uow, system_actor(uow.town), shift, "close", EndedBy.SYSTEM,
        command_id=command_id, reason=reason, ended_at=uow.now,
    )  # fmt: skip


def _refuse_with_open_tasks(uow: UnitOfWork, ending: Sequence[Shift]) -> None:
    if open_ones := task_looks.open_ones(uow, [shift.officer_id for shift in ending]):
        raise Conflict(
            "open_tasks", "There are tasks to finish, to hand back or to hand over first.", tasks=open_ones
        )


def bring_phone(
    uow: UnitOfWork, actor: Actor, shift_id: UUID, device: WantedDevice, *, command_id: UUID
) -> Shift:
    """Let a phone measure in the actor's running shift, which another phone has started.

    Raises:
        WrongState: the shift has ended. NotVisible: it is not the actor's own.
        Conflict: ``id_taken`` or ``device_revoked``.
    """
    shift = access.shift(uow, actor, shift_id, lock=True)
    if shift.officer_id != actor.user_id:
        raise NotVisible()
    if shift.state != ShiftState.ON_DUTY:
        raise WrongState(str(shift.state), [])
    claim_device(uow, actor, device)
    journal.write(
        uow,
        actor,
        "shift",
        shift.id,
        "bring_phone",
        command_id=command_id,
        data={"device_id": str(device.id)},
    )
    return shift


def _ended_by(actor: Actor, shift: Shift) -> EndedBy:
    if shift.officer_id == actor.user_id:
        return EndedBy.SELF
    if shift.crew is not None and shift.crew.leader_id == actor.user_id:
        return EndedBy.CREW
    return EndedBy.DESK


def _end(
    uow: UnitOfWork,
    actor: Actor,
    shift: Shift,
    action: str,
    ended_by: EndedBy,
    *,
    command_id: UUID | None,
    reason: str | None = None,
    device_at: datetime | None = None,
    ended_at: datetime | None = None,
) -> None:
    # A leader acts for the mates whose shifts he ends; the desk acts by its own right.
    mate_id = shift.officer_id if ended_by is EndedBy.CREW else None
    if not SHIFT.fire(
        uow, actor, shift, action,
        command_id=command_id, reason=reason, device_at=device_at, on_behalf_of=mate_id,
    ):  # fmt: skip
        return
    shift.ended_at, shift.ended_by = ended_at or uow.now, ended_by
    tasks.leave(uow, shift.officer_id, reason=tasks.OFF_SHIFT)
    patrols.leave(uow, shift, shift.ended_at or uow.now)
    post_duties.leave(uow, shift, shift.ended_at or uow.now)
    calls.leave(uow, shift.officer_id)
    uow.session.execute(delete(LatestPosition).where(LatestPosition.officer_id == shift.officer_id))
    uow.session.flush()
    uow.session.execute(text("select forget_after_end(:id)"), {"id": shift.id})
    changes.tell_of_shift(uow, shift, action)


CLOSED_AT_ONCE = 50
"""So many shifts are closed in one transaction: the town's fixes, and calls for help, wait for it."""


def close_forgotten(uow: UnitOfWork) -> int:
    """End shifts of the town whose time has come, ``CLOSED_AT_ONCE`` at most; a clock calls this. Return how many."""
    gate.close(uow.session, uow.town)
    actor = system_actor(uow.town)
    due = list(
        uow.session.scalars(
            select(Shift)
            .where(Shift.ended_at.is_(None), Shift.closes_at <= uow.now)
            .order_by(Shift.closes_at)
            .limit(CLOSED_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
    )
    for shift in due:
        close(uow, actor, shift)
    return len(due)


def close(uow: UnitOfWork, actor: Actor, shift: Shift) -> None:
    """End a locked shift that nobody ended, at the moment when it should have been over; the clock's own act."""
    _end(uow, actor, shift, "close", EndedBy.SYSTEM, command_id=None, ended_at=shift.closes_at)


def own(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[Shift]:
    """Return the actor's own shifts, newest first."""
    query = select(Shift).where(Shift.officer_id == actor.user_id)
    return _page(uow, query, after, limit)


def at_desk(
    uow: UnitOfWork, actor: Actor, *, state: ShiftState | None, after: Sequence[str] | None, limit: int
) -> Page[Shift]:
    """Return the shifts in the actor's areas, newest first."""
    query = select(Shift).where(access.within(Shift.area_id, access.roots(actor, "see", "shift")))
    if state is not None:
        query = query.where(Shift.state == state)
    return _page(uow, query, after, limit)


def _page(uow: UnitOfWork, query: Any, after: Sequence[str] | None, limit: int) -> Page[Shift]:
    if key := moment_and_id(after):
        query = query.where(
            or_(Shift.started_at < key[0], (Shift.started_at == key[0]) & (Shift.id < key[1]))
        )
    query = (
        query.options(*access.shift_parts())
        .order_by(Shift.started_at.desc(), Shift.id.desc())
        .limit(limit + 1)
    )
    return page(list(uow.session.scalars(query)), limit, lambda s: (s.started_at.isoformat(), s.id))
