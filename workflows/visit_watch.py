"""The watch for visits: what came in since the last look, folded device by device, becomes visits.

``geo.visits`` finds them; here is what it remembers between two looks, and what becomes of what it finds. A look reads
what was *received* since the last one, so what a phone brings days later is found as well, and the same visits come
out as if it had come at once. What it costs goes by the fixes that came in, not by the checkpoints of the town.

A fix may be committed a moment after others that were received later. Each look therefore reads the last ``OVERLAP``
once more, and leaves out what it knows.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from geoalchemy2.shape import to_shape
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from backend.core.identity import system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.models import Checkpoint, Device, Visit, VisitState, VisitWatch
from geo import incoming
from geo.fixes import Fix
from geo.incoming import Received
from geo.streets import Passing
from geo.visits import NOTHING_SEEN, Fence, Fences, Followed, Presence, Watch, follow
from workflows import deviations, journal, patrols, proofs, streets

log = logging.getLogger(__name__)
Done = TypeVar("Done")
STEP = timedelta(minutes=5)
"""So much of what was received is looked at in one transaction: after a stop of a day there is a lot."""
OVERLAP = timedelta(seconds=30)
"""Longer than a grouped write takes: its statement ends after 15 s."""
GOES_ON = timedelta(seconds=60)
"""A visit that goes on is written anew this often."""


@dataclass(frozen=True)
class Touched:
    """What came new of a device, the visits that it changed, and the way it went, from where it was before."""

    officer_id: UUID
    device_id: UUID
    new: Sequence[Received]
    visits: Sequence[Visit]
    way: Sequence[Fix | Passing]


def look(uow: UnitOfWork) -> bool:
    """Look at what the town received since the last look, at most ``STEP`` of it; say whether there is more.

    Of two workers one looks, and the other has nothing to do.
    """
    watch = _watch(uow)
    if watch is None:
        return False
    since, until = watch.looked_until, min(uow.now, watch.looked_until + STEP)
    found = incoming.received(uow.session, uow.town, after=since - OVERLAP, until=until)
    if found:
        fences = fences_of(uow)
        states = _states(uow, {one.device_id for one in found})
        brought = {key: list(rows) for key, rows in groupby(found, key=lambda one: one.device_id)}
        # All visits before the first patrol: whoever holds a visit and waits for a patrol waits for nobody in a circle.
        touched = [
            done
            for device_id, rows in brought.items()
            if (state := states.get(device_id)) is not None
            and (done := _apart(uow, partial(_follow, uow, state, rows, fences, until))) is not None
        ]
        for one in touched:
            _apart(uow, partial(_settle, uow, one))
        _apart(uow, partial(streets.keep, uow, [one.way for one in touched]))
    watch.looked_until = until
    uow.session.flush()
    return until < uow.now


def _apart(uow: UnitOfWork, act: Callable[[], Done]) -> Done | None:
    """Do something that holds up nothing else of the town when it fails: of one device, say. It is logged."""
    try:
        with uow.attempt():
            return act()
    except Exception:
        log.exception("visits_failed: in town %s", uow.town)
        return None


def _watch(uow: UnitOfWork) -> VisitWatch | None:
    begun = insert(VisitWatch).values(town_id=uow.town, looked_until=uow.now)
    uow.session.execute(begun.on_conflict_do_nothing())
    return uow.session.scalar(
        select(VisitWatch).where(VisitWatch.town_id == uow.town).with_for_update(skip_locked=True)
    )


_known: dict[UUID, tuple[Any, Fences]] = {}
"""The fences of each town as they were last read, by what tells that they have changed."""


def fences_of(uow: UnitOfWork) -> Fences:
    """Return the fences of the town's checkpoints in use."""
    in_use = Checkpoint.retired_at.is_(None) & (Checkpoint.town_id == uow.town)
    counted = select(func.count(), func.sum(Checkpoint.version), func.max(Checkpoint.created_at)).where(
        in_use
    )
    stamp = tuple(uow.session.execute(counted).one())
    known = _known.get(uow.town)
    if known is None or known[0] != stamp:
        rows = uow.session.execute(
            select(Checkpoint.id, Checkpoint.geom, Checkpoint.radius_m, Checkpoint.min_dwell_s).where(in_use)
        )
        places = [(row, to_shape(row.geom)) for row in rows]
        fences = Fences(
            Fence(row.id, place.x, place.y, row.radius_m, float(row.min_dwell_s)) for row, place in places
        )
        known = _known[uow.town] = (stamp, fences)
    return known[1]


def _states(uow: UnitOfWork, device_ids: Iterable[UUID]) -> dict[UUID, VisitState]:
    ids = list(device_ids)
    known = {
        row.device_id: row
        for row in uow.session.scalars(
            select(VisitState).where(VisitState.device_id.in_(ids)).with_for_update()
        )
    }
    fresh = select(Device.id, Device.officer_id).where(
        Device.id.in_([one for one in ids if one not in known])
    )
    for device_id, officer_id in uow.session.execute(fresh):
        known[device_id] = VisitState(
            device_id=device_id, town_id=uow.town, officer_id=officer_id, fold=msgspec.to_builtins(NOTHING_SEEN),
            fresh=[], updated_at=uow.now,
        )  # fmt: skip
        uow.session.add(known[device_id])
    return known


