"""What an officer's month was made of: his rounds, tasks, silences and shifts, taken down as they stand now.

Taken down once, with all that the formula reads, so that the figures of a month stay what they were when a row changes
later or retention forgets what it was found in. Nothing here says where anybody was.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import joinedload, selectinload

from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AppraisalFigure as F
from backend.core.vocabulary import AssignmentState, PointState
from backend.core.vocabulary import PatrolState as P
from backend.models import (
    Alarm,
    Appraisal,
    AppraisalInput,
    AppraisalMonth,
    Assignment,
    Crew,
    Journal,
    Patrol,
    PatrolPoint,
    Shift,
    Silence,
    Task,
    Visit,
)
from workflows import access, visits

JUDGED = (P.COMPLETED, P.ENDED_EARLY, P.MISSED)
"""What is still planned or under way three days after the month is nobody's doing: it is not judged."""
LONGEST_ROUND = timedelta(days=3)


@dataclass(frozen=True)
class Duty:
    """A shift of the month with the call sign of its crew, if the officer went with one."""

    shift: Shift
    call_sign: str | None

    @property
    def ended_at(self) -> datetime:
        return self.shift.ended_at or self.shift.closes_at


@dataclass(frozen=True)
class Context:
    """What is known of an officer's month beside the things themselves."""

    month: AppraisalMonth
    officer_id: UUID
    duties: Sequence[Duty]
    silences: Sequence[Silence]

    def silent_s(self, since: datetime | None, until: datetime | None) -> float:
        """Return for how many seconds of a span nothing was heard of his phone."""
        if since is None or until is None:
            return 0.0
        overlaps = (
            (min(one.until_at, until) - max(one.heard_at, since)).total_seconds() for one in self.silences
        )
        return round(sum(max(0.0, one) for one in overlaps), 3)

    def call_sign(self, at: datetime, shift_id: UUID | None = None) -> str | None:
        """Return the call sign of the crew that he went with at a moment, or in a shift."""
        for duty in self.duties:
            if duty.shift.id == shift_id or (
                shift_id is None and duty.shift.started_at <= at <= duty.ended_at
            ):
                return duty.call_sign
        return None

    def made(
        self, figure: F, source: str, source_id: UUID, at: datetime, area_id: UUID, facts: Mapping[str, Any],
        *, call_sign: str | None, scored_by: Iterable[UUID] = (),
    ) -> AppraisalInput:  # fmt: skip
        return AppraisalInput(
            id=new_id(), town_id=self.month.town_id, month_id=self.month.id, figure=figure, source=source,
            source_id=source_id, area_id=area_id, call_sign=call_sign, happened_at=at, facts=_plain(facts),
            scored_by=sorted(set(scored_by)),
        )  # fmt: skip


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts as JSON holds them."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else str(value) if isinstance(value, UUID) else value
        for name, value in facts.items()
    }  # fmt: skip


def concerned(uow: UnitOfWork, month: AppraisalMonth, *, limit: int) -> list[UUID]:
    """Return officers with a shift or a round of their own in the month of whom there is no appraisal yet."""
    made = select(Appraisal.officer_id).where(Appraisal.month_id == month.id)
    worked = select(Shift.officer_id).where(
        Shift.town_id == uow.town, Shift.started_at >= month.begins_at, Shift.started_at < month.ends_at
    )
    named = select(Patrol.officer_ids[1]).where(
        _missed_in(uow, month), func.cardinality(Patrol.officer_ids) == 1
    )
    both = worked.union(named).subquery()
    officer_id = both.c[0]
    return list(
        uow.session.scalars(
            select(officer_id).where(officer_id.not_in(made)).order_by(officer_id).limit(limit)
        )
    )


def _missed_in(uow: UnitOfWork, month: AppraisalMonth) -> ColumnElement[bool]:
    return and_(
        Patrol.town_id == uow.town, Patrol.state == P.MISSED, Patrol.scheduled_at >= month.begins_at,
        Patrol.scheduled_at < month.ends_at,
    )  # fmt: skip


