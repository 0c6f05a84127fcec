"""The processes that ``xungeng serve`` keeps running, and how each kind is started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from backend.core.config import Config
from backend.embedded.cluster import dies_with_parent

FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 30.0
STEADY_AFTER_S = 60.0
"""A child that ran this long is forgiven its earlier deaths."""
ROOT = Path(__file__).resolve().parents[1]


def backoff_s(deaths: int) -> float:
    """How long to wait after so many deaths in a row."""
    return min(FIRST_BACKOFF_S * 2 ** (deaths - 1), LONGEST_BACKOFF_S)


@dataclass
class Child:
    """A process that is kept running."""

    name: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    grace_s: float = 10.0
    when_orphaned: signal.Signals = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    deaths: int = 0
    not_before: float = 0.0
    asked: bool = False

    def start(self) -> None:
        self.asked = False
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env={**os.environ, **self.environment, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            pass_fds=self.descriptors,
            # A session of its own: Ctrl-C in the terminal is the supervisor's to pass on, in order.
            start_new_session=True,
            preexec_fn=dies_with_parent(self.when_orphaned),
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
        self.not_before = now + backoff_s(self.deaths)
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


def shared_figures(processes: int, folder: Path) -> dict[str, str]:
    """The environment in which several processes of one machine tell each other's figures at ``/metrics``."""
    if processes < 2:
        return {}
    from backend.core import metrics

    return metrics.shared_in(folder)
