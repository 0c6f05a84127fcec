"""GPX 1.1 in and out without loss (https://www.topografix.com/GPX/1/1/, gpx.xsd).

What was read is written back: numbers and times as they were written, every element of the schema, extensions
of any namespace with their prefixes, even elements and attributes that the schema does not know. Only comments,
processing instructions, the order of what has none in the schema's sense, and indentation are not kept.
gpxpy was looked at first: it reads coordinates as floats and keeps neither unknown elements nor their text.

Documents come from strangers. There are no DTDs, no entities and nothing is fetched; size, depth and counts are
bounded while reading; what is refused is refused with its line, as GpxError.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final

# Expat is driven directly, because it alone tells the line of every element and lets a cap stop the reading
# half-way. Its dangers are DTDs, and a document that has one is refused before anything in it is looked at.
from xml.parsers import expat

import msgspec
from lxml import etree

from geo.fixes import Fix, flag_names

GPX: Final = "http://www.topografix.com/GPX/1/1"
GARMIN: Final = "http://www.garmin.com/xmlschemas/TrackPointExtension/v2"
XUNGENG: Final = "urn:xungeng:gpx:1"

_XML = "http://www.w3.org/XML/1998/namespace"
_GPX_1_0 = "http://www.topografix.com/GPX/1/0"


class GpxError(ValueError):
    """A document that is not GPX 1.1, or too much of it; `line` is where, if it is known."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message if line is None else f"Line {line}: {message}")
        self.line = line


class Limits(msgspec.Struct, frozen=True):
    """How much of a document is read before it is refused."""

    max_bytes: int = 32 * 1024 * 1024
    max_points: int = 300_000
    max_elements: int = 1_500_000
    max_depth: int = 64
    max_namespaces: int = 256
    max_name: int = 2000
    """Characters of the creator's name and of a namespace's: every part of a document that is kept repeats them."""


class Element(msgspec.Struct, gc=False):
    """Any XML element, for what has no type of its own here: extensions, links, authors, unknown things.

    `tag` and the names of attributes are `{namespace}local`, or `local` without a namespace. `tail` is text
    after the element. White space between elements that hold no other text is not kept.
    """

    tag: str
    attributes: dict[str, str] = {}
    text: str = ""
    children: list[Element] = []
    tail: str = ""


class Point(msgspec.Struct, gc=False):
    """A `wpt`, `rtept` or `trkpt`. `lat`, `lon`, `ele` and `time` are the text as it was written.

    `fields` holds the other simple elements of the schema by name (`name`, `sym`, `sat`, `hdop` ...), `others`
    and `attributes` what the schema does not know. `extensions` is None where there is no such element.
    """

    lat: str
    lon: str
    ele: str | None = None
    time: str | None = None
    fields: dict[str, str] = {}
    links: list[Element] = []
    extensions: list[Element] | None = None
    others: list[Element] = []
    attributes: dict[str, str] = {}

    @property
    def lat_deg(self) -> float:
        """Latitude in WGS-84 degrees."""
        return float(self.lat)

    @property
    def lon_deg(self) -> float:
        """Longitude in WGS-84 degrees."""
        return float(self.lon)

    @property
    def ele_m(self) -> float | None:
        """Elevation in metres, or None if there is none that is a number."""
        return None if self.ele is None else _number(self.ele)

    @property
    def at(self) -> datetime | None:
        """The time as an aware UTC datetime; a time without a zone is UTC, as the standard says."""
        return None if self.time is None else instant(self.time)

    def reading(self, *names: str) -> float | None:
        """The first number in the extensions, or in what the schema does not know, whose element has one of
        these local names: `reading("speed")`."""
        for element in walk([*(self.extensions or []), *self.others]):
            if element.tag.rpartition("}")[2] in names:
                value = _number(element.text)
                if value is not None:
                    return value
        return None


class Segment(msgspec.Struct, gc=False):
    """A `trkseg`: points without a gap between them."""

    points: list[Point] = []
    extensions: list[Element] | None = None
    others: list[Element] = []
    attributes: dict[str, str] = {}


