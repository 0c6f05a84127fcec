"""Devices: phones and trackers, each with a credential of its own that only its hash is kept of."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, TownId
from backend.models.user import User


class Device(Base):
    """Something that measures positions for one officer."""

    __tablename__ = "devices"
    __table_args__ = (
        Index("ix_devices_officer_id", "officer_id"),
        Index("ix_devices_town_id", "town_id", text("created_at desc")),
        CheckConstraint("state in ('active', 'revoked')", name="ck_devices_state"),
        CheckConstraint("(state = 'revoked') = (revoked_at is not null)", name="ck_devices_revoked"),
        CheckConstraint("datum in ('wgs84', 'gcj02', 'bd09')", name="ck_devices_datum"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str]
    protocol: Mapped[str]
    name: Mapped[str]
    datum: Mapped[str] = mapped_column(default="wgs84")
    state: Mapped[str]
    created_at: Mapped[datetime]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    revoked_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1)

    officer: Mapped[User] = relationship(lazy="raise", foreign_keys=[officer_id])


class DeviceCredential(Base):
    """A secret of a device, by SHA-256 (the secrets are random and long); renewed ones stay, revoked."""

    __tablename__ = "device_credentials"
    __table_args__ = (Index("ix_device_credentials_device_id", "device_id"),)

    key_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    town_id: Mapped[TownId]
    device_id: Mapped[UUID] = mapped_column(ForeignKey("devices.id"))
    username: Mapped[str | None]
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class PhoneSetup(Base):
    """A code that sets up an officer's phone, by its hash: for one phone, until it expires."""

    __tablename__ = "phone_setups"
    __table_args__ = (
        UniqueConstraint("code_hash", name="uq_phone_setups_code"),
        Index("ix_phone_setups_officer", "officer_id", text("created_at desc"), text("id desc")),
        CheckConstraint(
            "protocol in ('officer', 'osmand', 'owntracks', 'overland', 'gpslogger')",
            name="ck_phone_setups_protocol",
        ),
        CheckConstraint("device_id is null or used_at is not null", name="ck_phone_setups_used"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    protocol: Mapped[str]
    code_hash: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    device_id: Mapped[UUID | None] = mapped_column(ForeignKey("devices.id"))
