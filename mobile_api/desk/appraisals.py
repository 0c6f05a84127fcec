"""Appraisals (考核) at the desk: months, officers' figures and what they were made of, objections, areas and crews."""

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
from mobile_api.desk.officers import DeskAreaNameSchema
from mobile_api.desk.task_schemas import DeskPersonSchema
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Month, Word, line, names
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import appraisal_contests, appraisal_formulas, appraisal_looks, appraisals

blp = Door("appraisals", Audience.DESK, "", "Appraisals of officers' months in your areas.")
SEE, MAKE, DECIDE = ("see", "appraisal"), ("make", "appraisal"), ("decide", "appraisal")


class DeskFigureSchema(Schema):
    """A figure with what it was made of. Each stands for itself: nothing adds them up or orders people by them."""

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


class DeskFigureRuleSchema(Schema):
    """How a figure is made, in words, and which facts of an input may be corrected."""

    code = Word(AppraisalFigure, required=True)
    unit = Word(FigureUnit, required=True)
    name = names(required=True)
    words = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    corrects = fields.List(fields.String(), required=True)


class DeskFormulaSchema(Schema):
    """A version of the formulas."""

    version = fields.String(required=True)
    figures = fields.List(fields.Nested(DeskFigureRuleSchema), required=True)


class DeskAppraisalMonthSchema(Schema):
    """A month that is appraised, with what you see of it."""

    id = fields.UUID(required=True)
    month = Month(required=True)
    formula = fields.String(required=True)
    made_at = Moment(required=True)
    by_clock = fields.Boolean(required=True, metadata={"description": "Begun by the clock, and by nobody."})
    completed_at = Moment(
        allow_none=True, required=True, metadata={"description": "Null: drafts are still being made."}
    )
    drafts = fields.Integer(required=True)
    locked = fields.Integer(required=True)
    waiting = fields.Integer(required=True, metadata={"description": "Objections that wait to be decided."})


class DeskAppraisalMonthNewSchema(Schema):
    """Which month: one that has been over for three days and a bit."""

    month = Month(required=True)


class DeskAppraisalSchema(Schema):
    """An officer's month, and what the desk may do with it now."""

    id = fields.UUID(required=True)
    version = fields.Integer(required=True)
    month = Month(required=True)
    officer = fields.Nested(DeskPersonSchema, required=True)
    area = fields.Nested(DeskAreaNameSchema, required=True)
    state = Word(AppraisalState, required=True)
    figures = fields.List(fields.Nested(DeskFigureSchema), required=True)
    formula = fields.String(required=True)
    opened_at = Moment(required=True)
    contest_until = Moment(required=True)
    locked_at = Moment(allow_none=True, required=True)
    actions = fields.List(fields.String(), required=True)


class DeskAppraisalWholeSchema(DeskAppraisalSchema):
    """The same with the formula by which it was made, in words."""

    rules = fields.Nested(DeskFormulaSchema, required=True)


class DeskAppraisalContestSchema(Schema):
    """An officer's objection, and what was decided."""

    id = fields.UUID(required=True)
    version = fields.Integer(required=True)
    appraisal_id = fields.UUID(required=True)
    month = Month(required=True)
    officer = fields.Nested(DeskPersonSchema, required=True)
    input_id = fields.UUID(required=True)
    figure = Word(AppraisalFigure, required=True)
    facts = fields.Dict(required=True, metadata={"description": "What the input was made of."})
    state = Word(ContestState, required=True)
    reason = fields.String(required=True)
    contested_at = Moment(required=True)
    decided_at = Moment(allow_none=True, required=True)
    decided_by = fields.Nested(DeskPersonSchema, allow_none=True, required=True)
    decision = fields.String(allow_none=True, required=True)
    remedy = Word(ContestRemedy, allow_none=True, required=True)
    corrects = fields.List(
        fields.String(), required=True, metadata={"description": "Facts that a correction may replace."}
    )
    actions = fields.List(fields.String(), required=True)


class DeskAppraisalInputSchema(Schema):
    """One thing that a figure was made of, as it was when the month was judged."""

    id = fields.UUID(required=True)
    figure = Word(AppraisalFigure, required=True)
    source = fields.String(required=True)
    source_id = fields.UUID(required=True)
    happened_at = Moment(required=True)
    call_sign = fields.String(allow_none=True, required=True)
    facts = fields.Dict(required=True)
    correction = fields.Dict(allow_none=True, required=True)
    excluded_at = Moment(allow_none=True, required=True)
    exclusion_reason = fields.String(allow_none=True, required=True)
    contest = fields.Nested(DeskAppraisalContestSchema, allow_none=True, required=True)


