"""Many WebSocket clients in one process: raw sockets, one epoll, a counter of bytes for each.

The crowd must not be what a figure measures. It parses nothing while it counts: every frame of a run has the same
length, so bytes tell how many arrived, and one client's stream is kept and read afterwards frame by frame.
"""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.servers import CannotMeasureError

CONNECTING_AT_ONCE = 100
_TEXT, _PING, _CLOSE = 1, 9, 8


@dataclass(frozen=True)
class Door:
    """How clients of one server get in: the path to upgrade, and the Socket.IO namespace with its token, if any."""

    path: str
    token: Callable[[int], str] | None = None
    namespace: str = "/desk"


SOCKET_IO_PATH = "/socket.io/?EIO=4&transport=websocket"


def masked(payload: bytes, opcode: int = _TEXT) -> bytes:
    """A client's frame; the mask is zero, which is a mask like any other and costs nothing."""
    size = len(payload)
    short = size < 126
    head = (
        struct.pack("!BB", 0x80 | opcode, 0x80 | size)
        if short
        else struct.pack("!BBH", 0x80 | opcode, 0xFE, size)
    )
    return head + b"\0\0\0\0" + payload


def frames(stream: bytes | bytearray) -> Iterator[tuple[int, bytes]]:
    """Read a server's stream frame by frame; a broken one raises ValueError, an unfinished last one is left out."""
    view, at = bytes(stream), 0
    while len(view) - at >= 2:
        first, size, begin = view[at], view[at + 1], at + 2
        if first & 0x70 or first & 0x0F not in (0, _TEXT, 2, _CLOSE, _PING, 10) or size & 0x80:
            raise ValueError(f"a broken frame begins at byte {at}")
        if size == 126:
            size, begin = int.from_bytes(view[at + 2 : at + 4], "big"), at + 4
        elif size == 127:
            size, begin = int.from_bytes(view[at + 2 : at + 10], "big"), at + 10
        if len(view) < begin + size:
            return
        yield first & 0x0F, view[begin : begin + size]
        at = begin + size


class Publisher:
    """Posts bodies to a server over a few connections, one request under way on each, without ever waiting."""

    def __init__(self, port: int, path: str, connections: int) -> None:
        self.path = path
        self.answered = 0
        self.sent = 0
        self._idle: list[socket.socket] = []
        self._busy: dict[socket.socket, bytes] = {}
        for _ in range(connections):
            connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._idle.append(connection)

    def look(self) -> bool:
        """Take in answers; returns whether another body may be posted.

        Raises:
            CannotMeasureError: an answer that is not a success.
        """
        for connection in list(self._busy):
            try:
                answer = self._busy[connection] + connection.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            head, ended, rest = answer.partition(b"\r\n\r\n")
            if not ended and answer:
                self._busy[connection] = answer
                continue
            if not head.startswith(b"HTTP/1.1 2"):
                raise CannotMeasureError(f"A server refused an event: {answer[:300]!r}")
            lengths = [
                int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
            ]
            if lengths and len(rest) < lengths[0]:
                self._busy[connection] = answer
                continue
            del self._busy[connection]
            self._idle.append(connection)
            self.answered += 1
        return bool(self._idle)

    def post(self, body: bytes) -> None:
        """Post a body; only after ``look`` has said so."""
        connection = self._idle.pop()
        head = f"POST {self.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        self._busy[connection] = b""
        self.sent += 1

    def close(self) -> None:
        """Hang up."""
        for connection in [*self._idle, *self._busy]:
            connection.close()


class Crowd:
    """Connected clients of one server, and what each of them has received since ``reset``."""

    def __init__(self, port: int, door: Door, count: int, timeout_s: float = 60.0) -> None:
        """Connect them all; what the server says on the way in is consumed.

        Raises:
            CannotMeasureError: one of them was not let in.
        """
        self.sockets: list[socket.socket] = []
        self.connect_s: list[float] = []
        self._port, self._door = port, door
        try:
            for start in range(0, count, CONNECTING_AT_ONCE):
                self._connect(
                    range(start, min(count, start + CONNECTING_AT_ONCE)), time.monotonic() + timeout_s
                )
        except BaseException:
            self.close()
            raise
        self._poll = select.epoll()
        self._receive: dict[int, Any] = {}
        self.received: dict[int, int] = {}
        self.kept = bytearray()
        self._buffer = bytearray(1 << 18)
        for client in self.sockets:
            client.setblocking(False)
            self._poll.register(client.fileno(), select.EPOLLIN)
            self._receive[client.fileno()] = client.recv_into
        self.witness = self.sockets[0].fileno()
        self.reset()

    def _connect(self, numbers: range, deadline: float) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {self._door.path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        ).encode()
        fresh: list[tuple[int, socket.socket, float]] = []
        for number in numbers:
            started = time.monotonic()
            client = socket.create_connection(("127.0.0.1", self._port), timeout=max(1.0, deadline - started))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets.append(client)
            client.sendall(request)
            fresh.append((number, client, started))
        wants: list[Callable[[bytes], bool]] = [lambda data: b"\r\n\r\n" in data]
        says: list[Callable[[int], bytes] | None] = [None]
        door, token = self._door, self._door.token
        if token is not None:
            wants = [lambda data: b'"pingTimeout"' in data, lambda data: b'"sid"' in data]
            says = [
                lambda number: masked(f"40{door.namespace},{json.dumps({'token': token(number)})}".encode()),
                None,
            ]
        for want, say in zip(wants, says, strict=True):
            for number, client, _ in fresh:
                data = b""
                while not want(data):
                    more = client.recv(65536)
                    data += more
                    if not more or (b"HTTP/1.1 " in data and b" 101 " not in data):
                        raise CannotMeasureError(f"A client was not let in: {data[:300]!r}")
                if say is not None:
                    client.sendall(say(number))
        self.connect_s += [time.monotonic() - started for _, _, started in fresh]

    def __len__(self) -> int:
        return len(self.sockets)

    def settle(self, quiet_s: float = 0.3) -> None:
        """Take in what servers say after letting somebody in, until nothing comes any more."""
        while self.pump(quiet_s):
            pass
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        for descriptor in self._receive:
            self.received[descriptor] = 0
        self.kept.clear()

    @property
    def total(self) -> int:
        """Bytes that all clients together have received."""
        return sum(self.received.values())

    def pump(self, timeout_s: float = 0.0) -> int:
        """Receive what has come; returns how many bytes."""
        received, receive, witness = self.received, self._receive, self.witness
        buffer, size = self._buffer, len(self._buffer)
        total = 0
        for descriptor, _ in self._poll.poll(timeout_s, len(receive)):
            try:
                count = receive[descriptor](buffer, size)
            except BlockingIOError:
                continue
            if not count:
                raise CannotMeasureError("The server closed a client's connection.")
            received[descriptor] += count
            total += count
            if descriptor == witness:
                self.kept += buffer[:count]
        return total

    def close(self) -> None:
        """Hang up."""
        for client in self.sockets:
            client.close()
        self.sockets.clear()
