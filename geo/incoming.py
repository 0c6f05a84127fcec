"""Fixes as they come in: what was received lately, from whichever time it is, and what one device measured."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from geo.fixes import Fix, Flag

OLDEST = timedelta(days=31)
"""Older fixes are not taken in (``Context.backlog_limit``)."""
AHEAD = timedelta(minutes=5)
"""No fix is stored whose phone's clock is farther ahead."""


class Received(NamedTuple):
    """A stored fix, whose it is, and when it came."""

    device_id: UUID
    shift_id: UUID
    received_at: datetime
    fix: Fix


_RECEIVED = text("""
select device_id, shift_id, received_at, fixed_at, seq, ST_X(geom) as lon, ST_Y(geom) as lat, accuracy_m, speed_mps,
       heading_deg, sent_at, flags
from fixes
where town_id = :town and received_at > :after and received_at <= :until and fixed_at > :oldest and fixed_at < :newest
order by device_id, fixed_at, seq
""")
_OF_DEVICES = text("""
select device_id, shift_id, received_at, fixed_at, seq, ST_X(geom) as lon, ST_Y(geom) as lat, accuracy_m, speed_mps,
       heading_deg, sent_at, flags
from fixes
where device_id = any(:devices) and fixed_at >= :since and fixed_at <= :until
order by device_id, fixed_at, seq
""")


def received(session: Session, town_id: UUID, *, after: datetime, until: datetime) -> list[Received]:
    """Return what came in ``(after, until]``, by device and in the order of measurement.

    Blocks of the table that hold nothing so young are left out by ``ix_fixes_received_at``.
    """
    bounds = {"oldest": after - OLDEST, "newest": until + AHEAD}
    return [
        _made(row)
        for row in session.execute(_RECEIVED, {"town": town_id, "after": after, "until": until, **bounds})
    ]


def of_device(session: Session, device_id: UUID, since: datetime, until: datetime) -> list[Received]:
    """Return what a device measured in a span, both ends included, in order."""
    return of_devices(session, [device_id], since, until)


def of_devices(
    session: Session, device_ids: Sequence[UUID], since: datetime, until: datetime
) -> list[Received]:
    """Return what devices measured in a span, both ends included, by device and in order."""
    given = {"devices": list(device_ids), "since": since, "until": until}
    return [_made(row) for row in session.execute(_OF_DEVICES, given)]


def _made(row: Row[Any]) -> Received:
    fix = Fix(
        row.fixed_at, row.lon, row.lat, row.accuracy_m, speed_mps=row.speed_mps, heading_deg=row.heading_deg,
        mock=bool(row.flags & Flag.MOCK), sent_at=row.sent_at, flags=row.flags, seq=row.seq,
    )  # fmt: skip
    return Received(row.device_id, row.shift_id, row.received_at, fix)
