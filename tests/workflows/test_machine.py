"""What every table of a state machine promises, tried on each of them with real rows, roles, locks and constraints.

The rows, actions and roles are drawn from the tables themselves, so a new table is tried as soon as ``ROWS`` says how
one of its rows is made and ``PRESSES`` how each of its actions is pressed (``tests/contract`` asks for both).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, create_engine, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import NullPool

from backend.adapters.pictures import Picture
from backend.core import db
from backend.core.config import Config
from backend.core.errors import Conflict, Forbidden, Invalid, Refusal, WrongState
from backend.core.identity import Actor, Membership, system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import (
    AlarmKind,
    AlarmSource,
    CallKind,
    ContestRemedy,
    EvidenceFault,
    Protocol,
    ReportOutcome,
    Role,
    RosterRequestKind,
    Travel,
)
from backend.embedded.cluster import Cluster
from backend.models import (
    Alarm,
    Appraisal,
    AppraisalContest,
    AppraisalMonth,
    Assignment,
    Call,
    CallAnswer,
    Device,
    Evidence,
    HandOver,
    Invitation,
    Journal,
    Patrol,
    PlannedShift,
    PostDuty,
    Report,
    RosterRequest,
    Shift,
    Task,
    TaskKind,
    User,
)  # fmt: skip
from clusters import Database
from tests import factories
from tests.appraising import contested_month, ordinary_month
from tests.factories import Person, Town
from tests.rosters import make_planned
from tests.rounds import make_duty, make_patrol, make_post
from workflows import (
    access,
    alarms,
    appraisal_contests,
    appraisals,
    assignments,
    calls,
    devices,
    dispatching,
    evidence,
    hand_overs,
    invitations,
    patrols,
    planned_shifts,
    post_duties,
    post_reliefs,
    reporting,
    reports,
    roster,
    roster_requests,
    shifts,
    tasks,
    users,
)
from workflows.crews import WantedCrew
from workflows.machine import Machine, Step, step
from workflows.offering import Whom
from workflows.results import Referral, Result

LIMITS = shifts.Limits(longest=timedelta(hours=14), grace=timedelta(minutes=30))


def started_shift(uow: UnitOfWork, town: Town) -> UUID:
    return shifts.start(uow, town["officer_a"].actor(), command_id=new_id(), limits=LIMITS).id


def asked_officer(uow: UnitOfWork, town: Town) -> UUID:
    leader, mate = town["officer_a2"], town["officer_a"]
    for person in (leader, mate):
        if before := shifts.current(uow, person.actor()):
            shifts.end(uow, person.actor(), before.id, command_id=new_id())
    crew = WantedCrew("青禾-01", Travel.FOOT, [mate.id])
    shift = shifts.start(uow, leader.actor(), command_id=new_id(), limits=LIMITS, crew=crew)
    return uow.session.scalars(select(Invitation.id).where(Invitation.crew_id == shift.crew_id)).one()


def given_device(uow: UnitOfWork, town: Town) -> UUID:
    shown, _ = devices.create(
        uow, town["supervisor"].actor(), officer_id=town["officer_a"].id, name="x", protocol=Protocol.OSMAND,
        command_id=new_id(),
    )  # fmt: skip
    return shown.device.id


def made_user(uow: UnitOfWork, town: Town) -> UUID:
    made = users.create(
        uow, town["admin"].actor(), command_id=new_id(), display_name="x", login=None, password_hash=None, phone=None,
        locale="en",
    )  # fmt: skip
    return made.id


def made_task(uow: UnitOfWork, town: Town) -> UUID:
    """A task that nobody was offered yet, and an officer on shift who could do it."""
    officer = town["officer_a"].actor()
    if shifts.current(uow, officer) is None:
        shifts.start(uow, officer, command_id=new_id(), limits=LIMITS)
    made = tasks.create(
        uow,
        town["desk_a"].actor(),
        command_id=new_id(),
        kind_code="check",
        description="x",
        place=town.place(),
    )
    return made.id


def offered_share(uow: UnitOfWork, town: Town) -> UUID:
    task_id, desk = made_task(uow, town), town["desk_a"].actor()
    task = tasks.offer(uow, desk, task_id, to_officer(town), command_id=new_id())
    return task.assignments[0].id


def to_officer(town: Town) -> Whom:
    return Whom(officer_ids=[town["officer_a"].id])


def end_shift(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
    assert command_id is not None
    shifts.end(uow, actor, row_id, command_id=command_id, reason="drawn")


def close_shift(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
    shifts.close(uow, actor, uow.session.get_one(Shift, row_id, with_for_update=True))


def accept_invitation(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
    assert command_id is not None
    invitations.accept(uow, actor, row_id, command_id=command_id, limits=LIMITS)


def decline_invitation(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
    assert command_id is not None
    invitations.decline(uow, actor, row_id, command_id=command_id)


def lapse_invitation(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
    invitations.lapse(uow, actor, uow.session.get_one(Invitation, row_id, with_for_update=True))


def renew_device(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
    devices.renew(uow, actor, row_id, command_id=command_id)


def revoke_device(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
    devices.revoke(uow, actor, row_id, command_id=command_id)


def disable_user(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
    assert command_id is not None
    users.disable(uow, actor, row_id, command_id=command_id, reason="drawn")


def enable_user(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
    assert command_id is not None
    users.enable(uow, actor, row_id, command_id=command_id)


def on_task(act: Callable[..., Any], **more: Any) -> Press:
    """A press on a task; what needs an officer is about the one of whom there is a share, or who can be asked."""

    def press(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
        given = {k: v(uow, row_id) if callable(v) else v for k, v in more.items()}
        act(uow, actor, row_id, command_id=command_id, **given)

    return press


def on_share(act: Callable[..., Any], **more: Any) -> Press:
    """A press on the task of a share; whoever is not the officer himself does it to his share."""

    def press(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
        task_id = uow.session.scalar(select(Assignment.task_id).where(Assignment.id == row_id))
        on_task(act, **more)(uow, actor, task_id or new_id(), command_id)

    return press


def by_system_on_task(act: Callable[..., Any], **more: Any) -> Press:
    """An act of the clock or a rule on the one share of a locked task; where there is none, the table itself."""

    def press(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
        task = access.task(uow, system_actor(uow.town), row_id, lock=True)
        open_ones = [share for share in task.assignments if share.ended_at is None]
        if not open_ones:
            raise WrongState(str(task.state), [])
        act(uow, actor, task, open_ones[0], **{k: v(task) for k, v in more.items()})

    return press


def by_system_on_share(act: Callable[..., Any], **more: Any) -> Press:
    """An act of the clock or a rule on a share."""

    def press(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
        task_id = uow.session.scalars(select(Assignment.task_id).where(Assignment.id == row_id)).one()
        task = access.task(uow, system_actor(uow.town), task_id, lock=True)
        share = next(one for one in task.assignments if one.id == row_id)
        act(uow, actor, task, share, **{k: v(task) for k, v in more.items()})

    return press


def finish(uow: UnitOfWork, actor: Actor, task: Task, share: Assignment) -> None:
    """What follows for the others when somebody resolves the task: who that was, is left out here."""
    if Role.SYSTEM in actor.roles and assignments.is_active(share):
        task.state, task.suspended_from = "resolved", None
        task.resolved_at, task.resolved_by, task.result = uow.now, share.officer_id, {"text": "x"}
    tasks.finish(uow, actor, task, share)


def whoever(uow: UnitOfWork, task_id: UUID) -> UUID:
    """Whose share an act of the desk or the system is about: there is one officer in these tests."""
    had = select(Assignment.officer_id).where(Assignment.task_id == task_id).order_by(Assignment.id).limit(1)
    return uow.session.scalar(had) or new_id()


def anybody(uow: UnitOfWork, _task_id: UUID) -> Whom:
    """Who can be asked: the one officer on shift in community a."""
    on_shift = select(Shift.officer_id).where(Shift.ended_at.is_(None)).order_by(Shift.started_at).limit(1)
    found = uow.session.scalar(on_shift)
    return Whom(officer_ids=[found or new_id()])


WHY = {"reason": "drawn"}
RESULT = Result("x", answers={"found": True})


def resolve(uow: UnitOfWork, actor: Actor, task_id: UUID, *, command_id: UUID | None) -> None:
    tasks.resolve(uow, actor, task_id, RESULT, command_id=command_id)


def itself(task: Task) -> UUID:
    """Stands for the SOS that suspends: which one, the table does not ask."""
    return task.id


def raised_alarm(uow: UnitOfWork, town: Town) -> UUID:
    lon, lat = town.place()
    alarm, _ = alarms.raise_alarm(
        uow, system_actor(town.id), AlarmKind.SENSOR, AlarmSource.DEVICE, new_id(), area_id=town.areas["a"],
        place=alarms.Place(lon, lat),
    )  # fmt: skip
    return alarm.id


def on_alarm(act: Callable[..., Any], **more: Any) -> Press:
    """A press on an alarm."""

    def press(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
        act(uow, actor, row_id, command_id=command_id, **more)

    return press


def by_clock_on_alarm(act: Callable[..., Any], *more: Any) -> Press:
    """An act of the clock on a locked alarm."""

    def press(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
        act(uow, actor, access.alarm(uow, system_actor(uow.town), row_id, lock=True), *more)

    return press


def filed_report(uow: UnitOfWork, town: Town) -> UUID:
    """What an officer found, before anything became of it."""
    kind_id = uow.session.scalars(select(TaskKind.id).where(TaskKind.code == "facility")).one()
    lon, lat = town.place()
    filed = reports.file(
        uow, town["officer_a"].actor(), command_id=new_id(), kind_id=kind_id, place=alarms.Place(lon, lat)
    )
    return filed.id


def on_report(act: Callable[..., Any], **more: Any) -> Press:
    """A press on a report."""

    def press(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
        act(uow, actor, row_id, command_id=command_id, **more)

    return press


def made_call(uow: UnitOfWork, town: Town) -> UUID:
    """A roll call of the community in which the officer is on shift."""
    officer = town["officer_a"].actor()
    if shifts.current(uow, officer) is None:
        shifts.start(uow, officer, command_id=new_id(), limits=LIMITS)
    whom = calls.Whom(area_id=town.areas["a"])
    made = calls.create(
        uow, town["desk_a"].actor(), command_id=new_id(), kind=CallKind.ROLL_CALL, whom=whom, lasts=timedelta(minutes=5)
    )  # fmt: skip
    return made.id


def asked_share(uow: UnitOfWork, town: Town) -> UUID:
    of_call = select(CallAnswer.id).where(
        CallAnswer.call_id == made_call(uow, town), CallAnswer.officer_id == town["officer_a"].id
    )
    return uow.session.scalars(of_call).one()


def end_call(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
    calls.end(uow, actor, access.call(uow, system_actor(uow.town), row_id, lock=True))


def cancel_call(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
    calls.cancel(uow, actor, row_id, command_id=command_id)


def answer_call(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
    call_id = uow.session.scalar(select(CallAnswer.call_id).where(CallAnswer.id == row_id))
    calls.answer(uow, actor, call_id or new_id(), command_id=command_id)


def by_clock_on_answer(act: Callable[..., Any]) -> Press:
    """An act of the clock or a rule on what a locked share asks."""

    def press(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
        act(uow, actor, uow.session.get_one(CallAnswer, row_id, with_for_update=True, populate_existing=True))

    return press


def by_rule_on_report(act: Callable[..., Any], *more: Any) -> Press:
    """An act of a rule on a locked report."""

    def press(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
        act(uow, actor, access.report(uow, system_actor(uow.town), row_id, lock=True), *more)

    return press


def begun_photo(uow: UnitOfWork, town: Town) -> UUID:
    """A photo whose upload has begun; its officer is on shift."""
    officer = town["officer_a"].actor()
    if shifts.current(uow, officer) is None:
        shifts.start(uow, officer, command_id=new_id(), limits=LIMITS)
    declared = evidence.Declared(new_id(), b"\x07" * 32, uow.now, 5, "")
    return evidence.begin(uow, officer, declared, evidence.Room(10, 1 << 40, 1 << 40)).id


def by_rule_on_photo(act: Callable[..., Any], *more: Any, **named: Any) -> Press:
    """An act of a rule on a locked piece of evidence."""

    def press(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
        act(uow, actor, access.evidence(uow, system_actor(uow.town), row_id, lock=True), *more, **named)

    return press


def handed_over(uow: UnitOfWork, _task_id: UUID) -> Referral:
    """Who took a task over at 110."""
    return Referral("A3101 2026 0007", "x", uow.now, "012345")


def planned_patrol(uow: UnitOfWork, town: Town) -> UUID:
    """A patrol of community a that its officer, who is on shift, may begin now."""
    officer = town["officer_a"].actor()
    if shifts.current(uow, officer) is None:
        shifts.start(uow, officer, command_id=new_id(), limits=LIMITS)
    if before := patrols.running(uow, town["officer_a"].id):
        patrols.finish(uow, officer, before.id, command_id=new_id())
    return make_patrol(uow, town).id


def on_patrol(act: Callable[..., Any], **more: Any) -> Press:
    """A press on a patrol."""

    def press(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
        act(uow, actor, row_id, command_id=command_id, **more)

    return press


def miss_patrol(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
    patrols.miss(uow, actor, access.patrol(uow, system_actor(uow.town), row_id, lock=True))


def drafted_appraisal(uow: UnitOfWork, town: Town) -> UUID:
    """The draft of an officer's month to which nobody objects."""
    return ordinary_month(uow, town, newcomer(uow, town)).id


