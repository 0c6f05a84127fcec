"""Bounds on guessing: counted in the database, before the guess is looked at, so that parallel guesses count too.

Keys are keyed hashes: the table says how often something was tried, and never what or from where. A count that
cannot be made is an exception, and with it a refusal.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert

from backend.core.errors import TooMany
from backend.core.uow import UnitOfWork
from backend.models import Throttle


@dataclass(frozen=True)
class Bound:
    """At most ``most`` tries in ``window`` for one ``key`` (what is limited, then by what)."""

    key: tuple[str, ...]
    most: int
    window: timedelta


class Throttling:
    """Counts tries under the installation's key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def count(self, uow: UnitOfWork, bounds: Iterable[Bound]) -> TooMany | None:
        """Count one try against every bound and return the refusal if one is exceeded.

        The caller raises it after the transaction has committed; raised inside, the count would be undone.
        """
        refusal = None
        for bound in sorted(bounds, key=lambda b: b.key):
            start = _window(uow.now, bound.window)
            row = insert(Throttle).values(key=self._hash(bound.key), window_started_at=start, count=1)
            row = row.on_conflict_do_update(
                index_elements=[Throttle.key, Throttle.window_started_at], set_={"count": Throttle.count + 1}
            )
            count = uow.session.scalar(row.returning(Throttle.count)) or 0
            if count > bound.most:
                refusal = TooMany((start + bound.window - uow.now).total_seconds())
        return refusal

    def forget(self, uow: UnitOfWork, bounds: Iterable[Bound]) -> None:
        """Take back what was counted, because the try was right."""
        keys = [self._hash(bound.key) for bound in bounds]
        uow.session.execute(delete(Throttle).where(Throttle.key.in_(keys)))

    def _hash(self, key: tuple[str, ...]) -> bytes:
        return hmac.digest(self._key, "\x1f".join(key).encode("utf-8", "surrogatepass"), "sha256")


def forget_old(uow: UnitOfWork) -> int:
    """Delete counts of windows long past; return how many."""
    result = uow.session.execute(
        delete(Throttle).where(Throttle.window_started_at < uow.now - timedelta(days=2))
    )
    return int(result.rowcount)  # type: ignore[attr-defined]


def _window(now: datetime, length: timedelta) -> datetime:
    seconds = int(length.total_seconds())
    return datetime.fromtimestamp(int(now.timestamp()) // seconds * seconds, UTC)
