"""``xungeng serve``: starts everything, watches it, stops everything.

The supervisor is small on purpose: it holds the lock on the data folder and the listening socket, and runs the rest
as children (PostGIS, web, worker, simulation). A child that dies is started again, later each time; the listening
socket outlives the web process, so a restart refuses nobody. When the supervisor itself is killed, the kernel tells
the children (``PR_SET_PDEATHSIG``).
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psycopg

from backend.core.config import Config, ConfigError
from backend.embedded.cluster import Cluster, dies_with_parent, locked
from backend.serve_banner import banner
from backend.serve_children import ROOT, Child, backoff_s, ingest_command, shared_figures, web_command
from backend.serve_listening import ca_port, is_ready, listen, listening, local_url

HOPELESS_STARTS = 3
READY_WITHIN_S = 180.0
TLS_CHECK_EVERY_S = 3600.0


class Interrupted(BaseException):
    """Somebody asked for the end while something was still being started."""


class Supervisor:
    """Runs an installation until it is told to stop."""

    def __init__(self, config: Config, *, simulate: bool = True) -> None:
        self.config = config
        self.simulate = simulate and config.demo and config.simulate_officers > 0
        self.cluster = Cluster(config.data_dir) if config.embedded else None
        self.children: list[Child] = []
        self.stops_asked = 0
        self.cluster_retry_at = 0.0
        self.cluster_deaths = 0
        self.next_tls_check = time.monotonic() + TLS_CHECK_EVERY_S
        self.certificate_stamp = _stamp(config.tls_cert or config.data_dir / "tls" / "server.crt")
        self.starting = True

    # --- start ----------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Serve until SIGINT, SIGTERM or SIGHUP; the answer is the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        _raise_file_limit()
        lock = self.config.data_dir / "serve.lock"
        busy = (
            f"Another server is running on the data folder {self.config.data_dir}: stop it, or give this one another"
            " folder with XUNGENG_DATA."
        )
        try:
            with locked(lock, busy), listening(self.config.host, self.config.port) as web_socket:
                return self._serve(web_socket)
        except Interrupted:
            return 0

    def _serve(self, web_socket: socket.socket) -> int:
        serving = self.config.data_dir / "serving"
        serving.unlink(missing_ok=True)
        try:
            for log in (self.config.data_dir / "log").glob("*.log"):
                _rotate(log)
            self._start_database()
            self._prepare()
            self._start_children(web_socket)
            if not self._await_ready():
                return 1
            self.starting = False
            # For the other commands, which do not know this one's PORT and --tls.
            serving.write_text(local_url(self.config, name="localhost") + "\n")
            self._start_rest()
            say(banner(self.config))
            while not self.stops_asked:
                self._watch()
                time.sleep(0.1)
            return 0
        except Interrupted:
            return 0
        finally:
            serving.unlink(missing_ok=True)
            # From here on a signal only makes the end quicker; it interrupts nothing.
            self.starting = False
            self._stop()

    def _start_database(self) -> None:
        if self.cluster is None:
            return
        if not (self.cluster.cluster_dir / "PG_VERSION").exists():
            say("Making the private PostGIS …")
        self.cluster.initialise()
        for name, path in (("database", self.cluster.cluster_dir), ("socket", self.cluster.run_dir)):
            if self.config.data_dir not in path.parents:
                say(
                    f"The {name} is kept in {path}, because the data folder's path is closed to it or too long."
                )
        self.cluster.start()
        self.cluster.make_database()

    def _prepare(self) -> None:
        """Check, migrate and fill in a process of its own: what it imports is not carried around for ever.

        When nothing has changed since it was last done, two questions to the database save those seconds.
        """
        mark = self.config.data_dir / "prepared"
        wanted = schema_digest()
        unchanged = self.cluster is not None and mark.exists() and mark.read_text() == wanted
        if unchanged and not self.config.production and self._is_prepared():
            return
        code = self._call("prepare")
        if code:
            raise SystemExit(code)
        mark.write_text(wanted)

    def _is_prepared(self) -> bool:
        """Whether the database is the one that the mark speaks of: a schema is there, and a town where one is due."""
        from backend.core.preflight import is_empty

        try:
            return not (is_empty(self.config.owner_url) and self.config.demo)
        except psycopg.Error:
            return False

    def _call(self, *arguments: str) -> int:
        process = subprocess.Popen(
            [sys.executable, "-m", "backend.cli", *arguments],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
            start_new_session=True, preexec_fn=dies_with_parent(signal.SIGTERM),
        )  # fmt: skip
        try:
            return process.wait()
        except Interrupted:
            process.terminate()
            process.wait()
            raise

    def _start_children(self, web_socket: socket.socket) -> None:
        descriptor = web_socket.fileno()
        processes = self.config.web_processes + self.config.ingest_processes
        shared = shared_figures(processes, self.config.data_dir / "figures")
        web = Child(
            "web",
            web_command(),
            environment={"XUNGENG_LISTEN_FD": str(descriptor), **shared},
            descriptors=(descriptor,),
            grace_s=20,
        )
        self.children.append(web)
        if self.config.ingest_processes:
            self.children.append(Child("ingest", ingest_command(self.config), environment=shared))
        if self.config.tls and not self.config.tls_cert:
            self._start_ca_page()
        for child in self.children:
            child.start()

    def _start_ca_page(self) -> None:
        page_socket = listen(self.config.host, ca_port(self.config))
        ca = self.config.data_dir / "tls" / "ca.crt"
        self.children.append(
            Child(
                "ca",
                [
                    sys.executable,
                    "-m",
                    "backend.serve_ca",
                    str(page_socket.fileno()),
                    str(ca),
                    str(self.config.port),
                ],
                descriptors=(page_socket.fileno(),),
                grace_s=3,
            )
        )
        self._page_socket = page_socket  # Held for the life of the supervisor, for restarts.

    def _await_ready(self) -> bool:
        """Wait until the web process answers; False when it dies again and again instead."""
        began = time.monotonic()
        told = began
        while not is_ready(self.config):
            if self.stops_asked:
                raise Interrupted
            self._watch()
            for child in self.children:
                if child.deaths >= HOPELESS_STARTS:
                    say(
                        f"The {child.name} process does not start: it ended {child.deaths} times (see above, and"
                        f" {self.config.data_dir / 'log'}).",
                        error=True,
                    )
                    return False
            if time.monotonic() - began > READY_WITHIN_S:
                log = self.config.data_dir / "log" / "web.log"
                say(f"The web process does not become ready (see above, and {log}).", error=True)
                return False
            if time.monotonic() - told > 5:
                told = time.monotonic()
                say(f"Waiting for the web process … {told - began:.0f} s")
            time.sleep(0.3)
        return True

    def _start_rest(self) -> None:
        """Start what nobody waits for, once the web process has the machine no longer to itself."""
        from backend.demo import accounts

        # When the supervisor is killed the database goes as well, and a worker would wait for it amid a job.
        # Another one does that job again.
        worker = [sys.executable, "-m", "backend.cli", "worker"]
        rest = [Child("worker", worker, grace_s=15, when_orphaned=signal.SIGKILL)]
        if self.simulate and accounts.path(self.config).exists():
            environment = {}
            if self.config.tls and not self.config.tls_cert:
                ca = str(self.config.data_dir / "tls" / "ca.crt")
                environment = {"SSL_CERT_FILE": ca, "XUNGENG_CA_FILE": ca}
            command = [
                sys.executable, "-m", "backend.cli", "simulate", "--officers", str(self.config.simulate_officers),
                "--interval", "5", "--url", local_url(self.config), "--quiet",
            ]  # fmt: skip
            rest.append(Child("simulation", command, environment=environment, grace_s=5))
        for child in rest:
            child.start()
        self.children += rest

    # --- watch ----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._watch_database()
        for child in self.children:
            if child.has_died():
                say(f"The {child.name} process ended; starting it again.", error=True)
            if child.process is None and time.monotonic() >= child.not_before:
                child.start()
        if self.config.tls and time.monotonic() >= self.next_tls_check:
            self.next_tls_check = time.monotonic() + TLS_CHECK_EVERY_S
            self._renew_certificate()

    def _watch_database(self) -> None:
        if self.cluster is None or (self.cluster.process is not None and self.cluster.process.poll() is None):
            return
        if time.monotonic() < self.cluster_retry_at:
            return
        if self.cluster.process is not None:
            say("PostgreSQL ended; starting it again.", error=True)
        try:
            self.cluster.start()
            self.cluster_deaths = 0
        except ConfigError as error:
            self.cluster_deaths += 1
            pause = backoff_s(self.cluster_deaths + 1)
            self.cluster_retry_at = time.monotonic() + pause
            say(f"{error} The next try is in {pause:.0f} s.", error=True)

    def _renew_certificate(self) -> None:
        from backend.serve_tls import certificate_for

        try:
            certificate = certificate_for(self.config)
        except ConfigError as error:  # A given one, half replaced or expired: what is served goes on.
            say(f"{error} The next look is in an hour.", error=True)
            return
        served, self.certificate_stamp = self.certificate_stamp, _stamp(certificate.certificate)
        if self.certificate_stamp != served:
            say("The certificate was renewed; the web process takes it over.")
            for child in self.children:
                if child.name == "web" and child.process is not None:
                    child.process.send_signal(signal.SIGHUP)

    # --- stop -----------------------------------------------------------------------------------------------

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.stops_asked += 1
        if self.starting and self.stops_asked == 1:
            raise Interrupted

    def _stop(self) -> None:
        if self.stops_asked:
            # A terminal has shown ^C on this line.
            say("\nStopping …" if sys.stdout.isatty() else "Stopping …")
        # The simulated phones first, so that nobody calls while the others end; those side by side.
        first = [child for child in self.children if child.name == "simulation"]
        rest = [child for child in self.children if child.name != "simulation"]
        for group in (first, rest):
            for child in group:
                child.ask_to_stop()
            for child in group:
                if self.stops_asked > 1:  # Asked twice: at once.
                    child.grace_s = 0.5
                child.stop()
        if self.cluster is not None:
            self.cluster.stop(timeout_s=3 if self.stops_asked > 1 else 30)

    # --- what is said ---------------------------------------------------------------------------------------


def serve(config: Config, *, simulate: bool = True) -> int:
    """Run the installation; the answer is the exit code.

    Raises:
        ConfigError: something cannot be started; one sentence.
    """
    if config.tls:
        from backend.serve_tls import certificate_for

        certificate_for(config)  # Wrong files are told before anything is started.
    return Supervisor(config, simulate=simulate).run()


def schema_digest() -> str:
    """A digest of the migrations in the tree."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "migrations").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def say(text: str, *, error: bool = False) -> None:
    """Print for the person at the terminal; a terminal that is gone stops nobody."""
    with suppress(OSError):
        print(text, file=sys.stderr if error else sys.stdout, flush=True)


def _raise_file_limit() -> None:
    """A socket per supervisor's browser and per phone: the usual 1,024 descriptors are not enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _rotate(log: Path, limit_bytes: int = 20_000_000) -> None:
    if log.stat().st_size > limit_bytes:
        log.replace(log.with_suffix(".log.1"))


def _stamp(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0
