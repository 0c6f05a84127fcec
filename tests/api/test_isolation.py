"""Nobody sees or does what is not his: towns, areas, residents, roles, fields, ids."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.adapters.pictures import Picture
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import AlarmKind, AlarmSource, CallKind, DutyLevel, Role, RosterRequestKind
from backend.models import Base
from mobile_api import endpoint, hot
from tests.api.conftest import Caller, World
from tests.api.test_shifts import start
from tests.appraising import contested_month
from tests.factories import Person
from tests.photos import metadata, photo
from tests.rosters import make_planned
from tests.rounds import make_duty, make_patrol, make_post, make_visit
from workflows import (
    access,
    alarms,
    calls,
    duty_levels,
    evidence,
    evidence_exports,
    hand_overs,
    reporting,
    roster_requests,
    task_kinds,
    tasks,
)
from workflows.offering import Whom

SPAN = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "reason": "a look"}
HOURS = itertools.count(1)
"""An hour of its own for each duty level."""


class Prey:
    """What there is to see of an officer: his shift, device, track, session."""

    def __init__(self, world: World, officer: Person, leader: Person) -> None:
        caller = Caller(world.app).sign_in(officer)
        self.officer, self.leader = officer, leader
        self.session_id = caller.tokens["session_id"]
        shift = start(caller)
        self.shift_id, self.device_id = shift["id"], shift["device_id"]
        now = time.time()
        lon, lat = world.here.place()
        fix = {"fixed_at": _moment(now + 1), "lon": lon, "lat": lat, "accuracy_m": 5}
        body = {"device_id": self.device_id, "sent_at": _moment(now), "fixes": [fix]}
        answer = caller.send("POST", "/api/v1/officer/fixes", body)
        assert answer.json["stored"] == 1, answer.text
        crew = {"call_sign": "1", "travel": "foot", "member_ids": [str(officer.id)]}
        [asked] = start(Caller(world.app).sign_in(leader), crew=crew)["crew"]["invited"]
        assert asked["id"] == str(officer.id)
        [invitation] = caller.get("/api/v1/officer/invitations").json["items"]
        self.ids = {
            "officer_id": str(officer.id), "user_id": str(officer.id), "shift_id": self.shift_id,
            "device_id": self.device_id, "session_id": self.session_id, "track_id": str(uuid.uuid4()),
            "membership_id": str(uuid.uuid4()), "invitation_id": invitation["id"], **noticed(world, officer),
        }  # fmt: skip
        area = "a" if officer.area_id == world.here.areas["a"] else "b"
        with unit_of_work(world.here.id) as uow:
            task = tasks.create(
                uow, world.here["supervisor"].actor(), command_id=new_id(), kind_code="check", description="x",
                place=world.here.place(area), whom=Whom(officer_ids=[officer.id]),
            )  # fmt: skip
            reported = task_kinds.usable(uow, code="facility").id
            report = reporting.file(
                uow, officer.actor(), command_id=new_id(), kind_id=reported, how="handled", sample_percent=100,
                place=alarms.Place(*world.here.place(area)), note=officer.login,
                evidence_after=[(photo_id := photographed(world, uow, officer))],
            )  # fmt: skip
            alarm, _ = alarms.raise_alarm(
                uow, officer.actor(), AlarmKind.SOS, AlarmSource.OFFICER, officer.id,
                area_id=world.here.areas[area], officer_id=officer.id,
                place=alarms.Place(*world.here.place(area)),
            )  # fmt: skip
            call = calls.create(
                uow, world.here["supervisor"].actor(), command_id=new_id(), kind=CallKind.ROLL_CALL,
                whom=calls.Whom(area_id=world.here.areas[area]), lasts=timedelta(minutes=30),
            )  # fmt: skip
            # One person has so many calls open and no more, and there is much prey.
            call.created_by = officer.id
            patrol = make_patrol(uow, world.here, area=area, people=[officer])
            checkpoint = patrol.points[0].checkpoint
            visit = make_visit(
                uow, world.here, officer, checkpoint.id, at=uow.now, flags=["mock"], area=area,
                shift_id=uuid.UUID(self.shift_id),
            )  # fmt: skip
            contest, other = contested_month(uow, world.here, officer, area=area)
            planned = make_planned(uow, world.here, officer, area=area)
            asked = roster_requests.ask(
                uow, leader.actor(), command_id=new_id(), kind=RosterRequestKind.SWAP, reason=leader.login,
                planned_id=make_planned(uow, world.here, leader, area=area).id, colleague_id=officer.id,
            )  # fmt: skip
            given = hand_overs.give(
                uow, leader.actor(), command_id=new_id(), watch=leader.login, taker_id=officer.id
            )
            duty = make_duty(uow, world.here, make_post(uow, world.here, area=area), starts_at=uow.now)
            # There is much prey, and of one area one level is in force at a time.
            begins_at = uow.now + next(HOURS) * timedelta(hours=1)
            switch = duty_levels.switch(
                uow, world.here["supervisor"].actor(), area_id=world.here.areas[area], level=DutyLevel.SECOND,
                since_at=begins_at, until_at=begins_at + timedelta(minutes=30), reason="market day",
                command_id=new_id(),
            )  # fmt: skip
            export = evidence_exports.request(
                uow, world.here["supervisor"].actor(), command_id=None, evidence_ids=[photo_id], reason="to court",
                case_number=None,
            )  # fmt: skip
            evidence_exports.made(uow, export.id, sha256=bytes(32), length=6)
            bundle = world.config.bundle(world.here.id, export.id)
            bundle.parent.mkdir(parents=True, exist_ok=True)
            bundle.write_bytes(b"bundle")
        lon, lat = world.here.place(area)
        self.ids |= {
            "export_id": str(export.id),
            "planned_shift_id": str(planned.id), "roster_request_id": str(asked.id), "hand_over_id": str(given.id),
            "duty_id": str(duty.id), "post_id": str(duty.post_id), "switch_id": str(switch.id),
            "evidence_id": str(photo_id), "report_id": str(report.id), "reported_id": str(reported),
            "call_id": str(call.id), "alarm_id": str(alarm.id), "task_id": str(task.id), "kind_id": str(task.kind_id),
            "lon": str(lon), "lat": str(lat), "colleague_id": str(leader.id),
            "patrol_id": str(patrol.id), "route_id": str(patrol.route_id), "plan_id": str(patrol.plan_id),
            "checkpoint_id": str(checkpoint.id), "label_token": checkpoint.label_token, "visit_id": str(visit.id),
            "appraisal_id": str(contest.appraisal_id), "contest_id": str(contest.id), "input_id": str(other.id),
        }  # fmt: skip


def photographed(world: World, uow: UnitOfWork, officer: Person) -> uuid.UUID:
    """A sealed photo of an officer on shift, whose bytes are in the store."""
    data = photo(64, 48)
    photo_id, header = metadata(data)
    sha256 = hashlib.sha256(data).digest()
    declared = evidence.Declared(photo_id, sha256, uow.now, len(data), header)
    evidence.begin(uow, officer.actor(), declared, evidence.Room(1 << 20, 1 << 40, 1 << 40))
    evidence.arrived(uow, photo_id, sha256=sha256, length=len(data), media_type="image/jpeg")
    evidence.examined(uow, photo_id, Picture(64, 48), preview_sha256=sha256)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        world.app.extensions["xungeng.store"].keep(uow.town, sha256, Path(file.name))
    return photo_id


def noticed(world: World, person: Person) -> dict[str, str]:
    """A notice to somebody that nobody could bring him, and an address of his."""
    row = {"town": person.town_id, "user": person.id, "token": uuid.uuid4().hex}
    with world.owner.begin() as connection:
        notice_id = connection.scalar(
            text(
                "insert into notices (id, town_id, recipient_id, kind, subject_kind, subject_id, params, priority,"
                " created_at) values (gen_random_uuid(), :town, :user, 'task.offered', 'task', gen_random_uuid(),"
                " '{\"number\": 7}', 1, now()) returning id"
            ),
            row,
        )
        delivery_id = connection.scalar(
            text(
                "insert into deliveries (id, town_id, notice_id, recipient_id, channel, position, priority, state,"
                " attempts, error, created_at, ended_at) values (gen_random_uuid(), :town, :notice, :user, 'wecom', 0,"
                " 1, 'dead', 1, 'no_address', now(), now()) returning id"
            ),
            row | {"notice": notice_id},
        )
        address_id = connection.scalar(
            text(
                "insert into addresses (id, town_id, user_id, channel, token, created_at)"
                " values (gen_random_uuid(), :town, :user, 'wecom', :token, now()) returning id"
            ),
            row,
        )
    return {"notice_id": str(notice_id), "delivery_id": str(delivery_id), "address_id": str(address_id)}


def _moment(epoch_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch_s))


@pytest.fixture(scope="module")
def prey(world: World) -> Iterator[Prey]:
    from backend.core import db

    before = db._engine
    db.set_engine(world.engine)
    yield Prey(world, world.officer("b"), world.officer("b"))
    db.set_engine(before)


def routes(world: World) -> list[tuple[str, str, endpoint.Policy]]:
    """Every policied route as (method, path template, policy)."""
    found = []
    for rule in world.app.url_map.iter_rules():
        policy = endpoint.POLICIES.get(rule.endpoint)
        if policy is not None:
            method = next(iter(rule.methods - {"HEAD", "OPTIONS"}))
            found.append((method, str(rule), policy))
    return found


def filled(path: str, ids: dict[str, str]) -> str:
    """A path with the prey's ids in it."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1).rpartition(":")[2]
        return ids.get(name, {"layer": "areas", "z": "0", "x": "0", "y": "0"}.get(name, "x"))

    return re.sub(r"<([^>]+)>", value, path)


