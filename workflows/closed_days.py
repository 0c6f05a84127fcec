"""Closing a day: one row per officer, so that a replay reads a thousand rows of the town, or one of his, not millions.

A row holds the track twice: thinned, for a replay of many, and with every fix, for a replay of one. A day is the
town's, from its midnight to the next, because that is what the desk asks for.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
from sqlalchemy import Date, DateTime, TextClause, bindparam, delete, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, insert

from backend.core.uow import UnitOfWork
from backend.models import LateDay, Shift, Town, TrackDay
from geo import motion, packing
from geo.motion import Track
from workflows import access, tracks_of

AT_ONCE = 50
MOST_POINTS = 240
TOLERANCE_M = 5.0
LOOK_BACK_DAYS = 5
"""How many days back are looked at for officers without a track: a worker that was away for less catches up."""


_zones: dict[UUID, ZoneInfo] = {}


def zone_of(uow: UnitOfWork) -> ZoneInfo:
    """Return the time zone of the town, which is given to it once and therefore asked for once."""
    zone = _zones.get(uow.town)
    if zone is None:
        named = uow.session.scalars(select(Town.time_zone).where(Town.id == uow.town)).one()
        zone = _zones[uow.town] = ZoneInfo(named)
    return zone


def bounds(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the first moment of a day in ``zone`` and of the next one, in UTC."""
    first, last = (datetime.combine(d, time(), zone) for d in (day, day + timedelta(days=1)))
    return first.astimezone(UTC), last.astimezone(UTC)


def whole_days(since: datetime, until: datetime, zone: ZoneInfo) -> list[date]:
    """Return the days of which ``[since, until)`` is made; none when it begins or ends within a day."""
    first, end = since.astimezone(zone), until.astimezone(zone)
    if (first.time(), end.time()) != (time(), time()):
        return []
    return [first.date() + timedelta(days=n) for n in range((end.date() - first.date()).days)]


def over(uow: UnitOfWork) -> list[date]:
    """Return the days that may lack tracks: the last ones that are over, and those that got fixes late."""
    today = uow.now.astimezone(zone_of(uow)).date()
    late = uow.session.scalars(select(LateDay.day).where(LateDay.day < today).distinct())
    return sorted({today - timedelta(days=age) for age in range(1, LOOK_BACK_DAYS + 1)} | set(late))


def due(uow: UnitOfWork, day: date) -> list[UUID]:
    """Return the officers whose track of a closed day is missing, or was made before late fixes came."""
    made = select(TrackDay.officer_id).where(TrackDay.day == day, TrackDay.fixes.is_not(None))
    late = select(LateDay.officer_id).where(LateDay.day == day)
    return list(
        uow.session.scalars(
            select(Shift.officer_id)
            .where(access.during(*bounds(day, zone_of(uow))))
            .where(Shift.officer_id.not_in(made) | Shift.officer_id.in_(late))
            .distinct()
            .limit(AT_ONCE)
        )
    )


def make(uow: UnitOfWork, day: date, officer_ids: list[UUID]) -> int:
    """Make the tracks of officers on a closed day, anew where there are some; return how many."""
    since, until = bounds(day, zone_of(uow))
    uow.session.execute(delete(LateDay).where(LateDay.day == day, LateDay.officer_id.in_(officer_ids)))
    shifts = tracks_of.shifts_between(uow, officer_ids, since=since, until=until, scope=None)
    found = tracks_of.read(uow, shifts, since=since, until=until)
    for officer_id in officer_ids:
        row = _row(uow, day, officer_id, found.get(officer_id))
        uow.session.execute(
            insert(TrackDay)
            .values(**row)
            .on_conflict_do_update(index_elements=[TrackDay.day, TrackDay.officer_id], set_=row)
        )
    return len(officer_ids)


def _row(uow: UnitOfWork, day: date, officer_id: UUID, track: Track | None) -> dict[str, object]:
    row: dict[str, object] = {
        "town_id": uow.town, "officer_id": officer_id, "day": day, "fix_count": 0, "length_m": 0.0, "built_at": uow.now,
    }  # fmt: skip
    if track is None:
        nothing = Track.of([])
        return row | {"points": _pack(nothing), "fixes": packing.pack_whole(nothing)}
    return row | {
        "points": _pack(track.showable()),
        "fixes": packing.pack_whole(track),
        "fix_count": len(track.epoch_s),
        "length_m": motion.length_m(track),
    }


def _pack(shown: Track) -> bytes:
    kept = motion.thin(shown.epoch_s, shown.lon, shown.lat, MOST_POINTS, tolerance_m=TOLERANCE_M).kept
    starts = [part.start for part in motion.segments(shown.epoch_s)]
    part = np.searchsorted(starts, kept, side="right")
    return packing.pack(shown.epoch_s[kept], shown.lon[kept], shown.lat[kept], part)


def close(uow: UnitOfWork, day: date) -> int:
    """Make some of the tracks that a closed day still lacks; return how many, so that a caller goes on until 0."""
    officer_ids = due(uow, day)
    return make(uow, day, officer_ids) if officer_ids else 0


