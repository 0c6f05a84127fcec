"""What is known of a visit when its proof is judged (``geo.proof``): the track around it, the clocks, other devices.

A scan may arrive before the track of its time does, and a track may be continued by what comes later: both are judged
again when it comes.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any
from uuid import UUID

import msgspec
from geoalchemy2.shape import to_shape
from sqlalchemy import or_, select

from backend.core.identity import system_actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Verdict
from backend.models import Checkpoint, Device, Visit
from geo import incoming, proof
from geo.fixes import HIDDEN
from geo.incoming import Received
from geo.motion import GAP_S, distance_m
from geo.proof import Facts, Method
from geo.visits import Fence, Presence
from workflows import journal
from workflows.alarms import Place

AROUND = timedelta(seconds=GAP_S)
"""So much of the track before and after says how he came and went."""
WAY = timedelta(minutes=10)
"""So much of the way to a checkpoint is compared with the ways of earlier days."""
REPLAYS_FROM, REPLAYS_AFTER = timedelta(days=31), timedelta(hours=6)
"""The visits with whose ways it is compared are younger than the one and older than the other."""
MOST_EARLIER = 500
MOST_SPANS = 50
"""A phone that brings single fixes of many days at once has the latest of these times looked at."""


@dataclass(frozen=True)
class Scanned:
    """What came with a scan: the place that the phone told, and what is wrong with the reading of the tag."""

    place: Place | None
    is_mock: bool
    counter: int | None = None
    fault: str | None = None


def fence_of(checkpoint: Checkpoint) -> Fence:
    """Return the circle around a checkpoint."""
    place = to_shape(checkpoint.geom)
    return Fence(checkpoint.id, place.x, place.y, checkpoint.radius_m, float(checkpoint.min_dwell_s))


def judge_stay(uow: UnitOfWork, visit: Visit, presence: Presence) -> None:
    """Judge a visit that was found in the fixes of its device."""
    fence = fence_of(uow.session.get_one(Checkpoint, visit.checkpoint_id))
    until = visit.left_at or presence.seen_at
    tracks = _tracks(uow, visit.officer_id, visit.arrived_at - WAY, until + AROUND)
    own = tracks.get(visit.device_id, []) if visit.device_id else []
    way = proof.fingerprint(one.fix for one in own if one.fix.fixed_at <= until)
    facts = proof.of_presence(
        presence, fence, likeness=_likeness(uow, visit, way), crossings=len(way),
        **_circumstances(tracks, visit.device_id, visit.arrived_at, until),
    )  # fmt: skip
    _judge(uow, visit, facts, way=way)


def judge_scan(uow: UnitOfWork, visit: Visit, scanned: Scanned) -> None:
    """Judge a scan by what came with it and by the track of its time, as far as it is there."""
    told = scanned.place
    visit.facts = {
        "told": None if told is None else {"lon": told.lon, "lat": told.lat, "accuracy_m": told.accuracy_m},
        "is_scan_mock": scanned.is_mock, "counter": scanned.counter, "tag_fault": scanned.fault,
    }  # fmt: skip
    _judge_scan(uow, visit)


def judge_scans_again(uow: UnitOfWork, officer_id: UUID, times: Sequence[datetime]) -> list[Visit]:
    """Judge the scans of an officer again near which fixes came in; return those whose proof has changed."""
    spans: list[list[datetime]] = []
    for at in sorted(times):
        if spans and at - AROUND <= spans[-1][1]:
            spans[-1][1] = at + AROUND
        else:
            spans.append([at - AROUND, at + AROUND])
    near = select(Visit).where(
        Visit.officer_id == officer_id,
        Visit.method != Method.DWELL,
        Visit.arrived_at >= spans[0][0],
        or_(*(Visit.arrived_at.between(since, until) for since, until in spans[-MOST_SPANS:])),
    )
    changed = []
    for visit in uow.session.scalars(near.order_by(Visit.arrived_at, Visit.id).with_for_update()):
        before = (visit.proof, visit.flags)
        _judge_scan(uow, visit)
        if (visit.proof, visit.flags) != before:
            visit.version += 1
            changed.append(visit)
    return changed


def _judge_scan(uow: UnitOfWork, visit: Visit) -> None:
    fence = fence_of(uow.session.get_one(Checkpoint, visit.checkpoint_id))
    at, told, fault = visit.arrived_at, visit.facts["told"], visit.facts["tag_fault"]
    tracks = _tracks(uow, visit.officer_id, at - AROUND, at + AROUND)
    # The phone that has read it; or, where nobody knows which it was, the one that was nearest.
    sights = {one: proof.sighted((row.fix for row in track), fence, at) for one, track in tracks.items()}
    own = visit.device_id if visit.device_id in tracks else _nearest(sights)
    seen = sights[own] if own else proof.sighted([], fence, at)
    facts = proof.of_sight(
        Method(visit.method), seen, fence, is_scan_mock=visit.facts["is_scan_mock"],
        scan_distance_m=None if told is None else distance_m(told["lon"], told["lat"], fence.lon, fence.lat),
        scan_accuracy_m=None if told is None else told["accuracy_m"],
        has_counter_grown=None if visit.facts["counter"] is None else fault != "read_before",
        is_tag_unsigned=fault in ("unsigned", "bad_signature"),
        **_circumstances(tracks, own, at, at),
    )  # fmt: skip
    _judge(uow, visit, facts, told=told, counter=visit.facts["counter"], tag_fault=fault)


def _judge(uow: UnitOfWork, visit: Visit, facts: Facts, **more: Any) -> None:
    judged = proof.judge(facts)
    if visit.verdict == Verdict.GENUINE and set(judged.flags) - set(visit.flags):
        # Who called it genuine did not know of this: somebody looks again.
        visit.verdict = visit.reviewed_at = visit.reviewed_by = visit.review_note = None
        journal.write(uow, system_actor(uow.town), "visit", visit.id, "reopen")
    visit.proof, visit.flags = judged.score, [str(flag) for flag in judged.flags]
    visit.parts = msgspec.to_builtins(judged.parts)
    visit.facts = {**msgspec.to_builtins(facts), **more}


def _tracks(
    uow: UnitOfWork, officer_id: UUID, since: datetime, until: datetime
) -> dict[UUID, list[Received]]:
    ids = list(uow.session.scalars(select(Device.id).where(Device.officer_id == officer_id)))
    tracks: dict[UUID, list[Received]] = defaultdict(list)
    for one in incoming.of_devices(uow.session, ids, since, until):
        tracks[one.device_id].append(one)
    return dict(tracks)


def _nearest(sights: dict[UUID, proof.Sight]) -> UUID | None:
    known = {one: sight.distance_m for one, sight in sights.items() if sight.distance_m is not None}
    return min(known, key=lambda one: known[one], default=None)


def _circumstances(
    tracks: dict[UUID, list[Received]], own: UUID | None, since: datetime, until: datetime
) -> dict[str, Any]:
    """How he came and went, what his clock shows, and whether another device of his was with him."""
    track = tracks.get(own, []) if own else []
    good = [one.fix for one in track if not one.fix.flags & HIDDEN]
    inside = [fix for fix in good if since <= fix.fixed_at <= until]
    earlier, later = [f for f in good if f.fixed_at < since], [f for f in good if f.fixed_at > until]
    before, after = (earlier[-1] if earlier else None), (later[0] if later else None)
    reached = [
        answer
        for answer in (
            proof.is_reachable(before, None, inside[0]) if inside else None,
            proof.is_reachable(None, after, inside[-1]) if inside else None,
        )
        if answer is not None
    ]
    skews = [skew for one in track if (skew := proof.skew_s(one.fix.sent_at, one.received_at)) is not None]
    lately = [one.fix for one in track if since - AROUND <= one.fix.fixed_at <= until + AROUND]
    others = [
        proof.are_two_places(lately, (one.fix for one in theirs))
        for device_id, theirs in tracks.items()
        if device_id != own
    ]
    return {
        "is_reachable": all(reached) if reached else None,
        "skew_s": median(skews) if skews else None,
        "is_in_two_places": any(others) if others and own else None,
    }


def _likeness(uow: UnitOfWork, visit: Visit, way: Sequence[int]) -> float | None:
    """Return the greatest share of the way that an earlier visit to this checkpoint came by as well."""
    if len(way) < proof.REPLAYED_FROM:
        return None
    earlier = uow.session.scalars(
        select(Visit.facts["way"])
        .where(
            Visit.checkpoint_id == visit.checkpoint_id,
            Visit.arrived_at > visit.arrived_at - REPLAYS_FROM,
            Visit.arrived_at < visit.arrived_at - REPLAYS_AFTER,
            Visit.facts.has_key("way"),
        )
        .order_by(Visit.arrived_at.desc())
        .limit(MOST_EARLIER)
    )
    return max((proof.likeness(way, one) for one in earlier), default=0.0)
