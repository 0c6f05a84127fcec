"""Tracks that came as files. They are kept apart from what shifts and appraisal see."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DOUBLE_PRECISION, ForeignKey, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Id, TownId


class ImportedTrack(Base):
    """One imported track: its points for the replay, and the compressed document for a lossless export."""

    __tablename__ = "imported_tracks"
    __table_args__ = (
        Index("ix_imported_tracks_town", "town_id", text("created_at desc"), text("id desc")),
        Index("ix_imported_tracks_officer", "officer_id"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    officer_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str]
    point_count: Mapped[int]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime]
    length_m: Mapped[float] = mapped_column(DOUBLE_PRECISION)
    segments: Mapped[list[Any]] = mapped_column(JSONB)
    document: Mapped[bytes] = mapped_column(LargeBinary)
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime]
