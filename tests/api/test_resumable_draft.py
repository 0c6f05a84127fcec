"""The same uploads in the words of the IETF's draft, as tus-js-client says them: interop versions 5 and 6."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.api.test_uploads import OWN, Beat, duty
from tests.photos import UPLOADS, metadata, photo

__all__ = ["duty"]


def ask(duty: Beat, version: int, method: str, path: str, data: bytes | None = None, **headers: str) -> Any:
    """A request as the client makes it: version 6 names the type of a part, version 5 has none."""
    told = {"Upload-Draft-Interop-Version": str(version)}
    if data is not None:
        told["Content-Type"] = "application/partial-upload" if version == 6 else "image/jpeg"
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    return duty.phone.send(method, path, data=data, headers=told)


def state(duty: Beat, photo_id: UUID) -> str:
    return str(duty.phone.get(f"{OWN}/{photo_id}").json["state"])


@pytest.mark.parametrize("version", [5, 6])
def test_a_photo_comes_in_parts_in_the_words_of_the_draft(duty: Beat, version: int) -> None:
    """F01, F29, F31: begun, brought, looked after, refused with the offset where it does not fit, and complete."""
    data = photo()
    photo_id, header = metadata(data)
    begun = ask(
        duty, version, "POST", UPLOADS,
        Upload_Metadata=header, Upload_Length=str(len(data)), Upload_Complete="?0",
    )  # fmt: skip
    assert (begun.status_code, begun.headers["Upload-Complete"]) == (201, "?0")
    assert "Tus-Resumable" not in begun.headers
    where = begun.headers["Location"]
    first = ask(duty, version, "PATCH", where, data[:500], Upload_Offset="0", Upload_Complete="?0")
    assert (first.status_code, first.headers["Upload-Offset"], first.headers["Upload-Complete"]) == (
        204, "500", "?0",
    )  # fmt: skip
    there = ask(duty, version, "HEAD", where)
    assert (there.headers["Upload-Offset"], there.headers["Upload-Complete"]) == ("500", "?0")
    assert "no-store" in there.headers["Cache-Control"]
    wrong = ask(duty, version, "PATCH", where, data[400:], Upload_Offset="400", Upload_Complete="?1")
    assert (wrong.status_code, wrong.headers["Upload-Offset"]) == (409, "500")
    unsaid = ask(duty, version, "PATCH", where, data[500:], Upload_Offset="500")
    assert unsaid.status_code == 400
    last = ask(duty, version, "PATCH", where, data[500:], Upload_Offset="500", Upload_Complete="?1")
    assert (last.status_code, last.headers["Upload-Offset"], last.headers["Upload-Complete"]) == (
        204, str(len(data)), "?1",
    )  # fmt: skip
    assert state(duty, photo_id) == "received"
    assert ask(duty, version, "HEAD", where).headers["Upload-Complete"] == "?1"
    more = ask(duty, version, "PATCH", where, b"x", Upload_Offset=str(len(data)), Upload_Complete="?1")
    assert (more.status_code, more.json["code"]) == (409, "upload_complete")


def test_a_length_need_not_be_said_where_the_last_bytes_say_it(duty: Beat) -> None:
    """The draft's own way: with the announcement, or by the part that is the last one; chunked bodies too."""
    data = photo()
    photo_id, header = metadata(data)
    whole = ask(duty, 6, "POST", UPLOADS, data, Upload_Metadata=header, Upload_Complete="?1")
    assert (whole.status_code, whole.headers["Upload-Complete"]) == (201, "?1")
    assert state(duty, photo_id) == "received"

    photo_id, header = metadata(data)
    where = ask(duty, 6, "POST", UPLOADS, Upload_Metadata=header, Upload_Complete="?0").headers["Location"]
    assert ask(duty, 6, "PATCH", where, data[:9], Upload_Offset="0", Upload_Complete="?0").status_code == 204
    last = ask(duty, 6, "PATCH", where, data[9:], Upload_Offset="9", Upload_Complete="?1")
    assert (last.status_code, state(duty, photo_id)) == (204, "received")


def test_the_last_part_is_no_shorter_than_what_was_declared(duty: Beat) -> None:
    """F28: what arrived is kept, and it is not complete; another type, and another version, are refused."""
    data = photo()
    photo_id, header = metadata(data)
    told = {"Upload_Metadata": header, "Upload_Length": str(len(data)), "Upload_Complete": "?0"}
    where = ask(duty, 6, "POST", UPLOADS, **told).headers["Location"]
    short = ask(duty, 6, "PATCH", where, data[:-1], Upload_Offset="0", Upload_Complete="?1")
    assert (short.status_code, state(duty, photo_id)) == (400, "uploading")
    at = {"Upload_Offset": str(len(data) - 1), "Upload_Complete": "?1"}
    assert ask(duty, 6, "PATCH", where, data[-1:], Content_Type="image/jpeg", **at).status_code == 415
    assert ask(duty, 7, "PATCH", where, data[-1:], **at).status_code == 412
    assert ask(duty, 6, "PATCH", where, data[-1:], **at).status_code == 204
    assert state(duty, photo_id) == "received"
