"""Putting a job on the queue, in the transaction that needs it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import text

from backend.core.uow import UnitOfWork

SCHEMA = "jobs"
DEFAULT_QUEUE = "default"
PHOTO_QUEUE = "photos"
"""What takes long and can wait: one at a time for each worker."""

_DEFER = text(
    "select unnest(jobs.procrastinate_defer_jobs_v1(array[row(cast(:queue as varchar), cast(:task as varchar),"
    " cast(:priority as integer), cast(:lock as text), cast(:queueing_lock as text), cast(:args as jsonb),"
    " cast(:scheduled_at as timestamptz))::jobs.procrastinate_job_to_defer_v1]))"
)


def enqueue(
    uow: UnitOfWork,
    name: str,
    *,
    at: datetime | None = None,
    lock: str | None = None,
    once: str | None = None,
    queue: str = DEFAULT_QUEUE,
    priority: int = 0,
    **arguments: Any,
) -> int | None:
    """Queue the job ``name`` with ``arguments``; it exists when the unit of work commits, and not if it does not.

    Args:
        name: a task of ``backend.worker``.
        at: not before this moment (aware UTC).
        lock: jobs of one lock run one after the other, in the order of their queueing.
        once: while a job with this key waits, another one is not queued and the answer is None.
        arguments: what the task is called with; JSON.

    Returns:
        The job's id.
    """
    session = uow.session
    if once is not None:
        # Of two transactions at once the second waits here, and then finds the first one's job.
        session.execute(
            text("select pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"job:{once}"}
        )
        waiting = text("select 1 from jobs.procrastinate_jobs where queueing_lock = :key and status = 'todo'")
        if session.execute(waiting, {"key": once}).first() is not None:
            return None
    # The queue's functions name their tables without a schema, so they need theirs on the path for a moment.
    path = session.execute(text("show search_path")).scalar_one()
    set_path = text("select set_config('search_path', :path, true)")
    session.execute(set_path, {"path": f"{SCHEMA}, public"})
    job_id: int = session.execute(
        _DEFER,
        {
            "queue": queue, "task": name, "priority": priority, "lock": lock, "queueing_lock": once,
            "args": json.dumps(arguments, default=str), "scheduled_at": at,
        },
    ).scalar_one()  # fmt: skip
    session.execute(set_path, {"path": path})
    return job_id
