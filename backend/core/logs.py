"""Logs: structured, with a request id, and without personal data.

Two nets, because people write log lines in a hurry. Values are kept only under keys that are known to carry no
personal data (an unknown key is withheld, so the mistake shows at once); and every text, also a library's message or
an exception's, is searched for what looks like a number, a token, a place or a password.

JSON on standard output in production. In development the console shows warnings in a readable form, and the rest is
in ``log/<process>.log`` of the data folder.
"""

from __future__ import annotations

import logging
import logging.config
import re
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import structlog

from backend.core.config import Config

WITHHELD = "[withheld]"

SAFE_KEYS = frozenset(
    {
        "event", "level", "logger", "timestamp", "request_id", "exception", "process", "version",
        "method", "route", "endpoint", "status", "code", "outcome", "reason", "kind", "protocol", "action", "channel",
        "task", "queue", "state", "name_of", "table", "partition", "port", "pid", "signal", "error", "sqlstate",
        "attempt", "attempts", "officers", "sockets", "rooms", "limit", "limiter", "rule", "retry_after", "room_kind",
        "stored", "duplicates", "off_shift", "quarantined", "closed", "dropped", "made", "deleted",
        "count", "where", "path",
    }
)  # fmt: skip
"""Keys whose values may be logged. Add one only if its value can never be about a person.
``where`` is frames without values, ``path`` a route's template."""

SAFE_SUFFIXES = ("_id", "_ids", "_ms", "_s", "_bytes", "_count", "_days", "_kind", "_state", "_size")

