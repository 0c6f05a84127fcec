"""The live channel as its clients see it: who gets in, what he hears, how quickly he loses what he may not see."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import websocket
from sqlalchemy import text

from bench.servers import node_program, peer_packages
from notifications.channels.realtime import LivePosition, Publisher, row_of
from tests.api.conftest import Caller, World
from tests.api.live_client import (
    OTHER_ROOM,
    ROOM,
    Closed,
    DeskClient,
    LiveServer,
    free_port,
    live_server,
    token,
)
from tests.factories import Person

OFFICER = str(UUID(int=0x0F))
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with live_server() as running:
        yield running


@pytest.fixture
def desk(server: LiveServer) -> Iterator[Callable[..., DeskClient]]:
    """``desk(room, …)``: a client that may see these rooms."""
    made: list[DeskClient] = []

    def connect(*rooms: str, access: str | None = None, **more: Any) -> DeskClient:
        client = DeskClient(server.port, access if access is not None else token(*rooms), **more)
        made.append(client)
        return client

    yield connect
    for client in made:
        client.close()
    server.wait(sockets=0, viewers=0, members=0, namespace_members=0)


# --- Getting in


def test_a_client_is_let_in_and_told_the_time_and_its_session(desk: Callable[..., DeskClient]) -> None:
    session = str(uuid4())
    client = desk(access=token(ROOM, session=session))
    assert client.opening["upgrades"] == []
    assert client.answer.startswith('40/desk,{"sid":')
    name, data = client.event()
    assert name == "hello"
    assert data["session_id"] == session
    told = datetime.fromisoformat(data["server_time"])
    assert data["server_time"].endswith("Z")
    assert abs(datetime.now(UTC) - told) < timedelta(seconds=30)


@pytest.mark.parametrize(
    "auth", [{"token": "nonsense"}, {"token": ""}, {"token": 7}, {"token": None}, {}, [], "x", 3]
)
def test_without_a_good_token_nobody_gets_in(
    desk: Callable[..., DeskClient], server: LiveServer, auth: Any
) -> None:
    client = desk(access="", auth=auth)
    assert client.answer.startswith("44/desk,")
    refused = json.loads(client.answer[len("44/desk,") :])
    assert refused["message"] in ("invalid_token", "unauthenticated")
    assert refused["data"]["status"] == 401
    server.do("publish", positions=[{"room": ROOM, "officer": OFFICER}])
    assert client.silence(0.2) == []
    assert server.stats()["viewers"] == 0


def test_who_does_not_say_who_he_is_is_closed() -> None:
    with live_server({"LIVE_GREETING_S": "0.5"}) as server:
        mute = DeskClient(server.port, None)
        refused = DeskClient(server.port, "nonsense")
        welcome = DeskClient(server.port, token(ROOM))
        try:
            assert mute.closing(5) == 1008
            assert refused.closing(5) == 1008
            assert welcome.silence(1.0)[0][0] == "hello"
            assert server.stats()["sockets"] == 1
        finally:
            for client in (mute, refused, welcome):
                client.close()


@pytest.mark.parametrize(
    "packet", ['42/desk,["%s"]', '42/desk,["token",{"token":"%s"}]', "41/desk,%s", "43/desk,1[%s]"]
)
def test_a_stranger_is_not_listened_to(server: LiveServer, packet: str) -> None:
    """F48, F74: before a client has said who it is nothing else that it says is read, or written into a log."""
    stranger = DeskClient(server.port, None)
    try:
        for _ in range(6):
            with suppress(OSError, websocket.WebSocketException):
                stranger.ws.send(packet % ("1" * 16_300))
        assert stranger.closing() == 1008
    finally:
        stranger.close()
    known = DeskClient(server.port, token(ROOM))
    try:
        assert known.ask("1" * 16_000, 1) == {"error": "refused", "status": 403}
        assert known.ask("token", {"token": "x"})["status"] == 401
    finally:
        known.close()
    assert "11111111" not in server.log.read_text()


def test_one_address_has_so_many_sockets_before_it_says_who_it_is() -> None:
    """F48: known ones do not count, and those of another address behind the declared proxy have room of their own."""
    with live_server({"LIVE_STRANGERS": "5", "LIVE_HOPS": "1"}) as server:
        desks = [DeskClient(server.port, token(ROOM)) for _ in range(8)]
        strangers = [DeskClient(server.port, None) for _ in range(5)]
        try:
            with pytest.raises(websocket.WebSocketBadStatusException) as refused:
                DeskClient(server.port, None)
            assert refused.value.status_code == 429
            address = f"ws://127.0.0.1:{server.port}/socket.io/?EIO=4&transport=websocket"
            elsewhere = websocket.create_connection(
                address, suppress_origin=True, header={"X-Forwarded-For": "127.0.0.1, 203.0.113.9"}
            )
            assert elsewhere.recv().startswith("0{")
            elsewhere.close()
            strangers.pop().close()
            server.wait(strangers=4)
            desks.append(DeskClient(server.port, token(ROOM)))
            assert desks[-1].answer.startswith("40/desk,")
        finally:
            for client in (*desks, *strangers):
                client.close()
        server.wait(sockets=0, strangers=0)


def test_one_session_has_so_many_sockets(server: LiveServer) -> None:
    """F48: the twenty-first is told so, and gets in when another has left."""
    session = str(uuid4())
    open_ones = [DeskClient(server.port, token(ROOM, session=session)) for _ in range(20)]
    try:
        assert all(client.answer.startswith("40/desk,") for client in open_ones)
        refused = DeskClient(server.port, token(ROOM, session=session))
        assert json.loads(refused.answer[len("44/desk,") :])["data"]["status"] == 429
        refused.close()
        other = DeskClient(server.port, token(ROOM))
        open_ones.append(other)
        assert other.answer.startswith("40/desk,")
        open_ones.pop(0).close()
        server.wait(viewers=20)
        open_ones.append(DeskClient(server.port, token(ROOM, session=session)))
        assert open_ones[-1].answer.startswith("40/desk,")
    finally:
        for client in open_ones:
            client.close()
    server.wait(sockets=0)


@pytest.mark.parametrize("namespace", ["/", "/officers", "/admin", "/desk2", "/DESK"])
def test_no_other_namespace_can_be_entered(desk: Callable[..., DeskClient], namespace: str) -> None:
    """F48."""
    client = desk(ROOM, namespace=namespace if namespace != "/" else "")
    assert client.answer.startswith("44")


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("EIO=4&transport=polling", {}, 400),
        ("EIO=3&transport=websocket", {}, 400),
        ("EIO=4&transport=websocket&sid=abc", {}, 400),
        ("EIO=4&transport=websocket", {"Upgrade": ""}, 400),
        ("EIO=4&transport=websocket", {"Sec-WebSocket-Key": "short"}, 400),
        ("EIO=4&transport=websocket", {"Sec-WebSocket-Version": "8"}, 426),
        ("EIO=4&transport=websocket", {"Origin": "https://evil.example"}, 403),
        ("", {}, 400),
    ],
)
def test_anything_but_a_proper_handshake_is_refused(
    server: LiveServer, query: str, headers: dict[str, str], status: int
) -> None:
    asked = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", **headers,
    }  # fmt: skip
    request = f"GET /socket.io/?{query} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    request += "".join(f"{name}: {value}\r\n" for name, value in asked.items() if value) + "\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(request.encode())
        answer = ""
        while '"message"' not in answer and (more := client.recv(4096)):
            answer += more.decode()
    assert answer.startswith(f"HTTP/1.1 {status} "), answer


def test_the_same_origin_is_welcome(server: LiveServer) -> None:
    client = websocket.create_connection(
        f"ws://127.0.0.1:{server.port}/socket.io/?EIO=4&transport=websocket",
        origin=f"http://127.0.0.1:{server.port}",
    )
    assert client.recv().startswith("0{")
    client.close()


def test_a_connection_is_let_in_once(desk: Callable[..., DeskClient], server: LiveServer) -> None:
    """F48: a second CONNECT, however good its token, adds nothing to what the first one may see."""
    client = desk(ROOM)
    client.ws.send("40/desk," + json.dumps({"token": token(OTHER_ROOM)}))
    assert client.packet().startswith("42/desk,") or client.packet().startswith("44/desk,")
    server.do("publish", positions=[{"room": OTHER_ROOM, "officer": OFFICER}])
    assert [name for name, _ in client.silence(0.3)] in ([], ["hello"])
    assert server.stats()["members"] == 1


# --- What is heard


def test_positions_go_to_those_who_may_see_the_room(
    desk: Callable[..., DeskClient], server: LiveServer
) -> None:
    """F41, F48: the same officer is seen by one scope and not by the other."""
    here, there, both, none = desk(ROOM), desk(OTHER_ROOM), desk(ROOM, OTHER_ROOM), desk()
    officers = [str(UUID(int=number)) for number in range(1, 4)]
    server.do(
        "publish",
        positions=[
            {"room": ROOM, "officer": officers[0], "speed_mps": 1.234, "charging": True, "battery_pct": 77.0},
            {"room": OTHER_ROOM, "officer": officers[1]},
            {"room": str(UUID(int=0xCC)), "officer": officers[2]},
        ],
    )
    [row] = here.until("positions")
    assert row[0] == officers[0]
    assert row[1:3] == [116.4, 39.9]
    assert abs(row[3] - time.time()) < 30
    assert row[4:] == [None, 1.23, None, 77, None, True]
    assert [entry[0] for entry in there.until("positions")] == [officers[1]]
    assert sorted(entry[0] for entry in both.until("positions")) == officers[:2]
    assert [name for name, _ in none.silence(0.3)] == ["hello"]


def test_an_idle_room_hears_at_once_and_a_busy_one_the_newest_of_each(
    desk: Callable[..., DeskClient], server: LiveServer
) -> None:
    client = desk(ROOM)
    assert client.until("hello")
    started = time.monotonic()
    server.do("publish", positions=[{"room": ROOM, "officer": OFFICER}])
    assert client.until("positions")
    assert time.monotonic() - started < 0.5
    many = [{"room": ROOM, "officer": OFFICER, "speed_mps": float(number)} for number in range(500)]
    server.do("publish", positions=many)
    rows = client.until("positions")
    assert [row[5] for row in rows] == [499]


def test_what_happens_to_a_shift_is_told_to_its_room_alone(
    desk: Callable[..., DeskClient], server: LiveServer
) -> None:
    """F41."""
    here, there = desk(ROOM), desk(OTHER_ROOM)
    shift = str(uuid4())
    message = {"town_id": str(UUID(int=1)), "area_id": ROOM, "officer_id": OFFICER, "shift_id": shift}
    server.do("shift", message={**message, "action": "start", "version": 1})
    expected = {"kind": "shift", "action": "start", "officer_id": OFFICER, "shift_id": shift, "version": 1}
    assert here.until("officer") == expected
    assert [name for name, _ in there.silence(0.3)] == ["hello"]


def test_announcements_that_were_missed_are_caught_up_with(
    desk: Callable[..., DeskClient], server: LiveServer
) -> None:
    client = desk(ROOM)
    assert client.until("hello")
    server.do("missed", areas=[ROOM, OTHER_ROOM])
    assert client.until("officer")["action"] == "end"
    assert client.silence(0.2) == []


CHANGE = {"kind": "task", "id": str(UUID(int=7)), "version": 3, "action": "offer"}


def test_a_change_is_told_to_the_desks_of_its_area_and_to_the_phones_of_those_it_concerns(
    desk: Callable[..., DeskClient], server: LiveServer
) -> None:
    """F41, F48: nobody else hears of it, not even that there is something."""
    officer, resident, stranger = str(uuid4()), str(uuid4()), str(uuid4())
    here, there = desk(ROOM), desk(OTHER_ROOM)
    phone = desk(access=token(ROOM, user=officer), namespace="/officer")
    second = desk(access=token(user=officer), namespace="/officer")
    home = desk(access=token(user=resident), namespace="/resident")
    foreign = desk(access=token(ROOM, user=stranger), namespace="/officer")
    message = {"town_id": str(UUID(int=1)), "area_id": ROOM, "user_ids": [officer, resident], **CHANGE}
    server.do("change", message=message)
    for client in (here, phone, second, home):
        assert client.until("changed") == CHANGE
    for client in (there, foreign):
        assert [name for name, _ in client.silence(0.3)] == ["hello"]


def test_a_change_of_another_town_reaches_no_phone_of_this_one(
    desk: Callable[..., DeskClient], server: LiveServer
) -> None:
    """F41: also when it names a person who is here."""
    officer = str(uuid4())
    phone = desk(access=token(user=officer), namespace="/officer")
    server.do("change", message={"town_id": str(UUID(int=2)), "user_ids": [officer], **CHANGE})
    assert [name for name, _ in phone.silence(0.3)] == ["hello"]


def test_a_notice_is_told_to_its_person_on_every_screen_and_to_nobody_else(
    desk: Callable[..., DeskClient], server: LiveServer
) -> None:
    """F48."""
    person, other = str(uuid4()), str(uuid4())
    screen, phone = (
        desk(access=token(ROOM, user=person)),
        desk(access=token(user=person), namespace="/officer"),
    )
    stranger = desk(access=token(ROOM, user=other))
    told = {
        "notice_id": str(UUID(int=8)),
        "kind": "task.offered",
        "subject_kind": "task",
        "subject_id": str(UUID(int=9)),
    }
    server.do("notice", message={"town_id": str(UUID(int=1)), "user_id": person, **told})
    for client in (screen, phone):
        assert client.until("notice") == told
    assert [name for name, _ in stranger.silence(0.3)] == ["hello"]
    server.do("notice", message={"town_id": str(UUID(int=2)), "user_id": person, **told})
    assert screen.silence(0.3) == []


def test_a_phone_hears_no_positions_whatever_its_owner_may_see_at_a_desk(
    desk: Callable[..., DeskClient], server: LiveServer
) -> None:
    """P21, F48."""
    phone, screen = desk(access=token(ROOM), namespace="/officer"), desk(ROOM)
    server.do("publish", positions=[{"room": ROOM, "officer": OFFICER}])
    assert screen.until("positions")
    assert [name for name, _ in phone.silence(0.3)] == ["hello"]


def test_a_connection_is_in_one_namespace(desk: Callable[..., DeskClient]) -> None:
    client = desk(ROOM)
    assert client.until("hello")
    client.ws.send("40/officer," + json.dumps({"token": token()}))
    answer = client.packet()
    assert answer.startswith("44/officer,")
    assert "one_namespace" in answer


def test_who_may_have_missed_something_is_told_so(
    desk: Callable[..., DeskClient], server: LiveServer
) -> None:
    screen, phone = desk(ROOM), desk(access=token(), namespace="/officer")
    server.do("missed", areas=[])
    for client in (screen, phone):
        assert client.until("behind") == {}


# --- What may be said


@pytest.mark.parametrize(
    "packet",
    [
        '42/desk,["join",{"room":"ROOM"}]',
        '42/desk,["positions",[["x",1,2,3]]]',
        '42/desk,["officer",{"kind":"shift"}]',
        '42/desk,["hello",{}]',
        '42/desk,["connect",{"token":"GOOD"}]',
        '42/desk,["disconnect"]',
        '42/desk,["subscribe","ROOM"]',
        '42/desk,["*","ROOM"]',
        '43/desk,1["ROOM"]',
        '40/other,{"token":"GOOD"}',
        '42/other,["join","ROOM"]',
        '42["join","ROOM"]',
        "42/desk,[]",
        "42/desk,[7]",
        '42/desk,{"join":1}',
        "42/desk,",
        "42",
        "4",
        "49",
        "4x",
        '44/desk,{"message":"x"}',
        '451-/desk,["join",{"_placeholder":true,"num":0}]',
        '461-/desk,1["join",{"_placeholder":true,"num":0}]',
        "42/desk," + "[" * 5000,
        "x",
        "",
        "2probe",
        "5",
        "6",
        "0{}",
    ],
)
def test_no_packet_opens_a_room(desk: Callable[..., DeskClient], server: LiveServer, packet: str) -> None:
    """F48: whatever is said, nothing of another room comes; and the server lives and serves the next one."""
    client, witness = desk(ROOM), desk(OTHER_ROOM)
    assert client.until("hello")
    client.ws.send(packet.replace("ROOM", OTHER_ROOM).replace("GOOD", token(OTHER_ROOM)))
    server.do("publish", positions=[{"room": OTHER_ROOM, "officer": OFFICER}])
    assert witness.until("positions")
    heard, code = [], 1000
    try:
        heard = [name for name, _ in client.silence(0.15)]
    except Closed as closed:
        code = closed.code
    assert code in (1000, 1002, 1008)
    assert "positions" not in heard
    assert server.stats()["audiences"] <= 2


def test_who_goes_on_asking_is_closed(desk: Callable[..., DeskClient]) -> None:
    """F48."""
    client = desk(ROOM)
    for number in range(20):
        assert client.ask("join", {"room": OTHER_ROOM}, number) == {"error": "refused", "status": 403}
    client.ws.send('42/desk,["join",1]')
    assert client.closing() == 1008


def test_who_shouts_is_closed(desk: Callable[..., DeskClient]) -> None:
    client = desk(ROOM)
    for _ in range(300):
        try:
            client.ws.send("3")
        except (ConnectionError, websocket.WebSocketException):
            break
    assert client.closing() in (1008, None)


def test_a_message_beyond_the_limit_is_closed_with_1009(desk: Callable[..., DeskClient]) -> None:
    client = desk(ROOM)
    client.ws.send('42/desk,["token",{"token":"' + "x" * 20_000 + '"}]')
    assert client.closing() == 1009


# --- Losing it


def test_a_fresh_token_of_the_same_session_keeps_the_socket(desk: Callable[..., DeskClient]) -> None:
    session, user = str(uuid4()), str(uuid4())
    client = desk(access=token(ROOM, session=session, user=user, ttl_s=3))
    renewed = client.ask("token", {"token": token(ROOM, session=session, user=user, ttl_s=300)})
    assert abs(renewed["expires_at_s"] - time.time() - 300) < 5
    assert [name for name, _ in client.silence(7)] == []


def test_without_a_fresh_token_the_socket_is_closed_within_five_seconds_of_its_end(
    desk: Callable[..., DeskClient],
) -> None:
    """F49."""
    ends_at = time.time() + 2
    client = desk(access=token(ROOM, ttl_s=2))
    assert client.closing(15) == 4401
    assert 0 <= time.time() - ends_at + 1 < 6


def test_a_token_of_another_session_renews_nothing(
    desk: Callable[..., DeskClient], server: LiveServer
) -> None:
    """F48: a token for another scope does not widen this socket's."""
    client = desk(ROOM)
    assert client.ask("token", {"token": token(OTHER_ROOM)}) == {"error": "other_session", "status": 403}
    assert client.ask("token", {"token": "nonsense"})["status"] == 401
    assert client.ask("token", "nonsense")["status"] == 401
    server.do("publish", positions=[{"room": OTHER_ROOM, "officer": OFFICER}])
    assert [name for name, _ in client.silence(0.3)] in ([], ["hello"])


