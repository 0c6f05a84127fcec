"""Reports: what officers find themselves, handled on the spot or passed on.

What was handled on the spot is closed at once; a share of it comes to the desk to be looked at. What is passed on, by
the officer at once or by the desk later, becomes a task (``workflows.reporting``), and he is told what came of it.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from geoalchemy2.shape import from_shape, to_shape
from shapely import Point
from sqlalchemy import or_, select
from sqlalchemy.orm import joinedload
from sqlalchemy.sql import Select

from backend.core.errors import Invalid, NotVisible
from backend.core.identity import Actor, system_actor
from backend.core.ids import new_id
from backend.core.paging import Page, moment_and_id, page
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import ReportOutcome, Role, TaskSource, TaskState
from backend.core.vocabulary import ReportState as R
from backend.models import Area, Report, Shift, Task
from geo import queries
from notifications import changes, recipients
from workflows import access, evidence, journal, nearest, numbers, task_kinds, telling
from workflows.alarms import Place
from workflows.machine import Machine, step

DESK, SYSTEM = (Role.DISPATCHER, Role.SUPERVISOR), (Role.SYSTEM,)

REPORT = Machine(
    "report", R.FILED,
    #    action       from                             to           by                 stamps
    step("settle",    {R.FILED},                       R.CLOSED,    SYSTEM,            "closed_at"),
    step("sample",    {R.CLOSED},                      R.SAMPLED,   SYSTEM,            "sampled_at"),
    step("look_over", {R.SAMPLED},                     R.CLOSED,    DESK,              "seen_at"),
    step("pass_on",   {R.FILED, R.CLOSED, R.SAMPLED},  R.PASSED_ON, (*DESK, *SYSTEM),  "passed_on_at"),
    step("answer",    {R.PASSED_ON},                   R.ANSWERED,  SYSTEM,            "answered_at"),
)  # fmt: skip


def drawn(report_id: UUID, percent: int) -> bool:
    """Say whether a report is among the share that the desk looks at: by its id alone, so a retry draws the same.

    The server makes the id, so nobody chooses one that is not drawn.
    """
    return int.from_bytes(hashlib.sha256(report_id.bytes).digest()[:8]) % 100 < percent


# --- The officer's act


def file(
    uow: UnitOfWork,
    actor: Actor,
    *,
    command_id: UUID | None,
    kind_id: UUID,
    place: Place | None = None,
    note: str | None = None,
    evidence_before: Sequence[UUID] = (),
    evidence_after: Sequence[UUID] = (),
    device_at: datetime | None = None,
) -> Report:
    """Store what an officer found; what becomes of it is the next step of the same transaction.

    On shift or off: he says where he is by his own act (P21). Without a place, where he was by his track at the time.
    What lies in no area belongs to that of his shift, or to his own: nothing that was found is lost.

    Raises:
        Invalid: ``kind_id``, nothing of this kind may be reported; ``place``, nobody knows where it is;
            ``not_your_evidence``, a photo is another officer's.
    """
    access.require(actor, "file", "report")
    assert actor.user_id is not None
    evidence.check_own(uow, actor.user_id, evidence_before=evidence_before, evidence_after=evidence_after)
    kind = task_kinds.usable(uow, kind_id=kind_id)
    if not task_kinds.may_be_reported(kind):
        raise Invalid("Nothing of this kind is reported.", kind_id=["not reported"])
    at = device_at or uow.now
    where = place or _place_by_track(uow, actor.user_id, at)
    if where is None:
        raise Invalid("Nobody knows where this is.", place=["needed"])
    shift = _shift_at(uow, actor.user_id, at)
    report = Report(
        id=new_id(),
        town_id=uow.town,
        number=numbers.next_number(uow, REPORT.kind),
        kind=kind,
        state=REPORT.initial,
        version=1,
        officer_id=actor.user_id,
        shift_id=shift.id if shift else None,
        area=_area_of(uow, actor, where, shift),
        geom=from_shape(Point(where.lon, where.lat), srid=4326),
        accuracy_m=where.accuracy_m,
        fixed_at=where.fixed_at,
        place_from="told" if place else "last_fix",
        note=note,
        evidence_before=list(evidence_before),
        evidence_after=list(evidence_after),
        filed_at=uow.now,
        device_at=device_at,
    )
    uow.session.add(report)
    uow.session.flush()
    journal.write(
        uow,
        actor,
        "report",
        report.id,
        "file",
        after=REPORT.initial,
        command_id=command_id,
        device_at=device_at,
    )
    return access.report(uow, system_actor(uow.town), report.id, lock=True)


def _place_by_track(uow: UnitOfWork, officer_id: UUID, at: datetime) -> Place | None:
    [found] = queries.places_at(uow.session, [queries.Moment(officer_id, at)])
    return Place(found[0], found[1], found[2], None) if found else None


def _shift_at(uow: UnitOfWork, officer_id: UUID, at: datetime) -> Shift | None:
    return uow.session.scalar(
        select(Shift)
        .where(Shift.officer_id == officer_id, access.during(at, at))
        .order_by(Shift.started_at.desc())
        .limit(1)
    )


def _area_of(uow: UnitOfWork, actor: Actor, place: Place, shift: Shift | None) -> Area:
    if (found := nearest.area_at(uow, (place.lon, place.lat))) is not None:
        return found
    own = shift.area_id if shift else next(iter(actor.areas(Role.OFFICER)), None)
    area = uow.session.get(Area, own) if own else None
    if area is None:
        raise Invalid("This place lies outside the town.", place=["outside the town"])
    return area


# --- What becomes of it


def settle(uow: UnitOfWork, actor: Actor, report: Report) -> None:
    """Close a locked report: it was handled on the spot.

    Raises:
        WrongState: something else became of it.
    """
    REPORT.fire(uow, actor, report, "settle", command_id=None)
    _done(uow, report, "settle", by=report.officer_id)


def sample(uow: UnitOfWork, actor: Actor, report: Report) -> None:
    """Put a locked report before the desk: it is one of the share that is looked at.

    Raises:
        WrongState: it was not handled on the spot.
    """
    REPORT.fire(uow, actor, report, "sample", command_id=None)
    report.seen_at = report.seen_by = None
    _done(uow, report, "sample", by=None)


def look_over(uow: UnitOfWork, actor: Actor, report_id: UUID, *, command_id: UUID | None) -> Report:
    """Say that one has looked at a sampled report, and that it is all right; of several at once one is the name.

    Raises:
        WrongState: somebody did it before, or made a task of it, or it is none of the sample.
    """
    report = access.report(uow, actor, report_id, verb="handle", lock=True)
    if REPORT.fire(uow, actor, report, "look_over", command_id=command_id):
        report.seen_by = actor.user_id
        _done(uow, report, "look_over", by=actor.user_id)
    return read(uow, report.id)


def pass_on(
    uow: UnitOfWork,
    actor: Actor,
    report: Report,
    task_id: UUID,
    *,
    command_id: UUID | None,
    reason: str | None = None,
) -> bool:
    """Bind a locked report to the task that it became.

    Raises:
        WrongState: it is one already.
    """
    fired = REPORT.fire(
        uow, actor, report, "pass_on", command_id=command_id, reason=reason, data={"task_id": str(task_id)}
    )
    if fired:
        report.task_id = task_id
        _done(uow, report, "pass_on", by=actor.user_id or report.officer_id)
    return fired


def answer(uow: UnitOfWork, actor: Actor, report: Report, outcome: ReportOutcome) -> None:
    """Say what became of a locked report, and tell its officer: its task has ended.

    Raises:
        WrongState: it was not passed on, or is answered.
    """
    REPORT.fire(uow, actor, report, "answer", command_id=None, data={"outcome": str(outcome)})
    report.outcome = outcome
    _done(uow, report, "answer", by=None)


def ended_with(uow: UnitOfWork, task: Task) -> None:
    """Answer the report that a task came from, which has just ended."""
    if task.source != TaskSource.REPORT or task.source_id is None:
        return
    system = system_actor(uow.town)
    try:
        report = access.report(uow, system, task.source_id, lock=True)
    except NotVisible:
        return
    if report.state != R.PASSED_ON or report.task_id != task.id:
        return
    if task.state == TaskState.CANCELLED:
        outcome = ReportOutcome.REFUSED
    else:
        outcome = ReportOutcome.REFERRED if task.referral is not None else ReportOutcome.HANDLED
    answer(uow, system, report, outcome)


def _done(uow: UnitOfWork, report: Report, action: str, *, by: UUID | None) -> None:
    """End an act: who is concerned is told, by notices and by the live channel."""
    uow.session.flush()
    telling.of_report(uow, report, action, by=by)
    changes.tell(uow, REPORT.kind, report, action, to=recipients.hear_of_report(report))


# --- Looks


def actions(actor: Actor, report: Report) -> list[str]:
    """Return what the actor may do with a report now: the desk something, its officer nothing."""
    return REPORT.actions(actor, report)


def place_of(report: Report) -> tuple[float, float]:
    """Return where it was found, longitude and latitude in degrees, WGS-84."""
    point = to_shape(report.geom)
    return (point.x, point.y)


def read(uow: UnitOfWork, report_id: UUID) -> Report:
    """Return a report as it is now, with all that an answer shows."""
    return uow.session.scalars(
        select(Report)
        .where(Report.id == report_id)
        .options(*access.report_parts(), joinedload(Report.task))
        .execution_options(populate_existing=True)
    ).one()


def at_desk_one(uow: UnitOfWork, actor: Actor, report_id: UUID) -> Report:
    """Return a report of the actor's areas."""
    return read(uow, access.report(uow, actor, report_id, verb="handle").id)


