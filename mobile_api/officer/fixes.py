"""Fixes from the officer's own client, up to a thousand in one request.

Two validators read the body. The fast one (msgspec) accepts almost everything that phones send; whatever it does
not accept is judged by the ordinary one (strict JSON and a marshmallow schema), whose word is final and whose
schema is the one in the OpenAPI document. So a refusal is always the ordinary one's, and what remains to be proved
is that the fast one accepts nothing which the other refuses; the tests feed one corpus to both.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from marshmallow import Schema, ValidationError, fields, validate
from msgspec import UNSET, Meta, UnsetType

from backend.core import memory
from backend.core.errors import Invalid, NotVisible, Unreadable
from backend.core.identity import Actor
from backend.core.vocabulary import Protocol
from geo.datum import DATUMS, Datum
from geo.fixes import Fix, Reason
from mobile_api import problems, strict_json
from mobile_api.fields import Moment
from workflows import tracks
from workflows.grouped_write import Delivery, Receipt

MOST_FIXES = 1000
MOST_BYTES = 1_048_576
"""Of a body after decompression: a thousand fixes with every field take a third of it."""
MOST_SEQ = 999

Aware = Annotated[datetime, Meta(tz=True)]
Measured = float | None | UnsetType


class WireFix(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A fix as the client writes it. Absent and null mean the same, and which of the two it was is kept."""

    fixed_at: Aware
    lon: float
    lat: float
    accuracy_m: Measured = UNSET
    altitude_m: Measured = UNSET
    speed_mps: Measured = UNSET
    heading_deg: Measured = UNSET
    battery_pct: Measured = UNSET
    charging: bool | UnsetType | None = UNSET
    mock: bool | UnsetType | None = UNSET
    seq: Annotated[int, Meta(ge=0, le=MOST_SEQ)] | UnsetType | None = UNSET


