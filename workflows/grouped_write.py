"""The grouped write: the fixes of many requests in one statement and one commit.

A write that is interrupted may be repeated: a fix is known by its device, its time and its sequence, so what is
already there counts as a duplicate. This is the one place that does not use a unit of work for what it writes:
many requests share one transaction here, one town at a time.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import psycopg

from backend.core.ids import new_id
from backend.core.metrics import FIXES, GROUP_SIZE
from backend.core.vocabulary import Outcome
from geo.fixes import MOST_SEQ, Fix, Reason
from geo.pipeline import LATE_AFTER
from notifications.channels import realtime
from notifications.channels.realtime import LivePosition
from workflows import fix_rows, gate
from workflows.connections import Connections, loss_noticed
from workflows.fix_rows import Rows
from workflows.grouping import Grouping
from workflows.remembered import DeviceIdentity

WRITERS = 64
"""Rows of each counter: processes seldom share one, and who asks adds up few."""
SORT_OUT_ROUNDS = 4

Raw = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of the fixes of one request; the counts add up to what came in."""

    stored: int = 0
    duplicates: int = 0
    off_shift: int = 0
    quarantined: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """How many were quarantined for which reason."""


@dataclass(slots=True)
class Delivery:
    """What one request brings to the grouped write."""

    device: DeviceIdentity
    protocol: str
    received_at: datetime
    fixes: list[Fix]
    shift_ids: list[UUID]
    rows: list[bytes]
    latest: Fix | None
    latest_row: bytes | None
    room_id: UUID | None
    set_aside: list[tuple[Fix | Raw, Reason]]
    off_shift: int
    duplicates: int
    not_kept: Mapping[Reason, int] = field(default_factory=dict)
    """What the quarantine had no room for, by reason; counted like what is there."""

    @property
    def is_live(self) -> bool:
        """Whether it ends in the present; what does not is a backlog and takes a smaller share of the groups."""
        return not self.fixes or self.fixes[-1].fixed_at >= self.received_at - LATE_AFTER

    @property
    def weight(self) -> int:
        """How much of a group it takes: its rows."""
        return len(self.rows) + len(self.set_aside) or 1

    @property
    def outcomes(self) -> Mapping[str, int]:
        """What is counted if every fix that is to be stored turns out to be new."""
        return {
            Outcome.STORED: len(self.rows),
            Outcome.DUPLICATE: self.duplicates,
            Outcome.OFF_SHIFT: self.off_shift,
            Outcome.QUARANTINED: len(self.set_aside) + sum(self.not_kept.values()),
        }

    def receipt(self, stored: int, duplicates: int = 0, off_shift: int = 0) -> Receipt:
        """The answer, with what the database found to be duplicates or off shift."""
        return Receipt(
            stored=stored,
            duplicates=self.duplicates + duplicates,
            off_shift=self.off_shift + off_shift,
            quarantined=len(self.set_aside) + sum(self.not_kept.values()),
            reasons=self._reasons() if self.set_aside or self.not_kept else {},
        )

    def _reasons(self) -> dict[str, int]:
        reasons = Counter(str(reason) for _, reason in self.set_aside)
        reasons.update({str(reason): count for reason, count in self.not_kept.items()})
        return dict(reasons)


class _Here(threading.local):
    """What each flusher has for itself."""

    connection: psycopg.Connection[Any] | None = None

    def __init__(self) -> None:
        self.moved: list[Delivery] = []
        """Committed and not told to the live map yet, over all the writes that a group was split into."""


