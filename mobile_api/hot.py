"""The hot routes: the table, and a WSGI application in front of Flask that serves them.

Flask's routing and request objects cost more than everything else that a fix needs, so the routes of this table are
answered before Flask sees them: same token check, same refusals, same problem documents. The table is the only
place that names them; the dispatcher, the OpenAPI document and the contract tests read it.
"""

from __future__ import annotations

import json
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from apispec import APISpec
from flask import Flask
from marshmallow import Schema
from werkzeug.routing import Map, Rule

from backend.core.errors import Refusal, TooLarge, TooMany, Unauthenticated, Unreadable, Unsupported
from backend.core.failures import refusal_for
from backend.core.identity import Actor
from backend.core.metrics import LIMITED, REQUEST_SECONDS, REQUESTS
from backend.core.vocabulary import Audience
from mobile_api import problems
from mobile_api.endpoint import PROBLEM_TEXT, ProblemSchema
from mobile_api.gateway.wsgi import Gateways
from mobile_api.identity import Identity
from mobile_api.limits import Buckets
from mobile_api.officer import fixes
from workflows import access

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class HotRoute:
    """A route that is served before Flask.

    ``serve`` gets the actor and the whole body, decompressed and within ``most_bytes``, and returns the answer's
    JSON; it refuses by raising. A caller gets ``burst`` calls at once and ``per_second`` in the long run.
    """

    method: str
    path: str
    audience: Audience
    may: tuple[str, str]
    serve: Callable[[Actor, bytes], bytes]
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
        fixes.receive,
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


# --- The dispatcher


def install(app: Flask) -> None:
    """Serve the hot routes in front of everything else that ``app`` serves."""
    app.wsgi_app = Dispatcher(app.extensions["xungeng.identity"], app.wsgi_app)  # type: ignore[method-assign]


class Dispatcher:
    """A WSGI application: hot routes itself, everything else by ``otherwise``."""

    def __init__(self, identity: Identity, otherwise: WsgiApp | None = None) -> None:
        """Serve the table; without ``otherwise``, in a process for hot routes alone, all else is not found."""
        self._identity = identity
        self._otherwise = otherwise or _nothing_here
        self._served = {route.path: _Served(route, identity) for route in HOT}
        self._gateways = Gateways()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        served = self._served.get(path)
        if served is not None:
            return served(environ, start_response)
        if path.startswith("/gateway/"):
            answered = self._gateways.serve(environ, start_response)
            if answered is not None:
                return answered
        return self._otherwise(environ, start_response)


class _Served:
    """One route of the table in service."""

    def __init__(self, route: HotRoute, identity: Identity) -> None:
        self._route = route
        self._identity = identity
        self._buckets = Buckets(route.per_second, route.burst)
        self._count_ok = REQUESTS.labels(route.path, route.method, 200)
        self._seconds = REQUEST_SECONDS.labels(route.path)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        started = time.perf_counter()
        request_id = environ.get("HTTP_X_REQUEST_ID", "")
        if not (0 < len(request_id) <= 64 and request_id.isalnum() and request_id.isascii()):
            request_id = uuid.uuid4().hex
        status = 200
        headers: list[tuple[str, str]] = []
        try:
            if environ["REQUEST_METHOD"] != self._route.method:
                return self._other_method(environ, start_response, request_id)
            body = self._serve(environ)
        except Refusal as refusal:
            status, headers, body = _refused(refusal, request_id)
        except Exception as error:
            known = refusal_for(error)
            if known is None:
                log.error(
                    "request.failed", error=type(error).__name__, path=self._route.path, request_id=request_id
                )
                known = _Failed()
            status, headers, body = _refused(known, request_id)
        seconds = time.perf_counter() - started
        if status == 200:
            self._count_ok.inc()
            media = "application/json"
        else:
            REQUESTS.labels(self._route.path, self._route.method, status).inc()
            log.info(
                "request", method=self._route.method, route=self._route.path, status=status,
                duration_ms=round(seconds * 1000), request_id=request_id,
            )  # fmt: skip
            media = problems.MEDIA_TYPE
        self._seconds.observe(seconds)
        start_response(_STATUS_LINES[status], _headers(media, len(body), request_id) + headers)
        return [body]

    def _serve(self, environ: Environ) -> bytes:
        scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        token = token.strip()
        if not token or scheme.lower() != "bearer":
            raise Unauthenticated()
        actor = self._identity.authenticate(token)
        access.require(actor, *self._route.may)
        if wait_s := self._buckets.take(actor.session_id):
            LIMITED.inc()
            raise TooMany(wait_s)
        return self._route.serve(actor, body_of(environ, self._route.most_bytes))

    def _other_method(
        self, environ: Environ, start_response: StartResponse, request_id: str
    ) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        allow = [("Allow", f"OPTIONS, {self._route.method}")]
        status, body = 405, b""
        if method == "OPTIONS":
            status, media = 200, "text/plain; charset=utf-8"
        else:
            media = problems.MEDIA_TYPE
            if method != "HEAD":
                body = _problem(405, *problems.FRAMEWORK[405], request_id)
        known = method if method in ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE") else "other"
        REQUESTS.labels(self._route.path, known, status).inc()
        start_response(_STATUS_LINES[status], _headers(media, len(body), request_id) + allow)
        return [body]


