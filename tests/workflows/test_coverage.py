"""Coverage: where somebody was, how often, and where nobody has been."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine

from backend.core.ids import new_id
from backend.core.paging import Page
from backend.core.uow import UnitOfWork
from tests import factories
from tests.factories import Town
from tests.rounds import make_checkpoint, make_visit
from workflows import coverage, upkeep, visits

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"coverage-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


def test_each_checkpoint_in_use_is_listed_with_its_visits_that_count(here: UnitOfWork, town: Town) -> None:
    seen, doubtful, nobody = (make_checkpoint(here, town, north_m=100.0 * n, code=f"c{n}") for n in range(3))
    make_checkpoint(here, town, code="c3", retired_at=here.now)
    make_checkpoint(here, town, area="b", code="c4")
    for days in (1, 2, 40):
        make_visit(here, town, town["officer_a"], seen.id, at=here.now - days * DAY)
    judged = make_visit(here, town, town["officer_a"], doubtful.id, at=here.now - DAY, flags=["mock"])
    judged.verdict, judged.reviewed_at, judged.reviewed_by = "doubtful", here.now, town["supervisor"].id
    here.session.flush()

    def listed(after: Sequence[str] | None) -> Page[coverage.Covered]:
        since, actor = here.now - 7 * DAY, town["desk_a"].actor()
        return coverage.of_checkpoints(here, actor, since=since, until=here.now, after=after, limit=2)

    first = listed(None)
    rest = listed(first.after)
    found = [(one.checkpoint.id, one.visits, one.last_visited_at) for one in [*first.items, *rest.items]]
    assert found == [(seen.id, 2, here.now - DAY), (doubtful.id, 0, None), (nobody.id, 0, None)]
    assert rest.after is None


def test_a_desk_lists_the_visits_of_its_areas_and_those_that_wait_for_a_look(
    here: UnitOfWork, town: Town
) -> None:
    """F41: of another community none."""
    a, b = make_checkpoint(here, town), make_checkpoint(here, town, area="b")
    plain = make_visit(here, town, town["officer_a"], a.id, at=here.now - DAY)
    flagged = make_visit(here, town, town["officer_a"], a.id, at=here.now, flags=["clock"])
    make_visit(here, town, town["officer_b"], b.id, at=here.now, area="b")

    def listed(*, flagged: bool = False) -> list[UUID]:
        page = visits.at_desk(
            here, town["desk_a"].actor(), since=here.now - 7 * DAY, until=here.now + DAY, flagged=flagged,
            after=None, limit=10,
        )  # fmt: skip
        return [visit.id for visit in page.items]

    assert listed() == [flagged.id, plain.id]
    assert listed(flagged=True) == [flagged.id]


def test_visits_are_forgotten_in_time(here: UnitOfWork, town: Town) -> None:
    """P22: where somebody was is not kept for ever."""
    checkpoint = make_checkpoint(here, town)
    make_visit(here, town, town["officer_a"], checkpoint.id, at=here.now - 401 * DAY)
    make_visit(here, town, town["officer_a"], checkpoint.id, at=here.now - 399 * DAY)
    assert upkeep.forget_visits(here, retention_days=400) == 1
