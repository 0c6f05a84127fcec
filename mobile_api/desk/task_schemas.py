"""What the desk takes and gets about tasks and their kinds. The desk audience's own schemas."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from backend.core.vocabulary import (
    AssignmentState,
    OfficerKind,
    Priority,
    TaskSource,
    TaskState,
    Travel,
)
from mobile_api.desk.officers import DeskAreaNameSchema
from mobile_api.fields import Moment, Word, line, names, place, prose, spot
from mobile_api.paging import PageQuerySchema, page_of

OVERDUE = validate.OneOf(["accept", "arrive", "complete"])
CODE = validate.Regexp(r"^[a-z0-9][a-z0-9_]{0,39}\Z")
MOST_OFFICERS = 50


class DeskPersonSchema(Schema):
    """Somebody, by name."""

    id = fields.UUID(required=True)
    display_name = fields.String(required=True)


class DeskTaskKindNameSchema(Schema):
    """A kind of task, by name."""

    id = fields.UUID(required=True)
    code = fields.String(required=True)
    name = names(required=True)


class DeskAssignmentSchema(Schema):
    """One officer's share: the offer he got and what became of it."""

    id = fields.UUID(required=True)
    officer = fields.Nested(DeskPersonSchema, required=True)
    state = Word(AssignmentState, required=True)
    distance_m = fields.Float(allow_none=True, required=True)
    eta_s = fields.Integer(allow_none=True, required=True)
    offered_at = Moment(required=True)
    lapses_at = Moment(allow_none=True, required=True)
    accepted_at = Moment(allow_none=True, required=True)
    departed_at = Moment(allow_none=True, required=True)
    arrived_at = Moment(allow_none=True, required=True)
    ended_at = Moment(allow_none=True, required=True)
    suspended_by = fields.UUID(allow_none=True, required=True)
    reason = fields.String(allow_none=True, required=True)
    actions = fields.List(
        fields.String(), required=True, metadata={"description": "`release` takes an officer off the task."}
    )


class DeskTaskResultSchema(Schema):
    """What came of it."""

    text = fields.String(required=True)
    checklist = fields.Dict(keys=fields.String(), values=fields.Boolean(), required=True)
    answers = fields.Dict(keys=fields.String(), values=fields.Raw(), required=True)
    evidence_ids = fields.List(fields.UUID(), required=True)


class DeskReferralSchema(Schema):
    """Who took a task over at 110, under which number, when and why."""

    case_number = fields.String(required=True)
    taken_by = fields.String(required=True)
    badge = fields.String(allow_none=True, required=True)
    handed_at = fields.String(required=True, metadata={"format": "date-time"})
    reason = fields.String(required=True)
    by_id = fields.UUID(required=True, metadata={"description": "Who wrote it down."})


class DeskTaskSchema(Schema):
    """A task, who is on it, and what the desk may do with it now."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    version = fields.Integer(required=True)
    state = Word(TaskState, required=True)
    kind = fields.Nested(DeskTaskKindNameSchema, required=True)
    priority = Word(Priority, required=True)
    description = fields.String(required=True)
    place = place(required=True)
    place_name = fields.String(allow_none=True, required=True)
    area = fields.Nested(DeskAreaNameSchema, required=True)
    source = Word(TaskSource, required=True)
    source_id = fields.UUID(allow_none=True, required=True)
    needed = fields.Integer(required=True)
    by_crew = fields.Boolean(required=True)
    offers_itself = fields.Boolean(required=True)
    created_by = fields.UUID(allow_none=True, required=True)
    created_at = Moment(required=True)
    accept_due_at = Moment(allow_none=True, required=True)
    arrive_due_at = Moment(allow_none=True, required=True)
    complete_due_at = Moment(allow_none=True, required=True)
    overdue = fields.String(allow_none=True, required=True, validate=OVERDUE)
    offered_at = Moment(allow_none=True, required=True)
    accepted_at = Moment(allow_none=True, required=True)
    filled_at = Moment(allow_none=True, required=True)
    departed_at = Moment(allow_none=True, required=True)
    arrived_at = Moment(allow_none=True, required=True)
    suspended_at = Moment(allow_none=True, required=True)
    resolved_at = Moment(allow_none=True, required=True)
    resolved_by = fields.UUID(allow_none=True, required=True)
    closed_at = Moment(allow_none=True, required=True)
    cancelled_at = Moment(allow_none=True, required=True)
    assignments = fields.List(
        fields.Nested(DeskAssignmentSchema),
        required=True,
        metadata={"description": "In the order of the offers."},
    )
    result = fields.Nested(DeskTaskResultSchema, allow_none=True, required=True)
    referred_at = Moment(allow_none=True, required=True)
    referral = fields.Nested(
        DeskReferralSchema, allow_none=True, required=True,
        metadata={"description": "How it was handed over to the police, if it was."},
    )  # fmt: skip
    actions = fields.List(
        fields.String(),
        required=True,
        metadata={
            "description": "offer, reinforce, reassign, cancel, verify, rework, refer: what is possible now."
        },
    )


class DeskTasksQuerySchema(PageQuerySchema):
    """Which tasks."""

    state = Word(TaskState, load_default=None)
    unfinished = fields.Boolean(
        load_default=False, metadata={"description": "Only what is neither closed nor cancelled."}
    )
    area_id = fields.UUID(load_default=None, metadata={"description": "In this area and below it."})
    overdue = fields.Boolean(load_default=False, metadata={"description": "Only what has missed a time."})
    officer_id = fields.UUID(load_default=None, metadata={"description": "Only what he was offered."})
    source_id = fields.UUID(
        load_default=None, metadata={"description": "Only what came of this alarm, report or patrol."}
    )


class DeskOfferSchema(Schema):
    """To whom: officers by name, or so many of the nearest that are suitable."""

    officer_ids = fields.List(
        fields.UUID(), load_default=None, allow_none=True, validate=validate.Length(1, MOST_OFFICERS)
    )
    nearest = fields.Integer(load_default=None, allow_none=True, validate=validate.Range(1, MOST_OFFICERS))
    busy_too = fields.Boolean(
        load_default=False, metadata={"description": "Of the nearest, also those who do something else."}
    )

    @validates_schema
    def one_of_both(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse both ways at once, and neither."""
        if (data.get("officer_ids") is None) == (data.get("nearest") is None):
            raise ValidationError("Either officers or how many of the nearest.", "officer_ids")


