"""Posts at the desk: laid out on the map, stood at by hand or by plans, and how each is held just now."""

from typing import Any
from uuid import UUID

from marshmallow import Schema, fields, validate

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, PostDutyState, PostSituation, Relief
from geo.presence import Where
from mobile_api.desk.officers import DeskAreaNameSchema
from mobile_api.desk.patrols import DeskPatrolPlanSchema, DeskSpanQuerySchema
from mobile_api.desk.task_schemas import DeskPersonSchema, DeskTaskReasonSchema
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, names, place, prose, spot
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import access, plans, post_duties, post_looks, post_presence, posts

blp = Door("posts", Audience.DESK, "/posts", "Posts in your areas, and what is stood there.")
SEE, MANAGE, ASSIGN = ("see", "post"), ("manage", "post"), ("assign", "post")


class DeskPostTermsSchema(Schema):
    """The fence, and what is asked of who stands there."""

    radius_m = fields.Float(load_default=30.0, validate=validate.Range(5, 500))
    needed_percent = fields.Integer(
        load_default=80, validate=validate.Range(1, 100),
        metadata={"description": "Of the time without breaks that are excused."},
    )  # fmt: skip
    break_s = fields.Integer(
        load_default=1800, validate=validate.Range(0, 14_400),
        metadata={"description": "So much of breaks in all is excused in a duty."},
    )  # fmt: skip
    absent_after_s = fields.Integer(
        load_default=300, validate=validate.Range(60, 3600),
        metadata={"description": "Who is away for longer is asked why, and the desk is told."},
    )  # fmt: skip


class DeskPostBodySchema(DeskPostTermsSchema):
    """What there is to say about a post."""

    name = names(required=True, validate=validate.Length(equal=2))
    place = spot(required=True)
    checkpoint_id = fields.UUID(
        load_default=None, allow_none=True,
        metadata={"description": "Whose label or tag is at the post: who reads it relieves without more ado."},
    )  # fmt: skip
    instructions = prose(1000, load_default=None, allow_none=True)


class DeskPostCheckpointSchema(Schema):
    """The checkpoint whose label is at a post."""

    id = fields.UUID(required=True)
    code = fields.String(required=True)
    name = names(required=True)


class DeskPostSchema(Schema):
    """A post, and what may be done with it."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    name = names(required=True)
    area = fields.Nested(DeskAreaNameSchema, required=True)
    place = place(required=True)
    radius_m = fields.Float(required=True)
    needed_percent = fields.Integer(required=True)
    break_s = fields.Integer(required=True)
    absent_after_s = fields.Integer(required=True)
    checkpoint = fields.Nested(DeskPostCheckpointSchema, allow_none=True, required=True)
    instructions = fields.String(allow_none=True, required=True)
    created_at = Moment(required=True)
    retired_at = Moment(allow_none=True, required=True)
    version = fields.Integer(required=True, metadata={"description": "What a change sends as `If-Match`."})
    actions = fields.List(fields.String(), required=True)


class DeskPostsQuerySchema(PageQuerySchema):
    """Which posts."""

    area_id = fields.UUID(load_default=None, metadata={"description": "In this area and those below it."})
    retired = fields.Boolean(load_default=False, metadata={"description": "Also those no longer in use."})


class DeskPostPartSchema(Schema):
    """A part of a duty's time, and where its officer was."""

    since = Moment(required=True)
    until = Moment(required=True)
    where = Word(Where, required=True)


class DeskPostPresenceSchema(Schema):
    """How a duty is stood, as it is known by now; what is not known stands apart, and may become known."""

    percent = fields.Float(
        allow_none=True, required=True, metadata={"description": "Of the time that counts, inside."}
    )
    unknown_percent = fields.Float(allow_none=True, required=True)
    is_enough = fields.Boolean(
        allow_none=True, required=True,
        metadata={"description": "Whether it is as much as needed; null: what is unknown or to come decides."},
    )  # fmt: skip
    inside_s = fields.Integer(required=True)
    outside_s = fields.Integer(required=True)
    unknown_s = fields.Integer(required=True)
    excused_s = fields.Integer(required=True)
    seen_at = Moment(allow_none=True, required=True)
    parts = fields.List(fields.Nested(DeskPostPartSchema), required=True)


