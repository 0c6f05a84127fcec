"""The officer's phone: sign in, walk, lose the network, catch up, and never a lost or an unwanted fix."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pyotp
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.running.installation import wait_until
from tests.web.conftest import Phone, Town, opened

TOUCHABLE = """
() => [...document.querySelectorAll('button, a[href], input, [role=tab], [role=checkbox], [role=button]')]
  .filter((e) => e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }))
  .filter((e) => e.getBoundingClientRect().width > 0)
  .filter((e) => !e.closest('.maplibregl-control-container'))
  .map((e) => {
    const box = (e.tagName === 'INPUT' ? e.closest('.van-cell') ?? e : e).getBoundingClientRect()
    const label = e.getAttribute('aria-label') || (e.labels && e.labels[0]?.textContent) || e.textContent || e.title
    return { what: e.outerHTML.slice(0, 120), label: (label ?? '').trim(), width: box.width, height: box.height }
  })
"""


def test_an_officer_walks_loses_the_network_and_catches_up(
    phone: Phone, town: Town, officer: dict[str, Any]
) -> None:
    """F22, F25: what was walked without a network is counted in view, arrives later, and arrives once."""
    page = phone.sign_in_by_hand(officer)
    page.click("[data-test=tab-uploads]")
    expect(page.locator(".hero .state")).to_have_text("上岗后，定位点会在这里显示上传进度。")
    page.click(".van-tabbar-item >> nth=0")
    shift_id = phone.start_shift()
    phone.walk(3)
    expect(page.locator("[data-test=status]")).to_have_attribute("data-status", "recording")
    for part in page.locator("[data-test=last-fix] > span").all():
        assert part.evaluate("(one) => one.getClientRects().length") == 1, "no line of it is broken at 360 px"
    phone.wait_sent()

    phone.context.set_offline(True)
    phone.walk(6)
    expect(page.locator("[data-test=offline]")).to_be_visible()
    waiting = phone.unsent()
    assert waiting >= 5
    assert town.track(officer, shift_id)[-1]["lon"] < phone.lon - 0.001

    phone.context.set_offline(False)
    phone.wait_sent()
    page.click("[data-test=tab-uploads]")
    stored = int(page.inner_text("[data-test=stored] .van-cell__value"))
    points = town.track(officer, shift_id)
    assert len(points) == stored
    assert points[-1]["lon"] == pytest.approx(phone.lon, abs=1e-6)
    assert len({point["fixed_at"] for point in points}) == len(points)
    # The phone's own record of the walk, and the server's, are the same.
    walked = sorted(round(point["place"][0], 7) for point in phone.trail())
    assert sorted(round(point["lon"], 7) for point in points) == walked


def test_the_client_starts_without_a_network_and_goes_on_recording(
    phone: Phone, town: Town, officer: dict[str, Any]
) -> None:
    """A phone that restarts in a cellar still knows its shift, records, and has lost nothing afterwards."""
    page = phone.sign_in(officer)
    shift_id = phone.start_shift()
    phone.walk(3)
    page.evaluate("navigator.serviceWorker.ready")
    phone.wait_sent()
    phone.context.set_offline(True)
    phone.walk(3)
    page.reload()
    expect(page.locator("[data-test=status]")).to_have_attribute("data-status", "recording")
    phone.walk(3)
    assert phone.unsent() >= 5
    page.click("[data-test=tab-uploads]")
    assert int(page.inner_text("[data-test=unsent-figure]")) >= 5
    page.click(".van-tabbar-item >> nth=0")
    phone.context.set_offline(False)
    phone.wait_sent()
    assert town.track(officer, shift_id)[-1]["lon"] == pytest.approx(phone.lon, abs=1e-6)


def test_nothing_is_recorded_before_the_notice_was_read(
    phone: Phone, town: Town, officer: dict[str, Any]
) -> None:
    page = phone.sign_in(officer)
    page.click("[data-test=start]")
    page.wait_for_selector("[data-test=accept]")
    phone.walk(2)
    page.click(".decline")
    page.wait_for_selector("[data-test=start]")
    assert town.api(officer).get("/api/v1/officer/shift").status_code == 204

    # He may have started the shift on another phone: this one does not record either.
    api = town.api(officer)
    started = api.post("/api/v1/officer/shifts", json={}, headers={"Idempotency-Key": str(uuid4())})
    assert started.status_code == 201
    page.reload()
    expect(page.locator("[data-test=status]")).to_have_attribute("data-status", "noticeNeeded")
    phone.walk(2)
    assert phone.unsent() == 0
    assert town.track(officer, started.json()["id"]) == []
    page.click("[data-test=status] ~ .notices button")
    page.click("[data-test=accept]")
    expect(page.locator("[data-test=status]")).to_have_attribute("data-status", "recording")
    phone.walk(2)
    phone.wait_sent()
    assert town.track(officer, started.json()["id"]) != []


def test_a_shift_that_the_desk_ended_is_noticed_and_recording_stops(
    phone: Phone, town: Town, officer: dict[str, Any]
) -> None:
    """F24: the next fix tells the phone; it stops measuring, and the server has kept nothing of it."""
    page = phone.sign_in(officer)
    shift_id = phone.start_shift()
    phone.walk(2)
    phone.wait_sent()
    ended_at = town.end_at_desk(shift_id)
    for _ in range(20):
        phone.walk(1)
        if page.is_visible("[data-test=closed]"):
            break
    expect(page.locator("[data-test=closed]")).to_contain_text("指挥席")
    page.click("[data-test=closed] button")
    page.wait_for_selector("[data-test=start]")
    phone.walk(2)
    # What was measured before the end may come after it, and counts.
    track = town.track(officer, shift_id)
    assert track != []
    assert [fix for fix in track if fix["fixed_at"] > ended_at] == []


def test_an_end_without_a_network_stops_recording_at_once_and_is_told_later(
    phone: Phone, town: Town, officer: dict[str, Any]
) -> None:
    page = phone.sign_in(officer)
    shift_id = phone.start_shift()
    phone.walk(2)
    phone.wait_sent()
    phone.context.set_offline(True)
    phone.walk(2)
    page.wait_for_function("document.querySelector('[data-test=unsent]').dataset.count >= 2")
    phone.end_shift()
    expect(page.locator("[data-test=pending-end]")).to_be_visible()
    expect(page.locator("[data-test=start]")).to_be_disabled()
    assert town.api(officer).get("/api/v1/officer/shift").status_code == 200
    phone.context.set_offline(False)
    expect(page.locator("[data-test=pending-end]")).to_be_hidden(timeout=20_000)
    page.wait_for_function("!document.querySelector('.van-tabbar .van-badge')", timeout=20_000)
    assert town.api(officer).get("/api/v1/officer/shift").status_code == 204
    # What was measured before the end counts, although it came after it.
    assert len(town.track(officer, shift_id)) >= 4


def test_fixes_that_the_browser_has_thrown_away_are_told(
    phone: Phone, town: Town, officer: dict[str, Any]
) -> None:
    """F25: the store is emptied behind the client's back; it says how many were lost until it is read."""
    page = phone.sign_in(officer)
    phone.start_shift()
    phone.walk(2)
    phone.wait_sent()
    page.evaluate("navigator.serviceWorker.ready")
    phone.context.set_offline(True)
    phone.walk(4)
    waiting = phone.unsent()
    assert waiting >= 4
    # A page of the same origin that is not the client: nobody holds the store open any more.
    page.goto("about:blank")
    phone.context.set_offline(False)
    page.goto(f"{town.url}/healthz")
    page.evaluate(
        """() => new Promise((resolve, reject) => {
          const request = indexedDB.deleteDatabase('xungeng-officer')
          request.onsuccess = resolve
          request.onerror = request.onblocked = reject
        })"""
    )
    page.goto(f"{town.url}/officer/")
    expect(page.locator("[data-test=lost]")).to_contain_text(str(waiting))
    page.reload()
    expect(page.locator("[data-test=lost]")).to_be_visible()
    page.click("[data-test=lost] button")
    page.reload()
    page.wait_for_selector("[data-test=status]")
    expect(page.locator("[data-test=lost]")).to_be_hidden()


