"""Rounds at the desk: laid out on the map, planned, and on the board."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.web.conftest import Town
from tests.web.test_desk import METRES_PER_DEGREE, Desk, seated

MAP = "document.querySelector('.rounds-drawn').roundsMap"
APART_M = 60.0
DWELL_S = 10


@pytest.fixture
def desk(chromium: Browser, town: Town) -> Iterator[Desk]:
    with seated(chromium, town) as desk:
        yield desk


def press_map(page: Page, lon: float, lat: float) -> None:
    """Click on the map where a place is."""
    page.wait_for_function(f"() => {MAP}?.map.loaded() && !{MAP}.map.isMoving()", timeout=60_000)
    # Banners of calls for help that stand meanwhile push the map down, out of what can be clicked.
    page.evaluate(f"() => {MAP}.map.getCanvas().scrollIntoView({{ block: 'center' }})")
    at = page.evaluate(
        f"([lon, lat]) => {{ const m = {MAP}, r = m.map.getCanvas().getBoundingClientRect(),"
        " p = m.map.project(m.toMap([lon, lat])); return [r.x + p.x, r.y + p.y] }",
        [lon, lat],
    )
    page.mouse.click(*at)


def set_checkpoint(page: Page, code: str) -> None:
    """Fill the form of a checkpoint whose place is chosen, and save it."""
    page.fill("#cp-zh", f"点{code}")
    page.fill("#cp-en", f"Point {code}")
    page.fill("#cp-code", code)
    page.fill("#cp-radius", "20")
    page.fill("#cp-dwell", str(DWELL_S))
    page.get_by_test_id("save-checkpoint").click()
    expect(page.locator(f"[data-checkpoint='{code}']")).to_be_visible(timeout=20_000)


def test_a_route_drawn_at_the_desk_is_planned_and_stands_on_its_board(desk: Desk, town: Town) -> None:
    """One point is set by a click, one by its coordinates; a line is bent by dragging; a route needs points."""
    # Away from the middle of the town, where another test's checkpoint would be the one that is clicked.
    lon, lat = town.center[0] + 0.0021, town.center[1] - 0.0013
    first, second = (lon, lat), (lon, lat + APART_M / METRES_PER_DEGREE)
    name = f"新线{uuid4().hex[:5]}"
    page = desk.sign_in(town.accounts["supervisor"], "/rounds?tab=routes")

    page.get_by_test_id("new-checkpoint").click()
    page.get_by_test_id("save-checkpoint").click()
    expect(page.get_by_role("alert").filter(has_text="编号")).to_be_visible()
    page.wait_for_function(f"() => {MAP}?.map.loaded()", timeout=60_000)
    page.evaluate(f"([lon, lat]) => {MAP}.map.jumpTo({{ center: [lon, lat], zoom: 17.5 }})", [*first])
    press_map(page, *first)
    codes = [f"d-{uuid4().hex[:6]}" for _ in range(2)]
    set_checkpoint(page, codes[0])
    page.get_by_test_id("new-checkpoint").click()
    page.fill("#cp-lon", f"{second[0]:.6f}")
    page.fill("#cp-lat", f"{second[1]:.6f}")
    set_checkpoint(page, codes[1])

    page.get_by_test_id("new-route").click()
    page.fill("#route-zh", name)
    page.fill("#route-en", "New line")
    page.get_by_test_id("save-route").click()
    expect(page.get_by_role("alert").filter(has_text="检查点")).to_be_visible()
    for code, place in zip(codes, (first, second), strict=True):
        press_map(page, *place)
        expect(page.locator(f"[data-testid=route-points] [data-code='{code}']")).to_be_visible()
    form = page.get_by_test_id("route-form")
    expect(form).to_contain_text("2 个折点")
    # The dot in the middle of the leg becomes a vertex.
    press_map(page, lon + 0.01, lat)
    middle = page.evaluate(
        f"([lon, lat]) => {{ const m = {MAP}, r = m.map.getCanvas().getBoundingClientRect(),"
        " p = m.map.project(m.toMap([lon, lat])); return [r.x + p.x, r.y + p.y] }",
        [lon, (first[1] + second[1]) / 2],
    )
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 20, middle[1], steps=3)
    page.mouse.up()
    expect(form).to_contain_text("3 个折点")
    page.get_by_test_id("save-route").click()
    expect(page.locator("[data-route]").filter(has_text=name)).to_be_visible(timeout=20_000)

    page.get_by_role("tab", name="计划").click()
    page.get_by_test_id("new-plan").click()
    page.locator("#plan-route").click()
    page.get_by_role("option", name=name).click()
    page.fill("#plan-zh", name)
    page.fill("#plan-en", "Now")
    at = datetime.now(ZoneInfo("Asia/Shanghai")) + timedelta(minutes=2)
    page.fill("#plan-on", at.date().isoformat())
    page.fill("#plan-at", at.strftime("%H:%M"))
    expect(page.get_by_test_id("preview").locator("li")).to_have_count(10, timeout=20_000)
    page.get_by_test_id("save-plan").click()
    expect(page.locator("[data-plan]").filter(has_text=name)).to_be_visible(timeout=20_000)

    page.get_by_role("tab", name="今日").click()
    row = page.locator("[data-patrol]").filter(has_text=name)
    expect(row).to_have_attribute("data-state", "planned", timeout=20_000)
