"""The desk dispatches: an SOS that cannot be missed, and a task from a click on the map to an officer on his way."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from playwright.sync_api import Browser, expect

from tests.running.installation import wait_until
from tests.web.conftest import Town
from tests.web.test_desk import LIVE, Walker, seated


def test_an_sos_shows_on_every_page_until_somebody_takes_it_on_and_a_task_is_sent_from_the_map(
    chromium: Browser, town: Town
) -> None:
    caller = Walker(town, town.new_officer()).start()
    near = Walker(town, town.new_officer()).start()
    supervisor = town.accounts["supervisor"]
    api = town.api(supervisor)
    try:
        caller.step(north_m=300)
        near.step(east_m=40)
        with seated(chromium, town) as desk:
            # As after a reload: nobody has touched the page yet, which a test's own questions to it would count as.
            desk.page.add_init_script("Object.defineProperty(navigator, 'userActivation', { value: undefined })")
            page = desk.sign_in(supervisor, "/devices")
            expect(page.get_by_role("heading", name="设备")).to_be_visible()
            alarm = caller._post(
                "/api/v1/officer/sos",
                {"note": "有人持刀", "device_at": datetime.now(UTC).isoformat()},
            )
            call = page.locator(f"[data-testid=sos] [data-alarm='{alarm['id']}']")
            expect(call).to_contain_text(f"队员 {caller.name} 紧急求援", timeout=15_000)
            # Said once to whoever listens: how long ago it was, which changes each second, is no part of it.
            expect(call.get_by_role("alert")).to_have_text(f"队员 {caller.name} 紧急求援")
            expect(call).to_contain_text("有人持刀")
            page.wait_for_function("() => document.title.includes('求援')")
            # The first press lets the siren be heard, and reaches what was pressed all the same.
            muted = page.get_by_test_id("sos-muted")
            expect(muted).to_contain_text("点击")
            page.get_by_test_id("phones-tab").click()
            expect(page.locator("[data-phone]").first).to_be_visible()
            expect(muted).to_contain_text("警报声已开启")

            # People are asked by the system itself; whoever takes the call on finds them there.
            wait_until(lambda: api.get(f"/api/v1/desk/alarms/{alarm['id']}").json()["task_id"], 60)
            call.get_by_role("button", name=f"以 {supervisor['display_name']} 的名义确认").click()
            expect(call).to_have_count(0)
            expect(page.get_by_test_id("sos-answered").filter(has_text=caller.name)).to_contain_text(
                f"{supervisor['display_name']} 于"
            )
            card = page.locator(f"[data-testid=alarm-card][data-alarm='{alarm['id']}']")
            expect(card.get_by_test_id("acknowledged-by")).to_contain_text(supervisor["display_name"])
            stored = api.get(f"/api/v1/desk/alarms/{alarm['id']}").json()
            assert stored["acknowledged_by"]["display_name"] == supervisor["display_name"]

            # It is over: whoever was asked to go is called off and free for something else.
            card.get_by_role("button", name="解除").click()
            card.get_by_label("理由").fill("演练")
            card.get_by_test_id("submit-act").click()
            expect(card).to_have_attribute("data-state", "cleared")

            desk.drawn()
            desk.wait_shown(near.id, near.lon, near.lat)
            page.get_by_test_id("make").click()
            page.evaluate(
                f"([lon, lat]) => {LIVE}.map.jumpTo({{ center: [lon, lat], zoom: 16 }})", [near.lon, near.lat]
            )
            box = page.locator(".canvas").bounding_box()
            assert box is not None
            page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 + 90)
            new = page.get_by_test_id("new-task")
            expect(new.get_by_label("地点", exact=True)).to_have_value(re.compile(r"^\d+\.\d+, \d+\.\d+$"))
            new.locator(".el-select").first.click()
            page.get_by_role("option", name="现场核查").click()
            new.get_by_label("要做什么").fill("去看看东门")
            nearest = new.locator("[data-testid=nearest] label")
            expect(nearest.first).to_contain_text(near.name)
            expect(nearest.first).to_contain_text("分钟")
            nearest.first.click()
            new.get_by_test_id("create-task").click()

            made = page.get_by_test_id("task-card")
            expect(made).to_have_attribute("data-state", "offered")
            expect(made.locator("[data-share=offered]")).to_contain_text(near.name)
            task_id = made.get_attribute("data-task")
            near._post(f"/api/v1/officer/tasks/{task_id}/accept", _pressed())
            expect(made).to_have_attribute("data-state", "accepted", timeout=15_000)
            near._post(f"/api/v1/officer/tasks/{task_id}/depart", _pressed())
            expect(made).to_have_attribute("data-state", "en_route", timeout=15_000)
            expect(page.locator(f"[data-pin='task/{task_id}'] svg")).to_have_attribute(
                "data-task", "en_route"
            )
            page.get_by_test_id("queue-tab").click()
            expect(page.locator(f"[data-row='task/{task_id}']")).to_contain_text("赶往途中")
            expect(made.locator("[data-action=depart]")).to_contain_text(near.name)

            made.get_by_role("button", name="取消任务", exact=True).click()
            made.get_by_label("理由").fill("已经解决")
            made.get_by_test_id("submit-act").click()
            expect(made).to_have_attribute("data-state", "cancelled")
            expect(page.locator(f"[data-row='task/{task_id}']")).to_have_count(0)
    finally:
        caller.end()
        near.end()


def _pressed() -> dict[str, str]:
    return {"device_at": datetime.now(UTC).isoformat()}
