"""The gate between an officer's shift and the fixes that belong to it.

Whoever writes fixes holds the town's gate shared while he checks the shift and writes; whoever ends a shift
holds it alone. So at the moment when an end is committed, every fix that was let through before is visible
to it, and none is let through after it by an older look at the shift.
"""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

ENTER = "select set_config('xungeng.town', %b::text, true), pg_advisory_xact_lock_shared(%b::int8)"
"""Enters a town and holds its gate shared until the transaction ends; a statement of its own, so that the
next one sees what was committed before the lock was had. Parameters: the town's id as text,
``key(town_id)``.
"""

_SALT = 0x6761_7465_6761_7465
"""Keeps these locks apart from other advisory locks that are made of a town's id."""


def key(town_id: UUID) -> int:
    """The number of the town's advisory lock: 64 bits of its id, signed as PostgreSQL wants them."""
    return int.from_bytes(((town_id.int ^ _SALT) & (2**64 - 1)).to_bytes(8), signed=True)


def close(session: Session, town_id: UUID) -> None:
    """Hold the town's gate alone until the transaction ends.

    Call it before reading or changing the row of a shift that is to be ended. It waits for the group of
    fixes that is being written, which takes milliseconds; fixes that come meanwhile wait in turn.
    """
    session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": key(town_id)})
