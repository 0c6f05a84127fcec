"""What officers found: what they handled on the spot, a share of which the desk looks at, and what they passed on."""

from typing import Any
from uuid import UUID

from marshmallow import Schema, fields, validate

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, ReportOutcome, ReportState, TaskState
from mobile_api.desk.officers import DeskAreaNameSchema
from mobile_api.desk.task_schemas import (
    DeskPersonSchema,
    DeskTaskKindNameSchema,
    DeskTaskReasonSchema,
    DeskTimelineSchema,
)
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, place
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import reporting, reports, timelines

blp = Door("reports", Audience.DESK, "/reports", "What officers found in your areas.")
SEE, HANDLE = ("see", "report"), ("handle", "report")


class DeskReportTaskSchema(Schema):
    """The task that a report became."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    state = Word(TaskState, required=True)


class DeskReportSchema(Schema):
    """What an officer found, what became of it, and what the desk may do with it now."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    version = fields.Integer(required=True)
    state = Word(ReportState, required=True)
    kind = fields.Nested(DeskTaskKindNameSchema, required=True)
    officer = fields.Nested(DeskPersonSchema, required=True)
    area = fields.Nested(DeskAreaNameSchema, required=True)
    place = place(required=True)
    accuracy_m = fields.Float(allow_none=True, required=True)
    place_from = fields.String(
        required=True, validate=validate.OneOf(["told", "last_fix"]),
        metadata={"description": "`last_fix`: the phone told no place; it is that of his track at the time."},
    )  # fmt: skip
    note = fields.String(allow_none=True, required=True)
    evidence_before = fields.List(fields.UUID(), required=True)
    evidence_after = fields.List(fields.UUID(), required=True)
    filed_at = Moment(required=True)
    device_at = Moment(
        allow_none=True, required=True, metadata={"description": "When it was pressed, by the phone's clock."}
    )
    closed_at = Moment(allow_none=True, required=True)
    sampled_at = Moment(allow_none=True, required=True)
    seen_at = Moment(allow_none=True, required=True)
    seen_by = fields.Nested(DeskPersonSchema, allow_none=True, required=True, attribute="looker")
    passed_on_at = Moment(allow_none=True, required=True)
    task = fields.Nested(DeskReportTaskSchema, allow_none=True, required=True)
    answered_at = Moment(allow_none=True, required=True)
    outcome = Word(ReportOutcome, allow_none=True, required=True)
    actions = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "look_over, pass_on: what is possible now."},
    )


class DeskReportsQuerySchema(PageQuerySchema):
    """Which reports; those to be looked at are `state=sampled`."""

    state = Word(ReportState, load_default=None)
    area_id = fields.UUID(load_default=None, metadata={"description": "In this area and below it."})
    officer_id = fields.UUID(load_default=None, metadata={"description": "Only what he filed."})


_PLAIN = [
    schema.attribute or name
    for name, schema in DeskReportSchema().fields.items()
    if name not in ("place", "actions")
]


def _document(actor: Actor, report: Any) -> dict[str, Any]:
    return {
        **{name: getattr(report, name) for name in _PLAIN},
        "place": reports.place_of(report),
        "actions": reports.actions(actor, report),
    }


@blp.query("", may=SEE, answers=page_of(DeskReportSchema), arguments=DeskReportsQuerySchema, refuses=(422,))
def list_reports(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the reports in your areas, newest first."""
    found = reports.at_desk(
        uow,
        actor,
        state=query["state"],
        area_id=query["area_id"],
        officer_id=query["officer_id"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    return Page([_document(actor, report) for report in found.items], found.after)


@blp.query("/<uuid:report_id>", may=SEE, answers=DeskReportSchema)
def get_report(uow: UnitOfWork, actor: Actor, report_id: UUID) -> dict[str, Any]:
    """Return one report."""
    return _document(actor, reports.at_desk_one(uow, actor, report_id))


@blp.query(
    "/<uuid:report_id>/timeline",
    may=SEE,
    answers=DeskTimelineSchema,
    arguments=PageQuerySchema,
    refuses=(422,),
)
def list_timeline(uow: UnitOfWork, actor: Actor, report_id: UUID, query: dict[str, Any]) -> Page[Any]:
    """Tell what happened to a report from its beginning: who, what, when, on which device's clock."""
    return timelines.of_report(
        uow, actor, report_id, after=decode_cursor(query.get("cursor")), limit=query["limit"]
    )


@blp.command("/<uuid:report_id>/look-over", may=HANDLE, answers=DeskReportSchema)
def look_over_report(uow: UnitOfWork, actor: Actor, report_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Say that you looked at a report of the sample, and that it is all right."""
    return _document(actor, reports.look_over(uow, actor, report_id, command_id=command_id))


@blp.command(
    "/<uuid:report_id>/pass-on",
    may=HANDLE,
    body=DeskTaskReasonSchema,
    answers=DeskReportSchema,
    refuses=(409, 422),
)
def pass_on_report(
    uow: UnitOfWork, actor: Actor, report_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Make a task of what was handled on the spot, and say why; its officer is told, and what comes of it too."""
    return _document(actor, reporting.pass_on(uow, actor, report_id, command_id=command_id, **body))
