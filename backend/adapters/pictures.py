"""Pictures that came from outside: what kind they are by their content, and a look at them in a process with limits.

What somebody sends may be made to fill the memory or to break the decoder. So it is decoded by a child process that may
take so much memory, processor time and so many pixels and no more, and knows no secret: its environment is empty. Of a
picture that it could decode there is a smaller one, made anew from the pixels, in which nothing else of the file is
left (no EXIF, no place, nothing that is appended).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from backend.core.vocabulary import EvidenceFault

ROOT = Path(__file__).resolve().parents[2]
PREVIEW_PX = 1600
PREVIEW_TYPE = "image/jpeg"
HEAD_BYTES = 16
"""So many of the first bytes tell the kind of a file."""
MOST_MEMORY_BYTES = 768 * 1024 * 1024
MOST_PREVIEW_BYTES = 16 * 1024 * 1024
MOST_CPU_S = 30
PATIENCE_S = 120
MOST_UNSCALED = 24_000_000
"""Pixels of a format that is decoded whole. A JPEG is decoded at the size that is wanted."""
FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}
BROKEN = 3
"""What the child exits with when it could not begin: that says nothing about the picture."""


@dataclass(frozen=True)
class Picture:
    """What was seen: how large it is, in pixels as they are stored, or what is wrong with it."""

    width_px: int = 0
    height_px: int = 0
    fault: EvidenceFault | None = None


def media_type(head: bytes) -> str | None:
    """Return what a file is by its first bytes, or None where it is no photo of a kind that is taken in."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return None


def look(file: Path, preview: Path, *, most_pixels: int) -> Picture:
    """Decode a picture in a child process, and write the smaller one to ``preview``.

    Raises:
        RuntimeError: the child could not begin; nothing is known of the picture.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "backend.adapters.pictures", str(file), str(preview), str(most_pixels)],
            cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Picture(fault=EvidenceFault.NOT_AN_IMAGE)
    if done.returncode == BROKEN:
        raise RuntimeError("The process that looks at pictures could not begin.")
    try:
        told = json.loads(done.stdout)
    except ValueError:  # It was stopped by a limit, or died of what it read.
        return Picture(fault=EvidenceFault.NOT_AN_IMAGE)
    if fault := told.get("fault"):
        return Picture(fault=EvidenceFault(fault))
    return Picture(told["width_px"], told["height_px"])


def _look(file: str, preview: str, most_pixels: int) -> dict[str, int | str]:
    """What the child does."""
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # Counted here, before anything is decoded.
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
            drawn.save(preview, "JPEG", quality=82)
    except MemoryError:
        return {"fault": EvidenceFault.TOO_MANY_PIXELS}
    except Exception:  # Whatever a decoder says of it.
        return {"fault": EvidenceFault.NOT_AN_IMAGE}
    return {"width_px": width, "height_px": height}


def main(arguments: list[str]) -> int:
    """Be the child: take on the limits, look, and tell in one line of JSON."""
    try:
        for limit, most in (
            (resource.RLIMIT_AS, MOST_MEMORY_BYTES),
            (resource.RLIMIT_CPU, MOST_CPU_S),
            (resource.RLIMIT_FSIZE, MOST_PREVIEW_BYTES),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(limit, (most, most))
        import PIL.Image  # noqa: F401 (what is missing here says nothing about the picture)

        file, preview, most_pixels = arguments
    except (ImportError, OSError, ValueError):
        return BROKEN
    sys.stdout.write(json.dumps(_look(file, preview, int(most_pixels))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
