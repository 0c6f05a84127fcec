"""Replays: where officers were over a chosen time. Each look states its reason and is written down first.

What is drawn is computed on native threads, a few officers at a time, because sockets share the web process's thread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from sqlalchemy import Select, select

from backend.core.errors import Invalid, NotVisible
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.native import NativeThreads
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Disclosure
from backend.models import Crew, Shift, User
from geo import gpx, motion, packing, queries
from geo.fixes import Fix
from geo.motion import Track
from geo.queries import Point
from workflows import access, closed_days, journal, tracks_of
from workflows.closed_days import ClosedTrack

LONGEST = timedelta(days=7)
MOST_OFFICERS = 1000
MOST_OFFICER_DAYS = 200
"""How much is read fix by fix: so many officers for a day, or a seventh of them for a week."""
MOST_POINTS_EACH = 5000
MOST_POINTS = 200_000
CAREFULLY_THINNED = 8
"""Up to so many officers each point is chosen for what it adds; of more, one point a time step is taken."""
DAYS_FROM = 20
"""From so many officers on, whole closed days are read as their thinned tracks."""
AT_ONCE = 10
"""So many officers are read and drawn at once; between, others have their turn."""
WRITTEN_AT_ONCE = 50
"""So many disclosures are written at once, for the same reason."""
MOST_EXPORTED = 200_000
"""More than two days of a fix each second. A document with more is refused, never cut."""
PAGE = 5000

drawing = NativeThreads(2, "replay")
Segments = list[list[tuple[Any, ...]]]


@dataclass(frozen=True)
class OfficerTrack:
    """One officer's part of a replay. ``segments`` hold (lon, lat, epoch_s, speed_mps); between two is a gap."""

    officer_id: UUID
    display_name: str
    call_sign: str | None
    segments: Segments
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
    """Whether tracks of closed days are among them."""


class Officer(NamedTuple):
    """Whom a look is about."""

    id: UUID
    display_name: str


class Drawn(NamedTuple):
    """What there is to draw of one officer, and what it is drawn from."""

    segments: Segments
    fix_count: int
    length_m: float
    thinned: bool


NOTHING = Drawn([], 0, 0.0, False)


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

    Shown are the shifts in the actor's areas, or in the area that he names: what somebody did in another area, or
    before he came to this one, is that area's to see.

    Raises:
        Invalid: the span is empty or longer than seven days, nobody is named, or ``too_much``.
        NotVisible: one of the officers or the area is not the actor's to see.
    """
    access.require(actor, "see", "track")
    _check_span(since, until)
    if (officer_ids is None) == (area_id is None):
        raise Invalid("Name officers, or an area.", officer_ids=["or area_id"])
    if area_id is None:
        assert officer_ids is not None
        scope = access.roots(actor, "see", "track")
        officers = _named(uow, scope, officer_ids, since, until)
    else:
        if not access.covers(uow, actor, "see", "track", area_id):
            raise NotVisible()
        scope = [area_id]
        officers = _on_duty(uow, area_id, since, until)
    replay_id = new_id()
    for number, officer in enumerate(officers, 1):
        journal.disclose(
            uow, actor, "user", officer.id, Disclosure.REPLAY, reason=reason,
            data={"replay_id": str(replay_id), "from": since.isoformat(), "to": until.isoformat()},
        )  # fmt: skip
        if number % WRITTEN_AT_ONCE == 0:
            uow.session.flush()
    uow.session.flush()
    ids = [officer.id for officer in officers]
    closed = _closed(uow, ids, since, until, scope)
    rest = [i for i in ids if i not in closed]
    if len(rest) * (until - since) > MOST_OFFICER_DAYS * timedelta(days=1):
        raise Invalid(
            f"These are {len(rest)} officers over {_span(until - since)}, more than can be read at once."
            " Choose a smaller area, fewer officers or a shorter time.",
            "too_much",
        )
    drawn = closed | _measured(uow, rest, since, until, scope)
    signs = _call_signs(uow, ids, since, until, scope)
    tracks = [
        OfficerTrack(officer.id, officer.display_name, signs.get(officer.id), *drawn.get(officer.id, NOTHING))
        for officer in officers
    ]
    return Replay(replay_id, since, until, tracks, bool(closed))


def _check_span(since: datetime, until: datetime) -> None:
    if not timedelta(0) < until - since <= LONGEST:
        raise Invalid("A replay spans more than nothing and at most seven days.", to=["out of range"])


def _span(span: timedelta) -> str:
    hours = round(span.total_seconds() / 3600)
    return f"{hours} hours" if hours < 48 else f"{round(hours / 24)} days"


def _named(
    uow: UnitOfWork, scope: Sequence[UUID], officer_ids: Sequence[UUID], since: datetime, until: datetime
) -> list[Officer]:
    """Return the officers asked for; each has to be in the actor's scope, and one who is not refuses all."""
    wanted = set(officer_ids)
    found = _officers(
        uow, select(User).where(User.id.in_(wanted), access.tracked_within(scope, since, until))
    )
    if not found or len(found) != len(wanted):
        raise NotVisible()
    return found