def close_some(uow: UnitOfWork) -> int:
    """Make some of the tracks that days which are over still lack; return how many, 0 when nothing is left to do."""
    return next((made for day in over(uow) if (made := close(uow, day))), 0)


class ClosedTrack(NamedTuple):
    """One officer's track of one closed day, packed: thinned, or with every fix."""

    officer_id: UUID
    points: bytes
    fix_count: int
    length_m: float


_CLOSED = """
with days as (select * from unnest(:days, :firsts, :ends) d (day, first, after)),
ours as materialized (select id from areas where ancestors && :scope),
worked as (
  select s.officer_id, s.started_at, s.ended_at, s.area_id in (select id from ours) as ours
  from shifts s
  where s.officer_id in (select unnest(cast(:officers as uuid[])))
    and s.started_at < :until and s.started_at > :earliest and (s.ended_at is null or s.ended_at >= :since)
),
left_out as (
  select officer_id from worked where not ours
  union all
  select w.officer_id from worked w
  join days d on w.started_at < d.after and (w.ended_at is null or w.ended_at >= d.first)
  left join track_days t on t.officer_id = w.officer_id and t.day = d.day
  where t.{column} is null
  union all
  select officer_id from late_days where day = any (:days)
)
select officer_id, {column}, fix_count, length_m from track_days
where day = any (:days) and officer_id = any (cast(:officers as uuid[]))
  and officer_id not in (select officer_id from left_out)
order by officer_id, day
"""
_UUIDS = ARRAY(postgresql.UUID(as_uuid=True))
_MOMENTS = ARRAY(DateTime(timezone=True))
_THINNED, _WHOLE = (
    text(_CLOSED.format(column=column)).bindparams(
        bindparam("days", type_=ARRAY(Date())),
        bindparam("firsts", type_=_MOMENTS),
        bindparam("ends", type_=_MOMENTS),
        bindparam("scope", type_=_UUIDS),
    )
    for column in ("points", "fixes")
)


def tracks(
    uow: UnitOfWork,
    officer_ids: Sequence[UUID],
    days: Sequence[date],
    zone: ZoneInfo,
    *,
    scope: Sequence[UUID],
) -> list[ClosedTrack]:
    """Return the packed tracks of days, by officer and day, of those officers for whom they say all there is.

    Left out is whoever has no track yet for a day on which he worked, got fixes since it was made, or did a shift
    outside ``scope`` on these days: a packed track cannot be divided.
    """
    return _tracks(uow, _THINNED, officer_ids, days, zone, scope)


def read(
    uow: UnitOfWork,
    officer_ids: Sequence[UUID],
    *,
    since: datetime,
    until: datetime,
    scope: Sequence[UUID],
) -> dict[UUID, Track]:
    """Return what officers' fixes say of ``[since, until)``, as measured, from the shifts that they did in ``scope``.

    Whose days are all closed, and say all there is, is read from these days' rows; everybody else fix by fix. Who has
    no fixes is left out.
    """
    zone = zone_of(uow)
    first, last = (moment.astimezone(zone).date() for moment in (since, until - timedelta(microseconds=1)))
    found: dict[UUID, Track] = {}
    if officer_ids and last < uow.now.astimezone(zone).date():
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        parts: dict[UUID, list[Track]] = {}
        for officer_id, fixes, _, _ in _tracks(uow, _WHOLE, officer_ids, days, zone, scope):
            parts.setdefault(officer_id, []).append(packing.unpack_whole(fixes))
        found = {officer_id: _within(days_of, since, until) for officer_id, days_of in parts.items()}
    rest = [officer_id for officer_id in officer_ids if officer_id not in found]
    if rest:
        shifts = tracks_of.shifts_between(uow, rest, since=since, until=until, scope=scope)
        found |= tracks_of.read(uow, shifts, since=since, until=until)
    return {officer_id: track for officer_id, track in found.items() if len(track.epoch_s)}


def _within(days: Sequence[Track], since: datetime, until: datetime) -> Track:
    """Join days that follow each other, and cut the track to ``[since, until)``."""
    track = days[0] if len(days) == 1 else Track._make(map(np.concatenate, zip(*days, strict=True)))
    first, last = np.searchsorted(track.epoch_s, [since.timestamp(), until.timestamp()])
    return track if last - first == len(track.epoch_s) else track.at(slice(first, last))


def _tracks(
    uow: UnitOfWork,
    statement: TextClause,
    officer_ids: Sequence[UUID],
    days: Sequence[date],
    zone: ZoneInfo,
    scope: Sequence[UUID],
) -> list[ClosedTrack]:
    firsts, ends = zip(*(bounds(day, zone) for day in days), strict=True)
    rows = uow.session.execute(
        statement,
        {
            "days": days,
            "firsts": firsts,
            "ends": ends,
            "since": firsts[0],
            "until": ends[-1],
            "earliest": firsts[0] - access.LONGEST_SHIFT,
            # As one text: to quote a thousand elements one by one takes longer than the question itself.
            "officers": "{" + ",".join(map(str, officer_ids)) + "}",
            "scope": list(scope),
        },
    )
    return list(map(ClosedTrack._make, rows.all()))
