"""What holds the custody log together from outside the database: a key that signs, and a file of what it signed.

The key is made at the first need, in ``secrets/`` (0600). Whoever owns the database has neither, so he can make no head
that anybody believes, nor take one back that stands in the file.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw


class Signer:
    """Signs by the installation's Ed25519 key.

    Attributes:
        public: The public key, 32 bytes, as whoever checks a head needs it.
    """

    def __init__(self, path: Path) -> None:
        """Read the key, or make it where there is none."""
        self._key = _key(path)
        self.public = self._key.public_key().public_bytes(*RAW)

    def sign(self, said: bytes) -> bytes:
        """Return the signature of some bytes, 64 bytes (RFC 8032)."""
        return self._key.sign(said)


def is_signed(public: bytes, signature: bytes, said: bytes) -> bool:
    """Say whether a signature is that of a key over some bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, said)
    except (InvalidSignature, ValueError):
        return False
    return True


def _key(path: Path) -> Ed25519PrivateKey:
    """Read the key, or make it: of several processes at once the first one's stays."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(made)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)
            except FileExistsError:
                pass
        finally:
            Path(temporary).unlink()
    found = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(found, Ed25519PrivateKey):
        raise ValueError(f"{path} holds no Ed25519 key.")
    return found


class Outside:
    """The file of signed heads, one JSON object in a line, added to and never changed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, heads: list[Mapping[str, Any]]) -> None:
        """Add heads, on the disk before this returns; a line that a power cut left in the middle is ended first."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._path, "ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n":
                file.write(b"\n")
            file.writelines(json.dumps(head, sort_keys=True).encode() + b"\n" for head in heads)
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield what stands in the file; a line that was cut off says nothing."""
        try:
            with open(self._path, "rb") as file:
                for line in file:
                    try:
                        yield dict(json.loads(line))
                    except ValueError:
                        continue
        except FileNotFoundError:
            return
