"""A film and a piece of sound from an officer's phone to the desk: recorded, cut off, gone on with, sealed."""

from __future__ import annotations

import hashlib
from typing import Any

from playwright.sync_api import expect

from tests.web.conftest import Phone, Town
from tests.web.test_photos import _filed


def test_what_is_recorded_while_the_network_is_lost_goes_on_where_it_was_and_is_sealed(
    phone: Phone, town: Town
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
