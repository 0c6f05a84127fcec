"""Silences: when nothing was heard of an officer's phone on shift, and the likely cause.

Written from the watchdog's alarms a few days after, when phones that were offline have brought what they had measured
(``patrols.OFFLINE``), and while the fixes that tell the cause are still kept. Of fixes and places nothing stays here
but what they mean.

The causes, the surest first: many fell silent at once (``outage``); the phone measured on and sent it later
(``no_network``); its battery was nearly empty (``battery``); others fell silent at the same place
(``dropout_place``); the phone had power and came back in the same shift, so something had stopped the app
(``phone_settings``); else nobody can say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import exists, literal, select, text
from sqlalchemy.dialects.postgresql import insert

from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AlarmKind, SilenceCause
from backend.models import Alarm, Shift, Silence
from workflows import alarms
from workflows.patrols import OFFLINE
from workflows.watchdog import LOW_PCT

LOOK_BACK = timedelta(days=14)
"""A worker that was away for less catches up; of what is older nothing is known any more."""
AT_ONCE = 50
NEAR_M = 150.0
"""Who falls silent within this distance of where others did is in a place without a signal."""
OTHERS, OTHERS_SINCE = 2, timedelta(days=30)
"""So many others make a place one without a signal, if it happened to them within this time."""


@dataclass(frozen=True)
class Clues:
    """What is known of a silence: of the phone before and after it, of others, and of fixes that came later."""

    is_outage: bool = False
    brought_later: int = 0
    battery_pct: float | None = None
    charging: bool | None = None
    others_here: int = 0
    came_back: bool = False

    @property
    def cause(self) -> SilenceCause:
        """The likely cause: the surest of those that apply."""
        if self.is_outage:
            return SilenceCause.OUTAGE
        if self.brought_later:
            return SilenceCause.NO_NETWORK
        if self.battery_pct is not None and self.battery_pct < LOW_PCT and not self.charging:
            return SilenceCause.BATTERY
        if self.others_here >= OTHERS:
            return SilenceCause.DROPOUT_PLACE
        if self.came_back and self.battery_pct is not None:
            return SilenceCause.PHONE_SETTINGS
        return SilenceCause.UNKNOWN

    def told(self) -> dict[str, Any]:
        """Return what is kept of them."""
        return {
            "brought_later": self.brought_later,
            "battery_pct": self.battery_pct,
            "charging": self.charging,
            "others_here": self.others_here,
            "came_back": self.came_back,
        }


# A fix counts as heard when it arrived in time; what was measured meanwhile and came later tells of the network.
_FIXES = text("""
with his as (
  select f.fixed_at, f.received_at, f.battery_pct, f.charging
  from fixes f
  where f.device_id in (select id from devices where officer_id = :officer)
    and f.fixed_at >= :heard_at - interval '15 minutes' and f.fixed_at <= :ends_at and f.shift_id = :shift
)
select
  (select count(*) from his where fixed_at > :heard_at and fixed_at < :over_at
     and received_at > fixed_at + interval '5 minutes') as brought_later,
  (select min(fixed_at) from his where fixed_at > :heard_at and received_at <= fixed_at + interval '5 minutes')
    as again_at,
  (select max(fixed_at) from his where fixed_at > :heard_at and fixed_at < :over_at) as last_at,
  last.battery_pct, last.charging
from (select 1) one
left join lateral (
  select battery_pct, charging from his where fixed_at <= :heard_at and battery_pct is not null
  order by fixed_at desc limit 1
) last on true
""")
_OTHERS = text("""
select count(distinct a.officer_id)
from alarms here
join alarms a on a.town_id = here.town_id and a.kind = 'silent' and a.officer_id <> :officer
  and a.raised_at > here.raised_at - cast(:since as interval) and a.raised_at < :now
  and a.geom is not null and ST_DWithin(a.geom, here.geom, :near_m)
where here.id = :alarm and here.geom is not null
""")


def note(uow: UnitOfWork) -> int:
    """Write down silences that are over for long enough, at most ``AT_ONCE`` alarms; return how many were looked at."""
    known = exists(select(literal(1)).where(Silence.alarm_id == Alarm.id))
    query = (
        select(Alarm)
        .where(
            Alarm.town_id == uow.town,
            Alarm.kind.in_([AlarmKind.SILENT, AlarmKind.OUTAGE]),
            Alarm.raised_at > uow.now - LOOK_BACK,
            Alarm.raised_at < uow.now - OFFLINE,
            ~known,
            # An outage that covered nobody leaves nothing to be written, and would be looked at for ever.
            (Alarm.kind == AlarmKind.SILENT) | Alarm.detail.has_key("covered"),
            (Alarm.kind == AlarmKind.OUTAGE) | (Alarm.shift_id.is_not(None) & Alarm.officer_id.is_not(None)),
        )
        .order_by(Alarm.raised_at, Alarm.id)
        .limit(AT_ONCE)
    )
    found = list(uow.session.scalars(query))
    written = 0
    for alarm in found:
        written += sum(
            _note(uow, alarm, officer_id, heard_at) for officer_id, heard_at in _silent(alarm).items()
        )
    return written


def _silent(alarm: Alarm) -> Mapping[UUID, datetime]:
    if alarm.kind == AlarmKind.OUTAGE:
        return alarms.covered(alarm.detail)
    assert alarm.officer_id is not None
    told = alarm.detail.get("heard_at")
    return {alarm.officer_id: datetime.fromisoformat(told) if told else alarm.raised_at}


def _note(uow: UnitOfWork, alarm: Alarm, officer_id: UUID, heard_at: datetime) -> int:
    shift = uow.session.scalar(
        select(Shift)
        .where(Shift.officer_id == officer_id, Shift.started_at <= heard_at)
        .order_by(Shift.started_at.desc())
        .limit(1)
    )
    if shift is None:
        return 0
    ends_at = max(heard_at, shift.ended_at or shift.closes_at)
    over_at = max(heard_at, min(alarm.cleared_at or alarm.dismissed_at or ends_at, ends_at))
    row = uow.session.execute(
        _FIXES,
        {
            "officer": officer_id,
            "shift": shift.id,
            "heard_at": heard_at,
            "over_at": over_at,
            "ends_at": ends_at,
        },
    ).one()
    others = uow.session.scalar(
        _OTHERS,
        {
            "alarm": alarm.id, "officer": officer_id, "near_m": NEAR_M, "now": uow.now,
            "since": OTHERS_SINCE,
        },
    )  # fmt: skip
    clues = Clues(
        alarm.kind == AlarmKind.OUTAGE, row.brought_later, row.battery_pct, row.charging, others or 0,
        row.again_at is not None,
    )  # fmt: skip
    # What the desk has dismissed may have gone on: it is over when the phone was heard again, or with the shift.
    until_at = row.again_at or (ends_at if alarm.dismissed_at else over_at)
    made = insert(Silence).values(
        id=new_id(), town_id=uow.town, alarm_id=alarm.id, officer_id=officer_id, shift_id=shift.id,
        heard_at=heard_at, until_at=max(heard_at, until_at), cause=clues.cause, clues=clues.told(), noted_at=uow.now,
    )  # fmt: skip
    made = made.on_conflict_do_nothing(index_elements=[Silence.alarm_id, Silence.officer_id])
    return len(uow.session.scalars(made.returning(Silence.id)).all())
