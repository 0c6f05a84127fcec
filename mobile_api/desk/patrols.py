"""Patrols and visits at the desk: the day's rounds, what became of each point, and doubtful visits to look at."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, PatrolState, PointState, Verdict
from backend.core.vocabulary import Sequence as Order
from mobile_api.desk.officers import DeskAreaNameSchema
from mobile_api.desk.task_schemas import DeskPersonSchema, DeskTaskReasonSchema
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, line, names, place
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import coverage, patrol_looks, patrols, reviews, visits

blp = Door("patrols", Audience.DESK, "", "Patrols and visits in your areas.")
SEE, MANAGE = ("see", "patrol"), ("manage", "patrol")
SEE_VISIT, REVIEW = ("see", "visit"), ("review", "visit")
LONGEST_SPAN = timedelta(days=35)


class DeskPatrolRouteSchema(Schema):
    """The route that a patrol goes."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    name = names(required=True)


class DeskPatrolPlanSchema(Schema):
    """The plan that a patrol was made of."""

    id = fields.UUID(required=True)
    name = names(required=True)


class DeskPatrolCheckpointSchema(Schema):
    """A checkpoint on a patrol."""

    id = fields.UUID(required=True)
    code = fields.String(required=True)
    name = names(required=True)
    place = place(required=True)


class DeskPatrolVisitSchema(Schema):
    """The visit that counts for a point, and what its proof is worth."""

    id = fields.UUID(required=True)
    method = fields.String(required=True, validate=validate.OneOf(["dwell", "nfc", "nfc_signed", "qr"]))
    arrived_at = Moment(required=True)
    left_at = Moment(allow_none=True, required=True)
    dwell_s = fields.Integer(required=True)
    proof = fields.Integer(required=True, metadata={"description": "Of 100 points."})
    flags = fields.List(fields.String(), required=True)
    verdict = Word(Verdict, allow_none=True, required=True)


class DeskPatrolPointSchema(Schema):
    """What became of a checkpoint."""

    position = fields.Integer(required=True)
    checkpoint = fields.Nested(DeskPatrolCheckpointSchema, required=True)
    state = Word(PointState, required=True)
    visit_id = fields.UUID(allow_none=True, required=True)
    visited_at = Moment(allow_none=True, required=True)
    visit = fields.Nested(DeskPatrolVisitSchema, allow_none=True, required=True)
    answers = fields.Dict(keys=fields.String(), values=fields.Raw(), allow_none=True, required=True)
    answered_at = Moment(allow_none=True, required=True)
    evidence_ids = fields.List(
        fields.UUID(),
        required=True,
        metadata={"description": "The photos of it; see its patrol's `evidence`."},
    )
    reason = fields.String(allow_none=True, required=True)
    skipped_at = Moment(allow_none=True, required=True)


class DeskPatrolDeviationSchema(Schema):
    """A time in which the officer was farther from the route than its corridor, and what he says of it."""

    id = fields.UUID(required=True)
    began_at = Moment(required=True)
    ended_at = Moment(allow_none=True, required=True)
    furthest_m = fields.Float(required=True)
    explanation = fields.String(allow_none=True, required=True)
    explained_at = Moment(allow_none=True, required=True)


