"""Phones come back after three days without a network; whoever is on the map does not notice (F22)."""

from __future__ import annotations

import gzip
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bench.report import percentile
from tests.durability.phones import Phone, end
from tests.durability.town import DurableTown, durable_town

HOURS = 72
EVERY_S = 10
SHIFTS = (*((h, h - 12.0) for h in range(78, 12, -12)), (12.0, None))
"""Twelve-hour shifts without a gap, over three days and into the present."""


class Returning(Phone):
    """A phone that was offline: it sends its queue oldest first, a thousand at a time, compressed."""

    def queue(self, points: int, batch: int) -> None:
        now = datetime.now(UTC)
        self.waiting = [now - timedelta(seconds=EVERY_S * (points - i)) for i in range(points)]
        self.size = batch

    def next_batch(self) -> list[dict[str, Any]] | None:
        if not self.waiting:
            return None
        part, self.waiting = self.waiting[: self.size], self.waiting[self.size :]
        return [
            {
                "fixed_at": at.isoformat().replace("+00:00", "Z"), "lon": 121.305 + i * 1e-6, "lat": 31.105,
                "accuracy_m": 8,
            }
            for i, at in enumerate(part)
        ]  # fmt: skip

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any] | None]:
        return super().post(gzip.compress(body, 1), {"Content-Encoding": "gzip"})

    def retry_after(self, status: int) -> float:
        return 0.5 + random.random()  # Retry-After is a second, and clients spread.


class OnTheMap(Phone):
    """A phone with a network: a fix a second, each one's delay counted from when it was due."""

    def run(self) -> None:
        due = time.monotonic() + random.random()
        while not self.stopping.wait(max(0.0, due - time.monotonic())):
            fixes = self.next_batch()
            assert fixes is not None
            fixes[-1]["fixed_at"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            before = len(self.answers)
            self.deliver(fixes[-1:])
            if len(self.answers) > before:
                at, _, receipt = self.answers[-1]
                self.answers[-1] = (at, at - due, receipt)
            due += 1.0


@pytest.fixture(scope="module")
def town() -> Iterator[DurableTown]:
    with durable_town() as found:
        yield found


def test_three_days_of_backlog_drain_without_delaying_the_live_map(
    town: DurableTown, thin: Callable[[int, int], int]
) -> None:
    """F22: 50 officers x 25,920 points against the one web process; acknowledged lost 0, live p95 below 5 s."""
    returning_count, points = thin(50, 10), thin(HOURS * 3600 // EVERY_S, 3000)
    returning_officers, live_officers = town.officers(returning_count, SHIFTS), town.officers(20, SHIFTS)
    with town.web() as running:
        live = [OnTheMap(officer, running.port, batch=1) for officer in live_officers]
        for phone in live:
            phone.start()
        time.sleep(2.0)
        calm = [delay for phone in live for _, delay, _ in phone.answers]
        returning = [Returning(officer, running.port) for officer in returning_officers]
        started = time.monotonic()
        for phone in returning:
            phone.queue(points, 1000)
            phone.start()
        for phone in returning:
            phone.close(1800)
        drained_s = time.monotonic() - started
        end(live)
    during = [delay for phone in live for at, delay, _ in phone.answers if at >= started]
    lost = sum(
        len(phone.acknowledged.keys() - town.stored(phone.officer).keys()) for phone in (*returning, *live)
    )
    stored = sum(len(town.stored(phone.officer)) for phone in returning)
    shown = town.scalar("select count(*) from latest_positions")
    p95 = percentile(during, 0.95)
    put_off = sum(len(phone.failures) for phone in returning)
    print(
        f"\nF22: {stored} points in {drained_s:.1f} s ({stored / drained_s:.0f}/s), {put_off} requests put off,"
        f" live p95 {p95 * 1000:.0f} ms (before: {percentile(calm, 0.95) * 1000:.0f} ms), lost {lost}"
    )
    assert lost == 0
    assert stored == returning_count * points
    assert [failure for phone in live for failure in phone.failures] == []
    assert p95 < 5.0
    assert shown == returning_count + len(live)


def test_a_backlog_cut_off_in_the_middle_goes_on_where_it_was(
    town: DurableTown, thin: Callable[[int, int], int]
) -> None:
    """F22: resumable: the phone sends the batch again that was not acknowledged, and none is stored twice."""
    [officer] = town.officers(1, SHIFTS)
    with town.web() as running:
        first = Returning(officer, running.port)
        first.queue(thin(25_920, 4000), 500)
        everything = list(first.waiting)
        first.start()
        while len(first.answers) < 2:
            time.sleep(0.01)
        end([first])
        sent = len(first.acknowledged)
        assert 0 < sent < len(everything)
        second = Returning(officer, running.port)
        second.queue(0, 500)
        second.waiting = everything[max(0, sent - 500) :]
        second.start()
        second.close(600)
    stored = town.stored(officer)
    assert sorted(stored) == sorted(at.isoformat().replace("+00:00", "Z") for at in everything)
    assert set(stored.values()) == {1}
    assert second.answers[0][2]["duplicates"] > 0
