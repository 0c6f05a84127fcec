"""Appraisals (考核): an officer's figures of a month, what he objects to in them, and what becomes of that.

A month is begun by the clock, or by a supervisor of the whole town, a few days after it is over: phones that were
offline have brought what they had by then. The clock (``appraisal_clocks``) makes a draft for each officer out of
inputs that are taken down once (``appraisal_inputs``), by the version of the formulas that the month was begun with
(``appraisal_formulas``). For five working days he may object to any input, with a reason. What a supervisor excludes or
corrects is done by somebody other than who had made the draft or judged the input before, and never by whom it is
about. Then the clock locks it, once no objection waits; what is locked the database lets nobody change.

Rows are locked in one order: the appraisal, then the objection.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import exists, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from backend.core.errors import Conflict, Forbidden, NotVisible, WrongState
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import (
    AppraisalFigure,
    AppraisalState,
    ContestState,
    NoticeKind,
    Role,
)
from backend.models import Appraisal, AppraisalContest, AppraisalInput, AppraisalMonth, Town
from notifications import changes, outbox, recipients
from workflows import access, appraisal_inputs, journal
from workflows.appraisal_formulas import CURRENT, FORMULAS, Figure, Input
from workflows.closed_days import zone_of
from workflows.machine import Machine, step
from workflows.patrols import OFFLINE
from workflows.working_days import Calendar

A = AppraisalState

APPRAISAL = Machine(
    "appraisal", A.DRAFT,
    #    action       from        to           by                stamps
    step("lock",      {A.DRAFT},  A.LOCKED,    (Role.SYSTEM,),   "locked_at"),
)  # fmt: skip

APPEAL_DAYS = 5
"""So many working days a draft is open for objections, by the town's calendar."""
JUDGED_AFTER = OFFLINE + timedelta(hours=6)
"""So long after its end a month is judged: phones have been offline for up to three days, and what they brought has
been looked at."""


# --- The month and its drafts


def begin(uow: UnitOfWork, actor: Actor, month: date, *, command_id: UUID | None) -> AppraisalMonth:
    """Begin the appraisal of a month; the drafts are made by the clock within minutes.

    Raises:
        Conflict: ``month_not_over``; ``month_begun``, somebody has, or the clock.
        Forbidden: the actor does not supervise the whole town.
    """
    if Role.SYSTEM not in actor.roles:
        access.require_in_whole_town(uow, actor, "make", "appraisal")
    month = month.replace(day=1)
    begins_at, ends_at = bounds(uow, month)
    if uow.now < ends_at + JUDGED_AFTER:
        raise Conflict(
            "month_not_over", "This month is not over for long enough.",
            from_at=(ends_at + JUDGED_AFTER).isoformat().replace("+00:00", "Z"),
        )  # fmt: skip
    made = insert(AppraisalMonth).values(
        id=new_id(), town_id=uow.town, month=month, begins_at=begins_at, ends_at=ends_at, formula=CURRENT,
        made_by=actor.user_id, made_at=uow.now,
    )  # fmt: skip
    made = made.on_conflict_do_nothing(index_elements=[AppraisalMonth.town_id, AppraisalMonth.month])
    month_id = uow.session.scalar(made.returning(AppraisalMonth.id))
    if month_id is None:
        raise Conflict("month_begun", "The appraisal of this month has been begun.")
    journal.write(
        uow, actor, "appraisal_month", month_id, "create", command_id=command_id,
        data={"month": word(month), "formula": CURRENT},
    )  # fmt: skip
    return uow.session.get_one(AppraisalMonth, month_id)


def bounds(uow: UnitOfWork, month: date) -> tuple[datetime, datetime]:
    """Return the first moment of a month in the town and of the next one, in UTC."""
    zone = zone_of(uow)
    after = (month.replace(day=1) + timedelta(days=32)).replace(day=1)
    first, last = (
        datetime.combine(day, time(), zone).astimezone(UTC) for day in (month.replace(day=1), after)
    )
    return first, last


def word(month: date) -> str:
    """Return how a month is written: ``2026-11``."""
    return f"{month:%Y-%m}"


def _area(found: Sequence[AppraisalInput]) -> UUID:
    """Return whose desk judges the month: of the area to which most of it belongs, and of two the one of the latest."""
    counted = Counter(one.area_id for one in sorted(found, key=lambda one: one.happened_at, reverse=True))
    return counted.most_common(1)[0][0]


