"""The roster of officers' phones: how far each is, and the one code that sets it up."""

from typing import Any
from uuid import UUID

from marshmallow import Schema, fields

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, PhoneStanding, Protocol
from mobile_api.desk.task_schemas import DeskPersonSchema
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from mobile_api.reached import base_url
from workflows import phones
from workflows.phones import Handed
from workflows.provisioning import qr_svg

blp = Door("phones", Audience.DESK, "/phones", "Officers' phones, and how they are set up.")


class DeskPhoneSetupSchema(Schema):
    """The last code that was made for an officer."""

    protocol = Word(Protocol, required=True)
    created_at = Moment(required=True)
    expires_at = Moment(required=True)
    used_at = Moment(allow_none=True, required=True)


class DeskPhoneDeviceSchema(Schema):
    """An active device of an officer."""

    id = fields.UUID(required=True)
    name = fields.String(required=True)
    protocol = Word(Protocol, required=True)
    last_fix_at = Moment(allow_none=True, required=True, metadata={"description": "Within the last 7 days."})


class DeskPhoneSchema(Schema):
    """An officer, and how far his phone is."""

    officer = fields.Nested(DeskPersonSchema, required=True)
    standing = Word(PhoneStanding, required=True)
    setup = fields.Nested(DeskPhoneSetupSchema, allow_none=True, required=True)
    devices = fields.List(fields.Nested(DeskPhoneDeviceSchema), required=True)


class DeskPhoneCodeSchema(DeskPhoneSchema):
    """The same with the code that was just made, which is shown in this answer alone."""

    url = fields.String(allow_none=True, required=True, metadata={"description": "What the code says."})
    qr_svg = fields.String(
        allow_none=True, required=True, metadata={"description": "The code, an SVG element."}
    )


class DeskPhonesQuerySchema(PageQuerySchema):
    """Whose phones."""

    officer_id = fields.UUID(load_default=None)


class DeskPhoneHandOverSchema(Schema):
    """Whose phone it is, and which client it runs: `officer` is our own."""

    officer_id = fields.UUID(required=True)
    protocol = Word(Protocol, required=True)


def _document(found: Handed) -> dict[str, Any]:
    return {
        "officer": found.officer,
        "standing": found.standing,
        "setup": found.setup,
        "devices": [
            {
                "id": one.device.id, "name": one.device.name, "protocol": one.device.protocol,
                "last_fix_at": one.last_fix_at,
            }
            for one in found.devices
        ],
    }  # fmt: skip


@blp.query(
    "",
    may=("see", "device"),
    answers=page_of(DeskPhoneSchema),
    arguments=DeskPhonesQuerySchema,
    refuses=(422,),
)
def list_phones(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the officers of your areas by name, each with his phone and how far it is."""
    found = phones.roster(
        uow,
        actor,
        officer_id=query["officer_id"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    return Page([_document(one) for one in found.items], found.after)


@blp.command(
    "",
    may=("manage", "device"),
    body=DeskPhoneHandOverSchema,
    answers=DeskPhoneCodeSchema,
    status=201,
    refuses=(404, 422),
    forgets=("url", "qr_svg"),
)
def hand_phone_over(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Make the code that sets up an officer's phone: good for half an hour and one phone. One made before is over."""
    made, code = phones.hand_over(
        uow, actor, body["officer_id"], Protocol(body["protocol"]), command_id=command_id
    )
    # Behind the #, where neither a server nor a log on the way sees it.
    url = f"{base_url()}/officer/set-up#{code}"
    return _document(made) | {"url": url, "qr_svg": qr_svg(url)}
