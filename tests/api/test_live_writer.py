"""The sockets of the live channel: framing, full writes, bounds; what a slow reader gets and what it costs others."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
import websocket
from hypothesis import given
from hypothesis import strategies as st

from mobile_api.sockets import connection as connection_module
from mobile_api.sockets.audiences import CATCH_UP_ROWS, Audiences
from mobile_api.sockets.connection import CLOSED, QUEUED_BYTES, QUEUED_FRAMES, Connection
from mobile_api.sockets.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Decoder,
    FrameError,
    accept_key,
    close_frame,
    frame,
    unmasked,
)
from notifications.channels.realtime import Row
from tests.api.live_client import ROOM, Closed, DeskClient, LiveServer, live_server, token

# --- Framing


def from_client(
    opcode: int, payload: bytes, *, final: bool = True, key: bytes = b"\1\2\3\4", rsv: int = 0
) -> bytes:
    """A masked frame as a client sends it."""
    size = len(payload)
    head = bytes([(0x80 if final else 0) | rsv | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65_536:
        head += bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", size)
    masked = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return head + key + masked


def read_all(data: bytes, pieces: list[int], limit: int = 1 << 20) -> list[tuple[int, bytes]]:
    """Feed ``data`` cut at ``pieces``."""
    decoder, found, start = Decoder(limit), [], 0
    for end in [*sorted(pieces), len(data)]:
        found += list(decoder.feed(data[start:end]))
        start = max(start, end)
    return found


messages = st.lists(
    st.tuples(
        st.sampled_from([TEXT, BINARY]),
        st.one_of(st.binary(max_size=300), st.integers(0, 70_000).map(lambda size: b"x" * size)),
        st.lists(st.integers(0, 70_000), max_size=4),
        st.binary(min_size=4, max_size=4),
    ),
    max_size=4,
)


@given(sent=messages, cuts=st.lists(st.integers(0, 150_000), max_size=8), pings=st.booleans())
def test_messages_arrive_whole_however_they_are_fragmented_and_cut(
    sent: list[tuple[int, bytes, list[int], bytes]], cuts: list[int], pings: bool
) -> None:
    stream, expected = b"", []
    for opcode, raw, fragments, key in sent:
        payload = raw.decode("latin-1").encode() if opcode == TEXT else raw
        edges = [0, *sorted(min(cut, len(payload)) for cut in fragments), len(payload)]
        parts = [payload[a:b] for a, b in itertools.pairwise(edges)]
        for index, part in enumerate(parts):
            if pings and index:
                stream += from_client(PING, b"still here?")
                expected.append((PING, b"still here?"))
            first, last = index == 0, index == len(parts) - 1
            stream += from_client(opcode if first else CONTINUATION, part, final=last, key=key)
        expected.append((opcode, payload))
    assert read_all(stream, [min(cut, len(stream)) for cut in cuts], limit=1 << 20) == expected


@given(payload=st.binary(max_size=2000), key=st.binary(min_size=4, max_size=4))
def test_unmasking_is_exclusive_or_with_the_repeated_key(payload: bytes, key: bytes) -> None:
    assert unmasked(payload, key) == bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_frame_to_clients_is_read_by_another_implementation(size: int) -> None:
    data = frame(TEXT, b"y" * size)
    buffer = websocket._abnf.frame_buffer(_Reader(data).recv, True)
    read = buffer.recv_frame()
    assert (read.fin, read.opcode, read.mask_value, read.data) == (1, TEXT, 0, b"y" * size)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def recv(self, size: int) -> bytes:
        piece, self._data = self._data[:size], self._data[size:]
        return piece


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (frame(TEXT, b"not masked"), 1002),
        (from_client(TEXT, b"", rsv=0x40), 1002),
        (from_client(TEXT, b"", rsv=0x10), 1002),
        (from_client(0x3, b""), 1002),
        (from_client(0xB, b""), 1002),
        (from_client(PING, b"", final=False), 1002),
        (from_client(PING, b"x" * 126), 1002),
        (from_client(CONTINUATION, b"of nothing"), 1002),
        (from_client(TEXT, b"a", final=False) + from_client(TEXT, b"b"), 1002),
        (b"\x81\xfe\x00\x05" + b"\0" * 9, 1002),  # 5 in two bytes
        (b"\x81\xff" + struct.pack("!Q", 300) + b"\0" * 304, 1002),  # 300 in eight bytes
        (b"\x81\xff" + struct.pack("!Q", 1 << 63) + b"\0" * 4, 1002),
        (b"\x81\xff" + struct.pack("!Q", 1 << 40), 1009),  # refused before a byte of it has come
        (from_client(TEXT, b"x" * 1001), 1009),
        (from_client(TEXT, b"x" * 600, final=False) + from_client(CONTINUATION, b"x" * 600), 1009),
        (from_client(TEXT, b"\xff\xfe"), 1007),
        (from_client(TEXT, b"\xed\xa0\x80"), 1007),  # a lone surrogate
        (from_client(CLOSE, b"\x03"), 1002),
        (from_client(CLOSE, struct.pack("!H", 1005)), 1002),
        (from_client(CLOSE, struct.pack("!H", 999)), 1002),
        (from_client(CLOSE, struct.pack("!H", 2000)), 1002),
        (from_client(CLOSE, struct.pack("!H", 5000)), 1002),
        (from_client(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
    ],
)
def test_a_broken_frame_is_named_by_its_close_code(stream: bytes, code: int) -> None:
    with pytest.raises(FrameError) as caught:
        read_all(stream, [], limit=1000)
    assert caught.value.code == code


def test_what_came_before_a_broken_frame_is_heard() -> None:
    heard: list[tuple[int, bytes]] = []
    with pytest.raises(FrameError):
        for message in Decoder(100).feed(from_client(TEXT, b"good") + frame(TEXT, b"bad")):
            heard.append(message)
    assert heard == [(TEXT, b"good")]


def test_a_million_empty_fragments_hold_no_memory() -> None:
    decoder = Decoder(100)
    assert not list(decoder.feed(from_client(TEXT, b"a", final=False)))
    for _ in range(1000):
        assert not list(decoder.feed(from_client(CONTINUATION, b"", final=False) * 10))
    assert decoder._parts == [b"a"]
    assert list(decoder.feed(from_client(CONTINUATION, b"b"))) == [(TEXT, b"ab")]


def test_a_close_frame_holds_any_reason() -> None:
    assert len(close_frame(4408, "理由" * 100)) <= 127
    close_frame(4408, "理由" * 100)[4:].decode()


def test_the_handshake_is_the_one_of_the_standard() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


# --- One connection on the event loop


class Owner:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.codes: list[int] = []
        self.lingering = 0
        self.slow = 0

    def received(self, connection: Connection, text: bytes) -> None:
        self.texts.append(text)

    def left(self, connection: Connection, code: int, reason: str) -> None:
        self.codes.append(code)

    def lingers(self, connection: Connection) -> None:
        self.lingering += 1

    def stalled(self, connection: Connection) -> None:
        self.slow += 1


class Pair:
    """A connection and the client's end of its stream."""

    def __init__(self, send_buffer: int = 8192) -> None:
        ours, self.client = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        ours.setblocking(False)
        self.client.setblocking(False)
        self.owner = Owner()
        self.ours = ours
        self.connection = Connection(ours, self.owner)
        self.stream = bytearray()

    def read(self, seconds: float = 0.2, size: int = 65_536) -> bytes:
        """Let the event loop run and receive what comes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            gevent.sleep(0.001)
            try:
                data = self.client.recv(size)
            except BlockingIOError:
                continue
            except ConnectionError:
                break
            if not data:
                break
            self.stream += data
            end = time.monotonic() + seconds
        return bytes(self.stream)

    def frames(self) -> list[tuple[int, bytes]]:
        """Read what has come so far with another implementation; all of it must be whole frames."""
        reader = _Reader(bytes(self.stream))
        buffer, found = websocket._abnf.frame_buffer(reader.recv, True), []
        while reader._data:
            read = buffer.recv_frame()
            found.append((read.opcode, read.data))
        return found


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.connection.abort()
    made.client.close()


def test_a_client_that_keeps_up_costs_no_queue(pair: Pair) -> None:
    for number in range(100):
        assert pair.connection.send(frame(TEXT, b"%d" % number))
        pair.read(0.002)
    assert pair.connection.backlog is None
    assert pair.owner.slow == 0
    assert [data for _, data in pair.frames()] == [b"%d" % number for number in range(100)]


@pytest.mark.parametrize("size", [10, 6_000, 200_000])
def test_a_reader_that_pauses_gets_every_frame_whole_and_in_order(pair: Pair, size: int) -> None:
    """F13: simple-websocket 1.1.0 drops what the kernel does not take and breaks the stream here."""
    sent, count = [], 0
    while sum(map(len, sent)) + size < QUEUED_BYTES and count < QUEUED_FRAMES:
        data = b"%06d" % count + b"." * size
        assert pair.connection.send(frame(TEXT, data))
        sent.append(data)
        count += 1
    assert pair.connection.backlog is not None
    gevent.sleep(0.05)
    pair.read()
    assert [data for _, data in pair.frames()] == sent
    assert pair.connection.backlog is None
    assert pair.owner.codes == []


def test_a_reader_of_single_bytes_gets_whole_frames_too(pair: Pair) -> None:
    """F13."""
    for number in range(40):
        pair.connection.send(frame(TEXT, b"%03d" % number + b"." * 997))
    end = time.monotonic() + 20
    while len(pair.stream) < 40 * 1004 and time.monotonic() < end:
        gevent.sleep(0)
        with contextlib.suppress(BlockingIOError):
            pair.stream += pair.client.recv(random.choice([1, 1, 7, 333]))
    assert [data[:3] for _, data in pair.frames()] == [b"%03d" % number for number in range(40)]


def test_more_than_the_bound_closes_with_4408_after_an_unbroken_prefix(pair: Pair) -> None:
    """F13: what must arrive is never dropped in the middle; the client learns that it has to catch up."""
    taken = 0
    while pair.connection.send(frame(TEXT, b"%06d" % taken + b"." * 994)):
        taken += 1
        assert taken < 5000
    assert pair.owner.codes == [4408]
    assert pair.connection.backlog is not None
    held = sum(map(len, pair.connection.backlog.queue))
    assert held < 1000, "what waited was let go of when the client was given up"
    pair.read()
    *before, (opcode, data) = pair.frames()
    assert opcode == CLOSE
    assert int.from_bytes(data[:2], "big") == 4408
    assert [data[:6] for _, data in before] == [b"%06d" % number for number in range(len(before))]
    assert pair.owner.lingering == 1


def test_the_number_of_waiting_frames_is_bounded_too(pair: Pair) -> None:
    while pair.connection.send(frame(TEXT, b"tiny")):
        assert pair.connection.backlog is None or len(pair.connection.backlog.queue) <= QUEUED_FRAMES
    assert pair.owner.codes == [4408]


def test_a_held_key_stands_once_in_the_queue_and_is_made_of_what_is_newest(pair: Pair) -> None:
    newest = [0]

    def maker() -> tuple[bytes | None, bool]:
        return frame(TEXT, b"latest %d" % newest[0]), False

    while pair.connection.backlog is None:
        pair.connection.send(frame(TEXT, b"." * 1000))
    for number in range(10_000):
        newest[0] = number
        assert pair.connection.send_latest(frame(TEXT, b"never"), "key", lambda: maker)
    assert list(pair.connection.backlog.held) == ["key"]
    pair.read()
    assert pair.frames()[-1] == (TEXT, b"latest 9999")
    assert sum(1 for _, data in pair.frames() if data.startswith(b"latest")) == 1


def test_goodbye_finishes_the_frame_under_way_and_drops_the_rest(pair: Pair) -> None:
    """F49: what waited for a revoked client is not delivered any more."""
    pair.connection.send(frame(TEXT, b"a" * 100_000))
    pair.connection.send(frame(TEXT, b"secret"))
    pair.connection.send_latest(
        frame(TEXT, b"secret"), "key", lambda: lambda: (frame(TEXT, b"secret"), False)
    )
    pair.connection.close(4401, "revoked", last=frame(TEXT, b"revoked"))
    assert not pair.connection.send(frame(TEXT, b"secret"))
    pair.read()
    assert [(opcode, data[:7]) for opcode, data in pair.frames()] == [
        (TEXT, b"aaaaaaa"), (TEXT, b"revoked"), (CLOSE, b"\x11\x31revok"),
    ]  # fmt: skip
    assert pair.owner.codes == [4401]


def test_a_peer_that_closes_is_answered_and_let_go(pair: Pair) -> None:
    pair.client.send(from_client(CLOSE, struct.pack("!H", 1000) + b"bye"))
    pair.read(0.1)
    assert pair.frames() == [(CLOSE, struct.pack("!H", 1000))]
    assert pair.owner.codes == [1000]
    assert pair.connection.state == CLOSED


def test_a_peer_that_vanishes_is_noticed_by_reading_and_by_writing() -> None:
    for act in ("read", "write"):
        pair = Pair()
        pair.client.close()
        if act == "write":
            pair.connection.send(frame(TEXT, b"hello"))
        gevent.sleep(0.02)
        assert pair.owner.codes == [1006]
        assert pair.connection.state == CLOSED


def test_pings_are_answered_and_a_flood_of_them_is_not(pair: Pair) -> None:
    pair.client.send(from_client(PING, b"one"))
    pair.read(0.05)
    assert pair.frames() == [(PONG, b"one")]
    with contextlib.suppress(BlockingIOError):
        for _ in range(1000):
            pair.client.send(from_client(PING, b"again"))
    gevent.sleep(0.05)
    assert pair.owner.codes == [1008]


def test_binary_messages_are_refused(pair: Pair) -> None:
    pair.client.send(from_client(BINARY, b"\0\1"))
    gevent.sleep(0.02)
    assert pair.owner.codes == [1003]


def test_a_broken_client_is_closed_with_the_reason(pair: Pair) -> None:
    pair.client.send(frame(TEXT, b"not masked"))
    pair.read(0.05)
    assert pair.frames()[0][0] == CLOSE
    assert pair.owner.codes == [1002]


@given(seed=st.integers(0, 2**32))
def test_any_mix_of_sizes_and_pauses_leaves_an_unbroken_stream(seed: int) -> None:
    """F13, at random: sizes from nothing to beyond the buffers, reads of any size at any moment."""
    chance = random.Random(seed)
    pair = Pair(chance.choice([4096, 16_384]))
    try:
        sent = []
        for number in range(60):
            data = b"%d:" % number + b"z" * chance.choice([0, 10, 125, 126, 3000, 20_000])
            if not pair.connection.send(frame(TEXT, data)):
                break
            sent.append(data)
            if chance.random() < 0.4:
                gevent.sleep(0)
                with contextlib.suppress(BlockingIOError):
                    pair.stream += pair.client.recv(chance.choice([1, 100, 5000, 100_000]))
        pair.read(0.05)
        got = [data for opcode, data in pair.frames() if opcode == TEXT]
        assert got == sent[: len(got)]
        assert len(got) == len(sent) or pair.owner.codes == [4408]
    finally:
        pair.connection.abort()
        pair.client.close()


# --- Audiences: what a client that was behind is sent


def row(officer: int, at: float, text: bytes | None = None, room: int = 1) -> Row:
    from uuid import UUID

    return Row(UUID(int=room), UUID(int=officer), at, text or b'["%d",%d]' % (officer, at))


def positions_in(frames: list[tuple[int, bytes]]) -> list[list[Any]]:
    """The rows of all position frames, in order."""
    rows: list[list[Any]] = []
    for _, data in frames:
        text = data.decode()
        assert text.startswith('42/desk,["positions",')
        rows += json.loads(text[len("42/desk,") :])[1]
    return rows


def audience_of(pair: Pair, *rooms: int) -> Audiences:
    from uuid import UUID

    audiences = Audiences("/desk")
    audiences.join(pair.connection, frozenset(UUID(int=room) for room in rooms))  # type: ignore[arg-type]
    return audiences


def settle() -> None:
    for _ in range(3):
        gevent.sleep(0.002)


def test_a_round_has_the_newest_of_each_officer_and_nobody_elses(pair: Pair) -> None:
    """F48: an officer of a room outside the scope is in no frame."""
    audiences = audience_of(pair, 1, 2)
    audiences.publish([row(1, 10), row(2, 10, room=2), row(3, 10, room=3), row(1, 11), row(1, 9)])
    settle()
    pair.read(0.02)
    assert sorted(positions_in(pair.frames())) == [["1", 11], ["2", 10]]


def test_an_older_position_never_follows_a_newer_one(pair: Pair) -> None:
    audiences = audience_of(pair, 1)
    for at in (10, 5, 11, 10, 12):
        audiences.publish([row(1, at)])
        settle()
    pair.read(0.02)
    assert positions_in(pair.frames()) == [["1", 10], ["1", 11], ["1", 12]]


def test_who_was_behind_gets_the_newest_of_every_officer_and_no_stale_one(pair: Pair) -> None:
    """F13: while a client does not read, its stale positions are replaced; when it reads on, nothing is missing."""
    audiences = audience_of(pair, 1)
    officers = 700
    rounds = 0
    while pair.connection.backlog is None or rounds < 50:
        rounds += 1
        audiences.publish(
            [row(one, rounds, b'["%d",%d,"%s"]' % (one, rounds, b"." * 50)) for one in range(officers)]
        )
        audiences.flush()
    audiences.publish([row(3, 1000)])
    audiences.flush()
    assert len(pair.connection.backlog.held) == 1
    pair.read()
    rows = positions_in(pair.frames())
    last = {}
    for entry in rows:
        assert last.get(entry[0], -1) < entry[1], "an officer went back in time"
        last[entry[0]] = entry[1]
    assert last.pop("3") == 1000
    assert set(last.values()) == {rounds}
    assert len(last) == officers - 1
    assert len(rows) <= 3 * officers
    assert max(len(json.loads(data[8:])[1]) for _, data in pair.frames()[2:]) <= CATCH_UP_ROWS


def test_a_round_costs_what_it_used_of_the_processor_and_not_how_long_it_was_held_up(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause after a round follows its cost, so a disturbance delays screens once and not twice."""
    audiences = audience_of(pair, 1)
    write = pair.connection.write

    def held_up(data: bytes) -> int:
        time.sleep(0.5)
        return write(data)

    monkeypatch.setattr(pair.connection, "write", held_up)
    audiences.publish([row(1, 1)])
    started = time.monotonic()
    cost_s = audiences.flush()
    assert cost_s < (time.monotonic() - started) / 2
    pair.read()
    assert len(positions_in(pair.frames())) == 1


