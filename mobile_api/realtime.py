"""The live channel: Socket.IO at ``/socket.io``, WebSocket alone, namespaces ``/desk``, ``/officer``, ``/resident``.

A client connects with ``auth: {token}`` and is put where its scope puts it; it can neither join nor name a room. It
hears ``hello``, ``changed`` (a thing it may see has: its kind, id and version; fetch it), ``notice`` (there is one for
its person), ``behind`` (something may have been missed: fetch everything) and ``revoked``; the desk also ``positions``
(the newest of each officer, coalesced) and ``officer`` (something happened to a shift). It says ``token`` (a fresh
access token before the old one runs out), on a phone also ``sos``, and nothing else. An officer's or a resident's
phone hears of what concerns himself and is in no room.

Every right is looked at again while the socket lives: at once when a change is announced (LISTEN/NOTIFY), every three
seconds for everybody in any case, because an announcement can be lost, and at each renewal. A revoked session gets
``revoked`` and close code 4401, a token that ran out 4401 alone.

python-socketio and Flask-SocketIO do the protocol; the engine below them is ours (``mobile_api.sockets``).
"""

from __future__ import annotations

import logging
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, cast
from uuid import UUID

import gevent
import msgspec
import socketio
from flask import Flask, request
from flask_socketio import SocketIO
from flask_socketio.namespace import Namespace
from gevent.lock import BoundedSemaphore
from werkzeug.datastructures import Headers
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import EnvironBuilder, run_wsgi_app

from backend.core import clock
from backend.core.errors import Forbidden, Refusal, Unauthenticated
from backend.core.failures import refusal_for
from backend.core.ids import id_of
from backend.core.listen import AREAS, CHANGES, NOTICES, SESSIONS, SHIFTS, Listener
from backend.core.metrics import SOCKETS_CLOSED
from backend.core.tokens import AccessClaims
from backend.core.uow import unit_of_work
from mobile_api.identity import Identity
from mobile_api.sockets.audiences import Audience, Audiences, send_all
from mobile_api.sockets.engine import MAX_CLIENTS, Engine, Environs, LiveConnection
from mobile_api.sockets.frames import POLICY, REVOKED, TEXT, frame
from notifications.channels.realtime import Publisher, live
from workflows import access
from workflows import live as looks
from workflows.live import ShiftEvent

log = logging.getLogger(__name__)

DESK = "/desk"
NAMESPACES = {
    DESK: ("use", "desk"),
    "/officer": ("use", "officer_client"),
    "/resident": ("use", "resident_client"),
}
"""Where a client may connect, and the permission that it takes."""
CALLS = {"/officer": "/api/v1/officer/sos", "/resident": "/api/v1/resident/sos"}
"""Where a call for help that comes over a phone's socket goes."""
CHECK_EVERY_S = 3.0
"""So often every socket's session and memberships are looked at; a revocation has to count within five seconds."""
CHECKED_AT_ONCE = 500
LOOKS_AT_ONCE = 6
"""Transactions that the live channel has open at most, so that a storm of reconnecting clients leaves some to REST."""
REMEMBER_ROOMS_S = 30.0
SOCKETS_OF_A_SESSION = 20
"""A browser's tabs share a session; nobody looks at more of them."""
REFUSALS = 20
"""What a client may say that is refused before it is closed."""
MISSED_MARGIN = timedelta(seconds=10)
SPARE_DESCRIPTORS = 256
"""File descriptors that are kept for REST, the database and files."""

CLOSED_AS = {1001: "going_away", 1008: "policy", 1009: "too_big", 4401: "revoked", 4408: "too_slow"}


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token entitles to: whose it is, which rooms, and the memberships that this follows from."""

    claims: AccessClaims
    rooms: frozenset[UUID]
    holdings: str
    namespace: str = DESK


class Watch(Protocol):
    """Where the live channel looks things up; each method may wait, and refuses with a Refusal."""

    def admit(self, token: str, namespace: str) -> Grant:
        """Return what an access token entitles to in a namespace."""

    def look_again(self, claims: AccessClaims, namespace: str) -> Grant:
        """Return what a session entitles to by now."""

    def holdings(self, town_id: UUID, session_ids: Sequence[UUID]) -> dict[UUID, str]:
        """Return the memberships of each session that is still open."""

    def shift_events_since(self, town_id: UUID, moment: datetime) -> list[ShiftEvent]:
        """Return what happened to a town's shifts."""

    def forget_rooms(self) -> None:
        """Ask for areas anew."""


