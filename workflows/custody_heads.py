"""Signed heads over all chains of custody: what has stood in the log cannot be taken back unseen.

Every minute in which entries arrive one head is made of a town: the root of a Merkle tree over the ends of the chains
that have grown (leaves and nodes as in RFC 6962), and the hash of the head before it, signed by a key outside the
database and written into a file outside as well. What follows from it: an entry older than the last head that is
altered, put in, taken out or cut off, with all hashes made to fit, no longer gives the root that was signed; a database
that was put back to an earlier day has fewer heads than the file. What is younger than the last head is held by the
chains and by the MAC of each entry alone: that is the window, about a minute. An entry that is added by hand has no
good MAC, whichever moment it gives.

The leaves of a head are kept beside it, so that it does not matter in which order transactions commit: what one head
has missed is in the next.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import aliased

from backend.core.uow import UnitOfWork
from backend.models import Custody, CustodyHead, CustodyLeaf, Evidence
from workflows import custody

BEGINNING = bytes(32)
"""What the first head follows."""
AT_ONCE = 500
WRITTEN_WITHIN = timedelta(minutes=5)
"""So long after its moment at most a head stands outside as well."""


class Signer(Protocol):
    """Signs heads; the key is not in the database."""

    public: bytes

    def sign(self, said: bytes) -> bytes: ...


@dataclass(frozen=True)
class Wrong:
    """Something that does not hold: of which head, and of which item at which place where it is about one."""

    what: str
    head: int | None = None
    evidence_id: UUID | None = None
    place: int | None = None


@dataclass(frozen=True)
class Verified:
    """What was verified: how much, and since when entries are not under a head yet."""

    heads: int
    items: int
    entries: int
    open_entries: int
    open_since: datetime | None


# --- Making heads


def make(uow: UnitOfWork, signer: Signer) -> CustodyHead | None:
    """Sign what has been added to the town's chains since the last head; None where nothing was.

    Who makes one at the same time waits for this one. The caller writes the head outside once it is committed.
    """
    uow.session.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"custody_heads:{uow.town}", 0)))
    )
    grown = _grown(uow)
    if not grown:
        return None
    last = uow.session.scalar(
        select(CustodyHead).where(CustodyHead.town_id == uow.town).order_by(CustodyHead.n.desc()).limit(1)
    )
    head = CustodyHead(
        town_id=uow.town, n=last.n + 1 if last else 1, at=uow.now, items=len(grown), root=root_of(map(leaf_of, grown)),
        previous_hash=hash_of(last) if last else BEGINNING, public_key=signer.public,
    )  # fmt: skip
    head.signature = signer.sign(said_of(head))
    uow.session.add(head)
    uow.session.flush()
    uow.session.add_all(
        CustodyLeaf(
            town_id=uow.town, n=head.n, evidence_id=one.evidence_id, seq=one.seq, entry_hash=one.entry_hash
        )
        for one in grown
    )
    uow.session.flush()
    return head


def _grown(uow: UnitOfWork) -> list[Custody]:
    """Return the ends of the chains that are not under a head yet, by item."""
    later = aliased(Custody)
    under = select(CustodyLeaf.evidence_id).where(
        CustodyLeaf.evidence_id == Custody.evidence_id, CustodyLeaf.seq == Custody.seq
    )
    ends = select(Custody).where(
        Custody.town_id == uow.town,
        ~select(later.seq).where(later.evidence_id == Custody.evidence_id, later.seq > Custody.seq).exists(),
        ~under.exists(),
    )
    last = select(func.max(CustodyHead.at)).where(CustodyHead.town_id == uow.town)
    if (since := uow.session.scalar(last)) is not None:
        # No transaction that adds to a chain lasts for longer. What is older and under no head, `verify` names.
        ends = ends.where(Custody.at > since - custody.LONGEST)
    return list(uow.session.scalars(ends.order_by(Custody.evidence_id)))


def leaf_of(entry: Custody | CustodyLeaf) -> bytes:
    """Return what a leaf says: 16 bytes of the item, 4 of the place (big-endian), 32 of the entry's hash."""
    return entry.evidence_id.bytes + entry.seq.to_bytes(4, "big") + entry.entry_hash


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root of a Merkle tree over leaves in their order (RFC 6962, 2.1)."""
    level = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves]
    if not level:
        return hashlib.sha256().digest()
    while len(level) > 1:
        # An odd one out goes up as it is, which gives the tree of the RFC: full to the left.
        paired = [
            hashlib.sha256(b"\x01" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)
        ]
        level = paired + level[len(paired) * 2 :]
    return level[0]


def path_of(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the nodes that lead from a leaf to the root of the tree over the leaves (RFC 6962, 2.1.1)."""
    level = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves]
    path = []
    while len(level) > 1:
        beside = index ^ 1
        if beside < len(level):
            path.append(level[beside])
        paired = [
            hashlib.sha256(b"\x01" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)
        ]
        level, index = paired + level[len(paired) * 2 :], index // 2
    return path


