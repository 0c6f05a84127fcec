"""The officer's own track, and who looked at it."""

from typing import Any
from uuid import UUID

from flask import Response

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience
from mobile_api import limits
from mobile_api.endpoint import Door
from mobile_api.files import download
from mobile_api.officer.schemas import OfficerDisclosureSchema, OfficerPointSchema, OfficerTrackQuerySchema
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import oversight, replays

blp = Door("tracks", Audience.OFFICER, "", "The officer's own tracks.")
USE = ("use", "officer_client")


@blp.query(
    "/shifts/<uuid:shift_id>/track",
    may=USE,
    answers=page_of(OfficerPointSchema),
    arguments=OfficerTrackQuerySchema,
    refuses=(422,),
)
def own_track(uow: UnitOfWork, actor: Actor, shift_id: UUID, query: dict[str, Any]) -> Page[Any]:
    """Return one's own fixes of a shift, flagged ones included, in the order of their times."""
    return replays.own_track(
        uow,
        actor,
        shift_id,
        since=query["since"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )


@blp.query("/shifts/<uuid:shift_id>/track.gpx", may=USE, media="application/gpx+xml", limit=limits.HEAVY)
def own_track_file(uow: UnitOfWork, actor: Actor, shift_id: UUID) -> Response:
    """Return one's own fixes of a shift as GPX 1.1."""
    body = replays.own_export(uow, actor, shift_id)
    return download(body, "application/gpx+xml", f"shift-{shift_id}.gpx")


@blp.query(
    "/disclosures",
    may=USE,
    answers=page_of(OfficerDisclosureSchema),
    arguments=PageQuerySchema,
    refuses=(422,),
)
def own_disclosures(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[Any]:
    """List who looked at one's own track and why."""
    return oversight.own_disclosures(
        uow, actor, after=decode_cursor(query.get("cursor")), limit=query["limit"]
    )
