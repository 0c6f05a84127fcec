"""The watchdog: looks every few seconds at who is on shift, and raises or ends the alarms that follow from it.

Silent (no fix for some minutes), outside the area of his shift for some minutes, battery nearly empty. What it found it
takes back itself when it has righted itself. An officer who is off shift is not looked at: there is nothing to look at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text

from backend.core.identity import system_actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AlarmKind, AlarmSource, AlarmState
from backend.models import Alarm
from workflows import access, alarms
from workflows.alarms import Place

LOW_PCT, WELL_PCT = 15.0, 20.0
"""Below the first a phone that is not charging raises the alarm; at the second it has righted itself."""
OUTSIDE_FOR = timedelta(minutes=3)
"""So long every fix has to lie outside: a street's far side is not leaving."""
SPARED_FOR = timedelta(minutes=30)
"""What the desk has dismissed is not raised again for so long, and a silence not before it was broken."""


@dataclass(frozen=True)
class Bounds:
    """How long an officer on shift may send nothing before somebody has to look."""

    silent_after: timedelta


@dataclass(frozen=True)
class OnShift:
    """What is known of an officer on shift at one look. Without a fix in this shift ``place`` is None."""

    officer_id: UUID
    shift_id: UUID
    area_id: UUID
    since: datetime
    place: Place | None
    battery_pct: float | None
    charging: bool | None
    is_outside: bool
    device_name: str | None

    @property
    def heard_at(self) -> datetime:
        """When he was last heard of: his last fix, or the start of his shift."""
        if self.place is None or self.place.fixed_at is None:
            return self.since
        return max(self.since, self.place.fixed_at)


LOOK = text("""
select s.officer_id, s.id as shift_id, s.area_id, s.started_at, p.fixed_at, p.accuracy_m, p.battery_pct, p.charging,
       ST_X(p.geom::geometry) as lon, ST_Y(p.geom::geometry) as lat, d.name as device_name,
       p.fixed_at > :now - cast(:outside_for as interval)
         and (here.id is null or not here.ancestors @> array[s.area_id])
         and s.started_at < :now - cast(:outside_for as interval)
         and not exists (
           select from fixes f join areas a on a.id = f.area_id
           where f.device_id = p.device_id and f.fixed_at > :now - cast(:outside_for as interval) and f.fixed_at <= :now
             and a.ancestors @> array[s.area_id]
         ) as is_outside
from shifts s
left join latest_positions p on p.officer_id = s.officer_id and p.shift_id = s.id
left join areas here on here.id = p.area_id
left join devices d on d.id = p.device_id
where s.town_id = :town and s.ended_at is null and s.closes_at > :now
""")


@dataclass(frozen=True)
class Raise:
    """An alarm that is to be raised about an officer."""

    kind: AlarmKind
    officer: OnShift


@dataclass(frozen=True)
class End:
    """An alarm that has righted itself."""

    alarm_id: UUID


Change = Raise | End


def look(uow: UnitOfWork, bounds: Bounds) -> list[Change]:
    """Look at everybody on shift in the town; return what is to be done about it, for :func:`act`."""
    found = [
        OnShift(
            row.officer_id, row.shift_id, row.area_id, row.started_at,
            Place(row.lon, row.lat, row.accuracy_m, row.fixed_at) if row.fixed_at else None,
            row.battery_pct, row.charging, bool(row.is_outside), row.device_name,
        )
        for row in uow.session.execute(
            LOOK, {"town": uow.town, "now": uow.now, "outside_for": OUTSIDE_FOR}
        )
    ]  # fmt: skip
    known, dismissed = _open_alarms(uow), _dismissed(uow)
    raised: list[Raise] = []
    ended: list[End] = []
    for officer in found:
        for kind, is_so in _judged(officer, uow.now, bounds).items():
            alarm_id = known.pop((kind, officer.officer_id), None)
            if is_so and alarm_id is None:
                at = dismissed.get((kind, officer.officer_id))
                if at and (at > uow.now - SPARED_FOR or (kind is AlarmKind.SILENT and at > officer.heard_at)):
                    continue
                raised.append(Raise(kind, officer))
            elif is_so is False and alarm_id is not None:
                ended.append(End(alarm_id))
    # Who is left is not on shift any more: there is nobody to look at.
    return [*ended, *map(End, known.values()), *raised]


