"""Evidence below the API: the chain that nobody changes, the decoder's limits, and the store that keeps files."""

from __future__ import annotations

import errno
import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from backend import worker
from backend.adapters import pictures
from backend.adapters.storage import Folder, Memory, Spool
from backend.core.config import Config
from backend.core.errors import Full, Gone, Locked
from backend.core.identity import system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import CustodyAct, EvidenceFault
from backend.models import Custody
from tests import factories, photos
from tests.dispatching import on_shift
from tests.factories import Town
from workflows import access, custody, evidence

ROOM = evidence.Room(1 << 20, 1 << 40, 1 << 40)


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"evidence-{new_id().hex[-12:]}")


@pytest.fixture
def live_town(live_engine: Engine, live_config: Config) -> Town:
    """A town in which everything really commits."""
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    town = factories.make_town(owner, "live")
    owner.dispose()
    return town


def begun(uow: UnitOfWork, town: Town) -> UUID:
    on_shift(uow, town, town["officer_a"])
    declared = evidence.Declared(new_id(), b"\x01" * 32, uow.now, 5, "")
    return evidence.begin(uow, town["officer_a"].actor(), declared, ROOM).id


def with_chain(uow: UnitOfWork, town: Town, looks: int = 3) -> UUID:
    found = begun(uow, town)
    row = access.evidence(uow, system_actor(town.id), found, lock=True)
    for _ in range(looks):
        custody.write(uow, town["desk_a"].actor(), row, CustodyAct.VIEWED, sha256=b"\x01" * 32)
    return found


# --- The chain


@pytest.mark.parametrize(
    "act",
    [
        "update custody set action = 'created'",
        "delete from custody",
        "truncate custody",
        "truncate evidence cascade",
    ],
)
@pytest.mark.parametrize("by", ["app", "owner"])
def test_no_role_changes_or_empties_the_custody_log(
    engine: Engine, owner_engine: Engine, town: Town, by: str, act: str
) -> None:
    """The application lacks the right, and the tables' own owner meets the triggers."""
    with owner_engine.connect() as connection:
        _row(connection, town)
        if by == "owner":
            with pytest.raises(DBAPIError, match="only ever added to"):
                connection.execute(text(act))
        connection.rollback()
    if by == "app":
        with engine.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(text(act))


def _row(connection: Connection, town: Town) -> UUID:
    """A piece of evidence with its first entry, written by the owner."""
    found, shift = new_id(), new_id()
    given = {
        "id": found,
        "shift": shift,
        "town": town.id,
        "officer": town["officer_b"].id,
        "area": town.areas["b"],
    }
    connection.execute(
        text(
            "insert into shifts (id, town_id, officer_id, area_id, state, started_at, closes_at, ended_at, ended_by)"
            " values (:shift, :town, :officer, :area, 'ended', now() - interval '2 hours', now(), now(), 'self')"
        ),
        given,
    )
    connection.execute(
        text(
            "insert into evidence (id, town_id, officer_id, kind, state, upload_metadata, declared_sha256, captured_at,"
            " shift_id, area_id, created_at, expires_at) values (:id, :town, :officer, 'image', 'uploading', '',"
            " decode(repeat('01', 32), 'hex'), now(), :shift, :area, now(), now())"
        ),
        given,
    )
    _entry(connection, town, found, 1, bytes(32))
    return found


def _entry(connection: Connection, town: Town, found: UUID, seq: int, previous: bytes) -> None:
    connection.execute(
        text(
            "insert into custody (evidence_id, seq, town_id, at, action, digests, previous_hash, entry_hash)"
            " values (:id, :seq, :town, now(), 'viewed', '{}', :previous, :own)"
        ),
        {"id": found, "seq": seq, "town": town.id, "previous": previous, "own": bytes([seq]) * 32},
    )


@pytest.mark.parametrize(("seq", "previous"), [(3, bytes([1]) * 32), (2, bytes(32)), (1, bytes(32))])
def test_an_entry_that_does_not_follow_the_last_one_is_refused_by_the_database(
    owner_engine: Engine, town: Town, seq: int, previous: bytes
) -> None:
    with owner_engine.connect() as connection:
        found = _row(connection, town)
        with pytest.raises(DBAPIError, match="follows the last one"), connection.begin_nested():
            _entry(connection, town, found, seq, previous)
        _entry(connection, town, found, 2, bytes([1]) * 32)
        connection.rollback()


