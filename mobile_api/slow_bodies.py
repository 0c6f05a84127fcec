"""An end to the patience with bodies that do not arrive.

A client that declares a body and sends a byte now and then holds a connection for as long as it likes, and there are
only so many. So a body has to be there within ``BODY_S`` in all, and one address may have only so many that are being
waited for; who goes beyond either is told so and loses the connection. A reverse proxy that reads whole bodies first
does this too; here it holds without one.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import cycle
from typing import Any

import gevent
from gevent.monkey import get_original
from gunicorn.http.body import LengthReader

from backend.core.addresses import network_of
from backend.core.errors import Refusal, TooMany

BODY_S = 15.0
"""From the end of the head to the end of the body: 2 MiB at 140 kB/s, and a fix in one packet."""
WAITED_FOR = 200
"""Bodies of one address that are being waited for. What comes beyond them has to be there already: a whole town's
phones may share an address with one that misbehaves."""
AT_ONCE_S = 0.25
SOME_BYTES = 64 * 1024
"""At most so much is read at once in the loop."""
RUSH_BYTES = 512 * 1024
RUSH_MOST_BYTES = 32 * 1024 * 1024
"""So much is read beside the loop until somebody else has his turn."""
PAUSE_MS = 2
"""Whoever sends nothing for so long is waited for in the loop again."""

Environ = dict[str, Any]
Writing = Callable[[], AbstractContextManager[Callable[[memoryview], None]]]
"""Opens what pieces are written with; a piece is another's again once the one after it was written."""
WsgiApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class TooSlow(Refusal):
    """408: the body was not there in time."""

    status, code, title = 408, "timed_out", "The request took too long to arrive."


class Patience:
    """A WSGI application in front of another, which then reads bodies that come in time or not at all.

    It belongs behind whatever takes declared proxies off the address, and acts under gunicorn's gevent worker, whose
    connections are greenlets.
    """

    def __init__(self, app: WsgiApp, body_s: float = BODY_S, waited_for: int = WAITED_FOR) -> None:
        self._app = app
        self.body_s = body_s
        self.waited_for = waited_for
        self.waiting: Counter[str] = Counter()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "gunicorn.socket" in environ and (
            environ.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in environ
        ):
            environ["wsgi.input"] = _Body(environ, self)
        return self._app(environ, start_response)


class _Body:
    """``wsgi.input`` with a deadline."""

    def __init__(self, environ: Environ, patience: Patience) -> None:
        self._stream = environ["wsgi.input"]
        self._socket = environ["gunicorn.socket"]
        self._network = network_of(environ.get("REMOTE_ADDR"))
        self._patience = patience
        self._until = time.monotonic() + patience.body_s

    def renew(self) -> None:
        """Wait as long again from now on: whoever reads a long body in parts bounds each of them, and not the whole."""
        self._until = time.monotonic() + self._patience.body_s

    def read(self, *size: Any) -> bytes:
        return self._in_time(self._stream.read, *size)

    def some(self, most: int) -> bytes:
        """Return what is there of the body, at most so much of it, once there is anything; nothing at its end.

        Unlike ``read`` it leaves nothing behind that has arrived before a connection breaks, and copies nothing twice.
        """
        reader = self._reader
        if reader is None:
            return self.read(min(most, 8 * 1024))
        most = min(most, SOME_BYTES, reader.length)
        if not most:
            return b""
        if held := reader.unreader.take_buffered():
            data = held[:most]
            reader.unreader.unread(held[most:])
        else:
            try:
                data = self._in_time(self._socket.recv, most)
            except BaseException:
                self._stream.failed = True
                raise
        reader.length -= len(data)
        return bytes(data)

    def rush(self, run: Callable[..., Any], writing: Writing, most: int) -> int:
        """Have ``run``, which works beside the loop, write what comes for as long as it comes fast; return how much.

        A sender who is as fast as the disk costs the loop nothing so. Where that cannot be done, nothing is.
        """
        reader = self._reader
        if reader is None or not isinstance(self._socket, gevent.socket.socket):
            return 0  # Chunks have to be told apart, and TLS has its own state.
        most = min(most, RUSH_MOST_BYTES, reader.length)
        if most < SOME_BYTES:
            return 0
        came: list[int] = []
        try:
            run(_rush, self._socket.fileno(), writing, most, came)
        finally:
            reader.length -= sum(came)
        return sum(came)

    @property
    def _reader(self) -> Any:
        """What gunicorn reads a body of known length with; None where it is another, or has begun."""
        reader = getattr(self._stream, "reader", None)
        begun = getattr(self._stream, "buf", None)
        plain = isinstance(reader, LengthReader) and begun is not None and not begun.tell()
        return reader if plain else None

    def readline(self, *size: Any) -> bytes:
        return self._in_time(self._stream.readline, *size)

    def readlines(self, *size: Any) -> list[bytes]:
        return self._in_time(self._stream.readlines, *size)

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        if line := self.readline():
            return line
        raise StopIteration

    def _in_time(self, read: Callable[..., Any], *size: Any) -> Any:
        waiting, network = self._patience.waiting, self._network
        crowded = waiting[network] >= self._patience.waited_for
        left_s = max(0.0, self._until - time.monotonic())
        timeout = gevent.Timeout(min(left_s, AT_ONCE_S) if crowded else left_s)
        waiting[network] += 1
        timeout.start()
        try:
            return read(*size)
        except gevent.Timeout as expired:
            if expired is not timeout:
                raise
            self._hang_up()
            raise (TooMany(self._patience.body_s) if crowded else TooSlow()) from None
        finally:
            timeout.close()
            waiting[network] -= 1
            if not waiting[network]:
                del waiting[network]

    def _hang_up(self) -> None:
        """End what comes from the client: gunicorn would wait for the rest of the body after the answer."""
        with contextlib.suppress(OSError):
            # The socket below TLS, whose state the answer still needs.
            below: Any = getattr(self._socket, "_sock", self._socket)
            below.shutdown(socket.SHUT_RD)


def _rush(descriptor: int, writing: Writing, most: int, came: list[int]) -> None:
    """Write what comes at a socket until it pauses, ends or breaks, which whoever reads there next will meet."""
    # Two, since what was written last may be looked at still.
    buffers = cycle([memoryview(bytearray(RUSH_BYTES)), memoryview(bytearray(RUSH_BYTES))])
    waiting = get_original("select", "poll")()
    waiting.register(descriptor, select.POLLIN)
    left = most
    with writing() as write:
        for buffer in buffers:
            try:
                while (count := _read(descriptor, buffer[: min(RUSH_BYTES, left)])) is None:
                    if not waiting.poll(PAUSE_MS):
                        return
            except OSError:
                return
            if not count:
                return
            came.append(count)
            write(buffer[:count])
            left -= count
            if not left:
                return


def _read(descriptor: int, buffer: memoryview) -> int | None:
    """Read what is there; None if nothing is."""
    try:
        return os.readv(descriptor, [buffer])
    except BlockingIOError:
        return None
