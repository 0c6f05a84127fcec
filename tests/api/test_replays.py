"""Where officers were: trails, replays, exports, imports; each look is written down."""

from __future__ import annotations

import json
import threading
import time
import uuid
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import text

from backend import worker
from backend.core.identity import Actor, Membership
from backend.core.uow import unit_of_work
from backend.core.vocabulary import Role
from geo import gpx, motion, packing
from geo.fixes import Fix
from tests.api.conftest import Caller, World
from tests.api.test_shifts import start
from tests.factories import Person
from workflows import closed_days, imported_tracks, replays, tracks, tracks_of
from workflows.remembered import DeviceIdentity

VECTORS = json.loads(
    (Path(__file__).parents[2] / "web/tests/motion-vectors.json").read_text(encoding="utf-8")
)
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

        tracks._ingest().remembered.forget()
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


def test_whoever_walks_with_a_phone_that_tells_no_speed_is_shown_as_moving(
    world: World, signed_in: Any, on_duty: Any
) -> None:
    """Trackers such as OsmAnd may leave the speed out; the place decides then, in the list and for one officer."""
    walker, _, _ = on_duty()
    waiter, _, _ = on_duty()
    lon, lat = world.here.place()
    now = time.time()
    desk, supervisor = signed_in("desk_a"), signed_in("supervisor")
    for officer, metres in ((walker, 13), (waiter, 0.5)):
        device = {"officer_id": str(officer.id), "name": "Tracker", "protocol": "osmand"}
        key = supervisor.post("/api/v1/desk/devices", device).json["provisioning"]["id"]
        for n in range(12):
            place = {"lat": lat + n * metres / 111_195, "lon": lon, "timestamp": int(now - 120 + n * 10)}
            assert Caller(world.app).get("/gateway/osmand", id=key, **place).status_code == 200

    def seen(status: str) -> set[str]:
        found, cursor = set(), None
        while True:
            more = {"cursor": cursor} if cursor else {}
            page = desk.get("/api/v1/desk/officers", status=status, limit=1, **more).json
            found |= {one["id"] for one in page["items"]}
            cursor = page["next"]
            if cursor is None:
                return found

    for officer, status, other in ((walker, "moving", "still"), (waiter, "still", "moving")):
        one = desk.get(f"/api/v1/desk/officers/{officer.id}").json
        assert (one["status"], one["position"]["speed_mps"]) == (status, None)
        assert str(officer.id) in seen(status)
        assert str(officer.id) not in seen(other)


def test_the_list_tells_movement_by_the_rule_that_the_desk_client_folds_by(
    world: World, signed_in: Any, on_duty: Any
) -> None:
    """The vectors are those of the client (`web/tests/desk/roster.test.ts`), sent as a phone sends them."""
    lon, lat = world.here.place()
    desk = signed_in("desk_a")
    for vector in VECTORS:
        officer, caller, shift = on_duty()
        begun = time.time() - 10 - vector["fixes"][-1][0]
        fixes = [
            {
                "fixed_at": datetime.fromtimestamp(begun + at, UTC).isoformat(),
                "lon": lon, "lat": lat + north_m / 111_195, "speed_mps": speed_mps, "accuracy_m": accuracy_m,
            }
            for at, north_m, speed_mps, accuracy_m in vector["fixes"]
        ]  # fmt: skip
        body = {
            "device_id": shift["device_id"],
            "sent_at": datetime.now(UTC).isoformat(),
            "fixes": fixes,
        }
        sent = caller.post("/api/v1/officer/fixes", body)
        assert sent.status_code == 200, sent.text
        one = desk.get(f"/api/v1/desk/officers/{officer.id}").json
        assert one["status"] == ("moving" if vector["moving"] else "still"), vector["name"]


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


