"""A body of a gigabyte is refused by both servers, and neither holds it (F71)."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from bench.servers import Server, pss_kib
from tests.durability.phones import ROUTE, Phone
from tests.durability.town import DurableTown, durable_town

CHUNK = b"%x\r\n%s\r\n" % (65_536, b" " * 65_536)


@pytest.fixture(scope="module")
def town() -> Iterator[DurableTown]:
    with durable_town() as found:
        yield found


def pour(port: int, head: bytes, megabytes: int) -> tuple[bytes, int]:
    """Send a body of so many megabytes for as long as the server takes it; its answer and what was sent."""
    sent, answer = 0, b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head)
        received: list[bytes] = []

        def receive() -> None:
            with suppress(OSError):
                while part := connection.recv(65_536):
                    received.append(part)

        reader = threading.Thread(target=receive)
        reader.start()
        with suppress(OSError):
            while sent < megabytes * 1_048_576:
                connection.sendall(CHUNK)
                sent += 65_536
            connection.sendall(b"0\r\n\r\n")
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        reader.join(60)
        answer = b"".join(received)
    return answer, sent


@pytest.mark.parametrize("kind", ["web", "ingest"])
def test_a_gigabyte_is_refused_and_never_held(
    town: DurableTown, thin: Callable[[int, int], int], kind: str
) -> None:
    """F71: 413, peak growth of the processes far below the body."""
    [officer] = town.officers(1)
    with town.web() if kind == "web" else town.ingest(1) as running:
        phone = Phone(officer, running.port, batch=1)
        fixes = phone.next_batch()
        assert fixes is not None
        phone.deliver(fixes)
        before, peak, watching = memory_kib(running), [0], threading.Event()

        def watch() -> None:
            while not watching.wait(0.02):
                peak[0] = max(peak[0], memory_kib(running))
            peak[0] = max(peak[0], memory_kib(running))

        watcher = threading.Thread(target=watch)
        watcher.start()
        head = (
            f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer"
            f" {officer.token}\r\n"
        )
        chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()
        declared = f"{head}Content-Length: {1 << 30}\r\n\r\n".encode()
        answers = [pour(running.port, chunked, thin(1024, 128)), pour(running.port, declared, thin(1024, 64))]
        watching.set()
        watcher.join(5)
        for answer, sent in answers:
            assert answer.startswith(b"HTTP/1.1 413 "), (answer[:200], sent)
            assert b"application/problem+json" in answer
            assert b'"code": "too_large"' in answer
        grown_mib = (peak[0] - before) / 1024
        print(f"\nF71 {kind}: sent {[sent >> 20 for _, sent in answers]} MiB, grew by {grown_mib:.1f} MiB")
        assert grown_mib < 48
        time.sleep(0.1)
        fixes = phone.next_batch()
        assert fixes is not None
        phone.deliver(fixes)  # The process serves on.
        phone.close()


def memory_kib(running: Server) -> int:
    return sum(pss_kib(pid) for pid in running.tree())
