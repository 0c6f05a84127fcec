"""Video and audio brought up by tus: sealed with their length, as long as they may be, and in little memory."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from backend.adapters.storage import Spool
from mobile_api.gateway import tus
from tests import recordings as made
from tests.api.conftest import World
from tests.api.test_uploads import (
    DESK,
    OWN,
    Beat,
    begin,
    brought,
    chain,
    duty,
    examined,
    offset,
    part,
    report,
)
from tests.photos import OFFSET_TYPE, TUS, UPLOADS, checksum, metadata, photo
from workflows import evidence

__all__ = ["duty"]
GIB = 1 << 30


@pytest.fixture
def roomy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation that takes files of 16 GiB, on a disk that has room for them."""
    config = replace(world.app.extensions["xungeng.config"], recording_max_mb=16 * 1024)
    monkeypatch.setitem(world.app.extensions, "xungeng.config", config)
    monkeypatch.setattr(world.app.extensions["xungeng.store"], "free_bytes", lambda: 64 * GIB)


def test_a_film_and_a_sound_are_sealed_and_the_desk_sees_what_they_are(world: World, duty: Beat) -> None:
    """The kind is the one that was declared and that a decoder found; the poster stands for the film."""
    film, tone = made.video(), made.sound("webm", "libopus")
    ids = {}
    for kind, data, filetype in (("video", film, "video/mp4"), ("audio", tone, "audio/webm;codecs=opus")):
        ids[kind] = brought(duty.phone, data, filetype=filetype, filename="现场 录像.mp4")
        examined(world, ids[kind])
    assert report(duty, *ids.values()).status_code == 201
    seen = duty.desk.get(f"{DESK}/{ids['video']}").json
    assert (seen["kind"], seen["state"], seen["media_type"]) == ("video", "sealed", "video/mp4")
    assert (seen["width_px"], seen["height_px"], seen["has_preview"]) == (64, 48, True)
    assert seen["duration_s"] == pytest.approx(2.0, abs=0.05)
    poster = duty.desk.get(f"{DESK}/{ids['video']}/preview")
    assert (poster.status_code, poster.mimetype) == (200, "image/jpeg")
    whole = duty.desk.get(f"{DESK}/{ids['video']}/content")
    assert whole.data == film
    assert whole.headers["Content-Disposition"] == f'attachment; filename="video-{ids["video"]}.mp4"'
    heard = duty.phone.get(f"{OWN}/{ids['audio']}").json
    assert (heard["kind"], heard["state"], heard["has_preview"]) == ("audio", "sealed", False)
    assert duty.desk.get(f"{DESK}/{ids['audio']}/preview").status_code == 409
    assert [entry.action for entry in chain(world, ids["audio"])] == ["created", "received", "sealed"]


def test_what_was_declared_as_a_recording_and_is_none_is_rejected(world: World, duty: Beat) -> None:
    """F62, F66, F67: a photo by its first bytes, a playlist by the decoder; and a film is no photo."""
    begun = begin(duty.phone, photo(), filetype="video/mp4")
    refused = part(duty.phone, begun.headers["Location"], photo(), 0)
    assert (refused.status_code, refused.json["fault"]) == (422, "not_a_recording")
    hostile = brought(duty.phone, made.playlist("file:///etc/passwd"), filetype="video/mp4")
    examined(world, hostile)
    assert duty.phone.get(f"{OWN}/{hostile}").json["reason"] == "not_a_recording"
    film = made.video(sound=None)
    begun = begin(duty.phone, film, filetype="image/jpeg")
    assert begun.status_code == 201, begun.text
    assert part(duty.phone, begun.headers["Location"], film, 0).json["fault"] == "not_an_image"


def test_a_recording_may_be_longer_than_a_photo_and_each_has_its_bound(
    world: World, duty: Beat, roomy: None
) -> None:
    for filetype, most in (("image/jpeg", 30 << 20), ("video/mp4", 16 * GIB), ("audio/mp4", 16 * GIB)):
        long = begin(duty.phone, photo(), length=most + 1, filetype=filetype)
        assert (long.status_code, long.json["code"]) == (413, "too_large")
        begun = begin(duty.phone, photo(), length=most, filetype=filetype)
        assert begun.status_code == 201, begun.text
    assert duty.phone.send("OPTIONS", "/api/v1/evidence/uploads").headers["Tus-Max-Size"] == str(16 * GIB)


