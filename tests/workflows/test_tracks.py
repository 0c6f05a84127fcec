"""Fixes are stored once, in their shift or not at all, and answered when they are."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest
import shapely
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from backend.core import db, listen
from backend.core.config import Config, libpq_url
from backend.core.errors import Refusal, Unavailable
from backend.core.ids import new_id
from backend.core.tokens import secret_hash
from backend.core.uow import unit_of_work
from backend.core.vocabulary import DeviceState, Protocol
from backend.embedded.cluster import Cluster
from geo.fixes import MOST_SEQ, Fix, Flag, Reason
from geo.motion import distance_m
from notifications.channels.realtime import Row, live
from tests import factories
from tests.conftest import Database
from tests.factories import Town
from workflows import connections, gate, shifts, tracks
from workflows.grouped_write import Receipt
from workflows.quarantine_room import Room
from workflows.remembered import DeviceIdentity, Remembered, _index_of
from workflows.tracks import Ingest


@dataclass
class Field:
    """A town with officers on shift and their phones, in a database of the module's own."""

    owner: Engine
    town: Town
    other_town: Town

    def officer(self, town: Town | None = None) -> UUID:
        town = town or self.town
        return factories.add_officer(self.owner, town, f"o{new_id().hex[-10:]}").id

    def shift(
        self,
        officer_id: UUID,
        *,
        began_h: float = 2.0,
        closes_h: float = 8.0,
        ended_h: float | None = None,
        town: Town | None = None,
    ) -> UUID:
        """A shift that began ``began_h`` hours ago and closes in ``closes_h``; ``ended_h`` hours ago, if it did."""
        town, now, shift_id = town or self.town, datetime.now(UTC), new_id()
        self.write(
            "insert into shifts (id, town_id, officer_id, area_id, state, started_at, closes_at, ended_at, ended_by)"
            " values (:id, :town, :officer, :area, :state, :began, :closes, :ended, :by)",
            id=shift_id, town=town.id, officer=officer_id, area=town.areas["a"],
            state="on_duty" if ended_h is None else "ended", began=now - timedelta(hours=began_h),
            closes=now + timedelta(hours=closes_h),
            ended=None if ended_h is None else now - timedelta(hours=ended_h), by=None if ended_h is None else "self",
        )  # fmt: skip
        return shift_id

    def phone(
        self, officer_id: UUID | None = None, *, on_shift: bool = True, town: Town | None = None
    ) -> DeviceIdentity:
        """A phone of an officer (a new one on shift, if none is named)."""
        town = town or self.town
        if officer_id is None:
            officer_id = self.officer(town)
            if on_shift:
                self.shift(officer_id, town=town)
        device_id = new_id()
        self.write(
            "insert into devices (id, town_id, officer_id, kind, protocol, name, state, created_at)"
            " values (:id, :town, :officer, 'phone', 'officer', 'phone', 'active', now())",
            id=device_id, town=town.id, officer=officer_id,
        )  # fmt: skip
        return DeviceIdentity(device_id, town.id, officer_id, Protocol.OFFICER, DeviceState.ACTIVE)

    def write(self, statement: str, **values: Any) -> None:
        with self.owner.begin() as connection:
            connection.execute(text(statement), values)

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with self.owner.connect() as connection:
            return list(connection.execute(text(statement), values))

    def fixes(self, device: DeviceIdentity) -> list[Any]:
        return self.rows(
            "select *, ST_X(geom) as lon, ST_Y(geom) as lat from fixes where device_id = :id order by fixed_at, seq",
            id=device.device_id,
        )

    def count(self, device: DeviceIdentity) -> int:
        return int(self.rows("select count(*) from fixes where device_id = :id", id=device.device_id)[0][0])

    def latest(self, device: DeviceIdentity) -> Any | None:
        found = self.rows(
            "select *, ST_X(geom::geometry) as lon from latest_positions where officer_id = :id",
            id=device.officer_id,
        )
        return found[0] if found else None

    def counters(self, town: Town | None = None) -> dict[str, int]:
        found = self.rows(
            "select outcome, sum(count)::int as n from gate_counters where town_id = :town group by outcome",
            town=(town or self.town).id,
        )
        return {row.outcome: row.n for row in found}

    def actor(self, device: DeviceIdentity) -> Any:
        person = next(
            p
            for p in (*self.town.people.values(), *self.other_town.people.values())
            if p.id == device.officer_id
        )
        return person.actor()