def test_one_tab_records_and_the_next_takes_over(phone: Phone, officer: dict[str, Any]) -> None:
    page = phone.sign_in(officer)
    phone.start_shift()
    second = phone.context.new_page()
    second.goto(page.url)
    expect(second.locator("[data-test=status]")).to_have_attribute("data-status", "elsewhere")
    expect(page.locator("[data-test=status]")).to_have_attribute("data-status", "recording")
    page.close()
    expect(second.locator("[data-test=status]")).to_have_attribute("data-status", "recording")


def test_a_refused_location_is_told_with_what_to_do(
    chromium: Browser, town: Town, officer: dict[str, Any]
) -> None:
    with opened(chromium, town, permissions=[]) as phone:
        page = phone.sign_in(officer)
        phone.start_shift()
        expect(page.locator("[data-test=status]")).to_have_attribute("data-status", "denied")
        expect(page.locator(".notices")).to_contain_text("位置")
        page.click("[data-test=tab-uploads]")
        expect(page.locator(".hero .state")).to_have_text("正在上岗，尚未记录到定位点。")
        page.click(".van-tabbar-item >> nth=0")
        # Allowed in the browser's settings: the client goes on by itself.
        phone.context.grant_permissions(["geolocation"])
        expect(page.locator("[data-test=status]")).to_have_attribute("data-status", "recording")


