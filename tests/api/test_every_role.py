"""Every route, every role, with a request that would be good from the right person: only then does a 403 say something.

A body that is refused for its fields says nothing about rights, so each route that reads one has a good one here, and
a route without one fails the test.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import text

from backend.core.notice_settings import NoticeSettings
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import Role, RosterRequestKind
from mobile_api import hot
from notifications import reach
from tests import dispatching
from tests.api.conftest import Caller, World
from tests.api.test_bad_bodies import HOSTILE
from tests.api.test_isolation import HOURS, Prey, _caller, noticed, routes
from tests.notifications.conftest import everything
from tests.rosters import make_planned
from workflows import access, hand_overs, journal, patrols, post_duties, post_reliefs, roster_requests, tasks
from workflows import dispatching as workflows_dispatching
from workflows.results import Referral

SPAN = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "reason": "a look"}
DAY = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}
Ids = dict[str, str]
Make = Callable[[Ids], Any]
DESK, OFFICER, RESIDENT = "/api/v1/desk", "/api/v1/officer", "/api/v1/resident"


@pytest.fixture(autouse=True)
def _channels() -> Iterator[None]:
    reach.use(everything(webpush_contact=None))
    yield
    reach.use(NoticeSettings())


def gpx_of_now() -> str:
    """A track of this moment, in which the shift of whom it is about runs."""
    points = "".join(
        f'<trkpt lat="{lat}" lon="121.305"><time>{now()}</time></trkpt>' for lat in (31.105, 31.106)
    )
    return (
        '<gpx version="1.1" creator="x" xmlns="http://www.topografix.com/GPX/1/1">'
        f"<trk><trkseg>{points}</trkseg></trk></gpx>"
    )


def phone(ids: Ids) -> dict[str, str]:
    return {"id": ids["device_id"], "name": "Phone"}


def a_checkpoint(ids: Ids) -> dict[str, Any]:
    return {
        "code": f"tried-{uuid.uuid4().hex[:12]}", "name": {"zh-CN": "试", "en": "tried"},
        "place": [float(ids["lon"]), float(ids["lat"])],
    }  # fmt: skip


def a_route(ids: Ids) -> dict[str, Any]:
    return {
        "name": {"zh-CN": "试", "en": "tried"},
        "allowed_s": 3600,
        "checkpoint_ids": [ids["checkpoint_id"]],
    }


def a_plan(ids: Ids) -> dict[str, Any]:
    return {"route_id": ids["route_id"], "name": {"zh-CN": "试", "en": "tried"}, **WHEN}


def a_planned_shift(ids: Ids) -> dict[str, Any]:
    day = date.today() + timedelta(days=400 + next(_days))
    return {
        "officer_id": ids["officer_id"], "area_id": ids["area_id"], "day": day.isoformat(), "from_time": "22:00",
        "until_time": "06:00",
    }  # fmt: skip


_days = count()
"""No two of these shifts overlap."""
ROSTER = {"since": "2026-01-01", "until": "2026-01-02"}


def a_post(ids: Ids) -> dict[str, Any]:
    return {"name": {"zh-CN": "试", "en": "tried"}, "place": [float(ids["lon"]), float(ids["lat"])]}


def a_switch(ids: Ids) -> dict[str, Any]:
    begins_at = datetime.now(UTC) + next(HOURS) * timedelta(hours=1)
    return {
        "area_id": ids["area_id"], "level": "first", "since_at": begins_at.isoformat(), "reason": "tried",
        "until_at": (begins_at + timedelta(minutes=30)).isoformat(),
    }  # fmt: skip


WHEN = {"rule": "FREQ=WEEKLY", "starts_on": "2026-01-01", "starts_at": "08:30"}
BODIES: dict[tuple[str, str], Make] = {
    ("POST", f"{OFFICER}/shifts"): lambda ids: {
        "area_id": ids["area_id"], "device": phone(ids),
        "crew": {"call_sign": "1", "travel": "foot", "member_ids": [ids["officer_id"]]},
    },
    ("POST", f"{OFFICER}/shifts/<shift_id>/end"): lambda ids: {},
    ("POST", f"{OFFICER}/invitations/<invitation_id>/accept"): lambda ids: {"device": phone(ids)},
    ("POST", f"{OFFICER}/shifts/<shift_id>/phone"): phone,
    ("POST", f"{OFFICER}/fixes"): lambda ids: {
        "device_id": ids["device_id"], "sent_at": now(),
        "fixes": [{"fixed_at": now(), "lon": 121.305, "lat": 31.105, "accuracy_m": 5}],
    },
    ("POST", f"{OFFICER}/tasks/<task_id>/accept"): lambda ids: {"device_at": now()},
    ("POST", f"{OFFICER}/tasks/<task_id>/decline"): lambda ids: {"reason": "tried"},
    ("POST", f"{OFFICER}/tasks/<task_id>/depart"): lambda ids: {},
    ("POST", f"{OFFICER}/tasks/<task_id>/arrive"): lambda ids: {},
    ("POST", f"{OFFICER}/tasks/<task_id>/resolve"): lambda ids: {"text": "x", "answers": {"found": True}},
    ("POST", f"{OFFICER}/tasks/<task_id>/hand-back"): lambda ids: {"reason": "tried"},
    ("POST", f"{DESK}/tasks"): lambda ids: {
        "kind_id": ids["kind_id"], "description": "x", "place": [float(ids["lon"]), float(ids["lat"])],
    },
    ("POST", f"{DESK}/tasks/<task_id>/offer"): lambda ids: {"officer_ids": [ids["officer_id"]]},
    ("POST", f"{DESK}/tasks/<task_id>/reinforce"): lambda ids: {"officer_ids": [ids["colleague_id"]]},
    ("POST", f"{DESK}/tasks/<task_id>/reassign"): lambda ids: {
        "officer_ids": [ids["colleague_id"]], "reason": "tried",
    },
    ("POST", f"{DESK}/tasks/<task_id>/release"): lambda ids: {"officer_id": ids["officer_id"], "reason": "tried"},
    ("POST", f"{DESK}/tasks/<task_id>/cancel"): lambda ids: {"reason": "tried"},
    ("POST", f"{DESK}/tasks/<task_id>/rework"): lambda ids: {"reason": "tried"},
    ("POST", f"{DESK}/tasks/<task_id>/refer"): lambda ids: {
        "case_number": "A3101-7", "taken_by": "x", "handed_at": now(), "reason": "tried",
    },
    ("POST", f"{DESK}/checkpoints/labels"): lambda ids: {"checkpoint_ids": [ids["checkpoint_id"]]},
    ("POST", f"{DESK}/tasks/<task_id>/brief"): lambda ids: {"reason": "tried"},
    ("POST", f"{OFFICER}/patrols"): lambda ids: {"route_id": ids["route_id"]},
    ("POST", f"{OFFICER}/patrols/<patrol_id>/start"): lambda ids: {},
    ("POST", f"{OFFICER}/patrols/<patrol_id>/pause"): lambda ids: {"device_at": now()},
    ("POST", f"{OFFICER}/patrols/<patrol_id>/resume"): lambda ids: {},
    ("POST", f"{OFFICER}/patrols/<patrol_id>/finish"): lambda ids: {},
    ("POST", f"{OFFICER}/patrols/<patrol_id>/end-early"): lambda ids: {"reason": "tried"},
    ("POST", f"{OFFICER}/patrols/<patrol_id>/points/<checkpoint_id>/skip"): lambda ids: {"reason": "tried"},
    ("POST", f"{OFFICER}/patrols/<patrol_id>/points/<checkpoint_id>/answer"): lambda ids: {"answers": {}},
    ("POST", f"{OFFICER}/patrols/<patrol_id>/explain"): lambda ids: {"text": "tried"},
    ("POST", f"{OFFICER}/posts/<duty_id>/start"): lambda ids: {"device_at": now()},
    ("POST", f"{OFFICER}/posts/<duty_id>/break"): lambda ids: {},
    ("POST", f"{OFFICER}/posts/<duty_id>/return"): lambda ids: {},
    ("POST", f"{OFFICER}/posts/<duty_id>/end"): lambda ids: {},
    ("POST", f"{OFFICER}/posts/<duty_id>/end-early"): lambda ids: {"reason": "tried"},
    ("POST", f"{OFFICER}/posts/<duty_id>/take-over"): lambda ids: {},
    ("POST", f"{OFFICER}/posts/<duty_id>/hand-over"): lambda ids: {},
    ("POST", f"{OFFICER}/posts/<duty_id>/explain"): lambda ids: {"text": "tried"},
    ("POST", f"{DESK}/posts"): a_post,
    ("PUT", f"{DESK}/posts/<post_id>"): a_post,
    ("POST", f"{DESK}/posts/duties"): lambda ids: {
        "post_id": ids["post_id"], "starts_at": now(),
        "ends_at": (datetime.now(UTC) + timedelta(hours=2)).isoformat(), "officer_ids": [ids["officer_id"]],
    },
    ("POST", f"{DESK}/posts/duties/<duty_id>/cancel"): lambda ids: {"reason": "tried"},
    ("POST", f"{DESK}/duty-levels"): a_switch,
    ("POST", f"{DESK}/duty-levels/<switch_id>/end"): lambda ids: {"reason": "tried"},
    ("POST", f"{OFFICER}/appraisals/<appraisal_id>/contest"): lambda ids: {
        "input_id": ids["input_id"], "reason": "tried",
    },
    ("POST", f"{DESK}/appraisals/<appraisal_id>/exclude"): lambda ids: {
        "input_id": ids["input_id"], "reason": "tried",
    },
    ("POST", f"{DESK}/appraisal-months"): lambda ids: {"month": f"20{uuid.uuid4().int % 14 + 10}-01"},
    ("POST", f"{DESK}/appraisal-contests/<contest_id>/uphold"): lambda ids: {
        "remedy": "exclude", "reason": "tried",
    },
    ("POST", f"{DESK}/appraisal-contests/<contest_id>/refuse"): lambda ids: {"reason": "tried"},
    **{
        ("POST", f"{DESK}/monthly-reports/{kind}"): lambda ids: {"month": "2026-01", "reason": "tried"}
        for kind in ("pdf", "xlsx")
    },
    ("POST", f"{OFFICER}/visits"): lambda ids: {
        "token": ids["label_token"], "place": {"lon": float(ids["lon"]), "lat": float(ids["lat"])},
    },
    ("POST", f"{DESK}/roster"): a_planned_shift,
    ("PUT", f"{DESK}/roster/<planned_shift_id>"): a_planned_shift,
    ("POST", f"{DESK}/roster/<planned_shift_id>/cancel"): lambda ids: {"reason": "tried"},
    ("POST", f"{DESK}/evidence-exports"): lambda ids: {"evidence_ids": [ids["evidence_id"]], "reason": "tried"},
    ("POST", f"{DESK}/roster-requests/<roster_request_id>/refuse"): lambda ids: {"reason": "tried"},
    ("POST", f"{OFFICER}/roster-requests"): lambda ids: {
        "kind": "excuse", "planned_id": ids["planned_shift_id"], "reason": "tried",
    },
    ("POST", f"{OFFICER}/roster-requests/<roster_request_id>/decline"): lambda ids: {"reason": None},
    ("POST", f"{OFFICER}/hand-overs"): lambda ids: {
        "taker_id": ids["colleague_id"], "equipment": [{"name": "x", "count": 2, "ok": False}],
    },
    ("POST", f"{OFFICER}/hand-overs/<hand_over_id>/take"): lambda ids: {"remark": "tried"},
    ("POST", f"{OFFICER}/hand-overs/<hand_over_id>/decline"): lambda ids: {"reason": "tried"},
    ("POST", f"{DESK}/checkpoints"): a_checkpoint,
    ("PUT", f"{DESK}/checkpoints/<checkpoint_id>"): a_checkpoint,
    ("POST", f"{DESK}/routes"): a_route,
    ("PUT", f"{DESK}/routes/<route_id>"): a_route,
    ("POST", f"{DESK}/plans"): a_plan,
    ("PUT", f"{DESK}/plans/<plan_id>"): a_plan,
    ("POST", f"{DESK}/plans/preview"): lambda ids: WHEN,
    ("POST", f"{DESK}/patrols/<patrol_id>/cancel"): lambda ids: {"reason": "tried"},
    ("POST", f"{DESK}/visits/<visit_id>/review"): lambda ids: {"verdict": "genuine", "note": "tried"},
    ("POST", f"{OFFICER}/reports"): lambda ids: {
        "kind_id": ids["reported_id"], "how": "handled", "place": {"lon": float(ids["lon"]), "lat": float(ids["lat"])},
    },
    ("POST", f"{DESK}/reports/<report_id>/pass-on"): lambda ids: {"reason": "tried"},
    ("POST", f"{DESK}/task-kinds"): lambda ids: {
        "code": f"tried_{uuid.uuid4().hex[:12]}", "name": {"zh-CN": "试", "en": "tried"},
    },
    ("PUT", f"{DESK}/task-kinds/<kind_id>"): lambda ids: {"name": {"zh-CN": "试", "en": "tried"}},
    ("POST", f"{DESK}/alarms/<alarm_id>/dispatch"): lambda ids: {
        "offer": {"officer_ids": [ids["colleague_id"]]},
    },
    ("POST", f"{DESK}/alarms/<alarm_id>/dismiss"): lambda ids: {"reason": "tried"},
    ("POST", f"{DESK}/alarms/<alarm_id>/clear"): lambda ids: {"reason": "tried"},
    ("POST", f"{DESK}/calls"): lambda ids: {"kind": "roll_call", "area_id": ids["area_id"]},
    ("POST", f"{OFFICER}/calls/<call_id>/answer"): lambda ids: {
        "device_at": now(), "place": {"lon": float(ids["lon"]), "lat": float(ids["lat"]), "fixed_at": now()},
    },
    ("POST", f"{OFFICER}/calls/received"): lambda ids: {"ids": [ids["call_id"]]},
    **{
        ("POST", f"{tree}/sos"): lambda ids: {"place": {"lon": float(ids["lon"]), "lat": float(ids["lat"])}}
        for tree in (OFFICER, RESIDENT)
    },
    ("POST", f"{DESK}/replays"): lambda ids: {"officer_ids": [ids["officer_id"]], **SPAN},
    ("POST", f"{DESK}/shifts/<shift_id>/end"): lambda ids: {"reason": "tried"},
    ("PUT", f"{DESK}/basemaps"): lambda ids: {
        "basemaps": [{"kind": "none", "name": {"zh-CN": "无", "en": "None"}, "url": None, "datum": "wgs84"}],
    },
    ("POST", f"{DESK}/phones"): lambda ids: {"officer_id": ids["officer_id"], "protocol": "osmand"},
    ("POST", f"{DESK}/devices"): lambda ids: {
        "officer_id": ids["officer_id"], "name": "x", "protocol": "osmand",
    },
    ("POST", f"{DESK}/devices/<device_id>/revoke"): lambda ids: {"reason": "tried"},
    ("POST", f"{DESK}/users"): lambda ids: {
        "display_name": "x", "login": f"tried{uuid.uuid4().hex[:12]}", "password": "violet harbour kettle 9",
    },
    ("PATCH", f"{DESK}/users/<user_id>"): lambda ids: {"display_name": "tried"},
    ("POST", f"{DESK}/users/<user_id>/disable"): lambda ids: {"reason": "tried"},
    ("POST", f"{DESK}/users/<user_id>/memberships"): lambda ids: {
        "role": "dispatcher", "area_id": ids["area_id"],
    },
    ("POST", f"{DESK}/users/<user_id>/addresses"): lambda ids: {
        "channel": "wecom", "token": f"tried{uuid.uuid4().hex[:12]}",
    },
    **{
        row: make
        for tree in (DESK, OFFICER, RESIDENT)
        for row, make in {
            ("POST", f"{tree}/notices/read"): lambda ids: {"ids": [ids["notice_id"]]},
            ("PUT", f"{tree}/notice-settings"): lambda ids: {
                "channels": {}, "quiet_from": None, "quiet_until": None,
            },
            ("POST", f"{tree}/wechat-credits"): lambda ids: {"template_ids": ["MINI_1"]},
            ("POST", f"{tree}/addresses"): lambda ids: {
                "channel": "fcm", "token": f"fid-{uuid.uuid4().hex}",
            },
        }.items()
    },
}  # fmt: skip
"""A good body for each route that reads JSON; its ids are of whom it is about."""
QUERIES: dict[str, Make] = {
    f"{DESK}/tasks/nearest": lambda ids: {"lon": ids["lon"], "lat": ids["lat"]},
    f"{DESK}/officers/<officer_id>/track.gpx": lambda ids: SPAN,
    f"{DESK}/imported-tracks": lambda ids: {"officer_id": ids["officer_id"], "name": "x"},
    f"{DESK}/imported-tracks/<track_id>": lambda ids: {"reason": "a look"},
    f"{DESK}/imported-tracks/<track_id>.gpx": lambda ids: {"reason": "a look"},
    f"{DESK}/checkpoints/import": lambda ids: {"format": "csv"},
    f"{DESK}/routes/import": lambda ids: {"format": "geojson"},
    f"{DESK}/roster": lambda ids: ROSTER,
    f"{DESK}/roster/attendance": lambda ids: ROSTER,
    f"{DESK}/roster/import": lambda ids: {"dry_run": "true"},
    f"{DESK}/patrols": lambda ids: DAY,
    f"{DESK}/visits": lambda ids: DAY,
    f"{DESK}/posts/duties": lambda ids: DAY,
    f"{DESK}/coverage": lambda ids: DAY,
    f"{DESK}/appraisals": lambda ids: {"month": "2026-01"},
    f"{DESK}/appraisal-groups": lambda ids: {"month": "2026-01"},
}
FILES: dict[str, Callable[[Ids], str]] = {
    f"{DESK}/checkpoints/import": lambda ids: (
        f"code,name_zh,name_en,lon,lat\ntried-{uuid.uuid4().hex[:12]},试,tried,{ids['lon']},{ids['lat']}\n"
    ),
    f"{DESK}/routes/import": lambda ids: (
        f'{{"type": "LineString", "coordinates": [[{ids["lon"]}, {ids["lat"]}], [121.3, 31.1]]}}'
    ),
    f"{DESK}/imported-tracks": lambda ids: gpx_of_now(),
    f"{DESK}/roster/import": lambda ids: "login,date,from,until\nnobody,2026-01-01,8:00,16:00\n",
}
"""A good file for each route that reads one."""
LISTS = {f"{DESK}/imported-tracks": "names and times of files, no places"}
NAMES_SOMEBODY_IN_ITS_BODY = {
    ("POST", f"{OFFICER}/shifts"), ("POST", f"{OFFICER}/fixes"), ("POST", f"{DESK}/replays"),
    ("POST", f"{DESK}/devices"), ("POST", f"{DESK}/phones"), ("POST", f"{DESK}/imported-tracks"),
    ("POST", f"{DESK}/calls"), ("POST", f"{DESK}/checkpoints/labels"), ("POST", f"{DESK}/roster"),
    ("POST", f"{OFFICER}/roster-requests"), ("POST", f"{OFFICER}/hand-overs"),
    ("POST", f"{DESK}/posts/duties"), ("POST", f"{DESK}/duty-levels"),
}  # fmt: skip


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def plain(path: str) -> str:
    """A rule as it is written here: without converters."""
    return re.sub(r"<(?:[^<>:]+:)?(\w+)>", r"<\1>", path)


def every_route(world: World) -> Iterator[tuple[str, str, tuple[str, str]]]:
    for method, path, policy in routes(world):
        if policy.may is not None:
            yield method, plain(path), policy.may
    for route in hot.HOT:
        yield route.method, route.path, route.may


def call(caller: Caller, method: str, path: str, ids: Ids, reads: dict[str, str | None]) -> Any:
    """Ask for what would be granted to the right person."""
    numbers = {"layer": "areas", "z": "0", "x": "0", "y": "0"}
    target = re.sub(r"<(\w+)>", lambda m: ids.get(m[1]) or numbers[m[1]], path)
    if (method == "GET") or reads.get(f"{method} {path}") is None:
        query = QUERIES.get(path, lambda ids: {})(ids) if method == "GET" and path not in LISTS else {}
        return caller.send(method, target, query_string=query)
    if reads[f"{method} {path}"] != "application/json":
        query = QUERIES.get(path, lambda ids: {})(ids)
        return caller.send(
            method, target, query_string=query, data=FILES[path](ids), content_type=reads[f"{method} {path}"]
        )
    make = BODIES.get((method, path))
    assert make is not None, f"{method} {path} reads a body and has no good one in BODIES"
    versions = {"If-Match": "1"} if method == "PUT" and path.endswith("_id>") else {}
    return caller.send(method, target, make(ids), headers=versions)


@pytest.fixture(scope="module")
def reads(world: World) -> dict[str, str | None]:
    found = {f"{m} {plain(p)}": policy.reads for m, p, policy in routes(world)}
    return found | {f"{r.method} {r.path}": "application/json" for r in hot.HOT}


def about(world: World, area: str) -> Prey:
    """A new officer of a community and a thing of each kind that belongs to him, all of which exist."""
    found = Prey(world, world.officer(area), world.officer(area))
    brought = call(
        _caller(world, world.here["supervisor"]), "POST", f"{DESK}/imported-tracks", found.ids,
        {f"POST {DESK}/imported-tracks": "application/gpx+xml"},
    )  # fmt: skip
    with world.owner.connect() as connection:
        membership = connection.execute(
            text("select id from memberships where user_id = :id"), {"id": found.officer.id}
        ).scalar_one()
    assert brought.status_code == 201, brought.text
    found.ids |= {
        "area_id": str(world.here.areas[area]),
        "membership_id": str(membership),
        "track_id": brought.json["items"][0]["id"],
    }
    return found


@pytest.fixture(scope="module")
def prey(world: World) -> Iterator[Prey]:
    from backend.core import db

    before = db._engine
    db.set_engine(world.engine)
    found = about(world, "b")
    yield found
    db.set_engine(before)


OF_A_PERSON = {
    "users": "id", "memberships": "user_id", "shifts": "officer_id", "devices": "officer_id",
    "crew_members": "user_id", "imported_tracks": "officer_id", "disclosures": "subject_id",
    "invitations": "officer_id", "latest_positions": "officer_id", "assignments": "officer_id",
    "alarms": "officer_id", "reports": "officer_id", "evidence": "officer_id", "call_answers": "officer_id",
    "patrols": "officer_id", "visits": "officer_id", "planned_shifts": "officer_id",
    "roster_requests": "colleague_id", "hand_overs": "taker_id", "patrol_photos": "officer_id",
    "phone_setups": "officer_id", "post_duties": "officer_id", "appraisals": "officer_id",
    "notices": "recipient_id", "deliveries": "recipient_id", "addresses": "user_id",
}  # fmt: skip


def state_of(world: World, prey: Prey) -> dict[str, Any]:
    """Everything of the prey that somebody could change, and who has looked."""
    with world.owner.connect() as connection:
        return {
            table: connection.execute(
                text(f"select to_jsonb(t)::text from {table} t where {column} = :id order by 1"),
                {"id": prey.officer.id},
            )
            .scalars()
            .all()
            for table, column in OF_A_PERSON.items()
        }


def test_a_good_request_of_the_wrong_role_is_403_on_every_route(
    world: World, prey: Prey, reads: dict[str, str | None]
) -> None:
    """F46: route x role with bodies that are good, so that nothing but the role is wrong; wrong answers: 0."""
    wrong, asked, before = [], 0, state_of(world, prey)
    for method, path, may in every_route(world):
        for person in world.here.people.values():
            if person.role in access.GRANTS[may]:
                continue
            asked += 1
            answer = call(_caller(world, person), method, path, prey.ids, reads)
            if answer.status_code != 403:
                wrong.append((method, path, str(person.role), answer.status_code, answer.text[:200]))
    print(f"F46 answers other than 403 over {asked} good requests of wrong roles: {len(wrong)}")
    assert wrong == []
    assert asked > 300
    assert state_of(world, prey) == before


def test_a_good_request_about_another_towns_people_is_404_on_every_route(
    world: World, prey: Prey, reads: dict[str, str | None]
) -> None:
    """F41: the right role of the other town, this town's ids in path and body; foreign rows read or changed: 0."""
    leaked, asked, before = [], 0, state_of(world, prey)
    for method, path, may in every_route(world):
        if not re.search(r"<\w+_id>", path) and (method, path) not in NAMES_SOMEBODY_IN_ITS_BODY:
            continue
        for role in access.GRANTS[may] - {Role.SYSTEM}:
            person = next((p for p in world.there.people.values() if p.role is role), None)
            if person is None:
                assert role is Role.BUILDING_HEAD, role
                continue
            asked += 1
            answer = call(_caller(world, person), method, path, prey.ids, reads)
            allowed = (403, 404, 409, 422) if (method, path) in NAMES_SOMEBODY_IN_ITS_BODY else (404,)
            if answer.status_code not in allowed or prey.officer.login in answer.text:
                leaked.append((method, path, str(role), answer.status_code, answer.text[:200]))
    print(f"F41 foreign rows over {asked} good requests with another town's ids: {len(leaked)}")
    assert leaked == []
    assert asked > 30
    assert state_of(world, prey) == before


