"""The worker: jobs from the queue in PostgreSQL, and the clocks.

Any number of workers may run; each tick of a clock is one job that one of them takes, because the queue knows every
tick by its time. A worker that is killed leaves its job to :func:`resume_stalled`. Not gevent-patched: jobs run in
threads, and long ones in processes of their own.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import procrastinate
import psycopg
import structlog
from procrastinate import JobContext, PsycopgConnector
from procrastinate.jobs import Status
from procrastinate.testing import InMemoryConnector

from backend import worker_outbox
from backend.adapters import bundles, pictures, recordings, seals, storage
from backend.core import db, preflight
from backend.core.clock import now
from backend.core.config import Config, libpq_url
from backend.core.errors import Full, Gone
from backend.core.jobs import DEFAULT_QUEUE, PHOTO_QUEUE, SCHEMA
from backend.core.preflight import Unreachable
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import EvidenceDamage, EvidenceKind, ExportFault
from backend.models import Evidence
from workflows import (
    alarms,
    appraisal_clocks,
    calls,
    closed_days,
    custody,
    custody_heads,
    deadlines,
    dispatching,
    duty_levels,
    evidence,
    evidence_checks,
    evidence_exports,
    hand_overs,
    patrol_clocks,
    plans,
    post_clocks,
    roster_requests,
    sessions,
    silences,
    task_deadlines,
    throttling,
    upkeep,
    visit_watch,
    watchdog,
)

if TYPE_CHECKING:
    from psycopg.rows import TupleRow

log = structlog.get_logger(__name__)

STALLED_AFTER_S = 60
SPARE = 3
"""Jobs that can be done while every clock is at work."""
MOST_CHANGES = 100
"""Alarms that one look raises or ends in one town; the next look, twenty seconds on, goes on with the rest."""
SPOOLED_FOR_S = 3600.0
PROGRESS_EVERY_S = 2.0
EXTENSIONS = pictures.EXTENSIONS | recordings.EXTENSIONS
CHECKS_FOR_S = 4 * 3600.0
"""A file of the spool that is younger may be of an upload whose row is not committed yet."""
NAME = "xungeng"
CONNECT_S = 5.0
"""How long the queue waits for a connection until it counts as lost: nobody is told of a call for help meanwhile."""
FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_AFTER_S = 1.0, 30.0, 60.0
"""Between two losses of the database in a row; who had it for the last of them has it for good."""

app = procrastinate.App(connector=InMemoryConnector())
"""Knows the tasks; :func:`run` gives a copy of it the database."""

DEADLINES: Mapping[str, deadlines.Act] = {
    "task": task_deadlines.time_due,
    "assignment": task_deadlines.offer_due,
    "alarm": alarms.see_to,
    "call": calls.time_due,
    "patrol": patrol_clocks.time_due,
    "roster_request": roster_requests.time_due,
    "hand_over": hand_overs.time_due,
    "post_duty": post_clocks.time_due,
    duty_levels.KIND: duty_levels.time_due,
}
"""Who sees to a deadline, by what it belongs to."""

_config: Config | None = None


def _settings() -> Config:
    if _config is None:
        raise RuntimeError("The worker's tasks need run() or use() first.")
    return _config


def use(config: Config) -> None:
    """Let the tasks of this process work with ``config``; its engine has to be set as well."""
    global _config
    _config = config
    custody.use(config.custody_macs)


def in_every_town(act: Callable[[UnitOfWork], Any], *, to_the_end: bool = False) -> list[Any]:
    """Do ``act`` in each town, in a transaction each; what fails in one town is logged and stops no other.

    With ``to_the_end`` it is done again, the towns in turn, where it has answered that there may be more.

    Raises:
        ExceptionGroup: what failed, after all towns had their turn.
    """
    answers: list[Any] = []
    failures: list[Exception] = []
    with unit_of_work() as uow:
        towns = upkeep.towns(uow)
    while towns:
        unfinished = []
        for town_id in towns:
            try:
                with unit_of_work(town_id) as uow:
                    answer = act(uow)
            except Exception as error:
                log.error(
                    "a clock failed in one town",
                    town_id=str(town_id),
                    error=type(error).__name__,
                    exc_info=True,
                )
                failures.append(error)
            else:
                answers.append(answer)
                if to_the_end and answer:
                    unfinished.append(town_id)
        towns = unfinished
    if failures:
        raise ExceptionGroup("A clock failed.", failures)
    return answers


@app.periodic(cron="* * * * *")
@app.task(
    name="shifts.close_forgotten", queueing_lock="shifts.close_forgotten", lock="shifts.close_forgotten"
)
def close_forgotten_shifts(timestamp: int) -> None:
    """Close the shifts whose end was forgotten, so that nobody is tracked off duty, and lapse what nobody answered."""
    from workflows import invitations, shifts

    try:
        in_every_town(shifts.close_forgotten, to_the_end=True)
    finally:
        in_every_town(invitations.lapse_forgotten)


@app.periodic(cron="* * * * * */3")
@app.task(name="deadlines.see_to", queueing_lock="deadlines.see_to", lock="deadlines.see_to")
def see_to_deadlines(timestamp: int) -> None:
    """Let offers lapse, calls end and missed times be told; every three seconds (the sixth field), for an offer stands
    for one minute or two."""
    in_every_town(lambda uow: deadlines.see_to(uow, DEADLINES), to_the_end=True)


# Nobody else would send anybody: what fails once (a lock, a lost connection) is done again, for a minute.
@app.task(
    name=alarms.IN_DISTRESS, pass_context=False, retry=procrastinate.RetryStrategy(max_attempts=20, wait=3)
)
def dispatch_sos(town_id: str, alarm_id: str) -> None:
    """Send people to an SOS that was just stored."""
    with unit_of_work(UUID(town_id)) as uow:
        dispatching.send_to_sos(uow, UUID(alarm_id))


@app.periodic(cron="* * * * * */20")
@app.task(name="alarms.watch", queueing_lock="alarms.watch", lock="alarms.watch")
def watch_shifts(timestamp: int) -> None:
    """Raise the alarm about whoever on shift has fallen silent, has left his area, goes away from his task or runs out
    of battery."""
    config = _settings()
    bounds = watchdog.Bounds(
        timedelta(seconds=config.silent_alarm_s),
        deviation_m=config.deviation_m,
        deviation_for=timedelta(seconds=config.deviation_s),
        outage_officers=config.outage_officers,
        outage_share=config.outage_percent / 100,
    )
    failures: list[Exception] = []
    looked: list[tuple[UUID, list[watchdog.Change]]] = []
    try:
        in_every_town(lambda uow: looked.append((uow.town, watchdog.look(uow, bounds))))
    except ExceptionGroup as group:
        # A town that could not be looked at keeps no other from its alarms.
        failures += group.exceptions
    for town_id, changes in looked:
        for change in changes[:MOST_CHANGES]:
            try:
                with unit_of_work(town_id) as uow:
                    watchdog.act(uow, change)
            except Exception as error:
                log.error("an alarm could not be changed", error=type(error).__name__, exc_info=True)
                failures.append(error)
        if len(changes) > MOST_CHANGES:
            log.warning("more alarms than one look changes", town_id=str(town_id), changes=len(changes))
    if failures:
        raise ExceptionGroup("The watchdog failed.", failures)


@app.periodic(cron="* * * * * */15")
@app.task(name="visits.watch", queueing_lock="visits.watch", lock="visits.watch")
def watch_visits(timestamp: int) -> None:
    """Find visits in what phones sent since the last look."""
    in_every_town(visit_watch.look, to_the_end=True)


# A look that said nothing of the photo (a busy machine, a killed decoder, a lost database) is taken again soon: while
# it waits, the clock queues no other. After the last attempt the hourly clock does.
@app.task(name=evidence.EXAMINE, retry=procrastinate.RetryStrategy(max_attempts=10, wait=90))
def examine_evidence(town_id: str, evidence_id: str) -> None:
    """Look at what has arrived, in a process with limits, and seal or reject it."""
    examine(_settings(), UUID(town_id), UUID(evidence_id), storage.Folder(_settings().evidence_dir))


def examine(config: Config, town_id: UUID, evidence_id: UUID, store: storage.Store) -> None:
    """Do what the job does; no transaction is open while a decoder works."""
    with unit_of_work(town_id) as uow:
        received = evidence.to_examine(uow, evidence_id)
    if received is None or received.sha256 is None:
        return
    preview_sha256 = None
    with tempfile.TemporaryDirectory(prefix="xg-evidence-") as folder:
        preview = Path(folder) / "preview"
        seen = _look(config, store, received, preview)
        if seen.fault is None and preview.exists():
            preview_sha256 = hashlib.sha256(preview.read_bytes()).digest()
            store.keep(town_id, preview_sha256, preview)
    with unit_of_work(town_id) as uow:
        evidence.examined(uow, evidence_id, seen, preview_sha256=preview_sha256)


def _look(config: Config, store: storage.Store, received: Evidence, preview: Path) -> pictures.Picture:
    """Have it decoded from a copy; that of a recording has no name, so that nothing long ever stays behind."""
    assert received.sha256 is not None
    most_pixels = config.image_megapixels * 1_000_000
    if received.kind == EvidenceKind.IMAGE:
        original = preview.with_name("original")
        with open(original, "xb") as file:
            store.copy_to(received.town_id, received.sha256, file)
        return pictures.look(original, preview, most_pixels=most_pixels)
    assert received.media_type is not None
    # Beside the spool: what is temporary elsewhere need not have room for a file that was let in here.
    with tempfile.TemporaryFile(dir=config.evidence_dir) as copied:
        store.copy_to(received.town_id, received.sha256, copied)
        copied.flush()
        return recordings.look(copied, preview, media_type=received.media_type, most_pixels=most_pixels)


@app.periodic(cron="27 * * * *")
@app.task(name="evidence.tidy", queueing_lock="evidence.tidy", lock="evidence.tidy")
def tidy_evidence(timestamp: int) -> None:
    """Reject the uploads whose time is over, look at what was forgotten, throw away the bytes of what was rejected, and
    sweep the spool of what nobody needs."""
    spool, store = storage.Spool(_settings().evidence_dir), storage.Folder(_settings().evidence_dir)
    in_every_town(evidence.expire, to_the_end=True)
    in_every_town(evidence.look_again)
    in_every_town(lambda uow: evidence.drop_rejected(uow, partial(store.drop, uow.town)), to_the_end=True)
    if old := spool.older_than(SPOOLED_FOR_S):
        needed = in_every_town(partial(evidence.spooled, evidence_ids=old))
        for upload_id in set(old).difference(*needed):
            spool.drop(upload_id)


@app.periodic(cron="53 18 * * *")
@app.task(name="custody.verify", queueing_lock="custody.verify", lock="custody.verify")
def verify_custody(timestamp: int) -> None:
    """Say loudly which chain of custody does not hold: whoever owns the database can change it behind the triggers.

    Those that grew since the last two nights, because a night may be missed, and of the others a share each night.
    """
    in_every_town(_verify_custody)


@app.periodic(cron="12 17 * * *")
@app.task(name="evidence.check", queueing_lock="evidence.check", lock="evidence.check")
def check_evidence(timestamp: int) -> None:
    """Read again what nobody has read for a week, for a few hours at most, and say loudly what is no longer whole."""
    store, until = storage.Folder(_settings().evidence_dir), time.monotonic() + CHECKS_FOR_S
    with unit_of_work() as uow:
        towns = upkeep.towns(uow)
    for town_id in towns:
        for kept, damage in check_town(town_id, store):
            if damage is not None:
                log.error(
                    "evidence is damaged", town_id=str(town_id), evidence_id=str(kept.id), damage=str(damage)
                )
            if time.monotonic() > until:
                log.warning("reading evidence again takes longer than a night")
                return


def check_town(
    town_id: UUID, store: storage.Store, *, before: datetime | None = None
) -> Iterator[tuple[evidence_checks.Kept, EvidenceDamage | None]]:
    """Read again what is due in a town, and yield what was found of each piece; each is written down by itself."""
    while True:
        with unit_of_work(town_id) as uow:
            some = evidence_checks.due(uow, before=before)
        for kept in some:
            damage = evidence_checks.look(store, kept)
            with unit_of_work(town_id) as uow:
                evidence_checks.checked(uow, kept.id, damage)
            yield kept, damage
        if len(some) < evidence_checks.AT_ONCE:
            return


@app.periodic(cron="* * * * *")
@app.task(name="custody.sign", queueing_lock="custody.sign", lock="custody.sign")
def sign_custody(timestamp: int) -> None:
    """Sign what was added to the chains of each town, and write outside which heads stand in the database by now."""
    sign_heads(_settings())


def sign_heads(config: Config) -> None:
    """Do what the clock does, or an operator who does not wait for it."""
    signer, outside = seals.Signer(config.custody_key), seals.Outside(config.custody_heads)
    in_every_town(partial(custody_heads.make, signer=signer))
    written = custody_heads.newest(outside.read())
    for lines in in_every_town(partial(custody_heads.unwritten, written=written)):
        if lines:
            outside.add(lines)


@app.periodic(cron="* * * * * */10")
@app.task(name="evidence.export", queueing_lock="evidence.export", lock="evidence.export")
def export_evidence(timestamp: int) -> None:
    """Make the bundles that were asked for and whose entries are under a head, and throw away those whose time is
    over."""
    config = _settings()
    bundles.sweep(config.exports_dir)
    with unit_of_work() as uow:
        towns = upkeep.towns(uow)
    for town_id in towns:
        with unit_of_work(town_id) as uow:
            waiting = evidence_exports.to_make(uow)
        for export_id in waiting:
            make_bundle(config, town_id, export_id, storage.Folder(config.evidence_dir))
        with unit_of_work(town_id) as uow:
            over = evidence_exports.over(uow)
        for export_id in over:
            config.bundle(town_id, export_id).unlink(missing_ok=True)


def make_bundle(config: Config, town_id: UUID, export_id: UUID, store: storage.Store) -> None:
    """Make one bundle; no transaction is open while files are read."""
    with unit_of_work(town_id) as uow:
        found = evidence_exports.contents(uow, export_id)
    said_at = time.monotonic()

    def packed(length: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at > PROGRESS_EVERY_S:
            said_at = time.monotonic()
            with unit_of_work(town_id) as uow:
                evidence_exports.packed(uow, export_id, length)

    members = [
        bundles.Member(
            str(one.id), one.sha256, one.length, EXTENSIONS[one.media_type], one.said, one.log,
            partial(store.read, town_id, one.sha256),
        )
        for one in found.pieces
    ]  # fmt: skip
    fault = None
    try:
        written = bundles.write(
            config.bundle(town_id, export_id), said=found.said, members=members, heads=found.heads,
            signer=seals.Signer(config.custody_key), made_at=now(), packed=packed,
        )  # fmt: skip
    except (bundles.Altered, Gone):
        fault = ExportFault.EVIDENCE_DAMAGED
    except Full:
        fault = ExportFault.STORAGE_FULL
    with unit_of_work(town_id) as uow:
        if fault is not None:
            evidence_exports.failed(uow, export_id, fault)
        else:
            evidence_exports.made(uow, export_id, sha256=written.sha256, length=written.length)


def _verify_custody(uow: UnitOfWork) -> None:
    signer, outside = seals.Signer(_settings().custody_key), seals.Outside(_settings().custody_heads)
    told = [one for one in outside.read() if one.get("town") == str(uow.town)]
    for wrong in custody_heads.verify(
        uow, told, seals.is_signed, keys=[signer.public, *_settings().custody_keys], chains=False
    ):
        log.error(
            "the custody log does not hold",
            what=wrong.what, town_id=str(uow.town), head=wrong.head, place=wrong.place,
            evidence_id=str(wrong.evidence_id) if wrong.evidence_id else None,
        )  # fmt: skip
    for broken in custody.verify(uow, since=uow.now - timedelta(days=2)):
        log.error(
            "a chain of custody is broken",
            town_id=str(uow.town),
            evidence_id=str(broken.evidence_id),
            place=broken.place,
        )


@app.periodic(cron="*/10 * * * *")
@app.task(name="plans.make_ahead", queueing_lock="plans.make_ahead", lock="plans.make_ahead")
def make_patrols_ahead(timestamp: int) -> None:
    """Make the patrols and duties of the next day and a half, each once, as the duty levels in force have it."""
    in_every_town(plans.make_ahead, to_the_end=True)


@app.periodic(cron="47 * * * *")
@app.task(name="silences.note", queueing_lock="silences.note", lock="silences.note")
def note_silences(timestamp: int) -> None:
    """Write down silences that are over for long enough, with their likely cause, while it can still be told."""
    in_every_town(silences.note, to_the_end=True)


@app.periodic(cron="*/5 * * * *")
@app.task(name="appraisals.work", queueing_lock="appraisals.work", lock="appraisals.work")
def work_on_appraisals(timestamp: int) -> None:
    """Begin the month that is over, make its drafts, remind of them, lock them, and add up areas and crews."""
    in_every_town(appraisal_clocks.work, to_the_end=True)


@app.periodic(cron="7 * * * *")
@app.task(name="upkeep.partitions", queueing_lock="upkeep.partitions", lock="upkeep.partitions")
def keep_partitions(timestamp: int) -> None:
    """Make the coming days' partitions and drop those past their retention."""
    config = _settings()
    with unit_of_work() as uow:
        done = upkeep.keep_partitions(
            uow, ahead_days=config.partitions_ahead_days, fix_retention_days=config.fix_retention_days
        )
    if any(done.values()):
        log.info("partitions kept", **done)