ARRIVED = (
    "state = 'received', received_at = now(), sha256 = declared_sha256, length = 5, media_type = 'image/png'"
)
SEALED = "state = 'sealed', sealed_at = now(), preview_sha256 = decode(repeat('03', 32), 'hex')"
REJECTED = "state = 'rejected', rejected_at = now(), reason = 'expired'"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("declared_sha256 = decode(repeat('02', 32), 'hex')", "does not change"),
        ("captured_at = now() + interval '1 day'", "does not change"),
        ("officer_id = (select id from users where id <> officer_id and town_id = evidence.town_id limit 1)",
         "does not change"),
        ("id = gen_random_uuid()", "does not change"),
        ("area_id = (select id from areas where id <> area_id and town_id = evidence.town_id limit 1)",
         "does not change"),
        ("length = 6", "does not change"),
        ("sha256 = decode(repeat('02', 32), 'hex')", "does not change"),
        ("media_type = 'image/jpeg'", "does not change"), ("media_type = null", "does not change"),
        ("preview_sha256 = decode(repeat('02', 32), 'hex')", "does not change"),
        ("preview_sha256 = null", "does not change"),
        ("state = 'received', sealed_at = null", "stays so"),
        ("state = 'rejected', sealed_at = null, rejected_at = now(), reason = 'expired'", "stays so"),
    ],
)  # fmt: skip
def test_what_was_declared_at_capture_and_what_was_sealed_does_not_change(
    owner_engine: Engine, town: Town, change: str, said: str
) -> None:
    with owner_engine.connect() as connection:
        found = _row(connection, town)
        for step in (ARRIVED, SEALED):
            connection.execute(text(f"update evidence set {step} where id = :id"), {"id": found})
        with pytest.raises(DBAPIError, match=said):
            connection.execute(text(f"update evidence set {change} where id = :id"), {"id": found})


@pytest.mark.parametrize("change", ["state = 'uploading'", ARRIVED, SEALED])
def test_what_was_rejected_stays_rejected(owner_engine: Engine, town: Town, change: str) -> None:
    with owner_engine.connect() as connection:
        found = _row(connection, town)
        connection.execute(text(f"update evidence set {REJECTED} where id = :id"), {"id": found})
        back = f"update evidence set {change}, rejected_at = null, reason = null where id = :id"
        with pytest.raises(DBAPIError, match="stays so"):
            connection.execute(text(back), {"id": found})


def test_each_entry_of_a_chain_that_is_altered_put_in_or_taken_out_is_found(
    connection: Connection, town: Town
) -> None:
    with unit_of_work(town.id) as uow:
        entries = custody.of(uow, with_chain(uow, town))
        assert [entry.action for entry in entries] == ["created", "viewed", "viewed", "viewed"]
        assert custody.first_wrong(entries) is None
        for entry in entries:
            uow.session.expunge(entry)
    for place, entry in enumerate(entries, 1):
        for name, other in (
            ("action", "sealed"), ("actor_id", new_id()), ("digests", {"sha256": "00"}), ("seq", 9),
            ("previous_hash", b"\x05" * 32), ("entry_hash", b"\x05" * 32), ("at", entry.at.replace(year=2020)),
            ("evidence_id", new_id()),
        ):  # fmt: skip
            before = getattr(entry, name)
            setattr(entry, name, other)
            assert custody.first_wrong(entries) in (place, place + 1), name
            setattr(entry, name, before)
        if place < len(entries):
            assert custody.first_wrong([*entries[: place - 1], *entries[place:]]) == place
        twice: list[Custody] = [*entries[:place], *entries[place - 1 :]]
        assert custody.first_wrong(twice) == place + 1
    assert custody.first_wrong(entries) is None