def _follow(
    uow: UnitOfWork, state: VisitState, found: Sequence[Received], fences: Fences, until: datetime
) -> Touched | None:
    folded = {(key[0], key[1]) for key in state.fresh}
    new = [one for one in found if _key(one.fix) not in folded]
    state.fresh = [_key(one.fix) for one in found if one.received_at > until - OVERLAP]
    if not new:
        return None

    def read(since: datetime | None) -> Iterable[Fix]:
        oldest = until - incoming.OLDEST if since is None else since
        return [
            one.fix
            for one in incoming.of_device(uow.session, state.device_id, oldest, until + incoming.AHEAD)
            if one.received_at <= until
        ]

    before = msgspec.convert(state.fold, Watch)
    followed = follow(before, [one.fix for one in new], fences, read)
    state.fold, state.updated_at = msgspec.to_builtins(followed.watch), uow.now
    uow.session.flush()
    touched: list[Visit] = []
    if followed.is_again or followed.ended or followed.watch.open or before.open:
        touched += _keep(uow, state, followed, fences)
    touched += proofs.judge_scans_again(uow, state.officer_id, [one.fix.fixed_at for one in new])
    way: list[Fix | Passing] = [Passing(one.at, one.lon, one.lat) for one in before.recent[-1:]]
    way += [one.fix for one in new]
    return Touched(state.officer_id, state.device_id, new, touched, way)


def _settle(uow: UnitOfWork, done: Touched) -> None:
    """Let what has changed count for the officer's patrols, and hold what came against their corridors."""
    if done.visits:
        patrols.settle(
            uow, done.officer_id, min(one.arrived_at for one in done.visits),
            max(one.left_at or uow.now for one in done.visits),
        )  # fmt: skip
    deviations.watch(uow, done.officer_id, done.device_id, done.new)


def _key(fix: Fix) -> tuple[str, int]:
    return (fix.fixed_at.astimezone(UTC).isoformat(), fix.seq)


def _keep(uow: UnitOfWork, state: VisitState, followed: Followed, fences: Fences) -> list[Visit]:
    """Make the device's visits what the fold says: changed where it knows more, new, or none after all; return
    those that changed."""
    known = list(uow.session.scalars(_may_change(uow, state.device_id, followed)))
    changed: list[Visit] = []
    stays: list[tuple[Visit, Presence]] = []
    for presence in [*followed.ended, *followed.watch.presences(fences)]:
        shift_id = _shift_at(uow, state, presence) if presence.is_visit else None
        if shift_id is None:
            continue
        visit = next((one for one in known if _is_of(one, presence)), None)
        if visit is None:
            stays.append((_made(uow, state, presence, shift_id), presence))
            continue
        known.remove(visit)
        if followed.is_again or _says_more(presence, visit):
            visit.arrived_at, visit.left_at = presence.arrived_at, presence.left_at
            visit.dwell_s = int(presence.dwell_s)
            visit.version += 1
            stays.append((visit, presence))
    for visit, presence in stays:
        proofs.judge_stay(uow, visit, presence)
        changed.append(visit)
    uow.session.flush()
    gone = []
    for visit in known:
        if visit.verdict is None and (followed.is_again or visit.left_at is None):
            # Later fixes tell another story: he was not there, or not for long enough.
            journal.write(uow, system_actor(uow.town), "visit", visit.id, "withdraw")
            uow.session.delete(visit)
            gone.append(visit)
    uow.session.flush()
    return [*changed, *gone]


def _may_change(uow: UnitOfWork, device_id: UUID, followed: Followed) -> Any:
    """The visits that a fold may tell anew: those that go on, and, where it was done again, all since then."""
    anew: ColumnElement[bool] = Visit.left_at.is_(None)
    if followed.is_again:
        since = followed.again_from or uow.now - incoming.OLDEST
        anew = or_(anew, Visit.arrived_at >= since)
    return (
        select(Visit)
        .where(Visit.device_id == device_id, Visit.method == "dwell", anew)
        .where(Visit.arrived_at > uow.now - incoming.OLDEST)
        .order_by(Visit.arrived_at, Visit.id)
        .with_for_update()
    )


def _is_of(visit: Visit, presence: Presence) -> bool:
    """Say whether a visit is a presence as it was known before: at the same checkpoint, at times that overlap."""
    if visit.checkpoint_id != presence.checkpoint_id:
        return False
    ended_at = visit.left_at or visit.arrived_at + timedelta(seconds=visit.dwell_s)
    return visit.arrived_at <= (presence.left_at or presence.seen_at) and presence.arrived_at <= ended_at


def _says_more(presence: Presence, visit: Visit) -> bool:
    if (presence.arrived_at, presence.left_at) != (visit.arrived_at, visit.left_at):
        return True
    return presence.left_at is None and presence.dwell_s >= visit.dwell_s + GOES_ON.total_seconds()


def _made(uow: UnitOfWork, state: VisitState, presence: Presence, shift_id: UUID) -> Visit:
    [area_id] = uow.session.scalars(select(Checkpoint.area_id).where(Checkpoint.id == presence.checkpoint_id))
    visit = Visit(
        id=new_id(), town_id=uow.town, arrived_at=presence.arrived_at, left_at=presence.left_at,
        checkpoint_id=presence.checkpoint_id, officer_id=state.officer_id, device_id=state.device_id,
        shift_id=shift_id, area_id=area_id, method="dwell",
        dwell_s=int(presence.dwell_s), facts={}, parts=[], proof=0, flags=[], created_at=uow.now, version=1,
    )  # fmt: skip
    uow.session.add(visit)
    return visit


def _shift_at(uow: UnitOfWork, state: VisitState, presence: Presence) -> UUID | None:
    """Return the shift of the fixes that it was found in; None where they have been forgotten meanwhile."""
    there = incoming.of_device(uow.session, state.device_id, presence.seen_at, presence.seen_at)
    return there[-1].shift_id if there else None
