"""What Traccar Client and OsmAnd send, in all three generations, becomes fixes in our units."""

from __future__ import annotations

import json
import math
import tracemalloc
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.fixes import Flag, Reason
from mobile_api.gateway import gpslogger, osmand
from mobile_api.gateway.reading import KNOT_MPS, MAXIMUM_RECORDS, Misread, Reading
from tests.gateway.test_reading import ANYTHING

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)

CLIENT_8 = (
    "id=KEY&timestamp=1795420800&lat=31.2304&lon=121.4737&speed=2.5&bearing=90.5"
    "&altitude=12.0&accuracy=8.0&batt=87.0"
)
"""What the native clients up to 8 put into the URL, in their order."""

CLIENT_9 = {
    "location": {
        "timestamp": "2026-11-23T08:00:00.000Z",
        "coords": {
            "latitude": 31.2304,
            "longitude": 121.4737,
            "accuracy": 8,
            "speed": 1.3,
            "heading": 90.5,
            "altitude": 12,
        },
        "is_moving": True,
        "odometer": 1234.5,
        "event": "motionchange",
        "battery": {"level": 0.87, "is_charging": False},
        "activity": {"type": "walking"},
        "extras": {},
        "_": "&id=KEY&lat=31.2304&lon=121.4737&timestamp=2026-11-23T08:00:00.000Z&",
    },
    "device_id": "KEY",
}
"""The background location library's document, as the client 9's template writes it."""

DAWARICH = {
    "location": {
        "timestamp": "2026-11-23T08:00:00Z",
        "latitude": 31.2304,
        "longitude": 121.4737,
        "accuracy": 8,
        "speed": 1.3,
    },
    "battery": {"level": 0.87, "is_charging": True},
    "activity": {"type": "walking"},
    "device_id": "KEY",
}


def read(query: str = "", content_type: str = "", body: bytes = b"") -> tuple[set[str], Reading]:
    found = osmand.messages(query, content_type, body)
    return found.keys, osmand.parse(found.items, NOW)


def read_json(document: Any) -> tuple[set[str], Reading]:
    return read("", "application/json", json.dumps(document).encode())


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("query", "content_type", "body"),
    [(CLIENT_8, "", b""), ("", FORM, CLIENT_8.encode()), ("", "", CLIENT_8.encode()), (CLIENT_8, FORM, b"")],
    ids=["query by GET or POST", "form", "form without a content type", "empty form"],
)
def test_a_query_and_a_form_are_the_same_message(query: str, content_type: str, body: bytes) -> None:
    keys, reading = read(query, content_type, body)
    assert keys == {"KEY"}
    (fix,) = reading.fixes
    assert (fix.fixed_at, fix.lon, fix.lat) == (NOW, 121.4737, 31.2304)
    assert fix.speed_mps == pytest.approx(2.5 * 1852 / 3600), "the protocol's speed is in knots"
    assert (fix.heading_deg, fix.altitude_m, fix.accuracy_m, fix.battery_pct) == (90.5, 12, 8, 87)
    assert fix.attributes is None
    assert not reading.quarantined


def test_the_clients_json_document_is_read_in_its_own_units() -> None:
    keys, reading = read_json(CLIENT_9)
    assert keys == {"KEY"}
    (fix,) = reading.fixes
    assert (fix.fixed_at, fix.lon, fix.lat) == (NOW, 121.4737, 31.2304)
    assert fix.speed_mps == 1.3, "JSON speaks metres per second"
    assert (fix.battery_pct, fix.charging, fix.mock) == (87, False, False)
    assert fix.attributes == {
        "event": "motionchange",
        "is_moving": True,
        "odometer": 1234.5,
        "activity": "walking",
    }
    assert "KEY" not in repr(fix), "the client's compatibility field repeats the id, which is a secret"


def test_dawarichs_variant_needs_no_coords() -> None:
    _, reading = read_json(DAWARICH)
    (fix,) = reading.fixes
    assert (fix.lon, fix.lat, fix.accuracy_m, fix.speed_mps, fix.charging) == (
        121.4737,
        31.2304,
        8,
        1.3,
        True,
    )
    assert fix.attributes == {"activity": "walking"}


