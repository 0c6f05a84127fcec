"""Alarms at the desk: the queue of what must be looked at, and what is done about each."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from marshmallow import Schema, fields

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AlarmKind, AlarmSource, AlarmState, Audience, Priority
from mobile_api.desk.officers import DeskAreaNameSchema
from mobile_api.desk.task_schemas import DeskOfferSchema, DeskTaskSchema
from mobile_api.desk.tasks import task_document, whom_of
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, line, prose, spot
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import alarms, dispatching
from workflows.alarms import Covered

blp = Door("alarms", Audience.DESK, "/alarms", "What must be looked at in your areas.")
SEE, HANDLE = ("see", "alarm"), ("handle", "alarm")


class DeskAlarmPersonSchema(Schema):
    """Whom it is about, or who took it on."""

    id = fields.UUID(required=True)
    display_name = fields.String(required=True)


class DeskAlarmPlaceSchema(Schema):
    """Where it is, WGS-84, as it was last measured."""

    lon = fields.Float(required=True)
    lat = fields.Float(required=True)
    accuracy_m = fields.Float(allow_none=True, required=True)
    fixed_at = Moment(allow_none=True, required=True)


class DeskAlarmWaySchema(Schema):
    """From which task an officer went away, and how far he was when his way began and when the alarm was raised."""

    task_id = fields.UUID(required=True)
    task_number = fields.Integer(required=True)
    began_m = fields.Float(required=True)
    now_m = fields.Float(required=True)


class DeskAlarmCoveredSchema(Schema):
    """An officer who has no alarm about his silence, because an outage stands for it."""

    id = fields.UUID(required=True)
    display_name = fields.String(required=True)
    heard_at = Moment(required=True)


class DeskAlarmOutageSchema(Schema):
    """How many fell silent at the same time, of how many on shift, and when the first of them was last heard of."""

    silent = fields.Integer(required=True)
    on_shift = fields.Integer(required=True)
    since = Moment(required=True)
    officers = fields.List(
        fields.Nested(DeskAlarmCoveredSchema),
        required=True,
        metadata={"description": "Whose silence it stands for, or stood; also who fell silent later."},
    )


class DeskAlarmSchema(Schema):
    """One alarm, and what the desk may do with it now."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    kind = Word(AlarmKind, required=True)
    source = Word(AlarmSource, required=True)
    source_id = fields.UUID(required=True)
    state = Word(AlarmState, required=True)
    priority = Word(Priority, required=True)
    level = fields.Integer(required=True, metadata={"description": "How far it was escalated."})
    area = fields.Nested(DeskAreaNameSchema, required=True)
    officer = fields.Nested(DeskAlarmPersonSchema, allow_none=True, required=True)
    resident = fields.Nested(DeskAlarmPersonSchema, allow_none=True, required=True)
    place = fields.Nested(DeskAlarmPlaceSchema, allow_none=True, required=True)
    note = fields.String(allow_none=True, required=True)
    device = fields.String(allow_none=True, required=True, metadata={"description": "The phone's name."})
    heard_at = Moment(allow_none=True, required=True)
    battery_pct = fields.Float(allow_none=True, required=True)
    way = fields.Nested(
        DeskAlarmWaySchema, allow_none=True, required=True, metadata={"description": "Of a deviation."}
    )
    outage = fields.Nested(
        DeskAlarmOutageSchema, allow_none=True, required=True, metadata={"description": "Of an outage."}
    )
    raised_at = Moment(required=True)
    raised_device_at = Moment(allow_none=True, required=True)
    acknowledged_at = Moment(allow_none=True, required=True)
    acknowledged_by = fields.Nested(DeskAlarmPersonSchema, allow_none=True, required=True)
    dispatched_at = Moment(allow_none=True, required=True)
    task_id = fields.UUID(allow_none=True, required=True)
    cleared_at = Moment(allow_none=True, required=True)
    dismissed_at = Moment(allow_none=True, required=True)
    version = fields.Integer(required=True)
    actions = fields.List(fields.String(), required=True)


class DeskAlarmsQuerySchema(PageQuerySchema):
    """Which alarms."""

    open = fields.Boolean(load_default=None)
    kind = Word(AlarmKind, load_default=None)
    area_id = fields.UUID(load_default=None)


class DeskAlarmReasonSchema(Schema):
    """Why."""

    reason = line(200, least=2, required=True)


class DeskDispatchSchema(Schema):
    """What becomes of an alarm: which kind of task, for whom. What is left out is as the alarm and the kind say."""

    kind_id = fields.UUID(load_default=None, allow_none=True)
    place = spot(load_default=None, allow_none=True)
    description = prose(1000, load_default=None, allow_none=True)
    offer = fields.Nested(DeskOfferSchema, load_default=None, allow_none=True)
    offers_itself = fields.Boolean(load_default=False)


