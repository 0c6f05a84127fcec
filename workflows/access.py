"""Who may: one table of permissions, and one door per kind of row.

A permission is a verb and a kind, granted by a role within the area of a membership and everything below that area.
What is absent and what is not yours are the same refusal, so that nobody learns of a row by asking for it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    ColumnExpressionArgument,
    Select,
    and_,
    any_,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import joinedload, selectinload
from sqlalchemy.sql.base import ExecutableOption

from backend.core.errors import Forbidden, NotVisible
from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Role
from backend.models import (
    Address,
    Alarm,
    Appraisal,
    AppraisalContest,
    Area,
    Assignment,
    Call,
    CallAnswer,
    Checkpoint,
    Crew,
    CrewMember,
    Delivery,
    Device,
    Evidence,
    EvidenceExport,
    EvidenceExportItem,
    HandOver,
    HandOverTask,
    ImportedTrack,
    Invitation,
    LevelSwitch,
    Membership,
    Notice,
    Patrol,
    PatrolPoint,
    Plan,
    PlannedShift,
    Post,
    PostDuty,
    Report,
    RosterRequest,
    Route,
    RoutePoint,
    Session,
    Shift,
    Task,
    User,
    Visit,
)

Row = TypeVar("Row")
DISPATCHER, SUPERVISOR, ADMIN, AUDITOR = Role.DISPATCHER, Role.SUPERVISOR, Role.ADMIN, Role.AUDITOR
OFFICER, RESIDENT, HANDLER, BUILDING_HEAD = Role.OFFICER, Role.RESIDENT, Role.HANDLER, Role.BUILDING_HEAD
EVERYBODY = frozenset(Role) - {Role.SYSTEM}
STAFF = frozenset({DISPATCHER, SUPERVISOR, ADMIN, AUDITOR, HANDLER})

GRANTS: dict[tuple[str, str], frozenset[Role]] = {
    # verb      kind                 roles
    ("use", "account"): EVERYBODY,
    ("use", "officer_client"): frozenset({OFFICER}),
    ("use", "resident_client"): frozenset({RESIDENT, BUILDING_HEAD}),
    ("use", "desk"): STAFF,
    ("see", "area"): STAFF,
    ("see", "officer"): frozenset({DISPATCHER, SUPERVISOR}),
    ("see", "track"): frozenset({DISPATCHER, SUPERVISOR}),
    ("export", "track"): frozenset({SUPERVISOR}),
    ("import", "track"): frozenset({SUPERVISOR}),
    ("start", "shift"): frozenset({OFFICER}),
    ("end", "shift"): frozenset({DISPATCHER, SUPERVISOR}),
    ("see", "shift"): frozenset({DISPATCHER, SUPERVISOR}),
    ("see", "task"): frozenset({DISPATCHER, SUPERVISOR}),
    ("dispatch", "task"): frozenset({DISPATCHER, SUPERVISOR}),
    ("verify", "task"): frozenset({DISPATCHER, SUPERVISOR}),
    ("do", "task"): frozenset({OFFICER}),
    ("refer", "task"): frozenset({DISPATCHER, SUPERVISOR}),
    ("file", "report"): frozenset({OFFICER}),
    ("see", "report"): frozenset({DISPATCHER, SUPERVISOR}),
    ("handle", "report"): frozenset({DISPATCHER, SUPERVISOR}),
    ("see", "checkpoint"): frozenset({DISPATCHER, SUPERVISOR}),
    ("manage", "checkpoint"): frozenset({SUPERVISOR}),
    ("see", "route"): frozenset({DISPATCHER, SUPERVISOR}),
    ("manage", "route"): frozenset({SUPERVISOR}),
    ("see", "plan"): frozenset({DISPATCHER, SUPERVISOR}),
    ("manage", "plan"): frozenset({SUPERVISOR}),
    ("see", "patrol"): frozenset({DISPATCHER, SUPERVISOR}),
    ("manage", "patrol"): frozenset({DISPATCHER, SUPERVISOR}),
    ("do", "patrol"): frozenset({OFFICER}),
    ("see", "post"): frozenset({DISPATCHER, SUPERVISOR}),
    ("manage", "post"): frozenset({SUPERVISOR}),
    ("assign", "post"): frozenset({DISPATCHER, SUPERVISOR}),
    ("do", "post"): frozenset({OFFICER}),
    ("see", "duty_level"): frozenset({DISPATCHER, SUPERVISOR}),
    ("switch", "duty_level"): frozenset({SUPERVISOR}),
    ("see", "visit"): frozenset({DISPATCHER, SUPERVISOR}),
    ("review", "visit"): frozenset({SUPERVISOR}),
    ("see", "appraisal"): frozenset({SUPERVISOR}),
    ("make", "appraisal"): frozenset({SUPERVISOR}),
    ("decide", "appraisal"): frozenset({SUPERVISOR}),
    ("export", "appraisal"): frozenset({SUPERVISOR}),
    ("contest", "appraisal"): frozenset({OFFICER}),
    ("see", "roster"): frozenset({DISPATCHER, SUPERVISOR}),
    ("manage", "roster"): frozenset({SUPERVISOR}),
    ("see", "roster_request"): frozenset({SUPERVISOR}),
    ("decide", "roster_request"): frozenset({SUPERVISOR}),
    ("see", "hand_over"): frozenset({DISPATCHER, SUPERVISOR}),
    ("do", "hand_over"): frozenset({OFFICER}),
    ("record", "evidence"): frozenset({OFFICER}),
    ("see", "evidence"): frozenset({DISPATCHER, SUPERVISOR}),
    ("see", "custody"): frozenset({SUPERVISOR, AUDITOR}),
    ("share", "evidence"): frozenset({SUPERVISOR}),
    ("see", "evidence_export"): frozenset({SUPERVISOR, AUDITOR}),
    ("see", "task_kind"): frozenset({DISPATCHER, SUPERVISOR, ADMIN, OFFICER}),
    ("manage", "task_kind"): frozenset({SUPERVISOR, ADMIN}),
    ("see", "alarm"): frozenset({DISPATCHER, SUPERVISOR}),
    ("handle", "alarm"): frozenset({DISPATCHER, SUPERVISOR}),
    ("see", "call"): frozenset({DISPATCHER, SUPERVISOR}),
    ("make", "call"): frozenset({DISPATCHER, SUPERVISOR}),
    ("answer", "call"): frozenset({OFFICER}),
    ("see", "device"): frozenset({SUPERVISOR, ADMIN}),
    ("manage", "device"): frozenset({SUPERVISOR, ADMIN}),
    ("see", "quarantine"): frozenset({SUPERVISOR, ADMIN}),
    ("see", "counter"): frozenset({SUPERVISOR, ADMIN, AUDITOR}),
    ("see", "user"): frozenset({ADMIN}),
    ("manage", "user"): frozenset({ADMIN}),
    ("manage", "basemap"): frozenset({ADMIN}),
    ("see", "delivery"): frozenset({DISPATCHER, SUPERVISOR, ADMIN}),
    ("retry", "delivery"): frozenset({DISPATCHER, SUPERVISOR, ADMIN}),
    ("see", "journal"): frozenset({AUDITOR}),
    ("see", "disclosure"): frozenset({AUDITOR}),
}


LONGEST_SHIFT = timedelta(hours=48)
"""No shift is longer (``XUNGENG_SHIFT_MAX_H``); it lets a look at a span use the index on the start."""


def may(actor: Actor, verb: str, kind: str) -> bool:
    """Say whether any membership of the actor grants the permission somewhere."""
    return bool(GRANTS[(verb, kind)] & actor.roles)


def require(actor: Actor, verb: str, kind: str) -> None:
    """Raise Forbidden unless some membership grants the permission."""
    if not may(actor, verb, kind):
        raise Forbidden()


def require_in_whole_town(uow: UnitOfWork, actor: Actor, verb: str, kind: str) -> None:
    """Raise Forbidden unless a membership in the town's root grants the permission: some kinds have no area."""
    require(actor, verb, kind)
    whole = select(Area.id).where(Area.parent_id.is_(None), Area.id.in_(roots(actor, verb, kind)))
    if uow.session.scalar(whole) is None:
        raise Forbidden()


