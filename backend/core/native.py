"""Work that holds a core for longer than a socket may wait, on native threads.

In a gevent process everything else shares one thread; what computes for tens of milliseconds and more (a password's
hash, a large document) is done beside it. The interpreter then takes turns, so sockets and fixes go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class NativeThreads:
    """At most ``most`` native threads, made at the first use; under gevent too, where ``threading`` is green."""

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._pool: Any = None

    def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do the work on one of the threads and return what it returns, or raise what it raises."""
        if self._pool is None:
            self._pool = self._make()
        if isinstance(self._pool, ThreadPoolExecutor):
            return self._pool.submit(work, *arguments).result()
        done: T = self._pool.spawn(work, *arguments).get()
        return done

    def _make(self) -> Any:
        try:
            from gevent import get_hub
            from gevent.monkey import is_module_patched
            from gevent.threadpool import ThreadPool
        except ImportError:
            return ThreadPoolExecutor(self._most, thread_name_prefix=self._name)
        if is_module_patched("threading"):
            return ThreadPool(self._most, hub=get_hub())
        return ThreadPoolExecutor(self._most, thread_name_prefix=self._name)
