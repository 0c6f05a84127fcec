"""Lists page by an opaque cursor: ``{"items": [...], "next": "..."}``."""

import base64
import json
from collections.abc import Sequence
from typing import Any

from marshmallow import Schema, fields, validate

from backend.core.paging import bad_cursor
from mobile_api import strict_json

MOST = 500


class PageQuerySchema(Schema):
    """Where to go on, and how many at most."""

    cursor = fields.String(
        validate=validate.Length(max=400), metadata={"description": "`next` of the page before."}
    )
    limit = fields.Integer(load_default=100, validate=validate.Range(1, MOST))


def page_of(item: type[Schema]) -> type[Schema]:
    """Return the schema of a page of items."""
    name = item.__name__.removesuffix("Schema") + "Page"
    return type(
        name + "Schema",
        (Schema,),
        {
            "__doc__": f"A page of {item.__name__}.",
            "items": fields.List(fields.Nested(item), required=True),
            "next": fields.Function(
                lambda page: encode_cursor(page.after),
                allow_none=True,
                required=True,
                metadata={"type": "string", "description": "Cursor of the next page."},
            ),
        },
    )


def encode_cursor(after: Sequence[Any] | None) -> str | None:
    """Return the cursor that goes on after a key, or None at the end."""
    if after is None:
        return None
    return base64.urlsafe_b64encode(json.dumps(list(after), default=str).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> list[str] | None:
    """Return the key of a cursor; one that is not ours is refused."""
    if cursor is None:
        return None
    try:
        value = strict_json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError as error:
        raise bad_cursor() from error
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise bad_cursor()
    return value
