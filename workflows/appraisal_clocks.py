"""What the clock does to appraisals: begin a month, make its drafts, remind, lock, and add up areas and crews."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from backend.core.errors import Conflict
from backend.core.identity import system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AppraisalState
from backend.models import Appraisal, AppraisalGroup, AppraisalInput, AppraisalMonth, Area, Shift
from workflows import access, appraisal_inputs, appraisals
from workflows.appraisal_formulas import FORMULAS
from workflows.closed_days import zone_of

AT_ONCE = 10
"""So many officers, or drafts, in one transaction."""
GROUPS_AT_ONCE = 5
SETTLES_AFTER = timedelta(minutes=2)
"""What areas and crews add up to is computed again so long after the last change: a supervisor decides several."""


def work(uow: UnitOfWork) -> int:
    """Do some of what is due in the town; return how much, so that a caller goes on until 0."""
    return begin(uow) + make_drafts(uow) + lock_due(uow) + remind_due(uow) + add_up(uow)


def begin(uow: UnitOfWork) -> int:
    """Begin the last month that is over for long enough, if nobody has and somebody worked in it."""
    today = (uow.now - appraisals.JUDGED_AFTER).astimezone(zone_of(uow)).date()
    month = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    begins_at, ends_at = appraisals.bounds(uow, month)
    begun = select(AppraisalMonth.id).where(AppraisalMonth.month == month, AppraisalMonth.town_id == uow.town)
    if uow.session.scalar(begun) is not None:
        return 0
    worked = select(Shift.id).where(Shift.started_at >= begins_at, Shift.started_at < ends_at)
    if uow.session.scalar(worked.where(Shift.town_id == uow.town).limit(1)) is None:
        return 0
    try:
        appraisals.begin(uow, system_actor(uow.town), month, command_id=None)
    except Conflict:
        return 0
    return 1


def make_drafts(uow: UnitOfWork) -> int:
    """Make some of the drafts that a month lacks; with the last of them, what belongs to nobody in particular."""
    query = select(AppraisalMonth).where(
        AppraisalMonth.town_id == uow.town, AppraisalMonth.completed_at.is_(None)
    )
    month = uow.session.scalar(
        query.order_by(AppraisalMonth.month).limit(1).with_for_update(skip_locked=True)
    )
    if month is None:
        return 0
    officer_ids = appraisal_inputs.concerned(uow, month, limit=AT_ONCE)
    made = sum(appraisals.draft(uow, month, officer_id) is not None for officer_id in officer_ids)
    if made == 0:
        uow.session.add_all(appraisal_inputs.of_nobody(uow, month))
        month.completed_at = month.changed_at = uow.now
        uow.session.flush()
        return 1
    return made


def lock_due(uow: UnitOfWork) -> int:
    """Lock drafts whose time for objections is over and of which none waits."""
    due = _due(uow, and_(Appraisal.contest_until <= uow.now, ~appraisals.waits()))
    due = [one for one in due if not appraisals.waiting(uow, one.id)]
    for one in due:
        appraisals.lock(uow, system_actor(uow.town), one)
    return len(due)


def remind_due(uow: UnitOfWork) -> int:
    """Remind of drafts on the last working day before they are locked, once each."""
    calendar = appraisals.calendar(uow)
    found = _due(
        uow, and_(Appraisal.reminded_at.is_(None), Appraisal.contest_until <= calendar.end_after(uow.now, 1))
    )
    for one in found:
        appraisals.remind(uow, one)
    uow.session.flush()
    return len(found)


def _due(uow: UnitOfWork, which: ColumnElement[bool]) -> Sequence[Appraisal]:
    query = (
        select(Appraisal)
        .where(Appraisal.town_id == uow.town, Appraisal.state == AppraisalState.DRAFT, which)
        .options(*access.appraisal_parts())
        .order_by(Appraisal.contest_until, Appraisal.id)
        .limit(AT_ONCE)
        .with_for_update(of=Appraisal, skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return uow.session.scalars(query).all()


# --- Areas and crews


def add_up(uow: UnitOfWork) -> int:
    """Compute some of what areas and crews add up to, of a month in which something has changed since."""
    month = uow.session.scalar(
        select(AppraisalMonth)
        .where(
            AppraisalMonth.town_id == uow.town,
            AppraisalMonth.completed_at.is_not(None),
            or_(
                AppraisalMonth.changed_at < uow.now - SETTLES_AFTER,
                AppraisalMonth.changed_at == AppraisalMonth.completed_at,
            ),
        )
        .order_by(AppraisalMonth.month)
        .limit(1)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if month is None:
        return 0
    made = select(AppraisalGroup.area_id, AppraisalGroup.call_sign).where(
        AppraisalGroup.month_id == month.id, AppraisalGroup.changes == month.changes
    )
    fresh = {(row.area_id, row.call_sign) for row in uow.session.execute(made)}
    stale = [group for group in _groups(uow, month) if group not in fresh]
    for area_id, call_sign in stale[:GROUPS_AT_ONCE]:
        _add_up(uow, month, area_id, call_sign)
    if len(stale) <= GROUPS_AT_ONCE:
        month.changed_at = None
    uow.session.flush()
    return len(stale)


def _groups(uow: UnitOfWork, month: AppraisalMonth) -> list[tuple[UUID, str | None]]:
    """Return every area that something happened in or below, and every crew by the area where its officers worked."""
    where = select(AppraisalInput.area_id).where(AppraisalInput.month_id == month.id)
    areas = uow.session.scalars(select(func.unnest(Area.ancestors)).where(Area.id.in_(where)).distinct())
    crews = (
        select(Appraisal.area_id, AppraisalInput.call_sign)
        .join(Appraisal, Appraisal.id == AppraisalInput.appraisal_id)
        .where(AppraisalInput.month_id == month.id, AppraisalInput.call_sign.is_not(None))
        .distinct()
    )
    return [
        *((area_id, None) for area_id in sorted(areas)),
        *sorted((row.area_id, row.call_sign) for row in uow.session.execute(crews)),
    ]


def _add_up(uow: UnitOfWork, month: AppraisalMonth, area_id: UUID, call_sign: str | None) -> None:
    which = and_(AppraisalInput.month_id == month.id, access.within(AppraisalInput.area_id, [area_id]))
    if call_sign is not None:
        his = select(Appraisal.id).where(Appraisal.month_id == month.id, Appraisal.area_id == area_id)
        which = and_(
            AppraisalInput.month_id == month.id, AppraisalInput.call_sign == call_sign,
            AppraisalInput.appraisal_id.in_(his),
        )  # fmt: skip
    found = FORMULAS[month.formula].figures(appraisals.inputs(uow, which))
    row = {"figures": [asdict(figure) for figure in found], "made_at": uow.now, "changes": month.changes}
    made = insert(AppraisalGroup).values(
        id=new_id(), town_id=uow.town, month_id=month.id, area_id=area_id, call_sign=call_sign, **row
    )
    uow.session.execute(
        made.on_conflict_do_update(
            index_elements=[AppraisalGroup.month_id, AppraisalGroup.area_id, AppraisalGroup.call_sign],
            set_=row,
        )
    )