def filed_contest(uow: UnitOfWork, town: Town) -> UUID:
    """An objection of the officer of community a, whose draft is made anew for each."""
    return contested_month(uow, town, newcomer(uow, town))[0].id


def newcomer(uow: UnitOfWork, town: Town) -> Person:
    """The officer of community a, of whose month nothing was made yet."""
    officer = town["officer_a"]
    oldest = uow.session.scalars(select(AppraisalMonth.month).order_by(AppraisalMonth.month)).first()
    made = select(AppraisalMonth).join(Appraisal, Appraisal.month_id == AppraisalMonth.id)
    for number, row in enumerate(uow.session.scalars(made.where(Appraisal.officer_id == officer.id))):
        assert oldest is not None
        row.month = oldest.replace(year=oldest.year - 1 - number)
    uow.session.flush()
    return officer


def planned_shift(uow: UnitOfWork, town: Town) -> UUID:
    """A shift planned of the officer, at hours of its own: there are many of them."""
    return make_planned(uow, town, town["officer_a"]).id


def asked_swap(uow: UnitOfWork, town: Town) -> UUID:
    """A swap that the officer is asked for by a colleague."""
    planned = make_planned(uow, town, town["officer_a2"])
    asked = roster_requests.ask(
        uow, town["officer_a2"].actor(), command_id=new_id(), kind=RosterRequestKind.SWAP, planned_id=planned.id,
        reason="drawn", colleague_id=town["officer_a"].id,
    )  # fmt: skip
    return asked.id


