"""Recordings that came from outside: what kind they are by their content, and a look at them in a process with limits.

The containers and codecs of phones and body cameras are read, by name, and nothing else: no playlist, no picture
series, no file that only names others. The demuxer is given open bytes and no way to open more, neither a path nor a
protocol. Of a video there is a poster, one frame made anew from its pixels, in which nothing else of the file is left.
"""

from __future__ import annotations

import errno
import io
import json
import sys
from pathlib import Path
from typing import IO, Any

from backend.adapters import bounded, pictures
from backend.adapters.bounded import BROKEN, Limits
from backend.adapters.pictures import Picture
from backend.core.vocabulary import EvidenceFault, EvidenceKind

HEAD_BYTES = 64
"""So many of the first bytes tell the container."""
LIMITS = Limits(memory_bytes=1024 * 1024 * 1024, cpu_s=60, patience_s=300.0)
LONGEST_S = 24 * 3600
"""No camera records longer in one file: whatever says so says something else as well."""
POSTER_AT_S = 1.0
"""The first frames are often black."""
POSTER_FRAMES = 60
SOUND_FRAMES = 20

DEMUXERS = {
    "video/mp4": "mov", "video/quicktime": "mov", "audio/mp4": "mov", "video/webm": "matroska",
    "audio/webm": "matroska", "audio/ogg": "ogg", "audio/mpeg": "mp3", "audio/wav": "wav",
}  # fmt: skip
EXTENSIONS = {
    "video/mp4": "mp4", "video/quicktime": "mov", "audio/mp4": "m4a", "video/webm": "webm",
    "audio/webm": "weba", "audio/ogg": "ogg", "audio/mpeg": "mp3", "audio/wav": "wav",
}  # fmt: skip
PICTURES = ("h264", "hevc", "vp8", "libvpx", "vp9", "libvpx-vp9", "av1", "libdav1d", "mpeg4", "h263", "mjpeg")
SOUNDS = (
    "aac", "opus", "libopus", "vorbis", "mp3", "mp3float", "flac", "alac", "amrnb", "amrwb", "pcm_s16le",
    "pcm_s16be", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_u8", "pcm_alaw", "pcm_mulaw", "adpcm_ima_wav",
)  # fmt: skip
COVERS = ("mjpeg", "png")
"""Pictures that may lie in a piece of sound and do not move."""


def kind_of(declared: str) -> EvidenceKind:
    """Return what a client says that it brings, by its media type: what is no recording is a photo."""
    return {"video": EvidenceKind.VIDEO, "audio": EvidenceKind.AUDIO}.get(
        declared.partition("/")[0].strip().lower(), EvidenceKind.IMAGE
    )


def media_type(kind: str, head: bytes) -> str | None:
    """Return what a file of this kind is by its first bytes, or None where it is nothing that is taken in."""
    if kind == EvidenceKind.IMAGE:
        return pictures.media_type(head)
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if kind == EvidenceKind.AUDIO:
            return "audio/mp4"
        return "video/quicktime" if brand == b"qt  " else "video/mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3") and b"webm" in head:
        return f"{kind}/webm"
    if kind == EvidenceKind.VIDEO:
        return None
    if head.startswith(b"OggS"):
        return "audio/ogg"
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        return "audio/wav"
    if head.startswith(b"ID3") or (head[:1] == b"\xff" and head[1:2] in (b"\xfb", b"\xfa", b"\xf3", b"\xf2")):
        return "audio/mpeg"
    return None


def look(
    file: IO[bytes], preview: Path, *, media_type: str, most_pixels: int, limits: Limits = LIMITS
) -> Picture:
    """Decode the beginning of an open recording in a child process; the poster of a video is written to ``preview``.

    A fault is what a decoder has said, or that the file has used up the memory or the processor time that it may.

    Raises:
        RuntimeError: as ``bounded.run`` has it; nothing is known of the recording.
    """
    told = bounded.run(
        __name__, str(file.fileno()), str(preview), media_type, str(most_pixels), limits=limits,
        passed=(file.fileno(),),
    )  # fmt: skip
    if told is None:
        return Picture(fault=EvidenceFault.NOT_A_RECORDING)
    if fault := told.get("fault"):
        return Picture(fault=EvidenceFault(fault))
    return Picture(told["width_px"], told["height_px"], duration_s=told["duration_s"])


