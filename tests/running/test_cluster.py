"""The private PostGIS: who may reach it, and that it comes back."""

from __future__ import annotations

from pathlib import Path

import psycopg

from backend.core.config import OWNER_ROLE, libpq_url
from backend.embedded.cluster import Cluster


def test_it_answers_on_its_socket_alone_and_never_as_root(cluster: Cluster) -> None:
    with psycopg.connect(libpq_url(cluster.url(OWNER_ROLE, "postgres"))) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert connection.execute("SHOW port").fetchone() != ("5432",)
    assert cluster.process is not None
    assert Path(f"/proc/{cluster.process.pid}").stat().st_uid != 0
    assert cluster.run_dir.stat().st_mode & 0o777 == 0o700


def test_the_postgis_extension_is_there_to_be_made(cluster: Cluster) -> None:
    with psycopg.connect(libpq_url(cluster.url(OWNER_ROLE, "postgres"))) as connection:
        found = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'postgis'").fetchone()
    assert found == (1,)
