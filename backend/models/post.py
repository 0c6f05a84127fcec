"""Posts: places to stand at. What is stood there is in ``post_duty``."""

from datetime import datetime
from typing import Any
from uuid import UUID

from geoalchemy2 import Geometry
from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, Small, TownId
from backend.models.town import Area, Checkpoint


class Post(Base):
    """A place with a fence where somebody is to be for ``needed_percent`` of the time.

    Breaks of ``break_s`` in all are excused; away for longer than ``absent_after_s`` is an absence that is told and
    asked about. Who relieves may prove that he is there by reading the label or tag of ``checkpoint_id``.
    """

    __tablename__ = "posts"
    __table_args__ = (
        UniqueConstraint("town_id", "number", name="uq_posts_town_number"),
        Index("ix_posts_area_id", "area_id"),
        Index("ix_posts_checkpoint_id", "checkpoint_id", postgresql_where=text("checkpoint_id is not null")),
        CheckConstraint("name ? 'zh-CN' and name ? 'en'", name="ck_posts_name"),
        CheckConstraint("radius_m between 5 and 500", name="ck_posts_fence"),
        CheckConstraint(
            "needed_percent between 1 and 100 and break_s between 0 and 14400"
            " and absent_after_s between 60 and 3600",
            name="ck_posts_terms",
        ),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    number: Mapped[int]
    name: Mapped[dict[str, str]]
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    checkpoint_id: Mapped[UUID | None] = mapped_column(ForeignKey("checkpoints.id"))
    geom: Mapped[Any] = mapped_column(Geometry("POINT", srid=4326, spatial_index=False))
    radius_m: Mapped[float]
    needed_percent: Mapped[Small]
    break_s: Mapped[int]
    absent_after_s: Mapped[int]
    instructions: Mapped[str | None]
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))

    area: Mapped[Area] = relationship(lazy="raise")
    checkpoint: Mapped[Checkpoint | None] = relationship(lazy="raise")
