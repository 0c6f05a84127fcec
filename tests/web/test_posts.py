"""Posts: planned at the desk, stood on the phone, and seen on the board with how much of the time he is there."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from playwright.sync_api import Browser, expect

from tests.web.conftest import Phone, Town
from tests.web.test_desk import seated
from tests.web.test_rounds import at_desk


def test_a_post_is_set_and_stood_and_a_duty_level_is_switched_for_a_time(
    chromium: Browser, phone: Phone, town: Town
) -> None:
    officer = town.hire(town.middle)
    name = f"南门岗{uuid4().hex[:4]}"
    lon, lat = town.center
    with seated(chromium, town) as desk:
        page = desk.sign_in(town.accounts["supervisor"], "/rounds?tab=posts")
        page.get_by_test_id("new-post").click()
        page.get_by_test_id("save-post").click()
        expect(page.get_by_role("alert").filter(has_text="名称")).to_be_visible()
        page.fill("#post-zh", name)
        page.fill("#post-en", "South gate")
        page.fill("#post-lon", f"{lon:.6f}")
        page.fill("#post-lat", f"{lat:.6f}")
        page.get_by_test_id("save-post").click()
        post = page.locator("[data-post]").filter(has_text=name)
        expect(post).to_be_visible(timeout=20_000)

        now = datetime.now(UTC)
        duty = at_desk(
            town, "posts/duties",
            {
                "post_id": post.get_attribute("data-post"), "starts_at": now.isoformat(),
                "ends_at": (now + timedelta(hours=2)).isoformat(), "officer_ids": [officer["id"]],
            },
        )  # fmt: skip
        row = page.locator(f"[data-duty='{duty['id']}']")
        expect(row).to_contain_text("无人到岗", timeout=30_000)

        phone.sign_in(officer)
        phone.start_shift()
        phone.page.goto(f"{town.url}/officer/posts/{duty['id']}")
        card = phone.page.locator(f"[data-id='{duty['id']}']")
        card.locator("[data-test=start]").click()
        expect(card).to_have_attribute("data-state", "standing")
        card.locator("[data-test=break]").click()
        card.locator("[data-test=return]").click()
        expect(card.locator("[data-test=break]")).to_be_visible(timeout=20_000)
        phone.walk(3, every_ms=2_000)

        expect(row).to_have_attribute("data-state", "standing", timeout=30_000)
        expect(row).to_contain_text(re.compile("在岗|休息"))
        row.click()
        expect(page.get_by_test_id("duty-card")).to_contain_text("要求 80%")

        page.get_by_test_id("switch-level").click()
        page.get_by_test_id("put-level").click()
        expect(page.get_by_role("alert").filter(has_text="原因")).to_be_visible()
        page.fill("#level-reason", "庙会安保")
        page.get_by_test_id("put-level").click()
        level = page.get_by_test_id("duty-level")
        expect(level.locator("[data-level=third]")).to_contain_text("庙会安保", timeout=20_000)
        level.get_by_role("button", name="提前结束").click()
        page.fill("#dispatch-reason", "散场")
        level.get_by_role("button", name="提前结束").click()
        expect(level.locator("[data-level=ordinary]")).to_be_visible(timeout=20_000)
        assert desk.complaints == []
