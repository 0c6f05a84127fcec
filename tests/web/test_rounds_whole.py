"""A round from its first stroke on the desk's map to the desk's board, on which it is done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.running.installation import wait_until
from tests.web.conftest import Town
from tests.web.test_desk import METRES_PER_DEGREE, Desk, Walker, seated

MAP = "document.querySelector('.rounds-drawn').roundsMap"
APART_M, RADIUS_M = 30.0, 12
DWELL_S = 5
LEGS = ((0.0, 0.0, 7), (0.0, APART_M, 10), (APART_M, APART_M, 7), (APART_M, APART_M + 18.0, 6))
"""Metres north of the first point: from where to where, in how many seconds. He stands at both, and goes on: fast, for
the walk takes its time, and is over by when the route is drawn."""


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
    page.fill("#cp-radius", str(RADIUS_M))
    page.fill("#cp-dwell", str(DWELL_S))
    page.get_by_test_id("save-checkpoint").click()
    expect(page.locator(f"[data-checkpoint='{code}']")).to_be_visible(timeout=20_000)


def walk(since: datetime, lon: float, lat: float) -> list[dict[str, Any]]:
    """What a phone measures each second of a round that begins at a moment, at its first point."""
    fixes: list[dict[str, Any]] = []
    for from_m, to_m, lasts_s in LEGS:
        for second in range(lasts_s):
            north_m = from_m + (to_m - from_m) * second / lasts_s
            # A receiver's numbers are never twice the same.
            shake = (len(fixes) * 7 % 5 - 2) * 2e-6
            fix = {
                "fixed_at": (since + timedelta(seconds=len(fixes))).isoformat(),
                "lon": lon + shake, "lat": lat + north_m / METRES_PER_DEGREE + shake, "accuracy_m": 5,
                "speed_mps": abs(to_m - from_m) / lasts_s, "heading_deg": 0, "battery_pct": 80,
            }  # fmt: skip
            fixes.append(fix)
    return fixes


def test_a_route_is_drawn_planned_and_walked_and_is_done_on_the_board_of_the_desk(
    desk: Desk, town: Town, tmp_path: Path
) -> None:
    """One point is set by a click and corrected by its coordinates, one comes from a file that is tried first; a line
    is bent by dragging, and a vertex taken away without a mouse; a route needs points; their labels are printed.

    The officer is out meanwhile, and what his phone measured comes when it has a network. Each point is visited by
    what it measured alone, with the proof that this is worth.
    """
    # Away from the middle of the town, where another test's checkpoint would be the one that is clicked.
    lon, lat = town.center[0] + 0.0021, town.center[1] - 0.0013
    areas = town.api(town.accounts["supervisor"]).get("/api/v1/desk/areas", params={"limit": 500})
    root = next(area["id"] for area in areas.json()["items"] if area["parent_id"] is None)
    walker = Walker(town, town.hire(root)).start()
    set_out_at = datetime.now(UTC)
    measured = walk(set_out_at, lon, lat)
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
    page.fill("#cp-lon", f"{lon:.6f}")
    page.fill("#cp-lat", f"{lat:.6f}")
    set_checkpoint(page, codes[0])
    file = tmp_path / "点位.csv"
    rows = ["code,name_zh,name_en,lon,lat,radius_m,min_dwell_s"]
    rows.append(f"{codes[1]},点{codes[1]},Point,{second[0]:.6f},{second[1]:.6f},{RADIUS_M},{DWELL_S}")
    file.write_text("\n".join([*rows, f"{codes[1]}-x,外面,Outside,0.5,0.5,,"]), "utf-8-sig")
    page.get_by_test_id("import-open").click()
    page.set_input_files("[data-testid=import-file]", file)
    expect(page.locator("[data-testid=import-rows] [data-outcome=refused]")).to_contain_text(
        "位置在本镇以外"
    )
    expect(page.get_by_test_id("import-take")).to_be_disabled()
    file.write_text("\n".join(rows), "utf-8-sig")
    page.set_input_files("[data-testid=import-file]", file)
    expect(page.locator("[data-testid=import-rows] [data-outcome=made]")).to_have_count(1)
    page.get_by_test_id("import-take").click()
    expect(page.locator(f"[data-checkpoint='{codes[1]}']")).to_be_visible(timeout=20_000)

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
    expect(page.get_by_test_id("drop-vertex")).to_be_disabled()
    for _ in range(2):
        page.get_by_test_id("vertex-after").click()
    page.get_by_test_id("drop-vertex").click()
    expect(form).to_contain_text("2 个折点")
    page.get_by_test_id("save-route").click()
    page.locator("[data-route]").filter(has_text=name).click(timeout=20_000)
    with page.expect_download() as printed:
        page.get_by_test_id("print-route").click()
    assert (printed.value.suggested_filename, printed.value.path().read_bytes()[:5]) == (
        f"{name}.pdf",
        b"%PDF-",
    )

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

    at = f"/api/v1/officer/patrols/{row.get_attribute('data-patrol')}"
    walker.press_at(f"{at}/start", set_out_at)
    expect(row).to_have_attribute("data-state", "active", timeout=20_000)
    over_at = set_out_at + timedelta(seconds=len(measured))
    wait_until(lambda: datetime.now(UTC) > over_at, timeout_s=60)
    assert walker.send(measured)["stored"] == len(measured)
    walker.press_at(f"{at}/finish", over_at)
    expect(row).to_have_attribute("data-state", "completed", timeout=20_000)
    row.click()
    card = page.get_by_test_id("patrol-card")
    for code in codes:
        point = card.locator(f"[data-point='{code}']")
        # By itself: the board hears of it when the fixes have been looked at.
        expect(point).to_have_attribute("data-state", "visited", timeout=40_000)
        expect(point.get_by_test_id("proof")).to_contain_text(re.compile(r"停留 .*凭据 [6-9]\d / 100\s*$"))
    expect(page.locator("[data-group=done] [data-patrol]").filter(has_text=name)).to_contain_text("2 / 2")

    # It is looked at again with a reason: what happened stands beside the track, and leads to its moment.
    page.get_by_test_id("replay-patrol").click()
    page.locator(".setup .load").click()
    expect(page.get_by_role("alert").filter(has_text="理由")).to_be_visible()
    page.fill("#replay-reason", "核对这次巡更")
    page.locator(".setup .load").click()
    visits = page.get_by_test_id("round-events").locator("[data-event=visit]")
    expect(visits).to_have_count(2)
    visits.nth(1).click()
    moment = visits.nth(1).locator("time").inner_text()
    expect(page.get_by_test_id("replay-time")).to_have_text(moment)
    expect(visits.nth(1)).to_have_attribute("aria-current", "true")
    assert desk.complaints == []
