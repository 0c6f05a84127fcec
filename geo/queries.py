"""Questions to PostGIS about where people are and were. Every one on history names devices and bounds of time.

A day that is over lies in the order of device and time (``order_partition``), so a track is read in one sweep.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from psycopg.adapt import Loader
from psycopg.pq import Format
from sqlalchemy import bindparam, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from geo.motion import Status, Track


class Point(NamedTuple):
    """One stored fix, WGS-84 degrees."""

    fixed_at: datetime
    seq: int
    device_id: UUID
    lon: float
    lat: float
    accuracy_m: float | None
    altitude_m: float | None
    speed_mps: float | None
    heading_deg: float | None
    battery_pct: float | None
    flags: int


@dataclass(frozen=True)
class LivePosition:
    """Where an officer on shift was last seen."""

    lon: float
    lat: float
    fixed_at: datetime
    received_at: datetime
    accuracy_m: float | None
    speed_mps: float | None
    heading_deg: float | None
    battery_pct: float | None
    charging: bool | None
    area_id: UUID | None
    device_id: UUID


@dataclass(frozen=True)
class LiveRow:
    """One officer on shift as the live map shows him.

    ``status`` says ``still`` of everybody who is heard of: whether he moves, the rule of ``geo.motion`` says, not SQL.
    """

    id: UUID
    display_name: str
    kind: str | None
    call_sign: str | None
    area_id: UUID
    area_name: dict[str, str]
    shift_id: UUID
    shift_started_at: datetime
    shift_version: int
    status: Status
    position: LivePosition | None


_UUIDS = postgresql.ARRAY(postgresql.UUID(as_uuid=True))

_LIVE = """
select * from (
  select u.id, u.display_name, c.call_sign, s.area_id, a.name as area_name, a.ancestors, s.id as shift_id, s.started_at,
         s.version, m.officer_kind as kind, ST_X(p.geom::geometry) as lon, ST_Y(p.geom::geometry) as lat, p.fixed_at,
         p.received_at, p.accuracy_m, p.speed_mps, p.heading_deg, p.battery_pct, p.charging, p.area_id as place_id,
         p.device_id,
         case when p.fixed_at is null then 'unlocated'
              when p.fixed_at < :silent_before then 'silent' else 'still' end as status
  from shifts s
  join users u on u.id = s.officer_id
  join areas a on a.id = s.area_id
  left join crews c on c.id = s.crew_id
  left join latest_positions p on p.officer_id = s.officer_id and p.shift_id = s.id
  left join lateral (select officer_kind from memberships where user_id = s.officer_id and role = 'officer'
                     and ended_at is null order by granted_at limit 1) m on true
  where s.ended_at is null and s.closes_at > :now and a.ancestors && :scope
) o
where (cast(:officer as uuid) is null or o.id = :officer)
  and (cast(:area as uuid) is null or o.ancestors @> array[cast(:area as uuid)])
  and (cast(:words as text) is null or o.display_name ilike :words or o.call_sign ilike :words)
  and (cast(:after as uuid) is null or o.id > :after)
order by o.id limit :most
"""


def live_officers(
    session: Session,
    scope: Sequence[UUID],
    *,
    now: datetime,
    silent_after_s: float,
    area_id: UUID | None = None,
    officer_id: UUID | None = None,
    words: str | None = None,
    after: UUID | None = None,
    limit: int,
) -> list[LiveRow]:
    """Return officers on shift whose shift's area is in or below ``scope``, by id, at most ``limit``."""
    pattern = None
    if words:
        escaped = words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        pattern = f"%{escaped}%"
    rows = session.execute(
        text(_LIVE).bindparams(bindparam("scope", list(scope), _UUIDS)),
        {
            "now": now,
            "silent_before": now - timedelta(seconds=silent_after_s),
            "officer": officer_id,
            "area": area_id,
            "words": pattern,
            "after": after,
            "most": limit,
        },
    )
    return [_live_row(row) for row in rows]


def _live_row(row: Any) -> LiveRow:
    position = None
    if row.fixed_at is not None:
        position = LivePosition(
            row.lon, row.lat, row.fixed_at, row.received_at, row.accuracy_m, row.speed_mps, row.heading_deg,
            row.battery_pct, row.charging, row.place_id, row.device_id,
        )  # fmt: skip
    return LiveRow(
        row.id, row.display_name, row.kind, row.call_sign, row.area_id, row.area_name, row.shift_id, row.started_at,
        row.version, Status(row.status), position,
    )  # fmt: skip


