"""What every channel is: something that hands one message to one address, or says why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from backend.core.vocabulary import NoticeChannel, NoticeKind

TIMEOUT_S = 8.0
"""How long a channel waits for its provider."""


@dataclass(frozen=True)
class Message:
    """A notice as it travels. ``event_id`` is the notice's: who has had it by whatever way drops it.

    ``template_id``, ``signature`` and ``parameters`` are for providers that take no text of ours; ``link`` opens the
    notice in its recipient's client.
    """

    event_id: UUID
    delivery_id: UUID
    kind: NoticeKind
    subject_kind: str
    subject_id: UUID
    urgent: bool
    title: str
    body: str
    language: str
    expires_at: datetime | None = None
    template_id: str | None = None
    signature: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    link: str | None = None

    def seconds_left(self, now: datetime, most: int) -> int:
        """Return for how long a provider may keep the message for a phone that is off."""
        if self.expires_at is None:
            return most
        return max(1, min(most, int((self.expires_at - now).total_seconds())))


@dataclass(frozen=True)
class Target:
    """Where a message goes on one channel; ``address_id`` is None for a user's own phone and for groups."""

    token: str
    keys: Mapping[str, str] = field(default_factory=dict)
    address_id: UUID | None = None


class Channel(Protocol):
    """A way to people."""

    name: NoticeChannel

    def send(self, message: Message, target: Target) -> str | None:
        """Hand the message over and return what the provider calls it.

        Raises:
            TryLater: not now. Rejected: never. AddressDead: nobody is there any more.
        """
        ...


class NotTakenError(Exception):
    """The provider has not taken the message; ``code`` is literal and says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class TryLater(NotTakenError):
    """It may take it later; ``after_s``: not before. ``all_wait``: this holds for every message of the channel."""

    def __init__(self, code: str, after_s: float | None = None, *, all_wait: bool = False) -> None:
        super().__init__(code)
        self.after_s, self.all_wait = after_s, all_wait


class Rejected(NotTakenError):
    """It will never take this message."""


class AddressDead(NotTakenError):
    """Nobody is reached at this address any more; it is to be forgotten."""
