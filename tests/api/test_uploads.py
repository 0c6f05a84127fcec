"""Photos brought up by tus, part by part: what is taken, what is refused and with which header, and what is kept."""

from __future__ import annotations

import base64
import hashlib
import io
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from PIL import Image
from sqlalchemy import text

from backend import worker
from backend.core.identity import system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.models import Custody
from notifications import recipients
from tests.api.conftest import Caller, World
from tests.api.test_isolation import _caller as by_code
from tests.api.test_shifts import start
from tests.api.test_tasks import KINDS, Duty
from tests.photos import OFFSET_TYPE, TUS, UPLOADS, bomb, checksum, metadata, photo, placed_photo
from workflows import access, custody, evidence

OWN, DESK = "/api/v1/officer/evidence", "/api/v1/desk/evidence"


class Beat(Duty):
    """An officer on shift and his desk, whose session these tests share: an account is not signed in so often."""

    def __init__(self, world: World, signed_in: Any) -> None:
        self.person = world.officer()
        self.phone = signed_in(self.person)
        self.shift = start(self.phone)
        self.desk = by_code(world, world.here["desk_a"])
        self.kinds = {kind["code"]: kind["id"] for kind in self.desk.get(KINDS).json["items"]}
        self.place = list(world.here.place())


@pytest.fixture
def duty(world: World, signed_in: Any) -> Beat:
    return Beat(world, signed_in)


def begin(caller: Caller, data: bytes, *, length: Any = None, headers: Any = None, **told: str) -> Any:
    photo_id, header = metadata(data, **told)
    sent = {**TUS, "Upload-Metadata": header, "Upload-Length": str(len(data) if length is None else length)}
    answer: Any = caller.send("POST", UPLOADS, headers={**sent, **(headers or {})})
    answer.photo_id = photo_id
    return answer


def announced(photo_id: UUID, data: bytes) -> dict[str, str]:
    """The headers that announce a photo again, or bring it at once."""
    _, header = metadata(data, id=str(photo_id))
    told = {"Upload-Metadata": header, "Upload-Length": str(len(data)), "Content-Type": OFFSET_TYPE}
    return {**TUS, **told}


def part(caller: Caller, where: str, data: bytes, at: int, **headers: str) -> Any:
    sent = {**TUS, "Upload-Offset": str(at), "Content-Type": OFFSET_TYPE}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return caller.send("PATCH", where, data=data, headers={k: v for k, v in sent.items() if v})


def offset(caller: Caller, where: str) -> int:
    answer = caller.send("HEAD", where, headers=TUS)
    assert answer.status_code == 200, answer.status_code
    return int(answer.headers["Upload-Offset"])


def brought(caller: Caller, data: bytes, **told: str) -> UUID:
    """A photo that is there whole, and not looked at yet."""
    begun = begin(caller, data, **told)
    assert begun.status_code == 201, begun.text
    assert part(caller, begun.headers["Location"], data, 0).status_code == 204
    return UUID(str(begun.photo_id))


def examined(world: World, photo_id: UUID) -> None:
    """What the worker's job does."""
    worker.examine(world.config, world.here.id, photo_id, world.app.extensions["xungeng.store"])


def stored(world: World, data: bytes) -> bool:
    """Whether the store has these bytes for this town."""
    store = world.app.extensions["xungeng.store"]
    return bool(store.path(world.here.id, hashlib.sha256(data).digest()).exists())


def sealed(world: World, caller: Caller, data: bytes | None = None, **told: str) -> UUID:
    photo_id = brought(caller, data or photo(seed=uuid.uuid4().int), **told)
    examined(world, photo_id)
    return photo_id


def chain(world: World, photo_id: UUID) -> list[Custody]:
    with unit_of_work(world.here.id) as uow:
        found = custody.of(uow, photo_id)
    assert custody.first_wrong(found) is None
    return found


def report(duty: Beat, *ids: UUID) -> Any:
    lon, lat = duty.place
    body = {"kind_id": duty.kinds["facility"], "how": "handled", "place": {"lon": lon, "lat": lat}}
    return duty.phone.post("/api/v1/officer/reports", body | {"evidence_after": [str(one) for one in ids]})


# --- Taken


def test_a_photo_comes_in_parts_is_sealed_and_is_what_was_taken(world: World, duty: Beat) -> None:
    """F01: the offset after each part, the name in Chinese, the hash, and each step in the custody log."""
    data = photo(1200, 900)
    begun = begin(duty.phone, data)
    assert (begun.status_code, begun.headers["Tus-Resumable"]) == (201, "1.0.0")
    where = begun.headers["Location"]
    assert where == f"{UPLOADS}/{begun.photo_id}"
    middle = len(data) // 3
    first = part(duty.phone, where, data[:middle], 0)
    assert (first.status_code, first.headers["Upload-Offset"]) == (204, str(middle))
    assert first.headers["Upload-Expires"].endswith("GMT")
    there = duty.phone.send("HEAD", where, headers=TUS)
    assert (there.headers["Upload-Offset"], there.headers["Upload-Length"]) == (str(middle), str(len(data)))
    assert "no-store" in there.headers["Cache-Control"]
    told = dict(pair.split(" ") for pair in there.headers["Upload-Metadata"].split(","))
    assert base64.b64decode(told["filename"]).decode() == "现场 照片.jpg"
    state = lambda: duty.phone.get(f"{OWN}/{begun.photo_id}").json["state"]
    assert state() == "uploading"
    assert part(duty.phone, where, data[middle:], middle).headers["Upload-Offset"] == str(len(data))
    assert state() == "received"
    examined(world, begun.photo_id)
    examined(world, begun.photo_id)  # The job may run twice.
    assert state() == "sealed"
    whole = duty.phone.get(f"{OWN}/{begun.photo_id}/content")
    assert (whole.status_code, whole.data) == (200, data)
    assert [entry.action for entry in chain(world, begun.photo_id)] == [
        "created", "received", "sealed", "previewed", "viewed",
    ]  # fmt: skip
    assert {entry.actor_id for entry in chain(world, begun.photo_id)} == {None, duty.person.id}
    assert not world.app.extensions["xungeng.spool"].path(begun.photo_id).exists()


