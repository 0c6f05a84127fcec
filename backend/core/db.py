"""The connection pool of a process, and how long its statements may take."""

from dataclasses import dataclass

from sqlalchemy import URL, Engine, create_engine, make_url

from backend.core.config import Config


@dataclass(frozen=True)
class Bounds:
    """How long the database works on one statement, and how much of that it waits for a lock."""

    statement_ms: int
    lock_ms: int


REQUESTS = Bounds(statement_ms=30_000, lock_ms=10_000)
"""Somebody waits for the answer, and a connection that works on it is missing to all others (F70)."""
JOBS = Bounds(statement_ms=3_600_000, lock_ms=60_000)
"""Of the worker and of commands: laying out a closed day or importing a town takes minutes. A lock is waited for longer
than any request can hold it, and not for ever, because whoever comes after waits behind it."""

_engine: Engine | None = None


def engine_for(config: Config, *, pool_size: int = 10, bounds: Bounds = REQUESTS) -> Engine:
    """Return an engine that connects as the application's role, with bounded waits and dead connections noticed."""
    return create_engine(
        _bounded(config.database_url, bounds),
        pool_size=pool_size,
        max_overflow=pool_size * 2,
        pool_timeout=10,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={"connect_timeout": 5, "application_name": "xungeng"},
    )


def _bounded(address: str, bounds: Bounds) -> URL:
    """Return the address with the bounds from the first statement on; what it sets itself comes after and counts."""
    url = make_url(address)
    own = url.query.get("options", "")
    limits = f"-c statement_timeout={bounds.statement_ms} -c lock_timeout={bounds.lock_ms}"
    return url.update_query_dict(
        {"options": f"{limits} {own if isinstance(own, str) else ' '.join(own)}".strip()}
    )


def set_engine(engine: Engine | None) -> None:
    """Make ``engine`` the one that units of work open on; composition roots and tests call this."""
    global _engine
    _engine = engine


def get_engine() -> Engine:
    """Return the engine of this process."""
    if _engine is None:
        raise RuntimeError("No engine was set; a composition root has to call set_engine first.")
    return _engine