@dataclass(frozen=True)
class Proof:
    """That an entry is under a head: the leaf at or after it, its index among the head's, and its path to the root."""

    head: CustodyHead
    seq: int
    index: int
    path: list[bytes]


def proof_of(uow: UnitOfWork, evidence_id: UUID, seq: int) -> Proof | None:
    """Return the proof that an entry is under a head; None while it is not."""
    leaf = uow.session.scalar(
        select(CustodyLeaf)
        .where(CustodyLeaf.evidence_id == evidence_id, CustodyLeaf.seq >= seq)
        .order_by(CustodyLeaf.seq)
        .limit(1)
    )
    if leaf is None:
        return None
    head = uow.session.get_one(CustodyHead, (leaf.town_id, leaf.n))
    leaves = _leaves(uow, head)
    index = next(at for at, one in enumerate(leaves) if one.evidence_id == evidence_id)
    return Proof(head, leaf.seq, index, path_of([leaf_of(one) for one in leaves], index))


def document(head: CustodyHead) -> dict[str, Any]:
    """Return a head as it is signed, without the signature, and as it stands in the file outside, with it."""
    return {
        "town": str(head.town_id), "n": head.n, "at": head.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "items": head.items, "root": head.root.hex(), "previous": head.previous_hash.hex(),
        "key": head.public_key.hex(),
    }  # fmt: skip


def said_of(head: CustodyHead) -> bytes:
    """Return the bytes that are signed: sorted JSON without spaces, in UTF-8."""
    return json.dumps(document(head), sort_keys=True, separators=(",", ":")).encode()


def hash_of(head: CustodyHead) -> bytes:
    """Return what the next head says of this one: of what was signed, and of the signature."""
    return hashlib.sha256(said_of(head) + head.signature).digest()


def line(head: CustodyHead) -> dict[str, Any]:
    """Return what stands in the file outside."""
    return {**document(head), "signature": head.signature.hex()}


