"""Fixes on their way into the database, a thousand for each press of a button.

    gateway or officer API -> geo/pipeline.py -> one grouped write for many requests -> commit
                           -> answer, live map

An answer of success means that the commit is done. A write that is interrupted may be repeated: a fix is
known by its device, its time and its sequence, so what is already there counts as a duplicate. This is the
one place that does not use a unit of work for what it writes: many requests share one transaction here, one
town at a time.

The shift gate is checked twice. The pipeline checks it against what this process remembers; the statement
that inserts checks it again under the town's gate lock, which ending a shift takes too
(``workflows.gate``). What the memory knew too little of is read again before anything is refused.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import Engine

from backend.core import clock
from backend.core.config import libpq_url
from backend.core.db import get_engine
from backend.core.errors import Unavailable
from backend.core.ids import new_id
from backend.core.listen import AREAS, DEVICES, SHIFTS, get_listener
from backend.core.memory import Memory
from backend.core.metrics import FIXES, GROUP_SIZE
from backend.core.vocabulary import DeviceState, Outcome, Protocol
from geo.areas import AreaIndex
from geo.fixes import Fix, Reason, ShiftWindow, window_at
from geo.footing import Footing
from geo.pipeline import LATE_AFTER, Batch, Context, run
from notifications.channels import realtime
from notifications.channels.realtime import LivePosition
from workflows import fix_rows, gate
from workflows.fix_rows import Rows
from workflows.grouping import Grouping

SHIFTS_REMEMBERED = timedelta(hours=80)
"""How far back an officer's shifts are read at first: 72 hours of backlog and a good margin."""
FOOTING_S = 6 * 3600.0
"""An older fix says nothing about how fast the next one was reached."""
READERS = 4
"""Connections of a process that read what it does not remember yet."""
LOST_FOR_S = 5.0
"""How long requests are held while the database is away before they are told to come again."""
RETRY_PAUSE_S = 0.1
WRITERS = 64
"""Rows of each counter: processes seldom share one, and who asks adds up few."""
SORT_OUT_ROUNDS = 4
MAX_SEQ = 32_767

Raw = dict[str, Any]
Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


class DatabaseLost(Exception):
    """The connection broke or could not be made; nobody knows whether the last transaction was committed."""


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """A device whose credential was shown. ``state`` is revoked when the device or that credential is."""

    device_id: UUID
    town_id: UUID
    officer_id: UUID
    protocol: str
    state: str
    datum: str = "wgs84"
    username: str | None = None
    revoked_at: datetime | None = None
    """When the credential that was shown stopped being valid."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of the fixes of one request; the counts add up to what came in."""

    stored: int = 0
    duplicates: int = 0
    off_shift: int = 0
    quarantined: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """How many were quarantined for which reason."""


def ingest(
    device: DeviceIdentity, fixes: list[Fix], quarantined: list[tuple[Raw, Reason]], protocol: str
) -> Receipt:
    """Send the fixes of one request through the pipeline, store them and return what became of each.

    Blocks until the commit that holds them is done. ``quarantined`` are objects that could not be read as
    fixes. Fixes of a device that was revoked are quarantined, not stored.

    Raises:
        Unavailable: too much is waiting, or the database is away; the caller keeps what he has.
    """
    return commit(prepare(device, fixes, quarantined, protocol))


def prepare(
    device: DeviceIdentity, fixes: list[Fix], quarantined: list[tuple[Raw, Reason]], protocol: str
) -> Delivery:
    """Do everything of ``ingest`` that comes before the write: the pipeline, and the encoding of what it keeps.

    Raises:
        MustWait: on a thread that may not wait (``memory.forbid_waiting``), if something has to be read first.
    """
    return _ingest().prepare(device, fixes, quarantined, protocol)


def commit(delivery: Delivery) -> Receipt:
    """Write what was prepared, together with what others bring, and return what became of it after the commit."""
    return _ingest().commit(delivery)


async def commit_soon(delivery: Delivery) -> Receipt:
    """``commit`` for a request that waits in an event loop."""
    return await _ingest().commit_soon(delivery)


def device_for(credential_kind: str, key: str) -> DeviceIdentity | None:
    """Return the device whose secret is ``key`` and whose protocol is ``credential_kind``, or None.

    A device that was revoked, or whose credential was renewed, is returned with the state ``revoked``.
    """
    return _ingest().device_for(credential_kind, key)


def phone_of(town_id: UUID, officer_id: UUID, device_id: UUID) -> DeviceIdentity | None:
    """Return the officer's own phone of that id, which he named when he started a shift, or None."""
    return _ingest().phone_of(town_id, officer_id, device_id)


