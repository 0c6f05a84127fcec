"""The officer's notices: what he was told, where he is reached, and what he wants to be told by."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.tokens import AccessClaims
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, NoticeChannel, NoticeKind
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, line
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import addresses, notices
from workflows.notices import Told

blp = Door("notices", Audience.OFFICER, "", "What the officer was told, and by what he is reached.")
USE = ("use", "officer_client")


class OfficerNoticeSchema(Schema):
    """One thing that the officer was told. ``id`` is the event's: what is pushed carries it as ``event_id``."""

    id = fields.UUID(required=True)
    kind = Word(NoticeKind, required=True)
    subject_kind = fields.String(required=True)
    subject_id = fields.UUID(required=True)
    params = fields.Dict(required=True, metadata={"description": "Ids, numbers and words of the kind."})
    title = fields.String(required=True, metadata={"description": "In the reader's language."})
    body = fields.String(required=True)
    priority = fields.String(required=True, validate=validate.OneOf(notices.PRIORITIES))
    created_at = Moment(required=True)
    expires_at = Moment(required=True, allow_none=True)
    read_at = Moment(required=True, allow_none=True)
    confirmed_at = Moment(required=True, allow_none=True)
    needs_confirmation = fields.Boolean(
        required=True, metadata={"description": "Further channels are tried until it is confirmed."}
    )
    actions = fields.List(fields.String(), required=True)


class OfficerNoticesQuerySchema(PageQuerySchema):
    """Which notices."""

    unread = fields.Boolean(load_default=False)


class OfficerUnreadSchema(Schema):
    """How much is unread."""

    unread = fields.Integer(required=True, metadata={"description": f"{notices.MOST_COUNTED} at most."})


class OfficerReadSchema(Schema):
    """What was read: by id, where what is not one's own is left out, or all until one of them."""

    ids = fields.List(fields.UUID(), load_default=None, allow_none=True, validate=validate.Length(1, 500))
    until = fields.UUID(
        load_default=None,
        allow_none=True,
        metadata={"description": f"The newest that was seen; with {notices.MOST_READ} older ones at most."},
    )

    @validates_schema
    def _one(self, data: dict[str, Any], **_: Any) -> None:
        if (data.get("ids") is None) == (data.get("until") is None):
            raise ValidationError("Either ids, or until which.", "ids")


class OfficerNoticeSettingsSchema(Schema):
    """What one wants to be told by. The app itself tells everything."""

    channels = fields.Dict(
        keys=fields.String(validate=validate.OneOf(list(NoticeKind))),
        values=fields.List(fields.String(validate=validate.OneOf(list(NoticeChannel)))),
        required=True,
        metadata={"description": "By kind the channels that may carry it; a kind that is not named: all."},
    )
    quiet_from = fields.Time(
        required=True, allow_none=True, format="%H:%M", metadata={"description": "Town's clock."}
    )
    quiet_until = fields.Time(required=True, allow_none=True, format="%H:%M")


class OfficerNoticeChoiceSchema(OfficerNoticeSettingsSchema):
    """What one wants, and what there is to choose from."""

    available = fields.List(fields.String(), required=True)
    fixed = fields.List(fields.String(), required=True, metadata={"description": "Kinds without a choice."})
    kinds = fields.List(
        fields.String(), required=True, metadata={"description": "Kinds that one may be told at all."}
    )


class OfficerCreditSchema(Schema):
    """A template of the mini program to ask for, and how often it may still be used."""

    kind = fields.String(required=True)
    template_id = fields.String(required=True)
    remaining = fields.Integer(required=True)


class OfficerReachSchema(Schema):
    """What a client needs to be reached."""

    webpush_key = fields.String(
        required=True, allow_none=True, metadata={"description": "`applicationServerKey`, base64url."}
    )
    channels = fields.List(
        fields.String(), required=True, metadata={"description": "A client may bring these."}
    )
    wechat_templates = fields.List(fields.Nested(OfficerCreditSchema), required=True)


class OfficerCreditsSchema(Schema):
    """The templates that WeChat has just been allowed."""

    template_ids = fields.List(line(100), required=True, validate=validate.Length(1, 10))


class OfficerAddressKeysSchema(Schema):
    """The keys of a Web Push subscription."""

    p256dh = line(120, required=True)
    auth = line(60, required=True)


class OfficerNewAddressSchema(Schema):
    """Where this session's phone or browser is reached."""

    channel = Word(NoticeChannel, required=True)
    token = line(
        1000,
        required=True,
        metadata={
            "description": "Firebase installation id, subscription endpoint, or WeChat's one-time code."
        },
    )
    keys = fields.Nested(OfficerAddressKeysSchema, load_default=None, allow_none=True)


class OfficerAddressSchema(Schema):
    """Where one is reached; the token itself is not told again."""

    id = fields.UUID(required=True)
    channel = fields.String(required=True)
    created_at = Moment(required=True)
    this_session = fields.Boolean(required=True)