BEHIND_THE_TRIGGERS: dict[str, tuple[str, int | None]] = {
    "nothing": ("select 1", None),
    "an act": ("update custody set action = 'sealed' where evidence_id = :id and seq = 2", 2),
    "who": ("update custody set actor_id = null where evidence_id = :id and seq = 3", 3),
    "when": ("update custody set at = at - interval '1 day' where evidence_id = :id and seq = 4", 4),
    "a digest": ("update custody set digests = '{}' where evidence_id = :id and seq = 1", 1),
    "a hash": ("update custody set entry_hash = sha256('x') where evidence_id = :id and seq = 4", 4),
    "one less": ("delete from custody where evidence_id = :id and seq = 2", 2),
    "the beginning": ("delete from custody where evidence_id = :id and seq = 1", 1),
    "all": ("delete from custody where evidence_id = :id", 1),
    "one more": (
        "insert into custody (evidence_id, seq, town_id, at, action, digests, previous_hash, entry_hash)"
        " select evidence_id, 5, town_id, at, action, digests, entry_hash, sha256('x') from custody"
        " where evidence_id = :id and seq = 4",
        5,
    ),
    "the seal": ("update evidence set state = 'sealed', sealed_at = now(), received_at = now(), length = 5,"
                 " sha256 = declared_sha256, media_type = 'image/jpeg' where id = :id", 5),
}  # fmt: skip
"""What a superuser does with the triggers off, and at which place of its chain it is found."""


