"""Where officers were: trails, replays, exports, imports; each look is written down."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from backend.core.uow import unit_of_work
from geo import gpx
from tests.api.conftest import Caller, World
from tests.api.test_shifts import start
from workflows import closed_days

GPX_TYPE = "application/gpx+xml"
SAMPLE = """<?xml version="1.0" encoding="UTF-8"?>
<gpx version="1.1" creator="Recorder 4" xmlns="http://www.topografix.com/GPX/1/1"
     xmlns:gpxtpx="http://www.garmin.com/xmlschemas/TrackPointExtension/v1" xmlns:own="urn:example:own">
  <metadata><name>夜班 Night &amp; day</name><time>2026-10-01T12:00:00Z</time></metadata>
  <wpt lat="31.1000" lon="121.30"><name>岗亭</name></wpt>
  <trk>
    <name>巡逻一号</name><desc>first round</desc>
    <trkseg>
      <trkpt lat="31.10000010" lon="121.3000"><ele>4.50</ele><time>2026-10-01T12:00:00Z</time>
        <extensions><gpxtpx:TrackPointExtension><gpxtpx:hr>71</gpxtpx:hr></gpxtpx:TrackPointExtension>
        <own:note lang="zh">东门</own:note></extensions></trkpt>
      <trkpt lat="31.10010" lon="121.30012"><ele>4.6</ele><time>2026-10-01T12:00:10.250Z</time></trkpt>
    </trkseg>
    <trkseg>
      <trkpt lat="31.1020" lon="121.3020"><time>2026-10-01T12:30:00+08:00</time></trkpt>
      <trkpt lat="31.1021" lon="121.3021"><time>2026-10-01T12:31:00+08:00</time></trkpt>
    </trkseg>
  </trk>
</gpx>
"""


def send(caller: Caller, shift: dict[str, Any], fixes: list[tuple[float, float, float]], **more: Any) -> Any:
    """Send fixes (epoch_s, lon, lat) from the shift's phone."""
    body = {
        "device_id": shift["device_id"],
        "sent_at": datetime.now(UTC).isoformat(),
        "fixes": [
            {
                "fixed_at": datetime.fromtimestamp(at, UTC).isoformat(),
                "lon": lon,
                "lat": lat,
                "accuracy_m": 5,
                **more,
            }
            for at, lon, lat in fixes
        ],
    }
    answer = caller.send("POST", "/api/v1/officer/fixes", body)
    assert answer.status_code == 200, answer.text
    return answer.json


@pytest.fixture
def on_duty(world: World, signed_in: Any) -> Any:
    """A new officer of community A whose shift began two hours ago, by the database's word."""

    def make() -> tuple[Any, Caller, dict[str, Any]]:
        officer = world.officer("a")
        caller = signed_in(officer)
        shift = start(caller)
        with world.owner.begin() as connection:
            connection.execute(
                text("update shifts set started_at = now() - interval '2 hours' where id = :id"),
                {"id": shift["id"]},
            )
            connection.execute(
                text("select pg_notify('xungeng_shifts', :p)"),
                {"p": f'{{"town_id": "{world.here.id}", "officer_id": "{officer.id}"}}'},
            )
        from workflows import tracks

        tracks._ingest()._forget()
        return officer, caller, shift

    return make


def test_a_replay_draws_what_was_sent_with_gaps_as_gaps(world: World, signed_in: Any, on_duty: Any) -> None:
    officer, caller, shift = on_duty()
    now = time.time()
    lon, lat = world.here.place()
    first = [(now - 3000 + n * 5, lon + n * 1e-5, lat) for n in range(50)]
    second = [(now - 600 + n * 5, lon, lat + n * 1e-5) for n in range(40)]
    assert send(caller, shift, [*second, *reversed(first)])["stored"] == 90
    desk = signed_in("desk_a")
    look = {
        "officer_ids": [str(officer.id)],
        "from": datetime.fromtimestamp(now - 3600, UTC).isoformat(),
        "to": datetime.fromtimestamp(now, UTC).isoformat(),
        "reason": "a citizen asked",
    }
    answer = desk.post("/api/v1/desk/replays", look)
    assert answer.status_code == 201, answer.text
    (track,) = answer.json["tracks"]
    assert [len(s) for s in track["segments"]] == [50, 40]
    assert track["fix_count"] == 90
    assert not track["thinned"]
    drawn = [point for segment in track["segments"] for point in segment]
    for (at, x, y), (lon_, lat_, epoch_s, _) in zip([*first, *second], drawn, strict=True):
        assert abs(epoch_s - at) < 0.1
        assert abs(lon_ - x) < 1e-6
        assert abs(lat_ - y) < 1e-6
    trail = desk.get(f"/api/v1/desk/officers/{officer.id}/trail").json["segments"]
    assert len(trail) == 2

    looks = caller.get("/api/v1/officer/disclosures").json["items"]
    assert [(x["kind"], x["reason"], x["by"]) for x in looks] == [
        ("trail", "live map", "here desk_a"),
        ("replay", "a citizen asked", "here desk_a"),
    ]


