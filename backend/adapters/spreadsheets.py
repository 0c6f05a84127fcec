"""Spreadsheets (XLSX) of people, read as plain cells and written without formulas.

openpyxl reads them row by row, with defusedxml, which refuses entities. What a file may unpack to is looked at in its
directory before anything of it is unpacked, and the zip module reads no more of a part than the directory says. A
formula is read as the text that it is, and never calculated; what is written is text, also where it begins like one.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any, Final

MEDIA_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MOST_PARTS = 200
MOST_UNPACKED_BYTES = 12 * 1024 * 1024
SIGNATURE: Final = b"PK\x03\x04"

Cell = str | int | float | datetime | date | time | None


class SpreadsheetError(ValueError):
    """It is no spreadsheet that is read here; the message says why."""


def rows(data: bytes, *, most_rows: int, most_columns: int) -> list[list[Cell]]:
    """Return the cells of the first sheet, ``most_rows`` and ``most_columns`` at most; empty rows stay in their places.

    Raises:
        SpreadsheetError: it is no such file, it is too large, or has too many rows.
    """
    _check_size(data)
    # Imported late: whoever reads no spreadsheet does not load it.
    import openpyxl

    try:
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=False, keep_links=False)
        sheet = book.worksheets[0]
        found: list[list[Cell]] = []
        for number, row in enumerate(sheet.iter_rows(max_col=most_columns, values_only=True)):
            if number >= most_rows:
                if any(cell is not None for cell in row):
                    raise SpreadsheetError(f"The file has more than {most_rows} rows.")
                if number >= 4 * most_rows:
                    break
                continue
            found.append([_cell(value) for value in row])
    except SpreadsheetError:
        raise
    # The library raises whatever its parts do: KeyError, TypeError and others for what is not as it should be.
    except Exception as error:
        raise SpreadsheetError("The file is not readable as an Excel workbook (.xlsx).") from error
    return found


def _check_size(data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise SpreadsheetError("The file is not readable as an Excel workbook (.xlsx).") from error
    if len(parts) > MOST_PARTS or sum(part.file_size for part in parts) > MOST_UNPACKED_BYTES:
        raise SpreadsheetError("The file is too large when unpacked.")


def _cell(value: Any) -> Cell:
    if value is None or isinstance(value, str | int | float | datetime | date | time):
        return value
    # A formula over several cells, a rich text, a span of time: as it is written.
    return str(getattr(value, "text", value))


def written(sheets: Sequence[tuple[str, Sequence[Sequence[str]]]]) -> bytes:
    """Return a workbook with these sheets, each a title and rows of text whose first is the heading."""
    import openpyxl
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for title, lines in sheets:
        sheet = book.create_sheet(title)
        for number, line in enumerate(lines, 1):
            for column, text in enumerate(line, 1):
                cell = sheet.cell(number, column)
                # Set as text: a name that begins with "=" is a name.
                cell.value, cell.data_type = text, "s"
                cell.number_format = "@"
                if number == 1:
                    cell.font = Font(bold=True)
        sheet.freeze_panes = "A2"
        for column in range(1, len(lines[0]) + 1 if lines else 1):
            sheet.column_dimensions[get_column_letter(column)].width = 18
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()
