"""The commands about a town of one's own, as people type them, on a real database."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
import zxingcpp
from click.testing import CliRunner, Result
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from backend.cli import cli
from backend.core import db, logs
from backend.core.config import OWNER_ROLE, libpq_url
from backend.embedded.cluster import Cluster
from clusters import Database
from geo.gpx import canonical

WEST, SOUTH = 121.40, 31.10
GPX_SAMPLES = Path(__file__).resolve().parents[1] / "geo" / "samples"
Run = Callable[..., Result]


def box(west: float, south: float, width: float = 0.01, height: float = 0.01) -> list[list[float]]:
    """A ring of a rectangle, in degrees, relative to the town's corner."""
    west, south = WEST + west, SOUTH + south
    east, north = west + width, south + height
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


TOWN = {"type": "Polygon", "coordinates": [box(0, 0, 0.1, 0.1)]}


def area(
    code: str, ring: list[list[float]], parent: str | None = "qinghe", kind: str = "grid"
) -> dict[str, Any]:
    about = {
        "code": code,
        "kind": kind,
        "name_zh": f"网格{code}",
        "name_en": f"Grid {code}",
        "parent": parent,
    }
    return feature({"type": "Polygon", "coordinates": [ring]}, **about)


def feature(geometry: object, **about: object) -> dict[str, Any]:
    return {"type": "Feature", "properties": about, "geometry": geometry}


