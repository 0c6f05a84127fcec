"""Who is told, by a notice or by the live channel: the one place that decides it, because that is where leaks happen.

Everything here goes by membership and area within the town of the unit of work, which row-level security holds as
well. A notice goes to whom one of these names, and of those only to whom its rule allows (``kinds.RULES``): the outbox
leaves out whoever is disabled, of another town, or holds none of the rule's roles.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar
from uuid import UUID

from sqlalchemy import select, text

from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AlarmKind, NoticeKind, Role
from backend.models import (
    Alarm,
    Appraisal,
    Call,
    CallAnswer,
    Evidence,
    HandOver,
    LevelSwitch,
    Patrol,
    PlannedShift,
    PostDuty,
    Report,
    RosterRequest,
    Task,
    Visit,
)

Level = Literal["dispatcher", "supervisor"]
K = NoticeKind

_DESK = text("""
    select distinct m.user_id
    from areas a
    join memberships m on m.area_id = any (a.ancestors) and m.ended_at is null and m.role = any (:roles)
    join users u on u.id = m.user_id and u.state = 'active'
    where a.id = :area
    order by m.user_id
""")


def desk_for(uow: UnitOfWork, area_id: UUID, level: Level = "dispatcher") -> list[UUID]:
    """Return whose desk an area is: dispatchers there or above it, for ``supervisor`` supervisors.

    An area that no dispatcher has is its supervisors'; so nothing happens in a place that nobody is told about.
    """
    for role in (Role.DISPATCHER, Role.SUPERVISOR) if level == "dispatcher" else (Role.SUPERVISOR,):
        found = uow.session.execute(_DESK, {"area": area_id, "roles": [role]}).scalars().all()
        if found:
            return list(found)
    return []


def deciders(uow: UnitOfWork, area_ids: Sequence[UUID]) -> list[UUID]:
    """Return the supervisors who have every one of some areas; where nobody has them all, those of the first."""
    first, *others = (desk_for(uow, area_id, "supervisor") for area_id in area_ids)
    both = [one for one in first if all(one in more for more in others)]
    return both or first


_DESKS_WITHIN = text("""
    select distinct m.user_id
    from memberships m
    join areas its on its.id = m.area_id
    join areas a on a.id = :area and (a.id = any (its.ancestors) or its.id = any (a.ancestors))
    join users u on u.id = m.user_id and u.state = 'active'
    where m.ended_at is null and m.role in ('dispatcher', 'supervisor')
    order by m.user_id
""")


def desks_within(uow: UnitOfWork, area_id: UUID) -> list[UUID]:
    """Return everybody at the desks of an area, of those below it and of those above it: it concerns all of them."""
    return list(uow.session.execute(_DESKS_WITHIN, {"area": area_id}).scalars())


_ON_SHIFT = text("""
    select s.officer_id
    from shifts s
    join areas at on at.id = s.area_id
    join users u on u.id = s.officer_id and u.state = 'active'
    where s.ended_at is null and s.closes_at > :now and :area = any (at.ancestors)
      and s.officer_id <> all (:without)
    order by s.officer_id
""")


def officers_on_shift(uow: UnitOfWork, area_id: UUID, *, without: Collection[UUID] = ()) -> list[UUID]:
    """Return the officers who are on duty in an area or below it, but those of ``without``."""
    given = {"area": area_id, "now": uow.now, "without": list(without)}
    return list(uow.session.execute(_ON_SHIFT, given).scalars())


_CREW = text("""
    select s.officer_id
    from shifts s
    join shifts of on of.crew_id = s.crew_id and of.ended_at is null and of.officer_id = :officer
    join users u on u.id = s.officer_id and u.state = 'active'
    where s.ended_at is null and s.closes_at > :now
    order by s.officer_id
""")


def crew_of(uow: UnitOfWork, officer_id: UUID) -> list[UUID]:
    """Return who is on duty in an officer's crew now, himself included; himself alone when he goes alone."""
    found = list(uow.session.execute(_CREW, {"officer": officer_id, "now": uow.now}).scalars())
    return found or one(uow, officer_id)


_IN_CREW = text("""
    select s.officer_id
    from shifts s
    join users u on u.id = s.officer_id and u.state = 'active'
    where s.crew_id = :crew and s.ended_at is null and s.closes_at > :now
    order by s.officer_id
""")


def crew_on_shift(uow: UnitOfWork, crew_id: UUID) -> list[UUID]:
    """Return who is on duty in a crew now."""
    return list(uow.session.execute(_IN_CREW, {"crew": crew_id, "now": uow.now}).scalars())


_ASKED = text("""
    select a.officer_id
    from call_answers a
    join users u on u.id = a.officer_id and u.state = 'active'
    where a.call_id = :call and a.state = 'asked'
    order by a.officer_id
""")


