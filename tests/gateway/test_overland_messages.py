"""What Overland posts becomes fixes in our units; trips, visits and actions never cost the batch."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.fixes import Reason
from mobile_api.gateway import overland
from tests.gateway.test_osmand_messages import check
from tests.gateway.test_reading import ANYTHING

FEATURE = {
    "type": "Feature",
    "geometry": {"type": "Point", "coordinates": [121.4737, 31.2304]},
    "properties": {
        "timestamp": "2026-11-23T16:00:00+0800",
        "altitude": 12,
        "speed": 4,
        "course": 90,
        "horizontal_accuracy": 30,
        "vertical_accuracy": -1,
        "speed_accuracy": 1.5,
        "course_accuracy": -1,
        "motion": ["driving", "stationary"],
        "battery_state": "charging",
        "battery_level": 0.87,
        "wifi": "委员会",
        "device_id": "",
        "unique_id": "AB-CD",
    },
}
TRIP = {
    "type": "Feature",
    "geometry": {"type": "Point", "coordinates": [121.4737, 31.2304]},
    "properties": {
        "timestamp": "2026-11-23T08:10:00Z",
        "type": "trip",
        "mode": "walk",
        "start": "2026-11-23T08:00:00Z",
        "end": "2026-11-23T08:10:00Z",
        "start_location": None,
        "end_location": None,
        "duration": 600,
        "distance": 700,
        "stopped_automatically": False,
        "steps": 900,
    },
}
VISIT = {
    "type": "Feature",
    "geometry": {"type": "Point", "coordinates": [121.4737, 31.2304]},
    "properties": {
        "timestamp": "2026-11-23T08:10:00Z",
        "action": "visit",
        "arrival_date": None,
        "departure_date": "2026-11-23T08:05:00Z",
        "horizontal_accuracy": 65,
    },
}
ACTION = {
    "type": "Feature",
    "properties": {"timestamp": "2026-11-23T08:10:00Z", "action": "paused_location_updates"},
}


def read(document: Any) -> Any:
    return overland.parse(json.dumps(document).encode())


def feature(**properties: Any) -> dict[str, Any]:
    changed = copy.deepcopy(FEATURE)
    changed["properties"].update(properties)  # type: ignore[attr-defined]
    return changed


def test_a_batch_is_read_in_the_apps_units() -> None:
    reading = read(
        {"locations": [FEATURE, feature(timestamp="2026-11-23T08:00:10Z", battery_state="unplugged")]}
    )
    first, second = reading.fixes
    assert first.fixed_at == datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
    assert (first.lon, first.lat, first.altitude_m, first.speed_mps, first.heading_deg) == (
        121.4737,
        31.2304,
        12,
        4,
        90,
    )
    assert (first.accuracy_m, first.battery_pct, first.charging) == (30, 87, True)
    assert first.attributes == {
        "motion": ["driving", "stationary"],
        "speed_accuracy": 1.5,
        "battery_state": "charging",
    }
    assert second.charging is False
    assert "委员会" not in repr(reading)
    assert "AB-CD" not in repr(reading)


def test_minus_one_is_unknown() -> None:
    (fix,) = read(
        {"locations": [feature(speed=-1, course=-1, altitude=-1, horizontal_accuracy=-1, battery_level=-1)]}
    ).fixes
    assert (fix.speed_mps, fix.heading_deg, fix.altitude_m, fix.accuracy_m, fix.battery_pct) == (None,) * 5


def test_trips_visits_and_actions_are_counted_and_cost_nothing() -> None:
    reading = read({"locations": [TRIP, FEATURE, VISIT, ACTION, {**TRIP, "geometry": None}]})
    assert len(reading.fixes) == 1
    assert reading.counted == {"trip": 2, "visit": 1, "action": 1}
    assert not reading.quarantined


def test_the_current_place_of_a_backlog_is_read_too() -> None:
    now = feature(timestamp="2026-11-23T08:30:00Z")
    reading = read(
        {"locations": [FEATURE], "current": now, "trip": {"mode": "walk", "start": "2026-11-23T08:00:00Z"}}
    )
    assert [f.fixed_at.minute for f in reading.fixes] == [0, 30]
    assert reading.counted == {"current": 1, "trip_status": 1}
    assert len(read({"locations": [FEATURE], "current": {}, "trip": {}}).fixes) == 1


def test_thousands_of_records_are_one_batch() -> None:
    reading = read({"locations": [FEATURE] * 5000})
    assert len(reading.fixes) == 5000
    reading = read({"locations": [{}] * 10_001})
    assert len(reading.quarantined) == 10_001


def test_one_bad_record_does_not_cost_the_batch() -> None:
    """F20, F73."""
    bad: list[Any] = [
        None,
        [],
        {"type": "Feature", "geometry": None, "properties": {"timestamp": "2026-11-23T08:00:00Z"}},
        {**FEATURE, "geometry": {"type": "Point", "coordinates": []}},
        {**FEATURE, "geometry": {"type": "Point", "coordinates": [121.4, "NaN"]}},
        feature(timestamp="never"),
    ]
    absurd = {**FEATURE, "geometry": {"type": "Point", "coordinates": [31.2, 121.4]}}
    reading = read({"locations": [*bad, FEATURE, absurd]})
    assert len(reading.fixes) == 1
    assert [r for _, r in reading.quarantined] == [Reason.UNREADABLE] * len(bad) + [Reason.ABSURD_PLACE]


def test_a_batch_with_a_number_that_is_none_is_read_for_the_rest() -> None:
    """F73: NaN is no JSON, and the other 199 records are."""
    body = json.dumps(
        {"locations": [FEATURE, feature(speed=float("nan"), timestamp="2026-11-23T08:01:00Z")]}
    ).encode()
    assert b"NaN" in body
    assert [f.speed_mps for f in overland.parse(body).fixes] == [4, None]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 100_000, b"[]", b"5", b'{"locations": 5}', b'{"locations": {"a": 1}}']
)
def test_what_is_no_batch_goes_into_quarantine_whole(body: bytes) -> None:
    """F72, F73: the app would send it for ever if it were refused."""
    reading = overland.parse(body)
    assert not reading.fixes
    assert [r for _, r in reading.quarantined] == [Reason.UNREADABLE]


def test_an_empty_batch_is_fine() -> None:
    for document in ({"locations": []}, {}):
        reading = read(document)
        assert not reading.fixes
        assert not reading.quarantined


def test_the_apps_owntracks_mode_posts_owntracks_messages() -> None:
    (fix,) = read(
        {"_type": "location", "lat": 31.2304, "lon": 121.4737, "tst": 1795420800, "vel": 36, "batt": 87}
    ).fixes
    assert (fix.speed_mps, fix.battery_pct) == (10, 87)


KEYS = st.sampled_from(
    [
        "type",
        "geometry",
        "coordinates",
        "properties",
        "timestamp",
        "speed",
        "action",
        "locations",
        "motion",
        "current",
        "trip",
        "battery_level",
        "battery_state",
        "_type",
        "lat",
        "lon",
        "tst",
    ]
)
TREES = st.recursive(
    ANYTHING
    | st.sampled_from(["2026-11-23T08:00:00Z", 121.4, 31.2, "trip", "visit", "location", 1795420800]),
    lambda inner: st.dictionaries(KEYS, inner, max_size=6) | st.lists(inner, max_size=4),
    max_leaves=30,
)


@given(TREES, TREES)
def test_any_record_is_read_without_an_error(tree: Any, properties: Any) -> None:
    """F73."""
    reading = overland.Reading()
    overland._record(reading, tree, "wgs84")
    overland._record(reading, {"geometry": {"coordinates": [121.4, 31.2]}, "properties": properties}, "wgs84")
    overland._record(
        reading, {"geometry": tree, "properties": {"timestamp": "2026-11-23T08:00:00Z"}}, "wgs84"
    )
    check(reading)


@given(st.binary(max_size=200) | TREES.map(lambda tree: repr(tree).encode("utf-8", "replace")))
def test_any_bytes_are_read_without_an_error(body: bytes) -> None:
    """F73."""
    check(overland.parse(body))
