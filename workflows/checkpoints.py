"""Checkpoints: where rounds pass, the fence around each, and what proves that somebody was there."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from geoalchemy2.shape import from_shape, to_shape
from shapely import Point
from sqlalchemy import func, or_, select
from sqlalchemy.orm import joinedload

from backend.core.errors import Conflict, Forbidden, Invalid, Stale, WrongState
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.native import NativeThreads
from backend.core.paging import Page, page, text_and_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Role
from backend.models import Area, Checkpoint, Route, RoutePoint
from geo import checkpoint_files
from geo.areas import AreaIndex
from geo.checkpoint_files import Format, Row
from geo.features import FeatureError
from workflows import access, journal, nearest, questions
from workflows.patrol_looks import place_of

FIELDS: Final = ("code", "name", "radius_m", "min_dwell_s", "questions", "tag_uid", "tag_signs")
RADIUS_M, MIN_DWELL_S = 25.0, 30
"""The fence of a checkpoint of which a file says no other."""
MOST_TOLD = 50
"""Refused rows that a refusal of the whole file names."""
READING: Final = NativeThreads(1, "files")
"""Where files are read: one takes up to a second, in which the sockets of this process go on."""


class Outcome(StrEnum):
    """What a file does with one row."""

    MADE = "made"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True)
class RowDone:
    """What became of a row, or would become of it; ``reason`` is why it is refused."""

    title: str
    code: str | None
    outcome: Outcome
    reason: str | None = None


@dataclass(frozen=True)
class Imported:
    """What a file did, or would do, row by row."""

    rows: list[RowDone]

    def count(self, outcome: Outcome) -> int:
        """Return how many rows had this outcome."""
        return sum(row.outcome is outcome for row in self.rows)

    @property
    def made(self) -> int:
        """How many checkpoints are new."""
        return self.count(Outcome.MADE)

    @property
    def changed(self) -> int:
        """How many checkpoints are not what they were."""
        return self.count(Outcome.CHANGED)


# --- Looks


def listed(
    uow: UnitOfWork,
    actor: Actor,
    *,
    area_id: UUID | None = None,
    words: str | None = None,
    retired: bool = False,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Checkpoint]:
    """Return the checkpoints of the actor's areas by code; with ``retired`` also those that are out of use."""
    query = select(Checkpoint).where(
        Checkpoint.town_id == uow.town,
        access.within(Checkpoint.area_id, access.roots(actor, "see", "checkpoint")),
    )
    if area_id is not None:
        query = query.where(access.within(Checkpoint.area_id, [area_id]))
    if words:
        query = query.where(
            or_(
                Checkpoint.code.icontains(words, autoescape=True),
                Checkpoint.name["zh-CN"].astext.icontains(words, autoescape=True),
                Checkpoint.name["en"].astext.icontains(words, autoescape=True),
            )
        )
    if not retired:
        query = query.where(Checkpoint.retired_at.is_(None))
    if key := text_and_id(after):
        query = query.where(
            or_(Checkpoint.code > key[0], (Checkpoint.code == key[0]) & (Checkpoint.id > key[1]))
        )
    query = query.options(joinedload(Checkpoint.area).defer(Area.geom))
    query = query.order_by(Checkpoint.code, Checkpoint.id).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda row: (row.code, row.id))


def actions(actor: Actor, checkpoint: Checkpoint) -> list[str]:
    """Return what the actor may do with a checkpoint now, of those whose areas are his to manage."""
    if not access.may(actor, "manage", "checkpoint") or checkpoint.retired_at is not None:
        return []
    return ["change", "retire"]


def routes_with(uow: UnitOfWork, checkpoint_id: UUID, *, lock: bool = False) -> list[Route]:
    """Return the routes in use that pass a checkpoint, by number."""
    query = (
        select(Route)
        .where(
            Route.retired_at.is_(None),
            Route.id.in_(select(RoutePoint.route_id).where(RoutePoint.checkpoint_id == checkpoint_id)),
        )
        .order_by(Route.number)
        .options(*access.route_parts())
    )
    if lock:
        query = query.with_for_update(of=Route).execution_options(populate_existing=True)
    return list(uow.session.scalars(query))


