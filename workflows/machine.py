"""State machines as tables: who may do what, from which state to which, and which moment it stamps.

A table is data and is used five times: as the guard, as the ``actions`` of an answer, as the body of a 409, as the
diagram in ``docs/`` and as the source of generated tests.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import select

from backend.core.errors import Forbidden, Invalid, WrongState
from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Role
from backend.models import Journal
from workflows import journal

REPLAY_WINDOW = timedelta(days=31)


class Row(Protocol):
    """What a machine moves: a locked row with a state and a version."""

    id: UUID
    town_id: UUID
    state: Any
    version: Any


@dataclass(frozen=True)
class Step:
    """One row of a table: ``action`` takes a row from one of ``sources`` to ``target``, pressed by one of ``by``.

    A ``target`` of None (``AS_BEFORE``) takes it back to where a suspension found it, which the row remembers in
    ``suspended_from``.
    """

    action: str
    sources: frozenset[StrEnum]
    target: StrEnum | None
    by: frozenset[Role]
    stamps: str | None = None


AS_BEFORE = None


def step(
    action: str,
    sources: Iterable[StrEnum],
    target: StrEnum | None,
    by: Iterable[Role],
    stamps: str | None = None,
) -> Step:
    """Write one row of a table."""
    return Step(action, frozenset(sources), target, frozenset(by), stamps)


class Machine:
    """The table of one kind of row. An action may stand in several rows when their sources do not overlap."""

    def __init__(self, kind: str, initial: StrEnum, *steps: Step) -> None:
        self.kind, self.initial, self.steps = kind, initial, steps
        going_back = {source for s in steps if s.target is None for source in s.sources}
        self._suspends = next(iter(going_back), None)
        if missed := set(type(initial)) - self.reached():
            raise ValueError(f"{kind}: nothing leads to {', '.join(sorted(missed))}.")
        pairs = [(s.action, source) for s in steps for source in s.sources]
        if len(pairs) != len(set(pairs)):
            raise ValueError(f"{kind} has two rows for one action in one state.")

    def reached(self) -> set[StrEnum]:
        """Return the states that a row can be brought to, step by step from the initial one."""
        found = {self.initial}
        while more := {s.target for s in self.steps if s.target is not None and s.sources & found} - found:
            found |= more
        return found

    def actions(self, actor: Actor, row: Row) -> list[str]:
        """Return what the actor's roles allow in the row's present state, in the table's order."""
        return list(
            dict.fromkeys(s.action for s in self.steps if row.state in s.sources and s.by & actor.roles)
        )

    def fire(
        self,
        uow: UnitOfWork,
        actor: Actor,
        row: Row,
        action: str,
        *,
        command_id: UUID | None,
        reason: str | None = None,
        device_at: datetime | None = None,
        on_behalf_of: UUID | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> bool:
        """Move a locked row and journal it; return False, and change nothing, when ``command_id`` was done before.

        Raises:
            Invalid: ``key_reused``; the actor has done something else to this row under this ``command_id``.
            WrongState: no row of the table starts here; the refusal names the state and what is possible.
            Forbidden: the table has the row, but none of the actor's roles may press it.
        """
        if self.replayed(uow, actor, row, action, command_id):
            return False
        found = next((s for s in self.steps if s.action == action and row.state in s.sources), None)
        if found is None:
            raise WrongState(str(row.state), self.actions(actor, row))
        if not found.by & actor.roles:
            raise Forbidden()
        before, row.state, row.version = row.state, self._target(found, row), row.version + 1
        if found.stamps:
            setattr(row, found.stamps, uow.now)
        journal.write(
            uow,
            actor,
            self.kind,
            row.id,
            action,
            before=str(before),
            after=str(row.state),
            command_id=command_id,
            reason=reason,
            device_at=device_at,
            on_behalf_of=on_behalf_of,
            data=data,
        )
        return True

    def _target(self, found: Step, row: Row) -> StrEnum:
        """Return where the step takes this row, and let a machine that suspends remember where it came from."""
        kind = type(self.initial)
        if found.target is None:
            back, row.suspended_from = row.suspended_from, None  # type: ignore[attr-defined]
            return kind(back)
        if self._suspends:
            suspended = found.target == self._suspends
            row.suspended_from = row.state if suspended else None  # type: ignore[attr-defined]
        return found.target

    def replayed(self, uow: UnitOfWork, actor: Actor, row: Row, action: str, command_id: UUID | None) -> bool:
        """Say whether the actor has done this under this ``command_id`` before.

        Raises:
            Invalid: ``key_reused``; he has done something else to this row under it.
        """
        done = self.did(uow, actor, row, command_id) if command_id is not None else None
        if done is not None and done != action:
            raise Invalid("This command's id was used for another act.", "key_reused")
        return done is not None

    def did(self, uow: UnitOfWork, actor: Actor, row: Row, command_id: UUID) -> str | None:
        """Return what the actor did to the row under ``command_id``, if anything."""
        return uow.session.scalar(
            select(Journal.action)
            .where(
                Journal.command_id == command_id,
                Journal.subject_kind == self.kind,
                Journal.subject_id == row.id,
            )
            .where(Journal.actor_id == actor.user_id, Journal.at > uow.now - REPLAY_WINDOW)
            .limit(1)
        )
