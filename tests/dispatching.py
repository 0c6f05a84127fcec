"""Officers on shift at places, and tasks for them: what tests of dispatch begin with."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from backend.core.identity import system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Travel
from backend.models import Assignment, Shift, Task
from tests.factories import Person, Town
from workflows import access, invitations, shifts, tasks
from workflows.assignments import share_of
from workflows.crews import WantedCrew
from workflows.offering import Whom
from workflows.results import Result

LIMITS = shifts.Limits(longest=timedelta(hours=14), grace=timedelta(minutes=30))
DEGREE_M = 111_000.0


def on_shift(
    uow: UnitOfWork,
    town: Town,
    person: Person,
    *,
    east_m: float | None = None,
    crew: WantedCrew | None = None,
) -> Shift:
    """Bring an officer on shift, seen so many metres east of the place of his community (None: not seen yet)."""
    shift = shifts.start(uow, person.actor(), command_id=new_id(), limits=LIMITS, crew=crew)
    if east_m is not None:
        see(uow, shift, town, east_m=east_m)
    return shift


def see(
    uow: UnitOfWork,
    shift: Shift,
    town: Town,
    *,
    east_m: float,
    accuracy_m: float = 5.0,
    fixed_at: datetime | None = None,
    area: str = "a",
) -> None:
    """Say where an officer on shift is now."""
    lon, lat = town.place(area)
    uow.session.execute(
        text(
            "insert into latest_positions (officer_id, town_id, shift_id, room_id, device_id, geom, fixed_at,"
            " received_at, accuracy_m) values (:officer, :town, :shift, :room, :device,"
            " ST_Project(ST_SetSRID(ST_MakePoint(:lon, :lat), 4326)::geography, :away, radians(90)), :at, :at,"
            " :accuracy) on conflict (officer_id) do update set geom = excluded.geom, fixed_at = excluded.fixed_at,"
            " accuracy_m = excluded.accuracy_m"
        ),
        {
            "officer": shift.officer_id, "town": town.id, "shift": shift.id, "room": shift.area_id, "device": new_id(),
            "lon": lon, "lat": lat, "away": east_m, "at": fixed_at or uow.now, "accuracy": accuracy_m,
        },
    )  # fmt: skip


def crew_on_shift(uow: UnitOfWork, leader: Person, *mates: Person, sign: str = "青禾-01") -> Shift:
    """Bring a crew on shift; return its leader's shift."""
    wanted = WantedCrew(sign, Travel.E_BIKE, [mate.id for mate in mates])
    shift = shifts.start(uow, leader.actor(), command_id=new_id(), limits=LIMITS, crew=wanted)
    for mate in mates:
        [asked] = invitations.answerable(uow, mate.actor(), after=None, limit=10).items
        invitations.accept(uow, mate.actor(), asked.id, command_id=new_id(), limits=LIMITS)
    return shift


def make_task(uow: UnitOfWork, town: Town, *people: Person, kind: str = "check", **more: Any) -> Task:
    """Make a task at the place of community a by its desk, offered to ``people``; an SOS by the system."""
    actor = system_actor(town.id) if kind == "sos" else town["desk_a"].actor()
    whom = Whom(officer_ids=[person.id for person in people]) if people else more.pop("whom", None)
    given = {"description": "x", "place": town.place(), "kind_code": kind, **more}
    return tasks.create(uow, actor, command_id=new_id(), whom=whom, **given)


def share(uow: UnitOfWork, task_id: UUID, person: Person) -> Assignment:
    """Return an officer's share in a task, as it is now."""
    found = share_of(now(uow, task_id), person.id)
    assert found is not None
    return found


def now(uow: UnitOfWork, task_id: UUID) -> Task:
    """Return a task as it is now."""
    uow.session.expire_all()
    return access.task(uow, system_actor(uow.town), task_id)


def states(uow: UnitOfWork, task_id: UUID, *people: Person) -> tuple[str, ...]:
    """Return the state of a task and of each one's share in it."""
    return (now(uow, task_id).state, *(share(uow, task_id, person).state for person in people))


def press(uow: UnitOfWork, person: Person, task_id: UUID, *actions: str) -> Task:
    """Let an officer press one button after another."""
    more: dict[str, dict[str, Any]] = {
        "decline": {"reason": "busy"}, "hand_back": {"reason": "called away"},
        "resolve": {"result": Result("done", answers={"found": True})},
    }  # fmt: skip
    for action in actions:
        task = getattr(tasks, action)(
            uow, person.actor(), task_id, command_id=new_id(), **more.get(action, {})
        )
    return task
