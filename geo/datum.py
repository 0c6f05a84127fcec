"""WGS-84, GCJ-02 and BD-09 into each other, exactly in both directions, and the identity outside China.

GCJ-02 (国测局坐标, the datum of Chinese map services and WeChat) shifts every place in mainland China by 17
to 700 metres; BD-09 (Baidu) shifts it once more. Neither has a published specification. The formulae are
those that everybody has used since they became known in 2010 and 2013 (googollee/eviltransform for GCJ-02;
wandergis/coordtransform for BD-09, because eviltransform's lacks a factor there, its issue 43). The inverses of
those libraries are approximations of up to several metres; here they are solved by iteration.

Errors. The forward formulae agree with the libraries to 1e-11 degrees. `convert` there and back gives the same
place within 1e-6 metres everywhere inside the outline. The services' own coordinates differ from the formulae
by a metre (GCJ-02) to five (BD-09), which nobody can remove.

The edge. Outside the outline all three datums are the same, so there a shifted datum jumps by the size of the
shift, and a strip of that width just outside is the image of two places. In it a shifted coordinate is read
as lying inside: inside, every place survives the way there and back, outside, all but those of the strip do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import shapely

from geo.outline import MACAU, MAINLAND

Floats = npt.NDArray[np.float64]

Datum = Literal["wgs84", "gcj02", "bd09"]
DATUMS: Final[tuple[str, ...]] = get_args(Datum)

_KRASSOVSKY_A_M = 6_378_245.0
_KRASSOVSKY_E2 = 0.00669342162296594323
_BD_WAVE = math.pi * 3000.0 / 180.0
_BD_EAST_DEG = 0.0065
_BD_NORTH_DEG = 0.006

_GCJ_ROUNDS = 6
_BD_ROUNDS = 8
"""Each round of an inverse shrinks its error 100-fold (GCJ-02) or 40-fold (BD-09), from 0.012 degrees down to
rounding noise."""


def convert(lon: float, lat: float, source: str, target: str) -> tuple[float, float]:
    """Turn one place from the source datum into the target datum.

    Degrees in, degrees out, longitude first. A place outside mainland China comes back as it is, and so does
    what is no place at all (NaN). Raises ValueError for a datum that is not in DATUMS.
    """
    _check(source, target)
    if source == target or not (_WEST <= lon <= _EAST and _SOUTH <= lat <= _NORTH):
        return lon, lat
    wgs, out = _solve(lon, lat, source, target, math)
    return out if is_shifted(*wgs) else (lon, lat)


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
        inside = is_shifted_many(*wgs)
        near[near] = inside
        lon[near], lat[near] = out[0][inside], out[1][inside]
    return lon, lat


def is_shifted(lon: float, lat: float) -> bool:
    """Whether a WGS-84 place lies where Chinese datums are shifted, which `geo.outline` draws."""
    return bool(shapely.contains_xy(_SHIFTED, lon, lat))


def is_shifted_many(lons: npt.ArrayLike, lats: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """`is_shifted` for arrays of WGS-84 degrees of one shape; an array of that shape."""
    return np.asarray(shapely.contains_xy(_SHIFTED, lons, lats), dtype=np.bool_)


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
        gcj = (lon, lat) if source == "gcj02" else _undo(_bd_from_gcj, _BD_ROUNDS, lon, lat, m)
        wgs = _undo(_gcj_from_wgs, _GCJ_ROUNDS, *gcj, m)
    if target == "wgs84":
        return wgs, wgs
    return wgs, gcj if target == "gcj02" else _bd_from_gcj(*gcj, m)


def _undo(
    forward: Callable[[Any, Any, Any], tuple[Any, Any]], rounds: int, lon: Any, lat: Any, m: Any
) -> tuple[Any, Any]:
    """Where `forward` leads to (lon, lat) from: a fixed-point iteration, since a shift changes slowly."""
    from_lon, from_lat = lon, lat
    for _ in range(rounds):
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


_SHIFTED = shapely.Polygon(MAINLAND, [MACAU])
shapely.prepare(_SHIFTED)
is_shifted(116.4, 39.9)  # GEOS builds its index at the first question; afterwards threads may share it.
_MARGIN_DEG = 0.03
_WEST, _SOUTH = (bound - _MARGIN_DEG for bound in _SHIFTED.bounds[:2])
_EAST, _NORTH = (bound + _MARGIN_DEG for bound in _SHIFTED.bounds[2:])
