"""Tracks as a few bytes: a thinned one for a replay of many, and a whole one that says exactly what was measured.

A thinned track is whole seconds, millionths of a degree and its parts, as differences, compressed. A millionth of a
degree is 0.11 m, finer than any phone measures. Figures that are not in it (accuracy, speed) are not what a replay of
a whole day of many is looked at for. The parts are: thinning leaves minutes between two points where somebody stood,
and that is not a gap.

A whole track is the columns of ``motion.Track`` to the last bit, flagged fixes included. The bytes of a column are
ordered by their place in the number before they are compressed, because the upper ones hardly ever change.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.motion import Floats, Ints, Track

_SCALE = 1e6
_VERSION = 2
_WHOLE_VERSION = 1
_MICRO = 1e6
_FINE = 1e7
"""Phones give places in ten-millionths of a degree; one that is finer is kept as the bits of its number."""


def pack(epoch_s: Floats, lon: Floats, lat: Floats, part: Ints) -> bytes:
    """Return the bytes of a track given as columns of one length, in time order, degrees WGS-84.

    ``part`` is the same number for all points between two gaps, and grows.
    """
    columns = np.stack(
        [
            np.round(epoch_s).astype(np.int64),
            np.round(lon * _SCALE).astype(np.int64),
            np.round(lat * _SCALE).astype(np.int64),
            part.astype(np.int64),
        ]
    )
    deltas = np.diff(columns, axis=1, prepend=np.zeros((4, 1), dtype=np.int64))
    return bytes([_VERSION]) + zlib.compress(deltas.astype("<i8").T.tobytes(), 6)


def unpack(data: bytes) -> tuple[Floats, Floats, Floats, Ints]:
    """Return the columns of a packed track: seconds, longitudes, latitudes, parts.

    Raises:
        ValueError: the bytes are of another version.
    """
    if data[:1] != bytes([_VERSION]):
        raise ValueError("This track was packed by another version.")
    deltas = np.frombuffer(zlib.decompress(data[1:]), "<i8").reshape(-1, 4)
    columns = np.cumsum(deltas, axis=0)
    return columns[:, 0].astype(np.float64), columns[:, 1] / _SCALE, columns[:, 2] / _SCALE, columns[:, 3]


def pack_whole(track: Track) -> bytes:
    """Return the bytes of a track with all its columns; ``unpack_whole`` gives back equal ones.

    Times are to the microsecond, accuracy and speed of single precision and flags of 16 bits, as they are stored.
    """
    fine = _ints(track.lon * _FINE), _ints(track.lat * _FINE)
    is_fine = all(np.array_equal(a / _FINE, b) for a, b in zip(fine, (track.lon, track.lat), strict=True))
    places = fine if is_fine else (track.lon.view(np.int64), track.lat.view(np.int64))
    columns = [
        *(
            np.diff(column, prepend=np.int64(0)).astype("<i8")
            for column in (_ints(track.epoch_s * _MICRO), *places)
        ),
        track.accuracy_m.astype("<f4"),
        track.speed_mps.astype("<f4"),
        track.flags.astype("<i2"),
    ]
    packed = b"".join(column.view(np.uint8).reshape(-1, column.itemsize).T.tobytes() for column in columns)
    # The fastest level: a better one takes three times as long for a twentieth of the size.
    return bytes([_WHOLE_VERSION, is_fine]) + zlib.compress(packed, 1)


def unpack_whole(data: bytes) -> Track:
    """Return the track of ``pack_whole``.

    Raises:
        ValueError: the bytes are of another version.
    """
    if data[:1] != bytes([_WHOLE_VERSION]):
        raise ValueError("This track was packed by another version.")
    packed = zlib.decompress(data[2:])
    kinds = ["<i8", "<i8", "<i8", "<f4", "<f4", "<i2"]
    count = len(packed) // sum(np.dtype(kind).itemsize for kind in kinds)
    columns: list[npt.NDArray[Any]] = []
    at = 0
    for kind in kinds:
        size = np.dtype(kind).itemsize
        part = np.frombuffer(packed, np.uint8, count * size, at).reshape(size, count)
        columns.append(np.ascontiguousarray(part.T).view(kind)[:, 0])
        at += count * size
    time, lon, lat = (np.cumsum(column, dtype=np.int64) for column in columns[:3])
    return Track(
        time / _MICRO,
        lon / _FINE if data[1] else lon.view(np.float64),
        lat / _FINE if data[1] else lat.view(np.float64),
        columns[3].astype(np.float64),
        columns[4].astype(np.float64),
        columns[5].astype(np.int64),
    )


def _ints(column: Floats) -> npt.NDArray[np.int64]:
    return np.round(column).astype(np.int64)
