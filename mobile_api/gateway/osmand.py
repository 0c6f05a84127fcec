"""The OsmAnd protocol, as Traccar Client and OsmAnd speak it.

Three generations of Traccar Client are in the field and all are served at one address:

* **query**: the client up to 8 and OsmAnd itself put everything into the URL, by GET or POST;
* **form**: the client from 10 on posts the same names as a form;
* **JSON**: the client 9 posts the document of its background location library; Dawarich's variant of it has no
  ``coords`` level, and one version of the client's own library posts a flat array with the query's names.

Sources: https://www.traccar.org/osmand/, Traccar's OsmAndProtocolDecoder, the client's location template. Units are
the protocol's: ``speed`` in knots in a query or form, in m/s in JSON. OsmAnd's own placeholder ``{5}`` is Android's
speed in m/s and ``{3}`` its accuracy in metres, so the address that we publish for OsmAnd says ``speed_mps={5}`` and
``accuracy={3}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from geo.fixes import Flag, Reason
from mobile_api.gateway.reading import (
    KNOT_MPS,
    MAXIMUM_ALARMS,
    MAXIMUM_RECORDS,
    Alarm,
    Misread,
    Reading,
    attributes,
    declared_datum,
    json_document,
    measured,
    moment,
    number,
    place,
    scaled,
    storable_raw,
    switch,
)

MAXIMUM_PARAMETERS = 200
"""Names of one message, whether it is a query, a form or a JSON object."""
CALLS_FOR_HELP = frozenset(
    {"sos", "panic", "help", "emergency", "duress", "求救", "求助", "紧急求援", "一键呼救"}
)
"""Alarms that a person raises for himself, in these apps' words. Such a one may say where he is off shift as well;
any other alarm (a low battery, a start, whatever somebody writes) is an attribute of a fix and nothing else."""
REPEATABLE = frozenset({"cell", "wifi"})
_READ = frozenset(
    {
        "id",
        "deviceid",
        "lat",
        "lon",
        "latitude",
        "longitude",
        "location",
        "timestamp",
        "speed",
        "speed_mps",
        "bearing",
        "heading",
        "altitude",
        "accuracy",
        "batt",
        "charge",
        "mock",
        "datum",
        "valid",
    }
)
"""Names that become a part of the fix itself; every other one is kept as an attribute of it."""


@dataclass(slots=True)
class Messages:
    """The messages of one request, before any of them is read: ``keys`` are the device ids that they name."""

    generation: str
    items: list[Any] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)


def messages(query: str, content_type: str, body: bytes) -> Messages:
    """Split a request into its messages and the device ids they name, whichever generation of client it is from.

    A parameter of the body overrides one of the URL of the same name, so an address with a constant part can be given
    to an app that posts.

    Raises:
        Misread: the body is neither a form nor JSON.
    """
    constant = _parameters(query)
    if is_json(content_type, body):
        return _json_messages(constant, body)
    if body.strip():
        posted = _parameters(body.decode("utf-8", "replace"))
        generation = "form"
        pairs = [(name, value) for name, value in constant if name not in {n for n, _ in posted}] + posted
    else:
        generation, pairs = "query", constant
    found = Messages(generation, [pairs] if pairs else [])
    found.keys = {value for name, value in pairs if name in ("id", "deviceid") and value}
    return found


def is_json(content_type: str, body: bytes) -> bool:
    """Whether a request is of the generation that speaks JSON, which is told another status than the others."""
    beginning = body.lstrip()[:1]
    return bool(beginning) and (
        "json" in content_type or (beginning in (b"{", b"[") and "form-urlencoded" not in content_type)
    )


def _parameters(encoded: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(encoded, keep_blank_values=True, errors="replace", max_num_fields=MAXIMUM_PARAMETERS)
    except ValueError:
        raise Misread(Reason.UNREADABLE) from None


def _json_messages(constant: list[tuple[str, str]], body: bytes) -> Messages:
    document = json_document(body)
    found = Messages("json")
    # One more than is read, so that it shows.
    for item in document[: MAXIMUM_RECORDS + 1] if isinstance(document, list) else [document]:
        if not isinstance(item, dict):
            found.items.append(item)
            continue
        device = item.get("device_id", item.get("id", item.get("deviceid")))
        if isinstance(device, str) and device:
            found.keys.add(device)
        elif isinstance(device, int) and not isinstance(device, bool) and abs(device) < 2**63:
            found.keys.add(str(device))
        found.items.append(item)
    if not found.keys:
        found.keys = {value for name, value in constant if name in ("id", "deviceid") and value}
    return found


def parse(items: Iterable[Any], received_at: datetime, datum: str = "wgs84") -> Reading:
    """Read the messages of a request.

    Args:
        items: messages as :func:`messages` splits them: parameter pairs, or JSON values.
        received_at: aware UTC; the protocol's time of a message that carries none.
        datum: of a message that declares none, as the device is set up.
    """
    reading = Reading()
    for count, (item, located) in enumerate(_each(items)):
        if count >= MAXIMUM_RECORDS:
            reading.quarantine({"message": "more records than one request may hold"}, Reason.UNREADABLE)
            break
        try:
            if isinstance(item, dict):
                if len(item) > MAXIMUM_PARAMETERS:
                    raise Misread(Reason.UNREADABLE)
                if isinstance(located, dict):
                    _document(reading, item, located, received_at, datum)
                elif "coords" in item:
                    _document(reading, item, item, received_at, datum)
                elif isinstance(item.get("location"), list):
                    raise Misread(Reason.UNREADABLE)
                else:
                    _parameters_message(reading, list(item.items()), received_at, datum)
            elif isinstance(item, list) and all(isinstance(pair, tuple) for pair in item):
                _parameters_message(reading, item, received_at, datum)
            else:
                raise Misread(Reason.UNREADABLE)
        except Misread as misread:
            _refuse(reading, item, located, misread.reason)
    return reading


def _each(items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Go through the messages, each with its location; one with many locations is many, and is never copied."""
    for item in items:
        located = item.get("location") if isinstance(item, dict) else None
        if isinstance(located, list):
            for one in located:
                yield item, one
        else:
            yield item, located