@pytest.fixture(scope="module")
def module_field(cluster: Cluster, _template: str, config: Config) -> Iterator[tuple[Field, Engine]]:
    name = "xungeng_" + os.urandom(6).hex()
    cluster.make_database(name, template=_template)
    database = Database(cluster, name)
    engine = db.engine_for(replace(config, database_url=database.app_url))
    owner = create_engine(database.owner_url, poolclass=NullPool)
    yield Field(owner, factories.make_town(owner, "west"), factories.make_town(owner, "east")), engine
    engine.dispose()
    owner.dispose()
    cluster.drop_database(name)


@pytest.fixture
def field(module_field: tuple[Field, Engine]) -> Iterator[Field]:
    """The field, with its engine as the process's."""
    found, engine = module_field
    before = db._engine
    db.set_engine(engine)
    yield found
    tracks.close()
    db.set_engine(before)


@pytest.fixture
def listening(module_field: tuple[Field, Engine]) -> Iterator[listen.Listener]:
    """A process that hears announcements."""
    engine = module_field[1]
    listener = listen.Listener(libpq_url(engine.url.render_as_string(hide_password=False)))
    listen.set_listener(listener)
    listener.start(timeout_s=5)
    yield listener
    listener.stop()
    listen.set_listener(None)


NOW = timedelta()


def fix(ago: timedelta | float = NOW, step: int = 0, **more: Any) -> Fix:
    """A fix of a walk: ``ago`` before now (seconds or timedelta), ``step`` metres on."""
    ago = ago if isinstance(ago, timedelta) else timedelta(seconds=ago)
    values: dict[str, Any] = {"accuracy_m": 5.0, "battery_pct": 80.0, **more}
    return Fix(
        datetime.now(UTC) - ago, factories.WEST + 0.005 + step * 1e-5, factories.SOUTH + 0.005, **values
    )


def walk(count: int, *, newest_ago_s: float = 1.0, every_s: float = 1.0) -> list[Fix]:
    """``count`` fixes of a walk at a metre or so for each second, the newest ``newest_ago_s`` ago."""
    end = datetime.now(UTC) - timedelta(seconds=newest_ago_s)
    return [
        Fix(
            end - timedelta(seconds=(count - 1 - i) * every_s), factories.WEST + 0.001 + i * every_s * 1e-5 % 0.008,
            factories.SOUTH + 0.005, accuracy_m=5.0,
        )
        for i in range(count)
    ]  # fmt: skip


def send(device: DeviceIdentity, *fixes: Fix, quarantined: list[Any] | None = None) -> Receipt:
    return tracks.ingest(device, list(fixes), quarantined or [], device.protocol)


def together(*jobs: Callable[[], Any]) -> list[Any]:
    """Run jobs at the same moment, each in a thread; exceptions are results."""
    barrier, results = threading.Barrier(len(jobs)), [None] * len(jobs)

    def run(index: int) -> None:
        barrier.wait(10)
        try:
            results[index] = jobs[index]()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


# --- Stored, with everything, at the answer


def test_a_fix_is_stored_with_all_that_was_measured_when_the_answer_comes(field: Field) -> None:
    device = field.phone()
    measured = fix(
        30, altitude_m=4.5, speed_mps=1.25, heading_deg=270.0, charging=True, sent_at=datetime.now(UTC),
        attributes={"motion": ["walking"], "活动": "走"},
    )  # fmt: skip
    assert send(device, measured) == Receipt(stored=1)
    [row] = field.fixes(device)
    assert (row.fixed_at, row.lon, row.lat, row.seq) == (measured.fixed_at, measured.lon, measured.lat, 0)
    assert (row.accuracy_m, row.altitude_m, row.speed_mps, row.heading_deg) == (5.0, 4.5, 1.25, 270.0)
    assert (row.battery_pct, row.charging, row.flags, row.sent_at) == (80.0, True, 0, measured.sent_at)
    assert row.attributes == {"motion": ["walking"], "活动": "走"}
    assert row.area_id == field.town.areas["a1"]
    assert row.town_id == field.town.id


def test_what_a_phone_did_not_say_is_null(field: Field) -> None:
    device = field.phone()
    send(device, fix(5, accuracy_m=None, battery_pct=None))
    [row] = field.fixes(device)
    assert [row.accuracy_m, row.altitude_m, row.speed_mps, row.heading_deg, row.battery_pct] == [None] * 5
    assert (row.charging, row.sent_at, row.attributes) == (None, None, None)


def test_requests_at_one_moment_share_transactions(field: Field) -> None:
    devices = [field.phone() for _ in range(24)]
    for device in devices:
        send(device, fix(60))
    before = _transactions(field)
    receipts = together(
        *(lambda device=device: [send(device, fix(50 - i)) for i in range(10)] for device in devices)
    )
    assert all(receipt == [Receipt(stored=1)] * 10 for receipt in receipts)
    assert _transactions(field) - before < 240


