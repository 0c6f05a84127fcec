"""The API's document, read as a contract: every route is in it, acts take a key, lists page, no body is open.

That the answers are what the document says, schemathesis tries (``tests/api/test_openapi.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from marshmallow import RAISE, Schema, ValidationError, fields
from werkzeug.test import Client

from backend.app import create_app
from backend.core.config import Config
from backend.core.vocabulary import Audience
from backend.models import Base
from mobile_api import endpoint, hot, problems
from tests.contract import generated_docs

DESIGNED = {400, 401, 403, 404, 405, 409, 410, 412, 413, 415, 416, 422, 423, 429, 503, 507}
"""The refusals of the design; 500 is a defect and no refusal."""
WITHOUT_KEY = {
    "post /api/v1/desk/checkpoints/labels": "a look that prints: again is another sheet, and is written down again",
    "post /api/v1/desk/monthly-reports/pdf": "a look, like a replay",
    "post /api/v1/desk/monthly-reports/xlsx": "a look, like a replay",
    "post /api/v1/desk/replays": "a look: it stores disclosures alone, and the same look again is another look",
    "post /api/v1/desk/tasks/{task_id}/brief": "a look, like a replay",
    "post /api/v1/desk/plans/preview": "a look at what a rule means: it stores nothing",
    "post /api/v1/officer/fixes": "fixes have a natural key: device, time and number",
}
"""Acts of our own clients, beside signing in, that take no Idempotency-Key."""
SHORT = {
    **{
        f"/api/v1/{tree}/addresses": "ten on each channel"
        for tree in ("officer", "resident", "desk", "desk/users/{user_id}")
    },
    "/api/v1/auth/sessions": "200 at most",
    "/api/v1/desk/users/{user_id}/sessions": "200 at most",
    "/api/v1/desk/departments": "500 at most",
    "/api/v1/desk/tasks/nearest": "50 at most",
    "/api/v1/desk/tasks/{task_id}/nearest": "50 at most",
    "/api/v1/desk/duty-levels/in-force": "the areas of one's own memberships",
    "/api/v1/officer/posts/levels": "the areas of one's own memberships",
    "/api/v1/desk/counters": "one day's, by protocol and outcome",
    "/api/v1/desk/reports/{report_id}/evidence": "40 at most: 20 from before, 20 from after",
    "/api/v1/desk/tasks/{task_id}/evidence": "50 at most",
    "/api/v1/desk/patrols/{patrol_id}/evidence": "40 at most of each of its points",
}
"""Lists that are short by their nature, with what bounds them."""


@pytest.fixture(scope="module")
def app(config: Config) -> Any:
    return create_app(config)


@pytest.fixture(scope="module")
def document(app: Any) -> dict[str, Any]:
    return Client(app.wsgi_app).get("/api/v1/openapi.json").json


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method != "parameters":
                yield method, path, operation


def resolved(document: dict[str, Any], part: dict[str, Any], kind: str = "schemas") -> dict[str, Any]:
    """A schema or a response, with its reference followed."""
    name = part.get("$ref", "").rpartition("/")[2]
    return document["components"][kind][name] if name else part


def success(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """The schema of the JSON that an operation answers with, or nothing."""
    for code, response in operation["responses"].items():
        if code.startswith("2") and "application/json" in response.get("content", {}):
            return resolved(document, response["content"]["application/json"]["schema"])
    return {}


def test_the_document_and_the_url_map_name_the_same_routes(app: Any, document: dict[str, Any]) -> None:
    served = {(route.method.lower(), route.path) for route in hot.HOT}
    for rule in app.url_map.iter_rules():
        if rule.endpoint in endpoint.POLICIES:
            path = re.sub(r"<(?:[^:<>]+:)?(\w+)>", r"{\1}", str(rule))
            served |= {(method.lower(), path) for method in rule.methods - {"HEAD", "OPTIONS"}}
    assert {(method, path) for method, path, _ in operations(document)} == served
    assert len(served) > 50


def test_the_permission_in_the_document_is_the_one_that_is_asked(app: Any, document: dict[str, Any]) -> None:
    stated = {
        (method, path): (operation.get("x-permission"), bool(operation.get("security")))
        for method, path, operation in operations(document)
    }
    for rule in app.url_map.iter_rules():
        if policy := endpoint.POLICIES.get(rule.endpoint):
            path = re.sub(r"<(?:[^:<>]+:)?(\w+)>", r"{\1}", str(rule))
            [method] = rule.methods - {"HEAD", "OPTIONS"}
            wanted = ":".join(policy.may) if policy.may else None
            assert stated[method.lower(), path] == (wanted, policy.may is not None), path


def test_the_document_has_a_version_a_paper_and_an_audience_for_each_path(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    for _method, path, operation in operations(document):
        assert path.split("/")[3] in set(Audience), path
        assert path.startswith("/api/v1/")
        assert operation["summary"].endswith("."), path


def test_every_act_of_our_own_clients_takes_a_key(document: dict[str, Any]) -> None:
    """Signing in is exempt, and what stands in ``WITHOUT_KEY`` with its reason."""
    without = set()
    for method, path, operation in operations(document):
        if method == "get" or not operation.get("security"):
            continue
        keys = [p for p in operation.get("parameters", []) if p.get("name") == "Idempotency-Key"]
        assert all(key["required"] and key["schema"]["format"] == "uuid" for key in keys)
        if not keys:
            without.add(f"{method} {path}")
    assert without == set(WITHOUT_KEY)
    open_acts = {
        path for method, path, o in operations(document) if method != "get" and not o.get("security")
    }
    assert {path.split("/")[3] for path in open_acts} == {"auth"}


def test_nothing_returns_a_list_without_an_end(document: dict[str, Any]) -> None:
    """``{"items": […], "next": …}`` with ``cursor`` and a bounded ``limit``; never a bare array."""
    paged, short = set(), set()
    for method, path, operation in operations(document):
        schema = success(document, operation)
        assert schema.get("type") != "array", f"{method} {path}"
        if method != "get" or "items" not in schema.get("properties", {}):
            continue
        parameters = {p["name"]: p.get("schema", {}) for p in operation.get("parameters", [])}
        if "cursor" in parameters:
            paged.add(path)
            assert "next" in schema["properties"], path
            assert parameters["limit"]["maximum"] <= 1000, path
            assert parameters["limit"]["minimum"] == 1, path
            assert "422" in operation["responses"], path
        else:
            short.add(path)
    assert short == set(SHORT)
    assert len(paged) > 10


def test_refusals_are_problem_documents_of_the_designed_kinds(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        for code, response in operation["responses"].items():
            if code.startswith(("2", "3")):
                continue
            assert int(code) in DESIGNED, (method, path, code)
            assert HTTPStatus(int(code))
            content = resolved(document, response, "responses")["content"]
            assert list(content) == [problems.MEDIA_TYPE], (method, path, code)
            assert content[problems.MEDIA_TYPE]["schema"]["$ref"].endswith("/Problem")


def test_what_has_a_life_cycle_says_what_may_be_done_with_it(document: dict[str, Any]) -> None:
    """Clients draw their buttons from ``actions`` and from nothing else."""
    for machine in generated_docs.MACHINES:
        name = machine.kind.title().replace("_", "")
        shown = [
            s for n, s in document["components"]["schemas"].items() if re.fullmatch(rf"[A-Z][a-z]+{name}", n)
        ]
        assert shown, name
        for schema in shown:
            assert {"id", "state", "actions"} <= schema["properties"].keys(), name


def test_names_that_people_read_come_in_both_languages(document: dict[str, Any]) -> None:
    """Of places, routes, plans, departments, maps, kinds of task: by language. Of people and devices: a text."""
    by_language = re.compile(
        r"(Town|Area|AreaName|Street|Department|Basemap|Installation|TaskKind\w*|Route(Drawn|Body)?|Plan(Body)?|Post(Body)?"
        r"|Checkpoint(WithRoutes|Body)?|OfficerFigure|FigureRule)$"
    )
    seen = {True: 0, False: 0}
    for title, schema in document["components"]["schemas"].items():
        if name := schema.get("properties", {}).get("name"):
            here = bool(by_language.search(title))
            seen[here] += 1
            assert name["type"] == ("object" if here else "string"), title
            assert not here or set(name["example"]) == {"zh-CN", "en"}, title
    assert seen[True] > 5
    assert seen[False] > 2


# --- Bodies


def bodies() -> dict[str, type[Schema]]:
    """Every schema that a request is read with, by the name of its class: bodies, nested parts, queries."""
    from marshmallow.class_registry import _registry

    found = {}
    for name, classes in _registry.items():
        for one in classes:
            if "." not in name and one.__module__.startswith("mobile_api"):
                found[name] = one
    return found


def read_schemas(document: dict[str, Any]) -> dict[str, type[Schema]]:
    """Those of them that stand in a request body of the document."""
    known, names = bodies(), set()

    def walk(schema: Any) -> None:
        if isinstance(schema, dict):
            if "$ref" in schema and (name := schema["$ref"].rpartition("/")[2]) not in names:
                names.add(name)
                walk(document["components"]["schemas"][name])
            for value in schema.values():
                walk(value)
        elif isinstance(schema, list):
            for value in schema:
                walk(value)

    for _method, _path, operation in operations(document):
        walk(operation.get("requestBody", {}))
    return {name: known[name + "Schema"] for name in sorted(names)}


def test_no_body_takes_a_column_that_it_does_not_offer(document: dict[str, Any]) -> None:
    """F44: each column of each table alone, in each body and each part of one: a field that is offered, or refused."""
    columns = {c.name for t in Base.metadata.tables.values() for c in t.columns}
    read, tried, taken = read_schemas(document), 0, []
    assert len(read) > 15
    for name, schema in read.items():
        offered = {f.data_key or n for n, f in schema().load_fields.items()}
        for column in sorted(columns - offered):
            tried += 1
            try:
                schema(partial=True).load({column: "x"})
            except ValidationError as refused:
                if refused.messages_dict.get(column) == ["Unknown field."]:
                    continue
            taken.append((name, column))
    print(f"F44 columns taken that are not offered, of {tried}: {len(taken)}")
    assert taken == []
    assert tried > 1000


def test_no_body_has_a_part_that_takes_anything(document: dict[str, Any]) -> None:
    """F44: neither a schema that lets unknown fields through, nor a field without a shape."""
    loose = {"OfficerFix.attributes"}
    for name, schema in read_schemas(document).items():
        assert schema().unknown == RAISE, name
        for field, value in schema().load_fields.items():
            shapeless = type(value) in (fields.Raw, fields.Dict, fields.Field) and not getattr(
                value, "value_field", 0
            )
            assert not shapeless or f"{name}.{field}" in loose, f"{name}.{field}"


def test_a_body_that_takes_anything_is_found() -> None:
    """The two tests above can fail."""

    class LooseSchema(Schema):
        class Meta:
            unknown = "include"

    assert LooseSchema().load({"town_id": "x"}) == {"town_id": "x"}
    assert LooseSchema().unknown != RAISE
