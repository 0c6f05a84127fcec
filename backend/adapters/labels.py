"""Sheets of labels to print and put up: a QR code, a name in both languages and a code each, as PDF.

WeasyPrint lays them out, in a child process that may take so much memory and processor time and no more: a sheet of
200 takes seconds of a core, and what people have typed as names goes into a large library. The child is given no
secret, and nothing that a name says is fetched. Chinese characters are embedded as a subset of the font, so that the
sheet prints alike everywhere.
"""

from __future__ import annotations

import html
import json
import resource
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backend.core.errors import Unavailable

ROOT = Path(__file__).resolve().parents[2]
MEDIA_TYPE = "application/pdf"
A_PAGE = 8
BROKEN = 3
"""What the child exits with when WeasyPrint, Pango or memory is missing."""

STYLE = """
@page { size: A4; margin: 12mm 10mm }
* { box-sizing: border-box }
body { margin: 0; color: #000; font-family: "Noto Sans CJK SC", "Noto Sans SC", sans-serif }
table { border-collapse: collapse; table-layout: fixed; width: 190mm; page-break-after: always }
table:last-child { page-break-after: avoid }
td { width: 95mm; height: 68mm; padding: 0; border: 0.2mm dashed #999; vertical-align: middle }
.label { height: 67mm; overflow: hidden; position: relative }
svg { position: absolute; left: 4mm; top: 8mm; width: 46mm; height: 46mm }
.text { position: absolute; left: 52mm; top: 10mm; width: 40mm; overflow-wrap: anywhere }
.zh { font-size: 15pt; font-weight: bold; line-height: 1.25; max-height: 3.75em; overflow: hidden }
.en { font-size: 9pt; line-height: 1.3; max-height: 3.9em; overflow: hidden; margin-top: 1.5mm }
.code { font-size: 11pt; line-height: 1.2; max-height: 2.4em; overflow: hidden; margin-top: 3mm }
.long .zh { font-size: 10pt } .long .en { font-size: 7pt }
.how { position: absolute; left: 6mm; top: 58mm; width: 86mm; font-size: 7pt; color: #333 }
"""
HOW = "巡更点 · 请用巡更手机或微信扫码<br>Checkpoint · scan with the patrol phone or WeChat"
LONG_ZH, LONG_EN = 18, 60
"""Names of more characters are set smaller."""


@dataclass(frozen=True)
class Label:
    """What stands on a label; ``url`` is what its QR code says."""

    code: str
    zh: str
    en: str
    url: str


@dataclass(frozen=True)
class Limits:
    """What a sheet may take."""

    memory_bytes: int = 1536 * 1024 * 1024
    cpu_s: int = 60
    patience_s: float = 120.0
    """By the clock on the wall: a machine that is busy with other things takes long over a good sheet."""


LIMITS = Limits()
_one_at_a_time = threading.Lock()


def sheet(labels: Sequence[Label], *, limits: Limits = LIMITS) -> bytes:
    """Return the labels as a PDF document, eight on a page of A4, in their order.

    Sheets are made one after the other: each takes a core.

    Raises:
        Unavailable: another sheet is being made, or this one could not be: a library is missing or it took too long.
    """
    if not _one_at_a_time.acquire(timeout=20):
        raise Unavailable("Other labels are being made; please try again.", retry_after_s=10)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "backend.adapters.labels", str(limits.memory_bytes), str(limits.cpu_s)],
            cwd=ROOT, env={"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}, capture_output=True, check=False,
            input=json.dumps([asdict(label) for label in labels]).encode(), timeout=limits.patience_s,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Unavailable("The labels took too long; please try again, or with fewer.") from None
    finally:
        _one_at_a_time.release()
    if done.returncode != 0 or not done.stdout.startswith(b"%PDF-"):
        raise Unavailable("The labels could not be made; the operator’s manual says what that needs.", 60)
    return done.stdout


def _document(labels: Sequence[Label]) -> str:
    pages = [labels[first : first + A_PAGE] for first in range(0, len(labels), A_PAGE)]
    return (
        f'<!doctype html><html lang="zh-CN"><meta charset="utf-8"><title>Xungeng</title><style>{STYLE}</style><body>'
        + "".join(f"<table>{_rows(page)}</table>" for page in pages)
        + "</body></html>"
    )


def _rows(page: Sequence[Label]) -> str:
    cells = [f"<td>{_cell(label)}</td>" for label in page]
    if len(cells) % 2:
        cells.append('<td style="border: none"></td>')
    return "".join(f"<tr>{left}{right}</tr>" for left, right in zip(cells[::2], cells[1::2], strict=True))


def _cell(label: Label) -> str:
    import segno

    # Of the middle levels of error correction: a scratch or a drop of paint leaves the code readable.
    drawn = segno.make(label.url, error="q", micro=False).svg_inline(border=2, omitsize=True)
    is_long = len(label.zh) > LONG_ZH or len(label.en) > LONG_EN
    return (
        f'<div class="label{" long" if is_long else ""}">{drawn}<div class="text">'
        f'<div class="zh">{html.escape(label.zh)}</div><div class="en" lang="en">{html.escape(label.en)}</div>'
        f'<div class="code">{html.escape(label.code)}</div></div><div class="how">{HOW}</div></div>'
    )


def _nothing(url: str, *_: Any, **__: Any) -> Any:
    raise ValueError(f"Nothing is fetched for a label: {url[:60]}")


def main(arguments: list[str]) -> int:
    """Be the child: take on the limits, read the labels as JSON, and write the document."""
    memory_bytes, cpu_s = map(int, arguments)
    for limit, soft, hard in (
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 5),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(limit, (soft, hard))
    try:
        import weasyprint

        labels = [Label(**label) for label in json.load(sys.stdin)]
        document = weasyprint.HTML(string=_document(labels), url_fetcher=_nothing).write_pdf()
    except (ImportError, OSError, MemoryError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return BROKEN
    sys.stdout.buffer.write(document)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
