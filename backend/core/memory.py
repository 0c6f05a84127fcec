"""What a process remembers of rows that others may change, and for how long it may.

While the process listens to what others announce (``backend.core.listen``), an entry is forgotten at the
moment its row changes and may live for ten minutes. While it does not listen, an entry lives for two seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from backend.core.listen import get_listener

ANNOUNCED_S = 600.0
UNANNOUNCED_S = 2.0

_here = threading.local()


class MustWait(Exception):
    """What is asked for has to be read first, or takes long, and the thread that asks may not wait for it."""


def forbid_waiting() -> None:
    """Make this thread one that takes from memory what is there and never waits: an event loop's.

    Where something has to be read it gets ``MustWait`` instead, and asks again from a thread that may wait.
    """
    _here.may_not_wait = True


def need_to_wait() -> None:
    """Say that what follows takes its time.

    Raises:
        MustWait: on a thread that may not.
    """
    if getattr(_here, "may_not_wait", False):
        raise MustWait


Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Memory(Generic[Key, Value]):
    """A bounded dictionary whose entries age. Safe to use from many threads and greenlets."""

    def __init__(
        self,
        *,
        capacity: int = 100_000,
        announced_s: float = ANNOUNCED_S,
        unannounced_s: float = UNANNOUNCED_S,
    ) -> None:
        """Begin with nothing; beyond ``capacity`` the oldest entries go."""
        self._capacity = capacity
        self._announced_s = announced_s
        self._unannounced_s = unannounced_s
        self._entries: dict[Key, tuple[float, Value]] = {}
        self._lock = threading.Lock()
        self._forgotten = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """Return what is remembered under ``key`` and still young enough, else None."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and time.monotonic() < entry[0] else None

    def learn(self, key: Key, load: Callable[[], Value]) -> Value:
        """Return ``load()``, which may wait, and remember it.

        If something was forgotten while ``load`` was reading, what it read may be older than what was
        announced: it is returned, because the announcement was not heard before the question, and not
        remembered.

        Raises:
            MustWait: on a thread that may not.
        """
        need_to_wait()
        forgotten = self._forgotten
        value = load()
        with self._lock:
            if forgotten == self._forgotten:
                self._put(key, value)
        return value

    def keep(self, key: Key, value: Value) -> None:
        """Remember a value that nobody had to read."""
        with self._lock:
            self._put(key, value)

    def _put(self, key: Key, value: Value) -> None:
        listener = get_listener()
        lifetime_s = self._announced_s if listener is not None and listener.connected else self._unannounced_s
        self._entries.pop(key, None)  # So that the dictionary's order is the order of age.
        self._entries[key] = (time.monotonic() + lifetime_s, value)
        while len(self._entries) > self._capacity:
            del self._entries[next(iter(self._entries))]

    def forget(self, key: Key) -> None:
        """Forget one entry."""
        with self._lock:
            self._forgotten += 1
            self._entries.pop(key, None)

    def forget_where(self, condition: Callable[[Key, Value], bool]) -> None:
        """Forget every entry that ``condition`` is true of; it sees each entry once."""
        with self._lock:
            self._forgotten += 1
            for key in [key for key, (_, value) in self._entries.items() if condition(key, value)]:
                del self._entries[key]

    def forget_all(self) -> None:
        """Forget everything: announcements may have been missed."""
        with self._lock:
            self._forgotten += 1
            self._entries.clear()
