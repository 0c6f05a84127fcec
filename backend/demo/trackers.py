"""The apps on the phones: what each sends, when, what it takes for success and what it does without.

Each class is one app as ``docs/integrator.md`` and the gateways know it, written from the client's side: own names, own
units, own queue. None of them knows how the server reads it.
"""

from __future__ import annotations

import base64
import gzip
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import islice
from random import Random
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID

import msgspec

from backend.demo.receiver import Measurement
from backend.demo.wire import Request, Response

KNOT_MPS = 0.514444
MOST_KEPT = 60_000
"""How many measurements an app keeps while it cannot send: 72 hours at one in five seconds and some room."""

FORM = ("Content-Type", "application/x-www-form-urlencoded")
JSON = ("Content-Type", "application/json")


class Tracker:
    """An app with its queue. ``accept_first(n)`` follows a success, the same head is sent again otherwise."""

    protocol = ""
    first_retry_s = 5.0
    longest_retry_s = 300.0

    def __init__(self) -> None:
        self.queue: deque[Measurement] = deque(maxlen=MOST_KEPT)

    def add(self, measurement: Measurement) -> None:
        """Take note of a measurement; it stays until the server has it."""
        self.queue.append(measurement)

    def wants_to_send(self, now: float) -> bool:
        """Whether the app would send now, if it had a network."""
        return bool(self.queue)

    def request(self, now: float) -> tuple[Request, int]:
        """The next request, and how many measurements at the head of the queue it carries."""
        raise NotImplementedError

    def is_success(self, response: Response) -> bool:
        """Whether the app takes this answer for success."""
        return response.ok

    def gives_up(self, response: Response) -> bool:
        """Whether the app throws the request away after this refusal, instead of sending it for ever."""
        return False

    def accept_first(self, count: int) -> None:
        """Forget what the server has."""
        for _ in range(min(count, len(self.queue))):
            self.queue.popleft()

    def retry_after_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row."""
        return float(min(self.longest_retry_s, self.first_retry_s * 2 ** min(failures - 1, 10)))


class OfficerApp(Tracker):
    """Our own client: batches of JSON, gzipped when that pays, signed in as the officer."""

    protocol = "officer"
    longest_retry_s = 60.0
    most_per_batch = 500

    def __init__(self, device_id: UUID, access_token: Callable[[], str | None]) -> None:
        super().__init__()
        self._device_id = str(device_id)
        self._access_token = access_token

    def request(self, now: float) -> tuple[Request, int]:
        batch = list(islice(self.queue, self.most_per_batch))
        body = msgspec.json.encode(
            {
                "device_id": self._device_id,
                "sent_at": iso(now),
                "datum": "wgs84",
                "fixes": [self._fix(measurement) for measurement in batch],
            }
        )
        headers = [JSON, ("Authorization", f"Bearer {self._access_token()}")]
        if len(body) > 1400:  # More than one packet.
            body = gzip.compress(body, 6, mtime=0)
            headers.append(("Content-Encoding", "gzip"))
        return Request("POST", "/api/v1/officer/fixes", tuple(headers), body), len(batch)

    def gives_up(self, response: Response) -> bool:
        return response.status in (400, 413, 415, 422)

    @staticmethod
    def _fix(m: Measurement) -> dict[str, Any]:
        fix: dict[str, Any] = {
            "fixed_at": iso(m.at),
            "lon": m.lon,
            "lat": m.lat,
            "accuracy_m": m.accuracy_m,
            "altitude_m": m.altitude_m,
            "speed_mps": m.speed_mps,
            "battery_pct": m.battery_pct,
            "charging": m.charging,
        }
        if m.heading_deg is not None:
            fix["heading_deg"] = m.heading_deg
        if m.mock:
            fix["mock"] = True
        return fix


class _OneByOne(Tracker):
    """Apps that send one measurement per request, the oldest first."""

    def request(self, now: float) -> tuple[Request, int]:
        return self.encode(self.queue[0]), 1

    def encode(self, m: Measurement) -> Request:
        raise NotImplementedError


class TraccarQuery(_OneByOne):
    """Traccar Client up to 8: everything in the URL of a POST without a body; 30 s between tries."""

    protocol = "osmand-query"
    first_retry_s = longest_retry_s = 30.0

    def __init__(self, url: str, key: str) -> None:
        super().__init__()
        self._target = path_of(url)
        self._key = key

    def encode(self, m: Measurement) -> Request:
        return Request("POST", joined(self._target, urlencode(self.parameters(m))))

    def parameters(self, m: Measurement) -> dict[str, str]:
        """Speed in knots, the battery in percent, no word about what is unknown but a zero."""
        parameters = {
            "id": self._key,
            "timestamp": str(int(m.at)),
            "lat": str(m.lat),
            "lon": str(m.lon),
            "speed": f"{m.speed_mps / KNOT_MPS:.2f}",
            "bearing": str(m.heading_deg or 0.0),
            "altitude": str(m.altitude_m),
            "accuracy": str(m.accuracy_m),
            "batt": str(m.battery_pct),
        }
        if m.charging:
            parameters["charge"] = "true"
        if m.mock:
            parameters["mock"] = "true"
        return parameters


class TraccarForm(TraccarQuery):
    """Traccar Client 10 and its library: the same names as a form; 5 s doubling to 5 min between tries."""

    protocol = "osmand-form"
    first_retry_s, longest_retry_s = 5.0, 300.0

    def encode(self, m: Measurement) -> Request:
        return Request("POST", self._target, (FORM,), urlencode(self.parameters(m)).encode())


class TraccarJson(TraccarForm):
    """Traccar Client 9: the document of its background location library; speed in m/s, battery 0 to 1, -1 unknown."""

    protocol = "osmand-json"

    def encode(self, m: Measurement) -> Request:
        location: dict[str, Any] = {
            "timestamp": iso(m.at),
            "coords": {
                "latitude": m.lat,
                "longitude": m.lon,
                "accuracy": m.accuracy_m,
                "speed": m.speed_mps,
                "heading": -1 if m.heading_deg is None else m.heading_deg,
                "altitude": m.altitude_m,
            },
            "is_moving": m.speed_mps > 0.3,
            "odometer": m.walked_m,
            "event": "motionchange" if m.speed_mps == 0 else "",
            "battery": {"level": round(m.battery_pct / 100, 2), "is_charging": m.charging},
            "activity": {"type": activity(m)},
            "extras": {},
        }
        if m.mock:
            location["mock"] = True
        body = msgspec.json.encode({"location": location, "device_id": self._key})
        return Request("POST", self._target, (JSON,), body)


class OwnTracks(_OneByOne):
    """OwnTracks in HTTP mode: one JSON object, Basic authentication; speed in km/h, whole seconds."""

    protocol = "owntracks"
    first_retry_s, longest_retry_s = 2.0, 120.0

    def __init__(self, url: str, user: str, password: str, device: str = "phone") -> None:
        super().__init__()
        self._target = path_of(url)
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = (
            ("Content-Type", "application/json; charset=utf-8"),
            ("Authorization", f"Basic {basic}"),
            ("X-Limit-U", user),
            ("X-Limit-D", device),
        )
        self._topic = f"owntracks/{user}/{device}"

    def encode(self, m: Measurement) -> Request:
        message: dict[str, Any] = {
            "_type": "location",
            "_id": f"{int(m.at * 1000) & 0xFFFFFFFF:08x}",
            "acc": round(m.accuracy_m),
            "alt": round(m.altitude_m),
            "batt": round(m.battery_pct),
            "bs": 2 if m.charging else 1,
            "conn": "m",
            "created_at": int(m.at),
            "lat": m.lat,
            "lon": m.lon,
            "m": 2,
            "t": "t",
            "tid": self._topic.split("/")[1][-2:],
            "topic": self._topic,
            "tst": int(m.at),
            "vac": 3,
            "vel": round(m.speed_mps * 3.6),
        }
        if m.heading_deg is not None:
            message["cog"] = round(m.heading_deg)
        return Request("POST", self._target, self._headers, msgspec.json.encode(message))

    def is_success(self, response: Response) -> bool:
        return response.ok and isinstance(response.json(), list)


class Overland(Tracker):
    """Overland on an iPhone: batches of GeoJSON features every now and then, kept until the answer says ok."""

    protocol = "overland"
    first_retry_s, longest_retry_s = 15.0, 60.0
    most_per_batch = 200

    def __init__(self, url: str, token: str, send_every_s: float = 15.0) -> None:
        super().__init__()
        self._target = path_of(url)
        self._headers = (JSON, ("Authorization", f"Bearer {token}"))
        self._send_every_s = send_every_s
        self._asked_at = 0.0
        self._sent_at = 0.0

    def wants_to_send(self, now: float) -> bool:
        return bool(self.queue) and (
            now - self._sent_at >= self._send_every_s or len(self.queue) > self.most_per_batch
        )

    def request(self, now: float) -> tuple[Request, int]:
        self._asked_at = now
        batch = list(islice(self.queue, self.most_per_batch))
        document: dict[str, Any] = {"locations": [self._feature(m) for m in batch]}
        if len(self.queue) > 2 * self.most_per_batch:
            # So that a live map need not wait until hours of backlog are through.
            document["current"] = self._feature(self.queue[-1])
        return Request("POST", self._target, self._headers, msgspec.json.encode(document)), len(batch)

    def is_success(self, response: Response) -> bool:
        answer = response.json()
        return response.ok and isinstance(answer, dict) and answer.get("result") == "ok"

    def accept_first(self, count: int) -> None:
        super().accept_first(count)
        self._sent_at = self._asked_at

    @staticmethod
    def _feature(m: Measurement) -> dict[str, Any]:
        return {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [m.lon, m.lat]},
            "properties": {
                # The app writes the offset of the phone's zone without a colon.
                "timestamp": datetime.fromtimestamp(m.at, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000"),
                "altitude": round(m.altitude_m),
                "speed": m.speed_mps,
                "course": -1 if m.heading_deg is None else round(m.heading_deg),
                "horizontal_accuracy": round(m.accuracy_m),
                "vertical_accuracy": 3,
                "speed_accuracy": 0.5 if m.speed_mps else -1,
                "course_accuracy": 9 if m.heading_deg is not None else -1,
                "motion": {"walking": ["walking"], "in_vehicle": ["driving"], "on_bicycle": ["cycling"]}.get(
                    activity(m), ["stationary"]
                ),
                "battery_state": "charging" if m.charging else "unplugged",
                "battery_level": round(m.battery_pct / 100, 2),
                "wifi": "",
                "device_id": "",
                "unique_id": "",
            },
        }


class GpsLogger(_OneByOne):
    """GPSLogger for Android: calls an address in which it replaced the placeholders, by GET."""

    protocol = "gpslogger"
    first_retry_s, longest_retry_s = 10.0, 300.0

    def __init__(self, url: str) -> None:
        super().__init__()
        self._template = path_of(url)

    def encode(self, m: Measurement) -> Request:
        values = {
            "%LAT": str(m.lat),
            "%LON": str(m.lon),
            "%TIME": iso(m.at),
            "%ACC": str(m.accuracy_m),
            "%ALT": str(m.altitude_m),
            "%SPD": str(m.speed_mps),
            "%DIR": "" if m.heading_deg is None else str(m.heading_deg),
            "%BATT": str(round(m.battery_pct)),
            "%ISCHARGING": "true" if m.charging else "false",
            "%SAT": str(max(4, 14 - round(m.accuracy_m / 4))),
            "%PROV": "gps",
        }
        target = self._template
        for placeholder in sorted(values, key=len, reverse=True):
            target = target.replace(placeholder, quote(values[placeholder], safe=""))
        return Request("GET", target)


GENERATIONS: dict[str, type[TraccarQuery]] = {
    tracker.protocol: tracker for tracker in (TraccarQuery, TraccarForm, TraccarJson)
}
MIXED = ("officer", "officer", "osmand", "owntracks", "overland", "gpslogger", "osmand", "officer")
"""What a town's phones speak, one after the other: mostly our own client, and some of each of the others."""