def test_a_good_request_about_another_communitys_people_is_404_on_every_route(
    world: World, prey: Prey, reads: dict[str, str | None]
) -> None:
    """F41: the same within one town: officer and desks of community A, ids of B; admins and auditors have the town."""
    leaked, asked, before = [], 0, state_of(world, prey)
    neighbours = [world.here[name] for name in ("officer_a", "desk_a", "supervisor_a")]
    for method, path, may in every_route(world):
        if not re.search(r"<\w+_id>", path) and (method, path) not in NAMES_SOMEBODY_IN_ITS_BODY:
            continue
        if "<kind_id>" in path:  # Kinds of task are the whole town's.
            continue
        for person in neighbours:
            if person.role not in access.GRANTS[may]:
                continue
            asked += 1
            answer = call(_caller(world, person), method, path, prey.ids, reads)
            allowed = (403, 404, 409, 422) if (method, path) in NAMES_SOMEBODY_IN_ITS_BODY else (404,)
            if answer.status_code not in allowed:
                leaked.append((method, path, str(person.role), answer.status_code, answer.text[:200]))
    print(f"F41 foreign rows over {asked} good requests with another community's ids: {len(leaked)}")
    assert leaked == []
    assert asked > 20
    assert state_of(world, prey) == before


def test_the_good_requests_are_good(world: World, reads: dict[str, str | None], signed_in: Any) -> None:
    """From the right person each of them is granted: otherwise the refusals above would prove nothing."""
    refused = []
    own = about(world, "a")
    for method, path, may in every_route(world):
        if path.startswith("/api/v1/auth"):
            continue
        if path.endswith(PREPARED):
            own = about(world, "a")
        answer = _granted(world, own, method, path, may, reads, signed_in)
        if answer.status_code in (404, 409):
            own = about(world, "a")  # An act before has changed whom it is about.
            answer = _granted(world, own, method, path, may, reads, signed_in)
        if answer.status_code >= 300:
            refused.append((method, path, answer.status_code, answer.text[:300]))
    assert refused == []


