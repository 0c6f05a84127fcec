"""Presence at posts: what the fixes of who stands there say, as it is known by now.

``geo.presence`` folds the fixes of each of his devices; here is what is remembered of it, and what follows: figures of
his time, and the absences that he and the desk are told of. What came before he pressed counts as well.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from geoalchemy2.shape import to_shape
from sqlalchemy import select

from backend.core.identity import system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import PostDutyState as D
from backend.models import Device, PostAbsence, PostDuty
from geo import incoming, presence
from geo.fixes import Fix
from geo.presence import BRIDGE, NOTHING_SEEN, Figures, Part, Piece, Stand, Where
from geo.visits import Fence
from workflows import journal, telling

RELIEF_WAIT = timedelta(minutes=30)
"""So long beyond his time somebody stays responsible who waits for the next one."""


class Followed(msgspec.Struct, frozen=True, gc=False):
    """What is remembered of one device."""

    stand: Stand = NOTHING_SEEN
    pieces: tuple[Piece, ...] = ()


class Presence(NamedTuple):
    """How a duty is stood, as it is known by now: its parts and their sums, and how much of it is still to come."""

    parts: list[Part]
    figures: Figures
    seen_at: datetime | None
    to_come_s: float = 0.0

    @property
    def percent(self) -> float | None:
        """How much of the time that counts he was inside."""
        return self.figures.percent(self.figures.inside_s)

    @property
    def unknown_percent(self) -> float | None:
        """Of how much of it nothing is known."""
        return self.figures.percent(self.figures.unknown_s)

    def is_enough(self, needed_percent: int) -> bool | None:
        """Whether it is as much as is needed; None where what is not known, or still to come, decides."""
        sums = self.figures
        open_s = sums.unknown_s + self.to_come_s
        needed_s = (sums.inside_s + sums.outside_s + open_s) * needed_percent / 100
        if needed_s <= 0:
            return None
        if sums.inside_s >= needed_s:
            return True
        return None if sums.inside_s + open_s >= needed_s else False


# --- What comes in


def fold_anew(uow: UnitOfWork, duty: PostDuty) -> None:
    """Take in what the officer's devices have brought of a duty's time before he has pressed that he stands."""
    duty.presence = {}
    since, until = _window(duty)
    his = list(uow.session.scalars(select(Device.id).where(Device.officer_id == duty.officer_id)))
    kept: dict[UUID, list[Fix]] = {}
    for one in incoming.of_devices(uow.session, his, since, until):
        kept.setdefault(one.device_id, []).append(one.fix)
    for device_id, fixes in kept.items():
        follow(uow, duty, device_id, fixes)


def follow(uow: UnitOfWork, duty: PostDuty, device_id: UUID, new: Sequence[Fix]) -> bool:
    """Take fixes into what is remembered of a locked duty; say whether any belonged to its time."""
    since, until = _window(duty)
    fixes = [fix for fix in new if since <= fix.fixed_at <= until]
    if not fixes:
        return False
    place = to_shape(duty.geom)
    fence = Fence(duty.post_id, place.x, place.y, duty.radius_m, 0.0)
    known = msgspec.convert(duty.presence.get(str(device_id), {}), Followed)

    def kept(begin: datetime) -> Iterable[Fix]:
        found = incoming.of_device(uow.session, device_id, max(begin, since), until)
        return [one.fix for one in found]

    stand, pieces = presence.follow(known.stand, known.pieces, fixes, fence, kept)
    followed: Any = msgspec.to_builtins(Followed(stand, tuple(pieces)))
    duty.presence = {**duty.presence, str(device_id): followed}
    uow.session.flush()
    return True


def _window(duty: PostDuty) -> tuple[datetime, datetime]:
    """Return which fixes say something of a duty; what was measured just before its time bridges into it."""
    begins_at = duty.starts_at if duty.began_at is None else min(duty.starts_at, duty.began_at)
    return begins_at - BRIDGE, duty.ends_at + RELIEF_WAIT + BRIDGE


# --- What follows


def span(duty: PostDuty) -> tuple[datetime, datetime]:
    """Return the time for which an officer is responsible: as planned, or from relief to relief."""
    since, until = duty.starts_at, duty.ends_at
    if duty.relieves_id is not None and duty.began_at is not None:
        since = min(duty.began_at, until)
    if duty.state == D.RELIEVED and duty.ended_at is not None:
        until = duty.ended_at
    return since, max(since, until)


def of(duty: PostDuty, now: datetime) -> Presence:
    """Return how a duty is stood, as it is known by now. Needs its breaks.

    Before he had begun and after he had ended he was there if his fixes say so, and otherwise not: only in between is
    what is not known told apart. Of the last minutes, of which fixes may be on their way, nothing is said yet.
    """
    since, until = span(duty)
    devices = {key: msgspec.convert(one, Followed) for key, one in duty.presence.items()}
    said = {key: one.pieces for key, one in devices.items()}
    seen = [one.stand.last.at for one in devices.values() if one.stand.last is not None]
    seen_at = max(seen, default=None)
    known_until = min(until, now)
    if duty.state == D.STANDING:
        heard_at = max(seen_at or since, duty.began_at or since)
        if now - heard_at <= BRIDGE:
            known_until = min(known_until, heard_at)
    to_come_s = 0.0
    if duty.state in (D.PLANNED, D.STANDING):
        to_come_s = (until - max(since, known_until)).total_seconds()
    if known_until <= since:
        return Presence([], presence.figures([]), seen_at, to_come_s)
    found = presence.parts(said, since, known_until, excused(duty, now))
    stood_from = duty.began_at or known_until
    stood_until = duty.ended_at or known_until
    divided = _joined(
        part._replace(where=Where.OUTSIDE)
        if part.where == Where.UNKNOWN and (part.until <= stood_from or part.since >= stood_until)
        else part
        for whole in found
        for part in _cut(whole, stood_from, stood_until)
    )
    return Presence(divided, presence.figures(divided), seen_at, to_come_s)


def _cut(part: Part, *moments: datetime) -> list[Part]:
    edges = sorted({part.since, part.until, *(at for at in moments if part.since < at < part.until)})
    return [Part(a, b, part.where) for a, b in pairwise(edges)]


def _joined(divided: Iterable[Part]) -> list[Part]:
    found: list[Part] = []
    for part in divided:
        if found and found[-1].where == part.where:
            found[-1] = Part(found[-1].since, part.until, part.where)
        else:
            found.append(part)
    return found


def excused(duty: PostDuty, now: datetime) -> list[tuple[datetime, datetime]]:
    """Return the breaks of a duty, as far as they are allowed."""
    breaks = [(one.began_at, one.ended_at or max(now, one.began_at)) for one in duty.breaks]
    return presence.excusable(breaks, duty.break_s)


def break_left_s(duty: PostDuty, now: datetime) -> float:
    """Return how long the breaks of a duty may still be."""
    used = sum((until - since).total_seconds() for since, until in excused(duty, now))
    return max(0.0, duty.break_s - used)


def keep_absences(uow: UnitOfWork, duty: PostDuty) -> bool:
    """Make the absences of a locked duty what its fixes say by now, and tell of new ones; say whether any changed."""
    if duty.began_at is None:
        return False
    found = _absences(duty, uow.now)
    known = list(duty.absences)
    changed = False
    for began_at, ended_at in found:
        row = next((one for one in known if _overlap(one, began_at, ended_at)), None)
        if row is not None:
            known.remove(row)
            changed |= (row.began_at, row.ended_at) != (began_at, ended_at)
            row.began_at, row.ended_at = began_at, ended_at
            continue
        changed = True
        uow.session.add(
            PostAbsence(id=new_id(), town_id=uow.town, duty_id=duty.id, began_at=began_at, ended_at=ended_at)
        )
        journal.write(uow, system_actor(uow.town), "post_duty", duty.id, "absent")
        telling.of_post_duty(uow, duty, "absent", at=began_at, to_desk=ended_at is None)
    for row in known:
        if row.explanation is None:  # Later fixes tell another story; what he has said of it stays.
            changed = True
            uow.session.delete(row)
    uow.session.flush()
    uow.session.refresh(duty, ["absences"])
    return changed


def _absences(duty: PostDuty, now: datetime) -> list[tuple[datetime, datetime | None]]:
    """Return the times in which he was outside for too long while he was responsible; None: it goes on."""
    divided = of(duty, now).parts
    assert duty.began_at is not None
    until = duty.ended_at or now
    found: list[tuple[datetime, datetime | None]] = []
    for part in divided:
        since, ended_at = max(part.since, duty.began_at), min(part.until, until)
        if part.where != Where.OUTSIDE or (ended_at - since).total_seconds() < duty.absent_after_s:
            continue
        goes_on = part is divided[-1] and duty.state == D.STANDING
        found.append((since, None if goes_on else ended_at))
    return found


def _overlap(row: PostAbsence, began_at: datetime, ended_at: datetime | None) -> bool:
    return (ended_at is None or row.began_at <= ended_at) and (
        row.ended_at is None or began_at <= row.ended_at
    )
