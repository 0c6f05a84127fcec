"""The hot routes in an event loop, for granian's RSGI: an ingest process of one thread and one flusher.

Where every request waits on a thread of its own, waking those threads costs more than all that the requests do. Here
a request takes its steps (``mobile_api.hot``) in the loop as long as all that it needs is remembered, and waits for
its commit as a future. What has to be read first, or takes long, is done on a thread, and so are the trackers' own
protocols.

https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # It re-exports what its core has.
from werkzeug.middleware.proxy_fix import ProxyFix

from backend.core import memory
from backend.core.config import Config
from backend.core.errors import TooLarge, Unreadable
from backend.core.memory import MustWait
from backend.core.metrics import may_read
from mobile_api.gateway.call import JSON, MAXIMUM_BODY_BYTES
from mobile_api.gateway.wsgi import Gateways
from mobile_api.hot import HOT, Head, Served, Told, headers_of, nothing_here, request_id
from mobile_api.identity import Identity
from mobile_api.slow_bodies import BODY_S, TooSlow
from workflows import tracks

THREADS = 32
"""How many requests may wait for something to be read, or speak a tracker's protocol, at once."""

Result = TypeVar("Result")


class AsyncDispatcher:
    """An RSGI application: hot routes in the loop, gateways on threads, nothing else."""

    def __init__(self, identity: Identity, config: Config) -> None:
        self._config = config
        self._served = {route.path: Served(route, identity) for route in HOT}
        serve: Any = Gateways(config.public_url).serve
        if hops := config.trusted_hops:  # As in the web process.
            serve = ProxyFix(serve, x_for=hops, x_proto=hops, x_host=hops)
        self._gateways: Callable[..., Iterable[bytes] | None] = serve
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
            _says_no_length(scope),
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
        headers = scope.headers
        if scope.path.startswith("/gateway/"):
            try:
                environ = await _environ(scope, protocol)
            except TooSlow as refusal:
                protocol.response_empty(refusal.status, [])
                return
            answered = await self._on_a_thread(self._gateway, environ)
            if answered is not None:
                status, header_list, body = answered
                protocol.response_bytes(status, header_list, body)
                return
        identifier = request_id(headers.get("x-request-id") or "")
        may_scrape = may_read(self._config, _address(scope), headers.get("authorization") or "")
        told = nothing_here(scope.method, scope.path, identifier, may_scrape)
        protocol.response_bytes(told.status, headers_of(told, identifier), told.body)

    def _gateway(self, environ: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes] | None:
        begun: list[tuple[int, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]]) -> None:
            begun.append((int(status[:3]), headers))

        parts = self._gateways(environ, start_response)
        return None if parts is None else (*begun[0], b"".join(parts))


def _says_no_length(scope: Any) -> bool:
    """Whether a body may follow although the head does not say how long it is."""
    return scope.headers.get("transfer-encoding") is not None or scope.http_version not in ("1", "1.1")


def _address(scope: Any) -> str:
    """The caller's address, without the port."""
    return str(scope.client).rpartition(":")[0].strip("[]")


async def _read(protocol: Any, length: int | None, most_bytes: int) -> bytes:
    """Return a body of so many bytes, or one that says nothing of its length; never more than may be held.

    Of the latter kind nobody can tell here whether it ended or broke off: it has to show that itself, as JSON does.

    Raises:
        TooLarge, Unreadable. TooSlow: it was not there in time.
    """
    try:
        async with asyncio.timeout(BODY_S):
            return await _whole(protocol, length, most_bytes)
    except TimeoutError:
        raise TooSlow() from None


async def _whole(protocol: Any, length: int | None, most_bytes: int) -> bytes:
    if length is not None:
        try:
            raw: bytes = await protocol() if length else b""
        except ProtocolClosed:
            raw = b""
        if len(raw) < length:
            raise Unreadable(detail="The body ended early.")
        return raw
    parts = bytearray()
    async for part in protocol:
        parts += part
        if len(parts) > most_bytes:
            raise TooLarge()
    return bytes(parts)


async def _environ(scope: Any, protocol: Any) -> dict[str, Any]:
    """What WSGI says of a request. Of a body that is refused there is less than it says, or a byte more than may be."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "PATH_INFO": scope.path.encode("utf-8", "replace").decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "REMOTE_ADDR": _address(scope),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(),
    }
    for name, value in scope.headers.items():
        if "_" not in name:  # It would pass for the name with a hyphen.
            key = name.upper().replace("-", "_")
            key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
            environ[key] = f"{environ[key]},{value}" if key in environ else value
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    if scope.method != "POST":
        return environ
    declared = environ.get("CONTENT_LENGTH", "")
    try:
        if declared.isascii() and declared.isdigit():
            if int(declared[:20]) <= MAXIMUM_BODY_BYTES:
                environ["wsgi.input"] = io.BytesIO(await _read(protocol, int(declared), MAXIMUM_BODY_BYTES))
        elif _says_no_length(scope):
            raw = await _read(protocol, None, MAXIMUM_BODY_BYTES)
            whole = (
                JSON in environ.get("CONTENT_TYPE", "").lower()
            )  # A form that broke off looks like a whole one.
            environ["CONTENT_LENGTH"] = str(len(raw) if whole else len(raw) + 1)
            environ["wsgi.input"] = io.BytesIO(raw)
    except Unreadable:
        pass
    except TooLarge:
        environ["CONTENT_LENGTH"] = str(MAXIMUM_BODY_BYTES + 1)
    return environ
