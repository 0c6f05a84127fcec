"""The officer's call for help: stored first, answered fast; on shift or off."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from marshmallow import Schema, fields, validate

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AlarmState, AssignmentState, Audience
from geo.datum import DATUMS
from mobile_api import limits
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, line
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import alarms, responders
from workflows.responders import Responder

blp = Door("sos", Audience.OFFICER, "/sos", "The officer's call for help.")
USE = ("use", "officer_client")


class OfficerSosPlaceSchema(Schema):
    """Where one is. The datum is that of the numbers, WGS-84 unless said otherwise."""

    lon = fields.Float(required=True, validate=validate.Range(-180, 180))
    lat = fields.Float(required=True, validate=validate.Range(-90, 90))
    accuracy_m = fields.Float(load_default=None, allow_none=True, validate=validate.Range(0, 1_000_000))
    fixed_at = Moment(load_default=None, allow_none=True)
    datum = fields.String(load_default="wgs84", validate=validate.OneOf(DATUMS))


class OfficerSosCallSchema(Schema):
    """A call for help; nothing is required, because nobody has time."""

    id = fields.UUID(load_default=None, allow_none=True)
    place = fields.Nested(OfficerSosPlaceSchema, load_default=None, allow_none=True)
    note = line(200, load_default=None, allow_none=True)
    device_at = Moment(load_default=None, allow_none=True)


class OfficerSosPersonSchema(Schema):
    """Who answers."""

    id = fields.UUID(required=True)
    display_name = fields.String(required=True)


class OfficerSosResponderSchema(Schema):
    """Who is on the way, or there. Where he is now is not told."""

    name = fields.String(required=True)
    call_sign = fields.String(required=True, allow_none=True)
    state = Word(AssignmentState, required=True, metadata={"description": "accepted, en_route or on_site."})
    since = Moment(required=True)
    expected_at = Moment(
        required=True,
        allow_none=True,
        metadata={"description": "By the distance when the officer was asked."},
    )
    distance_m = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "In a straight line, when the officer was asked."},
    )


class OfficerSosSchema(Schema):
    """One's call for help, and who answers it."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    state = Word(AlarmState, required=True)
    raised_at = Moment(required=True)
    acknowledged_at = Moment(allow_none=True, required=True)
    acknowledged_by = fields.Nested(OfficerSosPersonSchema, allow_none=True, required=True)
    dispatched_at = Moment(allow_none=True, required=True)
    responders = fields.List(
        fields.Nested(OfficerSosResponderSchema),
        required=True,
        metadata={"description": "In the order in which they accepted; nobody once it is over."},
    )
    cleared_at = Moment(allow_none=True, required=True)
    version = fields.Integer(required=True)


def _documents(uow: UnitOfWork, calls: Sequence[Any]) -> list[dict[str, Any]]:
    coming = responders.of(uow, calls)
    return [_document(alarm, coming.get(alarm.id, [])) for alarm in calls]


def _document(alarm: Any, coming: Sequence[Responder]) -> dict[str, Any]:
    return {
        "id": alarm.id,
        "number": alarm.number,
        "state": alarm.state,
        "raised_at": alarm.raised_at,
        "acknowledged_at": alarm.acknowledged_at,
        "acknowledged_by": alarm.acknowledger,
        "dispatched_at": alarm.dispatched_at,
        "responders": coming,
        "cleared_at": alarm.cleared_at,
        "version": alarm.version,
    }


def _standing(uow: UnitOfWork, actor: Actor, body: dict[str, Any]) -> dict[str, Any] | None:
    call = alarms.press_again(
        uow, actor, place=alarms.told_place(body["place"]), note=body["note"], device_at=body["device_at"]
    )
    return None if call is None else _documents(uow, [call])[0]


@blp.command(
    "",
    may=USE,
    body=OfficerSosCallSchema,
    answers=OfficerSosSchema,
    status=201,
    limit=limits.SOS,
    beyond=_standing,
)
def call_for_help(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Call for help. One that is open already takes the newer place and answers with itself."""
    call = alarms.call_for_help(
        uow,
        actor,
        command_id=command_id,
        alarm_id=body["id"],
        place=alarms.told_place(body["place"]),
        note=body["note"],
        device_at=body["device_at"],
    )
    return _documents(uow, [call])[0]


@blp.query("", may=USE, answers=page_of(OfficerSosSchema), arguments=PageQuerySchema)
def list_calls(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List one's own calls for help, newest first."""
    found = alarms.own(uow, actor, after=decode_cursor(query.get("cursor")), limit=query["limit"])
    return Page(_documents(uow, found.items), found.after)
