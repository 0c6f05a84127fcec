"""Checkpoints and lines from files that people have: GeoJSON, GPX 1.1 and CSV, read row by row.

A row that cannot be taken says why and stops no other, so that whoever brings a file sees all its faults at once.
Places are WGS-84, longitude before latitude.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import shapely

from geo import features, gpx
from geo.features import LONGEST_CODE, LONGEST_NAME, Feature, FeatureError

MOST_ROWS = 5000
MOST_VERTICES = 2000
_NEEDED: Final = ("code", "name_zh", "name_en", "lon", "lat")
_FENCE: Final = {"radius_m": (5.0, 500.0), "min_dwell_s": (0.0, 3600.0)}


class Format(StrEnum):
    """What a file is."""

    GEOJSON = "geojson"
    GPX = "gpx"
    CSV = "csv"


@dataclass(frozen=True)
class Row:
    """One row of a file. Without a ``fault`` it has all but the fence, of which it has what the file says."""

    title: str
    code: str | None = None
    name: dict[str, str] | None = None
    lon: float = math.nan
    lat: float = math.nan
    radius_m: float | None = None
    min_dwell_s: int | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Line:
    """A way that a file draws, with no more corners than are kept, and what the file calls it."""

    title: str | None
    places: list[tuple[float, float]]


def checkpoints(data: bytes, form: Format) -> list[Row]:
    """Return the rows of a file, at most ``MOST_ROWS``.

    Raises:
        FeatureError: it is no such file, it is empty, or it has too many rows.
    """
    rows = list(_READ[form](data))
    if not rows:
        raise FeatureError("The file has no checkpoints.")
    first: dict[str, str] = {}
    for number, row in enumerate(rows):
        if row.code is None:
            continue
        other = first.setdefault(row.code, row.title)
        if other != row.title and row.fault is None:
            rows[number] = Row(
                row.title, row.code, fault=f"{row.title} has the same code as {_lower(other)}."
            )
    return rows


def lines(data: bytes, form: Format) -> list[Line]:
    """Return the lines of a file: features of GeoJSON, routes (``rte``) of GPX.

    Raises:
        FeatureError: it is no such file, or draws no line.
    """
    if form is Format.CSV:
        raise FeatureError("A line is drawn in GeoJSON or GPX.")
    if form is Format.GEOJSON:
        drawn = [(one.about.get("name_zh") or one.about.get("name"), one.geometry) for one in
                 features.read(data, features.LINES)]  # fmt: skip
    else:
        drawn = [
            (route.fields.get("name"), _line_of(route, number))
            for number, route in enumerate(_gpx(data).routes, 1)
        ]
    if not drawn:
        raise FeatureError("The file draws no line; in GPX it is an <rte>.")
    if len(drawn) > 50:
        raise FeatureError("The file draws more than 50 lines.")
    return [Line(_shown(name), _thinned(line)) for name, line in drawn]


def _lower(title: str) -> str:
    return title[0].lower() + title[1:]


def _shown(name: Any) -> str | None:
    return name[:LONGEST_NAME] if isinstance(name, str) and name.strip() and name.isprintable() else None


def _line_of(route: gpx.Route, number: int) -> shapely.Geometry:
    places = [(point.lon_deg, point.lat_deg) for point in route.points]
    if len(set(places)) < 2:
        raise FeatureError(f"Route {number} leads nowhere.")
    return shapely.LineString(places)


def _thinned(line: shapely.Geometry) -> list[tuple[float, float]]:
    """Return the corners of a line, the least of them left out where there are more than are kept."""
    tolerance_deg = 1e-6
    thin = line
    while shapely.get_num_coordinates(thin) > MOST_VERTICES:
        thin = shapely.simplify(line, tolerance_deg, preserve_topology=False)
        tolerance_deg *= 2
    return [(float(lon), float(lat)) for lon, lat in thin.coords]


def _few(count: int) -> None:
    if count > MOST_ROWS:
        raise FeatureError(f"The file has {count} checkpoints; at most {MOST_ROWS} are read.")


def _from_geojson(data: bytes) -> Iterator[Row]:
    members = features.members(data)
    _few(len(members))
    for number, member in enumerate(members, 1):
        try:
            feature = features.feature(member, number, features.POINTS)
            yield _row(feature, feature.geometry.x, feature.geometry.y)
        except FeatureError as error:
            yield Row(f"Feature {number}", fault=str(error))


def _gpx(data: bytes) -> gpx.Document:
    try:
        return gpx.read(data)
    except gpx.GpxError as error:
        raise FeatureError(str(error)) from None


def _from_gpx(data: bytes) -> Iterator[Row]:
    """A waypoint's name is the code, and what describes it the name in both languages."""
    waypoints = _gpx(data).waypoints
    _few(len(waypoints))
    for number, point in enumerate(waypoints, 1):
        code = point.fields.get("name", "").strip()
        called = (point.fields.get("desc") or point.fields.get("cmt") or code).strip()
        about = {"code": code, "name_zh": called, "name_en": called}
        title = f"Waypoint {number}" + (
            f" (code {code[:LONGEST_CODE]})" if code.isprintable() and code else ""
        )
        yield _taken(Feature(title, about, shapely.Point()), point.lon_deg, point.lat_deg)


