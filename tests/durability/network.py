"""A network between a phone and a server: it carries some bytes, and then it stalls, ends, or is reset."""

from __future__ import annotations

import random
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

STALL_S = 0.4
TOLD = re.compile(rb"^HTTP/1\.1 (?:200|204|409) .*?\r\nUpload-Offset: (\d+)\r\n", re.DOTALL | re.IGNORECASE)


@dataclass
class Network:
    """Where it is entered, what it has done, and which offsets the server told through it, in their order."""

    port: int
    cut: int = 0
    reset: int = 0
    stalled: int = 0
    told: list[int] = field(default_factory=list)

    @property
    def broken(self) -> int:
        """How many connections did not see their own end."""
        return self.cut + self.reset

    def lost(self) -> int:
        """Bytes that were confirmed and later were not there."""
        most = lost = 0
        for offset in self.told:
            most, lost = max(most, offset), max(lost, most - offset)
        return lost


@contextmanager
def breaking(
    port: int, rng: random.Random, passed: Callable[[int], None] = lambda _: None
) -> Iterator[Network]:
    """A way to a port on which each connection breaks after so many bytes; ``passed`` is told of bytes on their way."""
    listener = socket.create_server(("127.0.0.1", 0))
    network, stop = Network(listener.getsockname()[1]), threading.Event()

    def carry(near: socket.socket) -> None:
        left, stall = rng.randrange(20_000, 150_000), rng.randrange(3) == 0
        stall_at = rng.randrange(left) if stall else -1
        with near, suppress(OSError), socket.create_connection(("127.0.0.1", port)) as far:
            over = threading.Event()
            # Nobody waits in a socket that is to be closed: it would stay open until he is done.

            def back() -> None:
                with suppress(OSError):
                    while not over.is_set():
                        if not select.select([far], [], [], 0.1)[0]:
                            continue
                        if not (data := far.recv(65536)):
                            break
                        if told := TOLD.match(data):
                            network.told.append(int(told[1]))
                        near.sendall(data)
                with suppress(OSError):
                    near.shutdown(socket.SHUT_RDWR)  # Whoever still sends is told that nobody listens.

            answers = threading.Thread(target=back, daemon=True)
            answers.start()
            with suppress(OSError):
                while left > 0 and (data := near.recv(min(16384, left))):
                    far.sendall(data)
                    left -= len(data)
                    passed(len(data))
                    if stall_at >= left:
                        network.stalled, stall_at = network.stalled + 1, -1
                        time.sleep(STALL_S)
            over.set()
            answers.join()
            if left > 0:
                return
            if rng.randrange(3):
                network.reset += 1
                for one in (near, far):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                network.cut += 1

    def accept() -> None:
        with suppress(OSError):
            while not stop.is_set():
                connection, _ = listener.accept()
                threading.Thread(target=carry, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield network
    finally:
        stop.set()
        listener.close()
