"""Plans: when a route is to be gone or a post to be stood at, and by whom, as rules in the town's time.

They are made ahead into patrols and duties. A plan makes what comes while one of its levels is in force
(``duty_levels``); where a switch has changed that, it is looked at anew: what is not in force any more is called off,
what now is is made, and what somebody has begun goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, or_, select
from sqlalchemy.orm import joinedload

from backend.core.errors import Invalid, Stale, WrongState
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import DutyLevel
from backend.models import Area, Plan, Post, Route, Town, User
from geo import recurrence
from geo.recurrence import RuleError, Series
from workflows import access, duty_levels, journal, officers, patrols, post_duties

WHEN: Final = ("rule", "starts_on", "starts_at", "ends_on")
OF: Final = ("route_id", "post_id")
FIELDS: Final = ("name", *WHEN, "late_after_s", "window_s", "lasts_s", "officer_ids", "levels")
MOST_OFFICERS = 50
AHEAD = timedelta(hours=36)
"""So far ahead patrols are made: an officer sees tomorrow's when he goes home."""
SLACK = timedelta(minutes=5)
"""A plan whose patrols are made to within so much of ``AHEAD`` is not looked at again yet."""
PREVIEWED = 10
AT_ONCE = 10
"""Plans of one transaction: officers who set out meanwhile wait for it, because patrols are numbered without gaps."""


# --- Looks


def listed(
    uow: UnitOfWork,
    actor: Actor,
    *,
    area_id: UUID | None = None,
    route_id: UUID | None = None,
    post_id: UUID | None = None,
    retired: bool = False,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Plan]:
    """Return the plans of the actor's areas, the newest first; with ``retired`` also those that are out of force."""
    area = func.coalesce(Route.area_id, Post.area_id)
    query = select(Plan).outerjoin(Route, Route.id == Plan.route_id).outerjoin(Post, Post.id == Plan.post_id)
    query = query.where(Plan.town_id == uow.town, access.within(area, access.roots(actor, "see", "plan")))
    if area_id is not None:
        query = query.where(access.within(area, [area_id]))
    if route_id is not None:
        query = query.where(Plan.route_id == route_id)
    if post_id is not None:
        query = query.where(Plan.post_id == post_id)
    if not retired:
        query = query.where(Plan.retired_at.is_(None))
    if key := moment_and_id(after):
        query = query.where(or_(Plan.created_at < key[0], (Plan.created_at == key[0]) & (Plan.id < key[1])))
    query = query.options(
        joinedload(Plan.route).joinedload(Route.area).defer(Area.geom),
        joinedload(Plan.post).joinedload(Post.area).defer(Area.geom),
    )
    query = query.order_by(Plan.created_at.desc(), Plan.id.desc()).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda row: (row.created_at.isoformat(), row.id))


def actions(actor: Actor, plan: Plan) -> list[str]:
    """Return what the actor may do with a plan now, of those whose areas are his to manage."""
    if not access.may(actor, "manage", "plan") or plan.retired_at is not None:
        return []
    return ["change", "retire"]


def preview(uow: UnitOfWork, wanted: Mapping[str, Any]) -> list[datetime]:
    """Return the next moments of a rule, as people see what they plan; ``wanted`` has all of ``WHEN``.

    Raises:
        Invalid: ``bad_rule``, with a sentence that says why.
    """
    return _series(wanted, zone_of(uow)).next(uow.now, PREVIEWED)


def next_at(plan: Plan, zone: ZoneInfo, now: datetime) -> datetime | None:
    """Return when a plan comes next, if it does."""
    if plan.retired_at is not None:
        return None
    return next(iter(_of(plan, zone).next(now, 1)), None)


def zone_of(uow: UnitOfWork) -> ZoneInfo:
    """Return the time zone whose wall time the town's plans are in."""
    return ZoneInfo(uow.session.scalars(select(Town.time_zone).where(Town.id == uow.town)).one())


def officers_of(uow: UnitOfWork, found: Sequence[Plan]) -> dict[UUID, str]:
    """Return the names of the officers that plans name."""
    ids = {officer_id for plan in found for officer_id in plan.officer_ids}
    rows = uow.session.execute(select(User.id, User.display_name).where(User.id.in_(ids)))
    return {row.id: row.display_name for row in rows}


