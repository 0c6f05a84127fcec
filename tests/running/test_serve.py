"""`xungeng serve`: starts everything, outlives what dies, stops everything, comes back after being killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg
import pytest

from backend.core.config import Config, libpq_url
from running.installation import ROOT, Installation, free_port, wait_until


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    """One that is started and stopped by several tests, in their order."""
    installation = Installation()
    yield installation
    installation.remove()


@pytest.fixture
def running(installation: Installation) -> Installation:
    if installation.process is None or installation.process.poll() is not None:
        installation.start()
    return installation


def assert_one_sentence(error: str) -> None:
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.strip()]
    assert len(lines) == 1, error
    assert lines[0].rstrip().endswith(".")


def rows_of(installation: Installation) -> int:
    config = Config.from_env(installation.environment)
    with psycopg.connect(libpq_url(config.owner_url)) as connection:
        row = connection.execute("select count(*) from throttles where key = 'kept'").fetchone()
    assert row is not None
    return int(row[0])


def commit_a_row(installation: Installation) -> int:
    """Commit one row more; answers how many there are now, which no kill may lessen."""
    config = Config.from_env(installation.environment)
    with psycopg.connect(libpq_url(config.owner_url), autocommit=True) as connection:
        connection.execute("insert into throttles values ('kept', clock_timestamp(), 1)")
    return rows_of(installation)


def test_the_first_start_makes_a_database_of_its_own_and_answers(installation: Installation) -> None:
    took = installation.start()
    assert installation.get("/healthz").status_code == 200
    assert installation.get("/readyz").json()["checks"] == {"database": "ok", "migrations": "ok"}
    postmaster = installation.one("listen_addresses=")
    if os.geteuid() == 0:
        assert Path(f"/proc/{postmaster}").stat().st_uid != 0
    print(f"first start: {took:.1f} s")


def test_a_second_server_on_the_same_folder_is_refused_in_one_sentence(running: Installation) -> None:
    before, running.settings["PORT"] = running.settings.get("PORT"), str(free_port())
    try:
        refused = running.command("serve")
    finally:
        del running.settings["PORT"]
    assert before is None
    assert refused.returncode == 1
    assert_one_sentence(refused.stderr)
    assert "Another server" in refused.stderr
    assert running.answers()


def test_ctrl_c_leaves_no_process_and_the_second_start_is_quick(running: Installation) -> None:
    committed = commit_a_row(running)
    assert running.interrupt() == 0
    assert running.processes() == {}
    prepared, said = (running.data / "prepared").stat().st_mtime_ns, running.said()
    took = running.start()
    print(f"second start: {took:.1f} s, {running.cpu_s():.1f} s of processor time")
    # How long the rest takes is the machine's matter; what takes long and is done already is not done again.
    assert (running.data / "prepared").stat().st_mtime_ns == prepared
    assert "Making the private PostGIS" in said
    assert said.splitlines().count("Stopping …") == 1
    assert "Making the private PostGIS" not in running.said()[len(said) :]
    assert rows_of(running) == committed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_other_ways_to_end_it_are_as_clean(running: Installation, number: signal.Signals) -> None:
    assert running.interrupt(number) == 0
    assert running.processes() == {}


def test_killed_hard_it_leaves_no_process_and_recovers(running: Installation) -> None:
    """F04: the supervisor dies without a word; the kernel tells its children."""
    committed = commit_a_row(running)
    assert running.process is not None
    wait_until(lambda: running.processes("backend.cli worker"))
    # As one in the middle of a job, whose database goes away with the supervisor: it cannot end in order.
    os.kill(running.one("backend.cli worker"), signal.SIGSTOP)
    running.process.kill()
    running.process.wait()
    took = running.wait_gone()
    print(f"children gone after {took:.1f} s")
    running.start()
    assert running.answers()
    assert rows_of(running) == committed


def test_everything_killed_hard_at_once_it_recovers(running: Installation) -> None:
    """F03: a power cut as far as processes are concerned: stale pid and lock files everywhere."""
    committed = commit_a_row(running)
    assert running.process is not None
    os.kill(running.process.pid, signal.SIGSTOP)  # It shall not start again what is killed.
    for pid in running.processes():
        if pid != running.process.pid:
            with suppress(ProcessLookupError):  # Sessions of the database end when their client does.
                os.kill(pid, signal.SIGKILL)
    running.process.kill()
    running.process.wait()
    running.wait_gone(15)
    assert (running.data / "postgres" / "data" / "postmaster.pid").exists()
    running.start()
    assert running.answers()
    assert rows_of(running) == committed


@pytest.mark.parametrize("name", ["gunicorn", "backend.cli worker"])
def test_a_killed_child_is_started_again(running: Installation, name: str) -> None:
    assert running.process is not None
    before = set(running.processes(name))
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: set(running.processes(name)) - before, 20)
    wait_until(running.answers, 30)
    assert running.process.poll() is None


def test_a_killed_postgresql_is_started_again_and_the_web_process_finds_it(running: Installation) -> None:
    """F03/F04: the postmaster dies; its sessions end; the pool connects anew."""
    committed = commit_a_row(running)
    assert running.process is not None
    os.kill(running.one("listen_addresses="), signal.SIGKILL)

    def is_back() -> bool:
        # That it is ready is remembered for a second: the rows say that it is.
        try:
            return running.answers() and rows_of(running) == committed
        except psycopg.OperationalError:
            return False

    took = wait_until(is_back, 30)
    print(f"answering again after {took:.1f} s")
    assert running.process.poll() is None


def test_a_reused_process_number_in_a_stale_pid_file_stops_nobody(running: Installation) -> None:
    """After a reboot the dead postmaster's number may be anybody's."""
    pid_file = running.data / "postgres" / "data" / "postmaster.pid"
    text = pid_file.read_text()
    running.interrupt()
    stranger = os.getpid()
    pid_file.write_text(str(stranger) + text[text.index("\n") :])
    if os.geteuid() == 0:
        os.chown(pid_file, pid_file.parent.stat().st_uid, pid_file.parent.stat().st_gid)
    running.start()
    assert running.answers()


def test_a_taken_port_is_one_sentence() -> None:
    installation = Installation()
    try:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            installation.port = other.getsockname()[1]
            refused = installation.command("serve")
        assert refused.returncode == 1
        assert_one_sentence(refused.stderr)
        assert f"Port {installation.port} is taken" in refused.stderr
        assert not (installation.data / "postgres").exists(), "nothing was made before the port was had"
    finally:
        installation.remove()


@pytest.mark.parametrize("command", [("serve",), ("migrate", "up"), ("check",)])
def test_an_unreachable_database_is_one_sentence(command: tuple[str, ...]) -> None:
    """F80: it does not start half."""
    address = f"postgresql://nobody:geheim@127.0.0.1:{free_port()}/town"
    installation = Installation(DATABASE_URL=address)
    try:
        refused = installation.command(*command)
        assert refused.returncode == 1
        assert_one_sentence(refused.stderr)
        assert "town at 127.0.0.1" in refused.stderr
        assert "geheim" not in refused.stderr
        assert not installation.processes()
    finally:
        installation.remove()


def test_over_https_it_serves_with_its_own_ca_and_hands_that_out() -> None:
    installation = Installation(XUNGENG_CA_PORT=str(free_port()))
    try:
        installation.start("--tls", "--no-simulation")
        page = f"http://127.0.0.1:{installation.settings['XUNGENG_CA_PORT']}"
        der = httpx.get(f"{page}/ca.crt").content
        trusting = ssl.create_default_context(cadata=der)
        assert httpx.get(f"https://localhost:{installation.port}/healthz", verify=trusting).status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"https://localhost:{installation.port}/healthz", verify=ssl.create_default_context())
        assert "Traceback" not in installation.said(), "a client that does not trust us is no fault"
        help_page = httpx.get(f"{page}/ca").text
        fingerprint = re.search(r"\b(?:[0-9A-F]{2}:){31}[0-9A-F]{2}\b", installation.said())
        assert "证书" in help_page
        assert fingerprint is not None
        assert fingerprint.group() in help_page
        elsewhere = httpx.get(f"{page}/officer/")
        assert elsewhere.status_code == 307
        assert elsewhere.headers["Location"] == f"https://127.0.0.1:{installation.port}/officer/"
        assert installation.interrupt() == 0
        assert not installation.processes()
    finally:
        installation.remove()


def test_ctrl_c_ends_https_quietly_while_clients_are_still_agreeing_on_tls() -> None:
    """A phone that opens a connection and says nothing is in the middle of that; so is one that says half of it."""
    installation = Installation(XUNGENG_TLS="1")
    clients: list[socket.socket] = []
    try:
        installation.start("--no-simulation")
        for said in (b"", b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01"):
            client = socket.create_connection(("127.0.0.1", installation.port), timeout=10)
            client.sendall(said)
            clients.append(client)
        assert installation.interrupt() == 0
        assert not installation.processes()
        log = installation.data / "log" / "web.log"
        told = installation.said() + (log.read_text(encoding="utf-8") if log.exists() else "")
        assert "Traceback" not in told
        assert "AttributeError" not in told
    finally:
        for client in clients:
            client.close()
        installation.remove()


def test_a_connection_that_agrees_on_tls_after_the_end_is_closed_and_one_before_it_is_served() -> None:
    """gevent forgets what serves when its server is closed; the connection that comes then finds nothing to call."""
    program = """
