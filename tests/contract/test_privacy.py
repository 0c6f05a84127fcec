"""What the code may not do, whoever writes it: send anything abroad, or put people into what cannot be deleted."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from backend.app import CONTENT_SECURITY_POLICY

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("backend", "mobile_api", "workflows", "geo", "notifications")
CALLS_OUT = {"httpx", "requests", "urllib.request", "aiohttp", "smtplib", "ftplib"}
MAY_CALL_OUT = {
    "backend/adapters/sms.py": "the operator's own SMS gateway, if he names one",
}
ABOUT_PEOPLE = re.compile(r"display_name|\blogin\b|phone|\bname\b|address|password|token|secret|lon\b|lat\b")


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith("backend/demo/"):  # Simulated phones call the installation itself.
                yield name, ast.parse(path.read_text(encoding="utf-8"))


def test_nothing_but_the_sms_adapter_can_call_a_server_elsewhere() -> None:
    """P31: a library that sends requests is imported by adapters alone, and each has a reason."""
    found = set()
    for name, tree in modules():
        for node in ast.walk(tree):
            names = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import)
                else [node.module or ""] if isinstance(node, ast.ImportFrom)
                else []
            )  # fmt: skip
            if any(one == library or one.startswith(library + ".") for one in names for library in CALLS_OUT):
                found.add(name)
    assert found == set(MAY_CALL_OUT)


def test_pages_load_nothing_from_elsewhere() -> None:
    """P31: no script, style, font or picture of another host in what the clients are built from."""
    loads = re.compile(
        r"""<(?:script|link|img|iframe)\b[^>]*(?:src|href)=["']?(?:https?:)?//"""
        r"""|@import\s+(?:url\()?["']?(?:https?:)?//|url\(\s*["']?(?:https?:)?//|import\(?\s*["']https?://""",
        re.IGNORECASE,
    )
    pages = [*(ROOT / "web").glob("*.html"), *(ROOT / "web").glob("*/index.html")]
    sources = [path for path in (ROOT / "web" / "src").rglob("*") if path.suffix in (".ts", ".vue", ".css")]
    assert len(pages) >= 5
    built = {"dist", "node_modules"}
    for path in (*pages, *sources):
        if not built & set(path.relative_to(ROOT / "web").parts):
            assert not loads.search(path.read_text(encoding="utf-8")), path


def test_the_browser_is_told_to_run_nothing_from_elsewhere() -> None:
    """P31: scripts, workers, styles and fonts are the installation's; pictures and tiles may come by HTTPS."""
    directives = dict(
        part.strip().split(" ", 1) for part in CONTENT_SECURITY_POLICY.split(";") if part.strip()
    )
    assert directives["default-src"] == "'self'"
    assert "script-src" not in directives
    assert directives["worker-src"] == "'self' blob:"
    assert set(directives["style-src"].split()) == {"'self'", "'unsafe-inline'"}
    assert set(directives["font-src"].split()) == {"'self'", "data:"}


def test_the_build_reports_to_nobody() -> None:
    """P31: the package of the API reference that reports installations is replaced by an empty one of ours."""
    lock = json.loads((ROOT / "web" / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    for path, package in lock.items():
        if path.endswith("@scarf/scarf"):
            assert package == {"resolved": "build/no-telemetry", "link": True}
    stand_in = json.loads((ROOT / "web/build/no-telemetry/package.json").read_text(encoding="utf-8"))
    assert "scripts" not in stand_in


def test_what_cannot_be_deleted_holds_references_and_figures() -> None:
    """P33: no call of the journal or of the disclosures hands over what somebody is called, or where he is."""
    calls = 0
    for name, tree in modules():
        for node in ast.walk(tree):
            if not (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "journal"
                and node.func.attr in ("write", "disclose")
            ):
                continue
            calls += 1
            for keyword in node.keywords:
                if keyword.arg == "data":
                    assert not ABOUT_PEOPLE.search(ast.unparse(keyword.value)), f"{name}:{node.lineno}"
    assert calls > 15
