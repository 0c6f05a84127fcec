"""Identifiers: UUID version 7 (RFC 9562), ordered by the time of their making."""

from uuid import UUID

import uuid_utils.compat


def new_id() -> UUID:
    """Return a new UUIDv7."""
    return uuid_utils.compat.uuid7()
