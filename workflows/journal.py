"""The journal and the disclosures: who did what, and who looked at what and why. Written in the act's transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Disclosure as DisclosureKind
from backend.models import Disclosure, Journal


def write(
    uow: UnitOfWork,
    actor: Actor,
    subject_kind: str,
    subject_id: UUID,
    action: str,
    *,
    before: str | None = None,
    after: str | None = None,
    command_id: UUID | None = None,
    reason: str | None = None,
    device_at: datetime | None = None,
    on_behalf_of: UUID | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Add one act to the journal. ``data`` holds references and figures, never names, phones or texts of people."""
    uow.session.add(
        Journal(
            id=new_id(),
            town_id=uow.town,
            at=uow.now,
            device_at=device_at,
            actor_id=actor.user_id,
            on_behalf_of=on_behalf_of,
            command_id=command_id,
            subject_kind=subject_kind,
            subject_id=subject_id,
            action=action,
            from_state=before,
            to_state=after,
            reason=reason,
            data=dict(data) if data is not None else None,
            request_id=uow.request_id,
        )
    )


def disclose(
    uow: UnitOfWork,
    actor: Actor,
    subject_kind: str,
    subject_id: UUID,
    kind: DisclosureKind,
    *,
    reason: str,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Write down a look at a person's data before it is given out; if this fails, nothing is given out."""
    uow.session.add(
        Disclosure(
            id=new_id(),
            town_id=uow.town,
            at=uow.now,
            actor_id=actor.user_id,
            subject_kind=subject_kind,
            subject_id=subject_id,
            kind=kind,
            reason=reason,
            data=dict(data) if data is not None else None,
            request_id=uow.request_id,
        )
    )
