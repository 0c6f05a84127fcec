"""The officer's posts: where he is to stand, how much of the time he was there, breaks and relief."""

from typing import Any
from uuid import UUID

from marshmallow import Schema, fields, validate

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, DutyLevel, PostDutyState, PostSituation, Relief
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, names, place, prose
from mobile_api.officer.patrol_schemas import OfficerPatrolActSchema, OfficerPatrolReasonSchema
from mobile_api.officer.schemas import OfficerAreaSchema
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import access, duty_levels, post_duties, post_looks, post_presence, post_reliefs, posts

blp = Door("posts", Audience.OFFICER, "/posts", "The officer's duties at posts.")
DO = ("do", "post")


class OfficerPostSchema(Schema):
    """Where to stand, and what to do there."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    name = names(required=True)
    instructions = fields.String(allow_none=True, required=True)


class OfficerPostPresenceSchema(Schema):
    """How much of the time one was there, as it is known by now."""

    percent = fields.Float(allow_none=True, required=True)
    unknown_percent = fields.Float(
        allow_none=True, required=True,
        metadata={"description": "Of so much of the time nothing is known (yet): fixes may be on their way."},
    )  # fmt: skip
    inside_s = fields.Integer(required=True)
    outside_s = fields.Integer(required=True)
    unknown_s = fields.Integer(required=True)
    excused_s = fields.Integer(required=True)
    seen_at = Moment(allow_none=True, required=True)


class OfficerPostBreakSchema(Schema):
    """A break of one's own."""

    began_at = Moment(required=True)
    ended_at = Moment(allow_none=True, required=True)


class OfficerPostAbsenceSchema(OfficerPostBreakSchema):
    """A time in which one was away for too long, and what one says of it."""

    id = fields.UUID(required=True)
    explanation = fields.String(allow_none=True, required=True)


class OfficerColleagueSchema(Schema):
    """Who stands at a post, or has asked to relieve."""

    display_name = fields.String(required=True)


class OfficerPostDutySchema(Schema):
    """A duty that one has begun or may begin, or that of a colleague whom one may relieve.

    Of a colleague's there are its post, its time and who stands there, and nothing of how he does.
    """

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    version = fields.Integer(required=True)
    state = Word(PostDutyState, required=True)
    situation = Word(PostSituation, allow_none=True, required=True)
    is_own = fields.Boolean(required=True)
    post = fields.Nested(OfficerPostSchema, required=True)
    area = fields.Nested(OfficerAreaSchema, required=True)
    place = place(required=True)
    radius_m = fields.Float(required=True)
    has_label = fields.Boolean(
        required=True,
        metadata={"description": "Whether who reads the label there relieves without more ado."},
    )
    needed_percent = fields.Integer(required=True)
    break_s = fields.Integer(required=True)
    break_left_s = fields.Integer(allow_none=True, required=True)
    officer = fields.Nested(OfficerColleagueSchema, allow_none=True, required=True)
    starts_at = Moment(required=True)
    ends_at = Moment(required=True)
    began_at = Moment(allow_none=True, required=True)
    ended_at = Moment(allow_none=True, required=True)
    late_at = Moment(allow_none=True, required=True)
    missed_at = Moment(allow_none=True, required=True)
    reason = fields.String(allow_none=True, required=True)
    explanation = fields.String(allow_none=True, required=True)
    relief_officer = fields.Nested(OfficerColleagueSchema, allow_none=True, required=True)
    asked_by_me = fields.Boolean(
        required=True, metadata={"description": "Whether one has asked to take it over oneself."}
    )
    relief = Word(Relief, allow_none=True, required=True)
    presence = fields.Nested(OfficerPostPresenceSchema, allow_none=True, required=True)
    breaks = fields.List(fields.Nested(OfficerPostBreakSchema), required=True)
    absences = fields.List(fields.Nested(OfficerPostAbsenceSchema), required=True)
    actions = fields.List(
        fields.String(), required=True,
        metadata={"description": "start, break, return, hand_over, end, end_early, explain, take_over: what may be."},
    )  # fmt: skip


class OfficerPostExplainSchema(OfficerPatrolActSchema):
    """What one says of a duty that was late, missed or not whole; with `absence_id` of one absence."""

    text = prose(1000, least=2, required=True)
    absence_id = fields.UUID(allow_none=True, load_default=None)


class OfficerLevelSchema(Schema):
    """What is in force in an area of one's own."""

    area = fields.Nested(OfficerAreaSchema, required=True)
    level = Word(DutyLevel, required=True)


class OfficerLevelsSchema(Schema):
    """What is in force in one's areas now."""

    items = fields.List(fields.Nested(OfficerLevelSchema), required=True, validate=validate.Length(max=100))


_SHARED = (
    "id", "number", "version", "state", "post", "area", "radius_m", "needed_percent", "break_s", "officer",
    "starts_at", "ends_at", "began_at", "ended_at",
)  # fmt: skip
_OWN = (
    "late_at", "missed_at", "reason", "explanation", "relief_officer", "relief", "breaks", "absences",
)  # fmt: skip


