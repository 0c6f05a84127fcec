"""Replay (e): an officer's day and a town's day, read back through the code that serves them.

Against the naive layout: one table in the order of arrival, an id as its key, an index on officer and time and one on
the place, and ``DISTINCT ON`` for who was where last. Both sides hold the same rows and are read by the same client.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from backend.core.identity import Actor, Membership
from backend.core.uow import unit_of_work
from backend.core.vocabulary import Role
from bench.history import History, town_with_history
from bench.report import Report, at_most
from mobile_api.desk.replays import encoded
from workflows import closed_days, replays, tracks_of

POINTS = 5000
NAIVE = """
create table naive (id bigserial primary key, officer_id uuid not null, fixed_at timestamptz not null,
                    geom geometry(Point, 4326) not null, accuracy_m real, speed_mps real, flags smallint);
insert into naive (officer_id, fixed_at, geom, accuracy_m, speed_mps, flags)
  select d.officer_id, f.fixed_at, f.geom, f.accuracy_m, f.speed_mps, f.flags
  from fixes f join devices d on d.id = f.device_id order by f.fixed_at, f.device_id;
create unique index on naive (officer_id, fixed_at);
create index on naive using gist (geom);
analyze naive;
"""
NAIVE_DAY = """
select extract(epoch from fixed_at)::float8, ST_X(geom), ST_Y(geom), accuracy_m, speed_mps, flags from naive
where officer_id = :officer and fixed_at >= :since and fixed_at < :until order by fixed_at
"""
NAIVE_LATEST = (
    "select distinct on (officer_id) officer_id, fixed_at, geom from naive order by officer_id, fixed_at desc"
)
LATEST = "select officer_id, fixed_at, geom from latest_positions"


def run(quick: bool) -> Report:
    """Measure; the full run holds 50 million fixes of 1,000 officers, the quick one a million of 100."""
    officers, days = (100, 2) if quick else (1000, 10)
    report = Report("replay")
    with town_with_history() as history:
        history.add_people(1, officers)
        past = [history.today - timedelta(days=n) for n in range(days, 0, -1)]
        for day in past:
            history.add_day(day, 1, officers, POINTS)
        make_latest(history)
        with history.owner.begin() as connection:
            for statement in NAIVE.strip().split(";\n"):
                connection.execute(text(statement.rstrip(";")))
        history.settle()
        arrived = _officer_day_ms(history, past[-1], officers, quick)
        for day in past:
            if quick and day != past[-1]:
                history.order(day)  # Nobody asks for it; it is there to be in the way.
            else:
                history.close(day)
        history.settle()
        _officer_day(report, history, past[-1], officers, arrived, quick)
        _town_day(report, history, past[-1], officers, quick)
        _latest(report, history, quick)
        _many_partitions(report, history, past[-1], officers, quick)
    report.note(
        f"{officers} officers x {days} days x {POINTS} fixes = {history.points:,} fixes, read through the app's role."
    )
    return report


def officer_id(n: int) -> UUID:
    """The id that ``bench.history`` gives to officer ``n``."""
    return UUID(hashlib.md5(f"officer{n}".encode(), usedforsecurity=False).hexdigest())


def median_ms(act: Callable[[int], object], times: int) -> float:
    """The median time of ``act``, which is told the number of its turn."""
    spent = []
    for n in range(times):
        begun = time.perf_counter()
        act(n)
        spent.append((time.perf_counter() - begun) * 1000)
    return statistics.median(spent)


def read_day(history: History, officer: UUID, since: datetime, until: datetime) -> int:
    """Read one officer's day as the endpoint does: all his fixes as columns."""
    with unit_of_work(history.town_id) as uow:
        [track] = closed_days.read(uow, [officer], since=since, until=until, scope=[history.area_id]).values()
    assert len(track.epoch_s) == POINTS, len(track.epoch_s)
    return len(track.epoch_s)


def _officer_day_ms(history: History, day: date, officers: int, quick: bool) -> float:
    since, until = history.bounds(day)
    return median_ms(
        lambda n: read_day(history, officer_id(n % officers + 1), since, until), 10 if quick else 30
    )


def _officer_day(
    report: Report, history: History, day: date, officers: int, arrived_ms: float, quick: bool
) -> None:
    since, until = history.bounds(day)
    times = 10 if quick else 30

    def naive(n: int) -> None:
        with history.owner.connect() as connection:
            rows = connection.execute(
                text(NAIVE_DAY), {"officer": officer_id(n % officers + 1), "since": since, "until": until}
            ).all()
        assert len(rows) == POINTS

    one = officer_id(7)
    read_day(history, one, since, until)
    hot = median_ms(lambda n: read_day(history, one, since, until), times)
    naive_hot = median_ms(lambda n: naive(6), times)
    spread = median_ms(lambda n: read_day(history, officer_id(n % officers + 1), since, until), times)
    report.add(
        "officer-day, hot",
        hot,
        "ms",
        against="naive layout, hot",
        against_value=naive_hot,
        target=at_most(5, "value"),
    )
    answered = median_ms(lambda n: _desk(history, since, until, officer_id(n % officers + 1)), times)
    report.add(
        "officer-day, the desk's whole answer", answered, "ms", against="reading it", against_value=hot
    )
    report.add(
        "officer-day, any officer",
        spread,
        "ms",
        against="the same day as it arrived",
        against_value=arrived_ms,
    )
    cold, naive_cold = [], []
    for n in range(3 if quick else 7):
        history.evict()
        with history.owner.connect() as connection:
            connection.execute(text("select 1"))
        with unit_of_work(history.town_id) as uow:
            uow.session.execute(text("select 1"))
        ours, theirs = officer_id(n * 13 + 1), n * 13 + 5
        cold.append(median_ms(lambda _, who=ours: read_day(history, who, since, until), 1))  # type: ignore[misc]
        naive_cold.append(median_ms(lambda _, who=theirs: naive(who), 1))  # type: ignore[misc]
    report.add(
        "officer-day, evicted", statistics.median(cold), "ms", against="naive layout, evicted",
        against_value=statistics.median(naive_cold), target=at_most(15, "value"),
    )  # fmt: skip


