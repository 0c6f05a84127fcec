"""A film and a piece of sound from an officer's phone to the desk: recorded, cut off, gone on with, sealed."""

from __future__ import annotations

import hashlib
from typing import Any

from playwright.sync_api import Browser, expect

from tests.web.conftest import Phone, Town
from tests.web.test_desk import seated
from tests.web.test_photos import _filed


def test_what_is_recorded_while_the_network_is_lost_goes_on_where_it_was_and_is_sealed(
    phone: Phone, chromium: Browser, town: Town
) -> None:
    officer: dict[str, Any] = town.hire()
    page = phone.sign_in(officer)
    phone.start_shift()
    page.click("[data-test=report]")
    page.wait_for_selector("[data-test=spot][data-known=true]")
    page.click("[data-test=kind-facility]")
    phone.context.grant_permissions(["geolocation", "camera", "microphone"])
    for kind, length in (("video", "0:03"), ("audio", "0:01")):
        page.click(f"[data-test={kind}-after]")
        dialog = page.locator("[data-test=recording]")
        expect(dialog).to_have_attribute("data-state", "ready")
        page.click("[data-test=begin-recording]")
        expect(dialog.get_by_role("timer")).to_have_text(length, timeout=10_000)
        page.click("[data-test=end-recording]")
        expect(dialog).to_have_count(0)
    expect(page.locator("[data-test=photos-after]")).to_have_attribute("data-count", "2")
    # One that is given up leaves nothing, and the camera is off.
    page.click("[data-test=video-before]")
    page.click("[data-test=leave-recording]")
    expect(page.locator("[data-test=photos-before]")).to_have_attribute("data-count", "0")

    parts: list[str] = []

    def now_and_then(route: Any) -> None:
        parts.append(route.request.method)
        if len(parts) % 3 == 2:
            route.abort("connectionreset")
        else:
            route.continue_()

    phone.context.set_offline(True)
    page.click("[data-test=file-handled]")
    page.click("[data-test=tab-uploads]")
    page.reload()
    expect(page.locator("[data-test=unsent-photos]")).to_have_attribute("data-count", "2")
    page.click("[data-test=pause-photos]")
    phone.context.route("**/api/v1/evidence/uploads/**", now_and_then)
    phone.context.set_offline(False)
    filed = _filed(town, officer)
    assert parts == [], "nothing goes up while it is paused"
    page.click("[data-test=resume-photos]")
    expect(page.locator("[data-test=unsent-photos]")).to_have_count(0, timeout=60_000)
    api = town.api(town.accounts["supervisor"])
    shown = [
        one["evidence"] for one in api.get(f"/api/v1/desk/reports/{filed['id']}/evidence").json()["items"]
    ]
    assert [(one["kind"], one["state"], one["has_preview"]) for one in shown] == [
        ("video", "sealed", True), ("audio", "sealed", False),
    ]  # fmt: skip
    assert 2 < shown[0]["duration_s"] < 8
    for one in shown:
        content = api.get(f"/api/v1/desk/evidence/{one['id']}/content").content
        assert hashlib.sha256(content).hexdigest() == one["sha256"]
    _is_played(chromium, town, filed["id"])


def _is_played(chromium: Browser, town: Town, report_id: str) -> None:
    """The film is played and sought in, and the sound heard; each is one entry of its custody log."""
    with seated(chromium, town) as desk:
        seat = desk.sign_in(town.accounts["supervisor"], "/live")
        seat.get_by_test_id("reports-tab").click()
        seat.locator(f"[data-report='{report_id}']").click()
        grid = seat.get_by_test_id("photos")
        for at, kind in enumerate(("video", "audio")):
            grid.locator("li").nth(at).locator("button.frame").click()
            large = seat.get_by_test_id("large-photo")
            large.get_by_test_id("play").click()
            player = large.locator(kind)
            seat.wait_for_function(f"() => document.querySelector('{kind}')?.currentTime > 0.2", timeout=20_000)
            assert player.evaluate("p => p.error") is None
            if kind == "video":
                player.evaluate("p => { p.pause(); p.currentTime = 1.5 }")
                seat.wait_for_function("() => !document.querySelector('video').seeking")
                assert player.evaluate("p => p.videoWidth") > 0
            seat.screenshot(path=f"/tmp/m/play-{kind}.png")
            log = large.get_by_test_id("custody")
            log.locator("summary").click()
            expect(log.locator("[data-action=viewed]").filter(has_text="原件")).not_to_have_count(0)
            seat.keyboard.press("Escape")
            expect(large).to_have_count(0)