def test_a_dispatcher_sees_the_officers_of_his_areas_and_no_others(
    world: World, signed_in: Any, prey: Prey
) -> None:
    """F41: lists, single rows, trails, replays, exports, tiles, devices of another community."""
    stranger, own = signed_in("desk_a"), signed_in("desk_b")
    officer = str(prey.officer.id)
    assert officer in {o["id"] for o in own.get("/api/v1/desk/officers").json["items"]}
    assert officer not in {o["id"] for o in stranger.get("/api/v1/desk/officers").json["items"]}
    named = stranger.get("/api/v1/desk/officers", q=f"{prey.officer.login.split('.')[1]}").json["items"]
    assert officer not in {o["id"] for o in named}
    for path in (f"/api/v1/desk/officers/{officer}", f"/api/v1/desk/officers/{officer}/trail"):
        assert own.get(path).status_code == 200, path
        assert stranger.get(path).status_code == 404, path
    look = {"officer_ids": [officer], **SPAN}
    assert own.post("/api/v1/desk/replays", look).status_code == 201
    assert stranger.post("/api/v1/desk/replays", look).status_code == 404
    mixed = {"officer_ids": [officer, str(world.here["officer_a"].id)], **SPAN}
    assert stranger.post("/api/v1/desk/replays", mixed).status_code == 404
    area = {"area_id": str(world.here.areas["b"]), **SPAN}
    assert stranger.post("/api/v1/desk/replays", area).status_code == 404
    assert prey.shift_id not in stranger.get("/api/v1/desk/shifts").text
    assert prey.shift_id in own.get("/api/v1/desk/shifts").text
    supervisor_a = signed_in("supervisor_a")
    assert prey.device_id not in supervisor_a.get("/api/v1/desk/devices").text
    assert supervisor_a.get(f"/api/v1/desk/officers/{officer}/track.gpx", **SPAN).status_code == 404
    assert (
        signed_in("supervisor").get(f"/api/v1/desk/officers/{officer}/track.gpx", **SPAN).status_code == 200
    )


