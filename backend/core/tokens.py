"""Access tokens: short-lived JWTs (RFC 7519, HS256) that name a session, refresh tokens, and secrets kept by hash.

A token says who and until when, and nothing else: rights are read from the memberships at each request. The kinds of
token are told apart by audience and type, so that one made for a socket or a link is never taken for another.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

ISSUER = "xungeng"
ACCESS_AUDIENCE = "xungeng/api"
ACCESS_TYPE = "at+jwt"
CONTENT_AUDIENCE = "xungeng/content"
CONTENT_TYPE = "content+jwt"
ALGORITHMS = ["HS256"]
MAXIMUM_LENGTH = 2048


class BadTokenError(Exception):
    """The token is not one of ours, is for something else, or has run out."""


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What an access token says."""

    user_id: UUID
    town_id: UUID
    session_id: UUID
    expires_at_s: int


def derive_key(secret_key: bytes, purpose: str) -> bytes:
    """Return a 32-byte key for one purpose, so that no two uses share a key."""
    return hmac.digest(secret_key, b"xungeng:" + purpose.encode(), "sha256")


class AccessTokens:
    """Makes and reads access tokens with the installation's key."""

    def __init__(self, secret_key: bytes, ttl_s: int) -> None:
        self._key = OctKey.import_key(derive_key(secret_key, "access-token"))
        self.ttl_s = ttl_s

    def make(self, user_id: UUID, town_id: UUID, session_id: UUID, now: datetime) -> str:
        """Return a token that runs out ``ttl_s`` seconds after ``now``."""
        issued = int(now.timestamp())
        claims = {
            "iss": ISSUER,
            "aud": ACCESS_AUDIENCE,
            "sub": str(user_id),
            "town": str(town_id),
            "sid": str(session_id),
            "iat": issued,
            "exp": issued + self.ttl_s,
        }
        return jwt.encode({"alg": "HS256", "typ": ACCESS_TYPE}, claims, self._key, algorithms=ALGORITHMS)

    def read(self, token: str, now: datetime) -> AccessClaims:
        """Return what the token says.

        Raises:
            BadTokenError: signature, algorithm, type, issuer, audience or time is not right, or a claim is missing.
        """
        if len(token) > MAXIMUM_LENGTH:
            raise BadTokenError("too long")
        try:
            decoded = jwt.decode(token, self._key, algorithms=ALGORITHMS)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise BadTokenError("unreadable") from error
        header, claims = decoded.header, decoded.claims
        if set(header) != {"alg", "typ"} or header["typ"] != ACCESS_TYPE:
            raise BadTokenError("not an access token")
        if claims.get("iss") != ISSUER or claims.get("aud") != ACCESS_AUDIENCE:
            raise BadTokenError("made for something else")
        issued, expires = claims.get("iat"), claims.get("exp")
        if type(issued) is not int or type(expires) is not int:
            raise BadTokenError("no times")
        if not issued - 60 <= now.timestamp() < expires or expires - issued > self.ttl_s:
            raise BadTokenError("run out")
        try:
            return AccessClaims(UUID(claims["sub"]), UUID(claims["town"]), UUID(claims["sid"]), expires)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise BadTokenError("claims missing") from error


class ContentLinks:
    """Makes and reads what a link to one piece of evidence carries: for one session, and for minutes.

    A player cannot send a bearer token. Whoever gets hold of the link has no more than this one recording, and only
    while the session lives: that is looked up with each request.
    """

    TTL_S = 600

    def __init__(self, secret_key: bytes) -> None:
        self._key = OctKey.import_key(derive_key(secret_key, "content-link"))

    def make(self, session: AccessClaims, evidence_id: UUID, now: datetime) -> tuple[str, datetime]:
        """Return the token, and when it runs out."""
        expires = int(now.timestamp()) + self.TTL_S
        claims = {
            "iss": ISSUER,
            "aud": CONTENT_AUDIENCE,
            "sub": str(session.user_id),
            "town": str(session.town_id),
            "sid": str(session.session_id),
            "evidence": str(evidence_id),
            "exp": expires,
        }
        token = jwt.encode({"alg": "HS256", "typ": CONTENT_TYPE}, claims, self._key, algorithms=ALGORITHMS)
        return token, datetime.fromtimestamp(expires, UTC)

    def read(self, token: str, evidence_id: UUID, now: datetime) -> AccessClaims:
        """Return for whose session it is.

        Raises:
            BadTokenError: it is not one of ours, is for something else, or has run out.
        """
        if len(token) > MAXIMUM_LENGTH:
            raise BadTokenError("too long")
        try:
            decoded = jwt.decode(token, self._key, algorithms=ALGORITHMS)
            header, claims = decoded.header, decoded.claims
            if header.get("typ") != CONTENT_TYPE or claims.get("aud") != CONTENT_AUDIENCE:
                raise BadTokenError("made for something else")
            if claims["evidence"] != str(evidence_id):
                raise BadTokenError("for another piece of evidence")
            expires = int(claims["exp"])
            if now.timestamp() >= expires:
                raise BadTokenError("run out")
            return AccessClaims(UUID(claims["sub"]), UUID(claims["town"]), UUID(claims["sid"]), expires)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadTokenError("unreadable") from error


class RefreshTokens:
    """Makes refresh tokens: the session, a secret, and a code that shows that both are of our making.

    By the code a token that is none is known without asking the database, and by the session it is counted for whom a
    good one is used. A token's successor follows from it, so whoever may use it twice gets the same one twice.
    """

    _SECRET, _CODE = 32, 16

    def __init__(self, secret_key: bytes) -> None:
        self._code_key = derive_key(secret_key, "refresh-token")
        self._successor_key = derive_key(secret_key, "refresh-token-successor")

    def first(self, session_id: UUID) -> str:
        """Return a session's first token."""
        return self._make(session_id, secrets.token_bytes(self._SECRET))

    def successor(self, token: str, session_id: UUID) -> str:
        """Return the one token that follows this one; without the installation's key nobody can tell it."""
        return self._make(session_id, hmac.digest(self._successor_key, token.encode(), "sha256"))

    def session_of(self, token: str) -> UUID | None:
        """Return the session that a token of our making names; None for any other. It may be used or over."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        named, code = raw[: -self._CODE], raw[-self._CODE :]
        if len(raw) != 16 + self._SECRET + self._CODE or not hmac.compare_digest(code, self._code(named)):
            return None
        return UUID(bytes=named[:16])

    def _make(self, session_id: UUID, secret: bytes) -> str:
        named = session_id.bytes + secret
        return base64.urlsafe_b64encode(named + self._code(named)).decode().rstrip("=")

    def _code(self, named: bytes) -> bytes:
        return hmac.digest(self._code_key, named, "sha256")[: self._CODE]


def new_secret() -> str:
    """Return a random secret of 256 bits, safe in URLs."""
    return secrets.token_urlsafe(32)


def secret_hash(secret: str) -> bytes:
    """Return what is stored of a long random secret; no salt or stretching is needed for 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
