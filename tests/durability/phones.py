"""Phones that send fixes over HTTP until they are told to stop, and remember what was acknowledged."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.durability.town import Officer

ROUTE = "/api/v1/officer/fixes"
DOOMED_M = 4444.0
"""The altitude that asks ``tests.durability.dying`` for its end."""


@dataclass
class Failure:
    """A request that was not answered with 200: when, and what came instead."""

    at: float
    what: str


@dataclass
class Phone(threading.Thread):
    """One phone: a batch at a time, the same one again until it is acknowledged, as clients do."""

    officer: Officer
    port: int
    batch: int = 2
    pause_s: float = 0.0
    acknowledged: dict[str, int] = field(default_factory=dict)
    """fixed_at of each fix that was answered 200, and in which request."""
    sent: set[str] = field(default_factory=set)
    answers: list[tuple[float, float, dict[str, Any]]] = field(default_factory=list)
    """When each acknowledgement came, how long after the request was due, and the receipt."""
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.stopping = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._last = datetime.now(UTC) - timedelta(seconds=90)
        self._rng = random.Random(self.officer.device_id.int)

    def __hash__(self) -> int:
        return id(self)

    def next_batch(self) -> list[dict[str, Any]] | None:
        """The next fixes: a few milliseconds after the last ones, never ahead of the clock."""
        fixes = []
        for _ in range(self.batch):
            self._last = min(self._last + timedelta(milliseconds=7), datetime.now(UTC))
            fixes.append(
                {
                    "fixed_at": self._last.isoformat().replace("+00:00", "Z"),
                    "lon": round(121.305 + self._rng.random() * 1e-5, 7), "lat": 31.105, "accuracy_m": 6,
                }
            )  # fmt: skip
        return fixes

    def run(self) -> None:
        while not self.stopping.is_set():
            fixes = self.next_batch()
            if fixes is None:
                return
            self.deliver(fixes)
            if self.pause_s:
                self.stopping.wait(self.pause_s)

    def deliver(self, fixes: Sequence[dict[str, Any]]) -> None:
        """Send one batch until it is acknowledged, or until the test is over."""
        due = time.monotonic()
        body = json.dumps(
            {
                "device_id": str(self.officer.device_id),
                "sent_at": datetime.now(UTC).isoformat(),
                "fixes": fixes,
            }
        ).encode()
        self.sent.update(fix["fixed_at"] for fix in fixes)
        while True:
            status, receipt = self.post(body)
            now = time.monotonic()
            if status == 200:
                assert receipt is not None
                self.answers.append((now, now - due, receipt))
                for fix in fixes:
                    self.acknowledged[fix["fixed_at"]] = len(self.answers)
                return
            self.failures.append(Failure(now, f"{status} {receipt}"))
            if self.stopping.wait(self.retry_after(status)):
                return

    def retry_after(self, status: int) -> float:
        """How long to wait before the same batch is sent again."""
        return 0.2 * (0.5 + self._rng.random())

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any] | None]:
        """Send a body; status 0 means that no answer came."""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=40)
            self._connection.request(
                "POST", ROUTE, body,
                {
                    "Authorization": f"Bearer {self.officer.token}", "Content-Type": "application/json",
                    **(headers or {}),
                },
            )  # fmt: skip
            answer = self._connection.getresponse()
            raw = answer.read()
            return answer.status, json.loads(raw) if raw else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return 0, {"error": type(error).__name__}

    def stop(self) -> None:
        """Send no more; the batch under way may be given up."""
        self.stopping.set()

    def close(self, within_s: float = 60.0) -> None:
        """Wait until the phone has nothing more to send, and hang up."""
        if self.ident is not None:
            self.join(within_s)
            assert not self.is_alive()
        if self._connection is not None:
            self._connection.close()


def run_for(phones: Sequence[Phone], seconds: float) -> None:
    """Let phones send for some time, then wait for them to end."""
    for phone in phones:
        phone.start()
    time.sleep(seconds)
    end(phones)


def end(phones: Sequence[Phone]) -> None:
    """Stop phones and wait for them."""
    for phone in phones:
        phone.stop()
    for phone in phones:
        phone.close()
