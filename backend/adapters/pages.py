"""Documents of many pages, made in a child process that may take so much memory and processor time and no more.

WeasyPrint lays pages out, which takes seconds of a core, and what people have typed goes into large libraries. The
child is given no secret, and nothing that a text says is fetched. Chinese characters are embedded as a subset of the
font, so that a page prints alike everywhere. What is made of what, a maker says: a module with ``render``.
"""

from __future__ import annotations

import importlib
import json
import resource
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.errors import Unavailable

ROOT = Path(__file__).resolve().parents[2]
BROKEN = 3
"""What the child exits with when WeasyPrint, Pango or memory is missing."""


@dataclass(frozen=True)
class Limits:
    """What a document may take."""

    memory_bytes: int = 1536 * 1024 * 1024
    cpu_s: int = 60
    patience_s: float = 120.0
    """By the clock on the wall: a machine that is busy with other things takes long over a good document."""


LIMITS = Limits()
_one_at_a_time = threading.Lock()


def make(maker: str, given: Any, begins: bytes, *, limits: Limits = LIMITS) -> bytes:
    """Return what ``maker``, a module's full name, makes of ``given`` (JSON): a document that begins with ``begins``.

    Documents are made one after the other: each takes a core.

    Raises:
        Unavailable: another one is being made, or this one could not be: a library is missing or it took too long.
    """
    if not _one_at_a_time.acquire(timeout=20):
        raise Unavailable("Another document is being made; please try again.", retry_after_s=10)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "backend.adapters.pages", maker, str(limits.memory_bytes), str(limits.cpu_s)],
            cwd=ROOT, env={"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}, capture_output=True, check=False,
            input=json.dumps(given).encode(), timeout=limits.patience_s,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Unavailable("The document took too long; please try again, or with less in it.") from None
    finally:
        _one_at_a_time.release()
    if done.returncode != 0 or not done.stdout.startswith(begins):
        raise Unavailable("The document could not be made; the operator’s manual says what that needs.", 60)
    return done.stdout


def pdf(markup: str) -> bytes:
    """Return a document of HTML as PDF; in the child alone."""
    import weasyprint

    made: bytes = weasyprint.HTML(string=markup, url_fetcher=_nothing).write_pdf()
    return made


def _nothing(url: str, *_: Any, **__: Any) -> Any:
    raise ValueError(f"Nothing is fetched for a document: {url[:60]}")


def main(arguments: list[str]) -> int:
    """Be the child: take on the limits, read what is given as JSON, and write the document."""
    maker, memory_bytes, cpu_s = arguments[0], int(arguments[1]), int(arguments[2])
    for limit, soft, hard in (
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 5),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(limit, (soft, hard))
    try:
        document: bytes = importlib.import_module(maker).render(json.load(sys.stdin))
    except (ImportError, OSError, MemoryError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return BROKEN
    sys.stdout.buffer.write(document)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
