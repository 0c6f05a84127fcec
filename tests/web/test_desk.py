"""The desk in a control room: who is where now, who was where then, and never a memory that looks like the present."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyotp
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.web.conftest import BROWSERS_WORDS, Town

LIVE = "document.querySelector('[data-testid=live]')?.liveMap"
PAYLOAD = '<img src=x onerror="window.__ran=1"><script>window.__ran=1</script>'
METRES_PER_DEGREE = 111_320.0


class Walker:
    """An officer whose phone speaks to the API without a browser."""

    def __init__(self, town: Town, account: dict[str, Any]) -> None:
        self.id, self.name = account.get("id", ""), account["display_name"]
        self.api = town.api(account)
        self.device = str(uuid4())
        self.lon, self.lat = town.center
        self.shift: dict[str, Any] = {}

    def start(self) -> Walker:
        body = {
            "device": {"id": self.device, "name": "phone", "platform": "test"},
            "device_at": datetime.now(UTC).isoformat(),
        }
        self.shift = self._post("/api/v1/officer/shifts", body)
        self.id = self.shift["officer"]["id"]
        return self

    def step(self, east_m: float = 0.0, north_m: float = 0.0, **more: Any) -> None:
        """Move, and send the fix; when this returns, the fix is committed."""
        self.lon += east_m / (METRES_PER_DEGREE * 0.857)
        self.lat += north_m / METRES_PER_DEGREE
        now = datetime.now(UTC)
        fix = {
            "fixed_at": now.isoformat(), "lon": self.lon, "lat": self.lat, "accuracy_m": 6, "speed_mps": 1.3,
            "heading_deg": 90, "battery_pct": 64, **more,
        }  # fmt: skip
        assert self.send([fix])["stored"] == 1

    def send(self, fixes: list[dict[str, Any]]) -> dict[str, Any]:
        """Send what was measured; when this returns, it is committed."""
        body = {"device_id": self.device, "sent_at": datetime.now(UTC).isoformat(), "fixes": fixes}
        return self._post("/api/v1/officer/fixes", body)

    def end(self) -> None:
        self._post(
            f"/api/v1/officer/shifts/{self.shift['id']}/end", {"device_at": datetime.now(UTC).isoformat()}
        )

    def press(self, path: str) -> dict[str, Any]:
        """Press a button of a task, now."""
        return self.press_at(path, datetime.now(UTC))

    def press_at(self, path: str, at: datetime) -> dict[str, Any]:
        """Tell of a button that was pressed at a moment."""
        return self._post(path, {"device_at": at.isoformat()})

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.api.post(path, json=body, headers={"Idempotency-Key": str(uuid4())})
        assert answer.status_code in (200, 201), answer.text
        return dict(answer.json())


class Desk:
    """A browser at the desk. What its pages complain about is kept."""

    def __init__(self, context: BrowserContext, town: Town) -> None:
        self.context, self.town = context, town
        self.complaints: list[str] = []
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("console", self._heard)
        self.page: Page = context.new_page()

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning") and not any(word in message.text for word in BROWSERS_WORDS):
            self.complaints.append(message.text)

    def sign_in(self, account: dict[str, Any], path: str = "/live") -> Page:
        """Be signed in at the desk, on one of its pages."""
        self.town.enter(self.page, "desk", account, path)
        # An SOS that is open takes the top of the screen when it becomes known, and what is pressed moves down.
        self.page.wait_for_selector(".desk[data-complete=true]")
        return self.page

    def sign_in_by_hand(self, account: dict[str, Any], path: str = "/live") -> Page:
        page = self.page
        page.goto(self.town.url + "/desk" + path)
        page.fill("#login", account["login"])
        page.fill("#password", account["password"])
        page.press("#password", "Enter")
        page.wait_for_selector(".top-bar")
        return page

    def live(self, account: dict[str, Any]) -> Page:
        """The live map, drawn to the last tile and connected."""
        self.sign_in(account)
        return self.drawn()

    def drawn(self) -> Page:
        """Wait until the live map that is open is drawn and connected."""
        page = self.page
        page.wait_for_function(f"() => {LIVE}?.map.loaded() && {LIVE}.map.areTilesLoaded()", timeout=60_000)
        page.wait_for_selector("[data-testid=live][data-feed=live]")
        return page

    def shown_at(self, officer_id: str) -> list[float] | None:
        """Where the officer's mark is at this moment: lon, lat."""
        found: list[float] | None = self.page.evaluate(f"(id) => {LIVE}.markers.shownAt(id)", officer_id)
        return found

    def wait_shown(self, officer_id: str, lon: float, lat: float, timeout_ms: float = 20_000) -> None:
        """Until the mark has arrived at a place."""
        self.page.wait_for_function(
            f"""([id, lon, lat]) => {{ const at = {LIVE}?.markers.shownAt(id);
                return at && Math.abs(at[0] - lon) < 1e-6 && Math.abs(at[1] - lat) < 1e-6 }}""",
            arg=[officer_id, lon, lat], timeout=timeout_ms,
        )  # fmt: skip

    def ink_at(self, officer_id: str) -> int:
        """How opaque the marks' canvas is where the officer's mark should be: 255 is painted."""
        return int(
            self.page.evaluate(
                f"""(id) => {{ const m = {LIVE}.markers, at = m.pixelOf(id);
                    const ratio = m.canvas.width / m.canvas.clientWidth;
                    return m.canvas.getContext('2d').getImageData(at.x * ratio, at.y * ratio, 1, 1).data[3] }}""",
                officer_id,
            )
        )


