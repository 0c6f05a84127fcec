"""The officer's patrols: what he may begin, what he is on, and what became of each point."""

from typing import Any
from uuid import UUID

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience
from mobile_api.endpoint import Door
from mobile_api.officer.patrol_schemas import (
    OfficerPatrolActSchema,
    OfficerPatrolAnswersSchema,
    OfficerPatrolExplainSchema,
    OfficerPatrolReasonSchema,
    OfficerPatrolSchema,
    OfficerPatrolSetOutSchema,
    OfficerRouteSchema,
)
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import patrol_looks, patrols, visits

blp = Door("patrols", Audience.OFFICER, "", "The officer's patrols.")
DO = ("do", "patrol")

_PLAIN = (
    "id", "number", "version", "state", "route", "area", "sequence", "allowed_s", "corridor_m", "scheduled_at",
    "start_by", "began_at", "ended_at", "late_at", "overdue_at", "missed_at", "reason", "explanation", "deviations",
)  # fmt: skip


def checkpoint_document(checkpoint: Any) -> dict[str, Any]:
    """Return a checkpoint as the schema shows it."""
    return {
        "id": checkpoint.id,
        "code": checkpoint.code,
        "name": checkpoint.name,
        "place": patrol_looks.place_of(checkpoint),
        "radius_m": checkpoint.radius_m,
        "min_dwell_s": checkpoint.min_dwell_s,
        "has_tag": checkpoint.tag_uid is not None,
        "questions": [{"choices": [], **question} for question in checkpoint.questions],
    }


def _document(actor: Actor, patrol: Any) -> dict[str, Any]:
    return {
        **{name: getattr(patrol, name) for name in _PLAIN},
        "is_planned": patrol.start_by is not None,
        "line": patrol_looks.line_of(patrol.route),
        "points": [
            {
                "position": point.position,
                "checkpoint": checkpoint_document(point.checkpoint),
                "state": visits.state_of(point),
                "visited_at": point.visited_at,
                "answers": point.answers,
                "answered_at": point.answered_at,
                "evidence_ids": patrol_looks.photos_at(patrol, point),
                "reason": point.reason,
                "skipped_at": point.skipped_at,
            }
            for point in patrol.points
        ],
        "actions": patrols.officer_actions(actor, patrol),
    }


