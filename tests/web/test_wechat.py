"""The clients inside WeChat's mini program: its bridge and its answers are stood in for at the wire, WeChat's cloud too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from playwright.sync_api import Browser, Page, expect

from tests.notifications.vendors import Says, Vendor
from tests.running.installation import wait_until
from tests.web.conftest import WECHAT_TEMPLATES, Phone, Town, opened
from tests.web.test_officer_dispatch import hold
from tests.web.test_resident import signed_in_resident

MINI = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/130 MicroMessenger/8.0.50 miniProgram/wx01"
SEND = "/cgi-bin/message/subscribe/send"
REACH = re.compile("/reach$")
BRIDGE = """window.WeixinJSBridge = {
  invoke: (name, { name: way, arg }, answer) => {
    sessionStorage.setItem('test.opened', JSON.stringify([name, way, arg.url]))
    answer({ err_msg: `${name}:ok` })
  },
}"""


class MiniProgram:
    """The mini program around a client: what it is asked to open, and what it hands back, by the fragment."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.context.add_init_script(BRIDGE)

    def question(self) -> dict[str, str]:
        name, way, url = self.page.evaluate("JSON.parse(sessionStorage.getItem('test.opened'))")
        assert (name, way, urlsplit(url).path) == (
            "invokeMiniProgramAPI", "navigateTo", "/pages/subscribe/index",
        )  # fmt: skip
        return dict(parse_qsl(urlsplit(url).query))

    def hand_back(self, **said: str) -> None:
        """As a web view does whose address differs in the fragment alone: the page stays."""
        self.page.evaluate("window.stayed = true")
        self.page.evaluate(
            "(said) => { location.hash = '/wechat?' + new URLSearchParams(said) }",
            {"nonce": self.question()["nonce"], **said},
        )
        expect(self.page).not_to_have_url(re.compile("#"))
        assert self.page.evaluate("window.stayed")


@contextmanager
def inside(chromium: Browser, town: Town) -> Iterator[tuple[Phone, MiniProgram]]:
    """A phone on which the client was opened by the mini program."""
    with opened(chromium, town, user_agent=MINI) as phone:
        yield phone, MiniProgram(phone.page)
        assert phone.complaints == []


def test_whoever_called_for_help_is_asked_once_whether_wechat_may_tell_him_and_is_told(
    chromium: Browser, town: Town, push_service: Vendor
) -> None:
    """A yes is counted, a no left alone for a day; what was not asked about counts nothing, nor does an answer again."""
    acknowledged, answered = (WECHAT_TEMPLATES[kind] for kind in ("sos.acknowledged", "sos.answered"))
    push_service.answers |= {
        "/sns/jscode2session": lambda asked: Says(json={"openid": f"openid-{asked.query['js_code']}"}),
        "/cgi-bin/stable_token": Says(json={"access_token": "t", "expires_in": 7200}),
        SEND: Says(json={"errcode": 0}),
    }
    with inside(chromium, town) as (phone, mini):
        me, page = signed_in_resident(phone, town), phone.page
        card = page.locator("[data-test=wechat-card]")
        with page.expect_response(lambda answer: answer.status == 201 and "/addresses" in answer.url):
            phone.open("/resident/#/wechat?code=ONCE1")
        expect(page).to_have_url(f"{town.url}/resident/")
        page.click("[data-test=sos]")
        expect(page.locator("[data-test=sos-big]")).to_be_visible()
        expect(card).to_have_count(0)
        hold(page, "[data-test=sos]", 1_300)
        expect(card).to_be_visible(timeout=15_000)
        card.locator("[data-test=wechat-allow]").click()
        question = mini.question()
        assert (set(question["templates"].split(",")), question["from"]) == (
            {acknowledged, answered}, "/resident/sos",
        )  # fmt: skip
        # Nobody waits for an answer, and who comes back without one finds the page as it was.
        expect(card).to_be_visible()
        mini.hand_back(accepted=f"{acknowledged},SOMEBODY_ELSES", refused=answered)
        expect(page.locator("[data-test=wechat-allowed]")).to_be_visible()
        expect(card).to_have_count(0)
        mini.hand_back(accepted=f"{acknowledged},{answered}")
        with page.expect_response(REACH):
            page.reload()
        expect(page.locator("[data-test=sos-open]")).to_be_visible()
        expect(card).to_have_count(0)
        page.goto(f"{town.url}/resident/notice-settings")
        for template, remaining in ((acknowledged, "1"), (answered, "0")):
            expect(page.locator(f"[data-test=wechat-left-{template}]")).to_have_attribute("data-left", remaining)
        expect(page.locator("[data-test=wechat-more]")).to_be_visible()

        desk = town.api(town.accounts["supervisor"])
        alarms = desk.get("/api/v1/desk/alarms", params={"limit": 20}).json()["items"]
        [call] = [alarm for alarm in alarms if (alarm["resident"] or {}).get("id") == me]
        town.clear(call["id"])
        wait_until(lambda: push_service.of(SEND), 20)
        [sent] = push_service.of(SEND)
        assert (sent.json["touser"], sent.json["template_id"]) == ("openid-ONCE1", acknowledged)
        notice = sent.json["page"].removeprefix("pages/notice/index?id=")
        # Where the mini program opens a message: the notice, read; and its code is no second address.
        phone.open(f"/resident/?notice={notice}#/wechat?code=ONCE2")
        expect(page).to_have_url(f"{town.url}/resident/sos")
        page.goto(f"{town.url}/resident/notice-settings")
        expect(page.locator(f"[data-test=wechat-left-{acknowledged}]")).to_have_attribute("data-left", "0")
        assert [asked.query["js_code"] for asked in push_service.of("/sns/jscode2session")] == ["ONCE1"]


def test_a_report_that_was_passed_on_may_be_answered_in_wechat_and_elsewhere_nothing_asks(
    chromium: Browser, town: Town, phone: Phone
) -> None:
    officer: dict[str, Any] = town.hire()

    def pass_on(page: Page) -> None:
        page.goto(f"{town.url}/officer/report")
        page.wait_for_selector("[data-test=spot][data-known=true]")
        page.click("[data-test=kind-facility]")
        page.click("[data-test=file-passed_on]")
        expect(page.locator("[data-test=report][data-state=passed_on]").first).to_be_visible(timeout=15_000)

    with inside(chromium, town) as (inner, mini):
        page = inner.sign_in(officer)
        page.goto(f"{town.url}/officer/reports")
        card = page.locator("[data-test=wechat-card]")
        pass_on(page)
        card.locator("[data-test=wechat-allow]").click()
        assert mini.question()["templates"] == WECHAT_TEMPLATES["report.answered"]
        mini.hand_back(refused=WECHAT_TEMPLATES["report.answered"])
        expect(card).to_have_count(0)
        with page.expect_response(REACH):
            pass_on(page)
        expect(card).to_have_count(0)
        page.goto(f"{town.url}/officer/notice-settings")
        expect(page.locator("[data-test=wechat-credits]")).to_be_visible()
    asked: list[str] = []
    phone.page.on("request", lambda request: asked.append(request.url))
    page = phone.sign_in(officer)
    pass_on(page)
    expect(page.locator("[data-test=wechat-card]")).to_have_count(0)
    assert [url for url in asked if "/reach" in url or "wechat" in url] == []
