"""Handing a task over to the police, and the page that goes with it."""

from typing import Any
from uuid import UUID

from marshmallow import Schema, fields, validate

from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AssignmentState, Audience, OfficerKind
from mobile_api.desk.task_schemas import (
    DeskPersonSchema,
    DeskReferralNewSchema,
    DeskTaskSchema,
    DeskTimelineEntrySchema,
)
from mobile_api.desk.tasks import task_document
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, line, names, place
from workflows import briefs, tasks
from workflows.results import Referral

blp = Door("referrals", Audience.DESK, "/tasks", "Handing tasks over to the police.")
REFER = ("refer", "task")


class DeskBriefReasonSchema(Schema):
    """Why the page is looked at."""

    reason = line(200, least=2, required=True, metadata={"description": "It is written down."})


class DeskBriefHandSchema(Schema):
    """An officer who had the task, and from when to when."""

    display_name = fields.String(required=True)
    kind = fields.String(allow_none=True, required=True, validate=validate.OneOf(list(OfficerKind)))
    state = fields.String(required=True, validate=validate.OneOf(list(AssignmentState)))
    accepted_at = Moment(allow_none=True, required=True)
    arrived_at = Moment(allow_none=True, required=True)
    ended_at = Moment(allow_none=True, required=True)


class DeskBriefOriginSchema(Schema):
    """What the task came from."""

    kind = fields.String(required=True, validate=validate.OneOf(["alarm", "report"]))
    number = fields.Integer(required=True)
    at = Moment(required=True)
    by = fields.String(allow_none=True, required=True)
    note = fields.String(allow_none=True, required=True)


class DeskBriefSchema(Schema):
    """One page about a task that was handed over to the police."""

    task = fields.Nested(DeskTaskSchema, required=True)
    town = names(required=True)
    time_zone = fields.String(required=True)
    areas = fields.List(
        names(), required=True, metadata={"description": "From the town down to the place's own area."}
    )
    wgs84 = place(required=True)
    gcj02 = place(required=True)
    people = fields.List(fields.Nested(DeskBriefHandSchema), required=True)
    resolved_by = fields.Nested(DeskPersonSchema, allow_none=True, required=True)
    referred_by = fields.Nested(DeskPersonSchema, allow_none=True, required=True)
    origin = fields.Nested(DeskBriefOriginSchema, allow_none=True, required=True)
    timeline = fields.List(fields.Nested(DeskTimelineEntrySchema), required=True)
    timeline_cut = fields.Boolean(
        required=True, metadata={"description": "Whether there is more than a page holds."}
    )
    printed_by = fields.Nested(DeskPersonSchema, required=True)
    printed_at = Moment(required=True)


@blp.command(
    "/<uuid:task_id>/refer",
    may=REFER,
    body=DeskReferralNewSchema,
    answers=DeskTaskSchema,
    refuses=(409, 422),
)
def refer_task(
    uow: UnitOfWork, actor: Actor, task_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Hand a task over to the police (110), and write down the number of their case, who took it, when and why."""
    reason = body.pop("reason")
    task = tasks.refer(uow, actor, task_id, Referral(**body), reason=reason, command_id=command_id)
    return task_document(actor, task)


@blp.look(
    "/<uuid:task_id>/brief",
    may=REFER,
    body=DeskBriefReasonSchema,
    answers=DeskBriefSchema,
    status=200,
    refuses=(409,),
)
def look_at_brief(uow: UnitOfWork, actor: Actor, task_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Return what goes on the page for the police; that you looked, and why, is written down."""
    found = briefs.brief(uow, actor, task_id, reason=body["reason"])
    return {**vars(found), "task": task_document(actor, found.task)}


@blp.command("/<uuid:task_id>/print-brief", may=REFER, answers=DeskTaskSchema)
def print_brief(uow: UnitOfWork, actor: Actor, task_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Write down that you print the page."""
    return task_document(actor, briefs.print_brief(uow, actor, task_id, command_id=command_id))