def test_a_wrong_password_is_refused_in_a_sentence(phone: Phone, officer: dict[str, Any]) -> None:
    page = phone.open("/officer/")
    page.fill("input[name=login]", officer["login"])
    page.fill("input[name=password]", "not this one")
    page.click("button[type=submit]")
    expect(page.get_by_role("alert")).to_have_text("账号或密码不正确。")
    expect(page.locator("input[name=password]")).to_be_visible()


def test_the_desk_is_not_let_in_as_an_officer(phone: Phone, town: Town) -> None:
    page = phone.open("/officer/")
    page.fill("input[name=login]", town.accounts["desk"]["login"])
    page.fill("input[name=password]", town.accounts["desk"]["password"])
    page.click("button[type=submit]")
    expect(page.get_by_role("alert")).to_contain_text("不是巡逻队员")
    assert page.evaluate("Object.keys(localStorage).filter((k) => k.endsWith('.session')).length") == 0


def test_an_authenticator_code_is_asked_for_where_the_account_has_one(
    phone: Phone, town: Town, officer: dict[str, Any]
) -> None:
    api = town.api(officer)
    begun = api.post(
        "/api/v1/auth/totp", json={"password": officer["password"]}, headers={"Idempotency-Key": str(uuid4())}
    )
    assert begun.status_code == 200, begun.text
    code = pyotp.TOTP(begun.json()["secret"])
    confirmed = api.post(
        "/api/v1/auth/totp/confirm", json={"code": code.now()}, headers={"Idempotency-Key": str(uuid4())}
    )
    assert confirmed.status_code in (200, 204), confirmed.text
    page = phone.open("/officer/")
    page.fill("input[name=login]", officer["login"])
    page.fill("input[name=password]", officer["password"])
    page.click("button[type=submit]")
    page.wait_for_selector("input[name=totp]")
    # A code works once, and the present one has just been used: the next one is accepted a step ahead.
    page.fill("input[name=totp]", code.at(int(time.time()) + 30))
    page.click("button[type=submit]")
    page.wait_for_selector("[data-test=start]")


def test_an_officer_changes_his_password_and_is_signed_out_elsewhere(
    phone: Phone, town: Town, officer: dict[str, Any]
) -> None:
    elsewhere = town.api(officer)
    fresh = "lantern-over-the-canal-47"
    page = phone.sign_in(officer)
    page.goto(f"{town.url}/officer/me")
    page.click("text=密码与动态验证码")
    form = page.locator("[data-test=password]")

    def change(old: str, new: str, again: str) -> None:
        for name, value in (("old", old), ("new", new), ("again", again)):
            form.locator(f"input[name={name}]").fill(value)
        form.get_by_role("button", name="修改密码").click()

    change(officer["password"], fresh, fresh + "x")
    expect(form).to_contain_text("两次输入的新密码不一致")
    change("not this one", fresh, fresh)
    expect(form.get_by_role("alert")).to_contain_text("当前密码")
    change(officer["password"], "12345678", "12345678")
    expect(form.get_by_role("alert")).to_contain_text("太简单")
    change(officer["password"], fresh, fresh)
    expect(page.locator(".van-toast")).to_contain_text("密码已修改")
    wait_until(lambda: elsewhere.get("/api/v1/auth/me").status_code == 401, timeout_s=5)
    page.reload()
    page.wait_for_selector("[data-test=password]")
    old = {"login": officer["login"], "password": officer["password"]}
    assert town.api().post("/api/v1/auth/login", json=old).status_code == 401
    assert town.api().post("/api/v1/auth/login", json={**old, "password": fresh}).status_code == 200