@contextmanager
def seated(chromium: Browser, town: Town, **settings: Any) -> Iterator[Desk]:
    """A desk of a Chinese reader; fails at the end if its pages complained."""
    context = chromium.new_context(
        **{
            "viewport": {"width": 1440, "height": 900},
            "locale": "zh-CN",
            "timezone_id": "Asia/Shanghai",
            "color_scheme": "dark",
            # A map that glides is drawn anew sixty times a second, by the processor here.
            "reduced_motion": "reduce",
            **settings,
        }
    )
    try:
        desk = Desk(context, town)
        yield desk
        assert desk.complaints == []
    finally:
        context.close()


@pytest.fixture
def desk(chromium: Browser, town: Town) -> Iterator[Desk]:
    with seated(chromium, town) as desk:
        yield desk


@pytest.fixture
def walker(town: Town) -> Iterator[Walker]:
    """An officer on shift in the middle of the town, whom no other test uses."""
    walker = Walker(town, town.hire()).start()
    walker.step()
    yield walker
    walker.api.post(
        f"/api/v1/officer/shifts/{walker.shift['id']}/end",
        json={"device_at": datetime.now(UTC).isoformat()},
        headers={"Idempotency-Key": str(uuid4())},
    )


def test_a_wrong_password_is_told_and_the_right_one_opens_the_map_and_what_the_role_allows(
    desk: Desk, town: Town
) -> None:
    page = desk.page
    page.goto(town.url + "/desk/")
    page.fill("#login", "supervisor")
    page.fill("#password", "not the password")
    page.press("#password", "Enter")
    expect(page.get_by_role("alert")).to_contain_text("账号或密码不正确")
    desk.sign_in_by_hand(town.accounts["supervisor"])
    page = desk.drawn()
    expect(page.get_by_role("region", name=re.compile("实况地图"))).to_be_visible()
    names = page.locator("nav.rail a").all_inner_texts()
    assert {"实况", "回放", "设备"} <= set(names)
    assert "人员" not in names, "a supervisor is not an administrator"


def test_an_officer_moves_on_the_map_within_a_second_of_the_commit(
    chromium: Browser, town: Town, walker: Walker
) -> None:
    """The mark sets out as soon as the fix is committed, and glides to it instead of jumping."""
    with seated(chromium, town, reduced_motion="no-preference") as desk:
        page = desk.live(town.accounts["supervisor"])
        desk.wait_shown(walker.id, walker.lon, walker.lat)
        page.evaluate(
            f"([lon, lat]) => {LIVE}.map.jumpTo({{ center: [lon, lat], zoom: 16 }})", [walker.lon, walker.lat]
        )
        page.wait_for_function(f"() => {LIVE}.map.loaded()")
        assert desk.ink_at(walker.id) == 255
        before = desk.shown_at(walker.id)
        assert before is not None
        time.sleep(3)
        walker.step(east_m=20)
        page.wait_for_function(
            f"([id, lon]) => {LIVE}.markers.shownAt(id)[0] > lon + 1e-7",
            arg=[walker.id, before[0]], timeout=2_000, polling=20,
        )  # fmt: skip
        # What is compared is the browser's own clock of when it heard with the server's of when it was told.
        between = desk.shown_at(walker.id)
        assert between is not None
        assert before[0] < between[0] < walker.lon
        desk.wait_shown(walker.id, walker.lon, walker.lat)
        assert desk.ink_at(walker.id) == 255


def test_a_fix_is_on_the_desk_within_a_second(desk: Desk, town: Town, walker: Walker) -> None:
    page = desk.live(town.accounts["supervisor"])
    desk.wait_shown(walker.id, walker.lon, walker.lat)
    page.evaluate(
        f"""(id) => {{ const m = {LIVE}.markers, move = m.move.bind(m); window.__heard = [];
            m.move = (one, lon, ...rest) => {{ if (one === id && window.__heard.at(-1)?.[0] !== lon)
                window.__heard.push([lon, Date.now()]); return move(one, lon, ...rest) }} }}""",
        walker.id,
    )
    delays = []
    for _ in range(5):
        time.sleep(1.1)
        walker.step(east_m=2)
        committed_ms = time.time() * 1000
        page.wait_for_function(
            "(lon) => window.__heard.some((one) => Math.abs(one[0] - lon) < 6e-7)",
            arg=walker.lon,
            timeout=5_000,
        )
        heard = page.evaluate(
            "(lon) => window.__heard.find((one) => Math.abs(one[0] - lon) < 6e-7)[1]", walker.lon
        )
        delays.append(heard - committed_ms)
    assert sorted(delays)[2] < 1_000, delays


