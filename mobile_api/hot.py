"""The hot routes: the table, and what serves them in front of Flask.

Flask's routing and request objects cost more than everything else that a fix needs, so the routes of this table are
answered before Flask sees them: same token check, same refusals, same problem documents. The table is the only
place that names them; both ways of serving them, the OpenAPI document and the contract tests read it.

Each request takes the same steps: ``admit`` the caller, read the body, ``prepare`` what is to be written, write it
together with others, ``answer``. Here they run on a thread or greenlet (WSGI); ``mobile_api.rsgi`` runs them in an
event loop.
"""

from __future__ import annotations

import itertools
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple

import structlog
from apispec import APISpec
from flask import Flask
from marshmallow import Schema
from werkzeug.routing import Map, Rule

from backend.core import metrics
from backend.core.config import Config
from backend.core.errors import Invalid, Refusal, TooLarge, TooMany, Unauthenticated, Unreadable, Unsupported
from backend.core.failures import refusal_for
from backend.core.identity import Actor
from backend.core.metrics import LIMITED, REQUEST_SECONDS, REQUESTS
from backend.core.vocabulary import Audience
from mobile_api import problems
from mobile_api.endpoint import PROBLEM_TEXT, ProblemSchema
from mobile_api.gateway.wsgi import STATUS_LINES, Gateways
from mobile_api.identity import Identity
from mobile_api.limits import Buckets
from mobile_api.officer import fixes
from workflows import access, tracks
from workflows.grouped_write import Delivery, Receipt

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class HotRoute:
    """A route that is served before Flask.

    ``prepare`` gets the actor and the whole body, decompressed and within ``most_bytes``, and returns what is to be
    written; ``answer`` makes JSON of what became of it. Both refuse by raising. A caller gets ``burst`` calls at once
    and ``per_second`` in the long run.
    """

    method: str
    path: str
    audience: Audience
    may: tuple[str, str]
    prepare: Callable[[Actor, bytes], Delivery]
    answer: Callable[[Receipt], bytes]
    summary: str
    takes: type[Schema]
    answers: type[Schema]
    most_bytes: int
    refuses: tuple[int, ...] = (400, 401, 403, 404, 413, 415, 422, 429, 503)
    per_second: float = 20.0
    burst: float = 100.0


HOT: tuple[HotRoute, ...] = (
    HotRoute(
        "POST",
        "/api/v1/officer/fixes",
        Audience.OFFICER,
        ("use", "officer_client"),
        fixes.prepare,
        fixes.answer,
        "Store fixes of the officer's phone.",
        takes=fixes.OfficerFixBatchSchema,
        answers=fixes.OfficerReceiptSchema,
        most_bytes=fixes.MOST_BYTES,
    ),
)


# --- The OpenAPI document


def describe(spec: APISpec) -> None:
    """Add the hot routes to the OpenAPI document."""
    for route in HOT:
        # flask-smorest's plugin reads the path off a rule, so it is given one that no application serves.
        [rule] = Map([Rule(route.path)]).iter_rules()
        spec.path(rule=rule, operations={route.method.lower(): _operation(route)})


def _operation(route: HotRoute) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {"description": "OK", "content": {"application/json": {"schema": route.answers}}}
    }
    for code in route.refuses:
        text = PROBLEM_TEXT.get(code, HTTPStatus(code).phrase)
        content = {problems.MEDIA_TYPE: {"schema": ProblemSchema}}
        responses[str(code)] = {"description": text, "content": content}
    return {
        "tags": [f"{route.audience}.{route.path.rpartition('/')[2]}"],
        "summary": route.summary,
        "description": "The body may be compressed (`Content-Encoding: gzip`). Repeating a request is harmless.",
        "security": [{"bearer": []}],
        "x-permission": ":".join(route.may),
        "requestBody": {"required": True, "content": {"application/json": {"schema": route.takes}}},
        "responses": responses,
    }


# --- What a request says, and what it is told


class Head(NamedTuple):
    """The part of a request's head that matters here, whichever server read it. Absent is empty."""

    method: str
    authorization: str
    media: str
    encoding: str
    length: str
    chunked: bool
    request_id: str


