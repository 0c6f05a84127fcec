"""Files of checkpoints and lines: each row says what is wrong with it, and nothing that is in a file makes it worse."""

from __future__ import annotations

import csv
import io
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo import checkpoint_files
from geo.checkpoint_files import MOST_ROWS, MOST_VERTICES, Format, Row
from geo.features import FeatureError

HEAD = "code,name_zh,name_en,lon,lat,radius_m,min_dwell_s"
GPX = '<gpx version="1.1" creator="x" xmlns="http://www.topografix.com/GPX/1/1">{}</gpx>'


def as_csv(*rows: str, head: str = HEAD) -> bytes:
    return "\n".join([head, *rows]).encode()


def one(data: bytes, form: Format = Format.CSV) -> Row:
    [row] = checkpoint_files.checkpoints(data, form)
    return row


TEXTS = st.text(
    st.characters(exclude_categories=("C", "Z"), include_characters=' ,";'), min_size=1, max_size=40
).filter(lambda text: text == text.strip() and text.strip() and text.isprintable())


@given(
    TEXTS,
    TEXTS,
    TEXTS,
    st.floats(-72, 72),
    st.floats(-72, 72),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_a_spreadsheet_writes_is_read_as_it_was(
    code: str, name_zh: str, name_en: str, lon: float, lat: float, marked: bool, ends: str
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=ends)
    writer.writerow(["lat", "code", "note", "lon", "name_en", "name_zh"])
    writer.writerow([repr(lat), code, "x", repr(lon), name_en, name_zh])
    row = one(out.getvalue().encode("utf-8-sig" if marked else "utf-8"))
    assert row.fault is None
    assert (row.code, row.name) == (code, {"zh-CN": name_zh, "en": name_en})
    assert (row.lon, row.lat) == (lon, lat)
    assert (row.radius_m, row.min_dwell_s) == (None, None), "of the fence it says nothing"


@pytest.mark.parametrize(
    ("row", "says"),
    {
        ",东门,East,121,31,,": "has no code",
        "c,,East,121,31,,": "has no name_zh",
        "c,东门,East,121,,,": "lat has to be a number",
        "c,东门,East,nan,31,,": "lon has to be a number",
        "c,东门,East,inf,31,,": "lon has to be a number",
        "c,东门,East,31,121,,": "longitude comes first",
        "c,东门,East,181,31,,": "not on earth",
        "c,东门,East,121,31,4,": "radius_m has to be between 5 and 500",
        "c,东门,East,121,31,nan,": "radius_m has to be a number",
        "c,东门,East,121,31,,3601": "min_dwell_s has to be between 0 and 3600",
        "c,东门,East,121,31": "not as many cells",
        "c,东门,East,121,31,,,": "not as many cells",
        "c,东\u202e门,East,121,31,,": "name_zh has to be a line",
        f"{'c' * 65},东门,East,121,31,,": "code has to be a line of at most 64",
    }.items(),
)
def test_a_row_that_is_not_taken_says_why_and_stops_no_other(row: str, says: str) -> None:
    """F70."""
    good = "good,东门,East,121,31,25,30"
    bad, fine = checkpoint_files.checkpoints(as_csv(row, good), Format.CSV)
    assert says in str(bad.fault)
    assert str(bad.fault).startswith("Row 1")
    assert (fine.code, fine.fault, fine.radius_m, fine.min_dwell_s) == ("good", None, 25.0, 30)


def test_a_code_that_stands_twice_is_taken_once() -> None:
    row = "c,东门,East,121,31,,"
    first, second = checkpoint_files.checkpoints(as_csv(row, row), Format.CSV)
    assert first.fault is None
    assert second.fault == "Row 2 (code c) has the same code as row 1 (code c)."


def test_a_waypoint_has_its_code_as_its_name_and_what_describes_it_in_both_languages() -> None:
    points = '<wpt lat="31" lon="121"><name> A1 </name><desc>东门</desc></wpt>'
    points += '<wpt lat="31" lon="121"><name>A2</name></wpt>'
    described, bare = checkpoint_files.checkpoints(GPX.format(points).encode(), Format.GPX)
    assert (described.code, described.name) == ("A1", {"zh-CN": "东门", "en": "东门"})
    assert (bare.code, bare.name) == ("A2", {"zh-CN": "A2", "en": "A2"})
    nameless = one(GPX.format('<wpt lat="31" lon="121"/>').encode(), Format.GPX)
    assert nameless.fault == "Waypoint 1 has no code."


@pytest.mark.parametrize(
    ("data", "form", "says"),
    [
        (b"", Format.CSV, "first line has to name"),
        (as_csv(), Format.CSV, "no checkpoints"),
        (as_csv(head="code,lon,lat"), Format.CSV, "name_zh, name_en is missing"),
        (as_csv(head=HEAD + ",code"), Format.CSV, "twice"),
        ("code,名".encode("gb18030"), Format.CSV, "not in UTF-8"),
        (as_csv('"c'), Format.CSV, "not readable as CSV"),
        (as_csv("x" * 200_000), Format.CSV, "not readable as CSV"),
        (as_csv(*["c,东门,East,121,31,,"] * (MOST_ROWS + 1)), Format.CSV, "at most 5000"),
        (b"[" * 100_000, Format.GEOJSON, "not readable as JSON"),
        (b'{"type":"FeatureCollection","features":[]}', Format.GEOJSON, "no features"),
        (GPX.format("").encode(), Format.GPX, "no checkpoints"),
        (b"<!DOCTYPE gpx [<!ENTITY a 'a'>]><gpx/>", Format.GPX, "DTD"),
        (as_csv("c,东门,East,121,31,,"), Format.GPX, "not well-formed"),
    ],
)
def test_what_is_no_such_file_says_why(data: bytes, form: Format, says: str) -> None:
    """F70."""
    with pytest.raises(FeatureError, match=says):
        checkpoint_files.checkpoints(data, form)


@given(
    st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)), st.sampled_from(list(Format))
)
def test_no_file_does_anything_but_be_read_or_refused(data: bytes, form: Format) -> None:
    for read in (checkpoint_files.checkpoints, checkpoint_files.lines):
        with suppress(FeatureError):
            assert read(data, form)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["type", "geometry", "properties", "coordinates"]),
            st.recursive(
                st.none() | st.floats() | st.text(max_size=3),
                lambda inner: st.lists(inner, max_size=3),
                max_leaves=5,
            ),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_no_feature_does_anything_but_be_read_or_refused(members: list[dict[str, Any]]) -> None:
    data = json.dumps({"type": "FeatureCollection", "features": members}).encode()
    rows = checkpoint_files.checkpoints(data, Format.GEOJSON)
    assert len(rows) == len(members)
    assert all(row.fault for row in rows if row.code is None)


def test_a_line_with_more_corners_than_are_kept_is_thinned_and_keeps_its_ends_and_its_shape() -> None:
    places = [[121 + n * 1e-6, 31 + (0.001 if n == 5000 else n % 2 * 1e-7)] for n in range(10_001)]
    data = json.dumps({"type": "LineString", "coordinates": places}).encode()
    [line] = checkpoint_files.lines(data, Format.GEOJSON)
    assert len(line.places) <= MOST_VERTICES
    assert [line.places[0], line.places[-1]] == [tuple(places[0]), tuple(places[-1])]
    assert tuple(places[5000]) in line.places
    with pytest.raises(FeatureError, match="GeoJSON or GPX"):
        checkpoint_files.lines(b"", Format.CSV)
    with pytest.raises(FeatureError, match="draws no line"):
        checkpoint_files.lines(GPX.format("").encode(), Format.GPX)
    with pytest.raises(FeatureError, match="leads nowhere"):
        still = '<rte><rtept lat="31" lon="121"/><rtept lat="31" lon="121"/></rte>'
        checkpoint_files.lines(GPX.format(still).encode(), Format.GPX)
