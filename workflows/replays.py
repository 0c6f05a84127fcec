"""Replays: where officers were over a chosen time. Each look states its reason and is written down first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from sqlalchemy import select

from backend.core.errors import Invalid, NotVisible
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.paging import Page, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Disclosure
from backend.models import Crew, Shift, TrackDay, User
from geo import gpx, motion, packing, queries
from geo.fixes import Fix
from geo.motion import Track
from geo.queries import Point
from workflows import access, journal, tracks_of

LONGEST = timedelta(days=7)
MOST_OFFICERS = 200
MOST_POINTS_EACH = 5000
MOST_POINTS = 200_000
CAREFULLY_THINNED = 8
"""Up to so many officers each point is chosen for what it adds; of more, one point a time step is taken."""
DAYS_FROM = 20
"""From so many officers on, whole closed days are read as their thinned tracks."""


@dataclass(frozen=True)
class OfficerTrack:
    """One officer's part of a replay. ``segments`` hold [lon, lat, epoch_s, speed_mps]; between two is a gap."""

    officer_id: UUID
    display_name: str
    call_sign: str | None
    segments: list[list[list[float | None]]]
    fix_count: int
    length_m: float
    thinned: bool


@dataclass(frozen=True)
class Replay:
    """The answer to one look; ``id`` stands in each officer's disclosure."""

    id: UUID
    since: datetime
    until: datetime
    tracks: list[OfficerTrack]
    simplified: bool


def look(
    uow: UnitOfWork,
    actor: Actor,
    *,
    officer_ids: Sequence[UUID] | None,
    area_id: UUID | None,
    since: datetime,
    until: datetime,
    reason: str,
) -> Replay:
    """Replay officers by name, or all who did shifts in an area.

    Raises:
        Invalid: the span is empty or longer than seven days, or nobody is named.
        NotVisible: one of the officers or the area is not the actor's to see.
    """
    access.require(actor, "see", "track")
    _check_span(since, until)
    officers = _chosen(uow, actor, officer_ids, area_id, since, until)
    replay_id = new_id()
    for officer in officers:
        journal.disclose(
            uow, actor, "user", officer.id, Disclosure.REPLAY, reason=reason,
            data={"replay_id": str(replay_id), "from": since.isoformat(), "to": until.isoformat()},
        )  # fmt: skip
    uow.session.flush()
    ids = [officer.id for officer in officers]
    if len(ids) >= DAYS_FROM and _whole_closed_days(uow, since, until):
        drawn, simplified = _closed_days(uow, ids, since, until), True
    else:
        drawn, simplified = _measured(uow, ids, since, until), False
    names = {officer.id: officer.display_name for officer in officers}
    signs = _call_signs(uow, ids, since, until)
    tracks = [
        OfficerTrack(i, names[i], signs.get(i), *drawn.get(i, ([], 0, 0.0, False))) for i in ids
    ]  # fmt: skip
    return Replay(replay_id, since, until, tracks, simplified)


def _check_span(since: datetime, until: datetime) -> None:
    if not timedelta(0) < until - since <= LONGEST:
        raise Invalid("A replay spans more than nothing and at most seven days.", to=["out of range"])


def _chosen(
    uow: UnitOfWork,
    actor: Actor,
    officer_ids: Sequence[UUID] | None,
    area_id: UUID | None,
    since: datetime,
    until: datetime,
) -> list[User]:
    """Return the officers asked for; each has to be in the actor's scope, and one who is not refuses all."""
    scope = access.roots(actor, "see", "track")
    if (officer_ids is None) == (area_id is None):
        raise Invalid("Name officers, or an area.", officer_ids=["or area_id"])
    if officer_ids is not None:
        wanted = list(dict.fromkeys(officer_ids))
        if not wanted or len(wanted) > MOST_OFFICERS:
            raise Invalid(f"Name one to {MOST_OFFICERS} officers.", officer_ids=["too many or none"])
        found = list(
            uow.session.scalars(
                select(User).where(User.id.in_(wanted), User.id.in_(access.officers_within(scope)))
            )
        )
        if len(found) != len(wanted):
            raise NotVisible()
        return sorted(found, key=lambda user: user.display_name)
    assert area_id is not None
    if not access.covers(uow, actor, "see", "track", area_id):
        raise NotVisible()
    on_duty = (
        select(Shift.officer_id)
        .where(access.within(Shift.area_id, [area_id]), Shift.started_at < until)
        .where(Shift.started_at > since - tracks_of.LONGEST_SHIFT)
        .where(Shift.ended_at.is_(None) | (Shift.ended_at >= since))
    )
    query = select(User).where(User.id.in_(on_duty), User.id.in_(access.officers_within(scope)))
    return list(uow.session.scalars(query.order_by(User.display_name, User.id).limit(MOST_OFFICERS)))


