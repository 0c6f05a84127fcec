"""What people are told of tasks, alarms, reports and calls: the notice, whom it goes to, and its figures.

Called in the act's own transaction by the one place of each machine that announces; nothing is sent before the commit.
Who acted is not told of his own act.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select

from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AlarmKind, AssignmentState, CallKind, NoticeKind
from backend.models import (
    Alarm,
    Assignment,
    Call,
    CallAnswer,
    Crew,
    HandOver,
    LevelSwitch,
    Patrol,
    PlannedShift,
    PostDuty,
    Report,
    RosterRequest,
    Shift,
    Task,
)
from notifications import outbox, recipients
from notifications.kinds import fitted
from notifications.recipients import Level
from workflows import task_kinds

K = NoticeKind
FARTHEST_M = 1_000_000
"""Nobody is told of a greater distance than this, in metres."""

TO_DESK = {
    "accept": K.TASK_ACCEPTED,
    "decline": K.TASK_DECLINED,
    "nobody_left": K.TASK_LAPSED,
    "hand_back": K.TASK_HANDED_BACK,
    "resolve": K.TASK_RESOLVED,
}
"""What an officer did, or did not do, that the desk has to know."""
OFFERS = (K.TASK_OFFERED, K.SOS_RAISED)
"""What an officer is told who is asked to go: to somebody in danger he is called whatever he has set."""
TO_OFFICERS = {"rework": K.TASK_REWORKED, "suspend": K.TASK_SUSPENDED, "resume": K.TASK_RESUMED}
LOST = {
    AssignmentState.WITHDRAWN: K.TASK_WITHDRAWN,
    AssignmentState.RELEASED: K.TASK_WITHDRAWN,
    AssignmentState.LAPSED: K.TASK_LAPSED,
}
"""What an officer is told whose share ended by somebody else's act."""
ENDED = {"cancel": K.TASK_CANCELLED, "refer": K.TASK_REFERRED, "reassign": K.TASK_REASSIGNED}
"""What he is told instead where the whole task ended, or goes to others."""


def of_task(
    uow: UnitOfWork, task: Task, action: str, *, by: UUID | None, data: Mapping[str, Any] | None = None
) -> None:
    """Tell of what just happened to a task; ``by`` is who did it.

    Whoever answers an offer has seen it, and an offer that does not stand any more is brought to nobody.
    """
    subject = ("task", task.id)
    if by is not None:
        outbox.acted(uow, subject, OFFERS, by=by)
    if over := [share.officer_id for share in task.assignments if share.ended_at == uow.now]:
        outbox.withdraw(uow, subject, OFFERS, of=over)
    fresh = [share for share in task.assignments if share.offered_at == uow.now and _is(share, "offered")]
    for share in fresh:
        _offered(uow, task, share)
    asked_again = {share.officer_id for share in fresh}
    for share in task.assignments:
        if share.officer_id in asked_again:
            continue
        if share.ended_at == uow.now and share.officer_id != by and (kind := LOST.get(_state(share))):
            ended = ENDED.get(action, kind)
            _tell(uow, ended, task, recipients.one(uow, share.officer_id), by=by)
    if kind := TO_DESK.get(action):
        _tell(
            uow, kind, task, recipients.desk_for(uow, task.area_id), by=by,
            **(_who(uow, by) if kind is not K.TASK_LAPSED else {}),
        )  # fmt: skip
    elif kind := TO_OFFICERS.get(action):
        for share in task.assignments:
            if share.ended_at is None and not _is(share, "offered"):
                _tell(uow, kind, task, recipients.one(uow, share.officer_id), by=by)
    elif action == "overdue" and data is not None:
        _overdue(uow, task, str(data["about"]), str(data["tells"]))


