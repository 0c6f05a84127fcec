"""The gateways in front of Flask, as hot routes: the same functions as below Flask, without its routing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from backend.core.errors import Refusal
from backend.core.metrics import REQUEST_SECONDS, REQUESTS, method_label
from mobile_api.gateway import answers
from mobile_api.gateway.call import Answer, Call
from mobile_api.gateway.delivery import refused

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

KEYED = "/<key>"
STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class _Route:
    """One gateway in service, with its figures."""

    def __init__(self, rule: str, answer: Callable[[Call], Answer], public_url: str | None) -> None:
        self.answer = answer
        self._public_url = public_url
        self._rule = rule
        self._seconds = REQUEST_SECONDS.labels(rule)
        self._count_ok = {method: REQUESTS.labels(rule, method, 200) for method in ("GET", "POST")}

    def serve(self, environ: Environ, start_response: StartResponse, key: str | None) -> Iterable[bytes]:
        started = time.perf_counter()
        method = environ.get("REQUEST_METHOD", "")
        try:
            found = self.answer(Call.of(environ, key, self._public_url))
        except Refusal as refusal:
            found = refused(refusal)
        self._seconds.observe(time.perf_counter() - started)
        if found.status == 200:
            self._count_ok[method].inc()
        else:
            REQUESTS.labels(self._rule, method_label(method), found.status).inc()
        start_response(
            STATUS_LINES[found.status], [*found.header_list(), ("X-Content-Type-Options", "nosniff")]
        )
        return [found.body]


class Gateways:
    """Answers what is addressed to a gateway; everything else is for somebody else."""

    def __init__(self, public_url: str | None = None) -> None:
        """Serve the table; ``public_url`` is how phones reach the installation, if that is known."""
        self._exact: dict[str, _Route] = {}
        self._keyed: dict[tuple[str, str], _Route] = {}
        for rule, answer in answers.ANSWERS.items():
            prefix, keyed, rest = rule.partition(KEYED)
            route = _Route(rule, answer, public_url)
            if keyed:
                self._keyed[prefix, rest] = route
            else:
                self._exact[rule] = route

    def serve(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes] | None:
        """Serve the request, or return None if its path is no gateway's."""
        path: str = environ.get("PATH_INFO", "")
        if path.endswith("/"):
            path = path[:-1]
        route = self._exact.get(path)
        if route is not None:
            return route.serve(environ, start_response, None)
        _, gateway, protocol, key, rest = (path.split("/", 4) + [""] * 4)[:5]
        route = self._keyed.get((f"/{gateway}/{protocol}", rest and f"/{rest}"))
        if route is None or not key:
            return None
        return route.serve(
            environ, start_response, key.encode("latin-1", "replace").decode("utf-8", "replace")
        )
