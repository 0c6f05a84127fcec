"""The resident's first screens: a phone number and a code, my community, my sessions."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.web.conftest import Phone, Town
from tests.web.test_officer_dispatch import hold


def _ask(phone: Phone, number: str) -> None:
    page = phone.open("/resident/")
    page.fill("input[name=phone]", number)
    page.click("button[type=submit]")
    page.wait_for_selector("input[name=code]")


def signed_in_resident(phone: Phone, town: Town) -> str:
    """A resident who is new to the town, on his home page; returns his id."""
    number = town.new_phone()
    _ask(phone, number)
    page = phone.page
    page.fill("input[name=code]", town.code_for(number))
    page.click("button[type=submit]")
    page.wait_for_selector("ul li")
    me: str = page.evaluate("JSON.parse(localStorage.getItem('xungeng.resident.session')).user.id")
    return me


def test_a_resident_signs_in_by_code_and_sees_his_community(phone: Phone, town: Town) -> None:
    number = town.new_phone()
    _ask(phone, number)
    page = phone.page
    page.fill("input[name=code]", town.code_for(number))
    page.click("button[type=submit]")
    expect(page.locator("h1")).to_have_text("您好")
    name = town.api().get("/api/v1/public/installation").json()["town"]["name"]["zh-CN"]
    expect(page.locator("ul li")).to_contain_text(name)
    # What is still to come is said, and nothing pretends to be there.
    assert page.locator("main button, main .page a").count() == 0
    page.click(".van-tabbar-item >> nth=1")
    page.click("text=登录设备")
    expect(page.locator(".one")).to_have_count(1)
    expect(page.locator(".one")).to_contain_text("本机")


def test_where_codes_are_not_texted_no_word_of_the_page_says_so(phone: Phone, town: Town) -> None:
    number = town.new_phone()
    _ask(phone, number)
    form = phone.page.locator("form")
    expect(form.locator(".sent")).to_have_text(f"{number} 的验证码已显示在服务器控制台，5 分钟内有效。")
    expect(form.locator("input[name=code]")).to_have_attribute("placeholder", "请输入 6 位数字验证码")
    expect(phone.page.locator("main")).not_to_contain_text("短信")


def test_a_wrong_code_is_refused_and_the_right_one_still_works(phone: Phone, town: Town) -> None:
    number = town.new_phone()
    _ask(phone, number)
    page = phone.page
    right = town.code_for(number)
    page.fill("input[name=code]", "000000" if right != "000000" else "000001")
    page.click("button[type=submit]")
    expect(page.get_by_role("alert")).to_have_text("验证码不正确或已过期。")
    page.fill("input[name=code]", right)
    page.click("button[type=submit]")
    expect(page.locator("h1")).to_have_text("您好")


def test_a_resident_calls_for_help_by_holding_and_sees_that_it_was_received(phone: Phone, town: Town) -> None:
    """110 stands first; the installation's own call goes with the place."""
    number = town.new_phone()
    _ask(phone, number)
    page = phone.page
    page.fill("input[name=code]", town.code_for(number))
    page.click("button[type=submit]")
    page.wait_for_selector("ul li")
    page.click("[data-test=sos]")
    expect(page.locator("main a").first).to_have_attribute("href", "tel:110")
    hold(page, "[data-test=sos]", 1_300)
    expect(page.locator("[data-test=sos-raised]")).to_be_visible(timeout=15_000)
    desk = town.api(town.accounts["supervisor"])
    alarms = desk.get("/api/v1/desk/alarms", params={"limit": 20}).json()["items"]
    me = page.evaluate("JSON.parse(localStorage.getItem('xungeng.resident.session')).user.id")
    [mine] = [alarm for alarm in alarms if (alarm["resident"] or {}).get("id") == me]
    assert (mine["place"]["lon"], mine["place"]["lat"]) == pytest.approx(town.center, abs=1e-6)


def test_a_number_that_is_none_is_told_before_a_code_is_asked_for(phone: Phone) -> None:
    page = phone.open("/resident/")
    page.fill("input[name=phone]", "12345")
    page.click("button[type=submit]")
    expect(page.locator(".van-field__error-message")).to_have_text("请输入正确的手机号")
    expect(page.locator("input[name=code]")).to_have_count(0)


def test_a_resident_signs_out_and_nothing_is_left(phone: Phone, town: Town) -> None:
    number = town.new_phone()
    _ask(phone, number)
    page = phone.page
    page.fill("input[name=code]", town.code_for(number))
    page.click("button[type=submit]")
    page.wait_for_selector(".van-tabbar-item")
    page.click(".van-tabbar-item >> nth=1")
    page.click("[data-test=sign-out]")
    page.click(".van-dialog__confirm")
    page.wait_for_selector("input[name=phone]")
    assert page.evaluate("Object.keys(localStorage).filter((k) => k.endsWith('.session')).length") == 0


def test_the_start_page_leads_to_every_client_in_both_languages(phone: Phone) -> None:
    page = phone.open("/")
    expect(page.locator("nav a")).to_have_count(3)
    expect(page.locator("nav a >> nth=0")).to_contain_text("巡逻队员")
    page.click("#language")
    expect(page.locator("nav a >> nth=1")).to_contain_text("Desk")
    page.click("nav a >> nth=2")
    expect(page.locator("h1")).to_have_text("Resident sign-in")


def test_the_reference_of_the_api_is_served_from_the_installation(phone: Phone) -> None:
    page = phone.open("/api/docs")
    # The whole document is drawn first: on a busy machine that takes longer than anything else here.
    expect(page.locator(".title")).to_contain_text("Xungeng", timeout=20_000)
    expect(page.locator(".opblock-tag").first).to_be_visible()
