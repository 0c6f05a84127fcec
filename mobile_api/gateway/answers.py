"""What each tracker protocol is answered: the gateways on one page.

The parsers are pure and stand in a module of their own for each protocol; here a call is authenticated, read,
delivered and answered in the protocol's own shape (``docs/integrator.md`` has the table). The raw WSGI routes
(``mobile_api.hot``) and Flask (``mobile_api.gateway.blueprints``) serve these very functions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from backend.core import clock
from backend.core.uow import unit_of_work
from backend.core.vocabulary import DeviceState, Protocol
from geo.fixes import Reason
from mobile_api.gateway import gpslogger, osmand, overland, owntracks
from mobile_api.gateway.call import JSON, Answer, Call, method_not_allowed
from mobile_api.gateway.delivery import answering, bound_unknown, deliver, device_of
from mobile_api.gateway.reading import Misread, Reading
from workflows import devices
from workflows.provisioning import gpslogger_profile
from workflows.remembered import DeviceIdentity

OVERLAND_OK = Answer(200, b'{"result":"ok"}', JSON)
OWNTRACKS_OK = Answer(200, b"[]", JSON)
BARE_OK = Answer(200)


@answering
def answer_osmand(call: Call) -> Answer:
    """Traccar Client, all generations, and OsmAnd: 200 without a body, or 400 (JSON: 404) for an unknown device.

    The key stands in the path or, as the app's device identifier, in the message. A message that cannot be read is
    quarantined and answered 200 if the path says whose it is: refused, it would stop all that the phone has queued.
    """
    if call.method not in ("GET", "POST"):
        return method_not_allowed("GET", "POST")
    unknown = Answer(404 if "json" in call.content_type else 400)
    key = call.key
    # Who shows his credential in the path is known before anything is taken apart.
    device = None if key is None else device_of(call, Protocol.OSMAND, key)
    if key is not None and device is None:
        return Answer(404) if osmand.is_json(call.content_type, call.body) else unknown
    if key is None:
        bound_unknown(call)
    try:
        found = osmand.messages(call.query, call.content_type, call.body)
    except Misread as misread:
        return unknown if device is None else _whole(call, device, Protocol.OSMAND, misread.reason, unknown)
    if found.generation == "json":
        unknown = Answer(404)
    if device is None:
        device = device_of(call, Protocol.OSMAND, next(iter(found.keys)) if len(found.keys) == 1 else None)
    if device is None:
        return unknown
    reading = osmand.parse(found.items, clock.now(), device.datum)
    return BARE_OK if deliver(device, reading, Protocol.OSMAND) else unknown


@answering
def answer_owntracks(call: Call) -> Answer:
    """OwnTracks: 200 and ``[]`` to whatever an authenticated device says, 401 otherwise."""
    if call.method != "POST":
        return method_not_allowed("POST")
    refused = Answer(401, headers=(("WWW-Authenticate", 'Basic realm="OwnTracks", charset="UTF-8"'),))
    shown = call.basic
    device = device_of(call, Protocol.OWNTRACKS, devices.basic_key(*shown) if shown else None)
    if device is None:
        return refused
    reading = owntracks.parse(call.body, device.datum)
    return OWNTRACKS_OK if deliver(device, reading, Protocol.OWNTRACKS) else refused


@answering
def answer_overland(call: Call) -> Answer:
    """Overland: 200 and exactly ``{"result":"ok"}`` to a device's batch, 401 otherwise; GET tells the device's name."""
    if call.method not in ("GET", "POST"):
        return method_not_allowed("GET", "POST")
    refused = Answer(401, b'{"error":"invalid_token"}', JSON, (("WWW-Authenticate", "Bearer"),))
    device = device_of(call, Protocol.OVERLAND, call.bearer)
    if device is None:
        return refused
    if call.method == "GET":
        if device.state == DeviceState.REVOKED:
            return refused
        with unit_of_work(device.town_id) as uow:
            name = devices.name_of(uow, device.device_id)
        return Answer(200, json.dumps({"name": name}, ensure_ascii=False).encode(), JSON)
    reading = overland.parse(call.body, device.datum)
    return OVERLAND_OK if deliver(device, reading, Protocol.OVERLAND) else refused


@answering
def answer_gpslogger(call: Call) -> Answer:
    """GPSLogger: 200 without a body to a device's own address, 404 to any other."""
    if call.method not in ("GET", "POST"):
        return method_not_allowed("GET", "POST")
    device = device_of(call, Protocol.GPSLOGGER, call.key)
    if device is None:
        return Answer(404)
    try:
        items = gpslogger.messages(call.query, call.content_type, call.body)
    except Misread as misread:
        return _whole(call, device, Protocol.GPSLOGGER, misread.reason, Answer(404))
    reading = gpslogger.parse(items, clock.now(), device.datum)
    return BARE_OK if deliver(device, reading, Protocol.GPSLOGGER) else Answer(404)


@answering
def answer_gpslogger_profile(call: Call) -> Answer:
    """GPSLogger's settings as the file that its set-up link downloads; whoever knows the address has the key."""
    if call.method != "GET":
        return method_not_allowed("GET")
    device = device_of(call, Protocol.GPSLOGGER, call.key)
    if device is None or device.state == DeviceState.REVOKED:
        return Answer(404)
    settings = gpslogger_profile(f"{call.base_url}/gateway/gpslogger/{call.key}")
    return Answer(200, settings.encode("ascii", "replace"), "text/plain; charset=utf-8")


def _whole(call: Call, device: DeviceIdentity, protocol: Protocol, reason: Reason, unknown: Answer) -> Answer:
    """Quarantine a request that could not be taken apart."""
    reading = Reading()
    raw: Any = {"body": call.body} if call.body else {"query": call.query}
    reading.quarantine(raw, reason)
    return BARE_OK if deliver(device, reading, protocol) else unknown


ANSWERS: dict[str, Callable[[Call], Answer]] = {
    "/gateway/osmand": answer_osmand,
    "/gateway/osmand/<key>": answer_osmand,
    "/gateway/owntracks": answer_owntracks,
    "/gateway/overland": answer_overland,
    "/gateway/gpslogger/<key>": answer_gpslogger,
    "/gateway/gpslogger/<key>/xungeng.properties": answer_gpslogger_profile,
}
"""Path to answer. ``<key>`` is one path segment, percent-decoded."""
