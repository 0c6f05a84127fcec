"""Who is sent which position: clients with one and the same scope are one audience.

A room is an area; a client may see the rooms of its scope, and the server alone decides which these are. A town has
a thousand areas and far fewer different scopes, so what is encoded once and written to many is not a room's frame but
an audience's: one join of the rows' bytes for each distinct scope, one write for each client.

**Pace.** A round sends every audience what is new to it. The next round waits as long as the last one used the
processor (at least a turn of the event loop, at most 250 ms): an idle channel sends at once, a busy one coalesces to
the newest position of each officer, and fan-out never takes more than half of the process. What counts is the
processor's time and not the clock's: a round that others kept from running took no more of the process for it, and to
pause after it in proportion would make every short disturbance several times as long for the screens.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import gevent
from gevent import monkey
from gevent.event import Event

from mobile_api.sockets.connection import OPEN
from mobile_api.sockets.engine import LiveConnection
from mobile_api.sockets.frames import TEXT, frame
from notifications.channels.realtime import Row

log = logging.getLogger("xungeng.sockets")

LONGEST_PAUSE_S = 0.25
SHARE = 0.5
"""The part of the process's time that rounds may take."""
REMEMBER_S = 180.0
"""How long a row is kept for clients that are behind; they are closed for slowness long before."""
CATCH_UP_ROWS = 500
"""Rows of one frame for a client that is behind, so that what it is being sent stays small however many it missed."""

_native_ident = monkey.get_original("_thread", "get_ident")


class Audience:
    """Clients that may see the same rooms, and what they were last sent."""

    __slots__ = ("_caught_up", "_log", "_prefix", "dirty", "members", "rooms", "sent", "sequence")

    def __init__(self, rooms: frozenset[UUID], prefix: bytes) -> None:
        self.rooms = rooms
        self.members: set[LiveConnection] = set()
        self.sequence = 0
        self.sent = 0
        """The sequence up to which everybody who keeps up has been sent everything."""
        self.dirty = False
        self._prefix = prefix
        self._log: dict[UUID, tuple[int, float, float, bytes]] = {}  # By officer, in the order of arrival.
        self._caught_up: tuple[tuple[int, int], tuple[bytes, int]] | None = None

    def take(self, row: Row, now: float) -> None:
        """Note a row; one that was measured before the officer's newest is stale and dropped."""
        before = self._log.get(row.officer_id)
        if before is not None:
            if before[1] > row.fixed_at_s:
                return
            del self._log[row.officer_id]
        self.sequence += 1
        self._log[row.officer_id] = (self.sequence, row.fixed_at_s, now, row.json)
        self.dirty = True

    def _newer(self, sequence: int) -> list[tuple[int, float, float, bytes]]:
        """Return the newest row of each officer that came after ``sequence``, oldest first."""
        found = []
        for entry in reversed(self._log.values()):
            if entry[0] <= sequence:
                break
            found.append(entry)
        found.reverse()
        return found

    def _encode(self, entries: list[tuple[int, float, float, bytes]]) -> bytes:
        return frame(TEXT, self._prefix + b",".join([entry[3] for entry in entries]) + b"]]")

    def flush(self) -> int:
        """Write what is new to every member; returns to how many."""
        self.dirty = False
        before, self.sent = self.sent, self.sequence
        entries = self._newer(before)
        if not entries:
            return 0
        data = self._encode(entries)
        size = len(data)
        members = tuple(self.members)
        for member in members:
            # What Connection.send_latest does, without a call for each of a thousand members that keep up.
            if member.backlog is None and member.state == OPEN:
                try:
                    sent = member.write(data)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    member.lost()
                    continue
                if sent != size:
                    member.stall(data, sent)
            else:
                member.send_latest(data, self, lambda member=member: Behind(self, member, before))  # type: ignore[misc]
        return len(members)

    def after(self, sequence: int) -> tuple[bytes | None, int]:
        """Return a frame of the oldest rows after ``sequence``, and the sequence that it reaches.

        Clients that fell behind in the same round get the same bytes.
        """
        if self._caught_up is not None and self._caught_up[0] == (sequence, self.sequence):
            return self._caught_up[1]
        entries = self._newer(sequence)[:CATCH_UP_ROWS]
        if not entries:
            return None, self.sequence
        answer = self._encode(entries), entries[-1][0]
        self._caught_up = (sequence, self.sequence), answer
        return answer

    def forget_before(self, moment: float) -> None:
        """Drop rows that came before ``moment``."""
        for officer_id in [key for key, entry in self._log.items() if entry[2] < moment]:
            del self._log[officer_id]
        self._caught_up = None


