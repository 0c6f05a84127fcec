"""Objections (异议) of officers to what their appraisals were made of, and what a supervisor decides.

Rows are locked in one order: the appraisal, then the objection.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select

from backend.core.errors import Conflict, Invalid
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AppraisalFigure, ContestRemedy, NoticeKind, Role
from backend.core.vocabulary import ContestState as C
from backend.models import AppraisalContest, AppraisalInput, AppraisalMonth
from notifications import outbox, recipients
from workflows import access, appraisals, journal
from workflows.appraisal_formulas import FORMULAS
from workflows.machine import Machine, step

SUPERVISOR, OFFICER = (Role.SUPERVISOR,), (Role.OFFICER,)

CONTEST = Machine(
    "appraisal_contest", C.OPEN,
    step("uphold",    {C.OPEN},   C.UPHELD,    SUPERVISOR,  "decided_at"),
    step("refuse",    {C.OPEN},   C.REFUSED,   SUPERVISOR,  "decided_at"),
    step("withdraw",  {C.OPEN},   C.WITHDRAWN, OFFICER,     "withdrawn_at"),
)  # fmt: skip

MOST_CONTESTS = 100
"""So many objections to one appraisal may wait at a time."""


def contest(
    uow: UnitOfWork, actor: Actor, appraisal_id: UUID, *, input_id: UUID, reason: str, command_id: UUID | None
) -> AppraisalContest:
    """Object to an input of one's own draft.

    Raises:
        NotVisible: it is another's, or no input of it. WrongState: it is locked.
        Conflict: ``appeal_over``; ``excluded``, the input counts for nothing anyway; ``contested``, he has objected to
            it before; ``too_many_contests``.
    """
    appraisal = access.appraisal(uow, actor, appraisal_id, verb="contest", lock=True)
    appraisals.refuse_locked(actor, appraisal)
    if uow.now >= appraisal.contest_until:
        raise Conflict("appeal_over", "The time for objections is over.")
    about = appraisals.input_of(uow, appraisal, input_id)
    if about.excluded_at is not None:
        raise Conflict("excluded", "This does not count any more.")
    before = select(AppraisalContest.id).where(
        AppraisalContest.input_id == about.id, AppraisalContest.state != C.WITHDRAWN
    )
    if uow.session.scalar(before) is not None:
        raise Conflict("contested", "You have objected to this before.")
    if appraisals.waiting(uow, appraisal.id) >= MOST_CONTESTS:
        raise Conflict(
            "too_many_contests", "So many objections wait already; please let them be decided first."
        )
    made = AppraisalContest(
        id=new_id(), town_id=uow.town, appraisal_id=appraisal.id, input_id=about.id, state=CONTEST.initial,
        reason=reason, contested_at=uow.now, version=1,
    )  # fmt: skip
    uow.session.add(made)
    uow.session.flush()
    journal.write(
        uow, actor, "appraisal_contest", made.id, "contest", after=CONTEST.initial, command_id=command_id,
        data={"appraisal_id": str(appraisal.id), "input_id": str(about.id)},
    )  # fmt: skip
    appraisals.changed(uow, appraisal, "contest")
    return read(uow, made.id)


def withdraw(uow: UnitOfWork, actor: Actor, contest_id: UUID, *, command_id: UUID | None) -> AppraisalContest:
    """Take back an objection that nobody has decided.

    Raises:
        WrongState: it was decided, or taken back.
    """
    found = access.contest(uow, actor, contest_id, verb="contest", lock=True)
    if CONTEST.fire(uow, actor, found, "withdraw", command_id=command_id):
        appraisals.changed(uow, found.appraisal, "withdraw")
    return read(uow, found.id)


# --- The supervisor's acts


def uphold(
    uow: UnitOfWork,
    actor: Actor,
    contest_id: UUID,
    *,
    remedy: ContestRemedy,
    correction: Mapping[str, Any] | None = None,
    reason: str,
    command_id: UUID | None,
) -> AppraisalContest:
    """Say that an objection is right, and leave its input out or correct it; the figures follow at once.

    Raises:
        WrongState: it was decided, or taken back.
        Forbidden: ``two_persons``; the actor has begun the month, has judged this input before, or it is his own.
        Invalid: ``bad_correction``; the formula has no such fact, or it cannot be so.
    """
    found = access.contest(uow, actor, contest_id, verb="decide", lock=True)
    if CONTEST.replayed(uow, actor, found, "uphold", command_id):
        return read(uow, found.id)
    appraisals.refuse_party(actor, found.appraisal, found.input)
    if found.state == C.OPEN and remedy is ContestRemedy.CORRECT:
        _refuse_correction(found.appraisal.month, found.input, correction or {})
    CONTEST.fire(
        uow, actor, found, "uphold", command_id=command_id, reason=reason, data={"remedy": str(remedy)}
    )
    found.decided_by, found.decision, found.remedy = actor.user_id, reason, remedy
    if remedy is ContestRemedy.CORRECT:
        found.input.correction = dict(correction or {})
        found.input.corrected_at, found.input.corrected_by = uow.now, actor.user_id
    else:
        appraisals.leave_out(uow, actor, found.input, reason)
    appraisals.recompute(uow, found.appraisal)
    return _decided(uow, found, "uphold")


def refuse(
    uow: UnitOfWork, actor: Actor, contest_id: UUID, *, reason: str, command_id: UUID | None
) -> AppraisalContest:
    """Say that an objection is not right, and why.

    Raises:
        WrongState: it was decided, or taken back. Forbidden: ``two_persons``, as for :func:`uphold`.
    """
    found = access.contest(uow, actor, contest_id, verb="decide", lock=True)
    if CONTEST.replayed(uow, actor, found, "refuse", command_id):
        return read(uow, found.id)
    appraisals.refuse_party(actor, found.appraisal, found.input)
    CONTEST.fire(uow, actor, found, "refuse", command_id=command_id, reason=reason)
    found.decided_by, found.decision = actor.user_id, reason
    return _decided(uow, found, "refuse")


def _decided(uow: UnitOfWork, found: AppraisalContest, action: str) -> AppraisalContest:
    uow.session.flush()
    appraisal = found.appraisal
    outbox.enqueue(
        uow, NoticeKind.APPRAISAL_DECIDED, to=recipients.one(uow, appraisal.officer_id),
        subject=("appraisal", appraisal.id),
        params={"month": appraisals.word(appraisal.month.month), "decided": str(found.state)},
    )  # fmt: skip
    appraisals.changed(uow, appraisal, action)
    return read(uow, found.id)


def _refuse_correction(month: AppraisalMonth, about: AppraisalInput, correction: Mapping[str, Any]) -> None:
    refused = FORMULAS[month.formula].refused(AppraisalFigure(about.figure), about.facts, correction)
    if refused is not None:
        raise Invalid("This cannot be corrected so.", "bad_correction", correction=[refused])


# --- What may be pressed


def actions(actor: Actor, found: AppraisalContest) -> list[str]:
    """Return what the actor may do with an objection now."""
    if found.appraisal.officer_id == actor.user_id:
        return [action for action in CONTEST.actions(actor, found) if action == "withdraw"]
    is_party = actor.user_id in (found.appraisal.month.made_by, *found.input.scored_by)
    return [] if is_party else [one for one in CONTEST.actions(actor, found) if one != "withdraw"]


def read(uow: UnitOfWork, contest_id: UUID) -> AppraisalContest:
    """Return an objection as it is now, with all that an answer shows."""
    query = select(AppraisalContest).where(AppraisalContest.id == contest_id).options(*access.contest_parts())
    return uow.session.scalars(query.execution_options(populate_existing=True)).one()