def at_desk(
    uow: UnitOfWork,
    actor: Actor,
    *,
    state: R | None = None,
    area_id: UUID | None = None,
    officer_id: UUID | None = None,
    after: Sequence[str] | None,
    limit: int,
) -> Page[Report]:
    """Return the reports in the actor's areas, newest first; those to be looked at are the ``sampled`` ones."""
    query = select(Report).where(access.within(Report.area_id, access.roots(actor, "see", "report")))
    if state is not None:
        query = query.where(Report.state == state)
    if area_id is not None:
        query = query.where(access.within(Report.area_id, [area_id]))
    if officer_id is not None:
        query = query.where(Report.officer_id == officer_id)
    return _page(uow, query, after, limit)


def own(uow: UnitOfWork, actor: Actor, *, after: Sequence[str] | None, limit: int) -> Page[Report]:
    """Return what the actor filed, newest first."""
    return _page(uow, select(Report).where(Report.officer_id == actor.user_id), after, limit)


def _page(uow: UnitOfWork, query: Select[Report], after: Sequence[str] | None, limit: int) -> Page[Report]:
    if key := moment_and_id(after):
        query = query.where(or_(Report.filed_at < key[0], (Report.filed_at == key[0]) & (Report.id < key[1])))
    query = query.where(Report.town_id == uow.town).options(*access.report_parts(), joinedload(Report.task))
    query = query.order_by(Report.filed_at.desc(), Report.id.desc()).limit(limit + 1)
    return page(list(uow.session.scalars(query)), limit, lambda row: (row.filed_at.isoformat(), row.id))