def of_officer(uow: UnitOfWork, month: AppraisalMonth, officer_id: UUID) -> list[AppraisalInput]:
    """Return everything that an officer's figures of a month are made of; not added to anything yet."""
    context = Context(month, officer_id, _duties(uow, month, officer_id), _silences(uow, month, officer_id))
    return [
        *_rounds(uow, context),
        *_tasks(uow, context),
        *_of_silences(uow, context),
        *(
            context.made(
                F.DUTY, "shift", duty.shift.id, duty.shift.started_at, duty.shift.area_id,
                {
                    "started_at": duty.shift.started_at, "ended_at": duty.ended_at, "ended_by": duty.shift.ended_by,
                },
                call_sign=duty.call_sign,
            )
            for duty in context.duties
            if duty.shift.started_at >= month.begins_at
        ),
    ]  # fmt: skip


def of_nobody(uow: UnitOfWork, month: AppraisalMonth) -> list[AppraisalInput]:
    """Return the missed rounds of a month that several might have begun: they count for their area alone."""
    query = select(Patrol).where(_missed_in(uow, month), func.cardinality(Patrol.officer_ids) != 1)
    nobody = Context(month, month.id, (), ())
    found = uow.session.scalars(query.options(joinedload(Patrol.route)).order_by(Patrol.id))
    return [_round(nobody, patrol, 0.0) for patrol in found]


def _duties(uow: UnitOfWork, month: AppraisalMonth, officer_id: UUID) -> list[Duty]:
    query = (
        select(Shift, Crew.call_sign)
        .outerjoin(Crew, Crew.id == Shift.crew_id)
        .where(Shift.officer_id == officer_id, access.during(month.begins_at, month.ends_at))
        .order_by(Shift.started_at)
    )
    return [Duty(shift, call_sign) for shift, call_sign in uow.session.execute(query)]


def _silences(uow: UnitOfWork, month: AppraisalMonth, officer_id: UUID) -> list[Silence]:
    query = select(Silence).where(
        Silence.officer_id == officer_id,
        Silence.heard_at > month.begins_at - access.LONGEST_SHIFT,
        Silence.heard_at < month.ends_at,
    )
    return list(uow.session.scalars(query.order_by(Silence.heard_at, Silence.id)))


def _of_silences(uow: UnitOfWork, context: Context) -> list[AppraisalInput]:
    numbers = dict(
        uow.session.execute(
            select(Alarm.id, Alarm.number).where(Alarm.id.in_([one.alarm_id for one in context.silences]))
        ).all()
    )
    areas = {duty.shift.id: duty for duty in context.duties}
    return [
        context.made(
            F.SILENT, "silence", one.id, one.heard_at, areas[one.shift_id].shift.area_id,
            {
                "heard_at": one.heard_at, "until_at": one.until_at, "cause": one.cause, "clues": one.clues,
                "alarm": numbers.get(one.alarm_id),
            },
            call_sign=areas[one.shift_id].call_sign,
        )
        for one in context.silences
        if one.heard_at >= context.month.begins_at and one.shift_id in areas
    ]  # fmt: skip


# --- Rounds


def _rounds(uow: UnitOfWork, context: Context) -> list[AppraisalInput]:
    month = context.month
    begun = and_(
        Patrol.officer_id == context.officer_id, Patrol.began_at > month.begins_at - LONGEST_ROUND,
        Patrol.began_at < month.ends_at + LONGEST_ROUND,
    )  # fmt: skip
    missed = and_(Patrol.state == P.MISSED, Patrol.officer_ids == [context.officer_id])
    query = select(Patrol).where(
        Patrol.town_id == uow.town,
        Patrol.plan_id.is_not(None),
        Patrol.scheduled_at >= month.begins_at,
        Patrol.scheduled_at < month.ends_at,
        Patrol.state.in_(JUDGED),
        or_(begun, missed),
    )
    parts = (joinedload(Patrol.route), selectinload(Patrol.points).joinedload(PatrolPoint.checkpoint))
    found = list(uow.session.scalars(query.options(*parts).order_by(Patrol.scheduled_at, Patrol.id)))
    paused_s = _paused(uow, found)
    judges = _judges(uow, found)
    made = []
    for patrol in found:
        made.append(_round(context, patrol, paused_s.get(patrol.id, 0.0)))
        if patrol.began_at is not None:
            made.append(_points(context, patrol, judges))
    return made


