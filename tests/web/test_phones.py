"""A phone is handed over: one code at the desk, opened on the phone, and the desk sees it."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.web.conftest import Town, opened
from tests.web.test_desk import seated


def test_an_officers_phone_is_set_up_by_one_code_and_he_signs_in_himself(
    chromium: Browser, town: Town
) -> None:
    officer = town.hire()
    with seated(chromium, town) as desk, opened(chromium, town) as phone:
        seat = desk.sign_in(town.accounts["supervisor"], "/devices")
        seat.get_by_test_id("phones-tab").click()
        row = seat.locator(f"[data-phone='{officer['id']}']")
        more = seat.get_by_role("button", name="加载更多")
        expect(seat.locator("[data-phone]").first).to_be_visible(timeout=20_000)
        while row.count() == 0:
            more.click()
            expect(more.or_(row).first).to_be_visible()
        expect(row).to_have_attribute("data-standing", "none")
        row.get_by_test_id("hand-over").click()
        seat.get_by_test_id("make-code").click()
        code = seat.get_by_test_id("phone-qr")
        expect(code).to_be_visible()
        expect(row).to_have_attribute("data-standing", "waiting")
        address = code.get_attribute("data-url") or ""

        page = phone.page
        page.goto(address)
        page.click("[data-test=open-code]")
        page.click("[data-test=to-sign-in]")
        expect(page.locator("input[name=login]")).to_have_value(officer["login"])
        page.fill("input[name=password]", officer["password"])
        page.click("button[type=submit]")
        page.wait_for_selector("[data-test=start]")
        # The desk sees it by itself, and the code is none any more.
        expect(seat.get_by_role("status").filter(has_text="手机已扫码")).to_be_visible(timeout=20_000)
        expect(code).to_have_count(0)
        page.goto(address)
        page.click("[data-test=open-code]")
        expect(page.locator("[data-test=set-up-failure]")).to_contain_text("已用过")
        assert desk.complaints == []
        assert phone.complaints == []
