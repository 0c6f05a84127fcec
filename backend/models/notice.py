"""Notices: what somebody is told, how it travels to him, where he is reached, and what he wants to be told by."""

from datetime import datetime, time
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    Time,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, Small, TownId
from backend.models.user import User


class Notice(Base):
    """One thing that one person is told. The row itself is the in-app copy; ``params`` hold ids, numbers, words."""

    __tablename__ = "notices"
    __table_args__ = (
        Index(
            "ix_notices_recipient",
            "recipient_id",
            text("created_at desc"),
            text("id desc"),
            postgresql_where=text("replaced_at is null"),
        ),
        Index(
            "ix_notices_unread",
            "recipient_id",
            postgresql_where=text("read_at is null and replaced_at is null"),
        ),
        Index(
            "ix_notices_coalesce",
            "recipient_id",
            "coalesce_key",
            postgresql_where=text("coalesce_key is not null and replaced_at is null"),
        ),
        Index("ix_notices_subject", "subject_id", "kind"),
        Index("ix_notices_created_at", "town_id", "created_at"),
        CheckConstraint("priority between 0 and 3", name="ck_notices_priority"),
        CheckConstraint("confirmed_at is null or read_at is not null", name="ck_notices_confirmed"),
        CheckConstraint("replaced_at is null or read_at is null", name="ck_notices_replaced"),
        CheckConstraint("expires_at > created_at", name="ck_notices_expires"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    recipient_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    params: Mapped[dict[str, Any]]
    priority: Mapped[Small]
    coalesce_key: Mapped[str | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    read_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]
    replaced_at: Mapped[datetime | None]

    recipient: Mapped[User] = relationship(lazy="raise")


class Delivery(Base):
    """One channel's part in bringing a notice to its recipient.

    ``not_before_at`` is when its turn comes; it is null while an earlier channel of the notice has its turn. Its state
    moves by ``notifications.outbox.MOVES``.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("notice_id", "position", name="uq_deliveries_position"),
        Index(
            "ix_deliveries_due",
            "town_id",
            "channel",
            "priority",
            "not_before_at",
            postgresql_where=text("state in ('waiting', 'leased')"),
        ),
        Index(
            "ix_deliveries_order",
            "recipient_id",
            "channel",
            "id",
            postgresql_where=text("state in ('waiting', 'leased')"),
        ),
        Index(
            "ix_deliveries_dead",
            "town_id",
            text("ended_at desc"),
            text("id desc"),
            postgresql_where=text("state = 'dead'"),
        ),
        CheckConstraint(
            "channel in ('fcm', 'webpush', 'wecom', 'wecom_robot', 'wechat_mini', 'wechat_service', 'sms', 'voice',"
            " 'email')",
            name="ck_deliveries_channel",
        ),
        CheckConstraint(
            "state in ('waiting', 'leased', 'sent', 'confirmed', 'failed', 'dead', 'skipped')",
            name="ck_deliveries_state",
        ),
        CheckConstraint("attempts >= 0", name="ck_deliveries_attempts"),
        CheckConstraint("(state = 'leased') = (lease_ends_at is not null)", name="ck_deliveries_leased"),
        CheckConstraint("state <> 'leased' or not_before_at is not null", name="ck_deliveries_leased_due"),
        CheckConstraint(
            "(state in ('sent', 'confirmed')) = (sent_at is not null)", name="ck_deliveries_sent"
        ),
        CheckConstraint("(state = 'confirmed') = (confirmed_at is not null)", name="ck_deliveries_confirmed"),
        CheckConstraint(
            "(state in ('failed', 'dead', 'skipped')) = (ended_at is not null)", name="ck_deliveries_ended"
        ),
        CheckConstraint("ended_at is null or error is not null", name="ck_deliveries_error"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    notice_id: Mapped[UUID] = mapped_column(ForeignKey("notices.id", ondelete="CASCADE"))
    recipient_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    channel: Mapped[str]
    position: Mapped[Small]
    priority: Mapped[Small]
    state: Mapped[str]
    not_before_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    lease_ends_at: Mapped[datetime | None]
    provider_ref: Mapped[str | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    notice: Mapped[Notice] = relationship(lazy="raise")
    recipient: Mapped[User] = relationship(lazy="raise")


class Address(Base):
    """Where somebody is reached on one channel, until the session that brought it ends or a provider calls it dead."""

    __tablename__ = "addresses"
    __table_args__ = (
        UniqueConstraint("town_id", "channel", "token", name="uq_addresses_token"),
        Index("ix_addresses_user", "user_id", "channel", postgresql_where=text("dead_at is null")),
        Index("ix_addresses_session_id", "session_id", postgresql_where=text("session_id is not null")),
        Index("ix_addresses_dead_at", "dead_at", postgresql_where=text("dead_at is not null")),
        CheckConstraint(
            "channel in ('fcm', 'webpush', 'wecom', 'wechat_mini', 'wechat_service', 'sms', 'voice', 'email')",
            name="ck_addresses_channel",
        ),
        CheckConstraint("(dead_at is null) = (dead_reason is null)", name="ck_addresses_dead"),
        CheckConstraint("(channel = 'webpush') = (keys is not null)", name="ck_addresses_keys"),
        CheckConstraint("length(token) between 1 and 1000", name="ck_addresses_token"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    channel: Mapped[str]
    token: Mapped[str]
    keys: Mapped[dict[str, str] | None] = mapped_column(JSONB(none_as_null=True))
    session_id: Mapped[UUID | None] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    created_at: Mapped[datetime]
    dead_at: Mapped[datetime | None]
    dead_reason: Mapped[str | None]


class NoticeSetting(Base):
    """What one person wants: by kind the channels that may carry it, and the hours in which nothing rings."""

    __tablename__ = "notice_settings"
    __table_args__ = (
        CheckConstraint("(quiet_from is null) = (quiet_until is null)", name="ck_notice_settings_quiet"),
        CheckConstraint(
            "quiet_from is distinct from quiet_until or quiet_from is null", name="ck_notice_settings_span"
        ),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    town_id: Mapped[TownId]
    channels: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    quiet_from: Mapped[time | None] = mapped_column(Time)
    quiet_until: Mapped[time | None] = mapped_column(Time)
    updated_at: Mapped[datetime]


class WechatCredit(Base):
    """How many messages of a template somebody still lets WeChat bring him: each subscription is spent by one."""

    __tablename__ = "wechat_credits"
    __table_args__ = (
        PrimaryKeyConstraint("user_id", "template_id", name="pk_wechat_credits"),
        CheckConstraint("remaining between 0 and 100", name="ck_wechat_credits_remaining"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    template_id: Mapped[str]
    town_id: Mapped[TownId]
    remaining: Mapped[Small]
    updated_at: Mapped[datetime]
