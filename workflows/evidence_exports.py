"""Giving evidence out: a bundle that anybody can verify without us.

Whoever asks for it says why. That the pieces are given out stands in their custody logs at once; the bundle is made
when a signed head is about these entries, within a minute or two, so that the proof that it carries ends with the
giving out itself. It lies ready for a week, and then is thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import joinedload

from backend.core.errors import Conflict, Full, Gone, Invalid, TooLarge, TooMany, WrongState
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import CustodyAct, EvidenceState, ExportFault
from backend.models import Custody, CustodyLeaf, Evidence, EvidenceExport, EvidenceExportItem, Town, User
from workflows import access, custody, custody_heads, journal

KEPT_FOR = timedelta(days=7)
MOST_ITEMS = 100
MOST_BYTES = 64 * 1024**3
MOST_KEPT_BYTES = 128 * 1024**3
"""Of a town's evidence lies in bundles at once: they share the disk with the uploads."""
MOST_OPEN = 5
"""Bundles of one person that are being made at once."""


@dataclass(frozen=True)
class Piece:
    """A piece of evidence in a bundle: what the manifest says of it, and its custody log with the proof."""

    id: UUID
    sha256: bytes
    length: int
    media_type: str
    said: Mapping[str, Any]
    log: Mapping[str, Any]


@dataclass(frozen=True)
class Contents:
    """All that goes into a bundle but the bytes of the evidence. ``said`` is the beginning of the manifest."""

    said: Mapping[str, Any]
    pieces: Sequence[Piece]
    heads: Sequence[Mapping[str, Any]]


# --- Asking for it


def request(
    uow: UnitOfWork,
    actor: Actor,
    *,
    command_id: UUID | None,
    evidence_ids: Sequence[UUID],
    reason: str,
    case_number: str | None,
) -> EvidenceExport:
    """Have a bundle made of sealed evidence of the actor's areas.

    Raises:
        NotVisible: one of them is not his to share. WrongState: one is not sealed. Conflict: ``evidence_damaged``.
        TooLarge: all of it together is more than a bundle takes. TooMany: several of his are being made.
        Full: the town's bundles take all the room there is for them.
    """
    access.require(actor, "share", "evidence")
    assert actor.user_id is not None
    if len(set(evidence_ids)) != len(evidence_ids):
        raise Invalid("The same piece of evidence is named twice.", evidence_ids=["twice"])
    _check_open(uow, actor.user_id)
    # In one order, so that two who ask for the same at once wait for each other and not in a circle.
    found = [access.evidence_to_share(uow, actor, one) for one in sorted(evidence_ids)]
    for one in found:
        if one.state != EvidenceState.SEALED:
            raise WrongState(str(one.state), [])
        if one.damage is not None or not custody.bound(uow, one):
            raise Conflict("evidence_damaged", "One of the files is not what was sealed any more.")
    length = sum(one.length or 0 for one in found)
    if length > MOST_BYTES:
        raise TooLarge("too_large", f"A bundle takes {MOST_BYTES} bytes of evidence.")
    _check_kept(uow, length)
    export = EvidenceExport(
        id=new_id(), town_id=uow.town, requested_by=actor.user_id, requested_at=uow.now, reason=reason,
        case_number=case_number, pieces=len(found), length=length, packed=0,
    )  # fmt: skip
    uow.session.add(export)
    uow.session.flush()
    for one in found:
        seq = custody.write(uow, actor, one, CustodyAct.SHARED, sha256=one.sha256, export=str(export.id))
        uow.session.add(
            EvidenceExportItem(export_id=export.id, evidence_id=one.id, town_id=uow.town, seq=seq)
        )
    journal.write(
        uow, actor, "evidence_export", export.id, "request", command_id=command_id, reason=reason,
        data={"pieces": len(found), "length": length},
    )  # fmt: skip
    uow.session.flush()
    return access.evidence_export(uow, actor, export.id)