def test_a_photo_may_come_with_its_announcement_and_its_length_may_be_said_later(duty: Beat) -> None:
    data = photo()
    photo_id, header = metadata(data)
    at_once = duty.phone.send(
        "POST", UPLOADS, data=data,
        headers={**TUS, "Upload-Metadata": header, "Upload-Length": str(len(data)), "Content-Type": OFFSET_TYPE},
    )  # fmt: skip
    assert (at_once.status_code, at_once.headers["Upload-Offset"]) == (201, str(len(data)))
    assert duty.phone.get(f"{OWN}/{photo_id}").json["state"] == "received"

    photo_id, header = metadata(data)
    begun = duty.phone.send(
        "POST", UPLOADS, headers={**TUS, "Upload-Metadata": header, "Upload-Defer-Length": "1"}
    )
    where = begun.headers["Location"]
    assert part(duty.phone, where, data[:100], 0).status_code == 204
    there = duty.phone.send("HEAD", where, headers=TUS)
    assert (there.headers["Upload-Defer-Length"], "Upload-Length" in there.headers) == ("1", False)
    assert part(duty.phone, where, data[100:], 100, Upload_Length=str(len(data))).status_code == 204
    assert duty.phone.get(f"{OWN}/{photo_id}").json["state"] == "received"


def test_a_length_that_does_not_fit_what_has_arrived_is_not_said(duty: Beat) -> None:
    """Refused, it leaves no trace: the right one is taken afterwards, and then no other."""
    data = photo()
    photo_id, header = metadata(data)
    begun = duty.phone.send(
        "POST", UPLOADS, headers={**TUS, "Upload-Metadata": header, "Upload-Defer-Length": "1"}
    )
    where = begun.headers["Location"]
    assert part(duty.phone, where, data[:100], 0).status_code == 204
    for length, status in (("99", 400), (str(len(data) - 1), 413), ("many", 400), (str(1 << 40), 413)):
        assert part(duty.phone, where, data[100:], 100, Upload_Length=length).status_code == status
        assert "Upload-Length" not in duty.phone.send("HEAD", where, headers=TUS).headers
    assert part(duty.phone, where, data[100:200], 100, Upload_Length=str(len(data))).status_code == 204
    other = part(duty.phone, where, data[200:], 200, Upload_Length=str(len(data) + 1))
    assert (other.status_code, other.json["code"]) == (409, "length_known")
    assert other.headers["Upload-Offset"] == "200"
    assert part(duty.phone, where, data[200:], 200).status_code == 204
    assert duty.phone.get(f"{OWN}/{photo_id}").json["state"] == "received"


def test_the_server_says_what_it_speaks_and_nobody_may_end_an_upload(duty: Beat, caller: Caller) -> None:
    """Termination is not offered: it would let a phone delete what it has sent."""
    for path in (UPLOADS, f"{UPLOADS}/{uuid.uuid4()}"):
        told = caller.send("OPTIONS", path)
        assert (told.status_code, told.headers["Tus-Version"]) == (200, "1.0.0")
        assert told.headers["Tus-Extension"] == (
            "creation,creation-with-upload,creation-defer-length,checksum,expiration"
        )
        assert told.headers["Tus-Checksum-Algorithm"] == "sha1,sha256"
        assert told.headers["Tus-Max-Size"] == str(4096 << 20)
        assert told.headers["Upload-Limit"] == f"max-size={4096 << 20}"
    where = begin(duty.phone, photo()).headers["Location"]
    assert duty.phone.send("DELETE", where, headers=TUS).status_code == 405
    override = {**TUS, "X-HTTP-Method-Override": "DELETE"}
    assert duty.phone.send("POST", where, headers=override).status_code == 405
    assert offset(duty.phone, where) == 0


def test_a_method_may_be_said_in_a_header(duty: Beat) -> None:
    data = photo()
    where = begin(duty.phone, data).headers["Location"]
    sent = {
        **TUS, "X-HTTP-Method-Override": "PATCH", "Upload-Offset": "0", "Content-Type": OFFSET_TYPE,
    }  # fmt: skip
    assert duty.phone.send("POST", where, data=data, headers=sent).status_code == 204


