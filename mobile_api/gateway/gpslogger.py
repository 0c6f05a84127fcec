"""GPSLogger for Android, which calls an address of our making.

The app replaces placeholders in a URL (or body) that the user gave it, ``%LAT`` and so on, by GET unless told
otherwise, one request per fix; what it could not send it queues, and with "auto sending" it sends every line of its
CSV log again, one request each. Source: https://gpslogger.app/ and CustomUrlManager.java of mendhak/gpslogger.

Units: everything that the app logs is in SI units, ``%SPD`` is Android's speed in m/s. OsmAnd's ``speed`` is in
knots, so the template has a name of its own for it: ``spd``. The names are those that the app itself uses for
``%ALL``, so a template with ``%ALL`` is read as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from geo.fixes import Reason
from mobile_api.gateway import osmand
from mobile_api.gateway.reading import (
    MAXIMUM_RECORDS,
    Misread,
    Reading,
    attributes,
    declared_datum,
    measured,
    moment,
    place,
)

_READ = frozenset(
    {
        "lat",
        "lon",
        "time",
        "timestamp",
        "timeoffset",
        "date",
        "acc",
        "alt",
        "spd",
        "dir",
        "batt",
        "charging",
        "ischarging",
        "datum",
    }
)
_IDENTIFYING = frozenset({"aid", "ser", "filename", "profile", "desc", "starttimestamp"})
"""Sent with ``%ALL``: the phone's serial and Android id, file names. None is needed to know where an officer is."""


def messages(query: str, content_type: str, body: bytes) -> list[Any]:
    """Return the request's messages: parameters of the URL and of a form body together, or JSON."""
    return osmand.messages(query, content_type, body).items


def parse(items: Iterable[Any], received_at: datetime, datum: str = "wgs84") -> Reading:
    """Read the messages of a request; ``received_at`` is the time of one that carries none."""
    reading = Reading()
    for count, item in enumerate(items):
        if count >= MAXIMUM_RECORDS:
            reading.quarantine({"message": "more records than one request may hold"}, Reason.UNREADABLE)
            break
        raw = dict(item) if isinstance(item, list) and all(isinstance(pair, tuple) for pair in item) else item
        try:
            if not isinstance(raw, dict) or len(raw) > osmand.MAXIMUM_PARAMETERS:
                raise Misread(Reason.UNREADABLE)
            _message(reading, raw if isinstance(item, dict) else _once(item), received_at, datum)
        except Misread as misread:
            reading.quarantine(raw, misread.reason)
    return reading


def _once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    once: dict[str, str] = {}
    for name, value in pairs:
        if once.setdefault(name, value) != value and name in _READ:
            raise Misread(Reason.UNREADABLE)
    return once


def _message(reading: Reading, sent: dict[str, Any], received_at: datetime, datum: str) -> None:
    given = next(
        (sent[name] for name in ("time", "timestamp", "timeoffset") if sent.get(name) not in (None, "")), None
    )
    at = received_at if given is None else moment(given)
    datum = declared_datum(sent, datum)
    lat, lon = sent.get("lat"), sent.get("lon")
    if lat in (None, "") and lon in (None, ""):
        reading.counted["heartbeat"] += 1
        return
    x, y = place(lon, lat)
    reading.fixes.append(
        measured(
            at,
            x,
            y,
            accuracy_m=sent.get("acc"),
            altitude_m=sent.get("alt"),
            speed_mps=sent.get("spd"),
            heading_deg=sent.get("dir"),
            battery_pct=sent.get("batt"),
            charging=sent.get("charging", sent.get("ischarging")),
            datum=datum,
            attributes=attributes(
                (name, value)
                for name, value in sent.items()
                if name not in _READ and name not in _IDENTIFYING
            ),
        )
    )