class Track(msgspec.Struct, gc=False):
    """A `trk`; `fields` holds name, cmt, desc, src, number, type."""

    fields: dict[str, str] = {}
    links: list[Element] = []
    segments: list[Segment] = []
    extensions: list[Element] | None = None
    others: list[Element] = []
    attributes: dict[str, str] = {}

    @property
    def is_timed(self) -> bool:
        """Whether this is a track that somebody went: it has points, and every one of them has a time."""
        points = [point for segment in self.segments for point in segment.points]
        return bool(points) and all(point.time is not None for point in points)

    def fixes(self) -> list[list[Fix]]:
        """The points of each segment as fixes: place, time, elevation, and speed and course if extensions have
        them (in m/s and degrees, as Garmin, OsmAnd and GPSLogger write).

        Raises GpxError for a point without a time.
        """
        return [[_fix(point) for point in segment.points] for segment in self.segments]


class Route(msgspec.Struct, gc=False):
    """A `rte`; `fields` holds name, cmt, desc, src, number, type."""

    fields: dict[str, str] = {}
    links: list[Element] = []
    points: list[Point] = []
    extensions: list[Element] | None = None
    others: list[Element] = []
    attributes: dict[str, str] = {}


class Metadata(msgspec.Struct, gc=False):
    """A `metadata`; `fields` holds name, desc, time, keywords, `parts` the elements author, copyright, bounds."""

    fields: dict[str, str] = {}
    links: list[Element] = []
    parts: dict[str, Element] = {}
    extensions: list[Element] | None = None
    others: list[Element] = []
    attributes: dict[str, str] = {}


class Document(msgspec.Struct, gc=False):
    """A GPX 1.1 document. `namespaces` maps prefixes to namespaces, `attributes` are the root's further ones."""

    creator: str
    metadata: Metadata | None = None
    waypoints: list[Point] = []
    routes: list[Route] = []
    tracks: list[Track] = []
    extensions: list[Element] | None = None
    others: list[Element] = []
    attributes: dict[str, str] = {}
    namespaces: dict[str, str] = {}

    def apart(self) -> list[tuple[Track, Document]]:
        """Every timed track with a document of its own; together these say what this one says, and nothing twice.

        The first has with it what belongs to no track (metadata, waypoints, routes, extensions) and the tracks
        without times; the others are alone.
        """
        found: list[tuple[Track, Document]] = []
        untimed = [track for track in self.tracks if not track.is_timed]
        for track in (track for track in self.tracks if track.is_timed):
            if found:
                own = Document(self.creator, tracks=[track], namespaces=self.namespaces)
            else:
                kept = {id(one) for one in (track, *untimed)}
                own = msgspec.structs.replace(self, tracks=[one for one in self.tracks if id(one) in kept])
            found.append((track, own))
        return found

    def points(self) -> Iterator[Point]:
        """Every point of the document: those of tracks, waypoints and those of routes."""
        for track in self.tracks:
            for segment in track.segments:
                yield from segment.points
        yield from self.waypoints
        for route in self.routes:
            yield from route.points


def walk(elements: Iterable[Element]) -> Iterator[Element]:
    """Elements and all that is inside them, in document order."""
    for element in elements:
        yield element
        yield from walk(element.children)


def instant(text: str) -> datetime:
    """An xsd:dateTime as an aware UTC datetime; no zone means UTC. Raises GpxError if it is none."""
    if not _DATE_TIME.fullmatch(text):
        raise GpxError(f"{text[:40]!r} is not a time like 2026-05-01T08:30:00Z.")
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise GpxError(f"{text[:40]!r} is not a time that exists.") from None


def _number(text: str) -> float | None:
    text = text.strip()
    value = float(text) if _NUMBER.fullmatch(text) else None
    return value if value is not None and isfinite(value) else None


