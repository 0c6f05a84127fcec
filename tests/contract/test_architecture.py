"""The shape of the code: who may import whom, and what must not stand where. Each check is shown to fail as well."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.core.ids import new_id
from backend.models import Base

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("backend", "mobile_api", "workflows", "geo", "notifications")
BELOW_HTTP = ("backend/core", "backend/models", "workflows", "geo", "notifications")
Check = Callable[[ast.Module], Iterator[str]]


def modules(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders or PACKAGES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def found(check: Check, *folders: str, except_in: tuple[str, ...] = ()) -> list[str]:
    """What a check finds in the modules of some folders, as ``file: what``."""
    return [
        f"{name}: {what}" for name, tree in modules(*folders) if name not in except_in for what in check(tree)
    ]


# --- Who imports whom


def contracts() -> list[dict[str, object]]:
    with open(ROOT / "pyproject.toml", "rb") as file:
        return tomllib.load(file)["tool"]["importlinter"]["contracts"]


def lint_imports(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_the_import_contracts_hold() -> None:
    told = lint_imports()
    assert told.returncode == 0, told.stdout
    assert f"Contracts: {len(contracts())} kept, 0 broken" in told.stdout


def test_an_import_that_goes_up_breaks_a_contract(tmp_path: Path) -> None:
    """The same linter with the layers upside down: what is imported now would then be forbidden."""
    settings = tmp_path / "upside_down.ini"
    settings.write_text(
        "[importlinter]\nroot_packages =\n    workflows\n    mobile_api\n\n"
        "[importlinter:contract:layers]\nname = Upside down\ntype = layers\nlayers =\n    workflows\n    mobile_api\n"
    )
    told = lint_imports("--config", str(settings))
    assert told.returncode != 0
    assert "0 kept, 1 broken" in told.stdout


def test_the_contracts_say_what_the_design_says() -> None:
    """The layers from top to bottom, and what may be reached from where; a contract cannot get lost or lax."""
    by_kind: dict[object, list[dict[str, object]]] = {}
    for one in contracts():
        by_kind.setdefault(one["type"], []).append(one)
    [layers] = by_kind["layers"]
    composition, *below = layers["layers"]  # type: ignore[misc]
    for root in ("app", "cli", "worker", "wsgi", "demo"):
        assert f"(backend.{root})" in composition
    assert below == [
        "mobile_api",
        "workflows",
        "geo | notifications",
        "(backend.models) | (backend.adapters) | (backend.embedded)",
        "backend.core",
    ]
    assert "ignore_imports" not in layers
    forbidden = [
        (set(one["source_modules"]), set(one["forbidden_modules"]))  # type: ignore[call-overload]
        for one in by_kind["forbidden"]
    ]
    assert ({"mobile_api"}, {"sqlalchemy", "backend.models"}) in forbidden
    below_http = {"workflows", "geo", "notifications", "backend.core", "backend.models"}
    assert (below_http, {"flask", "marshmallow"}) in forbidden
    assert (
        set(PACKAGES),
        {"cv2", "face_recognition", "firebase_admin", "PIL", "av", "openpyxl", "weasyprint"},
    ) in forbidden
    [pure] = [sources for sources, targets in forbidden if targets == {"sqlalchemy", "backend"}]
    # A new module of geo is pure unless it is one of those that ask PostGIS.
    here = {f"geo.{path.stem}" for path in (ROOT / "geo").glob("*.py")} - {"geo.__init__"}
    assert pure == here - {"geo.queries", "geo.incoming", "geo.tiles", "geo.streets"}


def test_composition_roots_are_imported_by_nobody_below() -> None:
    """Every module of ``backend`` stands in the layers, or below one that does."""
    [layers] = [one for one in contracts() if one["type"] == "layers"]
    named = set(re.findall(r"backend\.\w+", " ".join(layers["layers"])))  # type: ignore[arg-type]
    there = {f"backend.{path.stem}" for path in (ROOT / "backend").iterdir() if not path.stem.startswith("_")}
    assert there == named


# --- One transaction, opened above


def commits(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called == "unit_of_work" or called.endswith((".commit", ".rollback", ".unit_of_work")):
                yield called


def test_workflows_neither_open_nor_commit_a_transaction() -> None:
    """The endpoint opens it and its end commits it; the grouped write is the one exception."""
    grouped = ("workflows/tracks.py", "workflows/grouping.py")
    assert found(commits, "workflows", "geo", "notifications", except_in=grouped) == []
    assert list(commits(ast.parse("def f(uow): uow.session.commit()"))) == ["uow.session.commit"]
    assert list(commits(ast.parse("with unit_of_work() as uow: pass"))) == ["unit_of_work"]


# --- Actor, unit of work and command are arguments; time is read once


CLOCKS = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("time", "time"),
}


def reads_the_clock(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value).rpartition(".")[2]
            if (owner, node.func.attr) in CLOCKS:
                yield ast.unparse(node)


def test_nobody_below_the_http_layer_reads_the_clock_but_the_clock() -> None:
    """So that all stamps of one act agree, and a test can move the time."""
    assert found(reads_the_clock, *BELOW_HTTP, except_in=("backend/core/clock.py",)) == []
    seen = list(
        reads_the_clock(ast.parse("a = datetime.now(UTC); b = dt.datetime.utcnow(); c = time.time()"))
    )
    assert len(seen) == 3


def takes_from_the_air(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("flask", "flask_login", "werkzeug.local"):
            yield f"from {node.module}"
        if isinstance(node, ast.Name) and node.id in ("current_user", "current_app", "current_actor"):
            yield node.id


def test_workflows_take_who_acts_as_an_argument() -> None:
    assert found(takes_from_the_air, *BELOW_HTTP) == []
    assert list(takes_from_the_air(ast.parse("from flask import g\nf(current_user)")))


def random_ids(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if name in ("uuid1", "uuid4"):
            yield name


def test_ids_are_ordered_by_the_time_of_their_making() -> None:
    """UUID version 7 everywhere; what a request is called in the logs is no id of a row."""
    simulated = tuple(name for name, _ in modules("backend/demo"))
    assert found(random_ids, except_in=("backend/app.py", *simulated)) == []
    assert list(random_ids(ast.parse("uuid.uuid4()"))) == ["uuid4"]
    made = [new_id() for _ in range(1000)]
    assert {one.version for one in made} == {7}
    assert made == sorted(made)


# --- Who is told is decided in one place


AT_WILL = {"SESSIONS", "DEVICES", "AREAS", "AREAS_CHANGED"}
"""What anybody below may announce: memories are to be read anew, and no person is named who would be shown it."""


def tells_people(tree: ast.Module) -> Iterator[str]:
    """Notifications that reach people's screens: on any channel but those of ``AT_WILL``, and by raw SQL."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            channel = ast.unparse(node.args[0]).rpartition(".")[2]
            if node.func.attr in ("notify", "notify_each") and channel not in AT_WILL:
                yield f"{ast.unparse(node.func)}({channel})"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "pg_notify" in node.value:
            yield "pg_notify"


