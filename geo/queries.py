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
from psycopg.rows import namedtuple_row
from sqlalchemy import DateTime, bindparam, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from geo.fixes import HIDDEN
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


TRAVEL_MPS = {"foot": 1.4, "e_bike": 5.0, "car": 8.0}
"""How fast a crew gets through a town, stops included; an officer without a crew goes on foot."""
DETOUR = 1.3
"""How much longer the way through streets is than the straight line."""


@dataclass(frozen=True)
class Near:
    """An officer on shift who is suitable, and how far from a place he was last seen."""

    id: UUID
    display_name: str
    kind: str | None
    call_sign: str | None
    travel: str
    area_id: UUID
    place: tuple[float, float]
    fixed_at: datetime
    distance_m: float
    eta_s: int
    busy: bool


NEAREST = """
select p.officer_id, o.display_name, o.kind, o.call_sign, o.travel, o.area_id, ST_X(p.geom::geometry) as lon,
       ST_Y(p.geom::geometry) as lat, p.fixed_at, ST_Distance(p.geom, %(place)s::geography) as distance_m, o.busy
from latest_positions p
cross join lateral (
  select u.display_name, c.call_sign, coalesce(c.travel, 'foot') as travel, s.area_id, m.officer_kind as kind,
         exists (select from assignments x where x.officer_id = p.officer_id and x.ended_at is null
                 and x.state <> 'offered') as busy
  from shifts s
  join users u on u.id = s.officer_id
  join areas a on a.id = s.area_id
  left join crews c on c.id = s.crew_id
  join lateral (select officer_kind from memberships where user_id = s.officer_id and role = 'officer'
                and ended_at is null and (cardinality(%(kinds)s::text[]) = 0 or officer_kind = any(%(kinds)s::text[]))
                order by granted_at limit 1) m on true
  where s.id = p.shift_id and s.ended_at is null and s.closes_at > %(now)s::timestamptz
    and (a.ancestors && %(scope)s::uuid[] or a.id = any(%(above)s::uuid[]))
    and (%(skill)s::text is null or %(skill)s::text = any(u.skills))
  offset 0
) o
where p.fixed_at >= %(since)s::timestamptz and (%(busy_too)s::bool or not o.busy)
  and not p.officer_id = any(%(except)s::uuid[])
order by p.geom <-> %(place)s::geography
limit %(most)s::int
"""
"""The index gives officers by their distance, and each is looked at until enough are found: nothing is sorted. What
is asked of one officer stands behind ``offset 0``, so that the planner cannot begin with all shifts instead."""


def nearest(
    session: Session,
    place: tuple[float, float],
    *,
    now: datetime,
    recent_s: float,
    scope: Sequence[UUID],
    above: Sequence[UUID] = (),
    kinds: Sequence[str] = (),
    skill: str | None = None,
    busy_too: bool = False,
    without: Sequence[UUID] = (),
    limit: int,
) -> list[Near]:
    """Return the officers nearest to ``place`` (lon, lat) who are suitable, nearest first, at most ``limit``.

    Suitable is who is on shift in or below an area of ``scope`` or exactly in one of ``above``, was seen within
    ``recent_s``, is of one of ``kinds`` (empty: of any), has the ``skill``, does nothing else (or ``busy_too``), and
    is not one of ``without``. Distances are on the spheroid; the time is along streets at the pace of his crew.
    """
    given = {
        "place": f"SRID=4326;POINT({place[0]!r} {place[1]!r})",
        "now": now,
        "since": now - timedelta(seconds=recent_s),
        "scope": list(scope),
        "above": list(above),
        "kinds": list(kinds),
        "skill": skill,
        "busy_too": busy_too,
        "except": list(without),
        "most": limit,
    }
    session.flush()  # Whom the same act has just made busy is so.
    raw = session.connection().connection.driver_connection
    assert raw is not None
    with raw.cursor(binary=True, row_factory=namedtuple_row) as cursor:
        with raw.pipeline():  # One way to the database and back for both.
            raw.execute(_ONE_PLAN_FOR_ALL)
            cursor.execute(NEAREST, given)
        return [
            Near(
                row.officer_id, row.display_name, row.kind, row.call_sign, row.travel, row.area_id, (row.lon, row.lat),
                row.fixed_at, row.distance_m, eta_s(row.distance_m, row.travel), row.busy,
            )
            for row in cursor
        ]  # fmt: skip


