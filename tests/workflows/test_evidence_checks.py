"""Evidence that is read again: what is altered or gone is found, given out to nobody, and said."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from pathlib import Path
from typing import IO, Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import NullPool, create_engine

from backend import worker
from backend.adapters.storage import Folder
from backend.core.config import Config
from backend.core.errors import Conflict, Gone
from backend.core.ids import new_id
from backend.core.uow import unit_of_work
from backend.models import Evidence
from tests import factories, photos
from tests.dispatching import on_shift
from tests.factories import Town
from workflows import custody, evidence, evidence_checks

ROOM = evidence.Room(1 << 24, 1 << 40, 1 << 40)


@pytest.fixture
def town(live_engine: Any, live_config: Config) -> Town:
    owner = create_engine(live_config.owner_url, poolclass=NullPool)
    made = factories.make_town(owner, "checks")
    owner.dispose()
    with unit_of_work(made.id) as uow:
        on_shift(uow, made, made["officer_a"])
    worker.use(live_config)
    return made


def kept(town: Town, config: Config, tmp_path: Path, seed: int) -> tuple[UUID, list[Path]]:
    """A sealed photo, and where its files lie: the original and the preview."""
    data = photos.photo(seed=seed)
    digest = hashlib.sha256(data).digest()
    store = Folder(config.evidence_dir)
    with unit_of_work(town.id) as uow:
        declared = evidence.Declared(new_id(), digest, uow.now, len(data), "")
        photo_id = evidence.begin(uow, town["officer_a"].actor(), declared, ROOM).id
    file = tmp_path / str(photo_id)
    file.write_bytes(data)
    store.keep(town.id, digest, file)
    with unit_of_work(town.id) as uow:
        evidence.arrived(uow, photo_id, sha256=digest, length=len(data), media_type="image/jpeg")
    worker.examine(config, town.id, photo_id, store)
    with unit_of_work(town.id) as uow:
        found = uow.session.get_one(Evidence, photo_id)
        assert found.preview_sha256 is not None
        return photo_id, [store.path(town.id, digest), store.path(town.id, found.preview_sha256)]


class Given(Folder):
    """A store that has what it is given, whatever the names say."""

    def __init__(self, files: dict[bytes, bytes]) -> None:
        self.files = files

    def copy_to(self, town_id: UUID, digest: bytes, file: IO[bytes]) -> None:
        if digest not in self.files:
            raise Gone()
        file.write(self.files[digest])


def checked(town: Town, config: Config) -> dict[UUID, str | None]:
    with unit_of_work(town.id) as uow:
        later = uow.now + timedelta(seconds=1)
    return {
        one.id: damage
        for one, damage in worker.check_town(town.id, Folder(config.evidence_dir), before=later)
    }


def test_a_flipped_bit_and_a_missing_file_are_found_and_nothing_of_them_is_given_out(
    town: Town,
    live_config: Config,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """F32: of the original or the preview; what is whole again is given out again, and the custody log says both."""
    whole, altered, missing, of_preview = (kept(town, live_config, tmp_path, seed) for seed in range(4))
    before = altered[1][0].read_bytes()
    for path in (altered[1][0], of_preview[1][1]):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        os.chmod(path, 0o600)
        path.write_bytes(data)
    missing[1][0].unlink()
    worker.check_evidence(0)
    said = capsys.readouterr().out + caplog.text
    for photo_id, damage in ((altered[0], "altered"), (missing[0], "missing"), (of_preview[0], "altered")):
        assert str(photo_id) in said
        with unit_of_work(town.id) as uow:
            for look in (evidence.original, evidence.preview):
                with pytest.raises(Conflict) as refused:
                    look(uow, town["officer_a"].actor(), photo_id, own=True)
                assert refused.value.code == "evidence_damaged"
            entries = custody.of(uow, photo_id)
            assert (entries[-1].action, entries[-1].digests) == ("damaged", {"damage": damage, "v": 2})
            assert custody.first_wrong(entries) is None
    assert str(whole[0]) not in said
    with unit_of_work(town.id) as uow:
        evidence.original(uow, town["officer_a"].actor(), whole[0], own=True)
        assert {one.id for one in evidence_checks.damaged(uow)} == {altered[0], missing[0], of_preview[0]}
    worker.check_evidence(0)
    assert "is damaged" not in capsys.readouterr().out, "what was read a moment ago is not read again"
    altered[1][0].write_bytes(before)
    found = checked(town, live_config)
    assert found == {whole[0]: None, altered[0]: None, missing[0]: "missing", of_preview[0]: "altered"}
    with unit_of_work(town.id) as uow:
        evidence.original(uow, town["officer_a"].actor(), altered[0], own=True)
        assert [one.action for one in custody.of(uow, altered[0])][-2:] == ["restored", "viewed"]
        assert [one.action for one in custody.of(uow, missing[0])].count("damaged") == 1, "it is news once"


@settings(max_examples=20)
@given(data=st.binary(min_size=1, max_size=4000), bit=st.integers(0), cut=st.booleans())
def test_any_bit_and_any_cut_is_seen(data: bytes, bit: int, cut: bool) -> None:
    """F32: undetected 0."""
    changed = bytearray(data)
    if cut:
        changed = changed[: bit % len(data)]
    else:
        changed[bit // 8 % len(data)] ^= 1 << bit % 8
    store = Given({hashlib.sha256(data).digest(): bytes(changed)})
    piece = evidence_checks.Kept(new_id(), new_id(), (hashlib.sha256(data).digest(),), len(data))
    assert evidence_checks.look(store, piece) == "altered"
    assert evidence_checks.look(Given({hashlib.sha256(data).digest(): data}), piece) is None
    assert evidence_checks.look(Given({}), piece) == "missing"
