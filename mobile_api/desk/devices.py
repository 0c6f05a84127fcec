"""The desk's devices: give an officer a tracker, renew its credential, shut it out."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from marshmallow import Schema, fields, validate

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, DeviceState, Protocol
from geo.datum import DATUMS
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, line, names
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from mobile_api.reached import base_url
from workflows import devices
from workflows.devices import Shown
from workflows.provisioning import Provisioning, provision

TRACKERS = [Protocol.OSMAND, Protocol.OWNTRACKS, Protocol.OVERLAND, Protocol.GPSLOGGER]

blp = Door(
    "devices", Audience.DESK, "/devices", "Trackers and officers' phones, each with a credential of its own."
)


class DeskDeviceOfficerSchema(Schema):
    """The officer who carries the device."""

    id = fields.UUID(required=True)
    display_name = fields.String(required=True)


class DeskProvisioningSchema(Schema):
    """What sets up the app. It is shown in one answer alone; nobody can read it again."""

    url = fields.String(
        required=True, metadata={"description": "What is typed where the link does not work."}
    )
    link = fields.String(required=True, metadata={"description": "Opens the app with everything filled in."})
    qr_svg = fields.String(required=True, metadata={"description": "The link as a QR code, an SVG element."})
    id = fields.String(allow_none=True, metadata={"description": "Traccar Client: the device identifier."})
    user = fields.String(allow_none=True)
    password = fields.String(allow_none=True)
    token = fields.String(allow_none=True)
    template = fields.String(
        allow_none=True, metadata={"description": "OsmAnd itself: the address with its placeholders."}
    )
    note = names(required=True)


class DeskDeviceSchema(Schema):
    """A device of an officer, and what may be done with it now."""

    id = fields.UUID(required=True)
    name = fields.String(required=True)
    kind = fields.String(required=True)
    protocol = fields.String(required=True, validate=validate.OneOf([p.value for p in Protocol]))
    datum = fields.String(required=True, validate=validate.OneOf(DATUMS))
    state = fields.String(required=True, validate=validate.OneOf([s.value for s in DeviceState]))
    officer = fields.Nested(DeskDeviceOfficerSchema, required=True)
    created_at = Moment(required=True)
    revoked_at = Moment(allow_none=True, required=True)
    last_fix_at = Moment(allow_none=True, required=True, metadata={"description": "Within the last 7 days."})
    actions = fields.List(fields.String(), required=True)


class DeskProvisionedDeviceSchema(DeskDeviceSchema):
    """A device with the credential that was just made for it."""

    provisioning = fields.Nested(
        DeskProvisioningSchema,
        allow_none=True,
        metadata={"description": "Null when the same command is sent again: it is shown once and not kept."},
    )


class DeskDevicesQuerySchema(PageQuerySchema):
    """Which devices."""

    officer_id = fields.UUID()
    state = fields.String(validate=validate.OneOf([s.value for s in DeviceState]))


class DeskNewDeviceSchema(Schema):
    """A tracker to be."""

    officer_id = fields.UUID(required=True)
    name = line(80, required=True)
    protocol = fields.String(required=True, validate=validate.OneOf([p.value for p in TRACKERS]))
    datum = fields.String(
        load_default="wgs84",
        validate=validate.OneOf(DATUMS),
        metadata={"description": "What the app sends, if it is not WGS-84; it is never guessed."},
    )


class DeskRevocationSchema(Schema):
    """Why a device is shut out."""

    reason = line(200, load_default=None, allow_none=True)


@blp.query(
    "",
    may=("see", "device"),
    arguments=DeskDevicesQuerySchema,
    answers=page_of(DeskDeviceSchema),
    refuses=(422,),
)
def list_devices(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Any:
    """List the devices of the officers of your areas, the newest first."""
    state = DeviceState(query["state"]) if "state" in query else None
    found = devices.in_scope(
        uow,
        actor,
        officer_id=query.get("officer_id"),
        state=state,
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    return Page([_shown(one) for one in found.items], found.after)


@blp.query("/<uuid:device_id>", may=("see", "device"), answers=DeskDeviceSchema)
def see_device(uow: UnitOfWork, actor: Actor, device_id: UUID) -> Any:
    """See one device."""
    return _shown(devices.see(uow, actor, device_id))


@blp.command(
    "",
    may=("manage", "device"),
    body=DeskNewDeviceSchema,
    answers=DeskProvisionedDeviceSchema,
    status=201,
    refuses=(404, 409),
    forgets=("provisioning",),
)
def create_device(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> Any:
    """Give an officer a tracker. The answer holds its credential, once."""
    shown, credential = devices.create(
        uow,
        actor,
        officer_id=body["officer_id"],
        name=body["name"],
        protocol=Protocol(body["protocol"]),
        datum=body["datum"],
        command_id=command_id,
    )
    return _shown(shown) | {"provisioning": _provisioning(shown, credential)}


@blp.command(
    "/<uuid:device_id>/renew",
    may=("manage", "device"),
    answers=DeskProvisionedDeviceSchema,
    forgets=("provisioning",),
)
def renew_device(uow: UnitOfWork, actor: Actor, device_id: UUID, command_id: UUID) -> Any:
    """Replace a device's credential; the old one stops working at once."""
    shown, credential = devices.renew(uow, actor, device_id, command_id=command_id)
    return _shown(shown) | {"provisioning": _provisioning(shown, credential) if credential else None}


@blp.command(
    "/<uuid:device_id>/revoke", may=("manage", "device"), body=DeskRevocationSchema, answers=DeskDeviceSchema
)
def revoke_device(
    uow: UnitOfWork, actor: Actor, device_id: UUID, command_id: UUID, body: dict[str, Any]
) -> Any:
    """Shut a device out; nothing that it sends from now on is taken."""
    return _shown(devices.revoke(uow, actor, device_id, command_id=command_id, reason=body["reason"]))


def _shown(shown: Shown) -> dict[str, Any]:
    device = shown.device
    return {
        "id": device.id,
        "name": device.name,
        "kind": device.kind,
        "protocol": device.protocol,
        "datum": device.datum,
        "state": device.state,
        "officer": device.officer,
        "created_at": device.created_at,
        "revoked_at": device.revoked_at,
        "last_fix_at": shown.last_fix_at,
        "actions": shown.actions,
    }


def _provisioning(shown: Shown, credential: devices.Credential) -> Provisioning:
    return provision(Protocol(shown.device.protocol), base_url(), credential, shown.device.name)