class OfficerAddressesSchema(Schema):
    """All of one's addresses; there are few."""

    items = fields.List(fields.Nested(OfficerAddressSchema), required=True)
    next = fields.String(required=True, allow_none=True)


@blp.query(
    "/notices",
    may=USE,
    answers=page_of(OfficerNoticeSchema),
    arguments=OfficerNoticesQuerySchema,
    refuses=(422,),
)
def list_notices(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List one's own notices, newest first."""
    found = notices.own(
        uow,
        actor,
        unread=query["unread"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    return Page([_told(one) for one in found.items], found.after)


@blp.query("/notices/unread", may=USE, answers=OfficerUnreadSchema)
def count_unread(uow: UnitOfWork, actor: Actor) -> dict[str, int]:
    """Count what is unread."""
    return {"unread": notices.unread_count(uow, actor)}


@blp.command("/notices/read", may=USE, body=OfficerReadSchema, answers=OfficerUnreadSchema, refuses=())
def read_notices(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, int]:
    """Mark notices as read, and count what is left."""
    return {"unread": notices.read(uow, actor, body["ids"], until=body["until"])}


@blp.command("/notices/<uuid:notice_id>/confirm", may=USE, answers=OfficerNoticeSchema, refuses=())
def confirm_notice(uow: UnitOfWork, actor: Actor, notice_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Say that one knows, so that no further channel is tried."""
    return _told(notices.confirm(uow, actor, notice_id))


@blp.query("/notice-settings", may=USE, answers=OfficerNoticeChoiceSchema)
def see_settings(uow: UnitOfWork, actor: Actor) -> Any:
    """See what one wants to be told by."""
    return notices.wanted(uow, actor)


@blp.command(
    "/notice-settings",
    may=USE,
    method="PUT",
    body=OfficerNoticeSettingsSchema,
    answers=OfficerNoticeChoiceSchema,
    refuses=(),
)
def change_settings(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> Any:
    """Say what one wants to be told by. Calls for help come by every channel, at every hour."""
    return notices.want(uow, actor, command_id=command_id, **body)


@blp.query("/reach", may=USE, answers=OfficerReachSchema)
def see_reach(uow: UnitOfWork, actor: Actor) -> dict[str, Any]:
    """See by what this installation reaches people, and the keys to it."""
    return _reach(notices.credits(uow, actor))


@blp.command("/wechat-credits", may=USE, body=OfficerCreditsSchema, answers=OfficerReachSchema, refuses=())
def add_credits(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Count one more message of each template that one has just allowed in WeChat."""
    return _reach(notices.add_credits(uow, actor, body["template_ids"]))


def _resolved(_claims: AccessClaims, body: dict[str, Any]) -> dict[str, Any]:
    """Ask WeChat whose a code is, while no transaction is open."""
    return body | {"token": addresses.resolve(body["channel"], body["token"])}


@blp.query("/addresses", may=USE, answers=OfficerAddressesSchema)
def list_addresses(uow: UnitOfWork, actor: Actor) -> dict[str, Any]:
    """List where one is reached."""
    return {"items": [_address(actor, one) for one in addresses.own(uow, actor)], "next": None}


@blp.command(
    "/addresses",
    may=USE,
    body=OfficerNewAddressSchema,
    prepares=_resolved,
    answers=OfficerAddressSchema,
    status=201,
)
def register_address(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Let this session's phone or browser be reached, until the session ends."""
    return _address(actor, addresses.register(uow, actor, command_id=command_id, **body))


@blp.command("/addresses/<uuid:address_id>/end", may=USE, refuses=())
def end_address(uow: UnitOfWork, actor: Actor, address_id: UUID, command_id: UUID) -> None:
    """Be reached there no more."""
    addresses.end_own(uow, actor, address_id, command_id=command_id)


def _told(told: Told) -> dict[str, Any]:
    notice = told.notice
    return {
        "id": notice.id,
        "kind": notice.kind,
        "subject_kind": notice.subject_kind,
        "subject_id": notice.subject_id,
        "params": notice.params,
        "title": told.text.title,
        "body": told.text.body,
        "priority": told.priority,
        "created_at": notice.created_at,
        "expires_at": notice.expires_at,
        "read_at": notice.read_at,
        "confirmed_at": notice.confirmed_at,
        "needs_confirmation": told.needs_confirmation,
        "actions": told.actions,
    }


def _reach(credits: list[notices.Credit]) -> dict[str, Any]:
    return {
        "webpush_key": addresses.webpush_key(),
        "channels": addresses.available(),
        "wechat_templates": credits,
    }


def _address(actor: Actor, address: Any) -> dict[str, Any]:
    return {
        "id": address.id,
        "channel": address.channel,
        "created_at": address.created_at,
        "this_session": address.session_id is not None and address.session_id == actor.session_id,
    }
