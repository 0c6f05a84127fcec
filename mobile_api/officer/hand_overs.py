"""The officer's hand-overs: what he gives to the next, and what he takes over."""

from typing import Any
from uuid import UUID

from marshmallow import Schema, fields, validate

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, HandOverState
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, line, names, prose
from mobile_api.officer.schemas import OfficerAreaSchema, OfficerCrewMemberSchema
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import hand_overs

blp = Door("hand-overs", Audience.OFFICER, "/hand-overs", "The officer's hand-overs.")
USE, DO = ("use", "officer_client"), ("do", "hand_over")


class OfficerEquipmentSchema(Schema):
    """Something that is handed over: how many, and whether it is in order."""

    name = line(60, required=True)
    count = fields.Integer(load_default=1, validate=validate.Range(0, 1000))
    ok = fields.Boolean(load_default=True)
    note = line(200, allow_none=True, load_default=None)


class OfficerGiveSchema(Schema):
    """What is handed over; one's open tasks go with it. `id` may be the client's own UUID."""

    id = fields.UUID(allow_none=True, load_default=None)
    taker_id = fields.UUID(
        allow_none=True, load_default=None,
        metadata={"description": "To whom; null: to whoever of the area confirms first."},
    )  # fmt: skip
    watch = prose(1000, allow_none=True, load_default=None, metadata={"description": "What to watch."})
    equipment = fields.List(
        fields.Nested(OfficerEquipmentSchema),
        load_default=list,
        validate=validate.Length(max=hand_overs.MOST_ITEMS),
    )


class OfficerTakeSchema(Schema):
    """What the one who takes over has to say to it."""

    remark = prose(500, allow_none=True, load_default=None)


class OfficerHandOverReasonSchema(Schema):
    """Why one does not take it over."""

    reason = line(200, least=2, required=True)


class OfficerHandOverTaskSchema(Schema):
    """A task that was open when it was handed over."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    kind = names(required=True)
    passed_at = Moment(allow_none=True, required=True)


class OfficerHandOverSchema(Schema):
    """A hand-over; when both have confirmed, nothing of it is changed any more."""

    id = fields.UUID(required=True)
    state = Word(HandOverState, required=True)
    is_mine = fields.Boolean(required=True, metadata={"description": "Given by oneself."})
    area = fields.Nested(OfficerAreaSchema, required=True)
    giver = fields.Nested(OfficerCrewMemberSchema, required=True)
    taker = fields.Nested(OfficerCrewMemberSchema, allow_none=True, required=True)
    watch = fields.String(allow_none=True, required=True)
    equipment = fields.List(fields.Nested(OfficerEquipmentSchema), required=True)
    tasks = fields.List(fields.Nested(OfficerHandOverTaskSchema), required=True)
    answer = fields.String(allow_none=True, required=True)
    given_at = Moment(required=True)
    taken_at = Moment(allow_none=True, required=True)
    ended_at = Moment(allow_none=True, required=True)
    version = fields.Integer(required=True)
    actions = fields.List(fields.String(), required=True)


class OfficerHandOversQuerySchema(PageQuerySchema):
    """Which hand-overs."""

    waiting = fields.Boolean(load_default=False, metadata={"description": "What waits for one's own answer."})


_PLAIN = [name for name in OfficerHandOverSchema().fields if name not in ("is_mine", "tasks", "actions")]


def _document(actor: Actor, found: Any) -> dict[str, Any]:
    listed = [
        {"id": one.task.id, "number": one.task.number, "kind": one.task.kind.name, "passed_at": one.passed_at}
        for one in found.tasks
    ]
    return {
        **{name: getattr(found, name) for name in _PLAIN},
        "is_mine": found.giver_id == actor.user_id,
        "tasks": sorted(listed, key=lambda task: task["number"]),
        "actions": hand_overs.actions(actor, found),
    }


@blp.query("", may=USE, answers=page_of(OfficerHandOverSchema), arguments=OfficerHandOversQuerySchema)
def own_hand_overs(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List what one has given or taken and what waits for one's answer, the newest first."""
    found = hand_overs.own(
        uow, actor, waiting=query["waiting"], after=decode_cursor(query.get("cursor")), limit=query["limit"]
    )
    return Page([_document(actor, one) for one in found.items], found.after)


@blp.command(
    "", may=DO, body=OfficerGiveSchema, answers=OfficerHandOverSchema, status=201, refuses=(409, 422)
)
def give(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Hand over, at the end of a shift; giving it is one's own confirmation."""
    made = hand_overs.give(
        uow,
        actor,
        command_id=command_id,
        watch=body["watch"],
        equipment=body["equipment"],
        taker_id=body["taker_id"],
        hand_over_id=body["id"],
    )
    return _document(actor, made)


@blp.command("/<uuid:hand_over_id>/take", may=DO, body=OfficerTakeSchema, answers=OfficerHandOverSchema)
def take(
    uow: UnitOfWork, actor: Actor, hand_over_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Confirm that one has taken over, on duty; the tasks pass to oneself."""
    done = hand_overs.take(uow, actor, hand_over_id, remark=body["remark"], command_id=command_id)
    return _document(actor, done)


@blp.command(
    "/<uuid:hand_over_id>/decline", may=DO, body=OfficerHandOverReasonSchema, answers=OfficerHandOverSchema
)
def decline(
    uow: UnitOfWork, actor: Actor, hand_over_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Say that it is not as it is said; nothing passes."""
    done = hand_overs.decline(uow, actor, hand_over_id, reason=body["reason"], command_id=command_id)
    return _document(actor, done)


@blp.command("/<uuid:hand_over_id>/withdraw", may=DO, answers=OfficerHandOverSchema)
def withdraw(uow: UnitOfWork, actor: Actor, hand_over_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Take back what nobody has confirmed."""
    return _document(actor, hand_overs.withdraw(uow, actor, hand_over_id, command_id=command_id))
