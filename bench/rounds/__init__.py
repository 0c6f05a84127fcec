"""Rounds: how many visits are found, how many are made up, and which forgeries are noticed, in a simulated week.

The truth, its noise and its forgeries are made by modules of their own (``walking``, ``receiving``, ``forging``) from
the demo town's streets and ``noise.toml``; they know nothing of how visits are found. A visit is found if one of the
same checkpoint overlaps it in time. What nobody could tell (a stay at the rim of the fence, one of about the time
asked) is counted neither way, and shown; so is what no fix was heard of.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache

from bench.report import Report, Target, at_least, at_most, progress
from bench.rounds.scoring import Town
from geo.proof import Doubt

SEED = 20_260_601
FORGERIES = ("replayed track", "mock location", "copied QR", "shifted clock", "two places at once")


def run(quick: bool) -> Report:
    """A week of 200 officers; quick: a day of 40."""
    officers, days = (40, 1) if quick else (200, 7)
    started = time.monotonic()
    tally = simulate(officers, days, SEED)
    report = Report("rounds")
    for name, bound in (("precision", 0.99), ("recall", 0.99)):
        report.add(
            f"{name} of visits", of(tally, name), "share", against="fixes in the circle in a row",
            against_value=of(tally, name, "naive "),
            rule=(f"value > {bound:g}", of(tally, name) > bound),
        )  # fmt: skip
    for name in FORGERIES:
        _add(
            report,
            f"{name}: noticed",
            tally[f"{name} noticed"],
            tally[f"{name} done"],
            at_least(0.95, "value"),
        )
    _add(
        report, "honest visits with a flag", tally["honest flagged"], tally["honest"], at_most(0.01, "value")
    )
    seen = tally["sure"] + tally["unheard"] + tally["borderline"]
    report.note(
        f"{officers} officers, {days} day(s), seed {SEED}: {tally['fixes']:,} fixes, {tally['sure']:,} sure visits"
        f" heard of, {tally['found']:,} found, in {time.monotonic() - started:.0f} s."
    )
    report.note(
        f"Counted neither way: {tally['borderline'] / seen:.1%} so close to the bounds that nobody could tell, and"
        f" {tally['unheard'] / seen:.1%} in which the phone was silent for most of the time."
    )
    report.note(
        "By the letter of the fence, borders and silences included: precision"
        f" {tally['found strict'] / tally['found']:.3f}, recall {tally['strict found'] / tally['strict']:.3f}."
    )
    flags = [f"{flag} {tally[f'honest {flag}']}" for flag in Doubt if tally[f"honest {flag}"]]
    report.note(f"Flags on honest visits: {', '.join(flags) or 'none'}.")
    return report


def of(tally: Counter[str], figure: str, who: str = "") -> float:
    """Precision or recall."""
    if figure == "recall":
        return tally[f"{who}sure found"] / max(1, tally[f"{who}sure"])
    return tally[f"{who}found sure"] / max(1, tally[f"{who}found sure"] + tally[f"{who}found false"])


def simulate(officers: int, days: int, seed: int) -> Counter[str]:
    """All officers' days, counted; on every core."""
    tally: Counter[str] = Counter()
    numbers = [(number, days, seed) for number in range(officers)]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for done, part in enumerate(pool.map(_week, numbers, chunksize=1), 1):
            tally.update(part)
            if done % 40 == 0:
                progress(f"{done} of {officers} officers")
    return tally


def _week(which: tuple[int, int, int]) -> Counter[str]:
    number, days, seed = which
    return _town(seed).week(number, days)


@lru_cache(maxsize=1)
def _town(seed: int) -> Town:
    return Town(seed)


def _add(report: Report, name: str, part: int, whole: int, target: Target) -> None:
    report.add(name, part / max(1, whole), "share", against=f"of {whole:,}", target=target)
