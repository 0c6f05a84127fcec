"""What every table shares: types of columns, and the names that PostgreSQL gives to foreign keys."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import REAL, DateTime, ForeignKey, MetaData, SmallInteger, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import UUID as PgUUID
from sqlalchemy.orm import DeclarativeBase, mapped_column


class Base(DeclarativeBase):
    """Metadata of the whole schema; it equals what the migrations build (``tests/contract``)."""

    metadata = MetaData(
        naming_convention={"fk": "%(table_name)s_%(column_0_name)s_fkey", "pk": "%(table_name)s_pkey"}
    )
    type_annotation_map = {
        datetime: DateTime(timezone=True),
        UUID: PgUUID(as_uuid=True),
        str: Text,
        float: REAL,
        dict[str, Any]: JSONB,
        dict[str, str]: JSONB,
    }


Id = Annotated[UUID, mapped_column(primary_key=True)]
TownId = Annotated[UUID, mapped_column(ForeignKey("towns.id"))]
Small = Annotated[int, mapped_column(SmallInteger)]
