"""What the clocks do to the tables: partitions ahead, rows past their time, closed days laid out for reading.

Each function is called by the worker within a unit of work and may be called again at any time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from sqlalchemy import text

from backend.core.uow import UnitOfWork
from workflows.closed_days import zone_of

JOURNALS_AHEAD = timedelta(days=62)
QUARANTINE_RETENTION_DAYS = 30
DEAD_ADDRESS_DAYS = 30
SETUP_DAYS = 90
LATE_AT_MOST = timedelta(days=5)
"""How long after it a day may still receive many fixes: 72 hours of a phone's backlog and a good margin."""


def towns(uow: UnitOfWork) -> list[UUID]:
    """Every town of the installation; the only rows that a unit of work without a town sees."""
    return list(uow.session.execute(text("select id from towns order by id")).scalars())


def keep_partitions(uow: UnitOfWork, *, ahead_days: int, fix_retention_days: int) -> dict[str, int]:
    """Make the partitions of the coming days and months, and drop the fixes' that are past their retention.

    Returns:
        How many were ``made`` and ``dropped``.
    """
    today = uow.now.date()
    made = sum(
        _call(uow, "select make_partitions(:parent, :first, :last, cast(:step as interval))",
              parent=parent, first=first, last=last, step=step)
        for parent, first, last, step in (
            # From before today: a first start, or one after a long stop, has days behind it to take in as well.
            ("fixes", today - LATE_AT_MOST, today + timedelta(days=ahead_days), "1 day"),
            ("quarantined_fixes", today, today + timedelta(days=ahead_days), "1 day"),
            ("journal", today, today + JOURNALS_AHEAD, "1 month"),
            ("disclosures", today, today + JOURNALS_AHEAD, "1 month"),
            ("visits", today - LATE_AT_MOST, today + JOURNALS_AHEAD, "1 month"),
        )
    )  # fmt: skip
    dropped = sum(
        _call(
            uow,
            "select drop_partitions(:parent, :before)",
            parent=parent,
            before=today - timedelta(days=days),
        )
        for parent, days in (("fixes", fix_retention_days), ("quarantined_fixes", QUARANTINE_RETENTION_DAYS))
    )
    return {"made": made, "dropped": dropped}


def order_day(uow: UnitOfWork, day: date) -> bool:
    """Lay out a closed day's fixes in the order in which a replay reads them; False when there is nothing to do."""
    return bool(_call(uow, "select order_partition(:day)", day=day))


def forget_answers(uow: UnitOfWork, *, retention_days: int) -> int:
    """Delete the kept answers of this town's commands that are past their time; a replay is then a new act."""
    done = uow.session.execute(
        text("delete from commands where created_at < :limit"),
        {"limit": uow.now - timedelta(days=retention_days)},
    )
    return int(done.rowcount)  # type: ignore[attr-defined]


def forget_notices(uow: UnitOfWork, *, retention_days: int) -> int:
    """Delete this town's notices with their deliveries, and addresses at which nobody was reached for long."""
    before = uow.now - timedelta(days=retention_days)
    gone = 0
    for statement in (
        "delete from notices where town_id = xungeng_town() and created_at < :before",
        "delete from addresses where dead_at < :dead",
        "delete from wechat_credits where updated_at < :before and remaining = 0",
    ):
        done = uow.session.execute(
            text(statement), {"before": before, "dead": uow.now - timedelta(days=DEAD_ADDRESS_DAYS)}
        )
        gone += int(done.rowcount)  # type: ignore[attr-defined]
    return gone


def forget_visits(uow: UnitOfWork, *, retention_days: int) -> int:
    """Delete this town's visits that are past their time, when streets were walked, and who was away from a post when;
    of points of patrols the day stays on which they were (P22)."""
    before = uow.now - timedelta(days=retention_days)
    uow.session.execute(
        text(
            "update patrol_points set visited_at = date_trunc('day', visited_at), answers = null, answered_at = null"
            " from patrols p where p.id = patrol_id and p.town_id = xungeng_town() and p.scheduled_at < :before"
            " and p.scheduled_at > :since and visited_at <> date_trunc('day', visited_at)"
        ),
        {"before": before, "since": before - timedelta(days=7)},
    )
    for statement in (
        "delete from post_absences using post_duties d where d.id = duty_id and d.town_id = xungeng_town()"
        " and d.starts_at < :before",
        "update post_duties set presence = '{}' where town_id = xungeng_town() and starts_at < :before"
        " and presence <> '{}'",
        "update roster_requests set reason = '', decision = case when state = 'refused' then '' end"
        " where town_id = xungeng_town() and asked_at < :before and (reason <> '' or decision <> '')",
    ):
        uow.session.execute(text(statement), {"before": before})
    uow.session.execute(
        text("delete from road_walks where town_id = xungeng_town() and day < :day"), {"day": before.date()}
    )
    done = uow.session.execute(
        text("delete from visits where town_id = xungeng_town() and arrived_at < :before"),
        {"before": before},
    )
    return int(done.rowcount)  # type: ignore[attr-defined]


def forget_setups(uow: UnitOfWork) -> int:
    """Delete this town's codes for phones that are long over; a phone that they set up stays what it is."""
    done = uow.session.execute(
        text("delete from phone_setups where town_id = xungeng_town() and expires_at < :before"),
        {"before": uow.now - timedelta(days=SETUP_DAYS)},
    )
    return int(done.rowcount)  # type: ignore[attr-defined]


def forget_tracks(uow: UnitOfWork, *, retention_days: int) -> int:
    """Delete this town's thinned tracks of closed days with the fixes they were made of, old imports, and the places
    of alarms that are over and of officers' answers to calls (P22).

    A day goes as soon as the first of its fixes is dropped. An imported track goes as long after its import as a fix
    after it was measured.
    """
    first = datetime.combine(uow.now.date() - timedelta(days=retention_days), time(), UTC)
    gone = 0
    for statement in (
        "delete from track_days where day::timestamp at time zone :zone < :first",
        "delete from late_days where day::timestamp at time zone :zone < :first",
        "delete from imported_tracks where created_at < :first",
        "update alarms set geom = null, accuracy_m = null, fixed_at = null"
        " where raised_at < :first and geom is not null and state in ('cleared', 'false')",
        "update call_answers set geom = null, accuracy_m = null, fixed_at = null"
        " where answered_at < :first and geom is not null",
    ):
        done = uow.session.execute(text(statement), {"first": first, "zone": zone_of(uow).key})
        gone += int(done.rowcount)  # type: ignore[attr-defined]
    return gone


def _call(uow: UnitOfWork, statement: str, **arguments: object) -> int:
    return int(uow.session.execute(text(statement), arguments).scalar_one())
