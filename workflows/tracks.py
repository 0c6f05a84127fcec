"""Fixes on their way into the database, a thousand for each press of a button.

    gateway or officer API -> geo/pipeline.py -> one grouped write for many requests -> commit
                           -> answer, live map

An answer of success means that the commit is done. What is known of the sender before the write is in
``workflows.remembered``, the write itself in ``workflows.grouped_write``.

The shift gate is checked twice. The pipeline checks it against what this process remembers; the statement
that inserts checks it again under the town's gate lock, which ending a shift takes too
(``workflows.gate``). What the memory knew too little of is read again before anything is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from backend.core import clock
from backend.core.config import libpq_url
from backend.core.db import get_engine
from backend.core.vocabulary import DeviceState
from geo.fixes import Fix, Reason, ShiftWindow, window_at
from geo.pipeline import Batch, Context, run
from notifications import recipients
from workflows import fix_rows
from workflows.connections import Connections
from workflows.grouped_write import Delivery, GroupedWrite, Raw, Receipt
from workflows.quarantine_room import Room
from workflows.remembered import DeviceIdentity, Duty, Remembered

SHIFTS_REMEMBERED = timedelta(hours=80)
"""How far back an officer's shifts are read at first: 72 hours of backlog and a good margin."""


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
    return _ingest().write.commit(delivery)


async def commit_soon(delivery: Delivery) -> Receipt:
    """``commit`` for a request that waits in an event loop."""
    return await _ingest().write.commit_soon(delivery)


def device_for(credential_kind: str, key: str) -> DeviceIdentity | None:
    """Return the device whose secret is ``key`` and whose protocol is ``credential_kind``, or None.

    A device that was revoked, or whose credential was renewed, is returned with the state ``revoked``.
    """
    return _ingest().remembered.device_for(credential_kind, key)


def phone_of(town_id: UUID, officer_id: UUID, device_id: UUID) -> DeviceIdentity | None:
    """Return the officer's own phone of that id, which he named when he started a shift, or None."""
    return _ingest().remembered.phone_of(town_id, officer_id, device_id)


def tune(**bounds: Any) -> None:
    """Set bounds of the grouped write (``Grouping``'s arguments) before the first fix; composition roots do."""
    _bounds.update(bounds)


class Ingest:
    """The way of a fix through one process: what it remembers, the pipeline, the grouped write."""

    def __init__(self, engine: Engine, **bounds: Any) -> None:
        """Write to the database of ``engine``; ``bounds`` are those of ``Grouping``."""
        self.engine = engine
        self.connections = Connections(libpq_url(engine.url.render_as_string(hide_password=False)))
        self.remembered = Remembered(self.connections)
        self.quarantine = Room()
        self.write = GroupedWrite(self.connections, self._saw, **bounds)

    def prepare(
        self, device: DeviceIdentity, fixes: list[Fix], quarantined: list[tuple[Raw, Reason]], protocol: str
    ) -> Delivery:
        """Run the pipeline and encode what it keeps."""
        received_at = clock.now()
        batch = Batch(fixes, list(quarantined))
        duty = self.remembered.duty(device.officer_id)
        if duty is None:
            duty = self._read_duty(device, received_at - SHIFTS_REMEMBERED)
        kept = run(batch, self._context(device, duty, received_at))
        if kept.off_shift and (duty.read_at < received_at or _oldest(fixes, received_at) < duty.since):
            # Nothing is refused on the word of a memory: the shift may have begun on another process just
            # now.
            since = min(received_at - SHIFTS_REMEMBERED, _oldest(fixes, received_at) - timedelta(days=1))
            duty = self._read_duty(device, since)
            kept = run(batch, self._context(device, duty, received_at))
        set_aside = list(kept.quarantined)
        kept_fixes = kept.fixes
        latest = kept.latest
        if device.state == DeviceState.REVOKED:
            set_aside += [(fix, Reason.CREDENTIAL_EXPIRED) for fix in kept_fixes]
            kept_fixes, latest = [], None
        elif (footing := kept.footing) is not None:
            self.remembered.footings.keep(device.device_id, footing)
        not_kept: dict[Reason, int] = {}
        if set_aside:
            set_aside, not_kept = self.quarantine.take(device.officer_id, set_aside, protocol, received_at)
        shift_ids, windows = _shifts_of(kept_fixes, duty.windows)
        rows = fix_rows.encode(device.device_id, shift_ids, kept_fixes, received_at)
        latest_row = room_id = None
        if latest is not None:
            index = next(i for i in range(len(kept_fixes) - 1, -1, -1) if kept_fixes[i] is latest)
            latest_row, room_id = rows[index], recipients.room_of_shift(windows[shift_ids[index]].area_id)
        return Delivery(
            device=device, protocol=protocol, received_at=received_at, fixes=kept_fixes, shift_ids=shift_ids,
            rows=rows, latest=latest, latest_row=latest_row, room_id=room_id, set_aside=set_aside,
            off_shift=kept.off_shift, duplicates=kept.duplicates, not_kept=not_kept,
        )  # fmt: skip

    def _context(self, device: DeviceIdentity, duty: Duty, received_at: datetime) -> Context:
        footing, previous = self.remembered.footings.get(device.device_id), None
        if footing is None and duty.shown is not None and duty.shown[0] == device.device_id:
            previous = duty.shown[1]
        return Context(
            received_at=received_at,
            windows=duty.windows,
            latest_at=duty.latest_at,
            area_of=self.remembered.areas_of(device.town_id),
            travel=duty.travel,
            footing=footing,
            previous=previous,
        )

    def _read_duty(self, device: DeviceIdentity, since: datetime) -> Duty:
        return self.remembered.duty_since(device.town_id, device.officer_id, since)

    def _saw(self, delivery: Delivery) -> None:
        duty = self.remembered.duty(delivery.device.officer_id)
        if duty is not None and delivery.latest is not None:
            duty.latest_at = delivery.latest.fixed_at

    def close(self) -> None:
        """Write what waits and give the connections back."""
        self.write.close()
        self.remembered.close()


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
