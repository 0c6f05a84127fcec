"""The hot routes in an event loop, for granian's RSGI: an ingest process of one thread and one flusher.

Where every request waits on a thread of its own, waking those threads costs more than all that the requests do. Here
a request takes its steps (``mobile_api.hot``) in the loop as long as all that it needs is remembered, and waits for
its commit as a future. What has to be read first is read on a thread, and so are the trackers' own protocols.

https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from backend.core import memory
from backend.core.errors import TooLarge
from backend.core.memory import MustWait
from mobile_api.gateway.call import MAXIMUM_BODY_BYTES
from mobile_api.gateway.wsgi import Gateways
from mobile_api.hot import HOT, Head, Served, Told, headers_of, nothing_here, request_id
from mobile_api.identity import Identity
from workflows import tracks

THREADS = 32
"""How many requests may wait for something to be read, or speak a tracker's protocol, at once."""

Result = TypeVar("Result")


class AsyncDispatcher:
    """An RSGI application: hot routes in the loop, gateways on threads, nothing else."""

    def __init__(self, identity: Identity, trusted_hops: int = 0) -> None:
        """Serve the table. ``trusted_hops`` is how many reverse proxies in front are ours (``Config``)."""
        self._trusted_hops = trusted_hops
        self._served = {route.path: Served(route, identity) for route in HOT}
        self._gateways = Gateways()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ingest-wait")

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to serve: the loop's thread takes from memory alone."""
        loop.call_soon(memory.forbid_waiting)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """End: what waits is written."""
        tracks.close()

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Serve one request."""
        started = time.perf_counter()
        headers = scope.headers
        served = self._served.get(scope.path)
        if served is None:
            await self._serve_elsewhere(scope, protocol)
            return
        head = Head(
            scope.method,
            headers.get("authorization") or "",
            headers.get("content-type") or "",
            headers.get("content-encoding") or "",
            headers.get("content-length") or "",
            headers.get("transfer-encoding") is not None or scope.http_version != "1.1",
            request_id(headers.get("x-request-id") or ""),
        )
        if head.method != served.route.method:
            told = served.other_method(head, started)
        else:
            try:
                told = await self._serve(served, head, protocol, started)
            except Exception as error:
                told = served.refused(error, head, started)
        protocol.response_bytes(told.status, headers_of(told, head.request_id), told.body)

    async def _serve(self, served: Served, head: Head, protocol: Any, started: float) -> Told:
        try:
            actor = served.admit(head)
        except MustWait:
            actor = await self._on_a_thread(served.admit, head)
        raw = await _read(protocol, served.length_of(head), served.route.most_bytes)
        try:
            delivery = served.prepare(actor, head, raw)
        except MustWait:
            delivery = await self._on_a_thread(served.prepare, actor, head, raw)
        return served.told(await tracks.commit_soon(delivery), started)

    async def _on_a_thread(self, work: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def _serve_elsewhere(self, scope: Any, protocol: Any) -> None:
        """Serve a gateway's address as its WSGI application does; say of any other that nothing is here."""
        if scope.path.startswith("/gateway/"):
            environ = await _environ(scope, protocol, self._trusted_hops)
            answered = await self._on_a_thread(self._gateway, environ)
            if answered is not None:
                status, headers, body = answered
                protocol.response_bytes(status, headers, body)
                return
        identifier = request_id(scope.headers.get("x-request-id") or "")
        told = nothing_here(scope.method, scope.path, identifier)
        protocol.response_bytes(told.status, headers_of(told, identifier), told.body)

    def _gateway(self, environ: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes] | None:
        begun: list[tuple[int, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]]) -> None:
            begun.append((int(status[:3]), headers))

        parts = self._gateways.serve(environ, start_response)
        return None if parts is None else (*begun[0], b"".join(parts))


async def _read(protocol: Any, length: int | None, most_bytes: int) -> bytes:
    """Return a body of so many bytes, or one that says nothing of its length; never more than may be held."""
    if length is not None:
        return await protocol() if length else b""
    raw = bytearray()
    async for part in protocol:
        raw += part
        if len(raw) > most_bytes:
            raise TooLarge()
    return bytes(raw)


async def _environ(scope: Any, protocol: Any, trusted_hops: int) -> dict[str, Any]:
    """What WSGI says of a request. A body that is too long is cut one byte too late, so that it is refused."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "PATH_INFO": scope.path.encode("utf-8", "replace").decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "REMOTE_ADDR": scope.client.rpartition(":")[0],
        "wsgi.url_scheme": scope.scheme,
    }
    for name, value in scope.headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    forwarded = [part.strip() for part in environ.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    if trusted_hops and len(forwarded) >= trusted_hops:
        environ["REMOTE_ADDR"] = forwarded[-trusted_hops]
    raw = bytearray()
    declared = environ.get("CONTENT_LENGTH", "")
    if not (declared.isdigit() and int(declared[:20]) > MAXIMUM_BODY_BYTES):
        async for part in protocol:
            raw += part
            if len(raw) > MAXIMUM_BODY_BYTES:
                break
        environ["CONTENT_LENGTH"] = str(len(raw))
    environ["wsgi.input"] = io.BytesIO(bytes(raw))
    return environ
