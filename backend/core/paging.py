"""A page of a list: its items, and the key after which the next page begins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from backend.core.errors import Invalid

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """``after`` is None on the last page."""

    items: Sequence[T]
    after: tuple[Any, ...] | None


def page(found: Sequence[T], limit: int, key: Callable[[T], tuple[Any, ...]]) -> Page[T]:
    """Cut ``limit + 1`` found rows to a page; the row too many shows that there is a next one."""
    items = found[:limit]
    return Page(items, key(items[-1]) if len(found) > limit else None)


def moment_and_id(after: Sequence[str] | None) -> tuple[datetime, UUID] | None:
    """Read a key of a moment and an id, as lists in order of time use it."""
    if after is None:
        return None
    try:
        moment, row_id = after
        parsed = datetime.fromisoformat(moment)
        if parsed.tzinfo is None or not 2000 <= parsed.year < 2100:
            raise ValueError
        return parsed, UUID(row_id)
    except ValueError as error:
        raise bad_cursor() from error


def text_and_id(after: Sequence[str] | None) -> tuple[str, UUID] | None:
    """Read a key of a text and an id, as lists in order of names use it."""
    if after is None:
        return None
    try:
        word, row_id = after
        return word, UUID(row_id)
    except ValueError as error:
        raise bad_cursor() from error


def only_id(after: Sequence[str] | None) -> UUID | None:
    """Read a key that is an id alone."""
    if after is None:
        return None
    try:
        [row_id] = after
        return UUID(row_id)
    except ValueError as error:
        raise bad_cursor() from error


def only_number(after: Sequence[str] | None) -> int | None:
    """Read a key that is a whole number alone."""
    if after is None:
        return None
    try:
        [number] = after
        return int(number)
    except ValueError as error:
        raise bad_cursor() from error


def bad_cursor() -> Invalid:
    """Return the one refusal of a cursor that nobody here has given out."""
    return Invalid("This cursor is not one of ours.", "bad_cursor", cursor=["unreadable"])
