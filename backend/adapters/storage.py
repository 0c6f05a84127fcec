"""Where the bytes of evidence lie: a store of whole files by their digest, and the spool of those that still arrive.

A store keeps a file under its town and the SHA-256 of what is in it, so that no name ever comes from outside and the
same name never means something else; what one town throws away, another still has. ``Folder`` is a folder of this
machine; what speaks to another kind of store is given a finished file of the spool as well. ``Memory`` is its twin for
tests.

Writing, hashing and ``fsync`` take long: in a gevent process callers do it by ``threads``, beside the sockets.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol
from uuid import UUID

from backend.core.errors import Full, Gone, Locked
from backend.core.ids import id_of
from backend.core.native import Beside, NativeThreads

READ_BYTES = 256 * 1024
MOST_HASHES = 512
"""So many uploads' hashes are remembered between their parts; of any other the prefix is read again."""
BEGIN_BYTES = 1024 * 1024
"""As soon as so much is written the disk begins with it, so that a sync has little left to wait for."""
SPARE_BYTES = 512 * 1024 * 1024
"""What is left free on the disk for everybody else."""

threads = NativeThreads(4, "evidence")


@contextmanager
def needing_room() -> Iterator[None]:
    """Say of a disk that has no room what it is: the operator has to make some, and nothing is broken.

    Raises:
        Full: the disk, or what its quota leaves, is used up.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Full() from error
        raise


class Store(Protocol):
    """Keeps whole files by their town and the SHA-256 of their bytes. What it has taken in, it never changes."""

    def keep(self, town_id: UUID, digest: bytes, file: Path) -> None:
        """Take in a file; it is there for good when this returns. The file itself may be thrown away afterwards.

        Raises:
            Full: there is no room for it.
        """

    def read(
        self, town_id: UUID, digest: bytes, *, start: int = 0, stop: int | None = None
    ) -> Iterator[bytes]:
        """Return the bytes from ``start`` to before ``stop``, or to the end, a part at a time.

        Raises:
            Gone: there is no such file.
        """

    def copy_to(self, town_id: UUID, digest: bytes, file: IO[bytes]) -> None:
        """Write the bytes into an open file; raises Gone like ``read``."""

    def drop(self, town_id: UUID, digest: bytes) -> None:
        """Forget a file, if there is one."""

    def free_bytes(self) -> int:
        """Return how much more may be taken in."""


class Folder:
    """A store in a folder of this machine: ``<town>/ab/cd/<digest>``, readable for nobody else, written once."""

    def __init__(self, root: Path) -> None:
        self.root = root / "objects"

    def path(self, town_id: UUID, digest: bytes) -> Path:
        """Where a town's file with this digest lies, or would."""
        name = digest.hex()
        return self.root / str(town_id) / name[:2] / name[2:4] / name

    @needing_room()
    def keep(self, town_id: UUID, digest: bytes, file: Path) -> None:
        target = self.path(town_id, digest)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".new-")
        os.close(handle)
        os.unlink(temporary)
        try:
            try:
                os.link(file, temporary)
            except OSError:  # Another file system, or one without links.
                with open(file, "rb") as given, open(temporary, "xb") as taken:
                    shutil.copyfileobj(given, taken, READ_BYTES)
            os.chmod(temporary, 0o600)
            _sync(temporary)
            os.rename(temporary, target)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
        for folder in (target.parent, *target.parent.parents[:3], self.root.parent):
            _sync(folder)

    def read(
        self, town_id: UUID, digest: bytes, *, start: int = 0, stop: int | None = None
    ) -> Iterator[bytes]:
        return reading(self.path(town_id, digest), start=start, stop=stop)

    def copy_to(self, town_id: UUID, digest: bytes, file: IO[bytes]) -> None:
        for part in self.read(town_id, digest):
            file.write(part)

    def drop(self, town_id: UUID, digest: bytes) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path(town_id, digest))
            _sync(self.path(town_id, digest).parent)

    def free_bytes(self) -> int:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        return shutil.disk_usage(self.root).free - SPARE_BYTES


