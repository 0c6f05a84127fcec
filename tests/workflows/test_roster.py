"""The roster: shifts in the town's time that never overlap, what officers ask about them, and files."""

from __future__ import annotations

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import NullPool

from backend.adapters import spreadsheets
from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, Refusal, Stale
from backend.core.identity import Actor, Membership
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import Due, Role
from backend.core.vocabulary import RosterRequestKind as K
from backend.models import Deadline, Journal, Notice, PlannedShift, RosterRequest
from tests import factories
from tests.factories import Town
from tests.rosters import make_planned
from workflows import planned_shifts, roster, roster_import, roster_requests
from workflows.planned_shifts import Wall
from workflows.roster_import import Outcome

SHANGHAI = ZoneInfo("Asia/Shanghai")
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"roster-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    uow.now = datetime.combine(uow.now.date(), time(10), SHANGHAI).astimezone(UTC)
    return uow


def plan(uow: UnitOfWork, town: Town, who: str, day: int, hours: str, **more: Any) -> PlannedShift:
    """Let the town's supervisor plan somebody so many days from today, at hours such as ``22:00-06:00``."""
    by = more.pop("by", "supervisor")
    return roster.create(
        uow, town[by].actor(), wanted(uow, town, who, day, hours, **more), command_id=new_id()
    )


def wanted(uow: UnitOfWork, town: Town, who: str, day: int, hours: str, **more: Any) -> dict[str, Any]:
    begins, ends = (time.fromisoformat(one) for one in hours.split("-"))
    area = town.areas[more.pop("area", "a")]
    wall = Wall(uow.now.astimezone(SHANGHAI).date() + day * DAY, begins, ends)
    return {
        "officer_id": town[who].id,
        "area_id": area,
        "kind": "night",
        "remark": None,
        "wall": wall,
        **more,
    }


def ask(uow: UnitOfWork, town: Town, who: str, planned: PlannedShift, **more: Any) -> RosterRequest:
    kind = K.SWAP if "colleague_id" in more else K.EXCUSE
    return roster_requests.ask(
        uow, town[who].actor(), command_id=new_id(), kind=kind, planned_id=planned.id, reason="family", **more
    )


def code_of(act: Any, *args: Any, **more: Any) -> str:
    """Say with which code an act is refused."""
    with pytest.raises(Refusal) as refused:
        act(*args, **more)
    return refused.value.code


def told(uow: UnitOfWork, town: Town, who: str) -> list[str]:
    uow.session.flush()
    rows = select(Notice.kind).where(Notice.recipient_id == town[who].id, Notice.created_at == uow.now)
    return sorted(uow.session.scalars(rows))


# --- Planned shifts


