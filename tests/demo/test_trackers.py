"""What each app sends is what its protocol says, and the gateways read from it what the phone measured."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest

from backend.demo.receiver import Measurement
from backend.demo.simulate import PROTOCOLS
from backend.demo.trackers import (
    GENERATIONS,
    GpsLogger,
    OfficerApp,
    Overland,
    OwnTracks,
    TraccarForm,
    TraccarJson,
    TraccarQuery,
    Tracker,
    tracker_for,
)
from backend.demo.wire import Request, Response
from geo.fixes import Fix
from mobile_api.gateway import gpslogger, osmand, overland, owntracks
from workflows.provisioning import GPSLOGGER_TEMPLATE

AT = 1_795_000_000.0
DEVICE = UUID("01920000-0000-7000-8000-000000000001")
CREDENTIALS = {
    "osmand": {"url": "https://patrol.example.cn/gateway/osmand", "id": "an-unguessable-key"},
    "owntracks": {
        "url": "https://patrol.example.cn/gateway/owntracks",
        "user": "xg-42",
        "password": "secret:word",
    },
    "overland": {"url": "https://patrol.example.cn/gateway/overland", "token": "a-token"},
    "gpslogger": {"url": f"https://patrol.example.cn/gateway/gpslogger/a-key?{GPSLOGGER_TEMPLATE}"},
}


def measurement(**changes: object) -> Measurement:
    measured = Measurement(
        at=AT,
        lon=121.3056789,
        lat=31.1012345,
        accuracy_m=6.4,
        altitude_m=5.1,
        speed_mps=1.25,
        heading_deg=87.5,
        battery_pct=73.4,
        charging=False,
        walked_m=1234.5,
    )
    return replace(measured, **changes)  # type: ignore[arg-type]


def loaded(tracker: Tracker, *measurements: Measurement) -> Request:
    for one in measurements or (measurement(),):
        tracker.add(one)
    request, _ = tracker.request(AT + 1)
    return request


def make(protocol: str) -> Tracker:
    return tracker_for(protocol, CREDENTIALS, Random(1), device_id=DEVICE, access_token=lambda: "token-1")


def headers(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers}


# --- 1. OsmAnd, three generations


def test_the_query_generation_puts_everything_into_the_url() -> None:
    request = loaded(make("osmand-query"))
    parts = urlsplit(request.target)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert (request.method, parts.path, request.body) == ("POST", "/gateway/osmand", b"")
    assert query["id"] == "an-unguessable-key"
    assert query["timestamp"] == str(int(AT))
    assert (float(query["lat"]), float(query["lon"])) == (31.1012345, 121.3056789)
    assert float(query["speed"]) == pytest.approx(1.25 / 0.514444, abs=0.01)  # Knots.
    assert (query["bearing"], query["altitude"], query["accuracy"], query["batt"]) == (
        "87.5",
        "5.1",
        "6.4",
        "73.4",
    )
    assert not {"mock", "charge"} & set(query)


def test_the_form_generation_posts_the_same_names() -> None:
    query = urlsplit(loaded(make("osmand-query")).target).query
    request = loaded(make("osmand-form"))
    assert request.target == "/gateway/osmand"
    assert headers(request)["content-type"] == "application/x-www-form-urlencoded"
    assert request.body.decode() == query


def test_the_json_generation_posts_a_document() -> None:
    request = loaded(make("osmand-json"), measurement(heading_deg=None, mock=True, charging=True))
    document = json.loads(request.body)
    assert headers(request)["content-type"] == "application/json"
    assert document["device_id"] == "an-unguessable-key"
    location = document["location"]
    assert location["timestamp"] == datetime.fromtimestamp(AT, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    assert location["coords"] == {
        "latitude": 31.1012345,
        "longitude": 121.3056789,
        "accuracy": 6.4,
        "speed": 1.25,
        "heading": -1,
        "altitude": 5.1,
    }
    assert location["battery"] == {"level": 0.73, "is_charging": True}
    assert location["is_moving"] is True
    assert location["mock"] is True
    assert location["odometer"] == 1234.5


def test_osmand_is_a_mixture_of_its_generations() -> None:
    made = {
        type(tracker_for("osmand", CREDENTIALS, Random(seed), device_id=DEVICE, access_token=lambda: None))
        for seed in range(40)
    }
    assert made == {TraccarQuery, TraccarForm, TraccarJson}
    assert set(GENERATIONS) <= set(PROTOCOLS)


def test_traccar_sends_the_same_head_until_it_gets_a_2xx() -> None:
    tracker = make("osmand-form")
    first, second = measurement(), measurement(at=AT + 5)
    request = loaded(tracker, first, second)
    for status in (400, 404, 500, 503):
        assert not tracker.is_success(Response(status))
        assert not tracker.gives_up(Response(status))
    assert tracker.request(AT + 9)[0] == request
    assert tracker.is_success(Response(204))
    tracker.accept_first(1)
    assert str(int(AT + 5)) in tracker.request(AT + 9)[0].body.decode()
    assert [tracker.retry_after_s(n) for n in (1, 2, 3, 20)] == [5, 10, 20, 300]
    assert {TraccarQuery.retry_after_s(make("osmand-query"), n) for n in (1, 5)} == {30}


# --- 2. OwnTracks


def test_owntracks_posts_one_object_with_basic_authentication() -> None:
    request = loaded(make("owntracks"), measurement(charging=True))
    message = json.loads(request.body)
    sent = headers(request)
    assert (request.method, request.target) == ("POST", "/gateway/owntracks")
    assert base64.b64decode(sent["authorization"].removeprefix("Basic ")).decode() == "xg-42:secret:word"
    assert sent["x-limit-u"] == "xg-42"
    assert sent["x-limit-d"]
    assert message["_type"] == "location"
    assert {"lat", "lon", "tst", "tid"} <= set(message)
    assert message["tst"] == int(AT)
    assert message["vel"] == 4  # 1.25 m/s in whole km/h.
    assert message["bs"] == 2
    assert message["topic"].startswith("owntracks/xg-42/")
    assert len(message["tid"]) == 2


def test_owntracks_wants_a_json_array() -> None:
    tracker = make("owntracks")
    assert tracker.is_success(Response(200, {}, b"[]"))
    assert not tracker.is_success(Response(200, {}, b""))
    assert not tracker.is_success(Response(403, {}, b"[]"))


# --- 3. Overland


def test_overland_sends_batches_of_features_now_and_then() -> None:
    tracker = make("overland")
    request = loaded(tracker, *(measurement(at=AT + 5 * k) for k in range(250)))
    document = json.loads(request.body)
    assert headers(request)["authorization"] == "Bearer a-token"
    assert len(document["locations"]) == 200
    assert "current" not in document
    feature = document["locations"][0]
    assert feature["geometry"] == {"type": "Point", "coordinates": [121.3056789, 31.1012345]}
    properties = feature["properties"]
    assert properties["timestamp"] == datetime.fromtimestamp(AT, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
    assert properties["speed"] == 1.25
    assert properties["battery_level"] == 0.73
    assert properties["motion"] == ["walking"]
    tracker.accept_first(200)
    assert not tracker.wants_to_send(AT + 2)
    assert tracker.wants_to_send(AT + 40)


def test_overland_tells_the_present_place_when_the_backlog_is_long() -> None:
    document = json.loads(
        loaded(make("overland"), *(measurement(at=AT + k, lat=31 + k / 1e4) for k in range(401))).body
    )
    assert len(document["locations"]) == 200
    assert document["current"]["geometry"]["coordinates"][1] == pytest.approx(31.04)


def test_overland_keeps_its_batch_until_the_answer_says_ok() -> None:
    tracker = make("overland")
    assert tracker.is_success(Response(200, {}, b'{"result":"ok"}'))
    assert not tracker.is_success(Response(200, {}, b'{"result":"queued"}'))
    assert not tracker.is_success(Response(200, {}, b"ok"))
    assert not tracker.is_success(Response(204))


def test_unknown_is_minus_one_for_overland() -> None:
    request = loaded(make("overland"), measurement(heading_deg=None, speed_mps=0.0))
    properties = json.loads(request.body)["locations"][0]["properties"]
    assert (properties["course"], properties["course_accuracy"], properties["speed_accuracy"]) == (-1, -1, -1)
    assert properties["motion"] == ["stationary"]


# --- 4. GPSLogger


def test_gpslogger_fills_the_placeholders_of_its_address() -> None:
    request = loaded(make("gpslogger"))
    parts = urlsplit(request.target)
    query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    assert (request.method, parts.path, request.body) == ("GET", "/gateway/gpslogger/a-key", b"")
    assert "%LAT" not in request.target
    assert "%TIME" not in request.target
    assert (query["lat"], query["lon"]) == ("31.1012345", "121.3056789")
    assert query["spd"] == "1.25"  # m/s.
    assert datetime.fromisoformat(query["time"]) == datetime.fromtimestamp(AT, UTC)
    assert query["charging"] == "false"


# --- Our own client


def test_the_officer_app_sends_batches_and_compresses_what_is_long() -> None:
    tracker = make("officer")
    request = loaded(tracker)
    assert "content-encoding" not in headers(request)
    document = json.loads(request.body)
    assert document["device_id"] == str(DEVICE)
    assert document["datum"] == "wgs84"
    assert document["fixes"] == [
        {
            "fixed_at": datetime.fromtimestamp(AT, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "lon": 121.3056789,
            "lat": 31.1012345,
            "accuracy_m": 6.4,
            "altitude_m": 5.1,
            "speed_mps": 1.25,
            "heading_deg": 87.5,
            "battery_pct": 73.4,
            "charging": False,
        }
    ]
    for k in range(600):
        tracker.add(measurement(at=AT + k))
    request, count = tracker.request(AT)
    assert headers(request)["content-encoding"] == "gzip"
    assert headers(request)["authorization"] == "Bearer token-1"
    assert len(json.loads(gzip.decompress(request.body))["fixes"]) == count == 500


def test_the_officer_app_gives_up_what_can_never_be_taken() -> None:
    tracker = OfficerApp(uuid4(), lambda: None)
    assert tracker.gives_up(Response(422))
    assert not tracker.gives_up(Response(401))
    assert not tracker.gives_up(Response(503))


# --- The other side of the wire


def read(protocol: str, request: Request) -> Fix:
    parts = urlsplit(request.target)
    kind = headers(request).get("content-type", "")
    now = datetime.fromtimestamp(AT + 2, UTC)
    if protocol.startswith("osmand"):
        reading = osmand.parse(osmand.messages(parts.query, kind, request.body).items, now)
    elif protocol == "owntracks":
        reading = owntracks.parse(request.body)
    elif protocol == "overland":
        reading = overland.parse(request.body)
    else:
        reading = gpslogger.parse(gpslogger.messages(parts.query, kind, request.body), now)
    assert not reading.quarantined
    [fix] = reading.fixes
    return fix


@pytest.mark.parametrize("protocol", [p for p in PROTOCOLS if p not in ("officer", "osmand")])
@pytest.mark.parametrize("charging", [False, True])
def test_the_gateway_reads_what_the_phone_measured(protocol: str, charging: bool) -> None:
    fix = read(protocol, loaded(make(protocol), measurement(charging=charging)))
    assert fix.fixed_at == datetime.fromtimestamp(AT, UTC)
    assert (fix.lon, fix.lat) == (121.3056789, 31.1012345)
    assert fix.accuracy_m == pytest.approx(6.4, abs=0.5)
    assert fix.speed_mps == pytest.approx(1.25, abs=0.15)
    assert fix.heading_deg == pytest.approx(87.5, abs=0.5)
    assert fix.battery_pct == pytest.approx(73.4, abs=0.6)
    if charging:
        assert fix.charging is True
    assert fix.datum == "wgs84"


@pytest.mark.parametrize("protocol", ["osmand-query", "osmand-form", "osmand-json"])
def test_a_mock_position_is_declared_where_the_protocol_can(protocol: str) -> None:
    assert read(protocol, loaded(make(protocol), measurement(mock=True))).mock


def test_an_account_without_a_credential_is_a_clear_error() -> None:
    with pytest.raises(KeyError):
        tracker_for("overland", {}, Random(1), device_id=DEVICE, access_token=lambda: None)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_has_an_app(protocol: str) -> None:
    kinds = (OfficerApp, TraccarQuery, OwnTracks, Overland, GpsLogger)
    assert isinstance(make(protocol), kinds)