def permissions(actor: Actor) -> list[str]:
    """Return what the actor may do, as ``verb:kind``, for clients to draw their navigation from."""
    return [f"{verb}:{kind}" for (verb, kind), roles in GRANTS.items() if roles & actor.roles]


def roots(actor: Actor, verb: str, kind: str) -> list[UUID]:
    """Return the areas in which the actor holds the permission; everything below them is in scope too."""
    return list(dict.fromkeys(actor.areas(*GRANTS[(verb, kind)])))


def within(area_id: ColumnExpressionArgument[Any], scope: Sequence[UUID]) -> ColumnElement[bool]:
    """Return the condition that the area ``area_id`` is one of ``scope`` or below one of them."""
    return exists(
        select(literal(1)).where(
            Area.id == area_id,
            Area.ancestors.overlap(literal(list(scope), ARRAY(postgresql.UUID(as_uuid=True)))),
        )
    )


def areas_in_scope(uow: UnitOfWork, actor: Actor, verb: str, kind: str) -> list[UUID]:
    """Return every area in which the actor holds the permission, children included."""
    scope = roots(actor, verb, kind)
    if not scope:
        return []
    return list(
        uow.session.scalars(
            select(Area.id)
            .where(Area.ancestors.overlap(literal(scope, ARRAY(postgresql.UUID(as_uuid=True)))))
            .order_by(Area.id)
        )
    )


def live_rooms(uow: UnitOfWork, actor: Actor) -> list[UUID]:
    """Return the areas whose officers the actor may watch live; each is one room of the live channel."""
    return areas_in_scope(uow, actor, "see", "officer")


def covers(uow: UnitOfWork, actor: Actor, verb: str, kind: str, area_id: UUID) -> bool:
    """Say whether the actor holds the permission in ``area_id``."""
    scope = roots(actor, verb, kind)
    return bool(scope) and bool(
        uow.session.scalar(
            select(Area.id).where(
                Area.id == area_id,
                Area.ancestors.overlap(literal(scope, ARRAY(postgresql.UUID(as_uuid=True)))),
            )
        )
    )


def officers_within(scope: Sequence[UUID]) -> Select[UUID]:
    """Return the ids of officers who hold a membership in ``scope``."""
    return select(Membership.user_id).where(
        Membership.role == Role.OFFICER, Membership.ended_at.is_(None), within(Membership.area_id, scope)
    )


def serves(uow: UnitOfWork, officer_id: UUID, area_id: UUID) -> bool:
    """Say whether an officer belongs to an area or one above it, or is on shift there."""
    above = select(func.unnest(Area.ancestors)).where(Area.id == area_id)
    belongs = exists().where(
        Membership.user_id == officer_id, Membership.role == Role.OFFICER, Membership.ended_at.is_(None),
        Membership.area_id.in_(above),
    )  # fmt: skip
    on_shift = exists().where(
        Shift.officer_id == officer_id, Shift.ended_at.is_(None), Shift.area_id.in_(above)
    )
    return bool(uow.session.scalar(select(or_(belongs, on_shift))))


