"""Our own web process with everything of the nearest officers but the database: what the Python side can serve.

``gunicorn -c python:backend.serve_gunicorn bench.peers.dispatch.floor:app``. Who calls and who was found are read once,
with the database, and remembered.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Engine

from backend import wsgi
from backend.core.identity import Actor
from backend.core.tokens import AccessClaims
from backend.core.uow import UnitOfWork, unit_of_work
from mobile_api import endpoint
from mobile_api.identity import Identity
from workflows import nearest

_read_actor, _read_nearest = Identity.actor, nearest.to_place
_actors: dict[UUID, Actor] = {}
_found: list[Any] = []


@contextmanager
def nothing(
    town_id: UUID | None = None, *, request_id: str | None = None, engine: Engine | None = None
) -> Iterator[UnitOfWork]:
    """A unit of work without a transaction."""
    uow = UnitOfWork(cast(Any, None), request_id=request_id)
    uow.town_id = town_id
    yield uow


def actor(self: Identity, uow: UnitOfWork, claims: AccessClaims) -> Actor:
    """Who calls, read once."""
    if claims.session_id not in _actors:
        with unit_of_work(claims.town_id) as real:
            _actors[claims.session_id] = _read_actor(self, real, claims)
    return _actors[claims.session_id]


def to_place(uow: UnitOfWork, actor: Actor, *given: Any, **more: Any) -> Any:
    """Who was found for the first who asked."""
    if not _found:
        with unit_of_work(uow.town) as real:
            _found.append(_read_nearest(real, actor, *given, **more))
    return _found[0]


endpoint.unit_of_work = nothing  # type: ignore[attr-defined]
Identity.actor = actor  # type: ignore[method-assign]
nearest.to_place = to_place


def __getattr__(name: str) -> Any:
    return getattr(wsgi, name)
