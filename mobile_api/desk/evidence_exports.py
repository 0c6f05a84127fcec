"""Giving evidence out as a bundle that anybody can verify."""

from typing import Any
from uuid import UUID

from flask import Response, current_app
from marshmallow import Schema, fields, validate

from backend.core.config import Config
from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, ExportFault
from mobile_api import files, limits
from mobile_api.desk.task_schemas import DeskPersonSchema
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word, line
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import evidence_exports
from workflows.evidence_exports import KEPT_FOR, MOST_ITEMS

blp = Door("evidence-exports", Audience.DESK, "/evidence-exports", "Bundles of evidence that are given out.")
SEE = ("see", "evidence_export")
SHARE = ("share", "evidence")


class DeskEvidenceExportRequestSchema(Schema):
    """What is given out, and why."""

    evidence_ids = fields.List(
        fields.UUID(), required=True, validate=validate.Length(1, MOST_ITEMS),
        metadata={"description": "Sealed evidence from shifts in your areas."},
    )  # fmt: skip
    reason = line(200, least=2, required=True, metadata={"description": "To whom it is given, and what for."})
    case_number = line(60, load_default=None, allow_none=True)


class DeskEvidenceExportSchema(Schema):
    """A bundle: how far it is, and what it came to."""

    id = fields.UUID(required=True)
    requester = fields.Nested(DeskPersonSchema, required=True)
    requested_at = Moment(required=True)
    reason = fields.String(required=True)
    case_number = fields.String(allow_none=True, required=True)
    pieces = fields.Integer(required=True, metadata={"description": "How many pieces are in it."})
    length = fields.Integer(required=True, metadata={"description": "Of all pieces together, in bytes."})
    packed = fields.Integer(
        required=True, metadata={"description": "How much of that is in the bundle, in bytes."}
    )
    ready_at = Moment(allow_none=True, required=True)
    kept_until = Moment(
        allow_none=True,
        required=True,
        metadata={"description": "Then it is thrown away; ask for another one."},
    )
    sha256 = fields.String(
        allow_none=True, required=True, metadata={"description": "Of the bundle, hexadecimal."}
    )
    bundle_length = fields.Integer(allow_none=True, required=True, metadata={"description": "In bytes."})
    failed_at = Moment(allow_none=True, required=True)
    fault = Word(ExportFault, allow_none=True, required=True)
    dropped_at = Moment(allow_none=True, required=True)
    actions = fields.List(
        fields.String(), required=True, metadata={"description": "None: nobody presses anything."}
    )


_PLAIN = [
    name for name in DeskEvidenceExportSchema().fields if name not in ("kept_until", "sha256", "actions")
]


def _document(found: Any) -> dict[str, Any]:
    return {
        **{name: getattr(found, name) for name in _PLAIN},
        "kept_until": found.ready_at + KEPT_FOR if found.ready_at else None,
        "sha256": found.sha256.hex() if found.sha256 else None,
        "actions": [],
    }


@blp.command(
    "",
    may=SHARE,
    body=DeskEvidenceExportRequestSchema,
    answers=DeskEvidenceExportSchema,
    status=201,
    refuses=(404, 409, 413, 507),
)
def request_evidence_export(
    uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Have a bundle made of sealed evidence: originals, custody logs, signatures, a page for people, and a verifier.

    It is ready within a minute or two, for its proof ends with this entry; large files take longer.
    """
    return _document(evidence_exports.request(uow, actor, command_id=command_id, **body))


@blp.query("", may=SEE, answers=page_of(DeskEvidenceExportSchema), arguments=PageQuerySchema, refuses=(422,))
def list_evidence_exports(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List your bundles, the newest first; an auditor sees those of the whole town."""
    cursor = decode_cursor(query.get("cursor"))
    found = evidence_exports.look(uow, actor, after=cursor, limit=query["limit"])
    return Page([_document(one) for one in found.items], found.after)


@blp.query("/<uuid:export_id>", may=SEE, answers=DeskEvidenceExportSchema)
def get_evidence_export(uow: UnitOfWork, actor: Actor, export_id: UUID) -> dict[str, Any]:
    """Return how far a bundle is."""
    return _document(evidence_exports.one(uow, actor, export_id))


@blp.query(
    "/<uuid:export_id>/bundle", may=SHARE, media="application/zip", limit=limits.HEAVY, refuses=(409, 410)
)
def get_evidence_bundle(uow: UnitOfWork, actor: Actor, export_id: UUID) -> Response:
    """Return your bundle. That it was taken stands in the custody log of each piece in it."""
    found = evidence_exports.download(uow, actor, export_id)
    config: Config = current_app.extensions["xungeng.config"]
    assert found.bundle_length is not None
    return files.bundle(config.bundle(found.town_id, found.id), found.id, found.bundle_length)
