"""Signing in, refreshing and signing out."""

from typing import Any
from uuid import UUID

from flask import current_app, g, request

from backend.adapters import passwords
from backend.adapters.sms import Sms
from backend.core.errors import Unauthenticated
from backend.core.identity import Actor
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import Audience
from mobile_api import limits
from mobile_api.auth.schemas import (
    AuthCodeRequestSchema,
    AuthCodeSentSchema,
    AuthCodeVerifySchema,
    AuthLoginSchema,
    AuthMeSchema,
    AuthRefreshSchema,
    AuthTokensSchema,
)
from mobile_api.endpoint import Door, count_for
from workflows import access, sessions
from workflows.sessions import Origin, Sessions, SignedIn
from workflows.throttling import Throttling

blp = Door(
    "sign_in",
    Audience.AUTH,
    "",
    "Signing in and staying signed in.",
    body_limit=limits.SHORT_BODY_BYTES,
)
CODE_TEMPLATE = "sign_in_code"


def _sessions() -> Sessions:
    return current_app.extensions["xungeng.sessions"]


def _throttling() -> Throttling:
    return current_app.extensions["xungeng.throttling"]


def _origin(body: dict[str, Any]) -> Origin:
    return Origin(request.remote_addr, body["client"], body["device_name"], body["device_key"])


@blp.open_act("/login", body=AuthLoginSchema, answers=AuthTokensSchema, refuses=(401,))
def log_in(body: dict[str, Any]) -> dict[str, Any]:
    """Sign in with login and password (staff).

    Tries are counted before the password is looked at, so that parallel guesses count too; but not when there is no
    place to look at it, because that would shut out who comes again. No connection is held while it is hashed.
    """
    origin, login = _origin(body), body["login"]
    with passwords.place():
        with unit_of_work(request_id=g.request_id) as uow:
            bounds, taken_back = _sessions().sign_in_bounds(uow, login, origin)
            refusal = _throttling().count(uow, bounds)
            stored = None if refusal else _sessions().stored_password(uow, login)
        if refusal is not None:
            raise refusal
        if not passwords.matches_in_place(stored, body["password"]) or stored is None:
            raise sessions.wrong_credentials()
    with unit_of_work(request_id=g.request_id) as uow:
        signed_in = _sessions().sign_in(uow, login, stored, body["totp"], origin)
        _throttling().forget(uow, taken_back)
        return tokens_document(uow, signed_in)


@blp.open_act("/otp", body=AuthCodeRequestSchema, answers=AuthCodeSentSchema, status=202)
def send_code(body: dict[str, Any]) -> dict[str, Any]:
    """Send a one-time code to a phone (residents). The answer is the same for every phone of the served kinds."""
    _sessions().require_served(body["phone"])
    origin = Origin(request.remote_addr)
    sms: Sms = current_app.extensions["xungeng.sms"]
    with unit_of_work(request_id=g.request_id) as uow:
        refusal = _throttling().count(uow, _sessions().code_bounds(body["phone"], origin))
    if refusal is not None:
        raise refusal
    with unit_of_work(request_id=g.request_id) as uow:
        uow.enter_town(sessions.town_for_code(uow, body["town"]))
        code = _sessions().make_code(uow, body["phone"])
    sms.send(body["phone"], CODE_TEMPLATE, {"code": code})
    return {"expires_in_s": current_app.extensions["xungeng.config"].otp_ttl_s}


@blp.open_act("/otp/verify", body=AuthCodeVerifySchema, answers=AuthTokensSchema, refuses=(401,))
def verify_code(body: dict[str, Any]) -> dict[str, Any]:
    """Sign in with the code that a phone got; a new phone makes a new resident."""
    _sessions().require_served(body["phone"])
    origin = _origin(body)
    with unit_of_work(request_id=g.request_id) as uow:
        refusal = _throttling().count(uow, _sessions().code_guess_bounds(body["phone"], origin))
        if refusal is None:
            uow.enter_town(sessions.town_for_code(uow, body["town"]))
            right = _sessions().check_code(uow, body["phone"], body["code"])
    if refusal is not None:
        raise refusal
    if not right:
        raise sessions.wrong_code()
    with unit_of_work(request_id=g.request_id) as uow:
        uow.enter_town(sessions.town_for_code(uow, body["town"]))
        return tokens_document(uow, _sessions().sign_in_resident(uow, body["phone"], origin, body["locale"]))


@blp.open_act(
    "/refresh", body=AuthRefreshSchema, answers=AuthTokensSchema, refuses=(401,), named_by_body=True
)
def refresh(body: dict[str, Any]) -> dict[str, Any]:
    """Replace a refresh token. One that comes back after its use ends the session (`refresh_reused`).

    Calls are counted by session; those without a token of our making by address, where colleagues may share one.
    """
    count_for(f"session:{_sessions().session_named_by(body['refresh_token'])}")
    with unit_of_work(request_id=g.request_id) as uow:
        given = _sessions().refresh(uow, body["refresh_token"], body["device_key"])
        document = tokens_document(uow, given) if given else None
    if document is None:
        raise Unauthenticated(
            "refresh_reused", "This sign-in was used from elsewhere and has been ended; please sign in again."
        )
    return document


@blp.command("/logout", may=("use", "account"), refuses=())
def log_out(uow: UnitOfWork, actor: Actor, command_id: UUID) -> None:
    """End the present session."""
    assert actor.session_id is not None
    sessions.revoke_own(uow, actor, actor.session_id, command_id=command_id)


@blp.query("/me", may=("use", "account"), answers=AuthMeSchema)
def me(uow: UnitOfWork, actor: Actor) -> dict[str, Any]:
    """Say who is signed in and what he may do."""
    return me_document(uow, actor)


def tokens_document(uow: UnitOfWork, given: SignedIn) -> dict[str, Any]:
    """Return what a sign-in answers."""
    return {
        "access_token": given.access_token,
        "expires_in_s": given.expires_in_s,
        "refresh_token": given.refresh_token,
        "session_id": given.session_id,
        "user": me_document(uow, given.actor),
    }


def me_document(uow: UnitOfWork, actor: Actor) -> dict[str, Any]:
    """Return the signed-in person as every client needs him."""
    user, town, memberships = sessions.me(uow, actor)
    audiences = {"officer": "officer_client", "resident": "resident_client", "desk": "desk"}
    return {
        "id": user.id,
        "display_name": user.display_name,
        "login": user.login,
        "locale": user.locale,
        "roles": sorted(actor.roles),
        "memberships": memberships,
        "permissions": access.permissions(actor),
        "audiences": [name for name, kind in audiences.items() if access.may(actor, "use", kind)],
        "town": town,
        "totp_enabled": user.totp_enabled_at is not None,
    }
