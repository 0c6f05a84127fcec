"""The rows of the fault and abuse matrix that this version answers for: none of them can go missing without a word.

``tests/contract/test_docs.py`` holds the page and the tests together, whatever the page says. Here stands what it has
to say: which rows are proven, and how often under ``--full``, in the counts of the matrix.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROVEN = (
    *("F01", "F02", "F03", "F04", "F11", "F12", "F13", "F16"),
    *(f"F{row}" for row in range(18, 25)),
    *("F28", "F29", "F30", "F31"),
    *("F40", "F41"),
    *(f"F{row}" for row in range(43, 50)),
    *("F52", "F53", "F54", "F55"),
    *("F62", "F65"),
    *("F71", "F72", "F73"),
)
COUNTS: dict[str, dict[str, int]] = {
    "F01": {"seeds": 200},
    "F02": {"lost answers": 1_000},
    "F03": {"rounds": 20},
    "F12": {"rows": 10_000},
    "F13": {"readers": 200},
    "F14": {"clients": 1_000},
    "F16": {"rounds": 1_000},
    "F19": {"points": 10_000},
    "F22": {"officers": 50, "points of each": 25_920},
    "F43": {"guesses": 100_000},
    "F52": {"guesses": 10_000, "addresses": 500},
    "F71": {"megabytes": 1_024},
}
"""What ``thin`` has to repeat in full: the row's own numbers, in one test that names the row."""
WITHOUT_THINNING = {"F72": 100_000}
"""Numbers that are small enough to be tried each time; they stand in a test that names the row."""


@dataclass(frozen=True)
class Test:
    """A test function as pytest collects it."""

    __test__ = False
    file: str
    name: str
    docstring: str
    skipped: bool
    full_counts: tuple[int, ...]
    numbers: frozenset[int]

    @property
    def rows(self) -> set[str]:
        """The rows of its docstring; ``F71-F73`` names three."""
        found = set(re.findall(r"\bF\d\d\b", self.docstring))
        for first, last in re.findall(r"\bF(\d\d)[-–]F?(\d\d)\b", self.docstring):
            found |= {f"F{row:02d}" for row in range(int(first), int(last) + 1)}
        return found


def value_of(node: ast.AST, names: dict[str, Any]) -> Any:
    """The number that an expression of literals and of the module's own constants stands for, or None."""
    if any(isinstance(part, ast.Call | ast.Lambda) for part in ast.walk(node)):
        return None
    try:
        return eval(compile(ast.Expression(node), "count", "eval"), {"__builtins__": {}}, names)  # type: ignore[arg-type]
    except (NameError, TypeError):
        return None


def collected(source: str, file: str) -> Iterator[Test]:
    """Every test of a module; in the numbers, those of the module's other functions count as well."""
    tree = ast.parse(source)
    names: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = value_of(node.value, names)
            if isinstance(value, int | float):
                names[node.targets[0].id] = value
    everywhere = frozenset(
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and type(node.value) is int
    )
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
            continue
        counts = tuple(
            value
            for call in ast.walk(node)
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "thin"
            if isinstance(value := value_of(call.args[0], names), int)
        )
        skipped = any(
            "skip" in ast.unparse(mark) or "xfail" in ast.unparse(mark) for mark in node.decorator_list
        )
        yield Test(file, node.name, ast.get_docstring(node) or "", skipped, counts, everywhere)


@pytest.fixture(scope="module")
def found() -> list[Test]:
    return [
        test
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for test in collected(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
    ]


def by_row(found: list[Test], row: str) -> list[Test]:
    return [test for test in found if row in test.rows and not test.skipped]


@pytest.mark.parametrize("row", PROVEN)
def test_a_test_that_runs_names_the_row(row: str, found: list[Test]) -> None:
    assert by_row(found, row), f"{row}: no test names it"


@pytest.mark.parametrize("row", COUNTS)
def test_the_row_is_tried_as_often_as_the_matrix_says(row: str, found: list[Test]) -> None:
    """In one of its tests the counts under ``--full`` reach the row's, alone or multiplied."""
    wanted = sorted(COUNTS[row].values())

    def reaches(test: Test) -> bool:
        counts = sorted(test.full_counts)
        if len(wanted) == 1:
            return bool(counts) and math.prod(counts) >= wanted[0]
        return len(counts) >= len(wanted) and all(
            count >= want for count, want in zip(counts[-len(wanted) :], wanted, strict=True)
        )

    assert any(reaches(test) for test in by_row(found, row)), [
        (test.file, test.name, test.full_counts) for test in by_row(found, row)
    ]


@pytest.mark.parametrize("row", WITHOUT_THINNING)
def test_a_small_number_of_the_matrix_stands_in_a_test_of_the_row(row: str, found: list[Test]) -> None:
    assert any(WITHOUT_THINNING[row] in test.numbers for test in by_row(found, row))


@pytest.mark.parametrize("row", PROVEN)
def test_the_page_calls_the_row_covered(row: str) -> None:
    """F40 in part: residents have no complaints yet that others could read."""
    page = (ROOT / "docs" / "threats.md").read_text(encoding="utf-8")
    states = re.findall(rf"^\| {row} \|[^|]*\| ([^|]*) \|", page, re.M)
    wanted = {"F40": ["in part"], "F52": ["in part"]}.get(row, ["covered"])
    assert states in (wanted, ["covered"])


def test_a_row_that_goes_missing_is_found() -> None:
    """The checks above can fail: another name, a skip, a count that was thinned for good."""
    good = (
        "POINTS = 5_000 * 2\n"
        "def test_it(thin):\n    '''F19: so many points.'''\n    run(thin(POINTS, 10))\n"
        "@pytest.mark.skip\ndef test_other(thin):\n    '''F71-F73.'''\n"
    )
    one, other = collected(good, "x")
    assert (one.rows, one.full_counts, one.skipped) == ({"F19"}, (10_000,), False)
    assert (other.rows, other.skipped) == ({"F71", "F72", "F73"}, True)
    assert by_row([one, other], "F72") == []
    test_the_row_is_tried_as_often_as_the_matrix_says("F19", [one])
    [weak] = collected(good.replace("5_000", "50").partition("@")[0], "x")
    with pytest.raises(AssertionError):
        test_the_row_is_tried_as_often_as_the_matrix_says("F19", [weak])
    with pytest.raises(AssertionError):
        test_a_test_that_runs_names_the_row("F19", [other])
