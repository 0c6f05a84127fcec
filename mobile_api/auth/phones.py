"""Setting up a phone with the code that the desk has handed over."""

from typing import Any

from flask import g
from marshmallow import Schema, fields, validate

from backend.core.uow import unit_of_work
from backend.core.vocabulary import Audience, Protocol
from mobile_api import limits
from mobile_api.endpoint import Door
from mobile_api.fields import Word, names
from mobile_api.reached import base_url
from workflows import phones
from workflows.provisioning import provision

blp = Door("phones", Audience.AUTH, "/phones", "Setting up a phone.", body_limit=limits.SHORT_BODY_BYTES)


class AuthPhoneCodeSchema(Schema):
    """What stands behind the `#` of the code's address."""

    code = fields.String(required=True, validate=validate.Length(40, 200))


class AuthPhoneAppSchema(Schema):
    """What sets up a tracker app. It is shown in this answer alone."""

    url = fields.String(required=True)
    link = fields.String(required=True, metadata={"description": "Opens the app with everything filled in."})
    id = fields.String(allow_none=True, required=True)
    user = fields.String(allow_none=True, required=True)
    password = fields.String(allow_none=True, required=True)
    token = fields.String(allow_none=True, required=True)
    template = fields.String(allow_none=True, required=True)
    note = names(required=True)


class AuthPhoneSchema(Schema):
    """Whose phone it is, and what to do next: sign in to our own client, or open the app."""

    display_name = fields.String(required=True)
    login = fields.String(
        allow_none=True, required=True, metadata={"description": "For our own client alone."}
    )
    protocol = Word(Protocol, required=True)
    app = fields.Nested(AuthPhoneAppSchema, allow_none=True, required=True)


@blp.open_act("/open", body=AuthPhoneCodeSchema, answers=AuthPhoneSchema, refuses=(410,))
def open_phone_code(body: dict[str, Any]) -> dict[str, Any]:
    """Set up a phone with a code of the desk's, which is used by it. For our own client one signs in as ever."""
    with unit_of_work(request_id=g.request_id) as uow:
        opened = phones.open_code(uow, body["code"])
        is_own = opened.credential is None
        return {
            "display_name": opened.officer.display_name,
            "login": opened.officer.login if is_own else None,
            "protocol": opened.protocol,
            "app": None
            if opened.credential is None
            else provision(opened.protocol, base_url(), opened.credential, opened.device_name or ""),
        }
