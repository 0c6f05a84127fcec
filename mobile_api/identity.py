"""Who is calling: the access token of a request turned into an actor.

Ordinary endpoints read session and memberships in their own transaction, so a revocation counts from its commit on.
Hot routes and sockets use ``Identity.authenticate``, which remembers the answer for two seconds and forgets it at
once when a session's end is announced.
"""

import threading
import time
from uuid import UUID

from flask import Request, current_app

from backend.core import clock
from backend.core.errors import Unauthenticated
from backend.core.identity import Actor
from backend.core.tokens import AccessClaims, AccessTokens, BadTokenError, secret_hash
from backend.core.uow import UnitOfWork, unit_of_work
from workflows import sessions

REMEMBER_S = 2.0
MAXIMUM_REMEMBERED = 20_000


class Identity:
    """Turns access tokens into actors."""

    def __init__(self, tokens: AccessTokens) -> None:
        self._tokens = tokens
        self._remembered: dict[bytes, tuple[float, int, Actor]] = {}
        self._lock = threading.Lock()

    def claims(self, token: str) -> AccessClaims:
        """Return what a token says, or refuse it; asks no database."""
        try:
            return self._tokens.read(token, clock.now())
        except BadTokenError as error:
            raise Unauthenticated("invalid_token", "Please sign in again.") from error

    def actor(self, uow: UnitOfWork, claims: AccessClaims) -> Actor:
        """Return the actor of a token in an open transaction of his town."""
        return sessions.actor_of(uow, claims.user_id, claims.session_id)

    def authenticate(self, token: str) -> Actor:
        """Return the actor of a token, from memory if he was asked for within the last two seconds."""
        key = secret_hash(token)
        found = self._remembered.get(key)
        if found is not None and time.monotonic() < found[0] and clock.now().timestamp() < found[1]:
            return found[2]
        claims = self.claims(token)
        with unit_of_work(claims.town_id) as uow:
            actor = self.actor(uow, claims)
        with self._lock:
            if len(self._remembered) >= MAXIMUM_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = (time.monotonic() + REMEMBER_S, claims.expires_at_s, actor)
        return actor

    def forget(self, *, session_id: UUID | None = None, user_id: UUID | None = None) -> None:
        """Forget what is remembered of a session or of all sessions of a user (``None`` for both: everything)."""
        with self._lock:
            gone = [
                key
                for key, (_, _, actor) in self._remembered.items()
                if (session_id is None and user_id is None)
                or actor.session_id == session_id
                or actor.user_id == user_id
            ]
            for key in gone:
                del self._remembered[key]


def identity() -> Identity:
    """Return the identity service of the running app."""
    return current_app.extensions["xungeng.identity"]  # type: ignore[no-any-return]


def bearer(request: Request) -> str:
    """Return the bearer token of a request, or refuse it."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated()
    return token.strip()