def act(uow: UnitOfWork, change: Change) -> bool:
    """Do what a look found, if it is still to be done; say whether it was.

    Each in a transaction of its own: alarms are numbered one after the other, and when a network fails a whole town
    falls silent at once. A call for help would wait for all of them.
    """
    if isinstance(change, End):
        return _end(uow, change.alarm_id)
    officer, kind = change.officer, change.kind
    _, is_new = alarms.raise_alarm(
        uow, system_actor(uow.town), kind, AlarmSource.OFFICER, officer.officer_id,
        area_id=officer.area_id, officer_id=officer.officer_id, shift_id=officer.shift_id,
        place=officer.place, detail=_detail(kind, officer),
    )  # fmt: skip
    return is_new


def _judged(officer: OnShift, now: datetime, bounds: Bounds) -> Mapping[AlarmKind, bool | None]:
    """Return what is so and what is not; None where it is neither, and stays as it was."""
    is_silent = now - officer.heard_at > bounds.silent_after
    battery: bool | None = None
    if officer.battery_pct is not None and not is_silent:
        if officer.charging or officer.battery_pct >= WELL_PCT:
            battery = False
        elif officer.battery_pct < LOW_PCT:
            battery = True
    # Of whom nothing new is heard it is not known where he is.
    fixed_at = officer.place.fixed_at if officer.place else None
    outside = officer.is_outside if fixed_at is not None and fixed_at > now - OUTSIDE_FOR else None
    return {AlarmKind.SILENT: is_silent, AlarmKind.LEFT_AREA: outside, AlarmKind.BATTERY_LOW: battery}


def _detail(kind: AlarmKind, officer: OnShift) -> dict[str, Any]:
    if kind is AlarmKind.SILENT:
        # The phone's make decides which of its settings to look at.
        return {"heard_at": officer.heard_at.isoformat(), "device": officer.device_name}
    if kind is AlarmKind.BATTERY_LOW:
        return {"battery_pct": officer.battery_pct}
    return {}


WATCHED = (AlarmKind.SILENT, AlarmKind.LEFT_AREA, AlarmKind.BATTERY_LOW)


def _dismissed(uow: UnitOfWork) -> dict[tuple[AlarmKind, UUID], datetime]:
    """Return when the desk last dismissed what was raised in the time that a shift may last."""
    rows = uow.session.execute(
        select(Alarm.kind, Alarm.source_id, func.max(Alarm.dismissed_at).label("at"))
        .where(
            Alarm.town_id == uow.town,
            Alarm.kind.in_(WATCHED),
            Alarm.state == AlarmState.FALSE,
            Alarm.raised_at > uow.now - access.LONGEST_SHIFT,
        )
        .group_by(Alarm.kind, Alarm.source_id)
    )
    return {(AlarmKind(row.kind), row.source_id): row.at for row in rows}


def _open_alarms(uow: UnitOfWork) -> dict[tuple[AlarmKind, UUID], UUID]:
    rows = uow.session.execute(
        select(Alarm.id, Alarm.kind, Alarm.source_id).where(
            Alarm.town_id == uow.town, Alarm.kind.in_(WATCHED), alarms.is_open()
        )
    )
    return {(AlarmKind(row.kind), row.source_id): row.id for row in rows}


def _end(uow: UnitOfWork, alarm_id: UUID) -> bool:
    # Without waiting: somebody who presses a button on it comes first.
    alarm = uow.session.scalar(select(Alarm).where(Alarm.id == alarm_id).with_for_update(skip_locked=True))
    if alarm is None or alarm.state not in (AlarmState.RAISED, AlarmState.ACKNOWLEDGED):
        return False
    alarms.right_itself(uow, system_actor(uow.town), alarm)
    return True
