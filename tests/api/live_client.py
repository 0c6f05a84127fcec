"""A client of the live channel for tests, over websocket-client: an implementation of the protocol that is not ours."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import websocket

ROOT = Path(__file__).resolve().parents[2]
ROOM = str(UUID(int=0xAA))
OTHER_ROOM = str(UUID(int=0xBB))


def token(*rooms: str, session: str | None = None, user: str | None = None, ttl_s: float = 300) -> str:
    """What the test server's watch believes."""
    return f"{session or uuid4()}:{user or uuid4()}:{ttl_s}:{','.join(rooms)}"


class Closed(Exception):
    """The server closed the connection; ``code`` is its close code, None where the line just ended."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class DeskClient:
    """One Socket.IO client of the namespace /desk."""

    def __init__(
        self, port: int, access: str | None, *, namespace: str = "/desk", receive_buffer: int | None = None,
        scheme: str = "ws", timeout_s: float = 10.0, sslopt: dict[str, Any] | None = None, auth: Any = None,
    ) -> None:  # fmt: skip
        options = [] if receive_buffer is None else [(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)]
        self.ws = websocket.create_connection(
            f"{scheme}://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket",
            timeout=timeout_s, sockopt=options, sslopt=sslopt, suppress_origin=True,
        )  # fmt: skip
        self.opening = json.loads(self.packet()[1:])
        self.namespace = namespace
        self.answer: Any = None
        if access is not None or auth is not None:
            self.ws.send(
                "40"
                + (f"{namespace}," if namespace else "")
                + json.dumps(auth if auth is not None else {"token": access})
            )
            self.answer = self.packet()

    def packet(self, timeout_s: float = 10.0) -> str:
        """Receive one Engine.IO packet; pings are answered, a close frame raises Closed."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.ws.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                opcode, data = self.ws.recv_data()
            except websocket.WebSocketConnectionClosedException:
                raise Closed(None) from None
            except ConnectionError:
                raise Closed(None) from None
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                raise Closed(int.from_bytes(data[:2], "big") if len(data) >= 2 else None)
            text = data.decode()
            if text == "2":
                self.ws.send("3")
                continue
            return text

    def event(self, timeout_s: float = 10.0) -> tuple[str, Any]:
        """Receive the next event as its name and argument."""
        while True:
            text = self.packet(timeout_s)
            prefix = f"42{self.namespace},"
            if text.startswith(prefix):
                name, data = json.loads(text[len(prefix) :])
                return name, data

    def until(self, name: str, timeout_s: float = 10.0) -> Any:
        """Receive events until one of this name comes; returns its argument."""
        deadline = time.monotonic() + timeout_s
        while True:
            got, data = self.event(max(0.001, deadline - time.monotonic()))
            if got == name:
                return data

    def silence(self, seconds: float) -> list[tuple[str, Any]]:
        """Return the events that come within ``seconds``."""
        heard = []
        with contextlib.suppress(websocket.WebSocketTimeoutException):
            deadline = time.monotonic() + seconds
            while True:
                heard.append(self.event(max(0.001, deadline - time.monotonic())))
        return heard

    def ask(self, name: str, data: Any, number: int = 1) -> Any:
        """Send an event and return what its acknowledgement says."""
        self.ws.send(f"42{self.namespace},{number}" + json.dumps([name, data]))
        prefix = f"43{self.namespace},{number}"
        while True:
            text = self.packet()
            if text.startswith(prefix):
                return json.loads(text[len(prefix) :])[0]

    def closing(self, timeout_s: float = 10.0) -> int | None:
        """Read on until the server closes; returns the close code."""
        try:
            deadline = time.monotonic() + timeout_s
            while True:
                self.packet(max(0.001, deadline - time.monotonic()))
        except Closed as closed:
            return closed.code

    def close(self) -> None:
        """Hang up without ceremony."""
        self.ws.shutdown()


class LiveServer:
    """A gunicorn that serves ``tests.api.live_server``."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path, tls: bool = False) -> None:
        self.process = process
        self.port = port
        self.log = log
        self.tls = tls

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Make a request of the test server's own routes."""
        if self.tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=20, context=context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            return json.loads(text)
        finally:
            connection.close()

    def do(self, what: str, **more: Any) -> Any:
        """Ask the server to do something; returns what it holds afterwards."""
        return self.ask("POST", "/control", {"do": what, **more})

    def stats(self) -> dict[str, Any]:
        """What the server holds now."""
        return self.ask("GET", "/stats")  # type: ignore[no-any-return]

    def wait(self, timeout_s: float = 10.0, **wanted: Any) -> dict[str, Any]:
        """Wait until the server holds what is wanted."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.stats()
            if all(found[key] == value for key, value in wanted.items()):
                return found
            assert time.monotonic() < deadline, f"{wanted} did not come about: {found}"
            time.sleep(0.02)


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def live_server(
    env: Mapping[str, str] | None = None, port: int | None = None, *arguments: str
) -> Iterator[LiveServer]:
    """Run a server of the live channel until the block ends."""
    port = port or free_port()
    command = [
        sys.executable, "-m", "gunicorn", "-k", "gevent", "-w", "1", "--worker-connections", "4000",
        "--no-control-socket", "--graceful-timeout", "2", "-b", f"127.0.0.1:{port}", *arguments,
        "tests.api.live_server:app",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with open(log, "wb") as file:
            process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **(env or {})}, stdout=file, stderr=subprocess.STDOUT
            )
        server = LiveServer(process, port, log, tls="--certfile" in arguments)
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
                    server.stats()
                    break
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield server
            said = log.read_text()
            assert "Traceback" not in said, said
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