class DatabaseWatch:
    """The watch of the service: identity, memberships and areas as the database has them."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._rooms: dict[tuple[UUID, ...], tuple[float, frozenset[UUID]]] = {}
        self._lock = threading.Lock()

    def admit(self, token: str, namespace: str) -> Grant:
        return self.look_again(self._identity.claims(token), namespace)

    def look_again(self, claims: AccessClaims, namespace: str) -> Grant:
        with unit_of_work(claims.town_id) as uow:
            actor = self._identity.actor(uow, claims)
            access.require(actor, *NAMESPACES[namespace])
            held = looks.holding(actor)
            if namespace != DESK:
                return Grant(claims, frozenset(), held, namespace)
            roots = tuple(sorted(access.roots(actor, "see", "officer")))
            with self._lock:
                known = self._rooms.get(roots)
            if known is not None and known[0] > time.monotonic():
                return Grant(claims, known[1], held)
            rooms = frozenset(access.live_rooms(uow, actor))
        with self._lock:
            # One frozenset for all who share a scope: it names the audience.
            if known is not None and known[1] == rooms:
                rooms = known[1]
            self._rooms[roots] = (time.monotonic() + REMEMBER_ROOMS_S, rooms)
        return Grant(claims, rooms, held)

    def holdings(self, town_id: UUID, session_ids: Sequence[UUID]) -> dict[UUID, str]:
        with unit_of_work(town_id) as uow:
            return looks.holdings(uow, session_ids)

    def shift_events_since(self, town_id: UUID, moment: datetime) -> list[ShiftEvent]:
        with unit_of_work(town_id) as uow:
            return looks.shift_events_since(uow, moment)

    def forget_rooms(self) -> None:
        with self._lock:
            self._rooms.clear()


class Viewer:
    """An admitted client: its connection, what it was granted and the audience it is in."""

    __slots__ = ("audience", "connection", "grant", "refused", "token")

    def __init__(self, connection: LiveConnection, grant: Grant, token: str) -> None:
        self.connection = connection
        self.grant = grant
        self.token = token
        self.audience: Audience | None = None
        self.refused = 0


class Members(socketio.Manager):
    """python-socketio's list of clients, with a sign-off whose cost does not grow with their number.

    The stock one looks for the client in every room, and every client has a room of its own: when a thousand lose
    their line at once, that is a million looks.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rooms_of: dict[str, set[Any]] = {}

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: str | None = None) -> None:
        """Enter a room, and remember it for the sign-off."""
        super().basic_enter_room(sid, namespace, room, eio_sid=eio_sid)
        if room is not None and room != sid:
            self._rooms_of.setdefault(sid, set()).add(room)

    def basic_disconnect(self, sid: str, namespace: str, **options: Any) -> None:
        """Sign a client off."""
        for room in (*self._rooms_of.pop(sid, ()), sid, None):
            self.basic_leave_room(sid, namespace, room)
        self.callbacks.pop(sid, None)
        for pending in (self.pending_connect, self.pending_disconnect):
            waiting = pending.get(namespace, [])
            if sid in waiting:
                waiting.remove(sid)
            if not waiting:
                pending.pop(namespace, None)