def by_rule_on_request(act: Callable[..., Any], **more: Any) -> Press:
    """An act of the clock or a rule on a locked request."""

    def press(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
        act(uow, actor, access.roster_request(uow, system_actor(uow.town), row_id, lock=True), **more)

    return press


def lapse_hand_over(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
    hand_overs.lapse(uow, actor, access.hand_over(uow, system_actor(uow.town), row_id, lock=True))


def given_hand_over(uow: UnitOfWork, town: Town) -> UUID:
    """What a colleague hands over to the officer, who is on shift; what waits from before is taken back."""
    for name in ("officer_a", "officer_a2"):
        if shifts.current(uow, town[name].actor()) is None:
            shifts.start(uow, town[name].actor(), command_id=new_id(), limits=LIMITS)
    giver = town["officer_a2"].actor()
    for before in hand_overs.own(uow, giver, after=None, limit=50).items:
        if before.state == "given":
            hand_overs.withdraw(uow, giver, before.id, command_id=new_id())
    return hand_overs.give(uow, giver, command_id=new_id(), taker_id=town["officer_a"].id).id


def on_row(act: Callable[..., Any], **more: Any) -> Press:
    """A press on a row of the roster, a hand-over or an objection."""

    def press(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
        act(uow, actor, row_id, command_id=command_id, **more)

    return press


def planned_duty(uow: UnitOfWork, town: Town) -> UUID:
    """A duty at a post of community a that its officer, who is on shift, may begin now."""
    for name in ("officer_a", "officer_a2"):
        officer = town[name].actor()
        if shifts.current(uow, officer) is None:
            shifts.start(uow, officer, command_id=new_id(), limits=LIMITS)
        if before := post_duties.standing(uow, town[name].id):
            post_duties.end_early(uow, officer, before.id, command_id=new_id(), **WHY)
    return make_duty(uow, town, make_post(uow, town), starts_at=uow.now).id


def at_post(act: Callable[..., Any], lasts: timedelta, **more: Any) -> Press:
    """A press at a post whose time lasts so long from now, and whose colleague has asked to take over."""

    def press(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
        with uow.session.begin_nested():  # What is refused leaves nothing of this behind.
            if (duty := uow.session.get(PostDuty, row_id)) is not None:
                duty.ends_at = uow.now + lasts
            if act is post_reliefs.hand_over and duty is not None and duty.state == "standing":
                others = Shift.ended_at.is_(None) & (Shift.officer_id != duty.officer_id)
                duty.relief_officer_id = uow.session.scalar(select(Shift.officer_id).where(others).limit(1))
                duty.relief_asked_at = uow.now
            act(uow, actor, row_id, command_id=command_id, **more)

    return press


def lock_appraisal(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
    appraisals.lock(uow, actor, access.appraisal(uow, system_actor(uow.town), row_id, lock=True))


def hand_on_to(name: str | None) -> Callable[..., None]:
    """What follows when somebody confirms a hand-over: he is ``name`` (of this town), or the officer anew."""

    def hand_on(uow: UnitOfWork, actor: Actor, task: Task, share: Assignment) -> None:
        to = share.officer
        if name is not None:
            to = uow.session.scalars(
                select(User).where(User.login.endswith(f".{name}"), User.town_id == uow.town)
            ).one()
        taker = Actor(to.id, uow.town, None, (Membership(Role.OFFICER, task.area_id, None, None),))
        tasks.hand_on(uow, actor, task, share, to=to, taker=taker, command_id=None)

    return hand_on


def miss_duty(uow: UnitOfWork, actor: Actor, row_id: UUID, command_id: UUID | None) -> None:
    post_duties.miss(uow, actor, access.post_duty(uow, system_actor(uow.town), row_id, lock=True))


Press = Callable[[UnitOfWork, Actor, UUID, UUID | None], None]
ROWS: dict[str, tuple[Machine, type, Callable[[UnitOfWork, Town], UUID]]] = {
    "shift": (shifts.SHIFT, Shift, started_shift),
    "invitation": (invitations.INVITATION, Invitation, asked_officer),
    "task": (tasks.TASK, Task, made_task),
    "assignment": (assignments.ASSIGNMENT, Assignment, offered_share),
    "alarm": (alarms.ALARM, Alarm, raised_alarm),
    "report": (reports.REPORT, Report, filed_report),
    "evidence": (evidence.EVIDENCE, Evidence, begun_photo),
    "call": (calls.CALL, Call, made_call),
    "call_answer": (calls.ANSWER, CallAnswer, asked_share),
    "patrol": (patrols.PATROL, Patrol, planned_patrol),
    "appraisal": (appraisals.APPRAISAL, Appraisal, drafted_appraisal),
    "appraisal_contest": (appraisal_contests.CONTEST, AppraisalContest, filed_contest),
    "planned_shift": (planned_shifts.PLANNED_SHIFT, PlannedShift, planned_shift),
    "roster_request": (roster_requests.REQUEST, RosterRequest, asked_swap),
    "hand_over": (hand_overs.HAND_OVER, HandOver, given_hand_over),
    "post_duty": (post_duties.POST_DUTY, PostDuty, planned_duty),
    "device": (devices.DEVICE, Device, given_device),
    "user": (users.USER, User, made_user),
}
PRESSES: dict[tuple[str, str], Press] = {
    ("shift", "end"): end_shift,
    ("shift", "close"): close_shift,
    ("invitation", "accept"): accept_invitation,
    ("invitation", "decline"): decline_invitation,
    ("invitation", "lapse"): lapse_invitation,
    ("task", "offer"): on_task(tasks.offer, whom=anybody),
    ("task", "accept"): on_task(tasks.accept),
    ("task", "decline"): on_task(tasks.decline, **WHY),
    ("task", "lapse"): by_system_on_task(tasks.lapse),
    ("task", "withdraw"): on_task(tasks.withdraw, officer_id=whoever, **WHY),
    ("task", "depart"): on_task(tasks.depart),
    ("task", "arrive"): on_task(tasks.arrive),
    ("task", "resolve"): on_task(resolve),
    ("task", "hand_back"): on_task(tasks.hand_back, officer_id=whoever, **WHY),
    ("task", "hand_over"): by_system_on_task(hand_on_to(None)),
    ("task", "release"): on_task(tasks.release, officer_id=whoever, **WHY),
    ("task", "reassign"): on_task(tasks.reassign, whom=anybody, **WHY),
    ("task", "suspend"): by_system_on_task(tasks.suspend, by=itself),
    ("task", "resume"): by_system_on_task(tasks.resume),
    ("task", "cancel"): on_task(tasks.cancel, **WHY),
    ("task", "verify"): on_task(tasks.verify),
    ("task", "rework"): on_task(tasks.rework, **WHY),
    ("task", "refer"): on_task(tasks.refer, referral=handed_over, **WHY),
    ("assignment", "accept"): on_share(tasks.accept),
    ("assignment", "decline"): on_share(tasks.decline, **WHY),
    ("assignment", "lapse"): by_system_on_share(tasks.lapse),
    ("assignment", "withdraw"): on_share(tasks.withdraw, officer_id=whoever, **WHY),
    ("assignment", "depart"): on_share(tasks.depart),
    ("assignment", "arrive"): on_share(tasks.arrive),
    ("assignment", "resolve"): on_share(resolve),
    ("assignment", "finish"): by_system_on_share(finish),
    ("assignment", "hand_back"): on_share(tasks.hand_back, officer_id=whoever, **WHY),
    ("assignment", "hand_over"): by_system_on_share(hand_on_to("officer_a2")),
    ("assignment", "release"): on_share(tasks.release, officer_id=whoever, **WHY),
    ("assignment", "suspend"): by_system_on_share(tasks.suspend, by=itself),
    ("assignment", "resume"): by_system_on_share(tasks.resume),
    ("assignment", "rework"): on_share(tasks.rework, **WHY),
    ("alarm", "acknowledge"): on_alarm(dispatching.acknowledge),
    ("alarm", "dispatch"): on_alarm(dispatching.dispatch, whom=None),
    ("alarm", "dismiss"): on_alarm(dispatching.dismiss, **WHY),
    ("alarm", "escalate"): by_clock_on_alarm(alarms.escalate, 1),
    ("alarm", "right_itself"): by_clock_on_alarm(alarms.right_itself),
    ("alarm", "clear"): on_alarm(dispatching.clear, **WHY),
    ("report", "settle"): by_rule_on_report(reports.settle),
    ("report", "sample"): by_rule_on_report(reports.sample),
    ("report", "look_over"): on_report(reports.look_over),
    ("report", "pass_on"): on_report(reporting.pass_on, **WHY),
    ("report", "answer"): by_rule_on_report(reports.answer, ReportOutcome.HANDLED),
    ("evidence", "receive"): by_rule_on_photo(
        evidence.receive, sha256=b"\x07" * 32, length=5, media_type="image/jpeg"
    ),
    ("evidence", "seal"): by_rule_on_photo(evidence.seal, Picture(4, 3), preview_sha256=b"\x08" * 32),
    ("evidence", "reject"): by_rule_on_photo(evidence.reject, EvidenceFault.NOT_AN_IMAGE),
    ("call", "end"): end_call,
    ("call", "cancel"): cancel_call,
    ("call_answer", "answer"): answer_call,
    ("call_answer", "miss"): by_clock_on_answer(calls.miss),
    ("call_answer", "excuse"): by_clock_on_answer(calls.excuse),
    ("patrol", "start"): on_patrol(patrols.start),
    ("patrol", "pause"): on_patrol(patrols.pause),
    ("patrol", "resume"): on_patrol(patrols.resume),
    ("patrol", "finish"): on_patrol(patrols.finish),
    ("patrol", "end_early"): on_patrol(patrols.end_early, **WHY),
    ("patrol", "miss"): miss_patrol,
    ("patrol", "cancel"): on_patrol(patrols.cancel, **WHY),
    ("appraisal", "lock"): lock_appraisal,
    ("appraisal_contest", "uphold"): on_row(appraisal_contests.uphold, remedy=ContestRemedy.EXCLUDE, **WHY),
    ("appraisal_contest", "refuse"): on_row(appraisal_contests.refuse, **WHY),
    ("appraisal_contest", "withdraw"): on_row(appraisal_contests.withdraw),
    ("planned_shift", "cancel"): on_row(roster.cancel, **WHY),
    ("planned_shift", "excuse"): on_row(roster.excuse),
    ("roster_request", "submit"): by_rule_on_request(roster_requests.submit, by=None),
    ("roster_request", "agree"): on_row(roster_requests.agree),
    ("roster_request", "decline"): on_row(roster_requests.decline, **WHY),
    ("roster_request", "withdraw"): on_row(roster_requests.withdraw),
    ("roster_request", "approve"): on_row(roster_requests.approve),
    ("roster_request", "refuse"): on_row(roster_requests.refuse, **WHY),
    ("roster_request", "lapse"): by_rule_on_request(roster_requests.lapse),
    ("hand_over", "take"): on_row(hand_overs.take),
    ("hand_over", "decline"): on_row(hand_overs.decline, **WHY),
    ("hand_over", "withdraw"): on_row(hand_overs.withdraw),
    ("hand_over", "lapse"): lapse_hand_over,
    ("post_duty", "start"): on_patrol(post_duties.start),
    ("post_duty", "relieve"): at_post(post_reliefs.hand_over, timedelta(hours=1)),
    ("post_duty", "end"): at_post(post_duties.end, timedelta(minutes=1)),
    ("post_duty", "end_early"): at_post(post_duties.end_early, timedelta(hours=1), **WHY),
    ("post_duty", "miss"): miss_duty,
    ("post_duty", "cancel"): on_patrol(post_duties.cancel, **WHY),
    ("device", "renew"): renew_device,
    ("device", "revoke"): revoke_device,
    ("user", "disable"): disable_user,
    ("user", "enable"): enable_user,
}
BY_CLOCK = {
    ("shift", "close"), ("invitation", "lapse"), ("task", "lapse"), ("task", "suspend"), ("task", "resume"),
    ("assignment", "lapse"), ("assignment", "finish"), ("assignment", "suspend"), ("assignment", "resume"),
    ("alarm", "escalate"), ("alarm", "right_itself"),
    ("report", "settle"), ("report", "sample"), ("report", "answer"),
    ("alarm", "escalate"), ("alarm", "right_itself"), ("call", "end"), ("call_answer", "miss"),
    ("evidence", "receive"), ("evidence", "seal"), ("evidence", "reject"),
    ("call_answer", "excuse"), ("patrol", "miss"), ("appraisal", "lock"),
    ("call_answer", "excuse"), ("patrol", "miss"), ("task", "hand_over"), ("assignment", "hand_over"),
    ("roster_request", "submit"), ("roster_request", "lapse"), ("hand_over", "lapse"),
    ("call_answer", "excuse"), ("patrol", "miss"), ("post_duty", "miss"),
}  # fmt: skip
"""Acts without a command: nobody repeats them by a key."""
NEAR = {
    Role.OFFICER: "officer_a",
    Role.DISPATCHER: "desk_a",
    Role.SUPERVISOR: "supervisor",
    Role.ADMIN: "admin",
    Role.AUDITOR: "auditor",
    Role.RESIDENT: "resident",
    Role.HANDLER: "handler",
}
OF_ANOTHER = {("roster_request", "withdraw"): "officer_a2", ("hand_over", "withdraw"): "officer_a2"}
"""What of two officers the other one presses: who has asked, who has given."""
FAR = {Role.OFFICER: "officer_b", Role.DISPATCHER: "desk_b", Role.RESIDENT: "resident2"}
machines = pytest.mark.parametrize("kind", ROWS)
COMMITTING = "xungeng_machine"


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"machine-{new_id().hex[-12:]}")


@pytest.fixture(scope="module")
def elsewhere(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"machine-{new_id().hex[-12:]}")


def presser(town: Town, role: Role, near: bool, act: tuple[str, str] | None = None) -> Actor:
    """Somebody of a role: the row's own officer and those whose areas hold him, or people of the other community."""
    if role is Role.OFFICER and near and act in OF_ANOTHER:
        return town[OF_ANOTHER[act]].actor()
    if role is Role.SYSTEM:
        return system_actor(town.id)
    if not near and role not in FAR:
        area = town.areas["b"]
        return Actor(new_id(), town.id, None, (Membership(role, area, None, None),))
    people = NEAR if near else FAR
    if role in people:
        return town[people[role]].actor()
    return Actor(new_id(), town.id, None, (Membership(role, town.areas["a"], None, None),))


def stored(uow: UnitOfWork, model: Any, row_id: UUID) -> dict[str, Any]:
    """The row as the database has it, whatever the session thinks."""
    found = uow.session.execute(select(model.__table__).where(model.__table__.c.id == row_id)).one()
    return dict(found._mapping)


def entries(uow: UnitOfWork, kind: str, row_id: UUID) -> list[Journal]:
    uow.session.flush()
    rows = select(Journal).where(Journal.subject_kind == kind, Journal.subject_id == row_id)
    return list(uow.session.scalars(rows.order_by(Journal.id)))


class Undo(Exception):
    """Ends a unit of work without a trace."""


@contextmanager
def savepoint(uow: UnitOfWork) -> Iterator[None]:
    """A part of a unit of work that can fail alone; the tests' connection leaves the town at each."""
    with uow.session.begin_nested():
        uow.enter_town(uow.town)
        yield


@machines
def test_no_sequence_of_presses_reaches_a_row_the_schema_forbids(
    connection: Connection, town: Town, kind: str
) -> None:
    """Each press does what the table says, once, and is journalled; or it is refused and changes nothing."""
    machine, _model, make = ROWS[kind]
    actions = sorted({s.action for s in machine.steps})
    seen: set[tuple[str, str, str]] = set()

    press_drawn = st.tuples(st.sampled_from(actions), st.sampled_from(list(Role)), st.booleans())
    # Those who may press come up often enough that the whole table is walked.
    fitting = st.sampled_from([(s.action, r, True) for s in machine.steps for r in sorted(s.by)])

    @given(presses=st.lists(st.one_of(press_drawn, fitting), max_size=8))
    def press_them(presses: list[tuple[str, Role, bool]]) -> None:
        with pytest.raises(Undo), unit_of_work(town.id) as uow:
            row_id = make(uow, town)
            uow.session.flush()
            for action, role, near in presses:
                seen.add(_press_and_judge(uow, town, kind, row_id, action, role, near))
            raise Undo

    # Each row of the table is walked to, and pressed once more by who may not; what is drawn goes beyond that.
    for wanted in machine.steps:
        with pytest.raises(Undo), unit_of_work(town.id) as uow:
            row_id = make(uow, town)
            uow.session.flush()
            for one in way_to(machine, wanted):
                role = next((r for r in sorted(one.by) if r in NEAR), Role.SYSTEM)
                told = _press_and_judge(uow, town, kind, row_id, one.action, role, True)
                assert told[2] == "done"
                seen.add(told)
            seen.add(_press_and_judge(uow, town, kind, row_id, wanted.action, Role.AUDITOR, True))
            raise Undo
    press_them()
    outcomes = {(action, outcome) for action, _, outcome in seen}
    for one in machine.steps:
        assert (one.action, "done") in outcomes, f"{kind}.{one.action} never succeeded"
        assert (one.action, "refused") in outcomes, f"{kind}.{one.action} was never refused"


def _press_and_judge(
    uow: UnitOfWork, town: Town, kind: str, row_id: UUID, action: str, role: Role, near: bool
) -> tuple[str, str, str]:
    machine, model, _ = ROWS[kind]
    actor, key = presser(town, role, near, (kind, action)), new_id()
    press = PRESSES[kind, action]
    before, told = stored(uow, model, row_id), len(entries(uow, kind, row_id))
    found = next((s for s in machine.steps if s.action == action and before["state"] in s.sources), None)
    in_scope = near or role is Role.SYSTEM
    may = found is not None and role in found.by and in_scope
    refusal = None
    try:
        press(uow, actor, row_id, key)
    except Refusal as refused:
        refusal = refused
    uow.session.flush()
    if refusal is not None:
        assert not may, f"{role} was refused {action} in {before['state']}: {refusal.code}"
        if isinstance(refusal, WrongState):
            assert found is None
            assert refusal.extra["current"] in current(uow, kind, row_id, before)
        assert stored(uow, model, row_id) == before
        assert len(entries(uow, kind, row_id)) == told
        return action, str(role), "refused"
    assert may, f"{role} {'near' if near else 'far'} pressed {action} in {before['state']}"
    assert found is not None
    after = stored(uow, model, row_id)
    target = found.target or before["suspended_from"]
    assert (after["state"], after["version"]) == (target, before["version"] + 1)
    if found.stamps:
        assert after[found.stamps] == uow.now
    entry = entries(uow, kind, row_id)[-1]
    assert len(entries(uow, kind, row_id)) == told + 1
    assert (entry.action, entry.from_state, entry.to_state) == (action, before["state"], target)
    assert (entry.actor_id, entry.at, entry.town_id) == (actor.user_id, uow.now, town.id)
    if (kind, action) not in BY_CLOCK:
        assert entry.command_id == key
        press(uow, actor, row_id, key)  # A replay changes nothing and is told nobody.
        assert stored(uow, model, row_id) == after
        assert len(entries(uow, kind, row_id)) == told + 1
    return action, str(role), "done"


def current(uow: UnitOfWork, kind: str, row_id: UUID, before: dict[str, Any]) -> set[str]:
    """What a 409 may say that the row is: its state; of a task and its shares, that of either."""
    said = {before["state"]}
    if kind == "task":
        shares = select(Assignment.state).where(Assignment.task_id == row_id)
        said |= set(uow.session.scalars(shares))
    if kind == "assignment":
        said |= set(uow.session.scalars(select(Task.state).where(Task.id == before["task_id"])))
    return said


def way_to(machine: Machine, wanted: Step) -> list[Step]:
    """The shortest way from the initial state that ends with the wanted step: by what people press, where that leads.

    What the system does in consequence of something else (``finish``) is not a beginning of anything.
    """
    by_people = [one for one in machine.steps if one.by & NEAR.keys()]
    found = _way_by(by_people, machine.initial, wanted) or _way_by(machine.steps, machine.initial, wanted)
    assert found, f"nothing leads to {wanted.action}"
    return found


def _way_by(steps: Sequence[Step], initial: StrEnum, wanted: Step) -> list[Step]:
    ways: list[list[Step]] = [[]]
    been = {initial}
    for way in ways:
        state = way[-1].target if way else initial
        if state in wanted.sources:
            return [*way, wanted]
        for one in steps:
            if state in one.sources and one.target is not None and one.target not in been:
                been.add(one.target)
                ways.append([*way, one])
    return []


def leads_back(machine: Machine, state: StrEnum | None) -> bool:
    """Whether a row that was in ``state`` can be in the initial state again."""
    found = {state}
    while (
        more := {
            t for s in machine.steps if s.sources & found for t in ([s.target] if s.target else s.sources)
        }
        - found
    ):
        found |= more
    return machine.initial in found


@machines
def test_the_answers_actions_are_what_can_be_pressed(connection: Connection, town: Town, kind: str) -> None:
    machine, model, make = ROWS[kind]
    for role in Role:
        actor = presser(town, role, near=True)
        with pytest.raises(Undo), unit_of_work(town.id) as uow:
            row_id = make(uow, town)
            uow.session.flush()
            row = uow.session.get_one(model, row_id)
            offered = machine.actions(actor, row)
            assert offered == [s.action for s in machine.steps if role in s.by and row.state in s.sources]
            for action in {s.action for s in machine.steps}:
                done = False
                with pytest.raises((Undo, Refusal)), savepoint(uow):
                    by = presser(town, role, True, (kind, action))
                    PRESSES[kind, action](uow, by, row_id, new_id())
                    uow.session.flush()
                    done = True
                    raise Undo
                assert done is (action in offered), (role, action)
            raise Undo


@machines
def test_the_schema_repeats_what_the_table_promises(connection: Connection, town: Town, kind: str) -> None:
    """A state that is none, and a state without its moment, are refused by the database itself."""
    machine, model, make = ROWS[kind]
    table = model.__tablename__
    tried = 0
    with pytest.raises(Undo), unit_of_work(town.id) as uow:
        row_id = make(uow, town)
        uow.session.flush()
        before = stored(uow, model, row_id)
        forged: list[tuple[str, str | None]] = [("no_such_state", None), ("", None)]
        forged += [(s.target, None) for s in machine.steps if s.target not in (machine.initial, None)]
        # What can begin again keeps the moments of its first run.
        forged += [
            (machine.initial, s.stamps)
            for s in machine.steps
            if s.stamps and not leads_back(machine, s.target)
        ]
        for state, stamp in forged:
            also = f", {stamp} = now()" if stamp else ""
            with pytest.raises(IntegrityError, match="violates check constraint"), savepoint(uow):
                uow.session.execute(
                    text(f"update {table} set state = :state{also} where id = :id"),
                    {"state": state, "id": row_id},
                )
            tried += 1
        assert stored(uow, model, row_id) == before
        raise Undo
    assert tried >= 3


def test_a_table_that_forgets_its_moment_does_not_get_past_the_schema(
    connection: Connection, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The generated test above can fail: a wrong table is caught by the first press."""
    wrong = Machine(
        "device", devices.DEVICE.initial,
        *(step(s.action, s.sources, s.target, s.by) for s in devices.DEVICE.steps),
    )  # fmt: skip
    monkeypatch.setattr(devices, "DEVICE", wrong)
    with pytest.raises(IntegrityError, match="ck_devices_revoked"), unit_of_work(town.id) as uow:
        row_id = given_device(uow, town)
        revoke_device(uow, town["supervisor"].actor(), row_id, new_id())
        uow.session.flush()


@machines
def test_another_towns_people_find_no_row_to_press(
    connection: Connection, town: Town, elsewhere: Town, kind: str
) -> None:
    """F41: whatever their role; the system of another town finds none to close either."""
    machine, _model, make = ROWS[kind]
    with pytest.raises(Undo), unit_of_work(town.id) as uow:
        row_id = make(uow, town)
        uow.session.flush()
        uow.enter_town(elsewhere.id)
        uow.session.expunge_all()
        for role in Role:
            for action in {s.action for s in machine.steps} - {a for k, a in BY_CLOCK if k == kind}:
                with pytest.raises(Refusal) as refused:
                    PRESSES[kind, action](uow, presser(elsewhere, role, near=True), row_id, new_id())
                assert refused.value.status in (403, 404)
        raise Undo


def test_the_same_id_for_another_act_is_refused_and_not_taken_for_a_replay(
    connection: Connection, town: Town
) -> None:
    """Started under a key and ended under the same: were that a replay, the officer would be tracked on."""
    officer, key = town["officer_a"].actor(), new_id()
    with pytest.raises(Undo), unit_of_work(town.id) as uow:
        shift = shifts.start(uow, officer, command_id=key, limits=LIMITS)
        uow.session.flush()
        with pytest.raises(Invalid) as refused:
            shifts.end(uow, officer, shift.id, command_id=key)
        assert refused.value.code == "key_reused"
        assert shifts.end(uow, officer, shift.id, command_id=new_id()).state == "ended"
        raise Undo


def test_a_leader_ends_on_behalf_of_his_crew_and_the_desk_by_its_own_right(
    connection: Connection, town: Town
) -> None:
    leader, mate = town["officer_a"], town["officer_a2"]
    with pytest.raises(Undo), unit_of_work(town.id) as uow:
        for by_desk in (False, True):
            crew = WantedCrew("青禾-01", Travel.FOOT, [mate.id])
            shift = shifts.start(uow, leader.actor(), command_id=new_id(), limits=LIMITS, crew=crew)
            [asked] = invitations.answerable(uow, mate.actor(), after=None, limit=10).items
            theirs = invitations.accept(uow, mate.actor(), asked.id, command_id=new_id(), limits=LIMITS)
            if by_desk:
                shifts.end(uow, town["desk_a"].actor(), theirs.id, command_id=new_id(), reason="late")
            shifts.end(uow, leader.actor(), shift.id, command_id=new_id(), whole_crew=True)
            told = [(e.action, e.on_behalf_of) for e in entries(uow, "shift", theirs.id)]
            assert told == [("start", None), ("end", None if by_desk else mate.id)]
            assert [e.on_behalf_of for e in entries(uow, "shift", shift.id)] == [None, None]
        raise Undo


def test_a_key_is_its_actors_own(connection: Connection, town: Town) -> None:
    """Somebody else's act under an equal key is no replay of mine."""
    key = new_id()
    with pytest.raises(Undo), unit_of_work(town.id) as uow:
        row_id = given_device(uow, town)
        renew_device(uow, town["supervisor"].actor(), row_id, key)
        uow.session.flush()
        renew_device(uow, town["admin"].actor(), row_id, key)
        assert [e.action for e in entries(uow, "device", row_id)] == ["create", "renew", "renew"]
        raise Undo


# --- Presses at once, with real transactions and locks


def ready(uow: UnitOfWork, town: Town, kind: str, action: str) -> UUID:
    """A row in a state from which ``action`` goes: pressed there from its initial state, step by step."""
    machine, _model, make = ROWS[kind]
    row_id, wanted = make(uow, town), next(s for s in machine.steps if s.action == action)
    for one in way_to(machine, wanted)[:-1]:
        role = next((r for r in sorted(one.by) if r in NEAR), Role.SYSTEM)
        PRESSES[kind, one.action](uow, presser(town, role, True, (kind, one.action)), row_id, new_id())
    return row_id


@pytest.fixture(scope="module")
def live_engines(cluster: Cluster, _template: str, config: Config) -> Iterator[tuple[Engine, Engine]]:
    """The application's and the owner's on a database in which everything really commits."""
    cluster.make_database(COMMITTING, template=_template)
    there = Database(cluster, COMMITTING)
    app = db.engine_for(replace(config, database_url=there.app_url, owner_url=there.owner_url))
    owner = create_engine(there.owner_url, poolclass=NullPool)
    yield app, owner
    app.dispose()
    owner.dispose()
    cluster.drop_database(COMMITTING)


@pytest.fixture
def live_town(live_engines: tuple[Engine, Engine]) -> Iterator[Town]:
    """A town of this test's own, in which everything really commits."""
    app, owner = live_engines
    before = db._engine
    db.set_engine(app)
    yield factories.make_town(owner, f"live-{new_id().hex[-12:]}")
    db.set_engine(before)


def at_once(count: int, act: Callable[[int], str]) -> list[str]:
    """Let so many threads act after one barrier; return what each was told."""
    barrier = threading.Barrier(count)

    def one(number: int) -> str:
        barrier.wait()
        try:
            return act(number)
        except Conflict as refusal:
            return refusal.code

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.parametrize(
    ("kind", "action"), [key for key in PRESSES if key not in BY_CLOCK], ids=lambda word: word
)
def test_of_presses_at_once_exactly_one_takes_effect(
    live_town: Town, kind: str, action: str, thin: Callable[[int, int], int]
) -> None:
    """Each in a transaction of its own: the row's lock lets one through; the others see the new state."""
    machine, model, _make = ROWS[kind]
    found = next(s for s in machine.steps if s.action == action)
    by = next(r for r in sorted(found.by) if r in NEAR)
    actor = presser(live_town, by, True, (kind, action))
    for _ in range(thin(50, 3)):
        with unit_of_work(live_town.id) as uow:
            row_id = ready(uow, live_town, kind, action)
        with unit_of_work(live_town.id) as uow:
            before = stored(uow, model, row_id)

        def press(_: int, row_id: UUID = row_id) -> str:
            with unit_of_work(live_town.id) as uow:
                PRESSES[kind, action](uow, actor, row_id, new_id())
            return "done"

        told = at_once(6, press)
        stays = found.target in found.sources
        assert sorted(told) == (["done"] * 6 if stays else ["done"] + ["wrong_state"] * 5)
        with unit_of_work(live_town.id) as uow:
            after = stored(uow, model, row_id)
            acts = [e for e in entries(uow, kind, row_id) if e.action == action]
        assert after["version"] - before["version"] == len(acts) == told.count("done")
        if kind == "device" and stays:  # Leave none behind: an officer has a bounded number of them.
            with unit_of_work(live_town.id) as uow:
                devices.revoke(uow, live_town["supervisor"].actor(), row_id, command_id=new_id())
        if kind == "call_answer":  # The same for the open calls of a desk.
            with unit_of_work(live_town.id) as uow:
                calls.cancel(uow, live_town["desk_a"].actor(), after["call_id"], command_id=new_id())


@pytest.mark.parametrize(
    ("kind", "action"), [key for key in PRESSES if key not in BY_CLOCK], ids=lambda word: word
)
def test_one_command_pressed_many_times_at_once_is_done_once(live_town: Town, kind: str, action: str) -> None:
    """F02: the same id from several connections at once, as after a lost answer."""
    machine, model, _make = ROWS[kind]
    by = next(r for s in machine.steps if s.action == action for r in sorted(s.by) if r in NEAR)
    actor, key = presser(live_town, by, True, (kind, action)), new_id()
    with unit_of_work(live_town.id) as uow:
        row_id = ready(uow, live_town, kind, action)
    with unit_of_work(live_town.id) as uow:
        before = stored(uow, model, row_id)["version"]

    def press(_: int) -> str:
        with unit_of_work(live_town.id) as uow:
            PRESSES[kind, action](uow, actor, row_id, key)
        return "done"

    assert at_once(6, press) == ["done"] * 6
    with unit_of_work(live_town.id) as uow:
        assert stored(uow, model, row_id)["version"] == before + 1
        assert len([e for e in entries(uow, kind, row_id) if e.action == action]) == 1


# --- The table itself


class Door(StrEnum):
    OPEN = "open"
    SHUT = "shut"
    SEALED = "sealed"


SHUT = step("shut", {Door.OPEN}, Door.SHUT, (Role.OFFICER,))


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((SHUT,), "nothing leads to sealed"),
        # A circle that nothing enters is led to by its own steps alone.
        ((step("seal", {Door.SHUT}, Door.SEALED, ()), step("shut", {Door.SEALED}, Door.SHUT, ())), "sealed, shut"),
        ((SHUT, SHUT, step("seal", {Door.SHUT}, Door.SEALED, ())), "two rows for one action"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_walked_is_no_table(steps: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Machine("door", Door.OPEN, *steps)


def test_who_may_is_asked_after_what_is_possible(uow: UnitOfWork, town: Town) -> None:
    """In a state without that action the answer is the state; in one that has it, the role."""
    uow.enter_town(town.id)
    row = uow.session.get_one(Device, given_device(uow, town))
    with pytest.raises(Forbidden):
        devices.DEVICE.fire(uow, town["auditor"].actor(), row, "revoke", command_id=new_id())
    with pytest.raises(WrongState) as refused:
        devices.DEVICE.fire(uow, town["supervisor"].actor(), row, "no_such_action", command_id=new_id())
    assert refused.value.extra == {"current": "active", "actions": ["renew", "revoke"]}
