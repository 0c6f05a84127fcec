"""Scans: a label or a tag that an officer's phone has read, which is a visit however weak its proof.

A label's address can be photographed, so a scan of it alone proves little; a plain tag can be copied by who holds a
reader to it; a tag that signs (``tags``) proves that it was read just now. Nothing is refused for being doubtful: it
is kept with what speaks against it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import or_, select

from backend.core.errors import NotVisible
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.models import Checkpoint, Device, Visit
from notifications import changes, recipients
from workflows import journal, patrols, proofs, tags
from workflows.alarms import Place

AGAIN = timedelta(seconds=60)
"""Who scans the same code again so soon has pressed twice."""
COUNTERS_KEPT = timedelta(days=31)
"""A reading of a tag may come so late: phones are offline for days."""


@dataclass(frozen=True)
class Code:
    """What was read: the token of a label or a tag, and what a tag that signs has said."""

    token: str
    picc_data: str | None = None
    cmac: str | None = None


def scan(
    uow: UnitOfWork,
    actor: Actor,
    code: Code,
    *,
    place: Place | None,
    is_mock: bool = False,
    device_id: UUID | None = None,
    tag_secret: bytes,
    command_id: UUID | None,
    device_at: datetime | None = None,
) -> Visit:
    """Keep that an officer on shift has read the code of a checkpoint, and what it proves.

    ``device_id`` says which of his devices has read it; one that is not his says nothing.

    Raises:
        NotVisible: no checkpoint in use has this code. Conflict: ``not_on_shift``.
    """
    shift = patrols.shift_at(uow, actor, device_at)
    assert actor.user_id is not None
    found = select(Checkpoint).where(
        or_(Checkpoint.label_token == code.token, Checkpoint.tag_token == code.token),
        Checkpoint.town_id == uow.town,
        Checkpoint.retired_at.is_(None),
    )
    # Of two readings of one tag at once, one is the first.
    checkpoint = uow.session.scalar(found.with_for_update(key_share=True))
    if checkpoint is None:
        raise NotVisible()
    at = patrols.moment_of(uow, device_at, shift)
    is_tag = code.token == checkpoint.tag_token
    if (before := _just_before(uow, actor.user_id, checkpoint, at, is_tag)) is not None:
        return before
    method, counter, fault = _tag(uow, checkpoint, code, tag_secret) if is_tag else ("qr", None, None)
    visit = Visit(
        id=new_id(), town_id=uow.town, arrived_at=at, left_at=at, checkpoint_id=checkpoint.id,
        officer_id=actor.user_id, device_id=_own_device(uow, actor.user_id, device_id),
        shift_id=shift.id, area_id=checkpoint.area_id, method=method,
        dwell_s=0, facts={}, parts=[], proof=0, flags=[], command_id=command_id, created_at=uow.now, version=1,
    )  # fmt: skip
    uow.session.add(visit)
    proofs.judge_scan(uow, visit, proofs.Scanned(place, is_mock, counter, fault))
    uow.session.flush()
    journal.write(
        uow,
        actor,
        "visit",
        visit.id,
        "scan",
        command_id=command_id,
        device_at=device_at,
        data={"method": method},
    )
    patrols.settle(uow, actor.user_id, at, at)
    changes.tell(uow, "visit", visit, "scan", to=recipients.hear_of_visit(visit))
    return visit


def _own_device(uow: UnitOfWork, officer_id: UUID, device_id: UUID | None) -> UUID | None:
    return uow.session.scalar(
        select(Device.id).where(Device.id == device_id, Device.officer_id == officer_id)
    )


def _just_before(
    uow: UnitOfWork, officer_id: UUID, checkpoint: Checkpoint, at: datetime, is_tag: bool
) -> Visit | None:
    methods = ("nfc", "nfc_signed") if is_tag else ("qr",)
    return uow.session.scalar(
        select(Visit)
        .where(
            Visit.officer_id == officer_id, Visit.checkpoint_id == checkpoint.id, Visit.method.in_(methods)
        )
        .where(Visit.arrived_at > at - AGAIN, Visit.arrived_at <= at + AGAIN)
        .limit(1)
    )


def _tag(
    uow: UnitOfWork, checkpoint: Checkpoint, code: Code, secret: bytes
) -> tuple[str, int | None, str | None]:
    """Return the method, the counter that was read, and what is wrong with the reading."""
    if not checkpoint.tag_signs:
        return "nfc", None, None
    if code.picc_data is None or code.cmac is None:
        return "nfc", None, "unsigned"
    reading = tags.read(secret, code.picc_data, code.cmac)
    if reading is None or reading.uid != checkpoint.tag_uid:
        return "nfc", None, "bad_signature"
    if _was_read(uow, checkpoint.id, reading.counter):
        return "nfc", reading.counter, "read_before"
    checkpoint.tag_counter = max(checkpoint.tag_counter or 0, reading.counter)
    return "nfc_signed", reading.counter, None


def _was_read(uow: UnitOfWork, checkpoint_id: UUID, counter: int) -> bool:
    """Say whether this reading came before. A lower counter alone says nothing: who was offline comes later."""
    same = select(Visit.id).where(
        Visit.checkpoint_id == checkpoint_id,
        Visit.arrived_at > uow.now - COUNTERS_KEPT,
        Visit.facts["counter"].as_integer() == counter,
    )
    return uow.session.scalar(same.limit(1)) is not None
