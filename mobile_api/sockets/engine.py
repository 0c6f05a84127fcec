"""Engine.IO protocol 4 over WebSocket alone, in the place of python-engineio's server.

python-engineio keeps for each client a reading greenlet inside the whole stack of the WSGI request, a writing
greenlet, a sleeping one for the next ping, a queue, a wsproto connection and the request's environ: about 67 KB. Here
a client is a ``Connection`` on the event loop and a few slots; greenlets exist while something is being handled. The
Socket.IO protocol above stays python-socketio's.

Why the numbers: an idle desk costs next to nothing, so that a town's thousand screens fit into one small process, and
a broadcast writes one and the same frame to every member without waking a greenlet for each.
"""

from __future__ import annotations

import _socket
import atexit
import functools
import json
import logging
import socket as std_socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs

import engineio
import gevent
from engineio import packet
from gevent.event import Event

from backend.core.addresses import network_of
from backend.core.metrics import SOCKETS
from mobile_api.sockets.connection import (
    CLOSED,
    MESSAGE_BYTES,
    OPEN,
    Connection,
    Stream,
    TlsStream,
)
from mobile_api.sockets.frames import (
    BINARY,
    GOING_AWAY,
    INTERNAL_ERROR,
    NORMAL,
    POLICY,
    PROTOCOL_ERROR,
    TEXT,
    TOO_SLOW,
    accept_key,
    frame,
)

log = logging.getLogger("xungeng.sockets")

SEND_BUFFER_BYTES = 128 * 1024
"""What the kernel may hold for one client (Linux books the double): a slow reader costs that and no more, and what is
stale waits in our queue, where it can be replaced."""
GREETING_S = 10.0
"""Time to say who one is after connecting."""
LINGER_S = 5.0
"""Time to answer a close frame."""
STALL_S = 30.0
"""Time to take one whole frame; who is slower than that is closed with 4408."""
INBOX_MESSAGES = 32
"""Messages of one client that may wait to be handled."""
MAX_CLIENTS = 20_000
STRANGERS = 1000
"""Sockets of one address that have not said yet who they are: a town hall's whole desks come back at once, and that
takes each of them a moment."""

_PING = frame(TEXT, b"2")

StartResponse = Callable[..., Any]


class LiveConnection(Connection):
    """A client of the engine: a connection, its Engine.IO id and what the layers above know of it."""

    __slots__ = ("address", "admitted", "awaits_pong", "inbox", "parting", "session", "sid", "viewer")

    def __init__(self, stream: Stream, owner: Engine, sid: str, address: str) -> None:
        self.sid = sid
        self.address = address
        self.awaits_pong = False
        self.admitted = False
        """Whether it has shown who it is; who does not in time is closed."""
        self.inbox: deque[str] | None = None
        self.parting = ""
        """Why it left, until the layers above have been told."""
        self.session: dict[str, Any] | None = None
        self.viewer: Any = None
        """Who is looking, once admitted."""
        super().__init__(stream, owner, MESSAGE_BYTES)

    @property
    def closed(self) -> bool:
        """What python-engineio calls it."""
        return self.state != OPEN

    connected = upgraded = True


