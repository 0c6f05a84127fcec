"""The monthly report of a town or an area, as PDF or as a workbook."""

from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Response
from marshmallow import Schema, fields

from backend.adapters import sheets
from backend.adapters.sheets import MEDIA_TYPES, Format
from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience
from mobile_api.endpoint import Door
from mobile_api.fields import Month, line, locale
from mobile_api.files import download
from workflows import monthly_report_text, monthly_reports
from workflows.monthly_reports import MonthlyReport

blp = Door("monthly-reports", Audience.DESK, "/monthly-reports", "The monthly report of rounds.")
EXPORT = ("export", "appraisal")
Taken = tuple[MonthlyReport, str]


class DeskMonthlyReportRequestSchema(Schema):
    """Of which month and area, in which language, and why. Without an area it is the whole town."""

    month = Month(required=True)
    area_id = fields.UUID(load_default=None, allow_none=True)
    locale = locale(load_default="zh-CN")
    reason = line(
        200, least=2, required=True,
        metadata={"description": "Why you take it. It is written down: the report names people."},
    )  # fmt: skip


def _file(format_: Format, taken: Taken) -> Response:
    report, language = taken
    document = monthly_report_text.sheets(report, language, on_pages=format_ == "pdf")
    return download(
        sheets.make(document, format_), MEDIA_TYPES[format_], f"rounds-{report.month:%Y-%m}.{format_}"
    )


def _look(uow: UnitOfWork, actor: Actor, body: dict[str, Any]) -> Taken:
    language = body.pop("locale")
    return monthly_reports.look(uow, actor, **body), language


def _renders(format_: Format) -> Callable[[Taken], Response]:
    return partial(_file, format_)


@blp.look(
    "/pdf",
    may=EXPORT,
    body=DeskMonthlyReportRequestSchema,
    media=MEDIA_TYPES["pdf"],
    renders=_renders("pdf"),
    refuses=(404, 422),
)
def take_pdf(uow: UnitOfWork, actor: Actor, body: dict[str, Any]) -> Taken:
    """Return the monthly report as PDF: rounds, visits, coverage, deviations, tasks and the figures of appraisals.

    Lists have at most 200 rows. Documents are made one after the other; `503` says when to come again.
    """
    return _look(uow, actor, body)


@blp.look(
    "/xlsx",
    may=EXPORT,
    body=DeskMonthlyReportRequestSchema,
    media=MEDIA_TYPES["xlsx"],
    renders=_renders("xlsx"),
    refuses=(404, 422),
)
def take_xlsx(uow: UnitOfWork, actor: Actor, body: dict[str, Any]) -> Taken:
    """Return the monthly report as a workbook without formulas, a sheet for each table.

    Lists have at most 1000 rows.
    """
    return _look(uow, actor, body)