# --- Acts


def create(uow: UnitOfWork, actor: Actor, wanted: Mapping[str, Any], *, command_id: UUID) -> Plan:
    """Put a plan in force and make its first patrols or duties; ``wanted`` has all of ``FIELDS`` and one of ``OF``.

    Raises:
        Invalid: ``bad_rule``; the route or post is not one in use in the actor's areas; somebody is no officer there.
    """
    access.require(actor, "manage", "plan")
    _check(wanted)
    _series(wanted, zone_of(uow))
    officers.check_of_area(uow, _place(uow, actor, wanted), wanted["officer_ids"])
    plan = Plan(
        id=new_id(),
        town_id=uow.town,
        created_at=uow.now,
        version=1,
        **{name: wanted[name] for name in (*OF, *FIELDS)},
    )
    uow.session.add(plan)
    uow.session.flush()
    journal.write(uow, actor, "plan", plan.id, "create", command_id=command_id)
    _make(uow, read(uow, plan.id), zone_of(uow), AHEAD)
    return read(uow, plan.id)


def change(
    uow: UnitOfWork, actor: Actor, plan_id: UUID, wanted: Mapping[str, Any], *, version: int, command_id: UUID
) -> Plan:
    """Say anew what a plan is, decided on ``version`` of it.

    What it has made and nobody has begun is cancelled and made anew, unless its name alone is another.

    Raises:
        Stale: it has another version by now. WrongState: it is out of force. Invalid: as ``create``.
    """
    plan = access.plan(uow, actor, plan_id, verb="manage", lock=True)
    if plan.version != version:
        raise Stale()
    if plan.retired_at is not None:
        raise WrongState("retired", [])
    _check(wanted)
    _series(wanted, zone_of(uow))
    changed = [name for name in (*FIELDS, *OF) if getattr(plan, name) != wanted[name]]
    if {*OF, "officer_ids"} & set(changed):
        officers.check_of_area(uow, _place(uow, actor, wanted), wanted["officer_ids"])
    for name in changed:
        setattr(plan, name, wanted[name])
    plan.version += 1
    uow.session.flush()
    journal.write(uow, actor, "plan", plan.id, "change", command_id=command_id, data={"fields": changed})
    if set(changed) - {"name"}:
        _call_off(uow, actor, plan, patrols.PLAN_CHANGED)
        plan.made_until = None
        uow.session.flush()
        _make(uow, read(uow, plan.id), zone_of(uow), AHEAD)
    return read(uow, plan.id)


def retire(uow: UnitOfWork, actor: Actor, plan_id: UUID, *, command_id: UUID) -> Plan:
    """Take a plan out of force; what it has made and nobody has begun is cancelled.

    Raises:
        WrongState: it is out of force already.
    """
    plan = access.plan(uow, actor, plan_id, verb="manage", lock=True)
    if plan.retired_at is not None:
        raise WrongState("retired", [])
    plan.retired_at, plan.version = uow.now, plan.version + 1
    uow.session.flush()
    journal.write(uow, actor, "plan", plan.id, "retire", command_id=command_id)
    _call_off(uow, actor, plan, patrols.PLAN_CHANGED)
    return read(uow, plan.id)


def read(uow: UnitOfWork, plan_id: UUID) -> Plan:
    """Return a plan as it is now, with all that an answer shows and patrols are made of."""
    query = select(Plan).where(Plan.id == plan_id)
    query = query.options(*access.plan_parts())
    return uow.session.scalars(query.execution_options(populate_existing=True)).one()


# --- The clock's act


def make_ahead(uow: UnitOfWork, *, ahead: timedelta = AHEAD) -> bool:
    """Make the patrols of the time to come, each once, however often and by however many this is done.

    What should have begun while nobody made any is not made up for. Say whether there may be more to make.
    """
    waiting = (
        select(Plan)
        .where(
            Plan.town_id == uow.town,
            Plan.retired_at.is_(None),
            Plan.made_until.is_(None) | (Plan.made_until < uow.now + ahead - SLACK),
        )
        .order_by(Plan.id)
        .limit(AT_ONCE)
        .with_for_update()
    )
    found = uow.session.scalars(waiting.execution_options(populate_existing=True)).all()
    zone = zone_of(uow)
    for plan in found:
        _make(uow, read(uow, plan.id), zone, ahead)
    uow.session.flush()
    return len(found) == AT_ONCE


