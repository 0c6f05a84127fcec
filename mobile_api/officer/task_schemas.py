"""What the officer's app takes and gets about tasks. The officer audience's own schemas."""

from marshmallow import Schema, fields, validate

from backend.core.vocabulary import AssignmentState, Priority, TaskState
from mobile_api.fields import Moment, Word, evidence, line, names, place, prose
from mobile_api.officer.schemas import OfficerAreaSchema
from mobile_api.paging import PageQuerySchema


class OfficerChecklistItemSchema(Schema):
    """Something to tick off."""

    id = fields.String(required=True)
    text = names(required=True)
    required = fields.Boolean(required=True)


class OfficerChoiceSchema(Schema):
    """One answer to choose."""

    id = fields.String(required=True)
    text = names(required=True)


class OfficerQuestionSchema(Schema):
    """Something to be answered when the task is resolved."""

    id = fields.String(required=True)
    text = names(required=True)
    answer = fields.String(required=True, validate=validate.OneOf(["text", "number", "yes_no", "choice"]))
    choices = fields.List(fields.Nested(OfficerChoiceSchema), required=True)
    required = fields.Boolean(required=True)


class OfficerTaskKindSchema(Schema):
    """What officers may be told to do, and what is asked of them."""

    id = fields.UUID(required=True)
    code = fields.String(required=True)
    name = names(required=True)
    priority = Word(Priority, required=True)
    checklist = fields.List(fields.Nested(OfficerChecklistItemSchema), required=True)
    questions = fields.List(fields.Nested(OfficerQuestionSchema), required=True)
    wants_evidence = fields.Boolean(required=True)
    reportable = fields.Boolean(
        required=True, metadata={"description": "Whether one may report such a thing oneself."}
    )


class OfficerTaskMateSchema(Schema):
    """Somebody else who has accepted the task."""

    id = fields.UUID(required=True)
    display_name = fields.String(required=True)
    state = Word(AssignmentState, required=True)


class OfficerTaskResultSchema(Schema):
    """What came of it."""

    text = fields.String(required=True)
    checklist = fields.Dict(keys=fields.String(), values=fields.Boolean(), required=True)
    answers = fields.Dict(keys=fields.String(), values=fields.Raw(), required=True)
    evidence_ids = fields.List(fields.UUID(), required=True)


class OfficerTaskSchema(Schema):
    """A task that one was offered or has accepted, and what one may do with it now."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True, metadata={"description": "What people call it over the radio."})
    version = fields.Integer(required=True)
    state = Word(TaskState, required=True)
    my_state = Word(
        AssignmentState, required=True, metadata={"description": "One's own share; draw from this."}
    )
    kind = fields.Nested(OfficerTaskKindSchema, required=True)
    priority = Word(Priority, required=True)
    description = fields.String(required=True)
    place = place(
        required=True,
        allow_none=True,
        description="None once it has moved after one's own share had ended: an SOS that goes on without one.",
    )
    place_name = fields.String(allow_none=True, required=True)
    area = fields.Nested(OfficerAreaSchema, required=True)
    needed = fields.Integer(required=True)
    accepted = fields.Integer(
        required=True, metadata={"description": "How many have accepted and still do it."}
    )
    mates = fields.List(fields.Nested(OfficerTaskMateSchema), required=True)
    by_crew = fields.Boolean(required=True, metadata={"description": "One's accept binds the whole crew."})
    created_at = Moment(required=True)
    offered_at = Moment(required=True)
    lapses_at = Moment(allow_none=True, required=True)
    accepted_at = Moment(allow_none=True, required=True)
    departed_at = Moment(allow_none=True, required=True)
    arrived_at = Moment(allow_none=True, required=True)
    ended_at = Moment(allow_none=True, required=True, metadata={"description": "When one's own share ended."})
    accept_due_at = Moment(allow_none=True, required=True)
    arrive_due_at = Moment(allow_none=True, required=True)
    complete_due_at = Moment(allow_none=True, required=True)
    overdue = fields.String(
        allow_none=True, required=True, validate=validate.OneOf(["accept", "arrive", "complete"])
    )
    distance_m = fields.Float(
        allow_none=True, required=True, metadata={"description": "In a straight line, when it was offered."}
    )
    eta_s = fields.Integer(allow_none=True, required=True)
    suggests = fields.String(
        allow_none=True, required=True, validate=validate.OneOf(["arrive"]),
        metadata={"description": "An action that seems due, by one's last fix; the officer confirms it."},
    )  # fmt: skip
    suspended_by = fields.UUID(
        allow_none=True, required=True, metadata={"description": "The SOS task that goes before this one."}
    )
    reason = fields.String(
        allow_none=True, required=True, metadata={"description": "Why one's share ended or was given back."}
    )
    result = fields.Nested(OfficerTaskResultSchema, allow_none=True, required=True)
    actions = fields.List(
        fields.String(),
        required=True,
        metadata={
            "description": "accept, decline, depart, arrive, resolve, hand_back: what is possible now."
        },
    )


class OfficerTasksQuerySchema(PageQuerySchema):
    """Which tasks: those offered and under way, or those that are over for oneself."""

    past = fields.Boolean(load_default=False)


class OfficerTaskActSchema(Schema):
    """When it was pressed, by the phone's clock."""

    device_at = Moment(allow_none=True, load_default=None)


class OfficerTaskReasonSchema(OfficerTaskActSchema):
    """Why."""

    reason = line(200, least=2, required=True)


class OfficerTaskResolveSchema(OfficerTaskActSchema):
    """What came of it. Answers are texts, numbers, true or false, or the id of a choice, as the question asks."""

    text = prose(2000, required=True)
    checklist = fields.Dict(
        keys=line(40), values=fields.Boolean(), load_default=dict, validate=validate.Length(max=50)
    )
    answers = fields.Dict(
        keys=line(40), values=fields.Raw(), load_default=dict, validate=validate.Length(max=50)
    )
    evidence_ids = evidence("photos", 50)
