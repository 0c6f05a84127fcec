"""PostgreSQL clusters for tests: private, short-lived, removed afterwards."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backend.core.config import APP_ROLE, AUDITOR_ROLE, OWNER_ROLE, libpq_url
from backend.embedded.cluster import Cluster


@dataclass(frozen=True)
class Database:
    """One database of the test run's cluster, with the schema of the migrations."""

    cluster: Cluster
    name: str

    @property
    def owner_url(self) -> str:
        """SQLAlchemy URL of the owner (a superuser of this cluster: it bypasses row-level security)."""
        return self.cluster.url(OWNER_ROLE, self.name)

    @property
    def app_url(self) -> str:
        """SQLAlchemy URL of the application's role."""
        return self.cluster.url(APP_ROLE, self.name)

    @property
    def auditor_url(self) -> str:
        return self.cluster.url(AUDITOR_ROLE, self.name)

    @property
    def owner_conninfo(self) -> str:
        """The owner's address as psycopg and libpq read it."""
        return libpq_url(self.owner_url)


def temporary_folder(prefix: str) -> Path:
    """A folder with a short path (sockets live in it) that the postgres user may pass through."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    folder.chmod(0o711)
    return folder


@contextmanager
def running_cluster(settings: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A cluster that runs within the block; without ``settings`` it is as durable as PostgreSQL's own defaults."""
    folder = temporary_folder("xg-test-")
    cluster = Cluster(folder, settings or {})
    try:
        cluster.initialise()
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