def during(since: datetime, until: datetime) -> ColumnElement[bool]:
    """Return the condition that a shift overlaps ``[since, until)``."""
    return and_(
        Shift.started_at < until,
        Shift.started_at > since - LONGEST_SHIFT,
        Shift.ended_at.is_(None) | (Shift.ended_at >= since),
    )


def tracked_within(scope: Sequence[UUID], since: datetime, until: datetime) -> ColumnElement[bool]:
    """Return the condition that a user is an officer of ``scope``, or did a shift there in ``[since, until)``.

    Whoever is lent to another area belongs to its desk for these shifts alone: what is read of him is bounded by
    ``within(Shift.area_id, scope)`` again.
    """
    there = select(Shift.officer_id).where(within(Shift.area_id, scope), during(since, until))
    return User.id.in_(officers_within(scope)) | User.id.in_(there)


def officer(
    uow: UnitOfWork, actor: Actor, officer_id: UUID, *, verb: str = "see", kind: str = "officer"
) -> User:
    """The door to an officer: he belongs to the actor's areas, by membership."""
    require(actor, verb, kind)
    scope = roots(actor, verb, kind)
    found = (
        uow.session.scalar(select(User).where(User.id == officer_id, User.id.in_(officers_within(scope))))
        if scope
        else None
    )
    if found is None:
        raise NotVisible()
    return found


def shift(uow: UnitOfWork, actor: Actor, shift_id: UUID, *, verb: str = "see", lock: bool = False) -> Shift:
    """The door to a shift: the officer's own, his crew leader's, or one in the actor's areas."""
    query = select(Shift).where(Shift.id == shift_id).options(*shift_parts())
    if lock:
        query = query.with_for_update(of=Shift)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    if found.officer_id == actor.user_id and Role.OFFICER in actor.roles:
        return found
    if found.crew is not None and found.crew.leader_id == actor.user_id and Role.OFFICER in actor.roles:
        return found
    if may(actor, verb, "shift") and covers(uow, actor, verb, "shift", found.area_id):
        return found
    raise NotVisible()


def shift_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about a shift shows."""
    return (
        joinedload(Shift.officer),
        joinedload(Shift.area),
        joinedload(Shift.crew).options(
            selectinload(Crew.members).joinedload(CrewMember.user),
            selectinload(Crew.invitations).joinedload(Invitation.officer),
        ),
    )


def invitation(uow: UnitOfWork, actor: Actor, invitation_id: UUID, *, lock: bool = False) -> Invitation:
    """The door to an invitation: it is the actor's own to answer."""
    require(actor, "start", "shift")
    query = select(Invitation).where(Invitation.id == invitation_id, Invitation.officer_id == actor.user_id)
    query = query.options(*invitation_parts())
    if lock:
        query = query.with_for_update(of=Invitation)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    return found


def invitation_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about an invitation shows."""
    return (joinedload(Invitation.crew).options(joinedload(Crew.leader), joinedload(Crew.area)),)


def task(uow: UnitOfWork, actor: Actor, task_id: UUID, *, verb: str = "see", lock: bool = False) -> Task:
    """The door to a task: one in the actor's areas, or one that the actor himself was offered; the system's own is any.

    Whoever declined, or let the offer lapse, does not see what becomes of it; pressed late, his act is still told why
    it is too late. What the desk does to a task, nobody does by taking part in it.
    """
    query = select(Task).where(Task.id == task_id).options(*task_parts())
    if lock:
        # Whoever waits for the lock finds the row as the one before him has left it, its assignments too.
        query = query.with_for_update(of=Task).execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    if Role.SYSTEM in actor.roles:
        return found
    if verb != "do" and may(actor, verb, "task") and covers(uow, actor, verb, "task", found.area_id):
        return found
    if verb in ("see", "do") and may(actor, "do", "task") and _takes_part(found, actor, ever=verb == "do"):
        return found
    raise NotVisible()


def _takes_part(task: Task, actor: Actor, *, ever: bool) -> bool:
    gone = () if ever else ("declined", "lapsed", "withdrawn")
    return any(a.officer_id == actor.user_id and a.state not in gone for a in task.assignments)


def task_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about a task shows."""
    return (
        joinedload(Task.kind),
        joinedload(Task.area).defer(Area.geom),
        selectinload(Task.assignments).joinedload(Assignment.officer),
    )


def report(
    uow: UnitOfWork, actor: Actor, report_id: UUID, *, verb: str = "see", lock: bool = False
) -> Report:
    """The door to a report: one in the actor's areas, or, to see it, one that the actor filed; the system's is any."""
    query = select(Report).where(Report.id == report_id).options(*report_parts())
    if lock:
        query = query.with_for_update(of=Report).execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    if Role.SYSTEM in actor.roles:
        return found
    if may(actor, verb, "report") and covers(uow, actor, verb, "report", found.area_id):
        return found
    if verb == "see" and may(actor, "file", "report") and found.officer_id == actor.user_id:
        return found
    raise NotVisible()


