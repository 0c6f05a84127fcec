"""What a benchmark prints: a table for people, or one JSON object and nothing else for machines.

A figure is never quoted alone. It stands beside what it was compared with in the same run (a peer doing the
same work, or a limit of the machine), the ratio of the two and the target for that ratio, because absolute
figures move with the machine by more than most changes of the code do.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FOREIGN_CPU_LIMIT = 0.25
"""Cores that processes outside the benchmark may use before a pair of runs is thrown away and done again."""


@dataclass(frozen=True)
class Target:
    """A bound on a figure's ratio, or on its value where the target is an absolute limit."""

    bound: float
    at_least: bool = True
    of: str = "ratio"

    def holds(self, value: float, ratio: float | None) -> bool | None:
        """Say whether the bound is kept; None where the thing that is bounded was not measured."""
        measured = value if self.of == "value" else ratio
        if measured is None:
            return None
        return measured >= self.bound if self.at_least else measured <= self.bound

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{self.of} {sign} {self.bound:g}"


def at_least(bound: float, of: str = "ratio") -> Target:
    """A target that is met from ``bound`` upwards."""
    return Target(bound, True, of)


def at_most(bound: float, of: str = "ratio") -> Target:
    """A target that is met from ``bound`` downwards."""
    return Target(bound, False, of)


@dataclass(frozen=True)
class Figure:
    """A measured number and what it stands beside; ``ratio`` is a median over pairs of runs."""

    name: str
    value: float
    unit: str
    against: str
    against_value: float | None
    ratio: float | None
    target: str | None
    met: bool | None


@dataclass
class Report:
    """All figures of one benchmark run."""

    bench: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Sentences for the reader of the table; they are not part of the JSON object."""

    def add(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        against: str,
        against_value: float | None = None,
        ratio: float | None = None,
        target: Target | Sequence[Target] | None = None,
        rule: tuple[str, bool] | None = None,
    ) -> Figure:
        """Add a figure; without ``ratio`` it is the quotient of the values. Several targets must all hold.

        ``rule`` is a target that is more than a bound: its words, and whether it is met.
        """
        if ratio is None and against_value:
            ratio = value / against_value
        targets = [] if target is None else [target] if isinstance(target, Target) else list(target)
        verdicts = [one.holds(value, ratio) for one in targets]
        met = None if not verdicts or None in verdicts else all(verdicts)
        figure = Figure(
            name,
            _rounded(value),
            unit,
            against,
            None if against_value is None else _rounded(against_value),
            None if ratio is None else _rounded(ratio),
            rule[0] if rule else " and ".join(map(str, targets)) or None,
            rule[1] if rule else met,
        )
        self.figures.append(figure)
        return figure

    def note(self, sentence: str) -> None:
        """Keep a sentence for the end of the table."""
        self.notes.append(sentence)

    @property
    def missed(self) -> list[Figure]:
        """The figures whose target does not hold."""
        return [figure for figure in self.figures if figure.met is False]

    def as_json(self) -> str:
        """The report as one JSON object: bench, machine, figures."""
        figures = [asdict(figure) for figure in self.figures]
        return json.dumps({"bench": self.bench, "machine": machine(), "figures": figures}, ensure_ascii=False)

    def print_table(self, console: Console | None = None) -> None:
        """Print the figures for people."""
        console = console or Console(width=None if sys.stdout.isatty() else 150)
        here = machine()
        table = Table(title=f"{self.bench}: {here['cpu']}, {here['cores']} cores, {here['memory_gib']} GiB")
        for heading in ("figure", "value", "unit", "against", "its value", "ratio", "target", "met"):
            table.add_column(
                heading, justify="right" if heading in ("value", "its value", "ratio") else "left"
            )
        for figure in self.figures:
            table.add_row(
                figure.name,
                _shown(figure.value),
                figure.unit,
                figure.against,
                _shown(figure.against_value),
                _shown(figure.ratio),
                figure.target or "",
                {True: "yes", False: "[bold red]NO[/]", None: ""}[figure.met],
            )
        console.print(table)
        for note in self.notes:
            console.print(note, highlight=False)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


@dataclass(frozen=True)
class Pairs:
    """Several A-B pairs of one measurement, ours first in every pair."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def value(self) -> float:
        """Median of ours."""
        return statistics.median(self.ours)

    @property
    def against_value(self) -> float:
        """Median of theirs."""
        return statistics.median(self.theirs)

    @property
    def ratio(self) -> float:
        """Median of the ratios of each pair: what the machine does to both sides of a pair cancels out."""
        return statistics.median(a / b for a, b in zip(self.ours, self.theirs, strict=True))


def in_pairs(
    ours: Callable[[], float],
    theirs: Callable[[], float],
    count: int,
    quiet: bool = False,
    in_turn: bool = False,
) -> Pairs:
    """Measure A B A B … (``in_turn`` A B B A …); a pair disturbed by foreign processes is done again, twice at most."""
    pairs: list[tuple[float, float]] = []
    for number in range(count):
        for attempt in range(3):
            with foreign_cpu() as foreign:
                if in_turn and number % 2:
                    second = theirs()
                    pair = ours(), second
                else:
                    pair = ours(), theirs()
            if quiet or foreign.cores <= FOREIGN_CPU_LIMIT or attempt == 2:
                break
        pairs.append(pair)
    return Pairs(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))


@dataclass
class ForeignCpu:
    """How many cores processes outside this benchmark used, on average, while it ran."""

    cores: float = 0.0


@contextmanager
def foreign_cpu() -> Iterator[ForeignCpu]:
    """Measure what others use of the machine: all busy time less that of our own process tree."""
    answer = ForeignCpu()
    started = time.monotonic()
    busy, own = _busy_s(), _tree_s()
    yield answer
    elapsed = time.monotonic() - started
    if elapsed > 0:
        answer.cores = max(0.0, (_busy_s() - busy) - (_tree_s() - own)) / elapsed


def percentile(values: Iterable[float], share: float) -> float:
    """The nearest-rank percentile, ``share`` in 0..1; nan of nothing."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    rank = math.ceil(round(share * len(ordered), 9))
    return ordered[min(len(ordered), max(1, rank)) - 1]


def progress(text: str) -> None:
    """Tell the person who waits what is going on: on standard error, which ``--json`` leaves to people."""
    print(f"  {text}", file=sys.stderr, flush=True)


def _busy_s() -> float:
    fields = [int(part) for part in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK")


def _tree_s() -> float:
    """CPU seconds of this process, its living descendants and the children they have waited for."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            text = Path(f"/proc/{entry}/stat").read_text()
        except OSError:
            continue
        rest = text[text.rindex(")") + 2 :].split()
        parents[int(entry)] = int(rest[1])
        ticks[int(entry)] = sum(int(rest[i]) for i in (11, 12, 13, 14))
    ours = {os.getpid()}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in ours} - ours
        grown = bool(more)
        ours |= more
    return sum(ticks.get(pid, 0) for pid in ours) / os.sysconf("SC_CLK_TCK")


def _rounded(value: float) -> float:
    return float(f"{value:.4g}") if abs(value) < 10_000 else round(value)


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
