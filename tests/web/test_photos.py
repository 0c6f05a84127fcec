"""A photo from an officer's phone to the desk: taken offline, sent in parts over a network that breaks, sealed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect

from backend.adapters.bundle_verifier import verify
from tests.photos import photo
from tests.web.conftest import Phone, Town
from tests.web.test_desk import seated
from tests.web.test_officer_dispatch import offer


def _filed(town: Town, officer: dict[str, Any]) -> dict[str, Any]:
    """The officer's one report, once it has arrived."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        query = {"officer_id": officer["id"], "limit": 50}
        found = (
            town.api(town.accounts["supervisor"]).get("/api/v1/desk/reports", params=query).json()["items"]
        )
        if found:
            [filed] = found
            return dict(filed)
        time.sleep(0.2)
    raise AssertionError("The report has not arrived.")


def test_photos_taken_offline_arrive_after_cuts_and_the_desk_sees_them_sealed(
    phone: Phone, chromium: Browser, town: Town, tmp_path: Path
) -> None:
    officer: dict[str, Any] = town.hire()
    before, after = tmp_path / "处置前.jpg", tmp_path / "处置后.jpg"
    before.write_bytes(photo(1600, 1200, seed=1))
    # Noise that does not compress: several parts.
    after.write_bytes(photo(2400, 1800, seed=2, quality=100))
    page = phone.sign_in(officer)
    phone.start_shift()
    page.click("[data-test=report]")
    page.wait_for_selector("[data-test=spot][data-known=true]")

    phone.context.set_offline(True)
    page.click("[data-test=kind-facility]")
    page.set_input_files("[data-test=take-before]", before)
    page.set_input_files("[data-test=take-after]", after)
    expect(page.locator("[data-test=photos-before]")).to_have_attribute("data-count", "1")
    expect(page.locator("[data-test=photos-after] img")).to_have_count(1)
    # One more is taken and taken back: it goes nowhere.
    page.set_input_files("[data-test=take-after]", before)
    page.get_by_role("group", name="处置后照片").get_by_role("button", name="移除第 2 张照片").click()
    expect(page.locator("[data-test=photos-after]")).to_have_attribute("data-count", "1")
    page.click("[data-test=file-handled]")
    expect(page.locator("[data-test=report][data-state=pending]")).to_have_count(1)
    page.click("[data-test=tab-duty]")
    expect(page.locator("[data-test=unsent-photos]")).to_have_attribute("data-count", "2")
    page.click("[data-test=tab-uploads]")
    expect(page.locator("[data-test=unsent-photos] img")).to_have_count(2)
    # The app is closed and opened without a network: they are still on the phone.
    page.reload()
    expect(page.locator("[data-test=unsent-photos]")).to_have_attribute("data-count", "2")

    with seated(chromium, town) as desk:
        # The report arrives before its photos: their parts are not let through yet.
        phone.context.route("**/api/v1/evidence/uploads/**", lambda route: route.abort("connectionreset"))
        phone.context.set_offline(False)
        api = town.api(town.accounts["supervisor"])
        seat = desk.sign_in(town.accounts["supervisor"], "/live")
        seat.get_by_test_id("reports-tab").click()
        filed = _filed(town, officer)
        seat.locator(f"[data-report='{filed['id']}']").click()
        grid = seat.get_by_test_id("photos")
        expect(grid.locator("li")).to_have_count(2)
        for waiting in grid.locator("li").all():
            assert waiting.get_attribute("data-state") in ("expected", "uploading")

        # A part comes through, then the connection breaks again, then it is well.
        parts: list[str] = []

        def now_and_then(route: Any) -> None:
            parts.append(route.request.method)
            if len(parts) in (2, 3, 6):
                route.abort("connectionreset")
            else:
                route.continue_()

        phone.context.unroute("**/api/v1/evidence/uploads/**")
        phone.context.route("**/api/v1/evidence/uploads/**", now_and_then)
        expect(page.locator("[data-test=unsent-photos]")).to_have_count(0, timeout=60_000)
        expect(grid.locator("li[data-state=sealed]")).to_have_count(2, timeout=30_000)
        assert parts.count("PATCH") >= 4
        assert "HEAD" in parts, "it went on where it was"

        first = grid.locator("li button.frame").first
        expect(first).to_be_visible(timeout=20_000)
        first.focus()
        seat.keyboard.press("Enter")
        large = seat.get_by_test_id("large-photo")
        expect(large.locator("img")).to_be_visible()
        expect(large).to_contain_text("自在手机上添加后未改动")
        log = large.get_by_test_id("custody")
        log.locator("summary").click()
        expect(log.locator("[data-action=sealed]")).to_be_visible()
        expect(log.locator("[data-action=viewed]").first).to_contain_text("小图")
        seat.keyboard.press("Escape")
        expect(large).to_have_count(0)
        shown = api.get(f"/api/v1/desk/reports/{filed['id']}/evidence").json()["items"]
        _gives_out(seat, town, tmp_path)
        assert [one["of"] for one in shown] == ["before", "after"]
        # Their officer sees the same at his report, and each picture is looked at once.
        looks: list[str] = []
        page.on("request", lambda asked: looks.append(asked.url) if asked.url.endswith("/preview") else None)
        page.goto(f"{town.url}/officer/reports")
        mine = page.locator("[data-test=own-photo]")
        expect(mine).to_contain_text(["已封存", "已封存"], timeout=20_000)
        expect(mine.locator("img")).to_have_count(2, timeout=20_000)
        assert len(looks) == 2
        for one, file in zip(shown, (before, after), strict=True):
            content = api.get(f"/api/v1/desk/evidence/{one['id']}/content")
            assert content.content == file.read_bytes()
    assert phone.complaints == []


