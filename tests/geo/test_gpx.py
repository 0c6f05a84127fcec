"""GPX 1.1 comes back as it went in, and what strangers send is refused with its line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gpxpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from geo import gpx
from geo.fixes import Fix, Flag
from geo.gpx import GPX, Document, GpxError, Limits, Metadata, Point, Route, Segment, canonical, read, write

SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.gpx"))


def document(inside: str, root: str = 'version="1.1" creator="test"', namespace: str = GPX) -> bytes:
    return f'<?xml version="1.0"?>\n<gpx xmlns="{namespace}" {root}>\n{inside}\n</gpx>'.encode()


def track(points: str) -> bytes:
    return document(f"<trk>\n<trkseg>\n{points}\n</trkseg>\n</trk>")


# --- What makers write ---


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_come_back_as_they_went_in(path):
    data = path.read_bytes()
    written = write(read(data))
    assert canonical(written) == canonical(data)
    assert write(read(written)) == written


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_another_reader_finds_the_same_in_what_is_written(path):
    data = path.read_bytes()
    before, after = gpxpy.parse(data), gpxpy.parse(write(read(data)))
    assert after.to_xml() == before.to_xml()


def sample(name: str) -> Document:
    return read((Path(__file__).parent / "samples" / f"{name}.gpx").read_bytes())


def test_garmin_speed_and_course_are_read():
    walk = sample("garmin").tracks[0]
    first, second = walk.fixes()
    assert (first[0].lon, first[0].lat, first[0].altitude_m) == (121.4737010282, 31.2304160203, 4.21)
    assert (first[0].speed_mps, first[0].heading_deg) == (1.31, 88.2)
    assert first[0].fixed_at == datetime(2026, 5, 1, 1, 14, 8, tzinfo=UTC)
    assert first[1].speed_mps is None
    assert len(second) == 1
    assert walk.is_timed


def test_gpslogger_and_osmand_speeds_are_read():
    logger, osmand = sample("gpslogger").tracks[0].fixes(), sample("osmand").tracks[0].fixes()
    assert (logger[0][0].speed_mps, logger[0][0].heading_deg) == (0.92, 271.5)
    assert logger[0][1].fixed_at == datetime(2026, 5, 3, 0, 0, 11, tzinfo=UTC)
    assert (osmand[0][0].speed_mps, osmand[0][0].heading_deg) == (1.1, 12.0)
    assert osmand[1] == []


def test_texts_numbers_and_prefixes_are_kept_as_written():
    point = sample("every_element").waypoints[0]
    assert (point.lat, point.lon, point.ele) == ("-0.0000001", "-180.0", "-12.50")
    assert point.fields["name"] == " spaces around "
    assert point.fields["desc"] == "two\nlines\tand a tab"
    assert point.fields["cmt"] == ""
    assert point.at == datetime(2026, 5, 1, tzinfo=UTC)
    assert b"<osmand:speed>1.1</osmand:speed>" in write(sample("osmand"))
    assert sample("garmin").tracks[0].fields["name"] == "2026-05-01 09:14:08"


def test_the_tracks_of_a_document_taken_apart_say_what_it_said_and_nothing_twice():
    def timed(name: str) -> str:
        point = '<trkpt lat="1" lon="2"><time>2026-05-01T00:00:00Z</time></trkpt>'
        return f"<trk><name>{name}</name><trkseg>{point}</trkseg></trk>"

    whole = read(
        document(
            '<metadata><name>m</name></metadata><wpt lat="1" lon="2"/><rte/>'
            f"{timed('a')}<trk><name>plan</name></trk>{timed('b')}"
        )
    )
    (a, first), (b, second) = ((track, read(write(own))) for track, own in whole.apart())
    assert [t.fields["name"] for t in (a, b)] == ["a", "b"]
    assert [t.fields["name"] for t in first.tracks] == ["a", "plan"]
    assert (first.metadata, first.waypoints, first.routes) == (whole.metadata, whole.waypoints, whole.routes)
    assert second == Document(whole.creator, tracks=[whole.tracks[2]])


@pytest.mark.parametrize(
    ("count", "declaration"), [(250, 'xmlns="u:{}"'), (250, 'xmlns:p{}="u:{}"'), (250, 'xmlns:p="u:{}"')]
)
def test_namespaces_are_kept_up_to_a_bound(count, declaration):
    """F70: 150,000 namespaces took minutes to be written; a few hundred are more than any file has."""

    def data(number: int) -> bytes:
        marks = "".join(f"<x {declaration.format(n, n)}/>" for n in range(number))
        return document(f'<wpt lat="1" lon="2"><extensions>{marks}</extensions></wpt>')

    assert canonical(write(read(data(count)))) == canonical(data(count))
    with pytest.raises(GpxError, match="more than 256 namespaces"):
        read(data(150_000))


def test_names_that_every_part_of_a_document_repeats_are_bounded():
    assert read(document("", f'version="1.1" creator="{"c" * 2000}"'))
    for root in (
        f'version="1.1" creator="{"c" * 2001}"',
        f'version="1.1" creator="c" xmlns:p="{"u" * 2001}"',
    ):
        with pytest.raises(GpxError, match="2000 characters"):
            read(document("", root))


# --- Any document ---

letters = st.characters(exclude_categories=["Cs", "Cc", "Cn"], include_characters="\t\n\r <>&'\"")
texts = st.text(letters, max_size=12)
# Prefixes that no library takes for itself: the table is one for the whole process, and openpyxl has `a` and `c`.
URIS = {"t1": "urn:a", "t2": "urn:b", "t3": "https://example.org/x?y=1&z", "t4": GPX}
for prefix, uri in URIS.items():
    etree.register_namespace(prefix, uri)  # Else lxml gives one element two prefixes of one name.
uris = st.sampled_from([*URIS.values(), ""])
names = st.sampled_from(["speed", "x", "Point.Extension", "名"])
tags = st.builds(lambda uri, name: f"{{{uri}}}{name}" if uri else name, uris, names)
attributes = st.dictionaries(tags.filter(lambda tag: not tag.startswith(f"{{{GPX}}}")), texts, max_size=2)
numbers = st.from_regex(r"[+-]?[0-9]{1,3}\.[0-9]{1,10}", fullmatch=True)
lats = st.from_regex(r"-?[0-8]?[0-9](\.[0-9]{0,10})?", fullmatch=True)
lons = st.from_regex(r"-?1?[0-7]?[0-9](\.[0-9]{0,10})?", fullmatch=True)
times = st.one_of(
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.isoformat() + "Z"),
    st.just("2026-05-01T08:00:00+08:00"),
    st.just("2026-05-01T00:00:00"),
)


def element(tag: str, given_attributes: dict[str, str], text: str, children: list[tuple[Any, str]]) -> Any:
    made = etree.Element(tag, given_attributes)
    made.text = text
    for child, tail in children:
        made.append(child)
        child.tail = tail
    return made


tails = st.sampled_from(["", " ", "\n", "mixed"])
foreign = st.recursive(
    st.builds(element, tags, attributes, texts, st.just([])),
    lambda inner: st.builds(
        element,
        tags,
        attributes,
        texts,
        st.lists(st.tuples(inner, st.sampled_from(["", " ", "\n", "mixed"])), max_size=3),
    ),
    max_leaves=6,
)


@st.composite
def gpx_elements(draw: Any, kind: str, tag: str) -> Any:
    """An element of the schema with some of what it may hold, in the schema's order or another."""
    schema = gpx._SCHEMA[kind]
    made = []
    for name, child in schema.items():
        if child == "text" and draw(st.booleans()):
            leaf = element(f"{{{GPX}}}{name}", {}, draw(texts), [])
            if kind == "point" and name in ("ele", "time"):
                leaf.text = draw(times if name == "time" else numbers)
            made.append(leaf)
        elif child == "link":
            for _ in range(draw(st.integers(0, 2))):
                made.append(element(f"{{{GPX}}}link", {"href": draw(texts)}, "", []))
        elif child == "part" and draw(st.booleans()):
            made.append(element(f"{{{GPX}}}{name}", {"a": draw(texts)}, draw(texts), []))
        elif child == "extensions" and draw(st.booleans()):
            inside = [(child, "") for child in draw(st.lists(foreign, max_size=3))]
            made.append(element(f"{{{GPX}}}extensions", {}, draw(st.sampled_from(["", "\n  "])), inside))
        elif child in ("point", "trkseg", "rte", "trk"):
            made += draw(st.lists(gpx_elements(child, f"{{{GPX}}}{name}"), max_size=2))
        elif child == "metadata" and draw(st.booleans()):
            made.append(draw(gpx_elements(child, f"{{{GPX}}}{name}")))
    if draw(st.booleans()):
        unknown = draw(foreign)
        if etree.QName(unknown).localname not in schema:
            made.append(unknown)
    if draw(st.booleans()):
        made = draw(st.permutations(made))
    given_attributes = dict(draw(attributes))
    if kind == "point":
        given_attributes |= {"lat": draw(lats), "lon": draw(lons)}
    if kind == "gpx":
        given_attributes |= {"version": "1.1", "creator": draw(texts)}
    return element(
        tag, given_attributes, "", [(child, draw(st.sampled_from(["", "\n  "]))) for child in made]
    )


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(root=gpx_elements("gpx", f"{{{GPX}}}gpx"), encoding=st.sampled_from(["utf-8", "utf-16", "gb18030"]))
def test_any_document_comes_back_as_it_went_in(root, encoding):
    text = etree.tostring(root, encoding="unicode")
    # Encoded here, because libxml's table of GB 18030 is of another year than Python's.
    written = write(read(f'<?xml version="1.0" encoding="{encoding}"?>\n{text}'.encode(encoding)))
    assert canonical(written) == canonical(text.encode())
    assert write(read(written)) == written


