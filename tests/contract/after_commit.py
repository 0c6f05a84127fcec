"""Answers are complete at commit: an application that is watched fails a request which asks the database afterwards.

What is read after the commit is read in another transaction, without the town's setting and without the locks of the
act: it may be empty, or say what somebody else did meanwhile. The tests of the API run on a watched application
(``tests/api/conftest.py``), so each of their requests is tried.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from sqlalchemy import Connection, Engine, event
from werkzeug.exceptions import HTTPException

from mobile_api import endpoint, hot
from mobile_api.gateway import tus

SEVERAL_ON_PURPOSE = {
    "POST /api/v1/auth/password": "the guess is counted, and committed, before it is looked at",
    "POST /api/v1/auth/totp": "the guess is counted, and committed, before it is looked at",
    "POST /api/v1/auth/totp/confirm": "the guess is counted, and committed, before it is looked at",
    "POST /api/v1/auth/totp/disable": "the guess is counted, and committed, before it is looked at",
    "POST /api/v1/desk/users": "who may is asked before a password is hashed, outside of any transaction",
    "PATCH /api/v1/desk/users/<uuid:user_id>": "the same, and what the new password must not be made of is read",
    "POST /api/v1/desk/checkpoints/import": "who may is asked before a file is read",
    "POST /api/v1/desk/routes/import": "who may is asked before a file is read",
    "POST /api/v1/desk/roster/import": "who may is asked before a file is read",
    "POST /api/v1/desk/imported-tracks": "who may is asked before a large file is read, outside of any transaction",
    **{
        f"POST /api/v1/{audience}/addresses": "WeChat is asked whose a code is, outside of any transaction"
        for audience in ("officer", "resident", "desk")
    },
    **{f"{route.method} {route.path}": "the one grouped commit for many requests" for route in hot.HOT},
}
"""Routes whose requests take more than one transaction, beside those of signing in and the gateways."""


FOREIGN = ("/gateway/", tus.PATH)
"""Other people's protocols. While the bytes of an upload arrive no transaction is open, and there may be one before and
one after them."""


class AskedAfterCommitError(AssertionError):
    """A request went on asking the database after its commit."""


@dataclass
class Request:
    """What one request has asked."""

    commits: int = 0
    late: list[str] = field(default_factory=list)


_request: ContextVar[Request | None] = ContextVar("request", default=None)


class AfterCommit:
    """A WSGI application in front of ``app``: the same answers, but no SQL after a commit of ``engine``."""

    def __init__(self, app: Flask, engine: Engine) -> None:
        self._served, self._rules = app.wsgi_app, app.url_map.bind("localhost")
        self.judged = 0
        event.listen(engine, "commit", self._committed)
        event.listen(engine, "before_cursor_execute", self._asked)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        before = _request.set(request := Request())
        try:
            answer = self._served(environ, start_response)
            try:
                body = list(answer)  # A body that is made while it is sent is a part of the request.
            finally:
                if hasattr(answer, "close"):
                    answer.close()
        finally:
            _request.reset(before)
        if self._has_one_transaction(environ["REQUEST_METHOD"], environ["PATH_INFO"]):
            self.judged += bool(request.commits)
            if request.late:
                raise AskedAfterCommitError(f"{environ['PATH_INFO']}: after its commit: {request.late[0]}")
        return body

    def _has_one_transaction(self, method: str, path: str) -> bool:
        if f"{method} {path}" in SEVERAL_ON_PURPOSE or path.startswith(FOREIGN):
            return False
        try:
            rule, _ = self._rules.match(path, method, return_rule=True)
        except HTTPException:
            return True
        if f"{method} {rule.rule}" in SEVERAL_ON_PURPOSE:
            return False
        policy = endpoint.POLICIES.get(rule.endpoint)
        return policy is None or policy.may is not None

    @staticmethod
    def _committed(connection: Connection) -> None:
        if request := _request.get():
            request.commits += 1

    @staticmethod
    def _asked(
        connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        if (request := _request.get()) and request.commits:
            request.late.append(statement)