def _offered(uow: UnitOfWork, task: Task, share: Assignment) -> None:
    if task.kind.code == task_kinds.SOS:
        outbox.enqueue(
            uow, K.SOS_RAISED, to=recipients.one(uow, share.officer_id), subject=("task", task.id),
            expires_at=share.lapses_at, coalesce=f"task:{task.id}:{K.SOS_RAISED}", to_group=False,
            params={
                "number": task.number, "what": fitted(task.kind.name), "place": _place(task.area.name),
                "area_id": task.area_id, "distance_m": _near(share.distance_m), "at": task.created_at,
            },
        )  # fmt: skip
        return
    answer_min = None
    if share.lapses_at is not None:
        answer_min = max(1, round((share.lapses_at - uow.now).total_seconds() / 60))
    _tell(
        uow, K.TASK_OFFERED, task, recipients.one(uow, share.officer_id), by=None, expires_at=share.lapses_at,
        distance_m=_near(share.distance_m), answer_min=answer_min,
    )  # fmt: skip


def _overdue(uow: UnitOfWork, task: Task, about: str, tells: str) -> None:
    due_at = {"accept": task.accept_due_at, "arrive": task.arrive_due_at, "complete": task.complete_due_at}[
        about
    ]
    if tells == "officer":
        for share in task.assignments:
            if share.ended_at is None and not _is(share, "offered"):
                _tell(
                    uow, K.TASK_OVERDUE, task, recipients.one(uow, share.officer_id), by=None, due_at=due_at
                )
        return
    level = _level(tells)
    _tell(
        uow, K.TASK_OVERDUE, task, recipients.desk_for(uow, task.area_id, level), by=None, due_at=due_at,
        level=level,
    )  # fmt: skip


def _tell(
    uow: UnitOfWork,
    kind: NoticeKind,
    task: Task,
    to: Iterable[UUID],
    *,
    by: UUID | None,
    expires_at: datetime | None = None,
    **params: Any,
) -> None:
    told = [one for one in to if one != by]
    if told:
        outbox.enqueue(
            uow, kind, to=told, subject=("task", task.id), expires_at=expires_at,
            coalesce=f"task:{task.id}:{kind}",
            params={
                "number": task.number, "what": fitted(task.kind.name), "place": _place(task.area.name),
                "area_id": task.area_id, **params,
            },
        )  # fmt: skip


def of_alarm(
    uow: UnitOfWork, alarm: Alarm, action: str, *, by: UUID | None, tells: str = "dispatcher"
) -> None:
    """Tell of what just happened to an alarm; ``tells`` is whom the rung of its ladder names."""
    is_sos = alarm.kind == AlarmKind.SOS
    subject = ("alarm", alarm.id)
    figures = {
        "number": alarm.number, "place": _place(alarm.area.name), "area_id": alarm.area_id,
        "officer_id": alarm.officer_id, **_call_sign(uow, alarm.officer_id),
    }  # fmt: skip
    if action in ("raise", "escalate"):
        level = _level(tells)
        to = recipients.desk_for(uow, alarm.area_id, level)
        kind = K.SOS_RAISED if is_sos else K.ALARM_RAISED if action == "raise" else K.ALARM_ESCALATED
        params = {**figures, "level": level}
        if is_sos:
            params["at"] = alarm.raised_at
        else:
            params["what"] = _what(alarm)
            if action == "escalate":
                params["minutes"] = max(1, round((uow.now - alarm.raised_at).total_seconds() / 60))
        outbox.enqueue(uow, kind, to=[one for one in to if one != by], subject=subject, params=params)
        if alarm.kind == AlarmKind.SILENT and action == "raise":
            _silent(uow, alarm)
        return
    if action != "call_again":
        outbox.withdraw(uow, subject, [K.SOS_RAISED, K.ALARM_RAISED, K.ALARM_ESCALATED])
    if is_sos and action == "acknowledge":
        called = recipients.one(uow, alarm.source_id)
        outbox.enqueue(
            uow, K.SOS_ACKNOWLEDGED, to=called, subject=subject,
            params={
                "place": figures["place"], "at": alarm.acknowledged_at,
                "by_id": None if alarm.resident_id else alarm.acknowledged_by,
            },
        )  # fmt: skip
    elif action == "clear" and not is_sos:
        to = recipients.desk_for(uow, alarm.area_id)
        params = {**figures, "what": _what(alarm)}
        outbox.enqueue(uow, K.ALARM_CLEARED, to=[o for o in to if o != by], subject=subject, params=params)