@app.periodic(cron="37 * * * *")
@app.task(name="upkeep.forget", queueing_lock="upkeep.forget", lock="upkeep.forget")
def forget_expired(timestamp: int) -> None:
    """Delete what is past its time: codes, sessions, kept answers, notices, tracks of closed days, counters."""
    config = _settings()

    def forget(uow: UnitOfWork) -> int:
        gone = sessions.forget_expired(uow, refresh_ttl=timedelta(seconds=config.refresh_ttl_s))
        answers = upkeep.forget_answers(uow, retention_days=config.idempotency_retention_days)
        return (
            sum(gone.values())
            + answers
            + deadlines.forget_done(uow)
            + upkeep.forget_notices(uow, retention_days=config.notice_retention_days)
            + upkeep.forget_tracks(uow, retention_days=config.fix_retention_days)
            + upkeep.forget_setups(uow)
            + upkeep.forget_visits(uow, retention_days=config.visit_retention_days)
        )

    deleted = sum(in_every_town(forget))
    with unit_of_work() as uow:
        deleted += throttling.forget_old(uow)
    if deleted:
        log.info("expired rows deleted", deleted=deleted)


@app.periodic(cron="17 * * * *")
@app.task(name="upkeep.close_days", queueing_lock="upkeep.close_days", lock="upkeep.days")
def close_days(timestamp: int) -> None:
    """Make the tracks of the days that are over, and again those of days for which fixes came late."""
    while sum(in_every_town(closed_days.close_some)):
        pass


