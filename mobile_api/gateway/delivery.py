"""From a reading to the store: what all gateways do after they have understood a message and before they answer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import wraps

from prometheus_client import Counter as Figure

from backend.core.addresses import network_of
from backend.core.errors import Refusal, TooMany
from backend.core.failures import refusal_for
from backend.core.metrics import ENUMERATION_ALERTS, LIMITED, REGISTRY
from backend.core.uow import unit_of_work
from backend.core.vocabulary import DeviceState
from geo.datum import DATUMS
from mobile_api.gateway.call import Answer, Call
from mobile_api.gateway.reading import Alarm, Reading
from mobile_api.limits import Buckets
from workflows import alarms, devices, tracks
from workflows.alarms import Place
from workflows.remembered import DeviceIdentity

MESSAGES = Figure(
    "xungeng_gateway_messages_total",
    "Messages of trackers that hold no fix.",
    ["protocol", "kind"],
    registry=REGISTRY,
)
KINDS = frozenset(
    {"heartbeat", "alarm", "empty", "current", "trip", "trip_status", "visit", "action", "waypoint", "waypoints",
     "transition", "status", "lwt", "card", "steps", "beacon", "request", "cmd", "configuration", "dump",
     "revoked"}
)  # fmt: skip
"""A phone may call a message anything; a figure has no more labels than these."""

PER_SECOND, BURST = 50.0, 2000.0
"""Calls of one device. An app with a backlog sends one after the other, some 20 a second; nobody else has to wait
because a stolen credential floods the gate."""
CALL_BYTES = 2048
"""So much of a body counts as one call more: ten thousand records take a second, in which nobody else is served.
The burst is 4 MiB, and three days of backlog are done in two minutes."""
UNKNOWN_BOUND = 60
UNKNOWN_WINDOW_S = 300.0
UNKNOWN_PER_SECOND, UNKNOWN_BURST = 5.0, 300.0
"""Calls of one address whose credentials open nothing. What is more is told to wait, which costs the right ones of
that address nothing."""
UNPROVEN_BODY_BYTES = 64 * 1024
"""What is taken apart to look for a credential once an address has used up its unknown calls: a tracker that names
itself in the message sends one position at a time, a kilobyte or two."""

log = logging.getLogger(__name__)


def deliver(device: DeviceIdentity, reading: Reading, protocol: str) -> bool:
    """Store what was read and return whether the device is to be told that all is well.

    It is not when its credential is no longer valid. What it measured while the credential was valid and could not send
    until now is set aside with that reason, and accepted, so that an offline phone gets rid of it (F23).

    An alarm is written down even when its fix cannot be stored just now: the phone sends it once.

    Raises:
        Unavailable: nothing could be stored; the phone keeps what it has and comes again.
    """
    if device.state == DeviceState.REVOKED:
        until = device.revoked_at
        earlier = [fix for fix in reading.fixes if until is not None and fix.fixed_at < until]
        if not earlier:
            return False
        # Nothing else of it is kept: who found a credential in the rubbish could fill the quarantine with the rest.
        MESSAGES.labels(protocol, "revoked").inc(len(reading.fixes) - len(earlier) + len(reading.quarantined))
        reading.fixes, reading.quarantined = earlier, []
    for kind, count in reading.counted.items():
        MESSAGES.labels(protocol, kind if kind in KINDS else "other").inc(count)
    stored = False
    if reading.fixes or reading.quarantined:
        try:
            stored = tracks.ingest(device, reading.fixes, reading.quarantined, protocol).stored > 0
        except Refusal:
            if not reading.alarms:
                raise
    if reading.alarms and device.state != DeviceState.REVOKED:
        _record_alarms(device, reading, protocol, stored)
    return True


def _record_alarms(device: DeviceIdentity, reading: Reading, protocol: str, stored: bool) -> None:
    with unit_of_work(device.town_id) as uow:
        for alarm in reading.alarms:
            place = _place(alarm, device.datum)
            # While a call stands, further presses are bounded; a first one is never one too many.
            stands = alarms.tracker_pressed_again(uow, device.officer_id, place=place, device_at=alarm.at)
            command_id = devices.record_alarm(
                uow,
                device_id=device.device_id,
                officer_id=device.officer_id,
                protocol=protocol,
                word=alarm.word,
                device_at=alarm.at,
                raw=alarm.raw,
                # With several fixes in one request it is not known which of them were let through; then the message
                # is kept as well, which is better than not at all.
                fix_stored=stored and alarm.fix is not None and len(reading.fixes) == 1,
                bounded=stands,
            )
            if command_id is not None:
                alarms.tracker_call(
                    uow,
                    device.officer_id,
                    command_id=command_id,
                    place=place,
                    device_at=alarm.at,
                    word=alarm.word,
                )


def _place(alarm: Alarm, datum: str) -> Place | None:
    """Where the tracker says that help is needed, if that is a place on earth."""
    fix = alarm.fix
    if fix is None or not (-180 <= fix.lon <= 180 and -90 <= fix.lat <= 90):
        return None
    return alarms.told_place(
        {
            "lon": fix.lon,
            "lat": fix.lat,
            "datum": fix.datum if fix.datum in DATUMS else datum,
            "accuracy_m": fix.accuracy_m,
            "fixed_at": fix.fixed_at,
        }
    )


def answering(handle: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
    """Turn refusals into bare answers: trackers read the status, and nobody reads a body."""

    @wraps(handle)
    def answer(call: Call) -> Answer:
        try:
            return handle(call)
        except Exception as error:
            refusal = error if isinstance(error, Refusal) else refusal_for(error)
            if refusal is None:
                # Where it happened is logged without values: a message may say where a person is.
                frame = error.__traceback__
                while frame is not None and frame.tb_next is not None:
                    frame = frame.tb_next
                where = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "?"
                log.error("gateway.failed", extra={"error": type(error).__name__, "where": where})
                return Answer(500)
            return refused(refusal)

    return answer


def refused(refusal: Refusal) -> Answer:
    """Return a refusal's status and headers, without a body."""
    return Answer(refusal.status, headers=tuple(refusal.headers.items()))


