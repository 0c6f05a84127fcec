"""One installation run as people run it, for tests: `xungeng serve` as a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(what: Callable[[], object], timeout_s: float = 30.0, every_s: float = 0.1) -> float:
    """Wait for a condition; answers how long it took."""
    began = time.monotonic()
    while not what():
        if time.monotonic() - began > timeout_s:
            raise AssertionError(f"Not so after {timeout_s} s: {what}")
        time.sleep(every_s)
    return time.monotonic() - began


class Installation:
    """A data folder and port of its own, and the server on them when it runs."""

    def __init__(self, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="xg-run-", dir="/tmp"))
        self.folder.chmod(0o711)
        self.data = self.folder / "var"
        self.port = free_port()
        self.settings = {"XUNGENG_DEMO": "0", **settings}
        self.process: subprocess.Popen[bytes] | None = None
        self.output = self.folder / "output"

    @property
    def environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("XUNGENG_", "DATABASE_")) and name != "PORT"
        }
        return inherited | {
            "XUNGENG_DATA": str(self.data),
            "PORT": str(self.port),
            "XUNGENG_HOST": "127.0.0.1",
            "PYTHONPATH": str(ROOT),
            **self.settings,
        }

    def command(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run ``xungeng ARGUMENTS`` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "backend.cli", *arguments],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self, *arguments: str, timeout_s: float = 180) -> float:
        """Run ``xungeng serve`` and wait until it says that it runs; answers the seconds that took."""
        with open(self.output, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "backend.cli", "serve", *arguments],
                cwd=ROOT, env=self.environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        before = self.said().count("is running")

        def has_started() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"The server ended with {self.process.returncode}: {self.said()}")
            return self.said().count("is running") > before

        return wait_until(has_started, timeout_s, every_s=0.05)

    def said(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=10)

    def answers(self) -> bool:
        try:
            return self.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def interrupt(self, number: signal.Signals = signal.SIGINT, timeout_s: float = 30) -> int:
        """Send the signal and wait for the end; answers the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def processes(self, containing: str = "") -> dict[int, str]:
        """Every living process of this installation by pid, those whose command line contains the text."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = (entry / "environ").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            ours = f"XUNGENG_DATA={self.data}\0".encode() in environment or str(self.data) in command
            # A session of PostgreSQL overwrites both, but works in the cluster's folder.
            try:
                ours = ours or str(self.data) in os.readlink(entry / "cwd")
            except OSError:
                pass
            if ours and state != "Z" and containing in command:
                found[int(entry.name)] = command
        return found

    def wait_gone(self, timeout_s: float = 30) -> float:
        """Wait until no process is left; answers how long it took."""
        try:
            return wait_until(lambda: not self.processes(), timeout_s)
        except AssertionError:
            raise AssertionError(f"Still there: {self.processes()}\n{self.said()[-3000:]}") from None

    def cpu_s(self) -> float:
        """Processor time that the living processes, and those they waited for, have used."""
        ticks = 0
        for pid in self.processes():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            ticks += sum(int(field) for field in fields[11:15])
        return ticks / os.sysconf("SC_CLK_TCK")

    def one(self, containing: str) -> int:
        """The oldest process whose command line contains the text."""
        return min(self.processes(containing))

    def remove(self) -> None:
        """End whatever is left, and forget the data."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        deadline = time.monotonic() + 15
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
