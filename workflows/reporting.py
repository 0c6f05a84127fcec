"""From what an officer found to a task: at once, when he passes it on, or later, when the desk wants more of it.

The report is locked before its task is made; whoever ends the task comes to the report from there. The task is new, so
the two never wait for each other.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

from backend.core.errors import Invalid, WrongState
from backend.core.identity import Actor, system_actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import TaskSource
from backend.models import Report
from workflows import access, reports, tasks
from workflows.alarms import Place
from workflows.reports import REPORT

How = Literal["handled", "passed_on"]
"""自行处置, 移交."""


def file(
    uow: UnitOfWork,
    actor: Actor,
    *,
    command_id: UUID | None,
    kind_id: UUID,
    how: How,
    sample_percent: int,
    place: Place | None = None,
    note: str | None = None,
    evidence_before: Sequence[UUID] = (),
    evidence_after: Sequence[UUID] = (),
    device_at: datetime | None = None,
) -> Report:
    """File what the officer found: handled, it is closed, and of these ``sample_percent`` are looked at; or passed on.

    Raises:
        Invalid: as ``reports.file``.
    """
    report = reports.file(
        uow, actor, command_id=command_id, kind_id=kind_id, place=place, note=note, evidence_before=evidence_before,
        evidence_after=evidence_after, device_at=device_at,
    )  # fmt: skip
    system = system_actor(uow.town)
    if how == "passed_on":
        reports.pass_on(uow, system, report, _task_of(uow, system, report), command_id=None)
    else:
        reports.settle(uow, system, report)
        if reports.drawn(report.id, sample_percent):
            reports.sample(uow, system, report)
    return reports.read(uow, report.id)


def pass_on(
    uow: UnitOfWork, actor: Actor, report_id: UUID, *, reason: str, command_id: UUID | None
) -> Report:
    """Make a task of what was handled on the spot: the desk wants more done than was.

    Raises:
        WrongState: it is one already.
    """
    report = access.report(uow, actor, report_id, verb="handle", lock=True)
    done = REPORT.did(uow, actor, report, command_id) if command_id is not None else None
    if done == "pass_on":
        return reports.read(uow, report.id)
    if done is not None:
        raise Invalid("This command's id was used for another act.", "key_reused")
    if "pass_on" not in REPORT.actions(actor, report):
        raise WrongState(str(report.state), reports.actions(actor, report))
    task_id = _task_of(uow, actor, report)
    reports.pass_on(uow, actor, report, task_id, command_id=command_id, reason=reason)
    return reports.read(uow, report.id)


def _task_of(uow: UnitOfWork, actor: Actor, report: Report) -> UUID:
    return tasks.create(
        uow,
        actor,
        command_id=None,
        kind_id=report.kind_id,
        description=report.note or "",
        place=reports.place_of(report),
        area_id=report.area_id,
        source=TaskSource.REPORT,
        source_id=report.id,
    ).id
