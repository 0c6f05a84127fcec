"""The watchdog: looks every few seconds at who is on shift, and raises or ends the alarms that follow from it.

Silent (no fix for some minutes), outside the area of his shift for some minutes, battery nearly empty, under way to a
task and going away from it. Where many fall silent at once their desk gets one alarm (``workflows.outages``). What it
found it takes back itself when it has righted itself. An officer who is off shift is not looked at: there is nothing to
look at.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, func, or_, select, text
from sqlalchemy.dialects import postgresql

from backend.core.identity import system_actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AlarmKind, AlarmSource, AlarmState
from backend.models import Alarm
from geo import queries
from geo.fixes import HIDDEN
from geo.queries import Way
from notifications import changes, recipients
from workflows import access, alarms, journal, outages
from workflows.alarms import Place
from workflows.outages import Covers, Fall, Heard, Outage

LOW_PCT, WELL_PCT = 15.0, 20.0
"""Below the first a phone that is not charging raises the alarm; at the second it has righted itself."""
OUTSIDE_FOR = timedelta(minutes=3)
"""So long every fix has to lie outside: a street's far side is not leaving."""
SPARED_FOR = timedelta(minutes=30)
"""What the desk has dismissed is not raised again for so long; a silence not before it was broken, and going away from
a task not before another way began."""
NEARER = 0.5
"""Who has come back to this part of the margin is on his way again; at the margin itself an alarm would flicker."""


@dataclass(frozen=True)
class Bounds:
    """When somebody has to look.

    An officer on shift may send nothing for ``silent_after``; under way to a task he may be ``deviation_m`` farther
    from it than when he set out, and for ``deviation_for`` even more. So many (``outage_officers``, and this share of
    those who had been heard of) who fall silent at the same time are one alarm.
    """

    silent_after: timedelta
    deviation_m: float = 300.0
    deviation_for: timedelta = timedelta(seconds=120)
    outage_officers: int = 10
    outage_share: float = 0.5

    @property
    def outage(self) -> outages.Bounds:
        return outages.Bounds(self.silent_after, self.outage_officers, self.outage_share)


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
    desk_id: UUID
    ways: Sequence[Way] = ()

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
             and f.flags & :hidden = 0 and a.ancestors @> array[s.area_id]
         ) as is_outside
from shifts s
left join latest_positions p on p.officer_id = s.officer_id and p.shift_id = s.id
left join areas here on here.id = p.area_id
left join devices d on d.id = p.device_id
where s.town_id = :town and s.ended_at is null and s.closes_at > :now
""")


DESKS = text("""
select a.id, coalesce((
    select d.id from areas d
    where d.id = any(a.ancestors) and exists (
      select from memberships m join users u on u.id = m.user_id and u.state = 'active'
      where m.area_id = d.id and m.ended_at is null and m.role = any(:roles))
    order by cardinality(d.ancestors) desc limit 1
  ), (select d.id from areas d where d.id = any(a.ancestors) and d.parent_id is null)) as desk_id
from areas a
where a.id = any(:areas)
""").bindparams(bindparam("areas", type_=postgresql.ARRAY(postgresql.UUID(as_uuid=True))))
"""Whose desk an area is: that of the nearest area, itself or above it, where somebody may see alarms. Whoever would see
an officer's own alarm sees one about that area as well, and nobody else does."""


@dataclass(frozen=True)
class Raise:
    """An alarm that is to be raised about an officer."""

    kind: AlarmKind
    officer: OnShift


@dataclass(frozen=True)
class End:
    """An alarm that has righted itself."""

    alarm_id: UUID


@dataclass(frozen=True)
class Over:
    """An outage that has come to its end."""

    alarm_id: UUID


Change = Raise | End | Fall | Covers | Over


@dataclass(frozen=True)
class Open:
    """An alarm of the watchdog's that is not over; ``task_id`` is of the task from which somebody goes away."""

    id: UUID
    state: AlarmState
    task_id: UUID | None = None


Which = tuple[AlarmKind, UUID]
"""Of one kind one alarm about an officer is open at a time."""


def look(uow: UnitOfWork, bounds: Bounds) -> list[Change]:
    """Look at everybody on shift in the town; return what is to be done about it, for :func:`act`.

    Nothing is remembered between two looks but the alarms themselves, so a worker that is started anew goes on.
    """
    return decide(_on_shift(uow, bounds), _open_alarms(uow), _dismissed(uow), _outages(uow), uow.now, bounds)