points = st.builds(
    Point,
    lat=lats,
    lon=lons,
    ele=st.none() | numbers,
    time=st.none() | times,
    fields=st.dictionaries(
        st.sampled_from(["name", "cmt", "sym", "sat", "hdop", "dgpsid"]), texts, max_size=3
    ),
)
documents = st.builds(
    Document,
    creator=texts,
    metadata=st.none()
    | st.builds(Metadata, fields=st.dictionaries(st.sampled_from(["name", "keywords"]), texts)),
    waypoints=st.lists(points, max_size=2),
    routes=st.lists(st.builds(Route, points=st.lists(points, max_size=3)), max_size=2),
    tracks=st.lists(
        st.builds(
            gpx.Track,
            fields=st.dictionaries(st.sampled_from(["name", "number", "type"]), texts),
            segments=st.lists(st.builds(Segment, points=st.lists(points, max_size=4)), max_size=3),
        ),
        max_size=2,
    ),
)


@given(made=documents)
def test_what_is_made_here_is_read_as_it_was_made(made):
    assert read(write(made)) == made


def test_characters_that_xml_cannot_hold_do_not_break_the_document():
    made = Document("c", tracks=[gpx.Track({"name": "bell \x07, half \ud800, none \x00"})])
    assert read(write(made)).tracks[0].fields["name"] == "bell \ufffd, half \ufffd, none \ufffd"