def test_who_wants_less_motion_sees_marks_set_and_not_moved(
    chromium: Browser, town: Town, walker: Walker
) -> None:
    with seated(chromium, town) as desk:
        desk.live(town.accounts["supervisor"])
        desk.wait_shown(walker.id, walker.lon, walker.lat)
        time.sleep(3)
        before = desk.shown_at(walker.id)
        assert before is not None
        seen = {round(before[0], 6)}
        walker.step(east_m=6)
        until = time.monotonic() + 3
        while time.monotonic() < until:
            at = desk.shown_at(walker.id)
            assert at is not None
            seen.add(round(at[0], 6))
        assert len(seen) == 2, "neither before nor after, but between"


def test_list_and_map_are_in_step_and_the_keyboard_finds_follows_and_leaves(
    desk: Desk, town: Town, walker: Walker
) -> None:
    page = desk.live(town.accounts["supervisor"])
    page.keyboard.press("/")
    expect(page.get_by_placeholder("按姓名或呼号查找")).to_be_focused()
    page.keyboard.type(walker.name)
    row = page.locator(f"#officer-{walker.id}")
    expect(row).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(row).to_have_attribute("aria-selected", "true")
    details = page.get_by_role("article", name="队员详情")
    expect(details).to_contain_text(walker.name)
    expect(details).to_contain_text("64 %")
    page.wait_for_function(f"() => !{LIVE}.map.isMoving() && {LIVE}.map.getZoom() >= 13.5")
    page.keyboard.press("f")
    expect(page.locator(".following")).to_contain_text("正在跟随")
    walker.step(east_m=180)
    desk.wait_shown(walker.id, walker.lon, walker.lat)
    page.wait_for_function(
        f"""(id) => {{ const {{ map, markers }} = {LIVE}; const at = map.project(markers.shownAt(id));
            const box = map.getContainer();
            return !map.isMoving() && Math.abs(at.x - (box.clientWidth / 2 - 170)) < 12 }}""",
        arg=walker.id,
    )
    page.keyboard.press("Escape")
    expect(page.locator(".following")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(details).to_have_count(0)
    # The way back: a press on the mark selects the row.
    at = page.evaluate(f"(id) => {LIVE}.markers.pixelOf(id)", walker.id)
    page.locator(".canvas").click(position={"x": at["x"], "y": at["y"]})
    expect(row).to_have_attribute("aria-selected", "true")


def test_who_is_not_found_is_not_found_among_all_who_are_on_shift(
    desk: Desk, town: Town, walker: Walker
) -> None:
    page = desk.live(town.accounts["supervisor"])
    foot = page.locator(".officer-list .foot")
    expect(foot).to_have_text(re.compile(r"^在岗 \d+ 人$"))
    on_shift = int(re.findall(r"\d+", foot.inner_text())[0])
    page.keyboard.press("/")
    page.keyboard.type("没有这个人")
    expect(page.locator(".officer-list .empty")).to_contain_text("没有符合条件的队员")
    shown, total = map(int, re.findall(r"\d+", foot.inner_text()))
    assert (shown, total >= on_shift - 1) == (0, True)


def test_a_sheet_that_is_down_opens_by_a_tap_on_its_head(chromium: Browser, town: Town, walker: Walker) -> None:
    with seated(chromium, town, viewport={"width": 360, "height": 740}, has_touch=True) as desk:
        page = desk.live(town.accounts["supervisor"])
        handle = page.locator(".sheet .handle")

        def lower() -> None:
            while handle.get_attribute("aria-expanded") == "true":
                handle.press("Enter")

        for head in ("[data-testid=queue-tab]", ".side-tabs button >> nth=0", ".chips"):
            lower()
            page.locator(f".sheet {head}").tap()
            expect(handle).to_have_attribute("aria-expanded", "true")
        page.get_by_placeholder("按姓名或呼号查找").fill(walker.name)
        page.locator(f"#officer-{walker.id}").tap()
        lower()
        page.locator(".sheet .details h2").tap()
        expect(handle).to_have_attribute("aria-expanded", "true")


def test_the_trail_is_drawn_when_asked_for_and_grows(desk: Desk, town: Town, walker: Walker) -> None:
    for _ in range(4):
        time.sleep(1.05)
        walker.step(east_m=9)
    page = desk.live(town.accounts["supervisor"])
    page.goto(f"{town.url}/desk/live?officer={walker.id}")
    button = page.get_by_role("button", name=re.compile("最近一小时轨迹"))
    expect(button).to_have_attribute("aria-pressed", "false")
    button.click()
    expect(button).to_contain_text(re.compile("[1-9][0-9]* (米|公里)"))
    looks = town.api(town.accounts["auditor"]).get(
        "/api/v1/desk/disclosures", params={"subject_id": walker.id}
    )
    assert [look["kind"] for look in looks.json()["items"]] == ["trail"]


def test_a_lost_connection_is_shown_and_caught_up_without_moving_anybody_back(
    desk: Desk, town: Town, walker: Walker
) -> None:
    """F14: the map says that it is a memory; afterwards it is the present, by REST, also for whoever has gone home."""
    leaver = Walker(town, town.hire()).start()
    leaver.step(north_m=80)
    page = desk.live(town.accounts["supervisor"])
    desk.wait_shown(walker.id, walker.lon, walker.lat)
    desk.wait_shown(leaver.id, leaver.lon, leaver.lat)

    desk.context.set_offline(True)
    banner = page.get_by_test_id("lost")
    expect(banner).to_be_visible()
    expect(banner).to_contain_text("与服务器的连接已断开")
    expect(page.locator("[data-testid=live]")).to_have_attribute("data-feed", "lost")
    before = desk.shown_at(walker.id)
    walker.step(east_m=90, north_m=40)
    leaver.end()
    page.wait_for_timeout(1_200)
    assert desk.shown_at(walker.id) == before
    expect(banner).to_contain_text("秒前")

    desk.context.set_offline(False)
    page.wait_for_selector("[data-testid=live][data-feed=live]", timeout=40_000)
    expect(banner).to_have_count(0)
    desk.wait_shown(walker.id, walker.lon, walker.lat)
    page.wait_for_function(f"(id) => {LIVE}.markers.shownAt(id) === null", arg=leaver.id)
    # And it is live again, not only caught up.
    walker.step(east_m=30)
    desk.wait_shown(walker.id, walker.lon, walker.lat)


def test_a_shift_that_begins_and_ends_is_on_the_desk_at_once(desk: Desk, town: Town) -> None:
    page = desk.live(town.accounts["supervisor"])
    newcomer = Walker(town, town.hire()).start()
    page.get_by_placeholder("按姓名或呼号查找").fill(newcomer.name)
    row = page.locator(f"#officer-{newcomer.id}")
    expect(row).to_have_attribute("data-status", "unlocated")
    newcomer.step(east_m=20)
    expect(row).to_have_attribute("data-status", "moving")
    newcomer.end()
    expect(row).to_have_count(0)


def test_the_desk_ends_a_shift_with_a_reason(desk: Desk, town: Town, walker: Walker) -> None:
    page = desk.live(town.accounts["supervisor"])
    page.goto(f"{town.url}/desk/live?officer={walker.id}")
    page.get_by_role("button", name="代为下岗").click()
    dialog = page.get_by_role("dialog", name=re.compile("结束班次"))
    dialog.get_by_role("button", name="代为下岗").click()
    expect(dialog.get_by_role("alert")).to_have_text("必填")
    dialog.get_by_role("textbox").fill("手机没电，电话报备下岗")
    dialog.get_by_role("button", name="代为下岗").click()
    expect(page.get_by_role("article", name="队员详情")).to_have_count(0)
    assert walker.api.get("/api/v1/officer/shift").status_code == 204


def _seek(page: Page, epoch_s: float) -> None:
    page.locator("input[type=range]").evaluate(
        "(slider, at) => { slider.value = at; slider.dispatchEvent(new Event('input', { bubbles: true })) }",
        epoch_s,
    )


def test_a_replay_states_its_reason_and_one_slider_moves_everybody_with_gaps_as_gaps(
    desk: Desk, town: Town
) -> None:
    supervisor = town.api(town.accounts["supervisor"])
    now = datetime.now(UTC)
    whole = {
        "from": (now - timedelta(hours=12)).isoformat(),
        "to": now.isoformat(),
        "area_id": supervisor.get("/api/v1/public/installation").json()["town"]["id"],
        "reason": "to know what the page should show",
    }
    areas = supervisor.get("/api/v1/desk/areas", params={"limit": 1}).json()["items"]
    whole["area_id"] = next(area["id"] for area in areas if area["kind"] == "town")
    told = supervisor.post(
        "/api/v1/desk/replays", json=whole, headers={"Idempotency-Key": str(uuid4())}
    ).json()
    track = next(one for one in told["tracks"] if len(one["segments"]) >= 2)
    gap = (track["segments"][0][-1][2], track["segments"][1][0][2])
    assert gap[1] - gap[0] >= 180

    page = desk.sign_in(town.accounts["supervisor"], f"/replay?officer={track['officer_id']}")
    page.get_by_label("开始时间").fill(_local(gap[0] - 1800))
    page.get_by_label("结束时间").fill(_local(gap[1] + 1800))
    page.get_by_role("button", name="读取轨迹").click()
    expect(page.get_by_role("alert")).to_contain_text("理由")
    reason = f"核实轨迹 {uuid4().hex[:6]}"
    page.get_by_label("查看理由（必填）").fill(reason)
    page.get_by_role("button", name="读取轨迹").click()
    slider = page.get_by_role("slider", name="回放时间")
    expect(slider).to_be_visible(timeout=30_000)
    expect(page.locator(".tracks li")).to_contain_text("中断")

    _seek(page, gap[0] - 600)
    shown = page.get_by_test_id("replay-time").inner_text()
    assert _clock(gap[0] - 600) in shown
    expect(page.locator(".tracks li .state")).to_have_count(0)
    _seek(page, (gap[0] + gap[1]) / 2)
    expect(page.locator(".tracks li .state")).to_contain_text("中断中")

    page.get_by_label("跳过中断").check(force=True)
    _seek(page, gap[0] + 1)
    page.get_by_role("button", name="播放").click()
    page.wait_for_function(
        "(to) => Number(document.querySelector('input[type=range]').value) >= to",
        arg=int(gap[1]),
        timeout=10_000,
    )
    page.get_by_role("button", name="暂停").click()
    at = float(slider.input_value())
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "(at) => Number(document.querySelector('input[type=range]').value) === at + 10", arg=at
    )

    with page.expect_download() as saved:
        page.get_by_role("button", name=re.compile("导出 GPX：?:? ?")).first.click()
    body = Path(saved.value.path()).read_text()
    assert saved.value.suggested_filename.endswith(".gpx")
    assert "http://www.topografix.com/GPX/1/1" in body
    looks = town.api(town.accounts["auditor"]).get(
        "/api/v1/desk/disclosures", params={"subject_id": track["officer_id"]}
    )
    mine = [look["kind"] for look in looks.json()["items"] if look["reason"] == reason]
    assert sorted(mine) == ["export", "replay"]