def _make(uow: UnitOfWork, plan: Plan, zone: ZoneInfo, ahead: timedelta) -> None:
    """Make what is in force of a locked plan until ``ahead`` from now, and call off what was made and is not."""
    since, until = max(plan.made_until or uow.now, uow.now), uow.now + ahead
    is_in_force = _in_force(uow, plan, since, until)
    if plan.made_until is None:
        _call_off(uow, system_actor(uow.town), plan, patrols.NOT_IN_FORCE, unless=is_in_force)
    for at in _of(plan, zone).between(since, until):
        if not is_in_force(at):
            continue
        if plan.post is not None:
            post_duties.schedule(uow, plan, at)
        else:
            patrols.schedule(uow, plan, at)
    plan.made_until = until
    uow.session.flush()


def _in_force(uow: UnitOfWork, plan: Plan, since: datetime, until: datetime) -> Callable[[datetime], bool]:
    """Say of moments of a span whether the plan's levels are in force then, where its route or post is."""
    place = plan.route or plan.post
    assert place is not None
    levels, area = set(plan.levels), place.area
    if levels == set(DutyLevel):
        return lambda at: True
    switches = duty_levels.within_reach(uow, since, until)
    return lambda at: duty_levels.level_at(switches, area, at) in levels


def _call_off(
    uow: UnitOfWork,
    actor: Actor,
    plan: Plan,
    reason: str,
    *,
    unless: Callable[[datetime], bool] | None = None,
) -> None:
    """Cancel what a plan has made for moments to come and nobody has begun; of ``unless``, what it says stays."""
    patrols.cancel_planned(uow, actor, plan.id, reason, unless=unless)
    post_duties.cancel_planned(uow, actor, plan.id, reason, unless=unless)


def _of(plan: Plan, zone: ZoneInfo) -> Series:
    return _series({name: getattr(plan, name) for name in WHEN}, zone)


def _series(wanted: Mapping[str, Any], zone: ZoneInfo) -> Series:
    try:
        return Series(
            recurrence.parse(wanted["rule"]),
            wanted["starts_on"],
            wanted["starts_at"],
            wanted["ends_on"],
            zone,
        )
    except RuleError as error:
        raise Invalid(str(error), "bad_rule", rule=[str(error)]) from None


def _check(wanted: Mapping[str, Any]) -> None:
    if (wanted["route_id"] is None) == (wanted["post_id"] is None):
        raise Invalid("A plan is of a route or of a post.", route_id=["one of the two"])
    if (wanted["post_id"] is None) != (wanted["lasts_s"] is None):
        raise Invalid("What is stood at a post lasts so long, and nothing else.", lasts_s=["with post_id"])
    if len(set(wanted["levels"])) < len(wanted["levels"]):
        raise Invalid("Name each level once.", levels=["twice"])
    if wanted["late_after_s"] > wanted["window_s"]:
        raise Invalid(
            "What is late may still begin: the window is the longer one.", late_after_s=["too long"]
        )
    if wanted["ends_on"] is not None and wanted["ends_on"] < wanted["starts_on"]:
        raise Invalid("The last day comes after the first.", ends_on=["before starts_on"])


def _place(uow: UnitOfWork, actor: Actor, wanted: Mapping[str, Any]) -> Area:
    """Return the area of a plan's route or post, which is held so that it is not retired meanwhile."""
    if wanted["post_id"] is not None:
        return post_duties.post_in_use(uow, actor, wanted["post_id"], "plan").area
    return _route(uow, actor, wanted["route_id"]).area


def _route(uow: UnitOfWork, actor: Actor, route_id: UUID) -> Route:
    """Return the route of a plan, held so that it is not retired meanwhile."""
    query = select(Route).where(
        Route.id == route_id,
        Route.retired_at.is_(None),
        access.within(Route.area_id, access.roots(actor, "manage", "plan")),
    )
    query = query.options(joinedload(Route.area).defer(Area.geom)).with_for_update(read=True, of=Route)
    route = uow.session.scalar(query)
    if route is None:
        raise Invalid("This is no route in use in your areas.", route_id=["unknown"])
    return route
