"""Recordings as phones and body cameras make them, by the same library's encoders, and some that no camera makes."""

from __future__ import annotations

import io
import struct
from typing import Any

import av
import numpy as np

SOUND_HZ = 48_000


def video(
    container: str = "mp4", codec: str = "libx264", *, seconds: float = 2.0, size: tuple[int, int] = (64, 48),
    sound: str | None = "aac", live: bool = False, **metadata: str,
) -> bytes:  # fmt: skip
    """A film of a square that moves, with a tone; ``live``: written as it came, so that nothing says how long it is."""
    file = io.BytesIO()
    options = {"live": "1"} if live else {}
    with av.open(file, "w", format=container, container_options=options) as made:
        made.metadata.update(metadata)
        picture: Any = made.add_stream(codec, rate=10)
        picture.width, picture.height, picture.pix_fmt = *size, "yuv420p"
        tone: Any = made.add_stream(sound, rate=SOUND_HZ) if sound else None
        for n in range(round(seconds * 10)):
            pixels = np.full((size[1], size[0], 3), 40, np.uint8)
            pixels[:, n * 3 % size[0] :, 0] = 220
            made.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        made.mux(picture.encode())
        if tone is not None:
            _sing(made, tone, seconds)
    return file.getvalue()


def sound(container: str = "ipod", codec: str = "aac", *, seconds: float = 2.0) -> bytes:
    """A tone."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as made:
        _sing(made, made.add_stream(codec, rate=SOUND_HZ), seconds)
    return file.getvalue()


def _sing(made: Any, stream: Any, seconds: float) -> None:
    step = 960
    for n in range(round(seconds * SOUND_HZ / step)):
        at = (np.arange(step) + n * step) / SOUND_HZ
        wave = (np.sin(2 * np.pi * 440 * at) * 12_000).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        frame.sample_rate, frame.pts = SOUND_HZ, n * step
        made.mux(stream.encode(frame))
    made.mux(stream.encode())


def playlist(names: str) -> bytes:
    """A playlist that names another file, with the first bytes of a film (F66)."""
    return struct.pack(">I4s4sII", 20, b"ftyp", b"isom", 0, 0) + f"#EXTM3U\n#EXTINF:1,\n{names}\n".encode()