def test_an_officer_switches_an_authenticator_on_and_off(
    phone: Phone, town: Town, officer: dict[str, Any]
) -> None:
    page = phone.sign_in(officer)
    page.goto(f"{town.url}/officer/security")
    form = page.locator("[data-test=totp]")
    form.get_by_role("button", name="启用").click()
    form.locator("input[name=present]").fill(officer["password"])
    form.get_by_role("button", name="启用").click()
    secret = form.locator("code").inner_text()
    form.locator("input[name=code]").fill("000000")
    form.get_by_role("button", name="启用").click()
    expect(form.get_by_role("alert")).to_be_visible()
    form.locator("input[name=code]").fill(pyotp.TOTP(secret).now())
    form.get_by_role("button", name="启用").click()
    form.get_by_role("button", name="停用").click()
    form.locator("input[name=present]").fill(officer["password"])
    form.get_by_role("button", name="停用").click()
    expect(form.get_by_role("button", name="启用")).to_be_visible()
    assert not town.api(officer).get("/api/v1/auth/me").json()["totp_enabled"]


def test_a_session_is_ended_from_another_phone(
    phone: Phone, chromium: Browser, town: Town, officer: dict[str, Any]
) -> None:
    phone.sign_in(officer)
    with opened(chromium, town) as other:
        page = other.sign_in(officer)
        page.goto(f"{town.url}/officer/sessions")
        expect(page.locator(".one")).not_to_have_count(0)
        # The phone's, and those that this test has made at the API.
        for left in reversed(range(page.locator(".one button").count())):
            page.click(".one button >> nth=0")
            page.click(".van-dialog__confirm")
            expect(page.locator(".one button")).to_have_count(left)
        expect(page.locator(".one button")).to_have_count(0)
    phone.open("/officer/shifts")
    expect(phone.page.get_by_role("alert")).to_contain_text("此登录已被注销", timeout=20_000)


def test_a_stolen_refresh_token_ends_the_session_and_its_owner_is_told(
    phone: Phone, town: Town, officer: dict[str, Any]
) -> None:
    """F53: a thief uses the phone's refresh token; when the phone uses it too, both are out, and the phone says why."""
    page = phone.sign_in(officer)
    stolen = page.evaluate("JSON.parse(localStorage.getItem('xungeng.officer.session')).refresh_token")
    thief = town.api().post("/api/v1/auth/refresh", json={"refresh_token": stolen})
    assert thief.status_code == 200
    # Within ten seconds a second use with the phone's own device key would pass as a race of two tabs.
    page.wait_for_timeout(11_000)
    page.evaluate(
        """() => {
          const kept = JSON.parse(localStorage.getItem('xungeng.officer.session'))
          localStorage.setItem('xungeng.officer.session', JSON.stringify({ ...kept, expires_at_ms: 0 }))
        }"""
    )
    phone.open("/officer/shifts")
    expect(page.get_by_role("alert")).to_contain_text("重复使用", timeout=20_000)
    after = town.api().get(
        "/api/v1/auth/me", headers={"Authorization": f"Bearer {thief.json()['access_token']}"}
    )
    assert after.status_code == 401


def test_a_crew_goes_together(phone: Phone, chromium: Browser, town: Town) -> None:
    """P21: the leader asks; the other is off duty, and his phone records nothing, until he himself has joined."""
    officer = town.new_officer(with_colleague=True)
    page = phone.sign_in(officer)
    page.click("[data-test=crew]")
    page.fill("input[name=call_sign]", "巡组 7")
    page.click("text=尚未选择")
    name = town.colleague_of(officer)
    page.fill("input[type=search]", name or "")
    page.click(".van-checkbox >> nth=0")
    page.click("footer button")
    phone.start_shift()
    expect(page.locator(".crew")).to_contain_text("巡组 7")
    expect(page.locator(".crew")).to_contain_text("已邀请 1 人")
    crew = town.api(officer).get("/api/v1/officer/shift").json()["crew"]
    assert [one["display_name"] for one in crew["members"]] == [officer["display_name"]]
    [asked] = crew["invited"]
    mate = next(one for one in town.accounts["officers"] if one["id"] == asked["id"])

    with opened(chromium, town) as other:
        other.sign_in(mate)
        expect(other.page.locator("[data-test=invitation]")).to_contain_text(
            f"{officer['display_name']} 邀请您加入 巡组 7"
        )
        assert _untouchable(other.page, "asked") == []
        assert other.page.evaluate("document.documentElement.scrollWidth") <= 360
        other.walk(2)
        assert other.trail() == []
        assert town.api(mate).get("/api/v1/officer/shift").status_code == 204
        other.page.click("[data-test=join]")
        other.page.click("[data-test=accept]")
        assert town.api(mate).get("/api/v1/officer/shift").status_code == 204
        other.page.click("[data-test=join]")
        expect(other.page.locator("[data-test=status]")).to_have_attribute("data-status", "recording")
        expect(other.page.locator(".crew")).to_contain_text("2 人")

    page.reload()
    expect(page.locator(".crew")).to_contain_text("2 人")
    page.click("[data-test=end]")
    page.click("text=结束全组班次")
    page.wait_for_selector("[data-test=start]")
    # His own phone shows the end at once, and the server is told then.
    wait_until(lambda: town.api(mate).get("/api/v1/officer/shift").status_code == 204)


