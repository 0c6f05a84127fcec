"""Credentials tried by the thousand from hundreds of addresses: what gets through, and who is shut out by it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import time_machine
from werkzeug.test import Client

from backend.app import create_app
from tests.api.conftest import Caller, World
from tests.factories import PASSWORD

LOGIN = "/api/v1/auth/login"
OWN_DEVICE = "the-device-key-of-the-owners-phone"


def test_ten_thousand_guesses_from_five_hundred_addresses_are_bounded_and_shut_no_owner_out(
    world: World, thin: Callable[[int, int], int]
) -> None:
    """F52: through a proxy's header; at most 60 guesses an hour are looked at for an account, and 120 for an address.

    Owners on devices that they have used before sign in all the while: lock-outs 0. Right passwords among the guesses
    are no help once the bound is reached, so what was stolen elsewhere opens few accounts.
    """
    attempts, addresses, accounts = thin(10_000, 640), thin(500, 40), thin(50, 4)
    owners = [world.officer() for _ in range(accounts)]
    for owner in owners:
        Caller(world.app).sign_in(owner, device_key=OWN_DEVICE)
    app = create_app(replace(world.config, trusted_hops=1))
    rng = random.Random(52)
    tries = [(n % accounts, rng.randrange(addresses)) for n in range(attempts)]
    looked_at: Counter[int] = Counter()
    by_address: Counter[int] = Counter()
    told: Counter[int] = Counter()

    def guess(one: tuple[int, int]) -> tuple[int, int, int]:
        account, address = one
        status = (
            Client(app.wsgi_app)
            .post(
                LOGIN,
                json={"login": owners[account].login, "password": f"guess {rng.random()}"},
                headers={"X-Forwarded-For": f"198.18.{address // 250}.{address % 250}"},
            )
            .status_code
        )
        return account, address, status

    # One clock hour, whatever the time is: the windows begin with it.
    hour = datetime.now(UTC).replace(minute=1, second=0, microsecond=0)
    with time_machine.travel(hour, tick=True), ThreadPoolExecutor(4) as pool:
        for account, address, status in pool.map(guess, tries):
            told[status] += 1
            looked_at[account] += status == 401
            by_address[address] += status == 401
        locked_out = 0
        for owner in owners:
            answer = Caller(app, "198.51.100.7").post(
                LOGIN, {"login": owner.login, "password": PASSWORD, "device_key": OWN_DEVICE}
            )
            locked_out += answer.status_code != 200
        late = Caller(app, "198.51.100.8").post(LOGIN, {"login": owners[0].login, "password": PASSWORD})
    print(
        f"F52 of {attempts} guesses at {accounts} accounts from {addresses} addresses {sum(looked_at.values())} were"
        f" looked at in an hour, {max(looked_at.values())} at most for one account; owners locked out: {locked_out}"
    )
    assert set(told) == {401, 429}
    assert sum(told.values()) == attempts
    assert max(looked_at.values()) <= 60
    assert max(by_address.values()) <= 120
    assert locked_out == 0
    assert late.status_code == 429
