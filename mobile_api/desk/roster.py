"""The roster at the desk: who is planned when, brought in as a file or typed, and what became of it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from flask import Response, current_app
from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from backend.adapters import spreadsheets
from backend.core.config import Config
from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Attendance, Audience, DutyKind, PlannedShiftState
from mobile_api import limits
from mobile_api.desk.officers import DeskAreaNameSchema
from mobile_api.desk.task_schemas import DeskPersonSchema
from mobile_api.endpoint import Door
from mobile_api.fields import Day, Moment, Word, line
from mobile_api.files import download
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import access, attendance, planned_shifts, plans, roster, roster_import
from workflows.attendance import Bounds
from workflows.planned_shifts import Wall
from workflows.roster_files import Fault
from workflows.roster_import import Outcome

blp = Door("roster", Audience.DESK, "/roster", "The roster of your areas.")
SEE, MANAGE = ("see", "roster"), ("manage", "roster")
FILE = "application/octet-stream"
WALL = "Hour and minute in the wall time of the town."


class DeskPlannedShiftBodySchema(Schema):
    """What there is to say about a planned shift, in the wall time of the town."""

    officer_id = fields.UUID(required=True)
    area_id = fields.UUID(required=True)
    kind = Word(DutyKind, load_default=DutyKind.DAY)
    remark = line(200, load_default=None, allow_none=True)
    day = Day(required=True, metadata={"description": "On which it begins."})
    from_time = fields.Time(format="%H:%M", required=True, metadata={"description": WALL})
    until_time = fields.Time(
        format="%H:%M", required=True,
        metadata={"description": f"{WALL} At or before `from_time` it is the next day's."},
    )  # fmt: skip


class DeskPlannedShiftSchema(Schema):
    """A planned shift, and what may be done with it."""

    id = fields.UUID(required=True)
    state = Word(PlannedShiftState, required=True)
    officer = fields.Nested(DeskPersonSchema, required=True)
    area = fields.Nested(DeskAreaNameSchema, required=True)
    kind = Word(DutyKind, required=True)
    remark = fields.String(allow_none=True, required=True)
    begins_at = Moment(required=True)
    ends_at = Moment(required=True)
    day = fields.Date(required=True)
    from_time = fields.Time(format="%H:%M", required=True)
    until_time = fields.Time(format="%H:%M", required=True)
    reason = fields.String(allow_none=True, required=True, metadata={"description": "Why it was cancelled."})
    version = fields.Integer(required=True, metadata={"description": "What a change sends as `If-Match`."})
    actions = fields.List(fields.String(), required=True)


class DeskRosterSpanSchema(PageQuerySchema):
    """Of which days, areas and officers; at most 62 days."""

    since = Day(required=True, metadata={"description": "The first day, in the town's time zone."})
    until = Day(required=True, metadata={"description": "The last day."})
    area_id = fields.UUID(load_default=None, metadata={"description": "In this area and those below it."})
    officer_id = fields.UUID(load_default=None)


class DeskRosterQuerySchema(DeskRosterSpanSchema):
    """Which planned shifts."""

    cancelled = fields.Boolean(
        load_default=False, metadata={"description": "Also those that were cancelled."}
    )


class DeskRosterReasonSchema(Schema):
    """Why it is cancelled."""

    reason = line(200, least=2, required=True)


class DeskRosterImportQuerySchema(Schema):
    """Whether the file is only tried, or under which digest it was."""

    dry_run = fields.Boolean(
        load_default=False, metadata={"description": "Say what each row would do, and store nothing."}
    )
    digest = fields.String(
        load_default=None, validate=validate.Length(equal=64),
        metadata={"description": "That of the preview; needed without `dry_run`."},
    )  # fmt: skip

    @validates_schema
    def previewed(self, data: dict[str, Any], **_: Any) -> None:
        """Keep nothing that nobody has seen."""
        if not data.get("dry_run") and not data.get("digest"):
            raise ValidationError("What is kept was previewed first.", "digest")


class DeskRosterRowSchema(Schema):
    """What became of a row, or would become of it."""

    row = fields.Integer(required=True, metadata={"description": "Its number in the file; the heading is 1."})
    outcome = Word(Outcome, required=True)
    fault = Word(Fault, allow_none=True, required=True, metadata={"description": "Why it is refused."})
    officer = fields.String(allow_none=True, required=True)
    day = fields.Date(allow_none=True, required=True)
    from_time = fields.Time(format="%H:%M", allow_none=True, required=True)
    until_time = fields.Time(format="%H:%M", allow_none=True, required=True)


class DeskRosterImportSchema(Schema):
    """What a file did, or would do."""

    digest = fields.String(required=True)
    added = fields.Integer(required=True)
    changed = fields.Integer(required=True)
    same = fields.Integer(required=True)
    refused = fields.Integer(required=True)
    rows = fields.List(
        fields.Nested(DeskRosterRowSchema), required=True,
        metadata={"description": "With `dry_run` every row; else those that were refused."},
    )  # fmt: skip


class DeskAttendanceSchema(Schema):
    """A planned shift and what became of it, or a shift that nobody had planned."""

    id = fields.UUID(
        required=True, metadata={"description": "Of the planned shift; of the shift where none was."}
    )
    state = Word(Attendance, required=True)
    officer = fields.Nested(DeskPersonSchema, required=True)
    area = fields.Nested(DeskAreaNameSchema, required=True)
    kind = Word(DutyKind, allow_none=True, required=True)
    begins_at = Moment(allow_none=True, required=True, metadata={"description": "As planned."})
    ends_at = Moment(allow_none=True, required=True)
    came_at = Moment(allow_none=True, required=True)
    left_at = Moment(allow_none=True, required=True, metadata={"description": "Null while he is on duty."})
    late_s = fields.Integer(required=True, metadata={"description": "0 within what the installation bears."})
    left_early_s = fields.Integer(required=True)
    away_s = fields.Integer(
        required=True, metadata={"description": "Off duty between two shifts in this time."}
    )
    shift_ids = fields.List(fields.UUID(), required=True)


def _documents(uow: UnitOfWork, actor: Actor, found: Any) -> list[dict[str, Any]]:
    zone = plans.zone_of(uow)
    names = ("id", "state", "officer", "area", "kind", "remark", "begins_at", "ends_at", "reason", "version")
    return [
        {
            **{name: getattr(one, name) for name in names},
            **vars(planned_shifts.wall_of(one.begins_at, one.ends_at, zone)),
            "actions": roster.actions(actor, one, uow.now),
        }
        for one in found
    ]


def _document(uow: UnitOfWork, actor: Actor, found: Any) -> dict[str, Any]:
    return _documents(uow, actor, [found])[0]


def _wanted(body: dict[str, Any]) -> dict[str, Any]:
    wall = Wall(body["day"], body["from_time"], body["until_time"])
    return {**{name: body[name] for name in ("officer_id", "area_id", "kind", "remark")}, "wall": wall}


@blp.query(
    "", may=SEE, answers=page_of(DeskPlannedShiftSchema), arguments=DeskRosterQuerySchema, refuses=(422,)
)
def list_roster(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List what is planned in your areas on some days, as it begins."""
    found = roster.listed(
        uow,
        actor,
        since=query["since"],
        until=query["until"],
        area_id=query["area_id"],
        officer_id=query["officer_id"],
        cancelled=query["cancelled"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    return Page(_documents(uow, actor, found.items), found.after)


@blp.query("/<uuid:planned_shift_id>", may=SEE, answers=DeskPlannedShiftSchema)
def get_planned_shift(uow: UnitOfWork, actor: Actor, planned_shift_id: UUID) -> dict[str, Any]:
    """Return a planned shift of your areas."""
    return _document(uow, actor, access.planned_shift(uow, actor, planned_shift_id))


@blp.command(
    "",
    may=MANAGE,
    body=DeskPlannedShiftBodySchema,
    answers=DeskPlannedShiftSchema,
    status=201,
    refuses=(409, 422),
)
def create_planned_shift(
    uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Plan a shift of an officer of the area; he is told. One that overlaps another of his is refused."""
    return _document(uow, actor, roster.create(uow, actor, _wanted(body), command_id=command_id))


@blp.command(
    "/<uuid:planned_shift_id>",
    may=MANAGE,
    method="PUT",
    body=DeskPlannedShiftBodySchema,
    answers=DeskPlannedShiftSchema,
    refuses=(409, 422),
    if_match=True,
)
def change_planned_shift(
    uow: UnitOfWork,
    actor: Actor,
    planned_shift_id: UUID,
    command_id: UUID,
    body: dict[str, Any],
    version: int,
) -> dict[str, Any]:
    """Say anew all there is to say about a planned shift; what is asked about it lapses."""
    return _document(
        uow,
        actor,
        roster.change(uow, actor, planned_shift_id, _wanted(body), version=version, command_id=command_id),
    )


@blp.command(
    "/<uuid:planned_shift_id>/cancel",
    may=MANAGE,
    body=DeskRosterReasonSchema,
    answers=DeskPlannedShiftSchema,
)
def cancel_planned_shift(
    uow: UnitOfWork, actor: Actor, planned_shift_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Call a planned shift off, and say why."""
    return _document(
        uow,
        actor,
        roster.cancel(uow, actor, planned_shift_id, reason=body["reason"], command_id=command_id),
    )


@blp.command("/<uuid:planned_shift_id>/excuse", may=MANAGE, answers=DeskPlannedShiftSchema)
def excuse_planned_shift(
    uow: UnitOfWork, actor: Actor, planned_shift_id: UUID, command_id: UUID
) -> dict[str, Any]:
    """Let an officer off a planned shift, as when he has called; nobody excuses himself."""
    return _document(uow, actor, roster.excuse(uow, actor, planned_shift_id, command_id=command_id))


@blp.command(
    "/import",
    may=MANAGE,
    raw=FILE,
    arguments=DeskRosterImportQuerySchema,
    answers=DeskRosterImportSchema,
    limit=limits.HEAVY,
    refuses=(409, 422),
    body_limit=2 * 1024 * 1024,
)
def import_roster(
    uow: UnitOfWork, actor: Actor, command_id: UUID, query: dict[str, Any], body: bytes
) -> dict[str, Any]:
    """Take in a roster (.xlsx, or CSV in UTF-8): first as a preview, then as it was previewed.

    A row adds a shift, changes the one of the officer that it overlaps, or is refused with its reason; refused rows
    stop no others, and nothing is taken out because the file does not name it.
    """
    if query["dry_run"]:
        done = roster_import.preview(uow, actor, body)
    else:
        done = roster_import.keep(uow, actor, body, query["digest"], command_id=command_id)
    shown = [one for one in done.rows if query["dry_run"] or one.outcome is Outcome.REFUSED]
    return {
        "digest": done.digest,
        **{str(outcome): done.count(outcome) for outcome in Outcome},
        "rows": [
            {
                "row": one.row.number,
                "outcome": one.outcome,
                "fault": one.fault,
                "officer": one.officer or one.row.name or one.row.login,
                **(vars(one.row.wall) if one.row.wall else dict.fromkeys(("day", "from_time", "until_time"))),
            }
            for one in shown
        ],
    }


@blp.query("/template", may=MANAGE, media=spreadsheets.MEDIA_TYPE)
def roster_template(uow: UnitOfWork, actor: Actor) -> Response:
    """Return a workbook to fill in, with the officers, areas and words of your areas beside it."""
    return download(roster_import.template(uow, actor), spreadsheets.MEDIA_TYPE, "roster.xlsx")


def _bounds() -> Bounds:
    config: Config = current_app.extensions["xungeng.config"]
    return Bounds(timedelta(minutes=config.roster_late_min), timedelta(minutes=config.roster_early_min))


@blp.query(
    "/attendance",
    may=SEE,
    answers=page_of(DeskAttendanceSchema),
    arguments=DeskRosterSpanSchema,
    refuses=(422,),
)
def list_attendance(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List actual against planned: planned shifts with what became of each, and shifts that nobody had planned."""
    since, until = roster.span(uow, query["since"], query["until"])
    found = attendance.listed(
        uow,
        actor,
        _bounds(),
        since=since,
        until=until,
        area_id=query["area_id"],
        officer_id=query["officer_id"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    return Page([_attendance(row) for row in found.items], found.after)


def _attendance(row: attendance.Row) -> dict[str, Any]:
    whose: Any = row.planned or row.shift
    return {
        **vars(row.kept),
        "id": row.id,
        "officer": whose.officer,
        "area": whose.area,
        "kind": row.planned.kind if row.planned else None,
        "begins_at": row.planned.begins_at if row.planned else None,
        "ends_at": row.planned.ends_at if row.planned else None,
    }
