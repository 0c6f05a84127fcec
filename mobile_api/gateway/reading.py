"""Reading numbers, moments and places out of what other people's programs send.

Everything that arrives at a gateway is text from outside: it may be empty, absurd, five thousand digits long or not a
number at all, and half of a message being nonsense is no reason to lose the other half. So a reading is either a value
that is safe to store or None (the phone does not know it), and only what makes a fix worthless (no time, no place) is a
:class:`Misread` with the reason that the quarantine shows.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from geo.datum import DATUMS
from geo.fixes import Fix, Reason

KNOT_MPS = 1852 / 3600
KMH_MPS = 1 / 3.6

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS_BELOW = 2**31 - 1
"""The OsmAnd protocol's rule: a number below it is seconds, any other is milliseconds (Traccar's decoder)."""

MAXIMUM_RECORDS = 10_000
"""Records of one request; the largest batch that any of the apps can be set to is 1,000."""
MAXIMUM_ALARMS = 16
"""Calls for help of one request."""
MAXIMUM_ATTRIBUTES = 32
MAXIMUM_KEY = 64
MAXIMUM_TEXT = 256
MAXIMUM_RAW_TEXT = 1024
MAXIMUM_RAW_BYTES = 8192

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?", re.ASCII)
_UNSTORABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What PostgreSQL cannot hold, and what would mislead whoever reads it: control characters but those of lines, and
those that turn the direction of a text."""
_TRUE = frozenset({"true", "1", "yes"})
_FALSE = frozenset({"false", "0", "no"})

CREDENTIALS = frozenset(
    {
        "id",
        "deviceid",
        "device_id",
        "uniqueid",
        "unique_id",
        "_",
        "token",
        "access_token",
        "accesstoken",
        "key",
        "password",
        "authorization",
        "notificationtoken",
    }
)
"""Names whose values open a gate or reach a phone: they are neither kept as attributes nor shown in the quarantine.
``_`` is the Traccar Client's own compatibility field, which repeats the id."""


