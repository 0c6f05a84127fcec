"""What other processes say: LISTEN on PostgreSQL, with a catch-up whenever something may have been missed.

A notification is a hint, never the truth: it makes a process forget what it remembers of a row. PostgreSQL
keeps none for who is not connected, so after each connection, and as soon as one is lost, every ``missed``
handler is called and forgets everything that it would otherwise have been told about.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql

SESSIONS = "xungeng_sessions"
SHIFTS = "xungeng_shifts"
DEVICES = "xungeng_devices"
AREAS = "xungeng_areas"
CHANGES = "xungeng_changes"
"""Something that people see has changed: ``{town_id, kind, id, version, area_id, user_ids, action}``, never more."""
NOTICES = "xungeng_notices"
"""``{town_id, user_id, notice_id, kind, subject_kind, subject_id}`` of each new notice, at its commit."""

LOOK_EVERY_S = 0.5
"""How long the thread waits for a notification before it looks whether it is to stop or to hear more."""
PING_AFTER_S = 15.0
"""After this much silence the connection is asked whether it lives; TCP alone would not tell for hours."""
RETRY_S = (0.1, 0.25, 0.5, 1.0)
"""Pauses between attempts to connect; the last one repeats."""

Handler = Callable[[dict[str, Any]], None]

log = logging.getLogger(__name__)


class Listener:
    """One connection of a process that listens, and the handlers of its channels.

    Handlers run one after the other on the listener's thread (a greenlet under gevent), so they must not
    block; one that raises is logged and does not stop the others.
    """

    def __init__(self, conninfo: str) -> None:
        """Describe the connection; nothing happens before ``start``. ``conninfo`` is as libpq reads it."""
        self._conninfo = conninfo
        self._handlers: dict[str, list[Handler]] = {}
        self._missed: list[Callable[[], None]] = []
        self._stopping = threading.Event()
        self._connected = threading.Event()
        self._thread: threading.Thread | None = None

    def on(self, channel: str, handler: Handler) -> None:
        """Call ``handler`` with the payload (a JSON object) of each notification of ``channel``."""
        self._handlers.setdefault(channel, []).append(handler)

    def on_missed(self, handler: Callable[[], None]) -> None:
        """Call ``handler`` when notifications may have been lost: at each connect and each disconnect."""
        self._missed.append(handler)

    @property
    def connected(self) -> bool:
        """Whether notifications arrive at this moment; where not, memory is trusted for a short time only."""
        return self._connected.is_set()

    def start(self, timeout_s: float = 0.0) -> None:
        """Begin to listen, once per process and after any fork, and wait ``timeout_s`` at most for it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="listen", daemon=True)
            self._thread.start()
        if timeout_s:
            self._connected.wait(timeout_s)

    def stop(self) -> None:
        """Stop listening, which takes up to ``LOOK_EVERY_S``."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5)
            self._thread = None

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self._conninfo, autocommit=True, connect_timeout=5) as connection:
                    self._listen(connection, heard := set[str]())
                    self._connected.set()
                    failures = 0
                    self._hear(connection, heard)
            except (psycopg.Error, OSError) as error:
                log.warning("listening_lost", extra={"error": type(error).__name__})
            finally:
                self._connected.clear()
            if self._stopping.is_set():
                return
            self._forget()
            self._stopping.wait(RETRY_S[min(failures, len(RETRY_S) - 1)])
            failures += 1

    def _listen(self, connection: psycopg.Connection, heard: set[str]) -> None:
        """Listen to the channels that are not ``heard`` yet, then forget what was said before."""
        for channel in [channel for channel in self._handlers if channel not in heard]:
            connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
            heard.add(channel)
        self._forget()

    def _hear(self, connection: psycopg.Connection, heard: set[str]) -> None:
        silent_s = 0.0
        while not self._stopping.is_set():
            if len(self._handlers) > len(heard):
                self._listen(connection, heard)
            silent_s += LOOK_EVERY_S
            for notification in connection.notifies(timeout=LOOK_EVERY_S):
                self._tell(notification.channel, notification.payload)
                silent_s = 0.0
            if silent_s >= PING_AFTER_S:
                connection.execute("select 1")
                silent_s = 0.0

    def _tell(self, channel: str, payload: str) -> None:
        try:
            message = json.loads(payload)
        except ValueError:
            message = {}
        for handler in self._handlers.get(channel, ()):
            try:
                handler(message)
            except Exception:
                log.exception("listening_handler_failed", extra={"channel": channel})

    def _forget(self) -> None:
        for handler in self._missed:
            try:
                handler()
            except Exception:
                log.exception("listening_handler_failed", extra={"channel": "missed"})


_listener: Listener | None = None


def set_listener(listener: Listener | None) -> None:
    """Make ``listener`` the one of this process; composition roots and tests call this."""
    global _listener
    _listener = listener


def get_listener() -> Listener | None:
    """Return this process's listener, or None where nobody listens and memory may live for seconds only."""
    return _listener