def test_a_flat_json_array_holds_one_fix_per_object() -> None:
    keys, reading = read_json(
        [
            {"id": "KEY", "lat": 31.2304, "lon": 121.4737, "timestamp": 1795420800, "speed": 2.5, "batt": 50},
            {"id": "KEY", "lat": "31.2305", "lon": "121.4738", "timestamp": "1795420810000", "alarm": "sos"},
            {"id": "KEY", "timestamp": 1795420820},
        ]
    )
    assert keys == {"KEY"}
    assert [f.fixed_at.second for f in reading.fixes] == [0, 10]
    assert reading.fixes[0].speed_mps == pytest.approx(2.5 * KNOT_MPS)
    assert reading.counted["heartbeat"] == 1
    assert [a.word for a in reading.alarms] == ["sos"]


def test_a_batch_of_locations_in_one_document_is_read() -> None:
    keys, reading = read_json({"device_id": "KEY", "location": [CLIENT_9["location"], DAWARICH["location"]]})
    assert keys == {"KEY"}
    assert len(reading.fixes) == 2


def test_minus_one_is_unknown() -> None:
    location = {
        "timestamp": "2026-11-23T08:00:00Z",
        "coords": {
            "latitude": 31.2,
            "longitude": 121.4,
            "accuracy": -1,
            "speed": -1,
            "heading": -1,
            "altitude": -1,
        },
        "battery": {"level": -1, "is_charging": False},
    }
    (fix,) = read_json({"location": location, "device_id": "KEY"})[1].fixes
    assert (fix.accuracy_m, fix.speed_mps, fix.heading_deg, fix.altitude_m, fix.battery_pct) == (None,) * 5


@pytest.mark.parametrize(
    ("message", "alarmed"),
    [
        ("id=KEY&timestamp=1795420800&batt=50", False),
        ("id=KEY&notificationToken=SECRET-PUSH-TOKEN", False),
        ("id=KEY&timestamp=1795420800&alarm=sos", True),
        ("id=KEY&timestamp=1795420800&cell=257,02,16,2224&wifi=00-14-22-01-23-45,-80", False),
        ("id=KEY&lat=&lon=", False),
    ],
)
def test_a_message_without_a_place_is_a_sign_of_life(message: str, alarmed: bool) -> None:
    _, reading = read(message)
    assert not reading.fixes
    assert not reading.quarantined
    assert reading.counted == {"alarm" if alarmed else "heartbeat": 1}
    assert bool(reading.alarms) is alarmed
    assert "SECRET" not in repr(reading)


def test_a_heartbeat_in_json_has_no_coords() -> None:
    _, reading = read_json(
        {"device_id": "KEY", "location": {"timestamp": "2026-11-23T08:00:00Z", "event": "heartbeat"}}
    )
    assert reading.counted == {"heartbeat": 1}


def test_an_sos_stands_beside_its_fix() -> None:
    for _, reading in (
        read(CLIENT_8 + "&alarm=sos"),
        read_json({**CLIENT_9, "location": {**CLIENT_9["location"], "alarm": "sos"}}),
        read_json({**CLIENT_9, "location": {**CLIENT_9["location"], "extras": {"alarm": "SOS"}}}),
        read_json({**CLIENT_9, "alarm": "sos"}),
    ):
        (fix,), (alarm,) = reading.fixes, reading.alarms
        assert fix.attributes is not None
        assert str(fix.attributes["alarm"]).lower() == "sos"
        assert alarm.word == "sos"
        assert alarm.fix is fix
        assert "KEY" not in repr(alarm.raw)


def test_an_sos_whose_place_cannot_be_read_is_not_lost() -> None:
    _, reading = read("id=KEY&lat=abc&lon=121.4&alarm=sos")
    assert [reason for _, reason in reading.quarantined] == [Reason.UNREADABLE]
    (alarm,) = reading.alarms
    assert (alarm.word, alarm.fix) == ("sos", None)
    assert alarm.raw == {"lat": "abc", "lon": "121.4", "alarm": "sos"}