def newest(outside: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return by town up to which head the file outside goes."""
    found: dict[str, int] = {}
    for told in outside:
        town, n = str(told.get("town")), told.get("n")
        if isinstance(n, int):
            found[town] = max(n, found.get(town, 0))
    return found


def unwritten(uow: UnitOfWork, *, written: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return what the file outside does not say of the town yet; a worker may die between the commit and the file."""
    return [line(head) for head in after(uow, written.get(str(uow.town), 0))]


def after(uow: UnitOfWork, n: int) -> list[CustodyHead]:
    """Return the town's heads after a number, in order: what the file outside does not have yet."""
    query = select(CustodyHead).where(CustodyHead.town_id == uow.town, CustodyHead.n > n)
    return list(uow.session.scalars(query.order_by(CustodyHead.n)))


# --- Verifying


def verify(
    uow: UnitOfWork,
    outside: Sequence[dict[str, Any]],
    is_signed: Callable[[bytes, bytes, bytes], bool],
    *,
    keys: Sequence[bytes],
    chains: bool = True,
    report: Callable[[Verified], None] = lambda _: None,
) -> Iterator[Wrong]:
    """Yield what does not hold of the town's heads and chains.

    ``outside`` is what stands in the file about the town, ``keys`` are the public keys whose heads are believed.
    Without ``chains`` the entries between the ends of the chains are not read.
    """
    heads = after(uow, 0)
    yield from _outside(heads, outside, uow.now - WRITTEN_WITHIN)
    yield from _heads(heads, is_signed, keys)
    if heads:
        yield from _backdated(uow, heads[-1].at - custody.LONGEST)
    signed: dict[UUID, int] = {}
    for head in heads:
        leaves = _leaves(uow, head)
        if len(leaves) != head.items or root_of(map(leaf_of, leaves)) != head.root:
            yield Wrong("the leaves of this head are not those that were signed", head=head.n)
        yield from _entries(uow, head, leaves)
        signed |= {one.evidence_id: max(one.seq, signed.get(one.evidence_id, 0)) for one in leaves}
        uow.session.expunge_all()
    if not chains:
        return
    count = Verified(len(heads), 0, 0, 0, None)
    macs_since = custody.first_mac_at(uow)
    for evidence_id, entries in _chains(uow):
        if (place := custody.first_wrong(entries)) is not None:
            yield Wrong("the chain does not hold", evidence_id=evidence_id, place=place)
        elif (place := custody.first_forged(entries, macs_since)) is not None:
            yield Wrong("an entry was not added by the application", evidence_id=evidence_id, place=place)
        elif (item := uow.session.get(Evidence, evidence_id)) and (
            place := custody.first_misfit(entries, item)
        ):
            yield Wrong("the item says something else than its chain", evidence_id=evidence_id, place=place)
        unsigned = [one.at for one in entries if one.seq > signed.get(evidence_id, 0)]
        count = Verified(
            count.heads, count.items + 1, count.entries + len(entries), count.open_entries + len(unsigned),
            min([*unsigned, *([count.open_since] if count.open_since else [])], default=None),
        )  # fmt: skip
    report(count)


def _backdated(uow: UnitOfWork, before: datetime) -> Iterator[Wrong]:
    """Yield the first entry of each chain that says it is older than the last head, and that no head is about."""
    later = select(CustodyLeaf.seq).where(
        CustodyLeaf.evidence_id == Custody.evidence_id, CustodyLeaf.seq >= Custody.seq
    )
    found = (
        select(Custody.evidence_id, func.min(Custody.seq).label("place"))
        .where(Custody.town_id == uow.town, Custody.at < before, ~later.exists())
        .group_by(Custody.evidence_id)
        .order_by(Custody.evidence_id)
    )
    for row in uow.session.execute(found):
        yield Wrong("an entry is older than the last head and under none", None, row.evidence_id, row.place)


def _outside(
    heads: Sequence[CustodyHead], outside: Sequence[dict[str, Any]], before: datetime
) -> Iterator[Wrong]:
    known = {head.n: line(head) for head in heads}
    written = {told.get("n") for told in outside}
    for head in heads:
        if head.n not in written and head.at < before:
            yield Wrong("this head does not stand outside", head=head.n)
    for told in outside:
        n = told.get("n")
        if n not in known:
            yield Wrong("the database is older than this head, which stands outside", head=n)
        elif told != known[n]:
            yield Wrong("this head says something else outside", head=n)


def _heads(
    heads: Sequence[CustodyHead], is_signed: Callable[[bytes, bytes, bytes], bool], keys: Sequence[bytes]
) -> Iterator[Wrong]:
    previous = BEGINNING
    for n, head in enumerate(heads, 1):
        if head.n != n:
            yield Wrong("a head is missing before this one", head=head.n)
            return
        if head.previous_hash != previous:
            yield Wrong("this head does not follow the one before it", head=head.n)
        if head.public_key not in keys or not is_signed(head.public_key, head.signature, said_of(head)):
            yield Wrong("this head is not signed by a key that is believed", head=head.n)
        previous = hash_of(head)


def _leaves(uow: UnitOfWork, head: CustodyHead) -> list[CustodyLeaf]:
    query = select(CustodyLeaf).where(CustodyLeaf.town_id == head.town_id, CustodyLeaf.n == head.n)
    return list(uow.session.scalars(query.order_by(CustodyLeaf.evidence_id)))


def _entries(uow: UnitOfWork, head: CustodyHead, leaves: Sequence[CustodyLeaf]) -> Iterator[Wrong]:
    for start in range(0, len(leaves), AT_ONCE):
        some = leaves[start : start + AT_ONCE]
        wanted = select(Custody.evidence_id, Custody.seq, Custody.entry_hash).where(
            tuple_(Custody.evidence_id, Custody.seq).in_([(one.evidence_id, one.seq) for one in some])
        )
        found = {(row.evidence_id, row.seq): row.entry_hash for row in uow.session.execute(wanted)}
        for one in some:
            if found.get((one.evidence_id, one.seq)) != one.entry_hash:
                yield Wrong("an entry under this head is another, or gone", head.n, one.evidence_id, one.seq)


def _chains(uow: UnitOfWork) -> Iterator[tuple[UUID, list[Custody]]]:
    """Yield every chain of the town, by item."""
    last: UUID | None = None
    while True:
        items = select(Custody.evidence_id).where(Custody.town_id == uow.town).distinct()
        if last is not None:
            items = items.where(Custody.evidence_id > last)
        ids = list(uow.session.scalars(items.order_by(Custody.evidence_id).limit(custody.AT_ONCE)))
        for evidence_id in ids:
            yield evidence_id, custody.of(uow, evidence_id)
        uow.session.expunge_all()
        if len(ids) < custody.AT_ONCE:
            return
        last = ids[-1]
