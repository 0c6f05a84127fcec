"""A very small installation to test phones against: it notes what they send and answers as it is told."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import h11


@dataclass(frozen=True)
class Seen:
    """One request as it came, the body as it was meant."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    at: float

    def json(self) -> Any:
        return json.loads(self.body)


Answer = tuple[int, dict[str, str], bytes]


def answer(status: int = 200, document: Any = None, **headers: str) -> Answer:
    """A JSON answer, or an empty one."""
    body = b"" if document is None else json.dumps(document).encode()
    kind = {} if document is None else {"Content-Type": "application/json"}
    return status, {**kind, **{name.replace("_", "-"): value for name, value in headers.items()}}, body


@dataclass
class Recorder:
    """The server. ``special`` may answer a request in its own way; None leaves it to the ordinary answers."""

    special: Callable[[Seen], Answer | None] = lambda _: None
    seen: list[Seen] = field(default_factory=list)
    shift: dict[str, Any] | None = None
    track: list[dict[str, Any]] = field(default_factory=list)
    expires_in_s: int = 900
    connections: int = 0
    sign_ins: Counter[str] = field(default_factory=Counter)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self, port: int = 0) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        await self._server.wait_closed()

    def of(self, *parts: str) -> list[Seen]:
        """Requests whose path has one of these parts, in the order in which they came."""
        return [request for request in self.seen if any(part in request.path for part in parts)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        state = h11.Connection(our_role=h11.SERVER)
        head: h11.Request | None = None
        body = b""
        try:
            while True:
                event = state.next_event()
                if event is h11.NEED_DATA:
                    state.receive_data(await reader.read(65_536))
                elif isinstance(event, h11.Request):
                    head, body = event, b""
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    assert head is not None
                    status, headers, content = self._answer(head, body)
                    if status == 0:  # Hang up without a word.
                        return
                    data = state.send(
                        h11.Response(
                            status_code=status,
                            headers=[*headers.items(), ("Content-Length", str(len(content)))],
                        )
                    )
                    data = (data or b"") + (state.send(h11.Data(data=content)) or b"") if content else data
                    data = (data or b"") + (state.send(h11.EndOfMessage()) or b"")
                    writer.write(data)
                    await writer.drain()
                    if state.our_state is not h11.DONE:
                        return
                    state.start_next_cycle()
                else:
                    return
        except (ConnectionError, h11.RemoteProtocolError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, head: h11.Request, body: bytes) -> Answer:
        target = urlsplit(head.target.decode())
        headers = {name.decode().lower(): value.decode() for name, value in head.headers}
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = Seen(
            head.method.decode(),
            target.path,
            parse_qs(target.query, keep_blank_values=True),
            headers,
            body,
            asyncio.get_running_loop().time(),
        )
        self.seen.append(request)
        return self.special(request) or self._ordinary(request)

    def _ordinary(self, request: Seen) -> Answer:
        path = request.path
        if path.endswith(("/auth/login", "/auth/refresh")):
            self.sign_ins[path.rpartition("/")[2]] += 1
            number = self.sign_ins.total()
            return answer(
                200,
                {
                    "access_token": f"access-{number}",
                    "expires_in_s": self.expires_in_s,
                    "refresh_token": f"refresh-{number}",
                },
            )
        if path.endswith("/officer/shift"):
            return answer(200, self.shift) if self.shift else answer(204)
        if path.endswith("/end"):
            self.shift = None
            return answer(200, {"state": "ended"})
        if path.endswith("/officer/shifts"):
            wanted = request.json()
            until = datetime.now(UTC) + timedelta(hours=8)
            self.shift = {"id": wanted["id"], "planned_end_at": until.isoformat().replace("+00:00", "Z")}
            return answer(201, self.shift)
        if path.endswith("/track"):
            return answer(200, {"items": self.track, "next": None})
        if path.endswith("/officer/fixes"):
            count = len(request.json()["fixes"])
            return answer(
                200, {"stored": count, "duplicates": 0, "off_shift": 0, "quarantined": 0, "reasons": {}}
            )
        if "/gateway/owntracks" in path:
            return answer(200, [])
        if "/gateway/overland" in path:
            return answer(200, {"result": "ok"})
        return answer(200)