def test_what_the_operator_imports_is_for_those_who_see_the_whole_town(world: World, signed_in: Any) -> None:
    operator = Actor(None, world.here.id, None, (Membership(Role.SUPERVISOR, world.here.areas["town"]),))
    with unit_of_work(world.here.id) as uow:
        (track,) = imported_tracks.import_gpx(
            uow, operator, SAMPLE.encode(), command_id=uuid.uuid4(), officer_id=None, name="From the file"
        )
    path = f"/api/v1/desk/imported-tracks/{track.id}"
    assert signed_in("supervisor").get(path).json["name"] == "From the file"
    assert signed_in("supervisor_a").get(path).status_code == 404


def gpx_at(*moments: datetime, more: str = "") -> bytes:
    """A document with a track of points at these moments, and whatever else stands before it."""
    points = "".join(
        f'<trkpt lat="{31.1 + n / 1000}" lon="121.3"><time>{at.isoformat()}</time></trkpt>'
        for n, at in enumerate(moments)
    )
    return (
        '<gpx version="1.1" creator="x" xmlns="http://www.topografix.com/GPX/1/1">'
        f"{more}<trk><name>round</name><trkseg>{points}</trkseg></trk></gpx>"
    ).encode()


def bring(caller: Caller, body: bytes, officer: Person | None = None) -> Any:
    """Import a document, as an officer's or as nobody's."""
    whose = f"?officer_id={officer.id}" if officer else ""
    return caller.send("POST", f"/api/v1/desk/imported-tracks{whose}", data=body, content_type=GPX_TYPE)


def imported_rows(world: World, officer: Person) -> int:
    with world.owner.connect() as connection:
        return connection.execute(
            text("select count(*) from imported_tracks where officer_id = :id"), {"id": officer.id}
        ).scalar_one()


def test_a_track_said_to_be_an_officers_lies_within_his_shifts_or_is_not_kept(
    world: World, signed_in: Any
) -> None:
    """P21, F24: a file is no way around the gate; off-duty points stored: 0. Nobody's track is kept whole (P22)."""
    officer = world.officer("a")
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
    works(world, officer, began, hours=4, fixes=0)
    supervisor = signed_in("supervisor_a")
    on = [began, began + timedelta(hours=2), began + timedelta(hours=4)]
    off = began + timedelta(hours=4, seconds=1)
    place = f'<wpt lat="31" lon="121"><time>{off.isoformat()}</time></wpt>'
    untimed = '<trk><trkseg><trkpt lat="31" lon="121"/></trkseg></trk>'
    for body, told in (
        (gpx_at(*on, off), "1 of 4"),
        (gpx_at(began - timedelta(seconds=1), *on, off), "2 of 5"),
        (gpx_at(*on, more=place), "1 of 4"),
        (gpx_at(*on, more=untimed), "1 of 4"),
        (gpx_at(datetime(2001, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=9)), "2 of 2"),
    ):
        refused = bring(supervisor, body, officer)
        assert (refused.status_code, refused.json["code"]) == (422, "off_shift"), refused.text
        assert told in refused.json["detail"]
        assert imported_rows(world, officer) == 0
        nobodys = bring(supervisor, body)
        assert nobodys.status_code == 201
        kept = supervisor.get(f"/api/v1/desk/imported-tracks/{nobodys.json['items'][0]['id']}.gpx")
        assert gpx.canonical(kept.data) == gpx.canonical(body)

    whole = bring(supervisor, gpx_at(*on), officer)
    assert whole.status_code == 201
    path = f"/api/v1/desk/imported-tracks/{whole.json['items'][0]['id']}.gpx"
    assert gpx.canonical(supervisor.get(path, reason="complaint 12").data) == gpx.canonical(gpx_at(*on))


