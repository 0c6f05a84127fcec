"""JSON that is read strictly: what PostgreSQL could not store, or two readers would read differently, is refused."""

import json
import re
from itertools import accumulate
from typing import Any

MAXIMUM_DEPTH = 32
MAXIMUM_DIGITS = 40
_SUSPICIOUS = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)|\x00")
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % MAXIMUM_DIGITS)
_STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?', re.S)
"""A string, or what follows a quotation mark that nothing closes. It matches at each of them and gives nothing back,
so that every byte is looked at once, whatever a stranger sends: a pattern that may fail is tried at each mark again."""
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class NotStrictError(ValueError):
    """The text is not JSON that we take; the message says why in one sentence."""


def loads(data: bytes | str) -> Any:
    """Read JSON, refusing NaN and infinities, duplicate keys, huge numbers, lone surrogates, NUL and deep nesting.

    Raises:
        NotStrictError: for all of these, and for what is not JSON at all.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    bracketed = raw.count(b"[") + raw.count(b"{") > MAXIMUM_DEPTH
    if bracketed or _LONG_NUMBER.search(raw):
        bare = _STRING.sub(b'""', raw)
        if bracketed and _depth(bare) > MAXIMUM_DEPTH:
            raise NotStrictError("The JSON is nested too deeply.")
        if _LONG_NUMBER.search(bare):
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


def _depth(bare: bytes) -> int:
    """Return how deep the brackets of a text without strings are nested."""
    return max(accumulate(map(_STEP.__getitem__, bare.translate(None, _NOT_BRACKETS))), default=0)


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
        if _UNSTORABLE.search(value):
            raise NotStrictError("A text in the JSON holds characters that cannot be stored.")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_texts(key)
            _check_texts(item)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item)