def test_other_parameters_are_kept_beside_the_fix() -> None:
    _, reading = read(
        CLIENT_8
        + "&hdop=0.9&ignition=true&note=东门&cell=460,0,1,2&cell=460,0,1,3,-90&driverUniqueId=7&charge=true"
    )
    (fix,) = reading.fixes
    assert fix.charging is True
    assert fix.attributes == {
        "hdop": 0.9,
        "ignition": True,
        "note": "东门",
        "cell": ["460,0,1,2", "460,0,1,3,-90"],
        "driverUniqueId": 7,
    }


def test_an_invalid_fix_is_kept_and_not_shown() -> None:
    (fix,) = read(CLIENT_8 + "&valid=false")[1].fixes
    assert fix.flags == Flag.INACCURATE
    assert fix.attributes == {"valid": False}
    (fix,) = read(CLIENT_8 + "&valid=1")[1].fixes
    assert fix.flags == 0


def test_location_may_be_one_parameter() -> None:
    (fix,) = read("id=KEY&timestamp=1795420800&location=31.2304,121.4737")[1].fixes
    assert (fix.lon, fix.lat) == (121.4737, 31.2304)


def test_a_message_without_a_time_is_of_now() -> None:
    (fix,) = read("id=KEY&lat=31.2&lon=121.4")[1].fixes
    assert fix.fixed_at == NOW


def test_a_mock_location_says_so() -> None:
    (fix,) = read_json({**CLIENT_9, "location": {**CLIENT_9["location"], "mock": True}})[1].fixes
    assert fix.mock
    assert read(CLIENT_8 + "&mock=true")[1].fixes[0].mock


def test_osmands_own_template_says_metres_per_second() -> None:
    (fix,) = read(
        "lat=31.2&lon=121.4&timestamp=1795420800000&accuracy=5.0&altitude=3&speed_mps=1.5&bearing=10&batt=55"
    )[1].fixes
    assert (fix.speed_mps, fix.accuracy_m, fix.fixed_at) == (1.5, 5, NOW)


def test_a_datum_is_declared_and_never_guessed() -> None:
    assert read(CLIENT_8)[1].fixes[0].datum == "wgs84"
    assert read(CLIENT_8 + "&datum=GCJ-02")[1].fixes[0].datum == "gcj02"
    assert osmand.parse(osmand.messages(CLIENT_8, "", b"").items, NOW, "bd09").fixes[0].datum == "bd09"
    _, reading = read(CLIENT_8 + "&datum=mars")
    assert [reason for _, reason in reading.quarantined] == [Reason.UNKNOWN_DATUM]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("id=KEY&lat=NaN&lon=121.4", Reason.UNREADABLE),
        ("id=KEY&lat=31.2&lon=Infinity", Reason.UNREADABLE),
        ("id=KEY&lat=31.2", Reason.UNREADABLE),
        ("id=KEY&lat=31.2&lon=" + "9" * 5000, Reason.UNREADABLE),
        ("id=KEY&lat=131.2&lon=121.4", Reason.ABSURD_PLACE),
        ("id=KEY&lat=0&lon=0", Reason.ABSURD_PLACE),
        ("id=KEY&lat=31.2&lon=121.4&timestamp=tomorrow", Reason.UNREADABLE),
        ("id=KEY&lat=31.2&lon=121.4&timestamp=99999999999999999", Reason.ABSURD_TIME),
        ("id=KEY&lat=31.2&lon=121.4&lat=31.3", Reason.UNREADABLE),
        ("id=KEY&timestamp=1&timestamp=2&lat=31.2&lon=121.4", Reason.UNREADABLE),
    ],
)
def test_a_message_that_is_no_fix_goes_into_quarantine(message: str, reason: Reason) -> None:
    """F20, F73: with the reason, and without the credential."""
    keys, reading = read(message)
    assert keys == {"KEY"}
    assert not reading.fixes
    ((raw, given_reason),) = reading.quarantined
    assert given_reason is reason
    assert "KEY" not in repr(raw)


