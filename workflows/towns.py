"""The town as its people see it: its areas, base maps and departments."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select

from backend.core.errors import Conflict, Invalid
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.paging import Page, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AreaKind, BasemapKind, DepartmentKind, Role
from backend.models import Area, Basemap, Department, Membership, Town, User
from workflows import access, journal


def find(uow: UnitOfWork, code: str | None) -> Town | None:
    """Return the named town, or the only one; enters it."""
    query = select(Town).where(Town.code == code) if code else select(Town)
    found = list(uow.session.scalars(query.limit(2)))
    if len(found) != 1:
        return None
    uow.enter_town(found[0].id)
    return found[0]


def describe(uow: UnitOfWork, town: Town) -> dict[str, Any]:
    """Return the town with its centre and bounds in degrees (west, south, east, north)."""
    box = func.ST_Extent(Area.geom)
    row = uow.session.execute(
        select(func.ST_XMin(box), func.ST_YMin(box), func.ST_XMax(box), func.ST_YMax(box)).where(
            Area.kind == AreaKind.TOWN
        )
    ).one()
    bounds = [float(v) for v in row] if row[0] is not None else None
    center = [(bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2] if bounds else None
    return {
        "id": town.id,
        "code": town.code,
        "name": town.name,
        "time_zone": town.time_zone,
        "locale": town.locale,
        "center": center,
        "bounds": bounds,
    }


def basemaps(uow: UnitOfWork) -> Sequence[Basemap]:
    """Return the base maps that the operator offers, in his order."""
    return list(uow.session.scalars(select(Basemap).order_by(Basemap.position).limit(20)))


def set_basemaps(
    uow: UnitOfWork, actor: Actor, wanted: Sequence[Mapping[str, Any]], *, command_id: UUID
) -> Sequence[Basemap]:
    """Replace the town's base maps.

    Raises:
        Invalid: a base map of a Chinese datum or provider lacks its approval number, or a URL is missing.
    """
    access.require(actor, "manage", "basemap")
    for position, entry in enumerate(wanted):
        if (entry["kind"] == BasemapKind.NONE) != (entry.get("url") is None):
            raise Invalid(basemaps={position: ["A base map has an address, unless its kind is none."]})
        if entry["datum"] != "wgs84" and not entry.get("approval_number"):
            raise Invalid(
                basemaps={position: ["A base map in a Chinese datum shows its approval number (审图号)."]}
            )
    uow.session.execute(delete(Basemap))
    made = [
        Basemap(id=new_id(), town_id=uow.town, position=position, created_at=uow.now, **entry)
        for position, entry in enumerate(wanted)
    ]
    uow.session.add_all(made)
    counts = {"count": len(made)}
    journal.write(uow, actor, "town", uow.town, "set_basemaps", command_id=command_id, data=counts)
    uow.session.flush()
    return made


def areas(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[dict[str, Any]]:
    """Return the areas that the actor works with, by code: those of his scope and the way up to the town."""
    scope = access.areas_in_scope(uow, actor, "see", "area")
    shown = select(func.unnest(Area.ancestors)).where(Area.id.in_(scope))
    center = func.ST_PointOnSurface(Area.geom)
    query = (
        select(
            Area.id,
            Area.parent_id,
            Area.kind,
            Area.code,
            Area.name,
            func.ST_X(center).label("x"),
            func.ST_Y(center).label("y"),
            func.ST_XMin(Area.geom).label("west"),
            func.ST_YMin(Area.geom).label("south"),
            func.ST_XMax(Area.geom).label("east"),
            func.ST_YMax(Area.geom).label("north"),
        )
        .where(Area.id.in_(shown))
        .order_by(Area.code)
        .limit(limit + 1)
    )
    if after:
        query = query.where(Area.code > after[0])
    rows = uow.session.execute(query).all()
    found = [
        {
            "id": r.id,
            "parent_id": r.parent_id,
            "kind": r.kind,
            "code": r.code,
            "name": r.name,
            "center": [r.x, r.y],
            "bounds": [r.west, r.south, r.east, r.north],
        }
        for r in rows
    ]
    return page(found, limit, lambda area: (area["code"],))


def departments(uow: UnitOfWork, actor: Actor) -> Sequence[Department]:
    """Return the town's departments."""
    access.require(actor, "use", "desk")
    return list(uow.session.scalars(select(Department).order_by(Department.kind, Department.id).limit(500)))


def make_department(
    uow: UnitOfWork, actor: Actor, kind: DepartmentKind, name: dict[str, str], *, command_id: UUID
) -> Department:
    """Make the department of a kind; a town has one of each. The command line alone calls this, as an admin.

    Raises:
        Conflict: ``department_exists``.
    """
    access.require_in_whole_town(uow, actor, "manage", "user")
    # The town's row keeps two of these apart: no index does.
    uow.session.execute(select(Area.id).where(Area.kind == AreaKind.TOWN).with_for_update())
    if uow.session.scalar(select(Department.id).where(Department.kind == kind).limit(1)) is not None:
        raise Conflict("department_exists", f"The town has a department of the kind {kind} already.")
    made = Department(id=new_id(), town_id=uow.town, kind=kind, name=name)
    uow.session.add(made)
    uow.session.flush()
    journal.write(
        uow, actor, "department", made.id, "create", command_id=command_id, data={"kind": str(kind)}
    )
    return made


def codes(uow: UnitOfWork) -> list[str]:
    """Return the codes of all towns."""
    return list(uow.session.scalars(select(Town.code).order_by(Town.code)))


def summary(uow: UnitOfWork) -> dict[str, Any]:
    """Return what the entered town is called and how much there is in it."""
    town = uow.session.get_one(Town, uow.town)
    counts = {
        name: uow.session.scalar(select(func.count()).select_from(model))
        for name, model in (("areas", Area), ("people", User), ("departments", Department))
    }
    return {"code": town.code, "name": town.name, "time_zone": town.time_zone, **counts}


def home_of(uow: UnitOfWork, actor: Actor) -> tuple[User, Sequence[Area]]:
    """Return a resident and the areas that he belongs to."""
    user = uow.session.get_one(User, actor.user_id)
    rows = uow.session.scalars(
        select(Area)
        .join(Membership, Membership.area_id == Area.id)
        .where(Membership.user_id == actor.user_id, Membership.ended_at.is_(None))
        .where(Membership.role.in_((Role.RESIDENT, Role.BUILDING_HEAD)))
        .order_by(Area.code)
        .limit(50)
    )
    return user, list(rows.unique())


def root_of(uow: UnitOfWork) -> UUID:
    """Return the area that is the whole town."""
    return uow.session.scalars(select(Area.id).where(Area.kind == AreaKind.TOWN)).one()