def test_the_nightly_clock_names_each_chain_that_was_changed_behind_the_triggers(
    live_town: Town, live_config: Config, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """F33: updates, deletions and an insertion by a superuser; of what nobody touched nothing is said."""
    worker.use(live_config)
    items: dict[str, UUID] = {}
    with unit_of_work(live_town.id) as uow:
        on_shift(uow, live_town, live_town["officer_a"])
        for what in BEHIND_THE_TRIGGERS:
            declared = evidence.Declared(new_id(), b"\x01" * 32, uow.now, 5, "")
            items[what] = evidence.begin(uow, live_town["officer_a"].actor(), declared, ROOM).id
            row = access.evidence(uow, system_actor(live_town.id), items[what], lock=True)
            for _ in range(3):
                custody.write(uow, live_town["desk_a"].actor(), row, CustodyAct.VIEWED, sha256=b"\x01" * 32)
    worker.verify_custody(0)
    assert "custody" not in capsys.readouterr().out + caplog.text
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    with owner.begin() as connection:
        connection.execute(text("set local session_replication_role = replica"))
        for what, (statement, _place) in BEHIND_THE_TRIGGERS.items():
            connection.execute(text(statement), {"id": items[what]})
    owner.dispose()
    wanted = {items[what]: place for what, (_statement, place) in BEHIND_THE_TRIGGERS.items() if place}
    # The chain of which nothing is left has not grown: it comes in the share of one of the nights.
    with unit_of_work(live_town.id) as uow:
        found: dict[UUID, int] = {}
        first_night = uow.now
        for night in range(custody.ROUND_DAYS):
            uow.now = first_night + timedelta(days=night)
            found |= {one.evidence_id: one.place for one in custody.verify(uow, since=uow.now)}
        uow.now = first_night
        grown = {one.evidence_id for one in custody.verify(uow, since=first_night - timedelta(days=2))}
    assert found == wanted
    assert grown | {items["all"]} == set(wanted)
    worker.verify_custody(0)
    told = capsys.readouterr().out + caplog.text
    for item in items.values():
        assert (str(item) in told) == (item in grown), "each by its name"


def test_the_custody_log_names_no_person_and_no_place(connection: Connection, town: Town) -> None:
    """P33: digests of content and references."""
    with unit_of_work(town.id) as uow:
        for entry in custody.of(uow, with_chain(uow, town)):
            assert entry.digests.keys() <= {"declared_sha256", "sha256", "length", "captured_at", "v"}
            assert town["officer_a"].login not in str(entry.digests)


# --- The room of a town


def taken(uow: UnitOfWork) -> tuple[int, int]:
    """What the counter says, and what the rows sum up to."""
    counted = uow.session.execute(text("select coalesce(max(bytes), 0) from evidence_rooms")).scalar_one()
    summed = uow.session.execute(text("select coalesce(sum(room_bytes), 0) from evidence")).scalar_one()
    return int(counted), int(summed)


def test_two_who_want_the_last_room_at_once_do_not_both_get_it(live_town: Town) -> None:
    """Each in a transaction of his own, begun before any ends; what is kept never goes beyond the quota."""
    town = live_town
    officer = town["officer_a"]
    with unit_of_work(town.id) as uow:
        on_shift(uow, town, officer)
    room = evidence.Room(of_one=1 << 20, of_town=35, free=1 << 40)
    ready = threading.Barrier(8)

    def want(_: int) -> str:
        ready.wait()
        try:
            with unit_of_work(town.id) as uow:
                evidence.begin(
                    uow, officer.actor(), evidence.Declared(new_id(), b"\x01" * 32, uow.now, 10, ""), room
                )
                time.sleep(0.05)
        except Full as refused:
            return refused.code
        return "begun"

    with ThreadPoolExecutor(8) as pool:
        told = sorted(pool.map(want, range(8)))
    assert told == ["begun"] * 3 + ["quota_exceeded"] * 5
    with unit_of_work(town.id) as uow:
        assert taken(uow) == (30, 30)


def test_what_others_were_promised_of_the_disk_is_not_promised_again(live_town: Town) -> None:
    """The database lies on the same disk: uploads that have begun and have not come yet count as if they were here."""
    officer = live_town["officer_a"]
    room = evidence.Room(of_one=1000, of_town=1 << 40, free=2500)
    with unit_of_work(live_town.id) as uow:
        on_shift(uow, live_town, officer)
        begin = lambda: evidence.begin(
            uow, officer.actor(), evidence.Declared(new_id(), b"\x01" * 32, uow.now, 1000, ""), room
        )
        begin()
        begin()
        with pytest.raises(Full) as refused:
            begin()
    assert refused.value.code == "storage_full"


def test_what_a_photo_takes_of_the_room_follows_its_length_and_is_free_again_when_it_is_rejected(
    live_town: Town,
) -> None:
    town = live_town
    officer, system = town["officer_a"].actor(), system_actor(town.id)
    room = evidence.Room(of_one=100, of_town=120, free=1 << 40)
    with unit_of_work(town.id) as uow:
        on_shift(uow, town, town["officer_a"])
        begin = lambda length: evidence.begin(
            uow, officer, evidence.Declared(new_id(), b"\x01" * 32, uow.now, length, ""), room
        )
        first = begin(None)
        assert taken(uow) == (100, 100), "as long as it may become"
        with pytest.raises(Full):
            begin(30)
        evidence.say_length(uow, officer, first.id, 40, room)
        assert taken(uow) == (40, 40)
        second = begin(30)
        assert taken(uow) == (70, 70)
        evidence.reject(uow, system, access.evidence(uow, system, first.id, lock=True), EvidenceFault.EXPIRED)
        assert taken(uow) == (30, 30)
        assert evidence.look_at(uow, officer, second.id).room_bytes == 30
        uow.session.rollback()


# --- What was rejected


@pytest.mark.parametrize("other", [None, "uploading", "received", "sealed", "rejected"])
def test_the_bytes_of_what_was_rejected_go_after_a_while_unless_other_evidence_has_or_brings_them(
    connection: Connection, town: Town, monkeypatch: pytest.MonkeyPatch, other: str | None
) -> None:
    officer, system, dropped = town["officer_a"].actor(), system_actor(town.id), list[bytes]()
    digest = hashlib.sha256(str(other).encode()).digest()
    with unit_of_work(town.id) as uow:
        on_shift(uow, town, town["officer_a"])

        def brought(state: str | None) -> None:
            found = evidence.begin(uow, officer, evidence.Declared(new_id(), digest, uow.now, 5, ""), ROOM)
            if state in ("received", "sealed"):
                evidence.receive(uow, system, found, sha256=digest, length=5, media_type="image/jpeg")
            if state == "sealed":
                evidence.seal(uow, system, found, pictures.Picture(4, 3), preview_sha256=None)
            if state == "rejected":
                evidence.reject(uow, system, found, EvidenceFault.EXPIRED)

        brought("rejected")
        if other is not None:
            brought(other)
        assert (evidence.drop_rejected(uow, dropped.append), dropped) == (0, []), "not at once"
        monkeypatch.setattr(evidence, "DROPPED_AFTER", timedelta(0))
        assert evidence.drop_rejected(uow, dropped.append) == (2 if other == "rejected" else 1)
        assert set(dropped) == ({digest} if other in (None, "rejected") else set())
        assert evidence.drop_rejected(uow, dropped.append) == 0


def test_no_upload_begins_while_bytes_are_thrown_away(live_town: Town) -> None:
    """Whoever brings the same bytes again brings them after those are gone, and not before."""
    town = live_town
    officer, system, seen = town["officer_a"].actor(), system_actor(town.id), list[str]()
    declared = lambda uow: evidence.Declared(new_id(), b"\x01" * 32, uow.now, 5, "")
    with unit_of_work(town.id) as uow:
        on_shift(uow, town, town["officer_a"])
        evidence.reject(uow, system, evidence.begin(uow, officer, declared(uow), ROOM), EvidenceFault.EXPIRED)

    def again() -> None:
        with unit_of_work(town.id) as uow:
            evidence.begin(uow, officer, declared(uow), ROOM)
            seen.append("begun")

    bringing = threading.Thread(target=again)

    def drop(_: bytes) -> None:
        bringing.start()
        bringing.join(0.5)
        seen.append("dropped")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(evidence, "DROPPED_AFTER", timedelta(0))
        with unit_of_work(town.id) as uow:
            assert evidence.drop_rejected(uow, drop) == 1
    bringing.join(10)
    assert seen == ["dropped", "begun"]


# --- The decoder


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (photos.photo(), "image/jpeg"), (photos.photo(kind="PNG"), "image/png"),
        (photos.photo(kind="WEBP"), "image/webp"), (b"GIF89a", None), (b"<svg", None), (b"", None),
    ],
)  # fmt: skip
def test_what_a_file_is_its_first_bytes_say(data: bytes, kind: str | None) -> None:
    assert pictures.media_type(data[: pictures.HEAD_BYTES]) == kind


