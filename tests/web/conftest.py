"""The web clients as people use them: the whole installation with the demo town, and a real Chromium.

Chromium is the system's own (nothing is downloaded). All tests here share one installation, so each takes officers and
phone numbers that no other test uses.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.notifications.vendors import Vendor, vendor
from tests.running.installation import Installation

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "web"
CHROMIUM = os.environ.get("XUNGENG_CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--enable-unsafe-swiftshader", "--use-fake-device-for-media-stream",
]  # fmt: skip
"""WebGL is computed by the processor. The page itself is not put together by it as well: that took both cores."""
BROWSERS_WORDS = (
    "Failed to load resource", "net::ERR_", "WebSocket connection to",
    "GL Driver Message", "GPU stall", "willReadFrequently",
)  # fmt: skip
"""In what the browser itself reports: what the network refuses, and that drawing without a graphics card takes long.
The client's own words are what counts."""
GOOD_S = 600
"""An access token is good for 15 minutes; it is used for ten."""
STEP_DEG = 0.00022
"""About 21 m to the east at the latitude of the demo town: more than what the client takes for standing."""


class Town:
    """The running installation: where it is, who may sign in, and the API as a program would use it."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.url = f"http://localhost:{installation.port}"
        self.accounts: dict[str, Any] = json.loads(
            (installation.data / "secrets/demo-accounts.json").read_text()
        )
        self._clients: list[httpx.Client] = []
        self._signed_in: dict[str, tuple[float, httpx.Client]] = {}
        self._officers = iter(self.accounts["officers"])
        self._given: set[str] = set()
        self._phones, self._hired = count(1), count(0)
        self.names = {account["display_name"] for account in self.accounts["officers"]}
        place = self.api().get("/api/v1/public/installation").json()["town"]["center"]
        self.center: tuple[float, float] = (place[0], place[1])

    def new_officer(self, with_colleague: bool = False) -> dict[str, Any]:
        """An officer whom no other test uses, off duty; with a colleague off duty if one is wanted."""
        for officer in self._officers:
            self._given.add(officer["id"])
            if self._is_off_duty(officer) and (not with_colleague or self.colleague_of(officer)):
                return officer
        raise AssertionError("The demo town has no such officer left.")

    @cached_property
    def middle(self) -> str:
        """The id of the deepest area that holds the middle of the town: that of a task there."""
        desk = self.api(self.accounts["supervisor"])
        kinds = desk.get("/api/v1/desk/task-kinds", params={"limit": 100}).json()["items"]
        body = {
            "kind_id": next(kind["id"] for kind in kinds if kind["code"] == "check"),
            "description": "看看在哪里", "place": list(self.center),
        }  # fmt: skip
        made = desk.post("/api/v1/desk/tasks", json=body, headers={"Idempotency-Key": str(uuid4())})
        assert made.status_code == 201, made.text
        gone = desk.post(
            f"/api/v1/desk/tasks/{made.json()['id']}/cancel", json={"reason": "看过了"},
            headers={"Idempotency-Key": str(uuid4())},
        )  # fmt: skip
        assert gone.status_code == 200, gone.text
        return str(made.json()["area"]["id"])

    def hire(self, area_id: str | None = None, role: str = "officer") -> dict[str, Any]:
        """A new officer, made at the desk: of the demo town's own only so many are off duty. Or a dispatcher."""
        admin, number = self.api(self.accounts["admin"]), next(self._hired)
        area_id = area_id or self.accounts["officers"][number % len(self.accounts["officers"])]["area_id"]
        account = {
            "login": f"hired.{number}", "password": "lantern-over-the-canal-47",
            "display_name": "新" + "甲乙丙丁戊己庚辛壬癸"[number % 10] + "一二三四五六七八九"[number // 10],
        }  # fmt: skip
        made = admin.post("/api/v1/desk/users", json=account, headers={"Idempotency-Key": str(uuid4())})
        assert made.status_code == 201, made.text
        granted = admin.post(
            f"/api/v1/desk/users/{made.json()['id']}/memberships",
            json={"role": role, "area_id": area_id} | ({"officer_kind": "patrol"} if role == "officer" else {}),
            headers={"Idempotency-Key": str(uuid4())},
        )
        assert granted.status_code == 201, granted.text
        self.names.add(account["display_name"])
        return account | {"id": made.json()["id"]}

    def colleague_of(self, officer: dict[str, Any]) -> str | None:
        """The name of somebody off duty with whom the officer may make up a crew."""
        accounts = {account["id"]: account for account in self.accounts["officers"]}
        for colleague in self.api(officer).get("/api/v1/officer/colleagues").json()["items"]:
            account = accounts.get(colleague["id"])
            # Whom another test has had may ask for an authenticator by now.
            if account is not None and account["id"] not in self._given and self._is_off_duty(account):
                return str(account["display_name"])
        return None

    def _is_off_duty(self, officer: dict[str, Any]) -> bool:
        # Asked as the supervisor: one address may not sign in as often as there are officers to ask for.
        live = self.api(self.accounts["supervisor"])
        page = {"q": officer["display_name"], "limit": 200}
        return officer["id"] not in {
            row["id"] for row in live.get("/api/v1/desk/officers", params=page).json()["items"]
        }

    def new_phone(self) -> str:
        """A phone number that nobody has used."""
        return f"1390000{next(self._phones):04d}"

    def code_for(self, phone: str) -> str:
        """The newest one-time code that the development SMS adapter has written for a phone."""
        lines = (self.installation.data / "otp.log").read_text().splitlines()
        mine = [line for line in lines if phone in line]
        return re.findall(r"code=(\d+)", mine[-1])[0]

    def api(self, account: dict[str, Any] | None = None) -> httpx.Client:
        """A client of the API, signed in as the account; the same one for as long as its token is good for a while."""
        if account is not None:
            since, client = self._signed_in.get(account["login"], (0.0, None))
            if client is not None and time.monotonic() - since < GOOD_S:
                return client
        # Each from an address of its own, as behind a proxy: from one address not so many sign in within an hour.
        number = len(self._clients)
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.installation.port}", timeout=20,
            headers={"X-Forwarded-For": f"10.0.{number // 250}.{number % 250 + 1}"},
        )  # fmt: skip
        self._clients.append(client)
        if account is not None:
            body = {"login": account["login"], "password": account["password"]}
            answer = client.post("/api/v1/auth/login", json=body)
            assert answer.status_code == 200, answer.text
            client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
            self._signed_in[account["login"]] = (time.monotonic(), client)
        return client

    def enter(self, page: Page, client: str, account: dict[str, Any], path: str) -> None:
        """Open a page of a client where the account is signed in already, for tests of what comes after."""
        page.goto(self.url + "/healthz")
        key = page.evaluate(
            """(client) => {
              const at = `xungeng.${client}.device_key`
              if (!localStorage.getItem(at)) localStorage.setItem(at, crypto.randomUUID())
              return localStorage.getItem(at)
            }""",
            client,
        )
        body = {
            "login": account["login"], "password": account["password"], "client": client, "device_key": key,
            "device_name": "Linux · Chrome",
        }  # fmt: skip
        answer = self.api().post("/api/v1/auth/login", json=body)
        assert answer.status_code == 200, answer.text
        page.evaluate(
            """([client, { expires_in_s, ...tokens }]) => localStorage.setItem(
              `xungeng.${client}.session`,
              JSON.stringify({ ...tokens, expires_at_ms: Date.now() + expires_in_s * 1000 }),
            )""",
            [client, answer.json()],
        )
        page.goto(f"{self.url}/{client}{path}")

    def clear(self, alarm_id: str) -> None:
        """The supervisor takes an alarm on, and ends it with its task."""
        desk = self.api(self.accounts["supervisor"])
        at = f"/api/v1/desk/alarms/{alarm_id}"
        if "acknowledge" in desk.get(at).json()["actions"]:
            desk.post(f"{at}/acknowledge", headers={"Idempotency-Key": str(uuid4())})
        for act in ("clear", "dismiss"):
            if act in desk.get(at).json()["actions"]:
                answer = desk.post(
                    f"{at}/{act}", json={"reason": "演练"}, headers={"Idempotency-Key": str(uuid4())}
                )
                assert answer.status_code == 200, answer.text

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def end_at_desk(self, shift_id: str) -> str:
        """The supervisor ends somebody's shift; the moment at which it ended."""
        desk = self.api(self.accounts["supervisor"])
        answer = desk.post(
            f"/api/v1/desk/shifts/{shift_id}/end",
            json={"reason": "the phone was handed back"},
            headers={"Idempotency-Key": str(uuid4())},
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["ended_at"])

    def track(self, officer: dict[str, Any], shift_id: str) -> list[dict[str, Any]]:
        """Every fix that the server has of the officer's shift."""
        api, cursor, points = self.api(officer), None, []
        while True:
            query = {"limit": 500, **({"cursor": cursor} if cursor else {})}
            page = api.get(f"/api/v1/officer/shifts/{shift_id}/track", params=query).json()
            points += page["items"]
            cursor = page["next"]
            if cursor is None:
                return points


