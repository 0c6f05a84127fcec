"""The custody log: one hash chain for each piece of evidence, added to and never changed.

An entry's hash covers all that it says and the hash of the one before it, so that an entry that is altered, put in or
taken out breaks the chain from there on. It holds digests of content and references, no names and no places.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import CustodyAct
from backend.models import Custody, Evidence

BEGINNING = bytes(32)
"""What the first entry of a chain follows."""


def write(
    uow: UnitOfWork, actor: Actor, evidence: Evidence, action: CustodyAct, **digests: bytes | int | str | None
) -> None:
    """Add an entry to the chain of a locked piece of evidence.

    ``digests`` says which content it was: hashes, and how long it is.
    """
    last = uow.session.execute(
        select(Custody.seq, Custody.entry_hash)
        .where(Custody.evidence_id == evidence.id)
        .order_by(Custody.seq.desc())
        .limit(1)
    ).first()
    told = {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in digests.items()
        if value is not None
    }
    seq, previous = (last.seq + 1, last.entry_hash) if last else (1, BEGINNING)
    entry_hash = hash_of(
        previous,
        evidence_id=evidence.id, seq=seq, at=uow.now, actor_id=actor.user_id, action=action, digests=told,
    )  # fmt: skip
    uow.session.add(
        Custody(
            evidence_id=evidence.id,
            seq=seq,
            town_id=uow.town,
            at=uow.now,
            actor_id=actor.user_id,
            action=action,
            digests=told,
            previous_hash=previous,
            entry_hash=entry_hash,
        )
    )
    uow.session.flush()


def hash_of(
    previous: bytes,
    *,
    evidence_id: UUID,
    seq: int,
    at: datetime,
    actor_id: UUID | None,
    action: str,
    digests: Mapping[str, Any],
) -> bytes:
    """Return the SHA-256 of an entry: of the hash before it, a line feed, and its members as sorted JSON in UTF-8."""
    members = {
        "evidence_id": str(evidence_id),
        "seq": seq,
        "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor_id": str(actor_id) if actor_id else None,
        "action": str(action),
        "digests": dict(digests),
    }
    text = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(previous.hex().encode() + b"\n" + text.encode()).digest()


def of(uow: UnitOfWork, evidence_id: UUID) -> list[Custody]:
    """Return the chain of a piece of evidence, from its beginning."""
    return list(
        uow.session.scalars(select(Custody).where(Custody.evidence_id == evidence_id).order_by(Custody.seq))
    )


def first_wrong(entries: Iterable[Custody]) -> int | None:
    """Return at which place of a chain the first entry stands that does not follow, or None where all do."""
    previous = BEGINNING
    for place, entry in enumerate(entries, 1):
        expected = hash_of(
            previous,
            evidence_id=entry.evidence_id, seq=entry.seq, at=entry.at, actor_id=entry.actor_id,
            action=entry.action, digests=entry.digests,
        )  # fmt: skip
        if (entry.seq, entry.previous_hash, entry.entry_hash) != (place, previous, expected):
            return place
        previous = entry.entry_hash
    return None
