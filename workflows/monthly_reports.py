"""The monthly report: what was planned and done in a month in an area, for people who were not there.

Figures and lists of the rounds, visits, checkpoints, deviations and tasks as they stand now, and of the appraisals that
were made. Lists are bounded and say so. Whoever takes it leaves a disclosure with his reason: it names people.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, exists, func, literal, select, text
from sqlalchemy.orm import aliased, contains_eager

from backend.core.errors import NotVisible
from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Disclosure
from backend.core.vocabulary import PatrolState as P
from backend.models import (
    Appraisal,
    AppraisalGroup,
    AppraisalMonth,
    Area,
    Checkpoint,
    Patrol,
    PatrolDeviation,
    Route,
    Task,
    TaskKind,
    Town,
    User,
    Visit,
)
from workflows import access, appraisals, journal, towns, visits

Place = aliased(Area)
"""The area of a row, beside the one that the report is about."""
MOST_ROWS = 1000
"""So many rows a list has; what is more stands in the system."""


@dataclass(frozen=True)
class Listed:
    """A list, and whether there is more of it."""

    rows: Sequence[Any]
    cut: bool


@dataclass(frozen=True)
class Round:
    """A round that was not done as it was planned."""

    number: int
    route: dict[str, str]
    state: str
    scheduled_at: datetime
    officer: str | None
    reason: str | None
    explanation: str | None
    officer_id: UUID | None


@dataclass(frozen=True)
class Deviated:
    """A time off the route."""

    number: int
    route: dict[str, str]
    began_at: datetime
    ended_at: datetime | None
    furthest_m: float
    officer: str | None
    explanation: str | None
    officer_id: UUID | None


@dataclass(frozen=True)
class Point:
    """A checkpoint at which nobody was."""

    code: str
    name: dict[str, str]
    area: dict[str, str]


@dataclass(frozen=True)
class TaskCount:
    """Tasks of one kind that were made in the month."""

    kind: dict[str, str]
    made: int
    closed: int
    cancelled: int
    overdue: int
    accept_s: float | None
    arrive_s: float | None


@dataclass(frozen=True)
class Appraised:
    """Figures of an officer, a crew or an area."""

    name: str | dict[str, str]
    call_sign: str | None
    state: str | None
    figures: list[dict[str, Any]]


@dataclass(frozen=True)
class MonthlyReport:
    """What stands in the report."""

    town: dict[str, str]
    area: dict[str, str]
    time_zone: str
    month: date
    made_by: str
    made_at: datetime
    rounds: dict[str, int]
    spontaneous: int
    late: int
    not_done: Listed
    visits_by_method: dict[str, int]
    visits_flagged: dict[str, int]
    visits_doubtful: int
    visits_to_look_at: int
    checkpoints: int
    visited: int
    never_visited: Listed
    deviations: int
    deviations_explained: int
    deviated: Listed
    tasks: Sequence[TaskCount]
    formula: str | None
    groups: Listed
    officers: Listed


def look(
    uow: UnitOfWork, actor: Actor, *, month: date, area_id: UUID | None = None, reason: str
) -> MonthlyReport:
    """Return what stands in the report of a month, and write down who took it and why: each named officer can read it.

    Raises:
        NotVisible: the area is not the actor's; without one it is the whole town that has to be his.
    """
    access.require(actor, "export", "appraisal")
    area = uow.session.get(Area, area_id or towns.root_of(uow))
    if area is None or not access.covers(uow, actor, "export", "appraisal", area.id):
        raise NotVisible()
    journal.disclose(
        uow, actor, "area", area.id, Disclosure.EXPORT, reason=reason,
        data={"monthly_report": appraisals.word(month)},
    )  # fmt: skip
    uow.session.flush()
    town = uow.session.get_one(Town, uow.town)
    since, until = appraisals.bounds(uow, month)
    appraised = uow.session.scalar(select(AppraisalMonth).where(AppraisalMonth.month == month))
    named: set[UUID] = set()
    report = MonthlyReport(
        town=town.name,
        area=area.name,
        time_zone=town.time_zone,
        month=month,
        made_by=uow.session.scalars(select(User.display_name).where(User.id == actor.user_id)).one(),
        made_at=uow.now,
        **_rounds(uow, area.id, since, until),
        **_visits(uow, area.id, since, until),
        **_coverage(uow, area.id, since, until),
        **_deviations(uow, area.id, since, until),
        tasks=_tasks(uow, area.id, since, until),
        formula=appraised.formula if appraised is not None else None,
        **_appraised(uow, area.id, appraised, named),
    )
    for one in (*report.not_done.rows, *report.deviated.rows):
        if one.officer_id is not None:
            named.add(one.officer_id)
    for officer_id in sorted(named):
        journal.disclose(
            uow, actor, "user", officer_id, Disclosure.EXPORT, reason=reason,
            data={"monthly_report": appraisals.word(month)},
        )  # fmt: skip
    return report


def _listed(rows: Sequence[Any]) -> Listed:
    return Listed(rows[:MOST_ROWS], len(rows) > MOST_ROWS)


def _scheduled(area_id: UUID, since: datetime, until: datetime) -> ColumnElement[bool]:
    return (
        (Patrol.scheduled_at >= since)
        & (Patrol.scheduled_at < until)
        & access.within(Patrol.area_id, [area_id])
    )


def _rounds(uow: UnitOfWork, area_id: UUID, since: datetime, until: datetime) -> dict[str, Any]:
    of_month = _scheduled(area_id, since, until) & (Patrol.town_id == uow.town)
    counted = uow.session.execute(
        select(
            Patrol.state, Patrol.plan_id.is_not(None).label("planned"), func.count().label("many"),
            func.count().filter(Patrol.began_at > Patrol.late_at).label("late"),
        )
        .where(of_month)
        .group_by(Patrol.state, "planned")
    ).all()  # fmt: skip
    left = (
        select(
            Patrol.number, Route.name, Patrol.state, Patrol.scheduled_at, User.display_name, Patrol.reason,
            Patrol.explanation, Patrol.officer_id,
        )
        .join(Route, Route.id == Patrol.route_id)
        .outerjoin(User, User.id == Patrol.officer_id)
        .where(of_month, Patrol.plan_id.is_not(None), Patrol.state.in_([P.ENDED_EARLY, P.MISSED]))
        .order_by(Patrol.scheduled_at, Patrol.id)
        .limit(MOST_ROWS + 1)
    )  # fmt: skip
    return {
        "rounds": {str(state): sum(row.many for row in counted if row.planned and row.state == state) for state in P},
        "spontaneous": sum(row.many for row in counted if not row.planned),
        "late": sum(row.late for row in counted if row.planned),
        "not_done": _listed([Round(*row) for row in uow.session.execute(left)]),
    }  # fmt: skip


def _visits(uow: UnitOfWork, area_id: UUID, since: datetime, until: datetime) -> dict[str, Any]:
    of_month = (
        (Visit.town_id == uow.town)
        & (Visit.arrived_at >= since)
        & (Visit.arrived_at < until)
        & access.within(Visit.area_id, [area_id])
    )
    methods = uow.session.execute(
        select(
            Visit.method, func.count().label("many"),
            func.count().filter(Visit.verdict == "doubtful").label("doubtful"),
            func.count().filter(func.cardinality(Visit.flags) > 0, Visit.reviewed_at.is_(None)).label("waiting"),
        )
        .where(of_month)
        .group_by(Visit.method)
        .order_by(Visit.method)
    ).all()  # fmt: skip
    flag = func.unnest(Visit.flags).label("flag")
    flagged = select(flag, func.count().label("many")).where(of_month, func.cardinality(Visit.flags) > 0)
    return {
        "visits_by_method": {row.method: row.many for row in methods},
        "visits_flagged": {row.flag: row.many for row in uow.session.execute(flagged.group_by(flag).order_by(flag))},
        "visits_doubtful": sum(row.doubtful for row in methods),
        "visits_to_look_at": sum(row.waiting for row in methods),
    }  # fmt: skip


def _coverage(uow: UnitOfWork, area_id: UUID, since: datetime, until: datetime) -> dict[str, Any]:
    seen = exists(
        select(literal(1)).where(
            Visit.checkpoint_id == Checkpoint.id,
            Visit.arrived_at >= since,
            Visit.arrived_at < until,
            visits.counts(),
        )
    )
    in_use = (
        (Checkpoint.town_id == uow.town)
        # What was visited was there, whenever it was written down.
        & ((Checkpoint.created_at < until) | seen)
        & (Checkpoint.retired_at.is_(None) | (Checkpoint.retired_at >= until))
        & access.within(Checkpoint.area_id, [area_id])
    )
    total, visited = uow.session.execute(
        select(func.count(), func.count().filter(seen)).select_from(Checkpoint).where(in_use)
    ).one()
    never = (
        select(Checkpoint.code, Checkpoint.name, Place.name)
        .join(Place, Place.id == Checkpoint.area_id)
        .where(in_use, ~seen)
        .order_by(Checkpoint.code)
        .limit(MOST_ROWS + 1)
    )
    return {
        "checkpoints": total,
        "visited": visited,
        "never_visited": _listed([Point(*row) for row in uow.session.execute(never)]),
    }


def _deviations(uow: UnitOfWork, area_id: UUID, since: datetime, until: datetime) -> dict[str, Any]:
    joined = PatrolDeviation.patrol_id == Patrol.id
    of_month = _scheduled(area_id, since, until) & (Patrol.town_id == uow.town)
    total, explained = uow.session.execute(
        select(func.count(), func.count(PatrolDeviation.explanation))
        .select_from(PatrolDeviation)
        .join(Patrol, joined)
        .where(of_month)
    ).one()
    listed = (
        select(
            Patrol.number, Route.name, PatrolDeviation.began_at, PatrolDeviation.ended_at,
            PatrolDeviation.furthest_m, User.display_name, PatrolDeviation.explanation, Patrol.officer_id,
        )
        .join(Patrol, joined)
        .join(Route, Route.id == Patrol.route_id)
        .outerjoin(User, User.id == Patrol.officer_id)
        .where(of_month)
        .order_by(PatrolDeviation.began_at, PatrolDeviation.id)
        .limit(MOST_ROWS + 1)
    )  # fmt: skip
    return {
        "deviations": total,
        "deviations_explained": explained,
        "deviated": _listed([Deviated(*row) for row in uow.session.execute(listed)]),
    }


def _tasks(uow: UnitOfWork, area_id: UUID, since: datetime, until: datetime) -> list[TaskCount]:
    took = "percentile_cont(0.5) within group (order by extract(epoch from {} - {}))"
    rows = uow.session.execute(
        select(
            TaskKind.name,
            func.count().label("made"),
            func.count().filter(Task.state.in_(["resolved", "closed"])).label("closed"),
            func.count().filter(Task.state == "cancelled").label("cancelled"),
            func.count().filter(Task.overdue.is_not(None)).label("overdue"),
            text(took.format("tasks.accepted_at", "tasks.offered_at")),
            text(took.format("tasks.arrived_at", "tasks.accepted_at")),
        )
        .join(TaskKind, TaskKind.id == Task.kind_id)
        .where(
            Task.town_id == uow.town,
            Task.created_at >= since,
            Task.created_at < until,
            access.within(Task.area_id, [area_id]),
        )
        .group_by(TaskKind.id)
        .order_by(TaskKind.code)
    )
    return [TaskCount(*row) for row in rows]


def _appraised(
    uow: UnitOfWork, area_id: UUID, month: AppraisalMonth | None, named: set[UUID]
) -> dict[str, Any]:
    """Return the figures of areas, crews and officers; whoever is named is added to ``named``."""
    if month is None:
        return {"groups": Listed([], False), "officers": Listed([], False)}
    groups = uow.session.scalars(
        select(AppraisalGroup)
        .join(AppraisalGroup.area.of_type(Place))
        .where(AppraisalGroup.month_id == month.id, access.within(AppraisalGroup.area_id, [area_id]))
        .options(contains_eager(AppraisalGroup.area.of_type(Place)).defer(Place.geom))
        .order_by(Place.code, func.coalesce(AppraisalGroup.call_sign, ""))
        .limit(MOST_ROWS + 1)
    )
    officers = uow.session.execute(
        select(User.id, User.display_name, Appraisal.state, Appraisal.figures)
        .join(User, User.id == Appraisal.officer_id)
        .where(Appraisal.month_id == month.id, access.within(Appraisal.area_id, [area_id]))
        .order_by(User.display_name, Appraisal.id)
        .limit(MOST_ROWS + 1)
    ).all()
    named.update(row.id for row in officers[:MOST_ROWS])
    return {
        "groups": _listed([Appraised(one.area.name, one.call_sign, None, one.figures) for one in groups]),
        "officers": _listed([Appraised(row.display_name, None, row.state, row.figures) for row in officers]),
    }
