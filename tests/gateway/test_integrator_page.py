"""The integrator's page is true: its commands are run against a real server, and answered as it says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.factories import PASSWORD
from tests.gateway.conftest import Setting
from tests.running.installation import ROOT, free_port, wait_until

PAGE = ROOT / "docs" / "integrator.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```\n^```text\n(.*?)^```", re.M | re.S)


def examples() -> list[tuple[str, str]]:
    """Return each command of the page with the answer that stands under it."""
    return BLOCK.findall(PAGE.read_text(encoding="utf-8"))


@dataclass
class Server:
    """The web process alone, as gunicorn runs it, on the database of the setting."""

    url: str
    setting: Setting
    headers: dict[str, str] = field(default_factory=dict)

    def post(self, path: str, body: Any = None) -> httpx.Response:
        headers = {**self.headers, "Idempotency-Key": str(uuid.uuid4())}
        return httpx.post(self.url + path, json=body, headers=headers, timeout=20)

    def sign_in(self, who: str) -> str:
        login = self.setting.town[who].login
        answer = self.post("/api/v1/auth/login", {"login": login, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def device(self, protocol: str) -> dict[str, Any]:
        officer = self.setting.town["officer_a"]
        body = {"officer_id": str(officer.id), "name": protocol, "protocol": protocol}
        answer = self.post("/api/v1/desk/devices", body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())


@pytest.fixture(scope="module")
def server(setting: Setting, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = free_port()
    data = tmp_path_factory.mktemp("server")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XUNGENG_", "DATABASE_", "PG"))
    } | {
        "XUNGENG_DATA": str(data),
        "XUNGENG_DEMO": "0",
        "XUNGENG_HOST": "127.0.0.1",
        "PORT": str(port),
        "DATABASE_URL": setting.config.owner_url.replace("+psycopg", ""),
        "DATABASE_APP_URL": setting.config.database_url.replace("+psycopg", ""),
    }
    with open(data / "output", "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "python:backend.serve_gunicorn", "backend.wsgi:app"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, (data / "output").read_text()
        try:
            return httpx.get(f"{url}/healthz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(answers, 60)
        found = Server(url, setting)
        found.headers["Authorization"] = f"Bearer {found.sign_in('supervisor')}"
        yield found
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass
class Trackers:
    """One device of each protocol, of an officer on shift, and his phone."""

    variables: dict[str, str]
    ids: dict[str, uuid.UUID]


@pytest.fixture(scope="module")
def trackers(server: Server) -> Trackers:
    officer = server.setting.town["officer_a"]
    phone = uuid.uuid4()
    token = server.sign_in("officer_a")
    started = httpx.post(
        f"{server.url}/api/v1/officer/shifts",
        json={
            "device": {"id": str(phone), "name": "phone", "platform": "linux"},
            "device_at": datetime.now(UTC).isoformat(),
        },
        headers={"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid.uuid4())},
        timeout=20,
    )
    assert started.status_code == 201, started.text
    made = {
        protocol: server.device(protocol) for protocol in ("osmand", "owntracks", "overland", "gpslogger")
    }
    shown = {protocol: device["provisioning"] for protocol, device in made.items()}
    return Trackers(
        {
            "URL": server.url,
            "DESK_TOKEN": server.headers["Authorization"].removeprefix("Bearer "),
            "OFFICER_ID": str(officer.id),
            "OSMAND_ID": shown["osmand"]["id"],
            "OWNTRACKS_USER": shown["owntracks"]["user"],
            "OWNTRACKS_PASSWORD": shown["owntracks"]["password"],
            "OVERLAND_TOKEN": shown["overland"]["token"],
            "GPSLOGGER_KEY": shown["gpslogger"]["url"].split("?")[0].rpartition("/")[2],
            "OFFICER_LOGIN": officer.login,
            "OFFICER_PASSWORD": PASSWORD,
            "OFFICER_DEVICE_ID": str(phone),
        },
        {protocol: uuid.UUID(device["id"]) for protocol, device in made.items()} | {"officer": phone},
    )


def test_the_variables_of_the_examples_are_taken_from_the_demo_town(server: Server, tmp_path: Path) -> None:
    town = server.setting.town
    apps = {
        "osmand": {"id": "key-1"},
        "owntracks": {"user": "user-2", "password": "it's 2"},
        "overland": {"token": "token-3"},
        "gpslogger": {"url": f"{server.url}/gateway/gpslogger/key-4?lat=%LAT"},
    }
    phone = str(uuid.uuid4())
    officers = [
        {
            "reserved": name == "officer_b", "id": str(town[name].id), "login": town[name].login, "password": PASSWORD,
            "device_id": phone, "trackers": apps,
        }
        for name in ("officer_a", "officer_b")
    ]  # fmt: skip
    accounts = {"supervisor": {"login": town["supervisor"].login, "password": PASSWORD}, "officers": officers}
    (tmp_path / "accounts.json").write_text(json.dumps(accounts))
    command = tmp_path / "script" / "xungeng"
    command.parent.mkdir()
    command.write_text('#!/bin/sh\n[ "$*" = "demo accounts --json" ] && cat accounts.json\n')
    command.chmod(0o755)
    [(taking, expected), *_] = examples()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", taking + "compgen -v | while read n; do echo \"$n=${!n-}\"; done"],
        cwd=tmp_path, env={"PATH": os.environ["PATH"], "URL": server.url}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.startswith(expected), done.stdout
    assert json.loads((tmp_path / "shift.json").read_text())["state"] == "on_duty"
    taken = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    wanted = {
        "OFFICER_ID": str(town["officer_b"].id), "OFFICER_LOGIN": town["officer_b"].login, "OFFICER_PASSWORD": PASSWORD,
        "OFFICER_DEVICE_ID": phone, "OSMAND_ID": "key-1", "OWNTRACKS_USER": "user-2", "OWNTRACKS_PASSWORD": "it's 2",
        "OVERLAND_TOKEN": "token-3", "GPSLOGGER_KEY": "key-4",
    }  # fmt: skip
    assert {name: taken.get(name) for name in wanted} == wanted
    headers = {"Authorization": f"Bearer {taken['DESK_TOKEN']}"}
    assert httpx.get(f"{server.url}/api/v1/desk/devices", headers=headers, timeout=20).status_code == 200


def test_the_page_explains_each_variable_that_its_examples_take() -> None:
    page = PAGE.read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{?([A-Z][A-Z_]+)", "".join(command for command, _ in examples()[1:])))
    own = {"TOKEN", "NOW"}
    assert used - own == set(re.findall(r"`([A-Z_]+)`", "".join(re.findall(r"^\| `[A-Z].*$", page, re.M))))


def test_every_command_of_the_page_is_answered_as_it_says(
    server: Server, trackers: Trackers, tmp_path: Path
) -> None:
    found = examples()[1:]
    assert len(found) >= 10
    for command, expected in found:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **trackers.variables},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.stdout, done.stderr) == (expected, ""), command
        time.sleep(
            1.1
        )  # The commands stamp whole seconds, and what is measured twice at once is another matter.
    for protocol, count in {"osmand": 4, "owntracks": 1, "overland": 1, "gpslogger": 1, "officer": 1}.items():
        assert len(server.setting.fixes(trackers.ids[protocol])) == count, protocol
        assert server.setting.quarantined(trackers.ids[protocol]) == []


def test_a_renewed_credential_stops_working_at_once_in_a_process_that_knew_it(server: Server) -> None:
    """The announcement reaches a process that has just seen the old one and remembers it."""
    device = server.device("overland")
    token = device["provisioning"]["token"]

    def status(shown: str) -> int:
        headers = {"Authorization": f"Bearer {shown}"}
        return httpx.get(f"{server.url}/gateway/overland", headers=headers, timeout=20).status_code

    assert [status(token) for _ in range(3)] == [200, 200, 200]
    renewed = server.post(f"/api/v1/desk/devices/{device['id']}/renew").json()["provisioning"]["token"]
    assert wait_until(lambda: status(token) == 401, 5, every_s=0.02) < 1
    assert status(renewed) == 200
    assert server.post(f"/api/v1/desk/devices/{device['id']}/revoke", {}).status_code == 200
    assert wait_until(lambda: status(renewed) == 401, 5, every_s=0.02) < 1


def test_a_chunked_body_is_read_and_an_endless_one_is_413(server: Server) -> None:
    """F71: over a real connection, where nobody says how long the body is."""
    token = server.device("overland")["provisioning"]["token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def parts(count: int) -> Iterator[bytes]:
        yield b'{"locations": ['
        for _ in range(count):
            yield b" " * 65_536
        yield b"]}"

    answer = httpx.post(f"{server.url}/gateway/overland", content=parts(3), headers=headers, timeout=20)
    assert (answer.status_code, answer.content) == (200, b'{"result":"ok"}')
    try:
        answer = httpx.post(
            f"{server.url}/gateway/overland", content=parts(2000), headers=headers, timeout=20
        )
        assert answer.status_code == 413
    except httpx.HTTPError:
        pass  # The answer may be lost when the server closes while the client still sends.
    answer = httpx.get(f"{server.url}/gateway/overland", headers=headers, timeout=20)
    assert answer.status_code == 200