def _local(epoch_s: float) -> str:
    return (datetime.fromtimestamp(epoch_s, UTC) + timedelta(hours=8)).strftime("%Y-%m-%dT%H:%M")


def _clock(epoch_s: float) -> str:
    return (datetime.fromtimestamp(int(epoch_s), UTC) + timedelta(hours=8)).strftime("%H:%M:%S")


def test_a_gpx_file_is_imported_replayed_and_given_back(desk: Desk, town: Town, tmp_path: Path) -> None:
    lon, lat = town.center
    points = "".join(
        f'<trkpt lat="{lat + n * 1e-4:.6f}" lon="{lon + n * 1e-4:.6f}"><ele>4.{n % 10}</ele>'
        f"<time>2026-10-03T08:{n:02d}:00Z</time></trkpt>"
        for n in range(50)
    )
    name = f"巡线 {uuid4().hex[:6]}"
    source = tmp_path / f"{name}.gpx"
    source.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><gpx version="1.1" creator="test" '
        f'xmlns="http://www.topografix.com/GPX/1/1"><trk><name>{name}</name><trkseg>{points}</trkseg></trk></gpx>'
    )
    page = desk.sign_in(town.accounts["supervisor"], "/tracks")
    page.locator("input[type=file]").set_input_files(source)
    row = page.locator("tbody tr", has_text=name)
    expect(row).to_contain_text("50")
    with page.expect_download() as saved:
        row.get_by_role("button", name="下载 GPX").click()
    assert Path(saved.value.path()).read_text().count("<trkpt") == 50
    row.get_by_role("button", name="回放").click()
    expect(page.get_by_role("slider", name="回放时间")).to_be_visible()
    _seek(page, datetime(2026, 10, 3, 8, 20, tzinfo=UTC).timestamp())
    expect(page.get_by_test_id("replay-time")).to_contain_text("16:20:00")


