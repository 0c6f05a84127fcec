"""The apps as the simulation plays them and the gateways as they read them were written apart, and agree."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient

from backend.core.vocabulary import Protocol
from backend.demo import trackers
from backend.demo.receiver import Measurement
from backend.demo.trackers import Tracker
from backend.demo.wire import Response
from tests.gateway.conftest import Setting
from workflows.devices import Credential
from workflows.provisioning import provision

BASE = "http://localhost"
APPS: dict[str, tuple[Protocol, Callable[[str, Credential], Tracker]]] = {
    "query": (Protocol.OSMAND, lambda url, c: trackers.TraccarQuery(url, c.secret)),
    "form": (Protocol.OSMAND, lambda url, c: trackers.TraccarForm(url, c.secret)),
    "json": (Protocol.OSMAND, lambda url, c: trackers.TraccarJson(url, c.secret)),
    "owntracks": (Protocol.OWNTRACKS, lambda url, c: trackers.OwnTracks(url, c.username or "", c.secret)),
    "overland": (Protocol.OVERLAND, lambda url, c: trackers.Overland(url, c.secret)),
    "gpslogger": (Protocol.GPSLOGGER, lambda url, c: trackers.GpsLogger(url)),
}


def walk(count: int) -> list[Measurement]:
    """A walk that ended just now, one measurement in ten seconds."""
    begin = int(time.time()) - 10 * count
    return [
        Measurement(
            at=float(begin + 10 * i),
            lon=round(121.305 + i * 1e-4, 6),
            lat=31.105,
            accuracy_m=6.0,
            altitude_m=11.0,
            speed_mps=1.0 + i % 3 * 0.25,
            heading_deg=90.0 if i % 4 else None,
            battery_pct=80.0 - i // 10,
            charging=i % 2 == 0,
            walked_m=i * 9.5,
        )
        for i in range(count)
    ]


def drain(client: FlaskClient, app: Tracker) -> int:
    """Let the app send until its queue is empty, as it does when the network is back."""
    requests = 0
    while app.queue:
        asked, carried = app.request(time.time())
        answered = client.open(
            asked.target, method=asked.method, headers=list(asked.headers), data=asked.body or None
        )
        heard = Response(answered.status_code, {k.lower(): v for k, v in answered.headers}, answered.data)
        assert app.is_success(heard), (answered.status_code, answered.data)
        app.accept_first(carried)
        requests += 1
    return requests


@pytest.mark.parametrize("name", APPS)
def test_what_an_app_measured_is_what_is_stored(client: FlaskClient, setting: Setting, name: str) -> None:
    protocol, make = APPS[name]
    device_id, credential = setting.device(protocol)
    app = make(provision(protocol, BASE, credential, name).url, credential)
    measured = walk(12)
    for measurement in measured:
        app.add(measurement)
    drain(client, app)
    stored = setting.fixes(device_id)
    assert setting.quarantined(device_id) == []
    assert [row["fixed_at"] for row in stored] == [datetime.fromtimestamp(m.at, UTC) for m in measured]
    coarse_mps = 0.15 if name == "owntracks" else 0.01  # It rounds to whole km/h.
    for row, m in zip(stored, measured, strict=True):
        assert (row["lon"], row["lat"]) == (m.lon, m.lat)
        assert row["accuracy_m"] == m.accuracy_m
        assert row["altitude_m"] == m.altitude_m
        assert row["speed_mps"] == pytest.approx(m.speed_mps, abs=coarse_mps)
        assert row["battery_pct"] == pytest.approx(m.battery_pct, abs=0.5)
        if m.heading_deg is not None:
            assert row["heading_deg"] == m.heading_deg
        if name not in ("query", "form"):  # These mention charging only when it is so.
            assert row["charging"] is m.charging


def test_a_backlog_sends_where_the_officer_is_now_first(client: FlaskClient, setting: Setting) -> None:
    """F22: Overland names the current place beside each batch of the backlog; it is stored once all the same."""
    device_id, credential = setting.device(Protocol.OVERLAND)
    app = trackers.Overland(provision(Protocol.OVERLAND, BASE, credential, "x").url, credential.secret)
    measured = walk(650)
    for measurement in measured:
        app.add(measurement)
    asked, carried = app.request(time.time())
    assert carried == 200
    client.open(asked.target, method=asked.method, headers=list(asked.headers), data=asked.body)
    newest = datetime.fromtimestamp(measured[-1].at, UTC)
    (latest,) = setting.rows("select fixed_at from latest_positions where device_id = :id", id=device_id)
    assert latest["fixed_at"] == newest
    assert drain(client, app) == 4
    assert len(setting.fixes(device_id)) == 650
    (latest,) = setting.rows("select fixed_at from latest_positions where device_id = :id", id=device_id)
    assert latest["fixed_at"] == newest
