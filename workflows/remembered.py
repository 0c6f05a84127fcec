"""What a process remembers of those who send fixes: devices, shifts, areas and where each device was last.

Everything here is read before the grouped write and is only as true as a memory. So nothing is refused on its
word alone (``Remembered.duty`` reads again), and the write checks the shift once more (``workflows.gate``).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import namedtuple_row

from backend.core import clock
from backend.core.ids import id_of
from backend.core.listen import AREAS, DEVICES, SHIFTS, get_listener
from backend.core.memory import Memory
from backend.core.tokens import secret_hash
from backend.core.vocabulary import DeviceState, Protocol
from geo.areas import AreaIndex, AreaRow
from geo.fixes import Fix, ShiftWindow
from geo.footing import Footing
from workflows.connections import Connections, loss_noticed

FOOTING_S = 6 * 3600.0
"""An older fix says nothing about how fast the next one was reached."""
READERS = 4
"""Connections of a process that read what it does not remember yet."""

log = logging.getLogger(__name__)


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


class Remembered:
    """The memories of one process, each entry read when it is first asked for and forgotten when it changes."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._devices: Memory[tuple[str, bytes], DeviceIdentity | None] = Memory()
        self._phones: Memory[tuple[UUID, UUID], DeviceIdentity | None] = Memory()
        self._duties: Memory[UUID, Duty] = Memory()
        self.footings: Memory[UUID, Footing] = Memory(announced_s=FOOTING_S, unannounced_s=FOOTING_S)
        """Where each device was last; kept by whoever ran the pipeline."""
        self._areas: Memory[UUID, AreaIndex] = Memory(announced_s=3600, unannounced_s=60)
        self._readers: list[psycopg.Connection[Any]] = []
        self._reading = threading.BoundedSemaphore(READERS)
        if listener := get_listener():
            listener.on(SHIFTS, self._shift_changed)
            listener.on(DEVICES, self._device_changed)
            listener.on(AREAS, lambda _: self._areas.forget_all())
            listener.on_missed(self.forget)

    # --- What is asked

    def device_for(self, credential_kind: str, key: str) -> DeviceIdentity | None:
        """The device whose secret is ``key``, or None; see ``workflows.tracks.device_for``."""
        hashed = secret_hash(key)
        remembered = (credential_kind, hashed)
        found = self._devices.get(remembered)
        if found is None:
            found = self._devices.learn(remembered, lambda: self._read_device(credential_kind, hashed))
        return found

    def phone_of(self, town_id: UUID, officer_id: UUID, device_id: UUID) -> DeviceIdentity | None:
        """The officer's own phone of that id, or None."""
        remembered = (officer_id, device_id)
        found = self._phones.get(remembered)
        if found is None:
            found = self._phones.learn(remembered, lambda: self._read_phone(town_id, officer_id, device_id))
        return found

    def duty(self, officer_id: UUID) -> Duty | None:
        """The officer's shifts, if they are remembered."""
        return self._duties.get(officer_id)

    def duty_since(self, town_id: UUID, officer_id: UUID, since: datetime) -> Duty:
        """The officer's shifts that were not over before ``since``, read now."""
        return self._duties.learn(officer_id, lambda: self._read_duty(town_id, officer_id, since))

    def areas_of(self, town_id: UUID) -> AreaIndex:
        """The town's areas."""
        found = self._areas.get(town_id)
        if found is None:
            found = self._areas.learn(town_id, lambda: self._read_areas(town_id))
        return found

    # --- What was announced

    def _shift_changed(self, message: dict[str, Any]) -> None:
        if (officer_id := id_of(message.get("officer_id"))) is not None:
            self._duties.forget(officer_id)
        else:
            self._duties.forget_all()

    def _device_changed(self, message: dict[str, Any]) -> None:
        # A device that is new was perhaps asked for before; what is not known is forgotten with it.
        device_id = id_of(message.get("device_id"))

        def concerned(_: object, known: DeviceIdentity | None) -> bool:
            return known is None or device_id is None or known.device_id == device_id

        self._devices.forget_where(concerned)
        self._phones.forget_where(concerned)

    def forget(self) -> None:
        """Forget all that somebody else may have changed: announcements may have been missed."""
        for memory in (self._devices, self._phones, self._duties, self._areas):
            memory.forget_all()

    # --- What is read

    def _read(self, town_id: UUID | None, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Ask one question in a transaction of its own, in one round trip; rows as named tuples."""

        def attempt() -> list[Any]:
            connection = (
                self._readers.pop() if self._readers else self._connections.connect("xungeng-ingest-read")
            )
            with loss_noticed(connection), connection.cursor(row_factory=namedtuple_row) as cursor:
                try:
                    with connection.pipeline():
                        connection.execute(TOWN, (str(town_id) if town_id else "",))
                        cursor.execute(statement, parameters)
                    return cursor.fetchall()
                finally:
                    if not connection.closed:
                        self._readers.append(connection)

        with self._reading:
            return self._connections.patiently(attempt)

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
        return _index_of([(row.id, row.parent_id, row.kind, bytes(row.shape)) for row in rows])

    def close(self) -> None:
        """Give the connections back."""
        while self._readers:
            self._readers.pop().close()


def _index_of(rows: list[AreaRow]) -> AreaIndex:
    """The index of what can be indexed: an area that came in broken must not stop the fixes of a whole town."""
    try:
        return AreaIndex(rows)
    except ValueError:
        pass
    sound: list[AreaRow] = []
    for area_id, parent_id, kind, shape in rows:
        try:
            AreaIndex([(area_id, None, kind, shape)])
            sound.append((area_id, parent_id, kind, shape))
        except ValueError as error:
            log.error("ingest.area_skipped", extra={"area_id": str(area_id), "error": str(error)})
    try:
        return AreaIndex(sound)
    except ValueError as error:
        # Each polygon is sound, so it is the tree: without it the smallest of the areas that hold a place answers.
        log.error("ingest.area_tree_skipped", extra={"error": str(error)})
        return AreaIndex([(area_id, None, kind, shape) for area_id, _, kind, shape in sound])


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