def test_two_devices_of_one_officer_make_one_track(world: World, signed_in: Any, on_duty: Any) -> None:
    """Fixes of a phone and a tracker that measured in turn are all drawn, in the order of their times."""
    officer, caller, shift = on_duty()
    now = time.time()
    lon, lat = world.here.place()
    created = signed_in("supervisor").post(
        "/api/v1/desk/devices", {"officer_id": str(officer.id), "name": "Tracker", "protocol": "osmand"}
    )
    key = created.json["provisioning"]["id"]
    for n in range(10):
        at = now - 200 + n * 10
        if n % 2:
            send(caller, shift, [(at, lon, lat + n * 1e-5)])
        else:
            query = {"id": key, "lat": lat + n * 1e-5, "lon": lon, "timestamp": int(at), "accuracy": 5}
            assert Caller(world.app).get("/gateway/osmand", **query).status_code == 200
    look = {
        "officer_ids": [str(officer.id)],
        "from": datetime.fromtimestamp(now - 3600, UTC).isoformat(),
        "to": datetime.fromtimestamp(now, UTC).isoformat(),
        "reason": "two devices",
    }
    (track,) = signed_in("desk_a").post("/api/v1/desk/replays", look).json["tracks"]
    (segment,) = track["segments"]
    assert [round((point[1] - lat) * 1e5) for point in segment] == list(range(10))


def test_a_replay_without_a_reason_or_over_a_long_time_is_refused(world: World, signed_in: Any) -> None:
    desk = signed_in("desk_a")
    whom = {"officer_ids": [str(world.here["officer_a"].id)]}
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    assert desk.post("/api/v1/desk/replays", {**whom, **span}).status_code == 422
    long = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-09T00:00:01Z", "reason": "why"}
    assert desk.post("/api/v1/desk/replays", {**whom, **long}).status_code == 422
    assert desk.post("/api/v1/desk/replays", {**span, "reason": "why"}).status_code == 422
    backwards = {"from": span["to"], "to": span["from"], "reason": "why"}
    assert desk.post("/api/v1/desk/replays", {**whom, **backwards}).status_code == 422


def test_a_look_that_cannot_be_written_down_is_not_given(
    world: World, signed_in: Any, monkeypatch: Any
) -> None:
    """F51: no disclosure, no answer."""
    from workflows import journal

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("cannot write")

    monkeypatch.setattr(journal, "disclose", fail)
    world.app.config["PROPAGATE_FAILURES"] = False
    try:
        answer = signed_in("desk_a").post(
            "/api/v1/desk/replays",
            {
                "officer_ids": [str(world.here["officer_a"].id)],
                "from": "2026-01-01T00:00:00Z",
                "to": "2026-01-02T00:00:00Z",
                "reason": "why",
            },
        )
    finally:
        world.app.config["PROPAGATE_FAILURES"] = True
    assert answer.status_code == 500
    assert "tracks" not in answer.text


def test_flagged_fixes_are_kept_and_not_drawn(world: World, signed_in: Any, on_duty: Any) -> None:
    """F21: a mock point and a jump are in the officer's own track with their flags, and in no replay."""
    officer, caller, shift = on_duty()
    now = time.time()
    lon, lat = world.here.place()
    send(caller, shift, [(now - 100 + n * 5, lon, lat + n * 1e-5) for n in range(10)])
    send(caller, shift, [(now - 48, lon + 0.05, lat)])
    send(caller, shift, [(now - 40, lon, lat + 2e-4)], mock=True)
    own = caller.get(f"/api/v1/officer/shifts/{shift['id']}/track").json["items"]
    assert sorted(flag for point in own for flag in point["flags"]) == ["impossible_speed", "mock"]
    live = signed_in("desk_a").get(f"/api/v1/desk/officers/{officer.id}").json
    assert abs(live["position"]["lon"] - lon) < 1e-6
    look = {
        "officer_ids": [str(officer.id)],
        "from": datetime.fromtimestamp(now - 3600, UTC).isoformat(),
        "to": datetime.fromtimestamp(now, UTC).isoformat(),
        "reason": "check",
    }
    track = signed_in("desk_a").post("/api/v1/desk/replays", look).json["tracks"][0]
    assert sum(len(s) for s in track["segments"]) == 10
    assert track["fix_count"] == 12


