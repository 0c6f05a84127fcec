"""Writes the last month of some officers into a running installation, as its operator could not: rounds, tasks, silence.

``python -m tests.web.appraised OFFICER…`` within the installation's environment. No client can bring a month that is over.
"""

from __future__ import annotations

import sys
from uuid import UUID

from sqlalchemy import select

from backend.cli_town import in_town
from backend.core.vocabulary import Role, SilenceCause
from backend.models import Membership
from tests.appraising import DAY, HOUR, drafted, make_missed, make_round, make_shift, make_silence, month_over
from tests.factories import Person, Town


def main(officer_ids: list[str]) -> int:
    """Write and draft a month of each."""
    with in_town(None) as (uow, _):
        town = Town(uow.town, "qinghe")
        _, at = month_over(uow)
        for officer_id in map(UUID, officer_ids):
            held = Membership.user_id == officer_id, Membership.role == Role.OFFICER
            town.areas["a"] = uow.session.scalars(select(Membership.area_id).where(*held)).first()  # type: ignore[assignment]
            person = Person(officer_id, "", Role.OFFICER, uow.town, town.areas["a"])
            for day in range(6):
                begins_at = at + day * DAY
                shift = make_shift(uow, town, person, begins_at)
                make_round(uow, town, person, shift, begins_at + HOUR, points=4, visited=4 - day % 3)
            make_round(
                uow, town, person, shift, begins_at + 3 * HOUR, visited=0, state="ended_early", reason="暴雨，道路积水"
            )
            make_missed(uow, town, begins_at + 5 * HOUR, person)
            make_silence(uow, town, shift, begins_at + 6 * HOUR, minutes=25, cause=SilenceCause.DROPOUT_PLACE)
            make_silence(uow, town, shift, begins_at + 7 * HOUR, minutes=12)
            drafted(uow, person)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
