"""``script/bench live``: from a phone's POST to the supervisors' screens (b), fan-out (c), memory (i).

c: one event to 1,000 clients, as small as a shift's and as large as 200 positions, against socket.io, nchan (what C
does inside nginx: the limit) and ws (a bare WebSocket library). The clients check that everybody got every byte and
one of them that the stream is whole.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import hmac
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID

from backend.core.tokens import AccessTokens
from bench.crowd import SOCKET_IO_PATH, Crowd, Door, Publisher, frames
from bench.delays import delays
from bench.report import Report, at_least, at_most, in_pairs, progress
from bench.servers import (
    PEERS,
    CannotMeasureError,
    Server,
    answers,
    folder,
    free_port,
    node_program,
    peer_packages,
    pss_kib,
    python_program,
    server,
)

CLIENTS, IDLE_CLIENTS = 1000, 3000
UNDER_WAY = 4
"""Events that have been posted and not yet reached everybody, at most."""


@dataclass(frozen=True)
class Side:
    """One server of a comparison and how to use it."""

    server: Server
    door: Door
    paths: dict[str, str]


class Keys:
    """One secret for all sides: our tokens, and equally strong ones for the peers."""

    def __init__(self) -> None:
        self.secret = secrets.token_urlsafe(32)
        self._ours = AccessTokens(self.secret.encode(), 900)

    def ours(self, number: int) -> str:
        """A token as our sign-in gives it."""
        return self._ours.make(UUID(int=number + 1), UUID(int=1), UUID(int=number + 2**32), datetime.now(UTC))

    def theirs(self, number: int) -> str:
        """An HS256 token with as many claims for the node peers."""
        claims = {
            "sub": str(UUID(int=number + 1)),
            "sid": str(UUID(int=number)),
            "exp": int(time.time()) + 900,
        }
        parts = [{"alg": "HS256", "typ": "JWT"}, claims]
        text = ".".join(_base64url(json.dumps(part).encode()) for part in parts)
        return f"{text}.{_base64url(hmac.digest(self.secret.encode(), text.encode(), hashlib.sha256))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def our_channel(keys: Keys) -> Iterator[Side]:
    """Our live channel under gunicorn, one process; whoever uses it waits for it first."""
    port = free_port()
    arguments = [
        python_program(), "-m", "gunicorn", "-k", "gevent", "-w", "1", "--worker-connections", "8000",
        "--keep-alive", "75", "--no-control-socket", "-b", f"127.0.0.1:{port}", "bench.live_server:app",
    ]  # fmt: skip
    env = {"BENCH_SECRET": keys.secret}
    with server(arguments, port, env=env, ready=lambda: answers(port), starting=[]) as running:
        yield Side(running, Door(SOCKET_IO_PATH, keys.ours), {"event": "/event", "positions": "/positions"})


@contextmanager
def socket_io(keys: Keys) -> Iterator[Side]:
    """socket.io on node, one process."""
    port = free_port()
    arguments: list[str | Path] = [
        node_program(),
        peer_packages() / "live" / "socketio.mjs",
        str(port),
        keys.secret,
    ]
    with server(arguments, port) as running:
        yield Side(running, Door(SOCKET_IO_PATH, keys.theirs), {"event": "/event", "positions": "/positions"})


@contextmanager
def bare_ws(keys: Keys) -> Iterator[Side]:
    """The ws library on node, one process."""
    port = free_port()
    with server([node_program(), peer_packages() / "live" / "ws.mjs", str(port)], port) as running:
        yield Side(running, Door("/"), {"event": "/", "positions": "/"})


@contextmanager
def nchan(keys: Keys) -> Iterator[Side]:
    """nchan inside nginx, one worker."""
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(nginx).exists() or not Path("/usr/lib/nginx/modules/ngx_nchan_module.so").exists():
        raise CannotMeasureError(
            "nginx with nchan is not installed (Debian packages nginx, libnginx-mod-nchan)."
        )
    port = free_port()
    with folder() as place:
        text = (PEERS / "live" / "nchan.conf").read_text()
        (place / "nginx.conf").write_text(text.replace("@PORT@", str(port)).replace("@FOLDER@", str(place)))
        with server([nginx, "-p", place, "-c", place / "nginx.conf"], port) as running:
            yield Side(running, Door("/sub"), {"event": "/pub", "positions": "/pub"})


# --- c: fan-out


def event_body() -> bytes:
    """What happened to a shift; with what Socket.IO puts around it the frame has about 125 bytes."""
    return json.dumps(
        {"kind": "shift", "action": "start", "officer_id": str(UUID(int=1)), "version": 1}
    ).encode()


def positions_body() -> bytes:
    """Two hundred positions as the live protocol has them, all measured just now."""
    at = round(
        int(time.time() * 100) / 100 + 0.001, 3
    )  # Three decimals in any case: all bodies have the same length.
    rows = [
        [str(UUID(int=number)), 116.391234, 39.912345, at, 12.5, 1.23, 270.5, 77, str(UUID(int=99)), False]
        for number in range(200)
    ]
    return json.dumps(rows, separators=(",", ":")).encode()


class FanOut:
    """One side's thousand clients, and how many messages a second reach them."""

    def __init__(self, side: Side, clients: int = CLIENTS) -> None:
        self.side = side
        side.server.wait()
        warm = Crowd(side.server.port, side.door, 50)
        warm.settle(0.1)
        warm.close()
        time.sleep(0.5)
        before = side.server.pss_kib()
        self.crowd = Crowd(side.server.port, side.door, clients)
        self.crowd.settle()
        after = side.server.pss_kib()
        self.client_kib = (after - before) / clients
        """What one of these clients costs while it is idle."""
        self.process_mib = max(pss_kib(pid) for pid in side.server.tree()) / 1024

    def rate(self, kind: str, body: Callable[[], bytes], seconds: float) -> float:
        """Messages a second, over all clients; every client must have got every one, whole."""
        crowd, publisher = self.crowd, Publisher(self.side.server.port, self.side.paths[kind], UNDER_WAY)
        try:
            publisher.look()
            publisher.post(body())
            while not publisher.answered:
                publisher.look()
            crowd_size = len(crowd)
            while crowd.pump(0.3) or len(set(crowd.received.values())) > 1 or not crowd.total:
                pass
            size = crowd.total // crowd_size
            crowd.reset()
            publisher.sent = publisher.answered = 0
            gc.collect()
            started = time.perf_counter()
            end = started + seconds
            while time.perf_counter() < end:
                if publisher.look() and publisher.sent - crowd.total / crowd_size / size < UNDER_WAY:
                    publisher.post(body())
                crowd.pump(0.002)
            expected = publisher.sent * size * crowd_size
            give_up = time.perf_counter() + 20
            while crowd.total < expected and time.perf_counter() < give_up:
                crowd.pump(0.05)
            elapsed = time.perf_counter() - started
            arrived = sum(1 for opcode, _ in frames(crowd.kept) if opcode == 1)
            if arrived != publisher.sent or set(crowd.received.values()) != {publisher.sent * size}:
                raise CannotMeasureError(
                    f"{arrived} of {publisher.sent} events reached the witness, and all clients together got"
                    f" {crowd.total} of {expected} bytes."
                )
            return publisher.sent * crowd_size / elapsed
        finally:
            publisher.close()
            crowd.reset()

    def close(self) -> None:
        """Let the clients go."""
        self.crowd.close()


