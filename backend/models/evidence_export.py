"""What is given out of evidence: a bundle that anybody can verify, and the pieces in it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, PrimaryKeyConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, TownId
from backend.models.user import User


class EvidenceExport(Base):
    """A bundle: who asked for it and why, how far it is, and what it came to.

    ``length`` is that of all its pieces together and ``packed`` how much of it is in the bundle, both in bytes;
    ``sha256`` and ``bundle_length`` are the bundle's own.
    """

    __tablename__ = "evidence_exports"
    __table_args__ = (
        Index("ix_evidence_exports_of", "requested_by", text("requested_at desc"), text("id desc")),
        Index("ix_evidence_exports_town", "town_id", text("requested_at desc"), text("id desc")),
        Index(
            "ix_evidence_exports_to_make", "town_id", "requested_at",
            postgresql_where=text("ready_at is null and failed_at is null"),
        ),
        Index("ix_evidence_exports_to_drop", "town_id", "ready_at", postgresql_where=text("dropped_at is null")),
        CheckConstraint(
            "pieces > 0 and length > 0 and packed between 0 and length", name="ck_evidence_exports_pieces"
        ),
        CheckConstraint(
            "(ready_at is null) = (sha256 is null) and (ready_at is null) = (bundle_length is null)"
            " and octet_length(sha256) = 32 and packed <= length",
            name="ck_evidence_exports_ready",
        ),
        CheckConstraint(
            "(failed_at is null) = (fault is null) and (failed_at is null or ready_at is null)"
            " and fault in ('evidence_damaged', 'storage_full')",
            name="ck_evidence_exports_failed",
        ),
        CheckConstraint("dropped_at is null or ready_at is not null", name="ck_evidence_exports_dropped"),
    )  # fmt: skip

    id: Mapped[Id]
    town_id: Mapped[TownId]
    requested_by: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    requested_at: Mapped[datetime]
    reason: Mapped[str]
    case_number: Mapped[str | None]
    pieces: Mapped[int]
    length: Mapped[int] = mapped_column(BigInteger)
    packed: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    ready_at: Mapped[datetime | None]
    sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    bundle_length: Mapped[int | None] = mapped_column(BigInteger)
    failed_at: Mapped[datetime | None]
    fault: Mapped[str | None]
    dropped_at: Mapped[datetime | None]

    requester: Mapped[User] = relationship(lazy="raise", foreign_keys=[requested_by])


class EvidenceExportItem(Base):
    """A piece of evidence in a bundle, and the entry of its custody log that says so."""

    __tablename__ = "evidence_export_items"
    __table_args__ = (
        PrimaryKeyConstraint("export_id", "evidence_id", name="pk_evidence_export_items"),
        Index("ix_evidence_export_items_evidence", "evidence_id"),
    )

    export_id: Mapped[UUID] = mapped_column(ForeignKey("evidence_exports.id"))
    evidence_id: Mapped[UUID] = mapped_column(ForeignKey("evidence.id"))
    town_id: Mapped[TownId]
    seq: Mapped[int]