@pytest.mark.parametrize("announced", [True, False])
def test_a_revoked_session_is_told_and_cut_off_within_five_seconds(
    desk: Callable[..., DeskClient], server: LiveServer, announced: bool
) -> None:
    """F49: at once when it is announced, and within five seconds when the announcement is lost."""
    session, room = str(uuid4()), str(uuid4())
    client, other = desk(access=token(room, session=session)), desk(room)
    server.do("stream", room=room, officers=3, seconds=6, every_s=0.05)
    assert client.until("positions")
    started = time.monotonic()
    server.do("revoke", session_id=session, announce=announced)
    last = ""
    with pytest.raises(Closed) as closed:
        while True:
            last, _ = client.event()
    assert closed.value.code == 4401
    assert last == "revoked"
    assert time.monotonic() - started < (1.0 if announced else 5.0)
    assert other.until("positions")
    again = desk(access=token(ROOM, session=session))
    assert again.answer.startswith("44/desk,")


@pytest.mark.parametrize("announced", [True, False])
def test_a_changed_scope_counts_for_sockets_that_are_open(
    desk: Callable[..., DeskClient], server: LiveServer, announced: bool
) -> None:
    """F49: a membership has ended, another begun; the socket stays and sees the new rooms alone."""
    session = str(uuid4())
    client = desk(access=token(ROOM, session=session))
    assert client.until("hello")
    server.do("rooms", session_id=session, rooms=[OTHER_ROOM], announce=announced)
    deadline = time.monotonic() + 10  # Five seconds, and what a busy machine takes.
    seen: set[str] = set()
    while "new" not in seen and time.monotonic() < deadline:
        server.do(
            "publish",
            positions=[
                {"room": ROOM, "officer": str(UUID(int=1)), "area_id": None},
                {"room": OTHER_ROOM, "officer": str(UUID(int=2)), "area_id": None},
            ],
        )
        # What is told amid the change from one room to the other may reach neither: then it is told again.
        for name, rows in client.silence(0.3):
            if name == "positions":
                seen |= {"new" if row[0] == str(UUID(int=2)) else "old" for row in rows}
    assert "new" in seen
    server.do("publish", positions=[{"room": ROOM, "officer": str(UUID(int=1))}])
    assert client.silence(0.3) == []