class Memory:
    """The twin: a store that is gone with the process."""

    def __init__(self, room_bytes: int = 1 << 30) -> None:
        self.files: dict[tuple[UUID, bytes], bytes] = {}
        self.room_bytes = room_bytes

    def keep(self, town_id: UUID, digest: bytes, file: Path) -> None:
        self.files[town_id, digest] = file.read_bytes()

    def read(
        self, town_id: UUID, digest: bytes, *, start: int = 0, stop: int | None = None
    ) -> Iterator[bytes]:
        if (town_id, digest) not in self.files:
            raise Gone("content_missing", "The content is not where it was kept.")
        return iter([self.files[town_id, digest][start:stop]])

    def copy_to(self, town_id: UUID, digest: bytes, file: IO[bytes]) -> None:
        for part in self.read(town_id, digest):
            file.write(part)

    def drop(self, town_id: UUID, digest: bytes) -> None:
        self.files.pop((town_id, digest), None)

    def free_bytes(self) -> int:
        return self.room_bytes - sum(map(len, self.files.values()))


class Part:
    """An upload of the spool, open and locked: what has arrived of it, to which more is added at the end."""

    def __init__(self, path: Path, handle: int, sha256: hashlib._Hash | None) -> None:
        self.path = path
        self._handle = handle
        self.offset = self._on_its_way = os.fstat(handle).st_size
        self.sha256 = sha256 if sha256 is not None else self._read_again()

    def _read_again(self) -> hashlib._Hash:
        sha256, at = hashlib.sha256(), 0
        while at < self.offset and (data := os.pread(self._handle, min(READ_BYTES, self.offset - at), at)):
            sha256.update(data)
            at += len(data)
        return sha256

    def add(self, data: bytes | memoryview) -> None:
        """Write more at the end. It counts once ``sync`` has returned.

        Raises:
            Full: the disk has no room for it; what was there before stays.
        """
        self._append(data)
        self.sha256.update(data)

    @contextmanager
    def adding(self) -> Iterator[Callable[[memoryview], None]]:
        """Yield what adds pieces like ``add``, each being hashed while it is written and the next one is awaited.

        A piece has to stay as it is until the next one has been added.
        """
        with Beside() as beside:

            def add(data: memoryview) -> None:
                beside.wait()
                before = self.sha256.copy()
                beside.begin(self.sha256.update, data)
                try:
                    self._append(data)
                except BaseException:
                    beside.wait()
                    self.sha256 = before
                    raise

            yield add

    @needing_room()
    def _append(self, data: bytes | memoryview) -> None:
        try:
            at = _write(self._handle, data, self.offset)
        except OSError:
            os.ftruncate(self._handle, self.offset)
            raise
        self.offset = at
        if at - self._on_its_way >= BEGIN_BYTES:
            begin_writing(self._handle, self._on_its_way, at - self._on_its_way)
            self._on_its_way = at

    def add_checked(self, chunk: Chunk) -> None:
        """Write at the end what has waited for its checksum, and sync: all of it, or nothing.

        Raises:
            Full: the disk has no room for it; what was there before stays.
        """
        before, sha256 = self.offset, self.sha256.copy()
        try:
            for data in chunk.pieces():
                self.add(data)
            self.sync()
        except BaseException:
            os.ftruncate(self._handle, before)
            self.offset, self.sha256 = before, sha256
            self._on_its_way = min(self._on_its_way, before)
            raise

    @needing_room()
    def sync(self) -> None:
        """Bring what was written to the disk."""
        os.fsync(self._handle)

    def head(self, count: int) -> bytes:
        """Return the first bytes."""
        return os.pread(self._handle, count, 0)


class Chunk:
    """A part of an upload that waits in a file without a name until it is checked."""

    @needing_room()
    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 (``close`` does)
        self._end = 0

    @needing_room()
    def add(self, data: bytes | memoryview) -> None:
        """Write more at the end."""
        self._end = _write(self._file.fileno(), data, self._end)

    def pieces(self) -> Iterator[bytes]:
        """Return what was written, a piece at a time."""
        at = 0
        while piece := os.pread(self._file.fileno(), READ_BYTES, at):
            yield piece
            at += len(piece)

    def close(self) -> None:
        """Throw it away."""
        self._file.close()


