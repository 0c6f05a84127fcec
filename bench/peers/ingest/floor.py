"""Our own ingest process with everything but the database: tokens, validation, pipeline, encoding, and no write.

``granian --interface rsgi bench.peers.ingest.floor:ingest``, or ``gunicorn … bench.peers.ingest.floor:app`` for the web
process. What it serves is the limit that the Python side sets.
"""

from __future__ import annotations

from typing import Any

from backend import wsgi
from workflows.grouped_write import Delivery, GroupedWrite, Receipt


def commit(self: GroupedWrite, delivery: Delivery) -> Receipt:
    """Say at once that everything was stored."""
    return delivery.receipt(len(delivery.rows))


async def commit_soon(self: GroupedWrite, delivery: Delivery) -> Receipt:
    """The same in an event loop."""
    return delivery.receipt(len(delivery.rows))


GroupedWrite.commit = commit  # type: ignore[method-assign]
GroupedWrite.commit_soon = commit_soon  # type: ignore[method-assign]


def __getattr__(name: str) -> Any:
    return getattr(wsgi, name)