def test_leaving_the_namespace_closes_the_socket(desk: Callable[..., DeskClient]) -> None:
    client = desk(ROOM)
    client.ws.send("41/desk,")
    assert client.closing() == 1000


def test_a_client_that_leaves_while_it_is_being_let_in_leaves_nothing(
    desk: Callable[..., DeskClient], server: LiveServer
) -> None:
    server.do("slow", seconds=0.3)
    try:
        for _ in range(5):
            client = DeskClient(server.port, None)
            client.ws.send("40/desk," + json.dumps({"token": token(ROOM)}))
            client.close()
        time.sleep(0.5)
    finally:
        server.do("slow", seconds=0)
    server.wait(sockets=0, viewers=0, members=0, namespace_members=0)


# --- The library that our own clients use

SCRIPT = """
import { io } from %(client)s
const port = %(port)d, access = %(access)s
const heard = []
const options = { transports: ['websocket'], auth: { token: access }, reconnection: false }
const socket = io(`http://127.0.0.1:${port}/desk`, options)
const done = (extra) => { console.log(JSON.stringify({ heard, ...extra })); process.exit(0) }
for (const name of ['hello', 'positions', 'officer', 'revoked']) socket.on(name, (data) => {
  heard.push([name, data])
  if (name === 'hello') socket.emit('token', { token: access }, (answer) => {
    heard.push(['ack', answer])
    fetch(`http://127.0.0.1:${port}/control`, { method: 'POST', headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ do: 'publish', positions: [{ room: %(room)s, officer: %(room)s }] }) })
  })
  if (name === 'positions') fetch(`http://127.0.0.1:${port}/control`, { method: 'POST',
    headers: { 'content-type': 'application/json' }, body: JSON.stringify({ do: 'revoke', session_id: %(session)s }) })
})
socket.on('connect_error', (error) => done({ refused: error.message, data: error.data }))
socket.on('disconnect', (reason, details) => done({ reason, code: details?.context?.code }))
setTimeout(() => done({ timeout: true }), 15000)
"""


