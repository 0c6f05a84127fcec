"""Rosters from files that people have: XLSX and CSV, a row for each shift, read row by row.

The first line names the columns, in Chinese or English. A row that cannot be taken says why and stops no other. Days
and hours are the town's; a shift that ends at or before the hour at which it begins ends the next day.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from datetime import date, datetime, time
from enum import StrEnum
from typing import Final

from backend.adapters import spreadsheets
from backend.adapters.spreadsheets import Cell, SpreadsheetError
from backend.core.errors import Invalid
from backend.core.vocabulary import DutyKind
from workflows.planned_shifts import Wall

MOST_ROWS = 5000
MOST_COLUMNS = 20
LONGEST_CELL = 200

COLUMNS: Final = {
    "login": ("账号", "登录名", "login", "account"),
    "name": ("姓名", "队员", "name", "officer"),
    "day": ("日期", "day", "date"),
    "from": ("开始", "上班", "开始时间", "from", "start"),
    "until": ("结束", "下班", "结束时间", "until", "end"),
    "area": ("辖区", "area"),
    "kind": ("班别", "班次", "kind", "shift"),
    "remark": ("备注", "remark"),
}
KINDS: Final = {
    "白班": DutyKind.DAY,
    "日班": DutyKind.DAY,
    "早班": DutyKind.DAY,
    "中班": DutyKind.EVENING,
    "晚班": DutyKind.EVENING,
    "夜班": DutyKind.NIGHT,
    "备勤": DutyKind.STANDBY,
    "加班": DutyKind.EXTRA,
    **{str(kind): kind for kind in DutyKind},
}
_HEADING: Final = {word: name for name, words in COLUMNS.items() for word in words}


class Fault(StrEnum):
    """Why a row is refused."""

    NO_OFFICER = "no_officer"
    UNKNOWN_OFFICER = "unknown_officer"
    SEVERAL_OFFICERS = "several_officers"
    NAME_DIFFERS = "name_differs"
    BAD_DAY = "bad_day"
    BAD_TIME = "bad_time"
    UNKNOWN_AREA = "unknown_area"
    SEVERAL_AREAS = "several_areas"
    NO_AREA = "no_area"
    NOT_OF_AREA = "not_of_area"
    UNKNOWN_KIND = "unknown_kind"
    TOO_LONG = "too_long"
    OVER = "over"
    TWICE = "twice"
    OVERLAPS = "overlaps"


@dataclass(frozen=True)
class Row:
    """One row of a file by its number there; without a ``fault`` it has a wall time and a kind."""

    number: int
    login: str | None = None
    name: str | None = None
    area: str | None = None
    wall: Wall | None = None
    kind: DutyKind = DutyKind.DAY
    remark: str | None = None
    fault: Fault | None = None


def read(data: bytes) -> list[Row]:
    """Return the rows of a file, at most ``MOST_ROWS``; what begins like a workbook is one, all else CSV in UTF-8.

    Raises:
        Invalid: ``bad_roster``: it is no such file, it is empty, or has too many rows.
    """
    try:
        lines = _workbook(data) if data.startswith(spreadsheets.SIGNATURE) else _csv(data)
        heading = _heading(lines)
        rows = [
            _row(number, dict(zip(heading, line, strict=False)))
            for number, line in enumerate(lines[1:], 2)
            if any(_text(cell) for cell in line)
        ]
        if not rows:
            raise SpreadsheetError("The file has no shifts.")
    except SpreadsheetError as error:
        raise Invalid(str(error), "bad_roster", document=[str(error)]) from None
    return rows


def _workbook(data: bytes) -> list[list[Cell]]:
    return spreadsheets.rows(data, most_rows=MOST_ROWS + 1, most_columns=MOST_COLUMNS)


def _csv(data: bytes) -> list[list[Cell]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SpreadsheetError("The file is not in UTF-8; save it as “CSV UTF-8” or as .xlsx.") from None
    lines: list[list[Cell]] = []
    try:
        for line in csv.reader(io.StringIO(text, newline=""), strict=True):
            if len(lines) > MOST_ROWS:
                raise SpreadsheetError(f"The file has more than {MOST_ROWS} rows.")
            lines.append(list(line[:MOST_COLUMNS]))
    except csv.Error as error:
        raise SpreadsheetError(f"The file is not readable as CSV: {error}.") from None
    return lines


def _heading(lines: list[list[Cell]]) -> list[str]:
    """Return what the columns are, "" for those of which nothing is taken."""
    names = [_HEADING.get(_text(cell).lower(), "") for cell in lines[0]] if lines else []
    known = [name for name in names if name]
    if len(set(known)) < len(known):
        raise SpreadsheetError("The first line names a column twice.")
    missing = [name for name in ("day", "from", "until") if name not in known]
    if not {"login", "name"} & set(known):
        missing.insert(0, "login")
    if missing:
        wanted = ", ".join(f"{COLUMNS[name][0]} ({name})" for name in missing)
        raise SpreadsheetError(f"The first line has to name the columns; {wanted} is missing.")
    return names


def _row(number: int, cells: dict[str, Cell]) -> Row:
    said = {name: _text(cells.get(name)) for name in ("login", "name", "area", "kind", "remark")}
    row = Row(
        number, said["login"][:LONGEST_CELL] or None, said["name"][:LONGEST_CELL] or None,
        said["area"][:LONGEST_CELL] or None,
    )  # fmt: skip
    day, begins, ends = day_of(cells.get("day")), time_of(cells.get("from")), time_of(cells.get("until"))
    kind = KINDS.get(said["kind"].lower() or str(DutyKind.DAY))
    wall = Wall(day, begins, ends) if day is not None and begins is not None and ends is not None else None
    fault = None
    if row.login is None and row.name is None:
        fault = Fault.NO_OFFICER
    elif any(len(text) > LONGEST_CELL or not text.isprintable() for text in said.values()):
        fault = Fault.TOO_LONG
    elif day is None:
        fault = Fault.BAD_DAY
    elif wall is None:
        fault = Fault.BAD_TIME
    elif kind is None:
        fault = Fault.UNKNOWN_KIND
    if fault is not None or kind is None:
        return Row(number, row.login, row.name, row.area, wall, fault=fault)
    return Row(number, row.login, row.name, row.area, wall, kind, said["remark"] or None)


def _text(cell: Cell) -> str:
    """Return a cell as text; a number that is whole as people write it."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return str(cell).strip()


