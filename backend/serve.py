"""``xungeng serve``: starts everything, watches it, stops everything.

The supervisor is small on purpose: it holds the lock on the data folder and the listening socket, and runs the rest
as children (PostGIS, web, worker, simulation). A child that dies is started again, later each time; the listening
socket outlives the web process, so a restart refuses nobody. When the supervisor itself is killed, the kernel tells
the children (``PR_SET_PDEATHSIG``).
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import psycopg

from backend.core.config import Config, ConfigError
from backend.embedded.cluster import Cluster, dies_with_parent, locked

FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 30.0
STEADY_AFTER_S = 60.0
"""A child that ran this long is forgiven its earlier deaths."""
HOPELESS_STARTS = 3
READY_WITHIN_S = 180.0
TLS_CHECK_EVERY_S = 3600.0
_ROOT = Path(__file__).resolve().parents[1]


class Interrupted(BaseException):
    """Somebody asked for the end while something was still being started."""


@dataclass
class Child:
    """A process that is kept running."""

    name: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    grace_s: float = 10.0
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    deaths: int = 0
    not_before: float = 0.0
    asked: bool = False

    def start(self) -> None:
        self.asked = False
        self.process = subprocess.Popen(
            self.command,
            cwd=_ROOT,
            env={**os.environ, **self.environment, "PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            pass_fds=self.descriptors,
            # A session of its own: Ctrl-C in the terminal is the supervisor's to pass on, in order.
            start_new_session=True,
            preexec_fn=dies_with_parent(signal.SIGTERM),
        )
        self.started_at = time.monotonic()

    def has_died(self) -> bool:
        """Whether it ended by itself; if so, when it may be started again is set."""
        if self.process is None or self.process.poll() is None:
            return False
        self._end_group(self.process.pid)
        now = time.monotonic()
        if now - self.started_at > STEADY_AFTER_S:
            self.deaths = 0
        self.deaths += 1
        self.not_before = now + min(FIRST_BACKOFF_S * 2 ** (self.deaths - 1), LONGEST_BACKOFF_S)
        self.process = None
        return True

    def ask_to_stop(self) -> None:
        """Send SIGTERM; :meth:`stop` waits for the end."""
        if self.process is not None and not self.asked:
            self.asked = True  # Once: to some a second signal means to drop everything.
            with suppress(ProcessLookupError):
                self.process.terminate()

    def stop(self) -> None:
        """Have it ended when this returns: by itself within its grace, or else by force."""
        self.ask_to_stop()
        process, self.process = self.process, None
        if process is None:
            return
        try:
            process.wait(self.grace_s)
        except subprocess.TimeoutExpired:
            pass
        self._end_group(process.pid)
        process.wait()

    @staticmethod
    def _end_group(pid: int) -> None:
        """End what is left of it: workers whose master was killed would go on and share the port."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


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
            say(self.banner())
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
            cwd=_ROOT, env={**os.environ, "PYTHONPATH": str(_ROOT)}, stdin=subprocess.DEVNULL,
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
        web = Child(
            "web",
            web_command(),
            environment={"XUNGENG_LISTEN_FD": str(descriptor)},
            descriptors=(descriptor,),
            grace_s=20,
        )
        self.children.append(web)
        if self.config.ingest_processes:
            self.children.append(Child("ingest", ingest_command(self.config)))
        if self.config.tls and not self.config.tls_cert:
            self._start_ca_page()
        for child in self.children:
            child.start()

    def _start_ca_page(self) -> None:
        port = self.ca_port()
        page_socket = listen(self.config.host, port)
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

    def ca_port(self) -> int:
        """Where the page that hands out the CA is served, on plain HTTP."""
        return self.config.ca_port or self.config.port + 1

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
        rest = [Child("worker", [sys.executable, "-m", "backend.cli", "worker"], grace_s=15)]
        if self.simulate and accounts_path(self.config).exists():
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
            pause = min(FIRST_BACKOFF_S * 2**self.cluster_deaths, LONGEST_BACKOFF_S)
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

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.stops_asked += 1
        if self.stops_asked == 1 and number == signal.SIGINT and sys.stdout.isatty():
            say("\nStopping …")
        if self.starting and self.stops_asked == 1:
            raise Interrupted

    def _stop(self) -> None:
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

    def banner(self) -> str:
        """Where to look and how to sign in."""
        config = self.config
        here = local_url(config, name="localhost")
        lines = ["", "  巡更 Xungeng is running.", "", f"    Desk      指挥席    {here}/desk/"]
        lines.append(f"    Officers  巡逻队员  {here}/officer/")
        outside = config.public_url or next(iter(_reachable_urls(config)), None)
        if outside:
            lines.append(f"    From other machines and phones: {outside}/")
        lines.append(f"    API       {here}/api/docs")
        lines += self._account_lines()
        lines += self._security_lines()
        lines += ["", "  Ctrl-C stops everything.", ""]
        return "\n".join(lines)

    def _account_lines(self) -> list[str]:
        try:
            accounts = json.loads(accounts_path(self.config).read_text())
        except (OSError, ValueError):
            return []
        lines = ["", "  Sign in to the demo town (made for this installation alone):"]
        for role in ("supervisor", "desk", "admin"):
            account = accounts.get(role)
            if account:
                lines.append(f"    {role:<11} {account['login']:<18} {account['password']}")
        for officer in accounts.get("officers", [])[:1]:
            lines.append(f"    {'officer':<11} {officer['login']:<18} {officer['password']}")
        lines.append("    all of them, with the trackers' credentials: script/xungeng demo accounts")
        return lines

    def _security_lines(self) -> list[str]:
        config = self.config
        if config.tls and not config.tls_cert:
            return self._trust_lines()
        if not config.secure and config.host not in ("127.0.0.1", "localhost", "::1"):
            return [
                "",
                "  Plain HTTP: beyond localhost browsers switch off geolocation (定位), the wake lock (屏幕常亮),",
                "  the camera (相机), and service workers with installation and offline use (离线使用与安装).",
                "  For phones start with: script/server --tls",
            ]
        return []

    def _trust_lines(self) -> list[str]:
        import io

        import segno

        from backend.serve_tls import certificate_for, local_addresses

        host = next(iter(self.config.hostnames), None) or next(iter(local_addresses()), "localhost")
        url = f"http://{_bracketed(host)}:{self.ca_port()}/ca"
        drawn = io.StringIO()
        segno.make(url, error="m", micro=False).terminal(out=drawn, compact=True, border=2)
        return [
            "",
            "  HTTPS with this installation's own CA. Phones fetch and trust it once (扫码信任证书):",
            f"    {url}",
            *("    " + line for line in drawn.getvalue().splitlines()),
            "  SHA-256 of the CA, to compare on the phone before trusting it:",
            f"    {certificate_for(self.config).fingerprint}",
        ]


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
    for path in sorted((_ROOT / "migrations").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def web_command() -> list[str]:
    """How the web processes are started; they read their settings themselves."""
    return [sys.executable, "-m", "gunicorn", "-c", "python:backend.serve_gunicorn", "backend.wsgi:app"]


def ingest_command(config: Config) -> list[str]:
    """How the ingest processes are started: the hot routes alone, on a server that carries more of them."""
    return [
        sys.executable, "-m", "granian", "--interface", "rsgi", "--host", config.host, "--port",
        str(config.ingest_port), "--workers", str(config.ingest_processes), "--log-level", "warning", "--no-ws",
        "--respawn-failed-workers", "--respawn-interval", "0.5", "backend.wsgi:ingest",
    ]  # fmt: skip


def say(text: str, *, error: bool = False) -> None:
    """Print for the person at the terminal; a terminal that is gone stops nobody."""
    with suppress(OSError):
        print(text, file=sys.stderr if error else sys.stdout, flush=True)


def accounts_path(config: Config) -> Path:
    """Where the demo town's credentials are kept for showing (0600)."""
    return config.secrets_dir / "demo-accounts.json"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigError: the port is taken, needs root, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(2048)
    except OSError as error:
        found.close()
        raise ConfigError(_no_port(host, port, error)) from None
    return found


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """The socket of :func:`listen`, closed at the end."""
    found = listen(host, port)
    try:
        yield found
    finally:
        found.close()


def _no_port(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} is taken by another program: choose one with PORT, for example PORT={port + 100}."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} is reserved for root: choose one above 1023 with PORT."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"XUNGENG_HOST is {host}, which is not an address of this machine."
    return f"Port {port} cannot be served on: {error.strerror or error}."


def local_url(config: Config, name: str | None = None) -> str:
    """How this machine reaches its own web process."""
    scheme = "https" if config.tls else "http"
    if name is None and config.tls_cert:
        from backend.serve_tls import given_name

        name = given_name(config.tls_cert)
    host = config.host if config.host not in ("0.0.0.0", "::") else (name or "127.0.0.1")
    return f"{scheme}://{_bracketed(host)}:{config.port}"


def _reachable_urls(config: Config) -> list[str]:
    from backend.serve_tls import local_addresses

    if config.host not in ("0.0.0.0", "::"):
        return []
    scheme = "https" if config.tls else "http"
    return [
        f"{scheme}://{_bracketed(host)}:{config.port}" for host in (*config.hostnames, *local_addresses())
    ]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def is_ready(config: Config) -> bool:
    """Whether the web process answers that it can serve."""
    host = config.host if config.host not in ("0.0.0.0", "::") else "127.0.0.1"
    connection: http.client.HTTPConnection
    if config.tls:
        # It asks itself over loopback: whom the certificate names does not matter here.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, config.port, timeout=5, context=context)
    else:
        connection = http.client.HTTPConnection(host, config.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


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