@pytest.fixture
def javascript(tmp_path: Path) -> Callable[..., Any]:
    """Run a client on socket.io-client 4.8, as the desk has it."""
    library = peer_packages() / "node_modules" / "socket.io-client" / "build" / "esm-debug" / "index.js"
    if not library.exists():
        library = library.parents[1] / "esm" / "index.js"

    def run(**values: Any) -> Any:
        script = tmp_path / "client.mjs"
        quoted = {
            key: value if isinstance(value, int) else json.dumps(value) for key, value in values.items()
        }
        script.write_text(SCRIPT % {"client": json.dumps(str(library)), **quoted})
        done = subprocess.run(
            [node_program(), script], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_socket_io_client_speaks_with_it(server: LiveServer, javascript: Callable[..., Any]) -> None:
    session = str(uuid4())
    said = javascript(port=server.port, access=token(ROOM, session=session), room=ROOM, session=session)
    assert [name for name, _ in said["heard"]] == ["hello", "ack", "positions", "revoked"]
    assert "expires_at_s" in said["heard"][1][1]
    assert said["code"] == 4401
    refused = javascript(port=server.port, access="nonsense", room=ROOM, session=session)
    assert refused["refused"] == "invalid_token"
    assert refused["data"]["status"] == 401


# --- Several processes


@pytest.fixture(scope="module")
def redis_port() -> Iterator[int]:
    with _redis(free_port()) as port:
        yield port


@contextmanager
def _redis(port: int) -> Iterator[int]:
    program = shutil.which("redis-server")
    assert program, "the tests need redis-server"
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def test_positions_cross_processes_over_redis_and_survive_its_death(thin: Callable[[int, int], int]) -> None:
    """F09, F10: killed or hung, Redis costs the other processes' positions for that time and nothing else."""
    port = free_port()
    env = {"LIVE_REDIS": f"redis://127.0.0.1:{port}/0"}
    with _redis(port), live_server(env) as one, live_server(env) as two:
        here, there = DeskClient(one.port, token(ROOM)), DeskClient(two.port, token(ROOM))
        try:
            one.wait(subscribed=True)
            two.wait(subscribed=True)
            one.do("publish", positions=[{"room": ROOM, "officer": OFFICER, "speed_mps": 1.0}])
            assert here.until("positions") == there.until("positions")
            assert here.silence(0.3) == [], "its own message comes back and is not heard twice"
            _signal_redis(port, signal.SIGSTOP)
            started = time.monotonic()
            for number in range(20):
                one.do("publish", positions=[{"room": ROOM, "officer": OFFICER, "speed_mps": 2.0 + number}])
                assert here.until("positions")[0][5] == 2 + number
            assert time.monotonic() - started < 5, "publishing waited for Redis"
            time.sleep(1.5)
            _signal_redis(port, signal.SIGCONT)
            _until_heard(one, there, 50.0)
            _signal_redis(port, signal.SIGKILL)
            one.do("publish", positions=[{"room": ROOM, "officer": OFFICER, "speed_mps": 70.0}])
            while here.until("positions")[0][5] != 70:
                pass
            with _redis(port):
                _until_heard(one, there, 80.0)
            assert one.stats()["bus_failures"] > 0
        finally:
            here.close()
            there.close()


def _until_heard(publisher: LiveServer, listener: DeskClient, speed: float) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        publisher.do("publish", positions=[{"room": ROOM, "officer": OFFICER, "speed_mps": speed}])
        for name, rows in listener.silence(0.3):
            if name == "positions" and rows[0][5] == speed:
                return
    raise AssertionError("The other process hears nothing any more.")


def _signal_redis(port: int, number: signal.Signals) -> None:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                line = Path(f"/proc/{entry}/cmdline").read_bytes()
            except OSError:
                continue
            if b"redis-server" in line and str(port).encode() in line:
                os.kill(int(entry), number)


def test_publishing_never_raises_and_never_waits(redis_port: int) -> None:
    """F10, for a process with threads: an ingest process that has no sockets."""
    dead = Publisher()
    dead.open_bus(f"redis://127.0.0.1:{free_port()}/0")
    alive, heard = Publisher(), []
    alive.attach(lambda rows: heard.extend(rows))
    alive.open_bus(f"redis://127.0.0.1:{redis_port}/0")
    sender = Publisher()
    sender.open_bus(f"redis://127.0.0.1:{redis_port}/0")
    try:
        assert alive.bus is not None
        assert alive.bus.subscribed.wait(10)
        started = time.monotonic()
        for number in range(5000):
            position = LivePosition(
                UUID(int=1), UUID(int=number % 100), datetime.now(UTC), 116.0, float(number % 80)
            )
            dead.publish([position])
            sender.publish([position])
        assert time.monotonic() - started < 5
        deadline = time.monotonic() + 10
        while len({row.officer_id for row in heard}) < 100 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len({row.officer_id for row in heard}) == 100
        assert len(heard) < 5000, "what Redis could not take at once was replaced by what was newer"
    finally:
        for one in (dead, alive, sender):
            one.close_bus()


def test_a_position_is_short_and_no_finer_than_it_was_measured() -> None:
    at = datetime(2026, 11, 23, 8, 0, 0, 123456, tzinfo=UTC)
    row = row_of(
        LivePosition(
            UUID(int=1),
            UUID(int=2),
            at,
            116.123456789,
            39.987654321,
            4.9999,
            1.005,
            359.96,
            80.0,
            UUID(int=3),
            False,
        )
    )
    assert json.loads(row.json) == [
        str(UUID(int=2)), 116.123457, 39.987654, 1795420800.123, 5, 1.0, 360, 80, str(UUID(int=3)), False,
    ]  # fmt: skip
    whole = row_of(LivePosition(UUID(int=1), UUID(int=2), at.replace(microsecond=0), 116.0, 39.0))
    assert whole.json.endswith(b",116.0,39.0,1795420800,null,null,null,null,null,null]")


# --- The whole service: real tokens, real memberships, real announcements


class Process:
    """One process of the real service."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def ask(self, method: str, path: str, access: str | None, body: Any = None) -> Any:
        """Make a request; returns what was answered."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        request.add_header("Content-Type", "application/json")
        if access is not None:
            request.add_header("Authorization", f"Bearer {access}")
            request.add_header("Idempotency-Key", str(uuid4()))
        data = None if body is None else json.dumps(body, default=str).encode()
        with urllib.request.urlopen(request, data, timeout=20) as answer:
            said = answer.read()
            return json.loads(said) if said else None


@pytest.fixture(scope="module")
def service(
    world: World, redis_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Process, Process]]:
    """Two web processes of the service on one database and one Redis, as in the production profile."""
    log = tmp_path_factory.mktemp("service") / "log"
    running: list[Process] = []
    env = {
        **os.environ,
        "DATABASE_URL": world.config.owner_url,
        "DATABASE_APP_URL": world.config.database_url,
        "XUNGENG_DATA": str(world.config.data_dir),
        "XUNGENG_DEMO": "0",
        "XUNGENG_REDIS_URL": f"redis://127.0.0.1:{redis_port}/1",
    }
    try:
        for _ in range(2):
            port = free_port()
            command = [
                sys.executable, "-m", "gunicorn", "-k", "gevent", "-w", "1", "--no-control-socket",
                "--graceful-timeout", "2", "-b", f"127.0.0.1:{port}", "backend.wsgi:app",
            ]  # fmt: skip
            with open(log, "ab") as file:
                process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT)
            running.append(Process(process, port))
        deadline = time.monotonic() + 60
        for one in running:
            while True:
                try:
                    one.ask("GET", "/readyz", None)
                    break
                except (OSError, urllib.error.URLError):
                    assert one.process.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.1)
        yield running[0], running[1]
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        for one in running:
            one.process.terminate()
        for one in running:
            try:
                one.process.wait(10)
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()


