"""The web application, put together: the one place that knows every blueprint."""

import os
import re
import time
from pathlib import Path
from typing import Any

import structlog
from flask import Flask, Response, g, redirect, request, send_from_directory
from flask_smorest import Api
from sqlalchemy import text
from werkzeug.exceptions import Forbidden as HttpForbidden
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import BaseConverter, PathConverter
from werkzeug.security import safe_join

from backend.adapters import storage
from backend.adapters.sms import ConsoleSms, HttpSms, NullSms, Sms
from backend.core import migrating
from backend.core.config import Config, ConfigError
from backend.core.db import engine_for, get_engine, set_engine
from backend.core.metrics import MEDIA_TYPE, REQUEST_SECONDS, REQUESTS, figures, may_read, method_label
from backend.core.preflight import check_app
from backend.core.tokens import ContentLinks, derive_key
from mobile_api import endpoint, hot, limits, problems
from mobile_api.auth.blueprints import BLUEPRINTS as AUTH
from mobile_api.desk.blueprints import BLUEPRINTS as DESK
from mobile_api.gateway.blueprints import BLUEPRINTS as GATEWAY
from mobile_api.identity import Identity
from mobile_api.limits import Limits
from mobile_api.officer.blueprints import BLUEPRINTS as OFFICER
from mobile_api.public.blueprints import BLUEPRINTS as PUBLIC
from mobile_api.resident.blueprints import BLUEPRINTS as RESIDENT
from mobile_api.slow_bodies import Patience
from notifications import reach
from workflows import custody
from workflows.sessions import Sessions
from workflows.throttling import Throttling

WEB_ROOT = Path(__file__).resolve().parents[1] / "web" / "dist"
MAXIMUM_BODY_BYTES = 2 * 1024 * 1024
EXEMPT = {
    "static_web": "the clients' own files, the same for everybody",
    "client_page": "the clients' own files, the same for everybody",
    "root_of_client": "the clients' own files, the same for everybody",
    "root": "the clients' own files, the same for everybody",
    "scanned": "leads to the officer's client, the same for every code, and looks nothing up",
    "healthz": "says only that the process lives",
    "readyz": "says only whether it can serve",
    "metrics": "answers the machine itself, or the holder of its token",
    "docs": "the API reference page",
    "basemap_file": "the operator's own base maps, the same for everybody",
    "api-docs.openapi_json": "the API's own document",
}
READY_FOR_S = 1.0
SAID_BY_TAG = re.compile(r"[0-9A-Za-z_=&.%~-]{1,512}", re.ASCII)
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data: blob: https:; connect-src 'self' ws: wss: https:; "
    "worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; font-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
log = structlog.get_logger(__name__)


class _Api(Api):
    """flask-smorest with our refusals instead of its own, in the answers and in the document."""

    ERROR_SCHEMA = endpoint.ProblemSchema
    # Each route names its refusals; "anything else" would hide a wrong one.
    DEFAULT_ERROR_RESPONSE_NAME = None

    _document: bytes | None = None

    def _openapi_json(self) -> Response:
        """Serve the document, written once: it is the same for all, and whoever asks is anybody."""
        if self._document is None:
            self._document = super()._openapi_json().get_data()
        return Response(self._document, mimetype="application/json")

    def _register_error_handlers(self) -> None:
        return None

    def _register_responses(self) -> None:
        usual: str = Api.DEFAULT_RESPONSE_CONTENT_TYPE
        self.DEFAULT_RESPONSE_CONTENT_TYPE = problems.MEDIA_TYPE
        try:
            super()._register_responses()
        finally:
            self.DEFAULT_RESPONSE_CONTENT_TYPE = usual


class _WebPath(PathConverter):
    """A path that cannot be one of an interface, so that what is not there is 404 with any method."""

    regex = "(?!api/v1/|gateway/|socket.io/)[^/].*?"


class _LabelToken(BaseConverter):
    """What a checkpoint's label or tag says of itself."""

    regex = "[0-9A-Za-z_-]{8,64}"
    part_isolating = True


