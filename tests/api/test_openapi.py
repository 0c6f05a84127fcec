"""The API equals its own document."""

from __future__ import annotations

from mobile_api import hot
from tests.api.conftest import Caller, World


def test_the_document_names_every_route_and_every_refusal(world: World, caller: Caller) -> None:
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