def access_of(caller: Caller) -> str:
    return str(caller.tokens["access_token"])


@contextmanager
def watching(process: Process, caller: Caller) -> Iterator[DeskClient]:
    """A desk's socket on a process of the service."""
    client = DeskClient(process.port, access_of(caller))
    try:
        assert client.answer.startswith('40/desk,{"sid"'), client.answer
        assert client.until("hello")["session_id"] == caller.tokens["session_id"]
        yield client
    finally:
        client.close()


def on_duty(
    process: Process, caller: Caller, person: Person, town_place: tuple[float, float]
) -> Callable[[], Any]:
    """Start a shift; returns a function that sends one fix of it to a process."""
    access = access_of(caller)
    now = datetime.now(UTC)
    device = str(uuid4())
    shift = process.ask(
        "POST", "/api/v1/officer/shifts", access,
        {
            "id": str(uuid4()), "device_at": now.isoformat(),
            "device": {"id": device, "name": "phone", "platform": "web"},
        },
    )  # fmt: skip

    def walk(through: Process = process) -> Any:
        fixed = datetime.now(UTC).isoformat()
        fix = {"fixed_at": fixed, "lon": town_place[0], "lat": town_place[1], "accuracy_m": 8.0}
        through.ask(
            "POST", "/api/v1/officer/fixes", access, {"device_id": device, "sent_at": fixed, "fixes": [fix]}
        )
        return shift

    return walk