class DeskReinforceSchema(DeskOfferSchema):
    """To whom else. Of a task that is filled, one more is needed, or as many in all as `needed` says."""

    needed = fields.Integer(load_default=None, allow_none=True, validate=validate.Range(1, MOST_OFFICERS))


class DeskReassignSchema(DeskOfferSchema):
    """To whom instead, and why."""

    reason = line(200, least=2, required=True)


class DeskTaskReasonSchema(Schema):
    """Why."""

    reason = line(200, least=2, required=True)


class DeskReferralNewSchema(DeskTaskReasonSchema):
    """Who took it over at 110, under which number, when, and why."""

    case_number = line(
        60, least=2, required=True, metadata={"description": "The number of the police's case."}
    )
    taken_by = line(60, required=True, metadata={"description": "The police officer's name."})
    badge = line(40, load_default=None, allow_none=True, metadata={"description": "His badge's number."})
    handed_at = Moment(required=True)


class DeskReleaseSchema(DeskTaskReasonSchema):
    """Who is taken off the task, and why."""

    officer_id = fields.UUID(required=True)


class DeskTaskNewSchema(Schema):
    """A new task. `id` may be the client's own UUID; what the kind says holds where something is left out."""

    id = fields.UUID(load_default=None, allow_none=True)
    kind_id = fields.UUID(required=True)
    description = prose(2000, required=True)
    place = spot(required=True)
    place_name = line(200, load_default=None, allow_none=True)
    priority = Word(Priority, load_default=None, allow_none=True)
    needed = fields.Integer(load_default=None, allow_none=True, validate=validate.Range(1, MOST_OFFICERS))
    by_crew = fields.Boolean(load_default=False, metadata={"description": "One accept binds the whole crew."})
    offers_itself = fields.Boolean(
        load_default=False, metadata={"description": "What lapses or is declined goes to the next nearest."}
    )
    offer = fields.Nested(DeskOfferSchema, load_default=None, allow_none=True)
    patrol_id = fields.UUID(
        load_default=None,
        allow_none=True,
        metadata={"description": "The patrol on which the need was found."},
    )


class DeskNearestOfficerSchema(Schema):
    """A suitable officer on shift, and how far he is."""

    id = fields.UUID(required=True)
    display_name = fields.String(required=True)
    kind = Word(OfficerKind, allow_none=True, required=True)
    call_sign = fields.String(allow_none=True, required=True)
    travel = Word(Travel, required=True)
    area_id = fields.UUID(required=True, metadata={"description": "The area of his shift."})
    place = place(required=True)
    fixed_at = Moment(required=True)
    distance_m = fields.Float(required=True, metadata={"description": "In a straight line."})
    eta_s = fields.Integer(required=True)
    busy = fields.Boolean(required=True)


class DeskNearestOfficersSchema(Schema):
    """The nearest suitable officers, nearest first; never more than were asked for."""

    items = fields.List(fields.Nested(DeskNearestOfficerSchema), required=True)
    next = fields.String(allow_none=True, required=True)


class DeskNearestToTaskQuerySchema(Schema):
    """How many, and whom."""

    limit = fields.Integer(load_default=10, validate=validate.Range(1, MOST_OFFICERS))
    busy_too = fields.Boolean(load_default=False)


class DeskNearestQuerySchema(DeskNearestToTaskQuerySchema):
    """Near which place, and for what kind of task."""

    lon = fields.Float(required=True, validate=validate.Range(-180, 180))
    lat = fields.Float(required=True, validate=validate.Range(-90, 90))
    kind_id = fields.UUID(load_default=None)
    alarm_id = fields.UUID(
        load_default=None,
        metadata={"description": "For which alarm: the officer whom it is about is left out."},
    )


