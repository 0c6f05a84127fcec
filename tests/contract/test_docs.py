"""The documentation is true where a machine can tell: settings, codes, links, commands, paths, rows, notices."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from backend.cli import cli
from backend.core import errors
from backend.core.errors import Refusal
from bench.__main__ import BENCHES
from geo.fixes import Reason
from mobile_api import problems
from mobile_api.gateway import tus
from tests.contract import generated_docs

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("backend", "mobile_api", "workflows", "geo", "notifications")
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "deploy" / "README.md"],
    key=lambda path: path.relative_to(ROOT).as_posix(),
)
ROW = re.compile(r"\b[FP]\d\d\b")
named = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def table(page: str, *, first: str) -> list[list[str]]:
    """The rows of the table of a page whose first heading is ``first``, as cells."""
    lines = read(page).splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(f"| {first} |")]
    assert len(starts) == 1, f"{page} has {len(starts)} tables that begin with {first}"
    rows = []
    for line in lines[starts[0] + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


# --- Settings


def settings_of_the_code() -> dict[str, tuple[int, int, int] | None]:
    """Every variable that ``config.py`` reads; of numbers, the default and the bounds."""
    found: dict[str, tuple[int, int, int] | None] = {}
    names = {"_DAY_S": 86_400}
    for node in ast.walk(ast.parse(read("backend/core/config.py"))):
        if not (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.startswith("_")
        ):
            continue
        arguments = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        if not arguments or not re.fullmatch(r"PORT|(?:XUNGENG|DATABASE)_[A-Z_]+", str(arguments[0])):
            continue
        name = str(arguments[0])
        if node.func.id == "_number":
            bounds = [node.args[2], *(keyword.value for keyword in node.keywords)]
            default, low, high = (eval(ast.unparse(bound), {}, names) for bound in bounds)
            found[name] = default, low, high
        else:
            found.setdefault(name, None)
    return found


def test_every_setting_is_documented_and_every_documented_one_is_read() -> None:
    documented = {row[0].strip("`"): row[1] for row in table("docs/operator.md", first="Variable")}
    read_by_code = settings_of_the_code()
    assert documented.keys() == read_by_code.keys()
    assert len(documented) > 30
    for name, numbers in read_by_code.items():
        if numbers is not None and name != "XUNGENG_CA_PORT":
            assert documented[name] == str(numbers[0]), name


def test_every_setting_that_a_page_names_is_read() -> None:
    known = settings_of_the_code().keys() | {
        "XUNGENG_API",  # of the web clients' development server
        "XUNGENG_OWNER_PASSWORD", "XUNGENG_SUPERUSER_PASSWORD", "XUNGENG_WEB_PASSWORD",  # of compose alone
    }  # fmt: skip
    for page in PAGES:
        for name in re.findall(r"\b(?:XUNGENG|DATABASE)_[A-Z_]+\b", page.read_text(encoding="utf-8")):
            assert name in known, f"{page}: {name}"


# --- Problems


def refusals() -> dict[str, type[Refusal]]:
    return {
        name: one
        for module in (errors, tus)
        for name, one in inspect.getmembers(module, inspect.isclass)
        if issubclass(one, Refusal)
    }


def codes_of_the_code() -> dict[str, set[int]]:
    """Every problem code with its statuses: of the classes, of the framework's refusals, of each call."""
    found: dict[str, set[int]] = {code: {status} for status, (code, _text) in problems.FRAMEWORK.items()}
    found |= {code: {422} for code in problems.OF_FIELDS.values()}
    for one in refusals().values():
        found.setdefault(one.code, set()).add(one.status)
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for function, call, one in _refusals_made(ast.parse(path.read_text(encoding="utf-8"))):
                for code in _codes(one, function, call, f"{path.relative_to(ROOT)}:{call.lineno}"):
                    found.setdefault(code, set()).add(one.status)
    return found


def _refusals_made(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.Call, type[Refusal]]]:
    known = refusals()
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Module)]:
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in known:
                yield function, node, known[node.func.id]