class DeskPatrolSchema(Schema):
    """A patrol, and what the desk may do with it now."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    version = fields.Integer(required=True)
    state = Word(PatrolState, required=True)
    route = fields.Nested(DeskPatrolRouteSchema, required=True)
    plan = fields.Nested(DeskPatrolPlanSchema, allow_none=True, required=True)
    area = fields.Nested(DeskAreaNameSchema, required=True)
    sequence = Word(Order, required=True)
    allowed_s = fields.Integer(required=True)
    corridor_m = fields.Float(allow_none=True, required=True)
    officer = fields.Nested(DeskPersonSchema, allow_none=True, required=True)
    officer_ids = fields.List(
        fields.UUID(),
        required=True,
        metadata={"description": "Who may begin it; empty: every officer of its area."},
    )
    scheduled_at = Moment(required=True)
    start_by = Moment(allow_none=True, required=True)
    began_at = Moment(
        allow_none=True, required=True, metadata={"description": "By the officer's clock, as is `ended_at`."}
    )
    ended_at = Moment(allow_none=True, required=True)
    started_at = Moment(
        allow_none=True,
        required=True,
        metadata={"description": "When the server heard of it, as `finished_at`."},
    )
    finished_at = Moment(allow_none=True, required=True)
    late_at = Moment(allow_none=True, required=True)
    overdue_at = Moment(allow_none=True, required=True)
    missed_at = Moment(allow_none=True, required=True)
    cancelled_at = Moment(allow_none=True, required=True)
    reason = fields.String(allow_none=True, required=True)
    explanation = fields.String(allow_none=True, required=True)
    explained_at = Moment(allow_none=True, required=True)
    points = fields.List(fields.Nested(DeskPatrolPointSchema), required=True)
    deviations = fields.List(fields.Nested(DeskPatrolDeviationSchema), required=True)
    in_order = fields.Boolean(
        allow_none=True, required=True,
        metadata={"description": "Whether the points were visited in their order; null where any order is as good."},
    )  # fmt: skip
    actions = fields.List(fields.String(), required=True)


class DeskSpanQuerySchema(PageQuerySchema):
    """A span of time, at most 35 days."""

    since = Moment(required=True)
    until = Moment(required=True)

    @validates_schema(skip_on_field_errors=True)
    def _is_a_span(self, data: dict[str, datetime], **_: Any) -> None:
        if not timedelta(0) < data["until"] - data["since"] <= LONGEST_SPAN:
            raise ValidationError("After `since`, and at most 35 days after it.", "until")


class DeskPatrolsQuerySchema(DeskSpanQuerySchema):
    """Which patrols: those scheduled in a span."""

    state = Word(PatrolState, load_default=None)
    area_id = fields.UUID(load_default=None, metadata={"description": "In this area and below it."})


class DeskVisitPartSchema(Schema):
    """What a visit's proof got points for, or none."""

    code = fields.String(required=True)
    points = fields.Integer(required=True, metadata={"description": "Below zero: taken off for a doubt."})
    of = fields.Integer(required=True)
    value = fields.Raw(
        allow_none=True, required=True, metadata={"description": "The figure or word that it follows from."}
    )


class DeskVisitSchema(Schema):
    """A presence at a checkpoint, with its proof."""

    id = fields.UUID(required=True)
    version = fields.Integer(required=True)
    checkpoint = fields.Nested(DeskPatrolCheckpointSchema, required=True)
    officer = fields.Nested(DeskPersonSchema, required=True)
    method = fields.String(required=True, validate=validate.OneOf(["dwell", "nfc", "nfc_signed", "qr"]))
    arrived_at = Moment(required=True)
    left_at = Moment(allow_none=True, required=True)
    dwell_s = fields.Integer(required=True)
    proof = fields.Integer(required=True, metadata={"description": "Of 100 points, for what `parts` says."})
    parts = fields.List(fields.Nested(DeskVisitPartSchema), required=True)
    facts = fields.Dict(required=True, metadata={"description": "What the proof was judged by."})
    flags = fields.List(fields.String(), required=True)
    verdict = Word(Verdict, allow_none=True, required=True)
    review_note = fields.String(allow_none=True, required=True)
    reviewed_at = Moment(allow_none=True, required=True)
    actions = fields.List(fields.String(), required=True)


class DeskVisitsQuerySchema(DeskSpanQuerySchema):
    """Which visits: those that began in a span."""

    checkpoint_id = fields.UUID(load_default=None)
    flagged = fields.Boolean(
        load_default=False, metadata={"description": "Only those that wait for somebody to look at them."}
    )


class DeskVisitReviewSchema(Schema):
    """What was found, and why. A doubtful visit does not count for its patrol any more, and stays."""

    verdict = Word(Verdict, required=True)
    note = line(200, least=2, required=True)


class DeskCoverageSchema(Schema):
    """How often somebody was at a checkpoint in a span, and when last."""

    checkpoint = fields.Nested(DeskPatrolCheckpointSchema, required=True)
    visits = fields.Integer(required=True)
    last_visited_at = Moment(
        allow_none=True, required=True, metadata={"description": "In the span; null: nobody was there."}
    )


_PLAIN = [name for name in DeskPatrolSchema().fields if name not in ("points", "in_order", "actions")]


def _checkpoint(checkpoint: Any) -> dict[str, Any]:
    return {
        "id": checkpoint.id, "code": checkpoint.code, "name": checkpoint.name,
        "place": patrol_looks.place_of(checkpoint),
    }  # fmt: skip