class GroupedWrite:
    """The grouped write of one process, over connections of its own, one for each flusher."""

    def __init__(self, connections: Connections, moved: Callable[[Delivery], None], **bounds: Any) -> None:
        """Write over ``connections``; ``moved`` hears of each delivery whose newest fix is shown from now on."""
        self._connections = connections
        self._moved = moved
        self._flushers: list[psycopg.Connection[Any]] = []
        self._here = _Here()
        self._writer = os.getpid() % WRITERS
        self._zones: dict[UUID, ZoneInfo] = {}
        self._grouping: Grouping[Delivery, Receipt] = Grouping(
            "ingest", self._commit, after=self._publish, **bounds
        )

    def commit(self, delivery: Delivery) -> Receipt:
        """Write a delivery together with what others bring, and return what became of it after the commit."""
        return self._grouping.submit(
            delivery, delivery.weight, key=delivery.device.town_id, live=delivery.is_live
        )

    async def commit_soon(self, delivery: Delivery) -> Receipt:
        """``commit`` for a request that waits in an event loop."""
        return await self._grouping.submit_soon(
            delivery, delivery.weight, key=delivery.device.town_id, live=delivery.is_live
        )

    def close(self) -> None:
        """Write what waits and give the connections back."""
        self._grouping.close()
        for connection in self._flushers:
            connection.close()

    def _commit(self, group: Sequence[Delivery]) -> list[Receipt | Exception]:
        """Write the deliveries of one town in one transaction; safe to repeat."""

        def attempt() -> list[Receipt | Exception]:
            connection = self._flusher()
            with loss_noticed(connection):
                return self._write(connection, group)

        receipts = self._connections.patiently(attempt)
        GROUP_SIZE.observe(len(group))
        return receipts

    def _flusher(self) -> psycopg.Connection[Any]:
        """The connection of this thread that groups are written over."""
        connection = self._here.connection
        if connection is None or connection.closed:
            connection = self._connections.connect("xungeng-ingest")
            # The arrays' lengths are unknown to the planner, so one plan fits all groups as well as a new one
            # for each; without hash joins it would compare every fix with every shift of the group.
            with loss_noticed(connection):
                connection.execute(
                    "select set_config('plan_cache_mode', 'force_generic_plan', false),"
                    " set_config('enable_nestloop', 'off', false), set_config('statement_timeout', '15s', false)"
                )
                fix_rows.register(connection)
            self._here.connection = connection
            self._flushers = [known for known in self._flushers if not known.closed] + [connection]
        return connection

    def _write(
        self, connection: psycopg.Connection[Any], group: Sequence[Delivery]
    ) -> list[Receipt | Exception]:
        # Two processes that write fixes or positions of the same devices and officers do so in one order.
        ordered = sorted(group, key=lambda delivery: delivery.device.device_id.bytes)
        town_id = group[0].device.town_id
        latest = _newest_of_each(ordered)
        set_aside = [(delivery, *entry) for delivery in ordered for entry in delivery.set_aside]
        late_days = _late_days(ordered, self._zone(connection, town_id))
        cursor = connection.cursor(binary=True)
        store = (
            town_id,
            gate.key(town_id),
            _shifts_of(ordered),
            Rows([row for delivery in ordered for row in delivery.rows]),
            Rows([row for delivery in latest.values() if (row := delivery.latest_row) is not None]),
            ordered[0].received_at,
            self._writer,
            *_columns(_counts((delivery.protocol, delivery.outcomes) for delivery in ordered), 3),
        )
        if not set_aside and not late_days:
            cursor.execute(STORE, store)
        else:
            # Still one round trip and one transaction: what stands between two syncs of a pipeline is committed
            # at the second one, or rolled back as a whole.
            with connection.pipeline():
                connection.execute(gate.ENTER, (str(town_id), gate.key(town_id)))
                if set_aside:
                    connection.execute(QUARANTINE, _quarantine_parameters(set_aside))
                if late_days:
                    connection.execute(LATE_DAYS, _columns(late_days, 2))
                cursor.execute(STORE, store)
        stored: dict[UUID, int] | None = {}
        for what, count in cursor.fetchall():
            if what is None:
                stored = None
            elif count:
                assert stored is not None  # Either all are new, or each device is told apart.
                stored[what] = count
            elif what in latest:
                self._here.moved.append(latest[what])
                self._moved(latest[what])
        receipts = self._receipts(connection, ordered, stored)
        return [receipts[id(delivery)] for delivery in group]

    def _zone(self, connection: psycopg.Connection[Any], town_id: UUID) -> ZoneInfo:
        """The time zone of the town, asked for once."""
        zone = self._zones.get(town_id)
        if zone is None:
            row = connection.execute("select time_zone from towns where id = %b", (town_id,)).fetchone()
            zone = self._zones[town_id] = ZoneInfo(row[0] if row else "UTC")
        return zone

    def _receipts(
        self, connection: psycopg.Connection[Any], group: Sequence[Delivery], stored: dict[UUID, int] | None
    ) -> dict[int, Receipt]:
        """The answers by delivery; ``stored`` is None if every fix was new. Where the database took less than all of
        a device's fixes, it is asked why.
        """
        expected: dict[UUID, int] = defaultdict(int)
        for delivery in group:
            expected[delivery.device.device_id] += len(delivery.rows)
        if stored is None:
            stored = dict(expected)
        receipts: dict[int, Receipt] = {}
        outcomes: Counter[tuple[str, str]] = Counter()
        for delivery in group:
            device_id, count = delivery.device.device_id, len(delivery.rows)
            there = stored.get(device_id, 0)
            if there == expected[device_id]:
                receipt = delivery.receipt(count)
            else:
                fresh = min(there, count)
                expected[device_id] -= count
                stored[device_id] = there - fresh
                receipt = self._sort_out(connection, delivery, fresh)
            receipts[id(delivery)] = receipt
            outcomes[delivery.protocol, Outcome.STORED] += receipt.stored
            outcomes[delivery.protocol, Outcome.DUPLICATE] += receipt.duplicates
            outcomes[delivery.protocol, Outcome.OFF_SHIFT] += receipt.off_shift
            outcomes[delivery.protocol, Outcome.QUARANTINED] += receipt.quarantined
        for labels, count in outcomes.items():
            if count:
                FIXES.labels(*labels).inc(count)
        return receipts

    def _sort_out(self, connection: psycopg.Connection[Any], delivery: Delivery, fresh: int) -> Receipt:
        """Find out why fixes of a delivery were not inserted, and store those that only met a taken number.

        ``fresh`` of its fixes were inserted by the grouped write. Each of the others is there already, or
        its shift ended meanwhile, or another measurement of the same instant has its number: then it gets
        the next free one.
        """
        device = delivery.device
        shift_ids = list(set(delivery.shift_ids))
        stored, refused = fresh, 0
        pending = list(range(len(delivery.fixes)))
        with connection.transaction():
            connection.execute(gate.ENTER, (str(device.town_id), gate.key(device.town_id)))
            for _ in range(SORT_OUT_ROUNDS):
                rows = Rows([delivery.rows[i] for i in pending])
                found = connection.execute(COMPARE, (shift_ids, rows)).fetchall()
                clashing: list[int] = []
                taken: Counter[datetime] = Counter()
                for i, (on_shift, is_there, next_seq) in zip(pending, found, strict=True):
                    fix = delivery.fixes[i]
                    seq = next_seq + taken[fix.fixed_at]
                    if is_there or seq > MOST_SEQ:
                        continue
                    if not on_shift:
                        refused += 1
                        continue
                    taken[fix.fixed_at] += 1
                    fix = delivery.fixes[i] = msgspec.structs.replace(fix, seq=seq)
                    [delivery.rows[i]] = fix_rows.encode(
                        device.device_id, [delivery.shift_ids[i]], [fix], delivery.received_at
                    )
                    clashing.append(i)
                if not clashing:
                    break
                inserted = self._store(connection, delivery, [delivery.rows[i] for i in clashing], {})
                stored += inserted
                if inserted == len(clashing):
                    break
                pending = clashing  # Another process took one of these numbers just now.
            duplicates = len(delivery.fixes) - stored - refused
            corrections: dict[str, int] = {
                Outcome.STORED: stored - len(delivery.rows),
                Outcome.DUPLICATE: duplicates,
                Outcome.OFF_SHIFT: refused,
            }
            self._store(connection, delivery, [], corrections)
        return delivery.receipt(stored, duplicates, refused)

    def _store(
        self,
        connection: psycopg.Connection[Any],
        delivery: Delivery,
        rows: list[bytes],
        outcomes: Mapping[str, int],
    ) -> int:
        """Store some rows of one delivery and count; return how many of the rows were new."""
        town_id = delivery.device.town_id
        counts = _columns(_counts([(delivery.protocol, outcomes)]), 3)
        found = connection.execute(
            STORE,
            (
                town_id, gate.key(town_id), list(set(delivery.shift_ids)), Rows(rows), Rows([]),
                delivery.received_at, self._writer, *counts,
            ),
        ).fetchall()  # fmt: skip
        return sum(count for _, count in found)

    def _publish(self) -> None:
        moved, self._here.moved = self._here.moved, []
        realtime.publish(
            LivePosition(
                room_id=delivery.room_id,
                officer_id=delivery.device.officer_id,
                fixed_at=fix.fixed_at,
                lon=fix.lon,
                lat=fix.lat,
                accuracy_m=fix.accuracy_m,
                speed_mps=fix.speed_mps,
                heading_deg=fix.heading_deg,
                battery_pct=fix.battery_pct,
                area_id=fix.area_id,
                charging=fix.charging,
            )
            for delivery in moved
            if (fix := delivery.latest) is not None and delivery.room_id is not None
        )