@app.periodic(cron="23 18 * * *")
@app.task(name="upkeep.order_days", queueing_lock="upkeep.order_days", lock="upkeep.days")
def order_days(timestamp: int) -> None:
    """Lay out closed days in reading order: once a day, because whoever writes to such a day waits meanwhile.

    18:23 UTC is the small hours in China. Yesterday at once, and each day again when a phone's backlog has come in.
    """
    today = now().date()
    for age_days in (1, upkeep.LATE_AT_MOST.days):
        with unit_of_work() as uow:
            upkeep.order_day(uow, today - timedelta(days=age_days))


@app.periodic(cron="*/2 * * * *")
@app.task(name="jobs.resume_stalled", queueing_lock="jobs.resume_stalled", pass_context=True)
async def resume_stalled(context: JobContext, timestamp: int) -> None:
    """Queue again what a killed worker had begun; every task may therefore run twice and has to bear it."""
    manager = context.app.job_manager
    for job in await manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_AFTER_S):
        log.warning("a job is resumed", job_id=job.id, task=job.task_name)
        try:
            await manager.retry_job(job)
        except procrastinate.exceptions.UniqueViolation:
            # Its successor waits already, for this one to be over: a clock's next tick, a call's next sending.
            await manager.finish_job(job, status=Status.FAILED, delete_job=True)


