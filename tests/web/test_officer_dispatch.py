"""Tasks and the call for help on the officer's phone, with and without a network."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.running.installation import wait_until
from tests.web.conftest import Phone, Town, opened

UNSENT = "[data-test=unsent-presses]"


def _key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4())}


def offer(town: Town, officer: dict[str, Any], code: str = "noise", **more: Any) -> dict[str, Any]:
    """The desk makes a task in the middle of the town and offers it to the officer."""
    desk = town.api(town.accounts["supervisor"])
    kinds = desk.get("/api/v1/desk/task-kinds", params={"limit": 100}).json()["items"]
    body = {
        "kind_id": next(kind["id"] for kind in kinds if kind["code"] == code),
        "description": "广场舞音量过大，居民多次反映",
        "place": list(town.center),
        "place_name": "中心广场",
        "offer": {"officer_ids": [officer["id"]]},
        **more,
    }
    answer = desk.post("/api/v1/desk/tasks", json=body, headers=_key())
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def presses(town: Town, task_id: str, officer: dict[str, Any]) -> list[dict[str, Any]]:
    """What the officer did with a task, as the desk reads it in the task's timeline, the first act first."""
    desk = town.api(town.accounts["supervisor"])
    found = desk.get(f"/api/v1/desk/tasks/{task_id}/timeline", params={"limit": 100}).json()["items"]
    acts = [act for act in found if (act["actor"] or {}).get("id") == officer["id"]]
    return sorted(acts, key=lambda act: str(act["at"]))


def hold(page: Page, selector: str, for_ms: int) -> None:
    """Press a button for a while, as a thumb does."""
    box = page.locator(selector).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.wait_for_timeout(for_ms)
    page.mouse.up()


def test_what_is_pressed_offline_arrives_once_in_order_and_with_its_own_time(
    phone: Phone, town: Town, officer: dict[str, Any]
) -> None:
    """Offered by the desk, accepted; then airplane mode, a restart of the app, and the network again."""
    page = phone.sign_in(officer)
    phone.start_shift()
    task = offer(town, officer)
    # It comes by itself, by the live channel or the poll.
    expect(page.locator("[data-test=tab-tasks] .van-badge")).to_have_text("1", timeout=20_000)
    page.click("[data-test=tab-tasks]")
    page.click(f"[data-test=group-offers] [data-id='{task['id']}']")
    page.click("[data-test=do-accept]")
    mine = page.locator("[data-test=my-state]")
    expect(mine).to_have_attribute("data-state", "accepted")
    expect(mine).to_have_attribute("data-pending", "0")

    phone.context.set_offline(True)
    page.click("[data-test=do-depart]")
    expect(mine).to_have_attribute("data-state", "en_route")
    page.wait_for_timeout(1_500)
    page.click("[data-test=do-arrive]")
    expect(mine).to_have_attribute("data-state", "on_site")
    expect(page.locator(UNSENT)).to_have_attribute("data-count", "2")
    # The app is closed and opened without a network: its worker serves it, and the presses are still there.
    page.reload()
    expect(mine).to_have_attribute("data-state", "on_site")
    expect(page.locator(UNSENT)).to_have_attribute("data-count", "2")
    assert [act["action"] for act in presses(town, task["id"], officer)] == ["accept"]

    back_at = page.evaluate("new Date().toISOString()")
    phone.context.set_offline(False)
    expect(page.locator(UNSENT)).to_have_count(0, timeout=20_000)
    expect(mine).to_have_attribute("data-pending", "0")
    acts = presses(town, task["id"], officer)
    assert [act["action"] for act in acts] == ["accept", "depart", "arrive"]
    _, depart, arrive = acts
    assert depart["device_at"] < arrive["device_at"] < back_at <= depart["at"] <= arrive["at"]

    page.click("[data-test=do-resolve]")
    page.click("[data-test=give]")
    expect(page.get_by_role("alert")).to_contain_text("*")
    page.click("[data-test=choice-outcome-settled]")
    page.fill("textarea[name=text]", "已劝离，音量调低")
    page.click("[data-test=give]")
    expect(page.locator(f"[data-id='{task['id']}']")).to_have_count(0)
    wait_until(
        lambda: (
            town.api(town.accounts["supervisor"]).get(f"/api/v1/desk/tasks/{task['id']}").json()["state"]
            == "resolved"
        )
    )


