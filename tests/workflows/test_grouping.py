"""Requests share commits without waiting for a clock, and a bad one fails alone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from backend.core.errors import Conflict, Unavailable
from workflows.grouping import Grouping


class Commits:
    """A commit that can be held back, and what it was given."""

    def __init__(self) -> None:
        self.groups: list[list[Any]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.begun = threading.Semaphore(0)

    def __call__(self, items: Sequence[Any]) -> list[Any]:
        self.groups.append(list(items))
        self.begun.release()
        assert self.hold.wait(10)
        return [item * 10 for item in items]


def submitting(grouping: Grouping[Any, Any], items: Sequence[Any], **how: Any) -> Callable[[], list[Any]]:
    """Submit each item from a thread of its own, in their order; the answer waits for all and returns results."""
    results: list[Any] = [None] * len(items)

    def submit(index: int) -> None:
        try:
            results[index] = grouping.submit(items[index], **how)
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=submit, args=(index,)) for index in range(len(items))]
    for index, thread in enumerate(threads):
        before = sum(grouping.waiting)
        thread.start()
        deadline = time.monotonic() + 0.5
        while sum(grouping.waiting) == before and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.0005)
        del index

    def wait() -> list[Any]:
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        return results

    return wait


def test_a_lone_item_is_committed_at_once_and_alone() -> None:
    commits = Commits()
    grouping: Grouping[int, int] = Grouping("t", commits)
    started = time.monotonic()
    assert grouping.submit(4) == 40
    assert time.monotonic() - started < 0.5
    assert commits.groups == [[4]]
    grouping.close()


def test_what_comes_while_a_commit_is_in_flight_shares_the_next_one() -> None:
    commits = Commits()
    grouping: Grouping[int, int] = Grouping("t", commits)
    commits.hold.clear()
    first = submitting(grouping, [1])
    assert commits.begun.acquire(timeout=5)
    others = submitting(grouping, [2, 3, 4])
    commits.hold.set()
    assert first() == [10]
    assert others() == [20, 30, 40]
    assert commits.groups == [[1], [2, 3, 4]]
    grouping.close()


def test_many_threads_each_get_their_own_answer() -> None:
    grouping: Grouping[int, int] = Grouping("t", lambda items: [item * 10 for item in items], flushers=2)
    wrong: list[int] = []

    def work(number: int) -> None:
        for i in range(50):
            item = number * 1000 + i
            if grouping.submit(item) != item * 10:
                wrong.append(item)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    grouping.close()


def test_a_bad_item_fails_alone_and_the_others_of_its_group_are_committed() -> None:
    hold, begun, groups = threading.Event(), threading.Semaphore(0), []

    def commit(items: Sequence[int]) -> list[int]:
        groups.append(list(items))
        begun.release()
        assert hold.wait(10)
        if 13 in items:
            raise ValueError("thirteen")
        return list(items)

    grouping: Grouping[int, int] = Grouping("t", commit)
    first = submitting(grouping, [1])
    assert begun.acquire(timeout=5)
    others = submitting(grouping, [2, 13, 4])
    hold.set()
    assert first() == [1]
    two, thirteen, four = others()
    assert (two, four) == (2, 4)
    assert isinstance(thirteen, ValueError)
    assert groups == [[1], [2, 13, 4], [2], [13], [4]]
    grouping.close()


def test_a_refusal_of_the_whole_group_is_not_tried_item_by_item() -> None:
    calls: list[int] = []

    def away(items: Sequence[int]) -> list[int]:
        calls.append(len(items))
        time.sleep(0.05)
        raise Unavailable("away")

    grouping: Grouping[int, int] = Grouping("t", away)
    results = submitting(grouping, [1, 2, 3])()
    assert all(isinstance(result, Unavailable) for result in results)
    assert sum(calls) == 3
    grouping.close()


def test_an_item_can_be_answered_with_a_refusal_of_its_own() -> None:
    grouping: Grouping[int, int] = Grouping(
        "t", lambda items: [Conflict("odd") if i % 2 else i for i in items]
    )
    assert grouping.submit(2) == 2
    with pytest.raises(Conflict):
        grouping.submit(3)
    grouping.close()


def test_live_items_go_first_and_the_backlog_gets_its_share_of_each_group() -> None:
    """F22: draining a backlog never takes the turn of those who are on the map, nor does it starve."""
    commits = Commits()
    grouping: Grouping[int, int] = Grouping("t", commits, group_weight=100, backlog_share=20)
    commits.hold.clear()
    first = submitting(grouping, [0])
    assert commits.begun.acquire(timeout=5)
    backlog = submitting(grouping, [101, 102, 103, 104, 105], weight=10, live=False)
    live = submitting(grouping, [1, 2, 3], weight=1)
    commits.hold.set()
    first(), live(), backlog()
    assert commits.groups[1] == [1, 2, 3, 101, 102]
    assert commits.groups[2] == [103, 104, 105]  # Nobody live waits: the whole group is the backlog's.
    grouping.close()


def test_a_backlog_item_heavier_than_its_share_still_gets_through() -> None:
    commits = Commits()
    grouping: Grouping[int, int] = Grouping("t", commits, group_weight=100, backlog_share=20)
    commits.hold.clear()
    first = submitting(grouping, [0])
    assert commits.begun.acquire(timeout=5)
    backlog = submitting(grouping, [101, 102], weight=60, live=False)
    live = submitting(grouping, [1], weight=1)
    commits.hold.set()
    first(), live(), backlog()
    assert commits.groups[1:] == [[1, 101], [102]]
    grouping.close()


def test_items_of_different_keys_never_share_a_commit_and_take_turns() -> None:
    """F47: a group belongs to one town."""
    commits = Commits()
    grouping: Grouping[int, int] = Grouping("t", commits)
    commits.hold.clear()
    first = submitting(grouping, [0], key="a")
    assert commits.begun.acquire(timeout=5)
    a, b = submitting(grouping, [1, 2], key="a"), submitting(grouping, [11, 12], key="b")
    commits.hold.set()
    first(), a(), b()
    assert sorted(commits.groups[1:]) == [[1, 2], [11, 12]]
    grouping.close()


def test_more_than_may_wait_is_refused_with_a_time_to_come_again() -> None:
    commits = Commits()
    grouping: Grouping[int, int] = Grouping("t", commits, live_limit=10, backlog_limit=1)
    commits.hold.clear()
    first = submitting(grouping, [0])
    assert commits.begun.acquire(timeout=5)
    waiting = submitting(grouping, [1], weight=8)
    backlog = submitting(grouping, [2], live=False)
    with pytest.raises(Unavailable) as live_refused:
        grouping.submit(3, 8)
    with pytest.raises(Unavailable) as backlog_refused:
        grouping.submit(4, live=False)
    assert live_refused.value.code == "busy"
    assert backlog_refused.value.code == "backlog_busy"
    assert int(live_refused.value.headers["Retry-After"]) >= 1
    commits.hold.set()
    first(), waiting(), backlog()
    assert grouping.waiting == (0, 0)
    assert grouping.submit(5, 8) == 50
    grouping.close()


def test_who_waits_too_long_is_told_that_the_outcome_is_unknown() -> None:
    commits = Commits()
    grouping: Grouping[int, int] = Grouping("t", commits, patience_s=0.1)
    commits.hold.clear()
    with pytest.raises(Unavailable):
        grouping.submit(1)
    commits.hold.set()
    grouping.close()


def test_a_flusher_that_is_killed_wakes_its_requests_and_the_next_item_starts_another() -> None:
    class Killed(BaseException):
        pass

    calls: list[int] = []

    def commit(items: Sequence[int]) -> list[int]:
        calls.append(len(items))
        if len(calls) == 1:
            raise Killed
        return list(items)

    hook, threading.excepthook = threading.excepthook, lambda _: None
    try:
        grouping: Grouping[int, int] = Grouping("t", commit)
        with pytest.raises(Unavailable):
            grouping.submit(1)
        deadline = time.monotonic() + 5
        while grouping._running and time.monotonic() < deadline:
            time.sleep(0.01)
        assert grouping.submit(2) == 2
    finally:
        threading.excepthook = hook
    grouping.close()


def test_what_follows_a_commit_happens_after_the_requests_were_woken() -> None:
    order: list[str] = []
    done = threading.Event()

    def after() -> None:
        time.sleep(0.1)
        order.append("after")
        done.set()

    grouping: Grouping[int, int] = Grouping("t", lambda items: list(items), after=after)
    grouping.submit(1)
    order.append("answered")
    assert done.wait(5)
    assert order == ["answered", "after"]
    grouping.close()


def test_closing_writes_what_waits_and_takes_no_more() -> None:
    commits = Commits()
    grouping: Grouping[int, int] = Grouping("t", commits)
    commits.hold.clear()
    first = submitting(grouping, [1])
    assert commits.begun.acquire(timeout=5)
    second = submitting(grouping, [2])
    threading.Timer(0.1, commits.hold.set).start()
    grouping.close()
    assert (first(), second()) == ([10], [20])
    with pytest.raises(Unavailable):
        grouping.submit(3)


def test_it_works_the_same_on_gevent() -> None:
    program = """
        from gevent import monkey
        monkey.patch_all()
        import gevent, time
        from workflows.grouping import Grouping

        sizes = []
        def commit(items):
            sizes.append(len(items))
            time.sleep(0.01)
            return [item * 10 for item in items]

        grouping = Grouping("t", commit)
        jobs = [gevent.spawn(grouping.submit, number) for number in range(500)]
        gevent.joinall(jobs, timeout=20)
        assert [job.value for job in jobs] == [number * 10 for number in range(500)]
        assert len(sizes) <= 3, sizes
        grouping.close()
        print("ok")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "ok", done.stderr


