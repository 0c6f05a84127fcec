"""Journal, disclosures, quarantine and counters."""

from datetime import timedelta
from typing import Any

from marshmallow import Schema, fields

from backend.core.identity import Actor
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Audience
from mobile_api.endpoint import Door
from mobile_api.fields import Day, Moment
from mobile_api.paging import PageQuerySchema, decode_cursor, page_of
from workflows import oversight

blp = Door("oversight", Audience.DESK, "", "What is looked at to see that all is right.")


class DeskJournalEntrySchema(Schema):
    """One act. People are kept in it by id only; `actor` is what that person is called now."""

    id = fields.UUID(required=True)
    at = Moment(required=True)
    device_at = Moment(allow_none=True, required=True)
    actor_id = fields.UUID(allow_none=True, required=True)
    actor = fields.String(allow_none=True, required=True)
    on_behalf_of = fields.UUID(allow_none=True, required=True)
    subject_kind = fields.String(required=True)
    subject_id = fields.UUID(required=True)
    action = fields.String(required=True)
    from_state = fields.String(allow_none=True, required=True, data_key="from")
    to_state = fields.String(allow_none=True, required=True, data_key="to")
    reason = fields.String(allow_none=True, required=True)
    data = fields.Dict(allow_none=True, required=True)
    request_id = fields.String(allow_none=True, required=True)


class DeskDisclosureSchema(Schema):
    """One look at one person's data."""

    id = fields.UUID(required=True)
    at = Moment(required=True)
    kind = fields.String(required=True)
    reason = fields.String(required=True)
    by = fields.String(allow_none=True, required=True)
    actor_id = fields.UUID(allow_none=True, required=True)
    subject_kind = fields.String(required=True)
    subject_id = fields.UUID(required=True)
    subject = fields.String(
        allow_none=True, required=True, metadata={"description": "Whose data, by his name of now."}
    )
    data = fields.Dict(allow_none=True, required=True)


class DeskSubjectQuerySchema(PageQuerySchema):
    """About whom or what."""

    subject_id = fields.UUID(load_default=None)


class DeskQuarantinedFixSchema(Schema):
    """What could not be filed, as it came, with the reason."""

    id = fields.UUID(required=True)
    received_at = Moment(required=True)
    device_id = fields.UUID(allow_none=True, required=True)
    device_name = fields.String(allow_none=True, required=True)
    protocol = fields.String(required=True)
    reason = fields.String(required=True)
    payload = fields.Raw(
        required=True, metadata={"description": "As it came; empty for who may not see the officer's tracks."}
    )


class DeskCounterSchema(Schema):
    """How many fixes met an outcome on a day."""

    day = fields.Date(required=True)
    protocol = fields.String(required=True)
    outcome = fields.String(required=True)
    count = fields.Integer(required=True)


class DeskCountersSchema(Schema):
    """Counts of at most 31 days."""

    items = fields.List(fields.Nested(DeskCounterSchema), required=True)
    next = fields.String(allow_none=True, required=True)


class DeskCountersQuerySchema(Schema):
    """Which days; the last seven by default."""

    day = Day(load_default=None, metadata={"description": "One day (UTC)."})


def _entry(entry: Any, name: str | None) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": entry.at,
        "device_at": entry.device_at,
        "actor_id": entry.actor_id,
        "actor": name,
        "on_behalf_of": entry.on_behalf_of,
        "subject_kind": entry.subject_kind,
        "subject_id": entry.subject_id,
        "action": entry.action,
        "from_state": entry.from_state,
        "to_state": entry.to_state,
        "reason": entry.reason,
        "data": entry.data,
        "request_id": entry.request_id,
    }


@blp.query(
    "/journal",
    may=("see", "journal"),
    answers=page_of(DeskJournalEntrySchema),
    arguments=DeskSubjectQuerySchema,
    refuses=(422,),
)
def list_journal(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[Any]:
    """List what was done, newest first."""
    found = oversight.journal_page(
        uow,
        actor,
        subject_id=query["subject_id"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    names = oversight.names_of(uow, [entry.actor_id for entry in found.items])
    return Page(
        [_entry(entry, names.get(entry.actor_id) if entry.actor_id else None) for entry in found.items],
        found.after,
    )


@blp.query(
    "/disclosures",
    may=("see", "disclosure"),
    answers=page_of(DeskDisclosureSchema),
    arguments=DeskSubjectQuerySchema,
    refuses=(422,),
)
def list_disclosures(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[Any]:
    """List who looked at whose data and why, newest first."""
    found = oversight.disclosures(
        uow,
        actor,
        subject_id=query["subject_id"],
        after=decode_cursor(query.get("cursor")),
        limit=query["limit"],
    )
    names = oversight.names_of(uow, [look.subject_id for look in found.items if look.subject_kind == "user"])
    return Page([vars(look) | {"subject": names.get(look.subject_id)} for look in found.items], found.after)


@blp.query(
    "/quarantine",
    may=("see", "quarantine"),
    answers=page_of(DeskQuarantinedFixSchema),
    arguments=PageQuerySchema,
    refuses=(422,),
)
def list_quarantine(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """List what could not be filed, newest first.

    The messages themselves are for those who may see the officers' tracks; a look at them is written down.
    """
    found = oversight.quarantine(uow, actor, after=decode_cursor(query.get("cursor")), limit=query["limit"])
    items = [
        {
            "id": row.id,
            "received_at": row.received_at,
            "device_id": row.device_id,
            "device_name": name,
            "protocol": row.protocol,
            "reason": row.reason,
            "payload": payload,
        }
        for row, name, payload in found.items
    ]
    return Page(items, found.after)


@blp.query(
    "/counters",
    may=("see", "counter"),
    answers=DeskCountersSchema,
    arguments=DeskCountersQuerySchema,
    refuses=(422,),
)
def list_counters(uow: UnitOfWork, actor: Actor, query: dict[str, Any]) -> dict[str, Any]:
    """Count what became of fixes at the gate: the proof that nothing outside a shift is kept."""
    today = uow.now.date()
    first = query["day"] or today - timedelta(days=6)
    return {"items": oversight.counters(uow, actor, first=first, last=query["day"] or today), "next": None}
