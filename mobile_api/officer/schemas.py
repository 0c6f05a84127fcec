"""What the officer's app takes and gets about shifts and tracks. The officer audience's own schemas."""

from typing import Any

from marshmallow import Schema, fields, validate

from backend.core.vocabulary import EndedBy, InvitationState, OfficerKind, ShiftState, Travel
from geo.fixes import flag_names
from mobile_api.fields import Moment, PhoneMoment, Word, line, names
from mobile_api.paging import PageQuerySchema


class OfficerAreaSchema(Schema):
    """An area, by name."""

    id = fields.UUID(required=True)
    name = names(required=True)


class OfficerPersonSchema(Schema):
    """A colleague, by name and kind."""

    id = fields.UUID(required=True)
    display_name = fields.String(required=True)
    kind = Word(OfficerKind, allow_none=True, required=True)


class OfficerCrewMemberSchema(Schema):
    """Somebody of the crew."""

    id = fields.UUID(required=True)
    display_name = fields.String(required=True)


class OfficerInvitedSchema(OfficerCrewMemberSchema):
    """Somebody whom the leader has asked and who is not of the crew."""

    state = Word(InvitationState, required=True)


class OfficerCrewSchema(Schema):
    """Who goes together."""

    id = fields.UUID(required=True)
    call_sign = fields.String(required=True)
    travel = Word(Travel, required=True)
    leader_id = fields.UUID(required=True)
    members = fields.List(
        fields.Nested(OfficerCrewMemberSchema), required=True, metadata={"description": "Who has come."}
    )
    invited = fields.List(
        fields.Nested(OfficerInvitedSchema), required=True, metadata={"description": "Who has not, and why."}
    )


class OfficerInvitationSchema(Schema):
    """A leader's question whether one comes on duty with his crew."""

    id = fields.UUID(required=True)
    state = Word(InvitationState, required=True)
    call_sign = fields.String(required=True)
    travel = Word(Travel, required=True)
    leader = fields.Nested(OfficerCrewMemberSchema, required=True)
    area = fields.Nested(OfficerAreaSchema, required=True)
    invited_at = Moment(required=True)
    expires_at = Moment(required=True)
    actions = fields.List(fields.String(), required=True)


class OfficerShiftSchema(Schema):
    """A shift of the officer himself or of his crew."""

    id = fields.UUID(required=True)
    state = Word(ShiftState, required=True)
    officer = fields.Nested(OfficerPersonSchema, required=True)
    area = fields.Nested(OfficerAreaSchema, required=True)
    crew = fields.Nested(OfficerCrewSchema, allow_none=True, required=True)
    started_at = Moment(required=True)
    planned_end_at = Moment(allow_none=True, required=True)
    closes_at = Moment(required=True)
    ended_at = Moment(allow_none=True, required=True)
    ended_by = Word(EndedBy, allow_none=True, required=True)
    version = fields.Integer(required=True)
    actions = fields.List(fields.String(), required=True)


class OfficerWantedDeviceSchema(Schema):
    """The phone that will measure."""

    id = fields.UUID(required=True)
    name = line(120, required=True)
    platform = line(120, allow_none=True, load_default=None)


class OfficerWantedCrewSchema(Schema):
    """The crew as its leader names it."""

    call_sign = line(40, required=True)
    travel = Word(Travel, required=True)
    member_ids = fields.List(fields.UUID(), required=True, validate=validate.Length(max=12))


class OfficerShiftStartSchema(Schema):
    """The start of a shift. `id` may be the client's own UUID, so that a start made offline arrives once."""

    id = fields.UUID(allow_none=True, load_default=None)
    area_id = fields.UUID(allow_none=True, load_default=None)
    planned_end_at = Moment(allow_none=True, load_default=None)
    device = fields.Nested(OfficerWantedDeviceSchema, allow_none=True, load_default=None)
    crew = fields.Nested(OfficerWantedCrewSchema, allow_none=True, load_default=None)
    device_at = PhoneMoment(allow_none=True, load_default=None)


class OfficerJoinSchema(Schema):
    """The phone with which one comes on duty."""

    device = fields.Nested(OfficerWantedDeviceSchema, allow_none=True, load_default=None)
    device_at = PhoneMoment(allow_none=True, load_default=None)


class OfficerShiftEndSchema(Schema):
    """The end of a shift, and of the crew's if the leader says so."""

    device_at = PhoneMoment(allow_none=True, load_default=None)
    whole_crew = fields.Boolean(load_default=False)


class OfficerPointSchema(Schema):
    """One fix of the officer's own track, WGS-84."""

    fixed_at = Moment(required=True)
    lon = fields.Float(required=True)
    lat = fields.Float(required=True)
    accuracy_m = fields.Float(allow_none=True, required=True)
    altitude_m = fields.Float(allow_none=True, required=True)
    speed_mps = fields.Float(allow_none=True, required=True)
    heading_deg = fields.Float(allow_none=True, required=True)
    battery_pct = fields.Float(allow_none=True, required=True)
    flags = fields.Function(
        lambda p: flag_names(p.flags),
        required=True,
        metadata={"type": "array", "items": {"type": "string"}},
    )
    device_id = fields.UUID(required=True)


class OfficerTrackQuerySchema(PageQuerySchema):
    """From when on; the start of the shift by default."""

    since = Moment(allow_none=True, load_default=None)


class OfficerDisclosureSchema(Schema):
    """Somebody's look at the officer's own track."""

    at = Moment(required=True)
    kind = fields.String(required=True)
    reason = fields.String(required=True)
    by = fields.String(
        allow_none=True, required=True, metadata={"description": "Display name of who looked."}
    )
    data = fields.Dict(allow_none=True, required=True)


def shift_document(shift: Any, actions: list[str], kind: str | None) -> dict[str, Any]:
    """Return a shift as the schema shows it."""
    return {
        "id": shift.id,
        "state": shift.state,
        "officer": {"id": shift.officer.id, "display_name": shift.officer.display_name, "kind": kind},
        "area": shift.area,
        "crew": crew_document(shift.crew) if shift.crew else None,
        "started_at": shift.started_at,
        "planned_end_at": shift.planned_end_at,
        "closes_at": shift.closes_at,
        "ended_at": shift.ended_at,
        "ended_by": shift.ended_by,
        "version": shift.version,
        "actions": actions,
    }


def crew_document(crew: Any) -> dict[str, Any]:
    """Return a crew as the schema shows it."""
    return {
        "id": crew.id,
        "call_sign": crew.call_sign,
        "travel": crew.travel,
        "leader_id": crew.leader_id,
        "members": [{"id": m.user.id, "display_name": m.user.display_name} for m in crew.members],
        "invited": [
            {"id": one.officer.id, "display_name": one.officer.display_name, "state": one.state}
            for one in crew.invitations
            if one.state != InvitationState.ACCEPTED
        ],
    }
