"""What officers ask about their planned shifts: that a colleague does one (换班), or that they need not come (请假).

A swap waits for the colleague first, then as an excuse does at once for a supervisor, who is neither of the two. What
is approved is done in the same transaction. A request lapses when its shift is changed or cancelled, and a swap when a
shift of it begins. Why somebody asks, and what is said to it, stands in the request alone and not in the journal.

Planned shifts are locked before the request, by id; whoever writes the roster does it alone (``planned_shifts.alone``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible, WrongState
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Due, PlannedShiftState, Role
from backend.core.vocabulary import RosterRequestKind as K
from backend.core.vocabulary import RosterRequestState as S
from backend.models import Deadline, PlannedShift, RosterRequest
from notifications import changes, recipients
from workflows import access, deadlines, journal, planned_shifts, telling
from workflows.machine import Machine, step
from workflows.planned_shifts import PLANNED_SHIFT, Places
from workflows.plans import zone_of

OFFICER, SUPERVISOR, SYSTEM = (Role.OFFICER,), (Role.SUPERVISOR,), (Role.SYSTEM,)
OPEN = {S.ASKED, S.SUBMITTED}

REQUEST = Machine(
    "roster_request", S.ASKED,
    #    action      from           to           by          stamps
    step("submit",   {S.ASKED},     S.SUBMITTED, SYSTEM,     "submitted_at"),
    step("agree",    {S.ASKED},     S.SUBMITTED, OFFICER,    "submitted_at"),
    step("decline",  {S.ASKED},     S.DECLINED,  OFFICER,    "ended_at"),
    step("withdraw", OPEN,          S.WITHDRAWN, OFFICER,    "ended_at"),
    step("approve",  {S.SUBMITTED}, S.APPROVED,  SUPERVISOR, "ended_at"),
    step("refuse",   {S.SUBMITTED}, S.REFUSED,   SUPERVISOR, "ended_at"),
    step("lapse",    OPEN,          S.LAPSED,    SYSTEM,     "ended_at"),
)  # fmt: skip

EXCUSED_WITHIN = timedelta(days=7)
"""So long after a shift one may still ask to have been excused: who is ill does not write first."""
OF_ASKER, OF_COLLEAGUE, OF_DESK = ("withdraw",), ("agree", "decline"), ("approve", "refuse")


# --- Looks


def own(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[RosterRequest]:
    """Return what the actor has asked and what he was asked, the newest first."""
    query = select(RosterRequest).where(
        or_(RosterRequest.officer_id == actor.user_id, RosterRequest.colleague_id == actor.user_id)
    )
    return _page(uow, query, after, limit)


def at_desk(
    uow: UnitOfWork, actor: Actor, *, state: S | None = None, after: Sequence[str] | None, limit: int
) -> Page[RosterRequest]:
    """Return what is asked about shifts in the actor's areas, or would be given for one, the newest first."""
    scope = access.roots(actor, "see", "roster_request")
    wanted = aliased(PlannedShift)
    query = (
        select(RosterRequest)
        .join(PlannedShift, PlannedShift.id == RosterRequest.planned_id)
        .outerjoin(wanted, wanted.id == RosterRequest.wanted_id)
        .where(
            RosterRequest.town_id == uow.town,
            or_(access.within(PlannedShift.area_id, scope), access.within(wanted.area_id, scope)),
        )
    )
    if state is not None:
        query = query.where(RosterRequest.state == state)
    return _page(uow, query, after, limit)


def _page(uow: UnitOfWork, query: Any, after: Sequence[str] | None, limit: int) -> Page[RosterRequest]:
    at, one_id = RosterRequest.asked_at, RosterRequest.id
    if key := moment_and_id(after):
        query = query.where(or_(at < key[0], (at == key[0]) & (one_id < key[1])))
    query = query.options(*access.roster_request_parts()).order_by(at.desc(), one_id.desc()).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda row: (row.asked_at.isoformat(), row.id))


def actions(actor: Actor, request: RosterRequest) -> list[str]:
    """Return what the actor may do with a request that he sees: as who asks, as the colleague, or as a supervisor.

    A supervisor decides where both shifts of a swap are his.
    """
    able: set[str] = set()
    if actor.user_id == request.officer_id:
        able.update(OF_ASKER)
    elif actor.user_id == request.colleague_id:
        able.update(OF_COLLEAGUE)
    elif Role.SYSTEM in actor.roles or _decides(actor, request):
        able.update(OF_DESK)
    return [action for action in REQUEST.actions(actor, request) if action in able]