class Engine(engineio.Server):
    """The part of ``engineio.Server`` that python-socketio uses, for WebSocket clients under ``gunicorn -k gevent``."""

    def __init__(
        self,
        *,
        ping_interval: float = 25.0,
        ping_timeout: float = 20.0,
        max_clients: int = MAX_CLIENTS,
        cors_allowed_origins: Any = None,
    ) -> None:
        super().__init__(
            async_mode="gevent",
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            max_http_buffer_size=MESSAGE_BYTES,
            allow_upgrades=False,
            transports=["websocket"],
            monitor_clients=False,
            logger=log,
            async_handlers=False,
            cors_allowed_origins=cors_allowed_origins,
        )
        self.sockets: dict[str, LiveConnection] = {}
        self.max_clients = max_clients
        self.most_strangers = STRANGERS
        self.strangers: Counter[str] = Counter()
        """By network, the sockets that have not been admitted."""
        self.greeting_s, self.linger_s, self.stall_s = GREETING_S, LINGER_S, STALL_S
        self.on_left: Callable[[LiveConnection, int], None] = lambda connection, code: None
        """Told on the event loop, at once, when a client leaves, and its close code; it may not wait."""
        self.too_slow = 0
        """How many clients were closed because they did not read."""
        self._draining = False
        self._clock: gevent.Greenlet | None = None
        # Each of these holds what is due later in the order in which it falls due.
        self._pings: deque[tuple[float, LiveConnection]] = deque()
        self._pongs: deque[tuple[float, LiveConnection]] = deque()
        self._greetings: deque[tuple[float, LiveConnection]] = deque()
        self._lingering: deque[tuple[float, LiveConnection]] = deque()
        self._stalled: set[LiveConnection] = set()
        self._opening = json.dumps(
            {
                "upgrades": [],
                "pingInterval": int(ping_interval * 1000),
                "pingTimeout": int(ping_timeout * 1000),
                "maxPayload": MESSAGE_BYTES,
            },
            separators=(",", ":"),
        )[1:]
        # A process that ends tells its clients so, and they come back to another one; a closed socket says less.
        atexit.register(self.go_away)

    # --- HTTP in

    def handle_request(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request to the Socket.IO path: take the socket over, or refuse in Engine.IO's shape."""
        query = parse_qs(environ.get("QUERY_STRING", ""))
        allowed = self._cors_allowed_origins(environ)
        origin = environ.get("HTTP_ORIGIN")
        key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "")
        tokens = {part.strip().lower() for part in environ.get("HTTP_CONNECTION", "").split(",")}
        if origin and allowed is not None and origin not in allowed:
            return _refuse(start_response, "403 Forbidden", 4, "Forbidden")
        if query.get("transport") != ["websocket"]:
            return _refuse(start_response, "400 Bad Request", 0, "Transport unknown")
        if query.get("EIO") != ["4"]:
            return _refuse(start_response, "400 Bad Request", 5, "Unsupported protocol version")
        if "sid" in query:
            return _refuse(start_response, "400 Bad Request", 1, "Session ID unknown")
        if environ["REQUEST_METHOD"] != "GET":
            return _refuse(start_response, "400 Bad Request", 2, "Bad handshake method")
        if (
            environ.get("HTTP_UPGRADE", "").lower() != "websocket"
            or "upgrade" not in tokens
            or len(key) != 24
        ):
            return _refuse(start_response, "400 Bad Request", 3, "Bad request")
        if environ.get("HTTP_SEC_WEBSOCKET_VERSION") != "13":
            extra = [("Sec-WebSocket-Version", "13")]
            return _refuse(start_response, "426 Upgrade Required", 3, "Bad request", extra)
        if self._draining or len(self.sockets) >= self.max_clients:
            return _refuse(start_response, "503 Service Unavailable", 3, "Try again", [("Retry-After", "5")])
        if self.strangers[network_of(environ.get("REMOTE_ADDR"))] >= self.most_strangers:
            return _refuse(start_response, "429 Too Many Requests", 3, "Try again", [("Retry-After", "10")])
        accepted = environ.get("gunicorn.socket")
        if accepted is None:
            return _refuse(
                start_response, "501 Not Implemented", 3, "This server cannot hand over its sockets"
            )
        self._take_over(accepted, environ, accept_key(key))
        raise StopIteration  # How an application tells gunicorn that the connection is no longer its business.

    def _take_over(self, accepted: Any, environ: dict[str, Any], accept: str) -> None:
        address = environ.get("REMOTE_ADDR", "")
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
        ).encode()
        try:
            accepted.setsockopt(std_socket.IPPROTO_TCP, std_socket.TCP_NODELAY, 1)
        except OSError:
            pass  # A Unix socket behind a proxy.
        accepted.setsockopt(std_socket.SOL_SOCKET, std_socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        gone: Event | None = None
        stream: Stream
        if hasattr(accepted, "pending"):
            # TLS state cannot be carried over to another object: the request's greenlet waits beside it.
            gone = Event()
            stream = TlsStream(accepted, gone.set)
        else:
            # The descriptor changes hands. A duplicate of it would leave the old number in the kernel's epoll set.
            family, kind, proto = accepted.family, accepted.type, accepted.proto
            stream = _socket.socket(family, kind, proto, fileno=accepted.detach())
            stream.setblocking(False)
        self.adopt(stream, environ, answer, address)
        if gone is not None:
            gone.wait()

    def adopt(self, stream: Stream, environ: dict[str, Any], answer: bytes, address: str) -> LiveConnection:
        """Make a client of a connected stream: ``answer`` and the Engine.IO opening are the first it is sent."""
        sid = self.generate_id()
        connection = LiveConnection(stream, self, sid, address)
        opening = frame(TEXT, f'0{{"sid":"{sid}",{self._opening}'.encode())
        self.sockets[sid] = connection
        self.strangers[network_of(address)] += 1
        SOCKETS.set(len(self.sockets))
        now = time.monotonic()
        self._pings.append((now + self.ping_interval, connection))
        self._greetings.append((now + self.greeting_s, connection))
        if self._clock is None:
            self._clock = gevent.spawn(self._keep_time)
        self.handlers["connect"](sid, environ)
        connection.send(answer + opening)
        return connection

    def admit(self, connection: LiveConnection) -> None:
        """Note that a client has shown who it is."""
        connection.admitted = True
        self._known(connection)

    def _known(self, connection: LiveConnection) -> None:
        network = network_of(connection.address)
        self.strangers[network] -= 1
        if not self.strangers[network]:
            del self.strangers[network]

    # --- What python-socketio asks of its engine

    def send_packet(self, sid: str, pkt: packet.Packet) -> None:
        """Send an Engine.IO packet; the frame of a packet that goes to many clients is made once."""
        connection = self.sockets.get(sid)
        if connection is None:
            return
        encoded: bytes | None = getattr(pkt, "frame", None)
        if encoded is None:
            data = pkt.encode()
            encoded = frame(TEXT, data.encode()) if isinstance(data, str) else frame(BINARY, data)
            pkt.frame = encoded
        connection.send(encoded)

    def disconnect(self, sid: str | None = None) -> None:
        """Close one client, or all."""
        for connection in list(self.sockets.values()) if sid is None else [self.sockets.get(sid)]:
            if connection is not None:
                connection.close(NORMAL, "server disconnect")

    def get_session(self, sid: str) -> dict[str, Any]:
        """Return the dictionary that python-socketio keeps its per-client sessions in."""
        connection = self.sockets[sid]
        if connection.session is None:
            connection.session = {}
        return connection.session

    def shutdown(self) -> None:
        """Stop taking and keeping clients."""
        self.go_away()

    # --- Connection's owner

    def received(self, connection: LiveConnection, text: bytes) -> None:
        """Take an Engine.IO packet; messages are handled one after the other in a greenlet made for them."""
        kind = text[:1]
        if kind == b"3":
            if connection.awaits_pong:
                connection.awaits_pong = False
                self._pings.append((time.monotonic() + self.ping_interval, connection))
        elif kind == b"4":
            if connection.inbox is None:
                connection.inbox = deque((text[1:].decode(),))
                gevent.spawn(self._work, connection)
            elif len(connection.inbox) < INBOX_MESSAGES:
                connection.inbox.append(text[1:].decode())
            else:
                connection.close(POLICY, "too many messages")
        elif kind == b"2":
            connection.send(frame(TEXT, b"3" + text[1:]))
        elif kind == b"1":
            connection.close(NORMAL, "client disconnect")
        else:
            connection.close(PROTOCOL_ERROR, "not an Engine.IO packet")

    def _work(self, connection: LiveConnection) -> None:
        inbox = connection.inbox
        assert inbox is not None
        while inbox and not connection.closed:
            try:
                self.handlers["message"](connection.sid, inbox.popleft())
            except ValueError:
                connection.close(PROTOCOL_ERROR, "not a Socket.IO packet")
            except Exception:
                log.exception("A message of a live client could not be handled.")
                connection.close(INTERNAL_ERROR, "internal error")
        connection.inbox = None
        if connection.closed:
            self._farewell(connection)

    def left(self, connection: LiveConnection, code: int, reason: str) -> None:
        """Forget a client; what the layers above do about it happens in a greenlet of its own."""
        if self.sockets.pop(connection.sid, None) is not None and not connection.admitted:
            self._known(connection)
        SOCKETS.set(len(self.sockets))
        self._stalled.discard(connection)
        if code == TOO_SLOW:
            self.too_slow += 1
        self.on_left(connection, code)
        connection.parting = reason
        # After what is being handled just now: a sign-off must not overtake the sign-on.
        if connection.inbox is None and not self._draining:
            gevent.spawn(self._farewell, connection)

    def _farewell(self, connection: LiveConnection) -> None:
        try:
            self.handlers["disconnect"](connection.sid, connection.parting)
        except Exception:
            log.exception("A live client could not be signed off.")

    def lingers(self, connection: LiveConnection) -> None:
        """Wait a little for the answer to a close frame."""
        self._lingering.append((time.monotonic() + self.linger_s, connection))

    def stalled(self, connection: LiveConnection) -> None:
        """Watch how long a slow client takes for the frame that it is being sent."""
        self._stalled.add(connection)

    # --- Time

    def _keep_time(self) -> None:
        """Once a second, while there are clients: pings, and the ends of all patience."""
        while self.sockets or self._lingering:
            gevent.sleep(1.0)
            try:
                self.tick(time.monotonic())
            except Exception:
                log.exception("The clock of the live channel stumbled.")
        self._pings.clear()
        self._pongs.clear()
        self._greetings.clear()
        self._clock = None

    def tick(self, now: float) -> None:
        """Do what is due at ``now``."""
        for connection in _due(self._pongs, now):
            if connection.state == OPEN and connection.awaits_pong:
                connection.close(POLICY, "ping timeout")
        for connection in _due(self._pings, now):
            if connection.state == OPEN:
                connection.awaits_pong = True
                connection.send(_PING)
                self._pongs.append((now + self.ping_timeout, connection))
        for connection in _due(self._greetings, now):
            if connection.state == OPEN and not connection.admitted:
                connection.close(POLICY, "nobody said who this is")
        for connection in _due(self._lingering, now):
            if connection.state != CLOSED:
                connection.abort()
        for connection in list(self._stalled):
            backlog = connection.backlog
            if backlog is None:
                self._stalled.discard(connection)
            elif now - backlog.since > self.stall_s:
                connection.close(TOO_SLOW, "too slow")

    def go_away(self) -> None:
        """Close every client with 1001 and take no more: the process ends."""
        self._draining = True
        for connection in list(self.sockets.values()):
            connection.close(GOING_AWAY, "the server restarts")


class Environs(Mapping[str, dict[str, Any]]):
    """What python-socketio keeps as ``environ`` of each client: made when asked for, never stored.

    Flask-SocketIO pushes a request context for each event and needs an environ for it. A gunicorn environ holds on to
    the request, its body and its socket; this one says who asks and which application it is.
    """

    def __init__(self, engine: Engine, application: Any) -> None:
        self._engine = engine
        self._application = application

    def __setitem__(self, sid: str, environ: dict[str, Any]) -> None:
        """Keep nothing."""

    def __delitem__(self, sid: str) -> None:
        """Nothing was kept."""

    def __getitem__(self, sid: str) -> dict[str, Any]:
        connection = self._engine.sockets.get(sid)
        address = connection.address if connection is not None else ""
        return {**_bare_environ(), "REMOTE_ADDR": address, "flask.app": self._application}

    def __contains__(self, sid: object) -> bool:
        return sid in self._engine.sockets

    def __iter__(self) -> Iterator[str]:
        return iter(self._engine.sockets)

    def __len__(self) -> int:
        return len(self._engine.sockets)


@functools.cache
def _bare_environ() -> dict[str, Any]:
    from werkzeug.test import EnvironBuilder

    return EnvironBuilder(path="/socket.io/").get_environ()


def _due(queue: deque[tuple[float, LiveConnection]], now: float) -> Iterator[LiveConnection]:
    while queue and queue[0][0] <= now:
        yield queue.popleft()[1]


def _refuse(
    start_response: StartResponse,
    status: str,
    code: int,
    message: str,
    headers: Iterable[tuple[str, str]] = (),
) -> list[bytes]:
    body = json.dumps({"code": code, "message": message}).encode()
    described = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(status, [*described, ("Cache-Control", "no-store"), *headers])
    return [body]