def _measured(
    uow: UnitOfWork, ids: Sequence[UUID], since: datetime, until: datetime
) -> dict[UUID, tuple[list[Any], int, float, bool]]:
    """Return the fixes as measured, without those that were flagged, thinned to what a screen can show."""
    shifts = tracks_of.shifts_between(uow, ids, since=since, until=until)
    found = tracks_of.read(uow, shifts, since=since, until=until)
    most = max(200, min(MOST_POINTS_EACH, MOST_POINTS // max(1, len(found))))
    drawn = {}
    for officer_id, track in found.items():
        shown = track.showable()
        kept = _thinned(shown, most, carefully=len(found) <= CAREFULLY_THINNED)
        segments = _segments(shown, kept)
        drawn[officer_id] = (
            segments,
            len(track.epoch_s),
            motion.length_m(track),
            len(kept) < len(shown.epoch_s),
        )
    return drawn


def _thinned(track: Track, most: int, *, carefully: bool) -> motion.Ints:
    """Return the numbers of the points to draw, at most about ``most``."""
    count = len(track.epoch_s)
    if count <= most:
        return np.arange(count)
    if carefully:
        return motion.thin(track.epoch_s, track.lon, track.lat, most).kept
    span_s = max(1.0, float(track.epoch_s[-1] - track.epoch_s[0]))
    steps = np.floor((track.epoch_s - track.epoch_s[0]) / (span_s / (most // 2)))
    firsts = np.flatnonzero(np.diff(steps, prepend=-1.0))
    ends = [edge for part in motion.segments(track.epoch_s) for edge in (part.start, part.stop - 1)]
    return np.union1d(firsts, ends)


def _segments(track: Track, kept: motion.Ints) -> list[list[list[float | None]]]:
    """Return the points to draw, cut where the measured track has gaps."""
    segments = []
    for part in motion.segments(track.epoch_s):
        chosen = kept[np.searchsorted(kept, part.start) : np.searchsorted(kept, part.stop)]
        piece = track.at(chosen)
        speeds = [None if np.isnan(v) else round(v, 1) for v in piece.speed_mps.tolist()]
        rows = zip(piece.lon.tolist(), piece.lat.tolist(), piece.epoch_s.tolist(), speeds, strict=True)
        segments.append([[round(lon, 6), round(lat, 6), round(at, 1), speed] for lon, lat, at, speed in rows])
    return segments


def _whole_closed_days(uow: UnitOfWork, since: datetime, until: datetime) -> bool:
    """Say whether the span is made of whole days (UTC) whose tracks have been made."""
    if (since.timestamp() % 86400, until.timestamp() % 86400) != (0, 0) or until > uow.now:
        return False
    days = _days(since, until)
    made = set(uow.session.scalars(select(TrackDay.day).where(TrackDay.day.in_(days)).distinct()))
    return made == set(days)


def _days(since: datetime, until: datetime) -> list[date]:
    first = since.astimezone(UTC).date()
    return [first + timedelta(days=n) for n in range((until - since).days)]


class ClosedTrack(NamedTuple):
    """One officer's thinned track of one closed day, packed."""

    officer_id: UUID
    points: bytes
    fix_count: int
    length_m: float


def closed_tracks(
    uow: UnitOfWork, ids: Sequence[UUID], since: datetime, until: datetime
) -> list[ClosedTrack]:
    """Return the tracks that were made when the days of the span were closed, by officer and day."""
    rows = uow.session.execute(
        select(TrackDay.officer_id, TrackDay.points, TrackDay.fix_count, TrackDay.length_m)
        .where(TrackDay.day.in_(_days(since, until)), TrackDay.officer_id.in_(ids))
        .order_by(TrackDay.officer_id, TrackDay.day)
    )
    return [ClosedTrack(*row) for row in rows]


def _closed_days(
    uow: UnitOfWork, ids: Sequence[UUID], since: datetime, until: datetime
) -> dict[UUID, tuple[list[Any], int, float, bool]]:
    """Return closed tracks as a replay shows them."""
    drawn: dict[UUID, tuple[list[Any], int, float, bool]] = {}
    for officer_id, points, fix_count, length_m in closed_tracks(uow, ids, since, until):
        epoch_s, lon, lat = packing.unpack(points)
        nan = np.full(len(epoch_s), np.nan)
        track = Track(epoch_s, lon, lat, nan, nan, np.zeros(len(epoch_s), dtype=np.int64))
        segments = _segments(track, np.arange(len(epoch_s)))
        before = drawn.get(officer_id, ([], 0, 0.0, True))
        drawn[officer_id] = (before[0] + segments, before[1] + fix_count, before[2] + length_m, True)
    return drawn


def _call_signs(uow: UnitOfWork, ids: Sequence[UUID], since: datetime, until: datetime) -> dict[UUID, str]:
    rows = uow.session.execute(
        select(Shift.officer_id, Crew.call_sign)
        .join(Crew, Crew.id == Shift.crew_id)
        .where(Shift.officer_id.in_(ids), Shift.started_at < until)
        .where(Shift.started_at > since - tracks_of.LONGEST_SHIFT)
        .order_by(Shift.started_at)
    )
    return {row.officer_id: row.call_sign for row in rows}


def export(
    uow: UnitOfWork, actor: Actor, officer_id: UUID, *, since: datetime, until: datetime, reason: str
) -> bytes:
    """Return one officer's fixes with all they say as GPX 1.1; the export is written down."""
    _check_span(since, until)
    officer = access.officer(uow, actor, officer_id, verb="export", kind="track")
    journal.disclose(
        uow, actor, "user", officer.id, Disclosure.EXPORT, reason=reason,
        data={"from": since.isoformat(), "to": until.isoformat(), "format": "gpx"},
    )  # fmt: skip
    uow.session.flush()
    return _document(officer.display_name, _points(uow, officer.id, since, until))


def _points(uow: UnitOfWork, officer_id: UUID, since: datetime, until: datetime) -> list[Point]:
    shifts = tracks_of.shifts_between(uow, [officer_id], since=since, until=until).get(officer_id, [])
    devices = tracks_of.devices_of(uow, [officer_id]).get(officer_id, [])
    return queries.track(
        uow.session, devices=devices, shifts=shifts, since=since, until=until, limit=MOST_POINTS
    )  # fmt: skip


def own_track(
    uow: UnitOfWork,
    actor: Actor,
    shift_id: UUID,
    *,
    since: datetime | None,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Point]:
    """Return the actor's own fixes of a shift of his, in the order of their times."""
    shift = access.shift(uow, actor, shift_id)
    if shift.officer_id != actor.user_id:
        raise NotVisible()
    devices = tracks_of.devices_of(uow, [shift.officer_id]).get(shift.officer_id, [])
    found = queries.track(
        uow.session,
        devices=devices,
        shifts=[shift.id],
        since=max(since or shift.started_at, shift.started_at),
        until=(shift.ended_at or uow.now) + timedelta(minutes=3),
        limit=limit + 1,
        after=_after(after),
    )
    return page(found, limit, lambda point: (point.fixed_at.isoformat(), point.device_id, str(point.seq)))


def _after(after: Sequence[str] | None) -> tuple[datetime, UUID, int] | None:
    if after is None:
        return None
    try:
        at, device_id, seq = after
        return datetime.fromisoformat(at), UUID(device_id), int(seq)
    except ValueError as error:
        raise Invalid("This cursor is not one of ours.", "bad_cursor", cursor=["unreadable"]) from error


def own_export(uow: UnitOfWork, actor: Actor, shift_id: UUID) -> bytes:
    """Return the actor's own fixes of a shift as GPX 1.1."""
    shift = access.shift(uow, actor, shift_id)
    if shift.officer_id != actor.user_id:
        raise NotVisible()
    until = (shift.ended_at or uow.now) + timedelta(minutes=3)
    return _document(shift.officer.display_name, _points(uow, shift.officer_id, shift.started_at, until))


def _document(name: str, points: Sequence[Point]) -> bytes:
    """Return points as a GPX document whose segments end at gaps; flagged ones are in it and say so."""
    fixes = [
        Fix(
            fixed_at=point.fixed_at,
            lon=point.lon,
            lat=point.lat,
            accuracy_m=point.accuracy_m,
            altitude_m=point.altitude_m,
            speed_mps=point.speed_mps,
            heading_deg=point.heading_deg,
            battery_pct=point.battery_pct,
            flags=point.flags,
            seq=point.seq,
        )
        for point in points
    ]
    epoch_s = np.array([fix.fixed_at.timestamp() for fix in fixes])
    return gpx.write(gpx.document_of(name, [fixes[part] for part in motion.segments(epoch_s)]))
