"""Each protocol is answered in its own shape, alike by the ordinary and by the hot path.

Every test runs twice: through Flask, and through the raw WSGI route in front of it.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import time
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.core.errors import TooLarge, Unavailable, Unreadable
from backend.core.ids import new_id
from backend.core.uow import unit_of_work
from backend.core.vocabulary import Protocol
from mobile_api import limits
from mobile_api.gateway import call as calls
from mobile_api.gateway import delivery
from tests.gateway.conftest import Setting
from workflows import devices, tracks
from workflows.devices import Credential
from workflows.quarantine_room import DAY_BYTES, Room

FORM = "application/x-www-form-urlencoded"
ALL = [Protocol.OSMAND, Protocol.OWNTRACKS, Protocol.OVERLAND, Protocol.GPSLOGGER]
OK = {
    Protocol.OSMAND: (200, b"", None),
    Protocol.OWNTRACKS: (200, b"[]", "application/json"),
    Protocol.OVERLAND: (200, b'{"result":"ok"}', "application/json"),
    Protocol.GPSLOGGER: (200, b"", None),
}
UNKNOWN = {Protocol.OSMAND: 400, Protocol.OWNTRACKS: 401, Protocol.OVERLAND: 401, Protocol.GPSLOGGER: 404}


def told(response: Any) -> tuple[int, bytes, str | None]:
    """Return what a tracker sees of an answer."""
    return response.status_code, response.data, response.headers.get("Content-Type")


def basic(credential: Credential) -> dict[str, str]:
    pair = f"{credential.username}:{credential.secret}".encode()
    return {"Authorization": "Basic " + base64.b64encode(pair).decode()}


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def send(
    client: FlaskClient,
    protocol: Protocol,
    credential: Credential,
    *,
    lat: object = 31.2304,
    lon: object = 121.4737,
    at: datetime | None = None,
) -> Any:
    """Send one fix as the app of that protocol does."""
    at = at or datetime.now(UTC)
    epoch = int(at.timestamp())
    if protocol is Protocol.OSMAND:
        return client.post(
            "/gateway/osmand",
            data=f"id={credential.secret}&lat={lat}&lon={lon}&timestamp={epoch}&speed=2&batt=80",
            content_type=FORM,
        )
    if protocol is Protocol.OWNTRACKS:
        message = {
            "_type": "location",
            "lat": lat,
            "lon": lon,
            "tst": epoch,
            "acc": 9,
            "vel": 4,
            "batt": 80,
            "tid": "x",
        }
        return client.post("/gateway/owntracks", json=message, headers=basic(credential))
    if protocol is Protocol.OVERLAND:
        feature = {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [lon, lat]},
            "properties": {
                "timestamp": at.strftime("%Y-%m-%dT%H:%M:%S+0000"),
                "speed": 1,
                "battery_level": 0.8,
            },
        }
        headers = {"Authorization": f"Bearer {credential.secret}"}
        return client.post("/gateway/overland", json={"locations": [feature]}, headers=headers)
    query = {"lat": lat, "lon": lon, "time": at.strftime("%Y-%m-%dT%H:%M:%S.000Z"), "spd": 1.0, "batt": 80}
    return client.get(f"/gateway/gpslogger/{credential.secret}", query_string=query)


# --- What holds for all


@pytest.mark.parametrize("protocol", ALL)
def test_a_fix_on_shift_is_stored_before_the_answer(
    client: FlaskClient, setting: Setting, protocol: Protocol
) -> None:
    device_id, credential = setting.device(protocol)
    assert told(send(client, protocol, credential)) == OK[protocol]
    (fix,) = setting.fixes(device_id)
    assert (fix["lon"], fix["lat"], fix["battery_pct"]) == (121.4737, 31.2304, 80)
    assert 0.9 < fix["speed_mps"] < 1.2
    assert fix["shift_id"] is not None


@pytest.mark.parametrize("protocol", ALL)
def test_what_is_sent_again_is_answered_alike_and_stored_once(
    client: FlaskClient, setting: Setting, protocol: Protocol
) -> None:
    """F18: a phone that did not hear the answer sends the same again, five times."""
    device_id, credential = setting.device(protocol)
    moments = [ago(s) for s in (300, 240, 180)]
    for _ in range(5):
        for at in moments:
            assert told(send(client, protocol, credential, at=at)) == OK[protocol]
    assert len(setting.fixes(device_id)) == 3


@pytest.mark.parametrize("protocol", ALL)
def test_what_is_off_shift_is_answered_as_well_and_only_counted(
    client: FlaskClient, setting: Setting, protocol: Protocol
) -> None:
    """F24: outside a shift nothing is stored, and the app must not send it for ever."""
    device_id, credential = setting.device(protocol, officer_id=setting.new_officer(on_shift=False))
    before = setting.counted(protocol, "off_shift")
    assert told(send(client, protocol, credential)) == OK[protocol]
    assert told(send(client, protocol, credential, lat="NaN")) == OK[protocol]
    assert setting.fixes(device_id) == []
    assert setting.quarantined(device_id) == []
    assert setting.counted(protocol, "off_shift") == before + 2


@pytest.mark.parametrize("protocol", ALL)
def test_a_bad_fix_is_set_aside_and_does_not_stop_the_queue(
    client: FlaskClient, setting: Setting, protocol: Protocol
) -> None:
    """F20: future, absurd, unreadable: each is answered like success."""
    device_id, credential = setting.device(protocol)
    assert told(send(client, protocol, credential, at=ago(-600))) == OK[protocol]
    assert told(send(client, protocol, credential, at=ago(86400 * 365 * 20))) == OK[protocol]
    assert told(send(client, protocol, credential, lat="NaN")) == OK[protocol]
    assert told(send(client, protocol, credential, lat=131.2)) == OK[protocol]
    assert setting.fixes(device_id) == []
    assert setting.quarantined(device_id) == ["future", "absurd_time", "unreadable", "absurd_place"]


@pytest.mark.parametrize("protocol", ALL)
def test_an_unknown_credential_is_refused(client: FlaskClient, setting: Setting, protocol: Protocol) -> None:
    before = setting.rows("select count(*) as n from fixes") + setting.rows(
        "select count(*) as n from quarantined_fixes"
    )
    response = send(client, protocol, Credential("nobody", "nobody"))
    assert response.status_code == UNKNOWN[protocol]
    assert b"<" not in response.data
    after = setting.rows("select count(*) as n from fixes") + setting.rows(
        "select count(*) as n from quarantined_fixes"
    )
    assert after == before


@pytest.mark.parametrize("protocol", ALL)
def test_a_credential_opens_its_own_gateway_alone(
    client: FlaskClient, setting: Setting, protocol: Protocol
) -> None:
    for other in ALL:
        if other is not protocol:
            _, credential = setting.device(other)
            assert send(client, protocol, credential).status_code == UNKNOWN[protocol]


@pytest.mark.parametrize("protocol", ALL)
def test_renewing_and_revoking_count_at_once(
    client: FlaskClient, setting: Setting, protocol: Protocol
) -> None:
    device_id, old = setting.device(protocol)
    # Measured earlier than the next one, however long the request takes.
    assert told(send(client, protocol, old, at=ago(5))) == OK[protocol]
    with unit_of_work(setting.town.id) as uow:
        _, new = devices.renew(uow, setting.supervisor, device_id, command_id=new_id())
    assert new is not None
    forget()
    assert send(client, protocol, old, at=ago(-1)).status_code == UNKNOWN[protocol]
    assert told(send(client, protocol, new, at=ago(2))) == OK[protocol]
    with unit_of_work(setting.town.id) as uow:
        devices.revoke(uow, setting.supervisor, device_id, command_id=new_id())
    forget()
    assert send(client, protocol, new, at=ago(-1)).status_code == UNKNOWN[protocol]
    assert len(setting.fixes(device_id)) == 2


@pytest.mark.parametrize("protocol", ALL)
def test_what_was_measured_before_the_renewal_is_set_aside_and_accepted(
    client: FlaskClient, setting: Setting, protocol: Protocol
) -> None:
    """F23: a phone that was offline meanwhile gets rid of its backlog; nothing of it is accepted, nothing is lost."""
    device_id, old = setting.device(protocol)
    with unit_of_work(setting.town.id) as uow:
        devices.renew(uow, setting.supervisor, device_id, command_id=new_id())
    forget()
    assert told(send(client, protocol, old, at=ago(600))) == OK[protocol]
    assert setting.fixes(device_id) == []
    assert setting.quarantined(device_id) == ["credential_expired"]
    assert send(client, protocol, old, at=ago(-1)).status_code == UNKNOWN[protocol]


def forget() -> None:
    """Stand in for the listener, which a test without one lacks: the announcement of a device has arrived."""
    tracks._ingest().remembered.forget()


@pytest.mark.parametrize("protocol", ALL)
def test_a_declared_datum_is_converted(client: FlaskClient, setting: Setting, protocol: Protocol) -> None:
    device_id, credential = setting.device(protocol, datum="gcj02")
    assert told(send(client, protocol, credential)) == OK[protocol]
    (fix,) = setting.fixes(device_id)
    assert 0.003 < 121.4737 - fix["lon"] < 0.006, "GCJ-02 is some 400 m east of WGS-84 here"
    assert 0.001 < abs(31.2304 - fix["lat"]) < 0.003


@pytest.mark.parametrize("protocol", ALL)
def test_when_too_much_is_waiting_the_app_is_told_to_come_again(
    client: FlaskClient, setting: Setting, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise Unavailable("full", retry_after_s=7)

    _, credential = setting.device(protocol)
    monkeypatch.setattr(tracks, "ingest", full)
    response = send(client, protocol, credential)
    assert (response.status_code, response.headers["Retry-After"], response.data) == (503, "7", b"")


BOMB = gzip.compress(b"one member") + gzip.compress(b"0" * 100_000_000)
"""Two members; the second unpacks to 100 MB."""
PATHS = [
    "/gateway/osmand",
    "/gateway/osmand/x",
    "/gateway/owntracks",
    "/gateway/overland",
    "/gateway/gpslogger/x",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_is_too_large_is_413(client: FlaskClient, path: str) -> None:
    """F71: as it arrives, and as it unpacks; and the server holds no more of it than its bound."""
    large = b"x" * (calls.MAXIMUM_BODY_BYTES + 1)
    assert client.post(path, data=large, content_type=FORM).status_code == 413
    started = time.monotonic()
    assert client.post(path, data=BOMB, headers={"Content-Encoding": "gzip"}).status_code == 413
    assert time.monotonic() - started < 1


def test_a_body_without_a_length_is_read_to_its_bound_and_no_further() -> None:
    """F71: a chunked body of any length is held up to the bound alone."""

    class Endless(io.RawIOBase):
        given = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            self.given += len(buffer)
            return len(buffer)

    stream = Endless()
    environ = {"REQUEST_METHOD": "POST", "wsgi.input": stream, "wsgi.input_terminated": True}
    with pytest.raises(TooLarge):
        calls.Call.of(environ)
    assert stream.given <= 2 * calls.MAXIMUM_BODY_BYTES
    with pytest.raises(TooLarge):
        calls.Call.of({"REQUEST_METHOD": "POST", "wsgi.input": Endless(), "CONTENT_LENGTH": "1" * 30})
    broken = {"REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(b"short"), "CONTENT_LENGTH": "500"}
    with pytest.raises(Unreadable):
        calls.Call.of(broken)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("encoding", "status"), [("gzip", 400), ("deflate", 400), ("br", 415), ("zstd", 415)]
)
def test_what_does_not_unpack_is_refused(client: FlaskClient, path: str, encoding: str, status: int) -> None:
    assert client.post(path, data=b"not packed", headers={"Content-Encoding": encoding}).status_code == status
    cut = gzip.compress(b"a=b" * 1000)[:-9]
    assert client.post(path, data=cut, headers={"Content-Encoding": "gzip"}).status_code == 400


def test_a_packed_body_is_unpacked(client: FlaskClient, setting: Setting) -> None:
    device_id, credential = setting.device(Protocol.OVERLAND)
    features = [
        {
            "geometry": {"type": "Point", "coordinates": [121.47 + i / 1e5, 31.23]},
            "properties": {"timestamp": ago(1000 - i).isoformat()},
        }
        for i in range(500)
    ]
    body = json.dumps({"locations": features}).encode()
    for packed, encoding in ((gzip.compress(body), "gzip"), (zlib.compress(body), "deflate")):
        response = client.post(
            "/gateway/overland",
            data=packed,
            headers={"Authorization": f"Bearer {credential.secret}", "Content-Encoding": encoding},
        )
        assert told(response) == OK[Protocol.OVERLAND]
    assert len(setting.fixes(device_id)) == 500


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_other_methods_are_405_and_nothing_else(client: FlaskClient, path: str, method: str) -> None:
    response = client.open(path, method=method)
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]


def test_owntracks_takes_nothing_by_get(client: FlaskClient) -> None:
    assert client.get("/gateway/owntracks").status_code == 405


# --- Traccar Client and OsmAnd


def test_all_three_generations_are_served_at_one_address(client: FlaskClient, setting: Setting) -> None:
    device_id, credential = setting.device(Protocol.OSMAND)
    key = credential.secret
    at = [ago(60 - i) for i in range(8)]
    epoch = [int(moment.timestamp()) for moment in at]
    place = "lat=31.2304&lon=121.4737&speed=2"
    coords = {
        "latitude": 31.2304,
        "longitude": 121.4737,
        "speed": 1.0,
        "accuracy": 5,
        "heading": 1,
        "altitude": 1,
    }
    sent = [
        client.get(f"/gateway/osmand?id={key}&timestamp={epoch[0]}&{place}"),
        client.post(f"/gateway/osmand?id={key}&timestamp={epoch[1]}&{place}"),
        client.post("/gateway/osmand", data=f"id={key}&timestamp={epoch[2]}000&{place}", content_type=FORM),
        client.post(
            "/gateway/osmand",
            json={"device_id": key, "location": {"timestamp": at[3].isoformat(), "coords": coords}},
        ),
        client.post(
            "/gateway/osmand", json={"device_id": key, "location": {"timestamp": at[4].isoformat()} | coords}
        ),
        client.post(
            "/gateway/osmand", json=[{"id": key, "timestamp": epoch[5], "lat": 31.2304, "lon": 121.4737}]
        ),
        client.get(f"/gateway/osmand/{key}?timestamp={epoch[6]}&{place}"),
        client.post(
            f"/gateway/osmand/{key}/", data=f"id=12345678&timestamp={epoch[7]}&{place}", content_type=FORM
        ),
    ]
    assert [told(response) for response in sent] == [OK[Protocol.OSMAND]] * 8
    stored = setting.fixes(device_id)
    assert len(stored) == 8
    assert {round(fix["speed_mps"], 2) for fix in stored if fix["speed_mps"] is not None} == {1.03, 1.0}
    assert key not in str(stored)


def test_a_missing_or_ambiguous_device_is_refused(client: FlaskClient, setting: Setting) -> None:
    _, credential = setting.device(Protocol.OSMAND)
    place = "lat=31.2&lon=121.4"
    assert client.get(f"/gateway/osmand?{place}").status_code == 400
    assert client.get("/gateway/osmand").status_code == 400
    assert client.get(f"/gateway/osmand?{place}&id=").status_code == 400
    assert client.get(f"/gateway/osmand?{place}&id={credential.secret}&id=other").status_code == 400
    assert client.post("/gateway/osmand", json={"location": {}}).status_code == 404
    assert client.post("/gateway/osmand", json={"device_id": "nobody", "location": {}}).status_code == 404
    assert client.post("/gateway/osmand", json=[{"id": "a"}, {"id": "b"}]).status_code == 404
    assert client.post("/gateway/osmand/nobody", data=place, content_type=FORM).status_code == 400


def test_a_heartbeat_keeps_the_last_position(client: FlaskClient, setting: Setting) -> None:
    device_id, credential = setting.device(Protocol.OSMAND)
    send(client, Protocol.OSMAND, credential, at=ago(30))
    response = client.post(
        "/gateway/osmand", data=f"id={credential.secret}&timestamp={int(time.time())}", content_type=FORM
    )
    assert told(response) == OK[Protocol.OSMAND]
    assert len(setting.fixes(device_id)) == 1


def test_an_unreadable_message_to_a_known_path_is_set_aside(client: FlaskClient, setting: Setting) -> None:
    """F72, F73: the phone would send it for ever, and everything behind it would wait."""
    device_id, credential = setting.device(Protocol.OSMAND)
    for body in (b"{", b"[" * 100_000, b'{"device_id": ' + b"9" * 5000):
        response = client.post(
            f"/gateway/osmand/{credential.secret}", data=body, content_type="application/json"
        )
        assert told(response) == OK[Protocol.OSMAND]
        assert client.post("/gateway/osmand", data=body, content_type="application/json").status_code == 404
    assert setting.quarantined(device_id) == ["unreadable"] * 3


def alarms_of(setting: Setting, device_id: Any) -> list[dict[str, Any]]:
    return setting.rows(
        "select * from journal where subject_id = :id and action = 'alarm' order by at, id", id=device_id
    )


def test_an_sos_is_stored_with_its_fix_and_journalled_once(client: FlaskClient, setting: Setting) -> None:
    device_id, credential = setting.device(Protocol.OSMAND)
    body = f"id={credential.secret}&lat=31.2304&lon=121.4737&timestamp={int(time.time())}&alarm=sos"
    for _ in range(3):
        assert told(client.post("/gateway/osmand", data=body, content_type=FORM)) == OK[Protocol.OSMAND]
    (fix,) = setting.fixes(device_id)
    assert fix["attributes"] == {"alarm": "sos"}
    (entry,) = alarms_of(setting, device_id)
    (device,) = setting.rows("select officer_id from devices where id = :id", id=device_id)
    assert entry["actor_id"] == device["officer_id"]
    assert entry["data"] == {"alarm": "sos", "fix_stored": True}
    assert credential.secret not in str(entry)


@pytest.mark.parametrize(
    "message",
    ["lat=31.2304&lon=121.4737&alarm=sos", "alarm=sos", "lat=NaN&lon=121.4737&alarm=sos"],
    ids=["with a place", "without a place", "with a place that is none"],
)
def test_an_sos_off_shift_is_not_lost(client: FlaskClient, setting: Setting, message: str) -> None:
    """F24: no track is kept off shift, but who calls for help says where he is by his own act (P21)."""
    device_id, credential = setting.device(Protocol.OSMAND, officer_id=setting.new_officer(on_shift=False))
    response = client.post("/gateway/osmand", data=f"id={credential.secret}&{message}", content_type=FORM)
    assert told(response) == OK[Protocol.OSMAND]
    assert setting.fixes(device_id) == []
    (entry,) = alarms_of(setting, device_id)
    assert entry["data"]["fix_stored"] is False
    (kept,) = setting.rows("select * from quarantined_fixes where device_id = :id", id=device_id)
    assert (str(kept["id"]), kept["reason"]) == (entry["data"]["quarantined_fix_id"], "alarm")
    assert kept["payload"]["alarm"] == "sos"
    assert credential.secret not in str(kept)


@pytest.mark.parametrize("word", ["lunch", "powerOff", "sos2", "geofenceExit"])
def test_an_alarm_that_is_no_call_for_help_says_nothing_off_shift(
    client: FlaskClient, setting: Setting, word: str
) -> None:
    """F24, P21: an app's own alarm is no act of the officer's; on shift it stays beside its fix."""
    message = f"lat=31.2304&lon=121.4737&alarm={word}"
    device_id, off_shift = setting.device(Protocol.OSMAND, officer_id=setting.new_officer(on_shift=False))
    response = client.post("/gateway/osmand", data=f"id={off_shift.secret}&{message}", content_type=FORM)
    assert told(response) == OK[Protocol.OSMAND]
    assert (setting.fixes(device_id), setting.quarantined(device_id)) == ([], [])
    assert alarms_of(setting, device_id) == []
    device_id, on_shift = setting.device(Protocol.OSMAND)
    client.post("/gateway/osmand", data=f"id={on_shift.secret}&{message}", content_type=FORM)
    assert setting.fixes(device_id)[0]["attributes"] == {"alarm": word}
    assert alarms_of(setting, device_id) == []


def test_who_presses_without_end_is_written_down_so_many_times(client: FlaskClient, setting: Setting) -> None:
    """F24: the journal cannot be filled; each press is answered, and another device has presses of its own."""
    device_id, pressed = setting.device(Protocol.OSMAND)
    other_id, other = setting.device(Protocol.OSMAND)
    now = int(time.time())
    for i in range(12):
        message = f"id={pressed.secret}&lat=31.2304&lon=121.4737&timestamp={now - i}&alarm=sos"
        assert told(client.post("/gateway/osmand", data=message, content_type=FORM)) == OK[Protocol.OSMAND]
    client.post("/gateway/osmand", data=f"id={other.secret}&alarm=sos", content_type=FORM)
    assert len(alarms_of(setting, device_id)) == 5
    assert len(setting.fixes(device_id)) == 12
    assert len(alarms_of(setting, other_id)) == 1


@pytest.mark.parametrize("path", ["/gateway/osmand", "/gateway/osmand/nobody", "/gateway/gpslogger/nobody"])
def test_nothing_is_taken_apart_for_a_stranger(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """F43, F71: who shows no credential costs a look for one, and after many of them he is told to wait."""

    def never(*_: Any) -> None:
        raise AssertionError("it was taken apart")

    monkeypatch.setattr(delivery, "UNKNOWN", limits.Buckets(0.01, 3))
    monkeypatch.setattr("mobile_api.gateway.osmand.parse", never)
    monkeypatch.setattr("mobile_api.gateway.gpslogger.parse", never)
    if path != "/gateway/osmand":
        monkeypatch.setattr("mobile_api.gateway.osmand.messages", never)
    body = json.dumps({"location": [0] * 100, "id": "nobody"})
    statuses = [client.post(path, data=body, content_type="application/json").status_code for _ in range(5)]
    assert statuses == [404, 404, 404, 429, 429]
    if path == "/gateway/osmand":
        monkeypatch.setattr("mobile_api.gateway.osmand.messages", never)
        large = client.post(
            path, data=body + " " * delivery.UNPROVEN_BODY_BYTES, content_type="application/json"
        )
        assert large.status_code == 429


def test_a_right_credential_is_served_beside_the_guesses_of_its_address(
    client: FlaskClient, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F43: whole towns of phones share an address."""
    monkeypatch.setattr(delivery, "UNKNOWN", limits.Buckets(0.01, 1))
    _, credential = setting.device(Protocol.OSMAND)
    assert [client.get("/gateway/osmand/no?lat=31&lon=121").status_code for _ in range(3)] == [400, 429, 429]
    for _ in range(5):
        assert told(send(client, Protocol.OSMAND, credential)) == OK[Protocol.OSMAND]


