"""``script/bench evidence``: recordings brought to the town's store, hashed as they arrive (f).

One web process of ours, as the default profile has it and as nginx hands uploads on to it in the production profile,
against one node process of @tus/server, whose store does the same hash and the same fsync. nginx taking a plain PUT,
with neither, is the limit. Every file that was brought is hashed again where it lies before its time counts.

Beside that: a server killed in mid-file, after which the phone goes on where it was; what others wait for while
recordings arrive; and the memory of a server that has 200 uploads under way.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from bench.report import Report, at_least, at_most, in_pairs, percentile, progress
from bench.servers import CannotMeasureError, answers, folder, pss_kib
from bench.uploading import (
    TUS,
    Line,
    Recording,
    Side,
    our_side,
    plain_put,
    town_that_records,
    tus_side,
)

LENGTH, QUICK_LENGTH = 512 << 20, 128 << 20
PART = 8 << 20
UNDER_WAY = 200
SLOW_LENGTH = 2 << 20
"""Of each of the many uploads that are under way at once."""
STEP = 64 << 10
OFFICERS = 256
EVERY_S = 0.02
"""So often somebody else asks while recordings arrive."""


def run(quick: bool = False) -> Report:
    """Measure f."""
    report = Report("evidence")
    length, count = (QUICK_LENGTH, 1) if quick else (LENGTH, 5)
    with (
        town_that_records(OFFICERS) as town,
        folder() as files,
        folder() as own,
        folder() as theirs,
        folder() as plain,
    ):
        progress("starting the servers")
        recording = Recording.made(files, length)
        small = Recording.made(files, SLOW_LENGTH)
        with our_side(town, own) as ours, tus_side(town, theirs) as tus, plain_put(plain) as put:
            for side in (ours, tus):
                side.bring(small, PART)
            put(small)
            for name, part in (("parts of 8 MiB", PART), ("one part", length)):
                _throughput(report, name, recording, part, count, ours, tus, put)
            _waits(report, recording, ours, tus)
            _memory(report, small, ours, tus)
            _killed(report, recording, ours, 1 if quick else 5)
    return report


def _throughput(
    report: Report, name: str, recording: Recording, part: int, count: int,
    ours: Side, tus: Side, put: Callable[[Recording], float],
) -> None:  # fmt: skip
    own = partial(ours.bring, recording, part)
    for against, theirs, target in (
        ("@tus/server, same hash and fsync", partial(tus.bring, recording, part), at_least(1.5)),
        ("nginx, PUT, no hash, no fsync: the limit", partial(put, recording), None),
    ):
        progress(f"{recording.length >> 20} MiB in {name}: ours and {against}")
        pairs = in_pairs(own, theirs, count, in_turn=True)
        report.add(
            f"f upload, {name}", pairs.value, "MB/s", against=against, against_value=pairs.against_value,
            ratio=pairs.ratio, target=target,
        )  # fmt: skip


# --- What others wait for


@dataclass
class Asking:
    """Somebody who asks again and again, and how long each answer took from when it was due."""

    port: int
    waits: list[float] = field(default_factory=list)

    @contextmanager
    def meanwhile(self) -> Iterator[list[float]]:
        """Ask while the block runs; yields the waits of that time."""
        over = threading.Event()
        self.waits = []

        def ask() -> None:
            line, due = Line(self.port, ""), time.monotonic()
            while not over.is_set():
                line.ask("GET", "/healthz", {})
                self.waits.append((time.monotonic() - due) * 1000)
                due = max(due + EVERY_S, time.monotonic() - 1)
                over.wait(max(0.0, due - time.monotonic()))
            line.close()

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield self.waits
        finally:
            over.set()
            thread.join()


def _waits(report: Report, recording: Recording, ours: Side, tus: Side) -> None:
    """How long others wait for an answer while four phones bring recordings at once."""
    progress("what others wait for while four recordings arrive")
    found: dict[str, float] = {}
    for name, side in (("ours", ours), ("tus", tus)):
        with Asking(side.port).meanwhile() as quiet:
            time.sleep(1)
        found[f"{name}, quiet"] = percentile(quiet, 0.99)
        with Asking(side.port).meanwhile() as busy:
            _four(side, recording)
        found[name] = percentile(busy, 0.99)
    report.add(
        "f others' answers while 4 recordings arrive, p99", found["ours"], "ms", against="@tus/server, the same",
        against_value=found["tus"],
    )  # fmt: skip
    report.note(
        f"Without uploads: ours {found['ours, quiet']:.1f} ms, @tus/server {found['tus, quiet']:.1f} ms (p99)."
    )


def _four(side: Side, recording: Recording) -> None:
    """Bring a recording four times at once; each is the same file, so what is kept is looked at once, at the end."""
    with_faults: list[Exception] = []

    def bring() -> None:
        try:
            side.bring(recording, PART, check=False)
        except Exception as error:
            with_faults.append(error)

    threads = [threading.Thread(target=bring) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in with_faults:
        raise error
    side.check(recording)


# --- Memory


def _memory(report: Report, small: Recording, ours: Side, tus: Side) -> None:
    """What a server's memory grows by for each of 200 uploads that are under way."""
    grown: dict[str, float] = {}
    for name, side in (("ours", ours), ("tus", tus)):
        progress(f"{UNDER_WAY} uploads at once: {side.server.name}")
        with_them, before = _under_way(side, small)
        grown[name] = (with_them - before) / UNDER_WAY
        report.note(
            f"{'Ours' if name == 'ours' else '@tus/server'}: {before / 1024:.0f} MiB before,"
            f" at most {with_them / 1024:.0f} MiB with {UNDER_WAY} uploads under way."
        )
    report.add(
        f"f memory per upload, {UNDER_WAY} under way", grown["ours"], "KiB", against="@tus/server",
        against_value=grown["tus"], target=at_most(512, "value"),
    )  # fmt: skip


