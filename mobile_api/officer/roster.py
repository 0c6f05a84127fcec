"""The officer's roster: when he is planned, and what he asks about it or is asked."""

from typing import Any
from uuid import UUID

from marshmallow import Schema, fields

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import (
    Audience,
    DutyKind,
    PlannedShiftState,
    RosterRequestKind,
    RosterRequestState,
)
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, line
from mobile_api.officer.schemas import OfficerAreaSchema, OfficerCrewMemberSchema
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import planned_shifts, plans, roster, roster_requests

blp = Door("roster", Audience.OFFICER, "", "The officer's roster.")
USE = ("use", "officer_client")


class OfficerPlannedShiftSchema(Schema):
    """A planned shift."""

    id = fields.UUID(required=True)
    state = Word(PlannedShiftState, required=True)
    area = fields.Nested(OfficerAreaSchema, required=True)
    kind = Word(DutyKind, required=True)
    begins_at = Moment(required=True)
    ends_at = Moment(required=True)
    day = fields.Date(required=True)
    from_time = fields.Time(format="%H:%M", required=True)
    until_time = fields.Time(format="%H:%M", required=True)
    actions = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "What one may ask about it: `swap`, `excuse`."},
    )


class OfficerOwnPlannedShiftSchema(OfficerPlannedShiftSchema):
    """A planned shift of the officer's own, with what the desk says of it."""

    remark = fields.String(allow_none=True, required=True)
    reason = fields.String(allow_none=True, required=True, metadata={"description": "Why it was cancelled."})


class OfficerRosterQuerySchema(PageQuerySchema):
    """What is to come, or what was."""

    past = fields.Boolean(load_default=False)


class OfficerAskSchema(Schema):
    """What is asked about a planned shift. `id` may be the client's own UUID."""

    id = fields.UUID(allow_none=True, load_default=None)
    kind = Word(RosterRequestKind, required=True)
    planned_id = fields.UUID(required=True)
    colleague_id = fields.UUID(
        allow_none=True, load_default=None, metadata={"description": "With a swap: who would do it."}
    )
    wanted_id = fields.UUID(
        allow_none=True, load_default=None,
        metadata={"description": "With a swap: the colleague's shift that one would do in return."},
    )  # fmt: skip
    reason = line(200, least=2, required=True)


class OfficerAnswerSchema(Schema):
    """Why one would not; it need not be said."""

    reason = line(200, allow_none=True, load_default=None)


class OfficerRosterRequestSchema(Schema):
    """A request of one's own, or one to oneself."""

    id = fields.UUID(required=True)
    kind = Word(RosterRequestKind, required=True)
    state = Word(RosterRequestState, required=True)
    is_mine = fields.Boolean(required=True, metadata={"description": "Asked by oneself, and not of oneself."})
    officer = fields.Nested(OfficerCrewMemberSchema, required=True, metadata={"description": "Who asks."})
    colleague = fields.Nested(OfficerCrewMemberSchema, allow_none=True, required=True)
    planned = fields.Nested(OfficerPlannedShiftSchema, required=True)
    wanted = fields.Nested(OfficerPlannedShiftSchema, allow_none=True, required=True)
    reason = fields.String(required=True)
    decision = fields.String(allow_none=True, required=True)
    asked_at = Moment(required=True)
    submitted_at = Moment(allow_none=True, required=True)
    ended_at = Moment(allow_none=True, required=True)
    version = fields.Integer(required=True)
    actions = fields.List(fields.String(), required=True)


_SHIFT = ("id", "state", "area", "kind", "begins_at", "ends_at", "remark", "reason")


def _shifts(uow: UnitOfWork, actor: Actor, found: Any) -> list[dict[str, Any]]:
    zone, able = plans.zone_of(uow), roster_requests.askable(uow, actor, found)
    return [
        {
            **{name: getattr(one, name) for name in _SHIFT},
            **vars(planned_shifts.wall_of(one.begins_at, one.ends_at, zone)),
            "actions": able[one.id],
        }
        for one in found
    ]


