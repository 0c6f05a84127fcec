"""Plans at the desk: when routes are to be gone and posts to be stood at, and by whom."""

from typing import Any
from uuid import UUID

from marshmallow import Schema, fields, validate

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, DutyLevel
from geo.recurrence import LONGEST
from mobile_api import limits
from mobile_api.desk.officers import DeskAreaNameSchema
from mobile_api.desk.task_schemas import DeskPersonSchema
from mobile_api.endpoint import Door
from mobile_api.fields import Day, Moment, Word, line, names
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import access, plans

blp = Door("plans", Audience.DESK, "/plans", "Plans of patrols in your areas.")
SEE, MANAGE = ("see", "plan"), ("manage", "plan")
RULE = (
    "An RFC 5545 rule without DTSTART, such as `FREQ=WEEKLY;BYDAY=MO,TH;BYHOUR=8,20`: FREQ of DAILY, WEEKLY, MONTHLY,"
    " INTERVAL, BYDAY, BYMONTHDAY, BYMONTH, BYHOUR, BYMINUTE, COUNT or UNTIL (a day), WKST."
)


class DeskPlanWhenSchema(Schema):
    """When, in the wall time of the town."""

    rule = line(LONGEST, required=True, metadata={"description": RULE})
    starts_on = Day(required=True)
    starts_at = fields.Time(
        format="%H:%M", required=True,
        metadata={
            "description": "Hour and minute; the time of each occurrence for which the rule says no other.",
        },
    )  # fmt: skip
    ends_on = Day(load_default=None, allow_none=True, metadata={"description": "The last day; null: no end."})


class DeskPlanBodySchema(DeskPlanWhenSchema):
    """What there is to say about a plan."""

    route_id = fields.UUID(
        load_default=None, allow_none=True, metadata={"description": "This, or `post_id`."}
    )
    post_id = fields.UUID(
        load_default=None, allow_none=True, metadata={"description": "A post to stand at, for `lasts_s`."}
    )
    lasts_s = fields.Integer(load_default=None, allow_none=True, validate=validate.Range(300, 86_400))
    levels = fields.List(
        Word(DutyLevel), load_default=lambda: list(DutyLevel), validate=validate.Length(1, len(DutyLevel)),
        metadata={"description": "The duty levels at which it is in force, each once.", "uniqueItems": True},
    )  # fmt: skip
    name = names(required=True, validate=validate.Length(equal=2))
    window_s = fields.Integer(
        load_default=3600,
        validate=validate.Range(60, 86_400),
        metadata={"description": "So long a patrol may begin; after that it is missed."},
    )
    late_after_s = fields.Integer(
        load_default=900,
        validate=validate.Range(0, 86_400),
        metadata={"description": "After so long it is late; not more than the window."},
    )
    officer_ids = fields.List(
        fields.UUID(), load_default=list, validate=validate.Length(max=plans.MOST_OFFICERS),
        metadata={"description": "Who may begin it, each once; empty: every officer of the area.", "uniqueItems": True},
    )  # fmt: skip


