"""Evidence given out: who may, what stands in the logs, and a bundle that is verified without anything of ours."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from pypdfium2 import PdfDocument
from sqlalchemy import text

from backend import worker
from backend.adapters import bundle_report, bundle_verifier, seals
from backend.adapters.bundle_verifier import NoBundle, Wrong, canonical, root_over, verify
from backend.core.uow import unit_of_work
from tests.api.conftest import Caller, World
from tests.api.test_uploads import Beat, brought, sealed
from tests.photos import photo
from workflows import custody, custody_heads, evidence_exports

EXPORTS = "/api/v1/desk/evidence-exports"
WHY = {"reason": "派出所调取，案件侦办", "case_number": "沪公(2026)1201"}


@pytest.fixture(scope="module")
def _worker_of(world: World) -> None:
    worker.use(world.config)


@pytest.fixture
def duty(world: World, signed_in: Any, _worker_of: None) -> Beat:
    return Beat(world, signed_in)


@pytest.fixture
def supervisor(signed_in: Any) -> Caller:
    return signed_in("supervisor")  # type: ignore[no-any-return]


def sign(world: World) -> None:
    """What the clock of each minute does, for the town of these tests."""
    with unit_of_work(world.here.id) as uow:
        custody_heads.make(uow, seals.Signer(world.config.custody_key))


def export(world: World, supervisor: Caller, *ids: UUID) -> dict[str, Any]:
    """A bundle that was asked for and is ready."""
    asked = supervisor.post(EXPORTS, {"evidence_ids": [str(one) for one in ids], **WHY})
    assert asked.status_code == 201, asked.text
    assert asked.json["ready_at"] is None
    sign(world)
    worker.export_evidence(0)
    ready: dict[str, Any] = supervisor.get(f"{EXPORTS}/{asked.json['id']}").json
    return ready


def bundle(world: World, supervisor: Caller, *ids: UUID) -> bytes:
    ready = export(world, supervisor, *ids)
    answer = supervisor.get(f"{EXPORTS}/{ready['id']}/bundle")
    assert answer.status_code == 200, answer.text
    assert hashlib.sha256(answer.data).hexdigest() == ready["sha256"]
    return bytes(answer.data)


def acts(world: World, item: UUID) -> list[str]:
    with world.owner.connect() as connection:
        query = text("select action from custody where evidence_id = :id order by seq")
        return list(connection.scalars(query, {"id": item}))


@pytest.fixture(scope="module")
def given_out(
    world: World, _worker_of: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, bytes, list[UUID]]:
    """A bundle of three pieces, the town's public key, and which pieces they are."""

    def sign_in(who: Any) -> Caller:
        return Caller(world.app).sign_in(world.here[who] if isinstance(who, str) else who)

    from backend.core import db

    before, db._engine = db._engine, world.engine
    try:
        duty, supervisor = Beat(world, sign_in), sign_in("supervisor")
        items = [sealed(world, duty.phone) for _ in range(3)]
        sign(world)
        path = tmp_path_factory.mktemp("bundle") / "bundle.zip"
        path.write_bytes(bundle(world, supervisor, *items))
    finally:
        db._engine = before
    return path, seals.Signer(world.config.custody_key).public, items


# --- Asked for and taken