def _look(file: IO[bytes], preview: Path, media_type: str, most_pixels: int) -> dict[str, Any]:
    """What the child does.

    Raises:
        OSError: a file could not be read or written, which is not the recording's fault.
    """
    import av

    made = io.BytesIO()
    try:
        with av.open(
            file, format=DEMUXERS[media_type],
            container_options={
                "protocol_whitelist": "none", "format_whitelist": "mov,matroska,webm,ogg,mp3,wav",
                "codec_whitelist": ",".join(PICTURES + SOUNDS + COVERS),
            },
        ) as container:  # fmt: skip
            wanted = media_type.partition("/")[0]
            moving = [one for one in container.streams.video if _moves(one, wanted)]
            streams = moving if wanted == "video" else list(container.streams.audio)
            if not streams or (wanted == "audio" and moving):
                return {"fault": EvidenceFault.NOT_A_RECORDING}
            width = height = 0
            if wanted == "video":
                width, height = moving[0].width, moving[0].height
                # What the header says need not be what the frames say, and either may be made to fill the memory.
                if width * height > most_pixels or not _draw_poster(container, moving[0], made, most_pixels):
                    return {"fault": EvidenceFault.TOO_MANY_PIXELS}
            else:
                _listen(container, streams[0])
            duration_s = _duration_s(container, streams[0])
    except MemoryError:
        return {"fault": EvidenceFault.TOO_MANY_PIXELS}
    except (
        Exception
    ) as error:  # Whatever a decoder says of it; what the system says of a file is no FFmpegError.
        if isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError):
            raise
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return {"fault": EvidenceFault.TOO_MANY_PIXELS}
        return {"fault": EvidenceFault.NOT_A_RECORDING}
    if not 0 < duration_s <= LONGEST_S:
        return {"fault": EvidenceFault.NOT_A_RECORDING}
    if wanted == "video":
        preview.write_bytes(made.getvalue())
    return {"width_px": width, "height_px": height, "duration_s": round(duration_s, 3)}


def _moves(stream: Any, wanted: str) -> bool:
    """Whether it is video, and no cover that lies in a piece of sound."""
    name = stream.codec_context.name if stream.codec_context is not None else ""
    return name in PICTURES and not (wanted == "audio" and name in COVERS)


def _draw_poster(container: Any, stream: Any, made: IO[bytes], most_pixels: int) -> bool:
    """Draw a frame of the first second, upright and no larger than any other preview; False where it is too large."""
    stream.thread_type, stream.codec_context.thread_count = "NONE", 1
    chosen, began = None, None
    for n, frame in enumerate(container.decode(stream)):
        chosen = frame
        if frame.width * frame.height > most_pixels:
            return False
        began = frame.time if began is None else began
        if n >= POSTER_FRAMES or (frame.time or 0) - (began or 0) >= POSTER_AT_S:
            break
    if chosen is None:
        raise ValueError("no frame")
    scale = min(1.0, pictures.PREVIEW_PX / max(chosen.width, chosen.height))
    drawn = chosen.to_image(
        width=max(2, round(chosen.width * scale)), height=max(2, round(chosen.height * scale))
    )
    if chosen.rotation:
        drawn = drawn.rotate(chosen.rotation, expand=True)
    drawn.save(made, "JPEG", quality=82)
    return True


def _listen(container: Any, stream: Any) -> None:
    heard = 0
    for frame in container.decode(stream):
        heard += frame.samples
        if heard >= SOUND_FRAMES * 1024:
            break
    if not heard:
        raise ValueError("no sound")


def _duration_s(container: Any, stream: Any) -> float:
    """Return how long it is. What was recorded as it came says nothing of it: its packets are read to the last one."""
    if container.duration and container.duration > 0:
        return float(container.duration / 1_000_000)
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    container.seek(0)
    ends = [0.0, 0.0]
    for packet in container.demux(stream):
        if packet.pts is not None:
            at = float(packet.pts * packet.time_base)
            ends = [min(ends[0], at), max(ends[1], at + float((packet.duration or 0) * packet.time_base))]
    return ends[1] - ends[0]


def main(arguments: list[str]) -> int:
    """Be the child: take on the limits, look, and tell in one line of JSON."""
    try:
        memory_bytes, cpu_s, preview_bytes = map(int, arguments[:3])
        handle, preview, media_type, most_pixels = arguments[3:]
        bounded.take_on(memory_bytes, cpu_s, preview_bytes)
        import av  # (what is missing here says nothing about the recording)

        av.logging.set_level(None)
        with open(int(handle), "rb", closefd=False) as file:
            file.seek(0)
            told = _look(file, Path(preview), media_type, int(most_pixels))
    except (ImportError, OSError, ValueError, MemoryError):
        return BROKEN
    sys.stdout.write(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