def test_who_changed_scope_while_behind_gets_nothing_of_the_old_one(pair: Pair) -> None:
    """F49: positions that waited for a client are not made any more when its scope has changed."""
    from uuid import UUID

    audiences = audience_of(pair, 1)
    before = audiences.of_room(UUID(int=1))[0]
    while pair.connection.backlog is None:
        audiences.publish([row(1, time.time(), b'["old",%d,"%s"]' % (time.time(), b"." * 2000))])
        audiences.flush()
    audiences.publish([row(2, 5, b'["secret",5]')])
    audiences.flush()
    audiences.leave(pair.connection, before)  # type: ignore[arg-type]
    audiences.join(pair.connection, frozenset({UUID(int=2)}))  # type: ignore[arg-type]
    audiences.publish([row(9, 6, b'["new",6]', room=2), row(2, 6, b'["secret",6]')])
    audiences.flush()
    pair.read()
    assert {entry[0] for entry in positions_in(pair.frames())} == {"old", "new"}


def test_a_native_thread_may_publish(pair: Pair) -> None:
    """Under gunicorn gevent's patches stand between; here the thread is a real one."""
    audiences = audience_of(pair, 1)
    thread = threading.Thread(target=lambda: audiences.publish([row(1, 5)]))
    thread.start()
    thread.join()
    gevent.sleep(0.05)
    pair.read(0.05)
    assert positions_in(pair.frames()) == [["1", 5]]


