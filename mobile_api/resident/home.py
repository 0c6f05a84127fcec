"""A resident's first screen: the communities that he belongs to."""

from typing import Any

from marshmallow import Schema, fields

from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience
from mobile_api.endpoint import Door
from mobile_api.fields import names
from workflows import towns

blp = Door("home", Audience.RESIDENT, "", "The resident's own place.")


class ResidentAreaSchema(Schema):
    """An area that the resident belongs to."""

    id = fields.UUID(required=True)
    kind = fields.String(required=True)
    name = names(required=True)


class ResidentHomeSchema(Schema):
    """The resident's areas."""

    display_name = fields.String(required=True)
    phone = fields.String(required=True, metadata={"description": "The last four digits only."})
    areas = fields.List(fields.Nested(ResidentAreaSchema), required=True)


@blp.query("/home", may=("use", "resident_client"), answers=ResidentHomeSchema)
def home(uow: UnitOfWork, actor: Actor) -> dict[str, Any]:
    """Show the resident where he belongs."""
    user, areas = towns.home_of(uow, actor)
    return {"display_name": user.display_name, "phone": "…" + (user.phone or "")[-4:], "areas": areas}
