"""The officer's shifts: start, end, and what was."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from flask import current_app

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience
from mobile_api.endpoint import Door
from mobile_api.officer.schemas import (
    OfficerInvitationSchema,
    OfficerJoinSchema,
    OfficerPersonSchema,
    OfficerShiftEndSchema,
    OfficerShiftSchema,
    OfficerShiftStartSchema,
    OfficerWantedDeviceSchema,
    shift_document,
)
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import invitations, officers, shifts
from workflows.crews import WantedCrew
from workflows.invitations import INVITATION
from workflows.shifts import SHIFT, Limits, WantedDevice

blp = Door("shifts", Audience.OFFICER, "", "The officer's shifts.")
USE = ("use", "officer_client")


def limits() -> Limits:
    """Return how long shifts may last on this installation."""
    config = current_app.extensions["xungeng.config"]
    return Limits(timedelta(hours=config.shift_max_h), timedelta(minutes=config.shift_grace_min))


def _document(
    uow: UnitOfWork, actor: Actor, shift: Any, kinds: dict[UUID, str] | None = None
) -> dict[str, Any]:
    kinds = officers.kinds(uow, [shift.officer_id]) if kinds is None else kinds
    return shift_document(shift, SHIFT.actions(actor, shift), kinds.get(shift.officer_id))


@blp.query("/shift", may=USE, answers=OfficerShiftSchema, nothing="Off duty.")
def current_shift(uow: UnitOfWork, actor: Actor) -> dict[str, Any] | None:
    """Return the officer's open shift, or 204 when he is off duty."""
    shift = shifts.current(uow, actor)
    return _document(uow, actor, shift) if shift else None


@blp.query("/shifts", may=USE, answers=page_of(OfficerShiftSchema), arguments=PageQuerySchema)
def list_shifts(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the officer's own shifts, newest first."""
    found = shifts.own(uow, actor, after=decode_cursor(query.get("cursor")), limit=query["limit"])
    kinds = officers.kinds(uow, [s.officer_id for s in found.items])
    return Page([_document(uow, actor, s, kinds) for s in found.items], found.after)


@blp.command(
    "/shifts", may=("start", "shift"), body=OfficerShiftStartSchema, answers=OfficerShiftSchema, status=201
)
def start_shift(uow: UnitOfWork, actor: Actor, command_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
    """Start a shift, alone or as the leader of a crew, whose members are asked. From here on the officer is tracked."""
    crew, device = body["crew"], body["device"]
    shift = shifts.start(
        uow,
        actor,
        command_id=command_id,
        limits=limits(),
        shift_id=body["id"],
        area_id=body["area_id"],
        planned_end_at=body["planned_end_at"],
        device=WantedDevice(device["id"], device["name"]) if device else None,
        crew=WantedCrew(crew["call_sign"], crew["travel"], crew["member_ids"]) if crew else None,
        device_at=body["device_at"],
    )
    return _document(uow, actor, shift)


@blp.query(
    "/invitations",
    may=USE,
    answers=page_of(OfficerInvitationSchema),
    arguments=PageQuerySchema,
    refuses=(422,),
)
def list_invitations(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the crews that one is asked to go with now, newest first."""
    found = invitations.answerable(uow, actor, after=decode_cursor(query.get("cursor")), limit=query["limit"])
    return Page([_invitation(actor, one) for one in found.items], found.after)


@blp.command(
    "/invitations/<uuid:invitation_id>/accept",
    may=("start", "shift"),
    body=OfficerJoinSchema,
    answers=OfficerShiftSchema,
    status=201,
    refuses=(409,),
)
def accept_invitation(
    uow: UnitOfWork, actor: Actor, invitation_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Come on duty with the crew. From here on, and not before, the officer is tracked."""
    device = body["device"]
    shift = invitations.accept(
        uow,
        actor,
        invitation_id,
        command_id=command_id,
        limits=limits(),
        device=WantedDevice(device["id"], device["name"]) if device else None,
        device_at=body["device_at"],
    )
    return _document(uow, actor, shift)


@blp.command(
    "/invitations/<uuid:invitation_id>/decline", may=("start", "shift"), answers=OfficerInvitationSchema
)
def decline_invitation(
    uow: UnitOfWork, actor: Actor, invitation_id: UUID, command_id: UUID
) -> dict[str, Any]:
    """Stay off duty; nothing is stored of the officer."""
    return _invitation(actor, invitations.decline(uow, actor, invitation_id, command_id=command_id))


def _invitation(actor: Actor, invitation: Any) -> dict[str, Any]:
    crew = invitation.crew
    return {
        "id": invitation.id,
        "state": invitation.state,
        "call_sign": crew.call_sign,
        "travel": crew.travel,
        "leader": crew.leader,
        "area": crew.area,
        "invited_at": invitation.invited_at,
        "expires_at": invitation.expires_at,
        "actions": INVITATION.actions(actor, invitation),
    }


@blp.command("/shifts/<uuid:shift_id>/end", may=USE, body=OfficerShiftEndSchema, answers=OfficerShiftSchema)
def end_shift(
    uow: UnitOfWork, actor: Actor, shift_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """End a shift. From here on nothing of the officer is stored."""
    shift = shifts.end(uow, actor, shift_id, command_id=command_id, **body)
    return _document(uow, actor, shift)


@blp.command(
    "/shifts/<uuid:shift_id>/phone", may=USE, body=OfficerWantedDeviceSchema, answers=OfficerShiftSchema
)
def bring_phone(
    uow: UnitOfWork, actor: Actor, shift_id: UUID, command_id: UUID, body: dict[str, Any]
) -> dict[str, Any]:
    """Let this phone measure in one's running shift, which another phone has started."""
    device = WantedDevice(body["id"], body["name"])
    shift = shifts.bring_phone(uow, actor, shift_id, device, command_id=command_id)
    return _document(uow, actor, shift)


@blp.query("/colleagues", may=USE, answers=page_of(OfficerPersonSchema), arguments=PageQuerySchema)
def list_colleagues(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List the other officers of one's areas, for making up a crew."""
    found = officers.colleagues(uow, actor, after=decode_cursor(query.get("cursor")), limit=query["limit"])
    kinds = officers.kinds(uow, [u.id for u in found.items])
    return Page(
        [{"id": u.id, "display_name": u.display_name, "kind": kinds.get(u.id)} for u in found.items],
        found.after,
    )
