"""What GPSLogger calls, with our template and with its own ``%ALL``, becomes fixes in our units."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.fixes import Reason
from mobile_api.gateway import gpslogger
from mobile_api.gateway.reading import Misread
from tests.gateway.test_osmand_messages import check
from workflows.provisioning import GPSLOGGER_TEMPLATE

NOW = datetime(2026, 11, 23, 8, 0, 30, tzinfo=UTC)
VALUES = {
    "%LAT": "31.2304",
    "%LON": "121.4737",
    "%TIMESTAMP": "1795420800",
    "%TIMEOFFSET": "2026-11-23T16:00:00.000+08:00",
    "%TIME": "2026-11-23T08:00:00.000Z",
    "%ACC": "8.5",
    "%ALT": "12.25",
    "%SPD": "1.4",
    "%DIR": "271.5",
    "%BATT": "87.0",
    "%ISCHARGING": "true",
    "%SAT": "11",
    "%PROV": "gps",
}
ALL = (
    "lat=31.2304&lon=121.4737&sat=11&desc=&alt=12.25&acc=8.5&dir=271.5&prov=gps&spd_kph=5.04&spd=1.4&timestamp=1795420800"
    "&timeoffset=2026-11-23T16:00:00.000+08:00&time=2026-11-23T08:00:00.000Z&starttimestamp=1795420000&date=2026-11-23"
    "&batt=87.0&ischarging=true&aid=0123456789abcdef&ser=SERIAL&act=WALKING&filename=20261123&profile=Default+Profile"
    "&hdop=0.9&vdop=&pdop=&dist=120"
)


def filled(template: str = GPSLOGGER_TEMPLATE) -> str:
    for placeholder, value in VALUES.items():
        template = template.replace(placeholder, value)
    return template


def read(query: str = "", content_type: str = "", body: bytes = b"") -> Any:
    return gpslogger.parse(gpslogger.messages(query, content_type, body), NOW)


@pytest.mark.parametrize(
    ("query", "body"),
    [(filled(), b""), ("", filled().encode()), (ALL, b""), ("", ALL.encode())],
    ids=["template by GET", "template by POST", "%ALL by GET", "%ALL by POST"],
)
def test_a_call_is_read_in_the_apps_units(query: str, body: bytes) -> None:
    reading = read(query, "", body)
    (fix,) = reading.fixes
    assert fix.fixed_at == datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
    assert (fix.lon, fix.lat, fix.accuracy_m, fix.altitude_m) == (121.4737, 31.2304, 8.5, 12.25)
    assert (fix.speed_mps, fix.heading_deg, fix.battery_pct, fix.charging) == (1.4, 271.5, 87, True)
    assert fix.attributes is not None
    assert (fix.attributes["sat"], fix.attributes["prov"]) == (11, "gps")


def test_every_placeholder_of_the_template_is_one_that_the_app_replaces() -> None:
    assert "%" not in filled()


def test_what_identifies_the_phone_is_not_kept() -> None:
    assert "SERIAL" not in repr(read(ALL))
    assert "0123456789abcdef" not in repr(read(ALL))


def test_a_body_template_may_be_json() -> None:
    body = b'{"lat": 31.2304, "lon": 121.4737, "timestamp": 1795420800, "spd": 1.4, "ischarging": false}'
    (fix,) = read("", "application/json", body).fixes
    assert (fix.speed_mps, fix.charging) == (1.4, False)


def test_a_line_of_a_log_that_is_sent_again_is_the_same_fix() -> None:
    """F18: the app sends its whole CSV log again, one request for each line."""
    assert read(filled()).fixes == read(filled()).fixes


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("lat=%LAT&lon=%LON&time=%TIME", Reason.UNREADABLE),
        ("lat=NaN&lon=121.4", Reason.UNREADABLE),
        ("lat=31.2&lon=121.4&lat=31.3", Reason.UNREADABLE),
        ("lat=0.0&lon=0.0", Reason.ABSURD_PLACE),
        ("lat=31.2&lon=121.4&time=x", Reason.UNREADABLE),
        ("lat=31.2&lon=121.4&datum=mars", Reason.UNKNOWN_DATUM),
    ],
)
def test_a_call_that_is_no_fix_goes_into_quarantine(query: str, reason: Reason) -> None:
    """F20, F73."""
    reading = read(query)
    assert not reading.fixes
    assert [r for _, r in reading.quarantined] == [reason]


def test_a_call_without_a_place_is_a_sign_of_life() -> None:
    assert read("batt=50").counted == {"heartbeat": 1}


NAMES = st.sampled_from(
    ["lat", "lon", "time", "timestamp", "timeoffset", "acc", "alt", "spd", "dir", "batt", "datum", "x"]
)


@given(
    st.lists(
        st.tuples(NAMES, st.text(max_size=30) | st.sampled_from(["31.2", "121.4", "NaN", "1e999"])),
        max_size=12,
    )
)
def test_any_parameters_are_read_without_an_error(pairs: list[tuple[str, str]]) -> None:
    """F73."""
    check(gpslogger.parse([pairs], NOW))


@given(st.text(max_size=80), st.binary(max_size=120))
def test_any_bytes_are_messages_or_unreadable(query: str, body: bytes) -> None:
    """F73."""
    try:
        check(gpslogger.parse(gpslogger.messages(query, "", body), NOW))
    except Misread:
        pass