def test_large_bodies_count_as_the_calls_that_they_are_worth(
    client: FlaskClient, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F22, F71: one credential may not keep the process reading; others are served as before."""
    monkeypatch.setattr(delivery, "BUCKETS", limits.Buckets(0.01, 60))
    _, credential = setting.device(Protocol.OSMAND)
    _, another = setting.device(Protocol.OSMAND)
    large = json.dumps({"id": credential.secret, "location": ["x"] * 20_000})
    answers = [
        client.post("/gateway/osmand", data=large, content_type="application/json").status_code
        for _ in range(3)
    ]
    assert answers == [200, 200, 429]
    for _ in range(5):
        assert told(send(client, Protocol.OSMAND, another)) == OK[Protocol.OSMAND]


def test_a_small_body_does_not_fill_the_quarantine(
    client: FlaskClient, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F20, F71: 5 kB of a packed body were 22 MB of rows; what has no room is counted, and answered the same."""
    device_id, credential = setting.device(Protocol.OSMAND)
    monkeypatch.setattr(tracks._ingest(), "quarantine", Room(request_bytes=100_000, day_bytes=250_000))
    shared = {f"k{i}": "v" * 900 for i in range(8)}
    packed = gzip.compress(json.dumps({"id": credential.secret, "location": ["x"] * 3000, **shared}).encode())
    before = setting.counted(Protocol.OSMAND, "quarantined")
    kept = []
    for _ in range(4):
        answer = client.post(
            "/gateway/osmand",
            data=packed,
            content_type="application/json",
            headers={"Content-Encoding": "gzip"},
        )
        assert told(answer) == OK[Protocol.OSMAND]
        (found,) = setting.rows(
            "select count(*)::int as n, coalesce(sum(length(payload::text)), 0)::int as size"
            " from quarantined_fixes where device_id = :id",
            id=device_id,
        )
        assert found["size"] < 20 * found["n"]
        kept.append(found["n"])
    assert 0 < kept[0] < kept[1] < kept[2] == kept[3] < 1200
    assert setting.counted(Protocol.OSMAND, "quarantined") == before + 4 * 3000
    assert told(send(client, Protocol.OSMAND, credential)) == OK[Protocol.OSMAND]
    assert len(setting.fixes(device_id)) == 1


def test_an_honest_batch_of_a_thousand_bad_fixes_is_kept_whole(client: FlaskClient, setting: Setting) -> None:
    """F20, F22: a phone whose clock is wrong loses nothing, and three days of it have room in one day."""
    device_id, credential = setting.device(Protocol.OVERLAND)
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [121.4737, 31.2304]},
            "properties": {
                "timestamp": (ago(-90_000) + timedelta(seconds=10 * i)).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "speed": 1, "altitude": 12.5, "course": 90, "horizontal_accuracy": 8, "vertical_accuracy": 4,
                "motion": ["walking"], "battery_state": "unplugged", "battery_level": 0.8,
            },
        }
        for i in range(1000)
    ]  # fmt: skip
    headers = {"Authorization": f"Bearer {credential.secret}"}
    assert (
        told(client.post("/gateway/overland", json={"locations": features}, headers=headers))
        == OK[Protocol.OVERLAND]
    )
    assert setting.quarantined(device_id) == ["future"] * 1000
    used = tracks._ingest().quarantine._used[device_id]
    assert used * 25.92 < DAY_BYTES


