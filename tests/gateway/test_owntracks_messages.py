"""What OwnTracks posts becomes fixes in our units; what is no position is counted and never refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.fixes import Reason
from mobile_api.gateway import owntracks
from tests.gateway.test_osmand_messages import check
from tests.gateway.test_reading import ANYTHING

ANDROID = {
    "_type": "location",
    "_id": "5f0c1f8a",
    "BSSID": "aa:bb:cc:dd:ee:ff",
    "SSID": "委员会",
    "acc": 12,
    "alt": 9,
    "batt": 76,
    "bs": 2,
    "cog": 181,
    "conn": "w",
    "created_at": 1795420803,
    "lat": 31.2304,
    "lon": 121.4737,
    "m": 2,
    "t": "t",
    "tid": "zw",
    "topic": "owntracks/zhang/phone",
    "tst": 1795420800,
    "vac": 3,
    "vel": 18,
    "inregions": ["东门"],
    "inrids": ["6da9cf"],
}
IOS = {
    "_type": "location",
    "acc": 5,
    "alt": 11,
    "batt": 100,
    "bs": 3,
    "cog": 0,
    "conn": "m",
    "lat": 31.2304,
    "lon": 121.4737,
    "m": 1,
    "motionactivities": ["walking"],
    "p": 101.9,
    "t": "u",
    "tid": "zw",
    "tst": 1795420800,
    "vac": 4,
    "vel": 4,
}


def read(document: Any) -> Any:
    return owntracks.parse(json.dumps(document).encode())


def test_a_location_is_read_in_the_apps_units() -> None:
    (fix,) = read(ANDROID).fixes
    assert fix.fixed_at == datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
    assert (fix.lon, fix.lat, fix.accuracy_m, fix.altitude_m, fix.heading_deg) == (
        121.4737,
        31.2304,
        12,
        9,
        181,
    )
    assert fix.speed_mps == pytest.approx(5), "vel is in km/h"
    assert (fix.battery_pct, fix.charging) == (76, True)
    assert fix.attributes == {
        "t": "t",
        "tid": "zw",
        "conn": "w",
        "m": 2,
        "vac": 3,
        "inregions": ["东门"],
        "created_at": 1795420803,
    }
    (fix,) = read(IOS).fixes
    assert fix.speed_mps == pytest.approx(4 / 3.6)
    assert fix.charging is True, "full means plugged in"


@pytest.mark.parametrize(
    ("bs", "charging"), [(0, None), (1, False), (2, True), (3, True), (9, None), ("x", None), (None, None)]
)
def test_the_battery_state_is_a_truth_value_or_unknown(bs: Any, charging: bool | None) -> None:
    assert read({**ANDROID, "bs": bs}).fixes[0].charging is charging


def test_the_names_of_wireless_networks_are_not_kept() -> None:
    assert "委员会" not in repr(read(ANDROID))


def test_numbers_written_as_text_are_read() -> None:
    (fix,) = read(
        {"_type": "location", "lat": "31.2304", "lon": "121.4737", "tst": "1795420800", "vel": "18"}
    ).fixes
    assert (fix.lat, fix.speed_mps) == (31.2304, pytest.approx(5))


def test_a_transition_with_a_place_is_a_position_with_an_event() -> None:
    message = {
        "_type": "transition",
        "wtst": 1795400000,
        "lat": 31.2304,
        "lon": 121.4737,
        "tst": 1795420800,
        "acc": 30,
        "tid": "zw",
        "event": "enter",
        "desc": "东门",
        "t": "c",
    }
    (fix,) = read(message).fixes
    assert fix.attributes == {"t": "c", "tid": "zw", "event": "enter", "desc": "东门"}
    del message["lat"], message["lon"]
    assert read(message).counted == {"transition": 1}


@pytest.mark.parametrize(
    "kind",
    [
        "waypoint",
        "waypoints",
        "status",
        "lwt",
        "card",
        "steps",
        "beacon",
        "request",
        "cmd",
        "configuration",
        "dump",
        "tomorrow",
    ],
)
def test_every_other_type_is_counted(kind: str) -> None:
    reading = read({"_type": kind, "lat": 1, "lon": 2, "tst": 1795420800})
    assert reading.counted == {kind: 1}
    assert not reading.fixes
    assert not reading.quarantined


@pytest.mark.parametrize("body", [b"", b"  \n"])
def test_a_body_of_no_length_holds_nothing(body: bytes) -> None:
    reading = owntracks.parse(body)
    assert reading.counted == {"empty": 1}
    assert not reading.quarantined


def test_an_encrypted_message_is_quarantined_with_its_reason() -> None:
    reading = read({"_type": "encrypted", "data": "s3cr3t"})
    assert reading.quarantined == [({"_type": "encrypted"}, Reason.ENCRYPTED)]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"_type": "location", "lat": 31.2, "lon": 121.4}, Reason.UNREADABLE),
        ({"_type": "location", "tst": 1795420800, "lat": 31.2}, Reason.UNREADABLE),
        ({"_type": "location", "tst": 1795420800, "lat": 91, "lon": 121.4}, Reason.ABSURD_PLACE),
        ({"_type": "location", "tst": 10**17, "lat": 31.2, "lon": 121.4}, Reason.ABSURD_TIME),
        ({"lat": 31.2, "lon": 121.4, "tst": 1795420800}, Reason.UNREADABLE),
        ({"_type": 5}, Reason.UNREADABLE),
        ([1], Reason.UNREADABLE),
        (None, Reason.UNREADABLE),
        ("x", Reason.UNREADABLE),
    ],
)
def test_what_is_no_message_goes_into_quarantine(document: Any, reason: Reason) -> None:
    """F20, F73."""
    reading = read(document)
    assert not reading.fixes
    assert [given for _, given in reading.quarantined] == [reason]


@pytest.mark.parametrize(
    "body", [b"{", b"[" * 100_000, b"\xff\xfe", b'{"_type":"location","lat":NaN,"lon":1,"tst":1}']
)
def test_a_broken_body_goes_into_quarantine(body: bytes) -> None:
    """F72, F73: the app would send it for ever if it were refused."""
    reading = owntracks.parse(body)
    assert [given for _, given in reading.quarantined] == [Reason.UNREADABLE]


NAMES = st.sampled_from(
    ["_type", "lat", "lon", "tst", "acc", "alt", "vel", "cog", "batt", "bs", "t", "inregions", "event"]
)
VALUES = ANYTHING | st.sampled_from(["location", "transition", "encrypted", 31.2, 121.4, 1795420800])


@given(
    st.dictionaries(NAMES, VALUES, max_size=10)
    | st.lists(st.dictionaries(NAMES, VALUES), max_size=3)
    | ANYTHING
)
def test_any_json_value_is_read_without_an_error(document: Any) -> None:
    """F73."""
    reading = owntracks.Reading()
    owntracks.read(reading, document)
    check(reading)
    encoded = json.dumps(document) if _printable(document) else "{}"
    check(owntracks.parse(encoded.encode("utf-8", "surrogatepass")))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(body: bytes) -> None:
    """F73."""
    check(owntracks.parse(body))


def _printable(document: Any) -> bool:
    try:
        json.dumps(document)
    except ValueError:
        return False
    return True