class Told(NamedTuple):
    """An answer: status, headers beyond those that all answers have, media type and body."""

    status: int
    media: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Served:
    """One route of the table in service: the steps that do not depend on how the server waits."""

    def __init__(self, route: HotRoute, identity: Identity) -> None:
        self.route = route
        self._identity = identity
        self._buckets = Buckets(route.per_second, route.burst)
        self._count_ok = REQUESTS.labels(route.path, route.method, 200)
        self._seconds = REQUEST_SECONDS.labels(route.path)

    def admit(self, head: Head) -> Actor:
        """Return who calls, if he may and does not come too often.

        Raises:
            Unauthenticated, Forbidden, TooMany. MustWait: on a thread that may not wait.
        """
        scheme, _, token = head.authorization.partition(" ")
        token = token.strip()
        if not token or scheme.lower() != "bearer":
            raise Unauthenticated()
        actor = self._identity.authenticate(token)
        access.require(actor, *self.route.may)
        if wait_s := self._buckets.take(actor.session_id):
            LIMITED.inc()
            raise TooMany(wait_s)
        return actor

    def length_of(self, head: Head) -> int | None:
        """Return how long the body says it is, None for a chunked one that says nothing, after a look at the head.

        Raises:
            Unsupported: it is not JSON, or in an encoding other than gzip. TooLarge, Unreadable: its length.
        """
        media = head.media
        if media != "application/json" and media.partition(";")[0].strip().lower() != "application/json":
            raise Unsupported(detail="The body has to be application/json.")
        if head.encoding.strip().lower() not in ("", "identity", "gzip", "x-gzip"):
            raise Unsupported(detail="The body may be compressed with gzip and nothing else.")
        if not head.length:
            return None if head.chunked else 0
        if not head.length.isascii() or not head.length.isdigit():
            raise Unreadable(detail="Content-Length is not a number.")
        length = int(head.length[:20])
        if length > self.route.most_bytes:
            raise TooLarge()
        return length

    def prepare(self, actor: Actor, head: Head, raw: bytes) -> Delivery:
        """Return what a body brings, after decompression and validation."""
        if head.encoding and head.encoding.strip().lower() != "identity":
            raw = _inflated(raw, self.route.most_bytes)
        try:
            return self.route.prepare(actor, raw)
        except (Unreadable, Invalid):
            # What no client of ours sends is judged slowly, field by field, while nobody else is served.
            self._buckets.charge(actor.session_id, len(raw) / JUDGED_BYTES)
            raise

    def told(self, receipt: Receipt, started: float) -> Told:
        """Return the answer of success, and count it."""
        self._count_ok.inc()
        self._seconds.observe(time.perf_counter() - started)
        return Told(200, JSON, self.route.answer(receipt))

    def refused(self, error: Exception, head: Head, started: float) -> Told:
        """Return the answer to a request that failed, count it and log it."""
        refusal = error if isinstance(error, Refusal) else refusal_for(error)
        if refusal is None:
            log.error(
                "request.failed",
                error=type(error).__name__,
                where=problems.where(error),
                path=self.route.path,
                request_id=head.request_id,
            )
            refusal = _Failed()
        body = _problem(refusal.status, refusal.code, refusal.detail, head.request_id, **refusal.extra)
        told = Told(refusal.status, problems.MEDIA_TYPE, body, tuple(refusal.headers.items()))
        return self._noted(told, head, started)

    def other_method(self, head: Head, started: float) -> Told:
        """Return the answer to a method that the route does not take."""
        allow = (("Allow", f"OPTIONS, {self.route.method}"),)
        if head.method == "OPTIONS":
            return self._noted(Told(200, "text/plain; charset=utf-8", b"", allow), head, started)
        body = b"" if head.method == "HEAD" else _problem(405, *problems.FRAMEWORK[405], head.request_id)
        return self._noted(Told(405, problems.MEDIA_TYPE, body, allow), head, started)

    def _noted(self, told: Told, head: Head, started: float) -> Told:
        seconds = time.perf_counter() - started
        method = metrics.method_label(head.method)
        REQUESTS.labels(self.route.path, method, told.status).inc()
        self._seconds.observe(seconds)
        log.info(
            "request", method=method, route=self.route.path, status=told.status,
            duration_ms=round(seconds * 1000), request_id=head.request_id,
        )  # fmt: skip
        return told


class _Failed(Refusal):
    """500: a defect of ours; the log knows more under the request's id."""

    status, (code, title) = 500, problems.FRAMEWORK[500]


JSON = "application/json"
JUDGED_BYTES = 4096
"""Of a body that is refused, so much counts as one call more."""

_process = os.urandom(8).hex()
_requests = itertools.count(int.from_bytes(os.urandom(4)))