def _round(context: Context, patrol: Patrol, paused_s: float) -> AppraisalInput:
    return context.made(
        F.ROUNDS_ON_TIME, "patrol", patrol.id, patrol.scheduled_at, patrol.area_id,
        {
            "number": patrol.number, "route": patrol.route.name, "state": patrol.state,
            "scheduled_at": patrol.scheduled_at, "began_at": patrol.began_at, "late_at": patrol.late_at,
            "ended_at": patrol.ended_at, "allowed_s": patrol.allowed_s, "paused_s": paused_s,
            "reason": patrol.reason, "explanation": patrol.explanation,
            "silent_s": context.silent_s(patrol.began_at or patrol.scheduled_at, patrol.ended_at or patrol.start_by),
        },
        call_sign=context.call_sign(patrol.began_at or patrol.scheduled_at, patrol.shift_id),
    )  # fmt: skip


def _points(context: Context, patrol: Patrol, judges: Mapping[UUID, list[UUID]]) -> AppraisalInput:
    states = {point.checkpoint.code: visits.state_of(point) for point in patrol.points}
    return context.made(
        F.COVERAGE, "patrol", patrol.id, patrol.scheduled_at, patrol.area_id,
        {
            "number": patrol.number, "route": patrol.route.name, "scheduled_at": patrol.scheduled_at,
            "due": len(patrol.points),
            "visited": sum(state is PointState.VISITED for state in states.values()),
            "skipped": sum(state is PointState.SKIPPED for state in states.values()),
            "not_visited": [
                {"code": point.checkpoint.code, "reason": point.reason}
                for point in patrol.points
                if point.visit_id is None
            ],
            "silent_s": context.silent_s(patrol.began_at, patrol.ended_at),
        },
        call_sign=context.call_sign(patrol.scheduled_at, patrol.shift_id),
        # Who found a visit at one of its points doubtful, or genuine, has judged this round.
        scored_by=judges.get(patrol.id, ()),
    )  # fmt: skip


def _paused(uow: UnitOfWork, found: Sequence[Patrol]) -> dict[UUID, float]:
    """Return for how long each patrol was paused, in seconds: by the clock of who pressed, within the patrol and not
    after it was heard of."""
    pressed = func.least(func.coalesce(Journal.device_at, Journal.at), Journal.at).label("pressed_at")
    rows = uow.session.execute(
        select(Journal.subject_id, Journal.action, pressed)
        .where(
            Journal.subject_id.in_([one.id for one in found if one.paused_at is not None]),
            Journal.action.in_(["pause", "resume"]),
            Journal.at >= min((one.created_at for one in found), default=uow.now),
        )
        .order_by(Journal.at, Journal.id)
    )
    ends = {one.id: one.ended_at for one in found}
    begins = {one.id: one.began_at or one.created_at for one in found}
    paused: dict[UUID, float] = {}
    since: dict[UUID, datetime] = {}
    for patrol_id, action, pressed_at in rows:
        at = max(pressed_at, begins[patrol_id])
        if action == "pause":
            since[patrol_id] = at
        elif (began := since.pop(patrol_id, None)) is not None:
            paused[patrol_id] = paused.get(patrol_id, 0.0) + max(0.0, (at - began).total_seconds())
    for patrol_id, began in since.items():
        if (ended_at := ends[patrol_id]) is not None:
            paused[patrol_id] = paused.get(patrol_id, 0.0) + max(0.0, (ended_at - began).total_seconds())
    return paused


def _judges(uow: UnitOfWork, found: Sequence[Patrol]) -> dict[UUID, list[UUID]]:
    """Return by patrol who has looked at a doubtful visit in its time and said what it is worth."""
    begun = [(one, one.began_at) for one in found if one.began_at is not None]
    if not begun:
        return {}
    reviewed = uow.session.execute(
        select(Visit.checkpoint_id, Visit.arrived_at, Visit.left_at, Visit.reviewed_by).where(
            Visit.officer_id == begun[0][0].officer_id,
            Visit.reviewed_at.is_not(None),
            Visit.arrived_at > min(at for _, at in begun) - visits.LONGEST,
            Visit.arrived_at < max(one.ended_at or at for one, at in begun),
        )
    ).all()  # fmt: skip
    return {
        patrol.id: [
            row.reviewed_by
            for row in reviewed
            if row.checkpoint_id in {point.checkpoint_id for point in patrol.points}
            and row.arrived_at <= (patrol.ended_at or at)
            and (row.left_at or row.arrived_at) >= at
        ]
        for patrol, at in begun
    }