def connector(config: Config) -> PsycopgConnector:
    """The queue's connections: the application's role, with the queue's schema on the path."""

    async def on_queue_schema(connection: psycopg.AsyncConnection[TupleRow]) -> None:
        await connection.execute(f"set search_path = {SCHEMA}, public")
        await connection.commit()

    return PsycopgConnector(
        conninfo=libpq_url(config.database_url),
        kwargs={"connect_timeout": int(CONNECT_S), "application_name": "xungeng worker"},
        configure=on_queue_schema,
        min_size=1,
        max_size=4,
        timeout=CONNECT_S,
    )


def run(config: Config, *, wait: bool = True) -> None:
    """Work until told to stop (SIGTERM, SIGINT); with ``wait=False`` until the queue is empty.

    A database that goes away is waited for, and what was begun by then is resumed as a killed worker's would be.

    Raises:
        Unreachable: it went away while the queue was being emptied.
        ConfigError: it came back such that it must not be used.
    """
    db.set_engine(db.engine_for(config, pool_size=8, bounds=db.JOBS))
    use(config)
    parts = (f"worker.{NAME}", "worker", "utils", "psycopg_connector")
    # What was at work then ends as a task that nobody asks for its error, which asyncio tells when it is collected.
    for name in ("asyncio", *(f"procrastinate.{part}" for part in parts)):
        logging.getLogger(name).addFilter(_is_no_loss)
    losses = 0
    while True:
        began = time.monotonic()
        try:
            with app.replace_connector(connector(config)) as working:
                log.info("worker started")
                with worker_outbox.running(config, in_every_town) if wait else nullcontext():
                    _work(working, wait)
            return
        except procrastinate.exceptions.ConnectorException as error:
            if not wait:
                raise Unreachable("The worker lost the database before the queue was empty.") from error
        losses = 1 if time.monotonic() - began > STEADY_AFTER_S else losses + 1
        log.warning("the worker lost the database")
        time.sleep(min(FIRST_PAUSE_S * 2 ** (losses - 1), LONGEST_PAUSE_S))
        preflight.await_app(config, timeout_s=math.inf)


