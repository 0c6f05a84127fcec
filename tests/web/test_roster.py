"""The roster in real browsers: imported, swapped on a phone, approved at the desk, a shift handed over."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from playwright.sync_api import Browser, expect

from tests.web.conftest import Phone, Town
from tests.web.test_desk import Desk, seated

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@pytest.fixture
def desk(chromium: Browser, town: Town) -> Iterator[Desk]:
    with seated(chromium, town) as desk:
        yield desk


def act(town: Town, officer: dict[str, Any], path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """What an officer presses on another phone."""
    answer = town.api(officer).post(
        f"/api/v1/officer/{path}", json=body, headers={"Idempotency-Key": str(uuid4())}
    )
    assert answer.status_code < 300, answer.text
    done: dict[str, Any] = answer.json()
    return done


def test_a_roster_is_imported_swapped_and_approved_and_a_shift_handed_over_with_its_task(
    desk: Desk, phone: Phone, town: Town
) -> None:
    """A bad row is told and stops no good one; a swap needs both; a task passes when the other has confirmed."""
    first, second = town.hire(town.middle), town.hire(town.middle)
    tomorrow = datetime.now(ZoneInfo("Asia/Shanghai")).date() + timedelta(days=1)
    book, out = openpyxl.Workbook(), io.BytesIO()
    rows = [
        ("账号", "日期", "开始", "结束", "班别"),
        (first["login"], tomorrow.isoformat(), "22:00", "06:00", "夜班"),
    ]
    for row in [*rows, ("没有此人", tomorrow.isoformat(), "08:00", "16:00", "白班")]:
        book.active.append(row)  # type: ignore[union-attr]
    book.save(out)

    page = desk.sign_in(town.accounts["supervisor"], "/roster")
    page.get_by_test_id("import-roster").click()
    page.get_by_test_id("roster-file").set_input_files(
        {"name": "班表.xlsx", "mimeType": XLSX, "buffer": out.getvalue()}
    )
    preview = page.get_by_test_id("roster-preview")
    expect(preview.locator("tbody tr")).to_have_count(2)
    expect(preview.locator("tbody tr").nth(1)).to_contain_text("没有这名队员")
    page.get_by_test_id("keep-roster").click()
    # What was not taken stays to be seen; the rest is planned by now.
    expect(preview.locator(".counts .same")).to_contain_text("1", timeout=20_000)
    page.keyboard.press("Escape")
    if tomorrow.weekday() == 0:
        page.get_by_test_id("week-after").click()
    expect(page.locator("tr").filter(has_text=first["display_name"]).get_by_test_id("shift")).to_contain_text(
        "夜班"
    )

    mine = phone.sign_in(first)
    mine.goto(f"{town.url}/officer/roster")
    mine.click("[data-test=planned] [data-test=swap]")
    mine.click("[data-test=pick-colleague]")
    mine.locator("[data-test=colleague]").filter(has_text=second["display_name"]).click()
    mine.locator("[data-test=ask]").get_by_role("radio").first.click()
    mine.click("[data-test=send-ask]")
    request = mine.locator("[data-test=request]")
    expect(request).to_have_attribute("data-state", "asked", timeout=20_000)
    [asked] = town.api(second).get("/api/v1/officer/roster-requests").json()["items"]
    assert asked["actions"] == ["agree", "decline"]
    act(town, second, f"roster-requests/{asked['id']}/agree")
    page.goto(f"{town.url}/desk/roster?tab=requests")
    page.get_by_test_id("request").filter(has_text=first["display_name"]).get_by_test_id("approve").click()
    decided = page.get_by_test_id("request").filter(has_text=first["display_name"])
    expect(decided).to_have_attribute("data-state", "approved", timeout=20_000)
    [planned] = town.api(second).get("/api/v1/officer/roster").json()["items"]
    assert planned["day"] == tomorrow.isoformat()

    mine.goto(f"{town.url}/officer/")
    phone.start_shift()
    supervisor = town.api(town.accounts["supervisor"])
    kinds = supervisor.get("/api/v1/desk/task-kinds", params={"limit": 100}).json()["items"]
    task = supervisor.post(
        "/api/v1/desk/tasks", headers={"Idempotency-Key": str(uuid4())},
        json={
            "kind_id": next(kind["id"] for kind in kinds if kind["code"] == "check"), "description": "看看",
            "place": list(town.center), "offer": {"officer_ids": [first["id"]]},
        },
    )  # fmt: skip
    assert task.status_code == 201, task.text
    act(town, first, f"tasks/{task.json()['id']}/accept", {})
    # He cannot go home with it: from there a press leads to the hand-over.
    mine.click("[data-test=end]")
    mine.click(".van-action-sheet__item >> nth=0")
    mine.click("[data-test=to-hand-over]")
    mine.click("[data-test=begin-hand-over]")
    mine.click("[data-test=pick-taker]")
    mine.locator("[data-test=colleague]").filter(has_text=second["display_name"]).click()
    mine.click("[data-test=add-thing]")
    mine.fill("input[name=thing-0]", "手电")
    mine.fill("textarea[name=watch]", "三号楼电梯停用")
    mine.click("[data-test=give]")
    given = mine.locator("[data-test=hand-over]")
    expect(given).to_have_attribute("data-state", "given", timeout=20_000)
    expect(given).to_contain_text(f"#{task.json()['number']}")
    page.goto(f"{town.url}/desk/roster?tab=handOvers")
    expect(page.get_by_test_id("hand-over").filter(has_text=first["display_name"])).to_have_attribute(
        "data-state", "given"
    )
    act(town, second, "shifts", {})
    [waiting] = town.api(second).get("/api/v1/officer/hand-overs", params={"waiting": "true"}).json()["items"]
    act(town, second, f"hand-overs/{waiting['id']}/take", {"remark": "收到"})
    expect(given).to_have_attribute("data-state", "taken", timeout=20_000)
    mine.goto(f"{town.url}/officer/")
    mine.wait_for_selector("[data-test=status]")
    phone.end_shift()
    assert [one["id"] for one in town.api(second).get("/api/v1/officer/tasks").json()["items"]] == [
        task.json()["id"]
    ]
