"""The custody log: one hash chain for each piece of evidence, added to and never changed.

An entry's hash covers all that it says and the hash of the one before it, so that an entry that is altered, put in or
taken out breaks the chain from there on. Each carries a MAC of its hash by a key outside the database (``use``), so
that an entry which the application has not added is known as that. It holds digests of content and references, no names
and no places.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.orm import joinedload

from backend.core.identity import Actor
from backend.core.paging import Page, only_number, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import CustodyAct, EvidenceState
from backend.models import Custody, Evidence
from workflows import access

BEGINNING = bytes(32)
"""What the first entry of a chain follows."""
ROUND_DAYS = 7
"""Within so many days each chain is verified, also one to which nothing was added."""
LONGEST = timedelta(hours=1)
"""So long at most after its moment an entry is committed."""
VERSION = 2
"""What an entry says of itself, under its hash: that it carries a MAC. Nobody takes the MAC away unseen."""
AT_ONCE = 200
"""Chains that are read together."""


_keys: Sequence[bytes] = ()


def use(keys: Sequence[bytes]) -> None:
    """Let this process write and verify MACs: by the first key new ones are made, by each of them old ones hold."""
    global _keys
    _keys = tuple(keys)


@dataclass(frozen=True)
class Broken:
    """A chain that does not hold, and the place of the first entry that is wrong or missing."""

    evidence_id: UUID
    place: int


def write(
    uow: UnitOfWork, actor: Actor, evidence: Evidence, action: CustodyAct, **digests: bytes | int | str | None
) -> int:
    """Add an entry to the chain of a locked piece of evidence, and return its place.

    ``digests`` says which content it was: hashes, and how long it is.
    """
    last = uow.session.execute(
        select(Custody.seq, Custody.entry_hash)
        .where(Custody.evidence_id == evidence.id)
        .order_by(Custody.seq.desc())
        .limit(1)
    ).first()
    told: dict[str, Any] = {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in digests.items()
        if value is not None
    }
    told["v"] = VERSION
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
            mac=mac_of(entry_hash),
        )
    )
    uow.session.flush()
    return seq


def mac_of(entry_hash: bytes, key: bytes | None = None) -> bytes:
    """Return the MAC of an entry (HMAC-SHA256), by the key that is used now or by another one."""
    if key is None and not _keys:
        raise RuntimeError("Entries of the custody log need use() first.")
    return hmac.digest(key or _keys[0], b"custody:" + entry_hash, "sha256")


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
    members = _members(evidence_id, seq, at, actor_id, action, digests)
    text = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(previous.hex().encode() + b"\n" + text.encode()).digest()


def _members(
    evidence_id: UUID, seq: int, at: datetime, actor_id: UUID | None, action: str, digests: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "evidence_id": str(evidence_id),
        "seq": seq,
        "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor_id": str(actor_id) if actor_id else None,
        "action": str(action),
        "digests": dict(digests),
    }


def said_of(entry: Custody) -> dict[str, Any]:
    """Return what an entry says, as it is hashed."""
    return _members(entry.evidence_id, entry.seq, entry.at, entry.actor_id, entry.action, entry.digests)


def of(uow: UnitOfWork, evidence_id: UUID) -> list[Custody]:
    """Return the chain of a piece of evidence, from its beginning."""
    return list(
        uow.session.scalars(select(Custody).where(Custody.evidence_id == evidence_id).order_by(Custody.seq))
    )


def look(
    uow: UnitOfWork, actor: Actor, evidence_id: UUID, *, after: Sequence[str] | None, limit: int
) -> Page[Custody]:
    """Return what happened to a piece of evidence and who had it in hand, the latest first."""
    found = access.custody(uow, actor, evidence_id)
    query = select(Custody).where(Custody.evidence_id == found.id).options(joinedload(Custody.actor))
    if (seq := only_number(after)) is not None:
        query = query.where(Custody.seq < seq)
    rows = list(uow.session.scalars(query.order_by(Custody.seq.desc()).limit(limit + 1)))
    return page(rows, limit, lambda row: (str(row.seq),))


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


def first_mac_at(uow: UnitOfWork) -> datetime | None:
    """Return since when the town's entries carry MACs; None where none does."""
    query = select(Custody.at).where(Custody.town_id == uow.town, Custody.digests.has_key("v"))
    return uow.session.scalar(query.order_by(Custody.at).limit(1))


