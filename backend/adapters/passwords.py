"""Passwords: argon2id with the library's defaults, a strength check, and a bound on how many are hashed at once.

One hash takes 64 MiB and a core for some 60 ms. Hashing therefore runs on two native threads at most: in a gevent
process the sockets go on meanwhile, and a flood of sign-ins queues up to a bound and is then refused. Whoever hashes
for a caller who may be anybody holds no transaction meanwhile: connections are fewer than callers.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn import zxcvbn

from backend.core.errors import Invalid, Unavailable
from backend.core.native import NativeThreads

PARALLEL = 2
MAXIMUM_WAITING = 12
MINIMUM_LENGTH = 10
MAXIMUM_LENGTH = 128

T = TypeVar("T")
_hasher = PasswordHasher()
_waiting = threading.BoundedSemaphore(MAXIMUM_WAITING)
_threads = NativeThreads(PARALLEL, "passwords")


@cache
def decoy() -> str:
    """The hash that a password is compared with where there is none. Made once, by the first who signs in."""
    return _hasher.hash("nobody has this password")


@contextmanager
def place() -> Iterator[None]:
    """Take one of the few places of those who wait for a hash or have theirs made.

    Raises:
        Unavailable: all are taken; nothing was looked at.
    """
    if not _waiting.acquire(blocking=False):
        raise Unavailable("Too many sign-ins at once; please try again.", retry_after_s=2, code="busy")
    try:
        yield
    finally:
        _waiting.release()


def _bounded(work: Callable[..., T], *arguments: Any) -> T:
    with place():
        return _threads.run(work, *arguments)


def hash_password(password: str) -> str:
    """Return the argon2id hash of a password."""
    return str(_bounded(_hasher.hash, password))


def matches(stored: str | None, password: str) -> bool:
    """Say whether the password is the stored one, in the same time when nothing is stored."""
    with place():
        return matches_in_place(stored, password)


def matches_in_place(stored: str | None, password: str) -> bool:
    """The same for a caller who holds a :func:`place` already, because he took it before anything else."""
    return bool(_threads.run(_verify, stored, password[:MAXIMUM_LENGTH]))


def _verify(stored: str | None, password: str) -> bool:
    nobodys = (
        decoy()
    )  # Asked for in any case: the first to sign in waits for it, whether there is such an account or not.
    try:
        _hasher.verify(stored or nobodys, password)
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


def check_strength(password: str, *known: str, field: str = "password") -> None:
    """Refuse a password that is short, common, or made of what is known about the person.

    Raises:
        Invalid: with the code ``weak_password``; ``field`` is what the caller's form calls the password.
    """
    if not MINIMUM_LENGTH <= len(password) <= MAXIMUM_LENGTH:
        raise Invalid(
            f"A password has {MINIMUM_LENGTH} to {MAXIMUM_LENGTH} characters.",
            "weak_password",
            **{field: ["length"]},
        )
    if zxcvbn(password[:72], user_inputs=[text for text in known if text])["score"] < 3:
        raise Invalid("This password is too easy to guess.", "weak_password", **{field: ["guessable"]})