def test_an_officers_own_track_pages_and_exports(world: World, on_duty: Any) -> None:
    _officer, caller, shift = on_duty()
    now = time.time()
    lon, lat = world.here.place()
    send(caller, shift, [(now - 900 + n * 3, lon, lat + n * 1e-5) for n in range(250)])
    path = f"/api/v1/officer/shifts/{shift['id']}/track"
    seen, cursor = [], None
    while True:
        page = caller.get(path, limit=100, **({"cursor": cursor} if cursor else {})).json
        seen += [point["fixed_at"] for point in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == 250
    assert seen == sorted(seen)
    document = gpx.read(caller.get(f"{path}.gpx").data)
    assert sum(len(s.points) for t in document.tracks for s in t.segments) == 250


def test_a_gpx_track_imports_replays_and_exports_without_loss(world: World, signed_in: Any) -> None:
    """Coordinates, elevation, time, segments, names and extensions come back as they went in."""
    supervisor = signed_in("supervisor")
    answer = supervisor.send(
        "POST", "/api/v1/desk/imported-tracks", data=SAMPLE.encode(), content_type=GPX_TYPE
    )
    assert answer.status_code == 201, answer.text
    (track,) = answer.json["items"]
    assert (track["name"], track["point_count"]) == ("巡逻一号", 4)
    points = supervisor.get(f"/api/v1/desk/imported-tracks/{track['id']}").json["segments"]
    assert [len(s) for s in points] == [2, 2]
    assert points[0][0][:3] == [121.3, 31.1000001, datetime(2026, 10, 1, 12, tzinfo=UTC).timestamp()]
    exported = supervisor.get(f"/api/v1/desk/imported-tracks/{track['id']}.gpx")
    assert exported.headers["Content-Disposition"].startswith("attachment")
    before, after = gpx.read(SAMPLE.encode()), gpx.read(exported.data)
    assert after.tracks == before.tracks
    assert gpx.canonical(gpx.write(after)) == gpx.canonical(exported.data)
    assert track["id"] in supervisor.get("/api/v1/desk/imported-tracks").text
    assert signed_in("supervisor_a").get(f"/api/v1/desk/imported-tracks/{track['id']}").status_code == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "bad_gpx"),
        (b"<gpx>", "bad_gpx"),
        (SAMPLE.replace("31.10010", "91").encode(), "bad_gpx"),
        (SAMPLE.replace("<time>2026-10-01T12:00:10.250Z</time>", "").encode(), "no_timed_track"),
        (
            b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + SAMPLE.encode().partition(b"?>")[2],
            "bad_gpx",
        ),
    ],
)
def test_a_bad_document_is_refused_with_a_reason(
    world: World, signed_in: Any, body: bytes, code: str
) -> None:
    answer = signed_in("supervisor").send(
        "POST", "/api/v1/desk/imported-tracks", data=body, content_type=GPX_TYPE
    )
    assert (answer.status_code, answer.json["code"]) == (422, code)


def test_a_closed_day_keeps_a_thinned_track_and_late_fixes_make_it_again(
    world: World, signed_in: Any, on_duty: Any
) -> None:
    officer, _, shift = on_duty()
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    since, _ = closed_days.bounds(yesterday)
    noon = since + timedelta(hours=12)
    with world.owner.begin() as connection:
        connection.execute(
            text("update shifts set started_at = :since where id = :id"), {"since": noon, "id": shift["id"]}
        )
        insert = text(
            "insert into fixes (town_id, device_id, fixed_at, seq, shift_id, geom, flags, received_at)"
            " select :town, :device, cast(:noon as timestamptz) + t * interval '5 seconds', 0, :shift,"
            " ST_SetSRID(ST_MakePoint(121.305 + t * 1e-5, 31.105), 4326), 0, now()"
            " from generate_series(cast(:first as int), cast(:last as int)) t"
        )
        values = {"town": world.here.id, "device": shift["device_id"], "noon": noon, "shift": shift["id"]}
        connection.execute(insert, {**values, "first": 1, "last": 500})
    with unit_of_work(world.here.id) as uow:
        while closed_days.close(uow, yesterday):
            pass
    assert _closed(world, officer, yesterday) == (500, 2)
    with world.owner.begin() as connection:
        connection.execute(insert, {**values, "first": 1000, "last": 1099})
        connection.execute(
            text("insert into late_days values (:town, :officer, :day)"),
            {"town": world.here.id, "officer": officer.id, "day": yesterday},
        )
    with unit_of_work(world.here.id) as uow:
        assert closed_days.close(uow, yesterday) == 1
        assert closed_days.close(uow, yesterday) == 0
    assert _closed(world, officer, yesterday) == (600, 4)


def _closed(world: World, officer: Any, day: Any) -> tuple[int, int]:
    from geo import packing

    with world.owner.connect() as connection:
        row = connection.execute(
            text("select fix_count, points from track_days where officer_id = :officer and day = :day"),
            {"officer": officer.id, "day": day},
        ).one()
    return row.fix_count, len(packing.unpack(row.points)[0])


def test_an_unknown_officer_is_not_replayed(signed_in: Any) -> None:
    look = {
        "officer_ids": [str(uuid.uuid4())],
        "from": "2026-01-01T00:00:00Z",
        "to": "2026-01-02T00:00:00Z",
        "reason": "why",
    }
    assert signed_in("supervisor").post("/api/v1/desk/replays", look).status_code == 404
