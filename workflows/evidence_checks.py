"""Reading evidence again: whether what is kept is still what was sealed.

Each file is read whole at least once in a while, its preview too, and compared with the hash that was sealed. What is
altered or missing is given out to nobody, said loudly and written into its custody log; what is found whole again, from
a backup, is given out again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import or_, select

from backend.adapters.storage import Store
from backend.core.errors import Gone
from backend.core.identity import system_actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import CustodyAct, EvidenceDamage, EvidenceState
from backend.models import Evidence
from workflows import access, custody

EVERY = timedelta(days=7)
AT_ONCE = 100


@dataclass(frozen=True)
class Kept:
    """What is to be read again of a piece of evidence."""

    id: UUID
    town_id: UUID
    digests: tuple[bytes, ...]
    length: int


class _Hashing:
    """A file that keeps nothing of what is written into it but its hash."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return len(data)


def due(uow: UnitOfWork, *, before: datetime | None = None) -> list[Kept]:
    """Return some of what was not read again since then, the longest ago first; None: as long as one may wait."""
    before = uow.now - EVERY if before is None else before
    rows = uow.session.scalars(
        select(Evidence)
        .where(
            Evidence.town_id == uow.town,
            Evidence.state == EvidenceState.SEALED,
            or_(Evidence.checked_at.is_(None), Evidence.checked_at < before),
        )
        .order_by(Evidence.checked_at.asc().nulls_first(), Evidence.id)
        .limit(AT_ONCE)
    )
    return [
        Kept(
            row.id,
            row.town_id,
            tuple(one for one in (row.sha256, row.preview_sha256) if one),
            row.length or 0,
        )
        for row in rows
    ]


def look(store: Store, kept: Kept) -> EvidenceDamage | None:
    """Read the files of a piece of evidence, and say what is wrong with them. No transaction is open meanwhile."""
    found = [_of(store, kept.town_id, digest) for digest in kept.digests]
    return next((one for one in found if one is not None), None)


def _of(store: Store, town_id: UUID, digest: bytes) -> EvidenceDamage | None:
    hashing = _Hashing()
    try:
        store.copy_to(town_id, digest, hashing)  # type: ignore[arg-type]
    except Gone:
        return EvidenceDamage.MISSING
    return None if hashing.sha256.digest() == digest else EvidenceDamage.ALTERED


def checked(uow: UnitOfWork, evidence_id: UUID, damage: EvidenceDamage | None) -> bool:
    """Write down what a look has found; say whether it is news."""
    system = system_actor(uow.town)
    found = access.evidence(uow, system, evidence_id, lock=True)
    news = found.damage != damage
    found.checked_at = uow.now
    if news:
        found.damage, found.damaged_at = damage, uow.now if damage else None
        found.version += 1
        act = CustodyAct.DAMAGED if damage else CustodyAct.RESTORED
        custody.write(uow, system, found, act, damage=str(damage) if damage else None)
    uow.session.flush()
    return news


def damaged(uow: UnitOfWork) -> Iterable[Evidence]:
    """Return what is known to be damaged in the town."""
    query = select(Evidence).where(Evidence.town_id == uow.town, Evidence.damaged_at.is_not(None))
    return uow.session.scalars(query.order_by(Evidence.damaged_at, Evidence.id))