# --- From our own fixes ---


def test_our_own_track_is_written_with_all_that_was_measured():
    start = datetime(2026, 5, 1, 4, 0, 0, 250_000, tzinfo=UTC)
    fixes = [
        Fix(
            start,
            121.4737,
            31.2304,
            accuracy_m=4.5,
            altitude_m=12.0,
            speed_mps=1.25,
            heading_deg=88.0,
            battery_pct=77.0,
        ),
        Fix(start + timedelta(seconds=10), 121.47382, 31.2304, flags=int(Flag.MOCK | Flag.LATE)),
    ]
    data = write(gpx.document_of("早班 <1>", [fixes, fixes[1:]]))
    again = read(data)
    (walk,) = again.tracks
    assert again.creator == "Xungeng"
    assert walk.fields["name"] == "早班 <1>"
    read_back = walk.fixes()
    assert [len(part) for part in read_back] == [2, 1]
    for before, after in zip(fixes, read_back[0], strict=True):
        assert after.fixed_at == before.fixed_at
        assert (after.lon, after.lat) == pytest.approx((before.lon, before.lat), abs=5e-8)
        assert (after.altitude_m, after.speed_mps, after.heading_deg) == (
            before.altitude_m,
            before.speed_mps,
            before.heading_deg,
        )
    first, second = walk.segments[0].points
    assert (first.reading("accuracy_m"), first.reading("battery_pct")) == (4.5, 77.0)
    assert [e.text for e in gpx.walk(second.extensions or []) if e.tag.endswith("}flag")] == ["mock", "late"]
    assert len(gpxpy.parse(data).tracks[0].segments[0].points) == 2


