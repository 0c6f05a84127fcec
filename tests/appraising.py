"""A month of work to be appraised: shifts, rounds, tasks and silences of the month before the last few days."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from backend.core.identity import system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AlarmKind, AlarmSource, SilenceCause
from backend.models import (
    Alarm,
    Appraisal,
    AppraisalContest,
    AppraisalInput,
    AppraisalMonth,
    Assignment,
    Patrol,
    Shift,
    Silence,
)
from tests.dispatching import make_task
from tests.factories import Person, Town
from tests.rounds import make_patrol, make_visit
from workflows import access, appraisal_contests, appraisals, visits

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def month_over(uow: UnitOfWork) -> tuple[date, datetime]:
    """The last month that may be judged, and a moment on its tenth day."""
    before = (uow.now - appraisals.JUDGED_AFTER - DAY).date().replace(day=1) - DAY
    month = before.replace(day=1)
    return month, appraisals.bounds(uow, month)[0] + 9 * DAY + 10 * HOUR


def make_shift(
    uow: UnitOfWork, town: Town, person: Person, at: datetime, *, hours: float = 8, area: str = "a"
) -> Shift:
    """Write a shift that is over."""
    made = Shift(
        id=new_id(), town_id=town.id, officer_id=person.id, area_id=town.areas[area], state="ended", started_at=at,
        closes_at=at + 12 * HOUR, ended_at=at + hours * HOUR, ended_by="self",
    )  # fmt: skip
    uow.session.add(made)
    uow.session.flush()
    return made


def make_round(
    uow: UnitOfWork,
    town: Town,
    person: Person,
    shift: Shift,
    at: datetime,
    *,
    points: int = 2,
    visited: int | None = None,
    minutes: float = 30,
    **more: Any,
) -> Patrol:
    """Write a planned round that an officer completed, with visits at the first of its points."""
    patrol = make_patrol(uow, town, points=points, at=at, people=[person], area=more.pop("area", "a"))
    for name, value in {
        "state": "completed", "officer_id": person.id, "shift_id": shift.id, "began_at": at, "started_at": at,
        "ended_at": at + minutes * MINUTE, "finished_at": at + minutes * MINUTE, **more,
    }.items():  # fmt: skip
        setattr(patrol, name, value)
    uow.session.flush()
    for point in patrol.points[: points if visited is None else visited]:
        make_visit(uow, town, person, point.checkpoint_id, at=at + MINUTE, shift_id=shift.id)
    visits.attach(uow, patrol)
    return patrol


def make_missed(uow: UnitOfWork, town: Town, at: datetime, *people: Person) -> Patrol:
    """Write a planned round that nobody began."""
    patrol = make_patrol(uow, town, at=at, people=people)
    patrol.state, patrol.missed_at = "missed", at + HOUR
    uow.session.flush()
    return patrol


def make_share(
    uow: UnitOfWork,
    town: Town,
    person: Person,
    at: datetime,
    *,
    accept_s: float | None,
    arrive_s: float | None,
) -> Assignment:
    """Write an officer's share in a task that he accepted and came to, or let lapse."""
    task = make_task(uow, town)
    accepted_at = None if accept_s is None else at + timedelta(seconds=accept_s)
    arrived_at = (
        None if accepted_at is None or arrive_s is None else accepted_at + timedelta(seconds=arrive_s)
    )
    made = Assignment(
        id=new_id(), town_id=town.id, task_id=task.id, officer_id=person.id,
        state="lapsed" if accepted_at is None else "done", offered_at=at, accepted_at=accepted_at,
        arrived_at=arrived_at, ended_at=at + HOUR, version=1,
    )  # fmt: skip
    uow.session.add(made)
    uow.session.flush()
    return made


