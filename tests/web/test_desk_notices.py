"""Notices at the desk: the bell, the list, what one wants to be told by, and what reached nobody."""

from __future__ import annotations

from uuid import uuid4

import httpx
from playwright.sync_api import Browser, expect

from tests.notifications.vendors import Browser as Subscription
from tests.notifications.vendors import Says, Vendor
from tests.running.installation import wait_until
from tests.web.conftest import Town
from tests.web.test_desk import Walker, seated
from tests.web.test_officer_dispatch import offer


def _key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4())}


def _register(api: httpx.Client, client: str, subscription: Subscription) -> None:
    body = {"channel": "webpush", "token": subscription.target.token, "keys": subscription.keys}
    answer = api.post(f"/api/v1/{client}/addresses", json=body, headers=_key())
    assert answer.status_code == 201, answer.text


def test_what_the_desk_is_told_is_counted_opened_and_read(chromium: Browser, town: Town) -> None:
    supervisor, dispatcher = town.accounts["supervisor"], town.hire(town.middle, "dispatcher")
    near = Walker(town, town.hire(town.middle)).start()
    near.step()
    task = offer(town, {"id": near.id})
    try:
        with seated(chromium, town) as desk:
            page = desk.sign_in(dispatcher, "/live")
            bell = page.get_by_test_id("bell")
            before = int(bell.get_attribute("data-unread") or "0")
            near.press(f"/api/v1/officer/tasks/{task['id']}/accept")
            api = town.api(dispatcher)
            wait_until(
                lambda: [
                    one
                    for one in api.get("/api/v1/desk/notices").json()["items"]
                    if one["subject_id"] == task["id"]
                ]
            )
            expect(bell).not_to_have_attribute("data-unread", str(before), timeout=20_000)
            bell.click()
            mine = page.locator("[data-testid=notice][data-kind='task.accepted']").first
            expect(mine).to_have_attribute("data-unread", "true")
            expect(mine).to_contain_text(str(task["number"]))
            page.get_by_test_id("only-unread").click()
            expect(mine).to_be_visible()
            mine.click()
            expect(page.get_by_test_id("task-card")).to_have_attribute("data-task", task["id"], timeout=20_000)
            page.get_by_test_id("bell").click()
            expect(mine).to_have_attribute("data-unread", "false")
            if page.get_by_test_id("all-read").is_enabled():
                page.get_by_test_id("all-read").click()
            expect(page.get_by_test_id("bell")).to_have_attribute("data-unread", "0")
            # A link from a message opens what the notice is about.
            [told] = [
                one
                for one in api.get("/api/v1/desk/notices").json()["items"]
                if one["subject_id"] == task["id"] and one["kind"] == "task.accepted"
            ]
            page.goto(f"{town.url}/desk/?notice={told['id']}")
            expect(page.get_by_test_id("task-card")).to_have_attribute("data-task", task["id"], timeout=20_000)
    finally:
        town.api(supervisor).post(
            f"/api/v1/desk/tasks/{task['id']}/cancel", json={"reason": "演练"}, headers=_key()
        )
        near.end()


def test_what_one_wants_is_kept_and_a_call_for_help_is_no_choice(chromium: Browser, town: Town) -> None:
    dispatcher = town.accounts["supervisor"]
    with seated(chromium, town, permissions=[]) as desk:
        page = desk.sign_in(dispatcher, "/notices?tab=settings")
        for way in ("浏览器通知", "微信小程序"):
            sos = page.locator("[data-kind='sos.raised']").get_by_role("checkbox", name=way)
            expect(sos).to_be_disabled()
            expect(sos).to_be_checked()
        alarm = page.locator("[data-kind='alarm.raised']").get_by_role("checkbox", name="浏览器通知")
        expect(alarm).to_be_checked()
        alarm.uncheck()
        expect(alarm).to_be_enabled()
        page.get_by_test_id("quiet").click()
        expect(page.locator("input[name=quiet_from]")).to_have_value("22:00")
        page.fill("input[name=quiet_until]", "22:00")
        page.locator("input[name=quiet_until]").blur()
        expect(page.get_by_role("alert")).to_contain_text("不能相同")
        page.fill("input[name=quiet_until]", "05:30")
        page.locator("input[name=quiet_until]").blur()
        api = town.api(dispatcher)
        wait_until(lambda: api.get("/api/v1/desk/notice-settings").json()["quiet_until"] == "05:30")
        kept = api.get("/api/v1/desk/notice-settings").json()
        assert (kept["channels"], kept["quiet_from"]) == (
            {"alarm.raised": ["wechat_mini"]},
            "22:00",
        )
        page.reload()
        expect(alarm).not_to_be_checked()
        expect(page.locator("input[name=quiet_until]")).to_have_value("05:30")
        nothing = {"channels": {}, "quiet_from": None, "quiet_until": None}
        api.put("/api/v1/desk/notice-settings", json=nothing, headers=_key())


def test_what_reached_nobody_is_shown_with_its_reason_and_sent_again(
    chromium: Browser, town: Town, push_service: Vendor
) -> None:
    """The officer's browser is gone for its push service; then he has a new one, and the same notice reaches it."""
    near = Walker(town, town.hire(town.middle)).start()
    near.step()
    gone, fresh = Subscription(push_service.url, "/push/gone"), Subscription(push_service.url, "/push/fresh")
    push_service.answers["/push/gone"] = Says(410)
    push_service.answers["/push/fresh"] = Says(201)
    _register(near.api, "officer", gone)
    task = offer(town, {"id": near.id}, offer={"officer_ids": [near.id]})
    supervisor = town.accounts["supervisor"]
    api = town.api(supervisor)
    try:

        def letters() -> list[dict[str, str]]:
            found = api.get("/api/v1/desk/dead-letters").json()["items"]
            return [one for one in found if one["subject_id"] == task["id"]]

        wait_until(letters, 60)
        with seated(chromium, town) as desk:
            page = desk.sign_in(supervisor, "/notices")
            page.get_by_test_id("tab-letters").click()
            row = page.locator(f"[data-letter='{letters()[0]['id']}']")
            expect(row).to_contain_text(near.name)
            expect(row).to_contain_text("浏览器通知")
            expect(row).to_contain_text("地址已失效")
            expect(row).to_contain_text("webpush_gone")
            _register(near.api, "officer", fresh)
            row.get_by_test_id("retry").click()
            expect(row).to_have_attribute("data-state", "waiting")
            expect(row.get_by_test_id("retry")).to_have_count(0)
            wait_until(lambda: push_service.of("/push/fresh"), 60)
            message = fresh.read(push_service.of("/push/fresh")[0].body)
            assert (message["kind"], message["subject_id"]) == ("task.offered", task["id"])
        # Who has no part in delivering sees neither the page's tab nor the list.
        assert near.api.get("/api/v1/desk/dead-letters").status_code == 403
    finally:
        api.post(f"/api/v1/desk/tasks/{task['id']}/cancel", json={"reason": "演练"}, headers=_key())
        near.end()
