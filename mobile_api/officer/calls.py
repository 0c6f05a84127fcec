"""What the desk asks of the officer himself: to answer a roll call, or to have read a text."""

from typing import Any
from uuid import UUID

from marshmallow import Schema, fields, validate

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, CallAnswerState, CallKind, CallState
from geo.datum import DATUMS
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word
from mobile_api.officer.schemas import OfficerAreaSchema
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import alarms, calls

blp = Door("calls", Audience.OFFICER, "/calls", "What the desk asks of the officer himself.")
ANSWER = ("answer", "call")


class OfficerCallSchema(Schema):
    """A roll call, a spot check or a broadcast that one is asked by, and what one may do with it now."""

    id = fields.UUID(required=True)
    kind = Word(CallKind, required=True)
    state = Word(CallState, required=True)
    my_state = Word(
        CallAnswerState, required=True, metadata={"description": "One's own answer; draw from this."}
    )
    version = fields.Integer(required=True, metadata={"description": "Of one's own answer."})
    area = fields.Nested(OfficerAreaSchema, required=True)
    call_sign = fields.String(
        allow_none=True, required=True, metadata={"description": "Of the crew, where a crew was called."}
    )
    text = fields.String(allow_none=True, required=True, metadata={"description": "What a broadcast says."})
    created_at = Moment(required=True)
    ends_at = Moment(required=True)
    answered_at = Moment(allow_none=True, required=True)
    actions = fields.List(
        fields.String(), required=True, metadata={"description": "`answer`: one tap, also after the end."}
    )


class OfficerCallPlaceSchema(Schema):
    """Where one is. The datum is that of the numbers, WGS-84 unless said otherwise."""

    lon = fields.Float(required=True, validate=validate.Range(-180, 180))
    lat = fields.Float(required=True, validate=validate.Range(-90, 90))
    accuracy_m = fields.Float(load_default=None, allow_none=True, validate=validate.Range(0, 1_000_000))
    fixed_at = Moment(load_default=None, allow_none=True)
    datum = fields.String(load_default="wgs84", validate=validate.OneOf(DATUMS))


class OfficerCallActSchema(Schema):
    """One tap: when it was pressed by the phone's clock, and where, if the phone knows."""

    device_at = Moment(load_default=None, allow_none=True)
    place = fields.Nested(OfficerCallPlaceSchema, load_default=None, allow_none=True)


class OfficerCallsReceivedSchema(Schema):
    """What the phone has."""

    ids = fields.List(fields.UUID(), required=True, validate=validate.Length(1, 100))


class OfficerCallsNewsSchema(Schema):
    """How much of it was news."""

    news = fields.Integer(required=True)


def _document(actor: Actor, share: Any) -> dict[str, Any]:
    call = share.call
    return {
        "id": call.id,
        "kind": call.kind,
        "state": call.state,
        "my_state": share.state,
        "version": share.version,
        "area": call.area,
        "call_sign": call.crew.call_sign if call.crew else None,
        "text": call.text,
        "created_at": call.created_at,
        "ends_at": call.ends_at,
        "answered_at": share.answered_at,
        "actions": calls.answer_actions(actor, share),
    }


@blp.query("", may=ANSWER, answers=page_of(OfficerCallSchema), arguments=PageQuerySchema, refuses=(422,))
def list_calls(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List what one is asked now, newest first, and what one has missed in this shift within two hours."""
    found = calls.own(uow, actor, after=decode_cursor(query.get("cursor")), limit=query["limit"])
    return Page([_document(actor, share) for share in found.items], found.after)


@blp.query("/<uuid:call_id>", may=ANSWER, answers=OfficerCallSchema)
def get_call(uow: UnitOfWork, actor: Actor, call_id: UUID) -> dict[str, Any]:
    """Return what one was asked, also when it is over."""
    return _document(actor, calls.of_own(uow, actor, call_id))


@blp.command("/<uuid:call_id>/answer", may=ANSWER, body=OfficerCallActSchema, answers=OfficerCallSchema)
def answer_call(
    uow: UnitOfWork, actor: Actor, call_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Be here, or have read it; after the end it counts as late."""
    share = calls.answer(
        uow,
        actor,
        call_id,
        command_id=command_id,
        device_at=body["device_at"],
        place=alarms.told_place(body["place"]),
    )
    return _document(actor, share)


@blp.command("/received", may=ANSWER, body=OfficerCallsReceivedSchema, answers=OfficerCallsNewsSchema)
def receive_calls(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, int]:
    """Say that the phone has these, so that the desk sees whom a call has reached."""
    return {"news": calls.receive(uow, actor, body["ids"])}