class DeskTimelineEntrySchema(Schema):
    """One act: who, what, when, where, on which device's clock."""

    at = Moment(required=True)
    device_at = Moment(
        allow_none=True, required=True, metadata={"description": "When it was pressed, by the phone's clock."}
    )
    action = fields.String(required=True)
    about = fields.String(
        required=True, validate=validate.OneOf(["task", "assignment", "report"]),
        metadata={"description": "`assignment`: one officer's share alone changed, not the task."},
    )  # fmt: skip
    from_state = fields.String(allow_none=True, required=True, data_key="from")
    to_state = fields.String(allow_none=True, required=True, data_key="to")
    actor = fields.Nested(
        DeskPersonSchema, allow_none=True, required=True, metadata={"description": "Null: the system."}
    )
    officer = fields.Nested(
        DeskPersonSchema, allow_none=True, required=True, metadata={"description": "Whose share it is about."}
    )
    reason = fields.String(allow_none=True, required=True)
    place = place(allow_none=True, required=True)
    accuracy_m = fields.Float(allow_none=True, required=True)
    data = fields.Dict(allow_none=True, required=True)


DeskTimelineSchema = page_of(DeskTimelineEntrySchema)
"""The page that the timelines of tasks and reports share."""


class DeskTextItemSchema(Schema):
    """Something to tick off, or one answer to choose."""

    id = fields.String(required=True, validate=CODE)
    text = names(required=True, validate=validate.Length(equal=2))


class DeskChecklistItemSchema(DeskTextItemSchema):
    """Something to tick off."""

    required = fields.Boolean(load_default=False)


class DeskQuestionSchema(DeskTextItemSchema):
    """Something to be answered when a task of the kind is resolved."""

    answer = fields.String(required=True, validate=validate.OneOf(["text", "number", "yes_no", "choice"]))
    choices = fields.List(
        fields.Nested(DeskTextItemSchema), load_default=list, validate=validate.Length(max=20)
    )
    required = fields.Boolean(load_default=False)


class DeskTaskKindBodySchema(Schema):
    """What there is to say about a kind of task. Times are seconds from the task's making."""

    name = names(required=True, validate=validate.Length(equal=2))
    priority = Word(Priority, load_default=Priority.NORMAL)
    officer_kinds = fields.List(
        Word(OfficerKind), load_default=list, validate=validate.Length(max=len(OfficerKind)),
        metadata={"description": "Who may do it; empty: everybody."},
    )  # fmt: skip
    skill = fields.String(load_default=None, allow_none=True, validate=CODE)
    needed = fields.Integer(load_default=1, validate=validate.Range(1, MOST_OFFICERS))
    checklist = fields.List(
        fields.Nested(DeskChecklistItemSchema), load_default=list, validate=validate.Length(max=50)
    )
    questions = fields.List(
        fields.Nested(DeskQuestionSchema), load_default=list, validate=validate.Length(max=50)
    )
    wants_evidence = fields.Boolean(load_default=False)
    reportable = fields.Boolean(
        load_default=True, metadata={"description": "Whether officers report such things themselves."}
    )
    offer_s = fields.Integer(
        load_default=90,
        validate=validate.Range(10, 86_400),
        metadata={"description": "How long an offer stands."},
    )
    accept_within_s = fields.Integer(
        load_default=None, allow_none=True, validate=validate.Range(1, 2_592_000)
    )
    arrive_within_s = fields.Integer(
        load_default=None, allow_none=True, validate=validate.Range(1, 2_592_000)
    )
    complete_within_s = fields.Integer(
        load_default=None, allow_none=True, validate=validate.Range(1, 2_592_000)
    )


class DeskTaskKindNewSchema(DeskTaskKindBodySchema):
    """A new kind of task."""

    code = fields.String(required=True, validate=CODE)


class DeskTaskKindSchema(Schema):
    """A kind of task, and what may be done with it."""

    id = fields.UUID(required=True)
    code = fields.String(required=True)
    name = names(required=True)
    priority = Word(Priority, required=True)
    officer_kinds = fields.List(Word(OfficerKind), required=True)
    skill = fields.String(allow_none=True, required=True)
    needed = fields.Integer(required=True)
    checklist = fields.List(fields.Nested(DeskChecklistItemSchema), required=True)
    questions = fields.List(fields.Nested(DeskQuestionSchema), required=True)
    wants_evidence = fields.Boolean(required=True)
    reportable = fields.Boolean(required=True)
    offer_s = fields.Integer(required=True)
    accept_within_s = fields.Integer(allow_none=True, required=True)
    arrive_within_s = fields.Integer(allow_none=True, required=True)
    complete_within_s = fields.Integer(allow_none=True, required=True)
    created_at = Moment(required=True)
    retired_at = Moment(allow_none=True, required=True)
    version = fields.Integer(required=True, metadata={"description": "What a change sends as `If-Match`."})
    actions = fields.List(fields.String(), required=True)


class DeskTaskKindsQuerySchema(PageQuerySchema):
    """Which kinds."""

    retired = fields.Boolean(load_default=False, metadata={"description": "Also those no longer in use."})
