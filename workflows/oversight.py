"""What is looked at to see that all is right: the journal, the disclosures, the quarantine, the gate's counters."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, func, or_, select

from backend.core.identity import Actor
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Disclosure as DisclosureKind
from backend.models import Device, Disclosure, GateCounter, Journal, QuarantinedFix, User
from workflows import access, journal

WINDOW = timedelta(days=400)
"""How far back a list looks; every question asked of a partitioned table carries a bound of time."""


@dataclass(frozen=True)
class Look:
    """One look at a person's data, with the name of who looked."""

    at: datetime
    id: UUID
    kind: str
    reason: str
    by: str | None
    subject_kind: str
    subject_id: UUID
    actor_id: UUID | None
    data: dict[str, Any] | None


def journal_page(
    uow: UnitOfWork,
    actor: Actor,
    *,
    subject_id: UUID | None,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Journal]:
    """Return the journal, newest first."""
    access.require(actor, "see", "journal")
    query = select(Journal).where(Journal.at > uow.now - WINDOW, Journal.town_id == uow.town)
    if subject_id is not None:
        query = query.where(Journal.subject_id == subject_id)
    if key := moment_and_id(after):
        query = query.where(or_(Journal.at < key[0], (Journal.at == key[0]) & (Journal.id < key[1])))
    rows = list(uow.session.scalars(query.order_by(Journal.at.desc(), Journal.id.desc()).limit(limit + 1)))
    return page(rows, limit, lambda row: (row.at.isoformat(), row.id))


def names_of(uow: UnitOfWork, user_ids: Sequence[UUID | None]) -> dict[UUID, str]:
    """Return what people are called now; the journal and the disclosures keep their ids alone."""
    wanted = {user_id for user_id in user_ids if user_id is not None}
    if not wanted:
        return {}
    return {
        row.id: row.display_name
        for row in uow.session.execute(select(User.id, User.display_name).where(User.id.in_(wanted)))
    }


def disclosures(
    uow: UnitOfWork, actor: Actor, *, subject_id: UUID | None, after: Sequence[str] | None, limit: int
) -> Page[Look]:
    """Return who looked at what and why, newest first, for the auditor."""
    access.require(actor, "see", "disclosure")
    return _looks(uow, subject_id, after, limit)


def own_disclosures(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[Look]:
    """Return who looked at the actor's own data and why, newest first."""
    access.require(actor, "use", "account")
    return _looks(uow, actor.user_id, after, limit)


def _looks(uow: UnitOfWork, subject_id: UUID | None, after: Sequence[str] | None, limit: int) -> Page[Look]:
    query = (
        select(Disclosure, User.display_name)
        .outerjoin(User, User.id == Disclosure.actor_id)
        .where(Disclosure.at > uow.now - WINDOW, Disclosure.town_id == uow.town)
        .order_by(Disclosure.at.desc(), Disclosure.id.desc())
        .limit(limit + 1)
    )
    if subject_id is not None:
        query = query.where(Disclosure.subject_id == subject_id)
    if key := moment_and_id(after):
        query = query.where(or_(Disclosure.at < key[0], (Disclosure.at == key[0]) & (Disclosure.id < key[1])))
    found = [
        Look(
            row.at,
            row.id,
            row.kind,
            row.reason,
            name,
            row.subject_kind,
            row.subject_id,
            row.actor_id,
            row.data,
        )
        for row, name in uow.session.execute(query)
    ]
    return page(found, limit, lambda look: (look.at.isoformat(), look.id))


def quarantine(
    uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int
) -> Page[tuple[QuarantinedFix, str | None, Any]]:
    """Return what could not be filed, newest first, with the device's name; only devices in the actor's areas.

    A message may say where its officer was. So it is for those alone who may see his track, and the look is written
    down; who looks after devices gets the reason and an empty message.
    """
    scope = access.roots(actor, "see", "quarantine")
    query = (
        select(QuarantinedFix, Device.name, Device.officer_id)
        .join(Device, Device.id == QuarantinedFix.device_id)
        .where(QuarantinedFix.received_at > uow.now - WINDOW, QuarantinedFix.town_id == uow.town)
        .where(Device.officer_id.in_(access.officers_within(scope)))
        .order_by(QuarantinedFix.received_at.desc(), QuarantinedFix.id.desc())
        .limit(limit + 1)
    )
    if key := moment_and_id(after):
        query = query.where(
            or_(
                QuarantinedFix.received_at < key[0],
                (QuarantinedFix.received_at == key[0]) & (QuarantinedFix.id < key[1]),
            )
        )
    cut = page(
        uow.session.execute(query).all(), limit, lambda entry: (entry[0].received_at.isoformat(), entry[0].id)
    )
    looked_at = Counter(officer_id for _, _, officer_id in cut.items)
    tracked = access.officers_within(access.roots(actor, "see", "track"))
    seen = set(uow.session.scalars(select(User.id).where(User.id.in_(list(looked_at)), User.id.in_(tracked))))
    for officer_id in sorted(seen):
        journal.disclose(
            uow, actor, "user", officer_id, DisclosureKind.TRAIL, reason="quarantine",
            data={"quarantined_fixes": looked_at[officer_id]},
        )  # fmt: skip
    uow.session.flush()
    return Page(
        [(row, name, row.payload if officer_id in seen else {}) for row, name, officer_id in cut.items],
        cut.after,
    )


def counters(uow: UnitOfWork, actor: Actor, *, first: date, last: date) -> Sequence[Any]:
    """Return how many fixes met which outcome, per day and protocol, for at most 31 days.

    Rows with ``day``, ``protocol``, ``outcome`` and ``count``.
    """
    access.require(actor, "see", "counter")
    last = min(last, first + timedelta(days=31))
    what = (GateCounter.day, GateCounter.protocol, GateCounter.outcome)
    return uow.session.execute(
        select(*what, func.sum(GateCounter.count).cast(BigInteger).label("count"))
        .where(GateCounter.day >= first, GateCounter.day <= last)
        .group_by(*what)
        .order_by(*what)
        .limit(2000)
    ).all()