def _on_duty(uow: UnitOfWork, area_id: UUID, since: datetime, until: datetime) -> list[Officer]:
    """Return whoever did a shift in an area."""
    there = select(Shift.officer_id).where(
        access.within(Shift.area_id, [area_id]), access.during(since, until)
    )
    found = _officers(uow, select(User).where(User.id.in_(there)).limit(MOST_OFFICERS + 1))
    if len(found) > MOST_OFFICERS:
        raise Invalid(
            f"More than {MOST_OFFICERS} officers were on shift there. Choose a smaller area or a shorter time.",
            "too_much",
        )
    return found


def _officers(uow: UnitOfWork, query: Select[User]) -> list[Officer]:
    rows = uow.session.execute(
        query.with_only_columns(User.id, User.display_name).order_by(User.display_name, User.id)
    )
    return [Officer(*row) for row in rows]


def _closed(
    uow: UnitOfWork, ids: Sequence[UUID], since: datetime, until: datetime, scope: Sequence[UUID]
) -> dict[UUID, Drawn]:
    """Return the closed tracks that can stand for the fixes, where many officers are asked for over whole days."""
    if len(ids) < DAYS_FROM or until > uow.now:
        return {}
    zone = closed_days.zone_of(uow)
    days = closed_days.whole_days(since, until, zone)
    if not days or len(ids) * len(days) > MOST_OFFICERS:
        return {}
    return drawing.run(_unpacked, closed_days.tracks(uow, ids, days, zone, scope=scope))


def _unpacked(tracks: Sequence[ClosedTrack]) -> dict[UUID, Drawn]:
    drawn: dict[UUID, Drawn] = {}
    for officer_id, points, fix_count, length_m in tracks:
        epoch_s, lon, lat, part = packing.unpack(points)
        rows = list(zip(lon.tolist(), lat.tolist(), epoch_s.tolist(), [None] * len(lon), strict=True))
        edges = np.flatnonzero(np.diff(part)) + 1
        before = drawn.get(officer_id, NOTHING)
        drawn[officer_id] = Drawn(
            before.segments + [rows[a:b] for a, b in pairwise([0, *edges.tolist(), len(rows)]) if b > a],
            before.fix_count + fix_count,
            before.length_m + length_m,
            True,
        )
    return drawn


