"""Evidence: photos and recordings with their hash and origin, and the chain of who had them in hand."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    and_,
    literal,
    or_,
    select,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, TownId
from backend.models.patrol import Patrol, PatrolPhoto
from backend.models.report import Report
from backend.models.task import Task
from backend.models.user import User


class Evidence(Base):
    """A photo or a recording.

    ``id``, ``declared_sha256`` and ``captured_at`` are the phone's own, made when it was taken. ``upload_metadata`` is
    the header of the upload as it came, the file's name in it. ``sha256`` is of what has arrived, ``preview_sha256`` of
    the smaller picture, or the poster, that was made of it. The area is that of the shift. ``room_bytes`` is what it
    takes of its town's room: its length, or the longest it may become, or nothing once it is rejected; ``dropped_at``
    says when the bytes of what was rejected were thrown away.
    """

    __tablename__ = "evidence"
    __table_args__ = (
        Index("ix_evidence_officer", "officer_id", text("created_at desc"), text("id desc")),
        Index(
            "ix_evidence_on_its_way", "town_id", "created_at",
            postgresql_where=text("state in ('uploading', 'received')"),
        ),
        Index("ix_evidence_content", "town_id", "declared_sha256"),
        Index(
            "ix_evidence_to_drop", "town_id", "rejected_at",
            postgresql_where=text("state = 'rejected' and dropped_at is null"),
        ),
        CheckConstraint("kind in ('image', 'video', 'audio')", name="ck_evidence_kind"),
        CheckConstraint(
            "state in ('uploading', 'received', 'sealed', 'rejected')", name="ck_evidence_state"
        ),
        CheckConstraint("length > 0", name="ck_evidence_length"),
        CheckConstraint("duration_s is null or duration_s > 0 and kind <> 'image'", name="ck_evidence_duration"),
        CheckConstraint("room_bytes >= 0", name="ck_evidence_room"),
        CheckConstraint(
            "octet_length(declared_sha256) = 32 and (sha256 is null or octet_length(sha256) = 32)"
            " and (preview_sha256 is null or octet_length(preview_sha256) = 32)",
            name="ck_evidence_digests",
        ),
        CheckConstraint(
            "state <> 'uploading' or (received_at is null and sha256 is null)", name="ck_evidence_uploading"
        ),
        CheckConstraint(
            "state not in ('received', 'sealed')"
            " or (received_at is not null and sha256 is not null and length is not null)",
            name="ck_evidence_received",
        ),
        CheckConstraint(
            "(state = 'sealed') = (sealed_at is not null)"
            " and (state <> 'sealed' or (sha256 = declared_sha256 and media_type is not null))",
            name="ck_evidence_sealed",
        ),
        CheckConstraint(
            "(state = 'rejected') = (rejected_at is not null) and (rejected_at is null) = (reason is null)",
            name="ck_evidence_rejected",
        ),
        CheckConstraint("dropped_at is null or state = 'rejected'", name="ck_evidence_dropped"),
        CheckConstraint(
            "reason in ('hash_differs', 'not_an_image', 'not_a_recording', 'too_many_pixels', 'expired')",
            name="ck_evidence_reason",
        ),
        CheckConstraint(
            "(damaged_at is null) = (damage is null) and damage in ('altered', 'missing')"
            " and (damaged_at is null or state = 'sealed')",
            name="ck_evidence_damage",
        ),
        Index(
            "ix_evidence_to_check", "town_id", text("checked_at nulls first"), "id",
            postgresql_where=text("state = 'sealed'"),
        ),
        Index("ix_evidence_damaged", "town_id", postgresql_where=text("damaged_at is not null")),
    )  # fmt: skip

    id: Mapped[Id]
    town_id: Mapped[TownId]
    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str]
    state: Mapped[str]
    media_type: Mapped[str | None]
    upload_metadata: Mapped[str]
    length: Mapped[int | None] = mapped_column(BigInteger)
    room_bytes: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    declared_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    captured_at: Mapped[datetime]
    shift_id: Mapped[UUID] = mapped_column(ForeignKey("shifts.id"))
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    width_px: Mapped[int | None]
    height_px: Mapped[int | None]
    duration_s: Mapped[float | None]
    preview_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    received_at: Mapped[datetime | None]
    sealed_at: Mapped[datetime | None]
    rejected_at: Mapped[datetime | None]
    dropped_at: Mapped[datetime | None]
    checked_at: Mapped[datetime | None]
    damaged_at: Mapped[datetime | None]
    damage: Mapped[str | None]
    reason: Mapped[str | None]
    version: Mapped[int] = mapped_column(default=1)

    officer: Mapped[User] = relationship(lazy="raise", foreign_keys=[officer_id])

    def is_shown_by(self, officer_id: Any) -> Any:
        """Whether what this officer has filed or resolved shows it when it names it: only what he took himself.

        Of a column the condition, of an id the answer: nobody brings another's photo before a desk by naming it.
        """
        return self.officer_id == officer_id

    def shown_in_report(self) -> ColumnElement[bool]:
        """Return the condition that a report shows it."""
        wanted = literal([self.id], ARRAY(postgresql.UUID(as_uuid=True)))
        named = or_(Report.evidence_before.contains(wanted), Report.evidence_after.contains(wanted))
        return and_(named, self.is_shown_by(Report.officer_id))

    def shown_in_task(self) -> ColumnElement[bool]:
        """Return the condition that a result of a task shows it, or has shown it before the task was done again."""
        named = select(TaskPhoto.task_id).where(
            TaskPhoto.evidence_id == self.id, self.is_shown_by(TaskPhoto.officer_id)
        )
        return Task.id.in_(named)

    def shown_in_patrol(self) -> ColumnElement[bool]:
        """Return the condition that a point of a patrol shows it."""
        named = select(PatrolPhoto.patrol_id).where(
            PatrolPhoto.evidence_id == self.id, self.is_shown_by(PatrolPhoto.officer_id)
        )
        return Patrol.id.in_(named)


class TaskPhoto(Base):
    """That a result of a task has named a photo; it stays when the task is done again."""

    __tablename__ = "task_photos"
    __table_args__ = (
        PrimaryKeyConstraint("task_id", "evidence_id", name="pk_task_photos"),
        Index("ix_task_photos_evidence", "evidence_id"),
    )

    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id"))
    evidence_id: Mapped[UUID]
    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    town_id: Mapped[TownId]
    named_at: Mapped[datetime]


class EvidenceRoom(Base):
    """How much of its room a town's evidence takes up: the sum of its rows' ``room_bytes``, which one row locks."""

    __tablename__ = "evidence_rooms"
    __table_args__ = (
        PrimaryKeyConstraint("town_id", name="pk_evidence_rooms"),
        CheckConstraint("bytes >= 0", name="ck_evidence_rooms_bytes"),
    )

    town_id: Mapped[TownId]
    bytes: Mapped[int] = mapped_column(BigInteger)


class Custody(Base):
    """One entry of an item's chain: what happened to it, by whom; digests of content and no personal data.

    ``digests`` has ``v`` where the entry carries a MAC.
    """

    __tablename__ = "custody"
    __table_args__ = (
        PrimaryKeyConstraint("evidence_id", "seq", name="pk_custody"),
        Index("ix_custody_at", "town_id", "at"),
        Index("ix_custody_first_mac", "town_id", "at", postgresql_where=text("digests ? 'v'")),
        CheckConstraint("mac is null or octet_length(mac) = 32", name="ck_custody_mac"),
        CheckConstraint("seq > 0", name="ck_custody_seq"),
        CheckConstraint(
            "octet_length(previous_hash) = 32 and octet_length(entry_hash) = 32", name="ck_custody_hashes"
        ),
        CheckConstraint(
            "action in ('created', 'received', 'sealed', 'rejected', 'previewed', 'viewed',"
            " 'damaged', 'restored', 'shared', 'downloaded')",
            name="ck_custody_action",
        ),
    )

    evidence_id: Mapped[UUID] = mapped_column(ForeignKey("evidence.id"))
    seq: Mapped[int]
    town_id: Mapped[TownId]
    at: Mapped[datetime]
    actor_id: Mapped[UUID | None]
    action: Mapped[str]
    digests: Mapped[dict[str, Any]]
    previous_hash: Mapped[bytes] = mapped_column(LargeBinary)
    entry_hash: Mapped[bytes] = mapped_column(LargeBinary)
    mac: Mapped[bytes | None] = mapped_column(LargeBinary)

    # No foreign key: who is in the log stays there.
    actor: Mapped[User | None] = relationship(
        lazy="raise", viewonly=True, primaryjoin="foreign(Custody.actor_id) == User.id"
    )


class CustodyHead(Base):
    """A signed head: the root over the chains that had grown, and the hash of the head before it."""

    __tablename__ = "custody_heads"
    __table_args__ = (
        PrimaryKeyConstraint("town_id", "n", name="pk_custody_heads"),
        CheckConstraint("n > 0 and items > 0", name="ck_custody_heads_n"),
        CheckConstraint(
            "octet_length(root) = 32 and octet_length(previous_hash) = 32"
            " and octet_length(public_key) = 32 and octet_length(signature) = 64",
            name="ck_custody_heads_bytes",
        ),
    )

    town_id: Mapped[TownId]
    n: Mapped[int]
    at: Mapped[datetime]
    items: Mapped[int]
    root: Mapped[bytes] = mapped_column(LargeBinary)
    previous_hash: Mapped[bytes] = mapped_column(LargeBinary)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    signature: Mapped[bytes] = mapped_column(LargeBinary)


class CustodyLeaf(Base):
    """The end of a chain that a head is about."""

    __tablename__ = "custody_leaves"
    __table_args__ = (
        PrimaryKeyConstraint("evidence_id", "seq", name="pk_custody_leaves"),
        ForeignKeyConstraint(
            ["town_id", "n"], ["custody_heads.town_id", "custody_heads.n"], name="fk_custody_leaves_head"
        ),
        Index("ix_custody_leaves_head", "town_id", "n"),
        CheckConstraint("octet_length(entry_hash) = 32", name="ck_custody_leaves_hash"),
    )

    evidence_id: Mapped[UUID]
    seq: Mapped[int]
    town_id: Mapped[TownId]
    n: Mapped[int]
    entry_hash: Mapped[bytes] = mapped_column(LargeBinary)