_SKIPPED = ("is_mine", "planned", "wanted", "actions")
_PLAIN = [name for name in OfficerRosterRequestSchema().fields if name not in _SKIPPED]


def _document(uow: UnitOfWork, actor: Actor, found: Any) -> dict[str, Any]:
    [planned] = _shifts(uow, actor, [found.planned])
    return {
        **{name: getattr(found, name) for name in _PLAIN},
        "is_mine": found.officer_id == actor.user_id,
        "planned": planned,
        "wanted": next(iter(_shifts(uow, actor, [found.wanted] if found.wanted else [])), None),
        "actions": roster_requests.actions(actor, found),
    }


@blp.query(
    "/roster", may=USE, answers=page_of(OfficerOwnPlannedShiftSchema), arguments=OfficerRosterQuerySchema
)
def own_roster(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List one's own planned shifts: those to come, the next first, or those that are over, the last first."""
    found = roster.own(
        uow, actor, past=query["past"], after=decode_cursor(query.get("cursor")), limit=query["limit"]
    )
    return Page(_shifts(uow, actor, found.items), found.after)


@blp.query(
    "/colleagues/<uuid:colleague_id>/roster",
    may=USE,
    answers=page_of(OfficerPlannedShiftSchema),
    arguments=PageQuerySchema,
)
def colleague_roster(
    uow: UnitOfWork, actor: Actor, colleague_id: UUID, query: dict[str, Any]
) -> Page[dict[str, Any]]:
    """List a colleague's planned shifts to come in one's own areas, to swap with."""
    found = roster.of_colleague(
        uow, actor, colleague_id, after=decode_cursor(query.get("cursor")), limit=query["limit"]
    )
    return Page(_shifts(uow, actor, found.items), found.after)


@blp.query(
    "/roster-requests", may=USE, answers=page_of(OfficerRosterRequestSchema), arguments=PageQuerySchema
)
def own_roster_requests(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List what one has asked and what one was asked, the newest first."""
    found = roster_requests.own(uow, actor, after=decode_cursor(query.get("cursor")), limit=query["limit"])
    return Page([_document(uow, actor, one) for one in found.items], found.after)


@blp.command(
    "/roster-requests",
    may=USE,
    body=OfficerAskSchema,
    answers=OfficerRosterRequestSchema,
    status=201,
    refuses=(404, 409, 422),
)
def ask(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Ask for a swap, which the colleague answers first, or to be excused; a supervisor decides."""
    made = roster_requests.ask(
        uow,
        actor,
        command_id=command_id,
        kind=body["kind"],
        planned_id=body["planned_id"],
        reason=body["reason"],
        colleague_id=body["colleague_id"],
        wanted_id=body["wanted_id"],
        request_id=body["id"],
    )
    return _document(uow, actor, made)


@blp.command("/roster-requests/<uuid:roster_request_id>/agree", may=USE, answers=OfficerRosterRequestSchema)
def agree(uow: UnitOfWork, actor: Actor, roster_request_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Agree to a colleague's swap; a supervisor decides then."""
    return _document(uow, actor, roster_requests.agree(uow, actor, roster_request_id, command_id=command_id))


@blp.command(
    "/roster-requests/<uuid:roster_request_id>/decline",
    may=USE,
    body=OfficerAnswerSchema,
    answers=OfficerRosterRequestSchema,
)
def decline(
    uow: UnitOfWork, actor: Actor, roster_request_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Decline a colleague's swap."""
    done = roster_requests.decline(
        uow, actor, roster_request_id, reason=body["reason"], command_id=command_id
    )
    return _document(uow, actor, done)


@blp.command(
    "/roster-requests/<uuid:roster_request_id>/withdraw", may=USE, answers=OfficerRosterRequestSchema
)
def withdraw(uow: UnitOfWork, actor: Actor, roster_request_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Ask no more for what nobody has decided."""
    done = roster_requests.withdraw(uow, actor, roster_request_id, command_id=command_id)
    return _document(uow, actor, done)