def _granted(
    world: World, own: Any, method: str, path: str, may: Any, reads: dict[str, str | None], signed_in: Any
) -> Any:
    """Call a route about ``own`` as somebody who may, after what has to be done before."""
    limits = world.app.extensions["xungeng.limits"]._limiter.storage
    limits.reset()
    if Role.OFFICER in access.GRANTS[may] and path.startswith(OFFICER):
        caller = signed_in(own.officer)
        if (method, path) == ("POST", f"{OFFICER}/shifts") or path.endswith("<invitation_id>/accept"):
            caller.post(f"{OFFICER}/shifts/{own.shift_id}/end", {})
    else:
        role = next(r for r in (Role.SUPERVISOR, Role.ADMIN, Role.AUDITOR, Role.RESIDENT) if r in
                    access.GRANTS[may])  # fmt: skip
        person = next(p for p in world.here.people.values() if p.role is role)
        caller = _caller(world, person)
        if "/dead-letters/" not in path and "/user-addresses/" not in path:
            own.ids |= noticed(world, person)  # Everybody confirms and ends his own.
    limits.reset()
    if path.startswith(f"{DESK}/devices/<device_id>"):
        made = caller.post(f"{DESK}/devices", BODIES["POST", f"{DESK}/devices"](own.ids))
        own.ids["device_id"] = made.json["id"]
    _bring_task(world, own, path)
    if "<kind_id>" in path:
        made = caller.post(f"{DESK}/task-kinds", BODIES["POST", f"{DESK}/task-kinds"](own.ids))
        own.ids["kind_id"] = made.json["id"]
    ids = dict(own.ids)
    for things, name in (
        ("checkpoints", "checkpoint_id"),
        ("routes", "route_id"),
        ("plans", "plan_id"),
        ("posts", "post_id"),
    ):
        if path.startswith(f"{DESK}/{things}/<{name}>"):
            made = caller.post(f"{DESK}/{things}", BODIES["POST", f"{DESK}/{things}"](ids))
            ids[name] = made.json["id"]
    if path.endswith("/evidence/<evidence_id>/playing"):
        with world.owner.begin() as connection:
            connection.execute(text("set local session_replication_role = replica"))
            film = text("update evidence set kind = 'video', media_type = 'video/mp4' where id = :id")
            connection.execute(film, {"id": ids["evidence_id"]})
    if path.endswith("/enable"):
        caller.post(f"{DESK}/users/{own.officer.id}/disable", {"reason": "to try"})
    return call(caller, method, path, ids, reads)