def _document(uow: UnitOfWork, actor: Actor, duty: Any) -> dict[str, Any]:
    is_own = duty.officer_id in (None, actor.user_id)
    own = (
        {name: getattr(duty, name) for name in _OWN}
        if is_own
        else {**dict.fromkeys(_OWN), "breaks": [], "absences": []}
    )
    presence = None
    if is_own and duty.began_at is not None:
        found = post_presence.of(duty, uow.now)
        presence = {
            "percent": found.percent, "unknown_percent": found.unknown_percent, "seen_at": found.seen_at,
            **{name: round(value) for name, value in found.figures._asdict().items()},
        }  # fmt: skip
    return {
        **{name: getattr(duty, name) for name in _SHARED},
        **own,
        "situation": post_looks.situation(duty, uow.now) if is_own else None,
        "is_own": is_own,
        "place": posts.place_of(duty),
        "has_label": duty.post.checkpoint_id is not None,
        "break_left_s": int(post_presence.break_left_s(duty, uow.now)) if is_own else None,
        "asked_by_me": duty.relief_officer_id is not None and duty.relief_officer_id == actor.user_id,
        "presence": presence,
        "actions": post_duties.officer_actions(actor, duty, uow.now),
    }


@blp.query("", may=DO, answers=page_of(OfficerPostDutySchema), arguments=PageQuerySchema, refuses=(422,))
def list_post_duties(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List where one stands, is to stand soon and has just stood, and the colleagues whom one may relieve."""
    found = post_looks.own(uow, actor, after=decode_cursor(query.get("cursor")), limit=query["limit"])
    return Page([_document(uow, actor, duty) for duty in found.items], found.after)


@blp.query("/<uuid:duty_id>", may=DO, answers=OfficerPostDutySchema)
def get_post_duty(uow: UnitOfWork, actor: Actor, duty_id: UUID) -> dict[str, Any]:
    """Return a duty that one has begun or may begin."""
    return _document(uow, actor, access.post_duty(uow, actor, duty_id, verb="do"))


@blp.query("/levels", may=DO, answers=OfficerLevelsSchema)
def get_duty_levels(uow: UnitOfWork, actor: Actor) -> dict[str, Any]:
    """Return the duty level that is in force now in each of one's areas."""
    found = duty_levels.in_force_for(uow, actor)
    return {"items": [{"area": area, "level": level} for area, level in found]}


@blp.command("/<uuid:duty_id>/start", may=DO, body=OfficerPatrolActSchema, answers=OfficerPostDutySchema)
def start_post_duty(
    uow: UnitOfWork, actor: Actor, duty_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Begin a duty in its time; a press that was made in time counts also when it comes late."""
    return _document(uow, actor, post_duties.start(uow, actor, duty_id, command_id=command_id, **body))


@blp.command("/<uuid:duty_id>/break", may=DO, body=OfficerPatrolActSchema, answers=OfficerPostDutySchema)
def take_break(
    uow: UnitOfWork, actor: Actor, duty_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Begin a break, as long as one is left."""
    return _document(uow, actor, post_duties.take_break(uow, actor, duty_id, command_id=command_id, **body))


@blp.command("/<uuid:duty_id>/return", may=DO, body=OfficerPatrolActSchema, answers=OfficerPostDutySchema)
def come_back(
    uow: UnitOfWork, actor: Actor, duty_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """End a break."""
    return _document(uow, actor, post_duties.come_back(uow, actor, duty_id, command_id=command_id, **body))


@blp.command("/<uuid:duty_id>/end", may=DO, body=OfficerPatrolActSchema, answers=OfficerPostDutySchema)
def end_post_duty(
    uow: UnitOfWork, actor: Actor, duty_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """End a duty whose time is over."""
    return _document(uow, actor, post_duties.end(uow, actor, duty_id, command_id=command_id, **body))


@blp.command(
    "/<uuid:duty_id>/end-early", may=DO, body=OfficerPatrolReasonSchema, answers=OfficerPostDutySchema
)
def end_post_duty_early(
    uow: UnitOfWork, actor: Actor, duty_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """End a duty before its time, and say why."""
    return _document(uow, actor, post_duties.end_early(uow, actor, duty_id, command_id=command_id, **body))


@blp.command("/<uuid:duty_id>/take-over", may=DO, body=OfficerPatrolActSchema, answers=OfficerPostDutySchema)
def take_over(
    uow: UnitOfWork, actor: Actor, duty_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Relieve a colleague: at once when one has just read the label of the post, else he confirms it.

    The answer is the duty that is one's own now, or his as long as he has not confirmed.
    """
    return _document(uow, actor, post_reliefs.take_over(uow, actor, duty_id, command_id=command_id, **body))


@blp.command("/<uuid:duty_id>/hand-over", may=DO, body=OfficerPatrolActSchema, answers=OfficerPostDutySchema)
def hand_over(
    uow: UnitOfWork, actor: Actor, duty_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Let the colleague take over who has asked to."""
    return _document(uow, actor, post_reliefs.hand_over(uow, actor, duty_id, command_id=command_id, **body))


@blp.command(
    "/<uuid:duty_id>/explain",
    may=DO,
    body=OfficerPostExplainSchema,
    answers=OfficerPostDutySchema,
    refuses=(409, 422),
)
def explain_post_duty(
    uow: UnitOfWork, actor: Actor, duty_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Say why a duty was begun late, missed or not whole, or why one was away."""
    text = body.pop("text")
    return _document(
        uow, actor, post_duties.explain(uow, actor, duty_id, text, command_id=command_id, **body)
    )
