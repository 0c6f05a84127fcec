"""Logs say what happened and never about whom (F93): canaries put everywhere come out nowhere."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import Engine, text

from backend.core import logs
from backend.core.config import Config

CANARIES = {
    "phone": "13912345678",
    "spaced_phone": "+86 139 1234 5678",
    "identity_number": "110101199003074514",
    "password": "Kanarienvogel7!",
    "token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJrYW5hcmllIn0.c2lnbmF0dXJlLWthbmFyaWU",
    "refresh_token": "kanarie0123456789abcdefghijklmnopqrstuv",
    "longitude": "121.473701",
    "latitude": "31.230416",
    "mail": "kanarie@example.cn",
    "tracker": "K4n4r13nV0g3lT0k3n",
}


@pytest.fixture
def written(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Logging as in production, into a text."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", stream)
    logs.configure(replace(config, production=True, data_dir=tmp_path), "test")
    yield stream.getvalue
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def assert_no_canary(output: str) -> None:
    assert output.strip(), "nothing was logged at all"
    for name, canary in CANARIES.items():
        assert canary not in output, f"the {name} is in the log"


def test_values_under_keys_that_are_not_known_to_be_harmless_are_withheld(written: Callable[[], str]) -> None:
    """F93, P27."""
    structlog.get_logger("x").info(
        "signed in", **CANARIES, display_name="王小明", officer_id="018f", duration_ms=12
    )
    assert_no_canary(written())
    line = json.loads(written().splitlines()[-1])
    assert line["officer_id"] == "018f"
    assert line["duration_ms"] == 12
    assert line["display_name"] == line["phone"] == logs.WITHHELD


@pytest.mark.parametrize(
    "sentence",
    [
        "code sent to {phone}",
        "code sent to {spaced_phone}",
        "identity {identity_number} refused",
        'GET /gateway/osmand/{tracker}?id=7&lat={latitude}&lon={longitude} "200"',
        "POST /gateway/gpslogger/{tracker}",
        "https://{tracker}:{password}@host/gateway/overland?access_token={refresh_token}",
        "Authorization: Bearer {token}",
        "authorization=Basic {tracker}",
        "body was {{'password': '{password}', \"token\": \"{refresh_token}\"}}",
        "cannot connect to postgresql://app:{password}@db/town",
        "at ({longitude}, {latitude})",
        "POINT({longitude} {latitude})",
        "refresh {refresh_token} reused",
        "mail to {mail}",
    ],
)
def test_what_slips_into_a_sentence_is_taken_out_of_it(written: Callable[[], str], sentence: str) -> None:
    """F93."""
    message = sentence.format(**CANARIES)
    structlog.get_logger("x").warning(message)
    logging.getLogger("some.library").warning(message)
    logging.getLogger("some.library").warning("argument: %s", message)
    assert_no_canary(written())
    assert len(written().splitlines()) == 3


def test_an_error_of_the_database_is_logged_without_the_row_it_is_about(
    written: Callable[[], str], engine: Engine
) -> None:
    with engine.connect() as connection:
        try:
            connection.execute(
                text("select cast(:phone as integer), cast(:password as integer)"),
                {"phone": CANARIES["mail"], "password": CANARIES["password"]},
            )
        except Exception:
            structlog.get_logger("x").exception("failed")
    assert_no_canary(written())
    assert "Traceback" in written()


def test_a_traceback_shows_no_local_variables(written: Callable[[], str]) -> None:
    def act(phone: str) -> None:
        raise ValueError(f"bad number {phone}")

    try:
        act(CANARIES["phone"])
    except ValueError:
        structlog.get_logger("x").exception("failed")
    assert_no_canary(written())


def test_a_request_id_runs_through_ours_and_the_libraries_lines(written: Callable[[], str]) -> None:
    request_id = "6a23e1c0f1134ed08abe848b1924bb0f"
    with structlog.contextvars.bound_contextvars(request_id=request_id):
        structlog.get_logger("x").info("ours")
        logging.getLogger("lib").warning("theirs")
    assert [json.loads(line)["request_id"] for line in written().splitlines()] == [request_id, request_id]


def test_a_caller_cannot_bring_personal_data_in_as_his_request_id(written: Callable[[], str]) -> None:
    with structlog.contextvars.bound_contextvars(request_id=CANARIES["phone"]):
        structlog.get_logger("x").info("ours")
    assert_no_canary(written())


@pytest.mark.parametrize(
    "harmless",
    [
        "018f3b6e-7b1a-7c3e-9d52-0242ac120002",
        "2026-11-23T08:30:00.123456Z",
        "version 15.20 in 0.25 s at 127.0.0.1:8000",
        "partition fixes_20261123 made",
    ],
)
def test_ids_times_and_versions_stay_readable(harmless: str) -> None:
    assert logs.scrubbed(harmless) == harmless


def test_development_shows_warnings_on_the_console_and_keeps_the_rest_in_a_file(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        logs.configure(replace(config, production=False, data_dir=tmp_path), "web")
        log: Any = structlog.get_logger("x")
        log.info("quiet", count=1)
        log.warning("loud", count=2)
        shown = capsys.readouterr().err
        kept = [json.loads(line) for line in (tmp_path / "log" / "web.log").read_text().splitlines()]
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = before
        root.setLevel(level)
        logging.captureWarnings(False)
        structlog.reset_defaults()
    assert shown == "warning: loud  count=2\n"
    assert [line["event"] for line in kept] == ["quiet", "loud"]


WORST = [
    "1", "a", "a@", "a-", "a.", "?", "?a", "?a=", "://", "://a", "ey-", "ey.", "eyaaaaaaaaa.", "token ", "token",
    "key=", 'key="', "key='", 'key="a\'', "[parameters:", "[parameters:]", "Key (", "Key (a)=", "Key (a)=(", "DETAIL:",
    "\n", " ", "\t", "/gateway/a/", "/gateway/a", "1.", "1.11111", "-", "86", "139 ", "0-", "\u202e", "\x1b[31m",
]  # fmt: skip
"""What a pattern could look at again and again, repeated."""


@pytest.mark.parametrize("piece", WORST)
def test_a_text_of_a_stranger_takes_the_time_of_its_length(piece: str) -> None:
    """F74: each pattern looks at a text once; four times the text takes four times as long, not sixteen times."""

    def seconds(pattern: Any, characters: int) -> float:
        text, best = (piece * characters)[:characters], 9e9
        for _ in range(3):
            begun = time.perf_counter()
            pattern.sub("", text)
            best = min(best, time.perf_counter() - begun)
        return best

    for pattern, _ in logs._PATTERNS:
        assert seconds(pattern, 40_000) < 9 * seconds(pattern, 10_000) + 0.05, pattern.pattern


def test_a_long_value_is_cut_and_forges_no_line(written: Callable[[], str]) -> None:
    """F74, F93: 100 kB of a stranger's text become one short line, and no canary at the cut gets out in halves."""
    forged = '\n{"event": "forged", "level": "critical"}\r\n\x1b[31m\u202e'
    structlog.get_logger("x").warning("said", reason=forged + "x" * 100_000)
    for at in range(1980, 2001):
        structlog.get_logger("x").warning("said", reason="x " * (at // 2) + CANARIES["phone"] + " y" * 50_000)
    lines = written().splitlines()
    assert len(lines) == 22
    assert [json.loads(line)["event"] for line in lines] == ["said"] * 22
    assert all(len(line) < 2600 for line in lines)
    assert "13912" not in written()
    assert not set("\x1b\u202e") & set(json.loads(lines[0])["reason"])


def test_the_console_shows_no_line_that_somebody_else_wrote() -> None:
    """F74: the readable form of development has no quotation marks to keep a line in."""
    event: dict[str, Any] = {
        "event": "a\nerror: forged",
        "level": "info",
        "reason": "b\nerror: forged\x1b[2J",
    }
    assert len(logs._plain_line(None, "info", logs._scrub(None, "info", event)).splitlines()) == 1


def test_where_a_request_failed_is_told(written: Callable[[], str]) -> None:
    """The frames and the route's template hold no values, and without them nobody finds the defect."""
    structlog.get_logger("x").error(
        "request.failed", where=["/app/a.py:7 read"], path="/api/v1/desk/officers/<id>"
    )
    line = json.loads(written())
    assert "/app/a.py:7 read" in line["where"]
    assert line["path"] == "/api/v1/desk/officers/<id>"


def test_what_clients_call_their_events_is_not_logged(written: Callable[[], str]) -> None:
    """F93: python-socketio tells it at INFO."""
    for name in ("xungeng.socketio", "xungeng.sockets"):
        logging.getLogger(name).info("received event %s", CANARIES["phone"])
        logging.getLogger(name).warning("something is wrong")
    assert [json.loads(line)["event"] for line in written().splitlines()] == ["something is wrong"] * 2
