"""Fixes in PostgreSQL's binary format: a whole group of them travels as one parameter of type ``fix_row[]``.

An array of composites costs the database a quarter less than seventeen parallel arrays, and building it
costs a microsecond per fix. The format is that of ``array_recv`` and ``record_recv`` in PostgreSQL's
source: an array is its dimensions and its elements, each with its length in front; a record is its number
of columns and, for each, the type's OID, the length (-1 for null) and the value. All integers are big-
endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types import TypeInfo

from geo.fixes import Fix

TYPE = "fix_row"
COLUMNS = 17

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""What PostgreSQL counts its microseconds from."""

_BOOL, _INT2, _FLOAT4, _FLOAT8, _TIMESTAMPTZ, _UUID, _JSONB = 16, 21, 700, 701, 1184, 2950, 3802

_length = struct.Struct(">i").pack
_null = struct.Struct(">ii").pack
_uuid = struct.Struct(">ii16s").pack
_time = struct.Struct(">iiq").pack
_time_and_seq = struct.Struct(">iiqiih").pack
_place = struct.Struct(">iidiid").pack
_real = struct.Struct(">iif").pack
_reals = struct.Struct(">iifiifiifiifiif").pack
_small = struct.Struct(">iih").pack

_NO_UUID = _null(_UUID, -1)
_NO_TIME = _null(_TIMESTAMPTZ, -1)
_NO_REAL = _null(_FLOAT4, -1)
_NO_JSON = _null(_JSONB, -1)
_BOOLEANS = {
    None: _null(_BOOL, -1),
    True: struct.pack(">ii?", _BOOL, 1, True),
    False: struct.pack(">ii?", _BOOL, 1, False),
}


class Rows:
    """The parameter itself: encoded rows, ready to be joined into an array."""

    __slots__ = ("rows",)

    def __init__(self, rows: Sequence[bytes]) -> None:
        self.rows = rows


def microseconds(at: datetime) -> int:
    """A moment as PostgreSQL stores it."""
    distance = at - EPOCH
    return (distance.days * 86_400 + distance.seconds) * 1_000_000 + distance.microseconds


def encode(
    device_id: UUID, shift_ids: Sequence[UUID], fixes: Sequence[Fix], received_at: datetime
) -> list[bytes]:
    """Encode the fixes of one device, each with the shift it belongs to; one element of the array for each.

    Raises:
        struct.error, OverflowError: a number does not fit its column. The pipeline lets no such fix through.
    """
    head = _length(COLUMNS) + _uuid(_UUID, 16, device_id.bytes)
    arrived = _time(_TIMESTAMPTZ, 8, microseconds(received_at))
    rows: list[bytes] = []
    # What is mostly the same as in the fix before is encoded once.
    shift_now = area_now = charging_now = flags_now = sent_now = None
    place_of_duty = tail = b""
    for fix, shift_id in zip(fixes, shift_ids, strict=True):
        area_id = fix.area_id
        if not place_of_duty or shift_id is not shift_now or area_id is not area_now:
            shift_now, area_now = shift_id, area_id
            area = _NO_UUID if area_id is None else _uuid(_UUID, 16, area_id.bytes)
            place_of_duty = _uuid(_UUID, 16, shift_id.bytes) + area
        accuracy, altitude, speed = fix.accuracy_m, fix.altitude_m, fix.speed_mps
        heading, battery = fix.heading_deg, fix.battery_pct
        if None in (accuracy, altitude, speed, heading, battery):
            measured = b"".join(
                _NO_REAL if value is None else _real(_FLOAT4, 4, value)
                for value in (accuracy, altitude, speed, heading, battery)
            )
        else:
            measured = _reals(
                _FLOAT4, 4, accuracy, _FLOAT4, 4, altitude, _FLOAT4, 4, speed, _FLOAT4, 4, heading, _FLOAT4, 4, battery
            )  # fmt: skip
        charging, flags, sent_at = fix.charging, fix.flags, fix.sent_at
        if not tail or charging is not charging_now or flags != flags_now or sent_at is not sent_now:
            charging_now, flags_now, sent_now = charging, flags, sent_at
            sent = _NO_TIME if sent_at is None else _time(_TIMESTAMPTZ, 8, microseconds(sent_at))
            tail = _BOOLEANS[charging] + _small(_INT2, 2, flags) + sent + arrived
        row = b"".join(
            (
                head,
                _time_and_seq(_TIMESTAMPTZ, 8, microseconds(fix.fixed_at), _INT2, 2, fix.seq),
                place_of_duty,
                _place(_FLOAT8, 8, fix.lon, _FLOAT8, 8, fix.lat),
                measured,
                tail,
                _NO_JSON if fix.attributes is None else _json(fix.attributes),
            )
        )
        rows.append(_length(len(row)) + row)
    return rows


def _json(value: object) -> bytes:
    # jsonb's binary format is a version byte, 1, and the text.
    text = msgspec.json.encode(value)
    return _null(_JSONB, len(text) + 1) + b"\x01" + text


def register(connection: psycopg.Connection) -> None:
    """Teach the connection to send ``Rows``; asks the database once for the OIDs of the type."""
    info = TypeInfo.fetch(connection, TYPE)
    if info is None:
        raise psycopg.ProgrammingError(f"The database has no type {TYPE}; its migrations have not run.")
    element, array = info.oid, info.array_oid

    class RowsDumper(Dumper):
        format = Format.BINARY
        oid = array

        def dump(self, obj: Rows) -> bytes:
            count = len(obj.rows)
            if not count:
                return struct.pack(">iii", 0, 0, element)
            return struct.pack(">iiiii", 1, 0, element, count, 1) + b"".join(obj.rows)

    connection.adapters.register_dumper(Rows, RowsDumper)