def _desk(history: History, since: datetime, until: datetime, officer: UUID | None = None) -> replays.Replay:
    """Look at a span as the desk does, one officer's or the area's, up to the encoded answer."""
    actor = Actor(None, history.town_id, None, (Membership(Role.SUPERVISOR, history.area_id),))
    whom: dict[str, Any] = {"officer_ids": [officer] if officer else None}
    whom["area_id"] = None if officer else history.area_id
    with unit_of_work(history.town_id) as uow:
        found = replays.look(uow, actor, **whom, since=since, until=until, reason="benchmark")
        encoded(found)
    return found


def _town_day(report: Report, history: History, day: date, officers: int, quick: bool) -> None:
    """Everybody's day as the desk asks for it, from midnight to midnight of the town, against reading all fixes."""
    ids = [officer_id(n) for n in range(1, officers + 1)]
    since, until = history.bounds(day)
    scope = [history.area_id]

    def closed(_: int) -> None:
        with unit_of_work(history.town_id) as uow:
            zone = closed_days.zone_of(uow)
            days = closed_days.whole_days(since, until, zone)
            assert len(closed_days.tracks(uow, ids, days, zone, scope=scope)) == officers

    def whole(_: int) -> None:
        found = _desk(history, since, until)
        assert found.simplified
        assert len(found.tracks) == officers
        assert all(track.fix_count == POINTS for track in found.tracks)

    def raw(_: int) -> None:
        with unit_of_work(history.town_id) as uow:
            shifts = tracks_of.shifts_between(uow, ids, since=since, until=until, scope=scope)
            assert len(tracks_of.read(uow, shifts, since=since, until=until)) == officers

    closed(0)
    hot = median_ms(closed, 10 if quick else 30)
    all_of_it = median_ms(raw, 2)
    report.add(
        "town-day, hot",
        hot,
        "ms",
        against="every fix of the day",
        against_value=all_of_it,
        target=at_most(5, "value"),
    )
    whole(0)
    answered = median_ms(whole, 5)
    report.add("town-day, the desk's whole answer", answered, "ms", against="reading it", against_value=hot)


def make_latest(history: History) -> None:
    """Give everybody who had a shift a latest position."""
    with history.owner.begin() as connection:
        connection.execute(
            text(
                "insert into latest_positions (officer_id, town_id, shift_id, room_id, device_id, geom, fixed_at,"
                " received_at) select d.officer_id, :town, s.id, s.area_id, d.id,"
                " ST_SetSRID(ST_MakePoint(121.3, 31.1), 4326), now(), now() from devices d"
                " join lateral (select id, area_id from shifts where officer_id = d.officer_id limit 1) s on true"
            ),
            {"town": history.town_id},
        )


def _latest(report: Report, history: History, quick: bool) -> None:
    def read(statement: str, *, owner: bool) -> int:
        if owner:
            with history.owner.connect() as connection:
                return len(connection.execute(text(statement)).all())
        with unit_of_work(history.town_id) as uow:
            return len(uow.session.execute(text(statement)).all())

    ours = median_ms(lambda _: read(LATEST, owner=False), 10 if quick else 30)
    distinct = median_ms(lambda _: read(NAIVE_LATEST, owner=True), 1 if not quick else 2)
    report.add(
        "everybody's latest position", ours, "ms", against="DISTINCT ON over the history", against_value=distinct,
        target=at_most(0.5),
    )  # fmt: skip


def _many_partitions(report: Report, history: History, day: date, officers: int, quick: bool) -> None:
    """An officer's day among 10, 200 and 800 partitions: the bound of time keeps the rest out of it."""
    since, until = history.bounds(day)
    one = officer_id(3)
    spent: dict[int, float] = {}
    for wanted in (10, 200) if quick else (10, 200, 800):
        with history.owner.begin() as connection:
            there = connection.execute(
                text("select count(*) from pg_inherits where inhparent = 'fixes'::regclass")
            ).scalar_one()
            if there < wanted:
                first = datetime(2020, 1, 1, tzinfo=UTC).date()
                connection.execute(
                    text("select make_partitions('fixes', :first, :last, interval '1 day')"),
                    {"first": first, "last": first + timedelta(days=wanted - 1)},
                )
        history.engine.dispose()
        read_day(history, one, since, until)
        spent[wanted] = median_ms(lambda _: read_day(history, one, since, until), 10 if quick else 30)
    most, least = max(spent), min(spent)
    report.add(
        f"officer-day among {most} partitions", spent[most], "ms", against=f"among {least} or so", ratio=None,
        against_value=spent[least], target=at_most(1.5),
    )  # fmt: skip
