"""Kinds of task: what officers may be told to do, as the town's own data."""

from typing import Any
from uuid import UUID

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience
from mobile_api.desk.task_schemas import (
    DeskTaskKindBodySchema,
    DeskTaskKindNewSchema,
    DeskTaskKindSchema,
    DeskTaskKindsQuerySchema,
)
from mobile_api.endpoint import Door
from mobile_api.paging import decode_cursor, page_of
from workflows import task_kinds

blp = Door("task-kinds", Audience.DESK, "/task-kinds", "Kinds of task.")
SEE, MANAGE = ("see", "task_kind"), ("manage", "task_kind")

_PLAIN = [name for name in DeskTaskKindSchema().fields if name != "actions"]


def _document(actor: Actor, kind: Any) -> dict[str, Any]:
    return {**{name: getattr(kind, name) for name in _PLAIN}, "actions": task_kinds.actions(actor, kind)}


@blp.query(
    "", may=SEE, answers=page_of(DeskTaskKindSchema), arguments=DeskTaskKindsQuerySchema, refuses=(422,)
)
def list_task_kinds(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the town's kinds of task by code."""
    found = task_kinds.in_use(
        uow,
        actor,
        retired=query["retired"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    return Page([_document(actor, kind) for kind in found.items], found.after)


@blp.command(
    "", may=MANAGE, body=DeskTaskKindNewSchema, answers=DeskTaskKindSchema, status=201, refuses=(409, 422)
)
def create_task_kind(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Make a kind of task."""
    return _document(actor, task_kinds.create(uow, actor, body, command_id=command_id))


@blp.command(
    "/<uuid:kind_id>",
    may=MANAGE,
    method="PUT",
    body=DeskTaskKindBodySchema,
    answers=DeskTaskKindSchema,
    refuses=(409, 422),
    if_match=True,
)
def change_task_kind(
    uow: UnitOfWork, actor: Actor, kind_id: UUID, command_id: UUID, body: dict[str, Any], version: int
) -> dict[str, Any]:
    """Say anew all there is to say about a kind; tasks that exist keep their times and number of people."""
    return _document(
        actor, task_kinds.change(uow, actor, kind_id, body, version=version, command_id=command_id)
    )


@blp.command("/<uuid:kind_id>/retire", may=MANAGE, answers=DeskTaskKindSchema)
def retire_task_kind(uow: UnitOfWork, actor: Actor, kind_id: UUID, command_id: UUID) -> dict[str, Any]:
    """Take a kind out of use; its tasks stay."""
    return _document(actor, task_kinds.retire(uow, actor, kind_id, command_id=command_id))