def test_a_supervisor_gives_evidence_out_and_every_step_stands_in_its_log(
    world: World, duty: Beat, supervisor: Caller, signed_in: Any
) -> None:
    item = sealed(world, duty.phone)
    asked = supervisor.post(EXPORTS, {"evidence_ids": [str(item)], **WHY})
    assert asked.status_code == 201, asked.text
    assert acts(world, item)[-1] == "shared"
    waiting = supervisor.get(f"{EXPORTS}/{asked.json['id']}/bundle")
    assert (waiting.status_code, waiting.json["current"]) == (409, "making")
    worker.export_evidence(0)
    assert supervisor.get(f"{EXPORTS}/{asked.json['id']}").json["ready_at"] is None, "no head is about it yet"
    sign(world)
    worker.export_evidence(0)
    ready = supervisor.get(f"{EXPORTS}/{asked.json['id']}").json
    assert (ready["packed"], ready["fault"], ready["case_number"]) == (
        ready["length"],
        None,
        WHY["case_number"],
    )
    taken = supervisor.get(f"{EXPORTS}/{ready['id']}/bundle")
    assert taken.headers["Content-Length"] == str(ready["bundle_length"]) == str(len(taken.data))
    assert acts(world, item)[-1] == "downloaded"
    # The auditor knows of it and does not get it; nobody else knows of it.
    auditor = signed_in("auditor")
    assert ready["id"] in [one["id"] for one in auditor.get(EXPORTS).json["items"]]
    assert auditor.get(f"{EXPORTS}/{ready['id']}/bundle").status_code == 403
    assert signed_in("desk_a").get(f"{EXPORTS}/{ready['id']}").status_code == 403
    # Its time is over after a week.
    with world.owner.begin() as connection:
        week_ago = datetime.now(UTC) - timedelta(days=8)
        connection.execute(
            text("update evidence_exports set ready_at = :at where id = :id"),
            {"at": week_ago, "id": ready["id"]},
        )
    worker.export_evidence(0)
    assert supervisor.get(f"{EXPORTS}/{ready['id']}/bundle").status_code == 410
    assert not world.config.bundle(world.here.id, UUID(ready["id"])).exists()