def _is_no_loss(record: logging.LogRecord) -> bool:
    """Whether a line of the queue's library is about something else than the lost database, which we say once."""
    error = record.exc_info[1] if record.exc_info else None
    lost = isinstance(error, procrastinate.exceptions.ConnectorException)
    return not lost or isinstance(error, procrastinate.exceptions.UniqueViolation)


def _work(working: procrastinate.App, wait: bool) -> None:
    # Every clock may be at work (each at most once, by its lock), and somebody is still there for a call for help.
    at_once = len(working.periodic_registry.periodic_tasks) + SPARE

    def running(queue: str, concurrency: int, **more: Any) -> Coroutine[Any, Any, None]:
        return working.run_worker_async(
            name=NAME,
            queues=[queue],
            wait=wait,
            concurrency=concurrency,
            delete_jobs="successful",
            shutdown_graceful_timeout=10,
            fetch_job_polling_interval=5,
            stalled_worker_timeout=STALLED_AFTER_S,
            **more,
        )

    async def work() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(at_once + 1))
        async with working.open_async():
            if not wait:
                await running(DEFAULT_QUEUE, at_once)
                await running(PHOTO_QUEUE, 1)
                return
            at_work = [
                asyncio.create_task(running(DEFAULT_QUEUE, at_once)),
                # A queue of photos, each of which may take a core and hundreds of megabytes, holds up nobody's call.
                asyncio.create_task(running(PHOTO_QUEUE, 1, install_signal_handlers=False)),
            ]
            ended, others = await asyncio.wait(at_work, return_when=asyncio.FIRST_COMPLETED)
            for one in others:
                one.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            for one in ended:
                one.result()

    asyncio.run(work())
