"""Duty levels at the desk: what is in force where, switched for a time and with a reason."""

from typing import Any
from uuid import UUID

from marshmallow import Schema, fields, validate

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, DutyLevel
from mobile_api.desk.officers import DeskAreaNameSchema
from mobile_api.desk.task_schemas import DeskPersonSchema, DeskTaskReasonSchema
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, line
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import access, duty_levels

blp = Door("duty_levels", Audience.DESK, "/duty-levels", "Duty levels that concern your areas.")
SEE, SWITCH = ("see", "duty_level"), ("switch", "duty_level")


class DeskLevelSwitchSchema(Schema):
    """A level that was put in force in an area and below it for a time."""

    id = fields.UUID(required=True)
    area = fields.Nested(DeskAreaNameSchema, required=True)
    level = Word(DutyLevel, required=True)
    since_at = Moment(required=True)
    until_at = Moment(required=True)
    in_force = fields.Boolean(required=True, metadata={"description": "Whether it counts now."})
    reason = fields.String(required=True)
    by = fields.Nested(DeskPersonSchema, required=True)
    ended_at = Moment(
        allow_none=True, required=True, metadata={"description": "When it was taken back before its time."}
    )
    end_reason = fields.String(allow_none=True, required=True)
    created_at = Moment(required=True)
    version = fields.Integer(required=True)
    actions = fields.List(fields.String(), required=True)


class DeskLevelSwitchBodySchema(Schema):
    """What to put in force, where, how long, and why."""

    area_id = fields.UUID(required=True)
    level = fields.String(required=True, validate=validate.OneOf(["third", "second", "first"]))
    since_at = Moment(load_default=None, allow_none=True, metadata={"description": "Null: from now on."})
    until_at = Moment(required=True, metadata={"description": "When the ordinary day is back by itself."})
    reason = line(200, least=2, required=True)


class DeskLevelsQuerySchema(PageQuerySchema):
    """Which switches."""

    over = fields.Boolean(load_default=False, metadata={"description": "Also those that are over."})


class DeskLevelInForceSchema(Schema):
    """What is in force in an area now: the gravest of its own and those above it."""

    area = fields.Nested(DeskAreaNameSchema, required=True)
    level = Word(DutyLevel, required=True)


class DeskLevelsInForceSchema(Schema):
    """What is in force now in each of the areas in which you work."""

    items = fields.List(fields.Nested(DeskLevelInForceSchema), required=True)


_MADE = ("in_force", "actions")
_PLAIN = [name for name in DeskLevelSwitchSchema().fields if name not in _MADE]


def _document(uow: UnitOfWork, actor: Actor, found: Any) -> dict[str, Any]:
    return {
        **{name: getattr(found, name) for name in _PLAIN},
        "in_force": duty_levels.in_force(found, uow.now),
        "actions": duty_levels.actions(uow, actor, found),
    }


@blp.query(
    "", may=SEE, answers=page_of(DeskLevelSwitchSchema), arguments=DeskLevelsQuerySchema, refuses=(422,)
)
def list_duty_levels(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the switches that concern your areas, in them and above them, the latest first."""
    cursor = decode_cursor(query.pop("cursor", None))
    found = duty_levels.listed(uow, actor, after=cursor, **query)
    return Page([_document(uow, actor, one) for one in found.items], found.after)


@blp.query("/in-force", may=SEE, answers=DeskLevelsInForceSchema)
def get_duty_levels_in_force(uow: UnitOfWork, actor: Actor) -> dict[str, Any]:
    """Return what is in force now in each of the areas in which you work."""
    found = duty_levels.in_force_for(uow, actor)
    return {"items": [{"area": area, "level": level} for area, level in found]}


@blp.query("/<uuid:switch_id>", may=SEE, answers=DeskLevelSwitchSchema)
def get_duty_level(uow: UnitOfWork, actor: Actor, switch_id: UUID) -> dict[str, Any]:
    """Return a switch that concerns your areas."""
    return _document(uow, actor, access.level_switch(uow, actor, switch_id))


@blp.command(
    "",
    may=SWITCH,
    body=DeskLevelSwitchBodySchema,
    answers=DeskLevelSwitchSchema,
    status=201,
    refuses=(409, 422),
)
def switch_duty_level(
    uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Put a level in force for a time. Plans follow within seconds: what has begun goes on."""
    level = DutyLevel(body.pop("level"))
    return _document(uow, actor, duty_levels.switch(uow, actor, level=level, command_id=command_id, **body))


@blp.command("/<uuid:switch_id>/end", may=SWITCH, body=DeskTaskReasonSchema, answers=DeskLevelSwitchSchema)
def end_duty_level(
    uow: UnitOfWork, actor: Actor, switch_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Take a level back before its end."""
    found = duty_levels.end(uow, actor, switch_id, version=None, command_id=command_id, **body)
    return _document(uow, actor, found)