def _documents(uow: UnitOfWork, actor: Actor, found: Sequence[Any]) -> list[dict[str, Any]]:
    covered = alarms.covered_by(uow, found)
    return [_document(actor, alarm, covered.get(alarm.id, [])) for alarm in found]


def _one(uow: UnitOfWork, actor: Actor, alarm: Any) -> dict[str, Any]:
    return _documents(uow, actor, [alarm])[0]


def _document(actor: Actor, alarm: Any, covered: Sequence[Covered]) -> dict[str, Any]:
    detail = alarm.detail
    outage = alarms.outage(alarm)
    return {
        "id": alarm.id,
        "number": alarm.number,
        "kind": alarm.kind,
        "source": alarm.source,
        "source_id": alarm.source_id,
        "state": alarm.state,
        "priority": alarm.priority,
        "level": alarm.level,
        "area": alarm.area,
        "officer": alarm.officer,
        "resident": alarm.resident,
        "place": alarms.place_of(alarm),
        "note": detail.get("note"),
        "device": detail.get("device"),
        "heard_at": alarms.heard_at(alarm),
        "battery_pct": detail.get("battery_pct"),
        "way": alarms.way(alarm),
        "outage": outage and {**outage, "officers": covered},
        "raised_at": alarm.raised_at,
        "raised_device_at": alarm.raised_device_at,
        "acknowledged_at": alarm.acknowledged_at,
        "acknowledged_by": alarm.acknowledger,
        "dispatched_at": alarm.dispatched_at,
        "task_id": alarm.task_id,
        "cleared_at": alarm.cleared_at,
        "dismissed_at": alarm.dismissed_at,
        "version": alarm.version,
        "actions": alarms.actions(actor, alarm),
    }


@blp.query("", may=SEE, answers=page_of(DeskAlarmSchema), arguments=DeskAlarmsQuerySchema, refuses=(422,))
def list_alarms(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the alarms in your areas, newest first."""
    found = alarms.at_desk(
        uow,
        actor,
        still_open=query["open"],
        kind=query["kind"],
        area_id=query["area_id"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    return Page(_documents(uow, actor, found.items), found.after)


@blp.query("/<uuid:alarm_id>", may=SEE, answers=DeskAlarmSchema)
def get_alarm(uow: UnitOfWork, actor: Actor, alarm_id: UUID) -> dict[str, Any]:
    """Return one alarm."""
    return _one(uow, actor, alarms.seen(uow, actor, alarm_id))


@blp.command("/<uuid:alarm_id>/acknowledge", may=HANDLE, answers=DeskAlarmSchema)
def acknowledge_alarm(uow: UnitOfWork, actor: Actor, alarm_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Take an alarm on yourself, by name."""
    return _one(uow, actor, dispatching.acknowledge(uow, actor, alarm_id, command_id=command_id))


@blp.command("/<uuid:alarm_id>/dismiss", may=HANDLE, body=DeskAlarmReasonSchema, answers=DeskAlarmSchema)
def dismiss_alarm(
    uow: UnitOfWork, actor: Actor, alarm_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Say that there is nothing to it, and why. Whoever was asked to go is called off."""
    return _one(
        uow, actor, dispatching.dismiss(uow, actor, alarm_id, command_id=command_id, reason=body["reason"])
    )


@blp.command("/<uuid:alarm_id>/clear", may=HANDLE, body=DeskAlarmReasonSchema, answers=DeskAlarmSchema)
def clear_alarm(
    uow: UnitOfWork, actor: Actor, alarm_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """End an alarm that people were sent to; its task, if it is not finished, is called off."""
    return _one(
        uow, actor, dispatching.clear(uow, actor, alarm_id, command_id=command_id, reason=body["reason"])
    )


@blp.command(
    "/<uuid:alarm_id>/dispatch",
    may=HANDLE,
    body=DeskDispatchSchema,
    answers=DeskTaskSchema,
    status=201,
    refuses=(409, 422),
)
def dispatch_alarm(
    uow: UnitOfWork, actor: Actor, alarm_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Make a task of an alarm and offer it. Closing either of the two ends the other."""
    task = dispatching.dispatch(
        uow,
        actor,
        alarm_id,
        command_id=command_id,
        whom=whom_of(body["offer"]),
        kind_id=body["kind_id"],
        place=tuple(body["place"]) if body["place"] else None,
        description=body["description"],
        offers_itself=body["offers_itself"],
    )
    return task_document(actor, task)
