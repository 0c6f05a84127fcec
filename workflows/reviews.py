"""Reviews: what a person says who looked at a visit whose proof is doubtful."""

from uuid import UUID

from backend.core.errors import WrongState
from backend.core.identity import Actor
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import Verdict
from backend.models import Visit
from notifications import changes, recipients
from workflows import access, journal, patrols


def review(
    uow: UnitOfWork, actor: Actor, visit_id: UUID, *, verdict: Verdict, note: str, command_id: UUID | None
) -> Visit:
    """Say that a visit is genuine, or that it is doubtful and does not count, flagged or not; the reason is needed.

    Raises:
        NotVisible: it is in none of the actor's areas. WrongState: somebody has judged it.
    """
    visit = access.visit(uow, actor, visit_id, verb="review", lock=True)
    if visit.verdict is not None:
        raise WrongState(visit.verdict, [])
    visit.verdict, visit.review_note = verdict, note
    visit.reviewed_at, visit.reviewed_by = uow.now, actor.user_id
    visit.version += 1
    journal.write(
        uow,
        actor,
        "visit",
        visit.id,
        "review",
        command_id=command_id,
        reason=note,
        data={"verdict": str(verdict)},
    )
    uow.session.flush()
    patrols.settle(uow, visit.officer_id, visit.arrived_at, visit.left_at or uow.now)
    changes.tell(uow, "visit", visit, "review", to=recipients.hear_of_visit(visit))
    return visit