def tracker_for(
    protocol: str,
    credentials: Mapping[str, Mapping[str, str]],
    random: Random,
    *,
    device_id: UUID,
    access_token: Callable[[], str | None],
) -> Tracker:
    """Return the app that speaks ``protocol``, set up with an officer's credentials.

    Args:
        credentials: the ``trackers`` of a demo account.

    Raises:
        KeyError: the account has no credential for this protocol.
    """
    if protocol == "officer":
        return OfficerApp(device_id, access_token)
    if protocol == "owntracks":
        own = credentials["owntracks"]
        return OwnTracks(own["url"], own["user"], own["password"])
    if protocol == "overland":
        return Overland(
            credentials["overland"]["url"], credentials["overland"]["token"], random.uniform(10, 20)
        )
    if protocol == "gpslogger":
        return GpsLogger(credentials["gpslogger"]["url"])
    generation = random.choice(sorted(GENERATIONS)) if protocol == "osmand" else protocol
    return GENERATIONS[generation](credentials["osmand"]["url"], credentials["osmand"]["id"])


def activity(m: Measurement) -> str:
    """What a phone's motion sensor would call it."""
    if m.speed_mps < 0.3:
        return "still"
    return "walking" if m.speed_mps < 2.2 else "on_bicycle" if m.speed_mps < 6 else "in_vehicle"


def iso(at: float) -> str:
    """A moment as RFC 3339, in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def path_of(url: str) -> str:
    """Path and query of an address below ``/gateway``: the phones connect to where the simulation was pointed at, even
    where the public address has another host or a path of its own in front."""
    parts = urlsplit(url)
    path = parts.path or "/"
    if "/gateway/" in path:
        path = path[path.index("/gateway/") :]
    return path + (f"?{parts.query}" if parts.query else "")


def joined(target: str, query: str) -> str:
    """The target with more parameters."""
    return f"{target}{'&' if '?' in target else '?'}{query}"