def _fix(point: Point) -> Fix:
    at = point.at
    if at is None:
        raise GpxError(f"The point at {point.lat}, {point.lon} has no time.")
    return Fix(
        fixed_at=at,
        lon=point.lon_deg,
        lat=point.lat_deg,
        altitude_m=point.ele_m,
        speed_mps=point.reading("speed"),
        heading_deg=point.reading("course", "bearing", "heading"),
    )


_ENCODING = re.compile(rb"""<\?xml[^>]{0,100}?encoding\s*=\s*["']([A-Za-z0-9._-]+)""")
_NUMBER = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,3})?", re.ASCII)
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,20})?(Z|[+-]\d\d:\d\d)?",
    re.ASCII,
)

# --- The schema: what each kind of element may hold, in the order in which it is written. ---

_TEXT, _PART, _EXTENSIONS = "text", "part", "extensions"
_ABOUT = {"name": _TEXT, "cmt": _TEXT, "desc": _TEXT, "src": _TEXT, "link": "link"}
_SCHEMA: dict[str, dict[str, str]] = {
    "gpx": {"metadata": "metadata", "wpt": "point", "rte": "rte", "trk": "trk", "extensions": _EXTENSIONS},
    "metadata": {
        "name": _TEXT,
        "desc": _TEXT,
        "author": _PART,
        "copyright": _PART,
        "link": "link",
        "time": _TEXT,
        "keywords": _TEXT,
        "bounds": _PART,
        "extensions": _EXTENSIONS,
    },
    "point": {
        "ele": _TEXT,
        "time": _TEXT,
        "magvar": _TEXT,
        "geoidheight": _TEXT,
        **_ABOUT,
        "sym": _TEXT,
        "type": _TEXT,
        "fix": _TEXT,
        "sat": _TEXT,
        "hdop": _TEXT,
        "vdop": _TEXT,
        "pdop": _TEXT,
        "ageofdgpsdata": _TEXT,
        "dgpsid": _TEXT,
        "extensions": _EXTENSIONS,
    },
    "rte": {**_ABOUT, "number": _TEXT, "type": _TEXT, "extensions": _EXTENSIONS, "rtept": "point"},
    "trk": {**_ABOUT, "number": _TEXT, "type": _TEXT, "extensions": _EXTENSIONS, "trkseg": "trkseg"},
    "trkseg": {"trkpt": "point", "extensions": _EXTENSIONS},
}
_MISPLACEABLE = {"metadata", "wpt", "rte", "trk", "rtept", "trkseg", "trkpt"}


# --- Reading ---


def read(data: bytes, limits: Limits = Limits()) -> Document:  # noqa: B008 (it is frozen)
    """Read a GPX 1.1 document.

    Raises GpxError, with the line where there is one, for what is not well-formed XML or not GPX 1.1, for a
    document with a DTD, for points without a valid place, for times that are none, and beyond the limits.
    """
    if len(data) > limits.max_bytes:
        raise GpxError(f"The document has {len(data)} bytes; at most {limits.max_bytes} are read.")
    return _Reader(limits).read(data)


class _Frame:
    """An element whose end has not been read yet; `kind` is None for what the schema does not describe."""

    __slots__ = ("attributes", "children", "kind", "line", "name", "text")

    def __init__(self, name: str, kind: str | None, line: int, attributes: dict[str, str]) -> None:
        self.name = name
        self.kind = kind
        self.line = line
        self.attributes = attributes
        self.text = ""
        self.children: list[Element] = []


class _Structure(_Frame):
    """An element that the schema lets hold other elements."""

    __slots__ = ("content", "fields", "links", "parts")

    def __init__(self, name: str, kind: str, line: int, attributes: dict[str, str]) -> None:
        super().__init__(name, kind, line, attributes)
        self.fields: dict[str, str] = {}
        self.links: list[Element] = []
        self.parts: dict[str, Any] = {}
        self.content: list[Any] = []

    def once(self, where: dict[str, Any], frame: _Frame, value: Any) -> None:
        """Take what may stand here once."""
        if frame.name in where:
            raise GpxError(f"There is a second <{frame.name}>.", frame.line)
        where[frame.name] = value


