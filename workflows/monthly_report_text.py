"""The monthly report in words, in Chinese or English: the tables of which ``backend.adapters.sheets`` makes a file."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from backend.adapters.sheets import Cell, Sheets, Table
from backend.core.vocabulary import AppraisalFigure, FigureUnit, PatrolState
from workflows.appraisal_formulas import FORMULAS
from workflows.monthly_reports import Appraised, Listed, MonthlyReport

PAGE_ROWS = 200
"""So many rows of a list are set on pages; the workbook has the rest."""

WORDS: dict[str, Mapping[str, str]] = {
    "zh-CN": {
        "title": "{area} {month} 巡更月报",
        "made": "{made_by} 于 {made_at} 导出。时间均为当地时间（{zone}）。",
        "formula": "考核公式版本：{formula}。各项数字各自独立，不相加、不排名。",
        "not_appraised": "本月尚未考核。",
        "cut": "仅列出前 {shown} 条，其余请见系统或工作簿。",
        "rounds": "巡更完成情况", "what": "项目", "number_of": "次数", "planned": "计划", "completed": "已完成",
        "ended_early": "提前结束", "missed": "未巡", "cancelled": "已取消", "active": "进行中", "paused": "已暂停",
        "spontaneous": "自发巡逻", "late": "迟到开始",
        "not_done": "提前结束与未巡（含原因）", "number": "编号", "route": "路线", "state": "状态",
        "scheduled_at": "计划时间", "officer": "巡逻队员", "reason": "原因", "explanation": "队员说明",
        "visits": "打卡（按方式与存疑）", "dwell": "定位停留", "nfc": "NFC", "nfc_signed": "NFC（防复制）",
        "qr": "二维码", "to_look_at": "存疑待核", "doubtful": "核查认定存疑", "flag": "存疑：",
        "elsewhere": "位置不符", "unseen": "无轨迹佐证", "mock": "模拟定位", "impossible_speed": "速度不可能",
        "replayed": "轨迹重放", "two_places": "同时两地", "clock": "时钟不准", "tag_elsewhere": "标签在他处被读",
        "tag_repeated": "标签计数未增", "tag_unsigned": "标签签名无效",
        "coverage": "点位覆盖", "in_use": "在用点位", "visited": "有人到过", "share": "比例",
        "never": "整月无人到过的点位", "code": "编码", "name": "名称", "area": "辖区",
        "deviations": "偏离路线", "all": "合计", "explained": "已说明", "began_at": "开始", "ended_at": "结束",
        "furthest_m": "最远（米）",
        "tasks": "任务", "kind": "类别", "made_of": "新建", "closed": "办结", "overdue": "曾超时",
        "accept_s": "接单中位数（秒）", "arrive_s": "到场中位数（秒）",
        "groups": "考核数字：辖区与巡组", "officers": "考核数字：个人（按姓名）", "call_sign": "呼号",
        "draft": "草稿（可提异议）", "locked": "已锁定", "p90": "九成不超过", "unproven": "无法证明",
        "hours": "{h} 小时 {m} 分", "minutes": "{m} 分 {s} 秒", "whole_hours": "{h} 小时", "whole_minutes": "{m} 分钟",
        "how": "算法", "none": "无。",
        "outage": "大面积断网", "no_network": "没有网络", "battery": "电量耗尽", "dropout_place": "该处信号差",
        "phone_settings": "手机设置", "unknown": "无法判断",
    },
    "en": {
        "title": "{area}: rounds of {month}",
        "made": "Taken by {made_by} at {made_at}. All times are local ({zone}).",
        "formula": "Version of the formulas: {formula}. Each figure stands for itself: there is no sum and no order.",
        "not_appraised": "This month has not been appraised.",
        "cut": "The first {shown} only; the rest is in the system or the workbook.",
        "rounds": "Rounds", "what": "What", "number_of": "Number", "planned": "Planned", "completed": "Completed",
        "ended_early": "Ended early", "missed": "Missed", "cancelled": "Cancelled", "active": "Under way",
        "paused": "Paused", "spontaneous": "Spontaneous", "late": "Begun late",
        "not_done": "Ended early or missed, with reasons", "number": "Number", "route": "Route", "state": "State",
        "scheduled_at": "Planned for", "officer": "Officer", "reason": "Reason", "explanation": "Officer's word",
        "visits": "Visits, by method and doubt", "dwell": "By dwelling", "nfc": "NFC", "nfc_signed": "NFC that signs",
        "qr": "QR code", "to_look_at": "Doubts to be looked at", "doubtful": "Found doubtful", "flag": "Doubt: ",
        "elsewhere": "place does not fit", "unseen": "no track beside it", "mock": "mock location",
        "impossible_speed": "impossible speed", "replayed": "track of another day", "two_places": "two places at once",
        "clock": "clock is wrong", "tag_elsewhere": "tag read elsewhere", "tag_repeated": "tag's counter repeated",
        "tag_unsigned": "tag not signed",
        "coverage": "Coverage of checkpoints", "in_use": "In use", "visited": "Visited", "share": "Share",
        "never": "Checkpoints at which nobody was", "code": "Code", "name": "Name", "area": "Area",
        "deviations": "Deviations", "all": "All", "explained": "Explained", "began_at": "From", "ended_at": "Until",
        "furthest_m": "Farthest (m)",
        "tasks": "Tasks", "kind": "Kind", "made_of": "Made", "closed": "Done", "overdue": "Were overdue",
        "accept_s": "Median to accept (s)", "arrive_s": "Median to arrive (s)",
        "groups": "Figures of areas and crews", "officers": "Figures of officers, by name", "call_sign": "Call sign",
        "draft": "Draft (open for objections)", "locked": "Locked", "p90": "nine of ten within", "unproven": "unproven",
        "hours": "{h} h {m} min", "minutes": "{m} min {s} s", "whole_hours": "{h} h", "whole_minutes": "{m} min",
        "how": "How it is made", "none": "None.",
        "outage": "outage", "no_network": "no network", "battery": "battery empty", "dropout_place": "no signal there",
        "phone_settings": "phone's settings", "unknown": "unknown",
    },
}  # fmt: skip


def sheets(report: MonthlyReport, locale: str, *, on_pages: bool) -> Sheets:
    """Return the report in a language; ``on_pages`` it has fewer rows."""
    said = WORDS[locale]
    zone = ZoneInfo(report.time_zone)

    def at(moment: datetime | None) -> str | None:
        return None if moment is None else f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"

    def listed(
        name: str, columns: Sequence[str], found: Listed, row: Callable[[Any], Sequence[Cell]]
    ) -> Table:
        shown = found.rows[:PAGE_ROWS] if on_pages else found.rows
        is_cut = found.cut or len(shown) < len(found.rows)
        note = said["cut"].format(shown=len(shown)) if is_cut else None if shown else said["none"]
        return Table(said[name], [said[column] for column in columns], [row(one) for one in shown], note)

    month = f"{report.month:%Y-%m}"
    made = said["made"].format(made_by=report.made_by, made_at=at(report.made_at), zone=report.time_zone)
    formula = said["formula"].format(formula=report.formula) if report.formula else said["not_appraised"]
    return Sheets(
        said["title"].format(area=report.area[locale], month=month), locale, [made, formula],
        [
            _counted(said, "rounds", _rounds(report, said)),
            listed(
                "not_done", ("number", "route", "state", "scheduled_at", "officer", "reason", "explanation"),
                report.not_done,
                lambda one: (
                    one.number, one.route[locale], said[one.state], at(one.scheduled_at), one.officer, one.reason,
                    one.explanation,
                ),
            ),
            _counted(said, "visits", _visits(report, said)),
            Table(
                said["coverage"], [said["in_use"], said["visited"], said["share"]],
                [(report.checkpoints, report.visited, _share(report.visited, report.checkpoints))],
            ),
            listed(
                "never", ("code", "name", "area"), report.never_visited,
                lambda one: (one.code, one.name[locale], one.area[locale]),
            ),
            _counted(
                said, "deviations", [(said["all"], report.deviations), (said["explained"], report.deviations_explained)]
            ),
            listed(
                "deviations",
                ("number", "route", "began_at", "ended_at", "furthest_m", "officer", "explanation"),
                report.deviated,
                lambda one: (
                    one.number, one.route[locale], at(one.began_at), at(one.ended_at), round(one.furthest_m),
                    one.officer, one.explanation,
                ),
            ),
            listed(
                "tasks", ("kind", "made_of", "closed", "cancelled", "overdue", "accept_s", "arrive_s"),
                Listed(report.tasks, False),
                lambda one: (
                    one.kind[locale], one.made, one.closed, one.cancelled, one.overdue, _rounded(one.accept_s),
                    _rounded(one.arrive_s),
                ),
            ),
            *_appraised(report, said, locale, on_pages),
        ],
    )  # fmt: skip


def _counted(said: Mapping[str, str], name: str, rows: Sequence[Sequence[Cell]]) -> Table:
    return Table(said[name], [said["what"], said["number_of"]], rows)


def _rounds(report: MonthlyReport, said: Mapping[str, str]) -> list[tuple[str, int]]:
    order = (
        PatrolState.COMPLETED, PatrolState.ENDED_EARLY, PatrolState.MISSED, PatrolState.CANCELLED, PatrolState.ACTIVE,
        PatrolState.PAUSED,
    )  # fmt: skip
    return [
        (said["planned"], sum(report.rounds.values())),
        *((said[state], report.rounds[state]) for state in order),
        (said["late"], report.late),
        (said["spontaneous"], report.spontaneous),
    ]


def _visits(report: MonthlyReport, said: Mapping[str, str]) -> list[tuple[str, int]]:
    return [
        *((said[method], many) for method, many in report.visits_by_method.items()),
        *((said["flag"] + said.get(flag, flag), many) for flag, many in report.visits_flagged.items()),
        (said["to_look_at"], report.visits_to_look_at),
        (said["doubtful"], report.visits_doubtful),
    ]


def _appraised(report: MonthlyReport, said: Mapping[str, str], locale: str, on_pages: bool) -> list[Table]:
    if report.formula is None:
        return []
    rules = FORMULAS[report.formula].rules
    names = [rule.name[locale] for rule in rules.values()]

    def figures(one: Appraised) -> list[Cell]:
        by_code = {figure["code"]: figure for figure in one.figures}
        return [_figure(by_code.get(code), said) for code in rules]

    def table(
        name: str, columns: list[str], found: Listed, first: Callable[[Appraised], list[Cell]]
    ) -> Table:
        shown = found.rows[:PAGE_ROWS] if on_pages else found.rows
        is_cut = found.cut or len(shown) < len(found.rows)
        note = said["cut"].format(shown=len(shown)) if is_cut else None if shown else said["none"]
        return Table(said[name], [*columns, *names], [[*first(one), *figures(one)] for one in shown], note)

    return [
        table(
            "groups", [said["area"], said["call_sign"]], report.groups,
            lambda one: [one.name[locale] if isinstance(one.name, dict) else one.name, one.call_sign],
        ),
        table(
            "officers", [said["officer"], said["state"]], report.officers,
            lambda one: [str(one.name), said[one.state or "draft"]],
        ),
        Table(
            said["formula"].format(formula=report.formula), [said["what"], said["how"]],
            [(rule.name[locale], rule.words[locale]) for rule in rules.values()],
        ),
    ]  # fmt: skip


def _figure(figure: Mapping[str, Any] | None, said: Mapping[str, str]) -> str:
    if figure is None or figure["value"] is None:
        return "–"
    unproven = f"; {said['unproven']} {figure['unproven']:g}" if figure["unproven"] else ""
    if figure["code"] == AppraisalFigure.SILENT:
        causes = [
            f"{said[cause]} {_duration(seconds, said)}"
            for cause, seconds in (figure["by_cause"] or {}).items()
        ]
        return "; ".join([f"{_duration(figure['numerator'], said)} ({100 * figure['value']:.1f} %)", *causes])
    if figure["code"] == AppraisalFigure.DUTY:
        return _duration(figure["value"], said)
    if figure["unit"] == FigureUnit.SHARE:
        parts = f"{figure['numerator']:g}/{figure['denominator']:g}"
        return f"{100 * figure['value']:.1f} % ({parts}{unproven})"
    return f"{_duration(figure['value'], said)} ({said['p90']} {_duration(figure['p90_s'], said)}{unproven})"


def _duration(seconds: float, said: Mapping[str, str]) -> str:
    whole = round(seconds)
    if whole >= 3600:
        minutes = whole % 3600 // 60
        return said["hours" if minutes else "whole_hours"].format(h=whole // 3600, m=minutes)
    return said["minutes" if whole % 60 or not whole else "whole_minutes"].format(m=whole // 60, s=whole % 60)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _rounded(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)