_ONE_PLAN_FOR_ALL = "select set_config('plan_cache_mode', 'force_generic_plan', true)"
"""For the rest of the transaction: to plan the nine tables takes twice as long as to find ten officers in them, and no
parameter changes what the best plan is."""


def eta_s(distance_m: float, travel: str) -> int:
    """Return how long a crew takes for a straight line of so many metres."""
    return round(distance_m * DETOUR / TRAVEL_MPS[travel])


_HOW_FAR = """
select p.officer_id, ST_Distance(p.geom, cast(:place as geography)) as distance_m, coalesce(c.travel, 'foot') as travel
from latest_positions p
join shifts s on s.id = p.shift_id
left join crews c on c.id = s.crew_id
where p.officer_id = any(:officers) and p.fixed_at >= :since
"""


def how_far(
    session: Session, place: tuple[float, float], officer_ids: Sequence[UUID], *, since: datetime
) -> dict[UUID, tuple[float, int]]:
    """Return distance in metres and time in seconds to a place, of those officers who were seen since."""
    rows = session.execute(
        text(_HOW_FAR).bindparams(bindparam("officers", list(officer_ids), _UUIDS)),
        {"place": f"SRID=4326;POINT({place[0]!r} {place[1]!r})", "since": since},
    )
    return {row.officer_id: (row.distance_m, eta_s(row.distance_m, row.travel)) for row in rows}


FENCE_M = 50.0
MOST_ACCURACY_M = 100.0

_ARRIVED = """
select t.id
from latest_positions p
join tasks t on t.id = any(:tasks)
where p.officer_id = :officer and p.fixed_at >= :since
  and ST_DWithin(p.geom, t.geom, :fence + least(coalesce(p.accuracy_m, 0), :most_accuracy))
"""


def arrived(session: Session, officer_id: UUID, task_ids: Sequence[UUID], *, since: datetime) -> set[UUID]:
    """Return at which tasks an officer seems to be: his latest fix is within 50 m and its accuracy of the place.

    Of the accuracy 100 m count at most: a fix by cell tower is near everything.
    """
    if not task_ids:
        return set()
    rows = session.scalars(
        text(_ARRIVED).bindparams(bindparam("tasks", list(task_ids), _UUIDS)),
        {"officer": officer_id, "since": since, "fence": FENCE_M, "most_accuracy": MOST_ACCURACY_M},
    )
    return set(rows)


@dataclass(frozen=True)
class Way:
    """An officer's way to a task: how far its place was when the way began, and how far it is now, in metres.

    A distance that no fix says is None. On a way that ``leads_away`` every fix of the last while lies farther from the
    place than its beginning, by more than a margin. One ``is_elsewhere`` whose task lies outside the area of the shift.
    """

    officer_id: UUID
    task_id: UUID
    task_number: int
    began_at: datetime
    began_m: float | None
    now_m: float | None
    leads_away: bool
    is_elsewhere: bool