PEAK = (
    "import resource, sys; from pathlib import Path; from backend.adapters import pictures;"
    " print(pictures.look(Path(sys.argv[1]), Path(sys.argv[2]), most_pixels=64_000_000).fault,"
    " resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
)


def test_a_pixel_bomb_is_refused_and_takes_little_memory(tmp_path: Path) -> None:
    """F65: an 81 megapixel PNG of ten kilobytes; peak of the process that looks at it below 150 MB."""
    file = tmp_path / "bomb.png"
    file.write_bytes(photos.bomb())
    assert file.stat().st_size < 20_000
    told = subprocess.run(
        [sys.executable, "-c", PEAK, file, tmp_path / "preview"], capture_output=True, text=True, check=True,
        cwd=pictures.ROOT,
    ).stdout.split()  # fmt: skip
    print(f"F65: {told[0]}, {told[1]} MB")
    assert told[0] == "too_many_pixels"
    assert int(told[1]) < 150


def test_a_film_of_many_frames_is_no_photo(tmp_path: Path) -> None:
    """F65: an animated PNG and WebP; of a JPEG of two pictures the first one counts."""
    from PIL import Image

    frames = [Image.new("RGB", (40, 30), (90 * n, 0, 0)) for n in range(3)]
    for kind, fault in (("PNG", "not_an_image"), ("WEBP", "not_an_image"), ("MPO", None)):
        file = tmp_path / kind
        frames[0].save(file, kind, save_all=True, append_images=frames[1:])
        assert pictures.look(file, tmp_path / "preview", most_pixels=1_000_000).fault == fault, kind


@pytest.fixture
def decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pictures.Picture]:
    """A look by a decoder that does what it is told, in the same process with the same limits as the real one."""
    (tmp_path / "PIL").mkdir()
    (tmp_path / "PIL" / "ImageOps.py").write_text("")
    (tmp_path / "backend").symlink_to(pictures.ROOT / "backend")
    monkeypatch.setattr(pictures, "ROOT", tmp_path)
    file = tmp_path / "photo.jpg"
    file.write_bytes(photos.photo())

    def look(does: str, begins: str = "", **limits: Any) -> pictures.Picture:
        (tmp_path / "PIL" / "__init__.py").write_text(begins)
        body = f"def open(*_, **__):\n    import os, signal, time\n    {does}\n"
        (tmp_path / "PIL" / "Image.py").write_text(body)
        return pictures.look(
            file, tmp_path / "preview", most_pixels=1_000_000, limits=pictures.Limits(**limits)
        )

    return look


