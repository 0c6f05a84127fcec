"""The sender as it runs: threads, leases and real processes that are killed, poisoned and made to wait."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from backend import worker_outbox
from backend.core import clock
from backend.core.config import Config, libpq_url
from backend.core.ids import new_id
from backend.core.notice_settings import Gateway, NoticeSettings, Parameter, ProviderTemplate, WecomApp
from backend.core.uow import unit_of_work
from backend.core.vocabulary import NoticeChannel, NoticeKind
from notifications import delivering, outbox, reach
from notifications.channels.channel import Message, Target
from notifications.channels.phone import Phone
from notifications.delivering import Claimed, Sendable
from notifications.sending import Channels, deliver
from running.installation import ROOT, wait_until
from tests.factories import Town, make_town
from tests.notifications.vendors import Asked, Says, Vendor, vendor
from workflows import upkeep

K, C = NoticeKind, NoticeChannel
POISON = "+86199"
Thin = Callable[[int, int], int]


@pytest.fixture
def cloud() -> Iterator[Vendor]:
    with vendor() as running:
        yield running


@pytest.fixture
def owner(live_config: Config) -> Iterator[Engine]:
    engine = create_engine(live_config.owner_url, poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture
def town(live_engine: Engine, owner: Engine) -> Town:
    return make_town(owner, f"sender-{new_id().hex[-12:]}")


@pytest.fixture
def settings_of(live_config: Config, cloud: Vendor, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a worker whose gateway for text messages is the cloud's; this process reaches the same way."""
    templates = {"sms": {"task.offered": {"id": "SMS_1", "parameters": {"what": "title"}}}}
    path = tmp_path / "templates.json"
    path.write_text(json.dumps(templates))
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "XUNGENG_DATA": str(live_config.data_dir),
        "DATABASE_URL": live_config.owner_url, "DATABASE_APP_URL": live_config.database_url,
        "XUNGENG_SMS_URL": cloud.url + "/sms", "XUNGENG_SMS_TOKEN": "t", "XUNGENG_NOTICE_TEMPLATES": str(path),
    }  # fmt: skip
    reach.use(Config.from_env(environment).notices)
    return environment


