"""Figures for Prometheus. Labels are routes, codes and kinds, never people."""

import hmac

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from backend.core.config import Config

REGISTRY = CollectorRegistry()

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
SOCKETS = Gauge("xungeng_sockets", "Open live connections.", registry=REGISTRY)
SOCKETS_CLOSED = Counter(
    "xungeng_sockets_closed_total", "Live connections closed by us.", ["reason"], registry=REGISTRY
)

MEDIA_TYPE = "text/plain; version=0.0.4"


def figures() -> bytes:
    """All figures of this process as Prometheus reads them."""
    return generate_latest(REGISTRY)


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