def names_hearers(tree: ast.Module) -> Iterator[str]:
    """Places that say who hears: they name people or a room of the live channel, or make up ``Hearers``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value == "user_ids":
            yield "user_ids"
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Hearers":
            yield "Hearers()"
        if isinstance(node, ast.Call):
            rooms = [k.value for k in node.keywords if k.arg == "room_id"]
            rooms += node.args[:1] if ast.unparse(node.func).rpartition(".")[2] == "ShiftEvent" else []
            yield from (
                ast.unparse(node)
                for room in rooms
                if not (is_none(room) or asks_recipients(room) or is_passed_on(room))
            )
        if isinstance(node, ast.Assign) and not asks_recipients(node.value):
            names = [
                name for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)
            ]
            written = [name.id for name in names if isinstance(name.ctx, ast.Store)]
            if "room_id" in written and not is_none(node.value):
                yield ast.unparse(node)


def is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def is_passed_on(value: ast.expr) -> bool:
    """Say whether a room is one that somebody has decided already: it is called so."""
    return ast.unparse(value).rpartition(".")[2] == "room_id"


def asks_recipients(value: ast.AST) -> bool:
    """Say whether an expression calls a function of ``recipients``."""
    return any(
        isinstance(node, ast.Call) and ast.unparse(node.func).startswith("recipients.")
        for node in ast.walk(value)
    )


def told_on_ones_own_word(tree: ast.Module) -> Iterator[str]:
    """Calls that tell somebody (``to``) whom no function of ``recipients`` has named.

    A name counts as named by it when it was assigned from what is, or goes through it; a function may take ``to`` from
    its callers, who are looked at in turn.
    """
    takes = {
        f.name: [a.arg for a in f.args.args].index("to")
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef) and "to" in [a.arg for a in f.args.args]
    }
    for function in [f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef)]:
        named = {"to"} if function.name in takes else set()
        for _ in range(3):
            for node in ast.walk(function):
                if isinstance(node, ast.Assign) and is_named(node.value, named):
                    named |= {t.id for t in node.targets if isinstance(t, ast.Name)}
                if isinstance(node, ast.For) and is_named(node.iter, named):
                    named |= {t.id for t in [node.target] if isinstance(t, ast.Name)}
        for node in ast.walk(function):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            place = takes.get(called)
            given = [k.value for k in node.keywords if k.arg == "to"]
            if place is not None:
                given += node.args[place : place + 1]
            if called in TELLING or place is not None:
                yield from (
                    f"{called}(to={ast.unparse(to)})" for to in given or [node] if not is_named(to, named)
                )


TELLING = {"outbox.enqueue", "changes.tell"}


def is_named(value: ast.AST, named: set[str]) -> bool:
    """Say whether everybody of whom an expression is made was named by ``recipients``, or is in ``named``."""
    match value:
        case ast.Name():
            return value.id in named
        case ast.Call() if ast.unparse(value.func) in {"sorted", "list", "tuple", "set", "frozenset"}:
            return all(is_named(one, named) for one in value.args)
        case ast.Call():
            return ast.unparse(value.func).startswith("recipients.")
        case ast.Starred() | ast.Subscript():
            return is_named(value.value, named)
        case ast.List() | ast.Tuple() | ast.Set():
            return all(is_named(one, named) for one in value.elts)
        case ast.BinOp():
            return is_named(value.left, named) and is_named(value.right, named)
        case ast.BoolOp():
            return all(is_named(one, named) for one in value.values)
        case ast.IfExp():
            return is_named(value.body, named) and is_named(value.orelse, named)
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
            chosen = {
                node.id
                for part in value.generators
                if is_named(part.iter, named)
                for node in ast.walk(part.target)
                if isinstance(node, ast.Name)
            }
            return is_named(value.elt, named | chosen)
        case _:
            return False


def test_who_is_told_is_decided_by_the_recipients_alone() -> None:
    """F41: a leak is looked for in one file. Each check is tried on what it has to find."""
    above = ("backend", "mobile_api", "workflows", "geo", "notifications")
    deciding, saying = "notifications/recipients.py", "notifications/changes.py"
    own = ("notifications/outbox.py", saying, "backend/core/uow.py")
    assert found(tells_people, *above, except_in=own) == []
    # The live channel reads the message that ``changes`` has written, and gives it to these people's clients.
    assert found(names_hearers, *above, except_in=(deciding, saying, "mobile_api/realtime.py")) == []
    assert found(told_on_ones_own_word, *above) == []

    def leaks(check: Check, source: str) -> list[str]:
        return list(check(ast.parse(source)))

    assert leaks(tells_people, "uow.notify(listen.CHANGES, {})")
    assert leaks(tells_people, "text('select pg_notify(:c, :p)')")
    assert not leaks(tells_people, "uow.notify(listen.SESSIONS, {})")
    assert leaks(names_hearers, "told = {'user_ids': [share.officer_id]}")
    assert leaks(names_hearers, "to = recipients.Hearers(area_id)")
    assert leaks(names_hearers, "row, room_id = rows[0], shift.area_id")
    assert leaks(names_hearers, "Delivery(room_id=shift.area_id)")
    assert leaks(names_hearers, "ShiftEvent(row.area_id, kind)")
    assert not leaks(names_hearers, "row, room_id = rows[0], recipients.room_of_shift(shift.area_id)")
    assert not leaks(names_hearers, "Delivery(room_id=row.room_id)")
    for wrong in (
        "def f():\n outbox.enqueue(uow, kind, to=[share.officer_id])",
        "def f():\n outbox.enqueue(uow, kind)",
        "def f():\n outbox.enqueue(uow, kind, to=[*recipients.desk_for(uow, area), officer.id])",
        "def f():\n outbox.enqueue(uow, kind, to=recipients.one(uow, a) + [b.id])",
        "def f(all):\n outbox.enqueue(uow, kind, to=[p.id for p in all if p not in recipients.one(uow, a)])",
        "def f(people):\n changes.tell(uow, 'task', task, 'x', to=people)",
        "def f(uow, to):\n outbox.enqueue(uow, kind, to=to)\ndef g():\n f(uow, [officer.id])",
        "def f(all):\n for one in all:\n  changes.tell(uow, 'task', task, 'x', to=one)",
    ):
        assert leaks(told_on_ones_own_word, wrong), wrong
    for right in (
        "def f():\n to = recipients.desk_for(uow, area)\n outbox.enqueue(uow, kind, to=[o for o in to if o != by])",
        "def f(uow, to):\n outbox.enqueue(uow, kind, to=to)\ndef g():\n f(uow, recipients.one(uow, officer))",
        "def f():\n changes.tell(uow, 'task', task, 'x', to=recipients.hear_of_task(task, uow.now))",
        "def f():\n for one in recipients.hear_of_evidence(uow, photo):\n  changes.tell(uow, 'x', photo, 'x', to=one)",
    ):
        assert not leaks(told_on_ones_own_word, right), right


# --- Names


def test_no_file_and_no_folder_is_called_after_nothing() -> None:
    empty = re.compile(r"(^|_)(utils?|helpers?|common|managers?|misc)(_|$)")
    for package in (*PACKAGES, "migrations", "bench", "tests", "web/src"):
        for path in (ROOT / package).rglob("*"):
            if "node_modules" not in path.parts:
                assert not empty.search(path.stem), path
    assert empty.search("string_utils")
    assert not empty.search("commons_not")


BOUNDS = ("_at", "_until", "_by")
"""When something was done, and the ends of spans: up to when something is known, and by when it is to begin."""


def test_tables_are_plural_models_singular_and_moments_participles() -> None:
    # One book, many entries; and what nobody counts.
    mass = {"journal", "custody", "evidence"}
    singular = {"Address"}
    for mapper in Base.registry.mappers:
        table, model = mapper.local_table.name, mapper.class_.__name__
        assert table in mass or table.endswith("s"), table
        assert not model.endswith("s") or model in singular, model
        for column in mapper.local_table.columns:
            moment = str(column.type) in ("DATETIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")
            if moment:
                assert column.name == "at" or column.name.endswith(BOUNDS), f"{table}.{column.name}"
                assert column.type.timezone, f"{table}.{column.name} has no zone"  # type: ignore[attr-defined]


FORBIDDEN_SHAPES = re.compile(
    r"(Repository|MessageBus|ServiceRegistry|ServiceLocator|CrudResource|BaseCrud)$"
)


def test_there_is_no_layer_that_only_passes_on() -> None:
    """No repository class, no message bus, no service registry, no base CRUD resource."""
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                assert not FORBIDDEN_SHAPES.search(node.name), f"{name}: {node.name}"
    assert FORBIDDEN_SHAPES.search("TaskRepository")


# --- What is stored


def test_the_journal_has_its_columns_and_no_table_deletes_by_a_mark() -> None:
    tables = Base.metadata.tables
    assert set(tables["journal"].columns.keys()) == {
        "id", "town_id", "at", "device_at", "actor_id", "on_behalf_of", "command_id", "subject_kind", "subject_id",
        "action", "from", "to", "reason", "data", "request_id",
    }  # fmt: skip
    for table in tables.values():
        assert not {"deleted", "deleted_at", "is_deleted", "active"} & set(table.columns.keys()), table.name


def test_a_fix_is_known_by_its_device_its_time_and_a_number() -> None:
    assert [c.name for c in Base.metadata.tables["fixes"].primary_key] == ["device_id", "fixed_at", "seq"]


@pytest.mark.parametrize("folder", ["officer", "resident", "desk", "public", "auth", "gateway"])
def test_each_audience_is_a_folder_of_its_own(folder: str) -> None:
    assert (ROOT / "mobile_api" / folder / "blueprints.py").is_file()