def start(environment: dict[str, str], **more: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.notifications.sender_process"],
        cwd=ROOT, env={**environment, **more}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() in (b"sending\n", b"")
    process.stdout.close()
    return process


def end(process: subprocess.Popen[bytes], timeout_s: float = 60) -> int:
    """Let a sender end, or wait for the end that it makes of itself."""
    assert process.stdin is not None
    process.stdin.close()
    return process.wait(timeout_s)


def ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


def people(owner: Engine, town: Town, count: int, phone: Callable[[int], str]) -> list[UUID]:
    """Officers with phones."""
    made = [new_id() for _ in range(count)]
    with owner.begin() as connection:
        for number, user_id in enumerate(made):
            row = {"id": user_id, "town": town.id, "area": town.areas["a"], "phone": phone(number)}
            connection.execute(
                text(
                    "insert into users (id, town_id, phone, display_name, state, locale, created_at)"
                    " values (:id, :town, :phone, 'x', 'active', 'zh-CN', now())"
                ),
                row,
            )
            connection.execute(
                text(
                    "insert into memberships (id, town_id, user_id, role, area_id, officer_kind, granted_at)"
                    " values (gen_random_uuid(), :town, :id, 'officer', :area, 'patrol', now())"
                ),
                row,
            )
    return made


def offer(town: Town, to: list[UUID], kind: NoticeKind = K.TASK_OFFERED) -> list[UUID]:
    params = {"number": 7} if kind is K.TASK_OFFERED else {}
    with unit_of_work(town.id) as uow:
        return outbox.enqueue(uow, kind, to=to, subject=("task", new_id()), params=params)


def states(owner: Engine) -> Counter[str]:
    with owner.connect() as connection:
        rows = connection.execute(text("select state, count(*) from deliveries group by state"))
        return Counter({row.state: row.count for row in rows})


def let_leases_run_out(owner: Engine) -> None:
    """As if their two minutes had passed."""
    with owner.begin() as connection:
        connection.execute(
            text(
                "update deliveries set lease_ends_at = now() - interval '1 s', not_before_at = now() - interval '1 s'"
                " where state = 'leased'"
            )
        )


def test_a_worker_that_dies_between_sending_and_marking_sends_again_and_the_receiver_drops_it(
    owner: Engine, town: Town, settings_of: dict[str, str], cloud: Vendor, thin: Thin
) -> None:
    """F11: os._exit(137) after the provider took it and before it is marked; effects per event: exactly 1."""
    effects: dict[str, int] = Counter()
    seen: set[str] = set()

    def receiver(asked: Asked) -> Says:
        event = asked.json["event_id"]
        assert asked.headers["idempotency-key"]
        if event not in seen:
            seen.add(event)
            effects[event] += 1
        return Says(200, {"id": "1"})

    cloud.answers["/sms"] = receiver
    rounds = thin(20, 2)
    officers = people(owner, town, rounds, lambda n: f"+86138{n:08d}")
    told = [str(one) for officer in officers for one in offer(town, [officer])]
    for died in range(1, rounds + 1):
        process = start(settings_of, **{worker_outbox.FAIL_AFTER_SEND: "1"})
        wait_until(partial(ended, process), 120)
        assert end(process) == 137
        assert len(cloud.of("/sms")) == died
        with owner.begin() as connection:
            # The others' leases are let alone: each worker dies of a message that nobody has sent yet.
            connection.execute(
                text(
                    "update deliveries set not_before_at = now() where state = 'leased' and id = any (:ids)"
                ),
                {"ids": unsent(owner, seen)},
            )
    assert states(owner) == {"leased": rounds}
    assert effects.keys() == set(told)
    let_leases_run_out(owner)
    process = start(settings_of)
    wait_until(lambda: states(owner) == {"sent": rounds}, 120)
    end(process)
    assert len(cloud.of("/sms")) == 2 * rounds, "at least once"
    print(f"F11 effects per event over {rounds} deaths: {sorted(Counter(effects.values()).items())}")
    assert set(effects.values()) == {1}


def unsent(owner: Engine, events: set[str]) -> list[UUID]:
    with owner.connect() as connection:
        rows = connection.execute(
            text("select id from deliveries where not notice_id = any (cast(:seen as uuid[]))"),
            {"seen": list(events)},
        )
        return list(rows.scalars())


def test_of_four_workers_each_row_is_sent_by_one_and_poison_holds_up_nobody(
    owner: Engine, town: Town, settings_of: dict[str, str], cloud: Vendor, thin: Thin
) -> None:
    """F12: 4 workers, 10,000 rows, 1 % poison: double sends 0; poison is dead, all else sent; the longest standstill
    printed."""
    rows, per_person = thin(10_000, 400), 4
    officers = people(
        owner, town, rows // per_person, lambda n: (POISON if n % 100 == 7 else "+86138") + f"{n:08d}"
    )
    taken: dict[str, list[float]] = defaultdict(list)

    def gateway(asked: Asked) -> Says:
        if asked.json["phone"].startswith(POISON):
            return Says(400)
        with cloud.lock:
            taken[asked.headers["idempotency-key"]].append(time.monotonic())
        return Says(200)

    cloud.answers["/sms"] = gateway
    for _ in range(per_person):
        offer(town, officers)
    poisoned = per_person * sum(n % 100 == 7 for n in range(len(officers)))
    assert 0 < poisoned <= rows // 50
    workers = [start(settings_of) for _ in range(4)]
    wanted = {"sent": rows - poisoned, "dead": poisoned}
    wait_until(lambda: states(owner) == wanted, 120 if rows < 1000 else 900, every_s=0.5)
    for worker in workers:
        end(worker)
    doubled = sum(len(times) - 1 for times in taken.values())
    moments = sorted(moment for times in taken.values() for moment in times)
    standstill = max(b - a for a, b in itertools.pairwise(moments))
    print(f"F12 double sends over {rows} rows: {doubled}; longest standstill {standstill:.2f} s")
    assert doubled == 0
    assert len(taken) == rows - poisoned
    order = defaultdict(list)
    for asked in cloud.of("/sms"):
        order[asked.json["phone"]].append(UUID(asked.json["event_id"]))
    assert all(events == sorted(events) for events in order.values()), "somebody's notices go in their order"
    with owner.connect() as connection:
        attempts = connection.execute(text("select distinct attempts from deliveries")).scalars().all()
    assert attempts == [1]


@pytest.fixture
def in_process(
    live_config: Config, cloud: Vendor
) -> Iterator[Callable[[NoticeSettings], worker_outbox.Sender]]:
    senders: list[worker_outbox.Sender] = []

    def begin(settings: NoticeSettings) -> worker_outbox.Sender:
        reach.use(settings)
        sender = worker_outbox.Sender(settings, libpq_url(live_config.database_url))
        senders.append(sender)
        sender.start()
        return sender

    yield begin
    cloud.hang.set()
    for sender in senders:
        sender.stop()


SMS = {
    C.SMS: {
        kind: ProviderTemplate("SMS_1", {"what": Parameter("title")})
        for kind in (K.TASK_OFFERED, K.SOS_RAISED)
    }
}


def wecom_for(owner: Engine, town: Town, user_ids: list[UUID]) -> None:
    with owner.begin() as connection:
        for user_id in user_ids:
            connection.execute(
                text(
                    "insert into addresses (id, town_id, user_id, channel, token, created_at)"
                    " values (gen_random_uuid(), :town, :user, 'wecom', :token, now())"
                ),
                {"town": town.id, "user": user_id, "token": user_id.hex},
            )


def test_a_provider_that_hangs_holds_up_nobody_else(
    live_engine: Engine,
    owner: Engine,
    town: Town,
    cloud: Vendor,
    in_process: Callable[[NoticeSettings], worker_outbox.Sender],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F10 for providers: while WeCom does not answer, text messages go on, and no transaction is open meanwhile."""
    monkeypatch.setattr("notifications.channels.tencent.TIMEOUT_S", 600)
    cloud.answers["/cgi-bin/gettoken"] = Says(json={"access_token": "t", "expires_in": 7200})
    cloud.answers["/cgi-bin/message/send"] = Says(json={"errcode": 0, "msgid": "1"}, after_s=600)
    cloud.answers["/sms"] = Says(200)
    hanging = people(owner, town, 6, lambda n: f"+86137{n:08d}")
    going = people(owner, town, 12, lambda n: f"+86138{n:08d}")
    wecom_for(owner, town, hanging)
    settings = NoticeSettings(
        wecom=WecomApp("corp", 1, "secret", cloud.url), sms=Gateway(cloud.url + "/sms", "t"), templates=SMS
    )
    reach.use(settings)
    offer(town, hanging)
    in_process(settings)
    wait_until(lambda: cloud.of("/cgi-bin/message/send"), 60)
    offer(town, going)
    wait_until(lambda: len(cloud.of("/sms")) >= len(going), 60)
    wait_until(lambda: states(owner)["sent"] >= len(going), 60)
    assert len(cloud.of("/cgi-bin/message/send")) == 1, "the lane waits for its first message"
    # Who is in danger has a lane of his own on the channel that hangs, and the next channel after it.
    offer(town, hanging[:1], K.SOS_RAISED)
    wait_until(lambda: len(cloud.of("/cgi-bin/message/send")) == 2, 60)
    with owner.connect() as connection:
        open_ones = connection.execute(
            text(
                "select count(*) from pg_stat_activity where datname = current_database()"
                " and state = 'idle in transaction'"
            )
        ).scalar_one()
    assert open_ones == 0
    cloud.hang.set()
    wait_until(lambda: states(owner)["leased"] == 0, 60)


def test_a_committed_notice_is_sent_without_waiting_for_the_clock(
    owner: Engine,
    town: Town,
    cloud: Vendor,
    in_process: Callable[[NoticeSettings], worker_outbox.Sender],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By LISTEN: the thread that looks would not have looked for an hour. What is rolled back is told to nobody."""
    monkeypatch.setattr(worker_outbox, "LOOK_EVERY_S", 3600)
    cloud.answers["/sms"] = Says(200)
    [officer] = people(owner, town, 1, lambda n: "+8613800000000")
    sender = in_process(NoticeSettings(sms=Gateway(cloud.url + "/sms", "t"), templates=SMS))
    listener = sender._listener
    assert listener is not None
    wait_until(lambda: listener.connected, 60)
    with pytest.raises(LookupError), unit_of_work(town.id) as uow:
        outbox.enqueue(uow, K.TASK_OFFERED, to=[officer], subject=("task", new_id()), params={"number": 1})
        raise LookupError
    [told] = offer(town, [officer])
    wait_until(lambda: states(owner) == {"sent": 1}, 60)
    [asked] = cloud.of("/sms")
    assert asked.json["event_id"] == str(told)


def test_a_channel_that_is_asked_too_often_pauses_as_a_whole(
    owner: Engine,
    town: Town,
    cloud: Vendor,
    in_process: Callable[[NoticeSettings], worker_outbox.Sender],
) -> None:
    cloud.answers["/sms"] = Says(429, headers={"Retry-After": "600"})
    officers = people(owner, town, 8, lambda n: f"+86138{n:08d}")
    settings = NoticeSettings(sms=Gateway(cloud.url + "/sms", "t"), templates=SMS)
    reach.use(settings)
    offer(town, officers)
    in_process(settings)
    wait_until(lambda: cloud.of("/sms"), 60)
    wait_until(lambda: states(owner) == {"waiting": 8}, 60)
    time.sleep(2.5)
    assert len(cloud.of("/sms")) == 1
    with owner.connect() as connection:
        attempts = connection.execute(text("select attempts from deliveries order by 1")).scalars().all()
    assert attempts == [0] * 7 + [1], "who was not asked for has tried nothing"


def test_a_town_with_much_to_tell_holds_up_no_other(
    live_engine: Engine, owner: Engine, town: Town, cloud: Vendor
) -> None:
    cloud.answers["/sms"] = Says(200)
    other = make_town(owner, f"quiet-{new_id().hex[-12:]}")
    settings = NoticeSettings(sms=Gateway(cloud.url + "/sms", "t"), templates=SMS)
    reach.use(settings)
    offer(town, people(owner, town, 4 * delivering.BATCH, lambda n: f"+86138{n:08d}"))
    [told] = offer(other, people(owner, other, 1, lambda n: "+8613900000001"))
    lane = worker_outbox.Lane(Channels(settings), C.SMS, urgent=False)
    for one in (town, other):
        lane.tell(one.id)
    lane.start()
    try:
        wait_until(lambda: len(cloud.of("/sms")) == 4 * delivering.BATCH + 1, 60)
    finally:
        lane.stop()
        lane.join(10)
    order = [asked.json["event_id"] for asked in cloud.of("/sms")]
    assert order.index(str(told)) <= delivering.BATCH


def test_the_sender_and_who_answers_an_offer_do_not_wait_for_each_other(
    owner: Engine, town: Town, settings_of: dict[str, str]
) -> None:
    """A batch holds several notices, an act too and in another order: what is being changed comes a moment later."""
    first, second = sorted(people(owner, town, 2, lambda n: f"+86138{n:08d}"))
    subject = ("task", new_id())
    with unit_of_work(town.id) as uow:
        told = outbox.enqueue(uow, K.TASK_OFFERED, to=[first, second], subject=subject, params={"number": 7})
    with unit_of_work(town.id) as uow:
        claimed = delivering.claim(uow, C.SMS)
    assert [one.notice_id for one in claimed] == sorted(told)
    held, tried = threading.Event(), threading.Event()

    def answer() -> None:
        with unit_of_work(town.id) as uow:
            outbox.acted(uow, subject, [K.TASK_OFFERED], by=second)
            held.set()
            tried.wait(1.0)
            outbox.withdraw(uow, subject, [K.TASK_OFFERED], of=[first])

    def prepare() -> list[UUID]:
        held.wait(10)
        with unit_of_work(town.id) as uow:
            ready = [one.message.event_id for one in delivering.prepare(uow, claimed)]
        tried.set()
        return ready

    with ThreadPoolExecutor(2) as pool:
        answered, prepared = pool.submit(answer), pool.submit(prepare)
        answered.result(20)
        assert prepared.result(20) == told[:1]
    assert states(owner) == {"leased": 1, "waiting": 1}
    with unit_of_work(town.id) as uow:
        uow.now += delivering.HELD_PAUSE
        assert delivering.prepare(uow, delivering.claim(uow, C.SMS)) == [], "he has answered"
    assert states(owner) == {"leased": 1, "skipped": 1}


def test_no_further_address_is_tried_when_the_lease_may_end_meanwhile(cloud: Vendor) -> None:
    """Another worker would begin anew, and everybody reached by then would hear it twice."""
    cloud.answers["/sms"] = Says(503)
    channel = Phone(C.SMS, Gateway(cloud.url + "/sms", "t"))
    message = Message(
        event_id=new_id(), delivery_id=new_id(), kind=K.TASK_OFFERED, subject_kind="task", subject_id=new_id(),
        urgent=False, title="x", body="x", language="en", template_id="SMS_1",
    )  # fmt: skip

    def tried(lease_s: float) -> int:
        before = len(cloud.of("/sms"))
        ends_at = clock.now() + timedelta(seconds=lease_s)
        two = (Target("+8613800000001"), Target("+8613800000002"))
        outcome = deliver(channel, Sendable(Claimed(new_id(), new_id(), C.SMS, 1, ends_at), message, two))
        assert (outcome.taken, outcome.final) == (False, False)
        return len(cloud.of("/sms")) - before

    assert (tried(lease_s=1), tried(lease_s=600)) == (1, 2)


def test_a_mistake_of_ours_in_one_message_holds_up_no_other(
    owner: Engine,
    town: Town,
    cloud: Vendor,
    in_process: Callable[[NoticeSettings], worker_outbox.Sender],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F12."""
    from notifications.channels.phone import Phone

    real = Phone.send

    def sometimes(self: Phone, message: object, target: object) -> object:
        if target.token.startswith(POISON):  # type: ignore[attr-defined]
            raise KeyError("a bug")
        return real(self, message, target)  # type: ignore[arg-type]

    monkeypatch.setattr(Phone, "send", sometimes)
    cloud.answers["/sms"] = Says(200)
    officers = people(owner, town, 6, lambda n: (POISON if n == 2 else "+86138") + f"{n:08d}")
    settings = NoticeSettings(sms=Gateway(cloud.url + "/sms", "t"), templates=SMS)
    reach.use(settings)
    offer(town, officers)
    in_process(settings)
    wait_until(lambda: states(owner)["sent"] == 5, 60)

    def why() -> list[str]:
        with owner.connect() as connection:
            rows = connection.execute(text("select error from deliveries where state <> 'sent'"))
            return list(rows.scalars())

    wait_until(lambda: why() == ["internal_error"], 60)


# --- The real worker, its clock, and what it says at its start


def test_the_worker_sends_and_warns_of_whom_an_sos_reaches_by_the_open_app_alone(
    owner: Engine, town: Town, settings_of: dict[str, str], cloud: Vendor, live_config: Config
) -> None:
    """P27, F93: the log names no phone, no person and no text."""
    cloud.answers["/sms"] = Says(200)
    [officer] = people(owner, town, 1, lambda n: "+8613812345678")
    offer(town, [officer])
    process = subprocess.Popen(
        [sys.executable, "-m", "backend.cli", "worker"],
        cwd=ROOT, env={**settings_of, "XUNGENG_DEMO": "0"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        wait_until(lambda: states(owner) == {"sent": 1} or process.poll() is not None, 120)
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=60)
    said = output.decode()
    assert states(owner) == {"sent": 1}, said
    assert "An SOS would reach everybody by the open app alone" in said, "no template carries one"
    assert "13812345678" not in said
    assert str(cloud.of("/sms")[0].json["parameters"]["what"]) not in said


def test_who_would_not_hear_of_an_sos_is_counted(live_engine: Engine, owner: Engine, town: Town) -> None:
    settings = NoticeSettings(wecom=WecomApp("corp", 1, "secret"))
    reach.use(NoticeSettings())
    with unit_of_work(town.id) as uow:
        assert "no channel beside it can carry one" in (reach.warning(uow) or "")
    reach.use(settings)
    staff = [p for p in town.people.values() if str(p.role) in ("officer", "dispatcher", "supervisor")]
    wecom_for(owner, town, [p.id for p in staff[:-2]])
    with unit_of_work(town.id) as uow:
        assert "An SOS would reach 2 officers and dispatchers" in (reach.warning(uow) or "")
    wecom_for(owner, town, [p.id for p in staff[-2:]])
    with unit_of_work(town.id) as uow:
        assert reach.warning(uow) is None


def test_old_notices_and_addresses_that_are_long_dead_are_forgotten(
    live_engine: Engine, owner: Engine, town: Town
) -> None:
    """P22 for notices: with their deliveries."""
    reach.use(replace(NoticeSettings(), wecom=WecomApp("corp", 1, "secret")))
    officer = town["officer_a"].id
    wecom_for(owner, town, [officer])
    old, new = offer(town, [officer]) + offer(town, [officer])
    with owner.begin() as connection:
        connection.execute(
            text("update notices set created_at = now() - interval '91 days' where id = :id"), {"id": old}
        )
    with unit_of_work(town.id) as uow:
        delivering.prune(uow, list(uow.session.execute(text("select id from addresses")).scalars()), "x")
    with owner.begin() as connection:
        connection.execute(text("update addresses set dead_at = now() - interval '31 days'"))
    with unit_of_work(town.id) as uow:
        assert upkeep.forget_notices(uow, retention_days=90) == 2
    with owner.connect() as connection:
        assert connection.execute(text("select id from notices")).scalars().all() == [new]
        assert connection.execute(text("select notice_id from deliveries")).scalars().all() == [new]
        assert connection.execute(text("select count(*) from addresses")).scalar_one() == 0
