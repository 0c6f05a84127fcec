"""Tables of a document as PDF (A4) or as an XLSX workbook, a sheet for each table. Made in ``pages``' child process."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from backend.adapters import pages
from backend.adapters.pages import LIMITS, Limits

Cell = str | int | float | None
Format = Literal["pdf", "xlsx"]
MEDIA_TYPES: dict[Format, str] = {
    "pdf": "application/pdf",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
BEGINS: dict[Format, bytes] = {"pdf": b"%PDF-", "xlsx": b"PK\x03\x04"}
SHEET_NAME_MOST, CELL_MOST = 31, 32_767
"""So many characters a workbook's program takes."""

STYLE = """
@page { size: A4; margin: 14mm 12mm; @bottom-right { content: counter(page) " / " counter(pages); font-size: 8pt } }
body { margin: 0; color: #000; font: 9pt/1.45 "Noto Sans CJK SC", "Noto Sans SC", sans-serif }
h1 { font-size: 16pt; margin: 0 0 1mm } h2 { font-size: 11pt; margin: 6mm 0 1.5mm; page-break-after: avoid }
p { margin: 0 0 1.5mm; color: #333 }
table { border-collapse: collapse; width: 100% } thead { display: table-header-group }
th, td { border: 0.2mm solid #999; padding: 0.8mm 1.4mm; text-align: left; vertical-align: top }
th, td { overflow-wrap: anywhere }
th { background: #eee } td.n { text-align: right } tr { page-break-inside: avoid }
"""


@dataclass(frozen=True)
class Table:
    """A table with its heading; ``note`` says how it is to be read, or that there is more."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str | None = None


@dataclass(frozen=True)
class Sheets:
    """A document: its title, lines below it, and its tables."""

    title: str
    locale: str
    lines: Sequence[str] = ()
    tables: Sequence[Table] = field(default_factory=list)


def make(document: Sheets, format_: Format, *, limits: Limits = LIMITS) -> bytes:
    """Return the document as a file.

    Raises:
        Unavailable: as ``pages.make``.
    """
    given = {"format": format_, "document": asdict(document)}
    return pages.make(__name__, given, BEGINS[format_], limits=limits)


def render(given: dict[str, Any]) -> bytes:
    """Make the document that is given as JSON; in the child process alone."""
    told = given["document"]
    document = Sheets(told["title"], told["locale"], told["lines"], [Table(**one) for one in told["tables"]])
    return pages.pdf(_markup(document)) if given["format"] == "pdf" else _workbook(document)


def _markup(document: Sheets) -> str:
    return (
        f'<!doctype html><html lang="{html.escape(document.locale)}"><meta charset="utf-8">'
        f"<title>{html.escape(document.title)}</title><style>{STYLE}</style><body>"
        f"<h1>{html.escape(document.title)}</h1>"
        + "".join(f"<p>{html.escape(line)}</p>" for line in document.lines)
        + "".join(_table(one) for one in document.tables)
        + "</body></html>"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    note = f"<p>{html.escape(table.note)}</p>" if table.note else ""
    if not table.rows and note:
        return f"<h2>{html.escape(table.name)}</h2>{note}"
    return f"<h2>{html.escape(table.name)}</h2>{note}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Cell) -> str:
    number = isinstance(value, int | float)
    return f"<td{' class=n' if number else ''}>{'' if value is None else html.escape(str(value))}</td>"


def _workbook(document: Sheets) -> bytes:
    import xlsxwriter

    file = io.BytesIO()
    # Nothing that people have typed is taken for a formula, a link or a number; rows are written as they come.
    options = {
        "constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False,
    }  # fmt: skip
    with xlsxwriter.Workbook(file, options) as workbook:
        bold, wrapped = workbook.add_format({"bold": True}), workbook.add_format({"text_wrap": True})
        used: set[str] = set()
        for table in document.tables:
            sheet = workbook.add_worksheet(_sheet_name(table.name, used))
            sheet.set_column(0, max(0, len(table.columns) - 1), 22, wrapped)
            lines = [document.title, *document.lines, table.name, *([table.note] if table.note else [])]
            for number, line in enumerate(lines):
                sheet.write_string(number, 0, line[:CELL_MOST])
            for column, name in enumerate(table.columns):
                sheet.write_string(len(lines), column, name[:CELL_MOST], bold)
            for number, row in enumerate(table.rows, len(lines) + 1):
                for column, value in enumerate(row):
                    if isinstance(value, str):
                        sheet.write_string(number, column, value[:CELL_MOST])
                    elif value is not None:
                        sheet.write_number(number, column, value)
    return file.getvalue()


def _sheet_name(name: str, used: set[str]) -> str:
    """Return a name as a workbook's program takes it: short, without some characters, and no other sheet's."""
    plain = "".join(" " if character in "[]:*?/\\'" else character for character in name)
    short = wanted = plain[:SHEET_NAME_MOST].strip() or "-"
    number = 2
    while short.lower() in used:
        short, number = f"{wanted[: SHEET_NAME_MOST - 4]} {number}", number + 1
    used.add(short.lower())
    return short
