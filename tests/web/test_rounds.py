"""Rounds on the officer's phone: begun, answered, skipped and scanned, with and without a network."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from playwright.sync_api import Browser, Page, expect

from tests.photos import photo
from tests.running.installation import wait_until
from tests.web.conftest import Phone, Town, opened

STATE = "[data-test=round-state]"
UNSENT = "[data-test=unsent-presses]"
LOCK = {
    "id": "lock", "text": {"zh-CN": "门禁是否完好？", "en": "Is the lock in order?"}, "answer": "yes_no",
    "required": True, "choices": [],
}  # fmt: skip
METER = {
    "id": "meter", "text": {"zh-CN": "拍下电表", "en": "Show the meter"}, "answer": "photo", "required": True, "choices": [],
}  # fmt: skip


def at_desk(town: Town, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the desk has made."""
    desk = town.api(town.accounts["supervisor"])
    answer = desk.post(f"/api/v1/desk/{path}", json=body, headers={"Idempotency-Key": str(uuid4())})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def lay_out(town: Town, points: int, *asked: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A route of checkpoints whose labels are what counts: nobody stays at one for an hour. The first one asks."""
    lon, lat = town.center
    made = [
        at_desk(
            town,
            "checkpoints",
            {
                "code": f"w-{uuid4().hex[:8]}",
                "name": {"zh-CN": f"第{n + 1}点", "en": f"Point {n + 1}"},
                "place": [lon, lat + n * 0.002],
                "min_dwell_s": 3600,
                "questions": [] if n else list(asked),
            },
        )
        for n in range(points)
    ]
    body = {
        "name": {"zh-CN": "试走", "en": "Trial"}, "sequence": "fixed", "allowed_s": 3600,
        "checkpoint_ids": [one["id"] for one in made],
    }  # fmt: skip
    return at_desk(town, "routes", body), made


def plan_soon(town: Town, route: dict[str, Any], officer: dict[str, Any]) -> None:
    """A plan whose patrol may be begun now, by this officer only."""
    at = datetime.now(ZoneInfo("Asia/Shanghai")) + timedelta(minutes=3)
    body = {
        "route_id": route["id"], "name": {"zh-CN": "今天", "en": "Today"}, "rule": "FREQ=DAILY",
        "starts_on": at.date().isoformat(), "starts_at": at.strftime("%H:%M"), "officer_ids": [officer["id"]],
    }  # fmt: skip
    at_desk(town, "plans", body)


def patrol_at_desk(town: Town, patrol_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (
        town.api(town.accounts["supervisor"]).get(f"/api/v1/desk/patrols/{patrol_id}").json()
    )
    return found


def token_of(checkpoint: dict[str, Any]) -> str:
    """What is printed on its label, as a phone's own reader opens it."""
    return str(checkpoint["label_url"]).rsplit("/", 1)[1]


def point(page: Page, checkpoint: dict[str, Any]) -> Any:
    return page.locator(f"[data-test=point][data-code='{checkpoint['code']}']")


def give_reason(page: Page) -> None:
    form = page.locator("[data-test=reason]").filter(visible=True)
    form.get_by_role("radio").first.click()
    form.locator("[data-test=give]").click()


def test_a_planned_round_is_gone_and_what_is_pressed_offline_arrives_in_order(
    phone: Phone, town: Town
) -> None:
    """Begun, answered and scanned with a network; skipped and finished without one; closed meanwhile."""
    officer = town.hire(town.middle)
    route, (first, second, third) = lay_out(town, 3, LOCK)
    plan_soon(town, route, officer)
    page = phone.sign_in(officer)
    phone.start_shift()
    page.click("[data-test=tab-tasks]")
    page.click("[data-test=to-rounds]")
    planned = page.locator("[data-test=rounds-planned] [data-test=round]").filter(has_text="试走")
    expect(planned).to_have_count(1, timeout=20_000)
    patrol_id = planned.get_attribute("data-id") or ""
    planned.click()
    page.click("[data-test=do-start]")
    state = page.locator(STATE)
    expect(state).to_have_attribute("data-state", "active")
    expect(state).to_have_attribute("data-pending", "0")
    # The phone knows by its own fixes that it is there; for how long it has to be there is said, and counted elsewhere.
    phone.context.set_geolocation({"longitude": phone.lon, "latitude": phone.lat, "accuracy": 6})
    expect(point(page, first).locator("[data-test=dwell]")).to_contain_text("3600", timeout=20_000)
    expect(point(page, second).locator("[data-test=dwell]")).to_have_count(0)
    # The first is the one to go to, and nobody goes on without an answer to what must be answered.
    page.click("[data-test=answer-point]")
    page.wait_for_selector("#app[inert]", state="attached")
    page.keyboard.press("Escape")
    expect(page.locator("[data-test=questions]")).not_to_be_visible()
    page.click("[data-test=answer-point]")
    page.click("[data-test=questions] [data-test=give]")
    expect(page.get_by_role("alert").filter(has_text="*")).to_be_visible()
    page.click("[data-test=yes-lock]")
    page.click("[data-test=questions] [data-test=give]")
    expect(point(page, first)).to_have_attribute("data-answered", "true")

    # The phone's own reader opens an address; the visit is recorded by a press, and not by the address.
    phone.open(f"/officer/#/scan/{token_of(first)}")
    found = page.locator("[data-test=scan-found]")
    expect(found).to_be_visible()
    # A tag's two halves go together.
    page.goto(f"{town.url}/officer/scan/{token_of(first)}?picc_data={'0' * 32}")
    expect(page.locator("[data-test=scan-refused]")).to_have_attribute("data-refusal", "damaged")
    page.goto(f"{town.url}/officer/scan/{token_of(first)}")
    page.click("[data-test=record-visit]")
    expect(page.locator("[data-test=scanned]")).to_have_attribute(
        "data-checkpoint", first["id"], timeout=20_000
    )
    expect(state).to_have_attribute("data-visited", "1")
    page.wait_for_function("navigator.serviceWorker.controller !== null")

    phone.context.set_offline(True)
    for one in (second, third):
        expect(point(page, one)).to_have_attribute("data-next", "true")
        point(page, one).locator("[data-test=skip-point]").click()
        give_reason(page)
        expect(point(page, one)).to_have_attribute("data-state", "skipped")
    page.click("[data-test=do-finish]")
    expect(state).to_have_attribute("data-state", "completed")
    page.reload()
    expect(state).to_have_attribute("data-state", "completed")
    expect(state).to_have_attribute("data-pending", "3")
    assert patrol_at_desk(town, patrol_id)["state"] == "active"
    back_at = datetime.now(UTC)
    phone.context.set_offline(False)
    expect(page.locator(UNSENT)).to_have_count(0, timeout=20_000)
    expect(state).to_have_attribute("data-pending", "0", timeout=20_000)
    wait_until(lambda: patrol_at_desk(town, patrol_id)["state"] == "completed")
    over = patrol_at_desk(town, patrol_id)
    assert datetime.fromisoformat(over["ended_at"]) < back_at
    assert [one["state"] for one in over["points"]] == ["visited", "skipped", "skipped"]
    assert over["points"][0]["answers"] == {"lock": True}


def test_a_whole_round_without_a_plan_is_gone_in_airplane_mode_and_what_is_not_ours_is_refused(
    chromium: Browser, town: Town, tmp_path: Path
) -> None:
    """The phone names the round, so that skips, scans, answers and photos made offline belong to it, each once."""
    meter, beside = tmp_path / "电表.jpg", tmp_path / "门.jpg"
    for seed, file in enumerate((meter, beside)):
        file.write_bytes(photo(seed=seed))
    desk = town.api(town.accounts["supervisor"])
    areas = desk.get("/api/v1/desk/areas", params={"limit": 500}).json()["items"]
    # Whoever is an officer of the whole town may go every route.
    officer = town.hire(next(area["id"] for area in areas if area["parent_id"] is None))
    route, (first, second) = lay_out(town, 2, LOCK, METER)
    with opened(chromium, town) as phone:
        page = phone.sign_in(officer)
        phone.start_shift()
        page.wait_for_function("navigator.serviceWorker.controller !== null")
        page.click("[data-test=tab-tasks]")
        page.click("[data-test=to-rounds]")
        expect(page.locator("[data-test=set-out]")).to_be_visible(timeout=20_000)
        phone.context.set_offline(True)
        page.click("[data-test=set-out]")
        page.click(f"[data-test=route][data-id='{route['id']}']")
        state = page.locator(STATE)
        expect(state).to_have_attribute("data-state", "active")
        patrol_id = page.url.rsplit("/", 1)[1]
        expect(page.locator("[data-test=point]")).to_have_count(2)
        page.click("[data-test=scan-point]")
        page.click("summary")
        for words, refusal in (
            (f"https://elsewhere.example/c/{token_of(first)}", "foreign"),
            ("买一送一", "unreadable"),
        ):
            page.fill("input[name=token]", words)
            page.click("[data-test=give-token]")
            expect(page.locator("[data-test=scan-refused]")).to_have_attribute("data-refusal", refusal)
        page.fill("input[name=token]", f"{town.url}/c/{token_of(first)}")
        page.click("[data-test=give-token]")
        expect(point(page, first)).to_have_attribute("data-waits", "true")
        point(page, first).locator("button.head").click()
        page.click("[data-test=answer-point]")
        page.click("[data-test=yes-lock]")
        page.click("[data-test=questions] [data-test=give]")
        expect(page.get_by_role("alert").filter(has_text="*")).to_be_visible()
        page.set_input_files("[data-test=take-meter]", meter)
        expect(page.locator("[data-test=photos-meter]")).to_have_attribute("data-count", "1")
        page.click("[data-test=questions] [data-test=give]")
        expect(point(page, first)).to_contain_text("1 张照片")
        point(page, second).locator("button.head").click()
        page.click("[data-test=photo-point]")
        page.set_input_files("[data-test=take-point]", beside)
        page.click("[data-test=questions] [data-test=give]")
        expect(point(page, second)).to_contain_text("1 张照片")
        # One that nobody has printed is told from ours by the server alone.
        page.click("[data-test=do-scan]")
        page.click("summary")
        page.fill("input[name=token]", "x" * 22)
        page.click("[data-test=give-token]")
        page.click("[data-test=do-end-early]")
        give_reason(page)
        expect(state).to_have_attribute("data-state", "ended_early")
        assert desk.get(f"/api/v1/desk/patrols/{patrol_id}").status_code == 404

        phone.context.set_offline(False)
        expect(state).to_have_attribute("data-visited", "1", timeout=20_000)
        expect(page.locator("[data-test=refused-press]")).to_contain_text("没有检查点")
        wait_until(lambda: patrol_at_desk(town, patrol_id)["state"] == "ended_early")
        over = patrol_at_desk(town, patrol_id)
        assert [one["state"] for one in over["points"]] == ["visited", "pending"]
        assert [len(one["evidence_ids"]) for one in over["points"]] == [1, 1]
        assert over["points"][0]["answers"] == {"lock": True, "meter": over["points"][0]["evidence_ids"]}

        def brought() -> list[dict[str, Any]]:
            shown = desk.get(f"/api/v1/desk/patrols/{patrol_id}/evidence").json()["items"]
            return [one for one in shown if one["evidence"] and one["evidence"]["state"] == "sealed"]

        wait_until(lambda: len(brought()) == 2)
        for one, file in zip(brought(), (meter, beside), strict=True):
            assert desk.get(f"/api/v1/desk/evidence/{one['id']}/content").content == file.read_bytes()
        # It was not gone to its end: that is to be explained, once.
        page.click("[data-test=explain]")
        give_reason(page)
        expect(page.locator("[data-test=to-explain]")).to_have_count(0)
        wait_until(lambda: patrol_at_desk(town, patrol_id)["explanation"] is not None)
        assert phone.complaints == []