@given(
    day=st.dates(date(2024, 1, 1), date(2030, 1, 1)),
    begins=st.times(), ends=st.times(),
    zone=st.sampled_from(["Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
)  # fmt: skip
def test_a_shift_is_as_long_as_the_towns_clocks_say_and_a_night_ends_the_next_day(
    day: date, begins: time, ends: time, zone: str
) -> None:
    """Also where clocks are put forward or back; never longer than the schema admits."""
    wall = Wall(day, begins.replace(second=0, microsecond=0), ends.replace(second=0, microsecond=0))
    from_at, until_at = planned_shifts.moments(wall, ZoneInfo(zone))
    assert until_at - from_at <= planned_shifts.LONGEST
    shown = planned_shifts.wall_of(from_at, until_at, ZoneInfo(zone))
    there = planned_shifts.moments(shown, ZoneInfo(zone))
    assert shown.day == day
    if zone == "Asia/Shanghai":
        assert shown == wall
        assert there == (from_at, until_at)
        assert timedelta(0) < until_at - from_at <= DAY


def test_an_officer_is_planned_once_at_a_time_where_he_is_an_officer_and_nobody_else_plans_there(
    here: UnitOfWork, town: Town
) -> None:
    night = plan(here, town, "officer_a", 1, "22:00-06:00")
    assert (night.ends_at - night.begins_at, night.begins_at.astimezone(SHANGHAI).hour) == (
        timedelta(hours=8),
        22,
    )
    assert told(here, town, "officer_a") == ["roster.changed"]
    plan(here, town, "officer_a", 2, "06:00-14:00")  # It begins as the night ends.
    plan(here, town, "officer_a2", 1, "22:00-06:00", by="supervisor_a")
    with here.session.begin_nested() as attempt:
        here.enter_town(town.id)
        assert code_of(plan, here, town, "officer_a", 2, "05:59-07:00") == "shifts_overlap"
        attempt.rollback()
    here.enter_town(town.id)
    assert code_of(plan, here, town, "officer_b", 1, "08:00-16:00") == "invalid"  # No officer of community a.
    assert code_of(plan, here, town, "officer_a", 0, "01:00-09:00") == "invalid"  # Over already.
    assert (
        code_of(plan, here, town, "officer_b", 1, "08:00-16:00", area="b", by="supervisor_a")
        == "area_not_yours"
    )
    assert code_of(plan, here, town, "officer_a", 3, "08:00-16:00", by="desk_a") == "forbidden"
    look: dict[str, Any] = {
        "since": date.today(),
        "until": date.today() + 6 * DAY,
        "after": None,
        "limit": 50,
    }
    assert len(roster.listed(here, town["desk_a"].actor(), **look).items) == 3
    assert roster.listed(here, town["desk_b"].actor(), **look).items == []
    first = roster.listed(here, town["desk_a"].actor(), **{**look, "limit": 2})
    rest = roster.listed(
        here, town["desk_a"].actor(), **{**look, "after": [str(one) for one in first.after or ()]}
    )
    assert len({one.id for one in (*first.items, *rest.items)}) == 3
    with pytest.raises(Invalid):
        roster.listed(here, town["desk_a"].actor(), **{**look, "until": date.today() + 80 * DAY})


def test_a_planned_shift_is_changed_by_who_has_read_it_and_a_cancelled_one_frees_its_time(
    here: UnitOfWork, town: Town
) -> None:
    """Both officers are told when it goes to another; what is over stays as it was planned."""
    by, planned = town["supervisor"].actor(), plan(here, town, "officer_a", 1, "08:00-16:00")
    other = wanted(here, town, "officer_a2", 1, "09:00-17:00", kind="day", remark="门岗")
    with pytest.raises(Stale):
        roster.change(here, by, planned.id, other, version=7, command_id=new_id())
    changed = roster.change(here, by, planned.id, other, version=1, command_id=new_id())
    assert (changed.officer_id, changed.remark, changed.version) == (town["officer_a2"].id, "门岗", 2)
    assert told(here, town, "officer_a2") == ["roster.changed"]
    entry = here.session.scalars(
        select(Journal).where(Journal.subject_id == planned.id).order_by(Journal.id.desc())
    )
    assert entry.first().data == {"fields": ["officer_id", "kind", "remark", "begins_at", "ends_at"]}  # type: ignore[union-attr]
    roster.cancel(here, by, planned.id, reason="rain", command_id=new_id())
    gone = planned_shifts.read(here, planned.id).version
    assert (
        code_of(roster.change, here, by, planned.id, other, version=gone, command_id=new_id())
        == "wrong_state"
    )
    plan(here, town, "officer_a2", 1, "09:00-17:00")
    past = make_planned(here, town, town["officer_a"], here.now - 2 * DAY)
    assert code_of(roster.cancel, here, by, past.id, reason="x", command_id=new_id()) == "shift_over"
    with pytest.raises(NotVisible):
        roster.cancel(here, town["supervisor_a"].actor(), make_planned(
            here, town, town["officer_b"], area="b").id, reason="x", command_id=new_id())  # fmt: skip


# --- What officers ask


def test_a_swap_needs_the_colleague_and_then_a_supervisor_and_changes_both_shifts_at_once(
    here: UnitOfWork, town: Town
) -> None:
    mine = plan(here, town, "officer_a", 1, "22:00-06:00")
    theirs = plan(
        here, town, "officer_a2", 2, "00:00-08:00"
    )  # They overlap: one after the other would not do.
    about = {"colleague_id": town["officer_a2"].id, "wanted_id": theirs.id}
    assert code_of(ask, here, town, "officer_a2", mine) == "not_found"
    request = ask(here, town, "officer_a", mine, **about)
    assert "roster_request.asked" in told(here, town, "officer_a2")
    boss = town["supervisor_a"].actor()
    press = {"command_id": new_id()}
    assert code_of(roster_requests.approve, here, boss, request.id, **press) == "wrong_state"
    assert code_of(roster_requests.agree, here, town["officer_a"].actor(), request.id, **press) == "not_found"
    roster_requests.agree(here, town["officer_a2"].actor(), request.id, **press)
    assert told(here, town, "supervisor_a") == ["roster_request.submitted"]
    for stranger in ("desk_a", "supervisor_a"):
        seen = roster_requests.at_desk(here, town[stranger].actor(), after=None, limit=9)
        assert len(seen.items) == (stranger == "supervisor_a")
    # Who is supervisor and one of the two at once approves nothing for himself.
    both = (Membership(Role.SUPERVISOR, town.areas["a"], None, None), *town["officer_a2"].actor().memberships)
    himself = Actor(town["officer_a2"].id, town.id, None, both)
    assert code_of(roster_requests.approve, here, himself, request.id, command_id=new_id()) == "own_request"
    done = roster_requests.approve(here, boss, request.id, command_id=new_id())
    assert (done.state, done.planned.officer_id) == ("approved", town["officer_a2"].id)
    assert done.wanted is not None
    assert done.wanted.officer_id == town["officer_a"].id
    for who in ("officer_a", "officer_a2"):
        assert "roster_request.decided" in told(here, town, who)
    assert (
        code_of(roster_requests.refuse, here, boss, request.id, reason="no", command_id=new_id())
        == "wrong_state"
    )
    swaps = select(func.count()).where(Journal.action == "swap", Journal.subject_id.in_([mine.id, theirs.id]))
    assert here.session.scalar(swaps) == 2


def test_a_swap_over_two_areas_is_seen_by_both_supervisors_and_decided_by_who_has_both(
    here: UnitOfWork, town: Town
) -> None:
    """What the list offers is what the door lets through."""
    mine = make_planned(here, town, town["officer_a"])
    theirs = make_planned(here, town, town["officer_b"], area="b")
    request = RosterRequest(
        id=new_id(), town_id=town.id, kind=K.SWAP, state="asked", planned_id=mine.id, planned_version=1,
        wanted_id=theirs.id, wanted_version=1, officer_id=town["officer_a"].id, colleague_id=town["officer_b"].id,
        reason="family", asked_at=here.now, version=1,
    )  # fmt: skip
    here.session.add(request)
    here.session.flush()
    roster_requests.agree(here, town["officer_b"].actor(), request.id, command_id=new_id())
    assert told(here, town, "supervisor") == ["roster_request.submitted"]
    assert told(here, town, "supervisor_a") == []
    may = {}
    for who in ("supervisor_a", "supervisor"):
        actor = town[who].actor()
        [seen] = [
            one
            for one in roster_requests.at_desk(here, actor, after=None, limit=9).items
            if one.id == request.id
        ]
        may[who] = roster_requests.actions(actor, seen)
    assert may == {"supervisor_a": [], "supervisor": ["approve", "refuse"]}
    half = town["supervisor_a"].actor()
    assert code_of(roster_requests.approve, here, half, request.id, command_id=new_id()) == "not_found"
    done = roster_requests.approve(here, town["supervisor"].actor(), request.id, command_id=new_id())
    assert done.state == "approved"


def test_a_request_lapses_with_its_shift_and_an_excuse_frees_its_officer_even_afterwards(
    here: UnitOfWork, town: Town
) -> None:
    boss = town["supervisor"].actor()
    mine = plan(here, town, "officer_a", 1, "08:00-16:00")
    swap = ask(here, town, "officer_a", mine, colleague_id=town["officer_a2"].id)
    roster.change(
        here, boss, mine.id, wanted(here, town, "officer_a", 1, "09:00-17:00"), version=1, command_id=new_id()
    )
    assert roster_requests.read(here, swap.id).state == "lapsed"
    swap = ask(here, town, "officer_a", mine, colleague_id=town["officer_a2"].id)
    due = here.session.scalars(select(Deadline).where(Deadline.subject_id == swap.id)).one()
    assert (due.about, due.due_at) == (Due.LAPSE, roster_requests.read(here, swap.id).planned.begins_at)
    roster_requests.time_due(here, due)
    assert roster_requests.read(here, swap.id).state == "lapsed"
    ill = make_planned(here, town, town["officer_a"], here.now - DAY)
    long_ago = make_planned(here, town, town["officer_a"], here.now - 9 * DAY)
    assert code_of(ask, here, town, "officer_a", long_ago) == "shift_over"
    excuse = ask(here, town, "officer_a", ill)
    assert excuse.state == "submitted"
    assert roster_requests.askable(here, town["officer_a"].actor(), [ill, mine]) == {
        ill.id: [], mine.id: ["swap", "excuse"],
    }  # fmt: skip
    assert roster_requests.approve(here, boss, excuse.id, command_id=new_id()).planned.state == "excused"
    reasons = select(Journal.reason).where(
        Journal.subject_kind == "roster_request", Journal.reason.is_not(None)
    )
    assert list(here.session.scalars(reasons)) == []  # Why somebody is ill stands in no journal.


def test_of_two_who_approve_at_once_one_does_and_of_two_who_plan_at_once_one_has_the_time(
    live_engine: Engine, live_config: Any
) -> None:
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    town = factories.make_town(owner, "roster-live")
    owner.dispose()
    with unit_of_work(town.id) as uow:
        planned = make_planned(uow, town, town["officer_a"])
        swap = ask(uow, town, "officer_a", planned, colleague_id=town["officer_a2"].id)
        roster_requests.agree(uow, town["officer_a2"].actor(), swap.id, command_id=new_id())

    def at_once(act: Any) -> list[str]:
        def one(who: str) -> str:
            try:
                with unit_of_work(town.id) as uow:
                    act(uow, who)
            except Conflict as refusal:
                return refusal.code
            return "done"

        with ThreadPoolExecutor(4) as pool:
            return sorted(pool.map(one, ["supervisor", "supervisor_a"] * 2))

    def approve(uow: UnitOfWork, who: str) -> None:
        roster_requests.approve(uow, town[who].actor(), swap.id, command_id=new_id())

    def create(uow: UnitOfWork, who: str) -> None:
        plan(uow, town, "officer_a", 30, "08:00-16:00", by=who)

    assert at_once(approve) == ["done", *["wrong_state"] * 3]
    assert at_once(create) == ["done", *["shifts_overlap"] * 3]
    with unit_of_work(town.id) as uow, pytest.raises(IntegrityError, match="ex_planned_shifts_officer"):
        # Whoever writes past the workflow is held by the schema.
        his = select(PlannedShift).where(PlannedShift.officer_id == town["officer_a"].id)
        same = uow.session.scalars(his).first()
        assert same is not None
        make_planned(uow, town, town["officer_a"], same.begins_at)


# --- Files


def workbook(
    *rows: tuple[Any, ...],
    heading: tuple[str, ...] = ("账号", "日期", "开始", "结束", "辖区", "班别", "备注"),
) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (heading, *rows):
        sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def test_a_file_does_what_its_preview_said_and_bad_rows_stop_no_good_ones(
    here: UnitOfWork, town: Town
) -> None:
    """A formula is text; the same file again finds everything as it is; another roster by then is told."""
    by, code = town["supervisor"].actor(), town.code
    tomorrow = here.now.astimezone(SHANGHAI).date() + DAY
    there = plan(here, town, "officer_a", 2, "08:00-16:00")
    login = town["officer_a"].login
    data = workbook(
        (login, tomorrow, time(22), "6点", f"{code}-a", "夜班", "=1+1"),
        (login, datetime.combine(tomorrow + DAY, time()), "08:00", 0.75, None, "day", None),
        (login, f"{tomorrow + DAY:%Y/%m/%d}", "18:00", "19:00", None, None, None),
        ("nobody", tomorrow, "08:00", "16:00", None, None, None),
        (login, "31.12", "08:00", "16:00", None, None, None),
        (None,) * 7,
        (login, tomorrow, "23:00", "23:30", None, None, None),
        (town["officer_b"].login, tomorrow, "08:00", "16:00", f"{code}-a", None, None),
        (login, tomorrow + 3 * DAY, "=A1", "16:00", None, None, None),
        (login, date(2020, 1, 1), "08:00", "16:00", None, None, None),
    )  # fmt: skip
    seen = roster_import.preview(here, by, data)
    assert [(one.row.number, str(one.outcome), one.fault) for one in seen.rows] == [
        (2, "added", None), (3, "changed", None), (4, "added", None), (5, "refused", "unknown_officer"),
        (6, "refused", "bad_day"), (8, "refused", "twice"), (9, "refused", "not_of_area"), (10, "refused", "bad_time"),
        (11, "refused", "over"),
    ]  # fmt: skip
    count = (
        select(func.count()).select_from(PlannedShift).where(PlannedShift.officer_id == town["officer_a"].id)
    )
    assert here.session.scalar(count) == 1
    assert code_of(roster_import.keep, here, by, data, "0" * 64, command_id=new_id()) == "roster_changed"
    kept = roster_import.keep(here, by, data, seen.digest, command_id=new_id())
    assert (kept.count(Outcome.ADDED), kept.count(Outcome.CHANGED), here.session.scalar(count)) == (2, 1, 3)
    night = here.session.scalars(select(PlannedShift).where(PlannedShift.remark == "=1+1")).one()
    assert (night.ends_at - night.begins_at, night.kind) == (timedelta(hours=8), "night")
    assert planned_shifts.read(here, there.id).ends_at.astimezone(SHANGHAI).hour == 18
    again = roster_import.preview(here, by, data)
    assert (again.count(Outcome.SAME), again.count(Outcome.REFUSED)) == (3, 6)
    csv = f"login,date,from,until\n{login},{tomorrow},22:00,06:00\n".encode("utf-8-sig")
    assert (
        roster_import.preview(here, by, csv).rows[0].outcome is Outcome.CHANGED
    )  # It says nothing of the area.
    with pytest.raises(Forbidden):
        roster_import.preview(here, town["desk_a"].actor(), csv)
    filled = openpyxl.load_workbook(io.BytesIO(roster_import.template(here, by)))
    assert [cell.value for cell in filled["排班"][1]][:3] == ["账号", "姓名", "日期"]
    assert login in [row[0].value for row in filled["队员"].iter_rows(min_row=2)]


@given(words=st.lists(st.text("=+-@\t一a1", min_size=1, max_size=8), min_size=1, max_size=5))
def test_what_is_given_out_to_fill_in_has_no_formulas(words: list[str]) -> None:
    """F61: live formulas: 0, whatever people and areas are called; and it is read back as it was written."""
    data = spreadsheets.written([("x", [words])])
    cells = openpyxl.load_workbook(io.BytesIO(data))["x"][1]
    assert [(cell.value, cell.data_type) for cell in cells] == [(word, "s") for word in words]
    assert spreadsheets.rows(data, most_rows=5, most_columns=len(words)) == [words]


@pytest.mark.parametrize(
    "data", ["bomb", "entities", "no zip", "no columns", "too many", "empty", "not utf-8"]
)
def test_a_file_that_is_none_or_too_much_is_one_sentence(here: UnitOfWork, town: Town, data: str) -> None:
    """F64: what unpacks to more than is read, what names entities, what is cut off: nothing of it is read."""

    def packed(name: str, content: bytes) -> bytes:
        out = io.BytesIO(workbook(("x", "2026-12-01", "8:00", "9:00")))
        with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)
        return out.getvalue()

    entities = (
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><worksheet><sheetData><row><c t="str"><v>&a;</v></c></row></sheetData>'
        b"</worksheet>"
    )
    files = {
        "bomb": lambda: packed("xl/media/x.bin", bytes(13 << 20)),
        "entities": lambda: _with_sheet(entities),
        "no zip": lambda: b"PK\x03\x04" + bytes(100),
        "no columns": lambda: workbook(("x",), heading=("什么",)),
        "too many": lambda: b"login,date,from,until\n" + b"x,2026-12-01,8:00,9:00\n" * 5001,
        "empty": lambda: b"login,date,from,until\n",
        "not utf-8": lambda: "账号".encode("gbk"),
    }
    with pytest.raises(Invalid) as refused:
        roster_import.preview(here, town["supervisor"].actor(), files[data]())
    assert refused.value.code == "bad_roster"
    assert refused.value.detail.endswith((".", "missing."))


def _with_sheet(xml: bytes) -> bytes:
    """A workbook whose sheet is this XML."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook(("x",)))) as old, zipfile.ZipFile(out, "w") as new:
        for one in old.namelist():
            new.writestr(one, xml if one == "xl/worksheets/sheet1.xml" else old.read(one))
    return out.getvalue()


def test_nobody_does_away_with_a_shift_of_his_own_that_has_begun(here: UnitOfWork, town: Town) -> None:
    """A supervisor who goes on rounds too: whether he came is for others to say."""
    boss = town["supervisor_a"]
    begun = make_planned(here, town, boss, here.now - timedelta(hours=1))
    with pytest.raises(Forbidden, match="begun"):
        roster.cancel(here, boss.actor(), begun.id, reason="not needed", command_id=new_id())
    cancelled = roster.cancel(
        here, town["supervisor"].actor(), begun.id, reason="not needed", command_id=new_id()
    )
    assert cancelled.state == "cancelled"
    to_come = make_planned(here, town, boss, here.now + timedelta(days=1))
    assert (
        roster.cancel(here, boss.actor(), to_come.id, reason="moved", command_id=new_id()).state
        == "cancelled"
    )


@pytest.mark.parametrize("day", [datetime(9999, 12, 31), datetime(1900, 1, 1)])
def test_a_day_of_no_calendar_of_ours_is_a_row_that_is_wrong_and_no_failure(
    here: UnitOfWork, town: Town, day: datetime
) -> None:
    book = openpyxl.Workbook()
    book.active.append(["账号", "日期", "开始", "结束"])  # type: ignore[union-attr]
    book.active.append([town["officer_a"].login, day, "20:00", "08:00"])  # type: ignore[union-attr]
    file = io.BytesIO()
    book.save(file)
    done = roster_import.preview(here, town["supervisor_a"].actor(), file.getvalue())
    assert [one.outcome for one in done.rows] == [Outcome.REFUSED]
