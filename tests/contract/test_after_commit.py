"""The watch over the tests of the API can fail: whoever asks the database after the commit is found out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response
from sqlalchemy import Engine, text
from werkzeug.test import Client

from backend.app import create_app
from backend.core import db
from backend.core.config import Config
from backend.core.uow import unit_of_work
from mobile_api import endpoint, hot
from tests.contract.after_commit import SEVERAL_ON_PURPOSE, AfterCommit, AskedAfterCommitError


@pytest.fixture
def watched(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """``watched(view)``: a client of an application that serves the view at ``/`` and is watched."""
    monkeypatch.setattr(db, "_engine", engine)

    def serve(view: Any) -> Client:
        app = Flask("watched")
        app.config["PROPAGATE_EXCEPTIONS"] = True
        app.add_url_rule("/", view_func=view)
        watch = app.wsgi_app = AfterCommit(app, engine)
        serve.watch = watch
        return Client(app.wsgi_app)

    return serve


def ask() -> None:
    with unit_of_work() as uow:
        uow.session.execute(text("select 1"))


def test_one_transaction_is_let_through(watched: Any) -> None:
    def view() -> str:
        with unit_of_work() as uow:
            for _ in range(3):
                uow.session.execute(text("select 1"))
            uow.session.begin_nested().rollback()
        return "done"

    for _ in range(2):
        assert watched(view).get("/").text == "done"
        assert watched.watch.judged == 1


def test_a_second_transaction_is_found(watched: Any) -> None:
    def view() -> str:
        ask()
        ask()
        return "done"

    with pytest.raises(AskedAfterCommitError, match="after its commit: select 1"):
        watched(view).get("/")


def test_a_question_beside_the_unit_of_work_is_found(watched: Any, engine: Engine) -> None:
    def view() -> str:
        ask()
        with engine.connect() as connection:
            connection.execute(text("select 2"))
        return "done"

    with pytest.raises(AskedAfterCommitError, match="select 2"):
        watched(view).get("/")


def test_a_body_that_asks_while_it_is_sent_is_found(watched: Any) -> None:
    def view() -> Response:
        def body() -> Iterator[str]:
            yield "first"
            ask()

        ask()
        return Response(body())

    with pytest.raises(AskedAfterCommitError):
        watched(view).get("/")


def test_what_was_rolled_back_may_be_tried_again(watched: Any) -> None:
    def view() -> str:
        try:
            with unit_of_work() as uow:
                uow.session.execute(text("select 1/0"))
        except Exception:
            ask()
        return "done"

    assert watched(view).get("/").text == "done"


def test_the_routes_that_take_several_transactions_exist(config: Config) -> None:
    """An exemption of a route that is gone would hide the next one of that name."""
    served = {f"{route.method} {route.path}" for route in hot.HOT}
    for rule in create_app(config).url_map.iter_rules():
        if rule.endpoint in endpoint.POLICIES:
            served |= {f"{method} {rule}" for method in rule.methods}
    assert set(SEVERAL_ON_PURPOSE) <= served