def test_an_imported_track_is_for_the_desk_of_its_shift_wherever_its_officer_belongs(
    world: World, signed_in: Any
) -> None:
    """F41, P22: who comes to another area brings no tracks along, and its desk neither opens nor deletes them."""
    officer = world.officer("a")
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
    works(world, officer, began, hours=4, area="a", fixes=0)
    brought = bring(signed_in("supervisor_a"), gpx_at(began, began + timedelta(hours=1)), officer)
    path = f"/api/v1/desk/imported-tracks/{brought.json['items'][0]['id']}"
    with world.owner.begin() as connection:
        connection.execute(
            text("update memberships set area_id = :area where user_id = :id"),
            {"area": world.here.areas["b"], "id": officer.id},
        )
    theirs = world.here["desk_b"]
    with world.owner.begin() as connection:
        connection.execute(
            text("update memberships set role = 'supervisor' where user_id = :id"), {"id": theirs.id}
        )
    try:
        other = Caller(world.app).sign_in(theirs)
        assert other.get(path, reason="curiosity").status_code == 404
        assert other.get(f"{path}.gpx", reason="curiosity").status_code == 404
        assert path.rpartition("/")[2] not in other.get("/api/v1/desk/imported-tracks", limit=500).text
        assert other.send("DELETE", path).status_code == 404
    finally:
        with world.owner.begin() as connection:
            connection.execute(
                text("update memberships set role = 'dispatcher' where user_id = :id"), {"id": theirs.id}
            )
    assert signed_in("supervisor_a").get(path, reason="complaint 12").status_code == 200


def test_what_the_quarantine_says_of_a_place_is_for_those_who_see_tracks_and_is_written_down(
    world: World, signed_in: Any, on_duty: Any
) -> None:
    """F51, P15: a message that could not be filed is a look at a track all the same; admins see none."""
    officer, caller, shift = on_duty()
    lon, lat = world.here.place()
    send(caller, shift, [(time.time() + 900, lon, lat)])

    def listed(name: str) -> list[dict[str, Any]]:
        items = signed_in(name).get("/api/v1/desk/quarantine", limit=500).json["items"]
        with world.owner.connect() as connection:
            own = connection.scalars(
                text("select id::text from devices where officer_id = :id"), {"id": officer.id}
            ).all()
        return [item for item in items if item["device_id"] in own]

    (for_admin,) = listed("admin")
    assert (for_admin["reason"], for_admin["payload"]) == ("future", {})
    assert caller.get("/api/v1/officer/disclosures").json["items"] == []
    (for_supervisor,) = listed("supervisor_a")
    assert for_supervisor["payload"]["lon"] == lon
    (look,) = caller.get("/api/v1/officer/disclosures").json["items"]
    assert (look["kind"], look["reason"], look["by"]) == ("trail", "quarantine", "here supervisor_a")


def test_a_running_shift_takes_a_track_up_to_now_and_another_areas_shift_none(
    world: World, signed_in: Any
) -> None:
    """P21, P22: what has not happened yet lies in no shift; a shift in another area is not this desk's to fill."""
    officer = world.officer("a")
    shift = start(signed_in(officer))
    supervisor = signed_in("supervisor_a")
    began = datetime.fromisoformat(shift["started_at"]) + timedelta(milliseconds=1)
    assert bring(supervisor, gpx_at(began), officer).status_code == 201
    assert bring(supervisor, gpx_at(began, began + timedelta(hours=1)), officer).json["code"] == "off_shift"
    lent = world.officer("a")
    then = datetime.now(UTC) - timedelta(days=1)
    works(world, lent, then, area="b", fixes=0)
    assert bring(supervisor, gpx_at(then + timedelta(hours=1)), lent).json["code"] == "off_shift"
    assert bring(signed_in("supervisor"), gpx_at(then + timedelta(hours=1)), lent).status_code == 201


