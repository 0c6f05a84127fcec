"""Tags that sign: NTAG 424 DNA with a secure dynamic message in their address (NXP AN12196).

Each time it is read the tag writes another address: ``picc_data``, its number and how often it was read, encrypted, and
``cmac``, a code over both that only a tag with the key can make. A copy of the address is worth nothing once a later
one was seen; a copy of the tag is not to be had.

Two keys of 16 bytes are written into each tag (``xungeng tag keys``). The one that encrypts is the same for the whole
installation, because the number is not known before it is decrypted; the one that signs is each tag's own.
"""

import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 16
UID_BYTES = 7
UID_AND_COUNTER = 0xC7
"""The first byte of what is decrypted: number and counter are there, and the number has seven bytes."""
SESSION = bytes.fromhex("3cc300010080")
"""What AN12196 (table 2) puts before number and counter to derive the key of one reading."""


@dataclass(frozen=True)
class Keys:
    """The two keys of a tag."""

    encrypts: bytes
    signs: bytes


@dataclass(frozen=True)
class Reading:
    """What a tag has proven: its number (hexadecimal, upper case), and that it was read so many times."""

    uid: str
    counter: int


def keys_of(secret: bytes, uid: str) -> Keys:
    """Return the keys to be written into the tag with this number, derived from the installation's secret."""
    return Keys(_derived(secret, b"tag picc"), _derived(secret, b"tag file " + bytes.fromhex(uid)))


def read(secret: bytes, picc_data: str, cmac: str) -> Reading | None:
    """Return what a tag says of itself, or None where no tag of this installation has signed it."""
    encrypted = bytes.fromhex(picc_data)
    decryptor = Cipher(algorithms.AES(_derived(secret, b"tag picc")), modes.CBC(bytes(16))).decryptor()
    plain = decryptor.update(encrypted) + decryptor.finalize()
    if plain[0] != UID_AND_COUNTER:
        return None
    uid, counter = plain[1 : 1 + UID_BYTES], plain[1 + UID_BYTES : 4 + UID_BYTES]
    signs = keys_of(secret, uid.hex()).signs
    if not hmac.compare_digest(signature(signs, uid, counter), bytes.fromhex(cmac)):
        return None
    return Reading(uid.hex().upper(), int.from_bytes(counter, "little"))


def signature(signs: bytes, uid: bytes, counter: bytes) -> bytes:
    """Return the eight bytes with which a tag signs one reading; ``counter`` is three bytes, the lowest first."""
    return _cmac(_cmac(signs, SESSION + uid + counter), b"")[1::2]


def _cmac(key: bytes, message: bytes) -> bytes:
    made = CMAC(algorithms.AES(key))
    made.update(message)
    return made.finalize()


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=b"xungeng " + purpose).derive(secret)