def sos_answered(uow: UnitOfWork, alarm: Alarm, share: Assignment) -> None:
    """Tell who called for help that somebody is coming; a resident is told no id by which he knew an officer again."""
    eta_min = None if share.eta_s is None else max(1, round(share.eta_s / 60))
    outbox.enqueue(
        uow, K.SOS_ANSWERED, to=recipients.one(uow, alarm.source_id), subject=("alarm", alarm.id),
        params={
            "place": _place(alarm.area.name), "eta_min": eta_min,
            "officer_id": None if alarm.resident_id else share.officer_id,
            **_call_sign(uow, share.officer_id),
        },
    )  # fmt: skip


def call_made(uow: UnitOfWork, call: Call) -> None:
    """Tell everybody whom a call asks; what a broadcast says is read in the app alone."""
    params: dict[str, Any] = {"area_id": call.area_id}
    if call.kind != CallKind.BROADCAST:
        params["answer_min"] = max(1, round((call.ends_at - uow.now).total_seconds() / 60))
    outbox.enqueue(
        uow, _called(call), to=recipients.asked_by(uow, call.id), subject=("call", call.id), params=params,
        expires_at=call.ends_at,
    )  # fmt: skip


def call_answered(uow: UnitOfWork, share: CallAnswer) -> None:
    """Note that an officer has seen what he has answered."""
    outbox.acted(uow, ("call", share.call_id), [_called(share.call)], by=share.officer_id)


def call_over(uow: UnitOfWork, call: Call, *, of: Collection[UUID] | None = None) -> None:
    """Bring a call to nobody any more, or not to those of ``of``."""
    outbox.withdraw(uow, ("call", call.id), [_called(call)], of=of)


def call_ended(uow: UnitOfWork, call: Call, *, answered: int, missing: int) -> None:
    """Tell who has called how it ended; where he is gone, the desk of the area."""
    kind = K.BROADCAST_ENDED if call.kind == CallKind.BROADCAST else K.ROLL_CALL_ENDED
    to = recipients.one(uow, call.created_by) or recipients.desk_for(uow, call.area_id)
    outbox.enqueue(
        uow, kind, to=to, subject=("call", call.id),
        params={
            "answered": answered, "missing": missing, "place": _place(call.area.name), "area_id": call.area_id,
        },
    )  # fmt: skip


def _called(call: Call) -> NoticeKind:
    return K.BROADCAST_SENT if call.kind == CallKind.BROADCAST else K.ROLL_CALL_CALLED


def _silent(uow: UnitOfWork, alarm: Alarm) -> None:
    """Ask the silent officer himself to look at his phone; by the channels that still reach him."""
    heard_at = datetime.fromisoformat(alarm.detail["heard_at"])
    outbox.enqueue(
        uow, K.OFFICER_SILENT, to=recipients.one(uow, alarm.officer_id), subject=("alarm", alarm.id),
        coalesce=f"silent:{alarm.officer_id}",
        params={
            "minutes": round((uow.now - heard_at).total_seconds() / 60), "officer_id": alarm.officer_id,
            "area_id": alarm.area_id, **_call_sign(uow, alarm.officer_id),
        },
    )  # fmt: skip


def of_report(uow: UnitOfWork, report: Report, action: str, *, by: UUID | None) -> None:
    """Tell an officer what became of his report: the desk made a task of it, or the task has ended."""
    outcome = {"pass_on": "task_made", "answer": report.outcome}.get(action)
    if outcome is None or by == report.officer_id:
        return
    outbox.enqueue(
        uow, K.REPORT_ANSWERED, to=recipients.one(uow, report.officer_id), subject=("report", report.id),
        coalesce=f"report:{report.id}",
        params={
            "number": report.number, "what": fitted(report.kind.name), "place": _place(report.area.name),
            "outcome": outcome,
        },
    )  # fmt: skip