def test_a_walk_is_seen_live_by_those_in_whose_area_it_is(
    world: World, service: tuple[Process, Process], signed_in: Any
) -> None:
    """F41: by the right desks on every process, by no other community's and no other town's."""
    one, two = service
    officer = world.officer("a")
    walker = signed_in(officer)
    with (
        watching(one, signed_in("desk_a")) as desk_a,
        watching(two, signed_in("supervisor")) as supervisor,
        watching(two, signed_in("desk_b")) as desk_b,
        watching(one, signed_in("supervisor", world.there)) as elsewhere,
        watching(one, signed_in("admin")) as admin,
    ):
        walk = on_duty(one, walker, officer, world.here.place("a"))
        for client in (desk_a, supervisor):
            told = client.until("officer")
            assert (told["action"], told["officer_id"]) == ("start", str(officer.id))
        shift = walk(one)
        for client in (desk_a, supervisor):
            [row] = client.until("positions")
            assert row[0] == str(officer.id)
            assert (round(row[1], 6), round(row[2], 6)) == tuple(
                round(value, 6) for value in world.here.place("a")
            )
        time.sleep(0.01)
        walk(two)
        assert desk_a.until("positions")
        assert supervisor.until("positions")
        one.ask(
            "POST", f"/api/v1/officer/shifts/{shift['id']}/end", access_of(walker),
            {"device_at": datetime.now(UTC).isoformat()},
        )  # fmt: skip
        for client in (desk_a, supervisor):
            # A catch-up of the listener may tell the start once more; it never tells it after the end.
            while (told := client.until("officer"))["action"] == "start":
                assert told["version"] == 1
            assert (told["action"], told["shift_id"]) == ("end", shift["id"])
        for client in (desk_b, elsewhere, admin):
            # That something may have been missed is said to all, and says nothing about anybody.
            assert [told for told in client.silence(0.5) if told != ("behind", {})] == []


