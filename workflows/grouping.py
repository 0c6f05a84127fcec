"""Natural group commit: many requests share one transaction, and nobody waits for a clock.

A request hands in an item and sleeps. While one commit is in flight the next group collects by itself; when
the commit is done, everything that has gathered goes into the next one. An idle server therefore commits a
lone item at once, and a busy one spreads the price of a commit over as many requests as came meanwhile.

A request waits on a thread (``submit``) or in an event loop (``submit_soon``); both kinds share groups.

Live items go first. A backlog, which a phone sends after hours without a network, gets a bounded share of
each group, so that draining it costs the others a few milliseconds and never their turn.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from backend.core.errors import Refusal, Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


class _Entry(Generic[Item, Answer]):
    """An item that waits for its commit. ``wake`` is held until there is an answer or an error.

    The entries of a group wake each other in turn, each the ``next`` one, instead of all at the same moment: a crowd
    of threads that fight for the interpreter costs more than everything else that a request does.
    """

    __slots__ = ("answer", "error", "future", "gone", "item", "next", "wake", "weight", "woken")

    def __init__(self, item: Item, weight: int, future: asyncio.Future[None] | None = None) -> None:
        self.item = item
        self.weight = weight
        self.answer: Answer | None = None
        self.error: Exception | None = None
        self.future = future
        """Of a request that waits in an event loop: done when there is an answer or an error."""
        self.next: _Entry[Item, Answer] | None = None
        self.woken = False
        self.gone = False
        if future is None:
            self.wake = threading.Lock()
            self.wake.acquire()

    def result(self) -> Answer:
        """The answer, or the error raised."""
        if self.error is not None:
            raise self.error
        return self.answer  # type: ignore[return-value]  # An entry without an error has its answer.


class _Queues(Generic[Item, Answer]):
    """What waits for one key: live items and backlog."""

    __slots__ = ("backlog", "live")

    def __init__(self) -> None:
        self.live: deque[_Entry[Item, Answer]] = deque()
        self.backlog: deque[_Entry[Item, Answer]] = deque()


class Grouping(Generic[Item, Answer]):
    """Collects items while a commit is in flight and commits them together, items of one key at a time.

    ``commit`` takes the items of one group and returns one answer for each, in their order, after the
    commit is done; an item whose answer is an exception gets that exception. When ``commit`` itself raises,
    nothing of the group counts as done and its items are tried again one by one, so that a bad one fails
    alone: ``commit`` must therefore be safe to repeat. ``after`` runs when the requests have been woken; it
    must not take long.

    Works the same on threads and on gevent, because it uses nothing but ``threading``'s primitives.
    """

    def __init__(
        self,
        name: str,
        commit: Callable[[Sequence[Item]], Sequence[Answer | Exception]],
        *,
        after: Callable[[], None] | None = None,
        flushers: int = 1,
        group_weight: int = 4000,
        backlog_share: int = 1000,
        live_limit: int = 40_000,
        backlog_limit: int = 32,
        backlog_threads: int | None = None,
        patience_s: float = 30.0,
    ) -> None:
        """Describe the groups; the flushers start with the first item, so after any fork.

        Args:
            flushers: how many commits may be in flight at once.
            group_weight: the greatest weight of one group (a single item may exceed it).
            backlog_share: how much of that weight the backlog may take while live items wait.
            live_limit: the weight of live items that may wait; beyond it callers are told to come again.
            backlog_limit: the number of backlog items that may wait. Each one holds a request open, so it
                has to stay well below the number of requests that the server works on at once.
            backlog_threads: how many of them may hold a thread, where most wait in an event loop and threads are
                few; as many as may wait, if it is not said.
            patience_s: how long a request waits before it is told that the outcome is unknown.
        """
        self.name = name
        self.flushers = flushers
        self.group_weight = group_weight
        self.backlog_share = backlog_share
        self.live_limit = live_limit
        self.backlog_limit = backlog_limit
        self.backlog_threads = backlog_limit if backlog_threads is None else backlog_threads
        self.patience_s = patience_s
        self._commit = commit
        self._after = after
        self._mutex = threading.Lock()
        self._arrival = threading.Condition(self._mutex)
        self._waiting: dict[Hashable, _Queues[Item, Answer]] = {}
        self._live_weight = 0
        self._backlog_count = 0
        self._backlog_on_threads = 0
        self._idle = 0
        self._running = 0
        self._closed = False
        self._nudged = False

    def submit(self, item: Item, weight: int = 1, *, key: Hashable = None, live: bool = True) -> Answer:
        """Hand in an item and return its answer once the commit that holds it is done.

        Raises:
            Unavailable: too much is waiting already, or the commit did not come back in time. In the second
                case the item may or may not be stored, so the caller has to be able to send it again.
            Refusal: what ``commit`` answered for this item.
        """
        entry: _Entry[Item, Answer] = _Entry(item, weight)
        self._enter(entry, key, live)
        if not entry.wake.acquire(timeout=self.patience_s):
            with self._mutex:
                entry.gone = not entry.woken
            if entry.gone:
                raise Unavailable("The database does not answer.", retry_after_s=5)
        if entry.next is not None:
            self._wake(entry.next)
        return entry.result()

    async def submit_soon(
        self, item: Item, weight: int = 1, *, key: Hashable = None, live: bool = True
    ) -> Answer:
        """``submit`` for a request that waits in an event loop; how long is bounded by ``commit`` alone."""
        loop = asyncio.get_running_loop()
        entry: _Entry[Item, Answer] = _Entry(item, weight, loop.create_future())
        self._enter(entry, key, live)
        if not self._nudged:
            # At the end of this turn of the loop: whatever else has arrived by then is in the same group.
            self._nudged = True
            loop.call_soon(self._nudge)
        await entry.future  # type: ignore[misc]  # It was given one.
        return entry.result()

    def _nudge(self) -> None:
        self._nudged = False
        with self._mutex:
            self._call_flusher()

    def _enter(self, entry: _Entry[Item, Answer], key: Hashable, live: bool) -> None:
        """Put an entry into its queue and, if a thread waits for it, see to it that somebody takes it out."""
        with self._mutex:
            if self._closed:
                raise Unavailable("This process is about to end.")
            if live and self._live_weight and self._live_weight + entry.weight > self.live_limit:
                raise Unavailable("More is coming in than can be written.", retry_after_s=2, code="busy")
            on_thread = entry.future is None
            if not live and (
                self._backlog_count >= self.backlog_limit
                or (on_thread and self._backlog_on_threads >= self.backlog_threads)
            ):
                raise Unavailable(
                    "A backlog is being written; please send the rest a little later.",
                    retry_after_s=1,
                    code="backlog_busy",
                )
            queues = self._waiting.get(key)
            if queues is None:
                queues = self._waiting[key] = _Queues()
            if live:
                queues.live.append(entry)
                self._live_weight += entry.weight
            else:
                queues.backlog.append(entry)
                self._backlog_count += 1
                self._backlog_on_threads += on_thread
            if on_thread:
                self._call_flusher()

    def _call_flusher(self) -> None:
        if self._idle:
            self._arrival.notify()
        elif self._running < self.flushers:
            self._running += 1
            threading.Thread(target=self._flush, name=self.name, daemon=True).start()

    def close(self, timeout_s: float = 10.0) -> None:
        """Take no more items, commit those that wait, and end the flushers."""
        deadline = time.monotonic() + timeout_s
        with self._mutex:
            self._closed = True
            self._arrival.notify_all()
            while self._running and (left_s := deadline - time.monotonic()) > 0:
                self._arrival.wait(left_s)

    @property
    def waiting(self) -> tuple[int, int]:
        """The weight of the live items and the number of backlog items that wait for a group just now."""
        return self._live_weight, self._backlog_count

    def _flush(self) -> None:
        """Commit group after group, for as long as the process lives."""
        try:
            while True:
                with self._mutex:
                    while not self._waiting:
                        if self._closed:
                            return
                        self._idle += 1
                        try:
                            self._arrival.wait()
                        finally:
                            self._idle -= 1
                    group = self._collect()
                try:
                    self._settle(group)
                finally:
                    self._release(group)
                if self._after is not None:
                    try:
                        self._after()
                    except Exception:
                        log.exception("grouping.after_failed")
        finally:
            with self._mutex:
                self._running -= 1  # Whatever ends this thread, the next item starts another one.
                self._arrival.notify_all()

    def _release(self, group: Sequence[_Entry[Item, Answer]]) -> None:
        """Let the requests of a group go on: threads one after the other, each event loop's in one call."""
        first: _Entry[Item, Answer] | None = None
        last: _Entry[Item, Answer] | None = None
        loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for entry in group:
            if entry.future is not None:
                loops.setdefault(entry.future.get_loop(), []).append(entry.future)
            elif last is None:
                first = last = entry
            else:
                last.next = entry
                last = entry
        for loop, futures in loops.items():
            with suppress(RuntimeError):  # The loop is closed, so nobody waits in it.
                loop.call_soon_threadsafe(_finish, futures)
        if first is not None:
            self._wake(first)

    def _wake(self, entry: _Entry[Item, Answer] | None) -> None:
        """Wake the first of these entries whose request still waits; it wakes the next one."""
        with self._mutex:
            while entry is not None and entry.gone:
                entry = entry.next
            if entry is not None:
                entry.woken = True
                entry.wake.release()

    def _collect(self) -> list[_Entry[Item, Answer]]:
        """Take the next group: live items first, then the backlog's share, which is at least one item.

        Keys take turns, so that a busy one does not keep the others waiting.
        """
        key = next(iter(self._waiting))
        queues = self._waiting.pop(key)
        live, backlog = queues.live, queues.backlog
        group: list[_Entry[Item, Answer]] = []
        weight = 0
        while live and (not group or weight + live[0].weight <= self.group_weight):
            entry = live.popleft()
            weight += entry.weight
            group.append(entry)
        self._live_weight -= weight
        room = self.backlog_share if group else self.group_weight
        taken = 0
        while backlog and (not taken or backlog[0].weight <= room):
            entry = backlog.popleft()
            room -= entry.weight
            taken += 1
            self._backlog_on_threads -= entry.future is None
            group.append(entry)
        self._backlog_count -= taken
        if live or backlog:
            self._waiting[key] = queues
        return group

    def _settle(self, group: list[_Entry[Item, Answer]]) -> None:
        """Give each entry of the group its answer or its error."""
        for entry in group:
            entry.error = Unavailable("The write was interrupted.")  # Unless something better is known below.
        try:
            self._answer(group)
        except Exception as error:
            if len(group) == 1 or isinstance(error, Refusal):
                # A refusal of the whole group (the database is away) would only be repeated for each.
                for entry in group:
                    entry.error = error
                return
            log.warning("grouping.split", extra={"error": type(error).__name__, "items": len(group)})
            for entry in group:
                try:
                    self._answer([entry])
                except Exception as alone:
                    entry.error = alone

    def _answer(self, group: list[_Entry[Item, Answer]]) -> None:
        answers = self._commit([entry.item for entry in group])
        for entry, answer in zip(group, answers, strict=True):
            if isinstance(answer, Exception):
                entry.error = answer
            else:
                entry.answer, entry.error = answer, None


def _finish(futures: Sequence[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():  # A request that was cancelled waits no more.
            future.set_result(None)
