"""Photos as the desk sees them: with the report, the task or the patrol that shows them, and each by itself."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response, current_app, request
from marshmallow import Schema, fields, validate

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.tokens import ContentLinks
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import (
    Audience,
    CustodyAct,
    EvidenceDamage,
    EvidenceFault,
    EvidenceKind,
    EvidenceState,
)
from mobile_api import files
from mobile_api.desk.task_schemas import DeskPersonSchema
from mobile_api.endpoint import Door
from mobile_api.fields import Moment, Word
from mobile_api.identity import bearer, identity
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import custody, evidence, patrol_looks, reports, task_looks

blp = Door("evidence", Audience.DESK, "", "Photos with the reports, tasks and patrols in your areas.")
SEE = ("see", "evidence")


class DeskEvidenceSchema(Schema):
    """A photo: when it was taken, how far it has come, and by which hash it is known."""

    id = fields.UUID(required=True)
    kind = Word(EvidenceKind, required=True)
    state = Word(EvidenceState, required=True)
    officer_id = fields.UUID(required=True)
    captured_at = Moment(required=True, metadata={"description": "By the phone's clock."})
    created_at = Moment(required=True)
    received_at = Moment(allow_none=True, required=True)
    sealed_at = Moment(allow_none=True, required=True)
    rejected_at = Moment(allow_none=True, required=True)
    reason = Word(
        EvidenceFault, allow_none=True, required=True, metadata={"description": "Why it was rejected."}
    )
    media_type = fields.String(allow_none=True, required=True)
    length = fields.Integer(allow_none=True, required=True, metadata={"description": "In bytes."})
    width_px = fields.Integer(allow_none=True, required=True)
    height_px = fields.Integer(allow_none=True, required=True)
    duration_s = fields.Float(allow_none=True, required=True, metadata={"description": "Of a recording."})
    sha256 = fields.String(
        required=True, metadata={"description": "As it was declared when the photo was taken, hexadecimal."}
    )
    has_preview = fields.Boolean(required=True)
    damage = Word(
        EvidenceDamage, allow_none=True, required=True,
        metadata={"description": "What is wrong with the file by now; it is given out to nobody."},
    )  # fmt: skip
    checked_at = Moment(
        allow_none=True, required=True, metadata={"description": "When the file was last read again."}
    )
    actions = fields.List(fields.String(), required=True)


class DeskPhotoSchema(Schema):
    """A photo that a report, a task or a patrol names."""

    id = fields.UUID(required=True)
    of = fields.String(
        required=True,
        validate=validate.OneOf(["before", "after", "result", "point"]),
        metadata={
            "description": "Of a report: before and after. Of a task: with its result. Of a patrol: at a point."
        },
    )
    checkpoint_id = fields.UUID(
        allow_none=True, required=True, metadata={"description": "At which point of a patrol it was taken."}
    )
    evidence = fields.Nested(
        DeskEvidenceSchema, allow_none=True, required=True,
        metadata={"description": "Null: nothing of it has come yet; it is on the phone, or may never come."},
    )  # fmt: skip


class DeskPhotosSchema(Schema):
    """The photos of one report, task or patrol."""

    items = fields.List(fields.Nested(DeskPhotoSchema), required=True)


CONTENT = {"preview_sha256": "preview", "sha256": "original"}
"""Of which content an entry is, by the digest that it has."""


class DeskCustodySchema(Schema):
    """An entry of the custody log: what happened, or who looked."""

    seq = fields.Integer(required=True)
    at = Moment(required=True)
    action = Word(CustodyAct, required=True)
    actor = fields.Nested(
        DeskPersonSchema, allow_none=True, required=True, metadata={"description": "Null: the system."}
    )
    of = fields.String(
        allow_none=True, required=True, validate=validate.OneOf(["preview", "original"]),
        metadata={"description": "Which content it was."},
    )  # fmt: skip
    entry_hash = fields.String(
        required=True, metadata={"description": "SHA-256 of the entry and all before it, hexadecimal."}
    )


_PLAIN = [name for name in DeskEvidenceSchema().fields if name not in ("sha256", "has_preview", "actions")]


def _document(actor: Actor, found: Any) -> dict[str, Any]:
    return {
        **{name: getattr(found, name) for name in _PLAIN},
        "sha256": found.declared_sha256.hex(),
        "has_preview": found.preview_sha256 is not None,
        "actions": evidence.actions(actor, found),
    }


def _entry(found: Any) -> dict[str, Any]:
    return {
        **{name: getattr(found, name) for name in ("seq", "at", "action", "actor")},
        "of": next((of for name, of in CONTENT.items() if name in found.digests), None),
        "entry_hash": found.entry_hash.hex(),
    }


def _photos(
    actor: Actor, referred: list[evidence.Referred], at: Mapping[UUID, UUID] | None = None
) -> dict[str, Any]:
    return {
        "items": [
            {
                "id": one.id, "of": one.of, "checkpoint_id": (at or {}).get(one.id),
                "evidence": _document(actor, one.evidence) if one.evidence else None,
            }
            for one in referred
        ]
    }  # fmt: skip


@blp.query("/reports/<uuid:report_id>/evidence", may=SEE, answers=DeskPhotosSchema)
def list_report_evidence(uow: UnitOfWork, actor: Actor, report_id: UUID) -> dict[str, Any]:
    """List the photos that a report names, those from before first."""
    report = reports.at_desk_one(uow, actor, report_id)
    return _photos(actor, evidence.of_reports(uow, [report])[report.id])


@blp.query("/tasks/<uuid:task_id>/evidence", may=SEE, answers=DeskPhotosSchema)
def list_task_evidence(uow: UnitOfWork, actor: Actor, task_id: UUID) -> dict[str, Any]:
    """List the photos that the result of a task names."""
    task = task_looks.at_desk_one(uow, actor, task_id)
    return _photos(actor, evidence.of_tasks(uow, [task])[task.id])


@blp.query("/patrols/<uuid:patrol_id>/evidence", may=SEE, answers=DeskPhotosSchema)
def list_patrol_evidence(uow: UnitOfWork, actor: Actor, patrol_id: UUID) -> dict[str, Any]:
    """List the photos at the points of a patrol, in the order in which they were named."""
    patrol = patrol_looks.one(uow, actor, patrol_id)
    at = {photo.evidence_id: photo.checkpoint_id for photo in patrol.photos}
    return _photos(actor, evidence.of_patrol(uow, patrol), at)


@blp.query("/evidence/<uuid:evidence_id>", may=SEE, answers=DeskEvidenceSchema)
def get_evidence(uow: UnitOfWork, actor: Actor, evidence_id: UUID) -> dict[str, Any]:
    """Return what is known of a photo that a report, a task or a patrol in your areas shows."""
    return _document(actor, evidence.look_at(uow, actor, evidence_id))


@blp.query(
    "/evidence/<uuid:evidence_id>/content", may=SEE, media="application/octet-stream", refuses=(409, 410)
)
def get_evidence_content(uow: UnitOfWork, actor: Actor, evidence_id: UUID) -> Response:
    """Return the sealed original, as a file to keep and not to be shown in place. The look is written down."""
    return files.original(evidence.original(uow, actor, evidence_id))


class DeskPlayingSchema(Schema):
    """Where a recording is played from, for minutes and in this session alone."""

    url = fields.String(
        required=True, metadata={"description": "It answers ranges; ask anew when it has run out."}
    )
    media_type = fields.String(required=True)
    expires_at = Moment(required=True)


@blp.query("/evidence/<uuid:evidence_id>/playing", may=SEE, answers=DeskPlayingSchema, refuses=(409,))
def begin_playing(uow: UnitOfWork, actor: Actor, evidence_id: UUID) -> dict[str, Any]:
    """Return a link at which a sealed recording is played. The viewing is written down, once for each link."""
    found = evidence.playable(uow, actor, evidence_id, begins=True)
    links: ContentLinks = current_app.extensions["xungeng.content_links"]
    token, expires_at = links.make(identity().claims(bearer(request)), evidence_id, uow.now)
    return {
        "url": f"/api/v1/public/evidence/{evidence_id}/playing?t={token}",
        "media_type": found.media_type,
        "expires_at": expires_at,
    }


@blp.query("/evidence/<uuid:evidence_id>/preview", may=SEE, media="image/jpeg", refuses=(409, 410))
def get_evidence_preview(uow: UnitOfWork, actor: Actor, evidence_id: UUID) -> Response:
    """Return the photo made smaller: its pixels and nothing else of the file. The look is written down."""
    return files.preview(evidence.preview(uow, actor, evidence_id))


@blp.query(
    "/evidence/<uuid:evidence_id>/custody",
    may=("see", "custody"),
    answers=page_of(DeskCustodySchema),
    arguments=PageQuerySchema,
    refuses=(422,),
)
def list_custody(
    uow: UnitOfWork, actor: Actor, evidence_id: UUID, query: dict[str, Any]
) -> Page[dict[str, Any]]:
    """List what happened to a piece of evidence and who had it in hand, the latest first."""
    cursor = decode_cursor(query.get("cursor"))
    found = custody.look(uow, actor, evidence_id, after=cursor, limit=query["limit"])
    return Page([_entry(one) for one in found.items], found.after)