def _gives_out(seat: Page, town: Town, folder: Path) -> None:
    """Both are given to the police, and what they get holds (F37)."""
    seat.get_by_test_id("share").click()
    form = seat.get_by_test_id("share-form")
    form.get_by_role("button", name="制作证据包").click()
    expect(form.get_by_role("alert")).to_contain_text("写明事由")
    form.get_by_label("提供给谁").fill("派出所调取，核实现场")
    form.get_by_role("button", name="制作证据包").click()
    bundle = seat.get_by_test_id("exports").locator("[data-export]").first
    expect(bundle).to_have_attribute("data-state", "making")
    expect(bundle).to_contain_text("2 件")
    assert town.installation.command("custody", "sign").returncode == 0
    expect(bundle).to_have_attribute("data-state", "ready", timeout=60_000)
    with seat.expect_download() as taken:
        bundle.get_by_test_id("take-bundle").click()
    file = folder / taken.value.suggested_filename
    taken.value.save_as(file)
    key = town.installation.command("custody", "key").stdout.strip()
    assert len(verify(str(file), [bytes.fromhex(key)])["items"]) == 2


def test_whoever_signs_out_is_told_of_the_photos_that_are_not_sent(
    phone: Phone, town: Town, tmp_path: Path
) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(photo())
    page = phone.sign_in(town.hire())
    phone.start_shift()
    phone.context.route("**/api/v1/evidence/**", lambda route: route.abort("connectionreset"))
    page.click("[data-test=report]")
    page.wait_for_selector("[data-test=spot][data-known=true]")
    page.click("[data-test=kind-facility]")
    page.set_input_files("[data-test=take-after]", file)
    page.click("[data-test=file-handled]")
    page.click("[data-test=tab-duty]")
    phone.end_shift()
    page.click("[data-test=tab-me]")
    page.click("[data-test=sign-out]")
    expect(page.locator(".van-dialog__message")).to_contain_text("1 张照片")


def test_a_photo_goes_with_the_result_of_a_task_and_is_shown_at_it(
    phone: Phone, chromium: Browser, town: Town, tmp_path: Path
) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(photo(seed=4))
    officer = town.hire()
    page = phone.sign_in(officer)
    phone.start_shift()
    task = offer(town, officer)
    page.click("[data-test=tab-tasks]")
    page.click(f"[data-test=group-offers] [data-id='{task['id']}']", timeout=20_000)
    page.click("[data-test=do-accept]")
    page.click("[data-test=do-arrive]")
    page.click("[data-test=do-resolve]")
    page.click("[data-test=choice-outcome-settled]")
    page.fill("textarea[name=text]", "已劝离，音量调低")
    page.set_input_files("[data-test=take-result]", file)
    expect(page.locator("[data-test=photos-result] img")).to_have_count(1)
    page.click("[data-test=give]")
    page.click("[data-test=tab-uploads]")
    expect(page.locator("[data-test=unsent-photos]")).to_have_count(0, timeout=30_000)
    with seated(chromium, town) as desk:
        seat = desk.sign_in(town.accounts["supervisor"], "/live")
        seat.get_by_test_id("queue-tab").click()
        seat.locator(f"[data-row='task/{task['id']}']").click()
        card = seat.get_by_test_id("task-card")
        expect(card).to_have_attribute("data-state", "resolved", timeout=20_000)
        shown = card.get_by_test_id("photos").locator("li")
        expect(shown).to_have_attribute("data-state", "sealed", timeout=20_000)
        expect(shown).to_have_attribute("data-shown", "here", timeout=20_000)
