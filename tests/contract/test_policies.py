"""The architecture itself: no endpoint without a policy, no scoped table without row-level security."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError
from werkzeug.test import Client

import workflows
from backend.app import EXEMPT, create_app
from backend.core.config import Config
from backend.core.errors import Forbidden, TooMany, Unauthenticated
from backend.core.identity import Actor, Membership
from backend.core.ids import new_id
from backend.core.vocabulary import Audience, DeviceState, NoticeChannel, NoticeKind, PhoneMaker, Role
from backend.models import Base
from mobile_api import endpoint, hot
from mobile_api.gateway import answers, delivery, tus
from mobile_api.gateway.call import Call
from mobile_api.limits import Buckets, Limit
from notifications import kinds, reach, recipients, sending, templates
from notifications.templates import phone_settings
from tests.contract import generated_docs
from tests.workflows import test_machine
from workflows import access
from workflows.machine import Machine
from workflows.tracks import DeviceIdentity

ROOT = Path(__file__).resolve().parents[2]
APPEND_ONLY = {
    "fixes",
    "journal",
    "disclosures",
    "quarantined_fixes",
    "custody",
    "towns",
    "evidence_export_items",
}
every_machine = pytest.mark.parametrize("machine", generated_docs.MACHINES, ids=lambda machine: machine.kind)


@pytest.fixture(scope="module")
def app(config: Config) -> Any:
    return create_app(replace(config))


def test_every_endpoint_has_an_audience_a_permission_and_a_limit(app: Any) -> None:
    """F46: the app lists no route without a policy, and each policy's permission is in the table."""
    # Gateways authenticate devices, and have their own tests below; nothing else goes without a policy.
    paths = {p for rule in answers.ANSWERS for p in (rule, rule + "/")}
    plain = {r.endpoint: "" for r in app.url_map.iter_rules() if str(r) in paths}
    plain["gateway.gpslogger_profile"] = "the settings file, to whoever knows the device's key"
    # The protocol of uploads lives where its clients expect it; tests/api/test_uploads.py tries who may, and how often.
    plain |= {f"tus.{name}": "" for name in tus.uploads.endpoints}
    assert endpoint.unpolicied(app, EXEMPT | plain) == []
    for name, reason in EXEMPT.items():
        assert name in app.view_functions, name
        assert reason, name
    for name, policy in endpoint.POLICIES.items():
        assert policy.limit.item.amount > 0, name
        if policy.may is None:
            assert policy.audience in (Audience.PUBLIC, Audience.AUTH), name
        else:
            assert policy.may in access.GRANTS, name
    for route in hot.HOT:
        assert route.may in access.GRANTS
        assert route.per_second > 0