def test_a_revoked_credential_keeps_only_what_was_measured_before(
    client: FlaskClient, setting: Setting
) -> None:
    """F23: whoever finds an old credential cannot fill the quarantine; the backlog is set aside as ever."""
    device_id, old = setting.device(Protocol.OVERLAND)
    with unit_of_work(setting.town.id) as uow:
        devices.renew(uow, setting.supervisor, device_id, command_id=new_id())
    forget()
    good = {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [121.4737, 31.2304]},
        "properties": {"timestamp": ago(600).isoformat()},
    }
    late = {**good, "properties": {"timestamp": ago(-60).isoformat()}}
    headers = {"Authorization": f"Bearer {old.secret}"}
    junk = client.post("/gateway/overland", json={"locations": ["x"] * 500}, headers=headers)
    assert junk.status_code == UNKNOWN[Protocol.OVERLAND]
    mixed = client.post("/gateway/overland", json={"locations": [good, late, *["x"] * 500]}, headers=headers)
    assert told(mixed) == OK[Protocol.OVERLAND]
    assert setting.quarantined(device_id) == ["credential_expired"]


def test_an_sos_is_written_down_even_when_fixes_cannot_be_stored(
    client: FlaskClient, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise Unavailable("full")

    device_id, credential = setting.device(Protocol.OSMAND)
    monkeypatch.setattr(tracks, "ingest", full)
    body = f"id={credential.secret}&lat=31.2304&lon=121.4737&timestamp={int(time.time())}&alarm=sos"
    assert client.post("/gateway/osmand", data=body, content_type=FORM).status_code == 200
    assert len(alarms_of(setting, device_id)) == 1


# --- OwnTracks


def test_owntracks_wants_the_right_user_with_the_right_password(
    client: FlaskClient, setting: Setting
) -> None:
    _, one = setting.device(Protocol.OWNTRACKS)
    _, other = setting.device(Protocol.OWNTRACKS)
    assert one.username is not None
    wrong = [
        {},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + base64.b64encode(b"no colon").decode()},
        {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe:x").decode()},
        {"Authorization": f"Bearer {one.secret}"},
        basic(Credential(other.secret, one.username)),
        basic(Credential("", one.username)),
        basic(Credential(one.secret, "")),
    ]
    for headers in wrong:
        response = client.post("/gateway/owntracks", json={"_type": "status"}, headers=headers)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic ")
    response = client.post("/gateway/owntracks?u=else&d=where", json={"_type": "status"}, headers=basic(one))
    assert told(response) == OK[Protocol.OWNTRACKS]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"_type":"status"}',
        b'{"_type":"waypoints","waypoints":[]}',
        b'{"_type":"encrypted","data":"AAAA"}',
        b'{"_type":"tomorrow"}',
        b"{",
        b"[" * 100_000,
        b"null",
    ],
)
def test_owntracks_is_answered_the_same_whatever_it_says(
    client: FlaskClient, setting: Setting, body: bytes
) -> None:
    """F72, F73: it never gives up on what it was refused."""
    device_id, credential = setting.device(Protocol.OWNTRACKS)
    response = client.post("/gateway/owntracks", data=body, headers=basic(credential))
    assert told(response) == OK[Protocol.OWNTRACKS]
    reasons = {b"{": "unreadable", b"[" * 100_000: "unreadable", b"null": "unreadable"}
    expected = "encrypted" if b"encrypted" in body else reasons.get(body)
    assert setting.quarantined(device_id) == ([expected] if expected else [])