def test_rounds_wait_longer_the_more_they_take_and_never_longer_than_the_bound(pair: Pair) -> None:
    audiences = audience_of(pair, 1)
    slow = 0.01
    audiences.flush = lambda: slow  # type: ignore[method-assign]
    pauses: list[float] = []
    audiences.publish([row(1, 1)])
    real_sleep = gevent.sleep

    def sleep(seconds: float = 0) -> None:
        pauses.append(seconds)
        real_sleep(0)

    from mobile_api.sockets import audiences as module

    patch = pytest.MonkeyPatch()
    patch.setattr(module.gevent, "sleep", sleep)
    try:
        real_sleep(0.01)
        slow = 10.0
        audiences.publish([row(1, 2)])
        real_sleep(0.01)
    finally:
        patch.undo()
    assert pauses == [pytest.approx(0.01), 0.25]


def test_rows_of_officers_long_gone_are_forgotten(pair: Pair) -> None:
    from uuid import UUID

    audiences = audience_of(pair, 1)
    audience = audiences.of_room(UUID(int=1))[0]
    audience.take(row(1, 1), now=100.0)
    audience.take(row(2, 1), now=200.0)
    audience.forget_before(150.0)
    assert list(audience._log) == [UUID(int=2)]


# --- A server under gunicorn


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with live_server() as running:
        yield running


