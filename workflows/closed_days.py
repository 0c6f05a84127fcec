"""Closing a day: one thinned track per officer, so that a replay of the town reads a thousand rows, not millions."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import numpy as np
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from backend.core.uow import UnitOfWork
from backend.models import LateDay, Shift, TrackDay
from geo import motion, packing
from geo.motion import Track
from workflows import tracks_of

AT_ONCE = 50
MOST_POINTS = 240
TOLERANCE_M = 5.0


def due(uow: UnitOfWork, day: date) -> list[UUID]:
    """Return the officers whose track of a closed day is missing, or was made before late fixes came."""
    since, until = bounds(day)
    worked = (
        select(Shift.officer_id)
        .where(Shift.started_at < until, Shift.started_at > since - tracks_of.LONGEST_SHIFT)
        .where(Shift.ended_at.is_(None) | (Shift.ended_at >= since))
    )
    made = select(TrackDay.officer_id).where(TrackDay.day == day)
    late = select(LateDay.officer_id).where(LateDay.day == day)
    return list(
        uow.session.scalars(
            select(Shift.officer_id)
            .where(Shift.officer_id.in_(worked))
            .where(Shift.officer_id.not_in(made) | Shift.officer_id.in_(late))
            .distinct()
            .limit(AT_ONCE)
        )
    )


def bounds(day: date) -> tuple[datetime, datetime]:
    """Return the first moment of a day (UTC) and of the next one."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return start, start + timedelta(days=1)


def make(uow: UnitOfWork, day: date, officer_ids: list[UUID]) -> int:
    """Make the tracks of officers on a closed day, anew where there are some; return how many."""
    since, until = bounds(day)
    uow.session.execute(delete(LateDay).where(LateDay.day == day, LateDay.officer_id.in_(officer_ids)))
    shifts = tracks_of.shifts_between(uow, officer_ids, since=since, until=until)
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
    empty = np.zeros(0)
    if track is None:
        return row | {"points": packing.pack(empty, empty, empty)}
    shown = track.showable()
    if len(shown.epoch_s) == 0:
        return row | {"points": packing.pack(empty, empty, empty), "fix_count": len(track.epoch_s)}
    kept = motion.thin(shown.epoch_s, shown.lon, shown.lat, MOST_POINTS, tolerance_m=TOLERANCE_M).kept
    points = packing.pack(shown.epoch_s[kept], shown.lon[kept], shown.lat[kept])
    return row | {"points": points, "fix_count": len(track.epoch_s), "length_m": motion.length_m(track)}


def close(uow: UnitOfWork, day: date) -> int:
    """Make some of the tracks that a closed day still lacks; return how many, so that a caller goes on until 0."""
    officer_ids = due(uow, day)
    return make(uow, day, officer_ids) if officer_ids else 0