def _decides(actor: Actor, request: RosterRequest) -> bool:
    if not access.may(actor, "decide", "roster_request"):
        return False
    scope = set(access.roots(actor, "decide", "roster_request"))
    shifts = [one for one in (request.planned, request.wanted) if one is not None]
    return all(scope.intersection(one.area.ancestors) for one in shifts)


def askable(uow: UnitOfWork, actor: Actor, found: Sequence[PlannedShift]) -> dict[UUID, list[str]]:
    """Return what the actor may ask about planned shifts now: about his own, and nothing while he asks something."""
    ids = [one.id for one in found if one.officer_id == actor.user_id]
    open_ones = select(RosterRequest.planned_id).where(
        RosterRequest.planned_id.in_(ids), RosterRequest.state.in_(OPEN)
    )
    asked = set(uow.session.scalars(open_ones)) if ids else set()
    able: dict[UUID, list[str]] = {}
    for one in found:
        free = one.id in ids and one.id not in asked and one.state == PlannedShiftState.PLANNED
        able[one.id] = [
            *([str(K.SWAP)] if free and one.begins_at > uow.now else []),
            *([str(K.EXCUSE)] if free and one.ends_at > uow.now - EXCUSED_WITHIN else []),
        ]
    return able


# --- The officers' acts


def ask(
    uow: UnitOfWork,
    actor: Actor,
    *,
    command_id: UUID,
    kind: K,
    planned_id: UUID,
    reason: str,
    colleague_id: UUID | None = None,
    wanted_id: UUID | None = None,
    request_id: UUID | None = None,
) -> RosterRequest:
    """Ask about a planned shift of one's own; a swap names the colleague, and what one would do in return.

    Raises:
        NotVisible: the shift is not the actor's own, or what he wants is not the colleague's.
        Conflict: ``request_open``, it is asked about already; ``shift_begun`` or ``shift_over``; ``shifts_overlap``.
        Invalid: the colleague is none, or no officer of the area. WrongState: it is cancelled or excused.
    """
    planned_shifts.alone(uow)
    planned = access.planned_shift(uow, actor, planned_id, verb="own", lock=True)
    if planned.state != PlannedShiftState.PLANNED:
        raise WrongState(str(planned.state), [])
    wanted = None
    if kind is K.SWAP:
        if colleague_id is None:
            raise Invalid("A swap names the colleague.", colleague_id=["needed"])
        wanted = _wanted(uow, actor, planned, colleague_id, wanted_id)
    elif colleague_id is not None or wanted_id is not None:
        raise Invalid("To be excused one needs no colleague.", colleague_id=["not with an excuse"])
    elif planned.ends_at < uow.now - EXCUSED_WITHIN:
        raise Conflict("shift_over", "This shift is long over.")
    request = RosterRequest(
        id=request_id or new_id(), town_id=uow.town, kind=kind, state=REQUEST.initial, planned_id=planned.id,
        planned_version=planned.version, wanted_id=wanted.id if wanted else None,
        wanted_version=wanted.version if wanted else None, officer_id=planned.officer_id, colleague_id=colleague_id,
        reason=reason, asked_at=uow.now, version=1,
    )  # fmt: skip
    uow.session.add(request)
    try:
        uow.session.flush()
    except IntegrityError as error:
        if "uq_roster_requests_open" in str(error.orig):
            raise Conflict("request_open", "Something is asked about this shift already.") from error
        raise Conflict("id_taken", "This id is in use.") from error
    journal.write(
        uow, actor, "roster_request", request.id, "ask", after=REQUEST.initial, command_id=command_id,
        data={"kind": kind, "planned_id": str(planned.id)},
    )  # fmt: skip
    request = read(uow, request.id)
    if kind is K.SWAP:
        first = min(one.begins_at for one in (planned, wanted) if one is not None)
        deadlines.put(uow, REQUEST.kind, request.id, Due.LAPSE, first)
        return _done(uow, request, "ask", by=actor.user_id)
    return submit(uow, system_actor(uow.town), request, by=actor.user_id)


def _wanted(
    uow: UnitOfWork, actor: Actor, planned: PlannedShift, colleague_id: UUID, wanted_id: UUID | None
) -> PlannedShift | None:
    """Return what is wanted in return, once it is sure that the two could do each other's shifts."""
    if planned.begins_at <= uow.now:
        raise Conflict("shift_begun", "This shift has begun.")
    if colleague_id == actor.user_id or not planned_shifts.is_colleague(uow, actor, colleague_id):
        raise Invalid("This is no colleague.", colleague_id=["unknown"])
    places = Places(uow, actor)
    if not places.is_officer_of(colleague_id, planned.area_id):
        raise Invalid("This colleague is no officer of the area.", colleague_id=["not of the area"])
    wanted = None
    if wanted_id is not None:
        wanted = uow.session.scalar(
            select(PlannedShift).where(
                PlannedShift.id == wanted_id,
                PlannedShift.officer_id == colleague_id,
                PlannedShift.state == PlannedShiftState.PLANNED,
            )
        )
        if wanted is None:
            raise NotVisible()
        if wanted.begins_at <= uow.now:
            raise Conflict("shift_begun", "That shift has begun.")
        if not places.is_officer_of(planned.officer_id, wanted.area_id):
            raise Invalid("You are no officer of that area.", wanted_id=["not of the area"])
    own_id = planned.officer_id
    _refuse_overlap(uow, colleague_id, planned, without=wanted)
    if wanted is not None:
        _refuse_overlap(uow, own_id, wanted, without=planned)
    return wanted


