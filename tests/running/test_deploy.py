"""The deployment files are true: their tools accept them, and what they name exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import psycopg
import pytest
import yaml
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from backend.cli import cli
from backend.core import preflight
from backend.core.config import Config, ConfigError, libpq_url
from backend.core.migrating import migrate
from backend.serve_tls import certificate_for
from clusters import running_cluster

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())


def documents(name: str) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all((DEPLOY / name).read_text()) if found]


@pytest.mark.parametrize("name", ["nginx/xungeng.conf", "compose/nginx.conf"])
def test_nginx_accepts_the_proxy(tmp_path: Path, name: str) -> None:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    certificate = certificate_for(Config.from_env({"XUNGENG_DATA": str(tmp_path / "var")}))
    text = (DEPLOY / name).read_text()
    text = text.replace("/etc/nginx/xungeng/fullchain.pem", str(certificate.certificate))
    text = text.replace("/etc/nginx/xungeng/privkey.pem", str(certificate.key))
    text = text.replace("/var/log/nginx/", f"{tmp_path}/")
    # The services' names are known to their own network alone.
    text = text.replace("server web:", "server 127.0.0.1:").replace("server ingest:", "server 127.0.0.1:")
    # Checking opens the ports as well; these need no root.
    text = re.sub(r"(listen (?:\[::\]:)?)(80|443)\b", lambda found: found[1] + "2" + found[2].zfill(4), text)
    (tmp_path / "site.conf").write_text(text)
    whole = tmp_path / "nginx.conf"
    whole.write_text(
        f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{ include {tmp_path}/site.conf; }}\n"
    )
    done = subprocess.run(
        [nginx, "-t", "-p", str(tmp_path), "-c", str(whole)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    unit = (DEPLOY / "systemd" / "xungeng.service").read_text()
    # It checks that the command is there.
    unit = unit.replace("/opt/xungeng/.venv/bin/python", str(ROOT / ".venv/bin/python")).replace(
        "/opt/xungeng", str(ROOT)
    )
    (tmp_path / "xungeng.service").write_text(unit)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "xungeng.service")],
        capture_output=True,
        text=True,
    )
    assert "xungeng.service" not in done.stderr, done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_setting_that_a_file_names_is_read_by_the_code(path: Path) -> None:
    code = (ROOT / "backend" / "core" / "config.py").read_text()
    own = {
        "XUNGENG_SUPERUSER_PASSWORD",
        "XUNGENG_OWNER_PASSWORD",
        "XUNGENG_WEB_PASSWORD",
        "XUNGENG_CERTIFICATES",
    }
    named = set(re.findall(r"\b(?:XUNGENG_[A-Z_]+|DATABASE_[A-Z]+_?URL|DATABASE_URL)\b", path.read_text()))
    assert {name for name in named - own if f'"{name}"' not in code} == set()


def test_every_container_runs_a_command_that_exists() -> None:
    compose = documents("compose/compose.yaml")[0]["services"]
    commands = [service["command"] for service in compose.values() if "xungeng" in service["image"]]
    for document in documents("kubernetes/xungeng.yaml"):
        template = document.get("spec", {}).get("template", {})
        commands += [container["args"] for container in template.get("spec", {}).get("containers", [])]
    assert len(commands) == 8
    for command in commands:
        found = cli.get_command(click.Context(cli), command[0])
        assert found is not None, command
        found.make_context("xungeng", list(command[1:]))


def test_the_proxy_of_compose_differs_from_the_documented_one_in_its_upstreams_alone() -> None:
    def lines(name: str) -> list[str]:
        text = (DEPLOY / name).read_text()
        return [
            line for line in text.splitlines() if line and not line.startswith("#") and "server " not in line
        ]

    assert lines("compose/nginx.conf") == lines("nginx/xungeng.conf")


def test_kubernetes_objects_refer_to_each_other() -> None:
    found = documents("kubernetes/xungeng.yaml")
    names = {(document["kind"], document["metadata"]["name"]) for document in found}
    text = (DEPLOY / "kubernetes" / "xungeng.yaml").read_text()
    for name in re.findall(r"configMapRef: \{name: ([\w-]+)\}", text):
        assert ("ConfigMap", name) in names
    for name in re.findall(r"secret(?:Ref|KeyRef): \{name: ([\w-]+)", text):
        assert ("Secret", name) in names
    for name in re.findall(r"backend: \{service: \{name: ([\w-]+)", text):
        assert ("Service", name) in names


def test_the_roles_of_the_page_migrate_and_serve_in_production(config: Config) -> None:
    """What deploy/README.md and compose's roles.sh make is what production mode accepts."""
    with running_cluster() as cluster:
        script = (DEPLOY / "compose" / "roles.sh").read_text().split("<<'SQL'\n")[1].split("\nSQL")[0]
        with psycopg.connect(libpq_url(cluster.url(database="postgres")), autocommit=True) as superuser:
            # The test's cluster has these names already, as its superuser and its app.
            there = ("\\connect", "create role xungeng_app", "create role xungeng_auditor")
            for part in script.replace("xungeng_owner", "plain_owner").split(";"):
                statement = part.replace(":'owner'", "'x'").replace(":'web'", "'x'").strip()
                if statement and not statement.startswith(there):
                    superuser.execute(statement)
        with psycopg.connect(libpq_url(cluster.url(database="xungeng")), autocommit=True) as superuser:
            superuser.execute("create extension if not exists postgis")
        migrate(cluster.url("plain_owner"))
        production = replace(
            config,
            production=True,
            database_url=cluster.url("xungeng_web"),
            owner_url=cluster.url("plain_owner"),
        )
        engine = create_engine(production.database_url, poolclass=NullPool)
        preflight.check_app(engine, production)
        with pytest.raises(ConfigError, match="owns tables"):
            preflight.check_app(create_engine(production.owner_url, poolclass=NullPool), production)
        migrate(cluster.url("plain_owner"), "down", "base")