_TRACK = """
select f.fixed_at, f.seq, f.device_id, ST_X(f.geom), ST_Y(f.geom), f.accuracy_m, f.altitude_m, f.speed_mps,
       f.heading_deg, f.battery_pct, f.flags
from fixes f
where f.device_id = any(:devices) and f.fixed_at >= :since and f.fixed_at < :until and f.shift_id = any(:shifts)
  and (cast(:after_at as timestamptz) is null
       or (f.fixed_at, f.device_id, f.seq) > (:after_at, cast(:after_device as uuid), cast(:after_seq as int)))
order by f.fixed_at, f.device_id, f.seq limit :most
"""


def track(
    session: Session,
    *,
    devices: Sequence[UUID],
    shifts: Sequence[UUID],
    since: datetime,
    until: datetime,
    limit: int,
    after: tuple[datetime, UUID, int] | None = None,
) -> list[Point]:
    """Return fixes of shifts in ``[since, until)`` with all they say, in the order of their times."""
    if not devices or not shifts:
        return []
    rows = session.execute(
        text(_TRACK).bindparams(
            bindparam("devices", list(devices), _UUIDS), bindparam("shifts", list(shifts), _UUIDS)
        ),
        {
            "since": since,
            "until": until,
            "most": limit,
            "after_at": after[0] if after else None,
            "after_device": after[1] if after else None,
            "after_seq": after[2] if after else None,
        },
    )
    return [Point(*row) for row in rows]


class Leg(NamedTuple):
    """One device in one shift of officer number ``officer``: the unit in which a track is read."""

    officer: int
    device_id: UUID
    shift_id: UUID


_COLUMNS = """
select o.officer, f.*
from unnest(%s::int4[], %s::uuid[], %s::uuid[]) as o(officer, device_id, shift_id)
cross join lateral (
  select array_agg(date_part('epoch', f.fixed_at)) as epoch_s, array_agg(ST_X(f.geom)), array_agg(ST_Y(f.geom)),
         array_agg(coalesce(f.accuracy_m, 'NaN')::float8), array_agg(coalesce(f.speed_mps, 'NaN')::float8),
         array_agg(f.flags::float8)
  from fixes f
  where f.device_id = o.device_id and f.shift_id = o.shift_id and f.fixed_at >= %s and f.fixed_at < %s
) f
where f.epoch_s is not null
"""
_FLOATS_OID = 1022
_ARRAY_HEADER_BYTES = 20
_ELEMENT = np.dtype([("length", ">i4"), ("value", ">f8")])
"""An element of a one-dimensional float8[] as PostgreSQL sends it in binary, none of them null."""


class _Column(Loader):
    """Takes a float8[] over as a numpy column, without an object for each number."""

    format = Format.BINARY

    def load(self, data: Any) -> Any:
        return np.frombuffer(data, _ELEMENT, offset=_ARRAY_HEADER_BYTES)["value"].astype(np.float64)


def tracks(session: Session, legs: Sequence[Leg], *, since: datetime, until: datetime) -> dict[int, Track]:
    """Return the tracks of officers in ``[since, until)`` as columns in time order, by the numbers of ``legs``.

    The columns come as binary arrays and are taken over as they are: an officer's day of 5,000 fixes costs a
    millisecond in this process, and a town's evening does not make objects by the million.
    """
    if not legs:
        return {}
    raw = session.connection().connection.driver_connection
    assert raw is not None
    with raw.cursor(binary=True) as cursor:
        cursor.adapters.register_loader(_FLOATS_OID, _Column)
        cursor.execute(
            _COLUMNS,
            (
                [leg.officer for leg in legs],
                [leg.device_id for leg in legs],
                [leg.shift_id for leg in legs],
                since,
                until,
            ),
        )
        parts: dict[int, list[Track]] = {}
        for officer, *floats, flags in cursor:
            parts.setdefault(officer, []).append(Track._make((*floats, flags.astype(np.int64))))
    return {officer: _in_order(found) for officer, found in parts.items()}


def _in_order(parts: Sequence[Track]) -> Track:
    """Join the legs of one officer in the order of their times; two devices of his may have measured in turn."""
    track = parts[0] if len(parts) == 1 else Track._make(map(np.concatenate, zip(*parts, strict=True)))
    if np.all(track.epoch_s[1:] >= track.epoch_s[:-1]):
        return track
    return track.at(np.argsort(track.epoch_s, kind="stable"))