def _transactions(field: Field) -> int:
    """How many transactions wrote fixes, told by the ids that they left in the rows."""
    return int(field.rows("select count(distinct xmin::text) from fixes")[0][0])


# --- Duplicates, disorder, clashes


def test_batches_replayed_five_times_in_any_order_store_each_fix_once(
    field: Field, thin: Callable[[int, int], int]
) -> None:
    """F18: stored over sent unique is 1.0, and the track is no longer for it."""
    rng = random.Random(20261123)
    total, devices = thin(20_000, 2_000), [field.phone() for _ in range(4)]
    batches = []
    for device in devices:
        track = walk(total // len(devices), every_s=1.0)
        batches += [(device, track[i : i + 100]) for i in range(0, len(track), 100)]
    receipts: list[Receipt] = []
    for _ in range(5):
        replay = [(device, rng.sample(batch, len(batch))) for device, batch in batches]
        rng.shuffle(replay)
        shares = [replay[i::6] for i in range(6)]
        for result in together(
            *(lambda share=share: [send(device, *batch) for device, batch in share] for share in shares)
        ):
            receipts += result
    assert sum(receipt.stored for receipt in receipts) == total
    assert sum(receipt.duplicates for receipt in receipts) == 4 * total
    assert sum(field.count(device) for device in devices) == total
    for device in devices:
        [row] = field.rows(
            "select ST_Length(ST_MakeLine(geom order by fixed_at, seq)::geography) as m from fixes"
            " where device_id = :id",
            id=device.device_id,
        )
        sent = sorted(
            (one for known, batch in batches if known is device for one in batch),
            key=lambda one: one.fixed_at,
        )
        sent_m = sum(distance_m(a.lon, a.lat, b.lon, b.lat) for a, b in itertools.pairwise(sent))
        assert abs(row.m - sent_m) < sent_m * 0.006  # The ellipsoid's length against the sphere's.


def test_the_shown_position_never_goes_back_whatever_the_order(
    field: Field, thin: Callable[[int, int], int]
) -> None:
    """F19: a random permutation of the fixes; the shown moment only grows and ends at the newest."""
    rng, device = random.Random(19), field.phone()
    track = walk(thin(10_000, 600), every_s=0.5)
    newest = track[-1].fixed_at
    rng.shuffle(track)
    seen: list[datetime] = []
    for start in range(0, len(track), 20):
        send(device, *track[start : start + 20])
        latest = field.latest(device)
        assert latest is not None
        seen.append(latest.fixed_at)
    assert seen == sorted(seen)
    assert seen[-1] == newest
    assert field.count(device) == len(track)


def test_a_different_measurement_of_the_same_instant_gets_the_next_number(field: Field) -> None:
    device, at = field.phone(), datetime.now(UTC) - timedelta(seconds=20)
    one, two = Fix(at, 121.305, 31.105, accuracy_m=5.0), Fix(at, 121.30501, 31.105, accuracy_m=5.0)
    three = Fix(at, 121.305, 31.105, accuracy_m=6.5)
    assert send(device, one).stored == 1
    assert send(device, two).stored == 1
    assert send(device, three).stored == 1
    assert [row.seq for row in field.fixes(device)] == [0, 1, 2]
    for again in (one, two, three):
        assert send(device, again) == Receipt(duplicates=1)
    assert send(device, two, three, fix(5)) == Receipt(stored=1, duplicates=2)
    assert field.count(device) == 4


def test_an_instant_holds_as_many_measurements_as_a_receiver_could_make_however_often_more_are_sent(
    field: Field,
) -> None:
    """F22: each clash is compared with all others of its instant, while everybody's fixes wait for the same write."""
    device, at = field.phone(), datetime.now(UTC) - timedelta(seconds=20)
    for number in range(4):
        some = [
            Fix(at, 121.305, 31.105, altitude_m=float(number * 100 + i), seq=i if number % 2 else 0)
            for i in range(100)
        ]
        answer = send(device, *some)
        assert answer.stored + answer.duplicates + answer.quarantined == 100
    assert {row.seq for row in field.fixes(device)} == set(range(MOST_SEQ + 1))
    assert field.count(device) == MOST_SEQ + 1


def test_how_a_fix_was_delivered_does_not_make_it_another_one(field: Field) -> None:
    device, measured = field.phone(), fix(20, sent_at=datetime.now(UTC) - timedelta(seconds=9))
    assert send(device, measured).stored == 1
    measured.sent_at = datetime.now(UTC)
    assert send(device, measured) == Receipt(duplicates=1)


def test_two_processes_that_get_the_same_fixes_at_once_store_them_once(
    field: Field, module_field: tuple[Field, Engine], thin: Callable[[int, int], int]
) -> None:
    """Also where the measurements clash, and without a deadlock between the groups."""
    processes = [Ingest(module_field[1]) for _ in range(2)]
    devices = [field.phone() for _ in range(6)]
    at = datetime.now(UTC) - timedelta(seconds=100)
    for round_ in range(thin(100, 15)):
        moment = at + timedelta(milliseconds=100 * round_)
        jobs = []
        for number, process in enumerate(processes):
            for device in devices if number else devices[::-1]:
                same = Fix(moment, 121.305, 31.105, accuracy_m=5.0)
                other = Fix(
                    moment + timedelta(milliseconds=1), 121.305 + number * 1e-5, 31.105, accuracy_m=5.0
                )
                jobs.append(
                    lambda p=process, d=device, f=(same, other): p.write.commit(
                        p.prepare(d, list(f), [], "officer")
                    )
                )
        receipts = together(*jobs)
        assert all(isinstance(receipt, Receipt) for receipt in receipts), receipts
        assert sum(receipt.stored for receipt in receipts) == 3 * len(devices)
        assert sum(receipt.duplicates for receipt in receipts) == len(devices)
    for process in processes:
        process.close()
    for device in devices:
        assert field.count(device) == 3 * thin(100, 15)


# --- The gate


def test_a_point_off_duty_is_counted_and_nothing_else_of_it_is_kept(field: Field) -> None:
    """F24: a day of the town (UTC+8) with three shifts, points to the millisecond around each edge."""
    officer = field.officer()
    for began, ended in ((20.0, 16.0), (12.0, 8.0), (4.0, 0.5)):
        field.shift(officer, began_h=began, ended_h=ended, closes_h=10)
    device = field.phone(officer)
    bounds = [
        (row.started_at, row.ended_at)
        for row in field.rows("select started_at, ended_at from shifts where officer_id = :o", o=officer)
    ]
    before, on_duty, off_duty = field.counters().get("off_shift", 0), [], []
    for began, ended in bounds:
        for ms in (1, 10, 500, 60_000):
            off_duty += [began - timedelta(milliseconds=ms), ended + timedelta(milliseconds=ms)]
            on_duty += [began + timedelta(milliseconds=ms), ended - timedelta(milliseconds=ms)]
        on_duty.append(began)
        off_duty.append(ended)
    moments = on_duty + off_duty
    random.Random(24).shuffle(moments)
    receipt = send(device, *(Fix(at, 121.305, 31.105, accuracy_m=5.0) for at in moments))
    assert (receipt.stored, receipt.off_shift) == (len(on_duty), len(off_duty))
    assert sorted(row.fixed_at for row in field.fixes(device)) == sorted(on_duty)
    assert field.counters()["off_shift"] - before == len(off_duty)
    assert field.rows("select from quarantined_fixes where device_id = :id", id=device.device_id) == []
    assert field.latest(device) is None


def test_no_row_slips_in_while_a_shift_is_being_ended(
    field: Field, module_field: tuple[Field, Engine], thin: Callable[[int, int], int]
) -> None:
    """F24: two processes write as fast as they can while the officer ends his shift; off-duty rows stored: 0."""
    processes = [Ingest(module_field[1]) for _ in range(2)]
    for _ in range(thin(60, 8)):
        device = field.phone()
        [[shift_id]] = field.rows("select id from shifts where officer_id = :o", o=device.officer_id)
        ended = threading.Event()
        after_end: list[Receipt] = []

        def pour(
            process: Ingest,
            offset: int,
            device: DeviceIdentity = device,
            ended: threading.Event = ended,
            after_end: list[Receipt] = after_end,
        ) -> None:
            for i in range(200):
                over = ended.is_set()
                receipt = process.write.commit(
                    process.prepare(device, [fix(0, step=offset + i)], [], "officer")
                )
                if over:
                    after_end.append(receipt)
                    if len(after_end) > 10:
                        return

        def end(
            device: DeviceIdentity = device, shift_id: UUID = shift_id, ended: threading.Event = ended
        ) -> None:
            time.sleep(0.05)
            with unit_of_work(device.town_id) as uow:
                shifts.end(uow, field.actor(device), shift_id, command_id=new_id())
            ended.set()

        failures = [
            result
            for result in together(lambda: pour(processes[0], 0), lambda: pour(processes[1], 500), end)
            if isinstance(result, Exception)
        ]
        assert failures == []
        [row] = field.rows(
            "select s.ended_at, count(f.*) as n, max(f.fixed_at) as newest from shifts s"
            " left join fixes f on f.shift_id = s.id where s.id = :id group by s.ended_at",
            id=shift_id,
        )
        assert row.n > 0
        assert row.newest < row.ended_at
        assert all(receipt.stored == 0 for receipt in after_end)
        assert field.latest(device) is None
    for process in processes:
        process.close()


def test_a_shift_that_began_on_another_process_counts_at_once(field: Field) -> None:
    """Nothing on duty is refused on the word of a memory, not even without announcements."""
    device = field.phone(on_shift=False)
    assert send(device, fix(1)).off_shift == 1
    field.shift(device.officer_id, began_h=0.5)
    assert send(device, fix(0.5)).stored == 1


def test_a_shift_that_ended_on_another_process_is_over_although_this_one_remembers_it(field: Field) -> None:
    """F24: the statement that inserts looks at the shift again."""
    device = field.phone()
    assert send(device, fix(5)).stored == 1
    field.write(
        "update shifts set state = 'ended', ended_at = now() - interval '1 s', ended_by = 'self' where officer_id = :o",
        o=device.officer_id,
    )
    assert send(device, fix(0)) == Receipt(off_shift=1)
    assert field.count(device) == 1


def test_fixes_of_before_the_end_still_count_when_they_come_late(field: Field) -> None:
    officer = field.officer()
    field.shift(officer, began_h=5, ended_h=1)
    device = field.phone(officer)
    receipt = send(device, fix(timedelta(hours=2)), fix(timedelta(hours=1.5)), fix(timedelta(minutes=30)))
    assert (receipt.stored, receipt.off_shift) == (2, 1)
    assert all(row.flags == Flag.LATE for row in field.fixes(device))
    assert field.latest(device) is None


def test_a_backlog_of_days_finds_each_shift_that_it_belongs_to(field: Field) -> None:
    officer = field.officer()
    ids = [field.shift(officer, began_h=h, ended_h=h - 8, closes_h=9) for h in (100.0, 76.0, 52.0, 28.0)]
    device = field.phone(officer)
    points = [fix(timedelta(hours=h - 1), step=i) for i, h in enumerate((100.0, 76.0, 52.0, 28.0))]
    off_duty = [fix(timedelta(hours=h - 10)) for h in (100.0, 76.0, 52.0, 28.0)]
    receipt = send(device, *points, *off_duty)
    assert (receipt.stored, receipt.off_shift) == (4, 4)
    assert [row.shift_id for row in field.fixes(device)] == ids


def test_days_that_get_fixes_when_they_are_over_are_marked_to_be_made_again(field: Field) -> None:
    officer = field.officer()
    field.shift(officer, began_h=60)
    device = field.phone(officer)
    send(device, fix(timedelta(hours=50)), fix(timedelta(hours=26)), fix(1))
    town = ZoneInfo("Asia/Shanghai")
    today = datetime.now(town).date()
    expected = {(datetime.now(town) - timedelta(hours=h)).date() for h in (50, 26)} - {today}
    found = field.rows("select day from late_days where officer_id = :o", o=officer)
    assert {row.day for row in found} == expected


# --- Quarantine and credentials


def test_what_cannot_be_filed_is_set_aside_with_its_reason(field: Field) -> None:
    """F20: the future and the absurd are neither stored nor dropped in silence."""
    device = field.phone()
    future, epoch = fix(timedelta(seconds=-600)), Fix(datetime(1970, 1, 1, tzinfo=UTC), 121.305, 31.105)
    nowhere = Fix(datetime.now(UTC), 0.0, 0.0)
    receipt = send(
        device, future, epoch, nowhere, fix(3), quarantined=[({"odd": "message"}, Reason.UNREADABLE)]
    )
    assert (receipt.stored, receipt.quarantined) == (1, 4)
    assert receipt.reasons == {"future": 1, "absurd_time": 1, "absurd_place": 1, "unreadable": 1}
    rows = field.rows(
        "select reason, payload, protocol, town_id from quarantined_fixes where device_id = :id",
        id=device.device_id,
    )
    assert {row.reason for row in rows} == {"future", "absurd_time", "absurd_place", "unreadable"}
    assert {row.town_id for row in rows} == {field.town.id}
    assert [row.payload for row in rows if row.reason == "unreadable"] == [{"odd": "message"}]


def test_another_phone_gives_an_officer_no_other_room_in_the_quarantine(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F20, F71: he may name as many phones as he likes."""
    monkeypatch.setattr(tracks._ingest(), "quarantine", Room(request_bytes=4_000, day_bytes=4_000))
    officer = field.officer()
    field.shift(officer)
    kept = 0
    for _ in range(4):
        device = field.phone(officer)
        ahead = [fix(timedelta(seconds=-600 - i)) for i in range(20)]
        assert send(device, *ahead).quarantined == 20
        [(count,)] = field.rows(
            "select count(*) from quarantined_fixes where device_id = :id", id=device.device_id
        )
        kept += count
    assert 0 < kept < 20


def test_off_duty_nothing_is_set_aside_either(field: Field) -> None:
    """F24, P21: a bad fix of somebody off duty is no reason to keep where he is."""
    device = field.phone(on_shift=False)
    receipt = send(device, fix(timedelta(seconds=-600)), quarantined=[({"lat": 31.1}, Reason.UNREADABLE)])
    assert (receipt.quarantined, receipt.off_shift) == (0, 2)
    assert field.rows("select from quarantined_fixes where device_id = :id", id=device.device_id) == []


def test_fixes_of_a_revoked_device_are_set_aside_and_off_duty_ones_not_even_that(field: Field) -> None:
    """F23: wrongly accepted 0, wrongly lost 0."""
    device = replace(field.phone(), state=DeviceState.REVOKED)
    receipt = send(device, fix(60), fix(30), fix(timedelta(hours=5)))
    assert receipt == Receipt(quarantined=2, off_shift=1, reasons={"credential_expired": 2})
    assert field.count(device) == 0
    assert field.latest(device) is None


def test_a_device_is_known_by_its_secret_and_its_protocol(field: Field) -> None:
    device = field.phone()
    field.write("update devices set protocol = 'overland' where id = :id", id=device.device_id)
    field.write(
        "insert into device_credentials (key_hash, town_id, device_id, created_at)"
        " values (:hash, :town, :id, now())",
        id=device.device_id,
        hash=secret_hash("secret one"),
        town=field.town.id,
    )
    found = tracks.device_for("overland", "secret one")
    assert found is not None
    assert (found.device_id, found.officer_id, found.state) == (device.device_id, device.officer_id, "active")
    assert tracks.device_for("owntracks", "secret one") is None
    assert tracks.device_for("overland", "secret two") is None
    assert tracks.device_for("overland", "\ud800") is None


def test_a_revoked_device_is_forgotten_at_the_announcement(field: Field, listening: listen.Listener) -> None:
    """F23: the memory of a process ends with the commit that revokes, not with its age."""
    device = field.phone()
    assert tracks.phone_of(device.town_id, device.officer_id, device.device_id) is not None
    field.write(
        "update devices set state = 'revoked', revoked_at = now() where id = :id", id=device.device_id
    )
    remembered = tracks.phone_of(device.town_id, device.officer_id, device.device_id)
    assert remembered is not None
    assert remembered.state == "active"
    with unit_of_work(device.town_id) as uow:
        uow.notify(listen.DEVICES, {"device_id": str(device.device_id)})
    assert _eventually(
        lambda: tracks.phone_of(device.town_id, device.officer_id, device.device_id).state == "revoked"  # type: ignore[union-attr]
    )


def test_a_shift_that_ends_is_forgotten_at_the_announcement(field: Field, listening: listen.Listener) -> None:
    device = field.phone()
    send(device, fix(5))
    duties = tracks._ingest().remembered
    assert duties.duty(device.officer_id) is not None
    [[shift_id]] = field.rows("select id from shifts where officer_id = :o", o=device.officer_id)
    with unit_of_work(device.town_id) as uow:
        shifts.end(uow, field.actor(device), shift_id, command_id=new_id())
    assert _eventually(lambda: duties.duty(device.officer_id) is None)


def test_losing_the_announcements_forgets_everything_and_they_come_back(
    field: Field, listening: listen.Listener
) -> None:
    device = field.phone()
    send(device, fix(5))
    duties = tracks._ingest().remembered
    field.rows("select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%'")
    assert _eventually(lambda: duties.duty(device.officer_id) is None)
    assert _eventually(lambda: listening.connected)


def _eventually(condition: Callable[[], bool], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# --- The live position


def test_the_newest_showable_fix_is_shown_and_a_doubtful_one_is_not(field: Field) -> None:
    """F21: mock and impossible fixes are kept, flagged, and never shown."""
    device = field.phone()
    send(device, fix(30), fix(20, step=8), fix(10, mock=True))
    latest, rows = field.latest(device), field.fixes(device)
    assert [row.flags & Flag.MOCK for row in rows] == [0, 0, Flag.MOCK]
    assert latest is not None
    assert latest.fixed_at == rows[1].fixed_at
    assert (latest.room_id, latest.area_id) == (field.town.areas["a"], field.town.areas["a1"])
    assert (latest.device_id, latest.town_id) == (device.device_id, field.town.id)


def test_a_moved_position_is_published_after_its_commit_and_once(field: Field) -> None:
    device, heard, stored_then = field.phone(), [], []

    def hear(rows: list[Row]) -> None:
        for row in rows:
            if row.officer_id == device.officer_id:
                heard.append(row)
                stored_then.append(field.count(device))

    live.attach(hear)  # type: ignore[arg-type]
    try:
        send(device, fix(5))
        send(device, fix(9))
        send(device, fix(2, step=3))
        send(device, fix(1, mock=True))
        assert _eventually(lambda: len(heard) >= 2)
        time.sleep(0.1)
    finally:
        live.detach(hear)  # type: ignore[arg-type]
    assert len(heard) == 2
    assert stored_then[0] >= 1
    assert {row.room_id for row in heard} == {field.town.areas["a"]}


def test_the_last_position_of_a_shift_does_not_come_back_after_its_end(field: Field) -> None:
    device = field.phone()
    send(device, fix(30))
    [[shift_id]] = field.rows("select id from shifts where officer_id = :o", o=device.officer_id)
    with unit_of_work(device.town_id) as uow:
        shifts.end(uow, field.actor(device), shift_id, command_id=new_id())
    assert send(device, fix(10, step=1)).stored == 1
    assert field.latest(device) is None


# --- Towns, counters, failures


def test_towns_alternate_on_one_connection_without_a_foreign_row(field: Field) -> None:
    """F47: also with a failing group between them."""
    west, east = field.phone(), field.phone(town=field.other_town)
    poison = fix(1, attributes={"text": "\x00"})
    for i in range(20):
        assert send(west, fix(40 - i)).stored == 1
        if i % 5 == 0:
            with pytest.raises(psycopg.Error):
                send(west, poison)
        assert send(east, fix(40 - i)).stored == 1
    assert {row.town_id for row in field.fixes(west)} == {field.town.id}
    assert {row.town_id for row in field.fixes(east)} == {field.other_town.id}
    assert (field.count(west), field.count(east)) == (20, 20)


def test_a_device_of_another_town_finds_no_shift_there(field: Field) -> None:
    """F47: a wrong town in the identity sees no rows and stores none."""
    stray = replace(field.phone(), town_id=field.other_town.id)
    assert send(stray, fix(3)) == Receipt(off_shift=1)
    assert field.count(stray) == 0


def test_a_poisoned_request_fails_alone_among_those_that_share_its_group(field: Field) -> None:
    devices = [field.phone() for _ in range(12)]
    for device in devices:
        send(device, fix(60))
    poison = fix(2, attributes={"text": "\x00"})
    jobs = [lambda device=device: send(device, fix(1)) for device in devices[:-1]]
    for _ in range(5):
        results = together(*jobs, lambda: send(devices[-1], poison))
        assert all(isinstance(result, Receipt) for result in results[:-1])
        assert isinstance(results[-1], psycopg.Error)
    assert field.count(devices[-1]) == 1


def test_of_a_group_that_was_split_every_committed_position_reaches_the_live_map(field: Field) -> None:
    """The town's gate is shut while the group gathers, so that the poisoned request shares it with the others."""
    first, *devices = [field.phone() for _ in range(6)]
    for device in (first, *devices):
        send(device, fix(60))
    heard: list[UUID] = []

    def hear(rows: list[Row]) -> None:
        heard.extend(row.officer_id for row in rows)

    poison = fix(2, attributes={"text": "\x00"})
    grouping = tracks._ingest().write._grouping
    results: list[Any] = []

    def work(device: DeviceIdentity, measured: Fix) -> None:
        try:
            results.append(send(device, measured))
        except psycopg.Error as error:
            results.append(error)

    jobs = [(first, fix(1)), *((device, fix(1)) for device in devices[:-1]), (devices[-1], poison)]
    threads = [threading.Thread(target=work, args=job) for job in jobs]
    live.attach(hear)  # type: ignore[arg-type]
    try:
        with field.owner.begin() as connection:
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": gate.key(field.town.id)})
            threads[0].start()
            assert _eventually(lambda: grouping._live_weight == 0 and grouping._running == 1)
            for thread in threads[1:]:
                thread.start()
            assert _eventually(lambda: grouping.waiting[0] >= len(devices))
        for thread in threads:
            thread.join(30)
        assert _eventually(lambda: len(heard) >= len(devices))
    finally:
        live.detach(hear)  # type: ignore[arg-type]
    assert sorted(heard) == sorted(device.officer_id for device in (first, *devices[:-1]))
    assert [type(result) for result in results].count(Receipt) == len(devices)
    assert sum(isinstance(result, psycopg.Error) for result in results) == 1


SQUARE = shapely.box(121.30, 31.10, 121.31, 31.11)
FLAT = shapely.Polygon([(121.30, 31.10), (121.31, 31.10), (121.30, 31.10)])
NOWHERE = shapely.box(500.0, 31.10, 501.0, 31.11)


@pytest.mark.parametrize("shape", [FLAT.wkb, NOWHERE.wkb, shapely.Point(121.3, 31.1).wkb, b"no polygon"])
def test_one_broken_area_is_skipped_and_logged_and_the_others_still_answer(
    field: Field, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, shape: bytes
) -> None:
    broken, read = new_id(), Remembered._read

    def with_a_broken_one(
        self: Remembered, town_id: UUID | None, statement: str, parameters: Any = ()
    ) -> list[Any]:
        found = read(self, town_id, statement, parameters)
        if "from areas" in statement:
            found.insert(0, SimpleNamespace(id=broken, parent_id=None, kind="grid", shape=shape))
        return found

    monkeypatch.setattr(Remembered, "_read", with_a_broken_one)
    device = field.phone()
    with caplog.at_level("ERROR"):
        assert send(device, fix(3)).stored == 1
    [row] = field.fixes(device)
    assert row.area_id == field.town.areas["a1"]
    [record] = [record for record in caplog.records if record.msg == "ingest.area_skipped"]
    assert record.area_id == str(broken)  # type: ignore[attr-defined]


def test_areas_that_are_each_others_parents_answer_without_their_tree() -> None:
    one, two, three = new_id(), new_id(), new_id()
    rows = [(one, two, "grid", SQUARE.wkb), (two, one, "grid", SQUARE.wkb), (three, None, "grid", FLAT.wkb)]
    assert _index_of(rows)(121.305, 31.105) == min(one, two)  # type: ignore[arg-type]
    assert _index_of(rows)(0.0, 0.0) is None  # type: ignore[arg-type]


def test_one_transaction_holds_all_that_a_request_brings(field: Field) -> None:
    """The pipeline between two syncs is one transaction: what fails last takes back what was first."""
    device = field.phone()
    send(device, fix(60))
    counted = field.counters()
    with pytest.raises(psycopg.Error):
        send(device, fix(1), quarantined=[({"text": "\x00"}, Reason.UNREADABLE)])
    assert field.count(device) == 1
    assert field.counters() == counted


def test_the_counters_add_up_to_what_was_sent(field: Field) -> None:
    devices = [field.phone() for _ in range(6)]
    before = field.counters()

    def work(device: DeviceIdentity) -> list[Receipt]:
        first = walk(50, newest_ago_s=10)
        bad = [fix(timedelta(seconds=-900)), fix(timedelta(hours=3))]
        return [send(device, *first), send(device, *first[:20], *bad), send(device, *first[10:30])]

    receipts = [receipt for result in together(*(lambda d=d: work(d) for d in devices)) for receipt in result]
    after = field.counters()
    for outcome, attribute in (
        ("stored", "stored"), ("duplicate", "duplicates"), ("off_shift", "off_shift"), ("quarantined", "quarantined"),
    ):  # fmt: skip
        counted = after.get(outcome, 0) - before.get(outcome, 0)
        assert counted == sum(getattr(receipt, attribute) for receipt in receipts), outcome
    assert sum(after.values()) - sum(before.values()) == 6 * (50 + 22 + 20)


def test_a_connection_that_is_cut_is_replaced_before_anybody_notices(field: Field) -> None:
    """F04 in small: the flusher's backend is ended between two requests and while requests are under way."""
    devices = [field.phone() for _ in range(8)]
    stop = threading.Event()

    def cut() -> None:
        while not stop.wait(0.4):
            field.rows(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'xungeng-ingest%'"
            )

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        results = together(*(lambda d=d: [send(d, fix(100 - i)) for i in range(150)] for d in devices))
    finally:
        stop.set()
        cutter.join(10)
    assert all(isinstance(result, list) for result in results), results
    assert [field.count(device) for device in devices] == [150] * len(devices)


def test_while_the_database_is_away_requests_are_held_and_then_told_to_come_again(
    field: Field, module_field: tuple[Field, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LOST_FOR_S", 0.4)
    process = Ingest(module_field[1])
    device = field.phone()
    process.write.commit(process.prepare(device, [fix(9)], [], "officer"))
    reached, process.connections.conninfo = process.connections.conninfo, "host=/nowhere dbname=none"
    field.rows(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'xungeng-ingest'"
    )
    started = time.monotonic()
    with pytest.raises(Unavailable) as refused:
        process.write.commit(process.prepare(device, [fix(5)], [], "officer"))
    assert 0.3 < time.monotonic() - started < 3
    assert refused.value.status == 503
    started = time.monotonic()
    with pytest.raises(Refusal):
        process.write.commit(process.prepare(device, [fix(4)], [], "officer"))
    assert time.monotonic() - started < 0.3  # It is known to be away: nobody is held again.
    process.connections.conninfo = reached
    assert process.write.commit(process.prepare(device, [fix(3)], [], "officer")).stored == 1
    process.close()
