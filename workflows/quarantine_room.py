"""How much the devices of one officer may put into the quarantine.

What cannot be filed is kept, so that a phone with a wrong clock loses nothing. But whoever has one credential could
fill the disk with it: a few kilobytes of a packed body are thousands of rows. So there is room for what honest phones
bring, and of what is more only the number and the reason are kept. The phone is answered the same either way. The room
is the officer's, because he may name as many phones as he likes.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any
from uuid import UUID

import msgspec
from prometheus_client import Counter as Figure

from backend.core.metrics import REGISTRY
from geo.fixes import Fix, Reason

REQUEST_BYTES = 1024 * 1024
"""The largest batch of any app, 1,000 fixes, every one of them bad."""
DAY_BYTES = 16 * 1024 * 1024
"""Three days without a line and with a wrong clock: a fix each ten seconds, 25,920 in all."""
ROW_BYTES = 200
"""What a row takes beside its message."""

NOT_KEPT = Figure(
    "xungeng_quarantine_not_kept_total",
    "Messages for which the quarantine had no room: they are counted and not kept.",
    ["protocol", "reason"],
    registry=REGISTRY,
)

Entry = tuple[Fix | dict[str, Any], Reason]


class Room:
    """What each officer's devices have put into the quarantine today, as far as this process knows."""

    def __init__(self, request_bytes: int = REQUEST_BYTES, day_bytes: int = DAY_BYTES) -> None:
        self._request_bytes = request_bytes
        self._day_bytes = day_bytes
        self._day = date.min
        self._used: Counter[UUID] = Counter()
        self._lock = threading.Lock()

    def take(
        self, officer_id: UUID, entries: Iterable[Entry], protocol: str, at: datetime
    ) -> tuple[list[Entry], dict[Reason, int]]:
        """Return the entries that there is room for, and how many there is none for, by reason."""
        kept: list[Entry] = []
        left: Counter[Reason] = Counter()
        with self._lock:
            if at.date() != self._day:
                self._day = at.date()
                self._used.clear()
            room = min(self._request_bytes, self._day_bytes - self._used[officer_id])
            before = room
            for entry in entries:
                size = len(msgspec.json.encode(entry[0])) + ROW_BYTES if room > 0 else 1
                if size <= room:
                    room -= size
                    kept.append(entry)
                else:
                    room = 0
                    left[entry[1]] += 1
            # A request that was too large has used up what it asked for.
            self._used[officer_id] += before - room
        for reason, count in left.items():
            NOT_KEPT.labels(protocol, str(reason)).inc(count)
        return kept, dict(left)
