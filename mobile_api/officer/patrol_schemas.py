"""What the officer's app takes and gets about patrols and visits. The officer audience's own schemas."""

from marshmallow import Schema, fields, validate

from backend.core.vocabulary import PatrolState, PointState, Sequence
from geo.datum import DATUMS
from mobile_api.fields import Moment, Word, evidence, line, names, place, prose
from mobile_api.officer.schemas import OfficerAreaSchema
from mobile_api.officer.task_schemas import OfficerQuestionSchema

ANSWERS = ("text", "number", "yes_no", "choice", "photo")
MOST_PHOTOS = 20


class OfficerCheckpointQuestionSchema(OfficerQuestionSchema):
    """Something to be answered at a checkpoint, or to be shown by photos."""

    answer = fields.String(required=True, validate=validate.OneOf(ANSWERS))


class OfficerCheckpointSchema(Schema):
    """A checkpoint, its fence, and what is asked there."""

    id = fields.UUID(required=True)
    code = fields.String(required=True)
    name = names(required=True)
    place = place(required=True)
    radius_m = fields.Float(required=True)
    min_dwell_s = fields.Integer(required=True)
    has_tag = fields.Boolean(required=True, metadata={"description": "Whether there is an NFC tag as well."})
    questions = fields.List(fields.Nested(OfficerCheckpointQuestionSchema), required=True)


class OfficerPatrolPointSchema(Schema):
    """A checkpoint of a patrol, and what became of it."""

    position = fields.Integer(required=True)
    checkpoint = fields.Nested(OfficerCheckpointSchema, required=True)
    state = Word(PointState, required=True)
    visited_at = Moment(allow_none=True, required=True)
    answers = fields.Dict(keys=fields.String(), values=fields.Raw(), allow_none=True, required=True)
    answered_at = Moment(allow_none=True, required=True)
    evidence_ids = fields.List(
        fields.UUID(), required=True, metadata={"description": "The photos of it, of any answer."}
    )
    reason = fields.String(allow_none=True, required=True)
    skipped_at = Moment(allow_none=True, required=True)


class OfficerPatrolRouteSchema(Schema):
    """The route that a patrol goes."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    name = names(required=True)


class OfficerPatrolDeviationSchema(Schema):
    """A time in which one was farther from the route than its corridor, and what one says of it."""

    id = fields.UUID(required=True)
    began_at = Moment(required=True)
    ended_at = Moment(allow_none=True, required=True)
    furthest_m = fields.Float(required=True)
    explanation = fields.String(allow_none=True, required=True)


class OfficerPatrolSchema(Schema):
    """A patrol that one has begun or may begin, with its points in the order in which they are to be visited."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True, metadata={"description": "What people call it over the radio."})
    version = fields.Integer(required=True)
    state = Word(PatrolState, required=True)
    route = fields.Nested(OfficerPatrolRouteSchema, required=True)
    area = fields.Nested(OfficerAreaSchema, required=True)
    sequence = Word(Sequence, required=True)
    allowed_s = fields.Integer(required=True)
    corridor_m = fields.Float(allow_none=True, required=True)
    line = fields.List(
        fields.List(fields.Float(), validate=validate.Length(equal=2)), allow_none=True, required=True,
        metadata={"description": "The way, if it is drawn: lon, lat pairs, WGS-84."},
    )  # fmt: skip
    is_planned = fields.Boolean(required=True)
    scheduled_at = Moment(required=True)
    start_by = Moment(allow_none=True, required=True)
    began_at = Moment(allow_none=True, required=True)
    ended_at = Moment(allow_none=True, required=True)
    late_at = Moment(allow_none=True, required=True)
    overdue_at = Moment(allow_none=True, required=True)
    missed_at = Moment(allow_none=True, required=True)
    reason = fields.String(allow_none=True, required=True)
    explanation = fields.String(allow_none=True, required=True)
    points = fields.List(fields.Nested(OfficerPatrolPointSchema), required=True)
    deviations = fields.List(fields.Nested(OfficerPatrolDeviationSchema), required=True)
    actions = fields.List(
        fields.String(), required=True,
        metadata={"description": "start, pause, resume, finish, end_early, skip, answer, explain: what is possible."},
    )  # fmt: skip


