"""Commands that were answered: a retry with the same key is answered the same and does nothing."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from backend.core.errors import Invalid, Refusal
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


def is_known(uow: UnitOfWork, actor: Actor, key: UUID) -> bool:
    """Say whether a command with this key was answered before."""
    return bool(
        uow.session.scalar(
            select(Command.key).where(Command.actor_id == actor.user_id, Command.key == key).limit(1)
        )
    )


def is_final(refusal: Refusal) -> bool:
    """Say whether a refusal is the command's answer for good, and so is kept.

    What is ours (5xx), who is not signed in (401), and whoever is told to come again with the same key is not answered
    yet: the same key may still act.
    """
    return refusal.status < 500 and refusal.status not in (401, 429) and "retry_after_s" not in refusal.extra


def finish(uow: UnitOfWork, actor: Actor, key: UUID, status: int, answer: Any) -> None:
    """Keep the answer of a command, or its refusal as a problem, in the transaction of its act."""
    uow.session.execute(
        update(Command)
        .where(Command.actor_id == actor.user_id, Command.key == key)
        .values(status=status, answer=answer)
    )
