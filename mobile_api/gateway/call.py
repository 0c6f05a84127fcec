"""One request of a tracker and its answer, without a framework: raw WSGI and Flask serve the same function."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.wsgi import get_input_stream

from backend.core.errors import TooLarge, Unreadable, Unsupported

MAXIMUM_BODY_BYTES = 2 * 1024 * 1024
"""Of a body as it arrives and as it unpacks; Overland's largest batch (1,000 records) is about 0.6 MiB."""
READ_BYTES = 64 * 1024
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """What a tracker asked. ``key`` is the last part of the path, where the protocol has a credential there."""

    method: str
    query: str = ""
    content_type: str = ""
    authorization: str = ""
    body: bytes = b""
    key: str | None = None
    address: str = ""
    base_url: str = ""
    """How phones reach the installation, without a slash at the end."""

    @staticmethod
    def of(environ: Mapping[str, Any], key: str | None = None, public_url: str | None = None) -> Call:
        """Read a WSGI request, body included.

        Without ``public_url`` phones are taken to reach the installation as this request did.

        Raises:
            TooLarge, Unreadable, Unsupported: the body is too long, breaks off, does not unpack, or is packed in a way
                that nobody here unpacks.
        """
        method = environ.get("REQUEST_METHOD", "GET")
        return Call(
            method=method,
            query=environ.get("QUERY_STRING", "").encode("latin-1", "replace").decode("utf-8", "replace"),
            content_type=environ.get("CONTENT_TYPE", "").lower(),
            authorization=environ.get("HTTP_AUTHORIZATION", ""),
            body=_body(environ) if method == "POST" else b"",
            key=key,
            address=environ.get("REMOTE_ADDR", ""),
            base_url=public_url
            or f"{environ.get('wsgi.url_scheme', 'http')}://{environ.get('HTTP_HOST', '')}",
        )

    @property
    def bearer(self) -> str | None:
        """The Bearer token, or None."""
        scheme, _, token = self.authorization.partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None

    @property
    def basic(self) -> tuple[str, str] | None:
        """User and password of Basic authentication, or None when there is none that can be read."""
        scheme, _, encoded = self.authorization.partition(" ")
        if scheme.lower() != "basic" or len(encoded) > 1024:
            return None
        try:
            user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeError, ValueError):
            return None
        return (user, password) if colon else None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the tracker is told."""

    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def header_list(self) -> list[tuple[str, str]]:
        """Return all headers, as WSGI and Flask take them."""
        kind = [("Content-Type", self.content_type)] if self.content_type else []
        return [*kind, ("Content-Length", str(len(self.body))), ("Cache-Control", "no-store"), *self.headers]


def method_not_allowed(*allowed: str) -> Answer:
    """405: the address does not take that method."""
    return Answer(405, headers=(("Allow", ", ".join(allowed)),))


def _body(environ: Mapping[str, Any]) -> bytes:
    raw = bytearray()
    try:
        # Bounded by Content-Length or, for a chunked body, by the most that is taken; each read may be a part.
        given = dict(environ)
        if environ.get("HTTP_TRANSFER_ENCODING"):
            given["wsgi.input_terminated"] = (
                True  # Both of our servers end a chunked body; one of them does not say so.
            )
        stream = get_input_stream(given, max_content_length=MAXIMUM_BODY_BYTES)
        while part := stream.read(READ_BYTES):
            raw += part
    except RequestEntityTooLarge:
        raise TooLarge() from None
    except (ClientDisconnected, OSError):
        raise Unreadable() from None
    encoding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if encoding in ("", "identity") or not raw:
        return bytes(raw)
    if encoding in ("gzip", "x-gzip"):
        return _unpacked(raw, zlib.MAX_WBITS | 16)
    if encoding == "deflate":
        return _unpacked(raw, zlib.MAX_WBITS)
    raise Unsupported()


def _unpacked(raw: bytes | bytearray, window_bits: int) -> bytes:
    """Unpack no more than a body may hold: a bomb of a thousand times its size is not unpacked at all."""
    unpacked = bytearray()
    while raw:
        unpacker = zlib.decompressobj(window_bits)
        try:
            unpacked += unpacker.decompress(raw, MAXIMUM_BODY_BYTES + 1 - len(unpacked))
        except zlib.error:
            raise Unreadable() from None
        if len(unpacked) > MAXIMUM_BODY_BYTES or unpacker.unconsumed_tail:
            raise TooLarge()
        if not unpacker.eof:
            raise Unreadable()
        raw = unpacker.unused_data
    return bytes(unpacked)
