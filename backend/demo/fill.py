"""Fills an empty installation with the demo town, in one transaction: afterwards it is all there, or nothing is.

It writes as the owner of the tables, because the application's role may not make towns; areas, people and shifts go
through the models, fixes through the statement of ``workflows.tracks``, which checks the shift gate for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import shapely
from geoalchemy2 import WKBElement
from sqlalchemy import create_engine, insert, select, text

from backend.adapters import passwords
from backend.core.config import Config
from backend.core.identity import system_actor
from backend.core.ids import new_id
from backend.core.tokens import new_secret, secret_hash
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import (
    DeviceKind,
    DeviceState,
    DutyKind,
    EndedBy,
    Outcome,
    Protocol,
    ShiftState,
    UserState,
)
from backend.demo import accounts, history, rounds
from backend.demo.history import Duty
from backend.demo.people import Person
from backend.demo.receiver import Measurement
from backend.demo.town import DEFAULT_SEED, generate
from backend.demo.trackers import MIXED
from backend.demo.walks import FOOT, streets_of
from backend.models import (
    Area,
    Checkpoint,
    Crew,
    CrewMember,
    Department,
    Device,
    DeviceCredential,
    Journal,
    Membership,
    Plan,
    PlannedShift,
    Road,
    Route,
    RoutePoint,
    Shift,
    User,
)
from backend.models import Town as TownRow
from geo.areas import AreaIndex
from geo.fixes import Fix
from workflows import fix_rows, gate, grouped_write, numbers, patrols, plans, task_kinds, upkeep
from workflows.devices import Credential
from workflows.fix_rows import Rows
from workflows.provisioning import GPSLOGGER_TEMPLATE

TIME_ZONE = "Asia/Shanghai"
OFFICERS_WITH_SIGN_IN = 64
"""The others exist as well; an admin gives them a password."""
RESERVED = 4
"""The first so many officers are left to people: nobody walks for them, and they are off duty."""
ON_DUTY = 24
"""So many are on duty at the first start, if so many phones are simulated: who has none would fall silent, and nobody
who looks at a demo would know why."""
WITH_A_PAST = 40
DESKS_WITH_SIGN_IN = 3
LONGEST_SHIFT = timedelta(hours=14)
GRACE = timedelta(minutes=30)
TRACKERS = (Protocol.OSMAND, Protocol.OWNTRACKS, Protocol.OVERLAND, Protocol.GPSLOGGER)

Progress = Callable[[str, int, int], None]
"""Told what is being done now, which step that is, and of how many."""

_STEPS = 9
_LOCK = 0x78756E67656E6764
_DATA = {"demo": True}


@dataclass(frozen=True, slots=True)
class _Kit:
    """An officer's devices: his phone, and one tracker for each app, with its credential."""

    phone_id: UUID
    trackers: Mapping[Protocol, tuple[UUID, Credential]]

    def device_id(self, protocol: str) -> UUID:
        return self.phone_id if protocol == Protocol.OFFICER else self.trackers[Protocol(protocol)][0]


def fill(config: Config, progress: Progress | None = None, *, seed: int = DEFAULT_SEED) -> None:
    """Write the demo town of ``seed`` into an empty installation; where there is a town already, do nothing.

    The accounts are written to ``demo-accounts.json`` in the data folder before the commit, so a town never exists
    without them; a fill that was interrupted begins anew at the next start.
    """
    tell = progress or (lambda _what, _step, _steps: None)
    engine = create_engine(config.owner_url, connect_args={"connect_timeout": 10})
    try:
        with unit_of_work(engine=engine) as uow:
            # Two at once: the second waits here and then finds the town.
            uow.session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            if uow.session.scalar(select(TownRow.id).limit(1)) is not None:
                return
            _Filler(config, uow, seed, tell).run()
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # The first questions come before the first autovacuum.
            for table in ("areas", "roads", "users", "memberships", "devices", "shifts", "fixes"):
                connection.execute(text(f"analyze {table}"))
    finally:
        engine.dispose()