def area_holding(uow: UnitOfWork, area_ids: Iterable[UUID]) -> UUID:
    """Return the deepest area that holds all of these: an area holds itself and what lies below it."""
    chains = uow.session.scalars(select(Area.ancestors).where(Area.id.in_(set(area_ids)))).all()
    shared = set(chains[0]).intersection(*chains[1:])
    deepest = select(Area.id).where(Area.id.in_(shared)).order_by(func.cardinality(Area.ancestors).desc())
    return uow.session.scalars(deepest.limit(1)).one()


# --- Acts


def create(uow: UnitOfWork, actor: Actor, wanted: Mapping[str, Any], *, command_id: UUID) -> Checkpoint:
    """Make a checkpoint; ``wanted`` has all of ``FIELDS`` and a ``place`` (lon, lat).

    Raises:
        Invalid: the place is outside of the town, or a question cannot be answered.
        Forbidden: the place is outside of the actor's areas.
        Conflict: ``code_taken``, ``tag_taken``.
    """
    access.require(actor, "manage", "checkpoint")
    area = _area_at(uow, actor, wanted["place"])
    values = _values(wanted)
    _check(uow, values, None)
    made = Checkpoint(
        id=new_id(), town_id=uow.town, area_id=area.id, geom=_stored(*wanted["place"]), created_at=uow.now,
        version=1, **values,
    )  # fmt: skip
    uow.session.add(made)
    uow.session.flush()
    journal.write(uow, actor, "checkpoint", made.id, "create", command_id=command_id)
    return read(uow, made.id)


def change(
    uow: UnitOfWork,
    actor: Actor,
    checkpoint_id: UUID,
    wanted: Mapping[str, Any],
    *,
    version: int,
    command_id: UUID,
) -> Checkpoint:
    """Say anew what a checkpoint is, decided on ``version`` of it. The areas of routes that pass it follow its place.

    Raises:
        Stale: it has another version by now. WrongState: it is out of use. Invalid, Forbidden, Conflict: as ``create``,
        and ``checkpoint_needed`` where a route would leave the actor's areas.
    """
    access.checkpoint(uow, actor, checkpoint_id, verb="manage")
    # In the order of whoever changes a route: the routes, then what they pass.
    routes_with(uow, checkpoint_id, lock=True)
    found = access.checkpoint(uow, actor, checkpoint_id, verb="manage", lock=True)
    if found.version != version:
        raise Stale()
    if found.retired_at is not None:
        raise WrongState("retired", [])
    area = _area_at(uow, actor, wanted["place"])
    values = _values(wanted)
    _check(uow, values, found.id)
    changed = [name for name in FIELDS if not _is(getattr(found, name), values[name])]
    if values["tag_uid"] != found.tag_uid or not values["tag_signs"]:
        # Another tag counts from its own beginning.
        found.tag_counter = None
    for name in changed:
        setattr(found, name, values[name])
    if place_of(found) != tuple(wanted["place"]):
        changed.append("place")
        found.geom = _stored(*wanted["place"])
        _move(uow, actor, found, area.id, command_id=command_id)
    found.version += 1
    uow.session.flush()
    journal.write(
        uow, actor, "checkpoint", found.id, "change", command_id=command_id, data={"fields": changed}
    )
    return read(uow, found.id)


def retire(uow: UnitOfWork, actor: Actor, checkpoint_id: UUID, *, command_id: UUID) -> Checkpoint:
    """Take a checkpoint out of use; its visits stay, and its code too.

    Raises:
        WrongState: it is out of use already. Conflict: ``checkpoint_needed``, with the numbers of routes that pass it.
    """
    found = access.checkpoint(uow, actor, checkpoint_id, verb="manage", lock=True)
    if found.retired_at is not None:
        raise WrongState("retired", [])
    if routes := routes_with(uow, found.id):
        raise Conflict(
            "checkpoint_needed", "Routes in use pass this checkpoint.", routes=[one.number for one in routes]
        )
    found.retired_at, found.version = uow.now, found.version + 1
    uow.session.flush()
    journal.write(uow, actor, "checkpoint", found.id, "retire", command_id=command_id)
    return read(uow, found.id)


