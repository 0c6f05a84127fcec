"""Sheets of labels to print and put up: a QR code, a name in both languages and a code each, as PDF."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from backend.adapters import pages
from backend.adapters.pages import LIMITS, Limits

MEDIA_TYPE = "application/pdf"
A_PAGE = 8

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


def sheet(labels: Sequence[Label], *, limits: Limits = LIMITS) -> bytes:
    """Return the labels as a PDF document, eight on a page of A4, in their order.

    Raises:
        Unavailable: as ``pages.make``.
    """
    return pages.make(__name__, [asdict(label) for label in labels], b"%PDF-", limits=limits)


def render(given: list[dict[str, Any]]) -> bytes:
    """Make the sheet of labels that are given as JSON; in the child process alone."""
    return pages.pdf(_document([Label(**label) for label in given]))


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
