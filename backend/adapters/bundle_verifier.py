#!/usr/bin/env python3
"""Verify a bundle of evidence that was given out by Xungeng: python3 verify.py BUNDLE.zip [PUBLIC_KEY ...]

This file needs Python 3.9 or newer and nothing else: no network, no library, nothing of Xungeng. It lies in every
bundle as verify.py; take it from elsewhere where you do not trust the bundle (it is the same in each). PUBLIC_KEY is
64 hexadecimal digits, as the town has told you by another way than with the bundle. Without it everything is verified
except whose bundle it is.

It answers the first thing that is wrong. Exit code: 0 all holds; 1 something is wrong; 2 it cannot be read as a
bundle; 3 all holds, and no key was given, so that anybody may have made it.

What is verified, in this order:
 1. what lies in the archive: known names, once each, whole, and nothing else;
 2. the signature (Ed25519, RFC 8032) over manifest.json;
 3. length and SHA-256 of every file that the manifest names;
 4. for each piece of evidence its custody log: every entry's hash covers the entry and the hash of the one before it,
    the first follows 32 zero bytes, one says that the file was sealed with the SHA-256 that it has, and no entry is
    missing up to the one that gave it out;
 5. the end of the log is a leaf of a Merkle tree (RFC 6962, 2.1) whose root stands in a signed head. Heads are signed
    each minute and kept outside the town's database, so that nobody can write a log anew afterwards.

一个不依赖网络、不依赖巡更系统的证据包校验程序：python3 verify.py 证据包.zip [公钥 …]
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

FORMAT = "xungeng-evidence/1"
ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
PLAIN = ("manifest.json", "manifest.sig", "heads.json", "report.pdf", "verify.py", "README.txt")
NAMES = re.compile(rf"files/{ID}\.[a-z0-9]{{1,5}}|custody/{ID}\.json")
MOST_MEMBERS = 20_000
MOST_TOLD_BYTES = 64 * 1024 * 1024
"""No document of a bundle is longer; evidence itself may be."""
READ_BYTES = 1024 * 1024
NOTHING_BEFORE = "00" * 32


class Wrong(Exception):
    """The first thing that is wrong with a bundle."""


class NoBundle(Exception):
    """It is no bundle, or one of a newer format."""


# --- Ed25519 (RFC 8032, 5.1), verifying alone


P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
Point = tuple[int, int, int, int]


def _decode(encoded: bytes) -> Point | None:
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    x_squared = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x_squared, (P + 3) // 8, P)
    if (x * x - x_squared) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - x_squared) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def _plus(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(n: int, p: Point) -> Point:
    total: Point = (0, 1, 1, 0)
    while n:
        if n & 1:
            total = _plus(total, p)
        p, n = _plus(p, p), n >> 1
    return total


def _same(p: Point, q: Point) -> bool:
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


_base = _decode((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
assert _base is not None
BASE: Point = _base


def is_signed(public: bytes, signature: bytes, said: bytes) -> bool:
    """Say whether a signature (64 bytes) is that of a public key (32 bytes) over some bytes."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key, commitment = _decode(public), _decode(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or s >= ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + said).digest(), "little") % ORDER
    return _same(_times(s, BASE), _plus(commitment, _times(k, key)))


# --- The archive


