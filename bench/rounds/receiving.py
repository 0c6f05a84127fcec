"""What a receiver makes of a true way: fixes with the errors that ``noise.toml`` describes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from backend.demo.town import lonlat
from bench.rounds.walking import NOISE, SURROUNDINGS, Course, Floats


@dataclass(frozen=True, slots=True)
class Phone:
    """How often a phone measures, and whether it tells its speed."""

    every_s: float
    tells_speed: bool


@dataclass(slots=True)
class Reading:
    """One measurement: seconds of the week by the phone's clock."""

    at: float
    lon: float
    lat: float
    accuracy_m: float
    speed_mps: float | None
    mock: bool = False


def phone_of(random: Random) -> Phone:
    """A phone as it comes."""
    choices = NOISE["intervals"]["choices"]
    choice = random.choices(choices, [c["share"] for c in choices])[0]
    return Phone(random.uniform(*choice["s"]), random.random() >= NOISE["speed"]["never_told"])


def readings(path: Course, phone: Phone, seed: str) -> list[Reading]:
    """What the phone measures along a way."""
    rng = np.random.default_rng(np.frombuffer(seed.encode().ljust(32), dtype=np.uint32))
    at = np.arange(path.at[0], path.at[-1], phone.every_s) + rng.uniform(0, phone.every_s)
    at = at[at < path.at[-1]]
    at = at[_heard(at, rng)]
    if len(at) < 2:
        return []
    knot = np.clip(np.searchsorted(path.at, at, side="right") - 1, 0, len(path.at) - 1)
    around = path.surroundings[knot]
    x, y = np.interp(at, path.at, path.x), np.interp(at, path.at, path.y)
    following = np.minimum(knot + 1, len(path.at) - 1)
    takes = np.maximum(path.at[following] - path.at[knot], 1e-9)
    speed = np.hypot(path.x[following] - path.x[knot], path.y[following] - path.y[knot]) / takes

    errors, accuracy, doppler = NOISE["errors"], NOISE["accuracy"], NOISE["speed"]
    sigma = np.array([errors[f"{name}_m"] for name in SURROUNDINGS])[around]
    off_x, off_y = _multipath(at, around, rng)
    x = (
        x
        + sigma * _wander(at, errors["forgotten_s"], rng)
        + off_x
        + rng.normal(0, errors["grain_m"], len(at))
    )
    y = (
        y
        + sigma * _wander(at, errors["forgotten_s"], rng)
        + off_y
        + rng.normal(0, errors["grain_m"], len(at))
    )
    known = np.hypot(sigma * accuracy["per_sigma"], NOISE["multipath"]["known"] * np.hypot(off_x, off_y))
    said = known * np.exp(accuracy["lies_sigma"] * _wander(at, accuracy["lies_s"], rng))
    said = np.maximum(accuracy["least_m"], said)
    _outliers(x, y, said, rng)
    noise = np.array([doppler[f"{name}_mps"] for name in SURROUNDINGS])[around]
    speed = np.abs(speed + rng.normal(0, 1, len(at)) * noise)
    told = []
    for t, px, py, a, v in zip(
        at.tolist(), x.tolist(), y.tolist(), said.tolist(), speed.tolist(), strict=True
    ):
        lon, lat = lonlat(px, py)
        told.append(Reading(round(t, 3), lon, lat, round(a, 1), round(v, 2) if phone.tells_speed else None))
    return told


def _wander(at: Floats, forgotten_s: float, rng: np.random.Generator) -> Floats:
    """Noise of variance one that forgets itself in time (Ornstein-Uhlenbeck)."""
    keep = np.exp(-np.diff(at) / forgotten_s)
    fresh = np.sqrt(1 - keep * keep) * rng.normal(0, 1, len(keep))
    value = float(rng.normal())
    values = [value]
    for k, f in zip(keep.tolist(), fresh.tolist(), strict=True):
        value = k * value + f
        values.append(value)
    return np.array(values)


def _heard(at: Floats, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Which measurements there are: not those in a dropout."""
    numbers = NOISE["dropouts"]
    heard = np.ones(len(at), dtype=np.bool_)
    hours = (at[-1] - at[0]) / 3600
    for kind in ("short", "long"):
        for _ in range(rng.poisson(numbers[f"{kind}_per_hour"] * hours)):
            since = rng.uniform(at[0], at[-1])
            heard &= ~((at >= since) & (at < since + rng.uniform(*numbers[f"{kind}_s"])))
    return heard


def _multipath(at: Floats, around: npt.NDArray[np.int64], rng: np.random.Generator) -> tuple[Floats, Floats]:
    numbers = NOISE["multipath"]
    x, y = np.zeros(len(at)), np.zeros(len(at))
    rates = np.array([numbers["per_hour"][name] for name in SURROUNDINGS])
    most = rates.max()
    for _ in range(rng.poisson(most * (at[-1] - at[0]) / 3600)):
        since, lasts = rng.uniform(at[0], at[-1]), rng.uniform(*numbers["lasts_s"])
        here = around[min(int(np.searchsorted(at, since)), len(at) - 1)]
        if rng.uniform() * most >= rates[here]:
            continue
        turn, off_m = rng.uniform(0, 2 * math.pi), rng.uniform(*numbers["off_m"])
        shape = np.clip(np.minimum(at - since, since + lasts - at) / numbers["fades_s"], 0, 1)
        x += off_m * math.cos(turn) * shape
        y += off_m * math.sin(turn) * shape
    return x, y


def _outliers(x: Floats, y: Floats, said: Floats, rng: np.random.Generator) -> None:
    numbers = NOISE["outliers"]
    for i in np.flatnonzero(rng.uniform(size=len(x)) < numbers["per_fix"]).tolist():
        turn, off_m = rng.uniform(0, 2 * math.pi), rng.uniform(*numbers["off_m"])
        some = slice(i, i + int(rng.integers(numbers["fixes"][0], numbers["fixes"][1] + 1)))
        x[some] += off_m * math.cos(turn)
        y[some] += off_m * math.sin(turn)
        if rng.uniform() < numbers["admitted"]:
            said[some] = np.maximum(said[some], off_m * 0.7)
