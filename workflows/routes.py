"""Routes: rounds as they are planned, over which checkpoints, in which order, and along which way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from geoalchemy2 import Geography
from geoalchemy2.shape import from_shape
from shapely import LineString
from sqlalchemy import cast, delete, func, or_, select
from sqlalchemy.orm import joinedload, selectinload

from backend.core.errors import Conflict, Forbidden, Invalid, Stale, WrongState
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.paging import Page, bad_cursor, page
from backend.core.uow import UnitOfWork
from backend.models import Area, Checkpoint, Plan, Route, RoutePoint
from geo import checkpoint_files
from geo.checkpoint_files import MOST_VERTICES, Format, Line
from geo.features import FeatureError
from workflows import access, journal, numbers
from workflows.checkpoints import READING, area_holding
from workflows.patrol_looks import line_of

FIELDS: Final = ("name", "sequence", "allowed_s", "corridor_m")
MOST_POINTS = 200
NEAR_M = 30.0
"""A checkpoint that is no farther from a line is proposed for its route."""
_AROUND_DEG = 0.001


@dataclass(frozen=True)
class Proposal:
    """A way that a file draws, and the checkpoints along it in their order."""

    line: Line
    checkpoints: list[Checkpoint]


# --- Looks


def listed(
    uow: UnitOfWork,
    actor: Actor,
    *,
    area_id: UUID | None = None,
    checkpoint_id: UUID | None = None,
    words: str | None = None,
    retired: bool = False,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Route]:
    """Return the routes of the actor's areas by number; with ``retired`` also those that are out of use."""
    query = select(Route).where(
        Route.town_id == uow.town, access.within(Route.area_id, access.roots(actor, "see", "route"))
    )
    if area_id is not None:
        query = query.where(access.within(Route.area_id, [area_id]))
    if checkpoint_id is not None:
        passes = select(RoutePoint.route_id).where(RoutePoint.checkpoint_id == checkpoint_id)
        query = query.where(Route.id.in_(passes))
    if words:
        query = query.where(
            or_(
                Route.name["zh-CN"].astext.icontains(words, autoescape=True),
                Route.name["en"].astext.icontains(words, autoescape=True),
            )
        )
    if not retired:
        query = query.where(Route.retired_at.is_(None))
    if after is not None:
        if len(after) != 1 or not after[0].isdecimal() or len(after[0]) > 9:
            raise bad_cursor()
        query = query.where(Route.number > int(after[0]))
    query = query.options(joinedload(Route.area).defer(Area.geom), selectinload(Route.points))
    query = query.order_by(Route.number).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda row: (str(row.number),))


def actions(actor: Actor, route: Route) -> list[str]:
    """Return what the actor may do with a route now, of those whose areas are his to manage."""
    if not access.may(actor, "manage", "route") or route.retired_at is not None:
        return []
    return ["change", "retire"]


def proposals(uow: UnitOfWork, actor: Actor, data: bytes, form: Format) -> list[Proposal]:
    """Return the lines of a file with the checkpoints within ``NEAR_M`` of each; nothing is kept.

    Raises:
        Invalid: ``bad_line``, with a sentence that says why.
    """
    access.require(actor, "manage", "route")
    try:
        drawn = READING.run(checkpoint_files.lines, data, form)
    except FeatureError as error:
        raise Invalid(str(error), "bad_line", document=[str(error)]) from None
    return [Proposal(line, _along(uow, actor, line)) for line in drawn]


def _along(uow: UnitOfWork, actor: Actor, line: Line) -> list[Checkpoint]:
    way = from_shape(LineString(line.places), srid=4326)
    near = (
        select(Checkpoint)
        .where(
            Checkpoint.town_id == uow.town,
            Checkpoint.retired_at.is_(None),
            access.within(Checkpoint.area_id, access.roots(actor, "manage", "route")),
            # The box is what the index knows; degrees of longitude are the shorter ones.
            Checkpoint.geom.op("&&")(func.ST_Expand(way, _AROUND_DEG)),
            func.ST_DWithin(cast(Checkpoint.geom, Geography), cast(way, Geography), NEAR_M),
        )
        .order_by(func.ST_LineLocatePoint(way, Checkpoint.geom), Checkpoint.code)
        .limit(MOST_POINTS)
    )
    return list(uow.session.scalars(near))


# --- Acts


def create(uow: UnitOfWork, actor: Actor, wanted: Mapping[str, Any], *, command_id: UUID) -> Route:
    """Make a route; ``wanted`` has all of ``FIELDS``, a ``line`` of (lon, lat) or None, and ``checkpoint_ids``.

    Raises:
        Invalid: a checkpoint is not there, out of use or named twice, or the corridor has no line.
        Forbidden: the checkpoints belong to no area of the actor's.
    """
    access.require(actor, "manage", "route")
    points = _points(uow, actor, wanted)
    area_id = _area_of(uow, actor, points)
    route = Route(
        id=new_id(), town_id=uow.town, number=numbers.next_number(uow, "route"), area_id=area_id,
        line=_drawn(wanted), created_at=uow.now, version=1, **{name: wanted[name] for name in FIELDS},
    )  # fmt: skip
    uow.session.add(route)
    uow.session.flush()
    _put_points(uow, route, points)
    journal.write(uow, actor, "route", route.id, "create", command_id=command_id)
    return read(uow, route.id)