class Bundle:
    """An archive whose members have known names, once each, none of them packed so that it grows without bound."""

    def __init__(self, path: str) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise NoBundle(f"it is no ZIP archive: {error}") from error
        self.names: dict[str, zipfile.ZipInfo] = {}
        members = self._zip.infolist()
        if len(members) > MOST_MEMBERS:
            raise Wrong("it has more members than any bundle")
        for member in members:
            # The library cuts a name at a NUL, and another program may not.
            name = member.orig_filename
            if name not in PLAIN and not NAMES.fullmatch(name):
                raise Wrong(f"{name!a} is no name that a bundle has")
            if name in self.names:
                raise Wrong(f"{name} is there twice")
            if member.flag_bits & 1:
                raise Wrong(f"{name} is encrypted")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise Wrong(f"{name} is packed in a way that bundles are not")
            if name.startswith("files/") and member.compress_type != zipfile.ZIP_STORED:
                raise Wrong(f"{name} is packed, and evidence never is")
            self.names[name] = member

    def close(self) -> None:
        """Close the archive."""
        self._zip.close()

    def read(self, name: str) -> bytes:
        """Return a document of the bundle."""
        if name not in self.names:
            raise Wrong(f"{name} is missing")
        if self.names[name].file_size > MOST_TOLD_BYTES:
            raise Wrong(f"{name} is longer than any document of a bundle")
        return b"".join(self.parts(name, MOST_TOLD_BYTES))

    def digest(self, name: str, length: int) -> tuple[str, int]:
        """Return SHA-256 and length of a member; of one that is longer than ``length``, of as much as shows it."""
        sha256, found = hashlib.sha256(), 0
        for part in self.parts(name, length):
            sha256.update(part)
            found += len(part)
        return sha256.hexdigest(), found

    def parts(self, name: str, most: int) -> Any:
        """Yield what is in a member, and a little more than ``most`` bytes of it at most."""
        found = 0
        try:
            with self._zip.open(self.names[name]) as member:
                while found <= most:
                    part = member.read(READ_BYTES)
                    if not part:
                        return
                    found += len(part)
                    yield part
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise Wrong(f"{name} cannot be read: {error}") from error


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _json(said: bytes, name: str) -> Any:
    try:
        return json.loads(said.decode("utf-8"), object_pairs_hook=_no_doubles)
    except (ValueError, RecursionError) as error:
        raise Wrong(f"{name} cannot be read: {error}") from error