def _refuse_overlap(
    uow: UnitOfWork, officer_id: UUID, takes: PlannedShift, *, without: PlannedShift | None
) -> None:
    query = select(PlannedShift.id).where(
        PlannedShift.officer_id == officer_id,
        PlannedShift.state == PlannedShiftState.PLANNED,
        PlannedShift.begins_at < takes.ends_at,
        PlannedShift.ends_at > takes.begins_at,
    )
    if without is not None:
        query = query.where(PlannedShift.id != without.id)
    if uow.session.scalar(query.limit(1)) is not None:
        raise Conflict("shifts_overlap", "The officer has another shift planned at that time.")


def agree(uow: UnitOfWork, actor: Actor, request_id: UUID, *, command_id: UUID) -> RosterRequest:
    """Agree to do a colleague's shift, and he the one that he wants in return; a supervisor decides.

    Raises:
        WrongState: it was answered, withdrawn, or has lapsed.
    """
    return _press(uow, actor, request_id, "answer", "agree", command_id=command_id)


def decline(
    uow: UnitOfWork, actor: Actor, request_id: UUID, *, reason: str | None, command_id: UUID
) -> RosterRequest:
    """Decline to do a colleague's shift; one need not say why.

    Raises:
        WrongState: as ``agree``.
    """
    return _press(uow, actor, request_id, "answer", "decline", decision=reason, command_id=command_id)


def withdraw(uow: UnitOfWork, actor: Actor, request_id: UUID, *, command_id: UUID) -> RosterRequest:
    """Ask no more for what nobody has decided.

    Raises:
        WrongState: it is decided, or over.
    """
    return _press(uow, actor, request_id, "ask", "withdraw", command_id=command_id)


def _press(
    uow: UnitOfWork,
    actor: Actor,
    request_id: UUID,
    verb: str,
    action: str,
    *,
    decision: str | None = None,
    command_id: UUID,
) -> RosterRequest:
    request = access.roster_request(uow, actor, request_id, verb=verb, lock=True)
    if REQUEST.fire(uow, actor, request, action, command_id=command_id):
        request.decision = decision
        return _done(uow, request, action, by=actor.user_id)
    return request


# --- The supervisor's acts


def approve(uow: UnitOfWork, actor: Actor, request_id: UUID, *, command_id: UUID) -> RosterRequest:
    """Approve a request, and do what it asks for; of several who press at once one does, and the others are told.

    Raises:
        Forbidden: ``own_request``. WrongState: the colleague has not agreed, or it is decided.
        Conflict: ``shift_begun``, ``shifts_overlap``, or ``roster_changed``: a shift of it is another by now.
    """
    request = _held(uow, actor, request_id)
    if REQUEST.replayed(uow, actor, request, "approve", command_id):
        return request
    planned, wanted = request.planned, request.wanted
    if request.state == S.SUBMITTED:
        _refuse_changed(uow, request)
    REQUEST.fire(uow, actor, request, "approve", command_id=command_id)
    request.decided_by = actor.user_id
    if request.kind == K.EXCUSE:
        PLANNED_SHIFT.fire(uow, actor, planned, "excuse", command_id=command_id)
        uow.session.flush()
    else:
        assert request.colleague_id is not None
        planned_shifts.later(uow)
        for one, officer_id in ((planned, request.colleague_id), (wanted, request.officer_id)):
            if one is not None:
                one.officer_id, one.version = officer_id, one.version + 1
                journal.write(
                    uow, actor, "planned_shift", one.id, "swap", command_id=command_id,
                    data={"officer_id": str(officer_id), "request_id": str(request.id)},
                )  # fmt: skip
        planned_shifts.flush(uow)
    lapse_about(uow, [one.id for one in (planned, wanted) if one is not None], without=request.id)
    return _done(uow, request, "approve", by=actor.user_id)