class WireBatch(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The whole body."""

    device_id: UUID
    sent_at: Aware
    fixes: Annotated[list[WireFix], Meta(min_length=1, max_length=MOST_FIXES)]
    datum: Datum | UnsetType | None = UNSET


class FixBatch(msgspec.Struct, gc=False):
    """A body that was read, by whichever validator."""

    device_id: UUID
    fixes: list[Fix]


# --- The fast validator

_decoder = msgspec.json.Decoder(WireBatch)
_encoder = msgspec.json.Encoder()
_DIGITS = bytes(ord("0") if chr(byte).isdigit() and byte < 128 else ord(" ") for byte in range(256))
_LONG_NUMBER = b"0" * strict_json.MAXIMUM_DIGITS


def read_fast(raw: bytes) -> FixBatch | None:
    """Read the body, or return None where the ordinary validator has to decide.

    Raises:
        MustWait: on a thread that may not wait, for what takes as long as the ordinary validator does.
    """
    try:
        wire = _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    if not _is_strict(raw, wire):
        memory.need_to_wait()
        try:
            strict_json.loads(raw)
        except strict_json.NotStrictError:
            return None
    try:
        return _from_wire(wire)
    except OverflowError:  # A moment of the year 1 or 9999, which no other zone can express.
        return None


def _is_strict(raw: bytes, wire: WireBatch) -> bool:
    """Whether no name stands twice in one object and no number is too long; False means: perhaps.

    msgspec takes the last of two equal names. Encoding again what it took gives each name once, and each text as a
    text. No name and no text of a batch holds a quote, so the body has as many quotes as that, or a name twice.
    """
    return raw.count(b'"') == _encoder.encode(wire).count(b'"') and _LONG_NUMBER not in raw.translate(_DIGITS)


def _from_wire(wire: WireBatch) -> FixBatch:
    datum = wire.datum or "wgs84"
    sent_at = _utc(wire.sent_at)
    return FixBatch(
        wire.device_id,
        [
            Fix(
                at if (at := fix.fixed_at).tzinfo is UTC else at.astimezone(UTC),
                fix.lon,
                fix.lat,
                None if fix.accuracy_m is UNSET else fix.accuracy_m,
                None if fix.altitude_m is UNSET else fix.altitude_m,
                None if fix.speed_mps is UNSET else fix.speed_mps,
                None if fix.heading_deg is UNSET else fix.heading_deg,
                None if fix.battery_pct is UNSET else fix.battery_pct,
                None if fix.charging is UNSET else fix.charging,
                fix.mock is True,
                sent_at,
                datum,
                seq=fix.seq or 0,
            )
            for fix in wire.fixes
        ],
    )


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo is UTC else at.astimezone(UTC)


# --- The ordinary validator


class MeasuredAt(Moment):
    """A moment read exactly as the fast validator reads it (RFC 3339)."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        try:
            return _utc(msgspec.convert(value, Aware, strict=True))
        except (msgspec.ValidationError, OverflowError) as error:
            raise ValidationError("Not a moment with a zone such as 2026-11-23T08:00:00Z.") from error


class Number(fields.Float):
    """A JSON number; neither a text that looks like one nor a truth value."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("Not a number.")
        return float(value)


class WholeNumber(fields.Integer):
    """A JSON number without a fraction."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValidationError("Not a whole number.")
        return value


class Truth(fields.Boolean):
    """true or false, and nothing that stands for them."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Neither true nor false.")
        return value


class Identifier(fields.UUID):
    """A UUID as text."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> UUID:
        try:
            return msgspec.convert(value, UUID, strict=True)
        except msgspec.ValidationError as error:
            raise ValidationError("Not a UUID.") from error


def _measured(what: str, **kwargs: Any) -> Number:
    return Number(allow_none=True, load_default=None, metadata={"description": what}, **kwargs)


class OfficerFixSchema(Schema):
    """One position as the phone measured it. A number that no sensor can mean is kept as unknown."""

    fixed_at = MeasuredAt(required=True, metadata={"description": "The phone's clock when it measured."})
    lon = Number(
        required=True, metadata={"description": "Degrees. What is no place on earth is quarantined."}
    )
    lat = Number(required=True, metadata={"description": "Degrees."})
    accuracy_m = _measured("Radius that holds 68 % of errors.")
    altitude_m = _measured("Above the WGS-84 ellipsoid.")
    speed_mps = _measured("As the sensor reports it.")
    heading_deg = _measured("Clockwise from north, 0 to 360.")
    battery_pct = _measured("0 to 100.")
    charging = Truth(allow_none=True, load_default=None)
    mock = Truth(
        allow_none=True, load_default=None, metadata={"description": "The system says it is simulated."}
    )
    seq = WholeNumber(
        allow_none=True,
        load_default=None,
        validate=validate.Range(0, MOST_SEQ),
        metadata={"description": "Tells apart different fixes of one instant."},
    )


class OfficerFixBatchSchema(Schema):
    """Fixes of one phone, in any order; the same ones may be sent again."""

    device_id = Identifier(
        required=True, metadata={"description": "The phone named at the start of the shift."}
    )
    sent_at = MeasuredAt(required=True, metadata={"description": "The phone's clock when it sent."})
    datum = fields.String(
        allow_none=True,
        load_default=None,
        validate=validate.OneOf(DATUMS),
        metadata={"description": "What the coordinates are in; wgs84 when absent. Never guessed."},
    )
    fixes = fields.List(
        fields.Nested(OfficerFixSchema), required=True, validate=validate.Length(1, MOST_FIXES)
    )


class OfficerReceiptSchema(Schema):
    """What became of the fixes; the counts add up to what was sent. It is stored when this arrives."""

    stored = fields.Integer(required=True)
    duplicates = fields.Integer(required=True)
    off_shift = fields.Integer(
        required=True, metadata={"description": "Counted, and nothing else of them kept."}
    )
    quarantined = fields.Integer(required=True)
    reasons = fields.Dict(
        keys=fields.String(validate=validate.OneOf([str(reason) for reason in Reason])),
        values=fields.Integer(),
        required=True,
        metadata={"description": "How many were quarantined for which reason."},
    )


_schema = OfficerFixBatchSchema()


def read_ordinary(raw: bytes) -> FixBatch:
    """Read the body the ordinary way.

    Raises:
        Unreadable: it is not strict JSON. Invalid: it is not a batch of fixes; ``errors`` names each field.
    """
    try:
        value = strict_json.loads(raw)
    except strict_json.NotStrictError as error:
        raise Unreadable("unreadable", str(error)) from error
    try:
        loaded = _schema.load(value)
    except ValidationError as error:
        refusal = Invalid()
        # Not as arguments: a client may name a field as it likes, and as many as he likes.
        refusal.extra["errors"] = problems.shortened(error.messages, [problems.MOST_ERRORS])
        raise refusal from error
    datum, sent_at = loaded["datum"] or "wgs84", loaded["sent_at"]
    return FixBatch(loaded["device_id"], [_from_loaded(fix, sent_at, datum) for fix in loaded["fixes"]])


def _from_loaded(fix: Mapping[str, Any], sent_at: datetime, datum: str) -> Fix:
    return Fix(**{**fix, "mock": fix["mock"] is True, "seq": fix["seq"] or 0}, sent_at=sent_at, datum=datum)


# --- The route


def read(raw: bytes) -> FixBatch:
    """Read a body by the fast validator or, where that one does not accept it, by the ordinary one.

    The ordinary one takes a tenth of a second for a thousand fixes, in which an event loop would serve nobody else.
    """
    batch = read_fast(raw)
    if batch is None:
        memory.need_to_wait()
        batch = read_ordinary(raw)
    return batch


def prepare(actor: Actor, raw: bytes) -> Delivery:
    """Make of a body what is to be written.

    Raises:
        Unreadable, Invalid: the body. NotVisible: ``unknown_device``, the phone is not this officer's.
        MustWait: on a thread that may not wait, if something has to be read first or the body takes long.
    """
    batch = read(raw)
    assert actor.user_id is not None
    device = tracks.phone_of(actor.town_id, actor.user_id, batch.device_id)
    if device is None:
        raise NotVisible("unknown_device", "Start a shift with this phone before it sends fixes.")
    return tracks.prepare(device, batch.fixes, [], Protocol.OFFICER)


def answer(receipt: Receipt) -> bytes:
    """The receipt as JSON."""
    return _encoder.encode(receipt)