BEFORE = {
    "/tasks/<task_id>/depart": ("accept",), "/tasks/<task_id>/arrive": ("accept",),
    "/tasks/<task_id>/hand-back": ("accept",), "/tasks/<task_id>/resolve": ("accept", "arrive"),
    "/tasks/<task_id>/verify": ("accept", "arrive", "resolve"),
    "/tasks/<task_id>/rework": ("accept", "arrive", "resolve"), "/tasks/<task_id>/offer": ("decline",),
}  # fmt: skip
"""What the officer does first, so that the act on his task is possible."""
BEFORE_PATROL = {
    "/pause": ("start",), "/resume": ("start", "pause"), "/finish": ("start",), "/end-early": ("start",),
    "/skip": ("start",), "/explain": ("start", "finish"), "/points/<checkpoint_id>/answer": ("start",),
}  # fmt: skip
"""The same on his patrol."""
BEFORE_POST = {
    "/break": "s", "/return": "sb", "/posts/<duty_id>/end": "se", "/posts/<duty_id>/end-early": "s",
    "/take-over": "c", "/hand-over": "sa", "/posts/<duty_id>/explain": "sl",
}  # fmt: skip
"""The same at his post: he starts, takes a break, leaves early; its end comes; a colleague stands there, or asks."""
PREPARED = (
    *BEFORE,
    *BEFORE_PATROL,
    *BEFORE_POST,
    "/patrols",
    "/start",
    "/patrols/<patrol_id>/cancel",
    "/brief",
    "/print-brief",
    "/hand-overs/<hand_over_id>/withdraw",
    "/alarms/<alarm_id>/clear",
)
"""Where something is done first, which can be done once."""


