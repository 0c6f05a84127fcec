"""Signed heads: what has stood in the custody log is not taken back unseen, by its owner either."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, NullPool, create_engine, delete, select, text, update
from sqlalchemy.exc import DBAPIError

from backend import worker
from backend.adapters.seals import Outside, Signer, is_signed
from backend.core.config import Config
from backend.core.identity import system_actor
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import CustodyAct
from backend.models import Custody, CustodyHead, CustodyLeaf
from tests import factories
from tests.dispatching import on_shift
from tests.factories import Town
from workflows import access, custody, custody_heads, evidence
from workflows.custody_heads import Verified, Wrong

ROOM = evidence.Room(1 << 20, 1 << 40, 1 << 40)


@pytest.fixture
def town(live_engine: Engine, live_config: Config) -> Town:
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    made = factories.make_town(owner, "heads")
    owner.dispose()
    return made


@pytest.fixture
def owning(live_config: Config, town: Town) -> Iterator[Engine]:
    """The database as its owner has it, who can put the triggers off."""
    engine = create_engine(live_config.owner_url, poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(tmp_path / "secrets" / "custody.pem")


def announced(uow: UnitOfWork, town: Town) -> UUID:
    declared = evidence.Declared(new_id(), b"\x01" * 32, uow.now, 5, "")
    return evidence.begin(uow, town["officer_a"].actor(), declared, ROOM).id


def looked_at(uow: UnitOfWork, town: Town, item: UUID, looks: int) -> None:
    row = access.evidence(uow, system_actor(town.id), item, lock=True)
    for _ in range(looks):
        custody.write(uow, town["desk_a"].actor(), row, CustodyAct.VIEWED, sha256=b"\x01" * 32)


def wrongs(
    uow: UnitOfWork,
    signer: Signer,
    outside: list[dict[str, Any]],
    report: Callable[[Verified], None] = lambda _: None,
) -> list[Wrong]:
    uow.session.expunge_all()
    return list(custody_heads.verify(uow, outside, is_signed, keys=[signer.public], report=report))


# --- What an owner of the database does, with all hashes made to fit


def rewritten(uow: UnitOfWork, item: UUID, entries: list[dict[str, Any]]) -> None:
    """Put other entries in the place of a chain, numbered and hashed as they should be."""
    uow.session.execute(delete(Custody).where(Custody.evidence_id == item))
    previous = custody.BEGINNING
    for seq, entry in enumerate(entries, 1):
        said = {name: entry[name] for name in ("at", "actor_id", "action", "digests")}
        entry_hash = custody.hash_of(previous, evidence_id=item, seq=seq, **said)
        uow.session.add(
            Custody(
                evidence_id=item,
                seq=seq,
                town_id=uow.town,
                previous_hash=previous,
                entry_hash=entry_hash,
                # Whoever has this key as well, and not the one that signs heads.
                mac=custody.mac_of(entry_hash),
                **said,
            )
        )
        previous = entry_hash
    uow.session.flush()


def chain(uow: UnitOfWork, item: UUID) -> list[dict[str, Any]]:
    return [
        {name: getattr(one, name) for name in ("at", "actor_id", "action", "digests")}
        for one in custody.of(uow, item)
    ]


def edited(uow: UnitOfWork, item: UUID, at: int, chance: Random) -> None:
    entries = chain(uow, item)
    name, value = chance.choice(
        [
            ("action", "sealed"),
            ("actor_id", None),
            ("digests", {"sha256": "00"}),
            ("at", uow.now - timedelta(days=9)),
        ]
    )
    entries[at][name] = value
    rewritten(uow, item, entries)


def one_gone(uow: UnitOfWork, item: UUID, at: int, _: Random) -> None:
    entries = chain(uow, item)
    del entries[at]
    rewritten(uow, item, entries)


def one_more(uow: UnitOfWork, item: UUID, at: int, _: Random) -> None:
    entries = chain(uow, item)
    entries.insert(at, {**entries[at], "action": "viewed", "digests": {"sha256": "11"}})
    rewritten(uow, item, entries)


def cut(uow: UnitOfWork, item: UUID, at: int, _: Random) -> None:
    uow.session.execute(delete(Custody).where(Custody.evidence_id == item, Custody.seq > at))


def a_bit(uow: UnitOfWork, item: UUID, at: int, chance: Random) -> None:
    """One bit of a hash, and nothing made to fit."""
    entry = custody.of(uow, item)[at]
    flipped = bytearray(entry.entry_hash)
    flipped[chance.randrange(32)] ^= 1 << chance.randrange(8)
    uow.session.execute(
        update(Custody)
        .where(Custody.evidence_id == item, Custody.seq == at + 1)
        .values(entry_hash=bytes(flipped))
    )


def with_leaves(uow: UnitOfWork, item: UUID, at: int, chance: Random) -> None:
    """The leaves are made to fit as well, and the roots; only the signatures cannot be."""
    edited(uow, item, at, chance)
    now = {one.seq: one.entry_hash for one in custody.of(uow, item)}
    for leaf in uow.session.scalars(select(CustodyLeaf).where(CustodyLeaf.evidence_id == item)):
        leaf.entry_hash = now[leaf.seq]
    uow.session.flush()
    previous = custody_heads.BEGINNING
    for head in custody_heads.after(uow, 0):
        leaves = select(CustodyLeaf).where(CustodyLeaf.town_id == uow.town, CustodyLeaf.n == head.n)
        ordered = uow.session.scalars(leaves.order_by(CustodyLeaf.evidence_id))
        head.root, head.previous_hash = custody_heads.root_of(map(custody_heads.leaf_of, ordered)), previous
        previous = custody_heads.hash_of(head)
    uow.session.flush()


def an_older_database(uow: UnitOfWork, _item: UUID, at: int, chance: Random) -> None:
    """All of it as it was at an earlier head: it holds by itself."""
    last = chance.randrange(len(custody_heads.after(uow, 0)))
    ends = select(CustodyLeaf.evidence_id, CustodyLeaf.seq).where(CustodyLeaf.n <= last)
    seqs: dict[UUID, int] = {}
    for evidence_id, seq in uow.session.execute(ends):
        seqs[evidence_id] = max(seq, seqs.get(evidence_id, 0))
    for entry in uow.session.scalars(select(Custody)).all():
        if entry.seq > seqs.get(entry.evidence_id, 0):
            uow.session.delete(entry)
    uow.session.execute(delete(CustodyLeaf).where(CustodyLeaf.n > last))
    uow.session.execute(delete(CustodyHead).where(CustodyHead.n > last))
    uow.session.flush()


def at_the_end(uow: UnitOfWork, item: UUID, at: int, _: Random) -> None:
    """An entry that says it is of last week, after all that was signed."""
    entries = chain(uow, item)
    rewritten(uow, item, [*entries, {**entries[at], "action": "viewed", "at": uow.now - timedelta(days=7)}])


def another_item(uow: UnitOfWork, item: UUID, at: int, _: Random) -> None:
    """A whole chain of something that was never brought, from last week."""
    entries = [{**one, "at": uow.now - timedelta(days=7)} for one in chain(uow, item)]
    rewritten(uow, new_id(), entries)


TAMPERINGS = (
    edited, one_gone, one_more, cut, a_bit, with_leaves, an_older_database, at_the_end, another_item,
)  # fmt: skip


def test_what_is_older_than_the_last_head_is_not_changed_unseen(
    town: Town, owning: Engine, signer: Signer, thin: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """F33, F34: of 1,000 random tamperings none is missed, and of nothing else anything is said."""
    chance, outside = Random(20261201), []
    items: list[UUID] = []
    with unit_of_work(town.id) as uow:
        on_shift(uow, town, town["officer_a"])
        for _ in range(4):
            items += [announced(uow, town) for _ in range(3)]
            for item in chance.sample(items, k=len(items) // 2 + 1):
                looked_at(uow, town, item, chance.randint(1, 3))
            head = custody_heads.make(uow, signer)
            assert head is not None
            outside.append(custody_heads.line(head))
        assert custody_heads.make(uow, signer) is None, "nothing was added"
        looked_at(uow, town, items[0], 2)
    missed: list[str] = []
    windows: list[Verified] = []
    count = thin(1000, 45)
    with unit_of_work(town.id, engine=owning) as uow:
        uow.session.execute(text("set local session_replication_role = replica"))
        assert wrongs(uow, signer, outside, windows.append) == []
        for number in range(count):
            tamper, item = TAMPERINGS[number % len(TAMPERINGS)], chance.choice(items[1:])
            with uow.session.begin_nested() as attempt:
                tamper(uow, item, chance.randrange(len(custody.of(uow, item))), chance)
                if not wrongs(uow, signer, outside):
                    missed.append(f"{number}: {tamper.__name__}")
                attempt.rollback()
        assert wrongs(uow, signer, outside) == []
    [told] = windows
    with capsys.disabled():
        print(
            f"\nF33/F34: {count} tamperings, {len(missed)} missed; {told.heads} heads over {told.items} items,"
            f" {told.open_entries} entries in the window"
        )
    assert missed == []
    assert (told.open_entries, told.heads) == (2, 4)


# --- The MACs


def added(uow: UnitOfWork, item: UUID, mac: Callable[[bytes], bytes | None]) -> int:
    """Add an entry that says it is of now, with all hashes made to fit; return its place."""
    last = custody.of(uow, item)[-1]
    said: dict[str, Any] = {
        "seq": last.seq + 1,
        "at": uow.now,
        "actor_id": None,
        "action": "viewed",
        "digests": {},
    }
    entry_hash = custody.hash_of(last.entry_hash, evidence_id=item, **said)
    uow.session.add(
        Custody(
            evidence_id=item, town_id=uow.town, previous_hash=last.entry_hash, entry_hash=entry_hash,
            mac=mac(entry_hash), **said,
        )
    )  # fmt: skip
    uow.session.flush()
    return last.seq + 1


@pytest.mark.parametrize("signed", [False, True])
def test_an_entry_of_now_that_the_application_has_not_added_is_named(
    town: Town, signer: Signer, signed: bool
) -> None:
    """F33: also when the next head has signed it; what was added with the key that was used before is good."""
    with unit_of_work(town.id) as uow:
        on_shift(uow, town, town["officer_a"])
        items = [announced(uow, town) for _ in range(4)]
        custody.use([b"a newer key of the custody log", *custody._keys])
        looked_at(uow, town, items[0], 1)
        # What a process of before has still added in the hour of the upgrade is none.
        added(uow, items[0], lambda _: None)
        uow.now += 2 * custody.LONGEST
        looked_at(uow, town, items[0], 1)
        stolen = custody.of(uow, items[0])[-1].mac
        forged = {
            item: added(uow, item, mac)
            for item, mac in zip(
                items[1:],
                (lambda _: None, lambda _: stolen, lambda said: custody.mac_of(said, b"some other key")),
                strict=True,
            )
        }
        heads = [custody_heads.line(head)] if signed and (head := custody_heads.make(uow, signer)) else []
        found = {one.evidence_id: one.place for one in wrongs(uow, signer, heads)}
        assert found == forged
        nightly = {
            one.evidence_id: one.place for one in custody.verify(uow, since=uow.now - timedelta(days=1))
        }
        assert nightly == forged


def without_v(digests: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in digests.items() if name != "v"}


def test_entries_of_before_there_were_macs_are_good(town: Town, owning: Engine, signer: Signer) -> None:
    with unit_of_work(town.id) as uow:
        on_shift(uow, town, town["officer_a"])
        old = announced(uow, town)
    with unit_of_work(town.id, engine=owning) as uow:
        uow.session.execute(text("set local session_replication_role = replica"))
        no_mac = update(Custody).where(Custody.evidence_id == old).values(mac=None)
        uow.session.execute(no_mac)
        assert [(one.evidence_id, one.place) for one in wrongs(uow, signer, [])] == [(old, 1)], "taken away"
        rewritten(uow, old, [one | {"digests": without_v(one["digests"])} for one in chain(uow, old)])
        uow.session.execute(no_mac)
        assert wrongs(uow, signer, []) == []
    with unit_of_work(town.id) as uow:
        announced(uow, town)
        looked_at(uow, town, old, 1)
        assert wrongs(uow, signer, []) == []


# --- The heads


def test_a_head_is_about_what_has_grown_and_follows_the_one_before_it(town: Town, signer: Signer) -> None:
    with unit_of_work(town.id) as uow:
        assert custody_heads.make(uow, signer) is None
        on_shift(uow, town, town["officer_a"])
        first, second = announced(uow, town), announced(uow, town)
        one = custody_heads.make(uow, signer)
        looked_at(uow, town, second, 2)
        two = custody_heads.make(uow, signer)
        assert one is not None
        assert two is not None
        assert [(head.n, head.items) for head in (one, two)] == [(1, 2), (2, 1)]
        assert two.previous_hash == hashlib.sha256(custody_heads.said_of(one) + one.signature).digest()
        leaves = uow.session.execute(select(CustodyLeaf.n, CustodyLeaf.evidence_id, CustodyLeaf.seq)).all()
        assert set(leaves) == {(1, first, 1), (1, second, 1), (2, second, 3)}
        assert is_signed(signer.public, two.signature, custody_heads.said_of(two))
        assert not is_signed(signer.public, one.signature, custody_heads.said_of(two))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 13])
def test_the_root_is_that_of_rfc_6962(count: int) -> None:
    leaves = [bytes([n]) * (n + 1) for n in range(count)]

    def root(some: list[bytes]) -> bytes:
        if not some:
            return hashlib.sha256().digest()
        if len(some) == 1:
            return hashlib.sha256(b"\x00" + some[0]).digest()
        half = 1 << (len(some) - 1).bit_length() - 1
        return hashlib.sha256(b"\x01" + root(some[:half]) + root(some[half:])).digest()

    assert custody_heads.root_of(leaves) == root(leaves)


@pytest.mark.parametrize("table", ["custody_heads", "custody_leaves"])
def test_no_role_changes_or_empties_them(town: Town, owning: Engine, signer: Signer, table: str) -> None:
    """F33: by the triggers, the owner of the tables too."""
    with unit_of_work(town.id) as uow:
        on_shift(uow, town, town["officer_a"])
        announced(uow, town)
        custody_heads.make(uow, signer)
    for act in (f"update {table} set n = n + 1", f"delete from {table}", f"truncate {table} cascade"):
        with pytest.raises(DBAPIError, match="only ever added to"), owning.begin() as connection:
            connection.execute(text(act))


# --- Outside


def test_a_head_that_does_not_stand_outside_is_named_after_a_while(town: Town, signer: Signer) -> None:
    """F34: whoever empties the file as well is seen until it is written anew; a minute's delay is none."""
    with unit_of_work(town.id) as uow:
        on_shift(uow, town, town["officer_a"])
        announced(uow, town)
        custody_heads.make(uow, signer)
        assert wrongs(uow, signer, []) == []
        uow.now += custody_heads.WRITTEN_WITHIN + timedelta(seconds=1)
        assert [one.what for one in wrongs(uow, signer, [])] == ["this head does not stand outside"]