# --- Refused at the beginning


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"Tus-Resumable": "0.2.2"}, 412, "tus_version"),
        ({"Tus-Resumable": ""}, 412, "tus_version"),
        ({"Upload-Length": "many"}, 400, "unreadable"),
        ({"Upload-Length": "-1"}, 400, "unreadable"),
        ({"Upload-Defer-Length": "1"}, 400, "unreadable"),
        ({"Upload-Length": "0"}, 422, "invalid"),
        ({"Upload-Length": str(30 * 1024 * 1024 + 1)}, 413, "too_large"),
        ({"Upload-Metadata": ""}, 422, "metadata_needed"),
        ({"Upload-Metadata": "id ***"}, 400, "unreadable"),
        ({"Upload-Metadata": "x" * 5000}, 400, "unreadable"),
    ],
)
def test_what_is_no_good_announcement_is_refused(
    duty: Beat, changed: dict[str, str], status: int, code: str
) -> None:
    refused = begin(duty.phone, photo(), headers=changed)
    assert (refused.status_code, refused.json["code"]) == (status, code)
    assert refused.headers["Tus-Resumable"] == "1.0.0"
    assert (status == 412) == (refused.headers.get("Tus-Version") == "1.0.0")


@pytest.mark.parametrize(
    "told",
    [{"id": "photo.jpg"}, {"id": str(uuid.UUID(int=4))}, {"sha256": "ab"}, {"captured_at": "2026-11-30"}],
)
def test_a_photo_has_an_id_a_hash_and_a_moment_of_its_own(duty: Beat, told: dict[str, str]) -> None:
    refused = begin(duty.phone, photo(), **told)
    assert (refused.status_code, refused.json["code"]) == (422, "metadata_needed")
    assert list(refused.json["errors"]) == list(told)