def test_an_officers_imported_track_is_looked_at_with_a_reason_and_exported_by_right(
    world: World, signed_in: Any
) -> None:
    """F51, P15: the look and the export are written down with their reasons; without one nothing is given out."""
    officer = world.officer("a")
    began = datetime.now(UTC) - timedelta(days=1)
    works(world, officer, began, fixes=0)
    supervisor, desk = signed_in("supervisor_a"), signed_in("desk_a")
    (track,) = bring(supervisor, gpx_at(began + timedelta(hours=1)), officer).json["items"]
    path = f"/api/v1/desk/imported-tracks/{track['id']}"
    for refused in (desk.get(path), desk.get(path, reason="x"), supervisor.get(f"{path}.gpx")):
        assert refused.status_code == 422
        assert "reason" in refused.json["errors"]
    assert desk.get(f"{path}.gpx", reason="complaint 12").status_code == 403
    for caller, actions in ((desk, []), (supervisor, ["export", "delete"])):
        listed = {one["id"]: one for one in caller.get("/api/v1/desk/imported-tracks").json["items"]}
        assert (listed[track["id"]]["officer"], listed[track["id"]]["actions"]) == (track["officer"], actions)
    mine = signed_in(officer)
    assert mine.get("/api/v1/officer/disclosures").json["items"] == []

    assert len(desk.get(path, reason="complaint 12").json["segments"]) == 1
    assert supervisor.get(f"{path}.gpx", reason="court order 3").status_code == 200
    looks = mine.get("/api/v1/officer/disclosures").json["items"]
    assert {(x["kind"], x["by"], x["reason"]) for x in looks} == {
        ("replay", "here desk_a", "complaint 12"),
        ("export", "here supervisor_a", "court order 3"),
    }
    (nobodys,) = bring(supervisor, gpx_at(began)).json["items"]
    path = f"/api/v1/desk/imported-tracks/{nobodys['id']}"
    assert [supervisor.get(p).status_code for p in (path, f"{path}.gpx")] == [200, 200]


def test_what_belongs_to_no_track_of_a_file_is_kept_once(world: World, signed_in: Any) -> None:
    """F64: fifty tracks and ten thousand waypoints are kept as they are, not as half a million waypoints."""
    one = '<trk><trkseg><trkpt lat="1" lon="1"><time>2026-01-01T00:00:00Z</time></trkpt></trkseg></trk>'
    places = "".join(f'<wpt lat="1" lon="2"><name>{uuid.uuid4()}</name></wpt>' for _ in range(10_000))
    root = '<gpx version="1.1" creator="x" xmlns="http://www.topografix.com/GPX/1/1">'
    answer = bring(signed_in("supervisor"), f"{root}{places}{one * 50}</gpx>".encode())
    assert answer.status_code == 201
    ids = [track["id"] for track in answer.json["items"]]
    with world.owner.connect() as connection:
        sizes = connection.execute(
            text("select length(document) from imported_tracks where id = any(cast(:ids as uuid[]))"),
            {"ids": ids},
        )
        first, *others = sorted(sizes.scalars(), reverse=True)
    assert len(others) == 49
    assert max(others) < 1000 < 100_000 < first


