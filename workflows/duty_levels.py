"""Duty levels 勤务等级: what is in force where, and the plans that come with it.

A supervisor switches an area, or the whole town, to a level from one moment until another; at the end the ordinary day
is back by itself. In an area the gravest of what is in force there and above it counts, so a community that goes up by
itself never goes below the town. A plan makes what comes at moments at which one of its levels is in force: levels are
switched for a time, so this is known ahead. A switch therefore lets the plans that it touches be looked at anew by the
clock (``plans.make_ahead``), which calls off what is not in force any more and makes what now is.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import Select

from backend.core import jobs
from backend.core.errors import Conflict, Invalid, Stale, WrongState
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Due, DutyLevel
from backend.models import Area, Deadline, LevelSwitch, Plan, Post, Route
from notifications import changes, recipients
from workflows import access, deadlines, journal, telling

KIND: Final = "duty_level"
GRAVITY: Final = (DutyLevel.ORDINARY, DutyLevel.THIRD, DutyLevel.SECOND, DutyLevel.FIRST)
"""From the least to the gravest."""
LONGEST = timedelta(days=92)
FARTHEST = timedelta(days=366)
MAKE_AHEAD: Final = "plans.make_ahead"


# --- Looks


def counts_until() -> ColumnElement[datetime]:
    """Return the expression for when a switch is over: by itself, or taken back before."""
    return func.coalesce(LevelSwitch.ended_at, LevelSwitch.until_at)


def within_reach(uow: UnitOfWork, since: datetime, until: datetime) -> list[LevelSwitch]:
    """Return the town's switches that count at some moment of a span."""
    query = select(LevelSwitch).where(
        LevelSwitch.town_id == uow.town, LevelSwitch.since_at < until, counts_until() > since
    )
    return list(uow.session.scalars(query.order_by(LevelSwitch.since_at, LevelSwitch.id)))


def level_at(switches: Sequence[LevelSwitch], area: Area, at: datetime) -> DutyLevel:
    """Return what is in force in an area at a moment: the gravest of its own and those above it."""
    known = [
        DutyLevel(one.level)
        for one in switches
        if one.area_id in area.ancestors and one.since_at <= at < (one.ended_at or one.until_at)
    ]
    return max(known, key=GRAVITY.index, default=DutyLevel.ORDINARY)


def in_force(switch: LevelSwitch, now: datetime) -> bool:
    """Say whether a switch counts now."""
    return switch.since_at <= now < (switch.ended_at or switch.until_at)


def is_over(switch: LevelSwitch, now: datetime) -> bool:
    """Say whether a switch counts no more."""
    return now >= (switch.ended_at or switch.until_at)


def listed(
    uow: UnitOfWork, actor: Actor, *, over: bool = False, after: Sequence[str] | None, limit: int
) -> Page[LevelSwitch]:
    """Return the switches that concern the actor's areas, in them and above them, the latest first.

    Without ``over`` those that are in force or still to come.
    """
    scope = access.roots(actor, "see", KIND)
    above = select(func.unnest(Area.ancestors)).where(Area.id.in_(scope))
    query = select(LevelSwitch).where(
        LevelSwitch.town_id == uow.town,
        or_(LevelSwitch.area_id.in_(above), access.within(LevelSwitch.area_id, scope)),
    )
    if not over:
        query = query.where(counts_until() > uow.now)
    if key := moment_and_id(after):
        query = query.where(
            or_(LevelSwitch.since_at < key[0], (LevelSwitch.since_at == key[0]) & (LevelSwitch.id < key[1]))
        )
    query = query.options(*access.level_switch_parts())
    query = query.order_by(LevelSwitch.since_at.desc(), LevelSwitch.id.desc()).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda row: (row.since_at.isoformat(), row.id))


def in_force_for(uow: UnitOfWork, actor: Actor) -> list[tuple[Area, DutyLevel]]:
    """Return what is in force now in each area in which the actor works at a desk or is an officer."""
    areas = select(Area).where(Area.id.in_(set(actor.areas(*actor.roles))))
    switches = within_reach(uow, uow.now, uow.now + timedelta(microseconds=1))
    return [
        (area, level_at(switches, area, uow.now)) for area in uow.session.scalars(areas.order_by(Area.id))
    ]


def actions(uow: UnitOfWork, actor: Actor, switch: LevelSwitch) -> list[str]:
    """Return what the actor may do with a switch now."""
    able = access.may(actor, "switch", KIND) and not is_over(switch, uow.now)
    return ["end"] if able and access.covers(uow, actor, "switch", KIND, switch.area_id) else []


# --- Acts


