"""Lists of appraisals, of what they were made of, of objections, and of the figures of areas and crews.

People are listed by name and by nothing else: there is no order by a figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, tuple_
from sqlalchemy.orm import aliased, contains_eager, joinedload

from backend.core.identity import Actor
from backend.core.paging import Page, bad_cursor, moment_and_id, only_id, page, text_and_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AppraisalFigure, AppraisalState, ContestState, Disclosure
from backend.models import (
    Appraisal,
    AppraisalContest,
    AppraisalGroup,
    AppraisalInput,
    AppraisalMonth,
    Area,
    User,
)
from workflows import access, appraisals, journal

Place = aliased(Area)
"""The area of a row, beside the one in which the actor holds the permission."""


@dataclass(frozen=True)
class Month:
    """A month with how many drafts and locked appraisals the actor sees of it, and how many objections wait."""

    month: AppraisalMonth
    drafts: int
    locked: int
    waiting: int


def months(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[Month]:
    """Return the months that are appraised, the latest first, with what the actor sees of them."""
    access.require(actor, "see", "appraisal")
    seen = access.within(Appraisal.area_id, access.roots(actor, "see", "appraisal"))
    query = select(AppraisalMonth).where(AppraisalMonth.town_id == uow.town)
    if after is not None:
        try:
            [day] = after
            query = query.where(AppraisalMonth.month < date.fromisoformat(day))
        except ValueError as error:
            raise bad_cursor() from error
    found = uow.session.scalars(query.order_by(AppraisalMonth.month.desc()).limit(limit + 1)).all()
    ids = [one.id for one in found]
    states = {
        (row.month_id, row.state): row.many
        for row in uow.session.execute(
            select(Appraisal.month_id, Appraisal.state, func.count().label("many"))
            .where(Appraisal.month_id.in_(ids), seen)
            .group_by(Appraisal.month_id, Appraisal.state)
        )
    }
    waiting = {
        row.month_id: row.many
        for row in uow.session.execute(
            select(Appraisal.month_id, func.count().label("many"))
            .join(AppraisalContest, AppraisalContest.appraisal_id == Appraisal.id)
            .where(Appraisal.month_id.in_(ids), AppraisalContest.state == ContestState.OPEN, seen)
            .group_by(Appraisal.month_id)
        )
    }
    told = [
        Month(
            one, states.get((one.id, AppraisalState.DRAFT), 0), states.get((one.id, AppraisalState.LOCKED), 0),
            waiting.get(one.id, 0),
        )
        for one in found
    ]  # fmt: skip
    return page(told, limit, lambda one: (one.month.month.isoformat(),))


def _of_month(month: date) -> ColumnElement[bool]:
    return AppraisalMonth.month == month.replace(day=1)


def at_desk(
    uow: UnitOfWork,
    actor: Actor,
    *,
    month: date,
    area_id: UUID | None = None,
    state: AppraisalState | None = None,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Appraisal]:
    """Return the appraisals of a month in the actor's areas, by the officers' names; each can read that he looked."""
    query = (
        select(Appraisal)
        .join(Appraisal.month)
        .join(Appraisal.officer)
        .where(
            AppraisalMonth.town_id == uow.town,
            _of_month(month),
            access.within(Appraisal.area_id, access.roots(actor, "see", "appraisal")),
        )
        .options(
            contains_eager(Appraisal.month),
            contains_eager(Appraisal.officer),
            joinedload(Appraisal.area).defer(Area.geom),
        )
    )
    if area_id is not None:
        query = query.where(access.within(Appraisal.area_id, [area_id]))
    if state is not None:
        query = query.where(Appraisal.state == state)
    if key := text_and_id(after):
        query = query.where(tuple_(User.display_name, Appraisal.id) > tuple_(key[0], key[1]))
    query = query.order_by(User.display_name, Appraisal.id).limit(limit + 1)
    found = page(list(uow.session.scalars(query)), limit, lambda row: (row.officer.display_name, row.id))
    for shown in found.items:
        _disclose(uow, actor, shown)
    return found


def one(uow: UnitOfWork, actor: Actor, appraisal_id: UUID) -> Appraisal:
    """Return an appraisal in the actor's areas; that he looked can be read by the officer."""
    found = access.appraisal(uow, actor, appraisal_id)
    _disclose(uow, actor, found)
    return found


def _disclose(uow: UnitOfWork, actor: Actor, found: Appraisal) -> None:
    journal.disclose(
        uow, actor, "user", found.officer_id, Disclosure.APPRAISAL, reason="appraisal",
        data={"appraisal_id": str(found.id), "month": appraisals.word(found.month.month)},
    )  # fmt: skip


def own(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[Appraisal]:
    """Return an officer's own appraisals, the latest first."""
    access.require(actor, "contest", "appraisal")
    query = select(Appraisal).where(Appraisal.officer_id == actor.user_id).options(*access.appraisal_parts())
    if key := moment_and_id(after):
        query = query.where(tuple_(Appraisal.opened_at, Appraisal.id) < tuple_(*key))
    query = query.order_by(Appraisal.opened_at.desc(), Appraisal.id.desc()).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda row: (row.opened_at.isoformat(), row.id))


