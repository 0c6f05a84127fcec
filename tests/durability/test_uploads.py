"""Photos and recordings brought up while servers die and networks break: no confirmed byte is lost, each hash is right.

Real processes and real SIGKILLs, files of noise, and the client libraries that there are.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Lock
from uuid import UUID

import pytest

from bench.servers import Server
from mobile_api.gateway.tus import READ_BYTES
from mobile_api.slow_bodies import BODY_S
from tests.durability.network import Network, breaking
from tests.durability.town import DurableTown, Officer, children_of, durable_town
from tests.photos import OFFSET_TYPE, TUS, UPLOADS, checksum, metadata

ROOT = Path(__file__).resolve().parents[2]
STEP = 4096
JPEG = b"\xff\xd8\xff"
MP4 = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2"


@pytest.fixture(scope="module")
def town() -> Iterator[DurableTown]:
    with durable_town() as found:
        yield found


def noise(rng: random.Random, size: int, head: bytes = JPEG) -> bytes:
    return head + rng.randbytes(size - len(head))


def kill_children(pid: int) -> None:
    for process in children_of(pid):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def ask(
    port: int,
    officer: Officer,
    method: str,
    path: str,
    body: bytes | None = None,
    chunked: bool = False,
    **headers: str,
) -> http.client.HTTPResponse:
    """One request on a connection of its own, tried until somebody answers it."""
    until = time.monotonic() + 30
    told = {**TUS, "Authorization": f"Bearer {officer.token}"}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            # What is handed over piece by piece goes without a length, in chunks.
            pieces = (
                (body[at : at + 9_999] for at in range(0, len(body), 9_999)) if body and chunked else body
            )
            connection.request(method, path, body=pieces, headers=told)
            answer = connection.getresponse()
            answer.read()
            return answer
        except (OSError, http.client.HTTPException):
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        finally:
            connection.close()


def send_slowly(
    port: int, officer: Officer, path: str, at: int, data: bytes, until: int, kill: Callable[[], None]
) -> None:
    """Send a part step by step, and let the servers die when so many of its bytes are on their way."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    head = (
        f"PATCH {path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nAuthorization: Bearer {officer.token}\r\n"
        f"Upload-Offset: {at}\r\nContent-Type: {OFFSET_TYPE}\r\nContent-Length: {len(data) - at}\r\n\r\n"
    )
    killed = False
    with suppress(OSError), connection:
        connection.sendall(head.encode())
        for start in range(at, len(data), STEP):
            if not killed and start - at >= until:
                kill()
                killed = True
            connection.sendall(data[start : start + STEP])
            time.sleep(0.001)
        connection.settimeout(2)
        connection.recv(4096)
    if not killed:
        kill()


def stored(town: DurableTown, data: bytes) -> bool:
    """Whether the store has these very bytes, under their digest."""
    name = hashlib.sha256(data).hexdigest()
    [path] = (town.data / "evidence" / "objects").glob(f"*/{name[:2]}/{name[2:4]}/{name}")
    return hashlib.sha256(path.read_bytes()).hexdigest() == name


def state_of(town: DurableTown, photo_id: UUID) -> str:
    return str(town.scalar(f"select state from evidence where id = '{photo_id}'"))


