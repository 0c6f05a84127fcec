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


class Beside:
    """One more native thread of whoever is on a native thread already, who gives it one piece of work at a time."""

    def __init__(self) -> None:
        # Unpatched: under gevent ``threading`` is green, and a green lock knows one thread alone.
        start, make_lock = _native("start_new_thread"), _native("allocate_lock")
        self._given, self._idle, self._ended = make_lock(), make_lock(), make_lock()
        self._given.acquire()
        self._ended.acquire()
        self._work: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
        self._failed: BaseException | None = None
        start(self._run, ())

    def _run(self) -> None:
        while True:
            self._given.acquire()
            if self._work is None:
                break
            work, arguments = self._work
            try:
                work(*arguments)
            except BaseException as error:
                self._failed = error
            self._idle.release()
        self._ended.release()

    def begin(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Have it done once what was given before is done, which is waited for."""
        self._idle.acquire()
        self._work = (work, arguments)
        self._given.release()

    def wait(self) -> None:
        """Wait until what was given is done; raise what it raised."""
        with self._idle:
            failed, self._failed = self._failed, None
        if failed is not None:
            raise failed

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.wait()
        finally:
            self._work = None
            self._given.release()
            self._ended.acquire()


def _native(name: str) -> Any:
    try:
        from gevent.monkey import get_original
    except ImportError:
        import _thread

        return getattr(_thread, name)
    return get_original("_thread", name)
