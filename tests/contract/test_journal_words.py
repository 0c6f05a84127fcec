"""What the code writes into the journal, and whether the auditor reads it in words of his language."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.core.vocabulary import Disclosure, RevokeReason
from tests.contract.generated_docs import MACHINES

ROOT = Path(__file__).resolve().parents[2]
NOBODY_COMMANDS = {
    ("session", "sign_in"), ("town", "create"), ("town", "print_labels"), ("task_kind", "create"),
    ("task", "overdue"), ("task", "nobody_left"), ("task", "move"), ("alarm", "cover"), ("patrol", "schedule"),
    ("patrol", "settle"), ("patrol", "late"), ("patrol", "overdue"), ("visit", "withdraw"),
    ("patrol", "deviate"), ("visit", "reopen"), ("device", "open_code"), ("post_duty", "schedule"),
    ("post_duty", "late"), ("post_duty", "absent"), ("duty_level", "begin"), ("duty_level", "lapse"),
    ("appraisal", "create"), ("evidence_export", "finish"), ("evidence_export", "fail"),
}  # fmt: skip
"""Acts without a command of a client: who signs in is not known before, towns begin with kinds that the operator
brings, labels are printed as often as somebody asks, what is missed is missed by the clock, for whom an outage stands
it finds as well, a task follows who called for help, patrols and duties are made of plans, drafts of appraisals by the
clock, what is known of them comes out of fixes, and duty levels come and go by the clock; who opens the code of a phone
is not known before."""


def writes() -> Iterator[tuple[str, str, dict[str, ast.expr]]]:
    """Subject, action and named arguments of every act that is written down without a machine."""
    for path in [*sorted((ROOT / "workflows").glob("*.py")), ROOT / "backend" / "cli_town.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "journal.write":
                if path.name == "machine.py":
                    continue
                subject, action = node.args[2], node.args[4]
                assert isinstance(subject, ast.Constant), path
                assert isinstance(action, ast.Constant), path
                named = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
                yield str(subject.value), str(action.value), named


def spoken(locale: str, group: str) -> set[str]:
    """The words of the desk's journal that a locale has."""
    text = (ROOT / "web/src/desk/locales" / f"{locale}.ts").read_text(encoding="utf-8")
    journal = text[text.index("\n  journal: {") :]
    found = re.search(rf"\b{group}: \{{(.*?)\}}", journal[: journal.index("\n  },")], re.S)
    assert found is not None, f"{locale} has no journal.{group}"
    return set(re.findall(r"(\w+): '", found[1]))


@pytest.mark.parametrize("locale", ["zh-CN", "en"])
def test_whatever_stands_in_the_journal_has_a_word(locale: str) -> None:
    """The desk shows what it has no word for as it is stored, so a gap would be seen by people alone."""
    found = list(writes())
    assert len(found) > 15
    actions = {action for _, action, _ in found} | {step.action for one in MACHINES for step in one.steps}
    subjects = {subject for subject, _, _ in found} | {one.kind for one in MACHINES}
    states = {str(state) for one in MACHINES for state in one.reached()} | {
        str(value.value)
        for _, _, named in found
        for key, value in named.items()
        if key in ("before", "after") and isinstance(value, ast.Constant)
    }
    assert spoken(locale, "actions") == actions
    assert spoken(locale, "subjects") == subjects
    assert spoken(locale, "statesOf") == states
    assert spoken(locale, "reasonsOf") == set(RevokeReason)
    assert spoken(locale, "purposes") == set(Disclosure)


def test_an_act_is_written_down_under_its_command() -> None:
    """The client's key is the command's id in the journal, whichever workflow the command reaches."""
    assert {(s, a) for s, a, named in writes() if "command_id" not in named} == NOBODY_COMMANDS