def test_an_officer_declines_to_go_with_a_crew(phone: Phone, town: Town) -> None:
    """P21: nothing but his own yes brings him on duty."""
    leader = town.new_officer(with_colleague=True)
    mate = next(one for one in town.accounts["officers"] if one["display_name"] == town.colleague_of(leader))
    crew = {"call_sign": "巡组 8", "travel": "foot", "member_ids": [mate["id"]]}
    started = town.api(leader).post(
        "/api/v1/officer/shifts", json={"crew": crew}, headers={"Idempotency-Key": str(uuid4())}
    )
    assert started.status_code == 201, started.text
    page = phone.sign_in(mate)
    page.click("[data-test=decline-invitation]")
    expect(page.locator("[data-test=invitation]")).to_have_count(0)
    expect(page.locator("[data-test=start]")).to_be_enabled()
    seen = town.api(leader).get("/api/v1/officer/shift").json()["crew"]["invited"]
    assert [(one["id"], one["state"]) for one in seen] == [(mate["id"], "declined")]
    assert town.api(mate).get("/api/v1/officer/shift").status_code == 204


def test_the_language_is_chosen_and_kept(phone: Phone, officer: dict[str, Any]) -> None:
    page = phone.sign_in(officer)
    page.click("[data-test=tab-me]")
    page.click("[data-test=language]")
    page.click(".van-action-sheet__item >> text=English")
    expect(page.locator("[data-test=sign-out]")).to_have_text("Sign out")
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.locator("[data-test=sign-out]")).to_have_text("Sign out")


@pytest.mark.parametrize("locale", [pytest.param("zh-CN", marks=pytest.mark.full), "en-GB"])
def test_whatever_is_touched_is_large_enough_and_has_a_name(
    chromium: Browser, town: Town, locale: str
) -> None:
    """44 pixels, because people wear gloves and walk; a name, because some of them listen."""
    with opened(chromium, town, locale=locale) as phone:
        page = phone.open("/officer/sign-in")
        page.wait_for_selector("form")
        wrong = _untouchable(page, "sign-in")
        phone.sign_in(town.new_officer())
        wrong += _untouchable(page, "off duty")
        page.click("[data-test=crew]")
        wrong += _untouchable(page, "crew")
        page.click("[data-test=crew] >> xpath=preceding-sibling::button")
        phone.start_shift()
        phone.walk(1)
        wrong += _untouchable(page, "on duty")
        for path in (
            "tasks",
            "sos",
            "uploads",
            "me",
            "notice",
            "security",
            "sessions",
            "disclosures",
            "shifts",
        ):
            phone.open(f"/officer/{path}")
            page.wait_for_load_state("networkidle")
            wrong += _untouchable(page, path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        assert wrong == []


def _untouchable(page: Page, screen: str) -> list[str]:
    return [
        f"{screen}: {one['width']:.0f}x{one['height']:.0f} «{one['label']}» {one['what']}"
        for one in page.evaluate(TOUCHABLE)
        if not one["label"] or one["height"] < 43.5 or one["width"] < 43.5
    ]


def test_nothing_is_fetched_from_outside(phone: Phone, town: Town, officer: dict[str, Any]) -> None:
    """Many towns have no way out: fonts, scripts, maps and labels come from the installation."""
    foreign: list[str] = []
    phone.context.on(
        "request",
        lambda request: (
            None if request.url.startswith((town.url, "data:", "blob:")) else foreign.append(request.url)
        ),
    )
    phone.sign_in(officer)
    phone.start_shift()
    phone.walk(2)
    phone.page.wait_for_load_state("networkidle")
    assert foreign == []
