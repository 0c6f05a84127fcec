"""Evidence: photos and recordings that officers take, from the first byte that arrives to the look at the desk.

Each has its id, its hash and its moment from the phone that took it, and nothing of that ever changes. It is
``received`` when all its bytes are here, and ``sealed`` when they are the ones that were declared at capture and a
decoder has found a picture, or a recording, in them. What belongs to it stands in its custody log, every look at it
as well.

The bytes themselves are the business of ``backend.adapters.storage``; what is said here is said in the transaction.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from backend.adapters.pictures import PREVIEW_TYPE, Picture
from backend.core import jobs
from backend.core.errors import Conflict, Full, Gone, Invalid, TooLarge, TooMany, WrongState
from backend.core.identity import Actor, system_actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import CustodyAct, EvidenceFault, EvidenceKind, Role
from backend.core.vocabulary import EvidenceState as E
from backend.models import Evidence, EvidenceRoom, Patrol, PatrolPhoto, Report, Shift, Task, TaskPhoto
from notifications import changes, recipients
from workflows import access, custody
from workflows.machine import Machine, step

SYSTEM = (Role.SYSTEM,)

EVIDENCE = Machine(
    "evidence", E.UPLOADING,
    #    action     from                         to            by       stamps
    step("receive", {E.UPLOADING},               E.RECEIVED,   SYSTEM,  "received_at"),
    step("seal",    {E.RECEIVED},                E.SEALED,     SYSTEM,  "sealed_at"),
    step("reject",  {E.UPLOADING, E.RECEIVED},   E.REJECTED,   SYSTEM,  "rejected_at"),
)  # fmt: skip

EXAMINE = "evidence.examine"
"""The job that looks at what was received (``backend.worker``)."""
KEPT_FOR = timedelta(days=14)
"""How long an upload may take: phones are offline for days, and not for weeks."""
CLOCKS_DIFFER = timedelta(minutes=15)
"""By so much a phone's clock may be off when it says that a photo was taken on shift."""
DROPPED_AFTER = timedelta(hours=1)
"""From the rejection until the bytes are thrown away."""
SMALL_BYTES = 64 * 1024 * 1024
ONE_OFFICERS_SHARE = 10
"""A tenth of the town's room at most is held for one officer's uploads under way, or two files of the longest."""
MOST_OPEN = 200
"""Uploads of one officer that are under way."""


@dataclass(frozen=True)
class Declared:
    """What the phone says of a photo before its first byte: made when it was taken."""

    id: UUID
    sha256: bytes
    captured_at: datetime
    length: int | None
    metadata: str
    kind: EvidenceKind = EvidenceKind.IMAGE


@dataclass(frozen=True)
class Room:
    """How much is taken in: of one file, of one town, and on the disk as it is now. In bytes."""

    of_one: int
    of_town: int
    free: int


# --- Arriving


def begin(uow: UnitOfWork, actor: Actor, declared: Declared, room: Room) -> Evidence:
    """Begin an upload of the actor's own photo, or return the one that has begun: the phone asks again.

    Off shift too: a photo that was taken on shift may come late.

    Raises:
        Invalid: ``off_shift``; it was taken off shift, and nothing of that is kept (P21).
        Conflict: ``id_taken``; the id is another photo's. Gone: it was rejected, or its time is over.
        TooLarge: the file is. Full: there is no room for it. TooMany: too many are under way.
    """
    access.require(actor, "record", "evidence")
    assert actor.user_id is not None
    known = uow.session.get(Evidence, declared.id)
    if known is not None:
        if (known.officer_id, known.declared_sha256) != (actor.user_id, declared.sha256):
            raise Conflict("id_taken", "This id is another photo's.")
        return _going_on(uow, known)
    shift = _shift_of(uow, actor.user_id, declared.captured_at)
    if shift is None:
        raise Invalid(
            "This was not taken on one of your shifts, so it is not kept.",
            "off_shift",
            captured_at=["off shift"],
        )
    wanted = declared.length if declared.length is not None else room.of_one
    check_length(wanted, room)
    _take_room(
        uow, wanted, room
    )  # First, so that whoever begins several at once is counted one after the other.
    _check_open(uow, actor.user_id)
    _check_promised(uow, actor.user_id, wanted, room)
    made = uow.session.scalar(
        insert(Evidence)
        .values(
            id=declared.id,
            town_id=uow.town,
            officer_id=actor.user_id,
            kind=declared.kind,
            state=EVIDENCE.initial,
            upload_metadata=declared.metadata,
            length=declared.length,
            room_bytes=wanted,
            declared_sha256=declared.sha256,
            captured_at=declared.captured_at,
            shift_id=shift.id,
            area_id=shift.area_id,
            created_at=uow.now,
            expires_at=uow.now + KEPT_FOR,
            version=1,
        )
        .on_conflict_do_nothing()
        .returning(Evidence)
    )
    if made is None:  # Another town's, or of another request a moment ago, which then is asked again.
        raise Conflict("id_taken", "This id is another photo's.")
    custody.write(
        uow, actor, made, CustodyAct.CREATED,
        declared_sha256=made.declared_sha256, length=made.length, captured_at=made.captured_at.isoformat(),
    )  # fmt: skip
    return made


