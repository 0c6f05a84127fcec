"""Closing a day: one thinned track per officer, so that a replay of the town reads a thousand rows, not millions.

A day is the town's, from its midnight to the next, because that is what the desk asks for.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
from sqlalchemy import any_, delete, literal, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, insert

from backend.core.uow import UnitOfWork
from backend.models import Area, LateDay, Shift, Town, TrackDay
from geo import motion, packing
from geo.motion import Track
from workflows import access, tracks_of

AT_ONCE = 50
MOST_POINTS = 240
TOLERANCE_M = 5.0
LOOK_BACK_DAYS = 5
"""How many days back are looked at for officers without a track: a worker that was away for less catches up."""

_UUIDS = ARRAY(postgresql.UUID(as_uuid=True))


def zone_of(uow: UnitOfWork) -> ZoneInfo:
    """Return the time zone of the town."""
    return ZoneInfo(uow.session.scalars(select(Town.time_zone).where(Town.id == uow.town)).one())


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
    made = select(TrackDay.officer_id).where(TrackDay.day == day)
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
        return row | {"points": _pack(Track.of([]))}
    return row | {
        "points": _pack(track.showable()),
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
    """One officer's thinned track of one closed day, packed."""

    officer_id: UUID
    points: bytes
    fix_count: int
    length_m: float


def tracks(
    uow: UnitOfWork, officer_ids: Sequence[UUID], days: Sequence[date], *, scope: Sequence[UUID]
) -> list[ClosedTrack]:
    """Return the packed tracks of days, by officer and day, of those officers for whom they say all there is.

    Left out is whoever has no track yet for a day on which he worked, got fixes since it was made, or did a shift
    outside ``scope`` on these days: a packed track cannot be divided.
    """
    zone = zone_of(uow)
    spans = {day: bounds(day, zone) for day in days}
    asked = any_(literal(list(officer_ids), _UUIDS))
    shifts = uow.session.execute(
        select(Shift.officer_id, Shift.area_id, Shift.started_at, Shift.ended_at).where(
            Shift.officer_id == asked, access.during(spans[days[0]][0], spans[days[-1]][1])
        )
    ).all()
    rows = uow.session.execute(
        select(TrackDay.day, TrackDay.officer_id, TrackDay.points, TrackDay.fix_count, TrackDay.length_m)
        .where(TrackDay.day.in_(days), TrackDay.officer_id == asked)
        .order_by(TrackDay.officer_id, TrackDay.day)
    ).all()
    late = uow.session.scalars(
        select(LateDay.officer_id).where(LateDay.day.in_(days), LateDay.officer_id == asked)
    )
    ours = set(
        uow.session.scalars(
            select(Area.id).where(
                Area.id.in_({row.area_id for row in shifts}),
                Area.ancestors.overlap(literal(list(scope), _UUIDS)),
            )
        )
    )
    made = {(row.officer_id, row.day) for row in rows}
    left_out = set(late)
    for officer_id, area_id, started_at, ended_at in shifts:
        if area_id not in ours or any(
            started_at < until and (ended_at is None or ended_at >= since) and (officer_id, day) not in made
            for day, (since, until) in spans.items()
        ):
            left_out.add(officer_id)
    return [ClosedTrack(*row[1:]) for row in rows if row.officer_id not in left_out]