def test_an_officers_imported_track_is_opened_with_a_reason(desk: Desk, town: Town) -> None:
    """P15, P21: the desk is asked why; a file of the officer's time off is not taken."""
    officer = town.hire()
    api, supervisor = town.api(officer), town.api(town.accounts["supervisor"])

    def key() -> dict[str, str]:
        return {"Idempotency-Key": str(uuid4())}

    def bring(name: str, at: datetime) -> Any:
        point = f'<trkpt lat="31" lon="121"><time>{at.isoformat()}</time></trkpt>'
        return supervisor.post(
            "/api/v1/desk/imported-tracks",
            params={"officer_id": officer["id"], "name": name},
            content='<gpx version="1.1" creator="test" xmlns="http://www.topografix.com/GPX/1/1">'
            f"<trk><trkseg>{point}{point}</trkseg></trk></gpx>",
            headers={"Content-Type": "application/gpx+xml", **key()},
        )

    shift = api.post("/api/v1/officer/shifts", json={}, headers=key()).json()
    name, now = f"补录 {uuid4().hex[:6]}", datetime.now(UTC)
    assert bring(name, now).status_code == 201
    assert bring(name, now - timedelta(days=20)).json()["code"] == "off_shift"
    api.post(f"/api/v1/officer/shifts/{shift['id']}/end", json={}, headers=key())

    page = desk.sign_in(town.accounts["supervisor"], "/tracks")
    row = page.locator("tbody tr", has_text=name)
    row.get_by_role("button", name="回放").click()
    asking = page.get_by_role("dialog")
    asking.get_by_role("button", name="回放").click()
    expect(asking).to_contain_text("请填写至少 2 个字")
    asking.get_by_role("textbox").fill("核实 12 号诉求")
    asking.get_by_role("button", name="回放").click()
    expect(page.get_by_role("slider", name="回放时间")).to_be_visible()
    page.get_by_role("button", name="下载 GPX").click()
    asking.get_by_role("textbox").fill("移交 3 号案卷")
    with page.expect_download():
        asking.get_by_role("button", name="下载 GPX").click()
    looks = api.get("/api/v1/officer/disclosures").json()["items"]
    assert [(look["kind"], look["reason"]) for look in looks] == [
        ("export", "移交 3 号案卷"),
        ("replay", "核实 12 号诉求"),
    ]


