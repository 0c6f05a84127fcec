"""A process with limits, for what decodes files that came from outside.

What somebody sends may be made to fill the memory or to break the decoder. So it is decoded by a child process that may
take so much memory and processor time and no more, and is given no secret: its environment is empty. It runs as the
same user, so these are bounds on what a file may use up and no walls around whoever takes the decoder over.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BROKEN = 3
"""What the child exits with when it could not do its work: that says nothing about the file."""


@dataclass(frozen=True)
class Limits:
    """What a look may take. All but ``patience_s`` bind the child and speak against the file; that one does not."""

    memory_bytes: int = 768 * 1024 * 1024
    cpu_s: int = 30
    preview_bytes: int = 16 * 1024 * 1024
    patience_s: float = 120.0
    """By the clock on the wall: a machine that is busy with other things takes long over a good photo."""


def run(
    module: str, *arguments: str, limits: Limits, root: Path = ROOT, passed: tuple[int, ...] = ()
) -> dict[str, Any] | None:
    """Let a module of ours work in a child process; return what it tells, or None where it used up its processor time.

    Raises:
        RuntimeError: the child could not begin, took too long by the clock, or was killed by somebody else (where
            memory is short, by the kernel); nothing is known of the file.
    """
    bounds = (limits.memory_bytes, limits.cpu_s, limits.preview_bytes)
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *map(str, bounds), *arguments],
            cwd=root, env={"PYTHONPATH": str(root)}, capture_output=True, timeout=limits.patience_s, check=False,
            pass_fds=passed,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"The process of {module} took too long.") from None
    if done.returncode == -signal.SIGXCPU:
        return None
    if done.returncode != 0:
        raise RuntimeError(f"The process of {module} ended with {done.returncode}.")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def take_on(memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    """Be bound from now on: what the child does first."""
    for limit, soft, hard in (
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
        # Beyond the soft one there is a signal that nobody else sends; at the hard one it would be anybody's.
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 5),
        (resource.RLIMIT_FSIZE, file_bytes, file_bytes),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(limit, (soft, hard))
