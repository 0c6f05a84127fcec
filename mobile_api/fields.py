"""Fields of our own: moments, names in two languages, and phone numbers."""

import re
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

from marshmallow import ValidationError, fields, validate

from backend.core.phones import e164
from backend.core.vocabulary import LOCALES

EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""Between these lie all moments and days that clients may name: none is near where calendars and databases end."""


OUT_OF_RANGE = "Not between the years 2000 and 2100."
WRONG_CLOCK = "The phone's clock is wrong: it is not between the years 2000 and 2100."


class Moment(fields.Field[datetime]):
    """An aware moment, RFC 3339; written in UTC with ``Z``."""

    out_of_range = OUT_OF_RANGE

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.metadata = {"type": "string", "format": "date-time", **self.metadata}

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        if value is None:
            return None
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str) or len(value) > 40 or len(value) < 16:
            raise ValidationError("Not a moment such as 2026-11-23T08:00:00Z.")
        try:
            parsed = datetime.fromisoformat(value)
            if parsed.tzinfo is None:
                raise ValueError
            moment = parsed.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise ValidationError("Not a moment with a zone such as 2026-11-23T08:00:00Z.") from error
        if not EARLIEST <= moment < LATEST:
            raise ValidationError(self.out_of_range)
        return moment


class PhoneMoment(Moment):
    """What the phone's own clock says now; out of range, the refusal is `clock_wrong`, which its owner can mend."""

    out_of_range = WRONG_CLOCK


class Day(fields.Date):
    """A day that a client names."""

    def __init__(self, **kwargs: Any) -> None:
        between = validate.Range(EARLIEST.date(), LATEST.date(), max_inclusive=False, error=OUT_OF_RANGE)
        super().__init__(validate=between, **kwargs)


class Month(fields.Field[date]):
    """A month that a client names, such as ``2026-11``; its first day here."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.metadata = {
            "type": "string",
            "pattern": r"^20\d{2}-(0[1-9]|1[0-2])$",
            "example": "2026-11",
            **self.metadata,
        }

    def _serialize(self, value: date | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else f"{value:%Y-%m}"

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> date:
        if not isinstance(value, str) or not re.fullmatch(r"20[0-9]{2}-(?:0[1-9]|1[0-2])", value):
            raise ValidationError("Not a month such as 2026-11.")
        return date(int(value[:4]), int(value[5:]), 1)


class Word(fields.String):
    """A word of one of the enumerations, as text on the wire; an unknown one is refused."""

    def __init__(self, words: type[StrEnum], **kwargs: Any) -> None:
        super().__init__(validate=validate.OneOf(list(words)), **kwargs)
        self._words = words

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        return self._words(text) if text in set(self._words) else text


class Phone(fields.String):
    """A phone number, in whatever way it is written, as E.164."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        phone = e164(super()._deserialize(value, attr, data, **kwargs) or "")
        if phone is None:
            raise ValidationError("Not a phone number.")
        return phone


def line(most: int = 200, *, least: int = 1, **kwargs: Any) -> fields.String:
    """A text of one line without control or direction-changing characters."""
    return fields.String(
        validate=[
            validate.Length(least, most),
            validate.Regexp(r"^[^\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]*\Z"),
        ],
        **kwargs,
    )


def locale(**kwargs: Any) -> fields.String:
    """A language of the screens."""
    return fields.String(validate=validate.OneOf(LOCALES), **kwargs)


def prose(most: int = 2000, *, least: int = 1, **kwargs: Any) -> fields.String:
    """A text of several lines, without other control or direction-changing characters."""
    return fields.String(
        validate=[
            validate.Length(least, most),
            validate.Regexp(r"^[^\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]*\Z"),
        ],
        **kwargs,
    )


def spot(**kwargs: Any) -> fields.List:
    """A place that a client names: ``[lon, lat]`` in degrees, WGS-84."""
    return fields.List(
        fields.Float(validate=validate.Range(-180, 180)),
        validate=[validate.Length(equal=2), _on_earth],
        metadata={"description": "lon, lat"},
        **kwargs,
    )


def _on_earth(value: list[float]) -> None:
    if len(value) == 2 and not -90 <= value[1] <= 90:
        raise ValidationError("Latitude is between -90 and 90; longitude comes first.")


def way(most: int, **kwargs: Any) -> fields.List:
    """A line that a client draws: corners ``[lon, lat]`` in degrees, WGS-84, as GeoJSON has those of a LineString."""
    return fields.List(
        spot(),
        validate=validate.Length(2, most),
        metadata={"description": f"At most {most} corners."},
        **kwargs,
    )


def evidence(what: str, most: int) -> fields.List:
    """Ids of photos and the like, each once.

    An id stands for a file that may still be on the phone, or may never come; what has come has to be the caller's own.
    """
    return fields.List(
        fields.UUID(),
        load_default=list,
        validate=[validate.Length(max=most), _each_once],
        metadata={
            "description": f"References to {what}, each once; they may still be on the phone. Another's are refused.",
            "uniqueItems": True,
        },
    )


def _each_once(value: list[Any]) -> None:
    if len(set(value)) < len(value):
        raise ValidationError("Each of them once.")


def names(**kwargs: Any) -> fields.Dict:
    """A name that people read, in both languages."""
    return fields.Dict(
        keys=locale(),
        values=line(200),
        metadata={"example": {"zh-CN": "青禾镇", "en": "Qinghe Town"}},
        **kwargs,
    )


def segments(description: str) -> fields.Raw:
    """The pieces of a track, as the workflow has them: thousands of points are not looked at one by one again."""
    number = {"type": ["number", "null"]}
    points = {"type": "array", "items": {"type": "array", "items": number}}
    return fields.Raw(required=True, metadata={"type": "array", "items": points, "description": description})


def place(description: str = "", **kwargs: Any) -> fields.List:
    """A place as GeoJSON has it."""
    told = f"lon, lat. {description}" if description else "lon, lat"
    return fields.List(
        fields.Float(), validate=validate.Length(equal=2), metadata={"description": told}, **kwargs
    )


def bounds(**kwargs: Any) -> fields.List:
    """The box around an area."""
    return fields.List(
        fields.Float(),
        validate=validate.Length(equal=4),
        metadata={"description": "west, south, east, north"},
        **kwargs,
    )
