"""Bodies that do not arrive hold a connection for so long and no longer, and nobody else waits for them (F75)."""

from __future__ import annotations

import http.client
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from backend.serve_worker import HANDSHAKE_S
from bench.servers import free_port, server
from mobile_api.slow_bodies import BODY_S, WAITED_FOR
from tests.durability.phones import Phone
from tests.durability.town import DurableTown, durable_town

HEADS = {
    "tracker": "POST /gateway/osmand HTTP/1.1\r\nContent-Type: application/json\r\n",
    "flask": "POST /api/v1/auth/login HTTP/1.1\r\nContent-Type: application/json\r\n",
    "chunked": "POST /api/v1/auth/refresh HTTP/1.1\r\nContent-Type: application/json\r\n",
}


@pytest.fixture(scope="module")
def town() -> Iterator[DurableTown]:
    with durable_town() as found:
        yield found


def begun(port: int, kind: str, authorization: str = "") -> socket.socket:
    """Send a head and the first byte of its body."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=BODY_S + 15)
    length = "Transfer-Encoding: chunked" if kind == "chunked" else "Content-Length: 100"
    first = "1\r\n{\r\n" if kind == "chunked" else "{"
    head = HEADS.get(kind, f"POST {kind} HTTP/1.1\r\nContent-Type: application/json\r\n")
    connection.sendall(f"{head}Host: x\r\n{authorization}{length}\r\n\r\n{first}".encode())
    return connection


def end(connection: socket.socket) -> bytes:
    """Read until the server has closed; empty if it did so without a word."""
    said = b""
    try:
        while part := connection.recv(65_536):
            said += part
    except (ConnectionError, ssl.SSLError):  # What it says to a line that is cut, after its answer.
        pass
    finally:
        connection.close()
    return said


def healthy(port: int) -> float:
    began = time.monotonic()
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    asked.request("GET", "/healthz")
    assert asked.getresponse().status == 200
    asked.close()
    return time.monotonic() - began


def test_slow_bodies_are_ended_and_hold_up_nobody(town: DurableTown, thin: Callable[[int, int], int]) -> None:
    """F75: 408 in a problem's shape after the deadline, the crowd of one address at once, and the rest is served."""
    count = thin(4050, 500)
    [officer] = town.officers(1)
    with town.web() as running:
        phone = Phone(officer, running.port, batch=1)
        healthy(running.port)
        began = time.monotonic()
        each = [begun(running.port, kind) for kind in HEADS]
        trickling = begun(running.port, "flask")
        stop = threading.Event()

        def trickle() -> None:
            while not stop.wait(0.5):
                try:
                    trickling.sendall(b" ")
                except OSError:
                    return

        threading.Thread(target=trickle, daemon=True).start()
        crowd = [begun(running.port, "tracker") for _ in range(count)]
        waits = []
        while time.monotonic() - began < BODY_S - 3:
            waits.append(healthy(running.port))
            fixes = phone.next_batch()
            assert fixes is not None
            phone.deliver(fixes)  # Its body is there at once, and so it is read beside the crowd.
            time.sleep(0.5)
        for kind, connection in zip(HEADS, each, strict=True):
            said = end(connection)
            assert said.startswith(b"HTTP/1.1 408 "), (kind, said)
            if kind != "tracker":
                assert b"application/problem+json" in said
                assert b'"timed_out"' in said
            assert BODY_S - 2 < time.monotonic() - began < BODY_S + 10
        assert end(trickling)[:13] in (b"HTTP/1.1 408 ", b"")
        stop.set()
        told = Counter(end(connection)[9:12] for connection in crowd)
        print(f"\nF75: {count} slow bodies {dict(told)}, longest wait {max(waits):.2f} s")
        assert told[b"429"] + told[b""] >= count - WAITED_FOR
        assert told[b"408"] <= WAITED_FOR
        assert sum(told[answer] for answer in (b"408", b"429", b"")) == count
        assert time.monotonic() - began < BODY_S + 15
        assert max(waits) < 3
        phone.close()


def test_the_ingest_process_ends_them_too(town: DurableTown) -> None:
    """F75: the same in an event loop."""
    [officer] = town.officers(1)
    with town.ingest(1) as running:
        began = time.monotonic()
        bearer = f"Authorization: Bearer {officer.token}\r\n"
        fixes = begun(running.port, "/api/v1/officer/fixes", bearer)
        tracker = begun(running.port, "tracker")
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
        connection.request("GET", "/gateway/osmand/nobody?lat=31&lon=121")
        assert connection.getresponse().status == 400
        connection.close()
        for slow in (fixes, tracker):
            said = slow.recv(65_536)
            slow.close()
            assert said.startswith(b"HTTP/1.1 408 "), said
            assert BODY_S - 2 < time.monotonic() - began < BODY_S + 10
        phone = Phone(officer, running.port, batch=1)
        batch = phone.next_batch()
        assert batch is not None
        phone.deliver(batch)
        phone.close()


def test_who_opens_connections_and_says_nothing_leaves_half_of_them(town: DurableTown) -> None:
    """F75: what one network opens beyond its share is closed unread, and others are served as ever."""
    [officer] = town.officers(1)
    with town.web(XUNGENG_WORKER_CONNECTIONS="60") as running:
        idle = [socket.create_connection(("127.0.0.1", running.port), timeout=5) for _ in range(70)]
        try:
            deadline = time.monotonic() + 5
            while sum(is_closed(one) for one in idle) < 40 and time.monotonic() < deadline:
                time.sleep(0.1)
            assert sum(is_closed(one) for one in idle) == 40
            elsewhere = http.client.HTTPConnection(
                "127.0.0.1", running.port, timeout=5, source_address=("127.0.0.2", 0)
            )
            elsewhere.request("GET", "/healthz")
            assert elsewhere.getresponse().status == 200
            elsewhere.close()
        finally:
            for one in idle:
                one.close()
        phone = Phone(officer, running.port, batch=1)
        fixes = phone.next_batch()
        assert fixes is not None
        phone.deliver(fixes)  # The places are free again.
        phone.close()


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_over_tls_too(town: DurableTown) -> None:
    """F75: who never agrees on TLS, and whose body does not come through it, lose the connection; others are served."""
    port = free_port()
    arguments = [sys.executable, "-m", "gunicorn", "-c", "python:backend.serve_gunicorn", "backend.wsgi:app"]
    environment = town.environment(PORT=str(port), XUNGENG_HOST="127.0.0.1", XUNGENG_TLS="1")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def connected() -> ssl.SSLSocket:
        return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=BODY_S + 15))

    def ready() -> bool:
        try:
            connected().close()
        except OSError:
            return False
        return True

    with server(arguments, port, environment, ready=ready):
        began = time.monotonic()
        mute = socket.create_connection(("127.0.0.1", port), timeout=BODY_S + 15)
        slow = connected()
        slow.sendall(HEADS["flask"].encode() + b"Host: x\r\nContent-Length: 100\r\n\r\n{")
        asked = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
        asked.request("GET", "/healthz")
        assert asked.getresponse().status == 200
        asked.close()
        assert end(mute) == b""
        assert HANDSHAKE_S - 1 < time.monotonic() - began < HANDSHAKE_S + 5
        assert end(slow).startswith(b"HTTP/1.1 408 ")
        assert BODY_S - 2 < time.monotonic() - began < BODY_S + 10
