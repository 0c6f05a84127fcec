"""Files that the installation serves from its own folders."""

from __future__ import annotations

import flask
import pytest

from tests.api.conftest import Caller, World


def test_a_base_map_of_the_operator_is_served_piece_by_piece(world: World, caller: Caller) -> None:
    folder = world.config.data_dir / "basemaps"
    folder.mkdir()
    (folder / "town.pmtiles").write_bytes(bytes(range(256)) * 8)
    piece = caller.send("GET", "/basemaps/town.pmtiles", headers={"Range": "bytes=256-259"})
    assert piece.status_code == 206
    assert piece.data == bytes([0, 1, 2, 3])
    assert piece.headers["Content-Range"] == "bytes 256-259/2048"
    assert piece.headers["ETag"]
    piece.close()
    with caller.get("/basemaps/town.pmtiles") as whole:
        assert whole.data == bytes(range(256)) * 8


def test_nothing_outside_the_folder_of_base_maps_is_served(world: World, caller: Caller) -> None:
    """F63 for what is served from a folder: names that climb out of it are names of nothing."""
    (world.config.data_dir / "basemaps").mkdir(exist_ok=True)
    assert (world.config.data_dir / "secrets" / "secret_key").exists()
    for name in (
        "../secrets/secret_key",
        "..%2fsecrets%2fsecret_key",
        "%2e%2e/secrets/secret_key",
        "nothing.pmtiles",
        "",
    ):
        answer = caller.get(f"/basemaps/{name}")
        assert answer.status_code == 404, name
        assert answer.mimetype == "application/problem+json"


def test_no_client_address_tells_which_files_the_machine_has(caller: Caller) -> None:
    """F63: a name that climbs out of the clients' folder is answered alike, whether something is there or not."""
    answers = {
        name: caller.get(f"/desk/{'..%2f' * 12}{name}")
        for name in ("etc%2fpasswd", "etc%2fnothing-of-that-name", "bin%2fsh")
    }
    assert len({(answer.status_code, answer.data) for answer in answers.values()}) == 1


def test_the_api_document_is_written_once(
    world: World, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F75: whoever asks is anybody, and the document is large."""
    first = caller.get("/api/v1/openapi.json")
    assert first.status_code == 200
    assert first.json["openapi"].startswith("3.1")
    monkeypatch.setattr(flask.json, "dumps", None)
    again = caller.get("/api/v1/openapi.json")
    assert (again.data, again.mimetype) == (first.data, "application/json")