def _bring_task(world: World, own: Prey, path: str) -> None:
    for ending, actions in BEFORE.items():
        if path.endswith(ending):
            with unit_of_work(world.here.id) as uow:
                dispatching.press(uow, own.officer, uuid.UUID(own.ids["task_id"]), *actions)
    for ending, actions in BEFORE_PATROL.items():
        if path.endswith(ending):
            with unit_of_work(world.here.id) as uow:
                for action in actions:
                    press = getattr(patrols, action)
                    press(uow, own.officer.actor(), uuid.UUID(own.ids["patrol_id"]), command_id=uuid.uuid4())
    if path.endswith(("/roster-requests/<roster_request_id>/withdraw", "/approve", "/refuse")):
        with unit_of_work(world.here.id) as uow:
            planned = make_planned(uow, world.here, own.officer)
            asked = roster_requests.ask(
                uow, own.officer.actor(), command_id=uuid.uuid4(), kind=RosterRequestKind.EXCUSE, reason="to try",
                planned_id=planned.id,
            )  # fmt: skip
            own.ids["roster_request_id"] = str(asked.id)
    if path.endswith("/hand-overs/<hand_over_id>/withdraw"):
        with unit_of_work(world.here.id) as uow:
            given = hand_overs.give(uow, own.officer.actor(), command_id=uuid.uuid4())
            own.ids["hand_over_id"] = str(given.id)
    for ending, acts in BEFORE_POST.items():
        if path.endswith(ending):
            with unit_of_work(world.here.id) as uow:
                for act in acts:
                    _at_post(uow, own, act)
    if path.endswith(("/brief", "/print-brief")):
        with unit_of_work(world.here.id) as uow:
            tasks.refer(
                uow, world.here["supervisor"].actor(), uuid.UUID(own.ids["task_id"]),
                Referral("A3101-7", "x", uow.now), reason="to try", command_id=uuid.uuid4(),
            )  # fmt: skip
    if path.endswith("/alarms/<alarm_id>/clear"):
        with unit_of_work(world.here.id) as uow:
            to_clear = uuid.UUID(own.ids["alarm_id"])
            send = workflows_dispatching.dispatch
            send(uow, world.here["supervisor"].actor(), to_clear, command_id=uuid.uuid4(), whom=None)


