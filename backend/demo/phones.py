"""Simulated phones: officers who sign in, go on shift, walk the demo town and report over HTTP like real ones.

    phone = walk (where he is) -> receiver (what is measured) -> tracker (what is sent) -> connection

They know the installation by its HTTP API alone. Each phone does three things at once: it measures by its own clock,
whatever the network does; it delivers what it has measured, and keeps what the server has not taken; and it looks after
its sign-in and its shift. A phone goes on where it was when the server comes back, as a real one would.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import ssl
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import click
import msgspec

from backend.core.ids import new_id
from backend.demo.people import Person
from backend.demo.receiver import Mishaps, Receiver
from backend.demo.town import DEFAULT_SEED, Town, generate
from backend.demo.trackers import MIXED, OfficerApp, Tracker, iso, tracker_for
from backend.demo.walks import FOOT, Streets, Walk, streets_of
from backend.demo.wire import Connection, NoAnswer, Request, Response

REFRESH_BEFORE_S = 60.0
LOOK_EVERY_S = 90.0
STARTS_PER_S = 8.0
"""How many phones switch on per second: a sign-in costs the server a password hash."""
LINE_EVERY_S = 30.0
"""How often a log, as opposed to a terminal, is told how the phones are."""
_MODELS = (
    "HUAWEI Mate 60",
    "HUAWEI nova 12",
    "Xiaomi 14",
    "Redmi Note 13",
    "OPPO Reno11",
    "vivo S18",
    "HONOR 100",
)


class SwitchedOff(Exception):
    """This phone has to stop: its officer may not sign in."""


@dataclass
class Tally:
    """What all phones together have done."""

    delivered: int = 0
    waiting: int = 0
    on_shift: int = 0
    requests: int = 0
    unanswered: int = 0
    resent: int = 0
    thrown_away: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)


class Pocket:
    """What phones remember when they are switched off: their device ids, and how they are signed in.

    Without it, each start of the simulation would be a burst of sign-ins from one address, which the server rightly
    stops. The file is as secret as the accounts and has the mode 0600; without a path nothing is kept.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._kept: dict[str, dict[str, str]] = {}
        self.dirty = False
        if path is not None:
            try:
                self._kept = json.loads(path.read_text())
            except (OSError, ValueError):
                self._kept = {}

    def of(self, login: str, device_id: str | None = None) -> dict[str, str]:
        """What the phone of an officer keeps; change it through :meth:`put`. ``device_id`` is a new phone's."""
        found = self._kept.get(login)
        if not isinstance(found, dict) or not {"device_id", "device_key"} <= set(found):
            found = self._kept[login] = {
                "device_id": device_id or str(new_id()),
                "device_key": secrets.token_urlsafe(24),
            }
            self.dirty = True
        return found

    def put(self, login: str, **values: str | None) -> None:
        """Remember, or with None forget."""
        kept = self.of(login)
        for key, value in values.items():
            if value is None:
                kept.pop(key, None)
            else:
                kept[key] = value
        self.dirty = True

    def save(self) -> None:
        """Write what has changed, all or nothing."""
        if not self.dirty or self._path is None:
            return
        self.dirty = False
        try:
            descriptor, temporary = tempfile.mkstemp(dir=self._path.parent)
            with os.fdopen(descriptor, "w") as file:
                json.dump(self._kept, file)
            os.replace(temporary, self._path)
        except OSError:
            # The data folder is gone or full: the phones sign in again next time.
            pass


