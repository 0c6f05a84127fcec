"""What officers ask about their planned shifts, for a supervisor to decide."""

from typing import Any
from uuid import UUID

from marshmallow import Schema, fields

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, DutyKind, RosterRequestKind, RosterRequestState
from mobile_api.desk.officers import DeskAreaNameSchema
from mobile_api.desk.task_schemas import DeskPersonSchema
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, line
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import access, planned_shifts, roster_requests
from workflows.closed_days import zone_of

blp = Door("roster-requests", Audience.DESK, "/roster-requests", "Swaps and excuses asked for in your areas.")
SEE, DECIDE = ("see", "roster_request"), ("decide", "roster_request")


class DeskAskedShiftSchema(Schema):
    """A planned shift that a request is about."""

    id = fields.UUID(required=True)
    officer = fields.Nested(DeskPersonSchema, required=True)
    area = fields.Nested(DeskAreaNameSchema, required=True)
    kind = Word(DutyKind, required=True)
    begins_at = Moment(required=True)
    ends_at = Moment(required=True)
    day = fields.Date(required=True)
    from_time = fields.Time(format="%H:%M", required=True)
    until_time = fields.Time(format="%H:%M", required=True)


class DeskRosterRequestSchema(Schema):
    """A request, and what may be done with it."""

    id = fields.UUID(required=True)
    kind = Word(RosterRequestKind, required=True)
    state = Word(RosterRequestState, required=True)
    officer = fields.Nested(DeskPersonSchema, required=True, metadata={"description": "Who asks."})
    colleague = fields.Nested(DeskPersonSchema, allow_none=True, required=True)
    planned = fields.Nested(DeskAskedShiftSchema, required=True)
    wanted = fields.Nested(
        DeskAskedShiftSchema, allow_none=True, required=True,
        metadata={"description": "The colleague's shift that he would do in return."},
    )  # fmt: skip
    reason = fields.String(required=True)
    decision = fields.String(
        allow_none=True, required=True, metadata={"description": "What was said to it by who decided."}
    )
    decided_by = fields.Nested(DeskPersonSchema, attribute="decider", allow_none=True, required=True)
    asked_at = Moment(required=True)
    submitted_at = Moment(allow_none=True, required=True)
    ended_at = Moment(allow_none=True, required=True)
    version = fields.Integer(required=True)
    actions = fields.List(fields.String(), required=True)


class DeskRosterRequestsQuerySchema(PageQuerySchema):
    """Which requests."""

    state = Word(RosterRequestState, load_default=None)


class DeskRefusalSchema(Schema):
    """Why it is refused; the officers read it."""

    reason = line(200, least=2, required=True)


def _shift(uow: UnitOfWork, found: Any) -> dict[str, Any] | None:
    if found is None:
        return None
    wall = planned_shifts.wall_of(found.begins_at, found.ends_at, zone_of(uow))
    names = ("id", "officer", "area", "kind", "begins_at", "ends_at")
    return {**{name: getattr(found, name) for name in names}, **vars(wall)}


_PLAIN = [
    name for name in DeskRosterRequestSchema().fields if name not in ("planned", "wanted", "decided_by", "actions")
]  # fmt: skip


def _document(uow: UnitOfWork, actor: Actor, found: Any) -> dict[str, Any]:
    return {
        **{name: getattr(found, name) for name in _PLAIN},
        "planned": _shift(uow, found.planned),
        "wanted": _shift(uow, found.wanted),
        "decider": found.decider,
        "actions": roster_requests.actions(actor, found),
    }


@blp.query(
    "",
    may=SEE,
    answers=page_of(DeskRosterRequestSchema),
    arguments=DeskRosterRequestsQuerySchema,
    refuses=(422,),
)
def list_roster_requests(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List what is asked about shifts in your areas, the newest first."""
    found = roster_requests.at_desk(
        uow, actor, state=query["state"], after=decode_cursor(query.get("cursor")), limit=query["limit"]
    )
    return Page([_document(uow, actor, one) for one in found.items], found.after)


@blp.query("/<uuid:roster_request_id>", may=SEE, answers=DeskRosterRequestSchema)
def get_roster_request(uow: UnitOfWork, actor: Actor, roster_request_id: UUID) -> dict[str, Any]:
    """Return a request about a shift in your areas."""
    return _document(uow, actor, access.roster_request(uow, actor, roster_request_id))


@blp.command("/<uuid:roster_request_id>/approve", may=DECIDE, answers=DeskRosterRequestSchema)
def approve_roster_request(
    uow: UnitOfWork, actor: Actor, roster_request_id: UUID, command_id: UUID
) -> dict[str, Any]:
    """Approve a request; what it asks for is done at once. Nobody approves his own."""
    return _document(
        uow, actor, roster_requests.approve(uow, actor, roster_request_id, command_id=command_id)
    )


@blp.command(
    "/<uuid:roster_request_id>/refuse",
    may=DECIDE,
    body=DeskRefusalSchema,
    answers=DeskRosterRequestSchema,
)
def refuse_roster_request(
    uow: UnitOfWork, actor: Actor, roster_request_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Refuse a request, and say why; the roster stays as it is."""
    return _document(
        uow,
        actor,
        roster_requests.refuse(uow, actor, roster_request_id, reason=body["reason"], command_id=command_id),
    )