# --- Overland


def test_overland_reads_the_devices_name(client: FlaskClient, setting: Setting) -> None:
    _, credential = setting.device(Protocol.OVERLAND)
    response = client.get("/gateway/overland", headers={"Authorization": f"Bearer {credential.secret}"})
    assert told(response) == (200, b'{"name": "tracker overland"}', "application/json")
    assert client.get("/gateway/overland").status_code == 401


def test_a_batch_of_thousands_with_trips_and_visits_is_stored_whole(
    client: FlaskClient, setting: Setting
) -> None:
    """F19, F22: out of order, with a backlog of hours."""
    device_id, credential = setting.device(Protocol.OVERLAND)
    features: list[dict[str, Any]] = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [121.47, 31.23 + i / 1e6]},
            "properties": {"timestamp": ago(3600 - i).strftime("%Y-%m-%dT%H:%M:%S+0000"), "speed": 1},
        }
        for i in range(3000)
    ]
    features[100:100] = [
        {"type": "Feature", "properties": {"action": "paused", "timestamp": "2026-01-01T00:00:00Z"}},
        {
            "type": "Feature",
            "geometry": None,
            "properties": {"type": "trip", "timestamp": "2026-01-01T00:00:00Z"},
        },
    ]
    response = client.post(
        "/gateway/overland",
        json={"locations": features[::-1], "current": features[-1]},
        headers={"Authorization": f"Bearer {credential.secret}"},
    )
    assert told(response) == OK[Protocol.OVERLAND]
    stored = setting.fixes(device_id)
    assert len(stored) == 3000
    assert [fix["lat"] for fix in stored] == sorted(fix["lat"] for fix in stored)
    assert setting.quarantined(device_id) == []


