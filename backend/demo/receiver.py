"""What a phone's receiver makes of the place where its officer is: noise, gaps, a battery that runs down, mishaps.

Everything is drawn from one random stream in a fixed order, so a phone with the same seed has the same day.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from backend.demo.town import METRES_PER_DEGREE_LAT, METRES_PER_DEGREE_LON
from backend.demo.walks import CAR, Walk

NOISE_M = {"street": 3.4, "homes": 6.5, "indoors": 17.0}
"""Standard deviation of the error on each axis: open street, between blocks of flats, behind walls."""
NOISE_LASTS_S = 45.0
"""Errors of satellite positioning wander rather than jump; this is the time in which one forgets the last."""
_GRAIN_M = 0.5


@dataclass(slots=True)
class Measurement:
    """One position as a phone knows it. ``None`` is what the phone cannot tell."""

    at: float
    """Seconds since 1970 by the phone's clock, to the millisecond."""
    lon: float
    lat: float
    accuracy_m: float
    altitude_m: float
    speed_mps: float
    heading_deg: float | None
    battery_pct: float
    charging: bool
    walked_m: float
    mock: bool = False


@dataclass(frozen=True, slots=True)
class Mishaps:
    """How often things go wrong on a phone: per hour of duty, or per measurement where it says so."""

    tunnels_per_h: float = 1.2
    outages_per_h: float = 1.0
    mocks_per_fix: float = 0.0006
    jumps_per_fix: float = 0.0006
    resends_per_delivery: float = 0.01
    disorders_per_fix: float = 0.01

    def scaled(self, factor: float) -> Mishaps:
        """The same, ``factor`` times as often; 0 is a phone to which nothing ever happens."""
        return Mishaps(
            self.tunnels_per_h * factor,
            self.outages_per_h * factor,
            self.mocks_per_fix * factor,
            self.jumps_per_fix * factor,
            min(0.5, self.resends_per_delivery * factor),
            min(0.5, self.disorders_per_fix * factor),
        )


class Receiver:
    """Measures the truth of a walk with a phone's errors."""

    def __init__(self, random: Random, mishaps: Mishaps) -> None:
        self._random = random
        self._mishaps = mishaps
        self._east = random.gauss(0, 3)
        self._north = random.gauss(0, 3)
        self._height = random.gauss(0, 2)
        self.battery_pct = random.uniform(62, 100)
        self._drain_per_s = random.uniform(6.0, 11.5) / 3600
        self.charging = False
        self._blind_s = 0.0
        self._quality = random.uniform(0.8, 1.35)

    def measure(self, walk: Walk, at: float, seconds: float) -> Measurement | None:
        """Return what the receiver says after ``seconds`` have passed, or None while it sees no sky."""
        random = self._random
        self._live(walk, seconds)
        if self._blind_s > 0:
            self._blind_s -= seconds
            if self._blind_s > 0:
                return None
        elif random.random() < self._mishaps.tunnels_per_h * seconds / 3600:
            self._blind_s = random.uniform(35, 220)
            return None
        sigma = NOISE_M[walk.surroundings] * self._quality
        keeps = math.exp(-seconds / NOISE_LASTS_S)
        fresh = sigma * math.sqrt(1 - keeps * keeps)
        self._east = self._east * keeps + random.gauss(0, fresh)
        self._north = self._north * keeps + random.gauss(0, fresh)
        self._height = self._height * keeps + random.gauss(0, 1.6 * fresh)
        lon, lat = walk.place
        east = self._east + random.gauss(0, _GRAIN_M)
        north = self._north + random.gauss(0, _GRAIN_M)
        # What phones report is the radius of 68 %; for two equal axes that is 1.51 standard deviations.
        accuracy = max(2.0, sigma * 1.51 * random.lognormvariate(0, 0.18))
        speed = walk.speed_mps
        measured_speed = max(0.0, speed + random.gauss(0, 0.12 + 0.03 * speed)) if speed else 0.0
        heading = None
        if speed and walk.heading_deg is not None:
            heading = round((walk.heading_deg + random.gauss(0, 6)) % 360, 1) % 360
        mock = False
        chance = random.random()
        if chance < self._mishaps.mocks_per_fix:
            mock = True
            east, north = random.uniform(-3000, 3000), random.uniform(-3000, 3000)
        elif chance < self._mishaps.mocks_per_fix + self._mishaps.jumps_per_fix:
            angle, far = random.uniform(0, 2 * math.pi), random.uniform(1500, 4000)
            east, north = far * math.cos(angle), far * math.sin(angle)
        return Measurement(
            at=round(at, 3),
            lon=round(lon + east / METRES_PER_DEGREE_LON, 7),
            lat=round(lat + north / METRES_PER_DEGREE_LAT, 7),
            accuracy_m=round(accuracy, 1),
            altitude_m=round(4.2 + self._height, 1),
            speed_mps=round(measured_speed, 2),
            heading_deg=heading,
            battery_pct=round(self.battery_pct, 1),
            charging=self.charging,
            walked_m=round(walk.walked_m, 1),
            mock=mock,
        )

    def _live(self, walk: Walk, seconds: float) -> None:
        """The battery: it runs down; in a car, or from a power bank when it is nearly empty, it fills again."""
        if self.charging:
            self.battery_pct = min(100.0, self.battery_pct + 38 / 3600 * seconds)
            if self.battery_pct >= 96 and walk.travel != CAR:
                self.charging = False
        else:
            self.battery_pct = max(1.0, self.battery_pct - self._drain_per_s * seconds)
            if self.battery_pct < 17 or (walk.travel == CAR and self.battery_pct < 70):
                self.charging = True
