"""Shifts and crews: the time in which an officer is on duty, alone or together with others."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, PrimaryKeyConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.models.base import Base, Id, TownId
from backend.models.town import Area
from backend.models.user import User


class Crew(Base):
    """Officers who go together for the length of a shift."""

    __tablename__ = "crews"
    __table_args__ = (
        Index("ix_crews_town_id", "town_id", "created_at"),
        CheckConstraint("travel in ('foot', 'e_bike', 'car')", name="ck_crews_travel"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    call_sign: Mapped[str]
    travel: Mapped[str]
    leader_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime]

    members: Mapped[list["CrewMember"]] = relationship(lazy="raise", order_by="CrewMember.user_id")
    invitations: Mapped[list["Invitation"]] = relationship(
        lazy="raise", order_by="Invitation.officer_id", back_populates="crew"
    )
    leader: Mapped[User] = relationship(lazy="raise")
    area: Mapped[Area] = relationship(lazy="raise")


class CrewMember(Base):
    """One officer of a crew, the leader included."""

    __tablename__ = "crew_members"
    __table_args__ = (PrimaryKeyConstraint("crew_id", "user_id", name="pk_crew_members"),)

    crew_id: Mapped[UUID] = mapped_column(ForeignKey("crews.id", ondelete="CASCADE"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    town_id: Mapped[TownId]

    user: Mapped[User] = relationship(lazy="raise")


class Invitation(Base):
    """A leader's question to one officer whether he comes on duty with the crew; he comes by his own act alone."""

    __tablename__ = "invitations"
    __table_args__ = (
        Index("uq_invitations_crew_officer", "crew_id", "officer_id", unique=True),
        Index("ix_invitations_officer", "officer_id", text("invited_at desc")),
        Index("ix_invitations_pending", "town_id", postgresql_where=text("state = 'pending'")),
        CheckConstraint(
            "state in ('pending', 'accepted', 'declined', 'lapsed')", name="ck_invitations_state"
        ),
        CheckConstraint("(state = 'pending') = (answered_at is null)", name="ck_invitations_answered"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    crew_id: Mapped[UUID] = mapped_column(ForeignKey("crews.id", ondelete="CASCADE"))
    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    state: Mapped[str]
    invited_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1)

    crew: Mapped[Crew] = relationship(lazy="raise", back_populates="invitations")
    officer: Mapped[User] = relationship(lazy="raise")


class Shift(Base):
    """One officer's time on duty. ``closes_at`` is when the clock ends it if nobody does, and the gate's last bound."""

    __tablename__ = "shifts"
    __table_args__ = (
        Index("uq_shifts_one_open", "officer_id", unique=True, postgresql_where=text("ended_at is null")),
        Index("ix_shifts_officer", "officer_id", text("started_at desc")),
        Index("ix_shifts_town", "town_id", text("started_at desc")),
        Index("ix_shifts_open_area", "area_id", postgresql_where=text("ended_at is null")),
        Index("ix_shifts_closes_at", "closes_at", postgresql_where=text("ended_at is null")),
        CheckConstraint("state in ('on_duty', 'ended')", name="ck_shifts_state"),
        CheckConstraint("(state = 'ended') = (ended_at is not null)", name="ck_shifts_ended"),
        CheckConstraint("(ended_at is null) = (ended_by is null)", name="ck_shifts_ended_by"),
        CheckConstraint("ended_at >= started_at and closes_at > started_at", name="ck_shifts_order"),
    )

    id: Mapped[Id]
    town_id: Mapped[TownId]
    officer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    crew_id: Mapped[UUID | None] = mapped_column(ForeignKey("crews.id"))
    state: Mapped[str]
    started_at: Mapped[datetime]
    started_device_at: Mapped[datetime | None]
    planned_end_at: Mapped[datetime | None]
    closes_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None]
    version: Mapped[int] = mapped_column(default=1)

    officer: Mapped[User] = relationship(lazy="raise")
    area: Mapped[Area] = relationship(lazy="raise")
    crew: Mapped[Crew | None] = relationship(lazy="raise")
