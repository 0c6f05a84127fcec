"""The ground of a town of one's own, brought in from files: its areas and roads.

All of a file is kept or none of it: one area that cannot be indexed would take every fix of the town out of its area.
The command line alone calls this; whoever may run it holds the data folder's keys, so no role is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import shapely
from geoalchemy2.shape import from_shape, to_shape
from sqlalchemy import delete, select

from backend.core.errors import Conflict, Invalid
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.listen import AREAS as AREAS_CHANGED
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AreaKind, RoadKind
from backend.models import Area, Road, Town
from geo import features
from geo.areas import AreaIndex
from geo.features import LONGEST_CODE, Feature, FeatureError
from workflows import journal, task_kinds

MOST_OUTSIDE = 0.1
"""How much of an area may lie outside the one above it: borders are drawn by different hands."""


@dataclass(frozen=True)
class Imported:
    """What a file did."""

    made: int
    changed: int


def make_town(
    uow: UnitOfWork, *, code: str, name: dict[str, str], time_zone: str, locale: str, outline: bytes
) -> Town:
    """Make a town with its root area and the usual kinds of task, in the unit of work of the database's owner.

    The application makes none.

    Raises:
        Invalid: ``bad_areas``, the outline is not one sound polygon.
        Conflict: ``town_exists``.
    """
    try:
        drawn = features.read(outline, features.AREAS)
    except FeatureError as error:
        raise _invalid(error) from None
    if len(drawn) != 1:
        raise _invalid(f"The outline has {len(drawn)} features; a town's is one.")
    if uow.session.scalar(select(Town.id).where(Town.code == code)) is not None:
        raise Conflict("town_exists", f"There is a town with the code {code} already.")
    town = Town(
        id=new_id(), code=code, name=name, time_zone=time_zone, locale=locale, calendar={}, created_at=uow.now
    )
    uow.session.add(town)
    uow.session.flush()
    uow.enter_town(town.id)
    root_id = new_id()
    uow.session.add(
        Area(
            id=root_id, town_id=town.id, parent_id=None, ancestors=[root_id], kind=AreaKind.TOWN, code=code, name=name,
            geom=_stored(drawn[0].geometry),
        )
    )  # fmt: skip
    uow.session.flush()
    journal.write(uow, system_actor(town.id), "town", town.id, "create")
    task_kinds.add_defaults(uow, system_actor(town.id))
    return town


def import_areas(uow: UnitOfWork, actor: Actor, data: bytes, *, command_id: UUID) -> Imported:
    """Keep every area of a GeoJSON document. A code that exists gets the new outline and names.

    Raises:
        Invalid: ``bad_areas``, with a sentence that names the feature; nothing is kept.
    """
    known = {area.code: area for area in uow.session.scalars(select(Area).with_for_update())}
    drawn = {area.id: to_shape(area.geom) for area in known.values()}
    touched: dict[UUID, Feature] = {}
    made = 0
    try:
        for feature in features.without_doubles(features.read(data, features.AREAS)):
            kind, name, parent = feature.kind(AreaKind), feature.name, _parent_of(feature, known)
            area = known.get(feature.code)
            if area is None:
                if parent is None:
                    raise FeatureError(f"{feature.title} is a second town; there is one.")
                area_id = new_id()
                area = known[feature.code] = Area(
                    id=area_id, town_id=uow.town, parent_id=parent.id, ancestors=[*parent.ancestors, area_id],
                    kind=kind, code=feature.code, name=name, geom=_stored(feature.geometry),
                )  # fmt: skip
                uow.session.add(area)
                made += 1
            elif area.kind != kind or area.parent_id != (parent.id if parent else None):
                raise FeatureError(
                    f"{feature.title} exists as another kind or below another area; that stays."
                )
            else:
                area.name, area.geom = name, _stored(feature.geometry)
            drawn[area.id] = feature.geometry
            touched[area.id] = feature
        _check_tree(known, drawn, touched)
        # As every process will build it from the rows: what it would refuse is not kept.
        AreaIndex([(area.id, area.parent_id, area.kind, drawn[area.id]) for area in known.values()])
    except ValueError as error:
        raise _invalid(error) from None
    uow.session.flush()
    for area_id in touched:
        journal.write(uow, actor, "area", area_id, "import", command_id=command_id)
    uow.notify(AREAS_CHANGED, {"town_id": str(uow.town)})
    return Imported(made, len(touched) - made)


def import_roads(uow: UnitOfWork, actor: Actor, data: bytes, *, command_id: UUID) -> Imported:
    """Keep every road of a GeoJSON document in the place of those that the town had.

    A road that runs as it ran stays the one it was: when its parts were walked is known by it.

    Raises:
        Invalid: ``bad_areas``, with a sentence that names the feature; nothing is kept.
    """
    town = _outline_of(uow)
    known = {to_shape(road.geom).wkb: road for road in uow.session.scalars(select(Road))}
    kept: set[UUID] = set()
    made: list[Road] = []
    try:
        for feature in features.without_doubles(features.read(data, features.LINES)):
            _check_meets(feature, town)
            kind, name = feature.kind(RoadKind), feature.name
            road = known.get(feature.geometry.wkb)
            if road is None:
                geom = from_shape(feature.geometry, srid=4326)
                made.append(Road(id=new_id(), town_id=uow.town, kind=kind, name=name, geom=geom))
            elif road.id not in kept:
                road.kind, road.name = kind, name
                kept.add(road.id)
    except FeatureError as error:
        raise _invalid(error) from None
    gone = len(uow.session.scalars(delete(Road).where(Road.id.not_in(kept)).returning(Road.id)).all())
    uow.session.add_all(made)
    uow.session.flush()
    roads = [*made, *kept]
    counts = {"count": len(roads), "stayed": len(kept), "gone": gone}
    journal.write(uow, actor, "town", uow.town, "import_roads", command_id=command_id, data=counts)
    return Imported(len(roads), 0)


def _parent_of(feature: Feature, known: dict[str, Area]) -> Area | None:
    if feature.kind(AreaKind) is AreaKind.TOWN:
        if feature.about.get("parent"):
            raise FeatureError(f"{feature.title} is the town, which has no parent.")
        return None
    parent = known.get(feature.text("parent", LONGEST_CODE))
    if parent is None or parent.code == feature.code:
        raise FeatureError(f"{feature.title} needs a parent that exists or stands before it in the file.")
    return parent


def _check_tree(known: dict[str, Area], drawn: dict[UUID, Any], touched: dict[UUID, Feature]) -> None:
    """Whatever was drawn anew still lies in what is above it, and so does what lies below it."""
    codes = {area.id: area.code for area in known.values()}
    for area in known.values():
        if area.parent_id is None or not {area.id, area.parent_id} & touched.keys():
            continue
        inner, outer = drawn[area.id], drawn[area.parent_id]
        if _share_outside(inner, outer) <= MOST_OUTSIDE:
            continue
        above = codes[area.parent_id]
        if area.id not in touched:
            title = touched[area.parent_id].title
            raise FeatureError(f"{title} would leave out the area {area.code}, which lies below it.")
        title = touched[area.id].title
        if _share_outside(features.swapped(inner), outer) <= MOST_OUTSIDE:
            raise FeatureError(f"{title} has latitude before longitude; longitude comes first.")
        raise FeatureError(f"{title} lies outside its parent {above}.")


def _share_outside(inner: Any, outer: Any) -> float:
    shapely.prepare(outer)
    if shapely.covers(outer, inner):
        return 0.0
    return 1.0 - float(shapely.area(shapely.intersection(_sound(inner), _sound(outer))) / shapely.area(inner))


def _sound(polygon: Any) -> Any:
    """Rows of earlier versions were not looked at before they were kept."""
    return polygon if shapely.is_valid(polygon) else shapely.make_valid(polygon)


def _outline_of(uow: UnitOfWork) -> Any:
    return to_shape(uow.session.scalars(select(Area.geom).where(Area.parent_id.is_(None))).one())


def _check_meets(feature: Feature, town: Any) -> None:
    if shapely.intersects(town, feature.geometry):
        return
    if shapely.intersects(town, features.swapped(feature.geometry)):
        raise FeatureError(f"{feature.title} has latitude before longitude; longitude comes first.")
    raise FeatureError(f"{feature.title} lies outside the town.")


def _stored(polygon: Any) -> Any:
    parts: Sequence[Any] = polygon.geoms if polygon.geom_type == "MultiPolygon" else [polygon]
    return from_shape(shapely.MultiPolygon(list(parts)), srid=4326)


def _invalid(error: object) -> Invalid:
    return Invalid(str(error), "bad_areas", document=[str(error)])
