"""Who is calling: the access token of a request turned into an actor.

Ordinary endpoints read session and memberships in their own transaction, so a revocation counts from its commit on.
Hot routes use ``Identity.authenticate``, which remembers the answer and forgets it at once when a session's end or a
change of memberships is announced; a process that does not hear announcements remembers for two seconds.
"""

from typing import Any
from uuid import UUID

from flask import Request, current_app

from backend.core import clock
from backend.core.errors import Unauthenticated
from backend.core.identity import Actor
from backend.core.listen import SESSIONS, get_listener
from backend.core.memory import UNANNOUNCED_S, Memory
from backend.core.tokens import AccessClaims, AccessTokens, BadTokenError, secret_hash
from backend.core.uow import UnitOfWork, unit_of_work
from workflows import sessions

REMEMBER_S = 600.0
MAXIMUM_REMEMBERED = 20_000


class Identity:
    """Turns access tokens into actors."""

    def __init__(self, tokens: AccessTokens) -> None:
        self._tokens = tokens
        listener = get_listener()
        lifetime_s = REMEMBER_S if listener is not None else UNANNOUNCED_S
        self._remembered: Memory[bytes, tuple[int, Actor]] = Memory(
            capacity=MAXIMUM_REMEMBERED, announced_s=lifetime_s
        )
        if listener is not None:
            listener.on(SESSIONS, self._session_changed)
            listener.on_missed(self.forget)

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
        """Return the actor of a token, from memory if nothing was announced since he was last asked for."""
        key = secret_hash(token)
        found = self._remembered.get(key)
        if found is not None and clock.now().timestamp() < found[0]:
            return found[1]
        claims = self.claims(token)

        def read() -> tuple[int, Actor]:
            with unit_of_work(claims.town_id) as uow:
                return claims.expires_at_s, self.actor(uow, claims)

        return self._remembered.learn(key, read)[1]

    def forget(self, *, session_id: UUID | None = None, user_id: UUID | None = None) -> None:
        """Forget what is remembered of a session or of all sessions of a user (``None`` for both: everything)."""
        if session_id is None and user_id is None:
            self._remembered.forget_all()
        else:
            self._remembered.forget_where(
                lambda _, known: known[1].session_id == session_id or known[1].user_id == user_id
            )

    def _session_changed(self, message: dict[str, Any]) -> None:
        try:
            session_id, user_id = (
                UUID(str(value)) if (value := message.get(name)) else None
                for name in ("session_id", "user_id")
            )
        except ValueError:
            session_id = user_id = None
        self.forget(session_id=session_id, user_id=user_id)


def identity() -> Identity:
    """Return the identity service of the running app."""
    return current_app.extensions["xungeng.identity"]


def bearer(request: Request) -> str:
    """Return the bearer token of a request, or refuse it."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated()
    return token.strip()