def draft(uow: UnitOfWork, month: AppraisalMonth, officer_id: UUID) -> Appraisal | None:
    """Make the draft of an officer's month and tell him; None when it exists, or there is nothing to be judged."""
    found = appraisal_inputs.of_officer(uow, month, officer_id)
    if not found:
        return None
    made = insert(Appraisal).values(
        id=new_id(), town_id=uow.town, month_id=month.id, officer_id=officer_id,
        area_id=_area(found), state=APPRAISAL.initial,
        figures=_told(FORMULAS[month.formula].figures(map(_input, found))), opened_at=uow.now,
        contest_until=calendar(uow).end_after(uow.now, APPEAL_DAYS), version=1,
    )  # fmt: skip
    made = made.on_conflict_do_nothing(index_elements=[Appraisal.month_id, Appraisal.officer_id])
    appraisal_id = uow.session.scalar(made.returning(Appraisal.id))
    if appraisal_id is None:
        return None
    for one in found:
        one.appraisal_id = appraisal_id
    uow.session.add_all(found)
    uow.session.flush()
    journal.write(
        uow, system_actor(uow.town), "appraisal", appraisal_id, "create", after=APPRAISAL.initial,
        data={"month": word(month.month), "formula": month.formula, "inputs": len(found)},
    )  # fmt: skip
    appraisal = access.appraisal(uow, system_actor(uow.town), appraisal_id)
    outbox.enqueue(
        uow, NoticeKind.APPRAISAL_OPENED, to=recipients.one(uow, officer_id), subject=("appraisal", appraisal.id),
        params={"month": word(month.month), "last_day": last_day(uow, appraisal)},
    )  # fmt: skip
    _announce(uow, appraisal, "create")
    return appraisal


def calendar(uow: UnitOfWork) -> Calendar:
    """Return the working days of the town."""
    told = uow.session.scalars(select(Town.calendar).where(Town.id == uow.town)).one()
    return Calendar(told, zone_of(uow))


def last_day(uow: UnitOfWork, appraisal: Appraisal) -> date:
    """Return the last day on which objections are taken, in the town."""
    return (appraisal.contest_until.astimezone(zone_of(uow)) - timedelta(days=1)).date()


# --- Figures


def figures_of(uow: UnitOfWork, appraisal: Appraisal) -> list[dict[str, Any]]:
    """Return the figures that follow from the inputs of an appraisal, by the formula of its month."""
    version = uow.session.scalars(
        select(AppraisalMonth.formula).where(AppraisalMonth.id == appraisal.month_id)
    ).one()
    return _told(FORMULAS[version].figures(inputs(uow, AppraisalInput.appraisal_id == appraisal.id)))


def inputs(uow: UnitOfWork, which: Any) -> Iterator[Input]:
    """Return the inputs of a condition one after the other, as the formulas read them."""
    query = select(
        AppraisalInput.id, AppraisalInput.figure, AppraisalInput.facts, AppraisalInput.correction,
        AppraisalInput.excluded_at.is_not(None).label("excluded"),
    ).where(which)  # fmt: skip
    with uow.session.execute(query.execution_options(yield_per=500)) as rows:
        for row in rows:
            yield Input(row.id, AppraisalFigure(row.figure), row.facts, row.correction, row.excluded)


def _input(one: AppraisalInput) -> Input:
    return Input(one.id, AppraisalFigure(one.figure), one.facts, one.correction, one.excluded_at is not None)


def _told(found: list[Figure]) -> list[dict[str, Any]]:
    return [asdict(figure) for figure in found]


def recompute(uow: UnitOfWork, appraisal: Appraisal) -> None:
    """Let what has been excluded or corrected in a locked draft count, for the officer and for his area."""
    uow.session.flush()
    appraisal.figures = figures_of(uow, appraisal)
    uow.session.execute(
        update(AppraisalMonth)
        .where(AppraisalMonth.id == appraisal.month_id)
        .values(changed_at=uow.now, changes=AppraisalMonth.changes + 1)
        .execution_options(synchronize_session=False)
    )
    uow.session.flush()


# --- The supervisor's acts


def exclude(
    uow: UnitOfWork, actor: Actor, appraisal_id: UUID, *, input_id: UUID, reason: str, command_id: UUID | None
) -> Appraisal:
    """Leave an input of a draft out, with a reason; the officer need not have asked.

    Raises:
        NotVisible: not in the actor's areas, or no input of it. WrongState: it is locked.
        Forbidden: ``two_persons``, as for :func:`uphold`.
        Conflict: ``excluded``; ``contested``, an objection to it waits to be decided.
    """
    appraisal = access.appraisal(uow, actor, appraisal_id, verb="decide", lock=True)
    refuse_locked(actor, appraisal)
    about = input_of(uow, appraisal, input_id)
    refuse_party(actor, appraisal, about)
    if about.excluded_at is not None:
        raise Conflict("excluded", "This does not count any more.")
    waits = select(AppraisalContest.id).where(
        AppraisalContest.input_id == about.id, AppraisalContest.state == ContestState.OPEN
    )
    if uow.session.scalar(waits) is not None:
        raise Conflict("contested", "An objection to it waits to be decided.")
    leave_out(uow, actor, about, reason)
    journal.write(
        uow, actor, "appraisal", appraisal.id, "exclude", command_id=command_id, reason=reason,
        data={"input_id": str(about.id)},
    )  # fmt: skip
    recompute(uow, appraisal)
    changed(uow, appraisal, "exclude")
    return read(uow, appraisal.id)