def _measured(
    uow: UnitOfWork, ids: Sequence[UUID], since: datetime, until: datetime, scope: Sequence[UUID]
) -> dict[UUID, Drawn]:
    """Return the fixes as measured, without those that were flagged, thinned to what a screen can show."""
    most = max(200, min(MOST_POINTS_EACH, MOST_POINTS // max(1, len(ids))))
    drawn: dict[UUID, Drawn] = {}
    for first in range(0, len(ids), AT_ONCE):
        found = closed_days.read(uow, ids[first : first + AT_ONCE], since=since, until=until, scope=scope)
        drawn |= drawing.run(_drawn, found, most, len(ids) <= CAREFULLY_THINNED)
    return drawn


def _drawn(found: Mapping[UUID, Track], most: int, carefully: bool) -> dict[UUID, Drawn]:
    drawn = {}
    for officer_id, track in found.items():
        shown = track.showable()
        kept = _thinned(shown, most, carefully=carefully)
        drawn[officer_id] = Drawn(
            _segments(shown, kept),
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


def _segments(track: Track, kept: motion.Ints) -> Segments:
    """Return the points to draw, cut where the measured track has gaps."""
    piece = track.at(kept)
    speeds = np.round(piece.speed_mps, 1).astype(object)
    speeds[np.isnan(piece.speed_mps)] = None
    rows = list(
        zip(
            np.round(piece.lon, 6).tolist(),
            np.round(piece.lat, 6).tolist(),
            np.round(piece.epoch_s, 1).tolist(),
            speeds.tolist(),
            strict=True,
        )
    )
    starts = [part.start for part in motion.segments(track.epoch_s)]
    edges = [*np.searchsorted(kept, starts).tolist(), len(rows)]
    return [rows[a:b] for a, b in pairwise(edges) if b > a]


def _call_signs(
    uow: UnitOfWork, ids: Sequence[UUID], since: datetime, until: datetime, scope: Sequence[UUID]
) -> dict[UUID, str]:
    rows = uow.session.execute(
        select(Shift.officer_id, Crew.call_sign)
        .join(Crew, Crew.id == Shift.crew_id)
        .where(Shift.officer_id.in_(ids), access.during(since, until), access.within(Shift.area_id, scope))
        .order_by(Shift.started_at)
    )
    return {row.officer_id: row.call_sign for row in rows}


def export(
    uow: UnitOfWork, actor: Actor, officer_id: UUID, *, since: datetime, until: datetime, reason: str
) -> bytes:
    """Return one officer's fixes with all they say as GPX 1.1, of the shifts that a replay would show.

    The export is written down for the officer to read. The command line calls it too, with the operator as the actor.

    Raises:
        Invalid: the span is empty or too long, or ``too_much``: the document would be cut.
        NotVisible: the officer is not the actor's to see.
    """
    access.require(actor, "export", "track")
    _check_span(since, until)
    scope = access.roots(actor, "export", "track")
    [officer] = _named(uow, scope, [officer_id], since, until)
    journal.disclose(
        uow, actor, "user", officer.id, Disclosure.EXPORT, reason=reason,
        data={"from": since.isoformat(), "to": until.isoformat(), "format": "gpx"},
    )  # fmt: skip
    uow.session.flush()
    shifts = tracks_of.shifts_between(uow, [officer.id], since=since, until=until, scope=scope)
    points = _points(uow, officer.id, shifts.get(officer.id, []), since, until)
    return drawing.run(_document, officer.display_name, points)


def _points(
    uow: UnitOfWork, officer_id: UUID, shifts: Sequence[UUID], since: datetime, until: datetime
) -> list[Point]:
    """Return all fixes of shifts, read a page at a time so that others have their turn."""
    devices = tracks_of.devices_of(uow, [officer_id]).get(officer_id, [])
    points: list[Point] = []
    more = True
    while more:
        if len(points) > MOST_EXPORTED:
            raise Invalid(f"There are more than {MOST_EXPORTED:,} fixes. Export a shorter time.", "too_much")
        after = (points[-1].fixed_at, points[-1].device_id, points[-1].seq) if points else None
        found = queries.track(
            uow.session, devices=devices, shifts=shifts, since=since, until=until, limit=PAGE, after=after
        )
        points += found
        more = len(found) == PAGE
    return points


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
        key, number = moment_and_id((at, device_id)), int(seq)
        if key is None or not 0 <= number < 2**31:
            raise ValueError
        return *key, number
    except ValueError as error:
        raise Invalid("This cursor is not one of ours.", "bad_cursor", cursor=["unreadable"]) from error


def own_export(uow: UnitOfWork, actor: Actor, shift_id: UUID) -> bytes:
    """Return the actor's own fixes of a shift as GPX 1.1."""
    shift = access.shift(uow, actor, shift_id)
    if shift.officer_id != actor.user_id:
        raise NotVisible()
    until = (shift.ended_at or uow.now) + timedelta(minutes=3)
    points = _points(uow, shift.officer_id, [shift.id], shift.started_at, until)
    return drawing.run(_document, shift.officer.display_name, points)


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
