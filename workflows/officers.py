"""Officers: those on shift as the desk sees them live, where one went in the last hour, and who there is at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import numpy as np
from sqlalchemy import Select, or_, select

from backend.core.errors import Invalid, NotVisible
from backend.core.identity import Actor
from backend.core.paging import Page, only_id, page, text_and_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Disclosure, Role, UserState
from backend.models import Area, Membership, User
from geo import motion, queries
from geo.motion import Status, Track
from geo.queries import Leg, LiveRow
from workflows import access, journal, replays, tracks_of

TRAIL_MOST_POINTS = 2000
LOOKED_AT_ONCE = 200


@dataclass(frozen=True)
class Trail:
    """Where an officer went; each segment is whole, between two of them is a gap."""

    officer_id: UUID
    segments: replays.Segments


def live(
    uow: UnitOfWork,
    actor: Actor,
    *,
    silent_after_s: float,
    area_id: UUID | None = None,
    status: Status | None = None,
    words: str | None = None,
    after: Sequence[str] | None = None,
    limit: int,
) -> Page[LiveRow]:
    """Return the officers on shift whom the actor may watch, by id."""
    scope, cursor = access.roots(actor, "see", "officer"), only_id(after)
    found: list[LiveRow] = []
    # Of one status there may be few: going through all others a page of two at a time would be a question for each.
    at_once = limit + 1 if status is None else max(limit + 1, LOOKED_AT_ONCE)
    more = True
    while more and len(found) <= limit:
        rows = queries.live_officers(
            uow.session,
            scope,
            now=uow.now,
            silent_after_s=silent_after_s,
            area_id=area_id,
            words=words,
            after=cursor,
            limit=at_once,
        )
        found += [row for row in _with_movement(uow, rows) if status is None or row.status is status]
        more = len(rows) == at_once
        cursor = rows[-1].id if rows else None
    return page(found, limit, lambda row: (row.id,))


def one(uow: UnitOfWork, actor: Actor, officer_id: UUID, *, silent_after_s: float) -> LiveRow:
    """Return one officer who is on shift now; NotVisible when he is not, or is not the actor's to see."""
    found = queries.live_officers(
        uow.session,
        access.roots(actor, "see", "officer"),
        now=uow.now,
        silent_after_s=silent_after_s,
        officer_id=officer_id,
        limit=1,
    )
    if not found:
        raise NotVisible()
    return _with_movement(uow, found)[0]


def _with_movement(uow: UnitOfWork, rows: Sequence[LiveRow]) -> list[LiveRow]:
    """Tell of those who are heard of whether they move: by the speed that the phone says, or else by the last fixes.

    Where the newest fix's speed is clear, ``Movement.take`` heeds nothing before it, so nothing before it is read.
    """
    moving: set[int] = set()
    legs: list[Leg] = []
    for number, row in enumerate(rows):
        if row.position is None or row.status is not Status.STILL:
            continue
        said = motion.said_by(row.position.speed_mps)
        if said is None:
            legs.append(Leg(number, row.position.device_id, row.shift_id))
        elif said:
            moving.add(number)
    if legs:
        moving |= _moving_by_place(uow, rows, legs)
    return [replace(row, status=Status.MOVING) if n in moving else row for n, row in enumerate(rows)]


def _moving_by_place(uow: UnitOfWork, rows: Sequence[LiveRow], legs: Sequence[Leg]) -> set[int]:
    newest = [position.fixed_at for leg in legs if (position := rows[leg.officer].position) is not None]
    found = queries.tracks(
        uow.session,
        legs,
        since=min(newest) - timedelta(seconds=motion.GAP_S),
        until=max(newest) + timedelta(microseconds=1),
    )
    return replays.drawing.run(_moving, found)


def _moving(found: Mapping[int, Track]) -> set[int]:
    return {number for number, track in found.items() if motion.movement(track).moving}


