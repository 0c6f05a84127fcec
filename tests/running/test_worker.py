"""Jobs: queued with the act that needs them, done once by one of many workers, resumed when one is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from backend import worker
from backend.core.config import Config
from backend.core.jobs import enqueue
from backend.core.uow import UnitOfWork, unit_of_work
from running.installation import ROOT, wait_until
from workflows import upkeep

PROGRAM = """
import sys, time
from pathlib import Path
from backend import worker
from backend.core import logs
from backend.core.config import Config

@worker.app.task(name="test.note")
def note(number: int, sleep_s: float = 0) -> None:
    path = Path(sys.argv[1]) / "done"
    with open(path, "a") as file:
        file.write(f"{number}\\n")
    time.sleep(sleep_s)

config = Config.from_env()
if sys.argv[2] == "wait":
    logs.configure(config, "worker")
worker.run(config, wait=sys.argv[2] == "wait")
"""


def start_worker(config: Config, folder: Path, mode: str = "drain") -> subprocess.Popen[bytes]:
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "XUNGENG_DATA": str(config.data_dir),
        "DATABASE_URL": config.owner_url, "DATABASE_APP_URL": config.database_url,
    }  # fmt: skip
    command = [sys.executable, "-c", PROGRAM, str(folder), mode]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL)


def noted(folder: Path) -> list[int]:
    path = folder / "done"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def waiting(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("select count(*) from jobs.procrastinate_jobs")).scalar_one())


def test_a_job_exists_when_its_act_is_committed_and_not_before(live_engine: Engine) -> None:
    with pytest.raises(LookupError), unit_of_work() as uow:
        assert enqueue(uow, "test.note", number=1) is not None
        raise LookupError
    assert waiting(live_engine) == 0
    with unit_of_work() as uow:
        enqueue(uow, "test.note", number=1)
        assert waiting(live_engine) == 0
        assert uow.session.execute(text("show search_path")).scalar_one() == '"$user", public'
    assert waiting(live_engine) == 1


def test_a_job_that_is_wanted_once_is_queued_once_while_it_waits(live_engine: Engine) -> None:
    with unit_of_work() as uow:
        first = enqueue(uow, "test.note", once="the note", number=1)
        assert enqueue(uow, "test.note", once="the note", number=2) is None
        assert enqueue(uow, "test.note", once="another", number=3) is not None
    assert first is not None
    assert waiting(live_engine) == 2


def test_of_many_workers_each_job_is_done_by_one(
    live_engine: Engine, live_config: Config, tmp_path: Path, thin: Callable[[int, int], int]
) -> None:
    jobs = thin(500, 40)
    with unit_of_work() as uow:
        for number in range(jobs):
            enqueue(uow, "test.note", number=number)
    workers = [start_worker(live_config, tmp_path) for _ in range(3)]
    assert [process.wait(120) for process in workers] == [0, 0, 0]
    assert Counter(noted(tmp_path)) == Counter(range(jobs))
    with live_engine.connect() as connection:
        left = text("select count(*) from jobs.procrastinate_jobs where task_name = 'test.note'")
        assert connection.execute(left).scalar_one() == 0, "what is done is deleted"


def test_the_job_of_a_killed_worker_is_resumed(
    live_engine: Engine, live_config: Config, tmp_path: Path
) -> None:
    """F02 for jobs: a worker dies in the middle; another one does the job again."""
    with unit_of_work() as uow:
        enqueue(uow, "test.note", number=7, sleep_s=60)
    process = start_worker(live_config, tmp_path, "wait")
    wait_until(lambda: noted(tmp_path) == [7], 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    with owner.begin() as connection:
        connection.execute(text("set local search_path = jobs, public"))
        connection.execute(
            text("update jobs.procrastinate_workers set last_heartbeat = now() - interval '5 minutes'")
        )
        connection.execute(text("update jobs.procrastinate_jobs set args = '{\"number\": 8}'"))
        # The clocks' ticks would be done as well; this one alone is wanted, and at once.
        connection.execute(text("delete from jobs.procrastinate_jobs where task_name <> 'test.note'"))
    with unit_of_work() as uow:
        enqueue(uow, "jobs.resume_stalled", timestamp=0)
    for _ in range(2):  # One round puts it back, and at the latest the next one does it.
        assert start_worker(live_config, tmp_path).wait(120) == 0
    assert noted(tmp_path) == [7, 8]


def test_a_killed_clock_whose_next_tick_waits_holds_up_neither_it_nor_another_job(
    live_engine: Engine, live_config: Config, tmp_path: Path
) -> None:
    """F02: what died holds the lock under which its successor waits, and cannot be queued again beside it."""
    with unit_of_work() as uow:
        enqueue(uow, "test.note", once="the clock", number=1)
        enqueue(uow, "test.note", number=2)
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    with owner.begin() as connection:
        connection.execute(text("set local search_path = jobs, public"))
        connection.execute(
            text(
                "with dead as (insert into procrastinate_workers (last_heartbeat) values (now() - interval '5 minutes')"
                " returning id) update procrastinate_jobs set status = 'doing', worker_id = (select id from dead)"
            )
        )
    with unit_of_work() as uow:
        enqueue(uow, "test.note", once="the clock", number=3)
        enqueue(uow, "jobs.resume_stalled", timestamp=0)
    with owner.begin() as connection:
        of_the_clock = (
            "update jobs.procrastinate_jobs set lock = queueing_lock where queueing_lock = 'the clock'"
        )
        connection.execute(text(of_the_clock))
    for _ in range(2):
        assert start_worker(live_config, tmp_path).wait(120) == 0
    assert sorted(noted(tmp_path)) == [2, 3]
    owner.dispose()


def test_somebody_is_there_for_a_call_for_help_while_every_clock_is_at_work(
    live_engine: Engine, live_config: Config, tmp_path: Path
) -> None:
    """A long tidying-up holds up no job that people wait for."""
    at_work = len(worker.app.periodic_registry.periodic_tasks)
    with unit_of_work() as uow:
        for number in range(at_work):
            enqueue(uow, "test.note", number=number, sleep_s=60)
    process = start_worker(live_config, tmp_path, "wait")
    try:
        wait_until(lambda: len(noted(tmp_path)) == at_work, 60)
        with unit_of_work() as uow:
            enqueue(uow, "test.note", number=1000)
        wait_until(lambda: 1000 in noted(tmp_path), 60)
        assert len(noted(tmp_path)) == at_work + 1
    finally:
        process.kill()
        process.wait()


def test_a_worker_that_loses_the_database_says_so_once_and_works_on_when_it_is_back(
    live_engine: Engine, live_config: Config, tmp_path: Path
) -> None:
    """F04 for jobs: it is not a loop of complaints, and nobody has to start it again."""
    with unit_of_work() as uow:
        enqueue(uow, "test.note", number=1)
    log = live_config.data_dir / "log" / "worker.log"
    log.unlink(missing_ok=True)
    process = start_worker(live_config, tmp_path, "wait")

    def said(words: str) -> int:
        return log.read_text(encoding="utf-8").count(words)

    administrator = create_engine(live_config.owner_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    name = administrator.url.database
    try:
        wait_until(lambda: noted(tmp_path) == [1], 60)
        live_engine.dispose()
        elsewhere = create_engine(
            administrator.url.set(database="postgres"), poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        with elsewhere.connect() as connection:
            connection.execute(text(f"alter database {name} allow_connections false"))
            try:
                for _ in range(3):
                    connection.execute(
                        text("select pg_terminate_backend(pid) from pg_stat_activity where datname = :name"),
                        {"name": name},
                    )
                wait_until(lambda: said("waiting for the database"), 90)
                # Several of its tries to connect again have failed by now.
                time.sleep(5)
            finally:
                connection.execute(text(f"alter database {name} allow_connections true"))
        wait_until(lambda: said("the database is there"), 60)
        with unit_of_work() as uow:
            enqueue(uow, "test.note", number=2)
        wait_until(lambda: noted(tmp_path) == [1, 2], 60)
        assert process.poll() is None
        assert [said(words) for words in ("lost the database", "waiting for", "is there")] == [1, 1, 1]
        # A job that was amid its work may complain once of its own; the queue's library does not.
        assert said("ConnectorException") == 0
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_every_clock_ticks_without_a_fault_on_an_empty_installation(
    live_engine: Engine, live_config: Config
) -> None:
    worker.use(live_config)
    periodic = worker.app.periodic_registry.periodic_tasks.values()
    names = {entry.task.name for entry in periodic}
    assert names == {
        "shifts.close_forgotten", "upkeep.partitions", "upkeep.forget", "upkeep.close_days", "upkeep.order_days",
        "jobs.resume_stalled", "deadlines.see_to", "alarms.watch", "evidence.tidy", "plans.make_ahead",
        "visits.watch", "custody.verify", "custody.sign", "evidence.check",
        "evidence.export", "silences.note", "appraisals.work",
    }  # fmt: skip
    for entry in periodic:
        if entry.task.name != "jobs.resume_stalled":
            entry.task.func(0)


def towns_made(config: Config, *codes: str) -> None:
    owner = create_engine(config.owner_url, poolclass=NullPool)
    with owner.begin() as connection:
        for code in codes:
            connection.execute(
                text(
                    "insert into towns (id, code, name, time_zone, locale, created_at) values (gen_random_uuid(),"
                    ' :code, \'{"zh-CN": "甲", "en": "A"}\', \'Asia/Shanghai\', \'zh-CN\', now())'
                ),
                {"code": code},
            )
    owner.dispose()


def test_one_towns_fault_stops_no_other_town(live_engine: Engine, live_config: Config) -> None:
    towns_made(live_config, "a", "b")
    seen = []

    def act(uow: object) -> None:
        seen.append(uow)
        if len(seen) == 1:
            raise LookupError

    with pytest.raises(ExceptionGroup):
        worker.in_every_town(act)
    assert len(seen) == 2


def test_one_alarm_that_cannot_be_raised_stops_no_other(
    live_engine: Engine, live_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a transaction of its own: a call for help does not wait for all of a town that has fallen silent."""
    worker.use(live_config)
    acted = []

    def act(uow: object, change: int) -> None:
        acted.append((uow, change))
        if change == 0:
            raise LookupError

    monkeypatch.setattr(worker.watchdog, "look", lambda uow, bounds: list(range(worker.MOST_CHANGES + 7)))
    monkeypatch.setattr(worker.watchdog, "act", act)
    towns_made(live_config, "silent")
    with pytest.raises(ExceptionGroup) as failed:
        worker.watch_shifts.func(0)
    assert [type(error) for error in failed.value.exceptions] == [LookupError]
    assert [change for _, change in acted] == list(range(worker.MOST_CHANGES))
    assert len({id(uow) for uow, _ in acted}) > 1