class DeskAppraisalGroupSchema(Schema):
    """What an area and all below it add up to, or, with a call sign, a crew of officers who worked in it."""

    id = fields.UUID(required=True)
    area = fields.Nested(DeskAreaNameSchema, required=True)
    call_sign = fields.String(allow_none=True, required=True)
    figures = fields.List(fields.Nested(DeskFigureSchema), required=True)
    made_at = Moment(required=True)


class DeskAppraisalsQuerySchema(PageQuerySchema):
    """Whose appraisals, of which month."""

    month = Month(required=True)
    area_id = fields.UUID(load_default=None, metadata={"description": "In this area and below it."})
    state = Word(AppraisalState, load_default=None)


class DeskAppraisalInputsQuerySchema(PageQuerySchema):
    """What of: one figure, or all."""

    figure = Word(AppraisalFigure, load_default=None)


class DeskAppraisalGroupsQuerySchema(PageQuerySchema):
    """Of which month and area."""

    month = Month(required=True)
    area_id = fields.UUID(load_default=None, metadata={"description": "This area and what is below it."})


class DeskContestsQuerySchema(PageQuerySchema):
    """Which objections."""

    month = Month(load_default=None)
    state = Word(ContestState, load_default=None)


class DeskExclusionSchema(Schema):
    """Which input is left out, and why."""

    input_id = fields.UUID(required=True)
    reason = line(200, least=2, required=True)


class DeskContestRefusalSchema(Schema):
    """Why an objection is not right."""

    reason = line(200, least=2, required=True)


class DeskContestUpholdingSchema(DeskContestRefusalSchema):
    """Why an objection is right, and what follows: its input is left out, or facts of it are replaced."""

    remedy = Word(ContestRemedy, required=True)
    correction = fields.Dict(
        keys=fields.String(), values=fields.Raw(), load_default=None, allow_none=True,
        metadata={"description": "With `correct`: the facts that are replaced, of those named by `corrects`."},
    )  # fmt: skip


def rules(version: str) -> dict[str, Any]:
    """Return a version of the formulas in words."""
    return {
        "version": version,
        "figures": [
            {
                "code": code, "unit": rule.unit, "name": rule.name, "words": rule.words,
                "corrects": list(rule.corrects),
            }
            for code, rule in appraisal_formulas.FORMULAS[version].rules.items()
        ],
    }  # fmt: skip


def _month(told: appraisal_looks.Month) -> dict[str, Any]:
    month = told.month
    return {
        "id": month.id, "month": month.month, "formula": month.formula, "made_at": month.made_at,
        "by_clock": month.made_by is None, "completed_at": month.completed_at, "drafts": told.drafts,
        "locked": told.locked, "waiting": told.waiting,
    }  # fmt: skip


def _document(actor: Actor, appraisal: Any) -> dict[str, Any]:
    plain = (
        "id",
        "version",
        "officer",
        "area",
        "state",
        "figures",
        "opened_at",
        "contest_until",
        "locked_at",
    )
    return {
        **{name: getattr(appraisal, name) for name in plain},
        "month": appraisal.month.month,
        "formula": appraisal.month.formula,
        "actions": appraisals.desk_actions(actor, appraisal),
    }


def _contest(actor: Actor, found: Any) -> dict[str, Any]:
    plain = (
        "id", "version", "appraisal_id", "input_id", "state", "reason", "contested_at", "decided_at", "decision",
        "remedy",
    )  # fmt: skip
    formula = appraisal_formulas.FORMULAS[found.appraisal.month.formula]
    return {
        **{name: getattr(found, name) for name in plain},
        "month": found.appraisal.month.month,
        "officer": found.appraisal.officer,
        "figure": found.input.figure,
        "facts": found.input.facts,
        "decided_by": found.decider,
        "corrects": list(formula.rules[AppraisalFigure(found.input.figure)].corrects),
        "actions": appraisal_contests.actions(actor, found),
    }


def _input(actor: Actor, item: appraisal_looks.Item) -> dict[str, Any]:
    plain = [name for name in DeskAppraisalInputSchema().fields if name != "contest"]
    return {
        **{name: getattr(item.input, name) for name in plain},
        "contest": _contest(actor, item.contest) if item.contest is not None else None,
    }