class Spool:
    """The uploads that are on their way, a file each, named by their ids.

    How far an upload is, is how long its file is: nothing else has to be kept in step with it, and what was written and
    synced is there after a restart.
    """

    def __init__(self, root: Path) -> None:
        self.root = root / "uploads"
        self._hashes: OrderedDict[UUID, tuple[int, hashlib._Hash]] = OrderedDict()
        self._guard = threading.Lock()

    def path(self, upload_id: UUID) -> Path:
        """The file of an upload."""
        return self.root / str(upload_id)

    @needing_room()
    def make(self, upload_id: UUID) -> None:
        """Begin an upload, or leave it as it is where it has begun."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self.path(upload_id), os.O_RDWR | os.O_CREAT, 0o600))
        _sync(self.root)

    @contextmanager
    def opened(self, upload_id: UUID) -> Iterator[Part]:
        """Open an upload for one caller at a time.

        Raises:
            Gone: there is no such upload. Locked: somebody else has it open.
        """
        try:
            handle = os.open(self.path(upload_id), os.O_RDWR)
        except FileNotFoundError:
            raise Gone() from None
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Locked("upload_locked", "A part of this upload is being taken in just now.") from None
            size = os.fstat(handle).st_size
            with self._guard:
                known = self._hashes.pop(upload_id, None)
            # Another process may have added to it meanwhile: then it is read again.
            fits = known is not None and known[0] == size
            part = threads.run(Part, self.path(upload_id), handle, known[1] if known and fits else None)
            try:
                yield part
            finally:
                self._remember(upload_id, part)
        finally:
            os.close(handle)

    def _remember(self, upload_id: UUID, part: Part) -> None:
        with self._guard:
            self._hashes[upload_id] = (part.offset, part.sha256)
            while len(self._hashes) > MOST_HASHES:
                self._hashes.popitem(last=False)

    def chunk(self) -> Chunk:
        """Open a file for a part that is only added when it was checked."""
        return Chunk(self.root)

    def drop(self, upload_id: UUID) -> None:
        """Forget an upload."""
        with self._guard:
            self._hashes.pop(upload_id, None)
        with suppress(FileNotFoundError):
            os.unlink(self.path(upload_id))

    def older_than(self, seconds: float) -> list[UUID]:
        """Return the uploads that nobody has added to for so long."""
        if not self.root.is_dir():
            return []
        before = time.time() - seconds
        found = []
        for entry in os.scandir(self.root):
            upload_id = id_of(entry.name)
            with suppress(FileNotFoundError):
                if upload_id is not None and entry.stat().st_mtime < before:
                    found.append(upload_id)
        return found


def reading(path: Path, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """Return what is in a file from ``start`` to before ``stop``, or to the end, a part at a time.

    Raises:
        Gone: there is no such file.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed at its end)
        file.seek(start)
        return _Reading(file, None if stop is None else stop - start)
    except FileNotFoundError:
        raise Gone("content_missing", "The content is not where it was kept.") from None


class _Reading(Iterator[bytes]):
    """A file that is given out a part at a time, and closed at its end or by whoever has enough of it."""

    def __init__(self, file: IO[bytes], most: int | None = None) -> None:
        self._file, self._rest = file, most

    def __next__(self) -> bytes:
        wanted = READ_BYTES if self._rest is None else min(READ_BYTES, self._rest)
        part: bytes = threads.run(self._file.read, wanted) if wanted else b""
        if not part:
            self._file.close()
            raise StopIteration
        if self._rest is not None:
            self._rest -= len(part)
        return part

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _write(handle: int, data: bytes | memoryview, at: int) -> int:
    """Write all of it at a place, and return where it ends."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(handle, rest, at)
        rest, at = rest[written:], at + written
    return at


_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
_WRITE = 2


def begin_writing(handle: int, at: int, length: int) -> None:
    """Ask the kernel to bring a part of a file to the disk soon; nothing is promised, and ``sync`` has to follow."""
    if _sync_file_range is not None:
        _sync_file_range(handle, ctypes.c_int64(at), ctypes.c_int64(length), _WRITE)


def _sync(path: Path | str) -> None:
    """Bring a file, or what a folder says of its files, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
