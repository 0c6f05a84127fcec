"""Roll calls, spot checks and broadcasts as the desk makes them and sees them answered."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from flask import current_app
from marshmallow import Schema, fields, validate

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, CallAnswerState, CallKind, CallState
from mobile_api import limits
from mobile_api.desk.officers import DeskAreaNameSchema
from mobile_api.desk.task_schemas import DeskPersonSchema
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, place, prose
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import calls
from workflows.calls import Whom

blp = Door("calls", Audience.DESK, "/calls", "Roll calls, spot checks and broadcasts in your areas.")
SEE, MAKE = ("see", "call"), ("make", "call")
LONGEST_MIN = 1440


class DeskCallCountsSchema(Schema):
    """How many of those asked have done what."""

    asked = fields.Integer(required=True, metadata={"description": "Everybody who was asked."})
    received = fields.Integer(required=True, metadata={"description": "Whose phone has it."})
    answered = fields.Integer(required=True, metadata={"description": "In time."})
    late = fields.Integer(required=True, metadata={"description": "After the end."})
    missed = fields.Integer(required=True)
    excused = fields.Integer(required=True, metadata={"description": "Went off shift before the end."})
    waiting = fields.Integer(required=True, metadata={"description": "Not yet, and there is time."})


class DeskCalledCrewSchema(Schema):
    """The crew that was called."""

    id = fields.UUID(required=True)
    call_sign = fields.String(required=True)


class DeskCallSchema(Schema):
    """A call, how far it has been answered, and what the desk may do with it now."""

    id = fields.UUID(required=True)
    version = fields.Integer(
        required=True,
        metadata={"description": "Counts what happened to the call itself; answers do not move it."},
    )
    kind = Word(CallKind, required=True)
    state = Word(CallState, required=True)
    area = fields.Nested(DeskAreaNameSchema, required=True)
    crew = fields.Nested(DeskCalledCrewSchema, allow_none=True, required=True)
    text = fields.String(allow_none=True, required=True, metadata={"description": "What a broadcast says."})
    created_by = fields.Nested(DeskPersonSchema, required=True)
    created_at = Moment(required=True)
    ends_at = Moment(required=True)
    ended_at = Moment(allow_none=True, required=True)
    cancelled_at = Moment(allow_none=True, required=True)
    counts = fields.Nested(DeskCallCountsSchema, required=True)
    actions = fields.List(fields.String(), required=True, metadata={"description": "`cancel` calls it off."})


class DeskCallAnswerSchema(Schema):
    """What one officer who was asked has answered, and from where."""

    id = fields.UUID(required=True)
    officer = fields.Nested(DeskPersonSchema, required=True)
    state = Word(CallAnswerState, required=True)
    received_at = Moment(allow_none=True, required=True, metadata={"description": "When his phone had it."})
    answered_at = Moment(allow_none=True, required=True)
    answered_device_at = Moment(
        allow_none=True, required=True, metadata={"description": "When he pressed, by his phone's clock."}
    )
    missed_at = Moment(allow_none=True, required=True)
    excused_at = Moment(allow_none=True, required=True)
    place = place(allow_none=True, required=True)
    accuracy_m = fields.Float(allow_none=True, required=True)
    fixed_at = Moment(allow_none=True, required=True)
    is_inside = fields.Boolean(
        allow_none=True,
        required=True,
        metadata={"description": "Whether the place lies in the area of his shift; null without a fix."},
    )
    outside_m = fields.Float(
        allow_none=True, required=True, metadata={"description": "How far outside of it; 0 inside."}
    )
    actions = fields.List(
        fields.String(), required=True, metadata={"description": "None: nobody answers for another."}
    )


class DeskCallNewSchema(Schema):
    """Who is called and to what."""

    id = fields.UUID(load_default=None, allow_none=True)
    kind = Word(CallKind, required=True)
    area_id = fields.UUID(
        load_default=None, allow_none=True, metadata={"description": "This area and those below it."}
    )
    crew_id = fields.UUID(
        load_default=None, allow_none=True, metadata={"description": "Instead of an area: a crew."}
    )
    count = fields.Integer(
        load_default=None,
        allow_none=True,
        validate=validate.Range(1, 50),
        metadata={"description": "Of a spot check: how many are drawn by lot."},
    )
    text = prose(500, load_default=None, allow_none=True, metadata={"description": "Of a broadcast."})
    minutes = fields.Integer(
        load_default=None,
        allow_none=True,
        validate=validate.Range(1, LONGEST_MIN),
        metadata={"description": "How long answers are waited for; null: as the installation has it."},
    )


class DeskCallsQuerySchema(PageQuerySchema):
    """Which calls."""

    kind = Word(CallKind, load_default=None)
    state = Word(CallState, load_default=None)


class DeskCallDefaultsSchema(Schema):
    """How many minutes answers are waited for when nothing else is said."""

    roll_call_min = fields.Integer(required=True)
    broadcast_min = fields.Integer(required=True)


def _documents(uow: UnitOfWork, actor: Actor, found: Any) -> list[dict[str, Any]]:
    counted = calls.counts(uow, [call.id for call in found])
    return [_document(actor, call, counted[call.id]) for call in found]


def _document(actor: Actor, call: Any, counted: calls.Counts) -> dict[str, Any]:
    plain = {name: getattr(call, name) for name in _PLAIN}
    return {**plain, "created_by": call.creator, "counts": counted, "actions": calls.actions(actor, call)}


_PLAIN = [n for n in DeskCallSchema().fields if n not in ("created_by", "counts", "actions")]


def _answer(actor: Actor, share: Any) -> dict[str, Any]:
    return {
        **{name: getattr(share, name) for name in _PLAIN_OF_ANSWER},
        "place": calls.place_of(share),
        "actions": calls.answer_actions(actor, share),
    }


_PLAIN_OF_ANSWER = [n for n in DeskCallAnswerSchema().fields if n not in ("place", "actions")]


@blp.query("", may=SEE, answers=page_of(DeskCallSchema), arguments=DeskCallsQuerySchema, refuses=(422,))
def list_calls(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the calls in your areas, newest first."""
    found = calls.at_desk(
        uow,
        actor,
        kind=query["kind"],
        state=query["state"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    return Page(_documents(uow, actor, found.items), found.after)


@blp.command(
    "",
    may=MAKE,
    body=DeskCallNewSchema,
    answers=DeskCallSchema,
    status=201,
    limit=limits.HEAVY,
    refuses=(409, 422),
)
def make_call(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Call the roll, check a few officers drawn by lot, or send a text that has to be acknowledged."""
    config = current_app.extensions["xungeng.config"]
    usual = config.broadcast_min if body["kind"] is CallKind.BROADCAST else config.roll_call_min
    call = calls.create(
        uow,
        actor,
        command_id=command_id,
        call_id=body["id"],
        kind=body["kind"],
        whom=Whom(area_id=body["area_id"], crew_id=body["crew_id"], count=body["count"]),
        text=body["text"],
        lasts=timedelta(minutes=body["minutes"] or usual),
    )
    return _documents(uow, actor, [call])[0]


@blp.query("/defaults", may=MAKE, answers=DeskCallDefaultsSchema)
def get_defaults(uow: UnitOfWork, actor: Actor) -> dict[str, int]:
    """Return how long answers are waited for when nothing else is said."""
    config = current_app.extensions["xungeng.config"]
    return {"roll_call_min": config.roll_call_min, "broadcast_min": config.broadcast_min}


@blp.query("/<uuid:call_id>", may=SEE, answers=DeskCallSchema)
def get_call(uow: UnitOfWork, actor: Actor, call_id: UUID) -> dict[str, Any]:
    """Return one call."""
    return _documents(uow, actor, [calls.at_desk_one(uow, actor, call_id)])[0]


@blp.query(
    "/<uuid:call_id>/answers",
    may=SEE,
    answers=page_of(DeskCallAnswerSchema),
    arguments=PageQuerySchema,
    refuses=(422,),
)
def list_answers(uow: UnitOfWork, actor: Actor, call_id: UUID, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List everybody who was asked, and what he has answered."""
    after = decode_cursor(query.get("cursor"))
    found = calls.answers(uow, actor, call_id, after=after, limit=query["limit"])
    return Page([_answer(actor, share) for share in found.items], found.after)


@blp.command("/<uuid:call_id>/cancel", may=MAKE, answers=DeskCallSchema)
def cancel_call(uow: UnitOfWork, actor: Actor, call_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Call it off; whoever has not answered is excused."""
    return _documents(uow, actor, [calls.cancel(uow, actor, call_id, command_id=command_id)])[0]
