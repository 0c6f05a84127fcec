"""One's own photos, once they have arrived (``mobile_api.gateway.tus`` takes them in)."""

from typing import Any
from uuid import UUID

from flask import Response
from marshmallow import Schema, fields

from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, EvidenceFault, EvidenceKind, EvidenceState
from mobile_api import files
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word
from workflows import evidence

blp = Door("evidence", Audience.OFFICER, "/evidence", "The photos that one has taken.")
RECORD = ("record", "evidence")


class OfficerEvidenceSchema(Schema):
    """One's own photo, and how far it has come."""

    id = fields.UUID(required=True)
    kind = Word(EvidenceKind, required=True)
    state = Word(EvidenceState, required=True)
    captured_at = Moment(required=True)
    length = fields.Integer(allow_none=True, required=True, metadata={"description": "In bytes."})
    duration_s = fields.Float(allow_none=True, required=True, metadata={"description": "Of a recording."})
    received_at = Moment(allow_none=True, required=True)
    sealed_at = Moment(allow_none=True, required=True)
    reason = Word(
        EvidenceFault, allow_none=True, required=True, metadata={"description": "Why it was rejected."}
    )
    has_preview = fields.Boolean(required=True)
    actions = fields.List(fields.String(), required=True)


_PLAIN = [name for name in OfficerEvidenceSchema().fields if name not in ("has_preview", "actions")]


@blp.query("/<uuid:evidence_id>", may=RECORD, answers=OfficerEvidenceSchema)
def get_evidence(uow: UnitOfWork, actor: Actor, evidence_id: UUID) -> dict[str, Any]:
    """Return how far one of your photos has come."""
    found = evidence.look_at(uow, actor, evidence_id, own=True)
    return {
        **{name: getattr(found, name) for name in _PLAIN},
        "has_preview": found.preview_sha256 is not None,
        "actions": evidence.actions(actor, found),
    }


@blp.query("/<uuid:evidence_id>/content", may=RECORD, media="application/octet-stream", refuses=(409, 410))
def get_evidence_content(uow: UnitOfWork, actor: Actor, evidence_id: UUID) -> Response:
    """Return one of your photos as it was taken, once it is sealed. The look is written down."""
    return files.original(evidence.original(uow, actor, evidence_id, own=True))


@blp.query("/<uuid:evidence_id>/preview", may=RECORD, media="image/jpeg", refuses=(409, 410))
def get_evidence_preview(uow: UnitOfWork, actor: Actor, evidence_id: UUID) -> Response:
    """Return one of your photos made smaller, without place and maker. The look is written down."""
    return files.preview(evidence.preview(uow, actor, evidence_id, own=True))