# --- Times ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-01T08:30:00Z", datetime(2026, 5, 1, 8, 30, tzinfo=UTC)),
        ("2026-05-01T08:30:00", datetime(2026, 5, 1, 8, 30, tzinfo=UTC)),
        ("2026-05-01T08:30:00+08:00", datetime(2026, 5, 1, 0, 30, tzinfo=UTC)),
        ("2026-05-01T08:30:00.5Z", datetime(2026, 5, 1, 8, 30, 0, 500_000, tzinfo=UTC)),
        ("2026-05-01T08:30:00.123456789Z", datetime(2026, 5, 1, 8, 30, 0, 123_456, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_utc(text, expected):
    assert gpx.instant(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-05-01",
        "20260501T083000Z",
        "2026-13-01T00:00:00Z",
        "2026-05-01T25:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-05-01T08:30:00+99:00",
        "0001-01-01T00:00:00+08:00",
        "２０２６-05-01T08:30:00Z",
        "2026-05-01T08:30:00Z\n",
    ],
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(GpxError):
        gpx.instant(text)


def test_a_track_without_times_was_not_recorded():
    untimed = read(track('<trkpt lat="1" lon="2"/>')).tracks[0]
    half = read(
        track('<trkpt lat="1" lon="2"/><trkpt lat="1" lon="2"><time>2026-05-01T00:00:00Z</time></trkpt>')
    )
    assert not untimed.is_timed
    assert not half.tracks[0].is_timed
    assert not read(document("<trk/>")).tracks[0].is_timed
    with pytest.raises(GpxError, match="has no time"):
        untimed.fixes()


# --- What is refused ---

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE gpx [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9))
    + f']><gpx xmlns="{GPX}" version="1.1" creator="&j;"/>'
)
EXTERNAL = (
    '<?xml version="1.0"?>\n<!DOCTYPE gpx [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    f'<gpx xmlns="{GPX}" version="1.1" creator="c"><metadata><name>&x;</name></metadata></gpx>'
)