def test_servers_that_are_killed_at_any_byte_lose_nothing_that_was_confirmed(
    town: DurableTown, thin: Callable[[int, int], int]
) -> None:
    """F01: SIGKILL of the web process at random bytes, 200 seeds; confirmed bytes lost: 0, right hashes: all."""
    [officer] = town.officers(1)
    lost = wrong = 0
    resumed: list[float] = []
    with town.web() as running:

        def kill() -> None:
            kill_children(running.pid)

        for seed in range(thin(200, 2)):
            rng = random.Random(seed)
            data = noise(rng, rng.randrange(200_000, 700_000))
            photo_id, header = metadata(data)
            begun = ask(
                running.port, officer, "POST", UPLOADS,
                Upload_Metadata=header, Upload_Length=str(len(data)),
            )  # fmt: skip
            assert begun.status == 201
            path = f"{UPLOADS}/{photo_id}"
            first = rng.randrange(1, len(data) // 2)
            confirmed = ask(
                running.port, officer, "PATCH", path, data[:first],
                Upload_Offset="0", Content_Type=OFFSET_TYPE,
            )  # fmt: skip
            assert confirmed.headers["Upload-Offset"] == str(first)
            send_slowly(running.port, officer, path, first, data, rng.randrange(len(data) - first), kill)
            died = time.monotonic()
            while True:
                assert time.monotonic() - died < 60, "the upload does not go on"
                there = ask(running.port, officer, "HEAD", path)
                assert there.status == 200
                at = int(there.headers["Upload-Offset"])
                lost += max(0, first - at)
                if at == len(data):
                    break
                rest = ask(
                    running.port, officer, "PATCH", path, data[at:], chunked=bool(seed % 2),
                    Upload_Offset=str(at), Content_Type=OFFSET_TYPE,
                )  # fmt: skip
                assert rest.status in (204, 409, 423), rest.status
            resumed.append(time.monotonic() - died)
            wrong += state_of(town, photo_id) != "received" or not stored(town, data)
    left = town.scalar("select count(*) from evidence where state = 'uploading'")
    spooled = list((town.data / "evidence" / "uploads").iterdir())
    print(
        f"\nF01: {len(resumed)} kills, {lost} confirmed bytes lost, {wrong} wrong hashes, {left} rows left over,"
        f" resumed within {sorted(resumed)[int(len(resumed) * 0.95) - 1]:.2f} s (p95)"
    )
    assert (lost, wrong, left, spooled) == (0, 0, 0, [])


def bring(
    client: str, file: Path, port: int, officer: Officer, told: dict[str, str]
) -> subprocess.Popen[str]:
    """Start a client library that brings a file, and that goes on until it is there."""
    here, endpoint = Path(__file__).parent, f"http://127.0.0.1:{port}{UPLOADS}"
    given = [str(file), endpoint, officer.token, json.dumps(told)]
    if client == "tus-py-client":
        arguments = [sys.executable, str(here / "bring.py"), *given]
    else:
        arguments = [str(ROOT / "script" / "node"), str(here / "bring.mjs"), *given, client]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


CLIENTS = ("tus-v1", "ietf-draft-03", "ietf-draft-05", "tus-py-client")
"""tus-js-client in each of its three protocols, and tus-py-client."""


class Doom:
    """The end of a web process once so many bytes are on their way to it, by whichever connection."""

    def __init__(self, pid: int, after: int) -> None:
        self.came = False
        self._pid, self._left, self._guard = pid, after, Lock()

    def passed(self, count: int) -> None:
        with self._guard:
            self._left -= count
            if self._left > 0 or self.came:
                return
            self.came = True
        kill_children(self._pid)


def bring_at_once(
    town: DurableTown, running: Server, officers: Sequence[Officer], turn: int, folder: Path
) -> tuple[list[Network], int, int]:
    """Let each officer's client bring a file, and kill their server once; the networks, bytes lost, wrong files."""
    doom = Doom(running.pid, random.Random(f"round {turn}").randrange(1, len(officers) * 300_000))
    brought: list[tuple[str, subprocess.Popen[str], UUID, bytes, Network]] = []
    lost = wrong = 0
    with ExitStack() as stack:
        for number, officer in enumerate(officers):
            rng, client = random.Random(f"{turn} {number}"), CLIENTS[number % len(CLIENTS)]
            is_photo = (number // len(CLIENTS) + turn) % 2
            data = noise(rng, rng.randrange(300_000, 700_000), JPEG if is_photo else MP4)
            evidence_id, header = metadata(data, filetype="image/jpeg" if is_photo else "video/mp4")
            pairs = (pair.split(" ") for pair in header.split(","))
            told = {key: b64decode(value).decode() for key, value in pairs}
            file = folder / str(evidence_id)
            file.write_bytes(data)
            network = stack.enter_context(breaking(running.port, rng, doom.passed))
            started = bring(client, file, network.port, officer, told)
            stack.callback(started.kill)
            brought.append((client, started, evidence_id, data, network))
        for client, started, evidence_id, data, network in brought:
            out, error = started.communicate(timeout=150)
            assert out.strip() == "done", (turn, client, error[-2000:])
            lost += network.lost()
            wrong += state_of(town, evidence_id) != "received" or not stored(town, data)
    assert doom.came
    return [network for *_, network in brought], lost, wrong


def test_clients_bring_photos_and_recordings_through_networks_that_break_and_servers_that_die(
    town: DurableTown, thin: Callable[[int, int], int], tmp_path: Path
) -> None:
    """F01, F28: cuts, stalls, resets and SIGKILL at any byte, 200 seeds; confirmed bytes lost: 0, right hashes: all."""
    officers = town.officers(thin(8, 4))
    networks: list[Network] = []
    lost = wrong = 0
    with town.web() as running:
        for turn in range(thin(25, 1)):
            met, gone, differ = bring_at_once(town, running, officers, turn, tmp_path)
            networks += met
            lost, wrong = lost + gone, wrong + differ
    assert (lost, wrong) == (0, 0)
    assert sum(network.broken for network in networks) > len(networks)
    cut, reset, stalled = (sum(getattr(one, how) for one in networks) for how in ("cut", "reset", "stalled"))
    print(
        f"\nF01, F28: {len(networks)} files by {len(CLIENTS)} clients, connections: {cut} cut, {reset} reset,"
        f" {stalled} stalled; {lost} confirmed bytes lost, {wrong} wrong hashes"
    )
    assert stalled
    assert town.scalar("select count(*) from evidence where state = 'uploading'") == 0


def test_what_came_fast_before_a_cut_is_there_to_its_last_byte_and_what_was_damaged_is_not(
    town: DurableTown, thin: Callable[[int, int], int]
) -> None:
    """F28, F30: parts that are read beside the sockets; offset errors: 0, accepted bad parts: 0."""
    [officer] = town.officers(1)
    with town.web() as running:
        for seed in range(thin(20, 1)):
            rng = random.Random(f"fast {seed}")
            data = noise(rng, rng.randrange(6 << 20, 12 << 20), MP4)
            evidence_id, header = metadata(data, filetype="video/mp4")
            begun = ask(
                running.port, officer, "POST", UPLOADS, Upload_Metadata=header, Upload_Length=str(len(data))
            )
            path, told = begun.headers["Location"], {"Content_Type": OFFSET_TYPE}
            at = rng.randrange(1 << 20, len(data) - (1 << 20))
            connection = connected(running.port, officer, evidence_id, len(data))
            connection.sendall(data[:at])
            connection.shutdown(socket.SHUT_WR)
            assert answer_of(connection).startswith(b"HTTP/1.1 400 ")
            there = ask(running.port, officer, "HEAD", path)
            assert int(there.headers["Upload-Offset"]) == at
            damaged = bytearray(data[at:])
            damaged[rng.randrange(len(damaged))] ^= 1
            for body, status in ((bytes(damaged), 460), (data[at:], 204)):
                checked = {"Upload_Checksum": checksum(data[at:], "sha256")}
                sent = ask(
                    running.port, officer, "PATCH", path, body, Upload_Offset=str(at), **told, **checked
                )
                assert sent.status == status
            assert state_of(town, evidence_id) == "received"
            assert stored(town, data)


def test_uploads_hold_up_nobody_else(town: DurableTown, thin: Callable[[int, int], int]) -> None:
    """Writing, hashing and fsync are done beside the sockets: others are answered meanwhile; longest wait printed."""
    officers = town.officers(8)
    with town.web() as running:
        ask(running.port, officers[0], "GET", "/healthz")
        stop = threading.Event()
        quiet: list[float] = []
        waits: list[float] = []

        def look(into: list[float]) -> None:
            began = time.monotonic()
            assert ask(running.port, officers[0], "GET", "/healthz").status == 200
            into.append(time.monotonic() - began)
            time.sleep(0.02)

        def keep_looking() -> None:
            while not stop.is_set():
                look(waits)

        for _ in range(50):
            look(quiet)

        def bring(number: int) -> None:
            for turn in range(thin(10, 2)):
                data = noise(random.Random(f"{number} {turn}"), 5 << 20)
                photo_id, header = metadata(data)
                checked = {"Upload_Checksum": checksum(data, "sha256")} if number % 2 else {}
                sent = ask(
                    running.port, officers[number], "POST", UPLOADS, data,
                    Upload_Metadata=header, Upload_Length=str(len(data)), Content_Type=OFFSET_TYPE, **checked,
                )  # fmt: skip
                assert sent.status == 201
                assert state_of(town, photo_id) == "received"

        looking = threading.Thread(target=keep_looking)
        looking.start()
        threads = [threading.Thread(target=bring, args=(number,)) for number in range(len(officers))]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        took = time.monotonic() - began
        stop.set()
        looking.join(10)
    megabytes = len(officers) * thin(10, 2) * 5
    print(
        f"\n{megabytes} MiB at once, {megabytes / took:.0f} MiB/s, longest wait of others {max(waits):.2f} s,"
        f" without uploads {max(quiet):.2f} s"
    )
    assert len(waits) > 10
    # Of a machine that is busy with other things the quiet calls know as well.
    assert max(waits) < 2 + 20 * max(quiet)


def test_a_slow_network_is_waited_for_and_a_silent_one_is_not(town: DurableTown) -> None:
    """F75: a part may take longer than a body, as long as something comes; who stops is ended, and what came stays."""
    slow, silent = town.officers(2)
    with town.web() as running:
        data = noise(random.Random("slow"), 40_000)
        begun: dict[Officer, tuple[UUID, socket.socket]] = {}
        for officer in (slow, silent):
            photo_id, header = metadata(data)
            made = ask(
                running.port, officer, "POST", UPLOADS, Upload_Metadata=header, Upload_Length=str(len(data))
            )
            assert made.status == 201
            begun[officer] = (photo_id, connected(running.port, officer, photo_id, len(data)))
        begun[silent][1].sendall(data[:20_000])
        pieces = 20
        for number in range(pieces):
            begun[slow][1].sendall(data[number * 2_000 : (number + 1) * 2_000])
            time.sleep((BODY_S + 3) / pieces)
        told = {officer: answer_of(connection) for officer, (_, connection) in begun.items()}
        assert told[slow].startswith(b"HTTP/1.1 204 ")
        assert told[silent].startswith(b"HTTP/1.1 408 ")
        there = ask(running.port, silent, "HEAD", f"{UPLOADS}/{begun[silent][0]}")
        assert 20_000 - READ_BYTES < int(there.headers["Upload-Offset"]) <= 20_000
        assert state_of(town, begun[slow][0]) == "received"


def connected(port: int, officer: Officer, photo_id: UUID, length: int) -> socket.socket:
    """A connection on which a part of an upload is announced."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(
        (
            f"PATCH {UPLOADS}/{photo_id} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
            f"Authorization: Bearer {officer.token}\r\nContent-Type: {OFFSET_TYPE}\r\n"
            f"Content-Length: {length}\r\n\r\n"
        ).encode()
    )
    return connection


def answer_of(connection: socket.socket) -> bytes:
    """What comes back, to its end or for as long as is waited."""
    with connection, suppress(OSError):
        return connection.recv(65536)
    return b""