# --- Tasks


def _tasks(uow: UnitOfWork, context: Context) -> list[AppraisalInput]:
    month = context.month
    query = (
        select(Assignment)
        .where(
            Assignment.officer_id == context.officer_id,
            Assignment.offered_at >= month.begins_at,
            Assignment.offered_at < month.ends_at,
        )
        .options(joinedload(Assignment.task).joinedload(Task.kind))
        .order_by(Assignment.offered_at, Assignment.id)
    )
    shares = list(uow.session.scalars(query))
    acts, handed = _acts(uow, month, shares), _handed_over(uow, shares)
    made = []
    for share in shares:
        pressed = acts.get(share.id, {})
        accepted_at = _pressed(pressed.get("accept"), share.offered_at, share.accepted_at)
        call_sign = context.call_sign(share.offered_at)
        common = {
            "number": share.task.number, "kind": share.task.kind.name, "priority": share.task.priority,
            "state": share.state,
        }  # fmt: skip
        accept = pressed.get("accept")
        made.append(
            context.made(
                F.ACCEPTANCE, "assignment", share.id, share.offered_at, share.task.area_id,
                {
                    **common, "offered_at": share.offered_at, "accepted_at": accepted_at, "reason": share.reason,
                    "bound": accept is not None and accept.on_behalf_of is not None,
                    "handed_on": accept is not None and (share.task_id, accept.at) in handed,
                    "silent_s": context.silent_s(share.offered_at, accepted_at or share.ended_at),
                },
                call_sign=call_sign,
            )
        )  # fmt: skip
        if accepted_at is None:
            continue
        arrived_at = _pressed(pressed.get("arrive"), accepted_at, share.arrived_at)
        made.append(
            context.made(
                F.ARRIVAL, "assignment", share.id, share.offered_at, share.task.area_id,
                {
                    **common, "accepted_at": accepted_at, "arrived_at": arrived_at, "distance_m": share.distance_m,
                    "suspended": "suspend" in pressed,
                    "silent_s": context.silent_s(accepted_at, arrived_at or share.ended_at),
                },
                call_sign=call_sign,
            )
        )  # fmt: skip
    return made


def _acts(
    uow: UnitOfWork, month: AppraisalMonth, shares: Sequence[Assignment]
) -> dict[UUID, dict[str, Journal]]:
    """Return by share what was first done to it, by action.

    The journal knows the phone's clock, and still knows what a rework has stamped anew.
    """
    rows = uow.session.scalars(
        select(Journal)
        .where(
            Journal.subject_id.in_([share.id for share in shares]),
            Journal.action.in_(["accept", "arrive", "suspend"]),
            Journal.at >= month.begins_at,
        )
        .order_by(Journal.at, Journal.id)
    )
    acts: dict[UUID, dict[str, Journal]] = {}
    for row in rows:
        acts.setdefault(row.subject_id, {}).setdefault(row.action, row)
    return acts


def _handed_over(uow: UnitOfWork, shares: Sequence[Assignment]) -> set[tuple[UUID, datetime]]:
    """Return which of the tasks passed to another officer, and when: whoever took one over was asked nothing."""
    gone = select(Assignment.task_id, Assignment.ended_at).where(
        Assignment.task_id.in_({share.task_id for share in shares}),
        Assignment.state == AssignmentState.HANDED_OVER,
        Assignment.ended_at.is_not(None),
    )
    return {(task_id, ended_at) for task_id, ended_at in uow.session.execute(gone) if ended_at is not None}


def _pressed(act: Journal | None, earliest: datetime, stamped: datetime | None) -> datetime | None:
    """Return when something was pressed: by the phone's clock, not before it was possible nor after it was heard of."""
    if act is None:
        return stamped
    return act.at if act.device_at is None else min(act.at, max(earliest, act.device_at))
