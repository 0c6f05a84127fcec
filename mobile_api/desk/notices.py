"""The desk's notices: one's own and where one is reached, and for the desk what could be brought to nobody."""

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
from workflows import addresses, dead_letters, notices
from workflows.notices import Told

blp = Door(
    "notices",
    Audience.DESK,
    "",
    "What one was told, by what one is reached, and what could be brought to nobody.",
)
USE = ("use", "desk")


class DeskNoticeSchema(Schema):
    """One thing that one was told. ``id`` is the event's: what is pushed carries it as ``event_id``."""

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


class DeskNoticesQuerySchema(PageQuerySchema):
    """Which notices."""

    unread = fields.Boolean(load_default=False)


class DeskUnreadSchema(Schema):
    """How much is unread."""

    unread = fields.Integer(required=True, metadata={"description": f"{notices.MOST_COUNTED} at most."})


class DeskReadSchema(Schema):
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


class DeskNoticeSettingsSchema(Schema):
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


class DeskNoticeChoiceSchema(DeskNoticeSettingsSchema):
    """What one wants, and what there is to choose from."""

    available = fields.List(fields.String(), required=True)
    fixed = fields.List(fields.String(), required=True, metadata={"description": "Kinds without a choice."})
    kinds = fields.List(
        fields.String(), required=True, metadata={"description": "Kinds that one may be told at all."}
    )


class DeskCreditSchema(Schema):
    """A template of the mini program to ask for, and how often it may still be used."""

    kind = fields.String(required=True)
    template_id = fields.String(required=True)
    remaining = fields.Integer(required=True)


class DeskReachSchema(Schema):
    """What a client needs to be reached."""

    webpush_key = fields.String(
        required=True, allow_none=True, metadata={"description": "`applicationServerKey`, base64url."}
    )
    channels = fields.List(
        fields.String(), required=True, metadata={"description": "A client may bring these."}
    )
    wechat_templates = fields.List(fields.Nested(DeskCreditSchema), required=True)


class DeskCreditsSchema(Schema):
    """The templates that WeChat has just been allowed."""

    template_ids = fields.List(line(100), required=True, validate=validate.Length(1, 10))


class DeskAddressKeysSchema(Schema):
    """The keys of a Web Push subscription."""

    p256dh = line(120, required=True)
    auth = line(60, required=True)


class DeskNewAddressSchema(Schema):
    """Where this session's phone or browser is reached."""

    channel = Word(NoticeChannel, required=True)
    token = line(
        1000,
        required=True,
        metadata={
            "description": "Firebase installation id, subscription endpoint, or WeChat's one-time code."
        },
    )
    keys = fields.Nested(DeskAddressKeysSchema, load_default=None, allow_none=True)


class DeskAddressSchema(Schema):
    """Where one is reached; the token itself is not told again."""

    id = fields.UUID(required=True)
    channel = fields.String(required=True)
    created_at = Moment(required=True)
    this_session = fields.Boolean(required=True)


class DeskAddressesSchema(Schema):
    """All of one's addresses; there are few."""

    items = fields.List(fields.Nested(DeskAddressSchema), required=True)
    next = fields.String(required=True, allow_none=True)