def test_there_is_a_bound_on_what_a_town_keeps_and_on_what_is_under_way(
    world: World, duty: Beat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before the first byte, with the reason."""
    before = world.app.extensions["xungeng.config"]
    monkeypatch.setitem(world.app.extensions, "xungeng.config", replace(before, evidence_quota_gb=0))
    full = begin(duty.phone, photo())
    assert (full.status_code, full.json["code"]) == (507, "quota_exceeded")
    monkeypatch.setitem(world.app.extensions, "xungeng.config", before)
    monkeypatch.setattr(world.app.extensions["xungeng.store"], "free_bytes", lambda: 10)
    full = begin(duty.phone, photo())
    assert (full.status_code, full.json["code"]) == (507, "storage_full")
    monkeypatch.undo()
    monkeypatch.setattr(evidence, "MOST_OPEN", 1)
    assert begin(duty.phone, photo()).status_code == 201
    many = begin(duty.phone, photo())
    assert (many.status_code, many.json["code"]) == (429, "too_many_uploads")


def test_only_an_officer_brings_photos_and_only_of_his_shifts(
    world: World, duty: Beat, caller: Caller, signed_in: Any
) -> None:
    """P21: late is good, off shift is not; F46: no token, another role, too often."""
    assert begin(caller, photo()).status_code == 401
    assert begin(signed_in("supervisor"), photo()).status_code == 403
    captured = datetime.now(UTC).isoformat()
    assert duty.phone.post(f"/api/v1/officer/shifts/{duty.shift['id']}/end", {}).status_code == 200
    late = begin(duty.phone, photo(), captured_at=captured)
    assert late.status_code == 201
    assert part(duty.phone, late.headers["Location"], photo(), 0).status_code == 204
    earlier = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
    refused = begin(duty.phone, photo(), captured_at=earlier)
    assert (refused.status_code, refused.json["code"]) == (422, "off_shift")
    idle = signed_in(world.officer())
    assert begin(idle, photo()).json["code"] == "off_shift"
    told = [begin(caller, photo()).status_code for _ in range(130)]
    assert told[0] == 401
    assert told[-1] == 429


@pytest.mark.parametrize("minutes", [-120, -16])
def test_who_is_on_shift_brings_no_photo_from_before_it(duty: Beat, minutes: int) -> None:
    """P21: what was taken in one's own time stays out, whenever it is sent; a clock may be off by some minutes."""
    now = datetime.now(UTC)
    refused = begin(duty.phone, photo(), captured_at=(now + timedelta(minutes=minutes)).isoformat())
    assert (refused.status_code, refused.json["code"]) == (422, "off_shift")
    near = now + timedelta(minutes=-14)
    assert begin(duty.phone, photo(), captured_at=near.isoformat()).status_code == 201


def test_an_announcement_that_comes_again_begins_nothing_new_and_an_id_is_its_owners(
    world: World, duty: Beat, signed_in: Any
) -> None:
    data = photo()
    photo_id, header = metadata(data)
    sent = {**TUS, "Upload-Metadata": header, "Upload-Length": str(len(data))}
    first = duty.phone.send("POST", UPLOADS, headers=sent)
    where = first.headers["Location"]
    part(duty.phone, where, data[:50], 0)
    again = duty.phone.send("POST", UPLOADS, headers=sent)
    assert (again.status_code, again.headers["Location"]) == (201, where)
    assert offset(duty.phone, where) == 50, "what has arrived stays"
    mate = Beat(world, signed_in)
    stolen = mate.phone.send("POST", UPLOADS, headers=sent)
    assert (stolen.status_code, stolen.json["code"]) == (409, "id_taken")
    assert stolen.headers["Upload-Offset"] == "0", "none of his own is here"
    assert mate.phone.send("HEAD", where, headers=TUS).status_code == 404
    assert part(mate.phone, where, data[50:], 50).status_code == 404
    other = begin(duty.phone, photo(seed=2), id=str(photo_id))
    assert (other.status_code, other.json["code"]) == (409, "id_taken")


# --- Parts that are refused


def test_a_part_belongs_where_the_upload_ends(world: World, duty: Beat) -> None:
    """F29: the wrong offset, and two at once; the right offset is told and nothing is mixed."""
    data = photo()
    where = begin(duty.phone, data).headers["Location"]
    assert part(duty.phone, where, data[:100], 0).status_code == 204
    for at in (0, 99, 101, len(data)):
        wrong = part(duty.phone, where, data[100:200], at)
        assert (wrong.status_code, wrong.json["code"]) == (409, "wrong_offset")
        assert wrong.headers["Upload-Offset"] == "100"
    with world.app.extensions["xungeng.spool"].opened(UUID(where.rpartition("/")[2])):
        busy = part(duty.phone, where, data[100:], 100)
        assert (busy.status_code, busy.json["code"]) == (423, "upload_locked")
        assert duty.phone.send("HEAD", where, headers=TUS).status_code == 423
    assert part(duty.phone, where, data[100:], 100, Content_Type="image/jpeg").status_code == 415
    assert part(duty.phone, where, data[100:], 100, Upload_Offset="").status_code == 400
    long = part(duty.phone, where, data[100:] + b"x", 100)
    assert (long.status_code, long.json["code"]) == (413, "too_large")
    assert offset(duty.phone, where) == 100
    assert part(duty.phone, where, data[100:], 100).status_code == 204


def test_a_body_that_breaks_off_leaves_what_arrived(duty: Beat) -> None:
    """F28: the offset is honest, and the upload goes on from there; with a checksum nothing of it stays."""
    data = photo()
    where = begin(duty.phone, data).headers["Location"]
    cut = {"CONTENT_LENGTH": str(len(data))}

    def break_off(at: int, sent: bytes, **headers: str) -> Any:
        told = {**TUS, "Upload-Offset": str(at), "Content-Type": OFFSET_TYPE, **headers}
        return duty.phone.send(
            "PATCH", where, input_stream=io.BytesIO(sent), headers=told, environ_overrides=cut | {
                "CONTENT_LENGTH": str(len(data) - at)},
        )  # fmt: skip

    broken = break_off(0, data[:777])
    assert (broken.status_code, broken.json["code"]) == (400, "broken_off")
    assert offset(duty.phone, where) == 777
    checked = break_off(777, data[777:900], **{"Upload-Checksum": checksum(data[777:])})
    assert checked.status_code == 400
    assert offset(duty.phone, where) == 777
    assert part(duty.phone, where, data[777:], 777).status_code == 204


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_part_that_was_damaged_on_the_way_is_not_kept(duty: Beat, algorithm: str) -> None:
    """F30: a bit is flipped in transit; 460, nothing of it stays, and the same part sent well is taken."""
    data = photo()
    where = begin(duty.phone, data).headers["Location"]
    damaged = bytes([data[0] ^ 1]) + data[1:]
    bad = part(duty.phone, where, damaged, 0, Upload_Checksum=checksum(data, algorithm))
    assert (bad.status_code, bad.json["code"]) == (460, "checksum_mismatch")
    assert offset(duty.phone, where) == 0
    for unknown in ("md5 AAAA", "sha1", "sha1 ***", f"{algorithm} AAAA"):
        refused = part(duty.phone, where, data, 0, Upload_Checksum=unknown)
        assert (refused.status_code, refused.json["code"]) == (400, "checksum_unreadable")
    assert part(duty.phone, where, data, 0, Upload_Checksum=checksum(data, algorithm)).status_code == 204


@pytest.mark.parametrize("checked", [False, True], ids=["plain", "checked"])
@pytest.mark.parametrize("lacks", ["pwrite", "fsync"])
def test_a_disk_that_fills_up_is_said_to_be_full_and_the_upload_goes_on_later(
    duty: Beat, monkeypatch: pytest.MonkeyPatch, lacks: str, checked: bool
) -> None:
    data = photo()
    where = begin(duty.phone, data).headers["Location"]
    assert part(duty.phone, where, data[:100], 0).status_code == 204
    told = {"Upload_Checksum": checksum(data[100:])} if checked else {}

    def no_room(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(f"backend.adapters.storage.os.{lacks}", no_room)
        full = part(duty.phone, where, data[100:], 100, **told)
        assert (full.status_code, full.json["code"]) == (507, "storage_full")
    at = offset(duty.phone, where)
    assert at in ((100,) if checked or lacks == "pwrite" else (100, len(data)))
    if at < len(data):
        assert part(duty.phone, where, data[100:], 100, **told).status_code == 204
    assert offset(duty.phone, where) == len(data)


def test_what_is_complete_never_changes(world: World, duty: Beat) -> None:
    """F31: the whole again, one byte more, and an empty part: 409 with the offset, and the same bytes as before."""
    data = photo(seed=31)
    photo_id = sealed(world, duty.phone, data)
    where = f"{UPLOADS}/{photo_id}"
    for at, sent in ((0, data), (len(data), b"x"), (len(data), b"")):
        refused = part(duty.phone, where, sent, at)
        assert (refused.status_code, refused.json["code"]) == (409, "upload_complete")
        assert refused.headers["Upload-Offset"] == str(len(data))
    assert offset(duty.phone, where) == len(data)
    assert duty.phone.get(f"{OWN}/{photo_id}/content").data == data


# --- What it is


@pytest.mark.parametrize(
    "data",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        b"<!doctype html><script>alert(1)</script>",
        b"GIF89a" + bytes(40),
        b"PK\x03\x04" + bytes(40),
    ],
    ids=["svg", "xxe", "html", "gif", "zip"],
)
def test_what_is_no_photo_by_its_first_bytes_is_rejected(world: World, duty: Beat, data: bytes) -> None:
    """F62: whatever it is called and said to be; nothing of it is kept."""
    begun = begin(duty.phone, data, filename="photo.jpg", filetype="image/jpeg")
    where = begun.headers["Location"]
    refused = part(duty.phone, where, data, 0)
    assert (refused.status_code, refused.json["code"], refused.json["fault"]) == (
        422, "rejected", "not_an_image",
    )  # fmt: skip
    assert duty.phone.send("HEAD", where, headers=TUS).status_code == 410
    assert part(duty.phone, where, data, 0).status_code == 410
    for body in ({}, {"data": data}):
        again = duty.phone.send("POST", UPLOADS, headers=announced(begun.photo_id, data), **body)
        assert (again.status_code, again.json["code"], again.json["fault"]) == (410, "gone", "not_an_image")
    assert duty.phone.get(f"{OWN}/{begun.photo_id}").json["reason"] == "not_an_image"
    assert not stored(world, data)
    assert [entry.action for entry in chain(world, begun.photo_id)] == ["created", "received", "rejected"]


def test_what_is_not_what_was_declared_at_capture_is_rejected(world: World, duty: Beat) -> None:
    data = photo(seed=5)
    begun = begin(duty.phone, data, sha256=hashlib.sha256(data + b"x").hexdigest())
    refused = part(duty.phone, begun.headers["Location"], data, 0)
    assert (refused.json["code"], refused.json["fault"]) == ("rejected", "hash_differs")
    assert duty.phone.get(f"{OWN}/{begun.photo_id}/content").status_code == 409


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (bomb(), "too_many_pixels"),
        (photo()[:2000], "not_an_image"),
        (b"\xff\xd8\xff" + bytes(5000), "not_an_image"),
        (photo(kind="PNG")[:-200], "not_an_image"),
    ],
    ids=["bomb", "cut", "empty", "cut png"],
)
def test_what_the_decoder_finds_no_photo_in_is_rejected_and_thrown_away(
    world: World, duty: Beat, data: bytes, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F65: an 81 megapixel PNG of ten kilobytes, and files that only begin like one."""
    photo_id = sealed(world, duty.phone, data)
    found = duty.phone.get(f"{OWN}/{photo_id}").json
    assert (found["state"], found["reason"]) == ("rejected", fault)
    worker.use(world.config)
    worker.tidy_evidence(0)
    assert stored(world, data), "not at once: somebody else may just bring the same bytes"
    monkeypatch.setattr(evidence, "DROPPED_AFTER", timedelta(0))
    worker.tidy_evidence(0)
    assert not stored(world, data)
    assert chain(world, photo_id)[-1].digests["sha256"] == hashlib.sha256(data).hexdigest()


def test_two_photos_of_the_same_bytes_are_two_and_one_file(world: World, duty: Beat) -> None:
    data = photo(seed=77)
    first, second = sealed(world, duty.phone, data), sealed(world, duty.phone, data)
    assert first != second
    for one in (first, second):
        assert duty.phone.get(f"{OWN}/{one}/content").data == data


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_other_kinds_of_photo_are_sealed_too(world: World, duty: Beat, kind: str) -> None:
    photo_id = sealed(world, duty.phone, photo(kind=kind, seed=9))
    assert duty.phone.get(f"{OWN}/{photo_id}").json["state"] == "sealed"
    assert duty.phone.get(f"{OWN}/{photo_id}/preview").mimetype == "image/jpeg"


# --- Given out


def test_the_original_is_a_file_and_the_preview_is_pixels_alone(world: World, duty: Beat) -> None:
    """F50, F67, F68: a polyglot is a download and not shown in place; place, maker and what is appended stay in it."""
    data = placed_photo() + b"PK\x05\x06" + b"SECRET-ZIP" + bytes(12)
    photo_id = sealed(world, duty.phone, data)
    assert report(duty, photo_id).status_code == 201
    original, preview = (duty.desk.get(f"{DESK}/{photo_id}/{what}") for what in ("content", "preview"))
    assert original.data == data
    assert original.mimetype == "application/octet-stream"
    for answer, name in ((original, f"photo-{photo_id}.jpg"), (preview, f"preview-{photo_id}.jpg")):
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    for secret in (b"SECRET", b"PK\x05\x06", b"Exif"):
        assert secret not in preview.data
    with Image.open(io.BytesIO(preview.data)) as shown:
        assert shown.size == (240, 320), "upright"
        assert dict(shown.getexif()) == {}
    viewed = [entry for entry in chain(world, photo_id) if entry.action == "viewed"]
    assert [set(entry.digests) - {"v"} for entry in viewed] == [{"sha256"}, {"preview_sha256"}]


@pytest.mark.parametrize(
    "name",
    ["../../../etc/passwd", "a\x00b.jpg", "\u202egpj.exe", "照" * 300, 'x"; filename="evil.html', "CON"],
)
def test_no_name_that_a_phone_gives_names_a_file_here(world: World, duty: Beat, name: str) -> None:
    """F63: files lie under their digests, whatever they are called; files outside the store: 0."""
    before = {path for path in world.config.data_dir.rglob("*") if "evidence" not in path.parts}
    photo_id = sealed(world, duty.phone, filename=name)
    assert duty.phone.get(f"{OWN}/{photo_id}/content").headers["Content-Disposition"] == (
        f'attachment; filename="photo-{photo_id}.jpg"'
    )
    assert {path for path in world.config.data_dir.rglob("*") if "evidence" not in path.parts} == before


def test_the_desk_sees_what_its_reports_show_and_others_do_not(
    world: World, duty: Beat, signed_in: Any
) -> None:
    """F41, F50: not before it is reported, not elsewhere, not without the session; and each look is written down."""
    photo_id, late = sealed(world, duty.phone), uuid.uuid4()
    for path in (f"{DESK}/{photo_id}", f"{DESK}/{photo_id}/content", f"{DESK}/{photo_id}/preview"):
        assert duty.desk.get(path).status_code == 404, "no report shows it yet"
    filed = report(duty, photo_id, late).json
    listed = duty.desk.get(f"/api/v1/desk/reports/{filed['id']}/evidence").json["items"]
    assert [(one["of"], one["id"], (one["evidence"] or {}).get("state")) for one in listed] == [
        ("after", str(photo_id), "sealed"), ("after", str(late), None),
    ]  # fmt: skip
    assert listed[0]["evidence"]["officer_id"] == str(duty.person.id)
    seen = len(chain(world, photo_id))
    assert duty.desk.get(f"{DESK}/{photo_id}/preview").status_code == 200
    assert [entry.action for entry in chain(world, photo_id)[seen:]] == ["viewed"]
    for stranger in ("desk_b", "admin", "auditor", "officer_a2"):
        for path in (f"{DESK}/{photo_id}/content", f"{OWN}/{photo_id}/content"):
            assert signed_in(stranger).get(path).status_code in (403, 404), stranger
    assert len(chain(world, photo_id)) == seen + 1, "a look that was refused is none"
    # Who looked is read by who oversees, in pages; reading it is no look at the photo.
    log = f"{DESK}/{photo_id}/custody"
    for overseer in ("supervisor_a", "auditor"):
        first = signed_in(overseer).get(log, limit=2)
        assert first.status_code == 200, first.text
        rest = signed_in(overseer).get(log, cursor=first.json["next"]).json["items"]
        told = [(one["seq"], one["action"], one["of"]) for one in [*first.json["items"], *rest]]
        assert told[0] == (seen + 1, "viewed", "preview")
        assert [seq for seq, _, _ in told] == list(range(seen + 1, 0, -1))
    assert first.json["items"][0]["actor"]["id"] == str(world.here["desk_a"].id)
    assert len(chain(world, photo_id)) == seen + 1
    for stranger in ("desk_a", "admin", "officer_a"):
        assert signed_in(stranger).get(log).status_code == 403, stranger
    assert signed_in("auditor").get(f"{DESK}/{late}/custody").status_code == 404
    once = signed_in("desk_a")
    assert once.post("/api/v1/auth/logout").status_code == 204
    assert once.get(f"{DESK}/{photo_id}/content").status_code == 401


def test_who_is_officer_and_dispatcher_sees_as_an_officer_his_own_photos_alone(
    world: World, duty: Beat, signed_in: Any
) -> None:
    """F41: each tree has its door. What his desk may see, he sees at his desk; the officers' address has one's own."""
    both = world.officer()
    with world.owner.begin() as connection:
        connection.execute(
            text(
                "insert into memberships (id, town_id, user_id, role, area_id, granted_at)"
                " values (gen_random_uuid(), :town, :user, 'dispatcher', :area, now())"
            ),
            {"town": world.here.id, "user": both.id, "area": world.here.areas["a"]},
        )
    caller = signed_in(both)
    start(caller)
    photo_id, own = sealed(world, duty.phone), sealed(world, caller)
    assert report(duty, photo_id).status_code == 201
    before = len(chain(world, photo_id))
    for what in ("", "/content", "/preview"):
        assert caller.get(f"{OWN}/{photo_id}{what}").status_code == 404, what
        assert caller.get(f"{OWN}/{own}{what}").status_code == 200, what
    assert len(chain(world, photo_id)) == before
    for what in ("", "/content", "/preview"):
        assert caller.get(f"{DESK}/{photo_id}{what}").status_code == 200, what


def test_a_task_shows_what_was_taken_by_whoever_resolved_it(world: World, duty: Beat, signed_in: Any) -> None:
    duty.be_at(duty.place[0], duty.place[1])
    task = duty.offered()
    photo_id, theirs = sealed(world, duty.phone), sealed(world, Beat(world, signed_in).phone)
    for action in ("accept", "arrive"):
        assert duty.press(task, action).status_code == 200
    result = {"text": "已劝离", "answers": {"found": True}}
    stolen = duty.press(task, "resolve", evidence_ids=[str(theirs)], **result)
    assert (stolen.status_code, stolen.json["code"]) == (422, "not_your_evidence")
    assert list(stolen.json["errors"]) == ["evidence_ids"]
    assert duty.press(task, "resolve", evidence_ids=[str(photo_id)], **result).status_code == 200
    [one] = duty.desk.get(f"/api/v1/desk/tasks/{task['id']}/evidence").json["items"]
    assert (one["of"], one["evidence"]["id"]) == ("result", str(photo_id))
    assert duty.desk.get(f"{DESK}/{photo_id}/content").status_code == 200

    # Given back, and resolved with another one: what the desk has seen of it goes on being seen.
    def shown() -> list[str]:
        listed = duty.desk.get(f"/api/v1/desk/tasks/{task['id']}/evidence").json["items"]
        return [one["evidence"]["id"] for one in listed]

    again = duty.desk.post(f"/api/v1/desk/tasks/{task['id']}/rework", {"reason": "再看一次"})
    assert again.status_code == 200, again.text
    assert shown() == [str(photo_id)]
    second = sealed(world, duty.phone, photo(seed=97))
    for action in ("depart", "arrive"):
        duty.press(task, action)
    assert duty.press(task, "resolve", evidence_ids=[str(second)], **result).status_code == 200
    assert shown() == [str(photo_id), str(second)]
    for one in (photo_id, second):
        assert duty.desk.get(f"{DESK}/{one}/content").status_code == 200


def test_which_photos_a_result_names_its_mates_are_not_told(world: World, duty: Beat, signed_in: Any) -> None:
    """Another's id, whose photo is still on its phone, is nothing to begin an upload with."""
    mate = Beat(world, signed_in)
    both = {"officer_ids": [str(duty.person.id), str(mate.person.id)]}
    task = duty.task(offer=both, needed=2)
    for one in (duty, mate):
        one.be_at(duty.place[0], duty.place[1])
        for action in ("accept", "arrive"):
            assert one.press(task, action).status_code == 200
    result = {"text": "已劝离", "answers": {"found": True}, "evidence_ids": [str(uuid.uuid4())]}
    assert duty.press(task, "resolve", **result).status_code == 200
    mine, theirs = (
        one.phone.get(f"/api/v1/officer/tasks/{task['id']}").json["result"] for one in (duty, mate)
    )
    assert (mine["text"], mine["evidence_ids"]) == ("已劝离", result["evidence_ids"])
    assert (theirs["text"], theirs["evidence_ids"]) == ("已劝离", [])


def test_of_a_photo_the_desks_hear_where_it_is_shown_and_until_then_its_officer_alone(
    world: World, duty: Beat, signed_in: Any
) -> None:
    """F41: not even an id, before a report of its own officer names it."""
    mate = Beat(world, signed_in)
    data = photo(seed=41)
    photo_id, header = metadata(data)
    assert report(mate, photo_id).status_code == 201, "named by another, before it came"
    sent = {
        **TUS, "Upload-Metadata": header, "Upload-Length": str(len(data)), "Content-Type": OFFSET_TYPE,
    }  # fmt: skip
    assert duty.phone.send("POST", UPLOADS, data=data, headers=sent).status_code == 201

    def hearers() -> list[recipients.Hearers]:
        with unit_of_work(world.here.id) as uow:
            return recipients.hear_of_evidence(uow, access.evidence(uow, system_actor(uow.town), photo_id))

    himself = recipients.Hearers(None, (duty.person.id,))
    assert hearers() == [himself]
    filed = report(duty, photo_id).json
    with world.owner.connect() as connection:
        area_id = connection.scalar(text("select area_id from reports where id = :id"), {"id": filed["id"]})
    assert hearers() == [himself, recipients.Hearers(area_id)]


def test_nobody_shows_the_desk_another_officers_photo_by_naming_it(
    world: World, duty: Beat, signed_in: Any
) -> None:
    """Named before it came, it is refused to nobody, and shown to nobody by that name."""
    mate = Beat(world, signed_in)
    theirs = sealed(world, mate.phone)
    refused = report(duty, theirs)
    assert (refused.status_code, refused.json["code"]) == (422, "not_your_evidence")
    data = photo(seed=8)
    photo_id, header = metadata(data)
    filed = report(duty, photo_id)
    assert filed.status_code == 201
    sent = {
        **TUS, "Upload-Metadata": header, "Upload-Length": str(len(data)), "Content-Type": OFFSET_TYPE,
    }  # fmt: skip
    assert mate.phone.send("POST", UPLOADS, data=data, headers=sent).status_code == 201
    examined(world, photo_id)
    assert duty.desk.get(f"{DESK}/{photo_id}").status_code == 404
    [shown] = duty.desk.get(f"/api/v1/desk/reports/{filed.json['id']}/evidence").json["items"]
    assert shown["evidence"] is None


def test_a_file_that_is_gone_is_not_given_out_and_no_look_is_written(world: World, duty: Beat) -> None:
    data = photo(seed=404)
    photo_id = sealed(world, duty.phone, data)
    before = len(chain(world, photo_id))
    world.app.extensions["xungeng.store"].drop(world.here.id, hashlib.sha256(data).digest())
    missing = duty.phone.get(f"{OWN}/{photo_id}/content")
    assert (missing.status_code, missing.json["code"]) == (410, "content_missing")
    assert len(chain(world, photo_id)) == before


# --- Time


def test_an_upload_that_never_ends_is_over_after_its_time(
    world: World, duty: Beat, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = begin(duty.phone, photo()).headers["Location"]
    photo_id = UUID(where.rpartition("/")[2])
    with world.owner.begin() as connection:
        connection.execute(
            text("update evidence set expires_at = now() - interval '1 minute' where id = :id"),
            {"id": photo_id},
        )
    assert duty.phone.send("HEAD", where, headers=TUS).status_code == 410
    over = duty.phone.send("POST", UPLOADS, headers=announced(photo_id, photo()))
    assert (over.status_code, over.json["fault"]) == (410, "expired")
    worker.use(world.config)
    monkeypatch.setattr(worker, "SPOOLED_FOR_S", -1.0)
    kept = UUID(begin(duty.phone, photo()).headers["Location"].rpartition("/")[2])
    worker.tidy_evidence(0)
    assert duty.phone.get(f"{OWN}/{photo_id}").json["reason"] == "expired"
    spool = world.app.extensions["xungeng.spool"]
    assert (spool.path(photo_id).exists(), spool.path(kept).exists()) == (False, True)


def test_each_town_is_asked_once_what_the_spool_needs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files there are: a queue of forgotten ones keeps no worker for long."""
    worker.use(world.config)
    spool, asked = world.app.extensions["xungeng.spool"], list[UUID]()
    forgotten = [new_id() for _ in range(5)]
    for one in forgotten:
        spool.make(one)
    really = evidence.spooled

    def spooled(uow: UnitOfWork, evidence_ids: Any) -> set[UUID]:
        asked.append(uow.town)
        return really(uow, evidence_ids)

    monkeypatch.setattr(worker, "SPOOLED_FOR_S", -1.0)
    monkeypatch.setattr(worker.evidence, "spooled", spooled)
    worker.tidy_evidence(0)
    assert sorted(asked) == sorted({world.here.id, world.there.id})
    assert not any(spool.path(one).exists() for one in forgotten)


def test_what_nobody_has_looked_at_is_looked_at_again(world: World, duty: Beat) -> None:
    photo_id = brought(duty.phone, photo(seed=12))
    with unit_of_work(world.here.id) as uow:
        uow.session.execute(text("set local search_path = jobs, public"))
        uow.session.execute(text("delete from jobs.procrastinate_jobs where task_name = 'evidence.examine'"))
        assert evidence.look_again(uow, after=timedelta(0)) >= 1
        waiting = uow.session.execute(
            text(
                "select args ->> 'evidence_id' from jobs.procrastinate_jobs where task_name = 'evidence.examine'"
            )
        ).scalars()
        assert str(photo_id) in set(waiting)


def test_a_look_that_says_nothing_of_a_photo_leaves_it_as_it_is_and_is_taken_again_soon(
    world: World, duty: Beat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine destroys nobody's photo: its bytes stay, and a later look seals it."""
    data = photo(seed=120)
    photo_id = brought(duty.phone, data)
    with monkeypatch.context() as busy:
        busy.setattr(worker.pictures, "look", _too_slow)
        with pytest.raises(RuntimeError):
            examined(world, photo_id)
    assert duty.phone.get(f"{OWN}/{photo_id}").json["state"] == "received"
    examined(world, photo_id)
    assert duty.phone.get(f"{OWN}/{photo_id}/content").data == data
    strategy: Any = worker.examine_evidence.retry_strategy
    assert (60 <= strategy.wait <= 120, strategy.linear_wait, strategy.exponential_wait) == (True, 0, 0)


def _too_slow(*_: Any, **__: Any) -> Any:
    raise RuntimeError("The process that looks at pictures took too long.")


def test_a_part_takes_no_more_memory_however_long_it_is(
    world: World, duty: Beat, thin: Callable[[int, int], int]
) -> None:
    """Constant for each upload: what is held at once is one piece, whatever is sent."""
    import tracemalloc

    size = thin(30, 12) * 1024 * 1024
    data = b"\xff\xd8\xff" + bytes(size - 3)
    where = begin(duty.phone, data).headers["Location"]
    stream = io.BytesIO(data)
    tracemalloc.start()
    sent = {**TUS, "Upload-Offset": "0", "Content-Type": OFFSET_TYPE}
    answer = duty.phone.send(
        "PATCH", where, input_stream=stream, headers=sent, environ_overrides={"CONTENT_LENGTH": str(size)}
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status_code == 204
    assert peak < 4 * 1024 * 1024, f"{peak} bytes for an upload of {size}"
