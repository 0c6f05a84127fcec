"""Accounts and memberships, for admins."""

from typing import Any
from uuid import UUID

from flask import g
from marshmallow import Schema, fields, validate

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.tokens import AccessClaims
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import LOCALES, Audience, OfficerKind, Role, UserState
from mobile_api.desk.officers import DeskAreaNameSchema
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Phone, Word, line, locale
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import access, sessions, users

blp = Door("users", Audience.DESK, "", "Accounts, memberships and sessions.")
SEE, MANAGE = ("see", "user"), ("manage", "user")


class DeskMembershipSchema(Schema):
    """What a user is, and where."""

    id = fields.UUID(required=True)
    role = Word(Role, required=True)
    area = fields.Nested(DeskAreaNameSchema, allow_none=True, required=True)
    department = fields.Nested(DeskAreaNameSchema, allow_none=True, required=True)
    officer_kind = Word(OfficerKind, allow_none=True, required=True)
    granted_at = Moment(required=True)


class DeskUserSchema(Schema):
    """An account; of the phone, the last four digits."""

    id = fields.UUID(required=True)
    login = fields.String(allow_none=True, required=True)
    phone = fields.String(allow_none=True, required=True)
    display_name = fields.String(required=True)
    state = Word(UserState, required=True)
    locale = locale(required=True)
    skills = fields.List(
        fields.String(), required=True, metadata={"description": "What kinds of task ask for."}
    )
    totp_enabled = fields.Boolean(required=True)
    created_at = Moment(required=True)
    memberships = fields.List(fields.Nested(DeskMembershipSchema), required=True)
    actions = fields.List(fields.String(), required=True)


class DeskUsersQuerySchema(PageQuerySchema):
    """Which accounts."""

    q = line(60, load_default=None)
    role = Word(Role, load_default=None)


class DeskUserNewSchema(Schema):
    """A new account, without any rights yet."""

    display_name = line(60, required=True)
    login = line(40, load_default=None, allow_none=True)
    password = fields.String(
        load_default=None, allow_none=True, load_only=True, validate=validate.Length(1, 256)
    )
    phone = Phone(load_default=None, allow_none=True, validate=validate.Length(max=40))
    locale = locale(load_default=LOCALES[0])


class DeskUserChangeSchema(Schema):
    """What to change; what is left out stays."""

    display_name = line(60, load_default=None)
    locale = locale(load_default=None)
    password = fields.String(load_default=None, load_only=True, validate=validate.Length(1, 256))
    skills = fields.List(
        fields.String(validate=validate.Regexp(r"^[a-z0-9][a-z0-9_]{0,39}\Z")),
        load_default=None,
        validate=validate.Length(max=30),
        metadata={"description": "All of them: first aid, a dialect, a licence; codes of the town's own."},
    )


class DeskReasonSchema(Schema):
    """Why."""

    reason = line(200, least=2, required=True)


class DeskMembershipNewSchema(Schema):
    """A role within an area, or within a department for a handler; admins and auditors are so in the whole town."""

    role = Word(Role, required=True)
    area_id = fields.UUID(load_default=None, allow_none=True)
    department_id = fields.UUID(load_default=None, allow_none=True)
    officer_kind = Word(OfficerKind, load_default=None, allow_none=True)


class DeskSessionSchema(Schema):
    """An open session of a user."""

    id = fields.UUID(required=True)
    client = fields.String(required=True)
    device_name = fields.String(allow_none=True, required=True)
    created_at = Moment(required=True)
    last_used_at = Moment(required=True)


class DeskSessionsSchema(Schema):
    """A user's open sessions; there are few."""

    items = fields.List(fields.Nested(DeskSessionSchema), required=True)
    next = fields.String(allow_none=True, required=True)


def _documents(uow: UnitOfWork, actor: Actor, found: Any) -> list[dict[str, Any]]:
    memberships = users.memberships_of(uow, [user.id for user in found])
    return [
        {
            "id": user.id,
            "login": user.login,
            "phone": "…" + user.phone[-4:] if user.phone else None,
            "display_name": user.display_name,
            "state": user.state,
            "locale": user.locale,
            "skills": user.skills,
            "totp_enabled": user.totp_enabled_at is not None,
            "created_at": user.created_at,
            "memberships": memberships[user.id],
            "actions": users.actions(actor, user),
        }
        for user in found
    ]