def credential_hash(key: str) -> bytes:
    """What is stored of a device's secret; the secrets are long and random, so a plain hash is enough."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def tune(**bounds: Any) -> None:
    """Set bounds of the grouped write (``Grouping``'s arguments) before the first fix; composition roots
    do.
    """
    _bounds.update(bounds)


@dataclass(slots=True)
class Duty:
    """An officer's shifts as this process remembers them."""

    windows: tuple[ShiftWindow, ...]
    travel: str | None
    since: datetime
    """Shifts that were over before this moment were not read."""
    read_at: datetime
    latest_at: datetime | None
    """When the position was measured that the live map shows, as far as this process knows."""
    shown: tuple[UUID, Fix] | None = None
    """That position as it was read, and the device that measured it."""


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
            Outcome.QUARANTINED: len(self.set_aside),
        }

    def receipt(self, stored: int, duplicates: int = 0, off_shift: int = 0) -> Receipt:
        """The answer, with what the database found to be duplicates or off shift."""
        return Receipt(
            stored=stored,
            duplicates=self.duplicates + duplicates,
            off_shift=self.off_shift + off_shift,
            quarantined=len(self.set_aside),
            reasons=dict(Counter(str(reason) for _, reason in self.set_aside)) if self.set_aside else {},
        )


class Ingest:
    """The grouped write of one process and what it remembers of devices, shifts and last fixes."""

    def __init__(self, engine: Engine, **bounds: Any) -> None:
        """Write to the database of ``engine`` over connections of its own, one for each flusher."""
        self.engine = engine
        self._conninfo = libpq_url(engine.url.render_as_string(hide_password=False))
        self._devices: Memory[tuple[str, bytes], DeviceIdentity | None] = Memory()
        self._phones: Memory[tuple[UUID, UUID], DeviceIdentity | None] = Memory()
        self._duties: Memory[UUID, Duty] = Memory()
        lasting_s = FOOTING_S
        self._footings: Memory[UUID, Footing] = Memory(announced_s=lasting_s, unannounced_s=lasting_s)
        self._areas: Memory[UUID, AreaIndex] = Memory(announced_s=3600, unannounced_s=60)
        self._readers: list[psycopg.Connection[Any]] = []
        self._flushers: list[psycopg.Connection[Any]] = []
        self._reading = threading.BoundedSemaphore(READERS)
        self._here = threading.local()
        self._away_since: float | None = None
        self._writer = os.getpid() % WRITERS
        self._grouping: Grouping[Delivery, Receipt] = Grouping(
            "ingest", self._commit, after=self._publish, **bounds
        )
        if listener := get_listener():
            listener.on(SHIFTS, self._shift_changed)
            listener.on(DEVICES, self._device_changed)
            listener.on(AREAS, lambda _: self._areas.forget_all())
            listener.on_missed(self._forget)

    # --- Before the write: who, which shifts, what of it is kept

    def device_for(self, credential_kind: str, key: str) -> DeviceIdentity | None:
        hashed = credential_hash(key)
        remembered = (credential_kind, hashed)
        found = self._devices.get(remembered)
        if found is None:
            found = self._devices.learn(remembered, lambda: self._read_device(credential_kind, hashed))
        return found

    def phone_of(self, town_id: UUID, officer_id: UUID, device_id: UUID) -> DeviceIdentity | None:
        remembered = (officer_id, device_id)
        found = self._phones.get(remembered)
        if found is None:
            found = self._phones.learn(remembered, lambda: self._read_phone(town_id, officer_id, device_id))
        return found

    def commit(self, delivery: Delivery) -> Receipt:
        return self._grouping.submit(
            delivery, delivery.weight, key=delivery.device.town_id, live=delivery.is_live
        )

    async def commit_soon(self, delivery: Delivery) -> Receipt:
        return await self._grouping.submit_soon(
            delivery, delivery.weight, key=delivery.device.town_id, live=delivery.is_live
        )

    def prepare(
        self, device: DeviceIdentity, fixes: list[Fix], quarantined: list[tuple[Raw, Reason]], protocol: str
    ) -> Delivery:
        """Run the pipeline and encode what it keeps."""
        received_at = clock.now()
        batch = Batch(fixes, list(quarantined))
        duty = self._duties.get(device.officer_id)
        if duty is None:
            duty = self._duty_since(device, received_at - SHIFTS_REMEMBERED)
        kept = run(batch, self._context(device, duty, received_at))
        if kept.off_shift and (duty.read_at < received_at or _oldest(fixes, received_at) < duty.since):
            # Nothing is refused on the word of a memory: the shift may have begun on another process just
            # now.
            since = min(received_at - SHIFTS_REMEMBERED, _oldest(fixes, received_at) - timedelta(days=1))
            duty = self._duty_since(device, since)
            kept = run(batch, self._context(device, duty, received_at))
        set_aside = list(kept.quarantined)
        kept_fixes = kept.fixes
        latest = kept.latest
        if device.state == DeviceState.REVOKED:
            set_aside += [(fix, Reason.CREDENTIAL_EXPIRED) for fix in kept_fixes]
            kept_fixes, latest = [], None
        elif (footing := kept.footing) is not None:
            self._footings.keep(device.device_id, footing)
        shift_ids, windows = _shifts_of(kept_fixes, duty.windows)
        rows = fix_rows.encode(device.device_id, shift_ids, kept_fixes, received_at)
        latest_row = room_id = None
        if latest is not None:
            index = next(i for i in range(len(kept_fixes) - 1, -1, -1) if kept_fixes[i] is latest)
            latest_row, room_id = rows[index], windows[shift_ids[index]].area_id
        return Delivery(
            device=device, protocol=protocol, received_at=received_at, fixes=kept_fixes, shift_ids=shift_ids,
            rows=rows, latest=latest, latest_row=latest_row, room_id=room_id, set_aside=set_aside,
            off_shift=kept.off_shift, duplicates=kept.duplicates,
        )  # fmt: skip

    def _context(self, device: DeviceIdentity, duty: Duty, received_at: datetime) -> Context:
        footing, previous = self._footings.get(device.device_id), None
        if footing is None and duty.shown is not None and duty.shown[0] == device.device_id:
            previous = duty.shown[1]
        area_of = self._areas.get(device.town_id)
        if area_of is None:
            area_of = self._areas.learn(device.town_id, lambda: self._read_areas(device.town_id))
        return Context(
            received_at=received_at,
            windows=duty.windows,
            latest_at=duty.latest_at,
            area_of=area_of,
            travel=duty.travel,
            footing=footing,
            previous=previous,
        )

    def _duty_since(self, device: DeviceIdentity, since: datetime) -> Duty:
        return self._duties.learn(
            device.officer_id, lambda: self._read_duty(device.town_id, device.officer_id, since)
        )

    def close(self) -> None:
        """Write what waits and give the connections back."""
        self._grouping.close()
        while self._readers:
            self._readers.pop().close()
        for connection in self._flushers:
            connection.close()

    # --- What was announced

    def _shift_changed(self, message: Raw) -> None:
        if (officer_id := _uuid(message.get("officer_id"))) is not None:
            self._duties.forget(officer_id)
        else:
            self._duties.forget_all()

    def _device_changed(self, message: Raw) -> None:
        # A device that is new was perhaps asked for before; what is not known is forgotten with it.
        device_id = _uuid(message.get("device_id"))

        def concerned(_: object, known: DeviceIdentity | None) -> bool:
            return known is None or device_id is None or known.device_id == device_id

        self._devices.forget_where(concerned)
        self._phones.forget_where(concerned)

    def _forget(self) -> None:
        self._devices.forget_all()
        self._phones.forget_all()
        self._duties.forget_all()
        self._areas.forget_all()

    # --- The grouped write

    def _commit(self, group: Sequence[Delivery]) -> list[Receipt | Exception]:
        """Write the deliveries of one town in one transaction; safe to repeat."""

        def attempt() -> list[Receipt | Exception]:
            connection = self._flusher()
            with _loss_noticed(connection):
                return self._write(connection, group)

        receipts = self._patiently(attempt)
        GROUP_SIZE.observe(len(group))
        return receipts

    def _patiently(self, attempt: Callable[[], Answer]) -> Answer:
        """Return what ``attempt`` returns, trying again while the database is away for a moment.

        Raises:
            Unavailable: it has been away for longer than requests are to be held.
        """
        while True:
            try:
                answer = attempt()
            except DatabaseLost as loss:
                now = time.monotonic()
                self._away_since = self._away_since or now
                if now - self._away_since > LOST_FOR_S:
                    raise Unavailable("The database is away.", code="database_unavailable") from loss
                time.sleep(RETRY_PAUSE_S)
            else:
                self._away_since = None
                return answer

    def _flusher(self) -> psycopg.Connection[Any]:
        """The connection of this thread that groups are written over."""
        connection: psycopg.Connection[Any] | None = getattr(self._here, "connection", None)
        if connection is None or connection.closed:
            connection = self._connect("xungeng-ingest")
            # The arrays' lengths are unknown to the planner, so one plan fits all groups as well as a new one
            # for each; without hash joins it would compare every fix with every shift of the group.
            with _loss_noticed(connection):
                connection.execute(
                    "select set_config('plan_cache_mode', 'force_generic_plan', false),"
                    " set_config('enable_nestloop', 'off', false), set_config('statement_timeout', '15s', false)"
                )
                fix_rows.register(connection)
            self._here.connection = connection
            self._flushers = [known for known in self._flushers if not known.closed] + [connection]
        return connection

    def _connect(self, name: str) -> psycopg.Connection[Any]:
        try:
            connection = psycopg.connect(
                self._conninfo, autocommit=True, connect_timeout=3, application_name=name
            )
        except psycopg.OperationalError as error:
            raise DatabaseLost from error
        connection.prepare_threshold = 0
        return connection

    def _write(
        self, connection: psycopg.Connection[Any], group: Sequence[Delivery]
    ) -> list[Receipt | Exception]:
        # Two processes that write fixes or positions of the same devices and officers do so in one order.
        ordered = sorted(group, key=lambda delivery: delivery.device.device_id.bytes)
        town_id = group[0].device.town_id
        latest = _newest_of_each(ordered)
        set_aside = [(delivery, *entry) for delivery in ordered for entry in delivery.set_aside]
        late_days = _late_days(ordered)
        cursor = connection.cursor(binary=True)
        store = (
            town_id,
            gate.key(town_id),
            list({shift_id for delivery in ordered for shift_id in delivery.shift_ids}),
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
        stored: dict[UUID, int] = {}
        moved: list[Delivery] = []
        for what, count in cursor.fetchall():
            if count:
                stored[what] = count
            elif what in latest:
                moved.append(latest[what])
        self._here.moved = moved
        for delivery in moved:
            self._saw(delivery)
        receipts = self._receipts(connection, ordered, stored)
        return [receipts[id(delivery)] for delivery in group]

    def _receipts(
        self, connection: psycopg.Connection[Any], group: Sequence[Delivery], stored: dict[UUID, int]
    ) -> dict[int, Receipt]:
        """The answers by delivery. Where the database took less than all of a device's fixes, it is asked
        why.
        """
        expected: dict[UUID, int] = defaultdict(int)
        for delivery in group:
            expected[delivery.device.device_id] += len(delivery.rows)
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
                    if is_there or seq > MAX_SEQ:
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

    # --- After the commit

    def _saw(self, delivery: Delivery) -> None:
        duty = self._duties.get(delivery.device.officer_id)
        if duty is not None and delivery.latest is not None:
            duty.latest_at = delivery.latest.fixed_at

    def _publish(self) -> None:
        moved: list[Delivery] = getattr(self._here, "moved", [])
        self._here.moved = []
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

    # --- What is read before the write

    def _read(self, town_id: UUID | None, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Ask one question in a transaction of its own, in one round trip; rows as named tuples."""

        def attempt() -> list[Any]:
            connection = self._readers.pop() if self._readers else self._connect("xungeng-ingest-read")
            with _loss_noticed(connection), connection.cursor(row_factory=namedtuple_row) as cursor:
                try:
                    with connection.pipeline():
                        connection.execute(TOWN, (str(town_id) if town_id else "",))
                        cursor.execute(statement, parameters)
                    return cursor.fetchall()
                finally:
                    if not connection.closed:
                        self._readers.append(connection)

        with self._reading:
            return self._patiently(attempt)

    def _read_device(self, credential_kind: str, hashed: bytes) -> DeviceIdentity | None:
        rows = self._read(None, "select * from device_of_credential(%b)", (hashed,))
        if not rows or rows[0].protocol != credential_kind:
            return None
        [row] = rows
        revoked = row.state == DeviceState.REVOKED or row.revoked_at is not None
        return DeviceIdentity(
            device_id=row.device_id,
            town_id=row.town_id,
            officer_id=row.officer_id,
            protocol=row.protocol,
            state=DeviceState.REVOKED if revoked else DeviceState.ACTIVE,
            datum=row.datum,
            username=row.username,
            revoked_at=row.revoked_at,
        )

    def _read_phone(self, town_id: UUID, officer_id: UUID, device_id: UUID) -> DeviceIdentity | None:
        rows = self._read(
            town_id,
            "select state, datum, revoked_at from devices where id = %b and officer_id = %b and protocol = %b",
            (device_id, officer_id, str(Protocol.OFFICER)),
        )
        if not rows:
            return None
        [row] = rows
        return DeviceIdentity(
            device_id, town_id, officer_id, Protocol.OFFICER, row.state, row.datum, revoked_at=row.revoked_at
        )

    def _read_duty(self, town_id: UUID, officer_id: UUID, since: datetime) -> Duty:
        read_at = clock.now()
        rows = self._read(town_id, DUTY, (officer_id, since))
        windows = tuple(
            ShiftWindow(row.id, officer_id, row.area_id, row.started_at, row.closes_at, row.ended_at)
            for row in rows
        )
        shown = None
        if rows and (last := rows[-1]).fixed_at is not None:
            shown = last.device_id, Fix(last.fixed_at, last.lon, last.lat, accuracy_m=last.accuracy_m)
        return Duty(
            windows=windows,
            travel=rows[-1].travel if rows else None,
            since=since,
            read_at=read_at,
            latest_at=shown[1].fixed_at if shown else None,
            shown=shown,
        )

    def _read_areas(self, town_id: UUID) -> AreaIndex:
        rows = self._read(town_id, "select id, parent_id, kind, ST_AsBinary(geom) as shape from areas")
        return AreaIndex([(row.id, row.parent_id, row.kind, bytes(row.shape)) for row in rows])


@contextmanager
def _loss_noticed(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Tell a lost connection from a statement that the database, which is there, did not like."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        if connection.closed:
            log.warning("ingest.database_lost", extra={"error": type(error).__name__})
            raise DatabaseLost from error
        raise


# --- The statements

TOWN = "select set_config('xungeng.town', %b::text, true)"

DUTY = """
select s.id, s.area_id, s.started_at, s.closes_at, s.ended_at, c.travel,
       p.device_id, p.fixed_at, ST_X(p.geom::geometry) as lon, ST_Y(p.geom::geometry) as lat, p.accuracy_m
from shifts s
left join crews c on c.id = s.crew_id
left join latest_positions p on p.officer_id = s.officer_id
where s.officer_id = %b and coalesce(s.ended_at, s.closes_at) >= %b
order by s.started_at
"""

STORE = """
select * from store_fixes(%b::uuid, %b::int8, %b::uuid[], %b::fix_row[], %b::fix_row[], %b::timestamptz, %b::int2,
                          %b::text[], %b::text[], %b::int8[])
"""
"""The grouped write (``migrations/0002_store_fixes.py``): enters the town, holds its gate, stores the fixes that
the gate lets through, moves the positions that are shown, counts. Answers one row for each device with the number
of its fixes that were new, and one with 0 for each officer whose position moved."""

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


def _oldest(fixes: Sequence[Fix], received_at: datetime) -> datetime:
    return min((fix.fixed_at for fix in fixes), default=received_at)


def _shifts_of(
    fixes: Sequence[Fix], windows: Sequence[ShiftWindow]
) -> tuple[list[UUID], dict[UUID, ShiftWindow]]:
    """The shift of each fix (in time order, all of them on shift), and the windows by their shift."""
    by_id = {window.shift_id: window for window in windows}
    if not fixes:
        return [], by_id
    first, last = window_at(windows, fixes[0].fixed_at), fixes[-1].fixed_at
    if (
        first is not None
        and last < first.until
        and all(
            window is first or window.until <= first.started_at or window.started_at > last
            for window in windows
        )
    ):
        return [first.shift_id] * len(fixes), by_id
    found = [window_at(windows, fix.fixed_at) for fix in fixes]
    return [window.shift_id for window in found if window is not None], by_id


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


def _late_days(deliveries: Iterable[Delivery]) -> list[tuple[UUID, date]]:
    """Days (UTC) before today that get fixes now: whatever was made of them has to be made again."""
    days: set[tuple[UUID, date]] = set()
    for delivery in deliveries:
        if not delivery.fixes:
            continue
        today = delivery.received_at.date()
        if delivery.fixes[0].fixed_at.astimezone(UTC).date() < today:
            officer_id = delivery.device.officer_id
            days.update((officer_id, fix.fixed_at.astimezone(UTC).date()) for fix in delivery.fixes)
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


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(str(value))
    except ValueError:
        return None


# --- This process's own

_bounds: dict[str, Any] = {}
_ingest_lock = threading.Lock()
_process_ingest: Ingest | None = None


def _ingest() -> Ingest:
    global _process_ingest
    found, engine = _process_ingest, get_engine()
    if found is None or found.engine is not engine:
        with _ingest_lock:
            found = _process_ingest
            if found is None or found.engine is not engine:
                replaced, found = found, Ingest(engine, **_bounds)
                _process_ingest = found
                if replaced is not None:
                    replaced.close()
    return found


def close() -> None:
    """End this process's grouped write: what waits is written, and the connections are closed."""
    global _process_ingest
    with _ingest_lock:
        ended, _process_ingest = _process_ingest, None
    if ended is not None:
        ended.close()
