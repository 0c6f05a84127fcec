"""Our own ingest process with everything but the database: tokens, validation, pipeline, encoding, and no write.

``granian --interface wsgi bench.peers.ingest.floor:ingest``. What it serves is the limit that the Python side sets.
"""

from __future__ import annotations

from typing import Any

from backend import wsgi
from geo.fixes import Fix, Reason
from workflows import tracks


def take(
    self: tracks.Ingest,
    device: tracks.DeviceIdentity,
    fixes: list[Fix],
    quarantined: list[tuple[dict[str, Any], Reason]],
    protocol: str,
) -> tracks.Receipt:
    """Prepare what would be written and say that it was."""
    delivery = self.prepare(device, fixes, quarantined, protocol)
    return delivery.receipt(len(delivery.rows))


tracks.Ingest.take = take  # type: ignore[method-assign]


def __getattr__(name: str) -> Any:
    return getattr(wsgi, name)
