"""OwnTracks in HTTP mode, Android and iOS.

One JSON object per request, by Basic authentication, told apart by ``_type``. Sources: the OwnTracks booklet,
https://owntracks.org/booklet/tech/json/ and https://owntracks.org/booklet/tech/http/. Speed ``vel`` is in km/h,
``batt`` in per cent, ``tst`` in Unix seconds.

The apps queue what is not answered 2xx and send it again for ever (owntracks/android#936), so every ``_type``, also one
that is not known yet, is answered with an empty array.
"""

from __future__ import annotations

from typing import Any

from geo.fixes import Reason
from mobile_api.gateway.reading import (
    KMH_MPS,
    MAXIMUM_RECORDS,
    Misread,
    Reading,
    attributes,
    json_document,
    measured,
    moment,
    number,
    place,
    scaled,
    text,
)

KEPT = (
    "t",
    "tid",
    "conn",
    "m",
    "vac",
    "event",
    "desc",
    "tag",
    "poi",
    "motionactivities",
    "inregions",
    "created_at",
)
"""What is kept beside a fix. Names of wireless networks and pictures are not: nobody here needs them."""

CHARGING = {1: False, 2: True, 3: True}
"""``bs``: 0 unknown, 1 unplugged, 2 charging, 3 full (and therefore plugged in)."""


def parse(body: bytes, datum: str = "wgs84") -> Reading:
    """Read one request's body: one object, or (tolerated) an array of them. A body of no length holds nothing."""
    reading = Reading()
    if not body.strip():
        reading.counted["empty"] += 1
        return reading
    try:
        document = json_document(body)
    except Misread as misread:
        reading.quarantine(body, misread.reason)
        return reading
    items = document if isinstance(document, list) else [document]
    for item in items[:MAXIMUM_RECORDS]:
        read(reading, item, datum)
    if len(items) > MAXIMUM_RECORDS:
        reading.quarantine({"message": "more records than one request may hold"}, Reason.UNREADABLE)
    return reading


def read(reading: Reading, item: Any, datum: str = "wgs84") -> None:
    """Read one message into ``reading``; anything may stand in for ``item``."""
    try:
        if not isinstance(item, dict) or not isinstance(kind := item.get("_type"), str):
            raise Misread(Reason.UNREADABLE)
        if kind == "encrypted":
            # Only the phone and whoever chose its key can read this; the desk has to switch encryption off.
            reading.quarantine({"_type": "encrypted"}, Reason.ENCRYPTED)
        elif kind == "location" or (kind == "transition" and item.get("lat") is not None):
            _location(reading, item, datum)
        else:
            reading.counted[text(kind, 32)] += 1
    except Misread as misread:
        reading.quarantine(item, misread.reason)


def _location(reading: Reading, item: dict[str, Any], datum: str) -> None:
    at = moment(item.get("tst"))
    lon, lat = place(item.get("lon"), item.get("lat"))
    charging = number(item.get("bs"))
    reading.fixes.append(
        measured(
            at,
            lon,
            lat,
            accuracy_m=item.get("acc"),
            altitude_m=item.get("alt"),
            speed_mps=scaled(item.get("vel"), KMH_MPS),
            heading_deg=item.get("cog"),
            battery_pct=item.get("batt"),
            charging=None if charging is None else CHARGING.get(int(charging)),
            datum=datum,
            attributes=attributes((name, item.get(name)) for name in KEPT),
        )
    )