@blp.query(
    "/notices",
    may=USE,
    answers=page_of(DeskNoticeSchema),
    arguments=DeskNoticesQuerySchema,
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


@blp.query("/notices/unread", may=USE, answers=DeskUnreadSchema)
def count_unread(uow: UnitOfWork, actor: Actor) -> dict[str, int]:
    """Count what is unread."""
    return {"unread": notices.unread_count(uow, actor)}


@blp.command("/notices/read", may=USE, body=DeskReadSchema, answers=DeskUnreadSchema, refuses=())
def read_notices(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, int]:
    """Mark notices as read, and count what is left."""
    return {"unread": notices.read(uow, actor, body["ids"], until=body["until"])}


@blp.command("/notices/<uuid:notice_id>/confirm", may=USE, answers=DeskNoticeSchema, refuses=())
def confirm_notice(uow: UnitOfWork, actor: Actor, notice_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Say that one knows, so that no further channel is tried."""
    return _told(notices.confirm(uow, actor, notice_id))


@blp.query("/notice-settings", may=USE, answers=DeskNoticeChoiceSchema)
def see_settings(uow: UnitOfWork, actor: Actor) -> Any:
    """See what one wants to be told by."""
    return notices.wanted(uow, actor)


@blp.command(
    "/notice-settings",
    may=USE,
    method="PUT",
    body=DeskNoticeSettingsSchema,
    answers=DeskNoticeChoiceSchema,
    refuses=(),
)
def change_settings(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> Any:
    """Say what one wants to be told by. Calls for help come by every channel, at every hour."""
    return notices.want(uow, actor, command_id=command_id, **body)


@blp.query("/reach", may=USE, answers=DeskReachSchema)
def see_reach(uow: UnitOfWork, actor: Actor) -> dict[str, Any]:
    """See by what this installation reaches people, and the keys to it."""
    return _reach(notices.credits(uow, actor))


@blp.command("/wechat-credits", may=USE, body=DeskCreditsSchema, answers=DeskReachSchema, refuses=())
def add_credits(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Count one more message of each template that one has just allowed in WeChat."""
    return _reach(notices.add_credits(uow, actor, body["template_ids"]))


def _resolved(_claims: AccessClaims, body: dict[str, Any]) -> dict[str, Any]:
    """Ask WeChat whose a code is, while no transaction is open."""
    return body | {"token": addresses.resolve(body["channel"], body["token"])}


@blp.query("/addresses", may=USE, answers=DeskAddressesSchema)
def list_addresses(uow: UnitOfWork, actor: Actor) -> dict[str, Any]:
    """List where one is reached."""
    return {"items": [_address(actor, one) for one in addresses.own(uow, actor)], "next": None}


@blp.command(
    "/addresses",
    may=USE,
    body=DeskNewAddressSchema,
    prepares=_resolved,
    answers=DeskAddressSchema,
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


# --- Where others are reached, written down by an admin


class DeskUserAddressNewSchema(Schema):
    """Where a member of staff is reached."""

    channel = Word(NoticeChannel, required=True)
    token = line(
        200, required=True, metadata={"description": "WeCom user id, phone, or mail address, by the channel."}
    )


@blp.query("/users/<uuid:user_id>/addresses", may=("see", "user"), answers=DeskAddressesSchema)
def list_user_addresses(uow: UnitOfWork, actor: Actor, user_id: UUID) -> dict[str, Any]:
    """List by what somebody is reached."""
    return {"items": [_address(actor, one) for one in addresses.of_user(uow, actor, user_id)], "next": None}


@blp.command(
    "/users/<uuid:user_id>/addresses",
    may=("manage", "user"),
    body=DeskUserAddressNewSchema,
    answers=DeskAddressSchema,
    status=201,
)
def write_user_address(
    uow: UnitOfWork, actor: Actor, user_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Let a member of staff be reached at a WeCom id, a phone or a mailbox."""
    return _address(actor, addresses.write_down(uow, actor, user_id, command_id=command_id, **body))


@blp.command("/user-addresses/<uuid:address_id>/end", may=("manage", "user"), refuses=())
def end_user_address(uow: UnitOfWork, actor: Actor, address_id: UUID, command_id: UUID) -> None:
    """Let somebody be reached there no more."""
    addresses.end(uow, actor, address_id, command_id=command_id)


# --- Dead letters


class DeskLetterRecipientSchema(Schema):
    """Whom it was to reach."""

    id = fields.UUID(required=True)
    display_name = fields.String(required=True)


class DeskDeadLetterSchema(Schema):
    """A notice that no channel could bring; it stands in the recipient's app all the same."""

    id = fields.UUID(required=True)
    notice_id = fields.UUID(required=True)
    kind = fields.String(required=True)
    subject_kind = fields.String(required=True)
    subject_id = fields.UUID(required=True)
    recipient = fields.Nested(DeskLetterRecipientSchema, required=True)
    channel = fields.String(required=True)
    state = fields.String(required=True)
    error = fields.String(required=True, allow_none=True, metadata={"description": "A literal code."})
    attempts = fields.Integer(required=True)
    created_at = Moment(required=True)
    ended_at = Moment(required=True, allow_none=True)
    actions = fields.List(fields.String(), required=True)


@blp.query(
    "/dead-letters",
    may=("see", "delivery"),
    answers=page_of(DeskDeadLetterSchema),
    arguments=PageQuerySchema,
    refuses=(422,),
)
def list_dead_letters(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List what could be brought to nobody in your areas, newest first."""
    found = dead_letters.in_scope(uow, actor, after=decode_cursor(query.get("cursor")), limit=query["limit"])
    return Page([_letter(actor, one) for one in found.items], found.after)


@blp.command(
    "/dead-letters/<uuid:delivery_id>/retry", may=("retry", "delivery"), answers=DeskDeadLetterSchema
)
def retry_dead_letter(uow: UnitOfWork, actor: Actor, delivery_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Have it tried anew."""
    return _letter(actor, dead_letters.retry(uow, actor, delivery_id, command_id=command_id))


def _letter(actor: Actor, delivery: Any) -> dict[str, Any]:
    notice = delivery.notice
    return {
        "id": delivery.id,
        "notice_id": notice.id,
        "kind": notice.kind,
        "subject_kind": notice.subject_kind,
        "subject_id": notice.subject_id,
        "recipient": delivery.recipient,
        "channel": delivery.channel,
        "state": delivery.state,
        "error": delivery.error,
        "attempts": delivery.attempts,
        "created_at": delivery.created_at,
        "ended_at": delivery.ended_at,
        "actions": dead_letters.actions(actor, delivery),
    }
