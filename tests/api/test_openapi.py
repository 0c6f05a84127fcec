"""The API equals its own document."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from itertools import count
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mobile_api import hot
from mobile_api.gateway.wsgi import Gateways
from mobile_api.hot import Dispatcher
from tests.api.conftest import Caller, World
from workflows import access

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
ENDS_THE_SESSION = (
    "/api/v1/auth/logout",
    "/api/v1/auth/password",
    "/api/v1/auth/sessions/{session_id}/revoke",
)


def test_the_document_names_every_route_and_every_refusal(caller: Caller) -> None:
    document = caller.get("/api/v1/openapi.json").json
    assert document["openapi"] == "3.1.0"
    for route in hot.HOT:
        assert route.method.lower() in document["paths"][route.path]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method == "parameters":
                continue
            assert operation.get("summary"), (method, path)
            assert "429" in operation["responses"], (method, path)
            assert any(code.startswith("2") for code in operation["responses"]), (method, path)
            if method != "get":
                assert "422" in operation["responses"], (method, path)
            if operation.get("security"):
                assert {"401", "403"} <= operation["responses"].keys(), (method, path)


@pytest.fixture(scope="module")
def schema(world: World) -> Any:
    load_all_checks()
    served = Dispatcher(world.app.extensions["xungeng.identity"], Gateways(), world.app.wsgi_app)
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", served)


def test_the_served_api_equals_its_document(
    world: World, schema: Any, signed_in: Any, thin: Callable[[int, int], int]
) -> None:
    """Schemathesis generates calls from the document, sensible and senseless, as the role that each is for."""
    callers = {name: signed_in(name) for name in ("officer_a2", "supervisor", "admin2", "auditor")}
    examples, calls, operations, wrong = thin(100, 2), 0, 0, []

    def headers_for(operation: Any) -> dict[str, str]:
        permission = operation.definition.raw.get("x-permission")
        if not permission:
            return {}
        roles = access.GRANTS[tuple(permission.split(":"))]
        for name, caller in callers.items():
            if world.here[name].role in roles:
                return caller.headers
        return callers["officer_a2"].headers

    for found in sorted(schema.get_all_operations(), key=lambda r: r.ok().path in ENDS_THE_SESSION):
        operation = found.ok()
        operations += 1
        headers = headers_for(operation)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                calls += _call_and_judge(world, operation, mode, headers, examples)
            except hypothesis.errors.Unsatisfiable:
                continue  # Nothing wrong can be said to this operation: it takes nothing.
            except (FailureGroup, ExceptionGroup, Failure) as failure:
                wrong.append(f"{operation.label}: {_reasons(failure)}")
    print(f"schemathesis: {calls} calls to {operations} operations")
    assert wrong == []
    assert operations > 50
    assert calls > operations


def _reasons(failure: BaseException) -> str:
    """What schemathesis found, with the call that shows it."""
    parts = failure.exceptions if isinstance(failure, BaseExceptionGroup) else [failure]
    return f"{failure}\n" + "\n".join(str(part) for part in parts)


def _call_and_judge(
    world: World, operation: Any, mode: GenerationMode, headers: dict[str, str], examples: int
) -> int:
    """Call an operation with generated cases; return how many there were."""
    counted = count()

    @hypothesis.settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case: Any) -> None:
        next(counted)
        world.app.extensions["xungeng.limits"]._limiter.storage.reset()
        key = {"Idempotency-Key": str(uuid.uuid4())} if mode is GenerationMode.POSITIVE else {}
        case.call_and_validate(headers=headers | key, checks=CHECKS)

    call()
    return next(counted)