def test_a_point_drawn_on_a_gcj02_base_comes_back_within_a_metre(
    desk: Desk, town: Town, walker: Walker
) -> None:
    """Overlays are moved to the base map's datum, and what is pressed on it is WGS-84 again."""
    admin = town.api(town.accounts["admin"])

    def set_basemaps(*basemaps: dict[str, Any]) -> None:
        answer = admin.put(
            "/api/v1/desk/basemaps",
            json={"basemaps": list(basemaps)},
            headers={"Idempotency-Key": str(uuid4())},
        )
        assert answer.status_code == 200, answer.text

    set_basemaps(
        {
            "kind": "raster", "url": "https://tiles.example.test/{z}/{x}/{y}.png", "datum": "gcj02",
            "name": {"zh-CN": "火星底图", "en": "Shifted"}, "approval_number": "GS(2026)0001号",
        }
    )  # fmt: skip
    try:
        blank = (
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\xf8\xff"
            b"\xff\xff\x7f\0\t\xfb\x03\xfd*\x86\xe3\x8a\0\0\0\0IEND\xaeB`\x82"
        )
        cors = {"Access-Control-Allow-Origin": "*"}
        desk.context.route(
            "https://tiles.example.test/**",
            lambda route: route.fulfill(body=blank, content_type="image/png", headers=cors),
        )
        page = desk.live(town.accounts["supervisor"])
        page.wait_for_function(f"(id) => {LIVE}.markers.shownAt(id) !== null", arg=walker.id)
        expect(page.locator(".maplibregl-ctrl-attrib")).to_contain_text("GS(2026)0001号")
        at = desk.shown_at(walker.id)
        assert at is not None
        away_m = abs(at[0] - walker.lon) * METRES_PER_DEGREE * 0.857
        assert 300 < away_m < 700, "the mark lies in the base map's datum"
        page.evaluate(f"(at) => {LIVE}.map.jumpTo({{ center: at, zoom: 19 }})", at)
        page.wait_for_function(f"() => {LIVE}.map.loaded()")
        pixel = page.evaluate(f"(id) => {LIVE}.map.project({LIVE}.markers.shownAt(id))", walker.id)
        page.locator(".canvas").click(button="right", position={"x": pixel["x"], "y": pixel["y"]})
        lon, lat = (float(part) for part in page.locator(".here header b").inner_text().split(","))
        error_m = (
            ((lon - walker.lon) * METRES_PER_DEGREE * 0.857) ** 2
            + ((lat - walker.lat) * METRES_PER_DEGREE) ** 2
        ) ** 0.5
        assert error_m < 1
    finally:
        set_basemaps()


def test_what_people_type_is_text_on_every_screen(desk: Desk, town: Town) -> None:
    """F60: a name with markup in it is shown letter by letter, in list, map, details, popup and tables."""
    admin = town.api(town.accounts["admin"])
    login = f"x{uuid4().hex[:8]}"
    made = admin.post(
        "/api/v1/desk/users",
        json={"display_name": PAYLOAD[:60], "login": login, "password": "correct-horse-9-battery"},
        headers={"Idempotency-Key": str(uuid4())},
    )
    if made.status_code == 422:
        made = admin.post(
            "/api/v1/desk/users",
            json={
                "display_name": "<img src=x onerror=window.__ran=1>",
                "login": login,
                "password": "correct-horse-9-battery",
            },
            headers={"Idempotency-Key": str(uuid4())},
        )  # fmt: skip
    assert made.status_code == 201, made.text
    user = made.json()
    areas = admin.get("/api/v1/desk/areas", params={"limit": 500}).json()["items"]
    town_area = next((area for area in areas if area["kind"] == "town"), None)
    assert town_area is not None
    granted = admin.post(
        f"/api/v1/desk/users/{user['id']}/memberships",
        json={"role": "officer", "area_id": town_area["id"], "officer_kind": "patrol"},
        headers={"Idempotency-Key": str(uuid4())},
    )
    assert granted.status_code == 201, granted.text
    account = {"login": login, "password": "correct-horse-9-battery", "display_name": user["display_name"]}
    marked = Walker(town, account).start()
    marked.step(north_m=30)

    page = desk.live(town.accounts["supervisor"])
    page.goto(f"{town.url}/desk/live?officer={marked.id}")
    page.wait_for_function(f"(id) => {LIVE}?.markers.shownAt(id)", arg=marked.id)
    expect(page.get_by_role("article", name="队员详情").locator("h2")).to_contain_text(user["display_name"])
    page.locator(".canvas").click(button="right", position={"x": 300, "y": 300})
    expect(page.locator(".here")).to_be_visible()
    page.goto(town.url + "/desk/devices")
    page.wait_for_selector("table.rows")
    assert page.evaluate("window.__ran") is None
    page.goto(town.url + "/desk/account")
    page.get_by_test_id("sign-out").click()
    page = desk.sign_in(town.accounts["admin"], "/people")
    page.get_by_placeholder("按姓名或账号查找").fill(login)
    row = page.locator("tbody tr", has_text=login)
    expect(row.locator("td.title")).to_have_text(user["display_name"])
    row.get_by_role("button").click()
    expect(page.get_by_role("dialog")).to_contain_text(user["display_name"])
    assert page.evaluate("window.__ran") is None
    marked.end()