class _Reader:
    """One reading: a stack of open elements."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.stack: list[_Frame] = []
        self.namespaces: dict[str, str] = {}
        self.uris: set[str] = set()
        self.points = 0
        self.elements = 0
        self.document: Document | None = None
        self.parser = expat.ParserCreate(namespace_separator="}")
        self.parser.buffer_text = True
        self.parser.buffer_size = 1 << 20
        self.parser.StartDoctypeDeclHandler = self.doctype
        self.parser.StartNamespaceDeclHandler = self.namespace
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.characters

    def read(self, data: bytes) -> Document:
        try:
            self.parser.Parse(_decoded(data), True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise GpxError(f"The document is not well-formed XML ({reason}).", error.lineno) from None
        except GpxError:
            raise
        except (LookupError, ValueError):
            raise GpxError("The document is in an encoding that cannot be read; save it as UTF-8.") from None
        if self.document is None:
            raise GpxError("The document is empty.")
        return self.document

    def line(self) -> int:
        return self.parser.CurrentLineNumber

    def doctype(self, *_: Any) -> None:
        raise GpxError("A document type declaration (DTD) is not allowed.", self.line())

    def namespace(self, prefix: str | None, uri: str | None) -> None:
        if not uri:
            return
        if len(uri) > self.limits.max_name:
            raise GpxError(
                f"A namespace's name has more than {self.limits.max_name} characters.", self.line()
            )
        self.uris.add(uri)
        if prefix:
            self.namespaces.setdefault(prefix, uri)
        if max(len(self.uris), len(self.namespaces)) > self.limits.max_namespaces:
            raise GpxError(f"There are more than {self.limits.max_namespaces} namespaces.", self.line())

    def start(self, expat_name: str, expat_attributes: dict[str, str]) -> None:
        self.elements += 1
        if self.elements > self.limits.max_elements:
            raise GpxError(f"There are more than {self.limits.max_elements} elements.", self.line())
        if len(self.stack) >= self.limits.max_depth:
            raise GpxError(f"Elements are nested more than {self.limits.max_depth} deep.", self.line())
        attributes = (
            {_tag(name): value for name, value in expat_attributes.items()} if expat_attributes else {}
        )
        tag = _tag(expat_name)
        if not self.stack:
            self.stack.append(self.root(tag, attributes))
            return
        parent = self.stack[-1]
        if isinstance(parent, _Structure) and tag.startswith(_IN_GPX):
            name = tag[len(_IN_GPX) :]
            kind = _SCHEMA[parent.kind or ""].get(name)
            if kind in _SCHEMA:
                structure = _Structure(name, kind, self.line(), attributes)
                if kind == "point":
                    self.place(structure)
                self.stack.append(structure)
                return
            if kind is not None:
                self.stack.append(_Frame(name, kind, self.line(), attributes))
                return
            if name in _MISPLACEABLE:
                raise GpxError(f"<{name}> does not belong here.", self.line())
        self.stack.append(_Frame(tag, None, self.line(), attributes))

    def root(self, tag: str, attributes: dict[str, str]) -> _Structure:
        version = attributes.pop("version", None)
        if tag == f"{{{_GPX_1_0}}}gpx" or (tag == f"{_IN_GPX}gpx" and version == "1.0"):
            raise GpxError("This is GPX 1.0; only GPX 1.1 is read. Save it as GPX 1.1.", self.line())
        if tag != f"{_IN_GPX}gpx":
            raise GpxError(
                f"The document is not GPX 1.1: its root is <{tag}>, not <gpx> of {GPX}.", self.line()
            )
        if version != "1.1":
            raise GpxError(f"The version is {version!r}; only GPX 1.1 is read.", self.line())
        return _Structure("gpx", "gpx", self.line(), attributes)

    def place(self, frame: _Frame) -> None:
        self.points += 1
        if self.points > self.limits.max_points:
            raise GpxError(f"There are more than {self.limits.max_points} points.", frame.line)
        for name, bound in (("lat", 90.0), ("lon", 180.0)):
            text = frame.attributes.get(name)
            if text is None:
                raise GpxError(f"<{frame.name}> has no {name}.", frame.line)
            value = _number(text)
            if value is None or not -bound <= value <= bound:
                raise GpxError(f"{name}={text[:40]!r} is not a place on earth.", frame.line)
            frame.attributes[name] = text.strip()

    def characters(self, text: str) -> None:
        frame = self.stack[-1]
        if frame.children:
            frame.children[-1].tail += text
        else:
            frame.text += text

    def end(self, _: str) -> None:
        frame = self.stack.pop()
        kind = frame.kind
        parent = self.stack[-1] if self.stack else None
        if not isinstance(parent, _Structure):
            if parent is not None:
                parent.children.append(_element(frame))
            elif isinstance(frame, _Structure):
                self.document = self.built(frame)
        elif isinstance(frame, _Structure):
            self.nothing_else(frame)
            if kind == "metadata":
                parent.once(parent.parts, frame, _BUILD[kind](frame))
            else:
                parent.content.append(_BUILD[kind or ""](frame))
        elif kind == _TEXT and not frame.children and not frame.attributes:
            parent.once(parent.fields, frame, self.simple(frame, parent))
        elif kind == _EXTENSIONS:
            self.nothing_else(frame)
            parent.once(parent.parts, frame, frame.children)
        elif kind == "link":
            parent.links.append(_element(frame))
        elif kind == _PART:
            parent.once(parent.parts, frame, _element(frame))
        else:
            parent.children.append(_element(frame))

    def simple(self, frame: _Frame, parent: _Structure) -> str:
        if parent.kind == "point" and frame.name in ("ele", "time"):
            text = frame.text.strip()
            if frame.name == "time":
                try:
                    instant(text)
                except GpxError as error:
                    raise GpxError(str(error), frame.line) from None
            return text
        return frame.text

    def nothing_else(self, frame: _Frame) -> None:
        """Refuse text between elements where the schema has none: it would be lost."""
        stray = frame.text + "".join(child.tail for child in frame.children)
        if stray.strip(_SPACE):
            raise GpxError(f"There is text directly in <{frame.name}>.", frame.line)
        for child in frame.children:
            child.tail = ""
        if frame.kind == _EXTENSIONS and frame.attributes:
            raise GpxError("<extensions> has attributes.", frame.line)

    def built(self, frame: _Structure) -> Document:
        self.nothing_else(frame)
        creator = frame.attributes.pop("creator", None)
        if creator is None:
            raise GpxError("<gpx> has no creator.", frame.line)
        if len(creator) > self.limits.max_name:
            raise GpxError(f"The creator has more than {self.limits.max_name} characters.", frame.line)
        content = frame.content
        return Document(
            creator=creator,
            metadata=frame.parts.get("metadata"),
            waypoints=[one for one in content if isinstance(one, Point)],
            routes=[one for one in content if isinstance(one, Route)],
            tracks=[one for one in content if isinstance(one, Track)],
            extensions=frame.parts.get("extensions"),
            others=frame.children,
            attributes=frame.attributes,
            namespaces=self.namespaces,
        )


def _decoded(data: bytes) -> bytes | str:
    """The document as expat can read it: what declares a Chinese encoding of several bytes is decoded first."""
    declared = _ENCODING.match(data)
    if declared and declared[1].lower() in (b"gb2312", b"gbk", b"gb18030"):
        return data.decode("gb18030")  # which holds the two others
    return data


@functools.lru_cache(1024)
def _tag(expat_name: str) -> str:
    return "{" + expat_name if "}" in expat_name else expat_name


def _element(frame: _Frame) -> Element:
    tag = frame.name if frame.kind is None else _IN_GPX + frame.name
    children = frame.children
    text = frame.text
    if children and not (text + "".join(child.tail for child in children)).strip(_SPACE):
        text = ""
        for child in children:
            child.tail = ""
    return Element(tag, frame.attributes, text, children)


def _point(frame: _Structure) -> Point:
    attributes, fields = frame.attributes, frame.fields
    return Point(
        lat=attributes.pop("lat"),
        lon=attributes.pop("lon"),
        ele=fields.pop("ele", None),
        time=fields.pop("time", None),
        fields=fields,
        links=frame.links,
        extensions=frame.parts.get("extensions"),
        others=frame.children,
        attributes=attributes,
    )


_BUILD: dict[str, Any] = {
    "point": _point,
    "trkseg": lambda frame: Segment(
        frame.content, frame.parts.get("extensions"), frame.children, frame.attributes
    ),
    "trk": lambda frame: Track(
        frame.fields,
        frame.links,
        frame.content,
        frame.parts.get("extensions"),
        frame.children,
        frame.attributes,
    ),
    "rte": lambda frame: Route(
        frame.fields,
        frame.links,
        frame.content,
        frame.parts.get("extensions"),
        frame.children,
        frame.attributes,
    ),
    "metadata": lambda frame: Metadata(
        frame.fields,
        frame.links,
        {name: part for name, part in frame.parts.items() if name != "extensions"},
        frame.parts.get("extensions"),
        frame.children,
        frame.attributes,
    ),
}
_IN_GPX = f"{{{GPX}}}"
_SPACE = " \t\r\n"


# --- Writing ---


def write(document: Document) -> bytes:
    """The document as GPX 1.1 in UTF-8, its elements in the order of the schema.

    Characters that XML cannot hold (control characters in a name) become U+FFFD.
    """
    return _Writer(document).write()


class _Writer:
    """One writing: lines of text, and a prefix for every namespace."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.lines: list[str] = ['<?xml version="1.0" encoding="UTF-8"?>']
        self.prefixes: dict[str, str] = {_XML: "xml"}
        self.declared: dict[str, str] = {}
        self.made = 0
        for prefix, uri in document.namespaces.items():
            if prefix not in ("xml", "xmlns"):
                self.declared[prefix] = uri
                self.prefixes.setdefault(uri, prefix)

    def write(self) -> bytes:
        document = self.document
        body = self.lines
        self.lines = []
        if document.metadata is not None:
            self.metadata(document.metadata)
        for waypoint in document.waypoints:
            self.point("wpt", waypoint, 1)
        for route in document.routes:
            self.about("rte", route, 1, [("rtept", point) for point in route.points])
        for track in document.tracks:
            self.about("trk", track, 1, [("trkseg", segment) for segment in track.segments])
        self.rest(document.extensions, document.others, 1)
        root = self.attributes({"version": "1.1", "creator": document.creator, **document.attributes})
        spaces = "".join(f' xmlns:{prefix}="{_quoted(uri)}"' for prefix, uri in self.declared.items())
        body.append(f'<gpx xmlns="{GPX}"{spaces}{root}>')
        return "\n".join([*body, *self.lines, "</gpx>", ""]).encode()

    def metadata(self, metadata: Metadata) -> None:
        self.open("metadata", metadata.attributes, 1)
        for name in _SCHEMA["metadata"]:
            if name in metadata.fields:
                self.text(name, metadata.fields[name], 2)
            elif name in metadata.parts:
                self.element(metadata.parts[name], 2)
            elif name == "link":
                self.all(metadata.links, 2)
        self.rest(metadata.extensions, metadata.others, 2)
        self.close("metadata", 1)

    def about(self, tag: str, what: Route | Track, depth: int, content: Sequence[tuple[str, Any]]) -> None:
        self.open(tag, what.attributes, depth)
        for name in _SCHEMA[tag]:
            if name in what.fields:
                self.text(name, what.fields[name], depth + 1)
            elif name == "link":
                self.all(what.links, depth + 1)
        self.rest(what.extensions, what.others, depth + 1)
        for name, item in content:
            if isinstance(item, Point):
                self.point(name, item, depth + 1)
            else:
                self.segment(item, depth + 1)
        self.close(tag, depth)

    def segment(self, segment: Segment, depth: int) -> None:
        self.open("trkseg", segment.attributes, depth)
        for point in segment.points:
            self.point("trkpt", point, depth + 1)
        self.rest(segment.extensions, segment.others, depth + 1)
        self.close("trkseg", depth)

    def point(self, tag: str, point: Point, depth: int) -> None:
        place = f'lat="{_quoted(point.lat)}" lon="{_quoted(point.lon)}"'
        self.lines.append(f"{_INDENT * depth}<{tag} {place}{self.attributes(point.attributes)}>")
        if point.ele is not None:
            self.text("ele", point.ele, depth + 1)
        if point.time is not None:
            self.text("time", point.time, depth + 1)
        if point.fields or point.links:
            for name in _SCHEMA["point"]:
                if name in point.fields:
                    self.text(name, point.fields[name], depth + 1)
                elif name == "link":
                    self.all(point.links, depth + 1)
        self.rest(point.extensions, point.others, depth + 1)
        self.close(tag, depth)

    def rest(self, extensions: list[Element] | None, others: list[Element], depth: int) -> None:
        if extensions is not None:
            self.open("extensions", {}, depth)
            self.all(extensions, depth + 1)
            self.close("extensions", depth)
        self.all(others, depth)

    def all(self, elements: list[Element], depth: int) -> None:
        for element in elements:
            self.element(element, depth)

    def open(self, tag: str, attributes: dict[str, str], depth: int) -> None:
        self.lines.append(f"{_INDENT * depth}<{tag}{self.attributes(attributes)}>")

    def close(self, tag: str, depth: int) -> None:
        self.lines.append(f"{_INDENT * depth}</{tag}>")

    def text(self, tag: str, text: str, depth: int) -> None:
        self.lines.append(f"{_INDENT * depth}<{tag}>{_escaped(text)}</{tag}>")

    def element(self, element: Element, depth: int) -> None:
        self.lines.append(f"{_INDENT * depth}{self.inline(element, GPX, depth)}")

    def inline(self, element: Element, default: str, depth: int) -> str:
        """An element as text; indented inside unless it mixes text and elements. `default` is the namespace
        of names without a prefix."""
        uri, _, local = element.tag.rpartition("}")
        uri = uri[1:]
        declaration = ""
        if uri in ("", GPX):
            name = local
            if uri != default:
                declaration = f' xmlns="{uri}"'
                default = uri
        else:
            name = f"{self.prefix(uri)}:{local}"
        start = f"{name}{declaration}{self.attributes(element.attributes)}"
        children = element.children
        if not children:
            return f"<{start}>{_escaped(element.text)}</{name}>" if element.text else f"<{start}/>"
        if element.text or any(child.tail for child in children):
            inside = "".join(self.inline(child, default, depth) + _escaped(child.tail) for child in children)
            return f"<{start}>{_escaped(element.text)}{inside}</{name}>"
        lines = [_INDENT * (depth + 1) + self.inline(child, default, depth + 1) for child in children]
        return "\n".join([f"<{start}>", *lines, f"{_INDENT * depth}</{name}>"])

    def attributes(self, attributes: dict[str, str]) -> str:
        if not attributes:
            return ""
        texts = []
        for tag, value in attributes.items():
            uri, _, local = tag.rpartition("}")
            name = f"{self.prefix(uri[1:])}:{local}" if uri else local
            texts.append(f' {name}="{_quoted(value)}"')
        return "".join(texts)

    def prefix(self, uri: str) -> str:
        """The document's own prefix of a namespace, or a new one."""
        prefix = self.prefixes.get(uri)
        if prefix is None:
            self.made += 1
            while f"ns{self.made}" in self.declared:
                self.made += 1
            prefix = self.prefixes[uri] = f"ns{self.made}"
            self.declared[prefix] = uri
        return prefix


