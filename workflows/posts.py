"""Posts 定点值守: places where somebody is to stand, with a fence and how much of the time he has to be in it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from geoalchemy2.shape import from_shape, to_shape
from shapely import Point
from sqlalchemy import select, update

from backend.core.errors import Conflict, Forbidden, Invalid, Stale, WrongState
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.paging import Page, bad_cursor, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import PostDutyState as D
from backend.models import Area, Checkpoint, Plan, Post, PostDuty
from workflows import access, journal, nearest, numbers

TERMS: Final = ("radius_m", "needed_percent", "break_s", "absent_after_s")
"""What a duty takes over from its post when it is planned."""
FIELDS: Final = ("name", *TERMS, "checkpoint_id", "instructions")


def place_of(found: Post | PostDuty) -> tuple[float, float]:
    """Return where a post is, longitude and latitude in degrees, WGS-84."""
    point = to_shape(found.geom)
    return (point.x, point.y)


def listed(
    uow: UnitOfWork,
    actor: Actor,
    *,
    area_id: UUID | None = None,
    retired: bool = False,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Post]:
    """Return the posts of the actor's areas by number; with ``retired`` also those that are out of use."""
    query = select(Post).where(
        Post.town_id == uow.town, access.within(Post.area_id, access.roots(actor, "see", "post"))
    )
    if area_id is not None:
        query = query.where(access.within(Post.area_id, [area_id]))
    if not retired:
        query = query.where(Post.retired_at.is_(None))
    if after is not None:
        if len(after) != 1 or not after[0].isdecimal() or len(after[0]) > 9:
            raise bad_cursor()
        query = query.where(Post.number > int(after[0]))
    query = query.options(*access.post_parts()).order_by(Post.number).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda row: (str(row.number),))


def actions(actor: Actor, post: Post) -> list[str]:
    """Return what the actor may do with a post now, of those whose areas are his to manage."""
    if post.retired_at is not None:
        return []
    able = ["change", "retire"] if access.may(actor, "manage", "post") else []
    return [*able, "assign"] if access.may(actor, "assign", "post") else able


def create(uow: UnitOfWork, actor: Actor, wanted: Mapping[str, Any], *, command_id: UUID) -> Post:
    """Make a post; ``wanted`` has all of ``FIELDS`` and a ``place`` (lon, lat).

    Raises:
        Invalid: the place is outside of the town, or the checkpoint is none in use in the actor's areas.
        Forbidden: ``area_not_yours``.
    """
    access.require(actor, "manage", "post")
    area = _area_at(uow, actor, wanted["place"])
    _check_checkpoint(uow, actor, wanted["checkpoint_id"])
    made = Post(
        id=new_id(), town_id=uow.town, number=numbers.next_number(uow, "post"), area_id=area.id,
        geom=_stored(wanted["place"]), created_at=uow.now, version=1, **{name: wanted[name] for name in FIELDS},
    )  # fmt: skip
    uow.session.add(made)
    uow.session.flush()
    journal.write(uow, actor, "post", made.id, "create", command_id=command_id)
    return read(uow, made.id)


def change(
    uow: UnitOfWork, actor: Actor, post_id: UUID, wanted: Mapping[str, Any], *, version: int, command_id: UUID
) -> Post:
    """Say anew what a post is, decided on ``version`` of it. What somebody has begun there goes by what it was.

    Raises:
        Stale: it has another version by now. WrongState: it is out of use. Invalid, Forbidden: as ``create``.
    """
    found = access.post(uow, actor, post_id, verb="manage", lock=True)
    if found.version != version:
        raise Stale()
    if found.retired_at is not None:
        raise WrongState("retired", [])
    area = _area_at(uow, actor, wanted["place"])
    _check_checkpoint(uow, actor, wanted["checkpoint_id"])
    changed = [name for name in FIELDS if getattr(found, name) != wanted[name]]
    for name in changed:
        setattr(found, name, wanted[name])
    if place_of(found) != tuple(wanted["place"]):
        changed.append("place")
        found.geom, found.area_id = _stored(wanted["place"]), area.id
    found.version += 1
    uow.session.flush()
    if {*TERMS, "place"} & set(changed):
        to_come = update(PostDuty).where(PostDuty.post_id == found.id, PostDuty.state == D.PLANNED)
        uow.session.execute(
            to_come.values(
                geom=_stored(wanted["place"]), area_id=found.area_id, version=PostDuty.version + 1,
                **{name: wanted[name] for name in TERMS},
            ),
            execution_options={"synchronize_session": False},
        )  # fmt: skip
    journal.write(uow, actor, "post", found.id, "change", command_id=command_id, data={"fields": changed})
    return read(uow, found.id)


def retire(uow: UnitOfWork, actor: Actor, post_id: UUID, *, command_id: UUID) -> Post:
    """Take a post out of use; what was stood there stays.

    Raises:
        WrongState: it is out of use already. Conflict: ``post_needed``; plans in force go by it, or somebody stands
            there, or is to.
    """
    found = access.post(uow, actor, post_id, verb="manage", lock=True)
    if found.retired_at is not None:
        raise WrongState("retired", [])
    plans = select(Plan.id).where(Plan.post_id == found.id, Plan.retired_at.is_(None)).order_by(Plan.id)
    duties = select(PostDuty.id).where(
        PostDuty.post_id == found.id, PostDuty.state.in_([D.PLANNED, D.STANDING]), PostDuty.ends_at > uow.now
    )
    plan_ids, duty_ids = uow.session.scalars(plans).all(), uow.session.scalars(duties.limit(20)).all()
    if plan_ids or duty_ids:
        raise Conflict(
            "post_needed", "Plans or duties to come are of this post.", plan_ids=[str(one) for one in plan_ids],
            duty_ids=[str(one) for one in duty_ids],
        )  # fmt: skip
    found.retired_at, found.version = uow.now, found.version + 1
    uow.session.flush()
    journal.write(uow, actor, "post", found.id, "retire", command_id=command_id)
    return read(uow, found.id)


def read(uow: UnitOfWork, post_id: UUID) -> Post:
    """Return a post as it is now, with all that an answer shows."""
    query = select(Post).where(Post.id == post_id).options(*access.post_parts())
    return uow.session.scalars(query.execution_options(populate_existing=True)).one()


def _stored(place: Sequence[float]) -> Any:
    return from_shape(Point(place[0], place[1]), srid=4326)


def _area_at(uow: UnitOfWork, actor: Actor, place: Sequence[float]) -> Area:
    area = nearest.area_at(uow, (place[0], place[1]))
    if area is None:
        raise Invalid("This place is outside of the town.", place=["outside"])
    if not access.covers(uow, actor, "manage", "post", area.id):
        raise Forbidden("area_not_yours", "This place is not in your areas.")
    return area


def _check_checkpoint(uow: UnitOfWork, actor: Actor, checkpoint_id: UUID | None) -> None:
    """Refuse a checkpoint whose label is to prove a relief, unless it is one in use in the actor's areas."""
    if checkpoint_id is None:
        return
    query = select(Checkpoint.id).where(
        Checkpoint.id == checkpoint_id,
        Checkpoint.retired_at.is_(None),
        access.within(Checkpoint.area_id, access.roots(actor, "manage", "post")),
    )
    if uow.session.scalar(query) is None:
        raise Invalid("This is no checkpoint in use in your areas.", checkpoint_id=["unknown"])