def _documents(uow: UnitOfWork, actor: Actor, found: Sequence[Any]) -> list[dict[str, Any]]:
    counted = patrol_looks.visits_of(uow, found)
    return [_document(actor, patrol, counted) for patrol in found]


def _document(actor: Actor, patrol: Any, counted: Mapping[UUID, Any]) -> dict[str, Any]:
    put_together = ("checkpoint", "state", "visit", "evidence_ids")
    plain = [name for name in DeskPatrolPointSchema().fields if name not in put_together]
    return {
        **{name: getattr(patrol, name) for name in _PLAIN},
        "points": [
            {
                **{name: getattr(point, name) for name in plain},
                "state": visits.state_of(point),
                "visit": counted.get(point.visit_id),
                "evidence_ids": patrol_looks.photos_at(patrol, point),
                "checkpoint": _checkpoint(point.checkpoint),
            }
            for point in patrol.points
        ],
        "in_order": patrol_looks.in_order(patrol),
        "actions": patrols.desk_actions(actor, patrol),
    }


def _visit_documents(uow: UnitOfWork, actor: Actor, found: Any) -> list[dict[str, Any]]:
    plain = [name for name in DeskVisitSchema().fields if name not in ("checkpoint", "officer", "actions")]
    checkpoints, people = visits.named(uow, found)
    return [
        {
            **{name: getattr(visit, name) for name in plain},
            "checkpoint": _checkpoint(checkpoints[visit.checkpoint_id]),
            "officer": people[visit.officer_id],
            "actions": visits.actions(actor, visit),
        }
        for visit in found
    ]


@blp.query(
    "/patrols", may=SEE, answers=page_of(DeskPatrolSchema), arguments=DeskPatrolsQuerySchema, refuses=(422,)
)
def list_patrols(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the patrols in your areas that are scheduled in a span, the latest first."""
    cursor = decode_cursor(query.pop("cursor", None))
    found = patrol_looks.at_desk(uow, actor, after=cursor, **query)
    return Page(_documents(uow, actor, found.items), found.after)


@blp.query("/patrols/<uuid:patrol_id>", may=SEE, answers=DeskPatrolSchema)
def get_patrol(uow: UnitOfWork, actor: Actor, patrol_id: UUID) -> dict[str, Any]:
    """Return a patrol in your areas."""
    return _documents(uow, actor, [patrol_looks.one(uow, actor, patrol_id)])[0]


@blp.command(
    "/patrols/<uuid:patrol_id>/cancel", may=MANAGE, body=DeskTaskReasonSchema, answers=DeskPatrolSchema
)
def cancel_patrol(
    uow: UnitOfWork, actor: Actor, patrol_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Call a patrol off that nobody has begun."""
    return _documents(uow, actor, [patrols.cancel(uow, actor, patrol_id, command_id=command_id, **body)])[0]


@blp.query(
    "/visits",
    may=SEE_VISIT,
    answers=page_of(DeskVisitSchema),
    arguments=DeskVisitsQuerySchema,
    refuses=(422,),
)
def list_visits(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the visits in your areas that began in a span, newest first."""
    cursor = decode_cursor(query.pop("cursor", None))
    found = visits.at_desk(uow, actor, after=cursor, **query)
    return Page(_visit_documents(uow, actor, found.items), found.after)


@blp.command(
    "/visits/<uuid:visit_id>/review", may=REVIEW, body=DeskVisitReviewSchema, answers=DeskVisitSchema
)
def review_visit(
    uow: UnitOfWork, actor: Actor, visit_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Say of a flagged visit whether it is genuine, and why."""
    return _visit_documents(
        uow, actor, [reviews.review(uow, actor, visit_id, command_id=command_id, **body)]
    )[0]


@blp.query(
    "/coverage",
    may=SEE_VISIT,
    answers=page_of(DeskCoverageSchema),
    arguments=DeskSpanQuerySchema,
    refuses=(422,),
)
def list_coverage(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the checkpoints in use in your areas by code: how often somebody was there in a span, and when last."""
    cursor = decode_cursor(query.pop("cursor", None))
    found = coverage.of_checkpoints(uow, actor, after=cursor, **query)
    return Page(
        [
            {
                "checkpoint": _checkpoint(one.checkpoint),
                "visits": one.visits,
                "last_visited_at": one.last_visited_at,
            }
            for one in found.items
        ],
        found.after,
    )
