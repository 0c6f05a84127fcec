"""Our own ingest process with everything but the database: tokens, validation, pipeline, encoding, and no write.

``granian --interface rsgi bench.peers.ingest.floor:ingest``. What it serves is the limit that the Python side sets.
"""

from __future__ import annotations

from typing import Any

from backend import wsgi
from workflows import tracks


async def commit_soon(self: tracks.Ingest, delivery: tracks.Delivery) -> tracks.Receipt:
    """Say at once that everything was stored."""
    return delivery.receipt(len(delivery.rows))


tracks.Ingest.commit_soon = commit_soon  # type: ignore[method-assign]


def __getattr__(name: str) -> Any:
    return getattr(wsgi, name)