def _codes(one: type[Refusal], function: ast.AST, call: ast.Call, place: str) -> list[str]:
    """The code that a call gives; a variable has to be given literals within the same function."""
    names = [name for name in inspect.signature(one).parameters if name not in ("extra", "errors")]
    if "code" not in names:
        return []
    given = {keyword.arg: keyword.value for keyword in call.keywords} | dict(
        zip(names, call.args, strict=False)
    )
    code = given.get("code")
    if code is None:
        return []
    if isinstance(code, ast.Constant):
        assert isinstance(code.value, str), place
        return [code.value]
    assert isinstance(code, ast.Name), f"{place}: the code is not literal"
    if isinstance(function, ast.Module):
        return []  # Looked at within its function.
    literals = [
        leaf.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == code.id for t in node.targets)
        for leaf in (
            [node.value.body, node.value.orelse] if isinstance(node.value, ast.IfExp) else [node.value]
        )
        if isinstance(leaf, ast.Constant)
    ]
    assert literals, f"{place}: the code is not literal"
    return literals


def test_every_problem_code_is_literal_and_documented_with_its_status() -> None:
    documented: dict[str, set[int]] = {}
    for code, status, _when, _what in table("docs/problems.md", first="`code`"):
        assert code.strip("`") not in documented, f"{code} stands twice"
        documented[code.strip("`")] = {int(status)}
    used = codes_of_the_code()
    assert documented.keys() == used.keys()
    assert documented == used


def test_every_reason_of_the_quarantine_is_explained_to_integrators() -> None:
    page = read("docs/integrator.md")
    for reason in Reason:
        assert f"`{reason}`" in page, reason


# --- Links, paths and commands


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    found: set[str] = set()
    for line in _without_code(page.read_text(encoding="utf-8")).splitlines():
        if heading := re.match(r"#+ +(.*)", line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "").lower()
            found.add(re.sub(r"[^\w\- ]", "", text).strip(" ").replace(" ", "-"))
            found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


def _without_code(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.S | re.M)


@named
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", _without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        leads_to = page if not name else (page.parent / name).resolve()
        assert leads_to.exists(), f"{target} is not there"
        assert ROOT in leads_to.parents, f"{target} leads out of the repository"
        if anchor:
            assert anchor in anchors(leads_to), f"{target}: there is no such heading"


def test_every_page_is_in_the_contents() -> None:
    contents = read("docs/README.md") + read("docs/decisions/README.md")
    for page in (ROOT / "docs").rglob("*.md"):
        if page.name != "README.md":
            assert f"({page.name})" in contents, page
    assert "](docs/images/live-map.png)" in read("README.md")


@named
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    tops = "backend|bench|deploy|docs|geo|migrations|mobile_api|notifications|script|tests|web|workflows"
    paths = re.findall(rf"`((?:{tops})/[\w./-]*\w/?)`", page.read_text(encoding="utf-8"))
    for path in paths:
        if "NNNN" not in path and not path.startswith(("web/dist", "docs/images")):
            assert (ROOT / path).exists(), path


