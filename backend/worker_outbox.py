"""The worker's part of the outbox: threads that claim, send and mark, for every town, beside any number of others.

Each channel that is set up has two threads here, one for what is urgent alone, so a provider that hangs holds up
nobody but itself and no urgent message behind ordinary ones. One more thread looks where something is due: as soon as
a notice is committed (LISTEN), and otherwise once a second, because a notification is a hint, and pauses and turns
come due by the clock.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import structlog

from backend.core.config import Config, libpq_url
from backend.core.listen import NOTICES, Listener
from backend.core.notice_settings import NoticeSettings
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import NoticeChannel
from notifications import delivering, reach
from notifications.delivering import Claimed, Sendable
from notifications.sending import Channels, Outcome, deliver, in_time

LOOK_EVERY_S = 1.0
IDLE_S = 60.0
LONGEST_PAUSE_S = 300.0
FAIL_AFTER_SEND = "XUNGENG_FAIL_AFTER_SEND"
"""For tests: 1 makes the process die between sending and marking (F11). No installation sets it."""

log = structlog.get_logger(__name__)


class Lane:
    """One thread's work: one channel, what is urgent or the rest."""

    def __init__(self, channels: Channels, name: NoticeChannel, urgent: bool) -> None:
        self.name, self.urgent = name, urgent
        self._channels = channels
        self._towns: set[UUID] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._paused_until = 0.0
        self._thread = threading.Thread(target=self._run, name=f"outbox {name}", daemon=True)

    def start(self) -> None:
        """Begin to wait for something to do."""
        self._thread.start()

    def tell(self, town_id: UUID) -> None:
        """Something of the town is due."""
        with self._lock:
            self._towns.add(town_id)
        self._wake.set()

    def stop(self) -> None:
        """End after the message that is under way."""
        self._stopping = True
        self._wake.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait()
            self._wake.clear()
            towns: set[UUID] = set()
            while towns := towns | self._told():
                for town_id in sorted(towns):
                    # A batch of each in turn: one town's broadcast holds up no other's notices.
                    if self._stopping or time.monotonic() < self._paused_until or not self._some(town_id):
                        towns.discard(town_id)

    def _told(self) -> set[UUID]:
        with self._lock:
            told, self._towns = self._towns, set()
        return told

    def _some(self, town_id: UUID) -> int:
        try:
            return self.send_some(town_id)
        except Exception as error:
            # What was leased comes back when its lease runs out.
            log.error("outbox.failed", channel=str(self.name), error=type(error).__name__, exc_info=True)
            time.sleep(0.5)
            return 0

    def send_some(self, town_id: UUID) -> int:
        """Send what is due of a town, up to a batch; return how much was claimed."""
        with unit_of_work(town_id) as uow:
            claimed = delivering.claim(uow, self.name, urgent=self.urgent)
        if not claimed:
            return 0
        with unit_of_work(town_id) as uow:
            ready = delivering.prepare(uow, claimed)
        for sendable in ready:
            pause_s = self._paused_until - time.monotonic()
            if pause_s > 0 or self._stopping or not in_time(sendable):
                with unit_of_work(town_id) as uow:
                    delivering.release(uow, sendable.claimed, max(0.0, pause_s))
            else:
                self._send(town_id, sendable)
        return len(claimed)

    def _send(self, town_id: UUID, sendable: Sendable) -> None:
        try:
            outcome = deliver(self._channels.get(self.name), sendable)
        except Exception as error:
            # A mistake of ours in one message must not hold up the others, nor be repeated for ever.
            log.error(
                "outbox.channel_failed", channel=str(self.name), error=type(error).__name__, exc_info=True
            )
            outcome = Outcome(False, code="internal_error")
        if outcome.taken and os.environ.get(FAIL_AFTER_SEND) == "1":
            os._exit(137)
        with unit_of_work(town_id) as uow:
            for address_id, reason in outcome.dead:
                delivering.prune(uow, [address_id], reason)
            held = _mark(uow, sendable.claimed, outcome)
        if not held:
            log.warning("outbox.lease_lost", channel=str(self.name), delivery_id=str(sendable.claimed.id))
        if outcome.all_wait:
            self._paused_until = time.monotonic() + min(LONGEST_PAUSE_S, outcome.after_s or 5.0)


def _mark(uow: UnitOfWork, one: Claimed, outcome: Outcome) -> bool:
    if outcome.taken:
        return delivering.sent(uow, one, outcome.ref)
    code = outcome.code or "unknown"
    if outcome.final:
        return delivering.refused(uow, one, code)
    return delivering.later(uow, one, code, outcome.after_s)


class Sender:
    """All lanes of this process, and the thread that tells them where something is due."""

    def __init__(self, settings: NoticeSettings, conninfo: str | None) -> None:
        """Describe the sender; nothing happens before ``start``. Without ``conninfo`` it looks by the clock alone."""
        channels = Channels(settings)
        self.lanes = {
            (name, urgent): Lane(channels, name, urgent)
            for name in sorted(settings.configured)
            for urgent in (True, False)
        }
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._listener = Listener(conninfo) if conninfo else None
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Begin. Without any channel it looks now and then for what is left of one."""
        if self._listener is not None and self.lanes:
            self._listener.on(NOTICES, lambda _: self._wake.set())
            self._listener.on_missed(self._wake.set)
            self._listener.start()
        for lane in self.lanes.values():
            lane.start()
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End after the messages that are under way; what is not waited for is sent again by another worker."""
        self._stopping.set()
        self._wake.set()
        for lane in self.lanes.values():
            lane.stop()
        deadline = time.monotonic() + timeout_s
        self._thread.join(timeout_s)
        for lane in self.lanes.values():
            lane.join(max(0.0, deadline - time.monotonic()))
        if self._listener is not None:
            self._listener.stop()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.look()
            except Exception as error:
                log.warning("outbox.not_looked", error=type(error).__name__)
            self._wake.wait(LOOK_EVERY_S if self.lanes else IDLE_S)
            self._wake.clear()

    def look(self) -> None:
        """Tell each lane in which towns it has something to do; what has no lane any more is given up."""
        with unit_of_work() as uow:
            found = delivering.due(uow)
        for town_id, name, urgent in found:
            lane = self.lanes.get((name, urgent))
            if lane is not None:
                lane.tell(town_id)
                continue
            with unit_of_work(town_id) as uow:
                claimed = delivering.claim(uow, name, urgent=urgent, most=100)
            with unit_of_work(town_id) as uow:
                delivering.abandon(uow, claimed)


def start(config: Config, in_every_town: Callable[[Callable[[UnitOfWork], Any]], Any]) -> Sender:
    """Begin to send in this process, and say whom an SOS would reach by the open app alone."""
    reach.use(config.notices)
    sender = Sender(config.notices, libpq_url(config.database_url))
    sender.start()

    def warn(uow: UnitOfWork) -> None:
        if sentence := reach.warning(uow):
            log.warning(sentence)

    in_every_town(warn)
    return sender


@contextmanager
def running(config: Config, in_every_town: Callable[[Callable[[UnitOfWork], Any]], Any]) -> Iterator[None]:
    """Send for as long as the block lasts."""
    sender = start(config, in_every_town)
    try:
        yield
    finally:
        sender.stop()