def make_silence(
    uow: UnitOfWork, town: Town, shift: Shift, at: datetime, *, minutes: float,
    cause: SilenceCause = SilenceCause.PHONE_SETTINGS,
) -> Silence:  # fmt: skip
    """Write a silence of an officer in a shift, with its alarm."""
    alarm = make_alarm(uow, town, shift, at, minutes=minutes)
    made = Silence(
        id=new_id(), town_id=town.id, alarm_id=alarm.id, officer_id=shift.officer_id, shift_id=shift.id, heard_at=at,
        until_at=at + minutes * MINUTE, cause=cause, clues={}, noted_at=uow.now,
    )  # fmt: skip
    uow.session.add(made)
    uow.session.flush()
    return made


def make_alarm(
    uow: UnitOfWork, town: Town, shift: Shift, heard_at: datetime, *, minutes: float, **more: Any
) -> Alarm:
    """Write the alarm about a silence that has righted itself."""
    made = Alarm(
        id=new_id(), town_id=town.id, number=new_id().int % 1_000_000_000, kind=AlarmKind.SILENT,
        source=AlarmSource.OFFICER, source_id=shift.officer_id, state="cleared", priority="high", area_id=shift.area_id,
        officer_id=shift.officer_id, shift_id=shift.id, raised_at=heard_at + 5 * MINUTE,
        cleared_at=heard_at + minutes * MINUTE, detail={"heard_at": heard_at.isoformat(), "device": "Phone"}, **more,
    )  # fmt: skip
    uow.session.add(made)
    uow.session.flush()
    return made


def begun_month(uow: UnitOfWork, *, by: UUID | None = None) -> AppraisalMonth:
    """The month that may be judged, begun by the clock unless somebody else is named."""
    month, _ = month_over(uow)
    known = uow.session.scalar(select(AppraisalMonth).where(AppraisalMonth.month == month))
    if known is None:
        known = appraisals.begin(uow, system_actor(uow.town), month, command_id=None)
    known.made_by = by
    uow.session.flush()
    return known


def drafted(uow: UnitOfWork, person: Person, *, by: UUID | None = None) -> Appraisal:
    """The draft of an officer's month."""
    made = appraisals.draft(uow, begun_month(uow, by=by), person.id)
    assert made is not None
    return made


def ordinary_month(uow: UnitOfWork, town: Town, person: Person, *, area: str = "a") -> Appraisal:
    """The draft of an officer with one shift and one round in which he came to every point."""
    _, at = month_over(uow)
    shift = make_shift(uow, town, person, at, area=area)
    make_round(uow, town, person, shift, at + HOUR, area=area)
    return drafted(uow, person)


def inputs_of(uow: UnitOfWork, appraisal: Appraisal) -> dict[str, list[AppraisalInput]]:
    """What the figures of an appraisal were made of."""
    found: dict[str, list[AppraisalInput]] = {}
    query = select(AppraisalInput).where(AppraisalInput.appraisal_id == appraisal.id)
    for one in uow.session.scalars(query.order_by(AppraisalInput.happened_at, AppraisalInput.id)):
        found.setdefault(one.figure, []).append(one)
    return found


def figures(appraisal: Appraisal) -> dict[str, dict[str, Any]]:
    """The figures of an appraisal by their code."""
    return {one["code"]: one for one in appraisal.figures}


def fresh(uow: UnitOfWork, appraisal_id: UUID) -> Appraisal:
    """An appraisal as the database has it now."""
    uow.session.expire_all()
    return access.appraisal(uow, system_actor(uow.town), appraisal_id)


def contested_month(
    uow: UnitOfWork, town: Town, person: Person, *, area: str = "a"
) -> tuple[AppraisalContest, AppraisalInput]:
    """An objection of an officer to one input of a draft, and another input of it."""
    _, at = month_over(uow)
    for n in range(2):
        make_shift(uow, town, person, at + n * DAY, area=area)
    made = drafted(uow, person)
    [one, *_, other] = inputs_of(uow, made)["duty"]
    contest = appraisal_contests.contest(
        uow, person.actor(), made.id, input_id=one.id, reason="too short", command_id=new_id()
    )
    return contest, other
