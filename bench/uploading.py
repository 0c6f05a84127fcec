"""Phones that bring files, and the servers they bring them to: ours, @tus/server, and nginx that takes a plain PUT."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import psycopg

from backend.core.ids import new_id
from backend.core.tokens import derive_key
from bench.delays import our_environment, our_web
from bench.ingest import Town, town_on_duty
from bench.servers import (
    PEERS,
    CannotMeasureError,
    Server,
    free_port,
    node_program,
    peer_packages,
    server,
)

UPLOADS = "/api/v1/evidence/uploads"
TUS = {"Tus-Resumable": "1.0.0"}
PART_TYPE = "application/offset+octet-stream"
MP4 = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2"
"""How a recording begins."""
TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Recording:
    """A file as a body camera leaves it, of noise, and its hash."""

    path: Path
    length: int
    sha256: str

    @classmethod
    def made(cls, folder: Path, length: int, seed: int = 5) -> Recording:
        """Write one."""
        path, rng, sha256, left = folder / f"{length}.mp4", random.Random(seed), hashlib.sha256(), length
        with open(path, "wb") as file:
            while left:
                piece = (MP4 if left == length else b"") + rng.randbytes(min(left, 1 << 20))
                piece = piece[:left]
                sha256.update(piece)
                file.write(piece)
                left -= len(piece)
        return cls(path, length, sha256.hexdigest())


class Line:
    """One connection of a phone, which is kept for all that it asks."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        self._token = token
        self.said = b""
        """What the last answer brought."""

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        file: int | None = None,
        at: int = 0,
        count: int = 0,
    ) -> http.client.HTTPResponse:
        """Send a request; its body comes out of an open file without passing through here."""
        self._begin(method, path, headers, count if file is not None else None)
        if file is not None:
            self.pour(file, at, count)
        return self.answer()

    def _begin(self, method: str, path: str, headers: Mapping[str, str], length: int | None) -> None:
        connection = self._connection
        connection.putrequest(method, path, skip_accept_encoding=True)
        connection.putheader("Authorization", f"Bearer {self._token}")
        for name, value in headers.items():
            connection.putheader(name, value)
        if length is not None or method in ("POST", "PATCH", "PUT"):
            connection.putheader("Content-Length", str(length or 0))
        connection.endheaders()

    def begin_part(self, path: str, at: int, length: int) -> None:
        """Announce a part of an upload, whose bytes follow by ``pour``."""
        told = {**TUS, "Content-Type": PART_TYPE, "Upload-Offset": str(at)}
        self._begin("PATCH", path, told, length)

    def pour(self, file: int, at: int, count: int) -> None:
        """Send bytes of an open file."""
        assert self._connection.sock is not None
        out, end = self._connection.sock.fileno(), at + count
        self._connection.sock.settimeout(None)
        while at < end:
            at += os.sendfile(out, file, at, min(end - at, 4 << 20))
        self._connection.sock.settimeout(TIMEOUT_S)

    def answer(self) -> http.client.HTTPResponse:
        """Wait for the answer to what was sent."""
        answer = self._connection.getresponse()
        self.said = answer.read()
        return answer

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@dataclass
class Side:
    """A server that takes files by tus, and how it has to be asked."""

    server: Server
    path: str
    kept: Callable[[Recording], Path]
    """Where a file lies when it has been taken in."""
    tokens: list[str]

    def __post_init__(self) -> None:
        self._turns = count()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port

    def line(self) -> Line:
        """A connection of the next officer: one alone would meet the limit of his calls."""
        return Line(self.port, self.tokens[next(self._turns) % len(self.tokens)])

    def create(self, line: Line, recording: Recording) -> str:
        """Begin an upload; return its address."""
        told = {
            "id": str(new_id()), "sha256": recording.sha256, "captured_at": datetime.now(UTC).isoformat(),
            "filename": "执法记录.mp4", "filetype": "video/mp4",
        }  # fmt: skip
        metadata = ",".join(f"{key} {base64.b64encode(text.encode()).decode()}" for key, text in told.items())
        headers = {**TUS, "Upload-Length": str(recording.length), "Upload-Metadata": metadata}
        answer = line.ask("POST", self.path, headers)
        if answer.status != 201:
            said = line.said[:500].decode(errors="replace")
            raise CannotMeasureError(f"{self.server.name} refused an upload with {answer.status}: {said}")
        return answer.headers["Location"]

    def bring(self, recording: Recording, part: int, check: bool = True) -> float:
        """Bring a file in parts; return MB/s, once it is seen to be there whole.

        Raises:
            CannotMeasureError: something was refused, or what is there is something else.
        """
        line = self.line()
        file = os.open(recording.path, os.O_RDONLY)
        try:
            began = time.monotonic()
            path, at = self.create(line, recording), 0
            while at < recording.length:
                size = min(part, recording.length - at)
                line.begin_part(path, at, size)
                line.pour(file, at, size)
                answer = line.answer()
                at += size
                if answer.status != 204 or answer.headers["Upload-Offset"] != str(at):
                    raise CannotMeasureError(f"{self.server.name} refused a part with {answer.status}.")
            took = time.monotonic() - began
        finally:
            os.close(file)
            line.close()
        if check:
            self.check(recording)
        return recording.length / took / 1e6

    def check(self, recording: Recording) -> None:
        """See that a file is there whole, and make room for the next.

        Raises:
            CannotMeasureError: it is not.
        """
        check(self.kept(recording), recording)


