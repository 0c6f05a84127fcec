"""How the demo town's accounts are shown: a list that people read, and everything for programs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from backend import serve_banner
from backend.cli import cli
from backend.core.config import Config
from backend.demo import accounts


def person(login: str, **more: object) -> dict[str, object]:
    return {"login": login, "password": "k7mw-2hqp-x9fa-tr4n", "display_name": "王伟", **more}


FOUND = {
    **{role: person(role) for role in ("admin", "supervisor", "desk", "auditor")},
    "desks": [person(f"desk{n}", area_ids=["x"] * 8) for n in (1, 2)],
    "handlers": [
        person(f"handler{n}", department={"zh-CN": "派出所", "en": "Police Station"}) for n in range(8)
    ],
    "officers": [person(f"officer{n}", reserved=n > 59, trackers={}) for n in range(64)],
    "residents": [{"phone": f"+8610000000{n:03}", "code": "…", "display_name": "李芳"} for n in range(72)],
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("XUNGENG_DATA", str(tmp_path))
    config = Config.from_env()
    accounts.write(config, FOUND)
    return config


def test_people_read_a_few_accounts_of_each_role_and_how_many_more_there_are(config: Config) -> None:
    shown = CliRunner().invoke(cli, ["demo", "accounts"])
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert len(lines) < 25
    assert max(map(len, lines)) <= 100
    names = [line.split()[1] for line in lines if "…" not in line]
    assert names == [
        "admin", "supervisor", "desk", "auditor", "desk1", "desk2", "handler0", "handler1", "handler2", "officer60",
        "officer61", "officer62", "10000000000", "10000000001", "10000000002",
    ]  # fmt: skip
    assert [line.split()[:3] for line in lines if "…" in line] == [
        ["handler", "…", "5"], ["officer", "…", "61"], ["resident", "…", "69"],
    ]  # fmt: skip


def test_programs_get_all_of_them(config: Config) -> None:
    shown = CliRunner().invoke(cli, ["demo", "accounts", "--json"])
    assert json.loads(shown.output) == FOUND


def test_the_banner_names_somebody_of_each_role_at_the_desk(config: Config) -> None:
    told = serve_banner.banner(replace(config, port=8000))
    for role in ("supervisor", "desk", "admin", "auditor"):
        assert f"    {role:<11} {role:<18} k7mw-2hqp-x9fa-tr4n" in told.splitlines()