def test_what_has_happened_meanwhile_is_said_in_words_and_holds_up_nothing(
    phone: Phone, town: Town, officer: dict[str, Any]
) -> None:
    """The desk withdraws one of two tasks while the phone is offline: that press is refused, the other goes on."""
    page = phone.sign_in(officer)
    phone.start_shift()
    gone, kept = offer(town, officer, "help"), offer(town, officer, "other")
    page.click("[data-test=tab-tasks]")
    expect(page.locator("[data-test=group-offers] [data-test=task]")).to_have_count(2, timeout=20_000)
    phone.context.set_offline(True)
    for task in (gone, kept):
        page.click(f"[data-id='{task['id']}']")
        page.click("[data-test=do-accept]")
        page.click("[data-test=tab-tasks]")
    desk = town.api(town.accounts["supervisor"])
    cancelled = desk.post(
        f"/api/v1/desk/tasks/{gone['id']}/cancel", json={"reason": "已由居委处理"}, headers=_key()
    )
    assert cancelled.status_code == 200, cancelled.text
    phone.context.set_offline(False)
    refused = page.locator("[data-test=refused-press]")
    expect(refused).to_contain_text(f"#{gone['number']}", timeout=20_000)
    expect(refused).to_contain_text("撤回")
    expect(page.locator("[data-test=task]")).to_have_count(1)
    expect(page.locator(f"[data-id='{kept['id']}']")).to_have_attribute("data-state", "accepted")
    wait_until(lambda: desk.get(f"/api/v1/desk/tasks/{kept['id']}").json()["state"] == "accepted")
    refused.get_by_role("button").click()
    expect(refused).to_have_count(0)
    # With a task in hand nobody goes home, and he is told which one.
    page.click("[data-test=tab-duty]")
    page.click("[data-test=end]")
    page.click(".van-action-sheet__item >> nth=0")
    expect(page.locator("[data-test=kept-on]")).to_contain_text(f"#{kept['number']}", timeout=20_000)
    page.click("[data-test=to-tasks]")
    expect(page.locator(f"[data-id='{kept['id']}']")).to_be_visible()
    assert town.api(officer).get("/api/v1/officer/shift").json()["state"] == "on_duty"


def test_help_is_called_by_holding_for_a_second_and_it_is_seen_who_answers(
    phone: Phone, town: Town, officer: dict[str, Any]
) -> None:
    """Off duty, from whatever screen; letting go early calls nobody."""
    api, before = town.api(officer), town.api(officer).get("/api/v1/officer/sos").json()["items"]
    page = phone.sign_in(officer)
    page.click("[data-test=tab-me]")
    hold(page, "[data-test=sos]", 400)
    expect(page.locator("[data-test=sos-big]")).to_be_visible()
    assert api.get("/api/v1/officer/sos").json()["items"] == before

    page.click("[data-test=tab-me]")
    hold(page, "[data-test=sos]", 1_300)
    expect(page.locator("[data-test=sos-open]")).to_be_visible(timeout=15_000)
    [call, *_] = api.get("/api/v1/officer/sos").json()["items"]
    desk = town.api(town.accounts["supervisor"])
    wait_until(lambda: desk.get(f"/api/v1/desk/alarms/{call['id']}").json()["place"] is not None)
    alarm = desk.get(f"/api/v1/desk/alarms/{call['id']}").json()
    assert (alarm["place"]["lon"], alarm["place"]["lat"]) == pytest.approx(town.center, abs=1e-6)
    if "acknowledge" in alarm["actions"]:
        answer = desk.post(f"/api/v1/desk/alarms/{call['id']}/acknowledge", headers=_key())
        assert answer.status_code == 200, answer.text
        name = town.accounts["supervisor"]["display_name"]
        expect(page.locator("[data-test=sos-acknowledged]")).to_contain_text(name, timeout=20_000)


def test_without_a_network_the_call_for_help_waits_and_offers_the_telephone(
    chromium: Browser, town: Town
) -> None:
    officer = town.new_officer()
    with opened(chromium, town) as phone:
        page = phone.sign_in(officer)
        phone.start_shift()
        phone.walk(1)
        # The worker has everything by then: the screens are there without a network.
        page.wait_for_function("navigator.serviceWorker.controller !== null")
        phone.context.set_offline(True)
        hold(page, "[data-test=sos]", 1_300)
        expect(page.locator("[data-test=sos-unsent]")).to_be_visible()
        assert page.get_attribute("[data-test=tel-110]", "href") == "tel:110"
        assert page.get_attribute("[data-test=tel-120]", "href") == "tel:120"
        message = page.get_attribute("[data-test=sms]", "href") or ""
        assert message.startswith("sms:12110?&body=")
        assert f"{phone.lat:.5f}" in message
        # The desk's own telephone was told while there was a network.
        assert page.get_attribute("[data-test=tel-desk]", "href") == "tel:02159880110"
        to_desk = page.get_attribute("[data-test=sms-desk]", "href") or ""
        assert to_desk.startswith("sms:13900000110?&body=")
        assert f"{phone.lat:.5f}" in to_desk
        page.reload()
        expect(page.locator("[data-test=sos-unsent]")).to_be_visible()
        phone.context.set_offline(False)
        expect(page.locator("[data-test=sos-open]")).to_be_visible(timeout=20_000)
        assert len(town.api(officer).get("/api/v1/officer/sos").json()["items"]) == 1
        assert phone.complaints == []