# --- The statements

STORE = """
select * from store_new_fixes(%b::uuid, %b::int8, %b::uuid[], %b::fix_row[], %b::fix_row[], %b::timestamptz, %b::int2,
                              %b::text[], %b::text[], %b::int8[])
"""
"""The grouped write (``migrations/0003_store_new_fixes.py``): enters the town, holds its gate, stores the fixes that
the gate lets through, moves the positions that are shown, counts. Answers one row without an id if all fixes were new,
else one row for each device with the number of its fixes that were; and one with 0 for each officer whose position
moved."""

COMPARE = """
with gate as materialized (
  select id, started_at, least(coalesce(ended_at, closes_at), closes_at) as until
  from shifts where id = any (%b::uuid[])
)
select gate.id is not null,
       exists (
         select from fixes x
         where x.device_id = f.device_id and x.fixed_at = f.fixed_at
           and ST_X(x.geom) = f.lon and ST_Y(x.geom) = f.lat and (x.flags & 1) = (f.flags & 1)
           and (x.accuracy_m, x.altitude_m, x.speed_mps, x.heading_deg, x.battery_pct, x.charging, x.attributes)
               is not distinct from
               (f.accuracy_m, f.altitude_m, f.speed_mps, f.heading_deg, f.battery_pct, f.charging, f.attributes)
       ),
       coalesce((select max(x.seq) + 1 from fixes x where x.device_id = f.device_id and x.fixed_at = f.fixed_at), 0)
from unnest(%b::fix_row[]) with ordinality f
left join gate on gate.id = f.shift_id and f.fixed_at >= gate.started_at and f.fixed_at < gate.until
order by f.ordinality
"""
"""For each fix: whether its shift covers it still, whether it is stored already, the next free number of its
instant. What was measured is compared, as in ``geo.fixes.payload``; how it was delivered is not."""

