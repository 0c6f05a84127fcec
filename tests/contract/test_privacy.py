"""What the code may not do, whoever writes it: send anything abroad, or put people into what cannot be deleted."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from geoalchemy2 import Geography, Geometry

from backend.app import CONTENT_SECURITY_POLICY
from backend.core.config import Config
from backend.models import Base
from tests.contract import test_threats
from workflows import access

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("backend", "mobile_api", "workflows", "geo", "notifications")
CALLS_OUT = {
    "httpx", "requests", "urllib.request", "aiohttp", "smtplib", "ftplib", "firebase_admin", "pywebpush",
}  # fmt: skip
MAY_CALL_OUT = {
    "backend/adapters/gateway.py": "the operator's own gateways for text messages and calls, if he names them",
    "notifications/channels/fcm.py": "Firebase, if the operator gives its credentials",
    "notifications/channels/mail.py": "the operator's own mail server, if he names one",
    "notifications/channels/tencent.py": "WeCom and WeChat, if the operator gives an application's secret",
    "notifications/channels/webpush.py": "push services of browsers' makers, if the operator switches Web Push on",
}
ABOUT_PEOPLE = re.compile(r"display_name|\blogin\b|phone|\bname\b|address|password|token|secret|lon\b|lat\b")


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith("backend/demo/"):  # Simulated phones call the installation itself.
                yield name, ast.parse(path.read_text(encoding="utf-8"))


def test_nothing_but_what_is_named_here_can_call_a_server_elsewhere() -> None:
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


def test_no_address_elsewhere_is_set_by_default() -> None:
    """P31: without settings there is no gateway for SMS, no Redis and no database but our own."""
    config = Config.from_env({})
    addresses = {
        name: str(value)
        for name, value in vars(config).items()
        if re.search(r"url|host|endpoint|proxy", name) and value
    }
    assert "sms_url" in vars(config)
    for name, value in addresses.items():
        host = urlsplit(value).hostname
        assert host in (None, "", "localhost", "127.0.0.1", "::1"), f"{name} = {value}"


# --- P33


def data_of(call: ast.Call, function: ast.AST) -> list[ast.expr]:
    """What a call hands over as ``data``; of a variable, everything that its function puts into it."""
    found: list[ast.expr] = []
    for keyword in call.keywords:
        if keyword.arg != "data":
            continue
        found.append(keyword.value)
        if isinstance(keyword.value, ast.Name):
            name = keyword.value.id
            for node in ast.walk(function):
                targets = (
                    node.targets if isinstance(node, ast.Assign)
                    else [node.target] if isinstance(node, ast.AnnAssign)
                    else []
                )  # fmt: skip
                for target in targets:
                    whole = isinstance(target, ast.Name) and target.id == name
                    part = (
                        isinstance(target, ast.Subscript)
                        and isinstance(target.value, ast.Name)
                        and target.value.id == name
                    )
                    if (whole or part) and node.value is not None:  # type: ignore[union-attr]
                        found.append(node.value)  # type: ignore[union-attr]
                    if part:
                        found.append(target.slice)  # type: ignore[union-attr]
    return found


def written_down(tree: ast.Module) -> Iterator[tuple[int, list[ast.expr]]]:
    """Every call that writes to the journal or the disclosures, by line, with what it hands over."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                if called in ("journal.write", "journal.disclose") or called.endswith(".fire"):
                    yield node.lineno, data_of(node, function)


def test_what_cannot_be_deleted_holds_references_and_figures() -> None:
    """P33: no call of the journal or of the disclosures hands over what somebody is called, or where he is.

    That it does so in fact, ``tests/api/test_journal_canaries.py`` reads out of the database.
    """
    calls = 0
    for name, tree in modules():
        for line, values in written_down(tree):
            calls += 1
            for value in values:
                assert not ABOUT_PEOPLE.search(ast.unparse(value)), f"{name}:{line}: {ast.unparse(value)}"
    assert calls > 15


@pytest.mark.parametrize(
    "body",
    [
        "journal.write(uow, data={'display_name': user.display_name})",
        "found = {'id': 1}\n found['lon'] = 1\n journal.disclose(uow, data=found)",
        "found = {'n': user.login}\n MACHINE.fire(uow, actor, row, 'end', data=found)",
    ],
)
def test_a_name_or_a_place_in_the_journal_is_found(body: str) -> None:
    tree = ast.parse("def f(uow, user):\n " + body)
    [(_, values)] = written_down(tree)
    assert any(ABOUT_PEOPLE.search(ast.unparse(value)) for value in values)


def test_the_journal_is_written_in_one_place() -> None:
    """P33: nobody makes a row of what cannot be deleted behind its back; the demo town's past is the exception."""
    made = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Journal", "Disclosure")
    }
    assert made <= {"workflows/journal.py", "backend/demo/fill.py"}
    assert "workflows/journal.py" in made


# --- What there is no code for