class Phone:
    """One officer's phone."""

    def __init__(
        self,
        account: Mapping[str, Any],
        person: Person | None,
        streets: Streets,
        protocol: str,
        *,
        base_url: str,
        tls: ssl.SSLContext | None,
        interval_s: float,
        mishaps: Mishaps,
        seed: int,
        pocket: Pocket,
        tally: Tally,
        number: int = 0,
    ) -> None:
        self.login: str = account["login"]
        self._password: str = account["password"]
        self.random = Random(f"phone {seed} {self.login}")
        # What happens on the way to the server is drawn apart: how often, depends on how fast that answers.
        self._luck = Random(f"network {seed} {self.login}")
        self._streets, self._interval_s, self._mishaps = streets, interval_s, mishaps
        self._area_id: UUID | None = person.posts[0].area_id if person else None
        self._travel = person.travel if person else FOOT
        self._pocket, self._tally, self._number = pocket, tally, number
        self._connection = Connection(base_url, tls)
        self._api_connection = Connection(base_url, tls)
        self.receiver = Receiver(self.random, mishaps)
        self.tracker: Tracker = tracker_for(
            protocol,
            account.get("trackers", {}),
            self.random,
            device_id=UUID(pocket.of(self.login, account.get("device_id"))["device_id"]),
            access_token=lambda: self._access_token,
        )
        self._forgetful = self.random.random() < 0.12 and not isinstance(self.tracker, OfficerApp)
        self._access_token: str | None = None
        self._token_until = 0.0
        self._signing_in = asyncio.Lock()
        self.shift: dict[str, Any] | None = None
        self._walk: Walk | None = None
        self._outage_until = 0.0
        self._on_the_way = 0
        self._has_news = asyncio.Event()
        self._look_now = asyncio.Event()

    # --- the life of a phone -----------------------------------------------------------------------------------

    async def live(self, after_s: float = 0.0) -> None:
        """Switch on after a moment and go on until cancelled."""
        await asyncio.sleep(after_s)
        try:
            await self._go_on_shift()
            self._walk = await self._set_off()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._measure())
                group.create_task(self._deliver())
                group.create_task(self._attend())
        except* SwitchedOff as off:
            self._tally.problems[self.login] = str(off.exceptions[0])
        finally:
            self._connection.close()
            self._api_connection.close()
            self._count_shift(None)

    async def _measure(self) -> None:
        """Measure every few seconds by the phone's clock, whatever the network does."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        assert self._walk is not None
        while True:
            self._outage(self._interval_s)
            self._walk.step(self._interval_s)
            measured = self.receiver.measure(self._walk, time.time(), self._interval_s)
            if measured is not None and (self.shift is not None or self._forgetful):
                self.tracker.add(measured)
                self._tally.waiting += 1
                queue = self.tracker.queue
                # Drawn for each, whatever the network does: the same seed walks the same way.
                disordered = self.random.random() < self._mishaps.disorders_per_fix
                # What is on its way stays where it is: it is forgotten from the head when it has arrived.
                if disordered and len(queue) - self._on_the_way > 1:
                    queue[-1], queue[-2] = queue[-2], queue[-1]
                self._has_news.set()
            due += self._interval_s
            # What was missed is not made up for: no receiver measures twice in one moment.
            if due <= loop.time():
                due = loop.time() + self._interval_s
            await asyncio.sleep(due - loop.time())

    def _outage(self, seconds: float) -> None:
        """Now and then there is no network: the queue grows, and drains when it is back."""
        if self._luck.random() < self._mishaps.outages_per_h * seconds / 3600:
            self._outage_until = time.time() + self._luck.uniform(60, 900)

    async def _deliver(self) -> None:
        """Bring the queue to the server, head first; what is not taken is sent again later."""
        failures = 0
        tracker = self.tracker
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            while tracker.wants_to_send(time.time()):
                if isinstance(tracker, OfficerApp):
                    await self._signed_in()
                token = self._access_token
                request, count = tracker.request(time.time())
                self._on_the_way = count
                try:
                    response = await self._send(self._connection, request)
                except NoAnswer:
                    self._on_the_way = 0
                    failures += 1
                    await self._wait(tracker.retry_after_s(failures))
                    continue
                self._on_the_way = 0
                if tracker.is_success(response):
                    failures = 0
                    self._look_at(response)
                    if self._luck.random() < self._mishaps.resends_per_delivery:
                        # The answer got lost on the way; the phone cannot know better than to send it again.
                        self._tally.resent += 1
                        await self._wait(tracker.retry_after_s(1))
                        continue
                    self._forget(count)
                    self._tally.delivered += count
                elif response.status in (429, 503):
                    failures += 1
                    await self._wait(response.retry_after_s(tracker.retry_after_s(failures)))
                elif tracker.gives_up(response):
                    self._tally.thrown_away += count
                    self._forget(count)
                else:
                    failures += 1
                    if response.status == 401 and isinstance(tracker, OfficerApp):
                        await self._signed_in(refused=token)
                    await self._wait(tracker.retry_after_s(failures))

    def _forget(self, count: int) -> None:
        before = len(self.tracker.queue)
        self.tracker.accept_first(count)
        self._tally.waiting -= before - len(self.tracker.queue)

    def _look_at(self, response: Response) -> None:
        """Our own client is told when nothing is kept any more: the shift has been ended by somebody else."""
        if isinstance(self.tracker, OfficerApp):
            receipt = response.json()
            if isinstance(receipt, dict) and receipt.get("off_shift") and not receipt.get("stored"):
                self._look_now.set()

    async def _attend(self) -> None:
        """Keep the shift: end it when its time is over, rest, start the next; start anew when it was closed."""
        while True:
            try:
                async with asyncio.timeout(LOOK_EVERY_S * self._luck.uniform(0.8, 1.2)):
                    await self._look_now.wait()
            except TimeoutError:
                pass
            self._look_now.clear()
            shift = self.shift
            if (
                shift is not None
                and (end := shift.get("planned_end_at"))
                and _moment(end) <= datetime.now(UTC)
            ):
                await self._command(
                    f"/api/v1/officer/shifts/{shift['id']}/end", {"device_at": iso(time.time())}
                )
            await self._find_shift()
            if self.shift is None:
                await self._wait(self._luck.uniform(45, 150))
                await self._go_on_shift()

    # --- sign-in and shift -----------------------------------------------------------------------------------------

    async def _set_off(self) -> Walk:
        """Start to walk where the server saw this officer last, so that nobody jumps when the phones are restarted."""
        start = await self._last_place()
        beat = self._streets.beat(self._area_id, self._travel)
        return Walk(self._streets, beat, self._travel, self.random, start)

    async def _last_place(self) -> tuple[float, float] | None:
        if self.shift is None:
            return None
        since = iso(time.time() - 900)
        target = f"/api/v1/officer/shifts/{self.shift['id']}/track?since={since}&limit=200"
        place = None
        for _ in range(4):
            response = await self._call(Request("GET", target))
            document = response.json() if response.ok else None
            if not isinstance(document, dict) or not document.get("items"):
                break
            last = document["items"][-1]
            place = (float(last["lon"]), float(last["lat"]))
            if not document.get("next"):
                break
            target = f"/api/v1/officer/shifts/{self.shift['id']}/track?limit=200&cursor={document['next']}"
        return place

    async def _find_shift(self) -> None:
        response = await self._call(Request("GET", "/api/v1/officer/shift"))
        if response.status == 204:
            self._count_shift(None)
        elif response.ok:
            self._count_shift(response.json())
        elif response.status == 403:
            raise SwitchedOff(f"{self.login} is no officer.")

    async def _go_on_shift(self) -> None:
        """Find the officer on shift, or start one; comes back when he is on it."""
        failures = 0
        while True:
            await self._find_shift()
            if self.shift is not None:
                return
            response = await self._command("/api/v1/officer/shifts", self._wanted_shift())
            if response.ok:
                self._count_shift(response.json())
                return
            problem = response.json()
            code = problem.get("code") if isinstance(problem, dict) else None
            if code in ("id_taken", "device_revoked"):
                # The phone was somebody else's before, or the desk has shut it out: a new phone.
                self._pocket.put(self.login, device_id=str(new_id()))
                if isinstance(self.tracker, OfficerApp):
                    self.tracker = OfficerApp(
                        UUID(self._pocket.of(self.login)["device_id"]), lambda: self._access_token
                    )
            elif response.status in (400, 403, 422):
                raise SwitchedOff(f"{self.login} cannot start a shift: {code or response.status}.")
            failures += 1
            await self._wait(min(60.0, 2.0**failures))

    def _wanted_shift(self) -> dict[str, Any]:
        ends = datetime.now(UTC) + timedelta(hours=self.random.uniform(5, 9))
        wanted: dict[str, Any] = {
            "id": str(new_id()),
            "planned_end_at": ends.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "device": {
                "id": self._pocket.of(self.login)["device_id"],
                "name": self.random.choice(_MODELS),
                "platform": "simulated",
            },
            "device_at": iso(time.time()),
        }
        if self._area_id is not None:
            wanted["area_id"] = str(self._area_id)
        if self._travel != FOOT or self.random.random() < 0.5:
            wanted["crew"] = {
                "call_sign": f"云巡{self._number + 1:03}",
                "travel": self._travel,
                "member_ids": [],
            }
        return wanted

    def _count_shift(self, shift: dict[str, Any] | None) -> None:
        self._tally.on_shift += (shift is not None) - (self.shift is not None)
        self.shift = shift

    async def _signed_in(self, refused: str | None = None) -> None:
        """Have an access token that is good for a while yet and is not the one that was just refused."""
        async with self._signing_in:
            stale = time.time() > self._token_until - REFRESH_BEFORE_S
            if self._access_token is None or stale or self._access_token == refused:
                await self._sign_in()

    async def _sign_in(self) -> None:
        """Get a fresh access token: by the refresh token, or else by login and password."""
        failures = 0
        while True:
            kept = self._pocket.of(self.login)
            body: dict[str, Any] = {"device_key": kept["device_key"]}
            if "refresh_token" in kept:
                target = "/api/v1/auth/refresh"
                body["refresh_token"] = kept["refresh_token"]
            else:
                target = "/api/v1/auth/login"
                body |= {"login": self.login, "password": self._password, "device_name": "simulated phone"}
                body["client"] = "officer"
            request = Request(
                "POST", target, (("Content-Type", "application/json"),), msgspec.json.encode(body)
            )
            failures += 1
            try:
                response = await self._send(self._api_connection, request)
            except NoAnswer:
                await self._wait(min(30.0, 1.5**failures))
                continue
            if response.ok:
                tokens = response.json()
                self._access_token = tokens["access_token"]
                self._token_until = time.time() + float(tokens["expires_in_s"])
                self._pocket.put(self.login, refresh_token=tokens["refresh_token"])
                return
            if response.status in (401, 403, 422) and "refresh_token" in kept:
                self._pocket.put(self.login, refresh_token=None)
            elif response.status in (401, 403, 422):
                raise SwitchedOff(f"{self.login} may not sign in ({response.status}).")
            else:
                await self._wait(response.retry_after_s(min(60.0, 1.5**failures)))

    async def _command(self, target: str, body: Mapping[str, Any]) -> Response:
        headers = (("Content-Type", "application/json"), ("Idempotency-Key", str(uuid4())))
        return await self._call(Request("POST", target, headers, msgspec.json.encode(body)))

    async def _call(self, request: Request) -> Response:
        """Send a request as the officer, and again while the server is away: the same command with the same key."""
        failures = 0
        refused: str | None = None
        while True:
            await self._signed_in(refused)
            token = self._access_token
            signed = Request(
                request.method,
                request.target,
                (*request.headers, ("Authorization", f"Bearer {token}")),
                request.body,
            )
            failures += 1
            try:
                response = await self._send(self._api_connection, signed)
            except NoAnswer:
                await self._wait(min(60.0, 2.0**failures))
                continue
            if response.status == 401 and failures < 4:
                refused = token
            elif response.status in (429, 500, 502, 503, 504) and failures < 20:
                await self._wait(response.retry_after_s(min(60.0, 2.0**failures)))
            else:
                return response

    async def _send(self, connection: Connection, request: Request) -> Response:
        if time.time() < self._outage_until:
            raise NoAnswer("There is no network here.")
        self._tally.requests += 1
        try:
            response = await connection.send(request)
        except NoAnswer:
            self._tally.unanswered += 1
            raise
        self._tally.statuses[response.status] += 1
        return response

    async def _wait(self, seconds: float) -> None:
        """Wait about so long: after a restart of the server not all phones come in one moment."""
        await asyncio.sleep(seconds * self._luck.uniform(0.8, 1.25))


class Fleet:
    """The phones of a town, together."""

    def __init__(self, phones: Sequence[Phone], tally: Tally, pocket: Pocket) -> None:
        self.phones, self.tally, self._pocket = phones, tally, pocket

    async def run(self, duration_s: float | None = None, *, quiet: bool = False) -> None:
        """Let the phones live until the time is over, or SIGTERM or SIGINT comes."""
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, over.set)
        lives = [
            asyncio.create_task(phone.live(n / STARTS_PER_S), name=phone.login)
            for n, phone in enumerate(self.phones)
        ]
        keeping = asyncio.create_task(self._keep(quiet))
        everyone = asyncio.ensure_future(asyncio.gather(*lives))
        ending = asyncio.ensure_future(over.wait())
        waited_for: set[asyncio.Future[Any]] = {everyone, ending}
        try:
            await asyncio.wait(waited_for, timeout=duration_s, return_when=asyncio.FIRST_COMPLETED)
            if everyone.done():
                everyone.result()  # A fault of the simulation itself is not hidden.
        finally:
            for task in (*lives, keeping, ending):
                task.cancel()
            await asyncio.gather(*lives, keeping, ending, everyone, return_exceptions=True)
            self._pocket.save()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def _keep(self, quiet: bool) -> None:
        """Save what the phones remember, and say now and then how they are."""
        told: set[str] = set()
        began = said = time.monotonic()
        while True:
            await asyncio.sleep(2)
            self._pocket.save()
            for login, problem in self.tally.problems.items():
                if login not in told:
                    told.add(login)
                    click.echo(f"simulation: {problem}", err=True)
            if quiet:
                continue
            now = time.monotonic()
            line = f"{self.summary()}, {now - began:.0f} s"
            if sys.stdout.isatty():
                click.echo(f"\r\x1b[K{line}", nl=False)
            elif now - said >= LINE_EVERY_S:
                said = now
                click.echo(line)

    def summary(self) -> str:
        """How the phones are, in one line."""
        t = self.tally
        return (
            f"{len(self.phones)} phones, {t.on_shift} on shift, {t.delivered} fixes delivered, {t.waiting} waiting,"
            f" {t.unanswered} requests of {t.requests} unanswered"
        )


def fleet(
    base_url: str,
    accounts: Mapping[str, Any],
    *,
    officers: int,
    interval_s: float = 5.0,
    protocol: str = "mixed",
    seed: int = 1,
    mishaps: Mishaps | None = None,
    keep: Path | None = None,
    tls: ssl.SSLContext | None = None,
    town: Town | None = None,
) -> Fleet:
    """Make the phones of the first ``officers`` officers of ``accounts`` (``xungeng demo accounts --json``).

    Args:
        interval_s: seconds between two measurements of a phone.
        protocol: one of ``simulate.PROTOCOLS``, or ``mixed``.
        mishaps: how often things go wrong; by default as often as on real phones, somewhat hurried.
        keep: a file in which the phones stay signed in between two runs.
    """
    town = town or generate(int(accounts.get("town", {}).get("seed", DEFAULT_SEED)))
    streets = streets_of(town)
    people = {person.login: person for person in town.people if person.login}
    tally, pocket = Tally(), Pocket(keep)
    if tls is None and base_url.startswith("https:"):
        tls = ssl.create_default_context()  # One for all: making one costs milliseconds and megabytes.
    phones = [
        Phone(
            account,
            people.get(account["login"]),
            streets,
            MIXED[n % len(MIXED)] if protocol == "mixed" else protocol,
            base_url=base_url,
            tls=tls,
            interval_s=interval_s,
            mishaps=mishaps if mishaps is not None else Mishaps(),
            seed=seed,
            pocket=pocket,
            tally=tally,
            number=n,
        )
        for n, account in enumerate(able(accounts["officers"], officers))
    ]
    return Fleet(phones, tally, pocket)


def simulate(
    base_url: str,
    accounts: Mapping[str, Any],
    *,
    officers: int,
    interval_s: float = 5.0,
    protocol: str = "mixed",
    duration_s: float | None = None,
    seed: int = 1,
    mishaps: Mishaps | None = None,
    keep: Path | None = None,
    tls: ssl.SSLContext | None = None,
    quiet: bool = False,
) -> Tally:
    """Run simulated phones until ``duration_s`` is over or SIGTERM comes, and return what they did."""

    async def run() -> Tally:
        made = fleet(
            base_url,
            accounts,
            officers=officers,
            interval_s=interval_s,
            protocol=protocol,
            seed=seed,
            mishaps=mishaps,
            keep=keep,
            tls=tls,
        )
        await made.run(duration_s, quiet=quiet)
        return made.tally

    return asyncio.run(run())


def able(accounts: Iterable[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """The first ``count`` who can sign in; the ones that are left to people come last."""
    found = [account for account in accounts if account.get("password")]
    return sorted(found, key=lambda account: bool(account.get("reserved")))[:count]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