def test_a_large_file_is_read_before_a_transaction_is_open(
    world: World, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F75: reading takes seconds of a thread's time, and none of a connection's; a bad file is kept as an answer."""
    caller, read = signed_in("supervisor"), imported_tracks.gpx.read
    open_then: list[int] = []

    def watched(data: bytes) -> Any:
        open_then.append(world.engine.pool.checkedout())  # type: ignore[attr-defined]
        return read(data)

    monkeypatch.setattr(imported_tracks.gpx, "read", watched)
    assert bring(caller, SAMPLE.encode()).status_code == 201
    key = uuid.uuid4()
    for replayed in (False, True):
        answer = caller.send(
            "POST", "/api/v1/desk/imported-tracks", data=b"<gpx>", content_type=GPX_TYPE, key=key
        )
        assert (answer.status_code, answer.json["code"]) == (422, "bad_gpx")
        assert ("Idempotent-Replay" in answer.headers) == replayed
    assert open_then == [0, 0, 0]


def test_an_imported_track_is_deleted_by_whoever_may_import_it(world: World, signed_in: Any) -> None:
    officer = world.officer("a")
    began = datetime.now(UTC) - timedelta(days=1)
    works(world, officer, began, fixes=0)
    supervisor = signed_in("supervisor_a")
    (track,) = bring(supervisor, gpx_at(began + timedelta(hours=1)), officer).json["items"]
    path = f"/api/v1/desk/imported-tracks/{track['id']}"

    assert signed_in("desk_a").send("DELETE", path).status_code == 403
    assert signed_in("supervisor", world.there).send("DELETE", path).status_code == 404
    key = uuid.uuid4()
    assert [supervisor.send("DELETE", path, key=key).status_code for _ in range(2)] == [204, 204]
    assert supervisor.get(path, reason="gone").status_code == 404
    assert supervisor.send("DELETE", path).status_code == 404
    with world.owner.connect() as connection:
        acts = connection.execute(
            text("select action from journal where subject_id = :id order by at"), {"id": track["id"]}
        )
        assert list(acts.scalars()) == ["import", "delete"]


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


def yesterday_of(world: World) -> tuple[date, datetime, datetime]:
    """Yesterday in the town, and its bounds as the desk asks for them."""
    with unit_of_work(world.here.id) as uow:
        zone = closed_days.zone_of(uow)
    day = datetime.now(zone).date() - timedelta(days=1)
    return day, *closed_days.bounds(day, zone)


def works(
    world: World, officer: Person, since: datetime, *, hours: float = 4, area: str = "a", fixes: int = 500
) -> tuple[UUID, UUID]:
    """Give an officer a shift that is over, with a fix every five seconds; return its id and the phone's."""
    shift_id, device_id = uuid.uuid4(), uuid.uuid4()
    with world.owner.begin() as connection:
        connection.execute(
            text(
                "insert into devices (id, town_id, officer_id, kind, protocol, name, state, created_at)"
                " values (:id, :town, :officer, 'phone', 'officer', 'Phone', 'active', now())"
            ),
            {"id": device_id, "town": world.here.id, "officer": officer.id},
        )
        connection.execute(
            text(
                "insert into shifts (id, town_id, officer_id, area_id, state, started_at, closes_at, ended_at,"
                " ended_by) values (:id, :town, :officer, :area, 'ended', :since, :until, :until, 'self')"
            ),
            {
                "id": shift_id, "town": world.here.id, "officer": officer.id, "area": world.here.areas[area],
                "since": since, "until": since + timedelta(hours=hours),
            },
        )  # fmt: skip
    add_fixes(world, shift_id, device_id, since, 0, fixes)
    return shift_id, device_id


def add_fixes(world: World, shift_id: UUID, device_id: UUID, since: datetime, first: int, count: int) -> None:
    """Insert fixes number ``first`` and following of a straight walk, one every five seconds."""
    with world.owner.begin() as connection:
        connection.execute(
            text(
                "insert into fixes (town_id, device_id, fixed_at, seq, shift_id, geom, flags, received_at)"
                " select :town, :device, cast(:since as timestamptz) + t * interval '5 seconds', 0, :shift,"
                " ST_SetSRID(ST_MakePoint(121.305 + t * 1e-5, 31.105), 4326), 0, now()"
                " from generate_series(cast(:first as int), cast(:last as int)) t"
            ),
            {
                "town": world.here.id, "device": device_id, "since": since, "shift": shift_id,
                "first": first, "last": first + count - 1,
            },
        )  # fmt: skip


def close_days(world: World) -> None:
    with unit_of_work(world.here.id) as uow:
        while closed_days.close_some(uow):
            pass


def replayed(caller: Caller, officers: list[Person], since: datetime, until: datetime) -> Any:
    """Replay officers by name; return the answer with its tracks by officer."""
    answer = caller.post(
        "/api/v1/desk/replays",
        {
            "officer_ids": [str(officer.id) for officer in officers],
            "from": since.isoformat(), "to": until.isoformat(), "reason": "a complaint",
        },
    )  # fmt: skip
    assert answer.status_code == 201, answer.text
    return answer.json | {"tracks": {track["officer_id"]: track for track in answer.json["tracks"]}}


def test_a_day_of_the_town_is_replayed_from_its_closed_tracks_and_late_fixes_make_them_again(
    world: World, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The desk asks from midnight to midnight of the town; whoever is not closed is read fix by fix meanwhile."""
    monkeypatch.setattr(replays, "DAYS_FROM", 2)
    day, since, until = yesterday_of(world)
    assert since.hour == 16, "midnight in China"
    morning = since + timedelta(minutes=30)
    one, other = world.officer("a"), world.officer("a")
    shift_id, device_id = works(world, one, morning)
    works(world, other, morning)
    add_fixes(world, shift_id, device_id, morning, 600, 400)
    desk = signed_in("desk_a")

    before = replayed(desk, [one, other], since, until)
    assert not before["simplified"]
    assert [len(s) for s in before["tracks"][str(one.id)]["segments"]] == [500, 400]

    close_days(world)
    closed = replayed(desk, [one, other], since, until)
    track = closed["tracks"][str(one.id)]
    assert closed["simplified"]
    assert (track["fix_count"], track["thinned"]) == (900, True)
    assert [len(s) for s in track["segments"]] == [2, 2], "straight on, and a gap is a gap"
    first, last = track["segments"][0]
    assert (first[2], last[2]) == (morning.timestamp(), morning.timestamp() + 499 * 5)
    assert first[:2] == [121.305, 31.105]
    part_of_it = replayed(desk, [one, other], since, until - timedelta(hours=1))
    assert not part_of_it["simplified"], "a part of a day is read as measured"

    tracks.ingest(
        DeviceIdentity(device_id, world.here.id, one.id, "officer", "active"),
        [Fix(fixed_at=morning + timedelta(hours=3), lon=121.305, lat=31.105)],
        [],
        "officer",
    )
    late = replayed(desk, [one, other], since, until)
    assert late["tracks"][str(one.id)]["fix_count"] == 901
    assert not late["tracks"][str(one.id)]["thinned"], "what was made is no longer true, so it is not shown"
    assert late["tracks"][str(other.id)]["thinned"]
    close_days(world)
    again = replayed(desk, [one, other], since, until)["tracks"][str(one.id)]
    assert (again["fix_count"], again["thinned"], len(again["segments"])) == (901, True, 3)
    with unit_of_work(world.here.id) as uow:
        assert closed_days.due(uow, day) == []


def test_an_officers_closed_day_is_one_row_that_says_what_its_fixes_said(
    world: World, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay of one officer is the same before and after the day is closed: points, speeds, flags, gaps, length."""
    _, since, until = yesterday_of(world)
    morning = since + timedelta(minutes=30)
    officer = world.officer("a")
    shift_id, device_id = works(world, officer, morning)
    add_fixes(world, shift_id, device_id, morning, 600, 400)
    works(world, officer, morning + timedelta(seconds=2), fixes=40)  # A second phone, at the same time.
    with world.owner.begin() as connection:
        changed = connection.execute(
            text(
                "update fixes set geom = ST_Translate(geom, random() * 1e-3, 0), accuracy_m = 4.5 + random() * 9,"
                " speed_mps = case when random() < 0.8 then random() * 3 end,"
                " flags = case when random() < 0.1 then 2 else 0 end,"
                " fixed_at = fixed_at + random() * interval '1 second' where shift_id = :shift"
            ),
            {"shift": shift_id},
        )
    assert changed.rowcount == 900
    desk = signed_in("desk_a")
    spans = [
        (since, until),
        (since, until + timedelta(minutes=30)),
        (since - timedelta(days=1), until),
        (morning + timedelta(minutes=10), morning + timedelta(minutes=20)),
        (until - timedelta(hours=1), until),
    ]

    def looks() -> list[dict[str, Any]]:
        return [replayed(desk, [officer], *span)["tracks"][str(officer.id)] for span in spans]

    as_measured = looks()
    assert [track["fix_count"] for track in as_measured] == [940, 940, 940, 120, 0]
    assert 700 < sum(map(len, as_measured[0]["segments"])) < 940, "flagged ones are counted and not drawn"
    close_days(world)
    with monkeypatch.context() as patched:
        if until + timedelta(minutes=30) > datetime.now(UTC):
            del spans[1], as_measured[1]
        read: list[Any] = []
        original = tracks_of.read
        patched.setattr(tracks_of, "read", lambda *a, **k: read.append(a) or original(*a, **k))
        from_row = looks()
        assert from_row == as_measured
        assert len(read) <= 1, "what lies in closed days is not read fix by fix"

    tracks.ingest(
        DeviceIdentity(device_id, world.here.id, officer.id, "officer", "active"),
        [Fix(fixed_at=morning + timedelta(hours=3), lon=121.305, lat=31.105)],
        [],
        "officer",
    )
    assert replayed(desk, [officer], since, until)["tracks"][str(officer.id)]["fix_count"] == 941
    close_days(world)
    assert replayed(desk, [officer], since, until)["tracks"][str(officer.id)]["fix_count"] == 941


def test_a_day_that_was_closed_before_rows_had_all_fixes_is_made_again(world: World) -> None:
    day, since, _ = yesterday_of(world)
    officer = world.officer("a")
    works(world, officer, since + timedelta(hours=1), fixes=20)
    close_days(world)
    with world.owner.begin() as connection:
        connection.execute(
            text("update track_days set fixes = null where officer_id = :officer"), {"officer": officer.id}
        )
    with unit_of_work(world.here.id) as uow:
        assert closed_days.due(uow, day) == [officer.id]
    close_days(world)
    with world.owner.begin() as connection:
        packed = connection.scalar(
            text("select fixes from track_days where officer_id = :officer and day = :day"),
            {"officer": officer.id, "day": day},
        )
    assert len(packing.unpack_whole(packed).epoch_s) == 20


def test_a_day_that_got_fixes_weeks_later_is_made_again(world: World, signed_in: Any) -> None:
    """Fixes are taken for thirty days, so the clock looks at each day that got some."""
    officer = world.officer("a")
    _, since, _ = yesterday_of(world)
    since -= timedelta(days=19)
    day = (since + timedelta(hours=12)).date()
    _, device_id = works(world, officer, since + timedelta(hours=2), fixes=0)
    tracks.ingest(
        DeviceIdentity(device_id, world.here.id, officer.id, "officer", "active"),
        [Fix(fixed_at=since + timedelta(hours=3), lon=121.305, lat=31.105)],
        [],
        "officer",
    )
    worker.close_days(0)
    with world.owner.connect() as connection:
        made = connection.execute(
            text("select day, fix_count from track_days where officer_id = :officer"), {"officer": officer.id}
        ).all()
        left = connection.scalar(
            text("select count(*) from late_days where officer_id = :officer"), {"officer": officer.id}
        )
    assert [tuple(row) for row in made] == [(day, 1)]
    assert left == 0


def test_a_shift_in_another_area_is_that_areas_to_replay(
    world: World, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F41, P22: each desk sees what somebody did in its area, and a desk that had him for a shift sees that shift."""
    monkeypatch.setattr(replays, "DAYS_FROM", 1)
    _, since, until = yesterday_of(world)
    officer = world.officer("a")
    works(world, officer, since + timedelta(hours=1), area="a", fixes=100)
    works(world, officer, since + timedelta(hours=8), area="b1", fixes=30)
    stranger = world.officer("a")
    works(world, stranger, since + timedelta(hours=1), area="a", fixes=10)

    def counted(name: str) -> int:
        found = replayed(signed_in(name), [officer], since, until)
        track = found["tracks"][str(officer.id)]
        assert sum(map(len, track["segments"])) <= track["fix_count"]
        return int(track["fix_count"])

    for _ in range(2):
        assert (counted("desk_a"), counted("desk_b"), counted("supervisor")) == (100, 30, 130)
        close_days(world)
    look = {
        "officer_ids": [str(stranger.id)],
        "from": since.isoformat(), "to": until.isoformat(), "reason": "curiosity",
    }  # fmt: skip
    assert signed_in("desk_b").post("/api/v1/desk/replays", look).status_code == 404
    asked = {"from": (since + timedelta(hours=13)).isoformat(), "to": until.isoformat()}
    by_name = look | {"officer_ids": [str(officer.id)]} | asked
    assert signed_in("desk_b").post("/api/v1/desk/replays", by_name).status_code == 404, (
        "not here at that time"
    )

    by_area = signed_in("supervisor").post(
        "/api/v1/desk/replays",
        {
            "area_id": str(world.here.areas["b"]),
            "from": look["from"],
            "to": look["to"],
            "reason": "the night",
        },
    )
    there = {track["officer_id"]: track["fix_count"] for track in by_area.json["tracks"]}
    assert there[str(officer.id)] == 30
    assert str(stranger.id) not in there

    query = {"from": look["from"], "to": look["to"], "reason": "a complaint"}
    path = f"/api/v1/desk/officers/{officer.id}/track.gpx"
    for name, expected in (("supervisor_a", 100), ("supervisor", 130)):
        document = gpx.read(signed_in(name).get(path, **query).data)
        assert sum(len(s.points) for t in document.tracks for s in t.segments) == expected


def test_more_than_can_be_read_is_refused_and_never_cut(
    world: World, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, since, until = yesterday_of(world)
    officers = [world.officer("a") for _ in range(2)]
    for officer in officers:
        works(world, officer, since + timedelta(hours=1), fixes=50)
    desk = signed_in("desk_a")
    span = {"from": since.isoformat(), "to": until.isoformat(), "reason": "the night"}
    named = {**span, "officer_ids": [str(officer.id) for officer in officers]}
    area = {**span, "area_id": str(world.here.areas["a"])}
    assert desk.post("/api/v1/desk/replays", named).status_code == 201
    assert {str(officer.id) for officer in officers} <= {
        track["officer_id"] for track in desk.post("/api/v1/desk/replays", area).json["tracks"]
    }
    monkeypatch.setattr(replays, "MOST_OFFICER_DAYS", 1)
    refused = desk.post("/api/v1/desk/replays", named)
    assert (refused.status_code, refused.json["code"]) == (422, "too_much")
    assert "2 officers over 24 hours" in refused.json["detail"]
    monkeypatch.setattr(replays, "MOST_OFFICERS", 1)
    refused = desk.post("/api/v1/desk/replays", area)
    assert (refused.status_code, refused.json["code"]) == (422, "too_much")


def test_an_export_has_every_fix_or_is_refused(
    world: World, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, since, until = yesterday_of(world)
    officer = world.officer("a")
    works(world, officer, since + timedelta(hours=1), fixes=250)
    supervisor, path = signed_in("supervisor"), f"/api/v1/desk/officers/{officer.id}/track.gpx"
    query = {"from": since.isoformat(), "to": until.isoformat(), "reason": "a complaint"}
    monkeypatch.setattr(replays, "PAGE", 50)
    document = gpx.read(supervisor.get(path, **query).data)
    assert sum(len(s.points) for t in document.tracks for s in t.segments) == 250
    monkeypatch.setattr(replays, "MOST_EXPORTED", 200)
    refused = supervisor.get(path, **query)
    assert (refused.status_code, refused.json["code"]) == (422, "too_much")


def test_tracks_are_drawn_beside_the_sockets(
    world: World, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thinning, cutting and encoding run on other threads than the one that all sockets of a process share."""
    seen: set[str] = set()
    for module, name in (
        (motion, "segments"),
        (motion, "length_m"),
        (msgspec.json, "encode"),
        (gpx, "write"),
    ):
        real = getattr(module, name)

        def spy(*args: Any, real: Any = real, name: str = name, **more: Any) -> Any:
            if threading.current_thread() is threading.main_thread():
                seen.add(name)
            return real(*args, **more)

        monkeypatch.setattr(module, name, spy)
    _, since, until = yesterday_of(world)
    officer = world.officer("a")
    works(world, officer, since + timedelta(hours=1), fixes=100)
    replayed(signed_in("desk_a"), [officer], since, until)
    query = {"from": since.isoformat(), "to": until.isoformat(), "reason": "a complaint"}
    path = f"/api/v1/desk/officers/{officer.id}/track.gpx"
    assert signed_in("supervisor").get(path, **query).status_code == 200
    assert seen == set()


def test_an_unknown_officer_is_not_replayed(signed_in: Any) -> None:
    look = {
        "officer_ids": [str(uuid.uuid4())],
        "from": "2026-01-01T00:00:00Z",
        "to": "2026-01-02T00:00:00Z",
        "reason": "why",
    }
    assert signed_in("supervisor").post("/api/v1/desk/replays", look).status_code == 404