def test_tiles_and_areas_hold_only_what_is_in_scope(world: World, signed_in: Any) -> None:
    """F41: a map tile and the tree tell a dispatcher of A nothing of B's compounds."""
    a, b = world.here.areas, signed_in("desk_a")
    listed = {x["id"] for x in b.get("/api/v1/desk/areas").json["items"]}
    assert listed == {str(a["town"]), str(a["a"]), str(a["a1"])}
    path = f"/api/v1/desk/tiles/areas/{_tile_of(121.31, 31.105, 12)}.mvt"
    tile, whole = b.get(path), signed_in("supervisor").get(path)
    for name, present in (("a", True), ("a1", True), ("b", False), ("b1", False)):
        assert (str(a[name]).encode() in tile.data) is present, name
        if name in ("a", "b"):
            assert str(a[name]).encode() in whole.data, name


def _tile_of(lon: float, lat: float, z: int) -> str:
    x = int((lon + 180) / 360 * 2**z)
    y = int((1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * 2**z)
    return f"{z}/{x}/{y}"


def test_no_route_gives_a_row_of_another_town(world: World, prey: Prey) -> None:
    """F41, F46: every route with every role of the other town, with this town's ids; figure printed."""
    leaked, asked = [], 0
    secrets = [prey.shift_id, prey.device_id, str(prey.officer.id), prey.session_id, str(world.here.id)]
    for person in world.there.people.values():
        caller = _caller(world, person)
        for method, path, policy in routes(world):
            if policy.may is None or policy.audience == "auth":
                continue
            asked += 1
            query = SPAN if path.endswith(".gpx") else {}
            target = filled(path, prey.ids)
            if method == "GET":
                answer = caller.get(target, **query)
            else:
                answer = caller.send(method, target, {"officer_ids": [str(prey.officer.id)], **SPAN})
            assert answer.status_code < 500, (method, path)
            if "<" in path and "tiles" not in path:
                if answer.status_code not in (403, 404, 415, 422):
                    leaked.append((method, path, person.role, answer.status_code))
            elif any(secret.encode() in answer.data for secret in secrets):
                leaked.append((method, path, person.role, "text"))
    print(f"F41 cross-town rows over {asked} route and role pairs: {len(leaked)}")
    assert leaked == []


def test_every_route_refuses_every_role_that_the_table_does_not_name(world: World, prey: Prey) -> None:
    """F46: route x role from the URL map."""
    wrong, asked = [], 0
    for person in world.here.people.values():
        caller = _caller(world, person)
        for method, path, policy in routes(world):
            if policy.may is None or policy.audience == "auth":
                continue
            asked += 1
            target = filled(path, {**prey.ids, **dict.fromkeys(prey.ids, str(uuid.uuid4()))})
            allowed = person.role in access.GRANTS[policy.may]
            answer = caller.get(target) if method == "GET" else caller.send(method, target, {})
            if (answer.status_code == 403) is allowed and answer.status_code not in (415, 422):
                wrong.append((method, path, person.role, answer.status_code))
    for route in hot.HOT:
        for person in world.here.people.values():
            asked += 1
            answer = _caller(world, person).send(route.method, route.path, {})
            allowed = person.role in access.GRANTS[route.may]
            if (answer.status_code == 403) is allowed:
                wrong.append((route.method, route.path, person.role, answer.status_code))
    print(f"F46 wrong answers over {asked} route and role pairs: {len(wrong)}")
    assert wrong == []


def test_nobody_gets_anywhere_without_a_token(world: World, caller: Caller, prey: Prey) -> None:
    for method, path, policy in routes(world):
        if policy.may is not None:
            answer = (
                caller.get(filled(path, prey.ids))
                if method == "GET"
                else caller.send(method, filled(path, prey.ids), {})
            )
            assert answer.status_code == 401, (method, path, answer.status_code)


_sessions: dict[uuid.UUID, Caller] = {}


def _caller(world: World, person: Person) -> Caller:
    if person.id not in _sessions:
        _sessions[person.id] = (
            _resident(world, person) if person.role is Role.RESIDENT else Caller(world.app).sign_in(person)
        )
    found = _sessions[person.id]
    world.app.extensions["xungeng.limits"]._limiter.storage.reset()
    return found


def _resident(world: World, person: Person) -> Caller:
    """A resident, signed in by the code that the development gateway wrote down."""
    caller = Caller(world.app)
    town = person.login.partition(".")[0]
    assert caller.post("/api/v1/auth/otp", {"phone": person.phone, "town": town}).status_code == 202
    lines = (world.config.data_dir / "otp.log").read_text().splitlines()
    code = [line for line in lines if str(person.phone) in line][-1].rpartition("code=")[2].strip()
    answer = caller.post("/api/v1/auth/otp/verify", {"phone": person.phone, "town": town, "code": code})
    assert answer.status_code == 200, answer.text
    caller.tokens = answer.json
    caller.headers["Authorization"] = f"Bearer {answer.json['access_token']}"
    return caller


def test_a_resident_sees_his_own_home_and_nobody_elses(world: World) -> None:
    """F40 for what exists: two residents, every id route; absent and foreign are told alike, in like time."""
    first, second = _caller(world, world.here["resident"]), _caller(world, world.here["resident2"])
    assert first.get("/api/v1/resident/home").json["areas"][0]["id"] == str(world.here.areas["a1"])
    assert second.get("/api/v1/resident/home").json["areas"][0]["id"] == str(world.here.areas["b1"])
    foreign, missing = second.tokens["session_id"], str(uuid.uuid4())
    bodies, times = {}, {}
    for name, wanted in (("foreign", foreign), ("missing", missing)):
        spent = []
        for _ in range(15):
            world.app.extensions["xungeng.limits"]._limiter.storage.reset()
            begun = time.perf_counter()
            answer = first.post(f"/api/v1/auth/sessions/{wanted}/revoke")
            spent.append(time.perf_counter() - begun)
            assert answer.status_code == 404
        bodies[name] = {k: v for k, v in answer.json.items() if k != "request_id"}
        times[name] = statistics.median(spent) * 1000
    print(f"F40 timing gap: {abs(times['foreign'] - times['missing']):.2f} ms of {times['missing']:.2f} ms")
    assert bodies["foreign"] == bodies["missing"]
    assert second.get("/api/v1/auth/me").status_code == 200


def test_guessing_ids_finds_nothing_and_is_stopped(
    world: World, signed_in: Any, thin: Callable[[int, int], int]
) -> None:
    """F43: random ids, a bound on misses, an alert."""
    from backend.core.metrics import ENUMERATION_ALERTS

    world.app.extensions["xungeng.limits"]._limiter.storage.reset()
    caller, before = signed_in("desk_a"), ENUMERATION_ALERTS._value.get()
    count, answers = thin(100_000, 500), {}
    for _ in range(count):
        status = caller.get(f"/api/v1/desk/officers/{uuid.uuid4()}").status_code
        answers[status] = answers.get(status, 0) + 1
    print(f"F43 hits in {count} guesses: {answers.get(200, 0)}; looked at: {answers.get(404, 0)}")
    assert answers.get(200, 0) == 0
    assert answers[404] <= 61 * (1 + count // 20_000)
    assert ENUMERATION_ALERTS._value.get() > before
    world.app.extensions["xungeng.limits"]._limiter.storage.reset()


def test_no_body_writes_a_column_that_it_should_not(world: World, prey: Prey) -> None:
    """F44: every column of every table in every body is a field that is taken, or 422."""
    columns = {c.name for t in Base.metadata.tables.values() for c in t.columns}
    assert len(columns) > 60
    unintended = []
    for method, path, policy in routes(world):
        if method == "GET" or path.endswith(("imported-tracks", "/import")):
            continue
        person = _someone(world, policy)
        caller = _caller(world, person) if person else Caller(world.app)
        body = dict.fromkeys(columns, "x")
        answer = caller.send(method, filled(path, prey.ids), body)
        if answer.status_code not in (400, 401, 404, 422, 429) and not _takes_no_body(world, method, path):
            unintended.append((method, path, answer.status_code))
    print(f"F44 bodies with foreign columns taken: {len(unintended)}")
    assert unintended == []
    still = _caller(world, world.here["admin"]).get("/api/v1/auth/me").json
    assert still["roles"] == ["admin"]


def _someone(world: World, policy: endpoint.Policy) -> Person | None:
    if policy.may is None:
        return None
    return next((p for p in world.there.people.values() if p.role in access.GRANTS[policy.may]), None)


def _takes_no_body(world: World, method: str, path: str) -> bool:
    document = Caller(world.app).get("/api/v1/openapi.json").json
    template = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", path)
    return "requestBody" not in document["paths"][template][method.lower()]


FILES = (".gpx", ".mvt", "/content", "/preview", "/template", "/bundle")
"""Looks whose answers are no JSON."""


def test_answers_hold_the_fields_of_their_schema_and_no_others(world: World, prey: Prey) -> None:
    """F45: what a route answers is what its schema names, for every look that somebody may take."""
    document = Caller(world.app).get("/api/v1/openapi.json").json
    extra, looked = [], 0
    for method, path, policy in routes(world):
        if method != "GET" or policy.may is None or path.endswith(FILES):
            continue
        template = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", path)
        schema = document["paths"][template]["get"]["responses"]["200"]["content"]["application/json"][
            "schema"
        ]
        for person in world.here.people.values():
            if person.role not in access.GRANTS[policy.may]:
                continue
            answer = _caller(world, person).get(filled(path, prey.ids))
            if answer.status_code == 200:
                looked += 1
                extra += [(path, key) for key in _beyond(answer.json, schema, document)]
    print(f"F45 fields beyond the schema over {looked} answers: {len(extra)}")
    assert looked > 20
    assert extra == []


def _beyond(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> list[str]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for part in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        if "$ref" in part and value is not None:
            return _beyond(value, part, document)
    if isinstance(value, list) and "items" in schema:
        return [key for item in value for key in _beyond(item, schema["items"], document)]
    if isinstance(value, dict) and "properties" in schema:
        found = [key for key in value if key not in schema["properties"]]
        for key, item in value.items():
            if key in schema["properties"]:
                found += _beyond(item, schema["properties"][key], document)
        return found
    return []


def test_a_town_does_not_leak_through_the_pool(world: World, thin: Callable[[int, int], int]) -> None:
    """F47: alternating towns on one connection, with transactions that fail half-way; no setting means no rows."""
    foreign = 0
    with world.engine.connect() as connection:
        for round_ in range(thin(1000, 60)):
            town = (world.here, world.there)[round_ % 2]
            with Session(connection) as session:
                begun = session.begin()
                session.execute(
                    text("select set_config('xungeng.town', :town, true)"), {"town": str(town.id)}
                )
                ids = set(session.scalars(text("select distinct town_id from users")))
                foreign += ids != {town.id}
                if round_ % 3 == 0:
                    with pytest.raises(Exception, match="division"):
                        session.execute(text("select 1/0"))
                begun.rollback()
            assert connection.execute(text("select count(*) from users")).scalar() == 0
            connection.rollback()
    print(f"F47 foreign rows: {foreign}")
    assert foreign == 0
    with unit_of_work() as uow:
        for table in Base.metadata.tables.values():
            if "town_id" in table.columns:
                assert uow.session.scalar(text(f"select count(*) from {table.name}")) == 0, table.name


def test_a_row_is_not_written_into_another_town(world: World) -> None:
    """F47: the policy's check, not only its filter."""
    with pytest.raises(Exception, match="row-level security"), unit_of_work(world.here.id) as uow:
        uow.session.execute(
            text(
                "insert into users (id, town_id, display_name, state, locale, created_at)"
                " values (:id, :town, 'x', 'active', 'en', now())"
            ),
            {"id": uuid.uuid4(), "town": world.there.id},
        )


def test_an_admin_does_not_give_himself_anything(world: World, signed_in: Any) -> None:
    """F42 for what exists."""
    admin, me = signed_in("admin"), world.here["admin"].id
    grant = {"role": "supervisor", "area_id": str(world.here.areas["town"])}
    refused = admin.post(f"/api/v1/desk/users/{me}/memberships", grant)
    assert (refused.status_code, refused.json["code"]) == (403, "not_to_oneself")
    assert admin.post(f"/api/v1/desk/users/{me}/disable", {"reason": "bye"}).status_code == 403
    assert (
        admin.send("PATCH", f"/api/v1/desk/users/{me}", {"password": "violet harbour kettle 9"}).status_code
        == 403
    )
    other = world.officer()
    assert admin.post(f"/api/v1/desk/users/{other.id}/memberships", grant).status_code == 201