WORDS: Mapping[AlarmKind, Mapping[str, str]] = {
    AlarmKind.SILENT: {"zh-CN": "失联", "en": "silent officer"},
    AlarmKind.LEFT_AREA: {"zh-CN": "离开辖区", "en": "left the area"},
    AlarmKind.BATTERY_LOW: {"zh-CN": "电量低", "en": "battery low"},
    AlarmKind.DEVIATION: {"zh-CN": "偏离路线", "en": "off the route"},
    AlarmKind.SENSOR: {"zh-CN": "设备告警", "en": "sensor"},
    AlarmKind.OUTAGE: {"zh-CN": "大面积失联", "en": "many officers silent"},
    AlarmKind.SOS: {"zh-CN": "呼救", "en": "SOS"},
}


def _what(alarm: Alarm) -> str | dict[str, str]:
    """Return what an alarm is, with the figures that say more: the task left behind, how many are silent."""
    words = WORDS[AlarmKind(alarm.kind)]
    detail = alarm.detail
    if alarm.kind == AlarmKind.DEVIATION and not detail.get("elsewhere"):
        more = {"zh-CN": f"（任务 {detail['task_number']}）", "en": f" (task {detail['task_number']})"}
    elif alarm.kind == AlarmKind.OUTAGE:
        figures = detail["silent"], detail["on_shift"]
        more = {"zh-CN": "（{}/{} 人）".format(*figures), "en": " ({} of {})".format(*figures)}
    else:
        return dict(words)
    return fitted({language: word + more[language] for language, word in words.items()})


def _state(share: Assignment) -> AssignmentState:
    return AssignmentState(share.state)


def _is(share: Assignment, state: str) -> bool:
    return share.state == state


def _place(area_name: Mapping[str, str]) -> str | dict[str, str]:
    """Return how people call the place: its area. What somebody typed may name a person, and stays here."""
    return fitted(area_name)


def _near(distance_m: float | None) -> float | None:
    """Return a distance that says something: a phone that knows nothing may name 0° N 0° E, half the earth away."""
    return None if distance_m is None or distance_m > FARTHEST_M else distance_m


def _who(uow: UnitOfWork, officer_id: UUID | None) -> dict[str, Any]:
    return {"officer_id": officer_id, **_call_sign(uow, officer_id)} if officer_id else {}


def _call_sign(uow: UnitOfWork, officer_id: UUID | None) -> dict[str, Any]:
    """Return the call sign of the crew that an officer goes with now; names do not travel."""
    if officer_id is None:
        return {}
    sign = uow.session.scalar(
        select(Crew.call_sign)
        .join(Shift, Shift.crew_id == Crew.id)
        .where(Shift.officer_id == officer_id, Shift.ended_at.is_(None))
    )
    return {"call_sign": fitted(sign)} if sign else {}


def _level(tells: str) -> Level:
    return "dispatcher" if tells == "dispatcher" else "supervisor"


# --- Patrols


def of_patrol(uow: UnitOfWork, patrol: Patrol, action: str, *, away_m: float | None = None) -> None:
    """Tell of a patrol that is late or missed, or whose officer has left the corridor. Needs its route and area."""
    what = {"what": fitted(patrol.route.name), "place": _place(patrol.area.name), "area_id": patrol.area_id}
    named = [one for officer_id in patrol.officer_ids for one in recipients.one(uow, officer_id)]
    desk = recipients.desk_for(uow, patrol.area_id)
    if action == "late":
        his = named or recipients.officers_on_shift(uow, patrol.area_id)
        _of_patrol(uow, K.PATROL_LATE, patrol, his, due_at=patrol.start_by, **what)
        _of_patrol(uow, K.PATROL_LATE, patrol, desk, due_at=patrol.start_by, **what)
    elif action == "miss":
        _of_patrol(uow, K.PATROL_MISSED, patrol, named, **what)
        _of_patrol(uow, K.PATROL_MISSED, patrol, desk, **what)
    elif action == "deviate":
        _of_patrol(
            uow, K.PATROL_DEVIATED, patrol, recipients.one(uow, patrol.officer_id), distance_m=_near(away_m), **what
        )  # fmt: skip


