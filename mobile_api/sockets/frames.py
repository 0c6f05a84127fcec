"""WebSocket framing of RFC 6455, the server's side, without any input or output of its own.

No extension is offered, so none of the reserved bits may be set. A frame to clients is not masked and therefore the
same bytes for everybody: it is encoded once and written to many sockets.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

NORMAL, GOING_AWAY, PROTOCOL_ERROR, UNSUPPORTED = 1000, 1001, 1002, 1003
NOT_UTF8, POLICY, TOO_BIG, INTERNAL_ERROR = 1007, 1008, 1009, 1011
"""Close codes of RFC 6455, section 7.4.1."""
REVOKED, TOO_SLOW = 4401, 4408
"""Our own close codes: the token is revoked or expired; the client did not read in time and catches up by REST."""

_ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class FrameError(Exception):
    """The peer broke the protocol; ``code`` is what the connection is closed with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def accept_key(key: str) -> str:
    """Return ``Sec-WebSocket-Accept`` for a client's ``Sec-WebSocket-Key`` (RFC 6455, section 4.2.2)."""
    digest = hashlib.sha1(key.encode("latin-1") + _ACCEPT_SUFFIX, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def frame(opcode: int, payload: bytes) -> bytes:
    """Return ``payload`` as one final, unmasked frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a close frame; the reason is cut to what a control frame holds."""
    text = reason.encode()[:123].decode(errors="ignore").encode()
    return frame(CLOSE, code.to_bytes(2, "big") + text)


def unmasked(data: bytes, key: bytes) -> bytes:
    """Return ``data`` with the client's four-byte mask taken off, as one big-number exclusive or."""
    size = len(data)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")


class Decoder:
    """Turns the bytes of one client into messages; holds next to nothing between whole messages."""

    __slots__ = ("_buffer", "_limit", "_opcode", "_parts", "_size")

    def __init__(self, limit: int) -> None:
        """``limit``: the largest message in bytes; a larger one is refused when its header is seen."""
        self._limit = limit
        self._buffer = b""
        self._opcode = 0  # Of the fragmented message under way; 0 when there is none.
        self._parts: list[bytes] | None = None
        self._size = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield each complete ``(opcode, payload)``; opcode is TEXT, BINARY, CLOSE, PING or PONG.

        The payload of a text message and a close frame's reason are valid UTF-8; a close frame's payload is empty or
        begins with a code that may stand there.

        Raises:
            FrameError: at the first violation, after everything before it has been yielded.
        """
        buffer = self._buffer + data if self._buffer else data
        self._buffer = b""
        start = 0
        while True:
            read = self._frame(buffer, start)
            if read is None:
                self._buffer = buffer[start:]
                return
            final, opcode, payload, start = read
            if opcode >= CLOSE:
                if opcode == CLOSE:
                    _check_close(payload)
                yield opcode, payload
                continue
            message = self._join(final, opcode, payload)
            if message is not None:
                yield message

    def _frame(self, buffer: bytes, start: int) -> tuple[bool, int, bytes, int] | None:
        """Read one frame that begins at ``start``; None while it is incomplete."""
        available = len(buffer) - start
        if available < 2:
            return None
        first, second = buffer[start], buffer[start + 1]
        final, opcode, size = bool(first & 0x80), first & 0x0F, second & 0x7F
        if first & 0x70:
            raise FrameError(PROTOCOL_ERROR, "a reserved bit is set")
        if not second & 0x80:
            raise FrameError(PROTOCOL_ERROR, "a client's frame is not masked")
        header = 2
        if opcode >= CLOSE:
            if opcode > PONG:
                raise FrameError(PROTOCOL_ERROR, "unknown opcode")
            if not final or size > 125:
                raise FrameError(PROTOCOL_ERROR, "a control frame is fragmented or too long")
        else:
            if opcode > BINARY:
                raise FrameError(PROTOCOL_ERROR, "unknown opcode")
            if (opcode == CONTINUATION) != bool(self._opcode):
                raise FrameError(PROTOCOL_ERROR, "a fragment is out of place")
            if size > 125:
                header = 4 if size == 126 else 10
                if available < header:
                    return None
                size = int.from_bytes(buffer[start + 2 : start + header], "big")
                if size < (126 if header == 4 else 65_536) or size >> 63:
                    raise FrameError(PROTOCOL_ERROR, "a length is not in its shortest form")
            if self._size + size > self._limit:
                raise FrameError(TOO_BIG, "the message is too big")
        begin = start + header + 4
        end = begin + size
        if len(buffer) < end:
            return None
        return final, opcode, unmasked(buffer[begin:end], buffer[begin - 4 : begin]), end

    def _join(self, final: bool, opcode: int, payload: bytes) -> tuple[int, bytes] | None:
        """Add a data frame to the message under way; returns the message when it is whole."""
        if self._opcode:
            opcode = self._opcode
            if payload and self._parts is not None:
                self._parts.append(payload)
                self._size += len(payload)
            if not final:
                return None
            payload = b"".join(self._parts or ())
            self._opcode, self._parts, self._size = 0, None, 0
        elif not final:
            self._opcode, self._parts, self._size = opcode, [payload], len(payload)
            return None
        if opcode == TEXT:
            _check_text(payload)
        return opcode, payload


def _check_text(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise FrameError(NOT_UTF8, "a text is not UTF-8") from None


def _check_close(payload: bytes) -> None:
    if not payload:
        return
    if len(payload) == 1:
        raise FrameError(PROTOCOL_ERROR, "a close frame's code is cut short")
    code = int.from_bytes(payload[:2], "big")
    # RFC 6455, section 7.4: 1004 to 1006 and 1015 never travel; 1016 to 2999 are unassigned.
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise FrameError(PROTOCOL_ERROR, "a close code is not allowed")
    _check_text(payload[2:])