class DeskPostBreakSchema(Schema):
    """A break."""

    began_at = Moment(required=True)
    ended_at = Moment(allow_none=True, required=True)


class DeskPostAbsenceSchema(DeskPostBreakSchema):
    """A time in which the officer was away for too long, and what he says of it."""

    id = fields.UUID(required=True)
    explanation = fields.String(allow_none=True, required=True)
    explained_at = Moment(allow_none=True, required=True)


class DeskDutyPostSchema(Schema):
    """The post of a duty."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    name = names(required=True)


class DeskPostDutySchema(Schema):
    """A duty at a post, how it is stood, and what the desk may do with it now."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    version = fields.Integer(required=True)
    state = Word(PostDutyState, required=True)
    situation = Word(
        PostSituation, allow_none=True, required=True,
        metadata={"description": "How the post is held just now; null before and after the duty's time."},
    )  # fmt: skip
    post = fields.Nested(DeskDutyPostSchema, required=True)
    plan = fields.Nested(DeskPatrolPlanSchema, allow_none=True, required=True)
    area = fields.Nested(DeskAreaNameSchema, required=True)
    place = place(required=True)
    radius_m = fields.Float(required=True)
    needed_percent = fields.Integer(required=True)
    break_s = fields.Integer(required=True)
    officer = fields.Nested(DeskPersonSchema, allow_none=True, required=True)
    officers = fields.List(
        fields.Nested(DeskPersonSchema), required=True,
        metadata={"description": "Who may begin it; empty: every officer of its area."},
    )  # fmt: skip
    starts_at = Moment(required=True)
    ends_at = Moment(required=True)
    began_at = Moment(
        allow_none=True, required=True, metadata={"description": "By the officer's clock, as is `ended_at`."}
    )
    ended_at = Moment(allow_none=True, required=True)
    late_at = Moment(allow_none=True, required=True)
    missed_at = Moment(allow_none=True, required=True)
    cancelled_at = Moment(allow_none=True, required=True)
    reason = fields.String(allow_none=True, required=True)
    explanation = fields.String(allow_none=True, required=True)
    explained_at = Moment(allow_none=True, required=True)
    relief_officer = fields.Nested(
        DeskPersonSchema,
        allow_none=True,
        required=True,
        metadata={"description": "Who has asked to take it over."},
    )
    relief_asked_at = Moment(allow_none=True, required=True)
    relieves_id = fields.UUID(
        allow_none=True, required=True, metadata={"description": "The duty that was taken over."}
    )
    relief = Word(Relief, allow_none=True, required=True)
    presence = fields.Nested(DeskPostPresenceSchema, allow_none=True, required=True)
    breaks = fields.List(fields.Nested(DeskPostBreakSchema), required=True)
    absences = fields.List(fields.Nested(DeskPostAbsenceSchema), required=True)
    actions = fields.List(fields.String(), required=True)


class DeskPostDutiesQuerySchema(DeskSpanQuerySchema):
    """Which duties: those that begin in a span."""

    state = Word(PostDutyState, load_default=None)
    area_id = fields.UUID(load_default=None, metadata={"description": "In this area and below it."})
    post_id = fields.UUID(load_default=None)


class DeskPostDutyBodySchema(Schema):
    """A duty to plan by hand."""

    post_id = fields.UUID(required=True)
    starts_at = Moment(required=True)
    ends_at = Moment(required=True, metadata={"description": "At most a day after the start."})
    officer_ids = fields.List(
        fields.UUID(), load_default=list, validate=validate.Length(max=plans.MOST_OFFICERS),
        metadata={"description": "Who may begin it, each once; empty: every officer of the area.", "uniqueItems": True},
    )  # fmt: skip


_PLAIN = [name for name in DeskPostSchema().fields if name not in ("place", "actions")]
_MADE = ("situation", "place", "officers", "presence", "actions")
_DUTY_PLAIN = [name for name in DeskPostDutySchema().fields if name not in _MADE]


def _document(actor: Actor, post: Any) -> dict[str, Any]:
    return {
        **{name: getattr(post, name) for name in _PLAIN},
        "place": posts.place_of(post),
        "actions": posts.actions(actor, post),
    }


def presence_document(found: post_presence.Presence, needed_percent: int) -> dict[str, Any]:
    """Return how a duty is stood, as the schema shows it."""
    return {
        "percent": found.percent,
        "unknown_percent": found.unknown_percent,
        "is_enough": found.is_enough(needed_percent),
        "seen_at": found.seen_at,
        "parts": [part._asdict() for part in found.parts],
        **{name: round(value) for name, value in found.figures._asdict().items()},
    }