def _of_patrol(uow: UnitOfWork, kind: K, patrol: Patrol, to: Collection[UUID], **params: Any) -> None:
    known = {name: value for name, value in params.items() if value is not None}
    outbox.enqueue(
        uow, kind, to=to, subject=("patrol", patrol.id), coalesce=f"patrol:{patrol.id}:{kind}",
        params={"number": patrol.number, **known},
    )  # fmt: skip


# --- The roster


def when(planned: PlannedShift, zone: ZoneInfo) -> dict[str, str]:
    """Return when a planned shift begins, as people of the town say it; without digits that could be a phone's."""
    begins = planned.begins_at.astimezone(zone)
    return {
        "zh-CN": f"{begins.month}月{begins.day}日 {begins:%H:%M} 的班次",
        "en": f"the shift of {begins.day} {begins:%b}, {begins:%H:%M}",
    }


def roster_changed(
    uow: UnitOfWork,
    officer_ids: Iterable[UUID],
    *,
    planned: PlannedShift,
    zone: ZoneInfo,
    count: int | None = None,
) -> None:
    """Tell officers that what is planned of them is another: one shift, or with ``count`` so many."""
    params: dict[str, Any] = {"place": _place(planned.area.name), "area_id": planned.area_id, "number": count}
    if count is None:
        params["what"] = when(planned, zone)
    for officer_id in officer_ids:
        outbox.enqueue(
            uow, K.ROSTER_CHANGED, to=recipients.one(uow, officer_id), subject=("planned_shift", planned.id),
            coalesce=f"roster:{planned.id}" if count is None else "roster", params=params,
        )  # fmt: skip


def of_request(
    uow: UnitOfWork, request: RosterRequest, action: str, *, by: UUID | None, zone: ZoneInfo
) -> None:
    """Tell of what just happened to a request: the colleague, then a supervisor, then both officers."""
    subject = ("roster_request", request.id)
    area = request.planned.area
    params: dict[str, Any] = {
        "what": when(request.planned, zone), "place": _place(area.name), "area_id": area.id,
    }  # fmt: skip
    if action == "ask":
        outbox.enqueue(
            uow, K.REQUEST_ASKED, to=recipients.one(uow, request.colleague_id), subject=subject, params=params
        )
        return
    if action in ("agree", "submit"):
        if by is not None:
            outbox.acted(uow, subject, [K.REQUEST_ASKED], by=by)
        to = recipients.deciders(
            uow, [one.area.id for one in (request.planned, request.wanted) if one is not None]
        )
        outbox.enqueue(
            uow, K.REQUEST_SUBMITTED, to=[one for one in to if one not in (by, request.officer_id)], subject=subject,
            params=params,
        )  # fmt: skip
        return
    outbox.withdraw(uow, subject, [K.REQUEST_ASKED, K.REQUEST_SUBMITTED])
    outcome = {"approve": "approved", "refuse": "rejected", "decline": "declined", "lapse": "lapsed"}.get(
        action
    )
    if outcome is None:
        return
    agreed = request.colleague_id if request.submitted_at is not None else None
    for officer_id in (request.officer_id, agreed):
        if officer_id is not None and officer_id != by:
            outbox.enqueue(
                uow, K.REQUEST_DECIDED, to=recipients.one(uow, officer_id), subject=subject,
                params={**params, "outcome": outcome},
            )  # fmt: skip