class DeskPlanRouteSchema(Schema):
    """The route or the post of a plan."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    name = names(required=True)
    area = fields.Nested(DeskAreaNameSchema, required=True)


class DeskPlanSchema(Schema):
    """A plan, and what may be done with it."""

    id = fields.UUID(required=True)
    route = fields.Nested(DeskPlanRouteSchema, allow_none=True, required=True)
    post = fields.Nested(DeskPlanRouteSchema, allow_none=True, required=True)
    lasts_s = fields.Integer(
        allow_none=True, required=True, metadata={"description": "How long somebody stands at the post."}
    )
    levels = fields.List(Word(DutyLevel), required=True)
    name = names(required=True)
    rule = fields.String(required=True)
    starts_on = fields.Date(required=True)
    starts_at = fields.Time(format="%H:%M", required=True)
    ends_on = fields.Date(allow_none=True, required=True)
    window_s = fields.Integer(required=True)
    late_after_s = fields.Integer(required=True)
    officers = fields.List(
        fields.Nested(DeskPersonSchema), required=True,
        metadata={"description": "Who may begin it; empty: every officer of the area."},
    )  # fmt: skip
    next_at = Moment(allow_none=True, required=True)
    created_at = Moment(required=True)
    retired_at = Moment(allow_none=True, required=True)
    version = fields.Integer(required=True, metadata={"description": "What a change sends as `If-Match`."})
    actions = fields.List(fields.String(), required=True)


class DeskPlansQuerySchema(PageQuerySchema):
    """Which plans."""

    area_id = fields.UUID(load_default=None, metadata={"description": "In this area and those below it."})
    route_id = fields.UUID(load_default=None)
    post_id = fields.UUID(load_default=None)
    retired = fields.Boolean(load_default=False, metadata={"description": "Also those no longer in force."})


class DeskPlanPreviewSchema(Schema):
    """The next moments of a rule."""

    moments = fields.List(Moment(), required=True)
    time_zone = fields.String(required=True, metadata={"description": "In whose wall time the rule is."})


def _documents(uow: UnitOfWork, actor: Actor, found: Any) -> list[dict[str, Any]]:
    zone, people = plans.zone_of(uow), plans.officers_of(uow, found)
    return [
        {
            "id": plan.id,
            "route": plan.route,
            "post": plan.post,
            "lasts_s": plan.lasts_s,
            "levels": plan.levels,
            "name": plan.name,
            "rule": plan.rule,
            "starts_on": plan.starts_on,
            "starts_at": plan.starts_at,
            "ends_on": plan.ends_on,
            "window_s": plan.window_s,
            "late_after_s": plan.late_after_s,
            "officers": [{"id": one, "display_name": people.get(one, "")} for one in plan.officer_ids],
            "next_at": plans.next_at(plan, zone, uow.now),
            "created_at": plan.created_at,
            "retired_at": plan.retired_at,
            "version": plan.version,
            "actions": plans.actions(actor, plan),
        }
        for plan in found
    ]


def _document(uow: UnitOfWork, actor: Actor, plan: Any) -> dict[str, Any]:
    return _documents(uow, actor, [plan])[0]


@blp.query("", may=SEE, answers=page_of(DeskPlanSchema), arguments=DeskPlansQuerySchema, refuses=(422,))
def list_plans(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the plans of your areas, the newest first."""
    found = plans.listed(
        uow,
        actor,
        area_id=query["area_id"],
        route_id=query["route_id"],
        post_id=query["post_id"],
        retired=query["retired"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    return Page(_documents(uow, actor, found.items), found.after)


@blp.query("/<uuid:plan_id>", may=SEE, answers=DeskPlanSchema)
def get_plan(uow: UnitOfWork, actor: Actor, plan_id: UUID) -> dict[str, Any]:
    """Return a plan of your areas."""
    return _document(uow, actor, access.plan(uow, actor, plan_id))


@blp.look(
    "/preview",
    may=MANAGE,
    body=DeskPlanWhenSchema,
    answers=DeskPlanPreviewSchema,
    status=200,
    limit=limits.ACT,
    refuses=(422,),
)
def preview_plan(uow: UnitOfWork, actor: Actor, body: dict[str, Any]) -> dict[str, Any]:
    """Return the next ten moments of a rule, before it is put in force."""
    return {"moments": plans.preview(uow, body), "time_zone": plans.zone_of(uow).key}


@blp.command("", may=MANAGE, body=DeskPlanBodySchema, answers=DeskPlanSchema, status=201, refuses=(409, 422))
def create_plan(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Put a plan in force; the patrols or duties of the next day and a half are made at once."""
    return _document(uow, actor, plans.create(uow, actor, body, command_id=command_id))


@blp.command(
    "/<uuid:plan_id>",
    may=MANAGE,
    method="PUT",
    body=DeskPlanBodySchema,
    answers=DeskPlanSchema,
    refuses=(409, 422),
    if_match=True,
)
def change_plan(
    uow: UnitOfWork, actor: Actor, plan_id: UUID, command_id: UUID, body: dict[str, Any], version: int
) -> dict[str, Any]:
    """Say anew all there is to say about a plan; patrols to come that nobody has begun are made anew."""
    return _document(
        uow, actor, plans.change(uow, actor, plan_id, body, version=version, command_id=command_id)
    )


@blp.command("/<uuid:plan_id>/retire", may=MANAGE, answers=DeskPlanSchema)
def retire_plan(uow: UnitOfWork, actor: Actor, plan_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Take a plan out of force; patrols to come that nobody has begun are cancelled."""
    return _document(uow, actor, plans.retire(uow, actor, plan_id, command_id=command_id))