def test_an_authenticator_is_switched_on_and_asked_for_from_then_on(desk: Desk, town: Town) -> None:
    admin = town.api(town.accounts["admin"])
    login, password = f"totp{uuid4().hex[:8]}", "correct-horse-9-battery"
    made = admin.post(
        "/api/v1/desk/users",
        json={"display_name": "沈知", "login": login, "password": password},
        headers={"Idempotency-Key": str(uuid4())},
    ).json()
    area = admin.get("/api/v1/desk/areas", params={"limit": 1}).json()["items"][0]
    admin.post(
        f"/api/v1/desk/users/{made['id']}/memberships",
        json={"role": "dispatcher", "area_id": area["id"]},
        headers={"Idempotency-Key": str(uuid4())},
    )
    account = {"login": login, "password": password}
    page = desk.sign_in_by_hand(account, "/account")
    page.get_by_role("button", name="启用").click()
    page.locator(".steps input[type=password]").fill(password)
    page.get_by_role("button", name="启用").click()
    expect(page.get_by_role("img", name="用手机扫码配置")).to_be_visible()
    secret = page.locator(".steps code").inner_text()
    page.get_by_label("6 位数字").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="启用").click()
    expect(page.get_by_text("动态验证码已启用")).to_be_visible()
    page.get_by_test_id("sign-out").click()

    page.fill("#login", login)
    page.fill("#password", password)
    page.press("#password", "Enter")
    expect(page.locator("#totp")).to_be_focused()
    page.keyboard.type("000000")
    page.keyboard.press("Enter")
    expect(page.locator("form").get_by_role("alert")).to_contain_text("不正确")
    # A code is good once; the next one is that of the next half minute.
    page.fill("#totp", pyotp.TOTP(secret).at(datetime.now(UTC) + timedelta(seconds=30)))
    page.keyboard.press("Enter")
    expect(page.locator(".top-bar")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="键盘快捷键")).to_be_visible()


def test_a_revoked_session_is_back_at_the_sign_in_within_five_seconds(desk: Desk, town: Town) -> None:
    """F53, F54: whoever's session is ended elsewhere sees nothing more, and is told why."""
    page = desk.live(town.accounts["desk"])
    session_id = page.evaluate("JSON.parse(localStorage.getItem('xungeng.desk.session')).session_id")
    admin = town.api(town.accounts["admin"])
    answer = admin.post(
        f"/api/v1/desk/sessions/{session_id}/revoke", headers={"Idempotency-Key": str(uuid4())}, json={}
    )
    assert answer.status_code in (200, 204), answer.text
    expect(page.locator("#login")).to_be_visible(timeout=5_000)
    expect(page.get_by_role("status")).to_contain_text("注销")


def test_a_dispatcher_of_one_community_sees_nobody_elses_officers(desk: Desk, town: Town) -> None:
    """F41: list, map and find know of own officers alone; the tiles hold the own areas and the way up."""
    dispatcher = town.api(town.accounts["desk"])
    own = {
        one["id"] for one in dispatcher.get("/api/v1/desk/officers", params={"limit": 500}).json()["items"]
    }
    page = desk.live(town.accounts["desk"])
    shown = set(page.evaluate(f"[...{LIVE}.markers.ids()]"))
    assert shown <= own
    everybody = (
        town.api(town.accounts["supervisor"]).get("/api/v1/desk/officers", params={"limit": 500}).json()
    )
    others = [one for one in everybody["items"] if one["id"] not in own]
    if others:
        page.get_by_placeholder("按姓名或呼号查找").fill(others[0]["display_name"])
        expect(page.locator(f"#officer-{others[0]['id']}")).to_have_count(0)


