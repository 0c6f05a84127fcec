"""What an officer finds himself: filed in three taps, also offline, and what became of it."""

from typing import Any
from uuid import UUID

from flask import current_app
from marshmallow import Schema, fields, validate

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, ReportOutcome, ReportState, TaskState
from geo.datum import DATUMS
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, evidence, names, place, prose
from mobile_api.officer.schemas import OfficerAreaSchema
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import alarms, reporting, reports

blp = Door("reports", Audience.OFFICER, "/reports", "What the officer found and reported.")
FILE = ("file", "report")
MOST_PHOTOS = 20


class OfficerReportPlaceSchema(Schema):
    """Where it is. The datum is that of the numbers, WGS-84 unless said otherwise."""

    lon = fields.Float(required=True, validate=validate.Range(-180, 180))
    lat = fields.Float(required=True, validate=validate.Range(-90, 90))
    accuracy_m = fields.Float(load_default=None, allow_none=True, validate=validate.Range(0, 1_000_000))
    fixed_at = Moment(load_default=None, allow_none=True)
    datum = fields.String(load_default="wgs84", validate=validate.OneOf(DATUMS))


class OfficerReportNewSchema(Schema):
    """What was found, where, and whether it is done with. Without a place, where the phone was at `device_at`."""

    kind_id = fields.UUID(
        required=True, metadata={"description": "A kind of task that may be reported (`reportable`)."}
    )
    how = fields.String(
        required=True, validate=validate.OneOf(["handled", "passed_on"]),
        metadata={"description": "`handled` on the spot, or `passed_on` to the desk, which makes it a task."},
    )  # fmt: skip
    place = fields.Nested(OfficerReportPlaceSchema, load_default=None, allow_none=True)
    note = prose(2000, load_default=None, allow_none=True)
    evidence_before = evidence("photos from before", MOST_PHOTOS)
    evidence_after = evidence("photos from after", MOST_PHOTOS)
    device_at = Moment(
        load_default=None,
        allow_none=True,
        metadata={"description": "When it was pressed, by the phone's clock."},
    )


class OfficerTaskKindNameSchema(Schema):
    """Of what kind it is."""

    id = fields.UUID(required=True)
    code = fields.String(required=True)
    name = names(required=True)


class OfficerReportTaskSchema(Schema):
    """The task that it became."""

    number = fields.Integer(required=True)
    state = Word(TaskState, required=True)


class OfficerReportSchema(Schema):
    """One's report, and where it stands."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True, metadata={"description": "What people call it over the radio."})
    version = fields.Integer(required=True)
    state = Word(ReportState, required=True)
    kind = fields.Nested(OfficerTaskKindNameSchema, required=True)
    area = fields.Nested(OfficerAreaSchema, required=True)
    place = place(required=True)
    note = fields.String(allow_none=True, required=True)
    evidence_before = fields.List(fields.UUID(), required=True)
    evidence_after = fields.List(fields.UUID(), required=True)
    filed_at = Moment(required=True)
    device_at = Moment(allow_none=True, required=True)
    passed_on_at = Moment(allow_none=True, required=True)
    answered_at = Moment(allow_none=True, required=True)
    outcome = Word(
        ReportOutcome, allow_none=True, required=True,
        metadata={"description": "What became of what was passed on."},
    )  # fmt: skip
    answer = fields.String(
        allow_none=True, required=True, metadata={"description": "What was found when the task was done."}
    )
    task = fields.Nested(OfficerReportTaskSchema, allow_none=True, required=True)
    actions = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "What one may do with it now: nothing as yet."},
    )


_PLAIN = [
    name for name in OfficerReportSchema().fields if name not in ("place", "answer", "task", "actions")
]  # fmt: skip


def _document(actor: Actor, report: Any) -> dict[str, Any]:
    task = report.task
    handled = report.outcome == ReportOutcome.HANDLED and task is not None and task.result
    return {
        **{name: getattr(report, name) for name in _PLAIN},
        "place": reports.place_of(report),
        "answer": task.result["text"] if handled else None,
        "task": task,
        "actions": reports.actions(actor, report),
    }


@blp.command(
    "", may=FILE, body=OfficerReportNewSchema, answers=OfficerReportSchema, status=201, refuses=(422,)
)
def file_report(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """File what you found: handled on the spot, or passed on to become a task, of whose result you are told."""
    told = alarms.told_place(body.pop("place"))
    percent = current_app.extensions["xungeng.config"].report_sample_percent
    return _document(
        actor, reporting.file(uow, actor, command_id=command_id, sample_percent=percent, place=told, **body)
    )


@blp.query("", may=FILE, answers=page_of(OfficerReportSchema), arguments=PageQuerySchema, refuses=(422,))
def list_reports(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List your own reports, newest first."""
    found = reports.own(uow, actor, after=decode_cursor(query.get("cursor")), limit=query["limit"])
    return Page([_document(actor, report) for report in found.items], found.after)