def request_id(given: str) -> str:
    """Return the id that the client or a proxy gave, if it is a plain word, or a new one."""
    if given and len(given) <= 64 and given.isalnum() and given.isascii():
        return given
    # Unique is enough, and asking the kernel for random bytes takes longer than validating a fix.
    return f"{_process}{next(_requests):016x}"


def headers_of(told: Told, request_id: str) -> list[tuple[str, str]]:
    """All headers of an answer."""
    return [
        ("Content-Type", told.media),
        ("Content-Length", str(len(told.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Request-ID", request_id),
        *told.headers,
    ]


def _problem(status: int, code: str, detail: str, request_id: str, **extra: Any) -> bytes:
    document = problems.body(status, code, detail, request_id, **extra)
    return json.dumps(document, ensure_ascii=False, default=str).encode("utf-8", "replace")


def nothing_here(method: str, path: str, request_id: str, may_read_figures: bool) -> Told:
    """What a process for hot routes alone says to every other address, except that it lives, and its figures."""
    if path == "/healthz":
        told = Told(200, JSON, b'{"status": "alive"}')
    elif path == "/metrics" and may_read_figures:
        told = Told(200, metrics.MEDIA_TYPE, metrics.figures())
    elif path == "/metrics":
        told = Told(403, problems.MEDIA_TYPE, _problem(403, *problems.FRAMEWORK[403], request_id))
    else:
        told = Told(404, problems.MEDIA_TYPE, _problem(404, *problems.FRAMEWORK[404], request_id))
    return told._replace(body=b"") if method == "HEAD" else told


# --- Serving them by WSGI


def install(app: Flask, config: Config) -> None:
    """Serve the hot routes in front of everything else that ``app`` serves."""
    gateways = Gateways(config.public_url)
    app.wsgi_app = Dispatcher(app.extensions["xungeng.identity"], gateways, app.wsgi_app)  # type: ignore[method-assign]


class Dispatcher:
    """A WSGI application: hot routes and gateways itself, everything else by ``otherwise``."""

    def __init__(self, identity: Identity, gateways: Gateways, otherwise: WsgiApp) -> None:
        self._otherwise = otherwise
        self._served = {route.path: Served(route, identity) for route in HOT}
        self._gateways = gateways

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        served = self._served.get(path)
        if served is not None:
            return _serve(served, environ, start_response)
        if path.startswith("/gateway/"):
            answered = self._gateways.serve(environ, start_response)
            if answered is not None:
                return answered
        return self._otherwise(environ, start_response)


def _serve(served: Served, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    started = time.perf_counter()
    head = Head(
        environ["REQUEST_METHOD"],
        environ.get("HTTP_AUTHORIZATION", ""),
        environ.get("CONTENT_TYPE", ""),
        environ.get("HTTP_CONTENT_ENCODING", ""),
        environ.get("CONTENT_LENGTH") or "",
        bool(environ.get("HTTP_TRANSFER_ENCODING") or environ.get("wsgi.input_terminated")),
        request_id(environ.get("HTTP_X_REQUEST_ID", "")),
    )
    if head.method != served.route.method:
        told = served.other_method(head, started)
    else:
        try:
            actor = served.admit(head)
            raw = _read(environ, served.length_of(head), served.route.most_bytes)
            told = served.told(tracks.commit(served.prepare(actor, head, raw)), started)
        except Exception as error:
            told = served.refused(error, head, started)
    start_response(STATUS_LINES[told.status], headers_of(told, head.request_id))
    return [told.body]


# --- The body


def _read(environ: Environ, length: int | None, most_bytes: int) -> bytes:
    """Return a body of so many bytes, or one that says nothing of its length; never more than may be held."""
    wanted = most_bytes + 1 if length is None else length
    stream, parts, missing = environ["wsgi.input"], [], wanted
    try:
        while missing and (part := stream.read(missing)):
            parts.append(part)
            missing -= len(part)
    except (OSError, EOFError, ValueError) as error:
        raise Unreadable(detail="The body could not be read to its end.") from error
    if length is None and not missing:
        raise TooLarge()
    if length and missing:
        raise Unreadable(detail="The body ended early.")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _inflated(raw: bytes, most_bytes: int) -> bytes:
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        body = inflater.decompress(raw, most_bytes + 1)
    except zlib.error as error:
        raise Unreadable(detail="The body is not gzip, although it says so.") from error
    if len(body) > most_bytes:
        raise TooLarge()
    if not inflater.eof or inflater.unused_data:
        raise Unreadable(detail="The compressed body ends too early, or goes on after its end.")
    return body
