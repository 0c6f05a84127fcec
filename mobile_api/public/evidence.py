"""Recordings played in place: a player sends no token, so the link that the desk was given carries one."""

from typing import Any
from uuid import UUID

from flask import Response, current_app, g
from marshmallow import Schema, fields, validate

from backend.core import clock
from backend.core.errors import Unauthenticated
from backend.core.tokens import MAXIMUM_LENGTH, BadTokenError, ContentLinks
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import Audience
from mobile_api import files
from mobile_api.endpoint import Door
from mobile_api.identity import identity
from workflows import evidence

blp = Door("evidence", Audience.PUBLIC, "", "Recordings, by a link for minutes.")


class PublicPlayingQuerySchema(Schema):
    """The token of a link."""

    t = fields.String(required=True, validate=validate.Length(max=MAXIMUM_LENGTH))


@blp.query(
    "/evidence/<uuid:evidence_id>/playing",
    may=None,
    arguments=PublicPlayingQuerySchema,
    media="application/octet-stream",
    refuses=(401, 404, 409, 410, 416, 422),
)
def play(_uow: UnitOfWork, evidence_id: UUID, query: dict[str, Any]) -> Response:
    """Return a recording, or the range of it that is asked for (RFC 9110, 14), while the link and its session live."""
    links: ContentLinks = current_app.extensions["xungeng.content_links"]
    try:
        claims = links.read(query["t"], evidence_id, clock.now())
    except BadTokenError as error:
        raise Unauthenticated("invalid_token", "This link has run out.") from error
    with unit_of_work(claims.town_id, request_id=g.request_id) as uow:
        found = evidence.playable(uow, identity().actor(uow, claims), evidence_id)
        return files.played(found)
