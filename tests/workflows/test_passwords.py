"""What a password costs to guess: the hash that is served, which other tests make cheap for themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest
from argon2 import Parameters, Type, extract_parameters

from backend.adapters import passwords
from backend.core.errors import Invalid

MINIMUM = Parameters(
    type=Type.ID, version=19, salt_len=16, hash_len=32, time_cost=3, memory_cost=65_536, parallelism=4
)
"""RFC 9106, section 4: the second recommended option, for where 2 GiB for each hash are too much."""


def _served(expression: str) -> Parameters:
    """The parameters of a hash as a process of its own makes it, whatever was patched in this one."""
    program = f"from backend.adapters import passwords; print({expression})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return extract_parameters(done.stdout.strip())


def test_a_password_is_served_with_the_recommended_cost() -> None:
    """F52: argon2id with 64 MiB and three passes at least (docs/decisions/0010)."""
    made = _served("passwords.hash_password('correct horse battery staple')")
    assert made.type is MINIMUM.type
    assert made.version >= MINIMUM.version
    for name in ("salt_len", "hash_len", "time_cost", "memory_cost"):
        assert getattr(made, name) >= getattr(MINIMUM, name), name


def test_what_stands_in_for_an_unknown_account_costs_the_same() -> None:
    """F52: its verification is real work with the served parameters, and never says yes."""
    assert _served("passwords.decoy()") == _served("passwords.hash_password('x')")
    assert not passwords.matches(None, "nobody has this password")


def test_a_password_of_one_account_is_not_equal_to_anothers_in_the_table() -> None:
    first, second = (passwords.hash_password("correct horse battery staple") for _ in range(2))
    assert first != second
    assert passwords.matches(first, "correct horse battery staple")
    assert not passwords.matches(first, "correct horse battery stable")


@pytest.mark.parametrize("weak", ["short", "password123", "1234567890", "chief.chief.chief", "x" * 129])
def test_a_weak_password_is_refused(weak: str) -> None:
    with pytest.raises(Invalid) as refused:
        passwords.check_strength(weak, "chief", "The Chief")
    assert refused.value.code == "weak_password"
