"""WGS-84, GCJ-02 and BD-09 into each other, exactly in both directions, and the identity outside China.

GCJ-02 (国测局坐标, the datum of Chinese map services and WeChat) shifts every place in mainland China by 50
to 700 metres; BD-09 (Baidu) shifts it once more. Neither has a published specification. The formulae are
the ones that became known in 2010 and are used by everybody since (googollee/eviltransform,
wandergis/coordtransform); their inverses there are approximations of one to several metres, here they are
solved by iteration.

Errors. The forward formulae agree with the libraries named to 1e-9 degrees. `convert` there and back gives
the same place within 1e-6 metres, everywhere in China that is more than a kilometre from the outline. The
services' own GCJ-02 differs from the formula by up to about a metre, which nobody can remove.

The edge. Outside China all three datums are the same, so at the outline a shifted datum jumps by the size
of the shift, and a strip of that width just outside is the image of two places. There a shifted coordinate
is read as lying inside: inside, every place survives the way there and back, outside, all but those of the
strip do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely

Floats = npt.NDArray[np.float64]

DATUMS: Final = frozenset({"wgs84", "gcj02", "bd09"})

_KRASSOVSKY_A_M = 6_378_245.0
_KRASSOVSKY_E2 = 0.00669342162296594323
_BD_WAVE = math.pi * 3000.0 / 180.0
_BD_EAST_DEG = 0.0065
_BD_NORTH_DEG = 0.006

_ROUNDS = 8
"""Each round shrinks the error of an inverse about 40-fold or more: from 0.012 degrees down to rounding
noise."""


def convert(lon: float, lat: float, source: str, target: str) -> tuple[float, float]:
    """Turn one place from the source datum into the target datum.

    Degrees in, degrees out, longitude first. A place outside mainland China comes back as it is, and so does
    what is no place at all (NaN). Raises ValueError for a datum that is not in DATUMS.
    """
    _check(source, target)
    if source == target or not (_WEST <= lon <= _EAST and _SOUTH <= lat <= _NORTH):
        return lon, lat
    wgs, out = _solve(lon, lat, source, target, math)
    return out if in_china(*wgs) else (lon, lat)


def convert_many(lons: npt.ArrayLike, lats: npt.ArrayLike, source: str, target: str) -> tuple[Floats, Floats]:
    """Turn many places at once: two arrays of degrees of one shape in, two new arrays of that shape out.

    Each place is treated as by `convert`. Raises ValueError for an unknown datum or for unequal shapes.
    """
    _check(source, target)
    lon = np.array(lons, dtype=np.float64)
    lat = np.array(lats, dtype=np.float64)
    if lon.shape != lat.shape:
        raise ValueError(f"{lon.size} longitudes, but {lat.size} latitudes.")
    if source == target:
        return lon, lat
    near = (lon >= _WEST) & (lon <= _EAST) & (lat >= _SOUTH) & (lat <= _NORTH)
    if near.any():
        wgs, out = _solve(lon[near], lat[near], source, target, np)
        inside = in_china_many(*wgs)
        near[near] = inside
        lon[near], lat[near] = out[0][inside], out[1][inside]
    return lon, lat


def in_china(lon: float, lat: float) -> bool:
    """Whether a WGS-84 place lies where Chinese datums are shifted: inside OUTLINE."""
    return bool(shapely.contains_xy(_OUTLINE, lon, lat))


def in_china_many(lons: npt.ArrayLike, lats: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """`in_china` for arrays of WGS-84 degrees of one shape; an array of that shape."""
    return np.asarray(shapely.contains_xy(_OUTLINE, lons, lats), dtype=np.bool_)


def _check(source: str, target: str) -> None:
    for datum in (source, target):
        if datum not in DATUMS:
            raise ValueError(f"Unknown datum {datum!r}: it is one of wgs84, gcj02, bd09.")


def _solve(lon: Any, lat: Any, source: str, target: str, m: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """The place in WGS-84 and in the target datum, taking it to lie in China; `m` is math or numpy."""
    if source == "wgs84":
        wgs = lon, lat
        gcj = _gcj_from_wgs(lon, lat, m)
    else:
        gcj = (lon, lat) if source == "gcj02" else _undo(_bd_from_gcj, lon, lat, m)
        wgs = _undo(_gcj_from_wgs, *gcj, m)
    if target == "wgs84":
        return wgs, wgs
    return wgs, gcj if target == "gcj02" else _bd_from_gcj(*gcj, m)


def _undo(forward: Callable[[Any, Any, Any], tuple[Any, Any]], lon: Any, lat: Any, m: Any) -> tuple[Any, Any]:
    """Where `forward` leads to (lon, lat) from: a fixed-point iteration, since a shift changes slowly."""
    from_lon, from_lat = lon, lat
    for _ in range(_ROUNDS):
        to_lon, to_lat = forward(from_lon, from_lat, m)
        from_lon = from_lon + (lon - to_lon)
        from_lat = from_lat + (lat - to_lat)
    return from_lon, from_lat


def _gcj_from_wgs(lon: Any, lat: Any, m: Any) -> tuple[Any, Any]:
    x, y = lon - 105.0, lat - 35.0
    sin, pi, root = m.sin, math.pi, m.sqrt(m.fabs(x))
    ripple = 20.0 * sin(6.0 * pi * x) + 20.0 * sin(2.0 * pi * x)
    north_m = (
        -100.0
        + 2.0 * x
        + 3.0 * y
        + 0.2 * y * y
        + 0.1 * x * y
        + 0.2 * root
        + (ripple + 20.0 * sin(pi * y) + 40.0 * sin(pi / 3.0 * y)) * 2.0 / 3.0
        + (160.0 * sin(pi / 12.0 * y) + 320.0 * sin(pi / 30.0 * y)) * 2.0 / 3.0
    )
    east_m = (
        300.0
        + x
        + 2.0 * y
        + 0.1 * x * x
        + 0.1 * x * y
        + 0.1 * root
        + (ripple + 20.0 * sin(pi * x) + 40.0 * sin(pi / 3.0 * x)) * 2.0 / 3.0
        + (150.0 * sin(pi / 12.0 * x) + 300.0 * sin(pi / 30.0 * x)) * 2.0 / 3.0
    )
    phi = lat * (pi / 180.0)
    bulge = 1.0 - _KRASSOVSKY_E2 * sin(phi) ** 2
    meridian_m = _KRASSOVSKY_A_M * (1.0 - _KRASSOVSKY_E2) / (bulge * m.sqrt(bulge))
    parallel_m = _KRASSOVSKY_A_M / m.sqrt(bulge) * m.cos(phi)
    return lon + east_m / parallel_m * (180.0 / pi), lat + north_m / meridian_m * (180.0 / pi)


def _bd_from_gcj(lon: Any, lat: Any, m: Any) -> tuple[Any, Any]:
    radius = m.sqrt(lon * lon + lat * lat) + 0.00002 * m.sin(lat * _BD_WAVE)
    angle = m.atan2(lat, lon) + 0.000003 * m.cos(lon * _BD_WAVE)
    return radius * m.cos(angle) + _BD_EAST_DEG, radius * m.sin(angle) + _BD_NORTH_DEG


OUTLINE: Final[tuple[tuple[float, float], ...]] = (
    # The land border from the Yalu's mouth westwards: North Korea, Russia.
    (124.2, 39.7), (124.4, 40.1), (126.0, 40.9), (126.9, 41.75), (128.1, 41.4), (128.1, 42.0),
    (129.7, 42.4), (130.6, 42.4), (131.1, 42.9), (131.3, 44.1), (131.0, 44.9), (133.1, 45.1),
    (134.7, 48.3), (132.5, 47.7), (131.0, 47.7), (130.7, 48.9), (127.6, 49.8), (126.9, 51.3), (125.6, 53.1),
    (123.5, 53.55), (120.9, 53.3), (120.7, 52.0), (119.3, 50.4), (117.8, 49.5), (116.7, 49.9),
    # Mongolia, Russia in the Altai, Kazakhstan, Kyrgyzstan, Tajikistan.
    (115.5, 48.1), (115.9, 47.7), (117.4, 47.6), (118.5, 48.0), (119.8, 47.1), (119.7, 46.6), (117.4, 46.6),
    (115.7, 45.4), (113.6, 44.7), (111.9, 45.0), (111.5, 44.4), (111.9, 43.7), (110.4, 42.8), (107.5, 42.4),
    (105.0, 41.6), (100.3, 42.6), (96.4, 42.7), (95.4, 44.2), (91.0, 45.2), (90.9, 46.9), (87.8, 49.1),
    (85.7, 48.4), (85.6, 47.1), (83.1, 47.2), (82.3, 45.4), (80.0, 44.9), (80.4, 43.2), (80.2, 42.1),
    (76.8, 41.0), (73.8, 39.8), (73.6, 39.4), (74.8, 38.4), (74.9, 37.3),
    # Pakistan, India, Nepal, Bhutan, Myanmar, Laos, Vietnam.
    (77.8, 35.5), (79.0, 34.3), (78.8, 33.5), (79.2, 32.5), (78.5, 32.5), (78.8, 31.4), (81.0, 30.2),
    (86.0, 28.0), (88.9, 27.4), (92.0, 27.8), (95.3, 29.1), (97.3, 28.2), (98.6, 27.5), (98.7, 25.9),
    (97.6, 24.9), (97.6, 23.9), (98.8, 24.1), (98.9, 23.2), (99.5, 22.9), (99.2, 22.1), (100.2, 21.5),
    (101.2, 21.2), (101.8, 21.2), (101.7, 22.4), (102.5, 22.7), (103.9, 22.5), (105.3, 23.3), (106.7, 22.7),
    (106.7, 22.0), (107.9, 21.5),
    # The coast, drawn out to sea: Gulf of Tonkin, Hainan, and Guangdong up to the mouth of the Pearl River.
    (108.2, 21.2), (107.9, 19.0), (108.8, 17.9), (110.4, 18.0), (111.6, 20.0), (113.0, 21.4), (113.50, 21.90),
    # Around Macau and Hong Kong: Hengqin's east shore, the Gongbei gate, the estuary, Shenzhen River.
    (113.53, 22.08), (113.545, 22.20), (113.549, 22.215), (113.57, 22.216), (113.60, 22.18), (113.78, 22.22),
    (113.86, 22.42), (113.95, 22.48), (114.03, 22.503), (114.07, 22.516), (114.113, 22.531), (114.16, 22.556),
    (114.23, 22.546), (114.30, 22.57), (114.50, 22.43), (114.53, 22.20),
    # Along the strait, leaving out Kinmen and Matsu, and up to the Yalu again.
    (116.5, 22.6), (118.1, 24.0), (118.21, 24.44), (118.40, 24.55), (118.9, 24.5), (119.9, 25.3),
    (119.86, 26.1), (120.8, 27.0), (122.4, 28.5), (123.1, 30.8), (122.3, 32.0), (120.9, 34.5), (120.9, 35.9),
    (123.0, 36.8), (122.8, 37.6), (121.2, 38.5), (122.6, 39.2),
)  # fmt: skip
"""Mainland China with Hainan as a ring of WGS-84 (longitude, latitude)."""

_OUTLINE = shapely.Polygon(OUTLINE)
shapely.prepare(_OUTLINE)
_MARGIN_DEG = 0.03
_WEST, _SOUTH = (bound - _MARGIN_DEG for bound in _OUTLINE.bounds[:2])
_EAST, _NORTH = (bound + _MARGIN_DEG for bound in _OUTLINE.bounds[2:])