def test_what_is_not_sealed_not_ones_own_to_share_or_damaged_is_not_given_out(
    world: World, duty: Beat, supervisor: Caller, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    item, raw = sealed(world, duty.phone), brought(duty.phone, photo(seed=uuid4().int))

    def refused(caller: Caller, *ids: UUID, **more: Any) -> tuple[int, str]:
        answer = caller.post(EXPORTS, {"evidence_ids": [str(one) for one in ids], **WHY, **more})
        return answer.status_code, answer.json["code"]

    assert refused(supervisor, item, raw) == (409, "wrong_state")
    assert refused(supervisor, item, uuid4())[0] == 404
    assert refused(supervisor, item, item)[0] == 422
    assert refused(supervisor)[0] == 422
    assert refused(supervisor, item, reason="")[0] == 422
    assert refused(signed_in("desk_a"), item)[0] == 403
    monkeypatch.setattr(evidence_exports, "MOST_KEPT_BYTES", 1)
    assert refused(supervisor, item) == (507, "storage_full")
    monkeypatch.undo()
    assert acts(world, item)[-1] != "shared", "a refusal leaves nothing behind"
    with world.owner.begin() as connection:
        damage = text("update evidence set damaged_at = now(), damage = 'altered' where id = :id")
        connection.execute(damage, {"id": item})
    assert refused(supervisor, item) == (409, "evidence_damaged")


def test_a_file_that_is_not_what_was_sealed_makes_no_bundle(
    world: World, duty: Beat, supervisor: Caller
) -> None:
    """F32: it is found while it is packed as well."""
    item = sealed(world, duty.phone)
    with unit_of_work(world.here.id) as uow:
        digest = uow.session.scalar(text("select sha256 from evidence where id = :id"), {"id": item})
    file = world.app.extensions["xungeng.store"].path(world.here.id, bytes(digest))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    failed = export(world, supervisor, item)
    assert (failed["ready_at"], failed["fault"]) == (None, "evidence_damaged")
    assert supervisor.get(f"{EXPORTS}/{failed['id']}/bundle").status_code == 409
    assert [path.name for path in world.config.exports_dir.glob(f"*/{failed['id']}*")] == []


BEHIND_THE_TRIGGERS = {
    "another officer": "update evidence set officer_id = :other where id = :id",
    "another day": "update evidence set captured_at = captured_at - interval '40 days' where id = :id",
    "another file": "update evidence e set sha256 = o.sha256, declared_sha256 = o.declared_sha256, length = o.length,"
    " preview_sha256 = o.preview_sha256 from evidence o where e.id = :id and o.id = :twin",
    "another picture": "update evidence e set preview_sha256 = o.preview_sha256 from evidence o"
    " where e.id = :id and o.id = :twin",
}


@pytest.mark.parametrize("what", BEHIND_THE_TRIGGERS)
def test_a_row_that_contradicts_its_chain_is_named_and_nothing_of_it_is_given_out(
    world: World, duty: Beat, supervisor: Caller, what: str
) -> None:
    """F33: whoever owns the database changes what is shown and not the log of it."""
    item, twin = sealed(world, duty.phone), sealed(world, duty.phone)
    sign(world)
    with world.owner.begin() as connection:
        connection.execute(text("set local session_replication_role = replica"))
        ids = {"id": item, "twin": twin, "other": world.here["officer_b"].id}
        connection.execute(text(BEHIND_THE_TRIGGERS[what]), ids)
    for path in ("content", "preview"):
        answer = duty.phone.get(f"/api/v1/officer/evidence/{item}/{path}")
        # Whose it is not any more, sees nothing of it at all.
        wanted = (404, "not_found") if what == "another officer" else (409, "evidence_damaged")
        assert (answer.status_code, answer.json["code"]) == wanted
    refused = supervisor.post(EXPORTS, {"evidence_ids": [str(item)], **WHY})
    assert (refused.status_code, refused.json["code"]) == (409, "evidence_damaged")
    with unit_of_work(world.here.id) as uow:
        heads = [custody_heads.line(head) for head in custody_heads.after(uow, 0)]
        key = seals.Signer(world.config.custody_key).public
        found = list(custody_heads.verify(uow, heads, seals.is_signed, keys=[key]))
        nightly = {one.evidence_id for one in custody.verify(uow, since=uow.now - timedelta(days=1))}
    assert {one.what for one in found if one.evidence_id == item} == {
        "the item says something else than its chain"
    }
    assert item in nightly
    assert twin not in nightly | {one.evidence_id for one in found}


def test_an_auditor_of_one_area_knows_of_no_bundle_from_another(
    world: World, duty: Beat, supervisor: Caller, signed_in: Any
) -> None:
    item = sealed(world, duty.phone)
    ready = export(world, supervisor, item)
    auditor = signed_in("auditor")
    assert auditor.get(f"{EXPORTS}/{ready['id']}").status_code == 200
    with world.owner.begin() as connection:
        move = text("update memberships set area_id = :area where user_id = :id")
        connection.execute(move, {"area": world.here.areas["b"], "id": world.here["auditor"].id})
    try:
        assert auditor.get(f"{EXPORTS}/{ready['id']}").status_code == 404
        assert ready["id"] not in [one["id"] for one in auditor.get(EXPORTS).json["items"]]
    finally:
        with world.owner.begin() as connection:
            connection.execute(move, {"area": world.here.areas["town"], "id": world.here["auditor"].id})


# --- Verified by an outsider


def alone(path: Path, *keys: bytes) -> subprocess.CompletedProcess[str]:
    """The verifier that lies in the bundle, run with nothing but Python's own library and no network or project."""
    script = path.with_name("verify.py")
    with zipfile.ZipFile(path) as archive:
        script.write_bytes(archive.read("verify.py"))
    return subprocess.run(
        [sys.executable, "-I", "-S", str(script), str(path), *(key.hex() for key in keys)],
        cwd=path.parent, env={"PATH": ""}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_an_outsider_verifies_a_bundle_with_python_and_the_public_key_alone(
    given_out: tuple[Path, bytes, list[UUID]],
) -> None:
    """F37: no network, no application code; whose it is only a key from elsewhere tells."""
    path, key, items = given_out
    holds = alone(path, key)
    assert (holds.returncode, holds.stderr) == (0, ""), holds
    assert "HOLDS" in holds.stdout
    assert alone(path).returncode == 3, "without a key anybody may have made it"
    other = alone(path, bytes(32))
    assert (other.returncode, "another key" in other.stdout) == (1, True)
    with zipfile.ZipFile(path) as archive:
        assert archive.read("report.pdf").startswith(b"%PDF-")
        manifest = json.loads(archive.read("manifest.json"))
    assert {one["id"] for one in manifest["items"]} == {str(one) for one in items}
    assert manifest["reason"] == WHY["reason"]


def test_the_page_for_people_is_one_page_however_much_is_in_the_bundle(
    given_out: tuple[Path, bytes, list[UUID]],
) -> None:
    path, _, _ = given_out
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    manifest["items"] = [manifest["items"][0] | {"officer": {"name": "欧阳娜娜<b>" * 2}}] * 100
    manifest["reason"] = "派出所调取" * 40
    assert len(PdfDocument(bundle_report.render(manifest))) == 1


Members = dict[str, bytes]


def flipped(data: bytes, chance: Random) -> bytes:
    """One bit of it is another."""
    changed = bytearray(data)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def a_bit_of_a_file(members: Members, chance: Random) -> None:
    name = chance.choice(sorted(members))
    members[name] = flipped(members[name], chance)


def a_line_of_the_manifest(members: Members, chance: Random) -> None:
    manifest = json.loads(members["manifest.json"])
    item = chance.choice(manifest["items"])
    name = chance.choice([name for name in item if name not in ("file", "custody", "duration_s")])
    item[name] = "another"
    members["manifest.json"] = canonical(manifest)


def a_file_and_the_manifest(members: Members, chance: Random) -> None:
    """A file altered, with the manifest made to fit; only the signature and the log still say what it was."""
    manifest = json.loads(members["manifest.json"])
    item = chance.choice(manifest["items"])
    members[item["file"]] = flipped(members[item["file"]], chance)
    item["sha256"] = hashlib.sha256(members[item["file"]]).hexdigest()
    for one in manifest["files"]:
        if one["path"] == item["file"]:
            one["sha256"] = item["sha256"]
    members["manifest.json"] = canonical(manifest)


def an_entry(members: Members, chance: Random) -> None:
    name = chance.choice([name for name in members if name.startswith("custody/")])
    log = json.loads(members[name])
    entry = chance.choice(log["entries"])
    entry[chance.choice(["at", "actor_id", "action"])] = "another"
    members[name] = canonical(log)


def an_entry_less(members: Members, chance: Random) -> None:
    name = chance.choice([name for name in members if name.startswith("custody/")])
    log = json.loads(members[name])
    del log["entries"][chance.randrange(len(log["entries"]))]
    members[name] = canonical(log)


def a_head(members: Members, chance: Random) -> None:
    heads = json.loads(members["heads.json"])
    head = chance.choice(heads)
    head[chance.choice(["root", "previous", "signature"])] = chance.randbytes(32).hex()
    members["heads.json"] = canonical(heads)


def a_file_less(members: Members, chance: Random) -> None:
    del members[chance.choice(sorted(members))]


def a_file_more(members: Members, chance: Random) -> None:
    members[chance.choice([f"files/{uuid4()}.jpg", f"custody/{uuid4()}.json", "../x", "notes.txt"])] = b"more"


TAMPERINGS: list[Callable[[Members, Random], None]] = [
    a_bit_of_a_file, a_line_of_the_manifest, a_file_and_the_manifest, an_entry, an_entry_less, a_head, a_file_less,
    a_file_more,
]  # fmt: skip


def packed(members: Members) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return file


def refit(members: Members) -> None:
    """Let the list of files fit what is there, and sign it by a key of one's own, as a forger would."""
    key = Ed25519PrivateKey.generate()
    manifest = json.loads(members["manifest.json"])
    manifest["key"] = key.public_key().public_bytes_raw().hex()
    manifest["files"] = [
        {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "length": len(data)}
        for name, data in sorted(members.items())
        if not name.startswith("manifest")
    ]
    members["manifest.json"] = canonical(manifest)
    members["manifest.sig"] = key.sign(members["manifest.json"]).hex().encode()


def test_nothing_of_a_bundle_is_altered_unseen(
    given_out: tuple[Path, bytes, list[UUID]], thin: Callable[[int, int], int]
) -> None:
    """F37: one item, one line of the manifest, one entry, one head, with everything else made to fit or not."""
    path, key, _ = given_out
    with zipfile.ZipFile(path) as archive:
        whole = {name: archive.read(name) for name in archive.namelist()}
    assert verify(packed(whole), [key])  # type: ignore[arg-type]
    accepted, tried, crashed = [], 0, []
    for seed in range(thin(1000, 120)):
        chance = Random(seed)
        tamper = TAMPERINGS[seed % len(TAMPERINGS)]
        members = dict(whole)
        tamper(members, chance)
        forged = (
            seed % 16 >= 8
            and {"manifest.json", "manifest.sig"} <= set(members)
            and tamper is not a_bit_of_a_file
        )
        if forged:
            try:
                refit(members)
            except ValueError:
                continue
        tried += 1
        # The forger's own key is not the town's; without one given, what the heads say still has to hold.
        keys = [key] if not forged or seed % 2 else []
        try:
            verify(packed(members), keys)  # type: ignore[arg-type]
            accepted.append((tamper.__name__, seed))
        except (Wrong, NoBundle):
            pass
        except Exception as error:
            crashed.append((tamper.__name__, seed, repr(error)))
    print(f"{tried} tampered bundles, {len(accepted)} accepted, 1 untouched, 0 refused")
    assert (accepted, crashed) == ([], [])


def test_a_hostile_archive_is_refused_and_not_unpacked(given_out: tuple[Path, bytes, list[UUID]]) -> None:
    """Bombs, names that lead elsewhere, doubles, what is packed where nothing is."""
    path, key, items = given_out
    with zipfile.ZipFile(path) as archive:
        whole = {name: archive.read(name) for name in archive.namelist()}

    def refused(change: Callable[[zipfile.ZipFile], None]) -> str:
        file = packed(whole)
        with zipfile.ZipFile(file, "a") as archive:
            change(archive)
        with pytest.raises((Wrong, NoBundle)) as error:
            verify(file, [key])  # type: ignore[arg-type]
        return str(error.value)

    assert "no name" in refused(lambda a: a.writestr("../../etc/passwd", b"x"))
    hidden = packed(whole | {"README.txt_hidden": b"x"}).getvalue().replace(b"README.txt_", b"README.txt\0")
    with pytest.raises(Wrong, match="no name"):
        verify(io.BytesIO(hidden), [key])  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="Duplicate name"):
        assert "twice" in refused(lambda a: a.writestr("manifest.json", b"x"))
    bomb = f"files/{items[0]}.png"
    assert "packed" in refused(lambda a: a.writestr(bomb, bytes(1 << 20), zipfile.ZIP_DEFLATED))
    with pytest.raises(NoBundle):
        verify(io.BytesIO(b"PK no archive"))  # type: ignore[arg-type]
    with pytest.raises(NoBundle):
        verify("/nowhere/at/all.zip")


# --- What it stands on


RFC_8032 = [  # 7.1: secret key, message
    ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", ""),
    ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "72"),
    ("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7", "af82"),
]
RFC_8032_SIGNATURES = [
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
]


