"""What an officer files in three taps, with and without a network, and what the desk makes of it: a look, a task, a page."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Browser, expect

from tests.web.conftest import Phone, Town
from tests.web.test_desk import seated


def test_three_taps_offline_are_filed_once_and_the_desk_looks_at_them_and_hands_one_over(
    phone: Phone, chromium: Browser, town: Town
) -> None:
    officer: dict[str, Any] = town.hire()
    page = phone.sign_in(officer)
    phone.start_shift()
    page.click("[data-test=report]")
    page.wait_for_selector("[data-test=spot][data-known=true]")
    page.wait_for_selector("[data-test=kind-facility]")
    expect(page.locator("[data-test=kind-sos]")).to_have_count(0)
    expect(page.locator("[data-test=file-handled]")).to_be_disabled()
    # The two ways out are under the thumb, and nothing covers them.
    for name in ("file-handled", "file-passed_on"):
        box = page.locator(f"[data-test={name}]").bounding_box()
        assert box is not None
        assert (box["height"] >= 48, box["y"] > 370, box["y"] + box["height"] <= 740) == (True, True, True)

    phone.context.set_offline(True)
    page.click("[data-test=kind-facility]")
    page.click("[data-test=file-handled]")
    mine = page.locator("[data-test=report]")
    expect(page.locator("[data-test=report][data-state=pending]")).to_have_count(1)
    page.click("[data-test=new-report]")
    page.click("[data-test=kind-suspicious]")
    page.fill("textarea", "车棚里有人撬锁")
    page.click("[data-test=file-passed_on]")
    expect(page.locator("[data-test=report][data-state=pending]")).to_have_count(2)
    # The app is closed and opened without a network: what was filed is still on the phone.
    page.reload()
    expect(page.locator("[data-test=report][data-state=pending]")).to_have_count(2)
    api = town.api(town.accounts["supervisor"])
    query = {"officer_id": officer["id"], "limit": 50}
    assert api.get("/api/v1/desk/reports", params=query).json()["items"] == []

    phone.context.set_offline(False)
    expect(page.locator("[data-test=report][data-state=pending]")).to_have_count(0, timeout=20_000)
    expect(mine).to_have_count(2)
    passed, handled = api.get("/api/v1/desk/reports", params=query).json()["items"]
    assert (handled["kind"]["code"], handled["state"]) == ("facility", "sampled")
    assert (passed["kind"]["code"], passed["state"], passed["note"]) == (
        "suspicious",
        "passed_on",
        "车棚里有人撬锁",
    )
    assert handled["device_at"] < passed["device_at"] < passed["filed_at"]
    expect(page.locator("[data-test=report][data-state=passed_on]")).to_contain_text(
        f"任务 #{passed['task']['number']} 待派单"
    )

    with seated(chromium, town) as desk:
        seat = desk.sign_in(town.accounts["supervisor"], "/live")
        seat.get_by_test_id("reports-tab").click()
        row = seat.locator(f"[data-report='{handled['id']}']")
        expect(row).to_contain_text("设施损坏")
        row.click()
        card = seat.get_by_test_id("report-card")
        expect(card.locator("[data-action=file]")).to_contain_text(officer["display_name"])
        card.get_by_test_id("look-over").click()
        expect(card).to_have_attribute("data-state", "closed")
        card.get_by_role("button", name="关闭").click()
        expect(row).to_have_count(0)

        seat.get_by_test_id("reports-all").click()
        seat.locator(f"[data-report='{passed['id']}']").click()
        card.get_by_test_id("open-task").click()
        task = seat.get_by_test_id("task-card")
        expect(task).to_contain_text("车棚里有人撬锁")
        task.locator("[data-act=refer]").click()
        form = task.get_by_test_id("refer-form")
        form.get_by_test_id("submit-refer").click()
        expect(form).to_contain_text("请填写警情编号")
        form.get_by_label("警情编号").fill("A3101070-0042")
        form.get_by_label("接收民警").fill("张警官")
        form.get_by_label("理由").fill("涉嫌盗窃")
        form.get_by_test_id("submit-refer").click()
        expect(task).to_have_attribute("data-state", "closed")
        # The officer hears what became of it.
        expect(page.locator("[data-test=report][data-state=answered]")).to_contain_text(
            "已移交公安", timeout=20_000
        )

        task.get_by_test_id("brief").click()
        expect(seat.get_by_test_id("show-brief")).to_be_visible(timeout=20_000)
        seat.evaluate("() => { window.print = () => { window.printed = (window.printed ?? 0) + 1 } }")
        seat.get_by_test_id("show-brief").click()
        sheet = seat.get_by_test_id("sheet")
        expect(sheet).to_contain_text("A3101070-0042")
        expect(sheet).to_contain_text(re.compile(r"经度 \d+\.\d{6}，纬度 \d+\.\d{6}"))
        expect(sheet).to_contain_text("车棚里有人撬锁")
        with seat.expect_response(lambda answer: answer.url.endswith("/print-brief")) as written_down:
            seat.get_by_test_id("print").click()
        assert written_down.value.ok, written_down.value.text()
        seat.wait_for_function("() => window.printed === 1", polling=100)
        seat.emulate_media(media="print")
        expect(sheet).to_be_visible()
        expect(seat.get_by_test_id("print")).to_be_hidden()
        expect(seat.locator("header").first).to_be_hidden()
    journal = town.api(town.accounts["auditor"]).get(
        "/api/v1/desk/journal", params={"subject_id": passed["task"]["id"]}
    )
    assert [act["action"] for act in journal.json()["items"]][:2] == ["print_brief", "refer"]
    assert phone.complaints == []