def trail(uow: UnitOfWork, actor: Actor, officer_id: UUID, *, minutes: int) -> Trail:
    """Return where an officer on shift went in the last minutes of this shift; the look is written down."""
    row = one(uow, actor, officer_id, silent_after_s=motion.SILENT_AFTER_S)
    since = max(uow.now - timedelta(minutes=minutes), row.shift_started_at)
    journal.disclose(
        uow, actor, "user", officer_id, Disclosure.TRAIL, reason="live map", data={"minutes": minutes}
    )  # fmt: skip
    found = tracks_of.read(
        uow, {officer_id: [row.shift_id]}, since=since, until=uow.now + timedelta(minutes=3)
    )
    track = found.get(officer_id)
    if track is None:
        return Trail(officer_id, [])
    return Trail(officer_id, replays.drawing.run(_drawn, track.showable()))


def _drawn(shown: Track) -> replays.Segments:
    """Return the points to draw: [lon, lat, epoch_s, accuracy_m]."""
    kept = motion.thin(shown.epoch_s, shown.lon, shown.lat, TRAIL_MOST_POINTS, tolerance_m=1.0).kept
    drawn = shown.at(kept)
    accuracy = [None if np.isnan(v) else round(v, 1) for v in drawn.accuracy_m.tolist()]
    places = zip(drawn.lon.tolist(), drawn.lat.tolist(), drawn.epoch_s.tolist(), accuracy, strict=True)
    rows = [(round(lon, 6), round(lat, 6), round(at, 3), radius) for lon, lat, at, radius in places]
    return [rows[part] for part in _whole(shown.epoch_s, drawn.epoch_s)]


def _whole(measured_s: motion.Floats, drawn_s: motion.Floats) -> list[slice]:
    """Return where the drawn points are whole, by the gaps of the measured ones: thinning makes no gaps."""
    starts = [measured_s[part.start] for part in motion.segments(measured_s)]
    edges = [*np.searchsorted(drawn_s, starts).tolist(), len(drawn_s)]
    return [slice(a, b) for a, b in pairwise(edges) if b > a]


def directory(
    uow: UnitOfWork, actor: Actor, *, words: str | None, after: Sequence[str] | None, limit: int
) -> Page[User]:
    """Return the officers whom the desk may see, on shift or not, by name; `words` is a part of the name."""
    query = select(User).where(User.id.in_(access.officers_within(access.roots(actor, "see", "officer"))))
    if words:
        query = query.where(User.display_name.icontains(words, autoescape=True))
    return _by_name(uow, query, after, limit)


def colleagues(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[User]:
    """Return the other active officers of the actor's areas, by name, for making up a crew."""
    query = (
        select(User)
        .where(User.id != actor.user_id, User.state == UserState.ACTIVE)
        .where(User.id.in_(access.officers_within(access.roots(actor, "start", "shift"))))
    )
    return _by_name(uow, query, after, limit)


def _by_name(uow: UnitOfWork, query: Select[User], after: Sequence[str] | None, limit: int) -> Page[User]:
    if key := text_and_id(after):
        name, user_id = key
        query = query.where(or_(User.display_name > name, (User.display_name == name) & (User.id > user_id)))
    query = query.order_by(User.display_name, User.id).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda user: (user.display_name, user.id))


def kinds(uow: UnitOfWork, officer_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Return what kind of officer each is, by his oldest membership that holds."""
    rows = uow.session.execute(
        select(Membership.user_id, Membership.officer_kind)
        .where(
            Membership.user_id.in_(officer_ids),
            Membership.role == Role.OFFICER,
            Membership.ended_at.is_(None),
        )
        .order_by(Membership.granted_at.desc())
    )
    return {r.user_id: r.officer_kind for r in rows}


def check_of_area(uow: UnitOfWork, area: Area, officer_ids: Sequence[UUID]) -> None:
    """Refuse who is no officer in an area: of it, of one above it, or of one within it.

    Raises:
        Invalid: somebody is none, or is named twice.
    """
    if len(set(officer_ids)) < len(officer_ids):
        raise Invalid("Name each officer once.", officer_ids=["twice"])
    there = Membership.area_id.in_(area.ancestors) | access.within(Membership.area_id, [area.id])
    of_area = select(Membership.user_id).where(
        Membership.role == Role.OFFICER,
        Membership.ended_at.is_(None),
        Membership.user_id.in_(officer_ids),
        there,
    )
    known = set(uow.session.scalars(of_area))
    if missing := [str(one) for one in officer_ids if one not in known]:
        raise Invalid("Some of these are no officers of this area.", officer_ids=missing)