def _on_shift(uow: UnitOfWork, bounds: Bounds) -> list[OnShift]:
    rows = uow.session.execute(
        LOOK, {"town": uow.town, "now": uow.now, "outside_for": OUTSIDE_FOR, "hidden": HIDDEN}
    ).all()
    desks = {
        row.id: row.desk_id
        for row in uow.session.execute(
            DESKS,
            {
                "areas": list({row.area_id for row in rows}),
                "roles": sorted(access.GRANTS[("see", "alarm")]),
            },
        )
    }
    ways: dict[UUID, list[Way]] = defaultdict(list)
    for way in queries.ways(
        uow.session, uow.town, now=uow.now, recent=OUTSIDE_FOR, margin_m=bounds.deviation_m,
        lasting=bounds.deviation_for,
    ):  # fmt: skip
        ways[way.officer_id].append(way)
    return [
        OnShift(
            row.officer_id, row.shift_id, row.area_id, row.started_at,
            Place(row.lon, row.lat, row.accuracy_m, row.fixed_at) if row.fixed_at else None,
            row.battery_pct, row.charging, bool(row.is_outside), row.device_name, desks[row.area_id],
            ways.get(row.officer_id, ()),
        )
        for row in rows
    ]  # fmt: skip


def decide(
    found: Sequence[OnShift],
    known: Mapping[Which, Open],
    dismissed: Mapping[Which, datetime],
    raised_before: Iterable[Outage],
    now: datetime,
    bounds: Bounds,
) -> list[Change]:
    """Return what is to be raised and ended: outages first, because they stand for many."""
    desks: dict[UUID, list[Heard]] = defaultdict(list)
    for officer in found:
        which = (AlarmKind.SILENT, officer.officer_id)
        is_known = which in known or dismissed.get(which, officer.heard_at) > officer.heard_at
        desks[officer.desk_id].append(Heard(officer.officer_id, officer.heard_at, is_known))
    together = outages.judge(desks, raised_before, now, bounds.outage)
    left = dict(known)
    raised: list[Raise] = []
    ended: list[End] = []
    for officer in found:
        for kind, is_so in _judged(officer, now, bounds).items():
            which = (kind, officer.officer_id)
            if (alarm := left.pop(which, None)) is not None:
                if is_so is False or _is_about_another(alarm, kind, officer):
                    ended += _ending(alarm)
                continue
            is_stood_for = kind is AlarmKind.SILENT and officer.officer_id in together.spared
            if is_so and not is_stood_for and not _was_dismissed(kind, officer, dismissed.get(which), now):
                raised.append(Raise(kind, officer))
    # Who is left is not on shift any more: there is nobody to look at.
    for alarm in left.values():
        ended += _ending(alarm)
    return [*map(Over, together.over), *together.fell, *together.covers, *ended, *raised]


def _was_dismissed(kind: AlarmKind, officer: OnShift, dismissed_at: datetime | None, now: datetime) -> bool:
    """Say whether the desk has dismissed this, so that it is not raised yet."""
    if dismissed_at is None:
        return False
    if kind is AlarmKind.SILENT and dismissed_at > officer.heard_at:
        return True
    if kind is AlarmKind.DEVIATION and all(dismissed_at > way.began_at for way in officer.ways):
        return True
    return dismissed_at > now - SPARED_FOR


def _is_about_another(alarm: Open, kind: AlarmKind, officer: OnShift) -> bool:
    """Say whether the task that an alarm names is none of those to which the officer is under way now."""
    return kind is AlarmKind.DEVIATION and alarm.task_id not in {way.task_id for way in officer.ways}


def _ending(alarm: Open) -> list[End]:
    """Return the end of an alarm whose cause is gone; where people were sent it is left to them."""
    return [End(alarm.id)] if alarm.state in (AlarmState.RAISED, AlarmState.ACKNOWLEDGED) else []


def act(uow: UnitOfWork, change: Change) -> bool:
    """Do what a look found, if it is still to be done; say whether it was.

    Each in a transaction of its own: alarms are numbered one after the other, and when a network fails a whole town
    falls silent at once. A call for help would wait for all of them.
    """
    if isinstance(change, End | Over):
        return _end(uow, change.alarm_id)
    if isinstance(change, Fall):
        return _fall(uow, change)
    if isinstance(change, Covers):
        return _name(uow, change)
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
    return {
        AlarmKind.SILENT: is_silent,
        AlarmKind.LEFT_AREA: outside,
        AlarmKind.BATTERY_LOW: battery,
        AlarmKind.DEVIATION: _goes_away(officer.ways, bounds),
    }


def _goes_away(ways: Sequence[Way], bounds: Bounds) -> bool | None:
    """Say whether every way of an officer leads away: who has two tasks leaves one on his way to the other."""
    if not ways or any(_is_nearer(way, bounds) for way in ways):
        return False
    return True if all(way.leads_away for way in ways) else None


def _is_nearer(way: Way, bounds: Bounds) -> bool:
    if way.began_m is None or way.now_m is None:
        return False
    return way.now_m <= way.began_m + NEARER * bounds.deviation_m


