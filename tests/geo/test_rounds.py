"""A few simulated officers' days: visits are found, forgeries are noticed, and honest rounds are left alone."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.rounds import FORGERIES, of
from bench.rounds.scoring import Town


@pytest.fixture(scope="module")
def tally() -> Counter[str]:
    """One day of a few officers, of the seed that the full measurement does not have."""
    town, counted = Town(seed=7), Counter[str]()
    for number in range(3):
        counted.update(town.week(number, days=1))
    return counted


def test_nearly_all_visits_are_found_and_hardly_any_is_made_up(tally):
    """The bounds leave room for so few officers; ``script/bench rounds`` has the figures."""
    assert tally["sure"] > 100
    assert of(tally, "recall") > 0.95
    assert of(tally, "precision") > 0.96
    assert of(tally, "recall") >= of(tally, "recall", "naive ")


def test_forgeries_are_noticed_and_honest_visits_raise_no_flag(tally):
    for name in FORGERIES:
        assert tally[f"{name} done"] >= 20
        assert tally[f"{name} noticed"] >= 0.85 * tally[f"{name} done"], name
    assert tally["honest flagged"] <= 0.02 * tally["honest"]