def _check_open(uow: UnitOfWork, user_id: UUID) -> None:
    waiting = select(EvidenceExport.id).where(
        EvidenceExport.requested_by == user_id,
        EvidenceExport.ready_at.is_(None),
        EvidenceExport.failed_at.is_(None),
    )
    if len(uow.session.scalars(waiting.limit(MOST_OPEN)).all()) >= MOST_OPEN:
        raise TooMany(60, "Several of your bundles are being made; wait for them.", "too_many_exports")


def _check_kept(uow: UnitOfWork, more: int) -> None:
    kept = select(func.coalesce(func.sum(EvidenceExport.length), 0)).where(
        EvidenceExport.town_id == uow.town,
        EvidenceExport.dropped_at.is_(None),
        EvidenceExport.failed_at.is_(None),
    )
    if int(uow.session.scalar(kept) or 0) + more > MOST_KEPT_BYTES:
        raise Full(
            detail="The bundles that lie ready take all the room there is for them; each goes after a week."
        )


def look(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[EvidenceExport]:
    """Return the actor's own bundles, for an auditor all of the town, the newest first."""
    at, one_id = EvidenceExport.requested_at, EvidenceExport.id
    query = select(EvidenceExport).where(
        EvidenceExport.town_id == uow.town, access.evidence_exports(uow, actor)
    )
    if key := moment_and_id(after):
        query = query.where(or_(at < key[0], (at == key[0]) & (one_id < key[1])))
    query = (
        query.options(joinedload(EvidenceExport.requester))
        .order_by(at.desc(), one_id.desc())
        .limit(limit + 1)
    )
    return page(list(uow.session.scalars(query)), limit, lambda row: (row.requested_at.isoformat(), row.id))


def one(uow: UnitOfWork, actor: Actor, export_id: UUID) -> EvidenceExport:
    """Return a bundle that the actor may know of."""
    return access.evidence_export(uow, actor, export_id)


def download(uow: UnitOfWork, actor: Actor, export_id: UUID) -> EvidenceExport:
    """Return a bundle of the actor's own that is ready; the taking is written into every custody log.

    Raises:
        WrongState: it is not ready, or could not be made. Gone: its time is over.
    """
    found = access.evidence_export(uow, actor, export_id, own=True)
    if found.dropped_at is not None:
        raise Gone(detail="This bundle was thrown away; its time is over.")
    if found.ready_at is None:
        raise WrongState("failed" if found.failed_at else "making", [])
    for item in _items(uow, found.id):
        piece = access.evidence_to_share(uow, actor, item.evidence_id)
        custody.write(uow, actor, piece, CustodyAct.DOWNLOADED, sha256=piece.sha256, export=str(found.id))
    return found


def _items(uow: UnitOfWork, export_id: UUID) -> list[EvidenceExportItem]:
    query = select(EvidenceExportItem).where(EvidenceExportItem.export_id == export_id)
    return list(uow.session.scalars(query.order_by(EvidenceExportItem.evidence_id)))


# --- Making it, by the worker


def to_make(uow: UnitOfWork) -> list[UUID]:
    """Return the bundles that can be made now: a head is about each of their entries."""
    open_still = exists().where(
        EvidenceExportItem.export_id == EvidenceExport.id,
        ~exists().where(
            CustodyLeaf.evidence_id == EvidenceExportItem.evidence_id,
            CustodyLeaf.seq >= EvidenceExportItem.seq,
        ),
    )
    query = select(EvidenceExport.id).where(
        EvidenceExport.town_id == uow.town, EvidenceExport.ready_at.is_(None), EvidenceExport.failed_at.is_(None),
        ~open_still,
    )  # fmt: skip
    return list(uow.session.scalars(query.order_by(EvidenceExport.requested_at).limit(20)))


def contents(uow: UnitOfWork, export_id: UUID) -> Contents:
    """Return what goes into a bundle beside the bytes, as it stands now."""
    export = uow.session.get_one(EvidenceExport, export_id)
    town, requester = uow.session.get_one(Town, uow.town), uow.session.get_one(User, export.requested_by)
    pieces, heads = [], {}
    for item in _items(uow, export_id):
        found = uow.session.get_one(Evidence, item.evidence_id, options=[joinedload(Evidence.officer)])
        proof = custody_heads.proof_of(uow, found.id, item.seq)
        assert proof is not None
        heads[proof.head.n] = custody_heads.line(proof.head)
        pieces.append(_piece(uow, found, proof))
    said = {
        "export": str(export.id),
        "town": {"id": str(town.id), "name": dict(town.name)},
        "requested_at": _moment(export.requested_at),
        "requested_by": {"id": str(requester.id), "name": requester.display_name},
        "reason": export.reason,
        "case_number": export.case_number,
    }
    return Contents(said, pieces, [heads[n] for n in sorted(heads)])


def _piece(uow: UnitOfWork, found: Evidence, proof: custody_heads.Proof) -> Piece:
    assert found.sha256 is not None and found.length is not None and found.media_type is not None  # noqa: PT018
    entries = [one for one in custody.of(uow, found.id) if one.seq <= proof.seq]
    created = next(one for one in entries if one.action == CustodyAct.CREATED)
    said = {
        "id": str(found.id),
        "kind": found.kind,
        "media_type": found.media_type,
        "sha256": found.sha256.hex(),
        "length": found.length,
        "officer": {"id": str(found.officer_id), "name": found.officer.display_name},
        # As the log has it from the phone: the verifier compares the two.
        "captured_at": created.digests["captured_at"],
        "received_at": _moment(found.received_at),
        "sealed_at": _moment(found.sealed_at),
        "duration_s": found.duration_s,
    }
    log = {
        "entries": [_entry(one) for one in entries],
        "proof": {"n": proof.head.n, "index": proof.index, "path": [node.hex() for node in proof.path]},
    }
    return Piece(found.id, found.sha256, found.length, found.media_type, said, log)


def _entry(entry: Custody) -> dict[str, Any]:
    return {
        **custody.said_of(entry),
        "previous_hash": entry.previous_hash.hex(),
        "entry_hash": entry.entry_hash.hex(),
    }


def _moment(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat(timespec="milliseconds") if at else None


def packed(uow: UnitOfWork, export_id: UUID, length: int) -> None:
    """Say how much of a bundle is made."""
    uow.session.get_one(EvidenceExport, export_id).packed = length


def made(uow: UnitOfWork, export_id: UUID, *, sha256: bytes, length: int) -> None:
    """Say that a bundle is ready, and what it came to."""
    export = uow.session.get_one(EvidenceExport, export_id)
    export.packed, export.ready_at = export.length, uow.now
    export.sha256, export.bundle_length = sha256, length
    journal.write(uow, system_actor(uow.town), "evidence_export", export.id, "finish")
    uow.session.flush()


def failed(uow: UnitOfWork, export_id: UUID, fault: ExportFault) -> None:
    """Say that a bundle could not be made, and why."""
    export = uow.session.get_one(EvidenceExport, export_id)
    export.failed_at, export.fault = uow.now, fault
    journal.write(uow, system_actor(uow.town), "evidence_export", export.id, "fail")
    uow.session.flush()


def over(uow: UnitOfWork) -> list[UUID]:
    """Take note of the bundles whose time is over, and return them: their files are thrown away."""
    found = uow.session.scalars(
        select(EvidenceExport)
        .where(
            EvidenceExport.town_id == uow.town, EvidenceExport.dropped_at.is_(None),
            EvidenceExport.ready_at < uow.now - KEPT_FOR,
        )
        .limit(100)
    ).all()  # fmt: skip
    for export in found:
        export.dropped_at = uow.now
    uow.session.flush()
    return [export.id for export in found]