REFUSED = {
    "empty": (b"", "not well-formed", 1),
    "not xml": (b"lat,lon\n1,2", "not well-formed", 1),
    "cut off": (track("<trkpt lat='1' lon='2'>")[:-20], "not well-formed", None),
    "null byte": (document("<trk>\x00</trk>"), "not well-formed", 3),
    "not utf-8": (
        document("<trk><name>\u00e9</name></trk>").replace(b"\xc3\xa9", b"\xe9"),
        "not well-formed",
        3,
    ),
    "unknown encoding": (b'<?xml version="1.0" encoding="x-none"?><gpx/>', "encoding", None),
    "several bytes": (b'<?xml version="1.0" encoding="shift_jis"?><gpx/>', "encoding", None),
    "broken gbk": (b'<?xml version="1.0" encoding="GBK"?><gpx a="\xff\xff"/>', "encoding", None),
    "entities": (BOMB.encode(), "DTD", 1),
    "file": (EXTERNAL.encode(), "DTD", 2),
    "remote DTD": (b'<!DOCTYPE gpx SYSTEM "http://example.org/gpx.dtd"><gpx/>', "DTD", 1),
    "undeclared prefix": (document("<extensions><a:b/></extensions>"), "not well-formed", 3),
    "GPX 1.0": (document("", 'version="1.0" creator="c"', "http://www.topografix.com/GPX/1/0"), "GPX 1.0", 2),
    "1.0 in the new namespace": (document("", 'version="1.0" creator="c"'), "GPX 1.0", 2),
    "GPX 2": (document("", 'version="2.0" creator="c"'), "'2.0'", 2),
    "no version": (document("", 'creator="c"'), "None", 2),
    "no creator": (document("", 'version="1.1"'), "no creator", 2),
    "no namespace": (b'<gpx version="1.1" creator="c"/>', "not GPX 1.1", 1),
    "KML": (b'<kml xmlns="http://www.opengis.net/kml/2.2"/>', "kml", 1),
    "no latitude": (track('<trkpt lon="2"/>'), "has no lat", 5),
    "latitude 91": (track('<trkpt lat="91" lon="2"/>'), "lat='91'", 5),
    "longitude 180.1": (track('<trkpt lat="1" lon="-180.1"/>'), "lon='-180.1'", 5),
    "not a number": (track('<trkpt lat="NaN" lon="2"/>'), "lat='NaN'", 5),
    "python's numbers": (track('<trkpt lat="1_0" lon="2"/>'), "lat='1_0'", 5),
    "endless": (track('<trkpt lat="1e999" lon="2"/>'), "lat='1e999'", 5),
    "bad time": (track('<trkpt lat="1" lon="2">\n<time>noon</time></trkpt>'), "'noon'", 6),
    "point in a track": (document('<trk><trkpt lat="1" lon="2"/></trk>'), "<trkpt> does not belong", 3),
    "segment outside": (document("<trkseg/>"), "<trkseg> does not belong", 3),
    "two names": (document("<trk><name>a</name>\n<name>b</name></trk>"), "second <name>", 4),
    "two metadata": (document("<metadata/><metadata/>"), "second <metadata>", 3),
    "text between": (track("lost"), "text directly in <trkseg>", 4),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_gpx_is_refused_with_its_line(name):
    data, message, line = REFUSED[name]
    with pytest.raises(GpxError) as refusal:
        read(data)
    assert message in str(refusal.value)
    if line is not None:
        assert refusal.value.line == line
        assert str(refusal.value).startswith(f"Line {line}: ")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(max_bytes=100), "bytes"),
        (Limits(max_points=2), "more than 2 points"),
        (Limits(max_elements=5), "more than 5 elements"),
        (Limits(max_depth=3), "more than 3 deep"),
    ],
)
def test_too_much_is_refused(limits, message):
    """F70."""
    data = track('<trkpt lat="1" lon="2"/>' * 3)
    assert len(read(data).tracks[0].segments[0].points) == 3
    with pytest.raises(GpxError, match=message):
        read(data, limits)


def test_depth_is_bounded_inside_extensions_too():
    """F70."""
    deep = "<a>" * 100_000 + "</a>" * 100_000
    with pytest.raises(GpxError, match="nested more than 64 deep"):
        read(document(f"<extensions>{deep}</extensions>"))


def test_a_document_in_gbk_is_read():
    data = (
        document("<trk><name>夜巡</name></trk>")
        .decode()
        .replace('"1.0"?', '"1.0" encoding="GBK"?')
        .encode("gbk")
    )
    assert read(data).tracks[0].fields["name"] == "夜巡"


@given(data=st.binary(max_size=200))
def test_no_bytes_do_anything_but_be_refused(data):
    with pytest.raises(GpxError):
        read(data)


@given(
    path=st.sampled_from(SAMPLES),
    cuts=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 20), st.binary(max_size=8)), min_size=1, max_size=4
    ),
)
def test_a_damaged_document_is_read_or_refused(path, cuts):
    data = path.read_bytes()
    for where, length, instead in cuts:
        at = int(where * len(data))
        data = data[:at] + instead + data[at + length :]
    try:
        made = read(data)
    except GpxError:
        return
    assert canonical(write(made)) == canonical(data)


def test_numbers_that_are_none_are_kept_and_not_read():
    extensions = "<extensions><speed>fast</speed></extensions>"
    made = read(track(f'<trkpt lat="1" lon="2"><ele>NaN</ele>{extensions}</trkpt>'))
    (point,) = made.tracks[0].segments[0].points
    assert (point.ele, point.ele_m, point.reading("speed")) == ("NaN", None, None)


def test_one_prefix_of_two_namespaces_and_two_prefixes_of_one_are_told_apart():
    data = document(
        '<extensions><a:x xmlns:a="urn:1" a:k="1"/><a:x xmlns:a="urn:2" a:k="2"><b:y xmlns:b="urn:1"/></a:x>'
        '<x xmlns="urn:3"><z xmlns=""/><wpt xmlns="http://www.topografix.com/GPX/1/1"/></x></extensions>'
    )
    assert canonical(write(read(data))) == canonical(data)