def test_a_call_for_help_over_the_socket_is_one_call_however_often_it_is_said(
    world: World, service: tuple[Process, Process], signed_in: Any
) -> None:
    """F48: taken as REST takes it, so that a phone that hears nothing says it again there; no desk says it."""
    officer = world.officer("a")
    caller = signed_in(officer)
    lon, lat = world.here.place("a")
    body = json.dumps({"id": str(uuid4()), "place": {"lon": lon, "lat": lat}})
    said = {"key": str(uuid4()), "body": body}
    phone = DeskClient(service[0].port, access_of(caller), namespace="/officer")
    desk = DeskClient(service[0].port, access_of(signed_in("desk_a")))
    try:
        taken = phone.ask("sos", said)
        call = json.loads(taken["body"])
        assert (taken["status"], call["state"]) == (201, "raised")
        assert json.loads(phone.ask("sos", said, 2)["body"]) == call
        again = caller.post(
            "/api/v1/officer/sos", key=UUID(said["key"]), data=body, content_type="application/json"
        )
        assert (again.status_code, again.json["id"]) == (201, call["id"])
        assert again.headers["Idempotent-Replay"] == "true"
        seen = signed_in("desk_a").get(f"/api/v1/desk/alarms/{call['id']}").json
        assert (seen["kind"], seen["place"]["lon"]) == ("sos", pytest.approx(lon))

        wrong = phone.ask("sos", {"key": str(uuid4()), "body": '{"place": {"lon": 999, "lat": 0}}'}, 3)
        assert (wrong["status"], json.loads(wrong["body"])["code"]) == (422, "invalid")
        refused = {"error": "refused", "status": 403}
        for number, nonsense in enumerate(
            (None, [], {"key": "x", "body": body}, {"key": said["key"], "body": {}}), 4
        ):
            assert phone.ask("sos", nonsense, number) == refused
        assert desk.ask("sos", said) == refused
    finally:
        phone.close()
        desk.close()