def test_a_town_that_cannot_be_looked_at_keeps_no_other_from_its_alarms(
    live_engine: Engine, live_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.use(live_config)
    towns_made(live_config, "a", "b")
    looked: list[UUID] = []
    acted: list[UUID] = []

    def look(uow: UnitOfWork, bounds: object) -> list[int]:
        looked.append(uow.town)
        if len(looked) == 1:
            raise LookupError
        return [1]

    monkeypatch.setattr(worker.watchdog, "look", look)
    monkeypatch.setattr(worker.watchdog, "act", lambda uow, change: acted.append(uow.town))
    with pytest.raises(ExceptionGroup):
        worker.watch_shifts.func(0)
    assert acted == looked[1:]


def test_partitions_are_made_ahead_and_dropped_past_their_retention(live_engine: Engine) -> None:
    def partitions() -> set[str]:
        with live_engine.connect() as connection:
            found = connection.execute(
                text("select relname from pg_class where relname ~ '^fixes_[0-9]{8}$'")
            )
            return set(found.scalars())

    with unit_of_work() as uow:
        today = uow.now.date()
        done = upkeep.keep_partitions(uow, ahead_days=20, fix_retention_days=10)
    assert done["made"] > 0
    assert done["dropped"] > 0
    names = {f"fixes_{today + timedelta(days=days):%Y%m%d}" for days in range(-10, 21)}
    assert partitions() == names
    with unit_of_work() as uow:
        assert upkeep.keep_partitions(uow, ahead_days=20, fix_retention_days=10) == {"made": 0, "dropped": 0}
