"""The live channel's publisher: positions on their way from the commit to the sockets, in this process and others.

A position is published after its commit and never stored here. Its JSON is made once, by the process that
committed it; what a socket receives is those bytes, joined. With Redis one message for each flush carries them to
the other processes. Redis is never waited for: what it cannot take at once is replaced by what is newer, and what is
older than a few seconds is dropped, because a client that missed it reads the list by REST.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    import redis

log = logging.getLogger(__name__)

CHANNEL = "xungeng:live:positions"
REDIS_TIMEOUT_S = 1.0
PAUSE_S = 1.0
"""After a failure Redis is left alone for so long."""
BUSY_PAUSE_S = 0.004
"""How long what comes while a message is under way is collected for the next one."""
STALE_S = 10.0
"""What could not be handed to Redis within this time is dropped."""
WAITING_OFFICERS = 50_000


class LivePosition(msgspec.Struct, frozen=True):
    """The newest showable position of an officer on duty; ``room_id`` is the area of his shift."""

    room_id: UUID
    officer_id: UUID
    fixed_at: datetime
    lon: float
    lat: float
    accuracy_m: float | None = None
    speed_mps: float | None = None
    heading_deg: float | None = None
    battery_pct: float | None = None
    area_id: UUID | None = None
    """Where he is, which need not be where he is on duty."""
    charging: bool | None = None


class Row(NamedTuple):
    """A position as it travels: who may see it, whose it is, when it was measured, and its JSON."""

    room_id: UUID
    officer_id: UUID
    fixed_at_s: float
    json: bytes


Sink = Callable[[Sequence[Row]], None]

_encoder = msgspec.json.Encoder()
_message_encoder = msgspec.msgpack.Encoder()
_message_decoder = msgspec.msgpack.Decoder(tuple[bytes, list[tuple[bytes, bytes, float, bytes]]])


def row_of(position: LivePosition) -> Row:
    """Encode a position: an array in the order of the live protocol, numbers no finer than they were measured."""
    fixed_at_s = round(position.fixed_at.timestamp(), 3)
    text = _encoder.encode(
        (
            position.officer_id,
            round(position.lon, 6),
            round(position.lat, 6),
            int(fixed_at_s) if fixed_at_s.is_integer() else fixed_at_s,
            _short(position.accuracy_m, 1),
            _short(position.speed_mps, 2),
            _short(position.heading_deg, 1),
            _short(position.battery_pct, 1),
            position.area_id,
            position.charging,
        )
    )
    return Row(position.room_id, position.officer_id, fixed_at_s, text)


def _short(value: float | None, digits: int) -> float | int | None:
    if value is None:
        return None
    rounded = round(value, digits)
    whole = int(rounded)
    return whole if whole == rounded else rounded


class Publisher:
    """Hands positions to the sinks of this process and, over Redis, to those of the others.

    Under gevent the threads used here are greenlets of the process's one thread, which is what the sockets need;
    a process without sinks (one that only takes fixes in) may have real threads.
    """

    def __init__(self) -> None:
        self._origin = os.urandom(8)
        self._sinks: list[Sink] = []
        self._bus: Bus | None = None

    def attach(self, sink: Sink) -> None:
        """Give every row to ``sink`` too, those that come over Redis included; it may not block."""
        self._sinks.append(sink)
        if self._bus is not None:
            self._bus.listen(self._heard)

    def detach(self, sink: Sink) -> None:
        """Stop giving rows to ``sink``."""
        self._sinks.remove(sink)

    def open_bus(self, redis_url: str) -> None:
        """Exchange rows with the other processes over Redis, from now on and after any fork."""
        self.close_bus()
        self._origin = os.urandom(8)
        self._bus = Bus(redis_url, self._origin)
        if self._sinks:
            self._bus.listen(self._heard)

    def close_bus(self) -> None:
        """Stop exchanging rows."""
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.close()

    @property
    def bus(self) -> Bus | None:
        """The connection to the other processes, if there is one."""
        return self._bus

    def publish(self, positions: Iterable[LivePosition]) -> None:
        """Show positions to whoever may see them. Called after the commit; never blocks and never raises."""
        try:
            rows = [row_of(position) for position in positions]
            if not rows:
                return
            if self._bus is not None:
                self._bus.post(rows)
            self._heard(rows)
        except Exception:
            # The fixes are stored and acknowledged; a screen that misses a position reads it by REST.
            log.exception("live_publish_failed")

    def _heard(self, rows: Sequence[Row]) -> None:
        for sink in self._sinks:
            sink(rows)


class Bus:
    """Redis between processes: newest rows out, other processes' rows in."""

    def __init__(self, redis_url: str, origin: bytes) -> None:
        # Here, because most installations have no Redis, and its client takes long to import.
        import redis

        self._failures = (redis.RedisError, OSError)
        self._url = redis_url
        self._origin = origin
        self._waiting: dict[UUID, tuple[float, Row]] = {}
        self._arrived = threading.Condition()
        self._closed = False
        self._sender: threading.Thread | None = None
        self._receiver: threading.Thread | None = None
        self.failures = 0
        """How often Redis could not be reached or did not answer in time."""
        self.subscribed = threading.Event()
        self._lost: set[str] = set()

    def _client(self) -> redis.Redis:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return redis.Redis.from_url(
            self._url,
            socket_timeout=REDIS_TIMEOUT_S,
            socket_connect_timeout=REDIS_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    # --- Out

    def post(self, rows: Sequence[Row]) -> None:
        """Send rows with the next message; of two rows of one officer the newer one goes."""
        now = time.monotonic()
        with self._arrived:
            for row in rows:
                before = self._waiting.get(row.officer_id)
                if before is None and len(self._waiting) >= WAITING_OFFICERS:
                    continue
                if before is None or before[1].fixed_at_s <= row.fixed_at_s:
                    self._waiting[row.officer_id] = (now, row)
            if self._sender is None:
                self._sender = threading.Thread(target=self._send, name="live-bus-out", daemon=True)
                self._sender.start()
            self._arrived.notify()

    def _send(self) -> None:
        client = self._client()
        while True:
            with self._arrived:
                while not self._waiting and not self._closed:
                    self._arrived.wait()
                if self._closed:
                    break
                waiting, self._waiting = self._waiting, {}
            oldest = time.monotonic() - STALE_S
            rows = [row for at, row in waiting.values() if at >= oldest]
            if not rows:
                continue
            message = _message_encoder.encode(
                (
                    self._origin,
                    [(row.room_id.bytes, row.officer_id.bytes, row.fixed_at_s, row.json) for row in rows],
                )
            )
            try:
                client.publish(CHANNEL, message)
                self._works("out")
                if self._waiting:  # Under load, fewer and fuller messages; a lone position never waits.
                    time.sleep(BUSY_PAUSE_S)
            except self._failures as error:
                self._failed("out", error)
                with self._arrived:
                    for officer_id, entry in waiting.items():
                        self._waiting.setdefault(officer_id, entry)
                self._pause()
        client.close()

    # --- In

    def listen(self, sink: Sink) -> None:
        """Give what other processes publish to ``sink``."""
        if self._receiver is None:
            self._receiver = threading.Thread(
                target=self._receive, args=(sink,), name="live-bus-in", daemon=True
            )
            self._receiver.start()

    def _receive(self, sink: Sink) -> None:
        while not self._closed:
            client = self._client()
            try:
                with client.pubsub(ignore_subscribe_messages=True) as subscription:
                    subscription.subscribe(CHANNEL)
                    self.subscribed.set()
                    self._works("in")
                    while not self._closed:
                        message = subscription.get_message(timeout=REDIS_TIMEOUT_S / 2)
                        if message is not None:
                            self._take(message["data"], sink)
            except self._failures as error:
                self._failed("in", error)
            finally:
                self.subscribed.clear()
                client.close()
            if not self._closed:
                self._pause()

    def _take(self, data: bytes, sink: Sink) -> None:
        try:
            origin, packed = _message_decoder.decode(data)
            if origin == self._origin:
                return
            rows = [
                Row(UUID(bytes=room), UUID(bytes=officer), at, text) for room, officer, at, text in packed
            ]
        except (msgspec.MsgspecError, ValueError):
            log.warning("live_bus_unreadable")
            return
        try:
            sink(rows)
        except Exception:
            log.exception("live_sink_failed")

    # --- Either

    def _failed(self, direction: str, error: Exception) -> None:
        self.failures += 1
        if direction not in self._lost:  # Once for each loss, not once a second for as long as it lasts.
            self._lost.add(direction)
            log.warning("live_bus_lost", extra={"direction": direction, "error": type(error).__name__})

    def _works(self, direction: str) -> None:
        if direction in self._lost:
            self._lost.discard(direction)
            log.warning("live_bus_back", extra={"direction": direction})

    def _pause(self) -> None:
        deadline = time.monotonic() + PAUSE_S
        while not self._closed and time.monotonic() < deadline:
            time.sleep(0.05)

    def close(self) -> None:
        """Stop both directions."""
        with self._arrived:
            self._closed = True
            self._arrived.notify_all()


live = Publisher()
"""The publisher of this process."""


def publish(positions: Iterable[LivePosition]) -> None:
    """Show positions to whoever may see them, in this process and the others. Never blocks and never raises."""
    live.publish(positions)
