"""Photos as phones take them, and how they are brought up: what tests of evidence begin with."""

from __future__ import annotations

import base64
import hashlib
import io
import random
import struct
import zlib
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from PIL import Image

from backend.core.ids import new_id

UPLOADS = "/api/v1/evidence/uploads"
OFFSET_TYPE = "application/offset+octet-stream"
TUS = {"Tus-Resumable": "1.0.0"}


def photo(width: int = 320, height: int = 240, seed: int = 1, kind: str = "JPEG", **more: Any) -> bytes:
    """A picture of noise, so that it is as long as photos are, with what is asked for in it (``exif``)."""
    noise = random.Random(seed).randbytes(max(1, width // 8) * max(1, height // 8) * 3)
    small = Image.frombytes("RGB", (max(1, width // 8), max(1, height // 8)), noise)
    file = io.BytesIO()
    small.resize((width, height)).save(file, kind, **more)
    return file.getvalue()


def placed_photo() -> bytes:
    """A photo that says where it was taken, by whose phone, and that it lies on its side."""
    exif = Image.Exif()
    exif[0x010F] = "SECRET-MAKER"
    exif[0x0112] = 6
    exif.get_ifd(0x8825).update({1: "N", 2: (31.0, 6.0, 18.0), 3: "E", 4: (121.0, 18.0, 18.0)})
    return photo(exif=exif)


def bomb(width: int = 9000, height: int = 9000) -> bytes:
    """A PNG of some ten kilobytes with 81 million pixels, all of them black (F65)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width // 8 + 1) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def metadata(data: bytes, **more: str) -> tuple[UUID, str]:
    """A new id, and the header that says it with the hash and the moment; ``more`` adds to it, or says otherwise."""
    photo_id = new_id()
    told = {
        "id": str(photo_id), "sha256": hashlib.sha256(data).hexdigest(), "captured_at": datetime.now(UTC).isoformat(),
        "filename": "现场 照片.jpg", "filetype": "image/jpeg", **more,
    }  # fmt: skip
    header = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in told.items())
    return photo_id, header


def checksum(data: bytes, algorithm: str = "sha1") -> str:
    """The header that goes with a part."""
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"