class Behind:
    """A client that was not sent what came after a sequence; called when there is room for it (a ``Maker``)."""

    __slots__ = ("_audience", "_member", "_sequence")

    def __init__(self, audience: Audience, member: LiveConnection, sequence: int) -> None:
        self._audience, self._member, self._sequence = audience, member, sequence

    def __call__(self) -> tuple[bytes | None, bool]:
        audience = self._audience
        if self._member not in audience.members:
            return None, False  # Its scope has changed; what waited is no longer its to see.
        data, self._sequence = audience.after(self._sequence)
        if self._sequence >= audience.sent:
            return data, False
        return data, True


class Audiences:
    """All audiences of this process, and the pace at which they are written to. Belongs to the event loop's thread."""

    def __init__(
        self, namespace: str, longest_pause_s: float = LONGEST_PAUSE_S, share: float = SHARE
    ) -> None:
        self._prefix = f'42{namespace},["positions",['.encode()
        self._longest_pause_s = longest_pause_s
        self._wait_factor = 1 / share - 1
        self._by_rooms: dict[frozenset[UUID], Audience] = {}
        self._by_room: dict[UUID, tuple[Audience, ...]] = {}
        self._arrived = Event()
        self._pacer: gevent.Greenlet | None = None
        self._loop: Any = None
        self._thread = 0
        self._swept_at = time.monotonic()
        self.rounds = 0
        self.written = 0

    def join(self, connection: LiveConnection, rooms: frozenset[UUID]) -> Audience:
        """Make a client a member of the audience with exactly these rooms."""
        self._loop, self._thread = gevent.get_hub().loop, _native_ident()
        audience = self._by_rooms.get(rooms)
        if audience is None:
            audience = self._by_rooms[rooms] = Audience(rooms, self._prefix)
            self._by_room.clear()
        audience.members.add(connection)
        return audience

    def leave(self, connection: LiveConnection, audience: Audience) -> None:
        """End a membership; an audience without members ends with it."""
        audience.members.discard(connection)
        if not audience.members and self._by_rooms.get(audience.rooms) is audience:
            del self._by_rooms[audience.rooms]
            self._by_room.clear()

    def __len__(self) -> int:
        return len(self._by_rooms)

    def of_room(self, room_id: UUID) -> tuple[Audience, ...]:
        """Return the audiences that may see a room."""
        found = self._by_room.get(room_id)
        if found is None:
            found = tuple(audience for audience in self._by_rooms.values() if room_id in audience.rooms)
            if self._by_rooms:
                self._by_room[room_id] = found
        return found

    def publish(self, rows: Sequence[Row]) -> None:
        """Send rows with the next round to everybody who may see their rooms."""
        if not self._by_rooms:
            return
        if _native_ident() != self._thread:
            # Somebody publishes from a native thread; sockets belong to the loop's.
            self._loop.run_callback_threadsafe(self.publish, rows)
            return
        now = time.monotonic()
        for row in rows:
            for audience in self.of_room(row.room_id):
                audience.take(row, now)
        if self._pacer is None:
            self._pacer = gevent.spawn(self._pace)
        self._arrived.set()

    def tell(self, room_id: UUID, data: bytes) -> int:
        """Write a frame that must arrive to everybody who may see a room, at once; returns to how many."""
        count = 0
        for audience in self.of_room(room_id):
            count += send_all(audience.members, data)
        return count

    def flush(self) -> float:
        """Run one round; returns how many seconds of the processor it took."""
        started = time.thread_time()
        for audience in list(self._by_rooms.values()):
            if audience.dirty:
                self.written += audience.flush()
        self.rounds += 1
        return time.thread_time() - started

    def _pace(self) -> None:
        while True:
            self._arrived.wait()
            self._arrived.clear()
            try:
                took = self.flush()
                self._sweep()
            except Exception:
                log.exception("A round of the live channel failed.")
                took = self._longest_pause_s
            gevent.sleep(min(self._longest_pause_s, took * self._wait_factor))

    def _sweep(self) -> None:
        now = time.monotonic()
        if now - self._swept_at > REMEMBER_S:
            self._swept_at = now
            for audience in self._by_rooms.values():
                audience.forget_before(now - REMEMBER_S)


def send_all(members: Iterable[LiveConnection], data: bytes) -> int:
    """Write one frame that must arrive to many clients; returns to how many."""
    size = len(data)
    everybody = tuple(members)
    for member in everybody:
        if member.backlog is None and member.state == OPEN:
            try:
                sent = member.write(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                member.lost()
                continue
            if sent != size:
                member.stall(data, sent)
        else:
            member.send(data)
    return len(everybody)
