"""Growth (j): how the hot queries slow down as the history grows, as the slope of log(time) over log(stored fixes).

A slope counts as flat when its 95 % interval contains 0 or it is at most 0.05. Beside them, the same for the naive way
to the latest position (``DISTINCT ON`` over the history), which grows with it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
from sqlalchemy import text

from backend.core.uow import unit_of_work
from bench.history import History, town_with_history
from bench.replay import make_latest, median_ms, officer_id, read_day
from bench.report import Report
from geo.fixes import Fix
from workflows import tracks, tracks_of
from workflows.remembered import DeviceIdentity

VOLUMES = (100_000, 1_000_000, 5_000_000, 10_000_000, 50_000_000)
QUICK_VOLUMES = (100_000, 300_000, 900_000)
PROBES = 20
"""Officers whose days are there from the start and stay as they are: only what is around them grows."""
CROWD = 1000
POINTS = 5000
LAST_HOUR_POINTS = 450
CHUNKS = 5

DISTINCT = "select distinct on (device_id) device_id, fixed_at from fixes order by device_id, fixed_at desc"
LATEST = "select officer_id, fixed_at, ST_X(geom::geometry), ST_Y(geom::geometry) from latest_positions"
NEAREST = """
select officer_id, geom <-> ST_SetSRID(ST_MakePoint(121.3, 31.1), 4326)::geography from latest_positions
order by geom <-> ST_SetSRID(ST_MakePoint(121.3, 31.1), 4326)::geography limit 10
"""

# Student's t, two-sided 95 %, by degrees of freedom.
T95 = {8: 2.306, 13: 2.160, 18: 2.101, 23: 2.069}


@dataclass
class Series:
    """Times of one query at several volumes, several medians each."""

    points: list[float] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)

    def slope(self) -> tuple[float, float]:
        """The exponent of growth and half the width of its 95 % interval."""
        x, y = np.log(self.points), np.log(self.times_ms)
        slope, intercept = np.polyfit(x, y, 1)
        rest = y - (slope * x + intercept)
        freedom = len(x) - 2
        error = math.sqrt(float(rest @ rest) / freedom / float(((x - x.mean()) ** 2).sum()))
        return float(slope), T95.get(freedom, 2.0) * error


def run(quick: bool) -> Report:
    """Measure at each volume, smallest first; the full run ends at 50 million fixes."""
    report = Report("growth")
    series: dict[str, Series] = {}
    with town_with_history() as history:
        history.add_people(1, PROBES + CROWD)
        probe_day = history.today - timedelta(days=1)
        history.add_day(probe_day, 1, PROBES, POINTS)
        _open_shift(history)
        history.close(probe_day)
        make_latest(history)
        for volume in QUICK_VOLUMES if quick else VOLUMES:
            _grow(history, volume)
            history.settle()
            for name, act in _queries(history).items():
                _measure(series.setdefault(name, Series()), history.points, act, 3 if quick else 10)
            once = series.setdefault("DISTINCT ON over the history", Series())
            for _ in range(CHUNKS):
                once.points.append(history.points)
                once.times_ms.append(median_ms(lambda _: _rows(history, DISTINCT), 1))
    naive = series.pop("DISTINCT ON over the history").slope()[0]
    for name, measured in series.items():
        slope, half = measured.slope()
        report.add(
            f"{name}: growth exponent",
            slope,
            f"± {half:.3f}",
            against="DISTINCT ON over the history",
            against_value=naive,
            rule=("value ≤ 0.05 or interval has 0", slope <= 0.05 or slope - half <= 0),
        )
        first, last = measured.times_ms[:CHUNKS], measured.times_ms[-CHUNKS:]
        report.note(
            f"{name}: median {statistics.median(first):.2f} ms at {measured.points[0]:,.0f} fixes,"
            f" {statistics.median(last):.2f} ms at {measured.points[-1]:,.0f}."
        )
    return report


def _queries(history: History) -> dict[str, Callable[[int], object]]:
    day = history.bounds(history.today - timedelta(days=1))
    now = datetime.now(UTC)
    device = _device(history, 1)
    stamps = iter(range(10**9))

    def insert(_: int) -> None:
        start = datetime.now(UTC) - timedelta(minutes=2)
        fixes = [
            Fix(
                fixed_at=start + timedelta(milliseconds=next(stamps) % 60_000, microseconds=n),
                lon=121.3,
                lat=31.1 + n * 1e-6,
            )
            for n in range(100)
        ]
        tracks.ingest(device, fixes, [], "officer")

    def last_hour(_: int) -> None:
        with unit_of_work(history.town_id) as uow:
            since, scope = now - timedelta(hours=1), [history.area_id]
            shifts = tracks_of.shifts_between(uow, [officer_id(2)], since=since, until=now, scope=scope)
            found = tracks_of.read(uow, shifts, since=since, until=now)
        assert len(found[officer_id(2)].epoch_s) == LAST_HOUR_POINTS

    return {
        "insert of 100 fixes": insert,
        "everybody's latest position": lambda _: _rows(history, LATEST),
        "ten nearest": lambda _: _rows(history, NEAREST),
        "an officer's last hour": last_hour,
        "an officer's day": lambda n: read_day(history, officer_id(n % PROBES + 1), *day),
    }


def _rows(history: History, statement: str) -> int:
    with unit_of_work(history.town_id) as uow:
        return len(uow.session.execute(text(statement)).all())


def _measure(series: Series, points: int, act: Callable[[int], object], times: int) -> None:
    for n in range(3):
        act(n)
    for _ in range(CHUNKS):
        series.points.append(points)
        series.times_ms.append(median_ms(act, times))


def _grow(history: History, volume: int) -> None:
    """Add days of the crowd, each closed as it is added, until the history holds ``volume`` fixes."""
    days_back = 3  # The day before the probes' shares a partition with it.
    while history.points < volume:
        each = min(POINTS, -(-(volume - history.points) // CROWD))
        day = history.today - timedelta(days=days_back)
        with history.owner.connect() as connection:
            taken = connection.execute(
                text("select exists (select from fixes where fixed_at >= :since and fixed_at < :until)"),
                dict(zip(("since", "until"), history.bounds(day), strict=True)),
            ).scalar()
        if not taken:
            history.add_day(day, PROBES + 1, PROBES + CROWD, each)
            history.order(day)
        days_back += 1


def _open_shift(history: History) -> None:
    """Put the first two probes on shift now; the second has the last hour's fixes."""
    now = datetime.now(UTC)
    with history.owner.begin() as connection:
        for n in (1, 2):
            connection.execute(
                text(
                    "insert into shifts (id, town_id, officer_id, area_id, state, started_at, closes_at)"
                    " values (md5('open' || cast(:n as int))::uuid, :town, :officer, :area, 'on_duty', :since, :until)"
                ),
                {
                    "n": n, "town": history.town_id, "officer": officer_id(n), "area": history.area_id,
                    "since": now - timedelta(hours=2), "until": now + timedelta(hours=10),
                },
            )  # fmt: skip
        connection.execute(
            text(
                "insert into fixes (town_id, device_id, fixed_at, seq, shift_id, geom, flags, received_at)"
                " select :town, md5('device2')::uuid, cast(:since as timestamptz) + t * interval '1 second', 0,"
                " md5('open2')::uuid, ST_SetSRID(ST_MakePoint(121.3, 31.1 + t * 1e-6), 4326), 0, now()"
                " from generate_series(1, cast(:count as int)) t"
            ),
            {"town": history.town_id, "since": now - timedelta(minutes=40), "count": LAST_HOUR_POINTS},
        )


def _device(history: History, n: int) -> DeviceIdentity:
    with unit_of_work(history.town_id) as uow:
        found: UUID = uow.session.execute(
            text("select id from devices where officer_id = :officer"), {"officer": officer_id(n)}
        ).scalar_one()
    return DeviceIdentity(found, history.town_id, officer_id(n), "officer", "active")
