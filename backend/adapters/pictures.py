"""Pictures that came from outside: what kind they are by their content, and a look at them in a process with limits.

It is decoded by a child process (``bounded``), which may take so many pixels as well and no more.
Of a picture that it could decode there is a smaller one, made anew from the pixels, in which nothing else of the file
is left (no EXIF, no place, nothing that is appended).
"""

from __future__ import annotations

import errno
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from backend.adapters import bounded
from backend.adapters.bounded import BROKEN, ROOT, Limits
from backend.core.vocabulary import EvidenceFault

PREVIEW_PX = 1600
PREVIEW_TYPE = "image/jpeg"
HEAD_BYTES = 16
"""So many of the first bytes tell the kind of a file."""
MOST_UNSCALED = 24_000_000
"""Pixels of a format that is decoded whole. A JPEG is decoded at the size that is wanted."""
FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}

LIMITS = Limits()


@dataclass(frozen=True)
class Picture:
    """What was seen: how large it is, in pixels as they are stored, how long, or what is wrong with it."""

    width_px: int = 0
    height_px: int = 0
    fault: EvidenceFault | None = None
    duration_s: float | None = None


def media_type(head: bytes) -> str | None:
    """Return what a file is by its first bytes, or None where it is no photo of a kind that is taken in."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return None


def look(file: Path, preview: Path, *, most_pixels: int, limits: Limits = LIMITS) -> Picture:
    """Decode a picture in a child process, and write the smaller one to ``preview``.

    A fault is what a decoder has said, or that the picture has used up the memory or the processor time that it may.

    Raises:
        RuntimeError: as ``bounded.run`` has it; nothing is known of the picture.
    """
    told = bounded.run(__name__, str(file), str(preview), str(most_pixels), limits=limits, root=ROOT)
    if told is None:
        return Picture(fault=EvidenceFault.NOT_AN_IMAGE)
    if fault := told.get("fault"):
        return Picture(fault=EvidenceFault(fault))
    return Picture(told["width_px"], told["height_px"])


def _look(file: str, preview: str, most_pixels: int) -> dict[str, int | str]:
    """What the child does.

    Raises:
        OSError: a file could not be read or written, which is not the picture's fault.
    """
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # Counted here, before anything is decoded.
    made = io.BytesIO()
    try:
        with Image.open(file, formats=list(FORMATS)) as image:
            width, height = image.size
            scaled = image.format in ("JPEG", "MPO")
            if width * height > (most_pixels if scaled else min(most_pixels, MOST_UNSCALED)):
                return {"fault": EvidenceFault.TOO_MANY_PIXELS}
            # A JPEG of many parts is one photo with what the phone measured beside it; anything else is a film.
            if not scaled and getattr(image, "is_animated", False):
                return {"fault": EvidenceFault.NOT_AN_IMAGE}
            image.draft("RGB", (PREVIEW_PX, PREVIEW_PX))
            image.load()
            image.thumbnail((PREVIEW_PX, PREVIEW_PX))
            upright = ImageOps.exif_transpose(image)
            drawn = Image.new("RGB", upright.size, "white")
            if "A" in upright.getbands() or "transparency" in upright.info:
                upright = upright.convert("RGBA")
                drawn.paste(upright, mask=upright.getchannel("A"))
            else:
                drawn.paste(upright.convert("RGB"))
            drawn.save(made, "JPEG", quality=82)
    except MemoryError:
        return {"fault": EvidenceFault.TOO_MANY_PIXELS}
    except Exception as error:  # Whatever a decoder says of it; what the system says of a file has a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return {"fault": EvidenceFault.NOT_AN_IMAGE}
    try:
        Path(preview).write_bytes(made.getvalue())
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        return {"fault": EvidenceFault.TOO_MANY_PIXELS}
    return {"width_px": width, "height_px": height}


def main(arguments: list[str]) -> int:
    """Be the child: take on the limits, look, and tell in one line of JSON."""
    try:
        memory_bytes, cpu_s, preview_bytes = map(int, arguments[:3])
        file, preview, most_pixels = arguments[3:]
        bounded.take_on(memory_bytes, cpu_s, preview_bytes)
        import PIL.Image  # noqa: F401 (what is missing here says nothing about the picture)

        told = _look(file, preview, int(most_pixels))
    except (ImportError, OSError, ValueError, MemoryError):
        return BROKEN
    sys.stdout.write(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
