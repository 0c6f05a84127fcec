"""The signed-in person's own account: sessions, password, authenticator."""

from typing import Any
from uuid import UUID

from flask import current_app, g

from backend.core.identity import Actor
from backend.core.tokens import AccessClaims
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import Audience
from mobile_api import limits
from mobile_api.auth.schemas import (
    AuthPasswordSchema,
    AuthSessionListSchema,
    AuthTotpCodeSchema,
    AuthTotpPasswordSchema,
    AuthTotpSecretSchema,
    session_document,
)
from mobile_api.endpoint import Door
from workflows import sessions
from workflows.provisioning import qr_svg
from workflows.sessions import OwnPassword, Sessions

blp = Door("account", Audience.AUTH, "", "One's own account.", body_limit=limits.SHORT_BODY_BYTES)
USE = ("use", "account")
GUESSES = sessions.reauthentication_bounds


def _sessions() -> Sessions:
    return current_app.extensions["xungeng.sessions"]


def _own_password(claims: AccessClaims) -> OwnPassword:
    with unit_of_work(claims.town_id, request_id=g.request_id) as uow:
        return sessions.own_password(uow, claims.user_id)


def _change(claims: AccessClaims, body: dict[str, Any]) -> dict[str, str]:
    password = _own_password(claims)
    return {"matched": password.match(body["old"]), "new_hash": password.hash_new(body["new"])}


def _match(claims: AccessClaims, body: dict[str, Any]) -> dict[str, str]:
    return {"matched": _own_password(claims).match(body["password"])}


@blp.query("/sessions", may=USE, answers=AuthSessionListSchema)
def list_sessions(uow: UnitOfWork, actor: Actor) -> dict[str, Any]:
    """List one's own open sessions."""
    found = sessions.own(uow, actor)
    return {"items": [session_document(s, actor.session_id) for s in found], "next": None}


@blp.command("/sessions/<uuid:session_id>/revoke", may=USE, refuses=())
def revoke_session(uow: UnitOfWork, actor: Actor, session_id: UUID, command_id: UUID) -> None:
    """End one of one's own sessions; it loses its sockets within seconds."""
    sessions.revoke_own(uow, actor, session_id, command_id=command_id)


@blp.command(
    "/password",
    may=USE,
    body=AuthPasswordSchema,
    prepares=_change,
    limit=limits.HEAVY,
    refuses=(),
    guesses=GUESSES,
)
def change_password(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> None:
    """Change one's password and end every other session."""
    _sessions().change_password(uow, actor, command_id=command_id, **body)


@blp.command(
    "/totp",
    may=USE,
    body=AuthTotpPasswordSchema,
    prepares=_match,
    answers=AuthTotpSecretSchema,
    limit=limits.HEAVY,
    refuses=(),
    forgets=("secret", "uri", "qr_svg"),
    guesses=GUESSES,
)
def begin_totp(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, str]:
    """Begin to set up an authenticator."""
    secret, uri = _sessions().begin_totp(uow, actor, command_id=command_id, **body)
    return {"secret": secret, "uri": uri, "qr_svg": qr_svg(uri)}


@blp.command(
    "/totp/confirm", may=USE, body=AuthTotpCodeSchema, limit=limits.HEAVY, refuses=(), guesses=GUESSES
)
def confirm_totp(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> None:
    """Switch the authenticator on by showing a code."""
    _sessions().confirm_totp(uow, actor, body["code"], command_id=command_id)


@blp.command(
    "/totp/disable",
    may=USE,
    body=AuthTotpPasswordSchema,
    prepares=_match,
    limit=limits.HEAVY,
    refuses=(),
    guesses=GUESSES,
)
def disable_totp(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> None:
    """Switch the authenticator off."""
    _sessions().disable_totp(uow, actor, command_id=command_id, **body)
