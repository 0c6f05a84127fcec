"""Whoever has a keyboard and no touch screen, or a screen that is read to him: every act is reached, and seen."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from playwright.sync_api import Browser, Page, expect

from tests.web.conftest import Phone, Town
from tests.web.test_desk import seated

FRAMED = """() => {
  const here = document.activeElement, frame = here.closest('.van-field')
  return getComputedStyle(here).outlineStyle === 'solid' || (frame && getComputedStyle(frame).boxShadow.includes('inset'))
}"""


def tab_to(page: Page, selector: str) -> None:
    """Press the Tab key until something has the focus, and see that it shows it."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("(wanted) => document.activeElement?.matches(wanted)", selector):
            assert page.evaluate(FRAMED), f"{selector} has the focus and does not show it"
            return
    raise AssertionError(f"The Tab key does not come to {selector}.")


def disputed(town: Town, officer: dict[str, Any]) -> str:
    """The id of a task that the officer is at."""
    desk, mine = town.api(town.accounts["supervisor"]), town.api(officer)
    kinds = desk.get("/api/v1/desk/task-kinds", params={"limit": 100}).json()["items"]
    body = {
        "kind_id": next(kind["id"] for kind in kinds if kind["code"] == "dispute"), "description": "劝解",
        "place": list(town.center), "offer": {"officer_ids": [officer["id"]]}, "offers_itself": False,
    }  # fmt: skip
    made = desk.post("/api/v1/desk/tasks", json=body, headers={"Idempotency-Key": str(uuid4())})
    assert made.status_code == 201, made.text
    for act in ("accept", "arrive"):
        done = mine.post(
            f"/api/v1/officer/tasks/{made.json()['id']}/{act}",
            json={"device_at": datetime.now(UTC).isoformat()}, headers={"Idempotency-Key": str(uuid4())},
        )  # fmt: skip
        assert done.status_code == 200, done.text
    return str(made.json()["id"])


def test_an_officer_reports_and_resolves_a_task_by_keys_alone(phone: Phone, town: Town) -> None:
    officer = town.hire(town.middle)
    page = phone.sign_in(officer)
    phone.start_shift()
    task = disputed(town, officer)

    tab_to(page, "[data-test=tab-tasks]")
    page.keyboard.press("Enter")
    tab_to(page, "[data-test=report]")
    page.keyboard.press("Enter")
    # A group of choices is one stop; arrows go within it.
    tab_to(page, "[role=radio]")
    first = page.evaluate("document.activeElement.dataset.test")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.test") != first
    expect(page.locator("[role=radio]:focus")).to_have_attribute("aria-checked", "true")
    tab_to(page, "textarea[name=note]")
    tab_to(page, "[data-test=file-handled]")
    page.keyboard.press("Enter")
    expect(page.locator("[data-test=report]").first).to_be_visible()

    page.goto(f"{town.url}/officer/tasks/{task}")
    expect(page.locator("[data-test=my-state] [role=status]")).to_have_text("已到场")
    tab_to(page, "[data-test=do-resolve]")
    page.keyboard.press("Enter")
    sheet = page.get_by_role("dialog", name="处理结果")
    expect(sheet).to_be_focused()
    # Nothing behind the sheet is reached: its stops come round.
    for _ in range(12):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('.van-popup')")
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    expect(page.locator("[data-test=do-resolve]")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, "[data-test=item-separated]")
    page.keyboard.press("Space")
    expect(page.locator("[data-test=item-separated]")).to_have_attribute("aria-checked", "true")
    tab_to(page, "[data-test=yes-injured]")
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-test=no-injured]")).to_have_attribute("aria-checked", "true")
    tab_to(page, "[data-test=choice-outcome-settled]")
    page.keyboard.press("Space")
    tab_to(page, "textarea[name=text]")
    page.keyboard.type("劝开了")
    tab_to(page, "[data-test=give]")
    page.keyboard.press("Enter")
    expect(sheet).to_be_hidden()

    page.goto(f"{town.url}/officer/notice-settings")
    tab_to(page, "[data-test=quiet]")
    page.keyboard.press("Space")
    expect(page.locator("[data-test=quiet]")).to_have_attribute("aria-checked", "true")


def test_a_queue_without_rows_takes_no_focus_and_its_tab_does(chromium: Browser, town: Town) -> None:
    """A frame around nothing says nothing; from the tab the next stop is what can be done there."""
    with seated(chromium, town) as desk:
        for kind in ("tasks", "alarms"):
            desk.page.route(
                re.compile(rf"/api/v1/desk/{kind}\?"), lambda route: route.fulfill(json={"items": [], "next": None})
            )
        page = desk.live(town.accounts["supervisor"])
        page.keyboard.press("q")
        queue = page.get_by_role("listbox", name="任务与告警")
        expect(queue).to_contain_text("没有")
        expect(page.get_by_test_id("queue-tab")).to_be_focused()
        tab_to(page, "[data-testid=queue] .el-button")
        queue.click()
        page.keyboard.press("t")
        expect(queue).not_to_be_focused()


def test_a_dispatcher_goes_through_the_queue_by_keys_and_comes_back_to_where_he_was(
    chromium: Browser, town: Town
) -> None:
    with seated(chromium, town) as desk:
        page = desk.live(town.accounts["supervisor"])
        api = town.api(town.accounts["supervisor"])
        kinds = api.get("/api/v1/desk/task-kinds", params={"limit": 100}).json()["items"]
        body = {
            "kind_id": next(kind["id"] for kind in kinds if kind["code"] == "check"), "description": "看看",
            "place": list(town.center), "offers_itself": False,
        }  # fmt: skip
        made = api.post("/api/v1/desk/tasks", json=body, headers={"Idempotency-Key": str(uuid4())})
        page.keyboard.press("q")
        queue = page.get_by_role("listbox", name="任务与告警")
        expect(queue).to_be_focused()
        row = page.locator(f"[data-row='task/{made.json()['id']}']")
        expect(row).to_be_visible(timeout=15_000)
        page.keyboard.press("Home")
        for _ in range(200):
            if queue.get_attribute("aria-activedescendant") == f"queue-task/{made.json()['id']}":
                break
            page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        card = page.get_by_test_id("task-card")
        expect(card).to_have_attribute("data-task", made.json()["id"])
        tab_to(page, "[data-act=cancel]")
        page.keyboard.press("Enter")
        card.get_by_label("理由").fill("看过了")
        card.get_by_test_id("submit-act").press("Enter")
        expect(card).to_have_attribute("data-state", "cancelled")
        tab_to(page, "article [aria-label=关闭]")
        page.keyboard.press("Enter")
        expect(card).to_have_count(0)
        expect(queue).to_be_focused()
        assert desk.complaints == []