def refuse(
    uow: UnitOfWork, actor: Actor, request_id: UUID, *, reason: str, command_id: UUID
) -> RosterRequest:
    """Refuse a request, and say why; the roster stays as it is.

    Raises:
        Forbidden: ``own_request``. WrongState: as ``approve``.
    """
    request = _held(uow, actor, request_id)
    if REQUEST.fire(uow, actor, request, "refuse", command_id=command_id):
        request.decided_by, request.decision = actor.user_id, reason
        return _done(uow, request, "refuse", by=actor.user_id)
    return request


def _held(uow: UnitOfWork, actor: Actor, request_id: UUID) -> RosterRequest:
    """Lock a request and the shifts that it is about; nobody decides on what he asks himself, or has agreed to."""
    found = access.roster_request(uow, actor, request_id, verb="decide")
    planned_shifts.alone(uow)
    ids = [one for one in (found.planned_id, found.wanted_id) if one is not None]
    held = select(PlannedShift.id).where(PlannedShift.id.in_(ids)).order_by(PlannedShift.id).with_for_update()
    uow.session.execute(held).all()
    request = access.roster_request(uow, actor, request_id, verb="decide", lock=True)
    if actor.user_id in (request.officer_id, request.colleague_id):
        raise Forbidden("own_request", "Somebody else decides on what one asks oneself.")
    return request


def _refuse_changed(uow: UnitOfWork, request: RosterRequest) -> None:
    planned, wanted = request.planned, request.wanted
    as_asked = planned.version == request.planned_version and planned.officer_id == request.officer_id
    if wanted is not None:
        as_asked = as_asked and (wanted.version, wanted.officer_id) == (
            request.wanted_version,
            request.colleague_id,
        )
    if not as_asked or planned.state != PlannedShiftState.PLANNED:
        raise Conflict("roster_changed", "A shift that this is about has been changed.")
    begun = any(one.begins_at <= uow.now for one in (planned, wanted) if one is not None)
    if request.kind == K.SWAP and begun:
        raise Conflict("shift_begun", "A shift that this is about has begun.")


# --- What the system does


def submit(uow: UnitOfWork, actor: Actor, request: RosterRequest, *, by: UUID | None) -> RosterRequest:
    """Bring a locked request to the supervisor that no colleague has to answer."""
    REQUEST.fire(uow, actor, request, "submit", command_id=None)
    return _done(uow, request, "submit", by=by)


def lapse(uow: UnitOfWork, actor: Actor, request: RosterRequest) -> None:
    """Let a locked request lapse that can no longer be granted."""
    REQUEST.fire(uow, actor, request, "lapse", command_id=None)
    _done(uow, request, "lapse", by=None)


def _lapse(uow: UnitOfWork, request_id: UUID) -> None:
    """Let a request lapse, unless it is over already."""
    system = system_actor(uow.town)
    request = access.roster_request(uow, system, request_id, lock=True)
    if request.state in OPEN:
        lapse(uow, system, request)


def lapse_about(uow: UnitOfWork, planned_ids: Iterable[UUID], *, without: UUID | None = None) -> None:
    """Let lapse what is asked about planned shifts that are others now, but for the request that made them so."""
    ids = list(planned_ids)
    query = select(RosterRequest.id).where(
        or_(RosterRequest.planned_id.in_(ids), RosterRequest.wanted_id.in_(ids)),
        RosterRequest.state.in_(OPEN),
    )
    if without is not None:
        query = query.where(RosterRequest.id != without)
    for request_id in uow.session.scalars(query.order_by(RosterRequest.id)).all():
        _lapse(uow, request_id)


def time_due(uow: UnitOfWork, deadline: Deadline) -> None:
    """Let a swap lapse whose shift begins, unless somebody is at it just now."""
    free = select(RosterRequest.id).where(RosterRequest.id == deadline.subject_id)
    if uow.session.scalar(free.with_for_update(skip_locked=True)) is None:
        raise deadlines.Later
    _lapse(uow, deadline.subject_id)


def read(uow: UnitOfWork, request_id: UUID) -> RosterRequest:
    """Return a request as it is now, with all that an answer shows."""
    query = (
        select(RosterRequest).where(RosterRequest.id == request_id).options(*access.roster_request_parts())
    )
    return uow.session.scalars(query.execution_options(populate_existing=True)).one()


def _done(uow: UnitOfWork, request: RosterRequest, action: str, *, by: UUID | None) -> RosterRequest:
    """End an act on a request: who is concerned is told, and what is over waits for nothing."""
    uow.session.flush()
    if request.state not in OPEN:
        deadlines.drop(uow, request.id)
    request = read(uow, request.id)
    telling.of_request(uow, request, action, by=by, zone=zone_of(uow))
    changes.tell(uow, REQUEST.kind, request, action, to=recipients.hear_of_request(request))
    return request