def collection(*features: dict[str, Any]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


@pytest.fixture
def run(fresh_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Type a command; objects among the words are files that hold them."""
    # Who is in the shell keeps his logs.
    monkeypatch.setattr(logs, "configure", lambda *_arguments, **_options: None)
    before = db._engine
    settings = {
        "DATABASE_URL": fresh_database.owner_url,
        "DATABASE_OWNER_URL": fresh_database.owner_url,
        "DATABASE_APP_URL": fresh_database.app_url,
        "XUNGENG_DATA": str(tmp_path / "var"),
        "XUNGENG_DEMO": "0",
    }

    def run(*words: object, typed: str | None = None, refused: bool = False) -> Result:
        arguments = []
        for word in words:
            if not isinstance(word, str):
                path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
                path.write_text(json.dumps(word))
                word = str(path)
            arguments.append(word)
        result = CliRunner().invoke(cli, arguments, env=settings, input=typed)
        assert result.exit_code == (1 if refused else 0), result.output
        if refused:
            assert result.stderr.count("\n") == 1, "one sentence"
            assert result.stderr.startswith("xungeng: ")
        return result

    yield run
    db.set_engine(before)


@pytest.fixture
def town(run: Run) -> Run:
    """A command line in front of an installation with one town."""
    run("town", "create", "qinghe", "--name-zh", "青禾镇", "--name-en", "Qinghe", "--outline", TOWN)
    return run


@pytest.fixture
def rows(fresh_database: Database) -> Callable[[str], list[tuple[Any, ...]]]:
    """What the owner reads in the database."""
    engine: Engine = create_engine(fresh_database.owner_url, poolclass=NullPool)

    def rows(query: str) -> list[tuple[Any, ...]]:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    return rows


# --- the town -------------------------------------------------------------------------------------------------------


def test_a_town_is_made_once_with_its_root_area(run: Run, rows: Callable[[str], Any]) -> None:
    create = ("town", "create", "qinghe", "--name-zh", "青禾镇", "--name-en", "Qinghe", "--outline")
    assert "accounts create" in run(*create, feature(TOWN)).output
    assert rows("select kind, code, parent_id, st_isvalid(geom) from areas") == [
        ("town", "qinghe", None, True)
    ]
    assert rows("select action from journal where subject_kind = 'town'") == [("create",)]
    assert "already. (town_exists)" in run(*create, TOWN, refused=True).stderr
    assert "is not a time zone" in run(*create, TOWN, "--time-zone", "Mars/Base", refused=True).stderr


BAD_OUTLINES: list[tuple[object, str]] = [
    (
        {
            "type": "Polygon",
            "coordinates": [[[31.1, 121.4], [31.2, 121.4], [31.2, 121.5], [31.1, 121.4]]],
        },
        "swapped",
    ),
    (
        {"type": "Polygon", "coordinates": [[[30.0, 85.0], [30.1, 85.0], [30.1, 85.1], [30.0, 85.0]]]},
        "swapped",
    ),
    ({"type": "Polygon", "coordinates": [[[200, 31], [201, 31], [201, 32], [200, 31]]]}, "not on earth"),
    ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}, "Self-intersection"),
    ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 2], [0, 0]]]}, "not a sound Polygon"),
    ({"type": "Polygon", "coordinates": [[[0, "a"], [1, 1], [2, 2], [0, 0]]]}, "two numbers"),
    ({"type": "Polygon", "coordinates": []}, "has no coordinates"),
    ({"type": "Polygon", "coordinates": [[]]}, "Feature 1"),
    ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "do not make a Polygon"),
    ({"type": "Polygon"}, "no readable coordinates"),
    (
        {"type": "Point", "coordinates": [121.4, 31.1]},
        "is a Point where a MultiPolygon or Polygon is needed",
    ),
    ({"type": "FeatureCollection", "features": []}, "no features"),
    (collection(feature(TOWN), feature(TOWN)), "has 2 features"),
    ({"type": "Polygon", "coordinates": TOWN["coordinates"], "crs": {"name": "EPSG:4490"}}, "not WGS-84"),
    ([1], "not GeoJSON"),
]


def test_an_outline_that_is_none_makes_no_town(run: Run, rows: Callable[[str], Any]) -> None:
    create = ("town", "create", "qinghe", "--name-zh", "青禾镇", "--name-en", "Qinghe", "--outline")
    for outline, says in BAD_OUTLINES:
        assert says in run(*create, outline, refused=True).stderr, outline
    assert rows("select code from towns") == []


# --- its ground -----------------------------------------------------------------------------------------------------


def test_areas_come_in_below_their_parents_and_a_second_time_change(
    town: Run, rows: Callable[[str], Any]
) -> None:
    first = area("g1", box(0.01, 0.01, 0.02, 0.02), kind="community")
    below = area("g2", box(0.01, 0.01), parent="g1")
    assert "2 areas made, 0 changed" in town("import", "areas", collection(first, below)).output
    first["properties"]["name_en"] = "Renamed"
    assert (
        "1 areas made, 1 changed"
        in town("import", "areas", collection(first, area("g3", box(0.05, 0.05)))).output
    )
    assert rows("select code, cardinality(ancestors), name->>'en' from areas order by code") == [
        ("g1", 2, "Renamed"), ("g2", 3, "Grid g2"), ("g3", 2, "Grid g3"), ("qinghe", 1, "Qinghe"),
    ]  # fmt: skip
    assert rows("select count(*) from journal where subject_kind = 'area' and action = 'import'") == [(4,)]
    wider = area("qinghe", box(-0.1, -0.1, 0.3, 0.3), parent=None, kind="town")
    assert "0 areas made, 1 changed" in town("import", "areas", collection(wider)).output


BAD_AREAS: list[tuple[dict[str, Any], str]] = [
    (area("g2", box(0.5, 0.5)), "Feature 2 (code g2) lies outside its parent qinghe"),
    (area("g2", box(0.095, 0.02)), "outside its parent"),
    (area("g2", [[lat, lon] for lon, lat in box(0.02, 0.02)]), "swapped; longitude comes first"),
    (area("g1", box(0.02, 0.02)), "Feature 2 (code g1) has the same code as feature 1 (code g1)"),
    (area("g2", box(0.02, 0.02), kind="castle"), "is a castle, which is none of town, community"),
    (area("g2", box(0.02, 0.02), parent="nowhere"), "needs a parent that exists"),
    (area("g2", box(0.02, 0.02), parent="g2"), "needs a parent that exists"),
    (area("g2", box(0.02, 0.02), parent=None), "has no parent"),
    (area("g2", box(0.02, 0.02), parent=None, kind="town"), "is a second town"),
    (area("qinghe", box(0.02, 0.02), parent=None, kind="town"), "leave out the area old"),
    (area("old", box(0.02, 0.02), kind="building"), "exists as another kind"),
    (area("g2", [box(0.02, 0.02)[index] for index in (0, 2, 1, 3, 0)]), "Self-intersection"),
    (area("g2\nx", box(0.02, 0.02)), "has to be a line"),
    (feature({"type": "Polygon", "coordinates": [box(0.02, 0.02)]}), "Feature 2 has no code"),
    (feature(None), "is a nothing where"),
]


def test_one_bad_area_keeps_its_whole_file_out_and_is_named(town: Run, rows: Callable[[str], Any]) -> None:
    """Nothing comes in that the index of areas would refuse, for that takes every fix of the town out of its area."""
    town("import", "areas", collection(area("old", box(0.06, 0.06))))
    for broken, says in BAD_AREAS:
        document = collection(area("g1", box(0.01, 0.01)), broken)
        assert says in town("import", "areas", document, refused=True).stderr, broken
    assert rows("select code from areas order by code") == [("old",), ("qinghe",)]


def test_swapped_places_in_range_are_told_as_swapped(run: Run) -> None:
    """Where both numbers could be either, what is above tells."""
    outline = {"type": "Polygon", "coordinates": [[[60, 40], [61, 40], [61, 41], [60, 41], [60, 40]]]}
    run("town", "create", "qinghe", "--name-zh", "西", "--name-en", "West", "--outline", outline)
    ring = [[40.1, 60.1], [40.2, 60.1], [40.2, 60.2], [40.1, 60.1]]
    result = run("import", "areas", collection(area("g1", ring)), refused=True)
    assert "latitude before longitude" in result.stderr


def line(code: str, *places: list[float], kind: str = "street") -> dict[str, Any]:
    geometry = {"type": "LineString", "coordinates": list(places)}
    return feature(geometry, code=code, kind=kind, name_zh="路", name_en="Road")


def point(code: str, lon: float, lat: float) -> dict[str, Any]:
    return feature(
        {"type": "Point", "coordinates": [lon, lat]}, code=code, name_zh="点", name_en=f"Point {code}"
    )


def test_roads_replace_the_towns_roads(town: Run, rows: Callable[[str], Any]) -> None:
    one, two = line("r1", [WEST, SOUTH], [WEST + 0.1, SOUTH]), line("r2", [WEST, SOUTH], [WEST, SOUTH + 0.1])
    assert "2 roads made" in town("import", "roads", collection(one, two)).output
    before = rows("select id from roads where name->>'en' = 'Road' order by geom")
    assert "1 roads made" in town("import", "roads", collection(one)).output
    # What runs as it ran is the same road: when it was walked is known by it.
    assert set(rows("select id from roads")) < set(before)
    for broken, says in (
        (line("r3", [WEST, SOUTH], [WEST, SOUTH]), "Feature 2 (code r3)"),
        (line("r3", [1.0, 2.0], [1.1, 2.0]), "outside the town"),
        (
            line("r3", [WEST, SOUTH], [WEST + 0.1, SOUTH], kind="runway"),
            "is a runway, which is none of arterial",
        ),
        (point("r3", WEST, SOUTH), "where a LineString is needed"),
    ):
        assert says in town("import", "roads", collection(one, broken), refused=True).stderr
    assert rows("select kind, name->>'en' from roads") == [("street", "Road")]


def test_checkpoints_come_into_the_deepest_area_that_holds_them(
    town: Run, rows: Callable[[str], Any]
) -> None:
    town("import", "areas", collection(area("g1", box(0.01, 0.01))))
    inside, beside = point("c1", WEST + 0.015, SOUTH + 0.015), point("c2", WEST + 0.05, SOUTH + 0.05)
    assert "2 checkpoints made" in town("import", "checkpoints", collection(inside, beside)).output
    assert (
        "0 checkpoints made, 1 changed"
        in town("import", "checkpoints", collection(point("c2", WEST + 0.015, SOUTH + 0.015))).output
    )
    far = point("c3", WEST - 1, SOUTH)
    assert (
        "(code c3) lies outside the town"
        in town("import", "checkpoints", collection(far), refused=True).stderr
    )
    found = rows("select c.code, a.code from checkpoints c join areas a on a.id = c.area_id order by c.code")
    assert found == [("c1", "g1"), ("c2", "g1")]


def test_labels_are_exported_for_an_area_with_the_address_where_phones_come(
    town: Run, rows: Callable[[str], Any], tmp_path: Path
) -> None:
    town("import", "areas", collection(area("g1", box(0.01, 0.01))))
    town("import", "checkpoints", collection(point("c1", WEST + 0.015, SOUTH + 0.015)))
    out = str(tmp_path / "labels.pdf")
    assert "set XUNGENG_PUBLIC_URL" in town("export", "labels", "--out", out, refused=True).stderr
    export = ("export", "labels", "--url", "https://patrol.example.org/", "--out", out)
    assert "no area with the code g2" in town(*export, "--area", "g2", refused=True).stderr
    assert not Path(out).exists()
    assert "1 labels in" in town(*export, "--area", "g1").output
    page = pypdfium2.PdfDocument(out)[0].render(scale=2.5).to_pil()
    [(token,)] = rows("select label_token from checkpoints")
    assert [one.text for one in zxingcpp.read_barcodes(page)] == [f"https://patrol.example.org/c/{token}"]
    assert rows("select data->>'count' from journal where action = 'print_labels'") == [("1",)]


def test_a_month_is_begun_by_a_command_once_it_is_over(town: Run, rows: Callable[[str], Any]) -> None:
    assert "is no month such as" in town("appraise", "2026-13", refused=True).stderr
    assert "(month_not_over)" in town("appraise", "2099-01", refused=True).stderr
    assert "0 drafts of 2026-01" in town("appraise", "2026-01").output
    assert "(month_begun)" in town("appraise", "2026-01", refused=True).stderr
    begun = rows("select month::text, made_by, completed_at is not null, changed_at from appraisal_months")
    assert begun == [("2026-01-01", None, True, None)]


def test_checkpoints_come_from_csv_and_gpx_and_are_tried_first(
    town: Run, rows: Callable[[str], Any], tmp_path: Path
) -> None:
    sheet, track = tmp_path / "points.csv", tmp_path / "points.gpx"
    head = "code,name_zh,name_en,lon,lat,radius_m\n"
    lon, lat = WEST + 0.015, SOUTH + 0.015
    sheet.write_text(f"{head}c1,东门,East,{lon},{lat},40\nc2,西门,West,1,2,\n", encoding="utf-8-sig")
    tried = town("import", "checkpoints", str(sheet), "--dry-run").output
    assert "made       Row 1 (code c1)" in tried
    assert "refused    Row 2 (code c2) lies outside the town." in tried
    assert "1 checkpoints would be made, 0 would be changed" in tried
    assert "Row 2 (code c2)" in town("import", "checkpoints", str(sheet), refused=True).stderr
    assert rows("select code from checkpoints") == []
    sheet.write_text(f"{head}c1,东门,East,{lon},{lat},40\n", encoding="utf-8")
    assert "1 checkpoints made" in town("import", "checkpoints", str(sheet)).output
    track.write_text(
        '<gpx version="1.1" creator="x" xmlns="http://www.topografix.com/GPX/1/1">'
        f'<wpt lat="{lat}" lon="{lon}"><name>c3</name></wpt></gpx>'
    )
    assert "1 checkpoints made" in town("import", "checkpoints", str(track)).output
    assert rows("select code, radius_m from checkpoints order by code") == [("c1", 40.0), ("c3", 25.0)]


# --- accounts ---------------------------------------------------------------------------------------------------------


def test_the_towns_are_listed_with_what_is_in_them(run: Run) -> None:
    assert run("town", "list").output == ""
    run("town", "create", "qinghe", "--name-zh", "青禾镇", "--name-en", "Qinghe", "--outline", TOWN)
    run("town", "create", "linan", "--name-zh", "临安镇", "--name-en", "Linan", "--outline", TOWN)
    run("departments", "create", "fire", "--name-zh", "消防站", "--name-en", "Fire", "--town", "qinghe")
    names = {"linan": {"zh-CN": "临安镇", "en": "Linan"}, "qinghe": {"zh-CN": "青禾镇", "en": "Qinghe"}}
    assert json.loads(run("town", "list", "--json").stdout) == [
        {
            "code": code, "name": names[code], "time_zone": "Asia/Shanghai", "areas": 1, "people": 0,
            "departments": departments,
        }
        for code, departments in (("linan", 0), ("qinghe", 1))
    ]  # fmt: skip
    assert [line.split()[0] for line in run("town", "list").output.splitlines()] == ["linan", "qinghe"]


def test_a_department_is_made_once_of_each_kind_and_takes_handlers(
    town: Run, rows: Callable[[str], Any]
) -> None:
    handler = (
        "accounts",
        "create",
        "he.jun",
        "--name",
        "何军",
        "--role",
        "handler",
        "--department",
        "police",
    )
    assert "department" in town(*handler, refused=True).stderr
    words = ("--name-zh", "派出所", "--name-en", "Police station")
    assert "one of police" in town("departments", "create", "kitchen", *words, refused=True).stderr
    town("departments", "create", "police", *words)
    assert "department_exists" in town("departments", "create", "police", *words, refused=True).stderr
    (made,) = json.loads(town("departments", "list", "--json").stdout)
    assert (made["kind"], made["name"]) == ("police", {"zh-CN": "派出所", "en": "Police station"})
    assert town("departments", "list").output.split() == ["police", "派出所", "Police", "station"]
    town(*handler)
    assert rows("select department_id::text from memberships") == [(made["id"],)]
    assert rows("select subject_id::text, action from journal where subject_kind = 'department'") == [
        (made["id"], "create")
    ]


def test_accounts_are_made_listed_shut_and_opened(town: Run) -> None:
    made = town("accounts", "create", "zhao.min", "--name", "赵敏", "--role", "admin")
    login, password = made.output.split()
    assert (login, len(password)) == ("zhao.min", 23)
    town("accounts", "create", "li.wei", "--name", "李伟", "--role", "officer", "--officer-kind", "patrol",
         "--password-stdin", typed="correct horse battery staple\n")  # fmt: skip
    listed = json.loads(town("accounts", "list", "--json").output)
    assert [(row["login"], row["roles"], row["state"]) for row in listed] == [
        ("li.wei", ["officer"], "active"), ("zhao.min", ["admin"], "active"),
    ]  # fmt: skip
    town("accounts", "disable", "li.wei", "--reason", "left the service")
    assert "disabled" in town("accounts", "list").output
    town("accounts", "enable", "LI.WEI")
    assert "disabled" not in town("accounts", "list").output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("zhao.min", "--name", "赵敏", "--role", "admin", "--area", "nowhere"),
            "no area with the code nowhere",
        ),
        (("zhao.min", "--name", "赵敏", "--role", "admin", "--town", "elsewhere"), "no such town"),
        (("zhao.min", "--name", "赵敏", "--role", "handler"), "--department"),
        (
            ("zhao.min", "--name", "赵敏", "--role", "officer", "--officer-kind", "king"),
            "--officer-kind has to be",
        ),
        (("taken", "--name", "赵敏", "--role", "admin"), "login"),
    ],
)
def test_an_account_that_cannot_be_is_refused(town: Run, words: tuple[str, ...], says: str) -> None:
    town("accounts", "create", "taken", "--name", "先", "--role", "admin")
    assert says in town("accounts", "create", *words, refused=True).stderr
    assert len(json.loads(town("accounts", "list", "--json").output)) == 1


def test_a_weak_password_is_refused_and_a_new_one_given(town: Run) -> None:
    create = ("accounts", "create", "zhao.min", "--name", "赵敏", "--role", "admin", "--password-stdin")
    assert "password" in town(*create, typed="123456\n", refused=True).stderr
    town(*create, typed="correct horse battery staple\n")
    assert len(town("accounts", "password", "zhao.min").output.strip()) == 23
    assert (
        "password"
        in town("accounts", "password", "zhao.min", "--password-stdin", typed="1\n", refused=True).stderr
    )


def test_somebody_locked_out_is_let_in(town: Run, rows: Callable[[str], Any]) -> None:
    town("accounts", "create", "zhao.min", "--name", "赵敏", "--role", "admin")
    town("accounts", "totp-reset", "zhao.min")
    town("accounts", "unlock", "zhao.min", "--address", "192.0.2.7")
    assert rows("select action from journal where action in ('unlock', 'reset_totp') order by at") in (
        [("reset_totp",), ("unlock",)], [("unlock",)],
    )  # fmt: skip
    for command in ("password", "enable", "totp-reset", "unlock"):
        assert "Nobody has the login nobody" in town("accounts", command, "nobody", refused=True).stderr
    assert "Nobody" in town("accounts", "disable", "nobody", "--reason", "gone", refused=True).stderr


# --- tracks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", ["garmin", "every_element", "gpslogger", "osmand", "strava"])
def test_an_imported_track_is_exported_as_it_came(town: Run, tmp_path: Path, sample: str) -> None:
    """Coordinates, elevation, times, segments, names and extensions: nothing is lost, nothing is added."""
    source = GPX_SAMPLES / f"{sample}.gpx"
    lines = town("import", "gpx", str(source)).output.splitlines()
    assert lines
    for index, made in enumerate(lines):
        out = tmp_path / f"out-{index}.gpx"
        town("export", "gpx", "--track", made.split()[0], "--out", str(out))
        printed = town("export", "gpx", "--track", made.split()[0]).stdout_bytes
        assert out.read_bytes() == printed
        if len(lines) == 1:
            assert canonical(printed) == canonical(source.read_bytes())
        town("import", "gpx", str(out))


def test_an_officers_file_is_taken_of_his_shifts_alone_and_given_back_with_a_reason(
    town: Run, rows: Callable[[str], Any], fresh_database: Database
) -> None:
    """P21, P15: the command line is no way around the gate either."""
    town("accounts", "create", "li.wei", "--name", "李伟", "--role", "officer", "--officer-kind", "patrol")
    bring = ("import", "gpx", "--officer", "li.wei", str(GPX_SAMPLES / "garmin.gpx"))
    assert "off_shift" in town(*bring, refused=True).stderr
    assert rows("select * from imported_tracks") == []
    with create_engine(fresh_database.owner_url, poolclass=NullPool).begin() as connection:
        connection.execute(
            text(
                "insert into shifts (id, town_id, officer_id, area_id, state, started_at, closes_at, ended_at,"
                " ended_by)"
                " select gen_random_uuid(), u.town_id, u.id, m.area_id, 'ended', '2026-04-30T08:00Z',"
                " '2026-05-01T12:00Z', '2026-05-01T12:00Z', 'self' from users u"
                " join memberships m on m.user_id = u.id where u.login = 'li.wei'"
            )
        )
    made = town(*bring).output.split()[0]
    assert "Say why" in town("export", "gpx", "--track", made, refused=True).stderr
    assert rows("select * from disclosures") == []
    assert town("export", "gpx", "--track", made, "--reason", "complaint 12").output.startswith("<?xml")
    assert rows("select kind, reason from disclosures") == [("export", "complaint 12")]


def test_an_officers_track_is_exported_with_a_reason_that_he_can_read(
    town: Run, rows: Callable[[str], Any]
) -> None:
    town("accounts", "create", "li.wei", "--name", "李伟", "--role", "officer", "--officer-kind", "patrol")
    span = ("--officer", "li.wei", "--from", "2026-05-01T08:00+08:00", "--to", "2026-05-01T09:00+08:00")
    assert "needs --from, --to and --reason" in town("export", "gpx", *span, refused=True).stderr
    assert "needs --from" in town("export", "gpx", *span, "--reason", " ", refused=True).stderr
    assert rows("select * from disclosures") == []
    assert town("export", "gpx", *span, "--reason", "complaint 12").output.startswith("<?xml")
    assert rows("select kind, reason, actor_id from disclosures") == [("export", "complaint 12", None)]
    late = (*span[:3], "2026-05-01T08:00", *span[4:])
    assert "moment with its offset" in town("export", "gpx", *late, "--reason", "x", refused=True).stderr
    backwards = ("--officer", "li.wei", "--from", span[5], "--to", span[3], "--reason", "x")
    assert "xungeng: " in town("export", "gpx", *backwards, refused=True).stderr


def test_a_track_that_is_not_there_is_not_exported(town: Run, tmp_path: Path) -> None:
    nowhere = "01980000-0000-7000-8000-000000000000"
    assert (
        "not_found"
        in town("export", "gpx", "--track", nowhere, "--out", str(tmp_path / "x"), refused=True).stderr
    )
    assert not (tmp_path / "x").exists()
    assert "Say which track" in town("export", "gpx", refused=True).stderr
    assert (
        "Say which" in town("export", "gpx", "--track", nowhere, "--officer", "li.wei", refused=True).stderr
    )


# --- where there is nothing ------------------------------------------------------------------------------------------


def test_a_database_without_postgis_is_one_sentence(cluster: Cluster, tmp_path: Path) -> None:
    """Its owner is no superuser, so he cannot make the extension himself; with it, the schema is made."""
    import psycopg

    name = f"plain_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(libpq_url(cluster.url(OWNER_ROLE, "postgres")), autocommit=True) as superuser:
        superuser.execute(f"create role {name} login createrole")
        superuser.execute(f"create database {name} owner {name}")
    settings = {
        "DATABASE_URL": cluster.url(name, name), "XUNGENG_DATA": str(tmp_path / "var"), "XUNGENG_DEMO": "0",
    }  # fmt: skip
    try:
        refused = CliRunner().invoke(cli, ["migrate", "up"], env=settings)
        assert refused.exit_code == 1, refused.output
        assert refused.stderr.count("\n") == 1, refused.stderr
        assert refused.stderr.startswith("xungeng: ")
        assert "create extension postgis" in refused.stderr
        assert refused.stdout == ""
    finally:
        with psycopg.connect(libpq_url(cluster.url(OWNER_ROLE, "postgres")), autocommit=True) as superuser:
            superuser.execute(f"drop database {name} with (force)")
            superuser.execute(f"drop role {name}")


def test_a_folder_without_an_installation_is_told_and_stays_empty(tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    result = CliRunner().invoke(
        cli, ["accounts", "list"], env={"XUNGENG_DATA": str(place), "DATABASE_URL": None}
    )
    assert result.exit_code == 1
    assert str(place) in result.stderr
    assert "XUNGENG_DATA" in result.stderr
    assert not (place / "postgres").exists()


def test_a_track_is_not_looked_at_for_a_file_that_cannot_be_written(
    town: Run, rows: Callable[[str], list[tuple[Any, ...]]], tmp_path: Path
) -> None:
    town("accounts", "create", "li.wei", "--role", "officer", "--officer-kind", "patrol", "--name", "李伟")
    span = ("--from", "2026-05-01T08:00+08:00", "--to", "2026-05-01T09:00+08:00", "--reason", "复核")
    nowhere = str(tmp_path / "nowhere" / "x.gpx")
    told = town("export", "gpx", "--officer", "li.wei", *span, "--out", nowhere, refused=True)
    assert nowhere in told.stderr
    assert rows("select 1 from disclosures") == []
    town("export", "gpx", "--officer", "li.wei", *span, "--out", str(tmp_path / "x.gpx"))
    assert len(rows("select 1 from disclosures")) == 1