def one_of_own(uow: UnitOfWork, actor: Actor, appraisal_id: UUID) -> Appraisal:
    """Return one of an officer's own appraisals."""
    return access.appraisal(uow, actor, appraisal_id, verb="contest")


@dataclass(frozen=True)
class Item:
    """An input with the objection to it that stands, if any."""

    input: AppraisalInput
    contest: AppraisalContest | None


def inputs(
    uow: UnitOfWork,
    actor: Actor,
    appraisal_id: UUID,
    *,
    figure: AppraisalFigure | None = None,
    verb: str = "see",
    after: Sequence[str] | None,
    limit: int,
) -> Page[Item]:
    """Return what an appraisal was made of, in the order in which it happened; of one figure, or of all."""
    found = access.appraisal(uow, actor, appraisal_id, verb=verb)
    query = select(AppraisalInput).where(AppraisalInput.appraisal_id == found.id)
    if figure is not None:
        query = query.where(AppraisalInput.figure == figure)
    if key := moment_and_id(after):
        query = query.where(tuple_(AppraisalInput.happened_at, AppraisalInput.id) > tuple_(*key))
    elif verb == "see":
        _disclose(uow, actor, found)
    rows = uow.session.scalars(
        query.order_by(AppraisalInput.happened_at, AppraisalInput.id).limit(limit + 1)
    ).all()
    contests = {
        one.input_id: one
        for one in uow.session.scalars(
            select(AppraisalContest)
            .where(
                AppraisalContest.input_id.in_([row.id for row in rows]),
                AppraisalContest.state != ContestState.WITHDRAWN,
            )
            .options(*access.contest_parts())
        )
    }
    told = [Item(row, contests.get(row.id)) for row in rows]
    return page(told, limit, lambda item: (item.input.happened_at.isoformat(), item.input.id))


def contests(
    uow: UnitOfWork,
    actor: Actor,
    *,
    month: date | None = None,
    state: ContestState | None = None,
    after: Sequence[str] | None,
    limit: int,
) -> Page[AppraisalContest]:
    """Return objections in the actor's areas, the oldest first."""
    query = (
        select(AppraisalContest)
        .join(AppraisalContest.appraisal)
        .where(
            AppraisalContest.town_id == uow.town,
            access.within(Appraisal.area_id, access.roots(actor, "see", "appraisal")),
        )
        .options(*access.contest_parts())
    )
    if month is not None:
        query = query.join(AppraisalMonth, AppraisalMonth.id == Appraisal.month_id).where(_of_month(month))
    if state is not None:
        query = query.where(AppraisalContest.state == state)
    if key := moment_and_id(after):
        query = query.where(tuple_(AppraisalContest.contested_at, AppraisalContest.id) > tuple_(*key))
    query = query.order_by(AppraisalContest.contested_at, AppraisalContest.id).limit(limit + 1)
    found = page(list(uow.session.scalars(query)), limit, lambda row: (row.contested_at.isoformat(), row.id))
    for appraisal in {one.appraisal_id: one.appraisal for one in found.items}.values():
        _disclose(uow, actor, appraisal)
    return found


def groups(
    uow: UnitOfWork,
    actor: Actor,
    *,
    month: date,
    area_id: UUID | None = None,
    after: Sequence[str] | None,
    limit: int,
) -> Page[AppraisalGroup]:
    """Return what areas and crews add up to in a month: an area, then the crews whose officers worked in it."""
    query = (
        select(AppraisalGroup)
        .join(AppraisalMonth, AppraisalMonth.id == AppraisalGroup.month_id)
        .join(AppraisalGroup.area.of_type(Place))
        .where(
            AppraisalGroup.town_id == uow.town,
            _of_month(month),
            access.within(AppraisalGroup.area_id, access.roots(actor, "see", "appraisal")),
        )
        .options(contains_eager(AppraisalGroup.area.of_type(Place)).defer(Place.geom))
    )
    if area_id is not None:
        query = query.where(access.within(AppraisalGroup.area_id, [area_id]))
    sign = func.coalesce(AppraisalGroup.call_sign, "")
    if (last := only_id(after)) is not None:
        before = (
            select(Area.code, func.coalesce(AppraisalGroup.call_sign, ""))
            .join(AppraisalGroup, AppraisalGroup.area_id == Area.id)
            .where(AppraisalGroup.id == last)
        )
        row = uow.session.execute(before).one_or_none()
        if row is None:
            raise bad_cursor()
        query = query.where(or_(Place.code > row[0], (Place.code == row[0]) & (sign > row[1])))
    found = uow.session.scalars(query.order_by(Place.code, sign).limit(limit + 1)).all()
    return page(found, limit, lambda row: (row.id,))