def _duty_documents(uow: UnitOfWork, actor: Actor, found: Any) -> list[dict[str, Any]]:
    people = plans.officers_of(uow, found)
    return [
        {
            **{name: getattr(duty, name) for name in _DUTY_PLAIN},
            "situation": post_looks.situation(duty, uow.now),
            "place": posts.place_of(duty),
            "officers": [{"id": one, "display_name": people.get(one, "")} for one in duty.officer_ids],
            "presence": None
            if duty.began_at is None
            else presence_document(post_presence.of(duty, uow.now), duty.needed_percent),
            "actions": post_duties.desk_actions(actor, duty),
        }
        for duty in found
    ]


@blp.query("", may=SEE, answers=page_of(DeskPostSchema), arguments=DeskPostsQuerySchema, refuses=(422,))
def list_posts(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the posts of your areas by number."""
    cursor = decode_cursor(query.pop("cursor", None))
    found = posts.listed(uow, actor, after=cursor, **query)
    return Page([_document(actor, one) for one in found.items], found.after)


@blp.query("/<uuid:post_id>", may=SEE, answers=DeskPostSchema)
def get_post(uow: UnitOfWork, actor: Actor, post_id: UUID) -> dict[str, Any]:
    """Return a post of your areas."""
    return _document(actor, access.post(uow, actor, post_id))


@blp.command("", may=MANAGE, body=DeskPostBodySchema, answers=DeskPostSchema, status=201, refuses=(422,))
def create_post(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Make a post in the area in which its place is."""
    return _document(actor, posts.create(uow, actor, body, command_id=command_id))


@blp.command(
    "/<uuid:post_id>",
    may=MANAGE,
    method="PUT",
    body=DeskPostBodySchema,
    answers=DeskPostSchema,
    refuses=(409, 422),
    if_match=True,
)
def change_post(
    uow: UnitOfWork, actor: Actor, post_id: UUID, command_id: UUID, body: dict[str, Any], version: int
) -> dict[str, Any]:
    """Say anew all there is to say about a post; duties that nobody has begun go by it."""
    return _document(actor, posts.change(uow, actor, post_id, body, version=version, command_id=command_id))


@blp.command("/<uuid:post_id>/retire", may=MANAGE, answers=DeskPostSchema)
def retire_post(uow: UnitOfWork, actor: Actor, post_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Take a post out of use. One of which plans in force or duties to come are is refused."""
    return _document(actor, posts.retire(uow, actor, post_id, command_id=command_id))


@blp.query(
    "/duties",
    may=SEE,
    answers=page_of(DeskPostDutySchema),
    arguments=DeskPostDutiesQuerySchema,
    refuses=(422,),
)
def list_post_duties(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the duties at posts in your areas that begin in a span, the latest first."""
    cursor = decode_cursor(query.pop("cursor", None))
    found = post_looks.at_desk(uow, actor, after=cursor, **query)
    return Page(_duty_documents(uow, actor, found.items), found.after)


@blp.query("/duties/<uuid:duty_id>", may=SEE, answers=DeskPostDutySchema)
def get_post_duty(uow: UnitOfWork, actor: Actor, duty_id: UUID) -> dict[str, Any]:
    """Return a duty at a post in your areas."""
    return _duty_documents(uow, actor, [access.post_duty(uow, actor, duty_id)])[0]


@blp.command(
    "/duties", may=ASSIGN, body=DeskPostDutyBodySchema, answers=DeskPostDutySchema, status=201, refuses=(422,)
)
def create_post_duty(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Plan a duty at a post by hand."""
    return _duty_documents(uow, actor, [post_duties.create(uow, actor, command_id=command_id, **body)])[0]


@blp.command(
    "/duties/<uuid:duty_id>/cancel", may=ASSIGN, body=DeskTaskReasonSchema, answers=DeskPostDutySchema
)
def cancel_post_duty(
    uow: UnitOfWork, actor: Actor, duty_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Call a duty off that nobody has begun."""
    found = post_duties.cancel(uow, actor, duty_id, command_id=command_id, **body)
    return _duty_documents(uow, actor, [found])[0]