def _shift_of(uow: UnitOfWork, officer_id: UUID, at: datetime) -> Shift | None:
    """Return the shift on which it was taken, by the phone's clock, which may be off by a little."""
    for since, until in ((at, at), (at - CLOCKS_DIFFER, at + CLOCKS_DIFFER)):
        found = uow.session.scalar(
            select(Shift)
            .where(Shift.officer_id == officer_id, access.during(since, until + timedelta(microseconds=1)))
            .order_by(Shift.started_at.desc())
            .limit(1)
        )
        if found is not None:
            return found
    return None


def _check_open(uow: UnitOfWork, officer_id: UUID) -> None:
    under_way = uow.session.scalar(
        select(func.count()).where(Evidence.officer_id == officer_id, Evidence.state == E.UPLOADING)
    )
    if (under_way or 0) >= MOST_OPEN:
        raise TooMany(600, "Too many of your photos are under way at once.", "too_many_uploads")


def _check_promised(uow: UnitOfWork, officer_id: UUID, more: int, room: Room) -> None:
    """Refuse one officer's phone to hold room for more than a share of the town's with bytes that have not come.

    What is small has no part in it: its number is bounded, and a photo never waits for a film.
    """
    if more <= SMALL_BYTES:
        return
    promised = uow.session.scalar(
        select(func.coalesce(func.sum(Evidence.room_bytes), 0)).where(
            Evidence.officer_id == officer_id,
            Evidence.state == E.UPLOADING,
            Evidence.room_bytes > SMALL_BYTES,
        )
    )
    if int(promised or 0) + more > max(2 * room.of_one, room.of_town // ONE_OFFICERS_SHARE):
        raise TooMany(
            600,
            "Bring what you have begun first: it takes all the room one phone may hold.",
            "too_many_uploads",
        )


def _take_room(uow: UnitOfWork, more: int, room: Room) -> None:
    """Take room of the town's; whoever wants some at the same time waits here, so that two never take the same.

    Raises:
        Full: there is not so much left.
    """
    taken = insert(EvidenceRoom).values(town_id=uow.town, bytes=more)
    bytes_then = EvidenceRoom.bytes + taken.excluded.bytes
    took = uow.session.scalar(
        taken.on_conflict_do_update(
            index_elements=[EvidenceRoom.town_id],
            set_={"bytes": bytes_then},
            where=bytes_then <= room.of_town,
        ).returning(EvidenceRoom.bytes)
    )
    if took is None or took > room.of_town:  # The town's first one meets no row and no condition.
        raise Full("quota_exceeded", "The town's room for evidence is used up.")
    # What others have been promised and have not brought yet is no longer free, though the disk does not know.
    promised = uow.session.scalar(
        select(func.coalesce(func.sum(Evidence.room_bytes), 0)).where(
            Evidence.town_id == uow.town, Evidence.state == E.UPLOADING
        )
    )
    if more + int(promised or 0) > room.free:
        raise Full("storage_full", "The disk has no room left for evidence.")


def _give_room_back(uow: UnitOfWork, less: int) -> None:
    uow.session.execute(
        update(EvidenceRoom).where(EvidenceRoom.town_id == uow.town).values(bytes=EvidenceRoom.bytes - less)
    )


def check_length(length: int, room: Room) -> None:
    """Refuse a file that is longer than is taken in, or has nothing in it."""
    if length > room.of_one:
        raise TooLarge("too_large", f"A file of this kind may have {room.of_one} bytes.")
    if length < 1:
        raise Invalid("An empty file is no evidence.", length=["empty"])


def upload(uow: UnitOfWork, actor: Actor, evidence_id: UUID, *, lock: bool = False) -> Evidence:
    """Return the actor's own upload.

    Raises:
        Gone: it was rejected, or its time is over.
    """
    return _going_on(uow, access.own_evidence(uow, actor, evidence_id, lock=lock))


def _going_on(uow: UnitOfWork, found: Evidence) -> Evidence:
    over = found.state == E.UPLOADING and found.expires_at <= uow.now
    if over or found.state == E.REJECTED:
        raise Gone(
            detail="This upload was rejected, or its time is over.",
            fault=found.reason or EvidenceFault.EXPIRED,
        )
    return found


def say_length(uow: UnitOfWork, actor: Actor, evidence_id: UUID, length: int, room: Room) -> Evidence:
    """Say how long an upload is whose length was not known at its beginning.

    Raises:
        Conflict: it was said before, and otherwise. TooLarge: it may not be so long. Full: there is no room for it.
    """
    found = upload(uow, actor, evidence_id, lock=True)
    check_length(length, room)
    if found.length not in (None, length):
        raise Conflict("length_known", "The length of this upload was said before, and otherwise.")
    if length > found.room_bytes:
        _take_room(uow, length - found.room_bytes, room)
    else:
        _give_room_back(uow, found.room_bytes - length)
    found.length = found.room_bytes = length
    uow.session.flush()
    return found


def arrived(
    uow: UnitOfWork, evidence_id: UUID, *, sha256: bytes, length: int, media_type: str | None
) -> Evidence:
    """Take note that all bytes are here; they have been kept, if they are what was declared.

    What differs from what was declared, or is nothing of its kind by its first bytes, is rejected at once. Anything
    else is looked at by a job of its own.
    """
    system = system_actor(uow.town)
    found = access.evidence(uow, system, evidence_id, lock=True)
    if found.state != E.UPLOADING:
        return found
    receive(uow, system, found, sha256=sha256, length=length, media_type=media_type)
    if sha256 != found.declared_sha256:
        reject(uow, system, found, EvidenceFault.HASH_DIFFERS)
    elif media_type is None:
        is_image = found.kind == EvidenceKind.IMAGE
        reject(uow, system, found, EvidenceFault.NOT_AN_IMAGE if is_image else EvidenceFault.NOT_A_RECORDING)
    else:
        _queue(uow, found.id)
    return found


def _queue(uow: UnitOfWork, evidence_id: UUID) -> None:
    jobs.enqueue(
        uow, EXAMINE, once=f"{EXAMINE}:{evidence_id}", queue=jobs.PHOTO_QUEUE,
        town_id=str(uow.town), evidence_id=str(evidence_id),
    )  # fmt: skip


def receive(
    uow: UnitOfWork, actor: Actor, evidence: Evidence, *, sha256: bytes, length: int, media_type: str | None
) -> None:
    """Say of a locked piece of evidence that all of it has arrived.

    Raises:
        WrongState: it had before, or was rejected.
    """
    EVIDENCE.fire(uow, actor, evidence, "receive", command_id=None)
    evidence.sha256, evidence.length, evidence.media_type = sha256, length, media_type
    uow.session.flush()
    custody.write(uow, actor, evidence, CustodyAct.RECEIVED, sha256=sha256, length=length)


def seal(
    uow: UnitOfWork, actor: Actor, evidence: Evidence, picture: Picture, *, preview_sha256: bytes | None
) -> None:
    """Seal a locked piece of evidence: what has arrived is what was declared, and it is a picture.

    Raises:
        WrongState: not all of it is here, or it was rejected.
    """
    EVIDENCE.fire(uow, actor, evidence, "seal", command_id=None)
    evidence.width_px, evidence.height_px = picture.width_px or None, picture.height_px or None
    evidence.duration_s, evidence.preview_sha256 = picture.duration_s, preview_sha256
    uow.session.flush()
    custody.write(uow, actor, evidence, CustodyAct.SEALED, sha256=evidence.sha256)
    if preview_sha256 is not None:
        custody.write(uow, actor, evidence, CustodyAct.PREVIEWED, preview_sha256=preview_sha256)
    _tell(uow, evidence, "seal")


def reject(uow: UnitOfWork, actor: Actor, evidence: Evidence, fault: EvidenceFault) -> None:
    """Reject a locked piece of evidence; its room is free again, and what it was stays written down.

    Raises:
        WrongState: it is sealed, or was rejected before.
    """
    EVIDENCE.fire(uow, actor, evidence, "reject", command_id=None, data={"fault": str(fault)})
    free_again = evidence.room_bytes
    evidence.reason, evidence.room_bytes = fault, 0
    uow.session.flush()
    _give_room_back(uow, free_again)
    custody.write(uow, actor, evidence, CustodyAct.REJECTED, sha256=evidence.sha256, reason=str(fault))
    _tell(uow, evidence, "reject")


def _tell(uow: UnitOfWork, evidence: Evidence, action: str) -> None:
    for hearers in recipients.hear_of_evidence(uow, evidence):
        changes.tell(uow, EVIDENCE.kind, evidence, action, to=hearers)


# --- The worker's part


def to_examine(uow: UnitOfWork, evidence_id: UUID) -> Evidence | None:
    """Return what was received and is not looked at yet; None where somebody has done it."""
    found = uow.session.get(Evidence, evidence_id)
    return found if found is not None and found.state == E.RECEIVED else None


def examined(
    uow: UnitOfWork, evidence_id: UUID, picture: Picture, *, preview_sha256: bytes | None
) -> Evidence:
    """Seal what was looked at, or reject it; what is sealed or rejected already stays so."""
    system = system_actor(uow.town)
    found = access.evidence(uow, system, evidence_id, lock=True)
    if found.state == E.RECEIVED:
        if picture.fault is not None:
            reject(uow, system, found, picture.fault)
        else:
            seal(uow, system, found, picture, preview_sha256=preview_sha256)
    return found


def expire(uow: UnitOfWork, *, most: int = 200) -> list[UUID]:
    """Reject the uploads whose time is over, some at a time; return which."""
    over = uow.session.scalars(
        select(Evidence)
        .where(Evidence.town_id == uow.town, Evidence.state == E.UPLOADING, Evidence.expires_at <= uow.now)
        .order_by(Evidence.created_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    ).all()
    for found in over:
        reject(uow, system_actor(uow.town), found, EvidenceFault.EXPIRED)
    return [found.id for found in over]


def look_again(uow: UnitOfWork, *, after: timedelta = timedelta(minutes=10)) -> int:
    """Queue again what was received a while ago and nobody has looked at; return how many."""
    waiting = uow.session.scalars(
        select(Evidence.id)
        .where(
            Evidence.town_id == uow.town, Evidence.state == E.RECEIVED, Evidence.received_at < uow.now - after
        )
        .limit(200)
    ).all()
    for one in waiting:
        _queue(uow, one)
    return len(waiting)


def spooled(uow: UnitOfWork, evidence_ids: Collection[UUID]) -> set[UUID]:
    """Return those of these uploads whose files the spool still needs for this town."""
    needed = select(Evidence.id).where(Evidence.id.in_(evidence_ids), Evidence.state == E.UPLOADING)
    return set(uow.session.scalars(needed))


def drop_rejected(uow: UnitOfWork, drop: Callable[[bytes], None], *, most: int = 50) -> int:
    """Throw away the bytes of what was rejected a while ago, some at a time; return of how many.

    Bytes that other evidence of the town has, or is bringing, stay. Whoever begins an upload waits at the town's room,
    which is held here: so none of the same bytes begins between the question and the end of the file.
    """
    uow.session.execute(select(EvidenceRoom.bytes).where(EvidenceRoom.town_id == uow.town).with_for_update())
    rejected = uow.session.scalars(
        select(Evidence)
        .where(
            Evidence.town_id == uow.town, Evidence.state == E.REJECTED, Evidence.dropped_at.is_(None),
            Evidence.rejected_at <= uow.now - DROPPED_AFTER,
        )
        .order_by(Evidence.rejected_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    ).all()  # fmt: skip
    for found in rejected:
        if not _has_content(uow, found.declared_sha256):
            drop(found.declared_sha256)
        found.dropped_at = uow.now
    uow.session.flush()
    return len(rejected)


def _has_content(uow: UnitOfWork, sha256: bytes) -> bool:
    """Say whether evidence of the town that is not rejected has these bytes, or was declared to have them."""
    having = select(Evidence.id).where(
        Evidence.town_id == uow.town, Evidence.declared_sha256 == sha256, Evidence.state != E.REJECTED
    )
    return uow.session.scalar(having.limit(1)) is not None


# --- Looks


@dataclass(frozen=True)
class Content:
    """What is given out: which bytes of the store, of what kind, and what is known of their piece of evidence."""

    evidence: Evidence
    sha256: bytes
    media_type: str


def look_at(uow: UnitOfWork, actor: Actor, evidence_id: UUID, *, own: bool = False) -> Evidence:
    """Return what is known of a piece of evidence, or of the actor's ``own`` alone; the picture is another look."""
    return _door(own)(uow, actor, evidence_id)


def original(uow: UnitOfWork, actor: Actor, evidence_id: UUID, *, own: bool = False) -> Content:
    """Return the sealed original; the look is written into the custody log before anything is given out.

    Raises:
        WrongState: it is not sealed. Conflict: ``evidence_damaged``; the file is not what was sealed.
    """
    found = _sealed(uow, actor, evidence_id, own)
    assert found.sha256 is not None
    assert found.media_type is not None
    custody.write(uow, actor, found, CustodyAct.VIEWED, sha256=found.sha256)
    return Content(found, found.sha256, found.media_type)


def playable(uow: UnitOfWork, actor: Actor, evidence_id: UUID, *, begins: bool = False) -> Content:
    """Return a sealed recording to be played in place; ``begins`` a viewing, which is one entry in the custody log.

    Raises:
        WrongState: it is not sealed. Conflict: ``evidence_damaged``, or ``not_playable``; it is a photo.
    """
    found = _sealed(uow, actor, evidence_id, own=False, lock=begins)
    if found.kind == EvidenceKind.IMAGE:
        raise Conflict("not_playable", "A photo is not played; it has a preview.")
    assert found.sha256 is not None
    assert found.media_type is not None
    if begins:
        custody.write(uow, actor, found, CustodyAct.VIEWED, sha256=found.sha256)
    return Content(found, found.sha256, found.media_type)


def preview(uow: UnitOfWork, actor: Actor, evidence_id: UUID, *, own: bool = False) -> Content:
    """Return the smaller picture, without anything that is no pixel; the look is written down too.

    Raises:
        WrongState: it is not sealed.
    """
    found = _sealed(uow, actor, evidence_id, own)
    if found.preview_sha256 is None:
        raise WrongState(str(found.state), [])
    custody.write(uow, actor, found, CustodyAct.VIEWED, preview_sha256=found.preview_sha256)
    return Content(found, found.preview_sha256, PREVIEW_TYPE)


def _door(own: bool) -> Callable[..., Evidence]:
    return access.own_evidence if own else access.evidence


def _sealed(uow: UnitOfWork, actor: Actor, evidence_id: UUID, own: bool, *, lock: bool = True) -> Evidence:
    found = _door(own)(uow, actor, evidence_id, lock=lock)
    if found.state != E.SEALED:
        raise WrongState(str(found.state), [])
    if found.damage is not None or not custody.bound(uow, found):
        # Not even its preview: nothing of it is what was sealed for sure.
        raise Conflict(
            "evidence_damaged", "The file is not what was sealed any more; it is given out to nobody."
        )
    return found


def actions(actor: Actor, evidence: Evidence) -> list[str]:
    """Return what the actor may do with a piece of evidence now: nobody presses anything."""
    return EVIDENCE.actions(actor, evidence)


# --- Where it is referred to


@dataclass(frozen=True)
class Referred:
    """A photo that a report, a result or a point of a patrol names; without ``evidence`` nothing of it has come yet."""

    id: UUID
    of: str
    evidence: Evidence | None


def check_own(uow: UnitOfWork, officer_id: UUID | None, **referred: Sequence[UUID]) -> None:
    """Refuse references to what is known to be another officer's. What is not known yet may still be on the phone.

    Raises:
        Invalid: ``not_your_evidence``, with the field.
    """
    for field, ids in referred.items():
        if not ids:
            continue
        others = select(Evidence.id).where(Evidence.id.in_(ids), Evidence.officer_id != officer_id).limit(1)
        if uow.session.scalar(others) is not None:
            raise Invalid("One of these photos is not yours.", "not_your_evidence", **{field: ["not yours"]})


def of_reports(uow: UnitOfWork, reports: Iterable[Report]) -> dict[UUID, list[Referred]]:
    """Return the photos of each report, those from before first, as far as they have come."""
    named = {
        report.id: [("before", one, report.officer_id) for one in report.evidence_before]
        + [("after", one, report.officer_id) for one in report.evidence_after]
        for report in reports
    }
    return _known(uow, named)


def of_tasks(uow: UnitOfWork, tasks: Iterable[Task]) -> dict[UUID, list[Referred]]:
    """Return the photos that the results of each task have named, the first ones first, as far as they have come."""
    named: dict[UUID, list[tuple[str, UUID, UUID | None]]] = {task.id: [] for task in tasks}
    photos = select(TaskPhoto).where(TaskPhoto.task_id.in_(named))
    for photo in uow.session.scalars(photos.order_by(TaskPhoto.named_at, TaskPhoto.evidence_id)):
        named[photo.task_id].append(("result", photo.evidence_id, photo.officer_id))
    return _known(uow, named)


def name_in_result(uow: UnitOfWork, task: Task, officer_id: UUID, evidence_ids: Sequence[UUID]) -> None:
    """Write down which photos a result names, so that they stay shown when the task is done again."""
    for evidence_id in evidence_ids:
        uow.session.execute(
            insert(TaskPhoto)
            .values(
                task_id=task.id,
                evidence_id=evidence_id,
                officer_id=officer_id,
                town_id=uow.town,
                named_at=uow.now,
            )
            .on_conflict_do_nothing()
        )


def of_patrol(uow: UnitOfWork, patrol: Patrol) -> list[Referred]:
    """Return the photos at the points of a patrol as far as they have come, in the order of ``patrol.photos``."""
    named = {patrol.id: [("point", photo.evidence_id, photo.officer_id) for photo in patrol.photos]}
    return _known(uow, named)[patrol.id]


def name_at_point(
    uow: UnitOfWork,
    patrol: Patrol,
    checkpoint_id: UUID,
    officer_id: UUID,
    evidence_ids: Sequence[UUID],
    *,
    question_id: str | None = None,
) -> None:
    """Write down which photos somebody has named for a point of a patrol; one named before stays where it is."""
    for evidence_id in evidence_ids:
        uow.session.execute(
            insert(PatrolPhoto)
            .values(
                patrol_id=patrol.id,
                evidence_id=evidence_id,
                checkpoint_id=checkpoint_id,
                question_id=question_id,
                officer_id=officer_id,
                town_id=uow.town,
                named_at=uow.now,
            )
            .on_conflict_do_nothing()
        )


def _known(
    uow: UnitOfWork, named: Mapping[UUID, Sequence[tuple[str, UUID, UUID | None]]]
) -> dict[UUID, list[Referred]]:
    wanted = [one for listed in named.values() for _, one, _ in listed]
    found = (
        {row.id: row for row in uow.session.scalars(select(Evidence).where(Evidence.id.in_(wanted)))}
        if wanted
        else {}
    )
    return {
        subject_id: [
            # Another officer's, that came after it was named, is not shown by this name.
            Referred(
                one, of, row if (row := found.get(one)) is not None and row.is_shown_by(officer_id) else None
            )
            for of, one, officer_id in listed
        ]
        for subject_id, listed in named.items()
    }