def report_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about a report shows, but its task, whose door is another."""
    return (
        joinedload(Report.kind),
        joinedload(Report.area).defer(Area.geom),
        joinedload(Report.officer),
        joinedload(Report.looker),
    )


def checkpoint(
    uow: UnitOfWork, actor: Actor, checkpoint_id: UUID, *, verb: str = "see", lock: bool = False
) -> Checkpoint:
    """The door to a checkpoint: one in the actor's areas."""
    query = (
        select(Checkpoint)
        .where(Checkpoint.id == checkpoint_id)
        .options(joinedload(Checkpoint.area).defer(Area.geom))
    )
    if lock:
        query = query.with_for_update(of=Checkpoint).execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None or not may(actor, verb, "checkpoint"):
        raise NotVisible()
    if not covers(uow, actor, verb, "checkpoint", found.area_id):
        raise NotVisible()
    return found


def route(uow: UnitOfWork, actor: Actor, route_id: UUID, *, verb: str = "see", lock: bool = False) -> Route:
    """The door to a route: one in the actor's areas; ``go`` is an officer's, of a route where he is one."""
    query = select(Route).where(Route.id == route_id).options(*route_parts())
    if lock:
        query = query.with_for_update(of=Route).execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    if Role.SYSTEM in actor.roles:
        return found
    if verb == "go" and may(actor, "do", "patrol") and covers(uow, actor, "do", "patrol", found.area_id):
        return found
    if verb != "go" and may(actor, verb, "route") and covers(uow, actor, verb, "route", found.area_id):
        return found
    raise NotVisible()


def route_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about a route shows."""
    return (
        joinedload(Route.area).defer(Area.geom),
        selectinload(Route.points).joinedload(RoutePoint.checkpoint),
    )


def plan(uow: UnitOfWork, actor: Actor, plan_id: UUID, *, verb: str = "see", lock: bool = False) -> Plan:
    """The door to a plan: its route or post is in the actor's areas."""
    query = select(Plan).where(Plan.id == plan_id).options(*plan_parts())
    if lock:
        query = query.with_for_update(of=Plan).execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    if Role.SYSTEM in actor.roles:
        return found
    place = found.route or found.post
    if place is not None and may(actor, verb, "plan") and covers(uow, actor, verb, "plan", place.area_id):
        return found
    raise NotVisible()


def plan_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about a plan shows."""
    route = joinedload(Plan.route)
    return (
        route.joinedload(Route.area).defer(Area.geom),
        route.selectinload(Route.points).joinedload(RoutePoint.checkpoint),
        joinedload(Plan.post).joinedload(Post.area).defer(Area.geom),
    )


def post(uow: UnitOfWork, actor: Actor, post_id: UUID, *, verb: str = "see", lock: bool = False) -> Post:
    """The door to a post: one in the actor's areas."""
    query = select(Post).where(Post.id == post_id).options(*post_parts())
    if lock:
        query = query.with_for_update(of=Post).execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None or not may(actor, verb, "post") or not covers(uow, actor, verb, "post", found.area_id):
        raise NotVisible()
    return found


def post_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about a post shows."""
    return (joinedload(Post.area).defer(Area.geom), joinedload(Post.checkpoint))


def post_duty(
    uow: UnitOfWork, actor: Actor, duty_id: UUID, *, verb: str = "see", lock: bool = False
) -> PostDuty:
    """The door to a duty at a post: one in the actor's areas, or one that he as an officer has begun or may begin;
    ``relieve`` is an officer's, of one that stands where he is an officer."""
    query = select(PostDuty).where(PostDuty.id == duty_id).options(*post_duty_parts())
    if lock:
        query = query.with_for_update(of=PostDuty).execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    if Role.SYSTEM in actor.roles:
        return found
    if (
        verb in ("see", "assign")
        and may(actor, verb, "post")
        and covers(uow, actor, verb, "post", found.area_id)
    ):
        return found
    if verb in ("see", "do") and may(actor, "do", "post") and _stands(uow, actor, found):
        return found
    if verb == "relieve" and may(actor, "do", "post") and covers(uow, actor, "do", "post", found.area_id):
        return found
    raise NotVisible()


def _stands(uow: UnitOfWork, actor: Actor, found: PostDuty) -> bool:
    """Say whether an officer has begun a duty, or it is for him to begin: by name, or as one of its area."""
    if found.officer_id is not None:
        return found.officer_id == actor.user_id
    if found.officer_ids:
        return actor.user_id in found.officer_ids
    return covers(uow, actor, "do", "post", found.area_id)


def post_duty_for_officer(actor: Actor) -> ColumnElement[bool]:
    """Return the condition that a duty is one that the officer has begun, or that is for him to begin."""
    by_name = literal(actor.user_id, postgresql.UUID(as_uuid=True)) == any_(PostDuty.officer_ids)
    of_area = (func.cardinality(PostDuty.officer_ids) == 0) & within(
        PostDuty.area_id, roots(actor, "do", "post")
    )
    return or_(PostDuty.officer_id == actor.user_id, PostDuty.officer_id.is_(None) & or_(by_name, of_area))