def check(path: Path, recording: Recording) -> None:
    """See that a file is what was brought, and throw it away.

    Raises:
        CannotMeasureError: it is something else.
    """
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != recording.sha256:
        raise CannotMeasureError(f"{path.name} is not what was brought.")
    path.unlink()


@contextmanager
def town_that_records(officers: int) -> Iterator[Town]:
    """A town whose officers came on duty an hour ago: nobody's recordings of a shift of days would be kept."""
    with town_on_duty(officers) as town:
        with psycopg.connect(town.owner) as connection:
            connection.execute("update shifts set started_at = now() - interval '1 hour'")
        yield town


def tokens_of(town: Town) -> list[str]:
    """The tokens of a town's officers."""
    return [line.split()[0] for line in town.tokens.read_text().splitlines()]


@contextmanager
def our_side(town: Town, data: Path, **settings: str) -> Iterator[Side]:
    """Our web process."""
    objects = data / "evidence" / "objects" / str(town.town_id)

    def kept(recording: Recording) -> Path:
        name = recording.sha256
        return objects / name[:2] / name[2:4] / name

    with our_web(free_port(), our_environment(town, str(data), **settings)) as running:
        running.wait()
        yield Side(running, UPLOADS, kept, tokens_of(town))


@contextmanager
def tus_side(town: Town, data: Path) -> Iterator[Side]:
    """@tus/server on node, hashing and syncing."""
    port = free_port()
    env = {
        "PORT": str(port),
        "FOLDER": str(data),
        "TOKEN_KEY": derive_key(town.secret.encode(), "access-token").hex(),
    }
    program: list[str | Path] = [node_program(), peer_packages() / "evidence" / "tus.mjs"]
    with server(program, port, env=env) as running:
        yield Side(running, "/files", lambda recording: data / f"{recording.sha256}.kept", tokens_of(town))


@contextmanager
def plain_put(data: Path) -> Iterator[Callable[[Recording], float]]:
    """nginx, which writes the body of a PUT; yields what brings it a file and returns MB/s."""
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(nginx).exists():
        raise CannotMeasureError("nginx is not installed (Debian package nginx).")
    port, names = free_port(), count()
    (data / "kept").mkdir(mode=0o777)
    for folder in (data, data / "kept"):
        folder.chmod(0o777)
    text = (PEERS / "evidence" / "put.conf").read_text()
    (data / "nginx.conf").write_text(text.replace("@PORT@", str(port)).replace("@FOLDER@", str(data)))

    def bring(recording: Recording) -> float:
        line, name = Line(port, ""), f"/files/{next(names)}"
        file = os.open(recording.path, os.O_RDONLY)
        try:
            began = time.monotonic()
            answer = line.ask("PUT", name, {}, file, 0, recording.length)
            took = time.monotonic() - began
        finally:
            os.close(file)
            line.close()
        if answer.status != 201:
            raise CannotMeasureError(f"nginx refused a file with {answer.status}.")
        check(data / "kept" / name.lstrip("/"), recording)
        return recording.length / took / 1e6

    with server([nginx, "-p", data, "-c", data / "nginx.conf"], port):
        yield bring