import socket
from backend.serve_worker import EndingServer

class Server(EndingServer):
    def wrap_socket(self, plain, **_arguments):
        return plain

served = []
server = Server(("127.0.0.1", 0), lambda client, address: served.append(address))
server.ssl_args = {}
for number in range(2):
    ours, theirs = socket.socketpair()
    server.wrap_socket_and_handle(theirs, number)
    assert theirs.fileno() == -1 and ours.recv(1) == b"", "closed"
    if number == 0:
        del server.handle
assert served == [0], served
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "XUNGENG_DATA": os.environ.get("TMPDIR", "/tmp")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A Redis of this test's own."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd="/tmp")
    try:
        wait_until(lambda: is_listening(port), 15)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(10)


def test_in_production_several_web_and_ingest_processes_serve_and_outlive_one_of_them(redis_url: str) -> None:
    ingest_port = free_port()
    installation = Installation(
        XUNGENG_MODE="production",
        XUNGENG_REDIS_URL=redis_url,
        XUNGENG_WEB_PROCESSES="2",
        XUNGENG_INGEST_PROCESSES="1",
        XUNGENG_INGEST_PORT=str(ingest_port),
    )
    fixes = f"http://127.0.0.1:{ingest_port}/api/v1/officer/fixes"

    def ingest_answers() -> bool:
        try:
            return httpx.post(fixes, json={}).status_code == 401
        except httpx.HTTPError:
            return False

    try:
        installation.start()
        assert len(installation.processes("gunicorn")) == 3  # The master and two workers.
        wait_until(ingest_answers, 60)
        for _request in range(12):
            assert installation.get("/api/v1/public/nothing").status_code == 404
        urls = (f"http://127.0.0.1:{installation.port}", f"http://127.0.0.1:{ingest_port}")
        told = [httpx.get(f"{url}/metrics").text for url in urls for _scrape in range(4)]
        for one in told:
            asked = [
                line
                for line in one.splitlines()
                if line.startswith("xungeng_requests_total") and '"404"' in line
            ]
            assert sum(float(line.split()[-1]) for line in asked) == 12, (
                "whoever answers tells the figures of all"
            )
            assert "xungeng_sockets 0.0" in one
        os.kill(installation.one("granian"), signal.SIGKILL)
        wait_until(ingest_answers, 60)
        log = [json.loads(line) for line in installation.said().splitlines() if line.startswith("{")]
        assert log, "production logs JSON to standard output"
        assert installation.interrupt(timeout_s=60) == 0
        assert installation.processes() == {}
    finally:
        installation.remove()