FORBIDDEN_LIBRARIES = {
    "cv2", "face_recognition", "dlib", "insightface", "deepface", "openalpr", "scapy", "sentry_sdk",
}  # fmt: skip
FORBIDDEN_WORDS = re.compile(
    r"(^|_)(faces?|plates?|watch_?lists?|probes?|mac_address|embeddings?|biometrics?|scores?|ratings?)(_|$)"
)


def test_nobody_is_recognised_counted_by_his_phone_or_scored() -> None:
    """No library, no table, no column and no permission for it; the rules on it bind the version that brings it."""
    for name, tree in modules():
        for node in ast.walk(tree):
            imported = (
                {alias.name.partition(".")[0] for alias in node.names} if isinstance(node, ast.Import)
                else {(node.module or "").partition(".")[0]} if isinstance(node, ast.ImportFrom)
                else set()
            )  # fmt: skip
            assert not imported & FORBIDDEN_LIBRARIES, name
    for table in Base.metadata.tables.values():
        for word in (table.name, *table.columns.keys()):
            assert not FORBIDDEN_WORDS.search(word), f"{table.name}.{word}"
    for verb, kind in access.GRANTS:
        assert not FORBIDDEN_WORDS.search(kind), (verb, kind)
    assert FORBIDDEN_WORDS.search("face_embeddings")
    assert not FORBIDDEN_WORDS.search("surface")


# --- Where officers are


def test_only_the_recorder_a_call_for_help_and_a_report_ask_the_browser_where_it_is() -> None:
    """P21: neither another screen nor a worker that runs without a page; the notice stands before the first fix, and
    who holds the button for help, or is filing a report, says where he is by his own act.
    """
    asks = re.compile(r"watchPosition|getCurrentPosition|navigator\??\.geolocation")
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "web" / "src").rglob("*")
        if path.suffix in (".ts", ".vue") and asks.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"web/src/officer/recorder.ts", "web/src/officer/spot.ts", "web/src/shared/sos.ts"}
    for path in (*(ROOT / "web" / "build").glob("*.ts"), *(ROOT / "web" / "src").rglob("*worker*.ts")):
        assert not asks.search(path.read_text(encoding="utf-8")), path


KEEPS_PLACES = {
    "fixes": "drop_partitions",
    "quarantined_fixes": "drop_partitions",
    "track_days": "delete from track_days",
    "imported_tracks": "delete from imported_tracks",
    "latest_positions": "delete(LatestPosition)",
    "alarms": "update alarms set geom = null",
    "call_answers": "update call_answers set geom = null",
    "visits": "delete from visits",
    "post_duties": "update post_duties set presence",
    "post_absences": "delete from post_absences",
}
"""Tables that say where somebody was, and what forgets it."""
GROUND = {"areas", "roads", "road_parts", "checkpoints", "routes", "posts", "tasks", "reports"}
"""Where things are, where something has to be done, and where something was found."""


def test_whatever_says_where_somebody_was_is_forgotten_in_time() -> None:
    """P22: a new table with places of people is found here, and has to say what deletes from it."""
    holds = {"post_absences"} | {
        table.name
        for table in Base.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, Geography | Geometry)
        or column.name
        in ("lon", "lat", "points", "segments", "payload", "document", "checkpoint_id", "presence")
    } - {
        "route_points",
        "patrol_points",
        "patrol_photos",
    }
    assert holds - GROUND == set(KEEPS_PLACES)
    sources = "".join((ROOT / "workflows" / name).read_text() for name in ("upkeep.py", "shifts.py"))
    for table, how in KEEPS_PLACES.items():
        assert how in sources, table
    assert '("fixes", fix_retention_days), ("quarantined_fixes", QUARANTINE_RETENTION_DAYS)' in sources
    assert 7 <= Config.from_env({}).fix_retention_days <= 30


# --- The list of rules


PRESENT = {
    "P15": {"F51"},
    "P21": {"F24"},
    "P22": {"F41"},
    "P26": {"F40", "F45"},
    "P27": {"F93"},
    "P31": set(),
    "P32": {"F42"},
    "P33": set(),
}
"""The rules that this version has something to hold, with the rows that enforce them."""


def test_every_rule_that_exists_by_now_is_held_by_a_test_that_runs(found: list[test_threats.Test]) -> None:
    for rule, rows in PRESENT.items():
        named = {
            name for test in found if not test.skipped for name in re.findall(r"\b[FP]\d\d\b", test.docstring)
        }
        assert named & {rule, *rows}, rule
        assert rows <= named, rule


def test_every_rule_is_either_held_or_said_to_bind_later_versions() -> None:
    """None of the 33 is forgotten: the page's table, or its paragraph on what is not there."""
    page = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| (P\d\d) \|", page, re.M))
    assert listed == set(PRESENT)
    told = {
        number
        for first, last in re.findall(r"\bP(\d\d)(?:–P(\d\d))?", page)
        for number in range(int(first), int(last or first) + 1)
    }
    assert told == set(range(1, 34))


@pytest.fixture(scope="module")
def found() -> list[test_threats.Test]:
    return [
        test
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for test in test_threats.collected(path.read_text(encoding="utf-8"), path.name)
    ]
