"""The architecture itself: no endpoint without a policy, no scoped table without row-level security."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from backend.app import EXEMPT, create_app
from backend.core.config import Config
from backend.core.vocabulary import Audience, Role
from backend.models import Base
from mobile_api import endpoint, hot
from workflows import access
from workflows.devices import DEVICE
from workflows.shifts import SHIFT

ROOT = Path(__file__).resolve().parents[2]
MACHINES = [SHIFT, DEVICE]


@pytest.fixture(scope="module")
def app(config: Config) -> Any:
    return create_app(replace(config))


def test_every_endpoint_has_an_audience_a_permission_and_a_limit(app: Any) -> None:
    """F46: the app lists no route without a policy, and each policy's permission is in the table."""
    plain = {name: "" for name in app.view_functions if name.partition(".")[0].startswith("gateway")}
    assert endpoint.unpolicied(app, EXEMPT | plain) == []
    for name, policy in endpoint.POLICIES.items():
        assert policy.limit.item.amount > 0, name
        if policy.may is None:
            assert policy.audience in (Audience.PUBLIC, Audience.AUTH), name
        else:
            assert policy.may in access.GRANTS, name
    for route in hot.HOT:
        assert route.may in access.GRANTS
        assert route.per_second > 0


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


def test_append_only_tables_refuse_changes_to_the_app(engine: Engine, owner_engine: Engine) -> None:
    with owner_engine.connect() as connection:
        granted = connection.execute(
            text(
                "select table_name, privilege_type from information_schema.role_table_grants"
                " where grantee in ('xungeng_app', 'xungeng_auditor') and privilege_type in ('UPDATE', 'DELETE')"
            )
        ).all()
    changed = {row.table_name for row in granted}
    assert changed.isdisjoint({"fixes", "journal", "disclosures", "quarantined_fixes", "towns"})
    assert not [name for name in changed if re.search(r"_\d{6,8}$|_default$", name)]


def test_every_step_of_a_machine_has_a_function_and_reaches_every_state() -> None:
    for machine in MACHINES:
        module = __import__(f"workflows.{machine.kind}s", fromlist=["x"])
        source = Path(module.__file__).read_text()
        for one in machine.steps:
            assert re.search(rf"\"{one.action}\"", source), one.action


def test_schemas_are_not_shared_across_audiences() -> None:
    for audience in ("officer", "resident", "desk", "public", "auth"):
        for path in (ROOT / "mobile_api" / audience).glob("*.py"):
            source = path.read_text()
            others = {"officer", "resident", "desk", "public", "auth"} - {audience}
            for other in others:
                assert f"from mobile_api.{other}" not in source, path
            for name in re.findall(r"^class (\w+Schema)\(", source, re.MULTILINE):
                assert name.lower().startswith(audience), f"{path}: {name}"