def _under_way(side: Side, small: Recording) -> tuple[int, int]:
    """Bring many files a step each in turn; the most memory that the server had meanwhile, and before, in KiB."""
    before = _memory_of(side)
    most, file = before, os.open(small.path, os.O_RDONLY)
    lines = [side.line() for _ in range(UNDER_WAY)]
    try:
        for line in lines:
            line.begin_part(side.create(line, small), 0, small.length)
        for at in range(0, small.length, STEP):
            for line in lines:
                line.pour(file, at, min(STEP, small.length - at))
            most = max(most, _memory_of(side))
        for line in lines:
            if (status := line.answer().status) != 204:
                raise CannotMeasureError(f"One of {UNDER_WAY} uploads was refused with {status}.")
        most = max(most, _memory_of(side))
    finally:
        os.close(file)
        for line in lines:
            line.close()
    side.check(small)
    return most, before


def _memory_of(side: Side) -> int:
    return sum(pss_kib(pid) for pid in side.server.tree())


# --- Killed in mid-file


def _killed(report: Report, recording: Recording, side: Side, times: int) -> None:
    """Kill the server at a random byte, go on where it was, and compare what it then has."""
    rng, lost, resumed = random.Random(recording.length), 0, []
    for number in range(times):
        progress(f"killed in mid-file, {number + 1} of {times}")
        gone, took = _kill_once(recording, side, rng)
        lost += gone
        resumed.append(took)
    report.add(
        f"f confirmed bytes lost by SIGKILL in mid-file, {times} times", lost, "bytes", against="nothing",
        rule=("value = 0, hash right", lost == 0),
    )  # fmt: skip
    report.note(
        f"Going on where it was after a kill, with the prefix read once: {max(resumed):.2f} s at most."
    )


def _kill_once(recording: Recording, side: Side, rng: random.Random) -> tuple[int, float]:
    """The confirmed bytes that were lost, and how long it took from the kill until the offset was told."""
    line, file = side.line(), os.open(recording.path, os.O_RDONLY)
    try:
        path = side.create(line, recording)
        confirmed = rng.randrange(1, recording.length // 2)
        line.begin_part(path, 0, confirmed)
        line.pour(file, 0, confirmed)
        if line.answer().status != 204:
            raise CannotMeasureError("The first part was refused.")
        more = rng.randrange(1, recording.length - confirmed)
        line.begin_part(path, confirmed, recording.length - confirmed)
        line.pour(file, confirmed, more)
        for pid in side.server.tree()[1:]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        died = time.monotonic()
        line.close()
        while not answers(side.port):
            time.sleep(0.02)
        there = int(line.ask("HEAD", path, TUS).headers["Upload-Offset"])
        took = time.monotonic() - died
        line.begin_part(path, there, recording.length - there)
        line.pour(file, there, recording.length - there)
        if (status := line.answer().status) != 204:
            raise CannotMeasureError(f"The rest was refused with {status}.")
    finally:
        os.close(file)
        line.close()
    side.check(recording)
    return max(0, confirmed - there), took