def asked_by(uow: UnitOfWork, call_id: UUID) -> list[UUID]:
    """Return whom a call waits for: those who were on duty when it was made, or were drawn among them by lot."""
    return list(uow.session.execute(_ASKED, {"call": call_id}).scalars())


_ONE = text("select id from users where id = :id and state = 'active'")


def one(uow: UnitOfWork, user_id: UUID | None) -> list[UUID]:
    """Return one person of the town, or nobody when he is disabled, of another town or not known."""
    return list(uow.session.execute(_ONE, {"id": user_id}).scalars()) if user_id is not None else []


_RESIDENT = text("""
    select u.id from users u
    where u.id = :id and u.state = 'active' and exists (
      select 1 from memberships m
      where m.user_id = u.id and m.ended_at is null and m.role in ('resident', 'building_head'))
""")


def resident(uow: UnitOfWork, user_id: UUID | None) -> list[UUID]:
    """Return a resident for what is his own; nobody when he is no resident of the town any more."""
    return list(uow.session.execute(_RESIDENT, {"id": user_id}).scalars()) if user_id is not None else []


def takers_of(uow: UnitOfWork, hand_over: HandOver) -> list[UUID]:
    """Return who may take over: the one who is named, or else whoever is on duty in the area beside the giver."""
    if hand_over.taker_id is not None:
        return one(uow, hand_over.taker_id)
    return officers_on_shift(uow, hand_over.area_id, without=[hand_over.giver_id])


# --- Who hears at once, by the live channel


@dataclass(frozen=True)
class Hearers:
    """Who hears at the commit that something has changed: its kind, id and version, and no more. Made here alone.

    Attributes:
        area_id: the room of the desks that watch this area, if any.
        user_ids: people by name, on their phones; whoever sits at a desk hears it by its rooms.
    """

    area_id: UUID | None
    user_ids: tuple[UUID, ...] = ()


def hear_of_task(task: Task, now: datetime) -> Hearers:
    """The desks of its area, and whoever has a share in it or has just lost it."""
    concerned = {one.officer_id for one in task.assignments if one.ended_at is None or one.ended_at == now}
    return Hearers(task.area_id, tuple(sorted(concerned)))


def hear_of_alarm(alarm: Alarm) -> Hearers:
    """The desks of its area, and who called for help himself; of any other alarm not whom it is about."""
    return Hearers(alarm.area_id, (alarm.source_id,) if alarm.kind == AlarmKind.SOS else ())


def hear_of_report(report: Report) -> Hearers:
    """The desks of its area, and the officer who filed it."""
    return Hearers(report.area_id, (report.officer_id,))


def hear_of_patrol(patrol: Patrol) -> Hearers:
    """The desks of its area, who has begun it, and until then those who are named to."""
    his = (patrol.officer_id,) if patrol.officer_id is not None else tuple(patrol.officer_ids)
    return Hearers(patrol.area_id, his)


def hear_of_planned_shift(planned: PlannedShift, officer_ids: Iterable[UUID]) -> Hearers:
    """The desks of its area, and those whose shift it is or was."""
    return Hearers(planned.area_id, tuple(sorted(set(officer_ids))))


def hear_of_request(request: RosterRequest) -> Hearers:
    """The desks of the shift's area, who asks, and the colleague whom he asks."""
    both = (
        (request.officer_id,) if request.colleague_id is None else (request.officer_id, request.colleague_id)
    )
    return Hearers(request.planned.area_id, tuple(sorted(both)))


def hear_of_hand_over(uow: UnitOfWork, hand_over: HandOver) -> Hearers:
    """The desks of its area, who gives, and who takes or might."""
    return Hearers(hand_over.area_id, tuple(sorted({hand_over.giver_id, *takers_of(uow, hand_over)})))


def hear_of_post_duty(duty: PostDuty) -> Hearers:
    """The desks of its area, who stands there and who has asked to relieve him, and before that who is named to."""
    his = (duty.officer_id,) if duty.officer_id is not None else tuple(duty.officer_ids)
    return Hearers(duty.area_id, tuple(sorted({*his, *filter(None, [duty.relief_officer_id])})))


def hear_of_duty_level(uow: UnitOfWork, switch: LevelSwitch) -> Hearers:
    """The desks of its area, and the officers who are on duty there."""
    return Hearers(switch.area_id, tuple(officers_on_shift(uow, switch.area_id)))


def hear_of_visit(visit: Visit) -> Hearers:
    """The desks of the checkpoint's area, and whose visit it is."""
    return Hearers(visit.area_id, (visit.officer_id,))


