"""Commands that were answered: a retry with the same key is answered the same and does nothing."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from backend.core.errors import Invalid
from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.models import Command


@dataclass(frozen=True)
class Kept:
    """How a command was answered the first time."""

    status: int
    answer: Any


def begin(uow: UnitOfWork, actor: Actor, route: str, key: UUID, body_hash: bytes) -> Kept | None:
    """Claim a key for this transaction, or return how it was answered before.

    A second request with the same key waits here until the first has committed or rolled back, so of two at once
    exactly one acts.

    Raises:
        Invalid: ``key_reused``, when the key was used for another act or another body.
    """
    claimed = uow.session.scalar(
        insert(Command)
        .values(
            town_id=uow.town,
            actor_id=actor.user_id,
            route=route,
            key=key,
            body_hash=body_hash,
            created_at=uow.now,
        )
        .on_conflict_do_nothing()
        .returning(Command.key)
    )
    if claimed is not None:
        return None
    before = uow.session.execute(
        select(Command.route, Command.body_hash, Command.status, Command.answer).where(
            Command.actor_id == actor.user_id, Command.key == key
        )
    ).one()
    if before.route != route or before.body_hash != body_hash:
        raise Invalid("This Idempotency-Key was used for another act.", "key_reused")
    return Kept(before.status, before.answer)


def finish(uow: UnitOfWork, actor: Actor, key: UUID, status: int, answer: Any) -> None:
    """Keep the answer of a command in the transaction of its act."""
    uow.session.execute(
        update(Command)
        .where(Command.actor_id == actor.user_id, Command.key == key)
        .values(status=status, answer=answer)
    )


def forget_old(uow: UnitOfWork, days: int) -> int:
    """Delete commands older than ``days``; return how many."""
    result = uow.session.execute(delete(Command).where(Command.created_at < uow.now - timedelta(days=days)))
    return int(result.rowcount)  # type: ignore[attr-defined]