def create_app(config: Config, *, propagate_failures: bool = False, hot_routes: bool = True) -> Flask:
    """Return the application for a configuration; refuses to start when a route has no policy."""
    app = Flask(__name__, static_folder=None)
    app.config.update(
        API_TITLE="Xungeng",
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/api/v1",
        OPENAPI_JSON_PATH="openapi.json",
        API_SPEC_OPTIONS={
            "info": {
                "description": "Patrol and resident service of a town. Problems are RFC 9457 documents with a literal"
                " `code`; commands take an `Idempotency-Key`; lists page by an opaque cursor.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "security": [],
        },
        MAX_CONTENT_LENGTH=MAXIMUM_BODY_BYTES,
        MAX_FORM_MEMORY_SIZE=MAXIMUM_BODY_BYTES,
        PROPAGATE_FAILURES=propagate_failures,
    )
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    sessions = Sessions(config)
    reach.use(config.notices)
    custody.use(config.custody_macs)
    app.extensions["xungeng.config"] = config
    app.extensions["xungeng.sessions"] = sessions
    app.extensions["xungeng.identity"] = Identity(sessions.tokens)
    app.extensions["xungeng.throttling"] = Throttling(derive_key(config.secret_key, "throttling"))
    app.extensions["xungeng.limits"] = Limits(config.redis_url)
    app.extensions["xungeng.sms"] = sms_for(config)
    app.extensions["xungeng.store"] = storage.Folder(config.evidence_dir)
    app.extensions["xungeng.content_links"] = ContentLinks(config.secret_key)
    app.extensions["xungeng.spool"] = storage.Spool(config.evidence_dir)

    problems.install(app)
    app.before_request(_begin)
    app.before_request(endpoint.check_limits)
    app.before_request(endpoint.strict_body)
    app.after_request(_finish)

    api = _Api(app)
    api.spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})
    for blueprint in (*PUBLIC, *AUTH, *OFFICER, *RESIDENT, *DESK):
        api.register_blueprint(blueprint)
    for plain in GATEWAY:
        app.register_blueprint(plain)
    hot.describe(api.spec)
    if hot_routes:  # Not where a test looks at the ordinary way of a route that has both.
        hot.install(app, config)
    app.wsgi_app = Patience(app.wsgi_app)  # type: ignore[method-assign]
    if config.trusted_hops:
        # Outermost, so that whoever counts callers by address sees the callers' and not the proxy's.
        hops = config.trusted_hops
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    _add_own_pages(app, config)

    exempt = EXEMPT | {
        f"{plain.name}.{name}": "a foreign protocol" for plain in GATEWAY for name in plain.endpoints
    }
    if missing := endpoint.unpolicied(app, exempt):
        raise ConfigError(f"These routes have no audience, permission and limit: {', '.join(missing)}.")
    return app


def sms_for(config: Config) -> Sms:
    """Return the way to a phone: the operator's gateway, its twin in development, or none."""
    if config.sms_url:
        return HttpSms(config.sms_url, config.sms_token)
    return NullSms() if config.production and not config.demo else ConsoleSms(config.data_dir)


def open_database(config: Config) -> None:
    """Give the process its engine, having checked that its role is held by row-level security."""
    engine = engine_for(config)
    check_app(engine, config)
    set_engine(engine)


def _begin() -> None:
    g.request_id = hot.request_id(request.headers.get("X-Request-ID", ""))
    g.started = time.perf_counter()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _finish(response: Response) -> Response:
    rule = request.url_rule.rule if request.url_rule else "unmatched"
    if started := getattr(g, "started", None):
        seconds = time.perf_counter() - started
        method = method_label(request.method)
        REQUESTS.labels(rule, method, response.status_code).inc()
        REQUEST_SECONDS.labels(rule).observe(seconds)
        log.info(
            "request",
            method=method,
            route=rule,
            status=response.status_code,
            duration_ms=round(seconds * 1000),
        )
    response.headers.setdefault("X-Request-ID", getattr(g, "request_id", ""))
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "no-referrer")
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    response.headers.setdefault("Permissions-Policy", "geolocation=(self), camera=(self), microphone=(self)")
    response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    if request.path.startswith("/api/"):
        response.headers.setdefault("Cache-Control", "no-store")
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    structlog.contextvars.unbind_contextvars("request_id")
    return response


