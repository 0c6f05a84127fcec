"""Figures for Prometheus. Labels are routes, codes and kinds, never people.

Of several processes of one machine each scrape meets any one. They count in files of one folder, which is handed to
them at their start (``SHARED``), so whichever answers tells the figures of all.
"""

import hmac
import os
import shutil
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from backend.core.config import Config

REGISTRY = CollectorRegistry()
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""The variable of the environment by which prometheus_client counts in files; it reads it when it is imported."""

REQUESTS = Counter(
    "xungeng_requests_total", "Answered requests.", ["route", "method", "status"], registry=REGISTRY
)
REQUEST_SECONDS = Histogram(
    "xungeng_request_seconds",
    "Time to answer.",
    ["route"],
    registry=REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
LIMITED = Counter("xungeng_limited_total", "Requests refused by a rate limit.", registry=REGISTRY)
ENUMERATION_ALERTS = Counter(
    "xungeng_enumeration_alerts_total",
    "Callers who asked for too many things that are not there.",
    registry=REGISTRY,
)
SIGN_INS = Counter("xungeng_sign_ins_total", "Sign-ins by outcome.", ["outcome"], registry=REGISTRY)
REFRESH_REUSES = Counter(
    "xungeng_refresh_reuses_total", "Refresh tokens that came back after their use.", registry=REGISTRY
)
FIXES = Counter(
    "xungeng_fixes_total",
    "Fixes at the gate by protocol and outcome.",
    ["protocol", "outcome"],
    registry=REGISTRY,
)
GROUP_SIZE = Histogram(
    "xungeng_ingest_group_requests",
    "Requests that shared one grouped write.",
    registry=REGISTRY,
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
SOCKETS = Gauge("xungeng_sockets", "Open live connections.", registry=REGISTRY, multiprocess_mode="livesum")
SOCKETS_CLOSED = Counter(
    "xungeng_sockets_closed_total", "Live connections closed by us.", ["reason"], registry=REGISTRY
)

MEDIA_TYPE = "text/plain; version=0.0.4"


def method_label(method: str) -> str:
    """Return the method as a label: what a stranger makes up must not make a series of its own (F52)."""
    return method if method in METHODS else "other"


def figures() -> bytes:
    """All figures of this process, or of all that share a folder, as Prometheus reads them."""
    folder = os.environ.get(SHARED)
    if folder is None:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)
    return generate_latest(registry)


def shared_in(folder: Path) -> dict[str, str]:
    """Make the folder empty; the environment of processes that are to share their figures in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    return {SHARED: str(folder)}


def forget_process(pid: int) -> None:
    """What a process that has ended had open is open no longer; what it counted stays."""
    if SHARED in os.environ:
        mark_process_dead(pid)


def may_read(config: Config, address: str | None, authorization: str) -> bool:
    """Whether a caller may see the figures: the machine itself, or the holder of the token.

    Behind a proxy every address may be the machine's own, so there the token alone counts.
    """
    if address in ("127.0.0.1", "::1") and not config.trusted_hops:
        return True
    wanted = f"Bearer {config.metrics_token}".encode()
    return bool(config.metrics_token) and hmac.compare_digest(
        authorization.encode("utf-8", "replace"), wanted
    )
