"""The desk calls the roll and sends a text; the officer's phone answers by one tap, and the desk sees it as it comes."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

from playwright.sync_api import Browser, expect

from tests.running.installation import wait_until
from tests.web.conftest import Phone, Town
from tests.web.test_desk import seated

CALL = "[data-test=call]"
DESK = "/api/v1/desk/calls"


def call(town: Town, **more: Any) -> dict[str, Any]:
    """The supervisor calls everybody on shift in the town."""
    desk = town.api(town.accounts["supervisor"])
    areas = desk.get("/api/v1/desk/areas", params={"limit": 500}).json()["items"]
    root = next(area["id"] for area in areas if area["parent_id"] is None)
    answer = desk.post(
        DESK, json={"kind": "roll_call", "area_id": root, **more}, headers={"Idempotency-Key": str(uuid4())}
    )
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def answer_of(town: Town, call_id: str, officer: dict[str, Any]) -> dict[str, Any]:
    """What the desk knows of an officer's answer."""
    desk = town.api(town.accounts["supervisor"])
    items = desk.get(f"{DESK}/{call_id}/answers", params={"limit": 500}).json()["items"]
    found: dict[str, Any] = next(item for item in items if item["officer"]["id"] == officer["id"])
    return found


def test_a_roll_call_is_answered_by_one_tap_and_the_desk_sees_it_live(
    chromium: Browser, phone: Phone, town: Town
) -> None:
    officer = town.hire()
    screen = phone.sign_in(officer)
    phone.start_shift()
    phone.walk(1)
    with seated(chromium, town) as desk:
        page = desk.sign_in(town.accounts["supervisor"], "/calls")
        page.get_by_test_id("new-roll_call").click()
        form = page.get_by_test_id("call-form")
        expect(form.locator("#call-minutes")).to_have_value("5")
        form.get_by_test_id("make-call").click()
        shown = page.get_by_test_id("call")
        expect(shown).to_have_attribute("data-state", "open", timeout=20_000)
        his = shown.locator(f"[data-officer='{officer['id']}']")
        expect(his).to_have_attribute("data-state", "asked", timeout=20_000)

        card = screen.locator(CALL)
        expect(card).to_have_attribute("data-kind", "roll_call", timeout=20_000)
        expect(his).to_contain_text("送达", timeout=20_000)
        screen.click("[data-test=answer-call]")
        expect(card).to_have_count(0, timeout=20_000)
        expect(his).to_have_attribute("data-state", "answered", timeout=20_000)
        expect(his).to_contain_text(re.compile("辖区(内|外)"))
        expect(his).to_contain_text("±7")
        expect(shown.locator("[data-count=answered] dd")).to_have_text("1")

        shown.get_by_test_id("cancel-call").click()
        page.get_by_role("button", name="撤销", exact=True).last.click()
        expect(shown).to_have_attribute("data-state", "cancelled")
        expect(page.locator("[data-call]").first).to_contain_text("已撤销")
        assert desk.complaints == []


def test_a_tap_without_a_network_arrives_later_with_its_own_time(phone: Phone, town: Town) -> None:
    officer = town.hire()
    page = phone.sign_in(officer)
    phone.start_shift()
    made = call(town)
    expect(page.locator(CALL)).to_have_attribute("data-id", made["id"], timeout=20_000)
    phone.context.set_offline(True)
    page.click("[data-test=answer-call]")
    expect(page.locator("[data-test=call-pending]")).to_be_visible()
    page.reload()  # The app is closed and opened without a network.
    expect(page.locator("[data-test=call-pending]")).to_be_visible()
    assert answer_of(town, made["id"], officer)["state"] == "asked"
    back_at = page.evaluate("new Date().toISOString()")
    phone.context.set_offline(False)
    expect(page.locator("[data-test=call-pending]")).to_have_count(0, timeout=30_000)
    stored = answer_of(town, made["id"], officer)
    assert stored["state"] == "answered"
    assert stored["answered_device_at"] < back_at <= stored["answered_at"]


def test_a_broadcast_shows_on_the_phone_and_its_acknowledgement_at_the_desk(
    chromium: Browser, phone: Phone, town: Town
) -> None:
    officer = town.hire()
    screen = phone.sign_in(officer)
    phone.start_shift()
    screen.click("[data-test=tab-me]")  # It comes on every screen.
    with seated(chromium, town) as desk:
        page = desk.sign_in(town.accounts["supervisor"], "/calls")
        page.get_by_test_id("new-broadcast").click()
        form = page.get_by_test_id("call-form")
        form.get_by_test_id("make-call").click()
        expect(form.get_by_role("alert")).to_have_text("请填写广播内容")
        form.locator("#call-text").fill("今晚庙会，<b>注意</b>防火")
        form.get_by_test_id("make-call").click()
        his = page.get_by_test_id("call").locator(f"[data-officer='{officer['id']}']")
        expect(his).to_have_attribute("data-state", "asked", timeout=20_000)
        card = screen.locator(f"{CALL}[data-kind=broadcast]")
        expect(card.locator("[data-test=call-text]")).to_have_text("今晚庙会，<b>注意</b>防火", timeout=20_000)
        expect(his).to_contain_text("送达", timeout=20_000)
        screen.click("[data-test=answer-call]")
        expect(his).to_have_attribute("data-state", "answered", timeout=20_000)
        expect(his).to_contain_text("已确认")
        expect(card).to_have_count(0, timeout=20_000)
        wait_until(lambda: not screen.locator(CALL).count())
        assert desk.complaints == []
