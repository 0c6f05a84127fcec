"""Assignments: each officer's share in a task, from the offer to its end.

The table says what one officer's share may go through; ``workflows.tasks`` presses it, under the lock of the task's
row, and lets the task follow its people.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AssignmentState as A
from backend.core.vocabulary import Role
from backend.models import Assignment, Journal, Task, User
from workflows import deadlines, journal
from workflows.machine import AS_BEFORE, REPLAY_WINDOW, Machine, step

DESK = (Role.DISPATCHER, Role.SUPERVISOR)
OFFICER, SYSTEM = (Role.OFFICER,), (Role.SYSTEM,)
GOING = {A.ACCEPTED, A.EN_ROUTE, A.ON_SITE}
ACTIVE = GOING | {A.SUSPENDED}

ASSIGNMENT = Machine(
    "assignment", A.OFFERED,
    #    action       from                      to              by                  stamps
    step("accept",    {A.OFFERED},              A.ACCEPTED,     OFFICER,            "accepted_at"),
    step("decline",   {A.OFFERED},              A.DECLINED,     OFFICER,            "ended_at"),
    step("lapse",     {A.OFFERED},              A.LAPSED,       SYSTEM,             "ended_at"),
    step("withdraw",  {A.OFFERED},              A.WITHDRAWN,    (*DESK, *SYSTEM),   "ended_at"),
    step("depart",    {A.ACCEPTED},             A.EN_ROUTE,     OFFICER,            "departed_at"),
    step("arrive",    {A.ACCEPTED, A.EN_ROUTE}, A.ON_SITE,      OFFICER,            "arrived_at"),
    step("resolve",   {A.ON_SITE},              A.DONE,         OFFICER,            "ended_at"),
    step("finish",    ACTIVE,                   A.DONE,         SYSTEM,             "ended_at"),
    step("hand_back", ACTIVE,                   A.HANDED_BACK,  (*OFFICER, *SYSTEM), "ended_at"),
    step("hand_over", ACTIVE,                   A.HANDED_OVER,  SYSTEM,             "ended_at"),
    step("release",   ACTIVE,                   A.RELEASED,     (*DESK, *SYSTEM),   "ended_at"),
    step("suspend",   GOING,                    A.SUSPENDED,    SYSTEM,             None),
    step("resume",    {A.SUSPENDED},            AS_BEFORE,      SYSTEM,             None),
    step("rework",    {A.DONE},                 A.ACCEPTED,     DESK,               "accepted_at"),
)  # fmt: skip


def is_active(share: Assignment) -> bool:
    """Say whether the officer has accepted and still does it, or would if nothing more urgent had come."""
    return share.state in ACTIVE


def active(task: Task) -> list[Assignment]:
    """Return the shares of those who do the task."""
    return [share for share in task.assignments if is_active(share)]


def offers(task: Task) -> list[Assignment]:
    """Return the shares that nobody has answered yet."""
    return [share for share in task.assignments if share.state == A.OFFERED]


def share_of(task: Task, officer_id: UUID | None) -> Assignment | None:
    """Return an officer's share: the one that has not ended, or the last he had."""
    his = [share for share in task.assignments if share.officer_id == officer_id]
    return next((share for share in his if share.ended_at is None), his[-1] if his else None)


def pressed(uow: UnitOfWork, actor: Actor, task: Task, command_id: UUID | None) -> Assignment | None:
    """Return the actor's share that a command is about: the one it was done to before, or else his present one.

    A repeated "decline" must not decline the offer that came after it.
    """
    before = select(Journal.subject_id).where(
        Journal.command_id == command_id,
        Journal.subject_kind == ASSIGNMENT.kind,
        Journal.actor_id == actor.user_id,
        Journal.at > uow.now - REPLAY_WINDOW,
    )
    done_to = set(uow.session.scalars(before)) if command_id is not None else set()
    for share in task.assignments:
        if share.id in done_to and share.officer_id == actor.user_id:
            return share
    return share_of(task, actor.user_id)


def desk_actions(actor: Actor, share: Assignment) -> list[str]:
    """Return what the desk may do with one share now."""
    return ["release"] if {"withdraw", "release"} & set(ASSIGNMENT.actions(actor, share)) else []


def make(
    uow: UnitOfWork,
    actor: Actor,
    task: Task,
    officer: User,
    *,
    lapses_at: datetime | None,
    command_id: UUID | None,
    distance_m: float | None = None,
    eta_s: int | None = None,
) -> Assignment:
    """Offer a locked task to an officer who has no open share in it."""
    share = Assignment(
        id=new_id(),
        town_id=uow.town,
        task=task,
        officer=officer,
        state=ASSIGNMENT.initial,
        version=1,
        distance_m=distance_m,
        eta_s=eta_s,
        offered_by=actor.user_id,
        offered_at=uow.now,
        lapses_at=lapses_at,
    )
    uow.session.add(share)
    uow.session.flush()
    journal.write(
        uow, actor, "assignment", share.id, "offer", after=ASSIGNMENT.initial, command_id=command_id,
        data={"task_id": str(task.id), "officer_id": str(officer.id), "distance_m": distance_m, "eta_s": eta_s},
    )  # fmt: skip
    return share


def fire(
    uow: UnitOfWork,
    actor: Actor,
    share: Assignment,
    action: str,
    *,
    command_id: UUID | None = None,
    reason: str | None = None,
    device_at: datetime | None = None,
    on_behalf_of: UUID | None = None,
    by: UUID | None = None,
) -> bool:
    """Move one share of a locked task as the table says; False when the command was done before.

    ``by`` is the task that suspends it.
    """
    if not ASSIGNMENT.fire(
        uow, actor, share, action, command_id=command_id, reason=reason, device_at=device_at,
        on_behalf_of=on_behalf_of, data={"by": str(by)} if by else None,
    ):  # fmt: skip
        return False
    share.suspended_by = by
    share.way_began_at = uow.now if share.state == A.EN_ROUTE else None
    if action == "rework":
        share.ended_at = share.departed_at = share.arrived_at = None
    if reason is not None:
        share.reason = reason
    if share.state != A.OFFERED:
        deadlines.drop(uow, share.id)
    return True


def turn(uow: UnitOfWork, task: Task) -> None:
    """Let those who are under way to a locked task that has moved begin a new way from where they are."""
    for share in task.assignments:
        if share.state == A.EN_ROUTE:
            share.way_began_at = uow.now


def end(uow: UnitOfWork, share: Assignment, *, reason: str | None = None) -> None:
    """End a share because the task goes on without it: the system's own act, in consequence of another's."""
    action = "withdraw" if share.state == A.OFFERED else "release"
    fire(uow, system_actor(uow.town), share, action, reason=reason)
