"""What every client needs before anybody signs in."""

from typing import Any

from flask import current_app, request
from marshmallow import Schema, fields, validate

from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, BasemapKind
from geo.datum import DATUMS
from mobile_api import limits
from mobile_api.endpoint import Door
from mobile_api.fields import Word, bounds, line, locale, names, place
from workflows import towns

blp = Door("installation", Audience.PUBLIC, "", "The installation.")
NEEDS_HTTPS = ["geolocation", "wake_lock", "camera", "service_worker"]
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class PublicTownSchema(Schema):
    """The town, and where to point a map."""

    id = fields.UUID(required=True)
    code = fields.String(required=True)
    name = names(required=True)
    time_zone = fields.String(required=True)
    locale = locale(required=True)
    center = place(allow_none=True, required=True)
    bounds = bounds(allow_none=True, required=True)


class PublicBasemapSchema(Schema):
    """A base map that the operator offers, with the datum it is drawn in."""

    id = fields.UUID(required=True)
    kind = Word(BasemapKind, required=True)
    url = fields.String(allow_none=True, required=True)
    name = names(required=True)
    datum = fields.String(required=True, validate=validate.OneOf(DATUMS))
    approval_number = fields.String(allow_none=True, required=True)
    attribution = fields.String(allow_none=True, required=True)


class PublicInstallationSchema(Schema):
    """The installation as its clients see it."""

    name = names(required=True)
    town = fields.Nested(PublicTownSchema, allow_none=True, required=True)
    basemaps = fields.List(fields.Nested(PublicBasemapSchema), required=True)
    secure = fields.Boolean(required=True)
    off = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Functions that browsers switch off on plain HTTP beyond localhost."},
    )
    version = fields.String(required=True)
    fix_retention_days = fields.Integer(
        required=True,
        metadata={"description": "How long tracks are kept; officers are told before the first."},
    )
    desk_phone = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "description": "The desk's telephone: what a client offers that cannot send a call for help."
        },
    )
    desk_sms = fields.String(
        required=True, allow_none=True, metadata={"description": "Where the desk takes text messages."}
    )
    otp = fields.String(required=True, metadata={"description": "development, sms or off"})


class PublicInstallationQuerySchema(Schema):
    """Which town, where there are several."""

    town = line(60, load_default=None)


@blp.query(
    "/installation",
    may=None,
    answers=PublicInstallationSchema,
    arguments=PublicInstallationQuerySchema,
    limit=limits.OPEN,
)
def installation(uow: UnitOfWork, query: dict[str, Any]) -> dict[str, Any]:
    """Describe the installation and its town."""
    config = current_app.extensions["xungeng.config"]
    town = towns.find(uow, query["town"])
    secure = request.is_secure or config.secure or request.host.rsplit(":", 1)[0].strip("[]") in LOCAL_HOSTS
    return {
        "name": {"zh-CN": "巡更", "en": "Xungeng"},
        "town": towns.describe(uow, town) if town else None,
        "basemaps": towns.basemaps(uow) if town else [],
        "secure": secure,
        "off": [] if secure else NEEDS_HTTPS,
        "version": config.version,
        "fix_retention_days": config.fix_retention_days,
        "desk_phone": config.desk_phone,
        "desk_sms": config.desk_sms,
        "otp": current_app.extensions["xungeng.sms"].name,
    }
