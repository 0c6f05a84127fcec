"""Users, what they are, and how they are signed in."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, INET
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, Small, TownId
from backend.models.town import Area, Department


class User(Base):
    """A person with an account. Staff sign in by login and password, residents by phone and code."""

    __tablename__ = "users"
    __table_args__ = (
        Index("uq_users_login", text("lower(login)"), unique=True),
        Index("uq_users_town_phone", "town_id", "phone", unique=True),
        Index("ix_users_town_name", "town_id", "display_name", "id"),
        CheckConstraint("state in ('active', 'disabled')", name="ck_users_state"),
        CheckConstraint("(state = 'disabled') = (disabled_at is not null)", name="ck_users_disabled"),
        CheckConstraint("totp_enabled_at is null or totp_secret is not null", name="ck_users_totp"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    login: Mapped[str | None]
    phone: Mapped[str | None]
    display_name: Mapped[str]
    password_hash: Mapped[str | None]
    totp_secret: Mapped[str | None]
    totp_enabled_at: Mapped[datetime | None]
    totp_last_step: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str]
    locale: Mapped[str]
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1)
    skills: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))


class Membership(Base):
    """A role within an area or a department. It ends; it is never deleted."""

    __tablename__ = "memberships"
    __table_args__ = (
        Index("ix_memberships_user_id", "user_id", postgresql_where=text("ended_at is null")),
        Index("ix_memberships_area_id", "area_id", "role", postgresql_where=text("ended_at is null")),
        CheckConstraint(
            "role in ('resident', 'building_head', 'officer', 'handler', 'dispatcher', 'supervisor', 'admin',"
            " 'auditor')",
            name="ck_memberships_role",
        ),
        CheckConstraint("area_id is not null or department_id is not null", name="ck_memberships_scope"),
        CheckConstraint(
            "(role = 'officer') = (officer_kind is not null)", name="ck_memberships_officer_kind"
        ),
        CheckConstraint("granted_by is distinct from user_id", name="ck_memberships_no_self_grant"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    role: Mapped[str]
    area_id: Mapped[UUID | None] = mapped_column(ForeignKey("areas.id"))
    department_id: Mapped[UUID | None] = mapped_column(ForeignKey("departments.id"))
    officer_kind: Mapped[str | None]
    granted_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    granted_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    area: Mapped[Area | None] = relationship(lazy="raise")
    department: Mapped[Department | None] = relationship(lazy="raise")


class Session(Base):
    """One sign-in on one device; revoked, it ends everywhere within seconds."""

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_user_id", "user_id", text("created_at desc")),
        Index("ix_sessions_over_at", text("COALESCE(revoked_at, expires_at)")),
        CheckConstraint("(revoked_at is null) = (revoke_reason is null)", name="ck_sessions_revoked"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    client: Mapped[str]
    device_name: Mapped[str | None]
    device_key_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    address: Mapped[Any | None] = mapped_column(INET)
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    revoke_reason: Mapped[str | None]


class RefreshToken(Base):
    """One link in the chain of a session's refresh tokens, by hash. A used link that comes back revokes the chain."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        Index("ix_refresh_tokens_session_id", "session_id"),
        Index("ix_refresh_tokens_used_at", "used_at", postgresql_where=text("used_at is not null")),
    )

    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    town_id: Mapped[TownId]
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    issued_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class LoginCode(Base):
    """A one-time code that was sent to a phone."""

    __tablename__ = "login_codes"
    __table_args__ = (Index("ix_login_codes_phone", "town_id", "phone", text("created_at desc")),)

    id: Mapped[Id]
    town_id: Mapped[TownId]
    phone: Mapped[str]
    code_hash: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    attempts: Mapped[Small]
    used_at: Mapped[datetime | None]


class Throttle(Base):
    """How often something was tried in a window; the key is a keyed hash of what is limited."""

    __tablename__ = "throttles"
    __table_args__ = (
        PrimaryKeyConstraint("key", "window_started_at", name="pk_throttles"),
        Index("ix_throttles_window", "window_started_at"),
    )

    key: Mapped[bytes] = mapped_column(LargeBinary)
    window_started_at: Mapped[datetime]
    count: Mapped[int] = mapped_column(Integer)
