"""A server of the live channel alone, for ``gunicorn -k gevent``: no database, a watch that believes its tokens.

A token is ``session:user:seconds to live:room,room,…``. ``POST /control`` lets a test publish, announce and revoke.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import gevent
from flask import Flask, request

from backend.core.errors import Unauthenticated
from backend.core.tokens import AccessClaims
from mobile_api import realtime
from mobile_api.realtime import Grant
from notifications.channels.realtime import LivePosition, live
from workflows.live import ShiftEvent

TOWN = UUID(int=1)


class Tokens:
    """A watch without a database: a token says everything, until the test says otherwise."""

    def __init__(self) -> None:
        self.ended: set[UUID] = set()
        self.rooms: dict[UUID, frozenset[UUID]] = {}
        self.missed: list[ShiftEvent] = []
        self.admitted = 0
        self.slow_s = 0.0

    def admit(self, token: str, namespace: str) -> Grant:
        if self.slow_s:
            gevent.sleep(self.slow_s)
        try:
            session, user, ttl_s, rooms = token.split(":")
            claims = AccessClaims(UUID(user), TOWN, UUID(session), int(time.time() + float(ttl_s)))
            named = frozenset(UUID(room) for room in rooms.split(",") if room)
        except ValueError:
            raise Unauthenticated("invalid_token") from None
        self.rooms.setdefault(claims.session_id, named)
        self.admitted += 1
        return self.look_again(claims, namespace)

    def look_again(self, claims: AccessClaims, namespace: str) -> Grant:
        if claims.session_id in self.ended:
            raise Unauthenticated("session_ended")
        rooms = self.rooms[claims.session_id] if namespace == realtime.DESK else frozenset()
        return Grant(claims, rooms, self._held(claims.session_id), namespace)

    def holdings(self, town_id: UUID, session_ids: Sequence[UUID]) -> dict[UUID, str]:
        return {one: self._held(one) for one in session_ids if one not in self.ended}

    def _held(self, session_id: UUID) -> str:
        return ",".join(sorted(map(str, self.rooms[session_id])))

    def shift_events_since(self, town_id: UUID, moment: datetime) -> list[ShiftEvent]:
        return self.missed

    def forget_rooms(self) -> None:
        pass


app = Flask(__name__)
watch = Tokens()
if os.environ.get("LIVE_REDIS"):
    live.open_bus(os.environ["LIVE_REDIS"])
if os.environ.get("LIVE_HOPS"):
    app.extensions["xungeng.config"] = SimpleNamespace(trusted_hops=int(os.environ["LIVE_HOPS"]))
channel = realtime.install(app, watch)
channel.engine.ping_interval = float(os.environ.get("LIVE_PING_S", "25"))
channel.engine.ping_timeout = float(os.environ.get("LIVE_PONG_S", "20"))
channel.engine.greeting_s = float(os.environ.get("LIVE_GREETING_S", "10"))
channel.engine.most_strangers = int(os.environ.get("LIVE_STRANGERS", "1000"))
channel.engine.stall_s = float(os.environ.get("LIVE_STALL_S", "30"))


def position(room: str, officer: str, **more: Any) -> LivePosition:
    fields = {"lon": 116.4, "lat": 39.9, "fixed_at": datetime.now(UTC), **more}
    return LivePosition(room_id=UUID(room), officer_id=UUID(officer), **fields)


@app.get("/healthz")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/control")
def control() -> dict[str, Any]:
    """Do what a test asks for."""
    asked = request.get_json()
    match asked["do"]:
        case "publish":
            live.publish([position(**one) for one in asked["positions"]])
        case "stream":
            gevent.spawn(stream, asked["room"], asked["officers"], asked["seconds"], asked["every_s"])
        case "events":
            for number in range(asked["count"]):
                channel.everybody("officer", {"number": number, "padding": "x" * asked.get("padding", 0)})
        case "shift":
            channel.shift_changed(asked["message"])
        case "change":
            channel.something_changed(asked["message"])
        case "notice":
            channel.notice_written(asked["message"])
        case "revoke":
            watch.ended.add(UUID(asked["session_id"]))
            if asked.get("announce", True):
                channel.session_changed({"session_id": asked["session_id"], "user_id": None})
        case "rooms":
            watch.rooms[UUID(asked["session_id"])] = frozenset(map(UUID, asked["rooms"]))
            if asked.get("announce", True):
                channel.session_changed({"session_id": asked["session_id"], "user_id": None})
        case "missed":
            watch.missed = [
                ShiftEvent(UUID(one), UUID(int=5), UUID(int=6), "end", 2) for one in asked["areas"]
            ]
            channel.missed()
        case "slow":
            watch.slow_s = asked["seconds"]
    return stats()


def stream(room: str, officers: int, seconds: float, every_s: float) -> None:
    """Publish a position of every officer again and again."""
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        number += 1
        live.publish([position(room, str(UUID(int=one)), speed_mps=float(number)) for one in range(officers)])
        gevent.sleep(every_s)


@app.get("/stats")
def stats() -> dict[str, Any]:
    """What the process holds."""
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {
        "pid": os.getpid(),
        "sockets": len(channel.engine.sockets),
        "strangers": channel.engine.strangers.total(),
        "viewers": len(channel),
        "audiences": len(channel.audiences),
        "members": sum(len(one.members) for one in channel.audiences._by_rooms.values()),
        "namespace_members": len(channel.socketio.server.manager.rooms.get("/desk", {}).get(None, {})),
        "admitted": watch.admitted,
        "too_slow": channel.engine.too_slow,
        "resident_bytes": resident,
        "subscribed": live.bus is not None and live.bus.subscribed.is_set(),
        "bus_failures": 0 if live.bus is None else live.bus.failures,
    }