def read(uow: UnitOfWork, checkpoint_id: UUID) -> Checkpoint:
    """Return a checkpoint as it is now, with all that an answer shows."""
    return uow.session.scalars(
        select(Checkpoint)
        .where(Checkpoint.id == checkpoint_id)
        .options(joinedload(Checkpoint.area).defer(Area.geom))
        .execution_options(populate_existing=True)
    ).one()


def _stored(lon: float, lat: float) -> Any:
    return from_shape(Point(lon, lat), srid=4326)


def _values(wanted: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: wanted[name] for name in FIELDS}
    if values["tag_uid"] is not None:
        values["tag_uid"] = re.sub("[^0-9A-F]", "", values["tag_uid"].upper())
    return values


def _area_at(uow: UnitOfWork, actor: Actor, place: Sequence[float]) -> Area:
    area = nearest.area_at(uow, (place[0], place[1]))
    if area is None:
        raise Invalid("This place is outside of the town.", place=["outside"])
    if not access.covers(uow, actor, "manage", "checkpoint", area.id):
        raise Forbidden("area_not_yours", "This place is not in your areas.")
    return area


def _check(uow: UnitOfWork, values: Mapping[str, Any], own_id: UUID | None) -> None:
    questions.check(values["questions"])
    if values["tag_signs"] and values["tag_uid"] is None:
        raise Invalid("A tag that signs has a number.", tag_uid=["needed"])
    others = select(Checkpoint.id).where(
        Checkpoint.town_id == uow.town, Checkpoint.id != (own_id or new_id())
    )
    if uow.session.scalar(others.where(Checkpoint.code == values["code"])) is not None:
        raise Conflict("code_taken", "There is a checkpoint with this code already.")
    if values["tag_uid"] is not None and uow.session.scalar(
        others.where(Checkpoint.tag_uid == values["tag_uid"])
    ):
        raise Conflict("tag_taken", "This tag is at another checkpoint.")


def _move(
    uow: UnitOfWork, actor: Actor, checkpoint: Checkpoint, area_id: UUID, *, command_id: UUID | None
) -> None:
    """Put a checkpoint into another area, and the routes that pass it into the area that holds all of theirs."""
    if checkpoint.area_id == area_id:
        return
    checkpoint.area_id = area_id
    uow.session.flush()
    uow.session.expire(checkpoint, ["area"])
    for route in routes_with(uow, checkpoint.id, lock=True):
        holds = area_holding(uow, [point.checkpoint.area_id for point in route.points])
        if holds == route.area_id:
            continue
        if Role.SYSTEM not in actor.roles and not access.covers(uow, actor, "manage", "route", holds):
            raise Conflict(
                "checkpoint_needed", "A route that passes it would leave your areas.", routes=[route.number]
            )
        route.area_id, route.version = holds, route.version + 1
        journal.write(
            uow, actor, "route", route.id, "change", command_id=command_id, data={"fields": ["area_id"]}
        )


# --- Files


def import_file(
    uow: UnitOfWork, actor: Actor, data: bytes, form: Format, *, dry_run: bool = False, command_id: UUID
) -> Imported:
    """Keep every checkpoint of a file, each in the deepest area that holds it; with ``dry_run`` say what that would do.

    A code that exists gets the new place and names, and of the fence what the file says of it.

    Raises:
        Invalid: ``bad_checkpoints``: it is no such file, or, unless it is tried, a row is refused; nothing is kept.
    """
    try:
        rows = READING.run(checkpoint_files.checkpoints, data, form)
    except FeatureError as error:
        raise Invalid(str(error), "bad_checkpoints", document=[str(error)]) from None
    importing = _Importing(uow, actor, command_id, keeps=not dry_run)
    done = Imported([importing.take(row) for row in rows])
    refused = [str(row.reason) for row in done.rows if row.outcome is Outcome.REFUSED]
    if dry_run:
        return done
    if refused:
        raise Invalid(refused[0], "bad_checkpoints", document=refused[:MOST_TOLD])
    uow.session.flush()
    counts = {"made": done.made, "changed": done.changed}
    journal.write(uow, actor, "town", uow.town, "import_checkpoints", command_id=command_id, data=counts)
    return done


