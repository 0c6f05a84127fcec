"""Rate limits of endpoints: per signed-in person, or per network (an IPv4 address, a /64) where nobody is signed in.

Counts are kept in the process, of so many callers at most, or in Redis when several processes share them. A limiter
that cannot count lets ordinary routes pass and refuses those that guard accounts (their own counts are in the database,
see ``workflows.throttling``).
"""

import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

import structlog
from flask import Request
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter

from backend.core.addresses import network_of
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
SOS = Limit("10/10seconds")
"""So many calls for help of one session are acts that everybody concerned is told of. What is pressed beyond it while
the call stands is not refused: it takes the newer place and nothing else, up to ``SEE``."""

SHORT_BODY_BYTES = 16 * 1024
"""What is read where a body is a handful of short texts, as in signing in, where anybody may send one."""


class Windows(MemoryStorage):
    """The moving windows of one process: ``MOST`` of them, so that no flood of callers fills the memory (F52).

    One more than that forgets the window that was not looked at for the longest time. Whoever is being refused is
    looked at all the while. (The library's own keeps each key that it ever saw, and goes through all of them often.)
    """

    MOST = 50_000

    def __init__(self) -> None:
        super().__init__()
        self._windows: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._windows)

    def reset(self) -> int:
        """Forget all counts, and return of how many callers there were some."""
        with self._lock:
            count = len(self._windows)
            self._windows.clear()
        return count

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count, unless it would be more than ``limit`` in ``expiry`` seconds."""
        now = time.time()
        with self._lock:
            window = self._windows.get(key)
            if window is None:
                if len(self._windows) >= self.MOST:
                    self._windows.popitem(last=False)
                window = self._windows[key] = deque(maxlen=limit)
            self._windows.move_to_end(key)
            too_many = len(window) + amount - limit
            if amount > limit or (too_many > 0 and window[too_many - 1] >= now - expiry):
                return False
            window.extend([now] * amount)
            return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the window's oldest count was made, and how many there are."""
        now = time.time()
        with self._lock:
            counted = [at for at in self._windows.get(key, ()) if at >= now - expiry]
        return (counted[0] if counted else now), len(counted)


class Limits:
    """The counters of one process or, with Redis, of the installation."""

    def __init__(self, redis_url: str | None) -> None:
        storage = (
            RedisStorage(redis_url, socket_timeout=1, socket_connect_timeout=1) if redis_url else Windows()
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
    """Return whom to count: the session of the access token that was accepted, else the network he calls from."""
    session = getattr(request, "xungeng_session", None)
    return f"session:{session}" if session else f"address:{network_of(request.remote_addr)}"


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
        level, now = self._level(caller)
        if level < 1.0:
            return (1.0 - level) / self._per_second
        if len(self._buckets) >= self.CALLERS and caller not in self._buckets:
            self._buckets.clear()  # Everybody starts with a full bucket, as after a restart.
        self._buckets[caller] = (level - 1.0, now)
        return 0.0

    def charge(self, caller: Any, calls: float) -> None:
        """Count what was taken as so many calls more: it turned out to be work for as many."""
        level, now = self._level(caller)
        self._buckets[caller] = (level - calls, now)

    def wait_s(self, caller: Any) -> float:
        """Return what ``take`` would, and take nothing."""
        level, _ = self._level(caller)
        return max(0.0, 1.0 - level) / self._per_second

    def _level(self, caller: Any) -> tuple[float, float]:
        now = time.monotonic()
        level, at = self._buckets.get(caller, (self._burst, now))
        return min(self._burst, level + (now - at) * self._per_second), now
