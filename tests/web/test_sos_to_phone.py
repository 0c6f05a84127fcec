"""From a call for help to the desk's banner and the nearest officer's phone: by the open client, and by Web Push.

Chromium's own push service is not reached from here, so it is stood in for at the wire. The browser's subscription
names a server of the test, which speaks RFC 8030: what it gets is read with the subscription's keys (RFC 8291), as
the browser does, and handed to the client's real service worker.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import expect

from tests.notifications.vendors import Browser, Says, Vendor
from tests.running.installation import wait_until
from tests.web.conftest import Phone, Town, opened
from tests.web.test_desk import Walker, seated
from tests.web.test_officer_dispatch import hold
from tests.web.test_resident import signed_in_resident

SUBSCRIBED = """([endpoint, keys]) => {
  const kept = 'test.subscribed'
  const made = { endpoint, toJSON: () => ({ endpoint, keys }), unsubscribe: async () => (localStorage.removeItem(kept), true) }
  PushManager.prototype.getSubscription = async () => (localStorage.getItem(kept) ? made : null)
  PushManager.prototype.subscribe = async ({ userVisibleOnly, applicationServerKey }) => {
    if (!userVisibleOnly || applicationServerKey.length !== 65) throw new Error('not a key of VAPID')
    localStorage.setItem(kept, 'yes')
    return made
  }
}"""
SHOWN = """async (client) => {
  const worker = await navigator.serviceWorker.getRegistration(`/${client}/`)
  return (await worker.getNotifications()).map(({ title, body, lang, tag, requireInteraction, data }) => (
    { title, body, lang, tag, requireInteraction, data }
  ))
}"""
TOUCHED = """async (client) => {
  const [notification] = await self.registration.getNotifications()
  self.dispatchEvent(new NotificationEvent('notificationclick', { notification }))
}"""
_numbers = count(1)


class PushedPhone(Phone):
    """A phone whose browser has a push service; what the service got is in ``pushed``, as the browser reads it."""

    def __init__(self, phone: Phone, service: Vendor, client: str = "officer") -> None:
        self.__dict__ = phone.__dict__
        self.client, self.service = client, service
        self.endpoint = f"/push/{client}-{next(_numbers)}"
        self.browser = Browser(service.url, self.endpoint)
        service.answers[self.endpoint] = Says(201, headers={"Location": f"{service.url}/m/1"})
        told = json.dumps([self.browser.target.token, self.browser.keys])
        self.context.add_init_script(f"({SUBSCRIBED})({told})")

    @property
    def pushed(self) -> list[dict[str, Any]]:
        """Every message so far, the oldest first."""
        return [self.browser.read(asked.body) for asked in self.service.of(self.endpoint)]

    def be_notified(self) -> None:
        """Turn notifications on, as a person does: by the bell, the gear and the switch."""
        page = self.page
        page.wait_for_function("navigator.serviceWorker.controller !== null")
        page.locator("[data-test=bell]").first.click()
        page.click("[data-test=notice-settings]")
        expect(page.locator("[data-test=push]")).to_have_attribute("data-state", "off")
        page.click("[data-test=push]")
        expect(page.locator("[data-test=push]")).to_have_attribute("data-state", "on")

    def deliver(self, message: dict[str, Any]) -> None:
        """Hand a message to the service worker, as the browser does when its service brings one."""
        cdp = self.context.new_cdp_session(self.page)
        found: list[str] = []
        cdp.on(
            "ServiceWorker.workerRegistrationUpdated",
            lambda event: found.extend(
                one["registrationId"]
                for one in event["registrations"]
                if f"/{self.client}/" in one["scopeURL"]
            ),
        )
        cdp.send("ServiceWorker.enable")
        for _ in range(50):
            if found:
                break
            self.page.wait_for_timeout(100)
        data = json.dumps(message, ensure_ascii=False)
        cdp.send(
            "ServiceWorker.deliverPushMessage",
            {"origin": self.town.url, "registrationId": found[-1], "data": data},
        )
        cdp.detach()

    def shown(self) -> list[dict[str, Any]]:
        """The notifications that stand on this phone."""
        standing: list[dict[str, Any]] = self.page.evaluate(SHOWN, self.client)
        return standing

    def touch_notification(self) -> None:
        """Touch the notification that stands."""
        worker = next(one for one in self.context.service_workers if f"/{self.client}/" in one.url)
        worker.evaluate(TOUCHED, self.client)


@contextmanager
def reachable(
    chromium: Chromium, town: Town, service: Vendor, client: str = "officer"
) -> Iterator[PushedPhone]:
    """A phone that may show notifications."""
    with opened(chromium, town, permissions=["geolocation", "notifications"]) as phone:
        yield PushedPhone(phone, service, client)
        assert phone.complaints == []


def test_an_officers_sos_is_on_every_desk_and_on_the_nearest_phone_by_socket_and_by_push(
    chromium: Chromium, town: Town, push_service: Vendor
) -> None:
    caller, near = town.hire(town.middle), town.hire(town.middle)
    supervisor = town.accounts["supervisor"]
    api = town.api(supervisor)
    with (
        reachable(chromium, town, push_service) as phone,
        opened(chromium, town) as callers,
        seated(chromium, town) as desk,
    ):
        phone.sign_in(near)
        phone.start_shift()
        phone.walk(2)
        phone.wait_sent()
        phone.be_notified()
        phone.page.click("[data-test=tab-duty]")
        desk_page = desk.sign_in(supervisor, "/devices")

        callers.sign_in(caller)
        callers.start_shift()
        callers.walk(1)
        callers.wait_sent()
        hold(callers.page, "[data-test=sos]", 400)
        assert town.api(caller).get("/api/v1/officer/sos").json()["items"] == [], "let go early, nobody is called"
        callers.page.click("[data-test=tab-duty]")
        hold(callers.page, "[data-test=sos]", 1_300)
        expect(callers.page.locator("[data-test=sos-open]")).to_be_visible(timeout=15_000)
        [call] = town.api(caller).get("/api/v1/officer/sos").json()["items"]

        # The desk: over the whole width, whatever page is open.
        banner = desk_page.locator(f"[data-testid=sos] [data-alarm='{call['id']}']")
        expect(banner).to_contain_text(f"队员 {caller['display_name']} 紧急求援", timeout=15_000)
        box = desk_page.get_by_test_id("sos").bounding_box()
        assert box is not None
        assert (box["x"], box["y"], box["width"]) == (0, 0, 1440)

        # The nearest phone, by its open client …
        wait_until(lambda: api.get(f"/api/v1/desk/alarms/{call['id']}").json()["task_id"], 60)
        task_id = api.get(f"/api/v1/desk/alarms/{call['id']}").json()["task_id"]
        page = phone.page
        expect(page.locator("[data-test=tab-tasks]")).to_have_class(re.compile(r"\boffered\b"), timeout=20_000)
        expect(page.locator("[data-test=bell]").first).not_to_have_attribute("data-unread", "0", timeout=20_000)

        # … and by push, encrypted for its browser alone.
        wait_until(lambda: any(one["subject_id"] == task_id for one in phone.pushed), 60)
        [message] = [one for one in phone.pushed if one["subject_id"] == task_id]
        assert (message["kind"], message["subject_kind"], message["urgent"]) == ("sos.raised", "task", True)
        # Others of the town may call for help meanwhile, and he is near them too.
        asked = push_service.of(phone.endpoint)[[one["subject_id"] for one in phone.pushed].index(task_id)]
        assert asked.headers["content-encoding"] == "aes128gcm"
        assert asked.headers["urgency"] == "high"
        assert message["title"].encode() not in asked.body
        assert caller["display_name"] not in json.dumps(message, ensure_ascii=False), "names do not travel"
        phone.deliver(message)
        wait_until(phone.shown, 20)
        [shown] = phone.shown()
        assert (shown["title"], shown["body"]) == (message["title"], message["body"])
        assert shown["title"] == "紧急求援"
        assert (shown["lang"], shown["tag"]) == ("zh-CN", f"task:{task_id}")
        assert shown["requireInteraction"] is True

        # A repeat of the same event shows nothing more; what is no message of ours is shown as something, and no more.
        phone.deliver(message)
        phone.page.wait_for_timeout(500)
        assert len(phone.shown()) == 1
        phone.touch_notification()
        expect(page).to_have_url(f"{town.url}/officer/tasks/{task_id}", timeout=15_000)
        expect(page.locator("[data-test=my-state]")).to_have_attribute("data-state", "offered", timeout=15_000)
        expect(page.locator("[data-test=do-accept]")).to_be_visible()
        assert phone.shown() == []
        told = town.api(near).get("/api/v1/officer/notices").json()["items"]
        assert next(one for one in told if one["subject_id"] == task_id)["confirmed_at"], "opening it is knowing"

        # Who called sees who is coming.
        page.click("[data-test=do-accept]")
        expect(callers.page.locator("[data-test=responders]")).to_contain_text(
            near["display_name"], timeout=20_000
        )
        page.click("[data-test=do-depart]")
        coming = callers.page.locator("[data-test=responders] li")
        expect(coming).to_have_attribute("data-state", "en_route", timeout=20_000)
        assert callers.complaints == []
        # Nobody is left waiting for the tests after this one.
        town.clear(call["id"])


def test_a_residents_sos_is_on_the_desk_and_its_answer_is_pushed_to_his_phone(
    chromium: Chromium, town: Town, push_service: Vendor
) -> None:
    """He is told who is coming by the call sign or name, and never where that officer is."""
    near = Walker(town, town.hire(town.middle)).start()
    near.step()
    api = town.api(town.accounts["supervisor"])
    try:
        with (
            reachable(chromium, town, push_service, "resident") as phone,
            seated(chromium, town) as desk,
        ):
            me = signed_in_resident(phone, town)
            phone.be_notified()
            desk_page = desk.sign_in(town.accounts["supervisor"], "/devices")
            page = phone.page
            hold(page, "[data-test=sos]", 1_300)
            expect(page.locator("[data-test=sos-raised]")).to_be_visible(timeout=15_000)
            open_now = api.get("/api/v1/desk/alarms", params={"open": True, "limit": 100}).json()["items"]
            [call] = [alarm for alarm in open_now if (alarm["resident"] or {}).get("id") == me]
            banner = desk_page.locator(f"[data-testid=sos] [data-alarm='{call['id']}']")
            expect(banner).to_contain_text("居民", timeout=15_000)
            expect(page.locator("[data-test=responders]")).to_have_count(0)

            wait_until(lambda: api.get(f"/api/v1/desk/alarms/{call['id']}").json()["task_id"], 60)
            task_id = api.get(f"/api/v1/desk/alarms/{call['id']}").json()["task_id"]
            near.press(f"/api/v1/officer/tasks/{task_id}/accept")
            coming = page.locator("[data-test=responders] li")
            expect(coming).to_contain_text(f"{near.name} 已接受", timeout=20_000)
            near.press(f"/api/v1/officer/tasks/{task_id}/arrive")
            expect(coming).to_have_attribute("data-state", "on_site", timeout=20_000)
            wait_until(lambda: phone.pushed, 60)
            [message] = [one for one in phone.pushed if one["kind"] == "sos.answered"]
            assert near.name not in json.dumps(message, ensure_ascii=False), "names do not travel"
            phone.deliver(message)
            wait_until(phone.shown, 20)
            [shown] = phone.shown()
            assert (shown["title"], shown["requireInteraction"]) == ("有人正赶来", True)
            page.click("[data-test=tab-home]")
            phone.touch_notification()
            expect(page).to_have_url(f"{town.url}/resident/sos", timeout=15_000)
            town.clear(call["id"])
    finally:
        near.end()


def test_a_browser_says_in_plain_words_why_it_is_not_notified(chromium: Chromium, town: Town) -> None:
    """Permission denied, and WeChat's own browser: the switch is not there, and nothing is registered."""
    officer = town.hire()
    for settings, state, words in (
        ({"permissions": ["geolocation"]}, "denied", "网站设置"),
        ({"user_agent": "Mozilla/5.0 (Linux; Android 14) MicroMessenger/8.0.50"}, "wechat", "微信内无法接收"),
    ):
        with opened(chromium, town, **settings) as phone:
            page = phone.sign_in(officer)
            page.goto(f"{town.url}/officer/notice-settings")
            why = page.locator("[data-test=push-why]")
            expect(why).to_have_attribute("data-state", state, timeout=15_000)
            expect(why).to_contain_text(words)
            expect(page.locator("[data-test=push]")).to_have_count(0)
    assert town.api(officer).get("/api/v1/officer/addresses").json()["items"] == []
