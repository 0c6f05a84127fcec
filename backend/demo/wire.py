"""HTTP as a phone speaks it: one connection that is kept while it lasts and made anew when it does not.

h11 does the protocol, asyncio the sockets. A general client costs several times as much per request, and a thousand
phones that report every few seconds have to fit beside the server that is being shown.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import h11
import msgspec

TIMEOUT_S = 30.0
MOST_BYTES = 4 * 1024 * 1024


class NoAnswer(Exception):
    """The server could not be reached, hung up, or took too long."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent; ``target`` is path and query."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """What came back."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON, or None if it is none."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def retry_after_s(self, default: float) -> float:
        """How long the server asks to be left alone."""
        try:
            return max(0.5, float(self.headers.get("retry-after", "")))
        except ValueError:
            return default


class Connection:
    """One phone's connection to the server."""

    def __init__(
        self, base_url: str, tls: ssl.SSLContext | None = None, agent: str = "xungeng-simulated-phone"
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{base_url} is no http or https address.")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._authority = parts.netloc.rpartition("@")[2]
        self._prefix = parts.path.rstrip("/")
        self._agent = agent
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._state: h11.Connection | None = None

    async def send(self, request: Request) -> Response:
        """Send a request and return the answer.

        Raises:
            NoAnswer: whatever went wrong below HTTP; whether the server took the request is then not known.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._send(request)
        except (OSError, TimeoutError, h11.ProtocolError, ssl.SSLError, asyncio.IncompleteReadError) as error:
            self.close()
            raise NoAnswer(str(error) or type(error).__name__) from error
        except asyncio.CancelledError:
            self.close()
            raise

    async def _send(self, request: Request) -> Response:
        if self._reader is None or self._reader.at_eof() or self._writer is None or self._writer.is_closing():
            await self._open()
        assert self._reader is not None
        assert self._writer is not None
        assert self._state is not None
        headers = [("Host", self._authority), ("User-Agent", self._agent), *request.headers]
        if request.body or request.method in ("POST", "PUT", "PATCH"):
            headers.append(("Content-Length", str(len(request.body))))
        state = self._state
        data = state.send(
            h11.Request(method=request.method, target=self._prefix + request.target, headers=headers)
        )
        if request.body:
            data = (data or b"") + (state.send(h11.Data(data=request.body)) or b"")
        data = (data or b"") + (state.send(h11.EndOfMessage()) or b"")
        self._writer.write(data)
        await self._writer.drain()
        status, got_headers, body = 0, {}, bytearray()
        while True:
            event = state.next_event()
            if event is h11.NEED_DATA:
                state.receive_data(await self._reader.read(65_536))
            elif isinstance(event, h11.Response):
                status = event.status_code
                got_headers = {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MOST_BYTES:
                    raise OSError("The answer is too large.")
            elif isinstance(event, h11.EndOfMessage):
                break
            elif isinstance(event, h11.ConnectionClosed):
                raise OSError("The server hung up.")
        if state.our_state is h11.DONE and state.their_state is h11.DONE:
            state.start_next_cycle()
        else:
            self.close()
        return Response(status, got_headers, bytes(body))

    async def _open(self) -> None:
        self.close()
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        self._state = h11.Connection(our_role=h11.CLIENT)

    def close(self) -> None:
        """Hang up."""
        writer, self._reader, self._writer, self._state = self._writer, None, None, None
        if writer is not None:
            writer.close()
