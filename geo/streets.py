"""Streets that were walked: which parts of the town's roads somebody passed, on which day, and which nobody did.

A road is cut into parts of about PART_M. Of a track only this is kept: that somebody passed a part on a day, and when
last; not who. So it may be kept for longer than the track, and says nothing about a person.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from geo.fixes import HIDDEN, Fix

PART_M = 50.0
NEAR_M = 25.0
"""Who is measured no farther from a part than this walks along it, if no other is nearer."""
STEP_M = 20.0
MOST_PAUSE_S = 60.0
MOST_STRIDE_M = 150.0
"""Between two fixes no farther apart than these the way is taken to be straight; across more nobody knows it."""
MOST_ACCURACY_M = 50.0
_CELL_M = 10.0
_M_PER_DEG = 111_195.08


class Passing(NamedTuple):
    """Somebody was here at a moment; WGS-84 degrees."""

    at: datetime
    lon: float
    lat: float


def passings(fixes: Iterable[Fix | Passing]) -> list[Passing]:
    """The places that the track of one device passes, STEP_M apart: of each ten metres of ground the latest moment.

    Flagged fixes and blurred ones count for nothing.
    """
    latest: dict[tuple[int, int], Passing] = {}
    before: Passing | None = None
    for fix in fixes:
        if isinstance(fix, Fix) and (fix.flags & HIDDEN or (fix.accuracy_m or 0.0) > MOST_ACCURACY_M):
            continue
        here = Passing(fix.fixed_at, fix.lon, fix.lat) if isinstance(fix, Fix) else fix
        for place in [*_between(before, here), here]:
            scale = math.cos(math.radians(place.lat))
            cell = (
                math.floor(place.lon * scale * _M_PER_DEG / _CELL_M),
                math.floor(place.lat * _M_PER_DEG / _CELL_M),
            )
            known = latest.get(cell)
            if known is None or known.at < place.at:
                latest[cell] = place
        before = here
    return list(latest.values())


def _between(before: Passing | None, here: Passing) -> list[Passing]:
    if before is None or not 0.0 <= (here.at - before.at).total_seconds() <= MOST_PAUSE_S:
        return []
    east_m = (here.lon - before.lon) * math.cos(math.radians(here.lat)) * _M_PER_DEG
    stride_m = math.hypot(east_m, (here.lat - before.lat) * _M_PER_DEG)
    if stride_m > MOST_STRIDE_M:
        return []
    steps = math.ceil(stride_m / STEP_M)
    return [
        Passing(
            before.at + (here.at - before.at) * (n / steps),
            before.lon + (here.lon - before.lon) * (n / steps),
            before.lat + (here.lat - before.lat) * (n / steps),
        )
        for n in range(1, steps)
    ]


_CUT = text("""
insert into road_parts (road_id, n, town_id, geom, length_m)
select whole.id, n, whole.town_id, ST_LineSubstring(whole.geom, n::float8 / whole.parts, (n + 1)::float8 / whole.parts),
       whole.length_m / whole.parts
from (
  select r.id, r.town_id, r.geom, m.length_m, greatest(1, round(m.length_m / :part_m))::integer as parts
  from roads r cross join lateral (select ST_Length(r.geom::geography) as length_m) m
  where r.town_id = :town and r.kind <> 'water' and m.length_m > 0
    and not exists (select from road_parts p where p.road_id = r.id)
) whole cross join lateral generate_series(0, whole.parts - 1) n
on conflict do nothing
""")
_PASSED = text("""
insert into road_walks (road_id, n, day, town_id, last_at)
select near.road_id, near.n, (s.at at time zone :zone)::date, :town, max(s.at)
from unnest(cast(:lons as float8[]), cast(:lats as float8[]), cast(:moments as timestamptz[])) s(lon, lat, at)
cross join lateral (select ST_SetSRID(ST_MakePoint(s.lon, s.lat), 4326) as place) here
cross join lateral (
  select p.road_id, p.n from road_parts p
  where p.town_id = :town
    and p.geom && ST_Expand(here.place, :near_deg / greatest(0.01, cos(radians(s.lat))), :near_deg)
    and ST_Distance(p.geom::geography, here.place::geography) <= :near_m
  order by p.geom <-> here.place limit 1
) near
group by near.road_id, near.n, (s.at at time zone :zone)::date
on conflict (road_id, n, day) do update set last_at = excluded.last_at where road_walks.last_at < excluded.last_at
""")


def cut(session: Session, town_id: UUID) -> int:
    """Cut the roads that have not been cut yet into parts; return how many parts that made."""
    done = session.execute(_CUT, {"town": town_id, "part_m": PART_M})
    return int(done.rowcount)  # type: ignore[attr-defined]


def keep(session: Session, town_id: UUID, zone: str, places: Sequence[Passing]) -> None:
    """Keep which parts were passed, on which day of the town's zone; what is known already changes nothing."""
    if places:
        session.execute(
            _PASSED,
            {
                "town": town_id, "zone": zone, "near_m": NEAR_M, "near_deg": NEAR_M / _M_PER_DEG,
                "lons": [place.lon for place in places], "lats": [place.lat for place in places],
                "moments": [place.at for place in places],
            },
        )  # fmt: skip