def test_of_a_backlog_only_so_many_hold_a_thread_and_others_wait_in_their_loop() -> None:
    """F22: threads are few, and a backlog must not hold all of them; in an event loop a place costs little."""
    commits = Commits()
    grouping: Grouping[int, int] = Grouping("t", commits, backlog_limit=4, backlog_threads=1)
    commits.hold.clear()
    first = submitting(grouping, [1])
    assert commits.begun.acquire(timeout=5)
    on_a_thread = submitting(grouping, [2], live=False)
    with pytest.raises(Unavailable) as refused:
        grouping.submit(3, live=False)
    assert refused.value.code == "backlog_busy"
    live = submitting(grouping, [4])

    async def in_a_loop() -> list[int | BaseException]:
        asked = [asyncio.ensure_future(grouping.submit_soon(item, live=False)) for item in (5, 6, 7, 8)]
        await asyncio.sleep(0.05)
        commits.hold.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    # On a thread of its own: another test's browser may have left a loop on this one.
    with ThreadPoolExecutor(1) as thread:
        *answered, beyond = thread.submit(asyncio.run, in_a_loop()).result()
    assert answered == [50, 60, 70]
    assert isinstance(beyond, Unavailable)
    assert (first(), on_a_thread(), live()) == ([10], [20], [40])
    assert grouping.submit(9, live=False) == 90  # Its place is free again.
    grouping.close()