def _at_post(uow: UnitOfWork, own: Prey, act: str) -> None:
    duty_id, command, colleague = (
        uuid.UUID(own.ids["duty_id"]),
        {"command_id": uuid.uuid4()},
        own.leader.actor(),
    )
    if act == "c":
        post_duties.start(uow, colleague, duty_id, **command)
    elif act == "a":
        post_reliefs.take_over(uow, colleague, duty_id, **command)
    elif act == "s":
        post_duties.start(uow, own.officer.actor(), duty_id, **command)
    elif act == "b":
        post_duties.take_break(uow, own.officer.actor(), duty_id, **command)
    elif act == "l":
        post_duties.end_early(uow, own.officer.actor(), duty_id, reason="to try", **command)
    else:
        post_duties.read(uow, duty_id).ends_at = uow.now + timedelta(minutes=1)


LOOKS = {("see", "track"), ("export", "track")}


def test_every_route_to_a_past_track_writes_the_look_down_or_gives_out_nothing(
    world: World, prey: Prey, reads: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """F51, P15: whatever may be asked with the right to see or export tracks; unaudited disclosures: 0."""

    class NoPaperError(Exception):
        pass

    def fail(*args: Any, **more: Any) -> None:
        raise NoPaperError

    unaudited, looked = [], 0
    caller = _caller(world, world.here["supervisor"])
    for method, path, may in every_route(world):
        if may not in LOOKS or path in LISTS:
            continue
        looked += 1
        before = len(state_of(world, prey)["disclosures"])
        answer = call(caller, method, path, prey.ids, reads)
        assert answer.status_code < 300, (path, answer.text[:200])
        if len(state_of(world, prey)["disclosures"]) != before + 1:
            unaudited.append((method, path))
        with monkeypatch.context() as broken:
            broken.setattr(journal, "disclose", fail)
            try:
                given = call(caller, method, path, prey.ids, reads).status_code
            except NoPaperError:
                given = 500
        if given < 400:
            unaudited.append((method, path, given))
        assert len(state_of(world, prey)["disclosures"]) <= before + 1
    print(f"F51 unaudited disclosures over {looked} routes: {len(unaudited)}")
    assert unaudited == []
    assert looked >= 5


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_is_refused_on_every_route_that_reads_json(
    world: World, prey: Prey, reads: dict[str, str | None], name: str
) -> None:
    """F72, F73: every route there is, hot ones and those of signing in too; server errors: 0, taken: 0."""
    before, asked = state_of(world, prey), 0
    rules = {(m, plain(p)): policy.may for m, p, policy in routes(world)}
    rules |= {(route.method, route.path): route.may for route in hot.HOT}
    for (method, path), may in rules.items():
        if reads.get(f"{method} {path}") != "application/json":
            continue
        asked += 1
        caller = Caller(world.app)
        if may is not None:
            person = next(p for p in world.here.people.values() if p.role in access.GRANTS[may])
            # What a hot route refuses slowly counts as many calls of its session, so there each has one of its own.
            is_hot = any(path == route.path for route in hot.HOT)
            caller = caller.sign_in(person) if is_hot else _caller(world, person)
        target = re.sub(r"<(\w+)>", lambda m: prey.ids[m[1]], path)
        answer = caller.send(method, target, data=HOSTILE[name], content_type="application/json")
        # What nobody needs for signing in is not even read.
        refusals = (400, 413, 422) if path.startswith("/api/v1/auth/") else (400, 422)
        assert answer.status_code in refusals, (method, path, answer.status_code, answer.text[:200])
        assert answer.mimetype == "application/problem+json", path
    assert asked >= 18
    assert state_of(world, prey) == before