def _refuse(reading: Reading, item: Any, located: Any, reason: Reason) -> None:
    raw = dict(item) if isinstance(item, list) and all(isinstance(pair, tuple) for pair in item) else item
    raw = _own(raw, located) if isinstance(raw, dict) else raw
    reading.quarantine(raw, reason)
    # Nobody presses the button twice: an SOS whose place cannot be read is an SOS all the same.
    if isinstance(raw, dict):
        word = item.get("alarm") if isinstance(item, dict) else raw.get("alarm")
        word = word or (located.get("alarm") if isinstance(located, Mapping) else None)
        _alarm(reading, word, None, None, raw)


def _alarm(reading: Reading, word: object, at: datetime | None, fix: Any, raw: Mapping[str, Any]) -> None:
    called = word.strip().lower() if isinstance(word, str) and len(word) < 64 else ""
    if called in CALLS_FOR_HELP and len(reading.alarms) < MAXIMUM_ALARMS:
        reading.alarms.append(Alarm(called, at, fix, storable_raw(raw)))


def _own(item: dict[str, Any], located: Any) -> dict[str, Any]:
    """What is kept of a message that cannot be filed: of one with many locations, the one that it is about."""
    return {"location": located} if isinstance(item.get("location"), list) else item


def _single(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the parameters by name; a name that is given twice with two values cannot be read either way."""
    single: dict[str, Any] = {}
    for name, value in pairs:
        if name in REPEATABLE:
            single.setdefault(name, []).append(value)
        elif name in single and single[name] != value:
            if name in _READ:
                raise Misread(Reason.UNREADABLE)
        else:
            single[name] = value
    return single


def _parameters_message(
    reading: Reading, pairs: list[tuple[str, Any]], received_at: datetime, datum: str
) -> None:
    sent = _single(pairs)
    given = sent.get("timestamp")
    at = received_at if given in (None, "") else moment(given)
    datum = declared_datum(sent, datum)
    lat, lon = sent.get("lat", sent.get("latitude")), sent.get("lon", sent.get("longitude"))
    if isinstance(sent.get("location"), str):
        lat, _, lon = sent["location"].partition(",")
    if lat in (None, "") and lon in (None, ""):
        # A heartbeat, a push token or an alarm without a place: the phone lives, and its last position stands.
        _alarm(reading, sent.get("alarm"), at, None, sent)
        reading.counted["alarm" if sent.get("alarm") else "heartbeat"] += 1
        return
    x, y = place(lon, lat)
    speed_mps = sent["speed_mps"] if "speed_mps" in sent else scaled(sent.get("speed"), KNOT_MPS)
    kept = attributes((name, value) for name, value in sent.items() if name not in _READ)
    if switch(sent.get("valid")) is False:
        kept["valid"] = False
    fix = measured(
        at,
        x,
        y,
        accuracy_m=sent.get("accuracy"),
        altitude_m=sent.get("altitude"),
        speed_mps=speed_mps,
        heading_deg=sent.get("bearing", sent.get("heading")),
        battery_pct=sent.get("batt"),
        charging=sent.get("charge"),
        mock=sent.get("mock"),
        datum=datum,
        attributes=kept,
    )
    if kept.get("valid") is False:
        # The phone itself says that the place is no measurement: kept, and never shown as where he is.
        fix.flags |= int(Flag.INACCURATE)
    reading.fixes.append(fix)
    _alarm(reading, sent.get("alarm"), at, fix, sent)


def _document(
    reading: Reading, item: dict[str, Any], located: dict[str, Any], received_at: datetime, datum: str
) -> None:
    """Read a message of the JSON generation; its location is a level of its own, or the message itself."""
    coords = located.get("coords")
    if not isinstance(coords, dict):
        # Dawarich's variant has latitude and the rest directly in the location.
        coords = located if "latitude" in located else {}
    given = located.get("timestamp", item.get("timestamp"))
    at = received_at if given in (None, "") else moment(given)
    datum = declared_datum(item, datum)
    battery = _object(located, item, "battery")
    activity = _object(located, item, "activity")
    extras = located.get("extras")
    extras = extras if isinstance(extras, dict) else {}
    alarm = located.get("alarm", item.get("alarm", extras.get("alarm")))
    if coords.get("latitude") is None and coords.get("longitude") is None:
        _alarm(reading, alarm, at, None, _own(item, located))
        reading.counted["alarm" if alarm else "heartbeat"] += 1
        return
    x, y = place(coords.get("longitude"), coords.get("latitude"))
    kept = attributes(
        [
            ("event", located.get("event")),
            ("is_moving", located.get("is_moving")),
            ("odometer", located.get("odometer")),
            ("activity", activity.get("type") if isinstance(activity, dict) else activity),
            ("alarm", alarm),
            *((name, value) for name, value in extras.items() if not isinstance(value, dict)),
        ]
    )
    level = number(battery.get("level")) if isinstance(battery, dict) else None
    altitude = coords.get("altitude")
    fix = measured(
        at,
        x,
        y,
        accuracy_m=coords.get("accuracy"),
        altitude_m=None if altitude == -1 else altitude,
        speed_mps=coords.get("speed"),
        heading_deg=coords.get("heading"),
        battery_pct=scaled(level, 100),
        charging=battery.get("is_charging") if isinstance(battery, dict) else None,
        mock=located.get("mock", item.get("mock")),
        datum=datum,
        attributes=kept,
    )
    reading.fixes.append(fix)
    _alarm(reading, alarm, at, fix, _own(item, located))


def _object(located: dict[str, Any], item: dict[str, Any], name: str) -> Any:
    value = located.get(name, item.get(name))
    return {} if value is None else value
