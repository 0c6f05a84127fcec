"""Tags that sign: what NXP's own example says, and what nobody without the key can say."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from tests.rounds import tapped
from workflows import tags

SECRET = b"\x05" * 32
UID = "04DE5F1EACC040"


def test_the_signature_is_that_of_the_makers_example() -> None:
    """AN12196, 3.4: keys of zeros, UID 04DE5F1EACC040, counter 61."""
    zeros = bytes(16)
    decryptor = Cipher(algorithms.AES(zeros), modes.CBC(zeros)).decryptor()
    plain = decryptor.update(bytes.fromhex("EF963FF7828658A599F3041510671E88")) + decryptor.finalize()
    assert plain[:11].hex().upper() == f"C7{UID}3D0000"
    assert tags.signature(zeros, plain[1:8], plain[8:11]).hex().upper() == "94EED9EE65337086"


@given(counter=st.integers(0, 2**24 - 1), padding=st.binary(min_size=5, max_size=5))
def test_a_tag_of_this_installation_is_known_with_its_counter(counter: int, padding: bytes) -> None:
    picc_data, cmac = tapped(SECRET, UID, counter, padding)
    assert tags.read(SECRET, picc_data, cmac) == tags.Reading(UID, counter)
    assert tags.read(b"\x06" * 32, picc_data, cmac) is None


@given(at=st.integers(0, 23), by=st.integers(1, 255))
def test_whoever_changes_a_byte_of_what_a_tag_says_is_not_believed(at: int, by: int) -> None:
    picc_data, cmac = tapped(SECRET, UID, 7)
    said = bytearray(bytes.fromhex(picc_data + cmac))
    said[at] ^= by
    # Five bytes of the first part are chance, and signed by nobody: changed alone they change another block.
    changed = tags.read(SECRET, said[:16].hex(), said[16:].hex())
    assert changed is None or changed == tags.Reading(UID, 7)
    if at >= 16:
        assert changed is None


@pytest.mark.parametrize("other", ["04DE5F1EACC041", "04000000000000"])
def test_each_tag_signs_with_a_key_of_its_own(other: str) -> None:
    assert tags.keys_of(SECRET, UID).signs != tags.keys_of(SECRET, other).signs
    assert tags.keys_of(SECRET, UID).encrypts == tags.keys_of(SECRET, other).encrypts
