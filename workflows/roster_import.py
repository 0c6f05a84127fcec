"""Rosters brought in as files: a preview of what each row would do, and then that and nothing else.

A row adds a shift, finds it planned as it is, changes the one that it overlaps, or is refused with its reason; nothing
is taken out because a file does not name it. The preview carries a digest of what it found: keeping the file names it,
and is refused when the roster is another by then. Refused rows stop no others, and are told again when the rest is
kept.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select

from backend.adapters import spreadsheets
from backend.core.errors import Conflict
from backend.core.identity import Actor
from backend.core.native import NativeThreads
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import PlannedShiftState
from backend.models import Area, PlannedShift, User
from workflows import access, journal, planned_shifts, roster, roster_files, telling
from workflows.planned_shifts import FIELDS, Places
from workflows.plans import zone_of
from workflows.roster_files import COLUMNS, Fault, Row

READING: Final = NativeThreads(1, "rosters")
"""Where files are read: one takes up to seconds, in which the sockets of this process go on."""
AROUND = timedelta(hours=26)
MOST_NAMED = 2000
"""So many officers and areas the template names."""


class Outcome(StrEnum):
    """What a file does with one row."""

    ADDED = "added"
    CHANGED = "changed"
    SAME = "same"
    REFUSED = "refused"


@dataclass(frozen=True)
class RowDone:
    """What a row does: to which planned shift, if there is one, and with what values."""

    row: Row
    outcome: Outcome
    fault: Fault | None = None
    officer: str | None = None
    values: Mapping[str, Any] | None = None
    planned: PlannedShift | None = None


@dataclass(frozen=True)
class Imported:
    """What a file does, row by row, and by what one says that one has seen it."""

    rows: list[RowDone]
    digest: str

    def count(self, outcome: Outcome) -> int:
        """Return how many rows had this outcome."""
        return sum(row.outcome is outcome for row in self.rows)


def preview(uow: UnitOfWork, actor: Actor, data: bytes) -> Imported:
    """Return what keeping a file would do now, row by row.

    Raises:
        Invalid: ``bad_roster``: it is no such file.
    """
    access.require(actor, "manage", "roster")
    rows = READING.run(roster_files.read, data)
    found = _Finding(uow, actor, rows)
    done = [found.take(row) for row in rows]
    return Imported(done, _digest(data, done))


def keep(uow: UnitOfWork, actor: Actor, data: bytes, digest: str, *, command_id: UUID) -> Imported:
    """Keep a file as it was previewed under ``digest``.

    Raises:
        Conflict: ``roster_changed``, it would do something else by now. Invalid: ``bad_roster``.
    """
    planned_shifts.alone(uow)
    done = preview(uow, actor, data)
    if done.digest != digest:
        raise Conflict("roster_changed", "The roster has changed since this was previewed; look at it again.")
    planned_shifts.later(uow)
    told: dict[UUID, list[PlannedShift]] = defaultdict(list)
    for one in done.rows:
        if one.values is None or one.outcome not in (Outcome.ADDED, Outcome.CHANGED):
            continue
        if one.planned is None:
            kept = roster.add(uow, actor, one.values, command_id=command_id, by_file=True)
        else:
            kept = one.planned
            roster.refuse_own_begun(uow, actor, kept)
            roster.alter(uow, actor, kept, one.values, command_id=command_id, by_file=True)
        told[one.values["officer_id"]].append(kept)
    planned_shifts.flush(uow)
    counts = {str(outcome): done.count(outcome) for outcome in Outcome}
    journal.write(uow, actor, "town", uow.town, "import_roster", command_id=command_id, data=counts)
    zone = zone_of(uow)
    for officer_id, shifts in told.items():
        if officer_id != actor.user_id:
            first = planned_shifts.read(uow, shifts[0].id)
            telling.roster_changed(uow, [officer_id], planned=first, zone=zone, count=len(shifts))
    return done


def template(uow: UnitOfWork, actor: Actor) -> bytes:
    """Return a workbook to fill in: the columns, and beside them the officers, areas and words to fill in."""
    access.require(actor, "manage", "roster")
    scope = access.roots(actor, "manage", "roster")
    people = uow.session.execute(
        select(User.login, User.display_name)
        .where(User.id.in_(access.officers_within(scope)))
        .order_by(User.display_name, User.id)
        .limit(MOST_NAMED)
    )
    areas = uow.session.execute(
        select(Area.code, Area.name)
        .where(access.within(Area.id, scope))
        .order_by(Area.code)
        .limit(MOST_NAMED)
    )
    kinds: dict[str, str] = {}
    for word, kind in roster_files.KINDS.items():
        kinds.setdefault(str(kind), word)
    sheets = [
        ("排班", [[words[0] for words in COLUMNS.values()]]),
        ("队员", [["账号", "姓名"], *([row.login or "", row.display_name] for row in people)]),
        (
            "辖区",
            [["代码", "名称", "Name"], *([row.code, row.name["zh-CN"], row.name["en"]] for row in areas)],
        ),
        ("班别", [["班别", "Kind"], *([word, kind] for kind, word in kinds.items())]),
    ]
    return READING.run(spreadsheets.written, sheets)


def _digest(data: bytes, done: list[RowDone]) -> str:
    what = [
        [one.row.number, one.outcome, one.fault, str(one.planned.id) if one.planned else None,
         one.planned.version if one.planned else None, {k: str(v) for k, v in (one.values or {}).items()}]
        for one in done
    ]  # fmt: skip
    return hashlib.sha256(data + json.dumps(what, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Span:
    """A time of an officer that is taken, by a planned shift that is there or by a row before."""

    begins_at: datetime
    ends_at: datetime
    planned: PlannedShift | None = None


class _Finding:
    """One file on its way in: who and what there is, and what each row does to it."""

    def __init__(self, uow: UnitOfWork, actor: Actor, rows: list[Row]) -> None:
        self.now, self.zone, self.places = uow.now, zone_of(uow), Places(uow, actor)
        scope = access.roots(actor, "manage", "roster")
        people = uow.session.execute(
            select(User.id, User.login, User.display_name).where(User.id.in_(access.officers_within(scope)))
        ).all()
        self.by_login = {row.login.lower(): row.id for row in people if row.login}
        self.by_name: dict[str, list[UUID]] = defaultdict(list)
        self.name_of = {row.id: row.display_name for row in people}
        for row in people:
            self.by_name[row.display_name].append(row.id)
        self.areas: dict[str, list[UUID]] = defaultdict(list)
        for area in uow.session.execute(
            select(Area.id, Area.code, Area.name).where(Area.town_id == uow.town)
        ):
            if area.id in self.places.scope:
                for word in {area.code, *area.name.values()}:
                    self.areas[word].append(area.id)
        self.taken: dict[UUID, list[_Span]] = defaultdict(list)
        moments = [planned_shifts.moments(row.wall, self.zone) for row in rows if row.wall]
        if moments:
            self._read_planned(uow, min(m[0] for m in moments), max(m[1] for m in moments))

    def _read_planned(self, uow: UnitOfWork, first: datetime, last: datetime) -> None:
        query = select(PlannedShift).where(
            PlannedShift.town_id == uow.town,
            PlannedShift.state == PlannedShiftState.PLANNED,
            PlannedShift.begins_at.between(first - AROUND, last),
            PlannedShift.ends_at > first,
        )
        for one in uow.session.scalars(query.order_by(PlannedShift.id)):
            self.taken[one.officer_id].append(_Span(one.begins_at, one.ends_at, one))

    def take(self, row: Row) -> RowDone:
        """Return what a row does."""
        if row.fault is not None or row.wall is None:
            return RowDone(row, Outcome.REFUSED, row.fault)
        officer_id, fault = self._officer(row)
        if officer_id is None:
            return RowDone(row, Outcome.REFUSED, fault)
        name = self.name_of[officer_id]
        area_id, fault = self._area(row, officer_id)
        if area_id is None:
            return RowDone(row, Outcome.REFUSED, fault, name)
        begins_at, ends_at = planned_shifts.moments(row.wall, self.zone)
        if ends_at <= begins_at:
            return RowDone(row, Outcome.REFUSED, Fault.BAD_TIME, name)
        values = {
            "officer_id": officer_id, "area_id": area_id, "kind": str(row.kind), "remark": row.remark,
            "begins_at": begins_at, "ends_at": ends_at,
        }  # fmt: skip
        meets = [one for one in self.taken[officer_id] if one.begins_at < ends_at and one.ends_at > begins_at]
        outcome, fault, planned = self._outcome(values, meets)
        if outcome is not Outcome.REFUSED:
            kept = [one for one in self.taken[officer_id] if planned is None or one.planned is not planned]
            # A row has this time now: the next that meets it is told that it comes twice.
            self.taken[officer_id] = [*kept, _Span(begins_at, ends_at)]
        return RowDone(row, outcome, fault, name, values, planned)

    def _outcome(
        self, values: Mapping[str, Any], meets: list[_Span]
    ) -> tuple[Outcome, Fault | None, PlannedShift | None]:
        if any(one.planned is None for one in meets):
            return Outcome.REFUSED, Fault.TWICE, None
        if len(meets) > 1:
            return Outcome.REFUSED, Fault.OVERLAPS, None
        planned = meets[0].planned if meets else None
        if planned is not None and all(getattr(planned, name) == values[name] for name in FIELDS):
            return Outcome.SAME, None, planned
        if values["ends_at"] <= self.now or (planned is not None and planned.ends_at <= self.now):
            return Outcome.REFUSED, Fault.OVER, None
        if planned is None:
            return Outcome.ADDED, None, None
        if planned.area_id not in self.places.scope:
            return Outcome.REFUSED, Fault.OVERLAPS, None
        return Outcome.CHANGED, None, planned

    def _officer(self, row: Row) -> tuple[UUID | None, Fault | None]:
        if row.login is not None:
            officer_id = self.by_login.get(row.login.lower())
            if officer_id is None:
                return None, Fault.UNKNOWN_OFFICER
            if row.name is not None and row.name != self.name_of[officer_id]:
                return None, Fault.NAME_DIFFERS
            return officer_id, None
        found = self.by_name.get(row.name or "", [])
        if len(found) != 1:
            return None, Fault.SEVERAL_OFFICERS if found else Fault.UNKNOWN_OFFICER
        return found[0], None

    def _area(self, row: Row, officer_id: UUID) -> tuple[UUID | None, Fault | None]:
        if row.area is None:
            own = self.places.own_area(officer_id)
            return own, None if own else Fault.NO_AREA
        found = self.areas.get(row.area, [])
        if len(found) != 1:
            return None, Fault.SEVERAL_AREAS if found else Fault.UNKNOWN_AREA
        if not self.places.is_officer_of(officer_id, found[0]):
            return None, Fault.NOT_OF_AREA
        return found[0], None