def test_one_phone_does_not_hold_all_of_the_towns_room(
    world: World, duty: Beat, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Announcements without a byte leave room for photos and for colleagues."""
    config = replace(world.app.extensions["xungeng.config"], recording_max_mb=128)
    monkeypatch.setitem(world.app.extensions, "xungeng.config", config)
    monkeypatch.setattr(evidence, "ONE_OFFICERS_SHARE", 1 << 40)
    most = 128 << 20

    def film(of: Beat) -> Any:
        return begin(of.phone, photo(), length=most, filetype="video/mp4")

    assert [film(duty).status_code for _ in range(2)] == [201, 201]
    third = film(duty)
    assert (third.status_code, third.json["code"]) == (429, "too_many_uploads")
    assert int(third.headers["Retry-After"]) > 0
    assert begin(duty.phone, photo()).status_code == 201
    assert film(Beat(world, signed_in)).status_code == 201


def test_a_part_with_a_checksum_is_bounded_and_the_length_that_was_said_meanwhile_holds(
    world: World, duty: Beat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F28, F30: what waits for its checksum takes its room twice; a length counts from the moment it was said."""
    monkeypatch.setattr(tus, "MOST_CHECKED_BYTES", 1000)
    data = made.video()
    begun = begin(duty.phone, data, filetype="video/mp4")
    where = begun.headers["Location"]
    long = part(duty.phone, where, data[:2000], 0, Upload_Checksum=checksum(data[:2000]))
    assert (long.status_code, long.json["code"]) == (413, "too_large")
    short = part(duty.phone, where, data[:1000], 0, Upload_Checksum=checksum(data[:1000]))
    assert short.status_code == 204
    # Between a part's look at the row and its bytes another says how long all of it is.
    _, header = metadata(data, filetype="video/mp4")
    sent = {**TUS, "Upload-Metadata": header, "Upload-Defer-Length": "1"}
    where = duty.phone.send("POST", UPLOADS, headers=sent).headers["Location"]
    take = tus._take

    def after_another(*given: Any, **more: Any) -> int:
        monkeypatch.setattr(tus, "_take", take)
        assert part(duty.phone, where, b"", 0, Upload_Length="100").status_code == 204
        return take(*given, **more)

    monkeypatch.setattr(tus, "_take", after_another)
    late = part(duty.phone, where, data[:500], 0)
    assert (late.status_code, late.json["code"]) == (413, "too_large")
    assert offset(duty.phone, where) == 0


def test_offsets_are_right_to_the_last_byte_of_16_gib(world: World, duty: Beat, roomy: None) -> None:
    """The file is sparse, and its hash stands where the last part finds it, so that nothing reads 16 GiB of nothing."""
    length, head = 16 * GIB, made.video(sound=None)[:64]
    end = b"the end"
    seen = hashlib.sha256(b"all of it")
    declared = seen.copy()
    declared.update(end)
    begun = begin(duty.phone, b"", length=length, filetype="video/mp4", sha256=declared.hexdigest())
    where, spool = begun.headers["Location"], world.app.extensions["xungeng.spool"]
    assert isinstance(spool, Spool)
    with open(spool.path(begun.photo_id), "r+b") as file:
        file.write(head)
        file.truncate(length - len(end))
    spool._hashes[begun.photo_id] = (length - len(end), seen)
    assert offset(duty.phone, where) == length - len(end)
    assert part(duty.phone, where, end, length - len(end) - 1).headers["Upload-Offset"] == str(
        length - len(end)
    )
    assert part(duty.phone, where, end + b"x", length - len(end)).status_code == 413
    last = part(duty.phone, where, end, length - len(end))
    assert (last.status_code, last.headers["Upload-Offset"]) == (204, str(length))
    found = duty.phone.get(f"{OWN}/{begun.photo_id}").json
    assert (found["state"], found["length"]) == ("received", length)
    kept = world.app.extensions["xungeng.store"].path(world.here.id, declared.digest())
    assert kept.stat().st_size == length
    kept.unlink()


def test_an_upload_takes_the_same_memory_however_long_it_is(duty: Beat) -> None:
    """F01: thirty MiB through a part of one request; what is held at once is a fraction of one MiB more."""
    data = photo() + bytes(30 << 20)
    where = begin(duty.phone, data, filetype="video/mp4").headers["Location"]
    headers: dict[str, Any] = {**TUS, "Upload-Offset": "0", "Content-Type": OFFSET_TYPE}
    body = io.BytesIO(data[:-1])
    tracemalloc.start()
    try:
        sent = duty.phone.send(
            "PATCH", where, input_stream=body, headers=headers, content_length=len(data) - 1
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (sent.status_code, sent.headers["Upload-Offset"]) == (204, str(len(data) - 1))
    print(f"peak {peak >> 10} KiB for {len(data) >> 20} MiB")
    assert peak < 4 << 20


def test_the_kind_is_the_first_announcement_s(duty: Beat) -> None:
    """What is announced again is the one that began: no photo becomes a film by saying so."""
    data = photo()
    photo_id, header = metadata(data)
    told = {**TUS, "Upload-Metadata": header, "Upload-Length": str(len(data))}
    assert duty.phone.send("POST", "/api/v1/evidence/uploads", headers=told).status_code == 201
    again = begin(duty.phone, data, id=str(photo_id), filetype="video/mp4")
    assert again.status_code == 201
    assert duty.phone.get(f"{OWN}/{UUID(str(photo_id))}").json["kind"] == "image"
