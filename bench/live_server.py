"""The live channel without a database, for ``gunicorn -k gevent``: what fan-out and memory are measured on.

Clients of /desk with a valid token (the service's own kind, checked as the service checks it) share one room.
``POST /event`` sends its body there as an event that must arrive; ``POST /positions`` takes rows as ingest gives them
to the publisher and sends them through the audience without the pause between rounds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from flask import Flask

from backend.core.errors import Unauthenticated
from backend.core.tokens import AccessClaims, AccessTokens, BadTokenError
from mobile_api import realtime
from mobile_api.realtime import Grant
from mobile_api.sockets.audiences import send_all
from notifications.channels.realtime import Row
from workflows.live import ShiftEvent

ROOM = UUID(int=7)
ROOMS = frozenset({ROOM})


class TokensAlone:
    """Believes a token whose signature and times are right."""

    def __init__(self, tokens: AccessTokens) -> None:
        self._tokens = tokens

    def admit(self, token: str, namespace: str) -> Grant:
        try:
            return self.look_again(self._tokens.read(token, datetime.now(UTC)), namespace)
        except BadTokenError:
            raise Unauthenticated("invalid_token") from None

    def look_again(self, claims: AccessClaims, namespace: str) -> Grant:
        return Grant(claims, ROOMS, "", namespace)

    def holdings(self, town_id: UUID, session_ids: Sequence[UUID]) -> dict[UUID, str]:
        return dict.fromkeys(session_ids, "")

    def shift_events_since(self, town_id: UUID, moment: datetime) -> list[ShiftEvent]:
        return []

    def forget_rooms(self) -> None:
        pass


flask_app = Flask(__name__)
channel = realtime.install(flask_app, TokensAlone(AccessTokens(os.environ["BENCH_SECRET"].encode(), 900)))
channel.engine.ping_interval = channel.engine.ping_timeout = 120.0
_positions = msgspec.json.Decoder(list[msgspec.Raw])
_row = msgspec.json.Decoder(tuple[UUID, float, float, float, Any, Any, Any, Any, Any, Any])


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Take the two routes of the measurement before Flask, the rest as the service does."""
    path = environ["PATH_INFO"]
    if path == "/event":
        data = msgspec.json.decode(environ["wsgi.input"].read())
        for audience in channel.audiences.of_room(ROOM):
            send_all(audience.members, realtime.event("officer", data))
    elif path == "/positions":
        rows = []
        for raw in _positions.decode(environ["wsgi.input"].read()):
            decoded = _row.decode(raw)
            rows.append(Row(ROOM, decoded[0], decoded[3], bytes(raw)))
        for audience in channel.audiences.of_room(ROOM):
            for row in rows:
                audience.take(row, 0.0)
        channel.audiences.flush()
    else:
        return flask_app.wsgi_app(environ, start_response)
    start_response("204 No Content", [("Content-Length", "0")])
    return []