def switch(
    uow: UnitOfWork,
    actor: Actor,
    *,
    area_id: UUID,
    level: DutyLevel,
    since_at: datetime | None,
    until_at: datetime,
    reason: str,
    command_id: UUID,
) -> LevelSwitch:
    """Put a level in force in an area and below it, from now or from later on.

    Raises:
        Invalid: the area is none of the actor's; the ordinary day is no switch; the span is none, or too long.
        Conflict: ``duty_level_overlaps``; the area has a switch for some of this time.
    """
    access.require(actor, "switch", KIND)
    if not access.covers(uow, actor, "switch", KIND, area_id):
        raise Invalid("This is none of your areas.", area_id=["unknown"])
    if level == DutyLevel.ORDINARY:
        raise Invalid("The ordinary day comes back by itself.", level=["ordinary"])
    since_at = uow.now if since_at is None else max(since_at, uow.now)
    if not since_at < until_at <= since_at + LONGEST or since_at > uow.now + FARTHEST:
        raise Invalid("A level is in force for 92 days at most.", until_at=["no such span"])
    made = LevelSwitch(
        id=new_id(), town_id=uow.town, area_id=area_id, level=level, since_at=since_at, until_at=until_at,
        reason=reason, switched_by=actor.user_id, created_at=uow.now, version=1,
    )  # fmt: skip
    _refuse_overlap(uow, area_id, since_at, until_at)
    try:
        with uow.session.begin_nested():
            uow.session.add(made)
    except IntegrityError as error:
        raise _overlaps() from error
    journal.write(
        uow, actor, "duty_level", made.id, "switch", command_id=command_id, reason=reason,
        data={"level": level, "area_id": str(area_id), "since_at": since_at.isoformat(),
              "until_at": until_at.isoformat()},
    )  # fmt: skip
    if since_at > uow.now:
        deadlines.put(uow, KIND, made.id, Due.BEGIN, since_at)
    deadlines.put(uow, KIND, made.id, Due.END, until_at)
    _bring_in_force(uow, made)
    found = read(uow, made.id)
    if since_at <= uow.now:
        telling.of_duty_level(uow, found, "switch", by=actor.user_id)
    _announce(uow, found, "switch")
    return found


def end(
    uow: UnitOfWork, actor: Actor, switch_id: UUID, *, reason: str, version: int | None, command_id: UUID
) -> LevelSwitch:
    """Take a level back before its end; one that has not begun then never does.

    Raises:
        WrongState: it is over. Stale: it has another version by now.
    """
    found = access.level_switch(uow, actor, switch_id, verb="switch", lock=True)
    if version is not None and found.version != version:
        raise Stale()
    if is_over(found, uow.now):
        raise WrongState("over", [])
    had_begun = in_force(found, uow.now)
    found.ended_at, found.ended_by, found.end_reason = max(uow.now, found.since_at), actor.user_id, reason
    found.version += 1
    uow.session.flush()
    journal.write(uow, actor, "duty_level", found.id, "end", command_id=command_id, reason=reason)
    deadlines.drop(uow, found.id)
    _bring_in_force(uow, found)
    if had_begun:
        telling.of_duty_level(uow, found, "end", by=actor.user_id)
    _announce(uow, found, "end")
    return read(uow, found.id)


def time_due(uow: UnitOfWork, deadline: Deadline) -> None:
    """Tell that a level has come into force, or is over by itself; nothing else follows, because all was known."""
    free = select(LevelSwitch.id).where(LevelSwitch.id == deadline.subject_id)
    if uow.session.scalar(free.with_for_update(skip_locked=True)) is None:
        raise deadlines.Later
    found = access.level_switch(uow, system_actor(uow.town), deadline.subject_id)
    if found.ended_at is not None:
        return
    found.version += 1
    if deadline.about == Due.BEGIN:
        journal.write(uow, system_actor(uow.town), "duty_level", found.id, "begin")
        telling.of_duty_level(uow, found, "switch", by=None)
    else:
        journal.write(uow, system_actor(uow.town), "duty_level", found.id, "lapse")
        telling.of_duty_level(uow, found, "end", by=None)
    uow.session.flush()
    _announce(uow, found, deadline.about)


def _refuse_overlap(uow: UnitOfWork, area_id: UUID, since_at: datetime, until_at: datetime) -> None:
    there = select(LevelSwitch.id).where(
        LevelSwitch.area_id == area_id, LevelSwitch.since_at < until_at, counts_until() > since_at
    )
    # An empty span, of what never began, is in nobody's way.
    if uow.session.scalar(there.where(counts_until() > LevelSwitch.since_at).limit(1)) is not None:
        raise _overlaps()


def _overlaps() -> Conflict:
    return Conflict("duty_level_overlaps", "For some of this time the area has a duty level already.")


def _bring_in_force(uow: UnitOfWork, found: LevelSwitch) -> None:
    """Let the clock look anew, and at once, at the plans of an area: each is judged by what is in force then."""
    routes = select(Route.id).where(access.within(Route.area_id, [found.area_id]))
    posts = select(Post.id).where(access.within(Post.area_id, [found.area_id]))
    touched = update(Plan).where(
        Plan.town_id == uow.town,
        Plan.retired_at.is_(None),
        or_(Plan.route_id.in_(routes), Plan.post_id.in_(posts)),
    )
    uow.session.execute(touched.values(made_until=None), execution_options={"synchronize_session": False})
    jobs.enqueue(uow, MAKE_AHEAD, once=MAKE_AHEAD, lock=MAKE_AHEAD, timestamp=int(uow.now.timestamp()))


def _announce(uow: UnitOfWork, found: LevelSwitch, action: str) -> None:
    changes.tell(uow, KIND, found, action, to=recipients.hear_of_duty_level(uow, found))


def read(uow: UnitOfWork, switch_id: UUID) -> LevelSwitch:
    """Return a switch as it is now, with all that an answer shows."""
    query: Select[LevelSwitch] = select(LevelSwitch).where(LevelSwitch.id == switch_id)
    query = query.options(*access.level_switch_parts()).execution_options(populate_existing=True)
    return uow.session.scalars(query).one()