def test_a_tracker_is_set_up_once_renewed_and_revoked(desk: Desk, town: Town) -> None:
    officer = town.hire()
    page = desk.sign_in(town.accounts["supervisor"], "/devices")
    page.get_by_role("button", name="新增设备").click()
    dialog = page.get_by_role("dialog", name="为队员新增定位设备")
    dialog.locator(".officer-picker input").fill(officer["display_name"])
    page.locator(".el-select-dropdown__item:visible", has_text=officer["display_name"]).first.click()
    name = f"手机 {uuid4().hex[:6]}"
    dialog.get_by_label("设备名称").fill(name)
    dialog.get_by_role("button", name="新增设备").click()
    sheet = page.get_by_role("dialog", name="设备配置单")
    expect(sheet).to_contain_text("只显示这一次")
    expect(sheet.get_by_role("img", name="用手机扫码配置")).to_be_visible()
    assert sheet.locator("img").evaluate("(image) => image.complete && image.naturalWidth > 0")
    first = sheet.locator("code").nth(1).inner_text()
    page.keyboard.press("Escape")
    expect(sheet).to_be_visible()
    sheet.get_by_role("button", name="我已保存，关闭").click()
    row = page.locator("tbody tr", has_text=name)
    row.get_by_role("button", name="续期").click()
    page.get_by_role("dialog").get_by_role("button", name="续期").click()
    expect(sheet).to_be_visible()
    assert sheet.locator("code").nth(1).inner_text() != first
    sheet.get_by_role("button", name="我已保存，关闭").click()
    row.get_by_role("button", name="吊销").click()
    page.get_by_role("dialog").get_by_role("button", name="吊销").click()
    expect(row).to_contain_text("已吊销")
    expect(row.get_by_role("button")).to_have_count(0)


UNNAMED = """() => [...document.querySelectorAll('button, a[href], input, textarea, [role=combobox]')]
    .filter((e) => e.checkVisibility({ checkVisibilityCSS: true }) && e.getBoundingClientRect().width > 1)
    .filter((e) => !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.title || e.placeholder
        || e.textContent.trim() || (e.labels && e.labels.length)))
    .map((e) => e.outerHTML.slice(0, 160))"""


@pytest.mark.parametrize("locale", [pytest.param("zh-CN", marks=pytest.mark.full), "en-GB"])
def test_every_screen_fits_and_names_its_controls(chromium: Browser, town: Town, locale: str) -> None:
    """No screen scrolls sideways at a phone's, a tablet's or a desk's width; every control has a name."""
    with seated(chromium, town, locale=locale, viewport={"width": 360, "height": 820}) as desk:
        for who, screens in (
            ("supervisor", ["live", "rounds", "replay", "tracks", "devices", "data", "account"]),
            ("admin", ["people", "basemaps"]),
            ("auditor", ["journal"]),
        ):
            page = desk.sign_in(town.accounts[who], f"/{screens[0]}")
            for screen in screens:
                page.set_viewport_size({"width": 360, "height": 820})
                if screen != screens[0]:
                    page.goto(f"{town.url}/desk/{screen}")
                page.wait_for_selector("main h1", state="attached")
                page.wait_for_load_state("networkidle")
                for width in (360, 768, 1440):
                    page.set_viewport_size({"width": width, "height": 820})
                    page.wait_for_function("(width) => innerWidth === width", arg=width)
                    page.evaluate(
                        "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 60)))"
                    )
                    where = f"{screen} at {width}"
                    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), where
                    assert page.evaluate(UNNAMED) == [], where
                if locale == "en-GB":
                    texts = page.locator("main h1, main h2, main button, nav a").all_inner_texts()
                    own = [text for text in texts if re.search(r"[\u4e00-\u9fff]", text)]
                    assert not [t for t in own if not any(n in t for n in town.names)] or screen in (
                        "live",
                        "account",
                        "replay",
                    ), own


def test_a_map_whose_worker_did_not_load_says_so_and_is_drawn_when_it_does(desk: Desk, town: Town) -> None:
    """A file can be missing while the server is updated: the map comes by itself, and at once when it is asked to."""
    lost = [True]
    desk.context.route(
        re.compile("maplibre-gl-worker"),
        lambda route: route.fulfill(status=404, body="") if lost[0] else route.continue_(),
    )
    page = desk.sign_in(town.accounts["supervisor"])
    told = page.get_by_test_id("map-failed")
    # The page is fetched anew once, because after an update it would name another file.
    expect(told).to_contain_text("未能加载", timeout=40_000)
    told.get_by_role("button", name="重试").click()
    expect(told).to_be_visible()
    lost[0] = False
    told.get_by_role("button", name="重试").click()
    desk.drawn()
    expect(told).to_have_count(0)
    # And without a press.
    lost[0] = True
    page.reload()
    expect(told).to_be_visible(timeout=20_000)
    lost[0] = False
    desk.drawn()
    expect(told).to_have_count(0)