def test_who_has_no_desk_gets_no_socket(service: tuple[Process, Process], signed_in: Any) -> None:
    """F48: an officer's token is good and opens no room."""
    client = DeskClient(service[0].port, access_of(signed_in("officer_a")))
    try:
        assert client.answer.startswith("44/desk,")
        assert json.loads(client.answer[8:])["data"]["status"] == 403
    finally:
        client.close()


def test_a_revoked_session_loses_its_sockets_on_every_process(
    world: World,
    service: tuple[Process, Process],
    signed_in: Any,
    record_property: Callable[[str, object], None],
) -> None:
    """F49: revoked by an admin on one process, cut on both within five seconds; REST refuses as well."""
    one, two = service
    officer = world.officer("a")
    walk = on_duty(one, signed_in(officer), officer, world.here.place("a"))
    caller, other = signed_in("desk_a"), signed_in("desk_a")
    with watching(one, caller) as here, watching(two, caller) as there, watching(two, other) as spared:
        walk()
        assert here.until("positions")
        assert there.until("positions")
        started = time.monotonic()
        one.ask(
            "POST", f"/api/v1/desk/sessions/{caller.tokens['session_id']}/revoke", access_of(signed_in("admin")),
            {"reason": "lost"},
        )  # fmt: skip
        for client in (here, there):
            last = ""
            with pytest.raises(Closed) as closed:
                while True:
                    last, _ = client.event()
            assert (last, closed.value.code) == ("revoked", 4401)
        took = time.monotonic() - started
        record_property("seconds_to_last_delivery", round(took, 3))
        assert took < 5
        time.sleep(0.01)
        walk()
        assert spared.until("positions")
        for process in service:
            with pytest.raises(urllib.error.HTTPError) as refused:
                process.ask("GET", "/api/v1/auth/me", access_of(caller))
            refused.value.close()
            assert refused.value.code == 401
        again = DeskClient(two.port, access_of(caller))
        assert again.answer.startswith("44/desk,")
        again.close()


def test_an_ended_membership_takes_the_room_away_even_if_nobody_announces_it(
    world: World, service: tuple[Process, Process], signed_in: Any
) -> None:
    """F49: the membership ends in the database alone, as after a lost announcement."""
    one, two = service
    officer = world.officer("a")
    walk = on_duty(one, signed_in(officer), officer, world.here.place("a"))
    caller = signed_in("supervisor_a")
    person = world.here["supervisor_a"]
    with watching(two, caller) as client:
        walk()
        assert client.until("positions")
        with world.owner.begin() as connection:
            connection.execute(
                text("update memberships set ended_at = now() where user_id = :user"), {"user": person.id}
            )
        try:
            ended = time.monotonic()
            last_heard = ended
            with pytest.raises((Closed, websocket.WebSocketTimeoutException)):
                while True:
                    time.sleep(0.4)
                    walk()
                    if client.event(1.0)[0] == "positions":
                        last_heard = time.monotonic()
            assert last_heard - ended < 5
        finally:
            with world.owner.begin() as connection:
                connection.execute(
                    text("update memberships set ended_at = null where user_id = :user"), {"user": person.id}
                )


def test_the_listener_may_lose_its_connection(
    world: World, service: tuple[Process, Process], signed_in: Any
) -> None:
    """F04, F49: its backend is killed; what was announced meanwhile is caught up with."""
    one, _ = service
    officer = world.officer("a")
    caller = signed_in("desk_a")
    with watching(one, caller) as client:
        with world.owner.begin() as connection:
            connection.execute(
                text("select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%'")
            )
        on_duty(one, signed_in(officer), officer, world.here.place("a"))
        deadline = time.monotonic() + 10
        while client.until("officer", 10)["officer_id"] != str(officer.id):
            assert time.monotonic() < deadline