def lag_of(client: DeskClient, seconds: float, lags: list[float]) -> None:
    """Read positions for a while and note how old each frame was when it arrived."""
    end = time.time() + seconds
    while time.time() < end:
        with contextlib.suppress(websocket.WebSocketTimeoutException):
            name, rows = client.event(0.5)
            if name == "positions":
                lags.append(time.time() - max(entry[3] for entry in rows))


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def test_a_supervisor_who_stops_reading_stalls_nobody_and_reads_on_without_a_break(
    server: LiveServer, thin: Callable[[int, int], int]
) -> None:
    """F13: paused for 8 s under a stream that overruns every buffer, then read on."""
    seconds = thin(8, 3)
    paused = DeskClient(server.port, token(ROOM), receive_buffer=4096)
    awake = DeskClient(server.port, token(ROOM))
    try:
        server.do("stream", room=ROOM, officers=300, seconds=seconds, every_s=0.01)
        lags: list[float] = []
        lag_of(awake, seconds, lags)
        assert len(lags) > seconds * 10
        # Whoever waited for him would wait as long as he does not read.
        assert p99(lags) < seconds / 2, "others go on while one does not read"
        newest: dict[str, float] = {}
        with contextlib.suppress(websocket.WebSocketTimeoutException):
            while True:
                name, rows = paused.event(1.0)  # Any break in the framing raises here.
                if name == "positions":
                    for entry in rows:
                        assert newest.get(entry[0], 0) <= entry[3]
                        newest[entry[0]] = entry[3]
        assert len(newest) == 300
        assert time.time() - min(newest.values()) < seconds + 10
        assert max(newest.values()) - min(newest.values()) < 0.5, "everybody is as new as anybody"
        server.do("publish", positions=[{"room": ROOM, "officer": ROOM}])
        assert paused.until("positions")
    finally:
        paused.close()
        awake.close()


