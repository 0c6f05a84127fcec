"""Routes: planned rounds, and the checkpoints on them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from geoalchemy2 import Geometry
from sqlalchemy import CheckConstraint, ForeignKey, Index, PrimaryKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, Small, TownId
from backend.models.town import Area, Checkpoint


class Route(Base):
    """A round as it is planned. ``corridor_m`` is how far to either side of ``line`` one may go."""

    __tablename__ = "routes"
    __table_args__ = (
        UniqueConstraint("town_id", "number", name="uq_routes_town_number"),
        Index("ix_routes_area_id", "area_id"),
        CheckConstraint("name ? 'zh-CN' and name ? 'en'", name="ck_routes_name"),
        CheckConstraint("sequence in ('fixed', 'any', 'shuffled')", name="ck_routes_sequence"),
        CheckConstraint("allowed_s between 60 and 86400", name="ck_routes_allowed"),
        CheckConstraint(
            "corridor_m between 10 and 1000 and line is not null or corridor_m is null",
            name="ck_routes_corridor",
        ),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    number: Mapped[int]
    name: Mapped[dict[str, str]]
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    sequence: Mapped[str]
    allowed_s: Mapped[int]
    corridor_m: Mapped[float | None]
    line: Mapped[Any | None] = mapped_column(Geometry("LINESTRING", srid=4326, spatial_index=False))
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1, server_default="1")

    area: Mapped[Area] = relationship(lazy="raise")
    points: Mapped[list["RoutePoint"]] = relationship(lazy="raise", order_by="RoutePoint.position")


class RoutePoint(Base):
    """A checkpoint on a route."""

    __tablename__ = "route_points"
    __table_args__ = (
        PrimaryKeyConstraint("route_id", "position", name="pk_route_points"),
        UniqueConstraint("route_id", "checkpoint_id", name="uq_route_points_checkpoint"),
        Index("ix_route_points_checkpoint_id", "checkpoint_id"),
    )

    route_id: Mapped[UUID] = mapped_column(ForeignKey("routes.id"))
    position: Mapped[Small]
    town_id: Mapped[TownId]
    checkpoint_id: Mapped[UUID] = mapped_column(ForeignKey("checkpoints.id"))

    checkpoint: Mapped[Checkpoint] = relationship(lazy="raise")
