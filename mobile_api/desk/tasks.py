"""Tasks as the desk sees and dispatches them."""

from typing import Any
from uuid import UUID

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience, TaskSource
from mobile_api.desk.task_schemas import (
    DeskNearestOfficersSchema,
    DeskNearestQuerySchema,
    DeskNearestToTaskQuerySchema,
    DeskOfferSchema,
    DeskReassignSchema,
    DeskReinforceSchema,
    DeskReleaseSchema,
    DeskTaskNewSchema,
    DeskTaskReasonSchema,
    DeskTaskSchema,
    DeskTasksQuerySchema,
    DeskTimelineSchema,
)
from mobile_api.endpoint import Door
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import assignments, nearest, patrol_looks, task_looks, tasks, timelines
from workflows.offering import Whom

blp = Door("tasks", Audience.DESK, "/tasks", "Tasks in your areas.")
SEE, DISPATCH, VERIFY = ("see", "task"), ("dispatch", "task"), ("verify", "task")


def task_document(actor: Actor, task: Any) -> dict[str, Any]:
    """Return a task as the schema shows it."""
    return {
        **{name: getattr(task, name) for name in _PLAIN},
        "place": nearest.place_of(task),
        "assignments": [_assignment(actor, share) for share in task.assignments],
        "actions": tasks.desk_actions(actor, task),
    }


_PLAIN = [name for name in DeskTaskSchema().fields if name not in ("place", "assignments", "actions")]


def _assignment(actor: Actor, share: Any) -> dict[str, Any]:
    return {
        **{name: getattr(share, name) for name in _PLAIN_OF_SHARE},
        "actions": assignments.desk_actions(actor, share),
    }


_PLAIN_OF_SHARE = (
    "id", "officer", "state", "distance_m", "eta_s", "offered_at", "lapses_at", "accepted_at", "departed_at",
    "arrived_at", "ended_at", "suspended_by", "reason",
)  # fmt: skip


def whom_of(body: dict[str, Any] | None) -> Whom | None:
    """Return to whom an offer of a body goes."""
    if body is None:
        return None
    return Whom(officer_ids=body["officer_ids"], nearest=body["nearest"], busy_too=body["busy_too"])