@pytest.mark.parametrize(
    ("does", "fault", "limits"),
    [
        ("bytearray(1 << 30)", "too_many_pixels", {}),
        ("bytearray(300 << 20)", "too_many_pixels", {"memory_bytes": 250 << 20}),
        ("while True: pass", "not_an_image", {"cpu_s": 1, "patience_s": 30.0}),
        ("raise ValueError", "not_an_image", {}),
        ("raise OSError('image file is truncated')", "not_an_image", {}),
    ],
    ids=["memory", "less memory", "processor", "refused", "truncated"],
)
def test_what_uses_up_what_a_decoder_may_take_is_no_photo(
    decoder: Callable[..., pictures.Picture], does: str, fault: str, limits: dict[str, Any]
) -> None:
    """F65: the limits are the kernel's, and what meets one is rejected like what a decoder refuses."""
    assert decoder(does, **limits).fault == fault


@pytest.mark.parametrize(
    ("does", "limits"),
    [
        ("time.sleep(60)", {"patience_s": 1.0}),
        ("os.kill(os.getpid(), signal.SIGKILL)", {}),
        ("os.kill(os.getpid(), signal.SIGTERM)", {}),
        ("raise OSError(28, 'No space left on device')", {}),
        ("", {"begins": "raise ImportError"}),
        ("", {"begins": "raise MemoryError"}),
    ],
    ids=["slow machine", "killed", "ended", "full disk", "missing", "no memory to begin"],
)
def test_a_decoder_that_is_kept_from_its_work_says_nothing_of_the_picture(
    decoder: Callable[..., pictures.Picture], does: str, limits: dict[str, Any]
) -> None:
    """What is wrong here rejects nobody's photo: the job is taken again."""
    with pytest.raises(RuntimeError):
        decoder(does or "pass", **limits)


def test_a_real_decoder_meets_its_memory_limit_and_the_same_picture_is_sealed_with_more(
    tmp_path: Path,
) -> None:
    from PIL import Image

    file = tmp_path / "large.png"
    Image.new("RGB", (4800, 4800)).save(file)
    look = lambda megabytes: pictures.look(
        file, tmp_path / "preview", most_pixels=30_000_000,
        limits=pictures.Limits(memory_bytes=megabytes << 20),
    )  # fmt: skip
    assert look(768) == pictures.Picture(4800, 4800)
    assert look(100).fault == "too_many_pixels"


# --- The store and the spool


@pytest.mark.parametrize("make", [Folder, lambda _: Memory()], ids=["folder", "memory"])
def test_a_store_keeps_what_it_is_given_under_its_town_and_digest(tmp_path: Path, make: Any) -> None:
    data = b"x" * 600_000
    digest = hashlib.sha256(data).digest()
    (tmp_path / "given").write_bytes(data)
    store, here, elsewhere = make(tmp_path / "store"), new_id(), new_id()
    with pytest.raises(Gone):
        store.read(here, digest)
    for town_id in (here, here, elsewhere):
        store.keep(town_id, digest, tmp_path / "given")
    (tmp_path / "given").unlink()
    assert b"".join(store.read(here, digest)) == data
    assert store.free_bytes() > 0
    store.drop(here, digest)
    store.drop(here, digest)
    with pytest.raises(Gone):
        store.read(here, digest)
    assert b"".join(store.read(elsewhere, digest)) == data, "what one town throws away, another still has"


def test_a_file_of_the_store_lies_under_its_digest_and_is_read_by_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "given").write_bytes(b"x")
    store, town_id, digest = Folder(tmp_path / "store"), new_id(), hashlib.sha256(b"x").digest()
    store.keep(town_id, digest, tmp_path / "given")
    path = store.path(town_id, digest)
    assert path.relative_to(tmp_path / "store" / "objects").as_posix() == (
        f"{town_id}/{digest.hex()[:2]}/{digest.hex()[2:4]}/{digest.hex()}"
    )
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o077) == (0o600, 0)
    assert [one.name for one in path.parent.iterdir()] == [digest.hex()]


