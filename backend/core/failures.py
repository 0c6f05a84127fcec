"""What a failure of the database means to a caller. Statements and values stay out of it."""

import psycopg
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from backend.core.errors import Conflict, Invalid, Refusal, Unavailable

UNIQUE_VIOLATION, FOREIGN_KEY_VIOLATION, CHECK_VIOLATION = "23505", "23503", "23514"
RETRY_CLASSES = ("08", "53", "57", "40", "55")
"""Connection, resources, operator, rollback, lock not available: what may go well when it is tried again."""


def refusal_for(error: Exception) -> Refusal | None:
    """Return the refusal that a database failure amounts to, or None when it is a defect of ours."""
    if isinstance(error, PoolTimeout):
        return Unavailable(code="busy")
    # From who speaks with the driver itself: the grouped write, the search for the nearest.
    if isinstance(error, psycopg.Error):
        if isinstance(error, psycopg.DataError):
            return Invalid()
        return (
            Unavailable(code="database_unavailable")
            if (error.sqlstate or "08")[:2] in RETRY_CLASSES
            else None
        )
    if not isinstance(error, DBAPIError):
        return None
    state = getattr(error.orig, "sqlstate", None)
    if isinstance(error, IntegrityError) and state in (UNIQUE_VIOLATION, FOREIGN_KEY_VIOLATION):
        return Conflict()
    if isinstance(error, DataError) or state == CHECK_VIOLATION:
        return Invalid()
    if error.connection_invalidated or (state or "")[:2] in RETRY_CLASSES:
        return Unavailable(code="database_unavailable")
    if isinstance(error, OperationalError) and state is None:
        return Unavailable(code="database_unavailable")
    return None