def first_forged(entries: Iterable[Custody], macs_since: datetime | None) -> int | None:
    """Return at which place of a chain the first entry stands that the application has not added, or None.

    An entry without a MAC has to be from before there were any, or from a process of before that still ran then.
    """
    for place, entry in enumerate(entries, 1):
        if entry.mac is None:
            if "v" in entry.digests or (macs_since is not None and entry.at >= macs_since + LONGEST):
                return place
        elif not any(hmac.compare_digest(entry.mac, mac_of(entry.entry_hash, key)) for key in _keys):
            return place
    return None


def verify(uow: UnitOfWork, *, since: datetime) -> Iterator[Broken]:
    """Yield the town's broken chains, of those that grew since then and of today's share of all.

    An end that was cut off whole leaves a chain that holds. What the item itself says of it is missed there: it has
    been announced, and where it is sealed or rejected, an entry says so.
    """
    grew = select(Custody.evidence_id).where(Custody.town_id == uow.town, Custody.at > since)
    todays = func.get_byte(func.uuid_send(Evidence.id), 15) % ROUND_DAYS == uow.now.toordinal() % ROUND_DAYS
    items = select(Evidence).where(Evidence.town_id == uow.town, or_(Evidence.id.in_(grew), todays))
    after: UUID | None = None
    macs_since = first_mac_at(uow)
    while True:
        following = items if after is None else items.where(Evidence.id > after)
        found = uow.session.scalars(following.order_by(Evidence.id).limit(AT_ONCE)).all()
        for item in found:
            entries = of(uow, item.id)
            place = (
                first_wrong(entries) or _missed(entries, item.state) or first_forged(entries, macs_since)
                or first_misfit(entries, item)
            )  # fmt: skip
            if place:
                yield Broken(item.id, place)
        last_id = found[-1].id if found else None
        uow.session.expunge_all()
        if len(found) < AT_ONCE:
            return
        after = last_id


def first_misfit(entries: Iterable[Custody], item: Evidence) -> int | None:
    """Return at which place of a chain stands what the item's row contradicts, or None where they agree.

    The row is what is shown and given out; the chain is what nobody changes unseen.
    """
    return next((entry.seq for entry in entries if not _fits(entry, item)), None)


def _fits(entry: Custody, item: Evidence) -> bool:
    told = entry.digests
    match entry.action:
        case CustodyAct.CREATED:
            return (
                entry.actor_id == item.officer_id
                and told.get("declared_sha256") == item.declared_sha256.hex()
                and datetime.fromisoformat(str(told.get("captured_at"))) == item.captured_at
            )
        case CustodyAct.SEALED:
            return item.sha256 is not None and told.get("sha256") == item.sha256.hex()
        case CustodyAct.PREVIEWED:
            return item.preview_sha256 is not None and told.get("preview_sha256") == item.preview_sha256.hex()
        case _:
            return True


def bound(uow: UnitOfWork, item: Evidence) -> bool:
    """Say whether what the item's row says of it is what its chain says: before anything of it is given out."""
    acts = (CustodyAct.CREATED, CustodyAct.SEALED, CustodyAct.PREVIEWED)
    query = (
        select(Custody).where(Custody.evidence_id == item.id, Custody.action.in_(acts)).order_by(Custody.seq)
    )
    entries = list(uow.session.scalars(query))
    told = {entry.action for entry in entries}
    return {CustodyAct.CREATED, CustodyAct.SEALED} <= told and first_misfit(entries, item) is None


def _missed(entries: list[Custody], state: str) -> int | None:
    acts = {entry.action for entry in entries}
    wanted = {str(CustodyAct.CREATED)}
    if state in (EvidenceState.SEALED, EvidenceState.REJECTED):
        wanted.add(str(state))
    return None if wanted <= acts else len(entries) + 1
