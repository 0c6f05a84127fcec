"""Rate limits of endpoints: per signed-in person, or per address where nobody is signed in.

Counts are kept in the process, or in Redis when several processes share them. A limiter that cannot count lets
ordinary routes pass and refuses those that guard accounts (their own counts are in the database, see
``workflows.throttling``).
"""

import time
from dataclasses import dataclass
from typing import Any

import structlog
from flask import Request
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter

from backend.core.errors import TooMany
from backend.core.metrics import ENUMERATION_ALERTS, LIMITED

log = structlog.get_logger(__name__)

MISSES = parse("60/5minutes")


@dataclass(frozen=True)
class Limit:
    """How often a route may be called by one caller, such as ``120/minute``."""

    rate: str

    @property
    def item(self) -> RateLimitItem:
        """The parsed rate."""
        return parse(self.rate)


SEE = Limit("600/minute")
ACT = Limit("120/minute")
HEAVY = Limit("30/minute")
SIGN_IN = Limit("60/minute")
OPEN = Limit("300/minute")


class Limits:
    """The counters of one process or, with Redis, of the installation."""

    def __init__(self, redis_url: str | None) -> None:
        storage = (
            RedisStorage(redis_url, socket_timeout=1, socket_connect_timeout=1)
            if redis_url
            else MemoryStorage()
        )
        self._limiter = MovingWindowRateLimiter(storage)
        self._items: dict[Limit, RateLimitItem] = {}
        self._broken_until = 0.0

    def check(self, limit: Limit, route: str, caller: str) -> None:
        """Count one call; raise TooMany when it is one too many."""
        item = self._items.get(limit) or self._items.setdefault(limit, limit.item)
        self._hit(item, route, caller)

    def check_misses(self, caller: str) -> None:
        """Raise TooMany when the caller asked for too many things that are not there (F43)."""
        if time.monotonic() < self._broken_until:
            return
        try:
            if not self._limiter.test(MISSES, "misses", caller):
                raise TooMany(60, code="too_many_misses")
        except TooMany:
            raise
        except Exception as error:  # The store is down: see the module's docstring.
            self._store_failed(error)

    def count_miss(self, request: Request) -> None:
        """Count a look at something that is not there, and raise the alarm at the bound."""
        caller = caller_of(request)
        try:
            self._limiter.hit(MISSES, "misses", caller)
            remaining = self._limiter.get_window_stats(MISSES, "misses", caller).remaining
        except Exception as error:
            self._store_failed(error)
            return
        if remaining == 0:
            ENUMERATION_ALERTS.inc()
            log.warning("enumeration.suspected", kind=caller.partition(":")[0])

    def _hit(self, item: RateLimitItem, route: str, caller: str) -> None:
        if time.monotonic() < self._broken_until:
            return
        try:
            allowed = self._limiter.hit(item, route, caller)
            reset = (
                0.0
                if allowed
                else self._limiter.get_window_stats(item, route, caller).reset_time - time.time()
            )
        except Exception as error:
            self._store_failed(error)
            return
        if not allowed:
            LIMITED.inc()
            raise TooMany(reset)

    def _store_failed(self, error: Exception) -> None:
        self._broken_until = time.monotonic() + 10
        log.warning("limits.store_failed", error=type(error).__name__)


def caller_of(request: Request) -> str:
    """Return whom to count: the session of the access token that was accepted, else the address."""
    session = getattr(request, "xungeng_session", None)
    return f"session:{session}" if session else f"address:{request.remote_addr}"


class Buckets:
    """A token bucket for each caller: ``burst`` calls at once, ``per_second`` in the long run."""

    CALLERS = 50_000

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._buckets: dict[Any, tuple[float, float]] = {}

    def take(self, caller: Any) -> float:
        """Take one call; return 0, or after how many seconds the caller may come again.

        Two threads may count one call between them; a limit need not be exact to protect.
        """
        now = time.monotonic()
        level, at = self._buckets.get(caller, (self._burst, now))
        level = min(self._burst, level + (now - at) * self._per_second)
        if level < 1.0:
            return (1.0 - level) / self._per_second
        if len(self._buckets) >= self.CALLERS and caller not in self._buckets:
            self._buckets.clear()  # Everybody starts with a full bucket, as after a restart.
        self._buckets[caller] = (level - 1.0, now)
        return 0.0