_DAY = re.compile(r"(\d{4})\s*[-/.年]\s*(\d{1,2})\s*[-/.月]\s*(\d{1,2})\s*日?")
_TIME = re.compile(r"(\d{1,2})\s*[:：点时]\s*(?:(\d{1,2})\s*分?)?(?::00)?")


def day_of(cell: Cell) -> date | None:
    """Return the day that a cell says: a date, or text such as 2026-12-01, 2026/12/1, 2026年12月1日."""
    if isinstance(cell, date):
        said = cell.date() if isinstance(cell, datetime) else cell
        return said if 2000 <= said.year < 2100 else None
    found = _DAY.fullmatch(_text(cell).removesuffix(" 00:00:00"))
    try:
        day = date(*map(int, found.groups())) if found else None
    except ValueError:
        return None
    return day if day is not None and 2000 <= day.year < 2100 else None


def time_of(cell: Cell) -> time | None:
    """Return the hour and minute of a cell: a time, a part of a day, or text such as 8:00, 20：30, 8点; 24:00 is 0."""
    if isinstance(cell, datetime):
        cell = cell.time()
    if isinstance(cell, time):
        return cell.replace(second=0, microsecond=0, tzinfo=None)
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        if not 0 <= cell <= 1:
            return None
        minutes = round(cell * 24 * 60)
        return time(minutes // 60 % 24, minutes % 60)
    found = _TIME.fullmatch(_text(cell))
    if found is None:
        return None
    hour, minute = int(found[1]), int(found[2] or 0)
    if (hour, minute) == (24, 0):
        hour = 0
    return time(hour, minute) if hour < 24 and minute < 60 else None