def test_a_bad_measurement_does_not_cost_the_fix() -> None:
    (fix,) = read(
        "id=KEY&lat=31.2&lon=121.4&speed=NaN&accuracy=-5&bearing=999&altitude=x&batt=900&charge=maybe"
    )[1].fixes
    assert (
        fix.speed_mps,
        fix.accuracy_m,
        fix.heading_deg,
        fix.altitude_m,
        fix.battery_pct,
        fix.charging,
    ) == (None,) * 6


def test_two_devices_in_one_request_are_two_keys() -> None:
    assert osmand.messages("id=A&id=B&lat=31.2&lon=121.4", "", b"").keys == {"A", "B"}
    assert osmand.messages("id=A&deviceid=A", "", b"").keys == {"A"}
    assert read_json([{"id": "A", "lat": 31, "lon": 121}, {"id": "B", "lat": 31, "lon": 121}])[0] == {
        "A",
        "B",
    }


def test_a_constant_part_of_the_address_counts_beside_a_posted_form() -> None:
    keys, reading = read("id=KEY&vendor=x", FORM, b"id=12345678&lat=31.2&lon=121.4")
    assert keys == {"12345678"}
    assert reading.fixes[0].attributes == {"vendor": "x"}
    assert osmand.messages("id=KEY", "application/json", b'{"location": {}}').keys == {"KEY"}


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"{'a': 1}"])
def test_a_broken_document_is_unreadable(body: bytes) -> None:
    """F72, F73."""
    with pytest.raises(Misread):
        osmand.messages("", "application/json", body)


@pytest.mark.parametrize(
    "body", [b"null", b"1", b'"x"', b"[]", b"[[]]", b"[null, 1]", b'{"location": 5}', b"{}"]
)
def test_json_that_is_no_message_is_no_error(body: bytes) -> None:
    """F73."""
    found = osmand.messages("", "application/json", body)
    assert not found.keys
    assert not osmand.parse(found.items, NOW).fixes


def test_too_many_parameters_are_unreadable() -> None:
    """F71: a query of a million names is not taken apart."""
    with pytest.raises(Misread):
        osmand.messages("&".join(f"a{i}=1" for i in range(1000)), "", b"")


def test_too_many_records_are_cut_and_said() -> None:
    """F71."""
    reading = osmand.parse([[("lat", "31.2"), ("lon", "121.4")]] * 10_001, NOW)
    assert len(reading.fixes) == 10_000
    assert len(reading.quarantined) == 1


NAMES = st.sampled_from(
    [
        "id",
        "lat",
        "lon",
        "location",
        "timestamp",
        "speed",
        "bearing",
        "altitude",
        "accuracy",
        "batt",
        "charge",
        "alarm",
        "coords",
        "latitude",
        "longitude",
        "battery",
        "activity",
        "extras",
        "device_id",
        "datum",
        "valid",
        "mock",
        "cell",
        "x",
    ]
)
DOCUMENTS = st.recursive(
    ANYTHING | st.sampled_from([31.2, 121.4, "31.2", "121.4", 1795420800, "2026-11-23T08:00:00Z"]),
    lambda inner: st.dictionaries(NAMES, inner, max_size=8) | st.lists(inner, max_size=4),
    max_leaves=30,
)


def check(reading: Reading) -> None:
    """Every reading can be stored: finite numbers in range, aware times, JSON beside them."""
    for fix in reading.fixes:
        assert -180 <= fix.lon <= 180
        assert -90 <= fix.lat <= 90
        assert fix.fixed_at.utcoffset() is not None
        for value in (fix.accuracy_m, fix.altitude_m, fix.speed_mps, fix.heading_deg, fix.battery_pct):
            assert value is None or math.isfinite(value)
        json.dumps(fix.attributes, allow_nan=False).encode()
    for raw, reason in reading.quarantined:
        assert isinstance(reason, Reason)
        assert "\\u0000" not in json.dumps(raw, allow_nan=False)
    for alarm in reading.alarms:
        json.dumps(alarm.raw, allow_nan=False).encode()


