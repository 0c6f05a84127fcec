"""The signed-in person's own account: sessions, password, authenticator."""

from typing import Any
from uuid import UUID

from flask import current_app

from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience
from mobile_api import limits
from mobile_api.auth.schemas import (
    AuthPasswordSchema,
    AuthSessionListSchema,
    AuthTotpCodeSchema,
    AuthTotpDisableSchema,
    AuthTotpSecretSchema,
    session_document,
)
from mobile_api.endpoint import Door
from workflows import sessions
from workflows.provisioning import qr_svg
from workflows.sessions import Sessions

blp = Door("account", Audience.AUTH, "", "One's own account.")
USE = ("use", "account")
GUESSES = sessions.reauthentication_bounds


def _sessions() -> Sessions:
    return current_app.extensions["xungeng.sessions"]


@blp.query("/sessions", may=USE, answers=AuthSessionListSchema)
def list_sessions(uow: UnitOfWork, actor: Actor) -> dict[str, Any]:
    """List one's own open sessions."""
    found = sessions.own(uow, actor)
    return {"items": [session_document(s, actor.session_id) for s in found], "next": None}


@blp.command("/sessions/<uuid:session_id>/revoke", may=USE, refuses=())
def revoke_session(uow: UnitOfWork, actor: Actor, session_id: UUID, command_id: UUID) -> None:
    """End one of one's own sessions; it loses its sockets within seconds."""
    sessions.revoke_own(uow, actor, session_id)


@blp.command("/password", may=USE, body=AuthPasswordSchema, limit=limits.HEAVY, refuses=(), guesses=GUESSES)
def change_password(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> None:
    """Change one's password and end every other session."""
    _sessions().change_password(uow, actor, body["old"], body["new"])


@blp.command(
    "/totp",
    may=USE,
    answers=AuthTotpSecretSchema,
    limit=limits.HEAVY,
    refuses=(),
    forgets=("secret", "uri", "qr_svg"),
)
def begin_totp(uow: UnitOfWork, actor: Actor, command_id: UUID) -> dict[str, str]:
    """Begin to set up an authenticator."""
    secret, uri = _sessions().begin_totp(uow, actor)
    return {"secret": secret, "uri": uri, "qr_svg": qr_svg(uri)}


@blp.command(
    "/totp/confirm", may=USE, body=AuthTotpCodeSchema, limit=limits.HEAVY, refuses=(), guesses=GUESSES
)
def confirm_totp(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> None:
    """Switch the authenticator on by showing a code."""
    _sessions().confirm_totp(uow, actor, body["code"])


@blp.command(
    "/totp/disable", may=USE, body=AuthTotpDisableSchema, limit=limits.HEAVY, refuses=(), guesses=GUESSES
)
def disable_totp(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> None:
    """Switch the authenticator off."""
    _sessions().disable_totp(uow, actor, body["password"])
