"""Natural group commit: many requests share one transaction, and nobody waits for a clock.

A request hands in an item and sleeps. While one commit is in flight the next group collects by itself; when the
commit is done, everything that has gathered goes into the next one. An idle server therefore commits a lone item
at once, and a busy one spreads the price of a commit over as many requests as came meanwhile.

Live items go first. A backlog, which a phone sends after hours without a network, gets a bounded share of each
group, so that draining it costs the others a few milliseconds and never their turn.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from backend.core.errors import Refusal, Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Entry(Generic[Item, Answer]):
    """An item that waits for its commit. ``wake`` is held until there is an answer or an error."""

    __slots__ = ("answer", "error", "item", "wake", "weight")

    def __init__(self, item: Item, weight: int) -> None:
        self.item = item
        self.weight = weight
        self.answer: Answer | None = None
        self.error: Exception | None = None
        self.wake = threading.Lock()
        self.wake.acquire()


class Grouping(Generic[Item, Answer]):
    """Collects items while a commit is in flight and commits them together.

    ``commit`` takes the items of one group and returns one answer for each, in their order, after the commit is
    done; an item whose answer is an exception alone gets that exception. When ``commit`` itself raises, nothing of
    the group counts as done and its items are tried again one by one, so that a bad one fails alone: ``commit`` must
    therefore be safe to repeat.

    Works the same on threads and on gevent, because it uses nothing but ``threading``'s primitives.
    """

    def __init__(
        self,
        name: str,
        commit: Callable[[Sequence[Item]], Sequence[Answer | Exception]],
        *,
        flushers: int = 1,
        group_weight: int = 4000,
        backlog_share: int = 1000,
        live_limit: int = 40_000,
        backlog_limit: int = 32,
        patience_s: float = 30.0,
    ) -> None:
        """Describe the groups; the flushers start with the first item, so after any fork.

        Args:
            flushers: how many commits may be in flight at once.
            group_weight: the greatest weight of one group (a single item may exceed it).
            backlog_share: how much of that weight the backlog may take while live items wait.
            live_limit: the weight of live items that may wait; beyond it the caller is told to come again.
            backlog_limit: the number of backlog items that may wait. Each one holds a request open, so it has to
                stay well below the number of requests that the server works on at once.
            patience_s: how long a request waits before it is told that the outcome is unknown.
        """
        self.name = name
        self.flushers = flushers
        self.group_weight = group_weight
        self.backlog_share = backlog_share
        self.live_limit = live_limit
        self.backlog_limit = backlog_limit
        self.patience_s = patience_s
        self._commit = commit
        self._mutex = threading.Lock()
        self._arrival = threading.Condition(self._mutex)
        self._live: deque[_Entry[Item, Answer]] = deque()
        self._live_weight = 0
        self._backlog: deque[_Entry[Item, Answer]] = deque()
        self._idle = 0
        self._started = 0

    def submit(self, item: Item, weight: int = 1, *, live: bool = True) -> Answer:
        """Hand in an item and return its answer once the commit that holds it is done.

        Raises:
            Unavailable: too much is waiting already, or the commit did not come back in time. The item may or may
                not be stored in the second case, so the caller has to be able to send it again.
            Refusal: what ``commit`` answered for this item.
        """
        entry: _Entry[Item, Answer] = _Entry(item, weight)
        with self._mutex:
            if live:
                if self._live and self._live_weight + weight > self.live_limit:
                    raise Unavailable("More is coming in than can be written.", retry_after_s=2, code="busy")
                self._live.append(entry)
                self._live_weight += weight
            else:
                if len(self._backlog) >= self.backlog_limit:
                    raise Unavailable(
                        "A backlog is being written; please send the rest a little later.",
                        retry_after_s=1,
                        code="backlog_busy",
                    )
                self._backlog.append(entry)
            if self._idle:
                self._arrival.notify()
            elif self._started < self.flushers:
                self._started += 1
                threading.Thread(target=self._flush, name=f"{self.name}-{self._started}", daemon=True).start()
        if not entry.wake.acquire(timeout=self.patience_s):
            raise Unavailable("The database does not answer.", retry_after_s=5)
        if entry.error is not None:
            raise entry.error
        return entry.answer  # type: ignore[return-value]  # An entry without an error has its answer.

    @property
    def waiting(self) -> tuple[int, int]:
        """How many live and how many backlog items wait for a group at this moment."""
        return len(self._live), len(self._backlog)

    def _flush(self) -> None:
        """Commit group after group, for as long as the process lives."""
        while True:
            with self._mutex:
                while not self._live and not self._backlog:
                    self._idle += 1
                    self._arrival.wait()
                    self._idle -= 1
                group = self._collect()
            self._settle(group)
            for entry in group:
                entry.wake.release()

    def _collect(self) -> list[_Entry[Item, Answer]]:
        """Take the next group off the queues: live items first, then the backlog's share, at least one of it."""
        group: list[_Entry[Item, Answer]] = []
        weight = 0
        live = self._live
        while live and (not group or weight + live[0].weight <= self.group_weight):
            entry = live.popleft()
            weight += entry.weight
            group.append(entry)
        self._live_weight -= weight
        backlog = self._backlog
        if backlog:
            room = self.backlog_share if group else self.group_weight
            while True:
                entry = backlog.popleft()
                room -= entry.weight
                group.append(entry)
                if not backlog or backlog[0].weight > room:
                    break
        return group

    def _settle(self, group: list[_Entry[Item, Answer]]) -> None:
        """Give each entry of the group its answer or its error; never raises."""
        try:
            self._answer(group)
        except Exception as error:
            if len(group) == 1 or isinstance(error, Refusal):
                # A refusal of the whole group (the database is away) would only be repeated for each of them.
                for entry in group:
                    entry.error = error
                return
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
                entry.answer = answer
