"""The unit of work: one transaction, one clock reading, one town."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from backend.core import clock
from backend.core.db import get_engine


class UnitOfWork:
    """One open transaction.

    Attributes:
        session: the SQLAlchemy session; workflows add, query and flush on it and never commit.
        now: the moment of the act, read once, aware UTC; every stamp of the act uses it.
        town_id: the town whose rows are visible; None means that there are no scoped rows at all.
        request_id: what the logs and the journal call the request, if there is one.
    """

    def __init__(self, session: Session, *, request_id: str | None = None) -> None:
        self.session = session
        self.now: datetime = clock.now()
        self.town_id: UUID | None = None
        self.request_id = request_id

    def enter_town(self, town_id: UUID) -> None:
        """Make the rows of ``town_id`` visible until the transaction ends (``SET LOCAL``)."""
        self.session.execute(text("select set_config('xungeng.town', :town, true)"), {"town": str(town_id)})
        self.town_id = town_id

    @property
    def town(self) -> UUID:
        """The town of this unit of work; asking for it before it is known is a mistake of the caller."""
        if self.town_id is None:
            raise RuntimeError("This unit of work has entered no town.")
        return self.town_id

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A part of the transaction that an exception undoes alone (``SAVEPOINT``); what was done before it stays."""
        with self.session.begin_nested():
            yield

    def notify(self, channel: str, payload: Mapping[str, Any]) -> None:
        """Tell every listening process, at commit and not before; a rollback tells nobody."""
        self.session.execute(
            text("select pg_notify(:channel, :payload)"),
            {"channel": channel, "payload": json.dumps(payload, default=str)},
        )

    def notify_each(self, channel: str, payloads: Sequence[Mapping[str, Any]]) -> None:
        """Tell the same as ``notify`` would one by one, in one statement."""
        self.session.execute(
            text("select pg_notify(:channel, payload) from unnest(cast(:payloads as text[])) as t (payload)"),
            {"channel": channel, "payloads": [json.dumps(payload, default=str) for payload in payloads]},
        )


@contextmanager
def unit_of_work(
    town_id: UUID | None = None, *, request_id: str | None = None, engine: Engine | None = None
) -> Iterator[UnitOfWork]:
    """Open a transaction, commit it at the end of the block, roll it back on any exception."""
    with Session(engine or get_engine(), expire_on_commit=False) as session, session.begin():
        uow = UnitOfWork(session, request_id=request_id)
        if town_id is not None:
            uow.enter_town(town_id)
        yield uow