class Misread(Exception):
    """A message that yields no fix; ``reason`` is what the quarantine says."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(slots=True)
class Reading:
    """What one request held.

    ``fixes`` are as measured (their datum is still the device's), ``quarantined`` are storable raw messages with their
    reason, ``counted`` says how many messages were understood and hold nothing to store (heartbeats, trips, ...), and
    ``alarms`` are those that a person raised.
    """

    fixes: list[Fix] = field(default_factory=list)
    quarantined: list[tuple[dict[str, Any], Reason]] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)

    def quarantine(self, raw: Any, reason: Reason) -> None:
        """Keep a message that yields no fix, cleaned of credentials and of what a database cannot hold."""
        self.quarantined.append((storable_raw(raw), reason))


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm as a phone sent it: what it calls it, when it was measured, and the raw message.

    ``fix`` is the one of ``Reading.fixes`` that came with it, or None when it had no usable place.
    """

    word: str
    at: datetime | None
    fix: Fix | None
    raw: dict[str, Any]


def number(value: object) -> float | None:
    """Return a finite float, or None for anything that is not one (NaN, Infinity, text, a number out of range).

    Text is read by the grammar of decimal numbers alone: Python's own ``float`` would also take ``nan``, ``1_000``
    and digits of other scripts.
    """
    kind = type(value)
    if kind is float:
        return value if value - value == 0 else None  # type: ignore[operator, return-value]  # Neither NaN nor infinite.
    if kind is int:
        try:
            return float(value)  # type: ignore[arg-type]
        except OverflowError:
            return None
    if isinstance(value, str):
        value = value.strip()
        if len(value) <= 64 and _NUMBER.fullmatch(value):
            result = float(value)
            return result if math.isfinite(result) else None
    return None


def bounded(value: object, low: float, high: float) -> float | None:
    """Return the number within [low, high], or None: a measurement outside it is one that the phone did not make."""
    result = number(value)
    return result if result is not None and low <= result <= high else None


def switch(value: object) -> bool | None:
    """Return a truth value, or None for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        return True if word in _TRUE else False if word in _FALSE else None
    if isinstance(value, int | float):
        return True if value == 1 else False if value == 0 else None
    return None


def moment(value: object) -> datetime:
    """Return the aware UTC moment of a Unix time (seconds or milliseconds), an ISO 8601 or a ``yyyy-MM-dd HH:mm:ss``.

    Times without an offset are UTC. An offset may lack its colon (Overland) or have lost its plus sign to URL decoding
    (``...T10:00:00 08:00``).

    Raises:
        Misread: ``UNREADABLE`` for what is no time, ``ABSURD_TIME`` for one outside the calendar.
    """
    is_date = isinstance(value, str) and value[4:5] == "-"
    seconds = None if is_date else number(value)
    if seconds is not None:
        if seconds >= SECONDS_BELOW:
            seconds /= 1000
        try:
            return EPOCH + timedelta(seconds=seconds)
        except OverflowError:
            raise Misread(Reason.ABSURD_TIME) from None
    if not isinstance(value, str) or not 11 <= len(text := value.strip()) <= 40:
        raise Misread(Reason.UNREADABLE)
    if " " in text[11:]:
        head, _, offset = text.rpartition(" ")
        text = f"{head}+{offset}"
    try:
        return _as_utc(datetime.fromisoformat(text))
    except ValueError:
        raise Misread(Reason.UNREADABLE) from None


def _as_utc(value: datetime) -> datetime:
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise Misread(Reason.ABSURD_TIME) from None


def place(lon: object, lat: object) -> tuple[float, float]:
    """Return (lon, lat) in degrees.

    Raises:
        Misread: ``UNREADABLE`` for what are no numbers, ``ABSURD_PLACE`` for those that are no place on Earth. Exactly
            0, 0 is what apps send before they have a fix, and is no place either.
    """
    x, y = number(lon), number(lat)
    if x is None or y is None:
        raise Misread(Reason.UNREADABLE)
    if not (-180 <= x <= 180 and -90 <= y <= 90) or (x == 0 and y == 0):
        raise Misread(Reason.ABSURD_PLACE)
    return x, y


def declared_datum(sent: Mapping[str, Any], default: str) -> str:
    """Return the datum that a message declares, or the default of one that declares none; nothing is guessed.

    Raises:
        Misread: ``UNKNOWN_DATUM``.
    """
    declared = sent.get("datum")
    if declared in (None, ""):
        return default
    if isinstance(declared, str) and (word := declared.strip().lower().replace("-", "")) in DATUMS:
        return word
    raise Misread(Reason.UNKNOWN_DATUM)


def measured(
    fixed_at: datetime,
    lon: float,
    lat: float,
    *,
    accuracy_m: object = None,
    altitude_m: object = None,
    speed_mps: object = None,
    heading_deg: object = None,
    battery_pct: object = None,
    charging: object = None,
    mock: object = None,
    datum: str = "wgs84",
    attributes: Mapping[str, Any] | None = None,
) -> Fix:
    """Make a fix of a place and time that are sure and of measurements that may each be missing or nonsense.

    Negative accuracy, speed and heading (most apps' "unknown") become None. A heading of 360 is 0.
    """
    heading = bounded(heading_deg, 0, 360)
    kept = dict(attributes) if attributes else None
    return Fix(
        fixed_at=fixed_at,
        lon=lon,
        lat=lat,
        accuracy_m=bounded(accuracy_m, 0, 1e7),
        altitude_m=bounded(altitude_m, -12_000, 100_000),
        speed_mps=bounded(speed_mps, 0, 100_000),
        heading_deg=None if heading is None else heading % 360,
        battery_pct=bounded(battery_pct, 0, 100),
        charging=switch(charging),
        mock=switch(mock) is True,
        datum=datum,
        attributes=kept or None,
    )


def scaled(value: object, factor: float, *, unknown: float | None = -1) -> float | None:
    """Return the number times ``factor``, or None when it is missing, no number, or the app's word for unknown."""
    result = number(value)
    return None if result is None or result == unknown else result * factor


def text(value: object, limit: int = MAXIMUM_TEXT) -> str:
    """Return text that can be stored and shown: without controls and lone surrogates, cut at ``limit`` characters."""
    return _UNSTORABLE.sub("�", str(value)[:limit])


def attribute(value: object) -> bool | float | int | str | None:
    """Return a value as kept beside a fix: number, truth value or text; None for what has no plain form."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if (result := number(value)) is not None:
            return int(result) if result.is_integer() and abs(result) < 2**53 and "." not in value else result
        word = value.strip().lower()
        return word == "true" if word in ("true", "false") else text(value)
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    return number(value)


def attributes(pairs: Iterable[tuple[str, object]]) -> dict[str, Any]:
    """Return what is kept beside a fix of the names that have no column; a bounded number of bounded values."""
    kept: dict[str, Any] = {}
    for name, value in pairs:
        if len(kept) >= MAXIMUM_ATTRIBUTES:
            break
        if name.lower() in CREDENTIALS or value is None or value == "":
            continue
        if isinstance(value, list | tuple):
            items = [item for item in (attribute(v) for v in value[:MAXIMUM_ATTRIBUTES]) if item is not None]
            if items:
                kept[text(name, MAXIMUM_KEY)] = items
        elif (plain := attribute(value)) is not None:
            kept[text(name, MAXIMUM_KEY)] = plain
    return kept


def storable(value: object, depth: int = 8) -> Any:
    """Return the value in a form that JSON and PostgreSQL hold: finite, bounded, without NUL or lone surrogates."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(value, MAXIMUM_RAW_TEXT)
    if isinstance(value, bytes):
        return text(value[:MAXIMUM_RAW_TEXT].decode("utf-8", "replace"), MAXIMUM_RAW_TEXT)
    if isinstance(value, int):
        # Python refuses to print an int of more than 4,300 digits, and nobody needs to see it.
        return value if abs(value) < 2**63 else "a number out of range"
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth <= 0:
        return "..."
    if isinstance(value, Mapping):
        return {
            text(name, MAXIMUM_KEY): storable(item, depth - 1)
            for name, item in list(value.items())[: 2 * MAXIMUM_ATTRIBUTES]
            if str(name).lower() not in CREDENTIALS
        }
    if isinstance(value, list | tuple):
        return [storable(item, depth - 1) for item in value[:MAXIMUM_ATTRIBUTES]]
    return text(value)


def storable_raw(raw: object) -> dict[str, Any]:
    """Return a raw message as the quarantine keeps it: one JSON object of at most 8 KiB, without credentials."""
    kept = storable(raw)
    if not isinstance(kept, dict):
        kept = {"message": kept}
    encoded = msgspec.json.encode(kept)
    if len(encoded) > MAXIMUM_RAW_BYTES:
        kept = {"beginning": text(encoded[:MAXIMUM_RAW_TEXT].decode("utf-8", "replace"), MAXIMUM_RAW_TEXT)}
    return kept


def json_document(body: bytes) -> Any:
    """Return the JSON value of a body, the way it was meant.

    Some clients write JSON from templates, so that ``NaN`` or a number of 400 digits stands where a speed is unknown.
    Such a document is refused by the strict decoder; it is read a second time with those values as None or infinite,
    which the readings above turn into "unknown", so that one bad field does not cost a whole batch.

    Raises:
        Misread: ``UNREADABLE`` when it is not JSON, or nested deeper than a decoder follows.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError):
        pass
    except RecursionError:
        raise Misread(Reason.UNREADABLE) from None
    try:
        return json.loads(body.decode("utf-8-sig", "replace"), parse_constant=_unknown, parse_int=_integer)
    except (ValueError, RecursionError):
        raise Misread(Reason.UNREADABLE) from None


def _unknown(_name: str) -> None:
    return None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= 19 else float(digits)