def post_duty_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about a duty at a post shows."""
    return (
        joinedload(PostDuty.post).joinedload(Post.checkpoint),
        joinedload(PostDuty.plan),
        joinedload(PostDuty.area).defer(Area.geom),
        joinedload(PostDuty.officer),
        joinedload(PostDuty.relief_officer),
        selectinload(PostDuty.breaks),
        selectinload(PostDuty.absences),
    )


def level_switch(
    uow: UnitOfWork, actor: Actor, switch_id: UUID, *, verb: str = "see", lock: bool = False
) -> LevelSwitch:
    """The door to a duty level that was switched: in the actor's areas, or, to see it, above one of them."""
    query = select(LevelSwitch).where(LevelSwitch.id == switch_id).options(*level_switch_parts())
    if lock:
        query = query.with_for_update(of=LevelSwitch).execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    if Role.SYSTEM in actor.roles or (
        may(actor, verb, "duty_level") and covers(uow, actor, verb, "duty_level", found.area_id)
    ):
        return found
    below = select(Area.id).where(
        Area.id.in_(roots(actor, "see", "duty_level")), Area.ancestors.contains([found.area_id])
    )
    if verb == "see" and uow.session.scalar(below.limit(1)) is not None:
        return found
    raise NotVisible()


def level_switch_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about a duty level shows."""
    return (joinedload(LevelSwitch.area).defer(Area.geom), joinedload(LevelSwitch.by))


def patrol(
    uow: UnitOfWork, actor: Actor, patrol_id: UUID, *, verb: str = "see", lock: bool = False
) -> Patrol:
    """The door to a patrol: one in the actor's areas, or one that he as an officer has begun or may begin."""
    query = select(Patrol).where(Patrol.id == patrol_id).options(*patrol_parts())
    if lock:
        query = query.with_for_update(of=Patrol).execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    if Role.SYSTEM in actor.roles:
        return found
    if verb != "do" and may(actor, verb, "patrol") and covers(uow, actor, verb, "patrol", found.area_id):
        return found
    if verb in ("see", "do") and may(actor, "do", "patrol") and _is_his(uow, actor, found):
        return found
    raise NotVisible()


def _is_his(uow: UnitOfWork, actor: Actor, found: Patrol) -> bool:
    """Say whether an officer has begun a patrol, or it is for him to begin: by name, or as one of its area."""
    if found.officer_id is not None:
        return found.officer_id == actor.user_id
    if found.officer_ids:
        return actor.user_id in found.officer_ids
    return covers(uow, actor, "do", "patrol", found.area_id)


def for_officer(actor: Actor) -> ColumnElement[bool]:
    """Return the condition that a patrol is one that the officer has begun, or that is for him to begin."""
    by_name = literal(actor.user_id, postgresql.UUID(as_uuid=True)) == any_(Patrol.officer_ids)
    of_area = (func.cardinality(Patrol.officer_ids) == 0) & within(
        Patrol.area_id, roots(actor, "do", "patrol")
    )
    return or_(Patrol.officer_id == actor.user_id, Patrol.officer_id.is_(None) & or_(by_name, of_area))