def test_overlands_owntracks_mode_waits_for_overlands_answer(client: FlaskClient, setting: Setting) -> None:
    device_id, credential = setting.device(Protocol.OVERLAND)
    message = {"_type": "location", "lat": 31.2304, "lon": 121.4737, "tst": int(time.time()), "vel": 4}
    response = client.post(
        "/gateway/overland", json=message, headers={"Authorization": f"Bearer {credential.secret}"}
    )
    assert told(response) == OK[Protocol.OVERLAND]
    assert len(setting.fixes(device_id)) == 1


# --- GPSLogger


def test_gpsloggers_profile_is_downloaded_by_its_link(client: FlaskClient, setting: Setting) -> None:
    device_id, credential = setting.device(Protocol.GPSLOGGER)
    path = f"/gateway/gpslogger/{credential.secret}/xungeng.properties"
    response = client.get(path)
    assert response.status_code == 200
    assert f"log_customurl_url=http://localhost/gateway/gpslogger/{credential.secret}\n" in response.text
    assert client.get("/gateway/gpslogger/nobody/xungeng.properties").status_code == 404
    with unit_of_work(setting.town.id) as uow:
        devices.revoke(uow, setting.supervisor, device_id, command_id=new_id())
    forget()
    assert client.get(path).status_code == 404