@blp.query(
    "/patrols", may=DO, answers=page_of(OfficerPatrolSchema), arguments=PageQuerySchema, refuses=(422,)
)
def list_patrols(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the patrol that one is on, those that one may begin soon, and those of the last day."""
    found = patrol_looks.own(uow, actor, after=decode_cursor(query.get("cursor")), limit=query["limit"])
    return Page([_document(actor, patrol) for patrol in found.items], found.after)


@blp.query("/patrols/<uuid:patrol_id>", may=DO, answers=OfficerPatrolSchema)
def get_patrol(uow: UnitOfWork, actor: Actor, patrol_id: UUID) -> dict[str, Any]:
    """Return a patrol that one has begun or may begin."""
    return _document(actor, patrol_looks.one_of_own(uow, actor, patrol_id))


@blp.query("/routes", may=DO, answers=page_of(OfficerRouteSchema), arguments=PageQuerySchema, refuses=(422,))
def list_routes(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the routes that one may go without a plan, by number."""
    found = patrol_looks.open_routes(
        uow, actor, after=decode_cursor(query.get("cursor")), limit=query["limit"]
    )
    return Page(
        [
            {
                "id": route.id, "number": route.number, "name": route.name, "area": route.area,
                "sequence": route.sequence, "allowed_s": route.allowed_s, "line": patrol_looks.line_of(route),
                "points": len(route.points),
                "checkpoints": [checkpoint_document(point.checkpoint) for point in route.points],
            }
            for route in found.items
        ],
        found.after,
    )  # fmt: skip


@blp.command("/patrols", may=DO, body=OfficerPatrolSetOutSchema, answers=OfficerPatrolSchema, status=201)
def set_out(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Begin a round of a route without a plan."""
    return _document(actor, patrols.set_out(uow, actor, command_id=command_id, **body))


@blp.command(
    "/patrols/<uuid:patrol_id>/start", may=DO, body=OfficerPatrolActSchema, answers=OfficerPatrolSchema
)
def start_patrol(
    uow: UnitOfWork, actor: Actor, patrol_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Begin a planned patrol in its window; a press that was made in the window counts also when it comes late."""
    return _document(actor, patrols.start(uow, actor, patrol_id, command_id=command_id, **body))


@blp.command(
    "/patrols/<uuid:patrol_id>/pause", may=DO, body=OfficerPatrolActSchema, answers=OfficerPatrolSchema
)
def pause_patrol(
    uow: UnitOfWork, actor: Actor, patrol_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Interrupt a patrol."""
    return _document(actor, patrols.pause(uow, actor, patrol_id, command_id=command_id, **body))


@blp.command(
    "/patrols/<uuid:patrol_id>/resume", may=DO, body=OfficerPatrolActSchema, answers=OfficerPatrolSchema
)
def resume_patrol(
    uow: UnitOfWork, actor: Actor, patrol_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Go on with a patrol that was interrupted."""
    return _document(actor, patrols.resume(uow, actor, patrol_id, command_id=command_id, **body))


@blp.command(
    "/patrols/<uuid:patrol_id>/finish", may=DO, body=OfficerPatrolActSchema, answers=OfficerPatrolSchema
)
def finish_patrol(
    uow: UnitOfWork, actor: Actor, patrol_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """End a patrol whose round is done. Points that are open become visited when the fixes come that say so."""
    return _document(actor, patrols.finish(uow, actor, patrol_id, command_id=command_id, **body))


@blp.command(
    "/patrols/<uuid:patrol_id>/end-early",
    may=DO,
    body=OfficerPatrolReasonSchema,
    answers=OfficerPatrolSchema,
)
def end_patrol_early(
    uow: UnitOfWork, actor: Actor, patrol_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """End a patrol whose round is not done, and say why."""
    return _document(actor, patrols.end_early(uow, actor, patrol_id, command_id=command_id, **body))


@blp.command(
    "/patrols/<uuid:patrol_id>/points/<uuid:checkpoint_id>/skip",
    may=DO,
    body=OfficerPatrolReasonSchema,
    answers=OfficerPatrolSchema,
)
def skip_point(
    uow: UnitOfWork,
    actor: Actor,
    patrol_id: UUID,
    checkpoint_id: UUID,
    command_id: UUID,
    body: dict[str, Any],
) -> dict[str, Any]:
    """Pass over a point, and say why."""
    return _document(actor, patrols.skip(uow, actor, patrol_id, checkpoint_id, command_id=command_id, **body))


@blp.command(
    "/patrols/<uuid:patrol_id>/points/<uuid:checkpoint_id>/answer",
    may=DO,
    body=OfficerPatrolAnswersSchema,
    answers=OfficerPatrolSchema,
    refuses=(409, 422),
)
def answer_point(
    uow: UnitOfWork,
    actor: Actor,
    patrol_id: UUID,
    checkpoint_id: UUID,
    command_id: UUID,
    body: dict[str, Any],
) -> dict[str, Any]:
    """Answer what is asked at a point, and name photos of it; they may still be on the phone."""
    return _document(
        actor, patrols.answer(uow, actor, patrol_id, checkpoint_id, command_id=command_id, **body)
    )


@blp.command(
    "/patrols/<uuid:patrol_id>/explain",
    may=DO,
    body=OfficerPatrolExplainSchema,
    answers=OfficerPatrolSchema,
    refuses=(409, 422),
)
def explain_patrol(
    uow: UnitOfWork, actor: Actor, patrol_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Say why a patrol was late, missed or not whole, or why one left its corridor."""
    return _document(actor, patrols.explain(uow, actor, patrol_id, command_id=command_id, **body))
