"""Checkpoints at the desk: drawn and edited on the map, brought in from files."""

from typing import Any
from uuid import UUID

from flask import current_app, request
from marshmallow import Schema, fields, validate

from backend.core.config import Config
from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience
from geo.checkpoint_files import Format
from mobile_api import limits
from mobile_api.desk.officers import DeskAreaNameSchema
from mobile_api.desk.task_schemas import DeskQuestionSchema
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, line, names, place, spot
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import access, checkpoints, patrol_looks
from workflows.checkpoints import Outcome

blp = Door("checkpoints", Audience.DESK, "/checkpoints", "Checkpoints in your areas.")
SEE, MANAGE = ("see", "checkpoint"), ("manage", "checkpoint")
FILE = "application/octet-stream"
TAG_UID = validate.Regexp(
    r"^(?:[0-9A-Fa-f]{14}|[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){6})\Z", error="Seven bytes, hexadecimal."
)


class DeskCheckpointQuestionSchema(DeskQuestionSchema):
    """Something to be answered by whoever comes by, or to be shown by photos."""

    answer = fields.String(
        required=True, validate=validate.OneOf(["text", "number", "yes_no", "choice", "photo"])
    )


class DeskCheckpointBodySchema(Schema):
    """What there is to say about a checkpoint."""

    code = line(64, required=True)
    name = names(required=True, validate=validate.Length(equal=2))
    place = spot(required=True)
    radius_m = fields.Float(
        load_default=25.0,
        validate=validate.Range(5, 500),
        metadata={"description": "Of the fence around it."},
    )
    min_dwell_s = fields.Integer(
        load_default=30,
        validate=validate.Range(0, 3600),
        metadata={"description": "So long somebody has to be in the fence to have been there."},
    )
    questions = fields.List(
        fields.Nested(DeskCheckpointQuestionSchema), load_default=list, validate=validate.Length(max=50),
        metadata={"description": "What is asked of whoever comes by."},
    )  # fmt: skip
    tag_uid = fields.String(
        load_default=None, allow_none=True, validate=TAG_UID,
        metadata={"description": "The number of its NFC tag: seven bytes, hexadecimal."},
    )  # fmt: skip
    tag_signs = fields.Boolean(
        load_default=False, metadata={"description": "Whether the tag is one that signs (NTAG 424 DNA)."}
    )


class DeskCheckpointSchema(Schema):
    """A checkpoint, and what may be done with it."""

    id = fields.UUID(required=True)
    code = fields.String(required=True)
    name = names(required=True)
    area = fields.Nested(DeskAreaNameSchema, required=True)
    place = place(required=True)
    radius_m = fields.Float(required=True)
    min_dwell_s = fields.Integer(required=True)
    questions = fields.List(fields.Nested(DeskCheckpointQuestionSchema), required=True)
    tag_uid = fields.String(allow_none=True, required=True)
    tag_signs = fields.Boolean(required=True)
    label_url = fields.String(
        allow_none=True, required=True,
        metadata={"description": "What its printed label leads to; null for those who may not print one."},
    )  # fmt: skip
    tag_url = fields.String(
        allow_none=True, required=True,
        metadata={"description": "What is written to its NFC tag; one that signs appends `picc_data` and `cmac`."},
    )  # fmt: skip
    created_at = Moment(required=True)
    retired_at = Moment(allow_none=True, required=True)
    version = fields.Integer(required=True, metadata={"description": "What a change sends as `If-Match`."})
    actions = fields.List(fields.String(), required=True)


class DeskCheckpointRouteSchema(Schema):
    """A route that passes a checkpoint."""

    id = fields.UUID(required=True)
    number = fields.Integer(required=True)
    name = names(required=True)


class DeskCheckpointWithRoutesSchema(DeskCheckpointSchema):
    """A checkpoint with the routes in use that pass it."""

    routes = fields.List(fields.Nested(DeskCheckpointRouteSchema), required=True)


class DeskCheckpointsQuerySchema(PageQuerySchema):
    """Which checkpoints."""

    area_id = fields.UUID(load_default=None, metadata={"description": "In this area and those below it."})
    q = line(80, load_default=None, metadata={"description": "A part of the code or of a name."})
    retired = fields.Boolean(load_default=False, metadata={"description": "Also those no longer in use."})


class DeskCheckpointImportQuerySchema(Schema):
    """What the file is, and whether it is only tried."""

    format = Word(Format, required=True)
    dry_run = fields.Boolean(
        load_default=False, metadata={"description": "Say what each row would do, and store nothing."}
    )