def commands(page: Path) -> Iterator[list[str]]:
    """The commands of a page that begin with ``script/`` or ``xungeng``: lines of its blocks, and code in its text."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```(?:sh|bash)\n(.*?)^ *```", text, flags=re.S | re.M)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`([^`\n]+)`", _without_code(text))
    for line in lines:
        for part in re.split(r"&&|\|\||;|\$\(|(?<!\\)\|", line.partition(" #")[0]):
            try:
                words = shlex.split(part.replace("…", "").strip())
            except ValueError:
                continue
            while words and re.fullmatch(r"[A-Z_]+=.*|exec|export|env", words[0]):
                words = words[1:]
            if words and re.match(r"(?:\./)?script/\w+$|xungeng$", words[0]):
                yield words


@named
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    for words in commands(page):
        if words[0] != "xungeng":
            assert (ROOT / words[0]).is_file(), words
        if words[0] in ("xungeng", "script/xungeng"):
            _assert_is_a_command(words[1:])
        elif words[0] == "script/server":
            _assert_is_a_command(["serve", *words[1:]])
        elif words[0] == "script/bench":
            assert not words[1:2] or words[1] in (*BENCHES, "NAME"), words


def _assert_is_a_command(words: list[str]) -> None:
    command: click.Command = cli
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        context = click.Context(command)
        names = re.split(r"\\?\|", rest.pop(0))
        found = [command.get_command(context, name) for name in names]
        assert None not in found, f"xungeng {' '.join(words)}: there is no {names}"
        command = found[0]  # type: ignore[assignment]
    options = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    for word in rest:
        if word.startswith("-"):
            assert word in options | {"--help", "-h"}, f"xungeng {' '.join(words)}: there is no {word}"


# --- What the code writes


@pytest.mark.parametrize(("page", "name"), generated_docs.PARTS)
def test_what_the_code_writes_is_up_to_date(page: str, name: str) -> None:
    """``python -m tests.contract.generated_docs`` writes it anew."""
    found = generated_docs.between(name).findall(read(page))
    assert len(found) == 1
    assert found[0][1].strip() == generated_docs.PARTS[page, name]().strip()


# --- Rows of the threats, rules of privacy


def rows_of_the_tests() -> dict[str, set[str]]:
    """Row or rule to the files whose docstrings name it."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                for row in ROW.findall(ast.get_docstring(node) or ""):
                    found.setdefault(row, set()).add(path.relative_to(ROOT).as_posix())
    for path in sorted((ROOT / "web" / "tests").rglob("*.test.ts")):
        for row in ROW.findall(path.read_text(encoding="utf-8")):
            found.setdefault(row, set()).add(path.relative_to(ROOT).as_posix())
    return found


def test_every_row_that_is_called_covered_is_named_by_its_tests_and_the_other_way_round() -> None:
    by_tests = rows_of_the_tests()
    listed = set()
    for row, _fault, state, _what, tests in table("docs/threats.md", first="Row"):
        assert ROW.fullmatch(row)
        assert state in ("covered", "in part"), row
        listed.add(row)
        files = re.findall(r"`([^`]+)`", tests)
        assert files, row
        for file in files:
            assert file in by_tests.get(row, set()), f"{row}: no test of {file} names it"
    page = read("docs/threats.md")
    for row in by_tests:
        if row.startswith("F"):
            assert row in listed or re.search(rf"^{row} .*`web/tests/", page, re.M), (
                f"{row} is not on the page"
            )


def test_every_row_of_the_matrix_is_accounted_for() -> None:
    found: set[int] = set()
    for first, last in re.findall(r"\bF(\d\d)(?:–F(\d\d))?", read("docs/threats.md")):
        found |= set(range(int(first), int(last or first) + 1))
    assert found == set(range(1, 96))


def test_every_privacy_rule_is_held_by_the_tests_that_it_names() -> None:
    by_tests = rows_of_the_tests()
    rules = table("docs/privacy.md", first="Rule")
    for rule, _says, enforced_by, tests in rules:
        names = {rule, *ROW.findall(enforced_by)}
        files = re.findall(r"`([^`]+)`", tests)
        assert files, rule
        for file in files:
            assert any(file in by_tests.get(name, set()) for name in names), f"{rule}: {file}"
    assert {rule for rule, *_ in rules} >= {row for row in by_tests if row.startswith("P")}


# --- Data of others


def test_every_notice_names_file_source_and_licence() -> None:
    rows = table("docs/notices.md", first="File")
    for file, what, source, licence in rows:
        assert (ROOT / file.strip("`")).is_file(), file
        assert all((what, source, licence)), file
    noticed = {row[0].strip("`") for row in rows}
    sources = re.compile(r"Natural Earth|GADM|GeoNames|OpenStreetMap data", re.IGNORECASE)
    kinds = {".py", ".ts", ".vue", ".json", ".geojson", ".csv"}
    for package in (*PACKAGES, "web/src", "web/tests"):
        for path in (ROOT / package).rglob("*"):
            if path.suffix in kinds and sources.search(path.read_text(encoding="utf-8")):
                name = path.relative_to(ROOT).as_posix()
                assert name in noticed, f"{name} uses others' data and has no notice"