def patrol_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about a patrol shows."""
    return (
        joinedload(Patrol.route),
        joinedload(Patrol.plan),
        joinedload(Patrol.area).defer(Area.geom),
        joinedload(Patrol.officer),
        selectinload(Patrol.points).joinedload(PatrolPoint.checkpoint),
        selectinload(Patrol.deviations),
        selectinload(Patrol.photos),
    )


def visit(uow: UnitOfWork, actor: Actor, visit_id: UUID, *, verb: str = "see", lock: bool = False) -> Visit:
    """The door to a visit: its checkpoint's area is among the actor's, or, to see it, it is the officer's own."""
    query = select(Visit).where(Visit.id == visit_id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    if may(actor, verb, "visit") and covers(uow, actor, verb, "visit", found.area_id):
        return found
    if verb == "see" and may(actor, "do", "patrol") and found.officer_id == actor.user_id:
        return found
    raise NotVisible()


def appraisal(
    uow: UnitOfWork, actor: Actor, appraisal_id: UUID, *, verb: str = "see", lock: bool = False
) -> Appraisal:
    """The door to an appraisal: its officer worked in the actor's areas, or, to contest it, it is the officer's own."""
    query = select(Appraisal).where(Appraisal.id == appraisal_id).options(*appraisal_parts())
    if lock:
        query = query.with_for_update(of=Appraisal).execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    if Role.SYSTEM in actor.roles:
        return found
    if verb == "contest":
        if may(actor, "contest", "appraisal") and found.officer_id == actor.user_id:
            return found
    elif may(actor, verb, "appraisal") and covers(uow, actor, verb, "appraisal", found.area_id):
        return found
    raise NotVisible()


def appraisal_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about an appraisal shows."""
    return (
        joinedload(Appraisal.month),
        joinedload(Appraisal.officer),
        joinedload(Appraisal.area).defer(Area.geom),
    )


def contest(
    uow: UnitOfWork, actor: Actor, contest_id: UUID, *, verb: str = "see", lock: bool = False
) -> AppraisalContest:
    """The door to an objection: that of its appraisal. Locked, the appraisal is locked before it."""
    about = uow.session.scalar(select(AppraisalContest.appraisal_id).where(AppraisalContest.id == contest_id))
    if about is None:
        raise NotVisible()
    appraisal(uow, actor, about, verb=verb, lock=lock)
    query = select(AppraisalContest).where(AppraisalContest.id == contest_id).options(*contest_parts())
    if lock:
        query = query.with_for_update(of=AppraisalContest).execution_options(populate_existing=True)
    return uow.session.scalars(query).one()


def contest_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about an objection shows."""
    about = joinedload(AppraisalContest.appraisal)
    return (
        joinedload(AppraisalContest.input),
        joinedload(AppraisalContest.decider),
        about.joinedload(Appraisal.month),
        about.joinedload(Appraisal.officer),
        about.joinedload(Appraisal.area).defer(Area.geom),
    )


def own_evidence(uow: UnitOfWork, actor: Actor, evidence_id: UUID, *, lock: bool = False) -> Evidence:
    """The door to one's own evidence."""
    require(actor, "record", "evidence")
    own = select(Evidence).where(Evidence.id == evidence_id, Evidence.officer_id == actor.user_id)
    return _found(uow, own.execution_options(populate_existing=lock), lock)


def evidence(uow: UnitOfWork, actor: Actor, evidence_id: UUID, *, lock: bool = False) -> Evidence:
    """The door to evidence: one's own, or what a report, task or patrol of his areas shows; the system's is any.

    A report shows what its officer took, and a task or a patrol what was taken by whoever resolved or went it: nobody
    brings another's photo before a desk by naming it.
    """
    query = select(Evidence).where(Evidence.id == evidence_id)
    if lock:
        query = query.with_for_update(of=Evidence).execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    if Role.SYSTEM in actor.roles:
        return found
    if found.officer_id == actor.user_id and may(actor, "record", "evidence"):
        return found
    if may(actor, "see", "evidence") and _is_shown_within(uow, actor, found):
        return found
    raise NotVisible()


def custody(uow: UnitOfWork, actor: Actor, evidence_id: UUID) -> Evidence:
    """The door to a custody log: of evidence from a shift in the actor's areas, or that is shown there."""
    require(actor, "see", "custody")
    found = uow.session.get(Evidence, evidence_id)
    if found is not None and (
        covers(uow, actor, "see", "custody", found.area_id) or _is_shown_within(uow, actor, found)
    ):
        return found
    raise NotVisible()


def evidence_to_share(uow: UnitOfWork, actor: Actor, evidence_id: UUID) -> Evidence:
    """The door to giving evidence out, locked: of a shift in the areas in which the actor is a supervisor."""
    require(actor, "share", "evidence")
    found = uow.session.scalar(
        select(Evidence)
        .where(Evidence.id == evidence_id)
        .with_for_update(of=Evidence)
        .execution_options(populate_existing=True)
    )
    if found is None or not covers(uow, actor, "share", "evidence", found.area_id):
        raise NotVisible()
    return found


def evidence_exports(uow: UnitOfWork, actor: Actor) -> ColumnElement[bool]:
    """Return the condition that the actor may know of a bundle: his own, or for an auditor one of his areas alone."""
    require(actor, "see", "evidence_export")
    own = EvidenceExport.requested_by == actor.user_id
    if not (audited := list(actor.areas(AUDITOR))):
        return own
    elsewhere = (
        exists()
        .where(
            EvidenceExportItem.export_id == EvidenceExport.id, Evidence.id == EvidenceExportItem.evidence_id
        )
        .where(not_(within(Evidence.area_id, audited)))
    )
    return or_(own, not_(elsewhere))


def evidence_export(uow: UnitOfWork, actor: Actor, export_id: UUID, *, own: bool = False) -> EvidenceExport:
    """The door to a bundle of evidence; what is in it only who asked for it gets, while he may still share."""
    may_know = evidence_exports(uow, actor)
    if own:
        require(actor, "share", "evidence")
        may_know = EvidenceExport.requested_by == actor.user_id
    query = select(EvidenceExport).where(EvidenceExport.id == export_id, may_know)
    found = uow.session.scalar(query.options(joinedload(EvidenceExport.requester)))
    if found is None:
        raise NotVisible()
    return found


def _is_shown_within(uow: UnitOfWork, actor: Actor, found: Evidence) -> bool:
    in_report = exists(
        select(literal(1)).where(
            found.shown_in_report(), within(Report.area_id, roots(actor, "see", "report"))
        )
    )
    in_task = exists(
        select(literal(1)).where(found.shown_in_task(), within(Task.area_id, roots(actor, "see", "task")))
    )
    in_patrol = exists(
        select(literal(1)).where(
            found.shown_in_patrol(), within(Patrol.area_id, roots(actor, "see", "patrol"))
        )
    )
    return bool(uow.session.scalar(select(or_(in_report, in_task, in_patrol))))


def alarm(uow: UnitOfWork, actor: Actor, alarm_id: UUID, *, verb: str = "see", lock: bool = False) -> Alarm:
    """The door to an alarm: one in the actor's areas, or, to see it, an SOS that the actor raised himself."""
    query = select(Alarm).where(Alarm.id == alarm_id).options(*alarm_parts())
    if lock:
        query = query.with_for_update(of=Alarm).execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    if Role.SYSTEM in actor.roles:
        return found
    if may(actor, verb, "alarm") and covers(uow, actor, verb, "alarm", found.area_id):
        return found
    if (
        verb == "see"
        and actor.user_id is not None
        and found.kind == "sos"
        and found.source_id == actor.user_id
    ):
        return found
    raise NotVisible()


def alarm_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about an alarm shows."""
    return (
        joinedload(Alarm.area).defer(Area.geom),
        joinedload(Alarm.officer),
        joinedload(Alarm.resident),
        joinedload(Alarm.acknowledger),
    )


def call(uow: UnitOfWork, actor: Actor, call_id: UUID, *, verb: str = "see", lock: bool = False) -> Call:
    """The door to a call: it was made in the actor's areas. An officer who was asked has ``call_answer``."""
    query = select(Call).where(Call.id == call_id).options(*call_parts())
    if lock:
        query = query.with_for_update(of=Call).execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    if Role.SYSTEM in actor.roles:
        return found
    if may(actor, verb, "call") and covers(uow, actor, verb, "call", found.area_id):
        return found
    raise NotVisible()


def call_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about a call shows."""
    return (joinedload(Call.area).defer(Area.geom), joinedload(Call.crew), joinedload(Call.creator))


def call_answer(uow: UnitOfWork, actor: Actor, call_id: UUID, *, lock: bool = False) -> CallAnswer:
    """The door to what a call asks of the actor himself.

    Locked, the call stands as it is until the transaction ends, and other officers answer meanwhile.
    """
    if not may(actor, "answer", "call"):
        raise NotVisible()
    if lock:
        uow.session.execute(select(Call.id).where(Call.id == call_id).with_for_update(read=True))
    query = select(CallAnswer).where(CallAnswer.call_id == call_id, CallAnswer.officer_id == actor.user_id)
    query = query.options(*call_answer_parts())
    if lock:
        query = query.with_for_update(of=CallAnswer).execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    return found


def call_answer_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about an officer's own call shows."""
    call = joinedload(CallAnswer.call)
    return (call.joinedload(Call.area).defer(Area.geom), call.joinedload(Call.crew))


def planned_shift(
    uow: UnitOfWork, actor: Actor, planned_id: UUID, *, verb: str = "see", lock: bool = False
) -> PlannedShift:
    """The door to a planned shift: one in the actor's areas; ``own`` is an officer's, of one of his."""
    query = select(PlannedShift).where(PlannedShift.id == planned_id).options(*planned_shift_parts())
    if lock:
        query = query.with_for_update(of=PlannedShift).execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    if verb == "own" and Role.OFFICER in actor.roles and found.officer_id == actor.user_id:
        return found
    if verb != "own" and may(actor, verb, "roster") and covers(uow, actor, verb, "roster", found.area_id):
        return found
    raise NotVisible()


def planned_shift_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about a planned shift shows."""
    return (joinedload(PlannedShift.officer), joinedload(PlannedShift.area).defer(Area.geom))


def roster_request(
    uow: UnitOfWork, actor: Actor, request_id: UUID, *, verb: str = "see", lock: bool = False
) -> RosterRequest:
    """The door to a request: about a shift in the actor's areas, for ``ask`` his own, for ``answer`` one to himself.

    Of a swap over two areas each side sees it, and who has both decides about it. The system's is any.
    """
    query = select(RosterRequest).where(RosterRequest.id == request_id).options(*roster_request_parts())
    if lock:
        query = query.with_for_update(of=RosterRequest).execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    if Role.SYSTEM in actor.roles:
        return found
    if verb in ("ask", "answer"):
        whose = found.officer_id if verb == "ask" else found.colleague_id
        if Role.OFFICER in actor.roles and whose == actor.user_id:
            return found
        raise NotVisible()
    covered = [
        covers(uow, actor, verb, "roster_request", planned.area_id)
        for planned in (found.planned, found.wanted)
        if planned is not None
    ]
    if may(actor, verb, "roster_request") and (any(covered) if verb == "see" else all(covered)):
        return found
    raise NotVisible()


def roster_request_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about a request shows."""
    return (
        joinedload(RosterRequest.officer),
        joinedload(RosterRequest.colleague),
        joinedload(RosterRequest.decider),
        joinedload(RosterRequest.planned).options(
            joinedload(PlannedShift.officer), joinedload(PlannedShift.area).defer(Area.geom)
        ),
        joinedload(RosterRequest.wanted).options(
            joinedload(PlannedShift.officer), joinedload(PlannedShift.area).defer(Area.geom)
        ),
    )


def hand_over(
    uow: UnitOfWork, actor: Actor, hand_over_id: UUID, *, verb: str = "see", lock: bool = False
) -> HandOver:
    """The door to a hand-over: one in the actor's areas; for ``give`` the officer's own, for ``take`` one to him.

    One that names nobody is for whoever else is an officer of its area. The system's is any.
    """
    query = select(HandOver).where(HandOver.id == hand_over_id).options(*hand_over_parts())
    if lock:
        query = query.with_for_update(of=HandOver).execution_options(populate_existing=True)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    if Role.SYSTEM in actor.roles:
        return found
    if verb == "give" and Role.OFFICER in actor.roles and found.giver_id == actor.user_id:
        return found
    if verb == "take" and Role.OFFICER in actor.roles:
        if found.taker_id is not None and found.taker_id == actor.user_id:
            return found
        for_anybody = found.taker_id is None and found.giver_id != actor.user_id
        if for_anybody and covers(uow, actor, "do", "hand_over", found.area_id):
            return found
    if (
        verb == "see"
        and may(actor, verb, "hand_over")
        and covers(uow, actor, verb, "hand_over", found.area_id)
    ):
        return found
    raise NotVisible()


def hand_over_parts() -> tuple[ExecutableOption, ...]:
    """Loader options for everything that an answer about a hand-over shows."""
    return (
        joinedload(HandOver.area).defer(Area.geom),
        joinedload(HandOver.giver),
        joinedload(HandOver.taker),
        joinedload(HandOver.shift),
        selectinload(HandOver.tasks).joinedload(HandOverTask.task).joinedload(Task.kind),
    )


def device(
    uow: UnitOfWork, actor: Actor, device_id: UUID, *, verb: str = "see", lock: bool = False
) -> Device:
    """The door to a device: its officer belongs to the actor's areas."""
    require(actor, verb, "device")
    scope = roots(actor, verb, "device")
    query = select(Device).where(Device.id == device_id, Device.officer_id.in_(officers_within(scope)))
    query = query.options(joinedload(Device.officer))
    if lock:
        query = query.with_for_update(of=Device)
    found = uow.session.scalar(query) if scope else None
    if found is None:
        raise NotVisible()
    return found


def user(uow: UnitOfWork, actor: Actor, user_id: UUID, *, verb: str = "see", lock: bool = False) -> User:
    """The door to an account, for those who administer the town."""
    require_in_whole_town(uow, actor, verb, "user")
    return _found(uow, select(User).where(User.id == user_id), lock)


def oneself(uow: UnitOfWork, actor: Actor, *, lock: bool = False) -> User:
    """The door to one's own account."""
    return uow.session.get_one(User, actor.user_id, with_for_update=lock or None)


def membership(
    uow: UnitOfWork, actor: Actor, membership_id: UUID, *, verb: str = "see", lock: bool = False
) -> Membership:
    """The door to a membership, for those who administer the town."""
    require_in_whole_town(uow, actor, verb, "user")
    return _found(uow, select(Membership).where(Membership.id == membership_id), lock)


def session(
    uow: UnitOfWork, actor: Actor, session_id: UUID, *, verb: str = "see", lock: bool = False
) -> Session:
    """The door to anybody's session, for those who administer the town."""
    require_in_whole_town(uow, actor, verb, "user")
    return _found(uow, select(Session).where(Session.id == session_id), lock)


def own_session(uow: UnitOfWork, actor: Actor, session_id: UUID, *, lock: bool = False) -> Session:
    """The door to one of one's own sessions."""
    return _found(
        uow, select(Session).where(Session.id == session_id, Session.user_id == actor.user_id), lock
    )


def _found(uow: UnitOfWork, query: Select[Row], lock: bool) -> Row:
    # No key changes, so whoever writes a row that only names this one (an offer, a notice) need not wait for it.
    found = uow.session.scalar(query.with_for_update(key_share=True) if lock else query)
    if found is None:
        raise NotVisible()
    return found


def imported_tracks_seen_by(actor: Actor, *, verb: str = "see") -> ColumnElement[bool]:
    """Return the condition on imported tracks: those of shifts in the actor's areas, and those he brought himself.

    An officer's lies within his shifts, so as with what his phone measured the area of the shift decides: where it
    begins and where it ends. What the operator brought without an officer is for those whose scope is the whole town.
    """
    scope = roots(actor, verb, "track")
    return or_(
        _on_a_shift_within(scope, ImportedTrack.started_at)
        & _on_a_shift_within(scope, ImportedTrack.ended_at),
        ImportedTrack.officer_id.is_(None) & (ImportedTrack.created_by == actor.user_id),
        ImportedTrack.officer_id.is_(None)
        & ImportedTrack.created_by.is_(None)
        & exists(select(literal(1)).where(Area.parent_id.is_(None), Area.id.in_(scope))),
    )


def _on_a_shift_within(scope: Sequence[UUID], at: ColumnExpressionArgument[Any]) -> ColumnElement[bool]:
    return exists(
        select(literal(1)).where(
            Shift.officer_id == ImportedTrack.officer_id,
            Shift.started_at <= at,
            func.coalesce(Shift.ended_at, Shift.closes_at) >= at,
            within(Shift.area_id, scope),
        )
    )


def imported_track(uow: UnitOfWork, actor: Actor, track_id: UUID, *, verb: str = "see") -> ImportedTrack:
    """The door to an imported track."""
    require(actor, verb, "track")
    found = uow.session.scalar(
        select(ImportedTrack).where(ImportedTrack.id == track_id, imported_tracks_seen_by(actor, verb=verb))
    )
    if found is None:
        raise NotVisible()
    return found


def notice(uow: UnitOfWork, actor: Actor, notice_id: UUID) -> Notice:
    """The door to a notice: it is the actor's own."""
    return _found(
        uow, select(Notice).where(Notice.id == notice_id, Notice.recipient_id == actor.user_id), False
    )


def own_address(uow: UnitOfWork, actor: Actor, address_id: UUID, *, lock: bool = False) -> Address:
    """The door to one of one's own addresses."""
    return _found(
        uow, select(Address).where(Address.id == address_id, Address.user_id == actor.user_id), lock
    )


def address(
    uow: UnitOfWork, actor: Actor, address_id: UUID, *, verb: str = "see", lock: bool = False
) -> Address:
    """The door to anybody's address, for those who administer the town."""
    require_in_whole_town(uow, actor, verb, "user")
    return _found(uow, select(Address).where(Address.id == address_id), lock)


def deliveries_in_scope(actor: Actor, *, verb: str = "see") -> ColumnElement[bool]:
    """Return the condition on deliveries: they are to people who hold a membership in the actor's areas."""
    scope = roots(actor, verb, "delivery")
    return Delivery.recipient_id.in_(
        select(Membership.user_id).where(Membership.ended_at.is_(None), within(Membership.area_id, scope))
    )


def delivery(
    uow: UnitOfWork, actor: Actor, delivery_id: UUID, *, verb: str = "see", lock: bool = False
) -> Delivery:
    """The door to a delivery: its recipient belongs to the actor's areas."""
    require(actor, verb, "delivery")
    query = select(Delivery).where(Delivery.id == delivery_id, deliveries_in_scope(actor, verb=verb))
    query = query.options(joinedload(Delivery.notice), joinedload(Delivery.recipient))
    if lock:
        query = query.with_for_update(of=Delivery)
    found = uow.session.scalar(query)
    if found is None:
        raise NotVisible()
    return found
