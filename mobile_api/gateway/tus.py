"""Uploads by the tus protocol 1.0.0 (https://tus.io/protocols/resumable-upload), of the officers' own evidence.

Offered are creation, creation-with-upload, creation-defer-length, checksum (sha1 and sha256) and expiration.
Termination is not: nobody deletes evidence. What a client needs to say of a file stands in ``Upload-Metadata``: its
``id`` (UUIDv7) and ``sha256`` (64 hexadecimal digits), both made when it was taken, and ``captured_at``; ``filename``
is kept as it came and names no file here. The same addresses speak the draft of the IETF (``resumable_draft``).

An offset that is told has been written and brought to the disk before. What arrived before a cut is kept. Whoever is
refused is told so by a problem document, with the header that the protocol has for it. No transaction is open while
bytes arrive, and a part of an upload takes so much memory, however long it is.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, current_app, g, request

from backend.adapters import recordings, storage
from backend.adapters.storage import Part, Spool, Store
from backend.core.config import Config
from backend.core.errors import Conflict, Invalid, Refusal, TooLarge, Unreadable, Unsupported
from backend.core.identity import Actor
from backend.core.ids import id_of
from backend.core.tokens import AccessClaims
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import EvidenceKind, EvidenceState
from mobile_api import limits, problems
from mobile_api.endpoint import claims_of_session
from mobile_api.fields import EARLIEST, LATEST
from mobile_api.gateway import resumable_draft as draft
from mobile_api.identity import identity
from mobile_api.slow_bodies import Writing
from workflows import access, evidence

VERSION = "1.0.0"
PATH = "/api/v1/evidence/uploads"
EXTENSIONS = "creation,creation-with-upload,creation-defer-length,checksum,expiration"
OFFSET_TYPE = "application/offset+octet-stream"
ALGORITHMS = {"sha1": hashlib.sha1, "sha256": hashlib.sha256}
MOST_METADATA = 4096
READ_BYTES = 8 * 1024
"""So much is read at once of a body that comes in chunks: what is lost with one that breaks is less than this."""
MOST_CHECKED_BYTES = 64 * 1024 * 1024
"""Of a part that waits beside the upload until its checksum is right: it takes its room twice."""
WRITE_BYTES = 256 * 1024
METHODS = ["GET", "HEAD", "POST", "PATCH", "OPTIONS", "DELETE", "PUT"]
SEE, SEND, BEGIN = limits.Limit("600/minute"), limits.Limit("1200/minute"), limits.ACT
MAY = ("record", "evidence")
Bytes = bytes | memoryview


class WrongVersion(Refusal):
    """412: another version of the protocol."""

    status, code, title = 412, "tus_version", f"This server speaks tus {VERSION}."

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Tus-Version": VERSION}


class WrongOffset(Conflict):
    """409: the part does not begin where the upload ends, or the upload is complete."""

    code, title = "wrong_offset", "The upload does not end there."

    def __init__(self, offset: int, code: str | None = None, detail: str | None = None) -> None:
        super().__init__(code, detail)
        self._offset = offset

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Upload-Offset": str(self._offset)}


class ChecksumMismatch(Refusal):
    """460: the part is not what its checksum says; nothing of it is kept."""

    status, code, title = 460, "checksum_mismatch", "The part was damaged on the way."


class EvidenceRejected(Refusal):
    """422: all of it has arrived, and it is not what was declared, or nothing of its kind; ``fault`` says which."""

    status, code, title = (
        422,
        "rejected",
        "What has arrived is not what was declared at capture, or nothing of its kind.",
    )


class Uploads(Blueprint):
    """The blueprint of the protocol, which says which endpoints it has."""

    def __init__(self) -> None:
        super().__init__("tus", __name__)
        self.endpoints = ["collection", "one"]
        for rule, name, view in (
            (PATH, "collection", _collection),
            (f"{PATH}/<uuid:upload_id>", "one", _one),
        ):
            self.add_url_rule(rule, name, view, methods=METHODS, provide_automatic_options=False)
        self.after_request(_speak)


def _speak(response: Response) -> Response:
    """Say which version is spoken; and end a connection on which the rest of a refused body would follow."""
    if draft.interop() is None:
        response.headers["Tus-Resumable"] = VERSION
    if (
        response.status_code == 409
    ):  # What the caller wanted to begin or to go on with has nothing more than this.
        response.headers.setdefault("Upload-Offset", "0")
    if response.status_code >= 400 and g.get("unread", True) and _brings_body():
        response.headers["Connection"] = "close"
    return response


def _collection() -> Response:
    method = _method()
    if method == "OPTIONS":
        return _options()
    _check_version()
    if method != "POST":
        return _other_method("OPTIONS, POST")
    claims = _admitted("begin", BEGIN)
    return _create(claims)


def _one(upload_id: UUID) -> Response:
    method = _method()
    if method == "OPTIONS":
        return _options()
    _check_version()
    if method not in ("HEAD", "PATCH"):
        return _other_method("HEAD, OPTIONS, PATCH")
    claims = _counted(method.lower(), SEE if method == "HEAD" else SEND)
    return _head(claims, upload_id) if method == "HEAD" else _patch(claims, upload_id)


def _method() -> str:
    return (request.headers.get("X-HTTP-Method-Override") or request.method).upper()


def _other_method(allowed: str) -> Response:
    return problems.answer(405, *problems.FRAMEWORK[405], headers={"Allow": allowed})


def _options() -> Response:
    most = str(max(map(_most, EvidenceKind)))
    return _answer(
        200,
        {
            "Tus-Version": VERSION,
            "Tus-Extension": EXTENSIONS,
            "Tus-Max-Size": most,
            "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
            "Upload-Limit": f"max-size={most}",
        },
    )


def _check_version() -> None:
    if request.headers.get("Tus-Resumable") != VERSION and draft.interop() is None:
        raise WrongVersion()


def _admitted(act: str, limit: limits.Limit) -> AccessClaims:
    """Return who calls, having counted the call for his session, and refuse whoever takes no photos.

    Raises:
        Unauthenticated, TooMany, Forbidden: as with any other endpoint.
    """
    claims = _counted(act, limit)
    with _unit(claims) as uow:
        _officer(uow, claims)
    return claims


def _counted(act: str, limit: limits.Limit) -> AccessClaims:
    """Return who calls, having counted the call for his session.

    Raises:
        Unauthenticated, TooMany: as with any other endpoint.
    """
    counters: limits.Limits = current_app.extensions["xungeng.limits"]
    try:
        claims = claims_of_session()
    finally:  # Without a token it counts for the address.
        counters.check(limit, f"tus.{act}", limits.caller_of(request))
    counters.check_misses(limits.caller_of(request))
    return claims


def _officer(uow: UnitOfWork, claims: AccessClaims) -> Actor:
    """Return who calls, who has to be somebody that takes photos.

    Raises:
        Forbidden: he is not.
    """
    actor = identity().actor(uow, claims)
    access.require(actor, *MAY)
    return actor


def _unit(claims: AccessClaims) -> Any:
    return unit_of_work(claims.town_id, request_id=g.request_id)


def _config() -> Config:
    config: Config = current_app.extensions["xungeng.config"]
    return config


def _spool() -> Spool:
    spool: Spool = current_app.extensions["xungeng.spool"]
    return spool


def _store() -> Store:
    store: Store = current_app.extensions["xungeng.store"]
    return store


def _most(kind: str) -> int:
    """Return how many bytes a file of a kind may have."""
    config = _config()
    return (config.evidence_max_mb if kind == EvidenceKind.IMAGE else config.recording_max_mb) << 20


def _room(kind: str) -> evidence.Room:
    config = _config()
    return evidence.Room(
        of_one=_most(kind),
        of_town=config.evidence_quota_gb << 30,
        free=storage.threads.run(_store().free_bytes),
    )


# --- Creation


def _create(claims: AccessClaims) -> Response:
    declared = _declared()
    brings, last = _brings_body(), draft.completes()
    if brings and last is None:
        _check_type()
    room = _room(declared.kind)
    # Before the row: whoever has its id finds where its bytes go, and a file without a row is swept away in time.
    with _unit(claims) as uow:
        actor = identity().actor(uow, claims)
        begun = evidence.begin(uow, actor, declared, room)
        if begun.state == EvidenceState.UPLOADING:
            storage.threads.run(_spool().make, begun.id)
    headers = {"Location": f"{PATH}/{begun.id}", "Upload-Expires": _http_date(begun.expires_at)}
    if brings:
        if begun.state != EvidenceState.UPLOADING:
            raise _complete_already(begun.length)
        offset = _take(claims, begun, at=0, last=last)
        headers |= _reached(offset, complete=offset == begun.length)
    elif draft.interop() is not None:
        headers |= _reached(0, complete=False)
    return _answer(201, headers)


def _declared() -> evidence.Declared:
    raw = request.headers.get("Upload-Metadata", "")
    told = _metadata(raw)
    upload_id = id_of(told.get("id"))
    if upload_id is None or upload_id.version != 7:
        raise Invalid(
            "Upload-Metadata has to name the photo's id, a UUIDv7.", "metadata_needed", id=["needed"]
        )
    if not re.fullmatch(r"[0-9a-fA-F]{64}", told.get("sha256", "")):
        raise Invalid(
            "Upload-Metadata has to name the SHA-256 that was made when the photo was taken.",
            "metadata_needed",
            sha256=["needed"],
        )
    return evidence.Declared(
        id=upload_id,
        sha256=bytes.fromhex(told["sha256"]),
        captured_at=_moment(told.get("captured_at", "")),
        length=_declared_length(),
        metadata=raw,
        kind=recordings.kind_of(told.get("filetype", "")),
    )


def _metadata(header: str) -> dict[str, str]:
    """Read ``key base64,key2 base64``; a key without a value has an empty one."""
    if len(header) > MOST_METADATA:
        raise Unreadable("unreadable", "Upload-Metadata is too long.")
    told: dict[str, str] = {}
    for pair in filter(None, (one.strip() for one in header.split(","))):
        key, _, encoded = pair.partition(" ")
        try:
            if not key.isascii() or key in told:
                raise ValueError
            told[key] = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeError, ValueError):
            raise Unreadable("unreadable", "Upload-Metadata cannot be read.") from None
    return told


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(
            "Upload-Metadata has to say when the photo was taken, with a zone.",
            "metadata_needed",
            captured_at=["needed"],
        ) from None
    if not EARLIEST <= moment < LATEST:
        raise Invalid("The phone's clock is wrong.", "clock_wrong", captured_at=["out of range"])
    return moment


def _declared_length() -> int | None:
    given, deferred = request.headers.get("Upload-Length"), request.headers.get("Upload-Defer-Length")
    if draft.interop() is not None and given is None:
        return draft.whole_length(0, draft.completes())
    if (given is None) == (deferred is None):
        raise Unreadable("unreadable", "Upload-Length is needed, or Upload-Defer-Length: 1.")
    if given is None:
        if deferred != "1":
            raise Unreadable("unreadable", "Upload-Defer-Length can only be 1.")
        return None
    return _whole("Upload-Length", given)


def _whole(name: str, text: str | None) -> int:
    if text is None or not re.fullmatch(r"[0-9]{1,18}", text):
        raise Unreadable("unreadable", f"{name} has to be a whole number.")
    return int(text)


# --- How far it is


def _head(claims: AccessClaims, upload_id: UUID) -> Response:
    with _unit(claims) as uow:
        found = evidence.upload(uow, _officer(uow, claims), upload_id)
    headers = {"Upload-Expires": _http_date(found.expires_at)}
    if found.upload_metadata:
        headers["Upload-Metadata"] = found.upload_metadata
    if found.length is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(found.length)
    if found.state != EvidenceState.UPLOADING:
        return _answer(200, headers | _reached(found.length or 0, complete=True))
    with _spool().opened(upload_id) as part:
        # What the process before this one wrote may not have been on the disk when it died.
        storage.threads.run(part.sync)
        complete = part.offset == found.length
        if complete:
            _complete(claims, upload_id, part)
        return _answer(200, headers | _reached(part.offset, complete=complete))


# --- Parts


def _patch(claims: AccessClaims, upload_id: UUID) -> Response:
    with _unit(claims) as uow:
        actor = _officer(uow, claims)
        last = draft.completes()
        _check_type()
        at = _whole("Upload-Offset", request.headers.get("Upload-Offset"))
        given = request.headers.get("Upload-Length")
        said = _whole("Upload-Length", given) if given else None
        found = evidence.upload(uow, actor, upload_id)
    if found.state != EvidenceState.UPLOADING:
        raise _complete_already(found.length)
    offset = _take(claims, found, at=at, said=said, last=last)
    told = _reached(offset, complete=last or offset in (found.length, said))
    return _answer(204, {**told, "Upload-Expires": _http_date(found.expires_at)})


def _reached(offset: int, *, complete: bool) -> dict[str, str]:
    """Say how much is here; to whoever speaks the draft also whether that is all."""
    told = {"Upload-Offset": str(offset)}
    return told if draft.interop() is None else told | {"Upload-Complete": draft.word(complete)}


def _complete_already(length: int | None) -> WrongOffset:
    return WrongOffset(length or 0, "upload_complete", "This upload is complete; it never changes.")


def _take(
    claims: AccessClaims, found: Any, *, at: int, said: int | None = None, last: bool | None = None
) -> int:
    """Take in a part, and the whole if it is the last one; return how far the upload is then.

    A length that is ``said`` with it is kept once it fits what has arrived and what is announced: it never changes.

    Raises:
        WrongOffset: the upload ends elsewhere. Locked: another part is being taken in.
        ChecksumMismatch: nothing of the part is kept. TooLarge: it is longer than what was declared.
        EvidenceRejected: it is complete, and not what was declared, or nothing of its kind.
    """
    checksum, upload_id, length = _checksum(), found.id, found.length
    if length is None and said is None:
        said = draft.whole_length(at, last)
    with _spool().opened(upload_id) as part:
        if at != part.offset:
            raise WrongOffset(part.offset)
        if length is None:
            # Whoever had it open a moment ago may have said how long it is, and given back the room beyond.
            with _unit(claims) as uow:
                length = evidence.upload(uow, _officer(uow, claims), upload_id).length
        if said is not None and said < part.offset:
            raise Unreadable("unreadable", "Upload-Length is less than what has arrived.")
        most = next((one for one in (length, said) if one is not None), _most(found.kind))
        if at + (request.content_length or 0) > most:
            raise TooLarge("too_large", "This part is longer than what is left of the upload.")
        if checksum is not None and (request.content_length or 0) > MOST_CHECKED_BYTES:
            raise TooLarge("too_large", f"A part with a checksum may have {MOST_CHECKED_BYTES} bytes.")
        if said is not None:
            length = _say_length(claims, found, part, said)
        if checksum is not None:
            _add_checked(part, *checksum, most=min(most, part.offset + MOST_CHECKED_BYTES))
        else:
            _add(part, most - part.offset)
        if last and length is None:  # It came in chunks: only now is it known how long it was.
            length = _say_length(claims, found, part)
        if last and part.offset != length:
            raise Unreadable("unreadable", "Upload-Complete was said before all of it was here.")
        if part.offset == length:
            _complete(claims, upload_id, part)
        return part.offset


def _say_length(claims: AccessClaims, found: Any, part: Part, length: int | None = None) -> int:
    """Keep how long an upload is: as was said, or as long as what has arrived.

    Raises:
        WrongOffset: it was said before, and otherwise; with the offset, which every 409 of the protocol tells.
    """
    room = _room(found.kind)
    length = part.offset if length is None else length
    try:
        with _unit(claims) as uow:
            evidence.say_length(uow, identity().actor(uow, claims), found.id, length, room)
    except Conflict as refused:
        raise WrongOffset(part.offset, "length_known", refused.detail) from None
    return length


def _add(part: Part, most: int) -> None:
    """Add what arrives, and keep it whatever happens then."""
    try:
        _gather(most, part.add, part.adding)
    finally:
        storage.threads.run(part.sync)


def _add_checked(part: Part, algorithm: Callable[[], Any], expected: bytes, *, most: int) -> None:
    """Add a part that has a checksum: all of it, or nothing."""
    seen = algorithm()

    def wait(data: Bytes) -> None:
        seen.update(data)
        chunk.add(data)

    with closing(storage.threads.run(_spool().chunk)) as chunk:
        _gather(most - part.offset, wait, lambda: nullcontext(wait))
        if not hmac.compare_digest(seen.digest(), expected):
            raise ChecksumMismatch()
        storage.threads.run(part.add_checked, chunk)


def _gather(most: int, write: Callable[[Bytes], None], writing: Writing) -> None:
    """Write what arrives beside the sockets, as much as is worth it at once; what came before a cut as well."""
    gathered, arriving = bytearray(), _Arriving(most)

    def pour() -> None:
        data = bytes(gathered)
        gathered.clear()
        if data:
            storage.threads.run(write, data)

    try:
        while piece := arriving.some():
            gathered += piece
            if len(gathered) >= WRITE_BYTES:
                pour()
                arriving.rush(writing)
    finally:
        pour()
    g.unread = False


def _checksum() -> tuple[Callable[[], Any], bytes] | None:
    given = request.headers.get("Upload-Checksum")
    if given is None:
        return None
    name, _, encoded = given.strip().partition(" ")
    algorithm = ALGORITHMS.get(name)
    try:
        expected = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        expected = b""
    if algorithm is None or len(expected) != algorithm().digest_size:
        raise Unreadable("checksum_unreadable", "Upload-Checksum has to be sha1 or sha256, and Base64.")
    return algorithm, expected


def _check_type() -> None:
    interop = draft.interop()
    wanted = OFFSET_TYPE if interop is None else draft.PART_TYPE
    if interop != 5 and request.mimetype != wanted:
        raise Unsupported("unsupported_media_type", f"This address reads {wanted}.")


def _brings_body() -> bool:
    return "HTTP_TRANSFER_ENCODING" in request.environ or bool(request.content_length)


class _Arriving:
    """The body of a part as it arrives, and no more than ``most`` of it.

    Raises:
        Unreadable: it broke off. TooLarge: it is longer than ``most``. Or what waits for slow bodies says (408, 429).
    """

    def __init__(self, most: int) -> None:
        self._stream = request.environ["wsgi.input"]
        chunked = "HTTP_TRANSFER_ENCODING" in request.environ
        self._left = None if chunked else request.content_length or 0
        self._most = most

    def some(self) -> bytes:
        """Return what has come next, or nothing at the end."""
        if self._left == 0:
            return b""
        if (renew := getattr(self._stream, "renew", None)) is not None:
            renew()
        read = getattr(self._stream, "some", None)
        try:
            if read is None or self._left is None:
                piece = self._stream.read(READ_BYTES if self._left is None else min(READ_BYTES, self._left))
            else:
                piece = read(self._left)
        except OSError:  # The connection broke; gunicorn's own words for it are of this kind too.
            raise Unreadable("broken_off", "The part broke off.") from None
        if not piece and self._left:
            raise Unreadable("broken_off", "The part broke off.")
        self._took(len(piece))
        return bytes(piece)

    def rush(self, writing: Writing) -> None:
        """Write what comes for as long as it comes fast; what comes slowly is left to ``some``."""
        rush = getattr(self._stream, "rush", None)
        if rush is not None and self._left:
            self._took(rush(storage.threads.run, writing, min(self._left, self._most)))

    def _took(self, count: int) -> None:
        self._most -= count
        if self._most < 0:
            raise TooLarge("too_large", "This part is longer than what is left of the upload.")
        if self._left is not None:
            self._left -= count


# --- The whole


def _complete(claims: AccessClaims, upload_id: UUID, part: Part) -> None:
    """Keep what is complete, and say so; what is not what was declared is thrown away.

    It is in the store before the transaction and in the spool until after it: whatever dies in between, the next word
    of the phone brings it here again.

    Raises:
        EvidenceRejected: it is not what was declared, or nothing of its kind.
    """
    sha256 = part.sha256.digest()
    with _unit(claims) as uow:
        begun = evidence.upload(uow, identity().actor(uow, claims), upload_id)
        declared, kind = begun.declared_sha256, begun.kind
    media_type = recordings.media_type(kind, part.head(recordings.HEAD_BYTES))
    if sha256 == declared and media_type is not None:
        storage.threads.run(_store().keep, claims.town_id, sha256, part.path)
    with _unit(claims) as uow:
        found = evidence.arrived(uow, upload_id, sha256=sha256, length=part.offset, media_type=media_type)
    storage.threads.run(_spool().drop, upload_id)
    if found.state == EvidenceState.REJECTED:
        raise EvidenceRejected(fault=found.reason)


def _http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def _answer(status: int, headers: Mapping[str, str]) -> Response:
    return Response(status=status, headers={"Cache-Control": "no-store", **headers})


uploads = Uploads()
