"""JSON that is read strictly: what PostgreSQL could not store, or two readers would read differently, is refused."""

import json
import re
from typing import Any

MAXIMUM_DEPTH = 32
MAXIMUM_DIGITS = 40
_SUSPICIOUS = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)|\x00")
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % MAXIMUM_DIGITS)


class NotStrictError(ValueError):
    """The text is not JSON that we take; the message says why in one sentence."""


def loads(data: bytes | str) -> Any:
    """Read JSON, refusing NaN and infinities, duplicate keys, huge numbers, lone surrogates, NUL and deep nesting.

    Raises:
        NotStrictError: for all of these, and for what is not JSON at all.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if _too_deep(raw):
        raise NotStrictError("The JSON is nested too deeply.")
    if _LONG_NUMBER.search(raw) and _has_long_number(raw):
        raise NotStrictError("A number in the JSON has too many digits.")
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except NotStrictError:
        raise
    except (ValueError, RecursionError) as error:
        raise NotStrictError("The body is not readable JSON in UTF-8.") from error
    if _SUSPICIOUS.search(raw):
        _check_texts(value)
    return value


def _too_deep(raw: bytes) -> bool:
    """Count brackets outside strings; only texts with many brackets are walked."""
    if raw.count(b"[") + raw.count(b"{") <= MAXIMUM_DEPTH:
        return False
    depth = 0
    for bracket in re.finditer(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', raw):
        mark = bracket.group()
        if mark in (b"[", b"{"):
            depth += 1
            if depth > MAXIMUM_DEPTH:
                return True
        elif mark in (b"]", b"}"):
            depth -= 1
    return False


def _has_long_number(raw: bytes) -> bool:
    without_strings = re.sub(rb'"(?:[^"\\]|\\.)*"', b'""', raw)
    return _LONG_NUMBER.search(without_strings) is not None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotStrictError("A name stands twice in one JSON object.")
    return found


def _no_constant(_: str) -> Any:
    raise NotStrictError("NaN and infinities are not JSON.")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise NotStrictError("A number in the JSON is too large.")
    return value


def _check_texts(value: Any) -> None:
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= c <= "\udfff" for c in value):
            raise NotStrictError("A text in the JSON holds characters that cannot be stored.")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_texts(key)
            _check_texts(item)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item)