def _detail(kind: AlarmKind, officer: OnShift) -> dict[str, Any]:
    if kind is AlarmKind.SILENT:
        # The phone's make decides which of its settings to look at.
        return {"heard_at": officer.heard_at.isoformat(), "device": officer.device_name}
    if kind is AlarmKind.BATTERY_LOW:
        return {"battery_pct": officer.battery_pct}
    if kind is AlarmKind.DEVIATION:
        way = max(officer.ways, key=lambda one: one.began_at)
        return {
            "task_id": str(way.task_id), "task_number": way.task_number, "began_m": way.began_m, "now_m": way.now_m,
            "elsewhere": way.is_elsewhere,
        }  # fmt: skip
    return {}


WATCHED = (AlarmKind.SILENT, AlarmKind.LEFT_AREA, AlarmKind.BATTERY_LOW, AlarmKind.DEVIATION)


def _dismissed(uow: UnitOfWork) -> dict[Which, datetime]:
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


def _open_alarms(uow: UnitOfWork) -> dict[Which, Open]:
    rows = uow.session.execute(
        select(Alarm.id, Alarm.kind, Alarm.source_id, Alarm.state, Alarm.detail).where(
            Alarm.town_id == uow.town, Alarm.kind.in_(WATCHED), alarms.is_open()
        )
    )
    return {
        (AlarmKind(row.kind), row.source_id): Open(row.id, AlarmState(row.state), _named(row.detail))
        for row in rows
    }


def _named(detail: Mapping[str, Any]) -> UUID | None:
    return UUID(detail["task_id"]) if "task_id" in detail else None


def _outages(uow: UnitOfWork) -> list[Outage]:
    """Return the outages that stand, and those that ended so lately that they still mean something."""
    ended_at = func.coalesce(Alarm.dismissed_at, Alarm.cleared_at)
    rows = uow.session.execute(
        select(Alarm.id, Alarm.area_id, Alarm.detail, ended_at.label("ended_at"), Alarm.dismissed_at).where(
            Alarm.town_id == uow.town,
            Alarm.kind == AlarmKind.OUTAGE,
            or_(
                alarms.is_open(),
                (Alarm.raised_at > uow.now - access.LONGEST_SHIFT)
                & (ended_at > uow.now - outages.DISMISSED_FOR),
            ),
        )
    )
    return [
        Outage(
            row.id, row.area_id, datetime.fromisoformat(row.detail["since"]), row.detail["silent"],
            row.ended_at, row.dismissed_at is not None, alarms.covered(row.detail),
        )
        for row in rows
    ]  # fmt: skip


def _fall(uow: UnitOfWork, fall: Fall) -> bool:
    detail = {"since": fall.since.isoformat(), "silent": fall.silent, "on_shift": fall.on_shift}
    _, is_new = alarms.raise_alarm(
        uow, system_actor(uow.town), AlarmKind.OUTAGE, AlarmSource.AREA, fall.area_id, area_id=fall.area_id,
        detail=detail,
    )  # fmt: skip
    return is_new


def _name(uow: UnitOfWork, change: Covers) -> bool:
    """Name on the outage of an area whom it stands for: their silence is raised by nothing else."""
    alarm = uow.session.scalar(
        select(Alarm)
        .where(Alarm.town_id == uow.town, Alarm.kind == AlarmKind.OUTAGE, Alarm.source_id == change.area_id)
        .where(alarms.is_open())
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if alarm is None:
        return False
    before = alarms.covered(alarm.detail)
    news = {one: at for one, at in change.officers.items() if before.get(one) != at}
    if not news:
        return False
    told = {str(one): at.isoformat() for one, at in {**before, **news}.items()}
    alarm.detail = {**alarm.detail, "covered": told}
    alarm.version += 1
    uow.session.flush()
    journal.write(
        uow, system_actor(uow.town), "alarm", alarm.id, "cover", data={"officer_ids": sorted(map(str, news))}
    )
    changes.tell(uow, "alarm", alarm, "cover", to=recipients.hear_of_alarm(alarm))
    return True


def _end(uow: UnitOfWork, alarm_id: UUID) -> bool:
    # Without waiting: somebody who presses a button on it comes first.
    alarm = uow.session.scalar(
        select(Alarm)
        .where(Alarm.id == alarm_id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if alarm is None:
        return False
    system = system_actor(uow.town)
    if alarm.state in (AlarmState.RAISED, AlarmState.ACKNOWLEDGED):
        alarms.right_itself(uow, system, alarm)
        return True
    if alarm.kind == AlarmKind.OUTAGE and alarm.state == AlarmState.DISPATCHED:
        # It would stand for silences of which nobody is told. Who was sent goes on: he finds out why.
        return alarms.clear(uow, system, alarm, command_id=None)
    return False
