"""What signing in takes and gives. These schemas are the auth audience's own."""

from typing import Any

from marshmallow import Schema, fields, validate

from backend.core.vocabulary import LOCALES, Audience, Client, OfficerKind, Role
from mobile_api.fields import Moment, Phone, Word, line, locale, names

TOKEN = validate.Length(16, 200)


class AuthOriginSchema(Schema):
    """The device that signs in."""

    client = Word(Client, load_default=Client.OTHER)
    device_name = line(120, allow_none=True, load_default=None)
    device_key = fields.String(
        validate=TOKEN,
        allow_none=True,
        load_default=None,
        metadata={
            "description": "A random secret that the client made and keeps; it tells parallel refreshes from a thief's."
        },
    )


class AuthLoginSchema(AuthOriginSchema):
    """Login and password of staff."""

    login = line(120, required=True)
    password = fields.String(required=True, validate=validate.Length(1, 256), load_only=True)
    totp = fields.String(validate=validate.Length(1, 12), allow_none=True, load_default=None)


class AuthCodeRequestSchema(Schema):
    """A phone that a code is to be sent to."""

    phone = Phone(required=True, validate=validate.Length(max=40))
    town = line(60, allow_none=True, load_default=None)


class AuthCodeSentSchema(Schema):
    """A code was sent, if the phone can be reached; whether the phone is known is not told."""

    expires_in_s = fields.Integer(required=True)


class AuthCodeVerifySchema(AuthOriginSchema):
    """A phone and the code it got."""

    phone = Phone(required=True, validate=validate.Length(max=40))
    code = fields.String(required=True, validate=validate.Regexp(r"^[0-9]{4,8}\Z"))
    town = line(60, allow_none=True, load_default=None)
    locale = locale(load_default=LOCALES[0])


class AuthRefreshSchema(Schema):
    """The session's present refresh token."""

    refresh_token = fields.String(required=True, validate=TOKEN)
    device_key = fields.String(validate=TOKEN, allow_none=True, load_default=None)


class AuthAreaSchema(Schema):
    """An area, by name."""

    id = fields.UUID(required=True)
    name = names(required=True)


class AuthMembershipSchema(Schema):
    """What a person is, and where."""

    role = Word(Role, required=True)
    area = fields.Nested(AuthAreaSchema, allow_none=True, required=True)
    department = fields.Nested(AuthAreaSchema, allow_none=True, required=True)
    officer_kind = Word(OfficerKind, allow_none=True, required=True)


class AuthTownSchema(Schema):
    """The town that a person belongs to."""

    id = fields.UUID(required=True)
    code = fields.String(required=True)
    name = names(required=True)
    time_zone = fields.String(required=True)
    locale = locale(required=True)


class AuthMeSchema(Schema):
    """Who is signed in and what he may do."""

    id = fields.UUID(required=True)
    display_name = fields.String(required=True)
    login = fields.String(allow_none=True, required=True)
    locale = locale(required=True)
    roles = fields.List(Word(Role), required=True)
    memberships = fields.List(fields.Nested(AuthMembershipSchema), required=True)
    permissions = fields.List(fields.String(), required=True)
    audiences = fields.List(Word(Audience), required=True)
    town = fields.Nested(AuthTownSchema, required=True)
    totp_enabled = fields.Boolean(required=True)


class AuthTokensSchema(Schema):
    """A short-lived access token and the refresh token that gets the next one."""

    access_token = fields.String(required=True)
    expires_in_s = fields.Integer(required=True)
    refresh_token = fields.String(required=True)
    session_id = fields.UUID(required=True)
    user = fields.Nested(AuthMeSchema, required=True)


class AuthSessionSchema(Schema):
    """One sign-in on one device."""

    id = fields.UUID(required=True)
    client = fields.String(required=True)
    device_name = fields.String(allow_none=True, required=True)
    address = fields.Function(
        lambda s: str(s["address"]) if s["address"] else None,
        allow_none=True,
        required=True,
        metadata={"type": "string"},
    )
    created_at = Moment(required=True)
    last_used_at = Moment(required=True)
    current = fields.Boolean(required=True)


class AuthSessionListSchema(Schema):
    """The open sessions of a person."""

    items = fields.List(fields.Nested(AuthSessionSchema), required=True)
    next = fields.String(allow_none=True, required=True)


class AuthPasswordSchema(Schema):
    """The present password and the new one."""

    old = fields.String(required=True, validate=validate.Length(1, 256), load_only=True)
    new = fields.String(required=True, validate=validate.Length(1, 256), load_only=True)


class AuthTotpSecretSchema(Schema):
    """What the authenticator is set up with; shown once."""

    secret = fields.String(required=True, allow_none=True)
    uri = fields.String(required=True, allow_none=True)
    qr_svg = fields.String(
        required=True, allow_none=True, metadata={"description": "The URI as a QR code, an SVG element."}
    )


class AuthTotpCodeSchema(Schema):
    """A code of the authenticator."""

    code = fields.String(required=True, validate=validate.Regexp(r"^[0-9]{6}\Z"))


class AuthTotpPasswordSchema(Schema):
    """The password again."""

    password = fields.String(required=True, validate=validate.Length(1, 256), load_only=True)


def session_document(session: Any, current: Any) -> dict[str, Any]:
    """Return a session as the schema shows it."""
    return {
        "id": session.id,
        "client": session.client,
        "device_name": session.device_name,
        "address": session.address,
        "created_at": session.created_at,
        "last_used_at": session.last_used_at,
        "current": session.id == current,
    }