_WAYS = """
select a.officer_id, t.id as task_id, t.number, a.way_began_at, began.away_m as began_m,
       ST_Distance(p.geom, t.geom) as now_m,
       case when p.fixed_at > :since and
              ST_Distance(p.geom, t.geom) - least(coalesce(p.accuracy_m, 0), :most_accuracy) > began.away_m + :margin
       then coalesce((
         select bool_and(ST_Distance(f.geom::geography, t.geom) - least(coalesce(f.accuracy_m, 0), :most_accuracy)
                         > began.away_m + :margin)
         from fixes f
         where f.device_id = p.device_id and f.flags & :hidden = 0
           and f.fixed_at > a.way_began_at and f.fixed_at <= p.fixed_at and f.fixed_at >= (
             select x.fixed_at from fixes x
             where x.device_id = p.device_id and x.flags & :hidden = 0
               and x.fixed_at > a.way_began_at and x.fixed_at <= p.fixed_at - cast(:lasting as interval)
             order by x.fixed_at desc limit 1
           )
       ), false) else false end as leads_away,
       coalesce(not ta.ancestors @> array[s.area_id], true) as is_elsewhere
from assignments a
join tasks t on t.id = a.task_id
join areas ta on ta.id = t.area_id
left join shifts s on s.officer_id = a.officer_id and s.ended_at is null and s.closes_at > :now
left join latest_positions p on p.officer_id = a.officer_id and p.shift_id = s.id and p.fixed_at > a.way_began_at
left join lateral (
  select ST_Distance(f.geom::geography, t.geom) as away_m
  from (
    (select x.geom, x.fixed_at from fixes x
     where x.device_id = p.device_id and x.flags & :hidden = 0
       and x.fixed_at > a.way_began_at - cast(:before as interval) and x.fixed_at <= a.way_began_at
     order by x.fixed_at desc limit 1)
    union all
    (select x.geom, x.fixed_at from fixes x
     where x.device_id = p.device_id and x.flags & :hidden = 0
       and x.fixed_at > a.way_began_at and x.fixed_at <= p.fixed_at
     order by x.fixed_at limit 1)
  ) f
  order by f.fixed_at limit 1
) began on true
where a.town_id = :town and a.state = 'en_route'
"""
WAY_BEFORE = timedelta(minutes=5)
"""So old the fix may be that says where a way began; without one its first says it."""


def ways(
    session: Session, town_id: UUID, *, now: datetime, recent: timedelta, margin_m: float, lasting: timedelta
) -> list[Way]:
    """Return the ways of all who are under way in the town, by the live fixes that are stored.

    One leads away when the latest fix is younger than ``recent``, and all fixes from the last one that is at least
    ``lasting`` older than it lie farther from the place than the beginning, by more than ``margin_m`` and their
    accuracy (100 m at most).
    """
    rows = session.execute(
        text(_WAYS),
        {
            "town": town_id, "now": now, "since": now - recent, "margin": margin_m, "lasting": lasting,
            "before": WAY_BEFORE, "hidden": HIDDEN, "most_accuracy": MOST_ACCURACY_M,
        },
    )  # fmt: skip
    return [
        Way(
            row.officer_id,
            row.task_id,
            row.number,
            row.way_began_at,
            row.began_m,
            row.now_m,
            row.leads_away,
            row.is_elsewhere,
        )
        for row in rows
    ]


class Moment(NamedTuple):
    """An officer, and a moment by the clock of his phone or, where that is not known, by the server's."""

    officer_id: UUID
    at: datetime


_PLACES = """
select m.number, f.lon, f.lat, f.accuracy_m
from unnest(cast(:officers as uuid[]), cast(:moments as timestamptz[])) with ordinality as m(officer_id, at, number)
cross join lateral (
  select ST_X(f.geom) as lon, ST_Y(f.geom) as lat, f.accuracy_m
  from devices d
  join fixes f on f.device_id = d.id and f.fixed_at > m.at - :before and f.fixed_at <= m.at + :after
  where d.officer_id = m.officer_id and f.fixed_at > :since and f.fixed_at <= :until
  order by f.fixed_at desc limit 1
) f
"""
PLACE_BEFORE, PLACE_AFTER = timedelta(minutes=2), timedelta(seconds=5)


def places_at(session: Session, moments: Sequence[Moment]) -> list[tuple[float, float, float | None] | None]:
    """Return where each officer was at his moment (lon, lat, accuracy in metres), by his last fix of two minutes."""
    if not moments:
        return []
    times = [moment.at for moment in moments]
    rows = session.execute(
        text(_PLACES).bindparams(
            bindparam("officers", [moment.officer_id for moment in moments], _UUIDS),
            bindparam("moments", times, postgresql.ARRAY(DateTime(timezone=True))),
        ),
        {
            "before": PLACE_BEFORE, "after": PLACE_AFTER,
            "since": min(times) - PLACE_BEFORE, "until": max(times) + PLACE_AFTER,
        },
    )  # fmt: skip
    found: list[tuple[float, float, float | None] | None] = [None] * len(moments)
    for row in rows:
        found[row.number - 1] = (row.lon, row.lat, row.accuracy_m)
    return found
