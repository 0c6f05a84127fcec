"""The town and its places: areas, roads, checkpoints, departments, base maps."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from geoalchemy2 import Geometry
from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import UUID as PgUUID
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, Small, TownId


class Town(Base):
    """One town of the installation; everything else hangs below one."""

    __tablename__ = "towns"
    __table_args__ = (CheckConstraint("name ? 'zh-CN' and name ? 'en'", name="ck_towns_name"),)

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[dict[str, str]]
    time_zone: Mapped[str]
    locale: Mapped[str]
    calendar: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Area(Base):
    """A polygon in the tree of areas. ``ancestors`` holds its own id and those above it."""

    __tablename__ = "areas"
    __table_args__ = (
        UniqueConstraint("town_id", "code", name="uq_areas_town_code"),
        Index("ix_areas_geom", "geom", postgresql_using="gist"),
        Index("ix_areas_ancestors", "ancestors", postgresql_using="gin"),
        Index("ix_areas_parent_id", "parent_id"),
        CheckConstraint(
            "kind in ('town', 'community', 'compound', 'grid', 'building')", name="ck_areas_kind"
        ),
        CheckConstraint("(kind = 'town') = (parent_id is null)", name="ck_areas_root"),
        CheckConstraint("id = any (ancestors)", name="ck_areas_ancestors"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("areas.id"))
    ancestors: Mapped[list[UUID]] = mapped_column(ARRAY(PgUUID(as_uuid=True)))
    kind: Mapped[str]
    code: Mapped[str]
    name: Mapped[dict[str, str]]
    geom: Mapped[Any] = mapped_column(Geometry("MULTIPOLYGON", srid=4326, spatial_index=False))


class Road(Base):
    """A way that officers move along."""

    __tablename__ = "roads"
    __table_args__ = (Index("ix_roads_geom", "geom", postgresql_using="gist"),)

    id: Mapped[Id]
    town_id: Mapped[TownId]
    kind: Mapped[str]
    name: Mapped[dict[str, str]]
    geom: Mapped[Any] = mapped_column(Geometry("LINESTRING", srid=4326, spatial_index=False))


class RoadPart(Base):
    """About fifty metres of a road: what somebody has passed, or nobody."""

    __tablename__ = "road_parts"
    __table_args__ = (Index("ix_road_parts_geom", "geom", postgresql_using="gist"),)

    road_id: Mapped[UUID] = mapped_column(ForeignKey("roads.id", ondelete="CASCADE"), primary_key=True)
    n: Mapped[Small] = mapped_column(primary_key=True)
    town_id: Mapped[TownId]
    geom: Mapped[Any] = mapped_column(Geometry("LINESTRING", srid=4326, spatial_index=False))
    length_m: Mapped[float]


class RoadWalk(Base):
    """A day of the town on which somebody passed a part of a road, and when last; not who."""

    __tablename__ = "road_walks"
    __table_args__ = (
        ForeignKeyConstraint(
            ["road_id", "n"], ["road_parts.road_id", "road_parts.n"], name="fk_road_walks_part", ondelete="CASCADE"
        ),
        Index("ix_road_walks_day", "town_id", "day"),
    )  # fmt: skip

    road_id: Mapped[UUID] = mapped_column(primary_key=True)
    n: Mapped[Small] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    town_id: Mapped[TownId]
    last_at: Mapped[datetime]


class Checkpoint(Base):
    """A point that a round passes: its fence, and what proves that somebody was there.

    ``label_token`` and ``tag_token`` are the unguessable parts of the addresses on its printed label and in its tag;
    they differ, so that who photographs the label does not pass for the tag. ``tag_counter`` is the last counter of a
    tag that signs. ``questions`` are those of a task kind: what is asked of whoever comes by.
    """

    __tablename__ = "checkpoints"
    __table_args__ = (
        UniqueConstraint("town_id", "code", name="uq_checkpoints_town_code"),
        UniqueConstraint("label_token", name="uq_checkpoints_label_token"),
        UniqueConstraint("tag_token", name="uq_checkpoints_tag_token"),
        Index("ix_checkpoints_geom", "geom", postgresql_using="gist"),
        Index("ix_checkpoints_area_id", "area_id"),
        Index(
            "uq_checkpoints_tag_uid", "town_id", "tag_uid", unique=True,
            postgresql_where=text("tag_uid is not null"),
        ),
        CheckConstraint(
            "radius_m between 5 and 500 and min_dwell_s between 0 and 3600", name="ck_checkpoints_fence"
        ),
        CheckConstraint(
            "(tag_uid is not null or not tag_signs) and (tag_counter is null or tag_signs)", name="ck_checkpoints_tag"
        ),
    )  # fmt: skip

    id: Mapped[Id]
    town_id: Mapped[TownId]
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    code: Mapped[str]
    name: Mapped[dict[str, str]]
    geom: Mapped[Any] = mapped_column(Geometry("POINT", srid=4326, spatial_index=False))
    radius_m: Mapped[float] = mapped_column(server_default=text("25"))
    min_dwell_s: Mapped[int] = mapped_column(server_default=text("30"))
    questions: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    label_token: Mapped[str] = mapped_column(
        server_default=text("replace((gen_random_uuid())::text, '-', '')")
    )
    tag_token: Mapped[str] = mapped_column(server_default=text("replace((gen_random_uuid())::text, '-', '')"))
    tag_uid: Mapped[str | None]
    tag_signs: Mapped[bool] = mapped_column(server_default=text("false"))
    tag_counter: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    retired_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))

    area: Mapped[Area] = relationship(lazy="raise")


class Department(Base):
    """Who handles things."""

    __tablename__ = "departments"
    __table_args__ = (Index("ix_departments_town_id", "town_id"),)

    id: Mapped[Id]
    town_id: Mapped[TownId]
    kind: Mapped[str]
    name: Mapped[dict[str, str]]


class Basemap(Base):
    """A base map of the operator's choice, with the datum it is drawn in and its approval number (审图号)."""

    __tablename__ = "basemaps"
    __table_args__ = (
        UniqueConstraint("town_id", "position", name="uq_basemaps_position"),
        CheckConstraint("(kind = 'none') = (url is null)", name="ck_basemaps_url"),
        CheckConstraint("datum in ('wgs84', 'gcj02', 'bd09')", name="ck_basemaps_datum"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    position: Mapped[Small]
    kind: Mapped[str]
    name: Mapped[dict[str, str]]
    url: Mapped[str | None] = mapped_column(Text)
    datum: Mapped[str]
    approval_number: Mapped[str | None]
    attribution: Mapped[str | None]
    created_at: Mapped[datetime]