class _Filler:
    """Holds what the steps of :func:`fill` hand to one another."""

    def __init__(self, config: Config, uow: UnitOfWork, seed: int, tell: Progress) -> None:
        self.config, self.uow, self.tell = config, uow, tell
        self.seed = seed
        self._step = 0

    def run(self) -> None:
        with ThreadPoolExecutor(2, thread_name_prefix="demo-passwords") as hashing:
            # argon2 lets go of the interpreter, so hashes are made while the rest is written.
            self._next("plan the town")
            self.town = generate(self.seed)
            self._choose_people()
            plain = {person.id: accounts.new_password() for person in self.with_sign_in}
            # All at the served cost: a cheaper hash would tell by the time of a sign-in that there is such an account.
            hashes = {who: hashing.submit(passwords.hash_password, word) for who, word in plain.items()}
            self._write_places()
            self._write_past()
            self._write_people(hashes)
            self._write_devices()
            self._write_duties()
            self._write_rounds()
            self._write_roster()
            self._next("keep the accounts")
            self._journal("town", self.town.id, "fill", self.uow.now, data=_DATA | {"seed": self.seed})
            self.uow.session.flush()
            accounts.write(self.config, self._accounts(plain))
            accounts.phones_path(self.config).unlink(missing_ok=True)  # Of a town that was here before.

    def _next(self, what: str) -> None:
        self._step += 1
        self.tell(what, self._step, _STEPS)

    # --- places --------------------------------------------------------------------------------------------------

    def _write_places(self) -> None:
        self._next("areas")
        town, uow = self.town, self.uow
        uow.session.add(
            TownRow(
                id=town.id,
                code=town.code,
                name=town.name.as_json(),
                time_zone=TIME_ZONE,
                locale="zh-CN",
                # Monday to Friday; holidays are moved by decree each year and are the operator's to enter.
                calendar={"working_days": [1, 2, 3, 4, 5], "holidays": [], "extra_working_days": []},
                created_at=uow.now,
            )
        )
        uow.session.flush()
        uow.enter_town(town.id)
        ancestors: dict[UUID, list[UUID]] = {}
        rows: list[dict[str, Any]] = []
        for area in town.areas:
            above = ancestors[area.parent_id] if area.parent_id else []
            ancestors[area.id] = [*above, area.id]
            rows.append(
                {
                    "id": area.id,
                    "town_id": town.id,
                    "parent_id": area.parent_id,
                    "ancestors": ancestors[area.id],
                    "kind": area.kind,
                    "code": area.code,
                    "name": area.name.as_json(),
                    "geom": _geometry(shapely.MultiPolygon([area.polygon])),
                }
            )
        self._insert(Area, rows)
        self._next("roads and checkpoints")
        self._insert(
            Road,
            [
                {
                    "id": road.id,
                    "town_id": town.id,
                    "kind": road.kind,
                    "name": road.name.as_json(),
                    "geom": _geometry(road.line),
                }
                for road in town.roads
            ],
        )
        areas = {area.id: area for area in town.areas}
        self._insert(
            Checkpoint,
            [
                {
                    "id": checkpoint.id,
                    "town_id": town.id,
                    "area_id": checkpoint.area_id,
                    "code": checkpoint.code,
                    "name": checkpoint.name.as_json(),
                    "geom": _geometry(shapely.Point(checkpoint.lon, checkpoint.lat)),
                    "created_at": uow.now,
                    **rounds.fence(checkpoint, areas[checkpoint.area_id]),
                }
                for checkpoint in town.checkpoints
            ],
        )
        self._insert(
            Department,
            [
                {"id": one.id, "town_id": town.id, "kind": one.kind, "name": one.name.as_json()}
                for one in town.departments
            ],
        )
        task_kinds.add_defaults(self.uow, system_actor(town.id))

    # --- people --------------------------------------------------------------------------------------------------

    def _choose_people(self) -> None:
        """Who gets a password: the desks of the town, a handler of each department, some officers."""
        by_role: dict[str, list[Person]] = {}
        for person in self.town.people:
            by_role.setdefault(person.role, []).append(person)
        self.officers = by_role["officer"][:OFFICERS_WITH_SIGN_IN]
        self.desks = by_role["dispatcher"][: DESKS_WITH_SIGN_IN + 1]
        seen: set[UUID | None] = set()
        self.handlers = []
        for handler in by_role["handler"]:
            if handler.posts[0].department_id not in seen:
                seen.add(handler.posts[0].department_id)
                self.handlers.append(handler)
        self.singles = {role: by_role[role][0] for role in ("admin", "supervisor", "auditor")}
        self.with_sign_in = [*self.singles.values(), *self.desks, *self.handlers, *self.officers]

    def _write_people(self, hashes: Mapping[UUID, Future[str]]) -> None:
        self._next("people and passwords")
        town, now = self.town, self.uow.now
        self._insert(
            User,
            [
                {
                    "id": person.id,
                    "town_id": town.id,
                    "login": person.login,
                    "phone": person.phone,
                    "display_name": person.name.zh,
                    "password_hash": hashes[person.id].result() if person.id in hashes else None,
                    "state": UserState.ACTIVE,
                    "locale": "zh-CN",
                    "created_at": now,
                }
                for person in town.people
            ],
        )
        self._insert(
            Membership,
            [
                {
                    "id": new_id(),
                    "town_id": town.id,
                    "user_id": person.id,
                    "role": post.role,
                    "area_id": post.area_id,
                    "department_id": post.department_id,
                    "officer_kind": post.officer_kind,
                    "granted_at": now - timedelta(days=30),
                }
                for person in town.people
                for post in person.posts
            ],
        )

    def _write_devices(self) -> None:
        """A phone and four trackers for each officer who can sign in; the credentials as hashes alone."""
        self._next("devices")
        made_at = self.uow.now - timedelta(days=30)
        self.kits: dict[UUID, _Kit] = {}
        devices: list[dict[str, Any]] = []
        credentials: list[dict[str, Any]] = []

        def device(officer: Person, kind: DeviceKind, protocol: Protocol, name: str) -> UUID:
            device_id = new_id()
            devices.append(
                {
                    "id": device_id,
                    "town_id": self.town.id,
                    "officer_id": officer.id,
                    "kind": kind,
                    "protocol": protocol,
                    "name": name,
                    "datum": "wgs84",
                    "state": DeviceState.ACTIVE,
                    "created_at": made_at,
                    "created_by": self.singles["supervisor"].id,
                }
            )
            return device_id

        for officer in self.officers:
            phone_id = device(officer, DeviceKind.PHONE, Protocol.OFFICER, f"{officer.name.zh}的手机")
            trackers: dict[Protocol, tuple[UUID, Credential]] = {}
            for protocol in TRACKERS:
                device_id = device(officer, DeviceKind.TRACKER, protocol, f"{officer.name.en} {protocol}")
                username = f"xg-{device_id.hex[-12:]}" if protocol is Protocol.OWNTRACKS else None
                credential = Credential(new_secret(), username)
                trackers[protocol] = (device_id, credential)
                credentials.append(
                    {
                        "key_hash": secret_hash(credential.key),
                        "town_id": self.town.id,
                        "device_id": device_id,
                        "username": username,
                        "created_at": made_at,
                    }
                )
            self.kits[officer.id] = _Kit(phone_id, trackers)
        self._insert(Device, devices)
        self._insert(DeviceCredential, credentials)

    # --- what happened before --------------------------------------------------------------------------------------

    def _write_past(self) -> None:
        """Compute yesterday and this morning while the passwords are still being hashed."""
        self._next("yesterday's walks")
        streets = streets_of(self.town)
        running = range(RESERVED, RESERVED + min(ON_DUTY, self.config.simulate_officers))
        self.duties = [
            duty
            for n, officer in enumerate(self.officers[:WITH_A_PAST])
            for duty in history.duties(streets, officer, self.uow.now, self.seed, running=n in running)
        ]
        self.area_of = AreaIndex(
            (area.id, area.parent_id, area.kind, area.polygon) for area in self.town.areas
        )

    def _write_duties(self) -> None:
        self._next("shifts and tracks")
        uow, town = self.uow, self.town
        upkeep.keep_partitions(
            uow,
            ahead_days=self.config.partitions_ahead_days,
            fix_retention_days=max(self.config.fix_retention_days, 7),
        )
        numbers = {officer.id: n - RESERVED for n, officer in enumerate(self.officers)}
        shifts: list[tuple[UUID, Duty]] = []
        for duty in self.duties:
            crew_id = self._crew(duty, numbers[duty.person.id]) if duty.ended_at is None else None
            shifts.append((self._shift(duty, crew_id), duty))
        uow.session.flush()
        connection = _driver(uow)
        fix_rows.register(connection)
        cursor = connection.cursor(binary=True)
        for shift_id, duty in shifts:
            protocol = _protocol(numbers[duty.person.id])
            rows = self._rows(self.kits[duty.person.id].device_id(protocol), shift_id, duty.measurements)
            latest = rows[-1:] if duty.ended_at is None else []
            cursor.execute(
                grouped_write.STORE,
                (
                    town.id, gate.key(town.id), [shift_id], Rows(rows), Rows(latest), duty.started_at, 0,
                    [protocol], [str(Outcome.STORED)], [len(rows)],
                ),
            )  # fmt: skip
            written = sum(count for _, count in cursor.fetchall())
            assert written == len(rows), "The shift gate refused a fix of the shift's own time."

    # --- rounds ------------------------------------------------------------------------------------------------

    def _write_rounds(self) -> None:
        """Routes over the whole town; plans where people try the demo, and a few that come seldom."""
        self._next("routes and plans")
        uow, town = self.uow, self.town
        drawn = [(new_id(), one) for one in rounds.rounds_of(town, streets_of(town))]
        self._insert(
            Route,
            [
                {
                    "id": route_id,
                    "town_id": town.id,
                    "number": numbers.next_number(uow, "route"),
                    "name": one.name.as_json(),
                    "area_id": one.area_id,
                    "sequence": one.sequence,
                    "allowed_s": one.allowed_s,
                    "corridor_m": one.corridor_m,
                    "line": _geometry(shapely.LineString(one.line)),
                    "created_at": uow.now,
                    "version": 1,
                }
                for route_id, one in drawn
            ],
        )
        self._insert(
            RoutePoint,
            [
                {
                    "route_id": route_id,
                    "position": position,
                    "town_id": town.id,
                    "checkpoint_id": checkpoint.id,
                }
                for route_id, one in drawn
                for position, checkpoint in enumerate(one.checkpoints)
            ],
        )
        # Where the officers are who are left to people: nobody walks for them.
        tried = list(dict.fromkeys(officer.posts[0].area_id for officer in self.officers[:RESERVED]))
        of_area: dict[UUID | None, UUID] = {}
        for route_id, one in drawn:
            of_area.setdefault(one.area_id, route_id)
        planned = [(of_area[area_id], rounds.ROUND_THE_CLOCK) for area_id in tried if area_id in of_area]
        others = [route_id for area_id, route_id in of_area.items() if area_id not in tried]
        planned += zip(others[:: max(1, len(others) // len(rounds.SELDOM))], rounds.SELDOM, strict=False)
        today = uow.now.astimezone(ZoneInfo(TIME_ZONE)).date()
        plan_ids = [new_id() for _ in planned]
        self._insert(
            Plan,
            [
                {
                    "id": plan_id,
                    "town_id": town.id,
                    "route_id": route_id,
                    "name": times.name.as_json(),
                    "rule": times.rule,
                    "starts_on": today,
                    "starts_at": time(times.hour),
                    "late_after_s": times.late_after_s,
                    "window_s": times.window_s,
                    "officer_ids": [],
                    "created_at": uow.now,
                    "version": 1,
                }
                for plan_id, (route_id, times) in zip(plan_ids, planned, strict=True)
            ],
        )
        plans.make_ahead(uow)
        for plan_id, (_, times) in zip(plan_ids, planned, strict=True):
            if times is rounds.ROUND_THE_CLOCK:
                # Whoever opens the officer's client finds one to begin, and need not wait for its hour.
                patrols.schedule(uow, plans.read(uow, plan_id), uow.now.replace(second=0, microsecond=0))

    # --- the roster ----------------------------------------------------------------------------------------------

    def _write_roster(self) -> None:
        """What was planned of those who were on duty, to the half hour, and three watches in turn for a week to come.

        Who is left to people is planned from this hour on.
        """
        zone, now = ZoneInfo(TIME_ZONE), self.uow.now
        of_officer: dict[UUID, list[tuple[datetime, datetime]]] = {}
        for duty in self.duties:
            span = (_half_hour(duty.started_at), _half_hour(duty.planned_end_at))
            of_officer.setdefault(duty.person.id, []).append(span)
        hour = now.replace(minute=0, second=0, microsecond=0)
        for officer in self.officers[:RESERVED]:
            of_officer.setdefault(officer.id, []).append((hour, hour + timedelta(hours=8)))
        rows = []
        for number, officer in enumerate(self.officers):
            spans = of_officer.get(officer.id, [])
            for day in range(1, 8):
                watch = (number + day) % 4  # Three days on, the fourth is free.
                begins = datetime.combine(now.astimezone(zone).date(), time(), zone) + timedelta(
                    days=day, hours=8 * watch
                )
                if watch < 3 and begins >= max((end for _, end in spans), default=now):
                    spans.append((begins, begins + timedelta(hours=8)))
            rows += [
                {
                    "id": new_id(), "town_id": self.town.id, "officer_id": officer.id,
                    "area_id": officer.posts[0].area_id, "kind": _WATCHES[begins.astimezone(zone).hour // 8],
                    "begins_at": begins, "ends_at": ends, "state": "planned", "created_at": now, "version": 1,
                }
                for begins, ends in spans
            ]  # fmt: skip
        self._insert(PlannedShift, rows)

    def _shift(self, duty: Duty, crew_id: UUID | None) -> UUID:
        """A shift as its officer would have left it behind, with the journal rows of its start and end."""
        shift = Shift(
            id=new_id(),
            town_id=self.town.id,
            officer_id=duty.person.id,
            area_id=duty.person.posts[0].area_id,
            crew_id=crew_id,
            state=ShiftState.ON_DUTY if duty.ended_at is None else ShiftState.ENDED,
            started_at=duty.started_at,
            started_device_at=duty.started_at,
            planned_end_at=duty.planned_end_at,
            closes_at=min(duty.planned_end_at + GRACE, duty.started_at + LONGEST_SHIFT),
            ended_at=duty.ended_at,
            ended_by=None if duty.ended_at is None else EndedBy.SELF,
            version=1 if duty.ended_at is None else 2,
        )
        self.uow.session.add(shift)
        who, on, over = duty.person.id, ShiftState.ON_DUTY, ShiftState.ENDED
        self._journal("shift", shift.id, "start", duty.started_at, actor_id=who, after=on)
        if duty.ended_at is not None:
            self._journal("shift", shift.id, "end", duty.ended_at, actor_id=who, before=on, after=over)
        return shift.id

    def _crew(self, duty: Duty, number: int) -> UUID | None:
        """A call sign, and how he goes: everybody who rides or drives has one, and every second who walks."""
        if duty.person.travel == FOOT and number % 2:
            return None
        crew = Crew(
            id=new_id(),
            town_id=self.town.id,
            area_id=duty.person.posts[0].area_id,
            call_sign=f"云巡{number + 1:03}",
            travel=duty.person.travel,
            leader_id=duty.person.id,
            created_at=duty.started_at,
        )
        self.uow.session.add(crew)
        self.uow.session.flush()
        self.uow.session.add(CrewMember(crew_id=crew.id, user_id=duty.person.id, town_id=self.town.id))
        return crew.id

    def _rows(self, device_id: UUID, shift_id: UUID, measurements: Iterable[Measurement]) -> list[bytes]:
        rows: list[bytes] = []
        for measured in measurements:
            fixed_at = datetime.fromtimestamp(measured.at, UTC)
            fix = Fix(
                fixed_at=fixed_at,
                lon=measured.lon,
                lat=measured.lat,
                accuracy_m=measured.accuracy_m,
                altitude_m=measured.altitude_m,
                speed_mps=measured.speed_mps,
                heading_deg=measured.heading_deg,
                battery_pct=measured.battery_pct,
                charging=measured.charging,
                sent_at=fixed_at,
                area_id=self.area_of(measured.lon, measured.lat),
            )
            # It came when it was measured, a moment of the mobile network later.
            rows += fix_rows.encode(device_id, [shift_id], [fix], fixed_at + timedelta(milliseconds=180))
        return rows

    def _journal(
        self,
        subject_kind: str,
        subject_id: UUID,
        action: str,
        at: datetime,
        *,
        actor_id: UUID | None = None,
        before: str | None = None,
        after: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        """A journal row with a time of its own: these acts lie in the past."""
        self.uow.session.add(
            Journal(
                id=new_id(),
                town_id=self.town.id,
                at=at,
                actor_id=actor_id,
                subject_kind=subject_kind,
                subject_id=subject_id,
                action=action,
                from_state=before,
                to_state=after,
                data=data or dict(_DATA),
            )
        )

    # --- accounts ------------------------------------------------------------------------------------------------

    def _accounts(self, plain: Mapping[UUID, str]) -> dict[str, Any]:
        def account(person: Person) -> dict[str, Any]:
            return {"login": person.login, "password": plain[person.id], "display_name": person.name.zh}

        departments = {department.id: department.name.as_json() for department in self.town.departments}
        return {
            "town": {"id": str(self.town.id), "code": self.town.code, "seed": self.seed},
            **{role: account(person) for role, person in self.singles.items()},
            "desk": account(self.desks[0]),
            "desks": [
                account(desk) | {"area_ids": [str(post.area_id) for post in desk.posts]}
                for desk in self.desks[1:]
            ],
            "handlers": [
                account(handler) | {"department": departments[handler.posts[0].department_id]}
                for handler in self.handlers
                if handler.posts[0].department_id is not None
            ],
            "officers": [
                account(officer)
                | {
                    "id": str(officer.id),
                    "kind": officer.posts[0].officer_kind,
                    "area_id": str(officer.posts[0].area_id),
                    "device_id": str(self.kits[officer.id].phone_id),
                    "reserved": n < RESERVED,
                    "trackers": self._trackers(self.kits[officer.id]),
                }
                for n, officer in enumerate(self.officers)
            ],
            "residents": [
                {
                    "phone": person.phone,
                    "code": "POST /api/v1/auth/otp with the phone; the code is printed on the server's console and"
                    f" written to {self.config.data_dir / 'otp.log'}",
                    "display_name": person.name.zh,
                }
                for person in self.town.people
                if person.role == "resident"
            ],
        }

    def _trackers(self, kit: _Kit) -> dict[str, Any]:
        gateway = accounts.base_url(self.config) + "/gateway"
        secret = {protocol: credential for protocol, (_, credential) in kit.trackers.items()}
        return {
            "osmand": {"url": f"{gateway}/osmand", "id": secret[Protocol.OSMAND].secret},
            "owntracks": {
                "url": f"{gateway}/owntracks",
                "user": secret[Protocol.OWNTRACKS].username,
                "password": secret[Protocol.OWNTRACKS].secret,
            },
            "overland": {"url": f"{gateway}/overland", "token": secret[Protocol.OVERLAND].secret},
            "gpslogger": {
                "url": f"{gateway}/gpslogger/{secret[Protocol.GPSLOGGER].secret}?{GPSLOGGER_TEMPLATE}"
            },
        }

    def _insert(self, model: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        self.uow.session.execute(insert(model), rows)


_WATCHES = (DutyKind.NIGHT, DutyKind.DAY, DutyKind.EVENING)


def _half_hour(moment: datetime) -> datetime:
    """Return the half hour next to a moment: rosters know no minutes."""
    half_s = 1800
    return datetime.fromtimestamp(round(moment.timestamp() / half_s) * half_s, UTC)


def _protocol(number: int) -> str:
    """What the simulated phone of that number speaks, so that history and present are one track."""
    protocol = MIXED[number % len(MIXED)]
    return protocol.partition("-")[0]


def _geometry(shape: shapely.Geometry) -> WKBElement:
    return WKBElement(shapely.to_wkb(shape), srid=4326)


def _driver(uow: UnitOfWork) -> psycopg.Connection[Any]:
    connection = uow.session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    return connection
