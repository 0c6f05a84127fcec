"""A thinned track as a few bytes: whole seconds, millionths of a degree and its parts, as differences, compressed.

A millionth of a degree is 0.11 m, finer than any phone measures. Figures that are not in it (accuracy, speed) are not
what a replay of a whole day is looked at for. The parts are: thinning leaves minutes between two points where somebody
stood, and that is not a gap.
"""

from __future__ import annotations

import zlib

import numpy as np

from geo.motion import Floats, Ints

_SCALE = 1e6
_VERSION = 2


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