def test_sixty_thousand_events_to_a_paused_client_end_in_4408_and_not_in_a_broken_frame(
    server: LiveServer,
) -> None:
    """F13, the experiment that breaks the stock server: small frames that must arrive, to a client that waits."""
    paused = DeskClient(server.port, token(ROOM), receive_buffer=4096)
    try:
        for _ in range(6):
            server.do("events", count=10_000, padding=100)
        time.sleep(0.5)
        numbers = []
        with pytest.raises(Closed) as closed:
            while True:
                name, data = paused.event()
                if name == "officer":
                    numbers.append(data["number"])
        assert closed.value.code == 4408
        assert numbers == [number % 10_000 for number in range(len(numbers))]
    finally:
        paused.close()


def test_two_hundred_readers_of_a_byte_a_second_cost_little_and_slow_down_nobody(
    thin: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    """F13: growth of memory is bounded, and what the others wait does not change."""
    crawlers_count, seconds = thin(200, 60), thin(20, 4)
    with live_server() as server:
        awake = DeskClient(server.port, token(ROOM))
        crawlers = []
        try:
            server.do("stream", room=ROOM, officers=300, seconds=seconds, every_s=0.1)
            alone: list[float] = []
            lag_of(awake, seconds, alone)
            crawlers = [
                DeskClient(server.port, token(ROOM), receive_buffer=2048) for _ in range(crawlers_count)
            ]
            before = server.stats()["resident_bytes"]
            stop = threading.Event()

            def crawl() -> None:
                while not stop.wait(1.0):
                    for crawler in crawlers:
                        with contextlib.suppress(OSError):
                            crawler.ws.sock.recv(1)

            thread = threading.Thread(target=crawl)
            thread.start()
            server.do("stream", room=ROOM, officers=300, seconds=seconds, every_s=0.1)
            beside: list[float] = []
            lag_of(awake, seconds, beside)
            grown = (server.stats()["resident_bytes"] - before) / 2**20
            stop.set()
            thread.join()
            record_property("rss_growth_mib", round(grown, 1))
            record_property("p99_alone_ms", round(p99(alone) * 1000, 1))
            record_property("p99_beside_ms", round(p99(beside) * 1000, 1))
            print(f"RSS +{grown:.1f} MiB, p99 {p99(alone) * 1000:.1f} -> {p99(beside) * 1000:.1f} ms")
            assert grown < 64
            assert p99(beside) < max(0.5, 4 * p99(alone))
        finally:
            awake.close()
            for crawler in crawlers:
                crawler.close()


def test_who_takes_no_whole_frame_within_the_bound_is_closed() -> None:
    """F13: a reader that is kept for ever costs a slot for ever."""
    with live_server({"LIVE_STALL_S": "1"}) as server:
        crawler = DeskClient(server.port, token(ROOM), receive_buffer=2048)
        try:
            server.do("stream", room=ROOM, officers=500, seconds=1.5, every_s=0.02)
            server.wait(15, sockets=0, too_slow=1, members=0)
        finally:
            crawler.close()


def test_a_client_that_answers_no_ping_is_closed() -> None:
    with live_server({"LIVE_PING_S": "0.5", "LIVE_PONG_S": "0.5"}) as server:
        silent = DeskClient(server.port, token(ROOM))
        talking = DeskClient(server.port, token(ROOM))
        try:
            assert talking.silence(4.0)[0][0] == "hello"  # It answers pings while it waits.
            assert server.stats()["sockets"] == 1
            assert silent.ws.recv_data()  # hello
            assert silent.closing() == 1008
        finally:
            silent.close()
            talking.close()


def test_clients_that_come_and_go_leave_nothing_behind(
    server: LiveServer, thin: Callable[[int, int], int]
) -> None:
    for _ in range(thin(500, 60)):
        client = DeskClient(server.port, token(ROOM))
        client.close()
    found = server.wait(sockets=0, viewers=0, members=0, namespace_members=0)
    descriptors = len(os.listdir(f"/proc/{found['pid']}/fd"))
    for _ in range(thin(500, 60)):
        client = DeskClient(server.port, token(ROOM))
        client.ws.send("1")
        client.closing()
        client.close()
    server.wait(sockets=0, viewers=0, members=0, namespace_members=0)
    assert len(os.listdir(f"/proc/{found['pid']}/fd")) <= descriptors + 2


def test_a_storm_of_reconnecting_clients_is_let_in_within_seconds(
    thin: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    """F14: the server restarts and everybody comes back at once, without an error."""
    count = thin(1000, 200)
    with live_server() as first:
        clients = [DeskClient(first.port, token(ROOM)) for _ in range(count)]
        first.process.terminate()
        codes = {client.closing() for client in clients}
        first.process.wait(10)
        for client in clients:
            client.close()
        assert codes == {1001}, "a server that ends says so"
        port = first.port
    with live_server(port=port) as second:
        back: list[DeskClient] = []
        waited: list[float] = []
        started = time.monotonic()

        def come_back(share: int) -> None:
            for _ in range(share):
                client = DeskClient(port, token(ROOM))
                waited.append(time.monotonic() - started)
                back.append(client)

        threads = [threading.Thread(target=come_back, args=(count // 20,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        try:
            second.wait(sockets=count, viewers=count)
            took = sorted(waited)[int(count * 0.99) - 1]
            record_property("seconds_to_99_percent", round(took, 2))
            print(f"{count} clients back, 99 % after {took:.2f} s")
            assert took < 20
        finally:
            for client in back:
                client.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine, and its key beside it."""
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-keyout", str(path.with_name("key.pem")), "-out", str(path)],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


def test_the_same_holds_over_tls(certificate: Path) -> None:
    """F13: a paused reader behind TLS, whose records have to be finished with the very same bytes."""
    arguments = ("--certfile", str(certificate), "--keyfile", str(certificate.with_name("key.pem")))
    context = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    with live_server({}, None, *arguments) as server:
        client = DeskClient(server.port, token(ROOM), scheme="wss", sslopt=context)
        paused = None
        try:
            paused = DeskClient(server.port, token(ROOM), scheme="wss", sslopt=context, receive_buffer=4096)
            assert client.until("hello")
            server.do("stream", room=ROOM, officers=400, seconds=4, every_s=0.005)
            lags: list[float] = []
            lag_of(client, 4.0, lags)
            assert p99(lags) < 2
            newest: dict[str, float] = {}
            with contextlib.suppress(websocket.WebSocketTimeoutException):
                while True:
                    name, rows = paused.event(1.0)
                    if name == "positions":
                        newest |= {entry[0]: entry[3] for entry in rows}
            assert len(newest) == 400
            client.ws.send("1")
            assert client.closing() == 1000
            assert server.stats()["sockets"] == 1
        finally:
            client.close()
            if paused is not None:
                paused.close()


def test_the_bounds_are_what_the_documents_say() -> None:
    assert connection_module.QUEUED_BYTES == 256 * 1024
    assert connection_module.QUEUED_FRAMES == 1024
