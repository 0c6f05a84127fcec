"""One WebSocket on gevent's event loop: no greenlet of its own, full writes, a bounded queue.

A write goes straight to the kernel while the client keeps up. When the kernel takes only a part, the rest becomes the
head of a queue that the event loop drains whenever the socket can be written to; nothing is written between the two
halves of a frame, which is what simple-websocket 1.1.0 gets wrong on gevent. What waits in the queue is of two kinds:
frames that must arrive, which are bounded in number and bytes and past the bound cost the client its connection
(close code 4408), and held keys, for which a frame is made when there is room for it, from what is newest then.

**Ownership.** All methods are called on the thread that runs the event loop, and none of them yields to another
greenlet: each runs from beginning to end as if it held a lock on the socket.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import gevent

from mobile_api.sockets.frames import (
    BINARY,
    CLOSE,
    NORMAL,
    PING,
    POLICY,
    PONG,
    TEXT,
    TOO_SLOW,
    UNSUPPORTED,
    Decoder,
    FrameError,
    close_frame,
    frame,
)

log = logging.getLogger("xungeng.sockets")

QUEUED_BYTES = 256 * 1024
"""Bytes of frames that must arrive and wait for one client, beyond the one that is being written."""
QUEUED_FRAMES = 1024
"""The same in frames."""
MESSAGE_BYTES = 16 * 1024
"""The largest message a client may send: an access token and some room."""
FLOOD_MESSAGES, FLOOD_WINDOW_S = 200, 10.0
"""A client that sends more messages than this within the window is closed."""

_READ_BYTES = 16 * 1024
_JOINED_BYTES = 16 * 1024
_DRAINED_BYTES = 512 * 1024
_READ, _WRITE = 1, 2

OPEN, CLOSING, CLOSED = 1, 2, 3

Maker = Callable[[], tuple[bytes | None, bool]]
"""Makes the frame for a held key when there is room for it (None when there is nothing to say any more), and says
whether there is more of it to come."""


class Stream(Protocol):
    """A connected, non-blocking byte stream; ``send`` and ``recv`` raise BlockingIOError when they would wait."""

    def send(self, data: Any, /) -> int: ...

    def recv(self, size: int, /) -> bytes: ...

    def fileno(self) -> int: ...

    def close(self) -> None: ...


class NeedsToReadError(BlockingIOError):
    """TLS has to receive something before it can send."""


class TlsStream:
    """A TLS socket whose wish to wait looks like that of a plain one."""

    __slots__ = ("_socket", "released")

    def __init__(self, tls_socket: Any, released: Callable[[], None]) -> None:
        """``released`` is called instead of closing: whoever accepted the socket closes it."""
        tls_socket.setblocking(False)
        self._socket = tls_socket
        self.released = released

    def send(self, data: Any, /) -> int:
        try:
            return int(self._socket.send(data))
        except ssl.SSLWantWriteError:
            raise BlockingIOError from None
        except ssl.SSLWantReadError:
            raise NeedsToReadError from None

    def recv(self, size: int, /) -> bytes:
        try:
            return bytes(self._socket.recv(size))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except ssl.SSLEOFError:
            return b""

    def fileno(self) -> int:
        return int(self._socket.fileno())

    def close(self) -> None:
        self.released()


class Owner(Protocol):
    """Who is told what happens on a connection; called on the event loop, so none of these may wait."""

    def received(self, connection: Any, text: bytes) -> None:
        """A whole text message came in."""

    def left(self, connection: Any, code: int, reason: str) -> None:
        """The connection takes and brings nothing more; told exactly once, before the socket is closed."""

    def lingers(self, connection: Any) -> None:
        """A close frame is on its way; whoever owns the connection aborts it if the peer does not answer."""

    def stalled(self, connection: Any) -> None:
        """The client does not read as fast as it is written to; the connection has a ``backlog`` now."""


class Backlog:
    """What one slow client has not been sent yet."""

    __slots__ = ("closing", "head", "held", "queue", "since", "size", "started", "watcher")

    def __init__(self, head: memoryview, started: bool, watcher: Any) -> None:
        self.head = head
        self.started = started
        self.queue: deque[Any] = deque()  # Frames, and keys of ``held``, in the order they came.
        self.held: dict[Hashable, Maker] = {}
        self.size = 0
        self.since = time.monotonic()
        self.closing = False
        self.watcher = watcher

    def next(self) -> bytes | None:
        """Take what is to be written next; small frames in a row are joined into one write."""
        queue = self.queue
        while queue:
            entry = queue.popleft()
            if not isinstance(entry, bytes):
                made, more = self.held[entry]()
                if more:
                    queue.append(entry)
                else:
                    del self.held[entry]
                if made is not None:
                    return made
                continue
            size = len(entry)
            self.size -= size
            if size >= _JOINED_BYTES or not queue:
                return entry
            parts = [entry]
            while queue and isinstance(queue[0], bytes) and size + len(queue[0]) <= _JOINED_BYTES:
                part = queue.popleft()
                parts.append(part)
                size += len(part)
                self.size -= len(part)
            return b"".join(parts)
        return None


class Connection:
    """A server's end of one WebSocket, from the answered handshake on."""

    __slots__ = (
        "_decoder", "_flood_count", "_flood_since", "_owner", "_reader", "backlog", "state", "stream", "write",
    )  # fmt: skip

    def __init__(self, stream: Stream, owner: Owner, message_bytes: int = MESSAGE_BYTES) -> None:
        self.stream = stream
        self.write = stream.send
        self.backlog: Backlog | None = None
        self.state = OPEN
        self._owner = owner
        self._decoder = Decoder(message_bytes)
        self._flood_since, self._flood_count = 0.0, 0
        self._reader = gevent.get_hub().loop.io(stream.fileno(), _READ)
        self._reader.start(self._readable)

    # --- Writing

    def send(self, data: bytes) -> bool:
        """Write a frame that must arrive, or queue it; past the bound the connection closes with 4408.

        Returns whether the frame is on its way.
        """
        backlog = self.backlog
        if backlog is None:
            return self.state == OPEN and self._write_now(data)
        if backlog.closing:
            return False
        backlog.queue.append(data)
        backlog.size += len(data)
        if backlog.size > QUEUED_BYTES or len(backlog.queue) > QUEUED_FRAMES:
            self.close(TOO_SLOW, "too slow")
            return False
        return True

    def send_latest(self, data: bytes, key: Hashable, make: Callable[[], Maker]) -> bool:
        """Write a frame at once if nothing waits; else hold ``key``, once, until there is room.

        ``make`` is called only when the key begins to be held and returns the Maker of its frame: what is written
        then stands for this frame and all later ones of the key.
        """
        backlog = self.backlog
        if backlog is None:
            return self.state == OPEN and self._write_now(data)
        if backlog.closing:
            return False
        if key not in backlog.held:
            backlog.held[key] = make()
            backlog.queue.append(key)
        return True

    def _write_now(self, data: bytes) -> bool:
        try:
            sent = self.write(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.lost()
            return False
        if sent != len(data):
            self.stall(data, sent)
        return True

    def stall(self, data: bytes, sent: int) -> Backlog:
        """Begin a backlog with the unwritten rest of ``data``, of which the kernel took ``sent`` bytes."""
        watcher = gevent.get_hub().loop.io(self.stream.fileno(), _WRITE)
        # TLS has seen all of the data and wants to be given the same again, even when it took none.
        started = sent > 0 or isinstance(self.stream, TlsStream)
        backlog = self.backlog = Backlog(memoryview(data)[sent:], started, watcher)
        watcher.start(self._writable)
        self._owner.stalled(self)
        return backlog

    def _writable(self) -> None:
        backlog = self.backlog
        if backlog is None:
            return
        try:
            self._drain(backlog)
        except NeedsToReadError:
            backlog.watcher.stop()  # _readable goes on.
        except BlockingIOError:
            pass
        except OSError:
            self.lost()
        except Exception:
            log.exception("A live connection failed while writing.")
            self.lost()

    def _drain(self, backlog: Backlog) -> None:
        written = 0
        while written < _DRAINED_BYTES:
            head = backlog.head
            if head:
                backlog.started = backlog.started or isinstance(self.stream, TlsStream)
                sent = self.write(head)
                written += sent
                if sent < len(head):
                    backlog.head = head[sent:]
                    backlog.started = True
                    return
            backlog.since = time.monotonic()
            following = backlog.next()
            if following is None:
                self._drained(backlog)
                return
            backlog.head, backlog.started = memoryview(following), False

    def _drained(self, backlog: Backlog) -> None:
        backlog.watcher.stop()
        backlog.watcher.close()
        self.backlog = None

    # --- Closing

    def close(self, code: int = NORMAL, reason: str = "", last: bytes = b"") -> None:
        """Say goodbye: a frame under way is finished, what waits behind it is dropped, ``last`` and a close frame go.

        The owner is told at once; the socket stays until the peer has closed or the owner aborts it.
        """
        if self.state != OPEN:
            return
        self.state = CLOSING
        self._owner.left(self, code, reason)
        self._end_with(last + close_frame(code, reason))
        # _end_with may have found the connection dead.
        if self.state == CLOSING:
            self._owner.lingers(self)

    def _end_with(self, data: bytes) -> None:
        backlog = self.backlog
        if backlog is None:
            if self._write_now(data) and self.backlog is not None:
                self.backlog.closing = True
            return
        backlog.closing = True
        backlog.held.clear()
        backlog.queue.clear()
        backlog.size = 0
        if backlog.started:
            backlog.queue.append(data)
        else:
            backlog.head = memoryview(data)

    def abort(self) -> None:
        """Drop the connection without another word."""
        if self.state == OPEN:
            self.state = CLOSING
            self._owner.left(self, 1006, "aborted")
        self._release()

    def lost(self) -> None:
        """The other end is gone."""
        if self.state == OPEN:
            self.state = CLOSING
            self._owner.left(self, 1006, "connection lost")
        self._release()

    def _release(self) -> None:
        if self.state == CLOSED:
            return
        self.state = CLOSED
        self._reader.stop()
        self._reader.close()
        backlog, self.backlog = self.backlog, None
        if backlog is not None:
            backlog.watcher.stop()
            backlog.watcher.close()
        try:
            self.stream.close()
        except OSError:
            pass

    # --- Reading

    def _readable(self) -> None:
        try:
            self._read()
        except BlockingIOError:
            pass
        except FrameError as error:
            if self.state == CLOSING:
                self._release()
            else:
                self.close(error.code, error.reason)
        except OSError:
            self.lost()
        except Exception:
            log.exception("A live connection failed while reading.")
            self.lost()
        backlog = self.backlog
        if backlog is not None and not backlog.watcher.active:
            backlog.watcher.start(self._writable)

    def _read(self) -> None:
        tls = isinstance(self.stream, TlsStream)
        while self.state != CLOSED:
            data = self.stream.recv(_READ_BYTES)
            if not data:
                self.lost()
                return
            for opcode, payload in self._decoder.feed(data):
                self._take(opcode, payload)
                if self.state == CLOSED:
                    return
            if not tls:  # The loop calls again for more; TLS may hold more than the socket shows.
                return

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            if self.state == OPEN:
                self.state = CLOSING
                code = int.from_bytes(payload[:2], "big") if payload else 1005
                self._owner.left(self, code, "client closed")
                self._end_with(frame(CLOSE, payload[:2]))
            if self.backlog is None:
                self._release()
            elif self.state == CLOSING:
                self._owner.lingers(self)
            return
        if self.state != OPEN:
            return
        now = time.monotonic()
        if now - self._flood_since > FLOOD_WINDOW_S:
            self._flood_since, self._flood_count = now, 0
        self._flood_count += 1
        if self._flood_count > FLOOD_MESSAGES:
            self.close(POLICY, "too many messages")
        elif opcode == TEXT:
            self._owner.received(self, payload)
        elif opcode == PING:
            pong = frame(PONG, payload)
            self.send_latest(pong, PONG, lambda: lambda: (pong, False))
        elif opcode == BINARY:
            self.close(UNSUPPORTED, "binary messages are not taken")
