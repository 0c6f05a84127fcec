"""Outages: when a network falls, all who are on shift under one desk fall silent, and the desk is told so once.

Pure: from when each was last heard of, and from what was raised before, follows what is to be raised now. While the
alarm about an outage stands, those who fell silent with it or after it get none of their own; it names them. When it is
over they are given time to come back; whoever has not by then is alarmed about by himself, so nobody is forgotten.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

TOGETHER = timedelta(minutes=5)
"""Who was heard of for the last time within this span fell silent at the same time: phones send in their own turns."""
DISMISSED_FOR = timedelta(minutes=30)
"""So long nothing is raised about a silence that the desk has dismissed together with others."""


@dataclass(frozen=True)
class Bounds:
    """When silence is an outage: so many officers, and this share of those who had been heard of until then."""

    silent_after: timedelta
    officers: int = 10
    share: float = 0.5

    @property
    def together(self) -> timedelta:
        """Within which span they fall silent, and how long they are given to come back."""
        return min(TOGETHER, self.silent_after / 2)

    @property
    def quiet_after(self) -> timedelta:
        """Who was not heard of for so long counts: when the first is silent, the others follow within the span."""
        return self.silent_after - self.together


@dataclass(frozen=True)
class Heard:
    """When an officer on shift was last heard of; of one who ``is_known`` the desk knows already that he is silent."""

    officer_id: UUID
    at: datetime
    is_known: bool = False


@dataclass(frozen=True)
class Outage:
    """What was raised about an area: who was last heard of at ``since`` or later belongs to it, ``silent`` did then.

    It stands until it ended by itself or by the desk, or was dismissed. ``named`` is who the desk reads there, by when
    he was last heard of.
    """

    alarm_id: UUID
    area_id: UUID
    since: datetime
    silent: int
    ended_at: datetime | None = None
    dismissed: bool = False
    named: Mapping[UUID, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class Fall:
    """A new outage: of ``on_shift`` who had been heard of until then, ``silent`` were last heard of from ``since``."""

    area_id: UUID
    since: datetime
    silent: int
    on_shift: int


@dataclass(frozen=True)
class Covers:
    """Who is silent, and not alarmed about because the outage of an area stands for it: it does not name him yet.

    ``officers`` says when each was last heard of.
    """

    area_id: UUID
    officers: Mapping[UUID, datetime]


@dataclass
class Verdict:
    """What is to be raised and what is over; of whom nothing is to be raised for his silence."""

    fell: list[Fall] = field(default_factory=list)
    covers: list[Covers] = field(default_factory=list)
    over: list[UUID] = field(default_factory=list)
    spared: set[UUID] = field(default_factory=set)


def judge(desks: dict[UUID, list[Heard]], raised: Iterable[Outage], now: datetime, bounds: Bounds) -> Verdict:
    """Say what follows from whom nothing is heard, by the area whose desk they are of.

    ``raised`` has the outages that stand, and those that ended lately.
    """
    before: dict[UUID, list[Outage]] = defaultdict(list)
    for outage in raised:
        before[outage.area_id].append(outage)
    verdict = Verdict()
    for area_id in desks.keys() | before.keys():
        _of_desk(verdict, area_id, desks.get(area_id, []), before[area_id], now, bounds)
    return verdict


def _of_desk(
    verdict: Verdict,
    area_id: UUID,
    officers: Sequence[Heard],
    raised: Sequence[Outage],
    now: datetime,
    bounds: Bounds,
) -> None:
    unknown = [one for one in officers if not one.is_known]
    standing = next((outage for outage in raised if outage.ended_at is None), None)
    for outage in raised:
        verdict.spared |= _spared_by(outage, unknown, now, bounds)
    if standing is not None:
        still = sum(standing.since <= one.at < now - bounds.quiet_after for one in unknown)
        if 2 * still < standing.silent or still < bounds.officers:
            verdict.over.append(standing.alarm_id)
        else:
            verdict.covers += _covers(area_id, standing.since, standing.named, unknown, now, bounds)
        return
    left = [one for one in unknown if one.officer_id not in verdict.spared]
    if (fall := _fall(area_id, left, now, bounds)) is not None:
        verdict.fell.append(fall)
        verdict.covers += _covers(area_id, fall.since, {}, left, now, bounds)
        verdict.spared |= {one.officer_id for one in left if one.at >= fall.since}


def _spared_by(outage: Outage, officers: Iterable[Heard], now: datetime, bounds: Bounds) -> set[UUID]:
    """Return for whose silence an outage stands: who is silent with it, or was when it ended a while ago.

    What somebody does after he has come back is looked at for itself.
    """
    silent_at = now
    if outage.ended_at is not None:
        if now >= outage.ended_at + (DISMISSED_FOR if outage.dismissed else bounds.together):
            return set()
        silent_at = outage.ended_at
    return {one.officer_id for one in officers if outage.since <= one.at < silent_at - bounds.quiet_after}


def _covers(
    area_id: UUID,
    since: datetime,
    named: Mapping[UUID, datetime],
    officers: Iterable[Heard],
    now: datetime,
    bounds: Bounds,
) -> list[Covers]:
    """Return whom the desk does not read on an outage that stands, and would else have an alarm about by now."""
    found = {
        one.officer_id: one.at
        for one in officers
        if since <= one.at < now - bounds.silent_after and named.get(one.officer_id) != one.at
    }
    return [Covers(area_id, found)] if found else []


def _fall(area_id: UUID, officers: Sequence[Heard], now: datetime, bounds: Bounds) -> Fall | None:
    """Return the span in which most fell silent, if they are many and one of them is silent for long enough."""
    heard = sorted(one.at for one in officers)
    quiet = [at for at in heard if at < now - bounds.quiet_after]
    best: Fall | None = None
    end = 0
    for begin, since in enumerate(quiet):
        if since >= now - bounds.silent_after:
            break  # Nobody from here on is silent yet; who is, is alarmed about alone.
        while end < len(quiet) and quiet[end] - since <= bounds.together:
            end += 1
        silent, on_shift = end - begin, len(heard) - begin
        enough = silent >= bounds.officers and silent >= bounds.share * on_shift
        if enough and (best is None or silent > best.silent):
            best = Fall(area_id, since, silent, on_shift)
    return best
