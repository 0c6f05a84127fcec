"""The formulas of the appraisal (考核), by version: what is made of which facts, in words and in code.

Pure: figures follow from the inputs and from nothing else, so recomputing an old month gives the figures of then. A
formula that has judged a month is never edited; another one gets another version, and months that were begun with the
older one stay with it.

Three rules hold for every version. There is no sum of points and no order of people: each figure stands for itself.
What could not be seen because the phone was silent counts neither for nor against (``unproven``). An input that was
excluded counts for nothing, and stays in the list.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Any
from uuid import UUID

from backend.core.vocabulary import AppraisalFigure as F
from backend.core.vocabulary import FigureUnit, SilenceCause

Facts = Mapping[str, Any]
Words = dict[str, str]


@dataclass(frozen=True)
class Input:
    """One thing that a figure is made of. ``correction`` replaces what a supervisor has found to be wrong in it."""

    id: UUID
    figure: F
    facts: Facts
    correction: Facts | None = None
    excluded: bool = False

    @property
    def judged_by(self) -> Facts:
        """The facts as they count: those that were corrected, and the others as they were found."""
        return {**self.facts, **(self.correction or {})}


@dataclass(frozen=True)
class Judged:
    """What one input adds to its figure: so much of so much, how long it took, or how much could not be seen."""

    numerator: float = 0
    denominator: float = 0
    seconds: float | None = None
    unproven: float = 0
    cause: str | None = None


@dataclass(frozen=True)
class Figure:
    """A figure with what it was made of. ``value`` is a share (0 to 1) or seconds; None where there is nothing."""

    code: F
    unit: FigureUnit
    value: float | None
    numerator: float
    denominator: float
    inputs: int
    excluded: int
    unproven: float = 0
    p90_s: float | None = None
    by_cause: dict[str, float] | None = None


@dataclass(frozen=True)
class Rule:
    """How one figure is made: its words, what an input adds, and what a supervisor may correct in one.

    ``corrects`` names the facts that may be replaced, each with the condition on the new value.
    """

    unit: FigureUnit
    name: Words
    words: Words
    judge: Callable[[Facts], Judged]
    corrects: Mapping[str, Callable[[Any, Facts], bool]]


@dataclass(frozen=True)
class Formula:
    """All rules of one version."""

    version: str
    rules: Mapping[F, Rule]

    def judge(self, one: Input) -> Judged:
        """Return what an input adds; nothing when it is excluded."""
        return Judged() if one.excluded else self.rules[one.figure].judge(one.judged_by)

    def figures(self, inputs: Iterable[Input]) -> list[Figure]:
        """Return every figure of the version, in its order; of the inputs, which may be many, none is kept."""
        judged: dict[F, list[Judged]] = {code: [] for code in self.rules}
        excluded = dict.fromkeys(self.rules, 0)
        for one in inputs:
            if one.figure in judged:
                judged[one.figure].append(self.judge(one))
                excluded[one.figure] += one.excluded
        on_duty_s = sum(one.seconds or 0 for one in judged.get(F.DUTY, ()))
        return [
            _figure(code, rule.unit, judged[code], excluded[code], on_duty_s)
            for code, rule in self.rules.items()
        ]

    def refused(self, figure: F, facts: Facts, correction: Facts) -> str | None:
        """Return which word of a correction cannot be; None when all of it can."""
        corrects = self.rules[figure].corrects
        if not correction:
            return "correction"
        return next(
            (name for name, value in correction.items() if name not in corrects or not corrects[name](value, facts)),
            None,
        )  # fmt: skip


def _figure(code: F, unit: FigureUnit, judged: Sequence[Judged], excluded: int, on_duty_s: float) -> Figure:
    numerator, denominator = sum(one.numerator for one in judged), sum(one.denominator for one in judged)
    times = sorted(one.seconds for one in judged if one.seconds is not None)
    value = p90_s = None
    by_cause: dict[str, float] | None = None
    if code is F.SILENT:
        numerator, denominator = sum(times), on_duty_s
        by_cause = {}
        for one in sorted(judged, key=lambda found: found.cause or ""):
            if one.cause is not None:
                by_cause[one.cause] = round(by_cause.get(one.cause, 0) + (one.seconds or 0), 3)
    if code is F.DUTY:
        value = round(sum(times), 3)
    elif unit is FigureUnit.SHARE:
        value = round(numerator / denominator, 4) if denominator else None
    elif times:
        value, p90_s = round(statistics.median(times), 3), round(times[ceil(0.9 * len(times)) - 1], 3)
    return Figure(
        code, unit, value, round(numerator, 3), round(denominator, 3), len(judged), excluded,
        round(sum(one.unproven for one in judged), 3), p90_s, by_cause,
    )  # fmt: skip


# --- Version 2026-1


def _moment(facts: Facts, name: str) -> datetime | None:
    value = facts.get(name)
    return None if value is None else datetime.fromisoformat(value)


def _span_s(facts: Facts, first: str, last: str) -> float | None:
    begin, end = _moment(facts, first), _moment(facts, last)
    return None if begin is None or end is None else max(0.0, (end - begin).total_seconds())


def _round(facts: Facts) -> Judged:
    on_time = facts.get("on_time")
    if on_time is None and facts["state"] == "missed" and facts.get("silent_s"):
        return Judged(unproven=1)
    if on_time is None:
        late_at, began_at = _moment(facts, "late_at"), _moment(facts, "began_at")
        took_s = _span_s(facts, "began_at", "ended_at")
        on_time = (
            facts["state"] == "completed"
            and (late_at is None or (began_at is not None and began_at <= late_at))
            and took_s is not None
            and took_s - facts.get("paused_s", 0) <= facts["allowed_s"]
        )
    return Judged(numerator=int(on_time), denominator=1)


def _coverage(facts: Facts) -> Judged:
    due, visited = facts["due"], facts["visited"]
    unproven = max(0, due - visited - facts["skipped"]) if facts.get("silent_s") else 0
    return Judged(numerator=visited, denominator=due - unproven, unproven=unproven)


def _acceptance(facts: Facts) -> Judged:
    if "seconds" in facts:
        return Judged(1, 1, seconds=facts["seconds"])
    if facts["bound"] or facts.get("handed_on") or facts["state"] == "withdrawn":
        return Judged()
    seconds = _span_s(facts, "offered_at", "accepted_at")
    if seconds is None and facts.get("silent_s"):
        return Judged(unproven=1)
    return Judged(int(seconds is not None), 1, seconds=seconds)


def _arrival(facts: Facts) -> Judged:
    if "seconds" in facts:
        return Judged(1, 1, seconds=facts["seconds"])
    called_off = facts["arrived_at"] is None and facts["state"] in ("released", "handed_over")
    if facts["suspended"] or called_off:
        return Judged()
    seconds = _span_s(facts, "accepted_at", "arrived_at")
    if seconds is None and facts.get("silent_s"):
        return Judged(unproven=1)
    return Judged(int(seconds is not None), 1, seconds=seconds)


def _silent(facts: Facts) -> Judged:
    seconds = facts["seconds"] if "seconds" in facts else _span_s(facts, "heard_at", "until_at")
    return Judged(seconds=seconds, cause=facts["cause"])


def _duty(facts: Facts) -> Judged:
    seconds = facts["seconds"] if "seconds" in facts else _span_s(facts, "started_at", "ended_at")
    return Judged(seconds=seconds)


def _is_seconds(value: Any, _: Facts) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 172_800


def _is_count(value: Any, facts: Facts) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= facts["due"]


def _is_yes_or_no(value: Any, _: Facts) -> bool:
    return isinstance(value, bool)


def _is_cause(value: Any, _: Facts) -> bool:
    return isinstance(value, str) and value in set(SilenceCause)


V2026_1 = Formula(
    "2026-1",
    {
        F.ROUNDS_ON_TIME: Rule(
            FigureUnit.SHARE,
            {"zh-CN": "巡更按时完成率", "en": "Rounds done on time"},
            {
                "zh-CN": "分母：本月计划巡更中由本人开始的，以及只指派给本人而未开始的。分子：未迟到开始、在限时内"
                "（不计暂停）完成的。手机静默期间未能开始的不计入，单列为“无法证明”。",
                "en": "Of the planned rounds of the month that he began, and of those named to him alone that nobody"
                " began: how many were begun before they were late and completed within the allowed time, pauses left"
                " out. What was missed while the phone was silent does not count and is shown as unproven.",
            },
            _round,
            {"on_time": _is_yes_or_no},
        ),
        F.COVERAGE: Rule(
            FigureUnit.SHARE,
            {"zh-CN": "应到点到位率", "en": "Checkpoints due that were visited"},
            {
                "zh-CN": "分母：本人所巡计划巡更的全部点位。分子：其中有有效打卡的。巡更期间手机静默的，未到的点"
                "不计入，单列为“无法证明”；写明原因跳过的计入分母。",
                "en": "Of all points of the planned rounds that he went: how many have a visit that counts. Where the"
                " phone was silent during the round, points without a visit do not count and are shown as unproven;"
                " what was skipped with a reason counts as due.",
            },
            _coverage,
            {"visited": _is_count},
        ),
        F.ACCEPTANCE: Rule(
            FigureUnit.SECONDS,
            {"zh-CN": "接单用时", "en": "Time to accept"},
            {
                "zh-CN": "从派单到本人按下接单（按手机时钟）的时间：中位数，以及九成不超过的时间。分子/分母：接下的/"
                "派给本人的；撤回的、随巡组一并接下的、交接班接手的、静默期间未答复的不计入。",
                "en": "From the offer to the moment he pressed accept, by his phone's clock: the median, and the time"
                " that nine of ten do not exceed. Accepted of offered; what was withdrawn, accepted by his crew, taken"
                " over with a hand-over, or not answered while the phone was silent does not count.",
            },
            _acceptance,
            {"seconds": _is_seconds},
        ),
        F.ARRIVAL: Rule(
            FigureUnit.SECONDS,
            {"zh-CN": "到场用时", "en": "Time to arrive"},
            {
                "zh-CN": "从接单到到场（按手机时钟）的时间：中位数，以及九成不超过的时间。分子/分母：到场的/接下的；"
                "途中因紧急求援暂停的、到场前由指挥席解除或交接给他人的不计入。",
                "en": "From accepting to arriving, by his phone's clock: the median, and the time that nine of ten do"
                " not exceed. Arrived of accepted; what an SOS interrupted, and what the desk released or he handed"
                " over before he came, does not count.",
            },
            _arrival,
            {"seconds": _is_seconds},
        ),
        F.SILENT: Rule(
            FigureUnit.SHARE,
            {"zh-CN": "静默时长", "en": "Silent time"},
            {
                "zh-CN": "在岗期间失联的时间占在岗时间的比例，按可能的原因分列。仅供了解，不影响任何其他数字。",
                "en": "The part of the time on duty in which nothing was heard of the phone, by likely cause. For"
                " information alone: no other figure is lowered by it.",
            },
            _silent,
            {"seconds": _is_seconds, "cause": _is_cause},
        ),
        F.DUTY: Rule(
            FigureUnit.SECONDS,
            {"zh-CN": "在岗时长", "en": "Time on duty"},
            {
                "zh-CN": "本月开始的各班次的时长之和。",
                "en": "The sum of the shifts that began in the month.",
            },
            _duty,
            {"seconds": _is_seconds},
        ),
    },
)

FORMULAS: dict[str, Formula] = {V2026_1.version: V2026_1}
"""Every version that has ever judged a month."""
CURRENT = V2026_1.version