@blp.query("/appraisal-months", may=SEE, answers=page_of(DeskAppraisalMonthSchema), arguments=PageQuerySchema)
def list_months(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the months that are appraised, the latest first."""
    cursor = decode_cursor(query.pop("cursor", None))
    found = appraisal_looks.months(uow, actor, after=cursor, **query)
    return Page([_month(one) for one in found.items], found.after)


@blp.command(
    "/appraisal-months",
    may=MAKE,
    body=DeskAppraisalMonthNewSchema,
    answers=DeskAppraisalMonthSchema,
    status=201,
)
def begin_month(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Begin the appraisal of a month of the whole town; the clock does so by itself, and makes the drafts.

    Whoever begins it excludes and decides nothing in it: that takes a second person.
    """
    made = appraisals.begin(uow, actor, body["month"], command_id=command_id)
    return _month(appraisal_looks.Month(made, 0, 0, 0))


@blp.query(
    "/appraisals",
    may=SEE,
    answers=page_of(DeskAppraisalSchema),
    arguments=DeskAppraisalsQuerySchema,
    refuses=(422,),
)
def list_appraisals(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the appraisals of a month in your areas, by the officers' names; there is no other order."""
    cursor = decode_cursor(query.pop("cursor", None))
    found = appraisal_looks.at_desk(uow, actor, after=cursor, **query)
    return Page([_document(actor, one) for one in found.items], found.after)


@blp.query("/appraisals/<uuid:appraisal_id>", may=SEE, answers=DeskAppraisalWholeSchema)
def get_appraisal(uow: UnitOfWork, actor: Actor, appraisal_id: UUID) -> dict[str, Any]:
    """Return an officer's month with the formula in words; that you looked is written down, and he can read it."""
    found = appraisal_looks.one(uow, actor, appraisal_id)
    return {**_document(actor, found), "rules": rules(found.month.formula)}


@blp.query(
    "/appraisals/<uuid:appraisal_id>/inputs",
    may=SEE,
    answers=page_of(DeskAppraisalInputSchema),
    arguments=DeskAppraisalInputsQuerySchema,
    refuses=(422,),
)
def list_inputs(
    uow: UnitOfWork, actor: Actor, appraisal_id: UUID, query: dict[str, Any]
) -> Page[dict[str, Any]]:
    """List what an officer's figures were made of, in the order in which it happened; the look is written down."""
    cursor = decode_cursor(query.pop("cursor", None))
    found = appraisal_looks.inputs(uow, actor, appraisal_id, after=cursor, **query)
    return Page([_input(actor, one) for one in found.items], found.after)


@blp.command(
    "/appraisals/<uuid:appraisal_id>/exclude",
    may=DECIDE,
    body=DeskExclusionSchema,
    answers=DeskAppraisalSchema,
)
def exclude_input(
    uow: UnitOfWork, actor: Actor, appraisal_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Leave an input out, and say why; the figures follow at once. Not for who began the month or judged the input."""
    return _document(actor, appraisals.exclude(uow, actor, appraisal_id, command_id=command_id, **body))


@blp.query(
    "/appraisal-contests",
    may=SEE,
    answers=page_of(DeskAppraisalContestSchema),
    arguments=DeskContestsQuerySchema,
    refuses=(422,),
)
def list_contests(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List objections of officers in your areas, the oldest first."""
    cursor = decode_cursor(query.pop("cursor", None))
    found = appraisal_looks.contests(uow, actor, after=cursor, **query)
    return Page([_contest(actor, one) for one in found.items], found.after)


@blp.command(
    "/appraisal-contests/<uuid:contest_id>/uphold",
    may=DECIDE,
    body=DeskContestUpholdingSchema,
    answers=DeskAppraisalContestSchema,
    refuses=(409, 422),
)
def uphold_contest(
    uow: UnitOfWork, actor: Actor, contest_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Say that an objection is right, and leave its input out or correct it; the figures follow at once."""
    return _contest(actor, appraisal_contests.uphold(uow, actor, contest_id, command_id=command_id, **body))


@blp.command(
    "/appraisal-contests/<uuid:contest_id>/refuse",
    may=DECIDE,
    body=DeskContestRefusalSchema,
    answers=DeskAppraisalContestSchema,
)
def refuse_contest(
    uow: UnitOfWork, actor: Actor, contest_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Say that an objection is not right, and why."""
    return _contest(actor, appraisal_contests.refuse(uow, actor, contest_id, command_id=command_id, **body))


@blp.query(
    "/appraisal-groups",
    may=SEE,
    answers=page_of(DeskAppraisalGroupSchema),
    arguments=DeskAppraisalGroupsQuerySchema,
    refuses=(422,),
)
def list_groups(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[Any]:
    """List what your areas and their crews add up to in a month: an area, then its crews by call sign."""
    cursor = decode_cursor(query.pop("cursor", None))
    return appraisal_looks.groups(uow, actor, after=cursor, **query)
