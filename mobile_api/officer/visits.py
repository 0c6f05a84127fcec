"""The officer's scans, and what each of his visits is worth."""

from typing import Any
from uuid import UUID

from flask import current_app

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.tokens import derive_key
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience
from mobile_api.endpoint import Door
from mobile_api.officer.patrol_schemas import OfficerScanSchema, OfficerVisitSchema
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import alarms, scans, visits

blp = Door("visits", Audience.OFFICER, "/visits", "The officer's visits to checkpoints.")
DO = ("do", "patrol")


@blp.command("", may=DO, body=OfficerScanSchema, answers=OfficerVisitSchema, status=201, refuses=(404, 409))
def scan_code(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> Any:
    """Keep that you have read the code of a checkpoint: its label or its tag. 404: no checkpoint in use has it."""
    told = body["place"]
    is_mock = bool(told and told.pop("mock"))
    secret = derive_key(current_app.extensions["xungeng.config"].secret_key, "tags")
    code = scans.Code(body["token"], body["picc_data"], body["cmac"])
    return scans.scan(
        uow, actor, code, place=alarms.told_place(told), is_mock=is_mock, device_id=body["device_id"],
        tag_secret=secret, command_id=command_id, device_at=body["device_at"],
    )  # fmt: skip


@blp.query("", may=DO, answers=page_of(OfficerVisitSchema), arguments=PageQuerySchema, refuses=(422,))
def list_visits(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[Any]:
    """List your own visits of the last month, newest first, with what their proof is worth."""
    return visits.own(uow, actor, after=decode_cursor(query.get("cursor")), limit=query["limit"])
