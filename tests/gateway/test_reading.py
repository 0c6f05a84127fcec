"""Numbers, moments and places from outside are read as meant, or not at all."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.fixes import Reason
from mobile_api.gateway import reading
from mobile_api.gateway.reading import Misread

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**4000, max_value=10**4001)
    | st.floats()
    | st.text()
    | st.text(st.characters(categories=["Cs"]))
    | st.sampled_from(["NaN", "Infinity", "-inf", "1e999", "9" * 5000, "1_0", "٣", "\x00", "", " 12.5 "]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("12.5", 12.5),
        (" -0.5 ", -0.5),
        ("+1e3", 1000),
        (".5", 0.5),
        ("5.", 5),
        (7, 7),
        (True, None),
        ("nan", None),
        ("Infinity", None),
        ("1_000", None),
        ("１２", None),
        ("1,5", None),
        ("", None),
        ("9" * 5000, None),
        (10**4000, None),
        ("1e999", None),
        (float("nan"), None),
        (float("inf"), None),
        ([], None),
        (None, None),
    ],
)
def test_only_a_finite_decimal_number_is_a_number(value: object, expected: float | None) -> None:
    """F73: what Python would read generously is not read at all."""
    assert reading.number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1377177267", datetime(2013, 8, 22, 13, 14, 27, tzinfo=UTC)),
        (1377177267, datetime(2013, 8, 22, 13, 14, 27, tzinfo=UTC)),
        ("1442068686579", datetime(2015, 9, 12, 14, 38, 6, 579000, tzinfo=UTC)),
        ("2016-01-27T18:55:47Z", datetime(2016, 1, 27, 18, 55, 47, tzinfo=UTC)),
        ("2014-06-04 09:10:11", datetime(2014, 6, 4, 9, 10, 11, tzinfo=UTC)),
        ("2026-11-23T16:00:00+0800", datetime(2026, 11, 23, 8, 0, tzinfo=UTC)),
        ("2026-11-23T16:00:00 08:00", datetime(2026, 11, 23, 8, 0, tzinfo=UTC)),
        ("2026-11-23 16:00:00 0800", datetime(2026, 11, 23, 8, 0, tzinfo=UTC)),
        ("2026-11-23T08:00:00.123Z", datetime(2026, 11, 23, 8, 0, 0, 123000, tzinfo=UTC)),
        ("2026-11-23T08:00:00", datetime(2026, 11, 23, 8, 0, tzinfo=UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_moment_is_read_in_every_form_the_apps_write(value: object, expected: datetime) -> None:
    assert reading.moment(value) == expected
    assert reading.moment(value).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("yesterday", Reason.UNREADABLE),
        ("2026-11-23", Reason.UNREADABLE),
        ("", Reason.UNREADABLE),
        (None, Reason.UNREADABLE),
        (True, Reason.UNREADABLE),
        ("nan", Reason.UNREADABLE),
        ("9" * 18, Reason.ABSURD_TIME),
        (-1e17, Reason.ABSURD_TIME),
        ("9" * 5000, Reason.UNREADABLE),
        ("0001-01-01T00:00:00+14:00", Reason.ABSURD_TIME),
        ("9999-12-31T23:59:59-12:00", Reason.ABSURD_TIME),
    ],
)
def test_a_moment_that_is_none_says_why(value: object, reason: Reason) -> None:
    """F20, F73: a wrong time is told apart from one that cannot be read."""
    with pytest.raises(Misread) as refused:
        reading.moment(value)
    assert refused.value.reason is reason


@given(
    at=st.datetimes(datetime(1970, 1, 2), datetime(2037, 12, 31), timezones=st.just(UTC)),
    shift_h=st.integers(-12, 14),
)
def test_every_way_to_write_a_moment_reads_the_same(at: datetime, shift_h: int) -> None:
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)
    local = at.astimezone(timezone(timedelta(hours=shift_h)))
    millis = round(at.timestamp() * 1000)
    if millis >= reading.SECONDS_BELOW:
        assert reading.moment(str(millis)) == at
    assert reading.moment(at.timestamp()) == at
    assert reading.moment(local.isoformat()) == at
    assert reading.moment(local.isoformat().replace("+", " ")) == at
    assert reading.moment(local.strftime("%Y-%m-%dT%H:%M:%S.%f%z")) == at


@pytest.mark.parametrize(
    ("lon", "lat", "reason"),
    [
        ("121.5", "nan", Reason.UNREADABLE),
        (None, 31.2, Reason.UNREADABLE),
        (181, 31.2, Reason.ABSURD_PLACE),
        (31.2, 121.5, Reason.ABSURD_PLACE),
        (0, 0, Reason.ABSURD_PLACE),
        ("0.0", "0", Reason.ABSURD_PLACE),
    ],
)
def test_a_place_that_is_none_says_why(lon: object, lat: object, reason: Reason) -> None:
    with pytest.raises(Misread) as refused:
        reading.place(lon, lat)
    assert refused.value.reason is reason


@given(ANYTHING)
def test_whatever_arrives_can_be_stored(value: object) -> None:
    """F73: what the quarantine keeps is JSON that PostgreSQL takes: no NaN, no NUL, no lone surrogate, bounded."""
    kept = reading.storable_raw({"value": value, "id": "secret", "nested": {"token": "secret"}})
    encoded = json.dumps(kept, allow_nan=False)
    assert "\\u0000" not in encoded
    assert len(msgspec.json.encode(kept)) <= reading.MAXIMUM_RAW_BYTES
    encoded.encode("utf-8")
    if "beginning" not in kept:
        assert "id" not in kept
        assert kept["nested"] == {}
    beside = reading.attributes([("value", value), ("token", "secret")])
    assert "token" not in beside
    json.dumps(beside, allow_nan=False)


@given(*[ANYTHING] * 6)
def test_a_measurement_is_a_finite_number_or_unknown(
    a: object, b: object, c: object, d: object, e: object, f: object
) -> None:
    """F73: a fix never holds NaN, whatever stands in the fields beside its place and time."""
    fix = reading.measured(
        datetime(2026, 1, 1, tzinfo=UTC),
        121.5,
        31.2,
        accuracy_m=a,
        altitude_m=b,
        speed_mps=c,
        heading_deg=d,
        battery_pct=e,
        charging=f,
    )
    for value in (fix.accuracy_m, fix.altitude_m, fix.speed_mps, fix.heading_deg, fix.battery_pct):
        assert value is None or math.isfinite(value)
    assert fix.charging in (None, True, False)
    assert fix.heading_deg is None or 0 <= fix.heading_deg < 360


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b"\xff\xfe\x00",
        b"nonsense",
        b'{"a": tru}',
    ],
)
def test_what_is_no_json_is_refused_without_an_error(body: bytes) -> None:
    """F72, F73: 100,000 brackets are unreadable, not a server error."""
    with pytest.raises(Misread):
        reading.json_document(body)


def test_json_with_numbers_that_are_none_is_read_for_the_rest() -> None:
    """F73: one field that a template filled with NaN does not cost the message."""
    body = (
        b'{"device_id": "k", "speed": NaN, "acc": -Infinity, "big": '
        + b"9" * 5000
        + b', "name": "\\ud800x", "huge": 1e999}'
    )
    document = reading.json_document(body)
    assert document["device_id"] == "k"
    assert document["speed"] is None
    assert reading.number(document["big"]) is None
    assert reading.number(document["huge"]) is None
    assert reading.text(document["name"]) == "�x"


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_unreadable(body: bytes) -> None:
    try:
        reading.json_document(body)
    except Misread:
        pass
