"""Tracks that come as GPX files: read, replayed, and given back as they were. They are no proof of a shift."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import or_, select

from backend.core.errors import Invalid, TooLarge
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.native import NativeThreads
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Disclosure
from backend.models import ImportedTrack, Shift, User
from geo import gpx, motion
from geo.motion import Track
from workflows import access, journal

ACTIONS = {"export": "export", "delete": "import"}
"""What may be done with an imported track, and the permission on tracks that it takes."""
MOST_TRACKS = 50
MOST_DRAWN = 5000
_reading = NativeThreads(1, "gpx")


@dataclass(frozen=True)
class _Read:
    """One timed track of a document, read and drawn."""

    name: str
    point_count: int
    started_at: datetime
    ended_at: datetime
    length_m: float
    segments: list[list[list[float | None]]]
    document: bytes


@dataclass(frozen=True)
class Shown:
    """An imported track as the desk sees it: the name of its officer, and what the actor may do with it now."""

    track: ImportedTrack
    officer: str | None
    actions: list[str]


@dataclass(frozen=True)
class Reading:
    """A document that was read: its timed tracks, and when each of its points was measured."""

    tracks: list[_Read]
    epoch_s: np.ndarray[Any, np.dtype[np.float64]]
    untimed: int
    """Points of tracks without a time, of which nobody can say whether they belong to a shift."""


def read(data: bytes) -> Reading:
    """Read a GPX 1.1 document. Large ones take seconds: it is done beside the sockets, and before a transaction.

    Raises:
        Invalid: ``bad_gpx`` with the line, or ``no_timed_track`` when nothing in it can be replayed.
        TooLarge: more tracks than are taken at once.
    """
    try:
        found = _reading.run(_read, data)
    except gpx.GpxError as error:
        raise Invalid(str(error), "bad_gpx", document=[str(error)]) from error
    if not found.tracks:
        raise Invalid("No track in the document has a time at every point.", "no_timed_track")
    if len(found.tracks) > MOST_TRACKS:
        raise TooLarge("too_many_tracks", f"A document may hold at most {MOST_TRACKS} tracks.")
    return found


def import_gpx(
    uow: UnitOfWork,
    actor: Actor,
    data: bytes | Reading,
    *,
    command_id: UUID,
    officer_id: UUID | None,
    name: str | None,
) -> list[ImportedTrack]:
    """Keep every timed track of a GPX 1.1 document, and with the first of them whatever else is in it.

    A document that is said to be an officer's has to lie within his shifts, each of its points: outside a shift
    nothing of an officer is stored, by whichever way it comes (P21). It is taken whole or not at all.

    Raises:
        Invalid: as ``read``, or ``off_shift`` with the number of points outside the officer's shifts.
        TooLarge: as ``read``.
    """
    access.require(actor, "import", "track")
    if officer_id is not None:
        access.officer(uow, actor, officer_id, verb="import", kind="track")
    reading = data if isinstance(data, Reading) else read(data)
    if officer_id is not None:
        _check_on_shift(uow, actor, officer_id, reading)
    several = len(reading.tracks) > 1
    made = [
        ImportedTrack(
            id=new_id(),
            town_id=uow.town,
            officer_id=officer_id,
            name=_name(name or track.name, number if name and several else None),
            point_count=track.point_count,
            started_at=track.started_at,
            ended_at=track.ended_at,
            length_m=track.length_m,
            segments=track.segments,
            document=track.document,
            created_by=actor.user_id,
            created_at=uow.now,
        )
        for number, track in enumerate(reading.tracks, 1)
    ]
    uow.session.add_all(made)
    uow.session.flush()
    for row in made:
        journal.write(
            uow, actor, "imported_track", row.id, "import", after="kept", command_id=command_id,
            data={"points": row.point_count, "officer_id": str(officer_id) if officer_id else None},
        )  # fmt: skip
    return made


def _check_on_shift(uow: UnitOfWork, actor: Actor, officer_id: UUID, reading: Reading) -> None:
    """Refuse a document with a point outside the officer's shifts in the actor's areas."""
    epoch_s = reading.epoch_s
    inside = np.zeros(len(epoch_s), bool)
    shifts = uow.session.execute(
        select(Shift.started_at, Shift.ended_at, Shift.closes_at).where(
            Shift.officer_id == officer_id,
            access.during(
                datetime.fromtimestamp(float(epoch_s.min()), UTC),
                datetime.fromtimestamp(float(epoch_s.max()) + 1, UTC),
            ),
            access.within(Shift.area_id, access.roots(actor, "import", "track")),
        )
    )
    for started_at, ended_at, closes_at in shifts:
        until = ended_at or min(closes_at, uow.now)
        inside |= (epoch_s >= started_at.timestamp()) & (epoch_s <= until.timestamp())
    outside = int((~inside).sum()) + reading.untimed
    if outside:
        total = len(epoch_s) + reading.untimed
        raise Invalid(
            f"{outside} of {total} points are outside this officer's shifts in your areas, where nothing of an"
            " officer is kept. The file was not imported.",
            "off_shift",
            officer_id=[f"{outside} of {total} points off shift"],
        )


def _name(name: str, number: int | None) -> str:
    return (name if number is None else f"{name} ({number})").replace("\x00", "")[:200]


def _read(data: bytes) -> Reading:
    document = gpx.read(data)
    moments = [point.at for point in document.points()]
    found = []
    for number, (track, own) in enumerate(document.apart()[: MOST_TRACKS + 1], 1):
        measured = [fixes for fixes in track.fixes() if fixes]
        times = [fix.fixed_at for fixes in measured for fix in fixes]
        parts = [Track.of(fixes) for fixes in measured]
        found.append(
            _Read(
                name=track.fields.get("name") or f"GPX {number}",
                point_count=len(times),
                started_at=min(times),
                ended_at=max(times),
                length_m=sum(motion.length_m(part) for part in parts),
                segments=_segments(parts),
                document=zlib.compress(gpx.write(own)),
            )
        )
    return Reading(
        found,
        np.array([at.timestamp() for at in moments if at is not None]),
        sum(
            point.time is None
            for track in document.tracks
            for part in track.segments
            for point in part.points
        ),
    )


def _segments(parts: Sequence[Track]) -> list[list[list[float | None]]]:
    """Return the points to draw, a list for each segment of the file: [lon, lat, epoch_s, speed_mps]."""
    total = sum(len(part.epoch_s) for part in parts)
    segments: list[list[list[float | None]]] = []
    for part in parts:
        most = max(2, MOST_DRAWN * len(part.epoch_s) // max(total, MOST_DRAWN))
        index = motion.thin(part.epoch_s, part.lon, part.lat, most, gap_s=float("inf")).kept
        piece = part.at(index)
        speeds = [None if np.isnan(v) else round(v, 2) for v in piece.speed_mps.tolist()]
        rows = zip(piece.lon.tolist(), piece.lat.tolist(), piece.epoch_s.tolist(), speeds, strict=True)
        segments.append([[round(lon, 7), round(lat, 7), at, speed] for lon, lat, at, speed in rows])
    return segments


def page_of(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[ImportedTrack]:
    """Return imported tracks, newest first."""
    query = (
        select(ImportedTrack)
        .where(access.imported_tracks_seen_by(actor))
        .order_by(ImportedTrack.created_at.desc(), ImportedTrack.id.desc())
        .limit(limit + 1)
    )
    if key := moment_and_id(after):
        query = query.where(
            or_(
                ImportedTrack.created_at < key[0],
                (ImportedTrack.created_at == key[0]) & (ImportedTrack.id < key[1]),
            )
        )
    found = list(uow.session.scalars(query))
    return page(found, limit, lambda track: (track.created_at.isoformat(), track.id))


def shown(uow: UnitOfWork, actor: Actor, tracks: Sequence[ImportedTrack]) -> list[Shown]:
    """Return tracks as the desk sees them. One and the same person may export in one area and only look in another."""
    may = [access.imported_tracks_seen_by(actor, verb=verb).label(action) for action, verb in ACTIONS.items()]
    query = (
        select(ImportedTrack.id, User.display_name, *may)
        .outerjoin(User, User.id == ImportedTrack.officer_id)
        .where(ImportedTrack.id.in_([track.id for track in tracks]))
    )
    known = {row.id: row for row in uow.session.execute(query)}
    return [
        Shown(
            track,
            known[track.id].display_name,
            [action for action in ACTIONS if known[track.id]._mapping[action]],
        )
        for track in tracks
    ]


def one(uow: UnitOfWork, actor: Actor, track_id: UUID, *, reason: str | None) -> ImportedTrack:
    """Return an imported track with its points. Where it is an officer's, the look is written down with its reason.

    Raises:
        Invalid: it is an officer's, and no reason is given.
    """
    row = access.imported_track(uow, actor, track_id)
    _disclose(uow, actor, row, Disclosure.REPLAY, reason)
    return row


def export(uow: UnitOfWork, actor: Actor, track_id: UUID, *, reason: str | None) -> tuple[str, bytes]:
    """Return the name of an imported track and its GPX 1.1 document, with all that it came with.

    Where it is an officer's, the export is written down with its reason. The command line calls it too, with the
    operator as the actor.

    Raises:
        Invalid: it is an officer's, and no reason is given.
    """
    row = access.imported_track(uow, actor, track_id, verb="export")
    _disclose(uow, actor, row, Disclosure.EXPORT, reason)
    return row.name, zlib.decompress(row.document)


def _disclose(
    uow: UnitOfWork, actor: Actor, row: ImportedTrack, kind: Disclosure, reason: str | None
) -> None:
    """Write down a look at an officer's track, for the officer to read; a track of nobody's needs none."""
    if row.officer_id is None:
        return
    if not reason:
        raise Invalid("Say why you look at this officer's track; he can read it.", reason=["needed"])
    journal.disclose(
        uow, actor, "user", row.officer_id, kind, reason=reason,
        data={
            "imported_track_id": str(row.id), "from": row.started_at.isoformat(), "to": row.ended_at.isoformat(),
        },
    )  # fmt: skip
    uow.session.flush()


def discard(uow: UnitOfWork, actor: Actor, track_id: UUID, *, command_id: UUID) -> None:
    """Delete an imported track, points and document, for good; whoever may import it may delete it."""
    row = access.imported_track(uow, actor, track_id, verb="import")
    uow.session.delete(row)
    journal.write(
        uow, actor, "imported_track", row.id, "delete", before="kept", command_id=command_id,
        data={"points": row.point_count, "officer_id": str(row.officer_id) if row.officer_id else None},
    )  # fmt: skip
    uow.session.flush()
