"""How people cheat: each forgery as what the server would receive of it. Nothing here knows how it is found."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from random import Random

from bench.rounds.receiving import Phone, Reading
from bench.rounds.walking import NOISE, Place

NUMBERS = NOISE["forgeries"]


def replayed(day: list[Reading], by_s: float, random: Random) -> list[Reading]:
    """An earlier day's track sent as today's: as it was, or by a player that answers at its own times in between."""
    shift_s = by_s + random.uniform(*NUMBERS["replay_pause_s"])
    if random.random() >= NUMBERS["replays_resampled"]:
        return [_again(r, r.at + shift_s) for r in day]
    played: list[Reading] = []
    every_s = random.choice([1.0, 3.0, 4.0, 7.0])
    at = day[0].at
    for a, b in pairwise(day):
        while at < b.at:
            if b.at - a.at < 60.0:
                share = (at - a.at) / (b.at - a.at)
                lon, lat = a.lon + share * (b.lon - a.lon), a.lat + share * (b.lat - a.lat)
                played.append(
                    Reading(round(at + shift_s, 3), round(lon, 7), round(lat, 7), a.accuracy_m, a.speed_mps)
                )
            at += every_s
    return played


def _again(r: Reading, at: float) -> Reading:
    return Reading(round(at, 3), r.lon, r.lat, r.accuracy_m, r.speed_mps)


def mocked(
    beat: list[Place], phone: Phone, start_s: float, random: Random
) -> list[tuple[Place, float, list[Reading]]]:
    """Stays at checkpoints that an app makes up, which the platform marks; and when a copied code is read at each."""
    stays = []
    at = start_s
    for place in random.choices(beat, k=NUMBERS["mocked_visits"]):
        until = at + random.uniform(*NUMBERS["mocked_s"])
        told, t = [], at
        while t < until:
            off = random.uniform(0, 2 * math.pi)
            told.append(
                Reading(
                    round(t, 3), round(place.lon + 2e-5 * math.cos(off), 7), round(place.lat + 2e-5 * math.sin(off), 7),
                    5.0, 0.0 if phone.tells_speed else None, mock=True,
                )
            )  # fmt: skip
            t += phone.every_s
        stays.append((place, (at + until) / 2, told))
        at = until + random.uniform(60, 300)
    return stays


def copied_codes(
    day: list[Reading], places: list[Place], where: Callable[[float], tuple[float, float]], random: Random
) -> list[tuple[Place, float, list[Reading]]]:
    """Codes read from photographs: the place, the time, and what the phone says of its own place around then.

    `where(at)` answers where he truly is, in metres; some switch their phone's positions off meanwhile.
    """
    read: list[tuple[Place, float, list[Reading]]] = []
    while len(read) < NUMBERS["copied_codes"]:
        place, at = random.choice(places), random.uniform(day[0].at + 600, day[-1].at - 600)
        if math.dist((place.x, place.y), where(at)) < NUMBERS["copied_from_m"]:
            continue
        silent = random.random() < NUMBERS["copied_silently"]
        around = [] if silent else [r for r in day if abs(r.at - at) <= 300]
        read.append((place, at, around))
    return read


def wrong_clock(random: Random) -> float:
    """How many seconds a clock is ahead that was set wrong on purpose."""
    return random.choice([-1, 1]) * random.uniform(*NUMBERS["clock_off_s"])