def of_hand_over(uow: UnitOfWork, hand_over: HandOver, action: str) -> None:
    """Tell who takes over that something waits for him, and who gives what came of it."""
    subject, params = ("hand_over", hand_over.id), {
        "place": _place(hand_over.area.name), "area_id": hand_over.area_id,
    }  # fmt: skip
    if action == "give":
        outbox.enqueue(
            uow, K.HAND_OVER_GIVEN, to=recipients.takers_of(uow, hand_over), subject=subject,
            params={**params, "number": len(hand_over.tasks) or None},
        )  # fmt: skip
        return
    if action in ("take", "decline") and hand_over.taker_id is not None:
        outbox.acted(uow, subject, [K.HAND_OVER_GIVEN], by=hand_over.taker_id)
        outbox.enqueue(
            uow, K.HAND_OVER_ANSWERED, to=recipients.one(uow, hand_over.giver_id), subject=subject,
            params={**params, "outcome": "taken" if action == "take" else "declined"},
        )  # fmt: skip
    if action == "lapse":
        outbox.enqueue(
            uow, K.HAND_OVER_ANSWERED, to=recipients.one(uow, hand_over.giver_id), subject=subject,
            params={**params, "outcome": "lapsed"},
        )  # fmt: skip
    outbox.withdraw(uow, subject, [K.HAND_OVER_GIVEN])


# --- Posts and duty levels


def of_post_duty(
    uow: UnitOfWork, duty: PostDuty, action: str, *, at: datetime | None = None, to_desk: bool = True
) -> None:
    """Tell of a duty that nobody has begun, of who is away from his post, or asks to relieve. Needs its post, area."""
    what = {"what": fitted(duty.post.name), "place": _place(duty.area.name), "area_id": duty.area_id}
    named = [one for officer_id in duty.officer_ids for one in recipients.one(uow, officer_id)]
    his = recipients.one(uow, duty.officer_id)
    desk = recipients.desk_for(uow, duty.area_id)
    if action == "late":
        expected = named or recipients.officers_on_shift(uow, duty.area_id)
        _of_post_duty(uow, K.POST_LATE, duty, expected, due_at=duty.starts_at, **what)
        _of_post_duty(uow, K.POST_LATE, duty, desk, due_at=duty.starts_at, **what)
    elif action == "miss":
        _of_post_duty(uow, K.POST_MISSED, duty, named, **what)
        _of_post_duty(uow, K.POST_MISSED, duty, desk, **what)
    elif action == "absent":
        _of_post_duty(uow, K.POST_LEFT, duty, his, at=at, **what)
        if to_desk:
            _of_post_duty(uow, K.POST_LEFT, duty, desk, at=at, **_who(uow, duty.officer_id), **what)
    elif action == "ask":
        _of_post_duty(uow, K.POST_RELIEF_ASKED, duty, his, **_call_sign(uow, duty.relief_officer_id), **what)


def _of_post_duty(uow: UnitOfWork, kind: K, duty: PostDuty, to: Collection[UUID], **params: Any) -> None:
    outbox.enqueue(
        uow, kind, to=to, subject=("post_duty", duty.id), coalesce=f"post_duty:{duty.id}:{kind}",
        params={"number": duty.number, **params},
    )  # fmt: skip


def of_duty_level(uow: UnitOfWork, switch: LevelSwitch, action: str, *, by: UUID | None) -> None:
    """Tell those on duty in an area and its desks that a level has come into force, or is over. Needs its area."""
    kind = K.DUTY_LEVEL_SWITCHED if action == "switch" else K.DUTY_LEVEL_ENDED
    params: dict[str, Any] = {
        "duty_level": switch.level, "place": _place(switch.area.name), "area_id": switch.area_id,
    }  # fmt: skip
    if action == "switch":
        params["due_at"] = switch.until_at
    else:
        outbox.withdraw(uow, ("duty_level", switch.id), [K.DUTY_LEVEL_SWITCHED])
    concerned = {
        *recipients.officers_on_shift(uow, switch.area_id),
        *recipients.desks_within(uow, switch.area_id),
    }
    told = [one for one in concerned if one != by]
    outbox.enqueue(uow, kind, to=told, subject=("duty_level", switch.id), params=params)