# --- Looking at it

_UUIDS = postgresql.ARRAY(postgresql.UUID(as_uuid=True))

_TILE = text("""
with bounds as (select ST_TileEnvelope(:z, :x, :y) as box)
select coalesce(ST_AsMVT(tile, 'streets', 4096, 'geom'), ''::bytea) from (
  select coalesce(cast(:today as date) - max(q.day), -1) as days_ago, count(q.day) as days,
         ST_AsMVTGeom(ST_Transform(p.geom, 3857), b.box, 4096, 64, true) as geom
  from bounds b
  join road_parts p on p.geom && ST_Transform(ST_Expand(b.box, (ST_XMax(b.box) - ST_XMin(b.box)) / 64), 4326)
  left join road_walks q on q.road_id = p.road_id and q.n = p.n and q.day >= :since and q.day <= :today
  where p.town_id = :town and exists (
    select from areas a where a.id = any(:scope) and ST_Covers(a.geom, ST_LineInterpolatePoint(p.geom, 0.5)))
  group by p.road_id, p.n, b.box
) tile where geom is not null
""").bindparams(bindparam("scope", type_=_UUIDS))

_STREETS = text("""
select kind, name, length_m, passed_m, last_at, ST_XMin(box) as west, ST_YMin(box) as south, ST_XMax(box) as east,
       ST_YMax(box) as north
from (
  select r.kind, r.name, sum(p.length_m) as length_m, coalesce(sum(p.length_m) filter (where q.last_at is not null), 0)
         as passed_m, coalesce(max(q.last_at), 'epoch') as last_at, ST_Extent(p.geom) as box
  from road_parts p
  join roads r on r.id = p.road_id
  left join lateral (
    select max(q.last_at) as last_at from road_walks q
    where q.road_id = p.road_id and q.n = p.n and q.day >= :since and q.day <= :today
  ) q on true
  where p.town_id = :town and exists (
    select from areas a where a.id = any(:scope) and ST_Covers(a.geom, ST_LineInterpolatePoint(p.geom, 0.5)))
  group by r.kind, r.name
) street
where cast(:first as boolean)
   or (last_at, name ->> 'zh-CN', kind) > (cast(:after_at as timestamptz), :after_name, :after_kind)
order by last_at, name ->> 'zh-CN', kind limit :limit
""").bindparams(bindparam("scope", type_=_UUIDS))


@dataclass(frozen=True)
class Street:
    """A street, how much of it was passed in a span, and when last; bounds in degrees (west, south, east, north)."""

    kind: str
    name: dict[str, str]
    length_m: float
    passed_m: float
    last_passed_at: datetime | None
    bounds: tuple[float, float, float, float]


def tile(
    session: Session,
    town_id: UUID,
    z: int,
    x: int,
    y: int,
    *,
    scope: Sequence[UUID],
    since: date,
    today: date,
) -> bytes:
    """Return a vector tile of road parts: ``days_ago`` of the last pass (-1: none), and ``days`` with one."""
    values = {
        "z": z, "x": x, "y": y, "town": town_id, "scope": list(scope), "since": since, "today": today,
    }  # fmt: skip
    return bytes(session.execute(_TILE, values).scalar_one())


def streets(
    session: Session, town_id: UUID, *, scope: Sequence[UUID], since: date, today: date,
    after: tuple[str, str, str] | None, limit: int,
) -> list[Street]:  # fmt: skip
    """Return streets, those first that nobody passed for longest; ``after`` is the moment, name and kind of one."""
    at, name, kind = after or ("epoch", "", "")
    rows = session.execute(
        _STREETS,
        {
            "town": town_id, "scope": list(scope), "since": since, "today": today, "first": after is None,
            "after_at": at, "after_name": name, "after_kind": kind, "limit": limit,
        },
    )  # fmt: skip
    return [
        Street(
            row.kind, row.name, row.length_m, row.passed_m,
            None if row.last_at.timestamp() == 0.0 else row.last_at, (row.west, row.south, row.east, row.north),
        )
        for row in rows
    ]  # fmt: skip