def _document(uow: UnitOfWork, actor: Actor, user: Any) -> dict[str, Any]:
    return _documents(uow, actor, [user])[0]


@blp.query("/users", may=SEE, answers=page_of(DeskUserSchema), arguments=DeskUsersQuerySchema, refuses=(422,))
def list_users(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List accounts by name."""
    found = users.page_of(
        uow,
        actor,
        words=query["q"],
        role=query["role"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    return Page(_documents(uow, actor, found.items), found.after)


def _hash_first(_claims: AccessClaims, body: dict[str, Any]) -> dict[str, Any]:
    """Put the hash in the password's place."""
    password = body.pop("password")
    return body | {"password_hash": users.hash_first(body["login"], body["display_name"], password)}


def _hash_new(claims: AccessClaims, body: dict[str, Any], user_id: UUID) -> dict[str, Any]:
    """Put the hash in the password's place; of an account that is not there or has no login the act says so."""
    password, hashed = body.pop("password"), None
    if password is not None:
        with unit_of_work(claims.town_id, request_id=g.request_id) as uow:
            login, name = users.names_of(uow, user_id) or (None, "")
        hashed = users.hash_new(login or "", body["display_name"] or name, password)
    return body | {"password_hash": hashed}


@blp.command(
    "/users",
    may=MANAGE,
    body=DeskUserNewSchema,
    answers=DeskUserSchema,
    status=201,
    prepares=_hash_first,
)
def create_user(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Make an account. It has no rights until it is given a membership."""
    return _document(uow, actor, users.create(uow, actor, command_id=command_id, **body))


@blp.command(
    "/users/<uuid:user_id>",
    may=MANAGE,
    method="PATCH",
    body=DeskUserChangeSchema,
    answers=DeskUserSchema,
    prepares=_hash_new,
)
def change_user(uow: UnitOfWork, actor: Actor, user_id: UUID, command_id: UUID, body: dict[str, Any]) -> Any:
    """Change an account's name or language, or give it a new password."""
    return _document(uow, actor, users.change(uow, actor, user_id, command_id=command_id, **body))


@blp.command("/users/<uuid:user_id>/disable", may=MANAGE, body=DeskReasonSchema, answers=DeskUserSchema)
def disable_user(uow: UnitOfWork, actor: Actor, user_id: UUID, command_id: UUID, body: dict[str, Any]) -> Any:
    """Shut an account and end its sessions."""
    return _document(uow, actor, users.disable(uow, actor, user_id, command_id=command_id, **body))


@blp.command("/users/<uuid:user_id>/enable", may=MANAGE, answers=DeskUserSchema)
def enable_user(uow: UnitOfWork, actor: Actor, user_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Open a shut account again."""
    return _document(uow, actor, users.enable(uow, actor, user_id, command_id=command_id))


@blp.command(
    "/users/<uuid:user_id>/memberships",
    may=MANAGE,
    body=DeskMembershipNewSchema,
    answers=DeskUserSchema,
    status=201,
)
def grant_membership(
    uow: UnitOfWork, actor: Actor, user_id: UUID, command_id: UUID, body: dict[str, Any]
) -> Any:
    """Bind a user to a role. Nobody does this for himself."""
    users.grant(uow, actor, user_id, command_id=command_id, **body)
    return _document(uow, actor, access.user(uow, actor, user_id))


@blp.command("/memberships/<uuid:membership_id>/end", may=MANAGE, refuses=())
def end_membership(uow: UnitOfWork, actor: Actor, membership_id: UUID, command_id: UUID) -> None:
    """End a membership."""
    users.end_membership(uow, actor, membership_id, command_id=command_id)


@blp.query("/users/<uuid:user_id>/sessions", may=SEE, answers=DeskSessionsSchema)
def list_user_sessions(uow: UnitOfWork, actor: Actor, user_id: UUID) -> dict[str, Any]:
    """List a user's open sessions."""
    return {"items": sessions.of_user(uow, actor, user_id), "next": None}


@blp.command("/sessions/<uuid:session_id>/revoke", may=MANAGE, refuses=())
def revoke_session(uow: UnitOfWork, actor: Actor, session_id: UUID, command_id: UUID) -> None:
    """End somebody's session; it loses its sockets within seconds."""
    sessions.revoke_as_admin(uow, actor, session_id, command_id=command_id)
