"""Labels of checkpoints, to print and put up."""

from typing import Any

from flask import Response
from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from backend.adapters import labels as adapter
from backend.adapters.labels import Label
from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience
from mobile_api.endpoint import Door
from mobile_api.files import download
from mobile_api.reached import base_url
from workflows import labels

blp = Door("labels", Audience.DESK, "/checkpoints/labels", "Labels of checkpoints.")


class DeskLabelsSchema(Schema):
    """Of which checkpoints: those named, or all in use of an area and below it."""

    checkpoint_ids = fields.List(
        fields.UUID(), load_default=None, allow_none=True, validate=validate.Length(1, labels.MOST)
    )
    area_id = fields.UUID(load_default=None, allow_none=True)

    @validates_schema
    def one_of_both(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse both ways at once, and neither."""
        if (data.get("checkpoint_ids") is None) == (data.get("area_id") is None):
            raise ValidationError("Either checkpoints or an area.", "checkpoint_ids")


def _sheet(found: list[Label]) -> Response:
    return download(adapter.sheet(found), adapter.MEDIA_TYPE, "labels.pdf")


@blp.look(
    "",
    may=("manage", "checkpoint"),
    body=DeskLabelsSchema,
    media=adapter.MEDIA_TYPE,
    renders=_sheet,
    refuses=(422,),
)
def print_labels(uow: UnitOfWork, actor: Actor, body: dict[str, Any]) -> list[Label]:
    """Return a sheet of labels as PDF, eight on a page of A4, by code; at most 200.

    Each has a QR code that opens the visit: `{address}/c/{token}`. That labels were printed is written down. Sheets are
    made one after the other; `503` says when to come again.
    """
    return labels.to_print(uow, actor, address=base_url(), **body)