class Misses:
    """Counts credentials that open nothing, by network, and raises the alarm at the bound (F43).

    Nobody is shut out: whole towns of phones share an address, and one that was not set up again after a renewal asks
    every few seconds. A credential has 256 bits; what matters is that somebody learns of the guessing.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._until = 0.0
        self._lock = threading.Lock()

    def count(self, address: str) -> None:
        """Count one."""
        with self._lock:
            now = time.monotonic()
            if now >= self._until or len(self._counts) > 10_000:
                self._counts.clear()
                self._until = now + UNKNOWN_WINDOW_S
            network = network_of(address)
            count = self._counts[network] = self._counts.get(network, 0) + 1
        if count == UNKNOWN_BOUND:
            ENUMERATION_ALERTS.inc()
            log.warning("enumeration.suspected", extra={"caller_kind": "tracker"})


MISSES = Misses()
BUCKETS = Buckets(PER_SECOND, BURST)
UNKNOWN = Buckets(UNKNOWN_PER_SECOND, UNKNOWN_BURST)


def device_of(call: Call, protocol: str, key: str | None) -> DeviceIdentity | None:
    """Return the device whose credential was shown, or None, counting the miss.

    Raises:
        TooMany: one device calls more often than any app does, also with days of backlog to get rid of, or one address
            with credentials that open nothing.
    """
    device = tracks.device_for(protocol, key) if key and len(key) <= 256 else None
    if device is None:
        MISSES.count(call.address)
        if wait_s := UNKNOWN.take(network_of(call.address)):
            LIMITED.inc()
            raise TooMany(wait_s)
    elif wait_s := BUCKETS.take(device.device_id):
        LIMITED.inc()
        raise TooMany(wait_s)
    else:
        BUCKETS.charge(device.device_id, len(call.body) // CALL_BYTES)
    return device


def bound_unknown(call: Call) -> None:
    """Refuse to look for a credential in a large body of an address that has shown too many which open nothing.

    Raises:
        TooMany: come again later.
    """
    if len(call.body) > UNPROVEN_BODY_BYTES and (wait_s := UNKNOWN.wait_s(network_of(call.address))):
        LIMITED.inc()
        raise TooMany(wait_s)