def change(
    uow: UnitOfWork,
    actor: Actor,
    route_id: UUID,
    wanted: Mapping[str, Any],
    *,
    version: int,
    command_id: UUID,
) -> Route:
    """Say anew what a route is, decided on ``version`` of it. Patrols that exist go by what it was.

    Raises:
        Stale: it has another version by now. WrongState: it is out of use. Invalid, Forbidden: as ``create``.
    """
    route = access.route(uow, actor, route_id, verb="manage", lock=True)
    if route.version != version:
        raise Stale()
    if route.retired_at is not None:
        raise WrongState("retired", [])
    points = _points(uow, actor, wanted)
    area_id, drawn, line = _area_of(uow, actor, points), _drawn(wanted), wanted["line"]
    changed = [name for name in FIELDS if getattr(route, name) != wanted[name]]
    if line_of(route) != (None if line is None else [list(map(float, place)) for place in line]):
        changed.append("line")
    if [point.checkpoint_id for point in route.points] != [point.id for point in points]:
        changed.append("checkpoints")
    for name in FIELDS:
        setattr(route, name, wanted[name])
    route.line, route.area_id, route.version = drawn, area_id, route.version + 1
    uow.session.flush()
    _put_points(uow, route, points)
    journal.write(uow, actor, "route", route.id, "change", command_id=command_id, data={"fields": changed})
    return read(uow, route.id)


def retire(uow: UnitOfWork, actor: Actor, route_id: UUID, *, command_id: UUID) -> Route:
    """Take a route out of use; its patrols stay.

    Raises:
        WrongState: it is out of use already. Conflict: ``route_needed``, plans in force go by it.
    """
    route = access.route(uow, actor, route_id, verb="manage", lock=True)
    if route.retired_at is not None:
        raise WrongState("retired", [])
    in_force = select(Plan.id).where(Plan.route_id == route.id, Plan.retired_at.is_(None)).order_by(Plan.id)
    if plans := uow.session.scalars(in_force).all():
        raise Conflict(
            "route_needed", "Plans in force go by this route.", plan_ids=[str(plan_id) for plan_id in plans]
        )
    route.retired_at, route.version = uow.now, route.version + 1
    uow.session.flush()
    journal.write(uow, actor, "route", route.id, "retire", command_id=command_id)
    return read(uow, route.id)


def read(uow: UnitOfWork, route_id: UUID) -> Route:
    """Return a route as it is now, with all that an answer shows."""
    query = select(Route).where(Route.id == route_id).options(*access.route_parts())
    return uow.session.scalars(query.execution_options(populate_existing=True)).one()


def _points(uow: UnitOfWork, actor: Actor, wanted: Mapping[str, Any]) -> list[Checkpoint]:
    """Return the checkpoints that a route is to pass, in its order, held so that none is retired meanwhile."""
    ids: list[UUID] = wanted["checkpoint_ids"]
    if len(set(ids)) < len(ids):
        raise Invalid("A route passes each checkpoint once.", checkpoint_ids=["twice"])
    query = select(Checkpoint).where(
        Checkpoint.id.in_(ids),
        Checkpoint.retired_at.is_(None),
        access.within(Checkpoint.area_id, access.roots(actor, "manage", "route")),
    )
    found = {
        row.id: row for row in uow.session.scalars(query.order_by(Checkpoint.id).with_for_update(read=True))
    }
    if missing := [str(one) for one in ids if one not in found]:
        raise Invalid("Some of these are no checkpoints in use in your areas.", checkpoint_ids=missing)
    return [found[one] for one in ids]


def _area_of(uow: UnitOfWork, actor: Actor, points: Sequence[Checkpoint]) -> UUID:
    area_id = area_holding(uow, [point.area_id for point in points])
    if not access.covers(uow, actor, "manage", "route", area_id):
        raise Forbidden("area_not_yours", "Only an area that is not yours holds all of these checkpoints.")
    return area_id


def _drawn(wanted: Mapping[str, Any]) -> Any:
    line = wanted["line"]
    if line is None:
        if wanted["corridor_m"] is not None:
            raise Invalid("A corridor goes along a line.", corridor_m=["no line"])
        return None
    if len(line) > MOST_VERTICES or len({tuple(place) for place in line}) < 2:
        raise Invalid(f"A line has 2 to {MOST_VERTICES} corners and leads somewhere.", line=["corners"])
    return from_shape(LineString(line), srid=4326)


def _put_points(uow: UnitOfWork, route: Route, points: Sequence[Checkpoint]) -> None:
    uow.session.execute(delete(RoutePoint).where(RoutePoint.route_id == route.id))
    uow.session.expire(route, ["points"])
    uow.session.add_all(
        RoutePoint(route_id=route.id, position=position, town_id=uow.town, checkpoint_id=point.id)
        for position, point in enumerate(points)
    )
    uow.session.flush()