@blp.query("", may=SEE, answers=page_of(DeskTaskSchema), arguments=DeskTasksQuerySchema, refuses=(422,))
def list_tasks(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the tasks in your areas, newest first."""
    found = task_looks.at_desk(
        uow,
        actor,
        state=query["state"],
        unfinished=query["unfinished"],
        area_id=query["area_id"],
        overdue=query["overdue"],
        officer_id=query["officer_id"],
        source_id=query["source_id"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    return Page([task_document(actor, task) for task in found.items], found.after)


@blp.command(
    "", may=DISPATCH, body=DeskTaskNewSchema, answers=DeskTaskSchema, status=201, refuses=(404, 409, 422)
)
def create_task(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Make a task, and offer it at once if `offer` says to whom."""
    found_on = patrol_looks.one(uow, actor, body["patrol_id"]) if body["patrol_id"] else None
    task = tasks.create(
        uow,
        actor,
        command_id=command_id,
        task_id=body["id"],
        kind_id=body["kind_id"],
        description=body["description"],
        place=tuple(body["place"]),
        place_name=body["place_name"],
        priority=body["priority"],
        needed=body["needed"],
        by_crew=body["by_crew"],
        offers_itself=body["offers_itself"],
        whom=whom_of(body["offer"]),
        area_id=found_on.area_id if found_on else None,
        source=TaskSource.PATROL if found_on else TaskSource.DESK,
        source_id=found_on.id if found_on else None,
    )
    return task_document(actor, task)


@blp.query(
    "/nearest",
    may=DISPATCH,
    answers=DeskNearestOfficersSchema,
    arguments=DeskNearestQuerySchema,
    refuses=(404, 422),
)
def list_nearest(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> dict[str, Any]:
    """List the officers nearest to a place who are suitable for a kind of task, before there is one."""
    found = nearest.to_place(
        uow,
        actor,
        (query["lon"], query["lat"]),
        kind_id=query["kind_id"],
        alarm_id=query["alarm_id"],
        busy_too=query["busy_too"],
        limit=query["limit"],
    )
    return {"items": found, "next": None}


@blp.query("/<uuid:task_id>", may=SEE, answers=DeskTaskSchema)
def get_task(uow: UnitOfWork, actor: Actor, task_id: UUID) -> dict[str, Any]:
    """Return one task."""
    return task_document(actor, task_looks.at_desk_one(uow, actor, task_id))


@blp.query(
    "/<uuid:task_id>/nearest",
    may=DISPATCH,
    answers=DeskNearestOfficersSchema,
    arguments=DeskNearestToTaskQuerySchema,
    refuses=(422,),
)
def list_nearest_to_task(
    uow: UnitOfWork, actor: Actor, task_id: UUID, query: dict[str, Any]
) -> dict[str, Any]:
    """List the officers nearest to the task who are suitable and do not have it already."""
    found = nearest.to_task(uow, actor, task_id, busy_too=query["busy_too"], limit=query["limit"])
    return {"items": found, "next": None}


@blp.query(
    "/<uuid:task_id>/timeline",
    may=SEE,
    answers=DeskTimelineSchema,
    arguments=PageQuerySchema,
    refuses=(422,),
)
def list_timeline(uow: UnitOfWork, actor: Actor, task_id: UUID, query: dict[str, Any]) -> Page[Any]:
    """Tell what happened to a task from its beginning: who, what, when, where, on which device's clock."""
    return timelines.of_task(
        uow, actor, task_id, after=decode_cursor(query.get("cursor")), limit=query["limit"]
    )


@blp.command(
    "/<uuid:task_id>/offer", may=DISPATCH, body=DeskOfferSchema, answers=DeskTaskSchema, refuses=(409, 422)
)
def offer_task(
    uow: UnitOfWork, actor: Actor, task_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Offer an open task to officers; whoever accepts first has it."""
    whom = whom_of(body)
    assert whom is not None
    return task_document(actor, tasks.offer(uow, actor, task_id, whom, command_id=command_id))


@blp.command(
    "/<uuid:task_id>/reinforce",
    may=DISPATCH,
    body=DeskReinforceSchema,
    answers=DeskTaskSchema,
    refuses=(409, 422),
)
def reinforce_task(
    uow: UnitOfWork, actor: Actor, task_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Offer a task that is under way to more officers."""
    whom = whom_of(body)
    assert whom is not None
    task = tasks.reinforce(uow, actor, task_id, whom, needed=body["needed"], command_id=command_id)
    return task_document(actor, task)


@blp.command(
    "/<uuid:task_id>/reassign",
    may=DISPATCH,
    body=DeskReassignSchema,
    answers=DeskTaskSchema,
    refuses=(409, 422),
)
def reassign_task(
    uow: UnitOfWork, actor: Actor, task_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Take the task from those who have it and offer it to others."""
    whom = whom_of(body)
    assert whom is not None
    task = tasks.reassign(uow, actor, task_id, whom, reason=body["reason"], command_id=command_id)
    return task_document(actor, task)


@blp.command("/<uuid:task_id>/release", may=DISPATCH, body=DeskReleaseSchema, answers=DeskTaskSchema)
def release_officer(
    uow: UnitOfWork, actor: Actor, task_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Take one officer off the task, or his offer back; nobody is asked in his place."""
    return task_document(actor, tasks.take_off(uow, actor, task_id, command_id=command_id, **body))


@blp.command("/<uuid:task_id>/cancel", may=DISPATCH, body=DeskTaskReasonSchema, answers=DeskTaskSchema)
def cancel_task(
    uow: UnitOfWork, actor: Actor, task_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Call the task off."""
    return task_document(actor, tasks.cancel(uow, actor, task_id, command_id=command_id, **body))


@blp.command("/<uuid:task_id>/verify", may=VERIFY, answers=DeskTaskSchema)
def verify_task(uow: UnitOfWork, actor: Actor, task_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Close a resolved task: the desk has looked at what came of it."""
    return task_document(actor, tasks.verify(uow, actor, task_id, command_id=command_id))


@blp.command("/<uuid:task_id>/rework", may=VERIFY, body=DeskTaskReasonSchema, answers=DeskTaskSchema)
def rework_task(
    uow: UnitOfWork, actor: Actor, task_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Give a resolved task back to those who resolved it; those off shift hand it back at once."""
    return task_document(actor, tasks.rework(uow, actor, task_id, command_id=command_id, **body))
