"""Recordings played in place: ranges of RFC 9110, by a link for one piece, one session and some minutes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from backend.core import clock
from tests import recordings as made
from tests.api.conftest import Caller, World
from tests.api.test_uploads import DESK, Beat, brought, chain, duty, examined, report, sealed

__all__ = ["duty"]


@pytest.fixture
def film(world: World, duty: Beat) -> tuple[UUID, bytes]:
    """A sealed film that a report shows to the desk."""
    data = made.video()
    item = brought(duty.phone, data, filetype="video/mp4", filename="现场.mp4")
    examined(world, item)
    assert report(duty, item).status_code == 201
    return item, data


def link(desk: Caller, item: UUID) -> str:
    answer = desk.get(f"{DESK}/{item}/playing")
    assert answer.status_code == 200, answer.text
    return str(answer.json["url"])


def play(world: World, url: str, method: str = "GET", **headers: str) -> Any:
    """What a player asks: without a token of its own."""
    return Caller(world.app).send(
        method, url, headers={name.replace("_", "-"): v for name, v in headers.items()}
    )


def test_a_player_gets_the_whole_or_the_range_that_it_asks_for(
    world: World, duty: Beat, film: tuple[UUID, bytes]
) -> None:
    item, data = film
    url, length = link(duty.desk, item), len(data)
    whole = play(world, url)
    assert (whole.status_code, whole.data, whole.mimetype) == (200, data, "video/mp4")
    assert (whole.headers["Accept-Ranges"], whole.headers["Content-Length"]) == ("bytes", str(length))
    assert whole.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert whole.headers["Cache-Control"] == "private, no-store"
    etag = whole.headers["ETag"]
    for asked, first, last in (
        ("bytes=0-0", 0, 0), ("bytes=10-19", 10, 19), (f"bytes={length - 1}-", length - 1, length - 1),
        ("bytes=-5", length - 5, length - 1), (f"bytes=10-{length * 9}", 10, length - 1),
        (f"bytes=-{length - 1}", 1, length - 1),
    ):  # fmt: skip
        part = play(world, url, Range=asked)
        assert (part.status_code, part.data) == (206, data[first : last + 1]), asked
        assert part.headers["Content-Range"] == f"bytes {first}-{last}/{length}"
        assert part.headers["Content-Length"] == str(last - first + 1)
        assert play(world, url, Range=asked, If_Range=etag).status_code == 206
        stale = play(world, url, Range=asked, If_Range='"another"')
        assert (stale.status_code, stale.data) == (200, data), "the file changed: all of it"
        weak = play(world, url, Range=asked, If_Range="Tue, 01 Dec 2026 00:00:00 GMT")
        assert weak.status_code == 200
    for beyond in (f"bytes={length}-", f"bytes={length + 5}-{length + 9}"):
        refused = play(world, url, Range=beyond)
        assert (refused.status_code, refused.json["code"]) == (416, "range_not_satisfiable")
        assert refused.headers["Content-Range"] == f"bytes */{length}"
    # What cannot be read, another unit or several ranges ask for the whole (RFC 9110, 14.2).
    for other in ("bytes=abc", "bytes=9-2", "lines=1-2", "bytes=0-1,5-6", "bytes="):
        assert play(world, url, Range=other).status_code == 200, other
    head = play(world, url, "HEAD", Range="bytes=10-19")
    assert (head.data, head.headers["Accept-Ranges"]) == (b"", "bytes")


def test_a_viewing_is_one_entry_of_the_custody_log_however_often_the_player_asks(
    world: World, duty: Beat, film: tuple[UUID, bytes]
) -> None:
    item, _ = film
    before = len(chain(world, item))
    url = link(duty.desk, item)
    for first in range(0, 500, 100):
        assert play(world, url, Range=f"bytes={first}-{first + 99}").status_code == 206
    added = chain(world, item)[before:]
    assert [entry.action for entry in added] == ["viewed"]


def test_a_link_is_for_one_piece_one_session_and_some_minutes(
    world: World, duty: Beat, film: tuple[UUID, bytes], signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F50: for another piece, after its time, after the session: refused; the link opens nothing else."""
    item, _ = film
    supervisor = signed_in("supervisor")
    url = link(supervisor, item)
    assert play(world, url).status_code == 200
    path, _, token = url.partition("?t=")
    other = str(sealed(world, duty.phone))
    for wrong in (
        f"{path}?t={token[:-2]}xx", f"{path.replace(str(item), other)}?t={token}", path, f"{path}?t=",
        f"{path}?t={supervisor.tokens['access_token']}",
    ):  # fmt: skip
        assert play(world, wrong).status_code in (401, 422), wrong
    # The link is no token for anything else.
    assert (
        Caller(world.app)
        .send("GET", f"{DESK}/{item}", headers={"Authorization": f"Bearer {token}"})
        .status_code
        == 401
    )
    later = clock.now() + timedelta(seconds=601)
    with monkeypatch.context() as patched:
        patched.setattr(clock, "now", lambda: later)
        assert play(world, url).status_code == 401
    assert supervisor.post("/api/v1/auth/logout").status_code in (200, 204)
    assert play(world, url).status_code == 401, "the session is over"


def test_what_is_no_recording_or_not_his_is_not_played(
    world: World, duty: Beat, film: tuple[UUID, bytes], signed_in: Any
) -> None:
    item, _ = film
    photo = sealed(world, duty.phone)
    assert report(duty, photo).status_code == 201
    refused = duty.desk.get(f"{DESK}/{photo}/playing")
    assert (refused.status_code, refused.json["code"]) == (409, "not_playable")
    assert signed_in("desk_b").get(f"{DESK}/{item}/playing").status_code == 404
    assert signed_in("auditor").get(f"{DESK}/{item}/playing").status_code == 403
    unseen = chain(world, item)
    assert [entry.action for entry in unseen][-1] != "viewed"