MOST_CHARACTERS = 2000
"""Of one value. Who brings more text than this into a log has nothing to say to the operator."""
MOST_OF_A_TRACEBACK = 16_000

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Each looks at a text once, whatever a stranger has put into it: it starts at the beginning of a run alone, gives
    # nothing back (``++``), or looks ahead a bounded way.
    # What SQLAlchemy and PostgreSQL add to an error: the values. What nothing closes is withheld to its end.
    (re.compile(r"\[parameters:(?:.*?\](?=\n|$)|.*)", re.S), "[parameters: withheld]"),
    (re.compile(r"^(DETAIL|CONTEXT|HINT):.*$", re.M), r"\1: withheld"),
    (re.compile(r"\bKey \(.{0,200}?\)=\(.*"), "Key withheld"),
    # user:password@ in addresses; query strings; tracker credentials in paths.
    (re.compile(r"(?<=://)[^/\s@]++@"), "***@"),
    (re.compile(r"\?[^\s\"'<>=?]*+=[^\s\"'<>]*+"), "?***"),
    (re.compile(r"(/gateway/[a-z]+/)[^\s/?\"']++"), r"\1***"),
    (re.compile(r"(?<![\w-])ey[\w-]{8,}+\.[\w-]++\.[\w-]++"), "[token]"),
    (re.compile(r"(?i)\b(bearer|basic|token)\s++[\w.~+/=-]{8,}+"), r"\1 ***"),
    (
        re.compile(
            r"(?i)([\"']?\b(?:password|passwd|secret|token|otp|code|authorization|cookie|key)[\"']?\s*+[:=]\s*+)"
            r"(\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z)|[^\s,;&}\]]++)"
        ),
        r"\1***",
    ),
    (re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++\.[\w.-]++"), "[mail]"),
    (re.compile(r"(?<![\w.-])\d{17}[\dXx](?![\w-])"), "[number]"),
    (re.compile(r"(?<![\w.-])(?:\+?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?![\w-])"), "[number]"),
    (re.compile(r"(?<![\w.])-?\d{1,3}\.\d{4,}+(?![\w.])"), "[place]"),
    # Last, because ids are spared it. Long random texts: refresh tokens, tracker keys, hashes.
    (
        re.compile(r"(?<![\w-])(?![0-9a-f]{8}-[0-9a-f]{4}-)(?=[\w-]*?\d)(?=[\w-]*?[A-Za-z])[\w-]{32,}+"),
        "[token]",
    ),
)
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What would end a line, colour a terminal or turn the direction of a text."""


def scrubbed(text: str, *, is_id: bool = False) -> str:
    """The text without what looks like a phone or identity number, a place, a credential or an error's values.

    An id of ours is a long random text as well, so with ``is_id`` those stay. Of a text that is too long the end is
    cut off before it is searched.
    """
    text = _cut(text, MOST_CHARACTERS)
    return _UNPRINTABLE.sub(" ", _searched(text, is_id=is_id))


def _cut(text: str, most: int) -> str:
    """The beginning of a text, ended between two words: half a number would not be known for one."""
    if len(text) <= most:
        return text
    return text[: max(text.rfind(" ", 0, most), most - 200)] + " [cut]"


def _searched(text: str, *, is_id: bool = False) -> str:
    for pattern, replacement in _PATTERNS[:-1] if is_id else _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _scrub(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    for key, value in event.items():
        if key.startswith("_"):  # structlog's own, removed before anything is written.
            continue
        if key not in SAFE_KEYS and not key.endswith(SAFE_SUFFIXES):
            event[key] = WITHHELD
        elif (
            key not in ("timestamp", "level")
            and value is not None
            and not isinstance(value, bool | int | float)
        ):
            if key == "exception":  # It has lines, and the last one says what it amounts to.
                event[key] = _searched(_cut(str(value), MOST_OF_A_TRACEBACK))
            else:
                event[key] = scrubbed(str(value), is_id=key.endswith("_id"))
    return event


_SHARED: tuple[Any, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
)

_FINAL: tuple[Any, ...] = (
    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
    # Plain tracebacks: the rich ones print local variables, which are people's data.
    structlog.processors.format_exc_info,
    _scrub,
)


def _plain_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    head = f"{event.pop('level', 'info')}: {event.pop('event', '')}"
    exception = event.pop("exception", None)
    for key in ("timestamp", "logger"):
        event.pop(key, None)
    details = "  ".join(f"{key}={value}" for key, value in event.items())
    line = f"{' '.join(head.split())}  {details}".rstrip()
    if exception:
        # The whole of it is in the file; the console gets what it amounts to.
        reason = [text.strip() for text in exception.splitlines() if text[:1].strip()][-1]
        line += f"\n    {reason}  (the whole of it is in the log folder)"
    return line


def configure(config: Config, process: str) -> None:
    """Set up the logging of this process, ours and the libraries'. ``process`` names it: web, worker, …"""
    formatters: dict[str, Any] = {
        name: {
            "()": structlog.stdlib.ProcessorFormatter,
            "foreign_pre_chain": [*_SHARED, structlog.stdlib.ExtraAdder()],
            "processors": [*_FINAL, renderer],
        }
        for name, renderer in (
            ("json", structlog.processors.JSONRenderer(ensure_ascii=False)),
            ("plain", _plain_line),
        )
    }
    handlers: dict[str, Any]
    if config.production:
        handlers = {"console": {"class": "logging.StreamHandler", "stream": sys.stdout, "formatter": "json"}}
    else:
        folder = config.data_dir / "log"
        folder.mkdir(parents=True, exist_ok=True)
        handlers = {
            "console": {
                "class": "logging.StreamHandler", "stream": sys.stderr, "formatter": "plain", "level": "WARNING",
            },
            "file": {
                "class": "logging.handlers.WatchedFileHandler", "filename": str(folder / f"{process}.log"),
                "formatter": "json", "encoding": "utf-8",
            },
        }  # fmt: skip
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": formatters,
            "handlers": handlers,
            "root": {"level": config.log_level, "handlers": list(handlers)},
            "loggers": {
                # One line per request is ours; these would add another with the query string in it.
                name: {"level": "WARNING"}
                for name in (
                    "werkzeug",
                    "httpx",
                    "httpcore",
                    "urllib3",
                    "engineio",
                    "socketio",
                    "alembic",
                    "geventwebsocket",
                    # python-socketio tells at INFO what clients call their events.
                    "xungeng.socketio",
                    "xungeng.sockets",
                )
            }
            # Each try of a pool to connect again would be a line; whoever needs the connection says what he lacks.
            | {"procrastinate": {"level": "WARNING"}, "psycopg.pool": {"level": "ERROR"}},
        }
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # Tests swap the configuration under loggers that are long in use.
        cache_logger_on_first_use=config.production,
    )
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(True)


def log_path(config: Config, process: str) -> Path | None:
    """Where ``process`` writes its log in development; None in production, where it is standard output."""
    return None if config.production else config.data_dir / "log" / f"{process}.log"
