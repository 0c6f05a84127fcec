"""Overland for iOS (and its Android sister), which posts batches of GeoJSON.

``{"locations": [Feature, ...], "current": Feature, "trip": {...}}`` with a Bearer token; up to 1,000 records in a
batch, by the app's setting. Source: the README and GLManager.m of https://github.com/aaronpk/Overland-iOS. Speed is
in m/s, ``battery_level`` from 0 to 1, -1 means unknown, ``timestamp`` is ISO 8601 whose offset may lack its colon.

The app deletes a batch only when the answer is the JSON object ``{"result": "ok"}``. Records of trips, visits and
of the app's own actions stand among the locations, some without a geometry: they are counted, and never cost the
batch. Its "owntracks" logging mode posts single OwnTracks messages to the same address and waits for the same
answer.
"""

from __future__ import annotations

from typing import Any

from geo.fixes import Reason
from mobile_api.gateway import owntracks
from mobile_api.gateway.reading import (
    MAXIMUM_RECORDS,
    Misread,
    Reading,
    attributes,
    json_document,
    measured,
    moment,
    place,
    scaled,
)

KEPT = (
    "motion",
    "activity",
    "vertical_accuracy",
    "speed_accuracy",
    "course_accuracy",
    "battery_state",
    "desired_accuracy",
)
"""What is kept beside a fix; ``wifi`` (the network's name), ``device_id`` and ``unique_id`` are not."""

CHARGING = {"charging": True, "full": True, "unplugged": False}


def parse(body: bytes, datum: str = "wgs84") -> Reading:
    """Read one request's body. What is no batch at all is quarantined whole, so that the app gives up on it."""
    reading = Reading()
    try:
        document = json_document(body)
        if not isinstance(document, dict):
            raise Misread(Reason.UNREADABLE)
        if "_type" in document:
            owntracks.read(reading, document, datum)
            return reading
        records = document.get("locations", [])
        if not isinstance(records, list):
            raise Misread(Reason.UNREADABLE)
    except Misread as misread:
        reading.quarantine(body, misread.reason)
        return reading
    for record in records[:MAXIMUM_RECORDS]:
        _record(reading, record, datum)
    if len(records) > MAXIMUM_RECORDS:
        reading.quarantine({"message": "more records than one request may hold"}, Reason.UNREADABLE)
    current = document.get("current")
    if isinstance(current, dict) and current:
        # Sent while a backlog drains, so that the live map need not wait for it; it comes again in a batch of its own.
        _record(reading, current, datum)
        reading.counted["current"] += 1
    if document.get("trip"):
        reading.counted["trip_status"] += 1
    return reading


def _record(reading: Reading, record: Any, datum: str) -> None:
    try:
        if not isinstance(record, dict) or not isinstance(properties := record.get("properties"), dict):
            raise Misread(Reason.UNREADABLE)
        if properties.get("type") == "trip":
            reading.counted["trip"] += 1
            return
        action = properties.get("action")
        if isinstance(action, str) and action:
            # A visit's time is when it was told, up to hours later, and an action repeats the last known place.
            reading.counted["visit" if action == "visit" else "action"] += 1
            return
        geometry = record.get("geometry")
        coordinates = geometry.get("coordinates") if isinstance(geometry, dict) else None
        if not isinstance(coordinates, list) or len(coordinates) < 2:
            raise Misread(Reason.UNREADABLE)
        at = moment(properties.get("timestamp"))
        lon, lat = place(coordinates[0], coordinates[1])
    except Misread as misread:
        reading.quarantine(record, misread.reason)
        return
    altitude = properties.get("altitude")
    if altitude is None and len(coordinates) > 2:
        altitude = coordinates[2]
    state = properties.get("battery_state")
    reading.fixes.append(
        measured(
            at,
            lon,
            lat,
            accuracy_m=properties.get("horizontal_accuracy"),
            altitude_m=None if altitude == -1 else altitude,
            speed_mps=properties.get("speed"),
            heading_deg=properties.get("course"),
            battery_pct=scaled(properties.get("battery_level"), 100),
            charging=CHARGING.get(state) if isinstance(state, str) else None,
            datum=datum,
            attributes=attributes(
                (name, properties.get(name)) for name in KEPT if properties.get(name) != -1
            ),
        )
    )
