"""A fix: one position as a device measured it, and what the pipeline says about it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import IntFlag, StrEnum
from typing import Any
from uuid import UUID

import msgspec


class Flag(IntFlag):
    """What makes a kept fix doubtful or late; a stored set of bits, so the values never change.

    A fix with MOCK, IMPOSSIBLE_SPEED or INACCURATE is kept, but it is never shown as live, never becomes
    "latest" and adds nothing to a distance. LATE alone says that the fix came long after it was measured.
    """

    MOCK = 1
    IMPOSSIBLE_SPEED = 2
    INACCURATE = 4
    LATE = 8


HIDDEN: int = int(Flag.MOCK | Flag.IMPOSSIBLE_SPEED | Flag.INACCURATE)
"""The bits that keep a fix off the live map; a plain int, because IntFlag arithmetic is slow."""


MOST_SEQ = 63
"""The greatest `seq` there is. A fix that clashes is compared with all that its device measured at that instant, so
there have to be few: a receiver makes ten measurements a second, and its clock may tell whole seconds alone."""
GIVEN_SEQS = 32
"""So many numbers a client may give; greater ones are folded into these, which leaves room above for clashes."""


class Reason(StrEnum):
    """Why a fix was put into quarantine instead of the track."""

    FUTURE = "future"
    ABSURD_TIME = "absurd_time"
    ABSURD_PLACE = "absurd_place"
    UNREADABLE = "unreadable"
    UNKNOWN_DATUM = "unknown_datum"
    CREDENTIAL_EXPIRED = "credential_expired"
    ENCRYPTED = "encrypted"
    ALARM = "alarm"


class Fix(msgspec.Struct, gc=False):
    """One position as measured, in the datum it declares; WGS-84 after the datum step.

    `fixed_at` is the device's clock when it measured, `sent_at` when it sent; both are aware. What the
    device did not say, or said impossibly, is None. `flags` holds `Flag` bits. `seq` tells apart different
    fixes of one device at one instant. `attributes` holds what a foreign protocol sent beyond the fields,
    as JSON data.
    """

    fixed_at: datetime
    lon: float
    lat: float
    accuracy_m: float | None = None
    altitude_m: float | None = None
    speed_mps: float | None = None
    heading_deg: float | None = None
    battery_pct: float | None = None
    charging: bool | None = None
    mock: bool = False
    sent_at: datetime | None = None
    datum: str = "wgs84"
    attributes: dict[str, Any] | None = None
    flags: int = 0
    area_id: UUID | None = None
    seq: int = 0


class ShiftWindow(msgspec.Struct, frozen=True, gc=False):
    """The time in which an officer may be tracked: from the start of a shift to its end, half-open.

    A shift that was not ended closes itself at `closes_at`; an end beyond that moves nothing.
    """

    shift_id: UUID
    officer_id: UUID
    area_id: UUID | None
    started_at: datetime
    closes_at: datetime
    ended_at: datetime | None = None

    @property
    def until(self) -> datetime:
        """The first instant that no longer belongs to the shift: min(ended_at, closes_at)."""
        ended_at = self.ended_at
        return self.closes_at if ended_at is None or ended_at > self.closes_at else ended_at

    def covers(self, at: datetime) -> bool:
        """Whether the officer may be tracked at this instant; the start is inside, the end is not."""
        return self.started_at <= at < self.until


def window_at(windows: Iterable[ShiftWindow], at: datetime) -> ShiftWindow | None:
    """The shift an instant belongs to, or None; of overlapping shifts the one that started last."""
    found: ShiftWindow | None = None
    for window in windows:
        if window.covers(at) and (found is None or window.started_at > found.started_at):
            found = window
    return found


def is_showable(fix: Fix) -> bool:
    """Whether a kept fix may stand on the live map and count as the officer's place."""
    return not fix.flags & HIDDEN


def flag_names(flags: int) -> list[str]:
    """The names of set bits as the API writes them, in the order of their bits: ["mock", "late"]."""
    return [flag.name.lower() for flag in Flag if flags & flag and flag.name]


def payload(fix: Fix) -> tuple[Any, ...]:
    """What was measured, without how and when it was delivered: equal payloads at one instant are one fix.

    `sent_at` differs each time a phone sends the same fix again, and `flags`, `area_id` and `seq` are ours.
    """
    return (
        fix.lon,
        fix.lat,
        fix.accuracy_m,
        fix.altitude_m,
        fix.speed_mps,
        fix.heading_deg,
        fix.battery_pct,
        fix.charging,
        fix.mock,
        fix.datum,
        fix.attributes,
    )
