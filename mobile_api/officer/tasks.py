"""The officer's offers and tasks: see them, answer them, do them."""

from typing import Any, cast
from uuid import UUID

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience
from mobile_api.endpoint import Door
from mobile_api.officer.task_schemas import (
    OfficerTaskActSchema,
    OfficerTaskKindSchema,
    OfficerTaskReasonSchema,
    OfficerTaskResolveSchema,
    OfficerTaskSchema,
    OfficerTasksQuerySchema,
)
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import assignments, nearest, task_kinds, task_looks, tasks
from workflows.results import Result

blp = Door("tasks", Audience.OFFICER, "", "The officer's offers and tasks.")
DO = ("do", "task")


def _documents(uow: UnitOfWork, actor: Actor, found: Any) -> list[dict[str, Any]]:
    near = task_looks.suggested(uow, actor, found)
    gone = task_looks.moved_since(uow, actor, found)
    return [_document(actor, task, near, gone) for task in found]


def _one(uow: UnitOfWork, actor: Actor, task: Any) -> dict[str, Any]:
    return _documents(uow, actor, [task])[0]


def _result(actor: Actor, task: Any) -> dict[str, Any] | None:
    """What came of it; which photos, only to who took them: another's id is nothing to begin an upload with."""
    if task.result is None or task.resolved_by == actor.user_id:
        return cast(dict[str, Any] | None, task.result)
    return {**task.result, "evidence_ids": []}


def _document(actor: Actor, task: Any, near: dict[UUID, str], gone: set[UUID]) -> dict[str, Any]:
    """Of a task that goes on without him he sees no more than there was when he left it."""
    share = assignments.share_of(task, actor.user_id)
    assert share is not None, "whoever sees a task here has a share in it"
    has_left = share.state in task_looks.LEFT
    others = [
        one for one in task.assignments if one.officer_id != actor.user_id and assignments.is_active(one)
    ]
    return {
        "id": task.id,
        "number": task.number,
        "version": task.version,
        "state": task.state,
        "my_state": share.state,
        "kind": kind_document(task.kind),
        "priority": task.priority,
        "description": task.description,
        "place": None if task.id in gone else nearest.place_of(task),
        "place_name": task.place_name,
        "area": task.area,
        "needed": task.needed,
        "accepted": len(assignments.active(task)),
        "mates": [
            {"id": one.officer_id, "display_name": one.officer.display_name, "state": one.state}
            for one in ([] if has_left else others)
        ],
        "by_crew": task.by_crew,
        "created_at": task.created_at,
        "offered_at": share.offered_at,
        "lapses_at": share.lapses_at,
        "accepted_at": share.accepted_at,
        "departed_at": share.departed_at,
        "arrived_at": share.arrived_at,
        "ended_at": share.ended_at,
        "accept_due_at": task.accept_due_at,
        "arrive_due_at": task.arrive_due_at,
        "complete_due_at": task.complete_due_at,
        "overdue": task.overdue,
        "distance_m": share.distance_m,
        "eta_s": share.eta_s,
        "suggests": near.get(task.id),
        "suspended_by": share.suspended_by,
        "reason": share.reason,
        "result": None if has_left else _result(actor, task),
        "actions": tasks.officer_actions(actor, task),
    }


def kind_document(kind: Any) -> dict[str, Any]:
    """Return a kind as the schema shows it."""
    return {
        "id": kind.id,
        "code": kind.code,
        "name": kind.name,
        "priority": kind.priority,
        "checklist": kind.checklist,
        "questions": [{"choices": [], **question} for question in kind.questions],
        "wants_evidence": kind.wants_evidence,
        "reportable": task_kinds.may_be_reported(kind),
    }


@blp.query(
    "/tasks", may=DO, answers=page_of(OfficerTaskSchema), arguments=OfficerTasksQuerySchema, refuses=(422,)
)
def list_tasks(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List one's offers and tasks, the newest offer first; with `past` those that are over for oneself."""
    found = task_looks.own(
        uow, actor, past=query["past"], after=decode_cursor(query.get("cursor")), limit=query["limit"]
    )
    return Page(_documents(uow, actor, found.items), found.after)


@blp.query("/tasks/<uuid:task_id>", may=DO, answers=OfficerTaskSchema)
def get_task(uow: UnitOfWork, actor: Actor, task_id: UUID) -> dict[str, Any]:
    """Return one of one's tasks; 404 once one has declined it, or the offer lapsed or was withdrawn."""
    return _one(uow, actor, task_looks.of_own(uow, actor, task_id))


@blp.command("/tasks/<uuid:task_id>/accept", may=DO, body=OfficerTaskActSchema, answers=OfficerTaskSchema)
def accept_task(
    uow: UnitOfWork, actor: Actor, task_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Accept an offered task; 409 `wrong_state` says what became of the offer meanwhile."""
    return _one(uow, actor, tasks.accept(uow, actor, task_id, command_id=command_id, **body))


@blp.command("/tasks/<uuid:task_id>/decline", may=DO, body=OfficerTaskReasonSchema, answers=OfficerTaskSchema)
def decline_task(
    uow: UnitOfWork, actor: Actor, task_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Decline an offered task, and say why; it is not seen any more."""
    return _one(uow, actor, tasks.decline(uow, actor, task_id, command_id=command_id, **body))


@blp.command("/tasks/<uuid:task_id>/depart", may=DO, body=OfficerTaskActSchema, answers=OfficerTaskSchema)
def depart_to_task(
    uow: UnitOfWork, actor: Actor, task_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Set out."""
    return _one(uow, actor, tasks.depart(uow, actor, task_id, command_id=command_id, **body))


@blp.command("/tasks/<uuid:task_id>/arrive", may=DO, body=OfficerTaskActSchema, answers=OfficerTaskSchema)
def arrive_at_task(
    uow: UnitOfWork, actor: Actor, task_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Be there."""
    return _one(uow, actor, tasks.arrive(uow, actor, task_id, command_id=command_id, **body))


@blp.command(
    "/tasks/<uuid:task_id>/resolve",
    may=DO,
    body=OfficerTaskResolveSchema,
    answers=OfficerTaskSchema,
    refuses=(409, 422),
)
def resolve_task(
    uow: UnitOfWork, actor: Actor, task_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Say that it is done, and what came of it; it is done for everybody who took part."""
    device_at = body.pop("device_at")
    result = Result(**body)
    return _one(
        uow, actor, tasks.resolve(uow, actor, task_id, result, command_id=command_id, device_at=device_at)
    )


@blp.command(
    "/tasks/<uuid:task_id>/hand-back", may=DO, body=OfficerTaskReasonSchema, answers=OfficerTaskSchema
)
def hand_back_task(
    uow: UnitOfWork, actor: Actor, task_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Give the task back, and say why; the desk finds somebody else."""
    return _one(uow, actor, tasks.hand_back(uow, actor, task_id, command_id=command_id, **body))


@blp.query(
    "/task-kinds", may=("see", "task_kind"), answers=page_of(OfficerTaskKindSchema), arguments=PageQuerySchema
)
def list_task_kinds(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the kinds of task that are in use."""
    found = task_kinds.in_use(uow, actor, after=decode_cursor(query.get("cursor")), limit=query["limit"])
    return Page([kind_document(kind) for kind in found.items], found.after)