class _Failed(Refusal):
    """500: a defect of ours; the log knows more under the request's id."""

    status, (code, title) = 500, problems.FRAMEWORK[500]


def _refused(refusal: Refusal, request_id: str) -> tuple[int, list[tuple[str, str]], bytes]:
    body = _problem(refusal.status, refusal.code, refusal.detail, request_id, **refusal.extra)
    return refusal.status, list(refusal.headers.items()), body


def _problem(status: int, code: str, detail: str, request_id: str, **extra: Any) -> bytes:
    document = problems.body(status, code, detail, request_id, **extra)
    return json.dumps(document, ensure_ascii=False, default=str).encode("utf-8", "replace")


_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


def _headers(media: str, length: int, request_id: str) -> list[tuple[str, str]]:
    return [
        ("Content-Type", media),
        ("Content-Length", str(length)),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Request-ID", request_id),
    ]


def _nothing_here(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """What a process for hot routes alone says to every other address, except that it lives."""
    request_id = uuid.uuid4().hex
    if environ.get("PATH_INFO") == "/healthz":
        status, media, body = 200, "application/json", b'{"status": "alive"}'
    else:
        status, media = 404, problems.MEDIA_TYPE
        body = _problem(404, *problems.FRAMEWORK[404], request_id)
    start_response(_STATUS_LINES[status], _headers(media, len(body), request_id))
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


# --- The body


def body_of(environ: Environ, most_bytes: int) -> bytes:
    """Return the JSON body of a request, decompressed; more than ``most_bytes`` of it are never held.

    Raises:
        Unsupported: it is not JSON, or in an encoding other than gzip. TooLarge: before or after decompression.
        Unreadable: it ends too early, or is not gzip as it says.
    """
    media = environ.get("CONTENT_TYPE", "")
    if media != "application/json" and media.partition(";")[0].strip().lower() != "application/json":
        raise Unsupported(detail="The body has to be application/json.")
    encoding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise Unsupported(detail="The body may be compressed with gzip and nothing else.")
    declared = environ.get("CONTENT_LENGTH") or ""
    if declared:
        if not declared.isascii() or not declared.isdigit():
            raise Unreadable(detail="Content-Length is not a number.")
        length = int(declared[:20])
        if length > most_bytes:
            raise TooLarge()
        raw = _read(environ, length)
        if len(raw) < length:
            raise Unreadable(detail="The body ended early.")
    elif environ.get("HTTP_TRANSFER_ENCODING") or environ.get("wsgi.input_terminated"):
        raw = _read(environ, most_bytes + 1)
        if len(raw) > most_bytes:
            raise TooLarge()
    else:
        raw = b""
    return _inflated(raw, most_bytes) if encoding in ("gzip", "x-gzip") else raw


def _read(environ: Environ, length: int) -> bytes:
    stream = environ["wsgi.input"]
    try:
        part: bytes = stream.read(length)
        if len(part) == length or not part:
            return part
        parts, missing = [part], length - len(part)
        while missing and (part := stream.read(missing)):
            parts.append(part)
            missing -= len(part)
    except (OSError, EOFError, ValueError) as error:
        raise Unreadable(detail="The body could not be read to its end.") from error
    return b"".join(parts)


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


def paths() -> Sequence[tuple[str, str]]:
    """Method and path of every hot route, for the contract tests."""
    return [(route.method, route.path) for route in HOT]
