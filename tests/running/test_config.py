"""Settings are checked at start; a wrong one is one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from backend.core.config import Config, ConfigError
from running.installation import Installation


def read(tmp_path: Path, **settings: str) -> Config:
    return Config.from_env({"XUNGENG_DATA": str(tmp_path / "var"), **settings})


def test_without_any_setting_a_development_town_is_served_from_a_private_database(tmp_path: Path) -> None:
    config = read(tmp_path)
    assert (config.port, config.demo, config.production, config.embedded) == (8000, True, False, True)
    assert make_url(config.database_url).username == "xungeng_app"
    assert make_url(config.owner_url).username == "xungeng_owner"


def test_the_secret_key_is_made_once_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    first, second = read(tmp_path), read(tmp_path)
    assert first.secret_key == second.secret_key
    assert len(first.secret_key) >= 32
    path = tmp_path / "var" / "secrets" / "secret_key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_given_database_is_used_with_the_rights_of_the_app(tmp_path: Path, scheme: str) -> None:
    config = read(tmp_path, DATABASE_URL=f"{scheme}://boss:p%40ss@db.example:5433/town?sslmode=require")
    app, owner = make_url(config.database_url), make_url(config.owner_url)
    assert app.drivername == owner.drivername == "postgresql+psycopg"
    assert (app.host, app.port, app.database, app.password) == ("db.example", 5433, "town", "p@ss")
    assert app.query == {"sslmode": "require", "options": "-c role=xungeng_app"}
    assert "options" not in owner.query
    assert not config.embedded


def test_an_app_login_of_its_own_is_taken_as_it_is(tmp_path: Path) -> None:
    config = read(
        tmp_path, DATABASE_URL="postgresql://boss@db/town", DATABASE_APP_URL="postgresql://app@db/town"
    )
    assert make_url(config.database_url).username == "app"
    assert not make_url(config.database_url).query


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PORT": "eight"}, "PORT"),
        ({"PORT": "70000"}, "between 1 and 65535"),
        ({"XUNGENG_MODE": "prod"}, "development or production"),
        ({"XUNGENG_DEMO": "yes"}, "1 or 0"),
        ({"XUNGENG_TRUSTED_HOPS": "-1"}, "between 0 and 8"),
        ({"XUNGENG_TLS_CERT": "/nowhere/cert.pem"}, "not a file"),
        ({"XUNGENG_WEB_PROCESSES": "4"}, "XUNGENG_REDIS_URL"),
        ({"XUNGENG_REDIS_URL": "unix:///run/redis.sock"}, "redis://"),
        ({"XUNGENG_SECRET_KEY": "short"}, "32 bytes"),
        ({"XUNGENG_PUBLIC_URL": "xungeng.example.cn"}, "whole address"),
        ({"DATABASE_URL": "mysql://root@db/town"}, "PostgreSQL address"),
        ({"DATABASE_URL": "postgresql://db"}, "names no database"),
        ({"DATABASE_URL": "postgresql://db:port/town"}, "not a readable address"),
        ({"DATABASE_OWNER_URL": "postgresql://db/town"}, "DATABASE_URL"),
        ({"XUNGENG_LOG_LEVEL": "loud"}, "XUNGENG_LOG_LEVEL"),
        ({"XUNGENG_CODE_PREFIXES": "+8613 8614"}, "'8614'"),
        ({"XUNGENG_CODE_PREFIXES": "+861[3-9]"}, "XUNGENG_CODE_PREFIXES"),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        read(tmp_path, **settings)
    text = str(refusal.value)
    assert said in text
    assert text.endswith(".")
    assert "\n" not in text


def test_a_refused_address_is_not_repeated_with_its_password(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        read(tmp_path, DATABASE_URL="mysql://root:geheim@db/town")
    assert "geheim" not in str(refusal.value)


def test_a_data_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="XUNGENG_DATA"):
        Config.from_env({"XUNGENG_DATA": str(tmp_path / "file" / "var")})


def test_codes_go_to_the_mainlands_mobiles_unless_the_operator_names_others(tmp_path: Path) -> None:
    """F52: and in a demo town to its own people, whose numbers are nobody's."""
    mobiles = tuple(f"+861{digit}" for digit in range(3, 10))
    assert read(tmp_path, XUNGENG_DEMO="0").code_prefixes == mobiles
    assert read(tmp_path).code_prefixes == (*mobiles, "+86100")
    named = read(tmp_path, XUNGENG_DEMO="0", XUNGENG_CODE_PREFIXES="+8613, +852").code_prefixes
    assert named == ("+8613", "+852")


def test_production_has_no_demo_town_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert not read(tmp_path, XUNGENG_MODE="production").demo
    assert read(tmp_path, XUNGENG_MODE="production", XUNGENG_DEMO="1").demo


def test_a_data_folder_whose_path_is_too_long_for_a_socket_gets_a_short_one(tmp_path: Path) -> None:
    from backend.embedded.cluster import SOCKET_PATH_LIMIT, Cluster, _place, _socket_fits, _spare_run_dir

    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    cluster = Cluster(deep)
    assert not _socket_fits(deep / "run")
    _place(deep / "run", None, fits=_socket_fits, spare=lambda: _spare_run_dir(deep))
    try:
        assert (deep / "run").is_symlink()
        assert cluster.run_dir.stat().st_mode & 0o777 == 0o700
        assert len(os.fsencode(cluster.run_dir / ".s.PGSQL.54329")) <= SOCKET_PATH_LIMIT
        # Every process finds the same place by itself.
        assert str(cluster.run_dir) in str(
            make_url(Config.from_env({"XUNGENG_DATA": str(deep)}).database_url).query
        )
    finally:
        cluster.run_dir.rmdir()


def test_a_name_that_is_no_setting_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    given = {
        "XUNGENG_DATA": str(tmp_path), "XUNGENG_SMS_TOKEN": "x", "XUNGENG_CHROMIUM": "/c", "PATH": "/bin",
    }  # fmt: skip
    assert Config.unknown_in(given) == []
    assert Config.unknown_in({**given, "XUNGENG_WEB_PROCESES": "4", "XUNGENG_BLUE": "1"}) == [
        "XUNGENG_BLUE is set, but there is no such setting.",
        "XUNGENG_WEB_PROCESES is set, but there is no such setting; did you mean XUNGENG_WEB_PROCESSES?",
    ]


def test_the_start_says_so_and_goes_on() -> None:
    installation = Installation(XUNGENG_DEMOO="1", DATABASE_URL="postgresql://nobody@127.0.0.1:1/town")
    try:
        for command in ("serve", "check"):
            refused = installation.command(command)
            first, second = refused.stderr.splitlines()
            assert (
                first
                == "xungeng: XUNGENG_DEMOO is set, but there is no such setting; did you mean XUNGENG_DEMO?"
            )
            assert "town at 127.0.0.1" in second
    finally:
        installation.remove()


def test_the_desks_telephone_is_told_as_phones_dial_it(tmp_path: Path) -> None:
    def read(**given: str) -> Config:
        return Config.from_env({"XUNGENG_DATA": str(tmp_path), **given})

    assert (read().desk_phone, read().desk_sms) == (None, None)
    told = read(XUNGENG_DESK_PHONE="021-5988 0110", XUNGENG_DESK_SMS="+86 139 0000 0110")
    assert (told.desk_phone, told.desk_sms) == ("02159880110", "+8613900000110")
    for wrong in ("the desk", "12", "021-5988;0110", "1" * 16):
        with pytest.raises(ConfigError, match="XUNGENG_DESK_PHONE"):
            read(XUNGENG_DESK_PHONE=wrong)
