"""Bundles of evidence: an archive that a program without us verifies (``bundle_verifier``, which lies in each)."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from backend.adapters import bundle_verifier, pages
from backend.adapters.bundle_verifier import canonical
from backend.adapters.storage import needing_room
from backend.core.errors import Full

READ_BYTES = 1024 * 1024
SPARE_BYTES = 512 * 1024 * 1024
"""What is left free on the disk for everybody else."""
README = """证据包 / Evidence bundle

校验：python3 verify.py 本包.zip 公钥        （需要 Python 3.9 以上，不需要网络）
Verify: python3 verify.py THIS.zip PUBLIC_KEY   (Python 3.9 or newer, no network)

公钥请通过其他途径向签发单位核对。report.pdf 是给人看的一页说明，manifest.json 是签过名的清单，
files/ 是原件，custody/ 是每件证据的流转记录，heads.json 是流转记录所属的签名总账。
Ask the town for the public key by another way than with this file. report.pdf is one page for people,
manifest.json the signed list, files/ the originals, custody/ what happened to each, heads.json the signed heads
that the custody logs are under.
"""


class Signer(Protocol):
    """Signs the manifest."""

    public: bytes

    def sign(self, said: bytes) -> bytes: ...


class Altered(Exception):
    """What was read is not what was sealed."""


@dataclass(frozen=True)
class Member:
    """A piece of evidence: what the manifest says of it, its custody log, and its bytes."""

    id: str
    sha256: bytes
    length: int
    extension: str
    said: Mapping[str, Any]
    log: Mapping[str, Any]
    parts: Callable[[], Iterable[bytes]]


@dataclass(frozen=True)
class Written:
    """A bundle that is on the disk."""

    sha256: bytes
    length: int


@needing_room()
def write(
    target: Path,
    *,
    said: Mapping[str, Any],
    members: Sequence[Member],
    heads: Sequence[Mapping[str, Any]],
    signer: Signer,
    made_at: datetime,
    packed: Callable[[int], None] = lambda _: None,
) -> Written:
    """Write a bundle; it is there, whole and synced, when this returns. ``packed`` is told how many bytes are in it.

    Raises:
        Altered: the bytes of a member are not those of its hash. Full: the disk has no room for it.
        Gone: the bytes of a member are missing. Unavailable: the page for people could not be made.
    """
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    length = sum(one.length for one in members)
    if length > shutil.disk_usage(target.parent).free - SPARE_BYTES:
        raise Full(detail="The disk has no room for this bundle.")
    manifest = _manifest(said, members, heads, signer.public, made_at)
    # First: where it cannot be made, gigabytes were not packed for nothing.
    report = pages.make("backend.adapters.bundle_report", manifest, b"%PDF-")
    temporary = target.with_suffix(".part")
    try:
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w+b") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                files = _members(archive, members, packed)
                documents = {
                    "heads.json": canonical(list(heads)),
                    "report.pdf": report,
                    "verify.py": Path(bundle_verifier.__file__).read_bytes(),
                    "README.txt": README.encode(),
                }
                files += [_document(archive, name, body) for name, body in documents.items()]
                body = canonical({**manifest, "files": sorted(files, key=lambda one: str(one["path"]))})
                _document(archive, "manifest.json", body)
                _document(archive, "manifest.sig", signer.sign(body).hex().encode())
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            written = Written(hashlib.file_digest(file, "sha256").digest(), os.fstat(file.fileno()).st_size)
        os.rename(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return written


def sweep(folder: Path) -> None:
    """Throw away what a process that died has left half written; nobody else writes meanwhile."""
    for left in folder.glob("*/*.part"):
        left.unlink(missing_ok=True)


def _manifest(
    said: Mapping[str, Any],
    members: Sequence[Member],
    heads: Sequence[Mapping[str, Any]],
    public: bytes,
    made_at: datetime,
) -> dict[str, Any]:
    return {
        "format": bundle_verifier.FORMAT,
        "made_at": made_at.astimezone(UTC).isoformat(timespec="milliseconds"),
        **said,
        "key": public.hex(),
        "keys": sorted({str(head["key"]) for head in heads} - {public.hex()}),
        "items": [{**one.said, "file": _path(one), "custody": f"custody/{one.id}.json"} for one in members],
    }


def _members(
    archive: zipfile.ZipFile, members: Sequence[Member], packed: Callable[[int], None]
) -> list[dict[str, Any]]:
    files, done = [], 0
    for one in members:
        sha256, length = hashlib.sha256(), 0
        with archive.open(_info(_path(one)), "w", force_zip64=True) as taken:
            for part in one.parts():
                taken.write(part)
                sha256.update(part)
                length += len(part)
                packed(done + min(length, one.length))
        if sha256.digest() != one.sha256 or length != one.length:
            raise Altered(one.id)
        done += one.length
        files.append({"path": _path(one), "sha256": sha256.hexdigest(), "length": length})
        files.append(_document(archive, f"custody/{one.id}.json", canonical(one.log)))
    return files


def _path(one: Member) -> str:
    return f"files/{one.id}.{one.extension}"


def _document(archive: zipfile.ZipFile, name: str, body: bytes) -> dict[str, Any]:
    with archive.open(_info(name), "w") as taken:
        taken.write(body)
    return {"path": name, "sha256": hashlib.sha256(body).hexdigest(), "length": len(body)}


def _info(name: str) -> zipfile.ZipInfo:
    # Always the same moment: when a bundle was made is said in what is signed, and nowhere else.
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.external_attr = 0o100600 << 16
    return info