def test_every_endpoint_counts_and_refuses_the_call_beyond_its_limit(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of a policy is not a word: allowed one call an hour, each endpoint answers the second with 429."""
    for name, policy in list(endpoint.POLICIES.items()):
        monkeypatch.setitem(endpoint.POLICIES, name, replace(policy, limit=Limit("1/hour")))
    once, asked = Client(app.wsgi_app), 0
    for rule in app.url_map.iter_rules():
        if rule.endpoint not in endpoint.POLICIES:
            continue
        asked += 1
        path = re.sub(r"<uuid:\w+>", str(new_id()), str(rule))
        path = re.sub(r"<int:\w+>", "0", path).replace("<any(areas, roads):layer>", "areas")
        assert "<" not in path
        method = next(iter(rule.methods - {"HEAD", "OPTIONS"}))
        told = [
            # A type that no route reads: refused before anything is done, but counted before it is refused.
            once.open(path, method=method, data=b"x", content_type="x/y", environ_base={"REMOTE_ADDR": "127.9.9.9"})
            for _ in range(2)
        ]  # fmt: skip
        if method != "GET" or endpoint.POLICIES[rule.endpoint].may:
            assert told[0].status_code in (401, 415), (path, told[0].status_code)
        if rule.endpoint in NEVER_FOR_AN_ADDRESS:
            assert [one.status_code for one in told] == [401, 401], path
            continue
        assert told[1].status_code == 429, (path, told[1].status_code)
        assert int(told[1].headers["Retry-After"]) > 0
    assert asked == len(endpoint.POLICIES) > 50


NEVER_FOR_AN_ADDRESS = {"officer-sos.sos_call_for_help", "resident-sos.sos_call_for_help"}
"""A call for help is refused for its own session's calls alone, and after more of them than its limit; to whom nobody
is signed in, an address is not shut. ``tests/api/test_sos.py`` tries both."""


def test_calls_for_help_alone_go_on_beyond_their_limit_and_those_have_an_end_too() -> None:
    assert {name for name, policy in endpoint.POLICIES.items() if policy.spare} == NEVER_FOR_AN_ADDRESS
    for name in NEVER_FOR_AN_ADDRESS:
        policy = endpoint.POLICIES[name]
        assert policy.spare is not None
        assert policy.limit.item.get_expiry() <= 10, "what is used up comes back within seconds"
        assert 0 < policy.spare.item.amount <= 600


@pytest.mark.parametrize("route", hot.HOT, ids=lambda route: route.path)
def test_a_hot_route_asks_who_whether_he_may_and_how_often(
    route: hot.HotRoute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Served before Flask, it has the same three checks, in this order."""
    town = new_id()

    def someone(role: Role) -> Any:
        actor = Actor(new_id(), town, new_id(), (Membership(role, new_id()),))
        return type("Identity", (), {"authenticate": lambda self, token: actor})()

    head = hot.Head(route.method, "Bearer x", "application/json", "", "2", False, "1")
    small = replace(route, per_second=0.001, burst=1.0)
    for role in set(Role) - access.GRANTS[route.may]:
        with pytest.raises(Forbidden):
            hot.Served(small, someone(role)).admit(head)
    for role in access.GRANTS[route.may]:
        served = hot.Served(small, someone(role))
        for nobody in ("", "Bearer", "Bearer ", "Basic x"):
            with pytest.raises(Unauthenticated):
                served.admit(head._replace(authorization=nobody))
        assert role in served.admit(head).roles
        with pytest.raises(TooMany):
            served.admit(head)


@pytest.mark.parametrize("rule", answers.ANSWERS)
def test_a_gateway_asks_for_a_credential_and_bounds_the_calls_of_one(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands for the audience and the policy of our own routes: without a device no success, and a bucket."""
    monkeypatch.setattr(delivery.tracks, "device_for", lambda protocol, key: None)
    key = "no-such-key" if "<key>" in rule else None
    answer = answers.ANSWERS[rule]
    method = "GET" if rule.endswith(".properties") else "POST"
    message = Call(
        method, content_type="application/json", body=b'{"_type":"location","id":"nobody"}', key=key
    )
    shown = ["", "Bearer nobody", "Basic bm9ib2R5Om5vYm9keQ=="]
    for authorization in shown:
        assert answer(replace(message, authorization=authorization)).status in (400, 401, 404), authorization
    device = DeviceIdentity(new_id(), new_id(), new_id(), "any", DeviceState.ACTIVE)
    monkeypatch.setattr(delivery.tracks, "device_for", lambda protocol, key: device)
    monkeypatch.setattr(delivery, "BUCKETS", Buckets(0.001, 1.0))
    monkeypatch.setattr(answers, "deliver", lambda *given: True)
    known = replace(message, key="known")
    authorization = {"/gateway/owntracks": shown[2], "/gateway/overland": shown[1]}.get(rule, "")
    known = replace(known, authorization=authorization)
    assert [answer(known).status for _ in range(2)] == [200, 429]


def test_the_app_refuses_to_start_with_a_route_that_has_no_policy(config: Config, monkeypatch: Any) -> None:
    """F46: a route that was smuggled in stops the start."""
    from backend.core.config import ConfigError
    from mobile_api.public import blueprints, installation

    monkeypatch.setattr(installation.blp, "_got_registered_once", False)
    smuggler = endpoint.Door("smuggler", Audience.DESK, "/smuggled", "None.")
    smuggler.route("/x", endpoint="x")(lambda: "x")
    monkeypatch.setattr("backend.app.PUBLIC", (*blueprints.BLUEPRINTS, smuggler))
    with pytest.raises(ConfigError, match="/api/v1/desk/smuggled/x"):
        create_app(config)


def test_the_audience_is_the_first_word_of_the_path(app: Any) -> None:
    for rule in app.url_map.iter_rules():
        policy = endpoint.POLICIES.get(rule.endpoint)
        if policy is not None:
            assert str(rule).startswith(f"/api/v1/{policy.audience}/"), rule


def test_every_permission_is_granted_to_a_role_and_none_to_the_system() -> None:
    for permission, roles in access.GRANTS.items():
        assert roles, permission
        assert Role.SYSTEM not in roles, permission


def test_every_permission_is_asked_for_somewhere() -> None:
    """One that nobody asks for is a promise of the table that nothing keeps."""
    asked = {policy.may for policy in endpoint.POLICIES.values()} | {route.may for route in hot.HOT}
    assert asked - {None} == access.GRANTS.keys()


def test_every_scoped_table_has_row_level_security_and_a_policy(owner_engine: Engine) -> None:
    """F41, F47: the second line behind the doors, from the first migration on."""
    with owner_engine.connect() as connection:
        rows = connection.execute(
            text(
                "select c.relname, c.relrowsecurity, (select count(*) from pg_policy p where p.polrelid = c.oid) as n,"
                " c.relispartition from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'town_id'"
                " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')"
            )
        ).all()
    assert {t.name for t in Base.metadata.tables.values() if "town_id" in t.columns} <= {
        r.relname for r in rows
    }
    for row in rows:
        assert row.relrowsecurity, row.relname
        assert row.n > 0 or row.relispartition, row.relname


def test_whatever_belongs_to_a_town_says_to_which() -> None:
    """A table without ``town_id`` would have no row-level security, so each one is named here with its reason."""
    unscoped = {
        "towns": "the towns themselves; their names are public",
        "throttles": "counted before anybody is known, by keyed hashes",
    }
    assert {t.name for t in Base.metadata.tables.values() if "town_id" not in t.columns} == set(unscoped)


def test_append_only_tables_refuse_changes_to_the_app(engine: Engine, owner_engine: Engine) -> None:
    """By privilege, on the table and on every partition of it, and by trying."""
    with owner_engine.connect() as connection:
        may = connection.execute(
            text(
                "select c.relname, p.privilege, r.role, has_table_privilege(r.role, c.oid, p.privilege) as has"
                " from pg_class c, unnest(array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) p (privilege),"
                " unnest(array['xungeng_app', 'xungeng_auditor']) r (role)"
                " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')"
            )
        ).all()
        columns = connection.execute(
            text(
                "select c.relname, a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid"
                " where c.relname in ('fixes', 'journal', 'disclosures', 'quarantined_fixes', 'custody', 'towns')"
                " and a.attnum > 0 and has_column_privilege('xungeng_app', c.oid, a.attnum, 'UPDATE')"
            )
        ).all()
    held = {(row.role, row.relname, row.privilege) for row in may if row.has}
    assert ("xungeng_app", "journal", "INSERT") in held
    assert ("xungeng_app", "shifts", "UPDATE") in held
    for role, table, privilege in held:
        assert role == "xungeng_app", f"{role} may {privilege} {table}"
        assert privilege == "INSERT" or table not in APPEND_ONLY, f"{role} may {privilege} {table}"
        assert privilege != "TRUNCATE", f"{role} may empty {table}"
        assert not re.search(r"_\d{6,8}$|_default$", table), f"{role} may {privilege} the partition {table}"
    assert columns == []
    for table in APPEND_ONLY:
        column = Base.metadata.tables[table].columns.keys()[0]
        for act in (f"update {table} set {column} = {column}", f"delete from {table}", f"truncate {table}"):
            with engine.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
                connection.execute(text(act))


KEPT = (
    "task_kinds", "tasks", "assignments", "alarms", "reports", "calls", "call_answers", "planned_shifts",
    "roster_requests", "hand_overs", "evidence_exports",
)  # fmt: skip
"""What people were told and did; retired or ended by a state, never taken away."""


@pytest.mark.parametrize("table", KEPT)
def test_what_happened_is_changed_by_its_states_and_not_deleted_by_the_app(
    engine: Engine, table: str
) -> None:
    """By privilege, and by trying; what the application writes all day it still may."""
    with engine.connect() as connection:
        may = connection.execute(
            text(
                "select p.privilege from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p (privilege)"
                " where has_table_privilege('xungeng_app', cast(:table as regclass), p.privilege)"
            ),
            {"table": table},
        ).scalars()
        assert set(may) == {"SELECT", "INSERT", "UPDATE"}
        with pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(text(f"delete from {table}"))


# --- State machines


def test_every_machine_is_known_to_its_tests_and_to_the_documentation() -> None:
    """A table that is written tomorrow is found here, not remembered."""
    found = {
        one.kind: one
        for info in pkgutil.iter_modules(workflows.__path__)
        for one in vars(importlib.import_module(f"workflows.{info.name}")).values()
        if isinstance(one, Machine)
    }
    assert found == {machine.kind: machine for machine in generated_docs.MACHINES}
    assert found == {kind: row[0] for kind, row in test_machine.ROWS.items()}
    assert {(m.kind, s.action) for m in found.values() for s in m.steps} == test_machine.PRESSES.keys()


@every_machine
def test_a_machine_reaches_every_state_that_there_is(machine: Machine) -> None:
    """By steps from its initial state, walked here anew."""
    states, reached = set(type(machine.initial)), {machine.initial}
    for _ in states:
        reached |= {s.target for s in machine.steps if s.sources & reached and s.target is not None}
    assert reached == states
    for one in machine.steps:
        assert one.sources <= states
        assert one.by, one.action


PLURAL = {"evidence": "evidence", "roster": "roster", "post_duty": "post_duties"}
"""What has no plural but its own name; of anything else it ends with an s."""
PATHS = {"post_duty": "(?:posts|posts/duties)"}
"""Below which path the routes of a kind are, where it is not its plural."""
PRESSED_AT = {"assignment": "task", "call_answer": "call", "planned_shift": "roster"}
"""Whose rows are moved by acts on something else: a share by what is done to its task, an answer by the call's; of
planned shifts the roster is made."""
ROUTES = {("task", "withdraw"): "release", ("post_duty", "relieve"): "hand-over"}
"""Steps whose routes are called otherwise: to release an officer takes his offer back if he has not answered."""


@every_machine
def test_every_step_has_a_function_named_by_its_verb(machine: Machine) -> None:
    """``workflows/<kind>s.py`` holds ``<action>(uow, actor, …)``; that it fires this very step, test_machine tries."""
    kind = PRESSED_AT.get(machine.kind, machine.kind)
    module = importlib.import_module(f"workflows.{PLURAL.get(kind, f'{kind}s')}")
    for one in machine.steps:
        verb = getattr(module, one.action, None)
        assert inspect.isfunction(verb), f"{module.__name__} has no {one.action}"
        assert verb.__module__ == module.__name__
        assert list(inspect.signature(verb).parameters)[:2] == ["uow", "actor"], one.action
        assert inspect.getdoc(verb), one.action


@every_machine
def test_every_step_that_people_press_has_a_route_for_each_who_may(app: Any, machine: Machine) -> None:
    """The roles of a step are those whom the routes to it let in, no more and no fewer; the clock has no route."""
    for one in machine.steps:
        let_in: set[Role] = set()
        for rule in app.url_map.iter_rules():
            policy = endpoint.POLICIES.get(rule.endpoint)
            kind = PRESSED_AT.get(machine.kind, machine.kind)
            place = PATHS.get(kind) or PLURAL.get(kind, f"{kind}s").replace("_", "-")
            action = ROUTES.get((kind, one.action), one.action.replace("_", "-"))
            if policy and re.search(rf"/{place}/<uuid:\w+>/{action}$", str(rule)):
                assert policy.command, rule
                let_in |= access.GRANTS[policy.may]  # type: ignore[index]
        assert let_in == one.by - {Role.SYSTEM}, f"{machine.kind}.{one.action}"


@every_machine
def test_a_machine_moves_a_row_that_has_a_state_a_version_and_its_moments(machine: Machine) -> None:
    columns = test_machine.ROWS[machine.kind][1].__table__.columns  # type: ignore[attr-defined]
    wanted = {"id", "town_id", "state", "version"} | {s.stamps for s in machine.steps if s.stamps}
    assert wanted <= {c.name for c in columns}
    assert all(s.stamps.endswith("_at") for s in machine.steps if s.stamps)


def test_whatever_has_a_state_has_a_machine() -> None:
    """A state that is changed beside a table would have no guard, no actions and no generated tests.

    Deliveries are moved in sets by the sender, by the table ``outbox.MOVES``, which ``tests/notifications`` tries.
    """
    with_state = {t.name for t in Base.metadata.tables.values() if "state" in t.columns}
    assert with_state == {
        PLURAL.get(machine.kind, f"{machine.kind}s") for machine in generated_docs.MACHINES
    } | {"deliveries"}


@pytest.mark.parametrize("kind", NoticeKind)
def test_every_kind_of_notice_has_recipients_a_priority_and_a_template_in_both_languages(
    kind: NoticeKind,
) -> None:
    """What its texts are filled with are its own parameters; what they cannot do without, it has to have."""
    rule = kinds.RULES[kind]
    assert kinds.URGENT <= rule.priority <= kinds.LOW
    assert rule.roles
    assert Role.SYSTEM not in rule.roles
    assert recipients.NAMED_BY[kind]
    for name in recipients.NAMED_BY[kind]:
        assert inspect.isfunction(getattr(recipients, name)), name
    assert rule.params <= kinds.PARAMS.keys()
    for language in ("zh-CN", "en"):
        for text_of in templates.TEXTS[language][kind]:
            needed, optional = templates.fields_of(text_of)
            assert needed <= rule.needs, (language, text_of)
            assert optional <= rule.params, (language, text_of)
        shown = {name: EXAMPLES[name] for name in rule.params}
        for params in (shown, {name: EXAMPLES[name] for name in rule.needs}):
            stored = kinds.checked(kind, params)
            told = templates.render(kind, stored, language, ZoneInfo("Asia/Shanghai"))
            for words in (told.title, told.body):
                assert words
                assert not re.search(r"[\[\]{}]", words), words
                assert bool(re.search("[\u4e00-\u9fff]", words)) is (language == "zh-CN"), words


EXAMPLES: dict[str, Any] = {
    "duty_level": "second",
    "month": "2026-11",
    "last_day": "2026-12-08",
    "open": 2,
    "decided": "upheld",
    "number": 7,
    "what": {"zh-CN": "噪声扰民", "en": "Noise"},
    "place": {"zh-CN": "东门", "en": "East gate"},
    "call_sign": "A1",
    "distance_m": 120,
    "eta_min": 3,
    "answer_min": 2,
    "minutes": 5,
    "due_at": "2026-05-01T08:00:00+00:00",
    "at": "2026-05-01T08:00:00+00:00",
    "area_id": "0190163d-8694-739b-aea5-966c26f8ad91",
    "officer_id": "0190163d-8694-739b-aea5-966c26f8ad91",
    "by_id": "0190163d-8694-739b-aea5-966c26f8ad91",
    "level": "supervisor",
    "maker": "huawei",
    "outcome": "handled",
    "answered": 12,
    "missing": 2,
}


def test_the_tables_of_notices_name_the_same_kinds() -> None:
    """No kind without a rule, and no rule, text or list of recipients for a kind that is not there."""
    wanted = set(NoticeKind)
    assert kinds.RULES.keys() == wanted
    assert recipients.NAMED_BY.keys() == wanted
    for language in templates.TEXTS.values():
        assert language.keys() == wanted
    assert EXAMPLES.keys() == kinds.PARAMS.keys()
    assert all(re.fullmatch(r"[a-z_]+\.[a-z_]+", kind) for kind in NoticeKind)
    for texts in phone_settings.TEXTS.values():
        assert texts.keys() == set(PhoneMaker)


def test_every_channel_can_be_made_and_stands_in_the_order_of_both_profiles() -> None:
    everything = set(NoticeChannel)
    assert sending.MAKERS.keys() == everything
    for order in reach.ORDER.values():
        assert set(order) == everything - {NoticeChannel.WECOM_ROBOT}
        assert len(order) == len(set(order))


# --- Schemas


def test_schemas_are_not_shared_across_audiences() -> None:
    for audience in ("officer", "resident", "desk", "public", "auth"):
        for path in (ROOT / "mobile_api" / audience).glob("*.py"):
            source = path.read_text()
            others = {"officer", "resident", "desk", "public", "auth"} - {audience}
            for other in others:
                assert f"from mobile_api.{other}" not in source, path
            for name in re.findall(r"^class (\w+Schema)\(", source, re.MULTILINE):
                assert name.lower().startswith(audience), f"{path}: {name}"