def _escaped(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    text = _NOT_XML.sub("\ufffd", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def _quoted(text: str) -> str:
    text = _escaped(text)
    return text.replace('"', "&quot;").replace("\t", "&#9;").replace("\n", "&#10;")


_INDENT = "  "
_PLAIN = re.compile(r"[\w .:,;()/+-]*", re.ASCII)
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


# --- From our own fixes ---


def document_of(name: str, segments: Sequence[Sequence[Fix]], *, creator: str = "Xungeng") -> Document:
    """One track of our own as a document: place, elevation, time, and in extensions what GPX 1.1 has no element
    for: speed and course as Garmin writes them, accuracy, battery and flags in a namespace of our own.

    Places are written to 1e-7 degrees (1 cm), times to the millisecond.
    """
    parts = [Segment([_point_of(fix) for fix in segment]) for segment in segments]
    return Document(
        creator=creator,
        tracks=[Track({"name": name}, [], parts)],
        namespaces={"gpxtpx": GARMIN, "xungeng": XUNGENG},
    )


def _point_of(fix: Fix) -> Point:
    garmin = [("speed", fix.speed_mps), ("course", fix.heading_deg)]
    own = [("accuracy_m", fix.accuracy_m), ("battery_pct", fix.battery_pct)]
    extensions = [_measure(XUNGENG, name, value) for name, value in own if value is not None]
    extensions += [Element(f"{{{XUNGENG}}}flag", {}, flag) for flag in flag_names(fix.flags)]
    measured = [_measure(GARMIN, name, value) for name, value in garmin if value is not None]
    if measured:
        extensions.insert(0, Element(f"{{{GARMIN}}}TrackPointExtension", {}, "", measured))
    return Point(
        lat=f"{fix.lat:.7f}",
        lon=f"{fix.lon:.7f}",
        ele=None if fix.altitude_m is None else f"{fix.altitude_m:.2f}",
        time=fix.fixed_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        extensions=extensions or None,
    )


def _measure(uri: str, name: str, value: float) -> Element:
    return Element(f"{{{uri}}}{name}", {}, f"{value:.2f}")


# --- Comparing ---


def canonical(data: bytes) -> tuple[Any, ...]:
    """A document as nested tuples (tag, attributes, text, children, tail) that are equal exactly if two
    documents say the same: prefixes, indentation, comments and the order of elements that the schema orders do
    not matter, everything else does.

    It reads with lxml and nothing of this module, so that comparing `data` with `write(read(data))` proves
    something. Raises ValueError for what is not well-formed.
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        return _canonical(etree.fromstring(data, parser), "gpx")
    except etree.XMLSyntaxError as error:
        raise ValueError(str(error)) from None


def _canonical(element: Any, kind: str | None) -> tuple[Any, ...]:
    schema = _SCHEMA.get(kind or "")
    children = []
    for child in element:
        uri, _, local = child.tag.rpartition("}")
        inner = schema.get(local) if schema is not None and uri[1:] == GPX else None
        children.append((local if inner else None, _canonical(child, inner)))
    if schema is not None:
        rank = {name: number for number, name in enumerate(schema)}
        children.sort(key=lambda entry: rank.get(entry[0] or "", len(rank)))
    text = element.text or ""
    tails = [child.tail or "" for child in element]
    is_number = kind == _TEXT and element.tag in (f"{_IN_GPX}ele", f"{_IN_GPX}time")
    is_structure = schema is not None or kind == _EXTENSIONS
    if is_number or is_structure or (children and not (text + "".join(tails)).strip(_SPACE)):
        text = text.strip(_SPACE)
        tails = [""] * len(children)
    inside = tuple((*child, tail) for (_, child), tail in zip(children, tails, strict=True))
    attributes = tuple(sorted((name, value) for name, value in element.attrib.items()))
    return (element.tag, attributes, text, inside)