@given(DOCUMENTS)
def test_any_json_value_is_read_without_an_error(document: Any) -> None:
    """F73: lone surrogates, NaN and huge numbers included."""
    check(osmand.parse(document if isinstance(document, list) else [document], NOW))


@given(
    st.lists(
        st.tuples(NAMES, st.text() | st.sampled_from(["31.2", "121.4", "NaN", "sos", "1795420800"])),
        max_size=12,
    )
)
def test_any_parameters_are_read_without_an_error(pairs: list[tuple[str, str]]) -> None:
    """F73."""
    encoded = urlencode([(name, value.encode("utf-8", "surrogatepass")) for name, value in pairs])
    check(osmand.parse(osmand.messages(encoded, "", b"").items, NOW))
    check(osmand.parse(osmand.messages("", FORM, encoded.encode()).items, NOW))


@given(
    st.text(max_size=80),
    st.sampled_from(["", FORM, "application/json", "text/plain"]),
    st.binary(max_size=120),
)
def test_any_bytes_are_messages_or_unreadable(query: str, content_type: str, body: bytes) -> None:
    """F73."""
    try:
        found = osmand.messages(query, content_type, body)
    except Misread:
        return
    check(osmand.parse(found.items, NOW))


def test_many_locations_share_their_names_and_copy_none_of_them() -> None:
    """F71, F74: 60 kB from anybody became 1.7 GB; now the memory is that of the text, and the refusals are bounded."""
    names = b",".join(b'"k%d":0' % i for i in range(3000))
    body = b'{"location":[' + b",".join([b"0"] * 15_000) + b"]," + names + b"}"
    tracemalloc.start()
    try:
        reading = osmand.parse(osmand.messages("", "application/json", body).items, NOW)
        gpslogger_reading = gpslogger.parse(gpslogger.messages("", "application/json", body), NOW)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not reading.fixes
    assert len(reading.quarantined) == MAXIMUM_RECORDS + 1
    assert reading.quarantined[0][0] == {"location": 0}
    assert len(gpslogger_reading.quarantined) == 1
    assert peak_bytes < 300 * len(body), peak_bytes


def test_what_many_locations_share_holds_for_each_of_them() -> None:
    """The bound above costs no honest client anything: its batch is read, and only the bad one of it set aside."""
    body = json.dumps(
        {
            "device_id": "KEY",
            "battery": {"level": 0.5},
            "location": [
                {"timestamp": f"2026-01-01T00:00:{i:02}Z", "coords": {"latitude": 31.2, "longitude": 121.4}}
                for i in range(50)
            ]
            + ["x"],
        }
    ).encode()
    reading = osmand.parse(osmand.messages("", "application/json", body).items, NOW)
    assert [fix.battery_pct for fix in reading.fixes] == [50] * 50
    assert reading.quarantined == [({"location": "x"}, Reason.UNREADABLE)]


@pytest.mark.parametrize("word", ["powerOff", "geofenceEnter", "lunch", "x" * 300, "\u202esos", "s\x00os"])
def test_only_a_call_for_help_is_an_alarm(word: str) -> None:
    """F24, P21: any other word is an attribute of the fix, without what would mislead its reader (F74)."""
    sent = {"device_id": "KEY", "location": {"coords": {"latitude": 31.2, "longitude": 121.4}, "alarm": word}}
    reading = osmand.parse(osmand.messages("", "application/json", json.dumps(sent).encode()).items, NOW)
    assert reading.alarms == []
    assert not set("\x00\u202e") & set(str(reading.fixes[0].attributes["alarm"]))  # type: ignore[index]
    sent["location"]["alarm"] = " SOS "  # type: ignore[index]
    reading = osmand.parse(osmand.messages("", "application/json", json.dumps(sent).encode()).items, NOW)
    assert [alarm.word for alarm in reading.alarms] == ["sos"]
