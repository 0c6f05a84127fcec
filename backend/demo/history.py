"""What happened before the first start: yesterday's shift and the last hours of the one that is running.

Made with the same walks and receivers as the simulated phones, so a replay shows the same officers in the same streets,
with the same gaps. Pure: the clock is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from backend.demo.people import Person
from backend.demo.receiver import Measurement, Mishaps, Receiver
from backend.demo.walks import Streets, Walk

YESTERDAY_INTERVAL_S = 20.0
TODAY_INTERVAL_S = 10.0
MISHAPS = Mishaps(tunnels_per_h=1.0, outages_per_h=0, mocks_per_fix=0, jumps_per_fix=0)


@dataclass(frozen=True, slots=True)
class Duty:
    """A stretch of duty of one officer, with what his phone measured; ``ended_at`` is None while it runs."""

    person: Person
    started_at: datetime
    planned_end_at: datetime
    ended_at: datetime | None
    measurements: tuple[Measurement, ...]


def duties(streets: Streets, person: Person, now: datetime, seed: int, *, running: bool) -> Iterator[Duty]:
    """Yesterday's shift of an officer and, if he is on duty now, what there is of today's."""
    random = Random(f"history {seed} {person.login}")
    beat = streets.beat(person.posts[0].area_id, person.travel)
    moment = now.astimezone(UTC).replace(microsecond=0)
    started_at = moment - timedelta(hours=25, minutes=random.uniform(0, 80))
    ended_at = started_at + timedelta(hours=random.uniform(5.2, 6.4))
    walk = Walk(streets, beat, person.travel, random)
    yield Duty(
        person,
        started_at,
        started_at + timedelta(hours=6),
        ended_at,
        _measured(walk, Receiver(random, MISHAPS), started_at, ended_at, YESTERDAY_INTERVAL_S),
    )
    if not running:
        return
    started_at = moment - timedelta(minutes=random.uniform(135, 185))
    walk = Walk(streets, beat, person.travel, random)
    yield Duty(
        person,
        started_at,
        started_at + timedelta(hours=8),
        None,
        _measured(walk, Receiver(random, MISHAPS), started_at, moment, TODAY_INTERVAL_S),
    )


def _measured(
    walk: Walk, receiver: Receiver, started_at: datetime, until: datetime, interval_s: float
) -> tuple[Measurement, ...]:
    found = []
    at = started_at.timestamp() + 3.0
    end = until.timestamp()
    while at < end:
        walk.step(interval_s)
        measured = receiver.measure(walk, at, interval_s)
        if measured is not None:
            found.append(measured)
        at += interval_s
    return tuple(found)
