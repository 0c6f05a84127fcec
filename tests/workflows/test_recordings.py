"""What is a recording and what is none, by a decoder in a process with limits."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from backend.adapters import recordings
from backend.adapters.bounded import ROOT, Limits
from backend.adapters.pictures import Picture
from backend.core.vocabulary import EvidenceKind as K
from tests import photos
from tests import recordings as made

FILM = made.video(title="SECRET-TITLE", location="+31.1+121.3/")


def look(data: bytes, preview: Path, kind: K, **more: object) -> Picture:
    media_type = recordings.media_type(kind, data[: recordings.HEAD_BYTES])
    assert media_type is not None
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        told = {"most_pixels": 64_000_000, **more}
        return recordings.look(file, preview, media_type=media_type, **told)  # type: ignore[arg-type]


def test_what_phones_and_body_cameras_record_is_read_and_measured(tmp_path: Path) -> None:
    """MP4, QuickTime and WebM, also where nothing says how long it is; the poster is a frame and nothing else (F68)."""
    films = {
        "video/mp4": FILM,
        "video/quicktime": made.video("mov", sound=None),
        "video/webm": made.video("webm", "libvpx", sound="libopus", live=True),
    }
    assert b"SECRET-TITLE" in FILM
    for media_type, data in films.items():
        assert recordings.media_type(K.VIDEO, data[:64]) == media_type
        preview = tmp_path / "preview"
        seen = look(data, preview, K.VIDEO)
        assert (seen.fault, seen.width_px, seen.height_px) == (None, 64, 48), media_type
        assert seen.duration_s == pytest.approx(2.0, abs=0.05), media_type
        with Image.open(preview) as poster:
            assert (poster.format, poster.size, poster.getexif()) == ("JPEG", (64, 48), {})
        assert b"SECRET-TITLE" not in preview.read_bytes()


@pytest.mark.parametrize(
    ("media_type", "container", "codec"),
    [
        ("audio/mp4", "ipod", "aac"), ("audio/webm", "webm", "libopus"), ("audio/ogg", "ogg", "libopus"),
        ("audio/mpeg", "mp3", "libmp3lame"), ("audio/wav", "wav", "pcm_s16le"),
    ],
)  # fmt: skip
def test_sound_is_read_and_measured_and_has_no_poster(
    tmp_path: Path, media_type: str, container: str, codec: str
) -> None:
    data = made.sound(container, codec)
    assert recordings.media_type(K.AUDIO, data[:64]) == media_type
    seen = look(data, tmp_path / "preview", K.AUDIO)
    assert (seen.fault, seen.width_px) == (None, 0)
    assert seen.duration_s == pytest.approx(2.0, abs=0.05)
    assert not (tmp_path / "preview").exists()


def test_what_is_no_recording_of_its_kind_is_refused(tmp_path: Path) -> None:
    """F62, F67: by the first bytes, or by what a decoder finds: sound for a film, a film for sound, half a header."""
    webm = made.video("webm", "libvpx", sound=None)
    for data in (photos.photo(), b"<svg onload='x'/>", b"#EXTM3U\n", b"PK\x03\x04" + bytes(60), b""):
        assert recordings.media_type(K.VIDEO, data) is None
        assert recordings.media_type(K.AUDIO, data) is None
    assert recordings.media_type(K.IMAGE, FILM[:64]) is None
    assert recordings.media_type(K.VIDEO, made.sound("wav", "pcm_s16le")[:64]) is None
    for kind, bad in (
        (K.VIDEO, made.sound()), (K.AUDIO, FILM), (K.VIDEO, webm[:400]), (K.VIDEO, FILM[:64] + photos.photo()),
    ):  # fmt: skip
        assert look(bad, tmp_path / "preview", kind).fault == "not_a_recording"
    assert not (tmp_path / "preview").exists()


def test_a_playlist_opens_nothing(tmp_path: Path) -> None:
    """F66: a file that names others, a local one and an address of this machine; outbound requests: 0."""
    (tmp_path / "other.mp4").write_bytes(FILM)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        port = listening.getsockname()[1]
        for names in (f"http://127.0.0.1:{port}/a.mp4", f"file://{tmp_path}/other.mp4", "concat:other.mp4"):
            assert look(made.playlist(names), tmp_path / "preview", K.VIDEO).fault == "not_a_recording"
        with pytest.raises(BlockingIOError):
            listening.accept()


PEAK = (
    "import resource, sys; from pathlib import Path; from backend.adapters import recordings;"
    " seen = recordings.look(open(sys.argv[1], 'rb'), Path(sys.argv[2]), media_type='video/webm',"
    " most_pixels=64_000_000); used = resource.getrusage(resource.RUSAGE_CHILDREN);"
    " print(seen.fault, used.ru_maxrss // 1024, round(used.ru_utime + used.ru_stime))"
)


def test_a_film_of_enormous_frames_is_refused_and_takes_bounded_memory(tmp_path: Path) -> None:
    """F66: a film of a kilobyte whose frames say that they have 268 million pixels; peak MB and CPU seconds."""
    film = made.video("webm", "libvpx", sound=None)
    assert look(film, tmp_path / "preview", K.VIDEO).fault is None
    at = film.index(b"\x9d\x01\x2a") + 3
    (tmp_path / "bomb").write_bytes(film[:at] + b"\xff\x3f\xff\x3f" + film[at + 4 :])
    told = subprocess.run(
        [sys.executable, "-c", PEAK, tmp_path / "bomb", tmp_path / "preview"], capture_output=True, text=True,
        check=True, cwd=ROOT,
    ).stdout.split()  # fmt: skip
    print(f"F66: {told[0]}, {told[1]} MB, {told[2]} s")
    assert told[0] in ("too_many_pixels", "not_a_recording")
    assert int(told[1]) < 600
    assert int(told[2]) <= recordings.LIMITS.cpu_s


def test_the_bounds_are_the_ones_that_are_given(tmp_path: Path) -> None:
    """What is within them is sealed, and the same film is not with less; a machine without time says nothing of it."""
    preview = tmp_path / "preview"
    assert look(FILM, preview, K.VIDEO, most_pixels=64 * 48).fault is None
    assert look(FILM, preview, K.VIDEO, most_pixels=64 * 48 - 1).fault == "too_many_pixels"
    with pytest.raises(RuntimeError):
        look(FILM, preview, K.VIDEO, limits=Limits(patience_s=0.01))


def test_a_poster_stands_upright(tmp_path: Path) -> None:
    """Phones film on their side, and say so."""
    import av

    file = io.BytesIO()
    with av.open(io.BytesIO(FILM)) as given, av.open(file, "w", format="mp4") as turned:
        [stream] = given.streams.video
        copy = turned.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                turned.mux(packet)
    data = _turned(file.getvalue())
    assert look(data, tmp_path / "preview", K.VIDEO).fault is None
    with Image.open(tmp_path / "preview") as poster:
        assert poster.size == (48, 64)


def _turned(film: bytes) -> bytes:
    """The film with the matrix of a phone on its side, in its track's header."""
    at = film.index(b"tkhd") + 4 + 4 + 20 + 16
    matrix = b"".join(
        value.to_bytes(4, "big", signed=True) for value in (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    )
    return film[:at] + matrix + film[at + 36 :]