class DeskCheckpointRowSchema(Schema):
    """What became of a row, or would become of it."""

    title = fields.String(required=True)
    code = fields.String(allow_none=True, required=True)
    outcome = Word(Outcome, required=True)
    reason = fields.String(allow_none=True, required=True)


class DeskCheckpointImportSchema(Schema):
    """What a file did, or would do."""

    made = fields.Integer(required=True)
    changed = fields.Integer(required=True)
    unchanged = fields.Integer(required=True)
    refused = fields.Integer(required=True)
    rows = fields.List(fields.Nested(DeskCheckpointRowSchema), required=True)


def address() -> str:
    """Return the address under which phones reach this installation."""
    config: Config = current_app.extensions["xungeng.config"]
    return config.public_url or request.host_url.rstrip("/")


def _document(actor: Actor, found: Any) -> dict[str, Any]:
    prints = access.may(actor, *MANAGE)
    return {
        "id": found.id,
        "code": found.code,
        "name": found.name,
        "area": found.area,
        "place": patrol_looks.place_of(found),
        "radius_m": found.radius_m,
        "min_dwell_s": found.min_dwell_s,
        "questions": found.questions,
        "tag_uid": found.tag_uid,
        "tag_signs": found.tag_signs,
        "label_url": f"{address()}/c/{found.label_token}" if prints else None,
        "tag_url": f"{address()}/t/{found.tag_token}" if prints else None,
        "created_at": found.created_at,
        "retired_at": found.retired_at,
        "version": found.version,
        "actions": checkpoints.actions(actor, found),
    }


@blp.query(
    "", may=SEE, answers=page_of(DeskCheckpointSchema), arguments=DeskCheckpointsQuerySchema, refuses=(422,)
)
def list_checkpoints(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the checkpoints of your areas by code."""
    found = checkpoints.listed(
        uow,
        actor,
        area_id=query["area_id"],
        words=query["q"],
        retired=query["retired"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    return Page([_document(actor, one) for one in found.items], found.after)


@blp.query("/<uuid:checkpoint_id>", may=SEE, answers=DeskCheckpointWithRoutesSchema)
def get_checkpoint(uow: UnitOfWork, actor: Actor, checkpoint_id: UUID) -> dict[str, Any]:
    """Return a checkpoint of your areas, with the routes in use that pass it."""
    found = access.checkpoint(uow, actor, checkpoint_id)
    return {**_document(actor, found), "routes": checkpoints.routes_with(uow, found.id)}


@blp.command(
    "",
    may=MANAGE,
    body=DeskCheckpointBodySchema,
    answers=DeskCheckpointSchema,
    status=201,
    refuses=(409, 422),
)
def create_checkpoint(
    uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Make a checkpoint in the deepest area that holds its place."""
    return _document(actor, checkpoints.create(uow, actor, body, command_id=command_id))


@blp.command(
    "/<uuid:checkpoint_id>",
    may=MANAGE,
    method="PUT",
    body=DeskCheckpointBodySchema,
    answers=DeskCheckpointSchema,
    refuses=(409, 422),
    if_match=True,
)
def change_checkpoint(
    uow: UnitOfWork, actor: Actor, checkpoint_id: UUID, command_id: UUID, body: dict[str, Any], version: int
) -> dict[str, Any]:
    """Say anew all there is to say about a checkpoint."""
    return _document(
        actor, checkpoints.change(uow, actor, checkpoint_id, body, version=version, command_id=command_id)
    )


@blp.command("/<uuid:checkpoint_id>/retire", may=MANAGE, answers=DeskCheckpointSchema)
def retire_checkpoint(uow: UnitOfWork, actor: Actor, checkpoint_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Take a checkpoint out of use; its visits stay. One that a route in use passes is refused."""
    return _document(actor, checkpoints.retire(uow, actor, checkpoint_id, command_id=command_id))


@blp.command(
    "/import",
    may=MANAGE,
    raw=FILE,
    arguments=DeskCheckpointImportQuerySchema,
    answers=DeskCheckpointImportSchema,
    limit=limits.HEAVY,
    refuses=(422,),
    body_limit=2 * 1024 * 1024,
)
def import_checkpoints(
    uow: UnitOfWork, actor: Actor, command_id: UUID, query: dict[str, Any], body: bytes
) -> dict[str, Any]:
    """Take in a file of checkpoints (WGS-84): GeoJSON points, GPX waypoints, or CSV in UTF-8; all rows or none.

    A code that exists gets the new place and names, and of the fence what the file says.
    """
    done = checkpoints.import_file(
        uow, actor, body, query["format"], dry_run=query["dry_run"], command_id=command_id
    )
    return {"rows": done.rows, **{str(outcome): done.count(outcome) for outcome in Outcome}}
