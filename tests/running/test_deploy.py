"""The deployment files are true: their tools accept them, and what they name exists."""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import httpx
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
from mobile_api.gateway.answers import ANSWERS
from mobile_api.hot import HOT
from running.installation import free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())


def documents(name: str) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all((DEPLOY / name).read_text()) if found]


PROXIES = ("nginx/xungeng.conf", "compose/nginx.conf")


def nginx_for(folder: Path, name: str, ports: dict[str, int]) -> list[str]:
    """The command of an nginx with a file of ours, on ports that need no root and with other upstreams."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    certificate = certificate_for(Config.from_env({"XUNGENG_DATA": str(folder / "var")}))
    text = (DEPLOY / name).read_text()
    text = text.replace("/etc/nginx/xungeng/fullchain.pem", str(certificate.certificate))
    text = text.replace("/etc/nginx/xungeng/privkey.pem", str(certificate.key))
    text = text.replace("/var/log/nginx/", f"{folder}/")
    # The services' names are known to their own network alone.
    text = text.replace("server web:", "server 127.0.0.1:").replace("server ingest:", "server 127.0.0.1:")
    for port in ("8000", "8100"):
        text = text.replace(f"server 127.0.0.1:{port};", f"server 127.0.0.1:{ports[port]};")
    text = re.sub(
        r"(listen )(\[::\]:)?(80|443)\b", lambda f: f"{f[1]}{f[2] or '127.0.0.1:'}{ports[f[3]]}", text
    )
    (folder / "site.conf").write_text(text)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = folder / "nginx.conf"
    whole.write_text(
        f"pid {folder}/pid;\nerror_log stderr;\ndaemon off;\nworker_processes 1;\nevents {{}}\n"
        f"http {{ {temporary} include {folder}/site.conf; }}\n"
    )
    # Whoever runs the tests may be root, whose workers would be nobody's.
    user = ["-g", f"user {getpass.getuser()};"] if os.geteuid() == 0 else []
    return [nginx, "-p", str(folder), "-c", str(whole), *user]


@pytest.mark.parametrize("name", PROXIES)
def test_nginx_accepts_the_proxy(tmp_path: Path, name: str) -> None:
    ports = {port: free_port() for port in ("80", "443", "8000", "8100")}
    done = subprocess.run([*nginx_for(tmp_path, name, ports), "-t"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@contextmanager
def answering(name: str) -> Iterator[int]:
    """A server that answers every request with its own name and what it was told about the caller."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            told = {
                key: self.headers.get(key) for key in ("Host", "X-Forwarded-For", "Connection", "Upgrade")
            }
            body = json.dumps({"server": name, **told}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PATCH = do_GET  # noqa: N815  # As http.server looks for them.

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=PROXIES)
def proxied(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A client of the real nginx with our file, in front of a web and an ingest server that say who they are."""
    with answering("web") as web, answering("ingest") as ingest:
        ports = {"80": free_port(), "443": free_port(), "8000": web, "8100": ingest}
        process = subprocess.Popen(nginx_for(tmp_path, request.param, ports))
        try:
            with httpx.Client(
                base_url=f"https://127.0.0.1:{ports['443']}", verify=False, trust_env=False
            ) as client:

                def answers() -> bool:
                    try:
                        return client.get("/").status_code == 200
                    except httpx.TransportError:
                        return False

                wait_until(answers, 10)
                yield client
        finally:
            process.terminate()
            process.wait(10)


def test_each_public_path_reaches_the_process_that_serves_it(proxied: httpx.Client) -> None:
    """Ingest is sent what it serves, hot routes and gateways, web the rest; figures go to nobody outside."""
    ingest = [route.path for route in HOT] + [path.replace("<key>", "KEY") for path in ANSWERS]
    assert len(ingest) > 4
    web = ["/", "/desk/", "/officer/sw.js", "/api/v1/public/installation", "/api/v1/desk/officers", "/readyz",
           "/api/v1/desk/imported-tracks", "/api/v1/officer/shifts", "/basemaps/town.pmtiles"]  # fmt: skip
    for server, paths in (("ingest", ingest), ("web", web)):
        for path in paths:
            assert proxied.get(path).json()["server"] == server, path
    assert proxied.get("/metrics").status_code == 403


def test_the_live_channel_is_upgraded_and_a_caller_cannot_say_where_he_comes_from(
    proxied: httpx.Client,
) -> None:
    told = proxied.get(
        "/socket.io/?EIO=4",
        headers={"Upgrade": "websocket", "Connection": "Upgrade", "X-Forwarded-For": "1.2.3.4"},
    ).json()
    assert (told["Upgrade"], told["Connection"].lower()) == ("websocket", "upgrade")
    assert told["X-Forwarded-For"] == "127.0.0.1"
    plain = proxied.get("/gateway/osmand", headers={"X-Forwarded-For": "1.2.3.4"}).json()
    assert plain["X-Forwarded-For"] == "127.0.0.1"


def test_a_whole_gpx_file_and_a_photo_pass_and_nothing_else_of_its_size(proxied: httpx.Client) -> None:
    five, more = b"x" * (5 << 20), b"x" * ((32 << 20) + 1)
    gpx = {"Content-Type": "application/gpx+xml"}
    assert (
        proxied.post("/api/v1/desk/imported-tracks?name=a", content=five, headers=gpx).json()["server"]
        == "web"
    )
    assert proxied.post("/api/v1/desk/imported-tracks", content=more, headers=gpx).status_code == 413
    photo = {"Content-Type": "application/offset+octet-stream"}
    assert proxied.patch("/api/v1/evidence/uploads/1", content=five, headers=photo).json()["server"] == "web"
    assert proxied.post("/api/v1/desk/replays", content=five).status_code == 413
    assert proxied.post("/gateway/owntracks", content=five).status_code == 413


def test_kubernetes_lets_whole_files_pass_to_their_routes_alone() -> None:
    bounds = {
        path["path"]: found["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
        for found in documents("kubernetes/xungeng.yaml")
        if found["kind"] == "Ingress"
        for path in found["spec"]["rules"][0]["http"]["paths"]
    }
    assert bounds.pop("/api/v1/desk/imported-tracks") == "32m"
    assert bounds.pop("/api/v1/evidence/uploads") == "32m"
    assert set(bounds.values()) == {"4m"}


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


def test_no_server_of_the_proxy_logs_in_the_default_format() -> None:
    """F93: it holds the query string, in which older trackers put places and credentials, TLS or not."""
    for name in PROXIES:
        servers = re.split(r"^server \{$", (DEPLOY / name).read_text(), flags=re.M)[1:]
        assert len(servers) == 2
        for server in servers:
            assert re.search(r"^    access_log (off|\S+ xungeng);$", server, re.M), server


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
