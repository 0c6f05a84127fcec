"""Plans: when a route is to be gone and by whom, as rules in the town's time, made ahead into patrols."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import or_, select
from sqlalchemy.orm import joinedload

from backend.core.errors import Invalid, Stale, WrongState
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Role
from backend.models import Area, Membership, Plan, Route, Town, User
from geo import recurrence
from geo.recurrence import RuleError, Series
from workflows import access, journal, patrols

WHEN: Final = ("rule", "starts_on", "starts_at", "ends_on")
FIELDS: Final = ("name", *WHEN, "late_after_s", "window_s", "officer_ids")
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
    retired: bool = False,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Plan]:
    """Return the plans of the actor's areas, the newest first; with ``retired`` also those that are out of force."""
    query = (
        select(Plan)
        .join(Route, Route.id == Plan.route_id)
        .where(Plan.town_id == uow.town, access.within(Route.area_id, access.roots(actor, "see", "plan")))
    )
    if area_id is not None:
        query = query.where(access.within(Route.area_id, [area_id]))
    if route_id is not None:
        query = query.where(Plan.route_id == route_id)
    if not retired:
        query = query.where(Plan.retired_at.is_(None))
    if key := moment_and_id(after):
        query = query.where(or_(Plan.created_at < key[0], (Plan.created_at == key[0]) & (Plan.id < key[1])))
    query = query.options(joinedload(Plan.route).joinedload(Route.area).defer(Area.geom))
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
    """Put a plan in force and make its first patrols; ``wanted`` has all of ``FIELDS`` and a ``route_id``.

    Raises:
        Invalid: ``bad_rule``; the route is not one in use in the actor's areas; somebody is no officer of its area.
    """
    access.require(actor, "manage", "plan")
    _check(wanted)
    _series(wanted, zone_of(uow))
    route = _route(uow, actor, wanted["route_id"])
    _check_officers(uow, route, wanted["officer_ids"])
    plan = Plan(
        id=new_id(), town_id=uow.town, route_id=route.id, created_at=uow.now, version=1,
        **{name: wanted[name] for name in FIELDS},
    )  # fmt: skip
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
    changed = [name for name in FIELDS if getattr(plan, name) != wanted[name]]
    if wanted["route_id"] != plan.route_id:
        changed.append("route_id")
    if "route_id" in changed or "officer_ids" in changed:
        route = _route(uow, actor, wanted["route_id"])
        _check_officers(uow, route, wanted["officer_ids"])
    for name in changed:
        setattr(plan, name, wanted[name])
    plan.version += 1
    uow.session.flush()
    journal.write(uow, actor, "plan", plan.id, "change", command_id=command_id, data={"fields": changed})
    if set(changed) - {"name"}:
        patrols.cancel_planned(uow, actor, plan.id, command_id=command_id)
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
    patrols.cancel_planned(uow, actor, plan.id, command_id=command_id)
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
    """Make the patrols of a locked plan until ``ahead`` from now."""
    since, until = max(plan.made_until or uow.now, uow.now), uow.now + ahead
    for at in _of(plan, zone).between(since, until):
        patrols.schedule(uow, plan, at)
    plan.made_until = until
    uow.session.flush()


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
    if wanted["late_after_s"] > wanted["window_s"]:
        raise Invalid(
            "What is late may still begin: the window is the longer one.", late_after_s=["too long"]
        )
    if wanted["ends_on"] is not None and wanted["ends_on"] < wanted["starts_on"]:
        raise Invalid("The last day comes after the first.", ends_on=["before starts_on"])


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


def _check_officers(uow: UnitOfWork, route: Route, officer_ids: Sequence[UUID]) -> None:
    """Refuse who is no officer where the route is: of its area, of one above it, or of one within it."""
    if len(set(officer_ids)) < len(officer_ids):
        raise Invalid("Name each officer once.", officer_ids=["twice"])
    there = Membership.area_id.in_(route.area.ancestors) | access.within(Membership.area_id, [route.area_id])
    of_area = select(Membership.user_id).where(
        Membership.role == Role.OFFICER,
        Membership.ended_at.is_(None),
        Membership.user_id.in_(officer_ids),
        there,
    )
    known = set(uow.session.scalars(of_area))
    if missing := [str(one) for one in officer_ids if one not in known]:
        raise Invalid("Some of these are no officers of the route's area.", officer_ids=missing)