def test_an_upload_is_open_once_and_its_hash_goes_on_also_in_another_process(tmp_path: Path) -> None:
    spool, upload_id = Spool(tmp_path), new_id()
    with pytest.raises(Gone), spool.opened(upload_id):
        pass
    spool.make(upload_id)
    with spool.opened(upload_id) as part:
        part.add(b"first ")
        part.sync()
        with pytest.raises(Locked), spool.opened(upload_id):
            pass
    other = Spool(tmp_path)
    with other.opened(upload_id) as part:
        assert part.offset == 6
        part.add(b"second")
    for one in (spool, other):  # One has read it from the beginning, the other has its hash in memory.
        with one.opened(upload_id) as part:
            assert part.sha256.hexdigest() == hashlib.sha256(b"first second").hexdigest()
    spool.make(upload_id)
    with spool.opened(upload_id) as part:
        assert part.offset == 12, "what has begun is not begun again"


def no_room(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_is_full_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, upload_id = Spool(tmp_path), new_id()
    spool.make(upload_id)
    with spool.opened(upload_id) as part:
        part.add(b"there")
        with monkeypatch.context() as patched, pytest.raises(Full):
            patched.setattr("backend.adapters.storage.os.pwrite", no_room)
            part.add(b"more")
        assert part.offset == 5
        part.add(b" and more")
    assert spool.path(upload_id).read_bytes() == b"there and more"


def test_what_is_hashed_beside_its_writing_has_the_hash_of_what_is_there_also_when_a_disk_was_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, upload_id = Spool(tmp_path), new_id()
    spool.make(upload_id)
    pieces = [memoryview(bytes([number]) * 300_000) for number in range(8)]
    with spool.opened(upload_id) as part:
        with part.adding() as add:
            for piece in pieces[:5]:
                add(piece)
        with monkeypatch.context() as patched, pytest.raises(Full), part.adding() as add:
            add(pieces[5])
            patched.setattr("backend.adapters.storage.os.pwrite", no_room)
            add(pieces[6])
        with part.adding() as add:
            add(pieces[7])
        part.sync()
        there = b"".join([*pieces[:6], pieces[7]])
        assert (part.offset, part.sha256.digest()) == (len(there), hashlib.sha256(there).digest())
    assert spool.path(upload_id).read_bytes() == there


def test_a_checked_part_for_which_there_is_no_room_is_not_there_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, upload_id = Spool(tmp_path), new_id()
    spool.make(upload_id)
    data = bytes(range(256)) * 4096
    with spool.opened(upload_id) as part, closing(spool.chunk()) as chunk:
        part.add(b"there")
        chunk.add(data[:600_000])
        chunk.add(data[600_000:])
        with monkeypatch.context() as patched, pytest.raises(Full):
            patched.setattr("backend.adapters.storage.os.fsync", no_room)
            part.add_checked(chunk)
        assert (part.offset, spool.path(upload_id).read_bytes()) == (5, b"there")
        part.add_checked(chunk)
        assert part.sha256.digest() == hashlib.sha256(b"there" + data).digest()
    assert spool.path(upload_id).read_bytes() == b"there" + data


@pytest.mark.parametrize(
    ("lacks", "act"),
    [
        ("os.open", lambda store, spool, given: spool.make(new_id())),
        ("tempfile.TemporaryFile", lambda store, spool, given: spool.chunk()),
        ("tempfile.mkstemp", lambda store, spool, given: store.keep(new_id(), bytes(32), given)),
        ("os.fsync", lambda store, spool, given: store.keep(new_id(), bytes(32), given)),
    ],
    ids=["spool", "chunk", "store", "sync"],
)
def test_a_disk_that_is_full_is_called_so_wherever_it_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str, act: Any
) -> None:
    """507 and no 500; what else goes wrong with a disk is no matter of room."""
    given = tmp_path / "given"
    given.write_bytes(b"x")
    store, spool = Folder(tmp_path), Spool(tmp_path)
    with monkeypatch.context() as patched, pytest.raises(Full):
        patched.setattr(f"backend.adapters.storage.{lacks}", no_room)
        act(store, spool, given)

    def broken(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="Input/output"):
        patched.setattr(f"backend.adapters.storage.{lacks}", broken)
        act(store, spool, given)