class LiveSocketIO(SocketIO):
    """Flask-SocketIO with our engine in the place of python-engineio's."""

    def __init__(self, app: Flask, channel: LiveChannel, path: str = "socket.io") -> None:
        self._channel = channel
        self._engine = channel.engine
        super().__init__(
            app,
            path=path,
            client_manager=Members(),
            async_mode="gevent",
            async_handlers=False,
            manage_session=False,
            transports=["websocket"],
            namespaces=list(NAMESPACES),
            logger=logging.getLogger("xungeng.socketio"),
            engineio_logger=logging.getLogger("xungeng.sockets"),
        )

    def init_app(self, app: Flask, **options: Any) -> None:
        """Build the stock server, then put the engine under it."""
        super().init_app(app, **options)
        server: socketio.Server = self.server
        server.eio = self._engine
        server.eio.on("connect", server._handle_eio_connect)
        server.eio.on("message", self._message)
        server.eio.on("disconnect", server._handle_eio_disconnect)
        server.environ = Environs(self._engine, app)
        # Flask-SocketIO's own middleware copies the environ and makes a class for every request of the whole app.
        engine, others, prefix = self._engine, self.sockio_mw.wsgi_app, f"/{options['path']}/"
        self._channel.rest = others

        # The declared proxies have to be taken off here too: this stands in front of what does it for all others.
        config = app.extensions.get("xungeng.config")
        hops = config.trusted_hops if config is not None else 0
        handle: Any = engine.handle_request
        if hops:
            handle = ProxyFix(handle, x_for=hops, x_proto=hops, x_host=hops)

        def front(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if environ["PATH_INFO"].startswith(prefix):
                return cast("Iterable[bytes]", handle(environ, start_response))
            return others(environ, start_response)

        app.wsgi_app = front  # type: ignore[method-assign]

    def _message(self, sid: str, data: str) -> None:
        """Pass on what a client may send; python-socketio would take a client's word for ``connect`` and the like.

        Raises:
            ValueError: this is not Socket.IO, or a binary packet, which nobody has a use for here.
        """
        if data[:1] not in ("0", "1", "2", "3"):
            raise ValueError("not a packet for this server")
        connection = self._engine.sockets.get(sid)
        if data[0] != "0" and connection is not None and not connection.admitted:
            self._channel.refuse(connection)  # Nothing that a stranger says is read, but who he is.
            return
        if data[0] == "2":
            try:
                name = self.server.packet_class(encoded_packet=data).data[0]
            except (TypeError, LookupError, RecursionError):
                raise ValueError("not an event") from None
            if not isinstance(name, str) or name in self.server.reserved_events:
                if connection is not None:
                    self._channel.refuse(connection)
                return
        self.server._handle_eio_message(sid, data)


class Clients(Namespace):
    """One namespace: what its clients may say. There is no event by which a room could be asked for."""

    def __init__(self, name: str, channel: LiveChannel) -> None:
        super().__init__(name)
        self._channel = channel

    def trigger_event(self, event: str, *args: Any) -> Any:
        """Handle ``connect``, ``disconnect``, ``token`` and ``sos``; everything else is refused."""
        return self.socketio._handle_event(self._dispatch, event, self.namespace, *args)

    def _dispatch(self, *args: Any) -> Any:
        event = request.event["message"]  # type: ignore[attr-defined]
        connection = self._channel.connection_of(request.sid, self.namespace)  # type: ignore[attr-defined]
        if connection is None:
            return None
        if event == "connect":
            return self._channel.admit(connection, args[0] if args else None, self.namespace)
        if event == "disconnect":
            # The namespace is left; there is nothing else to stay for.
            return connection.close(reason="client left")
        if event == "token":
            return self._channel.renew(connection, args[0] if args else None)
        if event == "sos" and self.namespace in CALLS:
            return self._channel.call_for_help(connection, CALLS[self.namespace], args[0] if args else None)
        return self._channel.refuse(connection)


class LiveChannel:
    """All live clients of this process. Belongs to the thread of the event loop."""

    def __init__(self, watch: Watch, engine: Engine) -> None:
        self._watch = watch
        self.engine = engine
        self.audiences = Audiences(DESK)
        self.socketio: LiveSocketIO | None = None
        self.rest: Any = None
        """The rest of the service, as a WSGI application."""
        self._viewers: dict[LiveConnection, Viewer] = {}
        self._of_session: Counter[UUID] = Counter()
        self._of_user: dict[UUID, set[Viewer]] = {}
        self._looking = BoundedSemaphore(LOOKS_AT_ONCE)
        self._clock: gevent.Greenlet | None = None
        self._caught_up_at = clock.now()
        engine.on_left = self._left

    def __len__(self) -> int:
        return len(self._viewers)

    def connection_of(self, sid: str, namespace: str) -> LiveConnection | None:
        """Return the connection of a Socket.IO session id."""
        assert self.socketio is not None
        engine_sid = self.socketio.server.manager.eio_sid_from_sid(sid, namespace)
        return self.engine.sockets.get(engine_sid)

    # --- Clients come, renew and go

    def admit(self, connection: LiveConnection, auth: Any, namespace: str) -> None:
        """Let a client in, or refuse it with the code that REST would have used. A connection is in one namespace."""
        if connection.viewer is not None:
            raise socketio.exceptions.ConnectionRefusedError(
                "one_namespace", {"status": 409, "detail": "This connection is in another namespace already."}
            )
        try:
            token = _token(auth)
            grant = self._ask(self._watch.admit, token, namespace)
        except Refusal as refusal:
            raise socketio.exceptions.ConnectionRefusedError(
                refusal.code, {"status": refusal.status, "detail": refusal.detail}
            ) from None
        if connection.closed:
            return
        session_id = grant.claims.session_id
        if self._of_session[session_id] >= SOCKETS_OF_A_SESSION:
            raise socketio.exceptions.ConnectionRefusedError(
                "too_many_sockets", {"status": 429, "detail": "This session has too many live connections."}
            )
        self._of_session[session_id] += 1
        self.engine.admit(connection)
        viewer = connection.viewer = self._viewers[connection] = Viewer(connection, grant, token)
        self._of_user.setdefault(grant.claims.user_id, set()).add(viewer)
        self._place(viewer)
        if self._clock is None:
            self._clock = gevent.spawn(self._keep_looking)
        # Runs when this handler has returned and python-socketio has said CONNECT, which it does without waiting.
        gevent.spawn(self._greet, viewer)

    def _greet(self, viewer: Viewer) -> None:
        viewer.connection.send(
            event(
                "hello",
                {"server_time": clock.now(), "session_id": viewer.grant.claims.session_id},
                viewer.grant.namespace,
            )
        )

    def renew(self, connection: LiveConnection, data: Any) -> dict[str, Any]:
        """Take a fresh token of the same session; the answer is the acknowledgement that the client gets."""
        viewer = connection.viewer
        if viewer is None:
            return self.refuse(connection)
        try:
            token = _token(data)
            grant = self._ask(self._watch.admit, token, viewer.grant.namespace)
            if grant.claims.session_id != viewer.grant.claims.session_id:
                raise Forbidden("other_session", "This token belongs to another session.")
        except Refusal as refusal:
            self.refuse(connection)
            return {"error": refusal.code, "status": refusal.status}
        self._regrant(viewer, grant)
        viewer.token = token
        return {"expires_at_s": grant.claims.expires_at_s}

    def call_for_help(self, connection: LiveConnection, path: str, data: Any) -> dict[str, Any]:
        """Take a call for help as REST takes it, with its limits and its door, and answer ``{status, body}``.

        ``data`` is ``{key, body}``: the Idempotency-Key, and the very text that a request would carry, so that a phone
        which hears no acknowledgement says the same again by REST and has called once.
        """
        viewer = connection.viewer
        key, body = (data.get(name) for name in ("key", "body")) if isinstance(data, dict) else (None, None)
        command_id = id_of(key)
        if viewer is None or command_id is None or not isinstance(body, str):
            return self.refuse(connection)
        asked = EnvironBuilder(
            path=path, method="POST", data=body.encode(errors="replace"), content_type="application/json",
            headers=Headers([("Authorization", f"Bearer {viewer.token}"), ("Idempotency-Key", str(command_id))]),
            environ_base={"REMOTE_ADDR": connection.address},
        )  # fmt: skip
        parts, status, _ = run_wsgi_app(self.rest, asked.get_environ())
        return {"status": int(status.split()[0]), "body": b"".join(parts).decode()}

    def refuse(self, connection: LiveConnection) -> dict[str, Any]:
        """Count something that a client may not say, and close it when it does not stop."""
        viewer = connection.viewer
        if viewer is not None:
            viewer.refused += 1
        if viewer is None or viewer.refused > REFUSALS:
            connection.close(POLICY, "refused")
        return {"error": "refused", "status": 403}

    def forget(self, connection: LiveConnection) -> None:
        """A client has left the namespace."""
        viewer = self._viewers.pop(connection, None)
        connection.viewer = None
        if viewer is not None:
            session_id = viewer.grant.claims.session_id
            self._of_session[session_id] -= 1
            if not self._of_session[session_id]:
                del self._of_session[session_id]
            user_id = viewer.grant.claims.user_id
            self._of_user[user_id].discard(viewer)
            if not self._of_user[user_id]:
                del self._of_user[user_id]
        if viewer is not None and viewer.audience is not None:
            self.audiences.leave(connection, viewer.audience)

    def _left(self, connection: LiveConnection, code: int) -> None:
        if code in CLOSED_AS:
            SOCKETS_CLOSED.labels(CLOSED_AS[code]).inc()
        self.forget(connection)

    # --- Rights

    def _ask(self, look: Callable[..., Any], *arguments: Any) -> Any:
        """Look something up with a bounded number of others; a failing database is a refusal too."""
        with self._looking:
            try:
                return look(*arguments)
            except Refusal:
                raise
            except Exception as error:
                refusal = refusal_for(error)
                if refusal is None:
                    raise
                raise refusal from error

    def _place(self, viewer: Viewer) -> None:
        rooms = viewer.grant.rooms
        if viewer.grant.namespace != DESK:
            return
        before = viewer.audience
        if before is not None:
            if before.rooms == rooms:
                return
            self.audiences.leave(viewer.connection, before)
        viewer.audience = self.audiences.join(viewer.connection, rooms)

    def _regrant(self, viewer: Viewer, grant: Grant) -> None:
        if self._viewers.get(viewer.connection) is viewer:
            viewer.grant = grant
            self._place(viewer)

    def revoke(self, viewer: Viewer) -> None:
        """Tell a client that it is no longer wanted, and cut it off; what waited for it is dropped."""
        viewer.connection.close(REVOKED, "revoked", last=event("revoked", {}, viewer.grant.namespace))

    def _look_again(self, viewer: Viewer) -> None:
        try:
            grant = self._ask(self._watch.look_again, viewer.grant.claims, viewer.grant.namespace)
        except Refusal as refusal:
            if refusal.status in (401, 403):
                self.revoke(viewer)
            return  # The database is away: the next look tells, and until the token runs out what was true counts.
        except Exception:
            log.exception("live_look_failed")
            return
        self._regrant(viewer, grant)

    def _keep_looking(self) -> None:
        while self._viewers:
            gevent.sleep(CHECK_EVERY_S)
            try:
                self.look_at_everybody()
            except Exception:
                log.exception("live_look_failed")
        self._clock = None

    def look_at_everybody(self) -> None:
        """Close whose token has run out or whose session has ended; place anew whose memberships have changed."""
        now_s = clock.now().timestamp()
        by_town: dict[UUID, list[Viewer]] = {}
        for viewer in list(self._viewers.values()):
            claims = viewer.grant.claims
            if claims.expires_at_s <= now_s:
                viewer.connection.close(REVOKED, "token expired")
            else:
                by_town.setdefault(claims.town_id, []).append(viewer)
        for town_id, viewers in by_town.items():
            for start in range(0, len(viewers), CHECKED_AT_ONCE):
                self._look_at(town_id, viewers[start : start + CHECKED_AT_ONCE])

    def _look_at(self, town_id: UUID, viewers: list[Viewer]) -> None:
        asked = {viewer.grant.claims.session_id for viewer in viewers}
        try:
            open_sessions = self._ask(self._watch.holdings, town_id, list(asked))
        except Refusal:
            return
        for viewer in viewers:
            held = open_sessions.get(viewer.grant.claims.session_id)
            if held is None:
                self.revoke(viewer)
            elif held != viewer.grant.holdings:
                gevent.spawn(self._look_again, viewer)

    # --- What is announced

    def session_changed(self, message: dict[str, Any]) -> None:
        """Look again at the sockets of a session, or of all sessions of a user."""
        session_id, user_id = id_of(message.get("session_id")), id_of(message.get("user_id"))
        for viewer in list(self._viewers.values()):
            claims = viewer.grant.claims
            if claims.session_id == session_id or (session_id is None and claims.user_id == user_id):
                gevent.spawn(self._look_again, viewer)

    def areas_changed(self, message: dict[str, Any]) -> None:
        """Ask for everybody's areas again."""
        self._watch.forget_rooms()
        for viewer in list(self._viewers.values()):
            gevent.spawn(self._look_again, viewer)

    def shift_changed(self, message: dict[str, Any]) -> None:
        """Tell those who may see it that something happened to a shift."""
        area_id, officer_id, shift_id = (
            id_of(message.get(key)) for key in ("area_id", "officer_id", "shift_id")
        )
        if area_id is None or officer_id is None or shift_id is None:
            log.warning("live_shift_unreadable")
            return
        self.tell(
            ShiftEvent(
                area_id, officer_id, shift_id, str(message.get("action")), int(message.get("version") or 0)
            )
        )

    def tell(self, happened: ShiftEvent) -> int:
        """Send an ``officer`` event to the room of a shift; returns to how many."""
        self._caught_up_at = clock.now()
        return self.audiences.tell(
            happened.area_id,
            event(
                "officer",
                {
                    "kind": "shift",
                    "action": happened.action,
                    "officer_id": happened.officer_id,
                    "shift_id": happened.shift_id,
                    "version": happened.version,
                },
            ),
        )

    def something_changed(self, message: dict[str, Any]) -> None:
        """Tell the desks of an area, and the people named, that a thing has changed; they fetch what they may see."""
        town_id, area_id = id_of(message.get("town_id")), id_of(message.get("area_id"))
        told = {key: message.get(key) for key in ("kind", "id", "version", "action")}
        if town_id is None or id_of(told["id"]) is None:
            log.warning("live_change_unreadable")
            return
        if area_id is not None:
            self.audiences.tell(area_id, event("changed", told))
        for user_id in map(id_of, message.get("user_ids") or ()):
            for viewer in tuple(self._of_user.get(user_id, ())) if user_id is not None else ():
                # The desk's own clients of his hear it by their rooms.
                if viewer.grant.namespace != DESK and viewer.grant.claims.town_id == town_id:
                    viewer.connection.send(event("changed", told, viewer.grant.namespace))

    def notice_written(self, message: dict[str, Any]) -> None:
        """Tell all clients of one person that there is a notice for him; they fetch what it says."""
        town_id, user_id = id_of(message.get("town_id")), id_of(message.get("user_id"))
        if town_id is None or user_id is None:
            log.warning("live_notice_unreadable")
            return
        told = {key: message.get(key) for key in ("notice_id", "kind", "subject_kind", "subject_id")}
        for viewer in tuple(self._of_user.get(user_id, ())):
            if viewer.grant.claims.town_id == town_id:
                viewer.connection.send(event("notice", told, viewer.grant.namespace))

    def missed(self) -> None:
        """Announcements may have been lost: look at everybody, and tell what happened to shifts meanwhile."""
        self._watch.forget_rooms()
        for viewer in tuple(self._viewers.values()):
            viewer.connection.send(event("behind", {}, viewer.grant.namespace))
        gevent.spawn(self._catch_up)

    def _catch_up(self) -> None:
        since = self._caught_up_at - MISSED_MARGIN
        self._caught_up_at = clock.now()
        towns = {viewer.grant.claims.town_id for viewer in self._viewers.values()}
        try:
            self.look_at_everybody()
            for town_id in towns:
                for happened in self._ask(self._watch.shift_events_since, town_id, since):
                    self.tell(happened)
        except Refusal:
            # Nothing was caught up with; the next occasion starts there.
            self._caught_up_at = since + MISSED_MARGIN
        except Exception:
            log.exception("live_catch_up_failed")

    # --- For the layers above

    def everybody(self, name: str, data: Any) -> int:
        """Send an event that must arrive to every desk of this process; returns to how many."""
        desks = [viewer.connection for viewer in self._viewers.values() if viewer.grant.namespace == DESK]
        return send_all(desks, event(name, data))


def event(name: str, data: Any, namespace: str = DESK) -> bytes:
    """Return a Socket.IO event of a namespace as a WebSocket frame."""
    return frame(TEXT, f"42{namespace},".encode() + msgspec.json.encode([name, data]))


def install(
    app: Flask,
    watch: Watch,
    *,
    listener: Listener | None = None,
    publisher: Publisher = live,
    max_clients: int = MAX_CLIENTS,
    cors_allowed_origins: Iterable[str] | None = None,
) -> LiveChannel:
    """Serve the live channel from ``app``, in a process of ``gunicorn -k gevent``.

    The app's ``wsgi_app`` answers ``/socket.io`` from then on; ``publisher``'s rows and the listener's announcements
    go to the clients of this process.
    """
    engine = Engine(
        max_clients=min(max_clients, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS),
        cors_allowed_origins=None if cors_allowed_origins is None else list(cors_allowed_origins),
    )
    channel = LiveChannel(watch, engine)
    channel.socketio = LiveSocketIO(app, channel)
    for name in NAMESPACES:
        channel.socketio.on_namespace(Clients(name, channel))
    publisher.attach(channel.audiences.publish)
    if listener is not None:
        listener.on(SESSIONS, channel.session_changed)
        listener.on(SHIFTS, channel.shift_changed)
        listener.on(AREAS, channel.areas_changed)
        listener.on(CHANGES, channel.something_changed)
        listener.on(NOTICES, channel.notice_written)
        listener.on_missed(channel.missed)
    app.extensions["xungeng.live"] = channel
    return channel


def _token(auth: Any) -> str:
    token = auth.get("token") if isinstance(auth, dict) else None
    if not isinstance(token, str) or not token:
        raise Unauthenticated()
    return token
