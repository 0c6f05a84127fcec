"""Kinds of task: what officers may be told to do, who may, what is asked of them and how soon. The town's data."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select

from backend.core.errors import Conflict, Invalid, NotVisible, Stale, WrongState
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.paging import Page, page
from backend.core.uow import UnitOfWork
from backend.models import TaskKind
from workflows import access, journal, questions
from workflows.default_task_kinds import DEFAULTS

SOS = "sos"
"""The code of the kind that goes before everything else; alarms make tasks of it, so it is never retired."""
FIELDS = (
    "name", "priority", "officer_kinds", "skill", "needed", "checklist", "questions", "wants_evidence", "reportable",
    "offer_s", "accept_within_s", "arrive_within_s", "complete_within_s",
)  # fmt: skip


def in_use(
    uow: UnitOfWork, actor: Actor, *, retired: bool = False, after: Sequence[str] | None, limit: int
) -> Page[TaskKind]:
    """Return the town's kinds by code; with ``retired`` also those that are out of use."""
    access.require(actor, "see", "task_kind")
    query = select(TaskKind).order_by(TaskKind.code).limit(limit + 1)
    if not retired:
        query = query.where(TaskKind.retired_at.is_(None))
    if after is not None:
        if len(after) != 1:
            raise Invalid("This cursor is not one of ours.", "bad_cursor", cursor=["unreadable"])
        query = query.where(TaskKind.code > after[0])
    return page(list(uow.session.scalars(query)), limit, lambda kind: (kind.code,))


def usable(uow: UnitOfWork, *, kind_id: UUID | None = None, code: str | None = None) -> TaskKind:
    """Return a kind that new tasks may be of.

    Raises:
        Invalid: there is no such kind, or it is out of use.
    """
    wanted = TaskKind.id == kind_id if kind_id is not None else TaskKind.code == code
    usable_one = select(TaskKind).where(wanted, TaskKind.retired_at.is_(None))
    kind = uow.session.scalar(usable_one)
    if kind is None and code == SOS:
        # A town that is older than its kinds of task: a call for help must not fail for that.
        add_defaults(uow, system_actor(uow.town))
        kind = uow.session.scalar(usable_one)
    if kind is None:
        raise Invalid("There is no such kind of task in use.", kind_id=["unknown"])
    return kind


def may_be_reported(kind: TaskKind) -> bool:
    """Say whether officers may report something of this kind; an SOS is called, and never reported."""
    return kind.reportable and kind.retired_at is None and kind.code != SOS


def actions(actor: Actor, kind: TaskKind) -> list[str]:
    """Return what the actor may do with a kind now."""
    if not access.may(actor, "manage", "task_kind") or kind.retired_at is not None:
        return []
    return ["change"] if kind.code == SOS else ["change", "retire"]


def create(uow: UnitOfWork, actor: Actor, wanted: Mapping[str, Any], *, command_id: UUID) -> TaskKind:
    """Make a kind; ``wanted`` has a ``code`` and all of ``FIELDS``.

    Raises:
        Conflict: ``code_taken``. Invalid: ids occur twice, or choices and questions do not fit.
    """
    access.require_in_whole_town(uow, actor, "manage", "task_kind")
    _check(wanted)
    if uow.session.scalar(select(TaskKind.id).where(TaskKind.code == wanted["code"])) is not None:
        raise Conflict("code_taken", "There is a kind of task with this code already.")
    kind = _made(uow, wanted)
    journal.write(uow, actor, "task_kind", kind.id, "create", command_id=command_id)
    return kind


def _made(uow: UnitOfWork, wanted: Mapping[str, Any]) -> TaskKind:
    kind = TaskKind(
        id=new_id(), town_id=uow.town, code=wanted["code"], created_at=uow.now, version=1,
        **{name: wanted[name] for name in FIELDS},
    )  # fmt: skip
    uow.session.add(kind)
    uow.session.flush()
    return kind


def _locked(uow: UnitOfWork, actor: Actor, kind_id: UUID) -> TaskKind:
    kind = uow.session.scalar(select(TaskKind).where(TaskKind.id == kind_id).with_for_update())
    if kind is None:
        raise NotVisible()
    access.require_in_whole_town(uow, actor, "manage", "task_kind")
    return kind


def change(
    uow: UnitOfWork, actor: Actor, kind_id: UUID, wanted: Mapping[str, Any], *, version: int, command_id: UUID
) -> TaskKind:
    """Say anew what a kind is, decided on ``version`` of it. Tasks that exist keep their times and number of people.

    Raises:
        Stale: it has another version by now. WrongState: it is out of use.
    """
    kind = _locked(uow, actor, kind_id)
    if kind.version != version:
        raise Stale()
    if kind.retired_at is not None:
        raise WrongState("retired", [])
    _check(wanted)
    changed = [name for name in FIELDS if getattr(kind, name) != wanted[name]]
    for name in changed:
        setattr(kind, name, wanted[name])
    kind.version += 1
    uow.session.flush()
    journal.write(uow, actor, "task_kind", kind.id, "change", command_id=command_id, data={"fields": changed})
    return kind


def retire(uow: UnitOfWork, actor: Actor, kind_id: UUID, *, command_id: UUID) -> TaskKind:
    """Take a kind out of use; its tasks stay.

    Raises:
        WrongState: it is out of use already. Conflict: ``kind_needed``, alarms make tasks of it.
    """
    kind = _locked(uow, actor, kind_id)
    if kind.retired_at is not None:
        raise WrongState("retired", [])
    if kind.code == SOS:
        raise Conflict("kind_needed", "Alarms make tasks of this kind.")
    kind.retired_at, kind.version = uow.now, kind.version + 1
    uow.session.flush()
    journal.write(uow, actor, "task_kind", kind.id, "retire", command_id=command_id)
    return kind


def add_defaults(uow: UnitOfWork, actor: Actor) -> int:
    """Give the town the kinds that every town begins with, where it has none with that code. Return how many."""
    # The owner, who makes towns, sees those of the others as well.
    known = set(uow.session.scalars(select(TaskKind.code).where(TaskKind.town_id == uow.town)))
    made = [_made(uow, wanted) for wanted in DEFAULTS if wanted["code"] not in known]
    for kind in made:
        journal.write(uow, actor, "task_kind", kind.id, "create")
    return len(made)


def check_result(kind: TaskKind, checklist: Mapping[str, bool], answers: Mapping[str, Any]) -> None:
    """Refuse a result that does not fit what the kind asks.

    Raises:
        Invalid: an unknown id, something required that is missing, or an answer of another type.
    """
    questions.check_given("checklist", kind.checklist, checklist)
    undone = [item["id"] for item in kind.checklist if item.get("required") and not checklist.get(item["id"])]
    if undone:
        raise Invalid("Something that has to be done is not ticked off.", checklist=undone)
    questions.check_answers(kind.questions, answers)


def _check(wanted: Mapping[str, Any]) -> None:
    questions.check_ids("checklist", wanted["checklist"])
    questions.check(wanted["questions"])
