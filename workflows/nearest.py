"""The nearest suitable officers: for the desk to choose from, and for the system to go on with."""

from collections.abc import Sequence
from uuid import UUID

from geoalchemy2.shape import to_shape
from sqlalchemy import func, select

from backend.core.errors import NotVisible
from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AreaKind, Role, TaskSource
from backend.models import Alarm, Area, Task, TaskKind
from geo import queries
from geo.queries import Near
from workflows import access, task_kinds

RECENT_S = 300.0
"""An officer whose last fix is older is somewhere else by now."""

Place = tuple[float, float]
"""Longitude and latitude in degrees, WGS-84."""


def place_of(task: Task) -> Place:
    """Return where a task is."""
    point = to_shape(task.geom)
    return (point.x, point.y)


def area_at(uow: UnitOfWork, place: Place) -> Area | None:
    """Return the deepest area that holds a place; None outside of the town."""
    point = func.ST_SetSRID(func.ST_MakePoint(*place), 4326)
    holds = select(Area).where(func.ST_Covers(Area.geom, point))
    return uow.session.scalar(holds.order_by(func.cardinality(Area.ancestors).desc(), Area.id).limit(1))


def to_place(
    uow: UnitOfWork,
    actor: Actor,
    place: Place,
    *,
    kind_id: UUID | None,
    alarm_id: UUID | None = None,
    busy_too: bool,
    limit: int,
) -> list[Near]:
    """Return the officers of the actor's areas nearest to a place, for a kind of task or for any.

    For an alarm the officer whom it is about is left out: nobody is sent to help himself.

    Raises:
        NotVisible: there is no such kind, or no such alarm in the actor's areas.
    """
    about = access.alarm(uow, actor, alarm_id, verb="handle").officer_id if alarm_id is not None else None
    kind = uow.session.get(TaskKind, kind_id) if kind_id is not None else None
    if kind_id is not None and kind is None:
        raise NotVisible()
    return _found(
        uow,
        place,
        kind,
        scope=access.roots(actor, "dispatch", "task"),
        busy_too=busy_too,
        without=() if about is None else (about,),
        limit=limit,
    )


def to_task(uow: UnitOfWork, actor: Actor, task_id: UUID, *, busy_too: bool, limit: int) -> list[Near]:
    """Return the officers nearest to a task who are suitable and do not have it."""
    task = access.task(uow, actor, task_id, verb="dispatch")
    having = [share.officer_id for share in task.assignments if share.ended_at is None]
    return candidates(uow, actor, task, busy_too=busy_too, without=having, limit=limit)


def _who_called(uow: UnitOfWork, task: Task) -> Sequence[UUID]:
    """Return the officer whom an alarm's task is about: nobody is sent to help himself."""
    if task.source != TaskSource.ALARM:
        return ()
    called = uow.session.scalar(select(Alarm.officer_id).where(Alarm.id == task.source_id))
    return () if called is None else (called,)


def candidates(
    uow: UnitOfWork, actor: Actor, task: Task, *, busy_too: bool, without: Sequence[UUID], limit: int
) -> list[Near]:
    """Return whom a task can be offered to: by the desk within its areas, by the system in the task's community.

    An SOS goes to the nearest of the whole town. Whoever patrols a greater area that holds the place is of it too, as
    far as the system is concerned.
    """
    scope: Sequence[UUID] = access.roots(actor, "dispatch", "task")
    above: Sequence[UUID] = ()
    if Role.SYSTEM in actor.roles:
        above = task.area.ancestors
        community = select(Area.id).where(Area.id.in_(above), Area.kind == AreaKind.COMMUNITY)
        # A place in no community is the whole town's, and so is a call for help: who is nearest comes, from anywhere.
        scope = [] if task.kind.code == task_kinds.SOS else list(uow.session.scalars(community))
        scope = scope or list(above)
    return _found(
        uow,
        place_of(task),
        task.kind,
        scope=scope,
        above=above,
        busy_too=busy_too,
        without=[*without, *_who_called(uow, task)],
        limit=limit,
    )


def _found(
    uow: UnitOfWork,
    place: Place,
    kind: TaskKind | None,
    *,
    scope: Sequence[UUID],
    above: Sequence[UUID] = (),
    busy_too: bool,
    without: Sequence[UUID] = (),
    limit: int,
) -> list[Near]:
    return queries.nearest(
        uow.session,
        place,
        now=uow.now,
        recent_s=RECENT_S,
        scope=scope,
        above=above,
        kinds=kind.officer_kinds if kind else (),
        skill=kind.skill if kind else None,
        busy_too=busy_too,
        without=without,
        limit=limit,
    )
