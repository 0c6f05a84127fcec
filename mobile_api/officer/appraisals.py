"""The officer's own appraisals (考核): his figures, what they were made of, and his objections."""

from typing import Any
from uuid import UUID

from marshmallow import Schema, fields

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import (
    AppraisalFigure,
    AppraisalState,
    Audience,
    ContestRemedy,
    ContestState,
    FigureUnit,
)
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Month, Word, names, prose
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import appraisal_contests, appraisal_formulas, appraisal_looks, appraisals

blp = Door("appraisals", Audience.OFFICER, "", "The officer's own appraisals.")
OWN = ("contest", "appraisal")


class OfficerFigureSchema(Schema):
    """A figure of one's own month, with what it was made of."""

    code = Word(AppraisalFigure, required=True)
    unit = Word(FigureUnit, required=True)
    value = fields.Float(
        allow_none=True, required=True,
        metadata={"description": "A part of the whole (0 to 1) or seconds; null: there was nothing to be judged."},
    )  # fmt: skip
    numerator = fields.Float(required=True)
    denominator = fields.Float(required=True)
    unproven = fields.Float(
        required=True,
        metadata={"description": "What a silent phone left unseen: it counts neither for nor against."},
    )
    p90_s = fields.Float(
        allow_none=True, required=True, metadata={"description": "What nine of ten do not exceed."}
    )
    by_cause = fields.Dict(
        keys=fields.String(), values=fields.Float(), allow_none=True, required=True,
        metadata={"description": "Seconds by likely cause, of silent time."},
    )  # fmt: skip
    inputs = fields.Integer(required=True)
    excluded = fields.Integer(required=True)
    name = names(required=True)
    words = fields.Dict(
        keys=fields.String(), values=fields.String(), required=True,
        metadata={"description": "How the figure is made, in both languages."},
    )  # fmt: skip


class OfficerAppraisalSchema(Schema):
    """One's own month, and what may be done with it now."""

    id = fields.UUID(required=True)
    version = fields.Integer(required=True)
    month = Month(required=True)
    state = Word(AppraisalState, required=True)
    figures = fields.List(fields.Nested(OfficerFigureSchema), required=True)
    formula = fields.String(required=True)
    opened_at = Moment(required=True)
    contest_until = Moment(
        required=True, metadata={"description": "Objections are taken until then: five working days."}
    )
    locked_at = Moment(allow_none=True, required=True)
    actions = fields.List(fields.String(), required=True)


class OfficerAppraisalContestSchema(Schema):
    """One's own objection, and what was decided."""

    id = fields.UUID(required=True)
    version = fields.Integer(required=True)
    appraisal_id = fields.UUID(required=True)
    input_id = fields.UUID(required=True)
    state = Word(ContestState, required=True)
    reason = fields.String(required=True)
    contested_at = Moment(required=True)
    decided_at = Moment(allow_none=True, required=True)
    decision = fields.String(allow_none=True, required=True)
    remedy = Word(ContestRemedy, allow_none=True, required=True)
    actions = fields.List(fields.String(), required=True)


class OfficerAppraisalInputSchema(Schema):
    """One thing that a figure was made of, as it was when the month was judged."""

    id = fields.UUID(required=True)
    figure = Word(AppraisalFigure, required=True)
    source = fields.String(required=True)
    source_id = fields.UUID(required=True)
    happened_at = Moment(required=True)
    facts = fields.Dict(required=True)
    correction = fields.Dict(allow_none=True, required=True)
    excluded_at = Moment(allow_none=True, required=True)
    exclusion_reason = fields.String(allow_none=True, required=True)
    contest = fields.Nested(OfficerAppraisalContestSchema, allow_none=True, required=True)


class OfficerAppraisalInputsQuerySchema(PageQuerySchema):
    """What of: one figure, or all."""

    figure = Word(AppraisalFigure, load_default=None)


class OfficerContestNewSchema(Schema):
    """To which input, and why."""

    input_id = fields.UUID(required=True)
    reason = prose(500, least=2, required=True)


def _document(uow: UnitOfWork, appraisal: Any) -> dict[str, Any]:
    plain = ("id", "version", "state", "opened_at", "contest_until", "locked_at")
    rules = appraisal_formulas.FORMULAS[appraisal.month.formula].rules
    return {
        **{name: getattr(appraisal, name) for name in plain},
        "month": appraisal.month.month,
        "formula": appraisal.month.formula,
        "figures": [
            {**one, "name": rule.name, "words": rule.words}
            for one in appraisal.figures
            for rule in [rules[AppraisalFigure(one["code"])]]
        ],
        "actions": appraisals.officer_actions(uow, appraisal),
    }  # fmt: skip


def _contest(actor: Actor, found: Any) -> dict[str, Any]:
    plain = [name for name in OfficerAppraisalContestSchema().fields if name != "actions"]
    return {
        **{name: getattr(found, name) for name in plain},
        "actions": appraisal_contests.actions(actor, found),
    }


def _input(actor: Actor, item: appraisal_looks.Item) -> dict[str, Any]:
    plain = [name for name in OfficerAppraisalInputSchema().fields if name != "contest"]
    return {
        **{name: getattr(item.input, name) for name in plain},
        "contest": _contest(actor, item.contest) if item.contest is not None else None,
    }


@blp.query("/appraisals", may=OWN, answers=page_of(OfficerAppraisalSchema), arguments=PageQuerySchema)
def list_own(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List one's own appraisals, the latest month first."""
    cursor = decode_cursor(query.pop("cursor", None))
    found = appraisal_looks.own(uow, actor, after=cursor, **query)
    return Page([_document(uow, one) for one in found.items], found.after)


@blp.query("/appraisals/<uuid:appraisal_id>", may=OWN, answers=OfficerAppraisalSchema)
def get_own(uow: UnitOfWork, actor: Actor, appraisal_id: UUID) -> dict[str, Any]:
    """Return one's own month, with how each figure is made."""
    return _document(uow, appraisal_looks.one_of_own(uow, actor, appraisal_id))


@blp.query(
    "/appraisals/<uuid:appraisal_id>/inputs",
    may=OWN,
    answers=page_of(OfficerAppraisalInputSchema),
    arguments=OfficerAppraisalInputsQuerySchema,
    refuses=(422,),
)
def list_own_inputs(
    uow: UnitOfWork, actor: Actor, appraisal_id: UUID, query: dict[str, Any]
) -> Page[dict[str, Any]]:
    """List what one's own figures were made of, in the order in which it happened."""
    cursor = decode_cursor(query.pop("cursor", None))
    found = appraisal_looks.inputs(uow, actor, appraisal_id, verb="contest", after=cursor, **query)
    return Page([_input(actor, one) for one in found.items], found.after)


@blp.command(
    "/appraisals/<uuid:appraisal_id>/contest",
    may=OWN,
    body=OfficerContestNewSchema,
    answers=OfficerAppraisalContestSchema,
    status=201,
)
def contest_input(
    uow: UnitOfWork, actor: Actor, appraisal_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Object to an input of one's own draft; a supervisor decides, and says why."""
    return _contest(
        actor, appraisal_contests.contest(uow, actor, appraisal_id, command_id=command_id, **body)
    )


@blp.command("/appraisal-contests/<uuid:contest_id>/withdraw", may=OWN, answers=OfficerAppraisalContestSchema)
def withdraw_contest(uow: UnitOfWork, actor: Actor, contest_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Take back an objection that nobody has decided."""
    return _contest(actor, appraisal_contests.withdraw(uow, actor, contest_id, command_id=command_id))