def leave_out(uow: UnitOfWork, actor: Actor, about: AppraisalInput, reason: str) -> None:
    about.excluded_at, about.excluded_by, about.exclusion_reason = uow.now, actor.user_id, reason


def refuse_locked(actor: Actor, appraisal: Appraisal) -> None:
    if appraisal.state != A.DRAFT:
        raise WrongState(str(appraisal.state), APPRAISAL.actions(actor, appraisal))


def refuse_party(actor: Actor, appraisal: Appraisal, about: AppraisalInput) -> None:
    """Keep apart who has scored and who takes something out of it (two persons), and whom it is about from both."""
    if actor.user_id in (appraisal.month.made_by, appraisal.officer_id, *about.scored_by):
        raise Forbidden("two_persons", "This is for somebody else: you have a part in it.")


def input_of(uow: UnitOfWork, appraisal: Appraisal, input_id: UUID) -> AppraisalInput:
    found = uow.session.scalar(
        select(AppraisalInput).where(
            AppraisalInput.id == input_id, AppraisalInput.appraisal_id == appraisal.id
        )
    )
    if found is None:
        raise NotVisible()
    return found


# --- The clock's acts


def lock(uow: UnitOfWork, actor: Actor, appraisal: Appraisal) -> None:
    """Lock an appraisal: from now on the database lets nobody change it.

    Raises:
        WrongState: it is locked. Conflict: ``contested``, an objection to it waits to be decided.
    """
    if appraisal.state == A.DRAFT and waiting(uow, appraisal.id):
        raise Conflict("contested", "An objection to it waits to be decided.")
    APPRAISAL.fire(uow, actor, appraisal, "lock", command_id=None)
    _announce(uow, appraisal, "lock")


def remind(uow: UnitOfWork, appraisal: Appraisal) -> None:
    """Tell an officer that his draft is about to be locked, and his supervisors which objections wait in it."""
    appraisal.reminded_at = uow.now
    about = {"month": word(appraisal.month.month), "last_day": last_day(uow, appraisal)}
    subject = ("appraisal", appraisal.id)
    outbox.enqueue(
        uow,
        NoticeKind.APPRAISAL_CLOSING,
        to=recipients.one(uow, appraisal.officer_id),
        subject=subject,
        params=about,
    )
    if left := waiting(uow, appraisal.id):
        desk = recipients.desk_for(uow, appraisal.area_id, "supervisor")
        outbox.enqueue(
            uow, NoticeKind.APPRAISAL_CLOSING, to=[one for one in desk if one != appraisal.officer_id],
            subject=subject, params={**about, "open": left},
        )  # fmt: skip


def waits() -> Any:
    """Return the condition that an objection to an appraisal waits to be decided."""
    return exists(
        select(literal(1)).where(
            AppraisalContest.appraisal_id == Appraisal.id, AppraisalContest.state == ContestState.OPEN
        )
    )


def waiting(uow: UnitOfWork, appraisal_id: UUID) -> int:
    """Return how many objections to an appraisal wait to be decided."""
    query = select(func.count()).select_from(AppraisalContest)
    query = query.where(
        AppraisalContest.appraisal_id == appraisal_id, AppraisalContest.state == ContestState.OPEN
    )
    return uow.session.scalar(query) or 0


# --- What may be pressed, and what is told


def desk_actions(actor: Actor, appraisal: Appraisal) -> list[str]:
    """Return what the desk may do with an appraisal now."""
    able = access.may(actor, "decide", "appraisal") and appraisal.state == A.DRAFT
    is_party = actor.user_id in (appraisal.month.made_by, appraisal.officer_id)
    return ["exclude"] if able and not is_party else []


def officer_actions(uow: UnitOfWork, appraisal: Appraisal) -> list[str]:
    """Return what an officer may do with his own appraisal now."""
    return ["contest"] if appraisal.state == A.DRAFT and uow.now < appraisal.contest_until else []


def changed(uow: UnitOfWork, appraisal: Appraisal, action: str) -> None:
    appraisal.version += 1
    _announce(uow, appraisal, action)


def _announce(uow: UnitOfWork, appraisal: Appraisal, action: str) -> None:
    uow.session.flush()
    changes.tell(uow, APPRAISAL.kind, appraisal, action, to=recipients.hear_of_appraisal(appraisal))


def read(uow: UnitOfWork, appraisal_id: UUID) -> Appraisal:
    """Return an appraisal as it is now, with all that an answer shows."""
    query = select(Appraisal).where(Appraisal.id == appraisal_id).options(*access.appraisal_parts())
    return uow.session.scalars(query.execution_options(populate_existing=True)).one()
