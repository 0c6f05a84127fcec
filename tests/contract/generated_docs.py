"""The parts of the documentation that are written by the code: tables and diagrams between two marks.

``.venv/bin/python -m tests.contract.generated_docs`` from the repository's root writes them anew.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import backend.app  # noqa: F401 (whoever has a figure registers it when imported)
from backend.core.metrics import REGISTRY
from backend.core.vocabulary import Role
from workflows import access
from workflows.alarms import ALARM
from workflows.appraisal_contests import CONTEST
from workflows.appraisals import APPRAISAL
from workflows.assignments import ASSIGNMENT
from workflows.calls import ANSWER, CALL
from workflows.devices import DEVICE
from workflows.evidence import EVIDENCE
from workflows.hand_overs import HAND_OVER
from workflows.invitations import INVITATION
from workflows.machine import Machine
from workflows.patrols import PATROL
from workflows.planned_shifts import PLANNED_SHIFT
from workflows.post_duties import POST_DUTY
from workflows.reports import REPORT
from workflows.roster_requests import REQUEST
from workflows.shifts import SHIFT
from workflows.tasks import TASK
from workflows.users import USER

ROOT = Path(__file__).resolve().parents[2]
MACHINES = (
    SHIFT, PLANNED_SHIFT, REQUEST, HAND_OVER, INVITATION, TASK, ASSIGNMENT, ALARM, REPORT, EVIDENCE, CALL, ANSWER,
    PATROL, POST_DUTY, APPRAISAL, CONTEST, DEVICE, USER,
)  # fmt: skip


def permissions() -> str:
    """A row for each verb and kind, a column for each role."""
    roles = [role for role in Role if any(role in granted for granted in access.GRANTS.values())]
    lines = [
        "| May | " + " | ".join(f"`{role}`" for role in roles) + " |",
        "|---" * (len(roles) + 1) + "|",
    ]
    for (verb, kind), granted in access.GRANTS.items():
        marks = " | ".join("●" if role in granted else "" for role in roles)
        lines.append(f"| {verb} {kind.replace('_', ' ')} | {marks} |")
    return "\n".join(lines)


def metrics() -> str:
    """A row for each figure, with its labels."""
    lines = ["| Figure | Labels | Meaning |", "|---|---|---|"]
    for collector in list(REGISTRY._collector_to_names):
        [described] = collector.describe()
        name = described.name + ("_total" if described.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in getattr(collector, "_labelnames", ()))
        lines.append(f"| `{name}` ({described.type}) | {labels or '–'} | {described.documentation} |")
    return "\n".join(lines)


def life_cycles() -> str:
    """A diagram and a table of each state machine."""
    return "\n\n".join(map(_life_cycle, MACHINES))


def _life_cycle(machine: Machine) -> str:
    edges: dict[tuple[str, str], list[str]] = defaultdict(list)
    for step in machine.steps:
        for source in sorted(step.sources):
            for target in [step.target] if step.target else _came_from(machine, source):
                edges[source, target].append(step.action)
    drawn = [f"    [*] --> {machine.initial}"]
    drawn += [
        f"    {source} --> {target}: {', '.join(actions)}" for (source, target), actions in edges.items()
    ]
    rows = [
        f"| {step.action} | {', '.join(sorted(step.sources))} | {target} | {', '.join(sorted(step.by))} |"
        for step in machine.steps
        for target in [step.target or "as before"]
    ]
    diagram = "\n".join(["```mermaid", "stateDiagram-v2", *drawn, "```"])
    table = "\n".join(["| Action | From | To | By |", "|---|---|---|---|", *rows])
    return f"**{machine.kind}**\n\n{diagram}\n\n{table}"


def _came_from(machine: Machine, state: str) -> list[str]:
    """Where a row in ``state`` may go back to: whence it is brought there."""
    return sorted(source for step in machine.steps if step.target == state for source in step.sources)


PARTS: dict[tuple[str, str], Callable[[], str]] = {
    ("docs/operator.md", "permissions"): permissions,
    ("docs/operator.md", "metrics"): metrics,
    ("docs/domain.md", "life cycles"): life_cycles,
}


def between(name: str) -> re.Pattern[str]:
    """What stands between the marks of a part."""
    return re.compile(rf"(<!-- generated: {re.escape(name)} -->\n)(.*?)(<!-- end -->)", re.S)


def main() -> None:
    """Write every part into its page."""
    for (page, name), make in PARTS.items():
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        if not between(name).search(text):
            raise SystemExit(f"{page} has no place for {name}.")
        head, rest = text.split(f"<!-- generated: {name} -->\n", 1)
        _old, tail = rest.split("<!-- end -->", 1)
        path.write_text(f"{head}<!-- generated: {name} -->\n{make()}\n<!-- end -->{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