def _add_own_pages(app: Flask, config: Config) -> None:
    """Health, figures, the API reference and the web clients' files."""

    @app.get("/healthz")
    def healthz() -> Any:
        return {"status": "alive", "version": config.version}

    def check() -> tuple[dict[str, Any], int]:
        checks = {"database": "ok", "migrations": "ok"}
        try:
            with get_engine().connect() as connection:
                revision = connection.execute(text("select version_num from alembic_version")).scalar()
                if revision != migrating.head():
                    checks["migrations"] = "pending"
        except Exception as error:
            log.warning("readyz.failed", error=type(error).__name__)
            checks["database"] = "down"
        ready = all(value == "ok" for value in checks.values())
        return {"status": "ready" if ready else "not_ready", "checks": checks}, 200 if ready else 503

    found: list[tuple[float, tuple[dict[str, Any], int]]] = []

    @app.get("/readyz")
    def readyz() -> Any:
        # Anybody may ask, so the database is asked once a second and not once a question.
        if not found or time.monotonic() - found[0][0] >= READY_FOR_S:
            found[:] = [(time.monotonic(), check())]
        return found[0][1]

    @app.get("/metrics")
    def metrics() -> Response:
        if not may_read(config, request.remote_addr, request.headers.get("Authorization", "")):
            raise HttpForbidden()
        return Response(figures(), mimetype=MEDIA_TYPE)

    @app.get("/")
    def root() -> Response:
        return _file("index.html")

    app.url_map.converters["label_token"] = _LabelToken

    @app.get("/<any(c,t):kind>/<label_token:token>")
    def scanned(kind: str, token: str) -> Any:
        # The client brings the token to the server in its officer's name. Here nothing is looked up, so that one of
        # ours and one that somebody made up cost the same and cannot be told apart.
        app.extensions["xungeng.limits"].check(limits.OPEN, "scanned", limits.caller_of(request))
        said = request.query_string.decode("latin-1")
        # What a tag that signs says of itself stands in the query, and the client's address is behind the #.
        kept = f"?{said}" if SAID_BY_TAG.fullmatch(said) else ""
        response = redirect(f"/officer/#/scan/{token}{kept}", 302)
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.get("/api/docs")
    def docs() -> Response:
        return _file("api-docs/index.html")

    @app.get("/basemaps/<path:name>")
    def basemap_file(name: str) -> Response:
        # Map clients read a PMTiles file piece by piece (Range), so it is served from where the operator puts it.
        return send_from_directory(config.data_dir / "basemaps", name)

    @app.get("/<any(desk,officer,resident):client>/", defaults={"path": ""})
    @app.get("/<any(desk,officer,resident):client>/<path:path>")
    def client_page(client: str, path: str) -> Response:
        wanted = safe_join(client, path) if path else None
        # Unlike Path.is_file, this takes names that are too long for a file; what climbs out is not looked for.
        if wanted and os.path.isfile(WEB_ROOT / wanted):
            return _file(wanted)
        return _file(f"{client}/index.html")

    @app.get("/<any(desk,officer,resident):client>")
    def root_of_client(client: str) -> Any:
        return redirect(f"/{client}/", 308)

    app.url_map.converters["web_path"] = _WebPath

    @app.get("/<web_path:path>")
    def static_web(path: str) -> Response:
        return _file(path)


def _file(path: str) -> Response:
    """Serve a file of the built clients; names with a hash in them never change."""
    response = send_from_directory(WEB_ROOT, path)
    hashed = path.startswith("assets/") or "/assets/" in path
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if hashed else "no-cache"
    return response
