"""Hand-overs as the desk sees them: what was handed over, and what nobody has confirmed yet."""

from typing import Any
from uuid import UUID

from marshmallow import Schema, fields

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, HandOverState
from mobile_api.desk.officers import DeskAreaNameSchema
from mobile_api.desk.task_schemas import DeskPersonSchema
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, names
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import access, hand_overs

blp = Door("hand-overs", Audience.DESK, "/hand-overs", "Hand-overs in your areas.")
SEE = ("see", "hand_over")


class DeskEquipmentSchema(Schema):
    """Something that is handed over."""

    name = fields.String(required=True)
    count = fields.Integer(required=True)
    ok = fields.Boolean(required=True)
    note = fields.String(allow_none=True, required=True)


class DeskHandOverTaskSchema(Schema):
    """A task that was open when it was handed over."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    kind = names(required=True)
    passed_at = Moment(
        allow_none=True, required=True, metadata={"description": "Null: it did not pass to the other."}
    )


class DeskHandOverSchema(Schema):
    """A hand-over; without `taken_at` the other has not confirmed it."""

    id = fields.UUID(required=True)
    state = Word(HandOverState, required=True)
    area = fields.Nested(DeskAreaNameSchema, required=True)
    giver = fields.Nested(DeskPersonSchema, required=True)
    taker = fields.Nested(
        DeskPersonSchema, allow_none=True, required=True,
        metadata={"description": "Null: for whoever of the area comes first."},
    )  # fmt: skip
    shift_id = fields.UUID(required=True)
    shift_ended_at = Moment(
        allow_none=True, required=True, metadata={"description": "When the giver went off duty."}
    )
    watch = fields.String(allow_none=True, required=True)
    equipment = fields.List(fields.Nested(DeskEquipmentSchema), required=True)
    tasks = fields.List(fields.Nested(DeskHandOverTaskSchema), required=True)
    answer = fields.String(allow_none=True, required=True)
    given_at = Moment(required=True)
    taken_at = Moment(allow_none=True, required=True)
    ended_at = Moment(allow_none=True, required=True)
    actions = fields.List(
        fields.String(), required=True, metadata={"description": "None: the officers confirm it themselves."}
    )


class DeskHandOversQuerySchema(PageQuerySchema):
    """Which hand-overs."""

    waiting = fields.Boolean(load_default=False, metadata={"description": "Those that nobody has confirmed."})
    area_id = fields.UUID(load_default=None, metadata={"description": "In this area and those below it."})
    officer_id = fields.UUID(load_default=None, metadata={"description": "Given or taken by him."})


_PLAIN = [name for name in DeskHandOverSchema().fields if name not in ("shift_ended_at", "tasks", "actions")]


def tasks_of(found: Any) -> list[dict[str, Any]]:
    """Return the tasks of a hand-over as schemas show them, by number."""
    return sorted(
        (
            {
                "id": one.task.id,
                "number": one.task.number,
                "kind": one.task.kind.name,
                "passed_at": one.passed_at,
            }
            for one in found.tasks
        ),
        key=lambda task: task["number"],
    )


def _document(found: Any) -> dict[str, Any]:
    return {
        **{name: getattr(found, name) for name in _PLAIN},
        "shift_ended_at": found.shift.ended_at,
        "tasks": tasks_of(found),
        "actions": [],
    }


@blp.query(
    "", may=SEE, answers=page_of(DeskHandOverSchema), arguments=DeskHandOversQuerySchema, refuses=(422,)
)
def list_hand_overs(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the hand-overs in your areas, the newest first."""
    found = hand_overs.at_desk(
        uow,
        actor,
        waiting=query["waiting"],
        area_id=query["area_id"],
        officer_id=query["officer_id"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    return Page([_document(one) for one in found.items], found.after)


@blp.query("/<uuid:hand_over_id>", may=SEE, answers=DeskHandOverSchema)
def get_hand_over(uow: UnitOfWork, actor: Actor, hand_over_id: UUID) -> dict[str, Any]:
    """Return a hand-over in your areas."""
    return _document(access.hand_over(uow, actor, hand_over_id))