QUARANTINE = """
insert into quarantined_fixes (id, town_id, device_id, received_at, protocol, reason, payload)
select q.id, (select xungeng_town()), q.device_id, q.received_at, q.protocol, q.reason, q.payload::jsonb
from unnest(%b::uuid[], %b::uuid[], %b::timestamptz[], %b::text[], %b::text[], %b::text[])
  as q (id, device_id, received_at, protocol, reason, payload)
"""

LATE_DAYS = """
insert into late_days (town_id, officer_id, day)
select (select xungeng_town()), d.officer_id, d.day from unnest(%b::uuid[], %b::date[]) as d (officer_id, day)
order by d.officer_id, d.day
on conflict do nothing
"""


# --- Small things


def _shifts_of(deliveries: Iterable[Delivery]) -> list[UUID]:
    """The shifts that fixes of these deliveries belong to, each once."""
    found: set[UUID] = set()
    for delivery in deliveries:
        before = None
        for shift_id in delivery.shift_ids:
            if (
                shift_id is not before
            ):  # Mostly all are one and the same; to hash each costs more than to look.
                found.add(shift_id)
                before = shift_id
    return list(found)


def _newest_of_each(deliveries: Iterable[Delivery]) -> dict[UUID, Delivery]:
    """For each officer, the delivery with his newest showable fix."""
    newest: dict[UUID, Delivery] = {}
    for delivery in deliveries:
        if delivery.latest is None:
            continue
        before = newest.get(delivery.device.officer_id)
        if before is None or before.latest.fixed_at < delivery.latest.fixed_at:  # type: ignore[union-attr]
            newest[delivery.device.officer_id] = delivery
    return newest


def _late_days(deliveries: Iterable[Delivery], zone: ZoneInfo) -> list[tuple[UUID, date]]:
    """Days of the town before today that get fixes now: whatever was made of them has to be made again."""
    days: set[tuple[UUID, date]] = set()
    for delivery in deliveries:
        if not delivery.fixes:
            continue
        today = delivery.received_at.astimezone(zone).date()
        if (day := delivery.fixes[0].fixed_at.astimezone(zone).date()) < today:
            officer_id = delivery.device.officer_id
            days.add((officer_id, day))
            if delivery.fixes[-1].fixed_at.astimezone(zone).date() != day:  # They are in order of time.
                days.update((officer_id, fix.fixed_at.astimezone(zone).date()) for fix in delivery.fixes)
                days.discard((officer_id, today))
    return sorted(days)


def _counts(outcomes: Iterable[tuple[str, Mapping[str, int]]]) -> list[tuple[str, str, int]]:
    total: Counter[tuple[str, str]] = Counter()
    for protocol, of_delivery in outcomes:
        for outcome, count in of_delivery.items():
            total[protocol, outcome] += count
    return [(protocol, outcome, count) for (protocol, outcome), count in total.items() if count]


def _quarantine_parameters(
    set_aside: Sequence[tuple[Delivery, Fix | Raw, Reason]],
) -> tuple[list[Any], ...]:
    return _columns(
        [
            (
                new_id(),
                delivery.device.device_id,
                delivery.received_at,
                delivery.protocol,
                str(reason),
                msgspec.json.encode(what).decode(),
            )
            for delivery, what, reason in set_aside
        ],
        6,
    )


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> tuple[list[Any], ...]:
    return tuple(map(list, zip(*rows, strict=True))) if rows else tuple([] for _ in range(width))