def test_the_clock_signs_and_writes_outside_and_an_end_that_a_power_cut_left_is_mended(
    town: Town,
    live_config: Config,
    owning: Engine,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """F04, F34: a head that was committed and not written is written by the next minute; an older database is named."""
    worker.use(live_config)
    with unit_of_work(town.id) as uow:
        on_shift(uow, town, town["officer_a"])
        item = announced(uow, town)
    worker.sign_custody(0)
    path = live_config.custody_heads
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with unit_of_work(town.id) as uow:
        looked_at(uow, town, item, 1)
    worker.sign_custody(0)
    worker.sign_custody(0)
    heads = [one["n"] for one in Outside(path).read() if one["town"] == str(town.id)]
    assert heads == [1, 2]
    assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0
    capsys.readouterr()
    worker.verify_custody(0)
    assert "does not hold" not in capsys.readouterr().out + caplog.text
    with owning.begin() as connection:
        connection.execute(text("set local session_replication_role = replica"))
        connection.execute(text("delete from custody_leaves where n = 2"))
        connection.execute(text("delete from custody_heads where n = 2"))
        connection.execute(text("delete from custody where seq = 2"))
    worker.verify_custody(0)
    assert "the database is older than this head" in capsys.readouterr().out + caplog.text


def test_of_several_who_make_the_key_at_once_all_have_one(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "custody.pem"
    assert Signer(path).public == Signer(path).public
    assert path.stat().st_mode & 0o777 == 0o600