def canonical(value: Any) -> bytes:
    """Return the bytes that are hashed and signed: JSON with sorted names and without spaces, in UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _hex(value: Any, length: int, what: str) -> bytes:
    if not isinstance(value, str) or not re.fullmatch(f"[0-9a-f]{{{2 * length}}}", value):
        raise Wrong(f"{what} is no {length} bytes in hexadecimal")
    return bytes.fromhex(value)


def _get(value: Any, name: str, kind: type, where: str) -> Any:
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, kind) or isinstance(found, bool):
        raise Wrong(f"{where} says no {name}")
    return found


# --- What has to hold


def verify(path: str, keys: Sequence[bytes] = ()) -> dict[str, Any]:
    """Verify a bundle and return its manifest.

    Raises:
        Wrong: with the first thing that is wrong. NoBundle: it is no bundle.
    """
    bundle = Bundle(path)
    try:
        return _verify(bundle, keys)
    except (UnicodeEncodeError, RecursionError) as error:
        raise Wrong(f"something in it is no text that was ever hashed: {error}") from error
    finally:
        bundle.close()


def _verify(bundle: Bundle, keys: Sequence[bytes]) -> dict[str, Any]:
    manifest, believed = _manifest(bundle, keys)
    _files(bundle, _get(manifest, "files", list, "manifest.json"))
    heads = _heads(_json(bundle.read("heads.json"), "heads.json"), manifest, believed)
    items = _get(manifest, "items", list, "manifest.json")
    if not items:
        raise Wrong("the bundle has no evidence in it")
    seen: dict[str, bool] = {}
    for item in items:
        evidence_id = _get(item, "id", str, "an item of the manifest")
        if evidence_id in seen:
            raise Wrong(f"item {evidence_id!a} is there twice")
        seen[evidence_id] = True
        _item(bundle, manifest, item, heads)
    named = {name for item in items for name in (item["file"], item["custody"])} | set(PLAIN)
    for name in bundle.names:
        if name not in named:
            raise Wrong(f"{name} belongs to no item")
    return manifest


def _manifest(bundle: Bundle, keys: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    said = bundle.read("manifest.json")
    manifest = _json(said, "manifest.json")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise NoBundle(f"its format is not {FORMAT}")
    if canonical(manifest) != said:
        raise Wrong("manifest.json is not written as it is signed")
    key = _hex(manifest.get("key"), 32, "the key of manifest.json")
    if keys and key not in keys:
        raise Wrong(f"the bundle is signed by another key: {key.hex()}")
    signature = _hex(bundle.read("manifest.sig").decode("ascii", "replace").strip(), 64, "manifest.sig")
    if not is_signed(key, signature, said):
        raise Wrong("manifest.json is not what was signed")
    named = [_hex(one, 32, "a key of manifest.json") for one in _get(manifest, "keys", list, "manifest.json")]
    return manifest, [one for one in [key, *named] if not keys or one in keys]


def _files(bundle: Bundle, files: list[Any]) -> None:
    listed: dict[str, bool] = {"manifest.json": True, "manifest.sig": True}
    for one in files:
        name = _get(one, "path", str, "a file of the manifest")
        length = _get(one, "length", int, name)
        if name in listed:
            raise Wrong(f"{name!a} is listed twice")
        listed[name] = True
        if name not in bundle.names:
            raise Wrong(f"{name!a} is missing")
        sha256, found = bundle.digest(name, length)
        if found != length:
            raise Wrong(f"{name} does not have the length that was signed")
        if sha256 != one.get("sha256"):
            raise Wrong(f"{name} is not what was signed")
    for name in bundle.names:
        if name not in listed:
            raise Wrong(f"{name} is not in the manifest")


def _heads(heads: Any, manifest: dict[str, Any], believed: Sequence[bytes]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    if not isinstance(heads, list):
        raise Wrong("heads.json is no list")
    for head in heads:
        n = _get(head, "n", int, "a head")
        if n in found:
            raise Wrong(f"head {n} is there twice")
        said = {name: value for name, value in head.items() if name != "signature"}
        key = _hex(head.get("key"), 32, f"the key of head {n}")
        if head.get("town") != _get(manifest, "town", dict, "manifest.json").get("id"):
            raise Wrong(f"head {n} is another town's")
        if key not in believed:
            raise Wrong(f"head {n} is signed by another key: {key.hex()}")
        if not is_signed(key, _hex(head.get("signature"), 64, f"the signature of head {n}"), canonical(said)):
            raise Wrong(f"head {n} is not what was signed")
        found[n] = head
    return found


def _item(bundle: Bundle, manifest: dict[str, Any], item: Any, heads: dict[int, dict[str, Any]]) -> None:
    evidence_id = item["id"]
    where = f"item {evidence_id}"
    file, custody = _get(item, "file", str, where), _get(item, "custody", str, where)
    sha256 = _get(item, "sha256", str, where)
    if (
        not re.fullmatch(rf"files/{re.escape(evidence_id)}\.[a-z0-9]{{1,5}}", file)
        or file not in bundle.names
    ):
        raise Wrong(f"the file of {where} is missing")
    if custody != f"custody/{evidence_id}.json":
        raise Wrong(f"the custody log of {where} is missing")
    # Two entries of the manifest say what the file is; both have to say the same.
    told = [one for one in manifest["files"] if one["path"] == file]
    if [one.get("sha256") for one in told] != [sha256] or item.get("length") != told[0].get("length"):
        raise Wrong(f"the file of {where} is not the one that was sealed")
    log = _json(bundle.read(custody), custody)
    entries = _get(log, "entries", list, custody)
    _chain(evidence_id, entries)
    created, officer = entries[0], _get(item, "officer", dict, where)
    if (created.get("action"), created.get("actor_id")) != ("created", officer.get("id")):
        raise Wrong(f"the custody log of {where} names another officer")
    if created["digests"].get("captured_at") != item.get("captured_at"):
        raise Wrong(f"the custody log of {where} names another moment")
    sealed = [one["digests"].get("sha256") for one in entries if one.get("action") == "sealed"]
    if sealed != [sha256]:
        raise Wrong(f"the custody log of {where} does not say that this file was sealed")
    given_out = [one["digests"].get("export") for one in entries if one.get("action") == "shared"]
    if _get(manifest, "export", str, "manifest.json") not in given_out:
        raise Wrong(f"the custody log of {where} does not say that this bundle was given out")
    _is_under(evidence_id, entries, _get(log, "proof", dict, custody), heads)


def _chain(evidence_id: str, entries: list[Any]) -> None:
    previous = NOTHING_BEFORE
    for place, entry in enumerate(entries, 1):
        where = f"entry {place} of the custody log of item {evidence_id}"
        digests = _get(entry, "digests", dict, where)
        said = {name: entry.get(name) for name in ("evidence_id", "seq", "at", "actor_id", "action")}
        said["digests"] = digests
        extra = set(entry) - set(said) - {"previous_hash", "entry_hash"}
        if said["seq"] != place or said["evidence_id"] != evidence_id or extra:
            raise Wrong(f"{where} is another one")
        if entry.get("previous_hash") != previous:
            raise Wrong(f"{where} does not follow the one before it")
        expected = hashlib.sha256(previous.encode("ascii") + b"\n" + canonical(said)).hexdigest()
        if entry.get("entry_hash") != expected:
            raise Wrong(f"{where} is not what was hashed")
        previous = expected
    if not entries:
        raise Wrong(f"the custody log of item {evidence_id} is empty")


def _is_under(
    evidence_id: str, entries: list[Any], proof: dict[str, Any], heads: dict[int, dict[str, Any]]
) -> None:
    where = f"the proof of item {evidence_id}"
    n, index = _get(proof, "n", int, where), _get(proof, "index", int, where)
    if n not in heads:
        raise Wrong(f"{where} is about a head that is missing")
    leaf = (
        bytes.fromhex(evidence_id.replace("-", ""))
        + len(entries).to_bytes(4, "big")
        + bytes.fromhex(entries[-1]["entry_hash"])
    )
    path = [_hex(one, 32, f"a step of {where}") for one in _get(proof, "path", list, where)]
    root = root_over(leaf, index, _get(heads[n], "items", int, f"head {n}"), path)
    if root is None or root.hex() != heads[n].get("root"):
        raise Wrong(f"{where} does not lead to the head that was signed")


def root_over(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root that a leaf at ``index`` of ``size`` has by its path (RFC 9162, 2.1.3.2), or None."""
    if not 0 <= index < size:
        return None
    first, last = index, size - 1
    node = hashlib.sha256(b"\x00" + leaf).digest()
    for step in path:
        if last == 0:
            return None
        if first & 1 or first == last:
            node = hashlib.sha256(b"\x01" + step + node).digest()
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\x01" + node + step).digest()
        first, last = first >> 1, last >> 1
    return node if last == 0 else None


def main(arguments: Sequence[str]) -> int:
    """Verify as the command line says, and say what was found."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print((__doc__ or "").strip())
        return 2
    try:
        keys = [bytes.fromhex(one) for one in arguments[1:]]
    except ValueError:
        keys = [b""]
    if any(len(key) != 32 for key in keys):
        print("UNREADABLE  a public key is 64 hexadecimal digits")
        return 2
    try:
        manifest = verify(arguments[0], keys)
    except NoBundle as error:
        print(f"UNREADABLE  {error}")
        return 2
    except Wrong as error:
        print(f"WRONG  {error}")
        return 1
    print(f"export  {manifest['export']}")
    print(
        f"items   {len(manifest['items'])}, each as it was sealed, its whole custody log under a signed head"
    )
    print(f"key     {manifest['key']}")
    if not keys:
        print("HOLDS, but no key was given: compare this one with what the town has told you by another way")
        return 3
    print("HOLDS")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