def _from_csv(data: bytes) -> Iterator[Row]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FeatureError("The file is not in UTF-8; save it as “CSV UTF-8”.") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in reader.fieldnames or []]
        if missing := [name for name in _NEEDED if name not in header]:
            raise FeatureError(f"The first line has to name the columns; {', '.join(missing)} is missing.")
        if len(set(header)) < len(header):
            raise FeatureError("The first line names a column twice.")
        reader.fieldnames = header
        for number, cells in enumerate(reader, 1):
            _few(number)
            yield _from_cells(f"Row {number}", cells)
    except csv.Error as error:
        raise FeatureError(f"The file is not readable as CSV: {error}.") from None


def _from_cells(title: str, cells: Mapping[Any, Any]) -> Row:
    if None in cells or None in cells.values():
        return Row(title, fault=f"{title} has not as many cells as the first line.")
    about: dict[str, Any] = {name: cell.strip() for name, cell in cells.items() if cell.strip()}
    code = about.get("code")
    if code is not None and code.isprintable():
        title += f" (code {code[:LONGEST_CODE]})"
    try:
        numbers = {name: _degree(about.get(name), name, title) for name in ("lon", "lat")}
        features.check_place([numbers["lon"], numbers["lat"]], title)
        for name in _FENCE:
            if name in about:
                about[name] = _degree(about[name], name, title)
    except FeatureError as error:
        return Row(title, code, fault=str(error))
    return _taken(Feature(title, about, shapely.Point()), numbers["lon"], numbers["lat"])


def _degree(cell: str | None, name: str, title: str) -> float:
    try:
        value = float(cell or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FeatureError(f"{title}: {name} has to be a number.")
    return value


def _taken(feature: Feature, lon: float, lat: float) -> Row:
    try:
        return _row(feature, lon, lat)
    except FeatureError as error:
        code = feature.about.get("code")
        return Row(feature.title, code or None, fault=str(error))


def _row(feature: Feature, lon: float, lat: float) -> Row:
    fence: dict[str, Any] = {}
    for name, (least, most) in _FENCE.items():
        value = feature.about.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise FeatureError(f"{feature.title}: {name} has to be between {least:g} and {most:g}.")
        fence[name] = value
    dwell = fence.get("min_dwell_s")
    return Row(
        feature.title,
        feature.code,
        feature.name,
        lon,
        lat,
        float(fence["radius_m"]) if "radius_m" in fence else None,
        round(dwell) if dwell is not None else None,
    )


_READ: Final = {Format.GEOJSON: _from_geojson, Format.GPX: _from_gpx, Format.CSV: _from_csv}