def fan_out(report: Report, keys: Keys, here: Side, quick: bool) -> None:
    """c: messages and positions a second to 1,000 clients; and i, in the quick run, from the same clients."""
    seconds, pairs = (0.6, 2) if quick else (3.0, 5)
    peers = [
        ("socket.io (node), 1 process", socket_io, at_least(1.3)),
        ("nchan (C, nginx), 1 process", nchan, at_least(0.7)),
        ("ws (node), 1 process", bare_ws, None),
    ]
    kinds = [("event", event_body, "small events"), ("positions", positions_body, "frames of 200 positions")]
    us = FanOut(here)
    try:
        for name, start, target in peers:
            if quick and target is None:
                continue
            with start(keys) as there:
                them = FanOut(there)
                try:
                    for kind, body, title in kinds:
                        progress(f"fan-out to {CLIENTS} clients, {title}: us and {name}")
                        found = in_pairs(
                            partial(us.rate, kind, body, seconds),
                            partial(them.rate, kind, body, seconds),
                            pairs,
                            quick,
                        )
                        report.add(
                            f"c fan-out, {title}", found.value, "messages/s", against=name,
                            against_value=found.against_value, ratio=found.ratio, target=target,
                        )  # fmt: skip
                        if kind == "positions":
                            report.add(
                                "c fan-out, positions", found.value * 200, "positions/s", against=name,
                                against_value=found.against_value * 200, ratio=found.ratio, target=target,
                            )  # fmt: skip
                finally:
                    them.close()
                if quick and start is socket_io:
                    report_memory(report, us, them)
    finally:
        us.close()


# --- i: memory


def memory(report: Report, keys: Keys) -> None:
    """i: what an idle client costs, and the process."""
    progress(f"memory of {IDLE_CLIENTS} idle clients")
    with our_channel(keys) as here:
        us = FanOut(here, IDLE_CLIENTS)
        us.close()
    with socket_io(keys) as there:
        them = FanOut(there, IDLE_CLIENTS)
        them.close()
    report_memory(report, us, them)


def report_memory(report: Report, us: FanOut, them: FanOut) -> None:
    """Put what was measured when the clients connected into the report."""
    report.add(
        "i memory per idle client", us.client_kib, "KiB (PSS)", against="socket.io (node)",
        against_value=them.client_kib, target=[at_most(67, "value"), at_most(35, "value")],
    )  # fmt: skip
    report.add(
        "i memory of a process with its clients", us.process_mib, "MiB (PSS)", against="socket.io (node)",
        against_value=them.process_mib,
    )  # fmt: skip


def run(quick: bool = False) -> Report:
    """Measure everything; ``quick`` stays under a minute."""
    report = Report("live")
    keys = Keys()
    # It comes up while the town of the first measurement is made, and has nothing to do until its turn.
    with our_channel(keys) as here:
        delays(report, quick)
        fan_out(report, keys, here, quick)
    if not quick:
        memory(report, keys)
    return report