class _Importing:
    """One file on its way in: what the town has, and what each row does to it."""

    def __init__(self, uow: UnitOfWork, actor: Actor, command_id: UUID, *, keeps: bool) -> None:
        self.uow, self.actor, self.command_id, self.keeps = uow, actor, command_id, keeps
        self.everywhere = Role.SYSTEM in actor.roles
        self.scope: set[UUID] = set()
        if not self.everywhere:
            access.require(actor, "manage", "checkpoint")
            self.scope = set(access.areas_in_scope(uow, actor, "manage", "checkpoint"))
        rows = uow.session.execute(
            select(Area.id, Area.parent_id, Area.kind, Area.geom).where(Area.town_id == uow.town)
        )
        self.area_of = AreaIndex([(row.id, row.parent_id, row.kind, to_shape(row.geom)) for row in rows])
        if keeps:
            in_use = select(Route.id).where(Route.town_id == uow.town, Route.retired_at.is_(None))
            uow.session.execute(in_use.order_by(Route.number).with_for_update(key_share=True))
        points = select(Checkpoint).where(Checkpoint.town_id == uow.town).order_by(Checkpoint.id)
        if keeps:
            points = points.with_for_update(key_share=True)
        self.known = {point.code: point for point in uow.session.scalars(points)}

    def take(self, row: Row) -> RowDone:
        """Do what a row says, where it may be done."""
        if row.fault is not None or row.code is None or row.name is None:
            return RowDone(row.title, row.code, Outcome.REFUSED, row.fault)
        area_id = self.area_of(row.lon, row.lat)
        point = self.known.get(row.code)
        if area_id is None:
            swapped = self.area_of(row.lat, row.lon) is not None
            told = (
                "has latitude before longitude; longitude comes first" if swapped else "lies outside the town"
            )
        elif not (self.everywhere or area_id in self.scope):
            told = "lies outside your areas"
        elif point is not None and not (self.everywhere or point.area_id in self.scope):
            told = "has the code of a checkpoint outside your areas"
        elif point is not None and point.retired_at is not None:
            told = "has the code of a checkpoint that is out of use"
        elif point is None:
            self._make(row, row.code, row.name, area_id)
            return RowDone(row.title, row.code, Outcome.MADE)
        else:
            changed = self._change(row, point, row.name, area_id)
            return RowDone(row.title, row.code, Outcome.CHANGED if changed else Outcome.UNCHANGED)
        return RowDone(row.title, row.code, Outcome.REFUSED, f"{row.title} {told}.")

    def _make(self, row: Row, code: str, name: dict[str, str], area_id: UUID) -> None:
        if not self.keeps:
            return
        made = Checkpoint(
            id=new_id(),
            town_id=self.uow.town,
            area_id=area_id,
            code=code,
            name=name,
            geom=_stored(row.lon, row.lat),
            radius_m=RADIUS_M if row.radius_m is None else row.radius_m,
            min_dwell_s=MIN_DWELL_S if row.min_dwell_s is None else row.min_dwell_s,
            created_at=self.uow.now,
            version=1,
        )
        self.uow.session.add(made)
        journal.write(self.uow, self.actor, "checkpoint", made.id, "import", command_id=self.command_id)

    def _change(self, row: Row, point: Checkpoint, name: dict[str, str], area_id: UUID) -> bool:
        wanted: dict[str, Any] = {"name": name, "radius_m": row.radius_m, "min_dwell_s": row.min_dwell_s}
        changed = [
            key for key, value in wanted.items() if value is not None and not _is(getattr(point, key), value)
        ]
        moves = place_of(point) != (row.lon, row.lat)
        if not self.keeps or not (changed or moves):
            return moves or bool(changed)
        for key in changed:
            setattr(point, key, wanted[key])
        if moves:
            changed.append("place")
            point.geom = _stored(row.lon, row.lat)
            _move(self.uow, self.actor, point, area_id, command_id=self.command_id)
        point.version += 1
        journal.write(
            self.uow, self.actor, "checkpoint", point.id, "import", command_id=self.command_id,
            data={"fields": changed},
        )  # fmt: skip
        return True


def _is(stored: Any, wanted: Any) -> bool:
    """Say whether a value is stored already; the database has radii in single precision."""
    return math.isclose(stored, wanted, rel_tol=1e-6) if isinstance(wanted, float) else bool(stored == wanted)