@pytest.fixture(scope="session")
def built() -> None:
    """The clients as they are in the working copy, built once."""
    with open(WEB / ".build.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        page = WEB / "dist/officer/index.html"
        sources = [
            *WEB.glob("src/**/*"),
            *(WEB / f"{client}/index.html" for client in ("desk", "officer", "resident", "api-docs")),
            WEB / "index.html",
            WEB / "package-lock.json",
            WEB / "vite.config.ts",
        ]
        newest = max(source.stat().st_mtime for source in sources)
        if page.exists() and (WEB / "dist/officer/sw.js").exists() and page.stat().st_mtime > newest:
            return
        done = subprocess.run(
            [ROOT / "script/npm", "--silent", "--prefix", str(WEB), "run", "build"],
            capture_output=True, text=True, timeout=300, cwd=WEB,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


DESK_PHONE = "021-5988 0110"
WECHAT_TEMPLATES = {
    kind: f"TEMPLATE_{number}"
    for number, kind in enumerate(("sos.acknowledged", "sos.answered", "report.answered"))
}
"""What the installation's mini program may bring, by kind."""


@pytest.fixture(scope="session")
def push_service() -> Iterator[Vendor]:
    """Stands in for the push services of the browsers' makers and for WeChat's cloud, which no test reaches."""
    with vendor() as service:
        yield service


@pytest.fixture(scope="session")
def town(built: None, push_service: Vendor) -> Iterator[Town]:
    """The installation with the demo town, without simulated officers."""
    installation = Installation(
        XUNGENG_DEMO="1",
        XUNGENG_TRUSTED_HOPS="1",
        XUNGENG_REPORT_SAMPLE_PERCENT="100",
        XUNGENG_DESK_PHONE=DESK_PHONE,
        XUNGENG_DESK_SMS="13900000110",
        XUNGENG_WEBPUSH_CONTACT="mailto:desk@example.cn",
        XUNGENG_WEBPUSH_SERVICES=push_service.url,
        XUNGENG_WECHAT_MINI_ID="wx01",
        XUNGENG_WECHAT_MINI_SECRET="secret",
        XUNGENG_WECHAT_URL=push_service.url,
    )
    templates = installation.folder / "templates.json"
    carried = {
        kind: {"id": template, "parameters": {"thing1": "title"}} for kind, template in WECHAT_TEMPLATES.items()
    }
    templates.write_text(json.dumps({"wechat_mini": carried}))
    installation.settings["XUNGENG_NOTICE_TEMPLATES"] = str(templates)
    try:
        installation.start("--no-simulation", timeout_s=600)
        town = Town(installation)
        yield town
        town.close()
    finally:
        installation.remove()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's Chromium without a window; gone with its event loop before other tests go on in this process."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Phone:
    """A phone-sized browser with a place in the world. What its pages complain about is kept."""

    def __init__(self, context: BrowserContext, town: Town) -> None:
        self.context, self.town = context, town
        self.lon, self.lat = town.center
        self.complaints: list[str] = []
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("console", self._heard)
        self.page: Page = context.new_page()

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning") and not any(word in message.text for word in BROWSERS_WORDS):
            self.complaints.append(message.text)

    def open(self, path: str) -> Page:
        self.page.goto(self.town.url + path)
        return self.page

    def sign_in(self, officer: dict[str, Any]) -> Page:
        """Be signed in to the officer client, off duty."""
        self.town.enter(self.page, "officer", officer, "/")
        self.page.wait_for_selector("[data-test=start]")
        return self.page

    def sign_in_by_hand(self, officer: dict[str, Any]) -> Page:
        """Sign in to the officer client and arrive off duty."""
        page = self.open("/officer/")
        page.fill("input[name=login]", officer["login"])
        page.fill("input[name=password]", officer["password"])
        page.click("button[type=submit]")
        page.wait_for_selector("[data-test=start]")
        return page

    def start_shift(self) -> str:
        """Read the notice if it is asked for, start, and return the shift's id."""
        self.page.click("[data-test=start]")
        self.page.wait_for_selector("[data-test=accept], [data-test=status]")
        if self.page.is_visible("[data-test=accept]"):
            self.page.click("[data-test=accept]")
            self.page.click("[data-test=start]")
        self.page.wait_for_selector("[data-test=status]")
        shift: str = self.page.evaluate(
            """() => {
              const key = Object.keys(localStorage).find((one) => one.startsWith('xungeng.officer.shift.'))
              return JSON.parse(localStorage.getItem(key)).id
            }"""
        )
        return shift

    def walk(self, steps: int, every_ms: int = 1100) -> None:
        """Move on by some twenty metres a step."""
        for _ in range(steps):
            self.lon += STEP_DEG
            self.context.set_geolocation({"longitude": self.lon, "latitude": self.lat, "accuracy": 7})
            self.page.wait_for_timeout(every_ms)

    def unsent(self) -> int:
        """The number of unsent fixes as the duty screen shows it."""
        return int(self.page.get_attribute("[data-test=unsent]", "data-count") or "-1")

    def trail(self) -> list[dict[str, Any]]:
        """The walk as this phone has kept it for its own map."""
        found: list[dict[str, Any]] = self.page.evaluate(
            """() => new Promise((resolve, reject) => {
              const opening = indexedDB.open('xungeng-officer')
              opening.onerror = reject
              opening.onsuccess = () => {
                const reading = opening.result.transaction('trail').objectStore('trail').getAll()
                reading.onerror = reject
                reading.onsuccess = () => {
                  opening.result.close()
                  resolve(reading.result)
                }
              }
            })"""
        )
        return found

    def wait_sent(self, timeout_ms: float = 20_000) -> None:
        self.page.wait_for_selector("[data-test=unsent][data-count='0']", timeout=timeout_ms)

    def end_shift(self) -> None:
        self.page.click("[data-test=end]")
        self.page.click(".van-action-sheet__item >> nth=0")
        self.page.wait_for_selector("[data-test=start]", timeout=20_000)


@contextmanager
def opened(chromium: Browser, town: Town, **settings: Any) -> Iterator[Phone]:
    """A phone in the middle of the town that allows its location; `settings` are those of the browser context."""
    lon, lat = town.center
    context = chromium.new_context(
        **{
            "viewport": {"width": 360, "height": 740},
            "has_touch": True,
            "locale": "zh-CN",
            "timezone_id": "Asia/Shanghai",
            "geolocation": {"longitude": lon, "latitude": lat, "accuracy": 7},
            "permissions": ["geolocation"],
            # A map that glides is drawn anew sixty times a second, by the processor here.
            "reduced_motion": "reduce",
            **settings,
        }
    )
    try:
        yield Phone(context, town)
    finally:
        context.close()


@pytest.fixture
def phone(chromium: Browser, town: Town) -> Iterator[Phone]:
    """A phone of a Chinese reader; the test fails if its pages complained."""
    with opened(chromium, town) as phone:
        yield phone
        assert phone.complaints == []


@pytest.fixture
def officer(town: Town) -> dict[str, Any]:
    """An officer off duty whom no other test uses."""
    return town.new_officer()