@pytest.mark.parametrize(("given_key", "signature"), list(zip(RFC_8032, RFC_8032_SIGNATURES, strict=True)))
def test_signatures_of_the_rfc_are_verified(given_key: tuple[str, str], signature: str) -> None:
    secret, said = bytes.fromhex(given_key[0]), bytes.fromhex(given_key[1])
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    assert bundle_verifier.is_signed(public, bytes.fromhex(signature), said)
    assert not bundle_verifier.is_signed(public, bytes.fromhex(signature), said + b"x")


@given(st.binary(max_size=64), st.binary(min_size=32, max_size=32), st.integers(0, 511))
def test_our_verifying_agrees_with_the_librarys(said: bytes, secret: bytes, bit: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(secret)
    public, signature = key.public_key().public_bytes_raw(), bytearray(key.sign(said))
    assert bundle_verifier.is_signed(public, bytes(signature), said)
    signature[bit // 8] ^= 1 << bit % 8
    assert not bundle_verifier.is_signed(public, bytes(signature), said)
    # s + the order of the group is the same point: a second signature that nobody made (RFC 8032, 8.4).
    doubled = int.from_bytes(key.sign(said)[32:], "little") + bundle_verifier.ORDER
    assert not bundle_verifier.is_signed(public, key.sign(said)[:32] + doubled.to_bytes(32, "little"), said)


@given(st.integers(1, 40), st.data())
def test_the_path_of_a_leaf_leads_to_the_root_and_no_other_does(size: int, data: st.DataObject) -> None:
    leaves = [bytes([n]) * 52 for n in range(size)]
    index = data.draw(st.integers(0, size - 1))
    path, root = custody_heads.path_of(leaves, index), custody_heads.root_of(leaves)
    assert root_over(leaves[index], index, size, path) == root
    other = data.draw(st.integers(-1, size))
    if other != index:
        assert root_over(leaves[index], other, size, path) != root
    assert root_over(b"\x07" * 51, index, size, path) != root
    assert root_over(leaves[index], index, size, [*path, bytes(32)]) != root
    if path:
        assert root_over(leaves[index], index, size, path[:-1]) != root
