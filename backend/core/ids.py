"""Identifiers: UUID version 7 (RFC 9562), ordered by the time of their making."""

from uuid import UUID

import uuid_utils.compat


def new_id() -> UUID:
    """Return a new UUIDv7."""
    return uuid_utils.compat.uuid7()


def id_of(value: object) -> UUID | None:
    """Return the identifier that another process has written down, or None where there is none to read."""
    try:
        return UUID(str(value))
    except ValueError:
        return None