def hear_of_appraisal(appraisal: Appraisal) -> Hearers:
    """The desks of the area where its officer works, and he himself."""
    return Hearers(appraisal.area_id, (appraisal.officer_id,))


def hear_of_evidence(uow: UnitOfWork, evidence: Evidence) -> list[Hearers]:
    """The desks of each area where a report, task or patrol shows it, and the officer who took it; before he alone."""
    areas = uow.session.scalars(
        select(Report.area_id)
        .where(evidence.shown_in_report())
        .union(
            select(Task.area_id).where(evidence.shown_in_task()),
            select(Patrol.area_id).where(evidence.shown_in_patrol()),
        )
    )
    return [Hearers(None, (evidence.officer_id,)), *(Hearers(area_id) for area_id in sorted(areas))]


def hear_of_new_call(uow: UnitOfWork, call: Call) -> Hearers:
    """The desks of its area, and everybody whom it asks."""
    return Hearers(call.area_id, tuple(asked_by(uow, call.id)))


def hear_of_call(call: Call, changed: Iterable[CallAnswer]) -> Hearers:
    """The desks of its area, and of those who were asked the ones for whom something has changed."""
    return Hearers(call.area_id, tuple(sorted(one.officer_id for one in changed)))


Area = TypeVar("Area", bound=UUID | None)


def room_of_shift(area_id: Area) -> Area:
    """Return the room that hears of a shift and of where its officer is: the desks that watch the area of the shift.

    Wherever he goes: in the field of another desk he stays his own desk's officer, and nobody else's.
    """
    return area_id


NAMED_BY: dict[NoticeKind, tuple[str, ...]] = {
    K.TASK_OFFERED: ("one", "crew_of"),
    K.TASK_ACCEPTED: ("desk_for",),
    K.TASK_DECLINED: ("desk_for",),
    K.TASK_LAPSED: ("desk_for", "one"),
    K.TASK_HANDED_BACK: ("desk_for",),
    K.TASK_RESOLVED: ("desk_for",),
    K.TASK_REWORKED: ("one", "crew_of"),
    K.TASK_CANCELLED: ("one", "crew_of", "desk_for"),
    K.TASK_WITHDRAWN: ("one", "crew_of"),
    K.TASK_REFERRED: ("one",),
    K.TASK_REASSIGNED: ("one", "crew_of", "desk_for"),
    K.TASK_SUSPENDED: ("one", "crew_of", "desk_for"),
    K.TASK_RESUMED: ("one", "crew_of", "desk_for"),
    K.TASK_OVERDUE: ("desk_for", "one"),
    K.ALARM_RAISED: ("desk_for",),
    K.ALARM_ESCALATED: ("desk_for",),
    K.ALARM_CLEARED: ("desk_for",),
    K.SOS_RAISED: ("desk_for", "officers_on_shift", "crew_of", "one"),
    K.SOS_ACKNOWLEDGED: ("one", "resident"),
    K.SOS_ANSWERED: ("one", "resident", "desk_for"),
    K.OFFICER_SILENT: ("one", "desk_for"),
    K.ROLL_CALL_CALLED: ("asked_by",),
    K.ROLL_CALL_ENDED: ("one", "desk_for"),
    K.BROADCAST_SENT: ("asked_by",),
    K.BROADCAST_ENDED: ("one", "desk_for"),
    K.REPORT_ANSWERED: ("one",),
    K.PATROL_LATE: ("one", "officers_on_shift", "desk_for"),
    K.PATROL_MISSED: ("one", "desk_for"),
    K.PATROL_DEVIATED: ("one",),
    K.APPRAISAL_OPENED: ("one",),
    K.APPRAISAL_DECIDED: ("one",),
    K.APPRAISAL_CLOSING: ("one", "desk_for"),
    K.ROSTER_CHANGED: ("one",),
    K.REQUEST_ASKED: ("one",),
    K.REQUEST_SUBMITTED: ("desk_for",),
    K.REQUEST_DECIDED: ("one",),
    K.HAND_OVER_GIVEN: ("takers_of",),
    K.HAND_OVER_ANSWERED: ("one",),
    K.POST_LATE: ("one", "officers_on_shift", "desk_for"),
    K.POST_MISSED: ("one", "desk_for"),
    K.POST_LEFT: ("one", "desk_for"),
    K.POST_RELIEF_ASKED: ("one",),
    K.DUTY_LEVEL_SWITCHED: ("officers_on_shift", "desks_within"),
    K.DUTY_LEVEL_ENDED: ("officers_on_shift", "desks_within"),
}
"""By kind the functions above that may name its recipients. Whom a call asks is said by ``officers_on_shift`` and
``crew_on_shift``. SOS to ``one``: the nearest N, whom the alarm's workflow
found by their positions."""