# --- Nothing brings a gateway down


JUNK = st.binary(max_size=300) | st.sampled_from(
    [b"{", b"[" * 5000, b"null", b'{"_type":"location","lat":NaN}', b'{"locations":[null]}', b"lat=1&lat=2&lon=\xff",
     b'{"device_id":"\\ud800"}', b"%", b"&&&=", b'{"locations":' + b"9" * 5000 + b"}"]
)  # fmt: skip
TYPES = st.sampled_from(
    [FORM, "application/json", "text/plain", "", "application/json; charset=utf-16", "multipart/form-data"]
)


@pytest.fixture
def credentials(setting: Setting) -> dict[Protocol, tuple[Any, Credential]]:
    return {protocol: setting.device(protocol) for protocol in ALL}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    protocol=st.sampled_from(ALL),
    known=st.booleans(),
    query=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=60),
    body=JUNK,
    kind=TYPES,
    encoding=st.sampled_from(["", "gzip", "identity"]),
)
def test_no_request_is_answered_by_an_error_of_ours_and_both_paths_agree(
    ordinary_app: Any,
    hot_app: Any,
    credentials: dict[Protocol, tuple[Any, Credential]],
    protocol: Protocol,
    known: bool,
    query: str,
    body: bytes,
    kind: str,
    encoding: str,
) -> None:
    """F71-F73: never a 5xx, never a page of HTML, and the raw route's verdict equals Flask's."""
    credential = credentials[protocol][1] if known else Credential("nobody", "nobody")
    path = {
        Protocol.OSMAND: f"/gateway/osmand/{credential.secret}",
        Protocol.OWNTRACKS: "/gateway/owntracks",
        Protocol.OVERLAND: "/gateway/overland",
        Protocol.GPSLOGGER: f"/gateway/gpslogger/{credential.secret}",
    }[protocol]
    headers = {"Content-Type": kind, "Content-Encoding": encoding}
    if protocol is Protocol.OWNTRACKS:
        headers |= basic(credential)
    if protocol is Protocol.OVERLAND:
        headers["Authorization"] = f"Bearer {credential.secret}"
    answers = [
        told(app.test_client().post(path, query_string=query, data=body, headers=headers))
        for app in (ordinary_app, hot_app)
    ]
    assert answers[0] == answers[1]
    status = answers[0][0]
    assert status < 500
    if known:
        assert status == 200 or (encoding == "gzip" and status == 400)
    else:
        assert status in (UNKNOWN[protocol], 404, 400)