class OfficerRouteSchema(OfficerPatrolRouteSchema):
    """A route that one may go without a plan."""

    area = fields.Nested(OfficerAreaSchema, required=True)
    sequence = Word(Sequence, required=True)
    allowed_s = fields.Integer(required=True)
    line = fields.List(
        fields.List(fields.Float(), validate=validate.Length(equal=2)), allow_none=True, required=True,
        metadata={"description": "The way, if it is drawn: lon, lat pairs, WGS-84."},
    )  # fmt: skip
    points = fields.Integer(required=True, metadata={"description": "How many checkpoints it has."})
    checkpoints = fields.List(
        fields.Nested(OfficerCheckpointSchema), required=True,
        metadata={"description": "In the order of the route, so that one can go it from the first step offline."},
    )  # fmt: skip


class OfficerPatrolActSchema(Schema):
    """When it was pressed, by the phone's clock."""

    device_at = Moment(allow_none=True, load_default=None)


class OfficerPatrolSetOutSchema(OfficerPatrolActSchema):
    """A route to go without a plan; `patrol_id` is made by the phone, so that a round can begin offline."""

    route_id = fields.UUID(required=True)
    patrol_id = fields.UUID(allow_none=True, load_default=None)


class OfficerPatrolReasonSchema(OfficerPatrolActSchema):
    """Why."""

    reason = line(200, least=2, required=True)


class OfficerPatrolAnswersSchema(OfficerPatrolActSchema):
    """What one found. Answers are texts, numbers, true or false, the id of a choice or ids of photos, as is asked."""

    answers = fields.Dict(keys=line(40), values=fields.Raw(), required=True, validate=validate.Length(max=50))
    evidence_ids = evidence("photos of the point beside those that answer a question", MOST_PHOTOS)


class OfficerPatrolExplainSchema(OfficerPatrolActSchema):
    """What one says of a patrol that was late, missed or not whole; with `deviation_id` of one deviation."""

    text = prose(1000, least=2, required=True)
    deviation_id = fields.UUID(allow_none=True, load_default=None)


class OfficerScanPlaceSchema(Schema):
    """Where the phone was when it read the code. The datum is that of the numbers, WGS-84 unless said otherwise."""

    lon = fields.Float(required=True, validate=validate.Range(-180, 180))
    lat = fields.Float(required=True, validate=validate.Range(-90, 90))
    accuracy_m = fields.Float(load_default=None, allow_none=True, validate=validate.Range(0, 1_000_000))
    fixed_at = Moment(load_default=None, allow_none=True)
    mock = fields.Boolean(load_default=False)
    datum = fields.String(load_default="wgs84", validate=validate.OneOf(DATUMS))


class OfficerScanSchema(OfficerPatrolActSchema):
    """A label or a tag that was read. A tag that signs adds what it said: `picc_data` and `cmac`, as in its address."""

    token = fields.String(required=True, validate=validate.Regexp(r"^[0-9A-Za-z_-]{8,64}\Z"))
    picc_data = fields.String(
        load_default=None, allow_none=True, validate=validate.Regexp(r"^[0-9A-Fa-f]{32}\Z")
    )
    cmac = fields.String(load_default=None, allow_none=True, validate=validate.Regexp(r"^[0-9A-Fa-f]{16}\Z"))
    place = fields.Nested(OfficerScanPlaceSchema, load_default=None, allow_none=True)
    device_id = fields.UUID(load_default=None, allow_none=True)


class OfficerVisitPartSchema(Schema):
    """What a visit's proof got points for, or none."""

    code = fields.String(required=True)
    points = fields.Integer(required=True, metadata={"description": "Below zero: taken off for a doubt."})
    of = fields.Integer(required=True)
    value = fields.Raw(
        allow_none=True, required=True, metadata={"description": "The figure or word that it follows from."}
    )


class OfficerVisitSchema(Schema):
    """A visit of one's own, and what its proof is worth."""

    id = fields.UUID(required=True)
    checkpoint_id = fields.UUID(required=True)
    method = fields.String(required=True, validate=validate.OneOf(["dwell", "nfc", "nfc_signed", "qr"]))
    arrived_at = Moment(required=True)
    left_at = Moment(allow_none=True, required=True)
    dwell_s = fields.Integer(required=True)
    proof = fields.Integer(required=True, metadata={"description": "Of 100 points, for what `parts` says."})
    parts = fields.List(fields.Nested(OfficerVisitPartSchema), required=True)
    flags = fields.List(fields.String(), required=True)
    verdict = fields.String(allow_none=True, required=True, validate=validate.OneOf(["genuine", "doubtful"]))
