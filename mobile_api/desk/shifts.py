"""Shifts as the desk sees them."""

from typing import Any
from uuid import UUID

from marshmallow import Schema, fields

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, EndedBy, OfficerKind, ShiftState, Travel
from mobile_api.desk.officers import DeskAreaNameSchema
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, line
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import access, officers, shifts
from workflows.shifts import SHIFT

blp = Door("shifts", Audience.DESK, "/shifts", "Shifts in your areas.")


class DeskShiftOfficerSchema(Schema):
    """Whose shift it is."""

    id = fields.UUID(required=True)
    display_name = fields.String(required=True)
    kind = Word(OfficerKind, allow_none=True, required=True)


class DeskCrewMemberSchema(Schema):
    """Somebody of the crew."""

    id = fields.UUID(required=True)
    display_name = fields.String(required=True)


class DeskCrewSchema(Schema):
    """Officers who go together."""

    id = fields.UUID(required=True)
    call_sign = fields.String(required=True)
    travel = Word(Travel, required=True)
    leader_id = fields.UUID(required=True)
    members = fields.List(fields.Nested(DeskCrewMemberSchema), required=True)


class DeskShiftSchema(Schema):
    """A shift, and what the desk may do with it now."""

    id = fields.UUID(required=True)
    state = Word(ShiftState, required=True)
    officer = fields.Nested(DeskShiftOfficerSchema, required=True)
    area = fields.Nested(DeskAreaNameSchema, required=True)
    call_sign = fields.String(allow_none=True, required=True)
    crew = fields.Nested(DeskCrewSchema, allow_none=True, required=True)
    started_at = Moment(required=True)
    planned_end_at = Moment(allow_none=True, required=True)
    closes_at = Moment(required=True)
    ended_at = Moment(allow_none=True, required=True)
    ended_by = Word(EndedBy, allow_none=True, required=True)
    actions = fields.List(fields.String(), required=True)


class DeskShiftsQuerySchema(PageQuerySchema):
    """Which shifts."""

    state = Word(ShiftState, load_default=None)


class DeskShiftEndSchema(Schema):
    """Why the desk ends it."""

    reason = line(200, least=2, required=True)


def _document(actor: Actor, shift: Any, kinds: dict[UUID, str]) -> dict[str, Any]:
    officer = shift.officer
    return {
        "id": shift.id,
        "state": shift.state,
        "officer": {"id": officer.id, "display_name": officer.display_name, "kind": kinds.get(officer.id)},
        "area": shift.area,
        "call_sign": shift.crew.call_sign if shift.crew else None,
        "crew": _crew(shift.crew) if shift.crew else None,
        "started_at": shift.started_at,
        "planned_end_at": shift.planned_end_at,
        "closes_at": shift.closes_at,
        "ended_at": shift.ended_at,
        "ended_by": shift.ended_by,
        "actions": SHIFT.actions(actor, shift),
    }


def _crew(crew: Any) -> dict[str, Any]:
    return {
        "id": crew.id,
        "call_sign": crew.call_sign,
        "travel": crew.travel,
        "leader_id": crew.leader_id,
        "members": [{"id": m.user.id, "display_name": m.user.display_name} for m in crew.members],
    }


@blp.query(
    "",
    may=("see", "shift"),
    answers=page_of(DeskShiftSchema),
    arguments=DeskShiftsQuerySchema,
    refuses=(422,),
)
def list_shifts(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the shifts in your areas, newest first."""
    found = shifts.at_desk(
        uow, actor, state=query["state"], after=decode_cursor(query.get("cursor")), limit=query["limit"]
    )
    kinds = officers.kinds(uow, [s.officer_id for s in found.items])
    return Page([_document(actor, s, kinds) for s in found.items], found.after)


@blp.query("/<uuid:shift_id>", may=("see", "shift"), answers=DeskShiftSchema)
def get_shift(uow: UnitOfWork, actor: Actor, shift_id: UUID) -> dict[str, Any]:
    """Return one shift: who goes together, and what may be done with it now."""
    shift = access.shift(uow, actor, shift_id)
    return _document(actor, shift, officers.kinds(uow, [shift.officer_id]))


@blp.command("/<uuid:shift_id>/end", may=("end", "shift"), body=DeskShiftEndSchema, answers=DeskShiftSchema)
def end_shift(
    uow: UnitOfWork, actor: Actor, shift_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """End an officer's shift for him; he sees who did and why."""
    shift = shifts.end(uow, actor, shift_id, command_id=command_id, reason=body["reason"])
    return _document(actor, shift, officers.kinds(uow, [shift.officer_id]))
