"""The connections that fixes are written and read over, and patience while the database is away for a moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg

from backend.core.errors import Unavailable

LOST_FOR_S = 5.0
"""How long requests are held while the database is away before they are told to come again."""
RETRY_PAUSE_S = 0.1
NETWORK: dict[str, Any] = {
    "tcp_user_timeout": 20_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""After how long a network that swallows everything counts as a lost connection; a socket of this machine has none."""

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


class DatabaseLost(Exception):
    """The connection broke or could not be made; nobody knows whether the last transaction was committed."""


class Connections:
    """Opens connections to one database, and knows since when it has been away."""

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        self._away_since: float | None = None

    def connect(self, name: str) -> psycopg.Connection[Any]:
        """Open a connection that commits each statement and prepares it at its first use.

        Raises:
            DatabaseLost: it could not be made.
        """
        try:
            connection = psycopg.connect(
                self.conninfo, autocommit=True, connect_timeout=3, application_name=name, **NETWORK
            )
        except psycopg.OperationalError as error:
            raise DatabaseLost from error
        connection.prepare_threshold = 0
        return connection

    def patiently(self, attempt: Callable[[], Answer]) -> Answer:
        """Return what ``attempt`` returns, trying again while the database is away for a moment.

        Raises:
            Unavailable: it has been away for longer than requests are to be held.
        """
        while True:
            try:
                answer = attempt()
            except DatabaseLost as loss:
                now = time.monotonic()
                self._away_since = self._away_since or now
                if now - self._away_since > LOST_FOR_S:
                    raise Unavailable("The database is away.", code="database_unavailable") from loss
                time.sleep(RETRY_PAUSE_S)
            else:
                self._away_since = None
                return answer


@contextmanager
def loss_noticed(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Tell a lost connection from a statement that the database, which is there, did not like."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        if connection.closed:
            log.warning("ingest.database_lost", extra={"error": type(error).__name__})
            raise DatabaseLost from error
        raise