def test_both_paths_serve_the_same_addresses(ordinary_app: Any, hot_app: Any) -> None:
    """The table of answers is what both of them read."""
    from mobile_api.gateway.answers import ANSWERS

    rules = {
        rule.rule.rstrip("/")
        for rule in ordinary_app.url_map.iter_rules()
        if rule.rule.startswith("/gateway/")
    }
    assert rules == set(ANSWERS)


def test_one_device_cannot_flood_the_gate(
    client: FlaskClient, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "BUCKETS", limits.Buckets(0.01, 3))
    _, flooding = setting.device(Protocol.OSMAND)
    _, other = setting.device(Protocol.OSMAND)
    statuses = [send(client, Protocol.OSMAND, flooding, at=ago(i)).status_code for i in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    assert int(send(client, Protocol.OSMAND, flooding).headers["Retry-After"]) > 0
    assert told(send(client, Protocol.OSMAND, other)) == OK[Protocol.OSMAND]


def test_guessing_raises_an_alarm_and_shuts_nobody_out(client: FlaskClient, setting: Setting) -> None:
    """F43: whole towns of phones share an address; the one with the right credential goes on."""
    from backend.core.metrics import ENUMERATION_ALERTS

    _, credential = setting.device(Protocol.OSMAND)
    before = ENUMERATION_ALERTS._value.get()
    for i in range(70):
        assert (
            client.get(
                f"/gateway/osmand/guess{i}?lat=31&lon=121", environ_base={"REMOTE_ADDR": "203.0.113.7"}
            ).status_code
            == 400
        )
    assert ENUMERATION_ALERTS._value.get() >= before + (1 if _fresh("203.0.113.7") else 0)
    assert told(send(client, Protocol.OSMAND, credential)) == OK[Protocol.OSMAND]


def _fresh(address: str) -> bool:
    from mobile_api.gateway.delivery import MISSES

    return MISSES._counts.get(address, 0) == 70
