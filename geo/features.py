"""GeoJSON that somebody made by hand or drew elsewhere, looked through feature by feature before anything is kept.

RFC 7946: WGS-84, longitude before latitude. What is wrong is told in one sentence that names the feature.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

import shapely
from shapely.geometry import shape

LONGEST_CODE = 64
LONGEST_NAME = 200
FARTHEST_LAT = 72.0
"""No town lies beyond it; China's places come there when latitude stands before longitude."""

AREAS: Final = frozenset({"Polygon", "MultiPolygon"})
LINES: Final = frozenset({"LineString"})
POINTS: Final = frozenset({"Point"})

Kind = TypeVar("Kind", bound=StrEnum)


class FeatureError(ValueError):
    """A document that is not kept, and why, in one sentence."""


@dataclass(frozen=True)
class Feature:
    """One feature with a sound geometry. ``title`` is how people find it: its place in the file and its code."""

    title: str
    about: Mapping[str, Any]
    geometry: shapely.Geometry

    def text(self, key: str, longest: int) -> str:
        """A property that has to be a line of text."""
        found = self.about.get(key)
        if found is None or found == "":
            raise FeatureError(f"{self.title} has no {key}.")
        if not isinstance(found, str) or len(found) > longest or not found.isprintable() or not found.strip():
            raise FeatureError(f"{self.title}: {key} has to be a line of at most {longest} characters.")
        return found

    @property
    def code(self) -> str:
        """What the feature is called in files; two of one file never have the same."""
        return self.text("code", LONGEST_CODE)

    @property
    def name(self) -> dict[str, str]:
        """What people call it, in both languages."""
        return {"zh-CN": self.text("name_zh", LONGEST_NAME), "en": self.text("name_en", LONGEST_NAME)}

    def kind(self, kinds: type[Kind]) -> Kind:
        """What it is, of the kinds that there are."""
        found = self.text("kind", LONGEST_CODE)
        try:
            return kinds(found)
        except ValueError:
            raise FeatureError(f"{self.title} is a {found}, which is none of {', '.join(kinds)}.") from None


def read(data: bytes, wanted: frozenset[str]) -> list[Feature]:
    """Return the features of a GeoJSON document, each with a geometry of one of the ``wanted`` types.

    Raises:
        FeatureError: it is no such document, it is empty, or a feature is not as it should be.
    """
    return [feature(member, number, wanted) for number, member in enumerate(members(data), 1)]


def members(data: bytes) -> list[Any]:
    """Return what a GeoJSON document holds, not looked at yet: a collection's members, or the document itself.

    Raises:
        FeatureError: it is no such document, or it is empty.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise FeatureError("The file is not readable as JSON.") from None
    if not isinstance(document, dict) or not isinstance(document.get("type"), str):
        raise FeatureError("The file is not GeoJSON: it has no type.")
    crs = json.dumps(document.get("crs") or "CRS84")
    if "CRS84" not in crs and "4326" not in crs:
        raise FeatureError("The file's coordinates are not WGS-84: its crs names another system.")
    if document["type"] == "FeatureCollection":
        found = document.get("features")
        if not isinstance(found, list) or not found:
            raise FeatureError("The file has no features.")
        return found
    return [document]


def without_doubles(features: Sequence[Feature]) -> Sequence[Feature]:
    """Return them as they are.

    Raises:
        FeatureError: two have the same code.
    """
    first: dict[str, Feature] = {}
    for feature in features:
        if (other := first.setdefault(feature.code, feature)) is not feature:
            raise FeatureError(f"{feature.title} has the same code as {_lower(other.title)}.")
    return features


def feature(member: Any, number: int, wanted: frozenset[str]) -> Feature:
    """Return the ``number``-th member as a feature with a sound geometry.

    Raises:
        FeatureError: it is not as it should be.
    """
    about: Any = {}
    geometry = member
    if isinstance(member, dict) and member.get("type") == "Feature":
        about, geometry = member.get("properties") or {}, member.get("geometry")
    if not isinstance(about, dict):
        about = {}
    code = about.get("code")
    title = f"Feature {number}" + (
        f" (code {code[:LONGEST_CODE]})" if isinstance(code, str) and code.isprintable() and code else ""
    )
    found = geometry.get("type") if isinstance(geometry, dict) else None
    if not isinstance(found, str) or found not in wanted:
        raise FeatureError(
            f"{title} is a {str(found or 'nothing')[:40]} where a {' or '.join(sorted(wanted))} is needed."
        )
    for place in _places(geometry.get("coordinates"), title):
        check_place(place, title)
    try:
        drawn = shapely.force_2d(shape(geometry))
    except (ValueError, TypeError, IndexError, AttributeError, shapely.errors.GEOSException):
        raise FeatureError(f"{title}: its coordinates do not make a {geometry['type']}.") from None
    if drawn.is_empty:
        raise FeatureError(f"{title} has no coordinates.")
    if not shapely.is_valid(drawn):
        raise FeatureError(f"{title} is not a sound {geometry['type']}: {shapely.is_valid_reason(drawn)}.")
    if drawn.geom_type in AREAS and not shapely.area(drawn) > 0.0:
        raise FeatureError(f"{title} encloses nothing.")
    if drawn.geom_type in LINES and not shapely.length(drawn) > 0.0:
        raise FeatureError(f"{title} leads nowhere.")
    return Feature(title, about, drawn)


def _places(found: Any, title: str, depth: int = 0) -> Iterator[Sequence[Any]]:
    if not isinstance(found, list) or depth > 3:
        raise FeatureError(f"{title} has no readable coordinates.")
    if found and not isinstance(found[0], list):
        yield found
        return
    for part in found:
        yield from _places(part, title, depth + 1)


def check_place(place: Sequence[Any], title: str) -> None:
    """Refuse a place that is not on earth, or has latitude before longitude.

    Raises:
        FeatureError: it is so.
    """
    sound = len(place) >= 2 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in place)
    if not sound or not all(map(math.isfinite, place)):
        raise FeatureError(f"{title} has a place that is not two numbers: {str(list(place))[:60]}.")
    lon, lat = place[0], place[1]
    if FARTHEST_LAT < abs(lat) <= 180.0 and abs(lon) <= FARTHEST_LAT:
        raise FeatureError(
            f"{title} has a place at latitude {lat:g}, longitude {lon:g}: they look swapped; longitude comes first."
        )
    if abs(lon) > 180.0 or abs(lat) > 90.0:
        raise FeatureError(f"{title} has a place that is not on earth in degrees: [{lon:g}, {lat:g}].")


def swapped(geometry: shapely.Geometry) -> shapely.Geometry:
    """Return the geometry with latitude and longitude exchanged."""
    return shapely.transform(geometry, lambda places: places[:, ::-1])


def _lower(title: str) -> str:
    return title[0].lower() + title[1:]
